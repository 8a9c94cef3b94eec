//! `verso why <message-id>`: what became of a message, gate by gate; from the running gateway, else from its journal.

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, ClientError, TIMEOUT};
use super::output::{Failure, Printer, Tone, ago, paint};
use super::place::Place;
use super::{Connection, show};
use crate::api::{explain, iso_time};
use crate::clock::{Clock, UnixMs};
use crate::disclosure;
use crate::ids::MessageId;
use crate::store::journal;
use crate::text::label;

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
    let place = Place::of_process();
    let reach = place.reach(connection);
    let found = match Client::connect(&reach, TIMEOUT).await {
        Ok(mut client) => {
            let found = client.call("verso.explain", json!({"messageId": args.message_id}), TIMEOUT).await;
            client.close().await;
            found.map_err(|error| match error {
                ClientError::Refused(_) => unknown(error.to_string()),
                error => error.into(),
            })?
        }
        Err(error) if error.is_unreachable() && !reach.explicit => {
            let id = MessageId::new(args.message_id.as_str());
            let rows = journal::look_up(&place.paths.state_db(), &id)?;
            if rows.is_empty() {
                return Err(unknown(format!("no message with the id {id} is in the journal")));
            }
            explain::answer(&id, &rows)
        }
        Err(error) => return Err(error.into()),
    };
    let colour = p.colour();
    show(p, &found, || lines(&found, Clock::System.now(), colour));
    Ok(())
}

fn unknown(message: String) -> Failure {
    Failure::new(message)
        .hint("ids are case-sensitive; what WhatsApp never delivered to this account is not known here")
}

/// Everything that is known under the id, for people.
fn lines(found: &Value, now: UnixMs, colour: bool) -> Vec<String> {
    // Causes quote other people's servers, and chats their members.
    let mut found = found.clone();
    disclosure::each_text(&mut found, &mut |text| *text = label::line(text));
    let id = found["messageId"].as_str().unwrap_or_default();
    let messages = found["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let mut out = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        if at > 0 {
            out.push(String::new());
        }
        let one_of = if messages.len() > 1 { format!(" ({} of {})", at + 1, messages.len()) } else { String::new() };
        out.push(format!("Message {id}{one_of}"));
        if message["direction"] == "out" {
            outgoing(message, now, colour, &mut out)
        } else {
            inbound(message, now, colour, &mut out)
        }
    }
    out
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// `  name      words`, the names aligned.
fn fact(name: &str, words: impl AsRef<str>) -> String {
    format!("  {name:<9} {}", words.as_ref())
}

fn moment(at: &Value, now: UnixMs) -> Option<String> {
    let at = at.as_i64()?;
    Some(format!("{} ({})", iso_time(at), ago(at, now)))
}

fn outgoing(message: &Value, now: UnixMs, colour: bool, out: &mut Vec<String>) {
    out.push(fact("sent", format!("on account {}, to {}", text(message, "account"), text(message, "chat"))));
    out.extend(moment(&message["createdAt"], now).map(|when| fact("written", when)));
    out.push(fact("state", part_state(message, colour)));
    out.extend(message["nextStep"].as_str().map(|step| fact("next", step)));
}

fn inbound(message: &Value, now: UnixMs, colour: bool, out: &mut Vec<String>) {
    let from = if message["fromMe"] == true { "the account itself" } else { text(message, "sender") };
    let came = moment(&message["receivedAt"], now).unwrap_or_default();
    out.push(fact("received", format!("{came} on account {}", text(message, "account"))));
    out.push(fact("from", format!("{from} in {}", text(message, "chat"))));
    out.push(fact("result", result(message, colour)));

    let gates = message["gates"].as_array().map_or(&[][..], Vec::as_slice);
    if !gates.is_empty() {
        out.push(String::new());
        out.push(fact("gates", format!("by configuration revision {}", message["revision"])));
        let width = |key: &str| gates.iter().map(|g| text(g, key).chars().count()).max().unwrap_or_default();
        let (names, outcomes) = (width("gate"), width("outcome"));
        for gate in gates {
            let (mark, tone) = if gate["passed"] == true { ("✓", Tone::Good) } else { ("✗", Tone::Bad) };
            let mut line = format!(
                "    {} {:<names$}  {:<outcomes$}",
                paint(colour, tone, mark),
                text(gate, "gate"),
                text(gate, "outcome")
            );
            let why = [deciding(gate), set_in(gate).map(|place| paint(colour, Tone::Faint, &place))];
            line.push_str(&why.into_iter().flatten().map(|word| format!("  {word}")).collect::<String>());
            out.push(line.trim_end().to_owned());
        }
        out.push(String::new());
    }
    let outcomes = message["outcomes"].as_array().map_or(&[][..], Vec::as_slice);
    for run in message["runs"].as_array().into_iter().flatten() {
        let mut line = format!("{} in session {}", text(run, "agent"), text(run, "session"));
        // With one agent the result above says it.
        if let Some(one) = outcomes.iter().find(|one| one["session"] == run["session"]).filter(|_| outcomes.len() > 1) {
            line.push_str(&format!(": {}", text(one, "outcome")));
        }
        out.push(fact("agent", line));
    }
    out.extend(message["mediaMissing"].as_str().map(|why| fact("media", format!("not saved: {why}"))));
    for part in message["parts"].as_array().into_iter().flatten() {
        out.push(fact("sent", format!("{}  {}", text(part, "id"), part_state(part, colour))));
    }
    out.extend(message["nextStep"].as_str().map(|step| fact("next", step)));
}

fn result(message: &Value, colour: bool) -> String {
    if let Some(reason) = message["reason"].as_object() {
        let word = |key: &str| reason.get(key).and_then(Value::as_str).unwrap_or_default();
        return format!("{} not answered: {} ({})", paint(colour, Tone::Bad, "✗"), word("text"), word("code"));
    }
    if let Some(outcome) = message["outcome"].as_object().filter(|_| text(message, "state") != "admitted") {
        let word = |key: &str| outcome.get(key).and_then(Value::as_str).unwrap_or_default();
        let sent = message["answered"] == true;
        return match word("code") {
            "answered" => format!("{} {}", paint(colour, Tone::Good, "✓"), word("text")),
            code @ ("failed" | "empty-completion") => {
                let told = if sent { "; the chat was told" } else { "" };
                format!("{} failed: {} ({code}){told}", paint(colour, Tone::Bad, "✗"), word("text"))
            }
            code => format!("{} nothing was sent: {} ({code})", paint(colour, Tone::Faint, "–"), word("text")),
        };
    }
    let what = if message["command"] == true { "command" } else { "message" };
    let done = match (text(message, "state"), message["answered"] == true) {
        ("answered", true) => format!("the {what} was answered"),
        ("answered", false) => format!("the {what} was handled, nothing was sent"),
        ("admitted", _) => format!("the {what} was let in and is not settled yet"),
        ("new", _) => "not judged yet".to_owned(),
        (state, _) => state.to_owned(),
    };
    format!("{} {done}", paint(colour, Tone::Good, "✓"))
}

fn part_state(part: &Value, colour: bool) -> String {
    let state = text(part, "state");
    let tone = if matches!(state, "failed" | "expired") { Tone::Bad } else { Tone::Good };
    let cause = part["cause"].as_str().map(|cause| format!(": {cause}")).unwrap_or_default();
    let again = match (part["resentAt"].is_null(), part["wentTo"].as_str()) {
        (true, _) => "",
        (false, Some("both")) => ", sent once more, to the other address of the same person: no phone had confirmed it",
        (false, _) => ", sent once more: no device had confirmed it",
    };
    format!("{}{cause}{again}", paint(colour, tone, state))
}

/// `key = value`, as far as there are such.
fn deciding(gate: &Value) -> Option<String> {
    match (gate["key"].as_str(), gate["value"].as_str()) {
        (Some(key), Some(value)) => Some(format!("{key} = {value}")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

/// `verso.json:12`, or that nothing sets it.
fn set_in(gate: &Value) -> Option<String> {
    match gate["source"].as_str()? {
        "file" => Some(format!("{}:{}", text(gate, "file"), gate["line"])),
        _ => Some("default".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_in_aligned_lines() {
        let gate = |name: &str, outcome: &str, passed, key: &str, value: &str, source: Value, line| {
            json!({"gate": name, "outcome": outcome, "passed": passed, "key": key, "value": value, "source": source,
                "file": "/v/verso.json", "line": line})
        };
        let found = json!({"messageId": "3EB0", "messages": [{
            "direction": "in", "account": "work", "chat": "15557000002@s.whatsapp.net", "sender": "+15557000002",
            "fromMe": false, "state": "dropped", "receivedAt": 0, "revision": 3, "answered": false,
            "reason": {"code": "dm-not-allowlisted", "text": "not listed"}, "nextStep": "add them",
            "gates": [
                gate("allowFrom", "not-listed", false, "channels.whatsapp.allowFrom", "empty", json!("default"), Value::Null),
                gate("dm", "dm-not-allowlisted", false, "channels.whatsapp.dmPolicy", "allowlist", json!("file"), json!(5)),
            ],
            "runs": [], "parts": [],
        }, {"direction": "out", "account": "work", "chat": "1@s.whatsapp.net", "id": "3EB0", "state": "failed", "cause": "gone"}]});
        assert_eq!(
            lines(&found, 120_000, false),
            [
                "Message 3EB0 (1 of 2)",
                "  received  1970-01-01T00:00:00Z (2m ago) on account work",
                "  from      +15557000002 in 15557000002@s.whatsapp.net",
                "  result    ✗ not answered: not listed (dm-not-allowlisted)",
                "",
                "  gates     by configuration revision 3",
                "    ✗ allowFrom  not-listed          channels.whatsapp.allowFrom = empty  default",
                "    ✗ dm         dm-not-allowlisted  channels.whatsapp.dmPolicy = allowlist  /v/verso.json:5",
                "",
                "  next      add them",
                "",
                "Message 3EB0 (2 of 2)",
                "  sent      on account work, to 1@s.whatsapp.net",
                "  state     failed: gone",
            ]
        );
        assert!(lines(&found, 0, true).concat().contains("\u{1b}[31m✗"), "a terminal shows colours");
    }

    #[test]
    fn what_was_answered_names_agent_session_and_parts() {
        let found = json!({"messageId": "A", "messages": [{
            "direction": "in", "account": "work", "chat": "c", "sender": "s", "state": "answered", "answered": true,
            "receivedAt": 0, "gates": [], "runs": [{"agent": "main", "session": "agent:main:main"}],
            "parts": [{"id": "B", "state": "delivered", "cause": null}], "mediaMissing": "no room",
        }]});
        let told = lines(&found, 0, false);
        for line in [
            "  result    ✓ the message was answered",
            "  agent     main in session agent:main:main",
            "  media     not saved: no room",
            "  sent      B  delivered",
        ] {
            assert!(told.iter().any(|l| l == line), "{line}: {told:#?}");
        }
    }
}
