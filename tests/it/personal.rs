//! A personal number: the owner's own chat is answered, and friends are not bothered.

use verso::actors::messages::{DecidePairing, ListPairing, PairingRequest};
use wa_simulator::appstate::{PastChat, PastMessage};
use wa_simulator::{ReceiptKind, World};

use crate::support::GatewayFixture;

async fn listed(gateway: &GatewayFixture) -> Vec<PairingRequest> {
    gateway.port.list_pairing.send(ListPairing { account: None }).await.expect("answers").expect("listed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn self_chat_mode_is_what_the_key_says_else_the_own_number_in_the_list() {
    let world = World::start().await.expect("world");
    let (me, friend) = (world.phone("+15550001111"), world.contact("+15557000001", "Friend"));
    let config = |mode: &str, own: bool| {
        let own = if own { "'+15550001111', " } else { "" };
        format!(
            "{{ agents: {{ list: [{{ id: 'main', identity: {{ name: 'Mo' }} }}] }}, channels: {{ whatsapp: {{ dmPolicy: 'pairing', allowFrom: [{own}'+15557000001'], {mode} accounts: {{ own: {{}} }} }} }} }}"
        )
    };
    let gateway = GatewayFixture::start(&world, "{ channels: { whatsapp: { accounts: { own: {} } } } }").await;
    gateway.link("own", &me).await;
    let (on, off) = ("selfChatMode: true,", "selfChatMode: false,");
    let table = [
        (on, false, true),
        (on, true, true),
        (off, false, false),
        (off, true, false),
        ("", false, false),
        ("", true, true),
    ];
    for (n, (mode, own, personal)) in table.into_iter().enumerate() {
        let what = format!("{mode} own number listed: {own}");
        gateway.edit(&config(mode, own)).await;
        let note = me.says(&me, &format!("note {n}"));
        if mode == off {
            // Notes start no run; commands in the own chat work.
            assert_eq!(gateway.verdict(&note).await, "self-chat-off", "{what}");
            if own {
                let seen = me.inbox().len();
                me.says(&me, "/whoami");
                me.expect_message(|r| me.inbox().len() > seen && r.text.starts_with("🧭 Identity")).await.expect(&what);
            }
        } else {
            me.expect_text(format!("[Mo] note {n}")).await.expect("the own chat is answered with the name before it");
        }
        // Other chats are answered plainly and marked as read.
        let asked = friend.says(&me, &format!("friend {n}"));
        friend.expect_text(format!("friend {n}")).await.expect("answered");
        friend.expect_receipt(&asked, ReceiptKind::Read).await.expect("read");
        assert!(!me.receipts().iter().any(|r| r.id == note && r.kind == ReceiptKind::Read), "{what}");

        // What the owner writes to somebody asks nobody for a code.
        let stranger = world.contact(&format!("+1555800000{n}"), "Stranger");
        let id = me.says(&stranger, "I write first");
        assert_eq!(gateway.verdict(&id).await, "own-message-to-other", "{what}");
        assert!(listed(&gateway).await.is_empty(), "{what}");
        let id = stranger.says(&me, "hello?");
        assert_eq!(gateway.verdict(&id).await, "pairing-required", "{what}");
        me.expect_message(|r| r.text.contains("asks to be let in")).await.expect("the owner is told");
        if !personal {
            stranger.expect_message(|r| r.text.contains("Pairing code")).await.expect("the stranger is told");
        }
        let request = listed(&gateway).await.remove(0);
        assert_eq!(request.sender, stranger.number());
        let approve = DecidePairing { account: None, code: request.code, approve: true, notify: false };
        gateway.port.decide_pairing.send(approve).await.expect("answers").expect("approved");
        stranger.says(&me, "thanks");
        stranger.expect_text("thanks").await.expect("answered");
        let texts: Vec<String> = stranger.inbox().into_iter().filter(|r| !r.text.is_empty()).map(|r| r.text).collect();
        assert_eq!(texts.len(), if personal { 2 } else { 3 }, "{what}: {texts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_old_conversations_nor_receipts_ask_anybody_for_a_code() {
    let world = World::start().await.expect("world");
    let (me, old) = (world.phone("+15550001111"), world.contact("+15557000001", "Old friend"));
    me.set_history(vec![PastChat {
        jid: old.lid().to_string(),
        name: Some("Old friend".into()),
        messages: vec![PastMessage {
            id: "PAST1".into(),
            t: 1_700_000_000,
            text: "long ago".into(),
            ..PastMessage::default()
        }],
    }]);
    let gateway =
        GatewayFixture::start(&world, "{ channels: { whatsapp: { dmPolicy: 'pairing', accounts: { own: {} } } } }")
            .await;
    gateway.link("own", &me).await;
    // The friend's phone confirms what the owner writes, reads it and reacts.
    old.set_auto_read(true);
    let id = me.says(&old, "hi");
    assert_eq!(gateway.verdict(&id).await, "own-message-to-other");
    me.expect_receipt(&id, ReceiptKind::Read).await.expect("read");
    let reaction = old.reacts(&me, &id, "👍");
    assert_eq!(gateway.verdict(&reaction).await, "reaction");
    assert!(listed(&gateway).await.is_empty());
    assert_eq!(old.inbox().len(), 1, "only what the owner wrote");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_owner_types_in_a_group_is_context_and_replies_to_it_wake_nobody_on_a_personal_number() {
    let world = World::start().await.expect("world");
    let (me, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let group = world.group("Friends", &ann, &[&me]);
    let config = |mode: &str, required: bool| {
        format!(
            "{{ channels: {{ whatsapp: {{ groupPolicy: 'open', {mode} groups: {{ '*': {{ requireMention: {required} }} }}, accounts: {{ own: {{}} }} }} }} }}"
        )
    };
    let gateway = GatewayFixture::start(&world, &config("", false)).await;
    gateway.link("own", &me).await;
    let lunch = me.says_in(&group, "lunch?", &[]);
    assert_eq!(gateway.verdict(&lunch).await, "own-in-group");
    let seen = ann.expect_text("lunch?").await.expect("delivered");
    let answer = ann.says_in(&group, "yes", &[]);
    assert_eq!(gateway.verdict(&answer).await, "answer");
    // On a dedicated number a reply to any message of the account speaks to it; on a personal one only a reply to Verso's.
    gateway.edit(&config("", true)).await;
    let reply = ann.replies_in(&group, &seen, "ok, see you");
    assert_eq!(gateway.verdict(&reply).await, "answer");
    gateway.edit(&config("selfChatMode: true,", true)).await;
    let reply = ann.replies_in(&group, &seen, "see you there");
    assert_eq!(gateway.verdict(&reply).await, "not-mentioned");
    let verso =
        ann.expect_message(|r| r.from == me.number() && r.text.contains("ok, see you")).await.expect("answered");
    let reply = ann.replies_in(&group, &verso, "thanks");
    assert_eq!(gateway.verdict(&reply).await, "answer");
}
