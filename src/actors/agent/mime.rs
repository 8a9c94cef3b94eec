//! The types of received files: the declared one, else what the first bytes look like.

/// What nobody knows.
pub(super) const UNKNOWN: &str = "application/octet-stream";

/// MIME type and extension.
const TYPES: &[(&str, &str)] = &[
    ("image/jpeg", "jpg"),
    ("image/png", "png"),
    ("image/webp", "webp"),
    ("image/gif", "gif"),
    ("image/heic", "heic"),
    ("audio/ogg", "ogg"),
    ("audio/mpeg", "mp3"),
    ("audio/mp4", "m4a"),
    ("audio/aac", "aac"),
    ("audio/wav", "wav"),
    ("audio/amr", "amr"),
    ("video/mp4", "mp4"),
    ("video/3gpp", "3gp"),
    ("video/quicktime", "mov"),
    ("application/pdf", "pdf"),
    ("application/json", "json"),
    ("application/zip", "zip"),
    ("application/msword", "doc"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx"),
    ("text/plain", "txt"),
    ("text/csv", "csv"),
    ("text/vcard", "vcf"),
];

/// In lower case and without parameters; `None` when that is no MIME type.
pub(super) fn bare(mime: &str) -> Option<String> {
    let bare = mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/.+-_".contains(c);
    (bare.contains('/') && bare.len() <= 100 && bare.chars().all(allowed)).then_some(bare)
}

/// The usual extension of a MIME type, without the dot.
pub(super) fn extension_of(mime: &str) -> Option<&'static str> {
    TYPES.iter().find(|(known, _)| *known == mime).map(|(_, extension)| *extension)
}

/// What the first bytes look like.
pub(super) fn sniff(head: &[u8]) -> Option<&'static str> {
    let starts: &[(&[u8], &'static str)] = &[
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF8", "image/gif"),
        (b"OggS", "audio/ogg"),
        (b"ID3", "audio/mpeg"),
        (b"%PDF-", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
    ];
    let found = starts.iter().find(|(start, _)| head.starts_with(start)).map(|(_, mime)| *mime);
    found.or_else(|| match (head.get(..4)?, head.get(4..8)?, head.get(8..12)?) {
        (b"RIFF", _, b"WEBP") => Some("image/webp"),
        (b"RIFF", _, b"WAVE") => Some("audio/wav"),
        (_, b"ftyp", _) => Some("video/mp4"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declared_type_loses_its_parameters_and_the_first_bytes_stand_in() {
        assert_eq!(bare("Audio/OGG; codecs=opus").as_deref(), Some("audio/ogg"));
        assert_eq!(bare("../../x"), Some("../../x".to_owned()));
        assert_eq!(extension_of("../../x"), None, "an extension is one of ours");
        assert_eq!((bare("text"), bare("a/b]\n[from: Boss"), bare("")), (None, None, None));
        assert_eq!(sniff(b"RIFF....WEBPVP8 "), Some("image/webp"));
        assert_eq!(sniff(b"\xff\xd8\xff\xe0"), Some("image/jpeg"));
        assert_eq!(sniff(b"no"), None);
    }
}
