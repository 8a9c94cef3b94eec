//! The prompt of messages that waited for a busy agent (behaviour.md 12.7).

use super::envelope::neutralise;

/// Before messages that waited.
const QUEUED: &str = "[Queued messages while agent was busy]";
/// Longest line of a summary, in characters.
const SUMMARY_CHARS: usize = 160;
/// Most lines of a summary; the newest are kept.
const SUMMARY_LINES: usize = 20;

/// The prompt made of the messages' own prompts, oldest first, and of the texts that fell out because there were too many. A
/// message that waited alone is just itself.
pub fn prompt(prompts: &[String], dropped: &[String]) -> String {
    match (prompts, dropped) {
        ([one], []) => return one.clone(),
        ([one], dropped) => return format!("{}\n\n{one}", overflow(dropped)),
        _ => {}
    }
    let mut blocks = vec![QUEUED.to_owned()];
    if !dropped.is_empty() {
        blocks.push(overflow(dropped));
    }
    blocks.extend(prompts.iter().enumerate().map(|(n, prompt)| format!("---\nQueued #{}\n{prompt}", n + 1)));
    blocks.join("\n\n")
}

fn overflow(dropped: &[String]) -> String {
    let (n, s) = (dropped.len(), if dropped.len() == 1 { "" } else { "s" });
    let mut out = format!("[Queue overflow] Dropped {n} message{s} due to cap.\nSummary:");
    for text in dropped.iter().skip(n.saturating_sub(SUMMARY_LINES)) {
        out.push_str("\n- ");
        out.push_str(&summary(text));
    }
    out
}

/// The text in one line, cut.
fn summary(text: &str) -> String {
    let line = neutralise(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    match line.char_indices().nth(SUMMARY_CHARS) {
        Some(_) => format!("{}…", line.chars().take(SUMMARY_CHARS - 1).collect::<String>().trim_end()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_waited_become_one_prompt() {
        let text = |t: &[&str]| t.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(prompt(&text(&["a"]), &[]), "a");
        assert_eq!(
            prompt(&text(&["a", "b"]), &[]),
            "[Queued messages while agent was busy]\n\n---\nQueued #1\na\n\n---\nQueued #2\nb"
        );
        assert_eq!(
            prompt(&text(&["c", "d"]), &text(&["one\n\ttwo", &"x".repeat(200)])),
            format!(
                "[Queued messages while agent was busy]\n\n[Queue overflow] Dropped 2 messages due to cap.\nSummary:\n- one two\n- {}…\n\n---\nQueued #1\nc\n\n---\nQueued #2\nd",
                "x".repeat(159)
            )
        );
        assert_eq!(
            prompt(&text(&["c"]), &text(&["o"])),
            "[Queue overflow] Dropped 1 message due to cap.\nSummary:\n- o\n\nc"
        );
    }
}
