//! Opening the file and bringing it to this version.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::JournalError;

/// One entry a version; never changed once released.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE inbound (
        seq INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        chat TEXT NOT NULL,
        sender TEXT NOT NULL,
        id TEXT NOT NULL,
        message TEXT NOT NULL,
        received_at INTEGER NOT NULL,
        state TEXT NOT NULL,
        decision TEXT,
        decided_at INTEGER,
        UNIQUE (account, chat, sender, id)
    ) STRICT;
    CREATE INDEX inbound_open ON inbound (account, seq) WHERE state IN ('new', 'admitted');
    CREATE INDEX inbound_by_id ON inbound (id);
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        message_id TEXT NOT NULL,
        chat TEXT NOT NULL,
        in_chat TEXT,
        in_sender TEXT,
        in_id TEXT,
        part INTEGER NOT NULL,
        text TEXT NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        cause TEXT,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        UNIQUE (account, message_id)
    ) STRICT;
    CREATE INDEX outbox_open ON outbox (account, seq) WHERE state IN ('queued', 'sent');
    CREATE TABLE kv (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
"];

/// Another program that looks into the file is waited for that long.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

pub(super) fn open(path: &Path) -> Result<Connection, JournalError> {
    let unusable = |cause: String| JournalError::Open { path: path.to_owned(), cause };
    // SQLite gives its journal files the mode of the database.
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| unusable(e.to_string()))?;
    let mut db = Connection::open(path).map_err(|e| failure(path, &e))?;
    prepare(path, &mut db)?;
    Ok(db)
}

fn prepare(path: &Path, db: &mut Connection) -> Result<(), JournalError> {
    let failed = |e: rusqlite::Error| failure(path, &e);
    db.busy_timeout(BUSY_LIMIT).map_err(failed)?;
    db.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    db.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    db.set_prepared_statement_cache_capacity(32);
    let known = MIGRATIONS.len() as i64;
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if found > known {
        return Err(JournalError::Newer { path: path.to_owned(), found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for (index, step) in MIGRATIONS.iter().enumerate().skip(done) {
        let version = index + 1;
        let change = db.transaction().map_err(failed)?;
        change.execute_batch(step).map_err(failed)?;
        change.pragma_update(None, "user_version", version as i64).map_err(failed)?;
        change.commit().map_err(failed)?;
    }
    Ok(())
}

/// The database's word as an error that names the file and the fix.
pub(super) fn failure(path: &Path, error: &rusqlite::Error) -> JournalError {
    let path = path.to_owned();
    let cause = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => JournalError::Full { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => JournalError::Busy { path },
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => JournalError::Damaged { path, cause },
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::SystemIoFailure) => {
            JournalError::Open { path, cause }
        }
        _ => JournalError::Sql { path, cause },
    }
}
