//! One WebSocket connection: challenge, `connect`, then requests side by side, pushed events, ticks, and a bounded way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::guard::{Guard, GuardContext};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, CloseReason, Item, Message, MessageStream, ProtocolError, Session};
use bytes::{Bytes, BytesMut};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::auth::{Provenance, check_device, check_token};
use super::hub::Push;
use super::methods::{self, Caller};
use super::overview;
use super::protocol::{
    self, ConnectParams, ErrorShape, FrameError, GrantedAuth, HelloOk, MAX_BUFFERED, MAX_FRAME, MAX_HANDSHAKE_FRAME,
    Policy, Presence, Request, ServerInfo, close,
};
use super::server::{Api, Phase};

/// Frames that wait for a slow client.
const QUEUE: usize = 256;
/// Requests of one connection that run at the same time; more wait unread.
const MAX_RUNNING: usize = 64;
/// Ticks without any sign of life after which a client is gone.
const SILENT_TICKS: u32 = 3;
/// How long running requests may take when the gateway stops.
const DRAIN: Duration = Duration::from_secs(1);

/// Lets WebSocket upgrades through, whatever their path.
pub(super) fn is_upgrade() -> impl Guard {
    actix_web::guard::fn_guard(|ctx: &GuardContext<'_>| {
        ctx.head().headers().get(header::UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
    })
}

/// Accepts the upgrade; everything else is decided by `connect`.
pub(super) async fn upgrade(
    request: HttpRequest,
    body: web::Payload,
    api: web::Data<Api>,
) -> actix_web::Result<HttpResponse> {
    let text = |name: header::HeaderName| {
        request.headers().get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
    };
    let from = Provenance {
        host: text(header::HOST).unwrap_or_default(),
        origin: text(header::ORIGIN),
        peer: request.peer_addr().map(|a| a.ip()),
    };
    let (response, session, stream) = actix_ws::handle(&request, body)?;
    let api = api.into_inner();
    actix_web::rt::spawn(async move {
        api.hub.opened();
        let guard = OpenGuard(Arc::clone(&api));
        serve(Arc::clone(&api), session, stream.max_frame_size(MAX_HANDSHAKE_FRAME), from).await;
        drop(guard);
    });
    Ok(response)
}

struct OpenGuard(Arc<Api>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.hub.gone();
    }
}

/// The way out of a connection: a bounded queue, and a close that overtakes it.
#[derive(Clone)]
struct Out {
    queue: mpsc::Sender<Frame>,
    bytes: Arc<AtomicUsize>,
    closing: watch::Sender<Option<(u16, String)>>,
}

enum Frame {
    Text(String),
    Ping,
    Pong(Bytes),
    Close(u16, String),
}

impl Out {
    /// Waits for room: answers slow the asking client down, nobody else.
    async fn answer(&self, text: String) {
        self.bytes.fetch_add(text.len(), Ordering::Relaxed);
        // An error means that the connection is gone.
        drop(self.queue.send(Frame::Text(text)).await);
    }

    /// Never waits: a client that does not read is closed, unless the event may be dropped.
    fn push(&self, text: String, droppable: bool) {
        let length = text.len();
        let room = self.bytes.load(Ordering::Relaxed) + length <= MAX_BUFFERED;
        let sent = room && {
            self.bytes.fetch_add(length, Ordering::Relaxed);
            let sent = self.queue.try_send(Frame::Text(text));
            if sent.is_err() {
                self.bytes.fetch_sub(length, Ordering::Relaxed);
            }
            sent.is_ok()
        };
        if !sent && !droppable {
            self.close_now(close::POLICY, "slow consumer");
        }
    }

    /// Closes after what is queued.
    async fn close(&self, code: u16, reason: &str) {
        drop(self.queue.send(Frame::Close(code, reason.to_owned())).await);
    }

    /// Closes at once.
    fn close_now(&self, code: u16, reason: &str) {
        self.closing.send_if_modified(|c| c.is_none() && c.insert((code, reason.to_owned())).0 == code);
    }
}

async fn write(
    mut session: Session,
    mut queue: mpsc::Receiver<Frame>,
    bytes: Arc<AtomicUsize>,
    mut closing: watch::Receiver<Option<(u16, String)>>,
) {
    let mut last = None;
    while let Some(frame) = queue.recv().await {
        let sent = async {
            match frame {
                Frame::Text(text) => {
                    bytes.fetch_sub(text.len(), Ordering::Relaxed);
                    session.text(text).await.is_ok()
                }
                Frame::Ping => session.ping(b"").await.is_ok(),
                Frame::Pong(body) => session.pong(&body).await.is_ok(),
                Frame::Close(code, reason) => {
                    last = Some((code, reason));
                    false
                }
            }
        };
        let overtaken = async {
            // The sender goes away with the connection's other half; what is queued is still to be written.
            if closing.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let go_on = tokio::select! {
            go_on = sent => go_on,
            () = overtaken => {
                last = closing.borrow().clone();
                false
            }
        };
        if !go_on {
            break;
        }
    }
    let reason = last.map(|(code, reason)| CloseReason { code: code.into(), description: Some(cut(&reason)) });
    // A client that reads nothing does not take the close frame either; dropping the session ends the connection.
    drop(tokio::time::timeout(Duration::from_secs(1), session.close(reason)).await);
}

/// A close reason has room for 123 bytes.
fn cut(reason: &str) -> String {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

async fn serve(api: Arc<Api>, session: Session, mut stream: MessageStream, from: Provenance) {
    let (queue, frames) = mpsc::channel(QUEUE);
    let out = Out { queue, bytes: Arc::default(), closing: watch::channel(None).0 };
    let writer = actix_web::rt::spawn(write(session, frames, Arc::clone(&out.bytes), out.closing.subscribe()));
    let id = uuid::Uuid::new_v4().to_string();
    let opened = tokio::time::timeout(api.handshake_timeout, handshake(&api, &mut stream, &out, &from, &id)).await;
    match opened {
        Ok(Ok(caller)) => {
            tracing::debug!(target: "api", connection = %id, protocol = caller.protocol, "client connected");
            run(&api, stream, &out, caller, &id).await;
            api.hub.leave(&id);
        }
        Ok(Err(Some(refused))) => {
            if let Some((request, error)) = refused.answer {
                tracing::debug!(target: "api", connection = %id, reason = %error.message, "client refused");
                out.answer(protocol::response(&request, &Err(error))).await;
            }
            out.close(refused.code, &refused.reason).await;
        }
        Ok(Err(None)) => {}
        Err(_) => out.close(close::POLICY, "handshake timeout").await,
    }
    drop(out);
    drop(writer.await);
}

/// Why a handshake ended: the error to answer, then the close.
struct Refused {
    answer: Option<(String, ErrorShape)>,
    code: u16,
    reason: String,
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
async fn handshake(
    api: &Arc<Api>,
    stream: &mut MessageStream,
    out: &Out,
    from: &Provenance,
    id: &str,
) -> Result<Caller, Option<Refused>> {
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
        let error = ErrorShape::invalid("protocol mismatch").with(json!({
            "code": "PROTOCOL_MISMATCH", "expectedProtocol": protocol::MAX_PROTOCOL,
            "clientMinProtocol": params.min_protocol, "clientMaxProtocol": params.max_protocol,
            "minimumProbeProtocol": protocol::MIN_PROTOCOL,
        }));
        let refused = refuse(error).map(|r| Refused { code: close::PROTOCOL, ..r });
        return Err(refused);
    };
    if params.role.as_deref().is_some_and(|r| r != "operator") {
        return Err(refuse(ErrorShape::invalid("invalid role (this gateway serves operators only)")));
    }
    let settings = (api.settings)();
    let now = Instant::now();
    let checked = api.origins().check(from).and_then(|()| api.failures.check(from.peer, now)).and_then(|()| {
        let proof = params.device.as_ref().map_or(Ok(()), |d| check_device(&params, d, &nonce, api.clock.now()));
        let token = proof.and_then(|()| check_token(&settings.token, params.auth.token.as_deref()));
        if token.is_err() {
            api.failures.note(from.peer, now);
        }
        token
    });
    checked.map_err(refuse)?;
    let Some(status) = api.status().await else {
        return Err(refuse(ErrorShape::unavailable("the gateway is stopping")));
    };
    let scopes = if params.scopes.is_empty() { vec!["operator.admin".to_owned()] } else { params.scopes.clone() };
    // One command of a CLI is one short connection: not worth a presence entry.
    if !matches!(params.client.mode.as_str(), "cli" | "probe") {
        api.hub.enter(id, client_presence(api, &params));
    }
    let hello = HelloOk {
        protocol: version,
        server: ServerInfo { version: env!("CARGO_PKG_VERSION").into(), conn_id: id.into() },
        features: methods::features(),
        snapshot: overview::snapshot(api, &settings, &status),
        auth: GrantedAuth { role: "operator", scopes: scopes.clone() },
        policy: Policy::standard(u64::try_from(api.tick.as_millis()).unwrap_or(u64::MAX)),
    };
    out.answer(protocol::response(&request.id, &Ok(json!(hello)))).await;
    Ok(Caller { protocol: version, scopes })
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
            Some(Ok(Message::Ping(body))) => drop(out.queue.send(Frame::Pong(body)).await),
            Some(Ok(Message::Pong(_) | Message::Nop)) => {}
            Some(Ok(Message::Close(_))) | None => return Err(None),
            Some(Err(ProtocolError::Overflow)) => {
                return Err(Refused::silent(close::TOO_BIG, "message too large before hello"));
            }
            Some(Err(_)) => return Err(None),
        }
    }
}

/// Serves the connection until it ends.
async fn run(api: &Arc<Api>, stream: MessageStream, out: &Out, caller: Caller, id: &str) {
    let mut stream = stream.max_frame_size(MAX_FRAME).aggregate_continuations().max_continuation_size(MAX_FRAME);
    let mut events = api.hub.listen();
    let mut phase = api.phase.subscribe();
    let mut closing = out.closing.subscribe();
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
                out.close(close::RESTART, "service restart").await;
                return;
            }
            _ = closing.changed() => return,
            message = stream.recv(), if running.len() < MAX_RUNNING => {
                alive = Instant::now();
                match message {
                    Some(Ok(AggregatedMessage::Text(text))) => take(api, out, &caller, &mut running, text.as_bytes()),
                    Some(Ok(AggregatedMessage::Binary(bytes))) => take(api, out, &caller, &mut running, &bytes),
                    Some(Ok(AggregatedMessage::Ping(body))) => drop(out.queue.send(Frame::Pong(body)).await),
                    Some(Ok(AggregatedMessage::Pong(_))) => {}
                    Some(Err(ProtocolError::Overflow)) => {
                        out.close(close::TOO_BIG, "message too large").await;
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
                // No room: the client has traffic enough.
                drop(out.queue.try_send(Frame::Ping));
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
