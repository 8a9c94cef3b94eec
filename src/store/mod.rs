//! What Verso keeps on disk. One file on disk = one module = one writer.
//!
//! Folders are 0700 and files 0600; files are replaced by temporary file, fsync, rename, fsync of the folder.

pub mod atomic;
pub mod auth_files;
pub mod backup;
pub mod credentials;
pub mod inbox;
pub mod journal;
pub mod lock;
pub mod original;
pub mod pairing;
pub mod paths;
pub mod transcripts;
pub mod web_version;
pub mod zoneinfo;

use std::io;
use std::path::{Path, PathBuf};

/// Something on disk could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder cannot be read or written.
    #[error("cannot {what} {}: {cause}; check that the user running Verso owns it and the disk is not full", path.display())]
    Io {
        /// read, write, create ...
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged: {cause}; move it away (or restore a backup) and start again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A folder cannot hold what it should.
    #[error("{0}")]
    Unusable(String),
    /// Somebody else uses it.
    #[error("{0}")]
    Busy(String),
    /// The writer of a database has ended.
    #[error("the journal is closed because the gateway is stopping")]
    Closed,
}

impl StoreError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |cause| Self::Io { what, path, cause }
    }
}
