//! The agent that answers when nothing is configured: it says what it was told.

use super::{AgentJob, AgentReply};

/// The text itself; an agent that is not the default one puts its name before it, so that two can be told apart.
pub(super) fn answer(job: &AgentJob) -> AgentReply {
    let name = job.agent.identity.name.as_deref().map(str::trim).filter(|n| !n.is_empty());
    let text = match job.is_default {
        true => job.text.clone(),
        false => format!("[{}] {}", name.unwrap_or(job.agent.id.as_str()), job.text),
    };
    AgentReply { text, tokens: None }
}
