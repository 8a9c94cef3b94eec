//! One-to-one messages, receipts, reactions, typing.

use wa_simulator::appstate::{PastChat, PastMessage};
use wa_simulator::{Addressing, NodeExt, NumberShown, ReceiptKind, World};
use whatsapp_rust::wacore::types::events::Event;
use whatsapp_rust::wacore::types::presence::ReceiptType;
use whatsapp_rust::wacore_binary::JidExt as _;
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::message::protocol_message::Type;

use crate::client::Wa;

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_in_both_number_spaces() {
    for (lid, addressing) in [(true, Addressing::Lid), (false, Addressing::Pn)] {
        let world = World::builder().lid_addressing(lid).start().await.unwrap();
        let work = world.phone("+15550001111");
        let ann = world.contact("+15550002222", "Ann");
        let (wa, device) = Wa::linked(&world, &work).await;

        let id = ann.says_via(&work, "hello", addressing);
        let got = wa.text("hello").await;
        assert_eq!(got.info.source.sender.is_lid(), lid);
        let other = got.info.source.sender_alt.clone().unwrap();
        let pn = if lid { &other } else { &got.info.source.sender };
        assert_eq!(pn.user, "15550002222");
        assert_eq!(got.info.push_name, "Ann");
        ann.expect_receipt(&id, ReceiptKind::Delivered).await.unwrap();

        let reply = wa.send(&got.info.source.chat, "hello yourself").await;
        let received = ann.expect_text("hello yourself").await.unwrap();
        assert_eq!(received.from, "+15550001111");
        assert_eq!(received.device, 1);
        assert_eq!(received.addressing, addressing);
        assert_eq!(received.id, reply);
        // The own phone gets a copy of what its companion wrote.
        let copy = work.expect_text("hello yourself").await.unwrap();
        assert!(copy.own);
        wa.wait("delivery receipt", |e| match e {
            Event::Receipt(r) if r.message_ids.contains(&reply) && r.r#type == ReceiptType::Delivered => Some(()),
            _ => None,
        })
        .await;
        ann.reads(&received);
        wa.wait("read receipt", |e| match e {
            Event::Receipt(r) if r.message_ids.contains(&reply) && r.r#type == ReceiptType::Read => Some(()),
            _ => None,
        })
        .await;
        device.wait_drained().await.unwrap();
        assert!(ann.undecryptable().is_empty());
        assert!(work.undecryptable().is_empty(), "{:?}", work.undecryptable());
        assert_eq!(world.unknown_iqs(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_write_first() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, _) = Wa::linked(&world, &work).await;
    for n in 0..5 {
        wa.send(&ann.jid(), &format!("text {n}")).await;
    }
    for n in 0..5 {
        ann.expect_text(format!("text {n}")).await.unwrap();
    }
    ann.says(&work, "enough");
    wa.text("enough").await;
    wa.send(&ann.lid(), "sorry").await;
    ann.expect_text("sorry").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_talk_through_the_server() {
    let world = World::start().await.unwrap();
    let (work, home) = (world.phone("+15550001111"), world.phone("+15550003333"));
    let (a, _) = Wa::linked(&world, &work).await;
    let (b, _) = Wa::linked(&world, &home).await;
    a.send(&home.jid(), "ping").await;
    let got = b.text("ping").await;
    home.expect_text("ping").await.unwrap();
    b.send(&got.info.source.chat, "pong").await;
    a.text("pong").await;
    let received = work.expect_text("pong").await.unwrap();
    assert_eq!(received.from, "+15550003333");
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_both_ways() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, _) = Wa::linked(&world, &work).await;
    let id = ann.says(&work, "look");
    let got = wa.text("look").await;
    let key = wa::MessageKey {
        remote_jid: Some(got.info.source.chat.to_string()),
        from_me: Some(false),
        id: Some(id.clone()),
        ..Default::default()
    };
    wa.client.send_reaction(&got.info.source.chat, key, "👀").await.unwrap();
    assert_eq!(ann.expect_reaction(&id).await.unwrap().emoji, "👀");

    let sent = wa.send(&ann.jid(), "nice").await;
    ann.expect_text("nice").await.unwrap();
    ann.reacts(&work, &sent, "❤️");
    wa.wait("reaction", |e| match e {
        Event::Messages(batch) => batch
            .iter()
            .filter_map(|m| m.message.reaction_message.as_option())
            .find(|r| r.key.id.as_deref() == Some(sent.as_str()) && r.text.as_deref() == Some("❤️"))
            .map(|_| ()),
        _ => None,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_and_presence() {
    let world = World::start().await.unwrap();
    let work = world.contact("+15550001111", "Work");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    ann.says(&work, "hello");
    let chat = wa.text("hello").await.info.source.chat.clone();
    wa.client.chatstate().send_composing(&chat).await.unwrap();
    let sign = ann.expect_typing(&work).await.unwrap();
    assert_eq!(sign.what, "composing");
    ann.types(&work);
    wa.wait("typing", |e| matches!(e, Event::ChatPresence(_)).then_some(())).await;
    wa.client.presence().subscribe(&ann.jid()).await.unwrap();
    ann.comes_online();
    wa.wait("presence", |e| match e {
        Event::Presence(p) if !p.unavailable => Some(()),
        _ => None,
    })
    .await;
    let _ = device;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_exists_is_answered() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, _) = Wa::linked(&world, &work).await;
    let stranger: whatsapp_rust::Jid = "15559999999@s.whatsapp.net".parse().unwrap();
    let found = wa.client.contacts().is_on_whatsapp(&[ann.jid(), stranger]).await.unwrap();
    let known: Vec<bool> = found.iter().map(|f| f.is_registered).collect();
    assert_eq!(known, [true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_refills_its_one_time_keys() {
    let world = World::builder().few_keys_at(&[16, 4]).start().await.unwrap();
    let work = world.phone("+15550001111");
    let (wa, device) = Wa::linked(&world, &work).await;
    for n in 0..6 {
        world.contact(&format!("+1555000300{n}"), "Somebody").says(&work, "hello");
    }
    let asked = world
        .wait_for_stanza(|e| e.node.as_ref().is_some_and(|n| n.tag == "notification" && n.child("count").is_some()))
        .await
        .unwrap();
    let uploads = |n: &wacore_binary::Node| n.child("list").is_some() && n.child("registration").is_some();
    world.wait_for_stanza_since(asked.seq, |e| e.node.as_ref().is_some_and(uploads)).await.unwrap();
    assert!(device.one_time_keys_left() > 16);
    drop(wa);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_a_message_to_status_broadcast() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    ann.posts_status("sunny today", &[&work]);
    let got = wa.text("sunny today").await;
    assert!(got.info.source.chat.is_status_broadcast());
    device.wait_drained().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn history_from_before_the_linking_is_told() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    work.set_history(vec![PastChat {
        jid: ann.jid().to_string(),
        name: Some("Ann".into()),
        messages: vec![PastMessage {
            id: "OLD1".into(),
            from_me: false,
            participant: None,
            t: 1_700_000_000,
            text: "long ago".into(),
        }],
    }]);
    let (wa, _) = Wa::linked(&world, &work).await;
    wa.wait("history", |e| matches!(e, Event::HistorySync(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_may_be_hidden() {
    for (shown, expected) in [(NumberShown::OnQuestion, Some("15550002222")), (NumberShown::Never, None)] {
        let world = World::start().await.unwrap();
        let work = world.phone("+15550001111");
        let ann = world.contact("+15550002222", "Ann");
        ann.shows_number(shown);
        let (wa, _) = Wa::linked(&world, &work).await;
        ann.says(&work, "guess who");
        let got = wa.text("guess who").await;
        assert!(got.info.source.sender.is_lid());
        assert_eq!(got.info.source.sender_alt, None);
        wa.client.contacts().is_on_whatsapp(&[got.info.source.sender.to_non_ad()]).await.unwrap();
        let entry = wa.client.get_lid_pn_entry(&got.info.source.sender).await.unwrap();
        assert_eq!(entry.map(|e| e.phone_number.to_string()).as_deref(), expected);
        wa.send(&got.info.source.chat, "who is it?").await;
        ann.expect_text("who is it?").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_edits_and_deletions() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, _) = Wa::linked(&world, &work).await;
    let sent = wa.send(&ann.jid(), "question").await;
    let question = ann.expect_text("question").await.unwrap();
    let id = ann.replies(&work, &question, "answer");
    let got = wa.text("answer").await;
    let context = got.message.extended_text_message.context_info.clone();
    assert_eq!(context.stanza_id.as_deref(), Some(sent.as_str()));
    ann.edits(&work, &id, "better answer");
    ann.deletes(&work, &id);
    let change = |kind: Type| {
        let id = id.clone();
        move |e: &Event| match e {
            Event::Messages(b) => b
                .iter()
                .filter_map(|m| m.message.protocol_message.as_option())
                .find(|p| p.key.id.as_deref() == Some(&id) && p.r#type == Some(kind))
                .map(|_| ()),
            _ => None,
        }
    };
    wa.wait("edit", change(Type::MESSAGE_EDIT)).await;
    wa.wait("deletion", change(Type::REVOKE)).await;
}
