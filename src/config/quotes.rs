//! Makes findings quote what stands in the file: `${OPENAI_API_KEY}`, never what the environment holds under that name.

use super::include::Expansion;
use super::problem::{Finding, KeyPath};
use crate::disclosure::{self, Mask, Patterns, SHORTEST, Secrets};
use crate::ids::{AccountId, AgentId, E164};

/// Parts of an expanded text that are replaced where they stand without quotation marks.
const SHORTEST_PIECE: usize = 6;
/// Quoted words that are compared with parts of an expanded text.
const SHORTEST_WORD: usize = 3;

/// What findings of one config must not say.
pub(super) struct Quotes<'a> {
    expansions: &'a [Expansion],
    mask: Mask,
    patterns: Patterns,
}

impl<'a> Quotes<'a> {
    /// For a config with these expansions and secrets.
    pub fn new(expansions: &'a [Expansion], secrets: &Secrets, patterns: Patterns) -> Self {
        Self { expansions, mask: Mask::new(secrets.iter()), patterns }
    }

    /// The finding in words that may be shown.
    pub fn restored(&self, mut finding: Finding) -> Finding {
        finding.message = self.text(&finding.path, &finding.message);
        finding.hint = finding.hint.map(|hint| self.text(&finding.path, &hint));
        finding
    }

    fn text(&self, path: &KeyPath, text: &str) -> String {
        let mut text = text.to_owned();
        for expansion in self.expansions {
            let near = expansion.path.starts_with(path) || path.starts_with(&expansion.path);
            text = quoted(&text, expansion, near);
            if near {
                text = pieces(&text, expansion);
            }
            for (name, value) in &expansion.values {
                if disclosure::is_secret_variable(name) && value.chars().count() >= SHORTEST {
                    text = text.replace(value.as_str(), &format!("${{{name}}}"));
                }
            }
        }
        self.patterns.apply(&self.mask.apply(&text)).into_owned()
    }
}

/// Letters and digits alone: ids and numbers are cleaned before they are quoted.
fn skeleton(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The text with every quoted word replaced that comes from this expansion.
fn quoted(text: &str, expansion: &Expansion, near: bool) -> String {
    // These quote what may be written, not what is.
    if text.starts_with("Invalid option") {
        return text.to_owned();
    }
    let whole = skeleton(&expansion.text);
    let comes_from = |word: &str| {
        let word = skeleton(word);
        if word.chars().count() < SHORTEST_WORD || whole.is_empty() {
            return false;
        }
        word == whole || (near && (whole.contains(&word) || word.contains(&whole)))
    };
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('"') {
        let Some(length) = rest[open + 1..].find('"') else { break };
        let word = &rest[open + 1..open + 1 + length];
        let advice = rest[..open].ends_with("did you mean ");
        out.push_str(&rest[..=open]);
        out.push_str(if !advice && comes_from(word) { &expansion.source } else { word });
        out.push('"');
        rest = &rest[open + length + 2..];
    }
    out + rest
}

/// The text without the parts of this expansion that stand in it as words of their own.
fn pieces(text: &str, expansion: &Expansion) -> String {
    let expanded = expansion.text.trim();
    let mut parts: Vec<String> = expanded.split(['/', ',', '@', ' ']).map(str::to_owned).collect();
    parts.retain(|part| part.chars().count() >= SHORTEST_PIECE);
    parts.extend([AgentId::new(expanded).to_string(), AccountId::new(expanded).to_string()]);
    parts.extend(E164::parse(expanded).ok().map(|number| number.to_string()));
    parts.push(expanded.to_owned());
    parts.retain(|part| part.chars().count() >= SHORTEST_WORD && skeleton(&expansion.text).contains(&skeleton(part)));
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts.iter().fold(text.to_owned(), |text, part| replace_words(&text, part, &expansion.source))
}

/// Replaces `word` where neither neighbour is a letter or a digit.
fn replace_words(text: &str, word: &str, by: &str) -> String {
    let mut out = String::new();
    let mut at = 0;
    for (found, _) in text.match_indices(word) {
        let end = found + word.len();
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        if found < at || inside(text[..found].chars().next_back()) || inside(text[end..].chars().next()) {
            continue;
        }
        out.push_str(&text[at..found]);
        out.push_str(by);
        at = end;
    }
    out + &text[at..]
}
