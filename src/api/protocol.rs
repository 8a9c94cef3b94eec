//! What crosses the wire: frames, `connect`, `hello-ok`, errors. Compatible with protocol 3 and 4; nothing here is a domain type.
//!
//! Absent fields are left out instead of written as `null`: a protocol-3 client drops frames whose shape it does not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::disclosure;

/// Lowest protocol that is spoken.
pub const MIN_PROTOCOL: u64 = 3;
/// Highest protocol that is spoken.
pub const MAX_PROTOCOL: u64 = 4;
/// Largest frame before `hello-ok`, in bytes.
pub const MAX_HANDSHAKE_FRAME: usize = 64 * 1024;
/// Largest frame after `hello-ok`, in bytes.
pub const MAX_FRAME: usize = 25 * 1024 * 1024;
/// Bytes that a client may expect to be buffered for it.
pub const MAX_BUFFERED: usize = 50 * 1024 * 1024;
/// Time between two `tick` events, in milliseconds.
pub const TICK_INTERVAL_MS: u64 = 30_000;
/// The only channel.
pub const CHANNEL: &str = "whatsapp";
/// Its name for people.
pub const CHANNEL_LABEL: &str = "WhatsApp";

/// Error codes that clients know.
pub mod code {
    /// It will never work this way.
    pub const INVALID_REQUEST: &str = "INVALID_REQUEST";
    /// It was tried, or cannot be tried now.
    pub const UNAVAILABLE: &str = "UNAVAILABLE";
    /// The connection lacks a scope (protocol 4).
    pub const FORBIDDEN: &str = "FORBIDDEN";
    /// A device is needed or not known.
    pub const NOT_PAIRED: &str = "NOT_PAIRED";
}

/// Close codes of the WebSocket.
pub mod close {
    /// Versions do not meet.
    pub const PROTOCOL: u16 = 1002;
    /// Refused: handshake, token, origin, slow consumer.
    pub const POLICY: u16 = 1008;
    /// A frame was too large.
    pub const TOO_BIG: u16 = 1009;
    /// The gateway stops.
    pub const RESTART: u16 = 1012;
}

/// One request of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Opaque; repeated in the response.
    pub id: String,
    /// What is asked for.
    pub method: String,
    /// Its parameters; `{}` when absent.
    pub params: Map<String, Value>,
}

/// Why a frame is not a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not JSON or not an object: there is no id to answer to.
    #[error("not a JSON object")]
    NotJson,
    /// A request with an id, but wrong in itself.
    #[error("invalid request frame: {reason}")]
    Invalid {
        /// The id to answer to, when there is one.
        id: Option<String>,
        /// What is wrong.
        reason: String,
    },
}

impl Request {
    /// Reads a text or binary frame.
    ///
    /// # Errors
    /// [`FrameError`] says whether the frame can be answered.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let Ok(Value::Object(mut frame)) = serde_json::from_slice(bytes) else { return Err(FrameError::NotJson) };
        let text = |frame: &Map<String, Value>, key: &str| match frame.get(key) {
            Some(Value::String(s)) if !s.is_empty() => Some(s.clone()),
            _ => None,
        };
        let id = text(&frame, "id");
        let wrong = |reason: &str| FrameError::Invalid { id: id.clone(), reason: reason.to_owned() };
        if text(&frame, "type").as_deref() != Some("req") {
            return Err(wrong("at /type: must be \"req\""));
        }
        let Some(method) = text(&frame, "method") else { return Err(wrong("at /method: must be a non-empty string")) };
        let params = match frame.remove("params") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(params)) => params,
            Some(_) => return Err(wrong("at /params: must be an object")),
        };
        let Some(id) = id else {
            return Err(FrameError::Invalid { id: None, reason: "at /id: must be a non-empty string".into() });
        };
        Ok(Self { id, method, params })
    }
}

/// An error as clients read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorShape {
    /// One of [`code`].
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Facts for programs; `code` inside tells clients whether to come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Value>>,
    /// The same request may work later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// When to try again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ErrorShape {
    fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), details: None, retryable: None, retry_after_ms: None }
    }

    /// A request that will never work.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_REQUEST, message)
    }

    /// A request that could not be carried out now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { retryable: Some(true), ..Self::new(code::UNAVAILABLE, message) }
    }

    /// A connection without a device that needs one.
    pub fn not_paired(message: impl Into<String>) -> Self {
        Self::new(code::NOT_PAIRED, message)
    }

    /// A missing scope, in the form of the negotiated protocol.
    pub fn missing_scope(protocol: u64, scope: &str) -> Self {
        let message = format!("missing scope: {scope}");
        if protocol < 4 {
            return Self::invalid(message);
        }
        Self::new(code::FORBIDDEN, message)
            .with(json!({"code": "MISSING_SCOPE", "missingScope": scope, "requiredScopes": [scope]}))
    }

    /// Adds details.
    #[must_use]
    pub fn with(mut self, details: Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }
}

/// Writes a response frame.
pub fn response(id: &str, result: &Result<Value, ErrorShape>) -> String {
    let (ok, name, mut said) = match result {
        Ok(payload) => (true, "payload", payload.clone()),
        Err(error) => (false, "error", json!(error)),
    };
    disclosure::mask_value(&mut said);
    json!({"type": "res", "id": id, "ok": ok, name: said}).to_string()
}

/// Counters that let a client see which of two snapshots is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StateVersion {
    /// Of `presence`.
    pub presence: u64,
    /// Of `health`.
    pub health: u64,
}

/// Writes an event frame; `seq` counts broadcast events of one connection from 1.
pub fn event(name: &str, payload: &Value, seq: Option<u64>, version: Option<StateVersion>) -> String {
    let mut said = payload.clone();
    disclosure::mask_value(&mut said);
    let mut frame = json!({"type": "event", "event": name, "payload": said});
    if let Some(seq) = seq {
        frame["seq"] = json!(seq);
    }
    if let Some(version) = version {
        frame["stateVersion"] = json!(version);
    }
    frame.to_string()
}

/// Parameters of `connect`. Unknown keys are ignored: newer clients add some.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ConnectParams {
    pub min_protocol: u64,
    pub max_protocol: u64,
    pub client: ClientInfo,
    pub role: Option<String>,
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default)]
    pub auth: ConnectAuth,
    pub device: Option<DeviceProof>,
}

/// Who connects.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ClientInfo {
    pub id: String,
    pub version: String,
    pub platform: String,
    pub mode: String,
    pub display_name: Option<String>,
    pub device_family: Option<String>,
    pub instance_id: Option<String>,
}

/// The secret that a client shows.
#[derive(Clone, Default, Deserialize)]
pub struct ConnectAuth {
    /// The shared token.
    pub token: Option<String>,
}

impl std::fmt::Debug for ConnectAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConnectAuth(token: {})", if self.token.is_some() { "***" } else { "none" })
    }
}

/// A client's proof that it holds its device key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceProof {
    /// Lower-case hex SHA-256 of the public key.
    pub id: String,
    /// Raw Ed25519 public key, base64url without padding.
    pub public_key: String,
    /// Ed25519 signature, base64url without padding.
    pub signature: String,
    /// Milliseconds since 1970.
    pub signed_at: i64,
    /// The nonce of this connection's challenge.
    pub nonce: Option<String>,
}

impl ConnectParams {
    /// Reads the parameters.
    ///
    /// # Errors
    /// The reason, to follow `invalid connect params: `.
    pub fn parse(params: Map<String, Value>) -> Result<Self, String> {
        let parsed: Self = serde_json::from_value(Value::Object(params)).map_err(|e| e.to_string())?;
        if parsed.min_protocol == 0 || parsed.max_protocol == 0 {
            return Err("at /minProtocol: must be >= 1".into());
        }
        let client = &parsed.client;
        for (name, value) in [("id", &client.id), ("mode", &client.mode), ("platform", &client.platform)] {
            if value.is_empty() {
                return Err(format!("at /client/{name}: must not be empty"));
            }
        }
        Ok(parsed)
    }

    /// The highest protocol both sides speak.
    pub fn negotiate(&self) -> Option<u64> {
        let best = self.max_protocol.min(MAX_PROTOCOL);
        (best >= self.min_protocol.max(MIN_PROTOCOL)).then_some(best)
    }
}

/// Answer to `connect`, in the full form that strict decoders need.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase", tag = "type", rename = "hello-ok")]
#[allow(missing_docs)]
pub struct HelloOk {
    pub protocol: u64,
    pub server: ServerInfo,
    pub features: Features,
    pub snapshot: Snapshot,
    pub auth: GrantedAuth,
    pub policy: Policy,
}

/// Who answers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct ServerInfo {
    pub version: String,
    pub conn_id: String,
}

/// What can be asked for and what may come.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Features {
    pub methods: Vec<&'static str>,
    pub events: Vec<&'static str>,
}

/// The state at the time of the connect.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Snapshot {
    pub presence: Vec<Presence>,
    pub health: Value,
    pub state_version: StateVersion,
    pub uptime_ms: i64,
    pub session_defaults: SessionDefaults,
}

/// One entry of `system-presence`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Presence {
    pub host: String,
    pub mode: String,
    pub reason: String,
    pub text: String,
    pub version: String,
    pub ts: i64,
}

/// Which session a client opens first.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct SessionDefaults {
    pub default_agent_id: String,
    pub main_key: String,
    pub main_session_key: String,
    pub scope: &'static str,
}

/// What the connection may do.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct GrantedAuth {
    pub role: &'static str,
    pub scopes: Vec<String>,
}

/// Limits of the connection.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Policy {
    pub max_payload: usize,
    pub max_buffered_bytes: usize,
    pub tick_interval_ms: u64,
}

impl Policy {
    /// What every connection gets.
    pub fn standard(tick_interval_ms: u64) -> Self {
        Self { max_payload: MAX_FRAME, max_buffered_bytes: MAX_BUFFERED, tick_interval_ms }
    }
}

/// One account as `channels.status` shows it; the CLI reads it back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ChannelAccount {
    pub account_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub enabled: bool,
    pub configured: bool,
    pub linked: bool,
    pub running: bool,
    pub connected: bool,
    pub state: String,
    pub state_text: String,
    pub next_step: Option<String>,
    pub reconnect_attempts: u32,
    pub sockets_opened: u64,
    pub last_connected_at: Option<i64>,
    pub last_disconnect: Option<Value>,
    pub last_message_at: Option<i64>,
    pub last_event_at: Option<i64>,
    pub last_error: Option<String>,
    pub last_start_at: Option<i64>,
    pub last_stop_at: Option<i64>,
    pub last_inbound_at: Option<i64>,
    pub last_outbound_at: Option<i64>,
    pub auth_age_ms: Option<i64>,
    #[serde(rename = "self")]
    pub own: OwnIdentity,
    pub dm_policy: String,
    pub allow_from: Vec<String>,
    pub counters: BTreeMap<String, u64>,
    /// Verso: how runs ended since the start, by agent: `outcomes` by code, `lastError`, and whether nothing went well since (`failing`).
    pub agents: BTreeMap<String, disclosure::RunTally>,
    /// Verso: why the credentials could not be written to disk; absent when they are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsaved: Option<String>,
    /// Verso: whether the phone behind the link was seen lately.
    pub phone: crate::policy::phone_watch::PhoneSeen,
    /// Verso: what waits in the outbox (`waiting`), and what failed and expired since the start.
    pub outbox: crate::store::journal::OutboxCounts,
    /// Verso: direct chats in which the agent keeps silent because the owner takes part (`chats`), and until when at the latest (`until`).
    pub handover: crate::policy::handover::HandoverCount,
    /// Verso: nothing leaves the account (`channels.whatsapp.listenOnly`).
    pub listen_only: bool,
    /// Verso: chats with a person in which no phone has confirmed what was sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unconfirmed: Vec<crate::actors::messages::UnconfirmedChat>,
    /// Verso: messages that it failed at or that nobody can read (`total`, `newest`); absent when there is none.
    #[serde(skip_serializing_if = "nothing_aside")]
    pub set_aside: crate::store::journal::SetAside,
    /// Verso: what was given up because the account was linked to another number; absent without, and after a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gave_up: Option<crate::store::journal::GaveUp>,
}

fn nothing_aside(aside: &crate::store::journal::SetAside) -> bool {
    aside.total == 0
}

/// Who an account is on WhatsApp.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct OwnIdentity {
    pub e164: Option<String>,
    pub jid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lid: Option<String>,
}

/// Something the owner should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct StatusIssue {
    pub channel: String,
    pub account_id: String,
    pub kind: String,
    pub message: String,
    pub fix: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_tolerantly_and_refused_with_a_reason() {
        let ok = Request::parse(br#"{"type":"req","id":"2:x","method":"health","extra":1}"#).unwrap();
        assert_eq!((ok.id.as_str(), ok.method.as_str(), ok.params.len()), ("2:x", "health", 0));
        assert_eq!(Request::parse(b"hello"), Err(FrameError::NotJson));
        assert_eq!(Request::parse(b"[1]"), Err(FrameError::NotJson));
        for (frame, id, word) in [
            (r#"{"type":"req","id":"1"}"#, Some("1"), "/method"),
            (r#"{"type":"req","id":"1","method":"x","params":[]}"#, Some("1"), "/params"),
            (r#"{"type":"event","id":"1","method":"x"}"#, Some("1"), "/type"),
            (r#"{"type":"req","id":"","method":"x"}"#, None, "/id"),
        ] {
            let FrameError::Invalid { id: got, reason } = Request::parse(frame.as_bytes()).unwrap_err() else {
                panic!("{frame}")
            };
            assert_eq!(got.as_deref(), id);
            assert!(reason.contains(word), "{reason}");
        }
    }

    #[test]
    fn the_highest_common_protocol_wins() {
        let with = |min: u64, max: u64| {
            let params = json!({"minProtocol": min, "maxProtocol": max,
                "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"}});
            let Value::Object(params) = params else { unreachable!() };
            ConnectParams::parse(params).unwrap().negotiate()
        };
        assert_eq!(with(3, 3), Some(3));
        assert_eq!(with(4, 4), Some(4));
        assert_eq!(with(3, 4), Some(4));
        assert_eq!(with(1, 9), Some(4));
        assert_eq!(with(1, 2), None);
        assert_eq!(with(5, 9), None);
        assert_eq!(with(4, 3), None);
    }

    #[test]
    fn connect_params_name_what_is_missing() {
        let Value::Object(params) = json!({"minProtocol": 3, "maxProtocol": 3, "client": {"id": "cli"}}) else {
            unreachable!()
        };
        assert!(ConnectParams::parse(params).unwrap_err().contains("version"));
    }

    #[test]
    fn frames_leave_absent_fields_out() {
        insta::assert_snapshot!(response("1", &Err(ErrorShape::invalid("unknown method: x"))),
            @r#"{"type":"res","id":"1","ok":false,"error":{"code":"INVALID_REQUEST","message":"unknown method: x"}}"#);
        insta::assert_snapshot!(response("1", &Ok(json!({"a": 1}))),
            @r#"{"type":"res","id":"1","ok":true,"payload":{"a":1}}"#);
        insta::assert_snapshot!(event("tick", &json!({"ts": 5}), None, None),
            @r#"{"type":"event","event":"tick","payload":{"ts":5}}"#);
        insta::assert_snapshot!(event("health", &json!({}), Some(3), Some(StateVersion { presence: 1, health: 2 })),
            @r#"{"type":"event","event":"health","payload":{},"seq":3,"stateVersion":{"presence":1,"health":2}}"#);
        insta::assert_snapshot!(response("1", &Err(ErrorShape::missing_scope(4, "operator.write"))),
            @r#"{"type":"res","id":"1","ok":false,"error":{"code":"FORBIDDEN","message":"missing scope: operator.write","details":{"code":"MISSING_SCOPE","missingScope":"operator.write","requiredScopes":["operator.write"]}}}"#);
    }
}
