//! Method `verso.explain`: what became of a message, gate by gate, for people and programs.
//!
//! ```json
//! {"messageId": "3EB0…", "messages": [{
//!   "direction": "in", "account": "work", "chat": "…@s.whatsapp.net", "sender": "+1555…", "fromMe": false,
//!   "receivedAt": 0, "decidedAt": 0, "answeredAt": null, "state": "dropped", "revision": 3, "answered": false,
//!   "reason": {"code": "dm-not-allowlisted", "text": "…"}, "nextStep": "…", "command": false,
//!   "gates": [{"gate": "dm", "outcome": "dm-not-allowlisted", "passed": false, "key": "channels.whatsapp.dmPolicy",
//!              "value": "allowlist", "source": "file", "file": "/…/verso.json", "line": 5}],
//!   "runs": [{"agent": "main", "session": "agent:main:main"}], "effects": ["mark-read"], "mediaMissing": null,
//!   "outcome": {"code": "failed", "text": "…"}, "outcomes": [{"session": "agent:main:main", "outcome": "failed", "failure": {…}}],
//!   "parts": [{"id": "3EB1…", "chat": "…", "state": "delivered", "cause": null, "createdAt": 0, "updatedAt": 0, "resentAt": null,
//!              "wentTo": "lid"}]
//! }, {"direction": "out", "account": "work", "chat": "…", "id": "3EB1…", "state": "acked", "cause": null, …}]}
//! ```
//! `mediaMissing` says why a file that came with the message was not saved, `outcome` what its runs came to.
//! `wentTo` is the address of the person that a part went to: `lid`, `number`, `both` (one after the other), `null` in groups.
//! `source` is `file`, `default` (no file sets the key) or `null` (no config key decided). Times are Unix milliseconds. The text of a
//! message is not part of it.

use serde_json::{Value, json};

use super::iso_time;
use crate::config::SetIn;
use crate::config::edit::shown_path;
use crate::disclosure::{self, Failure, FailureKind, Outcome, SessionOutcome};
use crate::event::InboundMessage;
use crate::ids::{AccountId, Jid, MessageId};
use crate::policy::decide::NOT_LISTED;
use crate::policy::decision::{Decision, Effect, Gate, Verdict};
use crate::policy::reason::IgnoreReason;
use crate::store::journal::OTHER_NUMBER;

/// The answer for these rows of the journal.
pub fn answer(id: &MessageId, rows: &[Value]) -> Value {
    let messages: Vec<Value> = rows
        .iter()
        .map(|row| match row.get("inbound") {
            Some(row) => inbound(row),
            None => outgoing(&row["outgoing"]),
        })
        .collect();
    json!({"messageId": id, "messages": messages})
}

/// One part of an answer, or a message of its own, without its text.
fn part(row: &Value) -> Value {
    let mut part = json!({});
    for key in ["id", "chat", "state", "cause", "createdAt", "updatedAt", "resentAt", "wentTo"] {
        part[key] = row[key].clone();
    }
    part
}

fn outgoing(row: &Value) -> Value {
    let mut out = part(row);
    out["direction"] = json!("out");
    out["account"] = row["account"].clone();
    out["chat"] = row["chat"].clone();
    out["nextStep"] = json!(part_step(row));
    out
}

fn inbound(row: &Value) -> Value {
    let mut out = json!({"direction": "in"});
    for key in ["state", "receivedAt", "decidedAt", "answeredAt"] {
        out[key] = row[key].clone();
    }
    let parts: Vec<Value> = row["parts"].as_array().into_iter().flatten().map(part).collect();
    // A row of another version tells what it still can.
    let message: Option<InboundMessage> = serde_json::from_value(row["message"].clone()).ok();
    let decision: Option<Decision> = serde_json::from_value(row["decision"].clone()).ok();
    let outcomes: Vec<SessionOutcome> = serde_json::from_value(row["decision"]["outcomes"].clone()).unwrap_or_default();
    let foremost = disclosure::foremost(&outcomes);
    out["outcome"] = foremost.map_or(Value::Null, |one| json!({"code": one.code(), "text": one.sentence()}));
    out["outcomes"] = json!(outcomes);
    let sender = message.as_ref().map(sender);
    if let Some(message) = &message {
        out["account"] = json!(message.account);
        out["chat"] = json!(message.chat.to_string());
        out["sender"] = json!(sender);
        out["fromMe"] = json!(message.from_me);
    } else {
        for key in ["account", "chat", "sender"] {
            out[key] = row[key].clone();
        }
    }
    let reason = decision.as_ref().and_then(|d| match &d.verdict {
        Verdict::Dispatch(_) => None,
        Verdict::Hold(hold) => Some(hold.reason),
        Verdict::Drop { reason } => Some(*reason),
    });
    let dispatch = decision.as_ref().and_then(|d| match &d.verdict {
        Verdict::Dispatch(dispatch) => Some(dispatch),
        _ => None,
    });
    let withheld = |part: &Value| part["state"] == "expired" && !part["cause"].is_null();
    out["answered"] = json!(parts.iter().any(|part| !withheld(part)));
    out["reason"] = reason.map_or(Value::Null, |r| json!({"code": r.code(), "text": r.sentence()}));
    out["revision"] = json!(decision.as_ref().map(|d| d.revision));
    out["runs"] = json!(dispatch.map(|d| d.runs.as_slice()).unwrap_or_default());
    out["matchedBy"] = json!(dispatch.map(|d| d.matched_by));
    out["command"] = json!(dispatch.is_some_and(|d| d.command.is_some()));
    let trace = decision.as_ref().map(|d| d.trace.as_slice()).unwrap_or_default();
    let gates = trace.iter().enumerate().map(|(at, g)| gate(g, reason.is_some() && at + 1 == trace.len()));
    out["gates"] = gates.collect();
    let effects = decision.iter().flat_map(|d| &d.effects).map(effect);
    out["effects"] = effects.collect();
    out["nextStep"] = json!(match (reason, &message) {
        (Some(reason @ (IgnoreReason::Handover | IgnoreReason::OwnMessageToOther)), _) => taken_over(reason, &decision),
        (Some(reason), Some(message)) => step(reason, trace, message, sender.as_deref().unwrap_or("the sender")),
        _ => foremost
            .and_then(|outcome| outcome_step(outcome, decision.as_ref()))
            .or_else(|| parts.iter().find_map(part_step))
            .or_else(|| waiting(&row["state"], parts.is_empty() && foremost.is_none())),
    });
    out["mediaMissing"] = row["decision"]["mediaMissing"].clone();
    out["parts"] = json!(parts);
    out
}

/// Who wrote it, as lists of the config name people.
fn sender(message: &InboundMessage) -> String {
    let number = message.sender_number.clone().or_else(|| message.sender.e164());
    number.map_or_else(|| message.sender.without_device().to_string(), |n| n.to_string())
}

fn gate(gate: &Gate, decided_against: bool) -> Value {
    let (source, file, line) = match &gate.set_in {
        Some(SetIn::File { file, line }) => (Some("file"), Some(file), Some(line)),
        Some(SetIn::Default) => (Some("default"), None, None),
        None => (None, None, None),
    };
    json!({
        "gate": gate.gate, "outcome": gate.outcome, "passed": !decided_against && gate.outcome != NOT_LISTED,
        "key": gate.key, "value": gate.value, "source": source, "file": file, "line": line,
    })
}

fn effect(effect: &Effect) -> &'static str {
    match effect {
        Effect::RequestPairing { .. } => "request-pairing",
        Effect::MarkRead => "mark-read",
        Effect::AckReact { .. } => "ack-react",
    }
}

fn waiting(state: &Value, nothing_sent: bool) -> Option<String> {
    match state.as_str() {
        Some("new") => Some("it waits for its judgement; ask again in a moment".to_owned()),
        Some("admitted") => Some("an agent is at work on it, or it waits for its turn; see: verso logs".to_owned()),
        Some("answered") if nothing_sent => {
            Some("nothing was sent for it; what its run came to is not known, an older Verso settled it".to_owned())
        }
        _ => None,
    }
}

/// What to do about a run that did not answer.
fn outcome_step(outcome: &Outcome, decision: Option<&Decision>) -> Option<String> {
    let session = decision.and_then(|decision| match &decision.verdict {
        Verdict::Dispatch(dispatch) => Some(dispatch.first().session.to_string()),
        _ => None,
    });
    Some(match outcome {
        Outcome::Answered { .. } | Outcome::Silent | Outcome::Stopped => return None,
        Outcome::Failed { failure } | Outcome::EmptyCompletion { failure } => failure_step(failure),
        Outcome::SendOff => format!(
            "write /send on in the chat as an owner, or change session.sendPolicy, so that {} may answer",
            session.as_deref().unwrap_or("the session")
        ),
        Outcome::QueueFull => "raise messages.queue.cap, or ask for it again".to_owned(),
    })
}

fn failure_step(failure: &Failure) -> String {
    let provider = &failure.provider;
    match failure.kind {
        FailureKind::Config => "correct the configuration, then ask for it again".to_owned(),
        FailureKind::Unreachable => {
            format!("see that the model runs and that models.providers.{provider}.baseUrl is its address")
        }
        FailureKind::Unauthorized => format!("put a key that is valid into models.providers.{provider}.apiKey"),
        FailureKind::RateLimited => "wait, or ask the provider for a higher limit".to_owned(),
        FailureKind::Timeout => format!(
            "raise models.providers.{provider}.timeoutSeconds or agents.defaults.timeoutSeconds, or use a faster model"
        ),
        _ => "ask for it again; if it fails again, see: verso logs".to_owned(),
    }
}

/// What to do about a part that does not arrive.
fn part_step(part: &Value) -> Option<String> {
    match part["state"].as_str() {
        Some("queued" | "sent") => {
            Some("it leaves when the account is connected; see: verso channels status".to_owned())
        }
        Some("acked" | "delivered") if !part["cause"].is_null() => {
            Some("WhatsApp has it, but a device of the recipient could not open it; send it again".to_owned())
        }
        Some("acked") if !part["resentAt"].is_null() && part["wentTo"] == "both" => Some(format!(
            "WhatsApp has it, but no phone has confirmed it, neither under the person's number nor under their LID (chat {}); their phone may be off",
            part["chat"].as_str().unwrap_or_default()
        )),
        Some("acked") if !part["resentAt"].is_null() => Some(
            "WhatsApp has it, but no device of the recipient has confirmed it, also not when it was sent once more; their phone may be off"
                .to_owned(),
        ),
        Some("failed") => Some("it could not be sent; the cause is above, more is in: verso logs".to_owned()),
        Some("expired") if part["cause"] == OTHER_NUMBER => Some(
            "it waited when the account was linked to another number, and never leaves from that one; send it again if it shall"
                .to_owned(),
        ),
        // Held back on purpose, and the cause says why.
        Some("expired") if !part["cause"].is_null() => None,
        Some("expired") => Some("it waited longer than retention.outbox allows and was given up".to_owned()),
        _ => None,
    }
}

/// How long the agent keeps silent in a chat that its owner wrote in.
fn taken_over(reason: IgnoreReason, decision: &Option<Decision>) -> Option<String> {
    let decision = decision.as_ref()?;
    let Verdict::Hold(hold) = &decision.verdict else { return None };
    let key = decision.trace.iter().rfind(|gate| gate.gate == "handover").and_then(|gate| gate.key.as_deref());
    let key = key.unwrap_or(crate::policy::handover::KEY);
    let silence = hold.until.map(|until| format!("the agent answers in this chat again after {}", iso_time(until)));
    Some(match (reason, silence) {
        (IgnoreReason::Handover, silence) => {
            let silence =
                silence.map(|silence| format!("{silence}, and sees then what was said; ")).unwrap_or_default();
            format!("{silence}{key} sets for how long it keeps silent, 0 is off")
        }
        (_, Some(silence)) => {
            format!("{silence} and knows these words then; {key} sets for how long it keeps silent, 0 is off")
        }
        (_, None) => {
            format!("the agent knows these words at the next message of the chat; it is not silent, because {key} is 0")
        }
    })
}

/// What to change so that the next message like it is answered, and nothing else with it; `None` where nothing can be changed.
fn step(reason: IgnoreReason, trace: &[Gate], message: &InboundMessage, who: &str) -> Option<String> {
    use IgnoreReason as R;
    let key_of = |name: &str| trace.iter().rfind(|g| g.gate == name).and_then(|g| g.key.as_deref());
    let key = trace.last().and_then(|g| g.key.as_deref()).unwrap_or("the configuration");
    let written = matches!(trace.last().and_then(|g| g.set_in.as_ref()), Some(SetIn::File { .. }));
    let account = &message.account;
    let chat: &Jid = &message.chat;
    Some(match reason {
        R::DmDisabled => format!(
            "set {} to \"pairing\" and approve the request of {who}, or to \"allowlist\" to serve who was approved or is listed",
            of_account(key, account)
        ),
        R::DmNotAllowlisted => {
            let list = key_of("allowFrom").unwrap_or("channels.whatsapp.allowFrom");
            format!(
                "to let them in without commands, set {} to \"pairing\" and approve their request; \"{who}\" in {list} is let in as an owner, who may command",
                of_account(key, account)
            )
        }
        R::PairingRequired => format!(
            "let them in: verso pairing list whatsapp, then verso pairing approve whatsapp <code> --account {account}"
        ),
        R::PairingTooOld => {
            format!(
                "the next message of {who} asks for approval; then: verso pairing list whatsapp --account {account}"
            )
        }
        R::GroupDisabled => {
            format!("set {} to \"allowlist\", with \"{who}\" in groupAllowFrom", of_account(key, account))
        }
        R::GroupNoSenders => format!(
            "add \"{who}\" to {}, which lets them speak to the agent in groups and command nothing",
            of_account("channels.whatsapp.groupAllowFrom", account)
        ),
        R::GroupSenderNotAllowlisted => sender_step(key, who, account),
        R::GroupNotListed => format!("add \"{chat}\": {{}} to {key}"),
        R::TooOld => format!("raise {key}, or ask {who} to write again"),
        // Switched off for all groups, or by default: an entry of its own could change what holds for others.
        R::NotMentioned if message.from_me => "mention the agent in it, or write a command".to_owned(),
        R::NotMentioned if written && !key.contains("[\"*\"]") && key != "/activation" => {
            format!("mention the agent, reply to it, or set {key} to false")
        }
        R::NotMentioned => {
            "mention the agent, reply to it, or let an owner write /activation always in this group".to_owned()
        }
        R::OwnInGroup => "mention the agent in it, or write a command".to_owned(),
        R::SelfChatOff => {
            format!("remove {key}, or set it to true, to be answered in the own chat; commands work as it is")
        }
        R::Restored => format!(
            "ask {who} to write again; verso backup restore --resume answers what was open, if the old gateway stopped right at the backup"
        ),
        R::AccountGone => format!("add the account again: verso channels add {account}; then ask {who} to write again"),
        R::OtherNumber => format!("ask {who} to write to the number that the account is linked to now"),
        R::ActivationNotOwner | R::CommandNotAuthorized if key.starts_with("commands.") => {
            format!("\"{who}\" in {key} may command every account, as an owner")
        }
        R::ActivationNotOwner | R::CommandNotAuthorized => {
            format!("\"{who}\" in {key} may command, as an owner; let an owner do it instead, if that is too much")
        }
        R::Internal => {
            format!("ask {who} to write again, in other words; report what verso logs says, without the message")
        }
        R::Poison => format!(
            "ask {who} to write again, in other words; report how the gateway ended (verso logs, journalctl), without the message"
        ),
        R::Unreadable => format!("ask {who} to write again; restore a backup when more rows cannot be read"),
        R::CommandsBusy => "write the command again".to_owned(),
        R::ListenOnly => format!("set {key} to false"),
        R::Handover
        | R::StatusOrBroadcast
        | R::Newsletter
        | R::UnknownChat
        | R::OwnEcho
        | R::Reaction
        | R::KindNotServed
        | R::Empty
        | R::OwnMessageToOther
        | R::SenderUnknown => return None,
    })
}

/// The key as this account alone has it: the channel's holds for other accounts, too. Not for lists, which an own one would replace.
fn of_account(key: &str, account: &AccountId) -> String {
    match key.strip_prefix("channels.whatsapp.") {
        Some(rest) if !rest.starts_with("accounts.") && account.as_str() != AccountId::DEFAULT => {
            shown_path(&["channels", "whatsapp", "accounts", account.as_str()]) + "." + rest
        }
        _ => key.to_owned(),
    }
}

/// How somebody is let in to groups, and to nothing else.
fn sender_step(key: &str, who: &str, account: &AccountId) -> String {
    match key.strip_suffix("allowFrom") {
        // Where groupAllowFrom is absent, writing it takes the place of allowFrom.
        Some(before) if before.ends_with('.') => format!(
            "let an owner write /allowlist add group {who}, or write {}: the people of {key} and \"{who}\" (it takes the place of allowFrom in groups, and gives no commands)",
            of_account(&format!("{before}groupAllowFrom"), account)
        ),
        _ => format!(
            "add \"{who}\" to {key}, which lets them speak to the agent in groups and gives no owner's commands"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_another_version_tells_what_it_can() {
        let rows = [
            json!({"inbound": {"state": "dropped", "receivedAt": 5, "decision": {"verdict": "future"}, "message": {}}}),
        ];
        let told = answer(&MessageId::new("A"), &rows);
        assert_eq!((&told["messageId"], &told["messages"][0]["state"]), (&json!("A"), &json!("dropped")));
        assert_eq!((&told["messages"][0]["gates"], &told["messages"][0]["receivedAt"]), (&json!([]), &json!(5)));
    }

    /// The step for a message of Bob's that ended so; the last gate has this key, written in a file or not.
    fn hint(reason: IgnoreReason, key: &str, written: bool, account: &str, from_me: bool) -> String {
        let set_in = Some(if written { SetIn::File { file: "verso.json".into(), line: 3 } } else { SetIn::Default });
        let gate = Gate {
            gate: "x".into(),
            outcome: reason.code().into(),
            key: Some(key.to_owned().into()),
            value: None,
            set_in,
        };
        let message: InboundMessage = serde_json::from_value(json!({
            "account": account, "id": "M", "chat": "120363@g.us", "sender": "15557000002@s.whatsapp.net", "senderAlt": null,
            "senderNumber": "+15557000002", "chatNumber": null, "fromMe": from_me, "pushName": null, "timestamp": 0, "offline": false,
            "content": {"type": "body", "text": "hi", "media": null, "quote": null, "mentions": []},
        }))
        .expect("a message");
        step(reason, &[gate], &message, "+15557000002").expect("a step")
    }

    #[test]
    fn a_hint_gives_no_more_than_was_asked_for() {
        use IgnoreReason as R;
        let whatsapp = |key: &str| format!("channels.whatsapp.{key}");
        let told = |reason, key: &str| hint(reason, &whatsapp(key), true, "work", false);
        let dm = told(R::DmNotAllowlisted, "dmPolicy");
        assert!(
            dm.contains("channels.whatsapp.accounts.work.dmPolicy to \"pairing\"") && dm.contains("as an owner"),
            "{dm}"
        );
        for (reason, key) in
            [(R::DmDisabled, "dmPolicy"), (R::GroupDisabled, "groupPolicy"), (R::GroupNoSenders, "groupPolicy")]
        {
            let told = told(reason, key);
            assert!(!told.contains("open"), "nobody else is let in: {told}");
            assert!(told.contains("accounts.work."), "no other account is touched: {told}");
        }
        assert!(
            hint(R::DmDisabled, "channels.whatsapp.dmPolicy", true, "default", false)
                .contains("set channels.whatsapp.dmPolicy to")
        );
        let group = told(R::GroupSenderNotAllowlisted, "groupAllowFrom");
        assert!(group.starts_with("add \"+15557000002\" to channels.whatsapp.groupAllowFrom"), "{group}");
        let fallback = told(R::GroupSenderNotAllowlisted, "allowFrom");
        assert!(
            fallback.contains("/allowlist add group +15557000002")
                && fallback.contains("accounts.work.groupAllowFrom: the people of channels.whatsapp.allowFrom and"),
            "nobody of allowFrom is shut out: {fallback}"
        );
        for (reason, key) in [
            (R::CommandNotAuthorized, "commands.ownerAllowFrom"),
            (R::ActivationNotOwner, "channels.whatsapp.allowFrom"),
        ] {
            assert!(hint(reason, key, true, "work", false).contains("as an owner"));
        }
    }

    #[test]
    fn a_hint_for_a_mention_switches_no_other_group() {
        let own = "channels.whatsapp.groups[\"120363@g.us\"].requireMention";
        let told =
            |key: &str, written: bool, from_me: bool| hint(IgnoreReason::NotMentioned, key, written, "work", from_me);
        assert!(told(own, true, false).contains(&format!("set {own} to false")));
        // Written for the first time it would be a list of the groups served; for "*" it would hold for all of them.
        for (key, written) in
            [(own, false), ("channels.whatsapp.groups[\"*\"].requireMention", true), ("/activation", false)]
        {
            let told = told(key, written, false);
            assert!(told.contains("/activation always") && !told.contains("requireMention"), "{told}");
        }
        assert!(!told(own, true, true).contains("requireMention"), "own words stay context");
    }

    #[test]
    fn an_outgoing_message_is_told_without_its_text() {
        let row = json!({"outgoing": {"id": "B", "account": "work", "chat": "1@s.whatsapp.net", "text": "private",
            "state": "failed", "cause": "no such number", "createdAt": 1, "updatedAt": 2}});
        let told = answer(&MessageId::new("B"), &[row]);
        assert!(!told.to_string().contains("private"), "{told}");
        let message = &told["messages"][0];
        assert_eq!((&message["direction"], &message["cause"]), (&json!("out"), &json!("no such number")));
        assert!(message["nextStep"].as_str().expect("a step").contains("could not be sent"));
    }

    #[test]
    fn an_answer_that_was_held_back_did_not_expire() {
        let part =
            json!({"id": "B", "state": "expired", "cause": "the account's owner took the chat over", "resentAt": null});
        assert_eq!(part_step(&part), None);
        let row = json!({"inbound": {"state": "answered", "message": {}, "parts": [part]}});
        let told = answer(&MessageId::new("A"), &[row]);
        assert_eq!(told["messages"][0]["answered"], json!(false));
        let late = json!({"state": "expired", "cause": null, "resentAt": null});
        assert!(part_step(&late).expect("a step").contains("waited longer"));
    }

    #[test]
    fn a_file_that_cannot_be_sent_once_more_has_not_failed_but_its_sender_is_told() {
        let step = |state: &str, cause: Value| part_step(&json!({"state": state, "cause": cause, "resentAt": null}));
        for state in ["acked", "delivered"] {
            let told = step(state, json!("the file is kept no more")).expect("a step");
            assert!(told.contains("could not open it; send it again"), "{told}");
            assert_eq!(step(state, Value::Null), None);
        }
    }
}
