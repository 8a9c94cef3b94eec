//! Who answers, where, and with what.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::Secret;
use crate::ids::{AccountId, AgentId};

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
    /// Key of [`super::Config::providers`].
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
    /// Names of the models that take pictures.
    pub seeing: Vec<String>,
    /// Tokens that a model takes, by its name, where the config says so.
    pub windows: BTreeMap<String, u32>,
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
