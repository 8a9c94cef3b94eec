//! Which of a person's two addresses works, which one a message went to, and in which chats messages stay unconfirmed: small facts.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::outbox::log_unnoted;
use super::rows::lossy;
use super::{Journal, StoreError, facts};
use crate::clock::UnixMs;
use crate::delivery::address::{Choice, Went};
use crate::ids::{AccountId, Jid, MessageId};
use crate::outgoing::Address;

/// A chat in which no phone of the person has confirmed what was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unconfirmed {
    /// When the first of these messages was given up waiting for, in milliseconds since 1970.
    pub since: UnixMs,
    /// The messages.
    pub ids: Vec<MessageId>,
}

/// A message to a person that no phone has confirmed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent {
    /// The message.
    pub id: MessageId,
    /// Its chat, as the outbox has it.
    pub chat: Jid,
    /// When WhatsApp took it.
    pub acked_at: UnixMs,
    /// When the last message of that chat came in.
    pub heard: Option<UnixMs>,
    /// The addresses that it went to; unknown for what an older Verso sent.
    pub went: Option<Went>,
    /// A later message of the chat was confirmed.
    pub later: bool,
}

fn choice_fact(account: &AccountId, chat: &str) -> String {
    format!("address:{account}:{chat}")
}

fn went_fact(account: &AccountId, id: &str) -> String {
    format!("via:{account}:{id}")
}

fn unconfirmed_fact(account: &AccountId, chat: &str) -> String {
    format!("unconfirmed:{account}:{chat}")
}

fn parsed<T: for<'a> Deserialize<'a>>(value: Option<String>) -> Option<T> {
    // What another version wrote is as good as nothing.
    value.and_then(|value| serde_json::from_str(&value).ok())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

fn forget(db: &Connection, key: &str) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM facts WHERE key = ?1")?.execute([key]).map(|_| ())
}

/// Adds to a part, as people see it, which addresses it went to: `lid`, `number` or `both`.
pub(super) fn tell(db: &Connection, part: &mut serde_json::Value) -> rusqlite::Result<()> {
    let (Some(account), Some(id)) = (part["account"].as_str(), part["id"].as_str()) else { return Ok(()) };
    let went = parsed::<Went>(facts::read(db, &went_fact(&AccountId::new(account), id))?);
    part["wentTo"] = match went {
        Some(Went::To(address)) => serde_json::json!(address),
        Some(Went::Both) => serde_json::json!("both"),
        None => serde_json::Value::Null,
    };
    Ok(())
}

impl Journal {
    /// The addresses chosen for the people that an account writes with.
    ///
    /// # Errors
    /// When they cannot be read and will not be.
    pub async fn choices(&self, account: &AccountId) -> Result<Vec<(Jid, Choice)>, StoreError> {
        let prefix = choice_fact(account, "");
        let found = self.facts(&prefix).await?;
        let chosen = found
            .into_iter()
            .filter_map(|(key, value, _)| Some((key.strip_prefix(&prefix)?.parse().ok()?, parsed(Some(value))?)));
        Ok(chosen.collect())
    }

    /// Notes the address chosen for a person, under each of the person's addresses. Does not wait for the disk.
    pub fn choose_soon(&self, account: &AccountId, chats: &[Jid], choice: Choice) {
        let keys: Vec<String> = chats.iter().map(|chat| choice_fact(account, &chat.to_string())).collect();
        let (value, now) = (json(&choice), self.clock.now());
        let work = move |db: &Connection| keys.iter().try_for_each(|key| facts::write(db, key, &value, now));
        log_unnoted(self.submit(true, work, log_unnoted));
    }

    /// Notes that a message went to an address. Does not wait for the disk.
    pub fn went_soon(&self, account: &AccountId, id: &MessageId, address: Address) {
        let (key, now) = (went_fact(account, id.as_str()), self.clock.now());
        let work = move |db: &Connection| {
            let went = match parsed::<Went>(facts::read(db, &key)?) {
                Some(before) => before.and(address),
                None => Went::To(address),
            };
            facts::write(db, &key, &json(&went), now)
        };
        log_unnoted(self.submit(true, work, log_unnoted));
    }

    /// Notes that a message to a person was sent once more because no phone has confirmed it, unless one has meanwhile. Does not wait
    /// for the disk.
    pub fn unconfirmed_soon(&self, account: &AccountId, chat: &Jid, id: &MessageId) {
        let (key, id, now) = (unconfirmed_fact(account, &chat.to_string()), id.clone(), self.clock.now());
        let (account, person) = (account.clone(), Address::of(chat).is_some());
        let work = move |db: &Connection| {
            let silent = db
                .prepare_cached("SELECT 1 FROM outbox WHERE account = ?1 AND id = ?2 AND state = 'acked'")?
                .exists(params![account.as_str(), id.as_str()])?;
            if !silent || !person {
                return Ok(());
            }
            let mut known: Unconfirmed =
                parsed(facts::read(db, &key)?).unwrap_or(Unconfirmed { since: now, ids: Vec::new() });
            if !known.ids.contains(&id) {
                known.ids.push(id.clone());
            }
            facts::write(db, &key, &json(&known), now)
        };
        log_unnoted(self.submit(true, work, log_unnoted));
    }

    /// Phones confirmed messages: their chats are no longer unconfirmed. `then` gets the chats and the addresses that the messages went
    /// to. Does not wait for the disk.
    pub fn confirmed_soon(
        &self,
        account: &AccountId,
        ids: Vec<MessageId>,
        then: impl FnOnce(Vec<(Jid, Went)>) + Send + 'static,
    ) {
        let account = account.clone();
        let work = move |db: &Connection| {
            let mut confirmed = Vec::new();
            for id in &ids {
                let chat: Option<String> = db
                    .prepare_cached("SELECT chat FROM outbox WHERE account = ?1 AND id = ?2")?
                    .query_row(params![account.as_str(), id.as_str()], |row| lossy(row, "chat"))
                    .optional()?;
                let Some(chat) = chat else { continue };
                forget(db, &unconfirmed_fact(&account, &chat))?;
                let went = parsed(facts::read(db, &went_fact(&account, id.as_str()))?);
                confirmed.extend(chat.parse().ok().zip(went));
            }
            Ok(confirmed)
        };
        let noted = self.submit(true, work, |confirmed| match confirmed {
            Ok(confirmed) => then(confirmed),
            Err(error) => log_unnoted(Err(error)),
        });
        log_unnoted(noted);
    }

    /// Texts and files for people that WhatsApp took after `after`, that no phone has confirmed and that were not sent once more.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn silent(&self, account: &AccountId, after: UnixMs) -> Result<Vec<Silent>, StoreError> {
        let account = account.clone();
        self.run(move |db| {
            let mut silent = Vec::new();
            let mut rows = db.prepare_cached(
                "SELECT id, chat, updated_at,
                     (SELECT received_at FROM inbound WHERE inbound.account = outbox.account AND inbound.chat = outbox.chat
                      AND substr(sender, 1, instr(chat, '@') - 1) = substr(chat, 1, instr(chat, '@') - 1)
                      ORDER BY inbound.seq DESC LIMIT 1) AS heard,
                     EXISTS (SELECT 1 FROM outbox AS later WHERE later.account = outbox.account AND later.chat = outbox.chat
                      AND later.state = 'delivered' AND later.seq > outbox.seq) AS later
                 FROM outbox WHERE account = ?1 AND state = 'acked' AND resent_at IS NULL AND cause IS NULL AND updated_at >= ?2
                 AND chat NOT LIKE '%@g.us'
                 AND CASE WHEN json_valid(content) THEN json_extract(content, '$.type') END IN ('text', 'media') ORDER BY seq",
            )?;
            let mut found = rows.query(params![account.as_str(), after])?;
            while let Some(row) = found.next()? {
                let (id, chat) = (lossy(row, "id")?, lossy(row, "chat")?);
                let went = parsed(facts::read(db, &went_fact(&account, &id))?);
                let Ok(chat) = chat.parse() else { continue };
                let (acked_at, heard, later) = (row.get(2)?, row.get(3)?, row.get(4)?);
                silent.push(Silent { id: MessageId::new(id), chat, acked_at, heard, went, later });
            }
            Ok(silent)
        })
        .await
    }

    /// The chats of all accounts in which messages stay unconfirmed.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn unconfirmed_chats(&self) -> Result<BTreeMap<AccountId, Vec<(Jid, Unconfirmed)>>, StoreError> {
        self.run(|db| {
            let mut chats: BTreeMap<AccountId, Vec<(Jid, Unconfirmed)>> = BTreeMap::new();
            // The keys between are those with this prefix.
            let mut rows = db.prepare_cached(
                "SELECT key, value FROM facts WHERE key > 'unconfirmed:' AND key < 'unconfirmed;' ORDER BY key",
            )?;
            let mut found = rows.query([])?;
            while let Some(row) = found.next()? {
                let (key, value): (String, String) = (row.get(0)?, row.get(1)?);
                let Some((account, chat)) = key.strip_prefix("unconfirmed:").and_then(|rest| rest.split_once(':'))
                else {
                    continue;
                };
                if let (Ok(chat), Some(unconfirmed)) = (chat.parse(), parsed(Some(value))) {
                    chats.entry(AccountId::new(account)).or_default().push((chat, unconfirmed));
                }
            }
            Ok(chats)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::outgoing::Outgoing;
    use crate::store::journal::{OutboxPart, OutboxState};

    const CHAT: &str = "123@lid";

    fn text(account: &AccountId, text: &str) -> OutboxPart {
        OutboxPart::text(account.clone(), CHAT.parse().expect("jid"), text, None)
    }

    #[tokio::test]
    async fn choices_and_silent_chats_survive_and_end_with_a_receipt() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let (path, clock, work) = (dir.path().join("state.db"), Clock::manual(1_000), AccountId::new("work"));
        let journal = Journal::open(&path, clock.clone())?;
        let reaction = Outgoing::Reaction {
            target: crate::outgoing::Target { id: MessageId::new("X"), sender: None, from_me: false },
            emoji: "👍".to_owned(),
        };
        let (part, other) = (text(&work, "hello"), OutboxPart { content: reaction, ..text(&work, "") });
        let chat = part.chat.clone();
        let ids = [part.id.clone(), other.id.clone()];
        journal.enqueue(vec![part, other]).await?;
        for id in &ids {
            journal.went_soon(&work, id, Address::Lid);
            journal.mark_soon(work.clone(), id.clone(), OutboxState::Acked, None);
        }
        let silent = journal.silent(&work, 0).await?;
        let wanted = Silent {
            id: ids[0].clone(),
            chat: chat.clone(),
            acked_at: 1_000,
            heard: None,
            went: Some(Went::To(Address::Lid)),
            later: false,
        };
        assert_eq!(silent, [wanted], "a reaction is confirmed by nobody");
        assert_eq!(journal.silent(&work, 1_001).await?, []);
        assert_eq!(journal.silent(&AccountId::new("home"), 0).await?, []);

        journal.went_soon(&work, &ids[0], Address::Number);
        journal.unconfirmed_soon(&work, &chat, &ids[0]);
        let choice = Choice { address: Address::Number, confirmed: false, barred: false };
        journal.choose_soon(&work, &[chat.clone(), "1@s.whatsapp.net".parse()?], choice);
        journal.close().await;
        let journal = Journal::open(&path, clock)?;
        assert_eq!(journal.choices(&work).await?.len(), 2);
        assert_eq!(journal.choices(&AccountId::new("wor")).await?, []);
        let told = journal.get_by_message_id(&ids[0]).await?;
        assert_eq!(told[0]["outgoing"]["wentTo"], "both");
        let chats = journal.unconfirmed_chats().await?;
        assert_eq!(chats[&work][0].1, Unconfirmed { since: 1_000, ids: vec![ids[0].clone()] });

        let (tell, told) = tokio::sync::oneshot::channel();
        journal.confirmed_soon(&work, vec![ids[0].clone(), MessageId::new("UNKNOWN")], move |confirmed| {
            let _ = tell.send(confirmed);
        });
        assert_eq!(told.await?, [(chat, Went::Both)]);
        assert_eq!(journal.unconfirmed_chats().await?.len(), 0);
        Ok(())
    }
}
