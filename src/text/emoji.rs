//! What counts as one emoji.

use unicode_segmentation::UnicodeSegmentation;

/// True for one emoji, in any skin colour and however it is put together. It knows letters and digits from pictures, not one picture
/// from another, so that it is not out of date with the next emojis.
pub fn is_one(text: &str) -> bool {
    let picture = |c: char| c >= '\u{1f000}' || matches!(c, '©' | '®') || (c >= '\u{2000}' && !c.is_alphanumeric());
    text.graphemes(true).count() == 1 && text.chars().any(picture) && !text.chars().all(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_emoji_is_told_from_text_and_from_several() {
        for emoji in ["👍", "👍🏽", "❤️", "❤", "👩‍🚀", "🇩🇪", "1️⃣", "🅰️", "🅰", "™️", "©", "☺", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
        {
            assert!(super::is_one(emoji), "{emoji}");
        }
        for other in ["", " ", "\u{2003}", "lol", "1", "é", "e\u{301}", "字", "👍👎", "👍 ", "ok👍", ":)", "+"]
        {
            assert!(!super::is_one(other), "{other}");
        }
    }
}
