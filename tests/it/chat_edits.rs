//! Where edits of the configuration by chat end: other accounts, what belongs to the host, the environment, groups.

use wa_simulator::{Phone, World};

use crate::support::GatewayFixture;

const ANN: &str = "+15557000001";
const BOB: &str = "+15557000002";

/// Two accounts; Ann commands `a`, Bob commands `b`, and both may command by chat.
struct Stage {
    world: World,
    gateway: GatewayFixture,
    a: Phone,
    ann: Phone,
    bob: Phone,
    config: String,
}

fn two(rules_of_b: &str) -> String {
    format!(
        "{{\n  // mine\n  commands: {{ config: true }},\n  gateway: {{ auth: {{ token: 'a-long-secret-token' }} }},\n  models: {{ providers: {{ main: {{ api: 'openai-completions', baseUrl: 'http://127.0.0.1:9/v1', apiKey: '${{HOME}}' }} }} }},\n  agents: {{ list: [{{ id: 'main', name: 'Vera' }}] }},\n  channels: {{ whatsapp: {{\n    dmPolicy: 'allowlist',\n    accounts: {{ a: {{ allowFrom: ['{ANN}', '{BOB}'] }}, b: {{ allowFrom: ['{BOB}'], {rules_of_b} }} }},\n  }} }},\n}}\n"
    )
}

impl Stage {
    async fn set(rules_of_b: &str) -> Self {
        let world = World::start().await.expect("world");
        let (a, ann, bob) = (world.phone("+15550001111"), world.contact(ANN, "Ann"), world.contact(BOB, "Bob"));
        let config = two(rules_of_b);
        let gateway = GatewayFixture::start(&world, &config).await;
        gateway.link("a", &a).await;
        Self { world, gateway, a, ann, bob, config }
    }

    /// The answer to a command in a direct chat with account `a`.
    async fn told(&self, who: &Phone, command: &str) -> String {
        let seen = who.inbox().len();
        who.says(&self.a, command);
        who.expect_message(|_| who.inbox().len() > seen).await.expect("answered");
        who.inbox().pop().expect("a message").text
    }

    fn file(&self) -> String {
        std::fs::read_to_string(self.gateway.config_path()).expect("config")
    }

    /// The command changes nothing, and the answer names the way.
    async fn refused(&self, who: &Phone, command: &str) -> String {
        let answer = self.told(who, command).await;
        assert!(answer.starts_with("⚠️ "), "{command}: {answer}");
        assert_eq!(self.file(), self.config, "{command}");
        answer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_commands_one_account_edits_that_one() {
    let stage = Stage::set("").await;
    for command in [
        "/config set channels.whatsapp.accounts.b.dmPolicy=disabled",
        "/config set channels.whatsapp.accounts={\"a\":{\"allowFrom\":[\"+15557000001\"]}}",
        "/config unset channels.whatsapp.accounts.b",
        "/config set channels.whatsapp.dmPolicy=disabled",
        "/config unset channels.whatsapp",
        "/config set messages.responsePrefix=x",
        "/config set agents.list[0].name=x",
        "/config set agents.list.0.workspace=/",
        "/config set models.providers.main.baseUrl=http://127.0.0.1:1/v1",
        "/config set gateway.auth.token=another-long-token",
        "/config set channels.whatsapp.accounts.a.configWrites=true",
        "/config set commands.ownerAllowFrom=[\"+15557000001\"]",
        "/config set whatsapp.dmPolicy=disabled",
        "/config set bindings=[{\"agentId\":\"main\",\"match\":{\"channel\":\"whatsapp\",\"accountId\":\"b\"}}]",
        "/config set channels.whatsapp.accounts.a.groups={\"*\":{\"$include\":\"./x.json\"}}",
    ] {
        let answer = stage.refused(&stage.ann, command).await;
        assert!(answer.contains("Config not changed"), "{command}: {answer}");
    }
    let closed = stage.refused(&stage.ann, "/config set logging.level=debug").await;
    assert!(closed.contains("verso config set logging.level"), "{closed}");
    // What the environment holds is not brought into the chat, whatever is made of it.
    let home = stage.gateway.state.display().to_string();
    for command in [
        "/config set agents.defaults.model=${HOME}",
        "/config set channels.whatsapp.accounts.a.responsePrefix=x ${HOME}",
        "/config set channels.whatsapp.accounts.a.allowFrom=[\"+15557000001\",\"${HOME}\"]",
    ] {
        let answer = stage.refused(&stage.ann, command).await;
        assert!(answer.contains("${…}") && !answer.contains(&home) && !answer.contains("/root"), "{answer}");
    }
    // Bob is named on both lists, but is not the first on this account's.
    let answer =
        stage.refused(&stage.bob, "/config set channels.whatsapp.accounts.a.allowFrom=[\"+15557000002\"]").await;
    assert!(answer.contains("the first number in allowFrom"), "{answer}");
    let answer = stage.refused(&stage.bob, "/allowlist remove dm +15557000001").await;
    assert!(answer.contains("the first number in allowFrom"), "{answer}");

    let shown = stage.told(&stage.ann, "/config show").await;
    assert!(shown.contains("\"Vera\"") && shown.contains(ANN), "{shown}");
    assert!(!shown.contains("a-long-secret-token") && !shown.contains("\"b\""), "{shown}");
    assert!(stage.told(&stage.ann, "/config get channels.whatsapp.accounts.b").await.contains("null"));

    let done = stage.told(&stage.ann, "/config set channels.whatsapp.accounts.a.responsePrefix=[hi]").await;
    assert!(done.starts_with("⚙️ Config updated") || done.starts_with("⚠️ Invalid JSON"), "{done}");
    let done = stage.told(&stage.ann, "/config set channels.whatsapp.accounts.a.historyLimit=7").await;
    assert_eq!(done, "⚙️ Config updated: channels.whatsapp.accounts.a.historyLimit=7");
    assert!(stage.file().contains("// mine") && stage.file().contains("historyLimit"));
    let done = stage.told(&stage.ann, "/config unset channels.whatsapp.accounts.a.historyLimit").await;
    assert_eq!(done, "⚙️ Config updated: channels.whatsapp.accounts.a.historyLimit removed.");
    drop(stage.world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_commands_every_account_edits_what_they_share() {
    let stage = Stage::set("").await;
    let set = async |command: &str| {
        let answer = stage.told(&stage.bob, command).await;
        assert!(answer.starts_with("⚙️ Config updated"), "{command}: {answer}");
    };
    set("/config set messages.responsePrefix=x").await;
    set("/config unset messages.responsePrefix").await;
    set("/config set channels.whatsapp.accounts.b.historyLimit=3").await;
    set("/config set agents.list[0].identity.name=Vera").await;
    set("/config set agents.defaults.model=main/large").await;
    let unknown = stage.told(&stage.bob, "/config set agents.defaults.model=nowhere/large").await;
    assert!(unknown.starts_with("⚠️ Config invalid after set"), "a provider that is not configured: {unknown}");
    for command in [
        "/config set agents.list=[{\"id\":\"main\",\"workspace\":\"/\"}]",
        "/config set agents.defaults.workspace=/",
        "/config set models.providers.main.baseUrl=http://127.0.0.1:1/v1",
        "/config set session.mainKey=other",
        "/config set channels.whatsapp.configWrites=false",
    ] {
        let before = stage.file();
        let answer = stage.told(&stage.bob, command).await;
        assert!(answer.starts_with("⚠️ Config not changed: "), "{command}: {answer}");
        assert_eq!(stage.file(), before, "{command}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_edits_by_chat_is_not_edited_from_another() {
    let stage = Stage::set("configWrites: false").await;
    for command in [
        "/config set channels.whatsapp.accounts.b.historyLimit=3",
        "/config set channels.whatsapp.historyLimit=3",
        "/config set messages.responsePrefix=x",
    ] {
        let answer = stage.refused(&stage.bob, command).await;
        assert!(answer.contains("configWrites: false"), "{command}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_is_not_shown_in_groups() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) = (world.phone("+15550001111"), world.contact(ANN, "Ann"), world.contact(BOB, "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &work]);
    let config = format!(
        "{{ commands: {{ config: true }}, channels: {{ whatsapp: {{ allowFrom: ['{ANN}'], groupPolicy: 'open', accounts: {{ work: {{}} }} }} }} }}"
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    for command in ["/config", "/config show", "/config get channels", "/config set channels.whatsapp.historyLimit=3"] {
        ann.says_in(&group, command, &[]);
        bob.expect_text("⚠️ This shows the configuration, with people's numbers. Use it in a direct chat with me.")
            .await
            .expect("sent elsewhere");
    }
    assert_eq!(std::fs::read_to_string(gateway.config_path()).expect("config"), config, "nothing was edited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_by_chat_and_by_command_line_at_the_same_time_are_both_kept() {
    let stage = Stage::set("").await;
    let state = stage.gateway.state.clone();
    let by_hand = std::thread::spawn(move || {
        for n in 1..=8 {
            let done = std::process::Command::new(env!("CARGO_BIN_EXE_verso"))
                .args(["config", "set", &format!("channels.whatsapp.groups[\"{n}@g.us\"].requireMention"), "true"])
                .env("VERSO_STATE_DIR", &state)
                .env("VERSO_CONFIG_PATH", state.join("verso.json"))
                .output()
                .expect("runs");
            assert!(done.status.success(), "{done:?}");
        }
    });
    for n in 1..=8 {
        let command = format!("/config set channels.whatsapp.accounts.a.dms[\"+1555800000{n}\"].historyLimit={n}");
        let answer = stage.told(&stage.ann, &command).await;
        assert!(answer.starts_with("⚙️ Config updated"), "{answer}");
    }
    by_hand.join().expect("every edit was made");
    let file = stage.file();
    for n in 1..=8 {
        assert!(file.contains(&format!("{n}@g.us")) && file.contains(&format!("+1555800000{n}")), "{n}: {file}");
    }
}
