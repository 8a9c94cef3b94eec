//! What is not to be answered after all: messages that were admitted are taken back, answers that were not sent are withheld.

use rusqlite::{Connection, params};
use serde_json::Value;

use super::Journal;
use super::outbox::{Settled, file_of};
use super::rows::{InboundState, OutboxState, lossy};
use crate::clock::UnixMs;
use crate::event::MessageKey;
use crate::ids::{AccountId, Jid};

impl Journal {
    /// Takes messages back that were admitted and are not answered: they get this state and verdict, and the gate that decided it behind
    /// the others. Whoever settles them later changes nothing. Does not wait for the disk.
    pub fn take_back(&self, keys: Vec<MessageKey>, state: InboundState, verdict: &Value, gate: &Value) {
        if keys.is_empty() {
            return;
        }
        let (verdict, gate, now) = (verdict.to_string(), gate.to_string(), self.clock.now());
        let work = move |db: &Connection| {
            let mut hold = db.prepare_cached(
                "UPDATE inbound SET state = ?8, decided_at = ?7,
                     decision = json_set(json_insert(decision, '$.trace[#]', json(?6)), '$.verdict', json(?5))
                 WHERE account = ?1 AND chat = ?2 AND sender = ?3 AND id = ?4 AND state = 'admitted' AND json_valid(decision)",
            )?;
            for key in &keys {
                hold.execute(params![
                    key.account.as_str(),
                    key.chat.to_string(),
                    key.sender.to_string(),
                    key.id.as_str(),
                    verdict,
                    gate,
                    now,
                    state.as_str()
                ])?;
            }
            Ok(())
        };
        let noted = self.submit(true, work, |result| {
            if let Err(error) = result {
                tracing::error!(target: "whatsapp/inbound", %error, "that messages are not answered was not noted");
            }
        });
        // The journal is closed only when the process ends; the messages are judged again after it.
        drop(noted);
    }

    /// Gives answers up that wait for their first attempt: those to messages of these chats that were sent before `before`, unless
    /// they answer a command. Nobody is told that they failed. Does not wait for the disk; the sender asks behind it.
    pub fn withhold(&self, account: &AccountId, chats: &[Jid], before: UnixMs, cause: &str) {
        for chat in chats {
            self.give_up(account, Some((chat.to_string(), before)), cause);
        }
    }

    /// The same for everything that an account was to send.
    pub fn withhold_all(&self, account: &AccountId, cause: &str) {
        self.give_up(account, None, cause);
    }

    fn give_up(&self, account: &AccountId, answers: Option<(String, UnixMs)>, cause: &str) {
        let (now, tally) = (self.clock.now(), self.tally.clone());
        let (account, cause) = (account.clone(), cause.to_owned());
        let (chat, before) = answers.unzip();
        let work = move |db: &Connection| {
            let mut give_up = db.prepare_cached(
                "UPDATE outbox SET state = 'expired', rank = ?5, cause = ?4, updated_at = ?6
                 WHERE account = ?1 AND state = 'queued' AND attempts = 0 AND (?2 IS NULL OR chat = ?2 AND EXISTS (
                     SELECT 1 FROM inbound WHERE seq = outbox.answers AND sent_at < ?3
                     AND CASE WHEN json_valid(decision) THEN json_extract(decision, '$.verdict.command') END IS NULL))
                 RETURNING content",
            )?;
            let given_up = params![account.as_str(), chat, before, cause, OutboxState::Expired as i64, now];
            give_up
                .query_map(given_up, |row| {
                    let content = lossy(row, "content")?;
                    // Nothing has gone wrong: it is not counted among what expired.
                    Ok(Settled { account: account.clone(), state: OutboxState::Acked, file: file_of(&content) })
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        let noted = self.submit(true, work, move |result| match result {
            Ok(withheld) => tally.settled(&withheld),
            Err(error) => tracing::error!(target: "whatsapp/outbound", %error, "answers could not be withheld"),
        });
        drop(noted);
    }
}
