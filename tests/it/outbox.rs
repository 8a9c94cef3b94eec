//! What waits in the outbox leaves through its own account, in order, as it is.

use std::path::Path;

use verso::actors::messages::{Draft, SendOut, Wanted};
use verso::clock::Clock;
use verso::event::MediaKind;
use verso::ids::{AccountId, Jid, MessageId};
use verso::outgoing::{MediaFile, Outgoing};
use verso::store::journal::{Journal, OutboxPart};
use wa_simulator::media::{Fault as MediaFault, Kind, On};
use wa_simulator::{Direction, Fault, Kick, Phone, TraceEntry, World};

use crate::support::GatewayFixture;

const OPEN: &str = "{ web: { reconnect: { initialMs: 250, maxMs: 500 } }, channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {} } } } }";

/// Writes parts into the outbox of a gateway that is not running.
async fn enqueue(state: &Path, contents: Vec<Outgoing>, to: &Phone) -> Vec<MessageId> {
    let journal = Journal::open(&state.join("state.db"), Clock::System).expect("opens");
    let chat: Jid = to.jid().to_string().parse().expect("jid");
    let text = |content| OutboxPart { content, ..OutboxPart::text(AccountId::new("work"), chat.clone(), "", None) };
    let parts: Vec<_> = contents.into_iter().map(text).collect();
    let ids = parts.iter().map(|p| p.id.clone()).collect();
    journal.enqueue(parts).await.expect("queued");
    journal.close().await;
    ids
}

fn file(state: &Path, kind: MediaKind, mime: &str, bytes: &[u8]) -> MediaFile {
    let folder = state.join("media").join("outbound");
    std::fs::create_dir_all(&folder).expect("folder");
    let path = folder.join(mime.replace('/', "-"));
    std::fs::write(&path, bytes).expect("written");
    MediaFile {
        file_name: (kind == MediaKind::Document).then(|| "report.pdf".to_owned()),
        size: Some((640, 480)),
        seconds: Some(7),
        waveform: Some(vec![50; 64]),
        voice: kind == MediaKind::Audio,
        gif: kind == MediaKind::Video,
        thumbnail: Some(vec![1, 2, 3]),
        ..MediaFile::new(kind, mime, path, bytes.len() as u64)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_file_arrives_as_it_is_and_in_order() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, OPEN).await;
    gateway.link("work", &work).await;
    let folder = gateway.stop().await;
    let large: Vec<u8> = (0..6_000_000_u32).map(|n| (n % 251) as u8).collect();
    let kinds = [
        (MediaKind::Image, Kind::Image, "image/jpeg", Some("look"), &b"picture"[..]),
        (MediaKind::Video, Kind::Video, "video/mp4", None, b"film"),
        (MediaKind::Audio, Kind::Audio, "audio/ogg; codecs=opus", None, b"voice"),
        (MediaKind::Document, Kind::Document, "application/pdf", Some("read"), &large),
        (MediaKind::Sticker, Kind::Sticker, "image/webp", None, b"sticker"),
    ];
    let mut contents: Vec<Outgoing> = kinds
        .iter()
        .map(|(kind, _, mime, caption, bytes)| Outgoing::Media {
            media: file(folder.path(), *kind, mime, bytes),
            caption: caption.map(str::to_owned),
            quote: None,
        })
        .collect();
    contents.push(Outgoing::text("that was all"));
    let ids = enqueue(folder.path(), contents, &ann).await;
    // The media host fails once in between: the same message is tried again, nothing overtakes it.
    world.media().fault(On::Upload, MediaFault::Status(500), 3);
    let gateway = GatewayFixture::start_in(&world, folder).await;
    ann.expect_text("that was all").await.expect("all delivered");
    let inbox = ann.inbox();
    let seen: Vec<&str> = inbox.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(seen, ids.iter().map(MessageId::as_str).collect::<Vec<_>>());
    for ((_, kind, mime, caption, bytes), received) in kinds.iter().zip(&inbox) {
        let got = world.media().open(&received.message).expect("opens").expect("a file");
        assert_eq!((got.kind, got.mime.as_deref(), got.caption.as_deref()), (*kind, Some(*mime), *caption));
        assert!(got.bytes == *bytes, "the bytes of the {mime} are others");
        assert_eq!(got.file_name.as_deref(), (*kind == Kind::Document).then_some("report.pdf"));
        assert_eq!(got.voice, *kind == Kind::Audio);
    }
    let image = inbox[0].message.image_message.as_option().expect("an image");
    assert_eq!(
        (image.width, image.height, image.jpeg_thumbnail.as_deref()),
        (Some(640), Some(480), Some(&[1, 2, 3][..]))
    );
    assert_eq!(inbox[1].message.video_message.gif_playback, Some(true));
    let voice = inbox[2].message.audio_message.as_option().expect("a voice note");
    assert_eq!((voice.seconds, voice.waveform.as_ref().map(Vec::len)), (Some(7), Some(64)));
    gateway.wait("the outbox to be empty", |s| s.accounts[0].outbox.waiting == 0).await;
    let left = std::fs::read_dir(gateway.state.join("media").join("outbound")).expect("listed").count();
    assert_eq!(left, 0, "prepared files go with their parts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_cannot_be_sent_fails_with_its_cause_and_the_next_ones_go_on() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, OPEN).await;
    gateway.link("work", &work).await;
    let folder = gateway.stop().await;
    let media = file(folder.path(), MediaKind::Image, "image/png", b"x");
    std::fs::remove_file(&media.path).expect("gone");
    let contents = vec![Outgoing::Media { media, caption: None, quote: None }, Outgoing::text("goes on")];
    let ids = enqueue(folder.path(), contents, &ann).await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    ann.expect_text("goes on").await.expect("delivered");
    gateway.wait("the counts", |s| s.accounts[0].outbox.failed == 1 && s.accounts[0].outbox.waiting == 0).await;
    let explain = verso::actors::messages::ExplainMessage { id: ids[0].clone() };
    let why = gateway.port.explain.send(explain).await.expect("answers").expect("known").to_string();
    assert!(why.contains("the prepared file cannot be read"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_whatsapp_swallowed_is_sent_again_with_the_same_id_on_the_next_connection() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, OPEN).await;
    let device = gateway.link("work", &work).await;
    device.set_fault(Fault::SwallowMessages);
    let position = world.trace_position();
    ann.says(&work, "one");
    ann.says(&work, "two");
    let handed_over = |n: usize| {
        let stanzas = world.trace_since(position);
        stanzas
            .iter()
            .filter(|t| t.direction == wa_simulator::Direction::FromClient && t.xml.starts_with("<message"))
            .count()
            >= n
    };
    gateway.wait("both answers to be handed over", |_| handed_over(2)).await;
    assert!(ann.inbox().is_empty());
    gateway.wait("both to be counted", |s| s.accounts[0].outbox.waiting == 2).await;
    device.clear_faults();
    device.kick(Kick::Drop);
    ann.expect_text("two").await.expect("delivered");
    let texts: Vec<String> = ann.inbox().into_iter().map(|r| r.text).collect();
    assert_eq!(texts, ["one", "two"]);
    gateway.wait("the outbox to be empty", |s| s.accounts[0].outbox.waiting == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_an_account_that_is_taken_out_leaves_when_it_is_back_and_through_no_other() {
    let world = World::start().await.expect("world");
    let (work, home, ann) =
        (world.phone("+15550001111"), world.phone("+15550002222"), world.contact("+15557654321", "Ann"));
    let with = |accounts: &str| OPEN.replace("work: {}", accounts);
    let gateway = GatewayFixture::start(&world, &with("work: {}, home: {}")).await;
    gateway.link("work", &work).await;
    gateway.link("home", &home).await;
    let folder = gateway.stop().await;
    enqueue(folder.path(), vec![Outgoing::text("from work"), Outgoing::text("and this")], &ann).await;
    std::fs::write(folder.path().join("verso.json"), with("home: {}")).expect("written");
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("home", "connected").await;
    ann.says(&home, "who are you?");
    ann.expect_text("who are you?").await.expect("answered");
    gateway.edit(&with("work: {}, home: {}")).await;
    ann.expect_text("and this").await.expect("sent now");
    let told: Vec<_> = ann.shown().into_iter().map(|r| (r.from, r.text)).collect();
    let (work, home) = (work.number(), home.number());
    let wanted = [(home, "who are you?"), (work.clone(), "from work"), (work, "and this")];
    assert_eq!(told, wanted.map(|(from, text)| (from, text.to_owned())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_whatsapp_refuses_for_a_while_holds_up_what_follows_it_in_its_chat() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, OPEN).await;
    let device = gateway.link("work", &work).await;
    let folder = gateway.stop().await;
    device.set_fault(Fault::NackNext { error: 503, messages: 2 });
    let texts = ["one", "two", "three"];
    let ids = enqueue(folder.path(), texts.map(Outgoing::text).to_vec(), &ann).await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    ann.expect_message(|_| ann.shown().len() == texts.len()).await.expect("all delivered");
    assert_eq!(ann.shown().into_iter().map(|r| r.text).collect::<Vec<_>>(), texts, "in order");
    gateway.wait("the outbox to be empty", |s| s.accounts[0].outbox.waiting == 0).await;
    let told = gateway.journal.get_by_message_id(&ids[0]).await.expect("read");
    assert_eq!(told[0]["outgoing"]["attempts"], 3, "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_was_installed_anew_reads_what_is_sent_to_it() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, OPEN).await;
    gateway.link("work", &work).await;
    ann.says(&work, "before");
    ann.expect_text("before").await.expect("answered");
    let folder = gateway.stop().await;
    // Nobody tells the account: its next message is for keys that are gone.
    ann.reinstall(false);
    let ids = enqueue(folder.path(), vec![Outgoing::text("after")], &ann).await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    let got = ann.expect_text("after").await.expect("sent again with a fresh session");
    assert_eq!(got.id, ids[0].as_str());
    assert!(ann.undecryptable().iter().any(|u| u.id == got.id && u.recovered), "it was unreadable at first");
    gateway.wait("the outbox to be empty", |s| s.accounts[0].outbox.waiting == 0).await;
}

/// Of requests that come at the same moment the client may answer one only; the other one is found at the pump's next look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_phones_that_ask_for_the_same_message_again_at_the_same_moment_both_get_it() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557654321", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &work]);
    let gateway = GatewayFixture::start(&world, &OPEN.replace("dmPolicy", "groupPolicy: 'open', dmPolicy")).await;
    gateway.link("work", &work).await;
    let send = async |text: &str| {
        let request = SendOut {
            account: Some("work".into()),
            to: group.jid().to_string(),
            what: Wanted::Message(Draft { text: text.into(), ..Draft::default() }),
            idempotency_key: text.into(),
        };
        gateway.port.send.send(request).await.expect("the gateway answers").expect("sent");
    };
    send("before").await;
    for phone in [&ann, &bob] {
        phone.expect_text("before").await.expect("it has the group's key");
        // Nobody tells the account: what it sends next, neither of them can open.
        phone.reinstall(false);
        phone.switches_off();
    }
    send("can you read me?").await;
    let position = world.trace_position();
    world.switch_on(&[&ann, &bob]);
    for phone in [&ann, &bob] {
        let got = phone.expect_text("can you read me?").await.expect("sent again");
        assert!(phone.undecryptable().iter().any(|u| u.id == got.id && u.recovered), "it was unreadable at first");
    }
    let trace = world.trace_since(position);
    let asks = |e: &TraceEntry| e.direction == Direction::ToClient && e.xml.contains("type=\"retry\"");
    let answers = |e: &TraceEntry| e.direction == Direction::FromClient && e.xml.starts_with("<message");
    let first = trace.iter().position(answers).expect("an answer");
    assert_eq!(trace[..first].iter().filter(|e| asks(e)).count(), 2, "both asked before one was answered");
    send("marker").await;
    for phone in [&ann, &bob] {
        phone.expect_text("marker").await.expect("sent");
        let texts: Vec<String> = phone.shown().into_iter().map(|r| r.text).collect();
        assert_eq!(texts, ["before", "can you read me?", "marker"]);
    }
}

/// A Markdown text of some 20,000 characters: paragraphs with bold words and blocks of code.
fn long() -> String {
    let mut text = String::new();
    let mut n = 0;
    while text.len() < 20_000 {
        text.push_str(&format!("Paragraph {n} says **something{n}** of no weight at all.\n\n```rust\n"));
        for line in 0..30 {
            text.push_str(&format!("let v{n}_{line} = {line};\n"));
        }
        text.push_str("```\n\n");
        n += 1;
    }
    text + "the end"
}

/// Waits until a phone shows the end of [`long`], and looks at what came before it.
async fn arrives_whole(phone: &Phone, text: &str) {
    let before = phone.inbox().len();
    phone.expect_message(|r| r.text.contains("the end")).await.expect("it arrives");
    let inbox = phone.inbox();
    let first = inbox.iter().rposition(|r| r.text.contains("Paragraph 0 ")).expect("the first part");
    assert!(first <= before);
    let parts: Vec<&str> = inbox[first..].iter().map(|r| r.text.as_str()).collect();
    assert!(parts.len() >= 5, "{}", parts.len());
    let lines = |text: &str| -> Vec<String> {
        let kept = text.lines().filter(|line| line.starts_with("let v") || line.starts_with("Paragraph"));
        kept.map(|line| line.replace("**", "*")).collect()
    };
    assert_eq!(parts.iter().flat_map(|part| lines(part)).collect::<Vec<_>>(), lines(text), "in order, nothing is lost");
    for part in parts {
        assert_eq!(part.matches("```").count() % 2, 0, "a fence is open: {part}");
        assert!(part.encode_utf16().count() <= 4000 && !part.contains("**"), "{part}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_texts_arrive_formatted_in_order_and_with_their_fences_whole_whoever_sends_them() {
    use crate::process::{Process, link_by_code, state};
    use crate::support::model::Model;
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let text: &'static str = long().leak();
    let model = Model::start(text).await;
    let open = OPEN.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect("an object");
    let config = format!("{}, {open}", model.config());
    let gateway = Process::start(&world, state(&config)).await;
    link_by_code(gateway.folder(), &world, &work, "work").await;
    gateway.wait_connected(&world).await;
    // An agent, the command line, the API.
    ann.says(&work, "tell me everything");
    arrives_whole(&ann, text).await;
    let sent = gateway.run(&world, &["message", "send", "-t", "+15557654321", "-m", text]).await;
    assert!(sent.status.success(), "{sent:?}");
    arrives_whole(&ann, text).await;
    let asked =
        serde_json::json!({ "to": "+15557654321", "message": text, "channel": "whatsapp", "idempotencyKey": "k" });
    gateway.call("send", asked).await.expect("sent");
    arrives_whole(&ann, text).await;
}

/// The answer to a message as soon as it is in a state and was sent once more, or not.
async fn part_that_is(gateway: &GatewayFixture, asked: &str, state: &str, resent: bool) -> serde_json::Value {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let part = gateway.why(asked).await["parts"][0].clone();
        if part["state"] == state && part["resentAt"].is_null() != resent {
            return part;
        }
        assert!(tokio::time::Instant::now() < deadline, "it is not {state}, sent once more {resent}: {part:#}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_no_device_confirmed_is_sent_once_more_and_shown_once() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let clock = Clock::manual(i64::try_from(now).expect("before the year 292 million"));
    let gateway = GatewayFixture::start_at(&world, OPEN, clock.clone()).await;
    let device = gateway.link("work", &work).await;
    // A device list that is out of date: what arrives can be opened by none of her devices, and none asks for it.
    ann.set_deaf(true);
    let asked = ann.says(&work, "hello?");
    assert_eq!(gateway.verdict(&asked).await, "answer");
    let part = part_that_is(&gateway, &asked, "acked", false).await;
    let id = part["id"].as_str().expect("an id").to_owned();
    let sent = || {
        let message = |e: &wa_simulator::TraceEntry| {
            e.direction == wa_simulator::Direction::FromClient && e.xml.starts_with("<message") && e.xml.contains(&id)
        };
        world.trace().iter().filter(|e| message(e)).count()
    };
    assert_eq!(sent(), 1);
    let reconnect = async || {
        let before = device.sockets_opened();
        device.kick(Kick::Drop);
        gateway.wait("a new connection", |_| device.sockets_opened() > before && device.active()).await;
        gateway.wait_state("work", "connected").await;
    };
    // Too early to worry.
    reconnect().await;
    ann.set_deaf(false);
    clock.set(clock.now() + 11 * 60_000);
    reconnect().await;
    ann.expect_text("hello?").await.expect("it can be opened now");
    part_that_is(&gateway, &asked, "delivered", true).await;
    clock.set(clock.now() + 11 * 60_000);
    reconnect().await;
    ann.says(&work, "marker");
    ann.expect_text("marker").await.expect("answered");
    assert_eq!((sent(), ann.shown().len()), (2, 2), "the same id, once more and no more");
}
