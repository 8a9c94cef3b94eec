//! When to come back after a connection ended (behaviour.md 5.2 to 5.4, design 2).
//!
//! ```text
//! 515 (the first since the last stable connection) ─► Now, not counted
//! 401, 403, 440, 400, 411 .. , we closed it        ─► Never: waiting does not help, a person does
//! 405                                              ─► Never here: the version is renewed first, then [`outdated_delay`]
//! everything else ─► attempt += 1
//!                       attempt < maxAttempts, or no maximum ─► After(delay)
//!                       otherwise ─► GiveUp{probe}: degraded; on causes outside Verso a slow probe goes on
//! ```
//! A connection that outlived the heartbeat interval sets the count back before its end is counted.

use std::time::Duration;

use rand::RngExt;

use crate::config::model::{ReconnectPolicy, WebConfig};
use crate::event::DownReason;

/// First delay after WhatsApp asked to slow down (429) is that of this attempt, about 21 s with the defaults.
const RATE_LIMITED_ATTEMPT: u32 = 5;
/// First delay after WhatsApp called itself unavailable (503) is that of this attempt, about 6.5 s with the defaults.
const UNAVAILABLE_ATTEMPT: u32 = 3;

/// The mean time between two attempts of an account whose version is refused.
const OUTDATED: Duration = Duration::from_secs(3600);
/// The accounts that hear of a new version come back within this time.
const RENEWED: Duration = Duration::from_secs(60);

/// What follows the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Open again at once.
    Now,
    /// Open again after this time.
    After(Duration),
    /// The attempts are used up. With `probe`, one more attempt follows each time that this long has passed.
    GiveUp {
        /// Interval of the slow probe.
        probe: Option<Duration>,
    },
    /// Do not open again by itself.
    Never,
}

/// The delay before attempt `attempt` (1 is the first retry); `random` is in `[0, 1)` and only ever lengthens it.
pub fn delay(policy: &ReconnectPolicy, attempt: u32, random: f64) -> Duration {
    let exponent = f64::from(attempt.max(1) - 1);
    let base = millis(policy.initial) * policy.factor.powf(exponent);
    let wanted = (base + base * policy.jitter * random).round();
    // Also catches the infinity of a large attempt.
    if wanted < millis(policy.max) { Duration::from_millis(wanted as u64) } else { policy.max }
}

/// The delay before an account tries again whose version WhatsApp refuses: an hour, give or take a quarter, so that many accounts do
/// not come back in the same second. `random` is in `[0, 1)`.
pub fn outdated_delay(random: f64) -> Duration {
    OUTDATED.mul_f64(0.75 + 0.5 * random)
}

/// The delay before such an account tries a version that another account's refusal has brought. `random` is in `[0, 1)`.
pub fn renewed_delay(random: f64) -> Duration {
    RENEWED.mul_f64(random)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The rule for one end, given how many attempts were counted including this one.
pub fn recovery(reason: &DownReason, attempt: u32, policy: &ReconnectPolicy, rng: &mut impl rand::Rng) -> Recovery {
    let Some(kind) = retry_kind(reason) else { return Recovery::Never };
    if policy.max_attempts > 0 && attempt >= policy.max_attempts {
        let probe = if kind == RetryKind::Outside { policy.slow_probe } else { None };
        return Recovery::GiveUp { probe };
    }
    let first = match reason {
        DownReason::RateLimited => RATE_LIMITED_ATTEMPT,
        DownReason::Unavailable { code: 503 } => UNAVAILABLE_ATTEMPT,
        _ => 1,
    };
    Recovery::After(delay(policy, attempt.max(first), rng.random()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RetryKind {
    /// The line, WhatsApp: it passes.
    Outside,
    /// Verso itself: trying for ever hides a defect.
    Inside,
}

fn retry_kind(reason: &DownReason) -> Option<RetryKind> {
    match reason {
        DownReason::RestartRequired
        | DownReason::RateLimited
        | DownReason::Unavailable { .. }
        | DownReason::Lost { .. }
        | DownReason::Stalled
        | DownReason::OpenFailed { .. } => Some(RetryKind::Outside),
        DownReason::Internal { .. } => Some(RetryKind::Inside),
        DownReason::Stopped
        | DownReason::LoggedOut { .. }
        | DownReason::Conflict
        | DownReason::Banned { .. }
        | DownReason::Outdated
        | DownReason::Rejected { .. }
        | DownReason::Locked { .. }
        | DownReason::QrExpired => None,
    }
}

/// The count of attempts of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// Failures since the last stable connection.
    pub attempt: u32,
    /// The one immediate restart (515) since then is used.
    restarted: bool,
}

impl Retry {
    /// Counts an end and says what follows. `lived` is how long the connection was logged in; zero when it never was.
    pub fn down(
        &mut self,
        reason: &DownReason,
        lived: Duration,
        web: &WebConfig,
        rng: &mut impl rand::Rng,
    ) -> Recovery {
        if lived > web.heartbeat {
            *self = Self::default();
        }
        if retry_kind(reason).is_none() {
            return Recovery::Never;
        }
        if *reason == DownReason::RestartRequired && !self.restarted {
            self.restarted = true;
            return Recovery::Now;
        }
        self.attempt = self.attempt.saturating_add(1);
        recovery(reason, self.attempt, &web.reconnect, rng)
    }

    /// Forgets all failures: a person asked for a start.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn web(max_attempts: u32) -> WebConfig {
        WebConfig {
            enabled: true,
            heartbeat: Duration::from_secs(60),
            reconnect: ReconnectPolicy {
                initial: Duration::from_secs(2),
                max: Duration::from_secs(30),
                factor: 1.8,
                jitter: 0.25,
                max_attempts,
                slow_probe: Some(Duration::from_secs(300)),
            },
        }
    }

    fn lost() -> DownReason {
        DownReason::Lost { detail: "reset".into() }
    }

    #[test]
    fn twelve_attempts_are_eleven_delays_then_degraded() {
        let (web, mut retry, mut rng) = (web(12), Retry::default(), StdRng::seed_from_u64(1));
        for n in 1..12 {
            let got = retry.down(&lost(), Duration::ZERO, &web, &mut rng);
            assert!(matches!(got, Recovery::After(_)), "{n}: {got:?}");
        }
        let probe = Some(Duration::from_secs(300));
        assert_eq!(retry.down(&lost(), Duration::ZERO, &web, &mut rng), Recovery::GiveUp { probe });
        assert_eq!(
            retry.down(&lost(), Duration::ZERO, &web, &mut rng),
            Recovery::GiveUp { probe },
            "each failed probe"
        );
        let inside = DownReason::Internal { detail: "panic".into() };
        assert_eq!(retry.down(&inside, Duration::ZERO, &web, &mut rng), Recovery::GiveUp { probe: None });
    }

    #[test]
    fn one_attempt_means_no_delay_and_zero_means_no_end() {
        let mut rng = StdRng::seed_from_u64(1);
        assert!(matches!(Retry::default().down(&lost(), Duration::ZERO, &web(1), &mut rng), Recovery::GiveUp { .. }));
        let mut retry = Retry { attempt: u32::MAX, ..Retry::default() };
        assert!(matches!(retry.down(&lost(), Duration::ZERO, &web(0), &mut rng), Recovery::After(_)));
    }

    #[test]
    fn a_connection_longer_than_the_heartbeat_sets_the_count_back() {
        let (web, mut rng) = (web(3), StdRng::seed_from_u64(1));
        let mut retry = Retry::default();
        retry.down(&lost(), Duration::ZERO, &web, &mut rng);
        retry.down(&lost(), Duration::from_secs(60), &web, &mut rng);
        assert_eq!(retry.attempt, 2, "exactly the interval is not longer");
        retry.down(&lost(), Duration::from_millis(60_001), &web, &mut rng);
        assert_eq!(retry.attempt, 1);
    }

    #[test]
    fn a_restart_is_free_once() {
        let (web, mut rng, mut retry) = (web(12), StdRng::seed_from_u64(1), Retry::default());
        assert_eq!(retry.down(&DownReason::RestartRequired, Duration::ZERO, &web, &mut rng), Recovery::Now);
        assert_eq!(retry.attempt, 0);
        assert!(matches!(retry.down(&DownReason::RestartRequired, Duration::ZERO, &web, &mut rng), Recovery::After(_)));
        assert_eq!(retry.down(&DownReason::RestartRequired, Duration::from_secs(61), &web, &mut rng), Recovery::Now);
    }

    #[test]
    fn what_waiting_does_not_cure_gets_no_timer() {
        let mut rng = StdRng::seed_from_u64(1);
        for reason in [
            DownReason::Stopped,
            DownReason::LoggedOut { message: None },
            DownReason::Conflict,
            DownReason::Banned { expires_in: None },
            DownReason::Outdated,
            DownReason::Rejected { code: 411 },
            DownReason::Locked { detail: "no key".into() },
            DownReason::QrExpired,
        ] {
            let mut retry = Retry::default();
            assert_eq!(retry.down(&reason, Duration::ZERO, &web(12), &mut rng), Recovery::Never, "{reason}");
            assert_eq!(retry.attempt, 0);
        }
    }

    #[test]
    fn busy_servers_are_given_more_time() {
        let mut rng = StdRng::seed_from_u64(1);
        let first = |reason: DownReason, rng: &mut StdRng| match Retry::default().down(
            &reason,
            Duration::ZERO,
            &web(12),
            rng,
        ) {
            Recovery::After(d) => d,
            other => panic!("{other:?}"),
        };
        let plain = first(lost(), &mut rng);
        let unavailable = first(DownReason::Unavailable { code: 503 }, &mut rng);
        let limited = first(DownReason::RateLimited, &mut rng);
        assert!(plain < unavailable && unavailable < limited, "{plain:?} {unavailable:?} {limited:?}");
    }

    #[test]
    fn five_hundred_refused_accounts_come_back_spread_over_half_an_hour() {
        let mut rng = StdRng::seed_from_u64(7);
        let delays: Vec<u64> = (0..500).map(|_| outdated_delay(rng.random()).as_secs()).collect();
        assert!(delays.iter().all(|delay| (45 * 60..75 * 60).contains(delay)), "{delays:?}");
        let busiest = |delays: &[u64]| {
            let mut seconds = std::collections::HashMap::new();
            delays.iter().for_each(|delay| *seconds.entry(*delay).or_insert(0) += 1);
            seconds.into_values().max().unwrap_or(0)
        };
        assert!(busiest(&delays) < 10, "{} in one second", busiest(&delays));
        let renewed: Vec<u64> = (0..500).map(|_| renewed_delay(rng.random()).as_secs()).collect();
        assert!(renewed.iter().all(|delay| *delay < 60) && busiest(&renewed) < 30);
    }

    proptest! {
        #[test]
        fn delays_stay_in_bounds(
            initial in 250u64..100_000, extra in 0u64..1_000_000, factor in 1.1f64..10.0, jitter in 0.0f64..=1.0,
            attempt: u32, random in 0.0f64..1.0,
        ) {
            let policy = ReconnectPolicy {
                initial: Duration::from_millis(initial),
                max: Duration::from_millis(initial + extra),
                factor, jitter, max_attempts: 0, slow_probe: None,
            };
            let calm = delay(&policy, attempt, 0.0);
            let got = delay(&policy, attempt, random);
            prop_assert!(calm <= got && got <= policy.max && got >= policy.initial);
            prop_assert!(millis(got) <= millis(calm) * (1.0 + jitter) + 1.0);
        }
    }
}
