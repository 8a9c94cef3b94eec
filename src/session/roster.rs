//! Names of people seen in groups (behaviour.md 8.3, 7.7). In memory and bounded: a name comes again with the next message.

use indexmap::IndexMap;

use crate::ids::{AccountId, E164, Jid};

/// Most groups that are remembered; the one written in longest ago goes first.
const MAX_GROUPS: usize = 1000;
/// Most people of one group.
const MAX_PEOPLE: usize = 1000;

/// The names seen, by account and group.
#[derive(Debug, Default)]
pub struct Roster {
    groups: IndexMap<(AccountId, Jid), IndexMap<E164, String>>,
}

impl Roster {
    /// Somebody wrote in a group under a name; the newest name counts.
    pub fn saw(&mut self, account: &AccountId, group: &Jid, number: &E164, name: &str) {
        if name.trim().is_empty() {
            return;
        }
        let key = (account.clone(), group.clone());
        let mut people = self.groups.shift_remove(&key).unwrap_or_default();
        people.insert(number.clone(), name.to_owned());
        while people.len() > MAX_PEOPLE {
            people.shift_remove_index(0);
        }
        self.groups.insert(key, people);
        while self.groups.len() > MAX_GROUPS {
            self.groups.shift_remove_index(0);
        }
    }

    /// Numbers and names of a group, in the order in which they were first seen.
    pub fn names(&self, account: &AccountId, group: &Jid) -> Vec<(E164, String)> {
        let people = self.groups.get(&(account.clone(), group.clone()));
        people.into_iter().flatten().map(|(number, name)| (number.clone(), name.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_name_counts_and_groups_are_bounded() {
        let (account, mut roster) = (AccountId::new("work"), Roster::default());
        let group = |n: usize| format!("{n}@g.us").parse::<Jid>().expect("jid");
        let ann = E164::from_digits("+1555").expect("number");
        for n in 0..=MAX_GROUPS {
            roster.saw(&account, &group(n), &ann, "Ann");
        }
        roster.saw(&account, &group(1), &ann, "Anna");
        roster.saw(&account, &group(1), &ann, " ");
        assert_eq!(roster.names(&account, &group(1)), [(ann, "Anna".to_owned())]);
        assert!(roster.names(&account, &group(0)).is_empty(), "the oldest group went");
        assert!(roster.names(&AccountId::new("other"), &group(1)).is_empty());
    }
}
