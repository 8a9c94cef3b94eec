//! The owner takes part in a chat from the phone: the agent keeps silent there for a while and knows afterwards what was said.

use std::time::Duration;

use verso::actors::messages::{Draft, SendOut, Wanted};
use wa_simulator::{Phone, ReceiptKind, World};

use crate::process::{self, Process};
use crate::support::model::Model;
use crate::support::{DEADLINE, GatewayFixture};

const OWNER: &str = "[the account's owner, from the phone]: ";

fn config(model: &Model, rules: &str) -> String {
    format!(
        "{{ {}, session: {{ dmScope: 'per-account-channel-peer' }}, channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], {rules} accounts: {{ work: {{}} }} }} }} }}",
        model.config()
    )
}

struct Stage {
    _world: World,
    work: Phone,
    ann: Phone,
    bob: Phone,
    model: Model,
    gateway: GatewayFixture,
}

async fn stage(model: Model, rules: &str) -> Stage {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let (ann, bob) = (world.contact("+15557654321", "Ann"), world.contact("+15557000002", "Bob"));
    let gateway = GatewayFixture::start(&world, &config(&model, rules)).await;
    gateway.link("work", &work).await;
    Stage { _world: world, work, ann, bob, model, gateway }
}

/// Waits until a message that was admitted is taken back.
async fn taken_back(gateway: &GatewayFixture, id: &str) {
    let began = tokio::time::Instant::now();
    while gateway.verdict(id).await != "handover" {
        assert!(began.elapsed() < DEADLINE, "{id} is still to be answered");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Texts that a contact got, the owner's own among them.
fn texts(phone: &Phone) -> Vec<String> {
    phone.inbox().into_iter().map(|received| received.text).filter(|text| !text.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_is_silent_where_the_owner_wrote_and_knows_afterwards_what_was_said() {
    let Stage { _world, work, ann, bob, mut model, gateway } =
        stage(Model::start("fine").await, "ackReaction: { emoji: '👀', group: 'never' },").await;
    ann.says(&work, "hello");
    ann.expect_text("fine").await.expect("answered");
    model.asked().await;

    let own = work.says(&ann, "I'll take this myself");
    assert_eq!(gateway.verdict(&own).await, "own-message-to-other");
    let asked = ann.says(&work, "great, when?");
    assert_eq!(gateway.verdict(&asked).await, "handover");
    let why = gateway.why(&asked).await;
    assert_eq!(
        (&why["state"], &why["decision"]["verdict"]["historyKey"]),
        (&"held".into(), &"whatsapp:work:direct:+15557654321".into())
    );
    assert!(why["decision"]["verdict"]["until"].as_i64().is_some(), "{why:#}");
    // Commands work, other chats are answered.
    ann.says(&work, "/whoami");
    ann.expect_message(|r| r.text.contains("User id: +15557654321")).await.expect("a command's answer");
    bob.says(&work, "and me?");
    bob.expect_text("fine").await.expect("answered");
    model.asked().await;
    let status = gateway.status().await.accounts.remove(0);
    assert_eq!((status.handover.chats, status.handover.until.is_some()), (1, true));

    // A restart changes nothing.
    let gateway = GatewayFixture::start_in(&_world, gateway.stop().await).await;
    gateway.wait_state("work", "connected").await;
    let again = ann.says(&work, "hello?");
    assert_eq!(gateway.verdict(&again).await, "handover");
    assert_eq!(gateway.status().await.accounts[0].handover.chats, 1);
    assert_eq!(texts(&ann).len(), 3, "{:?}", texts(&ann));
    let mine = |id: &str| ann.receipts().iter().any(|r| r.id == id && r.kind == ReceiptKind::Read);
    assert!(!mine(&asked) && !mine(&again), "the owner reads, nobody else");

    // Switched off while it runs: the next message is answered, and the model is told of everything since.
    gateway.edit(&config(&model, "handover: { minutes: 0 },")).await;
    assert_eq!(gateway.status().await.accounts[0].handover.chats, 0);
    ann.says(&work, "still there?");
    let asked = model.asked().await;
    let at = |words: &str| asked.find(words).unwrap_or_else(|| panic!("{words}: {asked}"));
    let order = [
        at("[Chat messages since your last reply - for context]"),
        at(&format!("{OWNER}I'll take this myself")),
        at("great, when?"),
        at("hello?"),
        at("[Current message - respond to this]"),
        at("still there?"),
    ];
    assert!(order.is_sorted(), "{asked}");
    ann.expect_message(|r| r.text == "fine").await.expect("answered");

    // Off: the owner's words are context all the same.
    let own = work.says(&ann, "as I said");
    assert_eq!(gateway.verdict(&own).await, "own-message-to-other");
    ann.says(&work, "thanks");
    assert!(model.asked().await.contains(&format!("{OWNER}as I said")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_in_the_making_when_the_owner_wrote_is_not_sent_and_becomes_context() {
    let Stage { _world, work, ann, bob, mut model, gateway } = stage(Model::held("fine").await, "").await;
    let running = ann.says(&work, "how much is it?");
    model.asked().await;
    let waiting = ann.says(&work, "and the size?");
    assert_eq!(gateway.verdict(&waiting).await, "answer");
    work.says(&ann, "10 euros");
    taken_back(&gateway, &running).await;
    taken_back(&gateway, &waiting).await;
    let why = gateway.why(&running).await;
    assert_eq!(why["state"], "held", "{why:#}");
    let gate = why["decision"]["trace"].as_array().and_then(|gates| gates.last().cloned()).expect("a gate");
    assert_eq!((&gate["gate"], &gate["key"]), (&"handover".into(), &"channels.whatsapp.handover.minutes".into()));

    model.release(9);
    bob.says(&work, "hi");
    bob.expect_text("fine").await.expect("answered");
    assert_eq!(texts(&ann), ["10 euros"]);
    gateway.edit(&config(&model, "handover: { minutes: 0 },")).await;
    ann.says(&work, "ok");
    let mut asked = model.asked().await;
    while !asked.contains("] ok") && !asked.ends_with("ok") {
        asked = model.asked().await;
    }
    let at = |words: &str| asked.find(words).unwrap_or_else(|| panic!("{words}: {asked}"));
    let order = [at("how much is it?"), at("and the size?"), at("10 euros")];
    assert!(order.is_sorted(), "{asked}");
    ann.expect_text("fine").await.expect("answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_more_words_is_taken_back_too() {
    let Stage { _world, work, ann, gateway, mut model, .. } =
        stage(Model::start("fine").await, "debounceMs: 600000,").await;
    let waits = ann.says(&work, "one moment");
    assert_eq!(gateway.verdict(&waits).await, "answer");
    work.says(&ann, "sure");
    taken_back(&gateway, &waits).await;
    gateway.edit(&config(&model, "handover: { minutes: 0 }, debounceMs: 0,")).await;
    ann.says(&work, "back");
    let asked = model.asked().await;
    assert!(asked.contains("one moment") && asked.contains(&format!("{OWNER}sure")), "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_reaction_nor_an_edit_nor_what_verso_sends_nor_a_group_is_a_handover() {
    let Stage { _world, work, ann, bob, gateway, .. } = stage(Model::start("fine").await, "groupPolicy: 'open',").await;
    let group = _world.group("Friends", &ann, &[&work]);
    let first = ann.says(&work, "hello");
    let answer = ann.expect_text("fine").await.expect("answered");
    let reaction = work.reacts(&ann, &first, "👍");
    assert_eq!(gateway.verdict(&reaction).await, "reaction");
    let edit = work.edits(&ann, &answer.id, "changed");
    assert_eq!(gateway.verdict(&edit).await, "kind-not-served");
    let sent = SendOut {
        account: None,
        to: ann.number(),
        what: Wanted::Message(Draft { text: "a reminder".into(), ..Draft::default() }),
        idempotency_key: "k".into(),
    };
    gateway.port.send.send(sent).await.expect("running").expect("sent");
    let own = work.says_in(&group, "in the group", &[]);
    gateway.verdict(&own).await;
    ann.says(&work, "thanks");
    ann.expect_text("fine").await.expect("answered");
    // To somebody else.
    let own = work.says(&bob, "hi Bob");
    gateway.verdict(&own).await;
    ann.says(&work, "bye");
    ann.expect_text("fine").await.expect("answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_from_before_the_window_are_context_and_silence_nobody() {
    let Stage { _world, work, ann, mut model, gateway, .. } = stage(Model::start("fine").await, "").await;
    work.writes_in_the_past(Duration::from_secs(660));
    let own = work.says(&ann, "a while ago");
    assert_eq!(gateway.verdict(&own).await, "own-message-to-other");
    assert_eq!(gateway.status().await.accounts[0].handover.chats, 0);
    ann.says(&work, "and now?");
    let asked = model.asked().await;
    assert!(asked.contains(&format!("{OWNER}a while ago")), "{asked}");
    ann.expect_text("fine").await.expect("answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_does_not_wake_the_agent_in_a_chat_that_the_owner_took_over() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let (ann, bob) = (world.contact("+15557654321", "Ann"), world.contact("+15557000002", "Bob"));
    let model = Model::held("fine").await;
    let rest = config(&model, "");
    let gateway =
        Process::start(&world, process::state(rest.trim().trim_start_matches('{').trim_end_matches('}'))).await;
    gateway.link(&world, &work).await;
    ann.says(&work, "how much is it?");
    let mut model = model;
    model.asked().await;
    let own = work.says(&ann, "10 euros");
    let why = async |gateway: &Process, id: &str, reason: &str| {
        let began = tokio::time::Instant::now();
        loop {
            let out = gateway.run(&world, &["why", id, "--json"]).await;
            let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
            if told["messages"][0]["reason"]["code"] == reason {
                return told["messages"][0].clone();
            }
            assert!(began.elapsed() < DEADLINE, "{told:#}");
        }
    };
    let told = why(&gateway, &own, "own-message-to-other").await;
    assert!(told["nextStep"].as_str().expect("a step").contains("answers in this chat again after 20"), "{told:#}");
    let gateway = Process::start(&world, gateway.kill()).await;
    gateway.wait_connected(&world).await;
    let later = ann.says(&work, "hello?");
    let told = why(&gateway, &later, "handover").await;
    let step = told["nextStep"].as_str().expect("a step");
    assert!(step.contains("channels.whatsapp.handover.minutes sets for how long"), "{step}");
    let status = gateway.run(&world, &["channels", "status"]).await;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("handover: the agent keeps silent in 1 chat that you wrote in"), "{status}");
    model.release(9);
    bob.says(&work, "hi");
    bob.expect_text("fine").await.expect("answered");
    assert_eq!(texts(&ann), ["10 euros"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_owner_answered_while_verso_was_away_is_not_answered_again() {
    let Stage { _world, work, ann, bob, gateway, .. } = stage(Model::start("fine").await, "").await;
    let folder = gateway.stop().await;
    let asked = ann.says(&work, "how much is it?");
    work.says(&ann, "10 euros");
    ann.expect_text("10 euros").await.expect("the owner's answer");
    let gateway = GatewayFixture::start_in(&_world, folder).await;
    gateway.wait_state("work", "connected").await;
    taken_back(&gateway, &asked).await;
    bob.says(&work, "hi");
    bob.expect_text("fine").await.expect("answered");
    assert_eq!(texts(&ann), ["10 euros"]);
}
