//! `verso channels`: status, list, start, stop; what else there is has a file of its own.

mod accounts;
mod logout;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, TIMEOUT};
use super::health::config_lines;
use super::login::{self, LoginArgs};
use super::output::{Failure, Printer, Tone, ago, paint, span};
use super::place::Place;
use super::transfer::{self, ExportArgs, ImportArgs};
use super::{Connection, on_client_runtime, only_whatsapp, show};
use accounts::{AddArgs, RemoveArgs};
pub(super) use accounts::{ensure, named, respelled};
use logout::LogoutArgs;

use crate::api::protocol::{CHANNEL, CHANNEL_LABEL, ChannelAccount, StatusIssue};
use crate::clock::{Clock, UnixMs};
use crate::config::Config;
use crate::ids::AccountId;
use crate::policy::handover::HandoverCount;
use crate::policy::phone_watch::{PhoneSeen, PhoneState};
use crate::policy::reason::ignored;
use crate::policy::web_version::{VersionInUse, VersionSource};
use crate::routing::main_session::{self, OwnNumbers};
use crate::store::credentials::{LinkFiles, auth_dir, link_state, unclaimed};
use crate::store::journal::{GaveUp, OutboxCounts, Unreadable};
use crate::text::label;

/// Arguments of `verso channels`.
#[derive(Debug, Args)]
pub struct ChannelsArgs {
    #[command(subcommand)]
    command: ChannelsCommand,
}

#[derive(Debug, Subcommand)]
enum ChannelsCommand {
    /// Show every account: linked, connected, what to do next
    Status(StatusArgs),
    /// List the configured accounts
    List(ListArgs),
    /// Add an account to the configuration, or switch it on again
    Add(AddArgs),
    /// Switch an account off, or delete its entry and its link
    Remove(RemoveArgs),
    /// Link an account by a QR code or by a code for its number; one that is not there yet is added
    Login(LoginArgs),
    /// Unlink an account and delete its credentials
    Logout(LogoutArgs),
    /// Start an account that is stopped or waits for its next try
    Start(AccountArgs),
    /// Stop an account until it is started again
    Stop(AccountArgs),
    /// Take the link of a Baileys program over, without scanning again
    Import(ImportArgs),
    /// Write an account's link as a folder that a Baileys program goes on from
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Ask every account anew
    #[arg(long)]
    probe: bool,
    /// Longest wait in milliseconds
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    timeout: u64,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Accepted for compatibility
    #[arg(long, hide = true)]
    no_usage: bool,
}

#[derive(Debug, Args)]
struct AccountArgs {
    /// Channel
    #[arg(long, default_value = CHANNEL)]
    channel: String,
    /// Account [default: the default account]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ChannelsArgs {
    /// True when a program reads the output.
    pub fn json(&self) -> bool {
        match &self.command {
            ChannelsCommand::Status(a) => a.json,
            ChannelsCommand::List(a) => a.json,
            ChannelsCommand::Login(_) => false,
            ChannelsCommand::Add(a) => a.json,
            ChannelsCommand::Remove(a) => a.json,
            ChannelsCommand::Logout(a) => a.json,
            ChannelsCommand::Start(a) | ChannelsCommand::Stop(a) => a.json,
            ChannelsCommand::Import(a) => a.json,
            ChannelsCommand::Export(a) => a.json,
        }
    }
}

/// Runs `verso channels`.
pub(super) fn run(args: &ChannelsArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    match &args.command {
        // These may need a gateway of their own, which brings its own runtime.
        ChannelsCommand::Add(args) => accounts::add(args, connection, p),
        ChannelsCommand::Remove(args) => accounts::remove_account(args, connection, p),
        ChannelsCommand::Login(args) => login::run(args, connection, p),
        ChannelsCommand::Logout(args) => logout::run(args, connection, p),
        _ => on_client_runtime(run_async(args, connection, p)),
    }
}

/// The same inside a runtime; linking and unlinking go through the gateway only.
pub(super) async fn run_async(
    args: &ChannelsArgs,
    connection: &Connection,
    p: &mut Printer<'_>,
) -> Result<(), Failure> {
    match &args.command {
        ChannelsCommand::Status(args) => status(args, connection, p).await,
        ChannelsCommand::List(_) => list(&Place::of_process(), p),
        ChannelsCommand::Login(args) => login::through(args, &Place::of_process().reach(connection), p).await.map(drop),
        ChannelsCommand::Logout(args) => logout::run_async(args, &Place::of_process().reach(connection), p).await,
        ChannelsCommand::Add(_) | ChannelsCommand::Remove(_) => {
            Err(Failure::usage("accounts are added and removed outside of any runtime"))
        }
        ChannelsCommand::Start(args) => switch("channels.start", args, connection, p).await,
        ChannelsCommand::Stop(args) => switch("channels.stop", args, connection, p).await,
        ChannelsCommand::Import(args) => transfer::import(args, connection, &Place::of_process(), p).await,
        ChannelsCommand::Export(args) => transfer::export(args, &Place::of_process(), p).await,
    }
}

async fn status(args: &StatusArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    let limit = Duration::from_millis(args.timeout);
    let place = Place::of_process();
    let mut client = match Client::connect(&place.reach(connection), limit).await {
        Ok(client) => client,
        Err(error) if error.is_unreachable() => {
            p.note(format!("Gateway not reachable: {error}"));
            return offline(&place, p);
        }
        Err(error) => return Err(error.into()),
    };
    let answer = client.call("channels.status", json!({"probe": args.probe, "timeoutMs": args.timeout}), limit).await?;
    client.close().await;
    let colour = p.colour();
    show(p, &answer, || {
        let mut lines = vec!["Gateway reachable.".to_owned()];
        lines.extend(status_lines(&answer, Clock::System.now(), colour));
        lines
    });
    Ok(())
}

/// What can be said without a gateway.
fn offline(place: &Place, p: &mut Printer<'_>) -> Result<(), Failure> {
    let config = place.config()?.config;
    let accounts: Vec<ChannelAccount> = config.accounts.keys().map(|id| on_disk(place, &config, id)).collect();
    let path = place.location.path.display().to_string();
    let sessions = main_session::told(&config, &own_numbers(place, &config));
    let used = config.accounts.keys().map(|id| folder(place, &config, id)).collect::<Vec<_>>();
    let issues: Vec<StatusIssue> = unclaimed(&place.paths, &used).iter().map(crate::api::unclaimed_issue).collect();
    let value = json!({
        "gatewayReachable": false, "configPath": path, "sessions": sessions, "statusIssues": issues,
        "channelOrder": [CHANNEL], "channelAccounts": {CHANNEL: accounts},
        "channelDefaultAccountId": {CHANNEL: config.default_account},
    });
    show(p, &value, || {
        let mut lines = vec![
            "Gateway not reachable; showing config-only status.".to_owned(),
            format!("Config: {path}"),
            "Mode: local".to_owned(),
        ];
        lines.extend(accounts.iter().map(|a| {
            let mut words = vec![if a.enabled { "enabled" } else { "disabled" }, "configured", linked_word(a)];
            let error = a.last_error.as_ref().map(|error| format!("error:{error}"));
            words.extend(error.as_deref());
            format!("- {}: {}", title(a), words.join(", "))
        }));
        lines.extend(session_lines(&value));
        if !issues.is_empty() {
            lines.push(String::new());
            lines.push("Warnings:".into());
            lines.extend(issues.iter().map(issue_line));
        }
        lines
    });
    Ok(())
}

/// The numbers of the accounts that are linked, as their folders tell.
fn own_numbers(place: &Place, config: &Config) -> OwnNumbers {
    let number = |id: &AccountId| {
        let own = config.account(id).and_then(|a| a.link.auth_dir.as_deref());
        match link_state(&auth_dir(&place.paths, id, own)) {
            LinkFiles::Linked { identity, .. } => identity.number(),
            LinkFiles::NotLinked | LinkFiles::Unusable(_) => None,
        }
    };
    main_session::asks_own_number(config).filter_map(|id| Some((id.clone(), number(id)?))).collect()
}

fn issue_line(issue: &StatusIssue) -> String {
    format!("- {} {}: {} ({})", issue.channel, issue.account_id, issue.message, issue.fix)
}

fn folder(place: &Place, config: &Config, id: &AccountId) -> std::path::PathBuf {
    auth_dir(&place.paths, id, config.account(id).and_then(|a| a.link.auth_dir.as_deref()))
}

fn on_disk(place: &Place, config: &Config, id: &AccountId) -> ChannelAccount {
    let settings = config.account(id);
    let (linked, last_error) = match link_state(&folder(place, config, id)) {
        LinkFiles::Linked { .. } => (true, None),
        LinkFiles::NotLinked => (false, None),
        LinkFiles::Unusable(why) => (false, Some(why)),
    };
    ChannelAccount {
        account_id: id.to_string(),
        name: settings.and_then(|a| a.rules.name.clone()),
        enabled: settings.is_some_and(|a| a.link.enabled),
        configured: true,
        linked,
        last_error,
        ..ChannelAccount::default()
    }
}

fn list(place: &Place, p: &mut Printer<'_>) -> Result<(), Failure> {
    let config = place.config()?.config;
    let accounts: Vec<ChannelAccount> = config.accounts.keys().map(|id| on_disk(place, &config, id)).collect();
    let ids: Vec<&str> = accounts.iter().map(|a| a.account_id.as_str()).collect();
    show(p, &json!({"chat": {CHANNEL: ids}, "auth": []}), || {
        let mut lines = vec!["Chat channels:".to_owned()];
        lines.extend(accounts.iter().map(|a| {
            format!("- {}: {}, {}", title(a), linked_word(a), if a.enabled { "enabled" } else { "disabled" })
        }));
        lines
    });
    Ok(())
}

fn linked_word(account: &ChannelAccount) -> &'static str {
    if account.linked { "linked" } else { "not linked" }
}

fn title(account: &ChannelAccount) -> String {
    match &account.name {
        Some(name) => format!("{CHANNEL_LABEL} {} ({name})", account.account_id),
        None => format!("{CHANNEL_LABEL} {}", account.account_id),
    }
}

/// The accounts of a `channels.status` answer.
pub(super) fn accounts_of(answer: &Value) -> Vec<ChannelAccount> {
    serde_json::from_value(answer["channelAccounts"][CHANNEL].clone()).unwrap_or_default()
}

/// `- WhatsApp default: enabled, configured, linked, running, connected, in:2m ago, ...`
pub(super) fn account_line(account: &ChannelAccount, now: UnixMs, colour: bool) -> String {
    let word = |good: bool, yes: &str, no: &str| {
        let tone = if good { Tone::Good } else { Tone::Bad };
        paint(colour && account.enabled, tone, if good { yes } else { no })
    };
    let mut words: Vec<String> = vec![
        if account.enabled { "enabled" } else { "disabled" }.into(),
        if account.configured { "configured" } else { "not configured" }.into(),
        word(account.linked, "linked", "not linked"),
        word(account.running, "running", "stopped"),
        word(account.connected, "connected", "disconnected"),
    ];
    if !account.connected && !account.state_text.is_empty() && account.state != "not-linked" {
        words.push(format!("state:{}", account.state_text));
    }
    if let Some(at) = account.last_inbound_at {
        words.push(format!("in:{}", ago(at, now)));
    }
    if let Some(at) = account.last_outbound_at {
        words.push(format!("out:{}", ago(at, now)));
    }
    words.extend(phone_word(&account.phone, now));
    if account.listen_only {
        words.push("listen-only".into());
    }
    if !account.dm_policy.is_empty() {
        words.push(format!("dm:{}", account.dm_policy));
    }
    if !account.allow_from.is_empty() {
        let more = account.allow_from.len().saturating_sub(2);
        let shown = account.allow_from.iter().take(2).cloned().collect::<Vec<_>>().join(",");
        words.push(if more > 0 { format!("allow:{shown} (+{more})") } else { format!("allow:{shown}") });
    }
    if let Some(error) = &account.last_error {
        words.push(paint(colour, Tone::Bad, &format!("error:{error}")));
    }
    format!("- {}: {}", title(account), words.join(", "))
}

/// When the phone behind the link was last seen: `phone:2h ago`.
fn phone_word(phone: &PhoneSeen, now: UnixMs) -> Option<String> {
    let seen = phone.last_seen_at?;
    Some(match phone.state {
        PhoneState::Seen => format!("phone:{}", ago(seen, now)),
        PhoneState::Unknown => format!("phone:unknown since {}", ago(seen, now)),
        PhoneState::Silent => format!("phone:silent, last seen {}", ago(seen, now)),
    })
}

/// Why messages were not answered since the gateway's start: `  ignored: not-mentioned 12, dm-not-allowlisted 3`.
fn ignored_line(account: &ChannelAccount) -> Option<String> {
    let reasons = ignored(&account.counters);
    let words: Vec<String> = reasons.iter().map(|(code, n)| format!("{code} {n}")).collect();
    (!words.is_empty()).then(|| format!("  ignored: {} (verso why <message-id> tells more)", words.join(", ")))
}

/// How runs that did not answer ended since the gateway's start: `  runs: failed 2, silent 1; last error 5m ago (main): …`.
fn runs_line(account: &ChannelAccount, now: UnixMs) -> Option<(String, Tone)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (code, n) in account.agents.values().flat_map(|tally| &tally.outcomes).filter(|(code, _)| *code != "answered") {
        *counts.entry(code).or_default() += n;
    }
    if counts.is_empty() {
        return None;
    }
    let words: Vec<String> = counts.iter().map(|(code, n)| format!("{code} {n}")).collect();
    let errors = account.agents.iter().filter_map(|(agent, tally)| Some((agent, tally.last_error.as_ref()?)));
    let last = errors.max_by_key(|(_, error)| error.at);
    let last = last.map(|(agent, error)| {
        format!("; last error {} ({agent}): {}", ago(error.at, now), label::line(&error.failure.cause))
    });
    let tone = if account.agents.values().any(|tally| tally.failing) { Tone::Bad } else { Tone::Faint };
    Some((format!("  runs: {}{}", words.join(", "), last.unwrap_or_default()), tone))
}

/// What an account has not got rid of: `  outbox: 2 waiting, 1 failed`.
fn outbox_line(account: &ChannelAccount) -> Option<String> {
    let OutboxCounts { waiting, failed, expired } = account.outbox;
    let counts = [(waiting, "waiting"), (failed, "failed"), (expired, "expired")];
    let words: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    (!words.is_empty()).then(|| format!("  outbox: {}", words.join(", ")))
}

/// Where the owner takes part: `  handover: the agent keeps silent in 2 chats that you wrote in, for 8 min at most (..)`.
fn handover_line(account: &ChannelAccount, now: UnixMs) -> Option<String> {
    let HandoverCount { chats, until } = account.handover;
    let until = until.filter(|_| chats > 0)?;
    let minutes = (until - now).max(0).div_euclid(60_000) + 1;
    let chats = if chats == 1 { "1 chat".to_owned() } else { format!("{chats} chats") };
    Some(format!(
        "  handover: the agent keeps silent in {chats} that you wrote in, for {minutes} min at most (channels.whatsapp.handover.minutes)"
    ))
}

/// Chats whose answers no phone confirms: `  unconfirmed: 1 chat: ***0002 (2 messages since 12m ago); …`.
fn unconfirmed_line(account: &ChannelAccount, now: UnixMs) -> Option<String> {
    const SHOWN: usize = 5;
    let chats = &account.unconfirmed;
    let plural = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    let shown: Vec<String> = chats
        .iter()
        .take(SHOWN)
        .map(|chat| format!("{} ({} since {})", chat.chat, plural(chat.messages, "message"), span(now - chat.since)))
        .collect();
    let more = chats.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(", {more} more") } else { String::new() };
    (!chats.is_empty()).then(|| {
        format!(
            "  unconfirmed: {}: {}{more}; WhatsApp took them, but no phone has confirmed them (it may be off)",
            plural(chats.len(), "chat"),
            shown.join(", ")
        )
    })
}

/// Messages that came to nothing through Verso: `  set aside: 2 messages: 3EB0… (poison), 3EB1… (unreadable)`.
fn aside_line(account: &ChannelAccount) -> Option<String> {
    let aside = &account.set_aside;
    let named: Vec<String> = aside.newest.iter().take(5).map(|m| format!("{} ({})", m.message_id, m.reason)).collect();
    let more = if aside.total > named.len() as u64 { ", …" } else { "" };
    let what = if aside.total == 1 { "message" } else { "messages" };
    (aside.total > 0).then(|| {
        format!("  set aside: {} {what}: {}{more} (verso why <message-id> tells more)", aside.total, named.join(", "))
    })
}

/// What of the journal could not be read: `Unreadable in state.db since the start: 1 of inbound, 2 of facts.`
fn unreadable_line(answer: &Value) -> Option<String> {
    let rows: Unreadable = serde_json::from_value(answer["unreadableRows"].clone()).unwrap_or_default();
    let tables = [(rows.inbound, "inbound"), (rows.outbox, "outbox"), (rows.facts, "facts")];
    let words: Vec<String> =
        tables.iter().filter(|(n, _)| *n > 0).map(|(n, table)| format!("{n} of {table}")).collect();
    (!words.is_empty()).then(|| {
        format!(
            "Rows of state.db that could not be read since the start: {}. The others are served; verso logs names them.",
            words.join(", ")
        )
    })
}

/// `WhatsApp Web 2.3000.1044017588 (looked up 3h ago)`, and how the last look-up failed.
fn version_line(shown: &Value, now: UnixMs) -> Option<String> {
    let VersionInUse { version, source, since } = serde_json::from_value(shown.clone()).ok()?;
    let words = match since {
        Some(since) if source == VersionSource::BuiltIn => format!("{}, {} old", source.words(), span(now - since)),
        Some(since) => format!("{} {}", source.words(), ago(since, now)),
        None => source.words().to_owned(),
    };
    let failed = shown["lastError"].as_str().map(|error| format!("; not renewed: {error}")).unwrap_or_default();
    Some(format!("WhatsApp Web {version} ({words}){failed}"))
}

/// What was given up: `  given up: 1 to be sent, 2 to be answered, linked to another number (5m ago)`.
fn gave_up_line(account: &ChannelAccount, now: UnixMs) -> Option<String> {
    let GaveUp { parts, messages, at } = account.gave_up?;
    let counts = [(parts, "to be sent"), (messages, "to be answered")];
    let words: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    Some(format!("  given up: {}; linked to another number ({})", words.join(", "), ago(at, now)))
}

/// Everything below `Gateway reachable.`
pub(super) fn status_lines(answer: &Value, now: UnixMs, colour: bool) -> Vec<String> {
    let accounts = accounts_of(answer);
    let mut lines = Vec::new();
    for account in &accounts {
        lines.push(account_line(account, now, colour));
        let unsent = account.outbox.failed + account.outbox.expired > 0;
        let tone = if unsent { Tone::Bad } else { Tone::Faint };
        lines.extend(outbox_line(account).map(|line| paint(colour, tone, &line)));
        lines.extend(handover_line(account, now).map(|line| paint(colour, Tone::Faint, &line)));
        lines.extend(unconfirmed_line(account, now).map(|line| paint(colour, Tone::Bad, &line)));
        lines.extend(runs_line(account, now).map(|(line, tone)| paint(colour, tone, &line)));
        lines.extend(gave_up_line(account, now).map(|line| paint(colour, Tone::Bad, &line)));
        lines.extend(ignored_line(account).map(|line| paint(colour, Tone::Faint, &line)));
        lines.extend(aside_line(account).map(|line| paint(colour, Tone::Bad, &line)));
    }
    if lines.is_empty() {
        lines.push("No accounts configured.".into());
    }
    lines.extend(version_line(&answer["webVersion"], now));
    let issues: Vec<StatusIssue> = serde_json::from_value(answer["statusIssues"].clone()).unwrap_or_default();
    if !issues.is_empty() {
        lines.push(String::new());
        lines.push("Warnings:".into());
        lines.extend(issues.iter().map(issue_line));
        lines.push("- Run: verso logs --follow".into());
    }
    lines.extend(unreadable_line(answer).map(|line| paint(colour, Tone::Bad, &line)));
    let sessions = session_lines(answer);
    if !sessions.is_empty() {
        lines.push(String::new());
        lines.extend(sessions);
    }
    let config = config_lines(answer);
    if !config.is_empty() {
        lines.push(String::new());
        lines.extend(config);
    }
    lines
}

/// Agents whose sessions are told of; those that several people share are told of in any case.
const SHOWN_AGENTS: usize = 5;

/// Who shares a session with whom: `- agent main: the main session is +1555…'s; …`.
fn session_lines(answer: &Value) -> Vec<String> {
    let all = answer["sessions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = all.iter().enumerate().filter(|(n, one)| *n < SHOWN_AGENTS || one["shared"] == true);
    let mut lines: Vec<String> = shown
        .map(|(_, one)| {
            let warning = if one["shared"] == true { "warning: " } else { "" };
            let text = |key: &str| one[key].as_str().unwrap_or_default();
            format!("- {warning}agent {}: {}", text("agentId"), text("text"))
        })
        .collect();
    let more = all.len() - lines.len();
    if more > 0 {
        lines.push(format!("- and {more} more agents (--json tells of all)"));
    }
    if !lines.is_empty() {
        lines.insert(0, "Sessions:".into());
    }
    lines
}

async fn switch(method: &str, args: &AccountArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    only_whatsapp(&args.channel)?;
    let mut client = Client::connect(&Place::of_process().reach(connection), TIMEOUT).await?;
    let answer = client.call(method, json!({"channel": CHANNEL, "accountId": args.account}), TIMEOUT * 2).await?;
    client.close().await;
    show(p, &answer, || {
        let account = answer["accountId"].as_str().unwrap_or_default();
        vec![match (answer["started"].as_bool(), answer["stopped"].as_bool()) {
            (Some(true), _) => format!("Started {CHANNEL_LABEL} {account}."),
            (Some(false), _) => format!(
                "{CHANNEL_LABEL} {account} is not linked; link it with: verso channels login --account {account}"
            ),
            _ => format!("Stopped {CHANNEL_LABEL} {account}."),
        }]
    });
    Ok(())
}

/// The account that is meant.
pub(super) fn account_id(config: &Config, typed: Option<&str>) -> Result<AccountId, Failure> {
    let Some(typed) = typed else { return Ok(config.default_account.clone()) };
    let id = AccountId::new(typed);
    if config.accounts.contains_key(&id) {
        return Ok(id);
    }
    let known: Vec<&str> = config.accounts.keys().map(AccountId::as_str).collect();
    Err(Failure::new(format!("unknown account \"{typed}\"; configured: {}", known.join(", ")))
        .hint(format!("add it with: verso channels add {id}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::messages::UnconfirmedChat;

    #[test]
    fn the_status_tells_when_the_phone_was_seen() {
        const HOUR: UnixMs = 3_600_000;
        let line = |state, last_seen_at| {
            let phone = PhoneSeen { state, last_seen_at, ..PhoneSeen::default() };
            account_line(&ChannelAccount { phone, ..ChannelAccount::default() }, 300 * HOUR, false)
        };
        for (state, at, word) in [
            (PhoneState::Seen, Some(298 * HOUR), "phone:2h ago"),
            (PhoneState::Unknown, Some(0), "phone:unknown since 12d ago"),
            (PhoneState::Silent, Some(0), "phone:silent, last seen 12d ago"),
        ] {
            let line = line(state, at);
            assert!(line.contains(word), "{line}");
        }
        assert!(!line(PhoneState::Unknown, None).contains("phone"), "nothing is known and nothing said");
    }

    #[test]
    fn the_status_tells_the_version_its_source_and_its_age() {
        const HOUR: UnixMs = 3_600_000;
        let line = |source: &str, since: Value, error: Value| {
            let shown = json!({"version": "2.3000.1044017588", "source": source, "since": since, "lastError": error, "ageMs": 0});
            version_line(&shown, 30 * HOUR)
        };
        for (source, since, error, told) in [
            ("looked-up", json!(27 * HOUR), Value::Null, "(looked up 3h ago)"),
            (
                "cached",
                json!(28 * HOUR),
                json!("no route"),
                "(kept from an earlier look-up 2h ago); not renewed: no route",
            ),
            ("pinned", Value::Null, Value::Null, "(pinned by web.version)"),
            ("built-in", json!(0), Value::Null, "(built in, 1d old)"),
        ] {
            assert_eq!(line(source, since, error), Some(format!("WhatsApp Web 2.3000.1044017588 {told}")));
        }
        assert_eq!(version_line(&Value::Null, 0), None, "an older gateway does not say");
    }

    #[test]
    fn the_status_names_the_chats_that_stay_unconfirmed() {
        const MINUTE: UnixMs = 60_000;
        let chat = |n: usize| UnconfirmedChat { chat: format!("12…{n}@lid"), messages: n, since: MINUTE };
        let line = |chats: usize| {
            let account = ChannelAccount { unconfirmed: (1..=chats).map(chat).collect(), ..ChannelAccount::default() };
            unconfirmed_line(&account, 13 * MINUTE)
        };
        assert_eq!(line(0), None);
        let one = line(1).expect("a line");
        assert!(one.starts_with("  unconfirmed: 1 chat: 12…1@lid (1 message since 12m);"), "{one}");
        let many = line(7).expect("a line");
        assert!(many.contains("7 chats: ") && many.contains("12…5@lid (5 messages since 12m), 2 more;"), "{many}");
    }

    #[test]
    fn the_status_tells_what_an_account_has_not_got_rid_of() {
        let account = |id: &str, waiting, failed| ChannelAccount {
            account_id: id.into(),
            outbox: OutboxCounts { waiting, failed, expired: 0 },
            ..ChannelAccount::default()
        };
        let answer = json!({"channelAccounts": {CHANNEL: [account("a", 2, 1), account("b", 0, 0)]}});
        let lines = status_lines(&answer, 0, false);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[1], "  outbox: 2 waiting, 1 failed");
    }
}
