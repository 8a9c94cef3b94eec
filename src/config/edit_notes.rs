//! What an edit changes beside what was asked for: a list that is written takes the place of what held without it.
//!
//! A `groups` map is also the list of groups served (behaviour.md 24.6); `allowFrom` is also the list of owners (10.1); an account's own
//! list hides the channel's (2.4). Both doors of edits ask here: the command line says the notes, a chat refuses what
//! [`EditNote::is_refused_by_chat`].

use std::fmt;

use super::edit::shown_path;
use super::model::{AllowList, Config, GroupPolicy, RulesConfig};
use crate::ids::AccountId;

/// One consequence of an edit, for one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditNote {
    /// The last entry is gone, or the map was written without one.
    NoGroupServed {
        /// Whose.
        account: AccountId,
    },
    /// The first entry was written: before, every group was served.
    OthersNotServed {
        /// Whose.
        account: AccountId,
        /// Path of the map that now lists them.
        map: String,
    },
    /// The map itself is gone: before, only its groups were served.
    EveryGroupServed {
        /// Whose.
        account: AccountId,
    },
    /// The first list of owners: before, it was the account's own number.
    OnlyListedCommand {
        /// Whose.
        account: AccountId,
    },
    /// The first `groupAllowFrom`: before, `allowFrom` held in groups.
    GroupListReplaces {
        /// Whose.
        account: AccountId,
    },
    /// The account's own value now hides the channel's.
    ListReplaces {
        /// Whose.
        account: AccountId,
        /// Which list or map.
        key: &'static str,
    },
}

impl EditNote {
    /// An edit by chat neither closes nor opens all groups at once.
    pub fn is_refused_by_chat(&self) -> bool {
        matches!(self, Self::NoGroupServed { .. } | Self::EveryGroupServed { .. })
    }
}

impl fmt::Display for EditNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGroupServed { account } => write!(f, "no group is served now (account {account})"),
            Self::OthersNotServed { account, map } => write!(
                f,
                "every other group is not served any more (account {account}); to serve them as before, add \"*\": {{}} to {map}"
            ),
            Self::EveryGroupServed { account } => {
                write!(f, "every group is served now (account {account}), as far as groupPolicy lets their members in")
            }
            Self::OnlyListedCommand { account } => write!(
                f,
                "only who is listed may command now (account {account}); without the list it is the account's own number"
            ),
            Self::GroupListReplaces { account } => write!(
                f,
                "groupAllowFrom takes the place of allowFrom in groups (account {account}); list whoever is to be served there as well"
            ),
            Self::ListReplaces { account, key } => {
                write!(f, "the account's own {key} takes the place of channels.whatsapp.{key} (account {account})")
            }
        }
    }
}

/// The consequences of an edit, account by account.
pub fn of(before: &Config, after: &Config) -> Vec<EditNote> {
    let mut notes = Vec::new();
    for (account, new) in &after.accounts {
        let Some(old) = before.account(account) else { continue };
        let hidden = hidden(before, after, account);
        if let Some(note) = groups(&old.rules, &new.rules, account, after) {
            notes.push(note);
        }
        let named = |list: &AllowList| !list.is_empty();
        let first_commanders = after.commands.owner_allow_from.is_some() && before.commands.owner_allow_from.is_none();
        if first_commanders || (named(&new.rules.allow_from) && !named(&old.rules.allow_from)) {
            notes.push(EditNote::OnlyListedCommand { account: account.clone() });
        }
        let first_senders = new.rules.group_allow_from.is_some() && old.rules.group_allow_from.is_none();
        if first_senders && named(&old.rules.allow_from) && new.rules.group_policy != GroupPolicy::Disabled {
            notes.push(EditNote::GroupListReplaces { account: account.clone() });
        }
        notes.extend(hidden.into_iter().map(|key| EditNote::ListReplaces { account: account.clone(), key }));
    }
    notes
}

/// What the edit does to all groups at once.
fn groups(old: &RulesConfig, new: &RulesConfig, account: &AccountId, after: &Config) -> Option<EditNote> {
    if new.group_policy == GroupPolicy::Disabled {
        return None;
    }
    let every = |rules: &RulesConfig| !rules.lists_groups || rules.groups.contains_key("*");
    let none = |rules: &RulesConfig| rules.lists_groups && rules.groups.is_empty();
    let account = account.clone();
    if none(new) && !none(old) {
        Some(EditNote::NoGroupServed { account })
    } else if !every(old) && !new.lists_groups {
        Some(EditNote::EveryGroupServed { account })
    } else if !every(new) && !old.lists_groups {
        let map = map_of(after, &account);
        Some(EditNote::OthersNotServed { account, map })
    } else {
        None
    }
}

/// The lists and maps of the channel that the account's own ones hide since the edit.
fn hidden(before: &Config, after: &Config, account: &AccountId) -> Vec<&'static str> {
    let own = |config: &Config, key: &str| {
        let accounts = config.written.pointer("/channels/whatsapp/accounts").and_then(|a| a.as_object());
        let own = accounts.into_iter().flatten().find(|(id, _)| AccountId::new(id) == *account);
        own.is_some_and(|(_, own)| own.get(key).is_some())
    };
    let of_channel = |key: &str| before.written.pointer("/channels/whatsapp").is_some_and(|w| w.get(key).is_some());
    let hides = |key: &&str| of_channel(key) && own(after, key) && !own(before, key);
    ["allowFrom", "groupAllowFrom", "groups"].into_iter().filter(hides).collect()
}

/// Where the account's `groups` stand, as they are written.
fn map_of(config: &Config, account: &AccountId) -> String {
    let whatsapp = config.written.pointer("/channels/whatsapp");
    let accounts = whatsapp.and_then(|w| w.get("accounts")).and_then(|a| a.as_object());
    let own = accounts
        .into_iter()
        .flatten()
        .find(|(key, own)| AccountId::new(key) == *account && own.get("groups").is_some());
    match own {
        Some((key, _)) => shown_path(&["channels", "whatsapp", "accounts", key, "groups"]),
        None => "channels.whatsapp.groups".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ResolveEnv, edit, load_text};

    fn config(text: &str) -> std::sync::Arc<Config> {
        load_text(text, &ResolveEnv::new("/h", "/s")).unwrap_or_else(|e| panic!("{text}: {e:?}")).config
    }

    /// The notes of an edit between two texts of `channels.whatsapp`.
    fn check(before: &str, after: &str, want: &[&str]) {
        let whole = |text: &str| config(&format!("{{ channels: {{ whatsapp: {{ {text} }} }} }}"));
        let told: Vec<String> = of(&whole(before), &whole(after)).iter().map(ToString::to_string).collect();
        assert_eq!(told, want, "{before} -> {after}");
    }

    #[test]
    fn what_happens_to_all_other_groups_is_said() {
        let (none, one, every) = ("groups: {}", "groups: { '1@g.us': {} }", "");
        let others = "every other group is not served any more (account default); to serve them as before, add \"*\": {} to channels.whatsapp.groups";
        let nothing = "no group is served now (account default)";
        let all = "every group is served now (account default), as far as groupPolicy lets their members in";
        check(every, one, &[others]);
        check(every, none, &[nothing]);
        check(one, none, &[nothing]);
        check(one, every, &[all]);
        check(none, every, &[all]);
        check(none, one, &[]);
        check(one, "groups: { '1@g.us': {}, '2@g.us': {} }", &[]);
        check(every, "groups: { '1@g.us': {}, '*': {} }", &[]);
        check("groups: { '*': {} }", every, &[]);
        check("groups: { '*': {}, '1@g.us': {} }", one, &[]);
        check(every, "groupPolicy: 'disabled', groups: {}", &[]);
        check(every, "groups: {}, accounts: { new: {} }", &["no group is served now (account new)"][..0]);
        check(
            "groups: { '1@g.us': {} }, accounts: { a: {}, 'B.C': { groups: { '*': {} } } }",
            "groups: {}, accounts: { a: {}, 'B.C': { groups: {} } }",
            &["no group is served now (account a)", "no group is served now (account b-c)"],
        );
        check(
            "accounts: { 'B.C': {} }",
            "accounts: { 'B.C': { groups: { '1@g.us': {} } } }",
            &[
                "every other group is not served any more (account b-c); to serve them as before, add \"*\": {} to channels.whatsapp.accounts[\"B.C\"].groups",
            ],
        );
    }

    #[test]
    fn the_last_entry_leaves_an_empty_map_behind() {
        for (text, path) in [
            ("{ channels: { whatsapp: { groups: { '1@g.us': {} } } } }", "channels.whatsapp.groups[\"1@g.us\"]"),
            (
                "{ channels: { whatsapp: { accounts: { w: { groups: { '1@g.us': { requireMention: false } } } } } } }",
                "channels.whatsapp.accounts.w.groups[\"1@g.us\"]",
            ),
            ("{ whatsapp: { groups: { '1@g.us': {} } } }", "whatsapp.groups[\"1@g.us\"]"),
            (
                "{ whatsapp: { accounts: { w: { groups: { '1@g.us': {} } } } } }",
                "whatsapp.accounts.w.groups[\"1@g.us\"]",
            ),
        ] {
            let steps = edit::parse_path(path).expect("a path");
            let after = edit::unset(text, &steps).expect("edited").expect("it was there");
            let rules = |text: &str| config(text).accounts.values().next().expect("an account").rules.clone();
            assert!(rules(&after).lists_groups && rules(&after).groups.is_empty(), "{after}");
            assert_eq!(of(&config(text), &config(&after)).len(), 1);
        }
        // The entry's own last key leaves the entry, which still serves its group.
        let text = "{ channels: { whatsapp: { groups: { '1@g.us': { requireMention: false } } } } }";
        let steps = edit::parse_path("channels.whatsapp.groups[\"1@g.us\"].requireMention").expect("a path");
        let after = edit::unset(text, &steps).expect("edited").expect("it was there");
        let rules = &config(&after).accounts.values().next().expect("an account").rules.clone();
        assert!(rules.groups.contains_key("1@g.us"), "{after}");
        // Other maps go with their last entry, as before.
        let after = edit::unset("{ a: { b: 1 }, c: 2 }", &["a".to_owned(), "b".to_owned()]).expect("edited");
        assert!(!after.expect("it was there").contains("a:"));
    }
}
