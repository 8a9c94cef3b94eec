//! What happens around a gateway: a full disk, a locked file, a clock that jumps, a line that is cut before the answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use verso::clock::{Clock, UnixMs};
use wa_simulator::{Fault, Kick, Phone, World};

use crate::support::GatewayFixture;
use crate::support::model::Model;

const OPEN: &str = "web: { reconnect: { initialMs: 100, maxMs: 200, maxAttempts: 0 } }, messages: { queue: { mode: 'followup', debounceMs: 0 } },
    channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {} } } }";

/// Larger than what a file that may not grow has room for.
const LARGE: usize = 20_000;

/// What the phone shows: what a cut connection left without an ack comes again under the same id.
fn texts(phone: &Phone) -> Vec<String> {
    phone.shown().into_iter().map(|r| r.text).collect()
}

/// Why the account is not connected, as the status tells it.
async fn last_error(gateway: &GatewayFixture, wanted: &str) {
    let told = |s: &verso::actors::messages::GatewayStatus| {
        s.accounts[0].last_error.as_deref().is_some_and(|error| error.contains(wanted))
    };
    gateway.wait(&format!("the status to say {wanted:?}"), told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_nothing_is_acknowledged_and_everything_is_answered_when_there_is_space_again() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let answer: &'static str = format!("{} end", "x".repeat(LARGE)).leak();
    let mut model = Model::held(answer).await;
    let gateway = GatewayFixture::start(&world, &format!("{{ {}, {OPEN} }}", model.config())).await;
    let device = gateway.link("work", &work).await;
    // One message is with the agent when the disk fills up, another one comes then.
    ann.says(&work, "early");
    assert!(model.asked().await.ends_with("early"));
    gateway.journal.pretend_full(true);
    bob.says(&work, &format!("late {}", "y".repeat(LARGE)));
    last_error(&gateway, "state.db: database or disk is full").await;
    model.release(1);
    last_error(&gateway, "state.db: database or disk is full").await;
    assert!(device.offline_queue_len() > 0, "the late message was acknowledged");
    assert!(ann.inbox().is_empty(), "an answer that is not on disk was sent");

    gateway.journal.pretend_full(false);
    ann.expect_message(|r| r.text.ends_with("end")).await.expect("the early answer");
    assert!(model.asked().await.contains("late"));
    model.release(1);
    bob.expect_message(|r| r.text.ends_with("end")).await.expect("the late answer");
    for phone in [&ann, &bob] {
        assert_eq!(texts(phone).iter().filter(|t| t.ends_with("end")).count(), 1);
    }
    gateway
        .wait("everything to be done", |s| s.accounts[0].outbox.waiting == 0 && device.offline_queue_len() == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_door_cannot_write_down_is_refused_and_the_same_request_is_sent_once_later() {
    use verso::actors::messages::{Draft, SendOut, Wanted};
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let gateway = GatewayFixture::start(&world, &format!("{{ {OPEN} }}")).await;
    gateway.link("work", &work).await;
    let file = gateway.state.join("note.txt");
    std::fs::write(&file, "a note").expect("written");
    let send = async || {
        let draft = Draft {
            text: format!("{} end", "x".repeat(LARGE)),
            media: vec![file.display().to_string()],
            ..Draft::default()
        };
        let what = Wanted::Message(draft);
        let send = SendOut { account: None, to: ann.number(), what, idempotency_key: "k".into() };
        gateway.port.send.send(send).await.expect("the gateway answers")
    };
    gateway.journal.pretend_full(true);
    let refused = send().await.expect_err("there is no room").to_string();
    assert!(refused.contains("state.db: database or disk is full"), "{refused}");
    let outbound = gateway.state.join("media/outbound");
    assert_eq!(std::fs::read_dir(&outbound).expect("the folder").count(), 0, "its file is gone with it");
    gateway.journal.pretend_full(false);
    send().await.expect("sent");
    send().await.expect("sent");
    ann.expect_message(|r| r.text.ends_with("end")).await.expect("delivered");
    gateway.wait("the outbox to be empty", |s| s.accounts[0].outbox.waiting == 0).await;
    assert_eq!(texts(&ann).iter().filter(|text| text.ends_with("end")).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_another_program_locks_the_journal_everything_waits_and_nothing_is_lost() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let mut model = Model::held("fine").await;
    let gateway = GatewayFixture::start(&world, &format!("{{ {}, {OPEN} }}", model.config())).await;
    let device = gateway.link("work", &work).await;
    ann.says(&work, "early");
    assert!(model.asked().await.ends_with("early"));
    let other = rusqlite::Connection::open(gateway.state.join("state.db")).expect("opens");
    other.busy_timeout(Duration::from_secs(10)).expect("patient");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    bob.says(&work, "late");
    model.release(1);
    last_error(&gateway, "another program has locked it").await;
    assert!(device.offline_queue_len() > 0, "the late message was acknowledged");
    assert!(ann.inbox().is_empty(), "an answer that is not on disk was sent");

    other.execute_batch("ROLLBACK").expect("released");
    ann.expect_text("fine").await.expect("the early answer");
    assert!(model.asked().await.ends_with("late"));
    model.release(1);
    bob.expect_text("fine").await.expect("the late answer");
    assert_eq!((texts(&ann).len(), texts(&bob).len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_loses_doubles_and_holds_up_nothing() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let noon = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as UnixMs;
    let clock = Clock::manual(noon);
    let mut model = Model::held("fine").await;
    let config = format!("{{ {}, {OPEN} }}", model.config()).replace("debounceMs: 0", "debounceMs: 1");
    let gateway = GatewayFixture::start_at(&world, &config, clock.clone()).await;
    let device = gateway.link("work", &work).await;
    device.set_fault(Fault::DuplicateMessages);
    let mut answered = 0;
    for hours in [9, -9, 72, -72, 0] {
        // One is with the agent and one waits behind it when the clock jumps.
        clock.set(noon);
        ann.says(&work, &format!("first, {hours}"));
        assert!(model.asked().await.ends_with(&format!("first, {hours}")));
        let second = ann.says(&work, &format!("second, {hours}"));
        assert_eq!(gateway.verdict(&second).await, "answer");
        clock.set(noon + hours * 3_600_000 + 10);
        model.release(1);
        assert!(model.asked().await.ends_with(&format!("second, {hours}")), "in order and once");
        // And it jumps again between the answer and a line that comes back.
        clock.set(noon - hours * 3_600_000 + 10);
        device.kick(Kick::Drop);
        model.release(1);
        answered += 2;
        ann.expect_message(|_| texts(&ann).len() >= answered).await.expect("both are answered");
        gateway.wait_state("work", "connected").await;
    }
    bob.says(&work, "the end");
    assert!(model.asked().await.ends_with("the end"), "nothing is asked twice");
    model.release(1);
    bob.expect_text("fine").await.expect("answered");
    assert_eq!(texts(&ann).len(), answered, "nothing is answered twice");
    gateway.wait("the outbox to be empty", |s| s.accounts[0].outbox.waiting == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_date_that_is_wrong_for_a_while_ends_no_pairing_code() {
    use verso::actors::messages::{DecidePairing, ListPairing};
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as UnixMs;
    let clock = Clock::manual(now);
    let config = "{ channels: { whatsapp: { dmPolicy: 'pairing', accounts: { work: {} } } } }";
    let gateway = GatewayFixture::start_at(&world, config, clock.clone()).await;
    gateway.link("work", &work).await;
    let codes = async || {
        let listed = gateway.port.list_pairing.send(ListPairing { account: None }).await.expect("answers");
        listed.expect("listed").into_iter().map(|request| request.code).collect::<Vec<_>>()
    };
    ann.says(&work, "let me in");
    ann.expect_message(|r| r.text.contains("Pairing code")).await.expect("the pairing text");
    bob.says(&work, "let me in");
    bob.expect_message(|r| r.text.contains("Pairing code")).await.expect("the pairing text");
    let waiting = codes().await;
    assert_eq!(waiting.len(), 2, "both wait");
    // The machine wakes up two days ahead, and is corrected.
    clock.set(clock.now() + 2 * 86_400_000);
    assert_eq!(codes().await, waiting);
    clock.set(clock.now() - 2 * 86_400_000);
    assert_eq!(codes().await, waiting);
    for (code, number) in waiting.iter().zip(["+15557000001", "+15557000002"]) {
        let decide = DecidePairing { account: None, code: code.clone(), approve: true, notify: false };
        let decided = gateway.port.decide_pairing.send(decide).await.expect("answers").expect("let in");
        assert_eq!(decided.sender, number);
    }
    // What is really old has ended.
    let carl = world.contact("+15557000003", "Carl");
    carl.says(&work, "let me in");
    carl.expect_message(|r| r.text.contains("Pairing code")).await.expect("the pairing text");
    clock.pass(2 * 3_600_000);
    assert!(codes().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pacing_waits_for_no_clock_that_went_back() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let clock = Clock::manual(1_800_000_000_000);
    let gateway = GatewayFixture::start_at(&world, &format!("{{ {OPEN} }}"), clock.clone()).await;
    gateway.link("work", &work).await;
    let account = verso::ids::AccountId::new("work");
    for (phone, text) in [(&ann, "one"), (&bob, "two")] {
        let chat = phone.jid().to_string().parse().expect("jid");
        let part = verso::store::journal::OutboxPart::text(account.clone(), chat, text, None);
        gateway.journal.enqueue(vec![part]).await.expect("queued");
        // A message that comes in wakes the outbox.
        phone.says(&work, "wake up");
        phone.expect_text(text).await.expect("sent");
        clock.set(clock.now() - 5 * 3_600_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_ready_while_the_account_is_offline_arrives_after_the_reconnect_in_order() {
    let world = World::start().await.expect("world");
    let (work, home, ann) =
        (world.phone("+15550001111"), world.phone("+15550002222"), world.contact("+15557000001", "Ann"));
    let paragraphs: Vec<String> = (0..12).map(|n| format!("{n}. {}", "and so on ".repeat(70))).collect();
    let answer: &'static str = paragraphs.join("\n\n").leak();
    let mut model = Model::held(answer).await;
    let config = format!("{{ {}, {} }}", model.config(), OPEN.replace("work: {}", "work: {}, home: {}"));
    let gateway = GatewayFixture::start(&world, &config).await;
    let device = gateway.link("work", &work).await;
    gateway.link("home", &home).await;
    ann.says(&work, "tell me everything");
    model.asked().await;
    // The line is cut and every new one dies before the login, so that the answer is written while the account is offline.
    world.set_fault(Fault::HangUpInHandshake);
    device.kick(Kick::Drop);
    let offline = |s: &verso::actors::messages::GatewayStatus| {
        s.accounts.iter().any(|a| a.account_id.as_str() == "work" && a.state != "connected")
    };
    gateway.wait("work to be offline", offline).await;
    model.release(1);
    let waits = |s: &verso::actors::messages::GatewayStatus| {
        s.accounts.iter().any(|a| a.account_id.as_str() == "work" && a.outbox.waiting >= 3 && a.state != "connected")
    };
    gateway.wait("the answer to wait in the outbox of work", waits).await;
    assert!(ann.inbox().is_empty());
    world.clear_faults();
    ann.expect_message(|r| r.text.contains("11. ")).await.expect("it arrives after the reconnect");
    let parts = ann.shown();
    assert!(parts.len() >= 3 && parts.iter().all(|part| part.from == work.number()), "{}", parts.len());
    let heads: Vec<u32> = parts
        .iter()
        .flat_map(|part| part.text.lines())
        .filter_map(|line| line.split_once(". ")?.0.parse().ok())
        .collect();
    assert_eq!(heads, (0..12).collect::<Vec<u32>>(), "in order and once");
    gateway.wait("the outbox to be empty", |s| s.accounts.iter().all(|a| a.outbox.waiting == 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_unjudged_is_answered_in_order() {
    use verso::event::{Body, Content, InboundMessage};
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let gateway = GatewayFixture::start(&world, &format!("{{ {OPEN} }}")).await;
    gateway.link("work", &work).await;
    let folder = gateway.stop().await;
    let jid: verso::ids::Jid = ann.lid().to_string().parse().expect("jid");
    let texts_sent: Vec<String> = (0..9).map(|n| format!("message {n}")).collect();
    let left = texts_sent.iter().map(|text| InboundMessage {
        account: verso::ids::AccountId::new("work"),
        id: verso::ids::MessageId::new(text.replace(' ', "")),
        chat: jid.clone(),
        sender: jid.clone(),
        sender_alt: None,
        sender_number: verso::ids::E164::from_digits(&ann.number()),
        chat_number: verso::ids::E164::from_digits(&ann.number()),
        from_me: false,
        push_name: None,
        timestamp: 0,
        offline: false,
        content: Content::Body(Body { text: Some(text.clone()), ..Body::default() }),
    });
    let journal = verso::store::journal::Journal::open(&folder.path().join("state.db"), Clock::System).expect("opens");
    journal.commit(left.collect()).await.expect("stored");
    journal.close().await;
    let _gateway = GatewayFixture::start_in(&world, folder).await;
    ann.expect_message(|_| texts(&ann).len() >= texts_sent.len()).await.expect("all are answered");
    assert_eq!(texts(&ann), texts_sent);
}
