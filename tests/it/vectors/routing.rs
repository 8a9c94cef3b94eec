//! Bindings and session keys.

use super::common::*;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "buildAgentPeerSessionKey" => (peer_key, main_key),
        "resolveAgentRoute" => (agent_route, route_deviation),
        "buildGroupHistoryKey" => (history_key, NEVER),
        "normalizeAgentId" => (|i| Ok(json!(AgentId::new(text(i)))), NEVER),
        "normalizeAccountId" => (|i| Ok(json!(AccountId::new(text(i)))), NEVER),
        "parseAgentSessionKey" => (parse_key, NEVER),
        _ => return None,
    })
}

fn peer_key(input: &Value) -> Outcome {
    let mut session = Map::new();
    for key in ["dmScope", "identityLinks", "mainKey"] {
        if let Some(value) = input.get(key).filter(|v| !v.is_null()) {
            session.insert(key.to_owned(), value.clone());
        }
    }
    let config = config(&json!({ "session": session }))?;
    let (agent, account) = (AgentId::new(text(&input["agentId"])), AccountId::new(text(&input["accountId"])));
    let kind = input["peerKind"].as_str().unwrap_or("direct");
    let parts = KeyParts {
        agent: &agent,
        channel: text(&input["channel"]),
        account: &account,
        kind,
        peer: text(&input["peerId"]),
    };
    Ok(json!(session_key::peer_session(&parts, &config.session)))
}

fn main_key(input: &Value, expected: &Value) -> Option<&'static str> {
    let key = input["mainKey"].is_string().then_some("9.2 session.mainKey is honoured");
    // The key alone, without a config that says whose the main session is.
    let direct =
        matches!(input["peerKind"].as_str(), None | Some("direct" | "dm")) && !text(&input["peerId"]).is_empty();
    let apart = direct && input["dmScope"].is_null() && text(expected).ends_with(":main");
    key.or(apart.then_some("24.1 people are kept apart unless the config says main"))
}

fn agent_route(input: &Value) -> Outcome {
    let query = &input["query"];
    if query["channel"].as_str().is_some_and(|c| !c.trim().eq_ignore_ascii_case("whatsapp"))
        || !query["parentPeer"].is_null()
        || !query["guildId"].is_null()
        || !query["teamId"].is_null()
    {
        return Err(LeftOut("Verso serves WhatsApp only"));
    }
    let config = config(&input["cfg"])?;
    let account = AccountId::new(text(&query["accountId"]));
    let kind = match text(&query["peer"]["kind"]) {
        "group" => PeerKind::Group,
        "" | "dm" | "direct" => PeerKind::Direct,
        _ => return Err(LeftOut("Verso serves direct chats and groups only")),
    };
    let id = text(&query["peer"]["id"]).trim();
    let ids: Vec<String> = if id.is_empty() { vec![] } else { vec![id.to_owned()] };
    let route = route(&config, Chat { account: &account, kind, ids: &ids, own_chat: false }, &OwnNumbers::new());
    Ok(json!({
        "agentId": route.agent, "channel": "whatsapp", "accountId": account, "sessionKey": route.session,
        "mainSessionKey": route.main_session, "matchedBy": route.matched_by,
    }))
}

fn route_deviation(input: &Value, expected: &Value) -> Option<&'static str> {
    let main = input["cfg"]["session"]["mainKey"].as_str().map(str::trim);
    if main.is_some_and(|m| !m.eq_ignore_ascii_case("main")) {
        return Some("9.2 session.mainKey is honoured");
    }
    let id = text(&input["query"]["peer"]["id"]);
    let spelled = |b: &Value| {
        let peer = text(&b["match"]["peer"]["id"]);
        peer != id && !id.is_empty() && Target::parse(peer).is_ok_and(|p| Target::parse(id).is_ok_and(|i| i == p))
    };
    let bindings = || input["cfg"]["bindings"].as_array().into_iter().flatten();
    if bindings().any(spelled) {
        return Some("9.1 peer ids are normalised");
    }
    // With the default scope the main session belongs to one person, and no case names the account's owner. A chat that a peer
    // binding gives an agent of its own keeps that agent's main session.
    let direct = matches!(text(&input["query"]["peer"]["kind"]), "direct" | "dm") && !id.trim().is_empty();
    let shared = input["cfg"]["session"]["dmScope"].is_null() && expected["sessionKey"] == expected["mainSessionKey"];
    let owned = input["cfg"]["channels"]["whatsapp"].is_object() || expected["matchedBy"] == "binding.peer";
    (direct && shared && !owned).then_some("24.1 people are kept apart unless the config says main")
}

fn history_key(input: &Value) -> Outcome {
    if input["channel"] != "whatsapp" || input["peerKind"] != "group" || text(&input["peerId"]).is_empty() {
        return Err(LeftOut("Verso keeps history of WhatsApp groups only"));
    }
    Ok(json!(session_key::history_key(&AccountId::new(text(&input["accountId"])), text(&input["peerId"]))))
}

fn parse_key(input: &Value) -> Outcome {
    Ok(session_key::parse(text(input)).map_or(Value::Null, |key| json!({ "agentId": key.agent, "rest": key.rest })))
}
