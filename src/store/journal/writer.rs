//! The journal's one writer thread: batches and transactions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use crate::store::StoreError;

/// Most jobs in one transaction: bounds how long the first of them waits.
const MAX_BATCH: usize = 512;
/// How often what waits for the disk is tried.
const RETRY: Duration = Duration::from_millis(500);

/// Something to do inside a transaction.
pub(super) trait Job: Send {
    /// Does it, once more after a transaction that came to nothing.
    ///
    /// # Errors
    /// Of the disk, which end the transaction; the job's own failure is told to its caller by `finish`.
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()>;

    /// Tells the caller what came of it.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);

    /// Whether it waits for the disk instead of failing.
    fn is_patient(&self) -> bool;
}

pub(super) enum Order {
    Work(Box<dyn Job>),
    Stop(oneshot::Sender<()>),
    /// See [`Journal::pretend_full`](super::Journal::pretend_full).
    #[cfg(feature = "demo")]
    Full(bool),
}

/// Runs one job so that its failure takes back only its own changes.
pub(super) fn in_savepoint<T>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    db.execute_batch("SAVEPOINT job")?;
    let done = work(db).and_then(|value| db.execute_batch("RELEASE job").map(|()| value));
    if done.is_err() && db.execute_batch("ROLLBACK TO job; RELEASE job").is_err() && !db.is_autocommit() {
        // What cannot be taken back alone is taken back with everything else.
        let _ = db.execute_batch("ROLLBACK");
    }
    done
}

pub(super) fn damaged(error: &rusqlite::Error) -> StoreError {
    StoreError::Damaged { path: "state.db".into(), cause: error.to_string() }
}

/// The disk is full or broken, or somebody else has locked the file: it may pass.
pub(super) fn may_pass(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::OutOfMemory
        )
    )
}

fn not_written(error: &rusqlite::Error, path: &Path) -> StoreError {
    if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) {
        return StoreError::Busy(format!(
            "cannot write {}: another program has locked it; close whatever has the file open (a backup, sqlite3)",
            path.display()
        ));
    }
    StoreError::Io { what: "write", path: path.to_path_buf(), cause: std::io::Error::other(error.to_string()) }
}

/// What the thread owns.
pub(super) struct Writer<'a> {
    pub db: Connection,
    pub path: &'a Path,
    pub commits: &'a AtomicU64,
    /// What waits for the disk, oldest first. Nothing overtakes it.
    pub waiting: Vec<Box<dyn Job>>,
    /// The last transaction came to nothing.
    pub in_trouble: bool,
}

impl Writer<'_> {
    pub(super) fn run(mut self, inbox: &mpsc::Receiver<Order>) {
        loop {
            let first = if self.waiting.is_empty() {
                inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            } else {
                inbox.recv_timeout(RETRY)
            };
            if matches!(first, Err(mpsc::RecvTimeoutError::Disconnected)) {
                return;
            }
            let mut stop = None;
            let mut jobs = std::mem::take(&mut self.waiting);
            let most = jobs.len() + MAX_BATCH;
            let mut next = first.ok();
            while let Some(order) = next.take() {
                match order {
                    Order::Work(job) => jobs.push(job),
                    Order::Stop(done) => {
                        stop = Some(done);
                        break;
                    }
                    #[cfg(feature = "demo")]
                    Order::Full(full) => self.pretend_full(full),
                }
                if jobs.len() < most {
                    next = inbox.try_recv().ok();
                }
            }
            if !jobs.is_empty() {
                self.write(jobs);
            }
            if let Some(done) = stop {
                self.waiting.into_iter().for_each(|job| job.finish(Err(StoreError::Closed)));
                let _ = done.send(());
                return;
            }
        }
    }

    #[cfg(feature = "demo")]
    fn pretend_full(&self, full: bool) {
        let limit = || {
            let pages =
                if full { self.db.query_row("PRAGMA page_count", [], |r| r.get(0))? } else { i64::from(i32::MAX) };
            self.db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
        };
        limit().expect("SQLite knows this");
    }

    fn write(&mut self, jobs: Vec<Box<dyn Job>>) {
        let mut failed = self.db.execute_batch("BEGIN IMMEDIATE").err();
        let mut done: Vec<Box<dyn Job>> = Vec::with_capacity(jobs.len());
        for mut job in jobs {
            // Without a transaction a job must not run: what it wrote would stay although its caller is told that it failed.
            if failed.is_some() {
                done.push(job);
                continue;
            }
            match catch_unwind(AssertUnwindSafe(|| job.run(&self.db))) {
                Ok(ran) => {
                    failed = ran.err();
                    done.push(job);
                }
                // Its caller sees the answer channel closed; the others of the batch go on.
                Err(_) => {
                    tracing::error!(target: "gateway", "a job of the journal failed unexpectedly");
                    // What it had done by then must not be committed with the others.
                    if !self.db.is_autocommit() && self.db.execute_batch("ROLLBACK TO job; RELEASE job").is_err() {
                        failed = Some(rusqlite::Error::InvalidQuery);
                    }
                }
            }
            // A full disk makes SQLite end the whole transaction by itself.
            if failed.is_none() && self.db.is_autocommit() {
                failed = Some(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                    Some("the transaction was rolled back, as it is when the disk is full".to_owned()),
                ));
            }
        }
        let failed = failed.or_else(|| self.db.execute_batch("COMMIT").err());
        let Some(error) = failed else {
            self.commits.fetch_add(1, Ordering::Relaxed);
            if std::mem::take(&mut self.in_trouble) {
                tracing::info!(target: "gateway", "state.db can be written again");
            }
            done.into_iter().for_each(|job| job.finish(Ok(())));
            return;
        };
        if !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
        if !std::mem::replace(&mut self.in_trouble, true) {
            let error = not_written(&error, self.path);
            tracing::error!(target: "gateway", %error, "nothing is acknowledged to WhatsApp and answers wait until state.db can be written");
        }
        let keep = may_pass(&error);
        for job in done {
            if keep && job.is_patient() {
                self.waiting.push(job);
            } else {
                job.finish(Err(not_written(&error, self.path)));
            }
        }
    }
}
