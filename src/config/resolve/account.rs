//! `channels.whatsapp` and its accounts: account over channel, key by key, then the defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::admission::{From, Scope, narrows};
use super::{ResolveEnv, credentials, millis};
use crate::config::model::*;
use crate::config::problem::{Findings, KeyPath};
use crate::config::raw::*;
use crate::ids::{AccountId, E164, ENTRY_HINT, Entry, InvalidEntry, InvalidNumber, Jid, NUMBER_HINT, PERSON_HINT};

/// Where the channel's keys stand.
pub(super) fn channel_path() -> KeyPath {
    KeyPath::of(&["channels", "whatsapp"])
}

/// Every account, and which one is meant when none is named.
pub(super) struct Accounts {
    pub all: BTreeMap<AccountId, Arc<AccountConfig>>,
    pub default: AccountId,
    /// `default` is among them because its link exists, not because it is listed.
    pub unlisted: bool,
}

/// All accounts and the default one.
pub(super) fn accounts(raw: &RawConfig, env: &ResolveEnv, findings: &mut Findings) -> Accounts {
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
    let unlisted = linked_and_unlisted(&out, env);
    if unlisted {
        findings.warn(
            path,
            "the account \"default\" is linked and not listed here, so it goes on beside the others; write default: {} to \
             keep it, or default: { enabled: false } to stop it",
        );
    }
    if out.is_empty() || unlisted {
        let id = AccountId::new(AccountId::DEFAULT);
        let one = Merge { raw, channel, account: None, account_path: channel_path(), env, encryption };
        out.insert(id.clone(), Arc::new(one.resolve(id, on, findings)));
    }
    let default = default_account(channel, &out, findings);
    Accounts { all: out, default, unlisted }
}

/// Whether `default` goes on although only others are listed: it is linked, and none of them uses its folder (behaviour.md 24.9).
fn linked_and_unlisted(listed: &BTreeMap<AccountId, Arc<AccountConfig>>, env: &ResolveEnv) -> bool {
    let Some(dir) = &env.default_link else { return false };
    let spelled = |dir: &Path| dir.components().collect::<PathBuf>();
    !listed.is_empty()
        && !listed.contains_key(&AccountId::new(AccountId::DEFAULT))
        && listed.values().all(|account| spelled(&env.account_dir(account)) != spelled(dir))
}

fn default_account(
    channel: &WhatsappRaw,
    accounts: &BTreeMap<AccountId, Arc<AccountConfig>>,
    findings: &mut Findings,
) -> AccountId {
    let fallback = AccountId::new(AccountId::DEFAULT);
    let usual = || {
        let first = || accounts.keys().next().cloned().expect("there is always one account");
        Some(fallback.clone()).filter(|id| accounts.contains_key(id)).unwrap_or_else(first)
    };
    let Some(name) = channel.default_account.as_deref() else { return usual() };
    let id = AccountId::new(name);
    if accounts.contains_key(&id) {
        return id;
    }
    let (at, used) = (channel_path().key("defaultAccount"), usual());
    if id == fallback {
        // Whether it is there hangs on its link; a log-out must not make the file invalid.
        findings.warn(
            at,
            format!("the account \"default\" is neither listed nor linked, so \"{used}\" is meant when none is named"),
        );
    } else {
        let known: Vec<&str> = accounts.keys().map(AccountId::as_str).collect();
        findings.problem(at, format!("there is no account \"{name}\""), format!("use one of: {}", known.join(", ")));
    }
    used
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
        let (dm_narrowed, group_narrowed) = self.narrowed(defaults, findings);
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
                Some(DmPolicyRaw::Open) if dm_narrowed => DmPolicy::Allowlist,
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
                Some(GroupPolicyRaw::Open) if group_narrowed => GroupPolicy::Allowlist,
                Some(GroupPolicyRaw::Open) => GroupPolicy::Open,
                Some(GroupPolicyRaw::Disabled) => GroupPolicy::Disabled,
            },
            group_allow_from: self
                .pick("groupAllowFrom", |r| r.group_allow_from.as_ref())
                .map(|(list, at)| allow_list(list, &at, findings)),
            narrowed: Narrowed { dm: dm_narrowed, group: group_narrowed },
            groups: self.groups(findings),
            lists_groups: self.pick("groups", |r| r.groups.as_ref()).is_some(),
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

    /// Which policies are inherited as `open` and stand against a list that is nearer to the account and does not name everybody.
    fn narrowed(&self, defaults: Option<&ChannelDefaultsRaw>, findings: &mut Findings) -> (bool, bool) {
        let stand = |at: KeyPath, of_account: bool| From {
            scope: if of_account { Scope::Account } else { Scope::Channel },
            at,
        };
        let own = |has: bool| self.account.is_some() && has;
        let has = |get: &dyn Fn(&RulesRaw) -> bool| own(self.account.is_some_and(|a| get(&a.rules)));
        let star = |list: &[String]| list.iter().any(|entry| entry.parse() == Ok(Entry::Everybody));
        let list = |key: &str, get: fn(&RulesRaw) -> Option<&Vec<String>>| {
            let (entries, at) = self.pick(key, get)?;
            Some((stand(at, has(&|r| get(r).is_some())), star(entries)))
        };
        let dm = self.pick("dmPolicy", |r| r.dm_policy.as_ref()).filter(|(policy, _)| **policy == DmPolicyRaw::Open);
        let dm = dm.map(|(_, at)| stand(at, has(&|r| r.dm_policy.is_some())));
        let group = match self.pick("groupPolicy", |r| r.group_policy.as_ref()) {
            Some((GroupPolicyRaw::Open, at)) => Some(stand(at, has(&|r| r.group_policy.is_some()))),
            Some(_) => None,
            None => defaults
                .filter(|d| d.group_policy == Some(GroupPolicyRaw::Open))
                .map(|_| From { scope: Scope::Defaults, at: KeyPath::of(&["channels", "defaults", "groupPolicy"]) }),
        };
        let allow_from = list("allowFrom", |r| r.allow_from.as_ref());
        let senders = list("groupAllowFrom", |r| r.group_allow_from.as_ref());
        (
            narrows("dmPolicy", dm.as_ref(), allow_from.as_ref().map(|(from, star)| (from, *star)), findings),
            narrows("groupPolicy", group.as_ref(), senders.as_ref().map(|(from, star)| (from, *star)), findings),
        )
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
                    Ok(id) => id,
                    Err(why) => {
                        findings.problem(at.key(key), not_a_person(key, &why), PERSON_HINT);
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
            match (key.parse(), dm.history_limit) {
                (Ok(Entry::Number(number)), limit) => {
                    check_country_code(&number, key, at.key(key), findings);
                    if let Some(limit) = limit {
                        out.insert(number, limit as usize);
                    }
                }
                (Ok(_), _) => findings.problem(at.key(key), format!("\"{key}\" is not a phone number"), NUMBER_HINT),
                (Err(why), _) => findings.problem(at.key(key), not_a_person(key, &why), NUMBER_HINT),
            }
        }
        out
    }
}

fn pacing(raw: &PacingRaw) -> PacingConfig {
    PacingConfig {
        gap: millis(raw.gap_ms.unwrap_or(1000).into()),
        first_contact_gap: Duration::from_secs(raw.first_contact_seconds.unwrap_or(15).into()),
        per_minute: Some(raw.per_minute.unwrap_or(30) as usize).filter(|cap| *cap > 0),
    }
}

fn not_a_person(text: &str, why: &InvalidEntry) -> String {
    format!("\"{text}\" is not a phone number: {why}")
}

/// A person's id in its one spelling: canonical E.164, or `<digits>@lid`.
///
/// # Errors
/// When the text names nobody, or everybody.
pub(super) fn direct_peer(text: &str) -> Result<String, InvalidEntry> {
    match text.parse()? {
        Entry::Number(number) => Ok(number.canonical().to_string()),
        Entry::Lid(lid) => Ok(lid.to_string()),
        Entry::Everybody => Err(InvalidNumber::Character('*').into()),
    }
}

/// Remarks on a number that loads and can be nobody's.
pub(super) fn check_country_code(number: &E164, written: &str, at: KeyPath, findings: &mut Findings) {
    if !number.has_country_code() {
        findings.warn(
            at,
            format!("\"{written}\" begins with 0, which no country code does, so it names nobody; {NUMBER_HINT}"),
        );
    }
}

/// Parses an `allowFrom`. An entry that can name nobody is a problem: it would equal every unknown sender in the original.
pub(super) fn allow_list(entries: &[String], at: &KeyPath, findings: &mut Findings) -> AllowList {
    let mut out = AllowList::default();
    for (i, entry) in entries.iter().enumerate() {
        match entry.parse() {
            Ok(Entry::Everybody) => out.any = true,
            Ok(Entry::Number(n)) => {
                check_country_code(&n, entry, at.index(i), findings);
                if !out.numbers.contains(&n) {
                    out.numbers.push(n);
                }
            }
            Ok(Entry::Lid(l)) if !out.lids.contains(&l) => out.lids.push(l),
            Ok(Entry::Lid(_)) => {}
            Err(why) => findings.problem(at.index(i), format!("\"{entry}\" names nobody: {why}"), ENTRY_HINT),
        }
    }
    out
}
