//! What a simulated phone remembers.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use wacore_binary::Jid;
use waproto::whatsapp as wa;

use crate::keys::{Bundle, DeviceKeys};
use crate::party::Party;
use crate::state::Addr;

/// In which number space a message is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// `…@lid`, usual today.
    Lid,
    /// `…@s.whatsapp.net`.
    Pn,
}

impl Addressing {
    pub(crate) fn is_lid(self) -> bool {
        self == Self::Lid
    }
}

/// Who learns the phone number behind a LID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NumberShown {
    /// It is in every stanza (`sender_pn`, `participant_pn`).
    #[default]
    InStanzas,
    /// Only to those who ask (`usync`).
    OnQuestion,
    /// To nobody.
    Never,
}

/// A message as a phone shows it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Message identifier.
    pub id: String,
    /// Number of the sender, with `+`.
    pub from: String,
    /// Device of the sender, 0 for its phone.
    pub device: u16,
    /// The other side of the conversation: a number with `+`, or a group JID.
    pub chat: String,
    /// A copy of what a companion of the same account sent.
    pub own: bool,
    /// Text or caption; empty for everything else.
    pub text: String,
    /// Emoji and target, if it is a reaction; an empty emoji takes one back.
    pub reaction: Option<Reaction>,
    /// The whole content.
    pub message: wa::Message,
    /// Number space of the stanza.
    pub addressing: Addressing,
    /// The sender's address exactly as in the stanza.
    pub sender_jid: Jid,
    /// The stanza's chat address.
    pub chat_jid: Jid,
    /// When it arrived.
    pub at: SystemTime,
    pub(crate) taken: bool,
}

/// The content of a reaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// Identifier of the message reacted to.
    pub target: String,
    /// The emoji; empty takes the reaction back.
    pub emoji: String,
}

/// What a receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptKind {
    /// It arrived on a device.
    Delivered,
    /// It was seen.
    Read,
    /// A voice message was listened to.
    Played,
    /// The receiver could not decrypt it and asks for it again.
    Retry,
    /// Any other type.
    Other,
}

/// A receipt that reached a phone.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Message identifier.
    pub id: String,
    /// What it says.
    pub kind: ReceiptKind,
    /// Number of the reader, with `+`.
    pub from: String,
    /// Device of the reader, when it names one.
    pub device: u16,
    /// The `type` attribute, empty when absent.
    pub raw: String,
}

/// A message that a phone could not open.
#[derive(Debug, Clone)]
pub struct Undecryptable {
    /// Message identifier.
    pub id: String,
    /// Number of the sender, with `+`.
    pub from: String,
    /// Device of the sender.
    pub device: u16,
    /// `pkmsg`, `msg` or `skmsg`.
    pub kind: String,
    /// Why.
    pub reason: String,
    /// A later resend could be opened.
    pub recovered: bool,
}

impl Undecryptable {
    /// The sender used a key for it that an earlier message had: its ratchet was set back.
    pub fn is_reused_key(&self) -> bool {
        self.reason.contains("old counter")
    }
}

/// Somebody's sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// Number, with `+`.
    pub from: String,
    /// `composing`, `recording`, `paused`, `available`, `unavailable`.
    pub what: String,
    /// Where: a number or a group JID.
    pub chat: String,
    pub(crate) taken: bool,
}

/// A message that may have to be sent again.
#[derive(Clone)]
pub(crate) struct Sent {
    pub message: wa::Message,
    pub to: Target,
    pub addressing: Addressing,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Account(usize),
    Group(Jid),
}

/// A simulated phone.
pub(crate) struct PhoneState {
    pub party: Party,
    pub keys: DeviceKeys,
    pub auto_receipts: bool,
    pub auto_read: bool,
    /// What arrives cannot be opened, and it neither asks for it again nor sends again what others ask for.
    pub deaf: bool,
    pub number_shown: NumberShown,
    /// How long ago the server says that it got what this phone writes.
    pub message_age: Duration,
    pub inbox: Vec<Received>,
    pub receipts: Vec<Receipt>,
    pub undecryptable: Vec<Undecryptable>,
    pub signs: Vec<Sign>,
    pub sent: HashMap<String, Sent>,
    /// Who has our sender key, by group.
    pub has_sender_key: HashMap<String, HashSet<Addr>>,
    /// Retry receipts sent, by message.
    pub retries: HashMap<(String, Addr), u32>,
    /// The last notifications about groups, as text.
    pub group_news: Vec<wacore_binary::Node>,
    pub online: bool,
    /// Without power or network: what waits for it.
    pub switched_off: Option<Vec<wacore_binary::Node>>,
}

impl PhoneState {
    pub fn new() -> Self {
        let (party, keys) = Party::new().expect("making keys needs nothing but random numbers");
        Self {
            party,
            keys,
            auto_receipts: true,
            auto_read: false,
            deaf: false,
            number_shown: NumberShown::InStanzas,
            message_age: Duration::ZERO,
            inbox: Vec::new(),
            receipts: Vec::new(),
            undecryptable: Vec::new(),
            signs: Vec::new(),
            sent: HashMap::new(),
            has_sender_key: HashMap::new(),
            retries: HashMap::new(),
            group_news: Vec::new(),
            online: false,
            switched_off: None,
        }
    }

    /// The phone's keys for somebody who writes to it. It uploads more when few are left.
    pub fn take_bundle(&mut self) -> Bundle {
        if self.keys.one_time.len() < 3 {
            let more = self.party.more_keys();
            self.keys.one_time.extend(more);
        }
        self.keys.take_bundle()
    }

    /// A new installation: new identity, no sessions. What was received stays.
    pub fn reinstall(&mut self) {
        let (party, keys) = Party::new().expect("making keys needs nothing but random numbers");
        self.party = party;
        self.keys = keys;
        self.has_sender_key.clear();
        self.retries.clear();
    }
}
