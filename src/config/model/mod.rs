//! The config as meant: every value final, defaults applied, account merged over channel. Made by [`super::resolve`] only.
//!
//! Actors hold `Arc<Config>` or `Arc<AccountConfig>` and replace their copy whole. [`AccountConfig`] is split by consequence: a change in
//! [`LinkConfig`] costs the account's socket, a change in [`RulesConfig`] takes effect on the next message.

mod account;
mod agents;
mod credentials;
mod session;
mod web_version;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::ids::{AccountId, AgentId};
use crate::routing::main_session::Reach;

pub use account::*;
pub use agents::*;
pub use credentials::*;
pub use session::*;
pub use web_version::*;

/// One whole configuration, immutable.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The WhatsApp connection of all accounts.
    pub web: WebConfig,
    /// `web.version`: the version of WhatsApp Web that is reported instead of the current one.
    pub web_version: Option<WebVersion>,
    /// Every account, also the disabled ones, by normalised id: the listed ones, and `default` where none is listed or its link goes on
    /// beside them ([`Config::unlisted_default`]).
    pub accounts: BTreeMap<AccountId, Arc<AccountConfig>>,
    /// The account meant when none is named: `channels.whatsapp.defaultAccount`, else `default` if present, else the first id in order.
    pub default_account: AccountId,
    /// True when `default` is an account only because it is linked: others are listed and it is not (behaviour.md 24.9).
    pub unlisted_default: bool,
    /// The agents and what they share.
    pub agents: Agents,
    /// Which chat goes to which agent, in file order.
    pub bindings: Vec<Binding>,
    /// Chats that several agents answer.
    pub broadcast: Broadcast,
    /// How direct chats reach each agent; follows from the accounts, bindings and broadcasts.
    pub reach: BTreeMap<AgentId, Reach>,
    /// Message handling that is the same for all accounts.
    pub messages: MessagesConfig,
    /// Conversations: their keys and when they start afresh.
    pub session: SessionConfig,
    /// Which chat commands exist and who may use them.
    pub commands: CommandsConfig,
    /// The API and the reload of this file.
    pub gateway: GatewayConfig,
    /// Model providers by name, the built-in ones included.
    pub providers: BTreeMap<String, Arc<ProviderConfig>>,
    /// Logs.
    pub logging: LoggingConfig,
    /// How long things stay on disk.
    pub retention: RetentionConfig,
    /// The file as written, in the current spelling, with includes and environment filled in. Holds secrets: for comparing only.
    pub written: Written,
}

/// The values of a file as written. Prints nothing of them, because it holds secrets.
#[derive(Clone, Default, PartialEq)]
pub struct Written(Arc<Value>);

impl Written {
    /// Wraps the values of a file.
    pub(super) fn new(value: Value) -> Self {
        Self(Arc::new(value))
    }
}

impl std::ops::Deref for Written {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written(…)")
    }
}

impl Config {
    /// The settings of one account.
    pub fn account(&self, id: &AccountId) -> Option<&Arc<AccountConfig>> {
        self.accounts.get(id)
    }

    /// The settings of one agent.
    pub fn agent(&self, id: &AgentId) -> Option<&Arc<AgentConfig>> {
        self.agents.get(id)
    }
}

/// `web.*`: the connection to WhatsApp.
#[derive(Clone, Debug, PartialEq)]
pub struct WebConfig {
    /// False switches every account off.
    pub enabled: bool,
    /// Interval of the connection-health log; a connection that outlived it counts as stable.
    pub heartbeat: Duration,
    /// How to come back after a lost connection.
    pub reconnect: ReconnectPolicy,
}

/// `web.reconnect`, within its bounds (behaviour.md 5.4).
#[derive(Clone, Debug, PartialEq)]
pub struct ReconnectPolicy {
    /// Delay before the first retry; at least 250 ms.
    pub initial: Duration,
    /// Longest delay; at least `initial`.
    pub max: Duration,
    /// Growth from one delay to the next, 1.1 to 10.
    pub factor: f64,
    /// Part of the delay added at random, 0 to 1.
    pub jitter: f64,
    /// Give up at this attempt; 0 never gives up.
    pub max_attempts: u32,
    /// Interval of the probe that goes on after giving up on network causes; `None` switches it off.
    pub slow_probe: Option<Duration>,
}

/// `commands`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandsConfig {
    /// `/config` exists.
    pub config: bool,
    /// `/debug` exists.
    pub debug: bool,
    /// `/restart` exists.
    pub restart: bool,
    /// Text commands are parsed (WhatsApp parses them anyway).
    pub text: bool,
    /// False lets everybody use commands.
    pub use_access_groups: bool,
    /// Owners for commands instead of `allowFrom`.
    pub owner_allow_from: Option<AllowList>,
}

/// `gateway`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// TCP port of the API.
    pub port: u16,
    /// Where it listens.
    pub bind: BindMode,
    /// What API clients must show; never absent when `bind` is not loopback.
    pub token: Option<Secret>,
    /// Origins besides the own one that a browser may come from.
    pub allowed_origins: Vec<String>,
    /// Reload of the config file.
    pub reload: ReloadConfig,
}

/// Where the API listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindMode {
    /// 127.0.0.1.
    Loopback,
    /// All interfaces.
    Lan,
    /// The tailnet address.
    Tailnet,
    /// Loopback, or all interfaces when loopback cannot be bound.
    Auto,
}

/// Reload of the config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadConfig {
    /// `off` does not watch the file.
    pub mode: ReloadMode,
    /// Quiet time after the last change of the file.
    pub debounce: Duration,
    /// Interval of the look at the file that does not rely on notifications.
    pub poll: Duration,
}

/// `gateway.reload.mode`. Verso reloads everything it can in place, so all but `off` mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadMode {
    /// Apply changes while running.
    Live,
    /// Keep what was read at start.
    Off,
}

/// A text that never shows in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The secret itself; for comparing and sending only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// `logging`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingConfig {
    /// Level of the file.
    pub level: LogLevel,
    /// Path of the file, absolute; `None` is the daily file of section 1.
    pub file: Option<PathBuf>,
    /// Level of the console.
    pub console_level: LogLevel,
    /// Form of the console.
    pub console_style: ConsoleStyle,
    /// Hide what [`LoggingConfig::redact_patterns`] matches. Secrets of this file are hidden in any case.
    pub redact: bool,
    /// Regular expressions of texts to hide in log lines, findings and errors; empty = what looks like a secret.
    pub redact_patterns: Vec<String>,
}

/// Log levels, silent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Silent,
    /// `fatal` and `error`.
    Error,
    /// Recovered by itself.
    Warn,
    /// State changes.
    Info,
    /// Details, with bodies.
    Debug,
    /// Everything.
    Trace,
}

/// Form of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleStyle {
    /// For people.
    Pretty,
    /// One short line.
    Compact,
    /// JSON lines.
    Json,
}

/// `retention`: how long things stay on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Journal rows with their decisions.
    pub journal: Duration,
    /// Message texts in the journal; at most `journal`.
    pub bodies: Duration,
    /// Saved inbound media.
    pub media: Duration,
    /// Bytes of saved inbound media at most.
    pub media_max_bytes: u64,
    /// A reply that could not be sent is given up and reported after this.
    pub outbox: Duration,
}
