use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::ids::{AccountId, E164};

fn env() -> ResolveEnv {
    ResolveEnv::new("/home/u", "/home/u/.verso")
}

#[track_caller]
fn ok(text: &str) -> Loaded {
    load_text(text, &env()).unwrap_or_else(|p| {
        panic!(
            "{text}\n{}",
            Rejected { problems: p, files: vec![], fingerprint: 0, secrets: crate::disclosure::Secrets::default() }
        )
    })
}

#[track_caller]
fn problems(text: &str) -> Vec<String> {
    load_text(text, &env()).map(|_| ()).expect_err("must be rejected").iter().map(ToString::to_string).collect()
}

/// The one problem of a text holds all these words.
#[track_caller]
fn problem(text: &str, words: &[&str]) {
    let found = problems(text);
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    for word in words {
        assert!(found[0].contains(word), "{text}: {} lacks {word}", found[0]);
    }
}

fn warnings(text: &str) -> Vec<String> {
    ok(text).warnings.iter().map(ToString::to_string).collect()
}

fn account(config: &Config, id: &str) -> Arc<AccountConfig> {
    config.accounts[&AccountId::new(id)].clone()
}

fn only(text: &str) -> RulesConfig {
    ok(text).config.accounts.values().next().unwrap().rules.clone()
}

#[test]
fn the_empty_file_is_a_whole_config() {
    let config = ok("{}").config;
    assert_eq!(config.default_account.as_str(), "default");
    assert_eq!(config.agents.default_agent().model.to_string(), "echo");
    assert_eq!(account(&config, "default").rules.dm_policy, DmPolicy::Pairing);
    assert_eq!(account(&config, "default").rules.group_policy, GroupPolicy::Allowlist);
    assert_eq!(account(&config, "default").rules.media_max_bytes, 50 << 20);
    assert_eq!(config.gateway.reload.debounce.as_millis(), 100);
}

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    let text = "{\n  chanels: {},\n  channels: { whatsapp: {\n    dmPolicy: 'bogus',\n    allowFrom: [15551234567],\n    textChunkLimit: 0,\n    groups: { family: {} },\n  } },\n}";
    assert_eq!(
        problems(text),
        [
            "2:3: chanels: Unrecognized key: \"chanels\" (did you mean \"channels\"?)",
            "4:15: channels.whatsapp.dmPolicy: Invalid option: expected one of \"pairing\"|\"allowlist\"|\"open\"|\"disabled\" (\"bogus\" is none of them)",
            "5:17: channels.whatsapp.allowFrom.0: Invalid input: expected string, received number (put it into quotes: \"15551234567\")",
            "6:21: channels.whatsapp.textChunkLimit: Too small: expected number to be >0 (it is 0)",
            "7:23: channels.whatsapp.groups.family: \"family\" is not a group (use the group's JID such as 120363025246125486@g.us, or \"*\" for all groups)",
        ]
    );
}

#[test]
fn syntax_errors_have_a_place_and_a_hint() {
    for (text, place, word, incomplete) in [
        ("{ a: 1 b: 2 }", "1:7", "comma", false),
        ("{\n  web: { enabled: tru },\n}", "2:19", "quotes", false),
        ("{\n  web: {", "2:8", "closing }", true),
        ("{ web: { enabled: t", "1:19", "", true),
        ("", "1:1", "empty", true),
        ("// nothing yet\n", "1:1", "empty", true),
        ("{} {}", "1:4", "", false),
    ] {
        let found = load_text(text, &env()).unwrap_err();
        assert_eq!(found.len(), 1);
        let line = found[0].to_string();
        assert!(line.starts_with(place) && line.contains(word), "{text:?}: {line}");
        assert_eq!(found[0].incomplete, incomplete, "{text:?}: {line}");
    }
}

#[test]
fn deep_nesting_is_refused_and_does_not_crash() {
    for text in ["[".repeat(100_000), format!("{}{}", "{a:".repeat(20_000), "}".repeat(20_000))] {
        assert!(problems(&text)[0].contains("fewer levels"), "{}", problems(&text)[0]);
    }
}

#[test]
fn keys_written_twice_are_told() {
    let found = warnings("{\n web: { enabled: true },\n web: { enabled: false } }");
    assert_eq!(found, ["3:2: web: the key is written twice (lines 2 and 3); the last one counts"]);
}

#[test]
fn both_spellings_of_the_samples_load() {
    let old = ok("{ whatsapp: { dmPolicy: 'allowlist', allowFrom: ['+1 555 000'], accounts: { work: {} } } }").config;
    let new =
        ok("{ channels: { whatsapp: { dmPolicy: 'allowlist', allowFrom: ['+1 555 000'], accounts: { work: {} } } } }")
            .config;
    assert_eq!(old, new);
    assert_eq!(account(&old, "work").rules.allow_from.entries(), ["+1555000"]);
    let both = only(
        "{ whatsapp: { dmPolicy: 'disabled', historyLimit: 3 }, channels: { whatsapp: { dmPolicy: 'allowlist' } } }",
    );
    assert_eq!((both.dm_policy, both.history_limit), (DmPolicy::Allowlist, 3));
    // A problem of a moved key is told where it stands.
    problem("{\n whatsapp: {\n  historyLimit: -1 } }", &["3:17: channels.whatsapp.historyLimit"]);
}

#[test]
fn older_shapes_are_moved() {
    let text = "{ routing: { allowFrom: ['+1000000'], bindings: [{ agentId: 'a', match: { provider: 'whatsapp', accountID: 'w', peer: { kind: 'dm', id: '1 555 000' } } }],
        queue: { mode: 'interrupt' }, groupChat: { requireMention: false, mentionPatterns: ['bot'] } } }";
    let loaded = ok(text);
    assert_eq!(loaded.warnings.len(), 1, "there is no account w: {:?}", loaded.warnings);
    let config = loaded.config;
    let rules = &account(&config, "default").rules;
    assert_eq!(rules.allow_from.entries(), ["+1000000"]);
    assert_eq!(rules.groups["*"].require_mention, Some(false));
    assert_eq!(config.messages.queue.mode, QueueMode::Interrupt);
    assert_eq!(config.agents.default_agent().mention_patterns.as_deref(), Some(&["bot".to_owned()][..]));
    let binding = &config.bindings[0];
    assert_eq!(binding.account, BindingAccount::Id(AccountId::new("w")));
    assert_eq!(binding.peer, Some(BindingPeer { kind: PeerKind::Direct, id: "+1555000".to_owned() }));
    assert_eq!(only("{ channels: { whatsapp: { groups: ['*'] } } }").groups.len(), 1);
}

#[test]
fn newer_names_are_known() {
    let text = "{ channels: { whatsapp: { heartbeatVisibility: { showOk: true }, accounts: { w: { streaming: { chunkMode: 'newline', block: { enabled: true, coalesce: { idleMs: 5 } } } } } } },
        agents: { entries: { helper: { model: { primary: 'openai/gpt', fallbacks: ['x/y'] } } } } }";
    let loaded = ok(text);
    let rules = &account(&loaded.config, "w").rules;
    assert_eq!(rules.chunk_mode, ChunkMode::Newline);
    assert!(rules.block_streaming && rules.heartbeat.show_ok);
    assert_eq!(rules.block_coalesce.idle.map(|d| d.as_millis()), Some(5));
    assert_eq!(loaded.config.agents.default.as_str(), "helper");
    assert_eq!(loaded.config.agents.default_agent().model.to_string(), "openai/gpt");
    assert_eq!(loaded.warnings.len(), 1, "the fallbacks are named: {:?}", loaded.warnings);
}

#[test]
fn keys_that_verso_does_not_serve_are_named_once() {
    let text = "{ plugins: {}, channels: { telegram: { botToken: 'x' }, whatsapp: { replyToMode: 'first' } }, gateway: { mode: 'local' },
        agents: { list: [{ id: 'a', tools: {} }] } }";
    let found = warnings(text);
    assert_eq!(found.len(), 1);
    for key in ["plugins", "channels.telegram", "channels.whatsapp.replyToMode", "gateway.mode", "agents.list.0.tools"]
    {
        assert!(found[0].contains(key), "{} lacks {key}", found[0]);
    }
    problem("{ channels: { whatsap: {} } }", &["did you mean \"whatsapp\"?"]);
    problem("{ channels: { whatsapp: { exposeErrorText: true } } }", &["Unrecognized key: \"exposeErrorText\""]);
}

#[test]
fn the_account_wins_over_the_channel_and_defaults_come_last() {
    let text = "{ channels: { defaults: { groupPolicy: 'disabled' }, whatsapp: { dmPolicy: 'disabled', debounceMs: 7, ackReaction: { emoji: 'x', group: 'never' },
        accounts: { a: {}, b: { dmPolicy: 'allowlist', groupPolicy: 'open', ackReaction: { emoji: 'y' } } } } }, messages: { inbound: { debounceMs: 9 } } }";
    let config = ok(text).config;
    let (a, b) = (account(&config, "a"), account(&config, "b"));
    assert_eq!((a.rules.dm_policy, b.rules.dm_policy), (DmPolicy::Disabled, DmPolicy::Allowlist));
    assert_eq!((a.rules.group_policy, b.rules.group_policy), (GroupPolicy::Disabled, GroupPolicy::Open));
    assert_eq!(a.rules.debounce.as_millis(), 7);
    assert_eq!(a.rules.ack_reaction.as_ref().unwrap().group, AckGroup::Never);
    assert_eq!(b.rules.ack_reaction.as_ref().unwrap().group, AckGroup::Mentions, "the whole object replaces");
}

#[test]
fn open_needs_a_star() {
    problem(
        "{ channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['+1000000'] } } }",
        &[
            "channels.whatsapp.allowFrom: channels.whatsapp.dmPolicy=\"open\" requires channels.whatsapp.allowFrom to include \"*\"",
        ],
    );
    problem(
        "{ channels: { whatsapp: { allowFrom: ['*'], accounts: { w: { dmPolicy: 'open' } } } } }",
        &["1:", "channels.whatsapp.accounts.*.dmPolicy=\"open\" requires allowFrom to include \"*\""],
    );
    ok("{ channels: { whatsapp: { dmPolicy: 'open', allowFrom: [' * '] } } }");
}

#[test]
fn open_and_a_list_are_held_against_each_other_after_both_are_resolved() {
    let whatsapp = |keys: &str| format!("{{ channels: {{ whatsapp: {{\n{keys} }} }} }}");
    // Inherited: it loads, the list counts, and the remark names both lines.
    let text = whatsapp(
        "dmPolicy: 'open', allowFrom: ['*'],\ngroupPolicy: 'open',\naccounts: {\n work: { allowFrom: ['+15551234567'],\n  groupAllowFrom: [] }, home: {} }",
    );
    let loaded = ok(&text);
    let told: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("5:")
            && told[0].contains(
                "accounts.work.allowFrom: dmPolicy is inherited as \"open\" from channels.whatsapp.dmPolicy (line 2)"
            ),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("6:")
            && told[1].contains("groupPolicy is inherited as \"open\" from channels.whatsapp.groupPolicy (line 3)"),
        "{told:?}"
    );
    assert!(told.iter().all(|t| t.contains("served as \"allowlist\"") && t.contains("or add \"*\"")), "{told:?}");
    let (work, home) = (&account(&loaded.config, "work").rules, &account(&loaded.config, "home").rules);
    assert_eq!((work.dm_policy, work.group_policy), (DmPolicy::Allowlist, GroupPolicy::Allowlist));
    assert_eq!((home.dm_policy, home.group_policy), (DmPolicy::Open, GroupPolicy::Open));
    assert!(work.narrowed.dm && work.narrowed.group && home.narrowed == Narrowed::default());
    // The channel's defaults are inherited by the channel itself, once for all its accounts.
    let defaults = "{ channels: { defaults: {\n groupPolicy: 'open' }, whatsapp: {\n groupAllowFrom: ['+15551234567'], accounts: { a: {}, b: {} } } } }";
    let told = warnings(defaults);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("3:") && told[0].contains("from channels.defaults.groupPolicy (line 2)"), "{told:?}");
    // A list that names everybody contradicts nothing.
    assert!(
        warnings(&whatsapp("dmPolicy: 'open', allowFrom: ['*'], accounts: { w: { allowFrom: ['whatsapp:*'] } }"))
            .is_empty()
    );
    assert!(warnings(&whatsapp("groupPolicy: 'open', groupAllowFrom: ['*', '+15551234567']")).is_empty());
    // In one object it is a mistake.
    problem(
        &whatsapp("groupPolicy: 'open', groupAllowFrom: ['+15551234567']"),
        &[
            "2:",
            "channels.whatsapp.groupAllowFrom: channels.whatsapp.groupPolicy=\"open\" requires groupAllowFrom to include \"*\"",
            "choose groupPolicy \"allowlist\"",
        ],
    );
    problem(
        &whatsapp("accounts: { w: {\n groupPolicy: 'open', groupAllowFrom: [] } }"),
        &[
            "3:",
            "channels.whatsapp.accounts.w.groupAllowFrom: channels.whatsapp.accounts.*.groupPolicy=\"open\" requires",
        ],
    );
}

#[test]
fn groups_that_are_written_are_a_list_and_absent_ones_are_not() {
    assert!(!only("{ channels: { whatsapp: {} } }").lists_groups);
    assert!(only("{ channels: { whatsapp: { groups: {} } } }").lists_groups);
    let config =
        ok("{ channels: { whatsapp: { groups: { '*': {} }, accounts: { a: {}, b: { groups: {} } } } } }").config;
    let groups = |id: &str| account(&config, id).rules.groups.len();
    assert_eq!((groups("a"), groups("b")), (1, 0));
}

#[test]
fn entries_that_name_nobody_are_refused() {
    for entry in ["bob", "", " ", "+", "12@g.us", "x@lid", "whatsapp:"] {
        problem(
            &format!("{{ channels: {{ whatsapp: {{ allowFrom: ['+1000000', '{entry}'] }} }} }}"),
            &["allowFrom.1", "names nobody"],
        );
    }
    let list = only("{ channels: { whatsapp: { allowFrom: ['whatsapp:+1 (555) 200', '1555200', '77@lid', '1555000:3@s.whatsapp.net', '*'] } } }").allow_from;
    assert_eq!(list.entries(), ["*", "+1555200", "+1555000", "77@lid"]);
    // Once for the channel, however many accounts inherit it.
    problem("{ channels: { whatsapp: { allowFrom: ['bob'], accounts: { a: {}, b: {} } } } }", &["allowFrom.0"]);
}

#[test]
fn every_key_that_takes_a_number_names_line_and_character() {
    let whatsapp = |keys: &str| format!("{{ channels: {{ whatsapp: {{\n {keys} }} }} }}");
    for (text, key, says) in [
        (
            whatsapp("allowFrom: ['+1555700O0009 (my wife)']"),
            "channels.whatsapp.allowFrom.0",
            "\"+1555700O0009 (my wife)\" names nobody: \"O\" cannot stand in a phone number (use a phone number with country code such as +15551234567",
        ),
        (
            whatsapp("groupAllowFrom: ['+15557000001 ext 5']"),
            "groupAllowFrom.0",
            "\"e\" cannot stand in a phone number",
        ),
        (
            whatsapp("accounts: { w: {\n allowFrom: ['+1555'] } }"),
            "accounts.w.allowFrom.0",
            "7 to 15 digits with its country code, and this has 4",
        ),
        (
            whatsapp("dms: { '+1555x550001': {} }"),
            "channels.whatsapp.dms.+1555x550001",
            "\"x\" cannot stand in a phone number",
        ),
        (whatsapp("direct: { 'my wife': {} }"), "direct[\"my wife\"]", "\"m\" cannot stand in a phone number"),
        (
            "{ commands: {\n ownerAllowFrom: ['+1+5557000001'] } }".to_owned(),
            "commands.ownerAllowFrom.0",
            "one \"+\", before its first digit",
        ),
        (
            "{ broadcast: {\n '+1555O000001': ['main'] } }".to_owned(),
            "broadcast.+1555O000001",
            "\"O\" cannot stand in a phone number",
        ),
        (
            "{ session: {\n identityLinks: { ann: ['telegram:9', 'whatsapp:+1555l000001'] } } }".to_owned(),
            "session.identityLinks.ann.1",
            "\"l\" cannot stand in a phone number",
        ),
        (
            "{ session: {\n identityLinks: { ann: ['+1555l000001'] } } }".to_owned(),
            "session.identityLinks.ann.0",
            "\"l\" cannot stand in a phone number",
        ),
        (
            "{ session: {\n identityLinks: { ann: ['*'] } } }".to_owned(),
            "session.identityLinks.ann.0",
            "names everybody",
        ),
        (
            "{ agents: { defaults: {\n heartbeat: { to: '+1555 O000001' } } } }".to_owned(),
            "agents.defaults.heartbeat.to",
            "\"O\" cannot stand in a phone number",
        ),
    ] {
        let problems = load_text(&text, &env()).expect_err(&text);
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(key) && told[0].contains(says), "{text}\n{told:?}");
        assert!((2..=3).contains(&problems[0].line), "the line is named: {told:?}");
        assert!(told[0].contains("such as +15551234567"), "what to write instead: {told:?}");
    }
    // A binding that can never match loads with a remark, as in the original.
    let stray = warnings(
        "{ bindings: [{ agentId: 'main', match: { channel: 'whatsapp', peer: { kind: 'dm', id: '+1555O000001' } } }] }",
    );
    assert!(stray[0].contains("\"O\" cannot stand in a phone number"), "{stray:?}");
    let national = warnings(&whatsapp("dmPolicy: 'allowlist', allowFrom: ['0170 1234567']"));
    assert!(
        national[0].starts_with("2:") && national[0].contains("begins with 0, which no country code does"),
        "{national:?}"
    );
}

#[test]
fn two_spellings_are_one_entry_everywhere() {
    let config = ok("{ channels: { whatsapp: { allowFrom: ['+52 1 55 1234 5678', '+52 55 1234 5678', '+55 11 98765-4321'],
          dms: { '+54 11 1234 5678': { historyLimit: 3 } } } },
        broadcast: { '+54 9 11 1234 5678': ['main'] },
        bindings: [{ agentId: 'main', match: { channel: 'whatsapp', peer: { kind: 'dm', id: '+5215512345678@s.whatsapp.net' } } },
                   { agentId: 'main', match: { channel: 'whatsapp', peer: { kind: 'dm', id: '5215512345678@c.us' } } }] }").config;
    let number = |digits: &str| E164::from_digits(digits).expect("digits");
    let rules = &account(&config, "default").rules;
    assert_eq!(rules.allow_from.entries(), ["+5215512345678", "+5511987654321"], "once, as written");
    assert!(
        rules.allow_from.has_number(&number("525512345678")) && rules.allow_from.has_number(&number("551187654321"))
    );
    assert_eq!(rules.dm_history_limit_of(&number("5491112345678")), Some(3));
    assert_eq!(config.broadcast.peers.keys().collect::<Vec<_>>(), ["+541112345678"]);
    assert_eq!(config.bindings[1].peer.as_ref().expect("a peer").id, "+525512345678");
}

#[test]
fn a_public_gateway_needs_a_token() {
    problem("{ gateway: { bind: 'lan' } }", &["gateway.bind", "has no token", "gateway.auth.token"]);
    ok("{ gateway: { bind: 'lan', auth: { token: 'long-enough' } } }");
    let outside = ResolveEnv { gateway_token: Some("outside-token".to_owned()), ..env() };
    let config = load_text("{ gateway: { bind: 'lan' } }", &outside).unwrap().config;
    assert_eq!(config.gateway.token.as_ref().map(Secret::reveal), Some("outside-token"));
    let printed = format!(
        "{:?}",
        ok("{ gateway: { auth: { token: 'hush' } }, models: { providers: { openai: { apiKey: 'hush' } } } }").config
    );
    assert!(!printed.contains("hush"), "secrets are not printed: {printed}");
}

#[test]
fn literal_messages() {
    problem(
        "{ agents: { list: [{ id: 'a', heartbeat: { every: 'soon' } }] } }",
        &["invalid duration (use ms, s, m, h)"],
    );
    problem(
        "{ agents: { defaults: { heartbeat: { activeHours: { start: '9', end: '24:00' } } } } }",
        &["activeHours.start", "invalid time (use \"HH:MM\" 24h format)"],
    );
    problem(
        "{ agents: { list: [{ id: 'a' }] }, broadcast: { '1@g.us': ['a', 'b'] } }",
        &["broadcast[\"1@g.us\"].1: Unknown agent id \"b\" (not in agents.list)."],
    );
}

#[test]
fn agents_bindings_and_models_are_resolved() {
    let config = ok("{ bindings: [{ agentId: 'Sales', match: { channel: 'WhatsApp ', accountId: '*' } }, { agentId: 'x', match: { channel: 'discord', guildId: '1' } }] }").config;
    assert_eq!(config.agents.list.iter().map(|a| a.id.as_str()).collect::<Vec<_>>(), ["main", "sales", "x"]);
    assert_eq!((config.bindings.len(), config.bindings[0].agent.as_str()), (1, "sales"));
    let loaded = ok(
        "{ agents: { list: [{ id: 'a' }, { id: 'b', default: true }] }, bindings: [{ agentId: 'nobody', match: { channel: 'whatsapp' } }] }",
    );
    assert_eq!(loaded.config.bindings[0].agent.as_str(), "b");
    let stray = warnings("{ bindings: [{ agentId: 'main', match: { channel: 'whatsapp', accountId: 'wrok' } }] }");
    assert!(stray[0].contains("bindings.0.match.accountId: there is no account \"wrok\""), "{stray:?}");
    problem("{ logging: { redactPatterns: ['('] } }", &["logging.redactPatterns.0", "not a regular expression"]);
    assert!(loaded.warnings[0].message.contains("there is no agent \"nobody\""));
    problem(
        "{ agents: { defaults: { model: 'gpt' } } }",
        &["agents.defaults.model", "there is no model provider \"gpt\""],
    );
    problem("{ agents: { defaults: { model: 'openai' } } }", &["names no model", "openai/<name of the model>"]);
    problem("{ agents: { defaults: { model: 'command' } } }", &["models.providers.command.command"]);
    problem("{ bindings: [{ match: { channel: 'whatsapp' } }] }", &["bindings.0.agentId: the key agentId is missing"]);
    // The original lets it stand, so a file that loads there loads here.
    let stray = warnings(
        "{ bindings: [{ agentId: 'main', match: { channel: 'whatsapp', peer: { kind: 'group', id: '+1000000' } } }] }",
    );
    assert!(stray[0].contains("names no such chat, so this binding never matches"), "{stray:?}");
    let paths =
        ok("{ agents: { defaults: { workspace: '~/w' }, list: [{ id: 'a' }, { id: 'b', workspace: 'b' }] } }").config;
    let workspaces: Vec<_> =
        paths.agents.list.iter().map(|a| a.workspace.clone().unwrap().display().to_string()).collect();
    assert_eq!(workspaces, ["/home/u/w", "/home/u/.verso/b"]);
}

#[test]
fn accounts_with_the_same_id_are_refused() {
    problem("{ channels: { whatsapp: { accounts: { Work: {}, work: {} } } } }", &["accounts.work", "listed twice"]);
    problem(
        "{ channels: { whatsapp: { defaultAccount: 'x', accounts: { work: {} } } } }",
        &["defaultAccount", "use one of: work"],
    );
    problem("{ channels: { whatsapp: { accounts: { work: { authDir: '' } } } } }", &["authDir", "empty"]);
}

#[test]
fn a_label_is_trimmed() {
    let config = ok("{channels: {whatsapp: {accounts: {a: {name: ' Ann '}, b: {name: ' '}}}}}").config;
    assert_eq!(account(&config, "a").rules.name.as_deref(), Some("Ann"));
    assert_eq!(account(&config, "b").rules.name, None);
}

#[test]
fn includes_and_environment() {
    let read = |text: &str, files: &[(&str, &str)], vars: &[(&str, &str)]| {
        let mut find = |p: &Path| {
            files
                .iter()
                .find(|(n, _)| p == Path::new("/c").join(n))
                .map(|(_, t)| (*t).to_owned())
                .ok_or("there is no such file".to_owned())
        };
        let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let context = Context { path: Some(Path::new("/c/verso.json")), var: &var, read: &mut find };
        load(text, context, &env())
    };
    let text = "{ channels: { whatsapp: { $include: ['a.json', './sub/b.json'], allowFrom: ['+3000000'], historyLimit: 3 } } }";
    let files = [
        (
            "a.json",
            "{ allowFrom: ['+1000000'], historyLimit: 1, accounts: { w: { name: '${WHO} $${WHO} ${lower}' } } }",
        ),
        ("sub/b.json", "{ $include: '../c.json', allowFrom: ['+2000000'] }"),
        ("c.json", "{ dmPolicy: 'allowlist' }"),
    ];
    let loaded = read(text, &files, &[("WHO", "me")]).unwrap();
    let rules = &account(&loaded.config, "w").rules;
    assert_eq!(rules.allow_from.entries(), ["+1000000", "+2000000", "+3000000"]);
    assert_eq!((rules.history_limit, rules.dm_policy), (3, DmPolicy::Allowlist));
    assert_eq!(rules.name.as_deref(), Some("me ${WHO} ${lower}"));
    assert_eq!(loaded.files.len(), 4);

    let lines = |r: Result<Loaded, Rejected>| r.unwrap_err().to_string();
    let unset = lines(read(text, &files, &[]));
    assert!(
        unset.starts_with("/c/a.json:1:68: channels.whatsapp.accounts.w.name: the environment variable WHO is not set"),
        "{unset}"
    );
    let circle = lines(read("{ $include: 'a.json' }", &[("a.json", "{ $include: 'verso.json' }")], &[]));
    assert!(circle.contains("/c/a.json:1:13: $include: /c/verso.json includes itself"), "{circle}");
    let missing = read("{ $include: 'no.json' }", &[], &[]).unwrap_err();
    assert!(missing.to_string().contains("cannot read the included file /c/no.json"), "{missing}");
    assert_eq!(missing.files.len(), 2, "a missing file is watched too");
    let broken = lines(read("{ web: { $include: 'a.json' } }", &[("a.json", "{\n enabled: 1,\n x 2 }")], &[]));
    assert!(broken.starts_with("/c/a.json:3:"), "{broken}");
    let outside = lines(read("{ web: { $include: '../a.json' } }", &[], &[]));
    assert!(outside.contains("lies outside the config folder"), "{outside}");
}

/// Every key path of the schema, with `*` for free keys and list entries.
fn schema_paths(node: &Value, at: &str, out: &mut BTreeSet<String>) {
    let root = schema();
    let node = node.get("$ref").and_then(Value::as_str).map_or(node, |r| root.pointer(&r[1..]).unwrap());
    for (key, value) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let at = format!("{at}.{key}");
        schema_paths(value, &at, out);
        out.insert(at);
    }
    for free in [node.get("additionalProperties").filter(|a| a.is_object()), node.get("items")].into_iter().flatten() {
        schema_paths(free, &format!("{at}.*"), out);
    }
}

fn written_paths(node: &Value, at: &str, out: &mut BTreeSet<String>) {
    match node {
        Value::Object(map) => {
            for (key, value) in map {
                for step in [key.as_str(), "*"] {
                    let at = format!("{at}.{step}");
                    written_paths(value, &at, out);
                    out.insert(at);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|v| written_paths(v, &format!("{at}.*"), out)),
        _ => {}
    }
}

#[test]
fn the_example_has_every_key_and_loads() {
    let text = include_str!("../../config/verso.example.json");
    let loaded = ok(text);
    assert_eq!(loaded.warnings.len(), 1, "only messages.ackReaction: {:?}", loaded.warnings);
    let (mut wanted, mut there) = (BTreeSet::new(), BTreeSet::new());
    schema_paths(schema(), "", &mut wanted);
    written_paths(&edit::json5_value(text).unwrap(), "", &mut there);
    // Keys that accounts and agents share with their defaults stand there once.
    let shared = |path: &str| {
        path.strip_prefix(".channels.whatsapp.accounts.*")
            .map(|rest| format!(".channels.whatsapp{rest}"))
            .filter(|p| wanted.contains(p))
            .or_else(|| {
                path.strip_prefix(".agents.list.*")
                    .map(|rest| format!(".agents.defaults{rest}"))
                    .filter(|p| wanted.contains(p))
            })
            .or_else(|| {
                path.split_once(".resetByType.")
                    .and_then(|(_, r)| r.split_once('.'))
                    .map(|(_, key)| format!(".session.reset.{key}"))
            })
            .or_else(|| path.strip_prefix(".session.resetByChannel.*").map(|rest| format!(".session.reset{rest}")))
    };
    let missing: Vec<&String> =
        wanted.iter().filter(|p| !there.contains(*p) && !shared(p).is_some_and(|s| there.contains(&s))).collect();
    assert!(missing.is_empty(), "config/verso.example.json lacks {missing:?}");
    assert!(wanted.len() > 150, "the schema was read: {} keys", wanted.len());
}

#[test]
fn every_key_is_described() {
    fn check(node: &Value, at: &str) {
        for (key, value) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
            assert!(value["description"].as_str().is_some_and(|d| d.len() > 3), "{at}.{key} has no description");
        }
        for (name, def) in node.get("$defs").and_then(Value::as_object).into_iter().flatten() {
            check(def, name);
        }
    }
    check(schema(), "");
    let text = schema().to_string();
    assert!(!text.contains("\"null\"") && !text.contains("uint32"), "no Rust shows through");
}

#[test]
fn a_pinned_web_version_is_read_and_what_is_none_names_its_key() {
    let pinned =
        |value: &str| ok(&format!("{{ web: {{ version: {value} }} }}")).config.web_version.map(|v| v.to_string());
    for value in ["'2.3000.1044017588'", "'v2.3000.1044017588'", "1044017588", "[2, 3000, 1044017588]"] {
        assert_eq!(pinned(value).as_deref(), Some("2.3000.1044017588"), "{value}");
    }
    assert_eq!(ok("{ web: {} }").config.web_version, None);
    for value in ["'latest'", "'2.3000'", "''", "true", "0", "'2.2413.51'", "{}"] {
        problem(&format!("{{ web: {{ version: {value} }} }}"), &["web.version", "is no version of WhatsApp Web"]);
    }
    let old = warnings("{ web: { version: '2.3000.1' } }");
    assert!(old.iter().any(|w| w.contains("web.version") && w.contains("WhatsApp refuses old versions")), "{old:?}");
}

#[test]
fn the_demo_config_is_two_accounts_and_two_agents() {
    let loaded = ok(include_str!("../../config/demo.json"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = loaded.config;
    assert_eq!(config.accounts.keys().map(AccountId::as_str).collect::<Vec<_>>(), ["personal", "work"]);
    assert!(config.accounts.values().all(|a| a.rules.dm_policy == DmPolicy::Pairing));
    assert_eq!(config.agents.list.iter().map(|a| a.id.as_str()).collect::<Vec<_>>(), ["main", "research"]);
    assert_eq!(config.bindings[0].agent.as_str(), "research");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", words in proptest::collection::vec("[a-zA-Z]{1,10}|[{}\\[\\]:,'\"+*0-9.]", 0..60)) {
        let _ = load_text(&text, &env());
        let _ = load_text(&format!("{{ channels: {{ whatsapp: {{ {} }} }} }}", words.join(" ")), &env());
    }

    #[test]
    fn no_value_makes_it_panic(key in "dmPolicy|allowFrom|groups|accounts|dms|ackReaction|historyLimit|direct|heartbeat|markdown",
        value in "null|true|-1|1e99|Infinity|0.5|''|'x'|\\[\\]|\\['a',1,null\\]|\\{\\}|\\{a:1\\}|\\{a:\\{\\}\\}|\\{'':\\{\\}\\}") {
        let _ = load_text(&format!("{{ channels: {{ whatsapp: {{ {key}: {value} }} }} }}"), &env());
    }
}

/// Loads `text` with these environment variables; every problem or warning as one text.
fn said_with(text: &str, vars: &[(&str, &str)]) -> String {
    let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    let mut no_files = |_: &std::path::Path| Err("no files".to_owned());
    let env = ResolveEnv::new("/h", "/s");
    match super::load(text, super::Context { path: None, var: &var, read: &mut no_files }, &env) {
        Ok(loaded) => loaded.warnings.iter().map(|w| format!("{w}\n")).collect(),
        Err(rejected) => rejected.to_string(),
    }
}

#[test]
fn findings_quote_the_file_and_never_the_environment() {
    const KEY: &str = "Sk-live/abq_ZED.123456789";
    let check = |text: &str, wanted: &str| {
        let said = said_with(text, &[("OPENAI_API_KEY", KEY), ("WHERE", KEY)]);
        assert!(said.contains(wanted), "{text}\n{said}");
        for part in ["live", "abq", "ZED", "123456789", "zed"] {
            assert!(!said.contains(part), "{part} in: {said}");
        }
    };
    for name in ["OPENAI_API_KEY", "WHERE"] {
        let quoted = format!("\"${{{name}}}\"");
        for text in [
            "{ agents: { defaults: { model: 'X' } } }",
            "{ agents: { list: [{ id: 'a', model: 'X' }] } }",
            "{ channels: { whatsapp: { defaultAccount: 'X' } } }",
            "{ agents: { list: [{ id: 'a' }] }, bindings: [{ agentId: 'X', match: { channel: 'whatsapp' } }] }",
            "{ bindings: [{ agentId: 'main', match: { channel: 'whatsapp', accountId: 'X' } }] }",
            "{ bindings: [{ agentId: 'main', match: { channel: 'whatsapp', peer: { kind: 'group', id: 'X' } } }] }",
            "{ broadcast: { '+15551234567': ['X'] }, agents: { list: [{ id: 'a' }] } }",
            "{ credentials: { encryption: { key: { source: 'env', id: 'X=$' } } } }",
            "{ logging: { redactPatterns: ['X('] } }",
        ] {
            let text = text.replace('X', &format!("${{{name}}}"));
            let wanted = if text.contains("=$'") {
                "=$\""
            } else if text.contains("('") {
                "(\""
            } else {
                quoted.as_str()
            };
            check(&text, wanted);
        }
        check(&format!("{{ channels: {{ whatsapp: {{ dmPolicy: '${{{name}}}' }} }} }}"), "expected one of");
        check(&format!("{{ web: {{ enabled: '${{{name}}}' }} }}"), "expected boolean");
    }
}

#[test]
fn a_finding_holds_no_secret_of_the_file_and_nothing_that_the_owner_hides() {
    let said = said_with(
        "{ models: { providers: { x: { apiKey: 'literal-secret-1' } } }, agents: { defaults: { model: 'literal-secret-1' } } }",
        &[],
    );
    assert!(said.contains("there is no model provider \"***\"") && !said.contains("literal-secret"), "{said}");
    let said = said_with(
        "{ logging: { redactPatterns: ['nosuch\\\\w+'] }, agents: { defaults: { model: 'nosuchmodel' } } }",
        &[],
    );
    assert!(said.contains("\"***\"") && !said.contains("nosuchmodel"), "{said}");
    let said = said_with("{ logging: { redactSensitive: 'off', redactPatterns: ['x'] } }", &[]);
    assert!(said.contains("hide nothing as long as logging.redactSensitive is \"off\""), "{said}");
}

#[test]
fn an_address_with_a_password_is_refused_with_the_line_to_write() {
    for address in ["http://ann:s3cret-pw@h/v1", "https://s3cret-pw@h", "http://ann:s3cr/et-pw@h", "${WHERE}"] {
        let text = format!("{{ models: {{ providers: {{ my_llm: {{ baseUrl: '{address}' }} }} }} }}");
        let said = said_with(&text, &[("WHERE", "http://ann:s3cret-pw@h/v1")]);
        assert!(said.contains("models.providers.my_llm.baseUrl") && said.contains("is not taken"), "{said}");
        assert!(said.contains("headers: { Authorization: \"Basic ${MY_LLM_BASIC_AUTH}\" }"), "{said}");
        assert!(!said.contains("et-pw") && !said.contains("ann:"), "{said}");
    }
    assert_eq!(said_with("{ models: { providers: { x: { baseUrl: 'http://h:1/a@b' } } } }", &[]), "");
}

#[test]
fn secrets_that_are_too_short_to_hide_are_named() {
    let said = said_with(
        "{ models: { providers: { x: { baseUrl: 'http://h', apiKey: 'short', headers: { 'X-Key': 'abc', Accept: 'a/b' } } } } }",
        &[],
    );
    assert!(said.contains("models.providers.x.apiKey: this secret has fewer than 8 characters"), "{said}");
    assert!(
        said.contains("models.providers.x.headers.X-Key") && !said.contains("Accept") && !said.contains("short and"),
        "{said}"
    );
    let said = said_with("{ gateway: { bind: 'lan', auth: { token: '1234567' } } }", &[]);
    assert!(said.contains("gateway.auth.token: the API may be reached from other machines"), "{said}");
    assert!(!said.contains("1234567"), "{said}");
    assert!(said_with("{ gateway: { bind: 'lan', auth: { token: '12345678' } } }", &[]).is_empty());
}

#[test]
fn every_secret_of_a_config_is_found() {
    let text = "{ gateway: { auth: { token: 'gateway-token' } }, models: { providers: {
        a: { baseUrl: 'http://h/v1?api_key=query-key', apiKey: '${A}', headers: { Authorization: 'Bearer header-token', 'Content-Type': 'application/json' } },
        b: { api: 'command', command: ['run', '--token', 'argument-token', '--api-key=argument-key', '${B_SECRET}'] },
    } }, agents: { defaults: { workspace: '${HOME}/w' } } }";
    let var = |name: &str| Some(format!("value-of-{name}"));
    let mut no_files = |_: &std::path::Path| Err("no files".to_owned());
    let loaded =
        super::load(text, super::Context { path: None, var: &var, read: &mut no_files }, &ResolveEnv::new("/h", "/s"));
    let secrets = loaded.expect("valid").secrets;
    let found: Vec<&str> = secrets.iter().collect();
    for secret in [
        "gateway-token",
        "query-key",
        "value-of-A",
        "Bearer header-token",
        "header-token",
        "argument-token",
        "argument-key",
        "value-of-B_SECRET",
    ] {
        assert!(found.contains(&secret), "{secret} of {found:?}");
    }
    assert!(!found.iter().any(|s| s.contains("HOME") || s.contains("json")), "{found:?}");
}
