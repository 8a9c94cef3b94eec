//! Which messages this process is at work on, so that one that ends every process is found out and left alone.
//!
//! While code runs for a message, its mark stands in the file `state.db.at-work` beside the database: written without a commit, which is quick, and
//! kept by the system when the process dies. The next process counts one try for every message that it finds marked. A kill from outside
//! hits a message at work so rarely that three in a row are no accident, and what merely waits, for a model or the disk, is not marked.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::future::{Future, poll_fn};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

use super::Journal;
use super::rows::lossy;
use crate::event::MessageKey;
use crate::store::StoreError;

/// A message that so many processes ended with is not begun again.
pub const MOST_TRIES: u32 = 3;
/// Marks that fit into the file; what comes on top is not marked.
const MARKS: usize = 64;
/// Bytes of a mark.
const SIZE: usize = 32;
/// The place of no mark.
const NONE: [u8; SIZE] = [0; SIZE];

type Mark = [u8; SIZE];

fn mark_of(account: &str, chat: &str, sender: &str, id: &str) -> Mark {
    Sha256::digest([account, chat, sender, id].join("\0")).into()
}

/// The marks of this process.
#[derive(Clone)]
pub(super) struct Attempts(Arc<Marks>);

struct Marks {
    /// `None` where it cannot be had: then nothing counts, and everything else works.
    file: Option<File>,
    taken: Mutex<[bool; MARKS]>,
}

impl Attempts {
    /// Counts a try for the messages that the process before was at work on when it ended, and begins without marks.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub(super) fn open(db: &Connection, database: &Path) -> Result<Self, StoreError> {
        let path = PathBuf::from(format!("{}.at-work", database.display()));
        let (file, left) = match take_marks(&path) {
            Ok((file, left)) => (Some(file), left),
            Err(error) => {
                tracing::warn!(target: "gateway", path = %path.display(), %error, "it is not noted which messages are worked on");
                (None, HashSet::new())
            }
        };
        count(db, &left).map_err(|e| StoreError::Damaged { path: PathBuf::from(database), cause: e.to_string() })?;
        Ok(Self(Arc::new(Marks { file, taken: Mutex::new([false; MARKS]) })))
    }

    fn taken(&self) -> MutexGuard<'_, [bool; MARKS]> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What cannot be written is not marked: it costs no more than a try.
    fn write(&self, place: usize, mark: &Mark) {
        if let Some(file) = &self.0.file
            && let Err(error) = file.write_all_at(mark, (place * SIZE) as u64)
        {
            tracing::debug!(target: "whatsapp/inbound", %error, "the mark of a message was not written");
        }
    }

    fn mark(&self, marks: &[Mark]) -> AtWork {
        let places = {
            let mut taken = self.taken();
            let free: Vec<usize> = (0..MARKS).filter(|place| !taken[*place]).take(marks.len()).collect();
            free.iter().for_each(|place| taken[*place] = true);
            free
        };
        for (place, mark) in places.iter().zip(marks) {
            self.write(*place, mark);
        }
        AtWork { attempts: self.clone(), places }
    }
}

/// Reads the marks of the process before and takes them away.
fn take_marks(path: &Path) -> std::io::Result<(File, HashSet<Mark>)> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut left = Vec::new();
    file.by_ref().take((MARKS * SIZE) as u64).read_to_end(&mut left)?;
    file.write_all_at(&[0; MARKS * SIZE], 0)?;
    Ok((file, left.chunks_exact(SIZE).filter_map(|mark| mark.try_into().ok()).collect()))
}

/// Adds a try to open messages with one of these marks.
fn count(db: &Connection, left: &HashSet<Mark>) -> rusqlite::Result<()> {
    if left.iter().all(|mark| *mark == NONE) {
        return Ok(());
    }
    let mut open = db.prepare("SELECT * FROM inbound WHERE state IN ('new', 'admitted')")?;
    let mut rows = open.query([])?;
    let mut hit: Vec<i64> = Vec::new();
    while let Some(row) = rows.next()? {
        let mark = mark_of(&lossy(row, "account")?, &lossy(row, "chat")?, &lossy(row, "sender")?, &lossy(row, "id")?);
        if left.contains(&mark) {
            hit.push(row.get("seq")?);
        }
    }
    for seq in hit {
        db.execute("UPDATE inbound SET tries = tries + 1 WHERE seq = ?1", params![seq])?;
    }
    Ok(())
}

/// Code runs for messages as long as this lives.
pub struct AtWork {
    attempts: Attempts,
    places: Vec<usize>,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        for place in &self.places {
            self.attempts.write(*place, &NONE);
        }
        let mut taken = self.attempts.taken();
        self.places.iter().for_each(|place| taken[*place] = false);
    }
}

fn marks_of(keys: &[MessageKey]) -> Vec<Mark> {
    let mark = |key: &MessageKey| {
        mark_of(key.account.as_str(), &key.chat.to_string(), &key.sender.to_string(), key.id.as_str())
    };
    keys.iter().map(mark).collect()
}

impl Journal {
    /// Marks messages as being worked on until the result is dropped.
    pub fn at_work(&self, keys: &[MessageKey]) -> AtWork {
        self.attempts.mark(&marks_of(keys))
    }

    /// Does the work on messages, marked whenever its code runs and not while it waits.
    pub async fn working<T>(&self, keys: &[MessageKey], work: impl Future<Output = T>) -> T {
        let marks = marks_of(keys);
        let mut work = std::pin::pin!(work);
        poll_fn(|context| {
            let _at_work = self.attempts.mark(&marks);
            work.as_mut().poll(context)
        })
        .await
    }
}
