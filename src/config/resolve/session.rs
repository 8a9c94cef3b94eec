//! `session` and `messages`.

use std::time::Duration;

use super::millis;
use crate::config::model::*;
use crate::config::problem::{Findings, KeyPath};
use crate::config::raw::*;
use crate::disclosure::ERROR_TEXT;
use crate::routing::main_session;

/// `messages`, as far as it is not merged into the accounts.
pub(super) fn messages(raw: &RawConfig) -> MessagesConfig {
    let q = raw.messages.as_ref().and_then(|m| m.queue.clone()).unwrap_or_default();
    let error_text = raw.messages.as_ref().and_then(|m| m.error_text.clone());
    let here = "whatsapp";
    let mode = q.by_channel.as_ref().and_then(|c| c.get(here).copied()).or(q.mode);
    let debounce = q.debounce_ms_by_channel.as_ref().and_then(|c| c.get(here).copied()).or(q.debounce_ms);
    MessagesConfig {
        error_text: error_text.unwrap_or_else(|| ERROR_TEXT.to_owned()).trim().to_owned(),
        queue: QueueConfig {
            mode: match mode {
                None | Some(QueueModeRaw::Collect) => QueueMode::Collect,
                Some(QueueModeRaw::Steer | QueueModeRaw::Queue) => QueueMode::Steer,
                Some(QueueModeRaw::Followup) => QueueMode::Followup,
                Some(QueueModeRaw::SteerBacklog) => QueueMode::SteerBacklog,
                Some(QueueModeRaw::Interrupt) => QueueMode::Interrupt,
            },
            debounce: millis(debounce.unwrap_or(1000).into()),
            cap: q.cap.unwrap_or(20).max(1) as usize,
            drop: match q.drop {
                None | Some(QueueDropRaw::Summarize) => QueueDrop::Summarize,
                Some(QueueDropRaw::Old) => QueueDrop::Old,
                Some(QueueDropRaw::New) => QueueDrop::New,
            },
        },
    }
}

/// `session`.
pub(super) fn session(raw: &RawConfig) -> SessionConfig {
    let s = raw.session.clone().unwrap_or_default();
    let by_type = s.reset_by_type.clone().unwrap_or_default();
    let main_key = s.main_key.as_deref().map(|k| k.trim().to_lowercase()).filter(|k| !k.is_empty());
    let triggers = s.reset_triggers.clone().map(|list| {
        let clean: Vec<String> = list.iter().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect();
        clean
    });
    SessionConfig {
        scope: if s.scope == Some(ScopeRaw::Global) { SessionScope::Global } else { SessionScope::PerSender },
        dm_scope: match s.dm_scope {
            None | Some(DmScopeRaw::Auto) => DmScope::Auto,
            Some(DmScopeRaw::Main) => DmScope::Main,
            Some(DmScopeRaw::PerPeer) => DmScope::PerPeer,
            Some(DmScopeRaw::PerChannelPeer) => DmScope::PerChannelPeer,
            Some(DmScopeRaw::PerAccountChannelPeer) => DmScope::PerAccountChannelPeer,
        },
        main_key: main_key.unwrap_or_else(|| "main".to_owned()),
        identity_links: s.identity_links.clone().unwrap_or_default().into_iter().collect(),
        reset_triggers: triggers.unwrap_or_else(|| vec!["/new".to_owned(), "/reset".to_owned()]),
        reset_direct: reset(&s, by_type.direct.as_ref().or(by_type.dm.as_ref())),
        reset_group: reset(&s, by_type.group.as_ref()),
        reset_thread: reset(&s, by_type.thread.as_ref()),
        store: s.store.clone().filter(|p| !p.trim().is_empty()),
        send_policy: send_policy(s.send_policy.as_ref()),
    }
}

/// Agents that are named where several people share their main session.
const SHOWN_AGENTS: usize = 3;

/// Warns of an explicit scope that lets several people read each other (behaviour.md 24.1).
pub(super) fn shared_by_several(config: &Config, findings: &mut Findings) {
    let shared = main_session::shared(config);
    if shared.is_empty() {
        return;
    }
    let global = config.session.scope == SessionScope::Global;
    let (key, word, fix) = if global {
        ("scope", "global", "remove it, or write \"per-sender\", to keep people and groups apart")
    } else {
        (
            "dmScope",
            "main",
            "write \"auto\" to keep people apart: the owner in the main session, everybody else in one of their own",
        )
    };
    let mut agents: Vec<String> =
        shared.iter().take(SHOWN_AGENTS).map(|one| format!("agent {}: {}", one.agent, one.writers)).collect();
    if shared.len() > SHOWN_AGENTS {
        agents.push(format!("and {} more agents", shared.len() - SHOWN_AGENTS));
    }
    findings.warn(
        KeyPath::of(&["session", key]),
        format!(
            "\"{word}\" puts several people into one conversation, so each can learn what the others wrote ({}); {fix}",
            agents.join("; ")
        ),
    );
}

/// The channel's block alone, else by type over `reset`, key by key; only `idleMinutes` set means idle mode (behaviour.md 9.4).
fn reset(s: &SessionRaw, by_type: Option<&ResetRaw>) -> ResetPolicy {
    let by_channel = s.reset_by_channel.as_ref().and_then(|c| c.get("whatsapp"));
    let layers = match by_channel {
        Some(channel) => [Some(channel), None],
        None => [by_type, s.reset.as_ref()],
    };
    let explicit = by_channel.is_some() || s.reset.is_some() || s.reset_by_type.is_some();
    let unset = if !explicit && s.idle_minutes.is_some() { ResetModeRaw::Idle } else { ResetModeRaw::Daily };
    let mode = layers.iter().flatten().find_map(|r| r.mode).unwrap_or(unset);
    let minutes = layers.iter().flatten().find_map(|r| r.idle_minutes).or(s.idle_minutes);
    let minutes = minutes.or((mode == ResetModeRaw::Idle).then_some(60));
    let hour = layers.iter().flatten().find_map(|r| r.at_hour).filter(|h| h.is_finite()).unwrap_or(4.0);
    ResetPolicy {
        mode: if mode == ResetModeRaw::Idle { ResetMode::Idle } else { ResetMode::Daily },
        at_hour: hour.floor().clamp(0.0, 23.0) as u8,
        idle: minutes.map(|m| Duration::from_secs(60 * u64::from(m))),
    }
}

fn send_policy(raw: Option<&SendPolicyRaw>) -> SendPolicy {
    let Some(raw) = raw else { return SendPolicy { default_allow: true, rules: Vec::new() } };
    let rules = raw.rules.iter().flatten().filter_map(|rule| {
        let m = rule.matches.clone().unwrap_or_default();
        let chat_type = match m.chat_type {
            None => None,
            Some(PeerKindRaw::Direct | PeerKindRaw::Dm) => Some(PeerKind::Direct),
            Some(PeerKindRaw::Group) => Some(PeerKind::Group),
            // A rule for channels of other services never applies here.
            Some(PeerKindRaw::Channel) => return None,
        };
        let lower = |t: Option<String>| t.map(|t| t.trim().to_lowercase()).filter(|t| !t.is_empty());
        Some(SendRule {
            allow: rule.action == AllowDenyRaw::Allow,
            channel: lower(m.channel),
            chat_type,
            key_prefix: lower(m.key_prefix),
        })
    });
    SendPolicy { default_allow: raw.default != Some(AllowDenyRaw::Deny), rules: rules.collect() }
}
