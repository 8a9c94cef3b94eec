//! One run per session at a time, in order, and only so many at once over all sessions: a plain data structure.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::ids::SessionKey;

/// The queues of all sessions.
#[derive(Debug)]
pub struct Lanes<J> {
    most: usize,
    running: HashSet<SessionKey>,
    waiting: HashMap<SessionKey, VecDeque<J>>,
    /// Sessions with waiting work that do not run, the one that waits longest first.
    ready: VecDeque<SessionKey>,
}

impl<J> Lanes<J> {
    /// Empty lanes that let `most` runs go on at once (at least one).
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), running: HashSet::new(), waiting: HashMap::new(), ready: VecDeque::new() }
    }

    /// Changes how many runs may go on at once; running ones go on.
    pub fn set_most(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// Puts a job at the end of its session's queue.
    pub fn push(&mut self, session: SessionKey, job: J) {
        let queue = self.waiting.entry(session.clone()).or_default();
        queue.push_back(job);
        if queue.len() == 1 && !self.running.contains(&session) {
            self.ready.push_back(session);
        }
    }

    /// The next job that may run now. Its session is taken until [`Lanes::done`].
    pub fn take(&mut self) -> Option<(SessionKey, J)> {
        if self.running.len() >= self.most {
            return None;
        }
        let session = self.ready.pop_front()?;
        let queue = self.waiting.get_mut(&session)?;
        let job = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&session);
        }
        self.running.insert(session.clone());
        Some((session, job))
    }

    /// The session's run is over.
    pub fn done(&mut self, session: &SessionKey) {
        if self.running.remove(session) && self.waiting.contains_key(session) {
            self.ready.push_back(session.clone());
        }
    }

    /// A job of the session runs or waits.
    pub fn has(&self, session: &SessionKey) -> bool {
        self.running.contains(session) || self.waiting.contains_key(session)
    }

    /// Runs that go on.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(n: u8) -> SessionKey {
        SessionKey::new(&format!("agent:main:{n}"))
    }

    #[test]
    fn a_session_runs_one_job_at_a_time_in_order() {
        let mut lanes = Lanes::new(4);
        for n in 1..=3 {
            lanes.push(key(0), n);
        }
        for want in 1..=3 {
            assert_eq!(lanes.take(), Some((key(0), want)));
            assert_eq!(lanes.take(), None, "the session is taken");
            lanes.done(&key(0));
        }
        assert_eq!(lanes.take(), None);
        assert_eq!((lanes.running(), lanes.waiting()), (0, 0));
    }

    #[test]
    fn the_longest_waiting_session_comes_next() {
        let mut lanes = Lanes::new(1);
        for n in [0, 1, 2, 0] {
            lanes.push(key(n), n);
        }
        let mut order = Vec::new();
        while let Some((session, job)) = lanes.take() {
            order.push(job);
            lanes.done(&session);
        }
        assert_eq!(order, [0, 1, 2, 0]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_session_runs_twice_at_once(steps in proptest::collection::vec((0u8..4, any::<bool>()), 0..200), most in 1usize..5) {
            let mut lanes = Lanes::new(most);
            let (mut pushed, mut ran) = (0, 0);
            let mut running: Vec<SessionKey> = Vec::new();
            for (n, finish) in steps {
                lanes.push(key(n), ());
                pushed += 1;
                if finish && let Some(session) = running.pop() {
                    lanes.done(&session);
                }
                while let Some((session, ())) = lanes.take() {
                    prop_assert!(!running.contains(&session) && running.len() < most);
                    running.push(session);
                    ran += 1;
                }
            }
            while let Some(session) = running.pop() {
                lanes.done(&session);
                while let Some((session, ())) = lanes.take() {
                    running.push(session);
                    ran += 1;
                }
            }
            prop_assert_eq!(pushed, ran);
        }
    }
}
