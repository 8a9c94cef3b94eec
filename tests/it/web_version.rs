//! WhatsApp takes no old versions of WhatsApp Web: the current one is looked up, kept, pinned, and renewed when it is refused.

use std::path::Path;

use verso::actors::messages::StartAccount;
use verso::actors::web_version::WebVersionStatus;
use verso::policy::web_version::{BUILT_IN, VersionSource};
use wa_simulator::{Fault, Kick, PageFault, Version, World};

use crate::support::GatewayFixture;

const TWO: &str = "{ web: { reconnect: { initialMs: 250, maxMs: 500 } }, channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {}, home: {} } } } }";
const OLD: Version = Version(2, 3000, 1_040_000_000);
const NEW: Version = Version(2, 3000, 1_050_000_000);

fn shows(status: &WebVersionStatus, version: Version, source: VersionSource) -> bool {
    status.in_use.version.to_string() == version.to_string() && status.in_use.source == source
}

fn kept(state: &Path) -> Option<String> {
    std::fs::read_to_string(state.join("web-version.json")).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_whose_own_version_is_too_old_links_and_the_next_start_does_without_the_page() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    world.publish_version(NEW);
    world.set_fault(Fault::MinimumVersion(NEW));
    let gateway = GatewayFixture::start(&world, TWO).await;
    gateway.link("work", &work).await;
    let status = gateway.status().await;
    assert!(shows(&status.web_version, NEW, VersionSource::LookedUp), "{:?}", status.web_version);
    assert!(status.web_version.in_use.since.is_some() && status.web_version.last_error.is_none());
    let folder = gateway.stop().await;
    assert!(kept(folder.path()).is_some_and(|kept| kept.contains(&NEW.to_string())));

    world.set_fault(Fault::Page(PageFault::Status(503)));
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    let shown = gateway.status().await.web_version;
    assert!(shows(&shown, NEW, VersionSource::Cached), "{shown:?}");
    assert!(shown.last_error.is_some_and(|error| error.contains("status 503")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linked_account_whose_version_is_refused_comes_back_with_the_current_one() {
    let world = World::start().await.expect("world");
    let (work, home) = (world.phone("+15550001111"), world.phone("+15550002222"));
    world.publish_version(OLD);
    let gateway = GatewayFixture::start(&world, TWO).await;
    let device = gateway.link("work", &work).await;
    let other = gateway.link("home", &home).await;
    let (before, sockets) = (world.version_lookups(), other.sockets_opened());
    world.publish_version(NEW);
    world.set_fault(Fault::MinimumVersion(NEW));
    device.kick(Kick::Drop);
    gateway.wait("another version", |s| shows(&s.web_version, NEW, VersionSource::LookedUp)).await;
    let account = gateway.wait_state("work", "connected").await;
    assert_eq!((account.reconnect_attempts, account.last_error), (1, None), "the refusal itself is no failed attempt");
    assert_eq!(world.version_lookups(), before + 1);
    assert_eq!(other.sockets_opened(), sockets, "the account that is connected is not touched");
    // What one account learned serves the other without another look-up.
    other.kick(Kick::Drop);
    gateway.wait("home to be back", |_| other.sockets_opened() == sockets + 1).await;
    gateway.wait_state("home", "connected").await;
    assert_eq!(world.version_lookups(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_when_the_newest_version_is_refused_an_update_is_asked_for() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    world.publish_version(OLD);
    let gateway = GatewayFixture::start(&world, TWO).await;
    let device = gateway.link("work", &work).await;
    world.set_fault(Fault::MinimumVersion(NEW));
    device.kick(Kick::Drop);
    let account = gateway.wait_state("work", "outdated").await;
    assert_eq!(account.next_step.as_deref(), Some("update Verso"));
    assert!(account.running && account.state_text.contains("next try in "), "{}", account.state_text);
    assert!(account.last_error.is_some_and(|error| error.contains("the newest version")));

    world.set_fault(Fault::Page(PageFault::Body("another page".to_owned())));
    let start = || gateway.port.start.send(StartAccount { account: Some("work".to_owned()) });
    start().await.expect("the gateway answers").expect("started");
    let unknown = |s: &verso::actors::messages::GatewayStatus| {
        s.accounts.iter().any(|a| a.state == "outdated" && a.state_text.contains("names no version"))
    };
    let status = gateway.wait("the look-up to fail", unknown).await;
    let account = status.accounts.iter().find(|a| a.account_id.as_str() == "work").expect("listed");
    assert!(account.next_step.as_deref().is_some_and(|step| step.contains("set web.version")));

    world.clear_faults();
    world.publish_version(NEW);
    world.set_fault(Fault::MinimumVersion(NEW));
    start().await.expect("the gateway answers").expect("started");
    gateway.wait_state("work", "connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_version_is_reported_and_its_change_is_tried_at_once() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    world.publish_version(NEW);
    world.set_fault(Fault::MinimumVersion(NEW));
    let with = |version: Version| TWO.replace("web: {", &format!("web: {{ version: '{version}',"));
    let gateway = GatewayFixture::start(&world, &with(NEW)).await;
    let device = gateway.link("work", &work).await;
    let sockets = device.sockets_opened();
    assert!(shows(&gateway.status().await.web_version, NEW, VersionSource::Pinned));
    assert_eq!(world.version_lookups(), 0, "a pinned version is not looked up");
    gateway.edit(&with(OLD)).await;
    assert!(gateway.wait_state("work", "connected").await.connected, "an account that is connected is not touched");
    assert_eq!(device.sockets_opened(), sockets);
    device.kick(Kick::Drop);
    let account = gateway.wait_state("work", "outdated").await;
    assert!(account.state_text.contains("web.version pins"), "{}", account.state_text);
    assert!(account.next_step.as_deref().is_some_and(|step| step.contains("remove web.version")));
    gateway.edit(TWO).await;
    gateway.wait_state("work", "connected").await;
    assert!(shows(&gateway.status().await.web_version, NEW, VersionSource::LookedUp));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_hangs_or_lies_delays_nothing_and_changes_nothing() {
    let world = World::start().await.expect("world");
    let (work, home) = (world.phone("+15550001111"), world.phone("+15550002222"));
    world.set_fault(Fault::Page(PageFault::Silent));
    let gateway = GatewayFixture::start(&world, TWO).await;
    gateway.link("work", &work).await;
    let built_in = Version::of(BUILT_IN.numbers().2);
    assert!(shows(&gateway.status().await.web_version, built_in, VersionSource::BuiltIn));
    let folder = gateway.stop().await;

    world.set_fault(Fault::Page(PageFault::Body("{\"client_revision\":1000000001}".to_owned())));
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.link("home", &home).await;
    let shown = gateway.status().await.web_version;
    assert!(shows(&shown, built_in, VersionSource::BuiltIn), "{shown:?}");
    assert!(shown.last_error.is_some_and(|error| error.contains("older than")));
    assert_eq!(kept(&gateway.state), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_switched_off_asks_nobody() {
    let world = World::start().await.expect("world");
    let off = TWO.replace("web: {", "web: { enabled: false,");
    let gateway = GatewayFixture::start(&world, &off).await;
    gateway.wait_state("work", "disabled").await;
    gateway.edit(TWO).await;
    gateway.wait("the look-up", |s| s.web_version.in_use.source == VersionSource::LookedUp).await;
    assert_eq!(world.version_lookups(), 1, "the one after it was switched on");
}
