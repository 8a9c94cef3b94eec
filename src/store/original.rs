//! What the original keeps on disk, read to be taken over: `sessions.json`, its transcripts, and whether its gateway runs.

pub mod gateway;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::UnixMs;
use crate::store::StoreError;
use crate::store::transcripts::Turn;

/// A conversation of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldSession {
    /// As Verso names it: `agent:<id>:…`, in lower case.
    pub key: String,
    /// The name of its transcript.
    pub id: String,
    /// What was said.
    pub turns: Vec<Turn>,
    /// What `/activation` set: `mention` or `always`.
    pub activation: Option<String>,
    /// What `/send` set: `on` or `off`.
    pub send: Option<&'static str>,
    /// Something else was chosen for it, such as a model.
    pub chosen: bool,
}

/// The conversations of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OldSessions {
    /// Those of WhatsApp that have words.
    pub found: Vec<OldSession>,
    /// Those of other channels and of jobs.
    pub others: usize,
    /// Those of WhatsApp whose transcript is lost, damaged or empty.
    pub wordless: usize,
}

/// Reads the store `sessions.json` of `agent`. `main_key` names the session that direct chats share here.
///
/// # Errors
/// When it cannot be read or is damaged.
pub fn sessions(path: &Path, agent: &str, main_key: &str) -> Result<OldSessions, StoreError> {
    let damaged = |cause: String| StoreError::Damaged { path: path.to_path_buf(), cause };
    // A pipe would be waited for.
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(damaged("it is no ordinary file".to_owned()));
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(OldSessions::default()),
        Err(e) => return Err(StoreError::io("read", path)(e)),
    };
    let entries: serde_json::Map<String, Value> = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    let mut out = OldSessions::default();
    for (key, entry) in entries {
        let Some(key) = key_here(&key, agent, main_key) else {
            out.others += 1;
            continue;
        };
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let Some(id) = text("sessionId").filter(|id| is_plain(id)) else {
            out.wordless += 1;
            continue;
        };
        let turns = read_transcript(path.parent().unwrap_or(Path::new(".")), id, text("sessionFile"));
        if turns.is_empty() {
            out.wordless += 1;
            continue;
        }
        out.found.push(OldSession {
            key,
            id: id.to_owned(),
            turns,
            activation: text("groupActivation").filter(|a| matches!(*a, "mention" | "always")).map(str::to_owned),
            send: text("sendPolicy").and_then(|policy| match policy {
                "allow" => Some("on"),
                "deny" => Some("off"),
                _ => None,
            }),
            chosen: ["modelOverride", "thinkingLevel", "verboseLevel", "queueMode"].iter().any(|n| text(n).is_some()),
        });
    }
    Ok(out)
}

/// The key of a session of the original in today's spelling; `None` when it is not one of a WhatsApp chat. Older versions wrote
/// neither the agent nor the channel, and `dm` for `direct`.
fn key_here(key: &str, agent: &str, main_key: &str) -> Option<String> {
    let key = key.trim().to_lowercase();
    let (agent, rest) = match key.strip_prefix("agent:") {
        Some(named) => named.split_once(':')?,
        None => (agent, key.as_str()),
    };
    let parts: Vec<&str> = rest.split(':').collect();
    let rest = match parts[..] {
        ["main" | "global"] => main_key.to_owned(),
        [one] if one == main_key => main_key.to_owned(),
        ["direct" | "dm", peer] => format!("direct:{peer}"),
        ["whatsapp", "direct" | "dm", peer] => format!("whatsapp:direct:{peer}"),
        ["whatsapp", account, "direct" | "dm", peer] => format!("whatsapp:{account}:direct:{peer}"),
        // Only WhatsApp's groups are named so.
        ["whatsapp" | "unknown", "group", group] | ["group", group] | [group] if group.ends_with("@g.us") => {
            format!("whatsapp:group:{group}")
        }
        _ => return None,
    };
    Some(format!("agent:{agent}:{rest}"))
}

fn is_plain(id: &str) -> bool {
    !id.is_empty() && id.len() <= 100 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The transcript is named by the session's id unless the store says another file beside it.
fn read_transcript(dir: &Path, id: &str, named: Option<&str>) -> Vec<Turn> {
    let named = named.map(|file| dir.join(Path::new(file).file_name().unwrap_or_default()));
    let usual: PathBuf = dir.join(format!("{id}.jsonl"));
    let places = [named, Some(usual)].into_iter().flatten().filter(|path| path.is_file());
    let text = places.into_iter().find_map(|path| fs::read_to_string(path).ok());
    text.map(|text| transcript(&text)).unwrap_or_default()
}

/// What people and the model said; tools, thoughts and settings are left out. The lines are a tree: the last one tells which branch is
/// the conversation. Where a line on the way is damaged, it goes on with the one before it.
fn transcript(text: &str) -> Vec<Turn> {
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let name = |line: &Value, key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
    let places: HashMap<String, usize> =
        lines.iter().enumerate().filter_map(|(at, line)| Some((name(line, "id")?, at))).collect();
    let mut turns = Vec::new();
    let mut next = lines.len().checked_sub(1);
    while let Some(at) = next {
        turns.extend(turn(&lines[at]));
        // A parent stands before its children; anything else would be a circle.
        let parent = name(&lines[at], "parentId").and_then(|id| places.get(&id).copied()).filter(|p| *p < at);
        next = parent.or(at.checked_sub(1));
    }
    turns.reverse();
    turns
}

fn turn(line: &Value) -> Option<Turn> {
    let message = line.get("message").unwrap_or(line);
    let role = message.get("role")?.as_str().filter(|r| matches!(*r, "user" | "assistant"))?;
    let content = match message.get("content")? {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts
                .iter()
                .filter(|p| p.get("type").is_some_and(|t| t == "text"))
                .filter_map(|p| p.get("text").and_then(Value::as_str))
                .collect();
            texts.join("\n")
        }
        _ => return None,
    };
    let timestamp = message.get("timestamp").and_then(time_of).or_else(|| line.get("timestamp").and_then(time_of))?;
    (!content.trim().is_empty()).then(|| Turn { role: role.to_owned(), content, timestamp })
}

fn time_of(value: &Value) -> Option<UnixMs> {
    value.as_i64().or_else(|| {
        let at = OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()?;
        UnixMs::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_of_whatsapp_are_found_with_their_words() {
        let dir = tempfile::tempdir().expect("temp dir");
        let sessions_json = r#"{
            "agent:main:main": {"sessionId": "a-1", "channel": "whatsapp", "sendPolicy": "deny"},
            "agent:main:WhatsApp:group:1203@g.us": {"sessionId": "b-2"},
            "agent:main:whatsapp:group:1204@g.us": {"sessionId": "d-4", "sessionFile": "/old/place/other.jsonl",
                "groupActivation": "always", "modelOverride": "big"},
            "agent:main:telegram:direct:5": {"sessionId": "c-3"},
            "agent:main:whatsapp:direct:x": {"sessionId": "../escape"}
        }"#;
        let store = dir.path().join("sessions.json");
        fs::write(&store, sessions_json).expect("written");
        let lines = [
            r#"{"type":"session","version":3,"id":"a-1","timestamp":"2026-02-09T10:00:00.000Z"}"#,
            r#"{"type":"message","id":"1","parentId":null,"timestamp":"2026-02-09T10:00:01.500Z","message":{"role":"user","content":[{"type":"text","text":"hello"},{"type":"image"}]}}"#,
            r#"{"type":"message","id":"2","parentId":"1","message":{"role":"assistant","content":[{"type":"text","text":"an answer that was taken back"}],"timestamp":1}}"#,
            r#"{"type":"message","id":"3","parentId":"1","message":{"role":"assistant","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"hi"}],"timestamp":1770631202000}}"#,
            r#"{"type":"message","id":"4","parentId":"3","message":{"role":"toolResult","content":"x","timestamp":1}}"#,
            r#"{"type":"message","id":"5","parentId":"lost","message":{"role":"user","content":"bye","timestamp":2}}"#,
            "half a li",
        ];
        fs::write(dir.path().join("a-1.jsonl"), lines.join("\n")).expect("written");
        fs::write(dir.path().join("other.jsonl"), lines[1]).expect("written");
        let read = sessions(&store, "main", "home").expect("readable");
        assert_eq!((read.others, read.wordless), (1, 2), "one transcript is lost, one name is none");
        let keys: Vec<&str> = read.found.iter().map(|s| s.key.as_str()).collect();
        assert_eq!(keys, ["agent:main:home", "agent:main:whatsapp:group:1204@g.us"]);
        let said =
            |role: &str, content: &str, timestamp| Turn { role: role.into(), content: content.into(), timestamp };
        assert_eq!(
            read.found[0].turns,
            [
                said("user", "hello", 1_770_631_201_500),
                said("assistant", "hi", 1_770_631_202_000),
                said("user", "bye", 2)
            ]
        );
        assert_eq!((read.found[0].send, read.found[0].chosen), (Some("off"), false));
        let group = &read.found[1];
        assert_eq!((group.activation.as_deref(), group.chosen, group.turns.len()), (Some("always"), true, 1));
        assert_eq!(sessions(&dir.path().join("none"), "main", "main").expect("nothing"), OldSessions::default());
    }

    #[test]
    fn older_names_of_sessions_are_understood() {
        let cases = [
            ("main", Some("agent:work:main")),
            ("global", Some("agent:work:main")),
            ("agent:Main:main", Some("agent:main:main")),
            ("group:1203@g.us", Some("agent:work:whatsapp:group:1203@g.us")),
            ("1203-5@g.us", Some("agent:work:whatsapp:group:1203-5@g.us")),
            ("agent:main:whatsapp:dm:+1555", Some("agent:main:whatsapp:direct:+1555")),
            ("agent:main:whatsapp:biz:direct:+1555", Some("agent:main:whatsapp:biz:direct:+1555")),
            ("agent:main:dm:+1555", Some("agent:main:direct:+1555")),
            ("agent:main:telegram:group:-100", None),
            ("agent:main:subagent:1f", None),
            ("agent:main:cron:whatsapp:1", None),
            ("agent:main", None),
        ];
        for (key, expected) in cases {
            assert_eq!(key_here(key, "work", "main").as_deref(), expected, "{key}");
        }
    }
}
