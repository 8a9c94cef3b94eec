//! The config as written: a serde mirror of `verso.json`. Everything is optional and nothing has a default here.
//!
//! The doc comment of a key is what `verso config schema` and an editor show for it. Old spellings are not known here: `legacy` moves
//! them to these keys first. A new key needs a line in `config/verso.example.json` (a test looks for it).

mod agents;
mod channel;
mod credentials;
mod session;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use agents::*;
pub use channel::*;
pub use credentials::*;
pub use session::*;

/// Verso's config file.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RawConfig {
    /// Address of this schema, for editors. Verso does not read it.
    #[serde(rename = "$schema")]
    pub schema: Option<String>,
    /// The connection to WhatsApp.
    pub web: Option<WebRaw>,
    /// The channels; Verso serves WhatsApp.
    pub channels: Option<ChannelsRaw>,
    /// How the credentials of WhatsApp links are kept.
    pub credentials: Option<CredentialsRaw>,
    /// Who answers.
    pub agents: Option<AgentsRaw>,
    /// Which chat goes to which agent. Without a match the default agent answers.
    pub bindings: Option<Vec<BindingRaw>>,
    /// Chats that several agents answer: `strategy`, and one list of agent ids per peer (E.164 or group JID).
    pub broadcast: Option<BroadcastRaw>,
    /// Message handling.
    pub messages: Option<MessagesRaw>,
    /// Conversations.
    pub session: Option<SessionRaw>,
    /// Chat commands.
    pub commands: Option<CommandsRaw>,
    /// The API, and the reload of this file.
    pub gateway: Option<GatewayRaw>,
    /// Model providers.
    pub models: Option<ModelsRaw>,
    /// Logs.
    pub logging: Option<LoggingRaw>,
    /// How long things stay on disk.
    pub retention: Option<RetentionRaw>,
}

/// The connection to WhatsApp.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WebRaw {
    /// False switches every account off. Default true.
    pub enabled: Option<bool>,
    /// Seconds between two lines of the connection-health log; a connection that lived longer counts as stable. Default 60.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub heartbeat_seconds: Option<f64>,
    /// Version of WhatsApp Web to report, such as "2.3000.1044017588". Without it Verso looks the current one up at WhatsApp.
    pub version: Option<serde_json::Value>,
    /// How to come back after a lost connection.
    pub reconnect: Option<ReconnectRaw>,
}

/// How to come back after a lost connection.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReconnectRaw {
    /// Delay before the first retry in milliseconds, at least 250. Default 2000.
    #[schemars(extend("minimum" = 0))]
    pub initial_ms: Option<f64>,
    /// Longest delay in milliseconds, at least `initialMs`. Default 30000.
    #[schemars(extend("minimum" = 0))]
    pub max_ms: Option<f64>,
    /// Growth from one delay to the next, 1.1 to 10. Default 1.8.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub factor: Option<f64>,
    /// Part of the delay added at random, 0 to 1. Default 0.25.
    #[schemars(extend("minimum" = 0))]
    pub jitter: Option<f64>,
    /// Give up at this attempt and report the account as degraded; 0 never gives up. Default 12.
    #[schemars(extend("minimum" = 0))]
    pub max_attempts: Option<f64>,
    /// Seconds between two probes after giving up on causes of the network; 0 switches them off. Default 300.
    #[schemars(extend("minimum" = 0))]
    pub slow_probe_seconds: Option<f64>,
}

/// Chat commands.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CommandsRaw {
    /// `/config` and `/allowlist` from chat. Default false.
    pub config: Option<bool>,
    /// `/debug` from chat. Default false.
    pub debug: Option<bool>,
    /// `/restart` from chat. Default false.
    pub restart: Option<bool>,
    /// Parse text commands; WhatsApp does so anyway. Default true.
    pub text: Option<bool>,
    /// False lets everybody who is admitted use commands. Default true.
    pub use_access_groups: Option<bool>,
    /// Owners for commands instead of `allowFrom`: phone numbers, also as `whatsapp:+15551234567`, or `"*"`.
    pub owner_allow_from: Option<Vec<String>>,
}

/// The API, and the reload of this file.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayRaw {
    /// TCP port of the API. Default 18789. Needs a restart.
    #[schemars(extend("maximum" = 65535))]
    pub port: Option<u32>,
    /// Where the API listens; anything but loopback needs `auth.token`. Default loopback. Needs a restart.
    pub bind: Option<BindRaw>,
    /// What API clients must show.
    pub auth: Option<AuthRaw>,
    /// The page for browsers.
    pub control_ui: Option<ControlUiRaw>,
    /// Reload of this file.
    pub reload: Option<ReloadRaw>,
}

/// Where the API listens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BindRaw {
    /// 127.0.0.1.
    Loopback,
    /// All interfaces.
    Lan,
    /// The tailnet address.
    Tailnet,
    /// Loopback, or all interfaces when loopback cannot be bound.
    Auto,
}

/// What API clients must show.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthRaw {
    /// Shared secret; better written as `${VERSO_GATEWAY_TOKEN}`.
    #[schemars(length(min = 1))]
    pub token: Option<String>,
}

/// The page for browsers.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlUiRaw {
    /// Origins besides the gateway's own that a browser may come from, such as `https://verso.example.org`.
    pub allowed_origins: Option<Vec<String>>,
}

/// Reload of this file.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReloadRaw {
    /// off keeps what was read at start; every other value applies edits while running. Default hybrid.
    pub mode: Option<ReloadModeRaw>,
    /// Milliseconds of quiet after the last change of the file before it is read. Default 100.
    #[schemars(extend("maximum" = 60000))]
    pub debounce_ms: Option<u32>,
    /// Seconds between two looks at the file that do not rely on notifications. Default 30.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub poll_seconds: Option<f64>,
}

/// Whether edits of this file are applied.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReloadModeRaw {
    /// Apply edits while running.
    Hybrid,
    /// Apply edits while running.
    Hot,
    /// Apply edits while running; Verso needs no restart for them.
    Restart,
    /// Keep what was read at start.
    Off,
}

/// Logs.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoggingRaw {
    /// Level of the log file. Default info.
    pub level: Option<LevelRaw>,
    /// Path of the log file. Default: a new file every day under `/tmp/verso`.
    pub file: Option<String>,
    /// Level of the console. Default info.
    pub console_level: Option<LevelRaw>,
    /// Form of the console. Default pretty.
    pub console_style: Option<ConsoleStyleRaw>,
    /// Hide in log lines, findings and errors what `redactPatterns` matches; `off` hides only the secrets of this file, which are always hidden. Default tools.
    pub redact_sensitive: Option<RedactRaw>,
    /// Regular expressions of texts to hide in log lines, findings and errors; a group in one says which part. They take the place of the built-in ones, which know keys and tokens by their look.
    pub redact_patterns: Option<Vec<String>>,
}

/// Log levels.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LevelRaw {
    /// Nothing.
    Silent,
    /// The same as error.
    Fatal,
    /// Someone must act.
    Error,
    /// Recovered by itself.
    Warn,
    /// State changes.
    Info,
    /// Details, with message texts.
    Debug,
    /// Everything.
    Trace,
}

/// Form of the console.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConsoleStyleRaw {
    /// For people.
    Pretty,
    /// One short line.
    Compact,
    /// JSON lines.
    Json,
}

/// Whose secrets are hidden.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RedactRaw {
    /// Secrets in what tools print.
    Tools,
    /// Nothing more than numbers, tokens and texts, which are always hidden at info.
    Off,
}

/// How long things stay on disk.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetentionRaw {
    /// Days that the journal of messages and decisions is kept. Default 14.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub journal_days: Option<f64>,
    /// Days that message texts in the journal are kept, at most `journalDays`. Default `journalDays`.
    #[schemars(extend("minimum" = 0))]
    pub body_days: Option<f64>,
    /// Days that saved inbound media are kept. Default 30.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub media_days: Option<f64>,
    /// Megabytes of saved inbound media that are kept at most; the files unused for the longest time go first. Default 1024.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub media_max_mb: Option<u32>,
    /// Hours after which a reply that could not be sent is given up and reported. Default 24.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub outbox_hours: Option<f64>,
}
