//! Edits of the configuration file by commands: nothing is written that would not load, or that would take an account down unasked.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::Client;
use super::output::{Failure, Printer};
use super::place::Reach;
use crate::config::diff::ConfigDiff;
use crate::config::file::{self, ConfigSource, Replaced, UpdateError};
use crate::config::model::{Config, KeySource};
use crate::config::{Loaded, ReloadMode, Warning, edit_notes};
use crate::store::credentials::auth_dir;
use crate::store::paths::StatePaths;
use crate::whatsapp::seal::SealedFolder;

/// How long a running gateway may take to apply an edit.
const APPLIED: Duration = Duration::from_secs(10);

/// What an edit did.
pub(super) struct Edited {
    before: Option<Loaded>,
    after: Loaded,
    /// How the file was replaced.
    pub replaced: Replaced,
}

impl Edited {
    /// Keys whose new value needs a restart of the gateway.
    pub fn refused(&self) -> Vec<String> {
        self.before.as_ref().map(|old| ConfigDiff::between(&old.config, &self.after.config).refused).unwrap_or_default()
    }

    /// False when the gateway does not follow the file.
    pub fn is_followed(&self) -> bool {
        self.after.config.gateway.reload.mode != ReloadMode::Off
    }

    /// What the edit brings that somebody should know: new warnings, and what it means for others than it names.
    pub fn notes(&self) -> Vec<String> {
        let Some(before) = &self.before else { return Vec::new() };
        // Two accounts may have the same words said of them.
        let known = |w: &Warning| before.warnings.iter().any(|k| k.message == w.message && k.key_path == w.key_path);
        let news = self.after.warnings.iter().filter(|w| !known(w));
        let notes = edit_notes::of(&before.config, &self.after.config);
        news.map(ToString::to_string).chain(notes.iter().map(ToString::to_string)).collect()
    }
}

/// Edits the file if that makes a good config. `change` gets its text, empty where there is none yet, and gives the new one, or `None` to
/// leave it alone; it is called again when somebody else saved the file meanwhile.
///
/// # Errors
/// What `change` refuses; the text would not load, would stop an account whose files are sealed, or cannot be written. Nothing is changed
/// then.
pub(super) fn write(
    source: &ConfigSource,
    mut change: impl FnMut(&str) -> Result<Option<String>, Failure>,
) -> Result<Option<Edited>, Failure> {
    let mut loaded = None;
    let updated = file::update(&source.path, |before| {
        let Some(after) = change(before)? else { return Ok(None) };
        loaded = Some(check(source, before, &after)?);
        Ok(Some(after))
    });
    let updated = updated.map_err(|error| match error {
        UpdateError::Refused(why) => why,
        UpdateError::Unwritable(error) => Failure::new(format!("cannot write {}: {error}", source.path.display())),
        other => Failure::new(other.to_string()),
    })?;
    Ok(updated.zip(loaded).map(|(updated, (before, after))| Edited { before, after, replaced: updated.replaced }))
}

/// What the texts before and after an edit mean, if the edit may be made.
fn check(source: &ConfigSource, before: &str, after: &str) -> Result<(Option<Loaded>, Loaded), Failure> {
    let new = file::load_edited(source, after).map_err(|rejected| {
        Failure::new(format!("the file would be invalid after this, so nothing was written:\n{rejected}"))
    })?;
    if let Some(problem) = file::missing_key(&new.config) {
        return Err(Failure::new(format!("nothing was written: {problem}")));
    }
    let old = file::load_edited(source, if before.trim().is_empty() { "{}" } else { before }).ok();
    if let Some(why) = locked_out(source, old.as_ref().map(|old| &*old.config), &new.config).into_iter().next() {
        return Err(Failure::new(format!("nothing was written, because an account would stop: {why}")));
    }
    Ok((old, new))
}

/// Why accounts could not be opened any more under `new`; those that could not be before are left out, and so is what only the gateway
/// can know: keys in its environment or from its service manager.
pub(super) fn locked_out(source: &ConfigSource, old: Option<&Config>, new: &Config) -> Vec<String> {
    let paths = StatePaths::new(source.env.state_dir.clone(), Some(source.env.credentials.clone()));
    let trouble = |config: &Config, account: &crate::config::AccountConfig| {
        let encryption = config.account(&account.id)?.link.encryption.as_deref();
        if encryption.is_some_and(|e| !matches!(e.key, KeySource::File(_))) {
            return None;
        }
        let dir = auth_dir(&paths, &account.id, account.link.auth_dir.as_deref());
        SealedFolder { dir: &dir, account: &account.id, encryption }.trouble()
    };
    let changed = |id| old.and_then(|c| c.account(id)).map(|a| &a.link.encryption);
    new.accounts
        .values()
        .filter(|account| changed(&account.id) != Some(&account.link.encryption))
        .filter(|account| old.is_none_or(|old| trouble(old, account).is_none()))
        .filter_map(|account| trouble(new, account))
        .collect()
}

/// Waits until a running gateway has applied the edit, and says what came of it.
///
/// # Errors
/// The gateway refused the edit; the file is written all the same, and its last good config stays in force.
pub(super) async fn await_applied(
    edited: &Edited,
    reach: &Reach,
    p: &mut Printer<'_>,
    done: impl Fn(&Value) -> bool,
) -> Result<(), Failure> {
    if !edited.is_followed() {
        p.line("Restart the gateway to apply it (gateway.reload.mode is off).");
        return Ok(());
    }
    let mut client = match Client::connect(reach, APPLIED).await {
        Ok(client) => client,
        Err(error) if error.is_unreachable() => {
            p.line("No gateway is running; the next one starts with it.");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let deadline = tokio::time::Instant::now() + APPLIED;
    let outcome = loop {
        let status = client.call("channels.status", json!({}), APPLIED).await?;
        if done(&status) {
            break Ok(status["revision"].as_u64().unwrap_or_default());
        }
        let problems: Vec<&str> =
            status["configProblems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !problems.is_empty() {
            break Err(format!(
                "the running gateway refuses the edit, and its last good configuration stays:\n{}",
                problems.join("\n")
            ));
        }
        if tokio::time::Instant::now() > deadline {
            break Err("the running gateway has not applied the edit yet".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    client.close().await;
    match outcome {
        Ok(revision) => p.line(format!("The running gateway applied it (revision {revision}).")),
        Err(why) => return Err(Failure::new(why).hint("see: verso channels status, verso config validate")),
    }
    Ok(())
}

/// The text to edit: what a first configuration holds where there is none yet.
pub(super) fn or_first(text: &str) -> &str {
    if text.trim().is_empty() { crate::config::FIRST_CONFIG } else { text }
}
