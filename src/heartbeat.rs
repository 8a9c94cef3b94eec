//! The token by which an agent says that a heartbeat found nothing. It never reaches a chat (behaviour.md 15.3). Pure.

/// What the agent says.
pub const HEARTBEAT_OK: &str = "HEARTBEAT_OK";

/// An answer without its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stripped {
    /// What is left to say; empty when nothing is.
    pub text: String,
    /// There was a token.
    pub found: bool,
}

/// Takes the token off both ends of an answer, where it stands as a word, with the marks around it. What is left without a letter
/// or digit says nothing.
pub fn strip(answer: &str) -> Stripped {
    let (mut text, mut found) = (answer.trim(), false);
    while let Some(rest) = off_front(text).or_else(|| off_back(text)) {
        text = rest.trim();
        found = true;
    }
    let says = !found || text.chars().any(char::is_alphanumeric);
    Stripped { text: if says { text.to_owned() } else { String::new() }, found }
}

const MARKS: [char; 4] = ['*', '`', '~', '_'];

fn off_front(text: &str) -> Option<&str> {
    let mut at = text;
    while let Some(rest) = at
        .strip_prefix(|c: char| c.is_whitespace() || MARKS.contains(&c))
        .or_else(|| at.strip_prefix("&nbsp;"))
        .or_else(|| at.strip_prefix('<')?.split_once('>').map(|(_, rest)| rest))
    {
        at = rest;
    }
    let rest = at.strip_prefix(HEARTBEAT_OK)?;
    // `HEARTBEAT_OKAY` is another word; `_HEARTBEAT_OK_` is this one in italics.
    let unmarked = rest.trim_start_matches('_');
    if unmarked.starts_with(char::is_alphanumeric) {
        return None;
    }
    let mut rest = rest.trim_start_matches(MARKS);
    while let Some(after) = rest
        .strip_prefix("&nbsp;")
        .or_else(|| rest.strip_prefix("</")?.split_once('>').map(|(_, after)| after))
        .or_else(|| rest.strip_prefix(['.', '!']).filter(|after| after.trim().is_empty()))
    {
        rest = after;
    }
    Some(rest)
}

fn off_back(text: &str) -> Option<&str> {
    let mut at = text;
    while let Some(rest) = at
        .strip_suffix(|c: char| c.is_whitespace() || MARKS.contains(&c) || matches!(c, '.' | '!'))
        .or_else(|| at.strip_suffix("&nbsp;"))
        .or_else(|| at.strip_suffix('>')?.rsplit_once('<').map(|(rest, _)| rest))
    {
        at = rest;
    }
    let rest = at.strip_suffix(HEARTBEAT_OK)?;
    if rest.trim_end_matches('_').ends_with(char::is_alphanumeric) {
        return None;
    }
    let mut rest = rest.trim_end_matches(MARKS);
    while let Some(before) = rest.strip_suffix("&nbsp;").or_else(|| {
        let (before, tag) = rest.strip_suffix('>')?.rsplit_once('<')?;
        (!tag.starts_with('/')).then_some(before)
    }) {
        rest = before;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, want: &str) {
        assert_eq!(strip(answer).text, want, "{answer:?}");
    }

    #[test]
    fn the_token_and_its_marks_go() {
        for nothing in
            ["HEARTBEAT_OK", "_HEARTBEAT_OK_", "<b>HEARTBEAT_OK</b>.", "&nbsp;**HEARTBEAT_OK**!", "🫀 HEARTBEAT_OK"]
        {
            check(nothing, "");
        }
        check("**HEARTBEAT_OK** ok then", "ok then");
        check("Done. **HEARTBEAT_OK**", "Done.");
        check("HEARTBEAT_OK\n\none\ntwo  three", "one\ntwo  three");
    }

    #[test]
    fn what_stands_beside_it_keeps_its_marks() {
        check("**Bold** HEARTBEAT_OK", "**Bold**");
        check("HEARTBEAT_OK **Bold**", "**Bold**");
        check("a > b HEARTBEAT_OK", "a > b");
    }

    #[test]
    fn other_words_stay() {
        for said in ["HEARTBEAT_OKAY", "MY_HEARTBEAT_OK", "I said HEARTBEAT_OK once", "heartbeat_ok", "..."] {
            check(said, said);
        }
    }
}
