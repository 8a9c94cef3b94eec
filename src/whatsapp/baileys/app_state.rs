//! App-state keys and versions (settings that the phone shares with its companions), both ways.

use serde_json::{Map, Value, json};
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::traits::AppStateSyncKey;
use whatsapp_rust::waproto::codec::{app_state_sync_key_fingerprint_decode, app_state_sync_key_fingerprint_to_vec};
use whatsapp_rust::waproto::whatsapp::message::AppStateSyncKeyFingerprint;

use super::bytes::{base64, buffer, bytes, from_base64};

/// Numbers above 32 bits are texts in Baileys' JSON.
pub(super) fn big(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

pub(super) fn read_key(file: &Value) -> Option<AppStateSyncKey> {
    let number = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    let part = file.get("fingerprint");
    let indexes = part.and_then(|p| p.get("deviceIndexes")).and_then(Value::as_array);
    let fingerprint = AppStateSyncKeyFingerprint {
        raw_id: part.and_then(|p| p.get("rawId")).and_then(number),
        current_index: part.and_then(|p| p.get("currentIndex")).and_then(number),
        device_indexes: indexes.into_iter().flatten().filter_map(number).collect(),
    };
    Some(AppStateSyncKey {
        key_data: bytes(file.get("keyData")?)?,
        fingerprint: app_state_sync_key_fingerprint_to_vec(&fingerprint),
        timestamp: file.get("timestamp").and_then(big).unwrap_or(0),
    })
}

pub(super) fn write_key(key: &AppStateSyncKey) -> Value {
    let mut value = json!({"keyData": base64(&key.key_data), "timestamp": key.timestamp.to_string()});
    if let Ok(print) = app_state_sync_key_fingerprint_decode(&key.fingerprint) {
        value["fingerprint"] =
            json!({"rawId": print.raw_id, "currentIndex": print.current_index, "deviceIndexes": print.device_indexes});
    }
    value
}

/// A collection's version and the proofs of what is in it.
pub(super) fn read_version(file: &Value) -> Option<(HashState, Vec<AppStateMutationMAC>)> {
    let state = HashState {
        version: file.get("version")?.as_u64()?,
        hash: bytes(file.get("hash")?)?.try_into().ok()?,
        ..HashState::default()
    };
    let proofs = file.get("indexValueMap").and_then(Value::as_object);
    let proofs = proofs
        .into_iter()
        .flatten()
        .map(|(index, value)| {
            Some(AppStateMutationMAC { index_mac: from_base64(index)?, value_mac: bytes(value.get("valueMac")?)? })
        })
        .collect::<Option<_>>()?;
    Some((state, proofs))
}

pub(super) fn write_version(state: &HashState, proofs: &[(Vec<u8>, Vec<u8>)]) -> Value {
    let map: Map<String, Value> =
        proofs.iter().map(|(index, value)| (base64(index), json!({"valueMac": buffer(value)}))).collect();
    json!({"version": state.version, "hash": buffer(&state.hash), "indexValueMap": map})
}
