//! Chat commands: recognising them in a text. Who may use them is [`crate::policy`]'s business, what they do the actors'.

pub mod allowlist;
pub mod config;
pub mod pairing;
pub mod reply;
pub mod status;

pub use allowlist::AllowlistCommand;
pub use config::ConfigCommand;
pub use pairing::PairingCommand;

use serde::{Deserialize, Serialize};

/// One known command.
struct Spec {
    /// Canonical name with its slash.
    name: &'static str,
    /// Other spellings.
    aliases: &'static [&'static str],
    /// Text may follow the name.
    args: bool,
    /// The switch in `commands` without which it does not exist.
    gate: Option<Gate>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Config,
    Debug,
    Bash,
}

const fn plain(name: &'static str) -> Spec {
    Spec { name, aliases: &[], args: false, gate: None }
}

const fn with_args(name: &'static str, aliases: &'static [&'static str]) -> Spec {
    Spec { name, aliases, args: true, gate: None }
}

const fn gated(name: &'static str, gate: Gate) -> Spec {
    Spec { name, aliases: &[], args: true, gate: Some(gate) }
}

/// Every command that has a meaning in a chat; texts like them are never a mere message.
const COMMANDS: &[Spec] = &[
    plain("/help"),
    plain("/commands"),
    plain("/status"),
    Spec { name: "/whoami", aliases: &["/id"], args: false, gate: None },
    plain("/stop"),
    plain("/restart"),
    with_args("/new", &[]),
    with_args("/reset", &[]),
    with_args("/activation", &[]),
    with_args("/send", &[]),
    with_args("/allowlist", &[]),
    with_args("/pairing", &[]),
    with_args("/approve", &[]),
    with_args("/compact", &[]),
    with_args("/context", &[]),
    with_args("/think", &["/thinking", "/t"]),
    with_args("/verbose", &["/v"]),
    with_args("/reasoning", &["/reason"]),
    with_args("/elevated", &["/elev"]),
    with_args("/exec", &[]),
    with_args("/model", &[]),
    with_args("/models", &[]),
    with_args("/queue", &[]),
    with_args("/usage", &[]),
    with_args("/subagents", &[]),
    with_args("/skill", &[]),
    with_args("/tts", &[]),
    gated("/config", Gate::Config),
    gated("/debug", Gate::Debug),
    gated("/bash", Gate::Bash),
];

/// Words that stop a run without a slash.
const ABORT_WORDS: &[&str] = &["stop", "esc", "abort", "wait", "exit", "interrupt"];

/// Which switchable commands exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// `commands.config`.
    pub config: bool,
    /// `commands.debug`.
    pub debug: bool,
}

impl Switches {
    fn on(self, gate: Gate) -> bool {
        match gate {
            Gate::Config => self.config,
            Gate::Debug => self.debug,
            Gate::Bash => false,
        }
    }
}

/// The text with its command in canonical form: `/T: high` is `/think high`. Other text is only trimmed.
pub fn normalize(text: &str) -> String {
    let text = text.trim();
    if !text.starts_with('/') {
        return text.to_owned();
    }
    // A command is its first line.
    let line = text.lines().next().unwrap_or(text).trim_end();
    let head_end = line.find(|c: char| c.is_whitespace() || c == ':').unwrap_or(line.len());
    let (head, tail) = line.split_at(head_end);
    let tail = tail.trim_start().trim_start_matches(':').trim();
    let lower = head.to_lowercase();
    let known = COMMANDS.iter().find(|c| c.name == lower || c.aliases.contains(&lower.as_str()));
    match known {
        Some(c) if tail.is_empty() => c.name.to_owned(),
        Some(c) if c.args => format!("{} {tail}", c.name),
        Some(_) | None if tail.is_empty() => lower,
        Some(_) | None => format!("{head} {tail}"),
    }
}

/// The whole text is a command that exists.
pub fn is_command(text: &str, switches: Switches) -> bool {
    let text = normalize(text);
    COMMANDS.iter().filter(|c| c.gate.is_none_or(|gate| switches.on(gate))).any(|c| {
        let rest = text.strip_prefix(c.name);
        rest.is_some_and(|rest| rest.is_empty() || (c.args && rest.starts_with(char::is_whitespace)))
    })
}

/// As [`is_command`], or one of the bare words that stop a run.
pub fn is_control_message(text: &str, switches: Switches) -> bool {
    let word = text.trim().to_lowercase();
    ABORT_WORDS.contains(&word.as_str()) || is_command(text, switches)
}

/// Somewhere in the text a word starts with `/x` or `!x`: authorisation must be worked out before anyone reads it.
pub fn has_inline_command(text: &str) -> bool {
    text.split_whitespace().any(|word| {
        let mut chars = word.chars();
        matches!(chars.next(), Some('/' | '!')) && chars.next().is_some_and(|c| c.is_ascii_alphabetic())
    })
}

/// When a group's messages wake the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Only messages that mention it.
    Mention,
    /// Every message.
    Always,
}

/// `/activation [mode]`: `None` = another text, `Some(None)` = without a valid mode.
pub fn parse_activation(text: &str) -> Option<Option<Activation>> {
    let text = normalize(text);
    let rest = text.strip_prefix("/activation")?;
    let word = rest.trim();
    let alone = rest.is_empty() || rest.starts_with(char::is_whitespace);
    // More than one word is a sentence.
    if !alone || !word.chars().all(|c| c.is_ascii_alphabetic()) {
        return None;
    }
    Some(match word.to_lowercase().as_str() {
        "mention" => Some(Activation::Mention),
        "always" => Some(Activation::Always),
        _ => None,
    })
}

/// `/send`: whether a conversation's answers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendSetting {
    /// They are, whatever the config says.
    On,
    /// They are not.
    Off,
    /// As the config says.
    Inherit,
}

impl SendSetting {
    /// The word that was typed, which is also the one that is kept.
    pub fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Inherit => "inherit",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::On, Self::Off, Self::Inherit].into_iter().find(|s| s.word().eq_ignore_ascii_case(word))
    }
}

/// A text that is a command and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `/help`, `/commands`.
    Help,
    /// `/status`.
    Status,
    /// `/whoami`.
    Whoami,
    /// `/stop` or one of the bare words.
    Stop,
    /// `/activation`; `None` = without a valid mode.
    Activation(Option<Activation>),
    /// A reset trigger with what follows it.
    Reset {
        /// The message that the new session begins with; may be empty.
        rest: String,
    },
    /// `/send`; `None` = without a valid setting.
    Send(Option<SendSetting>),
    /// `/allowlist`.
    Allowlist(AllowlistCommand),
    /// `/pairing`.
    Pairing(PairingCommand),
    /// `/config`.
    Config(ConfigCommand),
    /// A command of the original that Verso does not have.
    Absent(&'static str),
}

impl Command {
    /// Only an owner may use it, whoever else may use commands.
    pub fn needs_owner(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Send(_) | Self::Allowlist(_) | Self::Pairing(_))
    }
}

/// Reads a whole text as a command; `None` is a message for the agent.
pub fn parse(text: &str, reset_triggers: &[String]) -> Option<Command> {
    if let Some(rest) = reset_triggers.iter().find_map(|trigger| after_trigger(text.trim(), trigger.trim())) {
        return Some(Command::Reset { rest: rest.to_owned() });
    }
    if ABORT_WORDS.contains(&text.trim().to_lowercase().as_str()) {
        return Some(Command::Stop);
    }
    if let Some(mode) = parse_activation(text) {
        return Some(Command::Activation(mode));
    }
    let line = normalize(text);
    let name = line.split_whitespace().next()?;
    if name == "/config" {
        return Some(Command::Config(config::parse(text)));
    }
    if !is_command(text, Switches::default()) {
        return None;
    }
    let spec = COMMANDS.iter().find(|c| c.name == name)?;
    let rest = line[name.len()..].trim();
    Some(match spec.name {
        "/activation" => Command::Activation(None),
        "/send" => Command::Send(SendSetting::parse(rest)),
        "/allowlist" => Command::Allowlist(allowlist::parse(rest)),
        "/pairing" => Command::Pairing(pairing::parse(rest)),
        "/help" | "/commands" => Command::Help,
        "/status" => Command::Status,
        "/whoami" => Command::Whoami,
        "/stop" => Command::Stop,
        // A trigger that the config took away is an ordinary text.
        "/new" | "/reset" => return None,
        absent => Command::Absent(absent),
    })
}

/// What follows `trigger` at the start of `text`: nothing, or something after white space.
fn after_trigger<'t>(text: &'t str, trigger: &str) -> Option<&'t str> {
    let head = text.get(..trigger.len())?;
    let rest = &text[trigger.len()..];
    let found = !trigger.is_empty()
        && head.eq_ignore_ascii_case(trigger)
        && (rest.is_empty() || rest.starts_with(char::is_whitespace));
    found.then(|| rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_commands() {
        let triggers = ["/new".to_owned(), "start over".to_owned()];
        let reset = |rest: &str| Some(Command::Reset { rest: rest.to_owned() });
        for (text, want) in [
            ("/help", Some(Command::Help)),
            (" /Commands ", Some(Command::Help)),
            ("/id", Some(Command::Whoami)),
            ("/stop", Some(Command::Stop)),
            ("Wait", Some(Command::Stop)),
            ("wait for me", None),
            ("/status", Some(Command::Status)),
            ("/status now", None),
            ("/new", reset("")),
            ("/NEW tell me\na joke", reset("tell me\na joke")),
            ("/newest", None),
            ("/reset", None),
            ("Start over", reset("")),
            ("/activation: always", Some(Command::Activation(Some(Activation::Always)))),
            ("/activation", Some(Command::Activation(None))),
            ("/activation never", Some(Command::Activation(None))),
            ("/activation always now", Some(Command::Activation(None))),
            ("/config", Some(Command::Config(ConfigCommand::Show { path: None }))),
            ("/configs", None),
            ("/send: OFF", Some(Command::Send(Some(SendSetting::Off)))),
            ("/send", Some(Command::Send(None))),
            ("/send off now", Some(Command::Send(None))),
            ("/sender", None),
            ("/pairing", Some(Command::Pairing(PairingCommand::List))),
            ("/allowlist list", Some(Command::Allowlist(AllowlistCommand::List))),
            ("/model x", Some(Command::Absent("/model"))),
            ("/bash ls", None),
            ("hello /status", None),
            ("é", None),
            ("", None),
        ] {
            assert_eq!(parse(text, &triggers), want, "{text:?}");
        }
        for text in ["/config", "/send off", "/allowlist", "/pairing"] {
            assert!(parse(text, &[]).expect("a command").needs_owner(), "{text}");
        }
        assert!(!parse("/status", &[]).expect("a command").needs_owner());
    }

    #[test]
    fn commands_are_whole_texts() {
        let off = Switches::default();
        for (text, want) in [
            ("/status", true),
            ("/STATUS", true),
            ("/status now", false),
            ("/think: high", true),
            ("/newest", false),
            ("hey /new", false),
            ("/config show", false),
            ("", false),
        ] {
            assert_eq!(is_command(text, off), want, "{text:?}");
        }
        assert!(is_command("/config show", Switches { config: true, ..off }));
    }
}
