//! Folders that Baileys wrote (tests/fixtures/baileys comes from version 7.0.0-rc14, tests/foreign), whole and damaged.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use verso::clock::Clock;
use verso::whatsapp::baileys::{BaileysError, Imported, Taking, import, inspect};

use crate::transfer::export;

pub fn fixture() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/baileys");
    for entry in fs::read_dir(source).expect("fixture") {
        let entry = entry.expect("readable");
        let to = dir.path().join(entry.file_name());
        fs::copy(entry.path(), &to).expect("copied");
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    dir
}

async fn take(from: &Path) -> (tempfile::TempDir, Result<Imported, BaileysError>) {
    let to = tempfile::tempdir().expect("temp dir");
    let result = import(from, to.path(), Taking::default(), Clock::System.now()).await;
    (to, result)
}

fn read(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON")
}

fn edit(dir: &Path, change: impl FnOnce(&mut Value)) {
    let path = dir.join("creds.json");
    let mut credentials = read(path.clone());
    change(&mut credentials);
    fs::write(path, credentials.to_string()).expect("written");
}

#[tokio::test]
async fn everything_that_baileys_keeps_moves() {
    let from = fixture();
    let plan = inspect(from.path(), Taking::default(), Clock::System.now()).await.expect("a whole folder");
    let (to, result) = take(from.path()).await;
    let report = result.expect("imported");
    assert_eq!(plan, report, "an inspection says what an import does");
    let expected = Imported {
        jid: "15550100010:1@s.whatsapp.net".into(),
        pre_keys: 3,
        sessions: 5,
        identities: 2,
        // Our own key is left out; two members remain.
        sender_keys: 2,
        lid_mappings: 3,
        app_state_keys: 1,
        app_state_versions: 1,
        tokens: 0,
        // Device lists, who has our key, our key.
        told_again: 8,
        ..Imported::default()
    };
    assert_eq!(report, expected);
    let mirror = read(to.path().join("creds.json"));
    assert_eq!(mirror["me"], json!({"id": report.jid, "lid": "210000000004053:1@lid", "name": "User 0010"}));
    assert_eq!(mirror["device"]["next_pre_key_id"], 813);
    for name in ["creds.json", "signal.db"] {
        let mode = fs::metadata(to.path().join(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn the_way_back_says_the_same_in_baileys_own_form() {
    let from = fixture();
    let (account, result) = take(from.path()).await;
    result.expect("imported");
    let out = account.path().join("out");
    export(account.path(), &out).await.expect("exported");
    let (old, new) = (read(from.path().join("creds.json")), read(out.join("creds.json")));
    for key in ["noiseKey", "signedIdentityKey", "signedPreKey", "registrationId", "advSecretKey", "nextPreKeyId", "me"]
    {
        assert_eq!(old[key], new[key], "{key}");
    }
    for name in [
        "pre-key-2.json",
        "lid-mapping-15550100001.json",
        "lid-mapping-210000000000001_reverse.json",
        "identity-key-210000000002027_1.0.json",
        "app-state-sync-key-TK5DNDTE.json",
        "app-state-sync-version-critical_block.json",
    ] {
        assert_eq!(read(from.path().join(name)), read(out.join(name)), "{name}");
    }
    for name in ["session-210000000000001_1.1.json", "session-210000000002027_1.0.json"] {
        let (old, new) = (read(from.path().join(name)), read(out.join(name)));
        for (key, session) in old["_sessions"].as_object().expect("sessions") {
            let back = &new["_sessions"][key];
            assert_eq!(session["registrationId"], back["registrationId"], "{name}");
            assert_eq!(session["currentRatchet"]["rootKey"], back["currentRatchet"]["rootKey"], "{name}");
            assert_eq!(session["_chains"], back["_chains"], "{name}: no key moved back or forth");
        }
    }
    let group = "sender-key-120363000000000004@g.us--";
    assert!(out.join(format!("{group}210000000002027_1--0.json")).is_file());
    assert!(!out.join(format!("{group}210000000004053_1--1.json")).exists(), "our own key is made anew");
}

#[tokio::test]
async fn the_older_spellings_are_read_too() {
    let from = fixture();
    edit(from.path(), |credentials| {
        let key = credentials["noiseKey"]["private"]["data"].as_str().expect("base64").to_owned();
        let bytes = base64_bytes(&key);
        credentials["noiseKey"]["private"] = json!({"type": "Buffer", "data": bytes});
        let named: serde_json::Map<String, Value> =
            bytes.iter().enumerate().map(|(i, b)| (i.to_string(), json!(b))).collect();
        credentials["pairingEphemeralKeyPair"]["private"] = Value::Object(named);
    });
    let name = "session-210000000002027_1.0.json";
    let mut session = read(from.path().join(name));
    let inner = session["_sessions"].as_object_mut().expect("sessions").values_mut().next().expect("one");
    let registration = inner.as_object_mut().expect("object").shift_remove("registrationId").expect("there");
    session["registrationId"] = registration;
    session.as_object_mut().expect("object").shift_remove("version");
    fs::write(from.path().join(name), session.to_string()).expect("written");
    let (_to, result) = take(from.path()).await;
    let report = result.expect("imported");
    assert_eq!((report.sessions, report.skipped), (5, vec![]));
}

fn base64_bytes(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}

#[tokio::test]
async fn what_does_not_convert_is_counted_and_stops_nothing() {
    let from = fixture();
    let write = |name: &str, text: &str| fs::write(from.path().join(name), text).expect("written");
    write("session-210000000000001_1.0.json", r#"{"_sessions":{"AA==":{}},"version":"v1"}"#);
    write("session-210000000000001_1.1.json", "{\"_sess");
    write("pre-key-2.json", "{}");
    write("app-state-sync-key-AAAA.json", "[]");
    symlink(from.path().join("pre-key-3.json"), from.path().join("pre-key-4.json")).expect("linked");
    let (to, result) = take(from.path()).await;
    let report = result.expect("imported");
    let skipped: Vec<&str> = report.skipped.iter().map(|s| s.file.as_str()).collect();
    assert_eq!(report.sessions, 3);
    for name in [
        "session-210000000000001_1.0.json",
        "session-210000000000001_1.1.json",
        "pre-key-2.json",
        "app-state-sync-key-AAAA.json",
        "pre-key-4.json",
    ] {
        assert!(skipped.contains(&name), "{name}: {skipped:?}");
    }
    assert!(report.summary().contains("5 did not convert"), "{}", report.summary());
    assert!(to.path().join("creds.json").is_file());
}

#[tokio::test]
async fn every_bad_folder_has_its_sentence_and_changes_nothing() {
    type Spoil = fn(&Path);
    let cases: &[(&str, Spoil)] = &[
        ("holds no creds.json", |dir| fs::remove_file(dir.join("creds.json")).expect("removed")),
        ("is not JSON", |dir| fs::write(dir.join("creds.json"), "{\"noiseKey\":{\"pri").expect("written")),
        ("is not JSON", |dir| fs::write(dir.join("creds.json"), "").expect("written")),
        ("was not written by Baileys", |dir| fs::write(dir.join("creds.json"), r#"{"token":"x"}"#).expect("written")),
        ("was never linked", |dir| edit(dir, |c| c["me"] = json!(null))),
        ("signedPreKey.signature is missing or damaged", |dir| {
            edit(dir, |c| c["signedPreKey"]["signature"] = json!("AA=="))
        }),
        ("account is missing or damaged", |dir| edit(dir, |c| c["account"] = json!({}))),
        ("registrationId is missing", |dir| edit(dir, |c| c["registrationId"] = json!("40"))),
        ("is a symbolic link", |dir| {
            fs::rename(dir.join("creds.json"), dir.join("elsewhere")).expect("renamed");
            symlink(dir.join("elsewhere"), dir.join("creds.json")).expect("linked");
        }),
        ("only half of a Baileys folder", |dir| {
            for n in [2, 3, 812] {
                fs::remove_file(dir.join(format!("pre-key-{n}.json"))).expect("removed");
            }
        }),
    ];
    for (expected, spoil) in cases {
        let from = fixture();
        spoil(from.path());
        let (to, result) = take(from.path()).await;
        let said = result.expect_err(expected).to_string();
        assert!(said.contains(expected) && !said.contains('\n'), "{expected}: {said}");
        assert_eq!(fs::read_dir(to.path()).expect("readable").count(), 0, "{expected}: nothing was written");
    }
    let nowhere = take(Path::new("/nonexistent/baileys")).await.1.expect_err("nowhere").to_string();
    assert!(nowhere.contains("is no folder"), "{nowhere}");
    let own = fixture();
    let (account, result) = take(own.path()).await;
    result.expect("imported");
    let ours = take(account.path()).await.1.expect_err("ours").to_string();
    assert!(ours.contains("account folder of Verso already"), "{ours}");
}

#[tokio::test]
async fn a_damaged_creds_json_is_taken_from_its_backup() {
    let from = fixture();
    fs::rename(from.path().join("creds.json"), from.path().join("creds.json.bak")).expect("renamed");
    for damaged in [None, Some("{")] {
        if let Some(text) = damaged {
            fs::write(from.path().join("creds.json"), text).expect("written");
        }
        let (_to, result) = take(from.path()).await;
        assert_eq!(result.expect("imported").sessions, 5, "{damaged:?}");
    }
}

#[tokio::test]
async fn files_that_others_could_read_are_closed_with_a_warning() {
    let from = fixture();
    fs::set_permissions(from.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let creds = from.path().join("creds.json");
    fs::set_permissions(&creds, fs::Permissions::from_mode(0o644)).expect("chmod");
    let (_to, result) = take(from.path()).await;
    let warnings = result.expect("imported").warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("other users of this machine could read"), "{warnings:?}");
    assert_eq!(fs::metadata(&creds).expect("there").permissions().mode() & 0o777, 0o600);
    let (_to, result) = take(from.path()).await;
    assert_eq!(result.expect("imported").warnings, Vec::<String>::new());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let from = fixture();
    // Also root cannot write there.
    let error = import(from.path(), Path::new("/proc/self"), Taking::default(), Clock::System.now())
        .await
        .expect_err("read-only");
    let said = error.to_string();
    assert!(said.contains("/proc/self") && said.contains("writable"), "{said}");
    let (account, result) = take(from.path()).await;
    result.expect("imported");
    let full = tempfile::tempdir().expect("temp dir");
    fs::write(full.path().join("notes.txt"), "mine").expect("written");
    let said = export(account.path(), full.path()).await.expect_err("not empty").to_string();
    assert!(said.contains("is not empty; name a new folder"), "{said}");
    let said = export(account.path(), Path::new("/proc/self/out")).await.expect_err("read-only").to_string();
    assert!(said.contains("/proc/self/out"), "{said}");
    assert!(account.path().join("creds.json").is_file(), "the link stays usable");
}

/// Baileys looks at no halves of keys: it would go on as a device that WhatsApp does not know.
#[tokio::test]
async fn a_damaged_device_does_not_go_out() {
    let (account, result) = take(fixture().path()).await;
    result.expect("imported");
    for column in ["noise_key", "identity_key", "signed_pre_key"] {
        let database = rusqlite::Connection::open(account.path().join("signal.db")).expect("opened");
        let select = format!("SELECT {column} FROM device");
        let key: Vec<u8> = database.query_row(&select, [], |row| row.get(0)).expect("read");
        let store = |key: &[u8]| {
            database.execute(&format!("UPDATE device SET {column} = ?1"), [key]).expect("written");
        };
        let mut damaged = key.clone();
        damaged[60] ^= 1;
        store(&damaged);
        let out = account.path().join("out");
        let said = export(account.path(), &out).await.expect_err(column).to_string();
        assert!(said.contains("signal.db: the device in it is damaged; start the account once"), "{column}: {said}");
        assert!(!out.exists() && account.path().join("creds.json").is_file(), "{column}: the link stays");
        store(&key);
    }
    export(account.path(), &account.path().join("out")).await.expect("whole");
}

/// The program as a person runs it.
pub fn verso(state: &Path, words: &[&str]) -> (bool, String) {
    said(command(state, state).args(words))
}

/// The program with nothing of this process's environment.
pub fn command(home: &Path, state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verso"));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home)
        .env("VERSO_STATE_DIR", state)
        .env("TMPDIR", home);
    command
}

/// Runs it: whether it succeeded, and every word that it said.
pub fn said(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_command_refuses_to_lose_a_link() {
    let (from, state) = (fixture(), tempfile::tempdir().expect("temp dir"));
    let folder = from.path().to_str().expect("text");
    let (ok, said) = verso(state.path(), &["channels", "import", "--from", folder]);
    assert!(ok && said.contains("without scanning") && said.contains("5 sessions") && said.contains("440"), "{said}");
    let (ok, said) = verso(state.path(), &["channels", "status"]);
    assert!(ok && said.contains("linked") && !said.contains("not linked"), "{said}");
    let (ok, said) = verso(state.path(), &["channels", "import", "--from", folder]);
    assert!(!ok && said.contains("is linked already, to +15550100010") && said.contains("--force"), "{said}");
    let (ok, said) = verso(state.path(), &["channels", "import", "--from", folder, "--force"]);
    let dir = state.path().join("credentials/whatsapp/default");
    assert!(ok && dir.join("signal.db.replaced").is_file(), "{said}");
    let (ok, said) = verso(state.path(), &["channels", "import", "--from", dir.to_str().expect("text")]);
    assert!(!ok && said.contains("the folder of account default itself"), "{said}");
    let (ok, said) = verso(state.path(), &["channels", "import", "--from", folder, "--account", "nobody"]);
    assert!(!ok && said.contains("unknown account"), "{said}");
    let out = state.path().join("out");
    let (ok, said) =
        verso(state.path(), &["channels", "export", "--format", "baileys", "--to", out.to_str().expect("text")]);
    assert!(ok && said.contains("The link is Baileys' now"), "{said}");
    let (_, said) = verso(state.path(), &["channels", "status"]);
    assert!(said.contains("not linked"), "{said}");
}

#[tokio::test]
async fn session_keys_of_an_old_copy_stay_behind_when_that_is_wanted() {
    let from = fixture();
    let (_to, result) = take(from.path()).await;
    assert_eq!(result.expect("imported").warnings, Vec::<String>::new(), "a folder in use");
    let days = |n: u64| std::time::SystemTime::now() - std::time::Duration::from_secs(n * 24 * 3600 + 60);
    for entry in fs::read_dir(from.path()).expect("readable").flatten() {
        fs::File::options().append(true).open(entry.path()).expect("open").set_modified(days(3)).expect("dated");
    }
    let (_to, result) = take(from.path()).await;
    let warnings = result.expect("imported").warnings;
    assert!(
        warnings.len() == 1 && warnings[0].contains("3 days ago") && warnings[0].contains("--fresh-sessions"),
        "{warnings:?}"
    );
    let to = tempfile::tempdir().expect("temp dir");
    let fresh = Taking { force: false, fresh_sessions: true };
    let report = import(from.path(), to.path(), fresh, Clock::System.now()).await.expect("imported");
    assert_eq!((report.sessions, report.sender_keys, report.pre_keys), (0, 0, 0));
    assert!(report.identities > 0 && report.lid_mappings > 0 && report.app_state_keys > 0, "{report:?}");
    assert!(report.warnings.len() == 1 && report.warnings[0].contains("is asked for again"), "{:?}", report.warnings);
    let database = rusqlite::Connection::open(to.path().join("signal.db")).expect("a database");
    for table in ["sessions", "sender_keys", "prekeys"] {
        let n: i64 =
            database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("counted");
        assert_eq!(n, 0, "{table}");
    }
    let next = read(to.path().join("creds.json"))["device"]["next_pre_key_id"].as_u64().expect("a number");
    assert!(next > 813 + 1_000, "numbers that the other program may have given out are not used: {next}");
}

#[tokio::test]
async fn a_folder_that_a_program_writes_into_is_not_taken() {
    let from = fixture();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (done, path) = (stop.clone(), from.path().join("session-210000000000001_1.0.json"));
    let text = fs::read(&path).expect("a session");
    let writer = std::thread::spawn(move || {
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            fs::write(&path, &text).expect("written");
            std::thread::yield_now();
        }
    });
    let (to, result) = take(from.path()).await;
    let said = result.expect_err("in use").to_string();
    assert!(said.contains("changes while it is read") && said.contains("--force"), "{said}");
    assert_eq!(fs::read_dir(to.path()).expect("readable").count(), 0, "nothing was written");
    let forced = Taking { force: true, fresh_sessions: false };
    let result = import(from.path(), to.path(), forced, Clock::System.now()).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().expect("no panic");
    assert_eq!(result.expect("taken as it was").jid, "15550100010:1@s.whatsapp.net");
}

/// A number that looks as if it were random, the same in every run.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below
    }
}

/// Each hit ends in the same device, or in a sentence and nothing written; a file that is hit costs at most what was in it.
#[tokio::test]
async fn a_hit_anywhere_ends_in_the_same_device_or_a_sentence() {
    let keys = |dir: &Path| {
        let device = read(dir.join("creds.json"))["device"].clone();
        ["noise_key", "identity_key", "signed_pre_key"].map(|name| device[name].clone())
    };
    let (whole, report) = take(fixture().path()).await;
    let (expected, report) = (keys(whole.path()), report.expect("imported"));
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..120 {
        let mut random = random(seed);
        let from = fixture();
        let mut names: Vec<PathBuf> =
            fs::read_dir(from.path()).expect("readable").flatten().map(|entry| entry.path()).collect();
        names.sort();
        // Every other hit is on the device itself.
        let path = if seed % 2 == 0 { from.path().join("creds.json") } else { names.swap_remove(random(names.len())) };
        let mut bytes = fs::read(&path).expect("read");
        let at = random(bytes.len());
        match seed / 2 % 4 {
            0 => bytes.truncate(at),
            1 => bytes[at] = b"0123456789ABCDEFGHabcdefgh+/=\"{}[],:"[random(36)],
            _ => bytes[at] ^= 1 << random(8),
        }
        fs::write(&path, bytes).expect("written");
        let what = format!("seed {seed}: {} at {at}", path.display());
        // Unasked it would look a second time at files that were written just now.
        let to = tempfile::tempdir().expect("temp dir");
        let taking = Taking { force: true, ..Taking::default() };
        match import(from.path(), to.path(), taking, Clock::System.now()).await {
            Ok(found) => {
                taken += 1;
                assert_eq!(keys(to.path()), expected, "{what}");
                let moved = |of: &Imported| of.sessions + of.pre_keys + of.sender_keys;
                assert!(moved(&report).abs_diff(moved(&found)) <= 2, "{what}: {found:?}");
            }
            Err(error) => {
                refused += 1;
                let said = error.to_string();
                assert!(path.ends_with("creds.json") && !said.contains('\n') && said.len() > 30, "{what}: {said}");
                assert_eq!(fs::read_dir(to.path()).expect("readable").count(), 0, "{what}: {said}");
            }
        }
    }
    assert!(taken > 40 && refused > 10, "{taken} taken, {refused} refused");
}
