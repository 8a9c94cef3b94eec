//! The only caller of `SystemTime::now`: wall-clock time as milliseconds since 1970, replaceable in tests.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall-clock time in milliseconds since 1970-01-01 UTC.
pub type UnixMs = i64;

/// Where the time of day comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A hand-set clock, for tests.
    Manual(Arc<Mutex<ManualClock>>),
}

/// The state of a hand-set clock.
#[derive(Debug)]
pub struct ManualClock {
    wall: UnixMs,
    /// Milliseconds that have passed.
    passed: UnixMs,
    steady: Steady,
}

/// Follows the machine's clock for [`Clock::cautious`].
static MACHINE: Mutex<Option<(Instant, Steady)>> = Mutex::new(None);

impl Clock {
    /// A clock that stands still at `now` until [`Clock::set`].
    pub fn manual(now: UnixMs) -> Self {
        Self::Manual(Arc::new(Mutex::new(ManualClock { wall: now, passed: 0, steady: Steady::new(now, 0) })))
    }

    /// The time of day.
    pub fn now(&self) -> UnixMs {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
            Self::Manual(clock) => clock.lock().unwrap_or_else(PoisonError::into_inner).wall,
        }
    }

    /// The time of day for whoever deletes what has become old: a clock that was set forward is believed only when it has gone on from
    /// there for ten minutes. A machine that wakes up with a wrong date has corrected it by then.
    pub fn cautious(&self) -> UnixMs {
        match self {
            Self::System => {
                let now = self.now();
                let mut machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
                let (began, steady) = machine.get_or_insert_with(|| (Instant::now(), Steady::new(now, 0)));
                let passed = began.elapsed().as_millis();
                steady.follow(now, UnixMs::try_from(passed).unwrap_or(UnixMs::MAX))
            }
            Self::Manual(clock) => {
                let ManualClock { wall, passed, steady } = &mut *clock.lock().unwrap_or_else(PoisonError::into_inner);
                steady.follow(*wall, *passed)
            }
        }
    }

    /// Sets a manual clock, as somebody does who corrects it; the system clock is left alone.
    pub fn set(&self, now: UnixMs) {
        if let Self::Manual(clock) = self {
            clock.lock().unwrap_or_else(PoisonError::into_inner).wall = now;
        }
    }

    /// Lets time pass on a manual clock; the system clock is left alone.
    pub fn pass(&self, ms: UnixMs) {
        if let Self::Manual(clock) = self {
            let mut clock = clock.lock().unwrap_or_else(PoisonError::into_inner);
            clock.wall += ms;
            clock.passed += ms;
        }
    }
}

/// So far a clock may be ahead of the time that has passed.
const TOLERANCE: UnixMs = 60_000;
/// A clock that was set forward is believed after this.
const BELIEVED_AFTER: UnixMs = 10 * 60_000;

/// A clock and the time that has really passed beside it, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Steady {
    /// What the clock said when it was last believed, and the time that had passed by then.
    last: (UnixMs, UnixMs),
    /// Since when it is ahead.
    ahead: Option<(UnixMs, UnixMs)>,
}

impl Steady {
    fn new(wall: UnixMs, passed: UnixMs) -> Self {
        Self { last: (wall, passed), ahead: None }
    }

    fn follow(&mut self, wall: UnixMs, passed: UnixMs) -> UnixMs {
        let from = |(wall, then): (UnixMs, UnixMs)| wall.saturating_add(passed.saturating_sub(then));
        let expected = from(self.last);
        if wall <= expected.saturating_add(TOLERANCE) {
            *self = Self::new(wall, passed);
            return wall;
        }
        let since = self.ahead.filter(|ahead| wall.abs_diff(from(*ahead)) <= TOLERANCE.unsigned_abs());
        let since = *self.ahead.insert(since.unwrap_or((wall, passed)));
        if passed - since.1 < BELIEVED_AFTER {
            return expected;
        }
        *self = Self::new(wall, passed);
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: UnixMs = 60_000;
    const DAYS: UnixMs = 2 * 24 * 60 * MINUTE;

    #[test]
    fn a_clock_that_was_set_forward_is_believed_when_it_goes_on_from_there() {
        let clock = Clock::manual(DAYS);
        assert_eq!(clock.cautious(), DAYS);
        clock.pass(90 * MINUTE);
        assert_eq!(clock.cautious(), clock.now(), "time that passes is believed");
        clock.set(clock.now() + DAYS);
        assert_eq!(clock.cautious(), clock.now() - DAYS);
        clock.pass(9 * MINUTE);
        assert_eq!(clock.cautious(), clock.now() - DAYS);
        clock.pass(MINUTE);
        assert_eq!(clock.cautious(), clock.now());
    }

    #[test]
    fn a_clock_that_is_corrected_was_never_believed() {
        let clock = Clock::manual(DAYS);
        clock.cautious();
        clock.set(3 * DAYS);
        clock.cautious();
        clock.pass(5 * MINUTE);
        clock.set(DAYS + 5 * MINUTE);
        assert_eq!(clock.cautious(), clock.now());
        clock.set(3 * DAYS);
        assert_eq!(clock.cautious(), DAYS + 5 * MINUTE);
        clock.pass(9 * MINUTE);
        // Another leap begins the wait anew.
        clock.set(4 * DAYS);
        clock.cautious();
        clock.pass(9 * MINUTE);
        assert_eq!(clock.cautious(), DAYS + 23 * MINUTE);
    }

    #[test]
    fn a_clock_that_was_set_back_is_followed_at_once() {
        let clock = Clock::manual(DAYS);
        clock.cautious();
        clock.set(5);
        assert_eq!(clock.cautious(), 5);
        assert!(Clock::System.cautious() <= Clock::System.now());
    }
}
