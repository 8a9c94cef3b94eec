//! Plain HTTP on the API's port: is it alive, ready, started? No token: the answers say nothing about accounts.

use actix_web::http::StatusCode;
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

/// Ready = at work and the gateway answers. Accounts that are not linked do not make it unready: it waits for the link.
async fn ready(api: web::Data<Api>) -> HttpResponse {
    let phase = api.phase.borrow().clone();
    let mut failing = Vec::new();
    match phase {
        Phase::Ready => {}
        Phase::Starting => failing.push("starting"),
        Phase::Draining(_) => failing.push("draining"),
    }
    if api.status().await.is_none() {
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

fn answer(status: StatusCode, body: &Value) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header(("Cache-Control", "no-store"))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .json(body)
}
