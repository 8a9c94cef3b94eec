//! The config as meant: every value final, defaults applied, account merged over channel. Made by [`super::resolve`] only.
//!
//! Actors hold `Arc<Config>` or `Arc<AccountConfig>` and replace their copy whole. [`AccountConfig`] is split by consequence: a change in
//! [`LinkConfig`] costs the account's socket, a change in [`RulesConfig`] takes effect on the next message.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;

use crate::ids::{AccountId, AgentId, E164, Jid};

/// One whole configuration, immutable.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The WhatsApp connection of all accounts.
    pub web: WebConfig,
    /// Every listed account, also the disabled ones, by normalised id.
    pub accounts: BTreeMap<AccountId, Arc<AccountConfig>>,
    /// The account meant when none is named: `channels.whatsapp.defaultAccount`, else `default` if listed, else the first id in order.
    pub default_account: AccountId,
    /// The agents and what they share.
    pub agents: Agents,
    /// Which chat goes to which agent, in file order.
    pub bindings: Vec<Binding>,
    /// Chats that several agents answer.
    pub broadcast: Broadcast,
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
    /// Group settings by lower-case JID or `*`; when not empty also the list of groups served.
    pub groups: BTreeMap<String, GroupConfig>,
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
    /// User turns of a direct chat sent to the model; `None` is no limit.
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
}

impl RulesConfig {
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

/// All agents.
#[derive(Clone, Debug, PartialEq)]
pub struct Agents {
    /// In file order; never empty.
    pub list: Vec<Arc<AgentConfig>>,
    /// Answers what no binding claims; always one of `list`.
    pub default: AgentId,
    /// Runs at the same time over all sessions.
    pub max_concurrent: usize,
    /// Longest time of one run.
    pub timeout: Duration,
    /// Largest outbound media file.
    pub media_max_bytes: u64,
    /// How a message is introduced to the model.
    pub envelope: EnvelopeConfig,
    /// IANA name of the owner's zone; `None` is the host's.
    pub user_timezone: Option<String>,
    /// When "typing" is shown; `None` leaves the rule of behaviour.md 11.
    pub typing_mode: Option<TypingMode>,
    /// Interval at which "typing" is refreshed.
    pub typing_interval: Duration,
    /// Tell the chat in one short line when the agent failed.
    pub report_errors: bool,
}

impl Agents {
    /// One agent by id.
    pub fn get(&self, id: &AgentId) -> Option<&Arc<AgentConfig>> {
        self.list.iter().find(|a| &a.id == id)
    }

    /// The default agent.
    pub fn default_agent(&self) -> &Arc<AgentConfig> {
        self.get(&self.default).expect("resolve puts the default agent into the list")
    }
}

/// One agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentConfig {
    /// Normalised id.
    pub id: AgentId,
    /// Label for people.
    pub name: Option<String>,
    /// Folder with AGENTS.md, SOUL.md, IDENTITY.md and USER.md, absolute; `None` is the default place under the state folder.
    pub workspace: Option<PathBuf>,
    /// Who the agent says it is.
    pub identity: Identity,
    /// What answers.
    pub model: ModelRef,
    /// Regular expressions that count as a mention; `None` derives them from the identity, empty switches them off.
    /// `messages.groupChat.mentionPatterns` is already merged in.
    pub mention_patterns: Option<Vec<String>>,
    /// User turns sent to the model in groups of this agent; `None` is no limit of its own.
    pub group_history_limit: Option<usize>,
    /// Regular wake-up; `None` for agents that have none.
    pub heartbeat: Option<HeartbeatConfig>,
    /// Pause between the blocks of an answer.
    pub human_delay: HumanDelay,
}

/// Who an agent says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Name, used for prefixes and mentions.
    pub name: Option<String>,
    /// Emoji, counts as a mention.
    pub emoji: Option<String>,
}

/// `provider/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    /// Key of [`Config::providers`].
    pub provider: String,
    /// The provider's name of the model; empty for providers that have one only.
    pub name: String,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { f.write_str(&self.provider) } else { write!(f, "{}/{}", self.provider, self.name) }
    }
}

/// Regular wake-up of an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatConfig {
    /// Interval; never zero.
    pub every: Duration,
    /// What the agent is told.
    pub prompt: String,
    /// Another model than the agent's.
    pub model: Option<ModelRef>,
    /// Where the result goes.
    pub target: HeartbeatTarget,
    /// Explicit recipient.
    pub to: Option<String>,
    /// Account to send from.
    pub account: Option<AccountId>,
    /// Session to run in; `None` is the agent's main session.
    pub session: Option<String>,
    /// Longest remark beside `HEARTBEAT_OK` that is not sent.
    pub ack_max_chars: usize,
    /// Send the model's reasoning too.
    pub include_reasoning: bool,
    /// Hours of the day in which it runs.
    pub active_hours: Option<ActiveHours>,
}

/// Where a heartbeat's result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeartbeatTarget {
    /// Where the session was last active.
    Last,
    /// Nowhere.
    None,
    /// WhatsApp, to `to`.
    Whatsapp,
}

/// Start inclusive, end exclusive, may wrap midnight; minutes of the day, 1440 is 24:00.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveHours {
    /// Minute of the day.
    pub start: u16,
    /// Minute of the day.
    pub end: u16,
    /// `user`, `local` or an IANA name.
    pub timezone: String,
}

/// Pause between the blocks of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HumanDelay {
    /// None.
    Off,
    /// At random between the two.
    Between(Duration, Duration),
}

/// When "typing" is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypingMode {
    /// Never.
    Never,
    /// As soon as the message is accepted.
    Instant,
    /// When the model starts to think.
    Thinking,
    /// When the first text is there.
    Message,
}

/// How a message is introduced to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvelopeConfig {
    /// Zone of the timestamp.
    pub timezone: EnvelopeTimezone,
    /// Put the time.
    pub timestamp: bool,
    /// Put the time since the last message.
    pub elapsed: bool,
}

/// Zone of the envelope's timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvelopeTimezone {
    /// The host's zone.
    Local,
    /// UTC.
    Utc,
    /// `agents.defaults.userTimezone`.
    User,
    /// An IANA name.
    Named(String),
}

/// One entry of `bindings`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Position in the file's list.
    pub index: usize,
    /// Always one of [`Agents::list`].
    pub agent: AgentId,
    /// Channel name, lower case; Verso serves `whatsapp` only.
    pub channel: String,
    /// Which accounts it is for.
    pub account: BindingAccount,
    /// Which chat it is for; `None` is all.
    pub peer: Option<BindingPeer>,
}

/// Which accounts a binding is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindingAccount {
    /// No `accountId`: the account `default` only.
    Default,
    /// `"*"`.
    Any,
    /// One account.
    Id(AccountId),
}

/// Which chat a binding is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingPeer {
    /// Direct chat or group.
    pub kind: PeerKind,
    /// Normalised: E.164 or `<digits>@lid` for direct chats, lower-case group JID for groups.
    pub id: String,
}

/// Direct chat or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// `direct` or `dm`.
    Direct,
    /// `group`.
    Group,
}

/// `broadcast`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// One after the other, in list order, instead of all at once.
    pub sequential: bool,
    /// Agents by peer (E.164, LID or lower-case group JID).
    pub peers: BTreeMap<String, Vec<AgentId>>,
}

/// `messages`, as far as it is not merged into the accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagesConfig {
    /// What happens to messages while a run is active.
    pub queue: QueueConfig,
}

/// What happens to messages while a run is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// How they are handled.
    pub mode: QueueMode,
    /// Quiet time before queued messages are taken.
    pub debounce: Duration,
    /// Most that wait; at least 1.
    pub cap: usize,
    /// What goes when `cap` is reached.
    pub drop: QueueDrop,
}

/// `messages.queue.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueMode {
    /// Put into the running turn.
    Steer,
    /// One turn each.
    Followup,
    /// One turn for all.
    Collect,
    /// Steer, and again as a follow-up.
    SteerBacklog,
    /// End the running turn.
    Interrupt,
}

/// `messages.queue.drop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueDrop {
    /// The oldest goes.
    Old,
    /// The new one goes.
    New,
    /// The oldest goes and is summarised.
    Summarize,
}

/// `session`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// One conversation a sender, or one for all.
    pub scope: SessionScope,
    /// How direct chats are told apart.
    pub dm_scope: DmScope,
    /// Lower-case name of the main session.
    pub main_key: String,
    /// People known under several ids: canonical name to ids.
    pub identity_links: BTreeMap<String, Vec<String>>,
    /// Words that start a conversation afresh.
    pub reset_triggers: Vec<String>,
    /// Direct chats.
    pub reset_direct: ResetPolicy,
    /// Groups.
    pub reset_group: ResetPolicy,
    /// Threads.
    pub reset_thread: ResetPolicy,
    /// Path of the session store with `{agentId}`; `None` is the default place.
    pub store: Option<String>,
    /// Which sessions may send.
    pub send_policy: SendPolicy,
}

/// `session.scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionScope {
    /// One a sender.
    PerSender,
    /// One for all.
    Global,
}

/// `session.dmScope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmScope {
    /// All direct chats share the main session.
    Main,
    /// By person.
    PerPeer,
    /// By channel and person.
    PerChannelPeer,
    /// By account, channel and person.
    PerAccountChannelPeer,
}

/// When a conversation starts afresh (behaviour.md 9.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetPolicy {
    /// Which rule leads.
    pub mode: ResetMode,
    /// Hour of the daily reset, 0 to 23, host time.
    pub at_hour: u8,
    /// Silence after which it is stale; always set in idle mode.
    pub idle: Option<Duration>,
}

/// `reset.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetMode {
    /// Every day at `at_hour`, and after `idle` when set.
    Daily,
    /// After `idle` only.
    Idle,
}

/// `session.sendPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendPolicy {
    /// What holds when no rule matches.
    pub default_allow: bool,
    /// In file order; any matching deny wins.
    pub rules: Vec<SendRule>,
}

/// One rule of `session.sendPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendRule {
    /// Allow or deny.
    pub allow: bool,
    /// Lower-case channel name.
    pub channel: Option<String>,
    /// Direct chats or groups only.
    pub chat_type: Option<PeerKind>,
    /// Lower-case start of the session key.
    pub key_prefix: Option<String>,
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

/// One entry of `models.providers`, or a built-in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Key of `models.providers`.
    pub name: String,
    /// How it is spoken to.
    pub api: ProviderApi,
    /// Base URL of HTTP providers, without a slash at the end; empty for `command` and `echo`.
    pub base_url: String,
    /// Key sent to the provider.
    pub api_key: Option<Secret>,
    /// Further HTTP headers.
    pub headers: IndexMap<String, Secret>,
    /// Longest time of one call.
    pub timeout: Duration,
    /// Program and arguments of `command`.
    pub command: Vec<String>,
    /// Most tokens of one answer.
    pub max_tokens: Option<u32>,
}

/// How a provider is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderApi {
    /// POST `<base>/chat/completions`.
    OpenaiCompletions,
    /// POST `<base>/v1/messages`.
    AnthropicMessages,
    /// A program: one JSON job on stdin, JSON or text on stdout.
    Command,
    /// POST of the job to `base_url`, signed with `api_key`.
    Webhook,
    /// Answers with what was said.
    Echo,
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
    /// Hide secrets of tools.
    pub redact_tools: bool,
    /// Regular expressions of further texts to hide.
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
    /// A reply that could not be sent is given up and reported after this.
    pub outbox: Duration,
}
