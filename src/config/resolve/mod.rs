//! As written → as meant: resolve first (account over channel), default last. Merging and defaulting happen nowhere else.

mod account;
mod admission;
mod agents;
mod credentials;
mod session;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::model::*;
use super::problem::{Findings, KeyPath};
use super::raw::*;
use crate::policy::web_version::BUILT_IN;
use crate::routing::main_session;
use account::Accounts;
pub(super) use agents::clock_text;

/// What a config's relative things relate to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveEnv {
    /// Home folder, for `~`.
    pub home: PathBuf,
    /// State folder; relative paths in the config start here.
    pub state_dir: PathBuf,
    /// Folder of the credentials (`VERSO_OAUTH_DIR`, else `credentials` in the state folder).
    pub credentials: PathBuf,
    /// Folder of the account `default`, when it holds a link: such an account goes on without being listed (behaviour.md 24.9).
    pub default_link: Option<PathBuf>,
    /// Token of the API from outside the file (`VERSO_GATEWAY_TOKEN`); the file's own wins.
    pub gateway_token: Option<String>,
}

impl ResolveEnv {
    /// An environment without a token and without a link.
    pub fn new(home: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        let state_dir = state_dir.into();
        let credentials = state_dir.join("credentials");
        Self { home: home.into(), state_dir, credentials, default_link: None, gateway_token: None }
    }

    /// The folder of an account: its own `authDir`, else the usual place.
    pub fn account_dir(&self, account: &AccountConfig) -> PathBuf {
        let usual = || self.credentials.join("whatsapp").join(account.id.as_str());
        account.link.auth_dir.clone().unwrap_or_else(usual)
    }

    /// `~` and `~/…` are the home folder, other relative paths start at the state folder.
    pub fn expand(&self, path: &str) -> PathBuf {
        let path = path.trim();
        if path == "~" {
            return self.home.clone();
        }
        match path.strip_prefix("~/") {
            Some(rest) => self.home.join(rest),
            None => self.state_dir.join(Path::new(path)),
        }
    }
}

/// A config and what the rules had to say about it. With problems in it, the config is incomplete and must not be used.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Every value final.
    pub config: Config,
    /// Problems and warnings, each with its key.
    pub findings: Findings,
}

/// Turns the file as written into the config as meant. Total: odd values become findings, never panics.
pub fn resolve(raw: &RawConfig, env: &ResolveEnv) -> Resolved {
    let mut findings = Findings::default();
    super::validate::validate(raw, env, &mut findings);
    let Accounts { all: accounts, default: default_account, unlisted: unlisted_default } =
        account::accounts(raw, env, &mut findings);
    let providers = agents::providers(raw, &mut findings);
    let agents = agents::agents(raw, env, &providers, &mut findings);
    let bindings = agents::bindings(raw, &agents, &accounts, &mut findings);
    let broadcast = agents::broadcast(raw, &agents, &mut findings);
    let mut config = Config {
        web: web(raw, &mut findings),
        web_version: web_version(raw, &mut findings),
        accounts,
        default_account,
        unlisted_default,
        bindings,
        broadcast,
        reach: BTreeMap::new(),
        agents,
        messages: session::messages(raw),
        session: session::session(raw),
        commands: commands(raw, &mut findings),
        gateway: gateway(raw, env),
        providers,
        logging: logging(raw, env),
        retention: retention(raw),
        written: Default::default(),
    };
    config.reach = main_session::reach(&config);
    session::shared_by_several(&config, &mut findings);
    dedup(&mut findings.problems);
    dedup(&mut findings.warnings);
    Resolved { config, findings }
}

/// A value of the channel is read once per account and must be reported once.
fn dedup(findings: &mut Vec<super::problem::Finding>) {
    let mut seen = std::collections::HashSet::new();
    findings.retain(|f| seen.insert((f.path.clone(), f.message.clone())));
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Seconds, minutes and the like from the file, where only the schema keeps them within bounds.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.clamp(0.0, 1e9)).unwrap_or_default()
}

/// Reads `30m`, `90s`, `1.5h`, `250ms`, `2d`; a bare number is minutes, empty is zero. `None` when it is no duration.
pub fn duration_text(text: &str) -> Option<Duration> {
    let text = text.trim().to_lowercase();
    if text.is_empty() {
        return Some(Duration::ZERO);
    }
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let unit = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "" | "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64((number * unit * 1000.0).round() / 1000.0).ok()
}

/// The pinned version. One that is wrong is a problem, one that is old a warning: WhatsApp refuses it.
fn web_version(raw: &RawConfig, findings: &mut Findings) -> Option<WebVersion> {
    let written = raw.web.as_ref()?.version.as_ref()?;
    let at = KeyPath::of(&["web", "version"]);
    match WebVersion::from_value(written) {
        Ok(version) => {
            if version < BUILT_IN {
                let text =
                    format!("{version} is older than the version built in ({BUILT_IN}); WhatsApp refuses old versions");
                findings.warn(at, text);
            }
            Some(version)
        }
        Err(error) => {
            findings.problem(
                at,
                error.to_string(),
                "write it as WhatsApp Web shows it, such as \"2.3000.1044017588\"; without the key Verso looks the current version up",
            );
            None
        }
    }
}

fn web(raw: &RawConfig, findings: &mut Findings) -> WebConfig {
    let web = raw.web.clone().unwrap_or_default();
    let reconnect = web.reconnect.clone().unwrap_or_default();
    let policy = reconnect_policy(&reconnect);
    let at = KeyPath::of(&["web", "reconnect"]);
    let mut clamped = |key: &str, asked: Option<f64>, used: f64| {
        if let Some(asked) = asked.filter(|a| (a - used).abs() > 0.5_f64.min(used / 1000.0)) {
            findings.warn(at.key(key), format!("{asked} is out of bounds; {used} is used"));
        }
    };
    clamped("initialMs", reconnect.initial_ms, policy.initial.as_millis() as f64);
    clamped("maxMs", reconnect.max_ms, policy.max.as_millis() as f64);
    clamped("factor", reconnect.factor, policy.factor);
    clamped("jitter", reconnect.jitter, policy.jitter);
    WebConfig {
        enabled: web.enabled.unwrap_or(true),
        heartbeat: heartbeat_interval(web.heartbeat_seconds),
        reconnect: policy,
    }
}

/// The bounds of behaviour.md 5.4.
fn reconnect_policy(raw: &ReconnectRaw) -> ReconnectPolicy {
    let number = |v: Option<f64>, default: f64| v.filter(|v| v.is_finite()).unwrap_or(default);
    let ms = |v: f64| millis(v.clamp(0.0, 1e12).round() as u64);
    let initial = ms(number(raw.initial_ms, 2000.0).max(250.0));
    let probe = number(raw.slow_probe_seconds, 300.0);
    ReconnectPolicy {
        initial,
        max: ms(number(raw.max_ms, 30000.0)).max(initial),
        factor: number(raw.factor, 1.8).clamp(1.1, 10.0),
        jitter: number(raw.jitter, 0.25).clamp(0.0, 1.0),
        max_attempts: number(raw.max_attempts, 12.0).clamp(0.0, f64::from(u32::MAX)).floor() as u32,
        slow_probe: (probe > 0.0).then(|| seconds(probe)),
    }
}

fn heartbeat_interval(asked: Option<f64>) -> Duration {
    seconds(asked.filter(|s| s.is_finite() && *s > 0.0).unwrap_or(60.0))
}

fn commands(raw: &RawConfig, findings: &mut Findings) -> CommandsConfig {
    let c = raw.commands.clone().unwrap_or_default();
    let at = KeyPath::of(&["commands", "ownerAllowFrom"]);
    CommandsConfig {
        config: c.config.unwrap_or(false),
        debug: c.debug.unwrap_or(false),
        restart: c.restart.unwrap_or(false),
        text: c.text.unwrap_or(true),
        use_access_groups: c.use_access_groups.unwrap_or(true),
        owner_allow_from: c.owner_allow_from.map(|list| account::allow_list(&list, &at, findings)),
    }
}

fn gateway(raw: &RawConfig, env: &ResolveEnv) -> GatewayConfig {
    let g = raw.gateway.clone().unwrap_or_default();
    let reload = g.reload.unwrap_or_default();
    let own = g.auth.and_then(|a| a.token).filter(|t| !t.trim().is_empty());
    GatewayConfig {
        port: g.port.and_then(|p| u16::try_from(p).ok()).unwrap_or(18789),
        bind: match g.bind {
            None | Some(BindRaw::Loopback) => BindMode::Loopback,
            Some(BindRaw::Lan) => BindMode::Lan,
            Some(BindRaw::Tailnet) => BindMode::Tailnet,
            Some(BindRaw::Auto) => BindMode::Auto,
        },
        token: own.or_else(|| env.gateway_token.clone()).map(|t| Secret::new(&t)),
        allowed_origins: g.control_ui.and_then(|c| c.allowed_origins).unwrap_or_default(),
        reload: ReloadConfig {
            mode: if reload.mode == Some(ReloadModeRaw::Off) { ReloadMode::Off } else { ReloadMode::Live },
            debounce: millis(reload.debounce_ms.unwrap_or(100).into()),
            poll: seconds(reload.poll_seconds.unwrap_or(30.0)).max(millis(100)),
        },
    }
}

fn logging(raw: &RawConfig, env: &ResolveEnv) -> LoggingConfig {
    let l = raw.logging.clone().unwrap_or_default();
    let level = |v: Option<LevelRaw>| match v {
        None | Some(LevelRaw::Info) => LogLevel::Info,
        Some(LevelRaw::Silent) => LogLevel::Silent,
        Some(LevelRaw::Fatal | LevelRaw::Error) => LogLevel::Error,
        Some(LevelRaw::Warn) => LogLevel::Warn,
        Some(LevelRaw::Debug) => LogLevel::Debug,
        Some(LevelRaw::Trace) => LogLevel::Trace,
    };
    LoggingConfig {
        level: level(l.level),
        file: l.file.filter(|f| !f.trim().is_empty()).map(|f| env.expand(&f)),
        console_level: level(l.console_level),
        console_style: match l.console_style {
            None | Some(ConsoleStyleRaw::Pretty) => ConsoleStyle::Pretty,
            Some(ConsoleStyleRaw::Compact) => ConsoleStyle::Compact,
            Some(ConsoleStyleRaw::Json) => ConsoleStyle::Json,
        },
        redact: l.redact_sensitive != Some(RedactRaw::Off),
        redact_patterns: l.redact_patterns.unwrap_or_default(),
    }
}

fn retention(raw: &RawConfig) -> RetentionConfig {
    let r = raw.retention.clone().unwrap_or_default();
    let days = |d: f64| seconds(d * 86400.0);
    let journal = days(r.journal_days.unwrap_or(14.0));
    RetentionConfig {
        journal,
        bodies: r.body_days.map_or(journal, |d| days(d).min(journal)),
        media: days(r.media_days.unwrap_or(30.0)),
        media_max_bytes: u64::from(r.media_max_mb.unwrap_or(1024)) * 1024 * 1024,
        outbox: seconds(r.outbox_hours.unwrap_or(24.0) * 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cases(function: &str) -> Vec<(Value, Value)> {
        let file: Value = serde_json::from_str(include_str!("../../../tests/vectors/backoff.json")).unwrap();
        let group = file["groups"].as_array().unwrap().iter().find(|g| g["fn"] == function).unwrap();
        group["cases"].as_array().unwrap().iter().map(|c| (c["input"].clone(), c["expected"].clone())).collect()
    }

    #[test]
    fn reconnect_policy_keeps_its_bounds() {
        for (input, expected) in cases("resolveReconnectPolicy") {
            let raw: ReconnectRaw =
                serde_json::from_value(input.get("reconnect").cloned().unwrap_or(json!({}))).unwrap();
            let found = reconnect_policy(&raw);
            assert_eq!(found.initial.as_millis() as u64, expected["initialMs"], "{input}");
            assert_eq!(found.max.as_millis() as u64, expected["maxMs"], "{input}");
            assert_eq!(found.factor, expected["factor"], "{input}");
            assert_eq!(found.jitter, expected["jitter"].as_f64().unwrap(), "{input}");
            assert_eq!(found.max_attempts, expected["maxAttempts"], "{input}");
        }
    }

    #[test]
    fn heartbeat_interval_needs_a_positive_number() {
        for (input, expected) in cases("resolveHeartbeatSeconds") {
            let found = heartbeat_interval(input["heartbeatSeconds"].as_f64());
            assert_eq!(Some(found.as_secs_f64()), expected.as_f64(), "{input}");
        }
    }
}
