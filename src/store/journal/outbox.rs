//! The outbox: parts wait here with their fixed message ids until WhatsApp has them.
//!
//! Parts are written down for an account and can be read for sending through that account's [`AccountOutbox`](super::AccountOutbox)
//! alone.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::rows::{OutboxPart, OutboxRow, OutboxState, lossy, outbox_row};
use super::{Journal, StoreError, facts, owner};
use crate::clock::UnixMs;
use crate::ids::{AccountId, Jid, MessageId};
use crate::outgoing::Outgoing;

/// What waits in an outbox, and what came to nothing since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxCounts {
    /// Parts without WhatsApp's ack.
    pub waiting: u32,
    /// Parts that WhatsApp refused or that cannot be sent.
    pub failed: u32,
    /// Parts that waited for too long.
    pub expired: u32,
}

/// The counts of all accounts and the news that something changed.
#[derive(Clone)]
pub(super) struct Tally {
    counts: Arc<Mutex<HashMap<AccountId, OutboxCounts>>>,
    changed: Arc<watch::Sender<u64>>,
    /// Where prepared files lie.
    files: Arc<Path>,
}

impl Tally {
    /// Counts what an earlier process left.
    pub(super) fn open(db: &Connection, files: PathBuf) -> rusqlite::Result<Self> {
        let mut counts: HashMap<AccountId, OutboxCounts> = HashMap::new();
        let mut open =
            db.prepare("SELECT account, count(*) FROM outbox WHERE state IN ('queued', 'sent') GROUP BY account")?;
        for row in open.query_map([], |r| Ok((lossy(r, "account")?, r.get(1)?)))? {
            let (account, waiting) = row?;
            counts.entry(AccountId::new(&account)).or_default().waiting = waiting;
        }
        Ok(Self { counts: Arc::new(Mutex::new(counts)), changed: Arc::new(watch::channel(0).0), files: files.into() })
    }

    fn count(&self, account: &AccountId, change: impl FnOnce(&mut OutboxCounts)) {
        change(self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(account.clone()).or_default());
    }

    fn news(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// A part is over: it no longer waits and its prepared file is not needed.
    pub(super) fn settled(&self, settled: &[Settled]) {
        for Settled { account, state, file } in settled {
            self.count(account, |counts| {
                counts.waiting = counts.waiting.saturating_sub(1);
                match state {
                    OutboxState::Failed => counts.failed += 1,
                    OutboxState::Expired => counts.expired += 1,
                    _ => {}
                }
            });
            // Nothing outside the folder of prepared files is ever deleted, whatever a row says.
            if let Some(file) = file.as_ref().filter(|file| file.parent() == Some(&self.files)) {
                remove(file);
            }
        }
        self.news();
    }
}

fn remove(file: &Path) {
    if let Err(error) = std::fs::remove_file(file)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(target: "whatsapp/outbound", %error, "a prepared file was not deleted");
    }
}

/// The parts that are being handed to a connection. They do not expire: what is reported as given up must not be delivered.
#[derive(Clone, Default)]
pub(super) struct UnderWay(Arc<Mutex<Handed>>);

#[derive(Default)]
struct Handed {
    now: HashSet<(AccountId, MessageId)>,
    /// What expired last, for those who read it before as waiting.
    expired: HashSet<(AccountId, MessageId)>,
}

/// Keeps a part from expiring.
pub struct HandOver {
    under_way: UnderWay,
    part: (AccountId, MessageId),
}

impl UnderWay {
    pub(super) fn begin(&self, account: &AccountId, id: &MessageId) -> Option<HandOver> {
        let part = (account.clone(), id.clone());
        let mut handed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if handed.expired.contains(&part) {
            return None;
        }
        handed.now.insert(part.clone());
        drop(handed);
        Some(HandOver { under_way: self.clone(), part })
    }
}

impl UnderWay {
    /// A part that expired waits again.
    fn revived(&self, part: &OutboxPart) {
        let part = (part.account.clone(), part.id.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).expired.remove(&part);
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        self.under_way.0.lock().unwrap_or_else(PoisonError::into_inner).now.remove(&self.part);
    }
}

/// A part that will not be sent any more.
pub(super) struct Settled {
    pub account: AccountId,
    pub state: OutboxState,
    pub file: Option<PathBuf>,
}

pub(super) fn file_of(content: &str) -> Option<PathBuf> {
    let content: Outgoing = serde_json::from_str(content).ok()?;
    content.file().map(|file| file.path.clone())
}

pub(super) fn log_unnoted(result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::error!(target: "whatsapp/outbound", %error, "the state of a sent message was not noted");
    }
}

impl Journal {
    /// What waits in the outbox of an account.
    pub fn outbox_counts(&self, account: &AccountId) -> OutboxCounts {
        self.tally.counts.lock().unwrap_or_else(PoisonError::into_inner).get(account).copied().unwrap_or_default()
    }

    /// Changes after every change of any outbox.
    pub fn outbox_news(&self) -> watch::Receiver<u64> {
        self.tally.changed.subscribe()
    }

    /// True when this account sent a message with this id through Verso. While the disk is full or the file is locked it waits.
    ///
    /// # Errors
    /// When it cannot be read and will not be.
    pub async fn is_ours(&self, account: &AccountId, id: &MessageId) -> Result<bool, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        let known = move |db: &Connection| is_ours(db, &account, &id);
        self.run_surely(known, |_| {}).await
    }

    /// Who wrote a message: the author of one that came in, and whether this account wrote it; `None` when it is not known.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn author_of(
        &self,
        account: &AccountId,
        id: &MessageId,
    ) -> Result<Option<(Option<Jid>, bool)>, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.run(move |db| {
            if is_ours(db, &account, &id)? {
                return Ok(Some((None, true)));
            }
            let found: Option<(String, bool)> = db
                .prepare_cached(
                    "SELECT sender, coalesce(CASE WHEN json_valid(message) THEN json_extract(message, '$.fromMe') END, 0)
                     FROM inbound WHERE id = ?2 AND account = ?1",
                )?
                .query_row(params![account.as_str(), id.as_str()], |r| {
                    Ok((lossy(r, "sender")?, r.get(1).unwrap_or_default()))
                })
                .optional()?;
            Ok(found.map(|(sender, mine)| (sender.parse().ok(), mine)))
        })
        .await
    }

    /// The prepared files of parts that wait.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn files_in_use(&self) -> Result<Vec<PathBuf>, StoreError> {
        self.run(|db| {
            let mut open = db.prepare("SELECT content FROM outbox WHERE state IN ('queued', 'sent')")?;
            let contents = open.query_map([], |r| lossy(r, "content"))?;
            contents.filter_map(|c| c.map(|c| file_of(&c)).transpose()).collect()
        })
        .await
    }

    /// True when a message went to or came from this chat before.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn has_met(&self, account: &AccountId, chat: &Jid) -> Result<bool, StoreError> {
        let (account, chat) = (account.clone(), chat.clone());
        self.run(move |db| {
            let name = chat.to_string();
            // Whom an earlier number of the account knew is a stranger to this one.
            let since = owner::since(db, &account)?;
            let inbound = db
                .prepare_cached("SELECT 1 FROM inbound WHERE account = ?1 AND chat = ?2 AND received_at >= ?3")?
                .exists(params![account.as_str(), name, since])?;
            let met = inbound
                || db
                    .prepare_cached(
                        "SELECT 1 FROM outbox WHERE account = ?1 AND chat = ?2 AND created_at >= ?3
                         AND state IN ('acked', 'delivered')",
                    )?
                    .exists(params![account.as_str(), name, since])?;
            let Some(number) = chat.e164().filter(|_| !met) else { return Ok(met) };
            // Most people write from a number-hiding address; their message names the number beside it.
            db.prepare_cached(
                "SELECT 1 FROM inbound INDEXED BY inbound_number WHERE account = ?1
                 AND CASE WHEN json_valid(message) THEN json_extract(message, '$.chatNumber') END = ?2
                 AND received_at >= ?3",
            )?
            .exists(params![account.as_str(), number.as_str(), since])
        })
        .await
    }

    /// Queues parts beside any answer. A part that is known already and failed waits again; one that waits or went out is left alone.
    ///
    /// # Errors
    /// When they are not on disk; none of them is queued then.
    pub async fn enqueue(&self, parts: Vec<OutboxPart>) -> Result<(), StoreError> {
        let (work, queued) = (self.queueing(parts, None), self.tally.clone());
        self.run_then(work, move |accounts: &Vec<AccountId>| queued.queued(accounts)).await?;
        Ok(())
    }

    /// The same with a small fact, both or neither; answers how many parts wait that did not before.
    ///
    /// # Errors
    /// When they are not on disk; nothing is queued or noted then.
    pub async fn enqueue_under(&self, fact: &str, value: &str, parts: Vec<OutboxPart>) -> Result<usize, StoreError> {
        let fact = (fact.to_owned(), value.to_owned());
        let (work, tally) = (self.queueing(parts, Some(fact)), self.tally.clone());
        let queued = self.run_then(work, move |accounts: &Vec<AccountId>| tally.queued(accounts)).await?;
        Ok(queued.len())
    }

    /// As [`Journal::enqueue`] for what nobody would ask for again: while the disk is full or the file is locked it waits.
    ///
    /// # Errors
    /// When they are not on disk and will not be.
    pub async fn enqueue_surely(&self, parts: Vec<OutboxPart>) -> Result<(), StoreError> {
        let (work, queued) = (self.queueing(parts, None), self.tally.clone());
        self.run_surely(work, move |accounts: &Vec<AccountId>| queued.queued(accounts)).await?;
        Ok(())
    }

    fn queueing(
        &self,
        parts: Vec<OutboxPart>,
        fact: Option<(String, String)>,
    ) -> impl FnMut(&Connection) -> rusqlite::Result<Vec<AccountId>> + Send + 'static {
        let (now, under_way) = (self.clock.now(), self.under_way.clone());
        move |db| {
            if let Some((key, value)) = &fact {
                facts::write(db, key, value, now)?;
            }
            let mut queued = Vec::new();
            for part in &parts {
                if insert_part(db, part, now)? || revive(db, part, now)? {
                    under_way.revived(part);
                    queued.push(part.account.clone());
                }
            }
            Ok(queued)
        }
    }

    /// Gives parts up that are not settled: whoever asked for them is told that they failed. Does not wait for the disk; the sender
    /// asks behind it ([`AccountOutbox::waits`](super::AccountOutbox::waits)).
    pub fn withdraw(&self, account: &AccountId, ids: &[MessageId], cause: &str) {
        for id in ids {
            self.mark_soon(account.clone(), id.clone(), OutboxState::Failed, Some(cause.to_owned()));
        }
    }

    /// Where parts are: state and cause in the order asked; unknown ids are left out.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn outbox_rows(&self, account: &AccountId, ids: &[MessageId]) -> Result<Vec<OutboxRow>, StoreError> {
        let (account, ids) = (account.clone(), ids.to_vec());
        self.run(move |db| {
            let mut read = db.prepare_cached("SELECT * FROM outbox WHERE account = ?1 AND id = ?2")?;
            let mut found = Vec::new();
            for id in &ids {
                // One that cannot be read is unknown.
                let row = |row: &rusqlite::Row<'_>| Ok(outbox_row(row).ok());
                found.extend(read.query_row(params![account.as_str(), id.as_str()], row).optional()?.flatten());
            }
            Ok(found)
        })
        .await
    }

    /// Moves a part forward; a state that lies behind the stored one changes nothing. Does not wait for the disk. The prepared file
    /// of a part that is over is deleted.
    pub fn mark_soon(&self, account: AccountId, id: MessageId, state: OutboxState, cause: Option<String>) {
        let (now, tally) = (self.clock.now(), self.tally.clone());
        let result = self.submit(
            true,
            move |db| {
                let found: Option<(i64, String)> = db
                    .prepare_cached(
                        "SELECT rank, content FROM outbox
                         WHERE account = ?1 AND id = ?2 AND rank < ?3 AND state NOT IN ('failed', 'expired')",
                    )?
                    .query_row(params![account.as_str(), id.as_str(), state as i64], |r| {
                        Ok((r.get(0)?, lossy(r, "content")?))
                    })
                    .optional()?;
                let Some((rank, content)) = found else { return Ok(None) };
                let known = state == OutboxState::Failed && rank >= OutboxState::Acked as i64;
                if known {
                    // What WhatsApp has cannot fail any more.
                    return Ok(None);
                }
                db.prepare_cached(
                    "UPDATE outbox SET state = ?3, rank = ?4, cause = ?5, updated_at = ?6, attempts = attempts + ?7
                     WHERE account = ?1 AND id = ?2",
                )?
                .execute(params![
                    account.as_str(),
                    id.as_str(),
                    state.as_str(),
                    state as i64,
                    cause,
                    now,
                    i64::from(state == OutboxState::Sent)
                ])?;
                let over = state != OutboxState::Sent && rank < OutboxState::Acked as i64;
                Ok(Some(over.then(|| Settled { account: account.clone(), state, file: file_of(&content) })))
            },
            move |result| match result {
                Ok(None) => {}
                Ok(Some(settled)) => tally.settled(settled.as_slice()),
                Err(error) => log_unnoted(Err(error)),
            },
        );
        if let Err(error) = result {
            tracing::debug!(target: "whatsapp/outbound", %error, "the state of a sent message was not noted");
        }
    }

    /// Gives up parts that were written down before `before`; answers how many.
    ///
    /// # Errors
    /// When it cannot be done.
    pub async fn expire(&self, before: UnixMs) -> Result<usize, StoreError> {
        let (now, tally, under_way) = (self.clock.now(), self.tally.clone(), self.under_way.clone());
        let expire = move |db: &Connection| {
            let mut handed = under_way.0.lock().unwrap_or_else(PoisonError::into_inner);
            handed.expired.clear();
            let mut late = db.prepare_cached(
                "SELECT seq, account, id, content FROM outbox WHERE state IN ('queued', 'sent') AND created_at < ?1",
            )?;
            let mut expire =
                db.prepare_cached("UPDATE outbox SET state = 'expired', rank = ?2, updated_at = ?3 WHERE seq = ?1")?;
            let late = late.query_map([before], |row| {
                let part = (AccountId::new(&lossy(row, "account")?), MessageId::new(lossy(row, "id")?));
                Ok((row.get::<_, i64>("seq")?, part, file_of(&lossy(row, "content")?)))
            })?;
            let mut settled = Vec::new();
            for (seq, part, file) in late.collect::<rusqlite::Result<Vec<_>>>()? {
                if handed.now.contains(&part) {
                    continue;
                }
                expire.execute(params![seq, OutboxState::Expired as i64, now])?;
                settled.push(Settled { account: part.0.clone(), state: OutboxState::Expired, file });
                handed.expired.insert(part);
            }
            Ok(settled)
        };
        let settled = self.run_then(expire, move |settled: &Vec<Settled>| tally.settled(settled)).await?;
        Ok(settled.len())
    }
}

impl Tally {
    /// A part of this account failed, which had `waited` or was in no known state.
    pub(super) fn failed(&self, account: &AccountId, waited: bool) {
        if waited {
            self.settled(&[Settled { account: account.clone(), state: OutboxState::Failed, file: None }]);
        } else {
            self.count(account, |counts| counts.failed += 1);
        }
    }

    /// Parts of these accounts wait from now on.
    pub(super) fn queued(&self, accounts: &[AccountId]) {
        for account in accounts {
            self.count(account, |counts| counts.waiting += 1);
        }
    }
}

fn is_ours(db: &Connection, account: &AccountId, id: &MessageId) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM outbox WHERE account = ?1 AND id = ?2")?
        .exists(params![account.as_str(), id.as_str()])
}

/// A part that failed waits again, with what is to be sent now.
fn revive(db: &Connection, part: &OutboxPart, now: UnixMs) -> rusqlite::Result<bool> {
    let changed = db
        .prepare_cached(
            "UPDATE outbox SET content = ?3, state = 'queued', rank = 0, cause = NULL, failures = 0, created_at = ?4, updated_at = ?4
             WHERE account = ?1 AND id = ?2 AND state IN ('failed', 'expired')",
        )?
        .execute(params![part.account.as_str(), part.id.as_str(), json(&part.content), now])?;
    Ok(changed == 1)
}

/// Settles a part that cannot be read; whether it waited until now, or `None` when WhatsApp has it: that stays so, and it is not sent
/// once more.
pub(super) fn settle_unreadable(db: &Connection, seq: i64, cause: &str, now: UnixMs) -> rusqlite::Result<Option<bool>> {
    let state = db
        .prepare_cached("SELECT state FROM outbox WHERE seq = ?1")?
        .query_row([seq], |r| lossy(r, "state"))
        .optional()?;
    let Some(state) = state else { return Ok(None) };
    match OutboxState::parse(&state) {
        Some(OutboxState::Acked | OutboxState::Delivered | OutboxState::Failed | OutboxState::Expired) => {
            db.prepare_cached("UPDATE outbox SET cause = ?2, resent_at = ?3 WHERE seq = ?1")?
                .execute(params![seq, cause, now])?;
            Ok(None)
        }
        known => {
            db.prepare_cached(
                "UPDATE outbox SET state = 'failed', rank = ?2, cause = ?3, updated_at = ?4 WHERE seq = ?1",
            )?
            .execute(params![seq, OutboxState::Failed as i64, cause, now])?;
            Ok(Some(known.is_some()))
        }
    }
}

fn json(content: &Outgoing) -> String {
    serde_json::to_string(content).expect("plain data")
}

/// False when the account has a part with this id already.
pub(super) fn insert_part(db: &Connection, part: &OutboxPart, now: UnixMs) -> rusqlite::Result<bool> {
    let answers: Option<(i64, bool)> = match &part.answers {
        None => None,
        Some(key) => db
            .prepare_cached(
                "SELECT seq, state = 'expired' FROM inbound WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND id = ?4",
            )?
            .query_row(
                params![key.account.as_str(), key.chat.to_string(), key.sender.to_string(), key.id.as_str()],
                |r| Ok((r.get(0)?, r.get(1)?)),
            )
            .optional()?,
    };
    if answers.is_some_and(|(_, expired)| expired) {
        // It came in on a number that the account is not linked to any more.
        return Ok(false);
    }
    let answers = answers.map(|(seq, _)| seq);
    let inserted = db
        .prepare_cached(
            "INSERT INTO outbox(account, id, chat, content, answers, first_contact, state, rank, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'queued', 0, ?7, ?7) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            part.account.as_str(),
            part.id.as_str(),
            part.chat.to_string(),
            json(&part.content),
            answers,
            part.first_contact,
            now
        ])?;
    Ok(inserted == 1)
}
