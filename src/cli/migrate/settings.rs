//! The configuration of the original as far as Verso serves it. Pure but for the reading of what it includes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::source::OldState;
use crate::cli::output::Failure;
use crate::config::file::{ConfigSource, read_text};
use crate::config::{Context, Loaded, Rejected, edit, load, parse_text, written_out};
use crate::ids::AccountId;

/// What Verso takes of the old configuration.
pub(super) struct Settings {
    /// The text to be written.
    pub text: String,
    /// What it means.
    pub loaded: Loaded,
    /// Folders of their own that accounts had.
    pub old_dirs: Vec<(AccountId, PathBuf)>,
    /// Keys and variables that need a person, and why.
    pub left: Vec<(String, String)>,
}

/// Reads the configuration of `old` as the file of `location`.
///
/// # Errors
/// When it cannot be read, or is damaged.
pub(super) fn settings(old: &OldState, location: &ConfigSource) -> Result<Settings, Failure> {
    let failed = |why: String| Failure::new(format!("{} cannot be taken over: {why}", old.config.display()));
    let text = read_text(&old.config).map_err(failed)?;
    let mut read = |path: &Path| read_text(path);
    let (text, included) = written_out(&text, &old.config, &mut read).map_err(|e| failed(e.to_string()))?;
    let known = old.variables(&text);
    let mut left = Vec::new();
    if !included.is_empty() {
        let names: Vec<String> = included.iter().map(|path| path.display().to_string()).collect();
        left.push((
            "$include".to_owned(),
            format!("{} are written into the one file; only comments stay behind", names.join(", ")),
        ));
    }
    let variables = Variables { known: &known, wanted: RefCell::default() };
    let (mut text, loaded) = served(text, location, &variables, &mut left).map_err(|e| failed(e.to_string()))?;
    // Folders of their own are moved like the others; one where nothing is linked stays the account's place.
    let linked = |dir: &Path| dir.join("creds.json").exists() || dir.join("creds.json.bak").exists();
    let old_dirs: Vec<(AccountId, PathBuf)> = loaded
        .config
        .accounts
        .iter()
        .filter_map(|(id, account)| Some((id.clone(), account.link.auth_dir.clone()?)))
        .filter(|(_, dir)| dir.starts_with(&old.root) || linked(dir))
        .collect();
    if !old_dirs.is_empty() {
        text = without_dirs(text, &old_dirs);
    }
    let loaded = variables.load(&text, location).map_err(|e| failed(e.to_string()))?;
    for name in variables.wanted.into_inner() {
        let place = if known.contains_key(&name) { "the original's own settings set it" } else { "it is not set here" };
        left.push((format!("${{{name}}}"), format!("{place}: set {name} in the environment of the gateway")));
    }
    for warning in &loaded.warnings {
        left.push((warning.key_path.to_string(), warning.message.clone()));
    }
    Ok(Settings { text, loaded, old_dirs, left })
}

/// What placeholders stand for while the old configuration is read.
struct Variables<'a> {
    known: &'a BTreeMap<String, String>,
    /// Names that this process does not have.
    wanted: RefCell<BTreeSet<String>>,
}

impl Variables<'_> {
    fn load(&self, text: &str, location: &ConfigSource) -> Result<Loaded, Rejected> {
        let var = |name: &str| {
            std::env::var(name).ok().filter(|value| !value.is_empty()).or_else(|| {
                self.wanted.borrow_mut().insert(name.to_owned());
                // A key is not lost because its variable is set elsewhere.
                Some(self.known.get(name).cloned().unwrap_or_else(|| "unset".to_owned()))
            })
        };
        let mut read = |path: &Path| read_text(path);
        load(text, Context { path: Some(&location.path), var: &var, read: &mut read }, &location.env)
    }
}

/// The text without the keys that Verso refuses.
fn served(
    mut text: String,
    location: &ConfigSource,
    variables: &Variables<'_>,
    left: &mut Vec<(String, String)>,
) -> Result<(String, Loaded), Rejected> {
    loop {
        let rejected = match variables.load(&text, location) {
            Ok(loaded) => return Ok((text, loaded)),
            Err(rejected) => rejected,
        };
        let removable = rejected.iter().find_map(|problem| {
            let path = edit::parse_path(&problem.key_path.to_string()).ok().filter(|p| !p.is_empty())?;
            let shorter = spellings(&path).iter().find_map(|path| without(&text, path))?;
            Some((problem.key_path.to_string(), problem.message.clone(), shorter))
        });
        let Some((path, why, shorter)) = removable else { return Err(rejected) };
        left.push((path, why));
        text = shorter;
    }
}

/// A key where it stands today, and where the oldest files have it.
fn spellings(path: &[String]) -> Vec<Vec<String>> {
    let mut out = vec![path.to_vec()];
    if let [channels, whatsapp, rest @ ..] = path
        && channels == "channels"
        && whatsapp == "whatsapp"
    {
        out.push([&["whatsapp".to_owned()], rest].concat());
    }
    out
}

fn without_dirs(mut text: String, dirs: &[(AccountId, PathBuf)]) -> String {
    let tree = parse_text(&text).unwrap_or_default();
    for channel in spellings(&["channels".to_owned(), "whatsapp".to_owned()]) {
        let key = |more: &[&str]| [channel.clone(), more.iter().map(|k| (*k).to_owned()).collect()].concat();
        let mut paths = vec![key(&["authDir"])];
        let accounts = edit::get(&tree, &key(&["accounts"])).and_then(Value::as_object);
        for name in accounts.into_iter().flat_map(|accounts| accounts.keys()) {
            if dirs.iter().any(|(id, _)| *id == AccountId::new(name)) {
                paths.push(key(&["accounts", name, "authDir"]));
            }
        }
        for path in paths {
            text = without(&text, &path).unwrap_or(text);
        }
    }
    text
}

/// The text without this key. The object that it was in stays, also when nothing is left in it: an account may be one.
fn without(text: &str, path: &[String]) -> Option<String> {
    let shorter = edit::unset(text, path).ok().flatten()?;
    let (_, parent) = path.split_last()?;
    let there = parent.is_empty() || edit::get(&parse_text(&shorter).ok()?, parent).is_some();
    if there { Some(shorter) } else { edit::set(&shorter, parent, &json!({})).ok().or(Some(shorter)) }
}
