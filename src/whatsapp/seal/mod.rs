//! Encryption at rest of WhatsApp links (`credentials.encryption`).
//!
//! ```text
//! owner's key (file, environment, service manager)
//!   `- wraps a data key per account: data-key.json, data-key.json.bak
//!        |- seals the device in creds.json and creds.json.bak
//!        `- seals every row of signal.db, the names of people and groups included
//! ```
//! What stays readable: the account's own number and name (`me` in creds.json, and beside the device in signal.db), how many rows of which
//! kind there are, their times and flags, and the numbers of pre-keys. Nothing is bound to the disk's past: an older copy of all files
//! together is a valid state, as without sealing. Blocks that the file system freed are its own affair; a disk that held plain files
//! before needs its own encryption.
//!
//! Files are sealed when the account is next opened with a key, and sealed anew when the data key changes. Each step leaves files that the
//! next start goes on from: every sealed file names its data key, and a data key leaves `data-key.json` last.

mod convert;
mod envelope;
mod key;
mod listing;
mod master;
mod protocol;
mod rows;
mod signal;
mod sync;
mod table;
#[cfg(test)]
mod tests;
mod vault;

use std::path::Path;

use serde::Serialize;

use super::database::{self, DATABASE};
use super::{OpenError, baileys, record};
use crate::config::model::EncryptionConfig;
use crate::ids::AccountId;

pub(super) use convert::{look, seal as seal_database, sealed_with, sweep};
pub(super) use envelope::{DATA_KEY, DATA_KEY_BACKUP, DataKeys};
pub(super) use key::DataKey;
pub use key::MasterKey;
pub(super) use listing::Listed;
pub use master::read as read_key;
pub(super) use vault::Vault;

/// A folder is sealed and does not open with the keys at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyTrouble {
    /// No key is configured.
    Missing {
        /// Fingerprint of the key that is needed; `None` when even that is lost.
        sealed: Option<String>,
    },
    /// Other keys are configured.
    Wrong {
        /// Fingerprint of the key that is needed.
        sealed: String,
        /// Fingerprints of the keys at hand.
        found: Vec<String>,
    },
    /// The configured key cannot be read.
    Unreadable {
        /// Where it should be.
        source: String,
        /// Why not.
        cause: String,
    },
}

impl KeyTrouble {
    /// The sentence for people, with what they can do.
    pub fn sentence(&self, account: &AccountId) -> String {
        match self {
            Self::Missing { sealed } => format!(
                "the credentials of account {account} are sealed with key {}: set credentials.encryption.key, or unseal them with: verso credentials decrypt --account {account} --key-file FILE",
                sealed.as_deref().unwrap_or("(unknown)")
            ),
            Self::Wrong { sealed, found } => format!(
                "the credentials of account {account} are sealed with key {sealed}, but credentials.encryption has key {}: put key {sealed} back as credentials.encryption.key, or into credentials.encryption.previous to change over to the new one",
                found.join(", ")
            ),
            Self::Unreadable { source, cause } => format!(
                "credentials.encryption.key of account {account} cannot be used: {source}: {cause}; it must be 32 bytes as base64 or hex. A fresh one: verso credentials key > FILE (for credentials that are sealed already put their own key there)"
            ),
        }
    }
}

/// Which files of an account are looked at, and with which keys.
#[derive(Clone, Copy, Debug)]
pub struct SealedFolder<'a> {
    /// The account's folder; the caller holds its lock.
    pub dir: &'a Path,
    /// The account, for errors.
    pub account: &'a AccountId,
    /// `credentials.encryption`.
    pub encryption: Option<&'a EncryptionConfig>,
}

impl SealedFolder<'_> {
    fn locked(&self, trouble: KeyTrouble) -> OpenError {
        OpenError::Locked { account: self.account.clone(), trouble }
    }

    fn failed(&self, cause: String) -> OpenError {
        OpenError::Store { path: self.dir.join(DATABASE), cause }
    }

    fn lost(&self) -> OpenError {
        OpenError::Relink {
            path: self.dir.to_path_buf(),
            cause: format!("it is sealed, and {DATA_KEY} and {DATA_KEY_BACKUP} are damaged or missing"),
        }
    }

    /// Why the folder could not be opened with these keys, in a sentence for its owner; nothing is changed.
    pub fn trouble(&self) -> Option<String> {
        let Some(encryption) = self.encryption else {
            let sealed = envelope::master_of(self.dir);
            return is_sealed(self.dir).then(|| KeyTrouble::Missing { sealed }.sentence(self.account));
        };
        let trouble = match master::Masters::read(encryption) {
            Err(trouble) => trouble,
            Ok(masters) => match envelope::open(self.dir, &masters) {
                envelope::Opened::Wrong(trouble) if is_sealed(self.dir) => trouble,
                _ => return None,
            },
        };
        Some(trouble.sentence(self.account))
    }

    /// The data keys of the folder, made when there are none; `None` when nothing is or shall be sealed. With `linking` sealed files that
    /// nothing opens any more are set aside.
    pub(super) async fn unlock(&self, linking: bool) -> Result<Option<DataKeys>, OpenError> {
        let dir = self.dir.to_path_buf();
        let (encryption, account) = (self.encryption.cloned(), self.account.clone());
        let work = move || {
            let folder = SealedFolder { dir: &dir, account: &account, encryption: encryption.as_ref() };
            folder.unlock_now(linking)
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| self.failed(e.to_string()))?
    }

    fn unlock_now(&self, linking: bool) -> Result<Option<DataKeys>, OpenError> {
        let failed = |e: std::io::Error| self.failed(format!("{DATA_KEY}: {e}"));
        let is_sealed = is_sealed(self.dir);
        // A login that came to nothing left it behind; without its key it is of no use to the next one.
        let left_behind = || linking && !record::traces(self.dir) && convert::is_nobodys(self.dir);
        let Some(encryption) = self.encryption else {
            let sealed = envelope::master_of(self.dir);
            if left_behind() {
                baileys::set_aside::remove(self.dir, DATABASE).map_err(failed)?;
                return Ok(None);
            }
            return if is_sealed { Err(self.locked(KeyTrouble::Missing { sealed })) } else { Ok(None) };
        };
        let masters = master::Masters::read(encryption).map_err(|trouble| self.locked(trouble))?;
        match envelope::open(self.dir, &masters) {
            envelope::Opened::Keys { keys, rewrap: true } => {
                envelope::write(self.dir, &keys, &masters.current).map_err(failed)?;
                tracing::info!(
                    target: "web-session", account = %self.account,
                    "the credentials are wrapped with key {} now; the key in credentials.encryption.previous can go when `verso credentials status` names it nowhere",
                    masters.current.fingerprint()
                );
                return Ok(Some(keys));
            }
            envelope::Opened::Keys { keys, rewrap: false } => {
                envelope::repair(self.dir).map_err(failed)?;
                return Ok(Some(keys));
            }
            envelope::Opened::Wrong(_) if left_behind() => {
                baileys::set_aside::remove(self.dir, DATABASE).map_err(failed)?;
            }
            // A database that cannot be read now may be sealed with the keys that are wrapped here.
            envelope::Opened::Wrong(trouble) if is_sealed || convert::look(self.dir).is_err() => {
                return Err(self.locked(trouble));
            }
            envelope::Opened::None if is_sealed && !linking => return Err(self.lost()),
            envelope::Opened::None if is_sealed => {
                let names = [DATABASE, record::CREDENTIALS, record::BACKUP, DATA_KEY, DATA_KEY_BACKUP];
                baileys::set_aside::aside(self.dir, &names, "damaged").map_err(failed)?;
            }
            // Nothing is sealed with them yet.
            envelope::Opened::Wrong(_) | envelope::Opened::None => {}
        }
        let keys = DataKeys::fresh().map_err(|cause| self.failed(cause))?;
        envelope::write(self.dir, &keys, &masters.current).map_err(failed)?;
        Ok(Some(keys))
    }

    /// Takes older data keys out when nothing is sealed with them any more. The database and the record are sealed anew before.
    pub(super) fn settle(&self, keys: &DataKeys) -> std::io::Result<()> {
        let current = keys.current().id();
        let fresh = |id: Option<String>| id.is_none_or(|id| id == current);
        if !keys.in_between()
            || !fresh(sealed_with(self.dir))
            || !record::sealed_with(self.dir).into_iter().all(|id| id == current)
        {
            return Ok(());
        }
        let Some(encryption) = self.encryption else { return Ok(()) };
        let masters = master::Masters::read(encryption)
            .map_err(|trouble| std::io::Error::other(trouble.sentence(self.account)))?;
        envelope::write(self.dir, &keys.settled(), &masters.current)
    }

    /// Takes back what a crash rolled back, before the database is written anew.
    fn inspect(&self, keys: &DataKeys) -> Result<(), OpenError> {
        let path = self.dir.join(DATABASE);
        if !path.is_file() {
            return Ok(());
        }
        match database::inspect(&path, super::backend::epoch(self.dir, Some(keys))) {
            Ok(database::Found::Whole { .. }) => Ok(()),
            Ok(database::Found::Damaged(cause)) => Err(self.failed(format!("it is damaged: {cause}"))),
            Err(e) => Err(self.failed(e.to_string())),
        }
    }

    /// Seals everything with a fresh data key.
    ///
    /// # Errors
    /// When nothing is sealed, the key does not fit or a file cannot be written; the next start goes on from what is there then.
    pub async fn rotate(&self) -> Result<(), OpenError> {
        let Some(keys) = self.unlock(false).await? else {
            return Err(self.locked(KeyTrouble::Missing { sealed: None }));
        };
        self.inspect(&keys)?;
        let renewed = keys.renewed().map_err(|cause| self.failed(cause))?;
        let Some(encryption) = self.encryption else { return Ok(()) };
        let masters = master::Masters::read(encryption).map_err(|trouble| self.locked(trouble))?;
        envelope::write(self.dir, &renewed, &masters.current).map_err(|e| self.failed(e.to_string()))?;
        self.reseal(&renewed).await
    }

    /// Seals what a folder holds with the current key and forgets the keys before it.
    pub(super) async fn reseal(&self, keys: &DataKeys) -> Result<(), OpenError> {
        if self.dir.join(DATABASE).is_file() {
            seal_database(self.dir, keys).await.map_err(|cause| self.failed(cause))?;
        }
        if let Some(found) = record::read(self.dir, Some(keys)) {
            record::write(self.dir, &found.device, found.epoch, Some(keys.current()))
                .map_err(|e| self.failed(e.to_string()))?;
        }
        self.settle(keys).map_err(|e| self.failed(e.to_string()))
    }

    /// Brings the folder back to plain files; false when nothing in it is sealed.
    ///
    /// # Errors
    /// When the key does not fit or a file cannot be written; what is sealed then opens with the key as before.
    pub async fn decrypt(&self) -> Result<bool, OpenError> {
        if !is_sealed(self.dir) {
            return Ok(false);
        }
        let Some(keys) = self.unlock(false).await? else { return Ok(false) };
        let failed = |e: std::io::Error| self.failed(e.to_string());
        self.inspect(&keys)?;
        let found = record::read(self.dir, Some(&keys));
        let device = convert::unseal(self.dir, &keys).await.map_err(|cause| self.failed(cause))?;
        if let Some(device) = found.map(|found| found.device).or(device) {
            super::backend::mirror_device(self.dir, &device, None).map_err(failed)?;
        }
        envelope::remove(self.dir).map_err(failed)?;
        Ok(true)
    }
}

/// What `verso credentials status` tells of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SealStatus {
    /// The device or the database is sealed.
    pub sealed: bool,
    /// So is everything of the link.
    pub complete: bool,
    /// Fingerprint of the owner's key that opens it.
    pub key: Option<String>,
    /// Paths of copies that hold keys in the clear.
    pub plain_copies: Vec<String>,
}

/// Looks at a folder without any key.
pub fn status(dir: &Path) -> SealStatus {
    let records = record::states(dir);
    let database = dir.join(DATABASE).is_file().then(|| sealed_with(dir).is_some());
    let parts: Vec<bool> = records.into_iter().chain(database).collect();
    let sealed = parts.contains(&true);
    SealStatus {
        sealed,
        complete: sealed && !parts.contains(&false),
        key: sealed.then(|| envelope::master_of(dir)).flatten(),
        plain_copies: plain_copies(dir),
    }
}

fn is_sealed(dir: &Path) -> bool {
    !record::sealed_with(dir).is_empty() || sealed_with(dir).is_some()
}

/// Files and folders that were set aside before everything was sealed, or that another program left: they are the owner's to delete.
pub(super) fn plain_copies(dir: &Path) -> Vec<String> {
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    };
    let aside = |name: &String| {
        [".replaced", ".damaged", ".original", ".exported"].iter().any(|end| name.ends_with(end))
            && !name.starts_with(DATA_KEY)
            && !copy_is_sealed(&dir.join(name))
    };
    let shown = |dir: &Path, name: &str| dir.join(name).display().to_string();
    let mut copies: Vec<String> = names(dir).into_iter().filter(aside).map(|name| shown(dir, &name)).collect();
    if let (Some(parent), Some(own)) = (dir.parent(), dir.file_name()) {
        let backup = format!("{}.baileys-backup-", own.to_string_lossy());
        copies.extend(names(parent).into_iter().filter(|n| n.starts_with(&backup)).map(|name| shown(parent, &name)));
    }
    copies.sort();
    copies
}

/// What the owner should know of such copies, with the command that deletes them.
pub fn copies_sentence(copies: &[String]) -> String {
    let quoted: Vec<String> = copies.iter().map(|path| format!("'{}'", path.replace('\'', r"'\''"))).collect();
    format!("copies of before hold keys in the clear; when you need them no more: rm -r {}", quoted.join(" "))
}

fn copy_is_sealed(path: &Path) -> bool {
    if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(DATABASE)) {
        let db = convert::still(path);
        return db.is_ok_and(|db| rows::sealed_with(&db).ok().flatten().is_some());
    }
    record::is_sealed(path)
}
