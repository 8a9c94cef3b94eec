//! The journal's one writer thread: batches, transactions, schema.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::StoreError;

/// Most jobs in one transaction: bounds how long the first of them waits.
const MAX_BATCH: usize = 512;

pub(super) type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Gets the connection inside a running transaction, or `None` when there is none: then it must not run and only answers.
pub(super) type Job = Box<dyn FnOnce(Option<&Connection>) -> Finish + Send>;

pub(super) enum Order {
    Work(Job),
    Stop(oneshot::Sender<()>),
}

/// Runs one job so that its failure takes back only its own changes.
pub(super) fn in_savepoint<T>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    db.execute_batch("SAVEPOINT job")?;
    match work(db) {
        Ok(value) => db.execute_batch("RELEASE job").map(|()| value),
        Err(error) => {
            db.execute_batch("ROLLBACK TO job; RELEASE job")?;
            Err(error)
        }
    }
}

pub(super) fn damaged(error: &rusqlite::Error) -> StoreError {
    StoreError::Damaged { path: "state.db".into(), cause: error.to_string() }
}

pub(super) fn write_loop(db: &Connection, inbox: &mpsc::Receiver<Order>, commits: &AtomicU64, path: &Path) {
    while let Ok(first) = inbox.recv() {
        let mut stop = None;
        let mut jobs = Vec::new();
        let mut next = Some(first);
        while let Some(order) = next.take() {
            match order {
                Order::Work(job) => jobs.push(job),
                Order::Stop(done) => {
                    stop = Some(done);
                    break;
                }
            }
            if jobs.len() < MAX_BATCH {
                next = inbox.try_recv().ok();
            }
        }
        if !jobs.is_empty() {
            write_batch(db, jobs, commits, path);
        }
        if let Some(done) = stop {
            let _ = done.send(());
            return;
        }
    }
}

fn write_batch(db: &Connection, jobs: Vec<Job>, commits: &AtomicU64, path: &Path) {
    let mut failed = db.execute_batch("BEGIN IMMEDIATE").err();
    let mut finish: Vec<Finish> = Vec::with_capacity(jobs.len());
    for job in jobs {
        // Without a transaction a job must not run: what it wrote would stay although its caller is told that it failed.
        let connection = if failed.is_none() { Some(db) } else { None };
        match catch_unwind(AssertUnwindSafe(|| job(connection))) {
            Ok(done) => finish.push(done),
            // Its caller sees the answer channel closed; the others of the batch go on.
            Err(_) => tracing::error!(target: "gateway", "a job of the journal failed unexpectedly"),
        }
        // A full disk makes SQLite end the whole transaction by itself.
        if failed.is_none() && db.is_autocommit() {
            failed = Some(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                Some("the transaction was rolled back, as it is when the disk is full".to_owned()),
            ));
        }
    }
    let failed = failed.or_else(|| db.execute_batch("COMMIT").err());
    let Some(error) = failed else {
        commits.fetch_add(1, Ordering::Relaxed);
        finish.into_iter().for_each(|f| f(Ok(())));
        return;
    };
    if !db.is_autocommit() {
        let _ = db.execute_batch("ROLLBACK");
    }
    for f in finish {
        let cause = std::io::Error::other(error.to_string());
        f(Err(StoreError::Io { what: "write", path: path.to_path_buf(), cause }));
    }
}

/// The schema, one step per version of `PRAGMA user_version`.
pub(super) const MIGRATIONS: [&str; 3] = ["
    CREATE TABLE inbound(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, chat TEXT NOT NULL, sender TEXT NOT NULL, id TEXT NOT NULL,
        sent_at INTEGER NOT NULL, received_at INTEGER NOT NULL, message TEXT NOT NULL, state TEXT NOT NULL,
        decision TEXT, decided_at INTEGER, answered_at INTEGER, UNIQUE(account, chat, sender, id)) STRICT;
    CREATE INDEX inbound_open ON inbound(account, seq) WHERE state IN ('new', 'admitted');
    CREATE INDEX inbound_id ON inbound(id);
    CREATE TABLE outbox(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, id TEXT NOT NULL, chat TEXT NOT NULL, text TEXT NOT NULL,
        answers INTEGER, state TEXT NOT NULL, rank INTEGER NOT NULL, cause TEXT,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, UNIQUE(account, id)) STRICT;
    CREATE INDEX outbox_open ON outbox(account, seq) WHERE state IN ('queued', 'sent');
    CREATE INDEX outbox_answers ON outbox(answers);
    CREATE INDEX outbox_id ON outbox(id);
    CREATE TABLE facts(key TEXT PRIMARY KEY, value TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
", "
    CREATE INDEX inbound_chat ON inbound(account, chat, seq);
", "
    ALTER TABLE outbox RENAME COLUMN text TO content;
    UPDATE outbox SET content = json_object('type', 'text', 'text', content, 'quote', NULL);
    ALTER TABLE outbox ADD COLUMN first_contact INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE outbox ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE outbox ADD COLUMN resent_at INTEGER;
"];

pub(super) fn open_connection(path: &Path) -> Result<Connection, StoreError> {
    let broken = |e: rusqlite::Error| match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged { path: path.to_path_buf(), cause: e.to_string() }
        }
        _ => StoreError::Io { what: "open", path: path.to_path_buf(), cause: std::io::Error::other(e.to_string()) },
    };
    let db = Connection::open(path).map_err(broken)?;
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(StoreError::io("protect", path))?;
    }
    db.busy_timeout(std::time::Duration::from_secs(5)).map_err(broken)?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
        .map_err(broken)?;
    let version: u32 = db.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(broken)?;
    let version = version as usize;
    if version > MIGRATIONS.len() {
        return Err(StoreError::Damaged {
            path: path.to_path_buf(),
            cause: format!("it was written by a newer Verso (schema {version}, this one knows {})", MIGRATIONS.len()),
        });
    }
    for (index, step) in MIGRATIONS.iter().enumerate().skip(version) {
        db.execute_batch(&format!("BEGIN; {step} PRAGMA user_version = {}; COMMIT;", index + 1)).map_err(broken)?;
    }
    Ok(db)
}
