//! Read receipts and the ack reaction.

use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wa_simulator::{Phone, ReceiptKind, World};

use crate::support::GatewayFixture;

fn was_read(phone: &Phone, id: &str) -> bool {
    phone.receipts().iter().any(|r| r.id == id && r.kind == ReceiptKind::Read)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_follow_the_account_then_the_channel() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &work]);
    let config = |channel: &str, account: &str| {
        format!(
            "{{ channels: {{ whatsapp: {{ dmPolicy: 'allowlist', allowFrom: ['+15557000001'], groupPolicy: 'open', {channel} accounts: {{ work: {{ {account} }} }} }} }} }}"
        )
    };
    let gateway = GatewayFixture::start(&world, &config("", "enabled: true")).await;
    gateway.link("work", &work).await;
    let (off, on) = ("sendReadReceipts: false,", "sendReadReceipts: true,");
    let mut unread = Vec::new();
    for (n, (channel, account, read)) in
        [(off, "", false), ("", off, false), (on, off, false), (off, on, true), (on, "", true)].into_iter().enumerate()
    {
        gateway.edit(&config(channel, account)).await;
        let ids = [ann.says(&work, &format!("direct {n}")), ann.says_in(&group, &format!("said {n}"), &[])];
        ann.expect_text(format!("direct {n}")).await.expect("answered");
        assert_eq!(gateway.verdict(&ids[1]).await, "not-mentioned");
        for id in ids {
            if read {
                ann.expect_receipt(&id, ReceiptKind::Read)
                    .await
                    .expect("read, also in a group that did not mention it");
            } else {
                unread.push(id);
            }
        }
    }
    // Who is not let in sees nothing either.
    let id = bob.says(&work, "hello?");
    assert_eq!(gateway.verdict(&id).await, "dm-not-allowlisted");
    let last = ann.says(&work, "the end");
    ann.expect_receipt(&last, ReceiptKind::Read).await.expect("read");
    assert!(unread.iter().all(|id| !was_read(&ann, id)) && !was_read(&bob, &id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ack_reaction_is_there_while_the_model_still_thinks() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let group = world.group("Friends", &ann, &[&work]);
    let model = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let config = format!(
        "{{ models: {{ providers: {{ local: {{ api: 'openai-completions', baseUrl: 'http://{}/v1', apiKey: 'k' }} }} }},
            agents: {{ defaults: {{ model: 'local/tiny' }} }},
            channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], groupPolicy: 'open', ackReaction: {{ emoji: '👀' }}, accounts: {{ work: {{}} }} }} }} }}",
        model.local_addr().expect("address")
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    let unmentioned = ann.says_in(&group, "not to you", &[]);
    assert_eq!(gateway.verdict(&unmentioned).await, "not-mentioned");
    let ids = [ann.says(&work, "what is the time?"), ann.says_in(&group, "and the date?", &[&work])];
    let mut asked = Vec::new();
    for id in &ids {
        let reaction = ann.expect_reaction(id).await.expect("reacted to");
        assert_eq!(reaction.emoji, "👀");
        asked.push(model.accept().await.expect("the model is asked").0);
    }
    assert!(ann.inbox().iter().all(|r| r.text.is_empty()), "nothing is answered yet");
    for mut asked in asked {
        let mut buffer = [0; 8192];
        let mut request = String::new();
        while !(request.contains("what is the time?") || request.contains("and the date?")) {
            let n = asked.read(&mut buffer).await.expect("readable");
            assert!(n > 0, "the request ends without the question");
            request.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        let body = r#"{"choices":[{"message":{"role":"assistant","content":"Late."}}]}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        asked.write_all(answer.as_bytes()).await.expect("writable");
        ann.expect_text("Late.").await.expect("answered");
    }
    // Two chats know no order between them.
    let reacted: BTreeSet<_> = ann.inbox().into_iter().filter_map(|r| r.reaction).map(|r| r.target).collect();
    assert_eq!(reacted, ids.into_iter().collect(), "one reaction each, none for what was not meant for the agent");
}
