//! A gateway in this process against a simulated WhatsApp: the real actors, the real client, real sockets, real files.

pub mod model;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use verso::actors::gateway::{Boot, Gateway};
use verso::actors::messages::{
    AccountStatus, ExplainMessage, GatewayPort, GatewayStatus, GetStatus, LoginProgress, LoginStart, LoginStarted,
    LoginWait, Refusal,
};
use verso::actors::supervisor::InjectPanic;
use verso::clock::Clock;
use verso::config::file::{ConfigSource, Environment};
use verso::store::journal::Journal;
use verso::store::paths::StatePaths;
use verso::whatsapp::Endpoint;
use wa_simulator::{LinkedDevice, Phone, World};

/// How long anything is waited for.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A running gateway and the folder that it lives in.
pub struct GatewayFixture {
    /// What the doors use.
    pub port: GatewayPort,
    /// The state folder.
    pub state: PathBuf,
    /// The gateway's journal, whose disk can be filled.
    pub journal: Journal,
    folder: Option<tempfile::TempDir>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    panics: tokio::sync::mpsc::UnboundedSender<(String, InjectPanic)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The client logs of a failing test, when `VERSO_LOG` asks for them.
fn init_logs() {
    if let Ok(filter) = std::env::var("VERSO_LOG") {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
            .with_test_writer()
            .try_init();
    }
}

impl GatewayFixture {
    /// Starts a gateway with this `verso.json` in a fresh state folder.
    pub async fn start(world: &World, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("temp dir");
        std::fs::write(folder.path().join("verso.json"), config).expect("config written");
        Self::start_in(world, folder).await
    }

    /// The same with a time of day that the test sets.
    pub async fn start_at(world: &World, config: &str, clock: Clock) -> Self {
        let folder = tempfile::tempdir().expect("temp dir");
        std::fs::write(folder.path().join("verso.json"), config).expect("config written");
        Self::begin(world, folder, clock).await
    }

    /// Starts a gateway in a folder that an earlier one used.
    pub async fn start_in(world: &World, folder: tempfile::TempDir) -> Self {
        Self::begin(world, folder, Clock::System).await
    }

    /// The same with a time of day that the test sets.
    pub async fn start_in_at(world: &World, folder: tempfile::TempDir, clock: Clock) -> Self {
        Self::begin(world, folder, clock).await
    }

    async fn begin(world: &World, folder: tempfile::TempDir, clock: Clock) -> Self {
        init_logs();
        let state = folder.path().to_path_buf();
        let (ready, started) = tokio::sync::oneshot::channel();
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let (panics, mut injected) = tokio::sync::mpsc::unbounded_channel::<(String, InjectPanic)>();
        let boot = Boot { clock, ..boot(world, &state) };
        let thread = std::thread::spawn(move || {
            let system = actix::System::with_tokio_rt(|| {
                tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .expect("a runtime can be built")
            });
            system.block_on(async move {
                let gateway = Gateway::start(boot).await.expect("the gateway starts");
                let _ = ready.send((gateway.port.clone(), gateway.journal()));
                loop {
                    tokio::select! {
                        Some((account, which)) = injected.recv() => gateway.inject_panic(&account, which),
                        _ = &mut stopped => break,
                    }
                }
                gateway.stop(Duration::from_secs(10)).await;
            });
        });
        let (port, journal) =
            tokio::time::timeout(DEADLINE, started).await.expect("started in time").expect("the gateway starts");
        Self { port, state, journal, folder: Some(folder), stop: Some(stop), panics, thread: Some(thread) }
    }

    /// Stops the gateway and hands its folder out, for the next one.
    pub async fn stop(mut self) -> tempfile::TempDir {
        self.end();
        self.folder.take().expect("a running fixture has its folder")
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let (done, ended) = mpsc::channel();
            std::thread::spawn(move || {
                let _ = done.send(thread.join());
            });
            let joined = ended.recv_timeout(DEADLINE);
            if !std::thread::panicking() {
                joined.expect("the gateway stops in time").expect("no actor thread panicked");
            }
        }
    }

    /// Makes an actor of an account panic.
    pub fn inject_panic(&self, account: &str, which: InjectPanic) {
        self.panics.send((account.to_owned(), which)).expect("the gateway runs");
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.state.join("verso.json")
    }

    /// Replaces `verso.json` as an editor does: temporary file and rename.
    pub fn write_config(&self, text: &str) {
        let temporary = self.state.join("verso.json.new");
        std::fs::write(&temporary, text).expect("config written");
        std::fs::rename(temporary, self.config_path()).expect("config replaced");
    }

    /// State of the gateway.
    pub async fn status(&self) -> GatewayStatus {
        self.port.status.send(GetStatus).await.expect("the gateway answers")
    }

    /// Waits until `wanted` holds for the status.
    pub async fn wait(&self, what: &str, wanted: impl Fn(&GatewayStatus) -> bool) -> GatewayStatus {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let status = self.status().await;
            if wanted(&status) {
                return status;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "waited in vain for {what}; the status is {}",
                serde_json::to_string_pretty(&status).expect("json")
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until an account is in a state.
    pub async fn wait_state(&self, id: &str, code: &str) -> AccountStatus {
        let what = format!("{id} to be {code}");
        let status =
            self.wait(&what, |s| s.accounts.iter().any(|a| a.account_id.as_str() == id && a.state == code)).await;
        status.accounts.into_iter().find(|a| a.account_id.as_str() == id).expect("just seen")
    }

    /// Waits until the configuration in force has this revision.
    pub async fn wait_revision(&self, revision: u64) -> GatewayStatus {
        self.wait(&format!("revision {revision}"), |s| s.revision >= revision).await
    }

    /// Waits until an account has counted `n` decisions of a kind.
    pub async fn wait_count(&self, id: &str, code: &str, n: u64) {
        let counted = |s: &GatewayStatus| {
            s.accounts.iter().any(|a| a.account_id.as_str() == id && a.counters.get(code).copied().unwrap_or(0) >= n)
        };
        self.wait(&format!("{n} × {code} on {id}"), counted).await;
    }

    /// What `verso why` tells of an inbound message.
    pub async fn why(&self, id: &str) -> serde_json::Value {
        let asked = ExplainMessage { id: verso::ids::MessageId::new(id) };
        let found = self.port.explain.send(asked).await.expect("the gateway answers").expect("known");
        found["rows"][0]["inbound"].clone()
    }

    /// The decision on an inbound message, as soon as there is one: `answer`, or the code of the reason not to.
    pub async fn verdict(&self, id: &str) -> String {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let asked = ExplainMessage { id: verso::ids::MessageId::new(id) };
            let found = self.port.explain.send(asked).await.expect("the gateway answers").unwrap_or_default();
            let verdict = &found["rows"][0]["inbound"]["decision"]["verdict"];
            match (verdict["verdict"].as_str(), verdict["reason"].as_str()) {
                (Some("dispatch"), _) => return "answer".to_owned(),
                (Some(_), Some(reason)) => return reason.to_owned(),
                _ => {}
            }
            assert!(tokio::time::Instant::now() < deadline, "no decision on {id}: {found:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Replaces `verso.json` and waits until the new one is in force.
    pub async fn edit(&self, text: &str) {
        let before = self.status().await.revision;
        self.write_config(text);
        self.wait_revision(before + 1).await;
    }

    /// Asks for a login and gives the QR text.
    pub async fn qr(&self, account: &str) -> String {
        match self.login(account, false, None).await {
            Ok(LoginStarted::Qr { code, .. }) => code,
            other => panic!("no QR code: {other:?}"),
        }
    }

    /// Asks for a login.
    pub async fn login(
        &self,
        account: &str,
        force: bool,
        phone: Option<verso::ids::E164>,
    ) -> Result<LoginStarted, Refusal> {
        let start = LoginStart { account: Some(account.to_owned()), force, phone, timeout: DEADLINE };
        self.port.login_start.send(start).await.expect("the gateway answers")
    }

    /// Waits for a login to end.
    pub async fn login_end(&self, account: &str) -> LoginProgress {
        let wait = LoginWait { account: Some(account.to_owned()), shown: None, timeout: DEADLINE };
        self.port.login_wait.send(wait).await.expect("the gateway answers").expect("a known account")
    }

    /// Links an account to a phone by QR code and waits until it is connected.
    pub async fn link(&self, account: &str, phone: &Phone) -> LinkedDevice {
        let qr = self.qr(account).await;
        let device = phone.scan_qr(&qr).await.expect("the phone links");
        self.wait_state(account, "connected").await;
        device
    }
}

impl Drop for GatewayFixture {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a gateway in `state` against `world` is made from.
pub fn boot(world: &World, state: &Path) -> Boot {
    let environment =
        Environment { state_dir: Some(state.to_path_buf()), home: Some(state.to_path_buf()), ..Environment::default() };
    let address = world.ws_url().trim_start_matches("ws://").split('/').next().expect("host").parse().expect("address");
    Boot {
        paths: StatePaths::new(state, None),
        source: ConfigSource::find(&environment),
        endpoint: Endpoint::loopback(address),
        clock: Clock::System,
        only: None,
    }
}
