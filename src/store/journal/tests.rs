use super::*;
use crate::clock::Clock;
use crate::event::{Body, Content};

fn open(dir: &Path) -> Journal {
    Journal::open(&dir.join("state.db"), Clock::manual(1_000)).expect("opens")
}

fn message(id: &str) -> InboundMessage {
    InboundMessage {
        account: AccountId::new("work"),
        id: MessageId::new(id),
        chat: "77@lid".parse().expect("jid"),
        sender: "77:3@lid".parse().expect("jid"),
        sender_alt: None,
        sender_number: None,
        chat_number: None,
        from_me: false,
        push_name: None,
        timestamp: 900,
        offline: false,
        content: Content::Body(Body { text: Some("hello".into()), ..Body::default() }),
    }
}

fn part(id: &str, answers: Option<&InboundMessage>) -> OutboxPart {
    OutboxPart {
        account: AccountId::new("work"),
        id: MessageId::new(id),
        chat: "77@lid".parse().expect("jid"),
        text: "hi".into(),
        answers: answers.map(InboundMessage::key),
    }
}

#[tokio::test]
async fn a_redelivery_finds_its_row_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    assert_eq!(journal.commit(vec![message("A"), message("B")]).await.expect("stored"), [true, true]);
    journal
        .decide(&message("A").key(), InboundState::Dropped, serde_json::json!({"reason": "x"}))
        .await
        .expect("noted");
    assert_eq!(journal.commit(vec![message("A")]).await.expect("stored"), [false]);
    assert!(
        journal.unanswered(&AccountId::new("work")).await.expect("read").is_empty(),
        "its own messages are under way"
    );
    journal.close().await;
    let journal = open(dir.path());
    let left = journal.unanswered(&AccountId::new("work")).await.expect("read");
    assert_eq!(left.into_iter().map(|r| r.message.id).collect::<Vec<_>>(), [MessageId::new("B")]);
}

#[tokio::test]
async fn an_answer_is_settled_once_and_survives_a_restart() {
    let dir = tempfile::tempdir().expect("temp dir");
    let m = message("A");
    {
        let journal = open(dir.path());
        journal.commit(vec![m.clone()]).await.expect("stored");
        journal.decide(&m.key(), InboundState::Admitted, serde_json::json!({})).await.expect("noted");
        journal.close().await;
    }
    let journal = open(dir.path());
    assert_eq!(journal.unanswered(&m.account).await.expect("read").len(), 1, "taken up after the restart");
    assert!(journal.answer(&m.key(), vec![part("P1", Some(&m)), part("P2", Some(&m))]).await.expect("settled"));
    assert!(!journal.answer(&m.key(), vec![part("P3", Some(&m))]).await.expect("again"), "no second answer");
    assert!(journal.unanswered(&m.account).await.expect("read").is_empty());
    let ids: Vec<_> = journal.outbox_open(&m.account).await.expect("read").into_iter().map(|p| p.id).collect();
    assert_eq!(ids, [MessageId::new("P1"), MessageId::new("P2")]);
    let rows = journal.get_by_message_id(&m.id).await.expect("read");
    assert_eq!(rows[0]["inbound"]["state"], "answered");
    assert_eq!(rows[0]["inbound"]["parts"][1]["id"], "P2");
}

#[tokio::test]
async fn a_part_moves_forward_only() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let account = AccountId::new("work");
    journal.enqueue(vec![part("P", None)]).await.expect("queued");
    let id = MessageId::new("P");
    for (state, want) in [
        (OutboxState::Acked, "acked"),
        (OutboxState::Sent, "acked"),
        (OutboxState::Delivered, "delivered"),
        (OutboxState::Acked, "delivered"),
    ] {
        journal.mark_soon(account.clone(), id.clone(), state, None);
        let rows = journal.get_by_message_id(&id).await.expect("read");
        assert_eq!(rows[0]["outgoing"]["state"], want, "after {state:?}");
    }
    assert!(journal.outbox_open(&account).await.expect("read").is_empty());
}

#[tokio::test]
async fn what_waits_shares_one_commit() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    // The first job keeps the writer busy until the others are queued behind it.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let blocked = journal.clone();
    let first = tokio::spawn(async move {
        blocked
            .run(move |_| {
                let _ = wait.recv();
                Ok(())
            })
            .await
    });
    let (accepted, mut seen) = tokio::sync::mpsc::unbounded_channel();
    for n in 0..100 {
        let accepted = accepted.clone();
        journal
            .submit(
                move |db| db.execute("INSERT INTO facts VALUES (?1, 'x', 0)", params![n.to_string()]),
                move |r| {
                    let _ = accepted.send(r.is_ok());
                },
            )
            .expect("open");
    }
    go.send(()).expect("writer waits");
    first.await.expect("no panic").expect("committed");
    for _ in 0..100 {
        assert_eq!(seen.recv().await, Some(true));
    }
    assert!(journal.commits() <= 3, "101 jobs took {} commits", journal.commits());
}

#[tokio::test]
async fn one_failing_job_spoils_no_other() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let bad = journal.run(|db| db.execute("INSERT INTO nowhere VALUES (1)", []));
    let good = journal.put("k", "v");
    let (bad, good) = tokio::join!(bad, good);
    assert!(bad.is_err());
    good.expect("stored");
    assert_eq!(journal.get("k").await.expect("read").as_deref(), Some("v"));
}

#[tokio::test]
async fn old_rows_go_and_late_parts_expire() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let m = message("A");
    journal.commit(vec![m.clone(), message("B")]).await.expect("stored");
    journal.answer(&m.key(), vec![part("P", Some(&m))]).await.expect("settled");
    assert_eq!(journal.prune(0, 2_000).await.expect("pruned"), 1);
    let rows = journal.get_by_message_id(&MessageId::new("P")).await.expect("read");
    assert_eq!(rows[0]["outgoing"]["state"], "expired");
    journal.prune(2_000, 0).await.expect("pruned");
    assert!(journal.get_by_message_id(&m.id).await.expect("read").is_empty());
    journal.close().await;
    let journal = open(dir.path());
    assert_eq!(journal.unanswered(&m.account).await.expect("read").len(), 1, "an unanswered message is never deleted");
}

#[test]
fn a_file_that_is_no_database_is_named_and_kept() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("state.db");
    std::fs::write(&path, "this is not a database, and long enough to be read as one header").expect("write");
    let error = Journal::open(&path, Clock::System).err().expect("refused").to_string();
    assert!(error.contains("state.db") && error.contains("damaged"), "{error}");
    assert!(std::fs::read_to_string(&path).expect("kept").starts_with("this is not"));
}

#[tokio::test]
async fn a_batch_without_a_transaction_writes_nothing_and_says_so() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    journal.put("before", "1").await.expect("stored");
    // Another program holds the database's write lock for longer than the journal waits.
    let other = Connection::open(dir.path().join("state.db")).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    journal.run(|db| db.busy_timeout(std::time::Duration::from_millis(1))).await.expect_err("even this needs the lock");
    assert!(journal.commit(vec![message("A")]).await.is_err());
    other.execute_batch("ROLLBACK").expect("released");
    assert_eq!(
        journal.commit(vec![message("A")]).await.expect("stored now"),
        [true],
        "the failed try left no row behind"
    );
}

#[tokio::test]
async fn a_panicking_job_costs_only_itself() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let lost = journal.run(|_| -> rusqlite::Result<()> { panic!("injected by a test") }).await;
    assert!(lost.is_err());
    journal.put("after", "1").await.expect("the writer lives");
}

#[tokio::test]
async fn held_messages_stay_context_until_an_agent_answers_not_a_command() {
    let dir = tempfile::tempdir().expect("temp dir");
    let account = AccountId::new("work");
    let dispatch = |command| serde_json::json!({ "verdict": { "verdict": "dispatch", "command": command } });
    let mut journal = open(dir.path());
    journal.commit(vec![message("kept"), message("/status"), message("question")]).await.expect("stored");
    journal.decide(&message("kept").key(), InboundState::Held, serde_json::json!({})).await.expect("noted");
    for (id, command, want) in
        [("/status", serde_json::json!({ "text": "/status" }), 1), ("question", serde_json::Value::Null, 0)]
    {
        journal.decide(&message(id).key(), InboundState::Admitted, dispatch(command)).await.expect("noted");
        journal.answer(&message(id).key(), Vec::new()).await.expect("settled");
        journal.close().await;
        journal = open(dir.path());
        assert_eq!(journal.held(&account).await.expect("read").len(), want, "after {id}");
    }
}

#[tokio::test]
async fn media_are_needed_until_the_answer_that_they_are_shown_for() {
    use crate::event::{MediaKey, MediaKind, MediaRef, RemoteFile};
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let with_media = |id: &str| {
        let file = RemoteFile {
            direct_path: "/v/x".into(),
            key: MediaKey::new("c2VjcmV0"),
            sha256: "a".into(),
            enc_sha256: "b".into(),
        };
        let media = Some(MediaRef { file: Some(file), ..MediaRef::new(MediaKind::Image) });
        InboundMessage { content: Content::Body(Body { media, ..Body::default() }), ..message(id) }
    };
    let needed = async || {
        let messages = journal.in_need_of_media().await.expect("read");
        messages.into_iter().map(|m| m.id.to_string()).collect::<Vec<_>>()
    };
    let messages = ["OLD", "HELD", "DROPPED", "ASKED"].map(with_media);
    journal.commit([messages.to_vec(), vec![message("TEXT")]].concat()).await.expect("stored");
    let judge = async |id: &str, state| {
        journal.decide(&message(id).key(), state, serde_json::json!({"verdict": {}})).await.expect("noted");
    };
    judge("OLD", InboundState::Admitted).await;
    judge("HELD", InboundState::Held).await;
    judge("DROPPED", InboundState::Dropped).await;
    assert_eq!(needed().await, ["OLD", "HELD", "ASKED"]);
    journal.answer(&message("OLD").key(), Vec::new()).await.expect("settled");
    judge("ASKED", InboundState::Admitted).await;
    assert_eq!(needed().await, ["HELD", "ASKED"], "what was held since the last answer comes with the next one");
    journal.answer(&message("ASKED").key(), Vec::new()).await.expect("settled");
    assert_eq!(needed().await, [] as [&str; 0]);

    let shown = serde_json::to_string(&journal.get_by_message_id(&MessageId::new("HELD")).await.expect("read"));
    let shown = shown.expect("json");
    assert!(shown.contains("image") && !shown.contains("c2VjcmV0") && !shown.contains("/v/x"), "{shown}");
}
