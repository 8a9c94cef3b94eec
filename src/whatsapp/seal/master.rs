//! Reads the owner's keys from where the configuration says, when an account is opened and not before.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::KeyTrouble;
use super::key::MasterKey;
use crate::config::model::{EncryptionConfig, KeySource};

/// More than any key has, so that a wrong file is not read whole.
const MOST_BYTES: u64 = 4096;

/// The keys of the owner.
#[derive(Debug)]
pub(super) struct Masters {
    /// Wraps from now on.
    pub current: MasterKey,
    /// Wrapped before; those that cannot be read any more are left out.
    pub previous: Vec<MasterKey>,
}

impl Masters {
    pub(super) fn read(config: &EncryptionConfig) -> Result<Self, KeyTrouble> {
        let trouble = |cause| KeyTrouble::Unreadable { source: config.key.to_string(), cause };
        let current = read(&config.key).map_err(trouble)?;
        let previous = config.previous.iter().filter_map(|source| match read(source) {
            Ok(key) => Some(key),
            Err(cause) => {
                tracing::warn!(target: "web-session", %source, %cause, "a key of credentials.encryption.previous cannot be read");
                None
            }
        });
        Ok(Self { current, previous: previous.collect() })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

/// Reads one key.
///
/// # Errors
/// Why it cannot be used.
pub fn read(source: &KeySource) -> Result<MasterKey, String> {
    let text = match source {
        KeySource::File(path) => from_file(path)?,
        KeySource::Env(name) => {
            let text = std::env::var(name).map_err(|_| "the environment variable is not set".to_owned())?;
            Zeroizing::new(text.into_bytes())
        }
        KeySource::Credential(name) => from_file(&credential(name)?)?,
    };
    MasterKey::parse(&text)
}

/// Where the service manager (systemd's LoadCredential=) put a credential.
fn credential(name: &str) -> Result<PathBuf, String> {
    let dir = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(
        "the service manager passed no credentials (CREDENTIALS_DIRECTORY is not set); add LoadCredential= to the unit",
    )?;
    Ok(Path::new(&dir).join(name))
}

fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let meta = fs::metadata(path).map_err(|e| e.to_string())?;
    if !meta.is_file() {
        return Err("it is no file".to_owned());
    }
    if meta.len() > MOST_BYTES {
        return Err(format!("it is no key: it holds {} bytes", meta.len()));
    }
    if meta.permissions().mode() & 0o004 != 0 {
        tracing::warn!(target: "web-session", path = %path.display(), "every user of this machine can read the key; run: chmod 600 {}", path.display());
    }
    fs::read(path).map(Zeroizing::new).map_err(|e| e.to_string())
}
