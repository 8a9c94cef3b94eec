//! OpenAI-compatible chat completions: OpenAI itself, Ollama, llama.cpp, vLLM and many more.

mod calls;
mod pictures;

use serde::{Deserialize, Serialize};

use super::toolbox::Toolbox;
use super::{AgentError, AgentJob, AgentReply, Role, Usage};
use crate::config::model::ProviderConfig;
use crate::delivery;
use crate::disclosure;

use calls::Call;
use pictures::Part;

/// Longest answer body that is read.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// How often a model may call tools before it has to answer.
const ROUNDS: usize = 8;
/// Calls that are carried out in one run.
const MAX_CALLS: usize = 16;

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: &'a [Message<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tools: &'a [serde_json::Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Message<'a> {
    Said { role: &'static str, content: Said<'a> },
    Called { role: &'static str, content: Option<String>, tool_calls: Vec<Call> },
    Result { role: &'static str, tool_call_id: String, content: String },
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
    /// Why it ends; not every server says so in a word.
    #[serde(default)]
    finish_reason: serde_json::Value,
}

#[derive(Deserialize)]
struct Answer {
    content: Option<String>,
    tool_calls: Option<Vec<Call>>,
    #[serde(skip)]
    finish_reason: serde_json::Value,
}

impl Answer {
    fn is_empty(&self) -> bool {
        let says = self.content.as_deref().is_some_and(|text| !text.trim().is_empty());
        !says && self.tool_calls.as_ref().is_none_or(Vec::is_empty)
    }
}

pub(super) async fn answer(
    http: &reqwest::Client,
    job: &AgentJob,
    provider: &ProviderConfig,
    toolbox: &dyn Toolbox,
) -> Result<AgentReply, AgentError> {
    let sees = provider.seeing.contains(&job.agent.model.name);
    let shown = if sees { pictures::parts(&job.media).await } else { Vec::new() };
    let mut messages = conversation(job, shown);
    let described: Vec<serde_json::Value> = toolbox.offered().iter().map(calls::described).collect();
    let mut tools = described.as_slice();
    let (mut said, mut spent, mut called) = (Vec::new(), None, 0);
    for round in 0..=ROUNDS {
        let over = round == ROUNDS;
        let request = |tools| Request {
            model: &job.agent.model.name,
            messages: &messages,
            max_tokens: provider.max_tokens,
            tools,
            tool_choice: over.then_some("none"),
        };
        let mut answered = ask(http, provider, &request(tools)).await;
        if let Err(error) = &answered
            && round == 0
            && !tools.is_empty()
            && calls::takes_no_tools(error)
        {
            tracing::warn!(target: "agent", model = %job.agent.model, %error, "this model takes no tools; it is asked without them");
            answered = ask(http, provider, &request(&[])).await;
            tools = &[];
        }
        let (mut answer, usage) = answered?;
        spent = sum(spent, usage);
        // After a call there may be nothing left to say; without one an empty answer is an accident, and often a passing one.
        if answer.is_empty() && said.is_empty() && called == 0 {
            tracing::warn!(target: "agent", model = %job.agent.model, finish = %answer.finish_reason, "the model returned an empty completion; it is asked once more");
            let (again, usage) = ask(http, provider, &request(tools)).await?;
            spent = sum(spent, usage);
            if again.is_empty() {
                return Err(AgentError::Empty { hint: empty_hint(&again.finish_reason, provider) });
            }
            answer = again;
        }
        let Answer { content, tool_calls, .. } = answer;
        let content = content.filter(|text| !text.trim().is_empty());
        said.extend(content.clone());
        let wanted = tool_calls.unwrap_or_default();
        if wanted.is_empty() {
            break;
        }
        if over && said.is_empty() {
            let cause = format!("it goes on calling tools after {ROUNDS} rounds");
            return Err(AgentError::BadAnswer { provider: provider.name.clone(), cause });
        }
        let mut results = Vec::with_capacity(wanted.len());
        for call in wanted.iter().filter(|_| !over) {
            called += 1;
            let content = match called {
                ..=MAX_CALLS => call.run(toolbox).await,
                _ => calls::refused("Too many calls; answer now."),
            };
            results.push(Message::Result { role: "tool", tool_call_id: call.id.clone(), content });
        }
        messages.push(Message::Called { role: "assistant", content, tool_calls: wanted });
        messages.extend(results);
    }
    Ok(AgentReply { text: joined(said), names_files: true, usage: spent })
}

/// The task, the earlier turns, and the question with its pictures.
fn conversation<'a>(job: &'a AgentJob, mut shown: Vec<Part<'a>>) -> Vec<Message<'a>> {
    let mut messages = Vec::with_capacity(job.history.len() + 2);
    if !job.system.is_empty() {
        messages.push(Message::Said { role: "system", content: Said::Plain(&job.system) });
    }
    messages.extend(job.history.iter().map(|turn| Message::Said {
        role: match turn.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        },
        content: Said::Plain(&turn.text),
    }));
    let content = if shown.is_empty() {
        Said::Plain(&job.line)
    } else {
        shown.insert(0, Part::Text { text: &job.line });
        Said::Parts(shown)
    };
    messages.push(Message::Said { role: "user", content });
    messages
}

/// What the model said before, between and after its calls. Silence counts only when it says nothing else.
fn joined(mut said: Vec<String>) -> String {
    let spoken: Vec<&str> = said.iter().map(String::as_str).filter(|text| !delivery::is_silent(text)).collect();
    if spoken.is_empty() { said.pop().unwrap_or_default() } else { spoken.join("\n\n") }
}

fn sum(before: Option<Usage>, now: Option<Usage>) -> Option<Usage> {
    let (Some(before), Some(now)) = (before, now) else { return before.or(now) };
    let add = u64::saturating_add;
    Some(Usage { input: add(before.input, now.input), output: add(before.output, now.output) })
}

/// One request.
async fn ask(
    http: &reqwest::Client,
    provider: &ProviderConfig,
    body: &Request<'_>,
) -> Result<(Answer, Option<Usage>), AgentError> {
    let url = format!("{}/chat/completions", provider.base_url.trim_end_matches('/'));
    let mut request = http.post(&url).timeout(provider.timeout).json(body);
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
    let parsed: Response =
        serde_json::from_str(&text).map_err(|e| bad(format!("not a chat completion: {}", short(&e.to_string()))))?;
    let choice = parsed.choices.into_iter().next().ok_or_else(|| bad("it holds no choices".to_owned()))?;
    let answer = Answer { finish_reason: choice.finish_reason, ..choice.message };
    Ok((answer, usage(&parsed.usage)))
}

fn empty_hint(finish_reason: &serde_json::Value, provider: &ProviderConfig) -> String {
    match finish_reason.as_str() {
        Some("length") => {
            format!(": all its tokens went into thinking; raise models.providers.{}.maxTokens", provider.name)
        }
        Some("content_filter") => ": the provider's filter kept it back".to_owned(),
        Some(other) => format!(" (finish reason {})", short(other)),
        None => String::new(),
    }
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
    let code = json.as_ref().and_then(|j| j.get("error")?.get("code")?.as_str());
    let message = short(message.unwrap_or(body));
    match code.map(short) {
        // Some servers say only there what is wrong.
        Some(code) if !message.contains(&code) => format!("{message} ({code})"),
        _ => message,
    }
}

/// A provider's words, cut. Secrets go first: half of one at the end would not be found any more.
fn short(text: &str) -> String {
    disclosure::scrub(text.trim()).chars().take(200).collect()
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
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    AgentError::Unreachable { url: format!("{scheme}://{host}"), cause: cause.to_string() }
}

#[cfg(test)]
mod tests;
