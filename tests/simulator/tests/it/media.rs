//! Files through the media host, over TLS.

use std::time::Duration;

use wa_simulator::World;
use wa_simulator::media::{Attachment, Fault, Kind, On};
use whatsapp_rust::UploadOptions;
use whatsapp_rust::download::MediaType;
use whatsapp_rust::media::{ImageOptions, image_message};

use crate::client::Wa;

const ANN: &str = "+15550100001";
const BOB: &str = "+15550100002";

#[tokio::test(flavor = "multi_thread")]
async fn images_go_both_ways_over_tls() {
    let world = World::start().await.unwrap();
    let (ann, bob) = (world.contact(ANN, "Ann"), world.contact(BOB, "Bob"));
    let (wa, _) = Wa::linked(&world, &ann).await;

    let picture = vec![9u8; 40_000];
    let message = world.media().attach(&Attachment::new(Kind::Image, picture.clone()).caption("look"), 1).unwrap();
    let id = bob.sends(&ann, message);
    let got = wa.message(&id).await;
    let image = got.message.image_message.as_option().unwrap();
    assert_eq!(image.caption.as_deref(), Some("look"));
    assert_eq!(wa.client.download(image).await.unwrap(), picture);

    let upload = wa.client.upload(picture.clone(), MediaType::Image, UploadOptions::default()).await.unwrap();
    let sent = image_message(upload, ImageOptions { caption: Some("back".to_owned()), ..Default::default() });
    wa.client.send_message(&bob.jid(), sent).await.unwrap();
    let received = bob.expect_text("back").await.unwrap();
    let opened = world.media().open(&received.message).unwrap().unwrap();
    assert_eq!((opened.kind, opened.bytes), (Kind::Image, picture));
    assert!(world.media().uploads().iter().all(|upload| upload.tls && upload.kind == "image"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_resumes_and_an_expired_auth_is_renewed() {
    let world = World::start().await.unwrap();
    let (wa, _) = Wa::linked(&world, &world.contact(ANN, "Ann")).await;
    let upload = |file: Vec<u8>| {
        // The same key gives the same encrypted file, which is what the host knows it by.
        wa.client.upload(file, MediaType::Video, UploadOptions::new().with_media_key([7; 32]))
    };
    upload(vec![1; 100]).await.unwrap();
    world.media().expire_auth();
    upload(vec![2; 100]).await.expect("the client asks for a new media_conn");

    let film = vec![5u8; 6 * 1024 * 1024];
    let cut = 2 * 1024 * 1024;
    world.media().fault(On::Upload, Fault::Slow(Duration::ZERO), 1);
    world.media().fault(On::Upload, Fault::Cut(cut), 1);
    let up = match upload(film.clone()).await {
        Ok(up) => up,
        Err(_) => upload(film).await.unwrap(),
    };
    assert_eq!(world.media().uploads().last().unwrap().resumed_at, cut);
    assert!(world.media().get(&up.direct_path).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_download_is_an_error_and_never_a_wrong_file() {
    let world = World::start().await.unwrap();
    let (ann, bob) = (world.contact(ANN, "Ann"), world.contact(BOB, "Bob"));
    let (wa, _) = Wa::linked(&world, &ann).await;
    let picture = vec![9u8; 40_000];
    let message = world.media().attach(&Attachment::new(Kind::Image, picture.clone()), 1).unwrap();
    let got = wa.message(&bob.sends(&ann, message)).await;
    let image = got.message.image_message.as_option().unwrap();
    for fault in [Fault::Status(404), Fault::Status(410), Fault::Cut(1000), Fault::Flip] {
        world.media().fault(On::Download, fault, 100);
        assert!(wa.client.download(image).await.is_err(), "{fault:?}");
        world.media().clear_faults();
    }
    world.media().fault(On::Download, Fault::Slow(Duration::from_millis(2)), 1);
    assert_eq!(wa.client.download(image).await.unwrap(), picture);
    assert!(world.media().remove(image.direct_path.as_deref().unwrap()));
    assert!(wa.client.download(image).await.is_err(), "the host forgot it");
}
