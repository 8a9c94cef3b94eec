//! From an agent's answer to the messages that are sent: silence, formatting, prefix, chunks (behaviour.md 12.1 to 12.4). Pure.

pub mod address;
pub mod pacing;
pub mod sending;

use crate::config::model::{AgentConfig, ModelRef, ResponsePrefix, RulesConfig};
use crate::heartbeat;
use crate::text::envelope::name_tag;
use crate::text::markdown;

/// An answer that is exactly this, markup and punctuation aside, means: send nothing.
pub const SILENT: &str = "NO_REPLY";

/// What an answer is delivered with.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The account's rules.
    pub rules: &'a RulesConfig,
    /// Who answered.
    pub agent: &'a AgentConfig,
    /// The account's chat with itself.
    pub own_chat: bool,
}

/// The messages that an answer becomes, in order; none for silence.
pub fn plan(answer: &str, delivery: &Delivery<'_>) -> Vec<String> {
    let Some(text) = prepare(answer, None) else { return vec![] };
    let rules = delivery.rules;
    let mut rendered = markdown::render(text.trim(), rules.markdown_tables);
    if let Some(prefix) = response_prefix(delivery) {
        rendered = rendered.prefixed(&prefix);
    }
    rendered.chunks(rules.text_chunk_limit, rules.chunk_mode)
}

/// The text to send, with its prefix; `None` when there is nothing to say.
pub fn prepare(answer: &str, prefix: Option<&str>) -> Option<String> {
    let answer = without_final_tags(answer);
    if is_silent(&answer) {
        return None;
    }
    let stripped = heartbeat::strip(&answer);
    let text = if stripped.found { stripped.text } else { answer };
    if text.trim().is_empty() {
        return None;
    }
    Some(match prefix.filter(|p| !p.is_empty()) {
        Some(prefix) if !text.starts_with(prefix) => format!("{prefix} {text}"),
        _ => text,
    })
}

/// Without `<final>` and `</final>`, which some models write around what they mean to say.
fn without_final_tags(answer: &str) -> String {
    let mut out = String::with_capacity(answer.len());
    let mut rest = answer;
    while let Some(open) = rest.find('<') {
        let inner = &rest[open + 1..];
        let end = inner.find(['<', '>']).filter(|&end| inner[end..].starts_with('>'));
        let name = |tag: &str| {
            let tag = tag.trim_start();
            let tag = tag.strip_prefix('/').unwrap_or(tag).trim_start();
            let end = tag.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(tag.len());
            tag[..end].eq_ignore_ascii_case("final")
        };
        match end.filter(|&end| name(&inner[..end])) {
            Some(end) => {
                out.push_str(&rest[..open]);
                rest = &inner[end + 1..];
            }
            None => {
                out.push_str(&rest[..=open]);
                rest = inner;
            }
        }
    }
    out + rest
}

/// The answer is the silent token and nothing else, apart from punctuation and markup around it.
pub fn is_silent(answer: &str) -> bool {
    answer.trim_matches(|c: char| c != '_' && !c.is_alphanumeric()).trim_matches('_') == SILENT
}

/// The prefix of answers in this chat (behaviour.md 12.2), its variables filled in.
pub fn response_prefix(delivery: &Delivery<'_>) -> Option<String> {
    let Delivery { rules, agent, own_chat } = delivery;
    let name = agent.identity.name.as_deref().map(str::trim).filter(|n| !n.is_empty());
    match &rules.response_prefix {
        ResponsePrefix::Text(template) if template.is_empty() => None,
        ResponsePrefix::Text(template) => {
            Some(fill(template, &Variables { model: Some(&agent.model), name, think: None }))
        }
        ResponsePrefix::Auto => name.map(|name| format!("[{name}]")),
        ResponsePrefix::Unset => own_chat.then(|| name_tag(name)),
    }
}

/// Values of a prefix template.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variables<'a> {
    /// What answered.
    pub model: Option<&'a ModelRef>,
    /// The agent's name.
    pub name: Option<&'a str>,
    /// The thinking level.
    pub think: Option<&'a str>,
}

/// Fills `{model}`, `{modelFull}`, `{provider}`, `{thinkingLevel}`, `{think}`, `{identity.name}` and `{identityName}`, in any case; what is unknown or
/// has no value stays as written.
pub fn fill(template: &str, variables: &Variables<'_>) -> String {
    let value = |name: &str| match name.to_ascii_lowercase().as_str() {
        "model" => variables.model.map(|m| short_model_name(&m.to_string())),
        "modelfull" => variables.model.map(ModelRef::to_string),
        "provider" => variables.model.map(|m| m.provider.clone()),
        "thinkinglevel" | "think" => variables.think.map(str::to_owned),
        "identity.name" | "identityname" => variables.name.map(str::to_owned),
        _ => None,
    };
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        match rest.find('}').and_then(|close| value(&rest[1..close]).map(|v| (close, v))) {
            Some((close, value)) => {
                out.push_str(&value);
                rest = &rest[close + 1..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

/// `openai/gpt-5.2-20260101` and `gpt-5.2-latest` are `gpt-5.2`.
pub fn short_model_name(full: &str) -> String {
    let name = full.rsplit_once('/').map_or(full, |(_, name)| name);
    let dated = |n: &str| {
        n.rsplit_once('-')
            .filter(|(_, d)| d.len() == 8 && d.bytes().all(|b| b.is_ascii_digit()))
            .map(|(n, _)| n.to_owned())
    };
    let name = dated(name).unwrap_or_else(|| name.to_owned());
    name.strip_suffix("-latest").map_or_else(|| name.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ResolveEnv, load_text};

    #[test]
    fn tags_around_the_final_answer_go() {
        let said = |answer: &str| prepare(answer, None);
        assert_eq!(said("<final>hi</final> a<b < / FINAL x=1> >").as_deref(), Some("hi a<b  >"));
        assert_eq!(said("<finally> </final").as_deref(), Some("<finally> </final"));
        assert_eq!(said("<final>NO_REPLY</final>"), None);
    }

    fn check(config: &str, own_chat: bool, answer: &str, want: &[&str]) {
        let config = load_text(config, &ResolveEnv::new("/h", "/h/.verso")).expect("config").config;
        let rules = &config.account(&config.default_account).expect("account").rules;
        let got = plan(answer, &Delivery { rules, agent: config.agents.default_agent(), own_chat });
        assert_eq!(got, want, "{answer:?}");
    }

    #[test]
    fn silence_is_the_token_alone() {
        for silent in ["NO_REPLY", " NO_REPLY. ", "**NO_REPLY**", "_NO_REPLY_", "`NO_REPLY`!", "", "  "] {
            check("{}", false, silent, &[]);
        }
        for said in ["NO_REPLY ok, here is the answer", "ok NO_REPLY", "NO_REPLYX", "no_reply"] {
            check("{}", false, said, &[said]);
        }
    }

    #[test]
    fn the_heartbeat_token_never_gets_out() {
        for silent in ["HEARTBEAT_OK", "**HEARTBEAT_OK**", "HEARTBEAT_OK.", "HEARTBEAT_OK HEARTBEAT_OK"] {
            check("{}", false, silent, &[]);
        }
        check("{}", false, "HEARTBEAT_OK\nline one\n\nline two", &["line one\n\nline two"]);
        check("{}", false, "done HEARTBEAT_OK", &["done"]);
        check("{}", false, "HEARTBEAT_OKAY then", &["HEARTBEAT_OKAY then"]);
        check("{}", false, "the word HEARTBEAT_OK inside", &["the word HEARTBEAT_OK inside"]);
    }

    #[test]
    fn prefixes_by_configuration_and_chat() {
        let mo = "agents: { list: [{ id: 'main', identity: { name: 'Mo' } }] }";
        check("{}", false, "hi", &["hi"]);
        check("{}", true, "hi", &["[verso] hi"]);
        check(&format!("{{ {mo} }}"), true, "hi", &["[Mo] hi"]);
        check(&format!("{{ {mo}, messages: {{ responsePrefix: 'auto' }} }}"), false, "hi", &["[Mo] hi"]);
        check(&format!("{{ {mo}, messages: {{ responsePrefix: 'auto' }} }}"), false, "[Mo] hi", &["[Mo] hi"]);
        check("{ messages: { responsePrefix: '' } }", true, "hi", &["hi"]);
        check("{ messages: { responsePrefix: '{Model}|{nothing}{' } }", false, "hi", &["echo|{nothing}{ hi"]);
    }

    #[test]
    fn long_answers_are_cut_and_blank_parts_left_out() {
        check("{ channels: { whatsapp: { textChunkLimit: 10 } } }", false, "one two three", &["one two", "three"]);
        check("{ channels: { whatsapp: { chunkMode: 'newline' } } }", false, "one\n\ntwo", &["one", "two"]);
    }
}
