//! How many files this process may have open. Accounts, the journal and API connections share the limit; where it is reached, nothing can be
//! accepted, dialled or written any more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files of one connected account: its databases with their logs, its lock, its socket. 500 accounts held 3,029.
const PER_ACCOUNT: u64 = 8;
/// Everything else: the journal, logs, model and media connections, and twice the connections that the API accepts.
const SHARED: u64 = 800;
/// What is asked for where the hard limit is none.
const PLENTY: u64 = 1 << 20;

/// Raises the soft limit to the hard one, which needs no privilege.
pub(super) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(PLENTY);
    if limit.current.is_some_and(|now| now < most)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit })
    {
        tracing::warn!(target: "gateway", %error, "the limit of open files cannot be raised");
    }
}

/// Warns when this many accounts may need more open files than the limit allows.
pub(super) fn check(accounts: usize) {
    if let Some(limit) = too_low(accounts, getrlimit(Resource::Nofile).current) {
        tracing::warn!(
            target: "gateway",
            "this process may open {limit} files, and {accounts} accounts may need {}; raise the hard limit (LimitNOFILE= in the systemd unit, ulimits.nofile in compose, ulimit -Hn in a shell)",
            needed(accounts)
        );
    }
}

fn needed(accounts: usize) -> u64 {
    SHARED + PER_ACCOUNT * accounts as u64
}

fn too_low(accounts: usize, limit: Option<u64>) -> Option<u64> {
    limit.filter(|limit| *limit < needed(accounts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_the_accounts_may_reach_is_told() {
        assert_eq!(too_low(20, Some(1024)), None);
        assert_eq!(too_low(50, Some(1024)), Some(1024));
        assert_eq!(too_low(500, Some(4096)), Some(4096));
        assert_eq!(too_low(500, Some(65_536)), None);
        assert_eq!(too_low(500, None), None);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise();
        let limit = getrlimit(Resource::Nofile);
        assert!(limit.maximum.is_none_or(|most| limit.current == Some(most)), "{limit:?}");
    }
}
