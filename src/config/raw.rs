//! The config as written: a serde mirror of `verso.json`. Everything is optional and nothing has a default here.
//!
//! The doc comment of a key is what `verso config schema` and an editor show for it. Old spellings are not known here: [`super::legacy`] moves
//! them to these keys first. A new key needs a line in `config/verso.example.json` (a test looks for it).

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// The channels.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChannelsRaw {
    /// What holds for every channel that does not say otherwise.
    pub defaults: Option<ChannelDefaultsRaw>,
    /// WhatsApp.
    pub whatsapp: Option<WhatsappRaw>,
}

/// What holds for every channel that does not say otherwise.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChannelDefaultsRaw {
    /// Used when neither the account nor the channel sets one.
    pub group_policy: Option<GroupPolicyRaw>,
    /// What of the agent's heartbeat is seen in chats.
    pub heartbeat: Option<VisibilityRaw>,
}

/// WhatsApp. Every key that an account also has is that account's value unless it sets its own; nothing is merged deeper.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WhatsappRaw {
    /// False switches every account off. Default true.
    pub enabled: Option<bool>,
    /// The account meant when none is named. Default: `default` if listed, else the first id in order.
    pub default_account: Option<String>,
    /// What the agent's tools may do. Everything is allowed by default.
    pub actions: Option<ActionsRaw>,
    /// The accounts by id. Without this there is one account, `default`, with the settings of the channel.
    pub accounts: Option<IndexMap<String, AccountRaw>>,
    /// The keys shared with accounts.
    #[serde(flatten)]
    pub rules: RulesRaw,
}

/// One account.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AccountRaw {
    /// Label for people.
    pub name: Option<String>,
    /// False keeps the account from being started. Default true.
    pub enabled: Option<bool>,
    /// Credentials folder; `~` is the home folder. Default `<state>/credentials/whatsapp/<id>`.
    pub auth_dir: Option<String>,
    /// The keys shared with the channel.
    #[serde(flatten)]
    pub rules: RulesRaw,
}

/// The keys that `channels.whatsapp` and each account share.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RulesRaw {
    /// Who may write directly. Default pairing.
    pub dm_policy: Option<DmPolicyRaw>,
    /// Allowed phone numbers (E.164), LIDs (`123@lid`) or `"*"`; also the list of owners.
    pub allow_from: Option<Vec<String>>,
    /// Whose group messages count. Default allowlist.
    pub group_policy: Option<GroupPolicyRaw>,
    /// Allowed group senders; without it `allowFrom` holds, an empty list lets nobody in.
    pub group_allow_from: Option<Vec<String>>,
    /// Group settings by JID or `"*"`. When not empty, only these groups are served.
    pub groups: Option<IndexMap<String, GroupRaw>>,
    /// Settings of direct chats by phone number or `"*"`.
    pub direct: Option<IndexMap<String, DirectRaw>>,
    /// Personal-number mode. Default: on when `allowFrom` holds the account's own number.
    pub self_chat_mode: Option<bool>,
    /// Blue ticks for accepted messages. Default true.
    pub send_read_receipts: Option<bool>,
    /// Show the account as online while connected. Default: unless it is a personal number (being online silences the phone).
    pub mark_online: Option<bool>,
    /// Name shown in the phone's list of linked devices; used at the next link. Default Verso.
    #[schemars(length(min = 1, max = 50))]
    pub device_name: Option<String>,
    /// Text put before inbound messages. Default: the agent's name when nobody is listed in `allowFrom`, else none.
    pub message_prefix: Option<String>,
    /// Text put before answers; `"auto"` is `[identity.name]`, empty is none.
    pub response_prefix: Option<String>,
    /// Longest text message in characters. Default 4000.
    #[schemars(extend("exclusiveMinimum" = 0), extend("maximum" = 65536))]
    pub text_chunk_limit: Option<u32>,
    /// How longer texts are cut. Default length.
    pub chunk_mode: Option<ChunkModeRaw>,
    /// Largest inbound media file in MB. Default 50.
    #[schemars(extend("exclusiveMinimum" = 0), extend("maximum" = 2048))]
    pub media_max_mb: Option<u32>,
    /// Group messages kept as context between answers; 0 keeps none. Default `messages.groupChat.historyLimit`, else 50.
    pub history_limit: Option<u32>,
    /// User turns of a direct chat sent to the model. Default: no limit.
    pub dm_history_limit: Option<u32>,
    /// Limits of single direct chats by phone number.
    pub dms: Option<IndexMap<String, DmRaw>>,
    /// Reaction put on a message as soon as it is accepted.
    pub ack_reaction: Option<AckReactionRaw>,
    /// Send answers in blocks while the model still writes. Default false.
    pub block_streaming: Option<bool>,
    /// How blocks are gathered.
    pub block_streaming_coalesce: Option<CoalesceRaw>,
    /// Milliseconds of quiet that join quick successive messages of one sender; 0 switches it off. Default `messages.inbound`, else 0.
    pub debounce_ms: Option<u32>,
    /// Chat commands may write this file (they also need `commands.config`). Default true.
    pub config_writes: Option<bool>,
    /// What becomes of Markdown.
    pub markdown: Option<MarkdownRaw>,
    /// Free-form capability names, handed to the agent.
    pub capabilities: Option<Vec<String>>,
    /// What of the agent's heartbeat is seen in chats.
    pub heartbeat: Option<VisibilityRaw>,
    /// How unknown people are answered under `dmPolicy` pairing.
    pub pairing: Option<PairingRaw>,
    /// Minutes: messages that came while offline are answered when they are at most this old; 0 answers none. Default 20.
    #[schemars(extend("maximum" = 10080))]
    pub catch_up_minutes: Option<u32>,
}

/// Who may write directly.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DmPolicyRaw {
    /// Unknown people get a code that the owner approves.
    Pairing,
    /// Only listed and approved people.
    Allowlist,
    /// Everybody; needs `"*"` in allowFrom of the same object.
    Open,
    /// Nobody.
    Disabled,
}

/// Whose group messages count.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroupPolicyRaw {
    /// Everybody in the group.
    Open,
    /// Nobody.
    Disabled,
    /// Only listed senders.
    Allowlist,
}

/// How longer texts are cut.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChunkModeRaw {
    /// At the limit, at the nicest place.
    Length,
    /// At every blank line, then at the limit.
    Newline,
}

/// One group.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupRaw {
    /// False answers every message of the group. Default true.
    pub require_mention: Option<bool>,
    /// Text added to the agent's system prompt in this group.
    pub system_prompt: Option<String>,
}

/// One direct chat.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DirectRaw {
    /// Text added to the agent's system prompt in this chat.
    pub system_prompt: Option<String>,
}

/// One direct chat's limits.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DmRaw {
    /// User turns sent to the model.
    pub history_limit: Option<u32>,
}

/// Reaction put on a message as soon as it is accepted. An account's object replaces the channel's whole.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AckReactionRaw {
    /// The reaction; without one nothing is sent.
    pub emoji: Option<String>,
    /// React in direct chats. Default true.
    pub direct: Option<bool>,
    /// React in groups. Default mentions.
    pub group: Option<AckGroupRaw>,
}

/// When group messages get the reaction.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AckGroupRaw {
    /// Every accepted message.
    Always,
    /// Messages that mention the agent.
    Mentions,
    /// None.
    Never,
}

/// What the agent's tools may do.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ActionsRaw {
    /// React to messages. Default true.
    pub reactions: Option<bool>,
    /// Send messages. Default true.
    pub send_message: Option<bool>,
    /// Send polls. Default true.
    pub polls: Option<bool>,
}

/// How blocks are gathered.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CoalesceRaw {
    /// Wait for at least so many characters.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub min_chars: Option<u32>,
    /// Send at the latest at so many characters.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub max_chars: Option<u32>,
    /// Send after so many milliseconds of silence of the model.
    pub idle_ms: Option<u32>,
}

/// What becomes of Markdown.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MarkdownRaw {
    /// Tables. Default bullets.
    pub tables: Option<TablesRaw>,
}

/// What becomes of tables.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TablesRaw {
    /// Left as they are.
    Off,
    /// A bullet list per row.
    Bullets,
    /// An aligned table in a code block.
    Code,
}

/// What of the agent's heartbeat is seen in chats.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VisibilityRaw {
    /// Send HEARTBEAT_OK when nothing needs attention. Default false.
    pub show_ok: Option<bool>,
    /// Send what needs attention. Default true.
    pub show_alerts: Option<bool>,
    /// Count it in the status. Default true.
    pub use_indicator: Option<bool>,
}

/// How unknown people are answered.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PairingRaw {
    /// Whether they get the text with the code. Default auto.
    pub text: Option<PairingTextRaw>,
    /// Tell the owner about a new request. Default true.
    pub notify_owner: Option<bool>,
}

/// Whether unknown people get the text with the code.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PairingTextRaw {
    /// Unless the account is a personal number.
    Auto,
    /// Always.
    Always,
    /// Never; the request is only recorded.
    Never,
}

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
    /// Runs at the same time over all chats. Default 4.
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
    /// Tell the chat in one short line when the agent failed. Default true.
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

/// Message handling.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MessagesRaw {
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
    /// Put into the running turn.
    Steer,
    /// One turn each.
    Followup,
    /// One turn for all.
    Collect,
    /// Put into the running turn, and again as a turn of their own.
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
    /// How direct chats are told apart. Default main.
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
    /// Hide secrets in what tools print. Default tools.
    pub redact_sensitive: Option<RedactRaw>,
    /// Regular expressions of further texts to hide.
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
    /// Hours after which a reply that could not be sent is given up and reported. Default 24.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub outbox_hours: Option<f64>,
}
