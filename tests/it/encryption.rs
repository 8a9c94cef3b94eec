//! Credentials sealed at rest: links made sealed, turned over, locked out, changed over to another key, cut off.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use verso::clock::Clock;
use verso::config::model::{EncryptionConfig, KeySource};
use verso::ids::AccountId;
use verso::whatsapp::baileys::{Taking, export, import};
use verso::whatsapp::seal::{self, MasterKey, SealedFolder};
use wa_simulator::{Group, Phone, World};

use crate::baileys_folder::{command, fixture, said};
use crate::process::{self, Process};
use crate::support::GatewayFixture;

const ACCOUNT: &str =
    "channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], groups: { '*': { requireMention: false } },
    accounts: { work: {} } } }";
const ANN: &str = "15557654321";

fn plain() -> String {
    format!("{{ {ACCOUNT} }}")
}

fn sealed(key: &str, previous: &[&str]) -> String {
    let source = |name: &str| format!("{{ source: 'file', id: '{name}' }}");
    let previous: Vec<String> = previous.iter().map(|name| source(name)).collect();
    format!(
        "{{ credentials: {{ encryption: {{ key: {}, previous: [{}] }} }}, {ACCOUNT} }}",
        source(key),
        previous.join(", ")
    )
}

/// A key file in the state folder; its fingerprint.
fn make_key(state: &Path, name: &str) -> String {
    let key = MasterKey::fresh().expect("random");
    fs::write(state.join(name), key.as_bytes()).expect("written");
    MasterKey::parse(key.as_bytes()).expect("a key").fingerprint()
}

fn state(config: &str) -> tempfile::TempDir {
    let state = tempfile::tempdir().expect("temp dir");
    fs::write(state.path().join("verso.json"), config).expect("written");
    state
}

fn account(state: &Path) -> PathBuf {
    state.join("credentials/whatsapp/work")
}

/// A word to the account and one in the group, both answered by echo.
async fn chat(ann: &Phone, work: &Phone, group: &Group, word: &str) {
    let (direct, shared) = (format!("{word} directly"), format!("{word} in the group"));
    ann.says(work, &direct);
    ann.expect_text(direct.clone()).await.unwrap_or_else(|e| panic!("{direct}: {e}"));
    ann.says_in(group, &shared, &[]);
    ann.expect_text(shared.clone()).await.unwrap_or_else(|e| panic!("{shared}: {e}"));
}

fn retries(world: &World) -> usize {
    world.trace().iter().filter(|entry| entry.xml.contains("type=\"retry\"")).count()
}

/// The private keys of a plain folder in every form in which they may lie around, and what stands in its tables about Ann.
fn secrets(dir: &Path) -> Vec<Vec<u8>> {
    let creds: Value = serde_json::from_slice(&fs::read(dir.join("creds.json")).expect("read")).expect("JSON");
    let mut found = vec![ANN.as_bytes().to_vec()];
    for name in ["noise_key", "identity_key", "signed_pre_key", "adv_secret_key"] {
        let bytes: Vec<u8> = serde_json::from_value(creds["device"][name].clone()).expect("a key in the clear");
        let private = &bytes[..32];
        found.push(private.to_vec());
        found.push(serde_json::to_string(private).expect("JSON").trim_matches(['[', ']']).as_bytes().to_vec());
    }
    let database = rusqlite_rows(&dir.join("signal.db"));
    assert!(database.len() > 2, "sessions, pre-keys, sender keys");
    found.extend(database.into_iter().map(|bytes| bytes[bytes.len() - 32..].to_vec()));
    found
}

/// Values of the plain tables, through the system's own reader of the file.
fn rusqlite_rows(path: &Path) -> Vec<Vec<u8>> {
    let database = rusqlite::Connection::open(path).expect("opens");
    let mut rows = Vec::new();
    for sql in ["SELECT record FROM sessions", "SELECT key FROM prekeys LIMIT 3", "SELECT record FROM sender_keys"] {
        let mut select = database.prepare(sql).expect("a plain table");
        let found = select.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("rows");
        rows.extend(found.flatten().filter(|bytes| bytes.len() > 64));
    }
    rows
}

/// Files of the folder in which one of the secrets stands.
fn holding(dir: &Path, secrets: &[Vec<u8>]) -> Vec<String> {
    let files = fs::read_dir(dir).expect("readable").flatten().filter(|f| f.path().is_file());
    let holds = |path: &Path| {
        let bytes = fs::read(path).expect("readable");
        secrets.iter().any(|secret| bytes.windows(secret.len()).any(|window| window == secret))
    };
    files.filter(|f| holds(&f.path())).map(|f| f.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turning_it_on_seals_the_link_that_is_there_and_off_is_told() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let group = world.group("Lunch", &ann, &[&work]);
    let gateway = GatewayFixture::start(&world, &plain()).await;
    gateway.link("work", &work).await;
    chat(&ann, &work, &group, "plain").await;
    let dir = account(&gateway.state);
    let folder = gateway.stop().await;
    let known = secrets(&dir);
    assert!(holding(&dir, &known).len() >= 2, "the plain files hold them");
    let asked = retries(&world);
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    let fingerprint = make_key(&gateway.state, "verso.key");
    gateway.edit(&sealed("verso.key", &[])).await;
    assert_eq!(gateway.status().await.last_reload["accounts"]["work"], "relinked");
    gateway.wait_state("work", "connected").await;
    chat(&ann, &work, &group, "sealed").await;
    assert_eq!(holding(&dir, &known), Vec::<String>::new(), "while it is connected");
    let found = seal::status(&dir);
    assert!(found.complete && found.key.as_deref() == Some(&fingerprint), "{found:?}");
    let folder = gateway.stop().await;
    assert_eq!(holding(&dir, &known), Vec::<String>::new(), "at rest");
    // A restart goes on.
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    chat(&ann, &work, &group, "again").await;
    assert_eq!(retries(&world), asked, "every session went on");
    // Off while it is sealed: told, and nothing is touched.
    gateway.edit(&plain()).await;
    let status = gateway.wait_state("work", "locked").await;
    assert!(status.linked, "{status:?}");
    assert!(status.state_text.contains(&fingerprint) && status.state_text.contains("account work"), "{status:?}");
    let receipt = gateway.status().await.last_reload["warnings"].to_string();
    assert!(receipt.contains(&fingerprint), "the receipt says it too: {receipt}");
    // Another key: both are named. The right one again: it connects, all without a restart.
    let other = make_key(&gateway.state, "other.key");
    gateway.edit(&sealed("other.key", &[])).await;
    let both = |s: &verso::actors::messages::GatewayStatus| {
        let text = &s.accounts[0].state_text;
        text.contains(&other) && text.contains(&fingerprint)
    };
    gateway.wait("both fingerprints", both).await;
    gateway.edit(&sealed("nowhere.key", &[])).await;
    gateway.wait("the missing file", |s| s.accounts[0].state_text.contains("nowhere.key")).await;
    // Changed over: the old key is listed once and not needed any more afterwards.
    gateway.edit(&sealed("other.key", &["verso.key"])).await;
    gateway.wait_state("work", "connected").await;
    assert_eq!(seal::status(&dir).key.as_deref(), Some(other.as_str()));
    gateway.edit(&sealed("other.key", &[])).await;
    gateway.wait_state("work", "connected").await;
    chat(&ann, &work, &group, "with the new key").await;
    assert_eq!((work.devices().len(), retries(&world)), (1, asked), "one link all the way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_made_sealed_never_lies_open_and_a_login_beside_it_replaces_it() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let group = world.group("Lunch", &ann, &[&work]);
    let folder = state(&sealed("verso.key", &[]));
    let gateway = GatewayFixture::start_in(&world, folder).await;
    let refused = gateway.login("work", false, None).await;
    let told = format!("{refused:?} {:?}", gateway.status().await.accounts[0].state_text);
    assert!(told.contains("verso.key") && told.contains("verso credentials key"), "{told}");
    make_key(&gateway.state, "verso.key");
    gateway.link("work", &work).await;
    chat(&ann, &work, &group, "from the start").await;
    let dir = account(&gateway.state);
    assert_eq!(holding(&dir, &[ANN.as_bytes().to_vec()]), Vec::<String>::new());
    let creds = fs::read_to_string(dir.join("creds.json")).expect("read");
    assert!(creds.contains("15550001111") && !creds.contains("noise_key"), "{creds}");
    // A login by force beside it.
    let Ok(verso::actors::messages::LoginStarted::Qr { code, .. }) = gateway.login("work", true, None).await else {
        panic!("no code");
    };
    work.scan_qr(&code).await.expect("links");
    gateway.login_end("work").await;
    gateway.wait_state("work", "connected").await;
    chat(&ann, &work, &group, "after linking anew").await;
    assert!(seal::status(&dir).complete, "{:?}", seal::status(&dir));
    let gateway = GatewayFixture::start_in(&world, gateway.stop().await).await;
    gateway.wait_state("work", "connected").await;
    chat(&ann, &work, &group, "after a restart").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_link_moves_out_and_in_again() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let group = world.group("Lunch", &ann, &[&work]);
    let folder = state(&sealed("verso.key", &[]));
    make_key(folder.path(), "verso.key");
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.link("work", &work).await;
    chat(&ann, &work, &group, "before").await;
    let folder = gateway.stop().await;
    let dir = account(folder.path());
    let id = AccountId::new("work");
    let key = KeySource::File(folder.path().join("verso.key"));
    let encryption = EncryptionConfig { key, previous: Vec::new() };
    let baileys = tempfile::tempdir().expect("temp dir");
    let out = baileys.path().join("out");
    let locked = SealedFolder { dir: &dir, account: &id, encryption: None };
    let told = export(locked, &out).await.expect_err("locked").to_string();
    assert!(told.contains("are sealed with key"), "{told}");
    let report = export(SealedFolder { encryption: Some(&encryption), ..locked }, &out).await.expect("exported");
    assert!(report.sessions > 0 && report.pre_keys > 0 && report.sender_keys > 0, "{report:?}");
    assert!(!dir.join("data-key.json").exists() && dir.join("data-key.json.exported").is_file());
    import(&out, &dir, Taking { force: true, fresh_sessions: false }, Clock::System.now()).await.expect("imported");
    let asked = retries(&world);
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    chat(&ann, &work, &group, "after").await;
    assert_eq!((work.devices().len(), retries(&world)), (1, asked), "every session went on");
    assert!(seal::status(&dir).complete, "{:?}", seal::status(&dir));
    // The files of before once more over the sealed link: its own keys are not rolled back.
    let folder = gateway.stop().await;
    for file in fs::read_dir(&out).expect("readable").flatten() {
        fs::copy(file.path(), dir.join(file.file_name())).expect("copied");
    }
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("work", "connected").await;
    chat(&ann, &work, &group, "in place").await;
    assert_eq!((work.devices().len(), retries(&world)), (1, asked), "every session went on");
    assert!(seal::status(&dir).complete, "{:?}", seal::status(&dir));
    // What is left of them lies beside in the clear: the owner is told the command that deletes it, and it does.
    let told = verso(&gateway.state, &world, &["credentials", "status"]).await.1;
    let (_, delete) = told.split_once("hold keys in the clear; when you need them no more: ").expect("told");
    assert!(delete.starts_with("rm -r '"), "{told}");
    let command = delete.lines().next().expect("a command");
    assert!(std::process::Command::new("sh").args(["-c", command]).status().expect("runs").success(), "{command}");
    let told = verso(&gateway.state, &world, &["credentials", "status"]).await.1;
    assert!(told.contains("work: sealed with key") && !told.contains("in the clear"), "{told}");
    assert_eq!(seal::status(&dir).plain_copies, Vec::<String>::new());
}

/// The command line of the program in a state folder.
async fn verso(state: &Path, world: &World, words: &[&str]) -> (bool, String) {
    let out = process::alone(state, world, words).await;
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.success(), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_makes_keys_rotates_and_unseals() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let config = |encryption: &str| format!("{encryption} {ACCOUNT}");
    let on = "credentials: { encryption: { key: { source: 'file', id: 'verso.key' } } },";
    let folder = process::state(&config(on));
    let (made, key) = verso(folder.path(), &world, &["credentials", "key"]).await;
    assert!(made && key.trim().len() == 44, "{key}");
    fs::write(folder.path().join("verso.key"), &key).expect("written");
    let fingerprint = MasterKey::parse(key.as_bytes()).expect("a key").fingerprint();
    let gateway = Process::start(&world, folder).await;
    gateway.link(&world, &work).await;
    ann.says(&work, "one");
    ann.expect_text("one").await.expect("answered");
    let (done, told) = verso(gateway.folder(), &world, &["credentials", "rotate"]).await;
    assert!(!done && told.contains("channels stop --account work"), "{told}");
    let folder = gateway.kill();
    let dir = account(folder.path());
    let before = fs::read(dir.join("data-key.json")).expect("read");
    let (done, told) = verso(folder.path(), &world, &["credentials", "rotate", "--account", "work"]).await;
    assert!(done && told.contains("work: sealed with a fresh data key"), "{told}");
    assert_ne!(fs::read(dir.join("data-key.json")).expect("read"), before);
    let (_, told) = verso(folder.path(), &world, &["credentials", "status", "--json"]).await;
    let value: Value = serde_json::from_str(&told).unwrap_or_else(|e| panic!("{e}: {told}"));
    assert_eq!(value["accounts"][0]["key"], fingerprint.as_str(), "{told}");
    assert_eq!(value["accounts"][0]["keyAvailable"], true, "{told}");
    assert!(!told.contains(key.trim()), "{told}");
    let (done, told) = verso(folder.path(), &world, &["config", "unset", "credentials"]).await;
    assert!(!done && told.contains("nothing was written") && told.contains(&fingerprint), "{told}");
    let gateway = Process::start(&world, folder).await;
    gateway.wait_connected(&world).await;
    ann.says(&work, "two");
    ann.expect_text("two").await.expect("answered");
    let folder = gateway.kill();
    let copy = tempfile::tempdir().expect("temp dir");
    for file in fs::read_dir(&dir).expect("readable").flatten() {
        fs::copy(file.path(), copy.path().join(file.file_name())).expect("copied");
    }
    // Without the key in verso.json: by its file.
    process::write_config(folder.path(), &config(""));
    let (_, told) = verso(folder.path(), &world, &["credentials", "status"]).await;
    assert!(told.contains(&fingerprint) && told.contains("which is not there"), "{told}");
    let (done, told) = verso(folder.path(), &world, &["credentials", "decrypt"]).await;
    assert!(!done && told.contains(&fingerprint) && told.contains("--key-file"), "{told}");
    let other = make_key(folder.path(), "other.key");
    for (name, wanted) in
        [("other.key", &[other.as_str(), fingerprint.as_str()][..]), ("none.key", &["cannot be used"])]
    {
        let file = folder.path().join(name).display().to_string();
        let (done, told) = verso(folder.path(), &world, &["credentials", "decrypt", "--key-file", &file]).await;
        assert!(!done && told.contains(&file) && wanted.iter().all(|words| told.contains(words)), "{told}");
    }
    let file = folder.path().join("verso.key").display().to_string();
    let (done, told) = verso(folder.path(), &world, &["credentials", "decrypt", "--key-file", &file]).await;
    assert!(done && told.contains("work: plain again"), "{told}");
    assert_eq!(holding(copy.path(), &secrets(&dir)), Vec::<String>::new(), "nothing of it was in the sealed files");
    let gateway = Process::start(&world, folder).await;
    gateway.wait_connected(&world).await;
    ann.says(&work, "three");
    ann.expect_text("three").await.expect("answered");
    assert_eq!(work.devices().len(), 1);
}

/// `kill -9` at the steps of turning it on: the link works after every one, and is sealed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_while_files_are_sealed_costs_nothing() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let on = format!("credentials: {{ encryption: {{ key: {{ source: 'file', id: 'verso.key' }} }} }}, {ACCOUNT}");
    let mut folder = process::state(ACCOUNT);
    make_key(folder.path(), "verso.key");
    process::link_by_code(folder.path(), &world, &work, "work").await;
    // The data key and its backup come first, then the database, then the record and its backup.
    for step in ["half#1", "done#1", "half#2", "converted#1", "settled#1", "replaced#1", "half#3", "done#3", "half#4"] {
        process::write_config(folder.path(), &on);
        Process::dies(&world, folder.path(), step).await;
        let gateway = Process::start(&world, folder).await;
        gateway.wait_connected(&world).await;
        ann.says(&work, step);
        ann.expect_text(step).await.unwrap_or_else(|e| panic!("after a death at {step}: {e}"));
        folder = gateway.kill();
        assert!(seal::status(&account(folder.path())).complete, "after a death at {step}");
        let (done, told) = verso(folder.path(), &world, &["credentials", "decrypt"]).await;
        assert!(done, "{told}");
    }
    assert_eq!(work.devices().len(), 1, "still the first link");
}

/// No part of the program but this reads keys: what seals and unseals here is what a gateway opens.
#[test]
fn the_key_comes_from_a_file_the_environment_or_the_service_manager() {
    let (folder, from) = (state(&plain()), fixture());
    let fingerprint = make_key(folder.path(), "verso-key");
    let key = fs::read_to_string(folder.path().join("verso-key")).expect("read");
    let moved = ["channels", "import", "--account", "work", "--from", from.path().to_str().expect("text")];
    let (ok, told) = said(command(folder.path(), folder.path()).args(moved));
    assert!(ok, "{told}");
    let file = folder.path().join("verso-key").display().to_string();
    for (source, id, missing) in [
        ("file", file.as_str(), None),
        ("env", "VERSO_TEST_KEY", Some("the environment variable is not set")),
        ("credential", "verso-key", Some("add LoadCredential= to the unit")),
    ] {
        let config =
            format!("{{ credentials: {{ encryption: {{ key: {{ source: '{source}', id: '{id}' }} }} }}, {ACCOUNT} }}");
        fs::write(folder.path().join("verso.json"), config).expect("written");
        let run = |words: &[&str], key: Option<&str>| {
            let mut command = command(folder.path(), folder.path());
            if let Some(key) = key {
                command.env("VERSO_TEST_KEY", key).env("CREDENTIALS_DIRECTORY", folder.path());
            }
            said(command.args(words))
        };
        let (ok, told) = run(&["credentials", "rotate"], Some(&key));
        assert!(ok && told.contains("work: sealed with a fresh data key"), "{source}: {told}");
        let (_, told) = run(&["credentials", "status"], Some(&key));
        assert!(told.contains(&format!("work: sealed with key {fingerprint}")), "{source}: {told}");
        assert!(!told.contains("not there") && !told.contains(key.trim()), "{source}: {told}");
        if let Some(missing) = missing {
            let (ok, told) = run(&["credentials", "decrypt"], None);
            assert!(!ok && told.contains(missing) && told.contains("account work"), "{source}: {told}");
        }
        let (ok, told) = run(&["credentials", "decrypt"], Some(&key));
        assert!(ok && told.contains("work: plain again"), "{source}: {told}");
    }
}
