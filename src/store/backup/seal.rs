//! Encryption of archives, in the format of the tool age, which opens them too.

use std::io::{self, BufRead, BufReader, Read, Write};

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, Encryptor, scrypt, x25519};

use super::BackupError;

/// What every file of age begins with.
const MAGIC: &[u8] = b"age-encryption.org/";
/// The same, written as text.
const ARMOUR: &[u8] = b"-----BEGIN AGE";
/// What gzip begins with.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// A passphrase archive that would take longer to open than a minute or so is refused (2^22 rounds need 4 GB).
const MOST_WORK: u8 = 20;

/// How an archive is closed.
pub enum Seal {
    /// Everybody who has the file can read it.
    None,
    /// By a passphrase.
    Passphrase(String),
    /// For these public keys.
    Recipients(Vec<x25519::Recipient>),
}

/// What opens an archive.
pub enum Key {
    /// The passphrase.
    Passphrase(String),
    /// Private keys.
    Identities(Vec<Box<dyn age::Identity>>),
}

/// How an archive is closed, as far as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// It is not.
    None,
    /// By a passphrase.
    Passphrase,
    /// For public keys.
    Recipients,
}

/// Reads a public key, `age1…`.
///
/// # Errors
/// When it is none.
pub fn recipient(text: &str) -> Result<x25519::Recipient, BackupError> {
    text.trim().parse().map_err(|why| {
        BackupError::Key(format!("{text:?} is no public key of age ({why}); age-keygen prints one, age1…"))
    })
}

/// Reads private keys as age-keygen writes them.
///
/// # Errors
/// When there is none in the text.
pub fn identities(text: &str) -> Result<Key, BackupError> {
    let file = age::IdentityFile::from_buffer(text.as_bytes())
        .map_err(|e| BackupError::Key(format!("the identity file holds no private key of age ({e})")))?;
    let found =
        file.into_identities().map_err(|e| BackupError::Key(format!("the identity file cannot be used ({e})")))?;
    match found.is_empty() {
        true => Err(BackupError::Key("the identity file holds no private key (AGE-SECRET-KEY-1…)".to_owned())),
        false => Ok(Key::Identities(found.into_iter().map(|one| one as Box<dyn age::Identity>).collect())),
    }
}

/// A stream that is closed as it is written.
pub(super) enum Sealed<W: Write> {
    Plain(W),
    Age(Box<age::stream::StreamWriter<W>>),
}

impl<W: Write> Sealed<W> {
    pub(super) fn new(inner: W, seal: &Seal) -> io::Result<Self> {
        let encryptor = match seal {
            Seal::None => return Ok(Self::Plain(inner)),
            Seal::Passphrase(words) => Encryptor::with_user_passphrase(SecretString::from(words.clone())),
            Seal::Recipients(all) => Encryptor::with_recipients(all.iter().map(|one| one as &dyn age::Recipient))
                .map_err(|e| io::Error::other(e.to_string()))?,
        };
        Ok(Self::Age(Box::new(encryptor.wrap_output(inner)?)))
    }

    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(inner) => Ok(inner),
            Self::Age(stream) => stream.finish(),
        }
    }
}

impl<W: Write> Write for Sealed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(inner) => inner.write(bytes),
            Self::Age(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(inner) => inner.flush(),
            Self::Age(stream) => stream.flush(),
        }
    }
}

/// The archive without its encryption. `key` is asked only when one is needed.
pub(super) fn open<'r, R: Read + 'r>(
    input: R,
    key: &mut dyn FnMut(Lock) -> Result<Key, BackupError>,
) -> Result<(Box<dyn BufRead + 'r>, Lock), BackupError> {
    let damaged =
        |e: &dyn std::fmt::Display| BackupError::Damaged { member: "its beginning".to_owned(), cause: e.to_string() };
    let mut head = Vec::new();
    let mut input = input;
    input.by_ref().take(MAGIC.len() as u64).read_to_end(&mut head).map_err(|e| damaged(&e))?;
    let whole = io::Cursor::new(head.clone()).chain(input);
    if head.starts_with(GZIP) {
        return Ok((Box::new(BufReader::with_capacity(1 << 16, whole)), Lock::None));
    }
    if head.starts_with(ARMOUR) {
        return Err(BackupError::Foreign(
            "it is encrypted as text; turn it into bytes with: age -d, or base64 -d".to_owned(),
        ));
    }
    if head != MAGIC {
        return Err(BackupError::Foreign(
            "it begins neither as an archive (.tar.gz) nor as an encrypted one".to_owned(),
        ));
    }
    let decryptor = Decryptor::new_buffered(BufReader::with_capacity(1 << 16, whole)).map_err(|e| damaged(&e))?;
    let lock = if decryptor.is_scrypt() { Lock::Passphrase } else { Lock::Recipients };
    let opened = match (key(lock)?, lock) {
        (Key::Passphrase(words), Lock::Passphrase) => {
            let mut identity = scrypt::Identity::new(SecretString::from(words));
            identity.set_max_work_factor(MOST_WORK);
            decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity))
        }
        (Key::Identities(all), Lock::Recipients) => decryptor.decrypt(all.iter().map(|one| one.as_ref())),
        (Key::Passphrase(_), _) => {
            return Err(BackupError::Key(
                "it is encrypted for a key, not by a passphrase; name the key file with --identity".to_owned(),
            ));
        }
        (Key::Identities(_), _) => {
            return Err(BackupError::Key(
                "it is encrypted by a passphrase, not for a key; name it with --passphrase-file".to_owned(),
            ));
        }
    };
    let stream = opened.map_err(|e| match e {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed if lock == Lock::Passphrase => {
            BackupError::Key("the passphrase is wrong".to_owned())
        }
        DecryptError::NoMatchingKeys => BackupError::Key("none of the given keys opens it".to_owned()),
        DecryptError::ExcessiveWork { .. } => {
            BackupError::Key("its passphrase would take too long to check; Verso makes no such backups".to_owned())
        }
        other => damaged(&other),
    })?;
    Ok((Box::new(BufReader::with_capacity(1 << 16, stream)), lock))
}
