//! The credentials folder of an account: where it is, whether it holds a linked device, how it is emptied.
//!
//! The files themselves are written by the link that is open on the folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::clock::UnixMs;
use crate::event::Identity;
use crate::ids::AccountId;
use crate::store::StoreError;
use crate::store::paths::StatePaths;

/// What lies in an auth folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkFiles {
    /// A linked device.
    Linked {
        /// Whose.
        identity: Identity,
        /// When its credentials were last written.
        since: Option<UnixMs>,
    },
    /// None.
    NotLinked,
}

/// The auth folder of an account: the configured one, else the default place. For the account `default` credentials that an
/// old version left directly under `credentials/` are used where they are (behaviour.md 4.4).
pub fn auth_dir(paths: &StatePaths, account: &AccountId, configured: Option<&Path>) -> PathBuf {
    if let Some(dir) = configured {
        return dir.to_path_buf();
    }
    let usual = paths.whatsapp_auth(account);
    let legacy = paths.credentials();
    if account.as_str() == AccountId::DEFAULT
        && legacy.join("creds.json").is_file()
        && !usual.join("creds.json").is_file()
    {
        return legacy.to_path_buf();
    }
    usual
}

/// Looks whether a device is linked, after `creds.json` has been restored from its backup where it is missing or unreadable
/// (behaviour.md 4.3).
pub fn link_state(dir: &Path) -> LinkFiles {
    let path = dir.join("creds.json");
    let identity = read_identity(&path).or_else(|| {
        let backup = dir.join("creds.json.bak");
        let identity = read_identity(&backup)?;
        let bytes = fs::read(&backup).ok()?;
        crate::store::atomic::replace(&path, &bytes).ok()?;
        tracing::warn!(target: "web-session", "restored corrupted WhatsApp creds.json from backup");
        Some(identity)
    });
    match identity {
        Some(identity) => {
            let since = fs::metadata(&path)
                .and_then(|m| m.modified())
                .ok()
                .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
                .and_then(|d| UnixMs::try_from(d.as_millis()).ok());
            LinkFiles::Linked { identity, since }
        }
        None => LinkFiles::NotLinked,
    }
}

fn read_identity(path: &Path) -> Option<Identity> {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let ours = json.get("format").and_then(serde_json::Value::as_str).is_some_and(|f| f.starts_with("verso/"));
    // Those of a Baileys program, the original among them, are a link too: it is taken over when it is opened.
    let theirs = json.get("noiseKey").is_some() && json.get("signedIdentityKey").is_some();
    if !ours && !theirs {
        return None;
    }
    let me = json.get("me")?;
    let text = |key: &str| me.get(key).and_then(serde_json::Value::as_str).filter(|s| !s.is_empty());
    Some(Identity {
        jid: text("id")?.parse().ok()?,
        lid: text("lid").and_then(|l| l.parse().ok()),
        push_name: text("name").map(str::to_owned),
    })
}

/// Files that belong to a WhatsApp session, Verso's own and those of the original. Nothing else is ever deleted.
fn is_session_file(name: &str) -> bool {
    const PREFIXES: [&str; 8] = [
        "app-state-sync-",
        "session-",
        "sender-key-",
        "pre-key-",
        "device-list-",
        "lid-mapping-",
        "tctoken-",
        "identity-key-",
    ];
    const SET_ASIDE: [&str; 2] = [".exported", ".replaced"];
    let plain = SET_ASIDE.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    matches!(plain, "creds.json" | "creds.json.bak")
        || name.starts_with("signal.db")
        || (name.ends_with(".json") && PREFIXES.iter().any(|p| name.starts_with(p)))
}

/// True when the folder holds anything that [`remove`] would delete.
pub fn any_files(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(|e| is_session_file(&e.file_name().to_string_lossy())))
}

/// Deletes the session in an auth folder and nothing else: `oauth.json` and whatever a person put there stays. The default
/// folder of an account is removed when it is empty then.
///
/// # Errors
/// When a file cannot be deleted; others may be gone already.
pub fn remove(paths: &StatePaths, dir: &Path) -> Result<bool, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(StoreError::io("read", dir)(e)),
    };
    let mut removed = false;
    for entry in entries.flatten() {
        if is_session_file(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(StoreError::io("delete", &entry.path()))?;
            removed = true;
        }
    }
    if dir.starts_with(paths.credentials().join("whatsapp")) {
        // Fails harmlessly while the lock file or something of the owner's is in it.
        let _ = fs::remove_dir(dir);
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDS: &str =
        r#"{"format":"verso/1","me":{"id":"15551234567:12@s.whatsapp.net","lid":"77:12@lid","name":"Ann"}}"#;

    fn linked(dir: &Path) -> Option<String> {
        match link_state(dir) {
            LinkFiles::Linked { identity, .. } => identity.number().map(|n| n.to_string()),
            LinkFiles::NotLinked => None,
        }
    }

    #[test]
    fn damaged_credentials_come_back_from_the_backup() {
        for damaged in [None, Some(""), Some("{"), Some("{\"me\"")] {
            let dir = tempfile::tempdir().expect("temp dir");
            fs::write(dir.path().join("creds.json.bak"), CREDS).expect("write");
            if let Some(text) = damaged {
                fs::write(dir.path().join("creds.json"), text).expect("write");
            }
            assert_eq!(linked(dir.path()).as_deref(), Some("+15551234567"), "{damaged:?}");
            assert_eq!(fs::read_to_string(dir.path().join("creds.json")).expect("restored"), CREDS);
        }
        let theirs = tempfile::tempdir().expect("temp dir");
        fs::write(theirs.path().join("creds.json"), CREDS.replace(r#""format":"verso/1","#, "")).expect("write");
        assert_eq!(link_state(theirs.path()), LinkFiles::NotLinked, "credentials of nobody known");
        let baileys = CREDS.replace(r#""format":"verso/1""#, r#""noiseKey":{},"signedIdentityKey":{}"#);
        fs::write(theirs.path().join("creds.json"), baileys).expect("write");
        assert_eq!(linked(theirs.path()).as_deref(), Some("+15551234567"), "a link to take over");
        let empty = tempfile::tempdir().expect("temp dir");
        assert_eq!(link_state(empty.path()), LinkFiles::NotLinked);
    }

    #[test]
    fn the_legacy_folder_serves_the_default_account_only() {
        let dir = tempfile::tempdir().expect("temp dir");
        let paths = StatePaths::new(dir.path(), None);
        fs::create_dir_all(paths.credentials()).expect("mkdir");
        fs::write(paths.credentials().join("creds.json"), CREDS).expect("write");
        let default = AccountId::new("default");
        assert_eq!(auth_dir(&paths, &default, None), paths.credentials());
        assert_eq!(auth_dir(&paths, &AccountId::new("work"), None), paths.whatsapp_auth(&AccountId::new("work")));
        assert_eq!(auth_dir(&paths, &default, Some(Path::new("/x"))), Path::new("/x"));
        fs::create_dir_all(paths.whatsapp_auth(&default)).expect("mkdir");
        fs::write(paths.whatsapp_auth(&default).join("creds.json"), CREDS).expect("write");
        assert_eq!(auth_dir(&paths, &default, None), paths.whatsapp_auth(&default));
    }

    #[test]
    fn removing_a_session_keeps_everything_else() {
        let dir = tempfile::tempdir().expect("temp dir");
        let paths = StatePaths::new(dir.path(), None);
        let auth = paths.whatsapp_auth(&AccountId::new("work"));
        fs::create_dir_all(&auth).expect("mkdir");
        for name in [
            "creds.json",
            "creds.json.bak",
            "creds.json.bak.exported",
            "signal.db",
            "signal.db-wal",
            "pre-key-1.json",
            "tctoken-1.json",
            "oauth.json",
            "notes.txt",
        ] {
            fs::write(auth.join(name), "x").expect("write");
        }
        assert!(any_files(&auth));
        assert!(remove(&paths, &auth).expect("removable"));
        let mut left: Vec<_> = fs::read_dir(&auth).expect("kept").flatten().map(|e| e.file_name()).collect();
        left.sort();
        assert_eq!(left, ["notes.txt", "oauth.json"]);
        assert!(!remove(&paths, &auth).expect("nothing left"));
    }
}
