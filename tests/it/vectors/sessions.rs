//! When sessions begin anew, how messages wait for them, and what the model is shown of them.

use super::common::*;
use verso::session::{freshness, turns, typing};
use verso::text::intro;
use verso::text::zone::Zone;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "resolveSessionResetPolicy" => (reset_policy, NEVER),
        "evaluateSessionFreshness" => (session_freshness, NEVER),
        "resolveQueueSettings" => (queue_settings, NEVER),
        "resolveTypingMode" => (typing_mode, NEVER),
        "limitHistoryTurns" => (limit_turns, NEVER),
        "getDmHistoryLimitFromSessionKey" => (dm_limit, any_key_shape),
        "resolveGroupSessionKey" => (group_key, NEVER),
        "resolveEnvelopeFormatOptions" => (envelope_options, NEVER),
        "finalizeInboundContext" => (inbound_context, context_deviation),
        _ => return None,
    })
}

fn reset_policy(input: &Value) -> Outcome {
    let mut session = input["sessionCfg"].as_object().cloned().unwrap_or_default();
    if input["resetOverride"].is_object() {
        session.insert("resetByChannel".into(), json!({ "whatsapp": input["resetOverride"] }));
    }
    let session = config(&json!({ "session": session }))?.session.clone();
    let policy = match text(&input["resetType"]) {
        "group" => session.reset_group,
        "thread" => session.reset_thread,
        _ => session.reset_direct,
    };
    Ok(json!({
        "mode": if policy.mode == ResetMode::Idle { "idle" } else { "daily" },
        "atHour": policy.at_hour,
        "idleMinutes": policy.idle.map(|idle| idle.as_secs() / 60),
    }))
}

fn session_freshness(input: &Value) -> Outcome {
    let policy = &input["policy"];
    let policy = ResetPolicy {
        mode: if policy["mode"] == "idle" { ResetMode::Idle } else { ResetMode::Daily },
        at_hour: policy["atHour"].as_u64().and_then(|hour| u8::try_from(hour).ok()).ok_or(LeftOut("no hour"))?,
        idle: policy["idleMinutes"].as_u64().map(|minutes| Duration::from_secs(60 * minutes)),
    };
    let (updated, now) = (input["updatedAt"].as_i64().unwrap_or(0), input["now"].as_i64().unwrap_or(0));
    let found = freshness::evaluate(updated, now, &policy, &Zone::Utc);
    Ok(json!({ "fresh": found.fresh, "dailyResetAt": found.daily_reset_at, "idleExpiresAt": found.idle_expires_at }))
}

fn queue_settings(input: &Value) -> Outcome {
    if input["sessionEntry"].is_object() || !input["inlineMode"].is_null() {
        return Err(LeftOut("Verso has no /queue: the config alone decides"));
    }
    if input["channel"].as_str().is_some_and(|channel| channel != "whatsapp") {
        return Err(LeftOut("Verso serves WhatsApp only"));
    }
    let mut cfg = input["cfg"].clone();
    // The config refuses what the original bends.
    if cfg["messages"]["queue"]["debounceMs"].as_i64().is_some_and(|ms| ms < 0) {
        cfg["messages"]["queue"]["debounceMs"] = json!(0);
    }
    let queue = config(&cfg)?.messages.queue.clone();
    Ok(json!({
        "mode": match queue.mode {
            QueueMode::Steer => "steer",
            QueueMode::Followup => "followup",
            QueueMode::Collect => "collect",
            QueueMode::SteerBacklog => "steer-backlog",
            QueueMode::Interrupt => "interrupt",
        },
        "debounceMs": queue.debounce.as_millis() as u64,
        "cap": queue.cap,
        "dropPolicy": match queue.drop {
            QueueDrop::Old => "old",
            QueueDrop::New => "new",
            QueueDrop::Summarize => "summarize",
        },
    }))
}

fn typing_mode(input: &Value) -> Outcome {
    let configured = match input["configured"].as_str() {
        None => None,
        Some("never") => Some(TypingMode::Never),
        Some("instant") => Some(TypingMode::Instant),
        Some("thinking") => Some(TypingMode::Thinking),
        Some("message") => Some(TypingMode::Message),
        Some(_) => return Err(LeftOut("a mode that does not exist")),
    };
    let chat = if input["isGroupChat"] == true { ChatKind::Group } else { ChatKind::Direct };
    let mode = typing::mode(configured, chat, input["wasMentioned"] == true, input["isHeartbeat"] == true);
    Ok(json!(match mode {
        TypingMode::Never => "never",
        TypingMode::Instant => "instant",
        TypingMode::Thinking => "thinking",
        TypingMode::Message => "message",
    }))
}

fn limit_turns(input: &Value) -> Outcome {
    let people: Vec<bool> = text(&input["roles"]).chars().map(|role| role == 'u').collect();
    let limit = usize::try_from(input["limit"].as_i64().unwrap_or(0)).unwrap_or(0);
    Ok(json!((turns::first_shown(&people, limit)..people.len()).collect::<Vec<_>>()))
}

/// The note of the group: `dmHistoryLimit` 10, `dms["+1555"].historyLimit` 3.
fn dm_limit(input: &Value) -> Outcome {
    let key = session_key::parse(text(input)).ok_or(LeftOut("Verso has no conversation without a session key"))?;
    let config = config(&json!({ "channels": { "whatsapp": {
        "dmHistoryLimit": 10, "dms": { "+1555004": { "historyLimit": 3 } }, "accounts": { "default": {} },
    } } }))?;
    let rules = &account_of(&config, &Value::Null)?.rules;
    let parts: Vec<&str> = key.rest.split(':').collect();
    if let [channel, kind, ..] = parts.as_slice()
        && *channel != "whatsapp"
        && ["direct", "dm", "group"].contains(kind)
    {
        return Err(LeftOut("Verso serves WhatsApp only"));
    }
    if parts.contains(&"group") || parts.contains(&"channel") {
        return Ok(Value::Null);
    }
    let peer = parts.last().and_then(|peer| E164::from_digits(peer));
    Ok(json!(peer.map_or(rules.dm_history_limit, |peer| rules.dm_history_limit_of(&peer))))
}

fn any_key_shape(_: &Value, expected: &Value) -> Option<&'static str> {
    expected.is_null().then_some("9.4 the limit applies whatever the key's shape")
}

fn group_key(input: &Value) -> Outcome {
    let from = text(&input["From"]).trim();
    let provider = input["Provider"].as_str().unwrap_or("whatsapp");
    let (channel, bare) = from.split_once(":group:").unwrap_or((provider, from));
    if !channel.eq_ignore_ascii_case("whatsapp") {
        return Err(LeftOut("Verso serves WhatsApp only"));
    }
    let Some(group) = jid(&bare.to_lowercase()).filter(Jid::is_group) else { return Ok(Value::Null) };
    let (agent, account) = (AgentId::new("main"), AccountId::new("default"));
    let key = session_key::chat_session(
        &agent,
        &account,
        PeerKind::Group,
        &group.to_string(),
        &config(&Value::Null)?.session,
    );
    let key = key.as_str().strip_prefix("agent:main:").expect("the agent comes first").to_owned();
    Ok(json!({ "key": key, "channel": "whatsapp", "id": group.to_string(), "chatType": "group" }))
}

fn envelope_options(input: &Value) -> Outcome {
    let config = config(input)?;
    let envelope = &config.agents.envelope;
    let written = input["agents"]["defaults"]["envelopeTimezone"].as_str();
    let timezone = match &envelope.timezone {
        EnvelopeTimezone::Local => written.map(str::to_owned),
        EnvelopeTimezone::Utc => Some(written.unwrap_or("utc").to_owned()),
        EnvelopeTimezone::User => Some("user".to_owned()),
        EnvelopeTimezone::Named(name) => Some(name.clone()),
    };
    Ok(json!({
        "timezone": timezone, "includeTimestamp": envelope.timestamp, "includeElapsed": envelope.elapsed,
        "userTimezone": config.agents.user_timezone,
    }))
}

fn inbound_context(input: &Value) -> Outcome {
    let first = |keys: &[&str]| keys.iter().find_map(|key| input[*key].as_str()).unwrap_or_default().to_owned();
    let sender = Sender {
        name: input["SenderName"].as_str(),
        number: input["SenderE164"].as_str(),
        id: input["SenderId"].as_str(),
    };
    let group = matches!(text(&input["ChatType"]).to_lowercase().as_str(), "group" | "channel");
    let suffixed = |keys: &[&str]| envelope::with_suffix(envelope::newlines(&first(keys)), group.then_some(sender));
    let given = input["ConversationLabel"].as_str().map(str::trim).filter(|label| !label.is_empty());
    let name = if group { &input["GroupSubject"] } else { &input["SenderName"] };
    let label = given.map(str::to_owned).or_else(|| {
        let known = group || text(&input["ChatType"]) == "direct";
        intro::conversation_label(group, name.as_str(), text(&input["From"])).filter(|_| known)
    });
    Ok(json!({
        "Body": suffixed(&["Body"]), "BodyForAgent": suffixed(&["BodyForAgent", "Body"]),
        "BodyForCommands": envelope::newlines(&first(&["BodyForCommands", "CommandBody", "RawBody", "Body"])),
        "ChatType": input["ChatType"].as_str().map(str::to_lowercase),
        "CommandAuthorized": input["CommandAuthorized"] == true, "ConversationLabel": label,
    }))
}

fn context_deviation(input: &Value, expected: &Value) -> Option<&'static str> {
    let bodies = ["Body", "BodyForAgent", "RawBody", "CommandBody", "BodyForCommands"];
    if bodies.iter().any(|key| text(&input[*key]).contains("\\n")) {
        return Some("7.6 only CR and CRLF become newlines");
    }
    let group = matches!(text(&input["ChatType"]), "group" | "channel");
    (group && expected["Body"] == input["Body"]).then_some("7.6 the suffix is appended always")
}
