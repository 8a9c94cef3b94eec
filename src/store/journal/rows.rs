//! What the journal's rows mean.

use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::disclosure::{self, SessionOutcome};
use crate::event::{InboundMessage, MessageKey};
use crate::ids::{AccountId, Jid, MessageId, SessionKey};
use crate::outgoing::Outgoing;

/// What became of an inbound message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InboundState {
    /// Not judged yet.
    New,
    /// An agent has to answer it.
    Admitted,
    /// The agent's answer (or its silence) is settled.
    Answered,
    /// It is settled, and ended in an error. On disk it is answered like the others; the outcome in its decision tells.
    Failed,
    /// Kept as context for a later answer.
    Held,
    /// Nobody answers it; the decision says why.
    Dropped,
    /// It was open for a number that the account is not linked to any more. Nothing moves it from here.
    Expired,
}

impl InboundState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Admitted => "admitted",
            Self::Answered | Self::Failed => "answered",
            Self::Held => "held",
            Self::Dropped => "dropped",
            Self::Expired => "expired",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "new" => Self::New,
            "admitted" => Self::Admitted,
            "answered" => Self::Answered,
            "held" => Self::Held,
            "dropped" => Self::Dropped,
            "expired" => Self::Expired,
            _ => return None,
        })
    }
}

/// Where an outgoing part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutboxState {
    /// Waits for a connection or its turn.
    Queued,
    /// Handed to the connection, not confirmed.
    Sent,
    /// WhatsApp has it.
    Acked,
    /// A device of the recipient has it.
    Delivered,
    /// It cannot be sent; the cause says why.
    Failed,
    /// It waited for too long.
    Expired,
}

impl OutboxState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Acked => "acked",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "queued" => Self::Queued,
            "sent" => Self::Sent,
            "acked" => Self::Acked,
            "delivered" => Self::Delivered,
            "failed" => Self::Failed,
            "expired" => Self::Expired,
            _ => return None,
        })
    }
}

/// One message to send. Its id is fixed here, before the first attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxPart {
    /// The account that it leaves through, and no other.
    pub account: AccountId,
    /// WhatsApp's id of the message.
    pub id: MessageId,
    /// Where to.
    pub chat: Jid,
    /// What it says.
    pub content: Outgoing,
    /// The message that it answers.
    pub answers: Option<MessageKey>,
    /// Nothing was exchanged with this person before.
    pub first_contact: bool,
}

impl OutboxPart {
    /// A text under a fresh id.
    pub fn text(account: AccountId, chat: Jid, text: impl Into<String>, answers: Option<MessageKey>) -> Self {
        Self::new(account, chat, Outgoing::text(text), answers)
    }

    /// A message under a fresh id.
    pub fn new(account: AccountId, chat: Jid, content: Outgoing, answers: Option<MessageKey>) -> Self {
        let id = MessageId::random(&mut rand::rng());
        Self { account, id, chat, content, answers, first_contact: false }
    }
}

/// A stored part with what happened to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxRow {
    /// The account.
    pub account: AccountId,
    /// The message id.
    pub id: MessageId,
    /// Where to.
    pub chat: Jid,
    /// What it says.
    pub content: Outgoing,
    /// Where it is.
    pub state: OutboxState,
    /// Why it failed, or last failed.
    pub cause: Option<String>,
    /// How often it was handed to a connection, or tried to be.
    pub attempts: u32,
    /// When it was sent once more because no device of the recipient had confirmed it.
    pub resent_at: Option<UnixMs>,
    /// When it was written down.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// A stored inbound message with what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InboundRow {
    /// The message.
    pub message: InboundMessage,
    /// What became of it.
    pub state: InboundState,
    /// When it was written down.
    pub received_at: UnixMs,
    /// Verdict, reason, deciding key, agent, session; `null` before the decision.
    pub decision: serde_json::Value,
    /// When it was decided.
    pub decided_at: Option<UnixMs>,
    /// When its answer was settled.
    pub answered_at: Option<UnixMs>,
    /// What was sent for it.
    pub parts: Vec<OutboxRow>,
}

/// A message that an earlier process left.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    /// The message.
    pub row: InboundRow,
    /// Verso itself sent it.
    pub ours: bool,
    /// Processes that ended while they were at work on it.
    pub tries: u32,
}

impl Left {
    /// Its command was carried out already; this text remains for the agents.
    pub fn carried(&self) -> Option<&str> {
        self.row.decision.pointer("/verdict/carried").and_then(serde_json::Value::as_str)
    }

    /// The owner wrote it into somebody's chat and took that over.
    pub fn own_words(&self) -> Option<&InboundMessage> {
        let verdict = self.row.decision.get("verdict")?;
        let own = verdict.get("reason").and_then(serde_json::Value::as_str) == Some("own-message-to-other");
        (own && verdict.get("until").is_some()).then_some(&self.row.message)
    }

    /// Some agent had its turn already.
    pub fn begun(&self) -> bool {
        self.row.decision.pointer("/verdict/done").is_some()
    }

    /// The agent of this session had its turn already; others did not.
    pub fn done(&self, session: &SessionKey) -> bool {
        let done = self.row.decision.pointer("/verdict/done").and_then(serde_json::Value::as_array);
        done.is_some_and(|done| done.iter().any(|one| one.as_str() == Some(session.as_str())))
    }
}

pub(super) fn bad_column(name: &str, cause: impl std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, format!("{name}: {cause}").into())
}

/// The text of a value, if it is one.
pub(super) fn text_of(value: ValueRef<'_>) -> Option<&str> {
    match value {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// The text of a column, whatever it holds: what is none fails where it is parsed, and costs no other row.
pub(super) fn lossy(row: &Row<'_>, column: &str) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(n) => n.to_string(),
        ValueRef::Null => String::new(),
    })
}

/// A row of the inbound table as it lies there. Reading one never fails because of what it holds.
pub(super) struct RawInbound {
    pub seq: i64,
    pub account: String,
    pub chat: String,
    pub sender: String,
    pub id: String,
    pub message: String,
    pub state: String,
    pub received_at: UnixMs,
    pub decision: String,
    pub decided_at: Option<UnixMs>,
    pub answered_at: Option<UnixMs>,
    pub tries: u32,
}

impl RawInbound {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get("seq")?,
            account: lossy(row, "account")?,
            chat: lossy(row, "chat")?,
            sender: lossy(row, "sender")?,
            id: lossy(row, "id")?,
            message: lossy(row, "message")?,
            state: lossy(row, "state")?,
            received_at: row.get("received_at").unwrap_or_default(),
            decision: lossy(row, "decision")?,
            decided_at: row.get("decided_at").unwrap_or_default(),
            answered_at: row.get("answered_at").unwrap_or_default(),
            // A database that no gateway of this version has opened does not have it.
            tries: row.get("tries").unwrap_or_default(),
        })
    }

    /// The row's meaning, or why it has none.
    pub(super) fn parse(&self) -> Result<InboundRow, String> {
        let message: InboundMessage = serde_json::from_str(&self.message).map_err(|e| format!("message: {e}"))?;
        let key = message.key();
        let named = [key.account.as_str(), &key.chat.to_string(), &key.sender.to_string(), key.id.as_str()]
            == [&*self.account, &self.chat, &self.sender, &self.id];
        if !named {
            return Err("the message names another account, chat, sender or id than its row".to_owned());
        }
        let state = InboundState::parse(&self.state).ok_or_else(|| format!("unknown state \"{}\"", self.state))?;
        let decision = serde_json::from_str(&self.decision);
        let decision = match state {
            // These are gone on with as they were decided.
            InboundState::Admitted | InboundState::Held => decision.map_err(|e| format!("decision: {e}"))?,
            _ => decision.unwrap_or_default(),
        };
        let state = match state {
            InboundState::Answered if ended_in_error(&decision) => InboundState::Failed,
            state => state,
        };
        let (received_at, decided_at, answered_at) = (self.received_at, self.decided_at, self.answered_at);
        Ok(InboundRow { message, state, received_at, decision, decided_at, answered_at, parts: Vec::new() })
    }
}

/// Some run failed and none answered.
fn ended_in_error(decision: &serde_json::Value) -> bool {
    let outcomes: Vec<SessionOutcome> = serde_json::from_value(decision["outcomes"].clone()).unwrap_or_default();
    disclosure::foremost(&outcomes).is_some_and(|outcome| outcome.failure().is_some())
}

pub(super) fn outbox_row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    let (account, id, chat, state) =
        (lossy(row, "account")?, lossy(row, "id")?, lossy(row, "chat")?, lossy(row, "state")?);
    let content = lossy(row, "content")?;
    Ok(OutboxRow {
        account: AccountId::new(&account),
        id: MessageId::new(id),
        chat: chat.parse().map_err(|e| bad_column("chat", e))?,
        content: serde_json::from_str(&content).map_err(|e| bad_column("content", e))?,
        state: OutboxState::parse(&state).ok_or_else(|| bad_column("state", &state))?,
        cause: row.get("cause")?,
        attempts: row.get("attempts")?,
        resent_at: row.get("resent_at")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}
