//! What a look at the database file shows, before anything is opened on it: whether it is whole, and of which epoch it is.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::wal;

/// The database of one account.
pub(super) const DATABASE: &str = "signal.db";

/// What could be rolled back with a database: never used again after that.
pub(super) const ROLLED_BACK: [&str; 5] = ["sessions", "sender_keys", "sender_key_devices", "prekeys", "base_keys"];

/// What a look at the database file shows.
pub(super) enum Found {
    /// SQLite can read all of it. `rolled_back`: it is older than the record beside it, or than its own log was.
    Whole { rolled_back: bool },
    /// It cannot.
    Damaged(String),
}

/// Checks the database, makes it when there is none, takes back keys that were rolled back, and begins its next epoch.
pub(super) fn inspect(path: &Path, recorded: u32) -> io::Result<Found> {
    if !begins_as_database(path)? {
        return Ok(Found::Damaged("it does not begin as a database does".to_owned()));
    }
    let log_is_lost = wal::is_lost(path)?;
    match next_epoch(path, recorded, log_is_lost) {
        Ok(Ok(rolled_back)) => Ok(Found::Whole { rolled_back }),
        Ok(Err(damage)) => Ok(Found::Damaged(damage)),
        Err(rusqlite::Error::SqliteFailure(e, text)) if is_outage(e.code) => {
            Err(io::Error::other(text.unwrap_or_else(|| e.to_string())))
        }
        Err(damage) => Ok(Found::Damaged(damage.to_string())),
    }
}

/// Reasons that lie outside the file.
pub(super) fn is_outage(code: rusqlite::ErrorCode) -> bool {
    use rusqlite::ErrorCode as Code;
    matches!(
        code,
        Code::DatabaseBusy
            | Code::DatabaseLocked
            | Code::PermissionDenied
            | Code::OutOfMemory
            | Code::ReadOnly
            | Code::SystemIoFailure
            | Code::DiskFull
            | Code::CannotOpen
    )
}

/// The same in the words of SQLite and the system, which are all that the library passes on.
pub(super) fn names_outage(cause: &str) -> bool {
    [
        "is locked",
        "out of memory",
        "readonly database",
        "disk I/O error",
        "disk is full",
        "unable to open database file",
        "Too many open files",
        "No space left",
        "access permission denied",
        "database connection error",
    ]
    .iter()
    .any(|words| cause.contains(words))
}

fn next_epoch(path: &Path, recorded: u32, log_is_lost: bool) -> rusqlite::Result<Result<bool, String>> {
    let mut database = rusqlite::Connection::open(path)?;
    database.pragma_update(None, "synchronous", "FULL")?;
    let verdict: String = database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Ok(Err(verdict));
    }
    let epoch = epoch_of(&database)?;
    let change = database.transaction()?;
    let count = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    let mut rolled_back = false;
    if epoch < recorded || log_is_lost {
        for table in ROLLED_BACK {
            let known: i64 = change.query_row(count, [table], |row| row.get(0))?;
            if known > 0 {
                change.execute(&format!("DELETE FROM {table}"), [])?;
                rolled_back = true;
            }
        }
    }
    change.pragma_update(None, "user_version", epoch.max(recorded).saturating_add(1).min(i32::MAX.unsigned_abs()))?;
    // What was wrong with the log is over: the next look begins afresh.
    change.pragma_update(None, "application_id", 0)?;
    change.commit()?;
    if rolled_back {
        let why = if log_is_lost { "lost the end of its log" } else { "is older than creds.json" };
        tracing::warn!(target: "web-session", "the account's database {why}; dropped the keys that it rolled back");
    }
    Ok(Ok(rolled_back))
}

pub(super) fn epoch_of(database: &rusqlite::Connection) -> rusqlite::Result<u32> {
    let epoch: i32 = database.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(u32::try_from(epoch).unwrap_or(0))
}

/// An error and what lies below it: the library's outermost words name no reason.
pub(super) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What every SQLite file begins with.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Creates the database for this user only (SQLite gives its journal files the same mode), and refuses a file that is
/// none: the library would try that for half a minute.
pub(super) fn prepare_file(path: &Path) -> io::Result<()> {
    if begins_as_database(path)? {
        return Ok(());
    }
    Err(io::Error::other(
        "the file is damaged; move it away: the link comes back from creds.json without scanning again",
    ))
}

/// Makes the file, for this user only, when there is none. True when it is empty or begins as SQLite's files do.
fn begins_as_database(path: &Path) -> io::Result<bool> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    let mut start = [0; HEADER.len()];
    Ok(match file.read_exact(&mut start) {
        Ok(()) => &start == HEADER,
        Err(_) => file.metadata()?.len() == 0,
    })
}
