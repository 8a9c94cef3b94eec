//! [`AgentActor`]: runs agents, one run per session at a time, and settles their answers.
//!
//! The parts of an answer get their WhatsApp message ids here and are committed to the outbox in the same transaction that marks
//! the message answered; only then the account is told that something waits. So a crash costs at most a repeated run whose answer
//! was never sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;

use crate::actors::LoudExit;
use crate::actors::commands::SEND_POLICY_FACTS;
use crate::actors::router::ConfigChanged;
use crate::actors::socket::Gesture;
use crate::actors::supervisor::{Deliver, SupervisorActor};
use crate::agent::{AgentError, AgentJob, AgentReply, Agents, Role, Turn, workspace};
use crate::clock::{Clock, UnixMs};
use crate::command::SendSetting;
use crate::config::model::{AccountConfig, AgentConfig, Config, TypingMode};
use crate::delivery::{self, Delivery};
use crate::event::{Content, Identity, InboundMessage};
use crate::ids::{E164, Jid, MessageId, SessionKey};
use crate::policy::decide::{ChatKind, Dispatch, Run};
use crate::session::lane::Lanes;
use crate::session::pending::PendingMessage;
use crate::store::journal::{Journal, OutboxPart};
use crate::store::paths::StatePaths;
use crate::store::transcripts::{self, Transcripts};
use crate::store::zoneinfo;
use crate::text::{envelope, history};

/// Turns of a session that the model is shown when nothing limits them.
const HISTORY_TURNS: usize = 40;

/// A message was admitted. Sent by the router.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct RunAgents {
    /// The message.
    pub message: InboundMessage,
    /// Who answers in which session.
    pub dispatch: Dispatch,
    /// What was said in the group since its last answer.
    pub history: Vec<PendingMessage>,
    /// The account's settings at the decision.
    pub account: Arc<AccountConfig>,
    /// The account itself.
    pub identity: Identity,
    /// Where the answer is delivered: the account that the message came in on, and no other.
    pub supervisor: Addr<SupervisorActor>,
}

/// End the run of a session and drop what waits there; those messages count as answered. Sent by the commands.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AbortSession(pub SessionKey);

/// Start nothing new and answer when the running agents are done. Sent by the gateway.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopAgents;

/// One run that waits or goes on.
struct Work {
    order: RunAgents,
    run: Run,
    /// Runs of this message that are not settled yet; the last one marks it answered.
    left: Arc<AtomicUsize>,
    /// Turns true when the session is aborted.
    aborted: watch::Receiver<bool>,
}

/// See the module documentation.
pub struct AgentActor {
    journal: Journal,
    transcripts: Transcripts,
    paths: StatePaths,
    clock: Clock,
    config: Arc<Config>,
    agents: Agents,
    options: Arc<envelope::Options>,
    lanes: Lanes<Work>,
    /// Of every session with work: tells it to end.
    aborts: HashMap<SessionKey, watch::Sender<bool>>,
    stopping: Vec<tokio::sync::oneshot::Sender<()>>,
    stopped: bool,
    _exit: LoudExit,
}

impl AgentActor {
    /// An actor for `config`.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(journal: Journal, paths: StatePaths, clock: Clock, config: Arc<Config>) -> Result<Self, AgentError> {
        Ok(Self {
            journal,
            transcripts: Transcripts::new(paths.clone()),
            paths,
            clock,
            lanes: Lanes::new(config.agents.max_concurrent),
            aborts: HashMap::new(),
            options: Arc::new(envelope_options(&config)),
            config,
            agents: Agents::new()?,
            stopping: Vec::new(),
            stopped: false,
            _exit: LoudExit("agent"),
        })
    }

    fn pump(&mut self, ctx: &mut Context<Self>) {
        while !self.stopped
            && let Some((session, work)) = self.lanes.take()
        {
            let task = self.task(work);
            // The run itself goes on the shared pool; a panic in it ends this run and no other.
            let handle = tokio::spawn(task);
            ctx.spawn(actix::fut::wrap_future(handle).map(move |ended, me: &mut Self, ctx| {
                if let Err(error) = ended {
                    tracing::error!(target: "agent", session = %session, %error, "a run failed unexpectedly; its message is taken up after a restart");
                }
                me.lanes.done(&session);
                if me.aborts.get(&session).is_some_and(|abort| abort.receiver_count() == 0) {
                    me.aborts.remove(&session);
                }
                me.pump(ctx);
            }));
        }
        if self.stopped && self.lanes.running() == 0 {
            for done in self.stopping.drain(..) {
                let _ = done.send(());
            }
        }
    }

    fn task(&self, work: Work) -> impl Future<Output = ()> + Send + 'static {
        let run = AgentRun {
            journal: self.journal.clone(),
            transcripts: self.transcripts.clone(),
            paths: self.paths.clone(),
            clock: self.clock.clone(),
            config: self.config.clone(),
            agents: self.agents.clone(),
            options: self.options.clone(),
            work,
        };
        run.go()
    }
}

impl Actor for AgentActor {
    type Context = Context<Self>;
}

impl Handler<RunAgents> for AgentActor {
    type Result = ();

    fn handle(&mut self, order: RunAgents, ctx: &mut Self::Context) {
        let left = Arc::new(AtomicUsize::new(order.dispatch.runs.len()));
        for run in order.dispatch.runs.clone() {
            let aborted =
                self.aborts.entry(run.session.clone()).or_insert_with(|| watch::Sender::new(false)).subscribe();
            self.lanes.push(run.session.clone(), Work { order: order.clone(), run, left: left.clone(), aborted });
        }
        self.pump(ctx);
    }
}

impl Handler<ConfigChanged> for AgentActor {
    type Result = ();

    fn handle(&mut self, changed: ConfigChanged, ctx: &mut Self::Context) {
        self.lanes.set_most(changed.config.agents.max_concurrent);
        self.options = Arc::new(envelope_options(&changed.config));
        self.config = changed.config;
        self.pump(ctx);
    }
}

impl Handler<AbortSession> for AgentActor {
    type Result = ();

    fn handle(&mut self, abort: AbortSession, _: &mut Self::Context) {
        // What comes from now on gets a new signal.
        if let Some(signal) = self.aborts.remove(&abort.0) {
            signal.send_replace(true);
        }
    }
}

impl Handler<StopAgents> for AgentActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: StopAgents, ctx: &mut Self::Context) -> Self::Result {
        let (done, ended) = tokio::sync::oneshot::channel();
        self.stopped = true;
        self.stopping.push(done);
        self.pump(ctx);
        Box::pin(async move {
            let _ = ended.await;
        })
    }
}

/// Everything one run needs, away from the actor.
struct AgentRun {
    journal: Journal,
    transcripts: Transcripts,
    paths: StatePaths,
    clock: Clock,
    config: Arc<Config>,
    agents: Agents,
    options: Arc<envelope::Options>,
    work: Work,
}

impl AgentRun {
    async fn go(self) {
        let Work { order, run, .. } = &self.work;
        let Some(agent) = self.config.agent(&run.agent).cloned() else {
            self.settle(Err(AgentError::Config(format!("agent \"{}\" is not configured any more", run.agent)))).await;
            return;
        };
        let typing = self.typing();
        let mut signal = self.work.aborted.clone();
        let aborted = async move {
            // A signal that goes with the actor is none: the message is taken up after the restart.
            if signal.wait_for(|aborted| *aborted).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let answer = tokio::select! {
            biased;
            () = aborted => Ok(AgentReply { text: String::new() }),
            answer = self.answer(&agent) => answer,
        };
        if let Some(typing) = typing {
            typing.abort();
            order.supervisor.do_send(Gesture::Typing { chat: order.message.chat.clone(), on: false });
        }
        self.settle(answer).await;
    }

    /// Shows "typing" until the run ends; it fades by itself, so it is shown again and again.
    fn typing(&self) -> Option<tokio::task::JoinHandle<()>> {
        let order = &self.work.order;
        let shown = match self.config.agents.typing_mode {
            Some(TypingMode::Never) => false,
            _ => order.dispatch.chat == ChatKind::Direct || order.dispatch.mentioned,
        };
        if !shown {
            return None;
        }
        let (supervisor, chat) = (order.supervisor.clone(), order.message.chat.clone());
        let every = self.config.agents.typing_interval.max(Duration::from_secs(1));
        Some(tokio::spawn(async move {
            let mut tick = tokio::time::interval(every);
            // A run that goes on for longer than two minutes stops looking busy.
            for _ in 0..=(120 / every.as_secs().max(1)) {
                tick.tick().await;
                supervisor.do_send(Gesture::Typing { chat: chat.clone(), on: true });
            }
        }))
    }

    async fn answer(&self, agent: &Arc<AgentConfig>) -> Result<AgentReply, AgentError> {
        let Work { order, run, .. } = &self.work;
        let provider = self.config.providers.get(&agent.model.provider).ok_or_else(|| {
            AgentError::Config(format!(
                "agent \"{}\" names the model \"{}\", but models.providers.{} does not exist",
                agent.id, agent.model, agent.model.provider
            ))
        })?;
        let session_id = self.session_id(&run.session).await;
        let turns = self.history_limit();
        let (transcripts, agent_id) = (self.transcripts.clone(), agent.id.clone());
        let workspace = agent.workspace.clone().unwrap_or_else(|| self.paths.workspace(&agent.id));
        let read = tokio::task::spawn_blocking({
            let session_id = session_id.clone();
            move || (transcripts.tail(&agent_id, &session_id, turns), workspace::system_prompt(&workspace))
        });
        let (history, system) = read.await.map_err(|e| AgentError::Config(e.to_string()))?;
        let history = history.unwrap_or_else(|error| {
            tracing::error!(target: "agent", %error, "the transcript cannot be read; the run starts without it");
            Vec::new()
        });
        let text = match &order.message.content {
            Content::Body(body) => body.text_or_placeholder(),
            Content::Reaction { .. } | Content::Other { .. } => String::new(),
        };
        let job = AgentJob {
            is_default: agent.id == self.config.agents.default,
            agent: agent.clone(),
            session: run.session.clone(),
            system,
            history: history.into_iter().map(turn).collect(),
            line: self.line(agent, &text),
            text,
        };
        let reply = self.agents.run(&job, provider, self.config.agents.timeout).await?;
        self.remember(agent, &session_id, &job.line, &reply.text).await;
        Ok(reply)
    }

    /// The message as the model sees it.
    fn line(&self, agent: &AgentConfig, text: &str) -> String {
        let order = &self.work.order;
        let (message, rules) = (&order.message, &order.account.rules);
        let number = message.sender_number.as_ref().map(E164::as_str);
        let id = message.sender.without_device().to_string();
        let sender = (order.dispatch.chat == ChatKind::Group).then_some(envelope::Sender {
            name: message.push_name.as_deref(),
            number,
            id: Some(&id),
        });
        let prefix = envelope::message_prefix(
            rules.message_prefix.as_deref(),
            !rules.allow_from.is_empty(),
            agent.identity.name.as_deref(),
        );
        let quote = match &message.content {
            Content::Body(body) => body.quote.as_ref(),
            Content::Reaction { .. } | Content::Other { .. } => None,
        };
        let quoted_by = quote
            .and_then(|q| q.sender.as_ref())
            .map(|jid| jid.e164().map_or_else(|| jid.to_string(), |n| n.to_string()));
        let line = envelope::Line {
            from: &order.dispatch.peer,
            body: text,
            prefix: &prefix,
            sender,
            quote: quote.map(|q| envelope::Quoted {
                sender: quoted_by.as_deref(),
                id: q.id.as_ref().map(MessageId::as_str),
                body: &q.body,
            }),
            timestamp: Some(message.timestamp).filter(|at| *at > 0),
            previous: None,
        };
        history::with_pending(
            &order.history,
            &order.dispatch.peer,
            &line.render_for_agent(&self.options),
            &self.options,
        )
    }

    fn history_limit(&self) -> usize {
        let order = &self.work.order;
        let rules = &order.account.rules;
        let limit = match (order.dispatch.chat, &order.message.chat_number) {
            (ChatKind::Direct, Some(peer)) => rules.dm_history_limit_of(peer),
            (ChatKind::Direct, None) => rules.dm_history_limit,
            (ChatKind::Group, _) => None,
        };
        // A limit counts what people said; every such turn has its answer. How much is read at all the transcript bounds.
        limit.map_or(HISTORY_TURNS, |turns| turns.saturating_mul(2))
    }

    async fn session_id(&self, session: &SessionKey) -> String {
        let fact = format!("session:{session}");
        if let Ok(Some(id)) = self.journal.get(&fact).await {
            return id;
        }
        let id = uuid::Uuid::new_v4().to_string();
        if let Err(error) = self.journal.put(&fact, &id).await {
            tracing::error!(target: "agent", %session, %error, "the session could not be noted");
        }
        id
    }

    async fn remember(&self, agent: &Arc<AgentConfig>, session: &str, line: &str, reply: &str) {
        let now = self.clock.now();
        let said = |role: &str, content: &str, timestamp: UnixMs| transcripts::Turn {
            role: role.to_owned(),
            content: content.to_owned(),
            timestamp,
        };
        let mut turns = vec![said("user", line, self.work.order.message.timestamp)];
        if !reply.trim().is_empty() {
            turns.push(said("assistant", reply, now));
        }
        let (transcripts, agent, session) = (self.transcripts.clone(), agent.id.clone(), session.to_owned());
        let written = tokio::task::spawn_blocking(move || transcripts.append(&agent, &session, &turns)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(target: "agent", %error, "the transcript was not written");
        }
    }

    /// Commits the answer and tells the account that something waits.
    async fn settle(&self, answer: Result<AgentReply, AgentError>) {
        let Work { order, run, left, .. } = &self.work;
        let message = &order.message;
        let texts = match answer {
            Ok(reply) => {
                let agent = self.config.agent(&run.agent).unwrap_or(self.config.agents.default_agent());
                delivery::plan(
                    &reply.text,
                    &Delivery { rules: &order.account.rules, agent, own_chat: order.dispatch.own_chat },
                )
            }
            Err(error) => {
                tracing::warn!(target: "agent", agent = %run.agent, session = %run.session, id = %message.id, %error, "no answer");
                if self.config.agents.report_errors { vec![format!("⚠️ No answer: {error}.")] } else { Vec::new() }
            }
        };
        // What `/send off` holds back is settled all the same; the transcript has it.
        let fact = format!("{SEND_POLICY_FACTS}{}", run.session);
        let held_back = matches!(self.journal.get(&fact).await, Ok(Some(set)) if set == SendSetting::Off.word());
        let texts = if held_back { Vec::new() } else { texts };
        let chat: Jid = message.chat.clone();
        let parts: Vec<OutboxPart> = texts
            .into_iter()
            .map(|text| OutboxPart {
                account: message.account.clone(),
                id: MessageId::random(&mut rand::rng()),
                chat: chat.clone(),
                text,
                answers: Some(message.key()),
            })
            .collect();
        let last = left.fetch_sub(1, Ordering::SeqCst) == 1;
        let written = if last {
            self.journal.answer(&message.key(), parts).await.map(|_| ())
        } else {
            self.journal.enqueue(parts).await
        };
        match written {
            Ok(()) => order.supervisor.do_send(Deliver),
            Err(error) => {
                tracing::error!(target: "agent", id = %message.id, %error, "the answer could not be written down; the message is taken up after a restart");
            }
        }
    }
}

fn envelope_options(config: &Config) -> envelope::Options {
    envelope::Options::new(&config.agents.envelope, config.agents.user_timezone.as_deref(), zoneinfo::load)
}

fn turn(stored: transcripts::Turn) -> Turn {
    let role = if stored.role == "assistant" { Role::Assistant } else { Role::User };
    Turn { role, text: stored.content }
}
