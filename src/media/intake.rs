//! The private copy of a source: written as it arrives, never held in memory, never larger than its cap.

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use tempfile::NamedTempFile;

use super::error::MediaError;
use super::kind;

/// Copies that a crash left behind begin with this.
pub(super) const UNFINISHED: &str = ".incoming-";
/// Bytes per step between disk and network.
pub(super) const STEP: usize = 256 * 1024;

/// How large a file may get, given its first bytes: a picture may be larger than what is sent in the end.
pub(super) type Cap = Box<dyn FnOnce(&[u8]) -> u64 + Send>;

/// A copy in the making. Deleted when it is dropped before it is kept.
pub(super) struct Intake {
    file: NamedTempFile,
    head: Vec<u8>,
    bytes: u64,
    undecided: Option<Cap>,
    cap: u64,
}

/// Why a piece was not taken.
pub(super) enum Stop {
    /// The file is larger than its cap.
    Over,
    /// The disk does not take it.
    Disk(MediaError),
}

impl Intake {
    pub(super) fn new(folder: &Path, cap: Cap) -> Result<Self, MediaError> {
        Ok(Self { file: temporary(folder)?, head: Vec::new(), bytes: 0, undecided: Some(cap), cap: u64::MAX })
    }

    /// Takes the next piece. The first one should hold [`kind::HEAD`] bytes, unless the file is shorter.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Stop> {
        if let Some(cap) = self.undecided.take() {
            self.head = piece[..piece.len().min(kind::HEAD)].to_vec();
            self.cap = cap(&self.head);
        }
        self.bytes += piece.len() as u64;
        if self.bytes > self.cap {
            return Err(Stop::Over);
        }
        let folder = self.file.path().parent().unwrap_or(Path::new(".")).to_path_buf();
        self.file.write_all(piece).map_err(MediaError::disk(&folder)).map_err(Stop::Disk)
    }

    /// The cap that the first piece decided.
    pub(super) fn cap(&self) -> u64 {
        self.cap
    }

    /// That the file, of `got` bytes, is too large for its kind.
    pub(super) fn exceeds(&self, got: u64) -> MediaError {
        let what = if kind::sniff(&self.head) == Some("image/gif") { "GIF" } else { "Media" };
        MediaError::Exceeds { what, cap: self.cap, got }
    }

    /// The finished copy.
    pub(super) fn finish(self) -> Copy {
        Copy { file: self.file, head: self.head, bytes: self.bytes, declared: None, name: None }
    }
}

/// A source as it was found, in a file of our own.
pub(super) struct Copy {
    pub file: NamedTempFile,
    /// Its first bytes.
    pub head: Vec<u8>,
    pub bytes: u64,
    /// The MIME type that came with it.
    pub declared: Option<String>,
    /// The name that came with it.
    pub name: Option<String>,
}

/// Reads until `piece` is full or the source ends.
pub(super) fn fill(source: &mut impl Read, piece: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match source.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// A new private file in `folder`.
pub(super) fn temporary(folder: &Path) -> Result<NamedTempFile, MediaError> {
    if !folder.is_dir() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(MediaError::disk(folder))?;
    }
    tempfile::Builder::new()
        .prefix(UNFINISHED)
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)
        .map_err(MediaError::disk(folder))
}
