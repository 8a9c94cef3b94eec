//! Cuts long texts into messages (behaviour.md 12.4). Lengths are UTF-16 units, as WhatsApp and the original count.
//!
//! Guarantees: no chunk is longer than the limit, no grapheme is cut unless it is longer than the limit itself, and the time is linear in
//! the text for any limit. Code fences are closed at the end of a chunk and opened again in the next one.

use unicode_segmentation::UnicodeSegmentation;

use crate::config::model::ChunkMode;

/// Cuts `text` into pieces of at most `limit` UTF-16 units; a `limit` of 0 does not cut.
pub fn chunk(text: &str, limit: usize, mode: ChunkMode) -> Vec<String> {
    match mode {
        ChunkMode::Length => by_length(text, limit),
        ChunkMode::Newline if limit == 0 => by_length(text, limit),
        ChunkMode::Newline => paragraphs(text).iter().flat_map(|p| by_length(p, limit)).collect(),
    }
}

/// Length mode: breaks at the last newline outside parentheses and fences, else the last blank there, else at the limit.
fn by_length(text: &str, limit: usize) -> Vec<String> {
    if text.is_empty() {
        return vec![];
    }
    if limit == 0 || text.len() <= limit || text.encode_utf16().count() <= limit {
        return vec![text.to_owned()];
    }
    let source = Source::new(text);
    let mut rest = Rest { head: Vec::new(), at: 0 };
    let mut chunks = Vec::new();
    while rest.len(&source) > limit {
        let cut = cut(&source, &rest, limit);
        // `cut.at` lies behind the reopened line, so every round uses up some of the text.
        let mut piece = rest.slice(&source, cut.at);
        let mut next = rest.at + (cut.at - rest.head.len());
        if source.is_separator(next) {
            next += 1;
        }
        rest.head.clear();
        match cut.fence {
            Some(Reopen { line, close }) => {
                if piece.last() != Some(&NEWLINE) {
                    piece.push(NEWLINE);
                }
                piece.extend(close);
                rest.head = line;
                rest.head.push(NEWLINE);
            }
            None => {
                while source.units.get(next) == Some(&NEWLINE) {
                    next += 1;
                }
            }
        }
        rest.at = next;
        chunks.push(String::from_utf16_lossy(&piece));
    }
    if rest.len(&source) > 0 {
        chunks.push(String::from_utf16_lossy(&rest.slice(&source, usize::MAX)));
    }
    chunks
}

/// Newline mode: the paragraphs, cut at blank lines outside fences; blank at their ends is dropped.
fn paragraphs(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let units: Vec<u16> = text.encode_utf16().collect();
    let spans = fences(&units);
    let mut out = Vec::new();
    let mut keep = |units: &[u16]| {
        let text = String::from_utf16_lossy(units);
        let text = text.trim_end_matches(|c: char| u16::try_from(u32::from(c)).is_ok_and(is_space));
        if !text.trim().is_empty() {
            out.push(text.to_owned());
        }
    };
    let (mut start, mut at, mut span, mut found) = (0, 0, 0, false);
    while at < units.len() {
        let Some(end) = blank_lines(&units, at) else {
            at += 1;
            continue;
        };
        found = true;
        while spans.get(span).is_some_and(|s| s.end <= at) {
            span += 1;
        }
        if !spans.get(span).is_some_and(|s| s.holds(at)) {
            keep(&units[start..at]);
            start = end;
        }
        at = end;
    }
    if !found {
        // One paragraph is left as it is.
        return vec![text];
    }
    keep(&units[start..]);
    out
}

/// The end of the blank lines that start with the newline at `at`.
fn blank_lines(units: &[u16], at: usize) -> Option<usize> {
    if units[at] != NEWLINE {
        return None;
    }
    let blank = |&&c: &&u16| c == u16::from(b' ') || c == u16::from(b'\t');
    let second = at + 1 + units[at + 1..].iter().take_while(blank).count();
    if units.get(second) != Some(&NEWLINE) {
        return None;
    }
    Some(second + units[second..].iter().take_while(|&&c| c == NEWLINE).count())
}

const NEWLINE: u16 = b'\n' as u16;
/// UTF-16 units of a surrogate pair: so much must fit between the lines of a fence, or nothing could go on.
const LONGEST_CHAR: usize = 2;

/// Blank as JavaScript's `\s`, all of it in the basic plane.
fn is_space(unit: u16) -> bool {
    match unit {
        0x85 => false,
        0xfeff => true,
        _ => char::from_u32(u32::from(unit)).is_some_and(char::is_whitespace),
    }
}

/// The text as UTF-16, with the places where it may be cut.
struct Source {
    units: Vec<u16>,
    /// A grapheme starts here.
    grapheme: Vec<bool>,
}

impl Source {
    fn new(text: &str) -> Self {
        let units: Vec<u16> = text.encode_utf16().collect();
        let mut grapheme = vec![false; units.len() + 1];
        let mut at = 0;
        for cluster in text.graphemes(true) {
            grapheme[at] = true;
            at += cluster.encode_utf16().count();
        }
        grapheme[at] = true;
        Self { units, grapheme }
    }

    /// A blank that no mark combines with; the newline of a CRLF counts.
    fn is_separator(&self, at: usize) -> bool {
        self.units.get(at).is_some_and(|&u| u == NEWLINE || (is_space(u) && self.grapheme[at + 1]))
    }

    fn is_char_start(&self, at: usize) -> bool {
        !self.units.get(at).is_some_and(|u| (0xdc00..0xe000).contains(u))
    }
}

/// What is still to be cut: a reopened fence line, then the text from `at` on. Positions count from the start of both.
struct Rest {
    head: Vec<u16>,
    at: usize,
}

impl Rest {
    fn len(&self, source: &Source) -> usize {
        self.head.len() + source.units.len() - self.at
    }

    /// The first `len` units.
    fn slice(&self, source: &Source, len: usize) -> Vec<u16> {
        let tail = len.saturating_sub(self.head.len()).min(source.units.len() - self.at);
        self.head.iter().chain(&source.units[self.at..self.at + tail]).copied().take(len).collect()
    }

    /// The largest place up to `wanted` where no grapheme is cut, behind the head and using up at least one character.
    fn floor(&self, source: &Source, wanted: usize) -> usize {
        let first = self.at + 1;
        let wanted = (self.at + wanted.saturating_sub(self.head.len())).max(first).min(source.units.len());
        let found = (first..=wanted).rev().find(|&at| source.grapheme[at]);
        let found = found.or_else(|| (first..=wanted).rev().find(|&at| source.is_char_start(at)));
        // A limit of one unit cannot hold a surrogate pair.
        found.unwrap_or(first + 1) - self.at + self.head.len()
    }

    /// A blank at this place of the window stands alone: a mark that combines with it would be torn off.
    fn is_whole_blank(&self, source: &Source, place: usize) -> bool {
        let at = (self.at + place).checked_sub(self.head.len());
        at.is_none_or(|at| source.grapheme[at] && source.grapheme.get(at + 1).copied().unwrap_or(true))
    }
}

/// Where a chunk ends.
struct Cut {
    at: usize,
    fence: Option<Reopen>,
}

/// How a fence goes on in the next chunk.
struct Reopen {
    line: Vec<u16>,
    close: Vec<u16>,
}

fn cut(source: &Source, rest: &Rest, limit: usize) -> Cut {
    // One unit more than fits: the fence rule asks whether the place behind the last unit is inside.
    let window = rest.slice(source, limit + 1);
    let spans = fences(&window);
    let at = soft_break(&window[..limit], &spans, |place| rest.is_whole_blank(source, place));
    let at = at.unwrap_or_else(|| rest.floor(source, limit));
    let Some(fence) = spans.iter().find(|s| s.holds(at)) else { return Cut { at, fence: None } };
    cut_in_fence(source, rest, &window, fence, limit)
}

/// The last newline, else the last blank, that lies outside parentheses and fences; never the first unit.
fn soft_break(window: &[u16], spans: &[Fence], whole_blank: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut newline, mut blank, mut depth, mut span) = (None, None, 0_usize, 0);
    for (at, &unit) in window.iter().enumerate() {
        while spans.get(span).is_some_and(|s| s.end <= at) {
            span += 1;
        }
        if spans.get(span).is_some_and(|s| s.holds(at)) {
            continue;
        }
        match u8::try_from(unit) {
            Ok(b'(') => depth += 1,
            Ok(b')') if depth > 0 => depth -= 1,
            _ if depth > 0 || at == 0 => {}
            Ok(b'\n') => newline = Some(at),
            _ if is_space(unit) && whole_blank(at) => blank = Some(at),
            _ => {}
        }
    }
    newline.or(blank)
}

/// Cuts inside a fence: at the last newline that leaves room for the closing line, else hard.
///
/// A fence whose opening line leaves no room for its contents is opened again without its info text, and if even that does not fit it is cut like
/// plain text: repeating a long line in every chunk would multiply the text.
fn cut_in_fence(source: &Source, rest: &Rest, window: &[u16], fence: &Fence, limit: usize) -> Cut {
    let close = fence.marker.clone();
    let fits = |line: &Vec<u16>| line.len() * 4 <= limit * 3 && line.len() + close.len() + 2 + LONGEST_CHAR <= limit;
    let line = Some(fence.line.clone()).filter(fits).or_else(|| Some(close.clone()).filter(fits));
    let least = fence.start + fence.line.len() + 2;
    let most = limit.saturating_sub(close.len());
    let (Some(line), true) = (line, least < most) else {
        // Where the fence begins late in the window it starts the next chunk instead; the newline before it goes.
        let before = fence.start.checked_sub(1).filter(|&at| at > rest.head.len());
        let at = before.unwrap_or_else(|| rest.floor(source, limit));
        return Cut { at, fence: None };
    };
    let newline = (least..=most).rev().find(|&at| window[at - 1] == NEWLINE);
    let at = newline.unwrap_or_else(|| rest.floor(source, most - 1));
    // The place may be the very end of the fence, which needs no closing then.
    let inside = fence.holds(at);
    Cut { at, fence: inside.then_some(Reopen { line, close }) }
}

/// A fenced block. Places strictly between `start` and `end` are inside.
struct Fence {
    start: usize,
    end: usize,
    /// The opening line as written.
    line: Vec<u16>,
    /// Its indent and marker, which is also the closing line.
    marker: Vec<u16>,
}

impl Fence {
    fn holds(&self, at: usize) -> bool {
        at > self.start && at < self.end
    }
}

/// Finds fenced blocks: a line of at most three blanks and three or more backticks or tildes opens one, a line with at least as many of the same
/// closes it, the end of the text closes the last one.
fn fences(units: &[u16]) -> Vec<Fence> {
    let mut out = Vec::new();
    let mut open: Option<(Fence, u16, usize)> = None;
    let mut offset = 0;
    for line in units.split(|&u| u == NEWLINE) {
        let end = offset + line.len();
        if let Some((indent, mark, count)) = fence_line(line) {
            match open.take() {
                None => {
                    let marker = line[..indent + count].to_vec();
                    open = Some((Fence { start: offset, end: units.len(), line: line.to_vec(), marker }, mark, count));
                }
                Some((fence, of, least)) if of == mark && count >= least => out.push(Fence { end, ..fence }),
                still => open = still,
            }
        }
        offset = end + 1;
    }
    out.extend(open.map(|(fence, ..)| fence));
    out
}

/// Indent, character and length of a fence marker at the start of a line.
fn fence_line(line: &[u16]) -> Option<(usize, u16, usize)> {
    let indent = line.iter().take(4).take_while(|&&u| u == u16::from(b' ')).count();
    let &mark = line.get(indent).filter(|&&u| u == u16::from(b'`') || u == u16::from(b'~'))?;
    let count = line[indent..].iter().take_while(|&&u| u == mark).count();
    (indent <= 3 && count >= 3).then_some((indent, mark, count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, limit: usize, want: &[&str]) {
        assert_eq!(chunk(text, limit, ChunkMode::Length), want, "{text:?} at {limit}");
    }

    fn units(text: &str) -> usize {
        text.encode_utf16().count()
    }

    #[test]
    fn without_a_limit_nothing_is_cut() {
        assert_eq!(chunk("a\n\nb", 0, ChunkMode::Newline), ["a\n\nb"]);
        assert_eq!(chunk("a\n\nb", 9, ChunkMode::Newline), ["a", "b"]);
    }

    #[test]
    fn graphemes_stay_whole() {
        check("aaaa😀😀😀😀", 5, &["aaaa", "😀😀", "😀😀"]);
        check("👩‍👩‍👧‍👦👩‍👩‍👧‍👦", 12, &["👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦"]);
        check("e\u{301}e\u{301}e\u{301}", 3, &["e\u{301}", "e\u{301}", "e\u{301}"]);
    }

    #[test]
    fn a_long_opening_line_ends_and_stays_within_the_limit() {
        let text = format!("```{}\n{}\n```\nend", "x".repeat(35), "code line\n".repeat(20));
        for limit in [1, 2, 5, 8, 10, 30, 38, 40, 60] {
            let chunks = chunk(&text, limit, ChunkMode::Length);
            assert!(chunks.len() <= text.len(), "{limit}");
            assert!(chunks.iter().all(|c| units(c) <= limit), "{limit}: {chunks:?}");
        }
    }

    #[test]
    fn a_surrogate_pair_fits_between_the_lines_of_a_fence() {
        for chunk in chunk("😀 `x(😀`😀😀(```xx\n😀 ` `", 11, ChunkMode::Length) {
            assert!(units(&chunk) <= 11, "{chunk:?}");
        }
    }

    #[test]
    fn an_open_parenthesis_before_a_fence_does_not_break_the_limit() {
        let text = format!("see (this\n```rust\n{}\n```", "let a = 1;\n".repeat(20));
        for limit in 12..40 {
            let chunks = chunk(&text, limit, ChunkMode::Length);
            assert!(chunks.iter().all(|c| units(c) <= limit), "{limit}: {chunks:?}");
        }
    }

    #[test]
    fn the_time_is_linear() {
        // Quadratic work would be 10^10 steps here and time the test run out.
        let text = format!("```{}\n{}", "y".repeat(2900), "ab c".repeat(60_000));
        for limit in [1, 7, 4000] {
            let chunks = chunk(&text, limit, ChunkMode::Length);
            assert!(chunks.iter().map(|c| units(c)).sum::<usize>() < 8 * text.len());
        }
        assert!(!chunk(&"\n \n".repeat(60_000), 4000, ChunkMode::Newline).iter().any(|c| c.trim().is_empty()));
    }

    fn plain(texts: &[String]) -> String {
        texts.concat().chars().filter(|c| !c.is_whitespace()).collect()
    }

    proptest! {
        #[test]
        fn plain_text_joins_back(text in "([a-zé(){}😀👨‍👩‍👧 \n\t]|e\u{301}){0,200}", limit in 12usize..60, newline: bool) {
            let mode = if newline { ChunkMode::Newline } else { ChunkMode::Length };
            let chunks = chunk(&text, limit, mode);
            prop_assert_eq!(plain(&chunks), plain(std::slice::from_ref(&text)));
            for chunk in &chunks {
                prop_assert!(units(chunk) <= limit, "{:?}", chunk);
            }
            let whole: Vec<&str> = text.graphemes(true).filter(|g| !g.trim().is_empty()).collect();
            let cut: Vec<&str> = chunks.iter().flat_map(|c| c.graphemes(true)).filter(|g| !g.trim().is_empty()).collect();
            prop_assert_eq!(whole, cut);
        }

        #[test]
        fn any_text_ends_within_the_limit(text in "[`~a(\n )😀x]{0,200}", limit in 2usize..60) {
            for mode in [ChunkMode::Length, ChunkMode::Newline] {
                for chunk in chunk(&text, limit, mode) {
                    prop_assert!(units(&chunk) <= limit.max(2), "{:?}", chunk);
                    prop_assert!(!chunk.is_empty());
                }
            }
        }
    }
}
