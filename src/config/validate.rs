//! The rules between keys, and the forms that the schema cannot express. Problems carry the literal texts of behaviour.md 2.6.

use super::problem::{Findings, KeyPath};
use super::raw::*;
use super::resolve::{ResolveEnv, duration_text};

/// Adds everything that is wrong with the keys themselves; what names other things is checked where it is resolved.
pub(super) fn validate(raw: &RawConfig, env: &ResolveEnv, findings: &mut Findings) {
    open_needs_star(raw, findings);
    bind_needs_token(raw, env, findings);
    heartbeats(raw, findings);
    messages(raw, findings);
    patterns(raw, findings);
}

fn has_star(list: Option<&Vec<String>>) -> bool {
    list.is_some_and(|l| l.iter().any(|e| e.trim() == "*"))
}

fn open_needs_star(raw: &RawConfig, findings: &mut Findings) {
    let Some(channel) = raw.channels.as_ref().and_then(|c| c.whatsapp.as_ref()) else { return };
    let at = KeyPath::of(&["channels", "whatsapp"]);
    if channel.rules.dm_policy == Some(DmPolicyRaw::Open) && !has_star(channel.rules.allow_from.as_ref()) {
        findings.problem(
            at.key("allowFrom"),
            "channels.whatsapp.dmPolicy=\"open\" requires channels.whatsapp.allowFrom to include \"*\"",
            "add \"*\" to allowFrom to let everybody in, or choose dmPolicy \"pairing\"",
        );
    }
    for (id, account) in channel.accounts.iter().flatten() {
        // An account that inherits either half is held against the object that the half comes from.
        let policy = account.rules.dm_policy;
        if policy == Some(DmPolicyRaw::Open) && !has_star(account.rules.allow_from.as_ref()) {
            findings.problem(
                at.key("accounts").key(id).key("allowFrom"),
                "channels.whatsapp.accounts.*.dmPolicy=\"open\" requires allowFrom to include \"*\"",
                "add \"*\" to the account's allowFrom to let everybody in, or choose dmPolicy \"pairing\"",
            );
        }
    }
}

fn bind_needs_token(raw: &RawConfig, env: &ResolveEnv, findings: &mut Findings) {
    let Some(gateway) = &raw.gateway else { return };
    let own = gateway.auth.as_ref().and_then(|a| a.token.as_deref());
    let token = own.or(env.gateway_token.as_deref()).is_some_and(|t| !t.trim().is_empty());
    let bind = gateway.bind.unwrap_or(BindRaw::Loopback);
    if bind != BindRaw::Loopback && !token {
        findings.problem(
            KeyPath::of(&["gateway", "bind"]),
            "the API may be reached from other machines but has no token",
            "set gateway.auth.token (for example \"${VERSO_GATEWAY_TOKEN}\"), or gateway.bind to \"loopback\"",
        );
    }
}

fn heartbeats(raw: &RawConfig, findings: &mut Findings) {
    let Some(agents) = &raw.agents else { return };
    let at = KeyPath::of(&["agents"]);
    if let Some(h) = agents.defaults.as_ref().and_then(|d| d.heartbeat.as_ref()) {
        heartbeat(h, &at.key("defaults").key("heartbeat"), findings);
    }
    for (i, agent) in agents.list.iter().flatten().enumerate() {
        if let Some(h) = &agent.heartbeat {
            heartbeat(h, &at.key("list").index(i).key("heartbeat"), findings);
        }
    }
}

fn heartbeat(raw: &HeartbeatRaw, at: &KeyPath, findings: &mut Findings) {
    if raw.every.as_deref().is_some_and(|text| duration_text(text).is_none()) {
        findings.problem(
            at.key("every"),
            "invalid duration (use ms, s, m, h)",
            "write for example \"30m\", or \"0m\" to switch it off",
        );
    }
    let Some(hours) = &raw.active_hours else { return };
    let at = at.key("activeHours");
    for (key, value, end) in [("start", &hours.start, false), ("end", &hours.end, true)] {
        let good =
            value.as_deref().is_none_or(|text| super::resolve::clock_text(text).is_some_and(|m| end || m < 1440));
        if !good {
            findings.problem(at.key(key), "invalid time (use \"HH:MM\" 24h format)", "write for example \"08:30\"");
        }
    }
}

fn messages(raw: &RawConfig, findings: &mut Findings) {
    let Some(messages) = &raw.messages else { return };
    let at = KeyPath::of(&["messages"]);
    if let Some(emoji) = &messages.ack_reaction {
        let (direct, group) = match messages.ack_reaction_scope {
            Some(AckScopeRaw::All) => (true, "always"),
            Some(AckScopeRaw::Direct) => (true, "never"),
            Some(AckScopeRaw::GroupAll) => (false, "always"),
            None | Some(AckScopeRaw::GroupMentions) => (false, "mentions"),
        };
        findings.warn(
            at.key("ackReaction"),
            format!(
                "WhatsApp does not use this key; write channels.whatsapp.ackReaction: {{ emoji: \"{emoji}\", direct: {direct}, group: \"{group}\" }}"
            ),
        );
    }
}

fn patterns(raw: &RawConfig, findings: &mut Findings) {
    let at = KeyPath::of(&["logging", "redactPatterns"]);
    for (i, pattern) in raw.logging.iter().filter_map(|l| l.redact_patterns.as_ref()).flatten().enumerate() {
        if regex::Regex::new(pattern).is_err() {
            let hint = "correct it: what it should hide would be logged";
            findings.problem(at.index(i), format!("\"{pattern}\" is not a regular expression"), hint);
        }
    }
}
