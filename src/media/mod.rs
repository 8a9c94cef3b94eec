//! What is sent besides text: from a source (URL, path, data) to a file that is ready to upload.
//!
//! ```text
//! source -> fetch (http) | local (paths, data:) -> a private copy, capped -> kind (what is it?)
//!        -> picture | audio | video (facts, conversion, preview) -> outgoing::MediaFile in state/media/outbound
//! ```
//! The outbox owns the files from then on: it deletes one when its part is done, and calls [`Loader::sweep`] at the start.

use std::path::PathBuf;

use crate::outgoing::MediaFile;

/// Makes files ready to send. Cheap to clone; all clones share connections and limits.
#[derive(Clone, Debug)]
pub struct Loader {
    folder: PathBuf,
}

/// What a loader may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The internet; private networks only for the owner. A `demo` build still dials this machine only.
    Internet,
    /// This machine and nothing else, also for models: demo and tests.
    Loopback,
}

/// Who names the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The owner, by command line or API: any path this process can read, any address he can reach. Relative paths start
    /// in the working directory of the gateway, so the command line makes them absolute first.
    Owner,
    /// A model: public http(s) addresses, and files below these folders. Relative paths start in the first one.
    Model {
        /// Workspace, media folder, configured ones.
        roots: Vec<PathBuf>,
    },
}

/// What shall be sent, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// `http(s)://`, `file://`, an absolute, relative or `~` path, or `data:<mime>;base64,...`.
    pub source: String,
    /// A video is played silently and repeated.
    pub gif_playback: bool,
    /// Whatever it is, it is sent untouched as a document.
    pub as_document: bool,
    /// A picture becomes a sticker.
    pub as_sticker: bool,
    /// The name that a document shows, instead of its own.
    pub file_name: Option<String>,
    /// The largest file that is sent; pictures and audio are reduced to it.
    pub max_bytes: u64,
}

impl Wish {
    /// Sends `source` as what it is.
    pub fn new(source: impl Into<String>, max_bytes: u64) -> Self {
        Self {
            source: source.into(),
            gif_playback: false,
            as_document: false,
            as_sticker: false,
            file_name: None,
            max_bytes,
        }
    }
}

/// A source that cannot be sent. The text is meant for the person who asked.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// A URL gave no file.
    #[error("Failed to fetch media from {url}: {why}")]
    Fetch {
        /// Without user name and password.
        url: String,
        /// What happened.
        why: String,
    },
    /// A local file cannot be read.
    #[error("cannot read {source_name}: {why}")]
    Read {
        /// As it was named.
        source_name: String,
        /// What happened.
        why: String,
    },
}

impl Loader {
    /// Prepared files lie in `folder` (`state/media/outbound`), which is made when it is missing.
    ///
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub fn new(folder: impl Into<PathBuf>, reach: Reach) -> Result<Self, MediaError> {
        let _ = reach;
        Ok(Self { folder: folder.into() })
    }

    /// Loads, checks and converts one source.
    ///
    /// # Errors
    /// When it cannot be loaded, is not allowed, or cannot be made to fit.
    pub async fn prepare(&self, wish: &Wish, trust: &Trust) -> Result<MediaFile, MediaError> {
        let _ = (trust, &self.folder);
        Err(MediaError::Read { source_name: wish.source.clone(), why: "not yet".into() })
    }

    /// Deletes what lies in the folder and is not `in_use`: files of parts that are gone, and copies cut off by a crash.
    /// For the start, before anything is prepared. Returns how many were deleted.
    pub fn sweep(&self, in_use: &[PathBuf]) -> usize {
        let _ = in_use;
        0
    }
}
