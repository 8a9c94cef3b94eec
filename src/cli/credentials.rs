//! `verso credentials`: the key that seals the accounts' files, and the seal itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{Failure, Printer};
use super::place::Place;
use super::{show, transfer};
use crate::config::model::{AccountConfig, EncryptionConfig, KeySource};
use crate::ids::AccountId;
use crate::store::credentials::{any_files, auth_dir};
use crate::whatsapp::OpenError;
use crate::whatsapp::seal::{self, MasterKey, SealStatus, SealedFolder};

/// Arguments of `verso credentials`.
#[derive(Debug, Args)]
pub struct CredentialsArgs {
    #[command(subcommand)]
    command: CredentialsCommand,
}

#[derive(Debug, Subcommand)]
enum CredentialsCommand {
    /// Print a fresh key for credentials.encryption: verso credentials key > FILE
    Key,
    /// Show which accounts are sealed, with which key, and whether it is there
    Status(OneArgs),
    /// Seal an account with a fresh data key; the gateway must not have it open
    Rotate(OneArgs),
    /// Bring an account back to plain files; the gateway must not have it open
    Decrypt(DecryptArgs),
}

#[derive(Debug, Args)]
struct OneArgs {
    /// Account [default: all accounts]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DecryptArgs {
    #[command(flatten)]
    which: OneArgs,
    /// File with the key, when verso.json does not name it any more
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl CredentialsArgs {
    /// True when a program reads the output.
    pub fn json(&self) -> bool {
        match &self.command {
            CredentialsCommand::Key => false,
            CredentialsCommand::Status(args) | CredentialsCommand::Rotate(args) => args.json,
            CredentialsCommand::Decrypt(args) => args.which.json,
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::new(error.to_string())
    }
}

/// Runs `verso credentials`.
pub(super) async fn run(args: &CredentialsArgs, p: &mut Printer<'_>) -> Result<(), Failure> {
    let place = Place::of_process();
    match &args.command {
        CredentialsCommand::Key => {
            let key = MasterKey::fresh().map_err(Failure::new)?;
            p.line(key.as_str());
            Ok(())
        }
        CredentialsCommand::Status(args) => status(args, &place, p),
        CredentialsCommand::Rotate(args) => rotate(args, &place, p).await,
        CredentialsCommand::Decrypt(args) => decrypt(args, &place, p).await,
    }
}

/// An account and its folder.
struct Folder {
    id: AccountId,
    dir: PathBuf,
    encryption: Option<Arc<EncryptionConfig>>,
}

impl Folder {
    fn sealed(&self) -> SealedFolder<'_> {
        SealedFolder { dir: &self.dir, account: &self.id, encryption: self.encryption.as_deref() }
    }
}

fn folders(place: &Place, account: Option<&str>) -> Result<Vec<Folder>, Failure> {
    let config = place.config()?.config;
    let folder = |account: &Arc<AccountConfig>| Folder {
        id: account.id.clone(),
        dir: auth_dir(&place.paths, &account.id, account.link.auth_dir.as_deref()),
        encryption: account.link.encryption.clone(),
    };
    match account {
        None => Ok(config.accounts.values().map(folder).collect()),
        Some(name) => {
            let id = super::channels::account_id(&config, Some(name))?;
            Ok(config.account(&id).map(folder).into_iter().collect())
        }
    }
}

fn status(args: &OneArgs, place: &Place, p: &mut Printer<'_>) -> Result<(), Failure> {
    let folders = folders(place, args.account.as_deref())?;
    let encryption = folders.iter().find_map(|f| f.encryption.clone());
    let read = |source: &KeySource| match seal::read_key(source) {
        Ok(key) => (Some(key.fingerprint()), None),
        Err(cause) => (None, Some(cause)),
    };
    let sources = encryption
        .iter()
        .flat_map(|e| std::iter::once((&e.key, "key")).chain(e.previous.iter().map(|k| (k, "previous"))));
    let keys: Vec<(Value, String)> = sources
        .map(|(source, role)| {
            let (fingerprint, error) = read(source);
            let line = match (&fingerprint, &error) {
                (Some(fingerprint), _) => format!("{role}: {fingerprint} ({source})"),
                (None, error) => format!("{role}: not usable ({source}): {}", error.as_deref().unwrap_or_default()),
            };
            (json!({"role": role, "source": source.to_string(), "fingerprint": fingerprint, "error": error}), line)
        })
        .collect();
    let available: Vec<&str> = keys.iter().filter_map(|(key, _)| key["fingerprint"].as_str()).collect();
    let accounts: Vec<(Value, String)> = folders
        .iter()
        .map(|folder| {
            let found = seal::status(&folder.dir);
            let usable = found.key.as_deref().is_some_and(|key| available.contains(&key));
            let mut value = serde_json::to_value(&found).unwrap_or_default();
            value["accountId"] = json!(folder.id);
            value["linked"] = json!(any_files(&folder.dir));
            value["keyAvailable"] = json!(usable);
            (value, account_line(folder, &found, usable))
        })
        .collect();
    let spare = spare_keys(&accounts, &keys);
    let value = json!({
        "encryption": encryption.is_some(),
        "keys": keys.iter().map(|(value, _)| value).collect::<Vec<_>>(),
        "accounts": accounts.iter().map(|(value, _)| value).collect::<Vec<_>>(),
    });
    show(p, &value, || {
        let mut lines = match encryption {
            Some(_) => keys.into_iter().map(|(_, line)| line).collect(),
            None => vec!["credentials.encryption is off: new links are kept in plain files".to_owned()],
        };
        lines.extend(accounts.into_iter().map(|(_, line)| line));
        lines.extend(spare);
        lines
    });
    Ok(())
}

fn account_line(folder: &Folder, found: &SealStatus, usable: bool) -> String {
    let id = &folder.id;
    let key = found.key.as_deref().unwrap_or("(unknown)");
    let mut line = match (found.sealed, usable) {
        (false, _) if !any_files(&folder.dir) => format!("{id}: not linked"),
        (false, _) if folder.encryption.is_some() => format!("{id}: plain; sealed when the gateway opens it next"),
        (false, _) => format!("{id}: plain"),
        (true, true) if found.complete => format!("{id}: sealed with key {key}"),
        (true, true) => format!("{id}: sealed in part with key {key}; finished when the gateway opens it next"),
        (true, false) => format!("{id}: sealed with key {key}, which is not there"),
    };
    if found.sealed && !found.plain_copies.is_empty() {
        line.push_str(&format!("; {}", seal::copies_sentence(&found.plain_copies)));
    }
    line
}

/// Keys of before that open no account any more.
fn spare_keys(accounts: &[(Value, String)], keys: &[(Value, String)]) -> Vec<String> {
    let used = |fingerprint: &Value| accounts.iter().any(|(account, _)| account["key"] == *fingerprint);
    let spare = keys
        .iter()
        .map(|(key, _)| key)
        .filter(|key| key["role"] == "previous" && key["fingerprint"].is_string() && !used(&key["fingerprint"]));
    spare
        .map(|key| {
            format!(
                "key {} opens no account any more: it can go from credentials.encryption.previous",
                key["fingerprint"].as_str().unwrap_or_default()
            )
        })
        .collect()
}

async fn rotate(args: &OneArgs, place: &Place, p: &mut Printer<'_>) -> Result<(), Failure> {
    let mut done = Vec::new();
    for folder in folders(place, args.account.as_deref())? {
        if folder.encryption.is_none() {
            return Err(Failure::new("credentials.encryption is off: there is no key to seal with")
                .hint("verso credentials key > FILE, and name the file in credentials.encryption.key"));
        }
        if !any_files(&folder.dir) {
            continue;
        }
        let _lock = transfer::lock(&folder.dir, &folder.id).await?;
        folder.sealed().rotate().await?;
        done.push(folder.id);
    }
    told(p, "rotated", &done, "sealed with a fresh data key")
}

async fn decrypt(args: &DecryptArgs, place: &Place, p: &mut Printer<'_>) -> Result<(), Failure> {
    let mut done = Vec::new();
    let mut folders = folders(place, args.which.account.as_deref())?;
    let sealed_again = folders.iter().any(|f| f.encryption.is_some());
    let named = args.key_file.as_deref().map(by_file).transpose()?;
    for folder in &mut folders {
        let found = seal::status(&folder.dir);
        if !found.sealed {
            continue;
        }
        if let (Some((file, fingerprint)), Some(needed)) = (&named, &found.key)
            && fingerprint != needed
        {
            let id = &folder.id;
            return Err(Failure::new(format!(
                "account {id} is sealed with key {needed}, and --key-file {} holds key {fingerprint}",
                file.display()
            ))
            .hint(format!("name the file with key {needed}; another account is unsealed with --account")));
        }
        if let Some((file, _)) = &named {
            folder.encryption =
                Some(Arc::new(EncryptionConfig { key: KeySource::File(file.clone()), previous: Vec::new() }));
        }
        let _lock = transfer::lock(&folder.dir, &folder.id).await?;
        if folder.sealed().decrypt().await? {
            done.push(folder.id.clone());
        }
    }
    told(p, "decrypted", &done, "plain again")?;
    if sealed_again && !done.is_empty() {
        p.note("Remove credentials.encryption from verso.json before the gateway starts, or it seals them again.");
    }
    Ok(())
}

/// The file and the fingerprint of the key in it.
fn by_file(file: &Path) -> Result<(PathBuf, String), Failure> {
    let key = seal::read_key(&KeySource::File(file.to_owned())).map_err(|cause| {
        Failure::new(format!("--key-file {} cannot be used: {cause}", file.display())).hint(
            "name the file with the key that `verso credentials status` tells; it holds 32 bytes as base64 or hex",
        )
    })?;
    Ok((file.to_owned(), key.fingerprint()))
}

fn told(p: &mut Printer<'_>, key: &str, done: &[AccountId], what: &str) -> Result<(), Failure> {
    show(p, &json!({ key: done }), || match done {
        [] => vec!["nothing to do: no account is sealed".to_owned()],
        done => done.iter().map(|id| format!("{id}: {what}")).collect(),
    });
    Ok(())
}
