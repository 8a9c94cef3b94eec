//! Where the keys of a config stand: the path as written, file and line. What decided about a message is told with its place.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::edit::parse_path;
use super::source::{Kind, Node, Pos, Sources};
use crate::ids::AccountId;

/// Where the value of a key comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "lowercase")]
pub enum SetIn {
    /// A config file, which may be an included one.
    File {
        /// Which.
        file: PathBuf,
        /// Line of the key, from 1.
        line: u32,
    },
    /// No file sets it.
    Default,
}

/// The places of one loaded config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    files: Vec<Option<PathBuf>>,
    root: Place,
}

/// One value that is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Place {
    /// File and line.
    at: Option<(u16, u32)>,
    /// Of an object in a list: its `id`.
    id: Option<String>,
    /// What it holds: keys of an object, or positions of a list of objects.
    inside: IndexMap<String, Place>,
    is_list: bool,
}

/// The keys that the rules name; other words name no key.
const ROOTS: &[&str] = &["channels", "agents", "messages", "bindings", "broadcast", "commands", "session"];

impl Places {
    /// Notes the places of a tree.
    pub(super) fn of(tree: &Node, sources: &Sources) -> Self {
        let breaks = sources.breaks();
        let line = |pos: Pos| {
            let before = breaks.get(usize::from(pos.file)).map_or(0, |b| b.partition_point(|at| *at < pos.offset));
            (pos.file, before as u32 + 1)
        };
        Self { files: sources.names(), root: Place::of(tree, &line) }
    }

    /// The path under which the value of `key` stands for `account`, and where. `key` is written at channel level; an account's own
    /// value goes before it, and what else it may come from after it. `None`: it is no config key.
    pub fn cite(&self, account: &AccountId, key: &str) -> Option<(String, SetIn)> {
        let steps = parse_path(key).ok().filter(|steps| steps.first().is_some_and(|s| ROOTS.contains(&s.as_str())))?;
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        for (path, whole) in alternatives(account, &steps) {
            // Channel keys are taken over whole: a group's entry of the account hides the channel's.
            if self.find(&path[..whole]).is_some() {
                let found = self.find(&path);
                let at = found.as_ref().and_then(|(_, place)| place.at);
                return Some(match found.zip(at) {
                    Some(((shown, _), (file, line))) => (shown, self.set_in(file, line)),
                    None => (self.shown(&path), SetIn::Default),
                });
            }
        }
        Some((self.shown(&steps), SetIn::Default))
    }

    fn set_in(&self, file: u16, line: u32) -> SetIn {
        match self.files.get(usize::from(file)).cloned().flatten() {
            Some(file) => SetIn::File { file, line },
            None => SetIn::Default,
        }
    }

    /// The place at a path, and the path as it is written in the file.
    fn find(&self, path: &[&str]) -> Option<(String, &Place)> {
        let (mut place, mut shown) = (&self.root, String::new());
        for step in path {
            let (key, next) = place.enter(step)?;
            show(&mut shown, key, place.is_list);
            place = next;
        }
        Some((shown, place))
    }

    /// The path as it would be written; as far as it is written down, as it is.
    fn shown(&self, path: &[&str]) -> String {
        let (mut place, mut shown) = (Some(&self.root), String::new());
        for step in path {
            let next = place.and_then(|p| p.enter(step));
            show(&mut shown, next.map_or(step, |(key, _)| key), place.is_some_and(|p| p.is_list && next.is_some()));
            place = next.map(|(_, next)| next);
        }
        shown
    }
}

impl Place {
    fn of(node: &Node, line: &impl Fn(Pos) -> (u16, u32)) -> Self {
        let mut place = Self { at: node.key_at.or(node.at).map(line), ..Self::default() };
        match &node.kind {
            Kind::Map(map) => {
                if let Some(Kind::Text(id)) = map.get("id").map(|n| &n.kind) {
                    place.id = Some(id.clone());
                }
                place.inside = map.iter().map(|(key, n)| (key.clone(), Self::of(n, line))).collect();
            }
            Kind::List(list) => {
                place.is_list = true;
                // A list of texts is one value.
                let objects = list.iter().enumerate().filter(|(_, n)| n.map().is_some());
                place.inside = objects.map(|(i, n)| (i.to_string(), Self::of(n, line))).collect();
            }
            _ => {}
        }
        place
    }

    /// The entry that `step` means: a key, whatever its case and spaces when nothing is spelled exactly so; in a list a position or an id.
    fn enter(&self, step: &str) -> Option<(&str, &Place)> {
        let exact = self.inside.get_key_value(step);
        let alike = |(key, place): &(&String, &Place)| {
            key.trim().eq_ignore_ascii_case(step)
                || place.id.as_deref().is_some_and(|id| id.trim().eq_ignore_ascii_case(step))
        };
        exact.or_else(|| self.inside.iter().find(alike)).map(|(key, place)| (key.as_str(), place))
    }
}

/// Where a value may come from, the strongest first, with the length of the part that must be written down to count.
fn alternatives<'s>(account: &'s AccountId, steps: &[&'s str]) -> Vec<(Vec<&'s str>, usize)> {
    let whole = |path: Vec<&'s str>| {
        let length = path.len();
        (path, length)
    };
    match steps {
        ["channels", "whatsapp", key, rest @ ..] => {
            let mut own = vec!["channels", "whatsapp", "accounts", account.as_str(), *key];
            own.extend(rest);
            let mut all = vec![(own, 5), (steps.to_vec(), 3)];
            if *key == "groupPolicy" {
                all.push(whole(vec!["channels", "defaults", "groupPolicy"]));
            }
            if *key == "debounceMs" {
                all.push(whole(vec!["messages", "inbound", "byChannel", "whatsapp"]));
                all.push(whole(vec!["messages", "inbound", "debounceMs"]));
            }
            all
        }
        ["agents", "list", agent, "groupChat", "mentionPatterns"] => vec![
            whole(steps.to_vec()),
            whole(vec!["messages", "groupChat", "mentionPatterns"]),
            // Patterns are made from the agent's name when none are given.
            whole(vec!["agents", "list", agent, "identity", "name"]),
        ],
        _ => vec![whole(steps.to_vec())],
    }
}

fn show(path: &mut String, key: &str, in_list: bool) {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-$".contains(c));
    if in_list {
        path.push_str(&format!("[{key}]"));
    } else if !plain {
        path.push_str(&format!("[{key:?}]"));
    } else {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Context, ResolveEnv, load};

    const MAIN: &str = r#"{
  channels: {
    $include: "./channels.json",
    defaults: { groupPolicy: "open" },
  },
  agents: { list: [
    { id: "other" },
    { id: "Main", identity: { name: "Vera" } },
  ] },
  bindings: [
    { agentId: "main", match: { channel: "whatsapp", accountId: "work" } },
  ],
  messages: { inbound: { debounceMs: 500 } },
}"#;
    const CHANNELS: &str = r#"{ whatsapp: {
  dmPolicy: "allowlist",
  allowFrom: ["+15551234567"],
  groups: { "*": {} },
  accounts: {
    Work: { allowFrom: [],
      groups: { "120363@G.us": { requireMention: false } } },
  },
} }"#;

    #[test]
    fn keys_are_cited_as_they_are_written() {
        let mut read = |_: &Path| Ok(CHANNELS.to_owned());
        let context = Context { path: Some(Path::new("/c/verso.json")), var: &|_| None, read: &mut read };
        let places = load(MAIN, context, &ResolveEnv::new("/h", "/s")).expect("valid").places;
        let work = AccountId::new("work");
        for (key, path, at) in [
            ("channels.whatsapp.dmPolicy", "channels.whatsapp.dmPolicy", "channels.json:2"),
            ("channels.whatsapp.allowFrom", "channels.whatsapp.accounts.Work.allowFrom", "channels.json:6"),
            ("channels.whatsapp.groupPolicy", "channels.defaults.groupPolicy", "verso.json:4"),
            ("channels.whatsapp.catchUpMinutes", "channels.whatsapp.catchUpMinutes", "default"),
            (
                r#"channels.whatsapp.groups["120363@g.us"].requireMention"#,
                r#"channels.whatsapp.accounts.Work.groups["120363@G.us"].requireMention"#,
                "channels.json:7",
            ),
            // The account's groups take the place of the channel's.
            (
                r#"channels.whatsapp.groups["*"].requireMention"#,
                r#"channels.whatsapp.accounts.Work.groups["*"].requireMention"#,
                "default",
            ),
            ("channels.whatsapp.debounceMs", "messages.inbound.debounceMs", "verso.json:13"),
            ("bindings[0]", "bindings[0]", "verso.json:11"),
            (r#"agents.list["main"].groupChat.mentionPatterns"#, "agents.list[1].identity.name", "verso.json:8"),
        ] {
            let (shown, set_in) = places.cite(&work, key).expect("a key");
            let place = match set_in {
                SetIn::File { file, line } => format!("{}:{line}", file.file_name().expect("name").display()),
                SetIn::Default => "default".to_owned(),
            };
            assert_eq!((shown.as_str(), place.as_str()), (path, at), "{key}");
        }
        let home = AccountId::new("home");
        assert_eq!(places.cite(&home, "channels.whatsapp.allowFrom").expect("a key").0, "channels.whatsapp.allowFrom");
        assert_eq!(places.cite(&work, "/activation"), None);
        assert_eq!(places.cite(&work, "pairing store"), None);
    }
}
