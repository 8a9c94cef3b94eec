//! Whether a session may answer (behaviour.md 12.9).

use crate::config::model::{PeerKind, SendPolicy};
use crate::ids::SessionKey;
use crate::routing::CHANNEL;

/// The fact under which `/send` is kept for a session: `on` or `off`.
pub fn fact(session: &SessionKey) -> String {
    format!("sendpolicy:{session}")
}

/// What `/send` said (`chosen`) counts before the rules; among the rules a matching deny wins.
pub fn allowed(policy: &SendPolicy, session: &SessionKey, chat: PeerKind, chosen: Option<bool>) -> bool {
    if let Some(chosen) = chosen {
        return chosen;
    }
    let key = session.as_str();
    // People write the start of a key with or without the agent.
    let bare = key.strip_prefix("agent:").and_then(|rest| rest.split_once(':')).map_or(key, |(_, rest)| rest);
    let mut matching = policy.rules.iter().filter(|rule| {
        rule.channel.as_deref().is_none_or(|channel| channel == CHANNEL)
            && rule.chat_type.is_none_or(|kind| kind == chat)
            && rule.key_prefix.as_deref().is_none_or(|start| key.starts_with(start) || bare.starts_with(start))
    });
    let Some(first) = matching.next() else { return policy.default_allow };
    first.allow && matching.all(|rule| rule.allow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::SendRule;

    #[test]
    fn a_matching_deny_wins_and_a_command_wins_over_all() {
        let rule = |allow, channel: Option<&str>, chat_type, prefix: Option<&str>| SendRule {
            allow,
            channel: channel.map(str::to_owned),
            chat_type,
            key_prefix: prefix.map(str::to_owned),
        };
        let group = SessionKey::new("agent:main:whatsapp:group:1@g.us");
        let main = SessionKey::new("agent:main:main");
        let open = |rules| SendPolicy { default_allow: true, rules };
        let groups_denied =
            open(vec![rule(true, None, None, None), rule(false, Some("whatsapp"), Some(PeerKind::Group), None)]);
        for (policy, session, kind, chosen, want) in [
            (&open(vec![]), &main, PeerKind::Direct, None, true),
            (&SendPolicy { default_allow: false, rules: vec![] }, &main, PeerKind::Direct, None, false),
            (&groups_denied, &group, PeerKind::Group, None, false),
            (&groups_denied, &main, PeerKind::Direct, None, true),
            (&groups_denied, &group, PeerKind::Group, Some(true), true),
            (&groups_denied, &main, PeerKind::Direct, Some(false), false),
            (&open(vec![rule(false, Some("telegram"), None, None)]), &main, PeerKind::Direct, None, true),
            (
                &open(vec![rule(false, None, None, Some("agent:main:whatsapp:group"))]),
                &group,
                PeerKind::Group,
                None,
                false,
            ),
            (&open(vec![rule(false, None, None, Some("whatsapp:group"))]), &group, PeerKind::Group, None, false),
            (&open(vec![rule(false, None, None, Some("whatsapp:group"))]), &main, PeerKind::Direct, None, true),
        ] {
            assert_eq!(allowed(policy, session, kind, chosen), want, "{policy:?} {session} {chosen:?}");
        }
    }
}
