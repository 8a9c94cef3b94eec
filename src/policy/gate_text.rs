//! Values of gates, as `verso why` shows them.

use super::allowlist::{Listed, Person, lid_text};
use crate::config::model::AllowList;
use crate::ids::E164;

/// Entries of a list that are told.
const SHOWN_ENTRIES: usize = 3;

/// A list in short.
pub(super) fn list_text(list: &AllowList) -> String {
    let any = list.any.then(|| "*".to_owned());
    let people = list.numbers.iter().map(E164::to_string).chain(list.lids.iter().map(lid_text));
    let shown: Vec<String> = any.into_iter().chain(people).take(SHOWN_ENTRIES).collect();
    let more = (usize::from(list.any) + list.numbers.len() + list.lids.len()).saturating_sub(SHOWN_ENTRIES);
    match (shown.is_empty(), more) {
        (true, _) => "empty".to_owned(),
        (_, 0) => shown.join(", "),
        (_, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// How many entries a map has.
pub(super) fn count_text(entries: usize) -> String {
    format!("{entries} {}", if entries == 1 { "entry" } else { "entries" })
}

/// The entry that names somebody.
pub(super) fn entry_text(entry: Listed, person: &Person) -> String {
    match entry {
        Listed::Everybody => "*".to_owned(),
        Listed::Number => person.number.as_ref().map(E164::to_string).unwrap_or_default(),
        Listed::Lid => person.lid.as_ref().map(lid_text).unwrap_or_default(),
    }
}

/// Every id a person is known under, the leading one first.
pub(super) fn known_ids(person: &Person) -> Vec<String> {
    person.number.iter().map(E164::to_string).chain(person.lid.iter().map(lid_text)).collect()
}
