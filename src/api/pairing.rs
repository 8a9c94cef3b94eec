//! `channels.pairing.*`: the people who asked to be let in. Request ids are stable for as long as a request is pending.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::methods::ask;
use super::params::Params;
use super::protocol::{CHANNEL, CHANNEL_LABEL, ErrorShape};
use super::server::Api;
use crate::actors::messages::{DecidePairing, ListPairing, PairingDecided, PairingRequest};
use crate::clock::UnixMs;
use crate::policy::pairing::{MAX_PENDING, REQUEST_TTL_MS};

fn request_id(request: &PairingRequest) -> String {
    let digest = Sha256::digest(format!("{}\n{}\n{}", request.account, request.sender, request.code));
    digest[..12].iter().map(|b| format!("{b:02x}")).collect()
}

/// A time as clients read it.
pub fn iso(at: UnixMs) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000)
        .ok()
        .and_then(|t| t.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Reads it back.
pub fn parse_iso(text: &str) -> Option<UnixMs> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    UnixMs::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

async fn pending(api: &Api, account: Option<String>) -> Result<Vec<PairingRequest>, ErrorShape> {
    ask(api.port.list_pairing.send(ListPairing { account }).await)
}

/// Lists the pending requests. The code is part of `metadata`, so that strict clients stay content.
pub(super) async fn list(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    params.channel()?;
    let account = params.account()?;
    let requests = pending(api, account).await?;
    let Some(status) = api.status().await else { return Err(ErrorShape::unavailable("the gateway is stopping")) };
    let label = |id: &str| status.accounts.iter().find(|a| a.account_id.as_str() == id).and_then(|a| a.name.clone());
    let accounts: Vec<Value> = status
        .accounts
        .iter()
        .map(|a| {
            let mut entry = json!({
                "channel": CHANNEL, "channelLabel": CHANNEL_LABEL, "accountId": a.account_id, "notifySupported": true,
            });
            if let Some(name) = &a.name {
                entry["accountLabel"] = json!(name);
            }
            entry
        })
        .collect();
    let requests: Vec<Value> = requests
        .iter()
        .map(|r| {
            let mut metadata = json!({"code": r.code});
            if let Some(name) = &r.name {
                metadata["name"] = json!(name);
            }
            let mut entry = json!({
                "requestId": request_id(r), "channel": CHANNEL, "channelLabel": CHANNEL_LABEL,
                "accountId": r.account, "senderId": r.sender, "senderLabel": r.name.as_ref().unwrap_or(&r.sender),
                "metadata": metadata, "createdAt": iso(r.created_at), "lastSeenAt": iso(r.last_seen_at),
                "expiresAt": iso(r.expires_at), "notifySupported": true,
            });
            if let Some(name) = label(r.account.as_str()) {
                entry["accountLabel"] = json!(name);
            }
            entry
        })
        .collect();
    Ok(json!({
        "accounts": accounts,
        "requests": requests,
        "commandOwnerConfigured": status.accounts.iter().any(|a| a.allow_from.iter().any(|n| n != "*")),
        "limits": {"pendingPerAccount": MAX_PENDING, "ttlMs": REQUEST_TTL_MS},
    }))
}

/// By `requestId` (with `accountId`) or, for people, by `code`.
async fn decide(api: &Api, params: &Params, approve: bool) -> Result<(String, PairingDecided), ErrorShape> {
    params.channel()?;
    let account = params.account()?;
    let notify = approve && params.flag("notify")?;
    let (id, code) = match params.text("code")? {
        Some(code) => {
            let known = pending(api, account.clone()).await?;
            let id = known.iter().find(|r| r.code.eq_ignore_ascii_case(&code)).map(request_id).unwrap_or_default();
            (id, code)
        }
        None => {
            let id = params.required("requestId")?;
            let known = pending(api, account.clone()).await?;
            let Some(request) = known.iter().find(|r| request_id(r) == id) else {
                return Err(ErrorShape::invalid(format!("No pending pairing request found for id: {id}")));
            };
            (id, request.code.clone())
        }
    };
    let done = ask(api.port.decide_pairing.send(DecidePairing { account, code, approve, notify }).await)?;
    Ok((id, done))
}

/// Lets a sender in.
pub(super) async fn approve(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    let wanted = params.flag("notify")?;
    let (id, done) = decide(api, params, true).await?;
    let notification = match (wanted, done.notified) {
        (false, _) => "not-requested",
        (true, true) => "sent",
        (true, false) => "failed",
    };
    Ok(json!({
        "requestId": id, "senderId": done.sender, "accountId": done.account, "notification": notification,
        "commandOwnerBootstrap": if params.flag("bootstrapCommandOwner")? { "unavailable" } else { "not-requested" },
    }))
}

/// Refuses a request.
pub(super) async fn dismiss(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    let (id, done) = decide(api, params, false).await?;
    Ok(json!({"requestId": id, "senderId": done.sender, "accountId": done.account}))
}
