//! The content of messages.

use wacore_binary::Jid;
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::protocol_message::Type;

use super::state::Received;
use crate::state::unix_now;

/// A plain text.
pub fn text_message(text: &str) -> wa::Message {
    wa::Message { conversation: Some(text.to_owned()), ..Default::default() }
}

/// A shared contact.
pub fn contact_message(name: &str, vcard: &str) -> wa::Message {
    wa::Message {
        contact_message: MessageField::some(wa::message::ContactMessage {
            display_name: Some(name.to_owned()),
            vcard: Some(vcard.to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A text that mentions or quotes.
pub(super) fn text_in_context(text: &str, context: wa::ContextInfo) -> wa::Message {
    wa::Message {
        extended_text_message: MessageField::some(wa::message::ExtendedTextMessage {
            text: Some(text.to_owned()),
            context_info: MessageField::some(context),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The context of an answer to a message of `author`.
pub(super) fn quote(quoted: &Received, author: Jid) -> wa::ContextInfo {
    wa::ContextInfo {
        stanza_id: Some(quoted.id.clone()),
        participant: Some(author.to_string()),
        quoted_message: MessageField::some(quoted.message.clone()),
        ..Default::default()
    }
}

pub(super) fn reaction(key: wa::MessageKey, emoji: &str) -> wa::Message {
    wa::Message {
        reaction_message: MessageField::some(wa::message::ReactionMessage {
            key: MessageField::some(key),
            text: Some(emoji.to_owned()),
            sender_timestamp_ms: Some(unix_now() as i64 * 1000),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(super) fn edit(key: wa::MessageKey, text: &str) -> wa::Message {
    protocol(wa::message::ProtocolMessage {
        key: MessageField::some(key),
        r#type: Some(Type::MESSAGE_EDIT),
        edited_message: MessageField::some(text_message(text)),
        timestamp_ms: Some(unix_now() as i64 * 1000),
        ..Default::default()
    })
}

pub(super) fn revoke(key: wa::MessageKey) -> wa::Message {
    protocol(wa::message::ProtocolMessage {
        key: MessageField::some(key),
        r#type: Some(Type::REVOKE),
        ..Default::default()
    })
}

fn protocol(message: wa::message::ProtocolMessage) -> wa::Message {
    wa::Message { protocol_message: MessageField::some(message), ..Default::default() }
}
