//! One inbound message, judged: the only place where the rules are put together (behaviour.md 6 and 8).
//!
//! ```text
//! source ─► kind ─► echo ─► listen ─► admission (dm | group) ─► groups map ─► receipt ─► age ─► route ─► activation, mention ─► ack ─► Dispatch
//!    └───────┴───────┴──────────┴───────────┴────────────────────────────┴──► Drop          └──► Hold (group context)
//! ```
//! Nothing is done here: what is to be done comes back as [`Effect`]s, and why, gate by gate, as [`Gate`]s.

use std::borrow::Cow;

use super::allowlist::{Person, listed, named, owners};
pub use super::decision::{ChatKind, CommandCall, Decision, Dispatch, Effect, Gate, Hold, Run, Verdict};
use super::dm::{self, Admitted, DirectChat, DirectVerdict};
use super::gate_text::{count_text, entry_text, known_ids, list_text};
use super::group::{self, ActivationSource, GroupAdmitted};
use super::handover;
use super::mention::{self, Mention, MentionTable};
pub use super::reason::IgnoreReason;
use super::receipts::{self, Accepted};
use crate::clock::UnixMs;
use crate::command::{self, Activation, Switches};
use crate::config::model::{AccountConfig, AllowList, Config, PeerKind};
use crate::event::{Body, Content, Identity, InboundMessage};
use crate::ids::{AgentId, Jid, Server, SessionKey, canonical_id};
use crate::routing::bindings::{self, Chat, MatchedBy, Route};
use crate::routing::main_session::{self, Asker, OwnNumbers};
use crate::routing::session_key;

/// Messages this much older than the connection still count as live.
const LIVE_BEFORE_CONNECT_MS: i64 = 60_000;

/// Everything a message is judged by.
pub struct View<'a> {
    /// The whole config.
    pub config: &'a Config,
    /// The account that received the message.
    pub account: &'a AccountConfig,
    /// Revision of `config`.
    pub revision: u64,
    /// The account itself; `None` until its first login is seen.
    pub me: Option<&'a Identity>,
    /// The numbers of all linked accounts: they say whose a main session is where `allowFrom` is empty.
    pub own_numbers: &'a OwnNumbers,
    /// People of this account approved by pairing.
    pub approved: &'a AllowList,
    /// When the running connection was made; `None` when none was yet.
    pub connected_at: Option<UnixMs>,
    /// The time of day.
    pub now: UnixMs,
    /// The mention patterns, compiled from `config`.
    pub mentions: &'a MentionTable,
    /// What `/activation` set for a group session.
    pub activation: &'a dyn Fn(&SessionKey) -> Option<Activation>,
    /// Verso itself sent a message with this id through this account.
    pub sent_by_us: bool,
    /// When the owner last wrote into this direct chat from the phone.
    pub owner_wrote: Option<UnixMs>,
}

/// Judges one message.
pub fn decide(message: &InboundMessage, view: &View<'_>) -> Decision {
    #[cfg(feature = "demo")]
    if let Content::Body(body) = &message.content {
        crate::fault::text("decide", body.text.as_deref());
    }
    let mut judge = Judge { message, view, effects: Vec::new(), trace: Vec::with_capacity(8) };
    let verdict = judge.run().unwrap_or_else(|reason| Verdict::Drop { reason });
    Decision { verdict, effects: judge.effects, trace: judge.trace, revision: view.revision }
}

/// A decision under way. `Err` is a drop.
struct Judge<'a> {
    message: &'a InboundMessage,
    view: &'a View<'a>,
    effects: Vec<Effect>,
    trace: Vec<Gate>,
}

impl<'a> Judge<'a> {
    fn run(&mut self) -> Result<Verdict, IgnoreReason> {
        let kind = self.source()?;
        let body = self.kind()?;
        self.echo()?;
        self.listen_only()?;
        match kind {
            ChatKind::Direct => self.direct(body),
            ChatKind::Group => self.group(body),
        }
    }

    fn pass(&mut self, gate: &'static str, outcome: &'static str, key: Option<&'static str>, value: Option<String>) {
        self.note(gate, outcome, key.map(Cow::Borrowed), value);
    }

    fn note(
        &mut self,
        gate: &'static str,
        outcome: &'static str,
        key: Option<Cow<'static, str>>,
        value: Option<String>,
    ) {
        self.trace.push(Gate { gate: gate.into(), outcome: outcome.into(), key, value, set_in: None });
    }

    fn drop<T>(
        &mut self,
        gate: &'static str,
        reason: IgnoreReason,
        key: Option<&'static str>,
        value: Option<String>,
    ) -> Result<T, IgnoreReason> {
        self.pass(gate, reason.code(), key, value);
        Err(reason)
    }

    fn source(&mut self) -> Result<ChatKind, IgnoreReason> {
        let chat = &self.message.chat;
        match chat.server {
            Server::Broadcast => self.drop("source", IgnoreReason::StatusOrBroadcast, None, None),
            Server::Newsletter => self.drop("source", IgnoreReason::Newsletter, None, None),
            Server::Other(_) => self.drop("source", IgnoreReason::UnknownChat, None, None),
            Server::Group => Ok(ChatKind::Group),
            Server::Pn | Server::Hosted | Server::Lid | Server::HostedLid => Ok(ChatKind::Direct),
        }
    }

    fn kind(&mut self) -> Result<&'a Body, IgnoreReason> {
        match &self.message.content {
            Content::Body(body) if body.text.is_some() || body.media.is_some() => Ok(body),
            Content::Body(_) => self.drop("kind", IgnoreReason::Empty, None, None),
            Content::Reaction { .. } => self.drop("kind", IgnoreReason::Reaction, None, None),
            Content::Other { kind } => self.drop("kind", IgnoreReason::KindNotServed, None, Some(kind.clone())),
        }
    }

    fn echo(&mut self) -> Result<(), IgnoreReason> {
        if self.view.sent_by_us && self.message.from_me {
            return self.drop("echo", IgnoreReason::OwnEcho, None, None);
        }
        Ok(())
    }

    fn listen_only(&mut self) -> Result<(), IgnoreReason> {
        if self.view.account.rules.listen_only {
            return self.drop("listen", IgnoreReason::ListenOnly, Some(LISTEN_ONLY), Some("true".into()));
        }
        Ok(())
    }

    fn direct(&mut self, body: &Body) -> Result<Verdict, IgnoreReason> {
        let (message, view) = (self.message, self.view);
        let rules = &view.account.rules;
        let peer = Person::peer(message);
        let own_chat = view.me.is_some_and(|me| peer.is(me));
        if let Some(held) = self.dm_admits(&peer)? {
            return Ok(held);
        }
        let silence = self.silence(own_chat);
        if silence.is_none() {
            self.receipt(PeerKind::Direct, own_chat);
            self.age()?;
        }
        let Some(id) = peer.id() else {
            return self.drop("route", IgnoreReason::SenderUnknown, None, None);
        };
        let ids = known_ids(&peer);
        let route = self.route(PeerKind::Direct, &ids, own_chat);
        let text = body.text.as_deref().unwrap_or_default().trim();
        let is_command = command::parse(text, &view.config.session.reset_triggers).is_some();
        if own_chat && rules.self_chat_mode == Some(false) && !is_command {
            return self.drop("selfChat", IgnoreReason::SelfChatOff, Some(SELF_CHAT_MODE), Some("false".to_owned()));
        }
        if silence.is_none()
            && let Some(emoji) = receipts::ack(rules.ack_reaction.as_ref(), PeerKind::Direct, true, Activation::Always)
        {
            self.effects.push(Effect::AckReact { emoji: emoji.to_owned() });
        }
        let sender = if message.from_me { self.sender() } else { peer };
        let owner = is_owner(&rules.allow_from, view.me, &sender);
        let direct_list = rules.allow_from.any
            || named(&rules.allow_from, &sender).is_some()
            || named(view.approved, &sender).is_some()
            || (rules.allow_from.is_empty() && view.approved.is_empty() && view.me.is_some_and(|me| sender.is(me)));
        let command = self.command(text, &route, &sender, owner, direct_list)?;
        if let Some(until) = silence {
            // The owner reads and answers: neither a tick nor an emoji by the agent.
            if command.is_none() {
                self.handover_gate(IgnoreReason::Handover.code());
                return Ok(self.hold_direct(IgnoreReason::Handover, &id, Some(until)));
            }
            self.age()?;
        }
        Ok(self.dispatch(Chosen {
            kind: ChatKind::Direct,
            peer: id,
            ids,
            sender: sender.id(),
            command,
            route,
            mentioned: true,
            activation: None,
            own_chat,
            owner,
            commands: direct_list,
        }))
    }

    /// The other side of a direct chat. What the owner wrote to it is held.
    fn dm_admits(&mut self, peer: &Person) -> Result<Option<Verdict>, IgnoreReason> {
        let (message, view) = (self.message, self.view);
        let rules = &view.account.rules;
        let verdict = dm::judge(DirectChat {
            rules,
            me: view.me,
            approved: view.approved,
            peer,
            from_me: message.from_me,
            timestamp: message.timestamp,
            connected_at: view.connected_at.unwrap_or(view.now),
        });
        let policy = Some(rules.dm_policy_text().to_owned());
        match verdict {
            DirectVerdict::Admit(why) => {
                let (outcome, key, value) = match why {
                    Admitted::OwnNumber => ("own-number", None, None),
                    Admitted::Open => ("open", Some(DM_POLICY), policy),
                    Admitted::Listed(entry) => ("allowlisted", Some(ALLOW_FROM), Some(entry_text(entry, peer))),
                    Admitted::Approved(entry) => ("approved", Some("pairing store"), Some(entry_text(entry, peer))),
                };
                self.pass("dm", outcome, key, value);
                Ok(None)
            }
            DirectVerdict::Deny(reason) => {
                if reason == IgnoreReason::OwnMessageToOther
                    && let Some(held) = self.own_words(peer)
                {
                    return Ok(Some(held));
                }
                if reason == IgnoreReason::DmNotAllowlisted {
                    self.pass("allowFrom", NOT_LISTED, Some(ALLOW_FROM), Some(list_text(&rules.allow_from)));
                }
                let fixed = matches!(reason, IgnoreReason::OwnMessageToOther | IgnoreReason::SenderUnknown);
                let (key, value) = if fixed { (None, None) } else { (Some(DM_POLICY), policy) };
                self.drop("dm", reason, key, value)
            }
            DirectVerdict::AskPairing => {
                self.pass("allowFrom", NOT_LISTED, Some(ALLOW_FROM), Some(list_text(&rules.allow_from)));
                self.ask_pairing(peer);
                self.drop("dm", IgnoreReason::PairingRequired, Some(DM_POLICY), policy)
            }
        }
    }

    /// What the owner writes to somebody whom the agent answers is context there, and the agent keeps silent for a while.
    fn own_words(&mut self, peer: &Person) -> Option<Verdict> {
        let (message, view) = (self.message, self.view);
        let rules = &view.account.rules;
        let theirs = DirectChat {
            rules,
            me: view.me,
            approved: view.approved,
            peer,
            from_me: false,
            timestamp: message.timestamp,
            connected_at: view.connected_at.unwrap_or(view.now),
        };
        if !matches!(dm::judge(theirs), DirectVerdict::Admit(_)) {
            return None;
        }
        let id = peer.id()?;
        let until = handover::until(handover::sent(message.timestamp, view.now), rules.handover);
        self.handover_gate(if until.is_some() { "taken-over" } else { "off" });
        self.pass("dm", IgnoreReason::OwnMessageToOther.code(), None, None);
        Some(self.hold_direct(IgnoreReason::OwnMessageToOther, &id, until))
    }

    /// Until when the agent keeps silent about the message because the owner takes part in the chat.
    fn silence(&self, own_chat: bool) -> Option<UnixMs> {
        let (message, view) = (self.message, self.view);
        if own_chat || message.from_me {
            return None;
        }
        handover::silence(view.owner_wrote, view.account.rules.handover, message.timestamp, view.now)
    }

    fn handover_gate(&mut self, outcome: &'static str) {
        let minutes = self.view.account.rules.handover.as_secs() / 60;
        self.pass("handover", outcome, Some(handover::KEY), Some(minutes.to_string()));
    }

    fn hold_direct(&self, reason: IgnoreReason, peer: &str, until: Option<UnixMs>) -> Verdict {
        let history_key = session_key::direct_history_key(&self.message.account, peer);
        Verdict::Hold(Hold { reason, history_key, limit: handover::CONTEXT, until })
    }

    fn ask_pairing(&mut self, peer: &Person) {
        let view = self.view;
        let own = view.me.and_then(Identity::number);
        let Some(sender) = peer.id() else { return };
        let rules = &view.account.rules;
        let reply = dm::answers_strangers(rules, own.as_ref());
        let notify_owner = rules.pairing.notify_owner;
        self.effects.push(Effect::RequestPairing { sender, name: self.message.push_name.clone(), reply, notify_owner });
        self.pass(
            "pairing",
            if reply { "request-with-text" } else { "request-without-text" },
            Some("channels.whatsapp.pairing.text"),
            Some(format!("{:?}", rules.pairing.text).to_lowercase()),
        );
    }

    fn group(&mut self, body: &Body) -> Result<Verdict, IgnoreReason> {
        let (message, view) = (self.message, self.view);
        let rules = &view.account.rules;
        let sender = self.sender();
        self.group_admits(&sender)?;
        self.receipt(PeerKind::Group, false);
        self.age()?;
        let id = message.chat.without_device().to_string().to_lowercase();
        let route = self.route(PeerKind::Group, std::slice::from_ref(&id), false);
        let waking = self.activation(&route, &id);
        let patterns = view.mentions.of(&route.agent);
        let text = mention::strip_for_command(body.text.as_deref().unwrap_or_default(), patterns, view.me);
        let owner = is_owner(&rules.allow_from, view.me, &sender);
        if command::parse_activation(&text).is_some() && !owner {
            let list = Some(list_text(&rules.allow_from));
            self.pass("command", IgnoreReason::ActivationNotOwner.code(), Some(ALLOW_FROM), list);
            return Ok(self.hold(IgnoreReason::ActivationNotOwner, &id));
        }
        let own = view.me.and_then(Identity::number);
        let self_chat_mode = dm::is_self_chat_mode(rules, own.as_ref());
        let mentioned = self.mentioned(body, &text, &route.agent, self_chat_mode, owner, &waking);
        let activation = waking.activation;
        let held = !mentioned && activation == Activation::Mention;
        let is_command = command::parse(&text, &view.config.session.reset_triggers).is_some();
        // Between people the owner's words are words among people (24.10).
        if message.from_me && !mentioned && !held && !self_chat_mode && !is_command {
            self.pass("fromMe", IgnoreReason::OwnInGroup.code(), None, None);
            return Ok(self.hold(IgnoreReason::OwnInGroup, &id));
        }
        if let Some(emoji) = receipts::ack(rules.ack_reaction.as_ref(), PeerKind::Group, mentioned, activation) {
            self.effects.push(Effect::AckReact { emoji: emoji.to_owned() });
        }
        if held {
            return Ok(self.hold(IgnoreReason::NotMentioned, &id));
        }
        let senders = rules.group_senders();
        let commands = senders.any || named(senders, &sender).is_some();
        let command = self.command(&text, &route, &sender, owner, commands)?;
        Ok(self.dispatch(Chosen {
            kind: ChatKind::Group,
            ids: vec![id.clone()],
            peer: id,
            sender: sender.id(),
            command,
            route,
            mentioned,
            activation: Some(activation),
            own_chat: false,
            owner,
            commands,
        }))
    }

    /// The sender and the group itself.
    fn group_admits(&mut self, sender: &Person) -> Result<(), IgnoreReason> {
        let rules = &self.view.account.rules;
        let list = if rules.group_allow_from.is_some() { GROUP_ALLOW_FROM } else { ALLOW_FROM };
        match group::judge_sender(rules, sender) {
            Ok(GroupAdmitted::Open) => self.pass("group", "open", Some(GROUP_POLICY), Some("open".into())),
            Ok(GroupAdmitted::Listed(entry)) => {
                self.pass("group", "allowlisted", Some(list), Some(entry_text(entry, sender)));
            }
            Err(reason @ IgnoreReason::GroupSenderNotAllowlisted) => {
                return self.drop("group", reason, Some(list), Some(list_text(rules.group_senders())));
            }
            Err(reason) => {
                return self.drop("group", reason, Some(GROUP_POLICY), Some(rules.group_policy_text().to_owned()));
            }
        }
        if group::is_served(rules, &self.message.chat) {
            return Ok(());
        }
        let value = Some(count_text(rules.groups.len()));
        self.drop("groups", IgnoreReason::GroupNotListed, Some("channels.whatsapp.groups"), value)
    }

    /// What the group asks for to be answered.
    fn activation(&mut self, route: &Route, group: &str) -> Waking {
        let own = (self.view.activation)(&route.session);
        let (activation, source) = group::activation(&self.view.account.rules, &self.message.chat, own);
        let key: Cow<'static, str> = match source {
            ActivationSource::Session => "/activation".into(),
            ActivationSource::AllGroups => "channels.whatsapp.groups[\"*\"].requireMention".into(),
            ActivationSource::Group | ActivationSource::BuiltIn => {
                format!("channels.whatsapp.groups[\"{group}\"].requireMention").into()
            }
        };
        let outcome = if activation == Activation::Always { "always" } else { "mention" };
        let required = own.is_none().then(|| (activation == Activation::Mention).to_string());
        self.note("activation", outcome, Some(key.clone()), required.clone());
        Waking { activation, key, required }
    }

    /// The message speaks to the agent. What is held for want of that is held by the group's activation.
    fn mentioned(
        &mut self,
        body: &Body,
        text: &str,
        agent: &AgentId,
        self_chat_mode: bool,
        owner: bool,
        waking: &Waking,
    ) -> bool {
        let view = self.view;
        let spoken = mention::mention(body, view.mentions.of(agent), view.me, self_chat_mode);
        let switches = Switches { config: view.config.commands.config, debug: view.config.commands.debug };
        let outcome = match spoken {
            Mention::Native => "native",
            Mention::Pattern => "pattern",
            Mention::Number => "number",
            Mention::None if mention::is_reply_to_us(body, view.me, self_chat_mode) => "reply",
            Mention::None if owner && command::is_command(text, switches) => "owner-command",
            Mention::None => "none",
        };
        let held = outcome == "none" && waking.activation == Activation::Mention;
        let (key, value) = match spoken {
            Mention::Pattern => (Some(format!("agents.list[\"{agent}\"].groupChat.mentionPatterns").into()), None),
            _ if held => (Some(waking.key.clone()), waking.required.clone()),
            _ => (None, None),
        };
        self.note("mention", outcome, key, value);
        outcome != "none"
    }

    /// The command that the text is. One that its writer may not use ends the message here, without a word (behaviour.md 10.2);
    /// words that are commands only here and there, such as a trigger without a slash, are then merely said.
    fn command(
        &mut self,
        text: &str,
        route: &Route,
        sender: &Person,
        owner: bool,
        listed_here: bool,
    ) -> Result<Option<CommandCall>, IgnoreReason> {
        let (config, rules) = (self.view.config, &self.view.account.rules);
        let Some(command) = command::parse(text, &config.session.reset_triggers) else { return Ok(None) };
        // Written down, an empty list means nobody, as everywhere; only an absent one falls back to allowFrom.
        let commanders = config.commands.owner_allow_from.as_ref();
        let list = commanders.unwrap_or(&rules.allow_from);
        let enforced = listed(list, sender).is_some() || (commanders.is_none() && list.is_empty());
        let owner = commanders.map_or(owner, |list| named(list, sender).is_some());
        let allowed = (listed_here || owner || !config.commands.use_access_groups) && enforced;
        if allowed && (owner || !command.needs_owner()) {
            self.pass("command", "authorized", None, None);
            return Ok(Some(CommandCall { text: text.to_owned(), session: route.session.clone() }));
        }
        if !text.starts_with('/') {
            return Ok(None);
        }
        let key = if commanders.is_some() { "commands.ownerAllowFrom" } else { ALLOW_FROM };
        self.drop("command", IgnoreReason::CommandNotAuthorized, Some(key), Some(list_text(list)))
    }

    /// The writer; the account itself is known under all its addresses, whichever one the message carried.
    fn sender(&self) -> Person {
        match self.view.me {
            Some(me) if self.message.from_me => {
                Person { number: me.number(), lid: me.lid.as_ref().map(Jid::without_device) }
            }
            _ => Person::sender(self.message),
        }
    }

    fn receipt(&mut self, kind: PeerKind, own_chat: bool) {
        let rules = &self.view.account.rules;
        if receipts::marks_read(rules, Accepted { kind, from_me: self.message.from_me, own_chat }) {
            self.effects.push(Effect::MarkRead);
        }
    }

    /// What waited at WhatsApp while the account was offline is answered only when it is recent enough.
    fn age(&mut self) -> Result<(), IgnoreReason> {
        let (message, view) = (self.message, self.view);
        if !message.offline || message.timestamp <= 0 {
            return Ok(());
        }
        let window = i64::try_from(view.account.rules.catch_up.as_millis()).unwrap_or(i64::MAX);
        // Counted from the connection: working off a long backlog must not make its end too old.
        let connected = view.connected_at.unwrap_or(view.now).min(view.now);
        let recent = connected.saturating_sub(message.timestamp) <= window;
        let live = view.connected_at.is_some_and(|at| message.timestamp > at.saturating_sub(LIVE_BEFORE_CONNECT_MS));
        if recent || live {
            return Ok(());
        }
        self.drop(
            "age",
            IgnoreReason::TooOld,
            Some("channels.whatsapp.catchUpMinutes"),
            Some((window / 60_000).to_string()),
        )
    }

    fn route(&mut self, kind: PeerKind, ids: &[String], own_chat: bool) -> Route {
        let chat = Chat { account: &self.message.account, kind, ids, own_chat };
        let route = bindings::route(self.view.config, chat, self.view.own_numbers);
        let key = match route.matched_by {
            MatchedBy::Default => None,
            _ => route.binding.map(|at| Cow::Owned(format!("bindings[{at}]"))),
        };
        let outcome = match route.matched_by {
            MatchedBy::Peer => "binding.peer",
            MatchedBy::Account => "binding.account",
            MatchedBy::Channel => "binding.channel",
            MatchedBy::Default => "default",
        };
        let value = Some(format!("{} in {}", route.agent, route.session));
        self.note("route", outcome, key, value);
        route
    }

    fn hold(&self, reason: IgnoreReason, group: &str) -> Verdict {
        let history_key = session_key::history_key(&self.message.account, group);
        Verdict::Hold(Hold { reason, history_key, limit: self.view.account.rules.history_limit, until: None })
    }

    fn dispatch(&mut self, chosen: Chosen) -> Verdict {
        let config = self.view.config;
        let broadcast = config.broadcast.peers.get(&*canonical_id(&chosen.peer)).filter(|agents| !agents.is_empty());
        let runs = match broadcast {
            None => {
                let Route { agent, session, person, .. } = chosen.route;
                vec![Run { agent, session, person }]
            }
            Some(agents) => {
                self.pass("broadcast", "every-agent", Some("broadcast"), Some(chosen.peer.clone()));
                let (account, own_numbers) = (&self.message.account, self.view.own_numbers);
                let asker = Asker { account, ids: &chosen.ids, own_chat: chosen.own_chat, bound: false, own_numbers };
                let run = |agent: &AgentId| {
                    let (session, person) = main_session::session_of(config, agent, chosen.kind.into(), asker);
                    Run { agent: agent.clone(), session, person }
                };
                agents.iter().map(run).collect()
            }
        };
        Verdict::Dispatch(Dispatch {
            runs,
            sequential: broadcast.is_some() && config.broadcast.sequential,
            chat: chosen.kind,
            peer: chosen.peer,
            sender: chosen.sender,
            matched_by: chosen.route.matched_by,
            mentioned: chosen.mentioned,
            activation: chosen.activation,
            own_chat: chosen.own_chat,
            owner: chosen.owner,
            commands: chosen.commands || !config.commands.use_access_groups,
            command: chosen.command,
        })
    }
}

/// What the gates found out about a message that is answered.
struct Chosen {
    kind: ChatKind,
    peer: String,
    /// Every id of the chat, `peer` first.
    ids: Vec<String>,
    sender: Option<String>,
    command: Option<CommandCall>,
    route: Route,
    mentioned: bool,
    activation: Option<Activation>,
    own_chat: bool,
    owner: bool,
    commands: bool,
}

/// What wakes the agent in a group, and which key says so.
struct Waking {
    activation: Activation,
    key: Cow<'static, str>,
    /// The key's value, unless `/activation` set it.
    required: Option<String>,
}

const DM_POLICY: &str = "channels.whatsapp.dmPolicy";
const ALLOW_FROM: &str = "channels.whatsapp.allowFrom";
/// The key of accounts that answer nobody.
pub const LISTEN_ONLY: &str = "channels.whatsapp.listenOnly";
const GROUP_POLICY: &str = "channels.whatsapp.groupPolicy";
const GROUP_ALLOW_FROM: &str = "channels.whatsapp.groupAllowFrom";
const SELF_CHAT_MODE: &str = "channels.whatsapp.selfChatMode";

/// Outcome of a gate that looked for somebody in a list in vain.
pub const NOT_LISTED: &str = "not-listed";
/// The sender is an owner: named in `allowFrom`, or the account itself when that is empty.
fn is_owner(allow_from: &AllowList, me: Option<&Identity>, person: &Person) -> bool {
    if allow_from.is_empty() {
        named(&owners(allow_from, me), person).is_some()
    } else {
        named(allow_from, person).is_some()
    }
}

#[cfg(test)]
#[path = "decide_gate_tests.rs"]
mod gate_tests;
#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
