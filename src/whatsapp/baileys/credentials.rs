//! `creds.json`: the device itself, both ways.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use whatsapp_rust::wacore::libsignal::protocol::{KeyPair, PrivateKey, PublicKey};
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::waproto::whatsapp::ADVSignedDeviceIdentity;

use super::BaileysError;
use super::bytes::{base64, buffer, bytes, from_base64};
use super::files::CREDENTIALS;
use crate::clock::UnixMs;

/// Makes the device of `creds.json`.
pub(super) fn device(credentials: &Value, dir: &Path, now: UnixMs) -> Result<Device, BaileysError> {
    let bad = |field: &'static str| BaileysError::Field { path: dir.join(CREDENTIALS), field };
    if credentials.get("format").is_some() && ["device", "sealed"].iter().any(|key| credentials.get(key).is_some()) {
        return Err(BaileysError::Ours(dir.to_path_buf()));
    }
    if credentials.get("noiseKey").is_none() && credentials.get("signedIdentityKey").is_none() {
        return Err(BaileysError::Foreign(dir.join(CREDENTIALS)));
    }
    let at = |pointer: &str| credentials.pointer(pointer);
    let number = |pointer: &str| at(pointer).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let text = |pointer: &str| at(pointer).and_then(Value::as_str);
    let key_pair = |field: &'static str, pointer: &str| at(pointer).and_then(read_key_pair).ok_or(bad(field));
    let mut device = Device::new();
    device.noise_key = key_pair("noiseKey", "/noiseKey")?;
    device.identity_key = key_pair("signedIdentityKey", "/signedIdentityKey")?;
    device.signed_pre_key = key_pair("signedPreKey.keyPair", "/signedPreKey/keyPair")?;
    device.signed_pre_key_id = number("/signedPreKey/keyId").ok_or(bad("signedPreKey.keyId"))?;
    device.signed_pre_key_signature = at("/signedPreKey/signature")
        .and_then(bytes)
        .and_then(|b| b.try_into().ok())
        .ok_or(bad("signedPreKey.signature"))?;
    device.registration_id = number("/registrationId").ok_or(bad("registrationId"))?;
    device.adv_secret_key =
        text("/advSecretKey").and_then(from_base64).and_then(|b| b.try_into().ok()).ok_or(bad("advSecretKey"))?;
    if at("/me/id").is_none() {
        return Err(BaileysError::NeverLinked(dir.to_path_buf()));
    }
    device.pn = Some(text("/me/id").and_then(|id| id.parse().ok()).ok_or(bad("me.id"))?);
    device.lid = text("/me/lid").and_then(|lid| lid.parse().ok());
    device.push_name = text("/me/name").unwrap_or_default().to_owned();
    device.account = Some(Arc::new(read_account(at("/account")).ok_or(bad("account"))?));
    device.next_pre_key_id = number("/nextPreKeyId").ok_or(bad("nextPreKeyId"))?;
    device.first_unupload_pre_key_id =
        number("/firstUnuploadedPreKeyId").ok_or(bad("firstUnuploadedPreKeyId"))?.min(device.next_pre_key_id);
    device.server_has_prekeys = true;
    device.edge_routing_info = at("/routingInfo").and_then(bytes).filter(|b| !b.is_empty());
    // It served until now; the next change comes when one of ours would.
    device.last_signed_pre_key_rotation_ms = now;
    Ok(device)
}

/// `{public, private}`; the public half may carry the type byte. Halves that do not fit are damaged: WhatsApp would take the device for a
/// stranger and log it out.
pub(super) fn read_key_pair(value: &Value) -> Option<KeyPair> {
    let public = PublicKey::from_stored_public_key_bytes(&bytes(value.get("public")?)?).ok()?;
    let private = PrivateKey::deserialize(&bytes(value.get("private")?)?).ok()?;
    (private.public_key().ok()? == public).then(|| KeyPair::new(public, private))
}

pub(super) fn write_key_pair(pair: &KeyPair) -> Value {
    json!({"private": buffer(pair.private_key.serialize().as_ref()), "public": buffer(pair.public_key.public_key_bytes())})
}

fn read_account(account: Option<&Value>) -> Option<ADVSignedDeviceIdentity> {
    let part = |key: &str| account?.get(key).and_then(bytes).filter(|b| !b.is_empty());
    Some(ADVSignedDeviceIdentity {
        details: Some(part("details")?),
        account_signature_key: part("accountSignatureKey"),
        account_signature: Some(part("accountSignature")?),
        device_signature: part("deviceSignature"),
    })
}

/// `creds.json` of a device. `last_sync_key` is the app-state key in use.
pub(super) fn write(device: &Device, last_sync_key: Option<&[u8]>) -> Option<Value> {
    let pn = device.pn.as_ref()?;
    let account = device.account.as_deref()?;
    let mut me = json!({"id": pn.to_string()});
    if let Some(lid) = &device.lid {
        me["lid"] = lid.to_string().into();
    }
    if !device.push_name.is_empty() {
        me["name"] = device.push_name.clone().into();
    }
    let part = |bytes: Option<&[u8]>| bytes.map(buffer);
    let phone_key = account.account_signature_key.as_deref();
    let mut credentials = json!({
        "noiseKey": write_key_pair(&device.noise_key),
        // It only serves while a device is linked by a code.
        "pairingEphemeralKeyPair": write_key_pair(&Device::new().noise_key),
        "signedIdentityKey": write_key_pair(&device.identity_key),
        "signedPreKey": {
            "keyPair": write_key_pair(&device.signed_pre_key),
            "signature": buffer(&device.signed_pre_key_signature),
            "keyId": device.signed_pre_key_id,
        },
        "registrationId": device.registration_id,
        "advSecretKey": base64(&device.adv_secret_key),
        "processedHistoryMessages": [],
        "nextPreKeyId": device.next_pre_key_id,
        "firstUnuploadedPreKeyId": device.first_unupload_pre_key_id,
        // Above zero: Baileys does not wait for a history that will not come.
        "accountSyncCounter": 1,
        "accountSettings": {"unarchiveChats": false},
        "registered": true,
        "account": {
            "details": part(account.details.as_deref()),
            "accountSignatureKey": part(phone_key),
            "accountSignature": part(account.account_signature.as_deref()),
            "deviceSignature": part(account.device_signature.as_deref()),
        },
        "me": me,
        "signalIdentities": phone_key.map(|key| {
            let owner = device.lid.as_ref().unwrap_or(pn).to_string();
            json!({"identifier": {"name": owner, "deviceId": 0}, "identifierKey": buffer(&with_type(key))})
        }).into_iter().collect::<Vec<_>>(),
    });
    if let Some(key) = last_sync_key {
        credentials["myAppStateKeyId"] = base64(key).into();
    }
    if let Some(routing) = &device.edge_routing_info {
        credentials["routingInfo"] = buffer(routing);
    }
    Some(credentials)
}

/// A public key with the byte that names its kind.
pub(super) fn with_type(key: &[u8]) -> Vec<u8> {
    if key.len() == 32 { [&[5], key].concat() } else { key.to_vec() }
}
