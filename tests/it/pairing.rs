//! Direct chats: the four policies, and pairing from the first message to the approval.

use verso::actors::messages::{DecidePairing, ListPairing, PairingRequest, Refusal};
use wa_simulator::{Addressing, World};

use crate::support::GatewayFixture;

async fn listed(gateway: &GatewayFixture) -> Vec<PairingRequest> {
    gateway.port.list_pairing.send(ListPairing { account: None }).await.expect("answers").expect("listed")
}

async fn decide(gateway: &GatewayFixture, code: &str, approve: bool, notify: bool) -> Result<String, Refusal> {
    let decide = DecidePairing { account: None, code: code.to_owned(), approve, notify };
    gateway.port.decide_pairing.send(decide).await.expect("answers").map(|d| d.sender)
}

fn config(rules: &str) -> String {
    format!("{{ channels: {{ whatsapp: {{ {rules}, accounts: {{ work: {{}} }} }} }} }}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_one_text_is_approved_and_answered() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, &config("dmPolicy: 'pairing'")).await;
    gateway.link("work", &work).await;

    ann.says(&work, "one");
    let text = ann.expect_message(|_| true).await.expect("pairing text").text;
    let request = listed(&gateway).await.remove(0);
    assert_eq!(
        text,
        format!(
            "Verso: access not configured.\n\nYour WhatsApp phone number: +15557654321\n\nPairing code: {}\n\nAsk the bot owner to approve with:\nverso pairing approve whatsapp <code>",
            request.code
        )
    );
    assert_eq!((request.sender.as_str(), request.name.as_deref()), ("+15557654321", Some("Ann")));
    ann.says(&work, "two");
    gateway.wait_count("work", "pairing-required", 2).await;

    assert_eq!(
        decide(&gateway, "WRONGCDE", true, false).await.expect_err("no such code").to_string(),
        "No pending pairing request found for code: WRONGCDE"
    );
    assert_eq!(decide(&gateway, &request.code.to_lowercase(), true, true).await.expect("approved"), "+15557654321");
    ann.expect_text("✅ Verso access approved. Send a message to start chatting.").await.expect("told");
    assert!(listed(&gateway).await.is_empty());
    ann.says(&work, "three");
    ann.expect_text("three").await.expect("answered");
    assert_eq!(ann.inbox().len(), 3, "the first messages are not processed, the text came once");

    // The approval outlives the process, also for what she writes while nothing runs.
    let folder = gateway.stop().await;
    ann.says(&work, "while you slept");
    let gateway = GatewayFixture::start_in(&world, folder).await;
    ann.expect_text("while you slept").await.expect("answered though it came before the account counted as connected");
    gateway.wait_state("work", "connected").await;
    ann.says(&work, "four");
    ann.expect_text("four").await.expect("answered after the restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_stranger_stays_out_and_may_ask_again() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, &config("dmPolicy: 'pairing'")).await;
    gateway.link("work", &work).await;
    ann.says(&work, "one");
    ann.expect_message(|r| r.text.contains("Pairing code")).await.expect("pairing text");
    let first = listed(&gateway).await.remove(0).code;
    decide(&gateway, &first, false, false).await.expect("denied");
    ann.says(&work, "two");
    let again = ann.expect_message(|r| r.text.contains("Pairing code")).await.expect("asked anew");
    assert!(!again.text.contains(&first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_wait_and_the_fourth_hears_nothing() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway = GatewayFixture::start(&world, &config("dmPolicy: 'pairing'")).await;
    gateway.link("work", &work).await;
    let strangers: Vec<_> = (1..=4).map(|n| world.contact(&format!("+1555700000{n}"), "Somebody")).collect();
    for (n, stranger) in strangers.iter().enumerate() {
        stranger.says(&work, "hello");
        gateway.wait_count("work", "pairing-required", n as u64 + 1).await;
        if n < 3 {
            stranger.expect_message(|r| r.text.contains("Pairing code")).await.expect("pairing text");
        }
    }
    assert_eq!(listed(&gateway).await.len(), 3);
    assert!(strangers[3].inbox().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allowlist_open_and_disabled_follow_a_live_edit() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let gateway = GatewayFixture::start(&world, &config("dmPolicy: 'allowlist', allowFrom: ['+1 555 700-0001']")).await;
    let device = gateway.link("work", &work).await;
    let sockets = device.sockets_opened();

    bob.says(&work, "b1");
    gateway.wait_count("work", "dm-not-allowlisted", 1).await;
    ann.says(&work, "a1");
    ann.expect_text("a1").await.expect("listed people are answered");

    gateway.write_config(&config("dmPolicy: 'open', allowFrom: ['*']"));
    gateway.wait_revision(2).await;
    bob.says(&work, "b2");
    bob.expect_text("b2").await.expect("open to everybody");

    gateway.write_config(&config("dmPolicy: 'disabled'"));
    gateway.wait_revision(3).await;
    ann.says(&work, "a2");
    gateway.wait_count("work", "dm-disabled", 1).await;

    assert_eq!((ann.inbox().len(), bob.inbox().len()), (1, 1));
    assert_eq!(device.sockets_opened(), sockets, "policy edits touch no socket");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_address_families_are_the_same_person() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let gateway = GatewayFixture::start(&world, &config("dmPolicy: 'allowlist', allowFrom: ['+15557000001']")).await;
    gateway.link("work", &work).await;
    for (text, addressing) in [("by lid", Addressing::Lid), ("by number", Addressing::Pn)] {
        ann.says_via(&work, text, addressing);
        ann.expect_text(text).await.expect("answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_owner_writes_to_others_triggers_nothing() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let gateway = GatewayFixture::start(&world, &config("dmPolicy: 'pairing'")).await;
    gateway.link("work", &work).await;
    work.says(&ann, "written on the phone");
    gateway.wait_count("work", "own-message-to-other", 1).await;
    assert!(listed(&gateway).await.is_empty());
    assert_eq!(ann.inbox().len(), 1, "only what the owner wrote himself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_personal_number_strangers_hear_nothing_and_the_owner_decides_by_a_reaction() {
    let world = World::start().await.expect("world");
    let me = world.phone("+15550001111");
    let (ann, bob) = (world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let gateway = GatewayFixture::start(&world, &config("dmPolicy: 'pairing', allowFrom: ['+15550001111']")).await;
    gateway.link("work", &me).await;
    for (stranger, emoji, answer) in
        [(&ann, "👍🏽", "Approved whatsapp sender +15557000001."), (&bob, "👎", "Denied whatsapp sender +15557000002.")]
    {
        stranger.says(&me, "hello?");
        let notice = me.expect_message(|r| r.text.contains("asks to be let in") && r.text.contains(&stranger.number()));
        let notice = notice.await.expect("the owner is told");
        me.reacts(&me, &notice.id, emoji);
        me.expect_text(answer).await.expect("the owner is answered");
    }
    assert!(listed(&gateway).await.is_empty());
    ann.says(&me, "am I in?");
    ann.expect_text("am I in?").await.expect("answered");
    bob.says(&me, "and me?");
    me.expect_message(|r| r.text.contains("asks to be let in")).await.expect("he may ask again");
    assert_eq!((ann.inbox().len(), bob.inbox().len()), (1, 0), "strangers hear nothing");
}
