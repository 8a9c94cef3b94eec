//! Passphrases and keys of backups: from a file, the environment, or a terminal that does not show them.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::Failure;
use crate::store::backup::BackupError;
use crate::store::backup::seal::{Key, Lock, Seal, identities, recipient};

/// Where a passphrase may come from without being typed.
const VARIABLE: &str = "VERSO_BACKUP_PASSPHRASE";

/// How an archive is closed.
#[derive(Debug, Args)]
pub struct SealArgs {
    /// Encrypt by a passphrase that is asked for
    #[arg(long, conflicts_with_all = ["passphrase_file", "recipient"])]
    passphrase: bool,
    /// Encrypt by the passphrase in this file [env: VERSO_BACKUP_PASSPHRASE, the passphrase itself]
    #[arg(long, value_name = "FILE", conflicts_with = "recipient")]
    passphrase_file: Option<PathBuf>,
    /// Encrypt for a public key of age (age1…), as age-keygen prints it; may be repeated
    #[arg(long, value_name = "KEY")]
    recipient: Vec<String>,
}

/// What opens an archive.
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// File with the passphrase of an encrypted backup [env: VERSO_BACKUP_PASSPHRASE, the passphrase itself]
    #[arg(long, value_name = "FILE", conflicts_with = "identity")]
    passphrase_file: Option<PathBuf>,
    /// File with the private key (AGE-SECRET-KEY-1…) of an encrypted backup
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl SealArgs {
    /// How the archive is to be closed.
    pub(super) fn seal(&self) -> Result<Seal, Failure> {
        if !self.recipient.is_empty() {
            let keys: Result<Vec<_>, BackupError> = self.recipient.iter().map(|text| recipient(text)).collect();
            return Ok(Seal::Recipients(keys.map_err(|e| Failure::usage(e.to_string()))?));
        }
        if let Some(file) = &self.passphrase_file {
            return Ok(Seal::Passphrase(from_file(file)?));
        }
        if self.passphrase {
            let first = ask("Passphrase of the backup: ")?;
            if ask("The same again: ")? != first {
                return Err(Failure::new("the two passphrases differ").hint("run the command again"));
            }
            return Ok(Seal::Passphrase(first));
        }
        Ok(from_environment().map_or(Seal::None, Seal::Passphrase))
    }
}

impl OpenArgs {
    /// The key of an archive that is closed so.
    pub(super) fn key(&self, lock: Lock) -> Result<Key, BackupError> {
        let told = |failure: Failure| BackupError::Key(failure.message);
        if let Some(file) = &self.identity {
            let text = fs::read_to_string(file)
                .map_err(|e| BackupError::Key(format!("cannot read the identity file {}: {e}", file.display())))?;
            return identities(&text);
        }
        if let Some(file) = &self.passphrase_file {
            return from_file(file).map(Key::Passphrase).map_err(told);
        }
        match lock {
            Lock::Recipients => Err(BackupError::Key(
                "it is encrypted for a key; name the file with the private key with --identity".to_owned(),
            )),
            _ => match from_environment() {
                Some(words) => Ok(Key::Passphrase(words)),
                None => ask("Passphrase of the backup: ").map(Key::Passphrase).map_err(|_| {
                    BackupError::Key(format!(
                        "it is encrypted by a passphrase; name it with --passphrase-file or {VARIABLE}"
                    ))
                }),
            },
        }
    }
}

fn from_environment() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|words| !words.is_empty())
}

fn from_file(file: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|e| Failure::new(format!("cannot read the passphrase file {}: {e}", file.display())))?;
    let first = text.lines().next().unwrap_or_default();
    if first.is_empty() {
        return Err(Failure::new(format!(
            "the passphrase file {} is empty; its first line is the passphrase",
            file.display()
        )));
    }
    Ok(first.to_owned())
}

/// Asks on the terminal, whatever standard input is.
fn ask(question: &str) -> Result<String, Failure> {
    let hint = format!("name it with --passphrase-file or {VARIABLE}");
    let none = |_| Failure::usage("there is no terminal to ask for the passphrase").hint(hint.clone());
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(none)?;
    let cannot = |e: std::io::Error| Failure::new(format!("cannot ask for the passphrase: {e}"));
    (&terminal).write_all(question.as_bytes()).map_err(cannot)?;
    let typed = {
        let _silent = Silent::new(&terminal).map_err(cannot)?;
        let mut line = String::new();
        BufReader::new(&terminal).read_line(&mut line).map_err(cannot)?;
        line.trim_end_matches(['\n', '\r']).to_owned()
    };
    (&terminal).write_all(b"\n").map_err(cannot)?;
    if typed.is_empty() {
        return Err(Failure::new("the passphrase is empty"));
    }
    Ok(typed)
}

/// A terminal that does not show what is typed, until it is dropped.
struct Silent<'t> {
    terminal: &'t File,
    before: rustix::termios::Termios,
}

impl<'t> Silent<'t> {
    fn new(terminal: &'t File) -> std::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}
