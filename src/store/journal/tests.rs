use super::*;
use crate::clock::{Clock, UnixMs};
use crate::event::{Body, Content, MediaKind};
use crate::ids::{AccountId, E164, Jid, SessionKey};
use crate::outgoing::{MediaFile, Outgoing, Outlet};

mod setbacks;
mod trouble;

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
        content: Outgoing::text("hi"),
        answers: answers.map(InboundMessage::key),
        first_contact: false,
    }
}

/// What messages of an account would leave through.
struct Line(AccountId);

impl Outlet for Line {
    fn account(&self) -> &AccountId {
        &self.0
    }
}

fn outbox(journal: &Journal, account: &str) -> AccountOutbox {
    journal.outbox(&Line(AccountId::new(account)))
}

async fn left(journal: &Journal, wanted: &[InboundState]) -> Vec<String> {
    let left = journal.left(&AccountId::new("work")).await.expect("read").into_iter().map(|left| left.row);
    left.filter(|row| wanted.contains(&row.state)).map(|row| row.message.id.to_string()).collect()
}

async fn unanswered(journal: &Journal) -> Vec<String> {
    left(journal, &[InboundState::New, InboundState::Admitted]).await
}

async fn waiting(journal: &Journal, account: &str) -> Vec<String> {
    let letters = outbox(journal, account).waiting().await.expect("read");
    letters.iter().map(|letter| letter.id().to_string()).collect()
}

#[tokio::test]
async fn an_outbox_holds_its_own_accounts_parts_only() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let other = OutboxPart { account: AccountId::new("other"), ..part("P2", None) };
    journal.enqueue(vec![part("P1", None), other]).await.expect("queued");
    assert_eq!(waiting(&journal, "work").await, ["P1"]);
    assert_eq!(waiting(&journal, "other").await, ["P2"]);
    let letters = outbox(&journal, "other").waiting().await.expect("read");
    assert_eq!(letters[0].account(), &AccountId::new("other"));
    outbox(&journal, "other").mark(&MessageId::new("P1"), OutboxState::Failed, None);
    assert_eq!(waiting(&journal, "work").await, ["P1"], "nor can it settle another's");
}

#[tokio::test]
async fn texts_of_an_older_version_are_loaded() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("state.db");
    let old = Connection::open(&path).expect("opens");
    for (version, step) in schema::MIGRATIONS.iter().enumerate().take(2) {
        old.execute_batch(&format!("{step} PRAGMA user_version = {};", version + 1)).expect("old schema");
    }
    old.execute_batch(
        "INSERT INTO outbox(account, id, chat, text, state, rank, created_at, updated_at)
         VALUES ('work', 'OLD', '77@lid', 'it''s \"quoted\"', 'queued', 0, 1, 1)",
    )
    .expect("old row");
    drop(old);
    let journal = open(dir.path());
    let letters = outbox(&journal, "work").waiting().await.expect("read");
    assert_eq!(letters[0].content(), &Outgoing::text("it's \"quoted\""));
    assert_eq!(journal.outbox_counts(&AccountId::new("work")).waiting, 1);
}

#[tokio::test]
async fn a_prepared_file_goes_when_its_part_is_over_and_nothing_else_does() {
    let dir = tempfile::tempdir().expect("temp dir");
    let folder = dir.path().join("media").join("outbound");
    std::fs::create_dir_all(&folder).expect("folder");
    let foreign = dir.path().join("foreign");
    let media = |path: &Path, id: &str| {
        std::fs::write(path, "x").expect("written");
        let file = MediaFile::new(MediaKind::Document, "text/plain", path, 1);
        OutboxPart { content: Outgoing::Media { media: file, caption: None, quote: None }, ..part(id, None) }
    };
    let journal = open(dir.path());
    let [acked, failed, expired] = ["acked", "failed", "expired"].map(|name| folder.join(name));
    let parts = vec![media(&acked, "A"), media(&failed, "F"), media(&foreign, "X")];
    journal.enqueue(parts).await.expect("queued");
    assert_eq!(journal.files_in_use().await.expect("read"), [acked.clone(), failed.clone(), foreign.clone()]);
    let out = outbox(&journal, "work");
    out.mark(&MessageId::new("A"), OutboxState::Sent, None);
    assert_eq!(journal.files_in_use().await.expect("read").len(), 3);
    assert!(acked.exists(), "a retry needs it");
    out.mark(&MessageId::new("A"), OutboxState::Acked, None);
    out.mark(&MessageId::new("F"), OutboxState::Failed, Some("no".into()));
    out.mark(&MessageId::new("X"), OutboxState::Acked, None);
    assert!(journal.files_in_use().await.expect("read").is_empty());
    assert!(!acked.exists() && !failed.exists());
    assert!(foreign.exists(), "only prepared files are deleted");
    journal.enqueue(vec![media(&expired, "E")]).await.expect("queued");
    assert_eq!(journal.expire(2_000).await.expect("expired"), 1);
    assert!(!expired.exists());
    let counts = journal.outbox_counts(&AccountId::new("work"));
    assert_eq!(counts, OutboxCounts { waiting: 0, failed: 1, expired: 1 });
}

#[tokio::test]
async fn what_was_given_up_can_be_asked_for_again_and_what_went_out_cannot() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let account = AccountId::new("work");
    journal.enqueue(vec![part("A", None), part("B", None)]).await.expect("queued");
    outbox(&journal, "work").mark(&MessageId::new("A"), OutboxState::Acked, None);
    let ids = [MessageId::new("A"), MessageId::new("B")];
    journal.withdraw(&account, &ids, "too late");
    let rows = journal.outbox_rows(&account, &ids).await.expect("read");
    assert_eq!(rows.iter().map(|r| r.state).collect::<Vec<_>>(), [OutboxState::Acked, OutboxState::Failed]);
    assert_eq!(rows[1].cause.as_deref(), Some("too late"));
    assert!(!outbox(&journal, "work").waits(&ids[1]).await);
    journal.enqueue(vec![part("A", None), part("B", None)]).await.expect("queued again");
    assert_eq!(waiting(&journal, "work").await, ["B"]);
}

#[tokio::test]
async fn a_text_that_nobody_confirmed_is_handed_out_once_more() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let out = outbox(&journal, "work");
    let group = OutboxPart { chat: "120@g.us".parse().expect("jid"), ..part("G", None) };
    journal.enqueue(vec![part("A", None), part("B", None), group]).await.expect("queued");
    for id in ["A", "B", "G"] {
        out.mark(&MessageId::new(id), OutboxState::Acked, None);
    }
    out.mark(&MessageId::new("B"), OutboxState::Delivered, None);
    assert!(out.unconfirmed(0, 999).await.expect("read").is_empty(), "too early");
    assert!(out.unconfirmed(1_001, 2_000).await.expect("read").is_empty(), "too late");
    let again = out.unconfirmed(0, 1_000).await.expect("read");
    assert_eq!(again.iter().map(|l| (l.id().as_str(), l.handling().again)).collect::<Vec<_>>(), [("A", true)]);
    assert_eq!(out.unconfirmed(0, 1_000).await.expect("read"), again, "until it was sent");
    out.resent(&MessageId::new("A"));
    assert!(out.unconfirmed(0, 1_000).await.expect("read").is_empty());
    let rows = journal.get_by_message_id(&MessageId::new("A")).await.expect("read");
    assert_eq!(rows[0]["outgoing"]["resentAt"], 1_000);
}

#[tokio::test]
async fn what_cannot_be_sent_once_more_keeps_its_state_and_says_why_until_it_can() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let (out, id) = (outbox(&journal, "work"), MessageId::new("A"));
    journal.enqueue(vec![part("A", None)]).await.expect("queued");
    out.mark(&id, OutboxState::Acked, None);
    let (asking, account) = (journal.clone(), AccountId::new("work"));
    tokio::task::spawn_blocking(move || asking.asked_again(&account, &MessageId::new("A"), || {}))
        .await
        .expect("noted");
    out.not_resent(&id, "kept no more".into());
    let row = async || journal.get_by_message_id(&id).await.expect("read")[0]["outgoing"].clone();
    let shown = row().await;
    assert_eq!(
        (&shown["state"], &shown["cause"], shown["resentAt"].is_null()),
        (&"acked".into(), &"kept no more".into(), true)
    );
    assert!(out.unconfirmed(0, 1_000).await.expect("read").is_empty(), "it is not tried for ever");
    out.inherit_asked().await.expect("written");
    assert!(out.asked().await.expect("read").is_empty(), "nor for the request that it answered");
    out.resent(&id);
    let shown = row().await;
    assert!(shown["cause"].is_null() && !shown["resentAt"].is_null(), "{shown}");
}

#[tokio::test]
async fn what_devices_asked_for_again_is_ours_until_it_was_sent_when_the_client_does_not_answer() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let (out, account) = (outbox(&journal, "work"), AccountId::new("work"));
    journal.enqueue(vec![part("ONE", None), part("MORE", None), part("NONE", None)]).await.expect("queued");
    for id in ["ONE", "MORE", "NONE"] {
        out.mark(&MessageId::new(id), OutboxState::Acked, None);
    }
    for id in ["ONE", "MORE", "MORE"] {
        // It waits for the disk, on a thread of the client.
        let (journal, account) = (journal.clone(), account.clone());
        tokio::task::spawn_blocking(move || journal.asked_again(&account, &MessageId::new(id), || {}))
            .await
            .expect("noted");
    }
    let asked = async || {
        let letters = out.asked().await.expect("read");
        letters.iter().map(|l| l.id().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(asked().await, ["MORE"], "the client answers the other one");
    // However long its chat is busy.
    out.forget_asked(UnixMs::MAX).await.expect("written");
    assert_eq!(asked().await, ["MORE"]);
    out.resent(&MessageId::new("MORE"));
    out.inherit_asked().await.expect("written");
    assert_eq!(asked().await, [] as [&str; 0], "one is sent and the other forgotten");
    let journal_too = journal.clone();
    tokio::task::spawn_blocking(move || journal_too.asked_again(&account, &MessageId::new("ONE"), || {}))
        .await
        .expect("noted");
    assert_eq!(asked().await, [] as [&str; 0]);
    out.inherit_asked().await.expect("written");
    assert_eq!(asked().await, ["ONE"], "the client that was asked is gone");
}

#[tokio::test]
async fn whoever_wrote_or_was_written_to_is_no_first_contact() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let account = AccountId::new("work");
    let jid = |text: &str| text.parse::<Jid>().expect("jid");
    let wrote = InboundMessage { chat_number: E164::from_digits("+4912345"), ..message("A") };
    journal.commit(vec![wrote]).await.expect("stored");
    journal.enqueue(vec![OutboxPart { chat: jid("555@s.whatsapp.net"), ..part("P", None) }]).await.expect("queued");
    for (chat, met) in [
        ("77@lid", true),
        ("4912345@s.whatsapp.net", true),
        ("4912346@s.whatsapp.net", false),
        ("555@s.whatsapp.net", false),
    ] {
        assert_eq!(journal.has_met(&account, &jid(chat)).await.expect("read"), met, "{chat}");
    }
    outbox(&journal, "work").mark(&MessageId::new("P"), OutboxState::Acked, None);
    assert!(journal.has_met(&account, &jid("555@s.whatsapp.net")).await.expect("read"));
    let author = journal.author_of(&account, &MessageId::new("A")).await.expect("read").expect("known");
    assert_eq!(author, (Some(jid("77@lid")), false));
    assert_eq!(journal.author_of(&account, &MessageId::new("P")).await.expect("read"), Some((None, true)));
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
    assert!(unanswered(&journal).await.is_empty(), "its own messages are under way");
    journal.close().await;
    let journal = open(dir.path());
    let left = unanswered(&journal).await;
    assert_eq!(left, ["B"]);
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
    assert_eq!(unanswered(&journal).await.len(), 1, "taken up after the restart");
    assert!(journal.answer(vec![m.key()], vec![part("P1", Some(&m)), part("P2", Some(&m))]).await.expect("settled"));
    assert!(!journal.answer(vec![m.key()], vec![part("P3", Some(&m))]).await.expect("again"), "no second answer");
    assert!(unanswered(&journal).await.is_empty());
    assert_eq!(waiting(&journal, "work").await, ["P1", "P2"]);
    assert_eq!(journal.outbox_counts(&m.account).waiting, 2);
    let rows = journal.get_by_message_id(&m.id).await.expect("read");
    assert_eq!(rows[0]["inbound"]["state"], "answered");
    assert_eq!(rows[0]["inbound"]["parts"][1]["id"], "P2");
}

#[tokio::test]
async fn one_answer_settles_all_its_messages_at_once() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let (a, b) = (message("A"), message("B"));
    journal.commit(vec![a.clone(), b.clone()]).await.expect("stored");
    let keys = vec![a.key(), b.key()];
    assert!(journal.answer(keys.clone(), vec![part("P", Some(&a))]).await.expect("settled"));
    assert!(!journal.answer(keys, vec![part("Q", Some(&a))]).await.expect("again"), "no second answer");
    assert_eq!(waiting(&journal, a.account.as_str()).await.len(), 1);
    for id in [&a.id, &b.id] {
        assert_eq!(journal.get_by_message_id(id).await.expect("read")[0]["inbound"]["state"], "answered");
    }
}

#[tokio::test]
async fn of_several_agents_only_those_answer_again_that_had_written_nothing_down() {
    let sessions = ["agent:a:main", "agent:b:main", "agent:c:main"].map(SessionKey::new);
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut journal = open(dir.path());
        let asked = message("A");
        journal.commit(vec![asked.clone()]).await.expect("stored");
        let decision = serde_json::json!({ "verdict": { "verdict": "dispatch" } });
        journal.decide(&asked.key(), InboundState::Admitted, decision).await.expect("noted");
        for (n, agent) in order.into_iter().enumerate() {
            let outcome = Some(crate::disclosure::Outcome::Silent);
            let turn = |all| Turn {
                keys: vec![asked.key()],
                all,
                over: vec![sessions[agent].clone()],
                outcome: outcome.clone(),
            };
            // Taken up after a crash, the message is for those who are left.
            let all: Vec<_> = order[n..].iter().map(|agent| sessions[*agent].clone()).collect();
            let answer = |id: &str| vec![part(&format!("{id}{agent}"), Some(&asked))];
            assert!(journal.answer_turns(vec![turn(all.clone())], answer("P"), Vec::new()).await.expect("written"));
            assert!(
                !journal.answer_turns(vec![turn(all)], answer("Q"), Vec::new()).await.expect("again"),
                "one turn each"
            );
            journal.close().await;
            journal = open(dir.path());
            let left = journal.left(&asked.account).await.expect("read");
            assert_eq!(left.is_empty(), n == 2, "answered when all had their turn");
            for one in left {
                let done: Vec<bool> = order.iter().map(|agent| one.done(&sessions[*agent])).collect();
                assert_eq!(done, [true, n >= 1, false]);
            }
        }
        assert_eq!(waiting(&journal, "work").await, order.map(|agent| format!("P{agent}")));
    }
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
    assert!(waiting(&journal, "work").await.is_empty());
    assert_eq!(journal.outbox_counts(&account), OutboxCounts::default());
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
                false,
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
    journal.answer(vec![m.key()], vec![part("P", Some(&m))]).await.expect("settled");
    assert_eq!(journal.prune(0, 2_000).await.expect("pruned"), 1);
    let rows = journal.get_by_message_id(&MessageId::new("P")).await.expect("read");
    assert_eq!(rows[0]["outgoing"]["state"], "expired");
    journal.prune(2_000, 0).await.expect("pruned");
    assert!(journal.get_by_message_id(&m.id).await.expect("read").is_empty());
    journal.close().await;
    let journal = open(dir.path());
    assert_eq!(unanswered(&journal).await.len(), 1, "an unanswered message is never deleted");
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
async fn a_panicking_job_costs_only_itself() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let lost = journal.run(|_| -> rusqlite::Result<()> { panic!("injected by a test") }).await;
    assert!(lost.is_err());
    journal.put("after", "1").await.expect("the writer lives");
}

#[tokio::test]
async fn held_messages_stay_context_until_an_agent_answered_not_a_command() {
    let dir = tempfile::tempdir().expect("temp dir");
    let dispatch = |command| serde_json::json!({ "verdict": { "verdict": "dispatch", "command": command } });
    let mut journal = open(dir.path());
    let ids = ["too many", "kept", "also kept", "/status", "question", "next"];
    journal.commit(ids.map(message).to_vec()).await.expect("stored");
    let two = serde_json::json!({ "verdict": { "verdict": "hold", "limit": 2 } });
    for id in ["too many", "kept", "also kept"] {
        journal.decide(&message(id).key(), InboundState::Held, two.clone()).await.expect("noted");
    }
    for (id, command) in [("/status", serde_json::json!({ "text": "/status" })), ("question", serde_json::Value::Null)]
    {
        journal.decide(&message(id).key(), InboundState::Admitted, dispatch(command)).await.expect("noted");
    }
    let again = async |journal: Journal| {
        journal.close().await;
        let journal = open(dir.path());
        let all = left(&journal, &[InboundState::New, InboundState::Admitted, InboundState::Held]).await;
        (journal, all)
    };
    let mut all;
    (journal, all) = again(journal).await;
    assert_eq!(
        all,
        ["kept", "also kept", "/status", "question", "next"],
        "as they came, with what belongs to the question"
    );
    journal.answer(vec![message("/status").key()], Vec::new()).await.expect("settled");
    (journal, all) = again(journal).await;
    assert_eq!(all, ["kept", "also kept", "question", "next"]);
    journal.answer(vec![message("question").key()], Vec::new()).await.expect("settled");
    (_, all) = again(journal).await;
    assert_eq!(all, ["next"]);
}

#[tokio::test]
async fn an_own_message_without_a_decision_is_known_as_such_after_a_crash() {
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    journal.enqueue(vec![part("OURS", None)]).await.expect("queued");
    journal.commit(vec![message("OURS"), message("THEIRS")]).await.expect("stored");
    journal.close().await;
    let left = open(dir.path()).left(&AccountId::new("work")).await.expect("read");
    assert_eq!(left.iter().map(|left| left.ours).collect::<Vec<_>>(), [true, false]);
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
    journal.answer(vec![message("OLD").key()], Vec::new()).await.expect("settled");
    judge("ASKED", InboundState::Admitted).await;
    assert_eq!(needed().await, ["HELD", "ASKED"], "what was held since the last answer comes with the next one");
    journal.answer(vec![message("ASKED").key()], Vec::new()).await.expect("settled");
    assert_eq!(needed().await, [] as [&str; 0]);

    let shown = serde_json::to_string(&journal.get_by_message_id(&MessageId::new("HELD")).await.expect("read"));
    let shown = shown.expect("json");
    assert!(shown.contains("image") && !shown.contains("c2VjcmV0") && !shown.contains("/v/x"), "{shown}");
}

/// What a journal held when it was backed up: an open message and an admitted one, a waiting part and one on its way.
async fn backed_up(dir: &Path, file: &Path) -> std::path::PathBuf {
    let journal = open(dir);
    journal.commit(vec![message("NEW"), message("ADMITTED"), message("DONE")]).await.expect("committed");
    journal.decide(&message("ADMITTED").key(), InboundState::Admitted, serde_json::json!({})).await.expect("decided");
    journal.answer(vec![message("DONE").key()], vec![part("ACKED", Some(&message("DONE")))]).await.expect("answered");
    journal.mark_soon(AccountId::new("work"), MessageId::new("ACKED"), OutboxState::Acked, None);
    let media = MediaFile::new(MediaKind::Image, "image/png", file, 1);
    let picture =
        OutboxPart { content: Outgoing::Media { media, caption: None, quote: None }, ..part("PICTURE", None) };
    journal.enqueue(vec![part("WAITS", None), picture]).await.expect("queued");
    let to = dir.join("copy.db");
    let copied = copy::copy(&dir.join("state.db"), &to).expect("copied while it is open").expect("a journal");
    assert_eq!(copied.files, [file]);
    let entry = copied.entry;
    assert_eq!((entry.inbound, entry.outbox, entry.messages, entry.open, entry.waiting), (3, 3, 3, 2, 2));
    assert_eq!(copy::entry(&to).expect("read"), entry);
    assert!(copy::is_contained(&dir.join("state.db"), &to).expect("read"));
    journal.commit(vec![message("LATER")]).await.expect("committed");
    assert!(!copy::is_contained(&dir.join("state.db"), &to).expect("read"), "it went on");
    journal.close().await;
    copy::check(&to).expect("whole");
    let restored = dir.join("restored");
    std::fs::create_dir(&restored).expect("made");
    std::fs::rename(to, restored.join("state.db")).expect("moved");
    restored
}

#[tokio::test]
async fn what_was_open_in_a_backup_is_not_done_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let restored = backed_up(dir.path(), Path::new("/old/media/outbound/x")).await;
    let db = restored.join("state.db");
    let open_rows = copy::settle(&db, 5_000, false, Path::new("/old"), Path::new("/new")).expect("settled");
    assert_eq!(open_rows, copy::Open { messages: 2, parts: 2 });
    assert!(!restored.join("state.db-wal").exists(), "one file");
    let journal = open(&restored);
    assert!(unanswered(&journal).await.is_empty() && waiting(&journal, "work").await.is_empty());
    for id in ["NEW", "ADMITTED"] {
        let found = journal.get_by_message_id(&MessageId::new(id)).await.expect("read");
        assert_eq!(found[0]["inbound"]["decision"]["verdict"]["reason"], "restored", "{found:?}");
    }
    let part = journal.get_by_message_id(&MessageId::new("WAITS")).await.expect("read");
    assert!(part[0]["outgoing"]["cause"].as_str().expect("a cause").contains("backed up"), "{part:?}");
    let again = outbox(&journal, "work").unconfirmed(0, 10_000).await.expect("read");
    assert!(again.is_empty(), "nor is an unconfirmed text sent once more");
    journal.close().await;
}

#[tokio::test]
async fn what_was_open_is_done_when_the_old_gateway_stopped_there() {
    let dir = tempfile::tempdir().expect("temp dir");
    let restored = backed_up(dir.path(), Path::new("/old/media/outbound/x")).await;
    copy::settle(&restored.join("state.db"), 5_000, true, Path::new("/old"), Path::new("/new")).expect("settled");
    let journal = open(&restored);
    assert_eq!(unanswered(&journal).await, ["NEW", "ADMITTED"]);
    assert_eq!(waiting(&journal, "work").await, ["WAITS", "PICTURE"]);
    assert_eq!(journal.files_in_use().await.expect("read"), [Path::new("/new/media/outbound/x")]);
    journal.close().await;
}

#[tokio::test]
async fn what_was_said_lately_is_not_said_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let clock = Clock::manual(1_000_000);
    let journal = Journal::open(&dir.path().join("state.db"), clock.clone()).expect("opens");
    let mut sent = Vec::new();
    for (n, passes) in [0, 599_999, 1, 1].into_iter().enumerate() {
        clock.pass(passes);
        let m = message(&format!("M{n}"));
        journal.commit(vec![m.clone()]).await.expect("written");
        let id = format!("P{n}");
        let once = Once { fact: "said:error:work:77@lid".into(), every_ms: 600_000, parts: vec![part(&id, Some(&m))] };
        let turn = Turn { keys: vec![m.key()], all: Vec::new(), over: Vec::new(), outcome: None };
        assert!(journal.answer_turns(vec![turn], Vec::new(), vec![once]).await.expect("settled"));
        let found = journal.get_by_message_id(&MessageId::new(id.as_str())).await.expect("read");
        sent.push(!found.is_empty());
    }
    assert_eq!(sent, [true, false, true, false]);
}

#[tokio::test]
async fn a_message_whose_run_failed_is_shown_as_failed_and_stays_settled() {
    use crate::disclosure::{Failure, FailureKind, Outcome};
    let dir = tempfile::tempdir().expect("temp dir");
    let journal = open(dir.path());
    let sessions = [SessionKey::new("agent:a:main"), SessionKey::new("agent:b:main")];
    let failed = Outcome::of(Failure::new(FailureKind::Timeout, "p", "too slow"));
    let answered = Outcome::Answered { unsent: Vec::new() };
    for (id, second, state) in [("M", failed.clone(), "failed"), ("N", answered, "answered")] {
        let m = message(id);
        journal.commit(vec![m.clone()]).await.expect("written");
        journal.decide(&m.key(), InboundState::Admitted, serde_json::json!({"verdict": {}})).await.expect("decided");
        for (session, outcome) in sessions.iter().zip([failed.clone(), second]) {
            let turn = Turn {
                keys: vec![m.key()],
                all: sessions.to_vec(),
                over: vec![session.clone()],
                outcome: Some(outcome),
            };
            journal.answer_turns(vec![turn], Vec::new(), Vec::new()).await.expect("settled");
        }
        let row = journal.get_by_message_id(&m.id).await.expect("read").remove(0);
        assert_eq!(row["inbound"]["state"], state, "{row:#}");
        assert_eq!(row["inbound"]["decision"]["outcomes"].as_array().map(Vec::len), Some(2));
    }
    assert!(unanswered(&journal).await.is_empty());
}

#[tokio::test]
async fn a_restored_journal_brings_no_statements_of_its_own() {
    for (statement, name) in [
        ("CREATE TRIGGER evil AFTER UPDATE ON outbox BEGIN UPDATE outbox SET chat = 'other'; END", "evil"),
        ("CREATE VIEW looks AS SELECT * FROM inbound", "looks"),
        ("CREATE TABLE more(x)", "more"),
        ("ALTER TABLE outbox ADD COLUMN extra TEXT AS (upper(id)) VIRTUAL", "outbox"),
        ("DROP INDEX inbound_chat", "inbound_chat"),
    ] {
        let dir = tempfile::tempdir().expect("temp dir");
        let db = backed_up(dir.path(), Path::new("/old/media/outbound/x")).await.join("state.db");
        rusqlite::Connection::open(&db).and_then(|db| db.execute_batch(statement)).expect("changed");
        let refused = copy::check(&db).expect_err(name).to_string();
        assert!(refused.contains(name), "{refused}");
        let settled = copy::settle(&db, 5_000, true, Path::new("/old"), Path::new("/new"));
        assert!(settled.expect_err("refused").to_string().contains(name));
    }
}

#[tokio::test]
async fn a_restored_part_sends_no_file_from_elsewhere() {
    for file in ["/etc/passwd", "/old/gateway.token", "/old/media/outbound/../../gateway.token", "/new/media/inbound/x"]
    {
        let dir = tempfile::tempdir().expect("temp dir");
        let restored = backed_up(dir.path(), Path::new(file)).await;
        copy::settle(&restored.join("state.db"), 5_000, true, Path::new("/old"), Path::new("/new")).expect("settled");
        let journal = open(&restored);
        assert_eq!(waiting(&journal, "work").await, ["WAITS"], "{file}");
        let part = journal.get_by_message_id(&MessageId::new("PICTURE")).await.expect("read");
        assert!(part[0]["outgoing"]["cause"].as_str().expect("a cause").contains("outside media/outbound"), "{part:?}");
        journal.close().await;
    }
}
