//! The library's words into ours. Pure: no client, no clock.

use std::time::Duration;

use whatsapp_rust::wacore::proto_helpers::MessageExt;
use whatsapp_rust::wacore::types::events::{ConnectFailureReason, Event, LoggedOut};
use whatsapp_rust::wacore::types::message::{MessageCategory, MessageInfo};
use whatsapp_rust::wacore::types::presence::ReceiptType;
use whatsapp_rust::waproto::whatsapp as wa;

use super::ending::Verdict;
use crate::event::{Body, Content, Identity, InboundMessage, LinkEvent, PairingFailure, Quote, ReceiptKind};
use crate::ids::{AccountId, E164, Jid, MessageId, Server};

mod contact;
mod location;
mod media;
#[cfg(feature = "demo")]
pub mod probe;

/// What the envelope alone says about a message's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Business {
    /// A person's message in a direct chat or a group.
    Chat,
    /// Status, broadcast list, newsletter: Verso does not serve them.
    Ignored,
    /// The own phone's traffic with its linked devices.
    Control,
}

/// Sorts a message by its envelope.
pub(super) fn business(info: &MessageInfo) -> Business {
    if info.category == MessageCategory::Peer {
        return Business::Control;
    }
    let served = matches!(
        jid(&info.source.chat).map(|chat| chat.server),
        Some(Server::Pn | Server::Lid | Server::Hosted | Server::HostedLid | Server::Group)
    );
    if served && info.source.broadcast_list_owner.is_none() { Business::Chat } else { Business::Ignored }
}

/// A library address as ours; `None` for text that is no address.
pub(super) fn jid(theirs: &whatsapp_rust::Jid) -> Option<Jid> {
    theirs.to_string().parse().ok()
}

/// Our address as the library's.
pub(super) fn library_jid(ours: &Jid) -> Option<whatsapp_rust::Jid> {
    ours.to_string().parse().ok()
}

/// A message as far as envelope and content tell; `None` when it is not a chat message. `me` tells whose message a
/// reaction is on.
pub(super) fn message(
    account: &AccountId,
    me: Option<&Identity>,
    info: &MessageInfo,
    message: &wa::Message,
) -> Option<InboundMessage> {
    if business(info) != Business::Chat {
        return None;
    }
    let source = &info.source;
    let chat = jid(&source.chat)?.without_device();
    let sender = jid(&source.sender)?;
    let sender_alt = source.sender_alt.as_ref().and_then(jid);
    let recipient_alt = source.recipient_alt.as_ref().and_then(jid);
    let recipient_number = info.peer_recipient_pn.as_ref().and_then(jid);
    let sender_number = number_among([Some(&sender), sender_alt.as_ref()]);
    let chat_number = if chat.is_group() {
        None
    } else if source.is_from_me {
        number_among([Some(&chat), recipient_alt.as_ref(), recipient_number.as_ref()])
    } else {
        number_among([Some(&chat)]).or_else(|| sender_number.clone())
    };
    let content = from_our_side(content(message), me, source.is_from_me, chat.is_group(), &sender);
    Some(InboundMessage {
        account: account.clone(),
        id: MessageId::new(info.id.to_string()),
        chat,
        sender,
        sender_alt,
        sender_number,
        chat_number,
        from_me: source.is_from_me,
        push_name: non_empty(&info.push_name),
        timestamp: info.timestamp.timestamp_millis(),
        offline: info.is_offline,
        content,
    })
}

/// A reaction names its target as the one who reacts sees it; this turns it into how this account sees it.
fn from_our_side(content: Content, me: Option<&Identity>, from_me: bool, group: bool, sender: &Jid) -> Content {
    let Content::Reaction { target, target_sender, target_from_me, emoji } = content else { return content };
    if from_me {
        return Content::Reaction { target, target_sender, target_from_me, emoji };
    }
    let (target_sender, target_from_me) = match (target_from_me, group) {
        (true, _) => (Some(sender.without_device()), false),
        (false, false) => (None, true),
        (false, true) => {
            let ours = target_sender.as_ref().is_some_and(|author| me.is_some_and(|me| me.is_self(author)));
            (target_sender, ours)
        }
    };
    Content::Reaction { target, target_sender, target_from_me, emoji }
}

fn number_among<'a>(jids: impl IntoIterator<Item = Option<&'a Jid>>) -> Option<E164> {
    jids.into_iter().flatten().find_map(Jid::e164)
}

fn non_empty(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() { None } else { Some(text.to_owned()) }
}

/// What a message says (behaviour.md 7.4).
pub(super) fn content(message: &wa::Message) -> Content {
    if edited(message) {
        return other("edit");
    }
    let base = message.get_base_message();
    if let Some(reaction) = base.reaction_message.as_option() {
        return reaction_of(reaction);
    }
    if let Some(kind) = silent_kind(base) {
        return other(kind);
    }
    let media = media::of(base);
    let text = text(base);
    if text.is_none() && media.is_none() {
        return other("empty");
    }
    let context = context(base);
    let mut mentions: Vec<Jid> = Vec::new();
    for jid in context.iter().flat_map(|c| &c.mentioned_jid).filter_map(|text| text.parse().ok()) {
        if !mentions.contains(&jid) {
            mentions.push(jid);
        }
    }
    let location = location::line(base).is_some();
    Content::Body(Body { text, media, quote: context.and_then(quote), mentions, location })
}

fn other(kind: &str) -> Content {
    Content::Other { kind: kind.to_owned() }
}

/// An edit is looked for before unwrapping, because unwrapping would show the new text as a message of its own.
fn edited(message: &wa::Message) -> bool {
    let mut at = message;
    // Wrappers do not nest deeper than this in anything a client sends.
    for _ in 0..8 {
        if at.edited_message.is_set() {
            return true;
        }
        let protocol = at.protocol_message.as_option();
        if protocol.is_some_and(|p| p.r#type == Some(wa::message::protocol_message::Type::MESSAGE_EDIT)) {
            return true;
        }
        let sent = at.device_sent_message.as_option().and_then(|m| m.message.as_option());
        let wrapped = at.ephemeral_message.as_option().and_then(|m| m.message.as_option());
        match sent.or(wrapped) {
            Some(inner) => at = inner,
            None => return false,
        }
    }
    false
}

fn reaction_of(reaction: &wa::message::ReactionMessage) -> Content {
    let key = reaction.key.as_option();
    let Some(target) = key.and_then(|k| k.id.clone()) else {
        return other("reaction");
    };
    Content::Reaction {
        target: MessageId::new(target),
        target_sender: key.and_then(|k| k.participant.as_deref()).and_then(|p| p.parse().ok()),
        target_from_me: key.and_then(|k| k.from_me).unwrap_or(false),
        emoji: reaction.text.clone().unwrap_or_default(),
    }
}

/// Kinds that start no conversation.
fn silent_kind(m: &wa::Message) -> Option<&'static str> {
    use wa::message::protocol_message::Type;
    if let Some(protocol) = m.protocol_message.as_option() {
        return Some(match protocol.r#type {
            Some(Type::REVOKE) => "revoke",
            Some(Type::EPHEMERAL_SETTING) => "ephemeral-setting",
            _ => "protocol",
        });
    }
    [
        (m.poll_update_message.is_set(), "poll-vote"),
        (m.poll_creation_message.is_set(), "poll"),
        (m.poll_creation_message_v2.is_set(), "poll"),
        (m.poll_creation_message_v3.is_set(), "poll"),
        (m.enc_reaction_message.is_set(), "encrypted-reaction"),
        (m.buttons_response_message.is_set(), "button-reply"),
        (m.list_response_message.is_set(), "list-reply"),
        (m.template_button_reply_message.is_set(), "button-reply"),
        (m.interactive_response_message.is_set(), "button-reply"),
        (m.pin_in_chat_message.is_set(), "pin"),
        (m.keep_in_chat_message.is_set(), "keep"),
        (m.call.is_set(), "call"),
        (m.group_invite_message.is_set(), "group-invite"),
        (m.event_message.is_set(), "event"),
        (m.placeholder_message.is_set(), "placeholder"),
    ]
    .into_iter()
    .find_map(|(set, kind)| set.then_some(kind))
}

/// Text in the order of behaviour.md 7.4, with a location on a line of its own.
fn text(m: &wa::Message) -> Option<String> {
    let written = spoken(m).or_else(|| contact::placeholder(m));
    match (written, location::line(m)) {
        (Some(text), Some(place)) => Some(format!("{text}\n{place}")),
        (text, place) => text.or(place),
    }
}

fn spoken(m: &wa::Message) -> Option<String> {
    let caption = m
        .image_message
        .as_option()
        .and_then(|i| i.caption.as_deref())
        .or_else(|| m.video_message.as_option().and_then(|v| v.caption.as_deref()))
        .or_else(|| m.document_message.as_option().and_then(|d| d.caption.as_deref()));
    let extended = m.extended_text_message.as_option().and_then(|e| e.text.as_deref());
    let buttons = m.buttons_message.as_option().and_then(|b| b.content_text.as_deref());
    let template = m.template_message.as_option().and_then(|t| t.hydrated_template.as_option());
    let template = template.and_then(|t| t.hydrated_content_text.as_deref());
    [m.conversation.as_deref(), extended, caption, buttons, template].into_iter().flatten().find_map(non_empty)
}

/// The first context of the message; the library has no reader for it.
fn context(m: &wa::Message) -> Option<&wa::ContextInfo> {
    macro_rules! first {
        ($($field:ident),+ $(,)?) => {
            None$(.or_else(|| m.$field.as_option().and_then(|part| part.context_info.as_option())))+
        };
    }
    first!(
        extended_text_message,
        image_message,
        video_message,
        ptv_message,
        audio_message,
        document_message,
        sticker_message,
        contact_message,
        contacts_array_message,
        location_message,
        live_location_message,
        buttons_message,
        template_message,
    )
}

fn quote(context: &wa::ContextInfo) -> Option<Quote> {
    let quoted = context.quoted_message.as_option()?.get_base_message();
    let media = media::of(quoted);
    let body = text(quoted).or_else(|| media.as_ref().map(|m| m.kind.placeholder().to_owned()))?;
    Some(Quote {
        id: context.stanza_id.as_deref().map(MessageId::new),
        sender: context.participant.as_deref().and_then(|p| p.parse().ok()),
        // The journal knows; see the sink.
        by_us: false,
        body,
        media,
    })
}

/// Library events that only pass through. Those that need the client's state are handled where it is.
pub(super) fn event(event: &Event) -> Option<LinkEvent> {
    Some(match event {
        Event::PairingQrCode(qr) => LinkEvent::Qr { code: qr.code.clone(), valid_for: qr.timeout },
        Event::PairingCode(code) => LinkEvent::PairingCode { code: code.code.clone(), valid_for: code.timeout },
        Event::PairingCodeError(failed) => {
            LinkEvent::PairingFailed { reason: PairingFailure::CodeRejected(failed.error.clone()) }
        }
        Event::PairPasskeyRequest(_) | Event::PairPasskeyConfirmation(_) | Event::PairPasskeyError(_) => {
            LinkEvent::PairingFailed { reason: PairingFailure::PasskeyRequired }
        }
        Event::QrScannedWithoutMultidevice(_) => LinkEvent::PairingFailed { reason: PairingFailure::PhoneTooOld },
        Event::PairError(failed) => {
            LinkEvent::PairingFailed { reason: PairingFailure::Unverified(failed.error.clone()) }
        }
        Event::OfflineSyncPreview(preview) => {
            LinkEvent::CatchingUp { pending: Some(u32::try_from(preview.messages).unwrap_or(0)) }
        }
        Event::ServerAck(ack) if ack.class.as_deref().is_none_or(|class| class == "message") => {
            LinkEvent::ServerAck { id: MessageId::new(ack.id.as_str()), error: ack.error.clone() }
        }
        Event::Receipt(receipt) => LinkEvent::Receipt {
            chat: jid(&receipt.source.chat)?,
            sender: jid(&receipt.source.sender)?,
            ids: receipt.message_ids.iter().map(|id| MessageId::new(id.to_string())).collect(),
            kind: receipt_kind(&receipt.r#type),
        },
        Event::UndecryptableMessage(failed) => LinkEvent::Undecryptable {
            chat: jid(&failed.info.source.chat)?,
            id: MessageId::new(failed.info.id.to_string()),
        },
        Event::GroupUpdate(update) => LinkEvent::GroupChanged { chat: jid(&update.group_jid)? },
        _ => return None,
    })
}

/// The message of ours that a device asks for again. The library raises no event for it.
pub(super) fn asked_again(stanza: &whatsapp_rust::OwnedNodeRef) -> Option<MessageId> {
    let node = stanza.get();
    if node.tag.as_ref() != "receipt" {
        return None;
    }
    let mut attrs = node.attrs();
    if attrs.optional_string("type").as_deref() != Some("retry") {
        return None;
    }
    attrs.optional_string("id").map(|id| MessageId::new(id.to_string()))
}

/// A stanza that only the account's own phone (device 0) sends; `own` tells the account's addresses.
pub(super) fn sign_of_the_phone(event: &Event, own: impl Fn(&whatsapp_rust::Jid) -> bool) -> Option<LinkEvent> {
    let phone = |sender: &whatsapp_rust::Jid| sender.device == 0 && own(sender);
    match event {
        Event::Receipt(receipt) if phone(&receipt.source.sender) => {
            let waited_since = receipt.offline.then(|| receipt.timestamp.timestamp_millis());
            Some(LinkEvent::PhoneSeen { waited_since, confirms: true })
        }
        Event::Messages(batch) => {
            let own = batch.messages.iter().map(|m| &m.info).filter(|i| i.source.is_from_me && phone(&i.source.sender));
            let newest = own.max_by_key(|info| (!info.is_offline, info.timestamp))?;
            let waited_since = newest.is_offline.then(|| newest.timestamp.timestamp_millis());
            Some(LinkEvent::PhoneSeen { waited_since, confirms: false })
        }
        _ => None,
    }
}

fn receipt_kind(kind: &ReceiptType) -> ReceiptKind {
    match kind {
        ReceiptType::Delivered | ReceiptType::Inactive => ReceiptKind::Delivered,
        ReceiptType::Read => ReceiptKind::Read,
        ReceiptType::Played => ReceiptKind::Played,
        _ => ReceiptKind::Other,
    }
}

/// What a terminal event says about the end; `None` for every other event.
pub(super) fn verdict(event: &Event) -> Option<Verdict> {
    Some(match event {
        Event::LoggedOut(out) if out.reason == ConnectFailureReason::AccountLocked => Verdict::Locked,
        Event::LoggedOut(out) => Verdict::LoggedOut { message: logout_text(out) },
        Event::StreamReplaced(_) => Verdict::Replaced,
        Event::TemporaryBan(ban) => {
            Verdict::Banned { expires_in: u64::try_from(ban.expire.num_seconds()).ok().map(Duration::from_secs) }
        }
        Event::ClientOutdated(_) => Verdict::Outdated,
        Event::ConnectFailure(failure) if failure.reason == ConnectFailureReason::TempBanned => {
            Verdict::Banned { expires_in: None }
        }
        Event::ConnectFailure(failure) => Verdict::Refused { code: failure_code(&failure.reason) },
        Event::PairingQrCodesExhausted(exhausted) if exhausted.disconnected => Verdict::QrExpired,
        _ => return None,
    })
}

fn logout_text(out: &LoggedOut) -> Option<String> {
    let words = out.logout_message.as_ref()?;
    let parts: Vec<&str> = [words.header.as_deref(), words.subtext.as_deref()].into_iter().flatten().collect();
    non_empty(&parts.join(": "))
}

fn failure_code(reason: &ConnectFailureReason) -> u16 {
    match reason {
        ConnectFailureReason::Generic => 400,
        ConnectFailureReason::LoggedOut => 401,
        ConnectFailureReason::TempBanned => 402,
        ConnectFailureReason::AccountLocked => 403,
        ConnectFailureReason::ClientOutdated => 405,
        ConnectFailureReason::UnknownLogout => 406,
        ConnectFailureReason::BadUserAgent => 409,
        ConnectFailureReason::CatExpired => 413,
        ConnectFailureReason::CatInvalid => 414,
        ConnectFailureReason::NotFound => 415,
        ConnectFailureReason::ClientUnknown => 418,
        ConnectFailureReason::InternalServerError => 500,
        ConnectFailureReason::Experimental => 501,
        ConnectFailureReason::ServiceUnavailable => 503,
        ConnectFailureReason::Unknown(code) => u16::try_from(*code).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
