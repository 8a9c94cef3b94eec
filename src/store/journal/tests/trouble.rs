//! A full disk and a locked file: what nobody would ask for again waits, what somebody waits for fails and leaves nothing behind.

use super::*;

/// A message and an answer that fit into no page which is there already.
fn large(id: &str) -> (InboundMessage, OutboxPart) {
    let text = "x".repeat(20_000);
    let body = Body { text: Some(text.clone()), ..Body::default() };
    let m = InboundMessage { content: Content::Body(body), ..message(id) };
    let part = OutboxPart { content: Outgoing::text(text), ..part(&format!("P{id}"), Some(&m)) };
    (m, part)
}

#[tokio::test]
async fn while_another_program_holds_the_lock_messages_are_refused_with_the_cause_and_answers_wait() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    journal.commit(vec![message("A")]).await.expect("stored");
    journal.run(|db| db.busy_timeout(std::time::Duration::from_millis(1))).await.expect("no long waits");
    let other = Connection::open(dir.path().join("state.db")).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let answering = {
        let journal = journal.clone();
        tokio::spawn(
            async move { journal.answer(vec![message("A").key()], vec![part("P", Some(&message("A")))]).await },
        )
    };
    journal.mark_soon(AccountId::new("work"), MessageId::new("P"), OutboxState::Sent, None);
    let refused = journal.commit(vec![message("B")]).await.expect_err("not on disk").to_string();
    assert!(refused.contains("state.db: another program has locked it"), "{refused}");
    other.execute_batch("ROLLBACK").expect("released");
    assert!(answering.await.expect("no panic").expect("written after all"));
    assert_eq!(
        journal.commit(vec![message("B")]).await.expect("stored now"),
        [true],
        "the failed try left no row behind"
    );
    let rows = journal.get_by_message_id(&message("A").id).await.expect("read");
    assert_eq!(
        (&rows[0]["inbound"]["state"], &rows[0]["inbound"]["parts"][0]["id"]),
        (&"answered".into(), &"P".into())
    );
}

#[cfg(feature = "demo")]
#[tokio::test]
async fn on_a_full_disk_messages_are_refused_with_the_cause_and_answers_wait_for_space() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let ((a, answer), (b, _)) = (large("A"), large("B"));
    journal.commit(vec![a.clone()]).await.expect("stored");
    journal.pretend_full(true);
    let answering = {
        let (journal, key) = (journal.clone(), a.key());
        tokio::spawn(async move { journal.answer(vec![key], vec![answer]).await })
    };
    let refused = journal.commit(vec![b.clone()]).await.expect_err("not on disk").to_string();
    assert!(refused.contains("state.db: database or disk is full"), "{refused}");
    assert_eq!(journal.outbox_counts(&a.account).waiting, 0);
    assert!(!answering.is_finished(), "nobody is told of an answer that is not on disk");
    let commits = journal.commits();
    journal.pretend_full(false);
    assert!(answering.await.expect("no panic").expect("written after all"));
    assert!(journal.commits() > commits);
    assert_eq!(waiting(&journal, "work").await, ["PA"]);
    assert_eq!(journal.commit(vec![b]).await.expect("stored now"), [true], "the failed try left no row behind");
}

#[tokio::test]
async fn every_way_into_the_outbox_waits_or_fails_as_a_whole() {
    use crate::session::entry::Entry;
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let ids = ["A", "STRANGER", "/new"];
    journal.commit(ids.map(message).to_vec()).await.expect("stored");
    let decision = serde_json::json!({ "verdict": { "verdict": "dispatch" } });
    journal.decide(&message("/new").key(), InboundState::Admitted, decision.clone()).await.expect("noted");
    journal.run(|db| db.busy_timeout(std::time::Duration::from_millis(1))).await.expect("no long waits");
    let other = Connection::open(dir.path().join("state.db")).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");

    // An agent's answer and a command's reply, a pairing text, a session that begins anew, a notice, what commands set.
    let session = SessionKey::new("agent:main:main");
    let aside = Aside {
        facts: vec![("notice:work:asked:CODE".to_owned(), "+1".to_owned())],
        parts: vec![part("PAIRING", None)],
        unless: None,
    };
    let carried = Carried { key: message("/new").key(), rest: "go on".to_owned(), told: Some(part("TOLD", None)) };
    let begun = vec![(session.clone(), Entry::begin("S2".to_owned(), 1))];
    let j = journal.clone();
    let patient = tokio::spawn(async move {
        let stranger = message("STRANGER").key();
        tokio::join!(
            async { j.answer(vec![message("A").key()], vec![part("ANSWER", None)]).await.map(|_| ()) },
            j.decide_aside(&stranger, InboundState::Dropped, &decision, aside),
            j.begin_sessions(begun, Some(carried)),
            j.enqueue_surely(vec![part("NOTICE", None)]),
            j.put_surely("send:policy", "off"),
            j.change_session(&session, |known| (known, ())),
            async { j.left(&AccountId::new("work")).await.map(|_| ()) },
        )
    });
    // A door and a model's tool are told, and may ask again.
    let door = journal.enqueue_under("send:work:k", "{}", vec![part("DOOR", None), part("DOOR 2", None)]).await;
    let tool = journal.enqueue(vec![part("TOOL", None)]).await;
    for refused in [door.map(|_| ()), tool] {
        let refused = refused.expect_err("not on disk").to_string();
        assert!(refused.contains("state.db: another program has locked it"), "{refused}");
    }
    assert!(!patient.is_finished());
    assert_eq!(journal.outbox_counts(&AccountId::new("work")).waiting, 0);

    other.execute_batch("ROLLBACK").expect("released");
    let (answer, pairing, begun, notice, set, changed, left) = patient.await.expect("no panic");
    for done in [answer, pairing, begun, notice, set, changed, left] {
        done.expect("done when it is possible");
    }
    assert_eq!(waiting(&journal, "work").await, ["ANSWER", "PAIRING", "TOLD", "NOTICE"]);
    assert_eq!(journal.outbox_counts(&AccountId::new("work")).waiting, 4);
    assert_eq!(journal.get("send:work:k").await.expect("read"), None, "the door's request left nothing behind");
    let session = journal.session(&SessionKey::new("agent:main:main")).await.expect("read").expect("begun");
    assert_eq!(session.session_id, "S2");
}

#[tokio::test]
async fn what_a_message_causes_is_written_once_with_its_decision() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    journal.commit(["A", "B"].map(message).to_vec()).await.expect("stored");
    let decision = serde_json::json!({ "verdict": { "verdict": "drop" } });
    let fact = "notice:work:asked:CODE".to_owned();
    for (id, text) in [("A", "first"), ("B", "second")] {
        let aside = Aside {
            facts: vec![(fact.clone(), text.to_owned())],
            parts: vec![part(text, None)],
            unless: Some(fact.clone()),
        };
        journal.decide_aside(&message(id).key(), InboundState::Dropped, &decision, aside).await.expect("noted");
        assert_eq!(
            journal.get_by_message_id(&MessageId::new(id)).await.expect("read")[0]["inbound"]["state"],
            "dropped"
        );
    }
    assert_eq!(waiting(&journal, "work").await, ["first"]);
    assert_eq!(journal.get(&fact).await.expect("read").as_deref(), Some("first"));
}
