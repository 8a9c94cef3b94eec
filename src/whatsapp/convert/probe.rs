//! What is read from a message, part by part, for the original's cases. Only in demo builds.

use serde_json::{Value, json};
use whatsapp_rust::wacore::proto_helpers::MessageExt;
use whatsapp_rust::waproto::buffa::Message as _;
use whatsapp_rust::waproto::whatsapp as wa;

use super::{contact, content, context, location, media, quote, silent_kind, spoken};
use crate::event::Content;

/// The content of an encoded message.
///
/// # Errors
/// When the bytes are no message.
pub fn read(message: &[u8]) -> Result<Content, String> {
    let message = wa::Message::decode_from_slice(message).map_err(|error| error.to_string())?;
    Ok(content(&message))
}

/// Reads an encoded message; every part as if the others were not there.
///
/// # Errors
/// When the bytes are no message.
pub fn probe(message: &[u8]) -> Result<Value, String> {
    let message = wa::Message::decode_from_slice(message).map_err(|error| error.to_string())?;
    let base = message.get_base_message();
    let said = silent_kind(base).is_none() && !super::edited(&message);
    let found = content(&message);
    let body = match &found {
        Content::Body(body) => Some(body.text_or_placeholder()),
        Content::Reaction { .. } | Content::Other { .. } => None,
    };
    let context = context(base);
    let quoted = context.and_then(quote);
    Ok(json!({
        "text": said.then(|| spoken(base).or_else(|| contact::placeholder(base))).flatten(),
        "placeholder": said.then(|| media::of(base)).flatten().map(|m| m.kind.placeholder()),
        "location": location::line(base),
        "body": body,
        "mentions": match &found {
            Content::Body(body) => body.mentions.clone(),
            Content::Reaction { .. } | Content::Other { .. } => Vec::new(),
        },
        "mentioned": context.map(|c| c.mentioned_jid.clone()),
        "quote": quoted,
    }))
}

/// Name and numbers of a contact card.
pub fn probe_card(vcard: &str) -> Value {
    let card = contact::vcard(vcard);
    json!({"name": card.full_name.or(card.name), "phones": card.phones})
}
