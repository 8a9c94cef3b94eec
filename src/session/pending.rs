//! Group messages that woke nobody, kept as context for the group's next answer (behaviour.md 7.5). Bounded in every direction.

use std::collections::VecDeque;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::event::MediaSource;
use crate::ids::MessageId;

/// Most groups that are remembered; the one written to longest ago goes first.
pub const MAX_GROUPS: usize = 1000;

/// One kept message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingMessage {
    /// `Name (+E164)`, one of them, or `Unknown`.
    pub sender: String,
    /// Text or placeholder.
    pub body: String,
    /// When it was sent.
    pub timestamp: Option<UnixMs>,
    /// Its id, so that the agent can react to it.
    pub id: Option<MessageId>,
    /// Its media.
    #[serde(default)]
    pub media: Option<MediaSource>,
    /// What became of its media, as a line for the model; known when the message is shown.
    #[serde(skip)]
    pub attached: Option<String>,
}

/// The kept messages of all groups, by [`crate::routing::session_key::history_key`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// The group written to longest ago comes first.
    groups: IndexMap<String, VecDeque<PendingMessage>>,
}

impl Pending {
    /// Keeps a message as the newest of its group, of which at most `limit` stay; 0 keeps nothing.
    pub fn hold(&mut self, group: &str, message: PendingMessage, limit: usize) {
        if limit == 0 {
            return;
        }
        let mut messages = self.groups.shift_remove(group).unwrap_or_default();
        messages.push_back(message);
        while messages.len() > limit {
            messages.pop_front();
        }
        self.groups.insert(group.to_owned(), messages);
        while self.groups.len() > MAX_GROUPS {
            self.groups.shift_remove_index(0);
        }
    }

    /// The same by the time when it was sent, for what comes late; one that is kept already is not kept twice.
    pub fn hold_in_time(&mut self, chat: &str, message: PendingMessage, limit: usize) {
        let Some(messages) = self.groups.get_mut(chat).filter(|_| limit > 0) else {
            return self.hold(chat, message, limit);
        };
        if message.id.is_some() && messages.iter().any(|kept| kept.id == message.id) {
            return;
        }
        let before = messages.iter().rposition(|kept| kept.timestamp <= message.timestamp);
        let at = before.map_or(0, |at| at + 1);
        if at == messages.len() {
            return self.hold(chat, message, limit);
        }
        messages.insert(at, message);
        while messages.len() > limit {
            messages.pop_front();
        }
    }

    /// The kept messages of a group, oldest first.
    pub fn peek(&self, group: &str) -> impl Iterator<Item = &PendingMessage> {
        self.groups.get(group).into_iter().flatten()
    }

    /// Forgets the messages of a group: it got an answer.
    pub fn clear(&mut self, group: &str) {
        self.groups.shift_remove(group);
    }

    /// Forgets the messages of all groups whose keys start with `prefix`.
    pub fn forget(&mut self, prefix: &str) {
        self.groups.retain(|group, _| !group.starts_with(prefix));
    }

    /// The groups that have kept messages, the one written to longest ago first.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> PendingMessage {
        PendingMessage { sender: "Ann".into(), body: body.into(), ..PendingMessage::default() }
    }

    fn bodies(pending: &Pending, group: &str) -> Vec<String> {
        pending.peek(group).map(|m| m.body.clone()).collect()
    }

    #[test]
    fn the_newest_stay() {
        let mut pending = Pending::default();
        for n in 0..5 {
            pending.hold("g", message(&format!("b{n}")), 2);
        }
        assert_eq!(bodies(&pending, "g"), ["b3", "b4"]);
        pending.hold("g", message("b5"), 0);
        assert_eq!(bodies(&pending, "g"), ["b3", "b4"]);
        pending.clear("g");
        assert_eq!(bodies(&pending, "g"), [] as [String; 0]);
    }

    #[test]
    fn what_comes_late_stands_where_it_was_said_and_only_once() {
        let mut pending = Pending::default();
        let said =
            |at: UnixMs, id: &str| PendingMessage { timestamp: Some(at), id: Some(MessageId::new(id)), ..message(id) };
        for (at, id) in [(3, "c"), (1, "a"), (5, "e"), (3, "d"), (2, "b"), (3, "c")] {
            pending.hold_in_time("k", said(at, id), 5);
        }
        assert_eq!(bodies(&pending, "k"), ["a", "b", "c", "d", "e"]);
        pending.hold_in_time("k", said(4, "x"), 5);
        assert_eq!(bodies(&pending, "k"), ["b", "c", "d", "x", "e"]);
    }

    #[test]
    fn an_accounts_groups_are_forgotten_together() {
        let mut pending = Pending::default();
        for group in ["whatsapp:work:group:1", "whatsapp:work:group:2", "whatsapp:workshop:group:1"] {
            pending.hold(group, message("x"), 5);
        }
        pending.forget("whatsapp:work:group:");
        assert_eq!(pending.groups().collect::<Vec<_>>(), ["whatsapp:workshop:group:1"]);
    }

    #[test]
    fn the_group_that_was_silent_longest_goes_first() {
        let mut pending = Pending::default();
        for n in 0..MAX_GROUPS {
            pending.hold(&format!("k{n}"), message("x"), 5);
        }
        pending.hold("k0", message("y"), 5);
        pending.hold("new", message("z"), 5);
        assert_eq!(pending.groups().count(), MAX_GROUPS);
        assert_eq!(bodies(&pending, "k0"), ["x", "y"]);
        assert_eq!(bodies(&pending, "k1"), [] as [String; 0]);
    }
}
