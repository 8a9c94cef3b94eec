//! Holds the pure rules against input and output of the original.
//!
//! Runs every file of the folder in `VERSO_VECTORS` (default: `tests/vectors`) as far as Verso has the function, prints
//! `<function>: passed/total (left out n)` and fails on a mismatch that no deviation explains. A deviation is a rule, not a list of cases: it looks
//! at the case and names the section of the specification whose "Verso:" line says otherwise.

mod access;
mod commands;
mod common;
mod config;
mod connection;
mod credentials;
mod extract;
mod flow;
mod groups;
mod inbound;
mod markdown;
mod media;
mod numbers;
mod replies;
mod routing;
mod sending;
mod sessions;
mod short_numbers;
mod texts;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use common::*;

type Topic = fn(&str) -> Option<(Run, Deviation)>;

/// The topics; a function belongs to one of them.
const TOPICS: &[Topic] = &[
    access::functions,
    commands::functions,
    connection::functions,
    config::functions,
    credentials::functions,
    extract::functions,
    flow::functions,
    groups::functions,
    inbound::functions,
    markdown::functions,
    media::functions,
    numbers::functions,
    replies::functions,
    routing::functions,
    sessions::functions,
    sending::functions,
    texts::functions,
];

/// Functions of which the conversation is compared; media, groups' members and the rest have cases of their own.
const CONVERSATIONS: &[&str] = &["inbound flow (gating, envelope, reply delivery)"];
/// What is not compared there.
const ELSEWHERE: &[&str] = &["GroupSubject", "GroupMembers", "MediaPath", "MediaType"];
/// Functions whose record says more in Verso: the original's keys are compared.
const SAYS_MORE: &[&str] = &["WhatsAppConfigSchema.safeParse", "resolveWhatsAppAccount"];
/// Functions whose record holds more than the rule: only these keys are compared.
const IN_PART: &[(&str, &[&str])] = &[
    // What Verso marks as read is decided and tested apart (6.7).
    ("checkInboundAccessControl", &["allowed", "isSelfChat", "resolvedAccountId", "sent", "pendingAfter"]),
    // The words of the log are the supervisor's.
    ("monitorWebChannel reconnect", &["connects", "sleeps", "finalStatus"]),
    // How often, the intervals' own cases say.
    ("resolveHeartbeatAgents", &["agentId"]),
    // The rest is the original's debug record.
    ("debugMention", &["wasMentioned"]),
];

#[test]
fn the_rules_agree_with_the_original() {
    let folder = std::env::var_os("VERSO_VECTORS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"), PathBuf::from);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("cannot read {}: {e}", folder.display()))
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no vectors in {}", folder.display());
    let (mut failures, mut ran) = (Vec::new(), 0);
    for path in files {
        let text = std::fs::read_to_string(&path).expect("readable");
        let file: Value = serde_json::from_str(&without_lone_surrogates(&renamed(&text))).expect("JSON");
        let topic = path.file_stem().expect("name").to_string_lossy().into_owned();
        for group in file["groups"].as_array().into_iter().flatten() {
            let name = group["fn"].as_str().unwrap_or_default();
            let cases = group["cases"].as_array().map_or(&[][..], Vec::as_slice);
            let Some((run, deviation)) = TOPICS.iter().find_map(|functions| functions(name)) else {
                report(name, 0, cases.len(), &BTreeMap::from([("Verso has no such function", cases.len())]));
                continue;
            };
            let (mut passed, mut left_out) = (0, BTreeMap::<&str, usize>::new());
            for case in cases {
                let case = &short_numbers::padded(name, case);
                let (input, expected) = (&case["input"], &in_part(name, &case["expected"]));
                match run(input) {
                    Err(LeftOut(why)) => *left_out.entry(why).or_default() += 1,
                    Ok(got) if bare(&shared(name, &got, expected)) == bare(expected) => passed += 1,
                    Ok(got) => match deviation(input, expected) {
                        Some(section) => *left_out.entry(section).or_default() += 1,
                        None => failures.push(format!(
                            "{topic} {name}\n  input    {input}\n  expected {expected}\n  got      {got}"
                        )),
                    },
                }
            }
            ran += passed;
            report(name, passed, cases.len(), &left_out);
        }
    }
    assert!(failures.is_empty(), "{} mismatches:\n{}", failures.len(), failures.join("\n"));
    assert!(ran > 0, "no case ran");
}

/// What is compared of a record that says more than the original's.
fn shared(name: &str, got: &Value, expected: &Value) -> Value {
    if !SAYS_MORE.contains(&name) {
        return got.clone();
    }
    match (got, expected) {
        (Value::Object(got), Value::Object(expected)) => {
            got.iter().filter_map(|(key, value)| Some((key.clone(), shared(name, value, expected.get(key)?)))).collect()
        }
        _ => got.clone(),
    }
}

/// The keys of an expected record that are compared.
fn in_part(name: &str, expected: &Value) -> Value {
    if CONVERSATIONS.contains(&name) {
        return without(expected, ELSEWHERE);
    }
    let keys = IN_PART.iter().find(|(function, _)| *function == name).map(|(_, keys)| *keys);
    match (keys, expected) {
        (Some(keys), Value::Object(map)) => {
            map.iter().filter(|(k, _)| keys.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
        }
        (Some(_), Value::Array(list)) => list.iter().map(|record| in_part(name, record)).collect(),
        _ => expected.clone(),
    }
}

fn without(value: &Value, keys: &[&str]) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !keys.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), without(value, keys)))
            .collect(),
        Value::Array(list) => list.iter().map(|value| without(value, keys)).collect(),
        other => other.clone(),
    }
}

/// `<function>: passed/total (left out n)`, and below it why.
fn report(name: &str, passed: usize, total: usize, left_out: &BTreeMap<&str, usize>) {
    println!("{name}: {passed}/{total} (left out {})", left_out.values().sum::<usize>());
    for (why, n) in left_out {
        println!("    {n}: {why}");
    }
}

/// The product's name in literals, also where a case hides an invisible character in it.
fn renamed(text: &str) -> String {
    let name = regex::Regex::new(r"([Oo])pen((?:\\u[0-9a-fA-F]{4}|[\x{200b}-\x{200f}\x{2060}\x{feff}])?)[Cc]law")
        .expect("a pattern");
    name.replace_all(text, |found: &regex::Captures<'_>| {
        format!("{}er{}so", if &found[1] == "O" { "V" } else { "v" }, &found[2])
    })
    .into_owned()
}

/// Rust's strings hold no lone surrogates: they become U+FFFD.
fn without_lone_surrogates(text: &str) -> String {
    let unit = |at: usize| {
        let escape = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(escape, 16).ok()
    };
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(found) = text[at..].find('\\') {
        out.push_str(&text[at..at + found]);
        at += found;
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => {
                out.push_str(&text[at..at + 12]);
                at += 12;
            }
            (Some(0xd800..0xe000), _) => {
                out.push_str("\\ufffd");
                at += 6;
            }
            _ => {
                out.push_str(&text[at..at + 2]);
                at += 2;
            }
        }
    }
    out + &text[at..]
}

/// Without nulls and empty objects, which also stand for "undefined"; whole numbers alike however written.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(k, v)| (k.clone(), bare(v)));
            Value::Object(kept.filter(|(_, v)| !v.is_null() && *v != json!({})).collect())
        }
        Value::Array(list) => list.iter().map(bare).collect(),
        Value::Number(n) => n.as_f64().map_or(value.clone(), |n| json!(n)),
        other => other.clone(),
    }
}
