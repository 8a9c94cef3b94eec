//! Why a message is not answered: a code for machines, a sentence for people.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $sentence:literal;)*) => {
        /// Why a message is not answered. The serialised form is [`IgnoreReason::code`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum IgnoreReason {
            $($(#[$doc])* #[serde(rename = $code)] $name,)*
        }

        impl IgnoreReason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The machine code, as in counters and JSON.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// One sentence for people.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

reasons! {
    /// A status update or a broadcast list.
    StatusOrBroadcast = "status-or-broadcast", "status updates and broadcast lists are never answered";
    /// A newsletter (channel).
    Newsletter = "newsletter", "newsletters are never answered";
    /// An address of no known kind.
    UnknownChat = "unknown-chat", "the chat's address is of a kind that Verso does not know";
    /// A message that Verso sent.
    OwnEcho = "own-echo", "Verso itself sent this message";
    /// A reaction.
    Reaction = "reaction", "reactions start no conversation";
    /// An edit, a poll, a protocol message.
    KindNotServed = "kind-not-served", "this kind of message (edit, deletion, poll, call, system) starts no conversation";
    /// Neither text nor media.
    Empty = "empty", "the message holds neither text nor media";
    /// The owner wrote to somebody else.
    OwnMessageToOther = "own-message-to-other", "the account's owner wrote this to somebody else";
    /// The owner takes part in the chat.
    Handover = "handover", "the account's owner wrote into this chat from the phone a while ago, and the agent keeps silent there";
    /// The account answers nobody.
    ListenOnly = "listen-only", "the account only listens: it answers nobody and sends nothing";
    /// dmPolicy disabled.
    DmDisabled = "dm-disabled", "direct messages are switched off (dmPolicy is \"disabled\")";
    /// Not on the list.
    DmNotAllowlisted = "dm-not-allowlisted", "the sender is neither in allowFrom nor approved (dmPolicy is \"allowlist\")";
    /// A stranger under dmPolicy pairing.
    PairingRequired = "pairing-required", "the sender is unknown and has to be approved first (dmPolicy is \"pairing\")";
    /// A stranger's message from before the connection.
    PairingTooOld = "pairing-too-old", "the sender is unknown, and the message is too old to ask for approval";
    /// Nothing identifies the sender.
    SenderUnknown = "sender-unknown", "WhatsApp told neither number nor id of the sender";
    /// groupPolicy disabled.
    GroupDisabled = "group-disabled", "groups are switched off (groupPolicy is \"disabled\")";
    /// Nobody is listed.
    GroupNoSenders = "group-no-senders", "no group sender is allowed: groupPolicy is \"allowlist\", and groupAllowFrom and allowFrom are empty";
    /// The sender is not on the list.
    GroupSenderNotAllowlisted = "group-sender-not-allowlisted", "the sender is not in groupAllowFrom (or, when that is unset, allowFrom)";
    /// The group is not on the list.
    GroupNotListed = "group-not-listed", "the groups map names neither this group nor \"*\"";
    /// It waited too long.
    TooOld = "too-old", "the message waited longer than the catch-up window while the account was offline";
    /// It does not speak to the agent.
    NotMentioned = "not-mentioned", "the message mentions neither the agent nor replies to it, and the group's activation is \"mention\"";
    /// The owner typed it in a group.
    OwnInGroup = "own-in-group", "the account's owner typed this on the phone; in a group that is context and starts a run only with a mention or a command";
    /// A note to self where selfChatMode is false.
    SelfChatOff = "self-chat-off", "notes in the account's own chat start no run (selfChatMode is false); commands do";
    /// Open in a backup.
    Restored = "restored", "it was open when the state was backed up, and the gateway of that time may have answered it since";
    /// Verso failed at it.
    Internal = "internal-error", "Verso itself failed while it was at work on the message; verso logs says where";
    /// Verso ended at it again and again.
    Poison = "poison", "Verso ended three times while it was at work on the message, which is left alone now";
    /// What is stored of it makes no sense.
    Unreadable = "unreadable", "what is stored of the message in state.db cannot be read";
    /// Too many commands wait.
    CommandsBusy = "commands-busy", "too many commands of the account were waiting to be carried out";
    /// Open for a number that the account is not linked to any more.
    OtherNumber = "other-number", "it came in on another number than the account is linked to now, and what is open for one number is never answered from another";
    /// Open for an account that is not configured any more.
    AccountGone = "account-gone", "its account is not in the configuration any more";
    /// `/activation` by somebody else than an owner.
    ActivationNotOwner = "activation-not-owner", "only an owner may change the group's activation";
    /// A command by somebody who may use none, or not this one.
    CommandNotAuthorized = "command-not-authorized", "the sender may not use this command (allowFrom, groupAllowFrom, commands.ownerAllowFrom)";
}

impl IgnoreReason {
    /// The config says so, and an owner may not have meant it: they should see it without asking. What never starts a conversation,
    /// and what is merely not addressed to an agent, is no news.
    pub fn is_by_config(self) -> bool {
        use IgnoreReason as R;
        match self {
            R::DmDisabled
            | R::DmNotAllowlisted
            | R::GroupDisabled
            | R::GroupNoSenders
            | R::GroupSenderNotAllowlisted
            | R::GroupNotListed
            | R::TooOld
            | R::CommandNotAuthorized => true,
            // Both are meant, and `channels status` shows them.
            R::Handover | R::ListenOnly => false,
            R::StatusOrBroadcast
            | R::Newsletter
            | R::UnknownChat
            | R::OwnEcho
            | R::Reaction
            | R::KindNotServed
            | R::Empty
            | R::OwnMessageToOther
            | R::PairingRequired
            | R::PairingTooOld
            | R::SenderUnknown
            | R::NotMentioned
            | R::OwnInGroup
            | R::SelfChatOff
            | R::Restored
            | R::Internal
            | R::Poison
            | R::Unreadable
            | R::CommandsBusy
            | R::OtherNumber
            | R::AccountGone
            | R::ActivationNotOwner => false,
        }
    }
}

/// Of an account's counted decisions those that ended without an answer, the most frequent first.
pub fn ignored(counters: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let is_reason = |code: &str| IgnoreReason::ALL.iter().any(|reason| reason.code() == code);
    let mut out: Vec<(&str, u64)> =
        counters.iter().filter(|(code, n)| is_reason(code) && **n > 0).map(|(code, n)| (code.as_str(), *n)).collect();
    out.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    out
}

impl fmt::Display for IgnoreReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_what_serde_writes() {
        for (at, reason) in IgnoreReason::ALL.iter().enumerate() {
            assert_eq!(serde_json::to_value(reason).expect("json"), reason.code());
            assert!(IgnoreReason::ALL[..at].iter().all(|other| other.code() != reason.code()));
        }
    }

    #[test]
    fn reasons_are_told_by_frequency_and_nothing_else_is() {
        let count =
            |codes: &[(&str, u64)]| codes.iter().map(|(c, n)| ((*c).to_owned(), *n)).collect::<BTreeMap<_, _>>();
        let counters = count(&[("admitted", 9), ("dm-disabled", 1), ("not-mentioned", 7), ("too-old", 0)]);
        assert_eq!(ignored(&counters), [("not-mentioned", 7), ("dm-disabled", 1)]);
    }
}
