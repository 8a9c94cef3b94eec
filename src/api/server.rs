//! Binds the port, serves until told to stop, tells every client before it goes.

use std::any::Any;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::dev::{Extensions, ServerHandle};
use actix_web::{App, HttpServer, web};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::auth::{OriginRules, token_digest};
use super::dedupe::Dedupe;
use super::hub::Hub;
use super::lockout::Lockout;
use super::protocol::TICK_INTERVAL_MS;
use super::seats::Seats;
use super::settings::SettingsSource;
use super::{door, http, login, ws};
use crate::actors::messages::{GatewayPort, GatewayStatus, GetStatus};
use crate::clock::{Clock, UnixMs};
use crate::config::file::ConfigSource;

/// Where the API listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// 127.0.0.1 and ::1.
    Loopback,
    /// All interfaces.
    Lan,
    /// The address in the tailnet (100.64.0.0/10).
    Tailnet,
    /// Loopback, or all interfaces on a machine without loopback.
    Auto,
}

/// How the API is served.
pub struct ApiOptions {
    /// Token, origins and agents, asked anew for every connection.
    pub settings: SettingsSource,
    /// The configuration file that `config.get` shows.
    pub config_path: PathBuf,
    /// The same with its surroundings, for `config.set` and its like; `None` takes no edits.
    pub source: Option<ConfigSource>,
    /// The log file that `logs.tail` reads; asked at every call because it changes at midnight.
    pub log_file: Arc<dyn Fn() -> Option<PathBuf> + Send + Sync>,
    /// The time of day.
    pub clock: Clock,
    /// Time between `tick` events.
    pub tick: Duration,
    /// Longest time from the upgrade to `hello-ok`.
    pub handshake_timeout: Duration,
}

impl ApiOptions {
    /// Options with the usual times.
    pub fn new(settings: SettingsSource) -> Self {
        Self {
            settings,
            config_path: PathBuf::new(),
            source: None,
            log_file: Arc::new(|| None),
            clock: Clock::System,
            tick: Duration::from_millis(TICK_INTERVAL_MS),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port is taken.
    #[error(
        "port {port} is already in use, by another Verso or OpenClaw gateway or some other program; stop it or choose another port with --port or gateway.port"
    )]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// This machine has no such address.
    #[error("no tailnet address on this machine; start Tailscale or set gateway.bind to \"loopback\" or \"lan\"")]
    NoTailnet,
    /// Anything else.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
}

/// Where the gateway is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Listening, the accounts are being started.
    Starting,
    /// At work.
    Ready,
    /// Stopping; the reason goes to every client.
    Draining(String),
}

/// How old the state in `hello-ok` may be, and how long a busy gateway is waited for.
const RECENT: Duration = Duration::from_secs(1);

/// What was seen last.
#[derive(Default)]
pub(super) struct Recent {
    asked_at: Option<Instant>,
    status: Option<Arc<GatewayStatus>>,
    access: Option<([u8; 32], Vec<String>)>,
}

/// What all connections share.
pub(super) struct Api {
    pub port: GatewayPort,
    pub settings: SettingsSource,
    pub config_path: PathBuf,
    pub source: Option<ConfigSource>,
    pub log_file: Arc<dyn Fn() -> Option<PathBuf> + Send + Sync>,
    pub clock: Clock,
    pub tick: Duration,
    pub handshake_timeout: Duration,
    pub phase: watch::Sender<Phase>,
    pub hub: Hub,
    pub sends: Dedupe,
    pub shown: login::ShownCodes,
    pub lockout: Lockout,
    /// Counts the changes of who is let in; every connection looks at itself then.
    pub access: watch::Sender<u64>,
    pub recent: Mutex<Recent>,
    pub hostname: String,
    pub loopback_only: bool,
    pub started_at: UnixMs,
}

impl Api {
    /// The state of the gateway, or `None` when it no longer answers.
    pub async fn status(&self) -> Option<GatewayStatus> {
        self.port.status.send(GetStatus).await.ok()
    }

    /// The state of a moment ago, for `hello-ok`: many handshakes are one question, and a gateway that is busy keeps nobody waiting for
    /// longer than a second. `None` when there is none yet.
    pub async fn recent_status(&self) -> Option<Arc<GatewayStatus>> {
        {
            let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if recent.asked_at.is_some_and(|at| at.elapsed() < RECENT) && recent.status.is_some() {
                return recent.status.clone();
            }
        }
        let asked = tokio::time::timeout(RECENT, self.status()).await.ok().flatten().map(Arc::new);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.asked_at = Some(Instant::now());
        if asked.is_some() {
            recent.status = asked;
        }
        recent.status.clone()
    }

    /// Has every connection look whether it would still be let in, when token or origins are others than at the last look.
    pub fn look_at_access(&self) {
        let settings = (self.settings)();
        // A token file that cannot be read for a moment is no new token.
        if settings.token.is_empty() {
            return;
        }
        let now = Some((token_digest(&settings.token), settings.allowed_origins));
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.access != now {
            let known = std::mem::replace(&mut recent.access, now).is_some();
            drop(recent);
            if known {
                self.access.send_modify(|n| *n += 1);
            }
        }
    }

    pub fn origins(&self) -> OriginRules {
        OriginRules {
            allowed: (self.settings)().allowed_origins,
            loopback_only: self.loopback_only,
            hostname: self.hostname.clone(),
        }
    }
}

/// A served API.
pub struct ApiHandle {
    address: SocketAddr,
    api: Arc<Api>,
    server: ServerHandle,
    hub: actix_web::rt::task::JoinHandle<()>,
}

impl ApiHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says that the gateway is at work: `/readyz` turns green.
    pub fn ready(&self) {
        self.api.phase.send_replace(Phase::Ready);
    }

    /// Pushes an event to every client that may read.
    pub fn publish(&self, event: &'static str, payload: Value) {
        self.api.hub.publish(event, payload);
    }

    /// Tells every client that the gateway goes, closes the connections with 1012 and stops listening.
    pub async fn stop(self, reason: &str) {
        self.api.phase.send_replace(Phase::Draining(reason.to_owned()));
        self.hub.abort();
        self.api.hub.idle(Duration::from_secs(2)).await;
        self.server.stop(true).await;
    }
}

/// Serves the API of a gateway. Call it inside the actix system.
///
/// # Errors
/// [`ServeError`] when the sockets cannot be used.
pub fn serve(options: ApiOptions, listeners: Listeners, port: GatewayPort) -> Result<ApiHandle, ServeError> {
    let Listeners { sockets, loopback_only, address } = listeners;
    let api = Arc::new(Api {
        port,
        settings: options.settings,
        config_path: options.config_path,
        source: options.source,
        log_file: options.log_file,
        started_at: options.clock.now(),
        clock: options.clock,
        tick: options.tick,
        handshake_timeout: options.handshake_timeout,
        phase: watch::channel(Phase::Starting).0,
        hub: Hub::default(),
        sends: Dedupe::default(),
        shown: login::ShownCodes::default(),
        lockout: Lockout::default(),
        access: watch::channel(0).0,
        recent: Mutex::default(),
        hostname: hostname(),
        loopback_only,
    });
    api.look_at_access();
    let data = web::Data::from(Arc::clone(&api));
    let seats = Seats::default();
    let mut server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .app_data(web::PayloadConfig::new(super::protocol::MAX_FRAME))
            .wrap(actix_web::middleware::from_fn(door::check))
            .route("/{any:.*}", web::route().guard(ws::is_upgrade()).to(ws::upgrade))
            .configure(http::routes)
            .default_service(web::to(http::root))
    })
    .on_connect(move |io, data| take_seat(&seats, io, data))
    .workers(2)
    .disable_signals()
    .shutdown_timeout(2);
    for socket in sockets {
        server = server.listen(socket).map_err(|error| ServeError::Listen { address, error })?;
    }
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(target: "api", %error, "the API ended");
        }
    });
    let hub = actix_web::rt::spawn(super::hub::run(Arc::clone(&api)));
    Ok(ApiHandle { address, api, server: handle, hub })
}

/// Seats a connection as soon as it is accepted; the seat lives as long as the connection.
fn take_seat(seats: &Seats, io: &dyn Any, data: &mut Extensions) {
    let Some(stream) = io.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
    let Ok(peer) = stream.peer_addr() else { return };
    // A second handle, because the connection is hung up from elsewhere than the worker that serves it.
    let line = stream.as_fd().try_clone_to_owned().map(std::net::TcpStream::from);
    let hang_up = move || {
        if let Ok(line) = &line {
            // An error means that it is gone already.
            drop(line.shutdown(std::net::Shutdown::Both));
        }
    };
    data.insert(Arc::new(seats.take(peer.ip(), Box::new(hang_up))));
}

/// Sockets that are open, before anybody is served.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
    loopback_only: bool,
    address: SocketAddr,
}

impl Listeners {
    fn of(sockets: Vec<TcpListener>, loopback_only: bool) -> Result<Self, ServeError> {
        let unknown = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let address = sockets.first().map_or(Ok(unknown), TcpListener::local_addr);
        let address = address.map_err(|error| ServeError::Listen { address: unknown, error })?;
        Ok(Self { sockets, loopback_only, address })
    }

    /// The first address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Opens the sockets; port 0 takes a free one.
///
/// # Errors
/// [`ServeError`] when it cannot listen there.
pub fn listen(bind: Bind, port: u16) -> Result<Listeners, ServeError> {
    let on = |ip: IpAddr, port: u16| {
        let address = SocketAddr::new(ip, port);
        TcpListener::bind(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ServeError::PortTaken { port },
            _ => ServeError::Listen { address, error },
        })
    };
    let loopback = || -> Result<_, ServeError> {
        let mut all = vec![on(Ipv4Addr::LOCALHOST.into(), port)?];
        if port != 0 {
            match on(Ipv6Addr::LOCALHOST.into(), port) {
                Ok(v6) => all.push(v6),
                Err(ServeError::PortTaken { port }) => return Err(ServeError::PortTaken { port }),
                Err(error) => tracing::debug!(target: "api", %error, "no IPv6 loopback"),
            }
        }
        Listeners::of(all, true)
    };
    let everywhere = || Listeners::of(vec![on(Ipv4Addr::UNSPECIFIED.into(), port)?], false);
    match bind {
        Bind::Loopback => loopback(),
        Bind::Lan => everywhere(),
        Bind::Tailnet => Listeners::of(vec![on(tailnet_address().ok_or(ServeError::NoTailnet)?, port)?], false),
        Bind::Auto => match loopback() {
            Err(ServeError::Listen { .. }) => everywhere(),
            other => other,
        },
    }
}

/// The address that the system would use towards the tailnet's own resolver; connecting a datagram socket sends nothing.
fn tailnet_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(100, 100, 100, 100), 53)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) if ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64 => Some(ip.into()),
        _ => None,
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|h| h.trim().to_owned())
        .filter(|h| !h.is_empty())
        .unwrap_or_else(|| "localhost".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_said_with_the_fix() {
        let first = listen(Bind::Loopback, 0).unwrap();
        assert!(first.loopback_only);
        let port = first.address.port();
        let error = listen(Bind::Loopback, port).unwrap_err().to_string();
        assert!(error.contains(&format!("port {port} is already in use")) && error.contains("--port"), "{error}");
    }
}
