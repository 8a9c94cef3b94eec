//! [`GatewayActor`]: owns the configuration in force and the map of accounts; the only place where a diff is applied.
//!
//! The doors ask it through [`GatewayPort`]; it resolves the account and passes the request to that account's supervisor or to
//! the router.

mod doors;
mod media;
mod reload;
mod starts;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::broadcast;

use crate::actors::agent::{AgentActor, StopAgents, Tallies};
use crate::actors::messages::{AccountStatus, GatewayEvent, GatewayPort};
use crate::actors::router::{FlushBatches, ReloadBy, RouterActor};
use crate::actors::socket::SocketContext;
use crate::actors::supervisor::{
    AccountChanged, EndAccount, SupervisorActor, SupervisorContext, SupervisorGone, VersionChanged,
};
use crate::actors::watcher::WatcherActor;
use crate::actors::web_version::{ApplyVersion, TellRenewals, VersionRenewed, WebVersionActor};
use crate::backoff;
use crate::clock::{Clock, UnixMs};
use crate::config::Places;
use crate::config::file::{self, ConfigSource};
use crate::config::model::Config;
use crate::ids::AccountId;
use crate::media::{Loader, Reach};
use crate::store::inbox::Inbox;
use crate::store::journal::Journal;
use crate::store::paths::StatePaths;
use crate::whatsapp::{Endpoint, Links};

/// Everything the gateway is made from.
pub struct Boot {
    /// Where state lies. The caller holds the lock of the state folder.
    pub paths: StatePaths,
    /// Where the configuration lies.
    pub source: ConfigSource,
    /// The server to dial.
    pub endpoint: Endpoint,
    /// The time of day.
    pub clock: Clock,
    /// Run this account only and nothing but linking (`verso channels login` without a gateway).
    pub only: Option<AccountId>,
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The configuration is wrong; every problem in one text.
    #[error("{0}")]
    Config(String),
    /// The state folder or a file in it cannot be used.
    #[error("{0}")]
    State(String),
    /// The client library cannot be set up.
    #[error("{0}")]
    Link(String),
}

/// A running gateway. It must be started inside an actix system.
pub struct Gateway {
    /// What the doors use.
    pub port: GatewayPort,
    /// The configuration at the start.
    pub config: Arc<Config>,
    addr: Addr<GatewayActor>,
    journal: Journal,
}

impl Gateway {
    /// Starts every actor and every enabled, linked account.
    ///
    /// # Errors
    /// When the configuration is wrong or the state folder cannot be used; nothing runs then.
    pub async fn start(boot: Boot) -> Result<Self, BootError> {
        let loaded = file::load_or_first(&boot.source).map_err(|rejected| BootError::Config(rejected.to_string()))?;
        for warning in &loaded.warnings {
            tracing::warn!(target: "config", "{warning}");
        }
        boot.paths.prepare().map_err(|e| BootError::State(e.to_string()))?;
        if let Some(said) = boot.paths.make_private(std::env::home_dir().as_deref()) {
            tracing::warn!(target: "gateway", "{said}");
        }
        let journal =
            Journal::open(&boot.paths.state_db(), boot.clock.clone()).map_err(|e| BootError::State(e.to_string()))?;
        // A demo build dials this machine and nothing else.
        let reach = if cfg!(feature = "demo") { Reach::Loopback } else { Reach::Internet };
        let loader = Loader::new(boot.paths.media_outbound(), reach).map_err(|e| BootError::State(e.to_string()))?;
        loader.sweep(&journal.files_in_use().await.map_err(|e| BootError::State(e.to_string()))?);
        let pool = tokio::runtime::Handle::current();
        let links = Links::new(boot.endpoint.clone(), pool.clone()).map_err(|e| BootError::Link(e.to_string()))?;
        let config = loaded.config;

        let tallies = Tallies::default();
        let agents = AgentActor::new(
            journal.clone(),
            boot.paths.clone(),
            boot.clock.clone(),
            config.clone(),
            loader.clone(),
            tallies.clone(),
        )
        .map_err(|e| BootError::State(e.to_string()))?
        .start();
        let router = RouterActor::new(
            journal.clone(),
            boot.paths.clone(),
            boot.clock.clone(),
            (config.clone(), loaded.places.clone()),
            agents.clone(),
            boot.source.clone(),
        )
        .map_err(|e| BootError::State(e.to_string()))?
        .start();
        let links = Arc::new(links);
        let mut settings = version_settings(&config);
        // Whoever links an account wants it connected, whatever is switched off.
        settings.on |= boot.only.is_some();
        let version = WebVersionActor::new(links.clone(), boot.paths.clone(), boot.clock.clone(), settings).start();
        let cx = SupervisorContext {
            socket: SocketContext {
                links,
                version: version.clone(),
                pool,
                journal: journal.clone(),
                router: router.clone().recipient(),
                clock: boot.clock.clone(),
            },
            paths: boot.paths.clone(),
            clock: boot.clock.clone(),
            router: router.clone(),
            agents: agents.clone(),
            loader,
        };
        let (events, _) = broadcast::channel(256);
        let router_addr = router.clone();
        let started_at = boot.clock.now();
        let start_delays = match boot.only {
            None => starts::note(&journal, started_at, config.accounts.len()).await,
            Some(_) => Vec::new(),
        };
        let addr = GatewayActor {
            config: config.clone(),
            revision: 1,
            fingerprint: loaded.fingerprint,
            places: loaded.places,
            started_at,
            start_delays,
            fallen: HashMap::new(),
            accounts: BTreeMap::new(),
            statuses: BTreeMap::new(),
            last_reload: serde_json::Value::Null,
            problems: Vec::new(),
            events,
            router,
            agents,
            tallies,
            cx,
            source: boot.source,
            only: boot.only,
            watcher: None,
            stopping: false,
        }
        .start();
        router_addr.do_send(ReloadBy(addr.clone().recipient()));
        version.do_send(TellRenewals(addr.clone().recipient()));
        Ok(Self { port: GatewayPort::of(&addr), config, addr, journal })
    }

    /// Makes an actor of `account` panic: the fault hook of the tests. Only in demo builds.
    #[cfg(feature = "demo")]
    pub fn inject_panic(&self, account: &str, which: crate::actors::supervisor::InjectPanic) {
        self.addr.do_send(InjectPanicInto { account: AccountId::new(account), which });
    }

    /// The journal of the running gateway, whose disk tests fill. Only in demo builds.
    #[cfg(feature = "demo")]
    pub fn journal(&self) -> Journal {
        self.journal.clone()
    }

    /// Notes a small fact in the state folder; true when it was another one before, or none.
    pub async fn is_news(&self, fact: &str, value: &str) -> bool {
        let noted = async {
            let news = self.journal.get(fact).await?.is_none_or(|known| known != value);
            if news {
                self.journal.put(fact, value).await?;
            }
            Ok::<_, crate::store::StoreError>(news)
        };
        noted.await.unwrap_or_else(|error| {
            tracing::error!(target: "gateway", fact, %error, "a fact could not be noted");
            false
        })
    }

    /// Closes every link and lets running agents finish, within `grace`.
    pub async fn stop(&self, grace: Duration) {
        let _ = tokio::time::timeout(grace, self.addr.send(Shutdown { grace })).await;
    }
}

/// See the module documentation.
pub struct GatewayActor {
    config: Arc<Config>,
    revision: u64,
    fingerprint: u64,
    places: Arc<Places>,
    started_at: UnixMs,
    /// How long accounts wait at the start of the process.
    start_delays: Vec<Duration>,
    /// Supervisors that failed: how often in a row, and when last.
    fallen: HashMap<AccountId, (u32, UnixMs)>,
    accounts: BTreeMap<AccountId, Addr<SupervisorActor>>,
    statuses: BTreeMap<AccountId, AccountStatus>,
    last_reload: serde_json::Value,
    problems: Vec<String>,
    events: broadcast::Sender<GatewayEvent>,
    router: Addr<RouterActor>,
    agents: Addr<AgentActor>,
    tallies: Tallies,
    cx: SupervisorContext,
    source: ConfigSource,
    only: Option<AccountId>,
    watcher: Option<Addr<WatcherActor>>,
    stopping: bool,
}

/// Ends everything. Sent by [`Gateway::stop`].
#[derive(Message)]
#[rtype(result = "()")]
struct Shutdown {
    grace: Duration,
}

impl Actor for GatewayActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        for (n, account) in self.config.accounts.keys().cloned().collect::<Vec<_>>().into_iter().enumerate() {
            let wait = self.start_delays.get(n).copied().unwrap_or_default();
            self.start_account_after(&account, wait, ctx);
        }
        if self.only.is_none() {
            // Not at once: a machine without a clock of its own learns the date after it started.
            ctx.run_later(FIRST_PRUNE, |me, ctx| {
                me.prune();
                ctx.run_interval(PRUNE_EVERY, |me, _| me.prune());
            });
            let watcher = WatcherActor::new(
                self.source.clone(),
                self.config.gateway.reload.clone(),
                self.fingerprint,
                ctx.address().recipient(),
            );
            self.watcher = Some(watcher.start());
        }
    }
}

impl GatewayActor {
    fn start_account(&mut self, id: &AccountId, ctx: &mut Context<Self>) {
        self.start_account_after(id, Duration::ZERO, ctx);
    }

    /// Starts an account that does not connect before `wait` is over.
    fn start_account_after(&mut self, id: &AccountId, wait: Duration, ctx: &mut Context<Self>) {
        let Some(account) = self.config.account(id).cloned() else { return };
        if self.only.as_ref().is_some_and(|only| only != id) {
            return;
        }
        let supervisor = SupervisorActor::new(
            account,
            self.config.web.clone(),
            self.cx.clone(),
            ctx.address().recipient::<AccountChanged>(),
            ctx.address().recipient::<SupervisorGone>(),
            self.only.is_some(),
        )
        .connecting_after(wait);
        self.accounts.insert(id.clone(), supervisor.start());
    }

    /// Deletes what is older than the retention allows, received media too; answers that waited for too long are given up and reported.
    fn prune(&self) {
        let (journal, now) = (self.cx.socket.journal.clone(), self.cx.clock.cautious());
        let inbox = Inbox::new(self.cx.paths.media_inbound());
        let retention = self.config.retention.clone();
        let before = |age: Duration| now.saturating_sub(UnixMs::try_from(age.as_millis()).unwrap_or(UnixMs::MAX));
        let (rows, parts) = (before(self.config.retention.journal), before(self.config.retention.outbox));
        let configured: Vec<AccountId> = self.config.accounts.keys().cloned().collect();
        actix::spawn(async move {
            match journal.settle_orphans(&configured, rows).await {
                Ok(0) => {}
                Ok(messages) => tracing::warn!(
                    target: "gateway", messages,
                    "messages of accounts that are not configured any more are settled unanswered: retention.journalDays is over"
                ),
                Err(error) => {
                    tracing::error!(target: "gateway", %error, "messages of accounts that are gone were not settled")
                }
            }
            match journal.prune(rows, parts).await {
                Ok(0) => {}
                Ok(expired) => tracing::error!(
                    target: "whatsapp/outbound", expired,
                    "messages waited longer than retention.outbox allows and are given up"
                ),
                Err(error) => tracing::error!(target: "gateway", %error, "old rows of the journal were not deleted"),
            }
            media::sweep(journal, inbox, retention, now).await;
        });
    }

    fn publish(&self, event: GatewayEvent) {
        // Nobody listening is no failure.
        let _ = self.events.send(event);
    }
}

/// How often old rows are deleted.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// A supervisor that lived longer than this, in milliseconds, did not fail in a row.
const STEADY: UnixMs = 10 * 60_000;
/// When they are looked for first.
const FIRST_PRUNE: Duration = Duration::from_secs(600);

impl Handler<AccountChanged> for GatewayActor {
    type Result = ();

    fn handle(&mut self, AccountChanged(status): AccountChanged, _: &mut Self::Context) {
        if self.accounts.contains_key(&status.account_id) {
            self.statuses.insert(status.account_id.clone(), (*status).clone());
            self.publish(GatewayEvent::Account(status));
        }
    }
}

/// What the version of WhatsApp Web depends on in the configuration.
fn version_settings(config: &Config) -> ApplyVersion {
    ApplyVersion { pin: config.web_version, on: config.accounts.values().any(|account| account.link.enabled) }
}

impl Handler<VersionRenewed> for GatewayActor {
    type Result = ();

    fn handle(&mut self, VersionRenewed { by_owner }: VersionRenewed, _: &mut Self::Context) {
        for supervisor in self.accounts.values() {
            supervisor.do_send(VersionChanged { at_once: by_owner });
        }
    }
}

impl Handler<SupervisorGone> for GatewayActor {
    type Result = ();

    fn handle(&mut self, SupervisorGone(id): SupervisorGone, ctx: &mut Self::Context) {
        if self.stopping || !self.accounts.contains_key(&id) {
            return;
        }
        let now = self.cx.clock.now();
        let (times, last) = self.fallen.entry(id.clone()).or_insert((0, now));
        if now - *last > STEADY {
            *times = 0;
        }
        (*times, *last) = (*times + 1, now);
        let wait = backoff::delay(&self.config.web.reconnect, *times, rand::random());
        tracing::error!(
            target: "web-reconnect", account = %id, times = *times, ?wait,
            "the account's supervisor failed and is started anew"
        );
        if let Some(status) = self.statuses.get_mut(&id) {
            status.connected = false;
            status.state = "backoff".to_owned();
            status.state_text =
                format!("a part of Verso failed; the account starts again in {} s", wait.as_secs().max(1));
            status.next_step = Some("see what failed: verso logs".to_owned());
            let status = Box::new(status.clone());
            self.publish(GatewayEvent::Account(status));
        }
        ctx.run_later(wait, move |me, ctx| {
            // It may have been taken out of the configuration meanwhile, and put in again.
            if !me.stopping && me.accounts.get(&id).is_some_and(|supervisor| !supervisor.connected()) {
                me.start_account(&id, ctx);
            }
        });
    }
}

#[cfg(feature = "demo")]
#[derive(Message)]
#[rtype(result = "()")]
struct InjectPanicInto {
    account: AccountId,
    which: crate::actors::supervisor::InjectPanic,
}

#[cfg(feature = "demo")]
impl Handler<InjectPanicInto> for GatewayActor {
    type Result = ();

    fn handle(&mut self, inject: InjectPanicInto, _: &mut Self::Context) {
        if let Some(supervisor) = self.accounts.get(&inject.account) {
            supervisor.do_send(inject.which);
        }
    }
}

impl Handler<Shutdown> for GatewayActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Shutdown { grace }: Shutdown, _: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        let accounts: Vec<_> = std::mem::take(&mut self.accounts).into_values().collect();
        let (router, agents) = (self.router.clone(), self.agents.clone());
        let (journal, linking_only) = (self.cx.socket.journal.clone(), self.only.is_some());
        Box::pin(async move {
            if !linking_only {
                starts::forget(&journal).await;
            }
            // What still waits for its writer's next words is answered with the rest.
            let _ = router.send(FlushBatches).await;
            // Running agents may finish and their answers leave before the links close.
            let _ = tokio::time::timeout(grace / 2, agents.send(StopAgents)).await;
            futures::future::join_all(accounts.iter().map(|a| a.send(EndAccount))).await;
            journal.close().await;
        })
    }
}
