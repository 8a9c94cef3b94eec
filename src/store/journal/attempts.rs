//! Which messages this process is at work on, so that one that ends every process is found out and left alone.
//!
//! A message counts one try when it comes in, and one in every later process that begins with it; the count is on disk before the work
//! begins. Work that ends, in whatever way, takes its try back, and so does a process that is asked to stop: what remains are the
//! processes that ended while they were at work on it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, params};

use super::{Journal, StoreError};
use crate::event::MessageKey;

/// A message that so many processes ended with is not begun again.
pub const MOST_TRIES: u32 = 3;

/// This process, as rows name it.
#[derive(Clone)]
pub(super) struct Attempts {
    pub(super) process: i64,
    /// Messages of earlier processes; the others have counted their try already.
    inherited: Arc<Mutex<HashSet<MessageKey>>>,
    /// The process was asked to stop: nothing counts any more.
    stopping: Arc<AtomicBool>,
}

impl Attempts {
    pub(super) fn new() -> Self {
        let process = rand::random::<i64>();
        Self { process, inherited: Arc::default(), stopping: Arc::default() }
    }

    pub(super) fn inherit(&self, key: MessageKey) {
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    fn is_inherited(&self, key: &MessageKey) -> bool {
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }
}

impl Journal {
    /// Notes that the work on messages begins, on disk when this returns. For messages of this process that is noted already.
    ///
    /// # Errors
    /// When it is not on disk and will not be.
    pub async fn begin(&self, keys: &[MessageKey]) -> Result<(), StoreError> {
        let process = self.attempts.process;
        let keys: Vec<MessageKey> = keys.iter().filter(|key| self.attempts.is_inherited(key)).cloned().collect();
        if keys.is_empty() || self.attempts.stopping.load(Ordering::Acquire) {
            return Ok(());
        }
        let work = move |db: &Connection| {
            let mut begin = db.prepare_cached(
                "UPDATE inbound SET tries = tries + 1, tried_in = ?5
                 WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND id = ?4 AND tried_in IS NOT ?5",
            )?;
            keys.iter().try_for_each(|key| execute(&mut begin, key, process))
        };
        self.run_surely(work, |()| {}).await
    }

    /// Notes that the work on messages is over and the process lives. Does not wait for the disk.
    pub fn survived(&self, keys: &[MessageKey]) {
        let process = self.attempts.process;
        let keys: Vec<MessageKey> = keys.iter().filter(|key| self.attempts.is_inherited(key)).cloned().collect();
        if keys.is_empty() {
            return;
        }
        let work = move |db: &Connection| {
            let mut end = db.prepare_cached(
                "UPDATE inbound SET tries = tries - 1, tried_in = NULL
                 WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND id = ?4 AND tried_in = ?5 AND tries > 0",
            )?;
            keys.iter().try_for_each(|key| execute(&mut end, key, process))
        };
        let noted = self.submit(true, work, |result| {
            if let Err(error) = result {
                tracing::error!(target: "whatsapp/inbound", %error, "the end of the work on a message was not noted");
            }
        });
        if let Err(error) = noted {
            tracing::debug!(target: "whatsapp/inbound", %error, "the end of the work on a message was not noted");
        }
    }

    /// The process was asked to stop: what it is at work on now counts no try, however it ends.
    ///
    /// # Errors
    /// When that is not on disk.
    pub async fn stops_gracefully(&self) -> Result<(), StoreError> {
        self.attempts.stopping.store(true, Ordering::Release);
        let process = self.attempts.process;
        let work = move |db: &Connection| {
            db.prepare_cached(
                "UPDATE inbound SET tries = tries - 1, tried_in = NULL
                 WHERE state IN ('new', 'admitted') AND tried_in = ?1 AND tries > 0",
            )?
            .execute([process])
            .map(|_| ())
        };
        self.run(work).await
    }
}

fn execute(statement: &mut rusqlite::CachedStatement<'_>, key: &MessageKey, process: i64) -> rusqlite::Result<()> {
    let (chat, sender) = (key.chat.to_string(), key.sender.to_string());
    statement.execute(params![key.account.as_str(), chat, sender, key.id.as_str(), process]).map(|_| ())
}
