//! The tables follow vectors/inbound_extract.json (the original's own answers) and behaviour.md 7.4.

use std::sync::Arc;

use whatsapp_rust::wacore::types::message::MessageSource;
use whatsapp_rust::waproto::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp::message::{
    AudioMessage, ButtonsMessage, ContactMessage, ContactsArrayMessage, DeviceSentMessage, DocumentMessage,
    ExtendedTextMessage, FutureProofMessage, ImageMessage, ListResponseMessage, LiveLocationMessage, LocationMessage,
    PollUpdateMessage, ProtocolMessage, ReactionMessage, StickerMessage, VideoMessage, protocol_message,
};

use super::*;
use crate::event::{MediaKind, MediaRef};

fn some<T: Default>(part: T) -> MessageField<T> {
    MessageField::some(part)
}

fn owned(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn said(text: &str) -> wa::Message {
    wa::Message { conversation: owned(text), ..Default::default() }
}

fn extended(text: &str, context: wa::ContextInfo) -> wa::Message {
    let part = ExtendedTextMessage { text: owned(text), context_info: some(context), ..Default::default() };
    wa::Message { extended_text_message: some(part), ..Default::default() }
}

fn image(caption: Option<&str>) -> wa::Message {
    let part = ImageMessage {
        caption: caption.map(str::to_owned),
        mimetype: owned("image/jpeg"),
        file_length: Some(7),
        ..Default::default()
    };
    wa::Message { image_message: some(part), ..Default::default() }
}

fn video(caption: &str) -> wa::Message {
    let part = VideoMessage { caption: owned(caption), ..Default::default() };
    wa::Message { video_message: some(part), ..Default::default() }
}

fn document(caption: Option<&str>) -> wa::Message {
    let part = DocumentMessage { file_name: owned("a.pdf"), caption: caption.map(str::to_owned), ..Default::default() };
    wa::Message { document_message: some(part), ..Default::default() }
}

fn wrapped(inner: wa::Message) -> MessageField<FutureProofMessage> {
    some(FutureProofMessage { message: some(inner) })
}

fn pin(name: Option<&str>, address: Option<&str>, accuracy: Option<u32>, comment: Option<&str>) -> wa::Message {
    let part = LocationMessage {
        degrees_latitude: Some(52.520_006_6),
        degrees_longitude: Some(13.404_954),
        name: name.map(str::to_owned),
        address: address.map(str::to_owned),
        accuracy_in_meters: accuracy,
        comment: comment.map(str::to_owned),
        ..Default::default()
    };
    wa::Message { location_message: some(part), ..Default::default() }
}

fn card(name: Option<&str>, vcard: Option<&str>) -> ContactMessage {
    ContactMessage { display_name: name.map(str::to_owned), vcard: vcard.map(str::to_owned), ..Default::default() }
}

fn contact(name: Option<&str>, vcard: Option<&str>) -> wa::Message {
    wa::Message { contact_message: some(card(name, vcard)), ..Default::default() }
}

fn contacts(cards: Vec<ContactMessage>) -> wa::Message {
    let part = ContactsArrayMessage { contacts: cards, ..Default::default() };
    wa::Message { contacts_array_message: some(part), ..Default::default() }
}

const JANE: &str =
    "BEGIN:VCARD\nVERSION:3.0\nN:Doe;Jane;;;\nFN:Jane Doe\nTEL;type=CELL;waid=15551112222:+1 555 111 2222\nEND:VCARD";

/// The text, or the placeholder of media without text, or the kind in brackets for what starts no conversation.
fn shown(message: &wa::Message) -> String {
    match content(message) {
        Content::Body(Body { text: Some(text), .. }) => text,
        Content::Body(Body { media: Some(media), .. }) => media.kind.placeholder().to_owned(),
        Content::Body(body) => format!("{body:?}"),
        Content::Reaction { emoji, .. } => format!("[reaction {emoji}]"),
        Content::Other { kind } => format!("[{kind}]"),
    }
}

fn check(what: &str, message: &wa::Message, want: &str) {
    assert_eq!(shown(message), want, "{what}");
}

#[test]
fn texts_captions_and_media() {
    check("conversation", &said(" hello "), "hello");
    check("blank", &said("  "), "[empty]");
    check("nothing", &wa::Message::default(), "[empty]");
    check("image with caption", &image(Some("look")), "look");
    check("image with blank caption", &image(Some("   ")), "<media:image>");
    check("video", &video("vid"), "vid");
    check("document", &document(None), "<media:document>");
    let with_caption =
        wa::Message { document_with_caption_message: wrapped(document(Some("dc"))), ..Default::default() };
    check("document with caption", &with_caption, "dc");
    let ephemeral = wa::Message { ephemeral_message: wrapped(said("eph")), ..Default::default() };
    check("disappearing", &ephemeral, "eph");
    let once = wa::Message { view_once_message_v2: wrapped(image(None)), ..Default::default() };
    check("view once", &once, "<media:image>");
    let sent = DeviceSentMessage { message: some(ephemeral), ..Default::default() };
    check("own device", &wa::Message { device_sent_message: some(sent), ..Default::default() }, "eph");
    let audio = wa::Message { audio_message: some(AudioMessage::default()), ..Default::default() };
    check("audio", &audio, "<media:audio>");
    let sticker = wa::Message { sticker_message: some(StickerMessage::default()), ..Default::default() };
    check("sticker", &sticker, "<media:sticker>");
    let buttons = ButtonsMessage { content_text: owned("pick"), ..Default::default() };
    check("buttons", &wa::Message { buttons_message: some(buttons), ..Default::default() }, "pick");
    let Content::Body(body) = content(&image(None)) else { panic!("an image is a body") };
    let media = MediaRef { mime: owned("image/jpeg"), bytes: Some(7), ..MediaRef::new(MediaKind::Image) };
    assert_eq!(body.media, Some(media));
}

#[test]
fn media_keeps_what_a_download_needs() {
    let note = AudioMessage {
        ptt: Some(true),
        seconds: Some(12),
        direct_path: owned("/v/t62/abc"),
        media_key: Some(vec![1; 32]),
        file_sha256: Some(vec![2; 32]),
        file_enc_sha256: Some(vec![3; 32]),
        ..Default::default()
    };
    let heard = |note: AudioMessage| {
        let message = wa::Message { audio_message: some(note), ..Default::default() };
        let Content::Body(Body { media: Some(media), .. }) = content(&message) else { panic!("audio is media") };
        media
    };
    let media = heard(note.clone());
    assert_eq!((media.voice, media.seconds), (true, Some(12)));
    let file = media.file.expect("it can be fetched");
    assert_eq!(file.direct_path, "/v/t62/abc");
    assert_eq!(file.key.reveal(), "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    // A path that would change the host is none.
    assert_eq!(heard(AudioMessage { direct_path: owned("@evil.example/x"), ..note.clone() }).file, None);
    assert_eq!(heard(AudioMessage { media_key: None, ..note }).file, None);

    let Content::Body(Body { media: Some(named), .. }) = content(&document(None)) else {
        panic!("a document is media")
    };
    assert_eq!(named.file_name.as_deref(), Some("a.pdf"));
}

#[test]
fn contacts_are_placeholders() {
    check("named", &contact(Some("Jane"), Some(JANE)), "<contact: Jane, +1 555 111 2222>");
    check("from the card", &contact(None, Some(JANE)), "<contact: Jane Doe, +1 555 111 2222>");
    check("empty", &contact(None, None), "<contact>");
    check("name only", &contact(Some("Jane"), None), "<contact: Jane>");
    check("N and no phone", &contact(None, Some("N:Last;First;Mid;;\nTEL:")), "<contact: Last First Mid>");
    check("first FN", &contact(None, Some("FN:One\nFN:Two")), "<contact: One>");
    let many = "FN:A\\, B\nitem1.TEL:tel:+1\nTEL:+2\nTEL:+3";
    check("one line", &contact(None, Some("FN:A\\nB")), "<contact: A B>");
    check("several phones, prefix, escape", &contact(None, Some(many)), "<contact: A, B, +1 (+2 more)>");
    check("unlabelled", &contacts(vec![card(None, None), card(None, None)]), "<contacts: 2 contacts>");
    check("one unlabelled", &contacts(vec![card(None, None)]), "<contacts: 1 contact>");
    let labelled = contacts(vec![card(Some("A"), Some("TEL:+1")), card(Some("B"), None), card(None, None)]);
    check("labelled", &labelled, "<contacts: A, +1, B +1 more>");
}

#[test]
fn locations_are_lines() {
    check("pin", &pin(None, None, None, None), "📍 52.520007, 13.404954");
    check("accuracy", &pin(None, None, Some(10), None), "📍 52.520007, 13.404954 ±10m");
    check("place", &pin(Some("Home"), Some("Main St"), None, None), "📍 Home — Main St (52.520007, 13.404954)");
    check("comment", &pin(None, None, None, Some(" c ")), "📍 52.520007, 13.404954\nc");
    let mut live = pin(Some("Home"), None, None, None);
    live.location_message.get_or_insert_default().is_live = Some(true);
    check("shared live", &live, "🛰 Live location: 52.520007, 13.404954");
    let part = LiveLocationMessage {
        degrees_latitude: Some(1.0),
        degrees_longitude: Some(2.0),
        accuracy_in_meters: Some(21),
        caption: owned("here"),
        ..Default::default()
    };
    let live = wa::Message { live_location_message: some(part), ..Default::default() };
    check("live", &live, "🛰 Live location: 1.000000, 2.000000 ±21m\nhere");
    let mut nowhere = pin(None, None, None, None);
    nowhere.location_message.get_or_insert_default().degrees_latitude = Some(f64::NAN);
    check("no number", &nowhere, "[empty]");
    let mut both = pin(None, None, None, None);
    both.conversation = owned("see you");
    check("after the text", &both, "see you\n📍 52.520007, 13.404954");
}

#[test]
fn what_starts_no_conversation_names_its_kind() {
    let protocol = |kind| {
        let part = ProtocolMessage { r#type: Some(kind), edited_message: some(said("new text")), ..Default::default() };
        wa::Message { protocol_message: some(part), ..Default::default() }
    };
    check("edit", &protocol(protocol_message::Type::MESSAGE_EDIT), "[edit]");
    check("revoke", &protocol(protocol_message::Type::REVOKE), "[revoke]");
    check("timer", &protocol(protocol_message::Type::EPHEMERAL_SETTING), "[ephemeral-setting]");
    let inner = protocol(protocol_message::Type::MESSAGE_EDIT);
    let edited = wa::Message { edited_message: wrapped(inner.clone()), ..Default::default() };
    check("wrapped edit", &edited, "[edit]");
    let hidden = wa::Message { ephemeral_message: wrapped(edited), ..Default::default() };
    check("edit of a disappearing message", &hidden, "[edit]");
    let vote = wa::Message { poll_update_message: some(PollUpdateMessage::default()), ..Default::default() };
    check("vote", &vote, "[poll-vote]");
    let reply = wa::Message { list_response_message: some(ListResponseMessage::default()), ..Default::default() };
    check("list reply", &reply, "[list-reply]");
}

#[test]
fn quotes_and_mentions() {
    let quoting = |quoted: Option<wa::Message>| {
        let context = wa::ContextInfo {
            stanza_id: owned("ABC123"),
            participant: owned("15551234567@s.whatsapp.net"),
            quoted_message: quoted.map(some).unwrap_or_default(),
            mentioned_jid: ["1@s.whatsapp.net", "4@lid", "1@s.whatsapp.net", "junk"].map(str::to_owned).to_vec(),
            ..Default::default()
        };
        match content(&extended("reply", context)) {
            Content::Body(body) => body,
            other => panic!("{other:?}"),
        }
    };
    let once = wa::Message { view_once_message_v2: wrapped(image(None)), ..Default::default() };
    for (quoted, want) in [
        (Some(said("orig")), Some("orig")),
        (Some(image(None)), Some("<media:image>")),
        (Some(contact(Some("Jane"), None)), Some("<contact: Jane>")),
        (Some(once), Some("<media:image>")),
        (Some(said("   ")), None),
        (None, None),
    ] {
        assert_eq!(quoting(quoted).quote.map(|q| q.body).as_deref(), want);
    }
    let body = quoting(Some(said("orig")));
    let mentions: Vec<String> = body.mentions.iter().map(ToString::to_string).collect();
    assert_eq!(mentions, ["1@s.whatsapp.net", "4@lid"]);
    let quote = body.quote.expect("quoted above");
    assert_eq!(quote.id, Some(MessageId::new("ABC123")));
    assert_eq!(quote.sender, "15551234567@s.whatsapp.net".parse().ok());
}

/// The envelope of a message, as the library reads it.
fn envelope(chat: &str, sender: &str, alt: Option<&str>, from_me: bool) -> MessageInfo {
    let jid = |text: &str| text.parse::<whatsapp_rust::Jid>().expect("valid");
    MessageInfo {
        source: MessageSource {
            chat: jid(chat),
            sender: jid(sender),
            is_from_me: from_me,
            is_group: chat.ends_with("@g.us"),
            sender_alt: alt.map(jid),
            ..Default::default()
        },
        id: "A".into(),
        push_name: " Ann ".to_owned(),
        ..Default::default()
    }
}

fn received(info: &MessageInfo, body: &wa::Message) -> Option<InboundMessage> {
    let me = Identity {
        jid: "15550000001:3@s.whatsapp.net".parse().expect("valid"),
        lid: "77:3@lid".parse().ok(),
        push_name: None,
    };
    message(&AccountId::new("work"), Some(&me), info, body)
}

#[test]
fn envelopes_tell_who_and_where() {
    let numbers = |info: &MessageInfo| {
        let got = received(info, &said("x")).expect("served");
        (got.sender_number.map(|n| n.to_string()), got.chat_number.map(|n| n.to_string()))
    };
    let ann = || Some("+15551234567".to_owned());
    let direct = envelope("15551234567@s.whatsapp.net", "15551234567:2@s.whatsapp.net", None, false);
    assert_eq!(numbers(&direct), (ann(), ann()));
    let hidden = envelope("99@lid", "99:2@lid", Some("15551234567@s.whatsapp.net"), false);
    assert_eq!(numbers(&hidden), (ann(), ann()));
    assert_eq!(numbers(&envelope("99@lid", "99@lid", None, false)), (None, None));
    let group = envelope("123@g.us", "99@lid", Some("15551234567@s.whatsapp.net"), false);
    assert_eq!(numbers(&group), (ann(), None));
    let mut own = envelope("99@lid", "77@lid", Some("15550000001@s.whatsapp.net"), true);
    own.source.recipient_alt = "15551234567@s.whatsapp.net".parse().ok();
    assert_eq!(numbers(&own), (Some("+15550000001".to_owned()), ann()));
    let got = received(&hidden, &said("x")).expect("served");
    assert_eq!(got.push_name.as_deref(), Some("Ann"));
    assert_eq!(got.key().sender.to_string(), "99@lid");
}

#[test]
fn what_verso_does_not_serve_never_gets_in() {
    for (chat, want) in [
        ("15551234567@s.whatsapp.net", Business::Chat),
        ("99@lid", Business::Chat),
        ("123@g.us", Business::Chat),
        ("status@broadcast", Business::Ignored),
        ("1700000000@broadcast", Business::Ignored),
        ("1@newsletter", Business::Ignored),
    ] {
        let info = envelope(chat, "99@lid", None, false);
        assert_eq!(business(&info), want, "{chat}");
        assert_eq!(received(&info, &said("x")).is_some(), want == Business::Chat, "{chat}");
    }
    let mut control = envelope("15550000001@s.whatsapp.net", "15550000001@s.whatsapp.net", None, true);
    control.category = MessageCategory::Peer;
    assert_eq!(business(&control), Business::Control);
    let mut list = envelope("99@lid", "99@lid", None, false);
    list.source.broadcast_list_owner = "99@lid".parse().ok();
    assert_eq!(business(&list), Business::Ignored);
}

#[test]
fn reactions_are_seen_from_our_side() {
    let react = |chat: &str, from_me: bool, key_from_me: bool, author: Option<&str>| {
        let key = wa::MessageKey {
            id: owned("T"),
            from_me: Some(key_from_me),
            participant: author.map(str::to_owned),
            ..Default::default()
        };
        let part = ReactionMessage { key: some(key), text: owned("👍"), ..Default::default() };
        let body = wa::Message { reaction_message: some(part), ..Default::default() };
        let sender = if from_me { "77@lid" } else { "99:2@lid" };
        match received(&envelope(chat, sender, None, from_me), &body).expect("served").content {
            Content::Reaction { target_from_me, target_sender, .. } => {
                (target_from_me, target_sender.map(|jid| jid.to_string()))
            }
            other => panic!("{other:?}"),
        }
    };
    let jid = |text: &str| Some(text.to_owned());
    assert_eq!(react("99@lid", false, false, None), (true, None), "on ours");
    assert_eq!(react("99@lid", false, true, None), (false, jid("99@lid")), "on their own");
    assert_eq!(react("99@lid", true, true, None), (true, None), "our phone, on ours");
    assert_eq!(react("1@g.us", false, false, Some("77:3@lid")), (true, jid("77:3@lid")), "on ours, in a group");
    assert_eq!(react("1@g.us", false, false, Some("88@lid")), (false, jid("88@lid")), "on somebody's");
    assert_eq!(react("1@g.us", false, true, Some("99@lid")), (false, jid("99@lid")), "on their own, in a group");
}

#[test]
fn events_become_ours() {
    use whatsapp_rust::wacore::types::events as theirs;
    let ack = |class: Option<&str>, error: Option<&str>| {
        let ack = theirs::ServerAck::builder().id("A".to_owned()).maybe_class(class.map(str::to_owned));
        event(&Event::ServerAck(ack.maybe_error(error.map(str::to_owned)).build()))
    };
    let taken = Some(LinkEvent::ServerAck { id: MessageId::new("A"), error: None });
    assert_eq!(ack(Some("message"), None), taken);
    assert_eq!(ack(Some("receipt"), None), None);
    let refused = Some(LinkEvent::ServerAck { id: MessageId::new("A"), error: owned("479") });
    assert_eq!(ack(Some("message"), Some("479")), refused);
    let receipt = |kind| {
        let source = envelope("99@lid", "99@lid", None, false).source;
        let receipt = theirs::Receipt::builder()
            .source(source)
            .message_ids(vec!["A".into()])
            .timestamp(Default::default())
            .r#type(kind)
            .offline(false)
            .build();
        match event(&Event::Receipt(receipt)) {
            Some(LinkEvent::Receipt { kind, .. }) => kind,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(receipt(ReceiptType::Delivered), ReceiptKind::Delivered);
    assert_eq!(receipt(ReceiptType::Inactive), ReceiptKind::Delivered);
    assert_eq!(receipt(ReceiptType::Read), ReceiptKind::Read);
    assert_eq!(receipt(ReceiptType::ReadSelf), ReceiptKind::Other);
    let passkey = theirs::PairPasskeyRequest::builder().request_options_json("{}".to_owned()).build();
    assert_eq!(
        event(&Event::PairPasskeyRequest(passkey)),
        Some(LinkEvent::PairingFailed { reason: PairingFailure::PasskeyRequired })
    );
    let failed = theirs::UndecryptableMessage::builder()
        .info(Arc::new(envelope("99@lid", "99@lid", None, false)))
        .is_unavailable(false)
        .unavailable_type(theirs::UnavailableType::Unknown)
        .decrypt_fail_mode(theirs::DecryptFailMode::Show)
        .build();
    assert!(matches!(event(&Event::UndecryptableMessage(failed)), Some(LinkEvent::Undecryptable { .. })));
}

#[test]
fn terminal_events_are_verdicts() {
    use whatsapp_rust::wacore::types::events as theirs;
    let out = |reason| verdict(&Event::LoggedOut(LoggedOut::builder().on_connect(true).reason(reason).build()));
    assert_eq!(out(ConnectFailureReason::LoggedOut), Some(Verdict::LoggedOut { message: None }));
    assert_eq!(out(ConnectFailureReason::AccountLocked), Some(Verdict::Locked));
    let refused = |reason| verdict(&Event::ConnectFailure(theirs::ConnectFailure::builder().reason(reason).build()));
    assert_eq!(refused(ConnectFailureReason::ServiceUnavailable), Some(Verdict::Refused { code: 503 }));
    assert_eq!(refused(ConnectFailureReason::Unknown(411)), Some(Verdict::Refused { code: 411 }));
    assert_eq!(refused(ConnectFailureReason::TempBanned), Some(Verdict::Banned { expires_in: None }));
    let exhausted = |disconnected| {
        verdict(&Event::PairingQrCodesExhausted(
            theirs::PairingQrCodesExhausted::builder().disconnected(disconnected).build(),
        ))
    };
    assert_eq!(exhausted(true), Some(Verdict::QrExpired));
    assert_eq!(exhausted(false), None);
    assert_eq!(verdict(&Event::StreamReplaced(theirs::StreamReplaced::builder().build())), Some(Verdict::Replaced));
}
