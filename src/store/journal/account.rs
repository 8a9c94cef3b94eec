//! What waits for one account, for its outlet alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::asked::{OURS, asked_fact, asked_facts};
use super::outbox::{HandOver, log_unnoted, settle_unreadable};
use super::rows::{OutboxState, lossy};
use super::{Journal, StoreError};
use crate::clock::UnixMs;
use crate::ids::{AccountId, Jid, MessageId};
use crate::outgoing::{Handling, Letter, Outgoing, Outlet};

/// Attempts that may come to nothing through Verso itself before a part is given up.
const MOST_FAILURES: u32 = 5;
/// Rows that one job reads with their contents.
const PAGE: usize = 200;

/// The outbox of one account: what waits is read here and nowhere else, for the outlet of that account.
///
/// It is bound when it is made, by the outlet itself; there is no way to name another account.
///
/// ```compile_fail
/// fn elsewhere(journal: &verso::store::journal::Journal, account: &verso::ids::AccountId) {
///     let outbox = journal.outbox(account); // an id alone opens no outbox
/// }
/// ```
#[derive(Clone)]
pub struct AccountOutbox {
    journal: Journal,
    account: AccountId,
    /// What waits, as it was read last, by its row: a long queue is not read anew for every part that leaves it.
    read: Arc<Mutex<HashMap<i64, (UnixMs, Waiting)>>>,
    /// It was looked for parts in a state that nobody knows.
    looked: Arc<AtomicBool>,
}

/// A part as it lies in its row.
struct RawPart {
    seq: i64,
    updated_at: UnixMs,
    id: String,
    chat: String,
    content: String,
    answer: bool,
    first_contact: bool,
}

/// The same, understood.
#[derive(Clone)]
struct Waiting {
    id: MessageId,
    chat: Jid,
    content: Outgoing,
    answer: bool,
    first_contact: bool,
}

impl RawPart {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get("seq")?,
            updated_at: row.get("updated_at")?,
            id: lossy(row, "id")?,
            chat: lossy(row, "chat")?,
            content: lossy(row, "content")?,
            answer: row.get::<_, Option<i64>>("answers")?.is_some(),
            first_contact: row.get("first_contact")?,
        })
    }

    fn parse(&self) -> Result<Waiting, String> {
        let chat = self.chat.parse().map_err(|e| format!("chat: {e}"))?;
        let content = serde_json::from_str(&self.content).map_err(|e| format!("content: {e}"))?;
        let (answer, first_contact) = (self.answer, self.first_contact);
        Ok(Waiting { id: MessageId::new(&*self.id), chat, content, answer, first_contact })
    }
}

impl Waiting {
    fn letter(self, account: &AccountId, handed_over: bool, again: bool) -> Letter {
        let handling = Handling { answer: self.answer, first_contact: self.first_contact, handed_over, again };
        Letter::seal(account.clone(), self.id, self.chat, self.content, handling)
    }
}

impl AccountOutbox {
    /// The parts without WhatsApp's ack, in order. One that cannot be read fails with its cause and holds up no other.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn waiting(&self) -> Result<Vec<Letter>, StoreError> {
        if !self.looked.swap(true, Ordering::AcqRel) {
            self.settle_odd().await?;
        }
        let account = self.account.clone();
        let list = move |db: &Connection| {
            db.prepare_cached(
                "SELECT seq, updated_at, state = 'sent' FROM outbox INDEXED BY outbox_open
                 WHERE account = ?1 AND state IN ('queued', 'sent') ORDER BY seq",
            )?
            .query_map(params![account.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<Vec<(i64, UnixMs, bool)>>>()
        };
        let listed = self.journal.run(list).await?;
        let unread: Vec<i64> = {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            let now: HashMap<i64, UnixMs> = listed.iter().map(|(seq, updated_at, _)| (*seq, *updated_at)).collect();
            read.retain(|seq, (updated_at, _)| now.get(seq) == Some(updated_at));
            listed.iter().map(|(seq, ..)| *seq).filter(|seq| !read.contains_key(seq)).collect()
        };
        for page in unread.chunks(PAGE) {
            self.read(page.to_vec()).await?;
        }
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let letter = |(seq, _, handed_over): (i64, UnixMs, bool)| {
            Some(read.get(&seq)?.1.clone().letter(&self.account, handed_over, false))
        };
        Ok(listed.into_iter().filter_map(letter).collect())
    }

    /// Settles parts in a state that nobody knows.
    async fn settle_odd(&self) -> Result<(), StoreError> {
        let account = self.account.clone();
        let list = move |db: &Connection| {
            db.prepare_cached(
                "SELECT * FROM outbox INDEXED BY outbox_odd WHERE account = ?1
                 AND state NOT IN ('queued', 'sent', 'acked', 'delivered', 'failed', 'expired')",
            )?
            .query_map([account.as_str()], |row| Ok((RawPart::read(row)?, lossy(row, "state")?)))?
            .collect::<rusqlite::Result<Vec<_>>>()
        };
        for (part, state) in self.journal.run(list).await? {
            self.unreadable(&part, format!("unknown state \"{state}\"")).await;
        }
        Ok(())
    }

    /// Reads the contents of parts that wait.
    async fn read(&self, page: Vec<i64>) -> Result<(), StoreError> {
        let read = move |db: &Connection| {
            let mut part = db.prepare_cached("SELECT * FROM outbox WHERE seq = ?1 AND state IN ('queued', 'sent')")?;
            let mut parts = Vec::new();
            for seq in &page {
                parts.extend(part.query_map([seq], RawPart::read)?.collect::<rusqlite::Result<Vec<_>>>()?);
            }
            Ok(parts)
        };
        for part in self.journal.run(read).await? {
            match part.parse() {
                Ok(waiting) => {
                    let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
                    read.insert(part.seq, (part.updated_at, waiting));
                }
                Err(cause) => self.unreadable(&part, cause).await,
            }
        }
        Ok(())
    }

    /// Letters for parts that went out before, of which some cannot be read.
    async fn again(&self, parts: Vec<RawPart>) -> Vec<Letter> {
        let mut letters = Vec::new();
        for part in parts {
            match part.parse() {
                Ok(waiting) => letters.push(waiting.letter(&self.account, false, true)),
                Err(cause) => self.unreadable(&part, cause).await,
            }
        }
        letters
    }

    /// Settles a part that cannot be read.
    async fn unreadable(&self, part: &RawPart, cause: String) {
        let (account, id, seq, now) = (self.account.clone(), part.id.clone(), part.seq, self.journal.clock.now());
        tracing::error!(
            target: "whatsapp/outbound", %account, id, cause, "a message in state.db cannot be read; it is not sent"
        );
        let (tally, asides, mine) = (self.journal.tally.clone(), self.journal.asides.clone(), account.clone());
        let cause = format!("unreadable: {cause}");
        let work = move |db: &Connection| {
            db.prepare_cached("DELETE FROM facts WHERE key = ?1")?.execute([asked_fact(&account, &id)])?;
            settle_unreadable(db, seq, &cause, now)
        };
        let settled = self.journal.run_surely(work, move |gone| {
            asides.unreadable_part();
            if let Some(waited) = *gone {
                tally.failed(&mine, waited);
            }
        });
        log_unnoted(settled.await.map(|_| ()));
    }

    /// Texts to people that WhatsApp took before `before` and after `after`, that no device of the recipient has confirmed and that
    /// nobody has tried to send once more ([`AccountOutbox::resent`], [`AccountOutbox::not_resent`]): WhatsApp also takes a message
    /// that none of the recipient's devices can read.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn unconfirmed(&self, after: UnixMs, before: UnixMs) -> Result<Vec<Letter>, StoreError> {
        let account = self.account.clone();
        let parts = self
            .journal
            .run(move |db| {
                db.prepare_cached(
                    "SELECT * FROM outbox WHERE account = ?1 AND state = 'acked' AND resent_at IS NULL AND cause IS NULL
                     AND updated_at BETWEEN ?2 AND ?3 AND chat NOT LIKE '%@g.us'
                     AND CASE WHEN json_valid(content) THEN json_extract(content, '$.type') ELSE 'text' END = 'text' ORDER BY seq",
                )?
                .query_map(params![account.as_str(), after, before], RawPart::read)?
                .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        Ok(self.again(parts).await)
    }

    /// What devices asked for again ([`Journal::asked_again`]) and the client does not answer: what it inherited
    /// ([`AccountOutbox::inherit_asked`]), and what more than one device asked for.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn asked(&self) -> Result<Vec<Letter>, StoreError> {
        let (account, (from, to)) = (self.account.clone(), asked_facts(&self.account));
        let parts = self
            .journal
            .run(move |db| {
                db.prepare_cached(
                    "SELECT outbox.* FROM facts JOIN outbox ON outbox.account = ?1 AND outbox.id = substr(facts.key, length(?2) + 1)
                     WHERE facts.key >= ?2 AND facts.key < ?3 AND state IN ('acked', 'delivered') AND facts.value = ?4
                     ORDER BY seq",
                )?
                .query_map(params![account.as_str(), from, to, OURS], RawPart::read)?
                .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        Ok(self.again(parts).await)
    }

    /// Nobody else answers what was asked for again until now: its client is gone.
    ///
    /// # Errors
    /// When that is not on disk.
    pub async fn inherit_asked(&self) -> Result<(), StoreError> {
        let (from, to) = asked_facts(&self.account);
        let inherit = move |db: &Connection| {
            db.prepare_cached("UPDATE facts SET value = ?3 WHERE key >= ?1 AND key < ?2 AND value <> ?3")?
                .execute(params![from, to, OURS])
        };
        self.journal.run(inherit).await.map(|_| ())
    }

    /// Forgets what was asked for again before `before`: the client has answered it.
    ///
    /// # Errors
    /// When that is not on disk.
    pub async fn forget_asked(&self, before: UnixMs) -> Result<(), StoreError> {
        let (from, to) = asked_facts(&self.account);
        let forget = move |db: &Connection| {
            db.prepare_cached("DELETE FROM facts WHERE key >= ?1 AND key < ?2 AND updated_at < ?3 AND value <> ?4")?
                .execute(params![from, to, before, OURS])
        };
        self.journal.run(forget).await.map(|_| ())
    }

    /// Notes why a part that went out before cannot be sent once more, so that it is not tried again unless it is asked for again.
    /// WhatsApp has it, so that its state stays. Does not wait for the disk.
    pub fn not_resent(&self, id: &MessageId, cause: String) {
        let (account, id) = (self.account.clone(), id.clone());
        let note = move |db: &Connection| {
            db.prepare_cached("DELETE FROM facts WHERE key = ?1")?.execute([asked_fact(&account, id.as_str())])?;
            db.prepare_cached("UPDATE outbox SET cause = ?3 WHERE account = ?1 AND id = ?2")?.execute(params![
                account.as_str(),
                id.as_str(),
                cause
            ])
        };
        let noted = self.journal.submit(true, note, |result| log_unnoted(result.map(|_| ())));
        log_unnoted(noted);
    }

    /// Notes that a part was sent once more, so that it is not again. Does not wait for the disk.
    pub fn resent(&self, id: &MessageId) {
        let (account, id, now) = (self.account.clone(), id.clone(), self.journal.clock.now());
        let note = move |db: &Connection| {
            db.prepare_cached("DELETE FROM facts WHERE key = ?1")?.execute([asked_fact(&account, id.as_str())])?;
            db.prepare_cached("UPDATE outbox SET resent_at = ?3, cause = NULL WHERE account = ?1 AND id = ?2")?
                .execute(params![account.as_str(), id.as_str(), now])
        };
        let noted = self.journal.submit(true, note, |result| log_unnoted(result.map(|_| ())));
        log_unnoted(noted);
    }

    /// False when the part was given up or WhatsApp has it.
    pub async fn waits(&self, id: &MessageId) -> bool {
        let (account, id) = (self.account.clone(), id.clone());
        // Patient, and behind whatever gives the part up: a part whose failure was reported does not leave.
        let waits = move |db: &Connection| {
            db.prepare_cached("SELECT 1 FROM outbox WHERE account = ?1 AND id = ?2 AND state IN ('queued', 'sent')")?
                .exists(params![account.as_str(), id.as_str()])
        };
        self.journal.run_surely(waits, |_| {}).await.unwrap_or(false)
    }

    /// A part is handed to the connection from now on until what is given goes: it does not expire meanwhile. `None` when it has
    /// expired already.
    pub fn hand_over(&self, id: &MessageId) -> Option<HandOver> {
        self.journal.requests.sent(&self.account, id);
        self.journal.under_way.begin(&self.account, id)
    }

    /// Notes that an attempt came to nothing through Verso itself. After `MOST_FAILURES` of them the part fails with the last cause,
    /// and what waits behind it in its chat goes on; answers whether it did.
    pub async fn failed_inside(&self, id: &MessageId, cause: String) -> bool {
        let (account, id, now) = (self.account.clone(), id.clone(), self.journal.clock.now());
        let work = move |db: &Connection| {
            let failures: Option<u32> = db
                .prepare_cached(
                    "UPDATE outbox SET attempts = attempts + 1, failures = failures + 1, cause = ?3, updated_at = ?4
                     WHERE account = ?1 AND id = ?2 AND state IN ('queued', 'sent') RETURNING failures",
                )?
                .query_row(params![account.as_str(), id.as_str(), cause, now], |r| r.get(0))
                .optional()?;
            Ok(failures.is_some_and(|failures| failures >= MOST_FAILURES))
        };
        self.journal.run_surely(work, |_| {}).await.unwrap_or(false)
    }

    /// Notes that an attempt came to nothing; the part goes on waiting.
    pub fn attempted(&self, id: &MessageId, cause: String) {
        let (account, id, now) = (self.account.clone(), id.clone(), self.journal.clock.now());
        let noted = self.journal.submit(
            true,
            move |db| {
                db.prepare_cached(
                    "UPDATE outbox SET attempts = attempts + 1, cause = ?3, updated_at = ?4
                     WHERE account = ?1 AND id = ?2 AND state IN ('queued', 'sent')",
                )?
                .execute(params![account.as_str(), id.as_str(), cause, now])
            },
            |result| log_unnoted(result.map(|_| ())),
        );
        log_unnoted(noted);
    }

    /// Moves a part forward; see [`Journal::mark_soon`].
    pub fn mark(&self, id: &MessageId, state: OutboxState, cause: Option<String>) {
        self.journal.mark_soon(self.account.clone(), id.clone(), state, cause);
    }
}

impl Journal {
    /// The outbox that leaves through `outlet`.
    pub fn outbox(&self, outlet: &impl Outlet) -> AccountOutbox {
        AccountOutbox {
            journal: self.clone(),
            account: outlet.account().clone(),
            read: Arc::default(),
            looked: Arc::default(),
        }
    }
}
