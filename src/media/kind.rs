//! What a file is: MIME types, extensions, kinds (behaviour.md 14.2, 14.4). Pure.

use crate::event::MediaKind;

/// OGG/Opus, as WhatsApp wants voice notes declared.
pub const VOICE_MIME: &str = "audio/ogg; codecs=opus";
/// Bytes at the start of a file that [`sniff`] wants to see.
pub const HEAD: usize = 8 * 1024;

/// MIME type and extension; the first row of a MIME type gives its extension, the first of an extension its MIME type.
const TYPES: &[(&str, &str)] = &[
    ("image/jpeg", "jpg"),
    ("image/jpeg", "jpeg"),
    ("image/png", "png"),
    ("image/webp", "webp"),
    ("image/gif", "gif"),
    ("image/heic", "heic"),
    ("image/heif", "heif"),
    ("image/avif", "avif"),
    ("image/bmp", "bmp"),
    ("image/tiff", "tiff"),
    ("image/tiff", "tif"),
    ("image/svg+xml", "svg"),
    ("audio/ogg", "ogg"),
    ("audio/ogg", "oga"),
    ("audio/ogg", "opus"),
    ("audio/opus", "opus"),
    ("audio/mpeg", "mp3"),
    ("audio/x-m4a", "m4a"),
    ("audio/mp4", "m4a"),
    ("audio/m4a", "m4a"),
    ("audio/aac", "aac"),
    ("audio/wav", "wav"),
    ("audio/x-wav", "wav"),
    ("audio/flac", "flac"),
    ("audio/amr", "amr"),
    ("audio/x-ms-wma", "wma"),
    ("audio/webm", "weba"),
    ("audio/x-matroska", "mka"),
    ("audio/aiff", "aiff"),
    ("video/mp4", "mp4"),
    ("video/mp4", "m4v"),
    ("video/quicktime", "mov"),
    ("video/3gpp", "3gp"),
    ("video/webm", "webm"),
    ("video/x-matroska", "mkv"),
    ("video/x-msvideo", "avi"),
    ("application/pdf", "pdf"),
    ("application/json", "json"),
    ("application/zip", "zip"),
    ("application/gzip", "gz"),
    ("application/x-tar", "tar"),
    ("application/x-7z-compressed", "7z"),
    ("application/vnd.rar", "rar"),
    ("application/msword", "doc"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.ms-powerpoint", "ppt"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx"),
    ("application/vnd.oasis.opendocument.text", "odt"),
    ("application/vnd.oasis.opendocument.spreadsheet", "ods"),
    ("application/epub+zip", "epub"),
    ("application/xml", "xml"),
    ("text/xml", "xml"),
    ("text/csv", "csv"),
    ("text/plain", "txt"),
    ("text/plain", "log"),
    ("text/markdown", "md"),
    ("text/html", "html"),
    ("text/html", "htm"),
    ("text/vcard", "vcf"),
    ("text/calendar", "ics"),
];

/// Says next to nothing about the content.
const GENERIC: &[&str] = &[
    "application/octet-stream",
    "binary/octet-stream",
    "application/zip",
    "application/x-ole-storage",
    "text/plain",
    "text/xml",
];

/// In lower case and without parameters; `None` when that is no MIME type.
pub fn bare(mime: &str) -> Option<String> {
    let bare = mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/.+-_".contains(c);
    (bare.contains('/') && bare.len() <= LONGEST && bare.chars().all(allowed)).then_some(bare)
}

/// No registered MIME type is longer.
const LONGEST: usize = 100;

/// How a MIME type is shown; `None` for text and for what is unknown, which are sent as documents.
pub fn kind_of(mime: &str) -> Option<MediaKind> {
    let mime = bare(mime)?;
    match mime.split('/').next()? {
        "image" => Some(MediaKind::Image),
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        "application" => Some(MediaKind::Document),
        _ => None,
    }
}

/// The usual extension of a MIME type, without the dot.
pub fn extension_of(mime: &str) -> Option<&'static str> {
    let mime = bare(mime)?;
    TYPES.iter().find(|(known, _)| *known == mime).map(|(_, extension)| *extension)
}

/// The MIME type that the extension of a name promises.
pub fn promised_by(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    TYPES.iter().find(|(_, known)| known.eq_ignore_ascii_case(extension)).map(|(mime, _)| *mime)
}

/// The MIME type that the first bytes prove, `text/plain` for text of no known form.
pub fn sniff(head: &[u8]) -> Option<&'static str> {
    if is_opus(head) {
        return Some("audio/ogg");
    }
    if is_html(head) {
        return Some("text/html");
    }
    match infer::get(head).map(|found| found.mime_type()) {
        Some("audio/m4a") => Some("audio/mp4"),
        Some("audio/x-wav") => Some("audio/wav"),
        Some("audio/x-flac") => Some("audio/flac"),
        Some("audio/x-aiff") => Some("audio/aiff"),
        Some("audio/opus") => Some("audio/ogg"),
        Some("video/x-m4v") => Some("video/mp4"),
        Some("text/html") => Some("text/html"),
        Some(mime) => Some(mime),
        None => is_text(head).then_some("text/plain"),
    }
}

/// OGG with Opus in it.
pub fn is_opus(head: &[u8]) -> bool {
    // The first page holds the codec's name right behind its own head.
    head.starts_with(b"OggS") && head.get(..64).unwrap_or(head).windows(8).any(|w| w == b"OpusHead")
}

/// The MIME type of a film container that holds sound alone.
pub fn audio_form(mime: &str) -> String {
    match mime {
        "video/mp4" | "video/quicktime" | "video/3gpp" => "audio/mp4".to_owned(),
        other => other.to_owned(),
    }
}

fn is_html(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |word: &[u8]| head.get(..word.len()).is_some_and(|h| h.eq_ignore_ascii_case(word));
    begins(b"<!doctype html") || begins(b"<html") || begins(b"<head") || begins(b"<body")
}

fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        // A character cut at the end of the head.
        Err(e) => e.error_len().is_none(),
    };
    valid && !head.is_empty() && !head.iter().any(|b| *b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b))
}

/// The MIME type of a file: bytes first, then the declared type, then the extension of its name. Bytes that fit many types (zip,
/// plain text) leave the word to the others.
pub fn decide(head: &[u8], declared: Option<&str>, name: Option<&str>) -> String {
    let sniffed = sniff(head);
    let specific = |mime: &str| !GENERIC.contains(&mime);
    if let Some(mime) = sniffed.filter(|m| specific(m)) {
        return mime.to_owned();
    }
    let declared = declared.and_then(bare);
    let promised = name.and_then(promised_by);
    // What the bytes cannot show must not claim to be a form that bytes do show.
    let plausible = |mime: &str| sniffed != Some("text/plain") || !shows(mime);
    declared
        .clone()
        .filter(|m| specific(m) && plausible(m))
        .or_else(|| promised.filter(|m| plausible(m)).map(str::to_owned))
        .or_else(|| sniffed.map(str::to_owned))
        .or(declared)
        .unwrap_or_else(|| "application/octet-stream".to_owned())
}

/// Files of this type are never plain text.
fn shows(mime: &str) -> bool {
    mime != "image/svg+xml"
        && (matches!(kind_of(mime), Some(MediaKind::Image | MediaKind::Audio | MediaKind::Video))
            || mime == "application/pdf")
}

/// The picture, audio or video that header or name promised, when the bytes are a text or a web page instead.
pub fn broken_promise(head: &[u8], declared: Option<&str>, name: Option<&str>) -> Option<(String, &'static str)> {
    let found = sniff(head).filter(|m| matches!(*m, "text/html" | "text/plain"))?;
    let declared = declared.and_then(bare);
    let promise = declared.into_iter().chain(name.and_then(promised_by).map(str::to_owned)).find(|m| shows(m))?;
    Some((promise, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_decide_then_the_header_then_the_name() {
        let check = |head: &[u8], declared: Option<&str>, name: Option<&str>, expected: &str| {
            assert_eq!(decide(head, declared, name), expected, "{declared:?} {name:?}");
        };
        check(b"\x89PNG\r\n\x1a\n....", Some("image/jpeg"), Some("a.jpg"), "image/png");
        check(b"%PDF-1.7\n", Some("application/octet-stream"), Some("x"), "application/pdf");
        check(b"\0\x01\x02", Some("image/x-thing"), Some("a.pdf"), "image/x-thing");
        check(b"\0\x01\x02", Some("application/octet-stream"), Some("a.mp3"), "audio/mpeg");
        check(b"\0\x01\x02", None, None, "application/octet-stream");
        check(b"a,b\n1,2\n", Some("text/plain; charset=utf-8"), Some("t.CSV"), "text/csv");
        check(b"plain words", None, Some("a.jpg"), "text/plain");
        check(b"<svg xmlns='x'/>", None, Some("a.svg"), "image/svg+xml");
        check(
            b"PK\x03\x04.......",
            None,
            Some("a.docx"),
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        );
        check(b"  <!DOCTYPE HTML><p>", Some("image/png"), Some("a.png"), "text/html");
    }

    #[test]
    fn a_page_instead_of_a_picture_is_noticed() {
        let page = b"<!doctype html><title>Sign in</title>";
        let check = |declared, name, expected: Option<&str>| {
            assert_eq!(broken_promise(page, declared, name).map(|(p, _)| p).as_deref(), expected);
        };
        check(Some("text/html"), Some("a.png"), Some("image/png"));
        check(Some("video/mp4"), None, Some("video/mp4"));
        check(Some("text/html"), Some("index.html"), None);
        check(None, Some("pages.svg"), None);
        assert_eq!(broken_promise(b"\x89PNG\r\n\x1a\n", Some("image/png"), None), None);
    }

    #[test]
    fn ogg_is_voice_by_its_codec() {
        let mut opus = b"OggS".to_vec();
        opus.resize(28, 0);
        opus.extend_from_slice(b"OpusHead");
        assert_eq!(sniff(&opus), Some("audio/ogg"));
        assert_eq!(kind_of(VOICE_MIME), Some(MediaKind::Audio));
        assert_eq!(extension_of(VOICE_MIME), Some("ogg"));
    }
}
