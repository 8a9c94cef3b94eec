//! What the doors ask of an account: log in, log out, start, stop, send.

use std::time::Duration;

use actix::prelude::*;

use super::SupervisorActor;
use crate::actors::messages::{LoggedOut, LoginProgress, LoginStarted, Refusal, Sent, Wanted};
use crate::actors::sending::{self, Means, SendJob};
use crate::actors::socket::{RequestCode, UnlinkDevice};
use crate::event::Identity;
use crate::ids::{AccountId, E164};
use crate::media::Trust;
use crate::policy::link_state::{AccountState, Action, Input, LinkMethod};
use crate::routing::target::Target;
use crate::store::credentials;

/// Begin a login. Sent by the gateway for a door.
#[derive(Message)]
#[rtype(result = "Result<LoginStarted, Refusal>")]
pub struct BeginLogin {
    /// Drop existing credentials.
    pub force: bool,
    /// Link by code for this number.
    pub phone: Option<E164>,
    /// How long to wait for the first code.
    pub timeout: Duration,
}

/// Follow a login. Sent by the gateway for a door.
#[derive(Message)]
#[rtype(result = "Result<LoginProgress, Refusal>")]
pub struct FollowLogin {
    /// The QR text that the caller shows.
    pub shown: Option<String>,
    /// How long to wait.
    pub timeout: Duration,
}

/// End a login that no phone has answered yet. Sent by the gateway for a door.
#[derive(Message)]
#[rtype(result = "Result<bool, Refusal>")]
pub struct CancelLogin;

/// Unlink. Sent by the gateway for a door.
#[derive(Message)]
#[rtype(result = "Result<LoggedOut, Refusal>")]
pub struct Unlink;

/// Start now. Sent by the gateway for a door.
#[derive(Message)]
#[rtype(result = "Result<AccountId, Refusal>")]
pub struct Resume;

/// Stop until [`Resume`]. Sent by the gateway for a door.
#[derive(Message)]
#[rtype(result = "Result<AccountId, Refusal>")]
pub struct Suspend;

/// Send now or fail. Sent by the gateway for a door, and by an agent's tool for a model.
#[derive(Message)]
#[rtype(result = "Result<Sent, Refusal>")]
pub struct SendNow {
    /// To whom.
    pub target: Target,
    /// What.
    pub what: Wanted,
    /// Who asks.
    pub by: Trust,
    /// The largest file that is sent.
    pub max_bytes: u64,
    /// The caller's key.
    pub idempotency_key: String,
}

/// Where a login stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LoginView {
    None,
    Starting,
    Qr(String),
    Code(String),
    Linked { who: String, before: Option<String> },
    Expired,
    Failed(String),
}

impl LoginView {
    /// A login is under way.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Starting | Self::Qr(_) | Self::Code(_))
    }
}

impl SupervisorActor {
    pub(super) fn request_code(&mut self, phone: E164, ctx: &mut Context<Self>) {
        let Some(socket) = self.login_socket() else { return };
        ctx.spawn(actix::fut::wrap_future(async move { socket.send(RequestCode(phone)).await }).map(
            |answer, me: &mut Self, ctx| match answer {
                Ok(Ok(code)) => {
                    me.login.send_replace(LoginView::Code(code));
                }
                Ok(Err(error)) => {
                    let cause = format!("no pairing code: {error}");
                    me.login.send_replace(LoginView::Failed(cause.clone()));
                    me.give_up_relink(ctx);
                    me.input(Input::CancelLink { cause: Some(cause) }, ctx);
                }
                Err(_) => {}
            },
        ));
    }

    fn who(&self) -> String {
        match &self.identity {
            Some(identity) => identity.number().map_or_else(|| identity.jid.to_string(), |n| n.to_string()),
            None => "unknown".to_owned(),
        }
    }
}

impl Handler<BeginLogin> for SupervisorActor {
    type Result = ResponseFuture<Result<LoginStarted, Refusal>>;

    fn handle(&mut self, begin: BeginLogin, ctx: &mut Self::Context) -> Self::Result {
        let account = self.id().clone();
        if !self.account.link.enabled && !self.linking_only {
            let step = self.machine.state().next_step(&account).unwrap_or_default();
            return Box::pin(async move {
                Err(Refusal::Invalid(format!("account \"{account}\" is switched off in verso.json: {step}")))
            });
        }
        let beside = self.relink.is_some();
        let under_way = beside || matches!(self.machine.state(), AccountState::Linking { .. });
        let same_kind = begin.phone == self.login_phone;
        // Asking again by force for what is shown already shows it again.
        let fresh = !(under_way && same_kind && (beside || !begin.force));
        if fresh {
            if self.linked && !begin.force && self.machine.state().code() != "logged-out" {
                let who = self.who();
                return Box::pin(async move { Ok(LoginStarted::AlreadyLinked { account, who }) });
            }
            if !self.linked
                && !under_way
                && let Some(why) = crate::store::auth_files::strangers(&self.auth_dir())
            {
                return Box::pin(async move { Err(Refusal::Invalid(why)) });
            }
            if under_way && !beside {
                self.input(Input::CancelLink { cause: None }, ctx);
            }
            if !self.linked && !matches!(self.machine.state(), AccountState::NotLinked { .. } | AccountState::LoggedOut)
            {
                // Stopped before it was ever linked: there is nothing that a login could spoil.
                self.input(Input::Unlinked, ctx);
            }
            self.login_phone = begin.phone.clone();
            self.number.before_login = self.identity.as_ref().and_then(Identity::number);
            self.number.login_began = self.cx.clock.now();
            self.login.send_replace(LoginView::Starting);
            let method = if begin.phone.is_some() { LinkMethod::Code } else { LinkMethod::Qr };
            self.begin_login(method, begin.force, ctx);
        }
        let mut view = self.login.subscribe();
        Box::pin(async move {
            let first = async {
                loop {
                    match view.borrow_and_update().clone() {
                        LoginView::Qr(code) => return Ok(LoginStarted::Qr { account: account.clone(), code, fresh }),
                        LoginView::Code(code) => return Ok(LoginStarted::Code { account: account.clone(), code }),
                        LoginView::Linked { who, .. } => {
                            return Ok(LoginStarted::AlreadyLinked { account: account.clone(), who });
                        }
                        LoginView::Failed(error) => return Err(Refusal::Unavailable(error)),
                        LoginView::Expired => {
                            return Err(Refusal::Unavailable(
                                "The login QR expired. Ask me to generate a new one.".to_owned(),
                            ));
                        }
                        LoginView::Starting | LoginView::None => {}
                    }
                    if view.changed().await.is_err() {
                        return Err(Refusal::Unavailable("the gateway is stopping".to_owned()));
                    }
                }
            };
            tokio::time::timeout(begin.timeout, first)
                .await
                .unwrap_or_else(|_| Err(Refusal::Unavailable("Timed out waiting for WhatsApp QR".to_owned())))
        })
    }
}

impl Handler<FollowLogin> for SupervisorActor {
    type Result = ResponseFuture<Result<LoginProgress, Refusal>>;

    fn handle(&mut self, follow: FollowLogin, _: &mut Self::Context) -> Self::Result {
        let account = self.id().clone();
        let mut view = self.login.subscribe();
        Box::pin(async move {
            let progress = async {
                loop {
                    match view.borrow_and_update().clone() {
                        LoginView::None => return LoginProgress::NotStarted,
                        LoginView::Linked { who, before } => {
                            return LoginProgress::Linked { account: account.clone(), who, before };
                        }
                        LoginView::Expired => return LoginProgress::Expired,
                        LoginView::Failed(error) => return LoginProgress::Failed { error },
                        LoginView::Qr(code) if follow.shown.as_ref().is_some_and(|shown| *shown != code) => {
                            return LoginProgress::NewQr { code };
                        }
                        LoginView::Qr(_) | LoginView::Code(_) | LoginView::Starting => {}
                    }
                    if view.changed().await.is_err() {
                        return LoginProgress::NotStarted;
                    }
                }
            };
            Ok(tokio::time::timeout(follow.timeout, progress).await.unwrap_or(LoginProgress::StillWaiting))
        })
    }
}

impl Handler<CancelLogin> for SupervisorActor {
    type Result = Result<bool, Refusal>;

    fn handle(&mut self, _: CancelLogin, ctx: &mut Self::Context) -> Self::Result {
        let beside = self.relink.as_ref().map(|relink| !relink.is_paired());
        if !beside.unwrap_or_else(|| matches!(self.machine.state(), AccountState::Linking { .. })) {
            return Ok(false);
        }
        self.login.send_replace(LoginView::None);
        if beside.is_some() {
            self.give_up_relink(ctx);
        } else {
            self.input(Input::CancelLink { cause: None }, ctx);
        }
        Ok(true)
    }
}

/// How long a connection may take that is opened to log out.
const CONNECT_TO_UNLINK: Duration = Duration::from_secs(10);

impl Handler<Unlink> for SupervisorActor {
    type Result = ResponseActFuture<Self, Result<LoggedOut, Refusal>>;

    fn handle(&mut self, _: Unlink, ctx: &mut Self::Context) -> Self::Result {
        let account = self.id().clone();
        self.read_credentials();
        // Without a gateway nobody connected it yet, and only a connection tells WhatsApp.
        let online = (self.linking_only && self.linked && self.socket.is_none()).then(|| {
            let (tell, told) = tokio::sync::oneshot::channel();
            self.input(Input::Enable { linked: true }, ctx);
            self.settled.push(tell);
            told
        });
        let had = self.linked || credentials::any_files(&self.auth_dir());
        let socket = self.socket.clone().filter(|_| had);
        let side = self.cancel_relink();
        self.cut_off = None;
        let told = async move {
            side.await;
            if let Some(online) = online {
                let _ = tokio::time::timeout(CONNECT_TO_UNLINK, online).await;
            }
            match socket {
                // Without a connection the phone goes on showing the device until it is removed there.
                Some(socket) => {
                    let told = tokio::time::timeout(Duration::from_secs(10), socket.send(UnlinkDevice)).await;
                    matches!(told, Ok(Ok(Ok(()))))
                }
                None => false,
            }
        };
        Box::pin(actix::fut::wrap_future(told).then(move |unlinked, me: &mut Self, ctx| {
            me.login.send_replace(LoginView::None);
            me.forget_phone();
            me.input(Input::Unlinked, ctx);
            let (done, cleared) = tokio::sync::oneshot::channel();
            me.clearing.push(done);
            me.queue.push_back(Action::ClearCredentials);
            me.pump(ctx);
            actix::fut::wrap_future(async move {
                match cleared.await {
                    Ok(Ok(())) => Ok(LoggedOut { account, cleared: had, unlinked }),
                    Ok(Err(error)) => Err(Refusal::Unavailable(error)),
                    Err(_) => Err(Refusal::Unavailable("the gateway is stopping".to_owned())),
                }
            })
        }))
    }
}

impl Handler<Resume> for SupervisorActor {
    type Result = Result<AccountId, Refusal>;

    fn handle(&mut self, _: Resume, ctx: &mut Self::Context) -> Self::Result {
        self.read_credentials();
        let id = self.id().clone();
        if !self.account.link.enabled {
            let step = self.machine.state().next_step(&id).unwrap_or_default();
            return Err(Refusal::Invalid(format!("account \"{id}\" is switched off in verso.json: {step}")));
        }
        if !self.linked {
            return Err(Refusal::Invalid(format!(
                "account \"{id}\" is not linked. Run: verso channels login --account {id}"
            )));
        }
        self.input(Input::Start { linked: true }, ctx);
        Ok(id)
    }
}

impl Handler<Suspend> for SupervisorActor {
    type Result = Result<AccountId, Refusal>;

    fn handle(&mut self, _: Suspend, ctx: &mut Self::Context) -> Self::Result {
        self.input(Input::Stop, ctx);
        Ok(self.id().clone())
    }
}

impl Handler<SendNow> for SupervisorActor {
    type Result = ResponseFuture<Result<Sent, Refusal>>;

    fn handle(&mut self, send: SendNow, _: &mut Self::Context) -> Self::Result {
        let account = self.id().clone();
        let connected = matches!(self.machine.state(), AccountState::Connected { .. });
        let Some(socket) = self.socket.clone().filter(|_| connected) else {
            return Box::pin(async move { Err(Refusal::NoListener { account }) });
        };
        let job = SendJob {
            account: self.account.clone(),
            target: send.target,
            what: send.what,
            by: send.by,
            max_bytes: send.max_bytes,
            idempotency_key: send.idempotency_key,
            now: self.cx.clock.now(),
        };
        let means = Means { socket, journal: self.cx.socket.journal.clone(), loader: self.cx.loader.clone() };
        Box::pin(sending::send(job, means))
    }
}
