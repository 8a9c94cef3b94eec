//! `state.db` in a backup: a copy of it while the gateway writes, and what may go on in a restored one.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::foreign;
use super::rows::{OutboxState, lossy};
use super::schema::open_connection;
use crate::clock::UnixMs;
use crate::outgoing::Outgoing;
use crate::policy::decision::{Decision, Gate, Verdict};
use crate::policy::reason::IgnoreReason;
use crate::store::StoreError;
use crate::store::backup::manifest::JournalEntry;
use crate::store::paths::StatePaths;

/// Why a part is not sent after a restore.
const NOT_SENT: &str =
    "not sent: it was waiting when the state was backed up, and the gateway of that time may have sent it since";

/// What a copy holds.
#[derive(Clone, Debug, Default)]
pub struct Copied {
    /// Its newest rows and what is open.
    pub entry: JournalEntry,
    /// Prepared files of parts that wait.
    pub files: Vec<PathBuf>,
}

/// What was open in a restored journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Messages without a decision or an answer.
    pub messages: usize,
    /// Parts that WhatsApp did not have.
    pub parts: usize,
}

/// Writes a consistent copy of the journal to `to`, where no file is; the gateway may write meanwhile. `None`: there is no journal.
///
/// # Errors
/// When it cannot be read, is damaged, or the copy cannot be written.
pub fn copy(from: &Path, to: &Path) -> Result<Option<Copied>, StoreError> {
    if !from.is_file() {
        return Ok(None);
    }
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(broken(from))?;
    source.busy_timeout(Duration::from_secs(10)).map_err(broken(from))?;
    source.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map_err(broken(from))?;
    let db = Connection::open(to).map_err(broken(to))?;
    let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(broken(from))?;
    if verdict != "ok" {
        return Err(StoreError::Damaged { path: from.to_path_buf(), cause: verdict });
    }
    look(&db).map(Some).map_err(broken(from))
}

/// The newest rows of a journal that no process writes to.
///
/// # Errors
/// When it cannot be read.
pub fn entry(path: &Path) -> Result<JournalEntry, StoreError> {
    let db = at_rest(path).map_err(broken(path))?;
    look(&db).map(|copied| copied.entry).map_err(broken(path))
}

/// Compares the schema of a copy with Verso's and reads all of it.
///
/// # Errors
/// When it is damaged, or holds something else than Verso's tables.
pub fn check(path: &Path) -> Result<(), StoreError> {
    let db = at_rest(path).map_err(broken(path))?;
    foreign::check(&db, path)?;
    let verdict = db.query_row("PRAGMA quick_check(1)", [], |r| r.get::<_, String>(0));
    match verdict.map_err(broken(path))?.as_str() {
        "ok" => Ok(()),
        damage => Err(StoreError::Damaged { path: path.to_path_buf(), cause: damage.to_owned() }),
    }
}

/// True when the newest messages of `path`, in and out, are also in `backup`: it is an earlier state of the same journal.
///
/// # Errors
/// When one of them cannot be read.
pub fn is_contained(path: &Path, backup: &Path) -> Result<bool, StoreError> {
    let (mine, theirs) = (at_rest(path).map_err(broken(path))?, at_rest(backup).map_err(broken(backup))?);
    for table in ["inbound", "outbox"] {
        let newest = format!("SELECT account, id FROM {table} ORDER BY seq DESC LIMIT 1");
        let newest: Option<(String, String)> =
            mine.query_row(&newest, [], |r| Ok((r.get(0)?, r.get(1)?))).optional().map_err(broken(path))?;
        let Some((account, id)) = newest else { continue };
        let known = theirs
            .prepare(&format!("SELECT 1 FROM {table} WHERE account = ?1 AND id = ?2"))
            .and_then(|mut known| known.exists(params![account, id]));
        if !known.map_err(broken(backup))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a restored journal one that a gateway may go on with. What was open at the time of the backup is settled as not to be done, with
/// the reason, because the gateway that was backed up may have done it; `resume` keeps it open. Paths below `from` become paths below `to`.
///
/// # Errors
/// When it is damaged, of a newer Verso, or cannot be written.
pub fn settle(path: &Path, now: UnixMs, resume: bool, from: &Path, to: &Path) -> Result<Open, StoreError> {
    check(path)?;
    let mut db = open_connection(path)?;
    let settled = (|| {
        let change = db.transaction()?;
        let found = open_rows(&change)?;
        if resume {
            move_files(&change, from, to)?;
        } else {
            give_up(&change, now)?;
        }
        change.commit()?;
        // One file, which can be moved as it is.
        db.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
        Ok(found)
    })();
    settled.map_err(broken(path))
}

fn broken(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError {
    let path = path.to_path_buf();
    move |e| match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) | None => {
            StoreError::Damaged { path: path.clone(), cause: e.to_string() }
        }
        Some(_) => {
            StoreError::Io { what: "read or copy", path: path.clone(), cause: std::io::Error::other(e.to_string()) }
        }
    }
}

/// Reads without leaving a trace: SQLite would make files beside a database in WAL mode.
fn at_rest(path: &Path) -> rusqlite::Result<Connection> {
    let log = PathBuf::from(format!("{}-wal", path.display()));
    if log.metadata().is_ok_and(|m| m.len() > 0) {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        foreign::distrust(&db)?;
        return Ok(db);
    }
    let escaped = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let db = Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)?;
    foreign::distrust(&db)?;
    Ok(db)
}

fn look(db: &Connection) -> rusqlite::Result<Copied> {
    // Rows are deleted after a while; numbers are never given again.
    let newest = |table: &str| -> rusqlite::Result<i64> {
        db.query_row("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?1", [table], |r| r.get(0))
    };
    let open = open_rows(db)?;
    let messages: i64 = db.query_row("SELECT count(*) FROM inbound", [], |r| r.get(0))?;
    let mut waiting = db.prepare("SELECT content FROM outbox WHERE state IN ('queued', 'sent')")?;
    let contents = waiting.query_map([], |r| lossy(r, "content"))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let files = contents
        .iter()
        .filter_map(|content| serde_json::from_str::<Outgoing>(content).ok()?.file().map(|file| file.path.clone()))
        .collect();
    let entry = JournalEntry {
        inbound: newest("inbound")?,
        outbox: newest("outbox")?,
        messages: u64::try_from(messages).unwrap_or(0),
        open: open.messages as u64,
        waiting: open.parts as u64,
    };
    Ok(Copied { entry, files })
}

fn open_rows(db: &Connection) -> rusqlite::Result<Open> {
    let count = |query: &str| -> rusqlite::Result<usize> {
        db.query_row(query, [], |r| r.get::<_, i64>(0)).map(|n| usize::try_from(n).unwrap_or(0))
    };
    Ok(Open {
        messages: count("SELECT count(*) FROM inbound WHERE state IN ('new', 'admitted')")?,
        parts: count("SELECT count(*) FROM outbox WHERE state IN ('queued', 'sent')")?,
    })
}

fn give_up(db: &Connection, now: UnixMs) -> rusqlite::Result<()> {
    let mut open = db.prepare("SELECT seq, decision FROM inbound WHERE state IN ('new', 'admitted')")?;
    let rows = open.query_map([], |r| Ok((r.get::<_, i64>(0)?, lossy(r, "decision")?)))?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut drop = db.prepare("UPDATE inbound SET state = 'dropped', decision = ?2, decided_at = ?3 WHERE seq = ?1")?;
    for (seq, decision) in rows {
        let before = serde_json::from_str::<Decision>(&decision).ok();
        let decision = serde_json::to_string(&dropped(before, IgnoreReason::Restored, "restore")).expect("plain data");
        drop.execute(params![seq, decision, now])?;
    }
    db.execute(
        "UPDATE outbox SET state = 'failed', rank = ?2, cause = ?3, updated_at = ?1 WHERE state IN ('queued', 'sent')",
        params![now, OutboxState::Failed as i64, NOT_SENT],
    )?;
    // Texts that no device has confirmed are sent once more; the other gateway may have done that too.
    db.execute("UPDATE outbox SET resent_at = ?1 WHERE state = 'acked' AND resent_at IS NULL", params![now])?;
    Ok(())
}

/// The decision as it was made, with what ended it as its last gate.
pub(super) fn dropped(before: Option<Decision>, reason: IgnoreReason, gate: &'static str) -> Decision {
    let verdict = Verdict::Drop { reason };
    let gate = Gate { gate: gate.into(), outcome: reason.code().into(), key: None, value: None, set_in: None };
    match before {
        Some(mut decision) => {
            decision.verdict = verdict;
            decision.trace.push(gate);
            decision
        }
        None => Decision { verdict, effects: Vec::new(), trace: vec![gate], revision: 0 },
    }
}

/// Why a part of a restored journal is not sent whose file may be any file of this machine.
const FOREIGN_FILE: &str = "not sent: the restored journal names a file outside media/outbound for it";

/// Prepared files of parts that wait lie elsewhere now. A part with a file in any other folder than the one of prepared files is given up: an
/// archive from elsewhere could have any file of this machine sent.
fn move_files(db: &Connection, from: &Path, to: &Path) -> rusqlite::Result<()> {
    let mut waiting = db.prepare("SELECT seq, content FROM outbox WHERE state IN ('queued', 'sent')")?;
    let rows = waiting.query_map([], |r| Ok((r.get::<_, i64>(0)?, lossy(r, "content")?)))?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    for (seq, content) in rows {
        let Ok(mut content) = serde_json::from_str::<Outgoing>(&content) else { continue };
        let Outgoing::Media { media, .. } = &mut content else { continue };
        if let Ok(below) = media.path.strip_prefix(from) {
            media.path = to.join(below);
        }
        let inside = media.path.strip_prefix(StatePaths::new(to, None).media_outbound());
        let plain = inside.is_ok_and(|rest| rest.components().all(|c| matches!(c, Component::Normal(_))));
        if !plain {
            db.execute(
                "UPDATE outbox SET state = 'failed', rank = ?2, cause = ?3 WHERE seq = ?1",
                params![seq, OutboxState::Failed as i64, FOREIGN_FILE],
            )?;
            continue;
        }
        let content = serde_json::to_string(&content).expect("plain data");
        db.execute("UPDATE outbox SET content = ?2 WHERE seq = ?1", params![seq, content])?;
    }
    Ok(())
}
