//! Bindings: which agent answers a chat (behaviour.md 9.1).
//!
//! Among the bindings whose account fits, the first of the most special class wins:
//! a chat (`peer`) over an account over the channel (`accountId: "*"`) over the default agent.

use serde::{Deserialize, Serialize};

use super::main_session::{self, Asker, OwnNumbers};
use super::{CHANNEL, session_key};
use crate::config::model::{Binding, BindingAccount, Config, PeerKind};
use crate::ids::{AccountId, AgentId, SessionKey, canonical_id};

/// Why an agent was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchedBy {
    /// A binding names the chat.
    #[serde(rename = "binding.peer")]
    Peer,
    /// A binding names the account.
    #[serde(rename = "binding.account")]
    Account,
    /// A binding is for every account.
    #[serde(rename = "binding.channel")]
    Channel,
    /// No binding fits.
    #[serde(rename = "default")]
    Default,
}

/// Where a chat goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Who answers.
    pub agent: AgentId,
    /// The conversation.
    pub session: SessionKey,
    /// The agent's main session.
    pub main_session: SessionKey,
    /// The person whose main session it is, when the conversation is that and `session.dmScope` is `auto`.
    pub person: Option<String>,
    /// Why this agent.
    pub matched_by: MatchedBy,
    /// Position of the binding in the config's list.
    pub binding: Option<usize>,
}

/// The chat to route.
#[derive(Clone, Copy, Debug)]
pub struct Chat<'a> {
    /// The account that was written to.
    pub account: &'a AccountId,
    /// Direct chat or group.
    pub kind: PeerKind,
    /// Every id the chat is known under, normalised, the leading one first: E.164 and `<digits>@lid`, or the group JID. May be empty.
    pub ids: &'a [String],
    /// It is the account's own chat.
    pub own_chat: bool,
}

impl<'a> Chat<'a> {
    /// A direct chat with somebody else.
    pub fn direct(account: &'a AccountId, ids: &'a [String]) -> Self {
        Self { account, kind: PeerKind::Direct, ids, own_chat: false }
    }
}

/// Finds agent and session of a chat.
pub fn route(config: &Config, chat: Chat<'_>, own_numbers: &OwnNumbers) -> Route {
    let (agent, matched_by, binding) = answering(config, chat);
    let Chat { account, kind, ids, own_chat } = chat;
    let asker = Asker { account, ids, own_chat, bound: matched_by == MatchedBy::Peer, own_numbers };
    let (session, person) = main_session::session_of(config, &agent, kind, asker);
    Route {
        session,
        person,
        main_session: session_key::main_session(&agent, &config.session),
        agent,
        matched_by,
        binding: binding.map(|b| b.index),
    }
}

/// The agent that answers a chat, and the binding that says so.
pub(super) fn answering<'c>(config: &'c Config, chat: Chat<'_>) -> (AgentId, MatchedBy, Option<&'c Binding>) {
    let (matched_by, binding) = best(&config.bindings, chat);
    let agent = match binding {
        Some(b) if config.agent(&b.agent).is_some() => b.agent.clone(),
        _ => config.agents.default.clone(),
    };
    (agent, matched_by, binding)
}

/// The binding is for chats of this account.
pub(super) fn fits(binding: &Binding, account: &AccountId) -> bool {
    binding.channel == CHANNEL
        && match &binding.account {
            BindingAccount::Default => account.as_str() == AccountId::DEFAULT,
            BindingAccount::Any => true,
            BindingAccount::Id(id) => id == account,
        }
}

fn best<'a>(bindings: &'a [Binding], chat: Chat<'_>) -> (MatchedBy, Option<&'a Binding>) {
    let fits = |b: &&Binding| fits(b, chat.account);
    let class = |b: &Binding| match (&b.peer, &b.account) {
        (Some(_), _) => MatchedBy::Peer,
        (None, BindingAccount::Any) => MatchedBy::Channel,
        (None, _) => MatchedBy::Account,
    };
    for wanted in [MatchedBy::Peer, MatchedBy::Account, MatchedBy::Channel] {
        let found = bindings.iter().filter(fits).filter(|b| class(b) == wanted).find(|b| match &b.peer {
            Some(peer) => {
                peer.kind == chat.kind && chat.ids.iter().any(|id| canonical_id(id).eq_ignore_ascii_case(&peer.id))
            }
            None => true,
        });
        if let Some(binding) = found {
            return (wanted, Some(binding));
        }
    }
    (MatchedBy::Default, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ResolveEnv, load_text};

    /// Who answers Ann on an account, and why.
    fn check(bindings: &str, account: &str, ids: &[&str], want: (&str, MatchedBy)) {
        let text = format!(
            "{{ agents: {{ list: [{{ id: 'main' }}, {{ id: 'fam' }}, {{ id: 'biz' }}] }}, bindings: [{bindings}] }}"
        );
        let config = load_text(&text, &ResolveEnv::new("/h", "/h/.verso")).expect("config").config;
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let account = AccountId::new(account);
        let route = route(&config, Chat::direct(&account, &ids), &OwnNumbers::new());
        assert_eq!((route.agent.as_str(), route.matched_by), want, "{bindings} on {account}");
        assert_eq!(route.main_session.as_str(), format!("agent:{}:main", want.0));
    }

    const ANN: &[&str] = &["+15551234567", "77@lid"];

    #[test]
    fn the_most_special_binding_wins_whatever_the_order() {
        let any = "{ agentId: 'biz', match: { channel: 'whatsapp', accountId: '*' } }";
        let work = "{ agentId: 'fam', match: { channel: 'WhatsApp', accountId: 'work' } }";
        let peer = "{ agentId: 'main', match: { channel: 'whatsapp', accountId: '*', peer: { kind: 'dm', id: '1 555 123 4567' } } }";
        check(&format!("{any}, {work}, {peer}"), "work", ANN, ("main", MatchedBy::Peer));
        check(&format!("{any}, {work}"), "work", ANN, ("fam", MatchedBy::Account));
        check(&format!("{any}, {work}"), "other", ANN, ("biz", MatchedBy::Channel));
        check(work, "other", ANN, ("main", MatchedBy::Default));
        check(&format!("{any}, {peer}"), "work", &["+1999000"], ("biz", MatchedBy::Channel));
    }

    #[test]
    fn people_are_bound_by_lid_too() {
        let lid = "{ agentId: 'fam', match: { channel: 'whatsapp', peer: { kind: 'direct', id: '77@lid' } } }";
        check(lid, "default", ANN, ("fam", MatchedBy::Peer));
        check(lid, "default", &["+15551234567"], ("main", MatchedBy::Default));
        let mexican = "{ agentId: 'biz', match: { channel: 'whatsapp', accountId: '*', peer: { kind: 'dm', id: '+52 55 1234 5678' } } }";
        check(mexican, "work", &["+5215512345678"], ("biz", MatchedBy::Peer));
        check(lid, "work", ANN, ("main", MatchedBy::Default));
    }

    #[test]
    fn a_binding_without_an_account_is_for_the_default_account() {
        let plain = "{ agentId: 'fam', match: { channel: 'whatsapp' } }";
        check(plain, "default", ANN, ("fam", MatchedBy::Account));
        check(plain, "work", ANN, ("main", MatchedBy::Default));
        check("{ agentId: 'fam', match: { channel: 'telegram' } }", "default", ANN, ("main", MatchedBy::Default));
    }
}
