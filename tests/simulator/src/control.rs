//! The world by HTTP, for people and programs that are not Rust: `POST /ctl/NAME` with a JSON object, answered with one.
//! `GET /ctl` answers with every name and what it takes ([`VERBS`]). Loopback only.

mod trouble;
mod verbs;
mod write;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::world::World;

pub use verbs::VERBS;

/// Largest request body in bytes: an attachment in base64.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// A running control API. It ends when dropped.
pub struct Control {
    addr: SocketAddr,
    ended: watch::Receiver<bool>,
    accept: AbortHandle,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

/// Why a request was not carried out.
#[derive(Debug)]
struct Refused(StatusCode, String);

impl Refused {
    fn bad(why: impl ToString) -> Self {
        Self(StatusCode::BAD_REQUEST, why.to_string())
    }

    fn not_found(why: impl ToString) -> Self {
        Self(StatusCode::NOT_FOUND, why.to_string())
    }

    /// Something that was waited for did not come.
    fn timeout(why: impl ToString) -> Self {
        Self(StatusCode::REQUEST_TIMEOUT, why.to_string())
    }
}

impl Control {
    /// Binds `port` (0 for a free one) on 127.0.0.1 and serves `world`.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn start(world: World, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let addr = listener.local_addr()?;
        let (end, ended) = watch::channel(false);
        let accept = tokio::spawn(accept_loop(listener, world, Arc::new(end))).abort_handle();
        Ok(Self { addr, ended, accept })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The addresses a program needs to use this world: what the binary prints first.
    pub fn addresses(&self, world: &World) -> Value {
        let mut addresses = verbs::addresses(world);
        addresses["control"] = self.url().into();
        addresses
    }

    /// Waits until somebody asks for `shutdown`.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error means that the accept loop is gone, which ends the control API too.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

async fn accept_loop(listener: TcpListener, world: World, end: Arc<watch::Sender<bool>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(serve(stream, world.clone(), Arc::clone(&end))); }
                Err(error) => tracing::warn!(%error, "control API cannot accept"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, world: World, end: Arc<watch::Sender<bool>>) {
    let service = service_fn(|request| {
        let (world, end) = (world.clone(), Arc::clone(&end));
        async move {
            let (status, body) = match answer(request, &world, &end).await {
                Ok(body) => (StatusCode::OK, body),
                Err(Refused(status, why)) => (status, json!({ "error": why })),
            };
            let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok::<_, Infallible>(response)
        }
    });
    if let Err(error) = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    {
        tracing::debug!(%error, "control connection ended");
    }
}

async fn answer(request: Request<Incoming>, world: &World, end: &watch::Sender<bool>) -> Result<Value, Refused> {
    let path = request.uri().path().to_owned();
    if request.method() == Method::GET && path.trim_end_matches('/') == "/ctl" {
        return Ok(VERBS.iter().map(|(name, takes)| ((*name).to_owned(), Value::from(*takes))).collect());
    }
    let Some(name) = path.strip_prefix("/ctl/") else {
        return Err(Refused::not_found("the control API is at POST /ctl/NAME, the names at GET /ctl"));
    };
    if request.method() != Method::POST {
        return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, "ask with POST and a JSON object".to_owned()));
    }
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await.map_err(Refused::bad)?.to_bytes();
    let parameters = if body.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(&body).map_err(|error| Refused::bad(format!("the body is not JSON: {error}")))?
    };
    if name == "shutdown" {
        world.shutdown();
        end.send_replace(true);
        return Ok(json!({}));
    }
    verbs::call(world, name, parameters).await
}
