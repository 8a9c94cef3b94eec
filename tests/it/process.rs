//! The program itself: started, asked through its command line, ended politely and killed.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use verso::cli::client::{Client, ClientError};
use verso::cli::place::Reach;
use wa_simulator::{Phone, World};

const DEADLINE: Duration = Duration::from_secs(20);

/// A `verso gateway` of its own process in a state folder of its own.
pub struct Process {
    child: Child,
    state: tempfile::TempDir,
}

pub fn verso(state: &Path, world: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verso"));
    for name in ["VERSO_CONFIG_PATH", "VERSO_GATEWAY_URL", "VERSO_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_TOKEN", "VERSO_LOG"]
    {
        command.env_remove(name);
    }
    command.env("VERSO_STATE_DIR", state).env("HOME", state).env("VERSO_WHATSAPP_URL", world).stdin(Stdio::null());
    command
}

/// The same program in a shell's foreground, also when the tests run in the background, where shells have Ctrl-C ignored.
pub fn in_foreground(program: &Command) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(program.get_program()).args(program.get_args()).stdin(Stdio::null());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// A folder with a configuration whose API takes any free port and whose log stays in the folder.
pub fn state(rest: &str) -> tempfile::TempDir {
    let state = tempfile::tempdir().expect("temp dir");
    write_config(state.path(), rest);
    state
}

/// Writes the configuration of [`state`] into a folder.
pub fn write_config(state: &Path, rest: &str) {
    let log = state.join("verso.log");
    let text = format!("{{ gateway: {{ port: 0 }}, logging: {{ file: {:?} }}, {rest} }}", log.display().to_string());
    std::fs::write(state.join("verso.json"), text).expect("config written");
}

const OPEN: &str = r#"channels: { whatsapp: { dmPolicy: "open", allowFrom: ["*"], accounts: { work: {} } } }"#;

impl Process {
    pub async fn start(world: &World, state: tempfile::TempDir) -> Self {
        let folder = state.path().to_path_buf();
        let mut process = Self::start_at(world, &folder).await;
        process.state = state;
        process
    }

    /// Starts with something that a test sets in its environment.
    pub async fn start_with(world: &World, state: tempfile::TempDir, set: (&str, &str)) -> Self {
        let folder = state.path().to_path_buf();
        let mut process = Self::launch(world, &folder, &[set]).await;
        process.state = state;
        process
    }

    /// Waits until it ends by itself and hands its folder out.
    pub async fn ended(mut self) -> tempfile::TempDir {
        let began = Instant::now();
        while self.child.try_wait().expect("waitable").is_none() {
            assert!(began.elapsed() < DEADLINE, "the gateway does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::mem::replace(&mut self.state, tempfile::tempdir().expect("temp dir"))
    }

    /// Starts in a folder that stays the caller's.
    pub async fn start_at(world: &World, state: &Path) -> Self {
        Self::launch(world, state, &[]).await
    }

    async fn launch(world: &World, state: &Path, set: &[(&str, &str)]) -> Self {
        // A pipe that nobody reads would stop the gateway when it is full.
        let said = std::fs::File::create(state.join("console")).expect("a file for what it says");
        let told = std::fs::File::create(state.join("stdout")).expect("a file for what it tells");
        let mut child = verso(state, &world.ws_url())
            .arg("gateway")
            .envs(set.iter().copied())
            .stdout(told)
            .stderr(said)
            .spawn()
            .expect("the program starts");
        let lock = state.join("gateway.lock");
        let began = Instant::now();
        loop {
            let noted = std::fs::read_to_string(&lock).unwrap_or_default();
            let mut words = noted.split_whitespace();
            if words.next() == Some(&child.id().to_string()) && words.next().is_some() {
                return Self { child, state: tempfile::tempdir().expect("temp dir") };
            }
            if let Some(code) = child.try_wait().expect("waitable") {
                let text = std::fs::read_to_string(state.join("console")).unwrap_or_default();
                panic!("the gateway ended with {code}: {text}");
            }
            assert!(began.elapsed() < DEADLINE, "the gateway does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs another command of the program against this gateway.
    pub async fn run(&self, world: &World, args: &[&str]) -> Output {
        alone(self.state.path(), world, args).await
    }

    /// Calls a method of its API.
    ///
    /// # Errors
    /// What the gateway says against it, or that it went away.
    pub async fn call(&self, method: &str, params: serde_json::Value) -> Result<serde_json::Value, ClientError> {
        call(self.folder(), method, params).await
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The state folder.
    pub fn folder(&self) -> &Path {
        self.state.path()
    }

    async fn status(&self, world: &World) -> serde_json::Value {
        let out = self.run(world, &["channels", "status", "--json"]).await;
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"))
    }

    pub async fn wait_connected(&self, world: &World) {
        let began = Instant::now();
        loop {
            let status = self.status(world).await;
            if status["channelAccounts"]["whatsapp"][0]["connected"] == true {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "not connected: {status:#}");
        }
    }

    /// Waits until its output says these words.
    pub async fn wait_said(&self, words: &str) {
        let began = Instant::now();
        while !std::fs::read_to_string(self.folder().join("stdout")).unwrap_or_default().contains(words) {
            assert!(began.elapsed() < DEADLINE, "it does not say {words}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Links the account through the command line, by the code that it prints.
    pub async fn link(&self, world: &World, phone: &Phone) {
        link_by_code(self.state.path(), world, phone, "work").await;
        self.wait_connected(world).await;
    }

    /// Runs a gateway that dies at a step of its next save.
    pub async fn dies(world: &World, state: &Path, step: &str) {
        Self::ends(world, state, ("VERSO_FAULT_SAVE", step)).await;
    }

    /// Runs a gateway that dies when it comes to a point between two steps.
    pub async fn dies_at(world: &World, state: &Path, point: &str) {
        Self::ends(world, state, ("VERSO_FAULT_AT", point)).await;
    }

    /// Runs a gateway that dies of what a test sets in its environment.
    pub async fn ends(world: &World, state: &Path, (name, step): (&str, &str)) {
        let mut command = tokio::process::Command::from(verso(state, &world.ws_url()));
        command.arg("gateway").env(name, step).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().expect("runs");
        let status =
            tokio::time::timeout(DEADLINE, child.wait()).await.unwrap_or_else(|_| panic!("it never came to {step}"));
        assert!(!status.expect("waitable").success(), "it died at {step}");
    }

    /// Ends it as a power cut does and hands its folder out.
    pub fn kill(mut self) -> tempfile::TempDir {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("ended");
        std::mem::replace(&mut self.state, tempfile::tempdir().expect("temp dir"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls a method of the gateway that runs in a state folder.
///
/// # Errors
/// What the gateway says against it, or that it is not there or went away.
pub async fn call(state: &Path, method: &str, params: serde_json::Value) -> Result<serde_json::Value, ClientError> {
    let read = |name| std::fs::read_to_string(state.join(name)).unwrap_or_default();
    let (noted, token) = (read("gateway.lock"), read("gateway.token"));
    let address = noted.split_whitespace().nth(1).unwrap_or_default();
    let reach = Reach { url: format!("ws://{address}"), token: Some(token.trim().to_owned()), explicit: true };
    let mut client = Client::connect(&reach, DEADLINE).await?;
    client.call(method, params, DEADLINE).await
}

/// Runs a command of the program in a state folder, whether a gateway runs there or not.
pub async fn alone(state: &Path, world: &World, args: &[&str]) -> Output {
    let mut command = verso(state, &world.ws_url());
    command.args(args);
    tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("no panic")
}

/// Runs `verso channels login --phone` and types the code that it prints into the phone.
pub async fn link_by_code(state: &Path, world: &World, phone: &Phone, account: &str) {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut command = tokio::process::Command::from(verso(state, &world.ws_url()));
    let mut login = command
        .args(["channels", "login", "--account", account, "--phone", &phone.number()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("runs");
    let mut lines = BufReader::new(login.stdout.take().expect("piped")).lines();
    let mut seen = Vec::new();
    let code = loop {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("a code in time").expect("readable");
        let Some(line) = line else { panic!("no code was printed: {seen:?}, {:?}", login.wait_with_output().await) };
        let code: String = line.chars().filter(char::is_ascii_alphanumeric).collect();
        if line.starts_with("    ") && code.len() == 8 {
            break code;
        }
        seen.push(line);
    };
    phone.enter_code(&code).await.expect("the phone links");
    let mut rest = Vec::new();
    while let Ok(Some(line)) = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("the login ends") {
        rest.push(line);
    }
    let status = tokio::time::timeout(DEADLINE, login.wait()).await.expect("the login ends").expect("waitable");
    assert!(status.success() && rest.iter().any(|l| l.contains("✅ Linked")), "{status}: {rest:?}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_links_sends_lists_and_explains() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = Process::start(&world, state(OPEN)).await;
    gateway.link(&world, &work).await;

    let sent = gateway
        .run(&world, &["message", "send", "--target", "+15557654321", "--message", "hello from the shell", "--json"])
        .await;
    assert!(sent.status.success(), "{sent:?}");
    ann.expect_text("hello from the shell").await.expect("delivered");

    let id = ann.says(&work, "ping");
    ann.expect_text("ping").await.expect("answered");
    let why = gateway.run(&world, &["why", &id]).await;
    assert!(why.status.success() && text(&why.stdout).contains("dmPolicy"), "{}", text(&why.stdout));

    let listed = gateway.run(&world, &["channels", "list"]).await;
    assert!(text(&listed.stdout).contains("work"), "{listed:?}");
    let health = gateway.run(&world, &["health"]).await;
    assert!(health.status.success() && text(&health.stdout).contains("linked"), "{health:?}");
    let log = gateway.state.path().join("verso.log");
    let began = Instant::now();
    while !std::fs::read_to_string(&log).unwrap_or_default().contains(&id) {
        assert!(began.elapsed() < DEADLINE, "the message is not in the log");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let logged = std::fs::read_to_string(&log).expect("readable");
    for secret in ["5557654321", "5550001111", "ping", "hello from the shell"] {
        assert!(!logged.contains(secret), "the log at info holds {secret}: {logged}");
    }
    let second = gateway.run(&world, &["gateway"]).await;
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    assert!(said.contains(&gateway.child.id().to_string()) && said.contains("VERSO_STATE_DIR"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_closes_links_within_ten_seconds_also_with_a_run_that_hangs() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let hangs = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let model = format!(
        "models: {{ providers: {{ slow: {{ api: 'openai-completions', baseUrl: 'http://{}/v1', apiKey: 'k' }} }} }}, agents: {{ defaults: {{ model: 'slow/x' }} }}, {OPEN}",
        hangs.local_addr().expect("address")
    );
    let mut gateway = Process::start(&world, state(&model)).await;
    gateway.link(&world, &work).await;
    let device = work.devices().remove(0);
    ann.says(&work, "think about it");
    let (_socket, _) =
        tokio::time::timeout(DEADLINE, hangs.accept()).await.expect("the model is asked").expect("accepted");
    let pid = gateway.child.id().to_string();
    let began = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    device.wait_disconnected().await.expect("the link is closed");
    let code = loop {
        if let Some(code) = gateway.child.try_wait().expect("waitable") {
            break code;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "still running after 10 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(code.success(), "{code}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_answers_after_the_restart_what_it_had_taken() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let hangs = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let slow = format!(
        "models: {{ providers: {{ slow: {{ api: 'openai-completions', baseUrl: 'http://{}/v1', apiKey: 'k' }} }} }}, agents: {{ defaults: {{ model: 'slow/x' }} }}, {OPEN}",
        hangs.local_addr().expect("address")
    );
    let gateway = Process::start(&world, state(&slow)).await;
    gateway.link(&world, &work).await;
    let id = ann.says(&work, "do not forget me");
    // WhatsApp was told that it arrived, so nobody but the journal knows of it now.
    ann.expect_receipt(&id, wa_simulator::ReceiptKind::Delivered).await.expect("acknowledged");
    let (_socket, _) =
        tokio::time::timeout(DEADLINE, hangs.accept()).await.expect("the model is asked").expect("accepted");
    let folder = gateway.kill();
    assert!(ann.inbox().is_empty());
    write_config(folder.path(), OPEN);
    let gateway = Process::start(&world, folder).await;
    ann.expect_text("do not forget me").await.expect("answered after the restart");
    gateway.wait_connected(&world).await;
    ann.says(&work, "marker");
    ann.expect_text("marker").await.expect("answered");
    assert_eq!(ann.shown().len(), 2, "once and no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_gateway_login_works_alone_and_send_fails_with_the_fix() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let folder = state(OPEN);
    link_by_code(folder.path(), &world, &work, "work").await;
    let run = |args: &'static [&'static str]| {
        let mut command = verso(folder.path(), &world.ws_url());
        command.args(args);
        tokio::task::spawn_blocking(move || command.output().expect("runs"))
    };
    let refused = run(&["message", "send", "-t", "+15557654321", "-m", "hi"]).await.expect("no panic");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = text(&refused.stderr);
    assert!(said.contains("connection refused") && said.contains("verso gateway"), "at once, with the fix: {said}");
    let pairing = run(&["pairing", "list", "whatsapp"]).await.expect("no panic");
    assert_eq!(text(&pairing.stdout).trim(), "No pending whatsapp pairing requests.");

    let gateway = Process::start(&world, folder).await;
    gateway.wait_connected(&world).await;
    ann.says(&work, "linked before you started");
    ann.expect_text("linked before you started").await.expect("answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_beginnings_are_one_clear_sentence_and_exit_code_1() {
    let world = World::start().await.expect("world");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = taken.local_addr().expect("address").port().to_string();
    let file = tempfile::NamedTempFile::new().expect("temp file");
    /// Name, folder, environment, words that the error has to hold.
    type Case<'a> = (&'a str, tempfile::TempDir, Vec<(&'a str, String)>, Vec<&'a str>);
    let cases: Vec<Case<'_>> = vec![
        ("broken", state("channels: { whatsapp: "), vec![], vec!["verso.json", "1:"]),
        ("unknown key", state("channels: { whatsapp: { dmPolicie: 'open' } }"), vec![], vec!["dmPolicie", "dmPolicy"]),
        ("wrong type", state("channels: { whatsapp: { historyLimit: 'many' } }"), vec![], vec!["historyLimit"]),
        ("port", state(OPEN), vec![("VERSO_GATEWAY_PORT", port.clone())], vec![&port, "--port"]),
        (
            "state",
            state(OPEN),
            vec![
                ("VERSO_STATE_DIR", file.path().display().to_string()),
                // Below a file nothing can be made, whoever runs the tests.
                ("VERSO_CONFIG_PATH", file.path().join("verso.json").display().to_string()),
            ],
            vec!["cannot"],
        ),
        (
            "elsewhere",
            state(OPEN),
            vec![("VERSO_WHATSAPP_URL", "ws://example.com/ws/chat".to_owned())],
            vec!["this machine"],
        ),
    ];
    for (name, folder, variables, wanted) in cases {
        let mut command = verso(folder.path(), &world.ws_url());
        command.arg("gateway").envs(variables);
        let out = tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("no panic");
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{name}: {said}");
        assert!(said.starts_with("error:"), "{name}: {said}");
        for word in wanted {
            assert!(said.contains(word), "{name} does not name {word}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_interrupted_costs_nothing() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let interrupted = async |state: &Path| {
        let mut command = tokio::process::Command::from(in_foreground(&verso(state, &world.ws_url())));
        command.args(["channels", "login", "--account", "work"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut login = command.kill_on_drop(true).spawn().expect("runs");
        let mut lines = BufReader::new(login.stdout.take().expect("piped")).lines();
        loop {
            let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("in time").expect("readable");
            if line.expect("it shows a code").contains("Waiting for WhatsApp") {
                break;
            }
        }
        let pid = login.id().expect("running").to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
        let status = tokio::time::timeout(DEADLINE, login.wait()).await.expect("it ends at once").expect("waitable");
        assert!(!status.success(), "an interrupted login is no success");
    };
    let folder = state(OPEN);
    interrupted(folder.path()).await;
    let began = Instant::now();
    while world.sockets_open() > 0 {
        assert!(began.elapsed() < DEADLINE, "the login's connection is still open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let gateway = Process::start(&world, folder).await;
    interrupted(gateway.folder()).await;
    gateway.link(&world, &work).await;
    assert_eq!(work.devices().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_without_a_gateway_tells_whatsapp_when_it_can() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let folder = state(OPEN);
    let logout = ["channels", "logout", "--account", "work"];
    link_by_code(folder.path(), &world, &work, "work").await;
    let device = work.devices().remove(0);
    let out = alone(folder.path(), &world, &logout).await;
    assert_eq!(text(&out.stdout), "Cleared WhatsApp Web credentials.\n", "{out:?}");
    assert!(!device.linked(), "WhatsApp was told");
    let again = alone(folder.path(), &world, &logout).await;
    assert_eq!(text(&again.stdout), "No WhatsApp Web session found; nothing to delete.\n", "{again:?}");

    link_by_code(folder.path(), &world, &work, "work").await;
    let device = work.devices().remove(0);
    world.refuse_connections(usize::MAX);
    let out = alone(folder.path(), &world, &logout).await;
    assert!(text(&out.stdout).contains("remove the device on the phone"), "{out:?}");
    assert!(device.linked() && !folder.path().join("credentials/whatsapp/work/creds.json").exists());
}
