//! A normal build talks to WhatsApp only: a server whose certificate chain does not lead to WhatsApp's key learns nothing.
#![cfg(not(feature = "demo"))]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use verso::event::{DownReason, InboundMessage, LinkEvent};
use verso::ids::AccountId;
use verso::whatsapp::{CommitFailed, Endpoint, LinkSink, LinkSpec, Links};
use wa_simulator::World;

struct Nothing;

impl LinkSink for Nothing {
    fn event(&self, event: LinkEvent) {
        panic!("a forged server made an event: {event:?}");
    }

    fn commit(&self, _: Vec<InboundMessage>) -> BoxFuture<'_, Result<(), CommitFailed>> {
        async { panic!("a forged server delivered a message") }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_normal_build_refuses_a_forged_chain() -> Result<(), Box<dyn Error>> {
    let world = World::start().await?;
    let url = world.ws_url();
    let address: SocketAddr = url.trim_start_matches("ws://").trim_end_matches("/ws/chat").parse()?;
    let dir = tempfile::tempdir()?;
    let links = Links::new(Endpoint::loopback(address), Handle::current())?;
    let spec = LinkSpec {
        account: AccountId::new("work"),
        auth_dir: dir.path().to_owned(),
        device_name: "Verso".to_owned(),
        available: false,
        linking: false,
        encryption: None,
    };
    let link = links.open(spec, Arc::new(Nothing)).await?;
    let end = tokio::time::timeout(Duration::from_secs(30), link.run()).await?;
    assert!(matches!(&end, DownReason::OpenFailed { detail } if detail.contains("certificate")), "{end:?}");
    assert_eq!(world.sockets_opened(), 1, "the server was reached");
    let secured = world.trace().iter().any(|entry| entry.xml.contains("secured"));
    assert!(!secured, "the client went on and sent its payload");
    link.close().await;
    Ok(())
}
