//! A version of WhatsApp Web.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Both have been the same for years; only the revision moves.
const SERIES: (u32, u32) = (2, 3000);

/// A version of WhatsApp Web: what a linked device reports at its login, `2.3000.<revision>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebVersion {
    revision: u32,
}

/// A text or value that is no version of WhatsApp Web.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no version of WhatsApp Web")]
pub struct NotAVersion(pub String);

impl WebVersion {
    /// The version with this revision, if it can be one: revisions are positive 32-bit numbers.
    pub const fn of(revision: u32) -> Option<Self> {
        if revision == 0 || revision > i32::MAX.unsigned_abs() { None } else { Some(Self { revision }) }
    }

    /// The version with these three numbers.
    ///
    /// # Errors
    /// When it is not `2.3000` and a possible revision.
    pub fn from_numbers(primary: u32, secondary: u32, revision: u32) -> Result<Self, NotAVersion> {
        let version = Self::of(revision).filter(|_| (primary, secondary) == SERIES);
        version.ok_or_else(|| NotAVersion(format!("\"{primary}.{secondary}.{revision}\"")))
    }

    /// Reads a value of the config: `"2.3000.1044017588"`, the revision alone, or a list of the three numbers.
    ///
    /// # Errors
    /// When it is anything else; the message quotes the value.
    pub fn from_value(value: &Value) -> Result<Self, NotAVersion> {
        let bad = || NotAVersion(value.to_string());
        let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        match value {
            Value::String(text) => text.parse(),
            Value::Number(_) => number(value).and_then(Self::of).ok_or_else(bad),
            Value::Array(list) => match list.iter().map(number).collect::<Option<Vec<u32>>>().as_deref() {
                Some([a, b, c]) => Self::from_numbers(*a, *b, *c).map_err(|_| bad()),
                _ => Err(bad()),
            },
            _ => Err(bad()),
        }
    }

    /// The three numbers.
    pub fn numbers(self) -> (u32, u32, u32) {
        (SERIES.0, SERIES.1, self.revision)
    }
}

impl fmt::Display for WebVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", SERIES.0, SERIES.1, self.revision)
    }
}

impl FromStr for WebVersion {
    type Err = NotAVersion;

    /// Takes a leading `v`, blanks, commas for dots, and what WhatsApp Web appends (`-alpha`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || NotAVersion(format!("{text:?}"));
        let bare = text.trim().trim_start_matches(['v', 'V']);
        let bare =
            bare.split_once('-').filter(|(_, label)| label.chars().all(char::is_alphanumeric)).map_or(bare, |(n, _)| n);
        let numbers: Result<Vec<u32>, _> = bare.split(['.', ',']).map(|part| part.trim().parse()).collect();
        match numbers.map_err(|_| bad())?.as_slice() {
            [revision] => Self::of(*revision).ok_or_else(bad),
            [a, b, c] => Self::from_numbers(*a, *b, *c).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for WebVersion {
    type Error = NotAVersion;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<WebVersion> for String {
    fn from(version: WebVersion) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_is_read_in_every_reasonable_spelling() {
        let wanted = WebVersion::of(1_044_017_588);
        for value in [
            json!("2.3000.1044017588"),
            json!(" 2.3000.1044017588\n"),
            json!("v2.3000.1044017588"),
            json!("2,3000,1044017588"),
            json!("2.3000.1044017588-alpha"),
            json!("1044017588"),
            json!(1_044_017_588),
            json!([2, 3000, 1_044_017_588]),
        ] {
            assert_eq!(WebVersion::from_value(&value).ok(), wanted, "{value}");
        }
        assert_eq!(wanted.map(|version| version.to_string()).as_deref(), Some("2.3000.1044017588"));
    }

    #[test]
    fn what_is_no_version_is_quoted() {
        for value in [
            json!(""),
            json!("latest"),
            json!("2.3000"),
            json!("2.2413.51"),
            json!("2.3000.0"),
            json!("2.3000.1044017588.1"),
            json!("2.3000.99999999999"),
            json!("2.3000.-1"),
            json!("2.3000.4294967295"),
            json!(-1),
            json!(2.3),
            json!(0),
            json!([2, 3000]),
            json!([2, 3000, "x"]),
            json!(true),
            json!({}),
        ] {
            let error = WebVersion::from_value(&value).expect_err("no version");
            assert_eq!(error.to_string(), format!("{value} is no version of WhatsApp Web"));
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(revision in 1..=i32::MAX.unsigned_abs()) {
            let version = WebVersion::of(revision).expect("possible");
            prop_assert_eq!(version.to_string().parse(), Ok(version));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<WebVersion>();
        }
    }
}
