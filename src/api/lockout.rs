//! Wrong tokens per peer: who keeps guessing has to wait, and whoever has the right token gets in all the same.
//!
//! Behind a proxy or a container's port all clients share one address, and so do all programs of this machine. So a peer that guessed too
//! often is not shut out, but its attempts are taken one after another and slowly. What does not fit into the queue is refused before the
//! WebSocket upgrade.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::protocol::ErrorShape;
use super::seats::peer_of;

/// Wrong tokens per peer and [`WINDOW`] after which its attempts are slowed down.
const MAX_FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// How long a peer stays slow after its last wrong token.
const SLOW: Duration = Duration::from_secs(300);
/// Time between two attempts of a slow peer: the shortest token that is accepted beyond loopback outlasts it by far.
const PACE: Duration = Duration::from_millis(500);
/// How long an attempt may have to wait for its turn; below the time that clients give a handshake.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// Peers remembered at most.
const MAX_PEERS: usize = 4096;

/// The wrong tokens of all peers.
#[derive(Debug, Default)]
pub struct Lockout {
    peers: Mutex<HashMap<IpAddr, Peer>>,
}

#[derive(Debug)]
struct Peer {
    since: Instant,
    failures: u32,
    slow_until: Option<Instant>,
    /// When its next attempt is taken.
    next_turn: Instant,
}

impl Peer {
    fn is_slow(&self, now: Instant) -> bool {
        self.slow_until.is_some_and(|until| until > now)
    }

    fn queue_is_full(&self, now: Instant) -> bool {
        self.is_slow(now) && self.next_turn.saturating_duration_since(now) > LONGEST_WAIT
    }
}

impl Lockout {
    /// True when the attempts of this peer that wait already are all that fit.
    pub fn is_full(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let Some(address) = address else { return false };
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.get(&peer_of(address)).is_some_and(|peer| peer.queue_is_full(now))
    }

    /// When an attempt of this peer is taken; `now` unless the peer is slow.
    ///
    /// # Errors
    /// The error frame to send before closing with 1008: too many wait.
    pub fn turn(&self, address: Option<IpAddr>, now: Instant) -> Result<Instant, ErrorShape> {
        let Some(address) = address else { return Ok(now) };
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(peer) = peers.get_mut(&peer_of(address)).filter(|peer| peer.is_slow(now)) else { return Ok(now) };
        if peer.queue_is_full(now) {
            return Err(rate_limited());
        }
        let turn = peer.next_turn.max(now);
        peer.next_turn = turn + PACE;
        Ok(turn)
    }

    /// Notes a wrong token; the error says so when the peer is slow from now on.
    pub fn note(&self, address: Option<IpAddr>, now: Instant) -> Option<ErrorShape> {
        let address = address?;
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MAX_PEERS {
            peers.retain(|_, peer| peer.is_slow(now) || now.saturating_duration_since(peer.since) < WINDOW);
        }
        let fresh = Peer { since: now, failures: 0, slow_until: None, next_turn: now };
        let peer = peers.entry(peer_of(address)).or_insert(fresh);
        if now.saturating_duration_since(peer.since) >= WINDOW && !peer.is_slow(now) {
            *peer = Peer { since: now, failures: 0, slow_until: None, next_turn: now };
        }
        peer.failures += 1;
        if peer.failures <= MAX_FAILURES {
            return None;
        }
        peer.slow_until = Some(now + SLOW);
        Some(rate_limited())
    }
}

fn rate_limited() -> ErrorShape {
    let mut error = ErrorShape::invalid(
        "unauthorized: too many wrong tokens from this address; attempts are taken slowly now, and the right token is still accepted",
    )
    .with(json!({"code": "AUTH_RATE_LIMITED"}));
    error.retry_after_ms = u64::try_from(LONGEST_WAIT.as_millis()).ok();
    error
}

/// `Retry-After` of a refusal before the upgrade, in seconds.
pub(super) const RETRY_AFTER: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn a_guesser_is_slowed_down_everywhere_and_others_are_not() {
        for guesser in ["192.0.2.7", "127.0.0.1", "2001:db8::1"] {
            let (lockout, now) = (Lockout::default(), Instant::now());
            for _ in 0..MAX_FAILURES {
                assert_eq!(lockout.turn(at(guesser), now), Ok(now));
                assert_eq!(lockout.note(at(guesser), now), None, "{guesser}");
            }
            let told = lockout.note(at(guesser), now).expect("slow from now on");
            assert_eq!(told.details.unwrap()["code"], "AUTH_RATE_LIMITED");
            assert_eq!(lockout.turn(at(guesser), now), Ok(now));
            assert_eq!(lockout.turn(at(guesser), now), Ok(now + PACE), "one after another");
            assert_eq!(lockout.turn(at("198.51.100.1"), now), Ok(now), "somebody else");
            let over = now + SLOW + Duration::from_secs(1);
            assert_eq!(lockout.turn(at(guesser), over), Ok(over));
        }
    }

    #[test]
    fn the_queue_has_an_end_and_moves_on() {
        let (lockout, now) = (Lockout::default(), Instant::now());
        for _ in 0..=MAX_FAILURES {
            lockout.note(at("127.0.0.1"), now);
        }
        let mut taken = 0;
        while lockout.turn(at("127.0.0.9"), now).is_ok() {
            taken += 1;
        }
        assert!((4..20).contains(&taken), "{taken}");
        assert!(lockout.is_full(at("::1"), now) && !lockout.is_full(at("192.0.2.7"), now));
        assert!(!lockout.is_full(at("::1"), now + PACE + PACE));
        assert!(lockout.turn(at("::1"), now + PACE + PACE).is_ok());
    }

    #[test]
    fn seldom_mistakes_are_forgotten() {
        let (lockout, mut now) = (Lockout::default(), Instant::now());
        for _ in 0..5 * MAX_FAILURES {
            assert_eq!(lockout.note(at("192.0.2.7"), now), None);
            now += WINDOW / MAX_FAILURES;
        }
    }
}
