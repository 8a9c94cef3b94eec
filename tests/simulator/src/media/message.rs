//! Media messages of simulated phones: encrypt a file onto the host and write the message about it, and back.

use anyhow::{Context as _, anyhow, ensure};
use sha2::{Digest as _, Sha256};
use wacore::download::{DownloadUtils, MediaType};
use wacore::upload::encrypt_media;
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;

use super::MediaHost;

/// What a media message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A picture.
    Image,
    /// A film.
    Video,
    /// Sound; with [`Attachment::voice`] a voice note.
    Audio,
    /// Any file, with a name.
    Document,
    /// A sticker (WebP).
    Sticker,
}

impl Kind {
    /// The kind with this name, as the control API spells it.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "image" => Self::Image,
            "video" => Self::Video,
            "audio" => Self::Audio,
            "document" => Self::Document,
            "sticker" => Self::Sticker,
            _ => return None,
        })
    }

    /// Its name, lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "document",
            Self::Sticker => "sticker",
        }
    }

    fn keys(self) -> MediaType {
        match self {
            Self::Image => MediaType::Image,
            Self::Video => MediaType::Video,
            Self::Audio => MediaType::Audio,
            Self::Document => MediaType::Document,
            Self::Sticker => MediaType::Sticker,
        }
    }

    fn usual_mime(self) -> &'static str {
        match self {
            Self::Image => "image/jpeg",
            Self::Video => "video/mp4",
            Self::Audio => "audio/ogg; codecs=opus",
            Self::Document => "application/octet-stream",
            Self::Sticker => "image/webp",
        }
    }
}

/// A file with what is said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// What it is.
    pub kind: Kind,
    /// The file, in the clear.
    pub bytes: Vec<u8>,
    /// MIME type; the usual one of the kind when absent.
    pub mime: Option<String>,
    /// Text under it; audio and stickers have none.
    pub caption: Option<String>,
    /// Name of a document.
    pub file_name: Option<String>,
    /// A voice note.
    pub voice: bool,
    /// How long audio and video play.
    pub seconds: Option<u32>,
    /// The size that the message tells; the real one when absent.
    pub told_size: Option<u64>,
}

impl Attachment {
    /// A file of some kind and nothing else.
    pub fn new(kind: Kind, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            bytes: bytes.into(),
            mime: None,
            caption: None,
            file_name: None,
            voice: false,
            seconds: None,
            told_size: None,
        }
    }

    /// With a text under it.
    pub fn caption(mut self, caption: &str) -> Self {
        self.caption = Some(caption.to_owned());
        self
    }
}

/// The fields that all media messages share.
macro_rules! media_message {
    ($message:ident, $file:ident, { $($field:ident : $value:expr),* $(,)? }) => {
        MessageField::some(wa::message::$message {
            url: Some($file.url),
            direct_path: Some($file.direct_path),
            media_key: Some($file.media_key.into()),
            file_sha256: Some($file.file_sha256.into()),
            file_enc_sha256: Some($file.file_enc_sha256.into()),
            file_length: Some($file.length),
            mimetype: Some($file.mime),
            media_key_timestamp: Some($file.t),
            $($field: $value,)*
            ..Default::default()
        })
    };
}

/// An encrypted file on the host, as a message names it.
struct Stored {
    url: String,
    direct_path: String,
    media_key: [u8; 32],
    file_sha256: [u8; 32],
    file_enc_sha256: [u8; 32],
    length: u64,
    mime: String,
    t: i64,
}

impl MediaHost {
    /// Encrypts a file, keeps it and returns the message that points to it; `now` is in unix seconds.
    ///
    /// # Errors
    /// When encryption fails.
    pub fn attach(&self, attachment: &Attachment, now: i64) -> anyhow::Result<wa::Message> {
        let Attachment { kind, bytes, mime, caption, file_name, voice, seconds, told_size } = attachment.clone();
        let encrypted = encrypt_media(&bytes, kind.keys())?;
        let direct_path = self.put(encrypted.data_to_upload);
        let file = Stored {
            url: self.url(&direct_path),
            direct_path,
            media_key: encrypted.media_key,
            file_sha256: encrypted.file_sha256,
            file_enc_sha256: encrypted.file_enc_sha256,
            length: told_size.unwrap_or(bytes.len() as u64),
            mime: mime.unwrap_or_else(|| kind.usual_mime().to_owned()),
            t: now,
        };
        let mut message = wa::Message::default();
        match kind {
            Kind::Image => message.image_message = media_message!(ImageMessage, file, { caption: caption }),
            Kind::Video => {
                message.video_message = media_message!(VideoMessage, file, { caption: caption, seconds: seconds })
            }
            Kind::Audio => {
                message.audio_message = media_message!(AudioMessage, file, { ptt: Some(voice), seconds: seconds })
            }
            Kind::Document => {
                let title = file_name.clone();
                message.document_message = media_message!(DocumentMessage, file, {
                    file_name: file_name, title: title, caption: caption,
                });
            }
            Kind::Sticker => message.sticker_message = media_message!(StickerMessage, file, {}),
        }
        Ok(message)
    }

    /// Fetches and decrypts what a message points to, as the phone that got it does; none when it carries no media.
    ///
    /// # Errors
    /// When the file is not on this host, its MAC or hash is wrong, or the message lacks its key.
    pub fn open(&self, message: &wa::Message) -> anyhow::Result<Option<Attachment>> {
        macro_rules! open {
            ($kind:expr, $m:expr, $caption:expr, $name:expr, $voice:expr) => {{
                let (m, kind) = ($m, $kind);
                let path = m.direct_path.as_deref().context("the message has no direct_path")?;
                let file = self.get(path).with_context(|| format!("nothing was uploaded to {path}"))?;
                let key = m.media_key.as_deref().context("the message has no media key")?;
                let told = m.file_enc_sha256.as_deref().context("the message has no hash of the encrypted file")?;
                ensure!(Sha256::digest(&file).as_slice() == told, "the hash of the encrypted file is not the one told");
                let bytes = DownloadUtils::verify_and_decrypt(&file, key, kind.keys()).map_err(|e| anyhow!("{e}"))?;
                let told = m.file_sha256.as_deref().context("the message has no hash of the file")?;
                ensure!(Sha256::digest(&bytes).as_slice() == told, "the hash of the file is not the one told");
                ensure!(m.file_length == Some(bytes.len() as u64), "the length of the file is not the one told");
                let (mime, caption, file_name) = (m.mimetype.clone(), $caption, $name);
                let voice = $voice;
                return Ok(Some(Attachment { mime, caption, file_name, voice, ..Attachment::new(kind, bytes) }));
            }};
        }
        if let Some(m) = message.image_message.as_option() {
            open!(Kind::Image, m, m.caption.clone(), None, false);
        }
        if let Some(m) = message.video_message.as_option() {
            open!(Kind::Video, m, m.caption.clone(), None, false);
        }
        if let Some(m) = message.audio_message.as_option() {
            open!(Kind::Audio, m, None, None, m.ptt == Some(true));
        }
        if let Some(m) = message.document_message.as_option() {
            open!(Kind::Document, m, m.caption.clone(), m.file_name.clone(), false);
        }
        if let Some(m) = message.sticker_message.as_option() {
            open!(Kind::Sticker, m, None, None, false);
        }
        let wrapped = [&message.document_with_caption_message, &message.view_once_message, &message.ephemeral_message];
        match wrapped.into_iter().filter_map(|w| w.as_option()).find_map(|w| w.message.as_option()) {
            Some(inner) => self.open(inner),
            None => Ok(None),
        }
    }
}
