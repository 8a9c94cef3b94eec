//! Whatever bytes come in as a message: wire, content, judgement, prompt and formatting end soon and panic nowhere.
//!
//! `VERSO_FUZZ_CASES=200000 cargo test --features demo --test it fuzz::` looks for longer; `VERSO_FUZZ_SEED` takes another course.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use verso::command::{self, Switches};
use verso::config::model::{AllowList, ChunkMode, Config, MarkdownTables};
use verso::config::{ResolveEnv, load_text};
use verso::event::{Content, Identity, InboundMessage};
use verso::ids::{AccountId, E164, Jid, MessageId};
use verso::policy::allowlist::Person;
use verso::policy::decide::{Verdict, View, decide};
use verso::policy::handover::Handovers;
use verso::policy::mention::MentionTable;
use verso::routing::main_session::OwnNumbers;
use verso::session::{debounce, freshness};
use verso::text::envelope::Options;
use verso::text::turn::{self, Turn};
use verso::text::zone::Zone;
use verso::text::{chunk, markdown, media_lines};
use verso::whatsapp::probe;
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::waproto::whatsapp as wa;

/// Cases of a normal run: seconds, not minutes.
const CASES: u64 = 1500;
/// A case that takes longer hangs. The machine of the tests may be busy.
const WATCHDOG: Duration = Duration::from_secs(20);

fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A course of numbers that its seed repeats.
struct Course(u64);

impl Course {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end.max(1)
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// Text of what parsers stumble over.
    fn text(&mut self) -> String {
        const PIECES: &[&str] = &[
            "/new",
            "/reset ",
            "/config set a.b={",
            "/activation\u{a0}always",
            "@bot",
            "@15550001111",
            "\u{301}",
            "a\u{300}\u{301}\u{302}",
            "👨‍👩‍👧‍👦",
            "🇩🇪🇩",
            "\u{200d}",
            "\u{202e}",
            "\u{feff}",
            "\u{0}",
            "\r\n",
            "\n",
            "\u{2028}",
            "\u{85}",
            " ",
            "\u{3000}",
            "*",
            "**",
            "_",
            "~~",
            "`",
            "```",
            "```rust\n",
            "|a|b|\n|-|-|\n",
            "# ",
            "- ",
            "1. ",
            "> ",
            "[x](http://y)",
            "![x](y)",
            "<think>",
            "</think>",
            "MEDIA:",
            "MEDIA: ./a b\n",
            "[[as_sticker]]",
            "[Replying to ",
            "[/Replying]",
            "[from: ",
            "{model}",
            "NO_REPLY",
            "HEARTBEAT_OK",
            "\\",
            "\"",
            "😀",
            "ß",
            "İ",
            "ﬁ",
            "x",
            "word",
        ];
        let mut text = String::new();
        for _ in 0..self.below(24) {
            let piece = self.pick(PIECES);
            let times = if self.below(40) == 0 { self.below(400) } else { 1 };
            text.push_str(&piece.repeat(times));
        }
        text
    }

    fn address(&mut self) -> String {
        self.pick(&[
            "15551234567@s.whatsapp.net",
            "15550001111@s.whatsapp.net",
            "77@lid",
            "900@lid",
            "120363@g.us",
            "1:99999@s.whatsapp.net",
            "@",
            "",
            "@lid",
            "status@broadcast",
            "x@newsletter",
            "99999999999999999999999@s.whatsapp.net",
            "a@b@c",
            "1.2@hosted.lid",
            "0@c.us",
        ])
        .to_owned()
    }

    /// A message as the wire has it, right or wrong: fields of any number with what may be texts, numbers, or further fields.
    fn wire(&mut self, depth: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..self.below(6) {
            let number = if self.below(3) == 0 {
                self.below(130)
            } else {
                self.pick(&[1, 2, 3, 4, 5, 6, 9, 12, 17, 26, 37, 40, 46, 51, 53, 55])
            };
            match self.below(8) {
                0 => {
                    varint((number as u64) << 3, &mut bytes);
                    let value = self.pick(&[0, 1, u64::MAX, 1 << 31, i64::MAX as u64, i64::MIN as u64]);
                    varint(value, &mut bytes);
                }
                1 => {
                    varint((number as u64) << 3 | 1, &mut bytes);
                    bytes.extend(f64::to_le_bytes(self.pick(&[0.0, f64::NAN, f64::INFINITY, -1e308, 1e-308, 52.5])));
                }
                kind => {
                    varint((number as u64) << 3 | 2, &mut bytes);
                    let content = match kind {
                        2 | 3 if depth > 0 => self.wire(depth - 1),
                        4 => self.address().into_bytes(),
                        5 => (0..self.below(40)).map(|n| n as u8 ^ 0x5a).collect(),
                        _ => self.text().into_bytes(),
                    };
                    varint(content.len() as u64, &mut bytes);
                    bytes.extend(content);
                }
            }
        }
        bytes
    }

    /// A message that a client would make, with texts of no client.
    fn made(&mut self) -> wa::Message {
        let context = wa::ContextInfo {
            stanza_id: Some(self.text()),
            participant: Some(self.address()),
            mentioned_jid: (0..self.below(5)).map(|_| self.address()).collect(),
            quoted_message: if self.below(2) == 0 {
                MessageField::some(wa::Message { conversation: Some(self.text()), ..Default::default() })
            } else {
                MessageField::none()
            },
            ..Default::default()
        };
        match self.below(4) {
            0 => wa::Message { conversation: Some(self.text()), ..Default::default() },
            1 => {
                let part = wa::message::ImageMessage {
                    caption: Some(self.text()),
                    mimetype: Some(self.text()),
                    file_length: Some(u64::MAX),
                    context_info: MessageField::some(context),
                    ..Default::default()
                };
                wa::Message { image_message: MessageField::some(part), ..Default::default() }
            }
            2 => {
                let vcard =
                    format!("BEGIN:VCARD\nFN:{}\nTEL;waid={}:{}\nEND:VCARD", self.text(), self.text(), self.text());
                let part = wa::message::ContactMessage {
                    display_name: Some(self.text()),
                    vcard: Some(vcard),
                    ..Default::default()
                };
                wa::Message { contact_message: MessageField::some(part), ..Default::default() }
            }
            _ => {
                let part = wa::message::ExtendedTextMessage {
                    text: Some(self.text()),
                    context_info: MessageField::some(context),
                    ..Default::default()
                };
                wa::Message { extended_text_message: MessageField::some(part), ..Default::default() }
            }
        }
    }

    fn time(&mut self) -> i64 {
        self.pick(&[
            0,
            1,
            -1,
            i64::MAX,
            i64::MIN,
            i64::MAX - 1,
            1_767_225_600_000,
            8_210_266_876_799_999,
            253_402_300_800_000,
        ])
    }
}

fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn inside(wrapper: u64, depth: usize) -> Vec<u8> {
    let mut bytes = wa::Message { conversation: Some("deep".into()), ..Default::default() }.encode_to_vec();
    for _ in 0..depth {
        let mut future = Vec::new();
        varint(1 << 3 | 2, &mut future);
        varint(bytes.len() as u64, &mut future);
        future.extend(bytes);
        bytes = Vec::new();
        varint(wrapper << 3 | 2, &mut bytes);
        varint(future.len() as u64, &mut bytes);
        bytes.extend(future);
    }
    bytes
}

const RULES: [&str; 4] = [
    "dmPolicy: 'open', allowFrom: ['*'], groupPolicy: 'open', ackReaction: { emoji: '+', group: 'always' }, handover: { minutes: 10080 }",
    "dmPolicy: 'pairing', allowFrom: ['+15551234567'], groupPolicy: 'allowlist', groups: { '120363@g.us': { requireMention: false } }",
    "dmPolicy: 'allowlist', allowFrom: ['77@lid', '+15550001111'], selfChatMode: true, groupPolicy: 'open', historyLimit: 0",
    "listenOnly: true",
];

fn configs() -> Vec<Config> {
    let patterns =
        r#"["(?i)\\bbot\\b", "^$", ".*", "(a|b|ab)*c", "[\\s\\S]{0,500}x", "\\p{L}+\\p{M}*", "(?:", "(?m)^@?\\w*$"]"#;
    let config = |rules: &str| {
        let text = format!(
            "{{ session: {{ resetTriggers: ['/new', ' ', 'İ', '\u{301}', 'begin anew'] }}, commands: {{ config: true }}, \
             agents: {{ list: [{{ id: 'main', identity: {{ name: 'B\u{301}ot {{model}}' }}, groupChat: {{ mentionPatterns: {patterns} }} }}] }}, \
             channels: {{ whatsapp: {{ {rules} }} }} }}"
        );
        let loaded = load_text(&text, &ResolveEnv::new("/home/u", "/home/u/.verso")).expect("a config").config;
        (*loaded).clone()
    };
    RULES.iter().map(|rules| config(rules)).collect()
}

/// The whole way of a message, as far as it is pure.
fn goes_through(content: Content, config: &Config, course: &mut Course) {
    let jid = |text: String| text.parse::<Jid>().unwrap_or_else(|_| "77@lid".parse().expect("a LID"));
    let message = InboundMessage {
        account: AccountId::new("default"),
        id: MessageId::new(course.text()),
        chat: jid(course.address()),
        sender: jid(course.address()),
        sender_alt: Some(jid(course.address())),
        sender_number: E164::parse(&course.address()).ok(),
        chat_number: E164::parse(&course.address()).ok(),
        from_me: course.below(4) == 0,
        push_name: Some(course.text()),
        timestamp: course.time(),
        offline: course.below(2) == 0,
        content,
    };
    let me = Identity {
        jid: "15550001111:7@s.whatsapp.net".parse().expect("a JID"),
        lid: Some("900:7@lid".parse().expect("a LID")),
        push_name: Some(course.text()),
    };
    let account = config.accounts.values().next().expect("an account");
    let (mentions, approved, now) = (MentionTable::compile(config).0, AllowList::default(), course.time().max(0));
    let mut handovers = Handovers::default();
    handovers.note(&message.account, Person::peer(&message), course.time(), account.rules.handover, now);
    handovers.count(&message.account, account.rules.handover, now);
    let decision = decide(
        &message,
        &View {
            config,
            account,
            revision: 1,
            me: Some(&me),
            own_numbers: &OwnNumbers::new(),
            approved: &approved,
            connected_at: Some(course.time()),
            now,
            mentions: &mentions,
            activation: &|_| None,
            sent_by_us: course.below(9) == 0,
            owner_wrote: handovers.last(&message).filter(|_| course.below(2) == 0),
        },
    );
    serde_json::to_string(&decision).expect("plain data");
    let kept: Vec<_> = turn::kept(&message).into_iter().collect();
    debounce::joins(&message, false);
    let merged = debounce::merge(vec![message.clone()], message.clone());
    let options = Options { zone: Zone::Utc, timestamp: true, elapsed: true };
    if let Verdict::Dispatch(dispatch) = &decision.verdict {
        for message in [&message, &merged] {
            let turn = Turn {
                message,
                dispatch,
                rules: &account.rules,
                agent: config.agents.default_agent(),
                history: &kept,
                attached: None,
                quoted_attached: None,
                previous: Some(course.time()),
            };
            let prompt = turn.prompt(&options);
            assert!(prompt.len() < 4 * (1 << 20), "{} bytes", prompt.len());
        }
    }
}

/// What is done with words, whoever says them.
fn is_formatted(text: &str, course: &mut Course) {
    let triggers = ["/new".to_owned(), "\u{301}".to_owned(), String::new()];
    command::parse(text, &triggers);
    command::normalize(text);
    command::is_control_message(text, Switches { config: true, debug: true });
    command::parse_activation(text);
    for tables in [MarkdownTables::Bullets, MarkdownTables::Code, MarkdownTables::Off] {
        markdown::to_whatsapp(text, tables);
    }
    let limit = course.pick(&[1, 2, 16, 100, 4000]);
    for mode in [ChunkMode::Length, ChunkMode::Newline] {
        chunk::chunk(text, limit, mode);
        markdown::render(text, MarkdownTables::Bullets).chunks(limit, mode);
    }
    media_lines::split(text);
}

/// Runs cases on a thread of their own; the test fails when one of them panics or hangs, and names it.
fn watched(what: &str, cases: u64, case: impl Fn(u64, &mut Course) + Send + 'static) {
    let seed = asked("VERSO_FUZZ_SEED", 1);
    let (tell, told) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        for n in 0..cases {
            if tell.send(n).is_err() {
                return;
            }
            case(n, &mut Course(seed.wrapping_mul(1_000_003).wrapping_add(n)));
        }
    });
    let (mut last, mut began, mut slowest) = (None, Instant::now(), (Duration::ZERO, None));
    loop {
        let came = told.recv_timeout(WATCHDOG);
        slowest = slowest.max((began.elapsed(), last));
        began = Instant::now();
        match came {
            Ok(n) => last = Some(n),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: case {last:?} of seed {seed} hangs"),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    // For whoever looks for longer: `--nocapture`.
    eprintln!("{what}: the slowest case is {:?} with {:?}", slowest.1, slowest.0);
    assert!(worker.join().is_ok(), "{what}: case {last:?} of seed {seed} panics");
}

#[test]
fn bytes_of_any_kind_are_read_judged_and_told() {
    let configs = configs();
    watched("a message", asked("VERSO_FUZZ_CASES", CASES), move |_, course| {
        let mut bytes = match course.below(3) {
            0 => course.wire(5),
            _ => course.made().encode_to_vec(),
        };
        for _ in 0..course.below(3) {
            let at = course.below(bytes.len());
            match (bytes.get_mut(at), course.below(2)) {
                (Some(byte), 0) => *byte ^= 1 << course.below(8),
                (Some(_), _) => bytes.truncate(at),
                (None, _) => {}
            }
        }
        if let Ok(content) = probe::read(&bytes) {
            goes_through(content, &configs[course.below(configs.len())], course);
        }
    });
}

#[test]
fn words_of_any_kind_are_parsed_and_formatted() {
    watched("a text", asked("VERSO_FUZZ_CASES", CASES), |_, course| {
        let text = course.text();
        is_formatted(&text, course);
    });
}

#[test]
fn the_longest_messages_are_worked_off_in_time() {
    let many = |piece: &str| piece.repeat(65_536 / piece.chars().count());
    let texts = [
        many("\u{301}"),
        format!("a{}", many("\u{300}\u{301}")),
        many("*"),
        many("_a"),
        many("`"),
        many("```\n"),
        many("|"),
        many("|a|\n"),
        many("["),
        many("[a]("),
        many("![a](b)"),
        many("> "),
        many("- \n"),
        many("\n"),
        many(" "),
        many("\u{200d}👩"),
        many("🇩"),
        many("/new "),
        many("@15550001111 "),
        many("<think>"),
        many("MEDIA: a\n"),
        many("~~a"),
        many("# "),
        many("**a*"),
        many("\u{202e}"),
        many("İ"),
        many("1. "),
        many("[Replying to "),
        many("\\"),
        many("http://a/"),
        many("a"),
        many("a "),
    ];
    let configs = configs();
    let cases = (texts.len() * 2) as u64;
    watched("a long text", cases, move |n, course| {
        let text = &texts[n as usize / 2];
        if n % 2 == 0 {
            is_formatted(text, course);
            return;
        }
        let quoted = wa::Message { conversation: Some(text.clone()), ..Default::default() };
        let context = wa::ContextInfo {
            stanza_id: Some("Q".into()),
            participant: Some("15550001111@s.whatsapp.net".into()),
            quoted_message: MessageField::some(quoted),
            ..Default::default()
        };
        let part = wa::message::ExtendedTextMessage {
            text: Some(text.clone()),
            context_info: MessageField::some(context),
            ..Default::default()
        };
        let message = wa::Message { extended_text_message: MessageField::some(part), ..Default::default() };
        let content = probe::read(&message.encode_to_vec()).expect("a message");
        goes_through(content, &configs[0], course);
        let card = format!("BEGIN:VCARD\nFN:{text}\nTEL;waid={text}:{text}\nEND:VCARD");
        let part =
            wa::message::ContactMessage { display_name: Some(text.clone()), vcard: Some(card), ..Default::default() };
        let message = wa::Message { contact_message: MessageField::some(part), ..Default::default() };
        goes_through(probe::read(&message.encode_to_vec()).expect("a message"), &configs[0], course);
    });
}

#[test]
fn a_message_in_many_wrappers_ends_as_an_error_or_a_message() {
    // Ephemeral, view once, document with caption, edited: each holds a message that may hold another.
    let cases: Vec<(u64, usize)> =
        [40, 37, 53, 55, 58].into_iter().flat_map(|w| [1, 5, 40, 90, 2_000].map(|d| (w, d))).collect();
    let configs = configs();
    watched("wrappers", cases.len() as u64, move |n, course| {
        let (wrapper, depth) = cases[n as usize];
        if let Ok(content) = probe::read(&inside(wrapper, depth)) {
            goes_through(content, &configs[0], course);
        }
    });
}

#[test]
fn no_time_is_too_early_or_too_late() {
    use verso::config::model::{ResetMode, ResetPolicy};
    watched("a time", 9 * 9 * 9, |n, course| {
        course.0 = n;
        let (updated, now) = (course.time(), course.time());
        for (mode, idle) in [(ResetMode::Daily, None), (ResetMode::Idle, Some(Duration::MAX))] {
            let policy = ResetPolicy { mode, at_hour: 23, idle };
            // The time of day of this machine; years that a clock can show.
            freshness::evaluate(updated, now.clamp(0, 253_402_300_800_000), &policy, &Zone::Utc);
        }
        Zone::Utc.stamp(now);
    });
}
