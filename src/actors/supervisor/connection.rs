//! The life of the account's own connection: opened, heard, closed.

use std::path::Path;
use std::time::Duration;

use actix::prelude::*;

use super::SupervisorActor;
use super::requests::LoginView;
use crate::actors::messages::LastDisconnect;
use crate::actors::socket::{AbandonSocket, CloseSocket, DrainOutbox, Report, SocketActor, SocketReport};
use crate::event::{DownReason, Identity, LinkEvent};
use crate::policy::link_state::{AccountState, Action, Input};
use crate::store::lock::AccountLock;
use crate::store::{StoreError, credentials};
use crate::whatsapp::LinkSpec;

/// A link is closed after this: five seconds to tell WhatsApp, fifteen to end the connection, and the last save.
const CLOSED_WITHIN: Duration = Duration::from_secs(25);
/// How long an abandoned link is waited for before the files in its folder are removed or replaced.
const LET_GO: Duration = Duration::from_secs(60);

/// Waits until no link touches the folder any more. A folder that cannot be locked for another reason is in nobody's use.
pub(super) fn let_go(dir: &Path) -> Result<Option<AccountLock>, StoreError> {
    if !dir.exists() {
        return Ok(None);
    }
    match AccountLock::acquire_within(dir, LET_GO) {
        Err(StoreError::Busy(why)) => Err(StoreError::Busy(why)),
        taken => Ok(taken.ok()),
    }
}

impl SupervisorActor {
    pub(super) fn open(&mut self, ctx: &mut Context<Self>) {
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
        self.version_asked_at = self.reuse_look_up_since();
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
    pub(super) fn marks_online(&self) -> bool {
        let rules = &self.account.rules;
        !rules.listen_only
            && rules.mark_online.unwrap_or_else(|| {
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

    pub(super) fn close(&mut self, ctx: &mut Context<Self>) {
        let Some(socket) = self.socket.as_ref() else { return };
        self.busy = true;
        self.closing = true;
        let unlink = self.queue.front() == Some(&Action::ClearCredentials);
        socket.do_send(CloseSocket { unlink });
        // A link that does not end in time is abandoned; its late words are recognised by their generation.
        let generation = self.generation;
        ctx.run_later(CLOSED_WITHIN, move |me, ctx| {
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

    pub(super) fn clear_credentials(&mut self, ctx: &mut Context<Self>) {
        if self.adopted.is_some() {
            // They go when the new ones take their place, which lie beside them until then.
            return;
        }
        self.busy = true;
        let dir = self.auth_dir();
        let paths = self.cx.paths.clone();
        // A link that was abandoned may still save: what is removed before it has ended would come back.
        let removal = tokio::task::spawn_blocking(move || {
            let _lock = let_go(&dir)?;
            credentials::remove(&paths, &dir)
        });
        ctx.spawn(actix::fut::wrap_future(removal).map(|removed, me: &mut Self, ctx| {
            let failed = match removed {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(format!("the credentials could not be removed: {error}")),
                Err(error) => Some(format!("the credentials could not be removed: {error}")),
            };
            if let Some(failed) = &failed {
                tracing::error!(target: "web-reconnect", account = %me.id(), "{failed}");
            }
            me.identity = None;
            me.read_credentials();
            for asked in me.clearing.drain(..) {
                let _ = asked.send(failed.clone().map_or(Ok(()), Err));
            }
            me.facts.last_error = failed;
            me.busy = false;
            me.pump(ctx);
            me.publish();
        }));
    }

    pub(super) fn down(&mut self, reason: DownReason, ctx: &mut Context<Self>) {
        let now = self.cx.clock.now();
        if self.closing {
            self.closed(ctx);
            return;
        }
        let lived = self
            .logged_in_at
            .take()
            .map_or(Duration::ZERO, |at| Duration::from_millis((now - at).max(0).cast_unsigned()));
        self.phone.disconnected();
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
        let given_up = !self.machine.state().wants_socket();
        if given_up || matches!(self.machine.state(), AccountState::Degraded { .. }) {
            self.finish_cut_off(ctx);
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
                self.input(Input::CancelLink { cause: Some(reason.to_string()) }, ctx);
            }
            LinkEvent::Paired(identity) => {
                self.identity = Some(identity);
                self.linked = true;
                self.auth_since = Some(now);
                self.introduce(ctx);
                self.phone_linked();
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
                self.identity = Some(identity.clone());
                self.input(Input::Connected, ctx);
                if self.cut_off.is_some() {
                    self.finish_cut_off(ctx);
                    return;
                }
                self.look_for_phone();
                self.login_phone = None;
                self.introduce(ctx);
                if self.login.borrow().is_open() {
                    self.finish_login(&identity, ctx);
                }
                let sends = !self.linking_only && !self.account.rules.listen_only;
                if let Some(socket) = self.socket.as_ref().filter(|_| sends) {
                    for gesture in self.later.drain(..) {
                        socket.do_send(gesture);
                    }
                    socket.do_send(DrainOutbox(self.account.rules.pacing.clone()));
                }
            }
            LinkEvent::GroupChanged { chat } => self.groups.changed(&chat),
            LinkEvent::Undecryptable { .. } => {}
            LinkEvent::PhoneSeen { waited_since, confirms } => self.phone_seen(waited_since.unwrap_or(now), confirms),
            LinkEvent::Saved { .. }
            | LinkEvent::ServerAck { .. }
            | LinkEvent::Receipt { .. }
            | LinkEvent::AskedAgain { .. } => {}
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
            Report::Dialling(version) => {
                self.facts.sockets_opened += 1;
                self.version = version;
            }
            // The last save of a link is made while it is closed.
            Report::Event(LinkEvent::Saved { failed }) => self.facts.unsaved = failed,
            // What else a socket says while it is being closed is about a link that is given up.
            Report::Event(_) if self.closing => {}
            Report::Event(event) => self.link_event(event, ctx),
            Report::Inbound => {
                self.facts.last_inbound_at = Some(now);
                self.facts.last_message_at = Some(now);
            }
            Report::Outbound { chat, at } => {
                self.facts.last_outbound_at = Some(now);
                self.phone_asked(&chat, at);
            }
            Report::Down(DownReason::Outdated) => self.outdated(ctx),
            Report::Down(reason) => self.down(reason, ctx),
            Report::Gone { panicked: true } => {
                self.down(DownReason::Internal { detail: "the account's socket failed unexpectedly".to_owned() }, ctx);
            }
            Report::Gone { panicked: false } => {}
        }
        self.publish();
    }
}
