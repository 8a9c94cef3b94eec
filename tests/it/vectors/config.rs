//! The configuration: what is accepted, with which defaults, and what each part of it resolves to.

use super::common::*;
use verso::config::Seg;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "WhatsAppConfigSchema.safeParse" => (schema, NEVER),
        "listWhatsAppAccountIds" => (
            |i| Ok(json!(config(i)?.accounts.keys().map(AccountId::as_str).collect::<Vec<_>>())),
            |_, e| {
                let spelled = strings(e).iter().any(|id| id.chars().any(char::is_uppercase));
                spelled.then_some("3 ids are written in lower case everywhere")
            },
        ),
        "resolveDefaultWhatsAppAccountId" => (|i| Ok(json!(config(i)?.default_account)), NEVER),
        "resolveWhatsAppAccount" => (account, |i, _| {
            let off = i["cfg"]["channels"]["whatsapp"]["enabled"] == false;
            off.then_some("21 `enabled` of the channel holds for its accounts")
        }),
        "resolveInboundDebounceMs" => (debounce, |i, _| {
            i["channels"]["whatsapp"].get("debounceMs").map(|_| "2.4 the channel's debounceMs is honoured")
        }),
        "parseDurationMs(default unit m)" => {
            (duration, |i, _| (text(i).trim() == "").then_some("15.1 no text is no interval"))
        }
        "resolveHeartbeatVisibility" => (visibility, NEVER),
        "resolveHeartbeatIntervalMs" => (interval, NEVER),
        "resolveHeartbeatAgents" => (heartbeat_agents, NEVER),
        _ => return None,
    })
}

/// What the loader says of a value of `channels.whatsapp`.
fn schema(input: &Value) -> Outcome {
    let text = json!({"channels": {"whatsapp": input}}).to_string();
    Ok(match load_text(&text, &ResolveEnv::new("/home/u", "/home/u/.verso")) {
        Ok(loaded) => {
            let accounts = &loaded.config.accounts;
            let mut data = rules(&accounts.values().next().expect("an account").rules);
            data["accounts"] = accounts.iter().map(|(id, account)| (id.to_string(), rules(&account.rules))).collect();
            json!({"ok": true, "data": data})
        }
        Err(rejected) => {
            let issue = |problem: &verso::config::Problem| {
                // Verso names the unknown key itself, the original the object around it.
                let unknown = problem.message.starts_with("Unrecognized key");
                let path = &problem.key_path.0;
                let steps = path[2..path.len() - usize::from(unknown)].iter().map(|step| match step {
                    Seg::Key(key) => key.clone(),
                    Seg::Index(at) => at.to_string(),
                });
                json!({"path": steps.collect::<Vec<_>>().join("."), "code": code(&problem.message), "message": problem.message})
            };
            json!({"ok": false, "issues": rejected.iter().map(issue).collect::<Vec<_>>()})
        }
    })
}

/// The original's class of a problem, which Verso has no use for.
fn code(message: &str) -> &'static str {
    let classes = [
        ("Invalid option", "invalid_value"),
        ("Invalid input", "invalid_type"),
        ("Unrecognized key", "unrecognized_keys"),
        ("Too small", "too_small"),
        ("Too big", "too_big"),
    ];
    classes.iter().find(|(start, _)| message.starts_with(start)).map_or("custom", |(_, class)| class)
}

/// An account's rules in the words of the original.
fn rules(rules: &RulesConfig) -> Value {
    json!({
        "dmPolicy": rules.dm_policy,
        "groupPolicy": rules.group_policy,
        "mediaMaxMb": rules.media_max_bytes >> 20,
        "debounceMs": millis(rules.debounce),
        "historyLimit": rules.history_limit,
        "dmHistoryLimit": rules.dm_history_limit,
        "textChunkLimit": rules.text_chunk_limit,
        "sendReadReceipts": rules.send_read_receipts,
        "messagePrefix": rules.message_prefix,
        "allowFrom": rules.allow_from.entries(),
        "groups": rules.groups.keys().map(|id| (id.clone(), json!({}))).collect::<Map<_, _>>(),
        "responsePrefix": match &rules.response_prefix {
            ResponsePrefix::Auto => json!("auto"),
            ResponsePrefix::Text(text) => json!(text),
            ResponsePrefix::Unset => Value::Null,
        },
        "ackReaction": rules.ack_reaction.as_ref().map(|ack| {
            json!({"emoji": ack.emoji, "direct": ack.direct, "group": format!("{:?}", ack.group).to_lowercase()})
        }),
        "actions": {
            "reactions": rules.actions.reactions, "sendMessage": rules.actions.send_message, "polls": rules.actions.polls,
        },
        "dms": rules.dms.iter().map(|(n, limit)| (n.to_string(), json!({"historyLimit": limit}))).collect::<Map<_, _>>(),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("fits")
}

fn account(input: &Value) -> Outcome {
    let config = config(&input["cfg"])?;
    let account = account_of(&config, &input["accountId"])?;
    let mut out = rules(&account.rules);
    out["accountId"] = json!(account.id);
    out["name"] = json!(account.rules.name);
    out["enabled"] = json!(account.link.enabled);
    let default = || format!("<STATE>/credentials/whatsapp/{}", account.id);
    out["authDir"] = json!(account.link.auth_dir.as_ref().map_or_else(default, |dir| dir.display().to_string()));
    // Which folder is a legacy one, the disk says; see "legacy auth dir selection".
    out["isLegacyAuthDir"] = json!(false);
    Ok(out)
}

fn debounce(input: &Value) -> Outcome {
    let inbound = &input["messages"]["inbound"];
    let named = [&inbound["debounceMs"], &inbound["byChannel"]["whatsapp"]];
    if named.iter().any(|value| !value.is_null() && !value.is_number()) {
        return Err(LeftOut("2.1 a value of the wrong type is an error of the config"));
    }
    let config = config(input)?;
    Ok(json!(millis(config.accounts.values().next().expect("an account").rules.debounce)))
}

fn duration(input: &Value) -> Outcome {
    let found = verso::config::duration_text(text(input)).map(millis);
    Ok(found.map_or(json!({"throws": format!("invalid duration: {}", text(input))}), |ms| json!(ms)))
}

fn visibility(input: &Value) -> Outcome {
    let raw = &input["cfg"]["channels"]["whatsapp"];
    if input["accountId"].is_null() && raw.get("accounts").is_some() {
        return Err(LeftOut("2.4 settings are always those of one account"));
    }
    let config = config(&input["cfg"])?;
    let seen = &account_of(&config, &input["accountId"])?.rules.heartbeat;
    Ok(json!({"showOk": seen.show_ok, "showAlerts": seen.show_alerts, "useIndicator": seen.use_indicator}))
}

fn interval(input: &Value) -> Outcome {
    let raw = match input.get("d") {
        Some(every) => json!({"agents": {"defaults": {"heartbeat": {"every": every}}}}),
        None => json!({}),
    };
    match load_text(&without_nulls(&raw).to_string(), &ResolveEnv::new("/home/u", "/home/u/.verso")) {
        Ok(loaded) => Ok(json!(loaded.config.agents.default_agent().heartbeat.as_ref().map(|h| millis(h.every)))),
        Err(rejected) => {
            let said = rejected.iter().all(|p| p.message == "invalid duration (use ms, s, m, h)");
            assert!(said, "{rejected:?}");
            Err(LeftOut("2.6 what is no duration is an error of the config"))
        }
    }
}

fn heartbeat_agents(input: &Value) -> Outcome {
    let config = config(input)?;
    let with = config.agents.list.iter().filter(|agent| agent.heartbeat.is_some());
    Ok(with.map(|agent| json!({"agentId": agent.id})).collect())
}
