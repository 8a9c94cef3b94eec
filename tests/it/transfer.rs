//! Links that move: out as a Baileys folder and in again, in place, and what is refused. The real Baileys does the same in
//! tests/foreign/takeover.mjs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use verso::clock::Clock;
use verso::ids::AccountId;
use verso::whatsapp::baileys::{BaileysError, Exported, Taking, import};
use verso::whatsapp::seal::SealedFolder;
use wa_simulator::{Group, Phone, World};

use crate::support::GatewayFixture;

const ONE: &str =
    "{ channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], groups: { '*': { requireMention: false } },
    accounts: { work: {} } } } }";
const FORCED: Taking = Taking { force: true, fresh_sessions: false };
const DEFAULT: &str = "{ channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'] } } }";

/// Writes a plain account out.
pub async fn export(dir: &Path, to: &Path) -> Result<Exported, BaileysError> {
    let folder = SealedFolder { dir, account: &AccountId::new("work"), encryption: None };
    verso::whatsapp::baileys::export(folder, to).await
}

fn account(state: &Path, id: &str) -> PathBuf {
    state.join("credentials/whatsapp").join(id)
}

/// A world with a linked account that has talked, at rest; and the folder that Baileys would go on from.
struct Moved {
    world: World,
    work: Phone,
    ann: Phone,
    group: Group,
    old: tempfile::TempDir,
    baileys: tempfile::TempDir,
}

impl Moved {
    async fn out() -> Self {
        let world = World::start().await.expect("world");
        let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
        let group = world.group("Lunch", &ann, &[&work]);
        let gateway = GatewayFixture::start(&world, ONE).await;
        gateway.link("work", &work).await;
        chat(&ann, &work, &group, "before").await;
        let old = gateway.stop().await;
        let baileys = tempfile::tempdir().expect("temp dir");
        let report = export(&account(old.path(), "work"), &baileys.path().join("out")).await.expect("exported");
        assert!(report.sessions > 0 && report.pre_keys > 0 && report.sender_keys > 0, "{report:?}");
        assert_eq!(report.skipped, []);
        Self { world, work, ann, group, old, baileys }
    }

    fn folder(&self) -> PathBuf {
        self.baileys.path().join("out")
    }

    /// Starts a gateway in a folder and talks in the old chats; nobody had to ask for anything again.
    async fn goes_on(&self, state: tempfile::TempDir, id: &str) -> GatewayFixture {
        let asked = retries(&self.world);
        let gateway = GatewayFixture::start_in(&self.world, state).await;
        gateway.wait_state(id, "connected").await;
        chat(&self.ann, &self.work, &self.group, "after").await;
        assert_eq!(retries(&self.world), asked, "every session went on");
        gateway
    }
}

/// A word to the account and one in the group, both answered by echo.
async fn chat(ann: &Phone, work: &Phone, group: &Group, word: &str) {
    let (direct, shared) = (format!("{word} directly"), format!("{word} in the group"));
    ann.says(work, &direct);
    ann.expect_text(direct.clone()).await.expect("answered");
    ann.says_in(group, &shared, &[]);
    ann.expect_text(shared.clone()).await.expect("answered in the group");
}

fn retries(world: &World) -> usize {
    world.trace().iter().filter(|entry| entry.xml.contains("type=\"retry\"")).count()
}

fn state(config: &str) -> tempfile::TempDir {
    let state = tempfile::tempdir().expect("temp dir");
    fs::write(state.path().join("verso.json"), config).expect("written");
    state
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).expect("readable").flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_goes_out_and_comes_in_again_with_its_chats() {
    let moved = Moved::out().await;
    let left = names(&account(moved.old.path(), "work"));
    assert_eq!(
        left,
        ["account.lock", "creds.json.bak.exported", "creds.json.exported", "signal.db.exported"],
        "Verso does not go on by accident"
    );
    let again = export(&account(moved.old.path(), "work"), &moved.baileys.path().join("b")).await.expect_err("nothing");
    assert!(matches!(again, BaileysError::NothingToExport(_)), "{again}");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&moved.folder()), mode(&moved.folder().join("creds.json"))), (0o700, 0o600));

    let fresh = state(ONE);
    let dir = account(fresh.path(), "work");
    fs::create_dir_all(&dir).expect("made");
    let report = import(&moved.folder(), &dir, Taking::default(), Clock::System.now()).await.expect("imported");
    assert_eq!((report.skipped, report.warnings, report.backup), (vec![], vec![], None));
    assert_eq!(names(&dir), ["creds.json", "creds.json.bak", "signal.db"]);
    let gateway = moved.goes_on(fresh, "work").await;
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_baileys_folder_is_taken_over_where_it_lies() {
    let moved = Moved::out().await;
    let fresh = state(ONE);
    let dir = account(fresh.path(), "work");
    copy(&moved.folder(), &dir);
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("chmod");
    fs::set_permissions(dir.join("creds.json"), fs::Permissions::from_mode(0o644)).expect("chmod");
    let before = names(&dir);
    let root = fresh.path().to_path_buf();
    let gateway = moved.goes_on(fresh, "work").await;
    let backups: Vec<String> = names(&root.join("credentials/whatsapp"));
    let backup = backups.iter().find(|n| n.starts_with("work.baileys-backup-")).expect("a backup is kept");
    let backup = root.join("credentials/whatsapp").join(backup);
    assert_eq!(names(&backup), before);
    assert_eq!(fs::metadata(&dir).expect("there").permissions().mode() & 0o777, 0o700, "closed to others");
    assert_eq!(fs::metadata(backup.join("creds.json")).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(names(&dir).iter().all(|n| !n.starts_with("session-")), "{:?}", names(&dir));
    // A second start finds a link of its own and takes nothing over.
    let gateway = moved.goes_on(gateway.stop().await, "work").await;
    assert_eq!(names(&root.join("credentials/whatsapp")), backups);
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_an_old_version_directly_under_credentials_are_taken_over_for_default() {
    let moved = Moved::out().await;
    let fresh = state(DEFAULT);
    let dir = fresh.path().join("credentials");
    copy(&moved.folder(), &dir);
    fs::write(dir.join("oauth.json"), "{}").expect("written");
    let asked = retries(&moved.world);
    let gateway = GatewayFixture::start_in(&moved.world, fresh).await;
    gateway.wait_state("default", "connected").await;
    moved.ann.says(&moved.work, "old files");
    moved.ann.expect_text("old files").await.expect("answered");
    assert_eq!(retries(&moved.world), asked);
    assert!(dir.join("oauth.json").is_file() && dir.join("signal.db").is_file(), "{:?}", names(&dir));
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_take_over_that_was_cut_off_goes_on_and_rolls_nothing_back() {
    let moved = Moved::out().await;
    // Cut off before creds.json changed hands: the database is in place, Baileys' files are too.
    let fresh = state(ONE);
    let dir = account(fresh.path(), "work");
    fs::create_dir_all(&dir).expect("made");
    import(&moved.folder(), &dir, Taking::default(), Clock::System.now()).await.expect("imported");
    fs::remove_file(dir.join("creds.json")).expect("removed");
    fs::remove_file(dir.join("creds.json.bak")).expect("removed");
    copy(&moved.folder(), &dir);
    fs::write(dir.join("signal.db.importing"), "half").expect("written");
    let gateway = moved.goes_on(fresh, "work").await;
    // The same again after the ratchets moved on: a copy of the old files does not bring old keys back.
    let fresh = gateway.stop().await;
    copy(&moved.folder(), &dir);
    let gateway = moved.goes_on(fresh, "work").await;
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_folder_keeps_the_link_when_that_is_wanted() {
    let moved = Moved::out().await;
    let half = tempfile::tempdir().expect("temp dir");
    fs::copy(moved.folder().join("creds.json"), half.path().join("creds.json")).expect("copied");
    let fresh = state(ONE);
    let dir = account(fresh.path(), "work");
    fs::create_dir_all(&dir).expect("made");
    let now = Clock::System.now();
    let refused = import(half.path(), &dir, Taking::default(), now).await.expect_err("half").to_string();
    assert!(refused.contains("half of a Baileys folder") && refused.contains("--force"), "{refused}");
    assert_eq!(names(&dir), Vec::<String>::new(), "nothing changed");
    import(half.path(), &dir, FORCED, now).await.expect("the identity is enough");
    let gateway = GatewayFixture::start_in(&moved.world, fresh).await;
    gateway.wait_state("work", "connected").await;
    let asked = retries(&moved.world);
    moved.ann.says(&moved.work, "who are you now");
    moved.ann.expect_text("who are you now").await.expect("answered after a retry");
    assert!(retries(&moved.world) > asked, "the sessions were lost, so the message was asked for again");
    drop(gateway);
}
