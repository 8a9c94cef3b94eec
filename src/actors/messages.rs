//! What the doors (API, CLI in the gateway's process) may ask of the gateway, and what it answers.
//!
//! Every request resolves one account id first; an unknown one is an error that lists the known ones.

use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::actors::web_version::WebVersionStatus;
use crate::clock::UnixMs;
use crate::ids::{AccountId, E164, Jid, MessageId};

/// Why a request of a door was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such account.
    #[error("unknown account \"{account}\"; configured: {known}")]
    UnknownAccount {
        /// What was asked for.
        account: String,
        /// The configured ids, joined by commas.
        known: String,
    },
    /// The request itself is wrong and will never work.
    #[error("{0}")]
    Invalid(String),
    /// No live connection for this account (behaviour.md 13.2).
    #[error(
        "No active WhatsApp Web listener (account: {account}). Start the gateway, then link WhatsApp with: verso channels login --channel whatsapp --account {account}."
    )]
    NoListener {
        /// The account.
        account: AccountId,
    },
    /// It was tried or could not be tried now.
    #[error("{0}")]
    Unavailable(String),
}

/// State of the whole gateway.
#[derive(Message)]
#[rtype(result = "GatewayStatus")]
pub struct GetStatus;

/// Answer to [`GetStatus`].
#[derive(Clone, Debug, Serialize, actix::dev::MessageResponse)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// When the process started.
    pub started_at: UnixMs,
    /// Revision of the configuration in force; 1 after the start.
    pub revision: u64,
    /// The last reload's receipt as JSON ([`crate::actors`] documents the shape); `null` before the first reload.
    pub last_reload: serde_json::Value,
    /// Problems of the last edit that was refused; empty when the file in force is the file on disk.
    pub config_problems: Vec<String>,
    /// The account that is meant when a request names none.
    pub default_account: AccountId,
    /// The version of WhatsApp Web that accounts report.
    pub web_version: WebVersionStatus,
    /// That account is `default`, which is there for its link alone: others are listed and it is not.
    pub unlisted_default: bool,
    /// Links on disk that no account uses.
    pub unclaimed: Vec<crate::store::credentials::Unclaimed>,
    /// Every configured account, sorted by id.
    pub accounts: Vec<AccountStatus>,
    /// Conversions of files that ran into their time limit and hold a thread each until the process ends.
    pub stuck_conversions: usize,
    /// Rows of the journal that could not be read since the start.
    pub unreadable: crate::store::journal::Unreadable,
    /// Who shares a session with whom, by agent.
    pub sessions: Vec<crate::routing::main_session::Told>,
}

/// State of one account (field names of behaviour.md 16.1).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountStatus {
    /// The account.
    pub account_id: AccountId,
    /// Its label.
    pub name: Option<String>,
    /// Enabled by the configuration.
    pub enabled: bool,
    /// Credentials of a linked device exist.
    pub linked: bool,
    /// Its supervisor wants a connection.
    pub running: bool,
    /// Connected, backlog delivered.
    pub connected: bool,
    /// Machine code of the state (`connected`, `backoff`, `logged-out`, ...).
    pub state: String,
    /// The state as a sentence.
    pub state_text: String,
    /// What the owner can do next; empty when nothing is needed.
    pub next_step: Option<String>,
    /// Attempts since the last stable connection.
    pub reconnect_attempts: u32,
    /// Sockets opened since the process started.
    pub sockets_opened: u64,
    /// When it last reached Connected.
    pub last_connected_at: Option<UnixMs>,
    /// Why and when the last connection ended.
    pub last_disconnect: Option<LastDisconnect>,
    /// Text of the last error; `None` once connected again.
    pub last_error: Option<String>,
    /// Last message handled.
    pub last_message_at: Option<UnixMs>,
    /// Last state change.
    pub last_event_at: Option<UnixMs>,
    /// Last message received.
    pub last_inbound_at: Option<UnixMs>,
    /// Last message sent.
    pub last_outbound_at: Option<UnixMs>,
    /// When the supervisor last started and stopped.
    pub last_start_at: Option<UnixMs>,
    /// See `last_start_at`.
    pub last_stop_at: Option<UnixMs>,
    /// The direct-message policy in force.
    pub dm_policy: String,
    /// The allowlist in force.
    pub allow_from: Vec<String>,
    /// Own number and addresses when linked.
    pub self_number: Option<E164>,
    /// Own JID.
    pub self_jid: Option<Jid>,
    /// Own LID.
    pub self_lid: Option<Jid>,
    /// Age of the credentials in milliseconds.
    pub auth_age_ms: Option<i64>,
    /// Why its credentials could not be written to disk; `None` when they are there.
    pub unsaved: Option<String>,
    /// Whether the phone behind the link was seen lately.
    pub phone: crate::policy::phone_watch::PhoneSeen,
    /// What waits in its outbox, and what came to nothing since the start.
    pub outbox: crate::store::journal::OutboxCounts,
    /// Chats with a person in which no phone has confirmed what was sent, also not under the person's other address.
    pub unconfirmed: Vec<UnconfirmedChat>,
    /// Messages that Verso failed at or that nobody can read.
    pub set_aside: crate::store::journal::SetAside,
    /// How runs ended since the start, by agent, and the last failure of each.
    pub agents: std::collections::BTreeMap<crate::ids::AgentId, crate::disclosure::RunTally>,
    /// What was given up because the account was linked to another number; told for a day.
    pub gave_up: Option<crate::store::journal::GaveUp>,
    /// Messages let in, held and dropped by reason code since the start, and runs by their outcome.
    pub counters: std::collections::BTreeMap<String, u64>,
    /// Chats in which the agent keeps silent because the owner takes part.
    pub handover: crate::policy::handover::HandoverCount,
    /// Nothing leaves the account.
    pub listen_only: bool,
}

/// A chat in which messages stay unconfirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnconfirmedChat {
    /// The chat, its number masked.
    pub chat: String,
    /// Messages that were sent to both addresses, or twice, and that no phone has confirmed.
    pub messages: usize,
    /// Since when.
    pub since: UnixMs,
}

/// How the last connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastDisconnect {
    /// When.
    pub at: UnixMs,
    /// Status code (behaviour.md 5.2).
    pub status: u16,
    /// Sentence.
    pub error: String,
    /// The link is gone.
    pub logged_out: bool,
}

/// Begins linking; answered once the first code is there (or the account turns out to be linked already).
#[derive(Message)]
#[rtype(result = "Result<LoginStarted, Refusal>")]
pub struct LoginStart {
    /// The account; `None` = the default account.
    pub account: Option<String>,
    /// Drop existing credentials and link anew.
    pub force: bool,
    /// Link by the eight-character code for this number instead of a QR code.
    pub phone: Option<E164>,
    /// How long to wait for the first code.
    pub timeout: Duration,
}

/// Answer to [`LoginStart`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginStarted {
    /// Already linked and not forced.
    AlreadyLinked {
        /// The account.
        account: AccountId,
        /// Its number or JID.
        who: String,
    },
    /// A QR code to show; `fresh: false` when an earlier login is still under way.
    Qr {
        /// The account.
        account: AccountId,
        /// The text to draw.
        code: String,
        /// False = the code of a login that was already running.
        fresh: bool,
    },
    /// The eight characters to type on the phone.
    Code {
        /// The account.
        account: AccountId,
        /// The code.
        code: String,
    },
}

/// Waits for a login to end, or for a newer QR code than the one shown.
#[derive(Message)]
#[rtype(result = "Result<LoginProgress, Refusal>")]
pub struct LoginWait {
    /// The account; `None` = the default account.
    pub account: Option<String>,
    /// The QR text that the caller shows; a different one ends the wait.
    pub shown: Option<String>,
    /// How long to wait.
    pub timeout: Duration,
}

/// Answer to [`LoginWait`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginProgress {
    /// Linked and connected.
    Linked {
        /// The account.
        account: AccountId,
        /// Its number or JID.
        who: String,
        /// The number that was linked before, when it is another one.
        before: Option<String>,
    },
    /// A newer QR code replaces the one shown.
    NewQr {
        /// The text to draw.
        code: String,
    },
    /// Nothing happened within the time.
    StillWaiting,
    /// The codes expired unscanned.
    Expired,
    /// No login runs for this account.
    NotStarted,
    /// It failed.
    Failed {
        /// Why, for a person.
        error: String,
    },
}

/// Ends a login that nobody has answered yet; answers whether there was one.
#[derive(Message)]
#[rtype(result = "Result<bool, Refusal>")]
pub struct LoginCancel {
    /// The account; `None` = the default account.
    pub account: Option<String>,
}

/// Unlinks an account: stops it, tells WhatsApp, deletes its credentials.
#[derive(Message)]
#[rtype(result = "Result<LoggedOut, Refusal>")]
pub struct Logout {
    /// The account; `None` = the default account.
    pub account: Option<String>,
}

/// Answer to [`Logout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedOut {
    /// The account.
    pub account: AccountId,
    /// Credentials existed and are gone.
    pub cleared: bool,
    /// WhatsApp was told; otherwise the phone lists the device until it is removed there.
    pub unlinked: bool,
}

/// Starts (or restarts at once) an account that is stopped, degraded or in backoff.
#[derive(Message)]
#[rtype(result = "Result<AccountId, Refusal>")]
pub struct StartAccount {
    /// The account; `None` = the default account.
    pub account: Option<String>,
}

/// Stops an account until it is started again or the process restarts.
#[derive(Message)]
#[rtype(result = "Result<AccountId, Refusal>")]
pub struct StopAccount {
    /// The account; `None` = the default account.
    pub account: Option<String>,
}

/// Sends something to somebody.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Result<Sent, Refusal>")]
pub struct SendOut {
    /// The account; `None` = the default account.
    pub account: Option<String>,
    /// E.164, JID or LID.
    pub to: String,
    /// What.
    pub what: Wanted,
    /// The caller's key: the same key again repeats the first success instead of sending.
    pub idempotency_key: String,
}

/// What a door or a model wants to be sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Wanted {
    /// A text, files, or both.
    Message(Draft),
    /// An emoji on a message, or its removal.
    React {
        /// The message.
        target: Named,
        /// The emoji; empty takes the reaction back.
        emoji: String,
    },
    /// A poll, as typed.
    Poll {
        /// The question.
        question: String,
        /// The answers.
        options: Vec<String>,
        /// How many may be chosen; one when not said.
        selections: Option<i64>,
    },
    /// A new text for one of the account's messages.
    Edit {
        /// The message.
        id: MessageId,
        /// The new text.
        text: String,
    },
    /// Takes a message back for everyone.
    Delete {
        /// The message.
        target: Named,
    },
}

impl Wanted {
    /// Equal for the same thing to the same target: what an idempotency key stands for.
    pub fn digest(&self, to: &str) -> String {
        let text = serde_json::to_vec(&(to, self)).expect("plain data");
        Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// A message to be written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Draft {
    /// The text; may be empty when there are files.
    pub text: String,
    /// Paths and addresses of the files.
    pub media: Vec<String>,
    /// A video is played silently and repeated.
    pub gif_playback: bool,
    /// Images and videos are sent as files.
    pub as_document: bool,
    /// Images are sent as stickers.
    pub as_sticker: bool,
    /// The name that the first file gets.
    pub file_name: Option<String>,
    /// The message that it answers natively.
    pub reply_to: Option<MessageId>,
    /// Files come from workspaces and the media folder alone: who asks may send and no more.
    #[serde(skip)]
    pub confined: bool,
}

/// A message as somebody names it; what is not said is looked up in the journal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Named {
    /// Its id.
    pub id: MessageId,
    /// Its author, in groups.
    pub participant: Option<Jid>,
    /// This account wrote it.
    pub from_me: Option<bool>,
}

/// Answer to [`SendOut`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// The account that sent it.
    pub account: AccountId,
    /// WhatsApp's id of the (last) message.
    pub message_id: MessageId,
    /// Where it went.
    pub to_jid: Jid,
}

/// The pending pairing requests.
#[derive(Message)]
#[rtype(result = "Result<Vec<PairingRequest>, Refusal>")]
pub struct ListPairing {
    /// Only this account; `None` = all.
    pub account: Option<String>,
}

/// One pending pairing request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairingRequest {
    /// The account that was written to.
    pub account: AccountId,
    /// E.164, or `<digits>@lid` when the number is hidden.
    pub sender: String,
    /// The name that the sender gave itself.
    pub name: Option<String>,
    /// The code.
    pub code: String,
    /// When it was asked for first.
    pub created_at: UnixMs,
    /// When it was asked for last.
    pub last_seen_at: UnixMs,
    /// When it expires.
    pub expires_at: UnixMs,
}

/// Approves or denies a pending request.
#[derive(Message)]
#[rtype(result = "Result<PairingDecided, Refusal>")]
pub struct DecidePairing {
    /// Only this account; `None` = whichever holds the code.
    pub account: Option<String>,
    /// The eight characters, in any case.
    pub code: String,
    /// True lets the sender in.
    pub approve: bool,
    /// Tell the sender (only with `approve`).
    pub notify: bool,
}

/// Answer to [`DecidePairing`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PairingDecided {
    /// The account.
    pub account: AccountId,
    /// Who was let in or refused.
    pub sender: String,
    /// The sender was told.
    pub notified: bool,
}

/// Reads the configuration file now instead of waiting for the watcher; answers with the receipt as JSON.
#[derive(Message)]
#[rtype(result = "Result<serde_json::Value, Refusal>")]
pub struct Reload;

/// Looks up what became of a message: every journal row with this id, as JSON.
#[derive(Message)]
#[rtype(result = "Result<serde_json::Value, Refusal>")]
pub struct ExplainMessage {
    /// The message id.
    pub id: MessageId,
}

/// Subscribes to what happens; the receiver lags rather than slowing the gateway down.
#[derive(Message)]
#[rtype(result = "Events")]
pub struct Subscribe;

/// Answer to [`Subscribe`].
#[derive(actix::dev::MessageResponse)]
pub struct Events(pub tokio::sync::broadcast::Receiver<GatewayEvent>);

/// Something that happened, for clients that listen.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "event", content = "payload")]
pub enum GatewayEvent {
    /// An account changed its state.
    Account(Box<AccountStatus>),
    /// A reload was applied or refused: the receipt as JSON.
    Reload(serde_json::Value),
}

/// Everything a door may ask, as one cloneable handle that hides which actor answers.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct GatewayPort {
    pub status: Recipient<GetStatus>,
    pub login_start: Recipient<LoginStart>,
    pub login_wait: Recipient<LoginWait>,
    pub login_cancel: Recipient<LoginCancel>,
    pub logout: Recipient<Logout>,
    pub start: Recipient<StartAccount>,
    pub stop: Recipient<StopAccount>,
    pub send: Recipient<SendOut>,
    pub list_pairing: Recipient<ListPairing>,
    pub decide_pairing: Recipient<DecidePairing>,
    pub reload: Recipient<Reload>,
    pub explain: Recipient<ExplainMessage>,
    pub subscribe: Recipient<Subscribe>,
}

impl GatewayPort {
    /// The handle of an actor that answers all of them.
    pub fn of<A>(addr: &Addr<A>) -> Self
    where
        A: Actor
            + Handler<GetStatus>
            + Handler<LoginStart>
            + Handler<LoginWait>
            + Handler<LoginCancel>
            + Handler<Logout>
            + Handler<StartAccount>
            + Handler<StopAccount>
            + Handler<SendOut>
            + Handler<ListPairing>
            + Handler<DecidePairing>
            + Handler<Reload>
            + Handler<ExplainMessage>
            + Handler<Subscribe>,
        A::Context: ToEnvelope<A, GetStatus>
            + ToEnvelope<A, LoginStart>
            + ToEnvelope<A, LoginWait>
            + ToEnvelope<A, LoginCancel>
            + ToEnvelope<A, Logout>
            + ToEnvelope<A, StartAccount>
            + ToEnvelope<A, StopAccount>
            + ToEnvelope<A, SendOut>
            + ToEnvelope<A, ListPairing>
            + ToEnvelope<A, DecidePairing>
            + ToEnvelope<A, Reload>
            + ToEnvelope<A, ExplainMessage>
            + ToEnvelope<A, Subscribe>,
    {
        Self {
            status: addr.clone().recipient(),
            login_start: addr.clone().recipient(),
            login_wait: addr.clone().recipient(),
            login_cancel: addr.clone().recipient(),
            logout: addr.clone().recipient(),
            start: addr.clone().recipient(),
            stop: addr.clone().recipient(),
            send: addr.clone().recipient(),
            list_pairing: addr.clone().recipient(),
            decide_pairing: addr.clone().recipient(),
            reload: addr.clone().recipient(),
            explain: addr.clone().recipient(),
            subscribe: addr.clone().recipient(),
        }
    }
}
