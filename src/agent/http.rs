//! One POST to a model provider: what can go wrong, said in [`AgentError`]'s words.

use std::error::Error as _;
use std::sync::Once;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::Value;

use super::AgentError;
use crate::config::model::ProviderConfig;

/// Longest answer that is read.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// Longest excerpt of a provider's words in an error.
const MAX_DETAIL: usize = 200;

/// The client for all providers.
pub(super) fn client() -> Result<reqwest::Client, AgentError> {
    static PROVIDER: Once = Once::new();
    // Fails only when somebody installed one before, which is as good.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder()
        .user_agent(concat!("verso/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        // A redirect would carry the key to another host.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| AgentError::Misconfigured { provider: "http".into(), problem: chain(&error) })
}

/// Posts `body` and returns the answer as JSON.
pub(super) async fn post(
    http: &reqwest::Client,
    provider: &ProviderConfig,
    path: &str,
    headers: HeaderMap,
    body: &Value,
) -> Result<Value, AgentError> {
    let name = || provider.name.clone();
    let url = format!("{}{path}", provider.base_url.trim_end_matches('/'));
    let sent = http.post(url).headers(headers).json(body).send().await;
    let mut response = sent.map_err(|error| {
        if error.is_builder() {
            let problem = format!("models.providers.{}.baseUrl is not usable: {}", provider.name, chain(&error));
            return AgentError::Misconfigured { provider: name(), problem };
        }
        AgentError::Unreachable { provider: name(), detail: chain(&error.without_url()) }
    })?;
    let status = response.status();
    let retry_after =
        response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.trim().parse().ok());
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= MAX_ANSWER => bytes.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let detail = format!("it is longer than {} MiB", MAX_ANSWER >> 20);
                return Err(AgentError::Unreadable { provider: name(), detail });
            }
            Ok(None) => break,
            Err(error) => {
                let detail = format!("it broke off ({})", chain(&error.without_url()));
                return Err(AgentError::Unreadable { provider: name(), detail });
            }
        }
    }
    match status.as_u16() {
        200..=299 => serde_json::from_slice(&bytes)
            .map_err(|error| AgentError::Unreadable { provider: name(), detail: format!("it is not JSON ({error})") }),
        status @ (401 | 403) => Err(AgentError::Unauthorized { provider: name(), status }),
        429 => Err(AgentError::RateLimited { provider: name(), retry_after: retry_after.map(Duration::from_secs) }),
        status => Err(AgentError::Status { provider: name(), status, detail: excerpt(&bytes, provider) }),
    }
}

/// The configured headers, over `headers`.
pub(super) fn with_configured(mut headers: HeaderMap, provider: &ProviderConfig) -> Result<HeaderMap, AgentError> {
    for (key, value) in &provider.headers {
        let header = HeaderName::from_bytes(key.as_bytes()).ok().zip(HeaderValue::from_str(value.reveal()).ok());
        let Some((key, mut value)) = header else {
            let problem = format!("models.providers.{}.headers.{key} is not a valid HTTP header", provider.name);
            return Err(AgentError::Misconfigured { provider: provider.name.clone(), problem });
        };
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// What the provider says about its failure: `error.message` or the text itself, shortened, in one line and without the key.
fn excerpt(bytes: &[u8], provider: &ProviderConfig) -> String {
    let json: Option<Value> = serde_json::from_slice(bytes).ok();
    let message = json.as_ref().and_then(|v| {
        [v.pointer("/error/message"), v.get("error"), v.get("message"), v.get("detail")]
            .into_iter()
            .flatten()
            .find_map(Value::as_str)
    });
    let text = message.map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), str::to_owned);
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(key) = provider.api_key.as_ref().map(|k| k.reveal()).filter(|k| !k.is_empty()) {
        text = text.replace(key, "***");
    }
    match text.char_indices().nth(MAX_DETAIL) {
        _ if text.is_empty() => "no explanation".to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// An error with its causes; reqwest's own text stops at "error sending request".
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
