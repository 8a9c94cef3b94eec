//! `channels.whatsapp` and its accounts: account over channel, key by key, then the defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{ResolveEnv, credentials, millis};
use crate::config::model::*;
use crate::config::problem::{Findings, KeyPath};
use crate::config::raw::*;
use crate::ids::{AccountId, E164, Jid};

/// Where the channel's keys stand.
pub(super) fn channel_path() -> KeyPath {
    KeyPath::of(&["channels", "whatsapp"])
}

/// All accounts and the default one.
pub(super) fn accounts(
    raw: &RawConfig,
    env: &ResolveEnv,
    findings: &mut Findings,
) -> (BTreeMap<AccountId, Arc<AccountConfig>>, AccountId) {
    let empty = WhatsappRaw::default();
    let channel = raw.channels.as_ref().and_then(|c| c.whatsapp.as_ref()).unwrap_or(&empty);
    let on = raw.web.as_ref().and_then(|w| w.enabled).unwrap_or(true) && channel.enabled.unwrap_or(true);
    let encryption = &credentials::encryption(raw, env, findings).map(Arc::new);
    let mut out = BTreeMap::new();
    let path = channel_path().key("accounts");
    for (key, account) in channel.accounts.iter().flatten() {
        if key.trim().is_empty() {
            findings.warn(path.key(key), "an account without a name is left out");
            continue;
        }
        let id = AccountId::new(key);
        let at = path.key(key);
        if out.contains_key(&id) {
            findings.problem(
                at,
                format!("the account id \"{id}\" is listed twice, after lower-casing and cleaning"),
                "give each account its own id",
            );
            continue;
        }
        let one = Merge { raw, channel, account: Some(account), account_path: at, env, encryption };
        out.insert(id.clone(), Arc::new(one.resolve(id, on, findings)));
    }
    if out.is_empty() {
        let id = AccountId::new(AccountId::DEFAULT);
        let one = Merge { raw, channel, account: None, account_path: channel_path(), env, encryption };
        out.insert(id.clone(), Arc::new(one.resolve(id, on, findings)));
    }
    let first = || out.keys().next().cloned().expect("there is always one account");
    let default = match channel.default_account.as_deref() {
        Some(name) if out.contains_key(&AccountId::new(name)) => AccountId::new(name),
        Some(name) => {
            let known: Vec<&str> = out.keys().map(AccountId::as_str).collect();
            findings.problem(
                channel_path().key("defaultAccount"),
                format!("there is no account \"{name}\""),
                format!("use one of: {}", known.join(", ")),
            );
            first()
        }
        None => Some(AccountId::new(AccountId::DEFAULT)).filter(|id| out.contains_key(id)).unwrap_or_else(first),
    };
    (out, default)
}

struct Merge<'a> {
    raw: &'a RawConfig,
    channel: &'a WhatsappRaw,
    account: Option<&'a AccountRaw>,
    account_path: KeyPath,
    env: &'a ResolveEnv,
    encryption: &'a Option<Arc<EncryptionConfig>>,
}

impl Merge<'_> {
    /// The account's value, else the channel's, with the place it came from.
    fn pick<T>(&self, key: &str, get: impl Fn(&RulesRaw) -> Option<&T>) -> Option<(&T, KeyPath)> {
        if let Some(v) = self.account.and_then(|a| get(&a.rules)) {
            return Some((v, self.account_path.key(key)));
        }
        get(&self.channel.rules).map(|v| (v, channel_path().key(key)))
    }

    fn value<T: Clone>(&self, get: impl Fn(&RulesRaw) -> Option<&T>) -> Option<T> {
        self.pick("", get).map(|(v, _)| v.clone())
    }

    fn resolve(&self, id: AccountId, channel_on: bool, findings: &mut Findings) -> AccountConfig {
        let link = LinkConfig {
            enabled: channel_on && self.account.and_then(|a| a.enabled).unwrap_or(true),
            auth_dir: self.auth_dir(findings),
            device_name: self.value(|r| r.device_name.as_ref()).unwrap_or_else(|| "Verso".to_owned()),
            encryption: self.encryption.clone(),
        };
        AccountConfig { id, link, rules: self.rules(findings) }
    }

    fn auth_dir(&self, findings: &mut Findings) -> Option<PathBuf> {
        let dir = self.account?.auth_dir.as_deref()?;
        if dir.trim().is_empty() {
            findings.problem(
                self.account_path.key("authDir"),
                "the credentials folder is empty text",
                "name a folder, or remove the key to use the default place",
            );
            return None;
        }
        Some(self.env.expand(dir))
    }

    fn rules(&self, findings: &mut Findings) -> RulesConfig {
        let messages = self.raw.messages.as_ref();
        let defaults = self.raw.channels.as_ref().and_then(|c| c.defaults.as_ref());
        let agent_defaults = self.raw.agents.as_ref().and_then(|a| a.defaults.as_ref());
        let group_policy = self.value(|r| r.group_policy.as_ref()).or_else(|| defaults.and_then(|d| d.group_policy));
        let response_prefix =
            self.value(|r| r.response_prefix.as_ref())
                .or_else(|| messages.and_then(|m| m.response_prefix.clone()))
                .map_or(ResponsePrefix::Unset, |p| {
                    if p == "auto" { ResponsePrefix::Auto } else { ResponsePrefix::Text(p) }
                });
        let coalesce = self
            .value(|r| r.block_streaming_coalesce.as_ref())
            .or_else(|| agent_defaults.and_then(|d| d.block_streaming_coalesce.clone()))
            .unwrap_or_default();
        let actions = self.channel.actions.clone().unwrap_or_default();
        let pairing = self.value(|r| r.pairing.as_ref()).unwrap_or_default();
        RulesConfig {
            name: self
                .account
                .and_then(|a| a.name.as_deref())
                .map(str::trim)
                .filter(|n| !n.is_empty())
                .map(str::to_owned),
            dm_policy: match self.value(|r| r.dm_policy.as_ref()) {
                None | Some(DmPolicyRaw::Pairing) => DmPolicy::Pairing,
                Some(DmPolicyRaw::Allowlist) => DmPolicy::Allowlist,
                Some(DmPolicyRaw::Open) => DmPolicy::Open,
                Some(DmPolicyRaw::Disabled) => DmPolicy::Disabled,
            },
            allow_from: self
                .pick("allowFrom", |r| r.allow_from.as_ref())
                .map(|(list, at)| allow_list(list, &at, findings))
                .unwrap_or_default(),
            group_policy: match group_policy {
                None | Some(GroupPolicyRaw::Allowlist) => GroupPolicy::Allowlist,
                Some(GroupPolicyRaw::Open) => GroupPolicy::Open,
                Some(GroupPolicyRaw::Disabled) => GroupPolicy::Disabled,
            },
            group_allow_from: self
                .pick("groupAllowFrom", |r| r.group_allow_from.as_ref())
                .map(|(list, at)| allow_list(list, &at, findings)),
            groups: self.groups(findings),
            direct: self.direct(findings),
            self_chat_mode: self.value(|r| r.self_chat_mode.as_ref()),
            send_read_receipts: self.value(|r| r.send_read_receipts.as_ref()).unwrap_or(true),
            mark_online: self.value(|r| r.mark_online.as_ref()),
            message_prefix: self
                .value(|r| r.message_prefix.as_ref())
                .or_else(|| messages.and_then(|m| m.message_prefix.clone())),
            response_prefix,
            text_chunk_limit: self.value(|r| r.text_chunk_limit.as_ref()).map_or(4000, |n| n as usize),
            chunk_mode: match self.value(|r| r.chunk_mode.as_ref()) {
                None | Some(ChunkModeRaw::Length) => ChunkMode::Length,
                Some(ChunkModeRaw::Newline) => ChunkMode::Newline,
            },
            media_max_bytes: u64::from(self.value(|r| r.media_max_mb.as_ref()).unwrap_or(50)) * 1024 * 1024,
            history_limit: self
                .value(|r| r.history_limit.as_ref())
                .or_else(|| messages.and_then(|m| m.group_chat.as_ref()).and_then(|g| g.history_limit))
                .map_or(50, |n| n as usize),
            dm_history_limit: self.value(|r| r.dm_history_limit.as_ref()).map(|n| n as usize),
            dms: self.dms(findings),
            ack_reaction: self.value(|r| r.ack_reaction.as_ref()).and_then(|a| {
                let emoji = a.emoji.unwrap_or_default().trim().to_owned();
                let group = match a.group {
                    None | Some(AckGroupRaw::Mentions) => AckGroup::Mentions,
                    Some(AckGroupRaw::Always) => AckGroup::Always,
                    Some(AckGroupRaw::Never) => AckGroup::Never,
                };
                (!emoji.is_empty()).then_some(AckReaction { emoji, direct: a.direct.unwrap_or(true), group })
            }),
            actions: ActionsConfig {
                reactions: actions.reactions.unwrap_or(true),
                send_message: actions.send_message.unwrap_or(true),
                polls: actions.polls.unwrap_or(true),
            },
            block_streaming: self
                .value(|r| r.block_streaming.as_ref())
                .or_else(|| agent_defaults.and_then(|d| d.block_streaming_default).map(|v| v == OnOffRaw::On))
                .unwrap_or(false),
            block_coalesce: BlockCoalesce {
                min_chars: coalesce.min_chars.map(|n| n as usize),
                max_chars: coalesce.max_chars.map(|n| n as usize),
                idle: coalesce.idle_ms.map(|n| millis(n.into())),
            },
            debounce: self.debounce(),
            config_writes: self.value(|r| r.config_writes.as_ref()).unwrap_or(true),
            markdown_tables: match self.value(|r| r.markdown.as_ref()).and_then(|m| m.tables) {
                None | Some(TablesRaw::Bullets) => MarkdownTables::Bullets,
                Some(TablesRaw::Off) => MarkdownTables::Off,
                Some(TablesRaw::Code) => MarkdownTables::Code,
            },
            heartbeat: self.visibility(),
            pairing: PairingConfig {
                text: match pairing.text {
                    None | Some(PairingTextRaw::Auto) => PairingText::Auto,
                    Some(PairingTextRaw::Always) => PairingText::Always,
                    Some(PairingTextRaw::Never) => PairingText::Never,
                },
                notify_owner: pairing.notify_owner.unwrap_or(true),
            },
            catch_up: Duration::from_secs(60 * u64::from(self.value(|r| r.catch_up_minutes.as_ref()).unwrap_or(20))),
            capabilities: self.value(|r| r.capabilities.as_ref()).unwrap_or_default(),
            pacing: pacing(&self.value(|r| r.pacing.as_ref()).unwrap_or_default()),
            handover: Duration::from_secs(
                60 * u64::from(self.value(|r| r.handover.as_ref()).and_then(|h| h.minutes).unwrap_or(10)),
            ),
            listen_only: self.value(|r| r.listen_only.as_ref()).unwrap_or(false),
        }
    }

    /// Account over channel over `messages.inbound.byChannel.whatsapp` over `messages.inbound.debounceMs`.
    fn debounce(&self) -> Duration {
        let inbound = self.raw.messages.as_ref().and_then(|m| m.inbound.as_ref());
        let by_channel = || inbound.and_then(|i| i.by_channel.as_ref()).and_then(|c| c.get("whatsapp").copied());
        let ms =
            self.value(|r| r.debounce_ms.as_ref()).or_else(by_channel).or_else(|| inbound.and_then(|i| i.debounce_ms));
        millis(ms.unwrap_or(0).into())
    }

    /// The one block that is merged key by key: account, channel, `channels.defaults`, built in.
    fn visibility(&self) -> HeartbeatVisibility {
        let layers = [
            self.account.and_then(|a| a.rules.heartbeat.as_ref()),
            self.channel.rules.heartbeat.as_ref(),
            self.raw.channels.as_ref().and_then(|c| c.defaults.as_ref()).and_then(|d| d.heartbeat.as_ref()),
        ];
        let first = |get: fn(&VisibilityRaw) -> Option<bool>| layers.iter().flatten().find_map(|l| get(l));
        HeartbeatVisibility {
            show_ok: first(|v| v.show_ok).unwrap_or(false),
            show_alerts: first(|v| v.show_alerts).unwrap_or(true),
            use_indicator: first(|v| v.use_indicator).unwrap_or(true),
        }
    }

    fn groups(&self, findings: &mut Findings) -> BTreeMap<String, GroupConfig> {
        let mut out = BTreeMap::new();
        let Some((groups, at)) = self.pick("groups", |r| r.groups.as_ref()) else { return out };
        for (key, group) in groups {
            let id = key.trim().to_lowercase();
            if id != "*" && !id.parse::<Jid>().is_ok_and(|j| j.is_group()) {
                findings.problem(
                    at.key(key),
                    format!("\"{key}\" is not a group"),
                    "use the group's JID such as 120363025246125486@g.us, or \"*\" for all groups",
                );
            }
            let group =
                GroupConfig { require_mention: group.require_mention, system_prompt: group.system_prompt.clone() };
            out.insert(id, group);
        }
        out
    }

    fn direct(&self, findings: &mut Findings) -> BTreeMap<String, DirectConfig> {
        let mut out = BTreeMap::new();
        let Some((peers, at)) = self.pick("direct", |r| r.direct.as_ref()) else { return out };
        for (key, peer) in peers {
            let id = match key.trim() {
                "*" => "*".to_owned(),
                text => match direct_peer(text) {
                    Some(id) => id,
                    None => {
                        findings.problem(at.key(key), not_a_person(key), PERSON_HINT);
                        continue;
                    }
                },
            };
            out.insert(id, DirectConfig { system_prompt: peer.system_prompt.clone() });
        }
        out
    }

    fn dms(&self, findings: &mut Findings) -> BTreeMap<E164, usize> {
        let mut out = BTreeMap::new();
        let Some((peers, at)) = self.pick("dms", |r| r.dms.as_ref()) else { return out };
        for (key, dm) in peers {
            match (E164::normalize(key), dm.history_limit) {
                (None, _) => findings.problem(at.key(key), not_a_person(key), PERSON_HINT),
                (Some(number), Some(limit)) => {
                    out.insert(number, limit as usize);
                }
                (Some(_), None) => {}
            }
        }
        out
    }
}

const PERSON_HINT: &str = "use a phone number with country code such as +15551234567";

fn pacing(raw: &PacingRaw) -> PacingConfig {
    PacingConfig {
        gap: millis(raw.gap_ms.unwrap_or(1000).into()),
        first_contact_gap: Duration::from_secs(raw.first_contact_seconds.unwrap_or(15).into()),
        per_minute: Some(raw.per_minute.unwrap_or(30) as usize).filter(|cap| *cap > 0),
    }
}

fn not_a_person(text: &str) -> String {
    format!("\"{text}\" is not a phone number")
}

/// A person's id in its one spelling: E.164, or `<digits>@lid`.
pub(super) fn direct_peer(text: &str) -> Option<String> {
    match person(text)? {
        Person::Number(n) => Some(n.to_string()),
        Person::Lid(l) => Some(l.to_string()),
    }
}

enum Person {
    Number(E164),
    Lid(Jid),
}

fn person(text: &str) -> Option<Person> {
    let text = text.trim();
    let bare = match text.get(..9) {
        Some(p) if p.eq_ignore_ascii_case("whatsapp:") => text[9..].trim(),
        _ => text,
    };
    if !bare.contains('@') {
        return E164::normalize(bare).map(Person::Number);
    }
    let jid: Jid = bare.to_lowercase().parse().ok()?;
    if !jid.user.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    if jid.is_lid() { Some(Person::Lid(jid.without_device())) } else { jid.e164().map(Person::Number) }
}

/// Parses an `allowFrom`. An entry that can name nobody is a problem: it would equal every unknown sender in the original.
pub(super) fn allow_list(entries: &[String], at: &KeyPath, findings: &mut Findings) -> AllowList {
    let mut out = AllowList::default();
    for (i, entry) in entries.iter().enumerate() {
        let text = entry.trim();
        if text == "*" || text.eq_ignore_ascii_case("whatsapp:*") {
            out.any = true;
            continue;
        }
        match person(text) {
            Some(Person::Number(n)) if !out.numbers.contains(&n) => out.numbers.push(n),
            Some(Person::Lid(l)) if !out.lids.contains(&l) => out.lids.push(l),
            Some(_) => {}
            None => findings.problem(
                at.index(i),
                format!("\"{entry}\" names nobody"),
                "use a phone number with country code such as +15551234567, a WhatsApp id such as 123456@lid, or \"*\" for everybody",
            ),
        }
    }
    out
}
