//! The embedded default: says back what it was told, so that the first run answers without any model.

use super::{AgentJob, AgentReply};

/// The text itself; another agent than the default one puts its name before it, so that a person sees who answers.
pub(super) fn answer(job: &AgentJob) -> AgentReply {
    let text = job.text.trim();
    if job.is_default {
        return AgentReply { text: text.to_owned(), ..AgentReply::default() };
    }
    let name = job.agent.identity.name.as_deref().or(job.agent.name.as_deref()).unwrap_or(job.agent.id.as_str());
    AgentReply { text: format!("[{name}] {text}"), ..AgentReply::default() }
}
