//! The rules between keys, and the forms that the schema cannot express. Problems carry the literal texts of behaviour.md 2.6.

use super::problem::{Findings, KeyPath};
use super::raw::*;
use super::resolve::{ResolveEnv, duration_text};
use crate::disclosure::SHORTEST;
use crate::ids::{Entry, NUMBER_HINT, PERSON_HINT};
use crate::routing::target::{InvalidTarget, Target};

/// Adds everything that is wrong with the keys themselves; what names other things is checked where it is resolved.
pub(super) fn validate(raw: &RawConfig, env: &ResolveEnv, findings: &mut Findings) {
    open_needs_star(raw, findings);
    bind_needs_token(raw, env, findings);
    heartbeats(raw, findings);
    messages(raw, findings);
    patterns(raw, findings);
    identity_links(raw, findings);
}

fn has_star(list: Option<&Vec<String>>) -> bool {
    list.is_some_and(|l| l.iter().any(|e| e.parse() == Ok(Entry::Everybody)))
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
    open_groups(&channel.rules, &at, "channels.whatsapp", findings);
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
        open_groups(&account.rules, &at.key("accounts").key(id), "channels.whatsapp.accounts.*", findings);
    }
}

/// `groupAllowFrom` limits nobody under `open`: whoever writes both believes that it does.
fn open_groups(rules: &RulesRaw, at: &KeyPath, object: &str, findings: &mut Findings) {
    let list = rules.group_allow_from.as_ref();
    if rules.group_policy == Some(GroupPolicyRaw::Open) && list.is_some() && !has_star(list) {
        findings.problem(
            at.key("groupAllowFrom"),
            format!("{object}.groupPolicy=\"open\" requires groupAllowFrom to include \"*\""),
            "choose groupPolicy \"allowlist\" to serve only these people in groups, or remove groupAllowFrom to serve everybody",
        );
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
    short_token(own, bind, env, findings);
}

/// Whoever reaches the API may guess; and a short secret cannot be hidden in what Verso says.
fn short_token(own: Option<&str>, bind: BindRaw, env: &ResolveEnv, findings: &mut Findings) {
    let is_short = |token: &str| (1..SHORTEST).contains(&token.trim().chars().count());
    let own = own.filter(|token| !token.trim().is_empty());
    let (path, name) = match own {
        Some(_) => (KeyPath::of(&["gateway", "auth", "token"]), "the token"),
        None => (KeyPath::of(&["gateway", "bind"]), "VERSO_GATEWAY_TOKEN"),
    };
    if !own.or(env.gateway_token.as_deref()).is_some_and(is_short) {
        return;
    }
    if bind != BindRaw::Loopback {
        let message =
            format!("the API may be reached from other machines and {name} has fewer than {SHORTEST} characters");
        findings.problem(path, message, "use a longer one, for example the output of: openssl rand -hex 32");
    } else if own.is_none() {
        findings.warn(
            path,
            format!(
                "{name} has fewer than {SHORTEST} characters and cannot be hidden in logs and answers; use a longer one"
            ),
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
    let here = raw.target.as_deref().map(str::trim).is_none_or(|t| matches!(t, "last" | "none" | "whatsapp"));
    if let Some(to) = raw.to.as_deref().filter(|to| here && !to.trim().is_empty())
        && let Err(error) = Target::parse(to)
    {
        let why = match error {
            InvalidTarget::Number(_, why) => format!("{to:?} is no phone number: {why}"),
            _ => format!("{to:?} is neither a phone number nor a group"),
        };
        findings.problem(at.key("to"), why, format!("{NUMBER_HINT}, or a group's JID such as 120363025246125486@g.us"));
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
    let logging = raw.logging.as_ref();
    if logging.is_some_and(|l| {
        l.redact_sensitive == Some(RedactRaw::Off) && l.redact_patterns.as_ref().is_some_and(|p| !p.is_empty())
    }) {
        findings.warn(at, "these patterns hide nothing as long as logging.redactSensitive is \"off\"");
    }
}

/// Ids of other services, `telegram:9`, are left alone.
fn identity_links(raw: &RawConfig, findings: &mut Findings) {
    let at = KeyPath::of(&["session", "identityLinks"]);
    for (name, ids) in raw.session.iter().filter_map(|s| s.identity_links.as_ref()).flatten() {
        for (i, id) in ids.iter().enumerate() {
            let service = id.split_once(':').map(|(service, _)| service.trim().to_lowercase());
            let ours = service
                .is_none_or(|s| s == "whatsapp" || s == "tel" || s.bytes().all(|b| b.is_ascii_digit() || b == b'+'));
            if !ours || id.trim().is_empty() {
                continue;
            }
            let why = match id.parse() {
                Ok(Entry::Everybody) => "it names everybody, and a link is about one person".to_owned(),
                Ok(_) => continue,
                Err(why) => why.to_string(),
            };
            findings.problem(at.key(name).index(i), format!("\"{id}\" names nobody: {why}"), PERSON_HINT);
        }
    }
}
