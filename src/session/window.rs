//! How much of a conversation fits the model's window (behaviour.md 24.13). Pure.
//!
//! Sizes are estimated in tokens, on the high side: seven ASCII characters count two, any other character one.

use std::borrow::Cow;

/// Tokens of a request where nobody says how large the model's window is: some 100,000 characters of English.
pub const USUAL: usize = 28_000;
/// A window is never taken for smaller than this.
const SMALLEST: usize = 256;
/// What every turn costs besides its text.
const TURN: usize = 4;
/// One earlier turn takes at most this part of what is left for all of them.
const PART: usize = 4;

/// Less is not worth telling of what was said before.
const LEAST: usize = 64;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// People said it; otherwise the agent.
    pub by_people: bool,
    /// What was said.
    pub text: String,
}

/// Estimated tokens of a text.
pub fn weight(text: &str) -> usize {
    let ascii = text.bytes().filter(u8::is_ascii).count();
    let all = text.chars().count();
    (ascii * 2).div_ceil(7) + (all - ascii)
}

/// Tokens that a request may have: the model's window without room for its answer.
pub fn of_model(window: Option<u32>, answer: Option<u32>) -> usize {
    let Some(window) = window.map(|tokens| tokens as usize) else { return USUAL };
    let answer = answer.map_or(window / 4, |tokens| tokens as usize).min(window / 2);
    (window - answer).max(SMALLEST)
}

/// A text of at most about `most` tokens: the middle of a longer one is left out, and a line says so.
pub fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    if weight(text) <= most {
        return Cow::Borrowed(text);
    }
    // The end says more: in a group it is the question, after what was said before.
    let head = taken(text.chars(), most / 3);
    let tail = taken(text.chars().rev(), most - most / 3);
    let start = text.char_indices().nth(head).map_or(text.len(), |(at, _)| at);
    let end = text.char_indices().rev().nth(tail.saturating_sub(1)).map_or(0, |(at, _)| at);
    let end = if tail == 0 { text.len() } else { end.max(start) };
    let left_out = text[start..end].chars().count();
    Cow::Owned(format!("{}\n[{left_out} characters left out]\n{}", &text[..start], &text[end..]))
}

/// How many characters weigh at most `most`.
fn taken(chars: impl Iterator<Item = char>, most: usize) -> usize {
    let (mut ascii, mut other, mut n) = (0_usize, 0_usize, 0);
    for c in chars {
        if c.is_ascii() {
            ascii += 1
        } else {
            other += 1
        }
        if (ascii * 2).div_ceil(7) + other > most {
            break;
        }
        n += 1;
    }
    n
}

/// The newest turns that fit into `most` tokens, each cut to a part of it, neighbours of one side joined, the first one by people.
pub fn fit(turns: Vec<Said>, most: usize) -> Vec<Said> {
    if most < LEAST {
        return Vec::new();
    }
    let one = most / PART;
    let mut left = most;
    let mut shown: Vec<Said> = Vec::new();
    for turn in turns.into_iter().rev() {
        let text = shorten(&turn.text, one).into_owned();
        let Some(rest) = left.checked_sub(weight(&text) + TURN) else { break };
        left = rest;
        shown.push(Said { text, ..turn });
    }
    shown.reverse();
    joined(shown.into_iter().skip_while(|turn| !turn.by_people))
}

/// Neighbouring turns of one side become one: strict servers take nothing else.
pub fn joined(turns: impl IntoIterator<Item = Said>) -> Vec<Said> {
    let mut out: Vec<Said> = Vec::new();
    for turn in turns {
        match out.last_mut() {
            Some(last) if last.by_people == turn.by_people => {
                last.text.push_str("\n\n");
                last.text.push_str(&turn.text);
            }
            _ => out.push(turn),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turns(text: &[&str]) -> Vec<Said> {
        let said = |t: &&str| Said { by_people: t.starts_with('u'), text: (*t).to_owned() };
        text.iter().map(said).collect()
    }

    fn texts(turns: &[Said]) -> Vec<&str> {
        turns.iter().map(|t| t.text.as_str()).collect()
    }

    #[test]
    fn the_newest_turns_are_shown_and_people_begin() {
        let all = turns(&["u1", "a1", "u2", "a2", "u3"]);
        assert_eq!(texts(&fit(all.clone(), 1_000)), ["u1", "a1", "u2", "a2", "u3"]);
        // Room for a few of them: an answer to nothing is left out.
        let many: Vec<Said> = all.iter().cycle().take(50).cloned().collect();
        let shown = fit(many.clone(), LEAST);
        assert!((5..13).contains(&shown.len()) && shown[0].by_people && shown.last() == many.last(), "{shown:?}");
        assert!(fit(all, LEAST - 1).is_empty());
        assert_eq!(texts(&fit(turns(&["u1", "u2", "a1", "a2", "u3"]), 1_000)), ["u1\n\nu2", "a1\n\na2", "u3"]);
    }

    #[test]
    fn one_long_turn_does_not_push_the_others_out() {
        let long = format!("u{}", "x".repeat(100_000));
        let shown = fit(turns(&["u0", "a0", &long, "a1"]), 1_000);
        assert_eq!(shown.len(), 4);
        assert!(shown[2].text.contains("characters left out]") && weight(&shown[2].text) < 300);
    }

    #[test]
    fn windows_have_room_for_the_answer() {
        for (window, answer, want) in [
            (None, None, USUAL),
            (Some(8_000), None, 6_000),
            (Some(8_000), Some(1_000), 7_000),
            (Some(8_000), Some(9_000), 4_000),
            (Some(1), None, SMALLEST),
        ] {
            assert_eq!(of_model(window, answer), want);
        }
    }

    #[test]
    fn the_middle_is_left_out_and_counted() {
        assert_eq!(shorten("short", 100), "short");
        let text = format!("{}{}{}", "a".repeat(100), "m".repeat(1_000), "z".repeat(100));
        let cut = shorten(&text, 30);
        assert!(cut.starts_with("aaa") && cut.ends_with("zzz") && !cut.contains("mmm"), "{cut}");
        let left: usize = cut.split(['[', ' ']).nth(1).and_then(|n| n.parse().ok()).expect("a number");
        assert_eq!(
            left + cut.chars().filter(|c| "amz".contains(*c)).count() - "characters left out".matches('a').count(),
            1_200
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_fits_and_alternates(all in proptest::collection::vec((any::<bool>(), "\\PC{0,400}"), 0..30), most in 0_usize..2_000) {
            let turns: Vec<Said> = all.iter().map(|(by_people, text)| Said { by_people: *by_people, text: text.clone() }).collect();
            let shown = fit(turns, most);
            prop_assert!(shown.first().is_none_or(|turn| turn.by_people));
            prop_assert!(shown.windows(2).all(|pair| pair[0].by_people != pair[1].by_people));
            let sum: usize = shown.iter().map(|turn| weight(&turn.text)).sum();
            prop_assert!(sum <= most + shown.len(), "{sum} > {most}");
        }

        #[test]
        fn any_text_is_cut_without_panic(text in "\\PC{0,300}", most in 0_usize..100) {
            let cut = shorten(&text, most);
            prop_assert!(weight(&cut) <= most.max(weight(&text).min(most)) + 12);
        }
    }
}
