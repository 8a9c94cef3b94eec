//! Lanes: the jobs of one session run one after the other in the order they came, those of different sessions side by side up to a bound.
//!
//! ```text
//! push ─► the session is idle and there is room ─► starts at once
//!    └──► otherwise it waits in its lane; when there is room, idle lanes with waiting jobs take turns
//! finish(session) ─► the next jobs that may start
//! ```

use std::collections::{HashMap, VecDeque};

use crate::ids::SessionKey;

/// Most jobs that wait in one lane; beyond it new ones are refused, so that a loop of bots cannot fill the memory.
pub const MAX_WAITING: usize = 1000;

/// What became of a pushed job.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<J> {
    /// It starts now.
    Start(J),
    /// It waits; so many jobs of its session go first, the running one included.
    Queued {
        /// Jobs before it.
        before: usize,
    },
    /// [`MAX_WAITING`] jobs wait already; this one is handed back.
    Full(J),
}

/// The lanes of all sessions.
#[derive(Debug)]
pub struct Lanes<J> {
    lanes: HashMap<SessionKey, Lane<J>>,
    /// Sessions that are idle and have waiting jobs, in the order of their turns.
    ready: VecDeque<SessionKey>,
    running: usize,
    bound: usize,
}

#[derive(Debug)]
struct Lane<J> {
    running: bool,
    waiting: VecDeque<J>,
}

impl<J> Lanes<J> {
    /// Lanes of which at most `bound` (at least 1) run at the same time.
    pub fn new(bound: usize) -> Self {
        Self { lanes: HashMap::new(), ready: VecDeque::new(), running: 0, bound: bound.max(1) }
    }

    /// Adds a job.
    pub fn push(&mut self, session: SessionKey, job: J) -> Pushed<J> {
        let room = self.running < self.bound;
        let lane =
            self.lanes.entry(session.clone()).or_insert_with(|| Lane { running: false, waiting: VecDeque::new() });
        if room && !lane.running && lane.waiting.is_empty() {
            lane.running = true;
            self.running += 1;
            return Pushed::Start(job);
        }
        if lane.waiting.len() >= MAX_WAITING {
            return Pushed::Full(job);
        }
        let before = lane.waiting.len() + usize::from(lane.running);
        if !lane.running && lane.waiting.is_empty() {
            self.ready.push_back(session);
        }
        lane.waiting.push_back(job);
        Pushed::Queued { before }
    }

    /// The running job of a session ended; returns what starts now. A session without a running job changes nothing.
    pub fn finish(&mut self, session: &SessionKey) -> Vec<(SessionKey, J)> {
        let Some(lane) = self.lanes.get_mut(session).filter(|lane| lane.running) else { return vec![] };
        lane.running = false;
        self.running -= 1;
        if lane.waiting.is_empty() {
            self.lanes.remove(session);
        } else {
            self.ready.push_back(session.clone());
        }
        self.start_ready()
    }

    /// Changes how many run at the same time; returns what starts now. Running jobs are not ended.
    pub fn set_bound(&mut self, bound: usize) -> Vec<(SessionKey, J)> {
        self.bound = bound.max(1);
        self.start_ready()
    }

    /// Takes out the waiting jobs of a session, oldest first; a running one goes on.
    pub fn drop_waiting(&mut self, session: &SessionKey) -> Vec<J> {
        let Some(lane) = self.lanes.get_mut(session) else { return vec![] };
        let waiting = std::mem::take(&mut lane.waiting);
        if !lane.running {
            self.lanes.remove(session);
            self.ready.retain(|ready| ready != session);
        }
        waiting.into()
    }

    /// The session has a running job.
    pub fn is_running(&self, session: &SessionKey) -> bool {
        self.lanes.get(session).is_some_and(|lane| lane.running)
    }

    /// Jobs that run.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len()).sum()
    }

    fn start_ready(&mut self) -> Vec<(SessionKey, J)> {
        let mut started = Vec::new();
        while self.running < self.bound
            && let Some(session) = self.ready.pop_front()
        {
            let lane = self.lanes.get_mut(&session).expect("a ready session has a lane");
            let job = lane.waiting.pop_front().expect("a ready session has a waiting job");
            lane.running = true;
            self.running += 1;
            started.push((session, job));
        }
        started
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
    fn one_run_a_session_in_order() {
        let mut lanes = Lanes::new(4);
        assert_eq!(lanes.push(key(1), "a"), Pushed::Start("a"));
        assert_eq!(lanes.push(key(1), "b"), Pushed::Queued { before: 1 });
        assert_eq!(lanes.push(key(1), "c"), Pushed::Queued { before: 2 });
        assert_eq!(lanes.push(key(2), "x"), Pushed::Start("x"), "another session is not held up");
        assert_eq!(lanes.finish(&key(1)), [(key(1), "b")]);
        assert_eq!(lanes.finish(&key(1)), [(key(1), "c")]);
        assert_eq!(lanes.finish(&key(1)), []);
        assert_eq!(lanes.finish(&key(1)), [], "finishing twice is harmless");
        assert_eq!(lanes.running(), 1);
    }

    #[test]
    fn sessions_take_turns_under_the_bound() {
        let mut lanes = Lanes::new(1);
        lanes.push(key(1), "a1");
        lanes.push(key(1), "a2");
        lanes.push(key(2), "b1");
        lanes.push(key(2), "b2");
        assert_eq!(lanes.finish(&key(1)), [(key(2), "b1")]);
        assert_eq!(lanes.finish(&key(2)), [(key(1), "a2")]);
        assert_eq!(lanes.set_bound(2), [(key(2), "b2")]);
    }

    #[test]
    fn waiting_jobs_can_be_dropped() {
        let mut lanes = Lanes::new(1);
        lanes.push(key(1), "a");
        lanes.push(key(1), "b");
        lanes.push(key(2), "c");
        assert_eq!(lanes.drop_waiting(&key(1)), ["b"]);
        assert_eq!(lanes.drop_waiting(&key(2)), ["c"]);
        assert_eq!(lanes.finish(&key(1)), []);
        assert_eq!((lanes.running(), lanes.waiting()), (0, 0));
    }

    proptest! {
        /// Every job runs exactly once, in the order of its session, never two of a session, never more than the bound.
        #[test]
        fn every_job_runs_once(bound in 1usize..4, steps in proptest::collection::vec((0u8..4, any::<bool>()), 0..80)) {
            let mut lanes = Lanes::new(bound);
            let mut running: Vec<(SessionKey, usize)> = Vec::new();
            let mut done: Vec<(SessionKey, usize)> = Vec::new();
            let total = steps.iter().filter(|(_, finish)| !finish).count();
            let mut next = 0;
            let mut steps = steps.into_iter();
            loop {
                let (session, finish) = steps.next().unwrap_or((0, true));
                if finish {
                    if let Some((session, job)) = running.first().cloned() {
                        running.remove(0);
                        done.push((session.clone(), job));
                        running.extend(lanes.finish(&session));
                    } else if steps.len() == 0 { break; }
                } else {
                    let key = key(session);
                    if let Pushed::Start(job) = lanes.push(key.clone(), next) { running.push((key, job)); }
                    next += 1;
                }
                prop_assert!(running.len() <= bound && running.len() == lanes.running());
                for (i, (session, _)) in running.iter().enumerate() {
                    prop_assert!(running[..i].iter().all(|(other, _)| other != session));
                }
            }
            prop_assert_eq!(done.len(), total);
            for session in 0..4 {
                let jobs: Vec<usize> = done.iter().filter(|(s, _)| *s == key(session)).map(|(_, job)| *job).collect();
                prop_assert!(jobs.is_sorted());
            }
        }
    }
}
