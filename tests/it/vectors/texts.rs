//! Envelopes and chunks.

use super::common::*;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "formatInboundEnvelope" => (format_envelope, NEVER),
        "formatReplyContext" => (reply_context, quoted_marker),
        "buildInboundLine" => (inbound_line, |i, e| quoted_marker(&i["msg"], e)),
        "chunkMarkdownText" | "chunkMarkdownTextWithMode:length" => (|i| cut(i, ChunkMode::Length), chunk_deviation),
        "chunkMarkdownTextWithMode:newline" => (|i| cut(i, ChunkMode::Newline), chunk_deviation),
        "resolveTextChunkLimit" => (chunk_limit, other_default),
        "resolveChunkMode" => (chunk_mode, other_default),
        _ => return None,
    })
}

pub fn options(envelope: &Value) -> Result<Options, LeftOut> {
    let mut defaults = Map::new();
    for (from, to) in [("timezone", "envelopeTimezone"), ("userTimezone", "userTimezone")] {
        if let Some(value) = envelope[from].as_str().filter(|v| !v.is_empty()) {
            defaults.insert(to.to_owned(), json!(value));
        }
    }
    for (from, to) in [("includeTimestamp", "envelopeTimestamp"), ("includeElapsed", "envelopeElapsed")] {
        if envelope[from] == false {
            defaults.insert(to.to_owned(), json!("off"));
        }
    }
    let config = config(&json!({ "agents": { "defaults": defaults } }))?;
    let zones = std::path::PathBuf::from("/usr/share/zoneinfo");
    if !zones.join("UTC").exists() {
        return Err(LeftOut("this machine has no zone files"));
    }
    // The vectors' host runs on UTC.
    let load = |name: Option<&str>| std::fs::read(zones.join(name.unwrap_or("UTC"))).ok();
    Ok(Options::new(&config.agents.envelope, config.agents.user_timezone.as_deref(), load))
}

fn format_envelope(input: &Value) -> Outcome {
    let sender = &input["sender"];
    let given = input["senderLabel"].as_str().map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
    let direct = matches!(text(&input["chatType"]), "" | "direct");
    let sender = Sender { name: sender["name"].as_str(), number: sender["e164"].as_str(), id: sender["id"].as_str() };
    let label = given.or_else(|| sender.label()).filter(|_| !direct);
    let body = text(&input["body"]);
    let body = label.map_or_else(|| body.to_owned(), |label| format!("{label}: {body}"));
    let now = input["timestamp"].as_i64().filter(|at| *at > 0);
    let before = input["previousTimestamp"].as_i64();
    let options = options(&input["envelope"])?;
    Ok(json!(envelope::envelope(text(&input["channel"]), text(&input["from"]), now, before, &body, &options)))
}

fn quoted(message: &Value) -> Option<Quoted<'_>> {
    let body = message["replyToBody"].as_str().filter(|b| !b.is_empty())?;
    Some(Quoted { sender: message["replyToSender"].as_str(), id: message["replyToId"].as_str(), body, attached: None })
}

fn reply_context(input: &Value) -> Outcome {
    Ok(json!(quoted(input).map(|q| q.block())))
}

fn quoted_marker(input: &Value, _: &Value) -> Option<&'static str> {
    let marked = |key: &str| envelope::neutralise(text(&input[key])) != text(&input[key]);
    (marked("replyToBody") || marked("body")).then_some("7.3 markers in people's text are neutralised")
}

fn inbound_line(input: &Value) -> Outcome {
    let (config, msg) = (config(&input["cfg"])?, &input["msg"]);
    let account = account_of(&config, &msg["accountId"])?;
    let agent = input["agentId"]
        .as_str()
        .and_then(|id| config.agent(&AgentId::new(id)))
        .unwrap_or(config.agents.default_agent());
    let rules = &account.rules;
    let name = agent.identity.name.as_deref();
    let prefix = envelope::message_prefix(rules.message_prefix.as_deref(), !rules.allow_from.is_empty(), name);
    let group = msg["chatType"] == "group";
    let sender =
        Sender { name: msg["senderName"].as_str(), number: msg["senderE164"].as_str(), id: msg["senderJid"].as_str() };
    let line = Line {
        from: text(&msg["from"]),
        body: text(&msg["body"]),
        attached: None,
        prefix: &prefix,
        sender: group.then_some(sender),
        quote: quoted(msg),
        timestamp: msg["timestamp"].as_i64(),
        previous: input["previousTimestamp"].as_i64(),
    };
    Ok(json!(line.render(&options(&json!({ "timezone": "utc" }))?)))
}

fn cut(input: &Value, mode: ChunkMode) -> Outcome {
    let limit = input["limit"].as_i64().unwrap_or(0).max(0) as usize;
    if text(&input["text"]).contains('\u{fffd}') {
        return Err(LeftOut("Rust's texts hold no lone surrogates"));
    }
    Ok(json!(chunk::chunk(text(&input["text"]), limit, mode)))
}

fn chunk_deviation(input: &Value, expected: &Value) -> Option<&'static str> {
    let (whole, limit) = (text(&input["text"]), input["limit"].as_u64()? as usize);
    let chunks = strings(expected);
    if chunks.iter().any(|c| c.contains('\u{fffd}')) {
        return Some("12.4 surrogate pairs stay whole");
    }
    if limit > 0 && chunks.iter().any(|c| c.encode_utf16().count() > limit) {
        return Some("12.4 no chunk is longer than the limit");
    }
    let fence = |line: &str| line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
    if whole.lines().any(|l| fence(l) && l.encode_utf16().count() * 4 > limit * 3) {
        return Some("12.4 long opening lines are not repeated");
    }
    if whole.contains('\r') && whole.lines().any(fence) {
        return Some("12.4 a fence may end in CRLF");
    }
    // The lines that close and open a fence around a cut are not the text's own.
    let own = |chunk: &str| {
        let after = chunk.split_once('\n').filter(|(open, _)| fence(open)).map_or(chunk, |(_, text)| text);
        let before = chunk.rsplit_once('\n').filter(|(_, close)| fence(close)).map_or(chunk, |(text, _)| text);
        [after.graphemes(true).next().map(str::to_owned), before.graphemes(true).next_back().map(str::to_owned)]
    };
    let known: std::collections::HashSet<&str> = whole.graphemes(true).collect();
    let torn = |grapheme: String| !grapheme.trim().is_empty() && !known.contains(grapheme.as_str());
    chunks.iter().flat_map(|c| own(c)).flatten().any(torn).then_some("12.4 graphemes stay whole")
}

/// No account is named, and the account `default` is none.
fn other_default(input: &Value, _: &Value) -> Option<&'static str> {
    let accounts = input["cfg"]["channels"]["whatsapp"]["accounts"].as_object()?;
    let other = input["accountId"].is_null() && !accounts.is_empty() && !accounts.contains_key("default");
    other.then_some("13.2 who names no account means the default account")
}

fn chunk_limit(input: &Value) -> Outcome {
    let config = config(&input["cfg"])?;
    Ok(json!(account_of(&config, &input["accountId"])?.rules.text_chunk_limit))
}

fn chunk_mode(input: &Value) -> Outcome {
    let config = config(&input["cfg"])?;
    Ok(json!(match account_of(&config, &input["accountId"])?.rules.chunk_mode {
        ChunkMode::Length => "length",
        ChunkMode::Newline => "newline",
    }))
}
