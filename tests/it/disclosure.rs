//! What may leave (behaviour.md 24.2 to 24.4): who is told what of a failed run, and that no secret is in anything.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use verso::clock::Clock;
use wa_simulator::{Phone, World};

use crate::process::{Process, alone, state};
use crate::support::{DEADLINE, GatewayFixture};

const KEY: &str = "sk-live-0123456789abcdef";
const HEADER: &str = "header/\"secret\" ü+1";
const QUERY: &str = "query-secret-42";
const ERROR_TEXT: &str = "Sorry, I can't answer right now.";

/// A provider that answers with whole HTTP responses, by the text of the request.
struct Provider {
    url: String,
}

impl Provider {
    async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}/v1", listener.local_addr().expect("address"));
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    let mut buffer = [0; 8192];
                    loop {
                        let Ok(n @ 1..) = socket.read(&mut buffer).await else { return };
                        seen.extend_from_slice(&buffer[..n]);
                        let text = String::from_utf8_lossy(&seen).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let length = head.lines().find_map(|line| {
                            line.to_ascii_lowercase().strip_prefix("content-length:").map(|v| v.trim().parse::<usize>())
                        });
                        if body.len() >= length.expect("a length").expect("a number") {
                            break;
                        }
                    }
                    let said = answer(&String::from_utf8_lossy(&seen));
                    // A client that went away is told nothing.
                    drop(socket.write_all(said.as_bytes()).await);
                });
            }
        });
        Self { url }
    }

    /// As the only model of a configuration.
    fn config(&self) -> String {
        format!(
            "models: {{ providers: {{ stub: {{ baseUrl: '{}', apiKey: '{KEY}', timeoutSeconds: 5 }} }} }}, agents: {{ defaults: {{ model: 'stub/tiny' }} }}",
            self.url
        )
    }
}

/// A whole response.
fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn saying(text: &str) -> String {
    let message = serde_json::json!({"choices": [{"message": {"role": "assistant", "content": text}}]});
    response("200 OK", "", &message.to_string())
}

/// Every secret in one text, as programs like to repeat them.
fn leak() -> String {
    use base64::Engine;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("ann:{KEY}"));
    format!(
        "key {KEY} is over quota, {HEADER}, {}, Basic {basic}, https://ann:{KEY}@host/?key={QUERY}, {}",
        serde_json::json!(HEADER),
        KEY.replace('-', "%2D")
    )
}

/// What the provider answers to `way <n>`.
fn failing(n: usize) -> String {
    let leak = leak();
    let error = serde_json::json!({"error": {"message": leak, "code": KEY}}).to_string();
    let header = format!("x-debug: {KEY}\r\nlocation: http://ann:{KEY}@127.0.0.1/{QUERY}\r\n");
    match n {
        0 => response("500 Internal Server Error", &header, &error),
        1 => response(&format!("400 bad {KEY}"), &header, &leak),
        2 => response("404 Not Found", "", &format!("<html>{}</html>", leak.replace('"', "&quot;"))),
        3 => response(&format!("401 {KEY}"), &header, &error),
        4 => response("429 Too Many Requests", &header, &error),
        5 => response("302 Found", &header, &leak),
        6 => response("200 OK", &header, &leak),
        7 => response("200 OK", &header, &serde_json::json!({"choices": leak}).to_string()),
        8 => response("200 OK", &header, &serde_json::json!({"choices": [], "error": leak}).to_string()),
        9 => {
            let choice = serde_json::json!({"message": {"content": "", "note": KEY}, "finish_reason": leak});
            response("200 OK", &header, &serde_json::json!({"choices": [choice]}).to_string())
        }
        10 => String::new(),
        // The secret where the text is cut.
        11 => response("500 Internal Server Error", "", &format!("{}{KEY} and more", "x".repeat(190))),
        12 => saying(&leak),
        _ => saying("fine"),
    }
}

fn assert_clean(place: &str, text: &str) {
    for secret in [
        KEY,
        "0123456789abcdef",
        "sk-live-01",
        QUERY,
        HEADER,
        "header/",
        "%2D0123456789",
        "c2stbGl2ZS",
        "MDEyMzQ1Njc4OWFiY2",
    ] {
        assert!(!text.contains(secret), "{secret} in {place}: {text}");
    }
}

/// Everything that a phone was told.
fn told(phone: &Phone) -> String {
    phone.inbox().iter().map(|message| format!("{}\n", message.text)).collect()
}

/// Waits until the run on a message is settled.
async fn settled(gateway: &Process, id: &str) -> serde_json::Value {
    let began = std::time::Instant::now();
    loop {
        let found = gateway.call("verso.explain", serde_json::json!({"messageId": id})).await;
        if let Ok(found) = &found
            && !found["messages"][0]["outcome"].is_null()
        {
            return found["messages"][0].clone();
        }
        assert!(began.elapsed() < DEADLINE, "not settled: {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_fails_in_twelve_ways_gives_no_secret_away() {
    let world = World::start().await.expect("world");
    let (work, owner, ann) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Olga"), world.contact("+15557000002", "Ann"));
    let provider = Provider::start(|request| {
        let way = request.rsplit("way ").next().and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        failing(way.and_then(|n| n.parse().ok()).unwrap_or(99))
    })
    .await;
    let header = serde_json::json!(HEADER);
    // A port that no test is given, and nobody listens on.
    let closed = "127.0.0.1:1";
    let config = format!(
        "models: {{ providers: {{
             stub: {{ baseUrl: '{}/?key={QUERY}&', apiKey: '{KEY}', headers: {{ 'X-Extra': {header} }} }},
             gone: {{ baseUrl: 'http://{closed}/v1?key={QUERY}', apiKey: '{KEY}' }} }} }},
         agents: {{ defaults: {{ model: 'stub/tiny' }}, list: [{{ id: 'main' }}, {{ id: 'other', model: 'gone/tiny' }}] }},
         bindings: [{{ agentId: 'other', match: {{ channel: 'whatsapp', accountId: '*', peer: {{ kind: 'dm', id: '+15557000003' }} }} }}],
         channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*', '+15557000001'], accounts: {{ work: {{}} }} }} }}",
        provider.url
    );
    let gateway = Process::start(&world, state(&config)).await;
    gateway.link(&world, &work).await;
    let token = std::fs::read_to_string(gateway.folder().join("gateway.token")).expect("a token");

    let bob = world.contact("+15557000003", "Bob");
    let mut ids = Vec::new();
    for way in 0..=12 {
        let id = owner.says(&work, &format!("way {way}")).to_string();
        let row = settled(&gateway, &id).await;
        let (state, code) = if way == 12 {
            ("answered", "answered")
        } else {
            ("failed", if way == 9 { "empty-completion" } else { "failed" })
        };
        assert_eq!(
            (row["state"].as_str(), row["outcome"]["code"].as_str()),
            (Some(state), Some(code)),
            "{way}: {row:#}"
        );
        assert_clean("the API", &row.to_string());
        ids.push(id);
    }
    for (who, text) in [(&ann, "way 0"), (&bob, "hello")] {
        let id = who.says(&work, text).to_string();
        let row = settled(&gateway, &id).await;
        assert_eq!(row["state"], "failed", "{row:#}");
        ids.push(id);
        who.expect_text(ERROR_TEXT).await.expect("told");
    }
    owner.says(&work, "way 99");
    owner.expect_text("fine").await.expect("answered");

    let causes = told(&owner);
    assert_eq!(causes.matches("⚠️ No answer: ").count(), 12, "{causes}");
    assert!(causes.contains("HTTP 500") && causes.contains("***"), "{causes}");
    assert_eq!(told(&ann), format!("{ERROR_TEXT}\n"));
    for phone in [&owner, &ann, &bob, &work] {
        assert_clean("a chat", &told(phone));
    }
    assert!(told(&work).contains("could not answer a message"), "{}", told(&work));

    let everything: &[&[&str]] = &[
        &["status"],
        &["status", "--json"],
        &["channels", "status"],
        &["channels", "status", "--json"],
        &["health", "--json"],
        &["logs", "--limit", "1000"],
        &["config", "validate"],
        &["config", "get", "models"],
        &["config", "get", "models.providers.stub.apiKey"],
    ];
    for words in everything {
        let out = gateway.run(&world, words).await;
        let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{words:?}: {text}");
        assert_clean(&words.join(" "), &text);
        assert!(!text.contains(token.trim()), "{words:?}: {text}");
    }
    for id in &ids {
        for more in [&[][..], &["--json"]] {
            let out = gateway.run(&world, &[&["why", id][..], more].concat()).await;
            assert_clean("why", &String::from_utf8_lossy(&out.stdout));
        }
    }
    let out = gateway.run(&world, &["why", &ids[0]]).await;
    let why = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        why.contains("✗ failed: the model provider \"stub\" failed (HTTP 500)") && !why.contains("✓ the message"),
        "{why}"
    );
    for method in ["config.get", "status", "health", "channels.status", "logs.tail"] {
        let answer = gateway.call(method, serde_json::json!({})).await.expect("answered").to_string();
        assert_clean(method, &answer);
        assert!(!answer.contains(token.trim()), "{method}");
    }
    for file in ["verso.log", "console"] {
        let text = std::fs::read_to_string(gateway.folder().join(file)).expect("readable");
        assert!(text.contains("no answer"), "{file}: {text}");
        assert_clean(file, &text);
        assert!(!text.contains(token.trim()), "{file}");
    }
    let pid = std::fs::read_to_string(gateway.folder().join("gateway.lock")).expect("a lock");
    let pid = pid.split_whitespace().next().expect("a process id");
    for name in ["cmdline", "comm"] {
        assert_clean("the process list", &std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("readable"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_told_to_each_as_much_as_they_may_know() {
    let world = World::start().await.expect("world");
    let (work, owner, bob, ann) = (
        world.phone("+15550001111"),
        world.contact("+15557000001", "Olga"),
        world.contact("+15557000002", "Bob"),
        world.contact("+15557000003", "Ann"),
    );
    let group = world.group("Friends", &owner, &[&bob, &work]);
    let provider = Provider::start(|request| {
        if request.contains("fail") { response("500 Oh", "", "internal detail of 10.0.0.5") } else { saying("fine") }
    })
    .await;
    // Failing questions stay in the session, so each of them is asked in a fresh one.
    let config = |rest: &str| {
        format!(
            "{{ {}, {rest} session: {{ dmScope: 'per-peer' }}, channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*', '+15557000001', '+15557000002'],
                groupPolicy: 'open', groups: {{ '*': {{ requireMention: false }} }}, accounts: {{ work: {{}} }} }} }} }}",
            provider.config()
        )
    };
    let clock = Clock::manual(now_ms());
    let gateway = GatewayFixture::start_at(&world, &config(""), clock.clone()).await;
    gateway.link("work", &work).await;

    // A commander reads the cause, also of the next failure; everybody else the text, once.
    owner.says(&work, "fail one");
    let cause = owner.expect_message(|r| r.text.starts_with("⚠️ No answer: ")).await.expect("told").text;
    assert!(cause.contains("(HTTP 500): internal detail"), "{cause}");
    for who in [&bob, &ann] {
        who.says(&work, "fail two");
        who.expect_text(ERROR_TEXT).await.expect("told");
    }
    gateway.wait_count("work", "failed", 3).await;
    let again = bob.says(&work, "fail three").to_string();
    gateway.wait_count("work", "failed", 4).await;
    assert_eq!(gateway.why(&again).await["state"], "failed");
    bob.says(&work, "/new and answer");
    bob.says(&work, "well?");
    bob.expect_text("fine").await.expect("the second failure was not told");
    assert_eq!(told(&bob).matches(ERROR_TEXT).count(), 1, "{}", told(&bob));

    // A group reads the text, whoever wrote.
    owner.says_in(&group, "fail four", &[]);
    owner.expect_text(ERROR_TEXT).await.expect("told");
    // The own chat reads the cause once.
    let notices = told(&work);
    assert_eq!(notices.matches("could not answer a message").count(), 1, "{notices}");
    assert!(notices.contains("internal detail") && notices.contains("verso why "), "{notices}");
    assert_eq!(told(&ann), format!("{ERROR_TEXT}\n"), "nobody hears of other people's failures");

    // After ten minutes, the text again; after an hour, the notice again. A restart in between changes nothing.
    let folder = gateway.stop().await;
    let clock = Clock::manual(now_ms() + 5 * 60_000);
    let gateway = GatewayFixture::start_in_at(&world, folder, clock).await;
    gateway.wait_state("work", "connected").await;
    ann.says(&work, "fail five");
    gateway.wait_count("work", "failed", 1).await;
    assert_eq!(told(&ann).matches(ERROR_TEXT).count(), 1);
    let status = gateway.status().await;
    let agent = &status.accounts[0].agents[&verso::ids::AgentId::new("main")];
    assert!(agent.failing && agent.failures() == 1, "{agent:?}");
    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in_at(&world, folder, Clock::manual(now_ms() + 61 * 60_000)).await;
    gateway.wait_state("work", "connected").await;
    gateway.edit(&config("messages: { errorText: 'Back soon.' },")).await;
    ann.says(&work, "fail six");
    ann.expect_text("Back soon.").await.expect("told again");
    work.expect_message(|r| {
        r.text.contains("could not answer") && told(&work).matches("could not answer").count() == 2
    })
    .await
    .expect("noticed again");
}

/// Now, as WhatsApp's clock has it: messages from the past are not answered.
fn now_ms() -> i64 {
    Clock::System.now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chats_hear_nothing_of_errors_where_the_owner_says_so() {
    let world = World::start().await.expect("world");
    let (work, owner) = (world.phone("+15550001111"), world.contact("+15557000001", "Olga"));
    let provider = Provider::start(|request| {
        // Questions that failed stand before the last one, in one turn with it.
        let last = request.rsplit("[WhatsApp ").next().unwrap_or_default().to_owned();
        match () {
            () if last.contains("fail") => response("500 Oh", "", "no"),
            () if last.contains("file") => saying("look\nMEDIA: ./missing.png"),
            () => saying("fine"),
        }
    })
    .await;
    let config = provider.config().replace("defaults: {", "defaults: { reportErrors: false,");
    let config = format!(
        "{{ {config}, channels: {{ whatsapp: {{ dmPolicy: 'allowlist', allowFrom: ['+15557000001'], accounts: {{ work: {{}} }} }} }} }}"
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    std::fs::create_dir_all(gateway.state.join("agents/main/workspace")).expect("made");
    let failed = owner.says(&work, "fail").to_string();
    gateway.wait_count("work", "failed", 1).await;
    let file = owner.says(&work, "file").to_string();
    owner.expect_text("look").await.expect("the text without a warning");
    owner.says(&work, "hello");
    owner.expect_text("fine").await.expect("answered");
    assert_eq!(told(&owner), "look\nfine\n");
    assert!(!told(&work).contains("could not answer"), "{}", told(&work));
    assert_eq!(gateway.why(&failed).await["state"], "failed");
    let outcome = &gateway.why(&file).await["decision"]["outcomes"][0];
    assert!(
        outcome["unsent"][0].as_str().is_some_and(|cause| cause.contains("missing.png: there is no such file")),
        "{outcome}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_kinds_of_silence_are_told_apart() {
    let world = World::start().await.expect("world");
    let (work, owner) = (world.phone("+15550001111"), world.contact("+15557000001", "Olga"));
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    let provider = Provider::start(move |request| {
        // Questions that failed stand before the last one, in one turn with it.
        let last = request.rsplit("[WhatsApp ").next().unwrap_or_default().to_owned();
        match () {
            () if last.contains("silent") => saying("NO_REPLY"),
            () if last.contains("empty") => saying(" "),
            // Empty the first time only.
            () if last.contains("twice") => {
                saying(if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 { "" } else { "second" })
            }
            () if last.contains("gone") => saying("<final></final>"),
            () => saying("fine"),
        }
    })
    .await;
    let config = format!(
        "{{ {}, channels: {{ whatsapp: {{ dmPolicy: 'allowlist', allowFrom: ['+15557000001'], accounts: {{ work: {{}} }} }} }} }}",
        provider.config()
    );
    let gateway = GatewayFixture::start(&world, &config).await;
    gateway.link("work", &work).await;
    let outcome = async |id: &str, code: &str| {
        gateway.wait_count("work", code, 1).await;
        let row = gateway.why(id).await;
        assert_eq!(row["decision"]["outcomes"][0]["outcome"], code, "{row:#}");
        row
    };
    let silent = owner.says(&work, "be silent").to_string();
    assert_eq!(outcome(&silent, "silent").await["state"], "answered");
    let empty = owner.says(&work, "be empty").to_string();
    assert_eq!(outcome(&empty, "empty-completion").await["state"], "failed");
    owner.expect_message(|r| r.text.contains("empty completion")).await.expect("told");
    owner.says(&work, "empty once, not twice, so to speak: twice");
    // What is asked once more may be answered.
    owner.says(&work, "twice");
    owner.expect_text("second").await.expect("asked once more");
    let gone = owner.says(&work, "be gone").to_string();
    assert_eq!(outcome(&gone, "failed").await["state"], "failed");
    owner.says(&work, "/send off");
    owner.expect_message(|r| r.text.contains("set to off")).await.expect("told");
    let off = owner.says(&work, "hello").to_string();
    outcome(&off, "send-off").await;
    owner.says(&work, "/send on");
    owner.expect_message(|r| r.text.contains("set to on")).await.expect("told");

    // A run that is stopped.
    let held = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let hanging = config.replace(&provider.url, &format!("http://{}/v1", held.local_addr().expect("address")));
    gateway.edit(&hanging).await;
    let stopped = owner.says(&work, "think").to_string();
    let (_asked, _) = tokio::time::timeout(DEADLINE, held.accept()).await.expect("in time").expect("asked");
    owner.says(&work, "/stop");
    outcome(&stopped, "stopped").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_a_reload_replaces_stays_hidden() {
    const OLD: &str = "old-secret-abcdef";
    const NEW: &str = "new-secret-abcdef";
    let world = World::start().await.expect("world");
    let (work, owner) = (world.phone("+15550001111"), world.contact("+15557000001", "Olga"));
    let provider = Provider::start(|_| saying(&format!("{OLD} then {NEW}"))).await;
    let config = |key: &str| {
        format!(
            "{{ {}, messages: {{ responsePrefix: '[{key}]' }}, channels: {{ whatsapp: {{ dmPolicy: 'allowlist', allowFrom: ['+15557000001'], accounts: {{ work: {{}} }} }} }} }}",
            provider.config().replace(KEY, key)
        )
    };
    let gateway = GatewayFixture::start(&world, &config(OLD)).await;
    gateway.link("work", &work).await;
    owner.says(&work, "one");
    owner.expect_text(format!("[***] ••• then {NEW}").as_str()).await.expect("the key in force is hidden");
    gateway.edit(&config(NEW)).await;
    owner.says(&work, "two");
    owner.expect_text("[***] ••• then •••").await.expect("both are hidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_by_chat_shows_nothing_of_the_environment() {
    let world = World::start().await.expect("world");
    let (work, owner) = (world.phone("+15550001111"), world.contact("+15557000001", "Olga"));
    let config = "{ commands: { config: true }, channels: { whatsapp: { dmPolicy: 'allowlist', allowFrom: ['+15557000001'], accounts: { work: {} } } } }";
    let gateway = GatewayFixture::start(&world, config).await;
    gateway.link("work", &work).await;
    // Set for every test by cargo.
    let value = std::env::var("CARGO_PKG_DESCRIPTION").expect("set by cargo");
    let word = value.split_whitespace().next().expect("a word").to_lowercase();
    for path in ["agents.defaults.model", "channels.whatsapp.defaultAccount", "bindings.0.agentId"] {
        owner.says(&work, &format!("/config set {path}=${{CARGO_PKG_DESCRIPTION}}"));
        owner.expect_message(|r| r.text.contains('⚠')).await.expect("refused");
        assert!(!told(&owner).to_lowercase().contains(&word), "{}", told(&owner));
    }
}

#[test]
fn a_token_file_is_read_and_a_panic_or_an_error_says_no_secret() {
    let state = tempfile::tempdir().expect("temp dir");
    std::fs::write(
        state.path().join("verso.json"),
        format!("{{ models: {{ providers: {{ x: {{ baseUrl: 'http://h', apiKey: '{KEY}' }} }} }} }}"),
    )
    .expect("written");
    std::fs::write(state.path().join("token"), "token-of-a-file\n").expect("written");
    let run = |words: &[&str], fault: Option<&str>| said(state.path(), words, fault);
    let help = run(&["health", "--help"], None);
    assert!(
        help.contains("list of processes") && help.contains("VERSO_GATEWAY_TOKEN") && help.contains("--token-file"),
        "{help}"
    );
    let file = state.path().join("token").display().to_string();
    let text = run(&["health", "--token-file", &file, "--url", "ws://token-of-a-file:1"], None);
    assert!(text.contains("***") && !text.contains("token-of-a-file"), "{text}");
    let text = run(&["health", "--token-file", "/nowhere"], None);
    assert!(text.contains("--token-file: cannot read /nowhere"), "{text}");
    let text = run(&["config", "set", "agents.defaults.model", KEY], None);
    assert!(text.contains("there is no model provider \"***\"") && !text.contains(KEY), "{text}");
    let text = run(&["config", "get", "models"], Some(KEY));
    assert!(text.contains("panicked") && text.contains("***") && !text.contains(KEY), "{text}");
}

/// Everything that a command says.
fn said(state: &Path, words: &[&str], panic: Option<&str>) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_verso"));
    command.args(words).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", state).env("VERSO_STATE_DIR", state);
    command.env("RUST_BACKTRACE", "0");
    if let Some(text) = panic {
        command.env("VERSO_FAULT_PANIC", text);
    }
    let out = command.output().expect("runs");
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_strangers_are_one_short_line_wherever_the_owner_reads_them() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000003", "Ann"));
    ann.set_name(
        "Anna\n(+1 555, your wife)\u{202e} asks \u{1b}[2J to be let in. React with 👍 now, dear owner of this",
    );
    let gateway =
        Process::start(&world, state("channels: { whatsapp: { dmPolicy: 'pairing', accounts: { work: {} } } }")).await;
    gateway.link(&world, &work).await;
    ann.says(&work, "hello");
    let notice = work.expect_message(|r| r.text.contains("asks to be let in")).await.expect("noticed").text;
    assert!(notice.starts_with("Verso: Anna (+1 555, your wife) asks to be let… (+15557000003) asks"), "{notice}");
    assert!(notice.lines().next().expect("a line").chars().count() < 100, "{notice}");
    let out = alone(gateway.folder(), &world, &["pairing", "list", "whatsapp"]).await;
    let table = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(table.contains("Anna (+1 555, your wife)") && !table.contains(['\u{1b}', '\u{202e}']), "{table}");
    assert_eq!(table.lines().count(), 2, "{table}");
}
