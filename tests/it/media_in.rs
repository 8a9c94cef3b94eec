//! Media that comes in: on disk before the agent is asked, or a line that says why not.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use verso::actors::messages::ExplainMessage;
use verso::ids::MessageId;
use wa_simulator::World;
use wa_simulator::media::{Attachment, Fault, Kind, On};
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp as wa;

use crate::process::{self, Process};
use crate::support::model::Model;
use crate::support::{DEADLINE, GatewayFixture};

const MIB: usize = 1024 * 1024;

fn open(model: &Model) -> String {
    format!(
        "{{ {}, channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], groupPolicy: 'open', mediaMaxMb: 1, accounts: {{ work: {{}} }} }} }} }}",
        model.config()
    )
}

/// Path and facts of every `[media attached: ..]` line.
fn attached(asked: &str) -> Vec<(PathBuf, String)> {
    let lines = asked.lines().filter_map(|line| line.strip_prefix("[media attached: ")?.strip_suffix(")]"));
    lines.map(|line| line.split_once(" (").expect("path and facts")).map(|(p, f)| (p.into(), f.to_owned())).collect()
}

/// The only file that the model was told of.
fn one(asked: &str) -> (PathBuf, String) {
    let mut files = attached(asked);
    assert_eq!(files.len(), 1, "{asked}");
    files.remove(0)
}

/// What lies in the folder of received media.
fn saved(state: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(state.join("media/inbound")) else { return Vec::new() };
    entries.map(|entry| entry.expect("readable").path()).collect()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("exists").permissions().mode() & 0o777
}

/// Where the file of a message lies on the host.
fn place(message: &wa::Message) -> String {
    message.image_message.as_option().and_then(|image| image.direct_path.clone()).expect("an image")
}

fn quoting(quoted: wa::Message, text: &str) -> wa::Message {
    let context = wa::ContextInfo {
        stanza_id: Some("3AQUOTED".to_owned()),
        participant: Some("15557654321@s.whatsapp.net".to_owned()),
        quoted_message: MessageField::some(quoted),
        ..Default::default()
    };
    let part = wa::message::ExtendedTextMessage {
        text: Some(text.to_owned()),
        context_info: MessageField::some(context),
        ..Default::default()
    };
    wa::Message { extended_text_message: MessageField::some(part), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_lies_on_disk_byte_for_byte_and_private_when_the_agent_is_asked() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let mut model = Model::start("fine").await;
    let gateway = GatewayFixture::start(&world, &open(&model)).await;
    gateway.link("work", &work).await;

    let bytes = |n: u8| (0..70_000_u32).map(|i| (i % 251) as u8 ^ n).collect::<Vec<u8>>();
    let voice = Attachment { voice: true, seconds: Some(12), ..Attachment::new(Kind::Audio, bytes(3)) };
    let hostile = Attachment {
        file_name: Some("../../x".to_owned()),
        mime: Some("application/pdf".to_owned()),
        ..Attachment::new(Kind::Document, bytes(4))
    };
    let unknown =
        Attachment { mime: Some("../../etc/x".to_owned()), ..Attachment::new(Kind::Document, *b"%PDF-1.7 short") };
    let cases = [
        (Attachment::new(Kind::Image, bytes(1)).caption("look"), "jpg", "image/jpeg"),
        (Attachment { seconds: Some(3), ..Attachment::new(Kind::Video, bytes(2)) }, "mp4", "video/mp4; 3 s"),
        (voice, "ogg", "audio/ogg; voice note; 12 s"),
        (hostile, "pdf", "application/pdf; \"../../x\""),
        (unknown, "pdf", "../../etc/x"),
        (Attachment::new(Kind::Sticker, bytes(5)), "webp", "image/webp"),
    ];
    let inbound = gateway.state.join("media/inbound");
    for (n, (attachment, extension, facts)) in cases.into_iter().enumerate() {
        ann.sends(&work, world.media().attach(&attachment, 1).expect("encrypted"));
        let asked = model.asked().await;
        let (path, told) = one(&asked);
        assert_eq!(told, facts);
        assert_eq!(path.parent(), Some(inbound.as_path()));
        assert_eq!(path.extension().and_then(|e| e.to_str()), Some(extension));
        let stem = path.file_stem().and_then(|s| s.to_str()).expect("a name");
        assert!(uuid::Uuid::parse_str(stem).is_ok(), "{stem}");
        assert!(std::fs::read(&path).expect("saved") == attachment.bytes, "{facts} differs");
        assert_eq!((mode(&path), mode(&inbound)), (0o600, 0o700));
        assert_eq!(saved(&gateway.state).len(), n + 1, "nothing else lies there");
        let said = if n == 0 { "look\n[media attached: " } else { "<media:" };
        assert!(asked.contains(said), "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stranger_sends_is_not_fetched() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway =
        GatewayFixture::start(&world, "{ channels: { whatsapp: { dmPolicy: 'pairing', accounts: { work: {} } } } }")
            .await;
    gateway.link("work", &work).await;
    let picture = Attachment::new(Kind::Image, vec![1; 5000]).caption("look");
    ann.sends(&work, world.media().attach(&picture, 1).expect("encrypted"));
    ann.expect_message(|r| r.text.contains("Pairing code")).await.expect("it is judged");
    assert_eq!((world.media().downloads(), saved(&gateway.state).len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_had_leaves_a_line_and_no_file() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let mut model = Model::start("fine").await;
    let gateway = GatewayFixture::start(&world, &open(&model)).await;
    gateway.link("work", &work).await;
    let media = world.media().clone();
    let picture = |n: u8, bytes: usize| Attachment::new(Kind::Image, vec![n; bytes]).caption("look");

    ann.sends(&work, media.attach(&picture(1, 2 * MIB), 1).expect("encrypted"));
    let too_large = "look\n[media not saved: exceeds 1 MB]";
    assert!(model.asked().await.ends_with(too_large));
    assert_eq!((media.downloads(), saved(&gateway.state).len()), (0, 0), "its own word is enough");

    let liar = Attachment { told_size: Some(10), ..picture(2, 2 * MIB) };
    ann.sends(&work, media.attach(&liar, 1).expect("encrypted"));
    assert!(model.asked().await.ends_with(too_large));
    assert_eq!(saved(&gateway.state).len(), 0, "what had come is deleted");

    media.fault(On::Download, Fault::Flip, 100);
    ann.sends(&work, media.attach(&picture(3, 1000), 1).expect("encrypted"));
    assert!(model.asked().await.ends_with("look\n[media not saved: damaged]"));
    media.clear_faults();

    let message = media.attach(&picture(4, 1000), 1).expect("encrypted");
    assert!(media.destroy(&place(&message)));
    ann.sends(&work, message);
    assert!(model.asked().await.ends_with("look\n[media not saved: no longer available]"));
    assert_eq!(media.asked_again(), 1);
    assert_eq!(saved(&gateway.state).len(), 0);

    // The real file under another one's hash.
    let mut message = media.attach(&picture(5, 1000), 1).expect("encrypted");
    message.image_message.get_or_insert_default().file_sha256 = Some(vec![9; 32]);
    ann.sends(&work, message);
    assert!(model.asked().await.ends_with("look\n[media not saved: damaged]"));
    assert_eq!(saved(&gateway.state).len(), 0);

    // A line that broke is tried again.
    media.fault(On::Download, Fault::Cut(500), 1);
    let message = media.attach(&picture(6, 1000), 1).expect("encrypted");
    ann.sends(&work, message);
    let (path, _) = one(&model.asked().await);
    assert_eq!(std::fs::read(path).expect("saved"), vec![6; 1000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_the_host_forgot_is_asked_for_once_and_saved() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let mut model = Model::start("fine").await;
    let gateway = GatewayFixture::start(&world, &open(&model)).await;
    gateway.link("work", &work).await;
    let message = world.media().attach(&Attachment::new(Kind::Image, vec![7; 5000]), 1).expect("encrypted");
    assert!(world.media().remove(&place(&message)));
    let id = ann.sends(&work, message);
    let (path, _) = one(&model.asked().await);
    assert_eq!(std::fs::read(path).expect("saved"), vec![7; 5000]);
    assert_eq!(world.media().asked_again(), 1);

    // What was received can be explained without what opens the file.
    ann.expect_text("fine").await.expect("answered");
    let explain = ExplainMessage { id: MessageId::new(id) };
    let why = gateway.port.explain.send(explain).await.expect("running").expect("known").to_string();
    assert!(why.contains("\"image\"") && !why.contains("directPath") && !why.contains("encSha256"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quoted_media_and_that_of_messages_before_a_question_come_along_also_after_a_restart() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let group = world.group("Friends", &ann, &[&work]);
    let mut model = Model::start("fine").await;
    let gateway = GatewayFixture::start(&world, &open(&model)).await;
    gateway.link("work", &work).await;
    let media = world.media().clone();
    let picture = |n: u8| media.attach(&Attachment::new(Kind::Image, vec![n; 3000]), 1).expect("encrypted");

    ann.sends(&work, quoting(picture(1), "what is this?"));
    let asked = model.asked().await;
    let (path, _) = one(&asked);
    assert_eq!(std::fs::read(&path).expect("saved"), vec![1; 3000]);
    let block = asked.split("[Replying to ").nth(1).expect("the quote");
    assert!(block.contains("\n<media:image>\n[media attached: ") && block.ends_with("\n[/Replying]"), "{asked}");

    let lost = picture(2);
    assert!(media.destroy(&place(&lost)));
    ann.sends(&work, quoting(lost, "and this?"));
    let asked = model.asked().await;
    assert!(asked.contains("<media:image>\n[whatsapp quoted attachment unavailable]\n[/Replying]"), "{asked}");

    ann.sends_in(&group, picture(3));
    gateway.wait_count("work", "not-mentioned", 1).await;
    assert_eq!(saved(&gateway.state).len(), 1, "nothing is fetched for a message that nobody answers");
    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    ann.says_in(&group, "look at that", &[&work]);
    let asked = model.asked().await;
    let (path, _) = one(&asked);
    assert_eq!(std::fs::read(&path).expect("saved"), vec![3; 3000]);
    let lines: Vec<&str> = asked.lines().collect();
    assert!(lines[1].ends_with(": <media:image>") && lines[3].starts_with("[message_id: "), "{asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_a_file_comes_costs_neither_the_file_nor_the_answer_and_other_chats_do_not_wait() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557654321", "Ann"), world.contact("+15557000002", "Bob"));
    let config = "session: { dmScope: 'per-peer' }, channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {} } } }";
    let gateway = Process::start(&world, process::state(config)).await;
    process::link_by_code(gateway.folder(), &world, &work, "work").await;
    world.media().fault(On::Download, Fault::Slow(Duration::from_secs(3600)), 1);
    let picture = Attachment::new(Kind::Image, vec![8; 100_000]).caption("look");
    ann.sends(&work, world.media().attach(&picture, 1).expect("encrypted"));
    let began = tokio::time::Instant::now();
    while world.media().downloads() == 0 {
        assert!(began.elapsed() < DEADLINE, "the file is not fetched");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bob.says(&work, "hello");
    bob.expect_text("hello").await.expect("answered meanwhile");
    assert!(ann.inbox().is_empty(), "the file is still on its way");

    let folder = gateway.kill();
    let gateway = Process::start(&world, folder).await;
    ann.expect_text("look").await.expect("answered after the restart");
    let complete: Vec<PathBuf> =
        saved(gateway.folder()).into_iter().filter(|p| p.extension().is_some_and(|e| e == "jpg")).collect();
    assert_eq!(complete.len(), 1);
    assert!(std::fs::read(&complete[0]).expect("readable") == picture.bytes);
    ann.says(&work, "marker");
    ann.expect_text("marker").await.expect("answered");
    assert_eq!(ann.shown().len(), 2, "once and no more");
}

/// Kilobytes that a process has held at most.
fn most_memory(state: &Path) -> usize {
    let lock = std::fs::read_to_string(state.join("gateway.lock")).expect("running");
    let pid = lock.split_whitespace().next().expect("its id");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("running");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_is_never_in_memory_as_a_whole() {
    let world = World::builder().deadline(Duration::from_secs(60)).start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let config = "channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {} } } }";
    let gateway = Process::start(&world, process::state(config)).await;
    process::link_by_code(gateway.folder(), &world, &work, "work").await;
    let send = |bytes: usize, caption: &str| {
        let file = Attachment::new(Kind::Document, vec![5; bytes]).caption(caption);
        ann.sends(&work, world.media().attach(&file, 1).expect("encrypted"));
    };
    send(1000, "small");
    ann.expect_text("small").await.expect("answered");
    let before = most_memory(gateway.folder());
    send(45 * MIB, "large");
    ann.expect_text("large").await.expect("answered");
    let sizes: Vec<u64> = saved(gateway.folder()).iter().map(|p| std::fs::metadata(p).expect("exists").len()).collect();
    assert!(sizes.contains(&(45 * MIB as u64)), "{sizes:?}");
    let grown = most_memory(gateway.folder()) - before;
    assert!(grown < 20 * 1024, "{grown} kB more for a file of 45 MB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn received_files_never_take_more_than_their_quota_and_what_does_not_fit_is_told() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let mut model = Model::held("fine").await;
    let config = format!(
        "{{ {}, retention: {{ mediaMaxMb: 2 }}, channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], accounts: {{ work: {{}} }} }} }} }}",
        model.config()
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    let media = world.media().clone();
    let send = |n: u8, bytes: usize| {
        ann.sends(&work, media.attach(&Attachment::new(Kind::Image, vec![n; bytes]), 1).expect("encrypted"))
    };
    let lies = || -> usize {
        let files = saved(&gateway.state);
        files.iter().map(|file| std::fs::metadata(file).map_or(0, |facts| facts.len() as usize)).sum()
    };
    for n in 0..5 {
        send(n, 900_000);
        let asked = model.asked().await;
        let (path, _) = one(asked.lines().last().expect("a line"));
        assert!(std::fs::read(&path).expect("saved") == vec![n; 900_000], "the newest is there");
        assert!(lies() <= 2 * MIB, "{} bytes", lies());
        model.release(1);
        ann.expect_text("fine").await.expect("answered");
    }

    // Larger than all of it, though within what the channel takes: nothing is fetched, nothing else goes.
    let (before, fetched) = (saved(&gateway.state).len(), media.downloads());
    let id = send(9, 3 * MIB);
    let asked = model.asked().await;
    assert!(asked.ends_with("<media:image>\n[media not saved: the gateway has no room for more files]"), "{asked}");
    assert_eq!((saved(&gateway.state).len(), media.downloads()), (before, fetched));
    let why = gateway.why(&id).await["decision"]["mediaMissing"].as_str().expect("a cause").to_owned();
    assert!(why.contains("may take 2 MB (retention.mediaMaxMb)"), "{why}");
    model.release(1);
    ann.expect_text("fine").await.expect("answered");
}
