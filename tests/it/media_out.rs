//! Files that an answer names: on the phone with their bytes, or a line that says why not.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use verso::actors::messages::{Draft, SendOut, Wanted};
use wa_simulator::media::{Attachment, Fault, Kind, On};
use wa_simulator::{Phone, World};

use crate::support::GatewayFixture;
use crate::support::model::{Model, text};

async fn stage(world: &World, model: &Model) -> (GatewayFixture, Phone, Phone) {
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let config = format!(
        "{{ {}, channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], accounts: {{ work: {{}} }} }} }} }}",
        model.config()
    );
    let gateway = GatewayFixture::start(world, &config).await;
    gateway.link("work", &work).await;
    (gateway, work, ann)
}

fn workspace(gateway: &GatewayFixture) -> PathBuf {
    let workspace = gateway.state.join("agents/main/workspace");
    std::fs::create_dir_all(&workspace).expect("made");
    workspace
}

/// Texts, and captions of files, that came from an account; a file has its kind before it.
fn shown(world: &World, from: &Phone, at: &Phone) -> Vec<String> {
    let seen = at.inbox().into_iter().filter(|r| r.from == from.number());
    seen.map(|r| match world.media().open(&r.message).expect("opens") {
        Some(file) => format!("{:?}:{}", file.kind, file.caption.unwrap_or_default()),
        None => r.text,
    })
    .collect()
}

async fn outbound_is_empty(gateway: &GatewayFixture) {
    let outbound = gateway.state.join("media/outbound");
    let empty = |folder: &Path| std::fs::read_dir(folder).is_ok_and(|files| files.count() == 0);
    gateway.wait("the prepared files to be gone", |_| empty(&outbound)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_an_answer_arrive_in_order_with_the_text_below_the_first() {
    let world = World::start().await.expect("world");
    let model = Model::start("**Look** here\n\nMEDIA: ./note.pdf\nMEDIA: ./out/data.bin\nend").await;
    let (gateway, work, ann) = stage(&world, &model).await;
    let folder = workspace(&gateway);
    std::fs::create_dir_all(folder.join("out")).expect("made");
    let (note, data) = (b"%PDF-1.7 a note".to_vec(), [7_u8, 0, 255].repeat(1_000));
    std::fs::write(folder.join("note.pdf"), &note).expect("written");
    std::fs::write(folder.join("out/data.bin"), &data).expect("written");

    ann.says(&work, "what do you see?");
    ann.expect_message(|r| r.message.document_message.file_name.as_deref() == Some("data.bin")).await.expect("sent");
    let files: Vec<Attachment> =
        ann.inbox().iter().filter_map(|r| world.media().open(&r.message).expect("opens")).collect();
    assert_eq!(files.iter().map(|f| f.bytes.as_slice()).collect::<Vec<_>>(), [&note[..], &data[..]]);
    assert_eq!(files[0].file_name.as_deref(), Some("note.pdf"));
    let (first, second) = (files[0].caption.as_deref(), files[1].caption.as_deref());
    assert!(first.is_some_and(|text| text.starts_with("*Look* here") && text.ends_with("end")), "{first:?}");
    assert_eq!(second, None);
    outbound_is_empty(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_is_said_and_nothing_leaks() {
    let world = World::start().await.expect("world");
    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let gone = format!("http://{}/gone.png", web.local_addr().expect("address"));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = web.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        }
    });
    let model = Model::scripted(vec![
        text("look\nMEDIA: ./link.txt"),
        text(&format!("MEDIA: {gone}")),
        text("see\nMEDIA: ./note.txt\nMEDIA: http://10.0.0.1/x.png"),
        text("MEDIA: file:///etc/passwd"),
        text("NO_REPLY\nMEDIA: ./note.txt"),
    ])
    .await;
    let (gateway, work, ann) = stage(&world, &model).await;
    let folder = workspace(&gateway);
    std::fs::write(folder.join("note.txt"), "a note").expect("written");
    std::fs::write(gateway.state.join("secret.txt"), "a secret").expect("written");
    std::os::unix::fs::symlink(gateway.state.join("secret.txt"), folder.join("link.txt")).expect("linked");

    ann.says(&work, "one");
    let said = ann.expect_message(|r| r.text.contains("Media failed")).await.expect("told").text;
    assert_eq!(said, "look\n⚠️ Media failed: not allowed");
    ann.says(&work, "two");
    ann.expect_text("⚠️ Media failed: could not be fetched").await.expect("told");
    ann.says(&work, "three");
    let failed = || ann.inbox().iter().filter(|r| r.text == "⚠️ Media failed: could not be fetched").count();
    ann.expect_message(|_| failed() == 2).await.expect("told");
    ann.says(&work, "four");
    ann.expect_text("MEDIA: file:///etc/passwd").await.expect("no source that a model may name: it stays text");
    ann.says(&work, "five");
    let silent = |r: &wa_simulator::Received| r.message.document_message.is_set() && r.text.is_empty();
    let last = ann.expect_message(silent).await.expect("sent");
    assert_eq!(world.media().open(&last.message).expect("opens").expect("a file").bytes, b"a note");
    let shown = shown(&world, &work, &ann);
    assert_eq!((shown[2].as_str(), shown[5].as_str()), ("Document:see", "Document:"), "{shown:?}");
    let leaked = ann.inbox().iter().any(|r| {
        let file = world.media().open(&r.message).expect("opens").map(|f| f.bytes).unwrap_or_default();
        r.text.contains("secret") || file != b"a note" && !file.is_empty()
    });
    assert!(!leaked, "{shown:?}");
    outbound_is_empty(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sticker_that_came_in_goes_out_as_it_is_and_an_answer_may_send_one() {
    let world = World::start().await.expect("world");
    let mut model =
        Model::scripted(vec![text("nice"), text("Look!\nMEDIA: ./out.webp [[as_sticker]]\nMEDIA: ./out.webp")]).await;
    let (gateway, work, ann) = stage(&world, &model).await;
    let folder = workspace(&gateway);
    let mut webp = std::io::Cursor::new(Vec::new());
    let square =
        image::RgbaImage::from_fn(512, 512, |x, _| image::Rgba([x as u8, 40, 200, if x < 256 { 0 } else { 255 }]));
    square.write_to(&mut webp, image::ImageFormat::WebP).expect("encoded");
    let webp = webp.into_inner();
    let stickers = |n: usize| {
        let seen: Vec<_> = ann.inbox().into_iter().filter(|r| r.message.sticker_message.is_set()).collect();
        assert_eq!(seen.len(), n);
        let last = seen.last().expect("one").message.clone();
        let facts = last.sticker_message.as_option().expect("a sticker").clone();
        assert_eq!((facts.width, facts.height, facts.is_animated), (Some(512), Some(512), None));
        assert_eq!(facts.mimetype.as_deref(), Some("image/webp"));
        world.media().open(&last).expect("opens").expect("a file").bytes
    };

    ann.sends(&work, world.media().attach(&Attachment::new(Kind::Sticker, webp.clone()), 1).expect("encrypted"));
    let asked = model.asked().await;
    let (_, rest) = asked.split_once("[media attached: ").expect("a line about it");
    let (path, told) = rest.split_once(" (").expect("path and facts");
    assert!(asked.contains("<media:sticker>") && told.starts_with("image/webp"), "{asked}");
    ann.expect_text("nice").await.expect("answered");

    let draft = Draft { text: "yours".into(), media: vec![path.into()], as_sticker: true, ..Draft::default() };
    let request = SendOut {
        account: Some("work".into()),
        to: ann.number(),
        what: Wanted::Message(draft),
        idempotency_key: "k".into(),
    };
    gateway.port.send.send(request).await.expect("the gateway answers").expect("sent");
    ann.expect_text("yours").await.expect("the text comes apart");
    assert!(stickers(1) == webp, "the same bytes");

    std::fs::write(folder.join("out.webp"), &webp).expect("written");
    ann.says(&work, "and you?");
    ann.expect_text("Look!").await.expect("the text comes apart");
    ann.expect_message(|r| r.message.image_message.is_set()).await.expect("the other one is a picture");
    assert!(stickers(2) == webp, "the same bytes");
    outbound_is_empty(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_makes_the_echo_send_a_file() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let config = "{ channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {} } } } }";
    let gateway = GatewayFixture::start(&world, config).await;
    gateway.link("work", &work).await;
    std::fs::write(workspace(&gateway).join("x.txt"), "private").expect("written");
    ann.says(&work, "MEDIA: ./x.txt");
    ann.expect_text("MEDIA: ./x.txt").await.expect("said back");
    assert_eq!(shown(&world, &work, &ann), ["MEDIA: ./x.txt"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_an_answer_that_is_stopped_is_deleted_and_not_sent() {
    let world = World::start().await.expect("world");
    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let slow = format!("http://{}/slow.bin", web.local_addr().expect("address"));
    let model = Model::scripted(vec![text(&format!("MEDIA: ./note.txt\nMEDIA: {slow}")), text("fine")]).await;
    let (gateway, work, ann) = stage(&world, &model).await;
    std::fs::write(workspace(&gateway).join("note.txt"), "a note").expect("written");
    ann.says(&work, "go");
    // The second file never comes; the first one is prepared.
    let (_socket, _) = web.accept().await.expect("the file is asked for");
    ann.says(&work, "/stop");
    ann.expect_message(|r| r.text.contains("aborted")).await.expect("stopped");
    outbound_is_empty(&gateway).await;
    ann.says(&work, "and now?");
    ann.expect_text("fine").await.expect("answered");
    assert!(shown(&world, &work, &ann).iter().all(|s| !s.starts_with("Document")), "nothing of it was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_is_shown_while_the_files_of_a_question_still_come() {
    let world = World::start().await.expect("world");
    let model = Model::start("fine").await;
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let config = format!(
        "{{ {}, channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], accounts: {{ work: {{}} }} }} }} }}",
        model.config().replace("model: 'local/tiny'", "model: 'local/tiny', typingMode: 'thinking'")
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    world.media().fault(On::Download, Fault::Slow(std::time::Duration::from_secs(3600)), 1);
    ann.sends(&work, world.media().attach(&Attachment::new(Kind::Image, vec![1; 5000]), 1).expect("encrypted"));
    ann.expect_typing(&work).await.expect("typing is shown while the file comes");
    ann.says(&work, "/stop");
    ann.expect_message(|r| r.text.contains("aborted")).await.expect("stopped");
}
