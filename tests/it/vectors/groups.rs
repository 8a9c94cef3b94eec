//! Groups, mentions, history and commands.

use super::common::*;
use super::texts::options;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "applyGroupGating" => (gating, gating_deviation),
        "resolveChannelGroupPolicy" => {
            (group_policy, |i, e| group_case(i, e).or_else(|| no_group_served(&i["cfg"], &i["accountId"])))
        }
        "shouldAckReactionForWhatsApp" => (ack, NEVER),
        "buildHistoryContext" => (history_context, NEVER),
        "buildHistoryContextFromEntries" => (history_entries, NEVER),
        "appendHistoryEntry(sequence of bodies, limit)" => (history_append, NEVER),
        "key eviction" => (history_eviction, NEVER),
        "historyEntryFormat" => (history_entry, NEVER),
        "formatGroupMembers" => (group_members, NEVER),
        "resolvePeerId" => (peer_id, NEVER),
        "normalizeCommandBody" => (|i| Ok(json!(command::normalize(text(i)))), NEVER),
        "hasControlCommand" => (|i| Ok(json!(command::is_command(text(i), Switches::default()))), NEVER),
        "isControlCommandMessage" => (|i| Ok(json!(command::is_control_message(text(i), Switches::default()))), NEVER),
        "hasInlineCommandTokens" => (|i| Ok(json!(command::has_inline_command(text(i)))), NEVER),
        "resolveWhatsAppCommandAuthorized" => (command_authorized, NEVER),
        "debugMention" => (debug_mention, mention_deviation),
        "stripMentionsForCommand" => (strip_mentions, NEVER),
        "parseActivationCommand" => (activation, NEVER),
        "resolveOwnerList" => (owner_list, nobody_named),
        "parseConfigCommand" => (config_command, NEVER),
        "parseConfigPath" => (config_path, |i, _| text(i).contains('[').then_some("18 paths may have brackets")),
        "set/unset" => {
            (config_edit, |i, _| i["o"]["a"].is_array().then_some("10.4 a path through a list sets its entry"))
        }
        _ => return None,
    })
}

pub fn body(msg: &Value) -> Body {
    let sender = jid(text(&msg["replyToSenderJid"]));
    let sender = sender.or_else(|| E164::from_digits(text(&msg["replyToSenderE164"])).map(|n| Jid::of_number(&n)));
    let quote = sender.map(|sender| Quote {
        id: None,
        sender: Some(sender),
        // On a personal number the original takes every reply to the account for one to itself.
        by_us: false,
        body: text(&msg["replyToBody"]).to_owned(),
        media: None,
    });
    Body {
        text: Some(text(&msg["body"]).to_owned()),
        media: None,
        quote,
        mentions: strings(&msg["mentionedJids"]).into_iter().filter_map(jid).collect(),
        ..Body::default()
    }
}

fn gating(input: &Value) -> Outcome {
    let known = ["name", "cfg", "msg"];
    if input.as_object().is_some_and(|map| map.keys().any(|k| !known.contains(&k.as_str()))) {
        return Err(LeftOut("state of the original's session store"));
    }
    let mut cfg = input["cfg"].clone();
    // Gating comes after admission, which lets everybody in here.
    cfg["channels"]["whatsapp"]["groupPolicy"] = json!("open");
    if let Some(list) = cfg["channels"]["whatsapp"]["groupAllowFrom"].as_array_mut() {
        list.push(json!("*"));
    }
    let (config, msg) = (config(&cfg)?, &input["msg"]);
    let account = account_of(&config, &msg["accountId"])?;
    let mut message = message(&account.id, text(&msg["from"]), &msg["senderE164"])?;
    message.content = Content::Body(body(msg));
    let judge =
        Judge { me: identity(&msg["selfE164"], &msg["selfJid"]), approved: vec![], connected_at: 1, activation: None };
    let decision = judge.decide(&config, &account, &message);
    let sender = Sender { name: msg["senderName"].as_str(), number: msg["senderE164"].as_str(), id: None };
    let (process, mentioned, limit) = match &decision.verdict {
        Verdict::Dispatch(dispatch) => (true, json!(dispatch.mentioned), 0),
        Verdict::Hold(hold) if hold.reason.code() == "not-mentioned" => (false, json!(false), hold.limit),
        Verdict::Hold(hold) => (false, Value::Null, hold.limit),
        Verdict::Drop { .. } => (false, Value::Null, 0),
    };
    let entry = json!({
        "sender": sender.label().unwrap_or_else(|| "Unknown".to_owned()), "body": msg["body"], "timestamp": msg["timestamp"],
        "id": msg["id"], "senderJid": msg["senderJid"],
    });
    let history = if limit > 0 { vec![entry] } else { vec![] };
    Ok(json!({ "shouldProcess": process, "wasMentioned": mentioned, "history": history }))
}

fn gating_deviation(input: &Value, expected: &Value) -> Option<&'static str> {
    let msg = &input["msg"];
    let me = identity(&msg["selfE164"], &msg["selfJid"]);
    let own = |raw: &str| jid(raw).zip(me.as_ref()).is_some_and(|(jid, me)| me.is_self(&jid));
    if own(text(&msg["replyToSenderJid"])) {
        return Some("8.3.7 users are compared, not devices");
    }
    if command::is_control_message(text(&msg["body"]), Switches::default()) && expected["shouldProcess"] == true {
        return Some("10.2 commands of people who may not give them are ignored");
    }
    group_case(&json!({ "cfg": input["cfg"], "groupId": msg["from"] }), &Value::Null)
        .or_else(|| scattered(msg, me.as_ref()))
        .or_else(|| no_group_served(&input["cfg"], &msg["accountId"]))
        .or_else(|| (expected["shouldProcess"] == false && tags_others_only(msg)).then_some(TAG_OF_OTHERS))
}

pub const TAG_OF_OTHERS: &str = "24.10 a tag of somebody else cancels no pattern";

/// Somebody is tagged, and it is not the account.
pub fn tags_others_only(msg: &Value) -> bool {
    let me = identity(&msg["selfE164"], &msg["selfJid"]);
    let tags = strings(&msg["mentionedJids"]);
    let own = |raw: &&str| jid(raw).zip(me.as_ref()).is_some_and(|(jid, me)| me.is_self(&jid));
    !tags.is_empty() && !tags.iter().any(own)
}

/// The `groups` in force are written and empty, which the original takes for absent.
fn no_group_served(cfg: &Value, account: &Value) -> Option<&'static str> {
    let whatsapp = &cfg["channels"]["whatsapp"];
    let own = account.as_str().and_then(|id| whatsapp["accounts"][id].get("groups"));
    let groups = own.or_else(|| whatsapp.get("groups"))?;
    groups.as_object().is_some_and(Map::is_empty).then_some("24.6 a written groups: {} serves no group")
}

fn group_case(input: &Value, _: &Value) -> Option<&'static str> {
    let whatsapp = &input["cfg"]["channels"]["whatsapp"];
    let keys = whatsapp["groups"].as_object().into_iter().flatten().map(|(key, _)| key);
    let id = text(&input["groupId"]);
    let other_case = |key: &String| key != id && key.eq_ignore_ascii_case(id);
    keys.into_iter().any(other_case).then_some("8.3.1 group ids are compared in lower case")
}

/// The own number's digits occur in the text, but not as one number.
fn scattered(msg: &Value, me: Option<&Identity>) -> Option<&'static str> {
    let digits: String = text(&msg["body"]).chars().filter(char::is_ascii_digit).collect();
    let own = me.and_then(Identity::number)?;
    digits.contains(own.digits()).then_some("8.3.6 scattered digits are no number")
}

fn group_policy(input: &Value) -> Outcome {
    let config = config(&input["cfg"])?;
    let account = account_of(&config, &input["accountId"])?;
    let rules = &account.rules;
    let entry = |group: Option<&GroupConfig>| group.map(|g| json!({ "requireMention": g.require_mention }));
    let served = |id: &str| jid(id).is_some_and(|jid| group::is_served(rules, &jid));
    let id = input["groupId"].as_str();
    let own = id.and_then(jid).and_then(|jid| entry(rules.group(&jid).0));
    Ok(json!({
        "allowlistEnabled": rules.lists_groups,
        "allowed": id.map_or(!rules.lists_groups || rules.groups.contains_key("*"), served),
        "groupConfig": own,
        "defaultConfig": entry(rules.groups.get("*")),
    }))
}

fn ack(input: &Value) -> Outcome {
    let group = match text(&input["groupMode"]) {
        "always" => AckGroup::Always,
        "never" => AckGroup::Never,
        _ => AckGroup::Mentions,
    };
    let reaction =
        AckReaction { emoji: text(&input["emoji"]).to_owned(), direct: input["directEnabled"] == true, group };
    let kind = match (input["isDirect"] == true, input["isGroup"] == true) {
        (true, _) => PeerKind::Direct,
        (_, true) => PeerKind::Group,
        _ => return Err(LeftOut("a chat is direct or a group")),
    };
    let activation = if input["groupActivated"] == true { Activation::Always } else { Activation::Mention };
    Ok(json!(receipts::ack(Some(&reaction), kind, input["wasMentioned"] == true, activation).is_some()))
}

fn pending_entry(sender: &str, body: &str, timestamp: Option<i64>, id: Option<&str>) -> PendingMessage {
    PendingMessage {
        sender: sender.to_owned(),
        body: body.to_owned(),
        timestamp,
        id: id.map(MessageId::new),
        ..PendingMessage::default()
    }
}

fn history_context(input: &Value) -> Outcome {
    Ok(json!(history::context(text(&input["historyText"]), text(&input["currentMessage"]))))
}

fn history_entries(input: &Value) -> Outcome {
    let mut entries: Vec<String> = input["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| format!("{}: {}", text(&e["sender"]), text(&e["body"])))
        .collect();
    // The original takes the last entry for the current message unless told otherwise.
    if input["excludeLast"] != false {
        entries.pop();
    }
    Ok(json!(history::context(&entries.join("\n"), text(&input["currentMessage"]))))
}

fn history_append(input: &Value) -> Outcome {
    let limit = input["limit"].as_i64().unwrap_or(0).max(0) as usize;
    let mut pending = Pending::default();
    for n in 0..input["n"].as_u64().unwrap_or(0) {
        pending.hold("g", pending_entry("S", &format!("b{n}"), None, None), limit);
    }
    Ok(json!(pending.peek("g").map(|m| m.body.clone()).collect::<Vec<_>>()))
}

fn history_eviction(input: &Value) -> Outcome {
    let mut pending = Pending::default();
    for n in 0..input["keys"].as_u64().unwrap_or(0) {
        pending.hold(&format!("k{n}"), pending_entry("S", "b", None, None), 5);
    }
    Ok(json!({ "size": pending.groups().count(), "first": pending.groups().next() }))
}

fn history_entry(input: &Value) -> Outcome {
    let message = pending_entry(
        text(&input["sender"]),
        text(&input["body"]),
        input["timestamp"].as_i64(),
        input["messageId"].as_str(),
    );
    // The group is the one of the vectors.
    Ok(json!(history::entry(&message, "120@g.us", &options(&json!({ "timezone": "utc" }))?)))
}

fn group_members(input: &Value) -> Outcome {
    let roster: Vec<(&str, &str)> =
        input["roster"].as_object().into_iter().flatten().map(|(number, name)| (number.as_str(), text(name))).collect();
    Ok(json!(history::members(&strings(&input["participants"]), &roster)))
}

fn peer_id(input: &Value) -> Outcome {
    let from = text(&input["from"]);
    if input["chatType"] == "group" {
        let id = input["conversationId"].as_str().unwrap_or(from);
        return Ok(json!(id.trim().to_lowercase()));
    }
    let number = E164::from_digits(text(&input["senderE164"]));
    let jid = jid(from).or_else(|| E164::from_digits(from).map(|n| Jid::of_number(&n)));
    Ok(json!(Person::from_addresses(number.as_ref(), jid.iter()).id()))
}

fn command_authorized(input: &Value) -> Outcome {
    let (config, msg) = (config(&input["cfg"])?, &input["msg"]);
    let account = account_of(&config, &msg["accountId"])?;
    let direct = msg["chatType"] == "direct";
    let sender = if direct && msg["senderE164"].is_null() { &msg["from"] } else { &msg["senderE164"] };
    let message = message(&account.id, text(&msg["from"]), sender)?;
    let judge = Judge {
        me: identity(&msg["selfE164"], &msg["selfJid"]),
        approved: vec![],
        connected_at: 1,
        activation: Some(Activation::Always),
    };
    // Whoever is not even let in uses no commands.
    let decision = judge.decide(&config, &account, &message);
    Ok(json!(matches!(decision.verdict, Verdict::Dispatch(dispatch) if dispatch.commands)))
}

fn debug_mention(input: &Value) -> Outcome {
    let (config, msg) = (config(&input["cfg"])?, &input["msg"]);
    let account = account_of(&config, &msg["accountId"])?;
    let agent = config.agent(&AgentId::new(text(&input["agentId"]))).unwrap_or(config.agents.default_agent());
    let patterns = Patterns::of_agent(agent).0;
    let me = identity(&msg["selfE164"], &msg["selfJid"]);
    let own = me.as_ref().and_then(Identity::number);
    let self_chat_mode = dm::is_self_chat_mode(&account.rules, own.as_ref());
    let found = mention::mention(&body(msg), Some(&patterns), me.as_ref(), self_chat_mode);
    Ok(json!({ "wasMentioned": found != Mention::None }))
}

fn mention_deviation(input: &Value, expected: &Value) -> Option<&'static str> {
    let msg = &input["msg"];
    let mut untagged = input.clone();
    untagged["msg"]["mentionedJids"] = Value::Null;
    // Without the tags it would be the same mention.
    if expected["wasMentioned"] == false
        && tags_others_only(msg)
        && debug_mention(&untagged).is_ok_and(|found| found["wasMentioned"] == true)
    {
        return Some(TAG_OF_OTHERS);
    }
    let name = input["cfg"]["agents"]["list"][0]["identity"]["name"].as_str().unwrap_or_default();
    if name.chars().next().is_some_and(|c| !c.is_ascii_alphanumeric()) {
        return Some("8.3.6 word boundaries are Unicode");
    }
    scattered(msg, identity(&msg["selfE164"], &msg["selfJid"]).as_ref())
}

fn strip_mentions(input: &Value) -> Outcome {
    let sources: Vec<String> = strings(&input["patterns"]).into_iter().map(str::to_owned).collect();
    let me = identity(&input["self"], &Value::Null);
    Ok(json!(mention::strip_for_command(text(&input["text"]), Some(&Patterns::compile(&sources).0), me.as_ref())))
}

fn activation(input: &Value) -> Outcome {
    Ok(match command::parse_activation(text(input)) {
        None => json!({ "hasCommand": false }),
        Some(mode) => json!({ "hasCommand": true, "mode": mode }),
    })
}

fn nobody_named(input: &Value, _: &Value) -> Option<&'static str> {
    let list = strings(&input["allowFrom"]);
    let digits = |entry: &&str| entry.bytes().any(|b| b.is_ascii_digit());
    (!list.iter().all(|entry| *entry == "*" || digits(entry))).then_some("8.1 text without digits names nobody")
}

fn owner_list(input: &Value) -> Outcome {
    let me = identity(&input["self"], &Value::Null);
    Ok(json!(owners(&parse_list(strings(&input["allowFrom"])), me.as_ref()).numbers))
}

fn config_command(input: &Value) -> Outcome {
    Ok(match command::config::parse(text(input)) {
        ConfigCommand::Show { path: None } => json!({ "action": "show" }),
        ConfigCommand::Show { path } => json!({ "action": "show", "path": path }),
        ConfigCommand::Set { path, value } => json!({ "action": "set", "path": path, "value": value }),
        ConfigCommand::Unset { path } => json!({ "action": "unset", "path": path }),
        ConfigCommand::Error(message) => json!({ "action": "error", "message": message }),
    })
}

fn config_path(input: &Value) -> Outcome {
    Ok(match edit::parse_path(text(input)) {
        Ok(path) => json!({ "ok": true, "path": path }),
        Err(error) => json!({ "ok": false, "error": error.to_string() }),
    })
}

fn config_edit(input: &Value) -> Outcome {
    let path: Vec<String> = strings(&input["path"]).into_iter().map(str::to_owned).collect();
    let before = input["o"].to_string();
    let edited = if input["op"] == "set" {
        edit::set(&before, &path, &input["v"]).map(|after| (after, Value::Null))
    } else {
        edit::unset(&before, &path).map(|after| {
            let removed = json!(after.is_some());
            (after.unwrap_or(before), removed)
        })
    };
    Ok(match edited {
        Ok((after, removed)) => {
            json!({ "result": edit::json5_value(&after).unwrap_or_default(), "removed": removed })
        }
        Err(error) => json!({ "error": error.to_string() }),
    })
}
