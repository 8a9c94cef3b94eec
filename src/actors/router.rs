//! [`RouterActor`]: judges every inbound message by the rules and carries out the effects.
//!
//! It decides nothing itself: [`decide`] does, from the configuration in force and what is known of the account. The decision is
//! noted in the journal beside the message, which is what `verso why` tells later.

mod batches;
mod handover;
mod left;
pub(in crate::actors) mod pairing;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use actix::prelude::*;

use crate::actors::LoudExit;
use crate::actors::agent::{AgentActor, RunAgents, SawMember};
use crate::actors::commands::{ACTIVATION_FACTS, Commands, Order};
use crate::actors::messages::Reload;
use crate::actors::shield::shielded;
use crate::actors::socket::Gesture;
use crate::actors::supervisor::SupervisorActor;
use crate::clock::{Clock, UnixMs};
use crate::config::Places;
use crate::config::file::ConfigSource;
use crate::config::model::{AccountConfig, AllowList, Config};
use crate::event::{Identity, InboundMessage, MessageKey};
use crate::ids::{AccountId, Jid};
use crate::policy::allowlist::parse_approved;
use crate::policy::decide::{View, decide};
use crate::policy::decision::{ChatKind, Decision, Dispatch, Effect, Verdict};
use crate::policy::handover::Handovers;
use crate::policy::mention::MentionTable;
use crate::policy::reason::IgnoreReason;
use crate::routing::main_session::{self, OwnNumbers};
use crate::routing::session_key;
use crate::session::debounce::{Debounce, Key};
use crate::session::pending::Pending;
use crate::store::StoreError;
use crate::store::credentials::{self, LinkFiles};
use crate::store::journal::{InboundState, Journal, Left};
use crate::store::pairing::{PairingFiles, Stamp};
use crate::store::paths::StatePaths;

pub use batches::FlushBatches;
use batches::Waiting;
pub use handover::GetHandovers;
use pairing::{PairingAsked, Verdicted};

/// A message is on disk and waits for judgement. Sent by the sink of a socket.
#[derive(Message)]
#[rtype(result = "()")]
pub struct InboundReceived {
    /// The message.
    pub message: InboundMessage,
    /// When the connection it came on was accepted.
    pub connected_at: Option<UnixMs>,
    /// Verso itself sent it.
    pub ours: bool,
}

/// Who an account is, before its first message can come and whenever that changes. Sent by its supervisor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AccountOnline {
    /// The account.
    pub account: AccountId,
    /// Who it is.
    pub identity: Identity,
    /// Where answers are delivered.
    pub supervisor: Addr<SupervisorActor>,
}

/// The account is linked to another number than before, and what was open for that one is given up. Sent by its supervisor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct NumberChanged(pub AccountId);

/// The configuration in force. Sent by the gateway.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct ConfigChanged {
    /// The configuration.
    pub config: Arc<Config>,
    /// Its revision.
    pub revision: u64,
    /// Where its keys stand.
    pub places: Arc<Places>,
}

/// Who applies an edited config file. Sent by the gateway.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReloadBy(pub Recipient<Reload>);

/// Decisions by code and account since the start. Sent by the gateway.
#[derive(Message)]
#[rtype(result = "Counters")]
pub struct GetCounters;

/// Answer to [`GetCounters`].
pub type Counters = HashMap<AccountId, BTreeMap<String, u64>>;

/// What is known of an account.
struct Known {
    identity: Identity,
    supervisor: Addr<SupervisorActor>,
    approved: AllowList,
    /// State of the files that `approved` was read from; `None` = not read yet.
    stamp: Option<Stamp>,
}

/// Chats that warnings are remembered for; then they start anew.
const MOST_WARNED: usize = 10_000;

/// See the module documentation.
pub struct RouterActor {
    journal: Journal,
    files: PairingFiles,
    paths: StatePaths,
    clock: Clock,
    config: Arc<Config>,
    revision: u64,
    places: Arc<Places>,
    mentions: MentionTable,
    agents: Addr<AgentActor>,
    commands: Commands,
    known: HashMap<AccountId, Known>,
    /// The accounts' own numbers: they say whose a main session is where `allowFrom` names nobody.
    own_numbers: OwnNumbers,
    /// Accounts whose messages of earlier processes were taken up.
    introduced: HashSet<AccountId>,
    /// Messages that woke nobody, until their chat's next answer.
    pending: Pending,
    /// Direct chats that their owner takes part in.
    handovers: Handovers,
    /// Admitted messages that wait for what else their writer says.
    batches: Debounce<Key, Waiting>,
    counters: Counters,
    /// Chats and reasons that a warning was given for under this revision.
    warned: HashSet<(AccountId, Jid, IgnoreReason)>,
    _exit: LoudExit,
}

impl RouterActor {
    /// A router for `config`.
    ///
    /// # Errors
    /// When the pairing files are damaged: judging without them would shut out people who were let in.
    pub fn new(
        journal: Journal,
        paths: StatePaths,
        clock: Clock,
        (config, places): (Arc<Config>, Arc<Places>),
        agents: Addr<AgentActor>,
        source: ConfigSource,
    ) -> Result<Self, StoreError> {
        let files = PairingFiles::new(paths.clone(), config.default_account.clone());
        files.requests()?;
        for account in config.accounts.keys() {
            files.allowed(account)?;
        }
        let mut router = Self {
            commands: Commands::new(journal.clone(), clock.clone(), agents.clone(), source, paths.clone()),
            journal,
            files,
            paths,
            clock,
            config: config.clone(),
            revision: 1,
            places,
            warned: HashSet::new(),
            mentions: MentionTable::default(),
            agents,
            known: HashMap::new(),
            own_numbers: OwnNumbers::new(),
            introduced: HashSet::new(),
            pending: Pending::default(),
            handovers: Handovers::default(),
            batches: Debounce::default(),
            counters: HashMap::new(),
            _exit: LoudExit("router"),
        };
        router.take_config(config, 1);
        Ok(router)
    }

    fn take_config(&mut self, config: Arc<Config>, revision: u64) {
        let (mentions, problems) = MentionTable::compile(&config);
        for problem in problems {
            tracing::warn!(
                target: "config", agent = %problem.agent, index = problem.index,
                "agents.list[].groupChat.mentionPatterns[{}] of agent \"{}\" is no regular expression and is left out: {}",
                problem.index, problem.agent, problem.message
            );
        }
        self.files = PairingFiles::new(self.paths.clone(), config.default_account.clone());
        self.mentions = mentions;
        self.config = config;
        self.learn_own_numbers();
        if self.revision != revision {
            self.warned.clear();
        }
        self.revision = revision;
    }

    /// Looks up on disk whose a main session is, as far as no account that runs has told: every account is to find the same person from
    /// the first message on.
    fn learn_own_numbers(&mut self) {
        let asked: Vec<AccountId> = main_session::asks_own_number(&self.config).cloned().collect();
        for id in asked.into_iter().filter(|id| !self.known.contains_key(id)) {
            let own_dir = self.config.account(&id).and_then(|account| account.link.auth_dir.clone());
            let dir = credentials::auth_dir(&self.paths, &id, own_dir.as_deref());
            let number = match credentials::link_state(&dir) {
                LinkFiles::Linked { identity, .. } => identity.number(),
                LinkFiles::NotLinked | LinkFiles::Unusable(_) => None,
            };
            match number {
                Some(number) => self.own_numbers.insert(id, number),
                None => self.own_numbers.remove(&id),
            };
        }
    }

    /// Reads the approvals again when a file changed, also by another program.
    fn refresh_approved(&mut self, account: &AccountId) {
        let Some(known) = self.known.get_mut(account) else { return };
        let stamp = Some(self.files.stamp(account));
        if stamp == known.stamp {
            return;
        }
        match self.files.allowed(account) {
            Ok(entries) => {
                known.approved = parse_approved(entries.iter().map(String::as_str));
                known.stamp = stamp;
            }
            // The approvals known so far stay in force.
            Err(error) => {
                tracing::error!(target: "whatsapp/inbound", %account, %error, "the pairing approvals cannot be read")
            }
        }
    }

    fn judge(&mut self, received: &InboundReceived) -> Option<(Decision, Arc<AccountConfig>)> {
        let message = &received.message;
        let account = self.config.account(&message.account)?.clone();
        self.refresh_approved(&message.account);
        let none = AllowList::default();
        let known = self.known.get(&message.account);
        let decision = decide(
            message,
            &View {
                config: &self.config,
                account: &account,
                revision: self.revision,
                me: known.map(|k| &k.identity),
                own_numbers: &self.own_numbers,
                approved: known.map_or(&none, |k| &k.approved),
                connected_at: received.connected_at,
                now: self.clock.now(),
                mentions: &self.mentions,
                activation: &|session| self.commands.activation(session),
                sent_by_us: received.ours,
                owner_wrote: self.handovers.last(message).filter(|_| !message.chat.is_group()),
            },
        );
        let mut decision = self.in_batch(decision, message, &account);
        decision.cite(&self.places, &message.account);
        Some((decision, account))
    }

    /// Says once per chat that the config keeps its messages from being answered, and by which key; never who wrote.
    fn warn_once(&mut self, message: &InboundMessage, decision: &Decision) {
        let Verdict::Drop { reason } = decision.verdict else { return };
        if !reason.is_by_config() {
            return;
        }
        if self.warned.len() >= MOST_WARNED {
            self.warned.clear();
        }
        if self.warned.insert((message.account.clone(), message.chat.without_device(), reason)) {
            let gate = decision.trace.iter().rfind(|gate| gate.outcome == reason.code());
            let key = gate.and_then(|gate| gate.key.as_deref()).unwrap_or("none");
            tracing::warn!(
                target: "whatsapp/inbound", account = %message.account, id = %message.id, reason = reason.code(), key,
                "messages of a chat are not answered: {reason}; see verso why {}", message.id
            );
        }
    }

    /// Nothing leaves the account.
    fn listens_only(&self, account: &AccountId) -> bool {
        self.config.account(account).is_some_and(|account| account.rules.listen_only)
    }

    fn count(&mut self, account: &AccountId, what: &str) {
        *self.counters.entry(account.clone()).or_default().entry(what.to_owned()).or_default() += 1;
    }

    /// Carries an effect out. A request for pairing is none of these: see [`RouterActor::request_pairing`].
    fn effect(&self, effect: Effect, message: &InboundMessage) {
        let Some(supervisor) = self.known.get(&message.account).map(|k| k.supervisor.clone()) else { return };
        let sender = message.chat.is_group().then(|| message.sender.clone());
        match effect {
            Effect::MarkRead => {
                supervisor.do_send(Gesture::Read { chat: message.chat.clone(), sender, ids: vec![message.id.clone()] });
            }
            Effect::AckReact { emoji } => supervisor.do_send(Gesture::React {
                chat: message.chat.clone(),
                target: message.id.clone(),
                sender,
                from_me: message.from_me,
                emoji,
            }),
            Effect::RequestPairing { .. } => {}
        }
    }

    fn dispatch(
        &mut self,
        message: InboundMessage,
        also: Vec<MessageKey>,
        dispatch: Dispatch,
        account: Arc<AccountConfig>,
    ) {
        let Some(known) = self.known.get(&message.account) else { return };
        if let Some(call) = dispatch.command.clone() {
            let (identity, supervisor) = (known.identity.clone(), known.supervisor.clone());
            let run = RunAgents { message, also, dispatch, history: Vec::new(), account, identity, supervisor };
            let (config, approved) = (self.config.clone(), known.approved.clone());
            return self.commands.begin(Order { call, run, config, revision: self.revision, approved });
        }
        // What was said since the last answer goes with this one, to every agent of a broadcast the same.
        let mut history = Vec::new();
        let key = match dispatch.chat {
            ChatKind::Group => session_key::history_key(&message.account, &dispatch.peer),
            ChatKind::Direct => session_key::direct_history_key(&message.account, &dispatch.peer),
        };
        history.extend(self.pending.peek(&key).cloned());
        self.pending.clear(&key);
        self.agents.do_send(RunAgents {
            message,
            also,
            dispatch,
            history,
            account,
            identity: known.identity.clone(),
            supervisor: known.supervisor.clone(),
        });
    }

    /// The group knows the names of those who wrote in it.
    fn saw(&self, message: &InboundMessage) {
        if let (true, Some(number), Some(name)) =
            (message.chat.is_group(), message.sender_number.clone(), message.push_name.clone())
        {
            self.agents.do_send(SawMember {
                account: message.account.clone(),
                group: message.chat.clone(),
                number,
                name,
            });
        }
    }

    /// Does the work on messages. A panic drops them and leaves everything else as it is: all that the router keeps are maps, whose
    /// entries do not depend on one another.
    fn guard(&mut self, keys: &[MessageKey], work: impl FnOnce(&mut Self)) {
        let _at_work = self.journal.at_work(keys);
        if shielded(|| work(self)).is_err() {
            self.set_aside(keys, IgnoreReason::Internal, "a panic of the router");
        }
    }

    /// Gives messages up that cannot be handled.
    fn set_aside(&mut self, keys: &[MessageKey], reason: IgnoreReason, cause: &str) {
        for key in keys {
            self.count(&key.account, reason.code());
        }
        self.journal.set_aside(keys, reason, cause);
    }

    /// The rules in force drop a message that was let in by earlier ones. Its age does not count: the pause of the restart made it older.
    fn is_shut_out(&mut self, received: &InboundReceived) -> bool {
        let decision = self.judge(received).map(|(decision, _)| decision.verdict);
        matches!(decision, Some(Verdict::Drop { reason }) if reason != IgnoreReason::TooOld)
    }

    /// A direct message that an earlier process sent into a session is still that session's business: its person may be another one
    /// by now, or an older version let everybody share it.
    fn session_stands(&mut self, verdict: &Verdict, message: &InboundMessage, at: UnixMs) -> bool {
        let Verdict::Dispatch(dispatch) = verdict else { return true };
        if dispatch.chat != ChatKind::Direct {
            return true;
        }
        let again = InboundReceived { connected_at: Some(at), message: message.clone(), ours: false };
        let Some((Decision { verdict: Verdict::Dispatch(now), .. }, _)) = self.judge(&again) else { return true };
        dispatch.runs.iter().all(|run| now.runs.contains(run))
    }

    /// Judges a message and does what follows.
    fn take(&mut self, received: InboundReceived, seen: Seen, ctx: &mut Context<Self>) {
        let Some((decision, account)) = self.judge(&received) else {
            tracing::warn!(target: "whatsapp/inbound", account = %received.message.account, "a message of an account that is not configured any more");
            return;
        };
        let message = received.message;
        let (state, code) = match &decision.verdict {
            Verdict::Dispatch(_) => (InboundState::Admitted, "admitted"),
            Verdict::Hold(hold) => (InboundState::Held, hold.reason.code()),
            Verdict::Drop { reason } => (InboundState::Dropped, reason.code()),
        };
        self.count(&message.account, code);
        tracing::info!(target: "whatsapp/inbound", account = %message.account, id = %message.id, verdict = code, "inbound message");
        self.warn_once(&message, &decision);
        let verdicted = Verdicted { state, json: serde_json::to_value(&decision).expect("a decision is plain data") };
        let asked = PairingAsked::of(&decision.effects, &message).filter(|_| seen != Seen::Judged);
        match asked {
            Some(asked) => self.request_pairing(asked, verdicted, seen == Seen::Unjudged, ctx),
            None => self.journal.decide_soon(&message.key(), state, verdicted.json),
        }
        if seen != Seen::Judged {
            decision.effects.into_iter().for_each(|effect| self.effect(effect, &message));
        }
        match decision.verdict {
            Verdict::Dispatch(dispatch) => self.admit(message, dispatch, account, false, ctx),
            Verdict::Hold(hold) => self.hold(&message, &hold, ctx),
            Verdict::Drop { .. } if account.rules.listen_only => {}
            Verdict::Drop { .. } => self.owner_reacted(&message, ctx),
        }
    }
}

/// What an earlier process knew of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It came in just now.
    Now,
    /// It was written down and not judged.
    Unjudged,
    /// It was judged, and its effects have happened.
    Judged,
}

impl Actor for RouterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(256);
        // What commands set holds from the first message on.
        let journal = self.journal.clone();
        let kept = async move { journal.facts(ACTIVATION_FACTS).await };
        ctx.wait(actix::fut::wrap_future(kept).map(|kept, me: &mut Self, _| match kept {
            Ok(facts) => me.commands.restore(facts),
            Err(error) => tracing::error!(target: "whatsapp/inbound", %error, "what /activation set cannot be read"),
        }));
    }
}

impl Handler<ConfigChanged> for RouterActor {
    type Result = ();

    fn handle(&mut self, changed: ConfigChanged, _: &mut Self::Context) {
        self.places = changed.places;
        let before = std::mem::replace(&mut self.config, changed.config.clone());
        self.take_config(changed.config, changed.revision);
        let listens = |config: &Config, id: &AccountId| config.account(id).is_some_and(|a| a.rules.listen_only);
        let config = self.config.clone();
        for id in config.accounts.keys().filter(|id| listens(&config, id) && !listens(&before, id)) {
            self.only_listens(id);
        }
    }
}

impl Handler<ReloadBy> for RouterActor {
    type Result = ();

    fn handle(&mut self, ReloadBy(gateway): ReloadBy, _: &mut Self::Context) {
        self.commands.reload_by(gateway);
    }
}

impl Handler<InboundReceived> for RouterActor {
    type Result = ();

    fn handle(&mut self, received: InboundReceived, ctx: &mut Self::Context) {
        let key = received.message.key();
        self.guard(std::slice::from_ref(&key), |me| me.take(received, Seen::Now, ctx));
    }
}

impl Handler<AccountOnline> for RouterActor {
    type Result = ();

    fn handle(&mut self, online: AccountOnline, ctx: &mut Self::Context) {
        let AccountOnline { account, identity, supervisor } = online;
        match identity.number() {
            Some(number) => self.own_numbers.insert(account.clone(), number),
            None => self.own_numbers.remove(&account),
        };
        self.known.insert(account.clone(), Known { identity, supervisor, approved: AllowList::default(), stamp: None });
        self.refresh_approved(&account);
        if self.listens_only(&account) {
            self.journal.withhold_all(&account, handover::NOT_SENT);
        }
        if !self.introduced.insert(account.clone()) {
            return;
        }
        let journal = self.journal.clone();
        let left = async move { (journal.left(&account).await, account) };
        // Before any later message is judged: it comes behind them.
        ctx.wait(actix::fut::wrap_future(left).map(|(left, account), me: &mut Self, ctx| match left {
            Ok(left) => {
                // The owner's words come behind what they keep from being answered.
                left.iter().filter_map(Left::own_words).for_each(|message| me.note_handover(message));
                me.take_up(left, ctx);
            }
            Err(error) => {
                tracing::error!(target: "whatsapp/inbound", %account, %error, "what an earlier process left cannot be read; the next connection tries again");
                me.introduced.remove(&account);
            }
        }));
    }
}

impl Handler<NumberChanged> for RouterActor {
    type Result = ();

    fn handle(&mut self, NumberChanged(account): NumberChanged, _: &mut Self::Context) {
        self.pending.forget(&session_key::history_key(&account, ""));
        self.pending.forget(&session_key::direct_history_key(&account, ""));
        self.withdraw_requests(account);
    }
}

impl Handler<GetCounters> for RouterActor {
    type Result = MessageResult<GetCounters>;

    fn handle(&mut self, _: GetCounters, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.counters.clone())
    }
}
