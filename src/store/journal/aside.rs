//! What is set aside so that it costs nothing but itself: rows that nobody can read, and messages that Verso failed at.
//!
//! A message that is set aside is dropped with a reason of its own and listed until the retention deletes its row; a part fails with the
//! cause `unreadable: …`; a fact moves to a key that nobody asks for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::rows::{lossy, text_of};
use super::{Journal, StoreError, facts};
use crate::clock::UnixMs;
use crate::event::MessageKey;
use crate::ids::{AccountId, MessageId};
use crate::policy::decision::{Decision, Gate, Verdict};
use crate::policy::reason::IgnoreReason;

/// Messages that are named in the list; of the others there is the number.
const NAMED: usize = 20;
/// Under this lie facts that cannot be read, with the keys of before.
const UNREADABLE_FACTS: &str = "unreadable:";

/// A message that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AsideMessage {
    /// Its id; `verso why` tells the rest.
    pub message_id: MessageId,
    /// The code of the reason.
    pub reason: String,
    /// When.
    pub at: UnixMs,
}

/// The messages of an account that were set aside and are still kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetAside {
    /// How many.
    pub total: u64,
    /// The newest of them, newest first.
    pub newest: Vec<AsideMessage>,
}

/// Rows that could not be read since the start, by table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreadable {
    /// Messages that came in.
    pub inbound: u64,
    /// Parts on their way out.
    pub outbox: u64,
    /// Small facts, sessions among them.
    pub facts: u64,
}

/// What was set aside, of all accounts.
#[derive(Clone, Default)]
pub(super) struct Asides(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    messages: HashMap<AccountId, SetAside>,
    unreadable: Unreadable,
}

impl Asides {
    /// Reads what earlier processes set aside.
    pub(super) fn load(&self, db: &Connection) -> rusqlite::Result<()> {
        let mut found =
            db.prepare("SELECT * FROM inbound INDEXED BY inbound_aside WHERE aside IS NOT NULL ORDER BY account, seq")?;
        let mut rows = found.query([])?;
        let mut messages: HashMap<AccountId, SetAside> = HashMap::new();
        while let Some(row) = rows.next()? {
            let account = AccountId::new(&lossy(row, "account")?);
            let message = AsideMessage {
                message_id: MessageId::new(lossy(row, "id")?),
                reason: lossy(row, "aside")?,
                at: row.get::<_, Option<UnixMs>>("decided_at")?.unwrap_or_default(),
            };
            messages.entry(account).or_default().add(message);
        }
        self.kept().messages = messages;
        Ok(())
    }

    /// Moves facts away that cannot be read, and counts them.
    pub(super) fn clear_facts(&self, db: &Connection) -> rusqlite::Result<()> {
        let mut bad = Vec::new();
        let mut all = db.prepare("SELECT CAST(key AS BLOB) AS key, value FROM facts")?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            let key: Vec<u8> = row.get("key")?;
            let text = text_of(row.get_ref("value")?);
            if text.is_none_or(|value| !facts::is_readable(&key, value))
                && !key.starts_with(UNREADABLE_FACTS.as_bytes())
            {
                bad.push(key);
            }
        }
        for key in bad {
            let shown = String::from_utf8_lossy(&key);
            let kind = shown.split(':').next().unwrap_or_default();
            tracing::error!(target: "gateway", kind, "a small fact in state.db cannot be read; Verso goes on without it");
            let away = format!("{UNREADABLE_FACTS}{shown}");
            db.execute("DELETE FROM facts WHERE key = ?1", params![away])?;
            db.execute("UPDATE facts SET key = ?2 WHERE key = CAST(?1 AS TEXT)", params![key, away])?;
            self.kept().unreadable.facts += 1;
        }
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, account: &AccountId, message: AsideMessage) {
        let mut kept = self.kept();
        if message.reason == IgnoreReason::Unreadable.code() {
            kept.unreadable.inbound += 1;
        }
        kept.messages.entry(account.clone()).or_default().add(message);
    }

    pub(super) fn unreadable_part(&self) {
        self.kept().unreadable.outbox += 1;
    }
}

impl SetAside {
    fn add(&mut self, message: AsideMessage) {
        self.total += 1;
        self.newest.insert(0, message);
        self.newest.truncate(NAMED);
    }
}

impl Journal {
    /// The messages of an account that were set aside.
    pub fn set_aside_messages(&self, account: &AccountId) -> SetAside {
        self.asides.kept().messages.get(account).cloned().unwrap_or_default()
    }

    /// Rows that could not be read since the start.
    pub fn unreadable(&self) -> Unreadable {
        self.asides.kept().unreadable
    }

    /// Settles messages that are not handled any more, with the reason and its cause. Does not wait for the disk; what is answered
    /// stays answered.
    pub fn set_aside(&self, keys: &[MessageKey], reason: IgnoreReason, cause: &str) {
        for key in keys {
            let (key, cause, now, asides) = (key.clone(), cause.to_owned(), self.clock.now(), self.asides.clone());
            tracing::error!(
                target: "whatsapp/inbound", account = %key.account, id = %key.id, reason = reason.code(), cause,
                "a message is set aside: {reason}; see verso why {}", key.id
            );
            let work = {
                let key = key.clone();
                move |db: &Connection| {
                    let seq: Option<i64> = db
                        .prepare_cached(
                            "SELECT seq FROM inbound WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND id = ?4 AND state NOT IN ('answered', 'expired')",
                        )?
                        .query_row(
                            params![key.account.as_str(), key.chat.to_string(), key.sender.to_string(), key.id.as_str()],
                            |r| r.get(0),
                        )
                        .optional()?;
                    seq.map_or(Ok(false), |seq| drop_row(db, seq, reason, &cause, now))
                }
            };
            let noted = self.submit(true, work, move |result| match result {
                Ok(true) => {
                    let message = AsideMessage { message_id: key.id, reason: reason.code().to_owned(), at: now };
                    asides.note(&key.account, message);
                }
                Ok(false) => {}
                Err(error) => log_lost(&error),
            });
            if let Err(error) = noted {
                log_lost(&error);
            }
        }
    }

    /// Settles a message whose row cannot be read.
    pub(super) async fn drop_unreadable(&self, account: AccountId, id: MessageId, seq: i64, cause: String) {
        tracing::error!(
            target: "whatsapp/inbound", %account, %id, cause, "a message in state.db cannot be read; it is dropped"
        );
        let (now, asides) = (self.clock.now(), self.asides.clone());
        let cause = format!("unreadable: {cause}");
        let work = move |db: &Connection| drop_row(db, seq, IgnoreReason::Unreadable, &cause, now);
        let dropped = self
            .run_surely(work, move |dropped| {
                if *dropped {
                    let reason = IgnoreReason::Unreadable.code().to_owned();
                    asides.note(&account, AsideMessage { message_id: id, reason, at: now });
                }
            })
            .await;
        if let Err(error) = dropped {
            log_lost(&error);
        }
    }
}

fn log_lost(error: &StoreError) {
    tracing::error!(target: "whatsapp/inbound", %error, "that a message was set aside was not noted");
}

fn drop_row(db: &Connection, seq: i64, reason: IgnoreReason, cause: &str, now: UnixMs) -> rusqlite::Result<bool> {
    let before = db
        .prepare_cached("SELECT decision FROM inbound WHERE seq = ?1")?
        .query_row([seq], |r| lossy(r, "decision"))
        .optional()?;
    let decision = serde_json::to_string(&dropped(before.as_deref(), reason, cause)).expect("plain data");
    let changed = db
        .prepare_cached(
            "UPDATE inbound SET state = 'dropped', aside = ?2, decision = ?3, decided_at = ?4
             WHERE seq = ?1 AND state NOT IN ('answered', 'expired') AND aside IS NULL",
        )?
        .execute(params![seq, reason.code(), decision, now])?;
    Ok(changed == 1)
}

/// The decision of before, as far as there is one, with this as its last gate.
fn dropped(before: Option<&str>, reason: IgnoreReason, cause: &str) -> Decision {
    let verdict = Verdict::Drop { reason };
    let gate = Gate {
        gate: "processing".into(),
        outcome: reason.code().into(),
        key: None,
        value: Some(cause.to_owned()),
        set_in: None,
    };
    match before.and_then(|text| serde_json::from_str::<Decision>(text).ok()) {
        Some(mut decision) => {
            decision.verdict = verdict;
            decision.trace.push(gate);
            decision
        }
        None => Decision { verdict, effects: Vec::new(), trace: vec![gate], revision: 0 },
    }
}
