//! Folders that no link can live in, and what a person reads then: on the command line, and in `channels status` of a gateway.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use wa_simulator::World;

use crate::baileys_folder::{command, fixture, said, verso};
use crate::support::GatewayFixture;

/// A state folder whose account `work` has the folder `<state>/auth`.
fn state() -> (tempfile::TempDir, PathBuf) {
    let state = tempfile::tempdir().expect("temp dir");
    let config = "{ gateway: { port: 0 }, channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: { authDir: 'AUTH' } } } } }";
    let auth = state.path().join("auth");
    let config = config.replace("AUTH", auth.to_str().expect("text"));
    fs::write(state.path().join("verso.json"), config).expect("written");
    (state, auth)
}

/// A pipe: whoever reads it waits for ever.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("runs").success());
}

type Spoil = fn(&Path);

/// What is wrong with the folder of an account, and what people are told of it.
const SPOILT: &[(&str, Spoil)] = &[
    ("is a file, and an account needs a folder", |auth| fs::write(auth, "x").expect("written")),
    ("is a symbolic link to nothing", |auth| symlink(auth.with_file_name("nothing"), auth).expect("linked")),
    ("creds.json is a symbolic link", |auth| {
        fs::create_dir(auth).expect("made");
        symlink("/etc/hostname", auth.join("creds.json")).expect("linked");
    }),
    ("creds.json is a folder", |auth| fs::create_dir_all(auth.join("creds.json")).expect("made")),
    ("signal.db is a folder", |auth| fs::create_dir_all(auth.join("signal.db")).expect("made")),
    ("creds.json.bak is no ordinary file", |auth| {
        fs::create_dir(auth).expect("made");
        pipe(&auth.join("creds.json.bak"));
    }),
];

#[test]
fn the_command_line_names_what_stands_in_the_way() {
    for (expected, spoil) in SPOILT {
        let ((state, auth), from) = (state(), fixture());
        spoil(&auth);
        let folder = from.path().to_str().expect("text");
        let out = state.path().join("out");
        let import = ["channels", "import", "--account", "work", "--from", folder];
        let export = ["channels", "export", "--account", "work", "--to", out.to_str().expect("text")];
        for words in [&import, &export] {
            let (ok, text) = verso(state.path(), words);
            let named = text.contains(expected) || (words[1] == "export" && text.contains("nothing to export"));
            assert!(!ok && named && !text.contains("panic"), "{expected}: {text}");
        }
        let (ok, text) = verso(state.path(), &["channels", "status"]);
        assert!(ok && text.contains("not linked") && text.contains(expected), "{expected}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_tells_it_in_the_status() {
    let world = World::start().await.expect("world");
    let foreign: (&str, Spoil) = ("was written neither by Verso nor by Baileys", |auth| {
        fs::create_dir(auth).expect("made");
        fs::write(auth.join("creds.json"), r#"{"token":"x"}"#).expect("written");
    });
    for (expected, spoil) in SPOILT.iter().chain([&foreign]) {
        let (state, auth) = state();
        spoil(&auth);
        let gateway = GatewayFixture::start_in(&world, state).await;
        let told = gateway.wait_state("work", "not-linked").await.last_error.unwrap_or_default();
        assert!(told.contains(expected), "{expected}: {told}");
    }
    // Half a link of Baileys is one; what is wrong with the rest of it is told when it is taken over.
    let (state, auth) = state();
    fs::create_dir(&auth).expect("made");
    let creds = fs::read_to_string(fixture().path().join("creds.json")).expect("read");
    fs::write(auth.join("creds.json"), creds.replace("\"advSecretKey\"", "\"lost\"")).expect("written");
    let gateway = GatewayFixture::start_in(&world, state).await;
    let told = |s: &verso::actors::messages::GatewayStatus| {
        let error = s.accounts.first().and_then(|account| account.last_error.as_deref());
        error.is_some_and(|e| e.contains("advSecretKey is missing or damaged"))
    };
    gateway.wait("the missing key to be named", told).await;
}

#[test]
fn what_is_no_folder_of_baileys_is_refused() {
    type Make = fn(&Path) -> PathBuf;
    let cases: &[(&str, Make)] = &[
        ("is no folder", |home| home.join("nowhere")),
        ("is no folder", |home| {
            fs::write(home.join("creds.json"), "{}").expect("written");
            home.join("creds.json")
        }),
        ("holds no creds.json", |home| home.to_path_buf()),
        ("was not written by Baileys", |home| {
            fs::write(home.join("creds.json"), r#"{"accessToken":"x"}"#).expect("written");
            home.to_path_buf()
        }),
        ("is not JSON", |home| {
            fs::write(home.join("creds.json"), [0x89, b'P', b'N', b'G']).expect("written");
            home.to_path_buf()
        }),
        ("only half of a Baileys folder", |home| {
            fs::copy(fixture().path().join("creds.json"), home.join("creds.json")).expect("copied");
            home.to_path_buf()
        }),
        ("is a symbolic link", |home| {
            symlink("/etc/hostname", home.join("creds.json")).expect("linked");
            home.to_path_buf()
        }),
        ("is no ordinary file", |home| {
            fs::create_dir(home.join("creds.json")).expect("made");
            home.to_path_buf()
        }),
        ("is no ordinary file", |home| {
            pipe(&home.join("creds.json"));
            home.to_path_buf()
        }),
    ];
    for (expected, make) in cases {
        let ((state, auth), home) = (state(), tempfile::tempdir().expect("temp dir"));
        let from = make(home.path());
        let words = ["channels", "import", "--account", "work", "--from", from.to_str().expect("text")];
        let (ok, text) = verso(state.path(), &words);
        assert!(!ok && text.contains(expected), "{expected}: {text}");
        assert!(!auth.join("creds.json").exists() && !auth.join("signal.db").exists(), "nothing was made");
    }
    // A folder that lies elsewhere, and one whose files have second names, are as good as any.
    let ((state, auth), from, home) = (state(), fixture(), tempfile::tempdir().expect("temp dir"));
    fs::hard_link(from.path().join("creds.json"), home.path().join("snapshot")).expect("linked");
    symlink(from.path(), home.path().join("moved")).expect("linked");
    let moved = home.path().join("moved");
    let (ok, text) =
        verso(state.path(), &["channels", "import", "--account", "work", "--from", moved.to_str().expect("text")]);
    assert!(ok && text.contains("without scanning") && auth.join("signal.db").is_file(), "{text}");
    let file = state.path().join("verso.json");
    let (ok, text) =
        verso(state.path(), &["channels", "export", "--account", "work", "--to", file.to_str().expect("text")]);
    assert!(!ok && text.contains("is a file, or lies below one; name a new folder"), "{text}");
}

/// Nothing is waited for: everything else moves, and the pipes are named.
#[test]
fn pipes_among_the_files_that_move_in_hold_nothing_up() {
    let ((state, _), from) = (state(), fixture());
    let session = "session-210000000002027_1.0.json";
    fs::remove_file(from.path().join(session)).expect("removed");
    pipe(&from.path().join(session));
    pipe(&from.path().join("creds.json.bak"));
    let words = ["channels", "import", "--account", "work", "--from", from.path().to_str().expect("text")];
    let (ok, text) = verso(state.path(), &words);
    assert!(ok && text.contains(session) && text.contains("it is no ordinary file"), "{text}");

    let (state, old) = (tempfile::tempdir().expect("temp dir"), tempfile::tempdir().expect("temp dir"));
    let (credentials, sessions) = (old.path().join("credentials"), old.path().join("agents/main/sessions"));
    fs::create_dir_all(&credentials).expect("made");
    fs::create_dir_all(&sessions).expect("made");
    fs::write(old.path().join("openclaw.json"), "{}").expect("written");
    pipe(&credentials.join("whatsapp-pairing.json"));
    let migrate = ["migrate", "openclaw", "--from", old.path().to_str().expect("text")];
    let entry = r#"{"agent:main:main": {"sessionId": "a-1"}}"#;
    fs::write(sessions.join("sessions.json"), entry).expect("written");
    pipe(&sessions.join("a-1.jsonl"));
    let (ok, text) = verso(state.path(), &migrate);
    assert!(ok && text.contains("pairing whatsapp-pairing.json: it is no ordinary file"), "{text}");
    assert!(text.contains("1 whose transcript is lost"), "{text}");
    fs::remove_file(sessions.join("sessions.json")).expect("removed");
    pipe(&sessions.join("sessions.json"));
    let (ok, text) = verso(state.path(), &migrate);
    assert!(ok && text.contains("sessions.json") && text.contains("it is no ordinary file"), "{text}");
}

#[test]
fn an_accounts_folder_is_closed_to_others_with_one_warning() {
    let ((state, auth), from) = (state(), fixture());
    fs::create_dir(&auth).expect("made");
    fs::set_permissions(&auth, fs::Permissions::from_mode(0o755)).expect("chmod");
    let words = ["channels", "import", "--account", "work", "--force", "--from", from.path().to_str().expect("text")];
    assert!(verso(state.path(), &words).0);
    assert_eq!(fs::metadata(&auth).expect("there").mode() & 0o777, 0o700);
    for name in ["creds.json", "signal.db"] {
        fs::set_permissions(auth.join(name), fs::Permissions::from_mode(0o644)).expect("chmod");
    }
    let warned = || verso(state.path(), &words).1.matches("other users of this machine could read").count();
    assert_eq!((warned(), warned()), (1, 0));
}

/// The program as a user who owns nothing here, or as the one who runs the tests when that is not root.
fn as_nobody(home: &Path, state: &Path) -> Command {
    let mut command = command(home, state);
    // A place that everybody can reach.
    let program = std::env::temp_dir().join(format!("verso-of-nobody-{}", std::process::id()));
    if !program.exists() {
        let own = tempfile::NamedTempFile::new().expect("temp file");
        fs::copy(env!("CARGO_BIN_EXE_verso"), own.path()).expect("copied");
        fs::set_permissions(own.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        fs::rename(own.path(), &program).expect("in its place");
    }
    if rustix::process::geteuid().is_root() {
        let mut other = Command::new(&program);
        other.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home).env("VERSO_STATE_DIR", state);
        command = other;
        command.uid(65_534).gid(65_534);
    }
    command
}

#[test]
fn files_of_another_user_are_named_with_the_way_out() {
    let ((state, auth), from) = (state(), fixture());
    for path in [state.path(), from.path()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let folder = from.path().to_str().expect("text");
    assert!(verso(state.path(), &["channels", "import", "--account", "work", "--from", folder]).0);
    fs::set_permissions(&auth, fs::Permissions::from_mode(0o755)).expect("chmod");
    fs::set_permissions(auth.join("creds.json"), fs::Permissions::from_mode(0o000)).expect("chmod");
    let (_, text) = said(as_nobody(state.path(), state.path()).args(["channels", "status"]));
    assert!(text.contains("cannot read") && text.contains("creds.json: Permission denied"), "{text}");
    assert!(!text.contains("damaged"), "nothing is wrong with the file: {text}");
    if rustix::process::geteuid().is_root() {
        assert!(text.contains("belongs to user 0") && text.contains("chown -R 65534"), "{text}");
    }
    fs::set_permissions(from.path().join("creds.json"), fs::Permissions::from_mode(0o000)).expect("chmod");
    let words = ["channels", "import", "--force", "--account", "work", "--from", folder];
    let (ok, text) = said(as_nobody(state.path(), state.path()).args(words));
    assert!(!ok && text.contains("Permission denied"), "{text}");
    // A folder that must not be written to.
    fs::set_permissions(auth.join("creds.json"), fs::Permissions::from_mode(0o644)).expect("chmod");
    fs::set_permissions(&auth, fs::Permissions::from_mode(0o555)).expect("chmod");
    let (ok, text) = said(as_nobody(state.path(), state.path()).args(words));
    assert!(!ok && text.contains("Permission denied") && text.contains("auth"), "{text}");
}

/// The disk is full as far as this process sees: no file of it may grow beyond so many KiB.
fn with_room_for(kib: u32, state: &Path, words: &[&str]) -> (bool, String) {
    let verso = command(state, state);
    let mut shell = Command::new("sh");
    let line = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", kib * 2);
    shell.arg("-c").arg(line).arg(verso.get_program()).args(words).env_clear();
    for (name, value) in verso.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    said(&mut shell)
}

#[test]
fn without_room_nothing_is_half_done() {
    let ((state, auth), from) = (state(), fixture());
    let folder = from.path().to_str().expect("text");
    let import = ["channels", "import", "--account", "work", "--from", folder];
    let (ok, text) = with_room_for(40, state.path(), &import);
    assert!(!ok && text.contains("signal.db"), "{text}");
    let left: Vec<_> = fs::read_dir(&auth).expect("made").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["account.lock"], "nothing half stays");
    assert!(verso(state.path(), &import).0, "and the next attempt has nothing in its way");
    // A link that is there already is still there afterwards.
    let creds = fs::read(auth.join("creds.json")).expect("read");
    let (ok, _) = with_room_for(40, state.path(), &[&import[..], &["--force"]].concat());
    assert!(!ok && fs::read(auth.join("creds.json")).expect("read") == creds);
    let out = state.path().join("out");
    let export = ["channels", "export", "--account", "work", "--to", out.to_str().expect("text")];
    let (ok, text) = with_room_for(0, state.path(), &export);
    assert!(!ok && !out.exists(), "half a folder stays: {text}");
    let (_, text) = verso(state.path(), &["channels", "status"]);
    assert!(text.contains("linked") && !text.contains("not linked"), "{text}");
    assert!(verso(state.path(), &export).0 && out.join("creds.json").is_file());
}

/// A folder on a disk that cannot be written to, where the machine lets tests mount.
#[test]
fn a_read_only_disk_is_named() {
    let unshared = |line: &str| {
        let mut shell = Command::new("unshare");
        shell.args(["-m", "sh", "-c", line]);
        shell
    };
    if !unshared("mount --bind /tmp /tmp").output().is_ok_and(|out| out.status.success()) {
        return;
    }
    let ((state, auth), from) = (state(), fixture());
    let folder = from.path().to_str().expect("text");
    assert!(verso(state.path(), &["channels", "import", "--account", "work", "--from", folder]).0);
    let read_only = |words: &[&str]| {
        let verso = command(state.path(), state.path());
        let line = "mount --bind \"$AUTH\" \"$AUTH\" && mount -o remount,bind,ro \"$AUTH\" && exec \"$0\" \"$@\"";
        let mut shell = unshared(line);
        shell.arg(verso.get_program()).args(words).env_clear().env("AUTH", &auth);
        for (name, value) in verso.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        said(&mut shell).1
    };
    let text = read_only(&["channels", "status"]);
    assert!(text.contains("linked") && !text.contains("not linked"), "reading needs no writing: {text}");
    let text = read_only(&["channels", "import", "--force", "--account", "work", "--from", folder]);
    assert!(text.contains("Read-only file system") && text.contains("account.lock"), "{text}");
}
