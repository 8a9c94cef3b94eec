//! `verso logs`: the gateway's log through the gateway.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::Connection;
use super::client::{Client, TIMEOUT};
use super::output::{Failure, Printer};
use super::place::Place;
use crate::telemetry;
use crate::text::label;

/// Arguments of `verso logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Go on with what is written from now on
    #[arg(long, short)]
    follow: bool,
    /// Most lines at once
    #[arg(long, default_value_t = 200, value_name = "N")]
    limit: u64,
    /// Most bytes at once
    #[arg(long, default_value_t = 250_000, value_name = "N")]
    max_bytes: u64,
    /// Time between two looks in milliseconds
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    interval: u64,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// No colour and no header
    #[arg(long)]
    plain: bool,
    /// No colour
    #[arg(long)]
    no_color: bool,
}

/// Runs `verso logs`.
pub(super) async fn run(args: &LogsArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    let unreachable = || {
        Failure::new("Gateway not reachable. Is it running and accessible?")
            .hint("start it with: verso gateway; or name another with --url")
    };
    let reach = Place::of_process().reach(connection);
    let mut client = Client::connect(&reach, TIMEOUT)
        .await
        .map_err(|e| if e.is_unreachable() { unreachable() } else { e.into() })?;
    let color = p.terminal && !args.plain && !args.no_color && telemetry::color(&std::io::stdout());
    let mut cursor: Option<u64> = None;
    let mut file = String::new();
    loop {
        let mut params = json!({"limit": args.limit, "maxBytes": args.max_bytes});
        if let Some(cursor) = cursor {
            params["cursor"] = json!(cursor);
        }
        let answer = match client.call("logs.tail", params, TIMEOUT).await {
            Ok(answer) => answer,
            Err(e) if e.is_unreachable() => return Err(unreachable()),
            Err(e) => return Err(e.into()),
        };
        let now_in = answer["file"].as_str().unwrap_or_default();
        if now_in != file {
            let begun = !file.is_empty();
            file = now_in.to_owned();
            if args.json {
                p.json_line(&json!({"type": "meta", "file": file, "size": answer["size"]}));
            } else if !args.plain {
                p.line(format!("Log file: {file}"));
            }
            if begun {
                // A new day: its file from the start.
                cursor = Some(0);
                continue;
            }
        }
        if answer["reset"] == true {
            let text = "the log was shortened or some lines were skipped";
            if args.json {
                p.json_line(&json!({"type": "notice", "message": text}));
            } else {
                p.note(format!("note: {text}"));
            }
        }
        for line in answer["lines"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let parsed = parse(line);
            match (args.json, parsed) {
                (true, Some(entry)) => p.json_line(&entry.value()),
                (true, None) => p.json_line(&json!({"type": "raw", "raw": line})),
                (false, Some(entry)) => p.line(entry.text(color)),
                (false, None) => p.line(label::line(line)),
            }
        }
        cursor = answer["cursor"].as_u64();
        if !args.follow {
            client.close().await;
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(args.interval.clamp(100, 60_000))) => {}
            _ = tokio::signal::ctrl_c() => {
                client.close().await;
                return Ok(());
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    time: String,
    level: String,
    subsystem: String,
    message: String,
}

fn parse(line: &str) -> Option<Entry> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let name: Option<Value> = value["0"].as_str().and_then(|n| serde_json::from_str(n).ok());
    Some(Entry {
        time: text(&value["time"])?,
        level: text(&value["_meta"]["logLevelName"]).unwrap_or_default().to_lowercase(),
        subsystem: name.as_ref().and_then(|n| text(&n["subsystem"])).unwrap_or_default(),
        message: text(&value["1"]).or_else(|| text(&value["0"]))?,
    })
}

impl Entry {
    fn value(&self) -> Value {
        json!({"type": "log", "time": self.time, "level": self.level, "subsystem": self.subsystem, "message": self.message})
    }

    fn text(&self, color: bool) -> String {
        let level = if color {
            let code = match self.level.as_str() {
                "error" => 31,
                "warn" => 33,
                "info" => 32,
                _ => 90,
            };
            format!("\x1b[{code}m{}\x1b[0m", self.level)
        } else {
            self.level.clone()
        };
        format!("{} {level} {}: {}", label::line(&self.time), label::line(&self.subsystem), label::line(&self.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_file_are_read_back() {
        let line = r#"{"0":"{\"subsystem\":\"whatsapp/inbound\"}","1":"text","_meta":{"date":"d","logLevelName":"INFO","name":"n"},"time":"2026-01-01T00:00:00.000Z"}"#;
        let entry = parse(line).unwrap();
        assert_eq!(entry.text(false), "2026-01-01T00:00:00.000Z info whatsapp/inbound: text");
        assert_eq!(entry.value()["subsystem"], "whatsapp/inbound");
        assert_eq!(parse("plain"), None);
    }
}
