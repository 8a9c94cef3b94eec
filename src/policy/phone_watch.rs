//! Has the phone behind a link been online lately? WhatsApp unlinks every device of an account whose phone stays away for 14 days.
//!
//! The protocol never says so; it shows. A phone that is on confirms within seconds every message that a linked device of it sends
//! to a direct chat, and what its owner writes and reads there passes by. Silence alone means nothing, for nobody may have written: a
//! phone counts as *silent* only when it has confirmed before and left a later message unconfirmed. Without such a message it is
//! *unknown*, and nobody is warned.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::clock::UnixMs;

const MINUTE: UnixMs = 60_000;
const HOUR: UnixMs = 60 * MINUTE;
const DAY: UnixMs = 24 * HOUR;

/// WhatsApp unlinks after so long.
const UNLINKED_AFTER: UnixMs = 14 * DAY;
/// Days without the phone after which its owner is warned, once each.
const WARN_AFTER: [u8; 3] = [7, 10, 13];
/// A phone without signal or power for a moment confirms later.
const PATIENCE: UnixMs = HOUR;
/// What was sent so shortly ago is not called unconfirmed on disk: the confirmation may be under way while the process ends.
const IN_FLIGHT: UnixMs = 10 * MINUTE;
/// A phone seen within this time counts as on.
const FRESH: UnixMs = DAY;
/// WhatsApp's clock and this machine's may differ so much.
const SKEW: UnixMs = 5 * MINUTE;
/// [`PhoneWatch::look`] is called this often while the account is connected.
pub const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(3600);
/// Seen again within this time, a phone is not written down anew.
const WRITE_EVERY: UnixMs = HOUR;

/// What is known of the phone of one account. Survives restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PhoneWatch {
    /// The newest sign of life.
    seen: Option<UnixMs>,
    /// It has confirmed a message of ours once: then it is a phone that does.
    confirms: bool,
    /// The first message after the newest sign of life that it should have confirmed.
    asked: Option<UnixMs>,
    /// The warning given, in days; 0 = none.
    warned: u8,
    /// The last look on this connection.
    #[serde(skip)]
    looked: Option<UnixMs>,
}

/// The phone is away for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Days since it was seen: 7, 10 or 13.
    pub days: u8,
    /// When WhatsApp unlinks the device at the earliest.
    pub unlinked_at: UnixMs,
}

/// What is shown of the phone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PhoneSeen {
    /// See [`PhoneState`].
    pub state: PhoneState,
    /// The newest sign of life.
    pub last_seen_at: Option<UnixMs>,
    /// The first message that the phone left unconfirmed, while it is silent.
    pub silent_since: Option<UnixMs>,
    /// When WhatsApp unlinks the device at the earliest, while the phone is silent.
    pub unlinked_at: Option<UnixMs>,
    /// The warning in force, as a sentence.
    pub warning: Option<String>,
}

/// Whether the phone is on, as far as can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhoneState {
    /// Nothing was sent that it would have had to confirm.
    #[default]
    Unknown,
    /// It gave a sign of life within the last day.
    Seen,
    /// It leaves messages unconfirmed.
    Silent,
}

impl PhoneWatch {
    /// A phone that has just linked this device.
    pub fn linked(now: UnixMs) -> Self {
        Self { seen: Some(now), ..Self::default() }
    }

    /// A sign of life from `at`; `confirms` when it is a receipt for something of ours. It is `now`.
    pub fn saw(&mut self, at: UnixMs, confirms: bool, now: UnixMs) {
        let at = at.min(now);
        self.confirms |= confirms;
        // A time that lies ahead comes from a clock that was wrong, and would hide everything until it is reached.
        let before = self.seen.filter(|seen| *seen <= now + SKEW);
        self.seen = Some(before.map_or(at, |seen| seen.max(at)));
        if self.asked.is_some_and(|asked| asked <= at + SKEW || asked > now) {
            self.asked = None;
        }
        if self.asked.is_none() {
            self.warned = 0;
        }
    }

    /// A message left for a direct chat at `at`: a phone that is on confirms it, and may have done so before this is heard of.
    pub fn asked(&mut self, at: UnixMs) {
        let since = at..=at + SKEW;
        if !self.seen.is_some_and(|seen| since.contains(&seen)) {
            self.asked.get_or_insert(at);
        }
    }

    /// The connection ended: what the phone says meanwhile comes after the next login.
    pub fn disconnected(&mut self) {
        self.looked = None;
    }

    /// Looks whether the owner has to be warned: after a login, when what waited has come in, and every [`LOOK_EVERY`] after it.
    pub fn look(&mut self, now: UnixMs) -> Option<Warning> {
        let every = UnixMs::try_from(LOOK_EVERY.as_millis()).unwrap_or(HOUR);
        let jumped = self.looked.replace(now).is_some_and(|before| (now - before - every).abs() > every / 2);
        if jumped {
            // The clock was set: how long the phone has been silent cannot be told, so it gets another chance to answer.
            self.asked = None;
        }
        let warning = self.warning(now)?;
        if warning.days <= self.warned {
            return None;
        }
        self.warned = warning.days;
        Some(warning)
    }

    /// The phone has been silent since, and WhatsApp counts from here at the earliest.
    fn silent(&self, now: UnixMs) -> Option<(UnixMs, UnixMs)> {
        let asked = self.asked.filter(|asked| self.confirms && now - asked >= PATIENCE)?;
        // The link worked when it was asked, so the phone had been there within the time that WhatsApp allows.
        Some((asked, self.seen.unwrap_or(asked).max(asked - UNLINKED_AFTER)))
    }

    fn warning(&self, now: UnixMs) -> Option<Warning> {
        let (_, since) = self.silent(now)?;
        let days = WARN_AFTER.into_iter().rfind(|days| now - since >= UnixMs::from(*days) * DAY)?;
        Some(Warning { days, unlinked_at: since + UNLINKED_AFTER })
    }

    /// What is shown. The warning stays as long as its reason, also when it was given before a restart.
    pub fn shown(&self, now: UnixMs) -> PhoneSeen {
        let silent = self.silent(now);
        PhoneSeen {
            state: match (silent, self.seen) {
                (Some(_), _) => PhoneState::Silent,
                (None, Some(seen)) if now - seen < FRESH => PhoneState::Seen,
                _ => PhoneState::Unknown,
            },
            last_seen_at: self.seen,
            silent_since: silent.map(|(asked, _)| asked),
            unlinked_at: silent.map(|(_, since)| since + UNLINKED_AFTER),
            warning: self.warning(now).map(|warning| warning.sentence(self.seen, now)),
        }
    }

    /// What goes to disk, when something has to: `stored` went there at the time given.
    pub fn to_store(&self, stored: Option<(&Self, UnixMs)>, now: UnixMs) -> Option<Self> {
        let asked = self.asked.filter(|asked| now - asked >= IN_FLIGHT);
        let mine = Self { asked, looked: None, ..self.clone() };
        let Some((theirs, at)) = stored else { return Some(mine).filter(|mine| *mine != Self::default()) };
        let same_case = (mine.asked, mine.warned, mine.confirms) == (theirs.asked, theirs.warned, theirs.confirms);
        let due = mine.seen != theirs.seen && (now - at).abs() >= WRITE_EVERY;
        (!same_case || due).then_some(mine)
    }
}

impl Warning {
    /// `The phone has not been seen for 7 days (last on 2026-11-01). WhatsApp unlinks this device ...`
    pub fn sentence(&self, seen: Option<UnixMs>, now: UnixMs) -> String {
        let last = seen.map_or_else(String::new, |seen| format!(" (last on {})", date(seen)));
        let days = self.days;
        let end = if self.unlinked_at <= now {
            "WhatsApp may unlink this device at any moment".to_owned()
        } else {
            format!("WhatsApp unlinks this device from {} on", date(self.unlinked_at))
        };
        format!("the phone has not been seen for {days} days{last}; {end}")
    }
}

/// What the owner does about it.
pub const WAKE_THE_PHONE: &str = "open WhatsApp on the phone and keep it online for a minute";

fn date(at: UnixMs) -> String {
    OffsetDateTime::from_unix_timestamp(at / 1000).map_or_else(|_| "?".to_owned(), |at| at.date().to_string())
}

#[cfg(test)]
#[path = "phone_watch_tests.rs"]
mod tests;
