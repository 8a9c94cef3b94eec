//! The session of a run: what is read of it before the model is asked, the asking, and what is written down afterwards.
//!
//! The model is shown what fits its window: the newest turns first, long ones cut. A provider that finds it too long all the same is
//! asked again with half of it, so a session cannot be filled until nothing is answered any more.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::run::AgentRun;
use super::tool::WhatsappTool;
use super::work::Item;
use crate::agent::{AgentError, AgentJob, AgentReply, Role, Turn, workspace};
use crate::clock::UnixMs;
use crate::config::model::{AgentConfig, ModelRef, ProviderConfig};
use crate::policy::decide::ChatKind;
use crate::session::turns;
use crate::session::window::{self, Said};
use crate::store::transcripts;

/// Turns of a session that the model is shown when nothing limits them.
const HISTORY_TURNS: usize = 40;
/// Most times that a model is asked again with half of what it found too long.
const MOST_HALVINGS: usize = 8;
/// Less than this of the conversation is not worth asking for.
const LEAST: usize = 24;
/// Tokens of one turn in a transcript: a longer one is written down shortened, as no model would be shown more.
const MOST_NOTED: usize = 40_000;

/// Sizes that models turned out to take, by `provider/name`, until the process ends.
#[derive(Clone, Default)]
pub(super) struct Learned(Arc<Mutex<HashMap<String, usize>>>);

impl Learned {
    fn of(&self, model: &ModelRef) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&model.to_string()).copied().unwrap_or(usize::MAX)
    }

    fn takes(&self, model: &ModelRef, tokens: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(model.to_string(), tokens);
    }
}

/// The earlier turns of a session and the question, before they are cut to the model's window.
pub(super) struct Conversation {
    /// Oldest first.
    pub past: Vec<Said>,
    /// The question.
    pub line: String,
}

impl Conversation {
    /// Puts into the job what fits into `most` tokens, and gives how many they are. The question comes first.
    fn put(&self, job: &mut AgentJob, most: usize) -> usize {
        let line = window::shorten(&self.line, most).into_owned();
        let rest = most.saturating_sub(window::weight(&line));
        let mut shown = window::fit(self.past.clone(), rest);
        // A question that nobody answered comes along with the new one.
        let open = shown.pop_if(|turn| turn.by_people).map(|turn| turn.text);
        job.line = open.map_or(line.clone(), |open| format!("{open}\n\n{line}"));
        job.history = shown.into_iter().map(turn).collect();
        job.history.iter().map(|turn| window::weight(&turn.text)).sum::<usize>() + window::weight(&job.line)
    }
}

fn turn(said: Said) -> Turn {
    Turn { role: if said.by_people { Role::User } else { Role::Assistant }, text: said.text }
}

impl AgentRun {
    /// Asks the model, with less and less while it finds the conversation too long.
    pub(super) async fn ask(
        &self,
        mut job: AgentJob,
        conversation: &Conversation,
        provider: &ProviderConfig,
        tool: &WhatsappTool,
    ) -> Result<AgentReply, AgentError> {
        let (agents, limit, model) = (&self.tools.agents, self.config.agents.timeout, job.agent.model.clone());
        let system = window::weight(&job.system);
        let window = provider.windows.get(&model.name).copied();
        let most = window::of_model(window, provider.max_tokens).min(self.tools.learned.of(&model));
        let mut most = most.saturating_sub(system).max(LEAST);
        let mut halved = 0;
        loop {
            let sent = conversation.put(&mut job, most);
            let answer = agents.run(&job, provider, limit, tool).await;
            match answer {
                Err(error) if error.wants_less() && halved < MOST_HALVINGS && sent / 2 >= LEAST => {
                    halved += 1;
                    most = sent.min(most) / 2;
                    tracing::warn!(
                        target: "agent", model = %model, tokens = system + sent, %error,
                        "the conversation is too long for the model; it is asked again with less"
                    );
                }
                answer => {
                    if answer.is_ok() && halved > 0 {
                        self.tools.learned.takes(&model, system + most);
                    }
                    return answer;
                }
            }
        }
    }

    pub(super) fn workspace(&self, agent: &AgentConfig) -> PathBuf {
        agent.workspace.clone().unwrap_or_else(|| self.tools.paths.workspace(&agent.id))
    }

    /// The workspace's system prompt and the earlier turns.
    pub(super) async fn read(
        &self,
        agent: &Arc<AgentConfig>,
        session_id: &str,
    ) -> Result<(String, Vec<Said>), AgentError> {
        let (transcripts, agent_id) = (self.tools.transcripts.clone(), agent.id.clone());
        let workspace = self.workspace(agent);
        let session_id = session_id.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            (workspace::system_prompt(&workspace), transcripts.tail(&agent_id, &session_id, usize::MAX))
        });
        let (system, history) = read.await.map_err(|e| AgentError::Config(e.to_string()))?;
        let mut history: Vec<Said> = history
            .unwrap_or_else(|error| {
                tracing::error!(target: "agent", %error, "the transcript cannot be read; the run starts without it");
                Vec::new()
            })
            .into_iter()
            .map(earlier)
            .collect();
        let people: Vec<bool> = history.iter().map(|turn| turn.by_people).collect();
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

    /// Adds the turn to the transcript and its cost to the session. Without a reply the run failed: its question stays, unanswered.
    pub(super) async fn remember(
        &self,
        agent: &Arc<AgentConfig>,
        session: &str,
        line: &str,
        reply: Option<&AgentReply>,
    ) {
        let Item { order, run, .. } = self.work.last();
        let now = self.tools.clock.now();
        let said = |role: &str, content: &str, timestamp: UnixMs| transcripts::Turn {
            role: role.to_owned(),
            content: window::shorten(content, MOST_NOTED).into_owned(),
            timestamp,
        };
        let mut turns = vec![said("user", line, order.message.timestamp)];
        if let Some(reply) = reply.filter(|reply| !reply.text.trim().is_empty()) {
            turns.push(said("assistant", &reply.text, now));
        }
        let (transcripts, agent, id) = (self.tools.transcripts.clone(), agent.id.clone(), session.to_owned());
        let written = tokio::task::spawn_blocking(move || transcripts.append(&agent, &id, &turns)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(target: "agent", %error, "the transcript was not written");
        }
        let (id, usage) = (session.to_owned(), reply.and_then(|reply| reply.usage));
        let noted = self.tools.journal.change_session(&run.session, move |known| {
            // A session that was begun anew meanwhile does not pay for the old one.
            let entry = known.filter(|entry| entry.session_id == id).map(|mut entry| {
                entry.finish_turn(usage, now);
                entry
            });
            (entry, ())
        });
        if let Err(error) = noted.await {
            tracing::error!(target: "agent", session = %run.session.in_short(), %error, "the end of a turn could not be noted");
        }
    }
}

fn earlier(stored: transcripts::Turn) -> Said {
    Said { by_people: stored.role != "assistant", text: stored.content }
}
