//! Kinds and names of files, and the lines by which a model names them.

use verso::media::kind;
use verso::text::media_lines;

use super::common::*;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "mediaKindFromMime" => (kind_of, NEVER),
        "extensionForMime" => (extension, NEVER),
        "splitMediaFromOutput" => (split, NEVER),
        _ => return None,
    })
}

fn kind_of(mime: &Value) -> Outcome {
    Ok(kind::kind_of(text(mime)).map_or(json!("unknown"), |kind| json!(kind)))
}

fn extension(mime: &Value) -> Outcome {
    Ok(json!(kind::extension_of(text(mime)).map(|extension| format!(".{extension}"))))
}

fn split(answer: &Value) -> Outcome {
    let media_lines::Split { text, sources } = media_lines::split(text(answer));
    Ok(match sources.first() {
        Some(first) => json!({ "text": text, "mediaUrls": sources, "mediaUrl": first }),
        None => json!({ "text": text }),
    })
}
