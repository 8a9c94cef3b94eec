//! The door before everything else: who asks from a foreign page or by a foreign name gets 403, whatever was asked for.
//!
//! It stands before the WebSocket upgrade and the health pages, so a page on the web costs the gateway one small answer per request: no
//! challenge, no open connection, no question to any actor.

use std::net::SocketAddr;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName};
use actix_web::middleware::Next;
use actix_web::web;

use super::auth::Provenance;
use super::http;
use super::server::Api;

/// Where a request came from, as its head says.
pub(super) fn provenance(head: &RequestHead, peer: Option<SocketAddr>) -> Provenance {
    let text = |name: HeaderName| head.headers().get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let is = |name: &'static str, values: &[&str]| {
        let value = text(HeaderName::from_static(name)).unwrap_or_default();
        values.iter().any(|v| value.eq_ignore_ascii_case(v))
    };
    Provenance {
        host: text(header::HOST).or_else(|| head.uri.authority().map(ToString::to_string)).unwrap_or_default(),
        origin: text(header::ORIGIN),
        // A link that somebody follows shows the answer to nobody but them.
        cross_site: is("sec-fetch-site", &["cross-site", "same-site"]) && !is("sec-fetch-mode", &["navigate"]),
        peer: peer.map(|a| a.ip()),
    }
}

/// Lets a request in or answers 403 and closes.
pub(super) async fn check<B: MessageBody + 'static>(
    api: web::Data<Api>,
    request: ServiceRequest,
    next: Next<B>,
) -> actix_web::Result<ServiceResponse<EitherBody<B>>> {
    let from = provenance(request.head(), request.peer_addr());
    match api.origins().check(&from) {
        Ok(()) => Ok(next.call(request).await?.map_into_left_body()),
        Err(refused) => Ok(request.into_response(http::forbidden(&refused.message)).map_into_right_body()),
    }
}
