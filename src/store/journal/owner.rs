//! Whose number an account is linked to: what is open for one number is never done by another (behaviour.md 24.11).

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::asked::asked_facts;
use super::copy::dropped;
use super::outbox::{Settled, file_of};
use super::rows::{OutboxState, lossy};
use super::{Journal, facts};
use crate::clock::UnixMs;
use crate::event::Identity;
use crate::ids::AccountId;
use crate::policy::decision::Decision;
use crate::policy::reason::IgnoreReason;
use crate::store::StoreError;

/// Why a part is given up.
pub const OTHER_NUMBER: &str = "linked to another number";

/// Who an account is linked to, as far as its queues are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// Its number; its JID where WhatsApp tells none.
    number: String,
    /// Its LID, which stays when the owner changes the number.
    lid: Option<String>,
    /// When it took the place of another one; 0 when it is the first.
    pub since: UnixMs,
    /// The number before it.
    pub before: Option<String>,
    /// What was given up for that.
    pub gave_up: GaveUp,
}

/// What was open for a number that an account is not linked to any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GaveUp {
    /// Messages that waited in the outbox.
    pub parts: usize,
    /// Messages that were not answered.
    pub messages: usize,
    /// When.
    pub at: UnixMs,
}

impl GaveUp {
    /// True when nothing was open.
    pub fn is_empty(self) -> bool {
        self.parts + self.messages == 0
    }
}

/// What [`Journal::claim`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The owner from now on.
    pub owner: Owner,
    /// It is another one than before, and what was open is given up.
    pub changed: bool,
}

impl Owner {
    fn of(identity: &Identity) -> Self {
        let number = identity.number().map_or_else(|| identity.jid.without_device().to_string(), |n| n.to_string());
        let lid = identity.lid.as_ref().map(|lid| lid.without_device().to_string());
        Self { number, lid, ..Self::default() }
    }

    fn is(&self, other: &Self) -> bool {
        self.number == other.number || (self.lid.is_some() && self.lid == other.lid)
    }
}

/// The fact that names the owner of an account.
fn owner_fact(account: &AccountId) -> String {
    format!("owner:{account}")
}

/// When the account's number took the place of another one; 0 when it is the first.
pub(super) fn since(db: &Connection, account: &AccountId) -> rusqlite::Result<UnixMs> {
    let owner = facts::read(db, &owner_fact(account))?.and_then(|text| serde_json::from_str::<Owner>(&text).ok());
    Ok(owner.map_or(0, |owner| owner.since))
}

impl Journal {
    /// Notes whose number an account is linked to. When it is another one than before, everything open is given up in the same
    /// transaction: parts and messages expire, context is forgotten, and nothing of the old number is sent once more.
    ///
    /// It has its place among the jobs as soon as this returns: whatever is asked of the journal after it finds it done. While the disk is
    /// full or the file is locked it waits.
    ///
    /// # Errors
    /// When it is not on disk and will not be.
    pub fn claim(
        &self,
        account: &AccountId,
        identity: &Identity,
    ) -> impl Future<Output = Result<Claim, StoreError>> + Send + use<> {
        let (now, tally) = (self.clock.now(), self.tally.clone());
        let (account, wanted) = (account.clone(), Owner::of(identity));
        let (told, answer) = tokio::sync::oneshot::channel();
        let submitted = self.submit(
            true,
            move |db| take_over(db, &account, &wanted, now),
            move |result: Result<(Claim, Vec<Settled>), StoreError>| {
                let _ = told.send(result.map(|(claim, settled)| {
                    if claim.changed {
                        tally.settled(&settled);
                    }
                    claim
                }));
            },
        );
        async move {
            submitted?;
            answer.await.map_err(|_| StoreError::Closed)?
        }
    }
}

impl Journal {
    /// Settles unanswered messages that came in before `before` on accounts other than the `configured` ones, so that their words are
    /// kept no longer than others; answers how many.
    ///
    /// # Errors
    /// When it cannot be done.
    pub async fn settle_orphans(&self, configured: &[AccountId], before: UnixMs) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let configured: Vec<String> = configured.iter().map(ToString::to_string).collect();
        self.run(move |db| {
            let accounts = db
                .prepare_cached(
                    "SELECT DISTINCT account FROM inbound WHERE state IN ('new', 'admitted') AND received_at < ?1",
                )?
                .query_map(params![before], |r| r.get::<_, String>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let gone = accounts.into_iter().filter(|account| !configured.contains(account));
            gone.map(|account| expire_messages(db, &account, before, IgnoreReason::AccountGone, now)).sum()
        })
        .await
    }
}

fn take_over(
    db: &Connection,
    account: &AccountId,
    wanted: &Owner,
    now: UnixMs,
) -> rusqlite::Result<(Claim, Vec<Settled>)> {
    let fact = owner_fact(account);
    let known: Option<Owner> = facts::read(db, &fact)?.and_then(|text| serde_json::from_str(&text).ok());
    let write = |owner: &Owner| facts::write(db, &fact, &serde_json::to_string(owner).expect("plain data"), now);
    if let Some(known) = known.as_ref().filter(|known| known.is(wanted)) {
        let lid = wanted.lid.clone().or_else(|| known.lid.clone());
        let owner = Owner { number: wanted.number.clone(), lid, ..known.clone() };
        if owner != *known {
            write(&owner)?;
        }
        return Ok((Claim { owner, changed: false }, Vec::new()));
    }
    let Some(known) = known else {
        write(wanted)?;
        return Ok((Claim { owner: wanted.clone(), changed: false }, Vec::new()));
    };
    let settled = expire_parts(db, account, now)?;
    let messages = expire_messages(db, account.as_str(), UnixMs::MAX, IgnoreReason::OtherNumber, now)?;
    // What was kept as context is nobody's loss.
    db.execute(
        "UPDATE inbound SET state = 'expired' WHERE account = ?1 AND state = 'held'",
        params![account.as_str()],
    )?;
    let gave_up = GaveUp { parts: settled.len(), messages, at: now };
    #[cfg(feature = "demo")]
    crate::fault::passes("number-changed");
    let owner = Owner { since: now, before: Some(known.number), gave_up, ..wanted.clone() };
    write(&owner)?;
    Ok((Claim { owner, changed: true }, settled))
}

fn expire_parts(db: &Connection, account: &AccountId, now: UnixMs) -> rusqlite::Result<Vec<Settled>> {
    let settled = db
        .prepare_cached(
            "UPDATE outbox SET state = 'expired', rank = ?3, cause = ?4, updated_at = ?2
             WHERE account = ?1 AND state IN ('queued', 'sent') RETURNING content",
        )?
        .query_map(params![account.as_str(), now, OutboxState::Expired as i64, OTHER_NUMBER], |r| {
            let file = file_of(&lossy(r, "content")?);
            Ok(Settled { account: account.clone(), state: OutboxState::Expired, file })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    // What WhatsApp took from the old number is neither sent once more unasked nor when a device asks for it.
    db.execute(
        "UPDATE outbox SET resent_at = ?2 WHERE account = ?1 AND state = 'acked' AND resent_at IS NULL",
        params![account.as_str(), now],
    )?;
    let (from, to) = asked_facts(account);
    db.execute("DELETE FROM facts WHERE key >= ?1 AND key < ?2", params![from, to])?;
    Ok(settled)
}

/// Messages without an answer that came in before `before` expire with their reason; answers how many.
fn expire_messages(
    db: &Connection,
    account: &str,
    before: UnixMs,
    reason: IgnoreReason,
    now: UnixMs,
) -> rusqlite::Result<usize> {
    let open = db
        .prepare_cached(
            "SELECT seq, decision FROM inbound WHERE account = ?1 AND state IN ('new', 'admitted') AND received_at < ?2",
        )?
        .query_map(params![account, before], |r| Ok((r.get::<_, i64>(0)?, lossy(r, "decision")?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut expire =
        db.prepare_cached("UPDATE inbound SET state = 'expired', decision = ?2, decided_at = ?3 WHERE seq = ?1")?;
    for (seq, decision) in &open {
        let judged = serde_json::from_str::<Decision>(decision).ok();
        let decision = serde_json::to_string(&dropped(judged, reason, "account")).expect("plain data");
        expire.execute(params![seq, decision, now])?;
    }
    Ok(open.len())
}

#[cfg(test)]
mod tests {
    use super::super::InboundState;
    use super::super::rows::OutboxPart;
    use super::*;
    use crate::clock::Clock;
    use crate::event::{Body, Content, InboundMessage};
    use crate::ids::{Jid, MessageId};

    fn who(number: &str, lid: Option<&str>) -> Identity {
        let jid = format!("{number}:3@s.whatsapp.net").parse().expect("a jid");
        Identity { jid, lid: lid.map(|lid| lid.parse().expect("a lid")), push_name: None }
    }

    fn message(id: &str) -> InboundMessage {
        let chat: Jid = "15557654321@s.whatsapp.net".parse().expect("a jid");
        InboundMessage {
            account: AccountId::new("work"),
            id: MessageId::new(id),
            chat: chat.clone(),
            sender: chat,
            sender_alt: None,
            sender_number: None,
            chat_number: None,
            from_me: false,
            push_name: None,
            timestamp: 900,
            offline: false,
            content: Content::Body(Body { text: Some("hi".to_owned()), ..Body::default() }),
        }
    }

    fn part(text: &str, answers: Option<&InboundMessage>) -> OutboxPart {
        let chat = "15557654321@s.whatsapp.net".parse().expect("a jid");
        OutboxPart::text(AccountId::new("work"), chat, text, answers.map(InboundMessage::key))
    }

    struct Home {
        journal: Journal,
        clock: Clock,
        work: AccountId,
        _dir: tempfile::TempDir,
    }

    fn home() -> Home {
        let dir = tempfile::tempdir().expect("temp dir");
        let clock = Clock::manual(1_000);
        let journal = Journal::open(&dir.path().join("state.db"), clock.clone()).expect("opened");
        Home { journal, clock, work: AccountId::new("work"), _dir: dir }
    }

    #[tokio::test]
    async fn what_waits_for_one_number_is_given_up_when_another_one_comes_and_only_then() {
        let Home { journal, work, .. } = &home();
        let claim =
            async |number: &str, lid: Option<&str>| journal.claim(work, &who(number, lid)).await.expect("on disk");
        assert!(!claim("15550001111", None).await.changed, "the first one takes nothing from anybody");
        let asked = message("A");
        journal.commit(vec![asked.clone(), message("B")]).await.expect("on disk");
        journal.enqueue(vec![part("one", None)]).await.expect("queued");
        assert!(!claim("15550001111", Some("77@lid")).await.changed);
        let changed_number = claim("15550003333", Some("77@lid")).await;
        assert!(!changed_number.changed, "the same account of WhatsApp under a new number");
        assert_eq!(journal.outbox_counts(work).waiting, 1);

        let other = claim("15550002222", Some("88@lid")).await;
        assert!(other.changed);
        assert_eq!(other.owner.gave_up, GaveUp { parts: 1, messages: 2, at: 1_000 });
        assert_eq!(other.owner.before.as_deref(), Some("+15550003333"));
        let counts = journal.outbox_counts(work);
        assert_eq!((counts.waiting, counts.expired), (0, 1));
        let row = &journal.get_by_message_id(&asked.id).await.expect("read")[0]["inbound"];
        assert_eq!((&row["state"], &row["decision"]["verdict"]["reason"]), (&"expired".into(), &"other-number".into()));

        // What was under way for the old number comes to nothing, however late it is.
        let answer = journal.answer(vec![asked.key()], vec![part("late", Some(&asked))]).await.expect("on disk");
        assert!(!answer, "nothing is settled twice");
        journal.enqueue(vec![part("reaction", Some(&asked))]).await.expect("on disk");
        journal.decide(&asked.key(), InboundState::Admitted, serde_json::json!({})).await.expect("on disk");
        assert_eq!(journal.outbox_counts(work).waiting, 0);
        assert!(journal.left(work).await.expect("read").is_empty());
        assert!(!claim("15550002222", None).await.changed);
        assert_eq!(claim("15550002222", None).await.owner.gave_up.parts, 1, "and it is still known");
    }

    #[tokio::test]
    async fn other_accounts_never_notice_and_the_new_number_has_met_nobody() {
        let Home { journal, clock, work, _dir } = &home();
        let chat: Jid = "15557654321@s.whatsapp.net".parse().expect("a jid");
        journal.claim(work, &who("15550001111", None)).await.expect("on disk");
        journal.commit(vec![message("A")]).await.expect("on disk");
        let shop = OutboxPart { account: AccountId::new("shop"), ..part("kept", None) };
        journal.enqueue(vec![shop]).await.expect("queued");
        assert!(journal.has_met(work, &chat).await.expect("read"));
        clock.pass(1);
        journal.claim(work, &who("15550002222", None)).await.expect("on disk");
        assert!(!journal.has_met(work, &chat).await.expect("read"), "the old number had");
        assert_eq!(journal.outbox_counts(&AccountId::new("shop")).waiting, 1);
    }

    #[tokio::test]
    async fn messages_of_an_account_that_is_gone_are_settled_after_a_while() {
        let Home { journal, clock, work, _dir } = &home();
        journal.commit(vec![message("A")]).await.expect("on disk");
        clock.pass(1_000);
        let shop = InboundMessage { account: AccountId::new("shop"), ..message("B") };
        journal.commit(vec![shop, message("C")]).await.expect("on disk");
        let settle =
            async |configured: &[AccountId], before| journal.settle_orphans(configured, before).await.expect("done");
        assert_eq!(settle(&[work.clone(), AccountId::new("shop")], UnixMs::MAX).await, 0);
        assert_eq!(settle(&[AccountId::new("shop")], 1_500).await, 1, "A is old, C is not");
        let row = &journal.get_by_message_id(&MessageId::new("A")).await.expect("read")[0]["inbound"];
        assert_eq!(row["decision"]["verdict"]["reason"], "account-gone");
        journal.prune(1_500, 0).await.expect("pruned");
        assert!(journal.get_by_message_id(&MessageId::new("A")).await.expect("read").is_empty());
    }
}
