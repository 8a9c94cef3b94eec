use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::toolbox::Tool;
use super::super::{AgentJob, Agents, Role, Turn};
use super::*;
use crate::config::model::{AgentConfig, HumanDelay, Identity, ModelRef, ProviderApi, Secret};
use crate::ids::{AgentId, SessionKey};

fn job() -> AgentJob {
    AgentJob {
        agent: Arc::new(AgentConfig {
            id: AgentId::new("main"),
            name: None,
            workspace: None,
            identity: Identity::default(),
            model: ModelRef { provider: "local".into(), name: "tiny".into() },
            mention_patterns: None,
            group_history_limit: None,
            heartbeat: None,
            human_delay: HumanDelay::Off,
        }),
        is_default: true,
        session: SessionKey::new("agent:main:main"),
        system: "be short".into(),
        history: vec![
            Turn { role: Role::User, text: "first".into() },
            Turn { role: Role::Assistant, text: "second".into() },
        ],
        line: "[WhatsApp +1] third".into(),
        text: "third".into(),
        media: Vec::new(),
    }
}

fn provider(base: &str) -> ProviderConfig {
    ProviderConfig {
        name: "local".into(),
        api: ProviderApi::OpenaiCompletions,
        base_url: base.into(),
        api_key: Some(Secret::new("sk-test")),
        headers: [("x-extra".to_owned(), Secret::new("yes"))].into_iter().collect(),
        timeout: Duration::from_secs(5),
        command: Vec::new(),
        max_tokens: Some(99),
        seeing: Vec::new(),
        windows: Default::default(),
    }
}

/// Gives back what it is called with; offers so many tools.
struct Echo {
    tools: usize,
}

impl Toolbox for Echo {
    fn offered(&self) -> Vec<Tool> {
        vec![
            Tool { name: "echo", about: "says it back", parameters: serde_json::json!({"type": "object"}) };
            self.tools
        ]
    }

    fn call<'a>(
        &'a self,
        name: &'a str,
        arguments: serde_json::Value,
    ) -> futures::future::BoxFuture<'a, Result<serde_json::Value, String>> {
        Box::pin(async move { if name == "echo" { Ok(arguments) } else { Err(format!("no {name}")) } })
    }
}

/// A server that answers one request and hands back what it was asked.
async fn serve(status: &'static str, body: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let (base, served) = serve_all(vec![(status, body.to_owned())]).await;
    (base, tokio::spawn(async move { served.await.expect("served").remove(0) }))
}

/// A server that answers one request after the other and hands back what it was asked.
async fn serve_all(answers: Vec<(&'static str, String)>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let base = format!("http://{}/v1/", listener.local_addr().expect("address"));
    let served = tokio::spawn(async move {
        let mut asked = Vec::new();
        for (status, body) in answers {
            let (mut socket, _) = listener.accept().await.expect("accept");
            asked.push(request(&mut socket).await);
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            socket.write_all(answer.as_bytes()).await.expect("write");
        }
        asked
    });
    (base, served)
}

async fn request(socket: &mut tokio::net::TcpStream) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = socket.read(&mut buffer).await.expect("read");
        seen.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&seen);
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:").map(|v| v.trim().parse::<usize>()))
                .expect("a length")
                .expect("a number");
            if rest.len() >= length {
                return text.into_owned();
            }
        }
    }
}

/// The JSON of a request.
fn body(request: &str) -> serde_json::Value {
    serde_json::from_str(request.split_once("\r\n\r\n").expect("head and body").1).expect("json")
}

/// An answer that says `content` and calls a tool.
fn calling(content: Option<&str>, name: &str, arguments: &str) -> (&'static str, String) {
    let call = serde_json::json!({"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}});
    let message = serde_json::json!({"content": content, "tool_calls": [call]});
    (
        "200 OK",
        serde_json::json!({"choices": [{"message": message}], "usage": {"prompt_tokens": 5, "completion_tokens": 1}})
            .to_string(),
    )
}

fn saying(content: &str) -> (&'static str, String) {
    let message = serde_json::json!({"content": content, "tool_calls": null});
    (
        "200 OK",
        serde_json::json!({"choices": [{"message": message}], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})
            .to_string(),
    )
}

async fn run_with(
    answers: Vec<(&'static str, String)>,
    tools: usize,
) -> (Result<AgentReply, AgentError>, Vec<serde_json::Value>) {
    let (base, served) = serve_all(answers).await;
    let limit = Duration::from_secs(5);
    let reply = Agents::new().expect("http").run(&job(), &provider(&base), limit, &Echo { tools }).await;
    let asked = served.await.expect("every answer was asked for");
    (reply, asked.iter().map(|request| body(request)).collect())
}

#[tokio::test]
async fn calls_are_carried_out_and_told_until_the_model_answers() {
    let answers = vec![
        calling(Some("wait"), "echo", r#"{"a":1}"#),
        calling(None, "other", ""),
        calling(None, "echo", "{broken"),
        saying("done"),
    ];
    let (reply, asked) = run_with(answers, 1).await;
    let usage = Some(Usage { input: 22, output: 5 });
    assert_eq!(reply, Ok(AgentReply { text: "wait\n\ndone".into(), names_files: true, usage }));
    assert_eq!(asked[0]["tools"][0]["function"]["name"], "echo");
    let last = asked[3]["messages"].as_array().expect("messages");
    let told: Vec<&str> = last.iter().filter(|m| m["role"] == "tool").filter_map(|m| m["content"].as_str()).collect();
    let read = |text| serde_json::from_str::<serde_json::Value>(text).expect("json");
    assert_eq!(read(told[0]), serde_json::json!({"a": 1}));
    assert_eq!(read(told[1]), serde_json::json!({"ok": false, "error": "no other"}));
    assert!(told[2].contains("no JSON"), "{told:?}");
    let called = &last[4];
    assert_eq!((called["role"].as_str(), called["content"].as_str()), (Some("assistant"), Some("wait")));
    assert_eq!((called["tool_calls"][0]["id"].as_str(), last[5]["tool_call_id"].as_str()), (Some("c1"), Some("c1")));
}

#[tokio::test]
async fn silence_after_a_call_is_silence_and_words_before_it_are_not_lost() {
    let silent = |first| vec![calling(first, "echo", "{}"), saying("NO_REPLY")];
    assert_eq!(run_with(silent(None), 1).await.0.expect("answered").text, "NO_REPLY");
    assert_eq!(run_with(silent(Some("look")), 1).await.0.expect("answered").text, "look");
}

#[tokio::test]
async fn an_empty_completion_is_asked_once_more_and_then_an_error() {
    let empty = |finish: &str| {
        let choice = serde_json::json!({"message": {"content": " \n"}, "finish_reason": finish});
        ("200 OK", serde_json::json!({"choices": [choice]}).to_string())
    };
    let (reply, asked) = run_with(vec![empty("stop"), saying("second")], 1).await;
    assert_eq!((reply.expect("answered").text.as_str(), asked.len()), ("second", 2));
    assert_eq!(asked[0], asked[1], "the same question");
    let (reply, _) = run_with(vec![empty("stop"), empty("length")], 1).await;
    let error = reply.expect_err("nothing was said").to_string();
    assert!(error.starts_with("the model returned an empty completion") && error.contains("maxTokens"), "{error}");
    let (reply, asked) = run_with(vec![calling(None, "echo", "{}"), empty("stop")], 1).await;
    assert_eq!((reply.expect("it did something").text.as_str(), asked.len()), ("", 2));
}

#[tokio::test]
async fn half_a_secret_at_the_cut_does_not_stay() {
    disclosure::remember(["sk-cut-0123456789"]);
    let body: &'static str = format!("{}sk-cut-0123456789", "x".repeat(192)).leak();
    let (base, _served) = serve("500 Oops", body).await;
    let error = run(&base).await.expect_err("failed").to_string();
    assert!(error.ends_with("x***") && !error.contains("sk-cut"), "{error}");
}

#[tokio::test]
async fn a_model_that_only_calls_is_stopped() {
    let (reply, asked) = run_with(vec![calling(None, "echo", "{}"); ROUNDS + 1], 1).await;
    assert!(reply.expect_err("no answer").to_string().contains("goes on calling"));
    assert_eq!((asked[ROUNDS - 1].get("tool_choice"), asked[ROUNDS]["tool_choice"].as_str()), (None, Some("none")));
}

#[tokio::test]
async fn a_model_without_tools_is_asked_without_them() {
    let refusal = r#"{"error":{"message":"tiny does not support tools"}}"#.to_owned();
    let (reply, asked) = run_with(vec![("400 Bad Request", refusal.clone()), saying("hello")], 1).await;
    assert_eq!(reply.expect("answered").text, "hello");
    assert_eq!((asked[0]["tools"].as_array().map(Vec::len), asked[1].get("tools")), (Some(1), None));
    let (reply, _) = run_with(vec![("400 Bad Request", refusal)], 0).await;
    assert!(matches!(reply, Err(AgentError::Failed { status: 400, .. })), "{reply:?}");
}

async fn run(base: &str) -> Result<AgentReply, AgentError> {
    Agents::new().expect("http").run(&job(), &provider(base), Duration::from_secs(5), &Echo { tools: 0 }).await
}

#[tokio::test]
async fn the_conversation_is_sent_and_the_answer_comes_back() {
    let (base, served) = serve("200 OK", r#"{"choices":[{"message":{"role":"assistant","content":"hello"}}]}"#).await;
    assert_eq!(run(&base).await, Ok(AgentReply { text: "hello".into(), names_files: true, usage: None }));
    let seen = served.await.expect("served");
    let (head, body) = seen.split_once("\r\n\r\n").expect("head and body");
    assert!(head.starts_with("POST /v1/chat/completions "), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains("authorization: bearer sk-test") && head.contains("x-extra: yes"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).expect("json");
    assert_eq!(
        body,
        serde_json::json!({
            "model": "tiny", "max_tokens": 99,
            "messages": [
                {"role": "system", "content": "be short"},
                {"role": "user", "content": "first"},
                {"role": "assistant", "content": "second"},
                {"role": "user", "content": "[WhatsApp +1] third"},
            ],
        })
    );
}

#[tokio::test]
async fn failures_say_what_to_do() {
    for (status, body, want) in [
        ("401 Unauthorized", "{}", "models.providers.local.apiKey"),
        ("429 Too Many Requests", "{}", "rate limiting"),
        ("500 Oops", r#"{"error":{"message":"out of memory"}}"#, "HTTP 500): out of memory"),
        ("200 OK", "<html>", "not a chat completion"),
        ("200 OK", r#"{"choices":[]}"#, "no choices"),
    ] {
        let (base, _served) = serve(status, body).await;
        let error = run(&base).await.expect_err(status).to_string();
        assert!(error.contains(want) && !error.contains("sk-test"), "{status}: {error}");
    }
}

#[tokio::test]
async fn nobody_listening_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let base = format!("http://{}/v1", listener.local_addr().expect("address"));
    drop(listener);
    let error = run(&base).await.expect_err("refused").to_string();
    assert!(error.contains("cannot be reached") && error.contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn a_model_that_never_answers_runs_into_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let base = format!("http://{}/v1", listener.local_addr().expect("address"));
    let limit = Duration::from_millis(50);
    let got = Agents::new().expect("http").run(&job(), &provider(&base), limit, &Echo { tools: 0 }).await;
    assert_eq!(got, Err(AgentError::Timeout(limit)));
}

#[tokio::test]
async fn pictures_are_shown_to_models_that_can_see() {
    use crate::event::{MediaKind, MediaRef, SavedMedia};
    let dir = tempfile::tempdir().expect("temp dir");
    let saved = |name: &str, mime: &str, bytes: u64| {
        let path = dir.path().join(name);
        std::fs::write(&path, name).expect("written");
        SavedMedia { path, mime: mime.into(), bytes, media: MediaRef::new(MediaKind::Image) }
    };
    let media = vec![
        saved("a", "image/png", 1),
        saved("b", "audio/ogg", 1),
        saved("c", "image/jpeg", 50 << 20),
        saved("d", "image/jpeg", 1),
        SavedMedia { path: dir.path().join("gone"), ..saved("e", "image/png", 1) },
    ];
    let ask = async |seeing: &[&str], media: Vec<SavedMedia>| {
        let (base, served) = serve("200 OK", r#"{"choices":[{"message":{"content":"hello"}}]}"#).await;
        let provider = ProviderConfig { seeing: seeing.iter().map(|s| (*s).to_owned()).collect(), ..provider(&base) };
        let job = AgentJob { media, ..job() };
        Agents::new()
            .expect("http")
            .run(&job, &provider, Duration::from_secs(5), &Echo { tools: 0 })
            .await
            .expect("answered");
        let seen = served.await.expect("served");
        let (_, body) = seen.split_once("\r\n\r\n").expect("head and body");
        let body: serde_json::Value = serde_json::from_str(body).expect("json");
        body["messages"].as_array().and_then(|m| m.last()).expect("a message")["content"].clone()
    };
    let plain = serde_json::json!("[WhatsApp +1] third");
    assert_eq!(ask(&["another"], media.clone()).await, plain);
    assert_eq!(ask(&["tiny"], media[1..3].to_vec()).await, plain);
    assert_eq!(
        ask(&["tiny"], media).await,
        serde_json::json!([
            {"type": "text", "text": "[WhatsApp +1] third"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,YQ=="}},
            {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,ZA=="}},
        ])
    );
}
