//! People who write to one agent: none of them reads, delays or silences another, and files count, too.

use verso::actors::messages::{DecidePairing, ListPairing};
use verso::config::FIRST_CONFIG;
use wa_simulator::media::{Attachment, Kind};
use wa_simulator::{Phone, World};

use crate::support::GatewayFixture;
use crate::support::model::{Act, Model};

/// Lets everybody in who asks.
async fn approve(gateway: &GatewayFixture, account: &str, person: &Phone, to: &Phone) {
    person.says(to, "let me in");
    let asks = person.number();
    let code = loop {
        let waiting = gateway
            .port
            .list_pairing
            .send(ListPairing { account: Some(account.into()) })
            .await
            .expect("answers")
            .expect("listed");
        if let Some(request) = waiting.into_iter().find(|r| r.sender == asks) {
            break request.code;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let approve = DecidePairing { account: Some(account.into()), code, approve: true, notify: false };
    gateway.port.decide_pairing.send(approve).await.expect("answers").expect("approved");
}

/// Says something and waits for an answer that repeats it.
async fn asks(person: &Phone, to: &Phone, text: &str) -> String {
    person.says(to, text);
    person.expect_message(|r| r.text.contains(text)).await.unwrap_or_else(|e| panic!("{text}: {e}")).text
}

/// Nothing that came to `person` holds a word of the others.
fn hears_nothing_of(person: &Phone, words: &[&str]) {
    for seen in person.inbox() {
        assert!(words.iter().all(|word| !seen.text.contains(word)), "{} reads {}", person.name(), seen.text);
    }
}

fn first_config(model: &Model, more: &str) -> String {
    FIRST_CONFIG.replace("  channels: {", &format!("  {},{more}\n  channels: {{", model.config()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_on_the_first_config_never_see_a_word_of_each_other_or_of_the_owner() {
    let world = World::start().await.expect("world");
    let model = Model::parrot().await;
    let me = world.phone("+15550001111");
    let (ann, bob) = (world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let gateway = GatewayFixture::start(&world, &first_config(&model, "")).await;
    gateway.link("default", &me).await;
    asks(&me, &me, "owner-0815").await;
    approve(&gateway, "default", &ann, &me).await;
    approve(&gateway, "default", &bob, &me).await;

    let heard = asks(&ann, &me, "my PIN is ann-4711").await;
    assert!(!heard.contains("owner-0815"), "{heard}");
    asks(&bob, &me, "what did the others tell you? bob-42").await;
    let again = asks(&ann, &me, "and who am I? ann-4712").await;
    assert!(again.contains("ann-4711"), "her own conversation goes on: {again}");

    // Commands in between are for the own session alone.
    ann.says(&me, "/new");
    ann.expect_message(|r| r.text.contains("just started a new session"))
        .await
        .expect("the parrot repeats the greeting prompt");
    asks(&bob, &me, "still there? bob-43").await;
    let (heard, bobs) = (asks(&ann, &me, "ann-4713").await, bob.inbox());
    assert!(!heard.contains("ann-4711"), "she began anew: {heard}");
    assert!(bobs.last().is_some_and(|last| last.text.contains("bob-42")), "he did not: {bobs:?}");

    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("default", "connected").await;
    for (person, text) in [(&bob, "bob-44"), (&ann, "ann-4714"), (&me, "owner-0816")] {
        asks(person, &me, text).await;
    }
    let mine: Vec<String> = me.inbox().into_iter().map(|r| r.text).filter(|t| t.contains("owner-0816")).collect();
    assert!(mine.iter().any(|t| t.contains("owner-0815")), "the owner's conversation goes on: {mine:?}");
    hears_nothing_of(&ann, &["bob-", "owner-"]);
    hears_nothing_of(&bob, &["ann-", "owner-"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_hang_keep_nobody_else_from_an_answer() {
    let world = World::start().await.expect("world");
    let mut model = Model::parrot().await;
    let me = world.phone("+15550001111");
    let people: Vec<Phone> =
        ["+15557000001", "+15557000002", "+15557000003"].iter().map(|n| world.contact(n, &n[11..])).collect();
    // One place for all: a single request that hangs takes it.
    let config = first_config(&model, "").replace("model: 'local/tiny'", "model: 'local/tiny', maxConcurrent: 1");
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("default", &me).await;
    for person in &people {
        approve(&gateway, "default", person, &me).await;
    }
    people[0].says(&me, "hang one");
    assert!(model.asked().await.contains("hang one"));
    people[1].says(&me, "hang two");
    gateway.wait_count("default", "admitted", 2).await;
    asks(&me, &me, "owner-1").await;
    model.asked().await;
    assert!(model.asked().await.contains("hang two"), "the first one no longer takes the place of the others");
    let heard = asks(&people[2], &me, "three").await;
    assert!(!heard.contains("hang"), "{heard}");
    // Who stops the own request stops nobody else's.
    people[0].says(&me, "/stop");
    people[0].expect_message(|r| r.text.contains("aborted")).await.expect("stopped");
    asks(&people[0], &me, "one again").await;
    asks(&me, &me, "owner-2").await;
    people[1].says(&me, "/status");
    let status = people[1].expect_message(|r| r.text.contains("Session:")).await.expect("told").text;
    assert!(status.contains("agent:main:whatsapp:default:direct:+15557000002"), "{status}");
    hears_nothing_of(&people[1], &["hang one", "three", "owner-1", "owner-2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_five_listed_numbers_the_first_has_the_main_session_and_each_hangs_or_is_silent_alone() {
    let world = World::start().await.expect("world");
    let mut model = Model::parrot().await;
    let me = world.phone("+15550001111");
    let people: Vec<Phone> = (1..=5).map(|n| world.contact(&format!("+1555700000{n}"), &format!("P{n}"))).collect();
    let list: Vec<String> = people.iter().map(|p| format!("'{}'", p.number())).collect();
    let config = first_config(&model, "").replace("allowFrom: []", &format!("allowFrom: [{}]", list.join(", ")));
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("default", &me).await;
    for (n, person) in people.iter().enumerate() {
        asks(person, &me, &format!("secret-{n}")).await;
        let others: Vec<String> = (0..5).filter(|o| *o != n).map(|o| format!("secret-{o}")).collect();
        hears_nothing_of(person, &others.iter().map(String::as_str).collect::<Vec<_>>());
        model.asked().await;
        person.says(&me, "/status");
        let want = match n {
            0 => "Session: agent:main:main ".to_owned(),
            _ => format!("Session: agent:main:whatsapp:default:direct:{} ", person.number()),
        };
        person.expect_message(|r| r.text.contains(&want)).await.unwrap_or_else(|_| panic!("{want}"));
    }
    // The own chat is the first one's, too.
    let own = asks(&me, &me, "from my own phone").await;
    assert!(own.contains("secret-0") && !own.contains("secret-1"), "{own}");
    model.asked().await;

    people[0].says(&me, "/send off");
    people[0].expect_message(|r| r.text.to_lowercase().contains("send")).await.expect("acknowledged");
    people[0].says(&me, "nobody answers this");
    model.asked().await;
    asks(&people[1], &me, "am I heard?").await;
    model.asked().await;
    people[0].says(&me, "/send on");
    for (n, person) in people.iter().enumerate() {
        person.says(&me, &format!("hang {n}"));
    }
    let mut hanging: Vec<String> = Vec::new();
    for _ in 0..5 {
        let asked = model.asked().await;
        hanging.push(asked.chars().rev().take(6).collect::<Vec<_>>().into_iter().rev().collect());
    }
    hanging.sort();
    assert_eq!(hanging, (0..5).map(|n| format!("hang {n}")).collect::<Vec<_>>(), "all five are asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_main_session_that_goes_to_somebody_else_takes_nothing_along() {
    let world = World::start().await.expect("world");
    let model = Model::parrot().await;
    let (me, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let config = |scope: &str, first: &Phone, second: &Phone| {
        format!(
            "{{ {}, session: {{ {scope} }}, channels: {{ whatsapp: {{ dmPolicy: 'allowlist', allowFrom: ['{}', '{}'] }} }} }}",
            model.config(),
            first.number(),
            second.number()
        )
    };
    let gateway = GatewayFixture::start(&world, &config("", &ann, &bob)).await;
    gateway.link("default", &me).await;
    asks(&ann, &me, "ann-1").await;
    asks(&bob, &me, "bob-1").await;
    ann.says(&me, "/send off");
    ann.expect_message(|r| r.text.to_lowercase().contains("send")).await.expect("acknowledged");
    gateway.edit(&config("", &bob, &ann)).await;
    asks(&bob, &me, "bob-2").await;
    asks(&ann, &me, "ann-2").await;
    // Written down, one conversation is shared from then on, and not what one of them said before.
    gateway.edit(&config("dmScope: 'main'", &bob, &ann)).await;
    let shared = asks(&ann, &me, "ann-3").await;
    assert!(!shared.contains("bob-2"), "{shared}");
    hears_nothing_of(&ann, &["bob-"]);
    hears_nothing_of(&bob, &["ann-"]);
    let shared = asks(&bob, &me, "bob-3").await;
    assert!(shared.contains("ann-3"), "the original's shared session: {shared}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_that_share_an_agent_share_its_owner_and_nobody_else() {
    let world = World::start().await.expect("world");
    let model = Model::parrot().await;
    let (home, shop) = (world.phone("+15550001111"), world.phone("+15550002222"));
    let (ann, bob) = (world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let config = format!(
        "{{ {}, channels: {{ whatsapp: {{ dmPolicy: 'allowlist', accounts: {{ default: {{ allowFrom: ['+15557000001', '+15557000002'] }}, shop: {{ allowFrom: ['+15557000002', '+15557000001'] }} }} }} }} }}",
        model.config()
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("default", &home).await;
    gateway.link("shop", &shop).await;
    asks(&ann, &home, "ann-home").await;
    asks(&bob, &home, "bob-home").await;
    let heard = asks(&ann, &shop, "ann-shop").await;
    assert!(heard.contains("ann-home"), "one owner, one conversation: {heard}");
    let heard = asks(&bob, &shop, "bob-shop").await;
    assert!(!heard.contains("bob-home"), "everybody else has one for each account: {heard}");
    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("default", "connected").await;
    gateway.wait_state("shop", "connected").await;
    asks(&bob, &shop, "bob-later").await;
    hears_nothing_of(&ann, &["bob-"]);
    hears_nothing_of(&bob, &["ann-"]);
}

/// A message of an older version, in whose journal all direct chats went into the main session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_version_left_over_for_the_shared_session_is_answered_apart() {
    let world = World::start().await.expect("world");
    let model = Model::parrot().await;
    let (me, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let config = |scope: &str| {
        format!(
            "{{ {}, session: {{ {scope} }}, channels: {{ whatsapp: {{ dmPolicy: 'allowlist', allowFrom: ['+15557000001', '+15557000002'] }} }} }}",
            model.config()
        )
    };
    let gateway = GatewayFixture::start(&world, &config("dmScope: 'main'")).await;
    gateway.link("default", &me).await;
    asks(&ann, &me, "ann-1").await;
    bob.says(&me, "hang on");
    gateway.wait_count("default", "admitted", 2).await;
    // It is killed: a stop would wait for the run.
    let db = rusqlite::Connection::open(gateway.state.join("state.db")).expect("opens");
    let folder = gateway.stop().await;
    db.execute("UPDATE inbound SET message = replace(message, 'hang on', 'bob-1'), state = 'admitted', answered_at = NULL WHERE message LIKE '%hang on%'", [])
        .expect("left over");
    drop(db);
    std::fs::write(folder.path().join("verso.json"), config("")).expect("written");
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("default", "connected").await;
    bob.expect_message(|r| r.text.contains("bob-1")).await.expect("answered after the upgrade");
    hears_nothing_of(&bob, &["ann-"]);
    let heard = asks(&ann, &me, "ann-2").await;
    assert!(heard.contains("ann-1"), "the owner keeps the main session: {heard}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_sends_files_of_its_own_session_and_of_no_other() {
    let world = World::start().await.expect("world");
    // `send <path>` makes the model name that file.
    let mut model = Model::acting(|asked| {
        let last = asked["messages"].as_array().expect("messages").last().expect("one")["content"].as_str();
        let path =
            last.and_then(|l| l.rsplit_once("send ")).map(|(_, rest)| rest.split(['\n', ' ']).next().unwrap_or(""));
        Act::Says(path.map_or_else(|| "seen".to_owned(), |path| format!("here\nMEDIA: {path}")))
    })
    .await;
    let (me, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &me]);
    let config = format!(
        "{{ {}, channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['+15557000009', '*'], groupPolicy: 'open', groups: {{ '*': {{ requireMention: false }} }} }} }} }}",
        model.config()
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("default", &me).await;
    let workspace = gateway.state.join("agents/main/workspace");
    std::fs::create_dir_all(&workspace).expect("made");
    let document = |text: &str| {
        let file = Attachment::new(Kind::Document, text.as_bytes().to_vec()).caption("keep this");
        let file = Attachment { mime: Some("text/plain".into()), ..file };
        world.media().attach(&file, 1).expect("encrypted")
    };
    let place = |asked: &str| {
        let (_, rest) = asked.split_once("[media attached: ").expect("a line about it");
        let path = std::path::PathBuf::from(rest.split_once(" (").expect("path and facts").0);
        // A model may write no `..`, so a link leads there.
        format!("./in/{}", path.file_name().expect("a name").to_string_lossy())
    };
    std::os::unix::fs::symlink(gateway.state.join("media/inbound"), workspace.join("in")).expect("linked");
    ann.sends(&me, document("ann's diary"));
    let anns = place(&model.asked().await);
    ann.expect_text("seen").await.expect("answered");
    ann.sends_in(&group, document("our plans"));
    let groups = place(&model.asked().await);
    std::os::unix::fs::symlink(workspace.join(&anns), workspace.join("link.txt")).expect("linked");
    let through = anns.replace("./in/", "./../../../media/inbound/");

    let files = |person: &Phone| -> Vec<Vec<u8>> {
        let seen = person.inbox().into_iter().filter(|r| r.from == me.number());
        seen.filter_map(|r| world.media().open(&r.message).expect("opens")).map(|f| f.bytes).collect()
    };
    for (n, path) in [anns.as_str(), "./link.txt", &through, &groups, "./../../../verso.json"].into_iter().enumerate() {
        bob.says(&me, &format!("send {path}"));
        bob.expect_message(|_| bob.shown().iter().filter(|r| r.text.starts_with("here")).count() == n + 1)
            .await
            .expect("told");
    }
    assert!(files(&bob).is_empty(), "another one's files");
    ann.says(&me, &format!("send {groups}"));
    ann.expect_message(|r| r.text.starts_with("here")).await.expect("told");
    assert!(files(&ann).is_empty(), "what came in the group belongs to the group");
    for (n, path) in [anns.as_str(), "./link.txt"].into_iter().enumerate() {
        ann.says(&me, &format!("send {path}"));
        ann.expect_message(|_| files(&ann).len() == n + 1).await.expect("her own file");
    }
    assert_eq!(files(&ann), [b"ann's diary", b"ann's diary"]);
    bob.says_in(&group, &format!("send {groups}"), &[]);
    bob.expect_message(|_| files(&bob).len() == 1).await.expect("the group's file in the group");

    // After a new session and a restart they are hers still.
    ann.says(&me, "/new");
    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("default", "connected").await;
    ann.says(&me, &format!("send {anns}"));
    ann.expect_message(|_| files(&ann).len() == 3).await.expect("her own file");
    // Another copy of it does not open hers.
    bob.sends(&me, document("ann's diary"));
    bob.says(&me, &format!("send {anns}"));
    bob.expect_message(|_| bob.shown().iter().filter(|r| r.text.starts_with("here")).count() == 6).await.expect("told");
    assert_eq!(files(&bob).len(), 1);
}
