//! Small facts that must survive: a key and a value each.

use rusqlite::{Connection, OptionalExtension, params};

use super::Journal;
use super::rows::lossy;
use crate::clock::UnixMs;
use crate::command::Activation;
use crate::session::entry::Entry;
use crate::store::StoreError;

impl Journal {
    /// Reads a small fact.
    ///
    /// # Errors
    /// When it cannot be read now.
    pub async fn get(&self, key: &str) -> Result<Option<String>, StoreError> {
        let key = key.to_owned();
        self.run(move |db| read(db, &key)).await
    }

    /// The same for what has to be known: while the disk is full or the file is locked it waits.
    ///
    /// # Errors
    /// When it cannot be read and will not be.
    pub async fn get_surely(&self, key: &str) -> Result<Option<String>, StoreError> {
        let key = key.to_owned();
        self.run_surely(move |db| read(db, &key), |_| {}).await
    }

    /// The small facts whose keys start with `prefix`: key, value, when it was written. While the disk is full or the file is locked
    /// it waits.
    ///
    /// # Errors
    /// When they cannot be read and will not be.
    pub async fn facts(&self, prefix: &str) -> Result<Vec<(String, String, UnixMs)>, StoreError> {
        let prefix = prefix.to_owned();
        let read = move |db: &Connection| {
            db.prepare_cached(
                "SELECT key, value, updated_at FROM facts WHERE key >= ?1 AND key < ?1 || char(1114111) ORDER BY key",
            )?
            .query_map(params![prefix], |r| Ok((lossy(r, "key")?, lossy(r, "value")?, r.get(2)?)))?
            .collect()
        };
        self.run_surely(read, |_| {}).await
    }

    /// Writes a small fact.
    ///
    /// # Errors
    /// When it is not on disk.
    pub async fn put(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let (key, value, now) = (key.to_owned(), value.to_owned(), self.clock.now());
        self.run(move |db| write(db, &key, &value, now)).await
    }

    /// The same for what must not be lost: while the disk is full or the file is locked it waits.
    ///
    /// # Errors
    /// When it is not on disk and will not be.
    pub async fn put_surely(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let (key, value, now) = (key.to_owned(), value.to_owned(), self.clock.now());
        self.run_surely(move |db| write(db, &key, &value, now), |()| {}).await
    }

    /// Deletes a small fact; one that is not there is none the less. While the disk is full or the file is locked it waits.
    ///
    /// # Errors
    /// When that is not on disk and will not be.
    pub async fn forget(&self, key: &str) -> Result<(), StoreError> {
        let key = key.to_owned();
        let forget = move |db: &Connection| {
            db.prepare_cached("DELETE FROM facts WHERE key = ?1")?.execute(params![key])?;
            Ok(())
        };
        self.run_surely(forget, |()| {}).await
    }
}

pub(super) fn read(db: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT value FROM facts WHERE key = ?1")?
        .query_row(params![key], |r| lossy(r, "value"))
        .optional()
}

pub(super) fn write(db: &Connection, key: &str, value: &str, now: UnixMs) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO facts(key, value, updated_at) VALUES (?1, ?2, ?3)
         ON CONFLICT(key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
    )?
    .execute(params![key, value, now])?;
    Ok(())
}

/// False for a value that the one who asks for it cannot make anything of.
pub(super) fn is_readable(key: &[u8], value: &str) -> bool {
    let Ok(key) = std::str::from_utf8(key) else { return false };
    match key.split(':').next() {
        // Older versions kept the name of the transcript alone.
        Some("session") => {
            serde_json::from_str::<Entry>(value).is_ok()
                || (!value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)))
        }
        Some("activation") => serde_json::from_value::<Activation>(value.into()).is_ok(),
        _ => true,
    }
}
