//! Takes the secrets out of a config before anybody is shown it.

use serde_json::{Map, Value};

use crate::disclosure::is_secret_key;

/// Puts `marker` in the place of every secret text and collects what stood there.
pub fn redact(value: &mut Value, marker: &str, secrets: &mut Vec<String>) {
    hide(value, false, marker, secrets);
}

fn hide(value: &mut Value, all: bool, marker: &str, secrets: &mut Vec<String>) {
    match value {
        Value::Object(map) => hide_in(map, all, marker, secrets),
        Value::Array(list) => list.iter_mut().for_each(|v| hide(v, all, marker, secrets)),
        // A reference to the environment is no secret and says where to look.
        Value::String(s) if all && !s.is_empty() && !(s.starts_with("${") && s.ends_with('}')) => {
            secrets.push(std::mem::replace(s, marker.to_owned()));
        }
        _ => {}
    }
}

fn hide_in(map: &mut Map<String, Value>, all: bool, marker: &str, secrets: &mut Vec<String>) {
    for (key, value) in map.iter_mut() {
        let all = all || is_secret_key(key) || key == "headers" || (key == "env" && value.is_object());
        hide(value, all, marker, secrets);
    }
}
