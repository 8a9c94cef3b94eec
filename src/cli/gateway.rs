//! `verso gateway`: lock, log, bind, start the actors, serve, and stop within ten seconds of SIGTERM.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix::{System, SystemRunner};
use clap::{Args, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use super::Connection;
use super::channels::account_id;
use super::output::{Failure, Printer};
use super::place::{Place, Reach};
use super::upgrade::{self, Notice};
use crate::actors::gateway::{Boot, Gateway};
use crate::actors::messages::{GatewayEvent, GatewayPort, GetStatus, Reload, Subscribe};
use crate::api::{AgentFacts, ApiHandle, ApiOptions, Bind, Settings, SettingsSource};
use crate::clock::Clock;
use crate::config::file::{self, ConfigSource};
use crate::config::{BindMode, Config, ConsoleStyle, FIRST_CONFIG, LogLevel, LoggingConfig, SessionScope};
use crate::disclosure::SHORTEST;
use crate::ids::AccountId;
use crate::store::lock::GatewayLock;
use crate::telemetry::{self, Telemetry};
use crate::whatsapp::Endpoint;

/// Time for links and runs to end after SIGTERM; with the API's own two seconds it stays below ten.
const GRACE: Duration = Duration::from_secs(7);
/// Exit code after a second signal.
const IMPATIENT: i32 = 130;
/// Arguments of `verso gateway`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct GatewayArgs {
    #[command(subcommand)]
    command: Option<GatewayCommand>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum GatewayCommand {
    /// Run the gateway in the foreground (the default)
    Run(RunArgs),
}

/// How the gateway runs.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Port of the API [default: gateway.port, else 18789]
    #[arg(long, env = "VERSO_GATEWAY_PORT", value_name = "PORT")]
    port: Option<u16>,
    /// Where the API listens [default: gateway.bind, else loopback]
    #[arg(long, env = "VERSO_GATEWAY_BIND", value_enum)]
    bind: Option<BindArg>,
    /// Say more on the console
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BindArg {
    Loopback,
    Lan,
    Tailnet,
    Auto,
}

impl From<BindArg> for Bind {
    fn from(arg: BindArg) -> Self {
        match arg {
            BindArg::Loopback => Self::Loopback,
            BindArg::Lan => Self::Lan,
            BindArg::Tailnet => Self::Tailnet,
            BindArg::Auto => Self::Auto,
        }
    }
}

impl From<BindMode> for Bind {
    fn from(mode: BindMode) -> Self {
        match mode {
            BindMode::Loopback => Self::Loopback,
            BindMode::Lan => Self::Lan,
            BindMode::Tailnet => Self::Tailnet,
            BindMode::Auto => Self::Auto,
        }
    }
}

/// Runs the gateway until a signal ends it.
pub(super) fn run(args: &GatewayArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    let args = match &args.command {
        Some(GatewayCommand::Run(run)) => run,
        None => &args.run,
    };
    let place = Place::of_process();
    super::backup::finish_restore(&place)?;
    first_config(&place, p)?;
    let config = place.config()?.config;
    let lock = GatewayLock::acquire(&place.paths)?;
    let logs = logs(&place, &config.logging, args.verbose.then_some("debug"))?;
    super::open_files::raise();
    super::open_files::check(config.accounts.len());
    let token = connection.token.clone();
    if token.is_none() && place.known_token(Some(&config)).is_none() {
        place.own_token()?;
        p.line(format!("Created an API token in {}", place.paths.gateway_token().display()));
    }
    let port = args.port.unwrap_or(config.gateway.port);
    let bind = args.bind.map_or_else(|| config.gateway.bind.into(), Bind::from);
    let shown = token.clone().or_else(|| place.known_token(Some(&config))).unwrap_or_default();
    if bind != Bind::Loopback && shown.chars().count() < SHORTEST {
        let why =
            format!("the API may be reached from other machines and its token has fewer than {SHORTEST} characters");
        return Err(Failure::new(why).hint("use a longer one, for example the output of: openssl rand -hex 32"));
    }
    let runner = system()?;
    let served = runner.block_on(start(&place, None, bind, port, token, Some(&logs)))?;
    let mut lock = lock;
    lock.note_address(&served.api.address().to_string(), &place.paths)?;
    let unlinked = runner.block_on(unlinked(&served.gateway.port));
    served.api.ready();
    let address = served.api.address();
    tracing::info!(target: telemetry::target::GATEWAY, %address, version = env!("CARGO_PKG_VERSION"), "gateway started");
    p.line(format!("Verso {} listens on ws://{address}", env!("CARGO_PKG_VERSION")));
    p.line(format!("Log file: {}", logs.current_file().display()));
    if let Some(notice) = served.news.as_ref() {
        p.line("Verso was updated. What changes for you (shown once; it stays in the changelog):");
        for line in &notice.lines {
            tracing::info!(target: telemetry::target::GATEWAY, "what changes for you: {line}");
            p.line(format!("  {line}"));
        }
    }
    for account in unlinked {
        p.line(format!("WhatsApp {account} is not linked yet; link it with: verso channels login --account {account}"));
    }
    runner.block_on(async move {
        actix::spawn(async move {
            until_signal(&served.gateway.port).await;
            impatience();
            served.stop("gateway stopping").await;
            System::current().stop();
        });
    });
    let code = runner.run_with_code().map_err(|e| Failure::new(format!("the gateway ended: {e}")))?;
    drop(logs);
    drop(lock);
    match code {
        0 => Ok(()),
        _ => Err(Failure::new("the gateway ended because a part that all accounts depend on failed")
            .hint("start it again: it takes up its work; verso logs or the log file says what failed")),
    }
}

/// A gateway for one account that does nothing but link it, with an API of its own on a free port.
pub(super) fn alone(
    place: &Place,
    account: Option<&str>,
    verbose: bool,
    work: impl AsyncFnOnce(Reach) -> Result<(), Failure>,
) -> Result<(), Failure> {
    super::backup::finish_restore(place)?;
    let config = place.config()?.config;
    let account = account_id(&config, account)?;
    let _lock = GatewayLock::acquire(&place.paths)?;
    let _logs = logs(place, &config.logging, Some(if verbose { "debug" } else { "off" }))?;
    let token: String = rand::random::<[u8; 32]>().iter().map(|b| format!("{b:02x}")).collect();
    let runner = system()?;
    runner.block_on(async {
        let served = start(place, Some(account), Bind::Loopback, 0, Some(token.clone()), None).await?;
        served.api.ready();
        let reach = Reach { url: format!("ws://{}", served.api.address()), token: Some(token), explicit: true };
        let worked = work(reach).await;
        served.stop("login ended").await;
        worked
    })
}

struct Served {
    gateway: Gateway,
    api: ApiHandle,
    /// What an upgrade changes, when nobody was told yet.
    news: Option<Notice>,
}

impl Served {
    async fn stop(self, reason: &str) {
        tokio::join!(self.gateway.stop(GRACE), self.api.stop(reason));
        tracing::info!(target: telemetry::target::GATEWAY, "gateway stopped");
    }
}

/// Binds first: a port that is taken must cost no WhatsApp session.
async fn start(
    place: &Place,
    only: Option<AccountId>,
    bind: Bind,
    port: u16,
    token: Option<String>,
    logs: Option<&Telemetry>,
) -> Result<Served, Failure> {
    let listeners = crate::api::listen(bind, port).map_err(|e| Failure::new(e.to_string()))?;
    // A gateway that only links an account edits nothing.
    let takes_edits = only.is_none();
    // An error means that somebody installed it already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let boot = Boot {
        paths: place.paths.clone(),
        source: place.location.clone(),
        endpoint: endpoint()?,
        clock: Clock::System,
        only,
    };
    // Nothing changes for somebody who begins.
    let (begins, gateway_proper) = (!place.paths.state_db().exists(), boot.only.is_none());
    let gateway = Gateway::start(boot).await.map_err(|e| Failure::new(e.to_string()))?;
    let mut news = upgrade::notice().filter(|_| begins || gateway_proper);
    if let Some(notice) = &news
        && (!gateway.is_news(upgrade::TOLD, &notice.id).await || begins)
    {
        news = None;
    }
    let in_force = Arc::new(RwLock::new(Arc::clone(&gateway.config)));
    follow_reloads(&gateway.port, place.location.clone(), Arc::clone(&in_force)).await;
    let mut options = ApiOptions::new(settings(place.clone(), in_force, token));
    options.config_path = place.location.path.clone();
    options.source = takes_edits.then(|| place.location.clone());
    if let Some(logs) = logs {
        options.log_file = logs.file_source();
    }
    let api = crate::api::serve(options, listeners, gateway.port.clone()).map_err(|e| Failure::new(e.to_string()))?;
    Ok(Served { gateway, api, news })
}

#[cfg(feature = "demo")]
fn endpoint() -> Result<Endpoint, Failure> {
    Endpoint::from_env(std::env::var("VERSO_WHATSAPP_URL").ok().filter(|u| !u.is_empty())).map_err(|e| {
        Failure::new(e.to_string())
            .hint("this is a demo build: set VERSO_WHATSAPP_URL to a server on this machine, or build without the feature demo")
    })
}

#[cfg(not(feature = "demo"))]
fn endpoint() -> Result<Endpoint, Failure> {
    Ok(Endpoint::whatsapp())
}

/// What the API takes from the configuration in force at the moment of the question.
fn settings(place: Place, in_force: Arc<RwLock<Arc<Config>>>, token: Option<String>) -> SettingsSource {
    Arc::new(move || {
        let config = Arc::clone(&in_force.read().unwrap_or_else(PoisonError::into_inner));
        let token = token.clone().or_else(|| place.known_token(Some(&config))).unwrap_or_default();
        Settings {
            token,
            allowed_origins: config.gateway.allowed_origins.clone(),
            agents: config
                .agents
                .list
                .iter()
                .map(|a| AgentFacts {
                    id: a.id.to_string(),
                    name: a.name.clone(),
                    identity_name: a.identity.name.clone(),
                    identity_emoji: a.identity.emoji.clone(),
                })
                .collect(),
            default_agent: config.agents.default.to_string(),
            main_key: config.session.main_key.clone(),
            global_scope: config.session.scope == SessionScope::Global,
        }
    })
}

/// Keeps the API's view of the configuration up with what the gateway accepted.
async fn follow_reloads(port: &GatewayPort, source: ConfigSource, in_force: Arc<RwLock<Arc<Config>>>) {
    let Ok(events) = port.subscribe.send(Subscribe).await else { return };
    let mut events = events.0;
    actix::spawn(async move {
        use tokio::sync::broadcast::error::RecvError;
        loop {
            match events.recv().await {
                Ok(GatewayEvent::Account(_)) => continue,
                Ok(GatewayEvent::Reload(_)) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
            let source = source.clone();
            let read = tokio::task::spawn_blocking(move || file::load_or_first(&source)).await;
            // A refused edit leaves the last good configuration in force, here as there.
            if let Ok(Ok(loaded)) = read {
                let accounts = loaded.config.accounts.len();
                if accounts > in_force.read().unwrap_or_else(PoisonError::into_inner).accounts.len() {
                    super::open_files::check(accounts);
                }
                *in_force.write().unwrap_or_else(PoisonError::into_inner) = loaded.config;
            }
        }
    });
}

async fn unlinked(port: &GatewayPort) -> Vec<AccountId> {
    let Ok(status) = port.status.send(GetStatus).await else { return Vec::new() };
    status.accounts.into_iter().filter(|a| a.enabled && !a.linked).map(|a| a.account_id).collect()
}

/// SIGTERM or SIGINT ends it; SIGHUP reads the configuration.
async fn until_signal(port: &GatewayPort) {
    let on = |kind| signal(kind).map_err(|error| tracing::error!(%error, "signals cannot be watched"));
    let (Ok(mut term), Ok(mut int), Ok(mut hup)) =
        (on(SignalKind::terminate()), on(SignalKind::interrupt()), on(SignalKind::hangup()))
    else {
        return;
    };
    loop {
        tokio::select! {
            _ = term.recv() => return,
            _ = int.recv() => return,
            _ = hup.recv() => {
                if let Ok(Err(refusal)) = port.reload.send(Reload).await {
                    tracing::warn!(target: telemetry::target::CONFIG, %refusal, "reload refused");
                }
            }
        }
    }
}

/// A second signal does not wait.
fn impatience() {
    actix::spawn(async {
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
            return;
        };
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        std::process::exit(IMPATIENT);
    });
}

fn system() -> Result<SystemRunner, Failure> {
    // One failing build of a runtime means that the machine is out of threads or file handles; nothing can run then.
    Ok(System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a machine with threads to spare")
    }))
}

/// Somebody who starts the gateway without a configuration gets one to edit. Where none can be written the gateway runs as if it
/// were there, and takes the file as soon as it appears.
fn first_config(place: &Place, p: &mut Printer<'_>) -> Result<(), Failure> {
    if file::exists(&place.location) {
        return Ok(());
    }
    let path = &place.location.path;
    let cannot = |e: std::io::Error| {
        Failure::new(format!("there is no configuration and none can be written to {}: {e}", path.display()))
            .hint("create the file with at least {}, or set VERSO_CONFIG_PATH to one that exists")
    };
    if let Some(dir) = path.parent() {
        if dir == place.paths.root() {
            crate::store::atomic::private_dir(dir)?;
        }
        std::fs::create_dir_all(dir).map_err(cannot)?;
    }
    match file::replace(path, FIRST_CONFIG) {
        Ok(_) => p.line(format!("Created a first configuration in {}", path.display())),
        Err(e) => p.note(format!(
            "note: {} cannot be written ({e}); running with the defaults until somebody puts a configuration there",
            path.display()
        )),
    }
    Ok(())
}

fn logs(place: &Place, config: &LoggingConfig, console: Option<&str>) -> Result<Telemetry, Failure> {
    let style = match config.console_style {
        ConsoleStyle::Pretty => telemetry::ConsoleStyle::Pretty,
        ConsoleStyle::Compact => telemetry::ConsoleStyle::Compact,
        ConsoleStyle::Json => telemetry::ConsoleStyle::Json,
    };
    let options = telemetry::Options {
        file_level: telemetry::filter_of(level(config.level)),
        console_level: telemetry::filter_of(console.unwrap_or(level(config.console_level))),
        console_style: style,
        file: config.file.clone(),
        fallback_dir: place.paths.root().join("logs"),
    };
    telemetry::init(&options).map_err(|e| Failure::new(format!("cannot log: {e}")))
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Silent => "off",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}
