//! The API's port under attack: pages of foreign origins, connections that say nothing, half handshakes, guesses. The command line and the
//! accounts' answers go on.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use wa_simulator::{Phone, World};

use crate::process::{Process, state, write_config};

const OPEN: &str = r#"channels: { whatsapp: { dmPolicy: "open", allowFrom: ["*"], accounts: { work: {} } } }"#;
const DEADLINE: Duration = Duration::from_secs(20);

/// A linked gateway process and somebody who writes to it.
struct Stage {
    world: World,
    gateway: Process,
    work: Phone,
    ann: Phone,
}

impl Stage {
    async fn set() -> Self {
        let world = World::start().await.expect("world");
        let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
        let gateway = Process::start(&world, state(OPEN)).await;
        gateway.link(&world, &work).await;
        Self { world, gateway, work, ann }
    }

    fn address(&self) -> SocketAddr {
        let lock = std::fs::read_to_string(self.gateway.folder().join("gateway.lock")).expect("noted");
        lock.split_whitespace().nth(1).expect("an address").parse().expect("an address")
    }

    /// The command line gets in, and a contact is answered.
    async fn works(&self, text: &str) {
        let out = self.gateway.run(&self.world, &["channels", "status", "--json"]).await;
        assert!(out.status.success(), "{text}: {out:?}");
        self.ann.says(&self.work, text);
        self.ann.expect_text(text).await.expect("answered");
    }

    fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.gateway.id())).expect("a process").count()
    }

    async fn raw(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.expect("connected")
    }

    /// The first line of the answer to a head, or nothing when the connection was ended without one.
    async fn first_line(&self, head: &str) -> String {
        let mut stream = self.raw().await;
        // An answer may come, and the connection end, before all of it is written.
        drop(stream.write_all(head.as_bytes()).await);
        let mut answer = Vec::new();
        drop(tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("ended in time"));
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_sockets_of_a_foreign_page_are_refused_before_the_upgrade() {
    let stage = Stage::set().await;
    stage.works("before").await;
    let files = stage.open_files();
    let address = stage.address();
    let page = |origin: &'static str| async move {
        let mut request = format!("ws://{address}/").into_client_request().expect("a request");
        request.headers_mut().insert("origin", origin.parse().expect("a value"));
        match tokio_tungstenite::connect_async(request).await {
            Err(Error::Http(refused)) => refused.status().as_u16(),
            Err(_) => 0,
            Ok(_) => 101,
        }
    };
    for round in 0..3 {
        let all = (0..300).map(|n| page(if n % 2 == 0 { "https://evil.example" } else { "null" }));
        let answers: Vec<u16> = futures::future::join_all(all).await;
        // Nothing is upgraded; a connection that waits too long for the others may be hung up.
        assert!(answers.iter().all(|s| matches!(*s, 403 | 0)), "{answers:?}");
        assert!(answers.contains(&403));
        stage.works(&format!("round {round}")).await;
    }
    assert!(stage.open_files() < files + 100, "{files} before, {} after", stage.open_files());
    for head in [
        format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nOrigin: https://evil.example\r\n\r\n"),
        format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n\r\n"),
        "GET /readyz HTTP/1.1\r\nHost: rebound.example\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: rebound.example\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".to_owned(),
    ] {
        assert!(stage.first_line(&head).await.contains(" 403 "), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_or_half_of_it_push_each_other_out() {
    let stage = Stage::set().await;
    let files = stage.open_files();
    let address = stage.address();
    let mut silent = Vec::new();
    for n in 0..300 {
        let mut stream = stage.raw().await;
        if n % 3 == 0 {
            // Hung up meanwhile or not: it says half of a head.
            drop(stream.write_all(b"GET / HTTP/1.1\r\nHost: 127").await);
        }
        silent.push(stream);
    }
    stage.works("beside silent ones").await;
    let mut half = Vec::new();
    for _ in 0..300 {
        if let Ok((socket, _)) = tokio_tungstenite::connect_async(format!("ws://{address}/")).await {
            half.push(socket);
        }
    }
    assert!(half.len() > 250, "the newest always gets in: {}", half.len());
    stage.works("beside half handshakes").await;
    assert!(stage.open_files() < files + 200, "{files} before, {} now", stage.open_files());
    drop((silent, half));

    let long = format!("GET / HTTP/1.1\r\nHost: {address}\r\nX-Pad: {}\r\n\r\n", "x".repeat(400 * 1024));
    assert!(!stage.first_line(&long).await.contains(" 200 "));
    let (mut big, _) = tokio_tungstenite::connect_async(format!("ws://{address}/")).await.expect("upgraded");
    let frame = json!({"type": "req", "id": "c", "method": "connect", "params": {"pad": "x".repeat(1 << 20)}});
    drop(futures::SinkExt::send(&mut big, Message::text(frame.to_string())).await);
    let ended = tokio::time::timeout(DEADLINE, async { while let Some(Ok(_)) = big.next().await {} }).await;
    assert!(ended.is_ok(), "a frame that is too large ends the connection");
    stage.works("after large things").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guesser_on_this_machine_keeps_nobody_out() {
    let stage = Stage::set().await;
    let address = stage.address();
    let guess = async |token: &str| -> Option<String> {
        let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/")).await.ok()?;
        let connect = json!({"type": "req", "id": "c", "method": "connect", "params": {"minProtocol": 3, "maxProtocol": 4,
            "auth": {"token": token}, "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"}}});
        futures::SinkExt::send(&mut socket, Message::text(connect.to_string())).await.ok()?;
        while let Some(Ok(message)) = socket.next().await {
            let frame: serde_json::Value = serde_json::from_str(message.to_text().ok()?).ok()?;
            if frame["type"] == "res" {
                return frame["error"]["details"]["code"].as_str().map(str::to_owned);
            }
        }
        None
    };
    let mut told = Vec::new();
    for n in 0..13 {
        told.push(guess(&format!("guess-number-{n}")).await.unwrap_or_default());
    }
    assert_eq!(told.first().map(String::as_str), Some("AUTH_TOKEN_MISMATCH"));
    assert_eq!(told.last().map(String::as_str), Some("AUTH_RATE_LIMITED"), "{told:?}");
    stage.works("beside a guesser").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_changed_ends_the_connections_that_showed_the_old_one() {
    let world = World::start().await.expect("world");
    let folder = state(r#"channels: { whatsapp: {} }"#);
    let config = |token: &str| {
        let log = folder.path().join("verso.log");
        format!(
            "{{ gateway: {{ port: 0, auth: {{ token: '{token}' }} }}, logging: {{ file: {:?} }}, channels: {{ whatsapp: {{}} }} }}",
            log.display().to_string()
        )
    };
    write_config(folder.path(), "channels: { whatsapp: {} }");
    std::fs::write(folder.path().join("verso.json"), config("the-first-token-of-all")).expect("written");
    let gateway = Process::start_at(&world, folder.path()).await;
    let lock = std::fs::read_to_string(folder.path().join("gateway.lock")).expect("noted");
    let url = format!("ws://{}", lock.split_whitespace().nth(1).expect("an address"));
    let reach =
        |token: &str| verso::cli::place::Reach { url: url.clone(), token: Some(token.to_owned()), explicit: true };
    let mut client =
        verso::cli::client::Client::connect(&reach("the-first-token-of-all"), DEADLINE).await.expect("let in");
    std::fs::write(folder.path().join("verso.json"), config("the-second-token-of-all")).expect("written");
    let ended = tokio::time::timeout(DEADLINE, async {
        loop {
            match client.call("health", json!({}), DEADLINE).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => return error.to_string(),
            }
        }
    });
    let ended = ended.await.expect("closed");
    assert!(ended.contains("token was changed") || ended.contains("connection was lost"), "{ended}");
    assert!(verso::cli::client::Client::connect(&reach("the-first-token-of-all"), DEADLINE).await.is_err());
    assert!(verso::cli::client::Client::connect(&reach("the-second-token-of-all"), DEADLINE).await.is_ok());
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ran_out_of_files_goes_on_when_there_are_some_again() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let stage = Stage::set().await;
    let pid = Pid::from_raw(i32::try_from(stage.gateway.id()).expect("an id"));
    let few = |most| Rlimit { current: Some(stage.open_files() as u64 + 2), maximum: most };
    let before = rustix::process::getrlimit(Resource::Nofile);
    let before = prlimit(pid, Resource::Nofile, few(before.maximum)).expect("limited");
    let mut waiting = Vec::new();
    for _ in 0..20 {
        if let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(stage.address())).await
        {
            waiting.push(stream);
        }
    }
    assert!(stage.first_try_fails().await, "nothing is accepted without files");
    drop(waiting);
    prlimit(pid, Resource::Nofile, before).expect("given back");
    stage.works("after it had no files").await;
}

impl Stage {
    /// A health page is not answered within a moment.
    async fn first_try_fails(&self) -> bool {
        let ask = async {
            let mut stream = TcpStream::connect(self.address()).await.ok()?;
            let head = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address());
            stream.write_all(head.as_bytes()).await.ok()?;
            let mut byte = [0];
            stream.read_exact(&mut byte).await.ok()
        };
        matches!(tokio::time::timeout(Duration::from_secs(1), ask).await, Err(_) | Ok(None))
    }
}
