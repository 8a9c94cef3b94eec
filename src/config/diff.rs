//! What a new config changes: per account what happens to its socket, which keys differ, and what only a restart can apply.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::model::{AccountConfig, Config};
use super::problem::{KeyPath, Warning};
use crate::clock::UnixMs;
use crate::ids::AccountId;
use crate::routing::main_session;

/// What happens to one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AccountOutcome {
    /// Nothing of it changed.
    Kept,
    /// New rules from the next message on; the socket stays.
    Refreshed,
    /// Its credentials are elsewhere now, or sealed with another key: the socket is closed and opened anew.
    Relinked,
    /// Switched on.
    Started,
    /// Switched off.
    Stopped,
    /// New in the config.
    Added,
    /// Gone from the config.
    Removed,
}

impl fmt::Display for AccountOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "kept",
            Self::Refreshed => "refreshed",
            Self::Relinked => "relinked",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Added => "added",
            Self::Removed => "removed",
        })
    }
}

/// In the order in which a receipt names them.
const OUTCOMES: [AccountOutcome; 7] = [
    AccountOutcome::Added,
    AccountOutcome::Removed,
    AccountOutcome::Started,
    AccountOutcome::Stopped,
    AccountOutcome::Relinked,
    AccountOutcome::Refreshed,
    AccountOutcome::Kept,
];

/// The difference between two configs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigDiff {
    /// Every account of either config.
    pub accounts: BTreeMap<AccountId, AccountOutcome>,
    /// Keys that differ, as deep as they can be named, in the current spelling.
    pub changed: Vec<String>,
    /// Keys whose new value needs a restart of the gateway and is not applied.
    pub refused: Vec<String>,
    /// Main sessions that go to another person, a sentence each; the new one begins anew.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<String>,
}

impl ConfigDiff {
    /// Compares what is in force with what is wanted.
    pub fn between(old: &Config, new: &Config) -> Self {
        let ids: BTreeSet<&AccountId> = old.accounts.keys().chain(new.accounts.keys()).collect();
        let change =
            |id: &AccountId| account(old.accounts.get(id).map(AsRef::as_ref), new.accounts.get(id).map(AsRef::as_ref));
        let mut changed = Vec::new();
        differences(&old.written, &new.written, &KeyPath::default(), &mut changed);
        Self {
            accounts: ids.into_iter().map(|id| (id.clone(), change(id))).collect(),
            changed: changed.iter().map(ToString::to_string).collect(),
            refused: refused(old, new),
            moved: main_session::moved(old, new),
        }
    }

    /// True when both configs say the same.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.refused.is_empty() && self.accounts.values().all(|c| *c == AccountOutcome::Kept)
    }
}

/// Only the place of the credentials and their key make an account's socket; everything else reaches a running one.
fn account(old: Option<&AccountConfig>, new: Option<&AccountConfig>) -> AccountOutcome {
    let on = |a: &AccountConfig| a.link.enabled;
    match (old, new) {
        (None, None) => AccountOutcome::Kept,
        (None, Some(_)) => AccountOutcome::Added,
        (Some(_), None) => AccountOutcome::Removed,
        (Some(old), Some(new)) => match (on(old), on(new)) {
            (false, true) => AccountOutcome::Started,
            (true, false) => AccountOutcome::Stopped,
            (true, true) if old.link.auth_dir != new.link.auth_dir || old.link.encryption != new.link.encryption => {
                AccountOutcome::Relinked
            }
            _ if old != new => AccountOutcome::Refreshed,
            _ => AccountOutcome::Kept,
        },
    }
}

/// What is bound once at start. Compared as resolved, so that writing a default out refuses nothing.
fn refused(old: &Config, new: &Config) -> Vec<String> {
    let (a, b) = (&old.gateway, &new.gateway);
    let fixed = [
        ("gateway.port", a.port != b.port),
        ("gateway.bind", a.bind != b.bind),
        ("session.store", old.session.store != new.session.store),
        ("logging.file", old.logging.file != new.logging.file),
        ("logging.consoleStyle", old.logging.console_style != new.logging.console_style),
    ];
    fixed.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
}

fn differences(old: &Value, new: &Value, at: &KeyPath, out: &mut Vec<KeyPath>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let (x, y) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                differences(x, y, &at.key(key), out);
            }
        }
        // An object that comes or goes is named by its keys, unless it has none.
        (Value::Null, Value::Object(map)) | (Value::Object(map), Value::Null) if !map.is_empty() => {
            for (key, value) in map {
                differences(&Value::Null, value, &at.key(key), out);
            }
        }
        _ if old == new => {}
        _ => out.push(at.clone()),
    }
}

/// What a reload did: an event, a log line, an API answer and part of the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloadReceipt {
    /// Number of the config in force, from 1.
    pub revision: u64,
    /// When it was applied.
    pub at: UnixMs,
    /// Keys that changed.
    pub changed: Vec<String>,
    /// What happened to every account.
    pub accounts: BTreeMap<AccountId, AccountOutcome>,
    /// Keys whose new value needs a restart of the gateway.
    pub refused: Vec<String>,
    /// Main sessions that went to another person, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<String>,
    /// What somebody should know about the config in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl ReloadReceipt {
    /// The receipt of having applied `diff` as `revision`.
    pub fn new(revision: u64, diff: &ConfigDiff, at: UnixMs) -> Self {
        Self {
            revision,
            at,
            changed: diff.changed.clone(),
            accounts: diff.accounts.clone(),
            refused: diff.refused.clone(),
            moved: diff.moved.clone(),
            warnings: Vec::new(),
        }
    }

    /// The same with what the load of the config warned of.
    #[must_use]
    pub fn with_warnings(mut self, warnings: &[Warning]) -> Self {
        self.warnings = warnings.iter().map(ToString::to_string).collect();
        self
    }
}

impl fmt::Display for ReloadReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "config revision {}: ", self.revision)?;
        match self.changed.as_slice() {
            [] => f.write_str("nothing changed")?,
            keys => {
                let shown = keys.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "{} changed ({shown}",
                    if keys.len() == 1 { "1 key".to_owned() } else { format!("{} keys", keys.len()) }
                )?;
                if keys.len() > 5 {
                    write!(f, ", and {} more", keys.len() - 5)?;
                }
                f.write_str(")")?;
            }
        }
        for change in OUTCOMES {
            let ids: Vec<&str> =
                self.accounts.iter().filter(|(_, c)| **c == change).map(|(id, _)| id.as_str()).collect();
            if !ids.is_empty() {
                write!(f, "; {change}: {}", ids.join(", "))?;
            }
        }
        for moved in &self.moved {
            write!(f, "; {moved}")?;
        }
        if !self.refused.is_empty() {
            write!(f, "; needs a restart: {}", self.refused.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ResolveEnv, load_text};

    fn diff(old: &str, new: &str) -> ConfigDiff {
        let read = |text: &str| load_text(text, &ResolveEnv::new("/h", "/s")).unwrap().config;
        ConfigDiff::between(&read(old), &read(new))
    }

    fn check(old: &str, new: &str, accounts: &str, changed: &[&str], refused: &[&str]) {
        let found = diff(old, new);
        let line: Vec<String> = found.accounts.iter().map(|(id, c)| format!("{id} {c}")).collect();
        assert_eq!(line.join(", "), accounts, "{old} -> {new}");
        assert_eq!(found.changed, changed, "{old} -> {new}");
        assert_eq!(found.refused, refused, "{old} -> {new}");
    }

    #[test]
    fn only_link_settings_touch_a_socket() {
        let two = "{ channels: { whatsapp: { accounts: { work: {}, home: {} } } } }";
        let with = |work: &str| {
            format!("{{ channels: {{ whatsapp: {{ accounts: {{ work: {{ {work} }}, home: {{}} }} }} }} }}")
        };
        let at = "channels.whatsapp.accounts.work";
        check(two, two, "home kept, work kept", &[], &[]);
        check(two, &with("dmPolicy: 'disabled'"), "home kept, work refreshed", &[&format!("{at}.dmPolicy")], &[]);
        check(two, &with("authDir: '/x'"), "home kept, work relinked", &[&format!("{at}.authDir")], &[]);
        let sealed =
            two.replace("{ channels", "{ credentials: { encryption: { key: { source: 'env', id: 'KEY' } } }, channels");
        let key = "credentials.encryption.key";
        check(two, &sealed, "home relinked, work relinked", &[&format!("{key}.source"), &format!("{key}.id")], &[]);
        check(two, &with("enabled: false"), "home kept, work stopped", &[&format!("{at}.enabled")], &[]);
        check(&with("enabled: false"), two, "home kept, work started", &[&format!("{at}.enabled")], &[]);
        check(two, &with("deviceName: 'X'"), "home kept, work refreshed", &[&format!("{at}.deviceName")], &[]);
        check(two, "{ channels: { whatsapp: { accounts: { home: {} } } } }", "home kept, work removed", &[at], &[]);
        check(
            two,
            "{ web: { enabled: false }, channels: { whatsapp: { accounts: { work: {}, home: {} } } } }",
            "home stopped, work stopped",
            &["web.enabled"],
            &[],
        );
    }

    #[test]
    fn a_default_written_out_or_overridden_changes_no_account() {
        check(
            "{}",
            "{ channels: { whatsapp: { dmPolicy: 'pairing' } } }",
            "default kept",
            &["channels.whatsapp.dmPolicy"],
            &[],
        );
        check("{}", "{ gateway: { port: 18789 } }", "default kept", &["gateway.port"], &[]);
        check("{}", "{ gateway: { port: 1 } }", "default kept", &["gateway.port"], &["gateway.port"]);
        check("{ // a comment\n }", "{}", "default kept", &[], &[]);
    }

    #[test]
    fn the_receipt_is_one_line_and_json() {
        let receipt = diff("{}", "{ gateway: { port: 1 }, channels: { whatsapp: { historyLimit: 1 } } }");
        let receipt = ReloadReceipt::new(2, &receipt, 5);
        assert_eq!(
            receipt.to_string(),
            "config revision 2: 2 keys changed (channels.whatsapp.historyLimit, gateway.port); refreshed: default; needs a restart: gateway.port"
        );
        assert_eq!(
            serde_json::to_value(&receipt).unwrap(),
            serde_json::json!({"revision": 2, "at": 5, "changed": ["channels.whatsapp.historyLimit", "gateway.port"],
                "accounts": {"default": "refreshed"}, "refused": ["gateway.port"]})
        );
    }
}
