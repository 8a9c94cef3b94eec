//! A phone that stays away: its owner is warned before WhatsApp unlinks the device, and nobody is warned of a phone that is on.

use verso::clock::{Clock, UnixMs};
use verso::policy::phone_watch::PhoneState;
use wa_simulator::{Kick, LinkedDevice, Phone, World};

use crate::support::GatewayFixture;

const ONE: &str = r#"{
    web: { reconnect: { initialMs: 250, maxMs: 500 } },
    channels: { whatsapp: { dmPolicy: "open", allowFrom: ["*"], accounts: { work: {} } } },
}"#;
const DAY: UnixMs = 86_400_000;

async fn reconnect(gateway: &GatewayFixture, device: &LinkedDevice) {
    let before = device.sockets_opened();
    device.kick(Kick::Drop);
    device.wait_sockets(before + 1).await.expect("a new socket");
    gateway.wait_state("work", "connected").await;
}

async fn talk(ann: &Phone, work: &Phone, text: &str) {
    ann.says(work, text);
    ann.expect_text(text).await.expect("answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_stays_away_is_warned_of_until_it_is_back() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let start = Clock::System.now();
    let clock = Clock::manual(start);
    let gateway = GatewayFixture::start_at(&world, ONE, clock.clone()).await;
    let device = gateway.link("work", &work).await;
    // Later, so that the sign of life is the receipt and not the linking.
    let start = start + 2 * DAY;
    clock.set(start);
    talk(&ann, &work, "hello").await;
    gateway.wait("the phone to confirm", |s| s.accounts[0].phone.last_seen_at == Some(start)).await;

    work.switches_off();
    clock.set(start + DAY / 2);
    talk(&ann, &work, "while the phone is off").await;
    gateway.wait("the answer to be noted", |s| s.accounts[0].last_outbound_at == Some(start + DAY / 2)).await;
    clock.set(start + 6 * DAY);
    reconnect(&gateway, &device).await;
    let status = gateway.status().await;
    assert_eq!((status.accounts[0].phone.state, &status.accounts[0].phone.warning), (PhoneState::Silent, &None));

    clock.set(start + 8 * DAY);
    reconnect(&gateway, &device).await;
    let phone = gateway.status().await.accounts[0].phone.clone();
    let warning = phone.warning.clone().expect("warned");
    assert!(warning.starts_with("the phone has not been seen for 7 days"), "{warning}");
    assert_eq!((phone.last_seen_at, phone.unlinked_at), (Some(start), Some(start + 14 * DAY)));

    // The next process knows it, and counts on.
    let folder = gateway.stop().await;
    clock.set(start + 11 * DAY);
    let gateway = GatewayFixture::start_in_at(&world, folder, clock.clone()).await;
    gateway.wait_state("work", "connected").await;
    let warning = gateway.status().await.accounts[0].phone.warning.clone().expect("warned");
    assert!(warning.starts_with("the phone has not been seen for 10 days"), "{warning}");

    work.switches_on();
    gateway.wait("the phone to be back", |s| s.accounts[0].phone.warning.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_account_is_not_warned_of() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let start = Clock::System.now();
    let clock = Clock::manual(start);
    let gateway = GatewayFixture::start_at(&world, ONE, clock.clone()).await;
    let device = gateway.link("work", &work).await;
    clock.set(start + DAY);
    talk(&ann, &work, "hello").await;
    gateway.wait("the phone to confirm", |s| s.accounts[0].phone.last_seen_at == Some(start + DAY)).await;
    let later = start + 14 * DAY;
    clock.set(later);
    reconnect(&gateway, &device).await;
    let phone = gateway.status().await.accounts[0].phone.clone();
    assert_eq!((phone.state, phone.warning, phone.silent_since), (PhoneState::Unknown, None, None));
    // What its owner writes on the phone tells that it is on.
    work.says(&ann, "from the phone");
    gateway.wait("the phone to be seen", |s| s.accounts[0].phone.last_seen_at == Some(later)).await;
}
