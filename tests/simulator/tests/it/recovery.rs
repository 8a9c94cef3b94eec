//! The offline queue, retries, reinstalled phones.

use wa_simulator::{Fault, Kick, NodeExt, ReceiptKind, World};

use crate::client::Wa;

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_meanwhile_is_delivered_on_return() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    device.wait_drained().await.unwrap();
    world.refuse_connections(usize::MAX);
    device.kick(Kick::Drop);
    for n in 0..10 {
        ann.says(&work, &format!("missed {n}"));
    }
    assert_eq!(device.offline_queue_len(), 10);
    world.clear_faults();
    device.wait_sockets(2).await.unwrap();
    wa.text("missed 9").await;
    let missed: Vec<String> = wa.texts().into_iter().filter(|t| t.starts_with("missed")).collect();
    assert_eq!(missed, (0..10).map(|n| format!("missed {n}")).collect::<Vec<_>>());
    device.wait_drained().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stanza_that_was_not_acknowledged_comes_again() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    device.kick(Kick::Freeze);
    ann.says(&work, "into the void");
    assert_eq!(device.offline_queue_len(), 1);
    device.kick(Kick::Drop);
    wa.text("into the void").await;
    device.wait_drained().await.unwrap();
    assert_eq!(wa.count("into the void"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_message_is_asked_for_again() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    device.set_fault(Fault::FlipBit { messages: 1 });
    let id = ann.says(&work, "damaged first message");
    wa.text("damaged first message").await;
    ann.expect_receipt(&id, ReceiptKind::Retry).await.unwrap();
    device.set_fault(Fault::FlipBit { messages: 1 });
    ann.says(&work, "damaged second message");
    wa.text("damaged second message").await;
    wa.send(&ann.jid(), "got both").await;
    ann.expect_text("got both").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_cannot_decrypt_says_so_and_gets_it_again() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, _) = Wa::linked(&world, &work).await;
    ann.says(&work, "hello");
    wa.text("hello").await;
    wa.send(&ann.jid(), "one").await;
    ann.expect_text("one").await.unwrap();
    ann.reinstall(false);
    let id = wa.send(&ann.jid(), "two").await;
    let two = ann.expect_text("two").await.unwrap();
    assert_eq!(two.id, id);
    let failed = ann.undecryptable();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].recovered);
    assert_eq!(failed[0].from, "+15550001111");
    ann.says(&work, "new phone");
    wa.text("new phone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_reinstall_needs_no_retry() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    ann.says(&work, "hello");
    wa.text("hello").await;
    wa.send(&ann.jid(), "one").await;
    ann.expect_text("one").await.unwrap();
    ann.reinstall(true);
    device.wait_drained().await.unwrap();
    wa.send(&ann.jid(), "two").await;
    ann.expect_text("two").await.unwrap();
    ann.says(&work, "new phone");
    wa.text("new phone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_session_of_a_contact_heals() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    ann.says(&work, "hello");
    wa.text("hello").await;
    wa.send(&ann.jid(), "one").await;
    ann.expect_text("one").await.unwrap();
    ann.says(&work, "fine");
    wa.text("fine").await;
    ann.corrupt_session(&device).unwrap();
    ann.says(&work, "broken");
    wa.text("broken").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_companion_of_a_contact_is_written_to() {
    let world = World::start().await.unwrap();
    let (work, home) = (world.phone("+15550001111"), world.phone("+15550003333"));
    let (a, _) = Wa::linked(&world, &work).await;
    a.send(&home.jid(), "before").await;
    home.expect_text("before").await.unwrap();
    let (b, _) = Wa::linked(&world, &home).await;
    world
        .wait_for_stanza(|e| e.node.as_ref().is_some_and(|n| n.text("type").as_deref() == Some("devices")))
        .await
        .unwrap();
    a.send(&home.jid(), "after").await;
    b.text("after").await;
}
