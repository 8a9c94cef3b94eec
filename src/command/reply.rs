//! What chat commands answer (behaviour.md 10.4).

use serde_json::Value;

use super::Activation;

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
/config show|get [path] - show the configuration (owner)
/config set path=value, /config unset path - edit it (owner)";

/// `/activation` without a valid mode.
pub const ACTIVATION_USAGE: &str = "⚙️ Usage: /activation mention|always";
/// `/activation` in a direct chat.
pub const ACTIVATION_DIRECT: &str = "⚙️ Group activation only applies to group chats.";
/// `/config` while `commands.config` is off.
pub const CONFIG_DISABLED: &str = "⚠️ /config is disabled. Set commands.config=true to enable.";
/// `/config set` while `configWrites` is off.
pub const CONFIG_READ_ONLY: &str =
    "⚠️ Config writes are disabled for whatsapp. Set channels.whatsapp.configWrites=true to enable.";
/// The file is broken.
pub const CONFIG_INVALID: &str = "⚠️ Config file is invalid; fix it before using /config.";
/// The edit would shut its author out.
pub const CONFIG_LOCKOUT: &str = "⚠️ Config not changed: after this edit you could no longer command Verso from this chat. Edit the file on the host instead.";

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

/// A command that Verso does not have.
pub fn absent(name: &str) -> String {
    format!("⚠️ {name} is not available in Verso. /help lists the commands.")
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
        assert_eq!(config_set("a.b", &json!("v")), "⚙️ Config updated: a.b=\"v\"");
        assert_eq!(config_set("a.b", &json!([1, null])), "⚙️ Config updated: a.b=[1,null]");
        assert_eq!(config_shown(Some("a"), &json!(null)), "⚙️ Config a:\n```json\nnull\n```");
    }
}
