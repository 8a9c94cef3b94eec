use proptest::prelude::*;

use super::*;
use crate::config::{ResolveEnv, load_text};
use crate::event::{MediaKind, MediaRef, Quote};
use crate::ids::{AccountId, E164, Jid, MessageId};
use crate::policy::allowlist::parse_approved;

pub(super) const T0: UnixMs = 1_767_225_600_000;
pub(super) const ANN: &str = "15551234567@s.whatsapp.net";
pub(super) const SELF: &str = "15550001111@s.whatsapp.net";
pub(super) const GROUP: &str = "120363@g.us";

/// One judged situation; the defaults are a fresh text from Ann to an account with the config.
pub(super) struct Case {
    pub config: String,
    pub approved: Vec<&'static str>,
    pub message: InboundMessage,
    pub activation: Option<Activation>,
    pub connected_at: Option<UnixMs>,
    pub ours: bool,
    pub me: Option<Identity>,
    pub owner_wrote: Option<UnixMs>,
}

pub(super) fn jid(text: &str) -> Jid {
    text.parse().expect("a JID")
}

pub(super) fn me() -> Identity {
    Identity { jid: jid("15550001111:7@s.whatsapp.net"), lid: Some(jid("900:7@lid")), push_name: None }
}

impl Case {
    pub fn dm(whatsapp: &str) -> Self {
        let message = InboundMessage {
            account: AccountId::new("default"),
            id: MessageId::new("M1"),
            chat: jid(ANN),
            sender: jid(ANN),
            sender_alt: None,
            sender_number: E164::from_digits("+15551234567"),
            chat_number: None,
            from_me: false,
            push_name: Some("Ann".into()),
            timestamp: T0,
            offline: false,
            content: Content::Body(Body { text: Some("hello".into()), ..Body::default() }),
        };
        let config = format!("{{ channels: {{ whatsapp: {{ {whatsapp} }} }} }}");
        Self {
            config,
            approved: vec![],
            message,
            activation: None,
            connected_at: Some(T0),
            ours: false,
            me: Some(me()),
            owner_wrote: None,
        }
    }

    pub fn group(whatsapp: &str) -> Self {
        let mut case = Self::dm(whatsapp);
        case.message.chat = jid(GROUP);
        case
    }

    pub fn own(mut self) -> Self {
        self.message.from_me = true;
        self.message.sender = jid(SELF);
        self.message.sender_number = me().number();
        self
    }

    pub fn body(mut self, change: impl FnOnce(&mut Body)) -> Self {
        let Content::Body(body) = &mut self.message.content else { panic!("a body") };
        change(body);
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.body(|b| b.text = Some(text.into()))
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub fn decide(&self) -> Decision {
        let config = load_text(&self.config, &ResolveEnv::new("/home/u", "/home/u/.verso")).expect("a config").config;
        let (mentions, _) = MentionTable::compile(&config);
        let approved = parse_approved(self.approved.iter().copied());
        let activation = |_: &SessionKey| self.activation;
        let own_number = self.me.as_ref().and_then(Identity::number);
        let own_numbers: OwnNumbers =
            own_number.map(|number| (self.message.account.clone(), number)).into_iter().collect();
        decide(
            &self.message,
            &View {
                config: &config,
                account: config.account(&self.message.account).expect("the account"),
                revision: 3,
                me: self.me.as_ref(),
                own_numbers: &own_numbers,
                approved: &approved,
                connected_at: self.connected_at,
                now: T0 + 1000,
                mentions: &mentions,
                activation: &activation,
                owner_wrote: self.owner_wrote,
                sent_by_us: self.ours,
            },
        )
    }

    /// Outcome as `dispatch`, `hold <reason>` or `drop <reason>`, and the effects in short.
    pub fn check(&self, want: &str) {
        let decision = self.decide();
        let mut got = match &decision.verdict {
            Verdict::Dispatch(_) => "dispatch".to_owned(),
            Verdict::Hold(hold) => format!("hold {}", hold.reason.code()),
            Verdict::Drop { reason } => format!("drop {}", reason.code()),
        };
        for effect in &decision.effects {
            got.push_str(&match effect {
                Effect::RequestPairing { sender, reply, .. } => format!(", pair {sender} {reply}"),
                Effect::MarkRead => ", read".to_owned(),
                Effect::AckReact { emoji } => format!(", ack {emoji}"),
            });
        }
        assert_eq!(got, want, "{} / {:?}", self.config, decision.trace);
        assert!(!decision.trace.is_empty() && decision.revision == 3);
        let last = decision.trace.last().expect("a gate");
        match &decision.verdict {
            Verdict::Drop { reason } => assert_eq!(last.outcome, reason.code(), "the last gate dropped it"),
            Verdict::Hold(hold) if hold.reason == IgnoreReason::NotMentioned => {
                assert!(
                    last.gate == "mention" && last.key.is_some(),
                    "the key that asks for a mention is named: {last:?}"
                );
            }
            Verdict::Hold(hold) => assert_eq!(last.outcome, hold.reason.code(), "the last gate held it"),
            Verdict::Dispatch(_) => {}
        }
    }

    pub fn dispatched(&self) -> Dispatch {
        match self.decide().verdict {
            Verdict::Dispatch(dispatch) => dispatch,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn each_dm_policy_for_stranger_listed_and_approved() {
    let cases = [
        ("", "drop pairing-required, pair +15551234567 true", "dispatch, read"),
        ("dmPolicy: 'allowlist'", "drop dm-not-allowlisted", "dispatch, read"),
        ("dmPolicy: 'disabled'", "drop dm-disabled", "drop dm-disabled"),
    ];
    for (policy, stranger, known) in cases {
        Case::dm(policy).check(stranger);
        Case::dm(&format!("{policy}{} allowFrom: ['+1 555 123-4567']", if policy.is_empty() { "" } else { "," }))
            .check(known);
        Case::dm(policy).with(|c| c.approved = vec!["+15551234567"]).check(known);
    }
    Case::dm("dmPolicy: 'open', allowFrom: ['*']").check("dispatch, read");
}

#[test]
fn own_chat_is_trusted_and_never_marked_read() {
    let own_chat = |whatsapp: &str| Case::dm(whatsapp).own().with(|c| c.message.chat = jid(SELF));
    own_chat("").check("dispatch");
    own_chat("dmPolicy: 'disabled'").check("drop dm-disabled");
    own_chat("").with(|c| c.message.chat = jid("900@lid")).check("dispatch");
    assert!(own_chat("").dispatched().own_chat);
}

#[test]
fn the_owners_messages_to_others_wake_nobody() {
    Case::dm("").own().check("drop own-message-to-other");
    Case::dm("allowFrom: ['+15551234567']").own().check("hold own-message-to-other");
}

#[test]
fn people_known_by_lid_only_are_served_by_it() {
    let lid = |whatsapp: &str| {
        Case::dm(whatsapp).with(|c| {
            c.message.chat = jid("77@lid");
            c.message.sender = jid("77:3@lid");
            c.message.sender_number = None;
        })
    };
    lid("").check("drop pairing-required, pair 77@lid true");
    lid("allowFrom: ['77@lid']").check("dispatch, read");
    lid("").with(|c| c.approved = vec!["77@lid"]).check("dispatch, read");
    lid("allowFrom: ['+7700000']").check("drop pairing-required, pair 77@lid true");
    assert_eq!(lid("allowFrom: ['77@lid']").dispatched().peer, "77@lid");
    lid("")
        .with(|c| c.message.sender_number = E164::from_digits("+1999000"))
        .check("drop pairing-required, pair +1999000 true");
}

#[test]
fn old_messages_never_ask_for_pairing() {
    Case::dm("").with(|c| c.message.timestamp = T0 - 30_001).check("drop pairing-too-old");
    Case::dm("").with(|c| c.message.timestamp = T0 - 30_000).check("drop pairing-required, pair +15551234567 true");
    Case::dm("").with(|c| c.connected_at = None).check("drop pairing-required, pair +15551234567 true");
    Case::dm("")
        .with(|c| {
            c.connected_at = None;
            c.message.timestamp = T0 - 600_000;
        })
        .check("drop pairing-too-old");
}

#[test]
fn a_personal_number_does_not_text_strangers_unless_told_to() {
    Case::dm("selfChatMode: true").check("drop pairing-required, pair +15551234567 false");
    Case::dm("allowFrom: ['+15550001111']").check("drop pairing-required, pair +15551234567 false");
    Case::dm("selfChatMode: false, allowFrom: ['+15550001111']").check("drop pairing-required, pair +15551234567 true");
}

#[test]
fn reactions_broadcasts_and_other_kinds_are_dropped_before_admission() {
    let reaction = Content::Reaction {
        target: MessageId::new("M0"),
        target_sender: None,
        target_from_me: true,
        emoji: "👍".into(),
    };
    Case::dm("").with(|c| c.message.content = reaction).check("drop reaction");
    Case::dm("").with(|c| c.message.content = Content::Other { kind: "poll".into() }).check("drop kind-not-served");
    Case::dm("").body(|b| b.text = None).check("drop empty");
    Case::dm("").with(|c| c.message.chat = jid("status@broadcast")).check("drop status-or-broadcast");
    Case::dm("").with(|c| c.message.chat = jid("1@newsletter")).check("drop newsletter");
    Case::dm("dmPolicy: 'open', allowFrom: ['*']")
        .body(|b| {
            b.text = None;
            b.media = Some(MediaRef::new(MediaKind::Image));
        })
        .check("dispatch, read");
}

#[test]
fn what_the_owner_writes_to_somebody_is_context_and_silences_the_agent_there() {
    let open = "dmPolicy: 'open', allowFrom: ['*'], ackReaction: { emoji: '+' }";
    let own = |config: &str| Case::dm(config).own();
    own(open).check("hold own-message-to-other");
    own("dmPolicy: 'open', allowFrom: ['*'], handover: { minutes: 0 }").check("hold own-message-to-other");
    own("dmPolicy: 'pairing'").check("drop own-message-to-other");
    own("dmPolicy: 'disabled', allowFrom: ['+15551234567']").check("drop own-message-to-other");
    own("dmPolicy: 'pairing'").with(|c| c.approved = vec!["+15551234567"]).check("hold own-message-to-other");
    let until = |case: &Case| match case.decide().verdict {
        Verdict::Hold(hold) => (hold.until, hold.limit, hold.history_key),
        other => panic!("{other:?}"),
    };
    let key = "whatsapp:default:direct:+15551234567".to_owned();
    assert_eq!(until(&own(open)), (Some(T0 + 600_000), 50, key.clone()));
    let off = own("dmPolicy: 'open', allowFrom: ['*'], handover: { minutes: 0 }, historyLimit: 0");
    assert_eq!(until(&off), (None, 50, key.clone()));
    // A clock that is ahead silences nobody for longer.
    assert_eq!(until(&own(open).with(|c| c.message.timestamp = i64::MAX)).0, Some(T0 + 1000 + 600_000));

    let theirs = |wrote: UnixMs| Case::dm(open).with(|c| c.owner_wrote = Some(wrote));
    theirs(T0 - 599_999).check("hold handover");
    theirs(T0 - 600_000).check("dispatch, read, ack +");
    theirs(T0 - 599_999).text("/help").check("dispatch");
    assert_eq!(until(&theirs(T0 - 1000)), (Some(T0 - 1000 + 600_000), 50, key));
    let gate = theirs(T0 - 1000).decide().trace.pop().expect("a gate");
    assert_eq!(
        (&*gate.gate, gate.key.as_deref(), gate.value.as_deref()),
        ("handover", Some(handover::KEY), Some("10"))
    );
    // Also what waited for longer than the catch-up window is kept; strangers stay strangers, groups and the own chat are no such chats.
    let late = |c: &mut Case| {
        c.message.offline = true;
        c.message.timestamp = T0 - 3_600_000;
        c.owner_wrote = Some(T0 - 3_500_000);
    };
    Case::dm(open).with(late).check("hold handover");
    Case::dm("dmPolicy: 'allowlist'").with(|c| c.owner_wrote = Some(T0)).check("drop dm-not-allowlisted");
    Case::dm(open).own().with(|c| (c.message.chat, c.owner_wrote) = (jid(SELF), Some(T0))).check("dispatch, ack +");
    let quick = "dmPolicy: 'open', allowFrom: ['*'], handover: { minutes: 1 }, sendReadReceipts: false";
    Case::dm(quick).with(|c| c.owner_wrote = Some(T0 - 60_000)).check("dispatch");
    // A reaction of the owner's is not writing.
    let reaction = Content::Reaction {
        target: MessageId::new("X"),
        target_sender: None,
        target_from_me: false,
        emoji: "+".into(),
    };
    own(open).with(|c| c.message.content = reaction).check("drop reaction");
}

#[test]
fn an_account_that_only_listens_answers_nothing_of_any_kind() {
    let rules =
        "listenOnly: true, dmPolicy: 'pairing', groupPolicy: 'open', ackReaction: { emoji: '+', group: 'always' }";
    Case::dm(rules).check("drop listen-only");
    Case::dm(rules).with(|c| c.approved = vec!["+15551234567"]).text("/status").check("drop listen-only");
    Case::dm(rules).own().check("drop listen-only");
    Case::dm(rules).own().with(|c| c.message.chat = jid(SELF)).text("/status").check("drop listen-only");
    Case::group(rules).check("drop listen-only");
    let gate = Case::dm(rules).decide().trace.pop().expect("a gate");
    assert_eq!((gate.key.as_deref(), gate.value.as_deref()), (Some("channels.whatsapp.listenOnly"), Some("true")));
    Case::dm("listenOnly: true, accounts: { default: { listenOnly: false, dmPolicy: 'disabled' } }")
        .check("drop dm-disabled");
}

#[test]
fn the_catch_up_window_bounds_what_waited_offline() {
    let open = "dmPolicy: 'open', allowFrom: ['*'], catchUpMinutes: 20";
    let waited = |ms: i64| {
        Case::dm(open).with(|c| {
            c.message.offline = true;
            c.message.timestamp = T0 - ms;
        })
    };
    waited(20 * 60_000).check("dispatch, read");
    waited(20 * 60_000 + 1).check("drop too-old, read");
}

#[test]
fn group_senders_by_policy() {
    Case::group("").check("drop group-no-senders");
    Case::group("groupPolicy: 'disabled', groupAllowFrom: ['*']").check("drop group-disabled");
    Case::group("allowFrom: ['+15551234567']").check("hold not-mentioned, read");
    Case::group("allowFrom: ['+15551234567'], groupAllowFrom: []").check("drop group-no-senders");
    Case::group("groupAllowFrom: ['+1999000']").check("drop group-sender-not-allowlisted");
    Case::group("").with(|c| c.approved = vec!["+15551234567"]).check("drop group-no-senders");
    let unknown = |whatsapp: &str| {
        Case::group(whatsapp).with(|c| {
            c.message.sender = jid("77:1@lid");
            c.message.sender_number = None;
        })
    };
    unknown("groupAllowFrom: ['+15551234567']").check("drop group-sender-not-allowlisted");
    unknown("groupAllowFrom: ['*']").check("hold not-mentioned, read");
}

#[test]
fn the_groups_map_is_a_list_and_sets_the_activation() {
    Case::group("groupPolicy: 'open', groups: { '999@g.us': {} }").check("drop group-not-listed");
    Case::group("groupPolicy: 'open', groups: { '120363@G.US': { requireMention: false } }").check("dispatch, read");
    Case::group("groupPolicy: 'open', groups: { '*': { requireMention: false }, '120363@g.us': {} }")
        .check("dispatch, read");
    Case::group("groupPolicy: 'open', groups: { '*': { requireMention: false } }")
        .with(|c| c.activation = Some(Activation::Mention))
        .check("hold not-mentioned, read");
    Case::group("groupPolicy: 'open'").with(|c| c.activation = Some(Activation::Always)).check("dispatch, read");
}

#[test]
fn tags_and_replies_wake_the_agent_in_groups() {
    let open = "groupPolicy: 'open'";
    Case::group(open).body(|b| b.mentions = vec![jid("900@lid")]).check("dispatch, read");
    Case::group(open).body(|b| b.mentions = vec![jid("901@lid")]).check("hold not-mentioned, read");
    let quote =
        |sender: &str| Some(Quote { id: None, sender: Some(jid(sender)), by_us: false, body: "x".into(), media: None });
    Case::group(open).body(|b| b.quote = quote(SELF)).check("dispatch, read");
    Case::group(open).body(|b| b.quote = quote(ANN)).check("hold not-mentioned, read");
}

#[test]
fn owners_wake_the_agent_by_command_and_only_they_change_the_activation() {
    let ann = "groupPolicy: 'open', allowFrom: ['+15551234567']";
    let bob = "groupPolicy: 'open', allowFrom: ['+1999000']";
    Case::group(ann).text("/status").check("dispatch, read");
    Case::group(ann).text("/activation always").check("dispatch, read");
    Case::group(bob).text("/status").check("hold not-mentioned, read");
    Case::group(bob).text("+15550001111 /activation always").check("hold activation-not-owner, read");
    Case::group("groupPolicy: 'open', allowFrom: ['*']").text("/new").check("hold not-mentioned, read");
    Case::group("groupPolicy: 'open'").own().text("/new").check("dispatch");
    Case::group("groupPolicy: 'open'").own().text("lunch?").check("hold not-mentioned");
    let by_lid = |c: &mut Case| (c.message.sender, c.message.sender_number) = (jid("900:7@lid"), None);
    Case::group("allowFrom: ['+15550001111']").own().with(by_lid).text("/new").check("dispatch");
}

#[test]
fn commands_are_for_those_who_are_listed_and_the_config_for_owners() {
    const DROP: &str = "drop command-not-authorized, read";
    let open = "dmPolicy: 'open', allowFrom: ['*']";
    let by = |commands: &str, text: &str| {
        let mut case = Case::dm(open).text(text);
        case.config = format!("{{ commands: {{ {commands} }}, channels: {{ whatsapp: {{ {open} }} }} }}");
        case
    };
    by("", "/status").check("dispatch, read");
    by("config: true", "/config show").check(DROP);
    by("ownerAllowFrom: ['+1999000']", "/status").check(DROP);
    by("ownerAllowFrom: ['+15551234567']", "/config show").check("dispatch, read");
    by("ownerAllowFrom: ['*']", "/config show").check(DROP);
    let approved = |text: &str| {
        let mut case = Case::dm("dmPolicy: 'pairing', allowFrom: ['+1999000']").text(text);
        case.approved = vec!["+15551234567"];
        case
    };
    approved("/new").check(DROP);
    assert_eq!(approved("hello /new").dispatched().command, None);
    let call = Case::dm("dmPolicy: 'allowlist', allowFrom: ['+15551234567']").text(" /new hi ").dispatched().command;
    assert_eq!(call.expect("a command").text, "/new hi");
}

#[test]
fn the_ack_reaction_follows_the_mention_rule() {
    for (group, plain) in [("always", "hold not-mentioned, read, ack 👀"), ("mentions", "hold not-mentioned, read")] {
        let config = format!("groupPolicy: 'open', ackReaction: {{ emoji: '👀', group: '{group}' }}");
        Case::group(&config).check(plain);
        Case::group(&config).body(|b| b.mentions = vec![jid(SELF)]).check("dispatch, read, ack 👀");
    }
    Case::dm("dmPolicy: 'open', allowFrom: ['*'], sendReadReceipts: false, ackReaction: { emoji: '👀' }")
        .check("dispatch, ack 👀");
    Case::dm("dmPolicy: 'open', allowFrom: ['*'], ackReaction: { emoji: '👀', direct: false }").check("dispatch, read");
}

#[test]
fn bindings_and_broadcast_choose_the_agents() {
    let agents = "agents: { list: [{ id: 'main' }, { id: 'fam' }] }";
    let mut case = Case::dm("");
    case.config = format!(
        "{{ channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'] }} }}, {agents},
            bindings: [{{ agentId: 'fam', match: {{ channel: 'whatsapp', peer: {{ kind: 'dm', id: '1 555 123 4567' }} }} }}] }}"
    );
    let dispatch = case.dispatched();
    assert_eq!((dispatch.first().agent.as_str(), dispatch.matched_by), ("fam", MatchedBy::Peer));
    assert_eq!(dispatch.first().session.as_str(), "agent:fam:main");
    case.config = format!(
        "{{ channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'] }} }}, {agents},
            broadcast: {{ strategy: 'sequential', '+15551234567': ['main', 'fam'] }} }}"
    );
    let dispatch = case.dispatched();
    assert_eq!(dispatch.runs.len(), 2);
    assert!(dispatch.sequential);
}

#[test]
fn decisions_survive_the_journal() {
    let decision = Case::group("groupPolicy: 'open'").decide();
    let json = serde_json::to_string(&decision).expect("json");
    assert_eq!(serde_json::from_str::<Decision>(&json).expect("back"), decision);
}

proptest! {
    /// Whatever comes in, there is a decision, and nobody unlisted is ever answered under an allowlist.
    #[test]
    fn decisions_are_total_and_fail_closed(
        user in "[0-9]{1,15}", server in "(s.whatsapp.net|lid|hosted|hosted.lid|g.us|broadcast|newsletter|x)",
        sender_server in "(s.whatsapp.net|lid|hosted.lid|x)", from_me: bool, offline: bool, timestamp: i64,
        text in proptest::option::of("\\PC{0,40}"), known: bool,
    ) {
        let case = Case::dm("dmPolicy: 'allowlist', allowFrom: ['+491234567890123'], groupAllowFrom: ['+491234567890123', '5@lid']").with(|c| {
            c.message.chat = jid(&format!("{user}@{server}"));
            c.message.sender = jid(&format!("{user}:2@{sender_server}"));
            c.message.sender_number = if known { E164::from_digits(&user) } else { None };
            c.message.from_me = from_me;
            c.message.offline = offline;
            c.message.timestamp = timestamp;
            c.message.content = Content::Body(Body { text, ..Body::default() });
        });
        let decision = case.decide();
        let listed = user == "5" || user == "491234567890123" || user == "15550001111" || user == "900";
        prop_assert!(listed || matches!(decision.verdict, Verdict::Drop { .. }), "{:?}", decision.verdict);
    }

    /// Any account, any message: there is a decision, its last gate names a drop's reason, and only who is answered gets effects
    /// besides a pairing request.
    #[test]
    fn any_message_under_any_policy_has_a_decision(
        dm in "(pairing|allowlist|open|disabled)", group in "(open|allowlist|disabled)", self_chat in proptest::option::of(any::<bool>()),
        chat in "[0-9a-z\\[\\]]{1,8}@(s.whatsapp.net|lid|g.us|broadcast|newsletter|status|x)",
        sender in "[0-9]{1,15}:[0-9]{1,2}@(s.whatsapp.net|lid|hosted.lid|x)", from_me: bool, offline: bool, ours: bool,
        timestamp: i64, text in proptest::option::of(any::<String>()), name in proptest::option::of(any::<String>()),
        connected_at in proptest::option::of(any::<i64>()), reaction: bool,
    ) {
        let mode = self_chat.map(|on| format!("selfChatMode: {on},")).unwrap_or_default();
        let rules = format!("dmPolicy: '{dm}', groupPolicy: '{group}', {mode} allowFrom: ['*', '+15551234567'], ackReaction: {{ emoji: 'x' }}");
        let mut case = Case::dm(&rules).with(|c| {
            c.message.chat = jid(&chat);
            c.message.sender = jid(&sender);
            c.message.sender_number = None;
            c.message.from_me = from_me && !ours;
            c.message.offline = offline;
            c.message.timestamp = timestamp;
            c.message.push_name = name;
            c.message.content = if reaction {
                Content::Reaction { target: MessageId::new("M"), target_sender: None, target_from_me: ours, emoji: "👍".into() }
            } else {
                Content::Body(Body { text, ..Body::default() })
            };
        });
        case.connected_at = connected_at;
        let decision = case.decide();
        let last = decision.trace.last().map(|gate| gate.outcome.to_string());
        match &decision.verdict {
            Verdict::Drop { reason } => {
                let codes: Vec<String> = decision.trace.iter().map(|gate| gate.outcome.to_string()).collect();
                prop_assert!(codes.contains(&reason.code().to_owned()), "{codes:?}");
            }
            Verdict::Hold(hold) => {
                let own_words = hold.reason == IgnoreReason::OwnMessageToOther && case.message.from_me;
                prop_assert!((chat.ends_with("@g.us") || own_words) && hold.limit > 0);
            }
            Verdict::Dispatch(dispatch) => prop_assert!(!dispatch.runs.is_empty() && last.is_some()),
        }
    }

    /// A list of entries that name nobody lets nobody in, however it is spelled and whatever is known of the sender.
    #[test]
    fn a_list_that_names_nobody_is_closed(
        entries in proptest::collection::vec("[^0-9*]{0,12}", 0..8), number in proptest::option::of("[0-9]{1,15}"),
        lid in proptest::option::of("[0-9]{1,15}"),
    ) {
        let list = crate::policy::allowlist::parse_list(entries.iter().map(String::as_str));
        let person = Person {
            number: number.and_then(|n| E164::from_digits(&n)),
            lid: lid.map(|lid| jid(&format!("{lid}@lid"))),
        };
        prop_assert!(list.is_empty());
        prop_assert_eq!(listed(&list, &person), None);
        prop_assert!(!is_owner(&crate::policy::allowlist::parse_list(["*"]), Some(&me()), &person));
    }
}
