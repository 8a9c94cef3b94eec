//! The open connections of the API: where each comes from, how far it has come, and which one goes when there are too many.
//!
//! A connection takes a [`Seat`] when it is accepted. Until its `hello-ok` it *waits*, and waiting is cheap to begin, so the places are few.
//! A newcomer is never turned away for lack of one: the longest-waiting connection of the most crowded peer is hung up, a silent one
//! before one that has asked for the upgrade. So a flood of connections pushes itself out, and whoever shows the token within
//! milliseconds, as the command line does, gets in.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections without `hello-ok`, in all: a handshake takes milliseconds, so even a busy gateway has a handful.
pub const MAX_WAITING: usize = 64;
/// Connections without `hello-ok` of one peer elsewhere. This machine has all of [`MAX_WAITING`]: its command line shares the address with
/// every page that its browser shows.
pub const MAX_WAITING_PER_PEER: usize = 16;
/// Connections that have shown the token.
pub const MAX_CLIENTS: usize = 256;

/// The peer that an address counts as: loopback is one machine, and a host has a whole IPv6 /64 to choose addresses from.
pub(super) fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        ip if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        ip => ip,
    }
}

/// Ends a connection below everything else that holds it.
pub(super) type HangUp = Box<dyn Fn() + Send>;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing was asked yet, or plain HTTP.
    Silent,
    /// A WebSocket without `hello-ok`.
    Upgraded,
    /// Let in.
    Client,
}

struct Taken {
    peer: IpAddr,
    stage: Stage,
    hang_up: HangUp,
}

#[derive(Default)]
struct Hall {
    next: u64,
    /// By age, the oldest first.
    taken: BTreeMap<u64, Taken>,
}

/// All connections of one API.
#[derive(Clone, Default)]
pub(super) struct Seats(Arc<Mutex<Hall>>);

impl fmt::Debug for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seats({})", self.hall().taken.len())
    }
}

impl Seats {
    fn hall(&self) -> MutexGuard<'_, Hall> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seats a new connection; another one that waits may have to go for it.
    pub fn take(&self, address: IpAddr, hang_up: HangUp) -> Seat {
        let peer = peer_of(address);
        let mut hall = self.hall();
        let id = hall.next;
        hall.next += 1;
        if let Some(leaver) = hall.leaver(peer).and_then(|leaver| hall.taken.remove(&leaver)) {
            (leaver.hang_up)();
        }
        hall.taken.insert(id, Taken { peer, stage: Stage::Silent, hang_up });
        drop(hall);
        Seat { id, seats: self.clone() }
    }
}

impl Hall {
    fn waiting(&self) -> impl Iterator<Item = (u64, &Taken)> {
        self.taken.iter().filter(|(_, t)| t.stage < Stage::Client).map(|(id, t)| (*id, t))
    }

    /// The connection that has to go before one more of `peer` may wait.
    fn leaver(&self, peer: IpAddr) -> Option<u64> {
        let mut crowds: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (_, taken) in self.waiting() {
            *crowds.entry(taken.peer).or_default() += 1;
        }
        let own = crowds.get(&peer).copied().unwrap_or_default();
        let crowded = if !peer.is_loopback() && own >= MAX_WAITING_PER_PEER {
            peer
        } else if crowds.values().sum::<usize>() >= MAX_WAITING {
            crowds.into_iter().max_by_key(|(_, n)| *n)?.0
        } else {
            return None;
        };
        self.waiting().filter(|(_, t)| t.peer == crowded).min_by_key(|(id, t)| (t.stage, *id)).map(|(id, _)| id)
    }
}

/// The place of one connection; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Seat {
    id: u64,
    seats: Seats,
}

impl Seat {
    /// Notes that the connection is a WebSocket now.
    pub fn upgraded(&self) {
        if let Some(taken) = self.seats.hall().taken.get_mut(&self.id) {
            taken.stage = Stage::Upgraded;
        }
    }

    /// Makes the connection a client; false when there are too many, or it was hung up.
    pub fn promote(&self) -> bool {
        let mut hall = self.seats.hall();
        let clients = hall.taken.values().filter(|t| t.stage == Stage::Client).count();
        let taken = hall.taken.get_mut(&self.id).filter(|_| clients < MAX_CLIENTS);
        taken.map(|t| t.stage = Stage::Client).is_some()
    }

    /// Ends the connection, also one whose other side reads nothing.
    pub fn hang_up(&self) {
        if let Some(taken) = self.seats.hall().taken.get(&self.id) {
            (taken.hang_up)();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let taken = self.seats.hall().taken.remove(&self.id);
        drop(taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Door {
        seats: Seats,
        hung_up: Arc<Mutex<Vec<usize>>>,
        count: AtomicUsize,
    }

    impl Door {
        /// One more connection, called by its number.
        fn knock(&self, from: &str) -> Seat {
            let (n, hung_up) = (self.count.fetch_add(1, Ordering::Relaxed), Arc::clone(&self.hung_up));
            self.seats.take(from.parse().unwrap(), Box::new(move || hung_up.lock().unwrap().push(n)))
        }

        fn hung_up(&self) -> Vec<usize> {
            std::mem::take(&mut *self.hung_up.lock().unwrap())
        }
    }

    #[test]
    fn a_flood_pushes_itself_out_and_spares_who_got_further() {
        let door = Door::default();
        let upgraded = door.knock("127.0.0.1");
        upgraded.upgraded();
        let client = door.knock("127.0.0.1");
        assert!(client.promote());
        let flood: Vec<Seat> = (0..200).map(|_| door.knock("127.0.0.2")).collect();
        assert_eq!(door.hung_up().len(), 200 - (MAX_WAITING - 1));
        assert!(upgraded.promote(), "it was not hung up");
        drop(flood);
        assert_eq!(door.seats.hall().taken.len(), 2);
    }

    #[test]
    fn a_peer_elsewhere_crowds_only_itself() {
        let door = Door::default();
        let near = door.knock("::1");
        let far: Vec<Seat> = (0..40).map(|n| door.knock(&format!("2001:db8::{n:x}"))).collect();
        assert_eq!(door.hung_up(), (1..=40 - MAX_WAITING_PER_PEER).collect::<Vec<_>>(), "the oldest of one /64");
        let other = door.knock("192.0.2.1");
        let mapped: Vec<Seat> = (0..MAX_WAITING_PER_PEER).map(|_| door.knock("::ffff:192.0.2.1")).collect();
        assert_eq!(door.hung_up(), [41], "one host by both spellings");
        assert!(near.promote());
        drop((far, other, mapped));
    }

    #[test]
    fn the_most_crowded_peer_makes_room() {
        let door = Door::default();
        let few = door.knock("192.0.2.1");
        let many: Vec<Seat> = (2..200).map(|n| door.knock(&format!("192.0.2.{}", 2 + n % 5))).collect();
        assert!(!door.hung_up().contains(&0));
        assert!(few.promote());
        drop(many);
    }

    #[test]
    fn clients_are_counted_and_give_their_place_back() {
        let door = Door::default();
        let seats: Vec<Seat> = (0..MAX_CLIENTS)
            .map(|_| {
                let seat = door.knock("127.0.0.1");
                assert!(seat.promote());
                seat
            })
            .collect();
        let late = door.knock("127.0.0.1");
        assert!(!late.promote());
        drop(seats);
        assert!(late.promote() && door.hung_up().is_empty());
    }
}
