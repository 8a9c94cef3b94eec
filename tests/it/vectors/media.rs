//! Kinds and names of files, and the lines by which a model names them.

use verso::media::kind;
use verso::text::media_lines;

use super::common::*;

pub fn functions(name: &str) -> Option<(Run, Deviation)> {
    Some(match name {
        "mediaKindFromMime" => (kind_of, NEVER),
        "extensionForMime" => {
            (extension, |_, e| e.is_null().then_some("14.1 more types are known, with parameters too"))
        }
        "splitMediaFromOutput" => (split, |i, e| {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let kept = words(&media_lines::split(text(i)).text) == words(text(&e["text"]));
            (kept && e["mediaUrl"].is_string()).then_some("14.2 a MEDIA line takes only itself away")
        }),
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
    let media_lines::Split { text, sources, voice } = media_lines::split(text(answer));
    let sources: Vec<String> = sources.into_iter().map(|source| source.place).collect();
    let urls = sources.first().map(|_| &sources);
    Ok(json!({ "text": text, "mediaUrls": urls, "mediaUrl": sources.first(), "audioAsVoice": voice.then_some(true) }))
}
