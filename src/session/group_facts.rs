//! What WhatsApp says about groups, remembered for a while (behaviour.md 6.5). One question per group is under way at a time;
//! whoever else wants to know waits for its answer.

use indexmap::IndexMap;

use crate::clock::UnixMs;
use crate::ids::{E164, Jid};

/// How long an answer counts.
pub const TTL_MS: i64 = 5 * 60 * 1000;
/// Most groups that are remembered; the one asked about longest ago goes first.
const MAX_GROUPS: usize = 1000;

/// A group as the model is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFacts {
    /// Its name.
    pub subject: String,
    /// The numbers of its members, as far as they are known, in WhatsApp's order.
    pub members: Vec<E164>,
}

/// The groups of one account; `W` is somebody who waits.
#[derive(Debug)]
pub struct GroupCache<W> {
    groups: IndexMap<Jid, Slot<W>>,
}

#[derive(Debug)]
enum Slot<W> {
    /// A question is under way; `changed` = its answer may be older than the group's last change.
    Asking {
        waiting: Vec<W>,
        changed: bool,
    },
    Known {
        facts: GroupFacts,
        until: UnixMs,
    },
}

/// What becomes of somebody who wants to know.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted<W> {
    /// It is known.
    Known(GroupFacts, W),
    /// Nobody asked yet: the caller has to, and brings the answer to [`GroupCache::answered`].
    Ask,
    /// Somebody asked already.
    Wait,
}

impl<W> Default for GroupCache<W> {
    fn default() -> Self {
        Self { groups: IndexMap::new() }
    }
}

impl<W> GroupCache<W> {
    /// Somebody wants to know about a group.
    pub fn want(&mut self, group: &Jid, who: W, now: UnixMs) -> Wanted<W> {
        match self.groups.get_mut(group) {
            Some(Slot::Asking { waiting, .. }) => {
                waiting.push(who);
                return Wanted::Wait;
            }
            Some(Slot::Known { facts, until }) if now < *until => return Wanted::Known(facts.clone(), who),
            _ => {}
        }
        self.groups.shift_remove(group);
        self.groups.insert(group.clone(), Slot::Asking { waiting: vec![who], changed: false });
        Wanted::Ask
    }

    /// The answer is here, `None` when there is none; gives those who wait for it. A failure is not remembered.
    pub fn answered(&mut self, group: &Jid, facts: Option<&GroupFacts>, now: UnixMs) -> Vec<W> {
        let Some(Slot::Asking { waiting, changed }) = self.groups.shift_remove(group) else { return Vec::new() };
        if let Some(facts) = facts.filter(|_| !changed) {
            self.groups.insert(group.clone(), Slot::Known { facts: facts.clone(), until: now + TTL_MS });
            if self.groups.len() > MAX_GROUPS
                && let Some(oldest) = self.groups.values().position(|slot| matches!(slot, Slot::Known { .. }))
            {
                self.groups.shift_remove_index(oldest);
            }
        }
        waiting
    }

    /// The group is not any more what it was.
    pub fn changed(&mut self, group: &Jid) {
        match self.groups.get_mut(group) {
            Some(Slot::Asking { changed, .. }) => *changed = true,
            Some(Slot::Known { .. }) => {
                self.groups.shift_remove(group);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_at_a_time_and_an_answer_counts_for_five_minutes() {
        let group: Jid = "1@g.us".parse().expect("jid");
        let facts = GroupFacts { subject: "Friends".into(), members: vec![] };
        let mut cache = GroupCache::default();
        assert_eq!(cache.want(&group, 'a', 0), Wanted::Ask);
        assert_eq!(cache.want(&group, 'b', 1), Wanted::Wait);
        assert_eq!(
            cache.want(&"2@g.us".parse().expect("jid"), 'c', 1),
            Wanted::Ask,
            "groups do not wait for one another"
        );
        assert_eq!(cache.answered(&group, None, 2), ['a', 'b']);
        assert_eq!(cache.want(&group, 'a', 3), Wanted::Ask, "a failure is not remembered");
        assert_eq!(cache.answered(&group, Some(&facts), 4), ['a']);
        assert_eq!(cache.want(&group, 'a', 3 + TTL_MS), Wanted::Known(facts.clone(), 'a'));
        assert_eq!(cache.want(&group, 'a', 4 + TTL_MS), Wanted::Ask);
        cache.answered(&group, Some(&facts), 5);
        cache.changed(&group);
        assert_eq!(cache.want(&group, 'a', 6), Wanted::Ask, "a change ends it early");
        cache.changed(&group);
        cache.answered(&group, Some(&facts), 7);
        assert_eq!(cache.want(&group, 'a', 8), Wanted::Ask, "an answer that a change overtook is not remembered");
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut cache = GroupCache::default();
        let jid = |n: usize| format!("{n}@g.us").parse::<Jid>().expect("jid");
        for n in 0..=MAX_GROUPS {
            cache.want(&jid(n), (), 0);
            cache.answered(&jid(n), Some(&GroupFacts::default()), 0);
        }
        assert_eq!(cache.want(&jid(0), (), 1), Wanted::Ask);
        assert!(matches!(cache.want(&jid(2), (), 1), Wanted::Known(..)));
    }
}
