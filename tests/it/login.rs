//! Linking a phone: by code, again, by force, and what goes wrong.

use verso::actors::messages::{LoginProgress, LoginStart, LoginStarted};
use verso::ids::E164;
use wa_simulator::{Fault, Kick, World};

use crate::support::{DEADLINE, GatewayFixture};

const ONE: &str = "{ channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {} } } } }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_characters_link_a_phone() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, ONE).await;
    let started = gateway.login("work", false, E164::from_digits("+15550001111")).await.expect("a code");
    let LoginStarted::Code { code, .. } = started else { panic!("{started:?}") };
    assert_eq!(code.chars().filter(char::is_ascii_alphanumeric).count(), 8, "{code}");
    work.enter_code(&code).await.expect("the phone links");
    assert_eq!(
        gateway.login_end("work").await,
        LoginProgress::Linked { account: verso::ids::AccountId::new("work"), who: "+15550001111".into(), before: None }
    );
    gateway.wait_state("work", "connected").await;
    ann.says(&work, "hello");
    ann.expect_text("hello").await.expect("answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linked_account_is_linked_anew_only_by_force() {
    let world = World::start().await.expect("world");
    let (work, other) = (world.phone("+15550001111"), world.phone("+15550009999"));
    let gateway = GatewayFixture::start(&world, ONE).await;
    let device = gateway.link("work", &work).await;
    let again = gateway.login("work", false, None).await.expect("answered");
    assert!(matches!(&again, LoginStarted::AlreadyLinked { who, .. } if who == "+15550001111"), "{again:?}");
    assert!(device.connected(), "asking changes nothing");
    // Several times: the credentials of the link that is given up must never come back, however late it saves them.
    for phone in [&other, &work, &other] {
        let started = gateway.login("work", true, None).await.expect("a code");
        let LoginStarted::Qr { code, .. } = started else { panic!("no QR: {started:?}") };
        phone.scan_qr(&code).await.expect("the other phone links");
        let end = gateway.login_end("work").await;
        assert!(matches!(&end, LoginProgress::Linked { who, .. } if *who == phone.number()), "{end:?}");
        let status = gateway.wait_state("work", "connected").await;
        assert_eq!(status.self_number.map(|n| n.to_string()), Some(phone.number()));
    }
    assert!(!device.linked(), "WhatsApp was told that the first device is given up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_working_link_goes_on_until_a_phone_accepted_the_new_one() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, ONE).await;
    let device = gateway.link("work", &work).await;
    // A login that fails.
    world.set_fault(Fault::HangUpInHandshake);
    gateway.login("work", true, None).await.expect_err("no code can come");
    world.clear_faults();
    // One that nobody scans.
    let started = gateway.login("work", true, None).await.expect("a code");
    let LoginStarted::Qr { code, .. } = started else { panic!("no QR: {started:?}") };
    assert!(device.connected() && device.linked(), "the code alone ends nothing");
    ann.says(&work, "while the code is shown");
    ann.expect_text("while the code is shown").await.expect("answered");
    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    assert!(device.linked());
    ann.says(&work, "after the restart");
    ann.expect_text("after the restart").await.expect("answered by the old link");
    assert!(!gateway.state.join("credentials/whatsapp/work/relink").exists(), "nothing of the login is left");
    // One that is scanned.
    let started = gateway.login("work", true, None).await.expect("a code");
    let LoginStarted::Qr { code: fresh, .. } = started else { panic!("no QR: {started:?}") };
    assert_ne!(fresh, code);
    let new = work.scan_qr(&fresh).await.expect("the phone links");
    assert!(matches!(gateway.login_end("work").await, LoginProgress::Linked { .. }));
    gateway.wait_state("work", "connected").await;
    assert!(!device.linked() && new.linked(), "the old device is given up, the new one in use");
    ann.says(&work, "on the new link");
    ann.expect_text("on the new link").await.expect("answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_door_sees_the_same_code() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway = GatewayFixture::start(&world, ONE).await;
    let first = gateway.qr("work").await;
    let second = gateway.login("work", false, None).await.expect("a code");
    let LoginStarted::Qr { code, fresh, .. } = second else { panic!("{second:?}") };
    assert_eq!((code.as_str(), fresh), (first.as_str(), false));
    work.scan_qr(&first).await.expect("links");
    gateway.wait_state("work", "connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_device_is_linked_again_with_a_plain_login() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway = GatewayFixture::start(&world, ONE).await;
    let device = gateway.link("work", &work).await;
    device.kick(Kick::DeviceRemoved);
    gateway.wait_state("work", "logged-out").await;
    gateway.link("work", &work).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_up_is_a_state_and_a_sentence() {
    let world = World::start().await.expect("world");
    let gateway = GatewayFixture::start(&world, ONE).await;
    world.set_fault(Fault::HangUpInHandshake);
    let start = LoginStart { account: None, force: false, phone: None, timeout: DEADLINE };
    let refused = gateway.port.login_start.send(start).await.expect("answers").expect_err("no code can come");
    assert!(refused.to_string().contains("handshake") || refused.to_string().contains("closed"), "{refused}");
    let status = gateway.wait_state("work", "not-linked").await;
    assert!(status.state_text.contains("the last login failed"), "{}", status.state_text);
    world.clear_faults();
    gateway.link("work", &world.phone("+15550001111")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_account_is_named_with_the_known_ones() {
    let world = World::start().await.expect("world");
    let gateway = GatewayFixture::start(&world, ONE).await;
    let refused = gateway.login("wrok", false, None).await.expect_err("unknown").to_string();
    assert_eq!(refused, "unknown account \"wrok\"; configured: work");
}
