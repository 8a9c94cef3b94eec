//! Sends what waits in the outbox of one account over its link: one lane per chat keeps the order there, lanes do not wait for one
//! another, every retry carries the same message id.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::Recipient;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use indexmap::IndexMap;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::{Report, SocketContext, SocketReport};
use crate::clock::{Clock, UnixMs};
use crate::config::model::PacingConfig;
use crate::delivery::pacing::{Kind, Pace};
use crate::ids::{Jid, MessageId};
use crate::outgoing::Letter;
use crate::store::journal::{AccountOutbox, OutboxState};
use crate::whatsapp::{Link, LinkError};

/// The first wait before a part that WhatsApp could not take is tried again; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// See [`FIRST_WAIT`].
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A part that WhatsApp has not confirmed after this is sent again with the same id.
const ACK_PATIENCE: Duration = Duration::from_secs(60);
/// A text to a person that no device has confirmed after this is sent once more, for devices looked up anew.
const UNREAD_AFTER: UnixMs = 10 * 60_000;
/// Older ones are left alone: the recipient's phone is switched off.
const UNREAD_UNTIL: UnixMs = 60 * 60_000;
/// How often both are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Chats that are written to at the same time.
const LANES: usize = 4;

/// Whether a refusal of WhatsApp may pass by itself.
pub(super) fn may_pass(code: &str) -> bool {
    code == "429" || code.parse::<u16>().is_ok_and(|code| (500..600).contains(&code))
}

/// The sender of one account's outbox.
pub(super) struct Pump {
    shared: Arc<Shared>,
    /// Parts given to this connection that WhatsApp has not acked yet, and when; a new connection sends them again.
    handed_over: HashMap<MessageId, Instant>,
    /// Chats with a lane under way.
    busy: HashSet<Jid>,
    /// When it was looked last for what devices ask for again.
    looked: Option<UnixMs>,
    /// Chats with a failure: how many in a row, and until when they wait; `None` when they may be tried again.
    waits: HashMap<Jid, (u32, Option<Instant>)>,
}

/// What the lanes share.
struct Shared {
    link: Link,
    outbox: AccountOutbox,
    generation: u64,
    reports: Recipient<SocketReport>,
    clock: Clock,
    pace: Mutex<Pace>,
    /// Pacing counts from here: a clock that jumps must not hold anything up.
    started: Instant,
    pacing: Mutex<Option<PacingConfig>>,
    slots: Semaphore,
}

/// How a lane ended.
struct Ended {
    chat: Jid,
    handed_over: Vec<MessageId>,
    /// A part has to be tried again.
    failed: bool,
}

impl Pump {
    /// A pump for the account of `link`: its outbox and no other.
    pub(super) fn new(link: Link, cx: &SocketContext, generation: u64, reports: Recipient<SocketReport>) -> Self {
        let shared = Shared {
            outbox: cx.journal.outbox(&link),
            link,
            generation,
            reports,
            clock: cx.clock.clone(),
            pace: Mutex::default(),
            started: Instant::now(),
            pacing: Mutex::default(),
            slots: Semaphore::new(LANES),
        };
        Self {
            shared: Arc::new(shared),
            handed_over: HashMap::new(),
            busy: HashSet::new(),
            looked: None,
            waits: HashMap::new(),
        }
    }

    /// Sends whenever `drain` says that something waits. Ends with the socket.
    pub(super) async fn run(mut self, mut drain: watch::Receiver<Option<PacingConfig>>) {
        let mut lanes = FuturesUnordered::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut started = false;
        loop {
            let retry = self.waits.values().filter_map(|(_, until)| *until).min();
            tokio::select! {
                changed = drain.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let pacing = drain.borrow_and_update().clone();
                    if pacing.is_some() && !started {
                        started = true;
                        // What an earlier connection left open is not left for later, and goes before what waits.
                        for letters in self.asked(false).await {
                            lanes.push(self.shared.clone().lane(letters));
                        }
                        look.reset_immediately();
                    }
                    *lock(&self.shared.pacing) = pacing;
                }
                Some(ended) = lanes.next() => self.ended(ended),
                () = reached(retry) => {
                    let now = Instant::now();
                    self.waits.values_mut().for_each(|(_, until)| *until = until.filter(|until| *until > now));
                }
                _ = look.tick() => if started {
                    let mut again = self.asked(true).await;
                    self.forget_asked().await;
                    again.append(&mut self.unread().await);
                    for letters in again {
                        lanes.push(self.shared.clone().lane(letters));
                    }
                },
            }
            // Before the first word of the supervisor the connection is not ready.
            if started {
                for letters in self.due().await {
                    lanes.push(self.shared.clone().lane(letters));
                }
            }
        }
    }

    fn ended(&mut self, ended: Ended) {
        self.busy.remove(&ended.chat);
        let now = Instant::now();
        self.handed_over.extend(ended.handed_over.into_iter().map(|id| (id, now)));
        if ended.failed {
            let failures = self.waits.get(&ended.chat).map_or(0, |(n, _)| *n);
            let wait = FIRST_WAIT.saturating_mul(1 << failures.min(10)).min(LONGEST_WAIT);
            self.waits.insert(ended.chat, (failures + 1, Some(now + wait)));
        } else {
            self.waits.remove(&ended.chat);
        }
    }

    /// What may be sent now, in one list per chat.
    async fn due(&mut self) -> Vec<Vec<Letter>> {
        let letters = match self.shared.outbox.waiting().await {
            Ok(letters) => letters,
            Err(error) => {
                tracing::error!(target: "whatsapp/outbound", %error, "cannot read the outbox");
                return Vec::new();
            }
        };
        let now = Instant::now();
        let (ids, chats): (HashSet<_>, HashSet<_>) = letters.iter().map(|l| (l.id(), l.chat())).unzip();
        self.handed_over.retain(|id, at| *at + ACK_PATIENCE > now && ids.contains(id));
        self.waits.retain(|chat, _| chats.contains(chat));
        // One that is queued again is nobody's, whatever became of its first attempt.
        let taken = |l: &Letter| l.handling().handed_over && self.handed_over.contains_key(l.id());
        let letters = letters.into_iter().filter(|l| !taken(l)).collect();
        self.lanes_of(letters)
    }

    /// What devices asked for again and nobody else answers: all that was asked when the process or the connection ended; on this
    /// connection what `several` asked for, because of requests at once the client answers one.
    async fn asked(&mut self, several: bool) -> Vec<Vec<Letter>> {
        match self.shared.outbox.asked(several).await {
            Ok(letters) => self.lanes_of(letters),
            Err(error) => {
                tracing::error!(target: "whatsapp/outbound", %error, "cannot read the outbox");
                Vec::new()
            }
        }
    }

    /// What devices asked on this connection the client has answered in less than the time between two looks.
    async fn forget_asked(&mut self) {
        let Some(last) = self.looked.replace(self.shared.clock.now()) else { return };
        if let Err(error) = self.shared.outbox.forget_asked(last).await {
            tracing::error!(target: "whatsapp/outbound", %error, "cannot write to the outbox");
        }
    }

    /// Texts that went out and that no device of the recipient has confirmed.
    async fn unread(&mut self) -> Vec<Vec<Letter>> {
        let now = self.shared.clock.now();
        match self.shared.outbox.unconfirmed(now - UNREAD_UNTIL, now - UNREAD_AFTER).await {
            Ok(letters) => self.lanes_of(letters),
            Err(error) => {
                tracing::error!(target: "whatsapp/outbound", %error, "cannot read the outbox");
                Vec::new()
            }
        }
    }

    /// Groups letters by chat, leaving out chats that are being written to or wait after a failure.
    fn lanes_of(&mut self, letters: Vec<Letter>) -> Vec<Vec<Letter>> {
        let now = Instant::now();
        let mut lanes: IndexMap<Jid, Vec<Letter>> = IndexMap::new();
        for letter in letters {
            if self.waits.get(letter.chat()).is_some_and(|(_, until)| until.is_some_and(|until| until > now)) {
                continue;
            }
            if !self.busy.contains(letter.chat()) {
                lanes.entry(letter.chat().clone()).or_default().push(letter);
            }
        }
        self.busy.extend(lanes.keys().cloned());
        lanes.into_values().collect()
    }
}

impl Shared {
    /// Sends letters to one chat in order; a part that must be tried again holds up those behind it, one that cannot be sent does not.
    async fn lane(self: Arc<Self>, letters: Vec<Letter>) -> Ended {
        let mut ended = Ended { chat: letters[0].chat().clone(), handed_over: Vec::new(), failed: false };
        for letter in letters {
            self.wait_for_turn(&letter).await;
            let _slot = self.slots.acquire().await;
            let id = letter.id().clone();
            let account = letter.account();
            // Whoever asked for it may have been told meanwhile that it failed.
            if !letter.handling().answer && !letter.handling().again && !self.outbox.waits(&id).await {
                continue;
            }
            match self.link.send(&letter).await {
                Ok(()) => {
                    self.reports.do_send(SocketReport {
                        generation: self.generation,
                        what: Report::Outbound(ended.chat.clone()),
                    });
                    if letter.handling().again {
                        self.outbox.resent(&id);
                    }
                    self.outbox.mark(&id, OutboxState::Sent, None);
                    tracing::info!(target: "whatsapp/outbound", %account, %id, "sent");
                    ended.handed_over.push(id);
                }
                Err(error) if error.is_retryable() => {
                    tracing::warn!(target: "whatsapp/outbound", %account, %id, %error, "not sent, will be tried again");
                    // Without a connection nothing was attempted.
                    if error != LinkError::NotConnected {
                        self.outbox.attempted(&id, error.to_string());
                    }
                    ended.failed = true;
                    return ended;
                }
                Err(error) if letter.handling().again => {
                    tracing::warn!(target: "whatsapp/outbound", %account, %id, %error, "not sent once more");
                    self.outbox.not_resent(&id, error.to_string());
                }
                Err(error) => {
                    tracing::error!(target: "whatsapp/outbound", %account, %id, %error, "WhatsApp cannot take this message");
                    self.outbox.mark(&id, OutboxState::Failed, Some(error.to_string()));
                }
            }
        }
        ended
    }

    async fn wait_for_turn(&self, letter: &Letter) {
        let handling = letter.handling();
        let kind = match () {
            () if handling.answer => Kind::Answer,
            () if handling.first_contact => Kind::FirstContact,
            () => Kind::Message,
        };
        let now = UnixMs::try_from(self.started.elapsed().as_millis()).unwrap_or(UnixMs::MAX);
        let at = match &*lock(&self.pacing) {
            Some(pacing) => lock(&self.pace).book(kind, letter.chat(), now, pacing),
            None => now,
        };
        tokio::time::sleep(Duration::from_millis(u64::try_from(at - now).unwrap_or(0))).await;
    }
}

/// Waits until `when`; for ever without one.
async fn reached(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
