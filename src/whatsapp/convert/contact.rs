//! Shared contacts as a placeholder in the text (behaviour.md 7.4).

use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::waproto::whatsapp::message::ContactMessage;

/// `<contact: ..>` or `<contacts: ..>` for a message that shares contacts.
pub(super) fn placeholder(m: &wa::Message) -> Option<String> {
    if let Some(one) = m.contact_message.as_option() {
        return Some(single(one));
    }
    let array = m.contacts_array_message.as_option()?;
    if array.contacts.is_empty() {
        return None;
    }
    let labels: Vec<String> = array.contacts.iter().filter_map(brief).collect();
    let total = array.contacts.len();
    let noun = if total == 1 { "contact" } else { "contacts" };
    if labels.is_empty() {
        return Some(format!("<contacts: {total} {noun}>"));
    }
    let rest = total - labels.len().min(SHOWN);
    let shown = labels.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    Some(if rest == 0 { format!("<contacts: {shown}>") } else { format!("<contacts: {shown} +{rest} more>") })
}

/// So many contacts of an array are named.
const SHOWN: usize = 3;

fn single(contact: &ContactMessage) -> String {
    let (name, phones) = facts(contact);
    let phone = match phones.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        [first, more @ ..] => Some(format!("{first} (+{} more)", more.len())),
    };
    match (name, phone) {
        (Some(name), Some(phone)) => format!("<contact: {name}, {phone}>"),
        (Some(only), None) | (None, Some(only)) => format!("<contact: {only}>"),
        (None, None) => "<contact>".to_owned(),
    }
}

fn brief(contact: &ContactMessage) -> Option<String> {
    let (name, phones) = facts(contact);
    match (name, phones.into_iter().next()) {
        (Some(name), Some(phone)) => Some(format!("{name}, {phone}")),
        (name, phone) => name.or(phone),
    }
}

fn facts(contact: &ContactMessage) -> (Option<String>, Vec<String>) {
    let card = contact.vcard.as_deref().map(vcard).unwrap_or_default();
    let shown = contact.display_name.as_deref().and_then(super::non_empty);
    (shown.or(card.full_name).or(card.name), card.phones)
}

#[derive(Default)]
pub(super) struct Card {
    pub(super) full_name: Option<String>,
    pub(super) name: Option<String>,
    pub(super) phones: Vec<String>,
}

/// Reads FN, N and TEL, with group prefixes (`item1.TEL`), parameters and escapes.
pub(super) fn vcard(text: &str) -> Card {
    let mut card = Card::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let key = key.split(';').next().unwrap_or_default();
        let key = key.rsplit('.').next().unwrap_or_default().trim().to_ascii_uppercase();
        let value = unescape(value.trim());
        if value.is_empty() {
            continue;
        }
        match key.as_str() {
            "FN" => card.full_name = card.full_name.or(Some(value)),
            "N" => card.name = card.name.or_else(|| super::non_empty(&value.replace(';', " "))),
            "TEL" => {
                let number = value.strip_prefix("tel:").unwrap_or(&value).trim().to_owned();
                if !number.is_empty() {
                    card.phones.push(number);
                }
            }
            _ => {}
        }
    }
    card
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            // A name is one line.
            ('\\', Some('n' | 'N')) => out.push(' '),
            ('\\', Some(escaped)) => out.push(escaped),
            (plain, _) => out.push(plain),
        }
    }
    out
}
