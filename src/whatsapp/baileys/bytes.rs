//! Bytes in Baileys' JSON: `{"type":"Buffer","data":"<base64>"}` today, arrays and numbered objects in older files.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Map, Value, json};

/// Reads bytes in any spelling that Baileys ever wrote.
pub(super) fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => from_base64(text),
        Value::Array(numbers) => numbers.iter().map(byte).collect(),
        Value::Object(map) if is_buffer(map) => match map.get("data").or_else(|| map.get("value")) {
            Some(data) => bytes(data),
            None => Some(Vec::new()),
        },
        Value::Object(map) => numbered(map),
        _ => None,
    }
}

fn is_buffer(map: &Map<String, Value>) -> bool {
    map.get("type").is_some_and(|t| t == "Buffer") || map.get("buffer").is_some_and(|b| b == true)
}

/// `{"0":12,"1":7}`: what `JSON.stringify` makes of a bare `Uint8Array`.
fn numbered(map: &Map<String, Value>) -> Option<Vec<u8>> {
    let mut found = vec![None; map.len()];
    for (key, value) in map {
        *found.get_mut(key.parse::<usize>().ok()?)? = Some(byte(value)?);
    }
    found.into_iter().collect()
}

fn byte(value: &Value) -> Option<u8> {
    value.as_u64().and_then(|n| u8::try_from(n).ok())
}

pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes as today's Baileys writes them.
pub(super) fn buffer(bytes: &[u8]) -> Value {
    json!({"type": "Buffer", "data": base64(bytes)})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_bytes_is_read() {
        let spellings = [
            json!({"type": "Buffer", "data": "AQL/"}),
            json!({"type": "Buffer", "data": [1, 2, 255]}),
            json!({"buffer": true, "value": "AQL/"}),
            json!({"0": 1, "2": 255, "1": 2}),
            json!([1, 2, 255]),
            json!("AQL/"),
        ];
        for value in spellings {
            assert_eq!(bytes(&value), Some(vec![1, 2, 255]), "{value}");
        }
        assert_eq!(bytes(&buffer(&[1, 2, 255])), Some(vec![1, 2, 255]));
        for value in [json!(7), json!([256]), json!({"0": 1, "5": 2}), json!("§"), json!({"a": 1}), json!(null)] {
            assert_eq!(bytes(&value), None, "{value}");
        }
    }
}
