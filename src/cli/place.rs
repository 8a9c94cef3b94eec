//! Where this user's configuration and state lie, and how their gateway is reached.

use std::net::SocketAddr;
use std::path::Path;

use super::Connection;
use super::output::Failure;
use crate::config::file::{self, ConfigSource, Environment};
use crate::config::{Config, Loaded};
use crate::disclosure;
use crate::store::atomic;
use crate::store::lock::GatewayLock;
use crate::store::paths::StatePaths;

/// Port of the API when nothing else is said.
pub const DEFAULT_PORT: u16 = 18789;

/// The configuration file and the state folder.
#[derive(Clone, Debug)]
pub struct Place {
    /// The configuration.
    pub location: ConfigSource,
    /// The state.
    pub paths: StatePaths,
}

/// Where a gateway answers and with which secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// `ws://host:port`.
    pub url: String,
    /// The secret; absent when none is known.
    pub token: Option<String>,
    /// The user said where: nothing else is tried.
    pub explicit: bool,
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

impl Place {
    /// The place that the environment names.
    pub fn of_process() -> Self {
        Self::of(&Environment::of_process())
    }

    fn of(environment: &Environment) -> Self {
        let location = ConfigSource::find(environment);
        let paths = StatePaths::new(location.env.state_dir.clone(), Some(location.env.credentials.clone()));
        Self { location, paths }
    }

    /// The configuration; without a file the one that the gateway would start with.
    ///
    /// # Errors
    /// Every problem of the file.
    pub fn config(&self) -> Result<Loaded, Failure> {
        file::load_or_first(&self.location).map_err(|rejected| Failure::new(rejected.to_string()))
    }

    /// How to reach the gateway: `--url`, `VERSO_GATEWAY_URL`, the address that a running gateway noted, else the configured port.
    pub fn reach(&self, connection: &Connection) -> Reach {
        let config = self.config().ok().map(|l| l.config);
        let given = connection.url.clone().or_else(|| env("VERSO_GATEWAY_URL"));
        let explicit = given.is_some();
        let url = given.map(|u| websocket(&u)).unwrap_or_else(|| {
            let noted = noted_address(&self.paths);
            let port = config.as_ref().map_or(DEFAULT_PORT, |c| c.gateway.port);
            noted.map_or_else(|| format!("ws://127.0.0.1:{port}"), |a| format!("ws://{a}"))
        });
        let known = connection.token.clone();
        // A secret of this machine is not shown to another one.
        let token = if explicit && !is_local(&url) {
            known.or_else(|| env("VERSO_GATEWAY_TOKEN")).or_else(|| env("OPENCLAW_GATEWAY_TOKEN"))
        } else {
            known.or_else(|| self.known_token(config.as_deref()))
        };
        disclosure::remember(token.as_deref());
        Reach { url, token, explicit }
    }

    /// The token as far as it exists: configuration (or `VERSO_GATEWAY_TOKEN`), `OPENCLAW_GATEWAY_TOKEN`, the token file.
    pub fn known_token(&self, config: Option<&Config>) -> Option<String> {
        config
            .and_then(|c| c.gateway.token.as_ref().map(|t| t.reveal().to_owned()))
            .or_else(|| env("VERSO_GATEWAY_TOKEN"))
            .or_else(|| env("OPENCLAW_GATEWAY_TOKEN"))
            .or_else(|| read_token(&self.paths.gateway_token()))
            .inspect(|token| disclosure::remember([token.as_str()]))
    }

    /// The token file's content, made at random when there is none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn own_token(&self) -> Result<String, Failure> {
        let path = self.paths.gateway_token();
        if let Some(token) = read_token(&path) {
            return Ok(token);
        }
        let bytes: [u8; 32] = rand::random();
        let token: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        disclosure::remember([token.as_str()]);
        atomic::private_dir(self.paths.root())?;
        atomic::replace(&path, format!("{token}\n").as_bytes())?;
        Ok(token)
    }
}

fn read_token(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty())
}

/// The address in the lock file of a gateway that runs; "all interfaces" is reached by loopback.
fn noted_address(paths: &StatePaths) -> Option<SocketAddr> {
    if !GatewayLock::is_held(paths) {
        return None;
    }
    let text = std::fs::read_to_string(paths.gateway_lock()).ok()?;
    let mut address: SocketAddr = text.split_whitespace().nth(1)?.parse().ok()?;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    Some(address)
}

/// `http` addresses are accepted as people copy them.
fn websocket(url: &str) -> String {
    let url = url.trim();
    match url.split_once("://") {
        Some(("http", rest)) => format!("ws://{rest}"),
        Some(("https", rest)) => format!("wss://{rest}"),
        Some(_) => url.to_owned(),
        None => format!("ws://{url}"),
    }
}

fn is_local(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    let host = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
    let host = host.unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &Path) -> Place {
        let environment =
            Environment { home: Some(dir.into()), state_dir: Some(dir.join("state")), ..Environment::default() };
        Place::of(&environment)
    }

    #[test]
    fn the_gateway_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let plain = place.reach(&Connection::default());
        assert_eq!((plain.url.as_str(), plain.explicit), ("ws://127.0.0.1:18789", false));
        let token = place.own_token().unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(place.own_token().unwrap(), token, "made once");
        assert_eq!(place.reach(&Connection::default()).token.as_deref(), Some(token.as_str()));
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(place.paths.gateway_token()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(
            &place.location.path,
            "{ gateway: { port: 19001, auth: { token: 'from-config' } }, channels: { whatsapp: {} } }",
        )
        .unwrap();
        let configured = place.reach(&Connection::default());
        assert_eq!(
            (configured.url.as_str(), configured.token.as_deref()),
            ("ws://127.0.0.1:19001", Some("from-config"))
        );
        let mut lock = GatewayLock::acquire(&place.paths).unwrap();
        lock.note_address("0.0.0.0:19555", &place.paths).unwrap();
        assert_eq!(place.reach(&Connection::default()).url, "ws://127.0.0.1:19555");
        drop(lock);
        assert_eq!(
            place.reach(&Connection::default()).url,
            "ws://127.0.0.1:19001",
            "a note left behind is not believed"
        );
    }

    #[test]
    fn secrets_stay_at_home() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let token = place.own_token().unwrap();
        let to = |url: &str| place.reach(&Connection { url: Some(url.into()), ..Connection::default() });
        assert_eq!(to("http://localhost:5").url, "ws://localhost:5");
        assert_eq!(to("localhost:5").token.as_deref(), Some(token.as_str()));
        assert_eq!(to("ws://[::1]:5").token.as_deref(), Some(token.as_str()));
        assert_ne!(to("wss://gateway.example").token.as_deref(), Some(token.as_str()));
        assert_ne!(to("ws://127.0.0.1.evil.example:5").token.as_deref(), Some(token.as_str()));
    }
}
