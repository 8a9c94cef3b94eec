//! How long anybody waits for the journal while everything that reads much of it is under way: 200,000 messages and parts of one account, 5,000
//! of them waiting. `cargo bench --bench large_journal` prints JSON, times in milliseconds, and fails above the limit.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use verso::clock::Clock;
use verso::event::{Body, Content, InboundMessage};
use verso::ids::{AccountId, Jid, MessageId};
use verso::outgoing::Outlet;
use verso::store::journal::Journal;

/// Rows of each table.
const ROWS: usize = 200_000;
/// Parts that wait.
const WAITING: usize = 5_000;
/// Nobody waits longer than this, 99 times of 100.
const LIMIT: Duration = Duration::from_millis(10);

struct Line(AccountId);

impl Outlet for Line {
    fn account(&self) -> &AccountId {
        &self.0
    }
}

fn message() -> InboundMessage {
    InboundMessage {
        account: AccountId::new("one"),
        id: MessageId::new("IN"),
        chat: "1@g.us".parse().expect("a JID"),
        sender: "1@lid".parse().expect("a JID"),
        sender_alt: None,
        sender_number: None,
        chat_number: None,
        from_me: false,
        push_name: Some("Ann".into()),
        timestamp: 1,
        offline: false,
        content: Content::Body(Body { text: Some("x".repeat(300)), ..Body::default() }),
    }
}

fn fill(path: &Path) {
    let db = rusqlite::Connection::open(path).expect("opened");
    let message = serde_json::to_string(&message()).expect("plain data");
    let hold = json!({ "verdict": { "verdict": "hold", "reason": "not-mentioned", "limit": 50 } });
    db.execute_batch(&format!(
        "BEGIN;
         WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n + 1 < {ROWS})
         INSERT INTO inbound(account, chat, sender, id, sent_at, received_at, message, state, decision)
             SELECT 'one', (n % 50) || '@g.us', '1@lid', 'IN' || n, 1, 1,
                 json_set('{message}', '$.id', 'IN' || n, '$.chat', (n % 50) || '@g.us'), iif(n % 2, 'held', 'answered'), '{hold}' FROM n;
         WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n + 1 < {ROWS})
         INSERT INTO outbox(account, id, chat, content, state, rank, created_at, updated_at)
             SELECT 'one', 'OUT' || n, (n % 500) || '@lid', '{{\"type\":\"text\",\"text\":\"hi\",\"quote\":null}}',
                 iif(n < {WAITING}, 'queued', 'delivered'), 0, 1, 1 FROM n;
         COMMIT;"
    ))
    .expect("filled");
}

/// Runs `work` again and again; the waits of somebody who asks for a fact meanwhile.
async fn waits(journal: &Journal, work: impl AsyncFn()) -> Value {
    let mut waits = Vec::new();
    for _ in 0..5 {
        let asking = async {
            loop {
                let began = Instant::now();
                journal.get("k").await.expect("read");
                waits.push(began.elapsed());
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = work() => {}
            () = asking => {}
        }
    }
    waits.sort();
    let p99 = waits.get(waits.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default();
    let longest = waits.last().copied().unwrap_or_default();
    json!({ "p99": p99.as_secs_f64() * 1e3, "longest": longest.as_secs_f64() * 1e3, "ok": p99 <= LIMIT })
}

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = folder.path().join("state.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let told = runtime.block_on(async {
        Journal::open(&path, Clock::System).expect("made").close().await;
        fill(&path);
        let journal = Journal::open(&path, Clock::System).expect("opened");
        let account = AccountId::new("one");
        let outbox = journal.outbox(&Line(account.clone()));
        let stranger: Jid = "15550009999@s.whatsapp.net".parse().expect("a JID");
        json!({
            "waiting": waits(&journal, async || drop(outbox.waiting().await.expect("read"))).await,
            "asked": waits(&journal, async || drop(outbox.asked().await.expect("read"))).await,
            "unconfirmed": waits(&journal, async || drop(outbox.unconfirmed(0, 100).await.expect("read"))).await,
            "hasMet": waits(&journal, async || assert!(!journal.has_met(&account, &stranger).await.expect("read"))).await,
            "media": waits(&journal, async || drop(journal.in_need_of_media().await.expect("read"))).await,
            "left": waits(&journal, async || drop(journal.left(&account).await.expect("read"))).await,
            "prune": waits(&journal, async || assert_eq!(journal.prune(2, 0).await.expect("done"), 0)).await,
        })
    });
    let ok = told.as_object().is_some_and(|parts| parts.values().all(|part| part["ok"] == true));
    println!(
        "{}",
        json!({ "bench": "large_journal", "rows": ROWS, "limitMs": LIMIT.as_millis(), "waits": told, "ok": ok })
    );
    if !ok {
        std::process::exit(1);
    }
}
