//! `state.db`: every inbound message with its decision, every outbound part with its fate.
//!
//! One thread writes. It takes whatever jobs wait and commits them together, so that the cost is one fsync a batch and
//! not one a message. A job that fails undoes itself only. Answers leave after the commit.

mod rows;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension, params};

pub use rows::{Counts, InboundRow, InboundState, OutboxPart, OutboxRow, OutboxState};

use self::writer::{Shared, Writer};
use super::lock::{FileLock, LockError};
use crate::clock::{Clock, UnixMs};
use crate::event::{InboundMessage, MessageKey};
use crate::ids::{AccountId, MessageId};

/// The journal could not be opened or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The file or its folder cannot be used.
    #[error("cannot open {}: {cause}; make the folder readable and writable for this user and check that the disk is not full", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What was seen.
        cause: String,
    },
    /// The file is not a journal of this version.
    #[error("{} was written by a newer Verso (version {found}, this one knows {known}); update Verso", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this build reads.
        known: i64,
    },
    /// The file is damaged.
    #[error("{} is damaged ({cause}); move it away to start with an empty journal, and keep it for a repair", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was seen.
        cause: String,
    },
    /// Another process has it open.
    #[error("{0}")]
    InUse(String),
    /// The disk is full.
    #[error("the disk that holds {} is full; make room", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else locks the database.
    #[error("{} is locked by another program; close it", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The writer has ended.
    #[error("the journal is closed")]
    Closed,
    /// Anything else.
    #[error("{}: {cause}", path.display())]
    Sql {
        /// The file.
        path: PathBuf,
        /// What the database said.
        cause: String,
    },
}

/// The open journal. Clones share the one writer; it ends, and the file is released, when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Journal {
    writer: Arc<Writer>,
    clock: Clock,
}

impl Journal {
    /// Opens or creates the file and brings it to this version. Blocks for a few milliseconds.
    ///
    /// # Errors
    /// When another process has it, or it cannot be used; the text names the file and the fix.
    pub fn open(path: &Path, clock: Clock) -> Result<Self, JournalError> {
        let lock = lock(path)?;
        let connection = schema::open(path)?;
        let writer = Writer::start(path.to_owned(), connection, lock)?;
        Ok(Self { writer: Arc::new(writer), clock })
    }

    fn shared(&self) -> &Shared {
        &self.writer.shared
    }

    /// How many batches that changed something were committed, which is how many times the disk was waited for.
    pub fn batches(&self) -> u64 {
        self.shared().batches.load(Ordering::Relaxed)
    }

    /// Writes messages down for good. The answer says for each whether it is new; one that is already there is left as
    /// it is.
    ///
    /// # Errors
    /// See [`JournalError`]; then none of them is written.
    pub async fn commit(&self, messages: Vec<InboundMessage>) -> Result<Vec<bool>, JournalError> {
        let now = self.clock.now();
        self.write(move |db| {
            let mut insert = db.prepare_cached(
                "INSERT INTO inbound (account, chat, sender, id, message, received_at, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'new') ON CONFLICT DO NOTHING",
            )?;
            let mut fresh = Vec::with_capacity(messages.len());
            for message in &messages {
                let key = message.key();
                let json = rows::to_json(message)?;
                let changed = insert.execute(params![
                    key.account.as_str(),
                    key.chat.to_string(),
                    key.sender.to_string(),
                    key.id.as_str(),
                    json,
                    now
                ])?;
                fresh.push(changed == 1);
            }
            Ok(fresh)
        })
        .await
    }

    /// Records what was decided about a message: its new state and the explanation (verdict, reason, key path, revision,
    /// agent, session). Returns whether the message is known.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn decide(
        &self,
        key: &MessageKey,
        state: InboundState,
        decision: serde_json::Value,
    ) -> Result<bool, JournalError> {
        let (key, now) = (key.clone(), self.clock.now());
        self.write(move |db| {
            let changed = db.prepare_cached(
                "UPDATE inbound SET state = ?5, decision = ?6, decided_at = ?7
                 WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND id = ?4",
            )?
            .execute(params![
                key.account.as_str(),
                key.chat.to_string(),
                key.sender.to_string(),
                key.id.as_str(),
                state.as_str(),
                decision.to_string(),
                now
            ])?;
            Ok(changed == 1)
        })
        .await
    }

    /// Marks a message as answered and queues the parts of its answer, both or neither. Without parts it is answered by
    /// silence. A message that is already answered is left alone and its parts are not queued: `false`.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn answer(&self, key: &MessageKey, parts: Vec<OutboxPart>) -> Result<bool, JournalError> {
        let (key, now) = (key.clone(), self.clock.now());
        self.write(move |db| {
            let changed = db.prepare_cached(
                "UPDATE inbound SET state = 'answered'
                 WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND id = ?4 AND state <> 'answered'",
            )?
            .execute(params![
                key.account.as_str(),
                key.chat.to_string(),
                key.sender.to_string(),
                key.id.as_str()
            ])?;
            if changed == 0 {
                return Ok(false);
            }
            for part in &parts {
                insert_part(db, part, now)?;
            }
            Ok(true)
        })
        .await
    }

    /// Messages that were not decided, or admitted and not answered, oldest first.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn unanswered(&self, account: Option<&AccountId>) -> Result<Vec<InboundRow>, JournalError> {
        let account = account.cloned();
        self.read(move |db| {
            db.prepare_cached(
                "SELECT message, received_at, state, decision, decided_at FROM inbound
                 WHERE state IN ('new', 'admitted') AND (?1 IS NULL OR account = ?1) ORDER BY seq",
            )?
            .query_map(params![account.as_ref().map(AccountId::as_str)], rows::inbound)?
            .collect()
        })
        .await
    }

    /// All messages with an id, of any account and chat, oldest first.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn get_by_message_id(&self, id: &MessageId) -> Result<Vec<InboundRow>, JournalError> {
        let id = id.clone();
        self.read(move |db| {
            db.prepare_cached(
                "SELECT message, received_at, state, decision, decided_at FROM inbound WHERE id = ?1 ORDER BY seq",
            )?
            .query_map(params![id.as_str()], rows::inbound)?
            .collect()
        })
        .await
    }

    /// The newest messages of an account, or of all, newest first.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn recent(&self, account: Option<&AccountId>, limit: u32) -> Result<Vec<InboundRow>, JournalError> {
        let account = account.cloned();
        self.read(move |db| {
            db.prepare_cached(
                "SELECT message, received_at, state, decision, decided_at FROM inbound
                 WHERE ?1 IS NULL OR account = ?1 ORDER BY seq DESC LIMIT ?2",
            )?
            .query_map(params![account.as_ref().map(AccountId::as_str), limit], rows::inbound)?
            .collect()
        })
        .await
    }

    /// Queues a part that answers no message. A second part under the same id of the same account is not queued: `false`.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn enqueue(&self, part: OutboxPart) -> Result<bool, JournalError> {
        let now = self.clock.now();
        self.write(move |db| insert_part(db, &part, now)).await
    }

    /// Parts of an account that WhatsApp has not taken yet, in the order in which they are to be sent.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn outbox_open(&self, account: &AccountId) -> Result<Vec<OutboxRow>, JournalError> {
        let account = account.clone();
        self.read(move |db| {
            db.prepare_cached(&format!(
                "SELECT {} FROM outbox WHERE account = ?1 AND state IN ('queued', 'sent') ORDER BY seq",
                rows::OUTBOX_COLUMNS
            ))?
            .query_map(params![account.as_str()], rows::outbox)?
            .collect()
        })
        .await
    }

    /// One part, by its id.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn outbox_get(&self, account: &AccountId, id: &MessageId) -> Result<Option<OutboxRow>, JournalError> {
        let (account, id) = (account.clone(), id.clone());
        self.read(move |db| {
            db.prepare_cached(&format!(
                "SELECT {} FROM outbox WHERE account = ?1 AND message_id = ?2",
                rows::OUTBOX_COLUMNS
            ))?
            .query_row(params![account.as_str(), id.as_str()], rows::outbox)
            .optional()
        })
        .await
    }

    /// Moves a part on, with the cause of a failure. A late confirmation never takes back a better one (a server ack
    /// after the delivery receipt changes nothing). Returns whether the part exists and moved.
    ///
    /// `Sent`, and `Queued` with a cause, count as an attempt.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn mark(
        &self,
        account: &AccountId,
        id: &MessageId,
        state: OutboxState,
        cause: Option<String>,
    ) -> Result<bool, JournalError> {
        let (account, id, now) = (account.clone(), id.clone(), self.clock.now());
        self.write(move |db| {
            let old: Option<String> = db.prepare_cached(
                "SELECT state FROM outbox WHERE account = ?1 AND message_id = ?2",
            )?
            .query_row(params![account.as_str(), id.as_str()], |row| row.get(0))
            .optional()?;
            let Some(old) = old.and_then(|old| OutboxState::parse(&old)) else { return Ok(false) };
            if !old.may_become(state) {
                return Ok(false);
            }
            let attempt = state == OutboxState::Sent || (state == OutboxState::Queued && cause.is_some());
            db.prepare_cached(
                "UPDATE outbox SET state = ?3, cause = ?4, attempts = attempts + ?5, updated_at = ?6
                 WHERE account = ?1 AND message_id = ?2",
            )?
            .execute(params![account.as_str(), id.as_str(), state.as_str(), cause, attempt, now])?;
            Ok(true)
        })
        .await
    }

    /// How many rows are in each state.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn counts(&self) -> Result<Counts, JournalError> {
        self.read(rows::counts).await
    }

    /// Deletes finished rows that are older than `before`; returns how many. Open ones are kept whatever their age.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn prune(&self, before: UnixMs) -> Result<u64, JournalError> {
        self.write(move |db| {
            let inbound = db.execute(
                "DELETE FROM inbound WHERE received_at < ?1 AND state NOT IN ('new', 'admitted')",
                params![before],
            )?;
            let outbox = db.execute(
                "DELETE FROM outbox WHERE updated_at < ?1 AND state NOT IN ('queued', 'sent')",
                params![before],
            )?;
            Ok((inbound + outbox) as u64)
        })
        .await
    }

    /// A value kept under a key.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn kv_get(&self, key: &str) -> Result<Option<String>, JournalError> {
        let key = key.to_owned();
        self.read(move |db| {
            db.prepare_cached("SELECT value FROM kv WHERE key = ?1")?.query_row([key], |row| row.get(0)).optional()
        })
        .await
    }

    /// Keeps a value under a key; `None` removes it.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn kv_set(&self, key: &str, value: Option<String>) -> Result<(), JournalError> {
        let key = key.to_owned();
        self.write(move |db| {
            match value {
                Some(value) => db.prepare_cached(
                    "INSERT INTO kv (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                )?
                .execute(params![key, value])?,
                None => db.execute("DELETE FROM kv WHERE key = ?1", [key])?,
            };
            Ok(())
        })
        .await
    }

    async fn write<T, F>(&self, job: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.writer.submit(true, job).await
    }

    async fn read<T, F>(&self, job: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.writer.submit(false, job).await
    }
}

fn insert_part(db: &Connection, part: &OutboxPart, now: UnixMs) -> rusqlite::Result<bool> {
    let inbound = part.inbound.as_ref();
    let changed = db.prepare_cached(
        "INSERT INTO outbox (account, message_id, chat, in_chat, in_sender, in_id, part, text, state, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'queued', ?9, ?9) ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        part.account.as_str(),
        part.message_id.as_str(),
        part.chat.to_string(),
        inbound.map(|key| key.chat.to_string()),
        inbound.map(|key| key.sender.to_string()),
        inbound.map(|key| key.id.as_str()),
        part.seq,
        part.text,
        now
    ])?;
    Ok(changed == 1)
}

fn lock(path: &Path) -> Result<FileLock, JournalError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    FileLock::acquire(Path::new(&name)).map_err(|error| match error {
        LockError::Io { cause, .. } => JournalError::Open { path: path.to_owned(), cause: cause.to_string() },
        held => JournalError::InUse(held.to_string()),
    })
}

#[cfg(test)]
mod tests;
