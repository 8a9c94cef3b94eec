//! One bad item costs one item: messages at which the gateway fails or ends, parts that cannot be sent, rows that nobody can read.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wa_simulator::{Phone, World};

use crate::process::{Process, link_by_code, state};
use crate::support::GatewayFixture;

const TWO: &str = "web: { reconnect: { initialMs: 100, maxMs: 200 } },
    channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { a: {}, b: {} } } }";

/// Two linked accounts, and the gateway that serves them.
async fn two(world: &World, set: (&str, &str)) -> (Process, [Phone; 2]) {
    let phones = [world.phone("+15550001111"), world.phone("+15550002222")];
    let gateway = Process::start_with(world, state(TWO), set).await;
    for (phone, account) in phones.iter().zip(["a", "b"]) {
        link_by_code(gateway.folder(), world, phone, account).await;
    }
    (gateway, phones)
}

/// Somebody writes to each, and is answered.
async fn answers(world: &World, phones: &[Phone; 2], text: &str) {
    let ann = world.contact("+15557000001", "Ann");
    for (n, phone) in phones.iter().enumerate() {
        let text = format!("{text} {n}");
        ann.says(phone, &text);
        ann.expect_text(text).await.expect("answered");
    }
}

async fn why(gateway: &Process, id: &str) -> Value {
    gateway.call("verso.explain", json!({ "messageId": id })).await.expect("known")["messages"][0].clone()
}

async fn account(gateway: &Process, id: &str) -> Value {
    let status = gateway.call("channels.status", json!({})).await.expect("answered");
    let accounts = status["channelAccounts"]["whatsapp"].as_array().cloned().unwrap_or_default();
    accounts.into_iter().find(|account| account["accountId"] == id).expect("configured")
}

/// Waits until what is known of account `a` is as wanted.
async fn until(gateway: &Process, what: &str, wanted: impl Fn(&Value) -> bool) {
    let began = Instant::now();
    loop {
        let known = account(gateway, "a").await;
        if wanted(&known) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain for {what}: {known:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_at_a_message_costs_that_message_and_says_nothing_of_it() {
    let world = World::start().await.expect("world");
    let bob = world.contact("+15557000002", "Bob");
    let fault = ("VERSO_FAULT_PANIC_TEXT", "decide:panic-please");
    let (mut gateway, phones) = two(&world, fault).await;
    let id = bob.says(&phones[0], "panic-please");
    answers(&world, &phones, "and me").await;
    bob.says(&phones[0], "me again");
    bob.expect_text("me again").await.expect("answered");
    for start in 0..3 {
        let told = why(&gateway, &id).await;
        assert_eq!((&told["state"], &told["reason"]["code"]), (&json!("dropped"), &json!("internal-error")), "{told}");
        let aside = account(&gateway, "a").await["setAside"].clone();
        assert_eq!((&aside["total"], &aside["newest"][0]["messageId"]), (&json!(1), &json!(id)), "{aside}");
        for file in ["verso.log", "console"] {
            let said = std::fs::read_to_string(gateway.folder().join(file)).expect("readable");
            assert!(!said.contains("panic-please"), "{file} quotes the message: {said}");
        }
        let folder = gateway.kill();
        gateway = Process::start_with(&world, folder, fault).await;
        answers(&world, &phones, &format!("start {start}")).await;
    }
    assert!(bob.inbox().iter().all(|r| r.text != "panic-please"), "it is not answered");
    let shown = gateway.run(&world, &["channels", "status"]).await;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&format!("set aside: 1 message: {id} (internal-error)")), "{shown}");
}

/// The gateway ends at a message three times; after the third restart everybody else is served and the message is named.
async fn left_alone(point: &str) {
    let world = World::start().await.expect("world");
    let (bob, cleo) = (world.contact("+15557000002", "Bob"), world.contact("+15557000003", "Cleo"));
    let text = format!("{point}:abort-please");
    let fault = ("VERSO_FAULT_ABORT_TEXT", text.as_str());
    let (gateway, phones) = two(&world, fault).await;
    answers(&world, &phones, "before").await;
    let id = bob.says(&phones[0], "abort-please");
    let folder = gateway.ended().await;
    cleo.says(&phones[0], "behind it");
    for _ in 0..2 {
        Process::ends(&world, folder.path(), fault).await;
    }
    let gateway = Process::start_with(&world, folder, fault).await;
    cleo.expect_text("behind it").await.expect("answered");
    answers(&world, &phones, "after").await;
    let told = why(&gateway, &id).await;
    assert_eq!((&told["state"], &told["reason"]["code"]), (&json!("dropped"), &json!("poison")), "{told}");
    let aside = account(&gateway, "a").await["setAside"].clone();
    assert_eq!((&aside["total"], &aside["newest"][0]["reason"]), (&json!(1), &json!("poison")), "{aside}");
    assert!(bob.inbox().iter().all(|r| r.text != "abort-please"), "it is not answered");
    let folder = gateway.kill();
    let gateway = Process::start_with(&world, folder, fault).await;
    answers(&world, &phones, "and after that").await;
    assert_eq!(account(&gateway, "a").await["setAside"]["total"], 1, "nobody else pays for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_ends_the_process_when_it_is_judged_is_left_alone_after_the_third_time() {
    left_alone("decide").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_ends_the_process_when_it_is_answered_is_left_alone_after_the_third_time() {
    left_alone("run").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_panics_is_tried_once_more_and_given_up() {
    let world = World::start().await.expect("world");
    let bob = world.contact("+15557000002", "Bob");
    let (gateway, phones) = two(&world, ("VERSO_FAULT_PANIC_TEXT", "run:panic-please")).await;
    let id = bob.says(&phones[0], "panic-please");
    bob.says(&phones[0], "me again");
    bob.expect_text("me again").await.expect("answered");
    until(&gateway, "the message to be set aside", |a| a["setAside"]["newest"][0]["messageId"] == json!(id)).await;
    let told = why(&gateway, &id).await;
    assert_eq!(told["reason"]["code"], "internal-error", "{told}");
    assert!(bob.inbox().iter().all(|r| r.text != "panic-please"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_panics_when_it_is_sent_is_given_up_and_what_is_behind_it_goes_on() {
    let world = World::start().await.expect("world");
    let bob = world.contact("+15557000002", "Bob");
    let (gateway, phones) = two(&world, ("VERSO_FAULT_PANIC_TEXT", "send:panic-please")).await;
    let id = bob.says(&phones[0], "panic-please");
    bob.says(&phones[0], "behind it");
    answers(&world, &phones, "elsewhere").await;
    bob.expect_text("behind it").await.expect("sent");
    until(&gateway, "a failed part", |a| a["outbox"]["failed"] == 1 && a["outbox"]["waiting"] == 0).await;
    let told = why(&gateway, &id).await;
    let cause = told["parts"][0]["cause"].as_str().unwrap_or_default();
    assert!(cause.contains("given up after too many failures"), "{told}");
    assert!(bob.inbox().iter().all(|r| r.text != "panic-please"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_cannot_send_any_more_says_so_and_comes_back() {
    let world = World::start().await.expect("world");
    let bob = world.contact("+15557000002", "Bob");
    let (gateway, phones) = two(&world, ("VERSO_FAULT_PANIC_AT", "pump")).await;
    bob.says(&phones[0], "hello");
    let stopped = |a: &Value| {
        let told = a["lastDisconnect"]["error"]
            .as_str()
            .unwrap_or_default()
            .contains("the sending of this account's messages");
        told && a["socketsOpened"].as_u64() > Some(2)
    };
    until(&gateway, "the socket to end in sight", stopped).await;
    let folder = gateway.kill();
    let _gateway = Process::start(&world, folder).await;
    bob.expect_text("hello").await.expect("sent by the next process");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_requests_for_what_was_never_sent_cost_nothing() {
    let world = World::start().await.expect("world");
    let (work, other) = (world.phone("+15550001111"), world.phone("+15550002222"));
    let (ann, eve) = (world.contact("+15557000001", "Ann"), world.contact("+15557000009", "Eve"));
    let config = format!("{{ {} }}", TWO.replace("a: {}, b: {}", "work: {}, other: {}"));
    let gateway = GatewayFixture::start(&world, &config).await;
    let device = gateway.link("work", &work).await;
    gateway.link("other", &other).await;
    eve.says(&work, "hello");
    let sent = eve.expect_text("hello").await.expect("answered");
    let facts = || {
        let db = rusqlite::Connection::open(gateway.state.join("state.db")).expect("opens");
        // An answer leaves facts of its own behind (its session, where it went), a request that was noted one of these.
        db.query_row("SELECT count(*) FROM facts WHERE key GLOB 'asked:*'", [], |r| r.get::<_, i64>(0))
            .expect("counted")
    };
    let before = facts();
    for n in 0..5_000 {
        eve.asks_again(&device, &format!("3EB0{n:016X}"));
    }
    ann.says(&other, "still there?");
    ann.expect_text("still there?").await.expect("answered");
    ann.says(&work, "and you?");
    ann.expect_text("and you?").await.expect("answered behind all of them");
    assert_eq!(facts(), before, "nothing is written");
    drop(sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_row_in_each_table_costs_that_row() {
    let world = World::start().await.expect("world");
    let phones = [world.phone("+15550001111"), world.phone("+15550002222")];
    let bob = world.contact("+15557000002", "Bob");
    let gateway = GatewayFixture::start(&world, &format!("{{ {TWO} }}")).await;
    gateway.link("a", &phones[0]).await;
    gateway.link("b", &phones[1]).await;
    let folder = gateway.stop().await;
    let db = rusqlite::Connection::open(folder.path().join("state.db")).expect("opens");
    db.execute_batch(&format!(
        "INSERT INTO inbound(account, chat, sender, id, sent_at, received_at, message, state)
             VALUES ('a', '1@lid', '1@lid', 'BAD', 1, 1, '{{\"half', 'new');
         INSERT INTO outbox(account, id, chat, content, state, rank, created_at, updated_at)
             VALUES ('a', 'BADPART', '{bob}', '{{\"type\":\"hologram\"}}', 'queued', 0, {now}, {now}),
                    ('a', 'GOODPART', '{bob}', '{{\"type\":\"text\",\"text\":\"goes on\",\"quote\":null}}', 'queued', 0, {now}, {now});
         INSERT INTO facts VALUES ('session:agent:main:main', '{{\"half', 1);",
        bob = bob.jid(),
        now = i64::try_from(std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis()).expect("not so far"),
    ))
    .expect("spoilt");
    drop(db);
    let gateway = GatewayFixture::start_in(&world, folder).await;
    bob.expect_text("goes on").await.expect("sent");
    answers(&world, &phones, "hello").await;
    let status = gateway.status().await;
    let a = status.accounts.iter().find(|a| a.account_id.as_str() == "a").expect("there");
    assert_eq!((a.set_aside.total, a.set_aside.newest[0].reason.as_str()), (1, "unreadable"));
    assert_eq!((a.outbox.failed, a.outbox.waiting), (1, 0));
    let rows = status.unreadable;
    assert_eq!((rows.inbound, rows.outbox, rows.facts), (1, 1, 1));
    assert_eq!(gateway.verdict("BAD").await, "unreadable");
}
