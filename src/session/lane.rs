//! One run per session at a time, in order, and only so many at once over all sessions: a plain data structure.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::ids::SessionKey;

/// The queues of all sessions.
///
/// Nobody's run keeps the others waiting for long: one that is [slow](Lanes::slow) gives its place back while it goes on, and one more
/// run than `most` may go on for a session that comes first.
#[derive(Debug)]
pub struct Lanes<J> {
    most: usize,
    running: HashMap<SessionKey, Place>,
    waiting: HashMap<SessionKey, VecDeque<J>>,
    /// Sessions with waiting work that do not run, the one that waits longest first.
    ready: VecDeque<SessionKey>,
    /// Sessions with work that need not wait for the others.
    first: HashSet<SessionKey>,
}

/// What a run counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// One of the `most`.
    Counted,
    /// The one more.
    Extra,
    /// It takes long and takes nobody's place.
    Slow,
}

/// So many slow runs as there are places may go on; further ones keep theirs.
const SLOW_FOR_EACH: usize = 8;

impl<J> Lanes<J> {
    /// Empty lanes that let `most` runs go on at once (at least one).
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            running: HashMap::new(),
            waiting: HashMap::new(),
            ready: VecDeque::new(),
            first: HashSet::new(),
        }
    }

    /// Changes how many runs may go on at once; running ones go on.
    pub fn set_most(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// Puts a job at the end of its session's queue.
    pub fn push(&mut self, session: SessionKey, job: J) {
        let queue = self.waiting.entry(session.clone()).or_default();
        queue.push_back(job);
        if queue.len() == 1 && !self.running.contains_key(&session) {
            self.ready.push_back(session);
        }
    }

    /// The same for a session that comes before the others.
    pub fn push_first(&mut self, session: SessionKey, job: J) {
        self.first.insert(session.clone());
        self.push(session, job);
    }

    /// The next job that may run now. Its session is taken until [`Lanes::done`].
    pub fn take(&mut self) -> Option<(SessionKey, J)> {
        let (at, place) = if self.holding(Place::Counted) < self.most {
            (0, Place::Counted)
        } else if self.holding(Place::Extra) == 0 {
            (self.ready.iter().position(|session| self.first.contains(session))?, Place::Extra)
        } else {
            return None;
        };
        let session = self.ready.remove(at)?;
        let queue = self.waiting.get_mut(&session)?;
        let job = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&session);
            self.first.remove(&session);
        }
        self.running.insert(session.clone(), place);
        Some((session, job))
    }

    /// The session's run takes long: its place is free for another one, unless too many are slow already.
    pub fn slow(&mut self, session: &SessionKey) {
        if self.holding(Place::Slow) < self.most.saturating_mul(SLOW_FOR_EACH)
            && let Some(place) = self.running.get_mut(session)
        {
            *place = Place::Slow;
        }
    }

    /// The session's run is over.
    pub fn done(&mut self, session: &SessionKey) {
        if self.running.remove(session).is_some() && self.waiting.contains_key(session) {
            self.ready.push_back(session.clone());
        }
    }

    /// A job of the session runs or waits.
    pub fn has(&self, session: &SessionKey) -> bool {
        self.running.contains_key(session) || self.waiting.contains_key(session)
    }

    /// Runs that go on.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    fn holding(&self, place: Place) -> usize {
        self.running.values().filter(|held| **held == place).count()
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

    #[test]
    fn slow_runs_take_nobodys_place_and_a_session_that_comes_first_waits_for_none() {
        let mut lanes = Lanes::new(2);
        for n in 1..=3 {
            lanes.push(key(n), n);
        }
        assert!(lanes.take().is_some() && lanes.take().is_some());
        assert_eq!(lanes.take(), None, "both places are taken");
        lanes.push_first(key(0), 0);
        assert_eq!(lanes.take(), Some((key(0), 0)), "the owner does not wait");
        lanes.push_first(key(9), 9);
        assert_eq!(lanes.take(), None, "there is one more place only");
        lanes.slow(&key(1));
        assert_eq!(lanes.take(), Some((key(3), 3)), "a slow run gave its place back");
        assert_eq!((lanes.take(), lanes.running()), (None, 4));
        lanes.done(&key(0));
        assert_eq!(lanes.take(), Some((key(9), 9)));
        for n in [1, 2, 3, 9] {
            lanes.done(&key(n));
        }
        // A run that ended is slow no more, and its timer hits nobody.
        lanes.slow(&key(1));
        assert_eq!((lanes.running(), lanes.waiting()), (0, 0));
    }

    #[test]
    fn not_everything_may_be_slow_at_once() {
        let mut lanes = Lanes::new(1);
        for n in 0..40 {
            lanes.push(key(n), n);
        }
        while let Some((session, _)) = lanes.take() {
            lanes.slow(&session);
        }
        assert_eq!((lanes.running(), lanes.waiting()), (1 + SLOW_FOR_EACH, 40 - 1 - SLOW_FOR_EACH));
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
