//! [`SupervisorActor`]: the stable address of one account and the only owner of its backoff.
//!
//! It feeds [`LinkMachine`] with what happens and carries out the actions, one after the other: a socket is opened only after the
//! one before it is closed and has let go of the account's files. Siblings never hear of it.

mod groups;
mod media;
mod relink;
mod requests;
mod status;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;

use crate::actors::agent::AgentActor;
use crate::actors::messages::{AccountStatus, LastDisconnect};
use crate::actors::router::{AccountOnline, RouterActor};
use crate::actors::socket::{
    AbandonSocket, CloseSocket, DrainOutbox, Gesture, Report, SocketActor, SocketContext, SocketReport,
};
use crate::clock::{Clock, UnixMs};
use crate::config::model::{AccountConfig, WebConfig};
use crate::event::{DownReason, Identity, LinkEvent};
use crate::ids::{AccountId, E164};
use crate::media::Loader;
use crate::policy::link_state::{AccountState, Action, Input, LinkMachine};
use crate::store::credentials;
use crate::store::lock::AccountLock;
use crate::store::paths::StatePaths;
use crate::whatsapp::LinkSpec;

pub use groups::DescribeGroup;
use groups::Groups;
use requests::LoginView;
pub use requests::{BeginLogin, FollowLogin, Resume, SendNow, Suspend, Unlink};
use status::Facts;

/// What every supervisor needs.
#[derive(Clone)]
pub struct SupervisorContext {
    /// What its sockets need.
    pub socket: SocketContext,
    /// Where state lies.
    pub paths: StatePaths,
    /// The time of day.
    pub clock: Clock,
    /// Learns when an account is online.
    pub router: Addr<RouterActor>,
    /// Learns where to deliver.
    pub agents: Addr<AgentActor>,
    /// Prepares files to send.
    pub loader: Loader,
}

/// The account's status changed. Sent to the gateway.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AccountChanged(pub Box<AccountStatus>);

/// The supervisor unwound; its account has to be started anew. Sent to the gateway.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SupervisorGone(pub AccountId);

/// New settings for the account. Sent by the gateway after a reload.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ApplyAccount {
    /// The account's settings.
    pub account: Arc<AccountConfig>,
    /// The connection settings of all accounts.
    pub web: WebConfig,
}

/// Close and end; answered when the link is closed. Sent by the gateway.
#[derive(Message)]
#[rtype(result = "()")]
pub struct EndAccount;

/// Most receipts and reactions that wait for the connection; those beyond are not worth the memory.
const LATER_GESTURES: usize = 2000;

/// Parts of an answer are in the outbox. Sent by the router and the agent actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deliver;

/// See the module documentation.
pub struct SupervisorActor {
    account: Arc<AccountConfig>,
    web: WebConfig,
    cx: SupervisorContext,
    gateway: Recipient<AccountChanged>,
    gone: Recipient<SupervisorGone>,
    /// Runs for a login only: nothing but linking.
    linking_only: bool,
    machine: LinkMachine,
    queue: VecDeque<Action>,
    busy: bool,
    generation: u64,
    socket: Option<Addr<SocketActor>>,
    /// Closing: answered by the next end of this generation.
    closing: bool,
    timer: Option<SpawnHandle>,
    login: watch::Sender<LoginView>,
    login_phone: Option<E164>,
    /// A login beside the link at hand.
    relink: Option<relink::Relink>,
    /// Such logins so far.
    sides: u64,
    /// Where the new link of [`Action::Adopt`] goes.
    adopted: Option<PathBuf>,
    identity: Option<Identity>,
    linked: bool,
    auth_since: Option<UnixMs>,
    logged_in_at: Option<UnixMs>,
    ended: bool,
    /// Receipts and reactions to what waited at WhatsApp: they can leave only when the backlog has come in.
    later: Vec<Gesture>,
    ending: Vec<tokio::sync::oneshot::Sender<()>>,
    facts: Facts,
    groups: Groups,
}

impl SupervisorActor {
    /// A supervisor for one account; it connects as soon as it is started when the account is enabled and linked.
    pub fn new(
        account: Arc<AccountConfig>,
        web: WebConfig,
        cx: SupervisorContext,
        gateway: Recipient<AccountChanged>,
        gone: Recipient<SupervisorGone>,
        linking_only: bool,
    ) -> Self {
        Self {
            account,
            web,
            cx,
            gateway,
            gone,
            linking_only,
            machine: LinkMachine::default(),
            queue: VecDeque::new(),
            busy: false,
            generation: 0,
            socket: None,
            closing: false,
            timer: None,
            login: watch::Sender::new(LoginView::None),
            login_phone: None,
            relink: None,
            sides: 0,
            adopted: None,
            identity: None,
            linked: false,
            auth_since: None,
            logged_in_at: None,
            ended: false,
            later: Vec::new(),
            ending: Vec::new(),
            facts: Facts::default(),
            groups: Groups::default(),
        }
    }

    fn id(&self) -> &AccountId {
        &self.account.id
    }

    fn auth_dir(&self) -> PathBuf {
        credentials::auth_dir(&self.cx.paths, self.id(), self.account.link.auth_dir.as_deref())
    }

    /// Looks at the credentials on disk: after a start, a pairing, a removal.
    fn read_credentials(&mut self) {
        match credentials::link_state(&self.auth_dir()) {
            credentials::LinkFiles::Linked { identity, since } => {
                self.linked = true;
                self.auth_since = since;
                if self.identity.is_none() {
                    self.identity = Some(identity);
                }
            }
            files @ (credentials::LinkFiles::NotLinked | credentials::LinkFiles::Damaged) => {
                if files == credentials::LinkFiles::Damaged {
                    let damaged = "the WhatsApp credentials are damaged and have no readable backup; link again";
                    tracing::error!(target: "web-session", account = %self.id(), "{damaged}");
                    self.facts.last_error = Some(damaged.to_owned());
                }
                self.linked = false;
                self.identity = None;
                self.auth_since = None;
            }
        }
    }

    /// Tells the router who the account is. It has to know before the first message comes, which may be long before the account counts
    /// as connected.
    fn introduce(&self, ctx: &mut Context<Self>) {
        if let Some(identity) = self.identity.clone().filter(|_| !self.linking_only) {
            let supervisor = ctx.address();
            self.cx.router.do_send(AccountOnline { account: self.id().clone(), identity, supervisor });
        }
    }

    fn input(&mut self, input: Input, ctx: &mut Context<Self>) {
        let now = self.cx.clock.now();
        let before = self.machine.state().code();
        let actions = self.machine.on(input, &self.web, now, &mut rand::rng());
        self.queue.extend(actions);
        let after = self.machine.state().clone();
        if before != after.code() {
            self.facts.last_event_at = Some(now);
            tracing::info!(
                target: "web-reconnect", account = %self.id(), state = after.code(), attempts = self.machine.attempts(),
                "{}", after.sentence(now)
            );
        }
        self.pump(ctx);
        self.publish();
    }

    /// Carries out queued actions until one has to be waited for.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        while !self.busy {
            let Some(action) = self.queue.pop_front() else { break };
            match action {
                Action::Resume => self.open(ctx),
                Action::ShowCodes(_) => {
                    self.login.send_replace(LoginView::Starting);
                    self.open(ctx);
                }
                Action::Close => self.close(ctx),
                Action::ClearCredentials => self.clear_credentials(ctx),
                Action::Adopt => self.adopt(ctx),
                Action::StartTimer(after) => {
                    self.timer = Some(ctx.run_later(after, |me, ctx| {
                        me.timer = None;
                        me.input(Input::Timer, ctx);
                    }));
                }
                Action::CancelTimer => {
                    if let Some(timer) = self.timer.take() {
                        ctx.cancel_future(timer);
                    }
                }
                Action::RefuseLink => {}
            }
        }
        if !self.busy && self.socket.is_none() && self.ended {
            for done in self.ending.drain(..) {
                let _ = done.send(());
            }
            ctx.stop();
        }
    }

    fn open(&mut self, ctx: &mut Context<Self>) {
        let dir = self.auth_dir();
        let lock = match AccountLock::acquire(&dir) {
            Ok(lock) => lock,
            Err(error) => {
                self.fail_open(error.to_string(), ctx);
                return;
            }
        };
        // What an earlier process left undone is taken up before this connection brings anything new, so that answers keep their order.
        self.introduce(ctx);
        self.generation += 1;
        self.closing = false;
        self.logged_in_at = None;
        self.facts.last_start_at = Some(self.cx.clock.now());
        let spec = LinkSpec {
            account: self.id().clone(),
            auth_dir: dir,
            device_name: self.account.link.device_name.clone(),
            available: self.marks_online(),
            linking: matches!(self.machine.state(), AccountState::Linking { .. }),
            encryption: self.account.link.encryption.clone(),
        };
        let socket = SocketActor::new(spec, self.cx.socket.clone(), self.generation, ctx.address().recipient(), lock);
        self.socket = Some(socket.start());
    }

    /// A personal number stays unavailable, so that the phone goes on ringing (behaviour.md 5.1).
    fn marks_online(&self) -> bool {
        let rules = &self.account.rules;
        rules.mark_online.unwrap_or_else(|| {
            let own = self.identity.as_ref().and_then(Identity::number);
            !crate::policy::dm::is_self_chat_mode(rules, own.as_ref())
        })
    }

    /// The socket could not even be made. Fed to the machine in a turn of its own, as an end would be.
    fn fail_open(&mut self, detail: String, ctx: &mut Context<Self>) {
        tracing::error!(target: "web-reconnect", account = %self.id(), "{detail}");
        self.generation += 1;
        ctx.notify(SocketReport { generation: self.generation, what: Report::Down(DownReason::Internal { detail }) });
    }

    fn close(&mut self, ctx: &mut Context<Self>) {
        let Some(socket) = self.socket.as_ref() else { return };
        self.busy = true;
        self.closing = true;
        let unlink = self.queue.front() == Some(&Action::ClearCredentials);
        socket.do_send(CloseSocket { unlink });
        // A link that does not end in time is abandoned; its late words are recognised by their generation.
        let generation = self.generation;
        ctx.run_later(Duration::from_secs(20), move |me, ctx| {
            if me.closing && me.generation == generation {
                tracing::warn!(target: "web-reconnect", account = %me.id(), "the link did not close in time and is abandoned");
                if let Some(socket) = &me.socket {
                    socket.do_send(AbandonSocket);
                }
                me.closed(ctx);
            }
        });
    }

    fn closed(&mut self, ctx: &mut Context<Self>) {
        self.generation += 1;
        self.closing = false;
        self.busy = false;
        self.socket = None;
        self.logged_in_at = None;
        self.facts.last_stop_at = Some(self.cx.clock.now());
        self.facts.last_error = None;
        self.pump(ctx);
        self.publish();
    }

    fn clear_credentials(&mut self, ctx: &mut Context<Self>) {
        if self.adopted.is_some() {
            // They go when the new ones take their place, which lie beside them until then.
            return;
        }
        self.busy = true;
        let dir = self.auth_dir();
        let paths = self.cx.paths.clone();
        let removal = tokio::task::spawn_blocking(move || credentials::remove(&paths, &dir));
        ctx.spawn(actix::fut::wrap_future(removal).map(|removed, me: &mut Self, ctx| {
            if let Ok(Err(error)) = removed {
                tracing::error!(target: "web-reconnect", account = %me.id(), %error, "the old credentials could not be removed");
            }
            me.identity = None;
            me.read_credentials();
            me.busy = false;
            me.pump(ctx);
            me.publish();
        }));
    }

    fn down(&mut self, reason: DownReason, ctx: &mut Context<Self>) {
        let now = self.cx.clock.now();
        if self.closing {
            self.closed(ctx);
            return;
        }
        let lived = self
            .logged_in_at
            .take()
            .map_or(Duration::ZERO, |at| Duration::from_millis((now - at).max(0).cast_unsigned()));
        let status = reason.status();
        let logged_out = matches!(reason, DownReason::LoggedOut { .. });
        if reason != DownReason::RestartRequired {
            self.facts.last_disconnect =
                Some(LastDisconnect { at: now, status, error: reason.to_string(), logged_out });
            self.facts.last_error = Some(reason.to_string());
            self.facts.last_stop_at = Some(now);
            tracing::warn!(
                target: "web-reconnect", account = %self.id(), status, logged_out,
                reconnect_attempts = self.machine.attempts(), error = %reason, "web reconnect: connection closed"
            );
        }
        self.generation += 1;
        self.socket = None;
        if self.login.borrow().is_open() {
            let view = match &reason {
                DownReason::QrExpired => LoginView::Expired,
                DownReason::LoggedOut { .. } => {
                    LoginView::Failed("Session logged out; cache cleared. Re-run login.".to_owned())
                }
                other => LoginView::Failed(format!("WhatsApp Web connection ended before fully opening. {other}")),
            };
            self.input(Input::Down { reason, lived }, ctx);
            if !matches!(self.machine.state(), AccountState::Linking { .. } | AccountState::Connecting) {
                self.login.send_replace(view);
            }
        } else {
            self.input(Input::Down { reason, lived }, ctx);
        }
    }

    fn link_event(&mut self, event: LinkEvent, ctx: &mut Context<Self>) {
        let now = self.cx.clock.now();
        match event {
            LinkEvent::Qr { code, .. } => match self.login_phone.clone() {
                None => {
                    self.login.send_replace(LoginView::Qr(code));
                    self.facts.last_event_at = Some(now);
                }
                Some(phone) if *self.login.borrow() == LoginView::Starting => self.request_code(phone, ctx),
                Some(_) => {}
            },
            LinkEvent::PairingCode { code, .. } => {
                self.login.send_replace(LoginView::Code(code));
            }
            LinkEvent::PairingFailed { reason } => {
                tracing::warn!(target: "web-reconnect", account = %self.id(), %reason, "linking failed");
                self.facts.last_error = Some(reason.to_string());
                self.login.send_replace(LoginView::Failed(reason.to_string()));
                self.input(Input::CancelLink, ctx);
            }
            LinkEvent::Paired(identity) => {
                self.identity = Some(identity);
                self.linked = true;
                self.auth_since = Some(now);
                self.introduce(ctx);
                self.input(Input::Paired, ctx);
            }
            LinkEvent::CatchingUp { pending } => {
                self.logged_in_at.get_or_insert(now);
                self.input(Input::CatchingUp { pending }, ctx);
            }
            LinkEvent::Connected(identity) => {
                self.logged_in_at.get_or_insert(now);
                self.facts.last_connected_at = Some(now);
                self.facts.last_error = None;
                self.linked = true;
                let who = identity.number().map_or_else(|| identity.jid.to_string(), |n| n.to_string());
                self.identity = Some(identity.clone());
                self.input(Input::Connected, ctx);
                self.login_phone = None;
                self.login.send_if_modified(|view| {
                    let was_linking = view.is_open();
                    if was_linking {
                        *view = LoginView::Linked(who);
                    }
                    was_linking
                });
                if !self.linking_only {
                    self.introduce(ctx);
                    if let Some(socket) = &self.socket {
                        for gesture in self.later.drain(..) {
                            socket.do_send(gesture);
                        }
                        socket.do_send(DrainOutbox(self.account.rules.pacing.clone()));
                    }
                }
            }
            LinkEvent::GroupChanged { chat } => self.groups.changed(&chat),
            LinkEvent::Undecryptable { .. } => {}
            LinkEvent::ServerAck { .. } | LinkEvent::Receipt { .. } => {}
        }
    }

    fn publish(&self) {
        self.gateway.do_send(AccountChanged(Box::new(self.status())));
    }
}

impl Drop for SupervisorActor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The socket keeps the account's lock until its link is closed, so the next supervisor cannot open a second one.
            if let Some(socket) = &self.socket {
                socket.do_send(CloseSocket { unlink: false });
            }
            self.gone.do_send(SupervisorGone(self.account.id.clone()));
        }
    }
}

impl Actor for SupervisorActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        credentials::finish_relink(&self.cx.paths, &self.auth_dir());
        self.read_credentials();
        if self.account.link.enabled && !self.linking_only {
            self.input(Input::Enable { linked: self.linked }, ctx);
        } else if self.linking_only {
            // A login of its own never connects an account that is linked already.
            self.input(Input::Enable { linked: false }, ctx);
        } else {
            self.publish();
        }
    }
}

impl Handler<SocketReport> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, report: SocketReport, ctx: &mut Self::Context) {
        if self.relink.as_ref().is_some_and(|side| side.generation == report.generation) {
            self.relink_report(report.what, ctx);
            return;
        }
        if report.generation != self.generation {
            tracing::debug!(target: "web-reconnect", account = %self.id(), ?report.what, "late word of an older socket");
            return;
        }
        let now = self.cx.clock.now();
        match report.what {
            Report::Dialling => self.facts.sockets_opened += 1,
            // What a socket says while it is being closed is about a link that is given up.
            Report::Event(_) if self.closing => {}
            Report::Event(event) => self.link_event(event, ctx),
            Report::Inbound => {
                self.facts.last_inbound_at = Some(now);
                self.facts.last_message_at = Some(now);
            }
            Report::Outbound => self.facts.last_outbound_at = Some(now),
            Report::Down(reason) => self.down(reason, ctx),
            Report::Gone { panicked: true } => {
                self.down(DownReason::Internal { detail: "the account's socket failed unexpectedly".to_owned() }, ctx);
            }
            Report::Gone { panicked: false } => {}
        }
        self.publish();
    }
}

impl Handler<ApplyAccount> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, apply: ApplyAccount, ctx: &mut Self::Context) {
        let relink = apply.account.link != self.account.link;
        let was_enabled = self.account.link.enabled;
        // The device's name counts only when it is linked, so a new one waits for that.
        let (new, old) = (&apply.account.link, &self.account.link);
        let moved = new.auth_dir != old.auth_dir || new.encryption != old.encryption;
        self.account = apply.account;
        self.web = apply.web;
        if !relink {
            self.publish();
            return;
        }
        if was_enabled && (moved || !self.account.link.enabled) {
            if self.relink.is_some() {
                self.login.send_replace(LoginView::Failed("the account's settings changed".to_owned()));
                ctx.spawn(actix::fut::wrap_future(self.cancel_relink()));
            }
            self.input(Input::Disable, ctx);
        }
        if moved {
            self.identity = None;
        }
        self.read_credentials();
        if self.account.link.enabled {
            self.input(Input::Enable { linked: self.linked }, ctx);
        }
    }
}

impl Handler<EndAccount> for SupervisorActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: EndAccount, ctx: &mut Self::Context) -> Self::Result {
        let (done, ended) = tokio::sync::oneshot::channel();
        self.ended = true;
        self.ending.push(done);
        let side = self.cancel_relink();
        self.input(Input::Stop, ctx);
        Box::pin(async move {
            side.await;
            let _ = ended.await;
        })
    }
}

impl Handler<Deliver> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, _: Deliver, _: &mut Self::Context) {
        // Without a connection the parts wait in the outbox; every new connection drains it.
        if let Some(socket) =
            self.socket.as_ref().filter(|_| matches!(self.machine.state(), AccountState::Connected { .. }))
        {
            socket.do_send(DrainOutbox(self.account.rules.pacing.clone()));
        }
    }
}

/// Makes an actor of this account panic, so that a test sees the others live on. Only in demo builds.
#[cfg(feature = "demo")]
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub enum InjectPanic {
    /// The socket.
    Socket,
    /// The supervisor itself.
    Supervisor,
}

#[cfg(feature = "demo")]
impl Handler<InjectPanic> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, which: InjectPanic, _: &mut Self::Context) {
        match which {
            InjectPanic::Socket => {
                if let Some(socket) = &self.socket {
                    socket.do_send(crate::actors::socket::InjectPanic);
                }
            }
            InjectPanic::Supervisor => panic!("injected by a test"),
        }
    }
}

impl Handler<Gesture> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, gesture: Gesture, _: &mut Self::Context) {
        if let Some(socket) =
            self.socket.as_ref().filter(|_| matches!(self.machine.state(), AccountState::Connected { .. }))
        {
            socket.do_send(gesture);
        } else if !matches!(gesture, Gesture::Typing { .. }) && self.later.len() < LATER_GESTURES {
            self.later.push(gesture);
        }
    }
}
