//! The sessions among the journal's facts: one entry a session key.

use rusqlite::{Connection, OptionalExtension, params};

use super::Journal;
use crate::clock::UnixMs;
use crate::ids::SessionKey;
use crate::session::entry::Entry;
use crate::store::StoreError;

impl Journal {
    /// What is kept of a session; `None` before its first turn.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn session(&self, key: &SessionKey) -> Result<Option<Entry>, StoreError> {
        let fact = fact(key);
        self.run(move |db| read(db, &fact)).await
    }

    /// Changes a session in one step: nobody else's change falls between reading and writing. `None` leaves it as it is.
    ///
    /// # Errors
    /// When it is not on disk.
    pub async fn change_session<T: Send + 'static>(
        &self,
        key: &SessionKey,
        change: impl FnOnce(Option<Entry>) -> (Option<Entry>, T) + Send + 'static,
    ) -> Result<T, StoreError> {
        let (fact, now) = (fact(key), self.clock.now());
        self.run(move |db| {
            let (entry, result) = change(read(db, &fact)?);
            if let Some(entry) = entry {
                write(db, &fact, &entry, now)?;
            }
            Ok(result)
        })
        .await
    }
}

fn fact(key: &SessionKey) -> String {
    format!("session:{key}")
}

fn read(db: &Connection, fact: &str) -> rusqlite::Result<Option<Entry>> {
    db.prepare_cached("SELECT value, updated_at FROM facts WHERE key = ?1")?
        .query_row(params![fact], |r| Ok(Entry::parse(&r.get::<_, String>(0)?, r.get(1)?)))
        .optional()
}

fn write(db: &Connection, fact: &str, entry: &Entry, now: UnixMs) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO facts(key, value, updated_at) VALUES (?1, ?2, ?3)
         ON CONFLICT(key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
    )?
    .execute(params![fact, entry.to_text(), now])?;
    Ok(())
}
