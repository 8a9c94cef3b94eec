//! `agents`, `bindings`, `broadcast` and `models`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;

/// Who answers.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentsRaw {
    /// What holds for every agent that does not say otherwise.
    pub defaults: Option<AgentDefaultsRaw>,
    /// The agents. Without this there is one, `main`.
    pub list: Option<Vec<AgentRaw>>,
}

/// What holds for every agent that does not say otherwise.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentDefaultsRaw {
    /// What answers, as `provider/name`. Default `echo`, which repeats what was said.
    pub model: Option<String>,
    /// Folder with AGENTS.md, SOUL.md, IDENTITY.md and USER.md.
    pub workspace: Option<String>,
    /// Runs at the same time over all chats; one that takes longer than ten seconds no longer counts, and a main session never waits for
    /// the others. Default 4.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub max_concurrent: Option<u32>,
    /// Longest run in seconds. Default 600.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub timeout_seconds: Option<u32>,
    /// Largest outbound media file in MB. Default 5.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub media_max_mb: Option<f64>,
    /// Zone of the time that the model sees: local, utc, user, or an IANA name. Default local.
    pub envelope_timezone: Option<String>,
    /// Show the model the time of a message. Default on.
    pub envelope_timestamp: Option<OnOffRaw>,
    /// Show the model the time since the last message. Default on.
    pub envelope_elapsed: Option<OnOffRaw>,
    /// IANA name of the owner's zone. Default: the host's zone.
    pub user_timezone: Option<String>,
    /// When "typing" is shown. Default: at once, in groups only when mentioned.
    pub typing_mode: Option<TypingModeRaw>,
    /// Seconds after which "typing" is refreshed. Default 6.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub typing_interval_seconds: Option<u32>,
    /// Send answers in blocks where the channel does not say. Default off.
    pub block_streaming_default: Option<OnOffRaw>,
    /// How blocks are gathered where the channel does not say.
    pub block_streaming_coalesce: Option<CoalesceRaw>,
    /// Pause between the blocks of an answer.
    pub human_delay: Option<HumanDelayRaw>,
    /// Regular wake-up.
    pub heartbeat: Option<HeartbeatRaw>,
    /// False: chats are told nothing about errors, neither `messages.errorText` nor a cause nor a file that could not be sent. Default true.
    pub report_errors: Option<bool>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnOffRaw {
    /// On.
    On,
    /// Off.
    Off,
}

/// When "typing" is shown.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TypingModeRaw {
    /// Never.
    Never,
    /// As soon as the message is accepted.
    Instant,
    /// When the model starts to think.
    Thinking,
    /// When the first text is there.
    Message,
}

/// Pause between the blocks of an answer.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HumanDelayRaw {
    /// off, natural (0.8 to 2.5 s) or custom. Default off.
    pub mode: Option<HumanDelayModeRaw>,
    /// Shortest pause of `custom` in milliseconds. Default 800.
    pub min_ms: Option<u32>,
    /// Longest pause of `custom` in milliseconds. Default 2500.
    pub max_ms: Option<u32>,
}

/// Kind of pause.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HumanDelayModeRaw {
    /// None.
    Off,
    /// 0.8 to 2.5 s.
    Natural,
    /// `minMs` to `maxMs`.
    Custom,
}

/// Regular wake-up. An agent's keys go over the defaults' one by one; if any agent has this block, only those agents are woken.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatRaw {
    /// Interval such as 30m, 90s or 1h; a bare number is minutes, 0m or empty switches it off. Default 30m.
    pub every: Option<String>,
    /// What the agent is told.
    pub prompt: Option<String>,
    /// Another model than the agent's, as `provider/name`.
    pub model: Option<String>,
    /// Where the result goes: last (the chat that was last active), none, or whatsapp (to `to`). Default last.
    pub target: Option<String>,
    /// Phone number or group JID that gets the result.
    pub to: Option<String>,
    /// Account to send from.
    pub account_id: Option<String>,
    /// Session to run in. Default: the agent's main session.
    pub session: Option<String>,
    /// Longest remark beside HEARTBEAT_OK that is not sent. Default 300.
    pub ack_max_chars: Option<u32>,
    /// Send the model's reasoning too. Default false.
    pub include_reasoning: Option<bool>,
    /// Hours of the day in which it runs. Default: always.
    pub active_hours: Option<ActiveHoursRaw>,
}

/// Hours of the day, may wrap midnight.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ActiveHoursRaw {
    /// First minute, as HH:MM.
    pub start: Option<String>,
    /// Minute at which it ends, as HH:MM; 24:00 is allowed.
    pub end: Option<String>,
    /// user, local or an IANA name. Default user.
    pub timezone: Option<String>,
}

/// One agent.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentRaw {
    /// Id, used in bindings and session keys.
    pub id: String,
    /// True for the agent that answers what no binding claims. Default: the first of the list.
    pub default: Option<bool>,
    /// Label for people.
    pub name: Option<String>,
    /// Folder with AGENTS.md, SOUL.md, IDENTITY.md and USER.md.
    pub workspace: Option<String>,
    /// Who the agent says it is.
    pub identity: Option<IdentityRaw>,
    /// What answers, as `provider/name`.
    pub model: Option<String>,
    /// Behaviour in groups.
    pub group_chat: Option<GroupChatRaw>,
    /// Regular wake-up.
    pub heartbeat: Option<HeartbeatRaw>,
    /// Pause between the blocks of an answer.
    pub human_delay: Option<HumanDelayRaw>,
}

/// Who an agent says it is.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IdentityRaw {
    /// Name, used for prefixes and mentions.
    pub name: Option<String>,
    /// Emoji, counts as a mention.
    pub emoji: Option<String>,
}

/// Behaviour in groups.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupChatRaw {
    /// Regular expressions that count as a mention, whatever the case. Default: derived from the identity; empty switches them off.
    pub mention_patterns: Option<Vec<String>>,
    /// Group messages kept as context between answers.
    pub history_limit: Option<u32>,
}

/// One binding.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BindingRaw {
    /// Agent that answers.
    pub agent_id: String,
    /// Which chats it answers.
    #[serde(rename = "match")]
    pub matches: BindingMatchRaw,
}

/// Which chats a binding is for.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BindingMatchRaw {
    /// Channel; Verso serves whatsapp.
    pub channel: String,
    /// Account id, or `"*"` for any. Default: the account `default` only.
    pub account_id: Option<String>,
    /// One chat. Default: every chat.
    pub peer: Option<BindingPeerRaw>,
}

/// One chat.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BindingPeerRaw {
    /// Direct chat or group.
    pub kind: PeerKindRaw,
    /// Phone number (E.164) of a direct chat, or JID of a group.
    pub id: String,
}

/// Direct chat or group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PeerKindRaw {
    /// A direct chat.
    #[default]
    Direct,
    /// The older word for direct.
    Dm,
    /// A group.
    Group,
    /// A channel of other services; never matches on WhatsApp.
    Channel,
}

/// Chats that several agents answer.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BroadcastRaw {
    /// Whether the agents run at once or one after the other. Default parallel.
    pub strategy: Option<StrategyRaw>,
    /// Agent ids by peer.
    #[serde(flatten)]
    pub peers: IndexMap<String, Vec<String>>,
}

/// Whether agents run at once.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StrategyRaw {
    /// All at once.
    Parallel,
    /// One after the other.
    Sequential,
}

/// Model providers.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelsRaw {
    /// Providers by name. Built in: openai, anthropic, ollama, echo, command and webhook; an entry of that name changes it.
    pub providers: Option<IndexMap<String, ProviderRaw>>,
}

/// One provider.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProviderRaw {
    /// How it is spoken to. Default openai-completions.
    pub api: Option<ProviderApiRaw>,
    /// Base URL, such as `http://127.0.0.1:11434/v1`; of `webhook` the whole URL.
    pub base_url: Option<String>,
    /// Key sent to the provider, or the secret that signs a webhook; better written as `${OPENAI_API_KEY}`.
    pub api_key: Option<String>,
    /// Further HTTP headers.
    pub headers: Option<IndexMap<String, String>>,
    /// Longest call in seconds. Default 120.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub timeout_seconds: Option<u32>,
    /// Program and arguments of `api: "command"`.
    pub command: Option<Vec<String>>,
    /// Most tokens of one answer. Default: the provider's.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub max_tokens: Option<u32>,
    /// What its models can do; a model that is not listed reads text.
    pub models: Option<Vec<ModelRaw>>,
}

/// One model of a provider.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelRaw {
    /// Its name at the provider.
    pub id: String,
    /// Label for people.
    pub name: Option<String>,
    /// What it takes. Default: text.
    pub input: Option<Vec<ModelInputRaw>>,
    /// Tokens that it takes, its answer included. Default: some 100,000 characters are sent, and less when the server asks for less.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub context_window: Option<u32>,
}

/// Something that a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelInputRaw {
    /// Text.
    Text,
    /// Pictures.
    Image,
}

/// How a provider is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderApiRaw {
    /// OpenAI's chat completions, which most servers speak.
    OpenaiCompletions,
    /// Anthropic's messages.
    AnthropicMessages,
    /// A program: one JSON job on stdin, JSON or text on stdout.
    Command,
    /// A POST of the job, signed with `apiKey`.
    Webhook,
    /// Answers with what was said.
    Echo,
}
