//! Does a group message speak to the agent? (behaviour.md 8.3, steps 3 to 7)

use std::borrow::Cow;
use std::collections::HashMap;

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::config::model::{AgentConfig, Config, Identity as AgentIdentity};
use crate::event::{Body, Identity};
use crate::ids::AgentId;
use crate::text::envelope::is_invisible;

/// The mention patterns of all agents, compiled once per config revision.
#[derive(Clone, Debug, Default)]
pub struct MentionTable {
    agents: HashMap<AgentId, Patterns>,
}

/// A pattern that is no regular expression; the others of its agent are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternProblem {
    /// Whose pattern.
    pub agent: AgentId,
    /// Position in the agent's list.
    pub index: usize,
    /// What is wrong, with the place in the pattern.
    pub message: String,
}

impl MentionTable {
    /// Compiles every agent's patterns.
    pub fn compile(config: &Config) -> (Self, Vec<PatternProblem>) {
        let (mut table, mut problems) = (Self::default(), Vec::new());
        for agent in &config.agents.list {
            let (patterns, bad) = Patterns::of_agent(agent);
            problems.extend(bad.into_iter().map(|(index, message)| PatternProblem {
                agent: agent.id.clone(),
                index,
                message,
            }));
            table.agents.insert(agent.id.clone(), patterns);
        }
        (table, problems)
    }

    /// The patterns of one agent.
    pub fn of(&self, agent: &AgentId) -> Option<&Patterns> {
        self.agents.get(agent)
    }
}

/// The compiled mention patterns of one agent.
#[derive(Clone, Debug)]
pub struct Patterns {
    any: RegexSet,
    each: Vec<Regex>,
}

impl Patterns {
    /// The agent's own patterns, else those derived from its identity; with the position and fault of each bad one.
    pub fn of_agent(agent: &AgentConfig) -> (Self, Vec<(usize, String)>) {
        match &agent.mention_patterns {
            Some(own) => Self::compile(own),
            None => Self::compile(&derived(&agent.identity)),
        }
    }

    /// Compiles patterns, case-insensitively.
    pub fn compile(sources: &[String]) -> (Self, Vec<(usize, String)>) {
        let (mut good, mut each, mut bad) = (Vec::new(), Vec::new(), Vec::new());
        for (index, source) in sources.iter().enumerate() {
            // JSON's "\b" is a backspace; nobody searches for one, everybody means the word boundary.
            let source = source.replace('\u{8}', r"\b");
            match RegexBuilder::new(&source).case_insensitive(true).size_limit(1 << 20).build() {
                Ok(regex) => {
                    good.push(source);
                    each.push(regex);
                }
                Err(error) => bad.push((index, error.to_string())),
            }
        }
        let set = RegexSetBuilder::new(&good).case_insensitive(true).size_limit(good.len().max(1) << 20).build();
        let any = set.unwrap_or_else(|_| RegexSet::empty());
        (Self { any, each }, bad)
    }

    /// One of the patterns occurs in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        if self.any.len() == self.each.len() {
            self.any.is_match(text)
        } else {
            self.each.iter().any(|p| p.is_match(text))
        }
    }
}

/// The name, with or without `@`, and the emoji.
fn derived(identity: &AgentIdentity) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(name) = identity.name.as_deref().map(str::trim).filter(|n| !n.is_empty()) {
        let words: Vec<String> = name.split_whitespace().map(regex::escape).collect();
        let word_char = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let start = if word_char(name.chars().next()) { r"\b@?" } else { "@?" };
        let end = if word_char(name.chars().next_back()) { r"\b" } else { "" };
        out.push(format!("{start}{}{end}", words.join(r"\s+")));
    }
    if let Some(emoji) = identity.emoji.as_deref().map(str::trim).filter(|e| !e.is_empty()) {
        out.push(regex::escape(emoji));
    }
    out
}

/// Lower case without zero-width and direction characters, which people and keyboards put into names.
pub fn clean(text: &str) -> String {
    text.chars().filter(|&c| !is_invisible(c)).flat_map(char::to_lowercase).collect()
}

/// How a message speaks to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mention {
    /// Tagged with the phone's own mention.
    Native,
    /// A pattern or the name.
    Pattern,
    /// The account's number in the text.
    Number,
    /// Not at all.
    None,
}

/// The tag, pattern or number that speaks to the agent (steps 6); replies are [`is_reply_to_us`].
///
/// In self-chat mode the tags do not count: they mean the owner. Tags of others cancel nothing (24.10).
pub fn mention(body: &Body, patterns: Option<&Patterns>, me: Option<&Identity>, self_chat_mode: bool) -> Mention {
    if !self_chat_mode && me.is_some_and(|me| body.mentions.iter().any(|jid| me.is_self(jid))) {
        return Mention::Native;
    }
    let Some(text) = &body.text else { return Mention::None };
    let text = clean(text);
    if patterns.is_some_and(|p| p.is_match(&text)) {
        return Mention::Pattern;
    }
    let number = me.and_then(Identity::number);
    if number.is_some_and(|n| has_number(&text, n.digits())) { Mention::Number } else { Mention::None }
}

/// The quoted message is this account's own, on whatever device and in either address family. On a personal number what the owner
/// typed is no word of the agent's: there Verso must have sent it (24.10).
pub fn is_reply_to_us(body: &Body, me: Option<&Identity>, self_chat_mode: bool) -> bool {
    let Some(quote) = &body.quote else { return false };
    quote.by_us || (!self_chat_mode && quote.sender.as_ref().zip(me).is_some_and(|(sender, me)| me.is_self(sender)))
}

/// `digits` stand in `text` as one phone number: in order, with nothing but the usual separators between, and not inside a longer number.
fn has_number(text: &str, digits: &str) -> bool {
    let digits = digits.as_bytes();
    if digits.is_empty() {
        return false;
    }
    let chars: Vec<char> = text.chars().collect();
    let separator = |c: char| matches!(c, ' ' | '\u{a0}' | '-' | '.' | '(' | ')' | '/' | '\u{2010}'..='\u{2014}');
    (0..chars.len()).any(|start| {
        if chars[start] != char::from(digits[0]) || (start > 0 && chars[start - 1].is_ascii_digit()) {
            return false;
        }
        let mut rest = digits;
        for (at, &c) in chars.iter().enumerate().skip(start) {
            if c == char::from(rest[0]) {
                rest = &rest[1..];
                if rest.is_empty() {
                    return !chars.get(at + 1).is_some_and(char::is_ascii_digit);
                }
            } else if !separator(c) {
                return false;
            }
        }
        false
    })
}

/// The text as a command would be written alone: the first match of each pattern and the own number taken out, blanks collapsed.
pub fn strip_for_command(text: &str, patterns: Option<&Patterns>, me: Option<&Identity>) -> String {
    let mut out = text.to_owned();
    if let Some(patterns) = patterns.filter(|p| p.is_match(text)) {
        for pattern in &patterns.each {
            if let Cow::Owned(without) = pattern.replace(&out, " ") {
                out = without;
            }
        }
    }
    if let Some(number) = me.and_then(Identity::number) {
        out = out.replace(number.as_str(), " ").replace(number.digits(), " ");
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Quote;

    fn me() -> Identity {
        Identity {
            jid: "15550001111:7@s.whatsapp.net".parse().expect("jid"),
            lid: Some("900:7@lid".parse().expect("jid")),
            push_name: None,
        }
    }

    fn patterns(sources: &[&str]) -> Patterns {
        Patterns::compile(&sources.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).0
    }

    fn check(text: &str, tags: &[&str], sources: &[&str], self_chat: bool, want: Mention) {
        let mentions = tags.iter().map(|t| t.parse().expect("jid")).collect();
        let body = Body { text: Some(text.into()), mentions, ..Body::default() };
        assert_eq!(mention(&body, Some(&patterns(sources)), Some(&me()), self_chat), want, "{text:?} {tags:?}");
    }

    #[test]
    fn tags_patterns_and_numbers() {
        check("hi", &["15550001111@s.whatsapp.net"], &[], false, Mention::Native);
        check("hi", &["900:2@lid"], &[], false, Mention::Native);
        check("verso, ask @19", &["19@s.whatsapp.net"], &["verso"], false, Mention::Pattern);
        check("ask @19", &["19@s.whatsapp.net"], &["verso"], false, Mention::None);
        check("+1 555 000 1111 ask @19", &["19@lid"], &["verso"], false, Mention::Number);
        check("verso @19 @900", &["19@lid", "900@lid"], &["verso"], false, Mention::Native);
        check("@verso", &["19@s.whatsapp.net"], &["verso"], true, Mention::Pattern);
        check("hi", &["900@lid"], &[], true, Mention::None);
        check("hey @ver\u{200b}SO", &[], &["@?verso"], false, Mention::Pattern);
        check("hey bot", &[], &["\u{8}bot\u{8}"], false, Mention::Pattern);
        check("robots", &[], &["\u{8}bot\u{8}"], false, Mention::None);
        check("ping +1 (555) 000-1111 please", &[], &[], false, Mention::Number);
        check("call 1555 or 000 then 1111", &[], &[], false, Mention::None);
        check("9915550001111", &[], &[], false, Mention::None);
        check("155500011112", &[], &[], false, Mention::None);
        check("11 15550001111", &[], &[], false, Mention::Number);
    }

    #[test]
    fn names_in_any_script_match_as_words() {
        for (name, text, want) in [
            ("Mo Claw", "@mo  claw yo", true),
            ("mo", "momentum", false),
            ("Åsa", "hej åsa!", true),
            ("Åsa", "hej åsar", false),
            ("a.b", "axb", false),
            ("Владимир", "привет владимир", true),
        ] {
            let identity = AgentIdentity { name: Some(name.into()), emoji: Some("🦊".into()) };
            let compiled = Patterns::compile(&derived(&identity)).0;
            assert_eq!(compiled.is_match(&clean(text)), want, "{name} in {text}");
            assert!(compiled.is_match("ask 🦊"));
        }
    }

    #[test]
    fn a_bad_pattern_is_named_and_the_rest_kept() {
        let (compiled, bad) = Patterns::compile(&["a(".into(), "verso".into()]);
        assert_eq!(bad.len(), 1);
        assert_eq!(bad[0].0, 0);
        assert!(compiled.is_match("verso"));
    }

    #[test]
    fn replies_to_any_of_our_addresses_count() {
        let reply = |sender: Option<&str>, by_us: bool| {
            let sender = sender.map(|jid| jid.parse().expect("jid"));
            let quote = Quote { id: None, sender, by_us, body: "x".into(), media: None };
            Body { quote: Some(quote), ..Body::default() }
        };
        for (sender, by_us, dedicated, personal) in [
            (Some("15550001111@s.whatsapp.net"), false, true, false),
            (Some("900@lid"), false, true, false),
            (Some("900@lid"), true, true, true),
            (None, true, true, true),
            (Some("19@lid"), false, false, false),
            (None, false, false, false),
        ] {
            let body = reply(sender, by_us);
            assert_eq!(is_reply_to_us(&body, Some(&me()), false), dedicated, "{sender:?} {by_us}");
            assert_eq!(is_reply_to_us(&body, Some(&me()), true), personal, "{sender:?} {by_us}");
        }
        assert!(!is_reply_to_us(&reply(Some("900@lid"), false), None, false), "nobody is us yet");
        assert!(!is_reply_to_us(&Body::default(), Some(&me()), false));
    }

    #[test]
    fn commands_are_found_behind_a_mention() {
        assert_eq!(
            strip_for_command("@verso /activation always", Some(&patterns(&["@?verso"])), None),
            "/activation always"
        );
        assert_eq!(strip_for_command("+15550001111 /status", None, Some(&me())), "/status");
        assert_eq!(strip_for_command("verso verso /new", Some(&patterns(&["verso"])), None), "verso /new");
    }
}
