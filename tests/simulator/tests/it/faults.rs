//! What can go wrong, and that the client notices what it is meant to notice.

use std::time::{Duration, Instant};

use wa_simulator::{Addressing, Fault, Handshake, IqFault, Kick, LinkError, NodeExt, Version, World};
use whatsapp_rust::wacore::types::events::Event;

use crate::client::Wa;

#[tokio::test(flavor = "multi_thread")]
async fn refused_logins() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let (wa, device) = Wa::linked(&world, &work).await;
    device.set_fault(Fault::LoginFailure { reason: 503, code: None, expire: None });
    device.kick(Kick::Drop);
    wa.wait("ConnectFailure", |e| matches!(e, Event::ConnectFailure(_)).then_some(())).await;
    device.set_fault(Fault::ban(101, Duration::from_secs(3600)));
    let ban = wa
        .wait("TemporaryBan", |e| match e {
            Event::TemporaryBan(ban) => Some(ban.expire),
            _ => None,
        })
        .await;
    assert_eq!(ban.num_seconds(), 3600);
}

#[tokio::test(flavor = "multi_thread")]
async fn outdated_and_logged_out() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let (wa, device) = Wa::linked(&world, &work).await;
    world.set_fault(Fault::outdated());
    device.kick(Kick::StreamEnd);
    wa.wait("ClientOutdated", |e| matches!(e, Event::ClientOutdated(_)).then_some(())).await;

    world.clear_faults();
    let home = world.phone("+15550003333");
    let (wa, device) = Wa::linked(&world, &home).await;
    device.set_fault(Fault::LoginFailure { reason: 401, code: None, expire: None });
    device.kick(Kick::StreamError(515));
    wa.wait("LoggedOut", |e| matches!(e, Event::LoggedOut(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_told_as_such() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let (wa, device) = Wa::linked(&world, &work).await;
    device.kick(Kick::Conflict);
    wa.wait("StreamReplaced", |e| matches!(e, Event::StreamReplaced(_)).then_some(())).await;
    device.wait_disconnected().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_errors_after_which_it_comes_back() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let (_wa, device) = Wa::linked(&world, &work).await;
    device.kick(Kick::StreamError(515));
    device.wait_sockets(2).await.unwrap();
    device.kick(Kick::StreamError(503));
    device.wait_sockets(3).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_are_tried_again() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let (_wa, device) = Wa::linked(&world, &work).await;
    world.refuse_connections(2);
    device.kick(Kick::Drop);
    device.wait_sockets(2).await.unwrap();
    let refused = world.trace().iter().filter(|e| e.xml == "refused a connection").count();
    assert_eq!(refused, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_resumption_falls_back() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let (_wa, device) = Wa::linked(&world, &work).await;
    world.set_fault(Fault::RefuseIk);
    device.kick(Kick::Drop);
    device.wait_sockets(2).await.unwrap();
    assert_eq!(device.handshake(), Some(Handshake::XxFallback));
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_in_the_handshake() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    world.set_fault(Fault::HangUpInHandshake);
    let wa = Wa::start(&world).await;
    world.wait_for_stanza(|e| e.xml.starts_with("hanging up")).await.unwrap();
    world.clear_faults();
    work.scan_qr(&wa.qr().await).await.unwrap();
    wa.connected().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_socket_neither_answers_nor_closes() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    device.kick(Kick::Freeze);
    let position = world.trace_position();
    ann.says(&work, "anybody there?");
    assert!(device.connected(), "the socket is still open for the server");
    assert!(wa.client.is_connected());
    let heard = world.trace_since(position).iter().any(|e| e.direction == wa_simulator::Direction::FromClient);
    assert!(!heard);
    device.kick(Kick::Drop);
    wa.text("anybody there?").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nack_reaches_the_sender() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    device.set_fault(Fault::NackMessages { error: 479 });
    let id = wa.send(&ann.jid(), "refused").await;
    let error = wa
        .wait("nack", |e| match e {
            Event::ServerAck(ack) if ack.id == id => ack.error.clone(),
            _ => None,
        })
        .await;
    assert_eq!(error, "479");
    device.clear_faults();
    wa.send(&ann.jid(), "accepted").await;
    ann.expect_text("accepted").await.unwrap();
    assert!(ann.inbox().iter().all(|r| r.text != "refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_namespace_errors() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    device.set_fault(Fault::Iq { xmlns: "usync".into(), how: IqFault::Error(500) });
    assert!(wa.client.contacts().is_on_whatsapp(&[ann.jid()]).await.is_err());
    device.set_fault(Fault::Iq { xmlns: "usync".into(), how: IqFault::Silent });
    let asking = wa.client.contacts();
    let jids = [ann.jid()];
    let silent = tokio::time::timeout(Duration::from_millis(300), asking.is_on_whatsapp(&jids)).await;
    assert!(silent.is_err(), "there must be no answer");
    assert_eq!(world.unanswered_iqs().len(), 1);
    device.clear_faults();
    assert!(wa.client.contacts().is_on_whatsapp(&jids).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_show_once_and_swapped_messages_both_show() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    device.set_fault(Fault::DuplicateMessages);
    ann.says(&work, "twice");
    ann.says(&work, "after");
    wa.text("after").await;
    assert_eq!(wa.count("twice"), 1);
    device.clear_faults();
    device.set_fault(Fault::SwapMessages);
    ann.says(&work, "first");
    ann.says(&work, "second");
    wa.text("first").await;
    let texts = wa.texts();
    let at = |t: &str| texts.iter().position(|x| x == t).unwrap();
    assert!(at("second") < at("first"));
    assert!(ann.receipts().iter().all(|r| r.kind != wa_simulator::ReceiptKind::Retry));
}

#[tokio::test(flavor = "multi_thread")]
async fn delay_holds_stanzas_back() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    device.set_fault(Fault::Delay(Duration::from_millis(400)));
    let start = Instant::now();
    ann.says(&work, "slow");
    wa.text("slow").await;
    assert!(start.elapsed() >= Duration::from_millis(400));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_in_vain_says_for_what_and_shows_the_trace() {
    let world = World::builder().deadline(Duration::from_millis(200)).start().await.unwrap();
    let ann = world.contact("+15550002222", "Ann");
    world.contact("+15550003333", "Bob").says(&ann, "something else");
    let error = ann.expect_text("hello").await.unwrap_err().to_string();
    assert!(error.contains("+15550002222 to get the text \"hello\""), "{error}");
    assert!(error.contains("last stanzas"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_server_accepts_and_says_nothing() {
    let world = World::start().await.unwrap();
    world.set_fault(Fault::HalfOpen);
    let wa = Wa::start(&world).await;
    world.wait_for_stanza(|e| e.xml == "opened").await.unwrap();
    assert!(!wa.client.is_connected());
    assert!(!world.trace().iter().any(|e| e.xml.starts_with("secured") || e.xml.starts_with("ended")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_pairing_is_refused_by_the_client() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    world.set_fault(Fault::ForgedPairing);
    let wa = Wa::start(&world).await;
    let refused = work.scan_qr(&wa.qr().await).await;
    assert!(matches!(refused, Err(LinkError::Refused(_))), "{refused:?}");
    wa.wait("PairError", |e| matches!(e, Event::PairError(_)).then_some(())).await;
    assert!(work.devices().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swallowed_message_gets_no_answer_and_goes_nowhere() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    device.set_fault(Fault::SwallowMessages);
    let id = wa.send(&ann.jid(), "lost").await;
    world
        .wait_for_stanza(|e| e.node.as_ref().is_some_and(|n| n.tag == "message" && n.text_or_empty("id") == id))
        .await
        .unwrap();
    device.clear_faults();
    wa.send(&ann.jid(), "not lost").await;
    ann.expect_text("not lost").await.unwrap();
    assert!(ann.inbox().iter().all(|r| r.text != "lost"));
    let answered =
        |e: &wa_simulator::TraceEntry| e.node.as_ref().is_some_and(|n| n.tag == "ack" && n.text_or_empty("id") == id);
    assert!(!world.trace().iter().any(answered));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_namespace_answers_nothing_of_use() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    world.set_fault(Fault::Iq { xmlns: "encrypt".into(), how: IqFault::Empty });
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    assert_eq!(device.one_time_keys_left(), 0, "the upload was not stored");
    // The signed pre-key of the registration is enough to be written to.
    ann.says(&work, "hello");
    wa.text("hello").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_is_refused_for_logins_and_registrations_alike() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let (wa, device) = Wa::linked(&world, &work).await;
    device.set_fault(Fault::MinimumVersion(Version::of(u32::MAX)));
    device.kick(Kick::Drop);
    wa.wait("ClientOutdated", |e| matches!(e, Event::ClientOutdated(_)).then_some(())).await;
    world.clear_faults();
    world.set_fault(Fault::MinimumVersion(Version::of(u32::MAX)));
    let unlinked = Wa::start(&world).await;
    unlinked.wait("ClientOutdated", |e| matches!(e, Event::ClientOutdated(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_a_dead_address_is_acknowledged_and_shown_on_no_phone() {
    for (lid_addressing, address) in [(true, Addressing::Lid), (false, Addressing::Pn)] {
        let world = World::builder().lid_addressing(lid_addressing).start().await.unwrap();
        let work = world.phone("+15550001111");
        let ann = world.contact("+15550002222", "Ann");
        let (wa, _device) = Wa::linked(&world, &work).await;
        world.set_fault(Fault::DeadAddress { address, of: Some("+15550002222".to_owned()) });
        let id = wa.send(&ann.jid(), "to nobody").await;
        let acked = |e: &Event| matches!(e, Event::ServerAck(ack) if ack.id == id && ack.error.is_none()).then_some(());
        wa.wait("the ack", acked).await;
        let bob = world.contact("+15550003333", "Bob");
        wa.send(&bob.jid(), "to Bob").await;
        bob.expect_text("to Bob").await.unwrap();
        assert!(ann.inbox().is_empty());
        assert!(work.inbox().iter().any(|r| r.text == "to nobody"), "the sender's own phone shows it");
        world.clear_faults();
        wa.send(&ann.jid(), "to Ann").await;
        ann.expect_text("to Ann").await.unwrap();
    }
}
