//! Backups: one archive with configuration, links and state, which another machine can go on from.
//!
//! ```text
//! [age( ] gzip( tar( manifest.json, config/…, gateway.token, links/<account>/…, credentials/…, state.db, agents/…, media/…,
//!                    members.json ) ) [ )]
//! ```
//! The usual tools open it: `age -d backup.tar.gz.age | tar xz`. [`manifest`] says what the members are, [`write`](mod@write) and
//! [`read`](mod@read) carry them through a stream, [`seal`] is the encryption, [`swap`] puts an unpacked state in the place of another.
//! What a link is made of is not known here.

pub mod collect;
pub mod manifest;
pub mod read;
pub mod seal;
pub mod swap;
pub mod write;

use crate::store::StoreError;

/// A backup could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive could not be read to its end as it was written.
    #[error("damaged at {member}: {cause}")]
    Damaged {
        /// Where the damage was met.
        member: String,
        /// What is wrong.
        cause: String,
    },
    /// It is something else.
    #[error("no backup of Verso: {0}")]
    Foreign(String),
    /// A member that no backup of Verso has: somebody made the archive by hand.
    #[error("refused: {member}: {reason}")]
    Refused {
        /// The member.
        member: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It needs another key.
    #[error("{0}")]
    Key(String),
    /// What it holds cannot be put there.
    #[error("{0}")]
    Space(String),
    /// A file changed while it was read.
    #[error("{0} became shorter while it was read; try again")]
    Changed(std::path::PathBuf),
}

#[cfg(test)]
mod tests;
