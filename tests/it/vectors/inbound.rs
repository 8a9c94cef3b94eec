//! What happens between the journal and the agent: batching of rapid messages.

use std::time::Instant;

use verso::session::debounce::Debounce;

use super::common::*;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "createInboundDebouncer (ms timeline)" => (timeline, NEVER),
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
