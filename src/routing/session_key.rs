//! Session keys: the names of conversations (behaviour.md 9.2). Always lower case.
//!
//! ```text
//! agent:<agentId>:<mainKey>                              one person's direct chats (dmScope auto), or all of them (main)
//! agent:<agentId>:direct:<peer>                          dmScope per-peer
//! agent:<agentId>:whatsapp:direct:<peer>                 dmScope per-channel-peer
//! agent:<agentId>:whatsapp:<accountId>:direct:<peer>     everybody else (auto), or all (per-account-channel-peer)
//! agent:<agentId>:whatsapp:group:<jid>                   groups
//! ```

use std::collections::BTreeMap;

use super::CHANNEL;
use crate::config::model::{DmScope, PeerKind, SessionConfig, SessionScope};
use crate::ids::{AccountId, AgentId, E164, SessionKey, canonical_id};

/// The session of one person, or of all direct chats, with an agent ([`super::main_session`]); its heartbeat uses it.
pub fn main_session(agent: &AgentId, session: &SessionConfig) -> SessionKey {
    SessionKey::new(&format!("agent:{agent}:{}", session.main_key))
}

/// The session of one chat with one agent, where it is not the person's main session; `peer` is the chat's normalised id.
pub fn chat_session(
    agent: &AgentId,
    account: &AccountId,
    kind: PeerKind,
    peer: &str,
    session: &SessionConfig,
) -> SessionKey {
    if session.scope == SessionScope::Global {
        return main_session(agent, session);
    }
    let kind = match kind {
        PeerKind::Direct => "direct",
        PeerKind::Group => "group",
    };
    peer_session(&KeyParts { agent, channel: CHANNEL, account, kind, peer }, session)
}

/// What a session key is made from.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts<'a> {
    /// Who answers.
    pub agent: &'a AgentId,
    /// Channel name; empty is `unknown`.
    pub channel: &'a str,
    /// The account written to.
    pub account: &'a AccountId,
    /// `direct`, `group` or another kind of chat.
    pub kind: &'a str,
    /// Id of the chat; empty is the main session for direct chats, else `unknown`.
    pub peer: &'a str,
}

/// The general form of [`chat_session`], for any channel and kind.
pub fn peer_session(parts: &KeyParts<'_>, session: &SessionConfig) -> SessionKey {
    let KeyParts { agent, account, .. } = parts;
    let known = |text: &str| {
        let text = text.trim().to_lowercase();
        if text.is_empty() { "unknown".to_owned() } else { text }
    };
    let (channel, kind, peer) = (known(parts.channel), known(parts.kind), parts.peer.trim());
    if kind != "direct" && kind != "dm" {
        return SessionKey::new(&format!("agent:{agent}:{channel}:{kind}:{}", known(peer)));
    }
    if peer.is_empty() || session.dm_scope == DmScope::Main {
        return main_session(agent, session);
    }
    let canonical = canonical_id(peer);
    let peer = linked_peer(&session.identity_links, &channel, peer).unwrap_or(&canonical);
    SessionKey::new(&match session.dm_scope {
        DmScope::PerPeer => format!("agent:{agent}:direct:{peer}"),
        DmScope::PerChannelPeer => format!("agent:{agent}:{channel}:direct:{peer}"),
        DmScope::Auto | DmScope::PerAccountChannelPeer | DmScope::Main => {
            format!("agent:{agent}:{channel}:{account}:direct:{peer}")
        }
    })
}

/// The canonical name of a person who is listed under several ids, bare or with the channel in front.
pub(super) fn linked_peer<'a>(people: &'a BTreeMap<String, Vec<String>>, channel: &str, peer: &str) -> Option<&'a str> {
    people
        .iter()
        .find(|(name, ids)| !name.trim().is_empty() && ids.iter().any(|id| links(id, channel, peer)))
        .map(|(name, _)| name.trim())
}

/// An id of `session.identityLinks` names this person.
pub(super) fn links(entry: &str, channel: &str, peer: &str) -> bool {
    let entry = entry.trim().to_lowercase();
    let bare = entry.strip_prefix(channel).and_then(|rest| rest.strip_prefix(':')).unwrap_or(&entry);
    same_id(bare, peer)
}

/// Two spellings of one id.
pub(super) fn same_id(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || same_number(a, b)
}

/// Two spellings of one phone number.
fn same_number(a: &str, b: &str) -> bool {
    E164::parse(a).is_ok_and(|a| E164::parse(b) == Ok(a))
}

/// A session key taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedKey {
    /// The agent.
    pub agent: AgentId,
    /// Everything after it.
    pub rest: String,
}

/// Reads `agent:<agentId>:<rest>`; `None` for anything else.
pub fn parse(key: &str) -> Option<ParsedKey> {
    let mut parts = key.trim().splitn(3, ':');
    let (head, agent, rest) = (parts.next()?, parts.next()?.trim(), parts.next()?);
    let whole = head.eq_ignore_ascii_case("agent") && !agent.is_empty() && !rest.is_empty();
    whole.then(|| ParsedKey { agent: AgentId::new(agent), rest: rest.to_owned() })
}

/// The key under which the pending messages of a group are kept: per account, shared by its agents.
pub fn history_key(account: &AccountId, group: &str) -> String {
    format!("{CHANNEL}:{account}:group:{}", group.trim().to_lowercase())
}

/// The same for a direct chat that its owner takes part in.
pub fn direct_history_key(account: &AccountId, peer: &str) -> String {
    format!("{CHANNEL}:{account}:direct:{}", canonical_id(peer.trim()).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(dm_scope: DmScope) -> SessionConfig {
        use crate::config::model::{ResetMode, ResetPolicy, SendPolicy};
        let reset = ResetPolicy { mode: ResetMode::Daily, at_hour: 4, idle: None };
        SessionConfig {
            scope: SessionScope::PerSender,
            dm_scope,
            main_key: "main".into(),
            identity_links: BTreeMap::from([(
                "alice".into(),
                vec!["whatsapp:+1 555 123 4567".into(), "telegram:9".into()],
            )]),
            reset_triggers: vec![],
            reset_direct: reset.clone(),
            reset_group: reset.clone(),
            reset_thread: reset,
            store: None,
            send_policy: SendPolicy { default_allow: true, rules: vec![] },
        }
    }

    fn check(dm_scope: DmScope, kind: PeerKind, peer: &str, want: &str) {
        let got = chat_session(&AgentId::new("Work"), &AccountId::new("Biz Acct"), kind, peer, &session(dm_scope));
        assert_eq!(got.as_str(), want);
    }

    #[test]
    fn keys_by_scope() {
        check(DmScope::Main, PeerKind::Direct, "+1777", "agent:work:main");
        check(DmScope::PerPeer, PeerKind::Direct, "+1777", "agent:work:direct:+1777");
        check(DmScope::PerChannelPeer, PeerKind::Direct, "77@lid", "agent:work:whatsapp:direct:77@lid");
        check(DmScope::PerAccountChannelPeer, PeerKind::Direct, "+1777", "agent:work:whatsapp:biz-acct:direct:+1777");
        check(DmScope::PerPeer, PeerKind::Group, "1203@G.US", "agent:work:whatsapp:group:1203@g.us");
        check(DmScope::PerPeer, PeerKind::Direct, "+15551234567", "agent:work:direct:alice");
        check(DmScope::Main, PeerKind::Direct, "+15551234567", "agent:work:main");
        for mexican in ["+5215512345678", "+525512345678"] {
            check(DmScope::PerPeer, PeerKind::Direct, mexican, "agent:work:direct:+525512345678");
        }
    }

    #[test]
    fn the_main_key_and_the_global_scope_are_honoured() {
        let mut config = session(DmScope::Main);
        config.main_key = "home".into();
        let (agent, account) = (AgentId::new("a"), AccountId::new("x"));
        assert_eq!(chat_session(&agent, &account, PeerKind::Direct, "+1", &config).as_str(), "agent:a:home");
        config.scope = SessionScope::Global;
        assert_eq!(chat_session(&agent, &account, PeerKind::Group, "1@g.us", &config).as_str(), "agent:a:home");
    }

    #[test]
    fn another_channels_id_is_another_person() {
        assert_eq!(linked_peer(&session(DmScope::PerPeer).identity_links, "whatsapp", "9"), None);
    }
}
