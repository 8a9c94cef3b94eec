//! Sender keys of groups: one file a device at Baileys with the newest state last, one record a member here with the newest first.

use serde_json::{Value, json};
use whatsapp_rust::wacore::libsignal::protocol::{
    SenderChainKeyComponents, SenderKeyRecord, SenderKeyRecordComponents, SenderKeyStateComponents,
    SenderMessageKeyComponents, SenderSigningKeyComponents,
};

use super::bytes::{buffer, bytes};

/// The states of a sender-key file, newest first.
///
/// # Errors
/// What is wrong with it; the member's next message is then asked for again.
pub(super) fn read(file: &Value) -> Result<Vec<SenderKeyStateComponents>, String> {
    // A text inside bytes; before that the list itself.
    let inner: Value;
    let states = match file {
        Value::Array(_) if bytes(file).is_none() => file,
        other => {
            let text = bytes(other).ok_or("it holds no bytes")?;
            inner = serde_json::from_slice(&text).map_err(|_| "it holds no JSON")?;
            &inner
        }
    };
    let states = states.as_array().ok_or("it holds no list")?;
    states.iter().rev().map(|state| read_state(state).ok_or_else(|| "a state lacks something".to_owned())).collect()
}

fn read_state(state: &Value) -> Option<SenderKeyStateComponents> {
    let number = |v: Option<&Value>| v.and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let key = |pointer: &str| state.pointer(pointer).and_then(bytes);
    Some(SenderKeyStateComponents {
        key_id: number(state.get("senderKeyId"))?,
        chain_key: SenderChainKeyComponents {
            iteration: number(state.pointer("/senderChainKey/iteration"))?,
            seed: key("/senderChainKey/seed")?,
        },
        signing_key: SenderSigningKeyComponents {
            public: key("/senderSigningKey/public")?,
            private: key("/senderSigningKey/private").filter(|k| !k.is_empty()),
        },
        message_keys: state
            .get("senderMessageKeys")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|key| {
                Some(SenderMessageKeyComponents {
                    iteration: number(key.get("iteration"))?,
                    seed: key.get("seed").and_then(bytes)?,
                })
            })
            .collect::<Option<_>>()?,
    })
}

/// The record of one member from the states of all the member's devices; the newest of each device first.
///
/// # Errors
/// What is wrong with a state.
pub(super) fn merge(mut devices: Vec<Vec<SenderKeyStateComponents>>) -> Result<Vec<u8>, String> {
    let mut states = Vec::new();
    for turn in 0..devices.iter().map(Vec::len).max().unwrap_or(0) {
        for device in &mut devices {
            if let Some(state) = device.get(turn) {
                states.push(state.clone());
            }
        }
    }
    let record = SenderKeyRecord::from_components(SenderKeyRecordComponents { states }).map_err(|e| e.to_string())?;
    record.serialize().map_err(|e| e.to_string())
}

/// A record of our store as a sender-key file.
///
/// # Errors
/// When the record cannot be read.
pub(super) fn write(record: &[u8]) -> Result<Value, String> {
    let states = SenderKeyRecord::deserialize(record)
        .and_then(SenderKeyRecord::into_components)
        .map_err(|e| e.to_string())?
        .states;
    if states.is_empty() {
        return Err("it has no states".to_owned());
    }
    let list: Vec<Value> = states
        .iter()
        .rev()
        .map(|state| {
            let skipped: Vec<Value> = state
                .message_keys
                .iter()
                .map(|key| json!({"iteration": key.iteration, "seed": buffer(&key.seed)}))
                .collect();
            json!({
                "senderKeyId": state.key_id,
                "senderChainKey": {"iteration": state.chain_key.iteration, "seed": buffer(&state.chain_key.seed)},
                "senderSigningKey": {
                    "public": buffer(&state.signing_key.public),
                    "private": buffer(state.signing_key.private.as_deref().unwrap_or_default()),
                },
                "senderMessageKeys": skipped,
            })
        })
        .collect();
    Ok(buffer(Value::Array(list).to_string().as_bytes()))
}
