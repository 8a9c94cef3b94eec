//! WhatsApp refuses the version of WhatsApp Web that the account reports: the current one is looked up, for all accounts at once, and
//! the link machine told what that gave.

use std::time::{Duration, Instant};

use actix::prelude::*;

use super::SupervisorActor;
use super::requests::LoginView;
use crate::actors::messages::LastDisconnect;
use crate::actors::web_version::VersionRefused;
use crate::event::DownReason;
use crate::policy::link_state::{AccountState, Input};
use crate::policy::web_version::Renewal;

/// Accounts that come back hourly and are refused again make do with a look-up that is this old.
const RECENT: Duration = Duration::from_secs(10 * 60);

/// Another version of WhatsApp Web is in use than before. Sent by the gateway to every account.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct VersionChanged {
    /// The owner has changed `web.version` and waits for it.
    pub at_once: bool,
}

impl Handler<VersionChanged> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, VersionChanged { at_once }: VersionChanged, ctx: &mut Self::Context) {
        self.input(Input::Renewed { at_once }, ctx);
    }
}

impl SupervisorActor {
    /// A look-up that began then or later is recent enough for the connection that is opened now.
    pub(super) fn reuse_look_up_since(&mut self) -> Instant {
        let now = Instant::now();
        let patience = if std::mem::take(&mut self.after_refusal) { RECENT } else { Duration::ZERO };
        now.checked_sub(patience).unwrap_or(now)
    }

    /// The account's own connection was refused.
    pub(super) fn outdated(&mut self, ctx: &mut Context<Self>) {
        if self.closing {
            self.down(DownReason::Outdated, ctx);
            return;
        }
        self.note_refusal();
        self.phone.disconnected();
        self.socket = None;
        self.logged_in_at = None;
        self.generation += 1;
        // Whatever happens meanwhile to the account makes the answer late.
        let generation = self.generation;
        let asked = VersionRefused { version: self.version, not_before: self.version_asked_at };
        let asked = self.cx.socket.version.send(asked);
        ctx.spawn(actix::fut::wrap_future(asked).map(move |renewal, me: &mut Self, ctx| {
            if me.generation == generation {
                me.refused(renewal.unwrap_or_else(|error| Renewal::Unknown { cause: error.to_string() }), ctx);
            }
        }));
    }

    fn note_refusal(&mut self) {
        let (now, status) = (self.cx.clock.now(), DownReason::Outdated.status());
        let error = format!("{}: {}", DownReason::Outdated, self.version);
        tracing::warn!(
            target: "web-reconnect", account = %self.id(), status, logged_out = false,
            reconnect_attempts = self.machine.attempts(), error, "web reconnect: connection closed"
        );
        self.facts.last_disconnect = Some(LastDisconnect { at: now, status, error: error.clone(), logged_out: false });
        self.facts.last_error = Some(error);
        self.facts.last_stop_at = Some(now);
    }

    fn refused(&mut self, renewal: Renewal, ctx: &mut Context<Self>) {
        let in_login = self.login.borrow().is_open();
        self.input(Input::Refused { version: self.version, renewal }, ctx);
        let cause = match self.machine.state() {
            AccountState::Outdated { version, why, .. } => Some(why.sentence(*version)),
            AccountState::NotLinked { cause } => cause.clone(),
            _ => None,
        };
        let Some(cause) = cause else { return };
        self.facts.last_error = Some(cause.clone());
        if in_login {
            self.login.send_replace(LoginView::Failed(cause));
        }
        // As after every other end that takes its time: what a login left beside is not kept waiting.
        self.finish_cut_off(ctx);
        self.publish();
    }

    /// The login beside the link at hand was refused.
    pub(super) fn relink_outdated(&mut self, ctx: &mut Context<Self>) {
        let Some(relink) = &self.relink else { return };
        if relink.again || relink.retried {
            self.relink_down(&DownReason::Outdated, ctx);
            return;
        }
        let generation = relink.generation;
        let asked = VersionRefused { version: relink.version, not_before: relink.opened };
        let asked = self.cx.socket.version.send(asked);
        ctx.spawn(actix::fut::wrap_future(asked).map(move |renewal, me: &mut Self, ctx| {
            let ours = me.relink.as_ref().is_some_and(|relink| relink.generation == generation);
            match (me.relink.take_if(|_| ours), renewal) {
                (Some(relink), Ok(Renewal::Changed)) => me.open_side(relink.dir, true, ctx),
                (Some(relink), _) => {
                    me.relink = Some(relink);
                    me.relink_down(&DownReason::Outdated, ctx);
                }
                (None, _) => {}
            }
        }));
    }
}
