//! Replies and their prefixes.

use super::common::*;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "resolveMessagePrefix" => (message_prefix, NEVER),
        "resolveResponsePrefix" => (response_prefix, NEVER),
        "resolveResponsePrefixTemplate" => (|i| template(i, true), NEVER),
        "resolveResponsePrefixTemplate(empty ctx)" => (|i| template(i, false), NEVER),
        "extractShortModelName" => (|i| Ok(json!(delivery::short_model_name(text(i)))), NEVER),
        "normalizeReplyPayload" => (reply_payload, tokens_in_text),
        "isSilentReplyText" => (
            |i| Ok(json!(delivery::is_silent(text(i)))),
            |i, _| (text(i).contains(delivery::SILENT)).then_some("12.1 the token must stand alone"),
        ),
        "stripHeartbeatToken" => (heartbeat_token, heartbeat_deviation),
        _ => return None,
    })
}

fn message_prefix(input: &Value) -> Outcome {
    if input["opts"].get("fallback").is_some() {
        return Err(LeftOut("Verso's own name is the only fallback"));
    }
    let config = config(&input["cfg"])?;
    let account = account_of(&config, &input["opts"]["accountId"])?;
    let configured = input["opts"]["configured"].as_str().or(account.rules.message_prefix.as_deref());
    let listed = input["opts"]["hasAllowFrom"] == true || !account.rules.allow_from.is_empty();
    let name = config.agents.default_agent().identity.name.clone();
    Ok(json!(envelope::message_prefix(configured, listed, name.as_deref())))
}

fn response_prefix(input: &Value) -> Outcome {
    let config = config(input)?;
    let account = account_of(&config, &json!("work")).or_else(|_| account_of(&config, &Value::Null))?;
    let delivery = Delivery { rules: &account.rules, agent: config.agents.default_agent(), own_chat: false };
    let off = account.rules.response_prefix == ResponsePrefix::Text(String::new());
    Ok(if off { json!("") } else { json!(delivery::response_prefix(&delivery)) })
}

fn template(input: &Value, filled: bool) -> Outcome {
    let Some(template) = input.as_str().filter(|t| !t.is_empty()) else { return Ok(Value::Null) };
    if template.to_lowercase().contains("think") && filled {
        return Err(LeftOut("the case does not say which thinking level was set"));
    }
    let model = ModelRef { provider: "openai".into(), name: "gpt-5.2".into() };
    let variables = Variables { model: Some(&model), name: Some("Mo"), think: None };
    Ok(json!(delivery::fill(
        template,
        if filled { &variables } else { &Variables { model: None, name: None, think: None } }
    )))
}

fn reply_payload(input: &Value) -> Outcome {
    let payload = &input["payload"];
    if payload.get("mediaUrl").is_some_and(|m| !m.is_null()) || payload.get("mediaUrls").is_some_and(|m| !m.is_null()) {
        return Err(LeftOut("media replies are planned elsewhere"));
    }
    let text = delivery::prepare(text(&payload["text"]), input["prefix"].as_str());
    Ok(text.map_or(Value::Null, |text| json!({ "text": text })))
}

fn tokens_in_text(input: &Value, _: &Value) -> Option<&'static str> {
    let text = text(&input["payload"]["text"]);
    if text.contains(delivery::SILENT) {
        return Some("12.1 the token must stand alone");
    }
    text.contains(verso::heartbeat::HEARTBEAT_OK).then_some("15.3 newlines stay, residue goes, words are whole")
}

fn heartbeat_token(input: &Value) -> Outcome {
    if input["mode"] != "message" {
        return Err(LeftOut("15.3 answers to heartbeats are judged by the heartbeat"));
    }
    let got = verso::heartbeat::strip(text(&input["text"]));
    Ok(json!({"shouldSkip": got.text.is_empty(), "text": got.text, "didStrip": got.found}))
}

fn heartbeat_deviation(input: &Value, expected: &Value) -> Option<&'static str> {
    let (said, kept) = (text(&input["text"]), text(&expected["text"]));
    let left = said.replace(verso::heartbeat::HEARTBEAT_OK, " ");
    if !kept.chars().any(char::is_alphanumeric) {
        Some("15.3 what holds no letter or digit says nothing")
    } else if said.contains("HEARTBEAT_OK")
        && said.split(|c: char| !c.is_alphanumeric() && c != '_').all(|w| w.trim_matches('_') != "HEARTBEAT_OK")
    {
        Some("15.3 the token is a word of its own")
    } else if left.trim().contains('\n') || left.trim().contains("  ") {
        Some("15.3 line breaks are kept")
    } else if ["*", "_", "`", "~"].iter().any(|m| kept.starts_with(m) || kept.ends_with(m)) {
        Some("15.3 the marks around the token go with it")
    } else {
        None
    }
}
