//! Whose group messages count, in which groups (behaviour.md 8.1 and 8.3.1).

use super::allowlist::{Listed, Person, listed};
use super::reason::IgnoreReason;
use crate::command::Activation;
use crate::config::model::{GroupPolicy, RulesConfig};
use crate::ids::Jid;

/// Why a group message is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupAdmitted {
    /// The policy lets every member in.
    Open,
    /// The senders' list names the sender, or everybody.
    Listed(Listed),
}

/// Judges the sender of a group message. People approved by pairing are not let in here.
///
/// # Errors
/// The reason to keep the message out.
pub fn judge_sender(rules: &RulesConfig, sender: &Person) -> Result<GroupAdmitted, IgnoreReason> {
    match rules.group_policy {
        GroupPolicy::Disabled => Err(IgnoreReason::GroupDisabled),
        GroupPolicy::Open => Ok(GroupAdmitted::Open),
        GroupPolicy::Allowlist => {
            let senders = rules.group_senders();
            if senders.is_empty() {
                return Err(IgnoreReason::GroupNoSenders);
            }
            listed(senders, sender).map(GroupAdmitted::Listed).ok_or(IgnoreReason::GroupSenderNotAllowlisted)
        }
    }
}

/// A `groups` map that is written is also the list of groups served.
pub fn is_served(rules: &RulesConfig, group: &Jid) -> bool {
    let (own, all) = rules.group(group);
    !rules.lists_groups || own.is_some() || all.is_some()
}

/// When messages of this group wake the agent, and which key says so: the session's own setting (`/activation`), the group's entry, `groups["*"]`,
/// else on mention.
pub fn activation(rules: &RulesConfig, group: &Jid, session: Option<Activation>) -> (Activation, ActivationSource) {
    if let Some(activation) = session {
        return (activation, ActivationSource::Session);
    }
    let of = |require: bool| if require { Activation::Mention } else { Activation::Always };
    let (own, all) = rules.group(group);
    if let Some(require) = own.and_then(|g| g.require_mention) {
        return (of(require), ActivationSource::Group);
    }
    if let Some(require) = all.and_then(|g| g.require_mention) {
        return (of(require), ActivationSource::AllGroups);
    }
    (Activation::Mention, ActivationSource::BuiltIn)
}

/// Where a group's activation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationSource {
    /// `/activation` in the group.
    Session,
    /// `groups.<jid>.requireMention`.
    Group,
    /// `groups."*".requireMention`.
    AllGroups,
    /// Nothing is set.
    BuiltIn,
}
