//! The original's cases use numbers such as `+1555`, which are too short to be any (24.7): each is made longer, wherever the case has it.

use std::collections::BTreeSet;

use serde_json::Value;

/// Addresses whose user is a phone number.
const SERVERS: &[&str] = &["s.whatsapp.net", "c.us", "hosted"];

/// Functions whose input looks like a short number and is none.
const NO_NUMBERS: &[&str] = &["normalizeAccountId", "parseDurationMs(default unit m)"];

/// The case with every short number made longer, in what is given and in what is expected. Different numbers stay different.
pub fn padded(function: &str, case: &Value) -> Value {
    if NO_NUMBERS.contains(&function) {
        return case.clone();
    }
    let mut short = BTreeSet::new();
    collect(case, "", &mut short);
    if short.is_empty() { case.clone() } else { replaced(case, "", &short) }
}

/// Six digits and how many of them there were.
fn suffix(digits: &str) -> String {
    format!("{}{}", "0".repeat(6 - digits.len()), digits.len())
}

fn is_short(digits: &str) -> bool {
    (1..7).contains(&digits.len())
}

/// The digits of a text that is a phone number and nothing else. Without a `+` only keys of numbers say that it is meant as one.
fn number(text: &str, key: &str) -> Option<String> {
    let mut rest = text.trim();
    while let Some(tail) = rest.strip_prefix("whatsapp:").or_else(|| rest.strip_prefix("tel:")) {
        rest = tail.trim_start();
    }
    let named = rest.starts_with('+') || key.contains("llowFrom") || key == "input";
    let plain =
        rest.chars().enumerate().all(|(n, c)| c.is_ascii_digit() || " ().-".contains(c) || (n == 0 && c == '+'));
    let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
    (named && plain && !digits.is_empty()).then_some(digits)
}

/// The digits of a text that is a person's address.
fn address(text: &str) -> Option<&str> {
    let (user, server) = text.split_once('@')?;
    let user = user.split_once(':').map_or(user, |(user, _)| user);
    (SERVERS.contains(&server) && user.bytes().all(|b| b.is_ascii_digit())).then_some(user)
}

fn collect(value: &Value, key: &str, short: &mut BTreeSet<String>) {
    let add = |text: &str, key: &str, short: &mut BTreeSet<String>| {
        // A session key ends in its chat.
        let peer = text.strip_prefix("agent:").and_then(|key| key.rsplit(':').next()).unwrap_or(text);
        let digits = number(peer, key).or_else(|| address(text).map(str::to_owned));
        short.extend(digits.filter(|digits| is_short(digits)));
    };
    match value {
        Value::String(text) => add(text, key, short),
        Value::Array(list) => list.iter().for_each(|one| collect(one, key, short)),
        Value::Object(map) => {
            for (name, one) in map {
                add(name, "", short);
                collect(one, name, short);
            }
        }
        _ => {}
    }
}

fn replaced(value: &Value, key: &str, short: &BTreeSet<String>) -> Value {
    match value {
        Value::String(text) => longer(text, key, short).into(),
        Value::Array(list) => list.iter().map(|one| replaced(one, key, short)).collect(),
        Value::Object(map) => {
            map.iter().map(|(name, one)| (longer(name, "", short), replaced(one, name, short))).collect()
        }
        other => other.clone(),
    }
}

fn longer(text: &str, key: &str, short: &BTreeSet<String>) -> String {
    if let Some(digits) = number(text, key).filter(|digits| short.contains(digits)) {
        let end = text.rfind(|c: char| c.is_ascii_digit()).expect("it has digits") + 1;
        return format!("{}{}{}", &text[..end], suffix(&digits), &text[end..]);
    }
    let (mut out, mut at) = (String::new(), 0);
    while let Some(found) = text[at..].find(|c: char| c.is_ascii_digit()) {
        let start = at + found;
        let length = text[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - start);
        let (digits, before, after) = (&text[start..start + length], &text[..start], &text[start + length..]);
        out.push_str(&text[at..start + length]);
        at = start + length;
        let device =
            after.strip_prefix(':').map_or(after, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
        let of_person =
            device.strip_prefix('@').is_some_and(|rest| SERVERS.iter().any(|server| rest.starts_with(server)))
                && !before.ends_with([':', '_', '.', '-']);
        let ends = !after.starts_with(|c: char| c.is_alphanumeric());
        let marked = ends && before.ends_with(['+', '@']) && !before.ends_with("/+");
        if short.contains(digits) && (of_person || marked) {
            out.push_str(&suffix(digits));
        }
    }
    out + &text[at..]
}

#[test]
fn short_numbers_are_made_longer_everywhere() {
    let case = serde_json::json!({
        "input": { "from": "+1555", "allowFrom": ["1 999", "*"], "dms": { "+1555": {} }, "at": "120@g.us", "jid": "1555:3@c.us" },
        "expected": ["[WhatsApp +1555 +2m 2026-01-02] hi @1999", "agent:a:direct:+1555", "+1 555 123 4567", 1555],
    });
    let want = serde_json::json!({
        "input": {
            "from": "+1555004", "allowFrom": ["1 999004", "*"], "dms": { "+1555004": {} }, "at": "120@g.us", "jid": "1555004:3@c.us"
        },
        "expected": [
            "[WhatsApp +1555004 +2m 2026-01-02] hi @1999004", "agent:a:direct:+1555004", "+1 555 123 4567", 1555
        ],
    });
    assert_eq!(padded("any", &case), want);
    assert_eq!(padded("normalizeAccountId", &case), case);
}
