//! How fast one account may write: WhatsApp bans numbers that write to many people at once. Pure: times are arguments.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::UnixMs;
use crate::config::model::PacingConfig;
use crate::ids::Jid;

const MINUTE: UnixMs = 60_000;

/// Why a message leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It answers somebody; answers never wait.
    Answer,
    /// Somebody asked for it to be sent.
    Message,
    /// The same, to a person with whom nothing was exchanged before.
    FirstContact,
}

/// The times of one account's latest messages.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// When messages that answer nobody left or will leave, of the last minute.
    booked: VecDeque<UnixMs>,
    last: Option<(Jid, UnixMs)>,
    last_first_contact: Option<UnixMs>,
}

impl Pace {
    /// Books a message to `chat` and answers when it may leave; never before `now`.
    pub fn book(&mut self, kind: Kind, chat: &Jid, now: UnixMs, config: &PacingConfig) -> UnixMs {
        if kind == Kind::Answer {
            return now;
        }
        let mut at = now;
        if let Some((last_chat, last)) = &self.last
            && last_chat != chat
        {
            at = at.max(last + millis(config.gap));
        }
        if kind == Kind::FirstContact
            && let Some(last) = self.last_first_contact
        {
            at = at.max(last + millis(config.first_contact_gap));
        }
        if let Some(cap) = config.per_minute
            && let Some(nth) = self.booked.len().checked_sub(cap)
        {
            at = at.max(self.booked[nth] + MINUTE);
        }
        self.booked.retain(|booked| *booked > now - MINUTE);
        // Bookings are not always made in the order in which they fall due.
        let place = self.booked.partition_point(|booked| *booked <= at);
        self.booked.insert(place, at);
        self.last = Some((chat.clone(), self.last.as_ref().map_or(at, |(_, last)| at.max(*last))));
        if kind == Kind::FirstContact {
            self.last_first_contact = Some(at);
        }
        at
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
    fn answers_leave_at_once_and_slow_nobody_down() {
        let mut pace = Pace::default();
        for n in 0..100 {
            assert_eq!(pace.book(Kind::Answer, &chat(n), 5, &config()), 5);
        }
        assert_eq!(pace.book(Kind::Message, &chat(1), 5, &config()), 5);
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
        assert_eq!(pace.book(Kind::Answer, &chat(4), 1, &config), 1);
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
