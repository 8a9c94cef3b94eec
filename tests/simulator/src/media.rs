//! The media host: encrypted files go up with `POST /mms/<kind>/<token>` and come down with `GET /v/x/<token>`.
//!
//! One loopback port speaks plain HTTP and TLS; the first byte of a connection tells which. The certificate is made at
//! start and signed by an own root, whose PEM ([`MediaHost::cert_pem`]) a client has to trust. A token is the URL-safe
//! base64 of the SHA-256 of the encrypted file; the host checks it, as it checks the `auth` of the last `media_conn`.

mod again;
mod message;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

pub use message::{Attachment, Kind};

/// Largest single file the host keeps, in bytes.
const MAX_FILE: usize = 128 * 1024 * 1024;
/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// A slow download is cut into this many pieces.
const SLOW_PIECES: usize = 8;

/// Which requests a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// `POST /mms/..`, also the question how much is already there.
    Upload,
    /// `GET`.
    Download,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The answer is this HTTP status, without a file: 404 and 410 mean gone, 401 and 403 ask for a new `media_conn`.
    Status(u16),
    /// A download comes in eight pieces with this pause before each; an upload is answered after one pause.
    Slow(Duration),
    /// The connection breaks after this many bytes of the file. What an upload brought until then is kept for a resume.
    Cut(usize),
    /// A download has one bit of its first byte turned over.
    Flip,
}

/// A file that a client put on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// `image`, `video`, `audio`, `document`, ..: the path element after `/mms/`.
    pub kind: String,
    /// Where it can be fetched.
    pub direct_path: String,
    /// Encrypted size in bytes.
    pub size: usize,
    /// Offset the last request started at; not 0 after a resume.
    pub resumed_at: usize,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// A running media host. Clones are handles to the same host; the port closes with the last of them.
#[derive(Clone)]
pub struct MediaHost {
    shared: Arc<Shared>,
    running: Arc<Running>,
}

struct Running {
    addr: SocketAddr,
    cert_pem: String,
    accept: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

struct Shared {
    addr: SocketAddr,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    auth: String,
    /// Finished files by token.
    files: HashMap<String, Bytes>,
    /// Files that the host forgot and phones still have.
    on_phones: HashMap<String, Bytes>,
    /// Files that a phone put back: they have a new path.
    put_back: HashSet<String>,
    /// How often a client asked for a file again.
    asked_again: u64,
    /// Interrupted uploads by token.
    partial: HashMap<String, Vec<u8>>,
    uploads: Vec<Upload>,
    downloads: u64,
    faults: Vec<(On, Fault, u32)>,
}

impl State {
    fn take_fault(&mut self, on: On) -> Option<Fault> {
        let at = self.faults.iter().position(|(f, _, _)| *f == on)?;
        let (_, fault, left) = &mut self.faults[at];
        let fault = *fault;
        *left -= 1;
        if *left == 0 {
            self.faults.remove(at);
        }
        Some(fault)
    }
}

impl MediaHost {
    /// Binds a free loopback port, makes a certificate for `127.0.0.1` and serves.
    ///
    /// # Errors
    /// When the port cannot be bound or the certificate cannot be made.
    pub async fn start() -> io::Result<Self> {
        let (acceptor, cert_pem) = certificate().map_err(io::Error::other)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let state = State { auth: new_auth(), ..State::default() };
        let shared = Arc::new(Shared { addr, state: Mutex::new(state) });
        let accept = tokio::spawn(accept_loop(listener, acceptor, Arc::clone(&shared))).abort_handle();
        Ok(Self { shared, running: Arc::new(Running { addr, cert_pem, accept }) })
    }

    /// Where it listens; plain HTTP and TLS alike.
    pub fn addr(&self) -> SocketAddr {
        self.running.addr
    }

    /// PEM of the root certificate that signed the one the host shows.
    pub fn cert_pem(&self) -> &str {
        &self.running.cert_pem
    }

    /// Keeps an encrypted file and returns its `direct_path`.
    pub fn put(&self, encrypted: impl Into<Bytes>) -> String {
        let encrypted = encrypted.into();
        let token = token_of(&encrypted);
        let path = format!("/v/x/{token}");
        self.shared.state().files.insert(token, encrypted);
        path
    }

    /// The encrypted file behind a `direct_path` or a URL of this host.
    pub fn get(&self, path: &str) -> Option<Bytes> {
        let path = path.split('?').next().unwrap_or_default();
        let token = canonical_token(path.rsplit('/').next()?)?;
        self.shared.state().files.get(&token).cloned()
    }

    /// Forgets a file, as the real host does after some weeks; later downloads get 404, until a client asks its phone for it.
    pub fn remove(&self, path: &str) -> bool {
        let Some(token) = path.rsplit('/').next().and_then(canonical_token) else { return false };
        let mut state = self.shared.state();
        let Some(file) = state.files.remove(&token) else { return false };
        state.on_phones.insert(token, file);
        true
    }

    /// Forgets a file for ever: the phones have deleted it too.
    pub fn destroy(&self, path: &str) -> bool {
        let known = self.remove(path);
        if let Some(token) = path.rsplit('/').next().and_then(canonical_token) {
            self.shared.state().on_phones.remove(&token);
        }
        known
    }

    /// How often clients asked for files that the host had forgotten.
    pub fn asked_again(&self) -> u64 {
        self.shared.state().asked_again
    }

    /// The absolute URL of a `direct_path`, for the `url` field of a media message.
    pub fn url(&self, direct_path: &str) -> String {
        format!("https://{}{direct_path}", self.running.addr)
    }

    /// The next `times` requests of that direction go wrong. Faults of one direction are used up in order.
    pub fn fault(&self, on: On, fault: Fault, times: u32) {
        if times > 0 {
            self.shared.state().faults.push((on, fault, times));
        }
    }

    /// Forgets all faults not yet used.
    pub fn clear_faults(&self) {
        self.shared.state().faults.clear();
    }

    /// Makes a new `auth`: uploads with the old one are refused with 401 until the client asks for `media_conn` again.
    pub fn expire_auth(&self) {
        self.shared.state().auth = new_auth();
    }

    /// Everything clients uploaded, oldest first.
    pub fn uploads(&self) -> Vec<Upload> {
        self.shared.state().uploads.clone()
    }

    /// How many downloads were answered with a whole file.
    pub fn downloads(&self) -> u64 {
        self.shared.state().downloads
    }

    /// The `<media_conn>` that answers the IQ of `w:m`.
    pub fn media_conn(&self) -> Node {
        let host =
            NodeBuilder::new("host").attr("hostname", self.running.addr.to_string()).attr("type", "primary").build();
        NodeBuilder::new("media_conn")
            .attr("auth", self.shared.state().auth.clone())
            .attr("ttl", "3600")
            .attr("auth_ttl", "21600")
            .attr("max_buckets", "12")
            .children([host])
            .build()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the media state")
    }
}

fn new_auth() -> String {
    URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; 24]>())
}

fn token_of(encrypted: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(encrypted))
}

/// The token in the spelling the host uses; clients send it with or without padding, percent-encoded or not.
fn canonical_token(raw: &str) -> Option<String> {
    let raw = raw.replace("%3D", "=").replace("%3d", "=").replace("%2D", "-").replace("%5F", "_");
    let hash = URL_SAFE_NO_PAD.decode(&raw).or_else(|_| URL_SAFE.decode(&raw)).ok()?;
    (hash.len() == 32).then(|| URL_SAFE_NO_PAD.encode(hash))
}

fn certificate() -> anyhow::Result<(TlsAcceptor, String)> {
    let root_key = rcgen::KeyPair::generate()?;
    let mut root = rcgen::CertificateParams::new(Vec::new())?;
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    root.distinguished_name.push(rcgen::DnType::CommonName, "wa-simulator media root");
    let root_cert = root.self_signed(&root_key)?;
    let issuer = rcgen::Issuer::new(root, root_key);

    let key = rcgen::KeyPair::generate()?;
    let mut leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    leaf.distinguished_name.push(rcgen::DnType::CommonName, "wa-simulator media host");
    let cert = leaf.signed_by(&key, &issuer)?;

    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone(), root_cert.der().clone()], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), root_cert.pem()))
}

async fn accept_loop(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(connection(stream, acceptor.clone(), Arc::clone(&shared))); }
                Err(error) => tracing::warn!(%error, "media host cannot accept"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut first = [0u8; 1];
    match stream.peek(&mut first).await {
        Ok(1) if first[0] == TLS_HANDSHAKE => match acceptor.accept(stream).await {
            Ok(stream) => serve(stream, shared, true).await,
            Err(error) => tracing::debug!(%error, "media host: TLS handshake failed"),
        },
        Ok(1) => serve(stream, shared, false).await,
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "media host: connection lost before the first byte"),
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>, tls: bool) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { handle(request, &shared, tls).await }
    });
    if let Err(error) = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    {
        tracing::debug!(%error, "media host: connection ended");
    }
}

type Body = BoxBody<Bytes, io::Error>;

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

fn answer(status: StatusCode, json: serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(json.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, "application/json".parse().expect("a constant that is a valid header value"));
    response
}

fn refuse(status: StatusCode, why: &str) -> Response<Body> {
    answer(status, serde_json::json!({ "error": why }))
}

/// An `Err` makes hyper drop the connection without an answer.
async fn handle(request: Request<Incoming>, shared: &Shared, tls: bool) -> io::Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    let mut parts = path.split('/').skip(1);
    match (request.method(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (&Method::POST, Some("mms"), Some(kind), Some(token), None) => {
            let (kind, token) = (kind.to_owned(), token.to_owned());
            upload(request, shared, kind, &token, tls).await
        }
        (&Method::GET, Some("v"), Some(shelf @ ("x" | again::SHELF)), Some(token), None) => {
            Ok(download(shared, shelf, token))
        }
        _ => Ok(refuse(StatusCode::NOT_FOUND, "no such path on the media host")),
    }
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
}

async fn upload(
    request: Request<Incoming>,
    shared: &Shared,
    kind: String,
    raw_token: &str,
    tls: bool,
) -> io::Result<Response<Body>> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let Some(token) = canonical_token(raw_token) else {
        return Ok(refuse(StatusCode::BAD_REQUEST, "the token is not the base64 of a SHA-256"));
    };
    let fault = shared.state().take_fault(On::Upload);
    match fault {
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Ok(refuse(status, "fault asked for by the test"));
        }
        Some(Fault::Slow(pause)) => tokio::time::sleep(pause).await,
        _ => {}
    }
    if parameter(&query, "auth") != Some(shared.state().auth.as_str()) {
        return Ok(refuse(StatusCode::UNAUTHORIZED, "the auth is not the one of the last media_conn"));
    }
    let direct_path = format!("/v/x/{token}");
    let place =
        serde_json::json!({ "url": format!("https://{}{direct_path}", shared.addr), "direct_path": direct_path });

    if parameter(&query, "resume") == Some("1") {
        let state = shared.state();
        let mut progress = if state.files.contains_key(&token) { place } else { serde_json::json!({}) };
        progress["resume"] = match (state.files.contains_key(&token), state.partial.get(&token)) {
            (true, _) => "complete".into(),
            (false, Some(partial)) => partial.len().to_string().into(),
            (false, None) => "0".into(),
        };
        return Ok(answer(StatusCode::OK, progress));
    }

    let offset = match parameter(&query, "file_offset").map(str::parse::<usize>) {
        None => 0,
        Some(Ok(offset)) => offset,
        Some(Err(_)) => return Ok(refuse(StatusCode::BAD_REQUEST, "file_offset is not a number")),
    };
    let mut file = shared.state().partial.remove(&token).unwrap_or_default();
    if offset > file.len() {
        return Ok(refuse(StatusCode::BAD_REQUEST, "file_offset lies behind what is here"));
    }
    file.truncate(offset);

    let cut = match fault {
        Some(Fault::Cut(after)) => Some(after),
        _ => None,
    };
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                shared.state().partial.insert(token, file);
                return Err(io::Error::other(error));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        file.extend_from_slice(&data);
        if file.len() > MAX_FILE {
            return Ok(refuse(StatusCode::PAYLOAD_TOO_LARGE, "the file is larger than 128 MiB"));
        }
        if let Some(after) = cut
            && file.len() >= after
        {
            file.truncate(after);
            shared.state().partial.insert(token, file);
            return Err(io::Error::other("upload cut by the test"));
        }
    }
    if token_of(&file) != token {
        return Ok(refuse(StatusCode::BAD_REQUEST, "the token is not the SHA-256 of what was sent"));
    }
    let mut state = shared.state();
    state.uploads.push(Upload { kind, direct_path, size: file.len(), resumed_at: offset, tls });
    state.files.insert(token, file.into());
    Ok(answer(StatusCode::OK, place))
}

fn download(shared: &Shared, shelf: &str, raw_token: &str) -> Response<Body> {
    let mut state = shared.state();
    let fault = state.take_fault(On::Download);
    if let Some(Fault::Status(status)) = fault {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return refuse(status, "fault asked for by the test");
    }
    let token = canonical_token(raw_token).filter(|t| state.put_back.contains(t) == (shelf == again::SHELF));
    let Some(file) = token.and_then(|token| state.files.get(&token).cloned()) else {
        return refuse(StatusCode::NOT_FOUND, "no such file");
    };
    let size = file.len();
    let body = match fault {
        Some(Fault::Cut(after)) => {
            let sent = file.slice(..after.min(size));
            let pieces = [Ok(Frame::data(sent)), Err(io::Error::other("download cut by the test"))];
            BodyExt::boxed(StreamBody::new(futures::stream::iter(pieces)))
        }
        Some(Fault::Slow(pause)) => {
            let piece = size.div_ceil(SLOW_PIECES).max(1);
            let starts: Vec<usize> = (0..size).step_by(piece).collect();
            let pieces = futures::stream::iter(starts).then(move |start| {
                let data = file.slice(start..size.min(start + piece));
                async move {
                    tokio::time::sleep(pause).await;
                    Ok(Frame::data(data))
                }
            });
            BodyExt::boxed(StreamBody::new(pieces))
        }
        Some(Fault::Flip) => {
            let mut wrong = file.to_vec();
            if let Some(first) = wrong.first_mut() {
                *first ^= 1;
            }
            full(wrong)
        }
        _ => full(file),
    };
    if !matches!(fault, Some(Fault::Cut(_) | Fault::Flip)) {
        state.downloads += 1;
    }
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, "application/octet-stream".parse().expect("a constant that is a valid header value"));
    headers.insert(CONTENT_LENGTH, size.into());
    response
}

#[cfg(test)]
mod tests;
