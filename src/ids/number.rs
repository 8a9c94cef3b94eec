//! Phone numbers: the one parser for everything that people write (behaviour.md 24.7), and the two spellings of some numbers.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Jid, Redacted, Server};

/// Fewest and most digits of a phone number with its country code.
pub const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// Advice for whoever wrote a number wrongly.
pub const NUMBER_HINT: &str = "write the number alone, with country code and digits only, such as +15551234567";

/// A telephone number as `+` and digits, in the spelling that somebody wrote or WhatsApp told.
///
/// Mexican, Argentine and Brazilian numbers have two spellings; both are equal here, and [`E164::canonical`] is the same for both.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct E164(Arc<str>);

/// Why a text is no phone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNumber {
    /// Nothing but signs.
    #[error("it holds no digit")]
    NoDigit,
    /// A character that no number has.
    #[error("{} cannot stand in a phone number", shown(*.0))]
    Character(char),
    /// A `+` behind the first digit, or a second one.
    #[error("a phone number has one \"+\", before its first digit")]
    Plus,
    /// Not [`DIGITS`].
    #[error("a phone number has 7 to 15 digits with its country code, and this has {0}")]
    Length(usize),
    /// No country code begins with 0.
    #[error("it begins with \"0\", which no country code does")]
    LeadingZero,
}

/// The character in quotes; with its code point where people would not see or recognise it.
fn shown(c: char) -> String {
    let code = format!("U+{:04X}", u32::from(c));
    match c {
        ' '..='~' => format!("{:?}", String::from(c)),
        c if c.is_alphanumeric() => format!("\"{c}\" ({code})"),
        _ => format!("the character {code}"),
    }
}

/// The text without invisible direction marks, blanks around it, and any number of `whatsapp:` and `tel:` in front.
pub fn bare(raw: &str) -> String {
    let mark =
        |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text: String = raw.chars().filter(|&c| !mark(c)).collect();
    let mut rest = text.trim();
    while let Some(prefix) = ["whatsapp:", "tel:"]
        .into_iter()
        .find(|prefix| rest.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix)))
    {
        rest = rest[prefix.len()..].trim_start();
    }
    rest.to_owned()
}

impl E164 {
    /// Reads what somebody wrote: digits, `+`, blanks, dots, dashes and brackets; invisible direction marks and a leading `whatsapp:`
    /// or `tel:` do not count, and a leading `00` is `+`.
    ///
    /// # Errors
    /// Names the character, or what else is wrong. Text without a digit is no number, so that no entry of a list can ever equal an
    /// unknown sender (behaviour.md 8.1).
    pub fn parse(raw: &str) -> Result<Self, InvalidNumber> {
        let text = bare(raw);
        let (mut digits, mut plus) = (String::with_capacity(16), false);
        for c in text.chars() {
            match c {
                '0'..='9' => digits.push(c),
                '+' if digits.is_empty() && !plus => plus = true,
                '+' => return Err(InvalidNumber::Plus),
                '.' | '-' | '(' | ')' | '[' | ']' | '\u{2010}'..='\u{2015}' => {}
                '\n' | '\r' | '\u{2028}' | '\u{2029}' => return Err(InvalidNumber::Character(c)),
                c if c.is_whitespace() => {}
                c => return Err(InvalidNumber::Character(c)),
            }
        }
        if !plus && let Some(rest) = digits.strip_prefix("00") {
            digits = rest.to_owned();
        }
        match digits.len() {
            0 => Err(InvalidNumber::NoDigit),
            n if DIGITS.contains(&n) => Ok(Self(format!("+{digits}").into())),
            n => Err(InvalidNumber::Length(n)),
        }
    }

    /// As [`Self::parse`], for a number that something is to be sent to: a leading 0 is the slip of whoever leaves the country code out.
    ///
    /// # Errors
    /// As [`Self::parse`], and [`InvalidNumber::LeadingZero`].
    pub fn dialled(raw: &str) -> Result<Self, InvalidNumber> {
        let number = Self::parse(raw)?;
        if number.has_country_code() { Ok(number) } else { Err(InvalidNumber::LeadingZero) }
    }

    /// False when it begins with 0, as national numbers do.
    pub fn has_country_code(&self) -> bool {
        !self.digits().starts_with('0')
    }

    /// The number of an address or a row that WhatsApp or Verso itself wrote: digits, with or without `+`, of any length.
    pub fn from_digits(digits: &str) -> Option<Self> {
        let digits = digits.strip_prefix('+').unwrap_or(digits);
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| Self(format!("+{digits}").into()))
    }

    /// `+` and digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits without the `+`, which is the user part of a phone-number JID.
    pub fn digits(&self) -> &str {
        &self.0[1..]
    }

    /// The spelling that stands for all spellings of the number: Mexico without the 1 behind 52, Argentina without the 9 behind 54,
    /// Brazilian mobiles with their ninth digit.
    #[must_use]
    pub fn canonical(&self) -> Self {
        match canonical_digits(self.digits()) {
            Cow::Borrowed(_) => self.clone(),
            Cow::Owned(digits) => Self(format!("+{digits}").into()),
        }
    }

    /// Every spelling of the number, the one at hand first.
    pub fn spellings(&self) -> Vec<Self> {
        let short = self.canonical();
        let other = match short.digits() {
            digits if digits == self.digits() => long_form(digits),
            digits => Some(digits.to_owned()),
        };
        let other = other.map(|digits| Self(format!("+{digits}").into()));
        std::iter::once(self.clone()).chain(other).collect()
    }
}

/// See [`E164::canonical`].
fn canonical_digits(digits: &str) -> Cow<'_, str> {
    let without = |prefix: &str, country: &str| Cow::Owned(format!("{country}{}", &digits[prefix.len()..]));
    match (digits.len(), digits.as_bytes()) {
        (13, [b'5', b'2', b'1', ..]) => without("521", "52"),
        (13, [b'5', b'4', b'9', ..]) => without("549", "54"),
        // Ten digits behind 55: an area code and eight digits, of which mobiles began with 6 to 9. What begins lower is a landline.
        (12, [b'5', b'5', _, _, b'6'..=b'9', ..]) => Cow::Owned(format!("{}9{}", &digits[..4], &digits[4..])),
        _ => Cow::Borrowed(digits),
    }
}

/// The other spelling of a canonical number.
fn long_form(canonical: &str) -> Option<String> {
    match (canonical.len(), canonical.as_bytes()) {
        (12, [b'5', b'2', ..]) => Some(format!("521{}", &canonical[2..])),
        (12, [b'5', b'4', ..]) => Some(format!("549{}", &canonical[2..])),
        (13, [b'5', b'5', _, _, b'9', b'6'..=b'9', ..]) => Some(format!("{}{}", &canonical[..4], &canonical[5..])),
        _ => None,
    }
}

/// The one name of a person's or chat's id, for keys and comparisons: a number in its canonical spelling, anything else as it is.
pub fn canonical_id(id: &str) -> Cow<'_, str> {
    match id.strip_prefix('+').map(canonical_digits) {
        Some(Cow::Owned(digits)) => Cow::Owned(format!("+{digits}")),
        _ => Cow::Borrowed(id),
    }
}

impl PartialEq for E164 {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || canonical_digits(self.digits()) == canonical_digits(other.digits())
    }
}

impl Eq for E164 {}

impl Hash for E164 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        canonical_digits(self.digits()).hash(state);
    }
}

impl PartialOrd for E164 {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for E164 {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        canonical_digits(self.digits()).cmp(&canonical_digits(other.digits()))
    }
}

impl<'de> Deserialize<'de> for E164 {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let raw = String::deserialize(d)?;
        Self::from_digits(&raw).ok_or_else(|| serde::de::Error::custom("a phone number is a \"+\" and digits"))
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E164({})", Redacted(self.as_str()))
    }
}

/// Somebody, or everybody, as lists and keys of the config name people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `"*"`.
    Everybody,
    /// A phone number.
    Number(E164),
    /// A LID, without device.
    Lid(Jid),
}

/// Why a text names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEntry {
    /// It is no phone number.
    #[error(transparent)]
    Number(#[from] InvalidNumber),
    /// It is an address, but no person's.
    #[error("a person's WhatsApp address is <digits>@s.whatsapp.net or <digits>@lid")]
    Address,
}

/// Advice for whoever named one person wrongly.
pub const PERSON_HINT: &str =
    "use a phone number with country code such as +15551234567, or a WhatsApp id such as 123456@lid";
/// Advice for whoever wrote an entry of a list wrongly.
pub const ENTRY_HINT: &str = "use a phone number with country code such as +15551234567, a WhatsApp id such as 123456@lid, or \"*\" for everybody";

impl Entry {
    /// The number or LID; `None` for everybody.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::Everybody => None,
            Self::Number(number) => Some(number.to_string()),
            Self::Lid(lid) => Some(lid.to_string()),
        }
    }
}

impl FromStr for Entry {
    type Err = InvalidEntry;

    fn from_str(raw: &str) -> Result<Self, InvalidEntry> {
        let text = bare(raw);
        if text == "*" {
            return Ok(Self::Everybody);
        }
        let Some((user, server)) = text.split_once('@') else { return Ok(Self::Number(E164::parse(&text)?)) };
        let (user, device) = user.split_once(':').unwrap_or((user, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(user) || !digits(device) {
            return Err(InvalidEntry::Address);
        }
        match Server::parse(&server.to_ascii_lowercase()) {
            Server::Pn | Server::Hosted => Ok(Self::Number(E164::parse(user)?)),
            Server::Lid | Server::HostedLid => Ok(Self::Lid(Jid { user: user.into(), device: 0, server: Server::Lid })),
            _ => Err(InvalidEntry::Address),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> E164 {
        E164::from_digits(text).expect("digits")
    }

    fn check(raw: &str, want: Result<&str, InvalidNumber>) {
        assert_eq!(E164::parse(raw).as_ref().map(E164::as_str), want.as_ref().copied(), "{raw:?}");
    }

    #[test]
    fn numbers_are_read_in_every_spelling_and_nothing_else_is() {
        use InvalidNumber as E;
        for (raw, want) in [
            ("+15551234567", Ok("+15551234567")),
            (" 1 (555) 123-4567 ", Ok("+15551234567")),
            ("1555.123.4567", Ok("+15551234567")),
            ("+1\u{a0}555\u{202f}123\u{2009}4567", Ok("+15551234567")),
            ("+1\u{2010}555\u{2011}12\u{2012}3\u{2013}4\u{2014}56\u{2015}7", Ok("+15551234567")),
            ("\u{202a}+1 555 123 4567\u{202c}", Ok("+15551234567")),
            ("\u{200e}whatsapp:\u{2068}+15551234567\u{2069}", Ok("+15551234567")),
            ("WhatsApp:tel: +15551234567", Ok("+15551234567")),
            ("tel:+15551234567", Ok("+15551234567")),
            ("(+49) [170] 1234567", Ok("+491701234567")),
            ("0049 170 1234567", Ok("+491701234567")),
            ("00 49 170 1234567", Ok("+491701234567")),
            ("0170 1234567", Ok("+01701234567")),
            ("1234567", Ok("+1234567")),
            ("123456789012345", Ok("+123456789012345")),
            ("123456", Err(E::Length(6))),
            ("00123456", Err(E::Length(6))),
            ("1234567890123456", Err(E::Length(16))),
            ("", Err(E::NoDigit)),
            ("+", Err(E::NoDigit)),
            ("whatsapp:", Err(E::NoDigit)),
            ("00", Err(E::NoDigit)),
            ("bob", Err(E::Character('b'))),
            ("+1555700O0009", Err(E::Character('O'))),
            ("+15557000009 (my wife)", Err(E::Character('m'))),
            ("+15557000001 ext 5", Err(E::Character('e'))),
            ("+1 555 700 0001 / 2", Err(E::Character('/'))),
            ("+15557000001,+15557000002", Err(E::Character(','))),
            ("+15557000001\n+15557000002", Err(E::Character('\n'))),
            ("+1\u{200b}5551234567", Err(E::Character('\u{200b}'))),
            ("+1\u{2212}5551234567", Err(E::Character('\u{2212}'))),
            ("٠١٢٣٤٥٦٧", Err(E::Character('٠'))),
            ("*15551234567", Err(E::Character('*'))),
            ("+1+5551234567", Err(E::Plus)),
            ("++15551234567", Err(E::Plus)),
            ("15551234567+", Err(E::Plus)),
        ] {
            check(raw, want);
        }
    }

    #[test]
    fn a_dialled_number_has_its_country_code() {
        for raw in ["0170 1234567", "+0170 1234567", "0 555 123 4567"] {
            assert_eq!(E164::dialled(raw), Err(InvalidNumber::LeadingZero), "{raw}");
        }
        assert_eq!(E164::dialled("0049 170 1234567"), Ok(number("491701234567")));
        assert_eq!(E164::dialled("bob"), Err(InvalidNumber::Character('b')));
    }

    #[test]
    fn the_error_names_the_character_so_that_it_is_recognised() {
        for (raw, says) in [
            ("+1555O00001", "\"O\" cannot stand in a phone number"),
            ("+1555\u{41e}00001", "\"\u{41e}\" (U+041E) cannot stand in a phone number"),
            ("+1555\u{200b}700001", "the character U+200B cannot stand in a phone number"),
            ("+1555\"70001", "\"\\\"\" cannot stand in a phone number"),
            ("+1555", "a phone number has 7 to 15 digits with its country code, and this has 4"),
            ("x", "\"x\" cannot stand in a phone number"),
        ] {
            assert_eq!(E164::parse(raw).expect_err("no number").to_string(), says, "{raw:?}");
        }
    }

    #[test]
    fn two_spellings_of_one_number_are_equal() {
        use std::collections::{BTreeSet, HashSet};
        for (a, b, same) in [
            ("+5215512345678", "+525512345678", true),
            ("+5491112345678", "+541112345678", true),
            ("+5511987654321", "+551187654321", true),
            ("+5531961234567", "+553161234567", true),
            // A landline and somebody's mobile.
            ("+551131234567", "+5511931234567", false),
            ("+551151234567", "+5511951234567", false),
            ("+15551234567", "+15551234568", false),
            // As long as such numbers are, and no others.
            ("+52155123456", "+5255123456", false),
            ("+52155123456789", "+5255123456789", false),
            ("+549111234567", "+54111234567", false),
            ("+55119876543210", "+5511876543210", false),
            ("+5311987654321", "+531187654321", false),
        ] {
            let (a, b) = (number(a), number(b));
            assert_eq!(a == b, same, "{} {}", a.as_str(), b.as_str());
            assert_eq!(b == a, same);
            assert_eq!(a.canonical().as_str() == b.canonical().as_str(), same);
            assert_eq!(HashSet::from([a.clone(), b.clone()]).len() == 1, same);
            assert_eq!(BTreeSet::from([a.clone(), b.clone()]).len() == 1, same);
            assert_eq!(canonical_id(a.as_str()) == canonical_id(b.as_str()), same);
            let spelled = |n: &E164| n.spellings().iter().map(|n| n.as_str().to_owned()).collect::<Vec<_>>();
            assert_eq!(spelled(&a).contains(&b.to_string()) && spelled(&b).contains(&a.to_string()), same);
            assert_eq!(spelled(&a)[0], a.to_string(), "the spelling at hand comes first");
        }
        assert_eq!(number("15551234567").spellings().len(), 1);
        assert_eq!(number("551131234567").spellings().len(), 1, "a landline");
        assert_eq!(number("5511931234567").spellings().len(), 1, "a mobile that never had a short form");
        for id in ["5215512345678@lid", "120363@g.us", "5215512345678", ""] {
            assert_eq!(canonical_id(id), id, "no number, no other spelling");
        }
    }

    #[test]
    fn entries_are_numbers_ids_and_the_star() {
        let lid = |user: &str| Ok(Entry::Lid(format!("{user}@lid").parse().expect("a JID")));
        let is = |text: &str| Ok(Entry::Number(number(text)));
        for (raw, want) in [
            ("*", Ok(Entry::Everybody)),
            (" whatsapp:* ", Ok(Entry::Everybody)),
            ("+15551234567", is("15551234567")),
            ("WhatsApp:whatsapp:+15551234567", is("15551234567")),
            ("15551234567@s.whatsapp.net", is("15551234567")),
            ("15551234567:12@C.US", is("15551234567")),
            ("15551234567@hosted", is("15551234567")),
            ("77@lid", lid("77")),
            ("77:3@LID", lid("77")),
            ("77@hosted.lid", lid("77")),
            ("bob", Err(InvalidNumber::Character('b').into())),
            ("", Err(InvalidNumber::NoDigit.into())),
            ("1555@s.whatsapp.net", Err(InvalidNumber::Length(4).into())),
            ("bob@lid", Err(InvalidEntry::Address)),
            ("7.7@lid", Err(InvalidEntry::Address)),
            ("a1@s.whatsapp.net", Err(InvalidEntry::Address)),
            ("+15551234567@s.whatsapp.net", Err(InvalidEntry::Address)),
            ("@lid", Err(InvalidEntry::Address)),
            ("1:x@lid", Err(InvalidEntry::Address)),
            ("120363@g.us", Err(InvalidEntry::Address)),
            ("status@broadcast", Err(InvalidEntry::Address)),
        ] {
            assert_eq!(raw.parse::<Entry>(), want, "{raw:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic_and_prints_as_it_parses(raw in "\\PC{0,40}") {
            if let Ok(number) = E164::parse(&raw) {
                prop_assert!(DIGITS.contains(&number.digits().len()));
                prop_assert_eq!(E164::parse(number.as_str()).map(|n| n.to_string()), Ok(number.to_string()));
            }
        }

        #[test]
        fn the_canonical_spelling_is_its_own(digits in "(52|521|54|549|55|551|5511|[0-9])[0-9]{6,11}") {
            let number = number(&digits);
            let canonical = number.canonical();
            prop_assert_eq!(canonical.canonical().to_string(), canonical.to_string());
            for spelled in number.spellings() {
                prop_assert_eq!(&spelled, &number);
                prop_assert_eq!(spelled.canonical().to_string(), canonical.to_string());
            }
        }

        #[test]
        fn letters_are_never_repaired_away(head in "\\+[0-9]{4,6}", bad in "[A-Za-z,;/#@x*]{1,4}", tail in "[0-9]{3,8}") {
            let text = format!("{head}{bad}{tail}");
            prop_assert!(E164::parse(&text).is_err());
        }
    }
}
