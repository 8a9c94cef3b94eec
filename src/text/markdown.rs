//! Markdown, as models write it, in WhatsApp's own marks (behaviour.md 12.3, 21).

use std::cmp::Reverse;
use std::ops::Range;

use pulldown_cmark::{Event, LinkType, Options, Parser, Tag, TagEnd};

use crate::config::model::MarkdownTables;
pub use crate::text::marks::Rendered;
use crate::text::marks::{FILLER, Style, is_reserved};
use crate::text::{flanks, tables};

/// Markdown in WhatsApp's marks.
pub fn to_whatsapp(text: &str, tables: MarkdownTables) -> String {
    render(text, tables).whole()
}

/// Renders Markdown; it is cut and sent by [`Rendered::chunks`].
pub fn render(text: &str, tables: MarkdownTables) -> Rendered {
    let text = text.replace(is_reserved, "");
    if text.trim().is_empty() {
        return Rendered(text);
    }
    let listed = tables::convert(&text, tables);
    let source = readable(&listed);
    let mut writer = Writer::new(&source);
    let options = Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    for (event, place) in Parser::new_ext(&source, options).into_offset_iter() {
        writer.take(event, place);
    }
    let end = if listed == text { &text[text.trim_end().len()..] } else { "" };
    Rendered(writer.finish() + end)
}

/// The text as the parser shall read it. What stands before a `<` that begins a line, or before the blanks that begin the text,
/// keeps Markdown in HTML alive and the first line where it is; it vanishes with the other reserved characters.
fn readable(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    if text.starts_with([' ', '\t']) {
        out.push(FILLER);
    }
    for line in text.split_inclusive('\n') {
        let begin = line.len() - line.trim_start_matches(|c: char| " \t>*+-.)".contains(c) || c.is_ascii_digit()).len();
        let (before, rest) = line.split_at(begin);
        out.push_str(before);
        if rest.starts_with('<') {
            out.push(FILLER);
        }
        out.push_str(rest);
    }
    flanks::mend(&out)
}

/// Lists within lists are indented up to here: a text of nothing but list marks must not grow with its square.
const DEEPEST: usize = 10;

/// What a block that ended asks of the source between it and the next one.
#[derive(Clone, Copy)]
enum Spacing {
    /// As many line breaks as there are.
    Kept,
    /// One less: the closing fence has brought one.
    OneLess,
}

/// How a link ends.
enum Link {
    /// An address in angle brackets.
    Bare,
    /// No address to follow: it stays as it was written.
    Refused(String),
    /// The address, and where the label begins.
    Shown(String, usize),
}

struct Writer<'a> {
    source: &'a str,
    /// The text without its styles.
    out: String,
    /// What of it holds which style.
    spans: Vec<(Range<usize>, Style)>,
    /// Styles around this place, the outer one first, and where they begin.
    styles: Vec<(Style, usize)>,
    /// Lists around this place: the next number, or none for bullets.
    lists: Vec<Option<u64>>,
    /// Items (`true`) and quotes around this place.
    inside: Vec<bool>,
    links: Vec<Link>,
    /// The address that was written last.
    address: Range<usize>,
    /// Where the code block around this place begins.
    code: Option<usize>,
    /// Line breaks that the next block needs before it.
    gap: usize,
    /// End of a block in the source whose distance to the next one counts.
    spaced: Option<(usize, Spacing)>,
    /// The bullet or `> ` that was written last: a block may begin right behind it.
    prefix: Range<usize>,
    /// Where `||` stands, and in which block.
    bars: Vec<(usize, usize)>,
    block: usize,
    /// End of the source whose text is written.
    done: usize,
}

impl<'a> Writer<'a> {
    fn new(source: &'a str) -> Self {
        Self {
            source,
            out: String::with_capacity(source.len() + source.len() / 8),
            spans: Vec::new(),
            styles: Vec::new(),
            lists: Vec::new(),
            inside: Vec::new(),
            links: Vec::new(),
            address: 0..0,
            code: None,
            gap: 0,
            spaced: None,
            prefix: 0..0,
            bars: Vec::new(),
            block: 0,
            done: 0,
        }
    }

    /// Writes the line breaks that are due before what starts at `start` of the source.
    fn begin(&mut self, start: usize) {
        if let Some((end, spacing)) = self.spaced.take() {
            let breaks = self.source.get(end..start).unwrap_or_default().matches('\n').count();
            self.gap = match spacing {
                Spacing::Kept => breaks,
                Spacing::OneLess => breaks.saturating_sub(1),
            };
            self.gap = self.gap.max(1);
        }
        if !self.out.is_empty() && self.gap > 0 {
            let there = self.out.len() - self.out.trim_end_matches('\n').len();
            self.out.extend(std::iter::repeat_n('\n', self.gap.saturating_sub(there)));
        }
        self.gap = 0;
    }

    /// Begins a block, on a line of its own unless a bullet or `> ` has just been written.
    fn begin_block(&mut self, start: usize) {
        self.block += 1;
        if self.prefix.end != self.out.len() {
            self.gap = self.gap.max(1);
        }
        self.begin(start);
    }

    fn write_prefix(&mut self, prefix: &str) {
        let start = self.out.len();
        self.out.push_str(prefix);
        self.prefix = start..self.out.len();
    }

    fn open(&mut self, style: Style) {
        self.styles.push((style, self.out.len()));
    }

    fn close(&mut self, style: Style) {
        let Some(at) = self.styles.iter().rposition(|(s, _)| *s == style) else { return };
        let (_, start) = self.styles.remove(at);
        // One that is nested in itself is written once.
        if self.styles.iter().any(|(s, _)| *s == style) {
            return;
        }
        // An address that ends what is styled stands behind it.
        let end = if self.address.end == self.out.len() { self.address.start } else { self.out.len() };
        let whole = |last: &Range<usize>| self.styles.iter().all(|(_, start)| *start <= last.start);
        match self.spans.last_mut() {
            Some((last, of)) if *of == style && last.end == start && whole(last) => last.end = end.max(last.end),
            _ if start < end => self.spans.push((start..end, style)),
            _ => {}
        }
    }

    fn text(&mut self, text: &str, start: usize) {
        // An escaped mark keeps its backslash: WhatsApp knows no other way to show the mark itself.
        let escaped = start > self.done && self.source[..start].ends_with('\\');
        if escaped && text.starts_with(['*', '_', '~', '`']) {
            self.out.push('\\');
        }
        let from = self.out.len();
        self.write(text);
        self.bars.extend(self.out[from..].match_indices("||").map(|(at, _)| (from + at, self.block)));
    }

    fn write(&mut self, text: &str) {
        self.out.extend(text.split(|c| is_reserved(c) || flanks::is_helper(c)));
    }

    fn take(&mut self, event: Event<'_>, place: Range<usize>) {
        let leaf = !matches!(event, Event::Start(_) | Event::End(_));
        if leaf {
            self.begin(place.start);
        }
        let end = place.end;
        match event {
            Event::Start(tag) => self.start(tag, place),
            Event::End(tag) => self.end(tag, place),
            Event::Text(text) if self.code.is_some() => self.write(&text),
            Event::Text(text) => self.text(&text, place.start),
            Event::Code(code) => {
                self.open(Style::Code);
                self.write(&code);
                self.close(Style::Code);
            }
            // WhatsApp's styles end with the line; `finish` sees to that.
            Event::SoftBreak | Event::HardBreak => self.out.push('\n'),
            Event::Rule => {
                self.begin_block(place.start);
                self.out.push_str("───");
                self.gap = 2;
            }
            Event::Html(html) | Event::InlineHtml(html) => match tag_name(&html).as_str() {
                "u" | "ins" => {}
                "br" => self.out.push('\n'),
                _ => self.write(&html),
            },
            Event::TaskListMarker(_) => {
                // The box stands for the bullet.
                self.out.truncate(self.prefix.start);
                let source = self.source;
                self.write_prefix(&source[place]);
                if source[end..].starts_with([' ', '\t']) {
                    self.out.push(' ');
                }
            }
            Event::InlineMath(text) | Event::DisplayMath(text) | Event::FootnoteReference(text) => self.write(&text),
        }
        if leaf {
            self.done = end;
        }
    }

    fn start(&mut self, tag: Tag<'_>, place: Range<usize>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.begin_block(place.start),
            Tag::Heading { .. } => {
                self.begin_block(place.start);
                self.open(Style::Bold);
            }
            Tag::BlockQuote(_) => {
                self.begin_block(place.start);
                self.write_prefix("> ");
                self.inside.push(false);
            }
            Tag::CodeBlock(_) => {
                self.begin_block(place.start);
                self.out.push_str("```\n");
                self.code = Some(self.out.len());
            }
            Tag::List(first) => {
                if !self.lists.is_empty() {
                    self.gap = self.gap.max(1);
                }
                self.lists.push(first);
            }
            Tag::Item => {
                self.begin_block(place.start);
                self.inside.push(true);
                self.out.push_str(&"  ".repeat(self.lists.len().saturating_sub(1).min(DEEPEST)));
                match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let prefix = format!("{number}. ");
                        *number += 1;
                        self.write_prefix(&prefix);
                    }
                    _ => self.write_prefix("• "),
                }
            }
            Tag::Emphasis => self.styled(Style::Italic, place.start),
            Tag::Strong => self.styled(Style::Bold, place.start),
            Tag::Strikethrough => self.styled(Style::Strike, place.start),
            Tag::Link { link_type, dest_url, .. } => {
                self.begin(place.start);
                let address = dest_url.replace(flanks::is_helper, "").replace(' ', "%20");
                self.links.push(if matches!(link_type, LinkType::Autolink | LinkType::Email) {
                    self.out.push('<');
                    Link::Bare
                } else if is_refused(&address) {
                    self.out.push('[');
                    Link::Refused(address)
                } else {
                    Link::Shown(address, self.out.len())
                });
            }
            _ => {}
        }
    }

    fn styled(&mut self, style: Style, start: usize) {
        self.begin(start);
        self.open(style);
    }

    fn end(&mut self, tag: TagEnd, place: Range<usize>) {
        let source_end = |source: &str| source[..place.end].trim_end().len();
        match tag {
            TagEnd::Paragraph if self.inside.last() == Some(&false) && !self.lists.is_empty() => self.gap = 1,
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.gap = 2,
            TagEnd::BlockQuote(_) => {
                self.inside.pop();
                self.gap = if self.lists.is_empty() { 2 } else { self.gap.max(1) };
            }
            TagEnd::Heading(_) => {
                self.close(Style::Bold);
                self.spaced = Some((source_end(self.source), Spacing::Kept));
            }
            TagEnd::CodeBlock => {
                if !self.out.ends_with('\n') || self.code == Some(self.out.len()) {
                    self.out.push('\n');
                }
                self.out.push_str("```");
                self.code = None;
                self.spaced = Some((source_end(self.source), Spacing::OneLess));
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.gap = if self.lists.is_empty() { 2 } else { self.gap.max(1) };
            }
            TagEnd::Item => {
                self.inside.pop();
                self.gap = self.gap.max(1);
            }
            TagEnd::Emphasis => self.close(Style::Italic),
            TagEnd::Strong => self.close(Style::Bold),
            TagEnd::Strikethrough => self.close(Style::Strike),
            TagEnd::Link => match self.links.pop() {
                Some(Link::Bare) => self.out.push('>'),
                Some(Link::Refused(address)) => self.out.push_str(&format!("]({address})")),
                Some(Link::Shown(address, from)) => self.show_address(&address, from),
                None => {}
            },
            _ => {}
        }
    }

    fn show_address(&mut self, address: &str, from: usize) {
        let label = &self.out[from..];
        let start = self.out.len();
        if label.is_empty() {
            self.out.push_str(address);
        } else if !address.is_empty() && label != address && Some(label) != address.strip_prefix("mailto:") {
            self.out.push_str(&format!(" ({address})"));
            self.address = start..self.out.len();
        }
    }

    /// The text with its styles as reserved characters.
    fn finish(self) -> String {
        let hidden = spoilers(&self.out, &self.bars);
        let mut pieces: Vec<(usize, usize, Style)> = Vec::with_capacity(self.spans.len());
        for (span, style) in self.spans {
            let mut start = span.start;
            for line in self.out[span].split_inclusive('\n') {
                let text = line.trim_end_matches('\n').len();
                pieces.push((start, start + text, style));
                start += line.len();
            }
        }
        pieces.sort_by_key(|&(start, end, style)| (start, Reverse(end), style));
        // Blanks that end the text go, but not those of code.
        let code = pieces.iter().filter(|(.., style)| *style == Style::Code).map(|(_, end, _)| *end).max();
        let end = self.out.trim_end().len().max(code.unwrap_or(0));
        let mut copy = Copy { text: &self.out[..end], at: 0, hidden: &hidden, done: String::new() };
        let mut open: Vec<(usize, Style)> = Vec::new();
        for (start, end, style) in pieces {
            while let Some((end, style)) = open.pop_if(|(end, _)| *end <= start) {
                copy.until(end, &style.close());
            }
            copy.until(start, &style.open());
            open.push((end, style));
        }
        while let Some((end, style)) = open.pop() {
            copy.until(end, &style.close());
        }
        copy.until(usize::MAX, "");
        copy.done
    }
}

/// Copies a text without what is hidden.
struct Copy<'a> {
    text: &'a str,
    at: usize,
    /// Where `||` is left out.
    hidden: &'a [usize],
    done: String,
}

impl Copy<'_> {
    /// Copies up to `end`, then writes `mark`.
    fn until(&mut self, end: usize, mark: &str) {
        let end = end.min(self.text.len());
        while let Some((&bars, rest)) = self.hidden.split_first().filter(|(bars, _)| **bars < end) {
            self.done.push_str(self.text.get(self.at..bars).unwrap_or_default());
            (self.at, self.hidden) = (bars + 2, rest);
        }
        if self.at < end {
            self.done.push_str(&self.text[self.at..end]);
            self.at = end;
        }
        self.done.push_str(mark);
    }
}

/// `||hidden||`, as other programs write it, is shown: WhatsApp cannot hide. Gives the bars that hug something within their block.
fn spoilers(text: &str, bars: &[(usize, usize)]) -> Vec<usize> {
    let blank = |c: Option<char>| c.is_none_or(char::is_whitespace);
    let (mut hidden, mut open) = (Vec::new(), None);
    for &(at, block) in bars {
        match open {
            Some((start, of)) if of == block && !blank(text[..at].chars().next_back()) && at > start + 2 => {
                hidden.extend([start, at]);
                open = None;
            }
            _ => open = Some((at, block)).filter(|_| !blank(text[at + 2..].chars().next())),
        }
    }
    hidden
}

/// The name of an HTML tag in lower case.
fn tag_name(html: &str) -> String {
    let name = html.trim_start_matches(['<', '/']);
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(name.len());
    name[..end].to_ascii_lowercase()
}

/// Addresses that lead nowhere from a phone.
fn is_refused(address: &str) -> bool {
    let scheme = address.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
    address.contains(':') && ["javascript", "vbscript", "file", "data"].contains(&scheme.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::config::model::ChunkMode;

    fn check(markdown: &str, want: &str) {
        assert_eq!(to_whatsapp(markdown, MarkdownTables::Bullets), want, "{markdown:?}");
    }

    #[test]
    fn styles() {
        check("**b** *i* ~~s~~ `c`", "*b* _i_ ~s~ ```c```");
        check("***both*** _**x**_ ~~**y**~~", "*_both_* *_x_* *~y~*");
        check("# **T** x", "*T x*");
        check("**a `c` b** `  c  `", "*a ```c``` b* ``` c ```");
        check("**one\ntwo**", "*one*\n*two*");
        check("2 * 3 * 4 and snake_case", "2 * 3 * 4 and snake_case");
        check("a \\* b", "a \\* b");
    }

    #[test]
    fn tags_and_spoilers() {
        check("<u>under</u> <U class=x>y</U> <b>", "under y <b>");
        check("a<br>b", "a\nb");
        check("<p>**x**</p>\n\n<div>\n**y**\n</div>", "<p>*x*</p>\n\n<div>\n*y*\n</div>");
        check("a || b || c ||hidden|| ||**x**||", "a || b || c hidden *x*");
        check("||a\nb||\n\n||c\n\nd||", "a\nb\n\n||c\n\nd||");
    }

    #[test]
    fn lists() {
        check("Title:\n\n- a\n- b\n\nend", "Title:\n\n• a\n• b\n\nend");
        check("1. a\n2. b\n   - c\n\nend", "1. a\n2. b\n  • c\n\nend");
        check("- a\n\n  more\n\n- b", "• a\n\nmore\n\n• b");
        check("- a\n\n  - b\n\n1. c", "• a\n\n  • b\n\n1. c");
        check("- [x] done\n- [ ] **open**\n  - [X] sub", "[x] done\n[ ] *open*\n  [X] sub");
        check("- a\n  ```\n  c\n  ```\n- b", "• a\n```\nc\n```\n• b");
        check("- # h\n  t", "• *h*\nt");
        check("- a\n  > q\n- b", "• a\n> q\n• b");
    }

    #[test]
    fn a_text_of_list_marks_does_not_explode() {
        let text = "1. ".repeat(20_000);
        assert!(to_whatsapp(&text, MarkdownTables::Bullets).len() < 20 * text.len());
    }

    #[test]
    fn blocks() {
        check("# a\nb\n## c\n\nd", "*a*\nb\n\n*c*\n\nd");
        check("a\n\n---\n\nb", "a\n\n───\n\nb");
        check("```py\nx = **1**\n```\nafter", "```\nx = **1**\n```\nafter");
        check("```\n```", "```\n\n```");
        check("*a*\n\n    indented", "_a_\n\n```\nindented\n```");
        check("> a\n>\n> | A | B |\n> |---|---|\n> | 1 | 2 |\n>\n> b", "> a\n\n*1*\n• B: 2\n\n> b");
        check("> | A | B |\n> |---|---|\n> | 1 | 2 |", "> *1*\n• B: 2");
        check("  a **b** \n", "  a *b* \n");
        check("a\r\nb\n\n\n\nc", "a\nb\n\nc");
    }

    #[test]
    fn links() {
        check("[a](https://u) [https://u](https://u) <https://u>", "a (https://u) https://u <https://u>");
        check("[a](mailto:x@y.z) [x@y.z](mailto:x@y.z) [](https://u) [b]()", "a (mailto:x@y.z) x@y.z https://u b");
        check("**[a](u)** *b [c](v)* **[d](w) e**", "*a* (u) _b c_ (v) *d (w) e*");
        check("[a](<b c>) [x](javascript:alert(1))", "a (b%20c) [x](javascript:alert(1))");
    }

    #[test]
    fn east_asian_text() {
        check("これは**「強調」**です。**注意！**请看 ~~取消！~~了", "これは*「強調」*です。*注意！*请看 ~取消！~了");
    }

    #[test]
    fn plain_text_is_left_alone() {
        for text in ["", "hello\n\n  ", " \n ", "a  b\nc", "50% of 3, ok?", "x\u{1039f}"] {
            check(text, &text.replace('\u{1039f}', ""));
        }
    }

    #[test]
    fn a_style_goes_on_in_the_next_message() {
        let text = "**bold text that is long enough to be split** tail";
        let parts = render(text, MarkdownTables::Bullets).chunks(24, ChunkMode::Length);
        assert_eq!(parts, ["*bold text that is*", "*long enough to be*", "*split* tail"]);
    }

    #[test]
    fn a_text_cannot_forge_the_placeholders() {
        check("\u{fdd0}x\u{fdd1} **y**", "x *y*");
        check("\u{fdd0}x", "x");
    }

    proptest! {
        #[test]
        fn no_part_is_too_long(text in "([a-z*_~` \\n|#>-]|\\*\\*|```\\n){0,300}", limit in 12_usize..60) {
            for part in render(&text, MarkdownTables::Bullets).chunks(limit, ChunkMode::Length) {
                prop_assert!(part.encode_utf16().count() <= limit, "{part:?}");
                prop_assert!(!part.chars().any(is_reserved), "{part:?}");
            }
        }

        #[test]
        fn any_text_is_rendered(text in any::<String>()) {
            to_whatsapp(&text, MarkdownTables::Code);
            to_whatsapp(&text, MarkdownTables::Bullets);
        }
    }
}
