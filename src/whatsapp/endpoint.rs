//! Which server a link dials. Only a `demo` build can be pointed elsewhere, and then only at this machine.

use std::net::{IpAddr, SocketAddr};

/// The server that all links of a process use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The WebSocket address.
    pub url: String,
    pub(super) kind: EndpointKind,
}

/// Real server or one on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndpointKind {
    WhatsApp,
    Loopback,
}

/// The address of another server cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// A demo build without an address.
    #[error(
        "a demo build dials this machine only: set VERSO_WHATSAPP_URL=ws://127.0.0.1:PORT/ws/chat, or use a normal build to reach WhatsApp"
    )]
    NotSet,
    /// Not `ws://` or `wss://` with a host.
    #[error("VERSO_WHATSAPP_URL is {0:?}, which is no WebSocket address; write ws://127.0.0.1:PORT/ws/chat")]
    NotAWebSocket(String),
    /// Not this machine.
    #[error(
        "VERSO_WHATSAPP_URL names {0:?}, but a demo build dials this machine only (127.0.0.0/8, ::1, localhost); use a normal build to reach WhatsApp"
    )]
    NotLoopback(String),
}

/// Where WhatsApp is.
const WHATSAPP_URL: &str = "wss://web.whatsapp.com/ws/chat";

impl Endpoint {
    /// WhatsApp itself.
    pub fn whatsapp() -> Self {
        Self { url: WHATSAPP_URL.to_owned(), kind: EndpointKind::WhatsApp }
    }

    /// A server on this machine, for tests. In a normal build its certificate chain is still checked against
    /// WhatsApp's key, so no link can be made with it.
    ///
    /// # Panics
    /// When `addr` is not a loopback address.
    pub fn loopback(addr: SocketAddr) -> Self {
        assert!(addr.ip().is_loopback(), "tests dial this machine only");
        Self { url: format!("ws://{addr}/ws/chat"), kind: EndpointKind::Loopback }
    }

    /// The server that a demo build dials: `url`, the value of `VERSO_WHATSAPP_URL`.
    ///
    /// # Errors
    /// When it is missing, is no WebSocket address, or does not name this machine.
    #[cfg(feature = "demo")]
    pub fn from_env(url: Option<String>) -> Result<Self, EndpointError> {
        let url = url.filter(|url| !url.trim().is_empty()).ok_or(EndpointError::NotSet)?;
        let bad = || EndpointError::NotAWebSocket(url.clone());
        let parsed = reqwest::Url::parse(&url).map_err(|_| bad())?;
        if !matches!(parsed.scheme(), "ws" | "wss") {
            return Err(bad());
        }
        let host = parsed.host_str().ok_or_else(bad)?;
        if !is_loopback_host(host) {
            return Err(EndpointError::NotLoopback(host.to_owned()));
        }
        Ok(Self { url, kind: EndpointKind::Loopback })
    }

    /// The page on the same host that names the current version of WhatsApp Web.
    pub(super) fn version_page(&self) -> String {
        let secure = self.url.starts_with("wss:");
        let host = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let host = host.split(['/', '?', '#']).next().unwrap_or_default();
        format!("{}://{host}/sw.js", if secure { "https" } else { "http" })
    }

    /// Whether this process may open a connection to `host`: anywhere for WhatsApp in a normal build, this machine
    /// only in every other case.
    pub(super) fn may_dial(&self, host: &str) -> bool {
        let free = self.kind == EndpointKind::WhatsApp && !cfg!(feature = "demo");
        free || is_loopback_host(host)
    }
}

/// True for `localhost` and for literal loopback addresses, with or without brackets. Other names never count, whatever
/// they resolve to.
pub(super) fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_counts_as_loopback() {
        for (host, want) in [
            ("127.0.0.1", true),
            ("127.9.8.7", true),
            ("[::1]", true),
            ("::1", true),
            ("LOCALHOST", true),
            ("localhost.example.com", false),
            ("127.0.0.1.nip.io", false),
            ("web.whatsapp.com", false),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(is_loopback_host(host), want, "{host}");
        }
    }

    #[test]
    fn a_test_endpoint_never_dials_outside() {
        let here = Endpoint::loopback("127.0.0.1:9".parse().expect("valid"));
        assert!(!here.may_dial("mmg.whatsapp.net"));
        assert!(here.may_dial("127.0.0.1"));
        assert_eq!(Endpoint::whatsapp().may_dial("mmg.whatsapp.net"), !cfg!(feature = "demo"));
    }

    #[test]
    fn the_version_is_looked_up_on_the_host_that_is_dialled() {
        assert_eq!(Endpoint::whatsapp().version_page(), "https://web.whatsapp.com/sw.js");
        assert_eq!(Endpoint::loopback("[::1]:9".parse().expect("valid")).version_page(), "http://[::1]:9/sw.js");
    }

    #[cfg(feature = "demo")]
    #[test]
    fn a_demo_build_refuses_the_outside() {
        let take = |url: &str| Endpoint::from_env(Some(url.to_owned()));
        assert!(take("ws://127.0.0.1:1234/ws/chat").is_ok());
        assert!(take("wss://localhost/ws/chat").is_ok());
        assert!(take("ws://[::1]:1/").is_ok());
        assert_eq!(take("wss://example.com/"), Err(EndpointError::NotLoopback("example.com".to_owned())));
        assert!(matches!(take("http://127.0.0.1/"), Err(EndpointError::NotAWebSocket(_))));
        assert!(matches!(take("nonsense"), Err(EndpointError::NotAWebSocket(_))));
        assert_eq!(Endpoint::from_env(None), Err(EndpointError::NotSet));
    }
}
