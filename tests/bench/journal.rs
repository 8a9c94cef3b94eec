//! How many messages a second the journal takes when many come at once: `cargo bench --bench journal` prints JSON and fails below
//! the limit.
//!
//! `journal` is messages written down; `journalAndOutbox` is their whole way: written down, judged, answered with one part, the part
//! sent and confirmed. Everybody waits for the disk (`synchronous=FULL`) as the gateway does.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use verso::clock::Clock;
use verso::event::{Body, Content, InboundMessage};
use verso::ids::{AccountId, Jid, MessageId};
use verso::store::journal::{InboundState, Journal, OutboxPart, OutboxState};

/// Fewer messages a second are too few.
const LIMIT: f64 = 5_000.0;
/// Chats that are busy at the same time.
const CHATS: usize = 256;
/// Messages of each.
const EACH: usize = 120;

fn message(chat: usize, n: usize) -> InboundMessage {
    let jid: Jid = format!("{}@lid", 210_000_000_000_000 + chat).parse().expect("a JID");
    InboundMessage {
        account: AccountId::new(if chat.is_multiple_of(2) { "one" } else { "two" }),
        id: MessageId::new(format!("3EB0{chat:08X}{n:08X}")),
        chat: jid.clone(),
        sender: jid,
        sender_alt: None,
        sender_number: None,
        chat_number: None,
        from_me: false,
        push_name: Some("Ann".into()),
        timestamp: 1_768_487_405_000,
        offline: false,
        content: Content::Body(Body {
            text: Some("shall we eat at eight or is nine better for the two of you?".into()),
            ..Body::default()
        }),
    }
}

/// The whole way of a message; only its beginning without `outbox`.
async fn handle(journal: &Journal, message: InboundMessage, outbox: bool) {
    let key = message.key();
    assert_eq!(journal.commit(vec![message]).await.expect("on disk"), [true]);
    if !outbox {
        return;
    }
    let decision = json!({ "verdict": { "verdict": "dispatch", "agent": "main" }, "revision": 1, "rule": "dmPolicy" });
    journal.decide_soon(&key, InboundState::Admitted, decision);
    let part = OutboxPart::text(key.account.clone(), key.chat.clone(), "eight is fine", Some(key.clone()));
    let id = part.id.clone();
    assert!(journal.answer(vec![key.clone()], vec![part]).await.expect("on disk"));
    journal.mark_soon(key.account.clone(), id.clone(), OutboxState::Sent, None);
    journal.mark_soon(key.account, id, OutboxState::Acked, None);
}

/// Messages a second, and what is told of the run.
async fn measure(folder: &Path, outbox: bool) -> (f64, Value) {
    let name = if outbox { "both.db" } else { "inbound.db" };
    let journal = Journal::open(&folder.join(name), Clock::System).expect("opened");
    let began = Instant::now();
    let chats: Vec<_> = (0..CHATS)
        .map(|chat| {
            let journal = journal.clone();
            tokio::spawn(async move {
                for n in 0..EACH {
                    handle(&journal, message(chat, n), outbox).await;
                }
            })
        })
        .collect();
    for chat in chats {
        chat.await.expect("no panic");
    }
    let fsyncs = journal.commits();
    journal.close().await;
    let (messages, seconds) = (CHATS * EACH, began.elapsed().as_secs_f64());
    let rate = messages as f64 / seconds;
    (rate, json!({ "messages": messages, "seconds": seconds, "perSecond": rate.round(), "fsyncs": fsyncs }))
}

fn main() {
    // Not in the temporary folder, which lies in memory on many machines.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ((inbound, journal), (whole, both)) =
        runtime.block_on(async { (measure(folder.path(), false).await, measure(folder.path(), true).await) });
    let within = inbound >= LIMIT && whole >= LIMIT;
    println!(
        "{}",
        json!({ "bench": "journal", "chats": CHATS, "journal": journal, "journalAndOutbox": both, "limitPerSecond": LIMIT, "ok": within })
    );
    if !within {
        std::process::exit(1);
    }
}
