//! Policies held against the lists that they come with, after both are resolved (behaviour.md 24.5).
//!
//! `open` and a list without `"*"` contradict each other. In one object that is a mistake of its author ([`super::super::validate`]); where
//! `open` is inherited and a list stands nearer to the account, the list is what somebody meant for this account.

use crate::config::problem::{Findings, KeyPath};

/// Where a value of an account stands, the nearest one last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// `channels.defaults`.
    Defaults,
    /// `channels.whatsapp`.
    Channel,
    /// `channels.whatsapp.accounts.<id>`.
    Account,
}

/// A policy or a list, with the place that it is from.
pub(super) struct From {
    pub scope: Scope,
    pub at: KeyPath,
}

/// True when the list narrows an inherited `open`: then the account is served as an allowlist, and somebody is told.
pub(super) fn narrows(key: &str, open: Option<&From>, list: Option<(&From, bool)>, findings: &mut Findings) -> bool {
    let (Some(open), Some((list, everybody))) = (open, list) else { return false };
    if everybody || list.scope <= open.scope {
        return false;
    }
    findings.warn_of_both(
        list.at.clone(),
        open.at.clone(),
        format!(
            "{key} is inherited as \"open\" from {} ({{line}}), but this list names only certain people: the account is served as \"allowlist\"; write {key}: \"allowlist\" beside the list, or add \"*\" to it to let everybody in",
            open.at
        ),
    );
    true
}
