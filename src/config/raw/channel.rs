//! `channels`: WhatsApp, its accounts and the keys they share.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// User turns of a direct chat sent to the model. Default: 0, no limit.
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
    /// How fast messages leave that answer nobody, against bans. Answers never wait.
    pub pacing: Option<PacingRaw>,
    /// The owner takes part in a direct chat from the phone.
    pub handover: Option<HandoverRaw>,
    /// The account only listens: messages are journalled and shown, and nothing leaves, neither answers nor receipts, reactions, typing
    /// or pairing texts. Default false.
    pub listen_only: Option<bool>,
}

/// The owner takes part in a direct chat from the phone.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HandoverRaw {
    /// Minutes for which the agent keeps silent in a direct chat after the owner wrote there from the phone; 0 is off. Default 10.
    #[schemars(extend("maximum" = 10080))]
    pub minutes: Option<u32>,
}

/// How fast messages leave that answer nobody.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PacingRaw {
    /// Milliseconds between messages to different chats; 0 is none. Default 1000.
    #[schemars(extend("maximum" = 600000))]
    pub gap_ms: Option<u32>,
    /// Most messages in a minute; 0 is no limit. Default 30.
    pub per_minute: Option<u32>,
    /// Seconds between messages to people with whom nothing was exchanged before; 0 is none. Default 15.
    #[schemars(extend("maximum" = 86400))]
    pub first_contact_seconds: Option<u32>,
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
