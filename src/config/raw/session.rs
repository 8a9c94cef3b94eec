//! `messages` and `session`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;

/// Message handling.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MessagesRaw {
    /// Answer to people whose message could not be answered, at most once per chat and 10 minutes; `""` says nothing. Who commands Verso reads the cause instead. Default "Sorry, I can't answer right now."
    pub error_text: Option<String>,
    /// Older place of `channels.whatsapp.messagePrefix`.
    pub message_prefix: Option<String>,
    /// Text put before answers where the channel does not say; `"auto"` is `[identity.name]`.
    pub response_prefix: Option<String>,
    /// Behaviour in groups where the agent or channel does not say.
    pub group_chat: Option<GroupChatRaw>,
    /// Joining of quick successive messages where the channel does not say.
    pub inbound: Option<InboundRaw>,
    /// What happens to messages while the agent is busy.
    pub queue: Option<QueueRaw>,
    /// Not used by WhatsApp: set `channels.whatsapp.ackReaction`.
    pub ack_reaction: Option<String>,
    /// Not used by WhatsApp: set `channels.whatsapp.ackReaction`.
    pub ack_reaction_scope: Option<AckScopeRaw>,
}

/// Where the older `messages.ackReaction` applied.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AckScopeRaw {
    /// Everywhere.
    All,
    /// Direct chats.
    Direct,
    /// Every group message.
    GroupAll,
    /// Group messages that mention the agent.
    GroupMentions,
}

/// Joining of quick successive messages.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InboundRaw {
    /// Milliseconds of quiet; 0 switches it off. Default 0.
    pub debounce_ms: Option<u32>,
    /// The same by channel name.
    pub by_channel: Option<IndexMap<String, u32>>,
}

/// What happens to messages while the agent is busy.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueRaw {
    /// How they are handled. Default collect.
    pub mode: Option<QueueModeRaw>,
    /// The mode by channel name.
    pub by_channel: Option<IndexMap<String, QueueModeRaw>>,
    /// Milliseconds of quiet before queued messages are taken. Default 1000.
    pub debounce_ms: Option<u32>,
    /// The same by channel name.
    pub debounce_ms_by_channel: Option<IndexMap<String, u32>>,
    /// Most that wait. Default 20.
    pub cap: Option<u32>,
    /// What goes when `cap` is reached. Default summarize.
    pub drop: Option<QueueDropRaw>,
}

/// How messages are handled while the agent is busy.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QueueModeRaw {
    /// As followup: a turn that runs takes nothing in.
    Steer,
    /// One turn each.
    Followup,
    /// One turn for all.
    Collect,
    /// As followup.
    SteerBacklog,
    /// End the running turn.
    Interrupt,
    /// The older word for steer.
    Queue,
}

/// What goes when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueueDropRaw {
    /// The oldest.
    Old,
    /// The new one.
    New,
    /// The oldest, leaving one line of summary.
    Summarize,
}

/// Conversations.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionRaw {
    /// One conversation per sender, or one for all. Default per-sender.
    pub scope: Option<ScopeRaw>,
    /// How direct chats are told apart. Default auto.
    pub dm_scope: Option<DmScopeRaw>,
    /// Name of the main session. Default main.
    pub main_key: Option<String>,
    /// People known under several ids: a name, and its ids such as `whatsapp:+15551234567`.
    pub identity_links: Option<IndexMap<String, Vec<String>>>,
    /// Words that start a conversation afresh. Default /new and /reset.
    pub reset_triggers: Option<Vec<String>>,
    /// Minutes of silence after which a conversation starts afresh; alone it replaces the daily reset.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub idle_minutes: Option<u32>,
    /// When a conversation starts afresh. Default daily at 4.
    pub reset: Option<ResetRaw>,
    /// The same by kind of chat, over `reset`.
    pub reset_by_type: Option<ResetByTypeRaw>,
    /// The same by channel name, over everything.
    pub reset_by_channel: Option<IndexMap<String, ResetRaw>>,
    /// Path of the session store; `{agentId}` is replaced. Default `<state>/agents/{agentId}/sessions/sessions.json`.
    pub store: Option<String>,
    /// Older place of `agents.defaults.typingMode`.
    pub typing_mode: Option<TypingModeRaw>,
    /// Older place of `agents.defaults.typingIntervalSeconds`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub typing_interval_seconds: Option<u32>,
    /// Which conversations may send.
    pub send_policy: Option<SendPolicyRaw>,
}

/// One conversation per sender, or one for all.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScopeRaw {
    /// One per sender.
    PerSender,
    /// One for all.
    Global,
}

/// How direct chats are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DmScopeRaw {
    /// The owner uses the main session, everybody else has a session per account and person.
    Auto,
    /// All share the main session.
    Main,
    /// By person.
    PerPeer,
    /// By channel and person.
    PerChannelPeer,
    /// By account, channel and person.
    PerAccountChannelPeer,
}

/// When a conversation starts afresh.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetRaw {
    /// Every day, or after silence. Default daily.
    pub mode: Option<ResetModeRaw>,
    /// Hour of the daily reset, 0 to 23. Default 4.
    #[schemars(extend("minimum" = 0))]
    pub at_hour: Option<f64>,
    /// Minutes of silence. Default 60 in mode idle.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub idle_minutes: Option<u32>,
}

/// Every day, or after silence.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResetModeRaw {
    /// Every day.
    Daily,
    /// After silence.
    Idle,
}

/// When a conversation starts afresh, by kind of chat.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetByTypeRaw {
    /// Direct chats.
    pub direct: Option<ResetRaw>,
    /// The older word for direct.
    pub dm: Option<ResetRaw>,
    /// Groups.
    pub group: Option<ResetRaw>,
    /// Threads.
    pub thread: Option<ResetRaw>,
}

/// Which conversations may send.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SendPolicyRaw {
    /// What holds when no rule matches. Default allow.
    pub default: Option<AllowDenyRaw>,
    /// The rules; a matching deny wins.
    pub rules: Option<Vec<SendRuleRaw>>,
}

/// Allow or deny.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AllowDenyRaw {
    /// May send.
    #[default]
    Allow,
    /// May not send.
    Deny,
}

/// One rule.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SendRuleRaw {
    /// Allow or deny.
    pub action: AllowDenyRaw,
    /// Which conversations. Default: all.
    #[serde(rename = "match")]
    pub matches: Option<SendMatchRaw>,
}

/// Which conversations a rule is for.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SendMatchRaw {
    /// Channel name.
    pub channel: Option<String>,
    /// Direct chats or groups.
    pub chat_type: Option<PeerKindRaw>,
    /// Start of the session key.
    pub key_prefix: Option<String>,
}
