//! [`WebVersionActor`]: knows which version of WhatsApp Web the accounts of this process report, and looks it up for all of them.
//!
//! There is one look-up at a time. Whoever needs one that began after a certain moment joins the one under way or starts the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::clock::{Clock, UnixMs};
use crate::config::model::WebVersion;
use crate::policy::web_version::{Renewal, VersionInUse, VersionSource, WebVersions, is_due};
use crate::store::paths::StatePaths;
use crate::store::web_version;
use crate::whatsapp::Links;

/// How often it is looked whether the version is to be looked up again.
const LOOK_EVERY: Duration = Duration::from_secs(5 * 60);

/// The version to report now. At the start it waits for the first look-up, which is short. Sent by sockets before they dial.
#[derive(Message)]
#[rtype(result = "VersionInUse")]
pub struct GetVersion;

/// The version in use and how the last look-up failed, at once. Sent by the gateway for its status.
#[derive(Message)]
#[rtype(result = "WebVersionStatus")]
pub struct ShowVersion;

/// Answer to [`ShowVersion`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, actix::dev::MessageResponse)]
#[serde(rename_all = "camelCase")]
pub struct WebVersionStatus {
    /// The version in use.
    #[serde(flatten)]
    pub in_use: VersionInUse,
    /// Why the last look-up failed; `None` when it did not, or there was none.
    pub last_error: Option<String>,
}

impl WebVersionStatus {
    /// What is shown when nobody can be asked: the version built in.
    pub(crate) fn unknown() -> Self {
        Self { in_use: WebVersions::default().in_use(), last_error: None }
    }
}

/// WhatsApp refused a version (405). Answered when it is known what to do about it. Sent by supervisors.
#[derive(Message)]
#[rtype(result = "Renewal")]
pub struct VersionRefused {
    /// The version that was reported.
    pub version: WebVersion,
    /// A look-up that began before this is too old.
    pub not_before: Instant,
}

/// What the configuration says. Sent by the gateway after a reload.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct ApplyVersion {
    /// `web.version`.
    pub pin: Option<WebVersion>,
    /// Some account is switched on; without one nothing is looked up.
    pub on: bool,
}

/// Another version is in use than before. Sent to the gateway.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct VersionRenewed {
    /// The owner has changed `web.version`.
    pub by_owner: bool,
}

/// Who hears of other versions. Sent once by the gateway.
#[derive(Message)]
#[rtype(result = "()")]
pub struct TellRenewals(pub Recipient<VersionRenewed>);

/// See the module documentation.
pub struct WebVersionActor {
    links: Arc<Links>,
    paths: StatePaths,
    clock: Clock,
    versions: WebVersions,
    on: bool,
    /// When the look-up under way began.
    looking: Option<Instant>,
    last: Option<LookUp>,
    /// When one last succeeded, in this process or an earlier one.
    succeeded: Option<UnixMs>,
    /// Sockets that wait for the first look-up.
    starting: Vec<oneshot::Sender<()>>,
    refused: Vec<Waiting>,
    renewals: Option<Recipient<VersionRenewed>>,
}

/// The last look-up.
struct LookUp {
    began: Instant,
    at: UnixMs,
    result: Result<(), String>,
}

/// A supervisor whose version was refused.
struct Waiting {
    asked: VersionRefused,
    tell: oneshot::Sender<Renewal>,
}

impl WebVersionActor {
    /// An actor that begins with what the configuration and the state folder say.
    pub fn new(links: Arc<Links>, paths: StatePaths, clock: Clock, apply: ApplyVersion) -> Self {
        let cached = web_version::read(&paths.web_version());
        Self {
            links,
            paths,
            clock,
            versions: WebVersions::new(apply.pin, cached),
            on: apply.on,
            looking: None,
            last: None,
            succeeded: None,
            starting: Vec::new(),
            refused: Vec::new(),
            renewals: None,
        }
    }

    fn may_look(&self) -> bool {
        self.on && self.versions.in_use().source != VersionSource::Pinned
    }

    fn look_up(&mut self, ctx: &mut Context<Self>) {
        if self.looking.is_some() {
            return;
        }
        let began = *self.looking.insert(Instant::now());
        let links = self.links.clone();
        let asked = async move { links.look_up_version().await };
        ctx.spawn(actix::fut::wrap_future(asked).map(move |found, me: &mut Self, ctx| {
            let result = match found {
                Ok(found) => me.found(found),
                Err(error) => {
                    tracing::warn!(
                        target: "web-session", version = %me.versions.in_use().version,
                        "the current version of WhatsApp Web was not looked up: {error}"
                    );
                    Err(error.to_string())
                }
            };
            me.last = Some(LookUp { began, at: me.clock.now(), result });
            me.keep(ctx);
        }));
    }

    /// Takes what the page names, or says why not.
    fn found(&mut self, found: WebVersion) -> Result<(), String> {
        let (before, now) = (self.versions.in_use().version, self.clock.now());
        self.versions.found(found, now).map_err(|error| {
            tracing::warn!(target: "web-session", "the current version of WhatsApp Web is not taken: {error}");
            error.to_string()
        })?;
        self.succeeded = Some(now);
        let version = self.versions.in_use().version;
        if version != before {
            tracing::info!(target: "web-session", %version, %before, "another version of WhatsApp Web is current");
            self.tell(VersionRenewed { by_owner: false });
        }
        Ok(())
    }

    /// Writes the version down; only then the next look-up may begin, so that the file has one writer.
    fn keep(&mut self, ctx: &mut Context<Self>) {
        let good = self.last.as_ref().is_some_and(|last| last.result.is_ok());
        let kept = self.versions.looked_up().filter(|_| good);
        let path = self.paths.web_version();
        let written = tokio::task::spawn_blocking(move || match kept {
            Some((version, at)) => web_version::write(&path, version, at),
            None => Ok(()),
        });
        ctx.spawn(actix::fut::wrap_future(written).map(|written, me: &mut Self, ctx| {
            if let Ok(Err(error)) = written {
                tracing::warn!(target: "web-session", %error, "the version of WhatsApp Web was not kept for the next start");
            }
            me.looking = None;
            me.starting.clear();
            me.answer(ctx);
        }));
    }

    /// Answers those whose question is settled, and looks up again for the others.
    fn answer(&mut self, ctx: &mut Context<Self>) {
        let now = self.versions.in_use();
        for Waiting { asked, tell } in std::mem::take(&mut self.refused) {
            let recent = self.last.as_ref().filter(|last| last.began >= asked.not_before);
            let settled = match recent {
                Some(last) => Some(Renewal::of(asked.version, &now, &last.result)),
                None if !self.may_look() || now.version != asked.version => {
                    let off = Err("no account is switched on in verso.json".to_owned());
                    Some(Renewal::of(asked.version, &now, &off))
                }
                None => None,
            };
            match settled {
                // A supervisor that is gone needs no answer.
                Some(renewal) => drop(tell.send(renewal)),
                None => self.refused.push(Waiting { asked, tell }),
            }
        }
        if !self.refused.is_empty() {
            self.look_up(ctx);
        }
    }

    fn look_when_due(&mut self, ctx: &mut Context<Self>) {
        let tried = self.last.as_ref().map(|last| last.at);
        if self.may_look() && is_due(self.clock.now(), self.succeeded, tried) {
            self.look_up(ctx);
        }
    }

    fn tell(&self, renewed: VersionRenewed) {
        if let Some(renewals) = &self.renewals {
            renewals.do_send(renewed);
        }
    }
}

impl Actor for WebVersionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look_when_due(ctx);
        ctx.run_interval(LOOK_EVERY, Self::look_when_due);
    }
}

impl Handler<GetVersion> for WebVersionActor {
    type Result = ResponseActFuture<Self, VersionInUse>;

    fn handle(&mut self, _: GetVersion, _: &mut Self::Context) -> Self::Result {
        let (tell, told) = oneshot::channel();
        if self.may_look() && self.looking.is_some() && self.last.is_none() {
            self.starting.push(tell);
        }
        let waited = async move {
            // Also when the sender is dropped: then there is nothing to wait for.
            let _ = told.await;
        };
        Box::pin(actix::fut::wrap_future(waited).map(|(), me: &mut Self, _| me.versions.in_use()))
    }
}

impl Handler<ShowVersion> for WebVersionActor {
    type Result = WebVersionStatus;

    fn handle(&mut self, _: ShowVersion, _: &mut Self::Context) -> Self::Result {
        let last_error = self.last.as_ref().and_then(|last| last.result.clone().err());
        WebVersionStatus { in_use: self.versions.in_use(), last_error }
    }
}

impl Handler<VersionRefused> for WebVersionActor {
    type Result = ResponseFuture<Renewal>;

    fn handle(&mut self, asked: VersionRefused, ctx: &mut Self::Context) -> Self::Result {
        self.versions.refused(asked.version);
        let (tell, told) = oneshot::channel();
        self.refused.push(Waiting { asked, tell });
        if self.looking.is_none() {
            self.answer(ctx);
        }
        Box::pin(async move {
            told.await.unwrap_or_else(|_| Renewal::Unknown { cause: "the gateway is stopping".to_owned() })
        })
    }
}

impl Handler<ApplyVersion> for WebVersionActor {
    type Result = ();

    fn handle(&mut self, apply: ApplyVersion, ctx: &mut Self::Context) {
        self.on = apply.on;
        if self.versions.pin(apply.pin) {
            tracing::info!(target: "web-session", version = %self.versions.in_use().version, "web.version has changed");
            self.tell(VersionRenewed { by_owner: true });
        }
        self.look_when_due(ctx);
    }
}

impl Handler<TellRenewals> for WebVersionActor {
    type Result = ();

    fn handle(&mut self, TellRenewals(renewals): TellRenewals, _: &mut Self::Context) {
        self.renewals = Some(renewals);
    }
}
