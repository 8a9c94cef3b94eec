//! Looks the current version of WhatsApp Web up, on the page beside the WebSocket that is dialled anyway.

use std::time::Duration;

use futures::StreamExt;
use whatsapp_rust::version::parse_sw_js;

use super::Links;
use crate::config::model::WebVersion;

/// A link waits for the first look-up; it must not wait for long.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(5);
/// The page has some 100 kB.
const PAGE_CAP: usize = 4 * 1024 * 1024;
/// What a browser sends that opens the page; others get another one.
const BROWSER: [(&str, &str); 2] = [
    ("sec-fetch-site", "none"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
    ),
];

/// Why there is no current version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookUpError {
    /// No answer in time.
    #[error("{url} did not answer within {} s", limit.as_secs())]
    Timeout {
        /// The page.
        url: String,
        /// The limit.
        limit: Duration,
    },
    /// No connection, or it broke.
    #[error("{url} cannot be reached: {cause}")]
    Unreachable {
        /// The page.
        url: String,
        /// What was seen.
        cause: String,
    },
    /// Another page.
    #[error("{url} answered with status {status}")]
    Status {
        /// The page.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// More than any honest page has.
    #[error("{url} answered with more than {PAGE_CAP} bytes")]
    TooLarge {
        /// The page.
        url: String,
    },
    /// The page has changed.
    #[error("{url} names no version of WhatsApp Web")]
    NoVersion {
        /// The page.
        url: String,
    },
}

impl Links {
    /// Asks WhatsApp for the current version of WhatsApp Web; takes 5 s at most.
    ///
    /// # Errors
    /// When the page cannot be had or names none.
    pub async fn look_up_version(&self) -> Result<WebVersion, LookUpError> {
        let url = self.endpoint.version_page();
        let (links, page) = (self.clone(), url.clone());
        let asked = self.handle.spawn(async move { tokio::time::timeout(LOOK_UP_LIMIT, links.read_page(page)).await });
        match asked.await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err(LookUpError::Timeout { url, limit: LOOK_UP_LIMIT }),
            Err(error) => Err(LookUpError::Unreachable { url, cause: error.to_string() }),
        }
    }

    async fn read_page(&self, url: String) -> Result<WebVersion, LookUpError> {
        let broken =
            |error: &dyn std::fmt::Display| LookUpError::Unreachable { url: url.clone(), cause: error.to_string() };
        let response = self.http.get(&url, &BROWSER).await.map_err(|error| broken(&error))?;
        let status = response.status().as_u16();
        if !response.status().is_success() {
            return Err(LookUpError::Status { url, status });
        }
        let mut page = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| broken(&error.without_url()))?;
            if page.len() + chunk.len() > PAGE_CAP {
                return Err(LookUpError::TooLarge { url });
            }
            page.extend_from_slice(&chunk);
        }
        let numbers = parse_sw_js(&String::from_utf8_lossy(&page));
        numbers
            .and_then(|(primary, secondary, revision)| WebVersion::from_numbers(primary, secondary, revision).ok())
            .ok_or(LookUpError::NoVersion { url })
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;
    use wa_simulator::{Fault, PageFault, Version, World};

    use super::*;
    use crate::whatsapp::Endpoint;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_page_is_read_and_whatever_is_wrong_with_it_is_said_in_time() -> Result<(), Box<dyn std::error::Error>>
    {
        let world = World::start().await?;
        let address = world.ws_url().replace("ws://", "").replace("/ws/chat", "");
        let links = Links::new(Endpoint::loopback(address.parse()?), Handle::current())?;
        world.publish_version(Version::of(1_050_000_000));
        assert_eq!(links.look_up_version().await.ok(), WebVersion::of(1_050_000_000));
        let body = |text: &str| PageFault::Body(text.to_owned());
        for (fault, said) in [
            (PageFault::Status(404), "status 404"),
            (PageFault::Status(302), "status 302"),
            (PageFault::Huge, "more than"),
            (PageFault::HangUp, "cannot be reached"),
            (PageFault::Silent, "within 5 s"),
            (body("<html>please update your browser</html>"), "names no version"),
            (body("client_revision:99999999999999"), "names no version"),
            (body("client_revision:4294967295"), "names no version"),
            (body("assets-manifest-98765 "), "names no version"),
            (body("\u{0}\u{fffd}"), "names no version"),
        ] {
            world.set_fault(Fault::Page(fault.clone()));
            let error = links.look_up_version().await.expect_err("no version").to_string();
            assert!(error.contains(said) && error.contains("/sw.js"), "{fault:?}: {error}");
        }
        world.shutdown();
        let gone = Links::new(Endpoint::loopback("127.0.0.1:1".parse()?), Handle::current())?;
        assert!(gone.look_up_version().await.is_err_and(|error| error.to_string().contains("cannot be reached")));
        Ok(())
    }
}
