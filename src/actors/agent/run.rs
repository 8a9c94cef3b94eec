//! One run: from the messages to the model and its settled answer, away from the actor.
//!
//! The parts of an answer get their WhatsApp message ids here and are committed to the outbox in the same transaction that marks
//! the messages answered; only then the account is told that something waits. So a crash costs at most a repeated run whose answer
//! was never sent. Files of an answer are prepared before that; what a given-up answer prepared is deleted.

use std::sync::Arc;
use std::time::Duration;

use super::history::{Conversation, Learned};
use super::media::{Brought, Fetcher};
use super::outcome::{Conclusion, Tallies};
use super::tool::WhatsappTool;
use super::work::{Ended, Item, Work};
use crate::actors::socket::Gesture;
use crate::actors::supervisor::DescribeGroup;
use crate::agent::{AgentError, AgentJob, AgentReply, Agents};
use crate::clock::{Clock, UnixMs};
use crate::command::Activation;
use crate::config::model::{AgentConfig, Config, ResetPolicy, TypingMode};
use crate::delivery;
use crate::disclosure::{self, Outcome};
use crate::ids::E164;
use crate::media::Loader;
use crate::policy::decide::ChatKind;
use crate::session::entry::{Entry, Opened};
use crate::session::group_facts::GroupFacts;
use crate::session::{files, model_hint, send_policy, typing};
use crate::store::journal::Journal;
use crate::store::paths::StatePaths;
use crate::store::transcripts::Transcripts;
use crate::text::zone::Zone;
use crate::text::{envelope, intro, queued, turn};

/// An answer does not wait longer for the group's name and members.
const GROUP_PATIENCE: Duration = Duration::from_secs(5);
/// A run that goes on for longer stops looking busy.
const TYPING_LIMIT: Duration = Duration::from_secs(120);

/// What every run works with.
#[derive(Clone)]
pub(super) struct Tools {
    pub journal: Journal,
    pub transcripts: Transcripts,
    pub paths: StatePaths,
    pub clock: Clock,
    pub agents: Agents,
    /// Prepares the files that answers name.
    pub loader: Loader,
    /// Fetches the media that messages bring along.
    pub fetcher: Fetcher,
    /// Counts how runs end.
    pub tallies: Tallies,
    /// What models turned out to take.
    pub learned: Learned,
    /// The zone whose clocks begin a new day for sessions.
    pub host_zone: Arc<Zone>,
}

/// Everything one run needs.
pub(super) struct AgentRun {
    pub tools: Tools,
    pub config: Arc<Config>,
    pub options: Arc<envelope::Options>,
    /// Names of the people seen in the chat, by number.
    pub names: Vec<(E164, String)>,
    pub work: Work,
}

/// Shows "typing" again and again, because it fades by itself, and takes it back when it goes.
struct Typing {
    task: tokio::task::JoinHandle<()>,
    off: Box<dyn Fn() + Send + Sync>,
}

impl Drop for Typing {
    fn drop(&mut self) {
        self.task.abort();
        (self.off)();
    }
}

impl AgentRun {
    /// Runs the agent and settles the messages.
    pub async fn go(self) -> Ended {
        let Item { order, run, .. } = self.work.last();
        let Some(agent) = self.config.agent(&run.agent).cloned() else {
            let answer = if order.dispatch.runs.len() > 1 {
                tracing::warn!(target: "agent", agent = %run.agent, "a broadcast names an agent that is not configured any more; it is skipped");
                Ok(AgentReply::default())
            } else {
                Err(AgentError::Config(format!("agent \"{}\" is not configured any more", run.agent)))
            };
            self.settle(self.concluded(answer).await, Ended::Done).await;
            return Ended::Done;
        };
        let mode = typing::mode(self.config.agents.typing_mode, order.dispatch.chat, order.dispatch.mentioned, false);
        let mut shown = (mode == TypingMode::Instant).then(|| self.typing());
        let mut signal = self.work.abort.subscribe();
        let aborted = async move {
            // A signal that goes with the actor is none: the message is taken up after the restart.
            if signal.wait_for(|aborted| *aborted).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let answered = async {
            let answer = self.answer(&agent, mode, &mut shown).await;
            let speaks =
                answer.as_ref().is_ok_and(|reply| !reply.text.trim().is_empty() && !delivery::is_silent(&reply.text));
            if mode == TypingMode::Message && speaks {
                shown = Some(self.typing());
            }
            self.concluded(answer).await
        };
        let (conclusion, ended) = tokio::select! {
            biased;
            () = aborted => (Conclusion::wordless(Outcome::Stopped), Ended::Aborted),
            conclusion = answered => (conclusion, Ended::Done),
        };
        self.settle(conclusion, ended).await;
        drop(shown);
        ended
    }

    fn typing(&self) -> Typing {
        let order = &self.work.last().order;
        let (supervisor, chat) = (order.supervisor.clone(), order.message.chat.clone());
        let every = self.config.agents.typing_interval.max(Duration::from_secs(1));
        let gesture = move |on| supervisor.do_send(Gesture::Typing { chat: chat.clone(), on });
        let show = gesture.clone();
        show(true);
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(every);
            tick.tick().await;
            let again = async {
                loop {
                    tick.tick().await;
                    show(true);
                }
            };
            let _: Result<(), _> = tokio::time::timeout(TYPING_LIMIT, again).await;
        });
        Typing { task, off: Box::new(move || gesture(false)) }
    }

    async fn answer(
        &self,
        agent: &Arc<AgentConfig>,
        mode: TypingMode,
        shown: &mut Option<Typing>,
    ) -> Result<AgentReply, AgentError> {
        let run = &self.work.last().run;
        let Opened { entry, previous, .. } = self.open_session().await;
        let chosen = entry.model.as_deref().and_then(|model| model_hint::parse(model, &self.config));
        let agent = match chosen {
            Some(model) => Arc::new(AgentConfig { model, ..(**agent).clone() }),
            None => agent.clone(),
        };
        let provider = self.config.providers.get(&agent.model.provider).ok_or_else(|| {
            AgentError::Config(format!(
                "agent \"{}\" names the model \"{}\", but models.providers.{} does not exist",
                agent.id, agent.model, agent.model.provider
            ))
        })?;
        let (workspace, past) = self.read(&agent, &entry.session_id).await?;
        let tag = files::tag(&run.session, run.person.as_deref());
        let parts = [workspace, self.introduction().await.unwrap_or_default()];
        if mode == TypingMode::Thinking {
            *shown = Some(self.typing());
        }
        let (mut prompts, mut media) = (Vec::new(), Vec::new());
        for (n, item) in self.work.items.iter().enumerate() {
            let quota = self.config.retention.media_max_bytes;
            let brought = self.tools.fetcher.bring(&item.order, quota, &tag).await;
            prompts.push(self.prompt(item, &agent, previous.filter(|_| n == 0), &brought));
            media.extend(brought.files);
        }
        let dropped: Vec<String> = self.work.dropped.iter().map(|item| turn::said(&item.order.message)).collect();
        let texts: Vec<String> = self.work.items.iter().map(|item| turn::said(&item.order.message)).collect();
        let job = AgentJob {
            is_default: agent.id == self.config.agents.default,
            agent: agent.clone(),
            session: run.session.clone(),
            system: parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n"),
            history: Vec::new(),
            line: String::new(),
            text: texts.join("\n"),
            media,
        };
        let conversation = Conversation { past, line: queued::prompt(&prompts, &dropped) };
        let tool = WhatsappTool {
            journal: self.tools.journal.clone(),
            order: self.work.last().order.clone(),
            may_send: self.may_send().await,
        };
        let mut reply = self.ask(job, &conversation, provider, &tool).await;
        if let Ok(reply) = &mut reply {
            reply.text = disclosure::mask_markdown(&reply.text);
        }
        self.remember(&agent, &entry.session_id, &conversation.line, reply.as_ref().ok()).await;
        reply
    }

    /// The session that the messages belong to: a stale one begins anew.
    async fn open_session(&self) -> Opened {
        let Item { order, run, .. } = self.work.last();
        let resets = &self.config.session;
        let policy: ResetPolicy = match order.dispatch.chat {
            ChatKind::Direct => resets.reset_direct.clone(),
            ChatKind::Group => resets.reset_group.clone(),
        };
        let (now, zone, id) = (self.tools.clock.now(), self.tools.host_zone.clone(), uuid::Uuid::new_v4().to_string());
        let fallback = Opened { entry: Entry::begin(id.clone(), now), previous: None, taken_over: false };
        let person = run.person.clone();
        let opened = self.tools.journal.change_session(&run.session, move |known| {
            let opened = Entry::open(known, person.as_deref(), &policy, now, &zone, id.clone());
            (Some(opened.entry.clone()), opened)
        });
        let opened = opened.await.unwrap_or_else(|error| {
            tracing::error!(target: "agent", session = %run.session.in_short(), %error, "the session could not be noted");
            fallback
        });
        // What another person switched off there does not silence this one.
        if opened.taken_over
            && let Err(error) = self.tools.journal.forget(&send_policy::fact(&run.session)).await
        {
            tracing::error!(target: "agent", session = %run.session.in_short(), %error, "what /send set for another person stays");
        }
        opened
    }

    /// What the model is told of the group. A chat completion remembers no system prompt, so it comes with every turn and not
    /// only with the session's first one.
    async fn introduction(&self) -> Option<String> {
        let order = &self.work.last().order;
        let (message, dispatch) = (&order.message, &order.dispatch);
        if dispatch.chat == ChatKind::Direct {
            return None;
        }
        let asked = order.supervisor.send(DescribeGroup(message.chat.clone()));
        // The answer goes on without what WhatsApp does not tell.
        let facts = tokio::time::timeout(GROUP_PATIENCE, asked).await.ok().and_then(Result::ok).flatten();
        let GroupFacts { subject, members } = facts.unwrap_or_default();
        let members: Vec<&str> = members.iter().map(E164::as_str).collect();
        let roster: Vec<(&str, &str)> = self.names.iter().map(|(n, name)| (n.as_str(), name.as_str())).collect();
        let group = intro::Group {
            id: &dispatch.peer,
            subject: Some(&subject),
            members: &members,
            roster: &roster,
            activation: dispatch.activation.unwrap_or(Activation::Mention),
        };
        let sender_id = message.sender.without_device().to_string();
        let current = intro::Current {
            sender: turn::sender(message, &sender_id),
            sender_id: &sender_id,
            message_id: message.id.as_str(),
        };
        let label = intro::conversation_label(true, Some(&subject), &dispatch.peer).unwrap_or_default();
        Some(format!("{}\n\n{}", intro::group_intro(&group), intro::facts(&label, &current)))
    }

    /// One message as the model sees it, after what was said before it in its group.
    fn prompt(&self, item: &Item, agent: &AgentConfig, previous: Option<UnixMs>, brought: &Brought) -> String {
        let order = &item.order;
        let turn = turn::Turn {
            message: &order.message,
            dispatch: &order.dispatch,
            rules: &order.account.rules,
            agent,
            history: &brought.history,
            attached: brought.own.as_deref(),
            quoted_attached: brought.quoted.as_deref(),
            previous,
        };
        turn.prompt(&self.options)
    }

    /// Whether the session may answer now.
    pub(super) async fn may_send(&self) -> bool {
        let Item { order, run, .. } = self.work.last();
        let fact = send_policy::fact(&run.session);
        let chosen = match self.tools.journal.get_surely(&fact).await {
            Ok(chosen) => chosen.and_then(|text| match text.as_str() {
                "on" => Some(true),
                "off" => Some(false),
                _ => None,
            }),
            Err(error) => {
                tracing::error!(target: "agent", session = %run.session.in_short(), %error, "what /send set cannot be read");
                None
            }
        };
        send_policy::allowed(&self.config.session.send_policy, &run.session, order.dispatch.chat.into(), chosen)
    }
}
