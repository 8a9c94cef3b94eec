//! WhatsApp refuses the version of WhatsApp Web that the account reports (405).

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{AccountState, Action, LinkMachine, later};
use crate::backoff::{outdated_delay, renewed_delay};
use crate::clock::UnixMs;
use crate::config::model::WebVersion;
use crate::policy::web_version::Renewal;

/// Why WhatsApp refuses a version, and nothing better is at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// It is the newest: this release speaks no longer as WhatsApp wants.
    Newest,
    /// `web.version` pins it.
    Pinned,
    /// The current one is not known, for this cause.
    Unknown(String),
    /// The current one has changed twice within a moment.
    Unsettled,
}

impl Refused {
    /// The refusal as a sentence.
    pub fn sentence(&self, version: WebVersion) -> String {
        match self {
            Self::Newest => format!("WhatsApp refuses the newest version of WhatsApp Web, {version}, from this Verso"),
            Self::Pinned => format!("WhatsApp refuses version {version} of WhatsApp Web, which web.version pins"),
            Self::Unknown(cause) => format!(
                "WhatsApp refuses version {version} of WhatsApp Web, and the current one could not be looked up: {cause}"
            ),
            Self::Unsettled => format!("WhatsApp refuses version {version} of WhatsApp Web, and its own page changes"),
        }
    }

    /// What the owner can do.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Newest => "update Verso",
            Self::Pinned => {
                "remove web.version from verso.json, so that Verso looks the current version up, or set it to that one"
            }
            Self::Unknown(_) => {
                "let this machine reach that page, or set web.version in verso.json to the version that WhatsApp Web shows"
            }
            Self::Unsettled => "wait: Verso tries again by itself",
        }
    }
}

impl LinkMachine {
    /// A refused version: the renewed one is tried at once, but once only; then hourly.
    pub(super) fn refused(
        &mut self,
        version: WebVersion,
        renewal: Renewal,
        now: UnixMs,
        rng: &mut impl rand::Rng,
    ) -> Vec<Action> {
        if !self.state.is_live() {
            return Vec::new();
        }
        let why = match renewal {
            Renewal::Changed if !std::mem::replace(&mut self.renewed, true) => {
                return match self.state {
                    AccountState::Linking { method } => vec![Action::ShowCodes(method)],
                    _ => {
                        self.state = AccountState::Connecting;
                        vec![Action::Resume]
                    }
                };
            }
            Renewal::Changed => Refused::Unsettled,
            Renewal::Newest => Refused::Newest,
            Renewal::Pinned => Refused::Pinned,
            Renewal::Unknown { cause } => Refused::Unknown(cause),
        };
        self.paired = false;
        if let AccountState::Linking { .. } = self.state {
            let cause = format!("{}; {}", why.sentence(version), why.next_step());
            self.state = AccountState::NotLinked { cause: Some(cause) };
            return Vec::new();
        }
        let delay = outdated_delay(rng.random());
        self.state = AccountState::Outdated { version, why, until: later(now, delay) };
        vec![Action::StartTimer(delay)]
    }

    /// Nothing but an account that waits for a version is touched.
    pub(super) fn another_version(&mut self, at_once: bool, now: UnixMs, rng: &mut impl rand::Rng) -> Vec<Action> {
        let AccountState::Outdated { until, .. } = &mut self.state else { return Vec::new() };
        if at_once {
            return self.resume();
        }
        let delay = renewed_delay(rng.random());
        *until = later(now, delay);
        vec![Action::CancelTimer, Action::StartTimer(delay)]
    }
}
