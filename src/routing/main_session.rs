//! Whose an agent's main session is (behaviour.md 24.1), and who else may write into it.
//!
//! With `session.dmScope: "auto"` the main session of an agent belongs to one person: the first number in `allowFrom`, without one the
//! own number, of the first account that reaches the agent. An agent that bindings give to one person alone is that person's. Every
//! other direct chat has a session of its own. An explicit `main` is shared by all of them; [`shared`] says by whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::session_key;
use super::{CHANNEL, bindings};
use crate::config::model::{AccountConfig, Config, DmPolicy, DmScope, PeerKind, SessionConfig, SessionScope};
use crate::ids::{AccountId, AgentId, E164, SessionKey, canonical_id};

/// How direct chats reach one agent. Computed from the config alone, once ([`reach`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Enabled accounts whose direct chats go to the agent unless a binding or a broadcast says otherwise; the default account first,
    /// then by id.
    pub accounts: Vec<AccountId>,
    /// The first account of which only single chats reach the agent.
    pub in_part: Option<AccountId>,
    /// Ids of the people whose direct chats a binding or a broadcast sends to the agent.
    pub people: BTreeSet<String>,
}

impl Reach {
    /// The account that decides whose the main session is.
    pub fn first(&self) -> Option<&AccountId> {
        self.accounts.first().or(self.in_part.as_ref())
    }

    fn in_part(&mut self, account: &AccountId) {
        self.in_part.get_or_insert_with(|| account.clone());
    }
}

/// The numbers of the accounts themselves, as far as they are linked.
pub type OwnNumbers = BTreeMap<AccountId, E164>;

/// How direct chats reach every agent that any chat reaches.
pub fn reach(config: &Config) -> BTreeMap<AgentId, Reach> {
    let mut all: BTreeMap<AgentId, Reach> = BTreeMap::new();
    let default = config.accounts.get_key_value(&config.default_account);
    let others = config.accounts.iter().filter(|(id, _)| **id != config.default_account);
    for (id, _) in default.into_iter().chain(others).filter(|(_, account)| account.link.enabled) {
        let whole = bindings::answering(config, bindings::Chat::direct(id, &[])).0;
        all.entry(whole).or_default().accounts.push(id.clone());
        let mut seen = BTreeSet::new();
        for binding in &config.bindings {
            let Some(peer) = binding.peer.as_ref().filter(|_| bindings::fits(binding, id)) else { continue };
            // Of several bindings of a chat the first one counts.
            if !seen.insert((peer.kind == PeerKind::Group, peer.id.to_lowercase())) {
                continue;
            }
            let reach = all.entry(binding.agent.clone()).or_default();
            reach.in_part(id);
            if peer.kind == PeerKind::Direct {
                reach.people.insert(peer.id.clone());
            }
        }
        for (peer, agents) in &config.broadcast.peers {
            for agent in agents {
                let reach = all.entry(agent.clone()).or_default();
                reach.in_part(id);
                if !peer.ends_with("@g.us") {
                    reach.people.insert(peer.clone());
                }
            }
        }
    }
    all
}

/// A direct chat that may use the main session of an agent.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The account that was written to.
    pub account: &'a AccountId,
    /// Every id of the other side, normalised.
    pub ids: &'a [String],
    /// It is the account's own chat.
    pub own_chat: bool,
    /// A binding names this chat.
    pub bound: bool,
    /// The numbers of all accounts.
    pub own_numbers: &'a OwnNumbers,
}

/// The session of a chat with an agent, and whose it is when it is the main session of one person.
pub fn session_of(config: &Config, agent: &AgentId, kind: PeerKind, asker: Asker<'_>) -> (SessionKey, Option<String>) {
    let session = &config.session;
    let personal = kind == PeerKind::Direct && session.dm_scope == DmScope::Auto;
    if personal && session.scope != SessionScope::Global {
        let person = person(config, agent, asker);
        if person.is_some() {
            return (session_key::main_session(agent, session), person);
        }
    }
    let leading = asker.ids.first().map_or("", String::as_str);
    (session_key::chat_session(agent, asker.account, kind, leading, session), None)
}

/// The person whose main session the chat uses with scope `auto`; `None`: it has one of its own.
fn person(config: &Config, agent: &AgentId, asker: Asker<'_>) -> Option<String> {
    let reach = config.reach.get(agent)?;
    let Asker { account, ids, own_chat, bound, own_numbers } = asker;
    if let Some(owner) = owner(config, agent, own_numbers) {
        let own = own_chat && first_number(config, account, own_numbers).is_some_and(|first| first == owner);
        if own || is_one_of(ids, owner.as_str(), &config.session) {
            // One spelling, so that another one in the file makes no other person.
            return Some(canonical_id(owner.as_str()).into_owned());
        }
    }
    let alone = bound && reach.accounts.is_empty() && !reach.people.is_empty();
    let only = alone && reach.people.iter().all(|id| is_one_of(ids, id, &config.session));
    only.then(|| reach.people.first().cloned()).flatten()
}

/// The person that the agent's main session belongs to by its accounts.
pub fn owner(config: &Config, agent: &AgentId, own_numbers: &OwnNumbers) -> Option<E164> {
    first_number(config, config.reach.get(agent)?.first()?, own_numbers)
}

fn first_number(config: &Config, account: &AccountId, own_numbers: &OwnNumbers) -> Option<E164> {
    let listed = config.account(account)?.rules.allow_from.numbers.first().cloned();
    listed.or_else(|| own_numbers.get(account).cloned())
}

/// Accounts whose own number decides whose a main session is, because they list nobody.
pub fn asks_own_number(config: &Config) -> impl Iterator<Item = &AccountId> {
    let first = config.reach.values().filter_map(Reach::first);
    first.filter(|id| config.account(id).is_some_and(|a| a.rules.allow_from.numbers.is_empty()))
}

/// `id` is one of the ids of a person, or `session.identityLinks` says so.
fn is_one_of(ids: &[String], id: &str, session: &SessionConfig) -> bool {
    let same = |a: &str, b: &str| session_key::same_id(a, b);
    ids.iter().any(|own| same(own, id))
        || session.identity_links.iter().any(|(name, linked)| {
            let names = |id: &str| linked.iter().any(|entry| session_key::links(entry, CHANNEL, id));
            !name.trim().is_empty() && names(id) && ids.iter().any(|own| names(own))
        })
}

/// Who may write into the session that an agent's direct chats share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writers {
    /// An account lets everybody in.
    pub everybody: bool,
    /// An account lets in whoever is approved.
    pub approved: bool,
    /// People by name: numbers and LIDs, those that `identityLinks` joins counted once.
    pub named: BTreeSet<String>,
}

impl Writers {
    /// More than one person may write.
    pub fn are_several(&self) -> bool {
        self.everybody || self.approved || self.named.len() > 1
    }
}

/// An agent whose direct chats share one conversation because the config says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedMain {
    /// The agent.
    pub agent: AgentId,
    /// Who may write into it.
    pub writers: Writers,
}

/// The agents whose main session several people share, in the order of the config; none with a scope that keeps people apart.
pub fn shared(config: &Config) -> Vec<SharedMain> {
    if !shares(&config.session) {
        return Vec::new();
    }
    let agents = config.agents.list.iter().filter(|agent| config.reach.contains_key(&agent.id));
    agents
        .map(|agent| SharedMain { agent: agent.id.clone(), writers: writers(config, &agent.id) })
        .filter(|shared| shared.writers.are_several())
        .collect()
}

/// The config puts all direct chats of an agent into one conversation.
pub fn shares(session: &SessionConfig) -> bool {
    session.dm_scope == DmScope::Main || session.scope == SessionScope::Global
}

fn writers(config: &Config, agent: &AgentId) -> Writers {
    let mut writers = Writers::default();
    let Some(reach) = config.reach.get(agent) else { return writers };
    let name = |id: &str| {
        session_key::linked_peer(&config.session.identity_links, CHANNEL, id)
            .map_or_else(|| canonical_id(id).into_owned(), str::to_owned)
            .to_lowercase()
    };
    writers.named.extend(reach.people.iter().map(|id| name(id)));
    for id in &reach.accounts {
        let Some(account) = config.account(id) else { continue };
        admitted(config, agent, account, &name, &mut writers);
    }
    writers
}

/// Adds the people that an account lets write to the agent directly. The own chat is the owner's, who is listed.
fn admitted(
    config: &Config,
    agent: &AgentId,
    account: &AccountConfig,
    name: &impl Fn(&str) -> String,
    writers: &mut Writers,
) {
    let rules = &account.rules;
    if rules.dm_policy == DmPolicy::Disabled {
        return;
    }
    let list = &rules.allow_from;
    writers.everybody |= rules.dm_policy == DmPolicy::Open || list.any;
    writers.approved |= rules.dm_policy == DmPolicy::Pairing;
    let people =
        list.numbers.iter().map(ToString::to_string).chain(list.lids.iter().map(|lid| format!("{}@lid", lid.user)));
    for id in people {
        let here = bindings::answering(config, bindings::Chat::direct(&account.id, std::slice::from_ref(&id))).0
            == *agent
            && !config.broadcast.peers.contains_key(&*canonical_id(&id));
        if here {
            writers.named.insert(name(&id));
        }
    }
}

impl fmt::Display for Writers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.everybody {
            return f.write_str("everybody who writes");
        }
        match (self.named.len(), self.approved) {
            (0, false) => f.write_str("the owner"),
            (0, true) => f.write_str("everybody whom you approve"),
            (n, approved) => {
                let people = if n == 1 { "listed person" } else { "listed people" };
                write!(f, "{n} {people}{}", if approved { " and everybody whom you approve" } else { "" })
            }
        }
    }
}

/// Who shares what with one agent, for people who look at the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The agent.
    pub agent_id: AgentId,
    /// Key of its main session.
    pub main_session: SessionKey,
    /// The person whose main session it is; `None` when it is nobody's, or several people's.
    pub person: Option<String>,
    /// Several people share it because the config says so.
    pub shared: bool,
    /// The same in a sentence.
    pub text: String,
}

/// Who shares what, for every agent that a chat reaches, in the order of the config.
pub fn told(config: &Config, own_numbers: &OwnNumbers) -> Vec<Told> {
    let reached = config.agents.list.iter().filter_map(|agent| Some((&agent.id, config.reach.get(&agent.id)?)));
    reached.map(|(agent, reach)| tell(config, agent, reach, own_numbers)).collect()
}

fn tell(config: &Config, agent: &AgentId, reach: &Reach, own_numbers: &OwnNumbers) -> Told {
    let session = &config.session;
    let (mut person, mut shared) = (None, false);
    let text = if shares(session) {
        let writers = writers(config, agent);
        shared = writers.are_several();
        match (shared, session.scope) {
            (false, _) => "one person writes, into the main session".to_owned(),
            (true, SessionScope::Global) => {
                format!("{writers} and all groups share one conversation; remove session.scope to keep them apart")
            }
            (true, SessionScope::PerSender) => {
                format!("{writers} share one conversation; write session.dmScope: \"auto\" to keep them apart")
            }
        }
    } else if session.dm_scope == DmScope::Auto {
        person = only_person(reach, session).or_else(|| owner(config, agent, own_numbers).map(|n| n.to_string()));
        match &person {
            Some(person) => format!("the main session is {person}'s; everybody else has a session of their own"),
            None => "everybody has a session of their own; the main session is nobody's until an account lists a number or is linked"
                .to_owned(),
        }
    } else {
        "everybody has a session of their own".to_owned()
    };
    Told { agent_id: agent.clone(), main_session: session_key::main_session(agent, session), person, shared, text }
}

/// The main sessions that an edit gives to another person, as far as the config tells; without numbers, because logs show it.
pub fn moved(old: &Config, new: &Config) -> Vec<String> {
    if old.session.dm_scope != DmScope::Auto || new.session.dm_scope != DmScope::Auto {
        return Vec::new();
    }
    let whose = |config: &Config, agent: &AgentId| {
        let reach = config.reach.get(agent)?;
        if let Some(only) = only_person(reach, &config.session) {
            return Some((only, "the only person that bindings send to it".to_owned()));
        }
        let account = reach.first()?;
        let numbers = &config.account(account)?.rules.allow_from.numbers;
        Some(match numbers.first() {
            Some(first) => (first.to_string(), format!("the first number in allowFrom of account {account}")),
            None => (format!("{account} itself"), format!("account {account}'s own number")),
        })
    };
    let agents = new.agents.list.iter().map(|agent| &agent.id);
    let owners = agents.filter_map(|agent| {
        let ((before, _), (now, words)) = (whose(old, agent)?, whose(new, agent)?);
        (before != now).then(|| format!("the main session of agent {agent} now belongs to {words}, and begins anew"))
    });
    let own_chats = new.accounts.keys().filter_map(|account| {
        let ((before, _), (now, agent)) = (own_chat(old, account)?, own_chat(new, account)?);
        let uses = if now { "uses" } else { "no longer uses" };
        (before != now).then(|| format!("the own chat of account {account} {uses} the main session of agent {agent}"))
    });
    owners.chain(own_chats).collect()
}

/// Whether the own chat of an account belongs to the main session of its agent, as far as the config tells.
fn own_chat(config: &Config, account: &AccountId) -> Option<(bool, AgentId)> {
    let none = OwnNumbers::new();
    config.account(account).filter(|account| account.link.enabled)?;
    let agent = bindings::answering(config, bindings::Chat::direct(account, &[])).0;
    let (first, owner) = (first_number(config, account, &none), owner(config, &agent, &none));
    // Without a list anywhere the own number says so, which an edit does not change.
    let same = config.reach.get(&agent)?.first() == Some(account);
    Some((same || first.is_some() && first == owner, agent))
}

/// The one person that bindings send to an agent which nobody else reaches.
fn only_person(reach: &Reach, session: &SessionConfig) -> Option<String> {
    let first = reach.people.first().filter(|_| reach.accounts.is_empty())?;
    let alone = reach.people.iter().all(|id| is_one_of(std::slice::from_ref(first), id, session));
    alone.then(|| first.clone())
}

#[cfg(test)]
#[path = "main_session_tests.rs"]
mod tests;
