//! What is not answered after all (behaviour.md 24.29, 24.19). A handover: when the owner writes to somebody from the phone, nothing of the agent's is sent
//! there any more, and what it would have answered becomes context.
//!
//! What was admitted lies in three places: it waits in a batch here, it waits or runs at the agents, or its answer waits in the outbox.
//! Each of them is emptied of the chat; the journal notes it before anything else can settle these messages. A crash in between costs
//! nothing: the owner's words are held, so after the restart the same messages are judged again.

use actix::prelude::*;

use super::RouterActor;
use crate::actors::agent::TakeBack;
use crate::clock::UnixMs;
use crate::event::InboundMessage;
use crate::ids::{AccountId, E164, Jid};
use crate::policy::allowlist::Person;
use crate::policy::decide::{IgnoreReason, LISTEN_ONLY};
use crate::policy::decision::{Gate, Hold, Verdict};
use crate::policy::handover::{self, HandoverCount};
use crate::store::journal::InboundState;
use crate::text::turn;

/// Why an answer is not sent.
const WITHHELD: &str = "the account's owner took the chat over before it was sent";

pub(super) const NOT_SENT: &str = "channels.whatsapp.listenOnly was switched on before it was sent";

/// Where agents keep silent because the owner takes part. Sent by the gateway.
#[derive(Message)]
#[rtype(result = "Vec<(AccountId, HandoverCount)>")]
pub struct GetHandovers;

impl Handler<GetHandovers> for RouterActor {
    type Result = MessageResult<GetHandovers>;

    fn handle(&mut self, _: GetHandovers, _: &mut Self::Context) -> Self::Result {
        let now = self.clock.now();
        let count = |id: &AccountId| {
            let window = self.config.account(id)?.rules.handover;
            Some((id.clone(), self.handovers.count(id, window, now)))
        };
        MessageResult(self.config.accounts.keys().filter_map(count).collect())
    }
}

impl RouterActor {
    /// Keeps a message that nobody answers as context; the owner's words take the chat over.
    pub(super) fn hold(&mut self, message: &InboundMessage, hold: &Hold, ctx: &mut Context<Self>) {
        match hold.until.filter(|_| hold.reason == IgnoreReason::OwnMessageToOther) {
            Some(until) => self.take_over(message, hold, until, ctx),
            None => self.keep(message, hold),
        }
    }

    /// Keeps what an earlier process held. What it had in the making for the chat is judged again, and what it had not sent is withheld.
    pub(super) fn hold_again(&mut self, message: &InboundMessage, hold: &Hold) {
        if let Some(until) = hold.until.filter(|_| hold.reason == IgnoreReason::OwnMessageToOther) {
            self.journal.withhold(&message.account, &addresses(message, &Person::peer(message)), until, WITHHELD);
        }
        self.keep(message, hold);
    }

    /// Knows of a handover before anything of its chat is judged; for what an earlier process left.
    pub(super) fn note_handover(&mut self, message: &InboundMessage) {
        if let Some(account) = self.config.account(&message.account) {
            let (now, window) = (self.clock.now(), account.rules.handover);
            let wrote = handover::sent(message.timestamp, now);
            self.handovers.note(&message.account, Person::peer(message), wrote, window, now);
        }
    }

    /// The owner's silence covers this message of somebody else.
    pub(super) fn is_silenced(&self, message: &InboundMessage) -> bool {
        let Some(account) = self.config.account(&message.account) else { return false };
        let wrote = self.handovers.last(message).filter(|_| !message.chat.is_group() && !message.from_me);
        handover::silence(wrote, account.rules.handover, message.timestamp, self.clock.now()).is_some()
    }

    fn take_over(&mut self, message: &InboundMessage, hold: &Hold, until: UnixMs, ctx: &mut Context<Self>) {
        self.note_handover(message);
        let person = Person::peer(message);
        let theirs = Hold { reason: IgnoreReason::Handover, ..hold.clone() };
        let minutes = self.config.account(&message.account).map_or(0, |account| account.rules.handover.as_secs() / 60);
        let gate = self.cited(&message.account, IgnoreReason::Handover, handover::KEY, minutes.to_string());
        let noted = Noted::new(&Verdict::Hold(theirs.clone()), &gate);
        let (account, now) = (message.account.clone(), self.clock.now());
        let covered = |m: &InboundMessage| {
            m.account == account
                && !m.chat.is_group()
                && handover::same(&Person::peer(m), &person)
                && handover::sent(m.timestamp, now) < until
        };
        let waiting = self.batches.take_if(|waiting| waiting.is_question() && covered(waiting.message()));
        let (state, keys) = (InboundState::Held, waiting.iter().map(|waiting| waiting.message().key()).collect());
        self.journal.take_back(keys, state, &noted.verdict, &noted.gate);
        let chats = addresses(message, &person);
        self.journal.withhold(&account, &chats, until, WITHHELD);

        let (chat, Noted { verdict, gate }) = (Some((person, until)), noted);
        let order = TakeBack { account, chat, state, verdict, gate };
        let (message, hold, agents) = (message.clone(), hold.clone(), self.agents.clone());
        // Before any later message of the chat is judged, and the owner's words come behind what they answer.
        ctx.wait(actix::fut::wrap_future(async move { agents.send(order).await }).map(
            move |taken, me: &mut Self, _| {
                for waited in waiting.iter().map(|waiting| waiting.message()) {
                    me.keep(waited, &theirs);
                }
                for (history, taken) in taken.into_iter().flatten() {
                    for kept in history {
                        me.pending.hold_in_time(&theirs.history_key, kept, theirs.limit);
                    }
                    me.keep(&taken, &theirs);
                }
                me.keep(&message, &hold);
            },
        ));
    }

    /// The gate of a reason that came up after the decision.
    fn cited(&self, account: &AccountId, reason: IgnoreReason, key: &str, value: String) -> Gate {
        let cited = self.places.cite(account, key);
        let (key, set_in) = cited.map_or((key.to_owned(), None), |(key, set_in)| (key, Some(set_in)));
        let gate = if reason == IgnoreReason::ListenOnly { "listen" } else { "handover" };
        Gate { gate: gate.into(), outcome: reason.code().into(), key: Some(key.into()), value: Some(value), set_in }
    }

    /// An account only listens from now on, or since it is served: what it was to answer or send is taken back.
    pub(super) fn only_listens(&mut self, account: &AccountId) {
        let gate = self.cited(account, IgnoreReason::ListenOnly, LISTEN_ONLY, "true".to_owned());
        let noted = Noted::new(&Verdict::Drop { reason: IgnoreReason::ListenOnly }, &gate);
        let waiting = self.batches.take_if(|waiting| waiting.message().account == *account);
        let (state, keys) = (InboundState::Dropped, waiting.iter().map(|waiting| waiting.message().key()).collect());
        self.journal.take_back(keys, state, &noted.verdict, &noted.gate);
        self.journal.withhold_all(account, NOT_SENT);
        let Noted { verdict, gate } = noted;
        self.agents.do_send(TakeBack { account: account.clone(), chat: None, state, verdict, gate });
    }

    fn keep(&mut self, message: &InboundMessage, hold: &Hold) {
        let Some(kept) = turn::kept(message) else { return };
        if message.chat.is_group() {
            self.pending.hold(&hold.history_key, kept, hold.limit);
            self.saw(message);
        } else {
            self.pending.hold_in_time(&hold.history_key, kept, hold.limit);
        }
    }
}

struct Noted {
    verdict: serde_json::Value,
    gate: serde_json::Value,
}

impl Noted {
    fn new(verdict: &Verdict, gate: &Gate) -> Self {
        let json = "verdicts and gates are plain data";
        Self { verdict: serde_json::to_value(verdict).expect(json), gate: serde_json::to_value(gate).expect(json) }
    }
}

/// The addresses under which answers to a person are queued.
fn addresses(message: &InboundMessage, person: &Person) -> Vec<Jid> {
    let chat = message.chat.without_device();
    let spellings = person.number.iter().flat_map(E164::spellings);
    let known = spellings.map(|number| Jid::of_number(&number)).chain(person.lid.clone());
    let others: Vec<Jid> = known.filter(|jid| *jid != chat).collect();
    std::iter::once(chat).chain(others).collect()
}
