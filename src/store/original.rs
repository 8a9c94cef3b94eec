//! The session files of the original: `sessions.json` and its transcripts, read to be taken over.

use std::fs;
use std::path::Path;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::UnixMs;
use crate::store::StoreError;
use crate::store::transcripts::Turn;

/// A conversation of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldSession {
    /// `agent:<id>:…`, in lower case.
    pub key: String,
    /// The name of its transcript.
    pub id: String,
    /// What was said.
    pub turns: Vec<Turn>,
}

/// The conversations of one agent that belong to WhatsApp, and how many do not.
///
/// # Errors
/// When `sessions.json` cannot be read or is damaged.
pub fn sessions(dir: &Path) -> Result<(Vec<OldSession>, usize), StoreError> {
    let path = dir.join("sessions.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(e) => return Err(StoreError::io("read", &path)(e)),
    };
    let entries: serde_json::Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|e| StoreError::Damaged { path, cause: e.to_string() })?;
    let mut found = Vec::new();
    let mut others = 0;
    for (key, entry) in entries {
        let key = key.trim().to_lowercase();
        let id = entry.get("sessionId").and_then(Value::as_str).filter(|id| is_plain(id));
        match id {
            Some(id) if is_ours(&key) => {
                let turns =
                    fs::read_to_string(dir.join(format!("{id}.jsonl"))).map(|t| transcript(&t)).unwrap_or_default();
                found.push(OldSession { key, id: id.to_owned(), turns });
            }
            _ => others += 1,
        }
    }
    Ok((found, others))
}

/// The main session, which direct chats share, and the ones of WhatsApp chats.
fn is_ours(key: &str) -> bool {
    let mut parts = key.splitn(3, ':');
    let rest = (parts.next() == Some("agent")).then(|| parts.nth(1)).flatten();
    rest.is_some_and(|rest| rest == "main" || rest.split(':').any(|part| part == "whatsapp"))
}

fn is_plain(id: &str) -> bool {
    !id.is_empty() && id.len() <= 100 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// What people and the model said; tools, thoughts and settings are left out.
fn transcript(text: &str) -> Vec<Turn> {
    text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter_map(|line| turn(&line)).collect()
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
            "agent:main:main": {"sessionId": "a-1", "channel": "whatsapp"},
            "agent:main:WhatsApp:group:1203@g.us": {"sessionId": "b-2"},
            "agent:main:telegram:direct:5": {"sessionId": "c-3"},
            "agent:main:whatsapp:direct:x": {"sessionId": "../escape"}
        }"#;
        fs::write(dir.path().join("sessions.json"), sessions_json).expect("written");
        let lines = [
            r#"{"type":"session","version":3,"id":"a-1","timestamp":"2026-02-09T10:00:00.000Z"}"#,
            r#"{"type":"message","id":"1","timestamp":"2026-02-09T10:00:01.500Z","message":{"role":"user","content":[{"type":"text","text":"hello"},{"type":"image"}]}}"#,
            r#"{"type":"message","message":{"role":"assistant","content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"hi"}],"timestamp":1770631202000}}"#,
            r#"{"type":"message","message":{"role":"toolResult","content":"x","timestamp":1}}"#,
            "half a li",
        ];
        fs::write(dir.path().join("a-1.jsonl"), lines.join("\n")).expect("written");
        let (found, others) = sessions(dir.path()).expect("readable");
        assert_eq!(others, 2);
        assert_eq!(
            found.iter().map(|s| s.key.as_str()).collect::<Vec<_>>(),
            ["agent:main:main", "agent:main:whatsapp:group:1203@g.us"]
        );
        let said =
            |role: &str, content: &str, timestamp| Turn { role: role.into(), content: content.into(), timestamp };
        assert_eq!(
            found[0].turns,
            [said("user", "hello", 1_770_631_201_500), said("assistant", "hi", 1_770_631_202_000)]
        );
        assert!(found[1].turns.is_empty(), "its transcript is lost");
        assert_eq!(sessions(&dir.path().join("none")).expect("nothing"), (Vec::new(), 0));
    }
}
