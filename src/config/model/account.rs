//! One account: its link and its rules.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::EncryptionConfig;
use crate::ids::{AccountId, E164, Jid};

/// One WhatsApp account.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountConfig {
    /// Normalised key of `channels.whatsapp.accounts`.
    pub id: AccountId,
    /// A change here starts, stops or relinks the account.
    pub link: LinkConfig,
    /// A change here holds from the next message on.
    pub rules: RulesConfig,
}

/// What an account's socket is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// The account, the channel and `web.enabled` are all on.
    pub enabled: bool,
    /// Configured credentials folder, `~` expanded and absolute; `None` is the default place of section 1.
    pub auth_dir: Option<PathBuf>,
    /// Name shown in the phone's list of linked devices.
    pub device_name: String,
    /// How its files are sealed; the same for all accounts.
    pub encryption: Option<Arc<EncryptionConfig>>,
}

/// What an account does with messages.
#[derive(Clone, Debug, PartialEq)]
pub struct RulesConfig {
    /// Label for people.
    pub name: Option<String>,
    /// Who may write directly.
    pub dm_policy: DmPolicy,
    /// Who is allowed and who is owner; an unset key is the empty list.
    pub allow_from: AllowList,
    /// Which groups' members may wake the agent.
    pub group_policy: GroupPolicy,
    /// Allowed group senders; `None` falls back to `allow_from`, an explicit empty list lets nobody in.
    pub group_allow_from: Option<AllowList>,
    /// Policies that are written as `open` and served as `allowlist`.
    pub narrowed: Narrowed,
    /// Group settings by lower-case JID or `*`.
    pub groups: BTreeMap<String, GroupConfig>,
    /// `groups` is written, so that it is also the list of groups served; `{}` serves none. Absent, every group is served.
    pub lists_groups: bool,
    /// Settings of direct chats by E.164 or `*`.
    pub direct: BTreeMap<String, DirectConfig>,
    /// Personal-number mode; `None` means: when `allow_from` holds the own number.
    pub self_chat_mode: Option<bool>,
    /// Blue ticks for accepted messages.
    pub send_read_receipts: bool,
    /// Show the account as online while connected; `None` means: unless it is a personal number.
    pub mark_online: Option<bool>,
    /// Prefix put before inbound text (account, channel, then `messages`); `None` leaves the rule of behaviour.md 7.2.
    pub message_prefix: Option<String>,
    /// Prefix of answers (account, channel, then `messages`).
    pub response_prefix: ResponsePrefix,
    /// Longest text message in UTF-16 units.
    pub text_chunk_limit: usize,
    /// How longer texts are cut.
    pub chunk_mode: ChunkMode,
    /// Largest inbound media file that is saved.
    pub media_max_bytes: u64,
    /// Group messages kept as context between answers; 0 keeps none.
    pub history_limit: usize,
    /// User turns of a direct chat sent to the model; `None` and 0 are no limit.
    pub dm_history_limit: Option<usize>,
    /// Limits of single direct chats, over `dm_history_limit`.
    pub dms: BTreeMap<E164, usize>,
    /// Reaction put on a message as soon as it is accepted.
    pub ack_reaction: Option<AckReaction>,
    /// What the agent's tools may do.
    pub actions: ActionsConfig,
    /// Answers are sent in blocks while the model still writes.
    pub block_streaming: bool,
    /// How blocks are gathered.
    pub block_coalesce: BlockCoalesce,
    /// Quiet time that joins quick successive messages of one sender; zero switches it off.
    pub debounce: Duration,
    /// Chat commands may write the config file.
    pub config_writes: bool,
    /// What becomes of Markdown tables.
    pub markdown_tables: MarkdownTables,
    /// What of the agent's heartbeat is seen in the chat.
    pub heartbeat: HeartbeatVisibility,
    /// How requests of unknown people are answered.
    pub pairing: PairingConfig,
    /// Messages that came while offline are answered when they are at most this old.
    pub catch_up: Duration,
    /// Free-form capability names, handed to the agent.
    pub capabilities: Vec<String>,
    /// How fast messages leave that answer nobody.
    pub pacing: PacingConfig,
    /// How long agents keep silent in a direct chat after the owner wrote there; zero switches it off.
    pub handover: Duration,
    /// Nothing leaves the account.
    pub listen_only: bool,
}

/// `pacing`: how fast messages leave that answer nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacingConfig {
    /// Between messages to different chats.
    pub gap: Duration,
    /// Between messages to people with whom nothing was exchanged before.
    pub first_contact_gap: Duration,
    /// Most messages in a minute; `None` is no limit.
    pub per_minute: Option<usize>,
}

/// Policies that are inherited as `open` and served as `allowlist`, because a list of the account names only certain people (24.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Narrowed {
    /// `dmPolicy`.
    pub dm: bool,
    /// `groupPolicy`.
    pub group: bool,
}

impl RulesConfig {
    /// The policy for direct chats, and how it came about where the file says something else.
    pub fn dm_policy_text(&self) -> &'static str {
        if self.narrowed.dm {
            "open, served as allowlist because allowFrom does not name \"*\""
        } else {
            self.dm_policy.word()
        }
    }

    /// As [`Self::dm_policy_text`], for groups.
    pub fn group_policy_text(&self) -> &'static str {
        if self.narrowed.group {
            "open, served as allowlist because groupAllowFrom does not name \"*\""
        } else {
            self.group_policy.word()
        }
    }

    /// The list that group senders are held against: `groupAllowFrom`, else `allowFrom`.
    pub fn group_senders(&self) -> &AllowList {
        self.group_allow_from.as_ref().unwrap_or(&self.allow_from)
    }

    /// `groups[jid]` and `groups["*"]`, the more special one first.
    pub fn group(&self, jid: &Jid) -> (Option<&GroupConfig>, Option<&GroupConfig>) {
        (self.groups.get(&jid.to_string().to_lowercase()), self.groups.get("*"))
    }

    /// The turn limit of one direct chat.
    pub fn dm_history_limit_of(&self, peer: &E164) -> Option<usize> {
        self.dms.get(peer).copied().or(self.dm_history_limit)
    }
}

/// Who may write directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DmPolicy {
    /// Unknown people get a code that the owner approves.
    Pairing,
    /// Only listed and approved people.
    Allowlist,
    /// Everybody; needs `"*"` in `allowFrom`.
    Open,
    /// Nobody.
    Disabled,
}

impl DmPolicy {
    /// As the file has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pairing => "pairing",
            Self::Allowlist => "allowlist",
            Self::Open => "open",
            Self::Disabled => "disabled",
        }
    }
}

/// Whose group messages count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum GroupPolicy {
    /// Everybody in the group.
    Open,
    /// Only listed senders.
    Allowlist,
    /// Nobody.
    Disabled,
}

impl GroupPolicy {
    /// As the file has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Allowlist => "allowlist",
            Self::Disabled => "disabled",
        }
    }
}

/// A parsed `allowFrom`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    /// `"*"` is listed.
    pub any: bool,
    /// The listed phone numbers, in file order, each once.
    pub numbers: Vec<E164>,
    /// The listed LIDs (`<digits>@lid`), in file order, each once.
    pub lids: Vec<Jid>,
}

impl AllowList {
    /// True when nothing is listed.
    pub fn is_empty(&self) -> bool {
        !self.any && self.numbers.is_empty() && self.lids.is_empty()
    }

    /// The entries in their one spelling, `"*"` first.
    pub fn entries(&self) -> Vec<String> {
        let any = self.any.then(|| "*".to_owned());
        any.into_iter()
            .chain(self.numbers.iter().map(ToString::to_string))
            .chain(self.lids.iter().map(ToString::to_string))
            .collect()
    }

    /// True when this number itself is listed; `"*"` does not count.
    pub fn has_number(&self, number: &E164) -> bool {
        self.numbers.contains(number)
    }

    /// True when this LID itself is listed, whatever its device; `"*"` does not count.
    pub fn has_lid(&self, lid: &Jid) -> bool {
        self.lids.iter().any(|l| l.same_user(lid))
    }
}

/// `groups.<jid>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupConfig {
    /// False wakes the agent at every message; `None` asks `groups["*"]`, then true.
    pub require_mention: Option<bool>,
    /// Text added to the agent's system prompt in this group.
    pub system_prompt: Option<String>,
}

/// `direct.<peer>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectConfig {
    /// Text added to the agent's system prompt in this chat.
    pub system_prompt: Option<String>,
}

/// What is put before answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponsePrefix {
    /// Nothing configured: a prefix only in the self chat.
    Unset,
    /// `"auto"`: `[identity.name]`.
    Auto,
    /// This template; empty switches every prefix off.
    Text(String),
}

/// How long texts are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkMode {
    /// At the limit, at the nicest place.
    Length,
    /// At every blank line, then at the limit.
    Newline,
}

/// `ackReaction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckReaction {
    /// What to react with; never empty.
    pub emoji: String,
    /// React in direct chats.
    pub direct: bool,
    /// React in groups.
    pub group: AckGroup,
}

/// When group messages get the ack reaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckGroup {
    /// Every accepted message.
    Always,
    /// Messages that mention the agent, or all when the group's activation is `always`.
    Mentions,
    /// None.
    Never,
}

/// `actions`: what tools may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionsConfig {
    /// React to messages.
    pub reactions: bool,
    /// Send messages.
    pub send_message: bool,
    /// Send polls.
    pub polls: bool,
}

/// How streamed blocks are gathered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockCoalesce {
    /// Wait for at least so many characters.
    pub min_chars: Option<usize>,
    /// Send at the latest at so many characters.
    pub max_chars: Option<usize>,
    /// Send after so much silence of the model.
    pub idle: Option<Duration>,
}

/// What becomes of Markdown tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkdownTables {
    /// Left as they are.
    Off,
    /// A bullet list per row.
    Bullets,
    /// An aligned table in a code block.
    Code,
}

/// What of the agent's heartbeat is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatVisibility {
    /// Send `HEARTBEAT_OK` when nothing needs attention.
    pub show_ok: bool,
    /// Send what needs attention.
    pub show_alerts: bool,
    /// Count it as activity in the status.
    pub use_indicator: bool,
}

/// How unknown people are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingConfig {
    /// Whether they get the text with the code.
    pub text: PairingText,
    /// Tell the owner about a new request.
    pub notify_owner: bool,
}

/// Whether unknown people get the pairing text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairingText {
    /// Unless the account is a personal number.
    Auto,
    /// Always.
    Always,
    /// Never; requests are recorded only.
    Never,
}
