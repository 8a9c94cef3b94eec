//! Every way in which editors and tools save a file, with real files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use actix::prelude::*;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::*;
use crate::config::ResolveEnv;

struct Probe(UnboundedSender<ConfigFileChanged>);

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<ConfigFileChanged> for Probe {
    type Result = ();

    fn handle(&mut self, changed: ConfigFileChanged, _: &mut Self::Context) {
        let _ = self.0.send(changed);
    }
}

struct Watched {
    dir: tempfile::TempDir,
    seen: UnboundedReceiver<ConfigFileChanged>,
    watcher: Addr<WatcherActor>,
}

fn limit(n: u32) -> String {
    format!("{{ channels: {{ whatsapp: {{ historyLimit: {n} }} }} }}")
}

impl Watched {
    /// A watched `<tmp>/conf/verso.json` that `set_up` has made.
    async fn new(set_up: impl FnOnce(&Path)) -> Self {
        Self::with_poll(set_up, Duration::from_secs(30)).await
    }

    async fn with_poll(set_up: impl FnOnce(&Path), poll: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("conf");
        fs::create_dir(&conf).unwrap();
        set_up(&conf);
        let source = ConfigSource { path: conf.join("verso.json"), env: ResolveEnv::new("/h", "/s") };
        let loaded = file::load(&source).unwrap();
        let (tx, seen) = unbounded_channel();
        let reload = ReloadConfig { poll, ..loaded.config.gateway.reload.clone() };
        let probe = Probe(tx).start();
        let watcher = WatcherActor::new(source, reload, loaded.fingerprint, probe.recipient()).start();
        let mut watched = Self { dir, seen, watcher };
        // The answer to a knock says that the watch stands: watching comes before it.
        watched.watcher.do_send(Knock);
        assert!(watched.next().await.outcome.is_ok());
        watched
    }

    async fn plain() -> Self {
        Self::new(|conf| fs::write(conf.join("verso.json"), limit(1)).unwrap()).await
    }

    fn conf(&self) -> PathBuf {
        self.dir.path().join("conf")
    }

    fn file(&self) -> PathBuf {
        self.conf().join("verso.json")
    }

    async fn next(&mut self) -> ConfigFileChanged {
        timeout(Duration::from_secs(5), self.seen.recv()).await.expect("a change within the deadline").unwrap()
    }

    async fn wait_until_half_is_seen(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.watcher.send(IsWaiting).await.unwrap() {
            assert!(Instant::now() < deadline, "the watcher never looked at the half-written file");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A good config with this limit comes; a busy machine may let the moment be seen in which the file was gone.
    async fn expect_at_last(&mut self, want: u32) {
        loop {
            match self.next().await.outcome {
                Ok(loaded) => {
                    let limit = loaded.config.accounts.values().next().unwrap().rules.history_limit;
                    return assert_eq!(limit, want as usize);
                }
                Err(rejected) => assert!(rejected.to_string().contains("no such file"), "{rejected}"),
            }
        }
    }

    /// The next report is a good config with this limit.
    async fn expect(&mut self, want: u32) {
        match self.next().await.outcome {
            Ok(loaded) => {
                assert_eq!(loaded.config.accounts.values().next().unwrap().rules.history_limit, want as usize)
            }
            Err(rejected) => panic!("rejected: {rejected}"),
        }
    }
}

#[actix::test]
async fn truncated_and_written() {
    let mut w = Watched::plain().await;
    for n in 2..6 {
        fs::write(w.file(), limit(n)).unwrap();
        w.expect(n).await;
    }
}

#[actix::test]
async fn written_beside_and_renamed_over() {
    let mut w = Watched::plain().await;
    for n in 2..5 {
        fs::write(w.conf().join("new"), limit(n)).unwrap();
        fs::rename(w.conf().join("new"), w.file()).unwrap();
        w.expect(n).await;
    }
}

#[actix::test]
async fn deleted_and_made_again() {
    let mut w = Watched::plain().await;
    fs::remove_file(w.file()).unwrap();
    fs::write(w.file(), limit(2)).unwrap();
    w.expect(2).await;
    fs::remove_file(w.file()).unwrap();
    let gone = w.next().await.outcome.unwrap_err();
    assert!(gone.to_string().contains("there is no such file"), "{gone}");
    fs::write(w.file(), limit(3)).unwrap();
    w.expect(3).await;
}

#[actix::test]
async fn moved_away_and_copied_back_as_vim_does() {
    let mut w = Watched::plain().await;
    for n in 2..4 {
        fs::rename(w.file(), w.conf().join("verso.json~")).unwrap();
        fs::write(w.file(), limit(n)).unwrap();
        fs::remove_file(w.conf().join("verso.json~")).unwrap();
        w.expect(n).await;
    }
}

#[actix::test]
async fn a_symlink_to_the_file_is_swapped() {
    let mut w = Watched::new(|conf| {
        fs::write(conf.join("a"), limit(1)).unwrap();
        fs::write(conf.join("b"), limit(2)).unwrap();
        symlink("a", conf.join("verso.json")).unwrap();
    })
    .await;
    symlink("b", w.conf().join("next")).unwrap();
    fs::rename(w.conf().join("next"), w.file()).unwrap();
    w.expect(2).await;
    // The new target is watched too.
    fs::write(w.conf().join("b"), limit(3)).unwrap();
    w.expect(3).await;
}

#[actix::test]
async fn a_symlink_to_the_folder_is_swapped_as_kubernetes_does() {
    let mut w = Watched::new(|conf| {
        for (folder, n) in [("v1", 1), ("v2", 2)] {
            fs::create_dir(conf.join(folder)).unwrap();
            fs::write(conf.join(folder).join("verso.json"), limit(n)).unwrap();
        }
        symlink("v1", conf.join("..data")).unwrap();
        symlink("..data/verso.json", conf.join("verso.json")).unwrap();
    })
    .await;
    symlink("v2", w.conf().join("..tmp")).unwrap();
    fs::rename(w.conf().join("..tmp"), w.conf().join("..data")).unwrap();
    w.expect(2).await;
    fs::write(w.conf().join("v2/verso.json"), limit(3)).unwrap();
    w.expect(3).await;
}

#[actix::test]
async fn half_written_is_waited_for() {
    let mut w = Watched::plain().await;
    let text = limit(2);
    let mut file = fs::File::create(w.file()).unwrap();
    file.write_all(&text.as_bytes()[..20]).unwrap();
    w.wait_until_half_is_seen().await;
    file.write_all(&text.as_bytes()[20..]).unwrap();
    w.expect(2).await;
}

#[actix::test]
async fn left_half_written_is_reported_once() {
    let mut w = Watched::plain().await;
    fs::write(w.file(), "{ channels: {").unwrap();
    let rejected = w.next().await.outcome.unwrap_err();
    assert!(rejected.is_incomplete(), "{rejected}");
    fs::write(w.file(), limit(2)).unwrap();
    w.expect(2).await;
}

#[actix::test]
async fn the_folder_is_removed_and_made_again() {
    let mut w = Watched::plain().await;
    for n in 2..4 {
        fs::remove_dir_all(w.conf()).unwrap();
        assert!(w.next().await.outcome.is_err());
        fs::create_dir(w.conf()).unwrap();
        fs::write(w.file(), limit(n)).unwrap();
        w.expect_at_last(n).await;
    }
    fs::rename(w.conf(), w.dir.path().join("old")).unwrap();
    fs::create_dir(w.conf()).unwrap();
    fs::write(w.file(), limit(9)).unwrap();
    w.expect_at_last(9).await;
}

#[actix::test]
async fn an_included_file_counts_from_the_moment_it_is_named() {
    let mut w = Watched::plain().await;
    fs::create_dir(w.conf().join("parts")).unwrap();
    fs::write(w.conf().join("parts/wa.json"), "{ historyLimit: 2 }").unwrap();
    fs::write(w.file(), "{ channels: { whatsapp: { $include: 'parts/wa.json' } } }").unwrap();
    w.expect(2).await;
    fs::write(w.conf().join("parts/wa.json"), "{ historyLimit: 3 }").unwrap();
    w.expect(3).await;
}

#[actix::test]
async fn what_changes_nothing_is_not_reported() {
    let mut w = Watched::plain().await;
    fs::write(w.conf().join("neighbour.json"), "x").unwrap();
    fs::write(w.file(), limit(1)).unwrap();
    let _ = fs::read(w.file()).unwrap();
    // A burst is one report, of its end.
    for n in 2..30 {
        fs::write(w.file(), limit(n)).unwrap();
    }
    w.expect(29).await;
    fs::write(w.file(), limit(30)).unwrap();
    w.expect(30).await;
}

#[actix::test]
async fn without_notifications_the_poll_finds_it() {
    let mut w = Watched::with_poll(
        |conf| fs::write(conf.join("verso.json"), "{ gateway: { reload: { pollSeconds: 0.2 } } }").unwrap(),
        Duration::from_millis(200),
    )
    .await;
    w.watcher.send(Deafen).await.unwrap();
    fs::write(w.file(), limit(2)).unwrap();
    w.expect(2).await;
}

/// Takes the notifications away, as an exhausted inotify does.
#[derive(Message)]
#[rtype(result = "()")]
struct Deafen;

impl Handler<Deafen> for WatcherActor {
    type Result = ();

    fn handle(&mut self, _: Deafen, _: &mut Self::Context) {
        self.watcher = None;
        self.poll_only = true;
    }
}

/// Whether the watcher has seen a text that ends too early and gives it time.
#[derive(Message)]
#[rtype(result = "bool")]
struct IsWaiting;

impl Handler<IsWaiting> for WatcherActor {
    type Result = bool;

    fn handle(&mut self, _: IsWaiting, _: &mut Self::Context) -> bool {
        self.incomplete_since.is_some()
    }
}
