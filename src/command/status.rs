//! What `/status` answers (behaviour.md 10.4).

use super::Activation;
use crate::config::model::{ProviderApi, QueueMode};
use crate::session::entry::Entry;

/// What `/status` tells.
pub struct Status<'a> {
    /// Version of Verso.
    pub version: &'a str,
    /// The account that was asked.
    pub account: &'a str,
    /// The agent that answers here.
    pub agent: &'a str,
    /// The model of the session.
    pub model: &'a str,
    /// How the model is spoken to.
    pub runtime: Option<ProviderApi>,
    /// Key of the conversation.
    pub session: &'a str,
    /// The session; `None` before its first turn.
    pub entry: Option<&'a Entry>,
    /// Milliseconds since 1970.
    pub now: i64,
    /// Of a group.
    pub activation: Option<Activation>,
    /// What happens to messages while the agent is busy.
    pub queue: QueueMode,
    /// How many of them wait.
    pub waiting: usize,
    /// Revision of the configuration in force.
    pub revision: u64,
}

impl Status<'_> {
    /// The reply.
    pub fn text(&self) -> String {
        let unknown = || "unknown".to_owned();
        let usage = self.entry.and_then(|entry| entry.usage);
        let tokens = usage.map_or_else(unknown, |u| format!("{} in / {} out", count(u.input), count(u.output)));
        let context = self.entry.and_then(|entry| entry.context_tokens).map_or_else(unknown, count);
        let updated = match self.entry {
            Some(entry) => format!("updated {}", ago(self.now - entry.updated_at)),
            None => "not started yet".to_owned(),
        };
        let activation = match self.activation {
            Some(Activation::Mention) => "👥 Activation: mention · ",
            Some(Activation::Always) => "👥 Activation: always · ",
            None => "",
        };
        format!(
            "ℹ️ Verso {}\n🧠 Model: {}\n🧮 Tokens: {tokens}\n📚 Context: {context} · 🧹 Compactions: 0\n🧵 Session: {} • {updated}\n\
             ⚙️ Runtime: {} · Account: {} · Agent: {} · Config revision: {}\n{activation}🪢 Queue: {} (depth {})",
            self.version,
            self.model,
            self.session,
            self.runtime.map_or("none", runtime),
            self.account,
            self.agent,
            self.revision,
            queue(self.queue),
            self.waiting,
        )
    }
}

fn runtime(api: ProviderApi) -> &'static str {
    match api {
        ProviderApi::OpenaiCompletions => "openai-completions",
        ProviderApi::AnthropicMessages => "anthropic-messages",
        ProviderApi::Command => "command",
        ProviderApi::Webhook => "webhook",
        ProviderApi::Echo => "echo",
    }
}

fn queue(mode: QueueMode) -> &'static str {
    match mode {
        QueueMode::Steer => "steer",
        QueueMode::Followup => "followup",
        QueueMode::Collect => "collect",
        QueueMode::SteerBacklog => "steer-backlog",
        QueueMode::Interrupt => "interrupt",
    }
}

/// `999`, `1.2k`, `3.4m`.
fn count(tokens: u64) -> String {
    let short = |unit: u64, name: &str| {
        let tenths = tokens / (unit / 10);
        let (whole, tenth) = (tenths / 10, tenths % 10);
        if tenth == 0 || whole >= 100 { format!("{whole}{name}") } else { format!("{whole}.{tenth}{name}") }
    };
    match tokens {
        ..1_000 => tokens.to_string(),
        1_000..1_000_000 => short(1_000, "k"),
        _ => short(1_000_000, "m"),
    }
}

pub(super) fn ago(ms: i64) -> String {
    match ms / 60_000 {
        ..1 => "just now".to_owned(),
        minutes @ 1..60 => format!("{minutes}m ago"),
        minutes @ 60..2880 => format!("{}h ago", minutes / 60),
        minutes => format!("{}d ago", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::entry::Usage;

    #[test]
    fn what_is_not_known_is_called_unknown() {
        let entry = Entry {
            updated_at: 0,
            usage: Some(Usage { input: 12_340, output: 999 }),
            context_tokens: Some(1_000_000),
            ..Entry::default()
        };
        let mut status = Status {
            version: "1",
            account: "work",
            agent: "main",
            model: "local/tiny",
            runtime: Some(ProviderApi::OpenaiCompletions),
            session: "agent:main:main",
            entry: Some(&entry),
            now: 180_000,
            activation: Some(Activation::Mention),
            queue: QueueMode::Collect,
            waiting: 2,
            revision: 3,
        };
        assert_eq!(
            status.text(),
            "ℹ️ Verso 1\n🧠 Model: local/tiny\n🧮 Tokens: 12.3k in / 999 out\n📚 Context: 1m · 🧹 Compactions: 0\n\
             🧵 Session: agent:main:main • updated 3m ago\n\
             ⚙️ Runtime: openai-completions · Account: work · Agent: main · Config revision: 3\n\
             👥 Activation: mention · 🪢 Queue: collect (depth 2)"
        );
        (status.entry, status.activation) = (None, None);
        let text = status.text();
        assert!(text.contains("🧮 Tokens: unknown\n📚 Context: unknown · 🧹 Compactions: 0\n"), "{text}");
        assert!(text.contains("• not started yet\n") && text.ends_with("\n🪢 Queue: collect (depth 2)"), "{text}");
    }

    #[test]
    fn times_and_numbers_are_short() {
        for (ms, want) in [(0, "just now"), (60_000, "1m ago"), (7_200_000, "2h ago"), (172_800_000, "2d ago")] {
            assert_eq!(ago(ms), want);
        }
        for (n, want) in [(0, "0"), (1_000, "1k"), (1_999, "1.9k"), (250_900, "250k"), (2_500_000, "2.5m")] {
            assert_eq!(count(n), want);
        }
    }
}
