//! `verso why <message-id>`: what became of a message.

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, TIMEOUT};
use super::output::{Failure, Printer};
use super::place::Place;
use super::{Connection, show};

/// Arguments of `verso why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The message's id, as the log or the phone's debug view shows it
    message_id: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs `verso why`.
pub(super) async fn run(args: &WhyArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    let mut client = Client::connect(&Place::of_process().reach(connection), TIMEOUT).await?;
    let found = client.call("verso.explain", json!({"messageId": args.message_id}), TIMEOUT).await?;
    client.close().await;
    let rows = rows(&found);
    if rows.is_empty() {
        return Err(Failure::new(format!("no message {} in the journal", args.message_id))
            .hint("ids are case-sensitive; messages that came while no gateway ran are not known"));
    }
    show(p, &found, || {
        let mut lines = Vec::new();
        for row in rows {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            describe(row, 0, &mut lines);
        }
        lines
    });
    Ok(())
}

fn rows(found: &Value) -> Vec<&Value> {
    match found {
        Value::Array(rows) => rows.iter().collect(),
        Value::Null => Vec::new(),
        Value::Object(map) => match map.get("rows").and_then(Value::as_array) {
            Some(rows) => rows.iter().collect(),
            None if map.is_empty() => Vec::new(),
            None => vec![found],
        },
        other => vec![other],
    }
}

/// `key: value` lines, nested ones indented; what is empty is left out.
fn describe(value: &Value, depth: usize, lines: &mut Vec<String>) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::Null => {}
                    Value::Object(m) if m.is_empty() => {}
                    Value::Array(l) if l.is_empty() => {}
                    Value::Object(_) | Value::Array(_) => {
                        lines.push(format!("{pad}{key}:"));
                        describe(value, depth + 1, lines);
                    }
                    Value::String(text) => lines.push(format!("{pad}{key}: {text}")),
                    other => lines.push(format!("{pad}{key}: {other}")),
                }
            }
        }
        Value::Array(list) => {
            for item in list {
                match item {
                    Value::Object(_) | Value::Array(_) => {
                        lines.push(format!("{pad}-"));
                        describe(item, depth + 1, lines);
                    }
                    Value::String(text) => lines.push(format!("{pad}- {text}")),
                    other => lines.push(format!("{pad}- {other}")),
                }
            }
        }
        other => lines.push(format!("{pad}{other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_in_lines() {
        let found =
            json!([{"account": "work", "empty": null, "decision": {"code": "dm-not-allowed", "steps": ["a", "b"]}}]);
        let mut lines = Vec::new();
        describe(rows(&found)[0], 0, &mut lines);
        assert_eq!(lines, ["account: work", "decision:", "  code: dm-not-allowed", "  steps:", "    - a", "    - b"]);
        assert!(rows(&json!([])).is_empty() && rows(&Value::Null).is_empty());
    }
}
