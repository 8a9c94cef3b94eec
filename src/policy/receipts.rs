//! Read receipts and the ack reaction: when and with what (behaviour.md 6.7, 13.3).

use crate::command::Activation;
use crate::config::model::{AckGroup, AckReaction, PeerKind, RulesConfig};

/// What a receipt or reaction is decided by.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// Direct chat or group.
    pub kind: PeerKind,
    /// Written by the account itself.
    pub from_me: bool,
    /// The account's chat with itself.
    pub own_chat: bool,
}

/// An accepted message is marked as read; own messages and the own chat never are.
pub fn marks_read(rules: &RulesConfig, message: Accepted) -> bool {
    rules.send_read_receipts && !message.from_me && !message.own_chat
}

/// The reaction to put on an accepted message. `wakes` is what the mention rule said about a group message: mentioned, and the activation.
pub fn ack(ack: Option<&AckReaction>, kind: PeerKind, mentioned: bool, activation: Activation) -> Option<&str> {
    let ack = ack.filter(|a| !a.emoji.is_empty())?;
    let wanted = match (kind, ack.group) {
        (PeerKind::Direct, _) => ack.direct,
        (PeerKind::Group, AckGroup::Always) => true,
        (PeerKind::Group, AckGroup::Never) => false,
        (PeerKind::Group, AckGroup::Mentions) => mentioned || activation == Activation::Always,
    };
    wanted.then_some(ack.emoji.as_str())
}
