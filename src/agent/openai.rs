//! Agents on an OpenAI-compatible API (OpenAI, Ollama, llama.cpp, vLLM and others): `POST <baseUrl>/chat/completions`.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::{AgentError, AgentJob, AgentReply, http};
use crate::session::history::Role;

pub(super) async fn answer(client: &reqwest::Client, job: &AgentJob) -> Result<AgentReply, AgentError> {
    let provider = &job.provider;
    if job.agent.model.name.is_empty() {
        let problem = format!("the agent's model names no model; write it as \"{}/<model>\"", provider.name);
        return Err(AgentError::Misconfigured { provider: provider.name.clone(), problem });
    }
    let mut headers = HeaderMap::new();
    if let Some(key) = &provider.api_key {
        let value = HeaderValue::from_str(&format!("Bearer {}", key.reveal()));
        let mut value = value.map_err(|_| AgentError::Misconfigured {
            provider: provider.name.clone(),
            problem: format!("models.providers.{}.apiKey holds characters that no key has", provider.name),
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let headers = http::with_configured(headers, provider)?;
    let answer = http::post(client, provider, "/chat/completions", headers, &request(job)).await?;
    read(&answer, &provider.name)
}

fn request(job: &AgentJob) -> Value {
    let mut messages = Vec::with_capacity(job.history.len() + 2);
    if let Some(system) = &job.system {
        messages.push(json!({ "role": "system", "content": system }));
    }
    for turn in &job.history {
        let role = match turn.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        messages.push(json!({ "role": role, "content": turn.content }));
    }
    messages.push(json!({ "role": "user", "content": job.line }));
    let mut body = json!({ "model": job.agent.model.name, "messages": messages, "stream": false });
    if let Some(most) = job.provider.max_tokens {
        body["max_tokens"] = json!(most);
    }
    body
}

/// The text of the first choice, which is a string or a list of parts.
fn read(answer: &Value, provider: &str) -> Result<AgentReply, AgentError> {
    let unreadable = |detail: &str| AgentError::Unreadable { provider: provider.to_owned(), detail: detail.to_owned() };
    let message = answer.pointer("/choices/0/message").ok_or_else(|| unreadable("it has no choices[0].message"))?;
    let text = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect::<Vec<_>>().join("")
        }
        None | Some(Value::Null) => message.get("refusal").and_then(Value::as_str).unwrap_or_default().to_owned(),
        Some(_) => return Err(unreadable("choices[0].message.content is no text")),
    };
    if text.trim().is_empty() {
        return Err(AgentError::Empty { provider: provider.to_owned() });
    }
    let count = |key: &str| answer.pointer(&format!("/usage/{key}")).and_then(Value::as_u64);
    Ok(AgentReply { text, tokens: count("prompt_tokens").zip(count("completion_tokens")) })
}
