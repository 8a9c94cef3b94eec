//! [`SocketActor`]: one link of one account, one generation.
//!
//! It holds the [`Link`], runs it on the client runtime and tells its supervisor what happens, stamped with its generation,
//! so that a late message of an older socket is recognised and dropped. Inbound messages take the durable way: the link's
//! sink commits them to the journal first (only then WhatsApp is acked) and hands the new ones to the router.

mod address;
mod feedback;
mod media;
mod outbox;
mod sink;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::runtime::Handle as Pool;
use tokio::sync::{oneshot, watch};

use crate::actors::router::InboundReceived;
use crate::actors::web_version::{GetVersion, WebVersionActor};
use crate::clock::{Clock, UnixMs};
use crate::config::model::{PacingConfig, WebVersion};
use crate::event::{DownReason, LinkEvent};
use crate::ids::{E164, Jid, MessageId};
use crate::policy::web_version::BUILT_IN;
use crate::store::journal::Journal;
use crate::store::lock::AccountLock;
use crate::whatsapp::{GroupInfo, Link, LinkError, LinkSpec, Links, OpenError};

use address::Addresses;
use feedback::Feedback;
use outbox::Pump;
use sink::Sink;

pub use media::FetchMedia;

/// What a socket needs besides its link specification.
#[derive(Clone)]
pub struct SocketContext {
    /// Opens links.
    pub links: Arc<Links>,
    /// The runtime that clients run on.
    pub pool: Pool,
    /// Where inbound messages are committed and outgoing parts wait.
    pub journal: Journal,
    /// Judges inbound messages.
    pub router: Recipient<InboundReceived>,
    /// The time of day.
    pub clock: Clock,
    /// Knows which version of WhatsApp Web is reported.
    pub version: Addr<WebVersionActor>,
}

/// Something happened on the socket of a generation. Sent to the supervisor.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct SocketReport {
    /// Which socket.
    pub generation: u64,
    /// What.
    pub what: Report,
}

/// Contents of a [`SocketReport`].
#[derive(Debug)]
pub enum Report {
    /// A connection attempt begins (one socket is opened), with this version of WhatsApp Web.
    Dialling(WebVersion),
    /// The link says something.
    Event(LinkEvent),
    /// Messages came in and are on disk.
    Inbound,
    /// A message went out.
    Outbound {
        /// To whom.
        chat: Jid,
        /// When it was handed over, in milliseconds since 1970; what is heard of it may have come in already.
        at: UnixMs,
    },
    /// The connection ended, or could not be opened.
    Down(DownReason),
    /// The actor is gone; `panicked` when a panic ended it.
    Gone {
        /// It unwound.
        panicked: bool,
    },
}

/// Closes the link gracefully; answered when it is closed. Sent by the supervisor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CloseSocket {
    /// The device is given up: tell WhatsApp, so that the phone does not go on listing it.
    pub unlink: bool,
}

/// Ends the actor and everything it started, closed or not. Sent by the supervisor when [`CloseSocket`] took too long.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AbandonSocket;

/// How long WhatsApp may take to hear that a device is given up.
const UNLINK_PATIENCE: Duration = Duration::from_secs(5);

/// How long the last tasks of a closed link may take to let go of its folder before somebody tries to open the next one.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

/// Unlinks this device at WhatsApp, best effort. Sent by the supervisor.
#[derive(Message)]
#[rtype(result = "Result<(), LinkError>")]
pub struct UnlinkDevice;

/// Parts wait in the outbox. Sent by the supervisor; the socket sends them in order and at the account's pace.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainOutbox(pub PacingConfig);

/// Nothing leaves until the next [`DrainOutbox`]; what is under way ends. Sent by the supervisor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct HoldOutbox;

/// Show the account as online, or not. Sent by the supervisor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ShowOnline(pub bool);

/// Ask for an eight-character code. Sent by the supervisor.
#[derive(Message)]
#[rtype(result = "Result<String, LinkError>")]
pub struct RequestCode(pub E164);

/// Small things that may fail without harm.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub enum Gesture {
    /// Show or end the typing indicator.
    Typing {
        /// The chat.
        chat: Jid,
        /// On or off.
        on: bool,
    },
    /// Mark messages as read.
    Read {
        /// The chat.
        chat: Jid,
        /// The author, in groups.
        sender: Option<Jid>,
        /// The messages.
        ids: Vec<MessageId>,
    },
    /// React to a message.
    React {
        /// The chat.
        chat: Jid,
        /// The message.
        target: MessageId,
        /// Its author, in groups.
        sender: Option<Jid>,
        /// It is our own message.
        from_me: bool,
        /// The emoji; empty takes the reaction back.
        emoji: String,
    },
}

/// Panics. Sent by the supervisor for a test; only in demo builds.
#[cfg(feature = "demo")]
#[derive(Message)]
#[rtype(result = "()")]
pub struct InjectPanic;

#[cfg(feature = "demo")]
impl Handler<InjectPanic> for SocketActor {
    type Result = ();

    fn handle(&mut self, _: InjectPanic, _: &mut Self::Context) {
        panic!("injected by a test");
    }
}

/// Looks a number up before a first contact. Sent by the supervisor.
#[derive(Message)]
#[rtype(result = "Result<Option<Jid>, LinkError>")]
pub struct LookUp(pub E164);

/// Asks WhatsApp about a group. Sent by the supervisor.
#[derive(Message)]
#[rtype(result = "Result<GroupInfo, LinkError>")]
pub struct AskGroup(pub Jid);

/// See the module documentation.
pub struct SocketActor {
    spec: LinkSpec,
    cx: SocketContext,
    generation: u64,
    reports: Recipient<SocketReport>,
    link: Option<Link>,
    /// Told by the sink, waited for by the sender.
    feedback: Feedback,
    /// Told by the sink, asked by the sender.
    addresses: Addresses,
    /// Set by every [`DrainOutbox`].
    drain: watch::Sender<Option<PacingConfig>>,
    /// [`CloseSocket`] came before the link was open.
    close_when_open: bool,
    /// It ends when a phone accepted the device, instead of logging in.
    pairing_only: bool,
    /// The lock of the folder, until the link takes it: two links on one folder would fork its keys.
    lock: Option<Held>,
    /// Tells that nothing of the link touches the folder any more.
    released: Option<oneshot::Receiver<()>>,
    /// Tasks on the client runtime that must not outlive this actor.
    tasks: Vec<AbortOnDrop>,
    _guard: ExitGuard,
}

/// The lock of an account's folder, which tells when it goes. Its fields go in this order.
struct Held {
    _lock: AccountLock,
    _released: oneshot::Sender<()>,
}

/// Ends a task of the client runtime when the actor ends, also by a panic.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells the supervisor that the actor is gone, whatever ended it.
struct ExitGuard {
    generation: u64,
    reports: Recipient<SocketReport>,
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        self.reports.do_send(SocketReport {
            generation: self.generation,
            what: Report::Gone { panicked: std::thread::panicking() },
        });
    }
}

impl SocketActor {
    /// A socket for `spec`; it dials as soon as it is started.
    pub fn new(
        spec: LinkSpec,
        cx: SocketContext,
        generation: u64,
        reports: Recipient<SocketReport>,
        lock: AccountLock,
    ) -> Self {
        let addresses = Addresses::new(spec.account.clone(), cx.journal.clone());
        let guard = ExitGuard { generation, reports: reports.clone() };
        let (held, released) = oneshot::channel();
        Self {
            spec,
            cx,
            generation,
            reports,
            link: None,
            feedback: Feedback::default(),
            addresses,
            drain: watch::channel(None).0,
            close_when_open: false,
            pairing_only: false,
            lock: Some(Held { _lock: lock, _released: held }),
            released: Some(released),
            tasks: Vec::new(),
            _guard: guard,
        }
    }

    /// The socket ends when a phone accepted the device: another one logs in with it.
    #[must_use]
    pub fn for_pairing_only(mut self) -> Self {
        self.pairing_only = true;
        self
    }

    fn report(&self, what: Report) {
        self.reports.do_send(SocketReport { generation: self.generation, what });
    }
}

/// The link is open (not yet connected). Sent by the task that opens it.
#[derive(Message)]
#[rtype(result = "()")]
struct Opened(Result<Link, DownReason>);

/// `run` returned. Sent by the task that runs the link.
#[derive(Message)]
#[rtype(result = "()")]
struct Ended(DownReason);

impl Actor for SocketActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let sink = Arc::new(Sink::new(
            self.spec.account.clone(),
            self.generation,
            self.reports.clone(),
            (self.feedback.clone(), self.addresses.clone()),
            &self.cx,
        ));
        let links = self.cx.links.clone();
        let spec = self.spec.clone();
        let lock = self.lock.take();
        let me = ctx.address().recipient();
        let version = self.cx.version.send(GetVersion);
        self.cx.pool.spawn(async move {
            let version = version.await.map_or(BUILT_IN, |in_use| in_use.version);
            let opened = links.open_under(version, spec, sink, Box::new(lock)).await.map_err(|e| match e {
                OpenError::Locked { .. } => DownReason::Locked { detail: e.to_string() },
                other => DownReason::Internal { detail: other.to_string() },
            });
            me.do_send(Opened(opened));
        });
    }
}

impl Handler<Opened> for SocketActor {
    type Result = ();

    fn handle(&mut self, Opened(opened): Opened, ctx: &mut Self::Context) {
        let link = match opened {
            Ok(link) => link,
            Err(reason) => {
                self.report(Report::Down(reason));
                ctx.stop();
                return;
            }
        };
        if self.close_when_open {
            self.link = Some(link);
            ctx.notify(Ended(DownReason::Stopped));
            return;
        }
        self.link = Some(link.clone());
        let me = ctx.address().recipient::<Ended>();
        let reports = self.reports.clone();
        let generation = self.generation;
        let pairing_only = self.pairing_only;
        let run = self.cx.pool.spawn(async move {
            let mut restarted = pairing_only;
            let reason = loop {
                reports.do_send(SocketReport { generation, what: Report::Dialling(link.version()) });
                let reason = link.run().await;
                // 515 follows every pairing: the same link runs again at once. A second 515 in a row is left to the backoff.
                if reason == DownReason::RestartRequired && !restarted {
                    restarted = true;
                    continue;
                }
                break reason;
            };
            me.do_send(Ended(reason));
        });
        let link = self.link.clone().expect("set above");
        let pump = Pump::new(
            link,
            &self.cx,
            generation,
            self.reports.clone(),
            (self.feedback.clone(), self.addresses.clone()),
        );
        let pump = self.cx.pool.spawn(pump.run(self.drain.subscribe()));
        self.tasks = vec![AbortOnDrop(run.abort_handle()), AbortOnDrop(pump.abort_handle())];
        // A connection that sends nothing any more is none: it ends in sight of everybody and comes back.
        let me = ctx.address().recipient::<Ended>();
        self.cx.pool.spawn(async move {
            let detail = match pump.await {
                Err(error) if error.is_cancelled() => return,
                Err(_) => "the sending of this account's messages failed unexpectedly",
                Ok(()) => "the sending of this account's messages ended",
            };
            me.do_send(Ended(DownReason::Internal { detail: detail.to_owned() }));
        });
    }
}

impl Handler<Ended> for SocketActor {
    type Result = ();

    fn handle(&mut self, Ended(reason): Ended, ctx: &mut Self::Context) {
        self.tasks.clear();
        if let Some(link) = self.link.take() {
            let reports = self.reports.clone();
            let generation = self.generation;
            let released = self.released.take();
            // The store is flushed and released before the supervisor may open the next link on it. What does not let go keeps the lock,
            // so that the next link cannot be opened, and is tried again.
            self.cx.pool.spawn(async move {
                link.close().await;
                drop(link);
                if let Some(released) = released {
                    let _ = tokio::time::timeout(RELEASE_PATIENCE, released).await;
                }
                reports.do_send(SocketReport { generation, what: Report::Down(reason) });
            });
        }
        ctx.stop();
    }
}

impl Handler<CloseSocket> for SocketActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, CloseSocket { unlink }: CloseSocket, _: &mut Self::Context) -> Self::Result {
        let link = self.link.clone();
        let pool = self.cx.pool.clone();
        self.close_when_open = link.is_none();
        Box::pin(async move {
            if let Some(link) = link {
                let closing = pool.spawn(async move {
                    if unlink && link.is_online() {
                        // Best effort: without an answer the owner removes the device on the phone.
                        let _ = tokio::time::timeout(UNLINK_PATIENCE, link.logout()).await;
                    }
                    link.close().await;
                });
                let _ = closing.await;
            }
        })
    }
}

impl Handler<AbandonSocket> for SocketActor {
    type Result = ();

    fn handle(&mut self, _: AbandonSocket, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<UnlinkDevice> for SocketActor {
    type Result = ResponseFuture<Result<(), LinkError>>;

    fn handle(&mut self, _: UnlinkDevice, _: &mut Self::Context) -> Self::Result {
        self.on_pool(|link| async move { link.logout().await })
    }
}

impl Handler<RequestCode> for SocketActor {
    type Result = ResponseFuture<Result<String, LinkError>>;

    fn handle(&mut self, RequestCode(phone): RequestCode, _: &mut Self::Context) -> Self::Result {
        self.on_pool(|link| async move { link.request_pairing_code(&phone).await })
    }
}

impl Handler<LookUp> for SocketActor {
    type Result = ResponseFuture<Result<Option<Jid>, LinkError>>;

    fn handle(&mut self, LookUp(number): LookUp, _: &mut Self::Context) -> Self::Result {
        self.on_pool(|link| async move { link.lookup(&number).await })
    }
}

impl Handler<AskGroup> for SocketActor {
    type Result = ResponseFuture<Result<GroupInfo, LinkError>>;

    fn handle(&mut self, AskGroup(group): AskGroup, _: &mut Self::Context) -> Self::Result {
        self.on_pool(|link| async move { link.group_info(&group).await })
    }
}

impl Handler<DrainOutbox> for SocketActor {
    type Result = ();

    fn handle(&mut self, DrainOutbox(pacing): DrainOutbox, _: &mut Self::Context) {
        self.drain.send_replace(Some(pacing));
    }
}

impl Handler<HoldOutbox> for SocketActor {
    type Result = ();

    fn handle(&mut self, _: HoldOutbox, _: &mut Self::Context) {
        self.drain.send_replace(None);
    }
}

impl Handler<ShowOnline> for SocketActor {
    type Result = ();

    fn handle(&mut self, ShowOnline(online): ShowOnline, _: &mut Self::Context) {
        let Some(link) = self.link.clone() else { return };
        self.cx.pool.spawn(async move {
            if let Err(error) = link.set_available(online).await {
                tracing::debug!(target: "web-session", %error, "presence not set");
            }
        });
    }
}

impl Handler<Gesture> for SocketActor {
    type Result = ();

    fn handle(&mut self, gesture: Gesture, _: &mut Self::Context) {
        let Some(link) = self.link.clone() else { return };
        self.cx.pool.spawn(async move {
            let done = match &gesture {
                Gesture::Typing { chat, on } => link.typing(chat, *on).await,
                Gesture::Read { chat, sender, ids } => link.mark_read(chat, sender.as_ref(), ids).await,
                Gesture::React { chat, target, sender, from_me, emoji } => {
                    let id = MessageId::random(&mut rand::rng());
                    link.send_reaction(chat, target, sender.as_ref(), *from_me, emoji, &id).await
                }
            };
            if let Err(error) = done {
                tracing::debug!(target: "whatsapp/outbound", %error, ?gesture, "a gesture was not sent");
            }
        });
    }
}

impl SocketActor {
    /// Runs `work` with the link on the client runtime.
    fn on_pool<T, F, Fut>(&self, work: F) -> ResponseFuture<Result<T, LinkError>>
    where
        T: Send + 'static,
        F: FnOnce(Link) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, LinkError>> + Send + 'static,
    {
        let Some(link) = self.link.clone() else {
            return Box::pin(async { Err(LinkError::NotConnected) });
        };
        let task = self.cx.pool.spawn(async move { work(link).await });
        Box::pin(async move { task.await.unwrap_or_else(|e| Err(LinkError::Internal(e.to_string()))) })
    }
}
