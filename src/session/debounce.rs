//! Rapid messages of one person become one (behaviour.md 6.12): which messages wait, how long, and what comes of them.
//!
//! ```text
//! push(text) ──► waits until `window` after the last text of its key ──► due ──► batch
//! push(media, location, quote, command): the key's batch at once, then this one alone
//! ```
//! Time is monotonic here: setting the clock of the machine neither holds messages back nor hurries them.

use std::hash::Hash;
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use crate::event::{Body, Content, InboundMessage};
use crate::ids::{AccountId, Jid};
use crate::policy::allowlist::Person;

/// Most messages in one batch: whoever never pauses is answered all the same.
pub const MAX_BATCH: usize = 50;

/// Who says it where: only messages of one person in one chat of one account are joined.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    account: AccountId,
    chat: String,
    sender: String,
}

impl Key {
    /// The key of a message, the same in both address families where the number is known.
    pub fn of(message: &InboundMessage) -> Self {
        let chat = match Person::peer(message).id() {
            Some(peer) if !message.chat.is_group() => peer,
            _ => message.chat.without_device().to_string().to_lowercase(),
        };
        let sender = Person::sender(message).id().unwrap_or_else(|| message.sender.without_device().to_string());
        Self { account: message.account.clone(), chat, sender }
    }
}

/// The message may be joined with others. Media, locations, quotes and commands stand for themselves.
pub fn joins(message: &InboundMessage, command: bool) -> bool {
    let Content::Body(body) = &message.content else { return false };
    !command && body.text.is_some() && body.media.is_none() && body.quote.is_none() && !body.location
}

/// Several messages as one: the last one's fields, all texts in their order, everybody who was mentioned.
pub fn merge(before: Vec<InboundMessage>, mut last: InboundMessage) -> InboundMessage {
    let Content::Body(end) = &mut last.content else { return last };
    let bodies = before.iter().filter_map(|m| match &m.content {
        Content::Body(body) => Some(body),
        Content::Reaction { .. } | Content::Other { .. } => None,
    });
    let (mut texts, mut mentions): (Vec<String>, Vec<Jid>) = (Vec::new(), Vec::new());
    for Body { text, mentions: tagged, .. } in bodies.chain([&*end]) {
        texts.extend(text.clone().filter(|text| !text.is_empty()));
        for jid in tagged {
            if !mentions.contains(jid) {
                mentions.push(jid.clone());
            }
        }
    }
    end.text = (!texts.is_empty()).then(|| texts.join("\n"));
    end.mentions = mentions;
    last
}

/// What waits, by key.
#[derive(Debug)]
pub struct Debounce<K, T> {
    /// Oldest batch first.
    waiting: IndexMap<K, Batch<T>>,
}

#[derive(Debug)]
struct Batch<T> {
    items: Vec<T>,
    due: Instant,
}

impl<K, T> Default for Debounce<K, T> {
    fn default() -> Self {
        Self { waiting: IndexMap::new() }
    }
}

impl<K: Hash + Eq, T> Debounce<K, T> {
    /// Takes an item. The batches that may go now, in their order, come back; otherwise it waits with its key's batch, whose time starts
    /// anew.
    ///
    /// An item that does not join, or a window of zero, goes alone, behind what its key had waiting.
    pub fn push(&mut self, key: K, item: T, joins: bool, window: Duration, now: Instant) -> Vec<Vec<T>> {
        if !joins || window.is_zero() {
            return self.flush(&key).into_iter().chain([vec![item]]).collect();
        }
        let due = now + window;
        let entry = self.waiting.entry(key);
        let at = entry.index();
        let batch = entry.or_insert_with(|| Batch { items: Vec::new(), due });
        batch.items.push(item);
        batch.due = due;
        let full = batch.items.len() >= MAX_BATCH;
        let flushed = full.then(|| self.waiting.shift_remove_index(at)).flatten();
        flushed.into_iter().map(|(_, batch)| batch.items).collect()
    }

    /// The batches whose time has come, the one that was due first in front.
    pub fn due(&mut self, now: Instant) -> Vec<Vec<T>> {
        let mut ready: Vec<Batch<T>> =
            self.waiting.extract_if(.., |_, batch| batch.due <= now).map(|(_, b)| b).collect();
        ready.sort_by_key(|batch| batch.due);
        ready.into_iter().map(|batch| batch.items).collect()
    }

    /// The item that came last for a key and waits.
    pub fn last(&self, key: &K) -> Option<&T> {
        self.waiting.get(key)?.items.last()
    }

    /// What a key has waiting.
    pub fn flush(&mut self, key: &K) -> Option<Vec<T>> {
        self.waiting.shift_remove(key).map(|batch| batch.items)
    }

    /// Takes out the items that `wanted` says, in order; what is left of a batch waits on.
    pub fn take_if(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for batch in self.waiting.values_mut() {
            taken.extend(batch.items.extract_if(.., |item| wanted(item)));
        }
        self.waiting.retain(|_, batch| !batch.items.is_empty());
        taken
    }

    /// Everything, the batch begun first in front.
    pub fn flush_all(&mut self) -> Vec<Vec<T>> {
        std::mem::take(&mut self.waiting).into_values().map(|batch| batch.items).collect()
    }
}

#[cfg(test)]
#[path = "debounce_tests.rs"]
mod tests;
