//! Adding an account, a group or an allow entry changes no decision outside its scope, except what the receipt of that edit names.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::allowlist::parse_approved;
use super::decide::{Decision, Verdict, View, decide};
use super::mention::MentionTable;
use crate::config::edit_notes::{self, EditNote};
use crate::config::model::{AllowList, Config};
use crate::config::{Loaded, ResolveEnv, load_text};
use crate::event::{Body, Content, Identity, InboundMessage};
use crate::ids::{AccountId, E164, Jid, MessageId};
use crate::routing::main_session::{self, OwnNumbers};

const T0: i64 = 1_767_225_600_000;
const SELF: &str = "15550001111";
const PEOPLE: [&str; 4] = ["15557000001", "15557000002", "15557000003", SELF];
const GROUPS: [&str; 3] = ["1201@g.us", "1202@g.us", "1203@g.us"];
const ACCOUNTS: [&str; 2] = ["home", "work"];

/// An addition to a config.
#[derive(Clone, Debug)]
enum Added {
    Account {
        id: &'static str,
        own: Value,
    },
    /// An entry of `groups`, of one account or of the channel.
    Group {
        account: Option<&'static str>,
        group: &'static str,
    },
    /// An entry of a list, of one account or of the channel.
    Person {
        account: Option<&'static str>,
        key: &'static str,
        person: String,
    },
    Commander {
        person: String,
    },
}

/// One message that is judged before and after.
#[derive(Clone, Debug)]
struct Sent {
    account: &'static str,
    group: Option<&'static str>,
    /// Who wrote it; in a direct chat also whose chat it is.
    person: &'static str,
    message: InboundMessage,
}

fn jid(text: &str) -> Jid {
    text.parse().expect("a JID")
}

fn sent(account: &'static str, group: Option<&'static str>, person: &'static str, text: &str, tagged: bool) -> Sent {
    let writer = jid(&format!("{person}@s.whatsapp.net"));
    let mentions = if tagged { vec![jid(&format!("{SELF}@s.whatsapp.net"))] } else { vec![] };
    let message = InboundMessage {
        account: AccountId::new(account),
        id: MessageId::new("M"),
        chat: group.map_or_else(|| writer.clone(), jid),
        sender: writer,
        sender_alt: None,
        sender_number: E164::from_digits(person),
        chat_number: group.is_none().then(|| E164::from_digits(person)).flatten(),
        from_me: person == SELF,
        push_name: None,
        timestamp: T0,
        offline: false,
        content: Content::Body(Body { text: Some(text.into()), mentions, ..Body::default() }),
    };
    Sent { account, group, person, message }
}

fn messages() -> Vec<Sent> {
    let mut out = Vec::new();
    for account in ACCOUNTS {
        for person in PEOPLE {
            for group in std::iter::once(None).chain(GROUPS.into_iter().map(Some)) {
                for (text, tagged) in [("hi", false), ("hi", true), ("/status", true), ("/activation always", true)] {
                    out.push(sent(account, group, person, text, tagged));
                }
            }
        }
    }
    out
}

fn judged(config: &Config, approved: &AllowList, sent: &Sent) -> Option<Decision> {
    let me = Identity { jid: jid(&format!("{SELF}:7@s.whatsapp.net")), lid: None, push_name: None };
    let (mentions, _) = MentionTable::compile(config);
    let view = View {
        config,
        account: config.account(&sent.message.account)?,
        revision: 1,
        me: Some(&me),
        own_numbers: &OwnNumbers::new(),
        approved,
        connected_at: Some(T0),
        now: T0,
        mentions: &mentions,
        activation: &|_| None,
        sent_by_us: false,
        owner_wrote: None,
    };
    Some(decide(&sent.message, &view))
}

/// What people notice of a decision: whether they are answered, where, by whom, and what they may do. Not the reason of a silence.
fn outcome(decision: Option<&Decision>) -> Value {
    match decision.map(|d| &d.verdict) {
        None => json!("no such account"),
        Some(Verdict::Dispatch(d)) => json!({
            "runs": d.runs, "owner": d.owner, "commands": d.commands, "command": d.command.is_some(), "mentioned": d.mentioned,
        }),
        Some(Verdict::Hold(_)) => json!("context"),
        Some(Verdict::Drop { .. }) => json!("dropped"),
    }
}

fn load(config: &Value) -> Result<Loaded, String> {
    load_text(&config.to_string(), &ResolveEnv::new("/h", "/s")).map_err(|e| format!("{e:?}"))
}

/// The object that an addition goes to.
fn object<'v>(config: &'v mut Value, account: Option<&str>) -> &'v mut Map<String, Value> {
    let whatsapp = &mut config["channels"]["whatsapp"];
    let object = match account {
        None => whatsapp,
        Some(id) => &mut whatsapp["accounts"][id],
    };
    object.as_object_mut().expect("an object")
}

fn add(config: &Value, added: &Added) -> Value {
    let mut after = config.clone();
    match added {
        Added::Account { id, own } => {
            object(&mut after, None)["accounts"][*id] = own.clone();
        }
        Added::Group { account, group } => {
            let groups = object(&mut after, *account).entry("groups").or_insert_with(|| json!({}));
            let entries = groups.as_object_mut().expect("a map");
            entries.entry(*group).or_insert_with(|| json!({}));
        }
        Added::Person { account, key, person } => {
            let list = object(&mut after, *account).entry(*key).or_insert_with(|| json!([]));
            list.as_array_mut().expect("a list").push(json!(person));
        }
        Added::Commander { person } => {
            let commands = after["commands"].as_object_mut().expect("an object");
            let list = commands.entry("ownerAllowFrom").or_insert_with(|| json!([]));
            list.as_array_mut().expect("a list").push(json!(person));
        }
    }
    after
}

/// Accounts that an addition to this key of this object reaches: an account's own value hides the channel's.
fn reached(config: &Value, account: Option<&'static str>, key: &str) -> BTreeSet<&'static str> {
    match account {
        Some(id) => BTreeSet::from([id]),
        None => {
            let own = |id: &&str| config["channels"]["whatsapp"]["accounts"][*id].get(key).is_none();
            ACCOUNTS.into_iter().filter(own).collect()
        }
    }
}

/// The message is what the addition is about.
fn in_scope(before: &Value, added: &Added, sent: &Sent) -> bool {
    let named = |person: &str| person == "*" || person.trim_start_matches('+') == sent.person;
    match added {
        Added::Account { id, .. } => *id == sent.account,
        Added::Group { account, group } => {
            sent.group == Some(*group) && reached(before, *account, "groups").contains(sent.account)
        }
        Added::Person { account, key, person } => {
            // In groups allowFrom counts as well where groupAllowFrom is absent, and says who is owner everywhere.
            named(person) && reached(before, *account, key).contains(sent.account)
        }
        Added::Commander { person } => named(person),
    }
}

/// What an addition changes beside its scope, as its receipt says, by the section that decides so.
fn named_by_receipt(old: &Loaded, new: &Loaded, added: &Added, sent: &Sent) -> Option<&'static str> {
    let account = AccountId::new(sent.account);
    let warned = |word: &str| {
        let known = |w: &crate::config::Warning| {
            old.warnings.iter().any(|o| o.message == w.message && o.key_path == w.key_path)
        };
        new.warnings
            .iter()
            .any(|w| !known(w) && w.message.contains("served as \"allowlist\"") && w.message.starts_with(word))
    };
    let notes = edit_notes::of(&old.config, &new.config);
    notes
        .iter()
        .find_map(|note| match note {
            EditNote::OthersNotServed { account: id, .. } => (*id == account && sent.group.is_some()).then_some("24.6"),
            EditNote::OnlyListedCommand { account: id } => (*id == account).then_some("10.1 and 10.2"),
            EditNote::GroupListReplaces { account: id } => (*id == account && sent.group.is_some()).then_some("8.1"),
            EditNote::ListReplaces { account: id, .. } => (*id == account).then_some("2.4"),
            EditNote::NoGroupServed { .. } | EditNote::EveryGroupServed { .. } => None,
        })
        .or_else(|| (sent.group.is_none() && warned("dmPolicy")).then_some("24.5"))
        .or_else(|| {
            let moved = || !main_session::moved(&old.config, &new.config).is_empty();
            (sent.group.is_none() && moved()).then_some("24.1")
        })
        .or_else(|| (sent.group.is_some() && warned("groupPolicy")).then_some("24.5"))
        .or_else(|| {
            // The own number makes the account a personal one: tags and replies then mean the owner.
            let own =
                matches!(added, Added::Person { key, person, .. } if *key == "allowFrom" && person.ends_with(SELF));
            (own && sent.group.is_some()).then_some("8.3 and 24.10")
        })
}

fn list() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(
        prop_oneof![4 => proptest::sample::select(&PEOPLE[..]).prop_map(|p| format!("+{p}")), 1 => Just("*".to_owned())],
        0..3,
    )
}

fn maybe<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    proptest::option::weighted(0.4, strategy)
}

/// The policies and lists of one object; `open` always with a list that names everybody, or the file would not load.
fn rules() -> impl Strategy<Value = Value> {
    let dm = maybe(proptest::sample::select(&["pairing", "allowlist", "open", "disabled"][..]));
    let group = maybe(proptest::sample::select(&["allowlist", "open", "disabled"][..]));
    let entry = proptest::sample::select(&["*", GROUPS[0], GROUPS[1]][..]);
    let groups = maybe(proptest::collection::btree_map(entry, maybe(any::<bool>()), 0..3));
    (dm, maybe(list()), group, maybe(list()), groups, maybe(any::<bool>())).prop_map(
        |(dm, allow, group, senders, groups, self_chat)| {
            let mut out = Map::new();
            let with_star = |list: Option<Vec<String>>, open: bool, must: bool| {
                let mut list = if open && must { Some(list.unwrap_or_default()) } else { list };
                if let Some(list) = list.as_mut().filter(|_| open) {
                    list.push("*".to_owned());
                }
                list
            };
            for (key, list) in [
                ("allowFrom", with_star(allow, dm == Some("open"), true)),
                ("groupAllowFrom", with_star(senders, group == Some("open"), false)),
            ] {
                out.extend(list.map(|list| (key.to_owned(), json!(list))));
            }
            out.extend(dm.map(|dm| ("dmPolicy".to_owned(), json!(dm))));
            out.extend(group.map(|group| ("groupPolicy".to_owned(), json!(group))));
            out.extend(self_chat.map(|on| ("selfChatMode".to_owned(), json!(on))));
            out.extend(groups.map(|groups| {
                let entry = |required: Option<bool>| required.map_or(json!({}), |on| json!({"requireMention": on}));
                let entries: Map<String, Value> =
                    groups.into_iter().map(|(id, required)| (id.to_owned(), entry(required))).collect();
                ("groups".to_owned(), Value::Object(entries))
            }));
            Value::Object(out)
        },
    )
}

fn configs() -> impl Strategy<Value = Value> {
    let scope = proptest::sample::select(&["main", "per-peer", "per-account-channel-peer"][..]);
    let defaults = maybe(proptest::sample::select(&["allowlist", "open", "disabled"][..]));
    (rules(), rules(), rules(), defaults, maybe(list()), scope).prop_map(
        |(channel, home, work, defaults, commanders, scope)| {
            let mut whatsapp = channel;
            whatsapp["accounts"] = json!({"home": home, "work": work});
            let mut channels = json!({"whatsapp": whatsapp});
            if let Some(policy) = defaults {
                channels["defaults"] = json!({"groupPolicy": policy});
            }
            let commands = commanders.map_or(json!({}), |list| json!({"ownerAllowFrom": list}));
            json!({"channels": channels, "commands": commands, "session": {"dmScope": scope}})
        },
    )
}

fn additions() -> impl Strategy<Value = Added> {
    let account = || proptest::option::of(proptest::sample::select(&ACCOUNTS[..]));
    let person = || prop_oneof![6 => proptest::sample::select(&PEOPLE[..]).prop_map(|p| format!("+{p}")), 1 => Just("*".to_owned())];
    prop_oneof![
        rules().prop_map(|own| Added::Account { id: "shop", own }),
        (account(), proptest::sample::select(&GROUPS[..])).prop_map(|(account, group)| Added::Group { account, group }),
        (account(), proptest::sample::select(&["allowFrom", "groupAllowFrom"][..]), person())
            .prop_map(|(account, key, person)| Added::Person { account, key, person }),
        person().prop_map(|person| Added::Commander { person }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn an_addition_changes_nothing_outside_its_scope(config in configs(), added in additions(), paired in list()) {
        let after = add(&config, &added);
        // An account that is open and whose list lacks the star does not load; nothing is decided then.
        let (Ok(old), Ok(new)) = (load(&config), load(&after)) else { return Ok(()) };
        let approved = parse_approved(paired.iter().map(String::as_str));
        let (before, now): (Arc<Config>, Arc<Config>) = (old.config.clone(), new.config.clone());
        for sent in messages() {
            let was = outcome(judged(&before, &approved, &sent).as_ref());
            let is = outcome(judged(&now, &approved, &sent).as_ref());
            if was != is && !in_scope(&config, &added, &sent) {
                prop_assert!(
                    named_by_receipt(&old, &new, &added, &sent).is_some(),
                    "{added:?} changes {sent:?}\nfrom {was}\nto {is}\nin {config:#}"
                );
            }
        }
    }
}
