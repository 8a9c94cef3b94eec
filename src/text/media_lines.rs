//! `MEDIA:` lines: how a model names files that go with its answer (behaviour.md 14.2). Pure.

/// Longer sources are text.
const LONGEST: usize = 4096;
const TOKEN: &str = "MEDIA:";

/// An answer and the files that go with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// The answer without the lines that named files.
    pub text: String,
    /// The files, in order.
    pub sources: Vec<Source>,
    /// It held `[[audio_as_voice]]`. Audio is a voice note in any case, so that the mark is only taken out.
    pub voice: bool,
}

/// A file that an answer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// An http(s) URL or a path below the workspace (`./...`).
    pub place: String,
    /// It is sent as a sticker.
    pub sticker: bool,
}

/// What a mark in double brackets asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// `[[audio_as_voice]]`
    Voice,
    /// `[[as_sticker]]`: the files of its line, or all files of the answer when its line names none.
    Sticker,
}

impl Mark {
    fn of(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "audio_as_voice" => Some(Self::Voice),
            "as_sticker" => Some(Self::Sticker),
            _ => None,
        }
    }
}

/// Takes the files out of an answer. A line counts when it begins with `MEDIA:` outside a code fence and names an http(s) URL or a
/// `./` path without `..`; everything else stays text as it is.
pub fn split(answer: &str) -> Split {
    let mut sources = Vec::new();
    let mut kept: Vec<String> = Vec::new();
    let mut fence: Option<(char, usize)> = None;
    // Blank lines around a line that goes would leave a hole.
    let mut gap = false;
    let (mut marked, mut voice, mut all_stickers) = (false, false, false);
    for line in answer.trim_end().split('\n') {
        let outside = fence.is_none();
        fence = fence_after(line, fence);
        let (rest, marks) = if outside { without_marks(line) } else { (line.to_owned(), Vec::new()) };
        marked |= !marks.is_empty();
        voice |= marks.contains(&Mark::Voice);
        let sticker = marks.contains(&Mark::Sticker);
        let (rest, found) = match outside && rest.trim_start().starts_with(TOKEN) {
            true => from_line(&rest),
            false => (rest, Vec::new()),
        };
        all_stickers |= sticker && found.is_empty();
        if !marks.is_empty() && found.is_empty() && rest.is_empty() {
            continue;
        }
        if !found.is_empty() {
            sources.extend(found.into_iter().map(|place| Source { place, sticker }));
            while kept.last().is_some_and(|l| l.trim().is_empty()) {
                kept.pop();
            }
            gap = rest.is_empty();
            if !gap {
                kept.push(rest);
            }
            continue;
        }
        if gap && rest.trim().is_empty() {
            continue;
        }
        gap = false;
        kept.push(rest);
    }
    sources.iter_mut().for_each(|source| source.sticker |= all_stickers);
    let text = kept.join("\n");
    // A text that nothing was taken from is nobody's business here.
    let untouched = sources.is_empty() && !marked;
    Split { text: if untouched { text } else { text.trim().to_owned() }, sources, voice }
}

/// The line without its marks, and these.
fn without_marks(line: &str) -> (String, Vec<Mark>) {
    let mut rest = line;
    let mut out = String::new();
    let mut marks = Vec::new();
    while let Some((before, after)) = rest.split_once("[[") {
        out.push_str(before);
        match after.split_once("]]").and_then(|(text, after)| Some((Mark::of(text)?, after))) {
            Some((mark, after)) => {
                out.push(' ');
                marks.push(mark);
                rest = after;
            }
            None => {
                out.push_str("[[");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    match marks.is_empty() {
        true => (line.to_owned(), marks),
        false => (out.split_whitespace().collect::<Vec<_>>().join(" "), marks),
    }
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
        let (named, other): (Vec<&str>, Vec<&str>) =
            payload.split_whitespace().partition(|word| source(word, false).is_some());
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
                (split.text.as_str(), split.sources.iter().map(|s| s.place.as_str()).collect::<Vec<_>>()),
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
    fn marks_are_no_text() {
        let check = |answer: &str, text: &str, sources: &[(&str, bool)]| {
            let expected = sources.iter().map(|(place, sticker)| Source { place: (*place).into(), sticker: *sticker });
            let Split { text: left, sources, .. } = split(answer);
            assert_eq!((left.as_str(), sources), (text, expected.collect()), "{answer:?}");
        };
        check(
            "[[ Audio_As_Voice ]]\nlisten [[audio_as_voice]] here\nMEDIA:./a.ogg\n[[other]]",
            "listen here\n[[other]]",
            &[("./a.ogg", false)],
        );
        check("```\n[[audio_as_voice]]\n[[as_sticker]]\n```", "```\n[[audio_as_voice]]\n[[as_sticker]]\n```", &[]);
        assert!(split("[[ Audio_As_Voice ]]\nlisten").voice && !split("```\n[[audio_as_voice]]\n```").voice);
        check("ha [[x]] [[as_sticker]]", "ha [[x]]", &[]);
        check(
            "MEDIA: ./a b.webp [[as_sticker]]\nMEDIA: ./c.png\nhi",
            "hi",
            &[("./a b.webp", true), ("./c.png", false)],
        );
        check("[[As_Sticker]] MEDIA:./a.png", "", &[("./a.png", true)]);
        check("[[as_sticker]]\nMEDIA:./a.png\nMEDIA:./b.png", "", &[("./a.png", true), ("./b.png", true)]);
        check("MEDIA:./a.png\nlook [[as_sticker]]", "look", &[("./a.png", true)]);
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
            assert_eq!(split(answer), Split { text: answer.into(), sources: vec![], voice: false });
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
        fn any_answer_is_split(answer in "(MEDIA:|\\[\\[as_sticker\\]\\]|\\./|https://a|`|```|\"|\n| |é|😀|x){0,40}") {
            for Source { place: source, .. } in split(&answer).sources {
                prop_assert!(source.starts_with("./") && !source.contains("..") || source.starts_with("https://"));
            }
        }
    }
}
