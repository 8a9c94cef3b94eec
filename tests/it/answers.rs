//! Linking, admission and answering over the real protocol.

use wa_simulator::World;

use crate::support::GatewayFixture;

const OPEN: &str =
    r#"{ channels: { whatsapp: { dmPolicy: "open", allowFrom: ["*"], accounts: { work: {}, personal: {} } } } }"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_accounts_answer_each_on_its_own_number() {
    let world = World::start().await.expect("world");
    let (work, personal) = (world.phone("+15550001111"), world.phone("+15550002222"));
    let ann = world.contact("+15557654321", "Ann");
    let gateway = GatewayFixture::start(&world, OPEN).await;
    gateway.link("work", &work).await;
    gateway.link("personal", &personal).await;

    ann.says(&work, "hello work");
    let answer = ann.expect_text("hello work").await.expect("answered");
    assert_eq!(answer.from, work.number());
    ann.says(&personal, "hello personal");
    let answer = ann.expect_text("hello personal").await.expect("answered");
    assert_eq!(answer.from, personal.number());
    assert_eq!(ann.inbox().len(), 2);
    assert!(ann.undecryptable().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_answers_over_http_while_typing_is_shown() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let model = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let config = format!(
        "{{ models: {{ providers: {{ local: {{ api: 'openai-completions', baseUrl: 'http://{}/v1', apiKey: 'k' }} }} }},
            agents: {{ defaults: {{ model: 'local/tiny' }} }},
            channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], accounts: {{ work: {{}} }} }} }} }}",
        model.local_addr().expect("address")
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    ann.says(&work, "what is the time?");
    let (mut asked, _) = model.accept().await.expect("the model is asked");
    ann.expect_typing(&work).await.expect("typing is shown while the model thinks");
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&request).contains("what is the time?") {
        let n = asked.read(&mut buffer).await.expect("readable");
        assert!(n > 0, "the request ends without the question");
        request.extend_from_slice(&buffer[..n]);
    }
    let body = r#"{"choices":[{"message":{"role":"assistant","content":"Late."}}]}"#;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    asked.write_all(answer.as_bytes()).await.expect("writable");
    ann.expect_text("Late.").await.expect("answered");
    let stopped = || ann.signs().iter().any(|s| s.what == "paused" && s.from == work.number());
    gateway.wait("typing to end", |_| stopped()).await;

    // A model that fails costs one line, and the next message is tried again. The owner reads the cause in the own chat.
    drop(model);
    ann.says(&work, "and now?");
    ann.expect_text("Sorry, I can't answer right now.").await.expect("told");
    let notice = work.expect_message(|r| r.text.contains("could not answer a message")).await.expect("told");
    assert!(notice.text.contains("cannot be reached"), "{}", notice.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_own_number_is_answered_in_its_own_chat_with_a_name_before_it() {
    let world = World::start().await.expect("world");
    let me = world.phone("+15550001111");
    let gateway = GatewayFixture::start(
        &world,
        "{ agents: { list: [{ id: 'main', identity: { name: 'Mo' } }] }, channels: { whatsapp: { dmPolicy: 'allowlist', accounts: { own: {} } } } }",
    )
    .await;
    gateway.link("own", &me).await;
    me.says(&me, "note to self");
    me.expect_text("[Mo] note to self").await.expect("answered in the self chat");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_answered_when_it_speaks_to_the_agent_and_every_drop_has_a_reason() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &work]);
    let gateway = GatewayFixture::start(
        &world,
        "{ channels: { whatsapp: { groupPolicy: 'allowlist', groupAllowFrom: ['+15557000001'], accounts: { work: {} } } } }",
    )
    .await;
    gateway.link("work", &work).await;
    bob.says_in(&group, "hello", &[&work]);
    gateway.wait_count("work", "group-sender-not-allowlisted", 1).await;
    ann.says_in(&group, "not for you", &[]);
    gateway.wait_count("work", "not-mentioned", 1).await;
    ann.says_in(&group, "for you", &[&work]);
    let answer = bob.expect_message(|r| r.from == work.number() && r.text.contains("for you")).await.expect("answered");
    assert_eq!(answer.chat, group.jid().to_string());
    let others = bob.inbox().into_iter().filter(|r| r.from == work.number()).count();
    assert_eq!(others, 1, "one answer and no pairing text");
}
