//! `agents`, `bindings`, `broadcast` and `models`: who answers, where, and with what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::account::direct_peer;
use super::{ResolveEnv, duration_text, millis};
use crate::config::model::*;
use crate::config::problem::{Findings, KeyPath};
use crate::config::raw::*;
use crate::disclosure;
use crate::ids::{AccountId, AgentId, Jid};

/// All accounts by id.
type Accounts = BTreeMap<AccountId, Arc<AccountConfig>>;

/// What an agent is told when its heartbeat has no prompt of its own.
const HEARTBEAT_PROMPT: &str = "Read HEARTBEAT.md if it exists (workspace context). Follow it strictly. Do not infer or repeat old tasks from prior chats. If nothing needs attention, reply HEARTBEAT_OK.";

/// The built-in providers and those of `models.providers`.
pub(super) fn providers(raw: &RawConfig, findings: &mut Findings) -> BTreeMap<String, Arc<ProviderConfig>> {
    let empty = ProviderRaw::default();
    let mut out = BTreeMap::new();
    let built_in = [
        ("openai", ProviderApiRaw::OpenaiCompletions, "https://api.openai.com/v1"),
        ("anthropic", ProviderApiRaw::AnthropicMessages, "https://api.anthropic.com"),
        ("ollama", ProviderApiRaw::OpenaiCompletions, "http://127.0.0.1:11434/v1"),
        ("command", ProviderApiRaw::Command, ""),
        ("webhook", ProviderApiRaw::Webhook, ""),
        ("echo", ProviderApiRaw::Echo, ""),
    ];
    for (name, api, base) in built_in {
        out.insert(name.to_owned(), Arc::new(provider(name, api, base, &empty)));
    }
    let at = KeyPath::of(&["models", "providers"]);
    for (name, entry) in raw.models.as_ref().and_then(|m| m.providers.as_ref()).into_iter().flatten() {
        let known = built_in.iter().find(|(n, ..)| n == name);
        let api = known.map_or(ProviderApiRaw::OpenaiCompletions, |k| k.1);
        let made = provider(name, api, known.map_or("", |k| k.2), entry);
        let at = at.key(name);
        if disclosure::userinfo(&made.base_url).is_some() {
            findings.problem(
                at.key("baseUrl"),
                "an address with a user name or a password in it is not taken",
                headers_line(name),
            );
        }
        match made.api {
            ProviderApi::Command if made.command.first().is_none_or(|p| p.trim().is_empty()) => findings.problem(
                at.key("command"),
                "the provider has no program",
                "set command to a list such as [\"/usr/local/bin/answer\", \"--json\"]",
            ),
            ProviderApi::OpenaiCompletions | ProviderApi::AnthropicMessages | ProviderApi::Webhook
                if !["http://", "https://"].iter().any(|s| made.base_url.starts_with(s)) =>
            {
                findings.problem(
                    at.key("baseUrl"),
                    "the provider has no http(s) address",
                    "set baseUrl to an address such as http://127.0.0.1:11434/v1",
                );
            }
            _ => {}
        }
        out.insert(name.clone(), Arc::new(made));
    }
    out
}

/// How a user name and password are given instead. It does not repeat them.
fn headers_line(provider: &str) -> String {
    let variable: String =
        provider.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!(
        "take everything up to the @ out of it and write beside it headers: {{ Authorization: \"Basic ${{{variable}_BASIC_AUTH}}\" }}, with {variable}_BASIC_AUTH set for the gateway to the output of: printf '%s' 'user:password' | base64"
    )
}

fn provider(name: &str, api: ProviderApiRaw, base: &str, raw: &ProviderRaw) -> ProviderConfig {
    ProviderConfig {
        name: name.to_owned(),
        api: match raw.api.unwrap_or(api) {
            ProviderApiRaw::OpenaiCompletions => ProviderApi::OpenaiCompletions,
            ProviderApiRaw::AnthropicMessages => ProviderApi::AnthropicMessages,
            ProviderApiRaw::Command => ProviderApi::Command,
            ProviderApiRaw::Webhook => ProviderApi::Webhook,
            ProviderApiRaw::Echo => ProviderApi::Echo,
        },
        base_url: raw.base_url.as_deref().unwrap_or(base).trim().trim_end_matches('/').to_owned(),
        api_key: raw.api_key.as_deref().filter(|k| !k.is_empty()).map(Secret::new),
        headers: raw.headers.iter().flatten().map(|(k, v)| (k.clone(), Secret::new(v))).collect(),
        timeout: Duration::from_secs(raw.timeout_seconds.unwrap_or(120).into()),
        command: raw.command.clone().unwrap_or_default(),
        max_tokens: raw.max_tokens,
        seeing: seeing(raw),
        windows: windows(raw),
    }
}

fn seeing(raw: &ProviderRaw) -> Vec<String> {
    let models = raw.models.iter().flatten();
    let seeing = models.filter(|m| m.input.iter().flatten().any(|input| *input == ModelInputRaw::Image));
    seeing.map(|m| m.id.trim().to_owned()).collect()
}

fn windows(raw: &ProviderRaw) -> BTreeMap<String, u32> {
    let models = raw.models.iter().flatten();
    models.filter_map(|m| Some((m.id.trim().to_owned(), m.context_window?))).collect()
}

/// Everything needed to read one agent.
struct Ctx<'a> {
    raw: &'a RawConfig,
    defaults: AgentDefaultsRaw,
    providers: &'a BTreeMap<String, Arc<ProviderConfig>>,
    env: &'a ResolveEnv,
}

impl Ctx<'_> {
    /// Reads `provider/name`; the name may hold further slashes.
    fn model(&self, text: Option<&str>, at: KeyPath, findings: &mut Findings) -> Option<ModelRef> {
        let text = text?.trim();
        let (provider, name) = text.split_once('/').unwrap_or((text, ""));
        let Some(found) = self.providers.get(provider) else {
            let known: Vec<&str> = self.providers.keys().map(String::as_str).collect();
            findings.problem(
                at,
                format!("there is no model provider \"{provider}\""),
                format!("write provider/name with one of {}, or add models.providers.{provider}", known.join(", ")),
            );
            return None;
        };
        let needs_name = matches!(found.api, ProviderApi::OpenaiCompletions | ProviderApi::AnthropicMessages);
        if name.is_empty() && needs_name {
            findings.problem(at, format!("\"{text}\" names no model"), format!("write {provider}/<name of the model>"));
            return None;
        }
        if found.api == ProviderApi::Command && found.command.is_empty() {
            findings.problem(at, "the provider has no program", format!("set models.providers.{provider}.command"));
            return None;
        }
        if found.api == ProviderApi::Webhook && found.base_url.is_empty() {
            findings.problem(at, "the provider has no address", format!("set models.providers.{provider}.baseUrl"));
            return None;
        }
        Some(ModelRef { provider: provider.to_owned(), name: name.to_owned() })
    }

    fn agent(&self, id: AgentId, raw: &AgentRaw, at: &KeyPath, findings: &mut Findings) -> AgentConfig {
        let echo = || ModelRef { provider: "echo".to_owned(), name: String::new() };
        let default_model = KeyPath::of(&["agents", "defaults", "model"]);
        let model = match &raw.model {
            Some(text) => self.model(Some(text), at.key("model"), findings),
            None => self.model(self.defaults.model.as_deref(), default_model, findings),
        };
        let shared = self.raw.messages.as_ref().and_then(|m| m.group_chat.as_ref());
        let own = raw.group_chat.as_ref();
        let patterns = match own.and_then(|g| g.mention_patterns.as_ref()) {
            Some(p) => Some((p, at.key("groupChat").key("mentionPatterns"))),
            None => shared
                .and_then(|g| g.mention_patterns.as_ref())
                .map(|p| (p, KeyPath::of(&["messages", "groupChat", "mentionPatterns"]))),
        };
        if let Some((patterns, at)) = &patterns {
            for (i, pattern) in patterns.iter().enumerate() {
                // JSON's "\b" is a backspace, which no chat message holds: the writer meant a word boundary.
                if let Err(error) = regex::Regex::new(&pattern.replace('\u{8}', "\\b")) {
                    let why = error.to_string();
                    let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    findings.warn(
                        at.index(i),
                        format!("this pattern never matches, it is not a regular expression: {why}"),
                    );
                }
            }
        }
        let workspace = raw.workspace.as_ref().or(self.defaults.workspace.as_ref());
        let identity = raw.identity.clone().unwrap_or_default();
        let clean = |t: Option<String>| t.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        AgentConfig {
            id,
            name: clean(raw.name.clone()),
            workspace: workspace.filter(|w| !w.trim().is_empty()).map(|w| self.env.expand(w)),
            identity: Identity { name: clean(identity.name), emoji: clean(identity.emoji) },
            model: model.unwrap_or_else(echo),
            mention_patterns: patterns.map(|(p, _)| p.iter().map(|p| p.replace('\u{8}', "\\b")).collect()),
            group_history_limit: own.and_then(|g| g.history_limit).map(|n| n as usize),
            heartbeat: None,
            human_delay: human_delay(raw.human_delay.as_ref().or(self.defaults.human_delay.as_ref())),
        }
    }

    fn heartbeat(&self, own: Option<&HeartbeatRaw>, at: &KeyPath, findings: &mut Findings) -> Option<HeartbeatConfig> {
        let base = self.defaults.heartbeat.clone().unwrap_or_default();
        let own = own.cloned().unwrap_or_default();
        let every = own.every.or(base.every).unwrap_or_else(|| "30m".to_owned());
        let every = duration_text(&every).unwrap_or(Duration::ZERO);
        let target = own.target.or(base.target);
        let target = match target.as_deref().map(str::trim) {
            None | Some("last") => HeartbeatTarget::Last,
            Some("none") => HeartbeatTarget::None,
            Some("whatsapp") => HeartbeatTarget::Whatsapp,
            Some(other) => {
                findings.warn(
                    at.key("target"),
                    format!("Verso has no channel \"{other}\"; heartbeats of this agent go nowhere"),
                );
                HeartbeatTarget::None
            }
        };
        let model = own.model.or(base.model);
        let hours = own.active_hours.or(base.active_hours).unwrap_or_default();
        let active_hours =
            match (hours.start.as_deref().and_then(clock_text), hours.end.as_deref().and_then(clock_text)) {
                (Some(start), Some(end)) => {
                    Some(ActiveHours { start, end, timezone: hours.timezone.unwrap_or_else(|| "user".to_owned()) })
                }
                _ => None,
            };
        (!every.is_zero()).then(|| HeartbeatConfig {
            every,
            prompt: own
                .prompt
                .or(base.prompt)
                .filter(|p| !p.trim().is_empty())
                .unwrap_or_else(|| HEARTBEAT_PROMPT.to_owned()),
            model: self.model(model.as_deref(), at.key("model"), findings),
            target,
            to: own.to.or(base.to),
            account: own.account_id.or(base.account_id).map(|id| AccountId::new(&id)),
            session: own.session.or(base.session),
            ack_max_chars: own.ack_max_chars.or(base.ack_max_chars).unwrap_or(300) as usize,
            include_reasoning: own.include_reasoning.or(base.include_reasoning).unwrap_or(false),
            active_hours,
        })
    }
}

fn human_delay(raw: Option<&HumanDelayRaw>) -> HumanDelay {
    let Some(raw) = raw else { return HumanDelay::Off };
    match raw.mode {
        None | Some(HumanDelayModeRaw::Off) => HumanDelay::Off,
        Some(HumanDelayModeRaw::Natural) => HumanDelay::Between(millis(800), millis(2500)),
        Some(HumanDelayModeRaw::Custom) => {
            let min = raw.min_ms.unwrap_or(800);
            HumanDelay::Between(millis(min.into()), millis(raw.max_ms.unwrap_or(2500).max(min).into()))
        }
    }
}

/// `HH:MM` as minute of the day; 24:00 is 1440. `None` when it is no time.
pub(in crate::config) fn clock_text(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |t: &str| t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((hours < 24 && minutes < 60) || (hours == 24 && minutes == 0)).then_some(hours * 60 + minutes)
}

/// The agents. Agents that only bindings name exist with default settings as long as no list is given.
pub(super) fn agents(
    raw: &RawConfig,
    env: &ResolveEnv,
    providers: &BTreeMap<String, Arc<ProviderConfig>>,
    findings: &mut Findings,
) -> Agents {
    let defaults = raw.agents.as_ref().and_then(|a| a.defaults.clone()).unwrap_or_default();
    let ctx = Ctx { raw, defaults, providers, env };
    let at = KeyPath::of(&["agents", "list"]);
    let listed: &[AgentRaw] = raw.agents.as_ref().and_then(|a| a.list.as_deref()).unwrap_or_default();
    let mut made: Vec<(AgentConfig, Option<&HeartbeatRaw>, KeyPath)> = Vec::new();
    let mut default = None;
    for (i, entry) in listed.iter().enumerate() {
        let at = at.index(i);
        let id = AgentId::new(&entry.id);
        if entry.id.trim().is_empty() {
            findings.problem(at.key("id"), "the agent has no id", "give it a short name such as main");
            continue;
        }
        if made.iter().any(|(a, ..)| a.id == id) {
            findings.problem(
                at.key("id"),
                format!("the agent id \"{id}\" is listed twice"),
                "give each agent its own id",
            );
            continue;
        }
        if entry.default == Some(true) && default.is_none() {
            default = Some(id.clone());
        }
        made.push((ctx.agent(id, entry, &at, findings), entry.heartbeat.as_ref(), at));
    }
    if listed.is_empty() {
        let implicit = raw.bindings.iter().flatten().map(|b| AgentId::new(&b.agent_id));
        for id in std::iter::once(AgentId::new(AgentId::MAIN)).chain(implicit) {
            if !made.iter().any(|(a, ..)| a.id == id) {
                made.push((ctx.agent(id, &AgentRaw::default(), &at, findings), None, at.clone()));
            }
        }
    }
    let default =
        default.or_else(|| made.first().map(|(a, ..)| a.id.clone())).unwrap_or_else(|| AgentId::new(AgentId::MAIN));
    let any_own = made.iter().any(|(_, heartbeat, _)| heartbeat.is_some());
    for (agent, own, at) in &mut made {
        if own.is_some() || (!any_own && agent.id == default) {
            let at =
                if own.is_some() { at.key("heartbeat") } else { KeyPath::of(&["agents", "defaults", "heartbeat"]) };
            agent.heartbeat = ctx.heartbeat(*own, &at, findings);
        }
    }
    let d = &ctx.defaults;
    let session = raw.session.as_ref();
    let on = |v: Option<OnOffRaw>| v != Some(OnOffRaw::Off);
    Agents {
        list: made.into_iter().map(|(a, ..)| Arc::new(a)).collect(),
        default,
        max_concurrent: d.max_concurrent.unwrap_or(4).max(1) as usize,
        timeout: Duration::from_secs(d.timeout_seconds.unwrap_or(600).into()),
        media_max_bytes: (d.media_max_mb.unwrap_or(5.0) * 1024.0 * 1024.0) as u64,
        envelope: EnvelopeConfig {
            timezone: envelope_zone(d.envelope_timezone.as_deref()),
            timestamp: on(d.envelope_timestamp),
            elapsed: on(d.envelope_elapsed),
        },
        user_timezone: d.user_timezone.as_deref().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned),
        typing_mode: d.typing_mode.or_else(|| session.and_then(|s| s.typing_mode)).map(|m| match m {
            TypingModeRaw::Never => TypingMode::Never,
            TypingModeRaw::Instant => TypingMode::Instant,
            TypingModeRaw::Thinking => TypingMode::Thinking,
            TypingModeRaw::Message => TypingMode::Message,
        }),
        typing_interval: Duration::from_secs(
            d.typing_interval_seconds.or_else(|| session.and_then(|s| s.typing_interval_seconds)).unwrap_or(6).into(),
        ),
        report_errors: d.report_errors.unwrap_or(true),
    }
}

fn envelope_zone(text: Option<&str>) -> EnvelopeTimezone {
    let text = text.unwrap_or_default().trim();
    match text.to_lowercase().as_str() {
        "" | "local" | "host" => EnvelopeTimezone::Local,
        "utc" | "gmt" => EnvelopeTimezone::Utc,
        "user" => EnvelopeTimezone::User,
        _ => EnvelopeTimezone::Named(text.to_owned()),
    }
}

/// The bindings; an agent that is not listed is replaced by the default one, with a warning.
pub(super) fn bindings(raw: &RawConfig, agents: &Agents, accounts: &Accounts, findings: &mut Findings) -> Vec<Binding> {
    let at = KeyPath::of(&["bindings"]);
    let mut out = Vec::new();
    for (index, binding) in raw.bindings.iter().flatten().enumerate() {
        let at = at.index(index);
        let mut agent = AgentId::new(&binding.agent_id);
        if agents.get(&agent).is_none() {
            findings.warn(
                at.key("agentId"),
                format!(
                    "there is no agent \"{}\" in agents.list; \"{}\" answers instead",
                    binding.agent_id, agents.default
                ),
            );
            agent = agents.default.clone();
        }
        let account = match binding.matches.account_id.as_deref().map(str::trim) {
            None | Some("") => BindingAccount::Default,
            Some("*") => BindingAccount::Any,
            Some(id) => BindingAccount::Id(AccountId::new(id)),
        };
        let at = at.key("match");
        let channel = binding.matches.channel.trim().to_lowercase();
        if let BindingAccount::Id(id) = &account
            && channel == "whatsapp"
            && !accounts.contains_key(id)
        {
            findings.warn(at.key("accountId"), format!("there is no account \"{id}\", so this binding never matches"));
        }
        if channel.is_empty() {
            findings.problem(at.key("channel"), "the binding names no channel", "write channel: \"whatsapp\"");
        }
        let peer = match &binding.matches.peer {
            None => None,
            // Nothing on WhatsApp is a channel of other services, so the whole binding can never match.
            Some(peer) if peer.kind == PeerKindRaw::Channel => continue,
            Some(peer) => Some(binding_peer(peer, &channel, &at.key("peer").key("id"), findings)),
        };
        out.push(Binding { index, agent, channel, account, peer });
    }
    out
}

fn binding_peer(raw: &BindingPeerRaw, channel: &str, at: &KeyPath, findings: &mut Findings) -> BindingPeer {
    let id = raw.id.trim();
    let on_whatsapp = channel == "whatsapp";
    let (kind, normal, hint) = match raw.kind {
        PeerKindRaw::Group => {
            (PeerKind::Group, group_peer(id), "use the group's JID such as 120363025246125486@g.us".to_owned())
        }
        _ => {
            let read = direct_peer(id);
            let why = read.as_ref().err().map(|why| format!("{why}; ")).unwrap_or_default();
            (PeerKind::Direct, read.ok(), format!("{why}use a phone number with country code such as +15551234567"))
        }
    };
    if normal.is_none() && on_whatsapp {
        // A file of the original that loads there must load here, and it lets such a binding stand.
        findings.warn(at.clone(), format!("\"{}\" names no such chat, so this binding never matches; {hint}", raw.id));
    }
    BindingPeer { kind, id: normal.unwrap_or_else(|| id.to_lowercase()) }
}

fn group_peer(text: &str) -> Option<String> {
    let jid: Jid = text.to_lowercase().parse().ok()?;
    jid.is_group().then(|| jid.to_string())
}

/// The chats that several agents answer.
pub(super) fn broadcast(raw: &RawConfig, agents: &Agents, findings: &mut Findings) -> Broadcast {
    let Some(raw_broadcast) = &raw.broadcast else { return Broadcast { sequential: false, peers: BTreeMap::new() } };
    let has_list = raw.agents.as_ref().and_then(|a| a.list.as_ref()).is_some_and(|l| !l.is_empty());
    let mut peers = BTreeMap::new();
    let at = KeyPath::of(&["broadcast"]);
    for (key, ids) in &raw_broadcast.peers {
        let peer = match group_peer(key).ok_or(()).or_else(|()| direct_peer(key)) {
            Ok(peer) => peer,
            Err(why) => {
                findings.problem(
                    at.key(key),
                    format!("\"{key}\" names no chat: {why}"),
                    "use a group's JID such as 120363025246125486@g.us, or a phone number with country code such as +15551234567",
                );
                continue;
            }
        };
        let mut list = Vec::new();
        for (i, id) in ids.iter().enumerate() {
            let agent = AgentId::new(id);
            if agents.get(&agent).is_none() {
                let place = if has_list { "add it there or remove it here" } else { "list it in agents.list" };
                // Literal of behaviour.md 2.6.
                findings.problem(
                    at.key(key).index(i),
                    format!("Unknown agent id \"{id}\" (not in agents.list)."),
                    place,
                );
            } else if !list.contains(&agent) {
                list.push(agent);
            }
        }
        peers.insert(peer, list);
    }
    Broadcast { sequential: raw_broadcast.strategy == Some(StrategyRaw::Sequential), peers }
}
