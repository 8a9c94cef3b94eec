//! `/allowlist [list] | add|remove [dm|group] <entry>`: reading the command.

use crate::ids::{E164, Entry, InvalidEntry};

/// Shown for anything that is no such command.
const USAGE: &str = "⚙️ Usage: /allowlist [list] | add|remove dm|group <number>";

/// Which list is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `allowFrom`: direct chats, and who is owner.
    Dm,
    /// `groupAllowFrom`: whose group messages count.
    Group,
}

impl Scope {
    /// The key of the list.
    pub fn key(self) -> &'static str {
        match self {
            Self::Dm => "allowFrom",
            Self::Group => "groupAllowFrom",
        }
    }

    /// As people are told.
    pub fn label(self) -> &'static str {
        match self {
            Self::Dm => "DM",
            Self::Group => "Group",
        }
    }
}

/// What `/allowlist` is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowlistCommand {
    /// Show both lists.
    List,
    /// Write an entry down.
    Add {
        /// Where.
        scope: Scope,
        /// Who.
        entry: Entry,
    },
    /// Take an entry away.
    Remove {
        /// Where.
        scope: Scope,
        /// Who.
        entry: Entry,
    },
    /// It is no such command; the sentence says why.
    Error(String),
}

/// Reads what follows `/allowlist`.
pub fn parse(rest: &str) -> AllowlistCommand {
    let (action, argument) = word(rest);
    let add = match action.to_lowercase().as_str() {
        "" => return AllowlistCommand::List,
        "list" if argument.is_empty() => return AllowlistCommand::List,
        "add" => true,
        "remove" => false,
        _ => return AllowlistCommand::Error(USAGE.to_owned()),
    };
    let (scope, who) = match word(argument) {
        (scope, who) if scope.eq_ignore_ascii_case("dm") => (Scope::Dm, who),
        (scope, who) if scope.eq_ignore_ascii_case("group") => (Scope::Group, who),
        _ => return AllowlistCommand::Error(USAGE.to_owned()),
    };
    if who.is_empty() {
        return AllowlistCommand::Error(USAGE.to_owned());
    }
    match read(who) {
        Err(why) => AllowlistCommand::Error(format!(
            "⚠️ \"{who}\" names nobody: {why}. Use a phone number with country code such as +15551234567 or a WhatsApp id such as 123456@lid."
        )),
        Ok(Entry::Everybody) if add => AllowlistCommand::Error(
            "⚠️ \"*\" would let everybody in. If that is wanted, set it with /config set or in the file.".to_owned(),
        ),
        Ok(entry) if add => AllowlistCommand::Add { scope, entry },
        Ok(entry) => AllowlistCommand::Remove { scope, entry },
    }
}

/// An entry that somebody types now: a national number would name nobody.
fn read(who: &str) -> Result<Entry, InvalidEntry> {
    match who.parse()? {
        Entry::Number(number) => Ok(Entry::Number(E164::dialled(number.as_str())?)),
        other => Ok(other),
    }
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace).map_or((text, ""), |(head, tail)| (head, tail.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions() {
        let number = |n: &str| Entry::Number(E164::parse(n).expect("a number"));
        let add = |scope, n: &str| AllowlistCommand::Add { scope, entry: number(n) };
        for (rest, want) in [
            ("", AllowlistCommand::List),
            (" list ", AllowlistCommand::List),
            ("add dm +1 (555) 123-4567", add(Scope::Dm, "+15551234567")),
            ("ADD Group 15551234567@s.whatsapp.net", add(Scope::Group, "+15551234567")),
            ("add dm whatsapp:+15551234567", add(Scope::Dm, "+15551234567")),
            ("remove dm *", AllowlistCommand::Remove { scope: Scope::Dm, entry: Entry::Everybody }),
        ] {
            assert_eq!(parse(rest), want, "{rest:?}");
        }
        let lid = parse("remove group 77@lid");
        assert!(matches!(lid, AllowlistCommand::Remove { scope: Scope::Group, entry: Entry::Lid(_) }), "{lid:?}");
        for (rest, says) in [
            ("add", "Usage"),
            ("add dm", "Usage"),
            ("add +15551234567", "Usage"),
            ("drop dm +15551234567", "Usage"),
            ("list all", "Usage"),
            ("add dm bob", "\"bob\" names nobody"),
            ("add dm room 51234", "\"r\" cannot stand in a phone number"),
            ("add dm 0170 1234567", "it begins with \"0\""),
            ("add dm 5", "names nobody"),
            ("add dm 1234567890123456", "names nobody"),
            ("add group 120363@g.us", "names nobody"),
            ("add dm *", "let everybody in"),
        ] {
            assert!(matches!(parse(rest), AllowlistCommand::Error(why) if why.contains(says)), "{rest:?}");
        }
    }
}
