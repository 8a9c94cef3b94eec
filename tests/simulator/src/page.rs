//! The page that tells which version of WhatsApp Web is current, as web.whatsapp.com serves it beside its WebSocket, and the versions
//! that the server still takes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use waproto::whatsapp::ClientPayload;

use crate::state::{Addr, State};

/// Where the page is, on the port of the WebSocket.
const PATH: &[u8] = b"GET /sw.js ";
/// Larger than any honest page.
const HUGE: usize = 64 * 1024 * 1024;

/// A version of WhatsApp Web, as in `2.3000.1044017588`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// The version with this revision: 2.3000 is all that there has been for years.
    pub fn of(revision: u32) -> Self {
        Self(2, 3000, revision)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([a, b, c]) => Ok(Self(*a, *b, *c)),
            Ok([revision]) => Ok(Self::of(*revision)),
            _ => Err(format!("{text:?} is no version such as 2.3000.1044017588")),
        }
    }
}

/// The version that the page names unless somebody publishes another one.
pub(crate) const CURRENT: Version = Version(2, 3000, 1_044_017_588);

/// What is wrong with the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageFault {
    /// This status and no version.
    Status(u16),
    /// This text instead of the page.
    Body(String),
    /// More bytes than anybody should read.
    Huge,
    /// The request is read and never answered.
    Silent,
    /// The connection ends without an answer.
    HangUp,
}

impl State {
    /// Whether a client reports a version older than what its device or everybody has to.
    pub fn too_old(&self, addr: Option<Addr>, payload: &ClientPayload) -> bool {
        let own = addr.and_then(|addr| self.device(addr)).and_then(|device| device.faults.minimum_version());
        let Some(minimum) = own.or(self.faults.minimum_version()) else { return false };
        let reported = payload.user_agent.as_option().and_then(|agent| agent.app_version.as_option());
        let number = |part: Option<u32>| part.unwrap_or_default();
        let reported = reported.map_or(Version(0, 0, 0), |version| {
            Version(number(version.primary), number(version.secondary), number(version.tertiary))
        });
        reported < minimum
    }
}

/// Whether a connection asks for the page; looks at what came in without taking it.
pub(crate) async fn is_wanted(socket: &TcpStream) -> bool {
    let mut start = [0; PATH.len()];
    loop {
        match socket.peek(&mut start).await {
            Ok(0) | Err(_) => return false,
            Ok(n) if !PATH.starts_with(&start[..n]) => return false,
            Ok(n) if n == PATH.len() => return true,
            // A client sends its request in one piece; one that does not is asked again.
            Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Answers the request for the page and ends the connection.
pub(crate) async fn serve(mut socket: TcpStream, version: Version, fault: Option<PageFault>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < 64 * 1024 {
        match socket.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let (status, body) = match fault {
        None => (200, page(version).into_bytes()),
        Some(PageFault::Status(status)) => (status, b"<html>not today</html>".to_vec()),
        Some(PageFault::Body(body)) => (200, body.into_bytes()),
        Some(PageFault::Huge) => (200, vec![b' '; HUGE]),
        Some(PageFault::Silent) => {
            // Until the client gives up.
            let _ = socket.read_u8().await;
            return;
        }
        Some(PageFault::HangUp) => return,
    };
    let head = format!(
        "HTTP/1.1 {status} OK\r\ncontent-type: application/x-javascript; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let answered = async {
        socket.write_all(head.as_bytes()).await?;
        socket.write_all(&body).await?;
        socket.shutdown().await
    };
    // A client that has read enough hangs up.
    let _ = answered.await;
}

/// The service worker of WhatsApp Web, as far as it matters: a JSON text inside a script.
fn page(version: Version) -> String {
    let revision = version.2;
    format!(
        "/*FB_PKG_DELIM*/\nself.__swData=JSON.parse(/*BTDS*/\"{{\\\"dynamic_data\\\":{{\\\"SiteData\\\":{{\\\"server_revision\\\":{revision},\
         \\\"client_revision\\\":{revision},\\\"push_phase\\\":\\\"C3\\\",\\\"pkg_cohort\\\":\\\"BP:DEFAULT\\\"}}}}}}\");\n\
         importScripts(\"\\/rsrc.php\\/sw.js\");\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_finds_the_version_on_the_page() {
        assert_eq!(wacore::version::parse_sw_js(&page(CURRENT)), Some((CURRENT.0, CURRENT.1, CURRENT.2)));
    }

    #[test]
    fn versions_are_read_as_people_write_them() {
        assert_eq!("2.3000.12".parse(), Ok(Version::of(12)));
        assert_eq!("12".parse(), Ok(Version::of(12)));
        assert!("2.3000".parse::<Version>().is_err());
        assert!(Version::of(13) > Version::of(12) && Version(2, 3001, 0) > Version::of(13));
    }
}
