//! The methods: what each needs, who may call it, and which file answers it.

use serde_json::{Map, Value, json};

use super::auth::Scope;
use super::params::Params;
use super::protocol::{ErrorShape, Features};
use super::server::Api;
use super::{channels, config_edit, config_view, explain, login, logs, overview, pairing, send};
use crate::actors::messages::{ExplainMessage, Refusal, Reload};
use crate::ids::MessageId;

/// Every method with the scope it needs.
const METHODS: &[(&str, Scope)] = &[
    ("health", Scope::Read),
    ("status", Scope::Read),
    ("channels.status", Scope::Read),
    ("system-presence", Scope::Read),
    ("last-heartbeat", Scope::Read),
    ("logs.tail", Scope::Read),
    ("agents.list", Scope::Read),
    ("agent.identity.get", Scope::Read),
    ("sessions.list", Scope::Read),
    ("models.list", Scope::Read),
    ("node.list", Scope::Read),
    ("cron.list", Scope::Read),
    ("cron.status", Scope::Read),
    ("config.get", Scope::Read),
    ("verso.explain", Scope::Read),
    ("send", Scope::Write),
    ("poll", Scope::Write),
    ("message.action", Scope::Write),
    ("device.pair.list", Scope::Pairing),
    ("channels.pairing.list", Scope::Pairing),
    ("channels.pairing.dismiss", Scope::Pairing),
    ("channels.pairing.approve", Scope::Admin),
    ("channels.start", Scope::Admin),
    ("channels.stop", Scope::Admin),
    ("channels.logout", Scope::Admin),
    ("web.login.start", Scope::Admin),
    ("web.login.wait", Scope::Admin),
    ("config.set", Scope::Admin),
    ("config.apply", Scope::Admin),
    ("config.patch", Scope::Admin),
    ("verso.reload", Scope::Admin),
    ("verso.login.cancel", Scope::Admin),
];

/// Every event that may come.
const EVENTS: &[&str] =
    &["connect.challenge", "tick", "health", "presence", "shutdown", "verso.account", "verso.reload"];

/// A connection that has been let in.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The negotiated protocol.
    pub protocol: u64,
    /// The scopes it asked for.
    pub scopes: Vec<String>,
}

/// For `hello-ok`.
pub(super) fn features() -> Features {
    Features { methods: METHODS.iter().map(|(name, _)| *name).collect(), events: EVENTS.to_vec() }
}

/// Verso's own events need `read`; those of the protocol go to all.
pub(super) fn may_see(event: &str, caller: &Caller) -> bool {
    !event.starts_with("verso.") || Scope::Read.granted_by(&caller.scopes)
}

/// Answers one request.
pub(super) async fn call(
    api: &Api,
    caller: &Caller,
    method: &str,
    params: Map<String, Value>,
) -> Result<Value, ErrorShape> {
    let known = METHODS.iter().find(|(name, _)| *name == method);
    let scope = known.map_or(Scope::Admin, |(_, scope)| *scope);
    if !scope.granted_by(&caller.scopes) {
        return Err(ErrorShape::missing_scope(caller.protocol, scope.name()));
    }
    let Some((name, _)) = known else { return Err(ErrorShape::invalid(format!("unknown method: {method}"))) };
    let params = Params::new(name, params);
    match *name {
        "health" => overview::health_now(api).await,
        "status" => overview::status(api).await,
        "channels.status" => overview::channels_status(api, &params).await,
        "system-presence" => Ok(json!(overview::presence(api))),
        // The agents' regular wake-ups have not happened: there are none yet.
        "last-heartbeat" => Ok(Value::Null),
        "agents.list" => Ok(overview::agents(api)),
        "agent.identity.get" => overview::identity(api, &params),
        "sessions.list" => Ok(overview::sessions(api)),
        "models.list" => Ok(json!({"models": []})),
        "node.list" => Ok(json!({"ts": api.clock.now(), "nodes": []})),
        "cron.list" => Ok(json!({"jobs": []})),
        "cron.status" => Ok(json!({"enabled": false, "storePath": "", "jobs": 0, "nextWakeAtMs": null})),
        "config.get" => config_view::get(api).await,
        "config.set" | "config.apply" => config_edit::set(api, &params).await,
        "config.patch" => config_edit::patch(api, &params).await,
        "logs.tail" => logs::tail(api, &params).await,
        "send" => send::send(api, caller, &params).await,
        "poll" => send::poll(api, &params).await,
        "message.action" => send::action(api, caller, &params).await,
        "device.pair.list" => Ok(json!({"pending": [], "paired": []})),
        "channels.pairing.list" => pairing::list(api, &params).await,
        "channels.pairing.dismiss" => pairing::dismiss(api, &params).await,
        "channels.pairing.approve" => pairing::approve(api, &params).await,
        "channels.start" => channels::start(api, &params).await,
        "channels.stop" => channels::stop(api, &params).await,
        "channels.logout" => channels::logout(api, &params).await,
        "web.login.start" => login::start(api, &params).await,
        "web.login.wait" => login::wait(api, &params).await,
        "verso.login.cancel" => login::cancel(api, &params).await,
        "verso.reload" => ask(api.port.reload.send(Reload).await),
        "verso.explain" => {
            let id = MessageId::new(params.required("messageId")?);
            let found = ask(api.port.explain.send(ExplainMessage { id: id.clone() }).await)?;
            Ok(explain::answer(&id, found["rows"].as_array().map_or(&[][..], Vec::as_slice)))
        }
        _ => Err(ErrorShape::invalid(format!("unknown method: {method}"))),
    }
}

/// The answer of the gateway, or why there is none.
pub(super) fn ask<T>(answer: Result<Result<T, Refusal>, actix::MailboxError>) -> Result<T, ErrorShape> {
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(refusal)) => Err(refused(&refusal)),
        Err(_) => Err(ErrorShape::unavailable("the gateway is stopping")),
    }
}

/// A refusal in the words of the wire.
pub(super) fn refused(refusal: &Refusal) -> ErrorShape {
    let text = refusal.to_string();
    match refusal {
        Refusal::UnknownAccount { .. } => ErrorShape::invalid(text).with(json!({"code": "UNKNOWN_ACCOUNT"})),
        Refusal::Invalid(_) => ErrorShape::invalid(text),
        Refusal::NoListener { account } => {
            ErrorShape::unavailable(text).with(json!({"code": "NO_LISTENER", "accountId": account}))
        }
        Refusal::Unavailable(_) => ErrorShape::unavailable(text),
    }
}
