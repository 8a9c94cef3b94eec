//! [`RouterActor`]: judges every inbound message by the rules and carries out the effects.
//!
//! It decides nothing itself: [`decide`] does, from the configuration in force and what is known of the account. The decision is
//! noted in the journal beside the message, which is what `verso why` tells later.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use actix::prelude::*;

use crate::actors::LoudExit;
use crate::actors::agent::{AgentActor, RunAgents};
use crate::actors::messages::{DecidePairing, ListPairing, PairingDecided, PairingRequest, Refusal};
use crate::actors::socket::Gesture;
use crate::actors::supervisor::{Deliver, SupervisorActor};
use crate::clock::{Clock, UnixMs};
use crate::config::model::{AccountConfig, AllowList, Config};
use crate::event::{Content, Identity, InboundMessage};
use crate::ids::{AccountId, E164, Jid, MessageId, Redacted};
use crate::policy::allowlist::parse_approved;
use crate::policy::decide::{View, decide};
use crate::policy::decision::{ChatKind, Decision, Dispatch, Effect, Hold, Verdict};
use crate::policy::mention::MentionTable;
use crate::policy::pairing::{PairingBook, PairingRecord, REQUEST_TTL_MS, Requested, pairing_text};
use crate::routing::session_key;
use crate::session::pending::{Pending, PendingMessage};
use crate::store::StoreError;
use crate::store::journal::{InboundRow, InboundState, Journal, OutboxPart};
use crate::store::pairing::{PairingFiles, Stamp};
use crate::store::paths::StatePaths;
use crate::text::envelope;

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

/// An account is known or online. Sent by its supervisor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AccountOnline {
    /// The account.
    pub account: AccountId,
    /// Who it is.
    pub identity: Identity,
    /// When it was connected; `None` = it is linked, but not connected yet.
    pub connected_at: Option<UnixMs>,
    /// Where answers are delivered.
    pub supervisor: Addr<SupervisorActor>,
}

/// The configuration in force. Sent by the gateway.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct ConfigChanged {
    /// The configuration.
    pub config: Arc<Config>,
    /// Its revision.
    pub revision: u64,
}

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
    stamp: Stamp,
}

/// See the module documentation.
pub struct RouterActor {
    journal: Journal,
    files: PairingFiles,
    paths: StatePaths,
    clock: Clock,
    config: Arc<Config>,
    revision: u64,
    mentions: MentionTable,
    agents: Addr<AgentActor>,
    known: HashMap<AccountId, Known>,
    /// Accounts whose group context of earlier processes was asked for.
    introduced: HashSet<AccountId>,
    /// Accounts whose unanswered messages of earlier processes were taken up.
    recovered: HashSet<AccountId>,
    /// Group messages that woke nobody, until the group's next answer.
    pending: Pending,
    counters: Counters,
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
        config: Arc<Config>,
        agents: Addr<AgentActor>,
    ) -> Result<Self, StoreError> {
        let files = PairingFiles::new(paths.clone(), config.default_account.clone());
        files.requests()?;
        for account in config.accounts.keys() {
            files.allowed(account)?;
        }
        let mut router = Self {
            journal,
            files,
            paths,
            clock,
            config: config.clone(),
            revision: 1,
            mentions: MentionTable::default(),
            agents,
            known: HashMap::new(),
            introduced: HashSet::new(),
            recovered: HashSet::new(),
            pending: Pending::default(),
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
        self.revision = revision;
    }

    /// Reads the approvals again when a file changed, also by another program.
    fn refresh_approved(&mut self, account: &AccountId) {
        let Some(known) = self.known.get_mut(account) else { return };
        let stamp = self.files.stamp(account);
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
                approved: known.map_or(&none, |k| &k.approved),
                connected_at: received.connected_at,
                now: self.clock.now(),
                mentions: &self.mentions,
                activation: &|_| None,
                sent_by_us: received.ours,
            },
        );
        Some((decision, account))
    }

    fn count(&mut self, account: &AccountId, what: &str) {
        *self.counters.entry(account.clone()).or_default().entry(what.to_owned()).or_default() += 1;
    }

    fn effect(&mut self, effect: Effect, message: &InboundMessage, ctx: &mut Context<Self>) {
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
            Effect::RequestPairing { sender, name, reply, notify_owner } => {
                self.request_pairing(
                    PairingAsked { message: message.clone(), sender, name, reply, notify_owner },
                    supervisor,
                    ctx,
                );
            }
        }
    }

    /// Enters the request into the store first; only a code that is on disk is shown to anybody.
    fn request_pairing(&mut self, asked: PairingAsked, supervisor: Addr<SupervisorActor>, ctx: &mut Context<Self>) {
        let (files, now, account) = (self.files.clone(), self.clock.now(), asked.message.account.clone());
        let (id, name) = (asked.sender.clone(), asked.name.clone());
        let own = self.known.get(&account).and_then(|k| k.identity.number());
        let journal = self.journal.clone();
        let entered = tokio::task::spawn_blocking({
            let account = account.clone();
            move || with_book(&files, &account, now, |book| book.request(&id, name.as_deref(), now, &mut rand::rng()))
        });
        let work = async move {
            let code = match entered.await {
                Ok(Ok(Requested::New { code })) => code,
                Ok(Ok(Requested::Refreshed { .. })) => return,
                Ok(Ok(Requested::Full)) => {
                    tracing::info!(target: "whatsapp/inbound", %account, "three pairing requests wait already; a further one was not entered");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::error!(target: "whatsapp/inbound", %account, %error, "a pairing request was not entered");
                    return;
                }
                Err(_) => return,
            };
            tracing::info!(
                target: "whatsapp/inbound", %account, sender = %Redacted(&asked.sender),
                "new pairing request; see: verso pairing list whatsapp"
            );
            let part = |chat: Jid, text: String, answers| OutboxPart {
                account: account.clone(),
                id: MessageId::random(&mut rand::rng()),
                chat,
                text,
                answers,
            };
            let mut parts = Vec::new();
            if asked.reply {
                parts.push(part(
                    asked.message.chat.clone(),
                    pairing_text(&asked.sender, &code),
                    Some(asked.message.key()),
                ));
            }
            if asked.notify_owner
                && let Some(own) = own
            {
                let notice = part(Jid::of_number(&own), owner_notice(&asked, &code), None);
                // The code is on disk before the owner can react to the notice.
                if let Err(error) = journal.put(&notice_fact(&account, &notice.id), &code).await {
                    tracing::error!(target: "whatsapp/inbound", %account, %error, "a reaction to the notice will not be understood");
                }
                parts.push(notice);
            }
            if parts.is_empty() {
                return;
            }
            match journal.enqueue(parts).await {
                Ok(()) => supervisor.do_send(Deliver),
                Err(error) => {
                    tracing::error!(target: "whatsapp/outbound", %account, %error, "a pairing text was not queued")
                }
            }
        };
        ctx.spawn(actix::fut::wrap_future(work));
    }

    fn dispatch(&mut self, message: InboundMessage, dispatch: Dispatch, account: Arc<AccountConfig>) {
        let Some(known) = self.known.get(&message.account) else { return };
        // What was said since the last answer goes with this one, to every agent of a broadcast the same.
        let mut history = Vec::new();
        if dispatch.chat == ChatKind::Group {
            let key = session_key::history_key(&message.account, &dispatch.peer);
            history.extend(self.pending.peek(&key).cloned());
            self.pending.clear(&key);
        }
        self.agents.do_send(RunAgents {
            message,
            dispatch,
            history,
            account,
            identity: known.identity.clone(),
            supervisor: known.supervisor.clone(),
        });
    }

    /// The owner decides a pairing request by a reaction to its notice, which stands in the account's own chat.
    fn owner_reacted(&self, message: &InboundMessage, ctx: &mut Context<Self>) {
        let Content::Reaction { target, emoji, .. } = &message.content else { return };
        let Some(known) = self.known.get(&message.account) else { return };
        let own_chat = known.identity.is_self(&message.chat) || message.chat_number == known.identity.number();
        let Some(approve) = verdict_of(emoji).filter(|_| message.from_me && own_chat) else { return };
        let (journal, files, now) = (self.journal.clone(), self.files.clone(), self.clock.now());
        let (account, supervisor) = (message.account.clone(), known.supervisor.clone());
        let (fact, chat) = (notice_fact(&account, target), message.chat.clone());
        ctx.spawn(actix::fut::wrap_future(async move {
            let Ok(Some(code)) = journal.get(&fact).await else { return };
            let id = account.clone();
            let decided =
                tokio::task::spawn_blocking(move || decide_request(&files, Some(&id), &code, approve, now)).await;
            let text = match decided {
                Ok(Ok(record)) if approve => format!("Approved whatsapp sender {}.", record.id),
                Ok(Ok(record)) => format!("Denied whatsapp sender {}.", record.id),
                Ok(Err(refusal)) => refusal.to_string(),
                Err(_) => return,
            };
            let part = OutboxPart { account, id: MessageId::random(&mut rand::rng()), chat, text, answers: None };
            match journal.enqueue(vec![part]).await {
                Ok(()) => supervisor.do_send(Deliver),
                Err(error) => {
                    tracing::error!(target: "whatsapp/outbound", %error, "the answer to a reaction was not queued")
                }
            }
        }));
    }

    /// Keeps a group message as context for the group's next answer.
    fn hold(&mut self, message: &InboundMessage, hold: &Hold) {
        let Content::Body(body) = &message.content else { return };
        let id = message.sender.without_device().to_string();
        let sender = envelope::Sender {
            name: message.push_name.as_deref(),
            number: message.sender_number.as_ref().map(E164::as_str),
            id: Some(&id),
        };
        let text = body.text.clone().or_else(|| body.media.as_ref().map(|m| m.kind.placeholder().to_owned()));
        let kept = PendingMessage {
            sender: sender.label().unwrap_or_else(|| "Unknown".to_owned()),
            body: text.unwrap_or_default(),
            timestamp: Some(message.timestamp).filter(|at| *at > 0),
            id: Some(message.id.clone()),
        };
        self.pending.hold(&hold.history_key, kept, hold.limit);
    }

    fn hold_again(&mut self, row: InboundRow) {
        if let Ok(Decision { verdict: Verdict::Hold(hold), .. }) = serde_json::from_value(row.decision) {
            self.hold(&row.message, &hold);
        }
    }

    /// Takes up what an earlier process left undone.
    fn recover(&mut self, row: InboundRow, ctx: &mut Context<Self>) {
        if row.state == InboundState::Admitted
            && let Ok(Decision { verdict: Verdict::Dispatch(dispatch), .. }) = serde_json::from_value(row.decision)
            && let Some(account) = self.config.account(&row.message.account).cloned()
        {
            self.dispatch(row.message, dispatch, account);
            return;
        }
        // Judged as of when it came in, so that the pause of the restart does not count against it.
        ctx.notify(InboundReceived { connected_at: Some(row.received_at), message: row.message, ours: false });
    }
}

struct PairingAsked {
    message: InboundMessage,
    sender: String,
    name: Option<String>,
    reply: bool,
    notify_owner: bool,
}

/// What the owner is told of a request, in the account's own chat.
fn owner_notice(asked: &PairingAsked, code: &str) -> String {
    let who = asked.name.as_deref().unwrap_or("Somebody");
    let account = &asked.message.account;
    format!(
        "Verso: {who} ({}) asks to be let in.\n\nReact with 👍 to let them in, with 👎 to refuse, or use:\nverso pairing approve whatsapp {code} --account {account}",
        asked.sender
    )
}

/// Under which key the code of a notice is kept.
fn notice_fact(account: &AccountId, notice: &MessageId) -> String {
    format!("notice:{account}:{notice}")
}

/// What the owner's reaction to a notice says: 👍 yes, 👎 no, in any skin colour.
fn verdict_of(emoji: &str) -> Option<bool> {
    match emoji.chars().next()? {
        '👍' => Some(true),
        '👎' => Some(false),
        _ => None,
    }
}

/// Lets `change` work on the book of one account, under the lock of the file.
fn with_book<T>(
    files: &PairingFiles,
    account: &AccountId,
    now: UnixMs,
    change: impl FnOnce(&mut PairingBook) -> T,
) -> Result<T, StoreError> {
    files.update_requests(|records| {
        let mut book = PairingBook::load(account.clone(), records.iter().cloned(), now);
        let result = change(&mut book);
        records.retain(|r| r.account != *account && now - r.created_at <= REQUEST_TTL_MS);
        records.extend(book.records().iter().cloned());
        result
    })
}

impl Actor for RouterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(256);
    }
}

impl Handler<ConfigChanged> for RouterActor {
    type Result = ();

    fn handle(&mut self, changed: ConfigChanged, _: &mut Self::Context) {
        self.take_config(changed.config, changed.revision);
    }
}

impl Handler<InboundReceived> for RouterActor {
    type Result = ();

    fn handle(&mut self, received: InboundReceived, ctx: &mut Self::Context) {
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
        let json = serde_json::to_value(&decision).expect("a decision is plain data");
        self.journal.decide_soon(&message.key(), state, json);
        for effect in decision.effects {
            self.effect(effect, &message, ctx);
        }
        match decision.verdict {
            Verdict::Dispatch(dispatch) => self.dispatch(message, dispatch, account),
            Verdict::Hold(hold) => self.hold(&message, &hold),
            Verdict::Drop { .. } => self.owner_reacted(&message, ctx),
        }
    }
}

impl Handler<AccountOnline> for RouterActor {
    type Result = ();

    fn handle(&mut self, online: AccountOnline, ctx: &mut Self::Context) {
        let AccountOnline { account, identity, connected_at, supervisor } = online;
        self.known.insert(
            account.clone(),
            Known { identity, supervisor, approved: AllowList::default(), stamp: vec![None; 4] },
        );
        self.refresh_approved(&account);
        // The context of groups is there before the first message can come, answers wait for the connection.
        if self.introduced.insert(account.clone()) {
            let (journal, id) = (self.journal.clone(), account.clone());
            let held = async move { (journal.held(&id).await, id) };
            ctx.spawn(actix::fut::wrap_future(held).map(|(held, id), me: &mut Self, _| match held {
                Ok(rows) => rows.into_iter().for_each(|row| me.hold_again(row)),
                Err(error) => tracing::error!(target: "whatsapp/inbound", account = %id, %error, "the context of groups cannot be read"),
            }));
        }
        if connected_at.is_none() || !self.recovered.insert(account.clone()) {
            return;
        }
        let journal = self.journal.clone();
        let left = async move { (journal.unanswered(&account).await, account) };
        ctx.spawn(actix::fut::wrap_future(left).map(move |(left, account), me: &mut Self, ctx| match left {
            Ok(rows) => rows.into_iter().for_each(|row| me.recover(row, ctx)),
            Err(error) => {
                tracing::error!(target: "whatsapp/inbound", %account, %error, "unanswered messages cannot be read")
            }
        }));
    }
}

impl Handler<GetCounters> for RouterActor {
    type Result = MessageResult<GetCounters>;

    fn handle(&mut self, _: GetCounters, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.counters.clone())
    }
}

impl Handler<ListPairing> for RouterActor {
    type Result = ResponseFuture<Result<Vec<PairingRequest>, Refusal>>;

    fn handle(&mut self, list: ListPairing, _: &mut Self::Context) -> Self::Result {
        let (files, now) = (self.files.clone(), self.clock.now());
        Box::pin(async move {
            let records = tokio::task::spawn_blocking(move || files.requests())
                .await
                .map_err(|e| Refusal::Unavailable(e.to_string()))?
                .map_err(|e| Refusal::Unavailable(e.to_string()))?;
            let only = list.account.as_deref().map(AccountId::new);
            Ok(records
                .into_iter()
                .filter(|r| only.as_ref().is_none_or(|a| r.account == *a) && now - r.created_at <= REQUEST_TTL_MS)
                .map(|r| PairingRequest {
                    account: r.account,
                    sender: r.id,
                    name: r.name,
                    code: r.code,
                    created_at: r.created_at,
                    last_seen_at: r.last_seen_at,
                    expires_at: r.created_at + REQUEST_TTL_MS,
                })
                .collect())
        })
    }
}

impl Handler<DecidePairing> for RouterActor {
    type Result = ResponseActFuture<Self, Result<PairingDecided, Refusal>>;

    fn handle(&mut self, decide: DecidePairing, _: &mut Self::Context) -> Self::Result {
        let (files, now) = (self.files.clone(), self.clock.now());
        let only = decide.account.as_deref().map(AccountId::new);
        let (code, approve) = (decide.code.trim().to_owned(), decide.approve);
        let decided = tokio::task::spawn_blocking(move || decide_request(&files, only.as_ref(), &code, approve, now));
        let journal = self.journal.clone();
        let notify = decide.notify && decide.approve;
        Box::pin(actix::fut::wrap_future(decided).then(move |decided, me: &mut Self, _| {
            let record = match decided {
                Ok(result) => result,
                Err(e) => Err(Refusal::Unavailable(e.to_string())),
            };
            let supervisor =
                record.as_ref().ok().and_then(|r| me.known.get(&r.account)).map(|known| known.supervisor.clone());
            actix::fut::wrap_future(async move {
                let record = record?;
                let mut notified = false;
                if notify
                    && let Some(supervisor) = supervisor
                    && let Some(chat) = chat_of(&record.id)
                {
                    let part = OutboxPart {
                        account: record.account.clone(),
                        id: MessageId::random(&mut rand::rng()),
                        chat,
                        text: "✅ Verso access approved. Send a message to start chatting.".to_owned(),
                        answers: None,
                    };
                    journal.enqueue(vec![part]).await.map_err(|e| Refusal::Unavailable(e.to_string()))?;
                    supervisor.do_send(Deliver);
                    notified = true;
                }
                Ok(PairingDecided { account: record.account, sender: record.id, notified })
            })
        }))
    }
}

/// The direct chat of a person as the pairing book names it.
fn chat_of(id: &str) -> Option<Jid> {
    if id.contains('@') { id.parse().ok() } else { crate::ids::E164::normalize(id).map(|n| Jid::of_number(&n)) }
}

/// Approves or denies on disk: the approval is written before the request goes, so that a crash between the two loses neither.
///
/// # Errors
/// When no such request waits or the files cannot be written.
pub fn decide_request(
    files: &PairingFiles,
    only: Option<&AccountId>,
    code: &str,
    approve: bool,
    now: UnixMs,
) -> Result<PairingRecord, Refusal> {
    let unavailable = |e: StoreError| Refusal::Unavailable(e.to_string());
    let records = files.requests().map_err(unavailable)?;
    let found = records.into_iter().find(|r| {
        r.code.eq_ignore_ascii_case(code)
            && only.is_none_or(|a| r.account == *a)
            && now - r.created_at <= REQUEST_TTL_MS
    });
    let Some(record) = found else {
        return Err(Refusal::Invalid(format!("No pending pairing request found for code: {code}")));
    };
    if approve {
        files.allow(&record.account, &record.id).map_err(unavailable)?;
    }
    with_book(files, &record.account, now, |book| if approve { book.approve(code, now) } else { book.deny(code, now) })
        .map_err(unavailable)?;
    Ok(record)
}
