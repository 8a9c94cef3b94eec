//! The borders of an edit by chat: what somebody who commands an account, or every account, may change from a chat. All else is closed and is
//! edited on the host.
//!
//! Not the path that somebody types is judged but every value that differs after the edit, as it stands in the file and as it is meant. So no
//! spelling, parent, list position, include or removal leads around a border.

use std::fmt;

use serde_json::{Map, Value};

use super::schema::schema;
use super::{AllowList, Binding, Config};
use crate::ids::AccountId;

/// Keys of an account and of `channels.whatsapp` that are open: in the own account to whoever commands it, in the channel to whoever commands
/// every account. `*` stands for any name.
const OPEN_RULES: &[&str] = &[
    "ackReaction",
    "ackReaction.direct",
    "ackReaction.emoji",
    "ackReaction.group",
    "allowFrom",
    "chunkMode",
    "direct",
    "direct.*",
    "direct.*.systemPrompt",
    "dmHistoryLimit",
    "dmPolicy",
    "dms",
    "dms.*",
    "dms.*.historyLimit",
    "groupAllowFrom",
    "groupPolicy",
    "groups",
    "groups.*",
    "groups.*.requireMention",
    "groups.*.systemPrompt",
    "historyLimit",
    "mediaMaxMb",
    "messagePrefix",
    "pairing.text",
    "responsePrefix",
    "sendReadReceipts",
    "textChunkLimit",
];

/// Keys that are open to whoever commands every account. `[]` stands for any position.
const OPEN_TO_ALL: &[&str] = &[
    "agents.defaults.model",
    "agents.list.[].groupChat.historyLimit",
    "agents.list.[].groupChat.mentionPatterns",
    "agents.list.[].identity.emoji",
    "agents.list.[].identity.name",
    "agents.list.[].model",
    "agents.list.[].name",
    "messages.ackReaction",
    "messages.ackReactionScope",
    "messages.errorText",
    "messages.groupChat.historyLimit",
    "messages.groupChat.mentionPatterns",
    "messages.inbound.byChannel.*",
    "messages.inbound.debounceMs",
    "messages.messagePrefix",
    "messages.queue.byChannel.*",
    "messages.queue.cap",
    "messages.queue.debounceMs",
    "messages.queue.debounceMsByChannel.*",
    "messages.queue.drop",
    "messages.queue.mode",
    "messages.responsePrefix",
];

/// Keys that are closed, with everything below them. The list decides nothing, for what stands in no list is closed; it shows that somebody
/// thought about the key. `bindings` are judged one by one.
#[cfg(test)]
const CLOSED: &[&str] = &[
    "$schema",
    "agents.defaults.blockStreamingCoalesce",
    "agents.defaults.blockStreamingDefault",
    "agents.defaults.envelopeElapsed",
    "agents.defaults.envelopeTimestamp",
    "agents.defaults.envelopeTimezone",
    "agents.defaults.heartbeat",
    "agents.defaults.humanDelay",
    "agents.defaults.maxConcurrent",
    "agents.defaults.mediaMaxMb",
    "agents.defaults.reportErrors",
    "agents.defaults.timeoutSeconds",
    "agents.defaults.typingIntervalSeconds",
    "agents.defaults.typingMode",
    "agents.defaults.userTimezone",
    "agents.defaults.workspace",
    "agents.list.[].default",
    "agents.list.[].heartbeat",
    "agents.list.[].humanDelay",
    "agents.list.[].id",
    "agents.list.[].workspace",
    "bindings",
    "broadcast",
    "channels.defaults",
    "channels.whatsapp.actions",
    "channels.whatsapp.defaultAccount",
    "commands",
    "credentials",
    "gateway",
    "logging",
    "models",
    "retention",
    "session",
    "web",
];

/// The same for the keys of an account and of `channels.whatsapp`.
#[cfg(test)]
const CLOSED_RULES: &[&str] = &[
    "authDir",
    "blockStreaming",
    "blockStreamingCoalesce",
    "capabilities",
    "catchUpMinutes",
    "configWrites",
    "debounceMs",
    "deviceName",
    "enabled",
    "handover",
    "heartbeat",
    "listenOnly",
    "markOnline",
    "markdown",
    "name",
    "pacing",
    "pairing.notifyOwner",
    "selfChatMode",
];

/// Who edits.
#[derive(Clone, Copy, Debug)]
pub struct Commander<'a> {
    /// The account whose chat the command came from.
    pub account: &'a AccountId,
    /// Commands every account.
    pub every: bool,
}

/// The border that an edit would cross.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Border {
    /// Nobody edits this by chat.
    Closed {
        /// The key.
        path: String,
    },
    /// It belongs to an account that the author does not command, or not from here.
    OtherAccount {
        /// The key.
        path: String,
        /// The account of the chat.
        own: String,
    },
    /// It holds for every account, and the author commands only some.
    Shared {
        /// The key.
        path: String,
    },
    /// It holds for an account that takes no edits by chat.
    ReadOnly {
        /// The account.
        account: String,
    },
    /// The value refers to the environment.
    Environment,
    /// The value includes a file.
    Include,
    /// Somebody else's place among those who command an account.
    Seniority,
}

impl fmt::Display for Border {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("⚠️ Config not changed: ")?;
        match self {
            Self::Closed { path } => write!(
                f,
                "{path} is not edited by chat. Edit verso.json on the host, or run there: verso config set {path} <value>"
            ),
            Self::OtherAccount { path, own } => write!(
                f,
                "{path} does not belong to the account {own}, and from here only that account is edited. Write to me on the other account, or edit verso.json on the host."
            ),
            Self::Shared { path } => write!(
                f,
                "{path} holds for every account, and you do not command all of them. Set the key of your own account below channels.whatsapp.accounts, or edit verso.json on the host."
            ),
            Self::ReadOnly { account } => write!(
                f,
                "this holds for the account {account} too, which takes no edits by chat (configWrites: false). Edit verso.json on the host."
            ),
            Self::Environment => f.write_str(
                "values with ${…} are not set by chat, because they would bring what is in the gateway's environment here. Edit verso.json on the host.",
            ),
            Self::Include => f.write_str("$include is not edited by chat. Edit verso.json on the host."),
            Self::Seniority => f.write_str(
                "only the first number in allowFrom, or somebody in commands.ownerAllowFrom, takes others off the list or comes first in it. Ask them, or edit verso.json on the host.",
            ),
        }
    }
}

/// Checks what somebody typed, before anything is made of it.
///
/// # Errors
/// The border that the value or the path crosses by itself.
pub fn check_typed(path: &[String], value: Option<&Value>) -> Result<(), Border> {
    let steps = path.iter().cloned().map(Value::String).collect();
    for value in [Some(&Value::Array(steps)), value].into_iter().flatten() {
        if texts(value).any(|t| t == "$include") {
            return Err(Border::Include);
        }
        if texts(value).any(|t| t.contains("${")) {
            return Err(Border::Environment);
        }
    }
    Ok(())
}

/// Every text in a value, keys included.
fn texts(value: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match value {
        Value::String(text) => Box::new(std::iter::once(text.as_str())),
        Value::Array(list) => Box::new(list.iter().flat_map(texts)),
        Value::Object(map) => Box::new(map.iter().flat_map(|(k, v)| std::iter::once(k.as_str()).chain(texts(v)))),
        _ => Box::new(std::iter::empty()),
    }
}

/// A config before and after an edit: the file's own values, and what they mean with includes and in today's spelling.
#[derive(Clone, Copy, Debug)]
pub struct Edit<'a> {
    /// The values of the file before.
    pub file_before: &'a Value,
    /// The values of the file after.
    pub file_after: &'a Value,
    /// The config before.
    pub before: &'a Config,
    /// The config after.
    pub after: &'a Config,
}

/// Checks every value that an edit changes.
///
/// # Errors
/// The first border that it crosses.
pub fn check(edit: Edit<'_>, who: Commander<'_>) -> Result<(), Border> {
    let meaning = changes(&edit.before.written, &edit.after.written, true);
    let file = changes(edit.file_before, edit.file_after, false);
    let mut shared = false;
    for path in meaning.iter().chain(&file) {
        shared |= cross(path, &edit, who)?;
    }
    if shared && let Some(account) = edit.before.accounts.values().find(|a| !a.rules.config_writes) {
        return Err(Border::ReadOnly { account: account.id.to_string() });
    }
    Ok(())
}

/// Whether a changed key is one that all accounts share.
fn cross(path: &[String], edit: &Edit<'_>, who: Commander<'_>) -> Result<bool, Border> {
    let shown = shown(path);
    let steps: Vec<&str> = path.iter().map(String::as_str).collect();
    if let ["bindings"] = steps.as_slice() {
        return bindings(edit, who, shown);
    }
    let pattern = pattern(path);
    if let ["channels", "whatsapp", "accounts", key, ..] = steps.as_slice() {
        let account = AccountId::new(key);
        if account != *who.account && !who.every {
            return Err(Border::OtherAccount { path: shown, own: who.account.to_string() });
        }
        if edit.before.account(&account).is_some_and(|a| !a.rules.config_writes) {
            return Err(Border::ReadOnly { account: account.to_string() });
        }
        let key_in_account = pattern.as_deref().and_then(|p| p.strip_prefix("channels.whatsapp.accounts.*"));
        return match key_in_account.map(|k| k.trim_start_matches('.')) {
            // The own account may be written down; it is not taken away, and no second spelling of it put over the first.
            Some("") if begins(edit, key, &account) => Ok(false),
            Some(rule) if OPEN_RULES.contains(&rule) => Ok(false),
            _ => Err(Border::Closed { path: shown }),
        };
    }
    let open = pattern.as_deref().is_some_and(|p| {
        OPEN_TO_ALL.contains(&p) || p.strip_prefix("channels.whatsapp.").is_some_and(|r| OPEN_RULES.contains(&r))
    });
    match (open, who.every) {
        (false, _) => Err(Border::Closed { path: shown }),
        (true, false) => Err(Border::Shared { path: shown }),
        (true, true) => Ok(true),
    }
}

/// The account is listed for the first time, under one key.
fn begins(edit: &Edit<'_>, key: &str, account: &AccountId) -> bool {
    let keys = |config: &Config| -> Vec<String> {
        let accounts = config.written.pointer("/channels/whatsapp/accounts").and_then(Value::as_object);
        accounts.map(|m| m.keys().filter(|k| AccountId::new(k) == *account).cloned().collect()).unwrap_or_default()
    };
    keys(edit.before).is_empty() && keys(edit.after) == [key]
}

/// Own bindings come and go; all others stay as they are, in their order.
fn bindings(edit: &Edit<'_>, who: Commander<'_>, path: String) -> Result<bool, Border> {
    let foreign = |tree: &Value| -> Vec<Value> {
        let list = tree.get("bindings").and_then(Value::as_array).cloned().unwrap_or_default();
        list.into_iter().filter(|b| !who.every && !binds(b, who.account)).collect()
    };
    let file = foreign(edit.file_before) == foreign(edit.file_after);
    if file
        && foreign(&edit.before.written) == foreign(&edit.after.written)
        && (who.every || keeps_to_own_agents(edit, who.account))
    {
        // Whoever commands every account changes what concerns all of them.
        return Ok(who.every);
    }
    Err(Border::OtherAccount { path, own: who.account.to_string() })
}

/// New bindings of the account send its chats to agents that it reaches already, or that no other account reaches: an agent's files and its
/// main session may be somebody else's.
fn keeps_to_own_agents(edit: &Edit<'_>, own: &AccountId) -> bool {
    let (old, new) = (&edit.before.bindings, &edit.after.bindings);
    let same = |a: &Binding, b: &Binding| a.agent == b.agent && a.account == b.account && a.peer == b.peer;
    new.iter().filter(|binding| !old.iter().any(|known| same(known, binding))).all(|binding| {
        let Some(reach) = edit.before.reach.get(&binding.agent) else { return true };
        let mut by = reach.accounts.iter().chain(&reach.in_part).peekable();
        by.peek().is_none() || by.any(|account| account == own)
    })
}

fn binds(binding: &Value, account: &AccountId) -> bool {
    let of = binding.pointer("/match/accountId").and_then(Value::as_str);
    of.is_some_and(|of| of != "*" && AccountId::new(of) == *account)
}

/// The paths of all values that differ. A list is one value, but the agents are compared one by one where they are the same ones. With
/// `entries` a named entry that comes or goes is a change by itself.
fn changes(before: &Value, after: &Value, entries: bool) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    compare(Some(before), Some(after), entries, &mut Vec::new(), &mut out);
    out
}

fn compare(
    before: Option<&Value>,
    after: Option<&Value>,
    entries: bool,
    path: &mut Vec<String>,
    out: &mut Vec<Vec<String>>,
) {
    if before == after {
        return;
    }
    if let (Some(Value::Array(old)), Some(Value::Array(new))) = (before, after)
        && path.as_slice() == ["agents", "list"]
        && old.iter().map(|a| a.get("id")).eq(new.iter().map(|a| a.get("id")))
    {
        for (n, (old, new)) in old.iter().zip(new).enumerate() {
            path.push(n.to_string());
            compare(Some(old), Some(new), entries, path, out);
            path.pop();
        }
        return;
    }
    let object = |v: Option<&'_ Value>| v.is_some_and(Value::is_object);
    if !object(before) && !object(after) {
        return out.push(path.clone());
    }
    let none = Map::new();
    let keys = |v: Option<&'_ Value>| v.and_then(Value::as_object).unwrap_or(&none).clone();
    let (old, new) = (keys(before), keys(after));
    let comes_or_goes = before.is_none() || after.is_none();
    let replaced = !comes_or_goes && (!object(before) || !object(after));
    // An object without anything in it says something, too: an empty `groups` serves no group.
    let empty = comes_or_goes && old.is_empty() && new.is_empty();
    let named = entries && comes_or_goes && pattern(path).is_some_and(|p| p.ends_with(".*"));
    if replaced || empty || named {
        out.push(path.clone());
    }
    let mut all: Vec<&String> = old.keys().chain(new.keys().filter(|k| !old.contains_key(*k))).collect();
    all.sort();
    for key in all {
        path.push(key.clone());
        compare(old.get(key), new.get(key), entries, path, out);
        path.pop();
    }
}

/// The path with `*` for names and `[]` for positions, as the schema has it; `None` for a key that it does not know.
fn pattern(path: &[String]) -> Option<String> {
    let mut node = schema();
    let mut out = Vec::new();
    for step in path {
        let (next, name) = below(node, step)?;
        node = next;
        out.push(name);
    }
    Some(out.join("."))
}

fn below<'s>(node: &'s Value, step: &str) -> Option<(&'s Value, String)> {
    let node = target(node);
    if let Some(next) = node.get("properties").and_then(|p| p.get(step)) {
        return Some((next, step.to_owned()));
    }
    if let Some(next) = node.get("additionalProperties").filter(|n| n.is_object()) {
        return Some((next, "*".to_owned()));
    }
    let items = node.get("items").filter(|_| step.parse::<usize>().is_ok())?;
    Some((items, "[]".to_owned()))
}

/// The node that a reference names.
fn target(node: &Value) -> &Value {
    let name = node.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"));
    name.and_then(|name| schema().get("$defs")?.get(name)).unwrap_or(node)
}

/// The path as people read it, in one line.
fn shown(path: &[String]) -> String {
    path.iter().map(|step| step.replace(char::is_control, " ")).collect::<Vec<_>>().join(".")
}

/// Checks that nobody but the first of those who command an account, or somebody whom `commands.ownerAllowFrom` names, takes others off
/// `allowFrom` or comes first in it. `is_author` tells whether an entry of a list is the author.
///
/// # Errors
/// [`Border::Seniority`].
pub fn check_seniority(before: &Config, after: &Config, is_author: impl Fn(&AllowList) -> bool) -> Result<(), Border> {
    if before.commands.owner_allow_from.as_ref().is_some_and(&is_author) {
        return Ok(());
    }
    let one = |n: &crate::ids::E164| AllowList { numbers: vec![n.clone()], ..AllowList::default() };
    for account in before.accounts.values() {
        let old = &account.rules.allow_from;
        let Some(first) = old.numbers.first() else { continue };
        if is_author(&one(first)) {
            continue;
        }
        let Some(new) = after.account(&account.id).map(|a| &a.rules.allow_from) else { continue };
        let stays = |n: &&crate::ids::E164| new.has_number(n) || is_author(&one(n));
        let lids = |l: &&crate::ids::Jid| {
            new.has_lid(l) || is_author(&AllowList { lids: vec![(*l).clone()], ..AllowList::default() })
        };
        if new.numbers.first() != Some(first)
            || !old.numbers.iter().all(|n| stays(&n))
            || !old.lids.iter().all(|l| lids(&l))
        {
            return Err(Border::Seniority);
        }
    }
    Ok(())
}

/// What of a file's values somebody may see who does not command every account: no branch and no binding of another one.
pub fn visible(mut tree: Value, who: Commander<'_>) -> Value {
    if who.every {
        return tree;
    }
    for pointer in ["/channels/whatsapp/accounts", "/whatsapp/accounts"] {
        if let Some(accounts) = tree.pointer_mut(pointer).and_then(Value::as_object_mut) {
            accounts.retain(|key, _| AccountId::new(key) == *who.account);
        }
    }
    for pointer in ["/bindings", "/routing/bindings"] {
        if let Some(bindings) = tree.pointer_mut(pointer).and_then(Value::as_array_mut) {
            bindings.retain(|binding| binds(binding, who.account));
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ResolveEnv, edit, load_text};

    /// Every key of the schema, down to the last one.
    fn leaves(node: &'static Value, path: &str, out: &mut Vec<String>) {
        let node = target(node);
        let on = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let mut inner = false;
        for (key, next) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
            inner = true;
            leaves(next, &on(key), out);
        }
        if let Some(next) = node.get("additionalProperties").filter(|n| n.is_object()) {
            inner = true;
            leaves(next, &on("*"), out);
        }
        match node.get("items") {
            Some(next) if target(next).get("properties").is_some() => leaves(next, &on("[]"), out),
            _ if inner => {}
            _ => out.push(path.to_owned()),
        }
    }

    fn is_below(key: &str, above: &str) -> bool {
        key == above || key.strip_prefix(above).is_some_and(|rest| rest.starts_with('.'))
    }

    #[test]
    fn every_key_of_the_schema_stands_in_exactly_one_list() {
        let mut keys = Vec::new();
        leaves(schema(), "", &mut keys);
        assert!(keys.len() > 150, "{}", keys.len());
        let mut wrong = Vec::new();
        for key in &keys {
            let rule = key
                .strip_prefix("channels.whatsapp.accounts.*.")
                .or_else(|| key.strip_prefix("channels.whatsapp.").filter(|r| !r.starts_with("accounts.")));
            let open = OPEN_TO_ALL.contains(&key.as_str()) || rule.is_some_and(|r| OPEN_RULES.contains(&r));
            let closed = CLOSED.iter().any(|c| is_below(key, c))
                || rule.is_some_and(|r| CLOSED_RULES.iter().any(|c| is_below(r, c)));
            if open == closed {
                wrong.push(format!("{key}: {}", if open { "open and closed" } else { "in no list" }));
            }
        }
        assert!(wrong.is_empty(), "decide in config/chat_edits.rs who may edit these by chat:\n{}", wrong.join("\n"));
        for listed in OPEN_TO_ALL.iter().map(|k| (*k).to_owned()).chain(CLOSED.iter().map(|k| (*k).to_owned())) {
            assert!(keys.iter().any(|k| is_below(k, &listed)), "{listed} is no key any more");
        }
        for listed in OPEN_RULES.iter().chain(CLOSED_RULES) {
            let somewhere = ["channels.whatsapp", "channels.whatsapp.accounts.*"].map(|at| format!("{at}.{listed}"));
            assert!(keys.iter().any(|k| somewhere.iter().any(|s| is_below(k, s))), "{listed} is no key any more");
        }
    }

    const FILE: &str = "{
        commands: { config: true },
        models: { providers: { a: { api: 'openai-completions', baseUrl: 'http://127.0.0.1:1/v1', apiKey: 'k' } } },
        agents: { defaults: { model: 'echo' }, list: [{ id: 'main', name: 'M' }, { id: 'two' }] },
        bindings: [
            { agentId: 'main', match: { channel: 'whatsapp', accountId: 'b' } },
            { agentId: 'main', match: { channel: 'whatsapp', accountId: 'a' } },
        ],
        channels: { whatsapp: { dmPolicy: 'allowlist', accounts: {
            a: { allowFrom: ['+15550000001', '+15550000002'], name: 'A' }, b: { allowFrom: ['+15550000009'] } } } },
    }";

    fn config(text: &str) -> std::sync::Arc<Config> {
        load_text(text, &ResolveEnv::new("/h", "/s")).unwrap_or_else(|p| panic!("{p:?}: {text}")).config
    }

    /// `path = value`, or the removal of `path`, by somebody who commands `a`, or everything.
    fn attempt_in(file: &str, command: &str, every: bool) -> Result<(), Border> {
        let (path, value) = match command.split_once('=') {
            Some((path, value)) => (path, Some(edit::typed_value(value.trim()))),
            None => (command, None),
        };
        let steps = edit::parse_path(path).unwrap();
        check_typed(&steps, value.as_ref())?;
        let after = match &value {
            Some(value) => edit::set(file, &steps, value).unwrap(),
            None => edit::unset(file, &steps).unwrap().unwrap(),
        };
        let tree = |text: &str| edit::json5_value(text).unwrap();
        let before = config(file);
        let Ok(new) = load_text(&after, &ResolveEnv::new("/h", "/s")) else { panic!("{command} gives no config") };
        let change = Edit { file_before: &tree(file), file_after: &tree(&after), before: &before, after: &new.config };
        check(change, Commander { account: &AccountId::new("a"), every })
    }

    /// Without bindings where the command is about something else: one that names nothing any more would be refused before.
    fn attempt(command: &str, every: bool) -> Result<(), Border> {
        let (head, rest) = FILE.split_once("bindings: [").unwrap();
        let bare = format!("{head}{}", rest.split_once("],\n").unwrap().1);
        attempt_in(if command.starts_with("bindings") { FILE } else { &bare }, command, every)
    }

    #[test]
    fn the_own_account_is_open() {
        for command in [
            "channels.whatsapp.accounts.a.dmPolicy=disabled",
            "channels['whatsapp'].accounts[\"a\"].responsePrefix=hi",
            "channels.whatsapp.accounts.a.groups={ \"1@g.us\": { requireMention: false } }",
            "channels.whatsapp.accounts.a.groups={}",
            "channels.whatsapp.accounts.a.allowFrom[1]=+15550000003",
            "channels.whatsapp.accounts.a.allowFrom",
            "channels.whatsapp.accounts.a.pairing.text=never",
            "channels.whatsapp.accounts.a.ackReaction={emoji: '👀'}",
            "channels.whatsapp.accounts.a={ dmPolicy: 'open', allowFrom: ['*'], name: 'A' }",
            "bindings[1]={ agentId: 'two', match: { channel: 'whatsapp', accountId: 'A' } }",
            "bindings[1]",
            "bindings[2]={ agentId: 'two', match: { channel: 'whatsapp', accountId: 'a', peer: { kind: 'group', id: '1@g.us' } } }",
        ] {
            assert_eq!(attempt(command, false), Ok(()), "{command}");
        }
    }

    #[test]
    fn no_way_leads_over_a_border() {
        for command in [
            "channels.whatsapp.accounts.b.dmPolicy=disabled",
            "channels.whatsapp.accounts.b",
            "channels.whatsapp.accounts={ a: { allowFrom: ['+15550000001'] } }",
            "channels.whatsapp.accounts.c={}",
            "channels.whatsapp.accounts.a.configWrites=true",
            "channels.whatsapp.accounts.a.authDir=/tmp/x",
            "channels.whatsapp.accounts.a.enabled=false",
            "channels.whatsapp.accounts.a.name",
            "channels.whatsapp.accounts.a",
            "channels.whatsapp={ accounts: { a: { dmPolicy: 'disabled' } } }",
            "channels.whatsapp.dmPolicy=disabled",
            "channels.whatsapp",
            "channels",
            "whatsapp.dmPolicy=disabled",
            "routing.allowFrom=['+1555']",
            "messages.responsePrefix=x",
            "agents.defaults.model=a/m",
            "agents.list[0].name=x",
            "bindings[0]",
            "bindings=[]",
            "bindings[2]={ agentId: 'two', match: { channel: 'whatsapp', accountId: 'b' } }",
            "bindings[2]={ agentId: 'two', match: { channel: 'whatsapp', accountId: '*' } }",
            "bindings[2]={ agentId: 'two', match: { channel: 'whatsapp' } }",
            "commands.ownerAllowFrom=['+15550000001']",
            "gateway.bind=loopback",
            "models.providers.a.baseUrl=http://evil.example/v1",
        ] {
            assert!(attempt(command, false).is_err(), "{command}");
        }
    }

    #[test]
    fn whoever_commands_every_account_edits_what_they_share_and_no_more() {
        for command in [
            "channels.whatsapp.dmPolicy=disabled",
            "channels.whatsapp.accounts.b.dmPolicy=disabled",
            "messages.responsePrefix=x",
            "messages={ queue: { cap: 5 } }",
            "agents.defaults.model=a/m",
            "agents.list[1].model=a/m",
            "agents.list[0]={ id: 'main', name: 'N', identity: { emoji: 'x' }, groupChat: { mentionPatterns: ['x'] } }",
            "bindings=[]",
        ] {
            assert_eq!(attempt(command, true), Ok(()), "{command}");
        }
        for command in [
            "agents.list=[{ id: 'main', workspace: '/' }]",
            "agents.list[0].workspace=/",
            "agents.list[0].id=other",
            "agents.list[1]",
            "agents.list[2]={ id: 'three' }",
            "agents.defaults={ workspace: '/' }",
            "agents.defaults.workspace=/",
            "agents.defaults.heartbeat={}",
            "models.providers.a.baseUrl=http://evil.example/v1",
            "models.providers.b={ api: 'echo' }",
            "models={}",
            "commands={ config: true, debug: true }",
            "gateway.auth.token=a-new-token-of-mine",
            "credentials.encryption.key={ source: 'file', id: '/x' }",
            "logging.file=/tmp/x",
            "session.dmScope=main",
            "channels.whatsapp.accounts.b",
            "channels.whatsapp.configWrites=true",
            "channels.whatsapp.actions.reactions=false",
            "channels.defaults.groupPolicy=open",
            "plugins.entries.x=1",
            "channels.telegram.token=x",
        ] {
            assert!(
                matches!(attempt(command, true), Err(Border::Closed { .. })),
                "{command}: {:?}",
                attempt(command, true)
            );
        }
    }

    #[test]
    fn environment_and_includes_are_refused_wherever_they_stand() {
        for (command, want) in [
            ("channels.whatsapp.accounts.a.responsePrefix=${OPENAI_API_KEY}", Border::Environment),
            ("channels.whatsapp.accounts.a.responsePrefix=$${X}", Border::Environment),
            ("channels.whatsapp.accounts.a.allowFrom=['+1', 'x${HOME}y']", Border::Environment),
            ("channels.whatsapp.accounts.a.groups={ '${HOME}': {} }", Border::Environment),
            ("channels.whatsapp.accounts.a.groups={ '*': { $include: './x.json' } }", Border::Include),
            ("channels.whatsapp.accounts.a.$include=x.json", Border::Include),
        ] {
            let (path, value) = command.split_once('=').unwrap();
            let steps = edit::parse_path(path).unwrap();
            assert_eq!(check_typed(&steps, Some(&edit::typed_value(value))), Err(want), "{command}");
        }
    }

    #[test]
    fn an_account_that_takes_no_edits_is_spared_by_all() {
        let file = FILE.replace("b: { allowFrom", "b: { configWrites: false, allowFrom");
        for command in [
            "channels.whatsapp.accounts.b.dmPolicy=disabled",
            "channels.whatsapp.dmPolicy=disabled",
            "messages.responsePrefix=x",
        ] {
            assert_eq!(attempt_in(&file, command, true), Err(Border::ReadOnly { account: "b".into() }), "{command}");
        }
        assert_eq!(attempt_in(&file, "channels.whatsapp.accounts.a.dmPolicy=disabled", true), Ok(()));
    }

    #[test]
    fn an_account_without_a_list_of_accounts_may_be_written_down() {
        let file = "{ channels: { whatsapp: { allowFrom: ['+15550000001'] } } }";
        let tree = |text: &str| edit::json5_value(text).unwrap();
        let after = edit::set(
            file,
            &edit::parse_path("channels.whatsapp.accounts.default.dmPolicy").unwrap(),
            &"disabled".into(),
        )
        .unwrap();
        let (before, new) = (config(file), config(&after));
        let change = Edit { file_before: &tree(file), file_after: &tree(&after), before: &before, after: &new };
        assert_eq!(check(change, Commander { account: &AccountId::new("default"), every: false }), Ok(()));
    }

    #[test]
    fn nobody_overtakes_the_first_of_an_account() {
        let before = config(FILE);
        let after = |list: &str| config(&FILE.replace("['+15550000001', '+15550000002']", list));
        let by = |number: &str| {
            let number = crate::ids::E164::parse(number).unwrap();
            move |list: &AllowList| list.has_number(&number)
        };
        let (first, second) = (by("+15550000001"), by("+15550000002"));
        for (list, second_may) in [
            ("['+15550000001', '+15550000002', '+15550000003']", true),
            ("['+15550000001']", true),
            ("['+15550000002', '+15550000001']", false),
            ("['+15550000002']", false),
            ("['*']", false),
        ] {
            assert_eq!(check_seniority(&before, &after(list), &first), Ok(()), "{list}");
            assert_eq!(check_seniority(&before, &after(list), &second).is_ok(), second_may, "{list}");
        }
        let owned = FILE.replace("config: true", "config: true, ownerAllowFrom: ['+15550000002']");
        let new = config(&owned.replace("['+15550000001', '+15550000002']", "['+15550000002']"));
        assert_eq!(check_seniority(&config(&owned), &new, &second), Ok(()));
    }

    #[test]
    fn others_branches_are_not_shown() {
        let shown =
            visible(edit::json5_value(FILE).unwrap(), Commander { account: &AccountId::new("a"), every: false })
                .to_string();
        assert!(
            shown.contains("+15550000001") && !shown.contains("+15550000009") && !shown.contains("\"b\""),
            "{shown}"
        );
    }
}
