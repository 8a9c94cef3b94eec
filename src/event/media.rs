//! Media that came in: what is known of it before, and to fetch it after, it was downloaded.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ids::{Jid, MessageId};

/// Attached media, not yet downloaded. Everything in it was written by its sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MediaRef {
    /// image, video, audio, document or sticker.
    pub kind: MediaKind,
    /// The declared MIME type.
    pub mime: Option<String>,
    /// The declared size in bytes (untrusted).
    pub bytes: Option<u64>,
    /// The name of a document, as its sender wrote it. It is shown and never used as a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// The declared length of audio and video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// Audio that was spoken into the phone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub voice: bool,
    /// The declared width in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// The declared height in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Where it can be fetched; `None` when the message does not say, as in journals of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<RemoteFile>,
}

impl MediaRef {
    /// Media of a kind of which nothing else is known.
    pub fn new(kind: MediaKind) -> Self {
        Self {
            kind,
            mime: None,
            bytes: None,
            file_name: None,
            seconds: None,
            voice: false,
            width: None,
            height: None,
            file: None,
        }
    }
}

/// An encrypted file on WhatsApp's media host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteFile {
    /// Its path on the host.
    pub direct_path: String,
    /// Opens it.
    pub key: MediaKey,
    /// Hash of the file in the clear, base64.
    pub sha256: String,
    /// Hash of the file as it lies on the host, base64.
    pub enc_sha256: String,
}

/// The secret that opens one file, base64. It is stored and never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaKey(String);

impl MediaKey {
    /// Takes the key in base64.
    pub fn new(base64: impl Into<String>) -> Self {
        Self(base64.into())
    }

    /// The key in base64.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MediaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MediaKey(…)")
    }
}

/// Media together with the message that brought it, by which a file that is gone can be asked for again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MediaSource {
    /// The media.
    pub media: MediaRef,
    /// The chat.
    pub chat: Jid,
    /// Who wrote the message, where it is known.
    pub sender: Option<Jid>,
    /// The message, where it is known.
    pub id: Option<MessageId>,
    /// This account wrote it.
    pub from_me: bool,
}

/// Media that lies on this machine's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedMedia {
    /// The file.
    pub path: PathBuf,
    /// The declared MIME type without parameters, else what its bytes look like.
    pub mime: String,
    /// Its size.
    pub bytes: u64,
    /// What its message says of it.
    pub media: MediaRef,
}

/// The kinds of media that WhatsApp knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum MediaKind {
    Image,
    Video,
    Audio,
    Document,
    Sticker,
}

impl MediaKind {
    /// What stands for the media in a text (behaviour.md 7.4).
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Image => "<media:image>",
            Self::Video => "<media:video>",
            Self::Audio => "<media:audio>",
            Self::Document => "<media:document>",
            Self::Sticker => "<media:sticker>",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_older_versions_load_and_the_key_is_never_printed() {
        let old: MediaRef =
            serde_json::from_str(r#"{"kind":"audio","mime":"audio/ogg","bytes":7}"#).expect("an old row");
        assert_eq!(old, MediaRef { mime: Some("audio/ogg".into()), bytes: Some(7), ..MediaRef::new(MediaKind::Audio) });
        let media = MediaRef {
            file: Some(RemoteFile {
                direct_path: "/v/x".into(),
                key: MediaKey::new("c2VjcmV0"),
                sha256: "aA==".into(),
                enc_sha256: "aQ==".into(),
            }),
            ..old
        };
        assert!(!format!("{media:?}").contains("c2VjcmV0"));
        let json = serde_json::to_string(&media).expect("plain data");
        assert_eq!(serde_json::from_str::<MediaRef>(&json).expect("its own form"), media);
    }
}
