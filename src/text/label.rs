//! Texts of strangers (names that they gave themselves, words of servers) where people read them: in notices, tables and terminals.

/// Characters of the longest name that is shown.
const NAME: usize = 40;

/// A name in one line of at most 40 characters, without what steers a terminal or the direction of writing.
pub fn name(text: &str) -> String {
    let line = line(text);
    match line.char_indices().nth(NAME) {
        Some(_) => line.chars().take(NAME - 1).chain(['…']).collect(),
        None => line,
    }
}

/// A text in one line, without what steers a terminal or the direction of writing.
pub fn line(text: &str) -> String {
    let plain = without_escapes(text);
    let spaced: String = plain.chars().filter(|c| !is_invisible(*c)).map(|c| if breaks(c) { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn breaks(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Direction marks and other characters that show nothing by themselves. The joiner of emoji and of some scripts stays.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0001}')
}

/// Takes out terminal sequences whole: `ESC [ … letter`, and `ESC ] …` and the like up to their end.
fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let kind = match c {
            '\u{1b}' => chars.next(),
            '\u{9b}' => Some('['),
            '\u{9d}' => Some(']'),
            _ => {
                out.push(c);
                continue;
            }
        };
        match kind {
            Some('[') => while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
            Some(']' | 'P' | 'X' | '^' | '_') => {
                while let Some(c) = chars.next() {
                    if c == '\u{1b}' {
                        chars.next_if_eq(&'\\');
                        break;
                    }
                    if matches!(c, '\u{7}' | '\u{9c}') {
                        break;
                    }
                }
            }
            _ => {}
        }
        out.push(' ');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_short_line_without_tricks() {
        let check = |text: &str, shown: &str| assert_eq!(name(text), shown, "{text:?}");
        check("Anna", "Anna");
        check("  Anna\n(your wife)\r\nasks\u{2028}in ", "Anna (your wife) asks in");
        check("a\u{1b}[2Jb\u{1b}[31;1mc", "a b c");
        check("a\u{1b}]0;title\u{7}b\u{1b}]8;;http://x\u{1b}\\c", "a b c");
        check("a\u{9b}2Jb\u{1b}", "a b");
        check("\u{202e}evil\u{2066}\u{200b}\u{feff}", "evil");
        check("👩‍🔧 Ünïcode", "👩‍🔧 Ünïcode");
        check(&"x".repeat(40), &"x".repeat(40));
        check(&"x".repeat(41), &format!("{}…", "x".repeat(39)));
        check("\n\t", "");
    }
}
