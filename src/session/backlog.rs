//! Messages that wait because their session is busy (behaviour.md 12.7): a plain data structure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::UnixMs;
use crate::config::model::{QueueConfig, QueueDrop, QueueMode};

/// What waits for one session.
#[derive(Debug)]
pub struct Backlog<T> {
    waiting: VecDeque<T>,
    /// Fell out by the cap; the next turn tells of them.
    dropped: Vec<T>,
    last_came: UnixMs,
}

/// What one turn answers.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken<T> {
    /// The messages, oldest first; never empty.
    pub items: Vec<T>,
    /// Messages that fell out and are only summarised.
    pub dropped: Vec<T>,
}

impl<T> Default for Backlog<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), dropped: Vec::new(), last_came: 0 }
    }
}

impl<T> Backlog<T> {
    /// Puts a message at the end. Gives a message that nobody will answer because the queue is full.
    pub fn push(&mut self, item: T, queue: &QueueConfig, now: UnixMs) -> Option<T> {
        self.last_came = now;
        if self.waiting.len() >= queue.cap && queue.drop == QueueDrop::New {
            return Some(item);
        }
        self.waiting.push_back(item);
        if self.waiting.len() <= queue.cap {
            return None;
        }
        let oldest = self.waiting.pop_front()?;
        if queue.drop == QueueDrop::Old {
            return Some(oldest);
        }
        self.dropped.push(oldest);
        None
    }

    /// How long the next turn has to wait for further messages.
    pub fn due_in(&self, queue: &QueueConfig, now: UnixMs) -> Duration {
        if queue.mode == QueueMode::Interrupt {
            return Duration::ZERO;
        }
        // A clock that went back tells nothing of how long it was quiet, and nobody waits until it has caught up.
        u64::try_from(now - self.last_came)
            .map_or(Duration::ZERO, |quiet| queue.debounce.saturating_sub(Duration::from_millis(quiet)))
    }

    /// The messages of the next turn: the first one, in mode collect with all others that `together` says belong to it.
    pub fn take(&mut self, mode: QueueMode, together: impl Fn(&T, &T) -> bool) -> Option<Taken<T>> {
        let first = self.waiting.pop_front()?;
        let (with, left): (VecDeque<T>, VecDeque<T>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|item| mode == QueueMode::Collect && together(&first, item));
        self.waiting = left;
        Some(Taken { items: std::iter::once(first).chain(with).collect(), dropped: std::mem::take(&mut self.dropped) })
    }

    /// The message whose turn comes first.
    pub fn first(&self) -> Option<&T> {
        self.waiting.front()
    }

    /// Takes out what `wanted` says, in order.
    pub fn take_if(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let (mut taken, dropped): (Vec<T>, Vec<T>) = std::mem::take(&mut self.dropped).into_iter().partition(&wanted);
        let (more, waiting): (Vec<T>, Vec<T>) = std::mem::take(&mut self.waiting).into_iter().partition(&wanted);
        taken.extend(more);
        (self.dropped, self.waiting) = (dropped, waiting.into());
        taken
    }

    /// Everything, for a session that is stopped.
    pub fn into_all(self) -> Vec<T> {
        self.dropped.into_iter().chain(self.waiting).collect()
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(mode: QueueMode, drop: QueueDrop) -> QueueConfig {
        QueueConfig { mode, debounce: Duration::from_secs(1), cap: 2, drop }
    }

    fn filled(drop: QueueDrop) -> (Backlog<&'static str>, Vec<&'static str>) {
        let mut backlog = Backlog::default();
        let queue = queue(QueueMode::Collect, drop);
        let lost = ["a1", "b1", "a2", "a3"].into_iter().filter_map(|item| backlog.push(item, &queue, 0)).collect();
        (backlog, lost)
    }

    #[test]
    fn a_full_queue_drops_as_configured() {
        let everything = |mut backlog: Backlog<_>| backlog.take(QueueMode::Collect, |_, _| true).expect("waiting");
        let (backlog, lost) = filled(QueueDrop::Old);
        assert_eq!((lost, everything(backlog)), (vec!["a1", "b1"], Taken { items: vec!["a2", "a3"], dropped: vec![] }));
        let (backlog, lost) = filled(QueueDrop::New);
        assert_eq!((lost, everything(backlog)), (vec!["a2", "a3"], Taken { items: vec!["a1", "b1"], dropped: vec![] }));
        let (backlog, lost) = filled(QueueDrop::Summarize);
        assert_eq!((lost, everything(backlog)), (vec![], Taken { items: vec!["a2", "a3"], dropped: vec!["a1", "b1"] }));
    }

    #[test]
    fn collect_takes_what_belongs_together_and_followup_one_after_the_other() {
        let same_chat = |a: &&str, b: &&str| a[..1] == b[..1];
        let fill = || {
            let mut backlog = Backlog::default();
            let roomy = QueueConfig { cap: 9, ..queue(QueueMode::Collect, QueueDrop::Old) };
            for item in ["a1", "b1", "a2"] {
                backlog.push(item, &roomy, 0);
            }
            backlog
        };
        let mut backlog = fill();
        assert_eq!(backlog.take(QueueMode::Collect, same_chat).expect("waiting").items, ["a1", "a2"]);
        assert_eq!(backlog.take(QueueMode::Collect, same_chat).expect("waiting").items, ["b1"]);
        assert!(backlog.is_empty() && backlog.take(QueueMode::Collect, same_chat).is_none());
        assert_eq!(fill().take(QueueMode::Followup, same_chat).expect("waiting").items, ["a1"]);
    }

    #[test]
    fn every_message_starts_the_quiet_time_anew() {
        let (mut backlog, collect) = (Backlog::default(), queue(QueueMode::Collect, QueueDrop::Old));
        backlog.push("a", &collect, 1_000);
        assert_eq!(backlog.due_in(&collect, 1_400), Duration::from_millis(600));
        backlog.push("b", &collect, 1_900);
        assert_eq!(backlog.due_in(&collect, 2_000), Duration::from_millis(900));
        assert_eq!(backlog.due_in(&collect, 2_900), Duration::ZERO);
        assert_eq!(backlog.due_in(&queue(QueueMode::Interrupt, QueueDrop::Old), 1_900), Duration::ZERO);
    }
}
