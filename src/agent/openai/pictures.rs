//! Received pictures as parts of the question, for models that can see.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::event::SavedMedia;

/// Forms that all providers take.
const FORMS: [&str; 4] = ["image/jpeg", "image/png", "image/webp", "image/gif"];
/// Pictures of one question; the newest are shown.
const MAX_PICTURES: usize = 8;
/// Largest picture that is shown; WhatsApp's own pictures are far smaller. It is in memory while the question is asked.
const MAX_BYTES: u64 = 5 * 1024 * 1024;

/// A part of a message.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: Url },
}

#[derive(Serialize)]
pub(super) struct Url {
    url: String,
}

/// The pictures among the files, in their order. The text names every file, so what is left out here is still known.
pub(super) async fn parts(files: &[SavedMedia]) -> Vec<Part<'static>> {
    let shown = |file: &&SavedMedia| FORMS.contains(&file.mime.as_str()) && file.bytes <= MAX_BYTES;
    let mut newest: Vec<&SavedMedia> = files.iter().filter(shown).rev().take(MAX_PICTURES).collect();
    newest.reverse();
    let mut parts = Vec::with_capacity(newest.len());
    for file in newest {
        match tokio::fs::read(&file.path).await {
            Ok(bytes) => {
                let url = format!("data:{};base64,{}", file.mime, STANDARD.encode(bytes));
                parts.push(Part::ImageUrl { image_url: Url { url } });
            }
            Err(error) => tracing::warn!(target: "agent", %error, "a received picture cannot be read"),
        }
    }
    parts
}
