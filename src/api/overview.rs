//! The state of everything, in the shapes that clients know: `health`, `status`, `channels.status`, presence, agents, sessions.

use serde_json::{Value, json};

use super::params::Params;
use super::protocol::{
    CHANNEL, CHANNEL_LABEL, ChannelAccount, ErrorShape, OwnIdentity, Presence, SessionDefaults, Snapshot, StatusIssue,
};
use super::server::Api;
use super::settings::Settings;
use crate::actors::messages::{AccountStatus, GatewayStatus};
use crate::clock::UnixMs;
use crate::ids::AccountId;
use crate::policy::phone_watch::WAKE_THE_PHONE;
use crate::policy::reason::ignored;
use crate::store::credentials::Unclaimed;

async fn gateway(api: &Api) -> Result<GatewayStatus, ErrorShape> {
    api.status().await.ok_or_else(|| ErrorShape::unavailable("the gateway is stopping"))
}

/// One account in the words of the wire.
pub fn account(status: &AccountStatus) -> ChannelAccount {
    ChannelAccount {
        account_id: status.account_id.to_string(),
        name: status.name.clone(),
        enabled: status.enabled,
        configured: true,
        linked: status.linked,
        running: status.running,
        connected: status.connected,
        state: status.state.clone(),
        state_text: status.state_text.clone(),
        next_step: status.next_step.clone(),
        reconnect_attempts: status.reconnect_attempts,
        sockets_opened: status.sockets_opened,
        last_connected_at: status.last_connected_at,
        last_disconnect: status.last_disconnect.as_ref().map(|d| json!(d)),
        last_message_at: status.last_message_at,
        last_event_at: status.last_event_at,
        last_error: status.last_error.clone(),
        last_start_at: status.last_start_at,
        last_stop_at: status.last_stop_at,
        last_inbound_at: status.last_inbound_at,
        last_outbound_at: status.last_outbound_at,
        auth_age_ms: status.auth_age_ms,
        own: OwnIdentity {
            e164: status.self_number.as_ref().map(ToString::to_string),
            jid: status.self_jid.as_ref().map(ToString::to_string),
            lid: status.self_lid.as_ref().map(ToString::to_string),
        },
        dm_policy: status.dm_policy.clone(),
        allow_from: status.allow_from.clone(),
        counters: status.counters.clone(),
        agents: status.agents.iter().map(|(id, tally)| (id.to_string(), tally.clone())).collect(),
        unsaved: status.unsaved.clone(),
        phone: status.phone.clone(),
        outbox: status.outbox,
        handover: status.handover,
        listen_only: status.listen_only,
        unconfirmed: status.unconfirmed.clone(),
        set_aside: status.set_aside.clone(),
        gave_up: status.gave_up,
    }
}

/// The channel as a whole is what its default account is; configured means linked there.
fn channel_summary(status: &GatewayStatus) -> Value {
    let default = status.accounts.iter().find(|a| a.account_id == status.default_account);
    let mut summary = json!(default.map(account).unwrap_or_else(|| ChannelAccount {
        account_id: status.default_account.to_string(),
        last_error: Some("not configured".into()),
        ..ChannelAccount::default()
    }));
    summary["configured"] = summary["linked"].clone();
    summary
}

/// The object of method and event `health`.
pub(super) fn health(api: &Api, status: &GatewayStatus, took_ms: i64) -> Value {
    let settings = (api.settings)();
    let mut channel = channel_summary(status);
    channel["accounts"] = status
        .accounts
        .iter()
        .map(|a| (a.account_id.to_string(), json!(account(a))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let sessions = json!({"path": "", "count": 0, "recent": []});
    json!({
        "ok": true,
        "ts": api.clock.now(),
        "durationMs": took_ms,
        "channels": {CHANNEL: channel},
        "channelOrder": [CHANNEL],
        "channelLabels": {CHANNEL: CHANNEL_LABEL},
        "heartbeatSeconds": 0,
        "defaultAgentId": settings.default_agent,
        "agents": settings.agents.iter().map(|a| json!({
            "agentId": a.id, "isDefault": a.id == settings.default_agent, "sessions": sessions,
            "heartbeat": {"enabled": false, "every": "disabled", "everyMs": null, "target": "none"},
        })).collect::<Vec<_>>(),
        "sessions": sessions,
    })
}

/// Method `health`.
pub(super) async fn health_now(api: &Api) -> Result<Value, ErrorShape> {
    let asked = api.clock.now();
    let status = gateway(api).await?;
    Ok(health(api, &status, (api.clock.now() - asked).max(0)))
}

/// Method `status`.
pub(super) async fn status(api: &Api) -> Result<Value, ErrorShape> {
    let status = gateway(api).await?;
    let settings = (api.settings)();
    let default = status.accounts.iter().find(|a| a.account_id == status.default_account);
    let summary: Vec<String> = status
        .accounts
        .iter()
        .map(|a| {
            let linked = if a.linked { "linked" } else { "not linked" };
            if status.accounts.len() == 1 {
                format!("{CHANNEL_LABEL}: {linked}")
            } else {
                format!("{CHANNEL_LABEL} {}: {linked}", a.account_id)
            }
        })
        .collect();
    let mut answer = json!({
        "linkChannel": {
            "id": CHANNEL, "label": CHANNEL_LABEL,
            "linked": default.is_some_and(|a| a.linked), "authAgeMs": default.and_then(|a| a.auth_age_ms),
        },
        "heartbeat": {"defaultAgentId": settings.default_agent, "agents": []},
        "channelSummary": summary,
        "queuedSystemEvents": [],
        "sessions": {"paths": [], "count": 0, "defaults": {"model": null, "contextTokens": null}, "recent": [], "byAgent": []},
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeMs": (api.clock.now() - status.started_at).max(0),
        "revision": status.revision,
        "lastReload": status.last_reload,
        "configProblems": status.config_problems,
        "ignored": ignored_by_account(&status),
        "webVersion": web_version(&status, api.clock.now()),
    });
    unreadable(&mut answer, &status);
    Ok(answer)
}

/// Messages that nobody answers since the start, by account and reason.
fn ignored_by_account(status: &GatewayStatus) -> Value {
    let of = |a: &AccountStatus| {
        let reasons = ignored(&a.counters).into_iter().map(|(code, n)| (code.to_owned(), json!(n)));
        (a.account_id.to_string(), Value::Object(reasons.collect()))
    };
    Value::Object(status.accounts.iter().map(of).collect())
}

/// The version of WhatsApp Web that accounts report, where it comes from and how old that is.
fn web_version(status: &GatewayStatus, now: UnixMs) -> Value {
    let mut shown = json!(status.web_version);
    shown["ageMs"] = json!(status.web_version.in_use.since.map(|since| (now - since).max(0)));
    shown
}

/// Method `channels.status`.
pub(super) async fn channels_status(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    params.only(&["probe", "timeoutMs", "channel"])?;
    params.channel()?;
    params.flag("probe")?;
    params.number("timeoutMs")?;
    let status = gateway(api).await?;
    let accounts: Vec<ChannelAccount> = status.accounts.iter().map(account).collect();
    let now = api.clock.now();
    let default = status.default_account.as_str();
    let of_account = |a| issue_among(a, default).into_iter().chain(unsaved(a)).chain(failing(a, now));
    let mut issues: Vec<StatusIssue> = accounts.iter().flat_map(of_account).collect();
    issues.extend(status.unclaimed.iter().map(unclaimed_issue));
    issues.extend(stuck(&status));
    let mut answer = json!({
        "ts": api.clock.now(),
        "channelOrder": [CHANNEL],
        "channelLabels": {CHANNEL: CHANNEL_LABEL},
        "channelDetailLabels": {CHANNEL: "WhatsApp Web"},
        "channelSystemImages": {CHANNEL: "message"},
        "channelMeta": [{"id": CHANNEL, "label": CHANNEL_LABEL, "detailLabel": "WhatsApp Web", "systemImage": "message"}],
        "channels": {CHANNEL: channel_summary(&status)},
        "channelAccounts": {CHANNEL: accounts},
        "channelDefaultAccountId": {CHANNEL: status.default_account},
        "unlistedDefault": status.unlisted_default,
        "statusIssues": issues,
        "sessions": status.sessions,
        "webVersion": web_version(&status, api.clock.now()),
        "revision": status.revision,
        "lastReload": status.last_reload,
        "configProblems": status.config_problems,
    });
    unreadable(&mut answer, &status);
    Ok(answer)
}

/// Rows of the journal that could not be read since the start (`unreadableRows`); absent when there is none.
fn unreadable(answer: &mut Value, status: &GatewayStatus) {
    if status.unreadable != Default::default() {
        answer["unreadableRows"] = json!(status.unreadable);
    }
}

/// Conversions that never end.
fn stuck(status: &GatewayStatus) -> Option<StatusIssue> {
    let stuck = status.stuck_conversions;
    (stuck > 0).then(|| StatusIssue {
        channel: CHANNEL.to_owned(),
        account_id: status.default_account.to_string(),
        kind: "media".to_owned(),
        message: format!(
            "{stuck} conversions of files to send hang (see the log); at 4 of them no file is converted any more."
        ),
        fix: "Restart Verso.".to_owned(),
    })
}

/// As `issue_among` where `default` is meant when no account is named.
pub fn issue(account: &ChannelAccount) -> Option<StatusIssue> {
    issue_among(account, AccountId::DEFAULT)
}

/// What is wrong with an account and how to mend it; `None` when nothing is. The account that is meant when none is named, `default`,
/// need not be named.
fn issue_among(account: &ChannelAccount, default: &str) -> Option<StatusIssue> {
    if !account.enabled {
        return None;
    }
    let (kind, message, fix) = if !account.linked {
        (
            "auth",
            "Not linked (no WhatsApp Web session).".to_owned(),
            match account.account_id.as_str() {
                id if id == default => "Run: verso channels login (scan QR on the gateway host).".to_owned(),
                id => format!("Run: verso channels login --account {id} (scan QR on the gateway host)."),
            },
        )
    } else if !account.running {
        (
            "runtime",
            "Linked but stopped.".to_owned(),
            format!("Run: verso channels start --account {}", account.account_id),
        )
    } else if !account.connected {
        let mut message = "Linked but disconnected".to_owned();
        if account.reconnect_attempts > 0 {
            message.push_str(&format!(" (reconnectAttempts={})", account.reconnect_attempts));
        }
        match &account.last_error {
            Some(error) => message.push_str(&format!(": {error}")),
            None => message.push('.'),
        }
        let fix = "Run: verso logs --follow (or restart the gateway). If it persists, relink via channels login.";
        ("runtime", message, fix.to_owned())
    } else if let Some(warning) = &account.phone.warning {
        ("auth", format!("Linked, but {warning}."), format!("Fix: {WAKE_THE_PHONE}."))
    } else {
        return None;
    };
    let fix = account.next_step.clone().filter(|_| kind == "runtime").unwrap_or(fix);
    Some(StatusIssue {
        channel: CHANNEL.into(),
        account_id: account.account_id.clone(),
        kind: kind.into(),
        message,
        fix,
    })
}

/// A link on disk that no account uses.
pub fn unclaimed_issue(link: &Unclaimed) -> StatusIssue {
    let id = &link.account;
    let number = link.number.as_ref().map(|number| format!(" ({number})")).unwrap_or_default();
    StatusIssue {
        channel: CHANNEL.into(),
        account_id: id.to_string(),
        kind: "config".into(),
        message: format!("A link{number} lies in {}, and no account uses it.", link.dir.display()),
        fix: format!("Use it: verso channels add {id}; or delete it: verso channels remove {id} --logout"),
    }
}

/// Credentials that are not on disk: a crash now may cost the link.
fn unsaved(account: &ChannelAccount) -> Option<StatusIssue> {
    let cause = account.unsaved.as_ref()?;
    Some(StatusIssue {
        channel: CHANNEL.into(),
        account_id: account.account_id.clone(),
        kind: "auth".into(),
        message: format!("The credentials could not be saved: {cause}."),
        fix: "Make room on the disk and the account's folder writable; Verso tries again by itself.".into(),
    })
}

/// Agents whose runs fail.
fn failing(account: &ChannelAccount, now: UnixMs) -> impl Iterator<Item = StatusIssue> {
    let agents = account.agents.iter().filter(|(_, tally)| tally.failing);
    agents.filter_map(move |(agent, tally)| {
        let last = tally.last_error.as_ref()?;
        let (count, minutes) = (tally.failures(), (now - last.at).max(0) / 60_000);
        let messages = if count == 1 { "1 message".to_owned() } else { format!("{count} messages") };
        Some(StatusIssue {
            channel: CHANNEL.into(),
            account_id: account.account_id.clone(),
            kind: "agent".into(),
            message: format!(
                "Agent {agent} could not answer {messages} since the start, the last {minutes} min ago: {}",
                last.failure.cause
            ),
            fix: "Run: verso logs --follow".into(),
        })
    })
}

/// The gateway itself and the clients that stay.
pub(super) fn presence(api: &Api) -> Vec<Presence> {
    let mut all = vec![Presence {
        host: api.hostname.clone(),
        mode: "gateway".into(),
        reason: "self".into(),
        text: format!("Gateway: {}", api.hostname),
        version: env!("CARGO_PKG_VERSION").into(),
        ts: api.clock.now(),
    }];
    all.extend(api.hub.present());
    all
}

/// For `hello-ok`.
pub(super) fn snapshot(api: &Api, settings: &Settings, status: &GatewayStatus) -> Snapshot {
    Snapshot {
        presence: presence(api),
        health: health(api, status, 0),
        state_version: api.hub.version(),
        uptime_ms: (api.clock.now() - api.started_at).max(0),
        session_defaults: SessionDefaults {
            default_agent_id: settings.default_agent.clone(),
            main_key: settings.main_key.clone(),
            main_session_key: format!("agent:{}:{}", settings.default_agent, settings.main_key),
            scope: scope(settings),
        },
    }
}

fn scope(settings: &Settings) -> &'static str {
    if settings.global_scope { "global" } else { "per-sender" }
}

/// Method `agents.list`.
pub(super) fn agents(api: &Api) -> Value {
    let settings = (api.settings)();
    let agents: Vec<Value> = settings
        .agents
        .iter()
        .map(|a| {
            let mut entry = json!({"id": a.id});
            if let Some(name) = &a.name {
                entry["name"] = json!(name);
            }
            let mut identity = serde_json::Map::new();
            if let Some(name) = &a.identity_name {
                identity.insert("name".into(), json!(name));
            }
            if let Some(emoji) = &a.identity_emoji {
                identity.insert("emoji".into(), json!(emoji));
            }
            if !identity.is_empty() {
                entry["identity"] = identity.into();
            }
            entry
        })
        .collect();
    json!({"defaultId": settings.default_agent, "mainKey": settings.main_key, "scope": scope(&settings), "agents": agents})
}

/// Method `agent.identity.get`: by id, or by the agent in a session key.
pub(super) fn identity(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    let settings = (api.settings)();
    let by_session = params.text("sessionKey")?.and_then(|key| {
        let rest = key.strip_prefix("agent:")?;
        rest.split(':').next().map(str::to_owned)
    });
    let id = params.text("agentId")?.or(by_session).unwrap_or_else(|| settings.default_agent.clone());
    let Some(agent) = settings.agents.iter().find(|a| a.id == id) else {
        return Err(params.wrong(format!("unknown agent id \"{id}\"")));
    };
    let name = agent.identity_name.as_ref().or(agent.name.as_ref()).unwrap_or(&agent.id);
    let avatar = agent.identity_emoji.clone().unwrap_or_else(|| name.chars().take(1).collect());
    Ok(json!({"agentId": agent.id, "name": name, "avatar": avatar}))
}

/// Method `sessions.list`: the gateway keeps no transcripts yet.
pub(super) fn sessions(api: &Api) -> Value {
    json!({
        "ts": api.clock.now(), "path": "", "count": 0,
        "defaults": {"modelProvider": null, "model": null, "contextTokens": null}, "sessions": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked(running: bool, connected: bool) -> ChannelAccount {
        ChannelAccount {
            account_id: "work".into(),
            enabled: true,
            linked: true,
            running,
            connected,
            ..ChannelAccount::default()
        }
    }

    #[test]
    fn issues_have_the_words_that_people_know() {
        let said = |a: &ChannelAccount| issue(a).map(|i| (i.kind, i.message, i.fix));
        assert_eq!(said(&linked(true, true)), None);
        assert_eq!(said(&ChannelAccount::default()), None, "disabled");
        let unlinked = ChannelAccount { linked: false, ..linked(false, false) };
        let (kind, message, fix) = said(&unlinked).unwrap();
        assert_eq!((kind.as_str(), message.as_str()), ("auth", "Not linked (no WhatsApp Web session)."));
        assert_eq!(fix, "Run: verso channels login --account work (scan QR on the gateway host).");
        let default = ChannelAccount { account_id: "default".into(), ..unlinked };
        assert_eq!(said(&default).unwrap().2, "Run: verso channels login (scan QR on the gateway host).");
        let down =
            ChannelAccount { reconnect_attempts: 3, last_error: Some("status=408".into()), ..linked(true, false) };
        assert_eq!(said(&down).unwrap().1, "Linked but disconnected (reconnectAttempts=3): status=408");
        assert_eq!(said(&linked(true, false)).unwrap().1, "Linked but disconnected.");
        assert_eq!(said(&linked(false, false)).unwrap().2, "Run: verso channels start --account work");
        assert_eq!(unsaved(&linked(true, true)), None);
        let full = ChannelAccount { unsaved: Some("the disk is full".into()), ..linked(true, true) };
        assert_eq!(unsaved(&full).unwrap().message, "The credentials could not be saved: the disk is full.");
    }
}
