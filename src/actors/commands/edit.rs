//! Edits of the config by chat: `/config` and `/allowlist`. Nothing is written that would not load, or that would shut its author out.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::actors::agent::RunAgents;
use crate::command::allowlist::Scope;
use crate::command::{ConfigCommand, reply};
use crate::config::edit::{self, EditError};
use crate::config::edit_notes;
use crate::config::file::{self, ConfigSource};
use crate::config::model::{AllowList, Config};
use crate::config::redact;
use crate::ids::AccountId;
use crate::ids::Entry;
use crate::policy::allowlist::parse_approved;
use crate::policy::decide::{View, decide};
use crate::policy::decision::Verdict;
use crate::policy::mention::MentionTable;
use crate::routing::main_session::OwnNumbers;
use crate::store::pairing::PairingFiles;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// Who edits, to be judged anew under the edited config.
#[derive(Clone)]
pub(super) struct Author {
    /// The command's message, as it was judged.
    pub run: RunAgents,
    /// Who is let in by pairing.
    pub approved: AllowList,
    /// The time of day.
    pub now: i64,
}

impl Author {
    /// Under `config` the same message would be the same command.
    fn stays_in(&self, config: &Config) -> bool {
        let message = &self.run.message;
        let Some(account) = config.account(&message.account).filter(|a| a.link.enabled) else { return false };
        let activation = self.run.dispatch.activation;
        let view = View {
            config,
            account,
            revision: 0,
            me: Some(&self.run.identity),
            // Which session it would be does not matter here.
            own_numbers: &OwnNumbers::new(),
            approved: &self.approved,
            connected_at: Some(message.timestamp),
            now: self.now,
            mentions: &MentionTable::compile(config).0,
            activation: &|_| activation,
            owner_wrote: None,
            sent_by_us: false,
        };
        matches!(decide(message, &view).verdict, Verdict::Dispatch(d) if d.command.is_some())
    }
}

/// Shows or edits the file. Both sides are the reply; an error changed nothing.
pub(super) fn edit_config(command: &ConfigCommand, source: &ConfigSource, author: &Author) -> Result<String, String> {
    let refused = |e: EditError| format!("⚠️ {e}");
    let (path, steps) = match command {
        ConfigCommand::Error(why) => return Err(format!("⚠️ {why}")),
        ConfigCommand::Show { path: None } => (String::new(), Vec::new()),
        ConfigCommand::Show { path: Some(path) } | ConfigCommand::Set { path, .. } | ConfigCommand::Unset { path } => {
            (path.clone(), edit::parse_path(path).map_err(refused)?)
        }
    };
    let before = read(source)?;
    let after = match command {
        ConfigCommand::Show { path } => {
            return Ok(reply::config_shown(path.as_deref(), &shown(&before, &steps)));
        }
        ConfigCommand::Set { value, .. } => edit::set(&before, &steps, value).map_err(refused)?,
        _ => match edit::unset(&before, &steps).map_err(refused)? {
            Some(after) => after,
            None => return Ok(format!("⚙️ No config value found for {path}.")),
        },
    };
    let verb = if matches!(command, ConfigCommand::Set { .. }) { "set" } else { "unset" };
    let config = loads(source, &after, verb)?;
    if !author.stays_in(&config) {
        return Err(reply::CONFIG_LOCKOUT.to_owned());
    }
    let current = loads(source, if before.is_empty() { "{}" } else { &before }, "read")?;
    let notes = edit_notes::of(&current, &config);
    if let Some(note) = notes.iter().find(|note| note.is_refused_by_chat()) {
        return Err(reply::config_groups(note));
    }
    write(source, &path, &after)?;
    let mut said = match verb {
        "set" => reply::config_set(&path, &shown(&after, &steps)),
        _ => format!("⚙️ Config updated: {path} removed."),
    };
    for note in notes {
        said.push_str(&format!("\n⚠️ {note}"));
    }
    Ok(said)
}

/// The text of the file, which is valid; empty when there is none yet.
fn read(source: &ConfigSource) -> Result<String, String> {
    if !file::exists(source) {
        return Ok(String::new());
    }
    let text = file::read_text(&source.path).map_err(|why| format!("⚠️ The config file cannot be read: {why}"))?;
    if file::load_edited(source, &text).is_err() {
        return Err(reply::CONFIG_INVALID.to_owned());
    }
    Ok(text)
}

/// What the edited text means.
fn loads(source: &ConfigSource, after: &str, verb: &str) -> Result<Arc<Config>, String> {
    file::load_edited(source, after).map(|loaded| loaded.config).map_err(|rejected| {
        let first = rejected.iter().next();
        let what = first.map_or_else(String::new, |p| format!("{}: {}", p.key_path, p.message));
        format!("⚠️ Config invalid after {verb} ({what}).")
    })
}

fn write(source: &ConfigSource, path: &str, after: &str) -> Result<(), String> {
    file::replace(&source.path, after).map_err(|e| format!("⚠️ The config file cannot be written: {e}"))?;
    tracing::info!(target: "config", %path, "the config was edited by chat");
    Ok(())
}

/// An edit of an allowlist.
pub(super) struct ListEdit {
    /// Which list.
    pub scope: Scope,
    /// Who.
    pub entry: Entry,
    /// Written down, else taken away.
    pub add: bool,
}

impl ListEdit {
    fn names(&self, written: &str) -> bool {
        written.parse().as_ref() == Ok(&self.entry)
    }

    fn listed_in(&self, list: &AllowList) -> bool {
        match &self.entry {
            Entry::Everybody => list.any,
            Entry::Number(number) => list.has_number(number),
            Entry::Lid(lid) => list.has_lid(lid),
        }
    }

    fn list_of<'c>(&self, config: &'c Config, account: &AccountId) -> Option<&'c AllowList> {
        let rules = &config.account(account)?.rules;
        Some(match self.scope {
            Scope::Dm => &rules.allow_from,
            Scope::Group => rules.group_senders(),
        })
    }
}

/// Edits `allowFrom` or `groupAllowFrom` where the account's value stands, and on removal from direct chats the approvals too.
/// Both sides are the reply; an error changed nothing in the config.
pub(super) fn edit_allowlist(
    change: &ListEdit,
    source: &ConfigSource,
    files: &PairingFiles,
    author: &Author,
) -> Result<String, String> {
    let account = &author.run.message.account;
    let before = read(source)?;
    let current = if before.is_empty() { None } else { Some(loads(source, &before, "read")?) };
    let list = current.as_deref().and_then(|c| change.list_of(c, account)).cloned().unwrap_or_default();
    let listed = change.listed_in(&list);
    let paired = change.scope == Scope::Dm && change.listed_in(&author.approved);
    match (change.add, listed, paired) {
        (true, true, _) => return Ok(reply::ALLOWLIST_HAS.to_owned()),
        (false, false, false) => return Ok(reply::ALLOWLIST_LACKS.to_owned()),
        _ => {}
    }
    let mut places = Vec::new();
    let mut after = None;
    if change.add || listed {
        let (path, text) = edited_list(change, &before, account, &list)?;
        let config = loads(source, &text, "the edit")?;
        if change.list_of(&config, account).is_none_or(|l| change.listed_in(l) != change.add) {
            return Err(reply::ALLOWLIST_ELSEWHERE.to_owned());
        }
        places.push(path);
        after = Some((text, config));
    }
    // Who is taken from the approvals too must not be the author.
    let left: Vec<String> =
        author.approved.entries().into_iter().filter(|e| change.add || !paired || !change.names(e)).collect();
    let judge = Author { approved: parse_approved(left.iter().map(String::as_str)), ..author.clone() };
    let config = after.as_ref().map(|(_, config)| config).or(current.as_ref());
    if config.is_some_and(|config| !judge.stays_in(config)) {
        return Err(reply::ALLOWLIST_LOCKOUT.to_owned());
    }
    if let Some((text, _)) = &after {
        write(source, &places[0], text)?;
    }
    if !change.add && paired {
        let gone = files.disallow(account, |entry| change.names(entry));
        if gone.map_err(|e| format!("⚠️ The pairing store was not changed: {e}"))? {
            places.push("pairing store".to_owned());
        }
    }
    Ok(reply::allowlist_edited(change.scope.label(), change.add, &places))
}

/// The edited text, and the path of the list in it: the account's own, else the channel's, else a new one of the account.
fn edited_list(
    change: &ListEdit,
    before: &str,
    account: &AccountId,
    in_force: &AllowList,
) -> Result<(String, String), String> {
    let refused = |e: EditError| format!("⚠️ {e}");
    let tree = edit::json5_value(if before.is_empty() { "{}" } else { before }).unwrap_or_default();
    let steps = |keys: &[&str]| keys.iter().map(|k| (*k).to_owned()).collect::<Vec<String>>();
    let channel = steps(&["channels", "whatsapp"]);
    let accounts = edit::get(&tree, &steps(&["channels", "whatsapp", "accounts"])).and_then(Value::as_object);
    let own = accounts.and_then(|m| m.keys().find(|key| AccountId::new(key) == *account)).map(|key| {
        let mut path = channel.clone();
        path.extend(["accounts".to_owned(), key.clone()]);
        path
    });
    let with_key = |mut path: Vec<String>| {
        path.push(change.scope.key().to_owned());
        path
    };
    let entries = |path: &[String]| edit::get(&tree, path).and_then(Value::as_array).cloned();
    let own = own.map(with_key);
    let channel = with_key(channel);
    let set = own.iter().chain([&channel]).find_map(|path| Some((path.clone(), entries(path)?)));
    let path = set.as_ref().map_or_else(|| own.unwrap_or(channel), |(path, _)| path.clone());
    let shown = path.join(".");
    let text = match (set, change.add) {
        (Some((_, list)), true) => {
            let mut end = path.clone();
            end.push(list.len().to_string());
            edit::set(before, &end, &json!(entry_text(&change.entry))).map_err(refused)?
        }
        (Some((_, list)), false) => {
            let mut text = before.to_owned();
            let named = |v: &Value| v.as_str().map_or_else(|| change.names(&v.to_string()), |e| change.names(e));
            for (index, _) in list.iter().enumerate().rev().filter(|(_, v)| named(v)) {
                let mut at = path.clone();
                at.push(index.to_string());
                text = edit::unset(&text, &at).map_err(refused)?.unwrap_or(text);
            }
            text
        }
        // A list that takes the place of another one starts with what that one holds, so that nobody else is shut out.
        (None, add) => {
            let mut list = in_force.entries();
            list.retain(|e| !change.names(e));
            list.extend(add.then(|| entry_text(&change.entry)));
            edit::set(before, &path, &json!(list)).map_err(refused)?
        }
    };
    Ok((shown, text))
}

fn entry_text(entry: &Entry) -> String {
    match entry {
        Entry::Everybody => "*".to_owned(),
        Entry::Number(number) => number.to_string(),
        Entry::Lid(lid) => lid.to_string(),
    }
}

/// The value of the file at a path, without secrets.
fn shown(text: &str, steps: &[String]) -> Value {
    let mut tree = edit::json5_value(text).unwrap_or_default();
    redact(&mut tree, HIDDEN, &mut Vec::new());
    edit::get(&tree, steps).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::allowlist::parse_list;

    fn edited(before: &str, scope: Scope, entry: &str, add: bool, in_force: &[&str]) -> (String, Value) {
        let change = ListEdit { scope, entry: entry.parse().expect("an entry"), add };
        let in_force = parse_list(in_force.iter().copied());
        let (path, text) = edited_list(&change, before, &AccountId::new("work"), &in_force).expect("edited");
        let steps = edit::parse_path(&path).expect("a path");
        let tree = edit::json5_value(&text).expect("JSON5");
        (path, edit::get(&tree, &steps).cloned().expect("the list"))
    }

    #[test]
    fn the_list_in_force_is_edited_where_it_stands() {
        let own = "{ channels: { whatsapp: { allowFrom: ['+15550000001'], accounts: { Work: { allowFrom: ['+15550000002'] } } } } }";
        let (path, list) = edited(own, Scope::Dm, "+15550000003", true, &["+15550000002"]);
        assert_eq!(path, "channels.whatsapp.accounts.Work.allowFrom");
        assert_eq!(list, json!(["+15550000002", "+15550000003"]));

        let shared = "{ channels: { whatsapp: { allowFrom: ['+15550000001', '1 555 000 0002', 15550000002], accounts: { work: {} } } } }";
        let (path, list) = edited(shared, Scope::Dm, "+15550000002", false, &["+15550000001", "+15550000002"]);
        assert_eq!(
            (path.as_str(), list),
            ("channels.whatsapp.allowFrom", json!(["+15550000001"])),
            "in every spelling"
        );
    }

    #[test]
    fn a_new_list_keeps_who_was_let_in_by_the_one_it_replaces() {
        let config = "{ channels: { whatsapp: { allowFrom: ['+15550000001', '*'], accounts: { work: {} } } } }";
        let (path, list) = edited(config, Scope::Group, "77@lid", true, &["+15550000001", "*"]);
        assert_eq!(path, "channels.whatsapp.accounts.work.groupAllowFrom");
        assert_eq!(list, json!(["*", "+15550000001", "77@lid"]));
        let (_, list) = edited(config, Scope::Group, "*", false, &["+15550000001", "*"]);
        assert_eq!(list, json!(["+15550000001"]));
        let (path, list) = edited("", Scope::Dm, "+15550000001", true, &[]);
        assert_eq!((path.as_str(), list), ("channels.whatsapp.allowFrom", json!(["+15550000001"])));
    }
}
