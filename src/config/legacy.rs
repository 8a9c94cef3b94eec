//! Other spellings: the shapes of older files (behaviour.md 2.7), what 2026.9.6 renamed (section 21), and the keys of the original that
//! Verso does not serve. After this a tree has only the keys of `raw.rs`, or keys that nobody knows.

use indexmap::IndexMap;

use super::check::nearest;
use super::problem::{Finding, Findings, KeyPath, Seg};
use super::source::{Kind, Node};

/// Brings a tree to the current spelling.
pub(super) fn modernize(root: &mut Node, findings: &mut Findings) {
    if root.map().is_none() {
        return;
    }
    top_level_whatsapp(root, findings);
    routing(root);
    bindings(root);
    renamed(root);
    let mut unserved = Vec::new();
    drop_unserved(root, &mut unserved);
    if !unserved.is_empty() {
        let names: Vec<String> = unserved.iter().map(|(path, _)| path.to_string()).collect();
        findings.warnings.push(Finding {
            path: KeyPath::default(),
            message: format!("Verso does not serve these keys and leaves them alone: {}", names.join(", ")),
            hint: None,
            at: unserved.first().and_then(|(_, at)| *at),
            other: None,
        });
    }
}

/// Takes the value below these keys out of the tree.
fn take(root: &mut Node, keys: &[&str]) -> Option<Node> {
    let (last, parents) = keys.split_last()?;
    root.at_mut(parents)?.map_mut()?.shift_remove(*last)
}

/// Puts a value where nothing is yet; objects on the way are made. False when something is there.
fn put(root: &mut Node, keys: &[&str], value: Node) -> bool {
    let Some((last, parents)) = keys.split_last() else { return false };
    let mut node = root;
    for key in parents {
        let Some(map) = node.map_mut() else { return false };
        node = map.entry((*key).to_owned()).or_insert_with(Node::empty);
    }
    let Some(map) = node.map_mut() else { return false };
    if map.contains_key(*last) {
        return false;
    }
    map.insert((*last).to_owned(), value);
    true
}

fn moved(root: &mut Node, from: &[&str], to: &[&str]) {
    if let Some(value) = take(root, from) {
        put(root, to, value);
    }
}

/// The sample configs' `whatsapp: {…}` at the top. Keys of `channels.whatsapp` win.
fn top_level_whatsapp(root: &mut Node, findings: &mut Findings) {
    if root.get("whatsapp").is_none_or(|w| w.map().is_none()) {
        return;
    }
    let Some(old) = take(root, &["whatsapp"]) else { return };
    findings.warnings.push(Finding {
        path: KeyPath::of(&["whatsapp"]),
        message: "whatsapp config moved to channels.whatsapp (auto-migrated on load).".to_owned(),
        hint: None,
        at: old.key_at,
        other: None,
    });
    let (at, key_at) = (old.at, old.key_at);
    let Kind::Map(keys) = old.kind else { return };
    put(root, &["channels", "whatsapp"], Node { at, key_at, kind: Kind::Map(IndexMap::new()) });
    for (key, value) in keys {
        put(root, &["channels", "whatsapp", &key], value);
    }
}

fn routing(root: &mut Node) {
    if root.get("routing").is_none() {
        return;
    }
    moved(root, &["routing", "allowFrom"], &["channels", "whatsapp", "allowFrom"]);
    moved(root, &["routing", "bindings"], &["bindings"]);
    moved(root, &["routing", "queue"], &["messages", "queue"]);
    let mention = ["channels", "whatsapp", "groups", "*", "requireMention"];
    moved(root, &["routing", "groupChat", "requireMention"], &mention);
    for key in ["mentionPatterns", "historyLimit"] {
        moved(root, &["routing", "groupChat", key], &["messages", "groupChat", key]);
    }
    for keys in [&["routing", "groupChat"] as &[&str], &["routing"]] {
        if root.at_mut(keys).and_then(|n| n.map_mut()).is_some_and(|m| m.is_empty()) {
            take(root, keys);
        }
    }
}

fn bindings(root: &mut Node) {
    for binding in root.get_mut("bindings").and_then(Node::list_mut).into_iter().flatten() {
        moved(binding, &["match", "provider"], &["match", "channel"]);
        moved(binding, &["match", "accountID"], &["match", "accountId"]);
        // A binding for guilds, teams or roles of other services must not turn into one for a whole account.
        let mut foreign = false;
        for key in ["guildId", "teamId", "roles"] {
            foreign |= take(binding, &["match", key]).is_some();
        }
        if foreign {
            let peer =
                [("kind", "channel"), ("id", "-")].map(|(k, v)| (k.to_owned(), Node::new(Kind::Text(v.to_owned()))));
            take(binding, &["match", "peer"]);
            put(binding, &["match", "peer"], Node::new(Kind::Map(peer.into_iter().collect())));
        }
    }
}

/// What 2026.9.6 only calls by another name.
fn renamed(root: &mut Node) {
    if let Some(channel) = root.at_mut(&["channels", "whatsapp"]) {
        rules(channel);
        for account in channel.get_mut("accounts").and_then(Node::map_mut).into_iter().flat_map(|m| m.values_mut()) {
            rules(account);
        }
    }
    moved(root, &["agents", "entries"], &["agents", "list"]);
    if let Some(list) = root.at_mut(&["agents", "list"])
        && let Kind::Map(entries) = &mut list.kind
    {
        let named = std::mem::take(entries).into_iter().map(|(id, mut agent)| {
            let at = agent.key_at;
            put(&mut agent, &["id"], Node { at, key_at: at, kind: Kind::Text(id) });
            agent
        });
        list.kind = Kind::List(named.collect());
    }
    if let Some(defaults) = root.at_mut(&["agents", "defaults"]) {
        model(defaults);
    }
    for agent in root.at_mut(&["agents", "list"]).and_then(Node::list_mut).into_iter().flatten() {
        model(agent);
    }
    moved(root, &["gateway", "token"], &["gateway", "auth", "token"]);
}

/// `model: {primary, …}` is the model `primary`.
fn model(agent: &mut Node) {
    if let Some(primary) = take(agent, &["model", "primary"])
        && let Some(rest) = take(agent, &["model"])
    {
        put(agent, &["model"], primary);
        if let Some(fallbacks) = rest.get("fallbacks") {
            put(agent, &["modelFallbacks"], fallbacks.clone());
        }
    }
}

fn rules(rules: &mut Node) {
    moved(rules, &["streaming", "chunkMode"], &["chunkMode"]);
    moved(rules, &["streaming", "block", "enabled"], &["blockStreaming"]);
    moved(rules, &["streaming", "block", "coalesce"], &["blockStreamingCoalesce"]);
    for keys in [&["streaming", "block"] as &[&str], &["streaming"]] {
        if rules.at_mut(keys).and_then(|n| n.map_mut()).is_some_and(|m| m.is_empty()) {
            take(rules, keys);
        }
    }
    moved(rules, &["heartbeatVisibility"], &["heartbeat"]);
    if let Some(tables) = rules.at_mut(&["markdown", "tables"])
        && tables.kind == Kind::Text("block".to_owned())
    {
        tables.kind = Kind::Text("code".to_owned());
    }
    // The docs of the original show `groups: ["*"]`.
    if let Some(groups) = rules.get_mut("groups")
        && let Kind::List(ids) = &groups.kind
    {
        let all_texts = ids.iter().all(|id| matches!(id.kind, Kind::Text(_)));
        if all_texts {
            let named = ids.iter().filter_map(|id| match &id.kind {
                Kind::Text(text) => {
                    Some((text.clone(), Node { at: id.at, key_at: id.at, kind: Kind::Map(IndexMap::new()) }))
                }
                _ => None,
            });
            groups.kind = Kind::Map(named.collect());
        }
    }
}

/// Keys of the original that Verso knowingly does not serve. `*` stands for any key or list position.
const UNSERVED: &[&str] = &[
    "acp approvals audio auth browser canvasHost cli cron diagnostics discovery env heartbeat hooks identity mcp media memory meta nodeHost plugins routing secrets skills talk tools ui update wizard",
    "agents.defaults bootstrapMaxChars bootstrapTotalMaxChars blockStreamingBreak blockStreamingChunk cliBackends compaction contextPruning contextTokens elevatedDefault embeddedPi imageMaxDimensionPx imageModel llm memorySearch modelFallbacks models params pdfModel repoRoot sandbox skills skipBootstrap subagents thinkingDefault verboseDefault",
    "agents.list.* agentDir blockStreaming memorySearch modelFallbacks params runtime sandbox skills subagents tools thinkingDefault",
    "agents.list.*.identity theme avatar",
    "agents.defaults.heartbeat directPolicy isolatedSession lightContext suppressToolErrorWarnings",
    "agents.list.*.heartbeat directPolicy isolatedSession lightContext suppressToolErrorWarnings",
    "bindings.* comment type acp",
    "channels.defaults contextVisibility",
    "channels.whatsapp contextVisibility defaultTo healthMonitor mentionPatterns pluginHooks reactionLevel replyToMode streaming",
    "channels.whatsapp.actions calls",
    "channels.whatsapp.groups.* tools toolsBySender",
    "channels.whatsapp.accounts.* contextVisibility defaultTo healthMonitor mentionPatterns pluginHooks reactionLevel replyToMode streaming",
    "channels.whatsapp.accounts.*.groups.* tools toolsBySender",
    "commands allowFrom bash bashForegroundMs mcp native nativeSkills ownerDisplay ownerDisplaySecret plugins",
    "gateway channelHealthCheckMinutes customBindHost handshakeTimeoutMs http mode nodes remote tailscale tls tools trustedProxies",
    "gateway.auth allowTailscale mode password rateLimit trustedProxy",
    "gateway.controlUi allowInsecureAuth basePath dangerouslyDisableDeviceAuth enabled root",
    "logging maxFileBytes",
    "messages removeAckAfterReply responsePrefixContextTemplate statusReactions suppressToolErrors tts",
    "messages.groupChat visibleReplies",
    "models bedrockDiscovery mode",
    "models.providers.* auth authHeader",
    "session agentToAgent groupScope maintenance parentForkMaxTokens threadBindings",
];

/// The channels of the original and its plugins; anything else under `channels` that looks like `whatsapp` is a slip of the finger.
const CHANNELS: &[&str] = &[
    "bluebubbles",
    "discord",
    "feishu",
    "googlechat",
    "imessage",
    "irc",
    "line",
    "matrix",
    "mattermost",
    "msteams",
    "nextcloud-talk",
    "nostr",
    "signal",
    "slack",
    "telegram",
    "tlon",
    "twitch",
    "web",
    "webchat",
    "zalo",
    "zalouser",
];

type Unserved = (KeyPath, Option<super::source::Pos>);

fn drop_unserved(root: &mut Node, out: &mut Vec<Unserved>) {
    for line in UNSERVED {
        let (place, keys) = line.split_once(' ').unwrap_or(("", line));
        let (place, keys) = if line.starts_with("acp ") { ("", *line) } else { (place, keys) };
        let steps: Vec<&str> = place.split('.').filter(|s| !s.is_empty()).collect();
        drop_below(root, &steps, &mut KeyPath::default(), keys, out);
    }
    let Some(channels) = root.get_mut("channels").and_then(Node::map_mut) else { return };
    let foreign = |key: &str| CHANNELS.contains(&key) || nearest(key, ["whatsapp", "defaults"].into_iter()).is_none();
    let names: Vec<String> =
        channels.keys().filter(|k| !matches!(k.as_str(), "whatsapp" | "defaults") && foreign(k)).cloned().collect();
    for name in names {
        if let Some(node) = channels.shift_remove(&name) {
            out.push((KeyPath::of(&["channels", &name]), node.key_at));
        }
    }
}

fn drop_below(node: &mut Node, steps: &[&str], path: &mut KeyPath, keys: &str, out: &mut Vec<Unserved>) {
    let Some((step, rest)) = steps.split_first() else {
        let Some(map) = node.map_mut() else { return };
        for key in keys.split(' ') {
            if let Some(gone) = map.shift_remove(key) {
                out.push((path.key(key), gone.key_at));
            }
        }
        return;
    };
    let mut step_into = |seg: Seg, child: &mut Node| {
        path.0.push(seg);
        drop_below(child, rest, path, keys, out);
        path.0.pop();
    };
    match &mut node.kind {
        Kind::Map(map) if *step == "*" => map.iter_mut().for_each(|(k, child)| step_into(Seg::Key(k.clone()), child)),
        Kind::List(list) if *step == "*" => {
            list.iter_mut().enumerate().for_each(|(i, child)| step_into(Seg::Index(i), child));
        }
        Kind::Map(map) => {
            if let Some(child) = map.get_mut(*step) {
                step_into(Seg::Key((*step).to_owned()), child);
            }
        }
        _ => {}
    }
}
