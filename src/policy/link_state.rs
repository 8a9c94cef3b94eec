//! The states of one account's link and every way from one to the next: the table that the supervisor carries out (design 2).
//!
//! ```text
//!            enabled, linked                    login accepted       backlog delivered
//! Disabled ------------------> Connecting ----------------> CatchingUp -----------------> Connected
//!    |  enabled, not linked       ^   ^   \_________________________________________________/ |
//!    `--------> NotLinked         |   |                 the connection ends                    |
//!                | login          |   | timer                                                  v
//!                v                |   +------ Backoff{attempt, until} <---- Retry::down --------+
//!              Linking -- paired -'   +------ Degraded{probe_at} <----- attempts used up -------+
//!                                 +------ Outdated{until} <------ version refused ------------+   hourly, at once when it is renewed
//!                                     LoggedOut, Conflict, Banned, Rejected, Locked <---------'   no timer: a person decides
//! ```
//! `Disable` and `Stop` lead out of every state; `Start` leads back from every state without a socket.

mod outdated;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backoff::{Recovery, Retry};
use crate::clock::UnixMs;
use crate::config::model::{WebConfig, WebVersion};
use crate::event::DownReason;
use crate::ids::AccountId;
use crate::policy::web_version::Renewal;

pub use outdated::Refused;

/// The state of an account, in the words that every door shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum AccountState {
    /// Switched off by the configuration.
    #[default]
    Disabled,
    /// No linked device.
    NotLinked {
        /// Why the last login came to nothing.
        cause: Option<String>,
    },
    /// A login is under way.
    Linking {
        /// By which kind of code.
        method: LinkMethod,
    },
    /// A connection is being opened.
    Connecting,
    /// Logged in; what waited is being delivered.
    CatchingUp {
        /// Messages announced as waiting.
        pending: Option<u32>,
    },
    /// Everything works.
    Connected {
        /// Since when.
        since: UnixMs,
    },
    /// Waiting for the next attempt.
    Backoff {
        /// Failed attempts so far.
        attempt: u32,
        /// When the next one starts.
        until: UnixMs,
        /// Why the last one failed.
        cause: String,
    },
    /// All attempts are used up.
    Degraded {
        /// When the line is probed again; `None` = never.
        probe_at: Option<UnixMs>,
        /// Why the last attempt failed.
        cause: String,
    },
    /// The link was removed on the phone or by WhatsApp.
    LoggedOut,
    /// Another session uses the same linked device.
    Conflict,
    /// WhatsApp blocked the number.
    Banned {
        /// Until when, if WhatsApp said so.
        until: Option<UnixMs>,
    },
    /// WhatsApp refuses the version of WhatsApp Web that is reported.
    Outdated {
        /// The version.
        version: WebVersion,
        /// Why there is no better one.
        why: Refused,
        /// When the next attempt starts.
        until: UnixMs,
    },
    /// WhatsApp refuses the login with a code that no retry cures.
    Rejected {
        /// WhatsApp's code.
        status: u16,
    },
    /// The account's files are sealed and there is no key for them.
    Locked {
        /// Which key is missing, and what to do.
        cause: String,
    },
    /// Stopped by the owner.
    Stopped,
}

/// By which kind of code a device is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkMethod {
    /// A QR code that the phone scans.
    Qr,
    /// Eight characters typed on the phone.
    Code,
}

impl AccountState {
    /// Machine code, the same in the API, metrics and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::NotLinked { .. } => "not-linked",
            Self::Linking { .. } => "linking",
            Self::Connecting => "connecting",
            Self::CatchingUp { .. } => "catching-up",
            Self::Connected { .. } => "connected",
            Self::Backoff { .. } => "backoff",
            Self::Degraded { .. } => "degraded",
            Self::LoggedOut => "logged-out",
            Self::Conflict => "conflict",
            Self::Banned { .. } => "banned",
            Self::Outdated { .. } => "outdated",
            Self::Rejected { .. } => "rejected",
            Self::Locked { .. } => "locked",
            Self::Stopped => "stopped",
        }
    }

    /// The state as a sentence.
    pub fn sentence(&self, now: UnixMs) -> String {
        let seconds = |until: UnixMs| (until - now).max(0).unsigned_abs().div_ceil(1000);
        match self {
            Self::Disabled => "switched off in verso.json".to_owned(),
            Self::NotLinked { cause: None } => "not linked to a phone".to_owned(),
            Self::NotLinked { cause: Some(cause) } => format!("not linked to a phone; the last login failed: {cause}"),
            Self::Linking { method: LinkMethod::Qr } => "waiting for a phone to scan the QR code".to_owned(),
            Self::Linking { method: LinkMethod::Code } => {
                "waiting for the pairing code to be typed on the phone".to_owned()
            }
            Self::Connecting => "connecting".to_owned(),
            Self::CatchingUp { pending: Some(n) } => {
                format!("logged in, receiving {n} messages that came while offline")
            }
            Self::CatchingUp { pending: None } => "logged in, receiving what came while offline".to_owned(),
            Self::Connected { .. } => "connected".to_owned(),
            Self::Backoff { attempt, until, cause } => format!("{cause}; retry {attempt} in {} s", seconds(*until)),
            Self::Degraded { probe_at: Some(at), cause } => {
                format!("gave up after repeated failures ({cause}); the line is probed again in {} s", seconds(*at))
            }
            Self::Degraded { probe_at: None, cause } => format!("gave up after repeated failures ({cause})"),
            Self::LoggedOut => "logged out: the linked device was removed on the phone or by WhatsApp".to_owned(),
            Self::Conflict => {
                "stopped: another program uses the same linked device, and WhatsApp lets only one of them be connected"
                    .to_owned()
            }
            Self::Banned { until: Some(at) } => {
                format!("WhatsApp blocked this number for {} more minutes", seconds(*at).div_ceil(60))
            }
            Self::Banned { until: None } => "WhatsApp blocked this number".to_owned(),
            Self::Outdated { version, why, until } => {
                format!("{}; next try in {} min", why.sentence(*version), seconds(*until).div_ceil(60))
            }
            Self::Rejected { status } => format!("WhatsApp refuses the login (code {status})"),
            Self::Locked { cause } => cause.clone(),
            Self::Stopped => "stopped by its owner".to_owned(),
        }
    }

    /// What the owner can do; `None` when nothing is needed.
    pub fn next_step(&self, account: &AccountId) -> Option<String> {
        let start = format!("verso channels start --account {account}");
        match self {
            Self::Connecting | Self::CatchingUp { .. } | Self::Connected { .. } | Self::Backoff { .. } => None,
            Self::Disabled => Some(format!(
                "set channels.whatsapp.accounts.{account}.enabled, channels.whatsapp.enabled and web.enabled to true in verso.json"
            )),
            Self::NotLinked { .. } => Some(format!("run: verso channels login --channel whatsapp --account {account}")),
            Self::Linking { .. } => Some("on the phone: WhatsApp, Linked devices, Link a device".to_owned()),
            Self::Degraded { .. } => Some(format!("check the network, then run: {start}")),
            Self::LoggedOut => {
                Some(format!("link it again: verso channels login --channel whatsapp --account {account}"))
            }
            Self::Conflict => Some(format!(
                "end the other program that uses this link (OpenClaw or the Baileys program that it was taken over from, or a Verso with a copy of this folder), then run: {start}"
            )),
            Self::Banned { .. } => Some(format!("follow the instructions of WhatsApp on the phone, then run: {start}")),
            Self::Outdated { why, .. } => Some(why.next_step().to_owned()),
            Self::Rejected { .. } => Some(format!(
                "run: {start}; if it persists, link it again: verso channels login --channel whatsapp --account {account} --force"
            )),
            Self::Locked { .. } => Some(format!(
                "correct credentials.encryption in verso.json, or put the key in its place and run: {start}"
            )),
            Self::Stopped => Some(format!("run: {start}")),
        }
    }

    /// A socket exists in this state.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Linking { .. } | Self::Connecting | Self::CatchingUp { .. } | Self::Connected { .. })
    }

    /// The supervisor works towards a connection in this state.
    pub fn wants_socket(&self) -> bool {
        self.is_live() || self.has_timer()
    }

    fn has_timer(&self) -> bool {
        matches!(self, Self::Backoff { .. } | Self::Degraded { probe_at: Some(_), .. } | Self::Outdated { .. })
    }
}

/// Something that moves the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The configuration has it switched on.
    Enable {
        /// Credentials of a linked device exist.
        linked: bool,
    },
    /// The configuration has it switched off.
    Disable,
    /// The owner wants it running.
    Start {
        /// Credentials of a linked device exist.
        linked: bool,
    },
    /// The owner wants it stopped.
    Stop,
    /// The owner wants to link a phone.
    Link {
        /// By which kind of code.
        method: LinkMethod,
        /// Give up a link that works.
        force: bool,
    },
    /// The login is given up.
    CancelLink {
        /// Why, when it failed.
        cause: Option<String>,
    },
    /// The owner unlinked it; the caller removes the credentials.
    Unlinked,
    /// The phone accepted a device that was made beside the link at hand; the caller says where it lies.
    Relinked,
    /// The phone accepted this device.
    Paired,
    /// WhatsApp accepted the login.
    CatchingUp {
        /// Messages announced as waiting.
        pending: Option<u32>,
    },
    /// The backlog is delivered.
    Connected,
    /// The socket is gone.
    Down {
        /// Why.
        reason: DownReason,
        /// How long it was logged in; zero when it never was.
        lived: Duration,
    },
    /// WhatsApp refused the version (405), and it was looked up anew.
    Refused {
        /// The version that was reported.
        version: WebVersion,
        /// What the look-up came to.
        renewal: Renewal,
    },
    /// Another version than before is in use.
    Renewed {
        /// The owner asks for it: accounts do not wait for one another.
        at_once: bool,
    },
    /// The timer of [`Action::StartTimer`] fired.
    Timer,
}

/// What the supervisor has to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a socket with the credentials at hand.
    Resume,
    /// Open a socket that shows codes to link with.
    ShowCodes(LinkMethod),
    /// Close the socket and wait until it is closed.
    Close,
    /// Remove the credentials.
    ClearCredentials,
    /// Put the device that was made beside in the place of the old one.
    Adopt,
    /// Send [`Input::Timer`] after this time.
    StartTimer(Duration),
    /// Forget the timer.
    CancelTimer,
    /// Tell who asked that the account is linked already.
    RefuseLink,
}

/// The state of one link and its count of failures.
#[derive(Clone, Debug, Default)]
pub struct LinkMachine {
    pub(crate) state: AccountState,
    pub(crate) retry: Retry,
    /// A login whose line broke has had its second try.
    link_retried: bool,
    /// The phone accepted this device; WhatsApp's restart is due.
    paired: bool,
    /// A renewed version has had its immediate try.
    renewed: bool,
}

impl LinkMachine {
    /// The state now.
    pub fn state(&self) -> &AccountState {
        &self.state
    }

    /// Failed attempts since the last stable connection.
    pub fn attempts(&self) -> u32 {
        self.retry.attempt
    }

    /// Takes one step.
    pub fn on(&mut self, input: Input, web: &WebConfig, now: UnixMs, rng: &mut impl rand::Rng) -> Vec<Action> {
        match input {
            Input::Enable { linked } => match (&self.state, linked) {
                (AccountState::Disabled | AccountState::NotLinked { .. }, true) => self.resume(),
                (AccountState::Disabled, false) => self.rest(AccountState::NotLinked { cause: None }),
                _ => Vec::new(),
            },
            Input::Disable => self.rest(AccountState::Disabled),
            Input::Stop if self.state == AccountState::Disabled => Vec::new(),
            Input::Stop => self.rest(AccountState::Stopped),
            Input::Unlinked if self.state == AccountState::Disabled => Vec::new(),
            Input::Unlinked => {
                self.retry.reset();
                self.rest(AccountState::NotLinked { cause: None })
            }
            Input::Start { linked } => {
                if self.state == AccountState::Disabled || self.state.is_live() {
                    return Vec::new();
                }
                self.retry.reset();
                if linked { self.resume() } else { self.rest(AccountState::NotLinked { cause: None }) }
            }
            Input::Link { method, force } => self.link(method, force),
            Input::CancelLink { cause } => match self.state {
                AccountState::Linking { .. } => self.rest(AccountState::NotLinked { cause }),
                _ => Vec::new(),
            },
            Input::Relinked if self.state == AccountState::Disabled => Vec::new(),
            Input::Relinked => {
                let mut actions = self.leave();
                actions.extend([Action::ClearCredentials, Action::Adopt, Action::Resume]);
                self.state = AccountState::Connecting;
                self.retry.reset();
                actions
            }
            Input::Paired => {
                if matches!(self.state, AccountState::Linking { .. }) {
                    self.state = AccountState::Connecting;
                    self.paired = true;
                }
                Vec::new()
            }
            Input::CatchingUp { pending } => {
                // A late word about the backlog does not undo Connected.
                if self.state.is_live() && !matches!(self.state, AccountState::Connected { .. }) {
                    self.state = AccountState::CatchingUp { pending };
                    self.paired = false;
                    self.renewed = false;
                }
                Vec::new()
            }
            Input::Connected => {
                if self.state.is_live() {
                    self.state = AccountState::Connected { since: now };
                    self.paired = false;
                }
                Vec::new()
            }
            Input::Down { reason, lived } => self.down(&reason, lived, web, now, rng),
            Input::Refused { version, renewal } => self.refused(version, renewal, now, rng),
            Input::Renewed { at_once } => self.another_version(at_once, now, rng),
            Input::Timer if self.state.has_timer() => {
                self.renewed = false;
                self.state = AccountState::Connecting;
                vec![Action::Resume]
            }
            Input::Timer => Vec::new(),
        }
    }

    /// Goes to a state without socket and timer.
    fn rest(&mut self, state: AccountState) -> Vec<Action> {
        let actions = self.leave();
        self.state = state;
        actions
    }

    /// What ends the socket or the timer of the state that is left.
    fn leave(&mut self) -> Vec<Action> {
        self.paired = false;
        self.renewed = false;
        if self.state.is_live() {
            vec![Action::Close]
        } else if self.state.has_timer() {
            vec![Action::CancelTimer]
        } else {
            Vec::new()
        }
    }

    fn resume(&mut self) -> Vec<Action> {
        let mut actions = self.leave();
        self.state = AccountState::Connecting;
        actions.push(Action::Resume);
        actions
    }

    fn link(&mut self, method: LinkMethod, force: bool) -> Vec<Action> {
        // What stays of a device that WhatsApp has removed is of no use to anybody.
        let dead = matches!(self.state, AccountState::LoggedOut);
        let fresh = matches!(self.state, AccountState::NotLinked { .. });
        match &self.state {
            AccountState::Disabled => return vec![Action::RefuseLink],
            AccountState::Linking { .. } => {}
            _ if !dead && !fresh && !force => return vec![Action::RefuseLink],
            _ => {}
        }
        let clear = !matches!(self.state, AccountState::NotLinked { .. } | AccountState::Linking { .. });
        let mut actions = self.leave();
        if clear {
            actions.push(Action::ClearCredentials);
        }
        actions.push(Action::ShowCodes(method));
        self.state = AccountState::Linking { method };
        self.link_retried = false;
        self.retry.reset();
        actions
    }

    fn down(
        &mut self,
        reason: &DownReason,
        lived: Duration,
        web: &WebConfig,
        now: UnixMs,
        rng: &mut impl rand::Rng,
    ) -> Vec<Action> {
        if !self.state.is_live() {
            return Vec::new();
        }
        if let AccountState::Linking { method } = self.state {
            return self.link_down(reason, method);
        }
        if std::mem::take(&mut self.paired) && *reason == DownReason::RestartRequired {
            self.state = AccountState::Connecting;
            return vec![Action::Resume];
        }
        let at = |after: Duration| later(now, after);
        let cause = reason.to_string();
        let (state, actions) = match self.retry.down(reason, lived, web, rng) {
            Recovery::Now => (AccountState::Connecting, vec![Action::Resume]),
            Recovery::After(delay) => (
                AccountState::Backoff { attempt: self.retry.attempt, until: at(delay), cause },
                vec![Action::StartTimer(delay)],
            ),
            Recovery::GiveUp { probe } => (
                AccountState::Degraded { probe_at: probe.map(at), cause },
                probe.map(Action::StartTimer).into_iter().collect(),
            ),
            Recovery::Never => (resting(reason, at), Vec::new()),
        };
        self.state = state;
        actions
    }

    /// A login whose line breaks is tried once more, as people expect who hold the phone in their hand (behaviour.md 4.5).
    fn link_down(&mut self, reason: &DownReason, method: LinkMethod) -> Vec<Action> {
        if reason.breaks_a_login_once() && !std::mem::replace(&mut self.link_retried, true) {
            return vec![Action::ShowCodes(method)];
        }
        self.state = AccountState::NotLinked { cause: Some(reason.to_string()) };
        Vec::new()
    }
}

fn later(now: UnixMs, delay: Duration) -> UnixMs {
    now.saturating_add(UnixMs::try_from(delay.as_millis()).unwrap_or(UnixMs::MAX))
}

/// Where an end leads that no waiting cures.
fn resting(reason: &DownReason, at: impl Fn(Duration) -> UnixMs) -> AccountState {
    match reason {
        DownReason::LoggedOut { .. } => AccountState::LoggedOut,
        DownReason::Conflict => AccountState::Conflict,
        DownReason::Banned { expires_in } => AccountState::Banned { until: expires_in.map(at) },
        DownReason::Rejected { code } => AccountState::Rejected { status: *code },
        DownReason::Locked { detail } => AccountState::Locked { cause: detail.clone() },
        DownReason::QrExpired => AccountState::NotLinked { cause: Some(reason.to_string()) },
        // Comes as `Input::Refused`.
        DownReason::Outdated
        | DownReason::Stopped
        | DownReason::RestartRequired
        | DownReason::RateLimited
        | DownReason::Unavailable { .. }
        | DownReason::Lost { .. }
        | DownReason::Stalled
        | DownReason::OpenFailed { .. }
        | DownReason::Internal { .. } => AccountState::Stopped,
    }
}

#[cfg(test)]
#[path = "link_state_tests.rs"]
mod tests;
