//! [`AgentActor`]: which session's turn it is. One run per session at a time; what comes meanwhile waits in the session's backlog
//! and is answered by the next run (behaviour.md 12.7).
//!
//! ```text
//! RunAgents -> session free: lane -> run -> settled
//!           -> session busy: backlog -> (run over, quiet for a moment) -> lane -> one run for all that waited
//! ```

mod answer;
mod history;
mod media;
mod outcome;
mod run;
mod take_back;
mod tool;
mod work;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;

use crate::actors::LoudExit;
use crate::actors::router::ConfigChanged;
use crate::actors::shield::{quietly, shielded};
use crate::actors::supervisor::SupervisorActor;
use crate::agent::{AgentError, Agents};
use crate::clock::Clock;
use crate::config::model::{AccountConfig, Config, ProviderApi, QueueConfig, QueueMode};
use crate::disclosure::Outcome;
use crate::event::{Identity, InboundMessage, MessageKey};
use crate::ids::{AccountId, AgentId, E164, Jid, SessionKey};
use crate::media::Loader;
use crate::policy::decide::{ChatKind, Dispatch};
use crate::policy::reason::IgnoreReason;
use crate::routing::session_key;
use crate::session::backlog::Backlog;
use crate::session::lane::Lanes;
use crate::session::pending::PendingMessage;
use crate::session::roster::Roster;
use crate::store::inbox::Inbox;
use crate::store::journal::Journal;
use crate::store::paths::StatePaths;
use crate::store::transcripts::Transcripts;
use crate::store::zoneinfo;
use crate::text::envelope;
use crate::text::zone::Zone;

use media::Fetcher;
pub use outcome::Tallies;
use run::{AgentRun, Tools};
pub use take_back::TakeBack;
use work::{Ended, Item, Work, give_up, settle_silently};

/// A run that takes longer gives its place among `agents.defaults.maxConcurrent` back: a model that hangs for some people must not
/// keep it from all others.
const SLOW: Duration = Duration::from_secs(10);

/// A message was admitted. Sent by the router.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct RunAgents {
    /// The message.
    pub message: InboundMessage,
    /// Further messages that its text contains; they are settled together with it.
    pub also: Vec<MessageKey>,
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

impl RunAgents {
    /// All messages that its answer settles.
    pub fn keys(&self) -> Vec<MessageKey> {
        std::iter::once(self.message.key()).chain(self.also.iter().cloned()).collect()
    }
}

/// Somebody wrote in a group that an account answers in. Sent by the router.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SawMember {
    /// The account.
    pub account: AccountId,
    /// The group.
    pub group: Jid,
    /// The person's number.
    pub number: E164,
    /// The name that the person gave itself.
    pub name: String,
}

/// End the run of a session and drop what waits there; those messages count as answered. Sent by the commands.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AbortSession(pub SessionKey);

/// How much waits for a session. Sent by the commands.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct GetQueueDepth(pub SessionKey);

/// Start nothing new and answer when the running agents are done. Sent by the gateway.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopAgents;

/// See the module documentation.
pub struct AgentActor {
    tools: Tools,
    config: Arc<Config>,
    options: Arc<envelope::Options>,
    /// At most one run of a session; everything else of it is in its backlog.
    lanes: Lanes<Work>,
    backlogs: HashMap<SessionKey, Backlog<Item>>,
    /// Of every session with a run: tells it to end.
    aborts: HashMap<SessionKey, watch::Sender<bool>>,
    /// Of every session with a run: what it answers.
    running: HashMap<SessionKey, Vec<Arc<RunAgents>>>,
    roster: Roster,
    stopping: Vec<tokio::sync::oneshot::Sender<()>>,
    stopped: bool,
    _exit: LoudExit,
}

impl AgentActor {
    /// An actor for `config`.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(
        journal: Journal,
        paths: StatePaths,
        clock: Clock,
        config: Arc<Config>,
        loader: Loader,
        tallies: Tallies,
    ) -> Result<Self, AgentError> {
        let host_zone = zoneinfo::load(None).and_then(|file| Zone::parse(&file)).unwrap_or_default();
        Ok(Self {
            tools: Tools {
                transcripts: Transcripts::new(paths.clone()),
                fetcher: Fetcher::new(Inbox::new(paths.media_inbound()), journal.clone()),
                journal,
                paths,
                clock,
                loader,
                tallies,
                agents: Agents::new()?,
                learned: Default::default(),
                host_zone: Arc::new(host_zone),
            },
            lanes: Lanes::new(config.agents.max_concurrent),
            backlogs: HashMap::new(),
            aborts: HashMap::new(),
            running: HashMap::new(),
            roster: Roster::default(),
            options: Arc::new(envelope_options(&config)),
            config,
            stopping: Vec::new(),
            stopped: false,
            _exit: LoudExit("agent"),
        })
    }

    /// A message for one agent: it runs now, or waits because its session is busy.
    fn accept(&mut self, item: Item) {
        let (session, queue) = (item.run.session.clone(), self.queue(&item.run.agent));
        if !self.lanes.has(&session) && !self.backlogs.contains_key(&session) {
            return self.start(session, Work::of(item));
        }
        if queue.mode == QueueMode::Interrupt {
            self.abort(&session);
        }
        let backlog = self.backlogs.entry(session.clone()).or_default();
        if let Some(dropped) = backlog.push(item, &queue, self.tools.clock.now()) {
            tracing::warn!(target: "agent", %session, cap = queue.cap, "too many messages wait for the agent; one is not answered");
            self.settle_silently(vec![dropped], Outcome::QueueFull);
        }
    }

    fn start(&mut self, session: SessionKey, work: Work) {
        self.aborts.insert(session.clone(), work.abort.clone());
        self.running.insert(session.clone(), work.orders());
        // Whoever's main session it is does not wait for strangers.
        if session == session_key::main_session(&work.last().run.agent, &self.config.session) {
            self.lanes.push_first(session, work);
        } else {
            self.lanes.push(session, work);
        }
    }

    /// How messages wait for an agent. The echo answers at once, so nothing has to be collected for it.
    fn queue(&self, agent: &AgentId) -> QueueConfig {
        let queue = self.config.messages.queue.clone();
        let provider = self.config.agent(agent).and_then(|agent| self.config.providers.get(&agent.model.provider));
        if provider.is_some_and(|provider| provider.api == ProviderApi::Echo) {
            return QueueConfig { mode: QueueMode::Followup, debounce: Duration::ZERO, cap: usize::MAX, ..queue };
        }
        queue
    }

    /// The session's run is over: what waits comes next, after a moment of quiet.
    fn release(&mut self, session: &SessionKey, ctx: &mut Context<Self>) {
        if self.lanes.has(session) {
            return;
        }
        let Some(agent) = self.backlogs.get(session).and_then(|b| b.first()).map(|item| item.run.agent.clone()) else {
            self.backlogs.remove(session);
            return;
        };
        let (queue, now) = (self.queue(&agent), self.tools.clock.now());
        let Some(backlog) = self.backlogs.get_mut(session) else { return };
        let wait = backlog.due_in(&queue, now);
        if wait > Duration::ZERO {
            let session = session.clone();
            ctx.run_later(wait, move |me, ctx| {
                me.release(&session, ctx);
                me.pump(ctx);
            });
            return;
        }
        if let Some(taken) = backlog.take(queue.mode, Item::belongs_to) {
            if backlog.is_empty() {
                self.backlogs.remove(session);
            }
            self.start(session.clone(), Work::new(taken));
        }
    }

    /// Ends the session's run and empties its backlog.
    fn abort(&mut self, session: &SessionKey) {
        if let Some(signal) = self.aborts.get(session) {
            signal.send_replace(true);
        }
        if let Some(backlog) = self.backlogs.remove(session) {
            self.settle_silently(backlog.into_all(), Outcome::Stopped);
        }
    }

    fn settle_silently(&self, items: Vec<Item>, outcome: Outcome) {
        let now = self.tools.clock.now();
        items.iter().for_each(|item| self.tools.tallies.note(item, &outcome, now));
        tokio::spawn(settle_silently(self.tools.journal.clone(), items, outcome));
    }

    fn pump(&mut self, ctx: &mut Context<Self>) {
        while !self.stopped
            && let Some((session, work)) = self.lanes.take()
        {
            let next = work.next_agents();
            let (items, dropped, failed_before) = (work.items.clone(), work.dropped.clone(), work.failed_before);
            let message = &work.last().order.message;
            let names = self.roster.names(&message.account, &message.chat);
            let run = AgentRun {
                tools: self.tools.clone(),
                config: self.config.clone(),
                options: self.options.clone(),
                names,
                work,
            };
            // The run itself goes on the shared pool; a panic in it ends this run and no other.
            let handle = tokio::spawn(quietly(begin(run)));
            let slow = session.clone();
            let slow = ctx.run_later(SLOW, move |me, ctx| {
                me.lanes.slow(&slow);
                me.pump(ctx);
            });
            ctx.spawn(actix::fut::wrap_future(handle).map(move |ended, me: &mut Self, ctx| {
                ctx.cancel_future(slow);
                me.lanes.done(&session);
                me.aborts.remove(&session);
                me.running.remove(&session);
                let panicked = ended.as_ref().err().is_some_and(tokio::task::JoinError::is_panic);
                if panicked && !failed_before && !me.stopped {
                    tracing::error!(target: "agent", session = %session.in_short(), "a run failed unexpectedly; it is tried once more");
                    me.start(session, Work::again(items, dropped));
                    return me.pump(ctx);
                }
                if panicked && failed_before {
                    tracing::error!(target: "agent", session = %session.in_short(), "a run failed unexpectedly; its messages are given up");
                    tokio::spawn(give_up(me.tools.journal.clone(), items.into_iter().chain(dropped).collect()));
                }
                if !matches!(ended, Ok(Ended::Aborted)) {
                    next.into_iter().for_each(|item| me.accept(item));
                }
                me.release(&session, ctx);
                me.pump(ctx);
            }));
        }
        if self.stopped && self.lanes.running() == 0 {
            for done in self.stopping.drain(..) {
                let _ = done.send(());
            }
        }
    }
}

/// Runs an agent; its messages are marked whenever its code runs.
async fn begin(run: AgentRun) -> Ended {
    let (journal, keys) = (run.tools.journal.clone(), run.work.keys());
    let work = async move {
        #[cfg(feature = "demo")]
        if let crate::event::Content::Body(body) = &run.work.last().order.message.content {
            crate::fault::text("run", body.text.as_deref());
        }
        run.go().await
    };
    journal.working(&keys, work).await
}

impl Actor for AgentActor {
    type Context = Context<Self>;
}

impl Handler<RunAgents> for AgentActor {
    type Result = ();

    fn handle(&mut self, order: RunAgents, ctx: &mut Self::Context) {
        let keys = order.keys();
        let _at_work = self.tools.journal.at_work(&keys);
        if shielded(|| self.take(order)).is_err() {
            self.tools.journal.set_aside(&keys, IgnoreReason::Internal, "a panic of the agent actor");
        }
        self.pump(ctx);
    }
}

impl AgentActor {
    fn take(&mut self, order: RunAgents) {
        let message = &order.message;
        if let (ChatKind::Group, Some(number), Some(name)) =
            (order.dispatch.chat, &message.sender_number, &message.push_name)
        {
            self.roster.saw(&message.account, &message.chat, number, name);
        }
        for item in Item::of(order) {
            self.accept(item);
        }
    }
}

impl Handler<SawMember> for AgentActor {
    type Result = ();

    fn handle(&mut self, saw: SawMember, _: &mut Self::Context) {
        self.roster.saw(&saw.account, &saw.group, &saw.number, &saw.name);
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

    fn handle(&mut self, AbortSession(session): AbortSession, _: &mut Self::Context) {
        self.abort(&session);
    }
}

impl Handler<GetQueueDepth> for AgentActor {
    type Result = usize;

    fn handle(&mut self, GetQueueDepth(session): GetQueueDepth, _: &mut Self::Context) -> usize {
        self.backlogs.get(&session).map_or(0, Backlog::len)
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

fn envelope_options(config: &Config) -> envelope::Options {
    envelope::Options::new(&config.agents.envelope, config.agents.user_timezone.as_deref(), zoneinfo::load)
}
