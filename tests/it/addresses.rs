//! A person has two addresses, and WhatsApp may take what is sent to one of them and show it on no phone. Verso finds the one that works.

use verso::actors::messages::GatewayStatus;
use verso::clock::Clock;
use wa_simulator::{Addressing, Direction, Fault, Kick, LinkedDevice, Phone, World};

use crate::support::GatewayFixture;

const OPEN: &str = "{ web: { reconnect: { initialMs: 250, maxMs: 500 } }, channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {} } } } }";
const ANN: &str = "+15557654321";
const MINUTE: i64 = 60_000;

/// A clock that the test sets, at the present time.
fn clock() -> Clock {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    Clock::manual(i64::try_from(now).expect("before the year 292 million"))
}

/// A new connection looks at the outbox at once.
async fn look(gateway: &GatewayFixture, device: &LinkedDevice) {
    let before = device.sockets_opened();
    device.kick(Kick::Drop);
    gateway.wait("a new connection", |_| device.sockets_opened() > before && device.active()).await;
    gateway.wait_state("work", "connected").await;
}

/// The answer to a message, as soon as it is in a state.
async fn answer(gateway: &GatewayFixture, asked: &str, state: &str) -> serde_json::Value {
    assert_eq!(gateway.verdict(asked).await, "answer");
    let deadline = tokio::time::Instant::now() + crate::support::DEADLINE;
    loop {
        let part = gateway.why(asked).await["parts"][0].clone();
        if part["state"] == state {
            return part;
        }
        assert!(tokio::time::Instant::now() < deadline, "it is not {state}: {part:#}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn unconfirmed(status: &GatewayStatus) -> usize {
    status.accounts.iter().map(|account| account.unconfirmed.len()).sum()
}

/// How often a message was handed to the server.
fn sent(world: &World, id: &str) -> usize {
    let is = |e: &wa_simulator::TraceEntry| {
        e.direction == Direction::FromClient && e.xml.starts_with("<message") && e.xml.contains(id)
    };
    world.trace().iter().filter(|entry| is(entry)).count()
}

fn texts(phone: &Phone) -> Vec<String> {
    phone.shown().into_iter().map(|received| received.text).collect()
}

/// Answers that reach no phone go out again to the other address, later ones go there at once, also after a restart.
async fn survives(lid_addressing: bool, dead: Addressing, works: &str) {
    let world = World::builder().lid_addressing(lid_addressing).start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact(ANN, "Ann"));
    let clock = clock();
    let gateway = GatewayFixture::start_at(&world, OPEN, clock.clone()).await;
    let device = gateway.link("work", &work).await;
    world.set_fault(Fault::DeadAddress { address: dead, of: Some(ANN.to_owned()) });
    let first = ann.says(&work, "one");
    let part = answer(&gateway, &first, "acked").await;
    let id = part["id"].as_str().expect("an id").to_owned();
    look(&gateway, &device).await;
    assert_eq!(sent(&world, &id), 1, "too early");
    clock.pass(MINUTE);
    look(&gateway, &device).await;
    let shown = ann.expect_text("one").await.expect("it is shown at last");
    assert_eq!(shown.id, id, "the same id");
    assert_eq!(answer(&gateway, &first, "delivered").await["wentTo"], "both");

    let second = ann.says(&work, "two");
    ann.expect_text("two").await.expect("shown at once");
    assert_eq!(answer(&gateway, &second, "delivered").await["wentTo"], works);
    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in_at(&world, folder, clock.clone()).await;
    gateway.wait_state("work", "connected").await;
    let third = ann.says(&work, "three");
    ann.expect_text("three").await.expect("shown after a restart");
    assert_eq!(answer(&gateway, &third, "delivered").await["wentTo"], works);
    assert_eq!(texts(&ann), ["one", "two", "three"]);
    let both = || work.inbox().iter().filter(|r| r.text == "two").count() == 2;
    gateway.wait("the owner's phone to show question and answer", |_| both()).await;
    gateway.wait("nothing unconfirmed", |s| unconfirmed(s) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_to_a_lid_that_no_phone_shows_go_to_the_number() {
    survives(true, Addressing::Lid, "number").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_to_a_number_that_no_phone_shows_go_to_the_lid() {
    survives(false, Addressing::Pn, "lid").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_is_off_gets_everything_once_and_its_chat_is_named_meanwhile() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact(ANN, "Ann"));
    let clock = clock();
    let gateway = GatewayFixture::start_at(&world, OPEN, clock.clone()).await;
    let device = gateway.link("work", &work).await;
    let asked = ann.says(&work, "before I go");
    ann.switches_off();
    let part = answer(&gateway, &asked, "acked").await;
    let id = part["id"].as_str().expect("an id").to_owned();
    for _ in 0..3 {
        clock.pass(11 * MINUTE);
        look(&gateway, &device).await;
    }
    let status = gateway.wait("the chat to be named", |s| unconfirmed(s) == 1).await;
    let chat = &status.accounts[0].unconfirmed[0];
    assert_eq!(chat.messages, 1);
    assert!(chat.chat.contains('…') && !chat.chat.contains("5557654321"), "{}", chat.chat);
    let told = gateway.why(&asked).await["parts"][0].clone();
    assert_eq!((&told["state"], &told["wentTo"]), (&"acked".into(), &"both".into()));
    assert_eq!(sent(&world, &id), 2, "once more and no more");
    world.switch_on(&[&ann]);
    ann.expect_text("before I go").await.expect("it waited");
    answer(&gateway, &asked, "delivered").await;
    gateway.wait("nothing unconfirmed", |s| unconfirmed(s) == 0).await;
    ann.says(&work, "back");
    ann.expect_text("back").await.expect("answered");
    assert_eq!(texts(&ann), ["before I go", "back"], "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_whatsapp_refuses_is_left_alone_and_nothing_is_lost() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact(ANN, "Ann"));
    let clock = clock();
    let gateway = GatewayFixture::start_at(&world, OPEN, clock.clone()).await;
    let device = gateway.link("work", &work).await;
    let asked = ann.says(&work, "one");
    ann.switches_off();
    answer(&gateway, &asked, "acked").await;
    clock.pass(11 * MINUTE);
    // The second try goes to the other address and is refused; so would be the next answer.
    device.set_fault(Fault::NackNext { error: 400, messages: 1 });
    look(&gateway, &device).await;
    let deadline = tokio::time::Instant::now() + crate::support::DEADLINE;
    while gateway.why(&asked).await["parts"][0]["wentTo"] != "both" {
        assert!(tokio::time::Instant::now() < deadline, "the second try is not under way");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    world.switch_on(&[&ann]);
    ann.expect_text("one").await.expect("the first try arrives");
    let next = ann.says(&work, "two");
    ann.expect_text("two").await.expect("answered");
    assert_eq!(answer(&gateway, &next, "delivered").await["wentTo"], "lid");
}
