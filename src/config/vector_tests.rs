//! The original's cases (tests/vectors) against the loader. What differs on purpose is listed with the section of behaviour.md that says so.

use serde_json::{Value, json};

use super::*;
use crate::ids::AccountId;

fn cases(topic: &str, function: &str) -> Vec<(Value, Value)> {
    let path = format!("{}/tests/vectors/{topic}.json", env!("CARGO_MANIFEST_DIR"));
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let groups = file["groups"].as_array().unwrap();
    let group = groups.iter().find(|g| g["fn"] == function).unwrap_or_else(|| panic!("{topic} has no {function}"));
    group["cases"].as_array().unwrap().iter().map(|c| (c["input"].clone(), c["expected"].clone())).collect()
}

fn load(config: &Value) -> Result<Arc<Config>, Vec<Problem>> {
    load_text(&config.to_string(), &ResolveEnv::new("/h", "/s")).map(|l| l.config)
}

fn channel(whatsapp: &Value) -> Value {
    json!({"channels": {"whatsapp": whatsapp}})
}

/// The keys of `asked` as the resolved account has them.
fn resolved(rules: &RulesConfig, asked: &Value) -> Value {
    let mut out = json!({});
    for key in asked.as_object().unwrap().keys() {
        out[key] = match key.as_str() {
            "dmPolicy" => json!(rules.dm_policy),
            "groupPolicy" => json!(rules.group_policy),
            "mediaMaxMb" => json!(rules.media_max_bytes >> 20),
            "debounceMs" => json!(rules.debounce.as_millis() as u64),
            "historyLimit" => json!(rules.history_limit),
            "dmHistoryLimit" => json!(rules.dm_history_limit),
            "textChunkLimit" => json!(rules.text_chunk_limit),
            "sendReadReceipts" => json!(rules.send_read_receipts),
            "messagePrefix" => json!(rules.message_prefix),
            "allowFrom" => json!(rules.allow_from.entries()),
            "groups" => rules.groups.keys().map(|k| (k.clone(), json!({}))).collect(),
            "responsePrefix" => match &rules.response_prefix {
                ResponsePrefix::Auto => json!("auto"),
                ResponsePrefix::Text(text) => json!(text),
                ResponsePrefix::Unset => Value::Null,
            },
            "ackReaction" => rules.ack_reaction.as_ref().map_or(Value::Null, |a| {
                let group = format!("{:?}", a.group).to_lowercase();
                json!({"emoji": a.emoji, "direct": a.direct, "group": group})
            }),
            "actions" => {
                json!({"reactions": rules.actions.reactions, "sendMessage": rules.actions.send_message, "polls": rules.actions.polls})
            }
            "dms" => rules.dms.iter().map(|(n, limit)| (n.to_string(), json!({"historyLimit": limit}))).collect(),
            other => panic!("the test does not know {other}"),
        };
    }
    out
}

#[test]
fn channel_schema() {
    for (input, expected) in cases("config_schema", "WhatsAppConfigSchema.safeParse") {
        let found = load(&channel(&input));
        assert_eq!(found.is_ok(), expected["ok"] == true, "{input}: {found:?}");
        match found {
            Ok(config) => {
                let mut want = expected["data"].clone();
                if let Some(accounts) = want.as_object_mut().unwrap().remove("accounts") {
                    for (id, want) in accounts.as_object().unwrap() {
                        assert_eq!(&resolved(&config.accounts[&AccountId::new(id)].rules, want), want, "{input} {id}");
                    }
                }
                let rules = &config.accounts.values().next().unwrap().rules;
                assert_eq!(resolved(rules, &want), want, "{input}");
            }
            Err(problems) => {
                let found: Vec<(String, String)> = problems
                    .iter()
                    .map(|p| {
                        // Verso names the unknown key itself, the original the object around it.
                        let unknown = p.message.starts_with("Unrecognized key");
                        let end = p.key_path.0.len() - usize::from(unknown);
                        let steps = p.key_path.0[2..end].iter().map(|s| match s {
                            Seg::Key(k) => k.clone(),
                            Seg::Index(i) => i.to_string(),
                        });
                        (steps.collect::<Vec<_>>().join("."), p.message.clone())
                    })
                    .collect();
                let text = |v: &Value| v.as_str().unwrap().to_owned();
                let want: Vec<_> = expected["issues"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|i| (text(&i["path"]), text(&i["message"])))
                    .collect();
                assert_eq!(found, want, "{input}");
            }
        }
    }
}

#[test]
fn account_ids_and_the_default_one() {
    for (input, expected) in cases("accounts_creds", "listWhatsAppAccountIds") {
        // Ids are lower-cased on loading (section 3), the original keeps the spelling in lists.
        let want: Vec<String> =
            expected.as_array().unwrap().iter().map(|i| i.as_str().unwrap().to_lowercase()).collect();
        let found: Vec<String> = load(&input).unwrap().accounts.keys().map(ToString::to_string).collect();
        assert_eq!(found, want, "{input}");
    }
    for (input, expected) in cases("accounts_creds", "resolveDefaultWhatsAppAccountId") {
        assert_eq!(load(&input).unwrap().default_account.as_str(), expected, "{input}");
    }
}

#[test]
fn one_account_resolved() {
    for (input, expected) in cases("accounts_creds", "resolveWhatsAppAccount") {
        let id = input["accountId"].as_str().unwrap_or("default");
        let config = load(&input["cfg"]).unwrap();
        let Some(account) = config.accounts.get(&AccountId::new(id)) else {
            // 4.6: an id that is not configured is an error, never an account made up on the spot.
            assert_eq!(id, "ghost");
            continue;
        };
        let mut want = expected.clone();
        let map = want.as_object_mut().unwrap();
        let auth_dir = map.remove("authDir").unwrap();
        match &account.link.auth_dir {
            Some(dir) => assert_eq!(dir.to_str(), auth_dir.as_str()),
            None => assert_eq!(auth_dir, format!("<STATE>/credentials/whatsapp/{id}")),
        }
        assert_eq!(Some(json!(account.link.enabled)), map.remove("enabled"));
        for elsewhere in ["accountId", "isLegacyAuthDir"] {
            map.remove(elsewhere);
        }
        assert_eq!(resolved(&account.rules, &want), want, "{input}");
    }
}

#[test]
fn reset_policies() {
    for (input, expected) in cases("session_reset_queue_misc", "resolveSessionResetPolicy") {
        let mut config = match &input["sessionCfg"] {
            Value::Null => json!({}),
            session => json!({"session": session}),
        };
        if let Some(over) = input.get("resetOverride") {
            config["session"]["resetByChannel"] = json!({"whatsapp": over});
        }
        let config = load(&config).unwrap_or_else(|p| panic!("{input} {p:?}"));
        let policy = match input["resetType"].as_str().unwrap() {
            "direct" => &config.session.reset_direct,
            "group" => &config.session.reset_group,
            _ => &config.session.reset_thread,
        };
        let mode = if policy.mode == ResetMode::Idle { "idle" } else { "daily" };
        let found =
            json!({"mode": mode, "atHour": policy.at_hour, "idleMinutes": policy.idle.map(|i| i.as_secs() / 60)});
        assert_eq!(found, expected, "{input}");
    }
}

#[test]
fn inbound_debounce() {
    for (input, expected) in cases("session_reset_queue_misc", "resolveInboundDebounceMs") {
        let Ok(config) = load(&input) else {
            // 2.1: a value of the wrong type is an error instead of being passed over.
            assert_eq!(input["messages"]["inbound"]["debounceMs"], "x");
            continue;
        };
        let found = config.accounts.values().next().unwrap().rules.debounce.as_millis() as u64;
        // 2.4: channels.whatsapp.debounceMs is honoured.
        let want = if input["channels"]["whatsapp"]["debounceMs"] == 999 { json!(999) } else { expected };
        assert_eq!(json!(found), want, "{input}");
    }
}

#[test]
fn queue_settings() {
    for (input, expected) in cases("session_reset_queue_misc", "resolveQueueSettings") {
        if input.get("sessionEntry").is_some() {
            continue; // what a session overrides is no matter of the config
        }
        let queue = load(&input["cfg"]).unwrap().messages.queue.clone();
        let mode = match queue.mode {
            QueueMode::SteerBacklog => "steer-backlog".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        let found = json!({"mode": mode, "debounceMs": queue.debounce.as_millis() as u64, "cap": queue.cap,
            "dropPolicy": format!("{:?}", queue.drop).to_lowercase()});
        assert_eq!(found, expected, "{input}");
    }
}

#[test]
fn durations() {
    for (input, expected) in cases("session_reset_queue_misc", "parseDurationMs(default unit m)") {
        let found = duration_text(input.as_str().unwrap());
        match expected.as_u64() {
            Some(ms) => assert_eq!(found.map(|d| d.as_millis() as u64), Some(ms), "{input}"),
            // 15.1: empty text switches a heartbeat off.
            None if input == "" => assert_eq!(found, Some(std::time::Duration::ZERO)),
            None => assert_eq!(found, None, "{input}"),
        }
    }
}

#[test]
fn heartbeat_settings() {
    for (input, expected) in cases("heartbeat_runner", "resolveHeartbeatVisibility") {
        let config = load(&input["cfg"]).unwrap();
        let id = input["accountId"].as_str();
        let account =
            id.map_or_else(|| config.accounts.values().next().unwrap(), |id| &config.accounts[&AccountId::new(id)]);
        let seen = &account.rules.heartbeat;
        let found = json!({"showOk": seen.show_ok, "showAlerts": seen.show_alerts, "useIndicator": seen.use_indicator});
        // Without an account id the original reads the channel; here a channel without accounts stands for it.
        if id.is_some() || input["cfg"]["channels"]["whatsapp"].get("accounts").is_none() {
            assert_eq!(found, expected, "{input}");
        }
    }
    for (input, expected) in cases("heartbeat_runner", "resolveHeartbeatIntervalMs") {
        let config = match input.get("d") {
            Some(every) => json!({"agents": {"defaults": {"heartbeat": {"every": every}}}}),
            None => json!({}),
        };
        match load(&config) {
            Ok(config) => {
                let every = config.agents.default_agent().heartbeat.as_ref().map(|h| h.every.as_millis() as u64);
                assert_eq!(json!(every), expected, "{input}");
            }
            // 2.6: what is no duration is an error of the config.
            Err(problems) => assert_eq!(problems[0].message, "invalid duration (use ms, s, m, h)", "{input}"),
        }
    }
    for (input, expected) in cases("heartbeat_runner", "resolveHeartbeatAgents") {
        let config = load(&input).unwrap();
        let found: Vec<&str> =
            config.agents.list.iter().filter(|a| a.heartbeat.is_some()).map(|a| a.id.as_str()).collect();
        let want: Vec<&str> = expected.as_array().unwrap().iter().map(|a| a["agentId"].as_str().unwrap()).collect();
        assert_eq!(found, want, "{input}");
    }
}

#[test]
fn paths_of_config_commands() {
    for (input, expected) in cases("config_command", "parseConfigPath") {
        let found = match edit::parse_path(input.as_str().unwrap()) {
            Ok(path) => json!({"ok": true, "path": path}),
            Err(error) => json!({"ok": false, "error": error.to_string()}),
        };
        assert_eq!(found, expected, "{input}");
    }
}

#[test]
fn set_and_unset() {
    for (input, expected) in cases("config_command", "set/unset") {
        let path: Vec<String> = serde_json::from_value(input["path"].clone()).unwrap();
        let text = input["o"].to_string();
        let after = if input["op"] == "set" {
            edit::set(&text, &path, &input["v"]).unwrap()
        } else {
            let after = edit::unset(&text, &path).unwrap();
            assert_eq!(json!(after.is_some()), expected["removed"], "{input}");
            after.unwrap_or(text)
        };
        // 10.4: a path through a list sets its entry instead of replacing the list by an object.
        let want = if input["o"]["a"].is_array() { json!({"a": [9, 2]}) } else { expected["result"].clone() };
        assert_eq!(edit::json5_value(&after), Ok(want), "{input}");
    }
}

#[test]
fn writes_from_chat() {
    for (input, expected) in cases("config_command", "resolveChannelConfigWrites") {
        let config = load(&input["cfg"]).unwrap();
        let id = AccountId::new(input["accountId"].as_str().unwrap_or_default());
        assert_eq!(json!(config.accounts[&id].rules.config_writes), expected, "{input}");
    }
}
