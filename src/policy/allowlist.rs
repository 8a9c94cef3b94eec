//! Who a list names: people by phone number or LID, `"*"` for everybody. A person nobody knows matches nothing.

use crate::config::model::AllowList;
use crate::event::{Identity, InboundMessage};
use crate::ids::{E164, Entry, Jid};

/// Everything that is known about who a person is. Both may be unknown, and then no list names the person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// The phone number.
    pub number: Option<E164>,
    /// The number-hiding id, without device.
    pub lid: Option<Jid>,
}

impl Person {
    /// What addresses tell about their owner; the first number and the first LID win.
    pub fn from_addresses<'a>(number: Option<&E164>, addresses: impl IntoIterator<Item = &'a Jid>) -> Self {
        let mut person = Self { number: number.cloned(), lid: None };
        for jid in addresses {
            if jid.is_lid() && person.lid.is_none() {
                person.lid = Some(jid.without_device());
            } else if person.number.is_none() {
                person.number = jid.e164();
            }
        }
        person
    }

    /// The writer of a message.
    pub fn sender(message: &InboundMessage) -> Self {
        Self::from_addresses(message.sender_number.as_ref(), [&message.sender].into_iter().chain(&message.sender_alt))
    }

    /// The other side of a direct chat: the sender, or for an own message the one it was sent to.
    pub fn peer(message: &InboundMessage) -> Self {
        if message.from_me {
            Self::from_addresses(message.chat_number.as_ref(), [&message.chat])
        } else {
            let alt = message.sender_alt.as_ref();
            let number = message.chat_number.as_ref().or(message.sender_number.as_ref());
            Self::from_addresses(number, [&message.chat, &message.sender].into_iter().chain(alt))
        }
    }

    /// The name under which stores, bindings and sessions know the person: E.164, else `<digits>@lid`.
    pub fn id(&self) -> Option<String> {
        match (&self.number, &self.lid) {
            (Some(number), _) => Some(number.to_string()),
            (None, Some(lid)) => Some(lid_text(lid)),
            (None, None) => None,
        }
    }

    /// True when this is the owner of the account itself.
    pub fn is(&self, me: &Identity) -> bool {
        let number = self.number.is_some() && self.number == me.number();
        let lid = self.lid.as_ref().zip(me.lid.as_ref()).is_some_and(|(a, b)| same_lid(a, b));
        number || lid
    }
}

/// `<digits>@lid`, also for hosted LIDs, so that one person has one name.
pub fn lid_text(lid: &Jid) -> String {
    format!("{}@lid", lid.user)
}

fn same_lid(a: &Jid, b: &Jid) -> bool {
    a.is_lid() && b.is_lid() && a.user == b.user
}

/// Why a list lets somebody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// `"*"`.
    Everybody,
    /// The phone number.
    Number,
    /// The LID.
    Lid,
}

/// The entry of `list` that names `person`; `"*"` names everybody, also the unknown.
pub fn listed(list: &AllowList, person: &Person) -> Option<Listed> {
    if list.any { Some(Listed::Everybody) } else { named(list, person) }
}

/// As [`listed`], without `"*"`: the person must be named.
pub fn named(list: &AllowList, person: &Person) -> Option<Listed> {
    if person.number.as_ref().is_some_and(|n| list.has_number(n)) {
        return Some(Listed::Number);
    }
    let lid = person.lid.as_ref()?;
    list.lids.iter().any(|l| same_lid(l, lid)).then_some(Listed::Lid)
}

/// Reads a list; entries that name nobody are left out, so it never lets in more people than it names.
pub fn parse_list<'a>(entries: impl IntoIterator<Item = &'a str>) -> AllowList {
    let mut list = AllowList::default();
    for entry in entries.into_iter().filter_map(|entry| entry.parse().ok()) {
        match entry {
            Entry::Everybody => list.any = true,
            Entry::Number(number) if !list.numbers.contains(&number) => list.numbers.push(number),
            Entry::Lid(lid) if !list.lids.contains(&lid) => list.lids.push(lid),
            Entry::Number(_) | Entry::Lid(_) => {}
        }
    }
    list
}

/// Reads the store of approved people. `"*"` means nobody there: one approval lets one person in.
pub fn parse_approved<'a>(entries: impl IntoIterator<Item = &'a str>) -> AllowList {
    AllowList { any: false, ..parse_list(entries) }
}

/// The owners of an account (behaviour.md 10.1): who `allowFrom` names, else the account's own number.
///
/// `["*"]` alone names nobody, so nobody is owner.
pub fn owners(allow_from: &AllowList, me: Option<&Identity>) -> AllowList {
    if !allow_from.is_empty() {
        return AllowList { any: false, ..allow_from.clone() };
    }
    match me {
        Some(me) => AllowList {
            any: false,
            numbers: me.number().into_iter().collect(),
            lids: me.lid.iter().map(Jid::without_device).collect(),
        },
        None => AllowList::default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn jid(text: &str) -> Jid {
        text.parse().expect("a JID")
    }

    fn person(text: &str) -> Person {
        Person::from_addresses(None, [&jid(text)])
    }

    #[test]
    fn unknown_people_match_nothing_but_the_star() {
        let nobody = Person::default();
        assert_eq!(listed(&parse_list(["bob", "", "+", "+15550000001"]), &nobody), None);
        assert_eq!(listed(&parse_list(["*"]), &nobody), Some(Listed::Everybody));
        assert_eq!(named(&parse_list(["*"]), &nobody), None);
        assert_eq!(nobody.id(), None);
    }

    #[test]
    fn a_lid_entry_names_every_device_of_the_person() {
        let list = parse_list(["77@lid"]);
        assert_eq!(listed(&list, &person("77:5@lid")), Some(Listed::Lid));
        assert_eq!(listed(&list, &person("77@hosted.lid")), Some(Listed::Lid));
        assert_eq!(listed(&list, &person("77@s.whatsapp.net")), None, "the number +77 is somebody else");
        assert_eq!(person("77:5@lid").id().as_deref(), Some("77@lid"));
    }

    #[test]
    fn owners_are_the_named_else_oneself() {
        let me = Identity { jid: jid("15550001111:7@s.whatsapp.net"), lid: Some(jid("900:7@lid")), push_name: None };
        let own = owners(&AllowList::default(), Some(&me));
        assert!(
            named(&own, &person("15550001111@s.whatsapp.net")).is_some() && named(&own, &person("900@lid")).is_some()
        );
        assert!(owners(&parse_list(["*"]), Some(&me)).is_empty(), "a star names no owner");
        let listed = owners(&parse_list(["+15551234567", "*"]), Some(&me));
        assert!(named(&listed, &person("15551234567@s.whatsapp.net")).is_some() && !listed.any);
        assert!(owners(&AllowList::default(), None).is_empty());
    }

    #[test]
    fn the_store_cannot_open_the_door_for_everybody() {
        assert!(!parse_approved(["*", "+15550000001"]).any);
    }

    proptest! {
        #[test]
        fn entries_without_digits_name_nobody(raw in "[^0-9*]{0,40}") {
            prop_assert!(raw.parse::<Entry>().is_err());
            prop_assert_eq!(listed(&parse_list([raw.as_str()]), &Person::default()), None);
        }

        #[test]
        fn any_text_is_read_without_panic(raw in "\\PC{0,60}") {
            let list = parse_list([raw.as_str()]);
            prop_assert_eq!(list.any, raw.parse() == Ok(Entry::Everybody));
        }
    }
}
