//! Settling: the parts of an answer are queued and its messages marked in one transaction.
//!
//! Where several agents answer a message, the row notes whose turn is over, and the last of them marks it answered. Who is the last one
//! is read from the row itself, so that it does not depend on the order in which answers reach the disk: whenever the process dies,
//! those agents answer again that have written nothing down, and no others.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::outbox::insert_part;
use super::rows::{InboundState, OutboxPart};
use super::{Journal, facts, note_decision};
use crate::clock::UnixMs;
use crate::disclosure::{Outcome, SessionOutcome};
use crate::event::MessageKey;
use crate::ids::{AccountId, SessionKey};
use crate::policy::reason::IgnoreReason;
use crate::store::StoreError;

/// Messages that one agent has answered, or passes over.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The messages, which one answer is for.
    pub keys: Vec<MessageKey>,
    /// Everybody who answers them.
    pub all: Vec<SessionKey>,
    /// Whose turn is over with this.
    pub over: Vec<SessionKey>,
    /// What their runs came to; `None` for what no agent answers.
    pub outcome: Option<Outcome>,
}

/// Messages that are not sent again within some time.
#[derive(Clone, Debug)]
pub struct Once {
    /// Under which key the time of the last ones is kept.
    pub fact: String,
    /// The time in milliseconds.
    pub every_ms: i64,
    /// The messages.
    pub parts: Vec<OutboxPart>,
}

/// What a message causes beside any answer.
#[derive(Clone, Debug, Default)]
pub struct Aside {
    /// Small facts.
    pub facts: Vec<(String, String)>,
    /// Messages.
    pub parts: Vec<OutboxPart>,
    /// When this fact is known already, neither is written.
    pub unless: Option<String>,
}

impl Journal {
    /// Notes the decision on a message together with what it causes, so that a crash costs neither without the other. While the disk
    /// is full or the file is locked it waits.
    ///
    /// # Errors
    /// When it is not on disk and will not be.
    pub async fn decide_aside(
        &self,
        key: &MessageKey,
        state: InboundState,
        decision: &serde_json::Value,
        aside: Aside,
    ) -> Result<(), StoreError> {
        let (now, tally) = (self.clock.now(), self.tally.clone());
        let (mut note, message) = (note_decision(key, state, decision, now), key.clone());
        let work = move |db: &Connection| {
            note(db)?;
            if is_expired(db, &message)? {
                return Ok(Vec::new());
            }
            if let Some(known) = &aside.unless
                && facts::read(db, known)?.is_some()
            {
                return Ok(Vec::new());
            }
            for (key, value) in &aside.facts {
                facts::write(db, key, value, now)?;
            }
            queue(db, &aside.parts, now)
        };
        self.run_surely(work, move |queued: &Vec<AccountId>| tally.queued(queued)).await.map(|_| ())
    }

    /// Settles the messages that one answer is for: its parts are queued and all of them are marked answered, in one transaction.
    /// Settling them again changes nothing and answers false. While the disk is full or the file is locked it waits.
    ///
    /// # Errors
    /// When it is not on disk and will not be: the gateway stops or the file is damaged.
    pub async fn answer(&self, keys: Vec<MessageKey>, parts: Vec<OutboxPart>) -> Result<bool, StoreError> {
        self.answer_turns(vec![Turn { keys, all: Vec::new(), over: Vec::new(), outcome: None }], parts, Vec::new())
            .await
    }

    /// As [`Journal::answer`] where several agents may answer a message: each has one turn, and the message counts as answered when
    /// all of them had theirs (see [`Left::done`](super::Left::done)). `once` is queued with the parts, as far as it was not lately.
    ///
    /// # Errors
    /// As [`Journal::answer`].
    pub async fn answer_turns(
        &self,
        turns: Vec<Turn>,
        parts: Vec<OutboxPart>,
        once: Vec<Once>,
    ) -> Result<bool, StoreError> {
        let settled = self.settle_turns(turns.clone(), parts.clone(), once.clone()).await;
        let Err(StoreError::Damaged { cause, .. }) = &settled else { return settled };
        // It would be taken up by the next process, which may be a long time, and fail there as well.
        tracing::error!(target: "gateway", cause, "an answer could not be written down; it is tried once more");
        let settled = self.settle_turns(turns.clone(), parts, once).await;
        if let Err(StoreError::Damaged { cause, .. }) = &settled {
            let keys: Vec<MessageKey> = turns.into_iter().flat_map(|turn| turn.keys).collect();
            self.set_aside(&keys, IgnoreReason::Internal, &format!("its answer could not be written down: {cause}"));
        }
        settled
    }

    async fn settle_turns(
        &self,
        turns: Vec<Turn>,
        parts: Vec<OutboxPart>,
        once: Vec<Once>,
    ) -> Result<bool, StoreError> {
        let (now, tally) = (self.clock.now(), self.tally.clone());
        let answered = self
            .run_surely(
                move |db| {
                    let mut changed = false;
                    for turn in &turns {
                        for key in &turn.keys {
                            changed |= settle(db, key, turn, now)?;
                        }
                    }
                    if !changed {
                        return Ok(None);
                    }
                    let mut accounts = queue(db, &parts, now)?;
                    for once in &once {
                        if !said_lately(db, once, now)? {
                            accounts.extend(queue(db, &once.parts, now)?);
                        }
                    }
                    Ok(Some(accounts))
                },
                move |queued: &Option<Vec<AccountId>>| tally.queued(queued.as_deref().unwrap_or_default()),
            )
            .await?;
        Ok(answered.is_some())
    }
}

/// True for a message of a number that the account is not linked to any more.
fn is_expired(db: &Connection, key: &MessageKey) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT 1 FROM inbound WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND id = ?4 AND state = 'expired'",
    )?
    .exists(params![key.account.as_str(), key.chat.to_string(), key.sender.to_string(), key.id.as_str()])
}

/// Queues parts; gives the account of each.
fn queue(db: &Connection, parts: &[OutboxPart], now: UnixMs) -> rusqlite::Result<Vec<AccountId>> {
    let mut accounts = Vec::new();
    for part in parts {
        if insert_part(db, part, now)? {
            accounts.push(part.account.clone());
        }
    }
    Ok(accounts)
}

/// Whether these messages were sent a short time ago; else it notes that they are sent now.
fn said_lately(db: &Connection, once: &Once, now: UnixMs) -> rusqlite::Result<bool> {
    let last: Option<UnixMs> = facts::read(db, &once.fact)?.and_then(|text| text.parse().ok());
    // A clock that was put back does not silence anybody for long.
    if last.is_some_and(|last| (0..once.every_ms).contains(&(now - last))) {
        return Ok(true);
    }
    facts::write(db, &once.fact, &now.to_string(), now)?;
    Ok(false)
}

/// False when the message is answered already, or by all of these, or was taken back.
fn settle(db: &Connection, key: &MessageKey, turn: &Turn, now: UnixMs) -> rusqlite::Result<bool> {
    let found: Option<(i64, Option<String>, Option<String>)> = db
        .prepare_cached(
            "SELECT seq, CASE WHEN json_valid(decision) THEN json_extract(decision, '$.verdict.done') END,
                 CASE WHEN json_valid(decision) THEN json_extract(decision, '$.outcomes') END FROM inbound
             WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND id = ?4
             AND state NOT IN ('answered', 'held', 'dropped', 'expired')",
        )?
        .query_row(params![key.account.as_str(), key.chat.to_string(), key.sender.to_string(), key.id.as_str()], |r| {
            Ok((r.get(0)?, r.get(1).unwrap_or_default(), r.get(2).unwrap_or_default()))
        })
        .optional()?;
    let Some((row, done, outcomes)) = found else { return Ok(false) };
    if let Some(outcome) = &turn.outcome {
        note_outcome(db, row, outcomes.as_deref(), turn, outcome)?;
    }
    let before: BTreeSet<String> = done.and_then(|done| serde_json::from_str(&done).ok()).unwrap_or_default();
    let mut done = before.clone();
    done.extend(turn.over.iter().map(ToString::to_string));
    if turn.all.iter().all(|session| done.contains(session.as_str())) {
        db.prepare_cached("UPDATE inbound SET state = 'answered', answered_at = ?2 WHERE seq = ?1")?
            .execute(params![row, now])?;
        return Ok(true);
    }
    db.prepare_cached(
        "UPDATE inbound SET decision = json_set(CASE WHEN json_valid(decision) THEN decision ELSE '{}' END, '$.verdict.done', json(?2))
         WHERE seq = ?1",
    )?
    .execute(params![row, serde_json::json!(done).to_string()])?;
    Ok(done != before)
}

/// Adds to a row what the runs of these sessions came to.
fn note_outcome(
    db: &Connection,
    row: i64,
    known: Option<&str>,
    turn: &Turn,
    outcome: &Outcome,
) -> rusqlite::Result<()> {
    let mut outcomes: Vec<SessionOutcome> = known.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    for session in &turn.over {
        if outcomes.iter().all(|one| one.session != *session) {
            outcomes.push(SessionOutcome { session: session.clone(), outcome: outcome.clone() });
        }
    }
    db.prepare_cached(
        "UPDATE inbound SET decision = json_set(CASE WHEN json_valid(decision) THEN decision ELSE '{}' END, '$.outcomes', json(?2))
         WHERE seq = ?1",
    )?
    .execute(params![row, serde_json::json!(outcomes).to_string()])?;
    Ok(())
}
