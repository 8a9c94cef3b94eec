//! The one writer thread and its group commit.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::JournalError;
use super::schema::failure;
use crate::store::lock::FileLock;

/// Jobs that may wait before callers do.
const QUEUE: usize = 1_024;
/// Jobs that share one commit.
const BATCH: usize = 512;

/// What the thread and its callers share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub batches: AtomicU64,
}

/// Sends the answer once the fate of the commit is known.
type Finish = Box<dyn FnOnce(Option<&JournalError>) + Send>;

struct Job {
    writes: bool,
    run: Box<dyn FnOnce(&Path, Result<&Connection, &JournalError>) -> Finish + Send>,
}

/// The running thread. Dropping it lets the thread finish what waits and close the file.
#[derive(Debug)]
pub(super) struct Writer {
    pub shared: Arc<Shared>,
    sender: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // Queued jobs are a few milliseconds of work; a panic there was answered as `Closed`.
            let _ = thread.join();
        }
    }
}

impl Writer {
    pub(super) fn start(path: PathBuf, db: Connection, lock: FileLock) -> Result<Self, JournalError> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn({
                let path = path.clone();
                move || {
                    work(&path, &db, receiver, &state);
                    drop(db);
                    drop(lock);
                }
            })
            .map_err(|e| JournalError::Open { path, cause: e.to_string() })?;
        Ok(Self { shared, sender: Some(sender), thread: Some(thread) })
    }

    /// Queues a job and waits for it and its commit. A caller that gives up does not take the job back.
    pub(super) async fn submit<T, F>(&self, writes: bool, job: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run = move |path: &Path, db: Result<&Connection, &JournalError>| -> Finish {
            let result = match db {
                Ok(db) => guarded(path, db, writes, job),
                Err(error) => Err(error.clone()),
            };
            Box::new(move |lost: Option<&JournalError>| {
                let result = match lost {
                    Some(error) => Err(error.clone()),
                    None => result,
                };
                // Nobody waits any more: the work is done all the same.
                let _ = answer.send(result);
            })
        };
        let sender = self.sender.as_ref().ok_or(JournalError::Closed)?;
        sender.send(Job { writes, run: Box::new(run) }).await.map_err(|_| JournalError::Closed)?;
        answered.await.map_err(|_| JournalError::Closed)?
    }
}

/// Runs one job inside a savepoint, so that its failure or panic undoes nothing else.
fn guarded<T>(
    path: &Path,
    db: &Connection,
    writes: bool,
    job: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, JournalError> {
    let failed = |e: rusqlite::Error| failure(path, &e);
    if !writes {
        return job(db).map_err(failed);
    }
    db.execute_batch("SAVEPOINT job").map_err(failed)?;
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| job(db)));
    let result = match outcome {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(JournalError::Sql { path: path.to_owned(), cause: "a journal job panicked".to_owned() }),
    };
    let end = if result.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
    // A full disk ends the whole transaction, and the savepoint with it; the commit below then reports it.
    match (db.execute_batch(end), result) {
        (Ok(()), result) | (Err(_), result @ Err(_)) => result,
        (Err(error), Ok(_)) => Err(failed(error)),
    }
}

fn work(path: &Path, db: &Connection, mut jobs: mpsc::Receiver<Job>, shared: &Shared) {
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(first) = jobs.blocking_recv() {
        batch.push(first);
        while batch.len() < BATCH
            && let Ok(next) = jobs.try_recv()
        {
            batch.push(next);
        }
        run_batch(path, db, batch.drain(..), shared);
    }
}

fn run_batch(path: &Path, db: &Connection, batch: impl Iterator<Item = Job>, shared: &Shared) {
    let batch: Vec<Job> = batch.collect();
    let writes = batch.iter().any(|job| job.writes);
    let mut lost = None;
    if writes && let Err(error) = db.execute_batch("BEGIN IMMEDIATE") {
        lost = Some(failure(path, &error));
    }
    let mut finishes = Vec::with_capacity(batch.len());
    for job in batch {
        finishes.push((job.run)(path, lost.as_ref().map_or(Ok(db), Err)));
        // A full disk can end the transaction in the middle. What follows would then be committed one by one.
        if writes && lost.is_none() && db.is_autocommit() {
            lost = Some(JournalError::Full { path: path.to_owned() });
        }
    }
    if writes && lost.is_none() {
        match db.execute_batch("COMMIT") {
            Ok(()) => {
                shared.batches.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => lost = Some(failure(path, &error)),
        }
    }
    if lost.is_some() && !db.is_autocommit() {
        // The file keeps what was committed before; a failing rollback shows in the next batch.
        let _ = db.execute_batch("ROLLBACK");
    }
    for finish in finishes {
        finish(lost.as_ref());
    }
}
