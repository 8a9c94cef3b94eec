//! Opens the socket of one link and remembers what went wrong on the way.
//!
//! The library's own transport leaves Nagle's algorithm on (44 ms a round trip) and swallows the reason when a
//! connection cannot be opened; both are mended here.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderValue, ORIGIN};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use whatsapp_rust::anyhow;
use whatsapp_rust::async_channel::Receiver;
use whatsapp_rust::bytes::Bytes;
use whatsapp_rust::transport::{Transport, TransportEvent, TransportFactory};
use whatsapp_rust::wacore::stats::TransportResourceReport;

use super::endpoint::Endpoint;
use super::socket;

/// Below the library's own 20 s, so that the reason is ours to tell.
const DIAL_LIMIT: Duration = Duration::from_secs(18);
/// One unreachable address must not use up the time of the next.
const CONNECT_LIMIT: Duration = Duration::from_secs(6);
/// What WhatsApp's own page sends.
const WEB_ORIGIN: &str = "https://web.whatsapp.com";

/// What one connection attempt has seen so far. Shared by the dialler and the link.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    error: Mutex<Option<String>>,
    wire: Mutex<Arc<Wire>>,
}

/// Counts what comes in on one socket after the WebSocket is open.
#[derive(Debug, Default)]
pub(super) struct Wire {
    open: AtomicBool,
    bytes_in: AtomicU64,
    first_byte: AtomicU8,
    ended: AtomicBool,
    left: AtomicBool,
    last: Mutex<Option<Instant>>,
}

/// What the dialler saw of the last attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DialReport {
    /// Why the socket could not be opened.
    pub error: Option<String>,
    /// The WebSocket was opened.
    pub open: bool,
    /// The server sent data on it.
    pub answered: bool,
    /// The server closed it.
    pub ended: bool,
    /// Since the last data came in; nothing when none did.
    pub silent_for: Option<Duration>,
}

/// First byte of a WebSocket close frame without extensions.
const CLOSE_FRAME: u8 = 0x88;

impl Attempt {
    /// Forgets the attempt before.
    pub(super) fn reset(&self) {
        *lock(&self.error) = None;
        *lock(&self.wire) = Arc::default();
    }

    pub(super) fn report(&self) -> DialReport {
        let wire = Arc::clone(&lock(&self.wire));
        let only_closed = wire.first_byte.load(Ordering::Acquire) == CLOSE_FRAME;
        DialReport {
            error: lock(&self.error).clone(),
            open: wire.open.load(Ordering::Acquire),
            answered: wire.bytes_in.load(Ordering::Acquire) > 0 && !only_closed,
            ended: wire.ended.load(Ordering::Acquire) || only_closed,
            silent_for: lock(&wire.last).map(|at| at.elapsed()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens sockets for one link.
pub(super) struct Dialer {
    pub endpoint: Endpoint,
    pub tls: TlsConnector,
    pub attempt: Arc<Attempt>,
}

type Opened = (Arc<dyn Transport>, Receiver<TransportEvent>);

#[whatsapp_rust::async_trait]
impl TransportFactory for Dialer {
    async fn create_transport(&self) -> Result<Opened, anyhow::Error> {
        let wire = Arc::new(Wire::default());
        *lock(&self.attempt.wire) = Arc::clone(&wire);
        let result = match timeout(DIAL_LIMIT, self.dial(Arc::clone(&wire))).await {
            Ok(result) => result,
            Err(_) => Err(format!("no connection within {} s", DIAL_LIMIT.as_secs())),
        };
        let (transport, events) = result.map_err(|reason| {
            *lock(&self.attempt.error) = Some(reason.clone());
            anyhow::anyhow!(reason)
        })?;
        Ok((Arc::new(Watched { transport, wire }), events))
    }
}

/// Notes that the client itself closes the connection: an end that follows is not the server's doing.
struct Watched {
    transport: Arc<dyn Transport>,
    wire: Arc<Wire>,
}

#[whatsapp_rust::async_trait]
impl Transport for Watched {
    async fn send(&self, data: Bytes) -> Result<(), anyhow::Error> {
        self.transport.send(data).await
    }

    async fn disconnect(&self) {
        self.wire.left.store(true, Ordering::Release);
        self.transport.disconnect().await;
    }

    fn resource_report(&self) -> Option<TransportResourceReport> {
        self.transport.resource_report()
    }
}

impl Dialer {
    async fn dial(&self, wire: Arc<Wire>) -> Result<Opened, String> {
        let url = reqwest::Url::parse(&self.endpoint.url).map_err(|e| format!("the address is not valid: {e}"))?;
        let host = url.host_str().ok_or("the address names no host")?;
        let secure = url.scheme() == "wss";
        let port = url.port().unwrap_or(if secure { 443 } else { 80 });
        if !self.endpoint.may_dial(host) {
            return Err(format!("this build dials this machine only and refuses {host}"));
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = connect(&self.endpoint, bare, port).await?;
        if !secure {
            return upgrade(&self.endpoint.url, Counted { inner: stream, wire, deaf: false }).await;
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(|e| format!("{bare} is no server name: {e}"))?;
        let stream = self.tls.connect(name, stream).await.map_err(|e| format!("TLS with {bare} failed: {e}"))?;
        upgrade(&self.endpoint.url, Counted { inner: stream, wire, deaf: false }).await
    }
}

async fn connect(endpoint: &Endpoint, host: &str, port: u16) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|e| format!("the name {host} does not resolve: {e}; check the network and DNS"))?;
    let addresses: Vec<SocketAddr> = found.filter(|a| endpoint.may_dial(&a.ip().to_string())).collect();
    let mut last = format!("the name {host} has no address that this build may dial");
    for address in addresses {
        match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(|e| format!("cannot set up the socket: {e}"))?;
                return Ok(stream);
            }
            Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => {
                last = format!("{address} refused the connection");
            }
            Ok(Err(e)) => last = format!("cannot reach {address}: {e}"),
            Err(_) => last = format!("no answer from {address} within {} s", CONNECT_LIMIT.as_secs()),
        }
    }
    Err(last)
}

async fn upgrade<S>(url: &str, stream: Counted<S>) -> Result<Opened, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let wire = Arc::clone(&stream.wire);
    let (socket, _) = tokio_websockets::ClientBuilder::new()
        .uri(url)
        .map_err(|e| format!("the address is not valid: {e}"))?
        .add_header(ORIGIN, HeaderValue::from_static(WEB_ORIGIN))
        .map_err(|e| e.to_string())?
        .connect_on(stream)
        .await
        .map_err(|e| match e {
            tokio_websockets::Error::Io(e) if hung_up(e.kind()) => {
                "the server hung up before it opened the WebSocket".to_owned()
            }
            e => format!("the server did not open a WebSocket: {e}"),
        })?;
    wire.open.store(true, Ordering::Release);
    Ok(socket::start(socket))
}

fn hung_up(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// Passes everything through and notes what came in once the WebSocket was open.
///
/// A server that says why and hangs up is often written to once more before that was read. Such a write error is
/// swallowed: the library would stop reading at once and lose the reason. The reader meets the end soon enough, and only
/// WhatsApp's ack says that a message arrived.
struct Counted<S> {
    inner: S,
    wire: Arc<Wire>,
    /// The server hung up; nobody listens to what is written.
    deaf: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(outcome) = &result {
            let fresh = &buf.filled()[before..];
            match (outcome, fresh.first()) {
                (Err(_), _) | (Ok(()), None) if self.wire.left.load(Ordering::Acquire) => {}
                (Err(_), _) | (Ok(()), None) => self.wire.ended.store(true, Ordering::Release),
                (Ok(()), Some(first)) if self.wire.open.load(Ordering::Acquire) => {
                    *lock(&self.wire.last) = Some(Instant::now());
                    if self.wire.bytes_in.fetch_add(fresh.len() as u64, Ordering::AcqRel) == 0 {
                        self.wire.first_byte.store(*first, Ordering::Release);
                    }
                }
                (Ok(()), Some(_)) => {}
            }
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(buf.len()));
        }
        match Pin::new(&mut self.inner).poll_write(cx, buf) {
            Poll::Ready(Err(error)) if hung_up(error.kind()) => {
                self.deaf = true;
                Poll::Ready(Ok(buf.len()))
            }
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut self.inner).poll_flush(cx) {
            Poll::Ready(Err(error)) if hung_up(error.kind()) => {
                self.deaf = true;
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
