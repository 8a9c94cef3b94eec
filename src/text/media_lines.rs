//! `MEDIA:` lines: how a model names files that go with its answer (behaviour.md 14.2). Pure.

/// Longer sources are text.
const LONGEST: usize = 4096;
const TOKEN: &str = "MEDIA:";

/// An answer and the files that go with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// The answer without the lines that named files.
    pub text: String,
    /// http(s) URLs and paths below the workspace (`./...`), in order.
    pub sources: Vec<String>,
}

/// Takes the files out of an answer. A line counts when it begins with `MEDIA:` outside a code fence and names an http(s) URL or a
/// `./` path without `..`; everything else stays text as it is.
pub fn split(answer: &str) -> Split {
    let mut sources = Vec::new();
    let mut kept: Vec<String> = Vec::new();
    let mut fence: Option<(char, usize)> = None;
    // Blank lines around a line that goes would leave a hole.
    let mut gap = false;
    for line in answer.trim_end().split('\n') {
        let outside = fence.is_none();
        fence = fence_after(line, fence);
        if outside && line.trim_start().starts_with(TOKEN) {
            let (rest, found) = from_line(line);
            if !found.is_empty() {
                sources.extend(found);
                while kept.last().is_some_and(|l| l.trim().is_empty()) {
                    kept.pop();
                }
                gap = rest.is_empty();
                if !gap {
                    kept.push(rest);
                }
                continue;
            }
        }
        if gap && line.trim().is_empty() {
            continue;
        }
        gap = false;
        kept.push(line.to_owned());
    }
    let text = kept.join("\n");
    // A text without files is nobody's business here.
    Split { text: if sources.is_empty() { text } else { text.trim().to_owned() }, sources }
}

/// What remains of a line, and the files it names.
fn from_line(line: &str) -> (String, Vec<String>) {
    let mut found = Vec::new();
    let mut rest = Vec::new();
    // Several tokens may share a line.
    for payload in line.split(TOKEN).skip(1) {
        if let Some(quoted) = unquoted(payload) {
            match source(quoted, true) {
                Some(source) => found.push(source),
                None => rest.push(format!("{TOKEN}{payload}").trim().to_owned()),
            }
            continue;
        }
        let words: Vec<&str> = payload.split_whitespace().collect();
        let (named, other): (Vec<_>, Vec<_>) = words.iter().partition(|word| source(word, false).is_some());
        // A path with spaces in it.
        let whole =
            source(payload.trim(), true).filter(|s| s.starts_with("./") && named.len() == 1 && !other.is_empty());
        match whole {
            Some(whole) => found.push(whole),
            None if named.is_empty() => rest.push(format!("{TOKEN}{payload}").trim().to_owned()),
            None => {
                found.extend(named.iter().filter_map(|word| source(word, false)));
                rest.extend(other.iter().map(|word| (*word).to_owned()));
            }
        }
    }
    (rest.join(" "), found)
}

/// The inside of quotes of one kind around everything.
fn unquoted(payload: &str) -> Option<&str> {
    let payload = payload.trim();
    let quote = payload.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    payload.strip_prefix(quote)?.strip_suffix(quote).map(str::trim)
}

/// A source that a model may name, without the brackets and quotes around it.
fn source(word: &str, spaces: bool) -> Option<String> {
    let word = word.trim_start_matches(['`', '"', '\'', '[', '{', '(']);
    let word = word.trim_end_matches(['`', '"', '\'', ']', '}', ')', '\\', ',']);
    let begins = |scheme: &str| word.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
    let fits = word.len() <= LONGEST && (spaces || !word.contains(char::is_whitespace));
    let allowed = begins("http://") || begins("https://") || word.starts_with("./") && !word.contains("..");
    (fits && allowed).then(|| word.to_owned())
}

/// The fence that is open after a line.
fn fence_after(line: &str, open: Option<(char, usize)>) -> Option<(char, usize)> {
    let inner = line.trim_start_matches(' ');
    let mark = inner.chars().next().filter(|c| matches!(c, '`' | '~') && line.len() - inner.len() <= 3);
    let Some(mark) = mark else { return open };
    let count = inner.chars().take_while(|c| *c == mark).count();
    match open {
        None if count >= 3 => Some((mark, count)),
        Some((own, length)) if own == mark && count >= length && inner[count..].trim().is_empty() => None,
        open => open,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_leave_the_text() {
        let check = |answer: &str, text: &str, sources: &[&str]| {
            let split = split(answer);
            assert_eq!(
                (split.text.as_str(), split.sources.iter().map(String::as_str).collect::<Vec<_>>()),
                (text, sources.to_vec()),
                "{answer:?}"
            );
        };
        check("hello", "hello", &[]);
        check("a\nMEDIA:https://x.y/a.jpg\nb", "a\nb", &["https://x.y/a.jpg"]);
        check("a\n\nMEDIA: ./out/chart 1.png\n\nb\n\nc", "a\nb\n\nc", &["./out/chart 1.png"]);
        check("  MEDIA:`./a b.png`", "", &["./a b.png"]);
        check("MEDIA:https://x.y/a.jpg, https://x.y/b.jpg done", "done", &["https://x.y/a.jpg", "https://x.y/b.jpg"]);
        check("MEDIA:./a.png MEDIA:./b.png", "", &["./a.png", "./b.png"]);
        check("MEDIA:HTTPS://X.Y/a", "", &["HTTPS://X.Y/a"]);
    }

    #[test]
    fn a_model_names_nothing_else() {
        for answer in [
            "MEDIA:/etc/passwd",
            "MEDIA:~/x.png",
            "MEDIA:../x",
            "MEDIA:./a/../../x",
            "MEDIA:file:///etc/passwd",
            "media:./a.png",
            "see MEDIA:./a.png",
            "MEDIA:",
            "MEDIA:\"/tmp/a b.png\"",
            "```\nMEDIA:./a.png\n```",
            "~~~~\nMEDIA:./a.png\n~~~",
            "MEDIA:data:image/png;base64,AA",
        ] {
            assert_eq!(split(answer), Split { text: answer.into(), sources: vec![] });
        }
    }

    #[test]
    fn what_stays_keeps_its_form() {
        let code = "```py\nif x:\n    y  =  1\n\n\nz\n```";
        let split = split(&format!("{code}\n\nend\nMEDIA:./a.png"));
        assert_eq!(split.text, format!("{code}\n\nend"));
    }

    proptest! {
        #[test]
        fn any_answer_is_split(answer in "(MEDIA:|\\./|https://a|`|```|\"|\n| |é|😀|x){0,40}") {
            for source in split(&answer).sources {
                prop_assert!(source.starts_with("./") && !source.contains("..") || source.starts_with("https://"));
            }
        }
    }
}
