//! How accounts start after the process has ended unasked: at once, or one after another when that happens again and again, because
//! WhatsApp sees every start of every account. Pure.

use std::time::Duration;

use crate::clock::UnixMs;

/// Starts that are remembered.
pub const REMEMBERED: usize = 10;
/// Starts closer together than this belong to one loop.
const LOOP: UnixMs = 10 * 60_000;
/// So often a process may end before its successors take their time.
const FREE: usize = 2;
/// Accounts that start together.
const GROUP: usize = 5;
/// Between two groups at first; it doubles with every further start.
const FIRST_GAP: Duration = Duration::from_secs(2);
/// All accounts have started after this.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// How long each of `accounts` waits for its start, where `earlier` are the times at which processes started that ended unasked.
pub fn delays(earlier: &[UnixMs], now: UnixMs, accounts: usize) -> Vec<Duration> {
    let lately = earlier.iter().filter(|at| (0..=LOOP).contains(&(now - **at))).count();
    let gap = match lately.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(more) => {
            let groups = u32::try_from(accounts.div_ceil(GROUP)).unwrap_or(u32::MAX).max(1);
            (FIRST_GAP * 2_u32.pow(u32::try_from(more).unwrap_or(u32::MAX).min(10))).min(LONGEST / groups)
        }
    };
    (0..accounts).map(|n| gap.saturating_mul(u32::try_from(n / GROUP).unwrap_or(u32::MAX))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_start_at_once_until_the_process_ends_again_and_again() {
        let now = 1_000_000_000;
        let last = |ago: &[i64], accounts| {
            let delays = delays(&ago.iter().map(|ago| now - ago).collect::<Vec<_>>(), now, accounts);
            assert!(delays.len() == accounts && delays.is_sorted(), "{delays:?}");
            assert!(delays.iter().take(GROUP).all(Duration::is_zero), "the first ones never wait");
            delays.last().map_or(0.0, Duration::as_secs_f64)
        };
        for (ago, accounts, seconds) in [
            (&[][..], 12, 0.0),
            (&[5_000], 12, 0.0),
            (&[5_000, 10_000], 12, 4.0),
            (&[5_000, 10_000, 15_000], 12, 8.0),
            (&[5_000, 10_000, 15_000], 5, 0.0),
            (&[5_000, 10_000, LOOP + 1], 6, 2.0),
            (&[LOOP + 1, LOOP + 2, LOOP + 3], 12, 0.0),
            (&[-5_000, -10_000, -15_000], 12, 0.0),
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 6, 300.0),
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 500, 594.0),
            (&[1, 2, 3], 0, 0.0),
        ] {
            assert_eq!(last(ago, accounts), seconds, "{ago:?}, {accounts} accounts");
        }
    }
}
