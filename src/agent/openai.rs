//! OpenAI-compatible chat completions: OpenAI itself, Ollama, llama.cpp, vLLM and many more.

mod pictures;

use serde::{Deserialize, Serialize};

use super::{AgentError, AgentJob, AgentReply, Role, Usage};
use crate::config::model::ProviderConfig;

use pictures::Part;

/// Longest answer body that is read.
const MAX_BODY: usize = 4 * 1024 * 1024;

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Said<'a>,
}

/// Plain where possible: not every server takes parts.
#[derive(Serialize)]
#[serde(untagged)]
enum Said<'a> {
    Plain(&'a str),
    Parts(Vec<Part<'a>>),
}

#[derive(Deserialize)]
struct Response {
    choices: Vec<Choice>,
    /// Not every server counts; what one says in another form is as good as nothing.
    #[serde(default)]
    usage: serde_json::Value,
}

#[derive(Deserialize)]
struct Choice {
    message: Answer,
}

#[derive(Deserialize)]
struct Answer {
    content: Option<String>,
}

pub(super) async fn answer(
    http: &reqwest::Client,
    job: &AgentJob,
    provider: &ProviderConfig,
) -> Result<AgentReply, AgentError> {
    let mut messages = Vec::with_capacity(job.history.len() + 2);
    if !job.system.is_empty() {
        messages.push(Message { role: "system", content: Said::Plain(&job.system) });
    }
    messages.extend(job.history.iter().map(|turn| Message {
        role: match turn.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        },
        content: Said::Plain(&turn.text),
    }));
    let sees = provider.seeing.contains(&job.agent.model.name);
    let mut shown = if sees { pictures::parts(&job.media).await } else { Vec::new() };
    let content = if shown.is_empty() {
        Said::Plain(&job.line)
    } else {
        shown.insert(0, Part::Text { text: &job.line });
        Said::Parts(shown)
    };
    messages.push(Message { role: "user", content });
    let body = Request { model: &job.agent.model.name, messages, max_tokens: provider.max_tokens };

    let url = format!("{}/chat/completions", provider.base_url.trim_end_matches('/'));
    let mut request = http.post(&url).timeout(provider.timeout).json(&body);
    if let Some(key) = &provider.api_key {
        request = request.bearer_auth(key.reveal());
    }
    for (name, value) in &provider.headers {
        request = request.header(name, value.reveal());
    }
    let response = request.send().await.map_err(|e| unreachable(provider, &url, &e))?;
    let status = response.status().as_u16();
    let text = read_capped(response, provider, &url).await?;
    match status {
        200..=299 => {}
        401 | 403 => return Err(AgentError::Unauthorized(provider.name.clone())),
        429 => return Err(AgentError::RateLimited(provider.name.clone())),
        _ => return Err(AgentError::Failed { provider: provider.name.clone(), status, message: error_text(&text) }),
    }
    let bad = |cause: String| AgentError::BadAnswer { provider: provider.name.clone(), cause };
    let parsed: Response = serde_json::from_str(&text).map_err(|e| bad(format!("not a chat completion: {e}")))?;
    let choice = parsed.choices.into_iter().next().ok_or_else(|| bad("it holds no choices".to_owned()))?;
    Ok(AgentReply { text: choice.message.content.unwrap_or_default(), usage: usage(&parsed.usage) })
}

fn usage(told: &serde_json::Value) -> Option<Usage> {
    let count = |key: &str| told.get(key).and_then(serde_json::Value::as_u64);
    let (input, output) = (count("prompt_tokens"), count("completion_tokens"));
    (input.is_some() || output.is_some())
        .then(|| Usage { input: input.unwrap_or_default(), output: output.unwrap_or_default() })
}

async fn read_capped(
    mut response: reqwest::Response,
    provider: &ProviderConfig,
    url: &str,
) -> Result<String, AgentError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(provider, url, &e))? {
        if body.len() + chunk.len() > MAX_BODY {
            let cause = format!("it is longer than {MAX_BODY} bytes");
            return Err(AgentError::BadAnswer { provider: provider.name.clone(), cause });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The provider's own words, from the usual places, short.
fn error_text(body: &str) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let message = json.as_ref().and_then(|j| {
        let error = j.get("error")?;
        error.get("message").and_then(|m| m.as_str()).or(error.as_str())
    });
    message.unwrap_or(body).trim().chars().take(200).collect()
}

fn unreachable(provider: &ProviderConfig, url: &str, error: &reqwest::Error) -> AgentError {
    if error.is_timeout() {
        return AgentError::Timeout(provider.timeout);
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    // The path may hold a key; the host is enough to find the fault.
    let host = url.split('/').take(3).collect::<Vec<_>>().join("/");
    AgentError::Unreachable { url: host, cause: cause.to_string() }
}

#[cfg(test)]
mod tests;
