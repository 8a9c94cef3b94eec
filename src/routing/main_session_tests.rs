use super::*;
use crate::config::{Loaded, ResolveEnv, load_text};

fn load(text: &str) -> Loaded {
    load_text(text, &ResolveEnv::new("/h", "/h/.verso")).unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

/// Sessions of people who write to accounts: `account ids [own]` -> the session, with `*` where it is one person's main session.
fn check(config: &str, own_numbers: &[(&str, &str)], cases: &[(&str, &str)]) {
    let loaded = load(config);
    let own_numbers: OwnNumbers = own_numbers
        .iter()
        .map(|(account, number)| (AccountId::new(account), E164::parse(number).expect("a number")))
        .collect();
    for (who, want) in cases {
        let mut words = who.split(' ');
        let account = AccountId::new(words.next().expect("an account"));
        let ids: Vec<String> = words.next().expect("ids").split(',').map(str::to_owned).collect();
        let chat = bindings::Chat { own_chat: words.next() == Some("own"), ..bindings::Chat::direct(&account, &ids) };
        let route = bindings::route(&loaded.config, chat, &own_numbers);
        let star = if route.person.is_some() { "*" } else { "" };
        assert_eq!(format!("{}{star}", route.session), *want, "{who} with {config}");
    }
}

fn whatsapp(text: &str) -> String {
    format!("{{ channels: {{ whatsapp: {{ {text} }} }} }}")
}

const MAIN: &str = "agent:main:main*";

#[test]
fn the_first_number_has_the_main_session_and_everybody_else_one_of_their_own() {
    check(
        &whatsapp("allowFrom: ['77@lid', '+15557000001', '+15557000002', '*'], dmPolicy: 'open'"),
        &[("default", "+15550001111")],
        &[
            ("default +15557000001", MAIN),
            ("default +15557000001,88@lid", MAIN),
            ("default +15557000002", "agent:main:whatsapp:default:direct:+15557000002"),
            ("default +15557000009", "agent:main:whatsapp:default:direct:+15557000009"),
            ("default 77@lid", "agent:main:whatsapp:default:direct:77@lid"),
            ("default +15550001111 own", MAIN),
            ("default +15550001111", "agent:main:whatsapp:default:direct:+15550001111"),
        ],
    );
}

#[test]
fn without_a_listed_number_it_is_the_own_one_and_nobody_elses() {
    let approved = ("default +15557000001", "agent:main:whatsapp:default:direct:+15557000001");
    check(&whatsapp("allowFrom: []"), &[("default", "+15550001111")], &[("default +15550001111 own", MAIN), approved]);
    check(
        &whatsapp(""),
        &[],
        &[("default +15550001111 own", "agent:main:whatsapp:default:direct:+15550001111"), approved],
    );
}

#[test]
fn the_default_account_comes_first_then_the_id() {
    let accounts = "accounts: { zoo: { allowFrom: ['+15557000003'] }, default: { allowFrom: ['+15557000001'] }, biz: { allowFrom: ['+15557000002', '+15557000001'] } }";
    let cases = [
        ("default +15557000001", MAIN),
        ("biz +15557000001", MAIN),
        ("biz +15557000002", "agent:main:whatsapp:biz:direct:+15557000002"),
        ("zoo +15557000003", "agent:main:whatsapp:zoo:direct:+15557000003"),
        // The own chats of accounts that are somebody else's.
        ("biz +15550002222 own", "agent:main:whatsapp:biz:direct:+15550002222"),
        ("default +15550001111 own", MAIN),
    ];
    check(&whatsapp(accounts), &[], &cases);
    // Without an account `default` it is the first id; one that is switched off reaches nobody.
    let others = "accounts: { zoo: { allowFrom: ['+15557000003'] }, biz: { allowFrom: ['+15557000002'] } }";
    check(
        &whatsapp(others),
        &[],
        &[("biz +15557000002", MAIN), ("zoo +15557000003", "agent:main:whatsapp:zoo:direct:+15557000003")],
    );
    let off = others.replace("biz: { ", "biz: { enabled: false, ");
    check(&whatsapp(&off), &[], &[("zoo +15557000003", MAIN)]);
}

#[test]
fn every_agent_has_an_owner_of_its_own() {
    let config = "{ agents: { list: [{ id: 'main' }, { id: 'shop' }] }, bindings: [{ agentId: 'shop', match: { channel: 'whatsapp', accountId: 'shop' } }],
        channels: { whatsapp: { accounts: { default: { allowFrom: ['+15557000001'] }, shop: { allowFrom: ['+15557000002'] } } } } }";
    check(
        config,
        &[],
        &[
            ("default +15557000001", MAIN),
            ("shop +15557000002", "agent:shop:main*"),
            ("shop +15557000001", "agent:shop:whatsapp:shop:direct:+15557000001"),
            ("default +15557000002", "agent:main:whatsapp:default:direct:+15557000002"),
        ],
    );
}

#[test]
fn an_agent_that_answers_one_person_alone_is_that_persons() {
    let config = |bindings: &str| {
        format!(
            "{{ agents: {{ list: [{{ id: 'main' }}, {{ id: 'fam' }}] }}, bindings: [{bindings}],
             channels: {{ whatsapp: {{ allowFrom: ['+15557000001', '+15557000002', '+15557000003'], accounts: {{ default: {{}}, work: {{}} }} }} }} }}"
        )
    };
    let peer = |id: &str, account: &str| {
        format!("{{ agentId: 'fam', match: {{ channel: 'whatsapp', {account} peer: {{ kind: 'dm', id: '{id}' }} }} }}")
    };
    let ann = peer("+1 555 700-0002", "accountId: '*',");
    let group =
        "{ agentId: 'fam', match: { channel: 'whatsapp', peer: { kind: 'group', id: '120363000000000001@g.us' } } }";
    for bindings in [ann.clone(), format!("{ann}, {group}")] {
        check(
            &config(&bindings),
            &[],
            &[
                ("default +15557000002", "agent:fam:main*"),
                ("work +15557000002,77@lid", "agent:fam:main*"),
                ("default +15557000003", "agent:main:whatsapp:default:direct:+15557000003"),
                ("default +15557000001", MAIN),
            ],
        );
    }
    // A second person, by any way.
    let bob = peer("+15557000003", "");
    let all = "{ agentId: 'fam', match: { channel: 'whatsapp', accountId: 'work' } }".to_owned();
    for other in [bob.clone(), all] {
        check(
            &config(&format!("{ann}, {other}")),
            &[],
            &[
                ("default +15557000002", "agent:fam:whatsapp:default:direct:+15557000002"),
                ("work +15557000002", "agent:fam:whatsapp:work:direct:+15557000002"),
            ],
        );
    }
    // Of the people who reach it by bindings, the account's first number keeps the main session.
    let first = peer("+15557000001", "");
    check(
        &config(&format!("{first}, {bob}")),
        &[],
        &[
            ("default +15557000001", "agent:fam:main*"),
            ("default +15557000003", "agent:fam:whatsapp:default:direct:+15557000003"),
        ],
    );
    let broadcast = config(&ann).replace("bindings:", "broadcast: { '+15557000003': ['fam', 'main'] }, bindings:");
    check(&broadcast, &[], &[("default +15557000002", "agent:fam:whatsapp:default:direct:+15557000002")]);
}

#[test]
fn identity_links_join_people_to_the_owner_and_to_themselves() {
    let config = "{ session: { identityLinks: { me: ['whatsapp:+15557000001', '88@lid', '1 555 700 0004'], ann: ['+15557000002', '+15557000003'] } },
        channels: { whatsapp: { allowFrom: ['+15557000001'] } } }";
    check(
        config,
        &[],
        &[
            ("default +15557000001", MAIN),
            ("default 88@lid", MAIN),
            ("default +15557000004", MAIN),
            ("default +15557000002", "agent:main:whatsapp:default:direct:ann"),
            ("default +15557000003", "agent:main:whatsapp:default:direct:ann"),
        ],
    );
}

#[test]
fn written_scopes_stay_what_they_are() {
    for (scope, ann, bob) in [
        ("dmScope: 'main'", "agent:main:main", "agent:main:main"),
        ("dmScope: 'main', mainKey: 'Home'", "agent:main:home", "agent:main:home"),
        ("scope: 'global'", "agent:main:main", "agent:main:main"),
        ("dmScope: 'per-peer'", "agent:main:direct:+15557000001", "agent:main:direct:+15557000002"),
        ("mainKey: 'Home'", "agent:main:home*", "agent:main:whatsapp:default:direct:+15557000002"),
        ("dmScope: 'auto'", MAIN, "agent:main:whatsapp:default:direct:+15557000002"),
    ] {
        let config =
            format!("{{ session: {{ {scope} }}, channels: {{ whatsapp: {{ allowFrom: ['+15557000001'] }} }} }}");
        check(&config, &[], &[("default +15557000001", ann), ("default +15557000002", bob)]);
    }
}

#[test]
fn an_edit_that_moves_a_main_session_is_told_without_numbers() {
    let moved = |old: &str, new: &str| moved(&load(&whatsapp(old)).config, &load(&whatsapp(new)).config);
    let (one, two) = ("allowFrom: ['+15557000001']", "allowFrom: ['+15557000001', '+15557000002']");
    assert!(moved(one, two).is_empty() && moved(two, one).is_empty(), "an entry more moves nothing");
    let other = moved(two, "allowFrom: ['+15557000002', '+15557000001']");
    let told = "the main session of agent main now belongs to the first number in allowFrom of account default, and begins anew";
    assert_eq!(other, [told]);
    let accounts = |ids: &[(&str, &str)]| {
        let list: Vec<String> = ids.iter().map(|(id, first)| format!("{id}: {{ allowFrom: ['{first}'] }}")).collect();
        format!("accounts: {{ {} }}", list.join(", "))
    };
    let work = accounts(&[("work", "+15557000001")]);
    assert!(moved(&work, &accounts(&[("work", "+15557000001"), ("zoo", "+15557000002")])).is_empty());
    let first = moved(&work, &accounts(&[("work", "+15557000001"), ("alpha", "+15557000002")]));
    assert!(first.len() == 2 && first[0].contains("of account alpha,"), "{first:?}");
    assert_eq!(first[1], "the own chat of account work no longer uses the main session of agent main");
    assert_eq!(moved(one, "").len(), 1);
    let second = |list: &str| {
        format!("accounts: {{ default: {{ allowFrom: ['+15557000001'] }}, zoo: {{ allowFrom: [{list}] }} }}")
    };
    let own = moved(&second(""), &second("'+15557000001'"));
    assert_eq!(own, ["the own chat of account zoo uses the main session of agent main"]);
    assert!(moved(&format!("{one}, historyLimit: 3"), one).is_empty());
}

#[test]
fn a_shared_main_session_is_warned_of_by_its_line() {
    let warned = |session: &str, whatsapp: &str| -> Vec<String> {
        let text = format!("{{\n  session: {{ {session} }},\n  channels: {{ whatsapp: {{ {whatsapp} }} }},\n}}");
        let warnings = load(&text).warnings.into_iter();
        warnings.map(|w| format!("{}:{} {}", w.line, w.key_path, w.message)).collect()
    };
    let two = "dmPolicy: 'allowlist', allowFrom: ['+15557000001', '+15557000002']";
    for (session, whatsapp, want) in [
        ("dmScope: 'main'", two, "agent main: 2 listed people"),
        (
            "dmScope: 'main'",
            "allowFrom: ['+15557000001']",
            "agent main: 1 listed person and everybody whom you approve",
        ),
        ("dmScope: 'main'", "", "agent main: everybody whom you approve"),
        ("dmScope: 'main'", "dmPolicy: 'open', allowFrom: ['*']", "agent main: everybody who writes"),
        ("scope: 'global'", two, "agent main: 2 listed people"),
    ] {
        let all = warned(session, whatsapp);
        let key = session.split(':').next().expect("a key");
        assert!(all.len() == 1 && all[0].starts_with(&format!("2:session.{key} ")), "{all:?}");
        assert!(all[0].contains(&format!("({want});")), "{all:?}");
    }
    for (session, whatsapp) in [
        ("", two),
        ("dmScope: 'auto'", two),
        ("dmScope: 'per-peer'", two),
        ("dmScope: 'main'", "dmPolicy: 'allowlist', allowFrom: ['+15557000001']"),
        ("dmScope: 'main'", "dmPolicy: 'allowlist', allowFrom: ['+1 555 700 0001', '+15557000001']"),
        ("dmScope: 'main'", "dmPolicy: 'disabled', allowFrom: ['+15557000001', '+15557000002']"),
        ("dmScope: 'main', identityLinks: { me: ['+15557000001', '+15557000002'] }", two),
    ] {
        assert_eq!(warned(session, whatsapp), Vec::<String>::new(), "{session} {whatsapp}");
    }
}
