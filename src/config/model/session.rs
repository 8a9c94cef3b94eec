//! Conversations, and messages that wait.

use std::collections::BTreeMap;
use std::time::Duration;

use super::PeerKind;

/// `messages`, as far as it is not merged into the accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagesConfig {
    /// Answer to people whose message could not be answered; empty = none.
    pub error_text: String,
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
    /// As `Followup`: a turn that runs takes nothing in.
    Steer,
    /// One turn each.
    Followup,
    /// One turn for all.
    Collect,
    /// As `Followup`.
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
    /// One person's direct chats share the main session, everybody else's have their own ([`crate::routing::main_session`]).
    Auto,
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
