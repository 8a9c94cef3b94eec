//! Rows that nobody can read, messages that end the process, devices that ask for what was never sent.

use super::*;
use crate::policy::reason::IgnoreReason;

/// Changes the file as nothing in Verso would.
fn spoil(dir: &Path, statements: &str) {
    let db = Connection::open(dir.join("state.db")).expect("opens");
    db.execute_batch(statements).expect("spoilt");
}

fn decided(verdict: serde_json::Value) -> serde_json::Value {
    serde_json::json!({ "verdict": verdict, "effects": [], "trace": [], "revision": 1 })
}

async fn reason(journal: &Journal, id: &str) -> (String, String) {
    let found = journal.get_by_message_id(&MessageId::new(id)).await.expect("read");
    let row = &found[0]["inbound"];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let trace = row["decision"]["trace"].as_array().cloned().unwrap_or_default();
    (text(&row["decision"]["verdict"]["reason"]), trace.last().map(|gate| text(&gate["value"])).unwrap_or_default())
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_dropped_with_its_cause_and_the_others_keep_their_order() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let bad = [
        ("JSON", "message = '{half'", "message: "),
        ("KIND", "message = json_set(message, '$.content', json('{\"type\":\"hologram\"}'))", "message: "),
        ("TYPE", "message = json_set(message, '$.timestamp', 'noon')", "message: "),
        ("BYTES", "message = CAST(x'7bff7d' AS TEXT)", "message: "),
        ("CHAT", "chat = 'nowhere'", "names another"),
        ("SENDER", "sender = CAST(x'ff' AS TEXT)", "names another"),
        ("STATE", "state = 'hologram'", "unknown state \"hologram\""),
        ("HELD", "state = 'held', decision = '{half'", "decision: "),
        ("ADMITTED", "state = 'admitted', decision = NULL", "decision: "),
    ];
    let mut messages = vec![message("FIRST")];
    messages.extend(bad.iter().map(|(id, ..)| message(id)));
    messages.push(message("LAST"));
    journal.commit(messages).await.expect("stored");
    journal.close().await;
    for (id, change, _) in &bad {
        spoil(dir.path(), &format!("UPDATE inbound SET {change} WHERE id = '{id}'"));
    }
    let journal = open(dir.path());
    assert_eq!(unanswered(&journal).await, ["FIRST", "LAST"]);
    for (id, _, cause) in &bad {
        let (code, told) = reason(&journal, id).await;
        assert_eq!(code, "unreadable", "{id}");
        assert!(told.starts_with("unreadable: ") && told.contains(cause), "{id}: {told}");
    }
    let aside = journal.set_aside_messages(&AccountId::new("work"));
    assert_eq!((aside.total, aside.newest.len()), (bad.len() as u64, bad.len()));
    assert_eq!(journal.unreadable().inbound, bad.len() as u64);
    assert_eq!(unanswered(&journal).await, ["FIRST", "LAST"]);
    assert_eq!(journal.unreadable().inbound, bad.len() as u64, "each is settled once");
    journal.close().await;
    let journal = open(dir.path());
    assert_eq!(journal.set_aside_messages(&AccountId::new("work")).total, bad.len() as u64, "listed after a restart");
    assert!(journal.in_need_of_media().await.expect("read").is_empty());
    let all: Vec<_> = bad.iter().map(|(id, ..)| message(id).key()).collect();
    journal.answer(all, vec![part("P", None)]).await.expect("nothing to settle");
    assert!(waiting(&journal, "work").await.is_empty(), "what is set aside is not answered");
    journal.prune(UnixMs::MAX, 0).await.expect("pruned");
    assert_eq!(journal.set_aside_messages(&AccountId::new("work")).total, 0, "it goes with its row");
}

#[tokio::test]
async fn a_part_that_cannot_be_read_fails_with_its_cause_and_the_others_are_sent() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let ids = ["KIND", "CHAT", "BYTES", "STATE", "OLD", "ASKED", "GOOD"];
    journal.enqueue(ids.iter().map(|id| part(id, None)).collect()).await.expect("queued");
    for id in ["OLD", "ASKED"] {
        outbox(&journal, "work").mark(&MessageId::new(id), OutboxState::Acked, None);
    }
    journal.put("asked:work:ASKED", "ours").await.expect("noted");
    journal.close().await;
    let hologram = "content = '{\"type\":\"hologram\"}'";
    for (id, change) in [
        ("KIND", hologram),
        ("CHAT", "chat = ''"),
        ("BYTES", "content = CAST(x'ff' AS TEXT)"),
        ("STATE", "state = 'hologram'"),
        ("OLD", "content = '{'"),
        ("ASKED", hologram),
    ] {
        spoil(dir.path(), &format!("UPDATE outbox SET {change} WHERE id = '{id}'"));
    }
    let journal = open(dir.path());
    let out = outbox(&journal, "work");
    assert_eq!(waiting(&journal, "work").await, ["GOOD"]);
    assert!(out.asked().await.expect("read").is_empty());
    assert!(out.unconfirmed(0, 5_000).await.expect("read").is_empty());
    for id in ["KIND", "CHAT", "BYTES", "STATE"] {
        let found = journal.get_by_message_id(&MessageId::new(id)).await.expect("read");
        let row = &found[0]["outgoing"];
        assert_eq!(row["state"], "failed", "{id}: {row}");
        assert!(row["cause"].as_str().is_some_and(|cause| cause.starts_with("unreadable: ")), "{id}: {row}");
    }
    let counts = journal.outbox_counts(&AccountId::new("work"));
    assert_eq!((counts.waiting, counts.failed, journal.unreadable().outbox), (1, 4, 6));
    assert_eq!(waiting(&journal, "work").await, ["GOOD"]);
    assert!(out.asked().await.expect("read").is_empty() && out.unconfirmed(0, 5_000).await.expect("read").is_empty());
    assert_eq!(journal.unreadable().outbox, 6, "each is settled once");
    assert!(journal.files_in_use().await.expect("read").is_empty());
}

#[tokio::test]
async fn a_fact_that_cannot_be_read_is_counted_and_as_good_as_unknown() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    journal.put("good", "v").await.expect("noted");
    journal.close().await;
    spoil(
        dir.path(),
        "INSERT INTO facts VALUES ('session:agent:main:main', '{\"half', 1), ('activation:agent:main:g', 'sometimes', 1),
         ('bytes', CAST(x'ff' AS TEXT), 1), (CAST(x'ff' AS TEXT), 'v', 1), ('session:old', 'a-name_of.older', 1);",
    );
    let journal = open(dir.path());
    assert_eq!(journal.unreadable().facts, 4);
    assert!(journal.session(&SessionKey::new("agent:main:main")).await.expect("read").is_none());
    assert!(journal.session(&SessionKey::new("old")).await.expect("read").is_some());
    assert_eq!(journal.facts("activation:").await.expect("read").len(), 0);
    assert_eq!(journal.get("good").await.expect("read").as_deref(), Some("v"));
    journal.close().await;
    assert_eq!(open(dir.path()).unreadable().facts, 0, "counted once");
}

#[tokio::test]
async fn processes_that_end_at_work_on_a_message_are_counted_and_no_others() {
    let dir = tempfile::tempdir().expect("temp dir");
    let tries = async |journal: &Journal| {
        let left = journal.left(&AccountId::new("work")).await.expect("read");
        left.iter().map(|left| left.tries).collect::<Vec<_>>()
    };
    let keys = [message("A").key()];
    let dies_at_work = async |journal: Journal| {
        std::mem::forget(journal.at_work(&keys));
        journal.close().await;
    };
    let journal = open(dir.path());
    journal.commit(vec![message("A"), message("B")]).await.expect("stored");
    // It dies while both wait.
    journal.close().await;
    let journal = open(dir.path());
    assert_eq!(tries(&journal).await, [0, 0]);
    dies_at_work(journal).await;
    // One comes to the end of its work, and another one dies while its work waits.
    let journal = open(dir.path());
    assert_eq!(tries(&journal).await, [1, 0]);
    drop(journal.at_work(&keys));
    let waits = journal.working(&keys, std::future::pending::<()>());
    assert!(futures::poll!(std::pin::pin!(waits)).is_pending());
    journal.close().await;
    let journal = open(dir.path());
    assert_eq!(tries(&journal).await, [1, 0]);
    dies_at_work(journal).await;
    let journal = open(dir.path());
    assert_eq!(tries(&journal).await, [2, 0]);
    dies_at_work(journal).await;
    let journal = open(dir.path());
    assert_eq!(tries(&journal).await, [MOST_TRIES, 0]);
    // More are at work than the file has room for.
    let many: Vec<_> = (0..100).map(|n| message(&format!("M{n}")).key()).collect();
    drop(journal.at_work(&many));
    journal.set_aside(&keys, IgnoreReason::Poison, "it ended three processes");
    assert_eq!(unanswered(&journal).await, ["B"]);
    assert_eq!(reason(&journal, "A").await, ("poison".to_owned(), "it ended three processes".to_owned()));
}

#[tokio::test]
async fn what_is_set_aside_keeps_the_way_it_came() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    journal.commit(vec![message("A")]).await.expect("stored");
    let gate = serde_json::json!({ "gate": "dm", "outcome": "open", "key": null, "value": null });
    let mut decision = decided(serde_json::json!({ "verdict": "drop", "reason": "empty" }));
    decision["trace"] = vec![gate].into();
    journal.decide(&message("A").key(), InboundState::Admitted, decision.clone()).await.expect("noted");
    journal.set_aside(&[message("A").key()], IgnoreReason::Internal, "a panic");
    journal.decide(&message("A").key(), InboundState::Admitted, decision).await.expect("too late");
    let found = journal.get_by_message_id(&MessageId::new("A")).await.expect("read");
    let row = &found[0]["inbound"];
    assert_eq!((&row["state"], &row["decision"]["trace"][0]["gate"]), (&"dropped".into(), &"dm".into()));
    assert_eq!(row["decision"]["trace"][1]["outcome"], "internal-error");
}

#[tokio::test]
async fn what_was_never_sent_may_be_asked_for_again_and_nothing_is_written() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let account = AccountId::new("work");
    journal.enqueue(vec![part("SENT", None)]).await.expect("queued");
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    for n in 0..5_000 {
        let told = told.clone();
        journal.asked_again(&account, &MessageId::new(format!("R{n}")), move || told.send(n).expect("heard"));
    }
    journal.asked_again(&account, &MessageId::new("X".repeat(100_000)), || unreachable!("no id"));
    drop(outbox(&journal, "work").hand_over(&MessageId::new("SENT")));
    let told = told.clone();
    let asking = journal.clone();
    let asked = move || {
        asking.asked_again(&AccountId::new("work"), &MessageId::new("SENT"), move || told.send(-1).expect("heard"))
    };
    tokio::task::spawn_blocking(asked).await.expect("noted");
    assert_eq!(heard.recv().await, Some(-1), "what was sent counts, whatever came before it");
    let facts = journal.facts("asked:").await.expect("read");
    assert_eq!(facts.iter().map(|(key, ..)| key.as_str()).collect::<Vec<_>>(), ["asked:work:SENT"]);
}

#[tokio::test]
async fn a_part_does_not_expire_while_it_is_handed_over_and_is_not_handed_over_when_it_has() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    journal.enqueue(vec![part("NOW", None), part("LATE", None)]).await.expect("queued");
    let out = outbox(&journal, "work");
    let [now, late] = ["NOW", "LATE"].map(MessageId::new);
    let handed = out.hand_over(&now).expect("it waits");
    assert_eq!(journal.expire(2_000).await.expect("expired"), 1);
    assert!(out.hand_over(&late).is_none(), "its sender was told");
    assert_eq!(waiting(&journal, "work").await, ["NOW"]);
    journal.enqueue(vec![part("LATE", None)]).await.expect("asked for again");
    assert!(out.hand_over(&late).is_some());
    drop(handed);
    assert_eq!(journal.expire(2_000).await.expect("expired"), 2);
}

#[tokio::test]
async fn a_part_at_which_verso_fails_is_given_up_after_a_few_times() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    journal.enqueue(vec![part("P", None)]).await.expect("queued");
    let (out, id) = (outbox(&journal, "work"), MessageId::new("P"));
    for _ in 0..4 {
        assert!(!out.failed_inside(&id, "a panic".into()).await);
        out.attempted(&id, "WhatsApp refused the message (code 503)".into());
    }
    assert!(out.failed_inside(&id, "a panic".into()).await, "what WhatsApp refuses for a while does not count");
}

#[tokio::test]
async fn what_waits_is_read_anew_when_it_changes() {
    let dir = tempfile::tempdir().expect("temp dir");
    let clock = Clock::manual(1_000);
    let journal = Journal::open(&dir.path().join("state.db"), clock.clone()).expect("opens");
    let out = outbox(&journal, "work");
    let parts: Vec<_> = (0..450).map(|n| part(&format!("P{n}"), None)).collect();
    journal.enqueue(parts).await.expect("queued");
    let read = async || {
        let letters = out.waiting().await.expect("read");
        letters.iter().map(|l| (l.id().to_string(), l.handling().handed_over, l.content().clone())).collect::<Vec<_>>()
    };
    assert_eq!(read().await.len(), 450);
    out.mark(&MessageId::new("P0"), OutboxState::Acked, None);
    out.mark(&MessageId::new("P1"), OutboxState::Sent, None);
    out.mark(&MessageId::new("P2"), OutboxState::Failed, None);
    let now = read().await;
    assert_eq!((now.len(), now[0].0.as_str(), now[0].1), (448, "P1", true));
    clock.set(2_000);
    let changed = OutboxPart { content: Outgoing::text("changed"), ..part("P2", None) };
    journal.enqueue(vec![changed]).await.expect("queued again");
    let now = read().await;
    assert_eq!((now.len(), &now[1]), (449, &("P2".to_owned(), false, Outgoing::text("changed"))));
}
