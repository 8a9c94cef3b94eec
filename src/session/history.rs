//! The turns of one conversation, as they are sent to the model again.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;

/// Most turns that a conversation remembers.
pub const MAX_TURNS: usize = 200;
/// Most text that a conversation remembers, in bytes; the oldest turns go first.
pub const MAX_BYTES: usize = 256 * 1024;

/// Who spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// People.
    User,
    /// The agent.
    Assistant,
}

/// One turn; one line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who spoke.
    pub role: Role,
    /// What was said, as the model sees it.
    pub content: String,
    /// When.
    pub timestamp: UnixMs,
}

/// The latest turns of one conversation, bounded in number and size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    turns: VecDeque<Turn>,
    bytes: usize,
}

impl History {
    /// The history that a transcript holds; the newest turns stay.
    pub fn load(turns: impl IntoIterator<Item = Turn>) -> Self {
        let mut history = Self::default();
        for turn in turns {
            history.push(turn);
        }
        history
    }

    /// Adds a turn.
    pub fn push(&mut self, turn: Turn) {
        self.bytes += turn.content.len();
        self.turns.push_back(turn);
        // The turn just added stays, however long it is.
        while self.turns.len() > 1 && (self.turns.len() > MAX_TURNS || self.bytes > MAX_BYTES) {
            if let Some(oldest) = self.turns.pop_front() {
                self.bytes -= oldest.content.len();
            }
        }
    }

    /// Starts afresh.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// When the conversation was last active.
    pub fn updated_at(&self) -> Option<UnixMs> {
        self.turns.back().map(|turn| turn.timestamp)
    }

    /// The turns to send: the last `limit` of people and what follows the first of them; all without a limit.
    pub fn latest(&self, limit: Option<usize>) -> Vec<Turn> {
        let start = limit.map_or(0, |limit| first_kept(self.turns.iter().map(|t| t.role), limit));
        self.turns.iter().skip(start).cloned().collect()
    }
}

/// Where the last `limit` turns of people begin; 0 when there are no more than that. A limit of 0 keeps everything, as the original does.
pub fn first_kept(roles: impl DoubleEndedIterator<Item = Role> + ExactSizeIterator, limit: usize) -> usize {
    let mut users = 0;
    let mut start = roles.len();
    for (at, role) in roles.enumerate().rev() {
        if role == Role::User {
            users += 1;
            if limit > 0 && users > limit {
                return start;
            }
            start = at;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(roles: &str, limit: usize) -> Vec<usize> {
        let roles: Vec<Role> = roles.chars().map(|c| if c == 'u' { Role::User } else { Role::Assistant }).collect();
        (first_kept(roles.iter().copied(), limit)..roles.len()).collect()
    }

    #[test]
    fn the_last_turns_of_people_and_what_follows_stay() {
        assert_eq!(kept("uauaua", 1), [4, 5]);
        assert_eq!(kept("uauaua", 3), [0, 1, 2, 3, 4, 5]);
        assert_eq!(kept("aau", 1), [0, 1, 2]);
        assert_eq!(kept("uatau", 1), [4]);
        assert_eq!(kept("uaua", 0), [0, 1, 2, 3]);
        assert_eq!(kept("", 2), [] as [usize; 0]);
    }

    #[test]
    fn number_and_size_are_bounded() {
        let turn = |n: i64, len: usize| Turn { role: Role::User, content: "x".repeat(len), timestamp: n };
        let many = History::load((0..500).map(|n| turn(n, 1)));
        assert_eq!((many.latest(None).len(), many.latest(None)[0].timestamp), (MAX_TURNS, 300));
        let long = History::load((0..5).map(|n| turn(n, 100 * 1024)));
        assert_eq!(long.latest(None).len(), 2);
        assert_eq!(History::load([turn(1, 2 * MAX_BYTES)]).latest(None).len(), 1);
        assert_eq!(long.updated_at(), Some(4));
    }
}
