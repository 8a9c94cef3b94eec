//! Groups: what the agent is told of what was said since its last answer.

use wa_simulator::World;

use crate::support::GatewayFixture;
use crate::support::model::Model;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_since_the_last_answer_comes_with_the_question_also_after_a_restart() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &work]);
    let mut model = Model::start("fine").await;
    let config = format!(
        "{{ {}, channels: {{ whatsapp: {{ groupPolicy: 'open', historyLimit: 2, accounts: {{ work: {{}} }} }} }} }}",
        model.config()
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    for (n, text) in ["too old", "shall we eat?"].into_iter().enumerate() {
        ann.says_in(&group, text, &[]);
        gateway.wait_count("work", "not-mentioned", n as u64 + 1).await;
    }
    bob.says_in(&group, "pizza", &[]);
    gateway.wait_count("work", "not-mentioned", 3).await;

    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    ann.says_in(&group, "where to?", &[&work]);
    let asked = model.asked().await;
    let lines: Vec<&str> = asked.lines().collect();
    let jid = group.jid().to_string();
    assert_eq!(lines[0], "[Chat messages since your last reply - for context]", "{asked}");
    assert_eq!(lines[1], format!("[WhatsApp {jid}] Ann (+15557000001): shall we eat?"), "{asked}");
    assert!(lines[2].starts_with("[message_id: "), "{asked}");
    assert_eq!(lines[3], format!("[WhatsApp {jid}] Bob (+15557000002): pizza"), "{asked}");
    assert_eq!(lines[5..7], ["", "[Current message - respond to this]"], "{asked}");
    assert!(asked.ends_with("[from: Ann (+15557000001)]") && asked.contains("where to?"), "{asked}");
    bob.expect_text("fine").await.expect("answered");

    bob.says_in(&group, "and when?", &[&work]);
    let asked = model.asked().await;
    assert!(!asked.contains("pizza") && asked.contains("and when?"), "the context is used once: {asked}");
}
