//! Markdown in WhatsApp's marks.

use super::common::*;
use verso::text::{markdown, tables};

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "convertMarkdownTables" => (
            |i| {
                let mode = match text(&i["mode"]) {
                    "off" => MarkdownTables::Off,
                    "code" => MarkdownTables::Code,
                    _ => MarkdownTables::Bullets,
                };
                Ok(json!(tables::convert(text(&i["text"]), mode)))
            },
            around_tables,
        ),
        "markdownToWhatsApp(text, bullets)" => {
            (|i| Ok(json!(markdown::to_whatsapp(text(&i["text"]), MarkdownTables::Bullets))), other_marks)
        }
        "markdownToWhatsAppChunks(text, limit, bullets, mode)" => (
            |i| {
                let mode = if text(&i["mode"]) == "newline" { ChunkMode::Newline } else { ChunkMode::Length };
                let limit = i["limit"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
                Ok(json!(markdown::render(text(&i["text"]), MarkdownTables::Bullets).chunks(limit, mode)))
            },
            other_cuts,
        ),
        _ => return None,
    })
}

/// What stands around and in tables stays as it was written: it is rendered later, with the rest.
fn around_tables(input: &Value, expected: &Value) -> Option<&'static str> {
    let shown = |text: &str| {
        let whole = markdown::to_whatsapp(text, MarkdownTables::Off);
        whole.chars().filter(|c| !c.is_whitespace() && !"*_~`#>•-".contains(*c)).collect::<String>()
    };
    let (markdown, mode) = (text(&input["text"]), text(&input["mode"]));
    let mode = if mode == "code" { MarkdownTables::Code } else { MarkdownTables::Bullets };
    let rendered = shown(&tables::convert(markdown, mode)) == shown(text(expected));
    let marked = markdown.contains(['*', '_', '`', '#', '>', '~', '[', '-']);
    (rendered && marked && markdown.contains('|')).then_some("21 Markdown around a table is rendered later")
}

/// Marks that WhatsApp shows instead of a style, and what Verso renders otherwise on purpose.
fn other_marks(input: &Value, expected: &Value) -> Option<&'static str> {
    let (markdown, text) = (text(&input["text"]), text(expected));
    if ["```*", "```_", "```~"].iter().any(|mark| text.contains(mark)) {
        return Some("21 known oddities: a mark inside code");
    }
    // Outside code: every second part between fences.
    let plain: Vec<&str> = text.split("```").step_by(2).collect();
    let marks = ['*', '_', '~'];
    if text.contains("\n```") && plain.iter().skip(1).any(|after| !after.is_empty() && !after.starts_with('\n')) {
        return Some("21 known oddities: a text goes on in a fence's last line");
    }
    if ["**", "__", "~~"].iter().any(|mark| plain.iter().any(|part| part.contains(mark))) {
        return Some("21 known oddities: marks doubled");
    }
    if marks.iter().any(|mark| plain.iter().any(|part| part.contains(&format!("){mark} ")))) {
        return Some("21 known oddities: a mark between an address and a blank");
    }
    let open = |line: &str| marks.iter().any(|mark| line.matches(*mark).count() % 2 == 1);
    if markdown.contains('\n') && plain.iter().any(|part| part.lines().any(open)) {
        return Some("21 WhatsApp's styles end with the line");
    }
    if markdown.to_lowercase().contains("<br") {
        return Some("21 a line break in HTML is one");
    }
    if markdown.contains("[](") {
        return Some("21 an address without a label is shown");
    }
    markdown.contains("||").then_some("21 bars that hug nothing are no spoiler")
}

/// Styled text is cut where plain text is; what it says is the same.
fn other_cuts(input: &Value, expected: &Value) -> Option<&'static str> {
    let parts = strings(expected);
    let said = |text: &str| text.chars().filter(|c| !c.is_whitespace() && !"*_~`".contains(*c)).collect::<String>();
    let styled = parts.iter().any(|part| part.contains(['*', '_', '~', '`']));
    let whole = markdown::to_whatsapp(text(&input["text"]), MarkdownTables::Bullets);
    if styled && said(&parts.concat()) == said(&whole) {
        return Some("12.4 styled text is cut as plain text is");
    }
    (parts.len() == 1 && input["mode"] == "newline").then_some("12.4 in newline mode every paragraph is a message")
}
