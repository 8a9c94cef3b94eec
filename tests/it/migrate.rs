//! `verso migrate openclaw`: state folders as the original leaves them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use verso::clock::Clock;
use verso::store::journal::Journal;
use wa_simulator::World;

use crate::baileys_folder::{command, fixture, said, verso};
use crate::support::GatewayFixture;
use crate::support::model::Model;
use crate::transfer::export;

fn write(path: PathBuf, text: impl AsRef<str>) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, text.as_ref()).expect("written");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("readable").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Every file and folder below `dir`: name, mode, time of the last change, bytes.
fn digest(dir: &Path) -> Vec<(PathBuf, u32, i64, i64, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable").flatten() {
            let (path, meta) = (entry.path(), entry.metadata().expect("there"));
            let bytes = if meta.is_file() { fs::read(&path).expect("readable") } else { Vec::new() };
            if meta.is_dir() {
                folders.push(path.clone());
            }
            all.push((path, meta.mode(), meta.mtime(), meta.mtime_nsec(), bytes));
        }
    }
    all.sort();
    all
}

/// A transcript as the original writes it: a tree of lines, of which the last one ends the conversation.
fn transcript(said: &[(&str, &str)]) -> String {
    let mut lines =
        vec![json!({"type": "session", "version": 3, "id": "s", "timestamp": "2026-02-09T10:00:00.000Z", "cwd": "/"})];
    lines.push(json!({"type": "model_change", "id": "m", "parentId": null, "timestamp": "2026-02-09T10:00:00.000Z"}));
    let mut parent = "m".to_owned();
    for (n, (role, text)) in said.iter().enumerate() {
        let id = format!("{n:08x}");
        let message = json!({"role": role, "content": [{"type": "text", "text": text}], "timestamp": 1_770_631_200_000_i64 + n as i64});
        lines.push(json!({"type": "message", "id": id, "parentId": parent, "timestamp": "2026-02-09T10:00:01.000Z", "message": message}));
        parent = id;
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn migrate_says_what_it_does_not_find() {
    let state = tempfile::tempdir().expect("temp dir");
    let (ok, said) = verso(state.path(), &["migrate", "openclaw"]);
    assert!(!ok && said.contains(".openclaw is no folder") && said.contains("--from"), "{said}");
    // Two accounts, one with a folder of its own inside the old state; a key that nobody knows.
    let old = state.path().join(".openclaw");
    let auth = old.join("own/place");
    fs::create_dir_all(&auth).expect("made");
    for entry in fs::read_dir(fixture().path()).expect("readable").flatten() {
        fs::copy(entry.path(), auth.join(entry.file_name())).expect("copied");
    }
    let config = json!({"channels": {"whatsapp": {"dmPolicy": "pairing", "nonsense": 1, "accounts": {
        "work": {"authDir": auth}, "home": {"enabled": false}}}}});
    fs::write(old.join("openclaw.json"), config.to_string()).expect("written");
    let (ok, said) = verso(state.path(), &["migrate", "openclaw"]);
    assert!(
        ok && said.contains("- link work: 15550100010:1@s.whatsapp.net")
            && said.contains("- link home: it was not linked there"),
        "{said}"
    );
    assert!(said.contains("nonsense"), "{said}");
    let written = fs::read_to_string(state.path().join("verso.json")).expect("written");
    assert!(!written.contains("authDir") && !written.contains("nonsense"), "{written}");
    assert!(state.path().join("credentials/whatsapp/work/signal.db").is_file());
    assert!(auth.join("creds.json").is_file(), "the old files stay");
    let (ok, said) = verso(state.path(), &["migrate", "openclaw"]);
    assert!(
        ok && said.contains("is there already; --force replaces it") && said.contains("is linked already"),
        "{said}"
    );
}

/// Two accounts, a folder of its own outside the state, parts of the configuration in other files, an older name of everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_direct_chat_and_a_group_go_on_with_what_was_said_before() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let group = world.group("Lunch", &ann, &[&work]);
    let before = GatewayFixture::start(
        &world,
        "{ channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], groups: { '*': { requireMention: false } }, accounts: { work: {} } } } }",
    )
    .await;
    before.link("work", &work).await;
    ann.says(&work, "first");
    ann.expect_text("first").await.expect("answered");
    let before = before.stop().await;

    let home = tempfile::tempdir().expect("temp dir");
    let old = home.path().join(".clawdbot");
    let elsewhere = home.path().join("accounts/wa-work");
    fs::create_dir_all(elsewhere.parent().expect("a folder")).expect("made");
    export(&before.path().join("credentials/whatsapp/work"), &elsewhere).await.expect("exported");
    let mut model = Model::start("noted").await;
    write(
        old.join("clawdbot.json"),
        format!(
            "{{ // of a person\n {}, gateway: {{ mode: 'local', port: 18789 }},
             env: {{ vars: {{ OWNER_NAME: 'Olga' }} }}, session: {{ mainKey: 'home' }},
             whatsapp: {{ $include: './whatsapp.json' }},
             channels: {{ telegram: {{ botToken: '${{TELEGRAM_BOT_TOKEN}}' }} }} }}",
            model.config().replace("model: 'local/tiny'", "model: { primary: 'local/tiny' }")
        ),
    );
    write(
        old.join("whatsapp.json"),
        "{ groups: { '*': { requireMention: true } }, $include: ['./rules.json'], nonsense: 1 }",
    );
    let accounts = json!({"Work": {"authDir": elsewhere, "name": "${OWNER_NAME}"}, "spare": {"enabled": false}});
    write(
        old.join("rules.json"),
        json!({"dmPolicy": "pairing", "allowFrom": [ann.number()], "groupPolicy": "open", "accounts": accounts})
            .to_string(),
    );
    write(
        old.join("credentials/whatsapp-allowFrom.json"),
        json!({"version": 1, "allowFrom": [ann.number()]}).to_string(),
    );
    let sessions = old.join("agents/main/sessions");
    let group_key = format!("agent:main:whatsapp:group:{}", group.jid());
    write(
        sessions.join("sessions.json"),
        json!({
            "agent:main:main": {"sessionId": "1f0c-dm", "updatedAt": 1, "chatType": "direct", "channel": "whatsapp"},
            group_key: {"sessionId": "2e9d-group", "updatedAt": 1, "chatType": "group", "groupActivation": "always"},
            "agent:main:telegram:direct:7": {"sessionId": "3"},
        })
        .to_string(),
    );
    write(
        sessions.join("1f0c-dm.jsonl"),
        transcript(&[("user", "my cat is called Mia"), ("assistant", "a fine name")]),
    );
    write(sessions.join("2e9d-group.jsonl"), transcript(&[("user", "we meet at noon"), ("assistant", "noon it is")]));
    write(old.join("agents/main/agent/auth-profiles.json"), "{}");
    write(old.join("workspace/SOUL.md"), "be kind");

    let state = tempfile::tempdir().expect("temp dir");
    let migrate = |words: &[&str]| {
        let (ok, text) = said(command(home.path(), state.path()).args(["migrate", "openclaw"]).args(words));
        assert!(ok, "{text}");
        text
    };
    let of_both = || (digest(home.path()), digest(state.path()));
    let untouched = of_both();
    let plan: Value = serde_json::from_str(&migrate(&["--dry-run", "--json"])).expect("JSON");
    assert!(untouched == of_both(), "a dry run writes nothing");
    let did: Value = serde_json::from_str(&migrate(&["--json"])).expect("JSON");
    assert_eq!(plan["done"], did["done"], "it does what it said");
    let moved: Vec<&str> = did["done"].as_array().expect("a list").iter().filter_map(|d| d["what"].as_str()).collect();
    assert_eq!(moved, ["config", "pairing", "link", "sessions"], "{did:#}");
    assert!(untouched.0 == digest(home.path()), "the original's files stay as they are");
    let left = did["left"].to_string();
    for told in [
        "nonsense",
        "$include",
        "OWNER_NAME",
        "auth-profiles.json",
        "workspace",
        "it was not linked there",
        "1 of other channels",
    ] {
        assert!(left.contains(told), "{told}: {left}");
    }
    assert!(!left.contains("TELEGRAM"), "what is not served needs no variable: {left}");

    let written = state.path().join("verso.json");
    let text = fs::read_to_string(&written).expect("written");
    assert!(text.contains("// of a person") && text.contains("${OWNER_NAME}") && !text.contains("authDir"), "{text}");
    // The variable that it names is not set for this process.
    fs::write(&written, text.replace("${OWNER_NAME}", "Olga")).expect("written");
    let untouched = of_both();
    let again = migrate(&["--dry-run"]);
    assert!(untouched == of_both() && again.contains("they go on here already"), "{again}");
    assert!(migrate(&[]).contains("- nothing"), "twice is safe");

    let gateway = GatewayFixture::start_in(&world, state).await;
    gateway.wait_state("work", "connected").await;
    ann.says(&work, "what is my cat called?");
    let heard = model.conversation().await;
    for (n, earlier) in ["my cat is called Mia", "a fine name"].iter().enumerate() {
        assert!(heard[heard.len() - 3 + n].contains(earlier), "{earlier}: {heard:?}");
    }
    ann.expect_text("noted").await.expect("answered");
    // Nobody is mentioned: the group was set to answer always.
    ann.says_in(&group, "when do we meet?", &[]);
    let heard = model.conversation().await;
    for (n, earlier) in ["we meet at noon", "noon it is"].iter().enumerate() {
        assert!(heard[heard.len() - 3 + n].contains(earlier), "{earlier}: {heard:?}");
    }
    assert!(!heard.iter().any(|line| line.contains("Mia")), "each chat has its own: {heard:?}");
    drop(gateway);
}

/// Whoever opens a database that a dead process left makes its shared memory anew.
#[tokio::test]
async fn a_dry_run_changes_nothing_of_a_journal_whose_log_is_not_brought_in() {
    let (home, live, state) = (tempfile::tempdir(), tempfile::tempdir(), tempfile::tempdir());
    let (home, live, state) = (home.expect("temp dir"), live.expect("temp dir"), state.expect("temp dir"));
    let old = home.path().join(".openclaw");
    write(old.join("openclaw.json"), "{}");
    let sessions = old.join("agents/main/sessions");
    write(sessions.join("sessions.json"), r#"{"agent:main:main": {"sessionId": "a-1"}}"#);
    write(sessions.join("a-1.jsonl"), transcript(&[("user", "hello"), ("assistant", "hi")]));
    let journal = Journal::open(&live.path().join("state.db"), Clock::System).expect("opened");
    journal.put("session:agent:main:main", "b-2").await.expect("written");
    copy(live.path(), state.path());
    let log = fs::metadata(state.path().join("state.db-wal")).expect("a log");
    assert!(log.len() > 0 && state.path().join("state.db-shm").is_file(), "as a dead process leaves it");
    let before = digest(state.path());
    let (ok, text) = said(command(home.path(), state.path()).args(["migrate", "openclaw", "--dry-run"]));
    assert!(ok && text.contains("sessions 1: they go on here already"), "{text}");
    assert!(before == digest(state.path()), "a dry run changes nothing");
    journal.close().await;
}

#[test]
fn a_gateway_of_the_original_that_runs_is_noticed() {
    let home = tempfile::tempdir().expect("temp dir");
    let state = tempfile::tempdir().expect("temp dir");
    let old = home.path().join(".openclaw");
    let auth = old.join("credentials/whatsapp/default");
    copy(fixture().path(), &auth);
    write(old.join("openclaw.json"), "{}");
    let note = home.path().join("openclaw-1000/gateway.0a1b2c3d.lock");
    let config = old.join("openclaw.json");
    let lives = |pid: u32| {
        write(note.clone(), json!({"pid": pid, "createdAt": "2026-02-09T10:00:00Z", "configPath": config}).to_string())
    };
    let run = |words: &[&str]| said(command(home.path(), state.path()).args(words));
    lives(std::process::id());
    let from = auth.to_str().expect("text");
    for words in [&["migrate", "openclaw"][..], &["channels", "import", "--from", from]] {
        let (ok, text) = run(words);
        let pid = format!("(process {})", std::process::id());
        assert!(!ok && text.contains(&pid) && text.contains("stop it first") && text.contains("--force"), "{text}");
        assert!(!state.path().join("verso.json").exists() && !state.path().join("credentials").exists());
    }
    let (ok, text) = run(&["migrate", "openclaw", "--dry-run"]);
    assert!(ok && text.contains("has to be stopped"), "{text}");
    let (ok, text) = run(&["channels", "import", "--from", from, "--force"]);
    assert!(ok && text.contains("Imported"), "{text}");
    let mut dead = std::process::Command::new("true").spawn().expect("runs");
    dead.wait().expect("ended");
    lives(dead.id());
    let (ok, text) = run(&["migrate", "openclaw"]);
    assert!(ok && text.contains("Moved from"), "{text}");
}
