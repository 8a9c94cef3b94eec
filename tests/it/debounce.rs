//! Rapid messages of one person become one, and none of them is lost on the way.

use wa_simulator::{Phone, ReceiptKind, World};

use crate::process::{Process, link_by_code, state, write_config};
use crate::support::GatewayFixture;
use crate::support::model::Model;

/// Longer than any test: what waits goes on for a reason and not by the clock.
const AN_HOUR: u32 = 3_600_000;

fn config(window: u32, rules: &str) -> String {
    format!("channels: {{ whatsapp: {{ debounceMs: {window}, {rules}, accounts: {{ work: {{}} }} }} }}")
}

fn texts(phone: &Phone, from: &Phone) -> Vec<String> {
    phone.shown().into_iter().filter(|r| r.from == from.number() && !r.text.is_empty()).map(|r| r.text).collect()
}

const OPEN: &str = "dmPolicy: 'open', allowFrom: ['*']";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_quick_messages_become_one_answer_that_settles_all_of_them() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let gateway = GatewayFixture::start(&world, &format!("{{ {} }}", config(1500, OPEN))).await;
    gateway.link("work", &work).await;
    let ids: Vec<String> = ["one", "two", "three"].into_iter().map(|text| ann.says(&work, text)).collect();
    bob.says(&work, "and me");
    for id in &ids {
        // Seen at once; only the agent waits.
        ann.expect_receipt(id, ReceiptKind::Read).await.expect("read");
        let why = gateway.why(id).await;
        assert_eq!(why["state"], "admitted", "{why:#}");
        let last = why["decision"]["trace"].as_array().and_then(|gates| gates.last()).cloned().expect("gates");
        assert_eq!(
            (&last["gate"], &last["outcome"], &last["value"]),
            (&"debounce".into(), &"waits".into(), &"1500".into())
        );
    }
    ann.expect_text("one\ntwo\nthree").await.expect("answered once");
    bob.expect_text("and me").await.expect("answered by himself");
    for (id, parts) in ids.iter().zip([0, 0, 1]) {
        let why = gateway.why(id).await;
        assert_eq!(
            (&why["state"], why["parts"].as_array().map(Vec::len)),
            (&"answered".into(), Some(parts)),
            "{why:#}"
        );
    }
    ann.says(&work, "four");
    ann.expect_text("four").await.expect("the next thought is answered anew");
    assert_eq!(texts(&ann, &work), ["one\ntwo\nthree", "four"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_for_itself_goes_behind_what_waited_and_a_stop_flushes() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let rules = "dmPolicy: 'allowlist', allowFrom: ['+15557000001']";
    let gateway = GatewayFixture::start(&world, &format!("{{ {} }}", config(AN_HOUR, rules))).await;
    gateway.link("work", &work).await;
    ann.says(&work, "one");
    ann.says(&work, "two");
    ann.says(&work, "/activation");
    let first = ann.expect_text("one\ntwo").await.expect("the command lets go what waited");
    ann.expect_text("⚙️ Usage: /activation mention|always").await.expect("the command itself");

    ann.says(&work, "three");
    ann.replies(&work, &first, "a quote");
    ann.expect_text("three").await.expect("the quote lets go what waited");
    ann.expect_message(|r| r.text.contains("a quote")).await.expect("alone");

    ann.says(&work, "four");
    ann.says(&work, "five");
    gateway.wait_count("work", "admitted", 7).await;
    assert!(!texts(&ann, &work).iter().any(|text| text.contains("four")), "it waits");
    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    ann.expect_text("four\nfive").await.expect("answered at the stop");
    gateway.wait_state("work", "connected").await;
    ann.says(&work, "/whoami");
    ann.expect_message(|r| r.text.starts_with("🧭 Identity")).await.expect("a marker");
    let answers = texts(&ann, &work);
    assert_eq!(answers.iter().filter(|text| text.contains("four")).count(), 1, "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_when_the_power_goes_is_answered_after_the_restart() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let gateway = Process::start(&world, state(&config(AN_HOUR, OPEN))).await;
    link_by_code(gateway.folder(), &world, &work, "work").await;
    for text in ["one", "two"] {
        let id = ann.says(&work, text);
        ann.expect_receipt(&id, ReceiptKind::Read).await.expect("read, so it is written down");
    }
    let folder = gateway.kill();
    assert_eq!(texts(&ann, &work), [] as [&str; 0]);
    write_config(folder.path(), &config(300, OPEN));
    let _gateway = Process::start(&world, folder).await;
    ann.expect_text("one\ntwo").await.expect("taken up together");
    ann.says(&work, "three");
    ann.expect_text("three").await.expect("a marker");
    assert_eq!(texts(&ann, &work), ["one\ntwo", "three"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_group_the_second_half_of_a_thought_needs_no_second_mention() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &work]);
    let mut model = Model::start("fine").await;
    let rules = "groupPolicy: 'open', allowFrom: ['+15557000001']";
    let gateway = GatewayFixture::start(&world, &format!("{{ {}, {} }}", model.config(), config(AN_HOUR, rules))).await;
    gateway.link("work", &work).await;
    ann.says_in(&group, "listen", &[&work]);
    gateway.wait_count("work", "admitted", 1).await;
    bob.says_in(&group, "not to you", &[]);
    gateway.wait_count("work", "not-mentioned", 1).await;
    let second = ann.says_in(&group, "what time is it?", &[]);
    gateway.wait_count("work", "admitted", 2).await;
    ann.says_in(&group, "/activation", &[]);
    let asked = model.asked().await;
    let lines: Vec<&str> = asked.lines().collect();
    assert!(lines[1].ends_with("Bob (+15557000002): not to you"), "{asked}");
    assert_eq!(lines[lines.len() - 2..], ["what time is it?", "[from: Ann (+15557000001)]"], "{asked}");
    assert!(lines[lines.len() - 3].ends_with("Ann (+15557000001): listen"), "{asked}");
    bob.expect_text("fine").await.expect("answered");
    let why = gateway.why(&second).await;
    assert_eq!(why["state"], "answered", "{why:#}");
    assert!(why["decision"]["trace"].to_string().contains("joins-the-message-before"), "{why:#}");
}
