//! Edits of the config by chat: `/config` and `/allowlist`. Nothing is written that would not load, or that would shut its author out.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::actors::agent::RunAgents;
use crate::command::allowlist::Scope;
use crate::command::{ConfigCommand, reply};
use crate::config::chat_edits::{self, Commander, Edit};
use crate::config::edit::{self, EditError};
use crate::config::edit_notes;
use crate::config::file::{self, ConfigSource, UpdateError};
use crate::config::model::{AllowList, Config};
use crate::config::redact;
use crate::ids::{AccountId, Entry, Jid};
use crate::policy::allowlist::{Person, named, parse_approved};
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
    /// The author as lists name people.
    fn person(&self) -> Person {
        let me = &self.run.identity;
        match self.run.message.from_me {
            true => Person { number: me.number(), lid: me.lid.as_ref().map(Jid::without_device) },
            false => Person::sender(&self.run.message),
        }
    }

    /// What the author commands: the account of this chat, for the rules have let the command in, and every other one that names them.
    fn commander(&self, config: &Config) -> Commander<'_> {
        let (account, person) = (&self.run.message.account, self.person());
        let named_in = |list: &AllowList| named(list, &person).is_some();
        let every = match &config.commands.owner_allow_from {
            Some(owners) => named_in(owners),
            None => config.accounts.values().all(|a| a.id == *account || named_in(&a.rules.allow_from)),
        };
        Commander { account, every }
    }

    /// The edit of the file stays within the borders of chat edits.
    fn within_borders(&self, source: &ConfigSource, texts: (&str, &str), after: &Config) -> Result<(), String> {
        let before = meaning(source, texts.0)?;
        let tree = |text: &str| edit::json5_value(if text.trim().is_empty() { "{}" } else { text }).unwrap_or_default();
        let (file_before, file_after) = (tree(texts.0), tree(texts.1));
        let change = Edit { file_before: &file_before, file_after: &file_after, before: &before, after };
        let person = self.person();
        chat_edits::check(change, self.commander(&before))
            .and_then(|()| chat_edits::check_seniority(&before, after, |list| named(list, &person).is_some()))
            .map_err(|border| border.to_string())
    }

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
    let (path, value) = match command {
        ConfigCommand::Error(why) => return Err(format!("⚠️ {why}")),
        ConfigCommand::Show { path } => return show(path.as_deref(), source, author),
        ConfigCommand::Set { path, value } => (path, Some(value)),
        ConfigCommand::Unset { path } => (path, None),
    };
    let steps = edit::parse_path(path).map_err(refused)?;
    chat_edits::check_typed(&steps, value).map_err(|border| border.to_string())?;
    let verb = if value.is_some() { "set" } else { "unset" };
    let mut notes = Vec::new();
    let updated = update(source, path, |before| {
        let after = match value {
            Some(value) => Some(edit::set(before, &steps, value).map_err(refused)?),
            None => edit::unset(before, &steps).map_err(refused)?,
        };
        let Some(after) = after else { return Ok(None) };
        let config = loads(source, &after, verb)?;
        author.within_borders(source, (before, &after), &config)?;
        if !author.stays_in(&config) {
            return Err(reply::CONFIG_LOCKOUT.to_owned());
        }
        let current = meaning(source, before)?;
        notes = edit_notes::of(&current, &config);
        if let Some(note) = notes.iter().find(|note| note.is_refused_by_chat()) {
            return Err(reply::config_groups(note));
        }
        Ok(Some(after))
    })?;
    let mut said = match (updated, value) {
        (None, _) => return Ok(format!("⚙️ No config value found for {path}.")),
        (Some(after), Some(_)) => reply::config_set(path, &shown(&after, &steps, None)),
        (Some(_), None) => format!("⚙️ Config updated: {path} removed."),
    };
    for note in notes {
        said.push_str(&format!("\n⚠️ {note}"));
    }
    Ok(said)
}

fn show(path: Option<&str>, source: &ConfigSource, author: &Author) -> Result<String, String> {
    let steps = path.map_or(Ok(Vec::new()), edit::parse_path).map_err(|e| format!("⚠️ {e}"))?;
    let text = if file::exists(source) {
        file::read_text(&source.path).map_err(|why| format!("⚠️ The config file cannot be read: {why}"))?
    } else {
        String::new()
    };
    let config = meaning(source, &text)?;
    Ok(reply::config_shown(path, &shown(&text, &steps, Some(author.commander(&config)))))
}

/// What the text of the file means before an edit; without a file, what no keys mean.
fn meaning(source: &ConfigSource, text: &str) -> Result<Arc<Config>, String> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    file::load_edited(source, text).map(|loaded| loaded.config).map_err(|_| reply::CONFIG_INVALID.to_owned())
}

/// What the edited text means.
fn loads(source: &ConfigSource, after: &str, verb: &str) -> Result<Arc<Config>, String> {
    file::load_edited(source, after).map(|loaded| loaded.config).map_err(|rejected| {
        let first = rejected.iter().next();
        let what = first.map_or_else(String::new, |p| format!("{}: {}", p.key_path, p.message));
        format!("⚠️ Config invalid after {verb} ({what}).")
    })
}

/// Edits the file on the text that stands there, which must be valid; the new text, if there is one.
fn update(
    source: &ConfigSource,
    path: &str,
    mut change: impl FnMut(&str) -> Result<Option<String>, String>,
) -> Result<Option<String>, String> {
    let updated = file::update(&source.path, |before| {
        meaning(source, before)?;
        change(before)
    });
    let updated = updated.map_err(|error| match error {
        UpdateError::Refused(reply) => reply,
        other => format!("⚠️ Nothing was edited: {other}"),
    })?;
    if updated.is_some() {
        tracing::info!(target: "config", %path, "the config was edited by chat");
    }
    Ok(updated.map(|updated| updated.after))
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
    let account = author.run.message.account.clone();
    let mut told = None;
    let mut places = Vec::new();
    let mut paired = false;
    update(source, "allowlist", |before| {
        (told, paired) = (None, false);
        places.clear();
        let current = meaning(source, before)?;
        let list = change.list_of(&current, &account).cloned().unwrap_or_default();
        let listed = change.listed_in(&list);
        paired = !change.add && change.scope == Scope::Dm && change.listed_in(&author.approved);
        match (change.add, listed, paired) {
            (true, true, _) => told = Some(reply::ALLOWLIST_HAS),
            (false, false, false) => told = Some(reply::ALLOWLIST_LACKS),
            _ => {}
        }
        if told.is_some() {
            return Ok(None);
        }
        let edited = if change.add || listed {
            Some(edited_list(change, before, (&account, !author.commander(&current).every), &list)?)
        } else {
            None
        };
        let mut after = current;
        if let Some((path, text)) = &edited {
            after = loads(source, text, "the edit")?;
            if change.list_of(&after, &account).is_none_or(|l| change.listed_in(l) != change.add) {
                return Err(reply::ALLOWLIST_ELSEWHERE.to_owned());
            }
            author.within_borders(source, (before, text), &after)?;
            places.push(path.clone());
        }
        // Who is taken from the approvals too must not be the author.
        let left: Vec<String> = author.approved.entries().into_iter().filter(|e| !paired || !change.names(e)).collect();
        let judge = Author { approved: parse_approved(left.iter().map(String::as_str)), ..author.clone() };
        if !judge.stays_in(&after) {
            return Err(reply::ALLOWLIST_LOCKOUT.to_owned());
        }
        Ok(edited.map(|(_, text)| text))
    })?;
    if let Some(told) = told {
        return Ok(told.to_owned());
    }
    if paired {
        let gone = files.disallow(&account, |entry| change.names(entry));
        if gone.map_err(|e| format!("⚠️ The pairing store was not changed: {e}"))? {
            places.push("pairing store".to_owned());
        }
    }
    Ok(reply::allowlist_edited(change.scope.label(), change.add, &places))
}

/// The edited text, and the path of the list in it: the account's own, else the channel's, else a new one of the account. The channel's is left
/// alone for somebody who edits their own account only.
fn edited_list(
    change: &ListEdit,
    before: &str,
    (account, own_only): (&AccountId, bool),
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
    let shared = [&channel].into_iter().filter(|_| !own_only || own.is_none());
    let set = own.iter().chain(shared).find_map(|path| Some((path.clone(), entries(path)?)));
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

/// The value of the file at a path, without secrets, and without what belongs to accounts that somebody does not command.
fn shown(text: &str, steps: &[String], to: Option<Commander<'_>>) -> Value {
    let mut tree = edit::json5_value(text).unwrap_or_default();
    redact(&mut tree, HIDDEN, &mut Vec::new());
    let tree = match to {
        Some(to) => chat_edits::visible(tree, to),
        None => tree,
    };
    edit::get(&tree, steps).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::allowlist::parse_list;

    fn edited(before: &str, scope: Scope, entry: &str, add: bool, in_force: &[&str]) -> (String, Value) {
        edited_by(before, scope, entry, add, in_force, false)
    }

    fn edited_by(
        before: &str,
        scope: Scope,
        entry: &str,
        add: bool,
        in_force: &[&str],
        own_only: bool,
    ) -> (String, Value) {
        let change = ListEdit { scope, entry: entry.parse().expect("an entry"), add };
        let in_force = parse_list(in_force.iter().copied());
        let (path, text) =
            edited_list(&change, before, (&AccountId::new("work"), own_only), &in_force).expect("edited");
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
    fn who_edits_one_account_leaves_the_shared_list_alone() {
        let shared = "{ channels: { whatsapp: { allowFrom: ['+15550000001'], accounts: { work: {}, b: {} } } } }";
        let (path, list) = edited_by(shared, Scope::Dm, "+15550000003", true, &["+15550000001"], true);
        assert_eq!(path, "channels.whatsapp.accounts.work.allowFrom");
        assert_eq!(list, json!(["+15550000001", "+15550000003"]));
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
