//! Groups: what the agent is told of what was said since its last answer.

use wa_simulator::World;

use crate::process::{Process, link_by_code, state};
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

    // As a crash leaves it: the question admitted and not answered.
    let folder = gateway.stop().await;
    let journal = rusqlite::Connection::open(folder.path().join("state.db")).expect("journal");
    let admitted = "UPDATE inbound SET state = 'admitted', answered_at = NULL WHERE state = 'answered'";
    assert_eq!(journal.execute(admitted, []).expect("updated"), 1);
    drop(journal);
    let gateway = GatewayFixture::start_in(&world, folder).await;
    let again = model.asked().await;
    assert!(again.contains("shall we eat?") && again.contains("pizza") && again.contains("where to?"), "{again}");
    gateway.wait_state("work", "connected").await;

    bob.says_in(&group, "and when?", &[&work]);
    let asked = model.asked().await;
    assert!(!asked.contains("pizza") && asked.contains("and when?"), "the context is used once: {asked}");
}

/// Questions about a group that clients asked.
fn questions(world: &World, group: &wa_simulator::Group) -> usize {
    let jid = group.jid().to_string();
    let asked = |xml: &str| xml.contains("xmlns=\"w:g2\"") && xml.contains("type=\"get\"") && xml.contains(&jid);
    world.trace().iter().filter(|e| e.direction == wa_simulator::Direction::FromClient && asked(&e.xml)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_are_told_of_their_group_and_whatsapp_is_asked_once() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends\" of Ann", &ann, &[&bob, &work]);
    let mut model = Model::held("fine").await;
    let jid = group.jid().to_string();
    let config = format!(
        "{{ {}, bindings: [], broadcast: {{ '{jid}': ['main', 'bee'] }}, channels: {{ whatsapp: {{ allowFrom: ['+15557000001'], groupPolicy: 'open', accounts: {{ work: {{}} }} }} }} }}",
        model.config().replace("agents: {", "agents: { list: [{ id: 'main' }, { id: 'bee' }],")
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    bob.says_in(&group, "nobody is meant", &[]);
    gateway.wait_count("work", "not-mentioned", 1).await;
    ann.says_in(&group, "hello both", &[&work]);
    // Both ask at once, before either has answered.
    for _ in 0..2 {
        let system = model.conversation().await.remove(0);
        assert!(
            system.starts_with("You are replying inside the WhatsApp group \"Friends' of Ann\". Group members: "),
            "{system}"
        );
        for member in ["Ann (+15557000001)", "Bob (+15557000002)", "+15550001111"] {
            assert!(system.contains(member), "{member}: {system}");
        }
        assert!(system.contains("Activation: trigger-only"), "{system}");
        assert!(
            system.contains(&format!("Conversation: Friends\" of Ann id:{jid}\nSender: Ann (+15557000001)\n")),
            "{system}"
        );
    }
    assert_eq!(questions(&world, &group), 1, "one question for both agents");
    model.release(2);
    let answers = || bob.inbox().into_iter().filter(|r| r.text == "fine").count();
    bob.expect_message(|_| answers() == 2).await.expect("both answer");
    let asked = questions(&world, &group);
    bob.says_in(&group, "and again", &[&work]);
    for _ in 0..2 {
        model.conversation().await;
    }
    model.release(2);
    bob.expect_message(|_| answers() == 4).await.expect("both answer");
    assert_eq!(questions(&world, &group), asked, "what is known is not asked again");

    ann.says_in(&group, "/activation always", &[]);
    bob.expect_text("⚙️ Group activation set to always.").await.expect("told");
    group.set_subject("Enemies");
    bob.says_in(&group, "who are we?", &[]);
    for _ in 0..2 {
        let system = model.conversation().await.remove(0);
        assert!(system.starts_with("You are replying inside the WhatsApp group \"Enemies\"."), "{system}");
        assert!(system.contains("Activation: always-on") && system.contains("exactly NO_REPLY"), "{system}");
    }
    model.release(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_agents_answer_in_turn_from_the_same_context_and_one_that_fails_stops_nobody() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &work]);
    let mut model = Model::held("fine").await;
    let config = format!(
        "{{ {}, broadcast: {{ strategy: 'sequential', '{}': ['bee', 'bad', 'main'] }}, channels: {{ whatsapp: {{ dmPolicy: 'allowlist', allowFrom: ['+15557000001'], groupPolicy: 'open', accounts: {{ work: {{}} }} }} }} }}",
        model
            .config()
            .replace("agents: {", "agents: { list: [{ id: 'main' }, { id: 'bee' }, { id: 'bad', model: 'gone/x' }],")
            .replace(
                "providers: {",
                "providers: { gone: { api: 'openai-completions', baseUrl: 'http://127.0.0.1:9/v1', apiKey: 'k' },"
            ),
        group.jid()
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    bob.says_in(&group, "pizza", &[]);
    gateway.wait_count("work", "not-mentioned", 1).await;
    ann.says_in(&group, "what now?", &[&work]);
    assert!(model.asked().await.contains("pizza"));
    // Were the agents asked all at once, another one's question would come before this one.
    ann.says(&work, "marker");
    assert!(model.asked().await.ends_with("] marker"));
    model.release(2);
    let asked = model.asked().await;
    assert!(asked.contains("pizza") && asked.contains("what now?"), "the same context for all: {asked}");
    model.release(1);
    let heard = || {
        let from_work = bob.inbox().into_iter().filter(|r| r.from == work.number());
        from_work.map(|r| r.text.chars().take(4).collect::<String>()).collect::<Vec<_>>()
    };
    bob.expect_message(|_| heard().len() == 3).await.expect("all three are heard");
    assert_eq!(heard(), ["fine", "Sorr", "fine"]);

    ann.says_in(&group, "and then?", &[&work]);
    assert!(!model.asked().await.contains("pizza"), "the context was used up once");
    let folder = gateway.stop();
    model.release(9);
    drop(folder.await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_had_its_turn_before_a_crash_has_no_second_one() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let group = world.group("Friends", &ann, &[&work]);
    let mut model = Model::held("fine").await;
    let config = format!(
        "{}, broadcast: {{ strategy: 'sequential', '{}': ['bee', 'main'] }}, channels: {{ whatsapp: {{ groupPolicy: 'open', accounts: {{ work: {{}} }} }} }}",
        model.config().replace("agents: {", "agents: { list: [{ id: 'main' }, { id: 'bee', model: 'local/bee' }],"),
        group.jid()
    );
    let gateway = Process::start(&world, state(&config)).await;
    link_by_code(gateway.folder(), &world, &work, "work").await;
    ann.says_in(&group, "what now?", &[&work]);
    assert_eq!(model.request().await.0, "bee");
    model.release(1);
    ann.expect_text("fine").await.expect("the first agent is heard");
    assert_eq!(model.request().await.0, "tiny");
    let folder = gateway.kill();
    // The question of the killed process is answered into the void.
    model.release(9);
    let _gateway = Process::start(&world, folder).await;
    assert_eq!(model.request().await.0, "tiny", "only the second agent is asked again");
    ann.expect_text("fine").await.expect("the second agent is heard");
}
