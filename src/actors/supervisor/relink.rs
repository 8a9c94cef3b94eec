//! A login beside a link that works: the new device is made in a folder of its own by a socket of its own. The link that works is
//! ended and replaced only after a phone accepted the new device; when nobody does, it never notices.

use std::path::{Path, PathBuf};
use std::time::Instant;

use actix::prelude::*;

use super::SupervisorActor;
use super::connection::let_go;
use super::requests::LoginView;
use crate::actors::socket::{CloseSocket, Report, SocketActor};
use crate::config::model::WebVersion;
use crate::event::{DownReason, LinkEvent};
use crate::policy::link_state::{Input, LinkMethod};
use crate::policy::web_version::BUILT_IN;
use crate::store::credentials;
use crate::store::lock::AccountLock;
use crate::whatsapp::LinkSpec;

/// Generations of side sockets count from here, those of the account's own socket from 0.
const SIDE: u64 = 1 << 63;

/// The login under way.
pub(super) struct Relink {
    pub(super) generation: u64,
    pub(super) socket: Addr<SocketActor>,
    /// Of the link that is replaced.
    pub(super) dir: PathBuf,
    /// The line broke once and was opened again.
    pub(super) retried: bool,
    /// The version of WhatsApp Web that it reports, and when that was asked for.
    pub(super) version: WebVersion,
    pub(super) opened: Instant,
    /// The phone accepted the new device.
    paired: bool,
    /// Why the new device is not on disk.
    unsaved: Option<String>,
    /// Another kind of code is wanted: opened again when it is closed.
    pub(super) again: bool,
}

impl Relink {
    /// A phone has accepted the new device; there is no way back.
    pub(super) fn is_paired(&self) -> bool {
        self.paired
    }
}

impl SupervisorActor {
    /// Begins a login beside the link at hand; one that is under way is begun anew.
    pub(super) fn begin_relink(&mut self, ctx: &mut Context<Self>) {
        if let Some(relink) = &mut self.relink {
            relink.again = true;
            relink.socket.do_send(CloseSocket { unlink: false });
            return;
        }
        let dir = self.auth_dir();
        self.open_side(dir, false, ctx);
    }

    pub(super) fn open_side(&mut self, dir: PathBuf, retried: bool, ctx: &mut Context<Self>) {
        let side = credentials::relink_dir(&dir);
        let lock = match credentials::empty_relink(&dir).and_then(|()| AccountLock::acquire(&side)) {
            Ok(lock) => lock,
            Err(error) => {
                self.login.send_replace(LoginView::Failed(error.to_string()));
                return;
            }
        };
        self.sides += 1;
        let generation = SIDE + self.sides;
        let spec = LinkSpec {
            account: self.id().clone(),
            auth_dir: side,
            device_name: self.account.link.device_name.clone(),
            available: false,
            linking: true,
            encryption: self.account.link.encryption.clone(),
        };
        let socket = SocketActor::new(spec, self.cx.socket.clone(), generation, ctx.address().recipient(), lock);
        let socket = socket.for_pairing_only().start();
        self.relink = Some(Relink {
            generation,
            socket,
            dir,
            retried,
            version: BUILT_IN,
            opened: Instant::now(),
            paired: false,
            unsaved: None,
            again: false,
        });
    }

    /// Gives the login up; answered when nothing of it writes any more, with the folder of the link that it was beside.
    pub(super) fn cancel_relink(&mut self) -> impl Future<Output = Option<PathBuf>> + use<> {
        let relink = self.relink.take();
        async move {
            let relink = relink?;
            // An actor that is gone has closed.
            let _ = relink.socket.send(CloseSocket { unlink: false }).await;
            Some(relink.dir)
        }
    }

    /// Gives the login up and leaves nothing of it.
    pub(super) fn give_up_relink(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn(actix::fut::wrap_future(self.cancel_relink()).map(|dir, me: &mut Self, _| {
            if let Some(dir) = dir {
                me.sweep_relink(&dir);
            }
        }));
    }

    /// Removes what a login beside the link in `dir` left, unless the next one has begun.
    pub(super) fn sweep_relink(&self, dir: &Path) {
        if self.relink.is_none()
            && let Err(error) = credentials::empty_relink(dir)
        {
            tracing::warn!(target: "web-session", account = %self.id(), %error, "what a login left is still there");
        }
    }

    /// The new link that a phone had accepted when an earlier process died. While the old one is whole, it connects once more, so that
    /// WhatsApp hears that it is given up; otherwise the phone would list a device that nobody has.
    pub(super) fn take_up_relink(&mut self) {
        let dir = self.auth_dir();
        if self.account.link.enabled && !self.linking_only && credentials::two_links(&dir) {
            tracing::warn!(target: "web-session", account = %self.id(), "a new link was cut off; the old one is given up first");
            self.cut_off = Some(dir);
        } else {
            credentials::finish_relink(&self.cx.paths, &dir);
        }
    }

    /// The old link beside one that was cut off is online, or cannot be.
    pub(super) fn finish_cut_off(&mut self, ctx: &mut Context<Self>) {
        if let Some(dir) = self.cut_off.take() {
            self.adopted = Some(dir);
            self.input(Input::Relinked, ctx);
        }
    }

    /// What the side socket reports.
    pub(super) fn relink_report(&mut self, what: Report, ctx: &mut Context<Self>) {
        match what {
            Report::Dialling(version) => {
                self.facts.sockets_opened += 1;
                if let Some(relink) = &mut self.relink {
                    relink.version = version;
                }
            }
            Report::Event(LinkEvent::Qr { code, .. }) => match self.login_phone.clone() {
                None => {
                    self.login.send_replace(LoginView::Qr(code));
                }
                Some(phone) if *self.login.borrow() == LoginView::Starting => self.request_code(phone, ctx),
                Some(_) => {}
            },
            Report::Event(LinkEvent::PairingCode { code, .. }) => {
                self.login.send_replace(LoginView::Code(code));
            }
            Report::Event(LinkEvent::PairingFailed { reason }) => {
                tracing::warn!(target: "web-reconnect", account = %self.id(), %reason, "linking anew failed; the old link goes on");
                self.login.send_replace(LoginView::Failed(reason.to_string()));
                self.give_up_relink(ctx);
            }
            Report::Event(LinkEvent::Paired(_)) => {
                if let Some(relink) = &mut self.relink {
                    relink.paired = true;
                }
            }
            Report::Event(LinkEvent::Saved { failed }) => {
                if let Some(relink) = &mut self.relink {
                    relink.unsaved = failed;
                }
            }
            Report::Down(DownReason::Outdated) => self.relink_outdated(ctx),
            Report::Down(reason) => self.relink_down(&reason, ctx),
            Report::Gone { panicked: true } => {
                let detail = "the socket of the login failed unexpectedly".to_owned();
                self.relink_down(&DownReason::Internal { detail }, ctx);
            }
            Report::Event(_) | Report::Inbound | Report::Outbound { .. } | Report::Gone { panicked: false } => {}
        }
    }

    pub(super) fn relink_down(&mut self, reason: &DownReason, ctx: &mut Context<Self>) {
        let Some(relink) = self.relink.take() else { return };
        if relink.paired && credentials::recorded(&credentials::relink_dir(&relink.dir)).is_none() {
            // The old link would be given up for nothing.
            let cause = relink.unsaved.unwrap_or_else(|| "creds.json was not written".to_owned());
            let why = format!(
                "a phone accepted the new link, but it could not be saved: {cause}; the old link goes on. Make room on the disk, \
                 remove the newer device on the phone under Linked Devices, and link again"
            );
            tracing::error!(target: "web-reconnect", account = %self.id(), "{why}");
            self.sweep_relink(&relink.dir);
            self.login.send_replace(LoginView::Failed(why));
        } else if relink.paired {
            tracing::info!(target: "web-reconnect", account = %self.id(), "a phone accepted the new link; it replaces the old one");
            self.adopted = Some(relink.dir);
            self.phone_linked();
            self.input(Input::Relinked, ctx);
        } else if relink.again {
            self.open_side(relink.dir, false, ctx);
        } else if !relink.retried && reason.breaks_a_login_once() {
            self.open_side(relink.dir, true, ctx);
        } else {
            let view = match reason {
                DownReason::QrExpired => LoginView::Expired,
                other => LoginView::Failed(format!("WhatsApp Web connection ended before fully opening. {other}")),
            };
            self.sweep_relink(&relink.dir);
            self.login.send_replace(view);
        }
    }

    /// Puts the new link in the place of the old one.
    pub(super) fn adopt(&mut self, ctx: &mut Context<Self>) {
        let Some(dir) = self.adopted.take() else { return };
        self.busy = true;
        let moving = tokio::task::spawn_blocking(move || {
            let _lock = let_go(&dir)?;
            credentials::adopt(&dir)
        });
        ctx.spawn(actix::fut::wrap_future(moving).map(|moved, me: &mut Self, ctx| {
            if let Ok(Err(error)) = moved {
                tracing::error!(target: "web-reconnect", account = %me.id(), %error, "the new link is not in its place yet; the next start moves it");
            }
            me.identity = None;
            me.read_credentials();
            me.busy = false;
            me.pump(ctx);
            me.publish();
        }));
    }

    /// Begins a login in the place that suits what the account has.
    pub(super) fn begin_login(&mut self, method: LinkMethod, force: bool, ctx: &mut Context<Self>) {
        if self.linked && force && self.machine.state().code() != "logged-out" {
            self.begin_relink(ctx);
        } else {
            self.input(Input::Link { method, force }, ctx);
        }
    }

    /// The socket that a code is asked from.
    pub(super) fn login_socket(&self) -> Option<Addr<SocketActor>> {
        self.relink.as_ref().map(|relink| relink.socket.clone()).or_else(|| self.socket.clone())
    }
}
