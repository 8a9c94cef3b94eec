//! [`Patterns`]: texts that look like secrets, or that the owner wants hidden (`logging.redactPatterns`).

use std::borrow::Cow;

use regex::{Captures, Regex};

/// What looks like a secret when `logging.redactPatterns` names nothing else. A group is what is hidden; without one it is the match.
pub const BUILT_IN: &[&str] = &[
    r#"\b[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD)\s*=\s*["']?([^\s"'\\;&]+)"#,
    r#"(?i)["'](?:[a-z_]*api_?key|[a-z_]*token|[a-z_]*secret|passw(?:or)?d|authorization)\\?["']\s*:\s*\\?["']([^"'\\]+)"#,
    r"(?i)\bauthorization\s*[:=]\s*(?:bearer|basic)\s+([a-z0-9._~+/=-]+)",
    r"(?i)\bbearer\s+([a-z0-9._~+/=-]{16,})",
    r"(?i)[?&](?:[a-z_]*key|[a-z_]*token|sig|signature|password)=([^&\s\x22']+)",
    r"\b(?:sk|rk|pk)-[A-Za-z0-9_-]{8,}",
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
    r"\b(?:xox[abprs]-[A-Za-z0-9-]{10,}|gsk_[A-Za-z0-9]{10,}|hf_[A-Za-z0-9]{10,}|AIza[A-Za-z0-9_-]{20,}|npm_[A-Za-z0-9]{10,})",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
];

/// Characters from which on the ends of what is hidden stay readable, so that people can tell which of their keys it is.
const LONG: usize = 18;

/// Regular expressions of texts to hide.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Regex>);

impl Patterns {
    /// Patterns of these expressions. The configuration was checked: what is no expression is left out.
    pub fn new<'a>(expressions: impl IntoIterator<Item = &'a str>) -> Self {
        Self(expressions.into_iter().filter_map(|text| Regex::new(text).ok()).collect())
    }

    /// The text without what the patterns match. Of long matches the first 6 and the last 4 characters stay, `***` stands for short ones.
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut out = Cow::Borrowed(text);
        for pattern in &self.0 {
            if let Cow::Owned(hidden) = pattern.replace_all(&out, hidden) {
                out = Cow::Owned(hidden);
            }
        }
        out
    }
}

/// The match with its last group hidden; without a group the whole match.
fn hidden(found: &Captures<'_>) -> String {
    let whole = found.get(0).expect("the match itself");
    let part = found.iter().skip(1).flatten().filter(|m| !m.is_empty()).last().unwrap_or(whole);
    let (from, to) = (part.start() - whole.start(), part.end() - whole.start());
    let text = whole.as_str();
    format!("{}{}{}", &text[..from], shortened(&text[from..to]), &text[to..])
}

fn shortened(text: &str) -> String {
    let count = text.chars().count();
    if text.is_empty() || text.chars().all(|c| c == '*') {
        return text.to_owned();
    }
    if count < LONG {
        return super::MASKED.to_owned();
    }
    let head: String = text.chars().take(6).collect();
    let tail: String = text.chars().skip(count - 4).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_are_shortened_and_the_rest_stays() {
        let check = |pattern: &str, text: &str, shown: &str| {
            assert_eq!(Patterns::new([pattern]).apply(text), shown, "{pattern}");
        };
        check(r"secret-\w+", "bad key secret-abc for this", "bad key *** for this");
        check(r"secret-\w+", "secret-abcdefghijklmnop", "secret…mnop");
        check(r"(?:pin|code) (\d+)", "pin 4711, code 12", "pin ***, code ***");
        check(r"\+\d+", "from +15557000001", "from ***");
        check(r"x*", "abc", "abc");
        assert_eq!(Patterns::new(["("]).apply("("), "(", "the configuration names what is no expression");
    }

    #[test]
    fn what_looks_like_a_secret_goes_and_log_fields_stay() {
        let shown = |text: &str| Patterns::new(BUILT_IN.iter().copied()).apply(text).into_owned();
        for (text, gone) in [
            ("OPENAI_API_KEY=abc123 is set", "abc123"),
            ("Authorization: Bearer abc.def-ghi", "abc.def-ghi"),
            ("said \"bad bearer abcdefghijklmnop\"", "abcdefghijklmnop"),
            (r#"{"api_key": "qwertz99"}"#, "qwertz99"),
            ("GET /v1?key=qwertz99&x=1", "qwertz99"),
            ("key sk-secret-1234567890abcdef is over quota", "sk-secret-1234567890abcdef"),
            ("ghp_abcdefghijklmnopqrstuvwx", "ghp_abcdefghijklmnopqrstuvwx"),
            ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY----- ok", "MIIE"),
        ] {
            assert!(!shown(text).contains(gone), "{text} -> {}", shown(text));
        }
        for text in [
            "reload refused key=channels.whatsapp.dmPolicy",
            "agent=main session=agent:main:main id=3EB0 tokens=12",
            "check models.providers.stub.apiKey",
            "attempt=3 delay=2s link down",
        ] {
            assert_eq!(shown(text), text);
        }
    }
}
