//! "What changes for you": a section of the changelog that the gateway tells once, at its first start after an upgrade.

use sha2::{Digest, Sha256};

const CHANGELOG: &str = include_str!("../../deploy/CHANGELOG.md");
const HEADING: &str = "### What changes for you";
/// The fact in `state.db` that names the text that was told last.
pub(super) const TOLD: &str = "told:what-changes";

/// The text and its name.
pub(super) struct Notice {
    /// Changes when a word of the text does.
    pub id: String,
    /// Without the heading.
    pub lines: Vec<String>,
}

/// The newest section, when there is one.
pub(super) fn notice() -> Option<Notice> {
    section(CHANGELOG)
}

fn section(changelog: &str) -> Option<Notice> {
    let lines = changelog.lines().skip_while(|line| line.trim_end() != HEADING).skip(1);
    let lines: Vec<&str> = lines.take_while(|line| !line.starts_with('#')).collect();
    let text = lines.join("\n");
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() {
        return None;
    }
    let hash = Sha256::digest(words.join(" "));
    let id = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Notice { id, lines: text.trim_matches('\n').lines().map(|line| line.trim_end().to_owned()).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_section_is_told_and_named_by_its_words() {
        let text = "# C\n\n## 2.0\n\n### What changes for you\n\n- One thing,\n  and more.\n- Another.\n\n### Rest\n\n- x\n\n## 1.0\n\n### What changes for you\n\n- Old.\n";
        let notice = section(text).expect("a section");
        assert_eq!(notice.lines, ["- One thing,", "  and more.", "- Another."]);
        let wrapped = section(&text.replace("thing,\n  and", "thing, and")).expect("a section");
        assert_eq!(wrapped.id, notice.id, "other line breaks are no news");
        assert_ne!(section(&text.replace("Another", "A third")).expect("a section").id, notice.id);
        for none in ["", "# C\n- x\n", "### What changes for you\n\n## 1.0\n- x\n"] {
            assert!(section(none).is_none(), "{none}");
        }
    }

    #[test]
    fn the_changelog_tells_people_in_whole_lines() {
        let Some(notice) = notice() else { return };
        for line in &notice.lines {
            assert!(line.starts_with("- ") || line.starts_with("  "), "{line}");
            assert!(line.chars().count() <= 150, "{line}");
        }
    }
}
