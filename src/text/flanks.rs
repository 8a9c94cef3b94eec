//! Emphasis beside East Asian text, which has no blanks between words.
//!
//! `**「x」**は` is emphasis to whoever writes it, but not to CommonMark: the closing marks stand between punctuation and a letter.
//! A helper that counts as punctuation is put on their other side, and taken out again once the text is parsed.

/// Punctuation that nobody writes: a word divider of Ugaritic cuneiform.
const HELPER: char = '\u{1039f}';

/// Put in by [`mend`]; to be taken out of what the parser gives back.
pub fn is_helper(c: char) -> bool {
    c == HELPER
}

/// `text` with the helper where East Asian text would keep `*` and `~` from opening or closing.
pub fn mend(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None::<char>;
    while let Some(c) = rest.chars().next() {
        let run = if matches!(c, '*' | '~') { rest.len() - rest.trim_start_matches(c).len() } else { 0 };
        if run == 0 {
            if !is_helper(c) {
                out.push(c);
            }
            rest = &rest[c.len_utf8()..];
        } else {
            let after = rest[run..].chars().next();
            let beside = before.zip(after).filter(|&(a, b)| is_east_asian(a) || is_east_asian(b));
            let helped = |a: char, b: char| is_punctuation(b) && !is_punctuation(a) && !a.is_whitespace();
            if beside.is_some_and(|(before, after)| helped(before, after)) {
                out.push(HELPER);
            }
            out.push_str(&rest[..run]);
            if beside.is_some_and(|(before, after)| helped(after, before)) {
                out.push(HELPER);
            }
            rest = &rest[run..];
        }
        before = Some(c);
    }
    out
}

fn is_east_asian(c: char) -> bool {
    matches!(u32::from(c), 0x1100..=0x11ff | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7ff | 0xf900..=0xfaff
        | 0xfe30..=0xfe4f | 0xff01..=0xffee | 0x20000..=0x3fffd)
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
        || matches!(u32::from(c), 0xa1 | 0xa7 | 0xab | 0xb6 | 0xb7 | 0xbb | 0xbf | 0x2010..=0x2027 | 0x2030..=0x205e
            | 0x3001..=0x3003 | 0x3008..=0x3011 | 0x3014..=0x301f | 0x3030 | 0x30fb | 0xfe30..=0xfe4f
            | 0xff01..=0xff0f | 0xff1a..=0xff20 | 0xff3b..=0xff40 | 0xff5b..=0xff65)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_not_count_is_helped() {
        for text in ["a **b** c", "日本**語**です", "**「語」** です", "a**(b)**c", "a **x**, b"] {
            assert_eq!(mend(text), text);
        }
        assert_eq!(mend("これは**「x」**です").matches(HELPER).count(), 2);
        assert_eq!(mend("\u{1039f}x"), "x");
    }
}
