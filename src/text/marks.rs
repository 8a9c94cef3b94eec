//! WhatsApp's marks: `*bold*`, `_italic_`, `~struck~`, ` ```code``` `.
//!
//! Styles are first written as characters that no text holds. A text is cut with those in it, so that a style which goes on in
//! the next message is closed in the first and opened again in the second; only then do they become marks.

use crate::config::model::ChunkMode;
use crate::text::chunk;

/// Markdown in WhatsApp's marks, on its way to the messages it becomes.
#[derive(Clone, Debug)]
pub struct Rendered(pub(super) String);

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
        // A long mark may be cut itself: its fillers then lie in the next piece.
        let most = 2 * self.deepest() + if self.0.contains(FILLER) { 2 } else { 0 };
        let pieces = if most > 0 && limit > 0 && limit < most + ROOM {
            chunk::chunk(&self.0.replace(is_reserved, ""), limit, mode)
        } else if self.0.encode_utf16().count() > limit {
            chunk::chunk(&self.0, limit.saturating_sub(most), mode)
        } else {
            chunk::chunk(&self.0, limit, mode)
        };
        finish(pieces).into_iter().filter(|part| !part.trim().is_empty()).collect()
    }

    /// The whole text.
    pub fn whole(self) -> String {
        finish(vec![self.0]).concat()
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

/// What WhatsApp can show. Where two hold the same text, the first one stands outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Style {
    Bold,
    Italic,
    Strike,
    Code,
}

const STYLES: [Style; 4] = [Style::Bold, Style::Italic, Style::Strike, Style::Code];
/// Unicode's noncharacters: a style opens, closes, or takes the room of a longer mark.
const FIRST: u32 = 0xfdd0;
pub(super) const FILLER: char = '\u{fdd8}';

pub(super) fn is_reserved(c: char) -> bool {
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

    pub(super) fn open(self) -> String {
        self.placeholder(0)
    }

    pub(super) fn close(self) -> String {
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

/// Writes the marks. One that opens waits for the first character it holds: WhatsApp shows a mark beside a blank as it is, except around code.
fn finish(pieces: Vec<String>) -> Vec<String> {
    let mut styles: Vec<(Style, bool)> = Vec::new();
    let open = |out: &mut String, styles: &mut Vec<(Style, bool)>| {
        for (style, opened) in styles.iter_mut().filter(|(_, opened)| !opened) {
            out.push_str(style.mark());
            *opened = true;
        }
    };
    let close = |out: &mut String, style: Style| {
        let kept = if style == Style::Code { out.len() } else { out.trim_end_matches(' ').len() };
        let blank = out.split_off(kept);
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
                if !c.is_whitespace() || (c == ' ' && styles.iter().any(|(style, _)| *style == Style::Code)) {
                    open(&mut out, &mut styles);
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
