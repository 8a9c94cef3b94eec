//! What can be sent, as it lies in the outbox: complete, so that it can be sent again after a restart without asking anybody.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::event::MediaKind;
use crate::ids::{AccountId, Jid, MessageId};

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

impl Outgoing {
    /// A text that quotes nothing.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), quote: None }
    }

    /// Changes what people read of a text, a caption or an edit.
    pub fn change_text(&mut self, change: impl FnOnce(String) -> String) {
        let text = match self {
            Self::Text { text, .. } | Self::Edit { text, .. } => text,
            Self::Media { caption: Some(caption), .. } => caption,
            _ => return,
        };
        *text = change(std::mem::take(text));
    }

    /// The prepared file that it needs.
    pub fn file(&self) -> Option<&MediaFile> {
        match self {
            Self::Media { media, .. } => Some(media),
            _ => None,
        }
    }
}

/// Something that messages of one account leave through.
pub trait Outlet {
    /// The account.
    fn account(&self) -> &AccountId;
}

/// One message on its way out, sealed for the account that it leaves through.
///
/// Only that account's outbox makes letters, nobody can change whose one is, and a link refuses the letters of another account.
///
/// ```compile_fail
/// fn readdress(letter: &mut verso::outgoing::Letter) {
///     letter.account = verso::ids::AccountId::new("another");
/// }
/// ```
/// ```compile_fail
/// use verso::outgoing::{Letter, Outgoing};
/// fn forge(account: verso::ids::AccountId, id: verso::ids::MessageId, chat: verso::ids::Jid) -> Letter {
///     Letter { account, id, chat, content: Outgoing::text("hi"), handling: Default::default() }
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    account: AccountId,
    id: MessageId,
    chat: Jid,
    content: Outgoing,
    handling: Handling,
}

/// One of the two addresses of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// The number-hiding one.
    Lid,
    /// The phone number.
    Number,
}

impl Address {
    /// The kind of a person's address; `None` for groups and everything else.
    pub fn of(jid: &Jid) -> Option<Self> {
        if jid.is_lid() {
            Some(Self::Lid)
        } else if jid.is_number() {
            Some(Self::Number)
        } else {
            None
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Lid => Self::Number,
            Self::Number => Self::Lid,
        }
    }
}

/// How a letter is treated on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// It answers a message that came in.
    pub answer: bool,
    /// Nothing was exchanged with this person before.
    pub first_contact: bool,
    /// A connection took it, but WhatsApp has not confirmed it.
    pub handed_over: bool,
    /// It was sent before and nobody could read it: the recipient's devices are looked up anew.
    pub again: bool,
}

impl Letter {
    /// Seals a message for `account`; for the outbox alone (`tests/it/architecture.rs` checks it).
    pub(crate) fn seal(account: AccountId, id: MessageId, chat: Jid, content: Outgoing, handling: Handling) -> Self {
        Self { account, id, chat, content, handling }
    }

    /// The account that it leaves through.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// WhatsApp's id of the message, the same at every attempt.
    pub fn id(&self) -> &MessageId {
        &self.id
    }

    /// Where to.
    pub fn chat(&self) -> &Jid {
        &self.chat
    }

    /// What it says.
    pub fn content(&self) -> &Outgoing {
        &self.content
    }

    /// How it is treated.
    pub fn handling(&self) -> Handling {
        self.handling
    }
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
    /// A video is played silently and repeated; a sticker moves.
    pub gif: bool,
    /// A small JPEG preview.
    pub thumbnail: Option<Vec<u8>>,
}

impl MediaFile {
    /// A file of which nothing more is known than what every file has.
    pub fn new(kind: MediaKind, mime: impl Into<String>, path: impl Into<PathBuf>, bytes: u64) -> Self {
        Self {
            kind,
            mime: mime.into(),
            path: path.into(),
            bytes,
            file_name: None,
            size: None,
            seconds: None,
            waveform: None,
            voice: false,
            gif: false,
            thumbnail: None,
        }
    }
}
