//! `state.db`: the journal of inbound messages, the outbox, and small facts that must survive (design 3).
//!
//! One writer thread owns the connection. It takes whatever waits, runs it in one transaction and answers after the commit, so
//! that the price of durability (`synchronous=FULL`) is one fsync for a whole batch and not for each message.
//!
//! ```text
//! inbound: new -> admitted -> answered          outbox: queued -> sent -> acked -> delivered
//!      \      \-> held, dropped                            \-> failed, expired
//!       `-> expired, when the account is linked to another number
//! ```

mod account;
mod address;
mod aside;
mod asked;
mod attempts;
pub mod copy;
mod facts;
mod foreign;
mod lookup;
mod media;
mod outbox;
mod owner;
mod recovery;
mod rows;
mod schema;
mod sessions;
mod settle;
mod take_back;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use crate::clock::UnixMs;
use crate::event::{InboundMessage, MessageKey};
use crate::ids::MessageId;
use crate::store::StoreError;

pub use account::AccountOutbox;
pub use address::{Silent, Unconfirmed};
pub use aside::{AsideMessage, SetAside, Unreadable};
pub use attempts::{AtWork, MOST_TRIES};
pub use lookup::{facts_at, look_up};
pub use outbox::OutboxCounts;
pub use owner::{Claim, GaveUp, OTHER_NUMBER, Owner};
pub use rows::{InboundRow, InboundState, Left, OutboxPart, OutboxRow, OutboxState};
pub use sessions::Carried;
pub use settle::{Aside, Once, Turn};

use aside::Asides;
use asked::Requests;
use attempts::Attempts;
use outbox::{Tally, UnderWay};
use writer::{Job, Order, Writer, damaged, in_savepoint, may_pass};

/// Handle of the journal; clones share the one writer.
#[derive(Clone)]
pub struct Journal {
    orders: mpsc::Sender<Order>,
    commits: Arc<AtomicU64>,
    clock: crate::clock::Clock,
    /// The last row that an earlier process wrote.
    inherited: i64,
    tally: Tally,
    asides: Asides,
    attempts: Attempts,
    /// Parts that are being handed to a connection.
    under_way: UnderWay,
    /// What was sent lately, and who asks for it again.
    requests: Requests,
}

impl Journal {
    /// Opens or creates the database and starts its writer.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, or was written by a newer Verso.
    pub fn open(path: &Path, clock: crate::clock::Clock) -> Result<Self, StoreError> {
        if let Some(dir) = path.parent() {
            crate::store::atomic::private_dir(dir)?;
        }
        let connection = schema::open_journal(path, clock.now())?;
        let inherited = connection
            .query_row("SELECT coalesce(max(seq), 0) FROM inbound", [], |r| r.get(0))
            .map_err(|e| StoreError::Damaged { path: path.to_path_buf(), cause: e.to_string() })?;
        let prepared = path.parent().unwrap_or(Path::new("")).join("media").join("outbound");
        let tally = Tally::open(&connection, prepared)
            .map_err(|e| StoreError::Damaged { path: path.to_path_buf(), cause: e.to_string() })?;
        let (asides, requests) = (Asides::default(), Requests::default());
        asides
            .load(&connection)
            .and_then(|()| asides.clear_facts(&connection))
            .and_then(|()| requests.load(&connection))
            .map_err(|e| StoreError::Damaged { path: path.to_path_buf(), cause: e.to_string() })?;
        let attempts = Attempts::open(&connection, path)?;
        let (orders, inbox) = mpsc::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let counter = commits.clone();
        let file = path.to_path_buf();
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                let writer =
                    Writer { db: connection, path: &file, commits: &counter, waiting: Vec::new(), in_trouble: false };
                writer.run(&inbox);
            })
            .map_err(StoreError::io("start the writer of", path))?;
        let under_way = UnderWay::default();
        Ok(Self { orders, commits, clock, inherited, tally, asides, attempts, under_way, requests })
    }

    /// Transactions committed since it was opened.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Waits until everything handed in is on disk and ends the writer.
    pub async fn close(&self) {
        let (done, ended) = oneshot::channel();
        if self.orders.send(Order::Stop(done)).is_ok() {
            let _ = ended.await;
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run_then(work, |_| {}).await
    }

    /// The same; `then` sees the result right after the commit, before any later job.
    async fn run_then<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut work = Some(work);
        let once = move |db: &Connection| work.take().expect("an impatient job runs once")(db);
        self.wait_for(false, once, then).await
    }

    /// The same for what must not be lost: while the disk is full or the file is locked it waits and is tried again.
    async fn run_surely<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, StoreError> {
        self.wait_for(true, work, then).await
    }

    async fn wait_for<T: Send + 'static>(
        &self,
        patient: bool,
        work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, StoreError> {
        let (send, receive) = oneshot::channel();
        self.submit(patient, work, move |result| {
            if let Ok(value) = &result {
                then(value);
            }
            let _ = send.send(result);
        })?;
        receive.await.map_err(|_| StoreError::Closed)?
    }

    fn submit<T: Send + 'static>(
        &self,
        patient: bool,
        work: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
        answer: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) -> Result<(), StoreError> {
        let task = Task { patient, work, answer, result: None };
        self.orders.send(Order::Work(Box::new(task))).map_err(|_| StoreError::Closed)
    }

    /// Lets `state.db` grow no further, as a full disk does, until it is called with false. Only in demo builds.
    #[cfg(feature = "demo")]
    pub fn pretend_full(&self, full: bool) {
        let _ = self.orders.send(Order::Full(full));
    }

    /// Writes messages down; true for each that is new. A redelivery finds its row and changes nothing.
    ///
    /// # Errors
    /// When they are not on disk; none of them must be acknowledged then.
    pub async fn commit(&self, messages: Vec<InboundMessage>) -> Result<Vec<bool>, StoreError> {
        let now = self.clock.now();
        self.run(move |db| {
            let mut insert = db.prepare_cached(
                "INSERT INTO inbound(account, chat, sender, id, sent_at, received_at, message, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'new') ON CONFLICT DO NOTHING",
            )?;
            messages
                .iter()
                .map(|m| {
                    let key = m.key();
                    let json = serde_json::to_string(m).expect("a message is plain data");
                    let rows = insert.execute(params![
                        key.account.as_str(),
                        key.chat.to_string(),
                        key.sender.to_string(),
                        key.id.as_str(),
                        m.timestamp,
                        now,
                        json
                    ])?;
                    Ok(rows == 1)
                })
                .collect()
        })
        .await
    }

    /// Notes the decision on a message.
    ///
    /// # Errors
    /// When it is not on disk.
    pub async fn decide(
        &self,
        key: &MessageKey,
        state: InboundState,
        decision: serde_json::Value,
    ) -> Result<(), StoreError> {
        self.run_surely(note_decision(key, state, &decision, self.clock.now()), |()| {}).await
    }

    /// Notes the decision on a message without waiting for the disk: jobs keep their order, so whatever follows lands after it, and
    /// a crash before it costs a second, equal decision.
    pub fn decide_soon(&self, key: &MessageKey, state: InboundState, decision: serde_json::Value) {
        let result = self.submit(true, note_decision(key, state, &decision, self.clock.now()), |result| {
            if let Err(error) = result {
                tracing::error!(target: "whatsapp/inbound", %error, "a decision was not noted");
            }
        });
        if let Err(error) = result {
            tracing::debug!(target: "whatsapp/inbound", %error, "a decision was not noted");
        }
    }

    /// Everything known about a message id, inbound or outgoing.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn get_by_message_id(&self, id: &MessageId) -> Result<Vec<serde_json::Value>, StoreError> {
        let id = id.clone();
        self.run(move |db| lookup::find(db, &id)).await
    }

    /// Deletes what is older than the retention allows and expires parts that waited too long; answers how many parts expired.
    ///
    /// # Errors
    /// When it cannot be done.
    pub async fn prune(&self, journal_before: UnixMs, outbox_before: UnixMs) -> Result<usize, StoreError> {
        let expired = self.expire(outbox_before).await?;
        // In pages, so that the writer is never held up for long.
        for old in [
            "DELETE FROM outbox WHERE seq > ?1 AND seq <= ?2 AND updated_at < ?3 AND state NOT IN ('queued', 'sent')",
            "DELETE FROM inbound WHERE seq > ?1 AND seq <= ?2 AND received_at < ?3 AND state NOT IN ('new', 'admitted')",
        ] {
            let mut after = 0;
            while let Some(next) = self.run(move |db| prune_page(db, old, after, journal_before)).await? {
                after = next;
            }
        }
        let asides = self.asides.clone();
        self.run(move |db| {
            for (from, to) in [
                ("send:", "send;"),
                ("said:", "said;"),
                ("notice:", "notice;"),
                ("asked:", "asked;"),
                ("unreadable:", "unreadable;"),
                ("via:", "via;"),
                ("unconfirmed:", "unconfirmed;"),
            ] {
                db.prepare_cached("DELETE FROM facts WHERE key >= ?1 AND key < ?2 AND updated_at < ?3")?
                    .execute(params![from, to, journal_before])?;
            }
            if let Some(path) = db.path() {
                schema::forget_backups(Path::new(path), journal_before);
            }
            asides.load(db)?;
            Ok(expired)
        })
        .await
    }
}

/// Rows that one job looks through.
const PRUNE_PAGE: i64 = 200;

/// Deletes what is old of a page of rows; gives the last of it when there are more.
fn prune_page(db: &Connection, old: &str, after: i64, before: UnixMs) -> rusqlite::Result<Option<i64>> {
    let table = if old.contains("FROM outbox") { "outbox" } else { "inbound" };
    let (last, rows): (Option<i64>, i64) = db
        .prepare_cached(&format!(
            "SELECT max(seq), count(*) FROM (SELECT seq FROM {table} WHERE seq > ?1 ORDER BY seq LIMIT {PRUNE_PAGE})"
        ))?
        .query_row([after], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let Some(last) = last else { return Ok(None) };
    db.prepare_cached(old)?.execute(params![after, last, before])?;
    Ok((rows == PRUNE_PAGE).then_some(last))
}

/// A job and whom to answer.
struct Task<T, W, A> {
    patient: bool,
    work: W,
    answer: A,
    result: Option<rusqlite::Result<T>>,
}

impl<T, W, A> Job for Task<T, W, A>
where
    T: Send,
    W: FnMut(&Connection) -> rusqlite::Result<T> + Send,
    A: FnOnce(Result<T, StoreError>) + Send,
{
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()> {
        match in_savepoint(db, &mut self.work) {
            Err(error) if may_pass(&error) => Err(error),
            result => {
                self.result = Some(result);
                Ok(())
            }
        }
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        (self.answer)(match (committed, self.result) {
            (Ok(()), Some(Ok(value))) => Ok(value),
            (Ok(()), Some(Err(error))) => Err(damaged(&error)),
            (Ok(()), None) => Err(StoreError::Closed),
            (Err(error), _) => Err(error),
        });
    }

    fn is_patient(&self) -> bool {
        self.patient
    }
}

fn note_decision(
    key: &MessageKey,
    state: InboundState,
    decision: &serde_json::Value,
    now: UnixMs,
) -> impl FnMut(&Connection) -> rusqlite::Result<()> + Send + 'static {
    let (key, decision) = (key.clone(), decision.to_string());
    move |db| {
        db.prepare_cached(
            "UPDATE inbound SET state = ?5, decision = ?6, decided_at = ?7
             WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND id = ?4 AND state NOT IN ('answered', 'expired') AND aside IS NULL",
        )?
        .execute(params![
            key.account.as_str(),
            key.chat.to_string(),
            key.sender.to_string(),
            key.id.as_str(),
            state.as_str(),
            decision,
            now
        ])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
