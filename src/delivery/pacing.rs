//! How fast one account may write: WhatsApp bans numbers that write to many people at once. Pure: times are arguments.

use std::time::Duration;

use crate::clock::UnixMs;
use crate::config::model::PacingConfig;
use crate::ids::Jid;

const MINUTE: UnixMs = 60_000;

/// What kind of message leaves; answers are none of these, they never wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody asked for it to be sent.
    Message,
    /// The same, to a person with whom nothing was exchanged before.
    FirstContact,
}

/// The times of one account's latest messages.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// When messages that answer nobody left or will leave, in order of time.
    booked: Vec<Booking>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Booking {
    at: UnixMs,
    chat: Jid,
    kind: Kind,
}

impl Pace {
    /// Books a message to `chat` and answers when it may leave; never before `now`.
    pub fn book(&mut self, kind: Kind, chat: &Jid, now: UnixMs, config: &PacingConfig) -> UnixMs {
        let kept = millis(config.gap.max(config.first_contact_gap)).max(MINUTE);
        self.booked.retain(|booked| booked.at > now.saturating_sub(kept));
        let mut at = now;
        // What waits for later holds up nothing that fits in before it.
        loop {
            let apart = self.apart(at, kind, chat, config);
            let allowed = config.per_minute.map_or(apart, |cap| self.below(apart, cap));
            if allowed == at {
                break;
            }
            at = allowed;
        }
        let place = self.place(at);
        self.booked.insert(place, Booking { at, chat: chat.clone(), kind });
        at
    }

    /// Gives a booking up: somebody else may have its time.
    pub fn cancel(&mut self, chat: &Jid, at: UnixMs) {
        if let Some(n) = self.booked.iter().position(|booked| booked.at == at && booked.chat == *chat) {
            self.booked.remove(n);
        }
    }

    /// `at`, or a later time when that is too near to a message to somebody else, or to another first contact.
    fn apart(&self, mut at: UnixMs, kind: Kind, chat: &Jid, config: &PacingConfig) -> UnixMs {
        for booked in &self.booked {
            let gap = match (kind, booked.kind) {
                (Kind::FirstContact, Kind::FirstContact) => config.first_contact_gap.max(config.gap),
                _ if booked.chat != *chat => config.gap,
                _ => continue,
            };
            let gap = millis(gap);
            if at < booked.at.saturating_add(gap) && booked.at < at.saturating_add(gap) {
                at = booked.at.saturating_add(gap);
            }
        }
        at
    }

    /// `at`, or a later time when some minute around it would see more than `cap` messages.
    fn below(&self, at: UnixMs, cap: usize) -> UnixMs {
        let place = self.place(at);
        let around = &self.booked[place.saturating_sub(cap)..self.booked.len().min(place + cap)];
        let crowded = around.windows(cap).find(|others| {
            let (first, last) = (others[0].at.min(at), others[cap - 1].at.max(at));
            last - first < MINUTE
        });
        crowded.map_or(at, |others| others[0].at + MINUTE)
    }

    /// Where a message of this time stands among the booked ones.
    fn place(&self, at: UnixMs) -> usize {
        self.booked.partition_point(|booked| booked.at <= at)
    }
}

fn millis(duration: Duration) -> UnixMs {
    UnixMs::try_from(duration.as_millis()).unwrap_or(UnixMs::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> PacingConfig {
        PacingConfig { gap: Duration::from_secs(1), first_contact_gap: Duration::from_secs(10), per_minute: Some(3) }
    }

    fn chat(n: u32) -> Jid {
        format!("1555000{n}@s.whatsapp.net").parse().expect("jid")
    }

    #[test]
    fn different_chats_are_apart_and_one_chat_is_not() {
        let mut pace = Pace::default();
        let mut book = |n, now| pace.book(Kind::Message, &chat(n), now, &config());
        assert_eq!((book(1, 0), book(1, 0), book(2, 0)), (0, 0, 1_000));
        assert_eq!(book(2, 70_000), 70_000, "long ago");
    }

    #[test]
    fn the_cap_of_a_minute_moves_with_it() {
        let mut pace = Pace::default();
        let mut book = |now| pace.book(Kind::Message, &chat(1), now, &config());
        assert_eq!((book(0), book(10), book(20)), (0, 10, 20));
        assert_eq!((book(30), book(30), book(30)), (60_000, 60_010, 60_020));
        assert_eq!(book(30), 120_000, "what is booked for later counts too");
    }

    #[test]
    fn first_contacts_are_far_apart_and_hold_up_nothing_else() {
        let mut pace = Pace::default();
        let config = PacingConfig { per_minute: None, gap: Duration::ZERO, ..config() };
        assert_eq!(pace.book(Kind::FirstContact, &chat(1), 0, &config), 0);
        assert_eq!(pace.book(Kind::FirstContact, &chat(2), 0, &config), 10_000);
        assert_eq!(pace.book(Kind::FirstContact, &chat(3), 1, &config), 20_000);
        assert_eq!(pace.book(Kind::Message, &chat(5), 1, &config), 1);
        // Nor do they with a distance and a cap: there is room before them.
        let mut pace = Pace::default();
        let config = PacingConfig { per_minute: Some(3), gap: Duration::from_secs(1), ..config };
        let firsts: Vec<_> = (1..=4).map(|n| pace.book(Kind::FirstContact, &chat(n), 0, &config)).collect();
        assert_eq!(firsts, [0, 10_000, 20_000, 60_000], "three in any minute");
        let mut pace = Pace::default();
        let config = PacingConfig { first_contact_gap: Duration::from_secs(3_600), ..config };
        for n in 1..=4 {
            pace.book(Kind::FirstContact, &chat(n), 0, &config);
        }
        let mut book = |n, now| pace.book(Kind::Message, &chat(n), now, &config);
        assert_eq!((book(5, 0), book(5, 0), book(5, 0)), (1_000, 1_000, 60_000));
        assert_eq!(book(5, 3_599_500), 3_601_000, "apart from what comes after, too");
        // What is given up leaves its time to the next one.
        let mut pace = Pace::default();
        let first = |pace: &mut Pace, n| pace.book(Kind::FirstContact, &chat(n), 0, &config);
        assert_eq!((first(&mut pace, 1), first(&mut pace, 2)), (0, 3_600_000));
        pace.cancel(&chat(2), 3_600_000);
        assert_eq!(first(&mut pace, 3), 3_600_000);
    }

    #[test]
    fn nothing_configured_means_no_wait() {
        let mut pace = Pace::default();
        let free = PacingConfig { gap: Duration::ZERO, first_contact_gap: Duration::ZERO, per_minute: None };
        for n in 0..1_000 {
            assert_eq!(pace.book(Kind::FirstContact, &chat(n), 7, &free), 7);
        }
    }
}
