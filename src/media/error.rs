//! Why a source cannot be sent.

use std::io;
use std::path::{Path, PathBuf};

use crate::disclosure::MediaFault;

/// Why a file that is not there cannot be read.
pub(super) const NO_SUCH_FILE: &str = "there is no such file";

/// A source that cannot be sent. The text is meant for the person who asked.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// A URL gave no usable file.
    #[error("Failed to fetch media from {url}: {why}")]
    Fetch {
        /// Without user name and password.
        url: String,
        /// What happened.
        why: String,
    },
    /// A URL gives more than is taken.
    #[error("Failed to fetch media from {url}: {what} exceeds maxBytes {cap}")]
    FetchExceeds {
        /// Without user name and password.
        url: String,
        /// `payload`, or the length that the server told.
        what: String,
        /// The limit in bytes.
        cap: u64,
    },
    /// A local file cannot be read.
    #[error("cannot read {name}: {why}")]
    Read {
        /// As it was named.
        name: String,
        /// What happened.
        why: String,
    },
    /// The source is out of bounds for whoever named it.
    #[error("{name} may not be sent: {why}")]
    Refused {
        /// As it was named.
        name: String,
        /// The rule.
        why: String,
    },
    /// Larger than allowed, and nothing that can be made smaller.
    #[error("{what} exceeds {}MB limit (got {:.2}MB)", megabytes(*cap), mb(*got))]
    Exceeds {
        /// `Media` or `GIF`.
        what: &'static str,
        /// The limit in bytes.
        cap: u64,
        /// The size in bytes.
        got: u64,
    },
    /// The smallest form of it is still too large.
    #[error("Media could not be reduced below {}MB (got {:.2}MB)", megabytes(*cap), mb(*got))]
    NotReduced {
        /// The limit in bytes.
        cap: u64,
        /// The smallest size in bytes.
        got: u64,
    },
    /// The file is not what it says it is, or is broken.
    #[error("{name} is no usable {what}: {why}")]
    Unusable {
        /// As it was named.
        name: String,
        /// picture, sticker, audio file
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Conversions that never ended hold too many threads.
    #[error(
        "{name} is not converted: {stuck} conversions before it hang (see the log), so no more are begun; restart Verso"
    )]
    Overloaded {
        /// As it was named.
        name: String,
        /// Threads that hang.
        stuck: usize,
    },
    /// The copy that is to be sent cannot be written.
    #[error("cannot write media into {}: {cause}; check that the user running Verso owns it and the disk is not full", path.display())]
    Disk {
        /// The folder of prepared files.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// This machine cannot make TLS connections.
    #[error("the HTTP client cannot be set up: {0}")]
    Tls(String),
}

impl MediaError {
    /// As much of it as a chat may know.
    pub fn fault(&self) -> MediaFault {
        match self {
            Self::FetchExceeds { .. } | Self::Exceeds { .. } | Self::NotReduced { .. } => MediaFault::TooLarge,
            Self::Fetch { .. } | Self::Tls(_) => MediaFault::NotFetched,
            Self::Refused { .. } => MediaFault::NotAllowed,
            Self::Read { why, .. } if why == NO_SUCH_FILE => MediaFault::NotFound,
            _ => MediaFault::Unreadable,
        }
    }

    pub(super) fn disk(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |cause| Self::Disk { path, cause }
    }
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// Whole megabytes without digits behind the point; `0.50` for limits that are not whole.
fn megabytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1024 * 1024) { format!("{:.0}", mb(bytes)) } else { format!("{:.2}", mb(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_in_the_documents() {
        const MB: u64 = 1024 * 1024;
        let check = |error: MediaError, text: &str| assert_eq!(error.to_string(), text);
        check(
            MediaError::Exceeds { what: "GIF", cap: 5 * MB, got: MB * 72 / 10 },
            "GIF exceeds 5MB limit (got 7.20MB)",
        );
        check(MediaError::Exceeds { what: "Media", cap: 5 * MB, got: 8 * MB }, "Media exceeds 5MB limit (got 8.00MB)");
        check(
            MediaError::NotReduced { cap: 5 * MB, got: MB * 61 / 10 },
            "Media could not be reduced below 5MB (got 6.10MB)",
        );
        check(MediaError::Exceeds { what: "Media", cap: MB / 2, got: MB }, "Media exceeds 0.50MB limit (got 1.00MB)");
    }
}
