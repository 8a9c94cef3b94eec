//! Gate by gate: what each says, by which key and value, and what an admitted message carries on.

use super::tests::{ANN, Case, GROUP, SELF, T0, jid};
use super::*;
use crate::event::Quote;
use crate::ids::E164;

/// `gate outcome key=value`, gate by gate.
fn gates(case: &Case) -> Vec<String> {
    let line = |gate: &Gate| {
        let key = gate.key.as_deref().map(|key| format!(" {}", key.trim_start_matches("channels.whatsapp.")));
        let value = gate.value.as_deref().map(|value| format!("={value}"));
        format!("{} {}{}{}", gate.gate, gate.outcome, key.unwrap_or_default(), value.unwrap_or_default())
    };
    case.decide().trace.iter().map(line).collect()
}

fn check(case: &Case, want: &[&str]) {
    assert_eq!(gates(case), want, "{}", case.config);
}

/// A case with whole keys beside `channels`.
fn beside(mut case: Case, keys: &str) -> Case {
    case.config = format!("{{ {keys}, {}", case.config.trim_start().trim_start_matches('{'));
    case
}

fn quote(sender: Option<&str>, by_us: bool) -> impl FnOnce(&mut Body) {
    let sender = sender.map(jid);
    move |body| body.quote = Some(Quote { id: None, sender, by_us, body: "x".into(), media: None })
}

fn own_chat(whatsapp: &str) -> Case {
    Case::dm(whatsapp).own().with(|c| c.message.chat = jid(SELF))
}

/// Into the main session, which is of the first number in `allowFrom` or the account's own.
const ROUTE: &str = "route default=main in agent:main:main";
/// Into the session of one contact alone.
const APART: &str = "route default=main in agent:main:whatsapp:default:direct:+15551234567";

#[test]
fn every_gate_of_a_direct_chat_names_its_key_and_value() {
    check(&Case::dm("dmPolicy: 'open', allowFrom: ['*']"), &["dm open dmPolicy=open", APART]);
    check(
        &Case::dm("dmPolicy: 'allowlist', allowFrom: ['+15551234567']"),
        &["dm allowlisted allowFrom=+15551234567", ROUTE],
    );
    check(&Case::dm("dmPolicy: 'allowlist', allowFrom: ['*']"), &["dm allowlisted allowFrom=*", APART]);
    check(
        &Case::dm("").with(|c| c.approved = vec!["+15551234567"]),
        &["dm approved pairing store=+15551234567", APART],
    );
    check(&own_chat(""), &["dm own-number", ROUTE]);
    check(
        &Case::dm("dmPolicy: 'allowlist', allowFrom: ['+1999000', '+1999001', '77@lid', '+1999002']"),
        &[
            "allowFrom not-listed allowFrom=+1999000, +1999001, +1999002 and 1 more",
            "dm dm-not-allowlisted dmPolicy=allowlist",
        ],
    );
    check(
        &Case::dm("dmPolicy: 'allowlist'"),
        &["allowFrom not-listed allowFrom=empty", "dm dm-not-allowlisted dmPolicy=allowlist"],
    );
    check(&Case::dm("dmPolicy: 'disabled'"), &["dm dm-disabled dmPolicy=disabled"]);
    check(&Case::dm("").own(), &["dm own-message-to-other"]);
    check(
        &Case::dm(""),
        &[
            "allowFrom not-listed allowFrom=empty",
            "pairing request-with-text pairing.text=auto",
            "dm pairing-required dmPolicy=pairing",
        ],
    );
    check(
        &Case::dm("pairing: { text: 'never' }"),
        &[
            "allowFrom not-listed allowFrom=empty",
            "pairing request-without-text pairing.text=never",
            "dm pairing-required dmPolicy=pairing",
        ],
    );
    let unknown = Case::dm("").with(|c| {
        (c.message.chat, c.message.sender, c.message.sender_number) = (jid("x@hosted"), jid("x@hosted"), None);
    });
    check(&unknown, &["dm sender-unknown"]);
    let unknown = Case::dm("dmPolicy: 'open', allowFrom: ['*']").with(|c| {
        (c.message.chat, c.message.sender, c.message.sender_number) = (jid("x@hosted"), jid("x@hosted"), None);
    });
    check(&unknown, &["dm open dmPolicy=open", "route sender-unknown"]);
}

#[test]
fn every_gate_of_a_group_names_its_key_and_value() {
    let mention = "activation mention groups[\"120363@g.us\"].requireMention=true";
    let held = "mention none groups[\"120363@g.us\"].requireMention=true";
    let route = "route default=main in agent:main:whatsapp:group:120363@g.us";
    check(&Case::group("groupPolicy: 'open'"), &["group open groupPolicy=open", route, mention, held]);
    check(
        &Case::group("groupAllowFrom: ['+15551234567']"),
        &["group allowlisted groupAllowFrom=+15551234567", route, mention, held],
    );
    check(
        &Case::group("allowFrom: ['+15551234567']"),
        &["group allowlisted allowFrom=+15551234567", route, mention, held],
    );
    check(
        &Case::group("groupAllowFrom: ['+1999000']"),
        &["group group-sender-not-allowlisted groupAllowFrom=+1999000"],
    );
    check(&Case::group("allowFrom: ['+1999000']"), &["group group-sender-not-allowlisted allowFrom=+1999000"]);
    check(&Case::group(""), &["group group-no-senders groupPolicy=allowlist"]);
    check(&Case::group("groupPolicy: 'disabled'"), &["group group-disabled groupPolicy=disabled"]);
    check(
        &Case::group("groupPolicy: 'open', groups: { '1@g.us': {}, '2@g.us': {} }"),
        &["group open groupPolicy=open", "groups group-not-listed groups=2 entries"],
    );
    check(
        &Case::group("groupPolicy: 'open', groups: { '1@g.us': {} }"),
        &["group open groupPolicy=open", "groups group-not-listed groups=1 entry"],
    );
    check(
        &Case::group("groupPolicy: 'open', groups: { '*': { requireMention: false } }"),
        &["group open groupPolicy=open", route, "activation always groups[\"*\"].requireMention=false", "mention none"],
    );
    check(
        &Case::group("groupPolicy: 'open'").with(|c| c.activation = Some(Activation::Mention)),
        &["group open groupPolicy=open", route, "activation mention /activation", "mention none /activation"],
    );
    let named = beside(
        Case::group("groupPolicy: 'open'").text("verso, hi"),
        "agents: { list: [{ id: 'main', groupChat: { mentionPatterns: ['verso'] } }] }",
    );
    check(
        &named,
        &[
            "group open groupPolicy=open",
            route,
            mention,
            "mention pattern agents.list[\"main\"].groupChat.mentionPatterns",
        ],
    );
}

#[test]
fn how_a_group_message_speaks_to_the_agent_is_told() {
    let told = |case: &Case| gates(case).into_iter().find(|gate| gate.starts_with("mention ")).expect("the gate");
    let open = "groupPolicy: 'open', allowFrom: ['+15551234567']";
    let always = "groupPolicy: 'open', groups: { '*': { requireMention: false } }";
    assert_eq!(told(&Case::group(open).body(|b| b.mentions = vec![jid(SELF)])), "mention native");
    assert_eq!(told(&Case::group(open).text("+1 555 000 1111 hi")), "mention number");
    assert_eq!(told(&Case::group(open).body(quote(Some(SELF), false))), "mention reply");
    assert_eq!(told(&Case::group(open).text("/status")), "mention owner-command");
    assert_eq!(told(&Case::group(always).text("/status")), "mention none", "nobody's command");
    assert_eq!(
        told(&Case::group(open).text("/config show")),
        "mention none groups[\"120363@g.us\"].requireMention=true"
    );
    let config = beside(Case::group(open).text("/config show"), "commands: { config: true }");
    assert_eq!(told(&config), "mention owner-command");
}

#[test]
fn an_inherited_open_and_a_list_of_the_accounts_own_are_an_allowlist() {
    let account = |whatsapp: &str| Case::dm(whatsapp).with(|c| c.message.account = crate::ids::AccountId::new("work"));
    let group = |whatsapp: &str| account(whatsapp).with(|c| c.message.chat = jid(GROUP));
    let open = "dmPolicy: 'open', allowFrom: ['*']";
    account(&format!("{open}, accounts: {{ work: {{}} }}")).check("dispatch, read");
    account(&format!("{open}, accounts: {{ work: {{ allowFrom: ['+1999000', '*'] }} }}")).check("dispatch, read");
    account(&format!("{open}, accounts: {{ work: {{ allowFrom: ['+1999000'] }} }}")).check("drop dm-not-allowlisted");
    account(&format!("{open}, accounts: {{ work: {{ allowFrom: [] }} }}")).check("drop dm-not-allowlisted");
    account(&format!("{open}, accounts: {{ work: {{ allowFrom: ['+15551234567'] }} }}")).check("dispatch, read");
    check(
        &account(&format!("{open}, accounts: {{ work: {{ allowFrom: ['+1999000'] }} }}")),
        &[
            "allowFrom not-listed allowFrom=+1999000",
            "dm dm-not-allowlisted dmPolicy=open, served as allowlist because allowFrom does not name \"*\"",
        ],
    );
    let held = "hold not-mentioned, read";
    group("groupPolicy: 'open', accounts: { work: {} }").check(held);
    group("groupPolicy: 'open', accounts: { work: { groupAllowFrom: ['+1999000'] } }")
        .check("drop group-sender-not-allowlisted");
    group("groupPolicy: 'open', accounts: { work: { groupAllowFrom: [] } }").check("drop group-no-senders");
    check(
        &group("groupPolicy: 'open', accounts: { work: { groupAllowFrom: [] } }"),
        &["group group-no-senders groupPolicy=open, served as allowlist because groupAllowFrom does not name \"*\""],
    );
    group("groupPolicy: 'open', accounts: { work: { groupAllowFrom: ['*'] } }").check(held);
    group("groupPolicy: 'open', accounts: { work: { allowFrom: ['+1999000'] } }").check(held);
    // What an account says itself goes over what it inherits.
    group("groupAllowFrom: ['+1999000'], accounts: { work: { groupPolicy: 'open' } }").check(held);
    let by_default = |whatsapp: &str| {
        let mut case = group("");
        case.config = format!("{{ channels: {{ defaults: {{ groupPolicy: 'open' }}, whatsapp: {{ {whatsapp} }} }} }}");
        case
    };
    by_default("accounts: { work: {} }").check(held);
    by_default("groupAllowFrom: ['+1999000'], accounts: { work: {} }").check("drop group-sender-not-allowlisted");
    by_default("accounts: { work: { groupAllowFrom: ['+1999000'] } }").check("drop group-sender-not-allowlisted");
    by_default("groupPolicy: 'disabled', accounts: { work: {} }").check("drop group-disabled");
}

#[test]
fn written_and_empty_is_nobody_and_absent_falls_back() {
    let open = "groupPolicy: 'open'";
    Case::group(open).check("hold not-mentioned, read");
    Case::group(&format!("{open}, groups: {{}}")).check("drop group-not-listed");
    Case::group(&format!("{open}, groups: {{ '120363@g.us': {{}} }}, accounts: {{ default: {{ groups: {{}} }} }}"))
        .check("drop group-not-listed");
    let commands = |list: &str, text: &str| {
        beside(
            Case::dm("dmPolicy: 'allowlist', allowFrom: ['+15551234567']").text(text),
            &format!("commands: {{ config: true, {list} }}"),
        )
    };
    commands("", "/config show").check("dispatch, read");
    for text in ["/config show", "/status", "/new"] {
        commands("ownerAllowFrom: []", text).check("drop command-not-authorized, read");
    }
    check(
        &commands("ownerAllowFrom: []", "/status"),
        &[
            "dm allowlisted allowFrom=+15551234567",
            ROUTE,
            "command command-not-authorized commands.ownerAllowFrom=empty",
        ],
    );
    commands("ownerAllowFrom: []", "hello").check("dispatch, read");
    assert_eq!(commands("ownerAllowFrom: []", "hello").dispatched().command, None);
}

#[test]
fn what_the_owner_types_in_a_group_is_context() {
    let always =
        "groupPolicy: 'open', groups: { '*': { requireMention: false } }, ackReaction: { emoji: 'x', group: 'always' }";
    let own = |whatsapp: &str, text: &str| Case::group(whatsapp).own().text(text);
    own(always, "lunch?").check("hold own-in-group");
    own(always, "+1 555 000 1111 lunch?").check("dispatch, ack x");
    own(always, "/status").check("dispatch, ack x");
    own(always, "lunch?").body(|b| b.mentions = vec![jid(SELF)]).check("dispatch, ack x");
    own(always, "lunch?").body(quote(Some(SELF), false)).check("dispatch, ack x");
    own(&format!("{always}, selfChatMode: true"), "lunch?").check("dispatch, ack x");
    own(&format!("{always}, allowFrom: ['+15550001111']"), "lunch?").check("dispatch, ack x");
    own(&format!("{always}, allowFrom: ['+15550001111'], selfChatMode: false"), "lunch?").check("hold own-in-group");
    Case::group(always).text("lunch?").check("dispatch, read, ack x");
    // A word that only triggers a new session is a command, too.
    let trigger = beside(own(always, "afresh"), "session: { resetTriggers: ['afresh'] }");
    assert!(matches!(trigger.decide().verdict, Verdict::Dispatch(d) if d.command.is_some()));
    let decision = own(always, "lunch?").decide();
    let Verdict::Hold(hold) = decision.verdict else { panic!("held") };
    assert_eq!((hold.history_key.as_str(), hold.limit), ("whatsapp:default:group:120363@g.us", 50));
}

#[test]
fn on_a_personal_number_a_reply_to_the_owner_is_no_reply_to_the_agent() {
    let (open, personal) = ("groupPolicy: 'open'", "groupPolicy: 'open', selfChatMode: true");
    Case::group(open).body(quote(Some(SELF), false)).check("dispatch, read");
    Case::group(personal).body(quote(Some(SELF), false)).check("hold not-mentioned, read");
    Case::group(personal).body(quote(Some("900@lid"), false)).check("hold not-mentioned, read");
    Case::group(personal).body(quote(Some("900@lid"), true)).check("dispatch, read");
    Case::group(personal).body(quote(None, true)).check("dispatch, read");
    Case::group("groupPolicy: 'open', allowFrom: ['+15550001111']")
        .body(quote(Some(SELF), false))
        .check("hold not-mentioned, read");
}

#[test]
fn a_tag_of_somebody_else_cancels_nothing() {
    let tagged = |text: &str| {
        beside(
            Case::group("groupPolicy: 'open'").text(text).body(|b| b.mentions = vec![jid("901@lid")]),
            "agents: { list: [{ id: 'main', groupChat: { mentionPatterns: ['verso'] } }] }",
        )
    };
    tagged("verso, please ask @901").check("dispatch, read");
    tagged("+15550001111 please ask @901").check("dispatch, read");
    tagged("please ask @901").check("hold not-mentioned, read");
}

#[test]
fn notes_to_self_start_no_run_when_self_chat_mode_is_off() {
    own_chat("selfChatMode: false").check("drop self-chat-off");
    own_chat("selfChatMode: false, ackReaction: { emoji: 'x' }").check("drop self-chat-off");
    own_chat("selfChatMode: false, allowFrom: ['+15550001111']").check("drop self-chat-off");
    own_chat("selfChatMode: false").text("/status").check("dispatch");
    assert!(own_chat("selfChatMode: false").text("/status").dispatched().command.is_some());
    own_chat("").check("dispatch");
    own_chat("selfChatMode: true").check("dispatch");
    check(&own_chat("selfChatMode: false"), &["dm own-number", ROUTE, "selfChat self-chat-off selfChatMode=false"]);
    // Other chats are no notes.
    Case::dm("selfChatMode: false, dmPolicy: 'open', allowFrom: ['*']").check("dispatch, read");
}

#[test]
fn only_own_echoes_are_dropped_as_such() {
    own_chat("").with(|c| c.ours = true).check("drop own-echo");
    Case::group("groupPolicy: 'open'").own().with(|c| c.ours = true).check("drop own-echo");
    Case::dm("dmPolicy: 'open', allowFrom: ['*']").with(|c| c.ours = true).check("dispatch, read");
    check(&own_chat("").with(|c| c.ours = true), &["echo own-echo"]);
}

#[test]
fn the_kind_of_a_chat_and_of_a_message_is_told() {
    let at = |chat: &str| Case::dm("").with(|c| c.message.chat = jid(chat));
    check(&at("status@broadcast"), &["source status-or-broadcast"]);
    check(&at("1@newsletter"), &["source newsletter"]);
    check(&at("1@elsewhere"), &["source unknown-chat"]);
    let poll = Case::dm("").with(|c| c.message.content = Content::Other { kind: "poll".into() });
    check(&poll, &["kind kind-not-served=poll"]);
    for chat in ["15551234567@hosted", "77@hosted.lid"] {
        Case::dm("dmPolicy: 'open', allowFrom: ['*']")
            .with(|c| (c.message.chat, c.message.sender) = (jid(chat), jid(chat)))
            .check("dispatch, read");
    }
}

#[test]
fn who_asks_to_be_let_in_is_answered_as_the_account_says() {
    let asks = |reply: bool| format!("drop pairing-required, pair +15551234567 {reply}");
    Case::dm("").with(|c| c.message.timestamp = 0).check(&asks(true));
    Case::dm("selfChatMode: true, pairing: { text: 'always' }").check(&asks(true));
    Case::dm("selfChatMode: true").check(&asks(false));
    Case::dm("pairing: { text: 'never' }").check(&asks(false));
    let asked = Case::dm("pairing: { notifyOwner: false }").decide().effects;
    let name = Some("Ann".to_owned());
    let sender = "+15551234567".to_owned();
    assert_eq!(asked, [Effect::RequestPairing { sender, name, reply: true, notify_owner: false }]);
}

#[test]
fn age_counts_from_the_connection_and_what_is_live_is_young() {
    let waited = |minutes: u32, before: i64| {
        Case::dm(&format!("dmPolicy: 'open', allowFrom: ['*'], catchUpMinutes: {minutes}")).with(|c| {
            c.message.offline = true;
            c.message.timestamp = T0 - before;
        })
    };
    waited(0, 59_999).check("dispatch, read");
    waited(0, 60_000).check("drop too-old, read");
    waited(1, 60_000).check("dispatch, read");
    waited(1, 60_001).check("drop too-old, read");
    check(&waited(7, 8 * 60_000), &["dm open dmPolicy=open", "age too-old catchUpMinutes=7"]);
    waited(0, 600_000).with(|c| c.message.offline = false).check("dispatch, read");
    waited(0, 600_000).with(|c| c.message.timestamp = 0).check("dispatch, read");
    waited(0, 600_000).with(|c| c.message.timestamp = -5).check("dispatch, read");
    // Without a connection the age is counted from now, and nothing is live.
    waited(1, 59_000).with(|c| c.connected_at = None).check("dispatch, read");
    waited(1, 59_001).with(|c| c.connected_at = None).check("drop too-old, read");
    // A connection in the future is one by a clock that was wrong.
    waited(1, 59_000).with(|c| c.connected_at = Some(T0 + 500_000)).check("dispatch, read");
    let group = Case::group("groupPolicy: 'open', catchUpMinutes: 0").with(|c| {
        c.message.offline = true;
        c.message.timestamp = T0 - 60_000;
    });
    group.check("drop too-old, read");
}

#[test]
fn an_admitted_message_carries_who_wrote_it_and_what_they_may() {
    let dispatch = Case::dm("dmPolicy: 'allowlist', allowFrom: ['+15551234567']").dispatched();
    assert_eq!((dispatch.chat, dispatch.peer.as_str()), (ChatKind::Direct, "+15551234567"));
    assert_eq!(dispatch.sender.as_deref(), Some("+15551234567"));
    assert!(dispatch.owner && dispatch.commands && dispatch.mentioned && !dispatch.own_chat);
    assert_eq!(dispatch.activation, None);

    let open = Case::dm("dmPolicy: 'open', allowFrom: ['*']").dispatched();
    assert!(!open.owner && open.commands, "everybody is listed, nobody is owner");
    let approved = Case::dm("allowFrom: ['+1999000']").with(|c| c.approved = vec!["+15551234567"]).dispatched();
    assert!(!approved.owner && approved.commands);
    let alone = own_chat("").dispatched();
    assert!(alone.owner && alone.commands && alone.own_chat);
    let beside_others = own_chat("allowFrom: ['+1999000']").dispatched();
    assert!(!beside_others.owner && !beside_others.commands, "the list names others");
    let store = own_chat("").with(|c| c.approved = vec!["+1999000"]).dispatched();
    assert!(store.owner && !store.commands);
    let free = beside(own_chat("allowFrom: ['+1999000']"), "commands: { useAccessGroups: false }").dispatched();
    assert!(!free.owner && free.commands);

    let tagged = |whatsapp: &str| Case::group(whatsapp).body(|b| b.mentions = vec![jid(SELF)]).dispatched();
    let group = tagged("groupPolicy: 'open', groupAllowFrom: ['*']");
    assert_eq!(
        (group.chat, group.peer.as_str(), group.activation),
        (ChatKind::Group, GROUP, Some(Activation::Mention))
    );
    assert!(group.commands && !group.owner && group.mentioned && !group.own_chat);
    assert!(!tagged("groupPolicy: 'open'").commands, "no list names the sender");
    assert!(tagged("groupAllowFrom: ['+15551234567']").commands);
    let owner = tagged("allowFrom: ['+15551234567']");
    assert!(owner.owner && owner.commands);
    let own = Case::group("allowFrom: ['900@lid']").own().text("/status").dispatched();
    assert_eq!(own.sender.as_deref(), Some("+15550001111"), "known under every address");
    assert!(own.owner && own.commands && own.command.is_some());
    let unseen = Case::group("groupPolicy: 'open', groups: { '*': { requireMention: false } }").with(|c| c.me = None);
    assert!(!unseen.dispatched().owner);
}

#[test]
fn commands_are_authorised_by_list_and_by_rank() {
    let listed = "dmPolicy: 'open', allowFrom: ['*', '+15551234567']";
    check(&Case::dm(listed).text("/status"), &["dm open dmPolicy=open", ROUTE, "command authorized"]);
    check(
        &Case::dm("dmPolicy: 'open', allowFrom: ['*', '+1999000']").text("/send off"),
        &["dm open dmPolicy=open", APART, "command command-not-authorized allowFrom=*, +1999000"],
    );
    let named = |text: &str| {
        beside(
            Case::dm("dmPolicy: 'open', allowFrom: ['*']").text(text),
            "commands: { ownerAllowFrom: ['+15551234567'], useAccessGroups: true }",
        )
    };
    named("/send off").check("dispatch, read");
    let commander = beside(
        Case::group("groupPolicy: 'open', groups: { '*': { requireMention: false } }").text("/send off"),
        "commands: { ownerAllowFrom: ['+15551234567'] }",
    );
    commander.check("dispatch, read");
    let stranger = beside(
        Case::group("groupPolicy: 'open', groups: { '*': { requireMention: false } }").text("/status"),
        "commands: { useAccessGroups: true }",
    );
    stranger.check("drop command-not-authorized, read");
    let free = beside(
        Case::group("groupPolicy: 'open', groups: { '*': { requireMention: false } }").text("/status"),
        "commands: { useAccessGroups: false }",
    );
    free.check("dispatch, read");
    let call = Case::dm(listed).text("/status").dispatched().command.expect("a command");
    assert_eq!(call.session.as_str(), "agent:main:main");
    let trigger = beside(
        Case::dm("allowFrom: ['+1999000']").text("afresh").with(|c| c.approved = vec!["+15551234567"]),
        "session: { resetTriggers: ['afresh'] }",
    );
    assert_eq!(trigger.dispatched().command, None, "a word that is no command for its writer is merely said");
}

#[test]
fn routes_and_broadcasts_are_told() {
    let agents = "agents: { list: [{ id: 'main' }, { id: 'fam' }] }";
    let bound = |matches: &str| {
        beside(
            Case::dm("dmPolicy: 'open', allowFrom: ['*']"),
            &format!("{agents}, bindings: [{{ agentId: 'fam', match: {{ channel: 'whatsapp'{matches} }} }}]"),
        )
    };
    let route = |case: &Case| gates(case)[1].clone();
    let apart = |agent: &str| format!("agent:{agent}:whatsapp:default:direct:+15551234567");
    let told = |by: &str| format!("route binding.{by} bindings[0]=fam in {}", apart("fam"));
    assert_eq!(route(&bound("")), told("account"));
    assert_eq!(route(&bound(", accountId: '*'")), told("channel"));
    assert_eq!(
        route(&bound(", peer: { kind: 'dm', id: '+15551234567' }")),
        "route binding.peer bindings[0]=fam in agent:fam:main"
    );
    let both = |strategy: &str, agents_of: &str| {
        beside(
            Case::dm("dmPolicy: 'open', allowFrom: ['*']"),
            &format!("{agents}, broadcast: {{ {strategy} '+15551234567': [{agents_of}] }}"),
        )
    };
    let runs = |case: &Case| {
        let dispatch = case.dispatched();
        (dispatch.runs.iter().map(|run| run.session.to_string()).collect::<Vec<_>>(), dispatch.sequential)
    };
    let pair = vec![apart("main"), apart("fam")];
    assert_eq!(runs(&both("", "'main', 'fam'")), (pair.clone(), false));
    assert_eq!(runs(&both("strategy: 'sequential',", "'main', 'fam'")), (pair, true));
    assert_eq!(runs(&both("strategy: 'sequential',", "")), (vec![apart("main")], false));
    assert_eq!(gates(&both("", "'main', 'fam'"))[2], "broadcast every-agent broadcast=+15551234567");
}

#[test]
fn two_spellings_of_one_number_are_one_person() {
    let from = |whatsapp: &str, digits: &str| {
        Case::dm(whatsapp).with(|c| {
            let jid = jid(&format!("{digits}@s.whatsapp.net"));
            (c.message.chat, c.message.sender) = (jid.clone(), jid);
            c.message.sender_number = E164::from_digits(digits);
        })
    };
    let list = "dmPolicy: 'allowlist', allowFrom: ['+52 55 1234 5678', '+55 11 98765-4321', '+54 9 11 1234 5678']";
    for digits in ["5215512345678", "525512345678", "551187654321", "5511987654321", "541112345678", "5491112345678"] {
        let case = from(list, digits);
        case.check("dispatch, read");
        assert_eq!(case.dispatched().peer, format!("+{digits}"), "as WhatsApp spells it");
        assert!(case.dispatched().owner);
    }
    from(list, "551131234567").check("drop dm-not-allowlisted");
    let session = |digits: &str| {
        let case = beside(from("dmPolicy: 'open', allowFrom: ['*']", digits), "session: { dmScope: 'per-peer' }");
        case.dispatched().first().session.to_string()
    };
    assert_eq!(session("5215512345678"), "agent:main:direct:+525512345678");
    assert_eq!(session("525512345678"), "agent:main:direct:+525512345678");
    let broadcast = beside(
        from("dmPolicy: 'open', allowFrom: ['*']", "5491112345678"),
        "agents: { list: [{ id: 'main' }, { id: 'fam' }] }, broadcast: { '+541112345678': ['main', 'fam'] }",
    );
    assert_eq!(broadcast.dispatched().runs.len(), 2);
    from(list, "5215512345678").with(|c| c.message.chat = jid(ANN)).check("dispatch, read");
}
