//! How long the rules take for one group message: 1,000 people in `allowFrom`, 50 mention patterns, the sender in the last entry.
//!
//! `cargo bench --bench decide` prints JSON, times in nanoseconds for one message, and fails above the limit.

use std::hint::black_box;
use std::time::Instant;

use serde_json::json;
use verso::config::model::AllowList;
use verso::config::{ResolveEnv, load_text};
use verso::event::{Body, Content, Identity, InboundMessage};
use verso::ids::{E164, MessageId};
use verso::policy::decide::{View, decide};
use verso::policy::mention::MentionTable;
use verso::routing::main_session::OwnNumbers;

/// No message may take longer than this on the median.
const LIMIT_NS: u64 = 20_000;
const PEOPLE: usize = 1_000;
const PATTERNS: usize = 50;
const ROUNDS: usize = 200;
const MESSAGES: usize = 500;

fn main() {
    let people: Vec<String> = (0..PEOPLE).map(|n| format!("+1555{n:07}")).collect();
    let patterns: Vec<String> = (0..PATTERNS).map(|n| format!(r"\b@?assistant\s*{n}\b")).collect();
    let config = json!({
        "channels": { "whatsapp": { "groupPolicy": "allowlist", "allowFrom": people, "groups": { "*": {} } } },
        "agents": { "list": [{ "id": "main", "groupChat": { "mentionPatterns": patterns } }] },
    });
    let loaded = load_text(&config.to_string(), &ResolveEnv::new("/home/u", "/home/u/.verso")).expect("a valid config");
    let config = loaded.config;
    let account = config.accounts.values().next().expect("an account");
    let (mentions, problems) = MentionTable::compile(&config);
    assert!(problems.is_empty());
    let me = Identity { jid: "15559999999:7@s.whatsapp.net".parse().expect("a JID"), lid: None, push_name: None };
    let sender = E164::from_digits(people.last().expect("people")).expect("a number");
    let message = |text: &str| InboundMessage {
        account: account.id.clone(),
        id: MessageId::new("3EB0"),
        chat: "120363000000000001@g.us".parse().expect("a JID"),
        sender: "210000000000007:3@lid".parse().expect("a JID"),
        sender_alt: None,
        sender_number: Some(sender.clone()),
        chat_number: None,
        from_me: false,
        push_name: Some("Ann".into()),
        timestamp: 1_768_487_405_000,
        offline: false,
        content: Content::Body(Body { text: Some(text.into()), ..Body::default() }),
    };
    let words = "shall we eat at eight or is nine better for the two of you, because the train from 1845 may be late";
    let cases = [
        ("unmentioned", message(words)),
        ("mentioned", message(&format!("{words} @assistant 49"))),
        ("command", message("@assistant 7 /status")),
    ];
    let approved = AllowList::default();
    let view = View {
        config: &config,
        account,
        revision: 1,
        me: Some(&me),
        own_numbers: &OwnNumbers::new(),
        approved: &approved,
        connected_at: Some(1_768_487_400_000),
        now: 1_768_487_406_000,
        mentions: &mentions,
        activation: &|_| None,
        owner_wrote: None,
        sent_by_us: false,
    };
    let mut slowest = 0;
    let mut results = serde_json::Map::new();
    for (name, message) in &cases {
        let mut rounds: Vec<u64> = (0..ROUNDS)
            .map(|_| {
                let begun = Instant::now();
                for _ in 0..MESSAGES {
                    black_box(decide(black_box(message), black_box(&view)));
                }
                u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX) / MESSAGES as u64
            })
            .collect();
        rounds.sort_unstable();
        let median = rounds[ROUNDS / 2];
        slowest = slowest.max(median);
        results.insert((*name).to_owned(), json!({ "median": median, "p95": rounds[ROUNDS * 95 / 100] }));
    }
    let within = slowest < LIMIT_NS;
    println!(
        "{}",
        json!({ "bench": "decide", "allowFrom": PEOPLE, "patterns": PATTERNS, "ns": results, "limitNs": LIMIT_NS, "ok": within })
    );
    if !within {
        std::process::exit(1);
    }
}
