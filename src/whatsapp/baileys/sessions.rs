//! Session files: libsignal-node's `SessionRecord` as JSON, both ways. The conversion of the ratchet itself is the library's.

use serde_json::{Map, Value, json};
use whatsapp_rust::bytes::Bytes;
use whatsapp_rust::wacore::libsignal::protocol::{
    IdentityKey, LegacyIndexedSessionV1, LegacySessionBaseKeyRoleV1, LegacySessionChainCounterV1,
    LegacySessionChainKeyV1, LegacySessionChainRoleV1, LegacySessionChainV1, LegacySessionDispositionV1,
    LegacySessionIndexV1, LegacySessionKeyPairV1, LegacySessionLocalContext, LegacySessionMessageKeyV1,
    LegacySessionPendingPreKeyV1, LegacySessionRatchetV1, LegacySessionRecordV1, LegacySessionV1, SessionRecord,
};
use whatsapp_rust::wacore::store::Device;

use super::bytes::{base64, bytes, from_base64};

/// Translates a session file into the record that our store keeps.
///
/// # Errors
/// What is wrong with it; the peer then has to set up a new session.
pub(super) fn read(file: &Value, device: &Device) -> Result<Vec<u8>, String> {
    let sessions = file.get("_sessions").and_then(Value::as_object).ok_or("it has no sessions")?;
    // Before version 1 the number stood beside the sessions.
    let shared_registration = file.get("registrationId");
    let sessions = sessions
        .iter()
        .map(|(key, session)| {
            Ok(LegacyIndexedSessionV1 {
                index_key: from_base64(key).ok_or("a session has an odd key")?.into(),
                session: read_session(session, shared_registration).ok_or("a session lacks something")?,
            })
        })
        .collect::<Result<Vec<_>, &str>>()?;
    if sessions.is_empty() {
        return Err("it has no sessions".to_owned());
    }
    let local = LegacySessionLocalContext {
        identity_key: IdentityKey::new(device.identity_key.public_key),
        registration_id: device.registration_id,
    };
    let record = LegacySessionRecordV1::from_indexed_sessions(sessions)
        .and_then(|record| record.into_session_record(local))
        .map_err(|e| e.to_string())?;
    record.serialize().map_err(|e| e.to_string())
}

fn read_session(value: &Value, shared_registration: Option<&Value>) -> Option<LegacySessionV1> {
    let at = |pointer: &str| value.pointer(pointer);
    let key = |pointer: &str| at(pointer).and_then(bytes).map(Bytes::from);
    let small = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    let pending = match at("/pendingPreKey") {
        None | Some(Value::Null) => None,
        Some(pending) => Some(LegacySessionPendingPreKeyV1 {
            pre_key_id: pending.get("preKeyId").and_then(small),
            signed_pre_key_id: pending.get("signedKeyId").and_then(small)?,
            base_key: key("/pendingPreKey/baseKey")?,
        }),
    };
    Some(LegacySessionV1 {
        registration_id: at("/registrationId").or(shared_registration).and_then(small)?,
        ratchet: LegacySessionRatchetV1 {
            key_pair: LegacySessionKeyPairV1 {
                public: key("/currentRatchet/ephemeralKeyPair/pubKey")?,
                private: key("/currentRatchet/ephemeralKeyPair/privKey")?,
            },
            last_remote_ephemeral_key: key("/currentRatchet/lastRemoteEphemeralKey")?,
            previous_counter: at("/currentRatchet/previousCounter")?.as_i64()?,
            root_key: key("/currentRatchet/rootKey")?,
        },
        index: LegacySessionIndexV1 {
            base_key: key("/indexInfo/baseKey")?,
            base_key_role: LegacySessionBaseKeyRoleV1::try_from(small(at("/indexInfo/baseKeyType")?)?).ok()?,
            disposition: LegacySessionDispositionV1::from_closed_timestamp(at("/indexInfo/closed")?.as_i64()?).ok()?,
            used_at_ms: at("/indexInfo/used").and_then(Value::as_u64).unwrap_or(0),
            created_at_ms: at("/indexInfo/created").and_then(Value::as_u64).unwrap_or(0),
            remote_identity_key: key("/indexInfo/remoteIdentityKey")?,
        },
        chains: at("/_chains")?.as_object()?.iter().map(read_chain).collect::<Option<_>>()?,
        pending_pre_key: pending,
    })
}

fn read_chain((ratchet_key, chain): (&String, &Value)) -> Option<LegacySessionChainV1> {
    let role = u32::try_from(chain.get("chainType")?.as_u64()?).ok()?;
    let key = match chain.pointer("/chainKey/key") {
        None | Some(Value::Null) => None,
        Some(key) => Some(bytes(key)?.into()),
    };
    let skipped = chain.get("messageKeys").and_then(Value::as_object);
    Some(LegacySessionChainV1 {
        ratchet_key: from_base64(ratchet_key)?.into(),
        role: LegacySessionChainRoleV1::try_from(role).ok()?,
        chain_key: LegacySessionChainKeyV1 {
            counter: LegacySessionChainCounterV1::new(chain.pointer("/chainKey/counter")?.as_i64()?).ok()?,
            key,
        },
        message_keys: skipped
            .into_iter()
            .flatten()
            .map(|(index, seed)| {
                Some(LegacySessionMessageKeyV1 { index: index.parse().ok()?, seed: bytes(seed)?.into() })
            })
            .collect::<Option<_>>()?,
    })
}

/// Translates a record of our store into a session file. Sending goes on after every key that may have been used.
///
/// # Errors
/// What cannot be said in Baileys' form; the peer then has to set up a new session.
pub(super) fn write(record: &[u8]) -> Result<Value, String> {
    let record = SessionRecord::deserialize(record)
        .map_err(|e| e.to_string())?
        .into_legacy_session_v1_operational()
        .map_err(|e| e.to_string())?;
    let sessions: Map<String, Value> =
        record.indexed_sessions().iter().map(|s| (base64(&s.index_key), write_session(&s.session))).collect();
    if sessions.is_empty() {
        return Err("it has no sessions".to_owned());
    }
    Ok(json!({"_sessions": sessions, "version": "v1"}))
}

fn write_session(session: &LegacySessionV1) -> Value {
    let index = &session.index;
    let chains: Map<String, Value> = session.chains.iter().map(write_chain).collect();
    let mut value = json!({
        "registrationId": session.registration_id,
        "currentRatchet": {
            "ephemeralKeyPair": {
                "pubKey": base64(&session.ratchet.key_pair.public),
                "privKey": base64(&session.ratchet.key_pair.private),
            },
            "lastRemoteEphemeralKey": base64(&session.ratchet.last_remote_ephemeral_key),
            "previousCounter": session.ratchet.previous_counter,
            "rootKey": base64(&session.ratchet.root_key),
        },
        "indexInfo": {
            "baseKey": base64(&index.base_key),
            "baseKeyType": match index.base_key_role {
                LegacySessionBaseKeyRoleV1::Local => 1,
                LegacySessionBaseKeyRoleV1::Remote => 2,
            },
            "closed": index.disposition.closed_timestamp(),
            "used": index.used_at_ms,
            "created": index.created_at_ms,
            "remoteIdentityKey": base64(&index.remote_identity_key),
        },
        "_chains": chains,
    });
    if let Some(pending) = &session.pending_pre_key {
        value["pendingPreKey"] =
            json!({"signedKeyId": pending.signed_pre_key_id, "baseKey": base64(&pending.base_key)});
        if let Some(id) = pending.pre_key_id {
            value["pendingPreKey"]["preKeyId"] = id.into();
        }
    }
    value
}

fn write_chain(chain: &LegacySessionChainV1) -> (String, Value) {
    let skipped: Map<String, Value> =
        chain.message_keys.iter().map(|key| (key.index.to_string(), base64(&key.seed).into())).collect();
    let mut chain_key = json!({"counter": chain.chain_key.counter.value()});
    if let Some(key) = &chain.chain_key.key {
        chain_key["key"] = base64(key).into();
    }
    let role = match chain.role {
        LegacySessionChainRoleV1::Sending => 1,
        LegacySessionChainRoleV1::Receiving => 2,
    };
    (base64(&chain.ratchet_key), json!({"chainKey": chain_key, "chainType": role, "messageKeys": skipped}))
}
