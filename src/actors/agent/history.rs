//! What a run reads of its session before the model is asked, and what it writes down afterwards.

use std::path::PathBuf;
use std::sync::Arc;

use super::run::AgentRun;
use super::work::Item;
use crate::agent::{AgentError, AgentReply, Role, Turn, workspace};
use crate::clock::UnixMs;
use crate::config::model::AgentConfig;
use crate::policy::decide::ChatKind;
use crate::session::turns;
use crate::store::transcripts;

/// Turns of a session that the model is shown when nothing limits them.
const HISTORY_TURNS: usize = 40;

impl AgentRun {
    pub(super) fn workspace(&self, agent: &AgentConfig) -> PathBuf {
        agent.workspace.clone().unwrap_or_else(|| self.tools.paths.workspace(&agent.id))
    }

    /// The workspace's system prompt and the earlier turns.
    pub(super) async fn read(
        &self,
        agent: &Arc<AgentConfig>,
        session_id: &str,
    ) -> Result<(String, Vec<Turn>), AgentError> {
        let (transcripts, agent_id) = (self.tools.transcripts.clone(), agent.id.clone());
        let workspace = self.workspace(agent);
        let session_id = session_id.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            (workspace::system_prompt(&workspace), transcripts.tail(&agent_id, &session_id, usize::MAX))
        });
        let (system, history) = read.await.map_err(|e| AgentError::Config(e.to_string()))?;
        let mut history: Vec<Turn> = history
            .unwrap_or_else(|error| {
                tracing::error!(target: "agent", %error, "the transcript cannot be read; the run starts without it");
                Vec::new()
            })
            .into_iter()
            .map(earlier)
            .collect();
        let people: Vec<bool> = history.iter().map(|turn| turn.role == Role::User).collect();
        let first = match self.history_limit() {
            Some(limit) => turns::first_shown(&people, limit),
            None => history.len().saturating_sub(HISTORY_TURNS),
        };
        history.drain(..first);
        Ok((system, history))
    }

    /// Turns of people that the model is shown; `None` = nobody limits them.
    fn history_limit(&self) -> Option<usize> {
        let order = &self.work.last().order;
        let rules = &order.account.rules;
        match (order.dispatch.chat, &order.message.chat_number) {
            (ChatKind::Direct, Some(peer)) => rules.dm_history_limit_of(peer),
            (ChatKind::Direct, None) => rules.dm_history_limit,
            (ChatKind::Group, _) => None,
        }
    }

    /// Adds the turn to the transcript and its cost to the session.
    pub(super) async fn remember(&self, agent: &Arc<AgentConfig>, session: &str, line: &str, reply: &AgentReply) {
        let Item { order, run, .. } = self.work.last();
        let now = self.tools.clock.now();
        let said = |role: &str, content: &str, timestamp: UnixMs| transcripts::Turn {
            role: role.to_owned(),
            content: content.to_owned(),
            timestamp,
        };
        let mut turns = vec![said("user", line, order.message.timestamp)];
        if !reply.text.trim().is_empty() {
            turns.push(said("assistant", &reply.text, now));
        }
        let (transcripts, agent, id) = (self.tools.transcripts.clone(), agent.id.clone(), session.to_owned());
        let written = tokio::task::spawn_blocking(move || transcripts.append(&agent, &id, &turns)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(target: "agent", %error, "the transcript was not written");
        }
        let (id, usage) = (session.to_owned(), reply.usage);
        let noted = self.tools.journal.change_session(&run.session, move |known| {
            // A session that was begun anew meanwhile does not pay for the old one.
            let entry = known.filter(|entry| entry.session_id == id).map(|mut entry| {
                entry.finish_turn(usage, now);
                entry
            });
            (entry, ())
        });
        if let Err(error) = noted.await {
            tracing::error!(target: "agent", session = %run.session, %error, "the end of a turn could not be noted");
        }
    }
}

fn earlier(stored: transcripts::Turn) -> Turn {
    let role = if stored.role == "assistant" { Role::Assistant } else { Role::User };
    Turn { role, text: stored.content }
}
