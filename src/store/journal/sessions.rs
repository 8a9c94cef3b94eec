//! The sessions among the journal's facts: one entry a session key.

use rusqlite::{Connection, OptionalExtension, params};

use super::outbox::insert_part;
use super::rows::{OutboxPart, lossy};
use super::{Journal, facts};
use crate::event::MessageKey;
use crate::ids::{AccountId, SessionKey};
use crate::session::entry::Entry;
use crate::store::StoreError;

/// What a command that begins sessions anew leaves to do.
pub struct Carried {
    /// The command's message.
    pub key: MessageKey,
    /// The text that remains for the agents.
    pub rest: String,
    /// What the sender is told before they answer.
    pub told: Option<OutboxPart>,
}

impl Journal {
    /// What is kept of a session; `None` before its first turn. While the disk is full or the file is locked it waits.
    ///
    /// # Errors
    /// When it cannot be read and will not be.
    pub async fn session(&self, key: &SessionKey) -> Result<Option<Entry>, StoreError> {
        let fact = fact(key);
        self.run_surely(move |db| read(db, &fact), |_| {}).await
    }

    /// Changes a session in one step: nobody else's change falls between reading and writing. `None` leaves it as it is. While the
    /// disk is full or the file is locked it waits, and `change` is asked again.
    ///
    /// # Errors
    /// When it is not on disk and will not be.
    pub async fn change_session<T: Send + 'static>(
        &self,
        key: &SessionKey,
        mut change: impl FnMut(Option<Entry>) -> (Option<Entry>, T) + Send + 'static,
    ) -> Result<T, StoreError> {
        let (fact, now) = (fact(key), self.clock.now());
        let work = move |db: &Connection| {
            let (entry, result) = change(read(db, &fact)?);
            if let Some(entry) = entry {
                facts::write(db, &fact, &entry.to_text(), now)?;
            }
            Ok(result)
        };
        self.run_surely(work, |_| {}).await
    }

    /// Begins sessions anew for a command. What it leaves to do is noted with it (see [`Left::carried`](super::Left::carried)), so that
    /// a crash after this repeats neither the command nor what the sender is told. While the disk is full or the file is locked it
    /// waits.
    ///
    /// # Errors
    /// When it is not on disk and will not be.
    pub async fn begin_sessions(
        &self,
        sessions: Vec<(SessionKey, Entry)>,
        carried: Option<Carried>,
    ) -> Result<(), StoreError> {
        let (now, tally) = (self.clock.now(), self.tally.clone());
        let work = move |db: &Connection| {
            for (key, entry) in &sessions {
                facts::write(db, &fact(key), &entry.to_text(), now)?;
            }
            let Some(Carried { key, rest, told }) = &carried else { return Ok(None) };
            db.prepare_cached(
                "UPDATE inbound SET decision = json_set(CASE WHEN json_valid(decision) THEN decision ELSE '{}' END, '$.verdict.carried', ?5)
                 WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND id = ?4",
            )?
            .execute(params![
                key.account.as_str(),
                key.chat.to_string(),
                key.sender.to_string(),
                key.id.as_str(),
                rest
            ])?;
            if let Some(part) = told {
                insert_part(db, part, now)?;
            }
            Ok(told.as_ref().map(|part| part.account.clone()))
        };
        let queued = move |account: &Option<AccountId>| tally.queued(account.as_slice());
        self.run_surely(work, queued).await.map(|_| ())
    }
}

fn fact(key: &SessionKey) -> String {
    format!("session:{key}")
}

fn read(db: &Connection, fact: &str) -> rusqlite::Result<Option<Entry>> {
    db.prepare_cached("SELECT value, updated_at FROM facts WHERE key = ?1")?
        .query_row(params![fact], |r| Ok(Entry::parse(&lossy(r, "value")?, r.get(1)?)))
        .optional()
}
