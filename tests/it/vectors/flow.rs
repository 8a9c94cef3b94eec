//! Messages from admission to what is sent, one after the other, with what their group remembers.

use super::common::*;
use super::groups::{TAG_OF_OTHERS, body, tags_others_only};
use super::texts::options;
use verso::text::turn::{self, Turn};

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "inbound flow (gating, envelope, reply delivery)" => (flow, deviation),
        _ => return None,
    })
}

fn flow(input: &Value) -> Outcome {
    let config = config(&input["config"])?;
    let envelope = &input["config"]["agents"]["defaults"];
    let options = options(&json!({"timezone": envelope["envelopeTimezone"], "includeElapsed": false}))?;
    // 7.6: Verso names the sender at the end as well.
    let suffix = regex::Regex::new(r"\n\[from: [^\n]*\]$").expect("a pattern");
    let (mut pending, mut calls, mut sends) = (Pending::default(), Vec::new(), Vec::new());
    for msg in input["messages"].as_array().into_iter().flatten() {
        let account = account_of(&config, &msg["accountId"])?;
        let mut message = message(&account.id, text(&msg["chatId"]), &msg["senderE164"])?;
        message.id = MessageId::new(text(&msg["id"]));
        message.timestamp = msg["timestamp"].as_i64().unwrap_or_default();
        message.push_name = msg["senderName"].as_str().map(str::to_owned);
        message.chat_number = E164::from_digits(text(&msg["from"])).filter(|_| msg["chatType"] == "direct");
        let mut said = body(msg);
        if let Some(quoted) = msg["replyToBody"].as_str() {
            let by = E164::from_digits(text(&msg["replyToSender"])).map(|number| Jid::of_number(&number));
            let id = msg["replyToId"].as_str().map(MessageId::new);
            said.quote = Some(Quote { id, sender: by, by_us: false, body: quoted.to_owned(), media: None });
        }
        message.content = Content::Body(said);
        let judge = Judge {
            me: identity(&msg["selfE164"], &msg["selfJid"]),
            approved: vec![],
            connected_at: message.timestamp,
            activation: None,
        };
        let decision = judge.decide(&config, &account, &message);
        for effect in &decision.effects {
            if let Effect::AckReact { emoji } = effect {
                let author = message.chat.is_group().then(|| message.sender.to_string());
                sends.push(json!({ "react": [message.chat, message.id, emoji, message.from_me, author] }));
            }
        }
        let dispatch = match &decision.verdict {
            Verdict::Dispatch(dispatch) => dispatch,
            Verdict::Hold(hold) => {
                pending.hold(&hold.history_key, turn::kept(&message).expect("a text"), hold.limit);
                continue;
            }
            Verdict::Drop { .. } => continue,
        };
        if dispatch.command.is_some() {
            return Err(LeftOut("10.4 commands are carried out by Verso itself"));
        }
        let key = session_key::history_key(&account.id, &dispatch.peer);
        let history: Vec<PendingMessage> = pending.peek(&key).cloned().collect();
        pending.clear(&key);
        for run in &dispatch.runs {
            let agent = config.agent(&run.agent).expect("an agent");
            let turn = Turn {
                message: &message,
                dispatch,
                rules: &account.rules,
                agent,
                history: &history,
                attached: None,
                quoted_attached: None,
                previous: None,
            };
            let group = dispatch.chat == ChatKind::Group;
            let quote = |key: &str| msg[key].clone();
            let commands = command::is_command(text(&msg["body"]), Switches::default())
                || command::has_inline_command(text(&msg["body"]));
            calls.push(json!({
                "SessionKey": run.session, "Body": suffix.replace(&turn.prompt(&options), ""), "BodyForCommands": msg["body"],
                "From": dispatch.peer, "To": judge.me.as_ref().and_then(Identity::number),
                "ChatType": if group { "group" } else { "direct" }, "SenderName": message.push_name,
                "SenderE164": message.sender_number, "WasMentioned": group.then_some(dispatch.mentioned),
                "ReplyToId": quote("replyToId"), "ReplyToBody": quote("replyToBody"), "ReplyToSender": quote("replyToSender"),
                "CommandAuthorized": dispatch.commands && commands, "AccountId": account.id,
            }));
            let reply = Delivery { rules: &account.rules, agent, own_chat: dispatch.own_chat };
            let parts = delivery::plan(text(&input["reply"]), &reply);
            sends.extend(parts.into_iter().map(|text| json!({ "to": message.chat, "text": text })));
        }
    }
    Ok(json!({ "modelCalls": calls, "sends": sends }))
}

fn deviation(input: &Value, expected: &Value) -> Option<&'static str> {
    let reply = text(&input["reply"]);
    let bodies: Vec<&str> = input["messages"].as_array().into_iter().flatten().map(|m| text(&m["body"])).collect();
    let sent: Vec<&str> = expected["sends"].as_array().into_iter().flatten().map(|s| text(&s["text"])).collect();
    let prefix = text(&input["config"]["messages"]["responsePrefix"]);
    if ["**", "`", "](", "~~", "# ", "|"].iter().any(|mark| reply.contains(mark)) {
        Some("12.3 Markdown is written in WhatsApp's marks")
    } else if prefix.contains('{') && sent.iter().any(|text| text.starts_with(prefix)) {
        Some("12.2 the prefix's variables are filled in")
    } else if reply.contains("NO_REPLY") || reply.contains("HEARTBEAT_OK") {
        Some("12.1 the token must stand alone")
    } else if bodies.iter().any(|body| sent.contains(body)) {
        Some("6.13b no text is taken for an echo")
    } else if input["config"]["channels"]["whatsapp"]["ackReaction"]["group"] == "always" {
        Some("13.3 \"always\" reacts right after admission")
    } else if bodies.iter().any(|body| body.contains("\\n")) {
        Some("7.6 only CR and CRLF become newlines")
    } else if shares_main(input, expected) {
        Some("24.1 people are kept apart unless the config says main")
    } else {
        let mut messages = input["messages"].as_array().into_iter().flatten();
        messages.any(tags_others_only).then_some(TAG_OF_OTHERS)
    }
}

/// With the default scope somebody who is not the account's first number is expected in the main session.
fn shares_main(input: &Value, expected: &Value) -> bool {
    let whatsapp = &input["config"]["channels"]["whatsapp"];
    let call = |call: &Value| {
        let own = &whatsapp["accounts"][text(&call["AccountId"])]["allowFrom"];
        let list = if own.is_array() { own } else { &whatsapp["allowFrom"] };
        let first = list.as_array().into_iter().flatten().find_map(|entry| E164::parse(text(entry)).ok());
        let main = call["ChatType"] == "direct" && text(&call["SessionKey"]).ends_with(":main");
        main && first != E164::parse(text(&call["From"])).ok()
    };
    let scoped = !input["config"]["session"]["dmScope"].is_null();
    !scoped && expected["modelCalls"].as_array().into_iter().flatten().any(call)
}
