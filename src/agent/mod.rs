//! What answers: an agent takes one job and gives one reply. One file a kind; which kind is used says the agent's model in the config.
//!
//! An agent holds no state of a conversation: everything it may know is in the [`AgentJob`].

mod echo;
mod http;
mod openai;
mod workspace;

use std::sync::Arc;
use std::time::Duration;

use crate::config::model::{AgentConfig, Config, ProviderApi, ProviderConfig};
use crate::ids::{AccountId, AgentId, SessionKey};
use crate::policy::decide::ChatKind;
use crate::session::history::Turn;

pub use workspace::system_prompt;

/// One message to answer, with everything the agent may know.
#[derive(Clone, Debug)]
pub struct AgentJob {
    /// Who answers.
    pub agent: Arc<AgentConfig>,
    /// The agent is the one that answers what no binding claims.
    pub is_default: bool,
    /// What the agent's model runs on.
    pub provider: Arc<ProviderConfig>,
    /// The account that was written to.
    pub account: AccountId,
    /// The conversation.
    pub session: SessionKey,
    /// Direct chat or group.
    pub chat: ChatKind,
    /// Id of the sender (E.164 or LID), when known.
    pub sender: Option<String>,
    /// Name of the sender, when known.
    pub sender_name: Option<String>,
    /// Earlier turns, oldest first.
    pub history: Vec<Turn>,
    /// The message in its envelope, with pending group history before it: what a model reads.
    pub line: String,
    /// The message as it was written.
    pub text: String,
    /// Who the agent is and what it should know, if anything says so.
    pub system: Option<String>,
    /// Longest time of the run.
    pub timeout: Duration,
}

/// The parts of an [`AgentJob`] that the config decides.
#[derive(Clone, Debug)]
pub struct AgentSetup {
    /// Who answers.
    pub agent: Arc<AgentConfig>,
    /// The agent is the default one.
    pub is_default: bool,
    /// What its model runs on.
    pub provider: Arc<ProviderConfig>,
    /// Longest time of the run.
    pub timeout: Duration,
}

impl AgentSetup {
    /// Finds an agent and its provider in the config.
    ///
    /// # Errors
    /// When the config has no such agent (any more) or no such provider.
    pub fn find(config: &Config, agent: &AgentId) -> Result<Self, AgentError> {
        let agent = config.agent(agent).ok_or_else(|| AgentError::UnknownAgent(agent.clone()))?;
        let provider = config.providers.get(&agent.model.provider);
        let provider = provider.ok_or_else(|| AgentError::UnknownProvider(agent.model.provider.clone()))?;
        Ok(Self {
            is_default: agent.id == config.agents.default,
            agent: agent.clone(),
            provider: provider.clone(),
            timeout: config.agents.timeout,
        })
    }
}

/// What an agent answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentReply {
    /// The text; [`crate::delivery`] makes messages of it.
    pub text: String,
    /// Tokens read and written, when the provider counted them.
    pub tokens: Option<(u64, u64)>,
}

/// Why an agent did not answer. The texts name the cause and hold neither keys nor what people wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The agent was taken out of the config.
    #[error("agent \"{0}\" is not in agents.list")]
    UnknownAgent(AgentId),
    /// The provider was taken out of the config.
    #[error("model provider \"{0}\" is not in models.providers")]
    UnknownProvider(String),
    /// This version does not speak the provider's API.
    #[error("model provider \"{provider}\": this version does not speak its api yet (use openai-completions or echo)")]
    NotServed {
        /// The provider.
        provider: String,
    },
    /// The config of the provider cannot work.
    #[error("model provider \"{provider}\": {problem}")]
    Misconfigured {
        /// The provider.
        provider: String,
        /// What is wrong, and the key.
        problem: String,
    },
    /// No connection.
    #[error("model provider \"{provider}\" is not reachable: {detail}")]
    Unreachable {
        /// The provider.
        provider: String,
        /// What was seen.
        detail: String,
    },
    /// 401 or 403.
    #[error(
        "model provider \"{provider}\" refuses the key (status {status}); check models.providers.{provider}.apiKey"
    )]
    Unauthorized {
        /// The provider.
        provider: String,
        /// 401 or 403.
        status: u16,
    },
    /// 429.
    #[error("model provider \"{provider}\" asks to slow down (status 429)")]
    RateLimited {
        /// The provider.
        provider: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// Any other status.
    #[error("model provider \"{provider}\" failed (status {status}): {detail}")]
    Status {
        /// The provider.
        provider: String,
        /// The HTTP status.
        status: u16,
        /// The provider's own words, shortened.
        detail: String,
    },
    /// No answer in time.
    #[error("model provider \"{provider}\" did not answer within {} s", .after.as_secs())]
    TimedOut {
        /// The provider.
        provider: String,
        /// The limit.
        after: Duration,
    },
    /// The answer is not what the API promises.
    #[error("model provider \"{provider}\" gave an answer that cannot be read: {detail}")]
    Unreadable {
        /// The provider.
        provider: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The answer holds no text.
    #[error("model provider \"{provider}\" gave an empty answer")]
    Empty {
        /// The provider.
        provider: String,
    },
}

impl AgentError {
    /// The short line for the chat: honest about the cause, without addresses, keys or the provider's words.
    pub fn line(&self) -> String {
        let cause = match self {
            Self::UnknownAgent(_) | Self::UnknownProvider(_) | Self::NotServed { .. } | Self::Misconfigured { .. } => {
                "it is not set up correctly"
            }
            Self::Unreachable { .. } => "the model is not reachable",
            Self::Unauthorized { .. } => "the model refuses its key",
            Self::RateLimited { .. } => "the model is overloaded, please try again in a while",
            Self::Status { .. } => "the model reported an error",
            Self::TimedOut { .. } => "the model took too long",
            Self::Unreadable { .. } => "the model gave an answer that cannot be read",
            Self::Empty { .. } => "the model gave an empty answer",
        };
        format!("⚠️ I could not answer: {cause}.")
    }
}

/// Runs jobs on whatever the config says. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct AgentRunner {
    http: reqwest::Client,
}

impl AgentRunner {
    /// A runner with its own pool of connections.
    ///
    /// # Errors
    /// When the machine's certificate store cannot be used.
    pub fn new() -> Result<Self, AgentError> {
        Ok(Self { http: http::client()? })
    }

    /// Runs one job within its time limit. Dropping the future ends the run.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn run(&self, job: &AgentJob) -> Result<AgentReply, AgentError> {
        let limit = match job.provider.api {
            ProviderApi::Echo => job.timeout,
            _ => job.timeout.min(job.provider.timeout),
        };
        let answer = async {
            match job.provider.api {
                ProviderApi::Echo => Ok(echo::answer(job)),
                ProviderApi::OpenaiCompletions => openai::answer(&self.http, job).await,
                ProviderApi::AnthropicMessages | ProviderApi::Command | ProviderApi::Webhook => {
                    Err(AgentError::NotServed { provider: job.provider.name.clone() })
                }
            }
        };
        let timed_out = || AgentError::TimedOut { provider: job.provider.name.clone(), after: limit };
        tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(timed_out()))
    }
}

#[cfg(test)]
mod tests;
