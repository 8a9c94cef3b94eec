//! `verso message`: what a person types, and what the contact's phone shows of it.

use serde_json::Value;
use wa_simulator::World;

use crate::process::{Process, alone, state};

const OPEN: &str = "channels: { whatsapp: { dmPolicy: 'disabled', pacing: { gapMs: 0, perMinute: 0, firstContactSeconds: 0 }, accounts: { work: {} } } }";
const ANN: &str = "+15557654321";

/// The smallest thing that is recognised as a film.
const FILM: &[u8] = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\x08free";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_sends_reacts_polls_edits_and_takes_back() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact(ANN, "Ann"));
    let gateway = Process::start(&world, state(OPEN)).await;
    gateway.link(&world, &work).await;
    let run = async |words: &[&str]| {
        let done = gateway.run(&world, &[&["message", words[0], "-t", ANN], &words[1..]].concat()).await;
        assert!(done.status.success(), "{words:?}: {done:?}");
        String::from_utf8(done.stdout).expect("text")
    };
    let (note, film) = (gateway.folder().join("note.txt"), gateway.folder().join("film.mp4"));
    std::fs::write(&note, "a note").expect("written");
    std::fs::write(&film, FILM).expect("written");
    let (note, film) = (note.display().to_string(), film.display().to_string());

    let sent = run(&["send", "-m", "- look", "--media", &note, "--media", &film, "--gif-playback", "--json"]).await;
    let sent: Value = serde_json::from_str(&sent).expect("JSON");
    let last = ann.expect_message(|r| r.message.video_message.is_set()).await.expect("delivered");
    assert_eq!(
        (&sent["handledBy"], &sent["payload"]["result"]["messageId"]),
        (&"gateway".into(), &last.id.as_str().into())
    );
    assert_eq!(last.message.video_message.gif_playback, Some(true));
    let first = world.media().open(&ann.shown()[0].message).expect("opens").expect("a file");
    assert_eq!((first.bytes.as_slice(), first.caption.as_deref()), (&b"a note"[..], Some("• look")));

    let asked = ann.says(&work, "who is there?");
    ann.expect_receipt(&asked, wa_simulator::ReceiptKind::Delivered).await.expect("written down");
    run(&["send", "-m", "me", "--reply-to", &asked]).await;
    let answer = ann.expect_text("me").await.expect("delivered");
    assert_eq!(answer.message.extended_text_message.context_info.stanza_id.as_deref(), Some(&*asked));

    assert_eq!(run(&["react", "--message-id", &asked, "--emoji", "👍"]).await, "✅ Reaction added: 👍\n");
    assert_eq!(ann.expect_reaction(&asked).await.expect("seen").emoji, "👍");
    assert_eq!(run(&["react", "--message-id", &asked, "--emoji", "👍", "--remove"]).await, "✅ Reaction removed.\n");
    assert_eq!(ann.expect_reaction(&asked).await.expect("seen").emoji, "");

    run(&["poll", "--poll-question", "Lunch?", "--poll-option", "yes", "--poll-option", "no", "--poll-multi"]).await;
    let poll = ann.expect_message(|r| r.message.poll_creation_message.is_set()).await.expect("seen");
    assert_eq!(poll.message.poll_creation_message.selectable_options_count, Some(2));

    assert_eq!(run(&["edit", "--message-id", &answer.id, "-m", "it is me"]).await, "✅ Message edited.\n");
    let edited = ann.expect_message(|r| r.message.protocol_message.edited_message.is_set()).await.expect("seen");
    assert_eq!(edited.message.protocol_message.key.id.as_deref(), Some(&*answer.id));
    assert_eq!(run(&["delete", "--message-id", &answer.id]).await, "✅ Message deleted.\n");
    let gone = |r: &wa_simulator::Received| {
        r.message.protocol_message.is_set() && !r.message.protocol_message.edited_message.is_set()
    };
    ann.expect_message(gone).await.expect("seen");

    // What is only tried out reaches nobody.
    let before = ann.shown().len();
    for words in [
        &["send", "-m", "x"][..],
        &["react", "--message-id", &asked, "--emoji", "👍"],
        &["poll", "--poll-question", "Q", "--poll-option", "a", "--poll-option", "b"],
        &["edit", "--message-id", &answer.id, "-m", "x"],
        &["delete", "--message-id", &answer.id],
    ] {
        let told = run(&[words, &["--dry-run"]].concat()).await;
        assert_eq!(told, format!("[dry-run] would {} to 15557654321@s.whatsapp.net via whatsapp\n", words[0]));
    }
    run(&["send", "-m", "marker"]).await;
    ann.expect_text("marker").await.expect("delivered");
    assert_eq!(ann.shown().len(), before + 1);

    // Mistakes are one sentence each, and nothing is sent.
    for (words, wanted) in [
        (&["edit", "--message-id", &asked, "-m", "mine"][..], "written by somebody else"),
        (&["delete", "--message-id", &asked], "only own messages can be deleted in a direct chat"),
        (&["react", "--message-id", &asked, "--emoji", "lol"], "\"lol\" is not one emoji"),
        (&["send", "-m", "x", "--media", "/no/such"], "cannot read /no/such: there is no such file"),
        (&["send", "-m", "x", "--account", "nope"], "unknown account \"nope\"; configured: work"),
    ] {
        let refused = gateway.run(&world, &[&["message", words[0], "-t", ANN], &words[1..]].concat()).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.starts_with("error: ") && said.contains(wanted), "{words:?}: {said}");
    }
    assert_eq!(ann.shown().len(), before + 1);
    let folder = gateway.kill();
    let alone = alone(folder.path(), &world, &["message", "send", "-t", ANN, "-m", "x", "--dry-run", "--json"]).await;
    let told: Value = serde_json::from_slice(&alone.stdout).expect("JSON, also without a gateway");
    assert_eq!((&told["dryRun"], &told["payload"]["toJid"]), (&true.into(), &"15557654321@s.whatsapp.net".into()));
}
