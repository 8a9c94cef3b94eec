//! Linking by QR code and by 8 characters, logging in, coming back.

use wa_simulator::{Handshake, Kick, LinkError, NodeExt, World};
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::wacore::types::events::Event;

use crate::client::Wa;

#[tokio::test(flavor = "multi_thread")]
async fn links_by_qr_code_and_comes_back_by_resumption() {
    let world = World::start().await.unwrap();
    let work = world.phone("+1 555 000 1111");
    let (wa, device) = Wa::linked(&world, &work).await;
    assert_eq!(device.id(), 1);
    assert_eq!(device.number(), "+15550001111");
    assert!(world.trace().iter().any(|e| e.xml == format!("secured by {:?}", Handshake::Xx)));
    assert_eq!(device.sockets_opened(), 1);
    assert_eq!(world.unknown_iqs(), Vec::<String>::new());

    let seen = wa.seen();
    device.kick(Kick::Drop);
    device.wait_sockets(2).await.unwrap();
    wa.connected_after(seen).await;
    assert_eq!(device.handshake(), Some(Handshake::Ik));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_qr_code_is_told() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    assert!(matches!(work.scan_qr("hello").await, Err(LinkError::BadCode(_))));
    let wa = Wa::start(&world).await;
    let other = wa.qr().await.replacen("2@", "2@x", 1);
    assert!(matches!(work.scan_qr(&other).await, Err(LinkError::Unknown)));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_by_code_after_a_wrong_one() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let wa = Wa::start(&world).await;
    wa.qr().await;
    let options = PairCodeOptions { phone_number: "15550001111".into(), ..Default::default() };
    let code = wa.client.pair_with_code(options).await.unwrap();
    assert!(matches!(work.enter_code("ABC").await, Err(LinkError::BadCode(_))));
    let device = work.enter_code(&code).await.unwrap();
    wa.connected().await;
    device.wait_active().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_is_refused() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let wa = Wa::start(&world).await;
    wa.qr().await;
    let options = PairCodeOptions { phone_number: "15550001111".into(), ..Default::default() };
    let code = wa.client.pair_with_code(options).await.unwrap();
    let wrong: String = code.chars().rev().collect::<String>().replace('A', "B");
    let result = work.enter_code(if wrong == code { "12345678" } else { &wrong }).await;
    assert!(matches!(result, Err(LinkError::WrongCode)), "{result:?}");
    assert!(work.devices().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routing_prefix_comes_back_before_the_introduction() {
    for routing in [true, false] {
        let world = World::builder().edge_routing(routing).start().await.unwrap();
        let work = world.phone("+15550001111");
        let (_wa, device) = Wa::linked(&world, &work).await;
        let announced = world.trace().iter().any(|e| e.xml.contains("edge_routing"));
        assert_eq!(announced, routing);
        device.kick(Kick::Close);
        device.wait_sockets(2).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlinked_device_is_logged_out() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let (wa, device) = Wa::linked(&world, &work).await;
    work.unlink(&device);
    wa.wait("LoggedOut", |e| matches!(e, Event::LoggedOut(_)).then_some(())).await;
    assert!(!device.linked());
    let error = world.trace().into_iter().rev().find_map(|e| e.node.filter(|n| n.tag == "stream:error")).unwrap();
    assert_eq!(error.child("conflict").unwrap().text("type").as_deref(), Some("device_removed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_removes_the_device() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let (wa, device) = Wa::linked(&world, &work).await;
    wa.client.logout().await;
    device.wait_disconnected().await.unwrap();
    assert!(!device.linked());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_companions_of_one_account_see_each_others_messages() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (first, _) = Wa::linked(&world, &work).await;
    let (second, device) = Wa::linked(&world, &work).await;
    assert_eq!(device.id(), 2);
    first.send(&ann.jid(), "from the first").await;
    ann.expect_text("from the first").await.unwrap();
    let copy = second.text("from the first").await;
    assert!(copy.info.source.is_from_me);
    let own = work.expect_text("from the first").await.unwrap();
    assert!(own.own);
    assert_eq!(own.chat, ann.number());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_client_needs_no_new_link() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let ann = world.contact("+15550002222", "Ann");
    let (wa, device) = Wa::linked(&world, &work).await;
    let store = wa.stop().await;
    device.wait_disconnected().await.unwrap();
    ann.says(&work, "while you were out");
    let wa = Wa::start_on(&world, store).await;
    wa.text("while you were out").await;
    wa.connected().await;
    assert_eq!(device.sockets_opened(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_login_with_the_same_keys_replaces_the_first() {
    let world = World::start().await.unwrap();
    let work = world.phone("+15550001111");
    let (first, device) = Wa::linked(&world, &work).await;
    let second = Wa::start_on(&world, first.save().await).await;
    first.wait("StreamReplaced", |e| matches!(e, Event::StreamReplaced(_)).then_some(())).await;
    second.connected().await;
    assert!(device.connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_world_closes_its_connections() {
    let world = World::start().await.unwrap();
    let url = world.ws_url();
    let wa = Wa::start(&world).await;
    wa.qr().await;
    drop(world);
    wa.wait("Disconnected", |e| matches!(e, Event::Disconnected(_)).then_some(())).await;
    let address = url.trim_start_matches("ws://").trim_end_matches("/ws/chat").to_owned();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_accounts_link_side_by_side() {
    let world = World::start().await.unwrap();
    let ann = world.contact("+15550002222", "Ann");
    let mut linking = tokio::task::JoinSet::new();
    for n in 0..20 {
        let world = world.clone();
        linking.spawn(async move {
            let phone = world.phone(&format!("+1555100{n:04}"));
            let (wa, _) = Wa::linked(&world, &phone).await;
            (wa, phone)
        });
    }
    let linked = linking.join_all().await;
    for (wa, phone) in &linked {
        ann.says(phone, "hello");
        let got = wa.text("hello").await;
        wa.send(&got.info.source.chat, &phone.number()).await;
    }
    for (_, phone) in &linked {
        assert_eq!(ann.expect_text(phone.number()).await.unwrap().from, phone.number());
    }
    assert!(world.devices().iter().all(|d| d.sockets_opened() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_profile_name_comes_through_the_app_state() {
    let world = World::start().await.unwrap();
    let work = world.contact("+15550001111", "Work");
    let (wa, _) = Wa::linked(&world, &work).await;
    assert_eq!(wa.client.push_name(), "Work");
    work.set_name("Support");
    wa.wait("new name", |e| match e {
        Event::SelfPushNameUpdated(update) if update.new_name == "Support" => Some(()),
        _ => None,
    })
    .await;
    let home = world.contact("+15550003333", "Home Ltd");
    home.set_business(true);
    let (wa, _) = Wa::linked(&world, &home).await;
    assert_eq!(wa.client.push_name(), "Home Ltd");
}

#[tokio::test]
async fn a_single_threaded_runtime_is_enough() {
    let world = World::start().await.unwrap();
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15550002222", "Ann"));
    let (wa, _) = Wa::linked(&world, &work).await;
    ann.says(&work, "hello");
    wa.text("hello").await;
}
