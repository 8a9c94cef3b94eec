//! Who may write directly (behaviour.md 8.1).

use super::allowlist::{Listed, Person, listed};
use super::pairing::HISTORY_GRACE_MS;
use super::reason::IgnoreReason;
use crate::clock::UnixMs;
use crate::config::model::{AllowList, DmPolicy, PairingText, RulesConfig};
use crate::event::Identity;
use crate::ids::E164;

/// What a direct chat is judged by.
#[derive(Clone, Copy, Debug)]
pub struct DirectChat<'a> {
    /// The account's rules.
    pub rules: &'a RulesConfig,
    /// The account itself, when known.
    pub me: Option<&'a Identity>,
    /// People let in by pairing.
    pub approved: &'a AllowList,
    /// The other side of the chat.
    pub peer: &'a Person,
    /// Written by the account itself.
    pub from_me: bool,
    /// When it was written; 0 = unknown.
    pub timestamp: UnixMs,
    /// When this connection was made; before that, now.
    pub connected_at: UnixMs,
}

/// Why a direct message is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is the account's own chat.
    OwnNumber,
    /// The policy lets everybody in.
    Open,
    /// `allowFrom` names the sender, or everybody.
    Listed(Listed),
    /// The sender was approved by the owner.
    Approved(Listed),
}

/// The verdict on a direct message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectVerdict {
    /// Let in.
    Admit(Admitted),
    /// Kept out.
    Deny(IgnoreReason),
    /// Kept out; the sender may ask to be let in.
    AskPairing,
}

/// Judges a direct message.
pub fn judge(chat: DirectChat<'_>) -> DirectVerdict {
    let DirectChat { rules, peer, .. } = chat;
    let own_chat = chat.me.is_some_and(|me| peer.is(me));
    if chat.from_me && !own_chat {
        return DirectVerdict::Deny(IgnoreReason::OwnMessageToOther);
    }
    if rules.dm_policy == DmPolicy::Disabled {
        return DirectVerdict::Deny(IgnoreReason::DmDisabled);
    }
    if own_chat {
        return DirectVerdict::Admit(Admitted::OwnNumber);
    }
    if rules.dm_policy == DmPolicy::Open {
        return DirectVerdict::Admit(Admitted::Open);
    }
    if let Some(entry) = listed(&rules.allow_from, peer) {
        return DirectVerdict::Admit(Admitted::Listed(entry));
    }
    if let Some(entry) = listed(chat.approved, peer) {
        return DirectVerdict::Admit(Admitted::Approved(entry));
    }
    if rules.dm_policy == DmPolicy::Allowlist {
        return DirectVerdict::Deny(IgnoreReason::DmNotAllowlisted);
    }
    if peer.id().is_none() {
        return DirectVerdict::Deny(IgnoreReason::SenderUnknown);
    }
    if chat.timestamp > 0 && chat.timestamp < chat.connected_at.saturating_sub(HISTORY_GRACE_MS) {
        return DirectVerdict::Deny(IgnoreReason::PairingTooOld);
    }
    DirectVerdict::AskPairing
}

/// The account is somebody's personal number: `selfChatMode`, else when `allowFrom` names the own number.
pub fn is_self_chat_mode(rules: &RulesConfig, own: Option<&E164>) -> bool {
    rules.self_chat_mode.unwrap_or_else(|| own.is_some_and(|own| rules.allow_from.has_number(own)))
}

/// Strangers are told a pairing code. On a personal number they are friends who must not be bothered, unless the config insists.
pub fn answers_strangers(rules: &RulesConfig, own: Option<&E164>) -> bool {
    match rules.pairing.text {
        PairingText::Always => true,
        PairingText::Never => false,
        PairingText::Auto => !is_self_chat_mode(rules, own),
    }
}
