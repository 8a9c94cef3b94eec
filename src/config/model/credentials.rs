//! `credentials`: how the credentials of WhatsApp links are kept.

use std::fmt;
use std::path::PathBuf;

/// `credentials.encryption`. It says where keys are; they are read when an account is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptionConfig {
    /// Wraps the data keys of all accounts.
    pub key: KeySource,
    /// Wrapped them before.
    pub previous: Vec<KeySource>,
}

/// Where a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file, absolute.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A credential of the service manager.
    Credential(String),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Credential(name) => write!(f, "credential {name} of the service manager"),
        }
    }
}
