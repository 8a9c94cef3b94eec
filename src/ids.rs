//! The words that name things: accounts, agents, people, chats, messages. Parsing and printing only.

mod number;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use number::{
    DIGITS, E164, ENTRY_HINT, Entry, InvalidEntry, InvalidNumber, NUMBER_HINT, PERSON_HINT, bare, canonical_id,
};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &*self.0)
            }
        }
    };
}

text_id! {
    /// Key of `channels.whatsapp.accounts`, in its normalised form (`[a-z0-9][a-z0-9_-]{0,63}`).
    AccountId
}
text_id! {
    /// Id of an agent (`agents.list[].id`), in its normalised form.
    AgentId
}
text_id! {
    /// WhatsApp's id of one message (stanza id), unique per chat and sender.
    MessageId
}
text_id! {
    /// Key of one conversation with an agent, such as `agent:main:whatsapp:group:123@g.us`; always lower case.
    SessionKey
}

/// Lowercases ids that are already clean, replaces every run of other characters by `-`, cuts to 64 (behaviour.md 3).
fn slug(raw: &str, empty: &str) -> String {
    let trimmed = raw.trim();
    let clean = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let lower = trimmed.to_lowercase();
    let starts_well = lower.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if starts_well && lower.len() <= 64 && lower.chars().all(clean) {
        return lower;
    }
    let mut out = String::new();
    for c in lower.chars() {
        if clean(c) {
            out.push(c);
        } else if !out.ends_with('-') || out.is_empty() {
            out.push('-');
        }
    }
    let stripped = out.trim_matches('-');
    let cut: String = stripped.chars().take(64).collect();
    if cut.is_empty() { empty.to_owned() } else { cut }
}

impl AccountId {
    /// The account that exists when none is configured.
    pub const DEFAULT: &'static str = "default";

    /// Normalises a configured or typed id; empty input is `default`.
    pub fn new(raw: &str) -> Self {
        Self(slug(raw, Self::DEFAULT).into())
    }
}

impl AgentId {
    /// The agent that exists when none is configured.
    pub const MAIN: &'static str = "main";

    /// Normalises a configured id; empty input is `main`.
    pub fn new(raw: &str) -> Self {
        Self(slug(raw, Self::MAIN).into())
    }
}

impl MessageId {
    /// Takes the id as WhatsApp wrote it.
    pub fn new(raw: impl Into<Arc<str>>) -> Self {
        Self(raw.into())
    }
}

impl MessageId {
    /// A fresh id of the form that WhatsApp Web uses: `3EB0` and 18 hex digits. It is fixed before the first attempt to send,
    /// so that every retry carries the same id.
    pub fn random(rng: &mut impl rand::Rng) -> Self {
        let mut bytes = [0_u8; 9];
        rng.fill_bytes(&mut bytes);
        let mut text = String::from("3EB0");
        for b in bytes {
            text.push_str(&format!("{b:02X}"));
        }
        Self(text.into())
    }
}

impl SessionKey {
    /// Returns the key as a log may show it: the number or LID of the person that a direct chat is with is cut short.
    pub fn in_short(&self) -> String {
        match self.as_str().rsplit_once(":direct:") {
            Some((chat, person)) => format!("{chat}:direct:{}", Redacted(person)),
            None => self.to_string(),
        }
    }

    /// Lowercases the key (behaviour.md 9.2).
    pub fn new(raw: &str) -> Self {
        Self(raw.to_lowercase().into())
    }
}

/// The part of a JID after `@`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Server {
    /// `s.whatsapp.net`: a person by phone number.
    Pn,
    /// `lid`: a person by the number-hiding id.
    Lid,
    /// `hosted`: phone-number form of a hosted business device.
    Hosted,
    /// `hosted.lid`.
    HostedLid,
    /// `g.us`.
    Group,
    /// `broadcast`, which includes `status@broadcast`.
    Broadcast,
    /// `newsletter`.
    Newsletter,
    /// Anything else, kept as it came.
    Other(Arc<str>),
}

impl Server {
    fn parse(raw: &str) -> Self {
        match raw {
            "s.whatsapp.net" | "c.us" => Self::Pn,
            "lid" => Self::Lid,
            "hosted" => Self::Hosted,
            "hosted.lid" => Self::HostedLid,
            "g.us" => Self::Group,
            "broadcast" => Self::Broadcast,
            "newsletter" => Self::Newsletter,
            other => Self::Other(other.into()),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Pn => "s.whatsapp.net",
            Self::Lid => "lid",
            Self::Hosted => "hosted",
            Self::HostedLid => "hosted.lid",
            Self::Group => "g.us",
            Self::Broadcast => "broadcast",
            Self::Newsletter => "newsletter",
            Self::Other(s) => s,
        }
    }
}

/// A WhatsApp address `user[:device]@server`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jid {
    /// The part before `:` or `@`: digits of a phone number, a LID or a group id.
    pub user: Arc<str>,
    /// 0 is the phone itself, 1.. are linked devices.
    pub device: u16,
    /// What kind of address it is.
    pub server: Server,
}

/// The text is not `user[:device]@server`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a JID: it needs the form user@server")]
pub struct InvalidJid;

impl Jid {
    /// The direct chat of a phone number.
    pub fn of_number(number: &E164) -> Self {
        Self { user: number.digits().into(), device: 0, server: Server::Pn }
    }

    /// The address with most of its user hidden: what may be shown where numbers are masked.
    pub fn redacted(&self) -> String {
        format!("{}@{}", Redacted(&*self.user), self.server.as_str())
    }

    /// The same address without its device.
    pub fn without_device(&self) -> Self {
        Self { device: 0, ..self.clone() }
    }

    /// True for `@g.us`.
    pub fn is_group(&self) -> bool {
        self.server == Server::Group
    }

    /// True for `@lid` and `@hosted.lid`.
    pub fn is_lid(&self) -> bool {
        matches!(self.server, Server::Lid | Server::HostedLid)
    }

    /// True for phone-number addresses.
    pub fn is_number(&self) -> bool {
        matches!(self.server, Server::Pn | Server::Hosted)
    }

    /// The phone number that the address itself carries; a LID carries none.
    pub fn e164(&self) -> Option<E164> {
        let digits = self.user.bytes().all(|b| b.is_ascii_digit());
        if self.is_number() && digits { E164::from_digits(&self.user) } else { None }
    }

    /// True when both name the same user, whatever the device.
    pub fn same_user(&self, other: &Self) -> bool {
        self.user == other.user && self.server == other.server
    }
}

impl FromStr for Jid {
    type Err = InvalidJid;

    fn from_str(raw: &str) -> Result<Self, InvalidJid> {
        let (left, server) = raw.trim().split_once('@').ok_or(InvalidJid)?;
        let (user, device) = match left.split_once(':') {
            Some((user, device)) => (user, device.parse().map_err(|_| InvalidJid)?),
            None => (left, 0),
        };
        // Agent suffixes (`123.0:1@lid`) are part of the device address, not of the user.
        let user = user.split_once('.').map_or(user, |(u, _)| u);
        if user.is_empty() || server.is_empty() {
            return Err(InvalidJid);
        }
        Ok(Self { user: user.into(), device, server: Server::parse(server) })
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.device == 0 {
            write!(f, "{}@{}", self.user, self.server.as_str())
        } else {
            write!(f, "{}:{}@{}", self.user, self.device, self.server.as_str())
        }
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jid({}@{})", Redacted(&*self.user), self.server.as_str())
    }
}

impl Serialize for Jid {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Jid {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Prints the first two and last two characters only: what a log at info may show of a number or JID.
pub struct Redacted<T>(pub T);

impl<T: AsRef<str>> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.as_ref();
        let chars: Vec<char> = text.chars().collect();
        if chars.len() <= 6 {
            return f.write_str("***");
        }
        let head: String = chars[..2].iter().collect();
        let tail: String = chars[chars.len() - 2..].iter().collect();
        write!(f, "{head}…{tail}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_no_number_of_a_session() {
        let shown = |key: &str| SessionKey::new(key).in_short();
        assert_eq!(shown("agent:main:whatsapp:work:direct:+15557654321"), "agent:main:whatsapp:work:direct:+1…21");
        assert_eq!(shown("agent:main:main"), "agent:main:main");
    }

    #[test]
    fn account_ids_are_normalised() {
        for (raw, want) in [
            ("Work", "work"),
            ("", "default"),
            ("  ", "default"),
            ("my phone!", "my-phone"),
            ("--a--", "--a--".trim_matches('-')),
            ("a_b-c", "a_b-c"),
            ("äö", "default"),
        ] {
            assert_eq!(AccountId::new(raw).as_str(), want, "{raw:?}");
        }
        assert_eq!(AccountId::new(&"x".repeat(80)).as_str().len(), 64);
    }

    #[test]
    fn jids_round_trip() {
        for text in [
            "15551234567@s.whatsapp.net",
            "15551234567:12@s.whatsapp.net",
            "77@lid",
            "1203@g.us",
            "status@broadcast",
            "1@newsletter",
        ] {
            assert_eq!(text.parse::<Jid>().map(|j| j.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "@lid", "123", "1:x@lid"] {
            assert_eq!(text.parse::<Jid>(), Err(InvalidJid));
        }
    }

    #[test]
    fn debug_hides_numbers() {
        let jid: Jid = "15551234567@s.whatsapp.net".parse().expect("valid");
        assert!(!format!("{jid:?}").contains("5551234"));
    }
}
