//! What chat commands answer (behaviour.md 10.4).

use serde_json::Value;

use super::{Activation, SendSetting};
use crate::config::edit_notes::EditNote;
use crate::policy::pairing::PairingRecord;
use crate::text::label;

/// What a new session begins with when nothing follows the trigger.
pub const GREETING_PROMPT: &str = "The user has just started a new session. Greet them in one or two short sentences and ask what they would like to do.";

/// `/help`.
pub const HELP: &str = "ℹ️ Commands
/help - this list
/status - model, session, activation
/whoami - who you are to Verso
/stop - end the running answer
/new, /reset - start a new session; a message may follow
/activation mention|always - when a group's messages are answered (owner)
/send on|off|inherit - whether answers are sent in this session (owner)
/pairing, /pairing approve|deny <code> - who asks to be let in (owner)
/allowlist, /allowlist add|remove dm|group <number> - who may write (owner)
/config show|get [path] - show the configuration (owner)
/config set path=value, /config unset path - edit it (owner)";

/// `/activation` without a valid mode.
pub const ACTIVATION_USAGE: &str = "⚙️ Usage: /activation mention|always";
/// `/activation` in a direct chat.
pub const ACTIVATION_DIRECT: &str = "⚙️ Group activation only applies to group chats.";
/// `/send` without a valid setting.
pub const SEND_USAGE: &str = "⚙️ Usage: /send on|off|inherit";
/// `/pairing` with anything else than its actions.
pub const PAIRING_USAGE: &str = "⚙️ Usage: /pairing [list] | approve <code> | deny <code>";
/// `/pairing` and `/allowlist` in a group, where every member would read the numbers.
pub const IN_DIRECT_CHAT: &str = "⚠️ This shows people's numbers. Use it in a direct chat with me.";
/// `/config` in a group, where every member would read the configuration.
pub const CONFIG_IN_DIRECT_CHAT: &str =
    "⚠️ This shows the configuration, with people's numbers. Use it in a direct chat with me.";
/// Nobody waits.
pub const PAIRING_NONE: &str = "No pending whatsapp pairing requests.";
/// `/allowlist add|remove` while `commands.config` is off.
pub const ALLOWLIST_DISABLED: &str = "⚠️ /allowlist edits are disabled. Set commands.config=true to enable.";
/// `/allowlist add` of somebody who is listed.
pub const ALLOWLIST_HAS: &str = "✅ Already allowlisted.";
/// `/allowlist remove` of somebody who is not listed.
pub const ALLOWLIST_LACKS: &str = "⚠️ Entry not found.";
/// The edit would shut its author out.
pub const ALLOWLIST_LOCKOUT: &str = "⚠️ Allowlist not changed: after this edit you could no longer command Verso from this chat. If the list is empty, add yourself first.";
/// What stands in the file is not all that is in force.
pub const ALLOWLIST_ELSEWHERE: &str = "⚠️ Allowlist not changed: the entry stands in an included file or comes from the environment. Edit it on the host.";
/// `/config` while `commands.config` is off.
pub const CONFIG_DISABLED: &str = "⚠️ /config is disabled. Set commands.config=true to enable.";
/// `/config set` while `configWrites` is off.
pub const CONFIG_READ_ONLY: &str =
    "⚠️ Config writes are disabled for whatsapp. Set channels.whatsapp.configWrites=true to enable.";
/// The file is broken.
pub const CONFIG_INVALID: &str = "⚠️ Config file is invalid; fix it before using /config.";
/// The edit would shut its author out.
pub const CONFIG_LOCKOUT: &str = "⚠️ Config not changed: after this edit you could no longer command Verso from this chat. Edit the file on the host instead.";

/// An edit by chat that would close or open all groups at once.
pub fn config_groups(note: &EditNote) -> String {
    let what = match note {
        EditNote::NoGroupServed { .. } => {
            "after this edit no group would be served. To switch groups off, set groupPolicy to \"disabled\"; to edit the last entry of groups, use the file or verso config on the host."
        }
        _ => {
            "after this edit every group would be served. To open all groups, add \"*\" to groups, or edit the file on the host."
        }
    };
    format!("⚠️ Config not changed: {what}")
}

/// `/stop`.
pub const ABORTED: &str = "⚙️ Agent was aborted.";

/// The new activation.
pub fn activation(mode: Activation) -> String {
    format!("⚙️ Group activation set to {}.", mode_text(mode))
}

fn mode_text(mode: Activation) -> &'static str {
    match mode {
        Activation::Mention => "mention",
        Activation::Always => "always",
    }
}

/// The new send policy.
pub fn send(setting: SendSetting) -> String {
    format!("⚙️ Send policy set to {}.", setting.word())
}

/// A command that Verso does not have, with the way that leads there where there is one.
pub fn absent(name: &str) -> String {
    let instead = match name {
        "/model" | "/models" => "The model is agents.defaults.model in the configuration.",
        "/restart" => "Edits of the configuration hold at once; the process is restarted on the host.",
        "/compact" => "/new starts a new session.",
        "/approve" => "/pairing approve <code> lets people in.",
        _ => "/help lists the commands.",
    };
    format!("⚠️ {name} is not available in Verso. {instead}")
}

/// `/pairing`: who waits, as of `now`.
pub fn pairing(waiting: &[PairingRecord], now: i64) -> String {
    if waiting.is_empty() {
        return PAIRING_NONE.to_owned();
    }
    let mut out = "🔐 Pairing requests".to_owned();
    for request in waiting {
        // The name is the sender's own: it must not look like another line.
        let name = request.name.as_deref().map(label::name).unwrap_or_default();
        let name = if name.is_empty() { name } else { format!(" · {name}") };
        out.push_str(&format!(
            "\n{} · {}{name} · {}",
            request.code,
            request.id,
            super::status::ago(now - request.created_at)
        ));
    }
    out.push_str("\n/pairing approve <code> lets them in, /pairing deny <code> refuses.");
    out
}

/// What `/allowlist` shows.
pub struct Allowlist<'a> {
    /// The account that was asked.
    pub account: &'a str,
    /// `dmPolicy`.
    pub dm_policy: &'a str,
    /// `allowFrom`.
    pub dm: Vec<String>,
    /// Who was let in by pairing.
    pub paired: Vec<String>,
    /// `groupPolicy`.
    pub group_policy: &'a str,
    /// `groupAllowFrom`; `None` = unset.
    pub group: Option<Vec<String>>,
}

impl Allowlist<'_> {
    /// The reply.
    pub fn text(&self) -> String {
        let list = |entries: &[String]| if entries.is_empty() { "(none)".to_owned() } else { entries.join(", ") };
        let group = self.group.as_deref().map_or_else(|| "as DM allowFrom".to_owned(), list);
        format!(
            "🧾 Allowlist\nChannel: whatsapp (account {})\nDM policy: {}\nDM allowFrom (config): {}\nPaired allowFrom (store): {}\nGroup policy: {}\nGroup allowFrom (config): {group}",
            self.account,
            self.dm_policy,
            list(&self.dm),
            list(&self.paired),
            self.group_policy,
        )
    }
}

/// `/allowlist add|remove` done, in these places.
pub fn allowlist_edited(label: &str, added: bool, places: &[String]) -> String {
    let done = if added { "added" } else { "removed" };
    format!("✅ {label} allowlist {done}: {}.", places.join(" + "))
}

/// A new session without a model that could greet.
pub fn new_session(model: &str) -> String {
    format!("✅ New session started · model: {model}")
}

/// `/whoami`.
pub fn whoami(user: Option<&str>, chat: &str, allow_from: &[String]) -> String {
    let allowed = if allow_from.is_empty() { "(empty)".to_owned() } else { allow_from.join(", ") };
    format!(
        "🧭 Identity\nChannel: whatsapp\nUser id: {}\nChat: {chat}\nAllowFrom: {allowed}",
        user.unwrap_or("unknown")
    )
}

/// `/config show`; the value has no secrets any more.
pub fn config_shown(path: Option<&str>, value: &Value) -> String {
    match path {
        Some(path) => format!("⚙️ Config {path}:\n```json\n{value:#}\n```"),
        None => format!("⚙️ Config (raw):\n```json\n{value:#}\n```"),
    }
}

/// `/config set`; the value has no secrets any more.
pub fn config_set(path: &str, value: &Value) -> String {
    match value {
        Value::String(text) => format!("⚙️ Config updated: {path}=\"{text}\""),
        other => format!("⚙️ Config updated: {path}={other}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn literal_replies() {
        assert_eq!(activation(Activation::Always), "⚙️ Group activation set to always.");
        assert_eq!(
            whoami(Some("+1555"), "1555@s.whatsapp.net", &["+1555".to_owned(), "+1666".to_owned()]),
            "🧭 Identity\nChannel: whatsapp\nUser id: +1555\nChat: 1555@s.whatsapp.net\nAllowFrom: +1555, +1666"
        );
        assert_eq!(send(SendSetting::Off), "⚙️ Send policy set to off.");
        assert_eq!(
            allowlist_edited("DM", false, &["a.b".to_owned(), "pairing store".to_owned()]),
            "✅ DM allowlist removed: a.b + pairing store."
        );
        assert_eq!(config_set("a.b", &json!("v")), "⚙️ Config updated: a.b=\"v\"");
        assert_eq!(config_set("a.b", &json!([1, null])), "⚙️ Config updated: a.b=[1,null]");
        assert_eq!(config_shown(Some("a"), &json!(null)), "⚙️ Config a:\n```json\nnull\n```");
    }

    #[test]
    fn requests_are_one_line_each_whatever_their_senders_call_themselves() {
        let request = PairingRecord {
            id: "+15551234567".to_owned(),
            code: "ABCD2345".to_owned(),
            created_at: 0,
            last_seen_at: 0,
            name: Some(format!("Ann\nBob{}", "x".repeat(99))),
            account: crate::ids::AccountId::new("work"),
        };
        let text = pairing(&[request], 120_000);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, "🔐 Pairing requests"), "{text}");
        assert!(
            lines[1].starts_with("ABCD2345 · +15551234567 · Ann Bobxx") && lines[1].ends_with(" · 2m ago"),
            "{text}"
        );
        assert_eq!(pairing(&[], 0), PAIRING_NONE);
    }

    #[test]
    fn every_absent_command_says_so() {
        for name in ["/model", "/restart", "/compact", "/approve", "/think"] {
            assert!(absent(name).starts_with(&format!("⚠️ {name} is not available in Verso. ")));
        }
        assert_eq!(absent("/think"), "⚠️ /think is not available in Verso. /help lists the commands.");
    }
}
