use proptest::prelude::*;

use super::*;
use crate::event::{MediaKind, MediaRef, Quote};
use crate::ids::MessageId;

const WINDOW: Duration = Duration::from_millis(40);

/// Batches as they go, when items come at times in ms and the clock is watched; a body that starts with `!` stands alone.
fn timeline(items: &[(u64, &str, &str)]) -> Vec<Vec<String>> {
    let start = Instant::now();
    let mut waiting = Debounce::default();
    let mut out = Vec::new();
    for &(at, key, body) in items {
        let now = start + Duration::from_millis(at);
        out.extend(waiting.due(now));
        out.extend(waiting.push(key.to_owned(), body.to_owned(), !body.starts_with('!'), WINDOW, now));
    }
    out.extend(waiting.due(start + Duration::from_secs(60)));
    assert!(waiting.flush_all().is_empty());
    out
}

#[test]
fn each_text_restarts_the_time_of_its_key() {
    let batches = timeline(&[(0, "A", "1"), (39, "A", "2"), (40, "B", "x"), (78, "A", "3"), (118, "A", "4")]);
    assert_eq!(batches, [vec!["x"], vec!["1", "2", "3"], vec!["4"]]);
}

#[test]
fn what_stands_alone_goes_behind_what_waited() {
    let batches = timeline(&[(0, "A", "1"), (1, "B", "x"), (10, "A", "!cmd"), (15, "A", "2")]);
    assert_eq!(batches, [vec!["1"], vec!["!cmd"], vec!["x"], vec!["2"]]);
}

#[test]
fn without_a_window_nothing_waits_and_what_waited_goes_first() {
    let now = Instant::now();
    let mut waiting = Debounce::default();
    assert!(waiting.push("A", 1, true, WINDOW, now).is_empty());
    assert_eq!(waiting.last(&"A"), Some(&1));
    assert_eq!(waiting.push("A", 2, true, Duration::ZERO, now), [[1], [2]]);
    assert_eq!(waiting.flush(&"A"), None);
}

#[test]
fn who_never_pauses_is_answered() {
    let now = Instant::now();
    let mut waiting = Debounce::default();
    let batches: Vec<Vec<usize>> = (0..=MAX_BATCH).flat_map(|n| waiting.push("A", n, true, WINDOW, now)).collect();
    assert_eq!(batches, [(0..MAX_BATCH).collect::<Vec<_>>()]);
    assert_eq!(waiting.flush_all(), [[MAX_BATCH]]);
}

fn message(chat: &str, sender: &str, number: Option<&str>, body: Body) -> InboundMessage {
    let jid = |text: &str| text.parse().expect("jid");
    let number = number.and_then(crate::ids::E164::from_digits);
    InboundMessage {
        account: AccountId::new("work"),
        id: MessageId::new("M"),
        chat: jid(chat),
        sender: jid(sender),
        sender_alt: None,
        sender_number: number.clone(),
        chat_number: if chat.ends_with("@g.us") { None } else { number },
        from_me: false,
        push_name: None,
        timestamp: 1,
        offline: false,
        content: Content::Body(body),
    }
}

fn said(text: &str) -> Body {
    Body { text: Some(text.into()), ..Body::default() }
}

#[test]
fn a_person_has_one_key_in_both_address_families() {
    let key = |chat, sender, number| Key::of(&message(chat, sender, number, said("x")));
    let ann = key("15557654321@s.whatsapp.net", "15557654321@s.whatsapp.net", Some("+15557654321"));
    assert_eq!(key("77@lid", "77:3@lid", Some("+15557654321")), ann);
    assert_ne!(key("78@lid", "78@lid", None), ann);
    let (one, other) = (key("1-2@g.us", "77:3@lid", None), key("1-2@g.us", "78@lid", None));
    assert_ne!(one, other, "members of a group are not joined");
    assert_eq!(key("1-2@g.us", "77:4@lid", None), one, "all devices of one person are");
    assert_ne!(key("77@lid", "77@lid", None), one, "nor are chats");
}

#[test]
fn only_plain_texts_join() {
    let check = |body: Body, command: bool, want: bool| {
        assert_eq!(joins(&message("77@lid", "77@lid", None, body.clone()), command), want, "{body:?}");
    };
    check(said("hi"), false, true);
    check(said("/status"), true, false);
    check(Body { location: true, ..said("📍 1, 2") }, false, false);
    let quote = Quote { id: None, sender: None, by_us: false, body: "q".into(), media: None };
    check(Body { quote: Some(quote), ..said("yes") }, false, false);
    let media = MediaRef::new(MediaKind::Image);
    check(Body { media: Some(media), ..said("caption") }, false, false);
    check(Body::default(), false, false);
}

#[test]
fn merged_messages_are_the_last_one_with_all_texts_and_mentions() {
    let tags = |list: &[&str]| list.iter().map(|t| t.parse().expect("jid")).collect::<Vec<Jid>>();
    let of = |id: &str, text: &str, mentions: &[&str]| InboundMessage {
        id: MessageId::new(id),
        ..message("77@lid", "77@lid", None, Body { mentions: tags(mentions), ..said(text) })
    };
    let merged = merge(vec![of("A", "one", &["1@lid"]), of("B", "", &["2@lid"])], of("C", "two", &["1@lid", "3@lid"]));
    assert_eq!(merged, of("C", "one\ntwo", &["1@lid", "2@lid", "3@lid"]));
    assert_eq!(merge(Vec::new(), of("A", "one", &[])), of("A", "one", &[]));
}

proptest! {
    #[test]
    fn nothing_is_lost_doubled_or_out_of_order(steps in proptest::collection::vec((0u8..3, 0u64..60, any::<bool>()), 0..200)) {
        let start = Instant::now();
        let (mut waiting, mut now, mut out) = (Debounce::default(), start, Vec::new());
        for (n, (key, pause, joins)) in steps.iter().enumerate() {
            now += Duration::from_millis(*pause);
            out.extend(waiting.due(now));
            out.extend(waiting.push(*key, (*key, n), *joins, WINDOW, now));
        }
        out.extend(waiting.flush_all());
        for batch in &out {
            prop_assert!(!batch.is_empty() && batch.len() <= MAX_BATCH && batch.iter().all(|(key, _)| *key == batch[0].0));
        }
        for key in 0u8..3 {
            let got: Vec<usize> = out.iter().flatten().filter(|(k, _)| *k == key).map(|(_, n)| *n).collect();
            let sent: Vec<usize> = steps.iter().enumerate().filter(|(_, (k, ..))| *k == key).map(|(n, _)| n).collect();
            prop_assert_eq!(got, sent);
        }
    }
}
