use std::error::Error;
use std::fs;

use super::*;
use crate::event::{Body, Content};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn message(account: &str, id: &str, text: &str) -> InboundMessage {
    let peer: crate::ids::Jid = "15551234567@s.whatsapp.net".parse().expect("valid");
    InboundMessage {
        account: AccountId::new(account),
        id: MessageId::new(id),
        chat: peer.clone(),
        sender: peer.clone(),
        sender_alt: None,
        sender_number: peer.e164(),
        chat_number: peer.e164(),
        from_me: false,
        push_name: Some("Ann".to_owned()),
        timestamp: 1_000,
        offline: false,
        content: Content::Body(Body { text: Some(text.to_owned()), ..Body::default() }),
    }
}

fn part(id: &str, answers: Option<&InboundMessage>, seq: u32) -> OutboxPart {
    OutboxPart {
        account: AccountId::new("work"),
        message_id: MessageId::new(id),
        chat: "15551234567@s.whatsapp.net".parse().expect("valid"),
        inbound: answers.map(InboundMessage::key),
        seq,
        text: format!("part {seq}"),
    }
}

fn open(path: &Path) -> std::result::Result<Journal, JournalError> {
    Journal::open(path, Clock::manual(5_000))
}

#[tokio::test]
async fn a_redelivery_finds_its_row_and_changes_nothing() -> Result {
    let dir = tempfile::tempdir()?;
    let journal = open(&dir.path().join("state.db"))?;
    let first = message("work", "A", "hello");
    assert_eq!(journal.commit(vec![first.clone(), message("home", "A", "hello")]).await?, [true, true]);
    journal.decide(&first.key(), InboundState::Dropped, serde_json::json!({"reason": "dm-disabled"})).await?;
    // The same message, from another device of the same sender and with another text.
    let again = InboundMessage { sender: "15551234567:4@s.whatsapp.net".parse()?, ..message("work", "A", "changed") };
    assert_eq!(journal.commit(vec![again, message("work", "B", "new")]).await?, [false, true]);
    let rows = journal.get_by_message_id(&MessageId::new("A")).await?;
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].message, first);
    assert_eq!(rows[0].state, InboundState::Dropped);
    assert_eq!(rows[0].decision, Some(serde_json::json!({"reason": "dm-disabled"})));
    assert_eq!(rows[0].decided_at, Some(5_000));
    Ok(())
}

#[tokio::test]
async fn the_unanswered_come_back_oldest_first() -> Result {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("state.db");
    let [a, b, c, d] = ["A", "B", "C", "D"].map(|id| message("work", id, id));
    {
        let journal = open(&path)?;
        journal.commit(vec![a.clone(), b.clone(), c.clone(), d.clone(), message("home", "E", "e")]).await?;
        journal.decide(&a.key(), InboundState::Admitted, serde_json::json!({})).await?;
        journal.decide(&b.key(), InboundState::Held, serde_json::json!({})).await?;
        journal.decide(&c.key(), InboundState::Admitted, serde_json::json!({})).await?;
        assert!(journal.answer(&c.key(), vec![part("X", Some(&c), 0), part("Y", Some(&c), 1)]).await?);
        assert!(!journal.answer(&c.key(), vec![part("Z", Some(&c), 0)]).await?, "answered once");
    }
    let journal = open(&path)?;
    let work = AccountId::new("work");
    let ids = |rows: Vec<InboundRow>| rows.into_iter().map(|r| r.message.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(journal.unanswered(Some(&work)).await?), ["A", "D"]);
    assert_eq!(ids(journal.unanswered(None).await?), ["A", "D", "E"]);
    let open = journal.outbox_open(&work).await?;
    assert_eq!(open.iter().map(|r| r.part.message_id.as_str()).collect::<Vec<_>>(), ["X", "Y"]);
    assert_eq!(open[0].part, part("X", Some(&c), 0));
    Ok(())
}

#[tokio::test]
async fn an_answer_is_whole_or_not_there() -> Result {
    let dir = tempfile::tempdir()?;
    let journal = open(&dir.path().join("state.db"))?;
    let asked = message("work", "A", "hello");
    journal.commit(vec![asked.clone()]).await?;
    // The job fails after its first statement: nothing of it may stay.
    let failed: std::result::Result<(), _> = journal
        .write({
            let key = asked.key();
            move |db| {
                db.execute("UPDATE inbound SET state = 'answered' WHERE id = ?1", [key.id.as_str()])?;
                insert_part(db, &part("X", None, 0), 1)?;
                db.execute("INSERT INTO no_such_table VALUES (1)", []).map(|_| ())
            }
        })
        .await;
    assert!(matches!(failed, Err(JournalError::Sql { .. })), "{failed:?}");
    let panicked: std::result::Result<(), _> = journal
        .write(|db| {
            insert_part(db, &part("X", None, 0), 1)?;
            panic!("on purpose")
        })
        .await;
    assert!(panicked.is_err());
    assert_eq!(journal.unanswered(None).await?.len(), 1);
    assert!(journal.outbox_open(&AccountId::new("work")).await?.is_empty());
    assert!(journal.answer(&asked.key(), vec![part("X", Some(&asked), 0)]).await?, "the writer lives on");
    Ok(())
}

#[tokio::test]
async fn what_waits_is_committed_together() -> Result {
    let dir = tempfile::tempdir()?;
    let journal = open(&dir.path().join("state.db"))?;
    let commits = (0..400).map(|n| {
        let journal = journal.clone();
        async move { journal.commit(vec![message("work", &format!("M{n}"), "x")]).await }
    });
    for outcome in futures::future::join_all(commits).await {
        assert_eq!(outcome?, [true]);
    }
    let batches = journal.batches();
    assert!(batches < 100, "400 commits took {batches} batches");
    assert_eq!(journal.counts().await?.inbound.get(&InboundState::New), Some(&400));
    assert_eq!(journal.batches(), batches, "reading waits for no disk");
    Ok(())
}

#[tokio::test]
async fn confirmations_only_improve() -> Result {
    let dir = tempfile::tempdir()?;
    let journal = open(&dir.path().join("state.db"))?;
    let (work, id) = (AccountId::new("work"), MessageId::new("X"));
    assert!(journal.enqueue(part("X", None, 0)).await?);
    assert!(!journal.enqueue(part("X", None, 0)).await?, "the id is taken");
    let mark = |state, cause: Option<&str>| journal.mark(&work, &id, state, cause.map(str::to_owned));
    assert!(mark(OutboxState::Queued, Some("not connected")).await?);
    assert!(mark(OutboxState::Sent, None).await?);
    assert!(mark(OutboxState::Delivered, None).await?);
    assert!(!mark(OutboxState::Acked, None).await?);
    assert!(!mark(OutboxState::Queued, None).await?);
    let row = journal.outbox_get(&work, &id).await?.ok_or("missing")?;
    assert_eq!((row.state, row.attempts, row.cause), (OutboxState::Delivered, 2, None));
    assert!(!journal.mark(&work, &MessageId::new("nobody"), OutboxState::Acked, None).await?);
    Ok(())
}

#[tokio::test]
async fn old_rows_go_and_open_ones_stay() -> Result {
    let dir = tempfile::tempdir()?;
    let clock = Clock::manual(1_000);
    let journal = Journal::open(&dir.path().join("state.db"), clock.clone())?;
    let [a, b] = ["A", "B"].map(|id| message("work", id, id));
    journal.commit(vec![a.clone(), b]).await?;
    journal.decide(&a.key(), InboundState::Dropped, serde_json::json!({})).await?;
    journal.enqueue(part("X", None, 0)).await?;
    clock.set(10_000);
    assert_eq!(journal.prune(5_000).await?, 1);
    assert_eq!(journal.unanswered(None).await?.len(), 1);
    assert_eq!(journal.outbox_open(&AccountId::new("work")).await?.len(), 1);
    journal.kv_set("cursor", Some("7".to_owned())).await?;
    assert_eq!(journal.kv_get("cursor").await?.as_deref(), Some("7"));
    journal.kv_set("cursor", None).await?;
    assert_eq!(journal.kv_get("cursor").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_second_open_is_refused() -> Result {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("state.db");
    let first = open(&path)?;
    let error = open(&path).err().ok_or("opened twice")?;
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(first);
    open(&path)?;
    Ok(())
}

#[tokio::test]
async fn unusable_files_are_named() -> Result {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("state.db");
    let check = |word: &str| {
        let error = open(&path).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("state.db") && error.contains(word), "{error}");
    };
    fs::create_dir(&path)?;
    check("cannot open");
    fs::remove_dir(&path)?;
    fs::write(&path, "no database at all, but long enough to be looked at ".repeat(50))?;
    check("damaged");
    fs::remove_file(&path)?;
    drop(open(&path)?);
    rusqlite::Connection::open(&path)?.pragma_update(None, "user_version", 99)?;
    check("newer");
    Ok(())
}

/// What a power cut leaves: the files as they are while the writer lives, the log cut off anywhere.
#[tokio::test]
async fn a_cut_at_any_point_keeps_whole_batches_only() -> Result {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("state.db");
    let journal = open(&path)?;
    for n in 0..20 {
        let asked = message("work", &format!("M{n}"), "x");
        journal.commit(vec![asked.clone()]).await?;
        journal.answer(&asked.key(), vec![part(&format!("X{n}"), Some(&asked), 0)]).await?;
    }
    let (file, log) = (fs::read(&path)?, fs::read(dir.path().join("state.db-wal"))?);
    for cut in 0..=16 {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("state.db");
        fs::write(&path, &file)?;
        fs::write(dir.path().join("state.db-wal"), &log[..log.len() * cut / 16])?;
        let after = open(&path)?;
        let whole: String = after.read(|db| db.pragma_query_value(None, "integrity_check", |row| row.get(0))).await?;
        assert_eq!(whole, "ok", "cut {cut}");
        let counts = after.counts().await?;
        let answered = counts.inbound.get(&InboundState::Answered).copied().unwrap_or(0);
        let parts = counts.outbox.get(&OutboxState::Queued).copied().unwrap_or(0);
        assert_eq!(answered, parts, "cut {cut}: an answer without its part, or the other way round");
        if cut == 16 {
            assert_eq!(answered, 20, "what was confirmed is there");
        }
    }
    Ok(())
}
