//! What can be told about an account's credentials without opening a client. The link itself writes them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::paths::StatePaths;
use super::{atomic, lock};
use crate::ids::{AccountId, E164, Jid};

/// Where an account's credentials are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthDir {
    /// The folder.
    pub path: PathBuf,
    /// How much of it belongs to the account.
    pub kind: AuthDirKind,
}

/// How much of an account's folder is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthDirKind {
    /// All of it: `credentials/whatsapp/<account>`.
    Own,
    /// Named by `authDir` in the config; other files may lie there.
    Configured,
    /// The credentials folder itself, from before accounts existed; `oauth.json` lies there as well.
    Legacy,
}

/// Whether an account is linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// No credentials.
    NotLinked,
    /// Credentials of the original (Baileys), which Verso does not take over yet: the account has to be linked again.
    Foreign {
        /// The number that they belong to.
        number: Option<E164>,
    },
    /// Linked.
    Linked {
        /// The device's own address.
        jid: Jid,
        /// The account's number.
        number: Option<E164>,
        /// Since the credentials were last written.
        auth_age: Duration,
    },
}

const CREDENTIALS: &str = "creds.json";
const BACKUP: &str = "creds.json.bak";

/// The folder of an account: the configured one, the legacy one for a `default` that was linked before accounts
/// existed, or its own.
pub fn auth_dir_of(paths: &StatePaths, account: &AccountId, configured: Option<&Path>) -> AuthDir {
    if let Some(path) = configured {
        return AuthDir { path: path.to_owned(), kind: AuthDirKind::Configured };
    }
    let own = paths.account(account);
    let legacy = paths.credentials();
    if account.as_str() == AccountId::DEFAULT && legacy.join(CREDENTIALS).exists() && !own.join(CREDENTIALS).exists() {
        return AuthDir { path: legacy.to_owned(), kind: AuthDirKind::Legacy };
    }
    AuthDir { path: own, kind: AuthDirKind::Own }
}

/// Puts the backup in the place of credentials that are missing, empty or do not parse; returns whether it did.
///
/// # Errors
/// When the folder cannot be read or written.
pub fn restore(dir: &Path) -> io::Result<bool> {
    if parse(&dir.join(CREDENTIALS)).is_some() {
        return Ok(false);
    }
    let backup = dir.join(BACKUP);
    if parse(&backup).is_none() {
        return Ok(false);
    }
    atomic::replace(&dir.join(CREDENTIALS), &fs::read(&backup)?)?;
    tracing::warn!(target: "web-session", "restored corrupted WhatsApp creds.json from backup");
    Ok(true)
}

fn parse(path: &Path) -> Option<Value> {
    let bytes = fs::read(path).ok().filter(|bytes| bytes.len() > 1)?;
    serde_json::from_slice(&bytes).ok()
}

/// Looks into an account's folder, after [`restore`].
///
/// # Errors
/// When the folder cannot be read or written.
pub fn link_state(dir: &Path) -> io::Result<LinkState> {
    restore(dir)?;
    let path = dir.join(CREDENTIALS);
    let Some(saved) = parse(&path) else { return Ok(LinkState::NotLinked) };
    let me: Option<Jid> = saved["me"]["id"].as_str().and_then(|id| id.parse().ok());
    let ours = saved["format"].as_str().is_some_and(|format| format.starts_with("verso/"));
    let number = me.as_ref().and_then(Jid::e164);
    let auth_age = SystemTime::now().duration_since(fs::metadata(&path)?.modified()?).unwrap_or_default();
    Ok(match me {
        Some(jid) if ours => LinkState::Linked { jid, number, auth_age },
        Some(_) => LinkState::Foreign { number },
        None => LinkState::NotLinked,
    })
}

/// Deletes an account's credentials; returns whether there were any. The account must not be in use.
///
/// # Errors
/// When a file cannot be removed.
pub fn remove(dir: &AuthDir) -> io::Result<bool> {
    if !dir.path.join(CREDENTIALS).exists() && !dir.path.join("signal.db").exists() {
        return Ok(false);
    }
    if dir.kind == AuthDirKind::Own {
        fs::remove_dir_all(&dir.path)?;
        let parent = dir.path.parent().map(atomic::sync_dir);
        return parent.transpose().map(|_| true);
    }
    for entry in fs::read_dir(&dir.path)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_file() && name.to_str().is_some_and(is_ours) {
            fs::remove_file(entry.path())?;
        }
    }
    atomic::sync_dir(&dir.path)?;
    Ok(true)
}

/// Files of a link, Verso's own and the original's.
fn is_ours(name: &str) -> bool {
    const PREFIXES: [&str; 8] = [
        "creds",
        "app-state-sync-",
        "session-",
        "sender-key-",
        "pre-key-",
        "device-list-",
        "lid-mapping-",
        "tctoken-",
    ];
    let mirrored = name.ends_with(".json") && PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    mirrored || name == BACKUP || name == lock::ACCOUNT_LOCK || name.starts_with("signal.db")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"format":"verso/1","me":{"id":"15551234567:3@s.whatsapp.net"},"device":{}}"#;

    fn check(creds: Option<&str>, backup: Option<&str>, linked: bool, restored: bool) -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        for (name, text) in [(CREDENTIALS, creds), (BACKUP, backup)] {
            if let Some(text) = text {
                fs::write(dir.path().join(name), text)?;
            }
        }
        let state = link_state(dir.path())?;
        assert_eq!(matches!(state, LinkState::Linked { .. }), linked, "{creds:?} {backup:?} {state:?}");
        let now = fs::read_to_string(dir.path().join(CREDENTIALS)).ok();
        assert_eq!(now.as_deref() == Some(GOOD) && creds != Some(GOOD), restored, "{creds:?} {backup:?}");
        Ok(())
    }

    #[test]
    fn bad_credentials_come_back_from_the_backup() -> io::Result<()> {
        check(None, None, false, false)?;
        check(Some(""), Some(GOOD), true, true)?;
        check(None, Some(GOOD), true, true)?;
        check(Some("{"), Some(GOOD), true, true)?;
        check(Some(r#"{"me":"#), Some(GOOD), true, true)?;
        check(None, Some("{x"), false, false)?;
        check(Some(""), Some(""), false, false)?;
        check(Some(GOOD), Some("{x"), true, false)
    }

    #[test]
    fn the_original_s_credentials_are_recognised() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join(CREDENTIALS), r#"{"noiseKey":{},"me":{"id":"1555:4@s.whatsapp.net"}}"#)?;
        assert_eq!(link_state(dir.path())?, LinkState::Foreign { number: E164::normalize("1555") });
        Ok(())
    }

    #[test]
    fn the_legacy_folder_is_for_the_default_account_only() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let paths = StatePaths::new(dir.path());
        let kind = |account: &str| auth_dir_of(&paths, &AccountId::new(account), None).kind;
        fs::create_dir_all(paths.account(&AccountId::new("default")))?;
        assert_eq!(kind("default"), AuthDirKind::Own);
        fs::write(paths.credentials().join(CREDENTIALS), GOOD)?;
        assert_eq!(kind("default"), AuthDirKind::Legacy);
        assert_eq!(kind("work"), AuthDirKind::Own);
        fs::write(paths.account(&AccountId::new("default")).join(CREDENTIALS), GOOD)?;
        assert_eq!(kind("default"), AuthDirKind::Own);
        Ok(())
    }

    #[test]
    fn a_log_out_keeps_what_is_not_the_link_s() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let keep = ["oauth.json", "other.json", "session-1.txt", "whatsapp-pairing.json"];
        let go = ["creds.json", "creds.json.bak", "signal.db", "signal.db-wal", "pre-key-1.json", "device-list-1.json"];
        for name in keep.iter().chain(&go) {
            fs::write(dir.path().join(name), GOOD)?;
        }
        let legacy = AuthDir { path: dir.path().to_owned(), kind: AuthDirKind::Legacy };
        assert!(remove(&legacy)?);
        let mut left: Vec<String> =
            fs::read_dir(dir.path())?.map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned())).collect::<Result<_, _>>()?;
        left.sort();
        assert_eq!(left, keep);
        assert!(!remove(&legacy)?, "nothing is left to remove");
        let own = AuthDir { path: dir.path().join("own"), kind: AuthDirKind::Own };
        fs::create_dir(&own.path)?;
        fs::write(own.path.join(CREDENTIALS), GOOD)?;
        assert!(remove(&own)?);
        assert!(!own.path.exists());
        Ok(())
    }
}
