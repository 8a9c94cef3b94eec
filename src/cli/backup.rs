//! `verso backup create|verify|restore`: configuration, links and state in one archive, for this machine or another one.

mod create;
mod place_in;
mod restore;
mod secret;
mod staged;
mod target;
mod verify;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{Failure, Printer, ago};
use super::place::Place;
use super::show;
use crate::api::iso_time;
use crate::clock::Clock;
use crate::config::file::{self, ConfigSource};
use crate::config::{Config, Loaded, Rejected};
use crate::ids::AccountId;
use crate::store::backup::BackupError;
use crate::store::backup::manifest::{LinkEntry, Manifest, Member};
use crate::store::backup::seal::Lock;
use crate::store::backup::swap;
use crate::store::credentials::{auth_dir, is_session_file};
use crate::store::lock::GatewayLock;

/// Arguments of `verso backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(subcommand)]
    command: BackupCommand,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// Write configuration, links and state into one archive; the gateway may run
    Create(create::CreateArgs),
    /// Read an archive to its end, check every byte of it and say what is inside
    Verify(verify::VerifyArgs),
    /// Put the state of an archive in the place of the present one; the gateway must be stopped
    Restore(restore::RestoreArgs),
}

impl BackupArgs {
    /// True when a program reads the output.
    pub fn json(&self) -> bool {
        match &self.command {
            BackupCommand::Create(args) => args.json,
            BackupCommand::Verify(args) => args.json,
            BackupCommand::Restore(args) => args.json,
        }
    }
}

/// Runs `verso backup`.
pub(super) fn run(args: &BackupArgs, p: &mut Printer<'_>) -> Result<(), Failure> {
    match &args.command {
        BackupCommand::Create(args) => create::run(args, p),
        BackupCommand::Verify(args) => verify::run(args, p),
        BackupCommand::Restore(args) => restore::run(args, p),
    }
}

/// Finishes a restore that a crash cut off, before anything else is done with the state.
///
/// # Errors
/// When it cannot be finished: the state is half old and half new.
pub(super) fn finish_restore(place: &Place) -> Result<(), Failure> {
    if !swap::is_unfinished(&place.paths) {
        return Ok(());
    }
    let _alone = GatewayLock::acquire(&place.paths)?;
    match swap::finish(&place.paths) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(format!("a restore was cut off and cannot be finished: {error}"))
            .hint("put that right and start again; until then the state is half old and half new")),
    }
}

/// What a link must not do.
const ONE_MACHINE: &str =
    "A link must not run on two machines: WhatsApp reports a conflict (440), and both lose messages.";

/// The error of an archive, with its name.
fn failed(file: &Path, error: BackupError) -> Failure {
    let name =
        if file == Path::new("-") { "the backup on standard input".to_owned() } else { file.display().to_string() };
    match error {
        BackupError::Store(error) => Failure::new(error.to_string()),
        BackupError::Space(words) => Failure::new(words),
        BackupError::Changed(_) => Failure::new(error.to_string()),
        BackupError::Key(words) => Failure::new(format!("{name} cannot be opened: {words}")),
        BackupError::Damaged { .. } => Failure::new(format!("{name} is {error}"))
            .hint("nothing of it was used; take another copy or an older backup"),
        BackupError::Foreign(_) => Failure::new(format!("{name} is {error}")),
        BackupError::Refused { .. } => {
            Failure::new(format!("{name} is {error}")).hint("Verso makes no such archives; do not use it")
        }
    }
}

/// Opens an archive; `-` is standard input.
fn input(file: &Path) -> Result<Box<dyn Read>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let cannot = |e: io::Error| Failure::new(format!("cannot read {}: {e}", file.display()));
    let open = File::open(file).map_err(cannot)?;
    if open.metadata().map_err(cannot)?.is_dir() {
        return Err(Failure::new(format!("{} is a folder", file.display())).hint("name the archive in it"));
    }
    Ok(Box::new(open))
}

/// The configuration, with something in the place of variables that are not set here: a command that is run by cron has few.
fn lenient(source: &ConfigSource) -> Result<Loaded, Rejected> {
    let text = match file::read_text(&source.path) {
        Ok(text) => text,
        Err(_) => return file::load(source),
    };
    let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty()).or_else(|| Some("unset".to_owned()));
    file::load_with(source, &text, &var)
}

/// Every account that may have a link, and its folder: the configured ones and those that lie in the usual place.
fn link_folders(place: &Place, config: Option<&Config>) -> Vec<(AccountId, std::path::PathBuf)> {
    let configured = |id: &AccountId| config.and_then(|c| c.account(id)).and_then(|a| a.link.auth_dir.clone());
    let mut ids: Vec<AccountId> = config.map(|c| c.accounts.keys().cloned().collect()).unwrap_or_default();
    for entry in std::fs::read_dir(place.paths.credentials().join("whatsapp")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let id = AccountId::new(&name);
        // A folder that is set aside has a name that no account has.
        if id.as_str() == name && !ids.contains(&id) && entry.path().is_dir() && !name.contains("-backup-") {
            ids.push(id);
        }
    }
    let default = AccountId::new(AccountId::DEFAULT);
    if !ids.contains(&default) {
        ids.push(default);
    }
    ids.into_iter().map(|id| (id.clone(), auth_dir(&place.paths, &id, configured(&id).as_deref()))).collect()
}

/// What lies directly in `credentials/` when the account `default` is where an old version left it.
fn is_of_a_link(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    is_session_file(&name) || name.starts_with("creds.json") || ["data-key.json", "relink"].contains(&&*name)
}

/// `12.3 MB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn who(link: &LinkEntry) -> String {
    let jid = link.jid.as_deref().unwrap_or("of an unknown number");
    match jid.parse::<crate::ids::Jid>().ok().and_then(|jid| jid.e164()) {
        Some(number) => number.to_string(),
        None => jid.to_owned(),
    }
}

/// What an archive holds, for programs.
fn described(manifest: &Manifest, members: &[Member], lock: Lock) -> Value {
    json!({
        "createdAt": manifest.created_at,
        "verso": manifest.verso,
        "encrypted": match lock { Lock::None => Value::Null, Lock::Passphrase => "passphrase".into(), Lock::Recipients => "recipients".into() },
        "stateDir": manifest.state_dir,
        "links": manifest.links,
        "journal": manifest.journal,
        "media": manifest.media,
        "files": members.len(),
        "bytes": members.iter().map(|m| m.size).sum::<u64>(),
    })
}

/// What an archive holds, for people.
fn lines(manifest: &Manifest, members: &[Member], lock: Lock) -> Vec<String> {
    let below = |start: &str| {
        let found: Vec<&Member> = members.iter().filter(|m| m.path.starts_with(start)).collect();
        (found.len(), size(found.iter().map(|m| m.size).sum()))
    };
    let closed = match lock {
        Lock::None => "not encrypted",
        Lock::Passphrase => "encrypted by a passphrase",
        Lock::Recipients => "encrypted for a key",
    };
    let now = Clock::System.now();
    let mut out = vec![format!(
        "Backup of {} ({}), made by Verso {}, {closed}",
        iso_time(manifest.created_at),
        ago(manifest.created_at, now),
        manifest.verso
    )];
    match below("config/").0 {
        0 => out.push("- configuration: none".into()),
        1 => out.push("- configuration: verso.json".into()),
        n => out.push(format!("- configuration: verso.json and {} included files", n - 1)),
    }
    for link in &manifest.links {
        let key = link.data_key.as_ref().map(|key| format!("; sealed with the key {key}, which is needed to use it"));
        out.push(format!("- link {}: {}{}", link.account, who(link), key.unwrap_or_default()));
    }
    if manifest.links.is_empty() {
        out.push("- links: none".into());
    }
    if let Some(journal) = &manifest.journal {
        let open = match (journal.open, journal.waiting) {
            (0, 0) => String::new(),
            (open, waiting) => format!("; {open} not answered yet, {waiting} not sent yet"),
        };
        out.push(format!("- journal: {} messages{open}", journal.messages));
    }
    let (files, bytes) = below("agents/");
    out.push(format!("- agents (workspaces, transcripts): {files} files, {bytes}"));
    match (manifest.media, below("media/")) {
        (true, (files, bytes)) => out.push(format!("- media: {files} files, {bytes}")),
        (false, (0, _)) => out.push("- media: left out".into()),
        (false, (files, bytes)) => {
            out.push(format!("- media: left out but for {files} files that wait to be sent, {bytes}"))
        }
    }
    out.push(format!("{} files, {}", members.len(), size(members.iter().map(|m| m.size).sum())));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!((size(999), size(1_500), size(2_340_000_000)), ("999 B".into(), "1.5 kB".into(), "2.3 GB".into()));
    }
}
