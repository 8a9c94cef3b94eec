//! Looks into an unpacked archive: can its databases be opened, what does its configuration say?

use std::path::Path;

use super::{Failure, lenient};
use crate::config::file::ConfigSource;
use crate::config::{Config, Loaded, ResolveEnv};
use crate::store::backup::manifest::{CONFIG, Manifest, STATE_DB};
use crate::store::journal::copy;
use crate::whatsapp::snapshot;

/// A private folder that goes when the command ends.
///
/// # Errors
/// When there is no room for it.
pub(super) fn scratch() -> Result<tempfile::TempDir, Failure> {
    tempfile::Builder::new().prefix("verso-backup-").tempdir().map_err(|e| {
        Failure::new(format!("cannot make a folder in {}: {e}", std::env::temp_dir().display()))
            .hint("set TMPDIR to a folder with room for the databases")
    })
}

/// The members that have to be on disk to be looked into.
pub(super) fn is_looked_into(member: &str) -> bool {
    member == STATE_DB || member.starts_with("links/") || member.starts_with("config/")
}

/// The configuration in an unpacked archive, as it would be read with this home and state folder.
pub(super) fn configuration(dir: &Path, env: ResolveEnv) -> Option<Result<Loaded, String>> {
    let path = dir.join(CONFIG);
    path.is_file().then(|| lenient(&ConfigSource { path, env }).map_err(|rejected| rejected.to_string()))
}

/// Opens everything; answers remarks about what a gateway would not like.
///
/// # Errors
/// When a database is damaged.
pub(super) fn check(dir: &Path, manifest: &Manifest) -> Result<Vec<String>, String> {
    let mut remarks = Vec::new();
    for link in &manifest.links {
        let folder = dir.join("links").join(link.account.as_str());
        snapshot::check(&folder).map_err(|why| format!("the link of account {}: {why}", link.account))?;
    }
    if manifest.journal.is_some() {
        copy::check(&dir.join(STATE_DB)).map_err(|e| e.to_string())?;
    }
    let env = ResolveEnv::new(&manifest.home, &manifest.state_dir);
    if let Some(Err(problems)) = configuration(dir, env) {
        remarks.push(format!("a gateway would refuse the configuration:\n{problems}"));
    }
    Ok(remarks)
}

/// Paths in the configuration that meant something on the machine of the backup: key and path.
pub(super) fn foreign_paths(
    config: &Config,
    manifest: &Manifest,
    home: &Path,
    state_dir: &Path,
) -> Vec<(String, String)> {
    let moved = |old: &str, new: &Path, text: &str| Path::new(old) != new && Path::new(text).starts_with(old);
    let mut found = Vec::new();
    texts(&config.written, String::new(), &mut |key, text| {
        if !text.starts_with('/') {
            return;
        }
        let names_a_folder = key.ends_with(".workspace") || key.ends_with(".authDir");
        if moved(&manifest.home, home, text)
            || moved(&manifest.state_dir, state_dir, text)
            || (names_a_folder && !Path::new(text).exists())
        {
            found.push((key.to_owned(), text.to_owned()));
        }
    });
    found
}

fn texts(value: &serde_json::Value, key: String, see: &mut dyn FnMut(&str, &str)) {
    match value {
        serde_json::Value::String(text) => see(&key, text),
        serde_json::Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, value)| texts(value, format!("{key}[{i}]"), see));
        }
        serde_json::Value::Object(map) => map.iter().for_each(|(name, value)| {
            texts(value, if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, see)
        }),
        _ => {}
    }
}
