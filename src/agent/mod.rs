//! What answers: chosen by the agent's `model` from the configured providers.

mod echo;
mod openai;
pub mod toolbox;
pub mod workspace;

use std::sync::Arc;
use std::time::Duration;

use crate::config::model::{AgentConfig, ProviderApi, ProviderConfig};
use crate::event::SavedMedia;
use crate::ids::SessionKey;
pub use crate::session::entry::Usage;
use toolbox::Toolbox;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub text: String,
}

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A person in the chat.
    User,
    /// The agent.
    Assistant,
}

/// One run.
#[derive(Clone, Debug)]
pub struct AgentJob {
    /// Who answers.
    pub agent: Arc<AgentConfig>,
    /// Whether it is the default agent.
    pub is_default: bool,
    /// In which conversation.
    pub session: SessionKey,
    /// What the model is told about its task; empty = nothing.
    pub system: String,
    /// Earlier turns, oldest first.
    pub history: Vec<Turn>,
    /// The message as the model sees it.
    pub line: String,
    /// The message as it was written.
    pub text: String,
    /// Received files that the message speaks of; the line names them too.
    pub media: Vec<SavedMedia>,
}

/// What the agent says; empty text is silence: it did what it had to do with its tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentReply {
    /// The text.
    pub text: String,
    /// Its `MEDIA:` lines are a model's and name files to send. What people wrote never does.
    pub names_files: bool,
    /// What it cost, when the provider tells.
    pub usage: Option<Usage>,
}

/// Why there is no answer. The text is for whoever runs Verso: it holds addresses and the provider's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The configuration names something that cannot run.
    #[error("{0}")]
    Config(String),
    /// Nothing listens there or the line is broken.
    #[error("the model at {url} cannot be reached ({cause})")]
    Unreachable {
        /// Scheme, host and port.
        url: String,
        /// The system's words.
        cause: String,
    },
    /// 401 or 403.
    #[error("the model provider \"{0}\" refused the API key; check models.providers.{0}.apiKey")]
    Unauthorized(String),
    /// 429.
    #[error("the model provider \"{0}\" is rate limiting; try again later")]
    RateLimited(String),
    /// Any other status.
    #[error("the model provider \"{provider}\" failed (HTTP {status}): {message}")]
    Failed {
        /// Name in `models.providers`.
        provider: String,
        /// HTTP status.
        status: u16,
        /// The provider's own words, cut.
        message: String,
    },
    /// The answer is none.
    #[error("the model provider \"{provider}\" gave no usable answer: {cause}")]
    BadAnswer {
        /// Name in `models.providers`.
        provider: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The model said nothing, not even that it has nothing to say, and called no tool.
    #[error("the model returned an empty completion, also when it was asked once more{hint}")]
    Empty {
        /// What to change, where that is known; begins with a punctuation mark.
        hint: String,
    },
    /// It took too long.
    #[error("the model did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

impl AgentError {
    /// The provider says that the conversation is too long for the model.
    pub fn wants_less(&self) -> bool {
        let Self::Failed { status, message, .. } = self else { return false };
        let message = message.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        match status {
            // Words about a parameter that the server does not know may name tokens, too.
            400 => {
                let tokens = says(&["token"]) && says(&["maximum", "exceed", "limit", "too many", "reduce"]);
                (tokens || says(&["context", "length", "too long", "too large"]))
                    && !says(&["unsupported", "not supported", "unknown parameter", "unrecognized"])
            }
            413 => true,
            _ => false,
        }
    }
}

/// Runs jobs; clones share one HTTP client.
#[derive(Clone)]
pub struct Agents {
    http: reqwest::Client,
}

impl Agents {
    /// Sets up the HTTP client.
    ///
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub fn new() -> Result<Self, AgentError> {
        // A second call finds the provider installed and is no failure.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .build()
            .map_err(|e| AgentError::Config(format!("the HTTP client cannot be set up: {e}")))?;
        Ok(Self { http })
    }

    /// Runs one job to its end or its time limit, calls of tools included.
    ///
    /// # Errors
    /// When there is no answer; the error says why.
    pub async fn run(
        &self,
        job: &AgentJob,
        provider: &ProviderConfig,
        limit: Duration,
        toolbox: &dyn Toolbox,
    ) -> Result<AgentReply, AgentError> {
        let run = async {
            match provider.api {
                ProviderApi::Echo => Ok(echo::answer(job)),
                ProviderApi::OpenaiCompletions => openai::answer(&self.http, job, provider, toolbox).await,
                ProviderApi::AnthropicMessages | ProviderApi::Command | ProviderApi::Webhook => {
                    Err(AgentError::Config(format!(
                        "models.providers.{}.api is not served by this version; use \"openai-completions\" or \"echo\"",
                        provider.name
                    )))
                }
            }
        };
        tokio::time::timeout(limit, run).await.unwrap_or(Err(AgentError::Timeout(limit)))
    }
}
