//! Rows and their states.

use std::collections::BTreeMap;

use rusqlite::types::Type;
use rusqlite::{Connection, Error, Row};

use crate::clock::UnixMs;
use crate::event::{InboundMessage, MessageKey};
use crate::ids::{AccountId, Jid, MessageId};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// The word in the database.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            pub(super) fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

states! {
    /// Where an inbound message is.
    InboundState {
        /// Written down, not judged.
        New = "new",
        /// Judged: nothing happens.
        Dropped = "dropped",
        /// Judged: kept as context of a group.
        Held = "held",
        /// Judged: an agent answers it.
        Admitted = "admitted",
        /// Answered, if only by silence.
        Answered = "answered",
    }
}

states! {
    /// Where an outbound part is.
    OutboxState {
        /// Waits to be sent.
        Queued = "queued",
        /// Left this machine.
        Sent = "sent",
        /// WhatsApp has it.
        Acked = "acked",
        /// A device of the recipient has it.
        Delivered = "delivered",
        /// Given up, or refused by WhatsApp.
        Failed = "failed",
        /// Too old to be sent.
        Expired = "expired",
    }
}

impl OutboxState {
    /// Confirmations only improve; a delivered part is not sent again and does not fail.
    pub(super) fn may_become(self, next: Self) -> bool {
        match next {
            Self::Queued | Self::Sent | Self::Failed | Self::Expired => {
                !matches!(self, Self::Acked | Self::Delivered) || (self == Self::Acked && next == Self::Failed)
            }
            Self::Acked => self != Self::Delivered,
            Self::Delivered => true,
        }
    }
}

/// An inbound message and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct InboundRow {
    /// The message.
    pub message: InboundMessage,
    /// When it was written down.
    pub received_at: UnixMs,
    /// Where it is.
    pub state: InboundState,
    /// Why, as recorded by [`super::Journal::decide`].
    pub decision: Option<serde_json::Value>,
    /// When that was decided.
    pub decided_at: Option<UnixMs>,
}

/// One message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxPart {
    /// The account that sends it, and no other.
    pub account: AccountId,
    /// The id under which it is sent, each time.
    pub message_id: MessageId,
    /// The chat.
    pub chat: Jid,
    /// The message that it answers.
    pub inbound: Option<MessageKey>,
    /// Its place within the answer, from 0.
    pub seq: u32,
    /// What it says.
    pub text: String,
}

/// A part and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// The part.
    pub part: OutboxPart,
    /// Where it is.
    pub state: OutboxState,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub cause: Option<String>,
    /// When it was queued.
    pub created_at: UnixMs,
    /// When its state last changed.
    pub updated_at: UnixMs,
}

/// How many rows are in each state; states without rows are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Inbound messages.
    pub inbound: BTreeMap<InboundState, u64>,
    /// Outbound parts.
    pub outbox: BTreeMap<OutboxState, u64>,
}

pub(super) const OUTBOX_COLUMNS: &str = "account, message_id, chat, in_chat, in_sender, in_id, part, text, \
                                         state, attempts, cause, created_at, updated_at";

fn bad(column: usize, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, error.into())
}

pub(super) fn to_json(message: &InboundMessage) -> rusqlite::Result<String> {
    serde_json::to_string(message).map_err(|e| Error::ToSqlConversionFailure(Box::new(e)))
}

pub(super) fn inbound(row: &Row<'_>) -> rusqlite::Result<InboundRow> {
    let message: String = row.get(0)?;
    let state: String = row.get(2)?;
    let decision: Option<String> = row.get(3)?;
    Ok(InboundRow {
        message: serde_json::from_str(&message).map_err(|e| bad(0, e))?,
        received_at: row.get(1)?,
        state: InboundState::parse(&state).ok_or_else(|| bad(2, format!("unknown state {state:?}")))?,
        decision: decision.map(|text| serde_json::from_str(&text)).transpose().map_err(|e| bad(3, e))?,
        decided_at: row.get(4)?,
    })
}

pub(super) fn outbox(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    let jid = |column: usize| -> rusqlite::Result<Option<Jid>> {
        let text: Option<String> = row.get(column)?;
        text.map(|text| text.parse().map_err(|e| bad(column, e))).transpose()
    };
    let account = AccountId::new(&row.get::<_, String>(0)?);
    let answered: Option<String> = row.get(5)?;
    let inbound = match (jid(3)?, jid(4)?, answered) {
        (Some(chat), Some(sender), Some(id)) => {
            Some(MessageKey { account: account.clone(), chat, sender, id: MessageId::new(id) })
        }
        _ => None,
    };
    let state: String = row.get(8)?;
    Ok(OutboxRow {
        part: OutboxPart {
            account,
            message_id: MessageId::new(row.get::<_, String>(1)?),
            chat: jid(2)?.ok_or_else(|| bad(2, "no chat"))?,
            inbound,
            seq: row.get(6)?,
            text: row.get(7)?,
        },
        state: OutboxState::parse(&state).ok_or_else(|| bad(8, format!("unknown state {state:?}")))?,
        attempts: row.get(9)?,
        cause: row.get(10)?,
        created_at: row.get(11)?,
        updated_at: row.get(12)?,
    })
}

pub(super) fn counts(db: &Connection) -> rusqlite::Result<Counts> {
    let tally = |table: &str| -> rusqlite::Result<Vec<(String, u64)>> {
        db.prepare_cached(&format!("SELECT state, count(*) FROM {table} GROUP BY state"))?
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?
            .collect()
    };
    let inbound = tally("inbound")?;
    let outbox = tally("outbox")?;
    Ok(Counts {
        inbound: inbound.into_iter().filter_map(|(s, n)| Some((InboundState::parse(&s)?, n))).collect(),
        outbox: outbox.into_iter().filter_map(|(s, n)| Some((OutboxState::parse(&s)?, n))).collect(),
    })
}
