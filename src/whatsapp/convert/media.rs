//! The media of a message, with everything that a later download needs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use whatsapp_rust::waproto::whatsapp as wa;

use super::non_empty;
use crate::event::{MediaKey, MediaKind, MediaRef, RemoteFile};

/// The first attachment in the order of behaviour.md 7.4.
pub(super) fn of(m: &wa::Message) -> Option<MediaRef> {
    /// What all kinds say about their file.
    macro_rules! common {
        ($kind:expr, $m:expr) => {
            MediaRef {
                mime: $m.mimetype.clone(),
                bytes: $m.file_length,
                file: remote(
                    $m.direct_path.as_deref(),
                    $m.media_key.as_deref(),
                    $m.file_sha256.as_deref(),
                    $m.file_enc_sha256.as_deref(),
                ),
                ..MediaRef::new($kind)
            }
        };
    }
    if let Some(i) = m.image_message.as_option() {
        return Some(MediaRef { width: i.width, height: i.height, ..common!(MediaKind::Image, i) });
    }
    if let Some(v) = m.video_message.as_option().or(m.ptv_message.as_option()) {
        let (width, height, seconds) = (v.width, v.height, v.seconds);
        return Some(MediaRef { width, height, seconds, ..common!(MediaKind::Video, v) });
    }
    if let Some(a) = m.audio_message.as_option() {
        let voice = a.ptt == Some(true);
        return Some(MediaRef { seconds: a.seconds, voice, ..common!(MediaKind::Audio, a) });
    }
    if let Some(d) = m.document_message.as_option() {
        let name = d.file_name.as_deref().or(d.title.as_deref()).and_then(non_empty);
        return Some(MediaRef { file_name: name, ..common!(MediaKind::Document, d) });
    }
    let s = m.sticker_message.as_option()?;
    Some(MediaRef { width: s.width, height: s.height, ..common!(MediaKind::Sticker, s) })
}

/// A file can be fetched only when all four are known.
fn remote(path: Option<&str>, key: Option<&[u8]>, sha: Option<&[u8]>, enc: Option<&[u8]>) -> Option<RemoteFile> {
    Some(RemoteFile {
        direct_path: path.filter(|path| path.starts_with('/'))?.to_owned(),
        key: MediaKey::new(STANDARD.encode(key?)),
        sha256: STANDARD.encode(sha?),
        enc_sha256: STANDARD.encode(enc?),
    })
}
