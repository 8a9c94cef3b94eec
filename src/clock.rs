//! The only caller of `SystemTime::now`: wall-clock time as milliseconds since 1970, replaceable in tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall-clock time in milliseconds since 1970-01-01 UTC.
pub type UnixMs = i64;

/// Where the time of day comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A hand-set clock, for tests.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands still at `now` until [`Clock::set`].
    pub fn manual(now: UnixMs) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(now)))
    }

    /// The time of day.
    pub fn now(&self) -> UnixMs {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
            Self::Manual(at) => at.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock; the system clock is left alone.
    pub fn set(&self, now: UnixMs) {
        if let Self::Manual(at) = self {
            at.store(now, Ordering::SeqCst);
        }
    }
}
