//! Sends what waits in the outbox of one account over its link: one lane per chat keeps the order there, lanes do not wait for one
//! another, every retry carries the same message id.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use indexmap::IndexMap;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::address::Addresses;
use super::feedback::{Expected, Feedback};
use super::{Report, SocketContext, SocketReport};
use crate::actors::shield::quietly;
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
/// Of what is asked for again the client answers most; so long after a request it is looked what is left.
const CLIENT_ANSWERS: Duration = Duration::from_secs(2);
/// Chats that are written to at the same time.
const LANES: usize = 4;
/// Files that are uploaded at the same time. A slow one takes minutes, so that texts do not wait for it.
const UPLOADS: usize = 2;

/// A part goes out when WhatsApp has answered to the one before it in its chat, so that a refusal that passes puts nothing out of
/// order; but it does not wait for longer than this.
const ORDER_PATIENCE: Duration = Duration::from_secs(5);

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
    /// When it was looked last for what devices ask for again, and when it is next because one asked.
    looked: Option<UnixMs>,
    look_again: Option<Instant>,
    /// Chats with a failure: how many in a row, and until when they wait; `None` when they may be tried again.
    waits: HashMap<Jid, (u32, Option<Instant>)>,
    /// When what answers nobody may leave, and to whom.
    turns: HashMap<MessageId, (Instant, Jid)>,
    /// What has its turn by then was seen.
    seen: Instant,
    pace: Pace,
    /// `None` until the connection is ready.
    pacing: Option<PacingConfig>,
    /// Pacing counts from here: a clock that jumps must not hold anything up.
    started: Instant,
}

/// What the lanes share.
struct Shared {
    link: Link,
    outbox: AccountOutbox,
    generation: u64,
    reports: Recipient<SocketReport>,
    clock: Clock,
    slots: Semaphore,
    uploads: Semaphore,
    feedback: Feedback,
    addresses: Addresses,
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
    pub(super) fn new(
        link: Link,
        cx: &SocketContext,
        generation: u64,
        reports: Recipient<SocketReport>,
        (feedback, addresses): (Feedback, Addresses),
    ) -> Self {
        let shared = Shared {
            outbox: cx.journal.outbox(&link),
            link,
            generation,
            reports,
            clock: cx.clock.clone(),
            slots: Semaphore::new(LANES),
            uploads: Semaphore::new(UPLOADS),
            feedback,
            addresses,
        };
        Self {
            shared: Arc::new(shared),
            handed_over: HashMap::new(),
            busy: HashSet::new(),
            looked: None,
            look_again: None,
            waits: HashMap::new(),
            turns: HashMap::new(),
            seen: Instant::now(),
            pace: Pace::default(),
            pacing: None,
            started: Instant::now(),
        }
    }

    /// Sends whenever `drain` says that something waits. Ends with the socket.
    pub(super) async fn run(mut self, mut drain: watch::Receiver<Option<PacingConfig>>) {
        let mut lanes = FuturesUnordered::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let retries = self.waits.values().filter_map(|(_, until)| *until);
            let turns = self.turns.values().map(|(turn, _)| *turn).filter(|turn| *turn > self.seen);
            let wake = retries.chain(turns).min();
            let look_again = self.look_again;
            tokio::select! {
                changed = drain.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let pacing = drain.borrow_and_update().clone();
                    if pacing.is_some() && self.pacing.is_none() {
                        // What an earlier connection left open is not left for later, and goes before what waits.
                        self.inherit_asked().await;
                        self.shared.addresses.load().await;
                        for letters in self.asked().await {
                            lanes.push(self.shared.clone().lane(letters));
                        }
                        look.reset_immediately();
                    }
                    if pacing != self.pacing {
                        (self.pacing, self.pace) = (pacing, Pace::default());
                        self.turns.clear();
                    }
                }
                Some(ended) = lanes.next() => self.ended(ended),
                () = reached(wake) => {
                    let now = Instant::now();
                    self.waits.values_mut().for_each(|(_, until)| *until = until.filter(|until| *until > now));
                }
                () = self.shared.feedback.asked() => {
                    self.look_again.get_or_insert_with(|| Instant::now() + CLIENT_ANSWERS);
                }
                () = reached(look_again) => {
                    self.look_again = None;
                    if self.pacing.is_some() {
                        for letters in self.asked().await {
                            lanes.push(self.shared.clone().lane(letters));
                        }
                    }
                }
                _ = look.tick() => if self.pacing.is_some() {
                    let mut again = self.asked().await;
                    self.forget_asked().await;
                    again.append(&mut self.overdue().await);
                    again.append(&mut self.unread().await);
                    for letters in again {
                        lanes.push(self.shared.clone().lane(letters));
                    }
                },
            }
            // Before the first word of the supervisor the connection is not ready.
            if self.pacing.is_some() {
                #[cfg(feature = "demo")]
                crate::fault::panics("pump");
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
        let now = Instant::now();
        self.seen = now;
        let letters = match self.shared.outbox.waiting().await {
            Ok(letters) => letters,
            Err(error) => {
                tracing::error!(target: "whatsapp/outbound", %error, "cannot read the outbox");
                return Vec::new();
            }
        };
        let (ids, chats): (HashSet<_>, HashSet<_>) = letters.iter().map(|l| (l.id(), l.chat())).unzip();
        self.handed_over.retain(|id, at| *at + ACK_PATIENCE > now && ids.contains(id));
        self.waits.retain(|chat, _| chats.contains(chat));
        // One that is queued again is nobody's, whatever became of its first attempt.
        let taken = |l: &Letter| l.handling().handed_over && self.handed_over.contains_key(l.id());
        let (pace, started) = (&mut self.pace, self.started);
        self.turns.retain(|id, (turn, chat)| {
            let waits = ids.contains(id);
            if !waits && *turn > now {
                pace.cancel(chat, millis(*turn - started));
            }
            waits
        });
        let mut letters: Vec<Letter> = letters.into_iter().filter(|l| !taken(l)).collect();
        // What waits for its turn holds up what was asked for after it in its chat, and no answer.
        let mut held = HashSet::new();
        letters.retain(|letter| {
            let leaves = letter.handling().answer || (!held.contains(letter.chat()) && self.turn(letter, now) <= now);
            if !leaves {
                held.insert(letter.chat().clone());
            }
            leaves
        });
        self.lanes_of(letters)
    }

    /// When a letter that answers nobody may leave.
    fn turn(&mut self, letter: &Letter, now: Instant) -> Instant {
        if let Some((turn, _)) = self.turns.get(letter.id()) {
            return *turn;
        }
        let kind = if letter.handling().first_contact { Kind::FirstContact } else { Kind::Message };
        let now = millis(now - self.started);
        let at = self.pacing.as_ref().map_or(now, |pacing| self.pace.book(kind, letter.chat(), now, pacing));
        let turn = self.started + Duration::from_millis(u64::try_from(at).unwrap_or(0));
        self.turns.insert(letter.id().clone(), (turn, letter.chat().clone()));
        turn
    }

    /// What was asked when the process or the connection before this one ended is answered by nobody else.
    async fn inherit_asked(&self) {
        if let Err(error) = self.shared.outbox.inherit_asked().await {
            tracing::error!(target: "whatsapp/outbound", %error, "cannot write to the outbox");
        }
    }

    /// What devices asked for again and the client does not answer.
    async fn asked(&mut self) -> Vec<Vec<Letter>> {
        match self.shared.outbox.asked().await {
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

    /// Texts that no phone has confirmed, for the other address of the same person.
    async fn overdue(&mut self) -> Vec<Vec<Letter>> {
        let now = self.shared.clock.now();
        let shared = &self.shared;
        let letters = shared.addresses.overdue(&shared.link, &shared.outbox, now - UNREAD_UNTIL, now).await;
        self.lanes_of(letters)
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
    /// What was sent before and goes out once more holds up nobody: it is looked for again.
    async fn lane(self: Arc<Self>, letters: Vec<Letter>) -> Ended {
        let mut ended = Ended { chat: letters[0].chat().clone(), handed_over: Vec::new(), failed: false };
        for (place, letter) in letters.into_iter().enumerate() {
            let uploads = letter.content().file().is_some();
            let slot = if uploads { self.uploads.acquire().await } else { self.slots.acquire().await };
            let id = letter.id().clone();
            let (account, again) = (letter.account(), letter.handling().again);
            // Whoever asked for it may have been told meanwhile that it failed, and an answer may have been withheld while the part before
            // it was on its way.
            if (!letter.handling().answer || place > 0) && !again && !self.outbox.waits(&id).await {
                continue;
            }
            // Kept until WhatsApp had its time to answer, so that nothing is reported as expired that is delivered.
            let Some(_under_way) = self.outbox.hand_over(&id) else { continue };
            let expected = self.feedback.expect(&id);
            let at = self.clock.now();
            let sent = self.send(&letter).await;
            drop(slot);
            match sent {
                Ok(()) => {
                    self.reports.do_send(SocketReport {
                        generation: self.generation,
                        what: Report::Outbound { chat: ended.chat.clone(), at },
                    });
                    tracing::info!(target: "whatsapp/outbound", %account, %id, "sent");
                    if again {
                        self.outbox.resent(&id);
                        continue;
                    }
                    self.outbox.mark(&id, OutboxState::Sent, None);
                    let unusual = self.addresses.is_unusual(&id);
                    if let Some(code) = passing_refusal(expected, unusual).await {
                        self.outbox.attempted(&id, format!("WhatsApp refused the message (code {code})"));
                        ended.failed = true;
                        return ended;
                    }
                    ended.handed_over.push(id);
                }
                // Verso itself failed: that may be the message's doing, which must not hold up its chat for ever.
                Err(LinkError::Internal(cause)) if !again => {
                    if self.outbox.failed_inside(&id, cause.clone()).await {
                        tracing::error!(target: "whatsapp/outbound", %account, %id, cause, "Verso cannot send this message and gives it up");
                        let cause = format!("given up after too many failures: {cause}");
                        self.outbox.mark(&id, OutboxState::Failed, Some(cause));
                        continue;
                    }
                    tracing::warn!(target: "whatsapp/outbound", %account, %id, cause, "not sent, will be tried again");
                    ended.failed = true;
                    return ended;
                }
                Err(error) if error.is_retryable() && !matches!(error, LinkError::Internal(_)) => {
                    tracing::warn!(target: "whatsapp/outbound", %account, %id, %error, "not sent, will be tried again");
                    // Without a connection nothing was attempted.
                    if error != LinkError::NotConnected {
                        self.outbox.attempted(&id, error.to_string());
                    }
                    ended.failed = !again;
                    return ended;
                }
                Err(error) if again => {
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

    /// Hands a letter to the connection. A panic is a failure of this letter alone.
    async fn send(&self, letter: &Letter) -> Result<(), LinkError> {
        let sending = async {
            #[cfg(feature = "demo")]
            if let crate::outgoing::Outgoing::Text { text, .. } = letter.content() {
                crate::fault::text("send", Some(text));
            }
            self.addresses.send(&self.link, letter).await
        };
        let sent = quietly(AssertUnwindSafe(sending).catch_unwind()).await;
        sent.unwrap_or_else(|_| Err(LinkError::Internal("a panic while it was handed over".to_owned())))
    }
}

fn millis(duration: Duration) -> UnixMs {
    UnixMs::try_from(duration.as_millis()).unwrap_or(UnixMs::MAX)
}

/// The code of a refusal that may pass, if that is what WhatsApp answers in time.
async fn passing_refusal(mut expected: Expected, unusual: bool) -> Option<String> {
    let answer = tokio::time::timeout(ORDER_PATIENCE, expected.refusal()).await;
    // What is refused for its address goes to the other one.
    answer.ok().flatten().filter(|code| unusual || may_pass(code))
}

/// Waits until `when`; for ever without one.
async fn reached(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
