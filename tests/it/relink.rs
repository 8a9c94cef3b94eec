//! A login beside a link that works: codes that are renewed and run out, what ends it half-way, and a kill at every step of the change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use verso::actors::messages::{LoginProgress, LoginStarted, LoginWait};
use verso::actors::supervisor::InjectPanic;
use wa_simulator::{Fault, LinkedDevice, Phone, World};

use crate::support::{DEADLINE, GatewayFixture};

const ONE: &str = "{ channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {} } } } }";

fn auth(state: &Path) -> PathBuf {
    state.join("credentials/whatsapp/work")
}

/// Begins a login beside the link and gives its code.
async fn forced(gateway: &GatewayFixture) -> String {
    match gateway.login("work", true, None).await {
        Ok(LoginStarted::Qr { code, .. }) => code,
        other => panic!("no QR code: {other:?}"),
    }
}

async fn follow(gateway: &GatewayFixture, shown: &str) -> LoginProgress {
    let wait = LoginWait { account: Some("work".to_owned()), shown: Some(shown.to_owned()), timeout: DEADLINE };
    gateway.port.login_wait.send(wait).await.expect("the gateway answers").expect("a known account")
}

/// The link works, and nothing of a login is left.
async fn untouched(gateway: &GatewayFixture, device: &LinkedDevice, sockets: usize, ann: &Phone, work: &Phone) {
    gateway.wait("the login's files to be gone", |_| !auth(&gateway.state).join("relink").exists()).await;
    assert!(device.connected() && device.linked());
    assert_eq!(device.sockets_opened(), sockets, "the old link was never dropped");
    ann.says(work, "still there?");
    ann.expect_text("still there?").await.expect("answered by the old link");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_that_run_out_beside_a_link_leave_it_alone() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, ONE).await;
    let device = gateway.link("work", &work).await;
    let sockets = device.sockets_opened();

    let mut shown = forced(&gateway).await;
    for _ in 0..3 {
        world.renew_codes(6);
        match follow(&gateway, &shown).await {
            LoginProgress::NewQr { code } => {
                assert_ne!(code, shown);
                shown = code;
            }
            other => panic!("no newer code: {other:?}"),
        }
    }
    world.renew_codes(0);
    assert_eq!(follow(&gateway, &shown).await, LoginProgress::Expired);
    untouched(&gateway, &device, sockets, &ann, &work).await;
    work.scan_qr(&shown).await.expect_err("a code that ran out links nothing");

    // The next one links, and by another person's phone: then the account is that person's, and it is said.
    let other = world.phone("+15550009999");
    let code = forced(&gateway).await;
    other.scan_qr(&code).await.expect("links");
    let end = gateway.login_end("work").await;
    let LoginProgress::Linked { who, before, .. } = end else { panic!("{end:?}") };
    assert_eq!((who.as_str(), before.as_deref()), ("+15550009999", Some("+15550001111")));
    assert!(!device.linked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passkey_is_recognised_at_once_and_the_ways_that_work_are_named() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, ONE).await;
    world.set_fault(Fault::AsksForPasskey);
    let code = gateway.qr("work").await;
    work.scan_qr(&code).await.expect_err("not without the passkey");
    let LoginProgress::Failed { error } = gateway.login_end("work").await else { panic!("it failed") };
    for way in ["passkey", "verso channels import --from", "verso migrate openclaw", "Settings, Account, Passkeys"] {
        assert!(error.contains(way), "{error}");
    }
    let status = gateway.wait_state("work", "not-linked").await;
    assert!(status.state_text.contains("passkey"), "{}", status.state_text);

    // Beside a link that works it costs that link nothing.
    world.clear_faults();
    let device = gateway.link("work", &work).await;
    let sockets = device.sockets_opened();
    world.set_fault(Fault::AsksForPasskey);
    let code = forced(&gateway).await;
    work.scan_qr(&code).await.expect_err("not without the passkey");
    let end = gateway.login_end("work").await;
    assert!(matches!(&end, LoginProgress::Failed { error } if error.contains("passkey")), "{end:?}");
    untouched(&gateway, &device, sockets, &ann, &work).await;
}

/// A new device that is nowhere on disk must not cost the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_link_that_cannot_be_saved_leaves_the_old_one() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, ONE).await;
    let device = gateway.link("work", &work).await;
    let sockets = device.sockets_opened();
    let code = forced(&gateway).await;
    // No user may write over a folder, also not the one whom no permission holds back.
    std::fs::create_dir(auth(&gateway.state).join("relink/creds.json")).expect("made");
    work.scan_qr(&code).await.expect("the phone accepts it");
    let LoginProgress::Failed { error } = gateway.login_end("work").await else { panic!("it is not saved") };
    for told in ["could not be saved: cannot write creds.json", "the old link goes on", "Linked Devices"] {
        assert!(error.contains(told), "{error}");
    }
    untouched(&gateway, &device, sockets, &ann, &work).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_code_links_nothing_and_the_right_one_still_does() {
    let world = World::start().await.expect("world");
    let (work, stranger) = (world.phone("+15550001111"), world.phone("+15550002222"));
    let gateway = GatewayFixture::start(&world, ONE).await;
    let started = gateway.login("work", false, verso::ids::E164::from_digits("+15550001111")).await.expect("a code");
    let LoginStarted::Code { code, .. } = started else { panic!("{started:?}") };
    stranger.enter_code(&code).await.expect_err("the code is for another number");
    gateway.wait_state("work", "linking").await;
    work.enter_code(&code).await.expect("links");
    gateway.wait_state("work", "connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_kinds_of_login_at_once_follow_the_newer_one() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway = GatewayFixture::start(&world, ONE).await;
    let qr = gateway.qr("work").await;
    let number = verso::ids::E164::from_digits("+15550001111");
    let (first, second) =
        tokio::join!(gateway.login("work", false, number.clone()), gateway.login("work", false, number));
    let (Ok(LoginStarted::Code { code, .. }), Ok(LoginStarted::Code { code: same, .. })) = (first, second) else {
        panic!("two doors, one code")
    };
    assert_eq!(code, same);
    work.scan_qr(&qr).await.expect_err("the QR code was given up");
    work.enter_code(&code).await.expect("links");
    gateway.wait_state("work", "connected").await;
    assert_eq!(work.devices().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_ends_with_its_account_its_gateway_and_its_supervisor() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, ONE).await;
    let device = gateway.link("work", &work).await;

    // Its supervisor: the socket of the login goes too, and its code links nothing any more.
    let code = forced(&gateway).await;
    let before = device.sockets_opened();
    gateway.inject_panic("work", InjectPanic::Supervisor);
    device.wait_sockets(before + 1).await.expect("the account comes back");
    gateway.wait_state("work", "connected").await;
    gateway.wait("the login's socket to be gone", |_| world.sockets_open() == 1).await;
    work.scan_qr(&code).await.expect_err("nobody shows it any more");
    untouched(&gateway, &device, before + 1, &ann, &work).await;

    // Its account.
    let code = forced(&gateway).await;
    let relink = auth(&gateway.state).join("relink");
    gateway.edit("{ channels: { whatsapp: { accounts: { other: {} } } } }").await;
    device.wait_disconnected().await.expect("closed");
    gateway.wait("the login's files to be gone", |_| !relink.exists()).await;
    work.scan_qr(&code).await.expect_err("nobody shows it any more");
    assert!(device.linked(), "an account that is taken out of the configuration stays linked");
    gateway.edit(ONE).await;
    gateway.wait_state("work", "connected").await;

    // Its gateway.
    forced(&gateway).await;
    let folder = gateway.stop().await;
    assert!(!auth(folder.path()).join("relink").exists());
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    assert!(device.linked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switched_off_account_says_how_to_switch_it_on_instead_of_a_code() {
    let world = World::start().await.expect("world");
    let gateway =
        GatewayFixture::start(&world, "{ channels: { whatsapp: { accounts: { work: { enabled: false } } } } }").await;
    for force in [false, true] {
        let refused = gateway.login("work", force, None).await.expect_err("switched off").to_string();
        assert!(refused.contains("channels.whatsapp.accounts.work.enabled"), "{refused}");
    }
}

/// The state in which a kill leaves the folder after the phone accepted the new device, so many moves into the change.
async fn cut_off(world: &World, work: &Phone, moves: usize) -> (tempfile::TempDir, LinkedDevice, LinkedDevice) {
    let gateway = GatewayFixture::start(world, ONE).await;
    let old = gateway.link("work", work).await;
    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start(world, ONE).await;
    let new = gateway.link("work", work).await;
    let fresh = gateway.stop().await;
    let (dir, side) = (auth(folder.path()), auth(folder.path()).join("relink"));
    std::fs::rename(auth(fresh.path()), &side).expect("moved");
    if moves > 0 {
        for name in ["signal.db", "signal.db-wal", "signal.db-shm", "creds.json", "creds.json.bak"] {
            let _ = std::fs::remove_file(dir.join(name));
        }
        for name in ["signal.db", "creds.json.bak"].into_iter().take(moves - 1) {
            if side.join(name).exists() {
                std::fs::rename(side.join(name), dir.join(name)).expect("moved");
            }
        }
    }
    (folder, old, new)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_step_of_the_change_leaves_one_link_that_works() {
    for moves in 0..4 {
        let world = World::start().await.expect("world");
        let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
        let (folder, old, new) = cut_off(&world, &work, moves).await;
        let gateway = GatewayFixture::start_in(&world, folder).await;
        tokio::time::timeout(Duration::from_secs(20), new.wait_connected()).await.expect("in time").expect("connected");
        gateway.wait_state("work", "connected").await;
        gateway.wait("the change to be over", |_| !auth(&gateway.state).join("relink").exists()).await;
        assert!(new.linked(), "after {moves} moves");
        if moves == 0 {
            assert!(!old.linked(), "WhatsApp was told that the old device is given up");
        }
        ann.says(&work, "which one?");
        ann.expect_text("which one?").await.expect("answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_was_cut_off_goes_on_when_the_old_link_is_gone() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let (folder, old, new) = cut_off(&world, &work, 0).await;
    work.unlink(&old);
    let gateway = GatewayFixture::start_in(&world, folder).await;
    tokio::time::timeout(Duration::from_secs(20), new.wait_connected()).await.expect("in time").expect("connected");
    gateway.wait_state("work", "connected").await;
}
