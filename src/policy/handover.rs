//! Handover (behaviour.md 24.29): the owner takes part in a chat from the phone, and the agent keeps silent there for a while.
//!
//! ```text
//! owner writes at w ──► silent for what was sent before w + window ──► the next message is answered, with everything since as context
//! ```
//! Both times are WhatsApp's, so a message that waited while the account was offline is judged as it would have been then, and a clock
//! of this machine that is wrong changes nothing. Never counted: what Verso sent, the account's own chat, groups, reactions, edits and
//! receipts; nor a chat whose person the agent would not answer. Another linked device of the owner cannot be told from the phone.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::allowlist::{Person, lid_text};
use crate::clock::UnixMs;
use crate::event::InboundMessage;
use crate::ids::AccountId;

/// Messages of a chat that are kept as context for its next answer.
pub const CONTEXT: usize = 50;
/// The key that sets the window.
pub const KEY: &str = "channels.whatsapp.handover.minutes";

/// Until when agents are silent in a chat that its owner wrote into at `wrote`; `None` = handover is switched off.
pub fn until(wrote: UnixMs, window: Duration) -> Option<UnixMs> {
    let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
    (window > 0).then(|| wrote.saturating_add(window))
}

/// When a message was sent, as far as it can be believed: never later than now, and now when nobody knows.
pub fn sent(timestamp: UnixMs, now: UnixMs) -> UnixMs {
    if timestamp > 0 { timestamp.min(now) } else { now }
}

/// Until when agents are silent about a message sent at `timestamp`, given when the owner wrote last; `None` = they are not.
pub fn silence(wrote: Option<UnixMs>, window: Duration, timestamp: UnixMs, now: UnixMs) -> Option<UnixMs> {
    until(wrote?, window).filter(|until| sent(timestamp, now) < *until)
}

/// When the owners of accounts wrote into their chats last.
#[derive(Debug, Default)]
pub struct Handovers {
    chats: HashMap<AccountId, Vec<Chat>>,
}

#[derive(Debug)]
struct Chat {
    person: Person,
    wrote: UnixMs,
}

/// The chats of an account in which the agent keeps silent now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HandoverCount {
    /// How many.
    pub chats: usize,
    /// When the last of them ends; `None` without any.
    pub until: Option<UnixMs>,
}

impl Handovers {
    /// Notes that the owner wrote to `person` at `wrote`. Chats whose `window` is over are forgotten.
    pub fn note(&mut self, account: &AccountId, person: Person, wrote: UnixMs, window: Duration, now: UnixMs) {
        let chats = self.chats.entry(account.clone()).or_default();
        chats.retain(|chat| until(chat.wrote, window).is_some_and(|until| until > now) && !same(&chat.person, &person));
        chats.push(Chat { person, wrote });
    }

    /// When the owner last wrote to the person of a direct chat.
    pub fn last(&self, message: &InboundMessage) -> Option<UnixMs> {
        let person = Person::peer(message);
        let chats = self.chats.get(&message.account)?;
        chats.iter().filter(|chat| same(&chat.person, &person)).map(|chat| chat.wrote).max()
    }

    /// Where the agent keeps silent now.
    pub fn count(&self, account: &AccountId, window: Duration, now: UnixMs) -> HandoverCount {
        let chats = self.chats.get(account).map(Vec::as_slice).unwrap_or_default();
        let ends = chats.iter().filter_map(|chat| until(chat.wrote, window)).filter(|until| *until > now);
        ends.fold(HandoverCount::default(), |count, until| HandoverCount {
            chats: count.chats + 1,
            until: count.until.max(Some(until)),
        })
    }
}

/// The two are one person, by number in any of its spellings or by LID.
pub fn same(a: &Person, b: &Person) -> bool {
    let number = a.number.as_ref().zip(b.number.as_ref());
    number.is_some_and(|(a, b)| a.canonical() == b.canonical())
        || a.lid.as_ref().zip(b.lid.as_ref()).is_some_and(|(a, b)| lid_text(a) == lid_text(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::E164;

    const MINUTES: Duration = Duration::from_secs(600);
    const NOW: UnixMs = 1_767_225_600_000;

    fn person(number: Option<&str>, lid: Option<&str>) -> Person {
        Person { number: number.and_then(E164::from_digits), lid: lid.map(|lid| lid.parse().expect("a LID")) }
    }

    #[test]
    fn the_agent_is_silent_about_what_was_sent_before_the_window_ends() {
        let check = |wrote: Option<UnixMs>, window: Duration, timestamp: UnixMs, silent: bool| {
            assert_eq!(silence(wrote, window, timestamp, NOW).is_some(), silent, "{wrote:?} {timestamp}");
        };
        let minute = 60_000;
        check(None, MINUTES, NOW, false);
        check(Some(NOW - 9 * minute), MINUTES, NOW, true);
        check(Some(NOW - 10 * minute), MINUTES, NOW, false);
        check(Some(NOW - 9 * minute), Duration::ZERO, NOW, false);
        // What waited while the account was offline: as it would have been then.
        check(Some(NOW - 60 * minute), MINUTES, NOW - 55 * minute, true);
        check(Some(NOW - 60 * minute), MINUTES, NOW - 70 * minute, true);
        check(Some(NOW - 60 * minute), MINUTES, NOW - 49 * minute, false);
        // A sender's clock, or none.
        check(Some(NOW - 9 * minute), MINUTES, i64::MAX, true);
        check(Some(NOW - 9 * minute), MINUTES, 0, true);
        check(Some(NOW - 11 * minute), MINUTES, i64::MIN, false);
    }

    #[test]
    fn a_person_is_known_by_either_address_and_counted_once() {
        let (work, other) = (AccountId::new("work"), AccountId::new("other"));
        let mut handovers = Handovers::default();
        let mut note = |person, wrote| handovers.note(&work, person, wrote, MINUTES, NOW);
        note(person(Some("+15551234567"), Some("77@lid")), NOW - 1000);
        note(person(None, Some("77@lid")), NOW);
        note(person(Some("+15557654321"), None), NOW - 2000);
        let count = |account, window, now| {
            let HandoverCount { chats, until } = handovers.count(account, window, now);
            (chats, until)
        };
        assert_eq!(count(&work, MINUTES, NOW), (2, Some(NOW + 600_000)));
        assert_eq!(count(&work, MINUTES, NOW + 599_000), (1, Some(NOW + 600_000)));
        assert_eq!(count(&work, Duration::ZERO, NOW), (0, None));
        assert_eq!(count(&other, MINUTES, NOW), (0, None));
    }

    #[test]
    fn two_spellings_of_a_number_are_one_person() {
        let same = |a: &str, b: &str| super::same(&person(Some(a), None), &person(Some(b), None));
        assert!(same("+5215512345678", "+525512345678"));
        assert!(!same("+5215512345678", "+525512345679"));
        assert!(!super::same(&person(None, None), &person(None, None)), "nobody is nobody");
    }

    proptest! {
        #[test]
        fn no_time_and_no_window_overflow(wrote: i64, timestamp: i64, now in 0i64..=i64::MAX, window: u64) {
            let window = Duration::from_millis(window);
            let silent = silence(Some(wrote), window, timestamp, now);
            prop_assert!(silent.is_none() || !window.is_zero());
        }
    }
}
