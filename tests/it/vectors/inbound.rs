//! What happens between the journal and the agent: batching of rapid messages.

use std::time::Instant;

use verso::session::debounce::Debounce;

use super::common::*;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "createInboundDebouncer (ms timeline)" => (timeline, NEVER),
        "resolveInboundDebounceMs" => (window, window_deviation),
        _ => return None,
    })
}

fn timeline(input: &Value) -> Outcome {
    let window = Duration::from_millis(input["debounceMs"].as_u64().unwrap_or(0));
    let start = Instant::now();
    let mut waiting = Debounce::default();
    let mut batches: Vec<Vec<&str>> = Vec::new();
    for item in input["items"].as_array().into_iter().flatten() {
        let (key, body) = (item[1].as_str(), text(&item[2]));
        let now = start + Duration::from_millis(item[0].as_u64().unwrap_or(0));
        batches.extend(waiting.due(now));
        // Every message of Verso has a key; nothing can join one without.
        let joins = key.is_some() && !body.starts_with('!');
        batches.extend(waiting.push(key, body, joins, window, now));
    }
    batches.extend(waiting.due(start + Duration::from_secs(86_400)));
    Ok(json!(batches))
}

fn window(input: &Value) -> Outcome {
    if input.get("overrideMs").is_some_and(|o| !o.is_null()) {
        return Err(LeftOut("2.4 the account's debounceMs is the override"));
    }
    let loaded = load_text(&without_nulls(input).to_string(), &ResolveEnv::new("/home/u", "/home/u/.verso"));
    let config = match loaded {
        Ok(loaded) => loaded.config,
        Err(rejected) => {
            let text: String = rejected.iter().map(|problem| format!("{problem}\n")).collect();
            assert!(text.contains("messages.inbound") || text.contains("debounceMs"), "{text}");
            return Err(LeftOut("2.1 a wrong value is refused by the config"));
        }
    };
    Ok(json!(account_of(&config, &Value::Null)?.rules.debounce.as_millis() as u64))
}

fn window_deviation(input: &Value, _: &Value) -> Option<&'static str> {
    let channel = &input["channels"]["whatsapp"];
    let set = |at: &Value| at["debounceMs"].is_u64();
    let of_account = channel["accounts"].as_object().is_some_and(|accounts| accounts.values().any(set));
    (set(channel) || of_account).then_some("2.4 debounceMs of the channel and the account is honoured")
}
