//! Markdown, as models write it, in WhatsApp's own marks (behaviour.md 12.3, 21).
//!
//! Styles are first written as characters that no text holds. A text is cut with those in it, so that a style which goes on in
//! the next message is closed in the first and opened again in the second; only then do they become `*`, `_`, `~` and `` ``` ``.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::config::model::{ChunkMode, MarkdownTables};
use crate::text::{chunk, tables};

/// Markdown in WhatsApp's marks.
pub fn to_whatsapp(text: &str, tables: MarkdownTables) -> String {
    render(text, tables).finish().concat()
}

/// Markdown in WhatsApp's marks, on its way to the messages it becomes.
#[derive(Clone, Debug)]
pub struct Rendered(String);

impl Rendered {
    /// A text that is sent as it is.
    pub fn plain(text: &str) -> Self {
        Self(text.replace(is_reserved, ""))
    }

    /// Puts `prefix` and a blank before it, unless it stands there already.
    pub fn prefixed(self, prefix: &str) -> Self {
        if prefix.is_empty() || self.0.starts_with(prefix) { self } else { Self(format!("{prefix} {}", self.0)) }
    }

    /// The messages: at most `limit` UTF-16 units each, 0 = one message.
    pub fn chunks(self, limit: usize, mode: ChunkMode) -> Vec<String> {
        let most = 2 * self.deepest();
        let pieces = if most > 0 && limit > 0 && limit < most + ROOM {
            chunk::chunk(&self.0.replace(is_reserved, ""), limit, mode)
        } else if self.0.encode_utf16().count() > limit {
            chunk::chunk(&self.0, limit.saturating_sub(most), mode)
        } else {
            chunk::chunk(&self.0, limit, mode)
        };
        finish(pieces).into_iter().filter(|part| !part.trim().is_empty()).collect()
    }

    fn finish(self) -> Vec<String> {
        finish(vec![self.0])
    }

    /// Most units that the open styles take anywhere.
    fn deepest(&self) -> usize {
        let (mut now, mut most) = (0_usize, 0);
        for c in self.0.chars() {
            if let Some(style) = Style::opened_by(c) {
                now += style.mark().len();
            } else if let Some(style) = Style::closed_by(c) {
                now = now.saturating_sub(style.mark().len());
            }
            most = most.max(now);
        }
        most
    }
}

/// Below so many units for the text itself, styles are left out rather than repeated in every message.
const ROOM: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Bold,
    Italic,
    Strike,
    Code,
}

const STYLES: [Style; 4] = [Style::Bold, Style::Italic, Style::Strike, Style::Code];
/// Unicode's noncharacters: a style opens, closes, or takes the room of a longer mark.
const FIRST: u32 = 0xfdd0;
const FILLER: char = '\u{fdd8}';

fn is_reserved(c: char) -> bool {
    ('\u{fdd0}'..='\u{fdef}').contains(&c)
}

impl Style {
    fn mark(self) -> &'static str {
        match self {
            Self::Bold => "*",
            Self::Italic => "_",
            Self::Strike => "~",
            Self::Code => "```",
        }
    }

    fn open(self) -> String {
        self.placeholder(0)
    }

    fn close(self) -> String {
        self.placeholder(1)
    }

    /// As long as the mark, so that lengths agree.
    fn placeholder(self, side: u32) -> String {
        let c = char::from_u32(FIRST + self as u32 * 2 + side).expect("a noncharacter is a char");
        let filler = self.mark().len() - 1;
        std::iter::once(c).chain(std::iter::repeat_n(FILLER, filler)).collect()
    }

    fn opened_by(c: char) -> Option<Self> {
        STYLES.into_iter().find(|s| u32::from(c) == FIRST + *s as u32 * 2)
    }

    fn closed_by(c: char) -> Option<Self> {
        STYLES.into_iter().find(|s| u32::from(c) == FIRST + *s as u32 * 2 + 1)
    }
}

/// Writes the marks. One that opens waits for the first character it holds: WhatsApp shows a mark beside a blank as it is.
fn finish(pieces: Vec<String>) -> Vec<String> {
    let mut styles: Vec<(Style, bool)> = Vec::new();
    let close = |out: &mut String, style: Style| {
        let blank = out.split_off(out.trim_end_matches(' ').len());
        out.push_str(style.mark());
        out.push_str(&blank);
    };
    let mut done = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let mut out = String::with_capacity(piece.len() + 8);
        for c in piece.chars() {
            if let Some(style) = Style::opened_by(c) {
                styles.push((style, false));
            } else if let Some(style) = Style::closed_by(c) {
                if let Some(at) = styles.iter().rposition(|(s, _)| *s == style)
                    && styles.remove(at).1
                {
                    close(&mut out, style);
                }
            } else if c != FILLER {
                if !c.is_whitespace() {
                    for (style, opened) in styles.iter_mut().filter(|(_, opened)| !opened) {
                        out.push_str(style.mark());
                        *opened = true;
                    }
                }
                out.push(c);
            }
        }
        for (style, opened) in styles.iter_mut().rev() {
            if std::mem::take(opened) {
                close(&mut out, *style);
            }
        }
        done.push(out);
    }
    done
}

/// Renders Markdown; it is cut and sent by [`Rendered::chunks`].
pub fn render(text: &str, tables: MarkdownTables) -> Rendered {
    let text = text.replace(is_reserved, "");
    if !may_be_markdown(&text) {
        return Rendered(text);
    }
    let text = tables::convert(&text, tables);
    let mut writer = Writer::new(&text);
    for (event, place) in Parser::new_ext(&text, Options::ENABLE_STRIKETHROUGH).into_offset_iter() {
        writer.take(event, place);
    }
    Rendered(writer.out.trim_end().to_owned())
}

/// Whatever formats needs one of these somewhere, or at the start of a line.
fn may_be_markdown(text: &str) -> bool {
    let starts = |line: &str| {
        let line = line.trim_start();
        line.starts_with(['-', '+', '=']) || line.starts_with(|c: char| c.is_ascii_digit())
    };
    text.contains(['*', '_', '~', '`', '#', '>', '|', '[', '<', '&', '\\'])
        || text.contains("  \n")
        || text.lines().any(starts)
}

struct Writer<'a> {
    source: &'a str,
    out: String,
    /// Lists around this place: the next number, or none for bullets.
    lists: Vec<Option<u64>>,
    /// Styles around this place, the outer one first; one that is nested in itself is written once.
    styles: Vec<Style>,
    /// Addresses of the links around this place, and where their text begins.
    links: Vec<(String, usize)>,
    /// Code blocks around this place are shown between fences.
    fenced: Option<bool>,
    /// Line breaks that the next block needs before it.
    gap: usize,
    /// End of the source whose text is written.
    done: usize,
}

impl<'a> Writer<'a> {
    fn new(source: &'a str) -> Self {
        Self {
            source,
            out: String::with_capacity(source.len() + source.len() / 8),
            lists: Vec::new(),
            styles: Vec::new(),
            links: Vec::new(),
            fenced: None,
            gap: 0,
            done: 0,
        }
    }

    /// Begins a block: as many line breaks as the block before asked for.
    fn block(&mut self) {
        if !self.out.is_empty() {
            let there = self.out.len() - self.out.trim_end_matches('\n').len();
            self.out.extend(std::iter::repeat_n('\n', self.gap.saturating_sub(there)));
        }
        self.gap = 0;
    }

    fn style(&mut self, style: Style, on: bool) {
        if on {
            if !self.styles.contains(&style) {
                self.out.push_str(&style.open());
            }
            self.styles.push(style);
        } else if let Some(at) = self.styles.iter().rposition(|s| *s == style) {
            self.styles.remove(at);
            if !self.styles.contains(&style) {
                self.out.push_str(&style.close());
            }
        }
    }

    /// A line break; WhatsApp's styles end with the line.
    fn line_break(&mut self) {
        let mut open: Vec<Style> = Vec::new();
        for style in &self.styles {
            if !open.contains(style) {
                open.push(*style);
            }
        }
        open.iter().rev().for_each(|style| self.out.push_str(&style.close()));
        self.out.push('\n');
        open.iter().for_each(|style| self.out.push_str(&style.open()));
    }

    fn text(&mut self, text: &str, start: usize) {
        // An escaped mark keeps its backslash: WhatsApp knows no other way to show the mark itself.
        let escaped = start > self.done && self.source[..start].ends_with('\\');
        if escaped && text.starts_with(['*', '_', '~', '`']) {
            self.out.push('\\');
        }
        self.out.push_str(&without_spoilers(text));
    }

    fn take(&mut self, event: Event<'_>, place: std::ops::Range<usize>) {
        let leaf = !matches!(event, Event::Start(_) | Event::End(_));
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.fenced.is_some() => self.out.push_str(&text),
            Event::Text(text) => self.text(&text, place.start),
            Event::Code(code) => {
                self.style(Style::Code, true);
                self.out.push_str(&code);
                self.style(Style::Code, false);
            }
            Event::SoftBreak | Event::HardBreak => self.line_break(),
            Event::Rule => {
                self.block();
                self.out.push_str("───");
                self.gap = 2;
            }
            Event::Html(html) | Event::InlineHtml(html) => match html.trim().to_ascii_lowercase().as_str() {
                "<u>" | "</u>" | "<ins>" | "</ins>" => {}
                "<br>" | "<br/>" | "<br />" => self.line_break(),
                _ => self.out.push_str(&html),
            },
            Event::TaskListMarker(done) => self.out.push_str(if done { "[x] " } else { "[ ] " }),
            Event::InlineMath(text) | Event::DisplayMath(text) | Event::FootnoteReference(text) => {
                self.out.push_str(&text)
            }
        }
        if leaf {
            self.done = place.end;
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.block(),
            Tag::Heading { .. } => {
                self.block();
                self.style(Style::Bold, true);
            }
            Tag::BlockQuote(_) => {
                self.block();
                self.out.push_str("> ");
            }
            Tag::CodeBlock(kind) => {
                self.block();
                let fenced = matches!(kind, CodeBlockKind::Fenced(_));
                if fenced {
                    self.out.push_str("```\n");
                }
                self.fenced = Some(fenced);
            }
            Tag::List(first) => {
                if !self.lists.is_empty() {
                    self.gap = 1;
                }
                self.lists.push(first);
            }
            Tag::Item => {
                self.block();
                self.out.push_str(&"  ".repeat(self.lists.len().saturating_sub(1)));
                match self.lists.last_mut() {
                    Some(Some(number)) => {
                        self.out.push_str(&format!("{number}. "));
                        *number += 1;
                    }
                    _ => self.out.push_str("• "),
                }
            }
            Tag::Emphasis => self.style(Style::Italic, true),
            Tag::Strong => self.style(Style::Bold, true),
            Tag::Strikethrough => self.style(Style::Strike, true),
            Tag::Link { link_type, dest_url, .. } => {
                let bare = matches!(link_type, pulldown_cmark::LinkType::Autolink | pulldown_cmark::LinkType::Email);
                if bare {
                    self.out.push('<');
                }
                let address = if bare { String::new() } else { dest_url.into_string() };
                self.links.push((address, self.out.len()));
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            // Within a list the lines follow one another.
            TagEnd::Paragraph if !self.lists.is_empty() => self.gap = 1,
            TagEnd::Paragraph | TagEnd::HtmlBlock | TagEnd::BlockQuote(_) => self.gap = 2,
            TagEnd::Heading(_) => {
                self.style(Style::Bold, false);
                self.gap = 2;
            }
            TagEnd::CodeBlock => {
                if !self.out.ends_with('\n') {
                    self.out.push('\n');
                }
                let fenced = self.fenced.take() == Some(true);
                if fenced {
                    self.out.push_str("```");
                }
                self.gap = if fenced { 1 } else { 2 };
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.gap = if self.lists.is_empty() { 2 } else { 1 };
            }
            TagEnd::Item => self.gap = 1,
            TagEnd::Emphasis => self.style(Style::Italic, false),
            TagEnd::Strong => self.style(Style::Bold, false),
            TagEnd::Strikethrough => self.style(Style::Strike, false),
            TagEnd::Link => {
                let Some((address, from)) = self.links.pop() else { return };
                let label = self.out[from..].replace(is_reserved, "");
                let shown = address.strip_prefix("mailto:").unwrap_or(&address);
                if address.is_empty() {
                    self.out.push('>');
                } else if label.is_empty() {
                    self.out.push_str(shown);
                } else if label != shown {
                    self.out.push_str(&format!(" ({shown})"));
                }
            }
            _ => {}
        }
    }
}

/// `||hidden||`, as other programs write it, is shown: WhatsApp cannot hide.
fn without_spoilers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find("||") {
        let inner = &rest[open + 2..];
        let hugged = |hidden: &&str| {
            !hidden.is_empty() && !hidden.starts_with(char::is_whitespace) && !hidden.ends_with(char::is_whitespace)
        };
        match inner.find("||").map(|close| &inner[..close]).filter(hugged) {
            Some(hidden) => {
                out.push_str(&rest[..open]);
                out.push_str(hidden);
                rest = &inner[hidden.len() + 2..];
            }
            None => {
                out.push_str(&rest[..open + 2]);
                rest = inner;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(markdown: &str, want: &str) {
        assert_eq!(to_whatsapp(markdown, MarkdownTables::Bullets), want, "{markdown:?}");
    }

    #[test]
    fn styles() {
        check("**b** *i* ~~s~~ `c`", "*b* _i_ ~s~ ```c```");
        check("***both***", "_*both*_");
        check("# **T** x", "*T x*");
        check("**a `c` b**", "*a ```c``` b*");
        check("**one\ntwo**", "*one*\n*two*");
        check("<u>under</u> <b>", "under <b>");
        check("a || b || c ||hidden||", "a || b || c hidden");
        check("2 * 3 * 4 and snake_case", "2 * 3 * 4 and snake_case");
    }

    #[test]
    fn blocks() {
        check("Title:\n\n- a\n- b\n\nend", "Title:\n\n• a\n• b\n\nend");
        check("1. a\n\n2. b\n   - c\n\nend", "1. a\n2. b\n  • c\n\nend");
        check("- a\n\n  more\n- b", "• a\nmore\n• b");
        check("a\n\n---\n\nb", "a\n\n───\n\nb");
        check("- [x] done\n- [ ] open", "• [x] done\n• [ ] open");
        check("```py\nx = **1**\n```\nafter", "```\nx = **1**\n```\nafter");
        check("*a*\n\n    indented", "_a_\n\nindented");
        check("[a](mailto:x@y.z) [x@y.z](mailto:x@y.z) [](https://u)", "a (x@y.z) x@y.z https://u");
    }

    #[test]
    fn plain_text_is_left_alone() {
        for text in ["", "hello\n\n\n  there", "a  b\nc", "50% of 3, ok?"] {
            check(text, text);
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
