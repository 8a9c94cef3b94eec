//! Chat commands from phone to phone.

use wa_simulator::World;

use crate::support::GatewayFixture;
use crate::support::model::Model;

const ACCOUNTS: &str = "accounts: { work: {} }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_listed_commands_and_who_is_not_gets_silence() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &work]);
    let gateway = GatewayFixture::start(
        &world,
        &format!("{{ channels: {{ whatsapp: {{ dmPolicy: 'allowlist', allowFrom: ['+15557000001'], groupPolicy: 'open', {ACCOUNTS} }} }} }}"),
    )
    .await;
    gateway.link("work", &work).await;
    ann.says(&work, "/whoami");
    ann.expect_text(
        "🧭 Identity\nChannel: whatsapp\nUser id: +15557000001\nChat: 15557000001@s.whatsapp.net\nAllowFrom: +15557000001",
    )
    .await
    .expect("told who she is");
    ann.says(&work, "/Status");
    let status = ann.expect_message(|r| r.text.contains("🧠 Model: ")).await.expect("status").text;
    assert!(status.contains("🧵 Session: agent:main:main • not started yet"), "{status}");
    ann.says(&work, "/activation always");
    ann.expect_text("⚙️ Group activation only applies to group chats.").await.expect("told");
    ann.says(&work, "/config set a=1");
    ann.expect_text("⚠️ /config is disabled. Set commands.config=true to enable.").await.expect("told");
    ann.says(&work, "/model x");
    ann.expect_text("⚠️ /model is not available in Verso. /help lists the commands.").await.expect("told");

    // Somebody who may talk but not command is not answered, and nothing reaches the agent.
    bob.says_in(&group, "/status", &[&work]);
    gateway.wait_count("work", "command-not-authorized", 1).await;
    bob.says_in(&group, "say /status", &[&work]);
    let answer = ann.expect_message(|r| r.chat == group.jid().to_string() && r.from == work.number()).await;
    assert!(answer.expect("answered").text.contains("say /status"), "a command inside a text is text");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn activation_holds_from_the_next_message_on_and_after_a_restart() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &work]);
    let gateway = GatewayFixture::start(
        &world,
        &format!("{{ channels: {{ whatsapp: {{ allowFrom: ['+15557000001'], groupPolicy: 'open', {ACCOUNTS} }} }} }}"),
    )
    .await;
    gateway.link("work", &work).await;
    bob.says_in(&group, "/activation always", &[&work]);
    gateway.wait_count("work", "activation-not-owner", 1).await;
    // An owner's command needs no mention.
    ann.says_in(&group, "/activation", &[]);
    bob.expect_text("⚙️ Usage: /activation mention|always").await.expect("told");
    ann.says_in(&group, "/activation always", &[]);
    bob.expect_text("⚙️ Group activation set to always.").await.expect("told");
    bob.says_in(&group, "unmentioned", &[]);
    ann.expect_message(|r| r.from == work.number() && r.text.contains("unmentioned")).await.expect("answered");

    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    bob.says_in(&group, "once more", &[]);
    ann.expect_message(|r| r.from == work.number() && r.text.contains("once more")).await.expect("kept");
    ann.says_in(&group, "/activation mention", &[]);
    bob.expect_text("⚙️ Group activation set to mention.").await.expect("told");
    bob.says_in(&group, "to nobody", &[]);
    gateway.wait_count("work", "not-mentioned", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_session_forgets_and_greets() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let mut model = Model::start("fine").await;
    let gateway = GatewayFixture::start(
        &world,
        &format!(
            "{{ {}, channels: {{ whatsapp: {{ dmPolicy: 'allowlist', allowFrom: ['+15557000001'], {ACCOUNTS} }} }} }}",
            model.config()
        ),
    )
    .await;
    gateway.link("work", &work).await;
    ann.says(&work, "remember the number 7");
    model.asked().await;
    ann.expect_text("fine").await.expect("answered");
    ann.says(&work, "/new");
    let asked = model.conversation().await;
    assert!(asked.last().expect("a message").contains("just started a new session"), "{asked:?}");
    assert!(!asked.iter().any(|m| m.contains("number 7") || m.contains("/new")), "{asked:?}");
    ann.says(&work, "/reset which number?");
    let asked = model.conversation().await;
    assert!(asked.last().expect("a message").contains("which number?"), "{asked:?}");
    assert!(!asked.iter().any(|m| m.contains("just started") || m.contains("/reset")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_edits_the_config_by_chat() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let before = "{\n  // mine\n  commands: { config: true },\n  gateway: { auth: { token: 'a-long-secret-token' } },\n  channels: { whatsapp: {\n    dmPolicy: 'allowlist', // who\n    allowFrom: ['+15557000001'],\n    accounts: { work: {} },\n  } },\n}\n";
    let gateway = GatewayFixture::start(&world, before).await;
    gateway.link("work", &work).await;
    ann.says(&work, "/config get gateway");
    let shown = ann.expect_message(|r| r.text.starts_with("⚙️ Config gateway:\n```json\n")).await.expect("shown").text;
    assert!(shown.contains("***") && !shown.contains("a-long-secret"), "{shown}");

    for (edit, reply) in [
        (
            "/config set channels.whatsapp.dmPolicy=sometimes",
            "⚠️ Config invalid after set (channels.whatsapp.dmPolicy: ",
        ),
        ("/config set channels.whatsapp.allowFrom=[\"+15557000002\"]", "⚠️ Config not changed: "),
        ("/config unset channels.whatsapp.allowFrom", "⚠️ Config not changed: "),
        ("/config set channels.whatsapp.accounts.work.enabled=false", "⚠️ Config not changed: "),
        ("/config set a..b=1", "⚠️ Invalid path. Use dot notation (e.g. foo.bar)."),
        ("/config unset agents", "⚙️ No config value found for agents."),
        ("/config bogus", "⚠️ Usage: /config show|set|unset"),
    ] {
        let seen = ann.inbox().len();
        ann.says(&work, edit);
        ann.expect_message(|_| ann.inbox().len() > seen).await.expect("answered");
        let answer = ann.inbox().pop().expect("a message").text;
        assert!(answer.starts_with(reply), "{edit}: {answer}");
        assert_eq!(std::fs::read_to_string(gateway.config_path()).expect("config"), before, "{edit}");
    }

    bob.says(&work, "let me in");
    gateway.wait_count("work", "dm-not-allowlisted", 1).await;
    ann.says(&work, "/config set channels.whatsapp.allowFrom=[\"+15557000001\", \"+15557000002\"]");
    ann.expect_text("⚙️ Config updated: channels.whatsapp.allowFrom=[\"+15557000001\",\"+15557000002\"]")
        .await
        .expect("updated");
    gateway.wait_revision(2).await;
    bob.says(&work, "now?");
    bob.expect_text("now?").await.expect("let in");
    let after = std::fs::read_to_string(gateway.config_path()).expect("config");
    assert!(
        after.contains("// mine") && after.contains("// who") && after.contains("'a-long-secret-token'"),
        "{after}"
    );
    assert!(gateway.state.join("verso.json.bak").exists(), "the old file is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_stopped_and_the_next_one_goes_on() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let config = format!(
        "{{ models: {{ providers: {{ local: {{ api: 'openai-completions', baseUrl: 'http://{}/v1', apiKey: 'k' }} }} }},
            agents: {{ defaults: {{ model: 'local/tiny' }} }},
            channels: {{ whatsapp: {{ dmPolicy: 'allowlist', allowFrom: ['+15557000001'], {ACCOUNTS} }} }} }}",
        silent.local_addr().expect("address")
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    ann.says(&work, "think long");
    let (asked, _) = silent.accept().await.expect("asked");
    ann.says(&work, "and this waits");
    gateway.wait_count("work", "admitted", 2).await;
    ann.says(&work, "stop");
    ann.expect_text("⚙️ Agent was aborted.").await.expect("told");
    ann.says(&work, "next");
    let (next, _) = silent.accept().await.expect("the next message is asked about");
    drop((asked, next));
    ann.expect_message(|r| r.text.starts_with("⚠️ No answer: ")).await.expect("told");
    assert_eq!(ann.inbox().len(), 2, "what was stopped is not answered");
}
