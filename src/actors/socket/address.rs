//! Which of a person's two addresses the messages of one account go to; what the sender and the sink of a connection know of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::UnixMs;
use crate::delivery::address::{Choice, Went, after_receipt, after_refusal, after_silence, is_overdue};
use crate::ids::{AccountId, Jid, MessageId};
use crate::outgoing::{Address, Letter};
use crate::store::journal::{AccountOutbox, Journal};
use crate::whatsapp::{Addresses as Known, Link, LinkError};

/// The addresses chosen on one connection; clones are the same.
#[derive(Clone)]
pub(super) struct Addresses(Arc<Inner>);

struct Inner {
    account: AccountId,
    journal: Journal,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    choices: HashMap<Jid, Choice>,
    /// Both addresses of the people written to, as far as they are known.
    people: HashMap<Jid, [Jid; 2]>,
    /// Messages that went to another address than usual, and to which; WhatsApp may refuse them for that.
    unusual: HashMap<MessageId, (Jid, Address)>,
    /// Messages that are on their way for the second time.
    again: HashSet<MessageId>,
    /// Messages that are to go out once more to the other address, until they have: their chat may be busy now.
    due: HashSet<MessageId>,
}

impl Addresses {
    pub(super) fn new(account: AccountId, journal: Journal) -> Self {
        Self(Arc::new(Inner { account, journal, state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what earlier connections learned.
    pub(super) async fn load(&self) {
        match self.0.journal.choices(&self.0.account).await {
            Ok(choices) => self.state().choices.extend(choices),
            Err(error) => tracing::error!(target: "whatsapp/outbound", %error, "the known addresses cannot be read"),
        }
    }

    fn choice(&self, chat: &Jid) -> Option<Choice> {
        self.state().choices.get(chat).copied()
    }

    fn choose(&self, chat: &Jid, choice: Choice) {
        let chats = {
            let mut state = self.state();
            let chats = state.people.get(chat).map_or_else(|| vec![chat.clone()], |both| both.to_vec());
            state.choices.extend(chats.iter().map(|chat| (chat.clone(), choice)));
            chats
        };
        self.0.journal.choose_soon(&self.0.account, &chats, choice);
    }

    /// Sends a letter to the address that works for its chat.
    pub(super) async fn send(&self, link: &Link, letter: &Letter) -> Result<(), LinkError> {
        let wanted = self.choice(letter.chat()).map(|choice| choice.address);
        let known = link.addresses(letter.chat()).await;
        // First, because what comes back may overtake the send.
        if let Some(known) = &known {
            self.note(letter, known, wanted);
        }
        link.send_over(letter, wanted).await?;
        // The library may have learned the other address only now.
        if known.is_none()
            && let Some(known) = link.addresses(letter.chat()).await
        {
            self.note(letter, &known, None);
        }
        if letter.handling().again {
            let mut state = self.state();
            if state.due.remove(letter.id()) {
                state.again.insert(letter.id().clone());
            }
            drop(state);
            self.0.journal.unconfirmed_soon(&self.0.account, letter.chat(), letter.id());
        }
        Ok(())
    }

    /// Notes to which address a letter goes.
    fn note(&self, letter: &Letter, known: &Known, wanted: Option<Address>) {
        let (chat, id, used) = (letter.chat(), letter.id(), wanted.unwrap_or(known.usual));
        {
            let mut state = self.state();
            let both = [known.lid.clone(), known.number.clone()];
            for jid in [&known.lid, &known.number, chat] {
                state.people.insert(jid.clone(), both.clone());
            }
            if used == known.usual {
                state.unusual.remove(id);
            } else {
                state.unusual.insert(id.clone(), (chat.clone(), used));
            }
        }
        self.0.journal.went_soon(&self.0.account, id, used);
    }

    /// A phone confirmed messages; `from` is the address that it did so under.
    pub(super) fn confirmed(&self, ids: &[MessageId], from: &Jid) {
        let Some(from) = Address::of(from) else { return };
        {
            let mut state = self.state();
            ids.iter().for_each(|id| {
                state.unusual.remove(id);
                state.again.remove(id);
                state.due.remove(id);
            });
        }
        let me = self.clone();
        self.0.journal.confirmed_soon(&self.0.account, ids.to_vec(), move |confirmed: Vec<(Jid, Went)>| {
            for (chat, went) in confirmed {
                if let Some(choice) = after_receipt(me.choice(&chat), went, from) {
                    me.choose(&chat, choice);
                }
            }
        });
    }

    /// WhatsApp refused a message; true when that may be because of its address, and it is to be sent to the usual one.
    pub(super) fn refused(&self, id: &MessageId) -> bool {
        let Some((chat, address)) = self.state().unusual.remove(id) else { return false };
        tracing::warn!(target: "whatsapp/outbound", account = %self.0.account, %id, ?address, "WhatsApp refuses this address; the usual one is used");
        self.choose(&chat, after_refusal(address));
        true
    }

    /// True while a message is under way that went to another address than usual.
    pub(super) fn is_unusual(&self, id: &MessageId) -> bool {
        self.state().unusual.contains_key(id)
    }

    /// Texts that no phone has confirmed for too long, to be sent once more, and to the other address of their person.
    pub(super) async fn overdue(&self, link: &Link, outbox: &AccountOutbox, after: UnixMs, now: UnixMs) -> Vec<Letter> {
        let silent = match self.0.journal.silent(&self.0.account, after).await {
            Ok(silent) => silent,
            Err(error) => {
                tracing::error!(target: "whatsapp/outbound", %error, "the outbox cannot be read");
                return Vec::new();
            }
        };
        let mut due = HashSet::new();
        for part in silent {
            let choice = self.choice(&part.chat);
            let confirmed = choice.is_some_and(|choice| choice.confirmed);
            if !is_overdue(now, part.acked_at, part.heard, confirmed) || self.state().again.contains(&part.id) {
                continue;
            }
            let Some(known) = link.addresses(&part.chat).await else { continue };
            let used = match part.went {
                Some(Went::To(address)) => address,
                Some(Went::Both) => continue,
                None => known.usual,
            };
            if confirmed && part.later && choice.is_some_and(|choice| choice.address == used) {
                // The address works; this message has another trouble.
                continue;
            }
            // Where an earlier part of the chat has brought the other address already, this one follows it.
            let moved = choice.filter(|choice| choice.address != used && !choice.barred);
            let Some(next) = moved.or_else(|| after_silence(choice, used)) else { continue };
            if choice != Some(next) {
                tracing::warn!(
                    target: "whatsapp/outbound", account = %self.0.account, id = %part.id, address = ?next.address,
                    "no phone has confirmed this message; it goes to the other address of the same person"
                );
                self.state().people.insert(part.chat.clone(), [known.lid.clone(), known.number.clone()]);
                self.choose(&part.chat, next);
            }
            due.insert(part.id);
        }
        if due.is_empty() {
            return Vec::new();
        }
        match outbox.unconfirmed(after, now).await {
            Ok(letters) => {
                let letters: Vec<Letter> = letters.into_iter().filter(|letter| due.contains(letter.id())).collect();
                self.state().due.extend(letters.iter().map(|letter| letter.id().clone()));
                letters
            }
            Err(error) => {
                tracing::error!(target: "whatsapp/outbound", %error, "the outbox cannot be read");
                Vec::new()
            }
        }
    }
}
