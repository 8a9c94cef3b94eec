//! Links of Baileys programs, the original among them: taken over without scanning again, and written back.
//!
//! ```text
//! files (names, JSON) -> link (devices, keys, sessions in our terms) -> database (a fresh signal.db) -> import (puts it in place)
//! signal.db -> export -> files
//! ```
//! Keys go on where they are: a session continues, our own sender keys are left out (new ones go out with the next group message),
//! and what does not convert is asked for again by WhatsApp's retries. One link serves one program at a time: two make WhatsApp
//! answer with a conflict (440), and both lose messages.

mod address;
mod app_state;
mod bytes;
mod credentials;
mod database;
mod export;
mod files;
mod import;
mod link;
mod sender_keys;
mod sessions;
pub(super) mod set_aside;

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use export::export;
pub(super) use import::in_place;
pub use import::{import, inspect};

/// How a folder is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taking {
    /// Half a folder is enough, and one that changes meanwhile.
    pub force: bool,
    /// Keys that must not be used twice stay behind: the folder may be a copy of a link that went on elsewhere.
    pub fresh_sessions: bool,
}

/// What moved in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// The device's address.
    pub jid: String,
    /// Keys for first messages.
    pub pre_keys: usize,
    /// Conversations with devices.
    pub sessions: usize,
    /// Known identity keys.
    pub identities: usize,
    /// Group members whose messages can be read.
    pub sender_keys: usize,
    /// Pairs of phone number and LID.
    pub lid_mappings: usize,
    /// Keys of the shared settings.
    pub app_state_keys: usize,
    /// Collections of the shared settings.
    pub app_state_versions: usize,
    /// Privacy tokens of contacts.
    pub tokens: usize,
    /// Files that were left out because WhatsApp tells their content again.
    pub told_again: usize,
    /// What did not convert; retries repair it.
    pub skipped: Vec<Skipped>,
    /// What the owner should know.
    pub warnings: Vec<String>,
    /// Where Baileys' files are kept, when they lay in the account's own folder.
    pub backup: Option<PathBuf>,
}

impl Imported {
    /// What moved, in one line.
    pub fn summary(&self) -> String {
        format!(
            "{} sessions, {} pre-keys, {} group sender keys, {} LID mappings, {} app-state keys{}",
            self.sessions,
            self.pre_keys,
            self.sender_keys,
            self.lid_mappings,
            self.app_state_keys,
            match self.skipped.len() {
                0 => String::new(),
                n => format!("; {n} did not convert and are repaired by retries"),
            }
        )
    }
}

/// What moved out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    /// The device's address.
    pub jid: String,
    /// Files written.
    pub files: usize,
    /// Keys for first messages.
    pub pre_keys: usize,
    /// Conversations with devices.
    pub sessions: usize,
    /// Group members whose messages can be read.
    pub sender_keys: usize,
    /// Pairs of phone number and LID.
    pub lid_mappings: usize,
    /// Keys of the shared settings.
    pub app_state_keys: usize,
    /// Privacy tokens of contacts.
    pub tokens: usize,
    /// What does not convert; retries repair it.
    pub skipped: Vec<Skipped>,
}

/// A file that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its name.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// A folder cannot be taken over or written.
#[derive(Debug, thiserror::Error)]
pub enum BaileysError {
    /// There is no such folder.
    #[error("{} is no folder; name the one that Baileys' useMultiFileAuthState writes (it holds creds.json)", .0.display())]
    NoFolder(PathBuf),
    /// There is no `creds.json`.
    #[error("{} holds no creds.json; name the folder that Baileys' useMultiFileAuthState writes, whole", .0.display())]
    NoCredentials(PathBuf),
    /// `creds.json` points elsewhere.
    #[error("{} is a symbolic link, and it may point into a link that is in use; copy the real files into one folder", .0.display())]
    Symlink(PathBuf),
    /// `creds.json` is a folder, a pipe or a device.
    #[error("{} is no ordinary file; move it away, or name another folder", .0.display())]
    NoFile(PathBuf),
    /// `creds.json` is damaged and has no backup.
    #[error("{} is not JSON and there is no creds.json.bak that is; restore it from a backup, or link anew with `verso channels login`", .0.display())]
    NotJson(PathBuf),
    /// `creds.json` of something else.
    #[error("{} was not written by Baileys: it has no noiseKey and no signedIdentityKey", .0.display())]
    Foreign(PathBuf),
    /// `creds.json` of Verso.
    #[error("{} is an account folder of Verso already; set channels.whatsapp.accounts.<id>.authDir to use it where it is", .0.display())]
    Ours(PathBuf),
    /// The program never finished linking.
    #[error("{} was never linked: creds.json has no me.id; use `verso channels login`", .0.display())]
    NeverLinked(PathBuf),
    /// A part of `creds.json` is missing or damaged.
    #[error("{}: {field} is missing or damaged; take the file from a backup", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The key.
        field: &'static str,
    },
    /// Only `creds.json` was copied.
    #[error("{} is only half of a Baileys folder: the pre-key-*.json are missing; copy all of it, or add --force to go on with creds.json alone", .0.display())]
    Half(PathBuf),
    /// A program writes into it.
    #[error("{} changes while it is read: a program still uses this link; stop it, then import again, or add --force to take the files as they are now", .0.display())]
    InUse(PathBuf),
    /// The folder to write to is in use.
    #[error("{} is not empty; name a new folder", .0.display())]
    NotEmpty(PathBuf),
    /// There is a file where the folder should be.
    #[error("{} is a file, or lies below one; name a new folder", .0.display())]
    FileInTheWay(PathBuf),
    /// The account has no link.
    #[error("{} holds no linked device; there is nothing to export", .0.display())]
    NothingToExport(PathBuf),
    /// It is sealed and there is no key for it.
    #[error("{0}")]
    Locked(String),
    /// The database fails.
    #[error("cannot use {}: {cause}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What it said.
        cause: String,
    },
    /// A file cannot be used.
    #[error("cannot {what} {}: {cause}; check that it belongs to you and the disk is writable and not full", path.display())]
    Io {
        /// The attempt.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

impl BaileysError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |cause| Self::Io { what, path, cause }
    }
}
