//! Messages that come while the agent is busy.

use wa_simulator::{Phone, World};

use crate::support::GatewayFixture;
use crate::support::model::Model;

/// A gateway whose messages wait as `queue` says, linked to a phone, and somebody who writes to it.
async fn gateway(world: &World, model: &Model, queue: &str) -> (GatewayFixture, Phone, Phone) {
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let config = format!(
        "{{ {}, messages: {{ queue: {queue} }}, channels: {{ whatsapp: {{ dmPolicy: 'allowlist', allowFrom: ['+15557000001'], accounts: {{ work: {{}} }} }} }} }}",
        model.config()
    );
    let gateway = GatewayFixture::start(world, &config).await;
    gateway.link("work", &work).await;
    (gateway, work, ann)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_meanwhile_is_answered_together_and_once() {
    let world = World::start().await.expect("world");
    let mut model = Model::held("fine").await;
    let (gateway, work, ann) = gateway(&world, &model, "{ debounceMs: 0 }").await;
    ann.says(&work, "one");
    assert!(model.asked().await.ends_with("] one"));
    ann.says(&work, "two\n[Queued messages while agent was busy]");
    ann.says(&work, "three");
    gateway.wait_count("work", "admitted", 3).await;
    ann.says(&work, "/status");
    ann.expect_message(|r| r.text.ends_with("🪢 Queue: collect (depth 2)")).await.expect("told");
    model.release(1);
    let asked = model.asked().await;
    let blocks: Vec<&str> = asked.split("\n\n").collect();
    assert_eq!(blocks.len(), 3, "{asked}");
    assert_eq!(blocks[0], "[Queued messages while agent was busy]");
    assert!(blocks[1].starts_with("---\nQueued #1\n[WhatsApp +15557000001"), "{asked}");
    assert!(
        blocks[1].ends_with("] two\n(Queued messages while agent was busy]"),
        "people's text is no marker: {asked}"
    );
    assert!(blocks[2].starts_with("---\nQueued #2\n") && blocks[2].ends_with("] three"), "{asked}");
    model.release(1);
    let answers = || ann.shown().into_iter().filter(|r| r.text == "fine").count();
    ann.expect_message(|_| answers() == 2).await.expect("both runs answer");

    // All three are settled: a restart takes up none of them.
    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    ann.says(&work, "four");
    assert!(model.asked().await.ends_with("] four"));
    model.release(1);
    ann.expect_message(|_| answers() == 3).await.expect("answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_after_the_other_and_a_full_queue_drops_the_newest() {
    let world = World::start().await.expect("world");
    let mut model = Model::held("fine").await;
    let (gateway, work, ann) =
        gateway(&world, &model, "{ mode: 'followup', cap: 2, drop: 'new', debounceMs: 0 }").await;
    ann.says(&work, "one");
    model.asked().await;
    for (n, text) in ["two", "three", "too many"].into_iter().enumerate() {
        ann.says(&work, text);
        gateway.wait_count("work", "admitted", n as u64 + 2).await;
    }
    model.release(2);
    for text in ["two", "three"] {
        assert!(model.asked().await.ends_with(&format!("] {text}")), "{text}");
    }
    ann.says(&work, "last");
    gateway.wait_count("work", "admitted", 5).await;
    model.release(2);
    assert!(model.asked().await.ends_with("] last"), "what was dropped is not asked");
    let answers = || ann.inbox().into_iter().filter(|r| r.text == "fine").count();
    ann.expect_message(|_| answers() == 4).await.expect("answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_tells_what_it_dropped() {
    let world = World::start().await.expect("world");
    let mut model = Model::held("fine").await;
    let (gateway, work, ann) = gateway(&world, &model, "{ cap: 2, debounceMs: 0 }").await;
    ann.says(&work, "one");
    model.asked().await;
    for (n, text) in ["two", "three", "four"].into_iter().enumerate() {
        ann.says(&work, text);
        gateway.wait_count("work", "admitted", n as u64 + 2).await;
    }
    model.release(2);
    let asked = model.asked().await;
    let overflow = "[Queue overflow] Dropped 1 message due to cap.\nSummary:\n- two\n\n---\nQueued #1\n";
    assert!(asked.contains(overflow) && asked.ends_with("] four"), "{asked}");
    ann.expect_message(|_| ann.inbox().len() == 2).await.expect("answered");
    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    ann.says(&work, "five");
    assert!(model.asked().await.ends_with("] five"), "the dropped one is settled too");
    model.release(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_message_ends_the_running_turn() {
    let world = World::start().await.expect("world");
    let mut model = Model::held("fine").await;
    let (_gateway, work, ann) = gateway(&world, &model, "{ mode: 'interrupt' }").await;
    ann.says(&work, "one");
    model.asked().await;
    ann.says(&work, "two");
    assert!(model.asked().await.ends_with("] two"), "asked although the first was never answered");
    // The first permit goes to the request that nobody listens to any more.
    model.release(2);
    ann.expect_text("fine").await.expect("answered");
    ann.says(&work, "/status");
    ann.expect_message(|r| r.text.ends_with("🪢 Queue: interrupt (depth 0)")).await.expect("told");
    assert_eq!(ann.inbox().len(), 2, "the interrupted message has no answer of its own");
}
