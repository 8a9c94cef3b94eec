//! The words of a decision: verdict, effects, gates. They are journalled as JSON, so their names are a format.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::reason::IgnoreReason;
use crate::clock::UnixMs;
use crate::command::Activation;
use crate::config::model::PeerKind;
use crate::config::{Places, SetIn};
use crate::ids::{AccountId, AgentId, SessionKey};
use crate::routing::bindings::MatchedBy;

/// What becomes of a message, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What becomes of it.
    pub verdict: Verdict,
    /// What is to be done besides, in order.
    pub effects: Vec<Effect>,
    /// The gates it passed, in order; the last one decided.
    pub trace: Vec<Gate>,
    /// Revision of the config that decided.
    pub revision: u64,
}

impl Decision {
    /// Names the deciding keys as the files of the config in force have them, with file and line: later edits move them.
    pub fn cite(&mut self, places: &Places, account: &AccountId) {
        for gate in &mut self.trace {
            if let Some((path, set_in)) = gate.key.as_deref().and_then(|key| places.cite(account, key)) {
                gate.key = Some(path.into());
                gate.set_in = Some(set_in);
            }
        }
    }
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Agents answer it.
    Dispatch(Dispatch),
    /// Nobody answers, but it is kept as context for the chat's next answer.
    Hold(Hold),
    /// Nothing more happens with it.
    Drop {
        /// Why.
        reason: IgnoreReason,
    },
}

/// A message for agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dispatch {
    /// Who answers in which conversation; more than one only for `broadcast` chats.
    pub runs: Vec<Run>,
    /// The runs come one after the other.
    pub sequential: bool,
    /// Direct chat or group.
    pub chat: ChatKind,
    /// Normalised id of the chat: E.164, `<digits>@lid` or group JID.
    pub peer: String,
    /// Normalised id of the sender, when known.
    pub sender: Option<String>,
    /// Why this agent.
    pub matched_by: MatchedBy,
    /// The message speaks to the agent (always in direct chats).
    pub mentioned: bool,
    /// The group's activation; `None` in direct chats.
    pub activation: Option<Activation>,
    /// The account's chat with itself.
    pub own_chat: bool,
    /// The sender is an owner.
    pub owner: bool,
    /// The sender may use commands.
    pub commands: bool,
    /// The text is a command, which Verso itself carries out instead of giving it to the agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandCall>,
}

/// A command that its sender may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandCall {
    /// The text without mentions, for [`crate::command::parse`].
    pub text: String,
    /// The conversation that it is about, as routed: broadcasts aside.
    pub session: SessionKey,
}

impl Dispatch {
    /// The only run, or the first of a broadcast.
    pub fn first(&self) -> &Run {
        self.runs.first().expect("decide makes at least one run")
    }
}

/// One agent in one conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Who answers.
    pub agent: AgentId,
    /// The conversation.
    pub session: SessionKey,
    /// The person whose main session it is; `None` for every other session, and for a main session that several people share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
}

/// A message that is kept as context: of a group, or of a direct chat that its owner took over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Why nobody answers it.
    pub reason: IgnoreReason,
    /// Under which key it is kept.
    pub history_key: String,
    /// Most messages kept there; 0 keeps none.
    pub limit: usize,
    /// Until when the agent keeps silent in this chat because its owner wrote there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMs>,
}

/// Direct chat or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChatKind {
    /// With one person.
    Direct,
    /// With a group.
    Group,
}

impl From<ChatKind> for PeerKind {
    fn from(kind: ChatKind) -> Self {
        match kind {
            ChatKind::Direct => Self::Direct,
            ChatKind::Group => Self::Group,
        }
    }
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Effect {
    /// Enter a pairing request.
    RequestPairing {
        /// Who asks, as the pairing book names people.
        sender: String,
        /// The name that the sender gave itself.
        name: Option<String>,
        /// If the request is new, send the pairing text to the chat.
        reply: bool,
        /// If the request is new, tell the owner.
        notify_owner: bool,
    },
    /// Mark the message as read.
    MarkRead,
    /// React to the message, at once and without waiting for the result.
    AckReact {
        /// With what.
        emoji: String,
    },
}

/// One rule's word on the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Name of the gate.
    pub gate: Cow<'static, str>,
    /// What it said.
    pub outcome: Cow<'static, str>,
    /// The config key that decided, by its path at channel level until [`Decision::cite`]; `None` = a fixed rule.
    pub key: Option<Cow<'static, str>>,
    /// The value of that key.
    pub value: Option<String>,
    /// Where that key is set; `None` before [`Decision::cite`] and where no config key decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_in: Option<SetIn>,
}
