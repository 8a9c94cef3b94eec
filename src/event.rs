//! Verso's own words for what happened on a link: messages, link events, why a link ended.

mod media;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::ids::{AccountId, E164, Jid, MessageId};

pub use media::{MediaKey, MediaKind, MediaRef, MediaSource, RemoteFile, SavedMedia};

/// One decrypted message, as it is journalled and judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InboundMessage {
    /// The account that received it; replies leave through this one and no other.
    pub account: AccountId,
    /// WhatsApp's id of the message.
    pub id: MessageId,
    /// The chat: a person (number or LID, without device) or a group.
    pub chat: Jid,
    /// Who wrote it, with device. In a direct chat from the peer it is the peer.
    pub sender: Jid,
    /// The same person in the other address family, when the envelope named it.
    pub sender_alt: Option<Jid>,
    /// The sender's phone number, when any means of the protocol told it.
    pub sender_number: Option<E164>,
    /// In a direct chat: the peer's phone number, when known (differs from `sender_number` only for own messages).
    pub chat_number: Option<E164>,
    /// Written by this account itself, on the phone or another linked device.
    pub from_me: bool,
    /// The name that the sender gave itself.
    pub push_name: Option<String>,
    /// When it was sent, by WhatsApp's clock.
    pub timestamp: UnixMs,
    /// It waited in the offline queue until this device connected.
    pub offline: bool,
    /// What it says.
    pub content: Content,
}

impl InboundMessage {
    /// The journal key: one row per account, chat, sender and id.
    pub fn key(&self) -> MessageKey {
        MessageKey {
            account: self.account.clone(),
            chat: self.chat.clone(),
            sender: self.sender.without_device(),
            id: self.id.clone(),
        }
    }

    /// Its media and that of the message that it quotes, in this order.
    pub fn media(&self) -> (Option<MediaSource>, Option<MediaSource>) {
        let Content::Body(body) = &self.content else { return (None, None) };
        let own = body.media.clone().map(|media| MediaSource {
            media,
            chat: self.chat.clone(),
            sender: Some(self.sender.clone()),
            id: Some(self.id.clone()),
            from_me: self.from_me,
        });
        let quoted = body.quote.as_ref().and_then(|quote| {
            Some(MediaSource {
                media: quote.media.clone()?,
                chat: self.chat.clone(),
                sender: quote.sender.clone(),
                id: quote.id.clone(),
                from_me: false,
            })
        });
        (own, quoted)
    }

    /// Forgets where media lies and what opens it, for everybody who only wants to see the message.
    pub fn without_media_keys(mut self) -> Self {
        if let Content::Body(body) = &mut self.content {
            let quoted = body.quote.as_mut().and_then(|quote| quote.media.as_mut());
            for media in body.media.as_mut().into_iter().chain(quoted) {
                media.file = None;
            }
        }
        self
    }
}

/// Identifies one inbound message for ever (account, chat, sender, id).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MessageKey {
    /// The receiving account.
    pub account: AccountId,
    /// The chat.
    pub chat: Jid,
    /// The writer, without device.
    pub sender: Jid,
    /// The message id.
    pub id: MessageId,
}

/// What a message says.
#[allow(clippy::large_enum_variant, reason = "nearly every message is a body")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Content {
    /// Text, or media with or without a caption.
    Body(Body),
    /// An emoji on another message; an empty emoji takes it back.
    #[serde(rename_all = "camelCase")]
    Reaction {
        /// The message reacted to.
        target: MessageId,
        /// The author of that message, where the reaction names one.
        target_sender: Option<Jid>,
        /// The reaction is to a message of this account.
        target_from_me: bool,
        /// The emoji; empty = removed.
        emoji: String,
    },
    /// A kind that starts no conversation (edit, revoke, poll vote, protocol message); the text names the kind.
    Other {
        /// Name of the kind, for the decision's explanation.
        kind: String,
    },
}

impl Content {
    /// The same with another text; what is no body stays as it is.
    #[must_use]
    pub fn with_text(self, text: String) -> Self {
        match self {
            Self::Body(body) => Self::Body(Body { text: Some(text), ..body }),
            other => other,
        }
    }
}

/// A message that can be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    /// Text or caption, trimmed; `None` when there is none.
    pub text: Option<String>,
    /// The attached media.
    pub media: Option<MediaRef>,
    /// The quoted message.
    pub quote: Option<Quote>,
    /// People mentioned natively.
    pub mentions: Vec<Jid>,
    /// It shares a place; the text says which.
    #[serde(default)]
    pub location: bool,
}

impl Body {
    /// The text, else what stands for the media; empty when there is neither.
    pub fn text_or_placeholder(&self) -> String {
        match (&self.text, &self.media) {
            (Some(text), _) => text.clone(),
            (None, Some(media)) => media.kind.placeholder().to_owned(),
            (None, None) => String::new(),
        }
    }
}

/// A quoted message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quote {
    /// Its id.
    pub id: Option<MessageId>,
    /// Its author.
    pub sender: Option<Jid>,
    /// Verso itself sent it through this account; noted as the message comes in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_us: bool,
    /// Its text or placeholder.
    pub body: String,
    /// Its media, when the quote brings it along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaRef>,
}

/// Who a linked device belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The phone-number JID with this device's number.
    pub jid: Jid,
    /// The LID with this device's number.
    pub lid: Option<Jid>,
    /// The account's own name, when known.
    pub push_name: Option<String>,
}

impl Identity {
    /// The account's own phone number.
    pub fn number(&self) -> Option<E164> {
        self.jid.e164()
    }

    /// The identity in the values of a `creds.json`, Verso's own or one of a Baileys program; `None` when they name nobody.
    pub fn recorded(creds: &serde_json::Value) -> Option<Self> {
        if !Self::is_recorded(creds) {
            return None;
        }
        let me = creds.get("me")?;
        let text = |key: &str| me.get(key).and_then(serde_json::Value::as_str).filter(|s| !s.is_empty());
        Some(Self {
            jid: text("id")?.parse().ok()?,
            lid: text("lid").and_then(|l| l.parse().ok()),
            push_name: text("name").map(str::to_owned),
        })
    }

    /// True for values that Verso or a Baileys program wrote as its `creds.json`.
    pub fn is_recorded(creds: &serde_json::Value) -> bool {
        let ours = creds.get("format").and_then(serde_json::Value::as_str).is_some_and(|f| f.starts_with("verso/"));
        // Those of a Baileys program, the original among them, are a link too: it is taken over when it is opened.
        ours || (creds.get("noiseKey").is_some() && creds.get("signedIdentityKey").is_some())
    }

    /// True when `jid` is this account, on any device and in either address family.
    pub fn is_self(&self, jid: &Jid) -> bool {
        self.jid.same_user(jid) || self.lid.as_ref().is_some_and(|lid| lid.same_user(jid))
    }
}

/// What a live link reports besides messages.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkEvent {
    /// A QR code to show; it replaces the one before.
    Qr {
        /// The text to draw.
        code: String,
        /// How long WhatsApp accepts it.
        valid_for: Duration,
    },
    /// The eight characters to type on the phone.
    PairingCode {
        /// The code.
        code: String,
        /// How long WhatsApp accepts it.
        valid_for: Duration,
    },
    /// Linking did not work; the connection goes on.
    PairingFailed {
        /// Why, for a person.
        reason: PairingFailure,
    },
    /// The phone accepted this device; WhatsApp asks for a restart next.
    Paired(Identity),
    /// WhatsApp accepted the login and delivers what waited.
    CatchingUp {
        /// Messages announced as waiting, when WhatsApp said so.
        pending: Option<u32>,
    },
    /// Logged in and the backlog is delivered.
    Connected(Identity),
    /// The credentials are on disk, or could not be written.
    Saved {
        /// Why they could not; it is tried again.
        failed: Option<String>,
    },
    /// The account's own phone gave a sign of life.
    PhoneSeen {
        /// When, by WhatsApp's clock, if it waited there until this login; otherwise just now.
        waited_since: Option<UnixMs>,
        /// It was a receipt for something that this account sent.
        confirms: bool,
    },
    /// WhatsApp took a message (`error: None`) or refused it.
    ServerAck {
        /// The message.
        id: MessageId,
        /// WhatsApp's error code.
        error: Option<String>,
    },
    /// Somebody's device confirms messages.
    Receipt {
        /// The chat.
        chat: Jid,
        /// Who confirms.
        sender: Jid,
        /// Which messages.
        ids: Vec<MessageId>,
        /// What it confirms.
        kind: ReceiptKind,
    },
    /// A message could not be decrypted; its sender was asked to send it again.
    Undecryptable {
        /// The chat.
        chat: Jid,
        /// The message.
        id: MessageId,
    },
    /// A device could not open a message of ours and asks for it again. The library sends it again, unless the process or the
    /// connection ends before.
    AskedAgain {
        /// The message.
        id: MessageId,
    },
    /// A group's subject, members or settings changed.
    GroupChanged {
        /// The group.
        chat: Jid,
    },
}

/// What a receipt confirms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiptKind {
    /// A device of the recipient holds it.
    Delivered,
    /// It was read.
    Read,
    /// A voice note was played.
    Played,
    /// Any other kind.
    Other,
}

/// Why linking failed while the connection lives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairingFailure {
    /// The account demands a passkey, which only a browser or the phone can give.
    #[error(
        "WhatsApp asks for this account's passkey before it links a device, and a gateway has none. Ways that work: take over a link that exists already, without scanning, with `verso channels import --from DIR` (the auth folder of a Baileys program) or `verso migrate openclaw`; or remove the passkey in WhatsApp on the phone (Settings, Account, Passkeys), log in again, and create it anew afterwards"
    )]
    PasskeyRequired,
    /// The phone has no multi-device support.
    #[error("the phone that scanned the code does not support linked devices; update WhatsApp on it")]
    PhoneTooOld,
    /// WhatsApp or the phone refused the eight-character code.
    #[error("WhatsApp refused the pairing code: {0}; ask for a new one")]
    CodeRejected(String),
    /// The phone's answer did not verify.
    #[error("the phone's answer did not verify: {0}; try again with a fresh code")]
    Unverified(String),
}

/// Why a connection ended or could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// We closed it.
    Stopped,
    /// WhatsApp asks for an immediate restart (515), as after pairing.
    RestartRequired,
    /// The link was removed on the phone or by WhatsApp (401).
    LoggedOut {
        /// WhatsApp's own words, when it gave any.
        message: Option<String>,
    },
    /// Another session runs with the same credentials (440).
    Conflict,
    /// WhatsApp blocked the number (402, 403 with an end).
    Banned {
        /// When it ends, from now; `None` = not said.
        expires_in: Option<Duration>,
    },
    /// The reported version of WhatsApp Web is no longer accepted (405).
    Outdated,
    /// WhatsApp asks to slow down (429).
    RateLimited,
    /// WhatsApp is unavailable (500, 503).
    Unavailable {
        /// WhatsApp's code.
        code: u16,
    },
    /// WhatsApp refused the login with a code that no retry cures (400, 411, 501 ...).
    Rejected {
        /// WhatsApp's code.
        code: u16,
    },
    /// The connection broke (428).
    Lost {
        /// What was seen.
        detail: String,
    },
    /// The connection was open but nothing came back (499).
    Stalled,
    /// The connection could not be opened: DNS, TCP, TLS, handshake (408).
    OpenFailed {
        /// What was seen.
        detail: String,
    },
    /// Nobody scanned any of the QR codes.
    QrExpired,
    /// The account's files are sealed and there is no key for them.
    Locked {
        /// Which key is missing, and what to do.
        detail: String,
    },
    /// The account's own task panicked or its store failed (500).
    Internal {
        /// What was seen.
        detail: String,
    },
}

impl DownReason {
    /// A login whose line ends like this is tried once more.
    pub fn breaks_a_login_once(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Stalled | Self::OpenFailed { .. } | Self::RestartRequired)
    }

    /// The status code that clients of the original know (behaviour.md 5.2).
    pub fn status(&self) -> u16 {
        match self {
            Self::Stopped => 0,
            Self::RestartRequired => 515,
            Self::LoggedOut { .. } => 401,
            Self::Conflict => 440,
            Self::Banned { .. } => 403,
            Self::Outdated => 405,
            Self::RateLimited => 429,
            Self::Unavailable { code } | Self::Rejected { code } => *code,
            Self::Lost { .. } => 428,
            Self::Stalled => 499,
            Self::OpenFailed { .. } | Self::QrExpired => 408,
            Self::Locked { .. } | Self::Internal { .. } => 500,
        }
    }
}

impl std::fmt::Display for DownReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::RestartRequired => f.write_str("WhatsApp asked for a restart"),
            Self::LoggedOut { message: Some(m) } => write!(f, "logged out: {m}"),
            Self::LoggedOut { message: None } => f.write_str("logged out"),
            Self::Conflict => f.write_str("another session uses the same linked device"),
            Self::Banned { expires_in: Some(d) } => {
                write!(f, "banned by WhatsApp for {} more minutes", d.as_secs().div_ceil(60))
            }
            Self::Banned { expires_in: None } => f.write_str("banned by WhatsApp"),
            Self::Outdated => f.write_str("WhatsApp no longer accepts this version of WhatsApp Web"),
            Self::RateLimited => f.write_str("WhatsApp asks to slow down"),
            Self::Unavailable { code } => write!(f, "WhatsApp is unavailable (code {code})"),
            Self::Rejected { code } => write!(f, "WhatsApp refused the login (code {code})"),
            Self::Lost { detail } => write!(f, "connection lost: {detail}"),
            Self::Stalled => f.write_str("connection stalled: no answer from WhatsApp"),
            Self::OpenFailed { detail } => write!(f, "could not connect: {detail}"),
            Self::QrExpired => f.write_str("no QR code was scanned in time"),
            Self::Locked { detail } => f.write_str(detail),
            Self::Internal { detail } => write!(f, "internal error: {detail}"),
        }
    }
}
