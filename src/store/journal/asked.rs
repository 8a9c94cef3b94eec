//! What devices ask for again. Anybody may ask for anything: what this account never sent costs one look, is not written down and
//! holds nobody up, and of one message only so many requests count.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, params};

use super::outbox::log_unnoted;
use super::rows::lossy;
use super::{Journal, facts};
use crate::clock::UnixMs;
use crate::ids::{AccountId, MessageId};

/// WhatsApp's ids have some 20 characters.
const LONGEST_ID: usize = 128;
/// Requests for one message that count, in [`HOUR`]: each device of a large group has one or two.
const MOST_PER_ID: u32 = 200;
/// Requests for what is not remembered as sent that are looked up, an account and [`HOUR`].
const MOST_LOOKED_UP: u32 = 2_000;
const HOUR: UnixMs = 3_600_000;
/// Sent messages that are remembered, and messages whose requests are counted.
const REMEMBERED: usize = 20_000;
/// How long the client waits for the note about a message that is asked for again.
const NOTE_PATIENCE: Duration = Duration::from_millis(500);

/// The value of the fact when the client does not answer: it is gone, or more than one request came, of which it answers one.
pub(super) const OURS: &str = "ours";

/// Known while a device waits for a message that it asked for again.
pub(super) fn asked_fact(account: &AccountId, id: &str) -> String {
    format!("asked:{account}:{id}")
}

/// The keys of these facts of an account: from the first, up to but without the second.
pub(super) fn asked_facts(account: &AccountId) -> (String, String) {
    (format!("asked:{account}:"), format!("asked:{account};"))
}

/// What was sent lately, and how often it was asked for.
#[derive(Clone, Default)]
pub(super) struct Requests(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    sent: HashSet<(AccountId, MessageId)>,
    order: VecDeque<(AccountId, MessageId)>,
    /// Since when, and how many.
    counts: HashMap<(AccountId, Option<MessageId>), (UnixMs, u32)>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// It is noted before the client goes on.
    Noted,
    /// It is looked up, and nobody waits.
    LookedUp,
    /// Too many came, or it is none.
    Ignored,
}

impl Requests {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what earlier processes sent last: it is asked for as well, and its client dies as easily.
    pub(super) fn load(&self, db: &Connection) -> rusqlite::Result<()> {
        let mut sent = db.prepare(
            "SELECT * FROM (SELECT seq, account, id FROM outbox WHERE state IN ('sent', 'acked', 'delivered')
             ORDER BY seq DESC LIMIT ?1) ORDER BY seq",
        )?;
        let mut rows = sent.query(params![REMEMBERED as i64])?;
        while let Some(row) = rows.next()? {
            self.sent(&AccountId::new(&lossy(row, "account")?), &MessageId::new(lossy(row, "id")?));
        }
        Ok(())
    }

    /// A message is on its way.
    pub(super) fn sent(&self, account: &AccountId, id: &MessageId) {
        let mut known = self.known();
        let key = (account.clone(), id.clone());
        if known.sent.insert(key.clone()) {
            known.order.push_back(key);
        }
        if known.order.len() > REMEMBERED
            && let Some(oldest) = known.order.pop_front()
        {
            known.sent.remove(&oldest);
        }
    }

    fn came(&self, account: &AccountId, id: &MessageId, now: UnixMs) -> Due {
        if id.as_str().is_empty() || id.as_str().len() > LONGEST_ID {
            return Due::Ignored;
        }
        let mut known = self.known();
        let sent = known.sent.contains(&(account.clone(), id.clone()));
        let (key, most) = if sent { (Some(id.clone()), MOST_PER_ID) } else { (None, MOST_LOOKED_UP) };
        if known.counts.len() > REMEMBERED {
            known.counts.retain(|_, (since, _)| (now - *since).abs() < HOUR);
        }
        let (since, count) = known.counts.entry((account.clone(), key)).or_insert((now, 0));
        if (now - *since).abs() >= HOUR {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        match (*count > most, sent) {
            (true, _) => Due::Ignored,
            (false, true) => Due::Noted,
            (false, false) => Due::LookedUp,
        }
    }
}

impl Journal {
    /// A device asks for a message again. The client answers that itself, once, and only while it lives: until that has happened the
    /// question is noted, and `then` is called. What the account did not send is left alone.
    ///
    /// WhatsApp forgets the question as soon as this returns. So for what is remembered as sent it waits for the disk, but not for long and
    /// not on a thread that others need; it must be called on a multi-threaded runtime, or on none.
    pub fn asked_again(&self, account: &AccountId, id: &MessageId, then: impl FnOnce() + Send + 'static) {
        let now = self.clock.now();
        let due = self.requests.came(account, id, now);
        if due == Due::Ignored {
            return;
        }
        let (fact, account, id) = (asked_fact(account, id.as_str()), account.clone(), id.clone());
        let (noted, done) = std::sync::mpsc::channel();
        let work = move |db: &Connection| {
            let sent = db
                .prepare_cached("SELECT 1 FROM outbox WHERE account = ?1 AND id = ?2")?
                .exists(params![account.as_str(), id.as_str()])?;
            if sent {
                let value = if facts::read(db, &fact)?.is_some() { OURS } else { "" };
                facts::write(db, &fact, value, now)?;
            }
            Ok(sent)
        };
        let queued = self.submit(true, work, move |result| {
            if let Ok(true) = result {
                #[cfg(feature = "demo")]
                crate::fault::passes("asked-again");
                then();
            }
            log_unnoted(result.map(|_| ()));
            let _ = noted.send(());
        });
        match queued {
            Ok(()) if due == Due::Noted => wait(|| {
                // Late or not, the client goes on.
                let _ = done.recv_timeout(NOTE_PATIENCE);
            }),
            Ok(()) => {}
            Err(error) => log_unnoted(Err(error)),
        }
    }
}

/// Lets others have this thread of the runtime meanwhile.
fn wait(work: impl FnOnce()) {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sent_is_looked_up_so_often_and_what_was_is_noted_so_often() {
        let (requests, account, other) = (Requests::default(), AccountId::new("work"), AccountId::new("other"));
        let id = MessageId::new("SENT");
        requests.sent(&account, &id);
        let long = MessageId::new("X".repeat(LONGEST_ID + 1));
        assert_eq!(requests.came(&account, &long, 0), Due::Ignored);
        for n in 0..MOST_LOOKED_UP {
            assert_eq!(requests.came(&account, &MessageId::new(format!("R{n}")), 0), Due::LookedUp);
        }
        assert_eq!(requests.came(&account, &MessageId::new("R"), 0), Due::Ignored);
        assert_eq!(requests.came(&other, &id, 0), Due::LookedUp, "every account for itself");
        for _ in 0..MOST_PER_ID {
            assert_eq!(requests.came(&account, &id, 0), Due::Noted);
        }
        assert_eq!(requests.came(&account, &id, 1), Due::Ignored);
        assert_eq!(requests.came(&account, &id, HOUR), Due::Noted);
    }

    #[test]
    fn only_so_much_is_remembered() {
        let (requests, account) = (Requests::default(), AccountId::new("work"));
        for n in 0..=REMEMBERED {
            requests.sent(&account, &MessageId::new(n.to_string()));
        }
        let known = requests.known();
        assert_eq!((known.sent.len(), known.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!known.sent.contains(&(account, MessageId::new("0"))));
    }
}
