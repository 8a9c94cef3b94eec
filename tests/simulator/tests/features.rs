//! Groups, media and app state, asked for by the real whatsapp-rust client.

mod companion;

use companion::Companion;
use wa_simulator::groups::Role;
use wa_simulator::media::{Attachment, Fault, Kind, On};
use wa_simulator::{World, text_message};
use whatsapp_rust::download::MediaType;
use whatsapp_rust::media::{ImageOptions, image_message};
use whatsapp_rust::types::events::Event;
use whatsapp_rust::{GroupCreateOptions, GroupParticipantOptions, GroupSubject, UploadOptions};

const ANN: &str = "+15550100001";
const BOB: &str = "+15550100002";
const CAT: &str = "+15550100003";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_makes_a_group_changes_it_and_is_kept_out_of_others() {
    let world = World::start().await.unwrap();
    let (ann, bob, cat) = (world.contact(ANN, "Ann"), world.contact(BOB, "Bob"), world.contact(CAT, "Cat"));
    let companion = Companion::link(&world, &ann).await;
    let groups = companion.client.groups();

    let options = GroupCreateOptions::builder()
        .subject("Lunch")
        .participants(vec![GroupParticipantOptions::new(bob.jid())])
        .finish();
    let made = groups.create_group(options).await.unwrap().metadata;
    assert_eq!((made.subject.as_str(), made.participants.len()), ("Lunch", 2));

    groups.set_subject(&made.id, GroupSubject::new("Dinner").unwrap()).await.unwrap();
    let added = groups.add_participants(&made.id, &[cat.jid()]).await.unwrap();
    assert!(added.iter().all(|change| change.is_ok()), "{added:?}");
    groups.promote_participants(&made.id, &[bob.lid()]).await.unwrap();
    groups.set_announce(&made.id, true).await.unwrap();
    let seen = groups.get_metadata(&made.id).await.unwrap();
    assert_eq!((seen.subject.as_str(), seen.participants.len(), seen.is_announcement), ("Dinner", 3, true));
    assert!(seen.participants.iter().any(|p| p.jid == bob.lid() && p.is_admin()));

    let group = world.groups().into_iter().find(|group| group.jid() == made.id).unwrap();
    let elsewhere = world.group("Elsewhere", &bob, &[&cat]);
    assert!(groups.get_metadata(&elsewhere.jid()).await.is_err());
    assert_eq!(groups.get_participating().await.unwrap().into_keys().collect::<Vec<_>>(), [made.id.clone()]);

    group.change(&bob, "demote", &[&cat], "").unwrap();
    group.change(&bob, "remove", &[&cat], "").unwrap();
    let removed = |event: &Event| match event {
        Event::GroupUpdate(update) if update.group_jid == made.id => {
            format!("{:?}", update.action).contains("Remove").then_some(())
        }
        _ => None,
    };
    companion.event("removal of Cat", removed).await;
    assert_eq!(groups.get_metadata(&made.id).await.unwrap().participants.len(), 2);
    assert!(Role::Admin > Role::Member);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_texts_go_both_ways_and_stop_at_who_is_out() {
    let world = World::start().await.unwrap();
    let (ann, bob, cat) = (world.contact(ANN, "Ann"), world.contact(BOB, "Bob"), world.contact(CAT, "Cat"));
    let companion = Companion::link(&world, &ann).await;
    for addressing in [wa_simulator::groups::Addressing::Lid, wa_simulator::groups::Addressing::Pn] {
        let group = world.group_addressed("Lunch", &ann, &[&bob, &cat], addressing);
        let id = bob.says_in(&group, "who eats?", &[&ann]);
        let got = companion.message(&id).await;
        let text = got.message.extended_text_message.as_option().unwrap();
        assert_eq!(text.text.as_deref(), Some("who eats?"));
        assert_eq!(got.info.source.chat, group.jid());

        companion.client.send_message(&group.jid(), text_message("me")).await.unwrap();
        assert_eq!(bob.expect_text("me").await.unwrap().chat, group.jid().to_string());
        cat.expect_text("me").await.unwrap();

        group.remove(&cat);
        companion.client.groups().get_metadata(&group.jid()).await.unwrap();
        companion.client.send_message(&group.jid(), text_message("without Cat")).await.unwrap();
        bob.expect_text("without Cat").await.unwrap();
        assert!(cat.inbox().iter().all(|received| received.text != "without Cat"));
        assert!(bob.undecryptable().is_empty(), "{:?}", bob.undecryptable());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_go_both_ways_over_tls() {
    let world = World::start().await.unwrap();
    let (ann, bob) = (world.contact(ANN, "Ann"), world.contact(BOB, "Bob"));
    let companion = Companion::link(&world, &ann).await;

    let picture = vec![9u8; 40_000];
    let message = world.media().attach(&Attachment::new(Kind::Image, picture.clone()).caption("look"), 1).unwrap();
    let id = bob.sends(&ann, message);
    let got = companion.message(&id).await;
    let image = got.message.image_message.as_option().unwrap();
    assert_eq!(image.caption.as_deref(), Some("look"));
    assert_eq!(companion.client.download(image).await.unwrap(), picture);

    let upload = companion.client.upload(picture.clone(), MediaType::Image, UploadOptions::default()).await.unwrap();
    let sent = image_message(upload, ImageOptions { caption: Some("back".to_owned()), ..Default::default() });
    companion.client.send_message(&bob.jid(), sent).await.unwrap();
    let received = bob.expect_text("back").await.unwrap();
    let opened = world.media().open(&received.message).unwrap().unwrap();
    assert_eq!((opened.kind, opened.bytes), (Kind::Image, picture));
    assert!(world.media().uploads().iter().all(|upload| upload.tls && upload.kind == "image"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_resumes_and_an_expired_auth_is_renewed() {
    let world = World::start().await.unwrap();
    let companion = Companion::link(&world, &world.contact(ANN, "Ann")).await;
    let film = vec![5u8; 6 * 1024 * 1024];
    let upload = |film: Vec<u8>| companion.client.upload(film, MediaType::Video, UploadOptions::default());

    upload(vec![1; 100]).await.unwrap();
    world.media().expire_auth();
    upload(vec![2; 100]).await.expect("the client asks for a new media_conn");

    world.media().fault(On::Upload, Fault::Slow(std::time::Duration::ZERO), 1);
    world.media().fault(On::Upload, Fault::Cut(2 * 1024 * 1024), 1);
    let first = upload(film.clone()).await;
    let up = match first {
        Ok(up) => up,
        Err(_) => upload(film).await.unwrap(),
    };
    assert!(world.media().get(&up.direct_path).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_companion_archives_the_other_sees() {
    let world = World::start().await.unwrap();
    let (ann, bob) = (world.contact(ANN, "Ann"), world.contact(BOB, "Bob"));
    let (desk, tablet) = (Companion::link(&world, &ann).await, Companion::link(&world, &ann).await);
    assert_ne!(desk.device.id(), tablet.device.id());

    desk.client.chat_actions().archive_chat(&bob.jid(), None).await.unwrap();
    let archived = |jid: String| {
        move |event: &Event| match event {
            Event::ArchiveUpdate(update) => (update.jid.to_string() == jid).then_some(update.action.archived),
            _ => None,
        }
    };
    assert_eq!(tablet.event("archived chat", archived(bob.jid().to_string())).await, Some(true));

    let cat = world.contact(CAT, "Cat");
    tablet.client.chat_actions().archive_chat(&cat.jid(), None).await.unwrap();
    assert_eq!(desk.event("archived chat", archived(cat.jid().to_string())).await, Some(true));
}
