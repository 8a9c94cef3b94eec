//! Locks of the operating system, so that a crash releases them: one gateway a state folder, one process an account.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::paths::StatePaths;
use crate::ids::AccountId;

/// Who holds a lock, as written into its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Where its API listens, for a gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A lock was not given.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A gateway runs on this state folder.
    #[error(
        "a gateway already runs on {}{}; stop it first, or give this one another folder with VERSO_STATE_DIR",
        root.display(), holder_text(.holder)
    )]
    GatewayRuns {
        /// The state folder.
        root: PathBuf,
        /// The running gateway, when it could be read.
        holder: Option<Holder>,
    },
    /// Another process uses the account.
    #[error(
        "account {account} is in use by another process{}; stop it, or let the running gateway do the work",
        holder_text(.holder)
    )]
    AccountBusy {
        /// The account.
        account: AccountId,
        /// The other process, when it could be read.
        holder: Option<Holder>,
    },
    /// Something else has the file.
    #[error("{} is in use by another process{}; stop that one first", path.display(), holder_text(.holder))]
    Busy {
        /// The locked file.
        path: PathBuf,
        /// The other process, when it could be read.
        holder: Option<Holder>,
    },
    /// The file cannot be used.
    #[error("cannot lock {}: {cause}; make the folder writable for this user", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

fn holder_text(holder: &Option<Holder>) -> String {
    match holder {
        Some(Holder { pid, address: Some(address) }) => format!(" (process {pid}, listening on {address})"),
        Some(Holder { pid, address: None }) => format!(" (process {pid})"),
        None => String::new(),
    }
}

/// A held lock; dropping it, or the end of the process, releases it.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock of a file, which is created when missing and never removed.
    ///
    /// # Errors
    /// [`LockError::Busy`] when it is held, in this process or another.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let io = |cause| LockError::Io { path: path.to_owned(), cause };
        let file = open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Busy { path: path.to_owned(), holder: read_holder(path) });
            }
            Err(TryLockError::Error(cause)) => return Err(io(cause)),
        }
        let mut lock = Self { file, path: path.to_owned() };
        lock.describe(None)?;
        Ok(lock)
    }

    /// Writes into the file who holds it and where its API listens.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn describe(&mut self, address: Option<String>) -> Result<(), LockError> {
        let holder = Holder { pid: std::process::id(), address };
        let text = serde_json::to_string(&holder).unwrap_or_default();
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(text.as_bytes())?;
            file.flush()
        };
        write(&mut self.file).map_err(|cause| LockError::Io { path: self.path.clone(), cause })
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn read_holder(path: &Path) -> Option<Holder> {
    let mut text = String::new();
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Makes this process the gateway of a state folder.
///
/// # Errors
/// [`LockError::GatewayRuns`] when there is one.
pub fn gateway(paths: &StatePaths) -> Result<FileLock, LockError> {
    FileLock::acquire(&paths.gateway_lock()).map_err(|error| match error {
        LockError::Busy { holder, .. } => LockError::GatewayRuns { root: paths.root().to_owned(), holder },
        other => other,
    })
}

/// The gateway that runs on a state folder, for the command line; `None` when there is none.
///
/// # Errors
/// When the lock file cannot be looked at.
pub fn running_gateway(paths: &StatePaths) -> Result<Option<Holder>, LockError> {
    let path = paths.gateway_lock();
    let io = |cause| LockError::Io { path: path.clone(), cause };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(read_holder(&path)),
        Err(TryLockError::Error(cause)) => Err(io(cause)),
    }
}

/// The lock file inside an account's folder.
pub(super) const ACCOUNT_LOCK: &str = "verso.lock";

/// Makes this process the only user of an account's folder, which must exist.
///
/// # Errors
/// [`LockError::AccountBusy`] when another process uses it.
pub fn account(dir: &Path, account: &AccountId) -> Result<FileLock, LockError> {
    FileLock::acquire(&dir.join(ACCOUNT_LOCK)).map_err(|error| match error {
        LockError::Busy { holder, .. } => LockError::AccountBusy { account: account.clone(), holder },
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_gateway_is_told_about_the_first() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let paths = StatePaths::new(dir.path());
        assert_eq!(running_gateway(&paths)?, None);
        let mut first = gateway(&paths)?;
        first.describe(Some("127.0.0.1:18789".to_owned()))?;
        let second = gateway(&paths).expect_err("held").to_string();
        assert!(second.contains(&std::process::id().to_string()), "{second}");
        assert!(second.contains("127.0.0.1:18789") && second.contains("VERSO_STATE_DIR"), "{second}");
        let seen = running_gateway(&paths)?.expect("one runs");
        assert_eq!(seen.address.as_deref(), Some("127.0.0.1:18789"));
        drop(first);
        assert_eq!(running_gateway(&paths)?, None);
        gateway(&paths)?;
        Ok(())
    }

    #[test]
    fn an_account_is_used_once() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let id = AccountId::new("work");
        let held = account(dir.path(), &id)?;
        let error = account(dir.path(), &id).expect_err("held").to_string();
        assert!(error.contains("account work"), "{error}");
        drop(held);
        account(dir.path(), &id)?;
        Ok(())
    }
}
