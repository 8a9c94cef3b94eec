//! A language model behind the OpenAI-compatible API: answers every request with the same text, or by a script, and keeps what it was
//! asked.

use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use super::DEADLINE;

/// What a model does with a request.
type Rule = Arc<dyn Fn(&serde_json::Value) -> Act + Send + Sync>;

/// What a model does with a request.
pub enum Act {
    /// Answers with this text.
    Says(String),
    /// Refuses with this status and body.
    Fails(u16, String),
    /// Never answers.
    Hangs,
}

/// A running model.
pub struct Model {
    url: String,
    asked: mpsc::UnboundedReceiver<serde_json::Value>,
    /// One permit an answer.
    gate: Option<Arc<Semaphore>>,
}

impl Model {
    /// Starts a model that always says `answer`.
    pub async fn start(answer: &'static str) -> Self {
        Self::begin(vec![text(answer)], None).await
    }

    /// Starts a model that gives these messages one after the other, and the last one from then on.
    pub async fn scripted(messages: Vec<serde_json::Value>) -> Self {
        Self::begin(messages, None).await
    }

    /// Starts a model that answers only as often as [`Model::release`] lets it.
    pub async fn held(answer: &'static str) -> Self {
        Self::begin(vec![text(answer)], Some(Arc::new(Semaphore::new(0)))).await
    }

    /// Lets `n` requests be answered, the one that waits longest first.
    pub fn release(&self, n: usize) {
        self.gate.as_ref().expect("a held model").add_permits(n);
    }

    /// Starts a model that answers the last user message by a rule.
    pub async fn by(rule: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let last = |asked: &serde_json::Value| {
            said(&asked["messages"].as_array().expect("messages").last().expect("one")["content"])
        };
        Self::acting(move |asked| Act::Says(rule(&last(asked)))).await
    }

    /// Starts a model that does with every request what a rule says.
    pub async fn acting(rule: impl Fn(&serde_json::Value) -> Act + Send + Sync + 'static) -> Self {
        Self::serve(Vec::new(), Some(Arc::new(rule)), None).await
    }

    /// Starts a model that repeats its whole prompt, and never answers a message that holds the word `hang`.
    pub async fn parrot() -> Self {
        Self::acting(|asked| {
            let all: Vec<String> =
                asked["messages"].as_array().expect("messages").iter().map(|m| said(&m["content"])).collect();
            if all.last().is_some_and(|last| last.contains("hang")) { Act::Hangs } else { Act::Says(all.join(" | ")) }
        })
        .await
    }

    async fn begin(script: Vec<serde_json::Value>, gate: Option<Arc<Semaphore>>) -> Self {
        Self::serve(script, None, gate).await
    }

    async fn serve(script: Vec<serde_json::Value>, rule: Option<Rule>, gate: Option<Arc<Semaphore>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let url = format!("http://{}/v1", listener.local_addr().expect("address"));
        let (tell, asked) = mpsc::unbounded_channel();
        let wait = gate.clone();
        tokio::spawn(async move {
            let mut script = script.into_iter();
            let mut message = serde_json::Value::Null;
            while let Ok((socket, _)) = listener.accept().await {
                message = script.next().unwrap_or(message);
                tokio::spawn(serve(socket, message.clone(), rule.clone(), tell.clone(), wait.clone()));
            }
        });
        Self { url, asked, gate }
    }

    /// The `models` and `agents` part of a configuration that uses it.
    pub fn config(&self) -> String {
        format!(
            "models: {{ providers: {{ local: {} }} }}, agents: {{ defaults: {{ model: 'local/tiny', envelopeTimestamp: 'off' }} }}",
            self.provider()
        )
    }

    /// What a configuration says of it under `models.providers`.
    pub fn provider(&self) -> String {
        format!("{{ api: 'openai-completions', baseUrl: '{}', apiKey: 'k' }}", self.url)
    }

    /// The last user message of the next request.
    pub async fn asked(&mut self) -> String {
        self.conversation().await.pop().expect("a message")
    }

    /// Every message of the next request, the oldest first.
    pub async fn conversation(&mut self) -> Vec<String> {
        self.request().await.1
    }

    /// The next request as it was sent.
    pub async fn raw(&mut self) -> serde_json::Value {
        tokio::time::timeout(DEADLINE, self.asked.recv()).await.expect("asked in time").expect("running")
    }

    /// The next request: which model, and every message.
    pub async fn request(&mut self) -> (String, Vec<String>) {
        let request = self.raw().await;
        let messages = request["messages"].as_array().expect("messages");
        let messages = messages.iter().map(|m| m["content"].as_str().expect("text").to_owned()).collect();
        (request["model"].as_str().expect("a model").to_owned(), messages)
    }
}

/// An answer that says something.
pub fn text(answer: &str) -> serde_json::Value {
    serde_json::json!({ "role": "assistant", "content": answer })
}

/// An answer that calls the tool `whatsapp`.
pub fn call(arguments: serde_json::Value) -> serde_json::Value {
    let function = serde_json::json!({ "name": "whatsapp", "arguments": arguments.to_string() });
    serde_json::json!({
        "role": "assistant", "content": null,
        "tool_calls": [{ "id": "call_1", "type": "function", "function": function }],
    })
}

/// The text of a message, pictures beside it or not.
fn said(content: &serde_json::Value) -> String {
    let parts = content.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
    content.as_str().map_or_else(|| parts.collect::<Vec<_>>().join("\n"), str::to_owned)
}

async fn serve(
    mut socket: TcpStream,
    message: serde_json::Value,
    rule: Option<Rule>,
    tell: mpsc::UnboundedSender<serde_json::Value>,
    gate: Option<Arc<Semaphore>>,
) {
    let mut seen = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let Ok(n) = socket.read(&mut buffer).await else { return };
        if n == 0 {
            return;
        }
        seen.extend_from_slice(&buffer[..n]);
        let request = String::from_utf8_lossy(&seen).into_owned();
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
        let length: usize = length.and_then(|l| l.trim().parse().ok()).expect("a length");
        if body.len() < length {
            continue;
        }
        let asked: serde_json::Value = serde_json::from_str(body).expect("json");
        let act = rule.as_ref().map(|rule| rule(&asked));
        let _ = tell.send(asked);
        let message = match act {
            None => message,
            Some(Act::Says(answer)) => text(&answer),
            Some(Act::Fails(status, body)) => {
                let head = format!("HTTP/1.1 {status} No\r\ncontent-length: {}\r\nconnection: close", body.len());
                let _ = socket.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await;
                return;
            }
            // Until the other side gives up.
            Some(Act::Hangs) => {
                let _ = socket.read(&mut buffer).await;
                return;
            }
        };
        if let Some(gate) = gate {
            gate.acquire().await.expect("never closed").forget();
        }
        let json = serde_json::json!({
            "choices": [{ "message": message }],
            "usage": { "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120 },
        })
        .to_string();
        let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{json}", json.len());
        let _ = socket.write_all(reply.as_bytes()).await;
        return;
    }
}
