//! The process dies between two steps that belong together: what the second one owes is done after the restart, once.

use std::path::Path;
use std::time::Duration;

use wa_simulator::{Phone, World};

use crate::process::{Process, link_by_code, state};
use crate::support::model::{Model, text};

const OPEN: &str = "messages: { queue: { mode: 'followup', debounceMs: 0 } }, channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {} } } }";

/// What the phone shows: what a kill cut off may come again under the same id.
fn texts(phone: &Phone) -> Vec<String> {
    phone.shown().into_iter().map(|r| r.text).collect()
}

/// A linked account in a folder, and nothing that runs there.
async fn linked(world: &World, phone: &Phone, config: &str) -> tempfile::TempDir {
    let gateway = Process::start(world, state(config)).await;
    link_by_code(gateway.folder(), world, phone, "work").await;
    gateway.wait_connected(world).await;
    gateway.kill()
}

/// Waits until a folder shows what is wanted of it.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pairing_request_that_was_entered_before_a_crash_gets_its_texts_once() {
    for personal in [false, true] {
        let world = World::start().await.expect("world");
        let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
        // The owner is told; the stranger only on a number that is not personal.
        let allow = if personal { ", allowFrom: ['+15550001111']" } else { "" };
        let config = format!("channels: {{ whatsapp: {{ dmPolicy: 'pairing'{allow}, accounts: {{ work: {{}} }} }} }}");
        let folder = linked(&world, &work, &config).await;
        ann.says(&work, "let me in");
        Process::dies_at(&world, folder.path(), "pairing-entered").await;
        let told = if personal { &work } else { &ann };
        let tells = |text: &str| text.contains("Pairing code") || text.contains("asks to be let in");
        assert!(!texts(told).iter().any(|text| tells(text)));
        let gateway = Process::start(&world, folder).await;
        let said = told.expect_message(|r| tells(&r.text)).await.expect("told after the restart").text;
        let listed = gateway.run(&world, &["pairing", "list", "whatsapp", "--json"]).await;
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("json");
        let code = listed["requests"][0]["code"].as_str().unwrap_or_else(|| panic!("{listed:#}"));
        assert!(said.contains(code), "{said}");
        // Neither another message nor another crash brings the text again.
        ann.says(&work, "please");
        let folder = gateway.kill();
        let gateway = Process::start(&world, folder).await;
        gateway.wait_connected(&world).await;
        let approved = gateway.run(&world, &["pairing", "approve", "whatsapp", code]).await;
        assert!(approved.status.success(), "{approved:?}");
        ann.says(&work, "am I in?");
        ann.expect_text("am I in?").await.expect("let in");
        // The own phone also sees what the account writes to others.
        let heard = |phone: &Phone, what: &str| {
            texts(phone).iter().filter(|text| text.contains(code) && text.contains(what)).count()
        };
        assert_eq!((heard(&ann, ""), heard(&work, "asks to be let in")), (usize::from(!personal), 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_session_that_was_begun_before_a_crash_is_announced_once() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let mut model = Model::start("fine").await;
    let folder = linked(&world, &work, &format!("{}, {OPEN}", model.config())).await;
    ann.says(&work, "/new local/huge tell me more");
    Process::dies_at(&world, folder.path(), "session-begun").await;
    let gateway = Process::start(&world, folder).await;
    let (name, asked) = model.request().await;
    assert!(name == "huge" && asked.len() == 1 && asked[0].ends_with("] tell me more"), "{name} {asked:?}");
    ann.expect_text("fine").await.expect("answered after the restart");
    ann.says(&work, "and now?");
    let (name, asked) = model.request().await;
    assert!(name == "huge" && asked.len() == 3, "the same session: {name} {asked:?}");
    ann.expect_message(|_| texts(&ann).len() == 3).await.expect("answered");
    assert_eq!(texts(&ann), ["✅ New session started · model: local/huge", "fine", "fine"]);
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_agents_beside_each_other_the_one_that_was_heard_is_not_asked_again() {
    for first in ["main", "bee"] {
        let world = World::start().await.expect("world");
        let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
        let group = world.group("Friends", &ann, &[&work]);
        let (mut main, mut bee) = (Model::held("main says").await, Model::held("bee says").await);
        let config = format!(
            "{}, broadcast: {{ '{}': ['bee', 'main'] }}, channels: {{ whatsapp: {{ groupPolicy: 'open', accounts: {{ work: {{}} }} }} }}",
            main.config()
                .replace("agents: {", "agents: { list: [{ id: 'main' }, { id: 'bee', model: 'other/x' }],")
                .replace("providers: {", &format!("providers: {{ other: {},", bee.provider())),
            group.jid()
        );
        let gateway = Process::start(&world, state(&config)).await;
        link_by_code(gateway.folder(), &world, &work, "work").await;
        ann.says_in(&group, "what now?", &[&work]);
        main.asked().await;
        bee.asked().await;
        let (heard, late) = if first == "main" { (&mut main, &mut bee) } else { (&mut bee, &mut main) };
        heard.release(1);
        ann.expect_text(format!("{first} says")).await.expect("the quicker one is heard");
        let folder = gateway.kill();
        late.release(9);
        heard.release(9);
        let gateway = Process::start(&world, folder).await;
        late.asked().await;
        ann.expect_message(|_| texts(&ann).len() == 2).await.expect("the other one is heard");
        ann.says_in(&group, "thanks", &[&work]);
        assert!(heard.asked().await.contains("thanks"), "it was not asked the first question again");
        ann.expect_message(|_| texts(&ann).len() == 4).await.expect("both answer");
        drop(gateway);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_file_is_being_prepared_or_uploaded_at_the_crash_arrives_once() {
    for point in ["file-prepared", "file-uploaded"] {
        let world = World::start().await.expect("world");
        let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
        let model = Model::scripted(vec![text("look\nMEDIA: ./note.txt")]).await;
        let folder = linked(&world, &work, &format!("{}, {OPEN}", model.config())).await;
        let workspace = folder.path().join("agents/main/workspace");
        std::fs::create_dir_all(&workspace).expect("made");
        std::fs::write(workspace.join("note.txt"), "a note").expect("written");
        ann.says(&work, "show me");
        Process::dies_at(&world, folder.path(), point).await;
        assert!(ann.inbox().is_empty());
        let outbound = folder.path().join("media/outbound");
        assert_eq!(files(&outbound), 1, "{point}: it died over the prepared file");
        let gateway = Process::start(&world, folder).await;
        let got = ann.expect_message(|_| true).await.expect("it arrives after the restart");
        let file = world.media().open(&got.message).expect("opens").expect("a file");
        assert_eq!((file.bytes.as_slice(), file.caption.as_deref()), (&b"a note"[..], Some("look")));
        until("the prepared files to be gone", || files(&outbound) == 0).await;
        gateway.wait_connected(&world).await;
        ann.says(&work, "/whoami");
        ann.expect_message(|r| r.text.contains("+15557654321")).await.expect("the marker");
        assert_eq!(ann.shown().len(), 2, "{point}: once");
    }
}

/// The web server of the file is slow: the process dies while it is being fetched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_file_is_being_fetched_at_the_crash_arrives_once_or_says_what_failed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for status in ["200 OK", "404 Not Found"] {
        let world = World::start().await.expect("world");
        let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
        let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}/note.txt", web.local_addr().expect("address"));
        let model = Model::scripted(vec![text(&format!("look\nMEDIA: {url}"))]).await;
        let folder = linked(&world, &work, &format!("{}, {OPEN}", model.config())).await;
        ann.says(&work, "show me");
        let gateway = Process::start(&world, folder).await;
        let (mut half, _) = web.accept().await.expect("asked");
        half.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\na n").await.expect("half of it");
        let folder = gateway.kill();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = web.accept().await {
                let _ = socket.read(&mut [0; 4096]).await;
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: 6\r\nconnection: close\r\n\r\na note"
                );
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        let gateway = Process::start(&world, folder).await;
        let got = ann.expect_message(|_| true).await.expect("it arrives after the restart");
        match world.media().open(&got.message).expect("opens") {
            Some(file) => assert_eq!((file.bytes.as_slice(), status), (&b"a note"[..], "200 OK")),
            None => {
                assert!(got.text.starts_with("look\n⚠️ Media failed: ") && status.starts_with("404"), "{}", got.text)
            }
        }
        gateway.wait_connected(&world).await;
        ann.says(&work, "/whoami");
        ann.expect_message(|r| r.text.contains("+15557654321")).await.expect("the marker");
        assert_eq!(ann.shown().len(), 2, "once");
    }
}

/// What a door sends is known by its key: asked for again after a crash it is sent once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_repeated_after_a_crash_with_the_same_key_is_sent_once() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let mut folder = linked(&world, &work, OPEN).await;
    for _ in 0..3 {
        let gateway = Process::start(&world, folder).await;
        gateway.wait_connected(&world).await;
        let asked = serde_json::json!({
            "to": "+15557654321", "message": "once", "channel": "whatsapp", "idempotencyKey": "k1",
        });
        gateway.call("send", asked).await.expect("sent");
        folder = gateway.kill();
    }
    ann.expect_text("once").await.expect("sent");
    assert_eq!(texts(&ann), ["once"]);
}

/// The keys came to disk in part: WhatsApp delivers the message again, and it cannot be opened any more. Its opened copy lies there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_opened_before_a_crash_and_cannot_be_opened_again_is_answered_from_its_copy() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = Process::start(&world, state(OPEN)).await;
    gateway.link(&world, &work).await;
    ann.says(&work, "hello");
    ann.expect_text("hello").await.expect("answered");
    let folder = gateway.kill();
    ann.corrupt_session(&work.devices()[0]).expect("a session");
    let id = ann.says(&work, "do not forget me");
    // She does not send it again when she is asked.
    ann.set_deaf(true);
    let opened = [&[0x0a, 16], &b"do not forget me"[..]].concat();
    let keys = rusqlite::Connection::open(folder.path().join("credentials/whatsapp/work/signal.db")).expect("opens");
    let (lid, insert) = (
        ann.lid().to_string(),
        "INSERT INTO pending_inbound_messages(chat, sender, id, message, device_id, inserted_at) VALUES (?1, ?1, ?2, ?3, 1, unixepoch())",
    );
    keys.execute(insert, rusqlite::params![lid, id, opened]).expect("kept");
    let gateway = Process::start(&world, folder).await;
    let journal = rusqlite::Connection::open(gateway.folder().join("state.db")).expect("opens");
    let answers = || -> i64 {
        let count = "SELECT count(*) FROM outbox WHERE content LIKE '%do not forget me%'";
        journal.query_row(count, [], |row| row.get(0)).unwrap_or(0)
    };
    until("the answer", || answers() == 1).await;
    let kept = || -> i64 {
        let count = "SELECT count(*) FROM pending_inbound_messages WHERE id = ?1";
        keys.query_row(count, [&id], |row| row.get(0)).unwrap_or(1)
    };
    until("the copy to be deleted", || kept() == 0).await;
    assert_eq!(answers(), 1);
}

/// An account that died when a phone asked for a message of it again that WhatsApp has; gives the message's id too.
async fn asked_again(world: &World, work: &Phone, ann: &Phone, with_file: bool) -> (tempfile::TempDir, String) {
    let gateway = Process::start(world, state(OPEN)).await;
    gateway.link(world, work).await;
    ann.says(work, "hello");
    ann.expect_text("hello").await.expect("answered");
    // What it sends now her phone cannot open, when it is on again.
    ann.reinstall(false);
    ann.switches_off();
    let source = gateway.folder().join("note.txt");
    std::fs::write(&source, "a note").expect("written");
    let mut message = serde_json::json!({
        "to": ann.number(), "message": "can you read me?", "channel": "whatsapp", "idempotencyKey": "k1",
    });
    if with_file {
        message["mediaUrl"] = serde_json::json!(source);
    }
    let sent = gateway.call("send", message).await.expect("sent");
    let db = rusqlite::Connection::open(gateway.folder().join("state.db")).expect("opens");
    let open = || -> i64 {
        let count = "SELECT count(*) FROM outbox WHERE state IN ('queued', 'sent')";
        db.query_row(count, [], |row| row.get(0)).unwrap_or(1)
    };
    until("WhatsApp to have everything", || open() == 0).await;
    let outbound = gateway.folder().join("media/outbound");
    until("the prepared file to be gone", || files(&outbound) == 0).await;
    let folder = gateway.kill();
    ann.switches_on();
    Process::dies_at(world, folder.path(), "asked-again").await;
    (folder, sent["messageId"].as_str().expect("an id").to_owned())
}

/// The client answers a phone that could not open a message and asks for it again, while it lives; and the phone asks once. The file of a
/// message that WhatsApp has is gone by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_a_phone_asked_for_again_before_a_crash_is_sent_again_after_it() {
    for with_file in [false, true] {
        let world = World::start().await.expect("world");
        let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
        let (folder, _) = asked_again(&world, &work, &ann, with_file).await;
        let gateway = Process::start(&world, folder).await;
        let again = ann.expect_text("can you read me?").await.expect("sent again");
        if with_file {
            let file = world.media().open(&again.message).expect("opens").expect("a file");
            assert_eq!(file.bytes, b"a note");
        }
        gateway.wait_connected(&world).await;
        ann.says(&work, "marker");
        ann.expect_text("marker").await.expect("answered");
        assert_eq!(texts(&ann), ["hello", "can you read me?", "marker"]);
    }
}

/// The client forgets after two hours what it keeps of a message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_a_phone_asks_for_again_and_that_nobody_keeps_has_not_failed_and_its_sender_is_told() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let (folder, id) = asked_again(&world, &work, &ann, true).await;
    let keys = rusqlite::Connection::open(folder.path().join("credentials/whatsapp/work/signal.db")).expect("opens");
    assert_eq!(keys.execute("DELETE FROM sent_messages WHERE message_id = ?1", [&id]).expect("forgotten"), 1);
    drop(keys);

    let gateway = Process::start(&world, folder).await;
    let db = rusqlite::Connection::open(gateway.folder().join("state.db")).expect("opens");
    let row = || {
        let read = "SELECT state, coalesce(cause, '') FROM outbox WHERE id = ?1";
        db.query_row(read, [&id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap_or_default()
    };
    until("the cause", || !row().1.is_empty()).await;
    assert_eq!(row().0, "acked", "WhatsApp has it");
    gateway.wait_connected(&world).await;
    let told = gateway.run(&world, &["why", &id]).await;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("acked: ") && told.contains("asked for it again, but the file is kept no more"), "{told}");
    assert!(told.contains("could not open it; send it again"), "{told}");
    ann.says(&work, "marker");
    ann.expect_text("marker").await.expect("nothing is held up");
    assert_eq!(texts(&ann), ["hello", "marker"]);
    let counts = "SELECT count(*) FROM outbox WHERE state = 'failed'";
    assert_eq!(db.query_row(counts, [], |row| row.get::<_, i64>(0)).expect("counted"), 0);
}
