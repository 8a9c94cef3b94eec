use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::config::{ResolveEnv, load_text};
use crate::session::history::Role;

/// A job for the default agent of a config whose provider `mock` is at `base_url`.
fn job(base_url: &str) -> AgentJob {
    let config = format!(
        "{{ models: {{ providers: {{ mock: {{ api: 'openai-completions', baseUrl: '{base_url}', apiKey: 'sk-secret-0123456789',
              headers: {{ 'X-Team': 'blue' }}, timeoutSeconds: 5 }} }} }},
            agents: {{ list: [{{ id: 'main', model: 'mock/tiny' }}] }} }}"
    );
    job_of(&config, "main")
}

fn job_of(config: &str, agent: &str) -> AgentJob {
    let config = load_text(config, &ResolveEnv::new("/h", "/h/.verso")).expect("config").config;
    let setup = AgentSetup::find(&config, &AgentId::new(agent)).expect("agent");
    AgentJob {
        agent: setup.agent,
        is_default: setup.is_default,
        provider: setup.provider,
        account: AccountId::new("default"),
        session: SessionKey::new("agent:main:main"),
        chat: ChatKind::Direct,
        sender: Some("+15551234567".into()),
        sender_name: Some("Ann".into()),
        history: vec![Turn { role: Role::Assistant, content: "earlier".into(), timestamp: 1 }],
        line: "[WhatsApp +15551234567] hello".into(),
        text: "hello".into(),
        system: Some("be kind".into()),
        timeout: Duration::from_secs(5),
    }
}

/// Answers one request with these bytes; gives back what was asked.
async fn serve(answer: String) -> (String, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let base = format!("http://{}/v1", listener.local_addr().expect("address"));
    let (seen, asked) = oneshot::channel();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("client");
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let n = socket.read(&mut buffer).await.expect("request");
            request.extend_from_slice(&buffer[..n]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length =
                head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            if n == 0 || body.len() >= length.and_then(|l| l.parse().ok()).unwrap_or(0) {
                let _ = seen.send(text);
                break;
            }
        }
        socket.write_all(answer.as_bytes()).await.expect("answer");
        socket.shutdown().await.ok();
    });
    (base, asked)
}

fn http_answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

async fn ask(status: &str, body: &str) -> Result<AgentReply, AgentError> {
    let (base, _asked) = serve(http_answer(status, body)).await;
    AgentRunner::new().expect("client").run(&job(&base)).await
}

#[tokio::test]
async fn a_chat_completion_is_asked_and_read() {
    let body = json!({ "choices": [{ "message": { "content": "hi Ann" } }], "usage": { "prompt_tokens": 7, "completion_tokens": 2 } });
    let (base, asked) = serve(http_answer("200 OK", &body.to_string())).await;
    let reply = AgentRunner::new().expect("client").run(&job(&base)).await.expect("reply");
    assert_eq!(reply, AgentReply { text: "hi Ann".into(), tokens: Some((7, 2)) });
    let asked = asked.await.expect("request");
    let (head, body) = asked.split_once("\r\n\r\n").expect("body");
    let head = head.to_lowercase();
    assert!(head.starts_with("post /v1/chat/completions http/1.1"), "{head}");
    assert!(head.contains("authorization: bearer sk-secret-0123456789") && head.contains("x-team: blue"));
    let body: Value = serde_json::from_str(body).expect("json");
    assert_eq!(
        body,
        json!({ "model": "tiny", "stream": false, "messages": [
            { "role": "system", "content": "be kind" },
            { "role": "assistant", "content": "earlier" },
            { "role": "user", "content": "[WhatsApp +15551234567] hello" },
        ] })
    );
}

#[tokio::test]
async fn every_failure_has_its_own_words() {
    let cases = [
        ("401 Unauthorized", "{}", "refuses the key (status 401); check models.providers.mock.apiKey"),
        ("429 Too Many Requests", "{}", "asks to slow down"),
        (
            "500 Oops",
            r#"{"error":{"message":"no  memory for sk-secret-0123456789"}}"#,
            "(status 500): no memory for ***",
        ),
        ("302 Found", "", "(status 302): no explanation"),
        ("200 OK", "<html>", "it is not JSON"),
        ("200 OK", "{}", "no choices[0].message"),
        ("200 OK", r#"{"choices":[{"message":{"content":"  "}}]}"#, "empty answer"),
        ("200 OK", r#"{"choices":[{"message":{"content":7}}]}"#, "content is no text"),
    ];
    for (status, body, want) in cases {
        let error = ask(status, body).await.expect_err(status);
        assert!(error.to_string().contains(want), "{status} {body}: {error}");
        assert!(error.line().starts_with("⚠️ I could not answer: ") && !error.line().contains("mock"));
    }
}

#[tokio::test]
async fn parts_and_refusals_are_texts_too() {
    let parts = r#"{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}"#;
    assert_eq!(ask("200 OK", parts).await.expect("reply").text, "ab");
    let refusal = r#"{"choices":[{"message":{"content":null,"refusal":"I will not"}}]}"#;
    assert_eq!(ask("200 OK", refusal).await.expect("reply").text, "I will not");
}

#[tokio::test]
async fn a_closed_port_is_unreachable_and_names_no_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let base = format!("http://{}/secret-path", listener.local_addr().expect("address"));
    drop(listener);
    let error = AgentRunner::new().expect("client").run(&job(&base)).await.expect_err("refused");
    assert!(matches!(error, AgentError::Unreachable { .. }), "{error:?}");
    assert!(!error.to_string().contains("secret-path"), "{error}");
}

#[tokio::test]
async fn a_silent_provider_is_left_after_the_time_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let base = format!("http://{}", listener.local_addr().expect("address"));
    let mut job = job(&base);
    job.timeout = Duration::from_millis(50);
    let error = AgentRunner::new().expect("client").run(&job).await.expect_err("silence");
    assert!(matches!(error, AgentError::TimedOut { .. }), "{error:?}");
    drop(listener);
}

#[tokio::test]
async fn echo_agents_can_be_told_apart() {
    let config = "{ agents: { list: [{ id: 'main', default: true }, { id: 'lab', identity: { name: 'Research' } }, { id: 'plain' }] } }";
    let runner = AgentRunner::new().expect("client");
    for (agent, want) in [("main", "hello"), ("lab", "[Research] hello"), ("plain", "[plain] hello")] {
        assert_eq!(runner.run(&job_of(config, agent)).await.expect("echo").text, want);
    }
}

#[tokio::test]
async fn the_workspace_files_become_the_prompt() {
    let folder = tempfile::tempdir().expect("folder");
    assert_eq!(system_prompt(folder.path()).await.expect("nothing"), None);
    std::fs::write(folder.path().join("SOUL.md"), "calm\n").expect("write");
    std::fs::write(folder.path().join("AGENTS.md"), "do good").expect("write");
    std::fs::write(folder.path().join("USER.md"), "  \n").expect("write");
    let prompt = system_prompt(folder.path()).await.expect("read");
    assert_eq!(prompt.as_deref(), Some("# AGENTS.md\n\ndo good\n\n# SOUL.md\n\ncalm"));
}
