//! When a session is stale and the next message begins a new one (behaviour.md 9.4).

use crate::clock::UnixMs;
use crate::config::model::{ResetMode, ResetPolicy};
use crate::text::zone::Zone;

const DAY: i64 = 86_400_000;

/// Whether a session may go on, and the times that decide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// It goes on.
    pub fresh: bool,
    /// The latest daily reset; older sessions are stale.
    pub daily_reset_at: Option<UnixMs>,
    /// After this time it is stale.
    pub idle_expires_at: Option<UnixMs>,
}

/// Judges a session that was last active at `updated_at`. Both limits may be set: the first one that passes counts.
pub fn evaluate(updated_at: UnixMs, now: UnixMs, policy: &ResetPolicy, zone: &Zone) -> Freshness {
    let daily = (policy.mode == ResetMode::Daily).then(|| daily_reset_at(now, policy.at_hour, zone));
    let idle = policy.idle.map(|idle| updated_at.saturating_add(i64::try_from(idle.as_millis()).unwrap_or(i64::MAX)));
    let stale = daily.is_some_and(|at| updated_at < at) || idle.is_some_and(|at| now > at);
    Freshness { fresh: !stale, daily_reset_at: daily, idle_expires_at: idle }
}

/// The last time before `now` at which the zone's clocks showed `hour` o'clock.
fn daily_reset_at(now: UnixMs, hour: u8, zone: &Zone) -> UnixMs {
    let midnight = (now + zone.offset_ms(now)).div_euclid(DAY) * DAY;
    let today = to_utc(midnight + i64::from(hour) * 3_600_000, zone);
    if now < today { to_utc(midnight - DAY + i64::from(hour) * 3_600_000, zone) } else { today }
}

/// The UTC time of a local one. Its offset is the one that holds then, which a change of the clocks makes differ from today's.
fn to_utc(local: i64, zone: &Zone) -> UnixMs {
    let guess = local - zone.offset_ms(local);
    local - zone.offset_ms(guess)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn daily(at_hour: u8) -> ResetPolicy {
        ResetPolicy { mode: ResetMode::Daily, at_hour, idle: None }
    }

    #[test]
    fn idle_sessions_end_after_their_time_and_not_at_it() {
        let idle = ResetPolicy { mode: ResetMode::Idle, at_hour: 4, idle: Some(Duration::from_secs(60)) };
        assert!(evaluate(1_000, 61_000, &idle, &Zone::Utc).fresh);
        assert!(!evaluate(1_000, 61_001, &idle, &Zone::Utc).fresh);
    }

    #[test]
    fn the_day_turns_by_the_clocks_of_the_host() {
        let Ok(file) = std::fs::read("/usr/share/zoneinfo/Europe/Berlin") else { return };
        let berlin = Zone::parse(&file).expect("a zone");
        // Four o'clock in Berlin on 2026-01-16 is 03:00 UTC; on 2026-03-29, after the clocks went forward, it is 02:00 UTC.
        for (now, want) in [
            (1_768_536_000_000, 1_768_532_400_000),
            (1_768_532_399_999, 1_768_446_000_000),
            (1_774_778_400_000, 1_774_749_600_000),
        ] {
            assert_eq!(evaluate(0, now, &daily(4), &berlin).daily_reset_at, Some(want), "{now}");
        }
    }
}
