//! Groups: sender keys, members, receipts.

use wa_simulator::{ReceiptKind, World, groups};
use whatsapp_rust::wacore::types::events::Event;

use crate::client::Wa;

#[tokio::test(flavor = "multi_thread")]
async fn texts_both_ways_in_both_addressing_modes() {
    for mode in [groups::Addressing::Lid, groups::Addressing::Pn] {
        let world = World::start().await.unwrap();
        let work = world.phone("+15550001111");
        let ann = world.contact("+15550002222", "Ann");
        let bob = world.contact("+15550003333", "Bob");
        let (wa, device) = Wa::linked(&world, &work).await;
        let group = world.group_addressed("Friends", &ann, &[&bob, &work], mode);

        let id = ann.says_in(&group, "hello all", &[&work]);
        let got = wa.text("hello all").await;
        assert!(got.info.source.is_group);
        assert_eq!(got.info.source.chat.to_string(), group.jid().to_string());
        assert_eq!(got.info.source.sender.is_lid(), mode == groups::Addressing::Lid);
        bob.expect_text("hello all").await.unwrap();
        ann.expect_receipt(&id, ReceiptKind::Delivered).await.unwrap();

        let reply = wa.send(&group.jid(), "hello Ann").await;
        for person in [&ann, &bob, &work] {
            let received = person.expect_text("hello Ann").await.unwrap();
            assert_eq!(received.chat, group.jid().to_string());
            assert_eq!(received.from, "+15550001111");
            assert_eq!(received.id, reply);
        }
        wa.wait("receipt", |e| match e {
            Event::Receipt(r) if r.message_ids.contains(&reply) => Some(()),
            _ => None,
        })
        .await;
        ann.says_in(&group, "again", &[]);
        wa.text("again").await;
        ann.reacts_in(&group, &work, &reply, "👍");
        wa.wait("reaction", |e| match e {
            Event::Messages(b) => b.iter().find(|m| m.message.reaction_message.is_set()).map(|_| ()),
            _ => None,
        })
        .await;
        device.wait_drained().await.unwrap();
        assert!([&ann, &bob, &work].iter().all(|p| p.undecryptable().is_empty()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let bob = world.contact("+15550003333", "Bob");
    let (wa, _) = Wa::linked(&world, &work).await;
    let group = world.group("Friends", &ann, &[&work]);
    wa.send(&group.jid(), "without Bob").await;
    ann.expect_text("without Bob").await.unwrap();
    let seen = wa.seen();
    group.add(&bob);
    wa.wait_from(seen, "group update", |e| matches!(e, Event::GroupUpdate(_)).then_some(())).await;
    wa.send(&group.jid(), "with Bob").await;
    bob.expect_text("with Bob").await.unwrap();
    let seen = wa.seen();
    group.remove(&bob);
    wa.wait_from(seen, "group update", |e| matches!(e, Event::GroupUpdate(_)).then_some(())).await;
    wa.send(&group.jid(), "without Bob again").await;
    ann.expect_text("without Bob again").await.unwrap();
    assert!(bob.inbox().iter().all(|r| r.text != "without Bob again"));
    assert!(bob.undecryptable().is_empty());
    group.set_subject("Old friends");
    let metadata = wa.client.groups().get_metadata(&group.jid()).await.unwrap();
    assert_eq!(metadata.subject, "Old friends");
    assert_eq!(group.change(&work, "subject", &[], "Mine").map_err(|e| e.0), Ok(()));
    assert_eq!(group.change(&work, "remove", &[&ann], "").map_err(|e| e.0), Err(403));
    group.remove(&work);
    let id = wa.client.send_text(&group.jid(), "am I still in?").await;
    if let Ok(sent) = id {
        wa.wait("nack", |e| match e {
            Event::ServerAck(ack) if ack.id == sent.message_id => ack.error.clone(),
            _ => None,
        })
        .await;
    }
    assert!(ann.inbox().iter().all(|r| r.text != "am I still in?"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_the_sender_key_asks_for_it() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    let group = world.group("Friends", &ann, &[&work]);
    wa.send(&group.jid(), "one").await;
    ann.expect_text("one").await.unwrap();
    ann.reinstall(false);
    wa.send(&group.jid(), "two").await;
    ann.expect_text("two").await.unwrap();
    assert_eq!(ann.undecryptable().len(), 1);
    device.set_fault(wa_simulator::Fault::FlipBit { messages: 1 });
    ann.says_in(&group, "three", &[]);
    wa.text("three").await;
}
