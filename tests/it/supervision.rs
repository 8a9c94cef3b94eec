//! One account's trouble is its own: reconnects, ends that no retry cures, siblings, start and stop by the configuration.

use std::time::Duration;

use verso::actors::messages::{Draft, Logout, SendOut, StartAccount, StopAccount, Wanted};
use verso::actors::supervisor::InjectPanic;
use wa_simulator::{Fault, Kick, World};

use crate::support::GatewayFixture;

const TWO: &str = r#"{
    web: { reconnect: { initialMs: 250, maxMs: 500 } },
    channels: { whatsapp: { dmPolicy: "open", allowFrom: ["*"], accounts: { work: {}, personal: {} } } },
}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_curable_end_is_followed_by_a_reconnect_and_siblings_stay() {
    let world = World::start().await.expect("world");
    let (work, personal) = (world.phone("+15550001111"), world.phone("+15550002222"));
    let ann = world.contact("+15557654321", "Ann");
    let gateway = GatewayFixture::start(&world, TWO).await;
    let device = gateway.link("work", &work).await;
    let sibling = gateway.link("personal", &personal).await;
    let siblings_sockets = sibling.sockets_opened();
    for (n, kick) in [Kick::Drop, Kick::Close, Kick::StreamEnd, Kick::StreamError(503), Kick::StreamError(515)]
        .into_iter()
        .enumerate()
    {
        let before = device.sockets_opened();
        device.kick(kick);
        device.wait_sockets(before + 1).await.expect("a new socket");
        gateway.wait_state("work", "connected").await;
        let text = format!("still there {n}?");
        ann.says(&work, &text);
        ann.expect_text(text).await.expect("answered after the reconnect");
        assert_eq!(device.sockets_opened(), before + 1, "one socket and no storm");
    }
    assert_eq!(sibling.sockets_opened(), siblings_sockets);
    assert!(sibling.connected());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_while_the_line_was_down_is_answered_once() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, TWO).await;
    let device = gateway.link("work", &work).await;
    world.refuse_connections(2);
    device.kick(Kick::Drop);
    device.wait_disconnected().await.expect("cut");
    for n in 0..5 {
        ann.says(&work, &format!("missed {n}"));
    }
    gateway
        .wait("a failed attempt", |s| {
            s.accounts.iter().any(|a| a.account_id.as_str() == "work" && a.reconnect_attempts >= 2)
        })
        .await;
    for n in 0..5 {
        ann.expect_text(format!("missed {n}")).await.expect("answered");
    }
    gateway.wait_state("work", "connected").await;
    ann.says(&work, "marker");
    ann.expect_text("marker").await.expect("answered");
    let texts: Vec<String> = ann.inbox().into_iter().map(|r| r.text).collect();
    assert_eq!(texts, ["missed 0", "missed 1", "missed 2", "missed 3", "missed 4", "marker"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_that_no_retry_cures_are_named_and_not_retried() {
    let world = World::start().await.expect("world");
    let gateway = GatewayFixture::start(
        &world,
        r#"{ web: { reconnect: { initialMs: 250, maxMs: 500 } }, channels: { whatsapp: { accounts: { a: {}, b: {}, c: {}, d: {} } } } }"#,
    )
    .await;
    let mut devices = Vec::new();
    for (n, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
        devices.push(gateway.link(id, &world.phone(&format!("+1555000111{n}"))).await);
    }
    devices[0].kick(Kick::Conflict);
    let a = gateway.wait_state("a", "conflict").await;
    assert_eq!(a.last_disconnect.as_ref().map(|d| (d.status, d.logged_out)), Some((440, false)));
    assert!(a.next_step.as_deref().is_some_and(|s| s.contains("channels start --account a")), "{a:?}");
    assert!(a.next_step.as_deref().is_some_and(|s| s.contains("OpenClaw")), "a link that was taken over: {a:?}");
    assert!(a.state_text.contains("another program"), "{a:?}");

    devices[1].kick(Kick::DeviceRemoved);
    let b = gateway.wait_state("b", "logged-out").await;
    assert!(!b.linked && b.last_disconnect.as_ref().is_some_and(|d| d.logged_out && d.status == 401), "{b:?}");
    assert!(b.next_step.as_deref().is_some_and(|s| s.contains("verso channels login --channel whatsapp --account b")));

    devices[2].set_fault(Fault::ban(101, Duration::from_secs(3600)));
    devices[2].kick(Kick::Drop);
    let c = gateway.wait_state("c", "banned").await;
    assert!(c.state_text.contains("60 more minutes"), "{}", c.state_text);

    devices[3].set_fault(Fault::outdated());
    devices[3].kick(Kick::Drop);
    gateway.wait_state("d", "outdated").await;

    // Another account's life goes on meanwhile; none of these four comes back by itself.
    let sockets: Vec<usize> = devices.iter().map(wa_simulator::LinkedDevice::sockets_opened).collect();
    devices[2].clear_faults();
    let start = StartAccount { account: Some("c".to_owned()) };
    gateway.port.start.send(start).await.expect("answers").expect("started");
    gateway.wait_state("c", "connected").await;
    for n in [0, 1, 3] {
        assert_eq!(devices[n].sockets_opened(), sockets[n], "account {n} was not dialled again");
    }
    // The other program has ended: a start takes the link back.
    gateway.port.start.send(StartAccount { account: Some("a".to_owned()) }).await.expect("answers").expect("started");
    gateway.wait_state("a", "connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_run_out_into_degraded_and_a_start_helps() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway = GatewayFixture::start(
        &world,
        r#"{ web: { reconnect: { initialMs: 250, maxMs: 300, maxAttempts: 3 } }, channels: { whatsapp: { accounts: { work: {} } } } }"#,
    )
    .await;
    let device = gateway.link("work", &work).await;
    world.refuse_connections(1_000);
    device.kick(Kick::Drop);
    let status = gateway.wait_state("work", "degraded").await;
    assert_eq!(status.reconnect_attempts, 3);
    world.refuse_connections(0);
    gateway.port.start.send(StartAccount { account: None }).await.expect("answers").expect("started");
    gateway.wait_state("work", "connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_come_and_go_by_the_configuration_alone() {
    let world = World::start().await.expect("world");
    let (work, shop) = (world.phone("+15550001111"), world.phone("+15550003333"));
    let with = |accounts: &str| {
        format!("{{ channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], accounts: {{ {accounts} }} }} }} }}")
    };
    let gateway = GatewayFixture::start(&world, &with("work: {}")).await;
    let first = gateway.link("work", &work).await;
    let sockets = first.sockets_opened();

    gateway.write_config(&with("work: {}, shop: {}"));
    gateway.wait_revision(2).await;
    let second = gateway.link("shop", &shop).await;

    gateway.write_config(&with("work: {}, shop: { enabled: false }"));
    gateway.wait_state("shop", "disabled").await;
    second.wait_disconnected().await.expect("closed");

    gateway.write_config(&with("work: {}, shop: {}"));
    gateway.wait_state("shop", "connected").await;

    gateway.write_config(&with("work: {}"));
    gateway.wait("shop to be gone", |s| s.accounts.len() == 1).await;
    second.wait_disconnected().await.expect("closed");
    assert_eq!(first.sockets_opened(), sockets);
    assert!(first.connected());
    let receipt = gateway.status().await.last_reload;
    assert_eq!(receipt["accounts"]["shop"], "removed", "{receipt}");
    assert_eq!(receipt["accounts"]["work"], "kept", "{receipt}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_credentials_folder_relinks_that_account_alone() {
    let world = World::start().await.expect("world");
    let (work, personal, ann) =
        (world.phone("+15550001111"), world.phone("+15550002222"), world.contact("+15557654321", "Ann"));
    let with = |work: &str| {
        format!(
            "{{ channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], accounts: {{ work: {{ {work} }}, personal: {{}} }} }} }} }}"
        )
    };
    let gateway = GatewayFixture::start(&world, &with("")).await;
    let device = gateway.link("work", &work).await;
    let sibling = gateway.link("personal", &personal).await;
    let sockets = sibling.sockets_opened();
    let elsewhere = gateway.state.join("elsewhere");
    gateway.write_config(&with(&format!("authDir: '{}'", elsewhere.display())));
    gateway.wait_state("work", "not-linked").await;
    device.wait_disconnected().await.expect("the old link is closed");
    assert_eq!(gateway.status().await.last_reload["accounts"]["work"], "relinked");
    gateway.link("work", &work).await;
    assert!(elsewhere.join("creds.json").is_file());
    // Back to the folder of before: its link works as it did.
    gateway.write_config(&with(""));
    gateway.wait_revision(3).await;
    gateway.wait_state("work", "connected").await;
    device.wait_connected().await.expect("the first device is back");
    ann.says(&work, "which one are you?");
    ann.expect_text("which one are you?").await.expect("answered");
    assert_eq!(sibling.sockets_opened(), sockets);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_edit_changes_nothing_and_says_why() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, TWO).await;
    gateway.link("work", &work).await;
    gateway.write_config("{ channels: { whatsapp: { dmPolicie: 'open' } } }");
    let status = gateway.wait("the refusal", |s| !s.config_problems.is_empty()).await;
    assert_eq!(status.revision, 1);
    assert!(
        status.config_problems[0].contains("dmPolicie") && status.config_problems[0].contains("dmPolicy"),
        "{:?}",
        status.config_problems
    );
    ann.says(&work, "still open?");
    ann.expect_text("still open?").await.expect("the last good configuration stays in force");
    gateway.write_config(TWO);
    gateway.wait("the refusal to be over", |s| s.config_problems.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_out_unlinks_the_device_and_clears_its_files() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway = GatewayFixture::start(&world, TWO).await;
    let device = gateway.link("work", &work).await;
    let creds = gateway.state.join("credentials/whatsapp/work/creds.json");
    assert!(creds.is_file());
    let out = gateway
        .port
        .logout
        .send(Logout { account: Some("work".to_owned()) })
        .await
        .expect("answers")
        .expect("logged out");
    assert!(out.cleared);
    gateway.wait_state("work", "not-linked").await;
    gateway.wait("the files to be gone", |_| !creds.exists()).await;
    assert!(!device.linked(), "WhatsApp was told");
    let again = gateway
        .port
        .logout
        .send(Logout { account: Some("work".to_owned()) })
        .await
        .expect("answers")
        .expect("nothing to do");
    assert!(!again.cleared);
    gateway.link("work", &work).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_without_a_connection_fails_at_once_with_the_fix() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, TWO).await;
    let text = |text: &str| Wanted::Message(Draft { text: text.into(), ..Draft::default() });
    let send = |key: &str| SendOut {
        account: Some("work".into()),
        to: "+1 555 765-4321".into(),
        what: text("hi"),
        idempotency_key: key.into(),
    };
    let refused = gateway.port.send.send(send("k1")).await.expect("answers").expect_err("not linked");
    assert_eq!(
        refused.to_string(),
        "No active WhatsApp Web listener (account: work). Start the gateway, then link WhatsApp with: verso channels login --channel whatsapp --account work."
    );
    gateway.link("work", &work).await;
    let sent = gateway.port.send.send(send("k1")).await.expect("answers").expect("sent");
    let got = ann.expect_text("hi").await.expect("delivered");
    assert_eq!(got.id, sent.message_id.as_str());
    let again = gateway.port.send.send(send("k1")).await.expect("answers").expect("sent before");
    assert_eq!(again, sent, "the same key sends nothing more");
    gateway.port.send.send(SendOut { what: text("marker"), ..send("k2") }).await.expect("answers").expect("sent");
    ann.expect_text("marker").await.expect("delivered");
    assert_eq!(ann.inbox().len(), 2);
    let nobody = gateway.port.send.send(SendOut { to: "bogus@x".into(), ..send("k3") }).await.expect("answers");
    assert!(nobody.expect_err("no recipient").to_string().contains("bogus@x"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_one_account_is_its_own() {
    let world = World::start().await.expect("world");
    let (work, personal) = (world.phone("+15550001111"), world.phone("+15550002222"));
    let ann = world.contact("+15557654321", "Ann");
    let gateway = GatewayFixture::start(&world, TWO).await;
    let device = gateway.link("work", &work).await;
    let sibling = gateway.link("personal", &personal).await;
    let siblings_sockets = sibling.sockets_opened();
    for which in [InjectPanic::Socket, InjectPanic::Supervisor] {
        let before = device.sockets_opened();
        gateway.inject_panic("work", which);
        device.wait_sockets(before + 1).await.expect("the account comes back");
        gateway.wait_state("work", "connected").await;
        let text = format!("after a panic of the {which:?}");
        ann.says(&work, &text);
        ann.expect_text(text).await.expect("answered");
        ann.says(&personal, "and you?");
        ann.expect_text("and you?").await.expect("the sibling answers");
    }
    assert_eq!(sibling.sockets_opened(), siblings_sockets);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_failed_is_started_after_a_pause_and_says_so_meanwhile() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway =
        GatewayFixture::start(&world, &TWO.replace("initialMs: 250, maxMs: 500", "initialMs: 2000, maxMs: 2000")).await;
    gateway.link("work", &work).await;
    gateway.inject_panic("work", InjectPanic::Supervisor);
    let status = gateway.wait_state("work", "backoff").await;
    assert!(status.state_text.contains("a part of Verso failed; the account starts again in 2 s"), "{status:?}");
    assert!(!status.connected && status.next_step.is_some_and(|step| step.contains("verso logs")));
    gateway.wait_state("work", "connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_comes_while_the_link_is_opened_is_not_lost() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway = GatewayFixture::start(&world, TWO).await;
    let device = gateway.link("work", &work).await;
    let account = || Some("work".to_owned());
    gateway.port.stop.send(StopAccount { account: account() }).await.expect("answers").expect("stopped");
    device.wait_disconnected().await.expect("closed");
    for _ in 0..3 {
        gateway.port.start.send(StartAccount { account: account() }).await.expect("answers").expect("started");
        gateway.port.stop.send(StopAccount { account: account() }).await.expect("answers").expect("stopped");
    }
    gateway.port.start.send(StartAccount { account: account() }).await.expect("answers").expect("started");
    gateway.wait_state("work", "connected").await;
    device.wait_connected().await.expect("one socket, and it is the last one");
}
