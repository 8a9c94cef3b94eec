//! Where a message goes that a person, a program or a model addresses (behaviour.md 13.1).

use crate::ids::{E164, InvalidNumber, Jid, NUMBER_HINT, bare};

/// A recipient, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A person by phone number.
    Number(E164),
    /// A person by the number-hiding id.
    Lid(Jid),
    /// A group.
    Group(Jid),
}

/// The text names no recipient.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// Nothing was given.
    #[error("Delivering to WhatsApp requires target <E.164|group JID>; none was given")]
    Empty,
    /// It is meant as a number and is none.
    #[error("Delivering to WhatsApp requires target <E.164|group JID>; {0:?} is no phone number: {1} ({NUMBER_HINT})")]
    Number(String, InvalidNumber),
    /// It is neither a number nor a JID that can be written to.
    #[error(
        "Delivering to WhatsApp requires target <E.164|group JID>; \"{0}\" is neither (examples: +15551234567, 120363403215116621@g.us)"
    )]
    Unknown(String),
    /// It is a list.
    #[error("{0:?} is a list; a message goes to one target (examples: +15551234567, 120363403215116621@g.us)")]
    Several(String),
}

impl Target {
    /// Reads an E.164 number in any spelling, a user JID, a LID or a group JID, after any number of `whatsapp:` prefixes.
    ///
    /// # Errors
    /// When the text is empty or names nobody; of a number, with the character that is none of it.
    pub fn parse(raw: &str) -> Result<Self, InvalidTarget> {
        let text = bare(raw);
        if text.is_empty() {
            return Err(InvalidTarget::Empty);
        }
        let unknown = || InvalidTarget::Unknown(raw.trim().to_owned());
        let Some((user, server)) = text.split_once('@') else {
            // Several numbers would become one that nobody has.
            if text.contains([',', ';', '|', '\n']) {
                return Err(InvalidTarget::Several(text));
            }
            return match E164::dialled(&text) {
                Ok(number) => Ok(Self::Number(number)),
                Err(InvalidNumber::NoDigit) => Err(unknown()),
                Err(error) => Err(InvalidTarget::Number(raw.trim().to_owned(), error)),
            };
        };
        let server = server.to_ascii_lowercase();
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let (bare, device) = user.split_once(':').unwrap_or((user, "0"));
        match server.as_str() {
            "g.us" if user.split('-').all(digits) => {
                Ok(Self::Group(format!("{user}@g.us").parse().map_err(|_| unknown())?))
            }
            "s.whatsapp.net" | "c.us" | "hosted" if digits(bare) && digits(device) => E164::dialled(bare)
                .map(Self::Number)
                .map_err(|error| InvalidTarget::Number(raw.trim().to_owned(), error)),
            "lid" if digits(bare) && digits(device) => {
                Ok(Self::Lid(format!("{bare}@lid").parse().map_err(|_| unknown())?))
            }
            _ => Err(unknown()),
        }
    }

    /// The chat to address.
    pub fn jid(&self) -> Jid {
        match self {
            Self::Number(number) => Jid::of_number(number),
            Self::Lid(jid) | Self::Group(jid) => jid.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: Option<&str>) {
        assert_eq!(Target::parse(raw).ok().map(|t| t.jid().to_string()).as_deref(), expected, "{raw:?}");
    }

    #[test]
    fn targets() {
        check("+1 (555) 123-4567", Some("15551234567@s.whatsapp.net"));
        check("whatsapp:whatsapp:+15551234567", Some("15551234567@s.whatsapp.net"));
        check("0049 170 1234567", Some("491701234567@s.whatsapp.net"));
        check("15551234567@c.us", Some("15551234567@s.whatsapp.net"));
        check("41796666864:3@s.whatsapp.net", Some("41796666864@s.whatsapp.net"));
        check("1203-456@g.us", Some("1203-456@g.us"));
        check("123456:1@lid", Some("123456@lid"));
        for wrong in [
            "",
            "   ",
            "abc",
            "-12@g.us",
            "a12@g.us",
            "x@y@g.us",
            "status@broadcast",
            "bogus@x",
            "abc@s.whatsapp.net",
            "+1555700hello0002",
            "+15557000001 ext 5",
            "0170 1234567",
            "+1555",
            "1555@s.whatsapp.net",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn the_error_names_what_was_typed() {
        let error = Target::parse("bogus@x").expect_err("not a recipient").to_string();
        assert!(error.contains("bogus@x") && error.contains("+15551234567"), "{error}");
        for (raw, says) in [
            ("+1555700hello0002", "\"h\" cannot stand in a phone number"),
            ("+1555700OOO001", "\"O\" cannot stand"),
            ("0170 1234567", "it begins with \"0\""),
            ("+1555", "7 to 15 digits"),
        ] {
            let error = Target::parse(raw).expect_err("no number").to_string();
            assert!(error.contains(says) && error.contains(raw) && error.contains("such as +15551234567"), "{error}");
        }
        for list in ["+1555,foo", "+1555, +1666", "whatsapp:+1555;+1666", "+1555\n+1666"] {
            let error = Target::parse(list).expect_err("not one recipient").to_string();
            assert!(error.contains("is a list; a message goes to one target"), "{error}");
        }
    }
}
