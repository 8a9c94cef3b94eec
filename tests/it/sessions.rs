//! How sessions live: restarts, resets, the model of a session, who may answer, when typing is shown.

use verso::clock::Clock;
use verso::ids::SessionKey;
use verso::store::journal::Journal;
use wa_simulator::World;

use crate::support::GatewayFixture;
use crate::support::model::Model;

const HOUR: i64 = 3_600_000;
const WHATSAPP: &str = "channels: { whatsapp: { dmPolicy: 'allowlist', allowFrom: ['+15557000001'], groupPolicy: 'open', accounts: { work: {} } } }";

/// Makes a session's last turn lie this long ago, while no gateway runs.
async fn age(folder: &tempfile::TempDir, session: &str, ms: i64) {
    let journal = Journal::open(&folder.path().join("state.db"), Clock::System).expect("the journal opens");
    let session = SessionKey::new(session);
    let aged = journal.change_session(&session, move |entry| {
        let mut entry = entry.expect("the session exists");
        entry.updated_at -= ms;
        (Some(entry), ())
    });
    aged.await.expect("changed");
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_over_a_restart_and_begins_anew_when_it_is_stale() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let mut model = Model::start("fine").await;
    let config = format!("{{ {}, session: {{ idleMinutes: 1440 }}, {WHATSAPP} }}", model.config());
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    ann.says(&work, "remember the number 7");
    assert_eq!(model.asked().await, "[WhatsApp +15557000001] remember the number 7", "nothing came before it");
    ann.expect_text("fine").await.expect("answered");

    let folder = gateway.stop().await;
    age(&folder, "agent:main:main", 3 * HOUR).await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    ann.says(&work, "which number?");
    let asked = model.conversation().await;
    assert_eq!(asked.last().expect("a message"), "[WhatsApp +15557000001 +3h] which number?");
    assert!(asked.iter().any(|m| m.ends_with("the number 7")), "{asked:?}");
    ann.expect_message(|_| ann.shown().len() == 2).await.expect("answered");

    let folder = gateway.stop().await;
    age(&folder, "agent:main:main", 25 * HOUR).await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    ann.says(&work, "and now?");
    let asked = model.conversation().await;
    assert_eq!(asked, ["[WhatsApp +15557000001 +25h] and now?"], "the stale session is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_tells_the_cost_and_a_new_session_may_choose_its_model() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let mut model = Model::start("fine").await;
    let gateway = GatewayFixture::start(&world, &format!("{{ {}, {WHATSAPP} }}", model.config())).await;
    gateway.link("work", &work).await;
    ann.says(&work, "/status");
    let status = ann.expect_message(|r| r.text.contains("🧠 Model: local/tiny")).await.expect("status").text;
    assert!(status.contains("🧮 Tokens: unknown\n📚 Context: unknown"), "{status}");
    for n in 1..=2 {
        ann.says(&work, "hello");
        assert_eq!(model.request().await.0, "tiny");
        ann.expect_message(|_| ann.inbox().len() == n + 1).await.expect("answered");
    }
    ann.says(&work, "/status");
    let status = ann.expect_message(|r| r.text.contains("🧮 Tokens: 200 in / 40 out")).await.expect("status").text;
    assert!(status.contains("📚 Context: 100 · 🧹 Compactions: 0"), "{status}");
    assert!(status.contains("🧵 Session: agent:main:main • updated just now"), "{status}");
    assert!(status.contains("⚙️ Runtime: openai-completions · Account: work · Agent: main"), "{status}");

    ann.says(&work, "/new local/big");
    ann.expect_text("✅ New session started · model: local/big").await.expect("acknowledged");
    ann.says(&work, "who are you?");
    let (name, asked) = model.request().await;
    assert_eq!((name.as_str(), asked.len()), ("big", 1), "{asked:?}");
    ann.says(&work, "/new local/huge tell me more");
    ann.expect_text("✅ New session started · model: local/huge").await.expect("acknowledged");
    let (name, asked) = model.request().await;
    assert!(name == "huge" && asked.len() == 1 && asked[0].ends_with("] tell me more"), "{name} {asked:?}");
    ann.says(&work, "/new");
    assert_eq!(model.request().await.0, "tiny", "the choice was for that session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_may_not_send_is_silent() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let group = world.group("Friends", &ann, &[&work]);
    let gateway = GatewayFixture::start(
        &world,
        &format!("{{ agents: {{ defaults: {{ maxConcurrent: 1 }} }}, session: {{ sendPolicy: {{ rules: [{{ action: 'deny', match: {{ chatType: 'group' }} }}] }} }}, {WHATSAPP} }}"),
    )
    .await;
    gateway.link("work", &work).await;
    ann.says_in(&group, "in the group", &[&work]);
    gateway.wait_count("work", "admitted", 1).await;
    ann.says(&work, "alone");
    // One run at a time: the group's turn is over when this one is answered.
    ann.expect_text("alone").await.expect("direct chats may send");
    assert_eq!(ann.inbox().len(), 1, "{:?}", ann.inbox());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_is_shown_as_configured_and_taken_back() {
    for (mode, shown) in [("never", false), ("thinking", true), ("message", true)] {
        let world = World::start().await.expect("world");
        let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
        let gateway = GatewayFixture::start(
            &world,
            &format!("{{ agents: {{ defaults: {{ typingMode: '{mode}' }} }}, {WHATSAPP} }}"),
        )
        .await;
        gateway.link("work", &work).await;
        ann.says(&work, "hello");
        ann.expect_text("hello").await.expect("answered");
        if shown {
            let paused = || ann.signs().iter().any(|s| s.what == "paused");
            gateway.wait("typing to be taken back", |_| paused()).await;
        }
        ann.says(&work, "again");
        ann.expect_text("again").await.expect("answered");
        assert_eq!(ann.signs().iter().any(|s| s.what == "composing"), shown, "{mode}: {:?}", ann.signs());
    }
}
