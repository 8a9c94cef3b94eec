//! `verso backup`: what is made while a gateway runs goes on elsewhere, and nothing is put where it does harm.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use verso::clock::Clock;
use verso::ids::AccountId;
use verso::store::journal::{Journal, OutboxPart};
use verso::store::lock::GatewayLock;
use verso::store::paths::StatePaths;
use wa_simulator::{Group, Phone, World};

use crate::process::{Process, alone, link_by_code, state, write_config};

const TWO: &str = "channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], groupPolicy: 'open',
    groups: { '*': { requireMention: false } }, accounts: { a: {}, b: {} } } }";

/// A `verso` with this state folder and another home.
fn verso(state: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verso"));
    command.args(words).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", state.join("home"));
    command.env("VERSO_STATE_DIR", state).env("VERSO_WHATSAPP_URL", "ws://127.0.0.1:9/ws/chat").stdin(Stdio::null());
    command
}

fn run(state: &Path, words: &[&str]) -> Output {
    verso(state, words).output().expect("verso runs")
}

fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every file below a folder with its bytes.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(dir: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                let name = path.strip_prefix(root).expect("below").display().to_string();
                found.insert(name, fs::read(&path).expect("readable"));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(dir, dir, &mut found);
    found
}

/// A word to the account and one in its group, both answered by echo.
async fn chat(person: &Phone, account: &Phone, group: &Group, word: &str) {
    let (direct, shared) = (format!("{word} directly"), format!("{word} in the group"));
    person.says(account, &direct);
    person.expect_text(direct).await.expect("answered");
    person.says_in(group, &shared, &[]);
    person.expect_text(shared).await.expect("answered in the group");
}

fn times(person: &Phone, word: &str) -> usize {
    person.inbox().iter().filter(|received| received.text == word).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_busy_gateway_goes_on_elsewhere_without_scanning() {
    let world = World::start().await.expect("world");
    let accounts = [world.phone("+15550001111"), world.phone("+15550002222")];
    let people = [world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob")];
    let groups = [world.group("One", &people[0], &[&accounts[0]]), world.group("Two", &people[1], &[&accounts[1]])];
    let old = Process::start(&world, state(TWO)).await;
    for (phone, account) in accounts.iter().zip(["a", "b"]) {
        link_by_code(old.folder(), &world, phone, account).await;
    }
    for n in 0..2 {
        chat(&people[n], &accounts[n], &groups[n], "before").await;
    }
    fs::create_dir_all(old.folder().join("agents/main/workspace")).expect("made");
    fs::write(old.folder().join("agents/main/workspace/SOUL.md"), "be kind").expect("written");

    // The archive is made while both accounts are written to.
    let place = tempfile::tempdir().expect("temp dir");
    let archive = place.path().join("verso.tar.gz");
    let archive_name = archive.display().to_string();
    let traffic = async {
        for n in 0..30 {
            people[0].says(&accounts[0], &format!("one {n}"));
            people[1].says(&accounts[1], &format!("two {n}"));
            people[0].expect_text(format!("one {n}")).await.expect("answered");
        }
        people[1].expect_text("two 29").await.expect("answered");
    };
    let words = ["backup", "create", archive_name.as_str()];
    let (made, ()) = tokio::join!(old.run(&world, &words), traffic);
    let told = ok(&made);
    assert!(told.contains("link a: +15550001111") && told.contains("link b: +15550002222"), "{told}");
    let warned = String::from_utf8_lossy(&made.stderr);
    assert!(warned.contains("--recipient") && warned.contains("440"), "{warned}");
    assert_eq!(fs::metadata(&archive).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(place.path()).expect("listed").count(), 1, "nothing else is left");
    assert!(!files(old.folder()).keys().any(|name| name.contains(".backup-")), "nor here");
    assert!(ok(&run(place.path(), &["backup", "verify", &archive_name])).contains("Every byte"));

    let running = refused(&run(old.folder(), &["backup", "restore", &archive_name, "--force"]));
    let pid = fs::read_to_string(old.folder().join("gateway.lock")).expect("noted");
    let pid = pid.split_whitespace().next().expect("a pid");
    assert!(running.contains(&format!("process {pid}")) && running.contains("hint: stop it first"), "{running}");

    let old_folder = old.kill();
    let seen: Vec<usize> = people.iter().map(|p| p.inbox().len()).collect();
    let lost: Vec<usize> = people.iter().map(|p| p.undecryptable().len()).collect();

    let new_folder = tempfile::tempdir().expect("temp dir");
    let target = new_folder.path().join("state");
    let restored = alone(&target, &world, &["backup", "restore", &archive_name]).await;
    let told = ok(&restored);
    assert!(told.contains("logging.file = ") && told.contains("was a place of the old machine"), "{told}");
    assert!(told.contains("must not run any more"), "{told}");
    assert_eq!(fs::read_to_string(target.join("agents/main/workspace/SOUL.md")).expect("there"), "be kind");
    for account in ["a", "b"] {
        let link = target.join("credentials/whatsapp").join(account);
        let db = rusqlite::Connection::open(link.join("signal.db")).expect("opens");
        for table in ["sessions", "sender_keys", "prekeys"] {
            let rows: i64 = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).expect("counted");
            assert_eq!(rows, 0, "{table} of {account}");
        }
        assert_eq!(fs::metadata(&link).expect("there").permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(link.join("creds.json")).expect("there").permissions().mode() & 0o777, 0o600);
    }
    assert!(!files(&target).keys().any(|name| name.contains(".restore-")), "{:?}", files(&target).keys());

    write_config(&target, TWO);
    let new = Process::start_at(&world, &target).await;
    for n in 0..2 {
        chat(&people[n], &accounts[n], &groups[n], "after").await;
    }
    let sent = alone(
        &target,
        &world,
        &["message", "send", "--account", "b", "--target", "+15557000001", "--message", "a first word"],
    );
    ok(&sent.await);
    people[0].expect_text("a first word").await.expect("delivered");
    for n in 0..30 {
        assert_eq!(
            (times(&people[0], &format!("one {n}")), times(&people[1], &format!("two {n}"))),
            (1, 1),
            "number {n}"
        );
    }
    assert_eq!(people[0].inbox().len(), seen[0] + 3);
    assert_eq!(people[1].inbox().len(), seen[1] + 2);
    let now: Vec<usize> = people.iter().map(|p| p.undecryptable().len()).collect();
    assert_eq!(now, lost, "everything that the restored gateway sent could be read at once: new sessions, no old keys");
    drop(new);

    // Both states went on after the backup: neither is lost by accident.
    for (folder, words) in [(old_folder.path(), "came or went after"), (target.as_path(), "was used after the backup")]
    {
        let before = files(folder);
        let said = refused(&alone(folder, &world, &["backup", "restore", &archive_name, "--dry-run"]).await);
        assert!(said.contains(words) && said.contains("--force"), "{said}");
        let after = files(folder);
        // What SQLite keeps in memory beside a database whose process was killed.
        let changed = |name: &&String| !name.ends_with("-shm") && after.get(*name) != before.get(*name);
        let changed: Vec<&String> = before.keys().chain(after.keys()).filter(changed).collect();
        assert!(changed.is_empty(), "a dry run changes nothing: {changed:?}");
        let said = refused(&alone(folder, &world, &["backup", "restore", &archive_name]).await);
        assert!(said.contains(words), "{said}");
    }
    let forced = ok(&alone(&target, &world, &["backup", "restore", &archive_name, "--force", "--json"]).await);
    let forced: Value = serde_json::from_str(&forced).expect("json");
    let kept = Path::new(forced["kept"][0].as_str().expect("a folder"));
    assert!(kept.join("credentials/whatsapp/a/signal.db").is_file() && kept.join("state.db").is_file(), "{forced:#}");

    // One link alone: the rest of the state stays as it is.
    let journal = fs::read(target.join("state.db")).expect("there");
    let one = ok(&alone(&target, &world, &["backup", "restore", &archive_name, "--accounts", "b"]).await);
    assert!(one.contains("the links only") && one.contains("link b: ") && !one.contains("whatsapp/a\n"), "{one}");
    assert_eq!(fs::read(target.join("state.db")).expect("there"), journal);
    let none = refused(&alone(&target, &world, &["backup", "restore", &archive_name, "--accounts", "c"]).await);
    assert!(none.contains("no link of account c; it has: a, b"), "{none}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_open_is_left_to_the_old_gateway_unless_that_stopped_there() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let hangs = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let open = "channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {} } } }";
    let slow = format!(
        "models: {{ providers: {{ slow: {{ api: 'openai-completions', baseUrl: 'http://{}/v1', apiKey: 'k' }} }} }}, agents: {{ defaults: {{ model: 'slow/x' }} }}, {open}",
        hangs.local_addr().expect("address")
    );
    let old = Process::start(&world, state(&slow)).await;
    old.link(&world, &work).await;
    let id = ann.says(&work, "do not forget me");
    ann.expect_receipt(&id, wa_simulator::ReceiptKind::Delivered).await.expect("acknowledged");
    let (_socket, _) = hangs.accept().await.expect("the model is asked");
    let place = tempfile::tempdir().expect("temp dir");
    let archive = place.path().join("b.tar.gz").display().to_string();
    assert!(ok(&old.run(&world, &["backup", "create", &archive]).await).contains("1 not answered yet"));
    let _old = old.kill();

    let first = place.path().join("first");
    let told = ok(&alone(&first, &world, &["backup", "restore", &archive]).await);
    assert!(told.contains("1 messages that were open are not answered"), "{told}");
    let why = ok(&alone(&first, &world, &["why", &id]).await);
    assert!(why.contains("(restored)") && why.contains("--resume") && why.contains("✓ dm"), "{why}");
    write_config(&first, open);
    let gateway = Process::start_at(&world, &first).await;
    ann.says(&work, "marker");
    ann.expect_text("marker").await.expect("answered");
    assert_eq!(times(&ann, "do not forget me"), 0, "the old gateway may have answered it");
    drop(gateway);

    let second = place.path().join("second");
    ok(&alone(&second, &world, &["backup", "restore", &archive, "--resume"]).await);
    write_config(&second, open);
    let gateway = Process::start_at(&world, &second).await;
    ann.expect_text("do not forget me").await.expect("answered now");
    drop(gateway);
}

/// A state without a link: configuration with an included file, workspace, token, journal, pairing approvals.
async fn quiet_state() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    };
    put(
        "verso.json",
        "// mine\n{ channels: { $include: './conf.d/channels.json' }, gateway: { auth: { token: '${NOT_SET_HERE}' } } }",
    );
    put("conf.d/channels.json", "{ whatsapp: { allowFrom: ['+15551234567'] } }");
    put("agents/main/workspace/SOUL.md", "be kind");
    put("agents/main/sessions/1.jsonl", "{}\n");
    put("gateway.token", "secret\n");
    put("credentials/whatsapp-default-allowFrom.json", r#"{"version":1,"allowFrom":["+1"]}"#);
    put("credentials/oauth.json", "{}");
    put("media/inbound/picture", "pixels");
    put("verso.log", "log");
    said(dir.path(), "first").await;
    dir
}

/// Writes a message into the journal.
async fn said(state: &Path, text: &str) {
    let journal = Journal::open(&state.join("state.db"), Clock::System).expect("opens");
    let chat = "15557654321@s.whatsapp.net".parse().expect("jid");
    journal.enqueue(vec![OutboxPart::text(AccountId::new("default"), chat, text, None)]).await.expect("queued");
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_back_and_nothing_else_goes_in() {
    let old = quiet_state().await;
    let place = tempfile::tempdir().expect("temp dir");
    let made = ok(&run(old.path(), &["backup", "create", &place.path().display().to_string(), "--json"]));
    let made: Value = serde_json::from_str(&made).expect("json");
    let archive = made["file"].as_str().expect("a name").to_owned();
    assert!(archive.contains("/verso-backup-") && archive.ends_with(".tar.gz"), "{archive}");
    assert_eq!(made["journal"]["waiting"], 1);
    let listed = Command::new("tar").args(["tzf", &archive]).output().expect("tar reads it too");
    let mut listed: Vec<&str> = std::str::from_utf8(&listed.stdout).expect("text").lines().collect();
    assert_eq!((listed.remove(0), listed.pop()), ("manifest.json", Some("members.json")));
    listed.sort_unstable();
    assert_eq!(
        listed,
        [
            "agents/main/sessions/1.jsonl",
            "agents/main/workspace/SOUL.md",
            "config/conf.d/channels.json",
            "config/verso.json",
            "credentials/oauth.json",
            "credentials/whatsapp-default-allowFrom.json",
            "gateway.token",
            "state.db"
        ]
    );

    let new = tempfile::tempdir().expect("temp dir");
    let dry = ok(&run(new.path(), &["backup", "restore", &archive, "--dry-run"]));
    assert!(dry.contains("Would restore") && files(new.path()).is_empty(), "{dry}");
    ok(&run(new.path(), &["backup", "restore", &archive]));
    let (before, after) = (files(old.path()), files(new.path()));
    for name in
        before.keys().filter(|name| !name.contains("state.db") && !name.starts_with("media") && *name != "verso.log")
    {
        assert_eq!(after.get(name), before.get(name), "{name}");
    }
    let more: Vec<&String> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    assert_eq!(more, ["gateway.lock"]);
    assert!(!after.contains_key("media/inbound/picture") && !after.contains_key("verso.log"));

    // The same again changes nothing that matters; with more in it, it is a state of its own.
    ok(&run(new.path(), &["backup", "restore", &archive]));
    fs::write(new.path().join("agents/main/workspace/NOTES.md"), "new").expect("written");
    let said_no = refused(&run(new.path(), &["backup", "restore", &archive]));
    assert!(said_no.contains("does not have agents/main/workspace/NOTES.md"), "{said_no}");
    fs::remove_file(new.path().join("agents/main/workspace/NOTES.md")).expect("removed");
    said(new.path(), "later").await;
    let said_no = refused(&run(new.path(), &["backup", "restore", &archive]));
    assert!(said_no.contains("the journal has 1 messages"), "{said_no}");
    let other = tempfile::tempdir().expect("temp dir");
    said(other.path(), "of another gateway").await;
    let said_no = refused(&run(other.path(), &["backup", "restore", &archive]));
    assert!(said_no.contains("of another gateway"), "{said_no}");

    // Media come along when asked; the configuration that is there stays when asked.
    let with_media = place.path().join("media.tar.gz").display().to_string();
    ok(&run(old.path(), &["backup", "create", &with_media, "--media"]));
    let third = tempfile::tempdir().expect("temp dir");
    fs::write(third.path().join("verso.json"), "{}").expect("written");
    let to = third.path().display().to_string();
    ok(&run(place.path(), &["backup", "restore", &with_media, "--to", &to, "--keep-config"]));
    assert_eq!(fs::read_to_string(third.path().join("media/inbound/picture")).expect("there"), "pixels");
    assert_eq!(fs::read_to_string(third.path().join("verso.json")).expect("there"), "{}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_backups_open_with_their_key_and_nothing_else() {
    let old = quiet_state().await;
    let place = tempfile::tempdir().expect("temp dir");
    let path = |name: &str| place.path().join(name).display().to_string();
    fs::write(path("words"), "correct horse battery staple\n").expect("written");
    fs::write(path("wrong"), "wrong\n").expect("written");
    let (archive, words, wrong) = (path("b.tar.gz.age"), path("words"), path("wrong"));
    let made = run(old.path(), &["backup", "create", &archive, "--passphrase-file", &words]);
    ok(&made);
    assert!(!String::from_utf8_lossy(&made.stderr).contains("not encrypted"), "{made:?}");
    assert!(fs::read(&archive).expect("there").starts_with(b"age-encryption.org/v1\n"));
    let no = refused(&run(place.path(), &["backup", "verify", &archive, "--passphrase-file", &wrong]));
    assert_eq!(no, format!("error: {archive} cannot be opened: the passphrase is wrong\n"));
    let no = refused(&run(place.path(), &["backup", "verify", &archive]));
    assert!(no.contains("--passphrase-file or VERSO_BACKUP_PASSPHRASE"), "{no}");
    let by_variable = verso(place.path(), &["backup", "verify", &archive])
        .env("VERSO_BACKUP_PASSPHRASE", "correct horse battery staple")
        .output();
    assert!(ok(&by_variable.expect("runs")).contains("encrypted by a passphrase"));
    let new = tempfile::tempdir().expect("temp dir");
    ok(&run(new.path(), &["backup", "restore", &archive, "--passphrase-file", &words]));
    assert_eq!(fs::read_to_string(new.path().join("gateway.token")).expect("there"), "secret\n");

    let bytes = fs::read(&archive).expect("there");
    for (name, damaged) in [
        ("cut", bytes[..bytes.len() - 5].to_vec()),
        ("flip", bytes.iter().enumerate().map(|(at, b)| if at == bytes.len() / 2 { b ^ 4 } else { *b }).collect()),
    ] {
        fs::write(path(name), damaged).expect("written");
        let target = tempfile::tempdir().expect("temp dir");
        let no = refused(&run(target.path(), &["backup", "restore", &path(name), "--passphrase-file", &words]));
        assert!(no.contains("damaged at") && no.contains("another copy"), "{name}: {no}");
        let left: Vec<String> = files(target.path()).into_keys().collect();
        assert_eq!(left, ["gateway.lock"], "{name}");
    }
    let piped =
        verso(place.path(), &["backup", "create", "-"]).env("VERSO_STATE_DIR", old.path()).output().expect("runs");
    assert!(piped.status.success() && piped.stdout.starts_with(&[0x1f, 0x8b]), "{:?}", piped.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_or_read_only_leaves_the_old_state() {
    let old = quiet_state().await;
    fs::write(old.path().join("agents/main/workspace/large"), vec![7; 400_000]).expect("written");
    let place = tempfile::tempdir().expect("temp dir");
    let archive = place.path().join("b.tar.gz").display().to_string();
    ok(&run(old.path(), &["backup", "create", &archive]));
    let target = tempfile::tempdir().expect("temp dir");
    fs::write(target.path().join("verso.json"), "{}").expect("written");
    // Files of more than 200 kB fail as they do on a full disk.
    let limited = |words: &str| {
        let script = format!("trap '' XFSZ; ulimit -f 200; exec {} {words}", env!("CARGO_BIN_EXE_verso"));
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", place.path());
        shell.env("VERSO_STATE_DIR", target.path()).stdin(Stdio::null()).output().expect("runs")
    };
    let no = refused(&limited(&format!("backup restore {archive}")));
    assert!(no.contains("cannot write") && no.contains("large") && no.contains("disk is not full"), "{no}");
    let left: Vec<String> = files(target.path()).into_keys().collect();
    assert_eq!(left, ["gateway.lock", "verso.json"], "nothing half is left");
    assert_eq!(fs::read_to_string(target.path().join("verso.json")).expect("there"), "{}");

    let sealed = Path::new("/proc/verso");
    let no = refused(&run(place.path(), &["backup", "restore", &archive, "--to", &sealed.display().to_string()]));
    assert!(no.contains("cannot create the folder /proc/verso"), "{no}");
    let no = refused(&run(old.path(), &["backup", "create", "/proc/b.tar.gz"]));
    assert!(no.contains("cannot write /proc/b.tar.gz"), "{no}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_restore_is_finished_and_bad_command_lines_are_explained() {
    let old = quiet_state().await;
    let place = tempfile::tempdir().expect("temp dir");
    let archive = place.path().join("b.tar.gz").display().to_string();
    ok(&run(old.path(), &["backup", "create", &archive]));
    let again = refused(&run(old.path(), &["backup", "create", &archive]));
    assert!(again.contains("is there already") && again.contains("--force"), "{again}");
    ok(&run(old.path(), &["backup", "create", &archive, "--force"]));
    for (words, said) in [
        (&["backup", "create", "/nowhere/b.tar.gz"][..], "the folder /nowhere does not exist"),
        (&["backup", "create", "x", "--recipient", "ssh-rsa"], "no public key of age"),
        (&["backup", "create", "x", "--passphrase-file", "/nowhere"], "passphrase file /nowhere"),
        (&["backup", "create", "x", "--passphrase", "--recipient", "y"], "cannot be used with"),
        (&["backup", "create", "-", "--json"], "standard output"),
        (&["backup", "verify", "/nowhere"], "cannot read /nowhere"),
        (&["backup", "verify", "/"], "is a folder"),
        (&["backup", "verify", "/etc/passwd"], "no backup of Verso"),
        (&["backup", "restore", &archive, "--accounts", "a", "--resume"], "cannot be used with"),
    ] {
        let no = refused(&run(old.path(), words));
        assert!(no.contains(said), "{words:?}: {no}");
    }
    let empty = refused(&run(&place.path().join("none"), &["backup", "create"]));
    assert!(empty.contains("nothing to back up"), "{empty}");

    // Cut off after the old state was moved away: the next start goes on.
    let target = tempfile::tempdir().expect("temp dir");
    let dir = target.path();
    let put = |path: &str, text: &str| {
        fs::create_dir_all(dir.join(path).parent().expect("a folder")).expect("made");
        fs::write(dir.join(path), text).expect("written");
    };
    put("before-restore-1/verso.json", "{ old: true }");
    put(".restore-1/put/verso.json", "{}");
    put(".restore-1/put/gateway.token", "new\n");
    let note = serde_json::json!([{"dir": dir, "staged": dir.join(".restore-1/put"), "kept": dir.join("before-restore-1"),
        "away": ["verso.json"], "put": ["verso.json", "gateway.token"]}]);
    put("restore-in-progress.json", &note.to_string());
    {
        let _held = GatewayLock::acquire(&StatePaths::new(dir, None)).expect("free");
        let no = refused(&run(dir, &["backup", "create", &place.path().display().to_string()]));
        assert!(no.contains("another Verso gateway"), "{no}");
    }
    ok(&run(dir, &["backup", "create", &place.path().display().to_string()]));
    assert_eq!(fs::read_to_string(dir.join("verso.json")).expect("there"), "{}");
    assert_eq!(fs::read_to_string(dir.join("gateway.token")).expect("there"), "new\n");
    assert!(!dir.join("restore-in-progress.json").exists() && !dir.join(".restore-1").exists());
}
