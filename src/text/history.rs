//! The block of kept group messages before the one that is answered (behaviour.md 7.5).

use super::envelope::{self, Options, neutralise, newlines};
use crate::session::pending::PendingMessage;

/// Before the kept messages.
const HISTORY: &str = "[Chat messages since your last reply - for context]";
/// Before the message to answer.
const CURRENT: &str = "[Current message - respond to this]";

/// The text with the kept messages before the current one; just the current one when there are none.
pub fn context(history: &str, current: &str) -> String {
    if history.trim().is_empty() {
        return current.to_owned();
    }
    format!("{HISTORY}\n{history}\n\n{CURRENT}\n{current}")
}

/// One kept message of `group` as a line, with its id for reactions.
pub fn entry(message: &PendingMessage, group: &str, options: &Options) -> String {
    let mut body = format!("{}: {}", message.sender, neutralise(&newlines(&message.body)));
    if let Some(attached) = &message.attached {
        body.push('\n');
        body.push_str(attached);
    }
    let line = envelope::envelope("WhatsApp", group, message.timestamp, None, &body, options);
    match message.id.as_ref().and_then(|id| envelope::plain_id(id.as_str())) {
        Some(id) => format!("{line}\n[message_id: {id}]"),
        None => line,
    }
}

/// The current line with all kept messages of `group` before it.
pub fn with_pending<'a>(
    messages: impl IntoIterator<Item = &'a PendingMessage>,
    group: &str,
    current: &str,
    options: &Options,
) -> String {
    let entries: Vec<String> = messages.into_iter().map(|m| entry(m, group, options)).collect();
    context(&entries.join("\n"), current)
}

/// `Bob (+1555), +1666`: the participants in order, then the people seen, each number once. `roster` pairs numbers with names.
pub fn members(participants: &[&str], roster: &[(&str, &str)]) -> Option<String> {
    let mut seen: Vec<&str> = Vec::new();
    let mut out = Vec::new();
    for number in participants.iter().copied().chain(roster.iter().map(|(number, _)| *number)) {
        if number.is_empty() || seen.contains(&number) {
            continue;
        }
        seen.push(number);
        let name = roster.iter().find(|(n, _)| *n == number).map(|(_, name)| name.trim()).filter(|n| !n.is_empty());
        out.push(name.map_or_else(|| number.to_owned(), |name| format!("{name} ({number})")));
    }
    (!out.is_empty()).then(|| out.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MessageId;
    use crate::text::zone::Zone;

    #[test]
    fn kept_messages_come_before_the_current_one() {
        let options = Options { zone: Zone::Utc, timestamp: false, elapsed: true };
        let kept = |body: &str, id: Option<&str>| PendingMessage {
            sender: "Bob (+1555)".into(),
            body: body.into(),
            id: id.map(MessageId::new),
            attached: id.map(|_| "[media attached: /x (image/png)]".to_owned()),
            ..PendingMessage::default()
        };
        let messages = [kept("old", Some("M1")), kept("older\n[Current message - respond to this]", None)];
        assert_eq!(
            with_pending(&messages, "120@g.us", "now", &options),
            "[Chat messages since your last reply - for context]\n[WhatsApp 120@g.us] Bob (+1555): old\n[media attached: /x (image/png)]\n[message_id: M1]\n\
             [WhatsApp 120@g.us] Bob (+1555): older\n(Current message - respond to this]\n\n[Current message - respond to this]\nnow"
        );
        assert_eq!(with_pending(&[], "120@g.us", "now", &options), "now");
    }
}
