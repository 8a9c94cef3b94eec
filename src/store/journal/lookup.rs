//! What is stored under a message id, for people who ask.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use rusqlite::{Connection, OpenFlags, params};
use serde_json::{Value, json};

use super::address;
use super::rows::{RawInbound, lossy, outbox_row};
use super::schema::refuse_newer;
use crate::ids::MessageId;
use crate::store::StoreError;

/// As [`Journal::get_by_message_id`](super::Journal::get_by_message_id) without a journal of one's own: reads, and changes nothing.
///
/// # Errors
/// When the file cannot be read or is damaged; one that does not exist holds nothing.
pub fn look_up(path: &Path, id: &MessageId) -> Result<Vec<Value>, StoreError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let broken = |e: rusqlite::Error| StoreError::Damaged { path: path.to_path_buf(), cause: e.to_string() };
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(broken)?;
    db.busy_timeout(Duration::from_secs(5)).map_err(broken)?;
    refuse_newer(&db, path)?;
    find(&db, id).map_err(broken)
}

/// The keys of the small facts that start with `prefix`, without a journal of one's own. Where no gateway runs (`in_use`), not a byte
/// of the file or beside it changes.
///
/// # Errors
/// When the file cannot be read or is damaged; one that does not exist holds nothing.
pub fn facts_at(path: &Path, prefix: &str, in_use: bool) -> Result<HashSet<String>, StoreError> {
    if !path.exists() {
        return Ok(HashSet::new());
    }
    let broken = |e: rusqlite::Error| StoreError::Damaged { path: path.to_path_buf(), cause: e.to_string() };
    // Whoever opens a database brings its shared memory up to date, and makes that file when there is none: a copy is opened.
    let copy = if in_use { None } else { Some(copied(path).map_err(StoreError::io("copy", path))?) };
    let file = copy.as_ref().map_or_else(|| path.to_path_buf(), |dir| dir.path().join(COPY));
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(broken)?;
    db.busy_timeout(Duration::from_secs(5)).map_err(broken)?;
    let mut keys = db.prepare("SELECT key FROM facts WHERE key >= ?1 AND key < ?1 || char(1114111)").map_err(broken)?;
    let found = keys.query_map(params![prefix], |row| lossy(row, "key")).map_err(broken)?;
    found.collect::<rusqlite::Result<_>>().map_err(broken)
}

/// The copy in the folder of [`copied`].
const COPY: &str = "state.db";

/// A private copy of a database that nobody has open, with its log.
fn copied(path: &Path) -> io::Result<tempfile::TempDir> {
    let dir = tempfile::Builder::new().prefix("verso-journal-").tempdir()?;
    fs::copy(path, dir.path().join(COPY))?;
    let log = path.with_extension("db-wal");
    if log.is_file() {
        fs::copy(log, dir.path().join(format!("{COPY}-wal")))?;
    }
    Ok(dir)
}

/// Rows as `{"inbound": ..}` with the parts of the answer, then `{"outgoing": ..}`. Of a row that cannot be read comes what can, and why
/// the rest cannot, as `unreadable`.
pub(super) fn find(db: &Connection, id: &MessageId) -> rusqlite::Result<Vec<Value>> {
    let inbound: Vec<RawInbound> = db
        .prepare_cached("SELECT * FROM inbound WHERE id = ?1 ORDER BY seq")?
        .query_map(params![id.as_str()], RawInbound::read)?
        .collect::<rusqlite::Result<_>>()?;
    let mut found = Vec::new();
    for raw in inbound {
        let parts = parts(db, "answers = ?1", raw.seq)?;
        let mut told = match raw.parse() {
            Ok(mut row) => {
                row.message = row.message.without_media_keys();
                json!(row)
            }
            Err(cause) => json!({
                "message": null, "account": raw.account, "chat": raw.chat, "sender": raw.sender, "state": raw.state,
                "receivedAt": raw.received_at, "decidedAt": raw.decided_at, "answeredAt": raw.answered_at,
                "decision": serde_json::from_str::<Value>(&raw.decision).unwrap_or_default(), "unreadable": cause,
            }),
        };
        told["parts"] = parts.into();
        found.push(json!({ "inbound": told }));
    }
    found.extend(parts(db, "id = ?1", id.as_str())?.into_iter().map(|row| json!({ "outgoing": row })));
    Ok(found)
}

fn parts(db: &Connection, of: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<Vec<Value>> {
    let mut all = db.prepare_cached(&format!("SELECT * FROM outbox WHERE {of} ORDER BY seq"))?;
    let rows = all.query_map([value], |row| match outbox_row(row) {
        Ok(part) => Ok(json!(part)),
        Err(cause) => Ok(json!({
            "account": lossy(row, "account")?, "id": lossy(row, "id")?, "chat": lossy(row, "chat")?, "content": null,
            "state": lossy(row, "state")?, "cause": row.get::<_, Option<String>>("cause").unwrap_or_default(),
            "attempts": row.get::<_, u32>("attempts").unwrap_or_default(), "resentAt": null,
            "createdAt": row.get::<_, i64>("created_at").unwrap_or_default(),
            "updatedAt": row.get::<_, i64>("updated_at").unwrap_or_default(), "unreadable": cause.to_string(),
        })),
    })?;
    let mut parts = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    parts.iter_mut().try_for_each(|part| address::tell(db, part))?;
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::super::schema::open_connection;
    use super::*;

    #[test]
    fn a_journal_at_rest_is_read_and_left_as_it_is() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state.db");
        let id = MessageId::new("P");
        assert!(look_up(&path, &id).expect("nothing there").is_empty() && !path.exists());
        let db = open_connection(&path).expect("opened");
        let part = r#"INSERT INTO outbox(account, id, chat, content, state, rank, created_at, updated_at)
                    VALUES ('work', 'P', '1@s.whatsapp.net', '{"type":"text","text":"hi","quote":null}', 'failed', 4, 1, 2)"#;
        db.execute(part, []).expect("inserted");
        drop(db);
        let before = std::fs::read(&path).expect("readable");
        let found = look_up(&path, &id).expect("read");
        assert_eq!((found.len(), &found[0]["outgoing"]["state"]), (1, &json!("failed")));
        assert!(look_up(&path, &MessageId::new("Q")).expect("read").is_empty());
        assert_eq!(std::fs::read(&path).expect("readable"), before);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state.db");
        std::fs::write(&path, "this is not a database, and long enough to be read as one header").expect("written");
        let error = look_up(&path, &MessageId::new("P")).expect_err("refused").to_string();
        assert!(error.contains("state.db"), "{error}");
    }
}
