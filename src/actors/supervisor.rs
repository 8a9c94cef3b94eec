//! [`SupervisorActor`]: the stable address of one account and the only owner of its backoff.
//!
//! It feeds [`LinkMachine`] with what happens and carries out the actions, one after the other: a socket is opened only after the
//! one before it is closed and has let go of the account's files. Siblings never hear of it.

mod connection;
mod delivery;
mod groups;
mod media;
mod owner;
mod phone;
mod relink;
mod requests;
mod status;
mod version;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use tokio::sync::watch;

use crate::actors::agent::AgentActor;
use crate::actors::messages::AccountStatus;
use crate::actors::router::{AccountOnline, RouterActor};
use crate::actors::socket::{CloseSocket, Gesture, SocketActor, SocketContext};
use crate::clock::{Clock, UnixMs};
use crate::config::model::{AccountConfig, WebConfig, WebVersion};
use crate::event::Identity;
use crate::ids::{AccountId, E164};
use crate::media::Loader;
use crate::policy::link_state::{AccountState, Action, Input, LinkMachine};
use crate::policy::web_version::BUILT_IN;
use crate::store::credentials;
use crate::store::paths::StatePaths;

pub use delivery::Deliver;
pub use groups::DescribeGroup;
use groups::Groups;
use owner::Number;
use phone::Phone;
use requests::LoginView;
pub use requests::{BeginLogin, CancelLogin, FollowLogin, Resume, SendNow, Suspend, Unlink};
use status::Facts;
pub use version::VersionChanged;

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

/// See the module documentation.
pub struct SupervisorActor {
    account: Arc<AccountConfig>,
    web: WebConfig,
    cx: SupervisorContext,
    gateway: Recipient<AccountChanged>,
    gone: Recipient<SupervisorGone>,
    /// Runs for a login only: nothing but linking.
    linking_only: bool,
    /// It does not connect by itself before this is over.
    connect_after: std::time::Duration,
    /// Until when that is, while it waits.
    waits_until: Option<UnixMs>,
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
    number: Number,
    /// Told when the connection under way stands or has failed.
    settled: Vec<tokio::sync::oneshot::Sender<()>>,
    /// Told when the credentials are gone, or why they are not.
    clearing: Vec<tokio::sync::oneshot::Sender<Result<(), String>>>,
    /// The version of WhatsApp Web that the last connection reported, and since when a look-up is recent enough for it.
    version: WebVersion,
    version_asked_at: Instant,
    /// The attempt under way follows a refused version.
    after_refusal: bool,
    /// A login beside the link at hand.
    relink: Option<relink::Relink>,
    /// Such logins so far.
    sides: u64,
    /// The folder of a link that a new one was to replace when an earlier process died.
    cut_off: Option<PathBuf>,
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
    phone: Phone,
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
            connect_after: std::time::Duration::ZERO,
            waits_until: None,
            machine: LinkMachine::default(),
            queue: VecDeque::new(),
            busy: false,
            generation: 0,
            socket: None,
            closing: false,
            timer: None,
            login: watch::Sender::new(LoginView::None),
            login_phone: None,
            number: Number::default(),
            settled: Vec::new(),
            clearing: Vec::new(),
            version: BUILT_IN,
            version_asked_at: Instant::now(),
            after_refusal: false,
            relink: None,
            sides: 0,
            cut_off: None,
            adopted: None,
            identity: None,
            linked: false,
            auth_since: None,
            logged_in_at: None,
            ended: false,
            later: Vec::new(),
            ending: Vec::new(),
            facts: Facts::default(),
            phone: Phone::default(),
            groups: Groups::default(),
        }
    }

    /// It connects by itself only after this time; a person who asks does not wait for that.
    #[must_use]
    pub fn connecting_after(mut self, wait: std::time::Duration) -> Self {
        self.connect_after = wait;
        self
    }

    /// Connects when the account is enabled and linked.
    fn enable(&mut self, ctx: &mut Context<Self>) {
        if self.connect_after.is_zero() || !self.linked {
            self.input(Input::Enable { linked: self.linked }, ctx);
            return;
        }
        let wait = UnixMs::try_from(self.connect_after.as_millis()).unwrap_or(UnixMs::MAX);
        self.waits_until = Some(self.cx.clock.now().saturating_add(wait));
        self.publish();
        ctx.run_later(self.connect_after, |me, ctx| {
            if me.waits_until.is_some() && !me.ended && me.account.link.enabled {
                me.read_credentials();
                me.input(Input::Enable { linked: me.linked }, ctx);
            }
        });
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
            files @ (credentials::LinkFiles::NotLinked | credentials::LinkFiles::Unusable(_)) => {
                if let credentials::LinkFiles::Unusable(why) = files {
                    tracing::error!(target: "web-session", account = %self.id(), "{why}");
                    self.facts.last_error = Some(why);
                }
                self.linked = false;
                self.identity = None;
                self.auth_since = None;
                self.facts.unsaved = None;
            }
        }
    }

    /// Tells the router who the account is. It has to know before the first message comes, which may be long before the account counts
    /// as connected.
    fn introduce(&mut self, ctx: &mut Context<Self>) {
        let Some(identity) = self.identity.clone() else { return };
        self.claim(&identity, ctx);
        if !self.linking_only {
            let supervisor = ctx.address();
            self.cx.router.do_send(AccountOnline { account: self.id().clone(), identity, supervisor });
        }
    }

    fn input(&mut self, input: Input, ctx: &mut Context<Self>) {
        let now = self.cx.clock.now();
        self.waits_until = None;
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
                        me.after_refusal = matches!(me.machine.state(), AccountState::Outdated { .. });
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

    fn publish(&mut self) {
        let state = self.machine.state();
        if matches!(state, AccountState::Connected { .. }) || !state.is_live() {
            for asked in self.settled.drain(..) {
                let _ = asked.send(());
            }
        }
        self.gateway.do_send(AccountChanged(Box::new(self.status())));
    }
}

impl Drop for SupervisorActor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The socket keeps the account's lock until its link is closed, so the next supervisor cannot open a second one.
            let side = self.relink.as_ref().map(|relink| &relink.socket);
            for socket in self.socket.iter().chain(side) {
                socket.do_send(CloseSocket { unlink: false });
            }
            self.gone.do_send(SupervisorGone(self.account.id.clone()));
        }
    }
}

impl Actor for SupervisorActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.take_up_relink();
        self.read_credentials();
        self.recall_phone(ctx);
        if self.account.link.enabled && !self.linking_only {
            self.enable(ctx);
        } else if self.linking_only {
            // A login of its own never connects an account that is linked already.
            self.input(Input::Enable { linked: false }, ctx);
        } else {
            self.publish();
        }
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
        let listening = apply.account.rules.listen_only != self.account.rules.listen_only;
        self.account = apply.account;
        self.web = apply.web;
        if listening {
            self.listening_changed();
        }
        if !relink {
            self.publish();
            return;
        }
        if was_enabled && (moved || !self.account.link.enabled) {
            if self.relink.is_some() {
                self.login.send_replace(LoginView::Failed("the account's settings changed".to_owned()));
                self.give_up_relink(ctx);
            }
            self.input(Input::Disable, ctx);
        }
        if moved {
            self.identity = None;
            self.cut_off = None;
            self.forget_phone();
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
            if let Some(dir) = side.await {
                // The next start would remove it; an account that is gone from the configuration has none.
                let _ = tokio::task::spawn_blocking(move || credentials::empty_relink(&dir)).await;
            }
            let _ = ended.await;
        })
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
