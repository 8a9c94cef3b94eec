//! Which of a person's two addresses a message goes to: WhatsApp takes messages to both, and sometimes shows those to one of them on no
//! phone. What was confirmed by a phone decides; silence makes the other address worth a try.
//!
//! A contact may also just be offline, so that nothing here may cost more than one message sent twice under one id: a phone shows that
//! once. Each part goes out over the other address once at most.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::outgoing::Address;

const SECOND: UnixMs = 1_000;
const MINUTE: UnixMs = 60 * SECOND;
/// A phone that was just used confirms within moments.
const AWAKE: UnixMs = 30 * SECOND;
/// So long before our message its owner may have used it.
const JUST_USED: UnixMs = 5 * MINUTE;
/// The patience with a phone of which nothing is known.
const ASLEEP: UnixMs = 10 * MINUTE;

/// Which address is used for a person, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// The address.
    pub address: Address,
    /// A phone has confirmed a message that went there, and none has stayed unconfirmed since.
    pub confirmed: bool,
    /// WhatsApp refuses the other one.
    #[serde(default)]
    pub barred: bool,
}

/// The addresses that one message went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Went {
    /// One of them.
    To(Address),
    /// Both, one after the other.
    Both,
}

impl Went {
    /// After it went to `address` as well.
    pub fn and(self, address: Address) -> Self {
        if self == Self::To(address) { self } else { Self::Both }
    }
}

/// Whether a message to a person has stayed unconfirmed for too long. `heard` is when the person's last message came in; `confirmed`
/// that the address in use is known to work.
pub fn is_overdue(now: UnixMs, acked_at: UnixMs, heard: Option<UnixMs>, confirmed: bool) -> bool {
    let since = match heard {
        // Whoever writes has a phone that is on.
        Some(heard) if heard >= acked_at => return now >= heard.saturating_add(AWAKE),
        Some(heard) if !confirmed && heard >= acked_at.saturating_sub(JUST_USED) => AWAKE,
        _ => ASLEEP,
    };
    now >= acked_at.saturating_add(since)
}

/// The choice after a phone confirmed a message; `None` when it stays as it is. Where a message went to both, the address that the
/// receipt came from has worked.
pub fn after_receipt(before: Option<Choice>, went: Went, from: Address) -> Option<Choice> {
    let address = match went {
        Went::To(address) => address,
        Went::Both => from,
    };
    let after = Choice { address, confirmed: true, barred: before.is_some_and(|choice| choice.barred) };
    (before != Some(after)).then_some(after)
}

/// The choice after a message that went to `used` stayed unconfirmed; `None` when there is nothing else to try.
pub fn after_silence(before: Option<Choice>, used: Address) -> Option<Choice> {
    if before.is_some_and(|choice| choice.barred) {
        return None;
    }
    Some(Choice { address: used.other(), confirmed: false, barred: false })
}

/// The choice after WhatsApp refused a message because of its address `refused`.
pub fn after_refusal(refused: Address) -> Choice {
    Choice { address: refused.other(), confirmed: false, barred: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Address::{Lid, Number};

    fn choice(address: Address, confirmed: bool) -> Option<Choice> {
        Some(Choice { address, confirmed, barred: false })
    }

    #[test]
    fn a_phone_that_is_used_has_half_a_minute_any_other_ten() {
        let acked = 100 * MINUTE;
        for (heard, confirmed, patience) in [
            (None, false, 10 * MINUTE),
            (None, true, 10 * MINUTE),
            (Some(acked - 6 * MINUTE), false, 10 * MINUTE),
            (Some(acked - MINUTE), false, 30 * SECOND),
            (Some(acked - MINUTE), true, 10 * MINUTE),
            (Some(acked), true, 30 * SECOND),
            (Some(acked + MINUTE), false, MINUTE + 30 * SECOND),
            (Some(acked + 20 * MINUTE), true, 20 * MINUTE + 30 * SECOND),
        ] {
            let at = |after| is_overdue(acked + after, acked, heard, confirmed);
            assert!(!at(patience - 1) && at(patience), "{heard:?} {confirmed} {patience}");
        }
    }

    #[test]
    fn what_a_phone_confirmed_is_used_from_then_on() {
        for (before, went, from, after) in [
            (None, Went::To(Lid), Lid, choice(Lid, true)),
            // Receipts may come from the other address than the message went to.
            (None, Went::To(Number), Lid, choice(Number, true)),
            (choice(Number, false), Went::Both, Number, choice(Number, true)),
            (choice(Number, false), Went::Both, Lid, choice(Lid, true)),
            (choice(Lid, true), Went::Both, Number, choice(Number, true)),
            (choice(Lid, true), Went::To(Lid), Number, None),
        ] {
            assert_eq!(after_receipt(before, went, from), after, "{before:?} {went:?} {from:?}");
        }
        assert_eq!((Went::To(Lid).and(Lid), Went::To(Lid).and(Number)), (Went::To(Lid), Went::Both));
        assert_eq!(Went::Both.and(Lid), Went::Both);
    }

    #[test]
    fn silence_tries_the_other_address_unless_whatsapp_refuses_it() {
        assert_eq!(after_silence(None, Lid), choice(Number, false));
        assert_eq!(after_silence(choice(Number, true), Number), choice(Lid, false), "an address may stop working");
        let barred = after_refusal(Lid);
        assert_eq!((barred.address, barred.barred), (Number, true));
        assert_eq!(after_silence(Some(barred), Number), None);
        let confirmed = after_receipt(Some(barred), Went::To(Number), Number);
        assert!(confirmed.is_some_and(|choice| choice.barred && choice.confirmed), "it stays refused");
    }
}
