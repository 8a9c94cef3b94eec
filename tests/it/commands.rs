//! Chat commands from phone to phone.

use rusqlite::Connection;
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
    ann.expect_text("⚠️ /model is not available in Verso. The model is agents.defaults.model in the configuration.")
        .await
        .expect("told");

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

    // All groups are neither closed nor opened at once from a chat.
    let listed = before.replace("accounts: { work: {} }", "groups: { '1201@g.us': {} }, accounts: { work: {} }");
    gateway.edit(&listed).await;
    for edit in [
        "/config unset channels.whatsapp.groups[\"1201@g.us\"]",
        "/config unset channels.whatsapp.groups",
        "/config set channels.whatsapp.groups={}",
    ] {
        let seen = ann.inbox().len();
        ann.says(&work, edit);
        ann.expect_message(|_| ann.inbox().len() > seen).await.expect("answered");
        let answer = ann.inbox().pop().expect("a message").text;
        assert!(answer.starts_with("⚠️ Config not changed: after this edit"), "{edit}: {answer}");
        assert_eq!(std::fs::read_to_string(gateway.config_path()).expect("config"), listed, "{edit}");
    }
    gateway.edit(before).await;

    bob.says(&work, "let me in");
    gateway.wait_count("work", "dm-not-allowlisted", 1).await;
    ann.says(&work, "/config set channels.whatsapp.allowFrom=[\"+15557000001\", \"+15557000002\"]");
    ann.expect_text("⚙️ Config updated: channels.whatsapp.allowFrom=[\"+15557000001\",\"+15557000002\"]")
        .await
        .expect("updated");
    gateway.wait_revision(4).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_send_says_holds_for_one_session_and_over_a_restart() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let gateway = GatewayFixture::start(
        &world,
        &format!(
            "{{ session: {{ dmScope: 'per-peer' }}, commands: {{ ownerAllowFrom: ['+15557000001'] }},
                channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], {ACCOUNTS} }} }} }}"
        ),
    )
    .await;
    gateway.link("work", &work).await;
    ann.says(&work, "/send maybe");
    ann.expect_text("⚙️ Usage: /send on|off|inherit").await.expect("told");
    bob.says(&work, "/send off");
    gateway.wait_count("work", "command-not-authorized", 1).await;
    ann.says(&work, "/send off");
    ann.expect_text("⚙️ Send policy set to off.").await.expect("told");
    let id = ann.says(&work, "into the void");
    bob.says(&work, "others are answered");
    bob.expect_text("others are answered").await.expect("answered");

    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    let still = ann.says(&work, "still nothing");
    let settled = |journal: Connection| {
        let state = "SELECT state FROM inbound WHERE id = ?1";
        journal.query_row(state, [&still], |r| r.get::<_, String>(0)).is_ok_and(|state| state == "answered")
    };
    let journal = || Connection::open(gateway.state.join("state.db")).expect("journal");
    gateway.wait("its turn to be over", |_| settled(journal())).await;
    ann.says(&work, "/send inherit");
    ann.expect_text("⚙️ Send policy set to inherit.").await.expect("told");
    ann.says(&work, "heard");
    ann.expect_text("heard").await.expect("answered again");
    let texts: Vec<String> = ann.inbox().into_iter().map(|m| m.text).collect();
    assert!(!texts.iter().any(|t| t.contains("void") || t.contains("still nothing")), "{texts:?}");
    let journal = Connection::open(gateway.state.join("state.db")).expect("journal");
    let state: String = journal.query_row("SELECT state FROM inbound WHERE id = ?1", [&id], |r| r.get(0)).expect("row");
    assert_eq!(state, "answered", "what is held back is settled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_edits_the_allowlists_by_chat() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let before = "{\n  // mine\n  commands: { config: true },\n  channels: { whatsapp: {\n    dmPolicy: 'allowlist',\n    groupPolicy: 'allowlist',\n    accounts: {\n      work: { allowFrom: [\n        '+15557000001', // me\n      ] },\n    },\n  } },\n}\n";
    let gateway = GatewayFixture::start(&world, before).await;
    gateway.link("work", &work).await;
    let told = async |command: &str, reply: &str| {
        let seen = ann.inbox().len();
        ann.says(&work, command);
        ann.expect_message(|_| ann.inbox().len() > seen).await.expect("answered");
        let answer = ann.inbox().pop().expect("a message").text;
        assert!(answer.starts_with(reply), "{command}: {answer}");
    };
    told(
        "/allowlist",
        "🧾 Allowlist\nChannel: whatsapp (account work)\nDM policy: allowlist\nDM allowFrom (config): +15557000001\nPaired allowFrom (store): (none)\nGroup policy: allowlist\nGroup allowFrom (config): as DM allowFrom",
    )
    .await;
    told("/allowlist add dm bob", "⚠️ \"bob\" names nobody: \"b\" cannot stand in a phone number").await;
    told("/allowlist add dm +1 555 700 0001", "✅ Already allowlisted.").await;
    told("/allowlist remove dm +15559999999", "⚠️ Entry not found.").await;
    told("/allowlist remove dm +15557000001", "⚠️ Allowlist not changed: ").await;
    assert_eq!(std::fs::read_to_string(gateway.config_path()).expect("config"), before);

    bob.says(&work, "let me in");
    gateway.wait_count("work", "dm-not-allowlisted", 1).await;
    told("/allowlist add dm +15557000002", "✅ DM allowlist added: channels.whatsapp.accounts.work.allowFrom.").await;
    // No wait: what was confirmed is in force.
    bob.says(&work, "now?");
    bob.expect_text("now?").await.expect("let in");
    let after = std::fs::read_to_string(gateway.config_path()).expect("config");
    assert!(after.contains("// mine") && after.contains("'+15557000001', // me"), "{after}");

    // The group list takes the place of the other one without shutting its people out.
    told("/allowlist add group 77@lid", "✅ Group allowlist added: channels.whatsapp.accounts.work.groupAllowFrom.")
        .await;
    let group = gateway.status().await.revision;
    assert_eq!(group, 3, "each edit is one revision");
    told("/config get channels.whatsapp.accounts.work.groupAllowFrom", "⚙️ Config").await;
    let shown = ann.inbox().pop().expect("shown").text;
    for entry in ["+15557000001", "+15557000002", "77@lid"] {
        assert!(shown.contains(entry), "{shown}");
    }
    told("/allowlist remove dm +15557000002", "✅ DM allowlist removed: channels.whatsapp.accounts.work.allowFrom.")
        .await;
    bob.says(&work, "and now?");
    gateway.wait_count("work", "dm-not-allowlisted", 2).await;

    told("/config set channels.whatsapp.configWrites=false", "⚠️ Config not changed: channels.whatsapp.configWrites")
        .await;
    let file = std::fs::read_to_string(gateway.config_path()).expect("config");
    gateway.edit(&file.replacen("dmPolicy: 'allowlist',", "dmPolicy: 'allowlist', configWrites: false,", 1)).await;
    told("/allowlist add dm +15557000002", "⚠️ Config writes are disabled for whatsapp.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_lets_people_in_by_chat_and_takes_it_back() {
    let world = World::start().await.expect("world");
    let (work, ann, bob, eve) = (
        world.phone("+15550001111"),
        world.contact("+15557000001", "Ann"),
        world.contact("+15557000002", "Bob"),
        world.contact("+15557000003", "Eve"),
    );
    let gateway = GatewayFixture::start(
        &world,
        &format!(
            "{{ commands: {{ config: true }}, channels: {{ whatsapp: {{ dmPolicy: 'pairing', allowFrom: ['+15557000001'], {ACCOUNTS} }} }} }}"
        ),
    )
    .await;
    gateway.link("work", &work).await;
    let told = async |command: &str| {
        let seen = ann.inbox().len();
        ann.says(&work, command);
        ann.expect_message(|_| ann.inbox().len() > seen).await.expect("answered");
        ann.inbox().pop().expect("a message").text
    };
    assert_eq!(told("/pairing").await, "No pending whatsapp pairing requests.");
    assert_eq!(told("/pairing accept x").await, "⚙️ Usage: /pairing [list] | approve <code> | deny <code>");
    for stranger in [&bob, &eve] {
        stranger.says(&work, "hello");
        stranger.expect_message(|m| m.text.contains("Pairing code")).await.expect("asked");
    }
    let list = told("/pairing list").await;
    let code = |of: &str| {
        let line = list.lines().find(|l| l.contains(of)).unwrap_or_else(|| panic!("{of} waits: {list}"));
        line.split(' ').next().expect("a code").to_owned()
    };
    assert!(list.starts_with("🔐 Pairing requests\n") && list.contains(" · Bob · "), "{list}");
    assert_eq!(told("/pairing approve WRONG234").await, "⚠️ No pending pairing request found for code: WRONG234");
    assert_eq!(told(&format!("/pairing deny {}", code("+15557000003"))).await, "Denied whatsapp sender +15557000003.");
    let approve = format!("/pairing approve {}", code("+15557000002").to_lowercase());
    assert_eq!(told(&approve).await, "Approved whatsapp sender +15557000002.");
    bob.says(&work, "in?");
    bob.expect_text("in?").await.expect("answered");
    // Who was merely let in commands nothing of this kind.
    bob.says(&work, "/pairing");
    gateway.wait_count("work", "command-not-authorized", 1).await;
    assert!(told("/allowlist").await.contains("Paired allowFrom (store): +15557000002\n"));
    assert_eq!(told("/allowlist remove dm +15557000002").await, "✅ DM allowlist removed: pairing store.");
    let asked = gateway.status().await.accounts[0].counters.get("pairing-required").copied().unwrap_or(0);
    bob.says(&work, "out?");
    gateway.wait_count("work", "pairing-required", asked + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_left_by_a_crash_is_authorised_anew() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let config = |owner: &str| {
        format!(
            "{{ commands: {{ ownerAllowFrom: ['{owner}'] }}, channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], {ACCOUNTS} }} }} }}"
        )
    };
    let gateway = GatewayFixture::start(&world, &config("+15557000001")).await;
    gateway.link("work", &work).await;
    let id = ann.says(&work, "/send off");
    ann.expect_text("⚙️ Send policy set to off.").await.expect("told");
    // As a crash leaves it: admitted as a command, nothing of it carried out.
    let undo = |folder: &std::path::Path| {
        let journal = Connection::open(folder.join("state.db")).expect("journal");
        let admitted = "UPDATE inbound SET state = 'admitted', answered_at = NULL WHERE id = ?1 AND decision LIKE '%\"command\":{%'";
        assert_eq!(journal.execute(admitted, [&id]).expect("updated"), 1);
        journal.execute("DELETE FROM outbox", []).expect("deleted");
        journal.execute("DELETE FROM facts WHERE key LIKE 'sendpolicy:%'", []).expect("deleted");
    };
    let kept = |folder: &std::path::Path| -> i64 {
        let journal = Connection::open(folder.join("state.db")).expect("journal");
        let count = "SELECT count(*) FROM facts WHERE key LIKE 'sendpolicy:%'";
        journal.query_row(count, [], |r| r.get(0)).expect("counted")
    };

    let folder = gateway.stop().await;
    undo(folder.path());
    let seen = ann.inbox().len();
    let gateway = GatewayFixture::start_in(&world, folder).await;
    ann.expect_message(|_| ann.inbox().len() > seen)
        .await
        .expect("an owner's command is carried out after the restart");
    assert_eq!(kept(&gateway.state), 1);

    let folder = gateway.stop().await;
    undo(folder.path());
    std::fs::write(folder.path().join("verso.json"), config("+15557000009")).expect("written");
    let seen = ann.inbox().len();
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_count("work", "command-not-authorized", 1).await;
    gateway.wait_state("work", "connected").await;
    ann.says(&work, "a message");
    ann.expect_text("a message").await.expect("answered, for nothing was switched off");
    assert_eq!((kept(&gateway.state), ann.inbox().len()), (0, seen + 1));
    let journal = Connection::open(gateway.state.join("state.db")).expect("journal");
    let row: (String, String) = journal
        .query_row("SELECT state, decision FROM inbound WHERE id = ?1", [&id], |r| Ok((r.get(0)?, r.get(1)?)))
        .expect("row");
    assert!(row.0 == "dropped" && row.1.contains("command-not-authorized"), "{row:?}");
    drop(journal);

    // Who was removed meanwhile is not asked to pair for what was said before.
    let folder = gateway.stop().await;
    let journal = Connection::open(folder.path().join("state.db")).expect("journal");
    let admitted = "UPDATE inbound SET state = 'admitted' WHERE id = ?1";
    assert_eq!(journal.execute(admitted, [&id]).expect("updated"), 1);
    drop(journal);
    let removed =
        format!("{{ channels: {{ whatsapp: {{ dmPolicy: 'pairing', allowFrom: ['+15557000009'], {ACCOUNTS} }} }} }}");
    std::fs::write(folder.path().join("verso.json"), removed).expect("written");
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_count("work", "pairing-required", 1).await;
    gateway.wait_state("work", "connected").await;
    let hello = ann.says(&work, "hello");
    ann.expect_message(|m| m.text.contains("Pairing code")).await.expect("asked to pair");
    let journal = Connection::open(gateway.state.join("state.db")).expect("journal");
    let asked = "SELECT inbound.id FROM outbox JOIN inbound ON inbound.seq = outbox.answers WHERE content LIKE '%Pairing code%'";
    let asked: String = journal.query_row(asked, [], |r| r.get(0)).expect("one pairing text");
    assert_eq!(asked, hello);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_numbers_are_not_shown_in_groups() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &work]);
    let config = format!(
        "{{ commands: {{ config: true }}, channels: {{ whatsapp: {{ allowFrom: ['+15557000001'], groupPolicy: 'open', {ACCOUNTS} }} }} }}"
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    for command in ["/allowlist", "/pairing", "/allowlist add dm +15557000009", "/pairing approve ABCD2345"] {
        ann.says_in(&group, command, &[]);
        bob.expect_text("⚠️ This shows people's numbers. Use it in a direct chat with me.")
            .await
            .expect("sent elsewhere");
    }
    assert_eq!(std::fs::read_to_string(gateway.config_path()).expect("config"), config, "nothing was edited");
}
