//! One WebSocket connection: challenge, `connect`, then requests side by side, pushed events, ticks, and a bounded way out.

mod handshake;
mod out;

use std::sync::Arc;
use std::time::Duration;

use actix_web::guard::{Guard, GuardContext};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, MessageStream, ProtocolError};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::auth::{Provenance, token_digest};
use super::hub::Push;
use super::lockout::RETRY_AFTER;
use super::methods::{self, Caller};
use super::protocol::{self, ErrorShape, FrameError, MAX_FRAME, MAX_HANDSHAKE_FRAME, Request, close};
use super::seats::Seat;
use super::server::{Api, Phase};
use super::{door, http};
use handshake::handshake;
use out::Out;

/// Requests of one connection that run at the same time; more wait unread.
const MAX_RUNNING: usize = 64;
/// Ticks without any sign of life, or without a frame taken, after which a client is gone.
const SILENT_TICKS: u32 = 3;
/// How long running requests may take when the gateway stops.
const DRAIN: Duration = Duration::from_secs(1);

/// How long a client may take for the close frame and its own.
const FAREWELL: Duration = Duration::from_secs(2);

/// Lets WebSocket upgrades through, whatever their path.
pub(super) fn is_upgrade() -> impl Guard {
    actix_web::guard::fn_guard(|ctx: &GuardContext<'_>| {
        ctx.head().headers().get(header::UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
    })
}

/// Accepts the upgrade of a request whose Host and Origin were accepted ([`door`]), unless its peer guesses tokens faster than they are
/// looked at.
pub(super) async fn upgrade(
    request: HttpRequest,
    body: web::Payload,
    api: web::Data<Api>,
) -> actix_web::Result<HttpResponse> {
    let from = door::provenance(request.head(), request.peer_addr());
    if api.lockout.is_full(from.peer, Instant::now()) {
        return Ok(http::too_many("too many wrong tokens from this address; try again in a moment", RETRY_AFTER));
    }
    let Some(seat) = request.conn_data::<Arc<Seat>>().cloned() else {
        return Ok(http::too_many("the connection was given up; try again", RETRY_AFTER));
    };
    let (response, session, stream) = actix_ws::handle(&request, body)?;
    seat.upgraded();
    let api = api.into_inner();
    actix_web::rt::spawn(async move {
        api.hub.opened();
        let guard = OpenGuard(Arc::clone(&api), seat);
        let (out, writer) = Out::new(api.tick * SILENT_TICKS);
        let id = uuid::Uuid::new_v4().to_string();
        let connection = Connection { api: Arc::clone(&api), out, from, seat: Arc::clone(&guard.1), id };
        let writer = actix_web::rt::spawn(writer.run(session));
        serve(connection, stream.max_frame_size(MAX_HANDSHAKE_FRAME)).await;
        drop(writer.await);
        drop(guard);
    });
    Ok(response)
}

/// Ends the connection below the WebSocket, too, when the other side had time to take the close frame: one that reads nothing would stay.
struct OpenGuard(Arc<Api>, Arc<Seat>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.hub.gone();
        let seat = Arc::downgrade(&self.1);
        actix_web::rt::spawn(async move {
            tokio::time::sleep(FAREWELL).await;
            // Mostly the connection is gone by now, and its seat with it.
            if let Some(seat) = seat.upgrade() {
                seat.hang_up();
            }
        });
    }
}

/// One connection and what belongs to it.
struct Connection {
    api: Arc<Api>,
    out: Out,
    from: Provenance,
    seat: Arc<Seat>,
    id: String,
}

/// What a client was let in for.
struct Admission {
    /// [`token_digest`] of the token that it has shown.
    token: [u8; 32],
}

impl Connection {
    /// Checks an admitted client against the settings of now.
    fn still_qualifies(&self, admission: &Admission) -> Result<(), &'static str> {
        if token_digest(&(self.api.settings)().token) != admission.token {
            return Err("the gateway token was changed; connect again with the new one");
        }
        let origins = self.api.origins();
        origins.check(&self.from).map_err(|_| "origin not allowed any more (gateway.controlUi.allowedOrigins)")
    }
}

async fn serve(connection: Connection, mut stream: MessageStream) {
    let Connection { api, out, id, .. } = &connection;
    let opened = tokio::time::timeout(api.handshake_timeout, handshake(&connection, &mut stream)).await;
    match opened {
        Ok(Ok((caller, admission))) => {
            tracing::debug!(target: "api", connection = %id, protocol = caller.protocol, "client connected");
            run(&connection, stream, caller, &admission).await;
            api.hub.leave(id);
        }
        Ok(Err(Some(refused))) => {
            if let Some((request, error)) = refused.answer {
                tracing::debug!(target: "api", connection = %id, reason = %error.message, "client refused");
                out.answer(protocol::response(&request, &Err(error))).await;
            }
            out.close(refused.code, &refused.reason);
        }
        Ok(Err(None)) => {}
        Err(_) => out.close(close::POLICY, "handshake timeout"),
    }
}

/// Serves the connection until it ends.
async fn run(connection: &Connection, stream: MessageStream, caller: Caller, admission: &Admission) {
    let Connection { api, out, id, .. } = connection;
    let mut stream = stream.max_frame_size(MAX_FRAME).aggregate_continuations().max_continuation_size(MAX_FRAME);
    let mut events = api.hub.listen();
    let mut phase = api.phase.subscribe();
    let mut closing = out.closing();
    let mut access = api.access.subscribe();
    let mut tick = tokio::time::interval(api.tick);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.reset();
    let caller = Arc::new(caller);
    let mut running: JoinSet<()> = JoinSet::new();
    let mut alive = Instant::now();
    let mut seq = 0;
    let mut next_seq = || {
        seq += 1;
        Some(seq)
    };
    if matches!(*phase.borrow(), Phase::Draining(_)) {
        phase.mark_changed();
    }
    loop {
        tokio::select! {
            changed = phase.changed() => {
                let reason = match (changed, &*phase.borrow()) {
                    (Ok(()), Phase::Draining(reason)) => reason.clone(),
                    (Ok(()), _) => continue,
                    (Err(_), _) => "gateway stopping".to_owned(),
                };
                out.push(protocol::event("shutdown", &json!({"reason": reason}), next_seq(), None), false);
                let rest = async { while running.join_next().await.is_some() {} };
                drop(tokio::time::timeout(DRAIN, rest).await);
                out.close(close::RESTART, "service restart");
                return;
            }
            _ = closing.changed() => return,
            Ok(()) = access.changed() => {
                if let Err(reason) = connection.still_qualifies(admission) {
                    tracing::info!(target: "api", connection = %id, reason, "connection closed");
                    out.close_now(close::POLICY, reason);
                    return;
                }
            }
            message = stream.recv(), if running.len() < MAX_RUNNING => {
                alive = Instant::now();
                match message {
                    Some(Ok(AggregatedMessage::Text(text))) => take(api, out, &caller, &mut running, text.as_bytes()),
                    Some(Ok(AggregatedMessage::Binary(bytes))) => take(api, out, &caller, &mut running, &bytes),
                    Some(Ok(AggregatedMessage::Ping(body))) => out.pong(body),
                    Some(Ok(AggregatedMessage::Pong(_))) => {}
                    Some(Err(ProtocolError::Overflow)) => {
                        out.close(close::TOO_BIG, "message too large");
                        return;
                    }
                    Some(Ok(AggregatedMessage::Close(_))) | Some(Err(_)) | None => return,
                }
            }
            Some(_) = running.join_next(), if !running.is_empty() => {}
            event = events.recv() => match event {
                Ok(push) if methods::may_see(push.event, &caller) => forward(out, &push, next_seq()),
                Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Closed) => {}
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                    out.close_now(close::POLICY, "slow consumer");
                }
            },
            _ = tick.tick() => {
                if alive.elapsed() > api.tick * SILENT_TICKS {
                    tracing::debug!(target: "api", connection = %id, "client silent, closing");
                    return;
                }
                out.push(protocol::event("tick", &json!({"ts": api.clock.now()}), None, None), true);
                out.ping();
            }
        }
    }
}

fn forward(out: &Out, push: &Push, seq: Option<u64>) {
    out.push(protocol::event(push.event, &push.payload, seq, push.version), push.droppable);
}

/// Starts one request; a frame that is no request is answered when it has an id and ignored when not.
fn take(api: &Arc<Api>, out: &Out, caller: &Arc<Caller>, running: &mut JoinSet<()>, bytes: &[u8]) {
    let (api, out, caller) = (Arc::clone(api), out.clone(), Arc::clone(caller));
    match Request::parse(bytes) {
        Ok(request) => {
            running.spawn_local(async move {
                let result = methods::call(&api, &caller, &request.method, request.params).await;
                out.answer(protocol::response(&request.id, &result)).await;
            });
        }
        Err(FrameError::Invalid { id: Some(id), reason }) => {
            running.spawn_local(async move {
                let error = ErrorShape::invalid(format!("invalid request frame: {reason}"));
                out.answer(protocol::response(&id, &Err(error))).await;
            });
        }
        Err(_) => {}
    }
}
