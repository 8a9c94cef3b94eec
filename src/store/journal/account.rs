//! What waits for one account, for its outlet alone.

use rusqlite::{Connection, params};

use super::outbox::log_unnoted;
use super::rows::{OutboxState, bad_column};
use super::{Journal, StoreError, facts};
use crate::clock::UnixMs;
use crate::ids::{AccountId, MessageId};
use crate::outgoing::{Handling, Letter, Outlet};

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
}

impl AccountOutbox {
    /// The parts without WhatsApp's ack, in order.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn waiting(&self) -> Result<Vec<Letter>, StoreError> {
        let account = self.account.clone();
        self.journal
            .run(move |db| {
                db.prepare_cached(
                    "SELECT * FROM outbox WHERE account = ?1 AND state IN ('queued', 'sent') ORDER BY seq",
                )?
                .query_map(params![account.as_str()], |row| letter(row, false))?
                .collect()
            })
            .await
    }

    /// Texts to people that WhatsApp took before `before` and after `after`, that no device of the recipient has confirmed and that
    /// nobody has tried to send once more ([`AccountOutbox::resent`], [`AccountOutbox::not_resent`]): WhatsApp also takes a message
    /// that none of the recipient's devices can read.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn unconfirmed(&self, after: UnixMs, before: UnixMs) -> Result<Vec<Letter>, StoreError> {
        let account = self.account.clone();
        self.journal
            .run(move |db| {
                db.prepare_cached(
                    "SELECT * FROM outbox WHERE account = ?1 AND state = 'acked' AND resent_at IS NULL AND cause IS NULL
                     AND updated_at BETWEEN ?2 AND ?3 AND chat NOT LIKE '%@g.us'
                     AND json_extract(content, '$.type') = 'text' ORDER BY seq",
                )?
                .query_map(params![account.as_str(), after, before], |row| letter(row, true))?
                .collect()
            })
            .await
    }

    /// What devices asked for again ([`Journal::asked_again`]) and the client does not answer: what it inherited
    /// ([`AccountOutbox::inherit_asked`]), and what more than one device asked for.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn asked(&self) -> Result<Vec<Letter>, StoreError> {
        let (account, prefix) = (self.account.clone(), asked_fact(&self.account, ""));
        self.journal
            .run(move |db| {
                db.prepare_cached(
                    "SELECT outbox.* FROM facts JOIN outbox ON outbox.id = substr(facts.key, length(?2) + 1)
                     WHERE substr(facts.key, 1, length(?2)) = ?2 AND account = ?1 AND state IN ('acked', 'delivered')
                     AND facts.value = ?3 ORDER BY seq",
                )?
                .query_map(params![account.as_str(), prefix, OURS], |row| letter(row, true))?
                .collect()
            })
            .await
    }

    /// Nobody else answers what was asked for again until now: its client is gone.
    ///
    /// # Errors
    /// When that is not on disk.
    pub async fn inherit_asked(&self) -> Result<(), StoreError> {
        let prefix = asked_fact(&self.account, "");
        let inherit = move |db: &Connection| {
            db.prepare_cached("UPDATE facts SET value = ?2 WHERE substr(key, 1, length(?1)) = ?1")?
                .execute(params![prefix, OURS])
        };
        self.journal.run(inherit).await.map(|_| ())
    }

    /// Forgets what was asked for again before `before`: the client has answered it.
    ///
    /// # Errors
    /// When that is not on disk.
    pub async fn forget_asked(&self, before: UnixMs) -> Result<(), StoreError> {
        let prefix = asked_fact(&self.account, "");
        let forget = move |db: &Connection| {
            db.prepare_cached(
                "DELETE FROM facts WHERE substr(key, 1, length(?1)) = ?1 AND updated_at < ?2 AND value <> ?3",
            )?
            .execute(params![prefix, before, OURS])
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

fn letter(row: &rusqlite::Row<'_>, again: bool) -> rusqlite::Result<Letter> {
    let (account, id, chat, content): (String, String, String, String) =
        (row.get("account")?, row.get("id")?, row.get("chat")?, row.get("content")?);
    let handling = Handling {
        answer: row.get::<_, Option<i64>>("answers")?.is_some(),
        first_contact: row.get("first_contact")?,
        handed_over: row.get::<_, String>("state")? == OutboxState::Sent.as_str(),
        again,
    };
    let chat = chat.parse().map_err(|e| bad_column("chat", e))?;
    let content = serde_json::from_str(&content).map_err(|e| bad_column("content", e))?;
    Ok(Letter::seal(AccountId::new(&account), MessageId::new(id), chat, content, handling))
}

/// Known while a device waits for a message that it asked for again.
fn asked_fact(account: &AccountId, id: &str) -> String {
    format!("asked:{account}:{id}")
}

/// The value of that fact when the client does not answer: it is gone, or more than one request came, of which it answers one.
const OURS: &str = "ours";

/// How long the client waits for the note about a message that is asked for again.
const NOTE_PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);

impl Journal {
    /// A device asks for a message again. The client answers that itself, once, and only while it lives: until that has happened the
    /// question is noted. Waits for the disk, because WhatsApp forgets the question as soon as this returns; but not for long.
    pub fn asked_again(&self, account: &AccountId, id: &MessageId) {
        let (fact, now) = (asked_fact(account, id.as_str()), self.clock.now());
        let (noted, done) = std::sync::mpsc::channel();
        let work = move |db: &Connection| {
            let value = if facts::read(db, &fact)?.is_some() { OURS } else { "" };
            facts::write(db, &fact, value, now)
        };
        let queued = self.submit(true, work, move |result| {
            log_unnoted(result);
            #[cfg(feature = "demo")]
            crate::fault::passes("asked-again");
            let _ = noted.send(());
        });
        match queued {
            Ok(()) => drop(done.recv_timeout(NOTE_PATIENCE)),
            Err(error) => log_unnoted(Err(error)),
        }
    }

    /// The outbox that leaves through `outlet`.
    pub fn outbox(&self, outlet: &impl Outlet) -> AccountOutbox {
        AccountOutbox { journal: self.clone(), account: outlet.account().clone() }
    }
}
