//! Takes the secrets out of a config before anybody is shown it.

use std::sync::LazyLock;

use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, ast, parse_to_ast};
use regex::{Captures, Regex};
use serde_json::{Map, Value};

use crate::disclosure::is_secret_key;

/// Puts `marker` in the place of every secret text and collects what stood there.
pub fn redact(value: &mut Value, marker: &str, secrets: &mut Vec<String>) {
    hide(value, false, marker, secrets);
}

fn hide(value: &mut Value, all: bool, marker: &str, secrets: &mut Vec<String>) {
    match value {
        Value::Object(map) => hide_in(map, all, marker, secrets),
        Value::Array(list) => list.iter_mut().for_each(|v| hide(v, all, marker, secrets)),
        Value::Number(n) if all => {
            secrets.push(n.to_string());
            *value = Value::String(marker.to_owned());
        }
        // A reference to the environment is no secret and says where to look.
        Value::String(s) if all && !s.is_empty() && !(s.starts_with("${") && s.ends_with('}')) => {
            secrets.push(std::mem::replace(s, marker.to_owned()));
        }
        Value::String(s) if !all => *s = in_text(s, marker, secrets),
        _ => {}
    }
}

fn hide_in(map: &mut Map<String, Value>, all: bool, marker: &str, secrets: &mut Vec<String>) {
    for (key, value) in map.iter_mut() {
        let all = all || is_secret_key(key) || key == "headers" || (key == "env" && value.is_object());
        hide(value, all, marker, secrets);
        if let (false, "command" | "args", Value::Array(list)) = (all, key.as_str(), value) {
            hide_in_arguments(list, marker, secrets);
        }
    }
}

/// Arguments of a program: `--api-key X`, `--token=X`, `NAME_SECRET=X`, `Authorization: X`, and words that look like a key.
fn hide_in_arguments(list: &mut [Value], marker: &str, secrets: &mut Vec<String>) {
    static OPTION: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(&format!(r"(?i)^-{{1,2}}[\w-]*{NAME}$")).expect("valid"));
    static PAIR: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(&format!(r"(?is)^([\w-]*{NAME}\s*[=:]\s*)(.+)$")).expect("valid"));
    let mut next = false;
    for value in list {
        let Value::String(text) = value else {
            next = false;
            continue;
        };
        let is_option = OPTION.is_match(text);
        let hidden = match PAIR.captures(text) {
            _ if next && !is_option => Some((String::new(), text.clone())),
            Some(pair) => Some((pair[1].to_owned(), pair[2].to_owned())),
            None if is_key(text) => Some((String::new(), text.clone())),
            None => None,
        };
        if let Some((before, secret)) = hidden.filter(|(_, s)| !is_reference(s)) {
            *text = format!("{before}{marker}");
            secrets.push(secret);
        }
        next = is_option;
    }
}

/// A text with addresses in it: their userinfo is a secret.
fn in_text(text: &str, marker: &str, secrets: &mut Vec<String>) -> String {
    let mut hide = |found: &Captures<'_>| {
        if !is_reference(&found[2]) && &found[2] != marker {
            secrets.push(found[2].to_owned());
        }
        format!("{}{marker}@", &found[1])
    };
    USERINFO.replace_all(text, |found: &Captures<'_>| hide(found)).into_owned()
}

/// A comment: what may be an old secret that somebody has put out of use.
fn in_comment(comment: &str, marker: &str) -> String {
    static BEARER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"(?i)\b((?:bearer|basic)\s+)([^\s"',;]+)"#).expect("valid"));
    static PAIR: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(&format!(r#"(?i)([\w-]*{NAME}["']?\s*[=:]\s*)("[^"\n]*"|'[^'\n]*'|[^\s,;}}\]]+)"#)).expect("valid")
    });
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[A-Za-z0-9_+=-]{10,}").expect("valid"));
    let keep = |found: &Captures<'_>, at: usize| is_reference(found[at].trim_matches(['"', '\'']));
    let text = BEARER.replace_all(comment, |found: &Captures<'_>| format!("{}{marker}", &found[1]));
    let text = PAIR.replace_all(&text, |found: &Captures<'_>| {
        if keep(found, 2) { found[0].to_owned() } else { format!("{}\"{marker}\"", &found[1]) }
    });
    let text = in_text(&text, marker, &mut Vec::new());
    let hide = |found: &Captures<'_>| if is_key(&found[0]) { marker.to_owned() } else { found[0].to_owned() };
    WORD.replace_all(&text, hide).into_owned()
}

/// The end of a name whose value is a secret.
const NAME: &str = r"(?:token|key|secret|password|passwd|passphrase|credentials?|authorization|auth|cookie|bearer)";

static USERINFO: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"([A-Za-z][A-Za-z0-9+.-]*://)([^\s/@"'?#]+)@"#).expect("valid"));

/// A reference to the environment is no secret and says where to look.
fn is_reference(text: &str) -> bool {
    text.starts_with("${") && text.ends_with('}')
}

/// A word that looks like a key: a known beginning, or long and of letters and digits.
fn is_key(word: &str) -> bool {
    let known = ["sk-", "pk-", "rk-", "xoxb-", "xoxp-", "ghp_", "gho_", "ghs_", "glpat-", "AKIA", "AIza", "hf_"];
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "_+=-".contains(c));
    let mixed = word.chars().any(|c| c.is_ascii_digit()) && word.chars().any(|c| c.is_ascii_alphabetic());
    plain && (known.iter().any(|k| word.starts_with(k)) || (word.len() >= 24 && mixed))
}

/// A JSON5 text and its value without secrets, for somebody who may see the rest. Secrets are found where they stand, so escapes, secrets that
/// are parts of others, keys written twice and old secrets in comments hide nothing. `None`: the text is no JSON5.
pub fn redact_text(text: &str, marker: &str) -> Option<(String, Value)> {
    let value = super::parse_text(text).ok()?;
    let (mut shown, mut secrets) = (value.clone(), Vec::new());
    redact(&mut shown, marker, &mut secrets);
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let collect = CollectOptions { comments: CommentCollectionStrategy::Separate, ..CollectOptions::default() };
    let tree = parse_to_ast(body, &collect, &ParseOptions::default()).ok()?;
    let mut cuts = Vec::new();
    for_secrets(tree.value.as_ref()?, &value, &shown, marker, &mut cuts);
    for comment in tree.comments.iter().flat_map(|map| map.values()).flat_map(|list| list.iter()) {
        let range = comment.range();
        cuts.push((range.start..range.end, in_comment(&body[range.start..range.end], marker)));
    }
    cuts.sort_by_key(|(range, _)| range.start);
    cuts.dedup_by(|a, b| a.0 == b.0);
    let mut out = String::new();
    let mut at = 0;
    for (range, instead) in cuts.into_iter().filter(|(range, _)| !range.is_empty()) {
        if range.start >= at {
            out.push_str(&body[at..range.start]);
            out.push_str(&instead);
            at = range.end;
        }
    }
    out.push_str(&body[at..]);
    // The same secret in another place, such as a key; the longest first, or the rest of one would stay.
    secrets.retain(|s| s.chars().count() >= 8);
    secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
    let out = secrets.iter().fold(out, |out, secret| out.replace(secret.as_str(), marker));
    Some((out, shown))
}

/// Where the literals stand whose value is not to be shown.
fn for_secrets(
    node: &ast::Value<'_>,
    value: &Value,
    shown: &Value,
    marker: &str,
    cuts: &mut Vec<(std::ops::Range<usize>, String)>,
) {
    let range = node.range();
    let range = range.start..range.end;
    match (node, value, shown) {
        (ast::Value::Object(object), Value::Object(old), Value::Object(new)) => {
            for (at, property) in object.properties.iter().enumerate() {
                let name = property.name.as_str();
                let later = object.properties[at + 1..].iter().any(|p| p.name.as_str() == name);
                match (old.get(name), new.get(name)) {
                    (Some(old), Some(new)) if !later => for_secrets(&property.value, old, new, marker, cuts),
                    // A value that does not count any more was not looked at.
                    _ => {
                        let range = property.value.range();
                        cuts.push((range.start..range.end, Value::from(marker).to_string()));
                    }
                }
            }
        }
        (ast::Value::Array(array), Value::Array(old), Value::Array(new)) => {
            for ((node, old), new) in array.elements.iter().zip(old).zip(new) {
                for_secrets(node, old, new, marker, cuts);
            }
        }
        _ if value != shown => cuts.push((range, shown.to_string())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: &str = "HIDDEN";

    #[test]
    fn secrets_leave_neither_text_nor_value() {
        let text = r#"{ // mine
            gateway: { port: 1, auth: { token: 'tok-123' } },
            models: { providers: {
                a: { apiKey: "sk-9", headers: { "X-Key": "hh" }, baseUrl: "http://user:pass-word@10.0.0.1/v1" },
                b: { apiKey: "${KEY}" }, // was apiKey: "sk-old-one", then Authorization: Bearer old-bearer
                c: { apiKey: "abc", more: { password: "abcdef", pin: 1, secret: 4711 } },
                d: { command: ["bot", "--api-key", "plain-key", "--token=other-key", "-v", "A_SECRET=third", "file.txt"] },
                e: { apiKey: "escaped", apiKey: 'twice' },
                /* token = 'in-a-block' ghp_abcdefghijklmnop http://u:old-pass@host */
            } },
        }"#;
        let (shown, value) = redact_text(text, HIDDEN).expect("JSON5");
        for gone in [
            "tok-123",
            "sk-9",
            "\"hh\"",
            "pass-word",
            "sk-old-one",
            "old-bearer",
            "\"abc",
            "abcdef",
            "def",
            "4711",
            "plain-key",
            "other-key",
            "third",
            "x61ped",
            "twice",
            "in-a-block",
            "ghp_",
            "old-pass",
        ] {
            assert!(!shown.contains(gone), "{gone}: {shown}");
            assert!(!value.to_string().contains(gone), "{gone}: {value}");
        }
        for kept in ["// mine", "${KEY}", "10.0.0.1", "file.txt", "--api-key", "-v", "port: 1", "pin: 1", "/*"] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
        assert_eq!(value["models"]["providers"]["a"]["apiKey"], HIDDEN);
        assert_eq!(super::super::parse_text(&shown).expect("still JSON5")["gateway"]["port"], 1);
    }

    #[test]
    fn what_is_no_json5_is_not_shown() {
        assert_eq!(redact_text("{ token: 'x'", HIDDEN), None);
    }
}
