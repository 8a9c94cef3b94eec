//! The handshake: challenge, `connect`, the checks, `hello-ok`.

use actix_ws::{Item, Message, MessageStream, ProtocolError};
use bytes::{Bytes, BytesMut};
use serde_json::json;
use tokio::time::Instant;

use super::out::Out;
use super::{Admission, Connection};
use crate::api::auth::{check_device, check_token, token_digest};
use crate::api::methods::{self, Caller};
use crate::api::overview;
use crate::api::protocol::{
    self, ConnectParams, ErrorShape, FrameError, GrantedAuth, HelloOk, MAX_HANDSHAKE_FRAME, Policy, Presence, Request,
    ServerInfo, close,
};
use crate::api::seats::MAX_CLIENTS;
use crate::api::server::Api;
use crate::api::settings::Settings;

/// Why a handshake ended: the error to answer, then the close.
pub(super) struct Refused {
    pub answer: Option<(String, ErrorShape)>,
    pub code: u16,
    pub reason: String,
}

impl Refused {
    fn silent(code: u16, reason: &str) -> Option<Self> {
        Some(Self { answer: None, code, reason: reason.into() })
    }

    fn with(request: &str, error: ErrorShape) -> Option<Self> {
        Some(Self { reason: error.message.clone(), answer: Some((request.into(), error)), code: close::POLICY })
    }
}

/// Challenges, reads `connect`, checks it and sends `hello-ok`. `Err(None)` = the client left.
pub(super) async fn handshake(
    connection: &Connection,
    stream: &mut MessageStream,
) -> Result<(Caller, Admission), Option<Refused>> {
    let Connection { api, out, id, .. } = connection;
    let nonce = uuid::Uuid::new_v4().to_string();
    out.answer(protocol::event("connect.challenge", &json!({"nonce": nonce, "ts": api.clock.now()}), None, None)).await;
    let first = first_message(stream, out).await?;
    let request = match Request::parse(&first) {
        Ok(request) => request,
        Err(FrameError::Invalid { id: Some(id), reason }) => {
            return Err(Refused::with(&id, ErrorShape::invalid(format!("invalid handshake: {reason}"))));
        }
        Err(_) => return Err(Refused::silent(close::POLICY, "invalid handshake: not a request frame")),
    };
    let refuse = |error: ErrorShape| Refused::with(&request.id, error);
    if request.method != "connect" {
        return Err(refuse(ErrorShape::invalid("invalid handshake: first request must be connect")));
    }
    let params = ConnectParams::parse(request.params.clone())
        .map_err(|why| refuse(ErrorShape::invalid(format!("invalid connect params: {why}"))))?;
    let Some(version) = params.negotiate() else {
        let refused = refuse(versions_differ(&params)).map(|r| Refused { code: close::PROTOCOL, ..r });
        return Err(refused);
    };
    if params.role.as_deref().is_some_and(|r| r != "operator") {
        return Err(refuse(ErrorShape::invalid("invalid role (this gateway serves operators only)")));
    }
    let settings = admit(connection, &params, &nonce).await.map_err(refuse)?;
    let Some(status) = api.recent_status().await else {
        return Err(refuse(ErrorShape::unavailable("the gateway is starting or stopping; try again in a moment")));
    };
    if !connection.seat.promote() {
        return Err(refuse(ErrorShape::unavailable(format!(
            "too many connections: {MAX_CLIENTS} clients are connected; close some of them"
        ))));
    }
    let scopes = if params.scopes.is_empty() { vec!["operator.admin".to_owned()] } else { params.scopes.clone() };
    // One command of a CLI is one short connection: not worth a presence entry.
    if !matches!(params.client.mode.as_str(), "cli" | "probe") {
        api.hub.enter(id, client_presence(api, &params));
    }
    let hello = HelloOk {
        protocol: version,
        server: ServerInfo { version: env!("CARGO_PKG_VERSION").into(), conn_id: id.clone() },
        features: methods::features(),
        snapshot: overview::snapshot(api, &settings, &status),
        auth: GrantedAuth { role: "operator", scopes: scopes.clone() },
        policy: Policy::standard(u64::try_from(api.tick.as_millis()).unwrap_or(u64::MAX)),
    };
    out.answer(protocol::response(&request.id, &Ok(json!(hello)))).await;
    Ok((Caller { protocol: version, scopes }, Admission { token: token_digest(&settings.token) }))
}

/// Checks origin, device proof and token, in this order; a peer that guessed too often waits for its turn first.
async fn admit(connection: &Connection, params: &ConnectParams, nonce: &str) -> Result<Settings, ErrorShape> {
    let Connection { api, from, .. } = connection;
    api.origins().check(from)?;
    let turn = api.lockout.turn(from.peer, Instant::now())?;
    tokio::time::sleep_until(turn).await;
    let settings = (api.settings)();
    let offered = params.auth.token.as_deref();
    let proof = params.device.as_ref().map_or(Ok(()), |d| check_device(params, d, nonce, api.clock.now()));
    match proof.and_then(|()| check_token(&settings.token, offered)) {
        Ok(()) => Ok(settings),
        // Who shows no token guesses nothing.
        Err(error) if offered.is_none_or(str::is_empty) => Err(error),
        Err(error) => Err(api.lockout.note(from.peer, Instant::now()).unwrap_or(error)),
    }
}

fn versions_differ(params: &ConnectParams) -> ErrorShape {
    ErrorShape::invalid("protocol mismatch").with(json!({
        "code": "PROTOCOL_MISMATCH", "expectedProtocol": protocol::MAX_PROTOCOL,
        "clientMinProtocol": params.min_protocol, "clientMaxProtocol": params.max_protocol,
        "minimumProbeProtocol": protocol::MIN_PROTOCOL,
    }))
}

fn client_presence(api: &Api, params: &ConnectParams) -> Presence {
    let name = params.client.display_name.clone().unwrap_or_else(|| params.client.id.clone());
    Presence {
        text: format!("{name} ({})", params.client.platform),
        host: name,
        mode: params.client.mode.clone(),
        reason: "connect".into(),
        version: params.client.version.clone(),
        ts: api.clock.now(),
    }
}

/// The first message, whole, of at most [`MAX_HANDSHAKE_FRAME`] bytes.
async fn first_message(stream: &mut MessageStream, out: &Out) -> Result<Bytes, Option<Refused>> {
    let mut parts = BytesMut::new();
    loop {
        match stream.recv().await {
            Some(Ok(Message::Text(text))) => return Ok(text.into_bytes()),
            Some(Ok(Message::Binary(bytes))) => return Ok(bytes),
            Some(Ok(Message::Continuation(item))) => {
                let (part, done) = match item {
                    Item::FirstText(part) | Item::FirstBinary(part) | Item::Continue(part) => (part, false),
                    Item::Last(part) => (part, true),
                };
                if parts.len() + part.len() > MAX_HANDSHAKE_FRAME {
                    return Err(Refused::silent(close::TOO_BIG, "message too large before hello"));
                }
                parts.extend_from_slice(&part);
                if done {
                    return Ok(parts.freeze());
                }
            }
            Some(Ok(Message::Ping(body))) => out.pong(body),
            Some(Ok(Message::Pong(_) | Message::Nop)) => {}
            Some(Ok(Message::Close(_))) | None => return Err(None),
            Some(Err(ProtocolError::Overflow)) => {
                return Err(Refused::silent(close::TOO_BIG, "message too large before hello"));
            }
            Some(Err(_)) => return Err(None),
        }
    }
}
