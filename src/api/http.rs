//! Plain HTTP on the API's port: is it alive, ready, started? No token: the answers say nothing about accounts.

use actix_web::http::{ConnectionType, StatusCode, header};
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::server::{Api, Phase};

/// Adds the routes.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    for path in ["/health", "/healthz"] {
        config.route(path, web::get().to(live));
    }
    for path in ["/ready", "/readyz"] {
        config.route(path, web::get().to(ready));
    }
    for path in ["/startup", "/startupz"] {
        config.route(path, web::get().to(startup));
    }
}

async fn live() -> HttpResponse {
    answer(StatusCode::OK, &json!({"ok": true, "status": "live"}))
}

/// Ready = at work and the gateway lives; it is not asked, for whoever asks often would keep it from its work. Accounts that are not linked do not make it unready: it waits for the link.
async fn ready(api: web::Data<Api>) -> HttpResponse {
    let phase = api.phase.borrow().clone();
    let mut failing = Vec::new();
    match phase {
        Phase::Ready => {}
        Phase::Starting => failing.push("starting"),
        Phase::Draining(_) => failing.push("draining"),
    }
    if !api.port.status.connected() {
        failing.push("gateway");
    }
    let ready = failing.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, &json!({"ready": ready, "failing": failing}))
}

async fn startup(api: web::Data<Api>) -> HttpResponse {
    let phase = api.phase.borrow().clone();
    match phase {
        Phase::Ready => answer(StatusCode::OK, &json!({"ok": true, "status": "started"})),
        Phase::Starting => answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"ok": false, "status": "starting"})),
        Phase::Draining(_) => answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"ok": false, "status": "draining"})),
    }
}

/// Everything else: the API is a WebSocket.
pub(super) async fn root() -> HttpResponse {
    answer(
        StatusCode::NOT_FOUND,
        &json!({"ok": false, "error": "not found; the API is a WebSocket on this port, health pages are /healthz /readyz /startupz"}),
    )
}

/// 403, and the end of the connection.
pub(super) fn forbidden(why: &str) -> HttpResponse {
    closing(StatusCode::FORBIDDEN, why)
}

/// 429 with the time to wait, in seconds, and the end of the connection.
pub(super) fn too_many(why: &str, retry_after: u64) -> HttpResponse {
    let mut response = closing(StatusCode::TOO_MANY_REQUESTS, why);
    response.headers_mut().insert(header::RETRY_AFTER, retry_after.into());
    response
}

fn closing(status: StatusCode, why: &str) -> HttpResponse {
    let mut response = answer(status, &json!({"ok": false, "error": why}));
    response.head_mut().set_connection_type(ConnectionType::Close);
    response
}

fn answer(status: StatusCode, body: &Value) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header(("Cache-Control", "no-store"))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .json(body)
}
