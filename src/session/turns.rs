//! How much of a conversation the model is shown (behaviour.md 9.4, dmHistoryLimit).

/// Where the shown part begins, so that it holds the last `limit` turns of people and what follows each of them. `people` tells
/// of every turn, oldest first, whether a person said it. 0 limits nothing.
pub fn first_shown(people: &[bool], limit: usize) -> usize {
    let mut spoken = people.iter().enumerate().rev().filter(|(_, person)| **person).map(|(at, _)| at);
    let Some(before) = limit.checked_sub(1) else { return 0 };
    match (spoken.nth(before), spoken.next()) {
        (Some(first), Some(_)) => first,
        // With no turn of a person too many, what came before the first one stays too.
        _ => 0,
    }
}
