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
            NEVER,
        ),
        "markdownToWhatsApp(text, bullets)" => {
            (|i| Ok(json!(markdown::to_whatsapp(text(&i["text"]), MarkdownTables::Bullets))), code_in_a_style)
        }
        "markdownToWhatsAppChunks(text, limit, bullets, mode)" => (
            |i| {
                let mode = if text(&i["mode"]) == "newline" { ChunkMode::Newline } else { ChunkMode::Length };
                let limit = i["limit"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
                Ok(json!(markdown::render(text(&i["text"]), MarkdownTables::Bullets).chunks(limit, mode)))
            },
            cut_styles,
        ),
        _ => return None,
    })
}

/// Code within another style: the original writes the style's mark inside the code, where WhatsApp shows it.
fn code_in_a_style(_: &Value, expected: &Value) -> Option<&'static str> {
    let text = text(expected);
    let marked = ["```*", "```_", "```~"].iter().any(|mark| text.contains(mark));
    marked.then_some("21 known oddities: a mark inside code")
}

fn cut_styles(_: &Value, expected: &Value) -> Option<&'static str> {
    let parts = strings(expected);
    if parts.iter().any(|part| part.ends_with(['*', '_', '~']) && part.trim_end_matches(['*', '_', '~']).ends_with(' '))
    {
        return Some("21 known oddities: a mark behind a blank formats nothing");
    }
    let cut = |part: &&str| part.ends_with("```") && !part.ends_with("\n```");
    parts.iter().any(cut).then_some("21 known oddities: fences are cut mid-word")
}
