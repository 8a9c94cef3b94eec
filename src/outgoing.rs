//! What can be sent, as it lies in the outbox: complete, so that it can be sent again after a restart without asking anybody.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::event::MediaKind;
use crate::ids::{Jid, MessageId};

/// The content of one outgoing message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Outgoing {
    /// A text.
    #[serde(rename_all = "camelCase")]
    Text {
        /// What it says.
        text: String,
        /// The message it answers natively.
        quote: Option<Target>,
    },
    /// A file, with or without a caption.
    #[serde(rename_all = "camelCase")]
    Media {
        /// The file, ready to upload.
        media: MediaFile,
        /// Text below it; kinds that show none never have one.
        caption: Option<String>,
        /// The message it answers natively.
        quote: Option<Target>,
    },
    /// An emoji on a message.
    Reaction {
        /// The message.
        target: Target,
        /// The emoji; empty takes the reaction back.
        emoji: String,
    },
    /// A question with answers to choose from.
    Poll {
        /// The question.
        question: String,
        /// The answers, at least two.
        options: Vec<String>,
        /// How many may be chosen.
        selectable: u32,
    },
    /// A new text for one of our own messages.
    Edit {
        /// Our message.
        target: Target,
        /// Its new text.
        text: String,
    },
    /// Takes a message back for everyone.
    Delete {
        /// The message; in groups an admin may name another person's.
        target: Target,
    },
}

/// An existing message that an outgoing one refers to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Its id.
    pub id: MessageId,
    /// Its author, in groups.
    pub sender: Option<Jid>,
    /// This account wrote it.
    pub from_me: bool,
}

/// A file that is ready to upload: converted, within its cap, its facts known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MediaFile {
    /// image, video, audio, document or sticker: how WhatsApp shows it.
    pub kind: MediaKind,
    /// The MIME type that is sent.
    pub mime: String,
    /// Where it lies; below the state folder.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// The name that a document shows.
    pub file_name: Option<String>,
    /// Width and height in pixels, of images, stickers and videos.
    pub size: Option<(u32, u32)>,
    /// Length of audio and video.
    pub seconds: Option<u32>,
    /// 64 loudness values of 0..=100, of voice notes.
    pub waveform: Option<Vec<u8>>,
    /// Audio is played as a voice note.
    pub voice: bool,
    /// A video is played silently and repeated.
    pub gif: bool,
    /// A small JPEG preview.
    pub thumbnail: Option<Vec<u8>>,
}
