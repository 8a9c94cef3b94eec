//! The credentials folder of an account: where it is, whether it holds a linked device, how it is emptied.
//!
//! The files themselves are written by the link that is open on the folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::clock::UnixMs;
use crate::event::Identity;
use crate::ids::AccountId;
use crate::store::paths::StatePaths;
use crate::store::{StoreError, auth_files};

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
    /// What is there is no link that can be used; why, in a sentence.
    Unusable(String),
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
    if let Some(why) = auth_files::obstacle(dir) {
        return LinkFiles::Unusable(why);
    }
    let path = dir.join("creds.json");
    let identity = read_identity(&path).or_else(|| {
        let backup = dir.join("creds.json.bak");
        let identity = read_identity(&backup)?;
        let bytes = fs::read(&backup).ok()?;
        crate::store::atomic::replace(&path, &bytes).ok()?;
        tracing::warn!(target: "web-session", "restored corrupted WhatsApp creds.json from backup");
        Some(identity)
    });
    let database = dir.join("signal.db");
    match identity.or_else(|| device_in(&database)) {
        Some(identity) => {
            let since = fs::metadata(&path)
                .and_then(|m| m.modified())
                .ok()
                .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
                .and_then(|d| UnixMs::try_from(d.as_millis()).ok());
            LinkFiles::Linked { identity, since }
        }
        None if has_text(&path) || has_text(&dir.join("creds.json.bak")) => LinkFiles::Unusable(unusable(&path)),
        None => LinkFiles::NotLinked,
    }
}

/// Why there is no link although there are credentials.
fn unusable(path: &Path) -> String {
    let json = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    match json {
        Some(json) if Identity::is_recorded(&json) => {
            format!("{} names no phone: its link was never finished; link again", path.display())
        }
        Some(json) if json.is_object() => format!(
            "{} was written neither by Verso nor by Baileys; move it away, then link the account",
            path.display()
        ),
        _ => "the WhatsApp credentials are damaged and have no readable backup; link again".to_owned(),
    }
}

/// Whose device `creds.json` or its backup names. Nothing is restored, and the database is not opened.
pub fn recorded(dir: &Path) -> Option<Identity> {
    read_identity(&dir.join("creds.json")).or_else(|| read_identity(&dir.join("creds.json.bak")))
}

fn has_text(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.len() > 1)
}

/// Whose device the database holds: the link is opened from it when the files beside it are lost.
fn device_in(database: &Path) -> Option<Identity> {
    if !has_text(database) {
        return None;
    }
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = rusqlite::Connection::open_with_flags(database, flags).ok()?;
    let read =
        |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?));
    let (jid, lid, name) = database.query_row("SELECT pn, lid, push_name FROM device LIMIT 1", [], read).ok()?;
    Some(Identity {
        jid: Some(jid).filter(|j| !j.is_empty())?.parse().ok()?,
        lid: lid.parse().ok(),
        push_name: Some(name).filter(|n| !n.is_empty()),
    })
}

fn read_identity(path: &Path) -> Option<Identity> {
    Identity::recorded(&serde_json::from_slice(&fs::read(path).ok()?).ok()?)
}

/// Files that belong to a WhatsApp session, Verso's own and those of the original. Nothing else is ever deleted.
pub fn is_session_file(name: &str) -> bool {
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
    const SET_ASIDE: [&str; 3] = [".exported", ".replaced", ".damaged"];
    let plain = SET_ASIDE.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    matches!(plain, "creds.json" | "creds.json.bak" | "data-key.json" | "data-key.json.bak")
        || name.starts_with("signal.db")
        || name.starts_with(".creds-")
        || (name.ends_with(".json") && PREFIXES.iter().any(|p| name.starts_with(p)))
}

/// Files that Verso itself writes into the folder of an account.
pub fn is_own_file(name: &str) -> bool {
    const SET_ASIDE: [&str; 3] = [".exported", ".replaced", ".damaged"];
    let plain = SET_ASIDE.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    matches!(plain, "creds.json" | "creds.json.bak" | "data-key.json" | "data-key.json.bak")
        || name.starts_with("signal.db")
        || name.starts_with(".creds-")
}

/// A link that no account uses.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unclaimed {
    /// The account that would use it.
    pub account: AccountId,
    /// Its number, when it names one.
    pub number: Option<crate::ids::E164>,
    /// Where it lies.
    pub dir: PathBuf,
}

/// The links in the usual place whose folders are none of `used`. Nothing is restored or opened.
pub fn unclaimed(paths: &StatePaths, used: &[PathBuf]) -> Vec<Unclaimed> {
    let folders = fs::read_dir(paths.credentials().join("whatsapp")).into_iter().flatten().flatten();
    let mut found: Vec<Unclaimed> = folders
        .filter_map(|entry| {
            let (dir, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let account = AccountId::new(&name);
            // A folder that was set aside has a name that no account has.
            if account.as_str() != name || name.contains("-backup-") || used.contains(&dir) {
                return None;
            }
            let number = recorded(&dir)?.number();
            let real = dir.canonicalize().ok();
            let elsewhere = used.iter().any(|used| real.is_some() && used.canonicalize().ok() == real);
            (!elsewhere).then_some(Unclaimed { account, number, dir })
        })
        .collect();
    found.sort_by(|a, b| a.account.cmp(&b.account));
    found
}

/// Where a new link is made beside the one in `dir`.
pub fn relink_dir(dir: &Path) -> PathBuf {
    dir.join("relink")
}

/// Deletes what is left of a login beside the link in `dir`.
///
/// # Errors
/// When it cannot be deleted.
pub fn empty_relink(dir: &Path) -> Result<(), StoreError> {
    let side = relink_dir(dir);
    let own = |name: &str| is_own_file(name) || name == "account.lock";
    let entries = fs::read_dir(&side).into_iter().flatten().flatten();
    if entries.into_iter().any(|e| !own(&e.file_name().to_string_lossy())) {
        // A folder of somebody else that happens to have this name.
        return remove_those(&side, is_own_file).map(drop);
    }
    match fs::remove_dir_all(&side) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("delete", &side)(e)),
        _ => Ok(()),
    }
}

/// Puts a link that a phone accepted in the place of the one in `dir`; false when there is none. Cut off at any point, the next call
/// finishes it: `signal.db` moves first and `creds.json` last.
///
/// # Errors
/// When a file cannot be moved.
pub fn adopt(dir: &Path) -> Result<bool, StoreError> {
    let side = relink_dir(dir);
    if read_identity(&side.join("creds.json")).is_none() {
        empty_relink(dir)?;
        return Ok(false);
    }
    let database = side.join("signal.db");
    if database.is_file() {
        let settled = rusqlite::Connection::open(&database)
            .and_then(|db| db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
        settled.map_err(|e| StoreError::Damaged { path: database.clone(), cause: e.to_string() })?;
        remove_files(dir)?;
    }
    for name in ["signal.db", "data-key.json.bak", "data-key.json", "creds.json.bak", "creds.json"] {
        match fs::rename(side.join(name), dir.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("move here", &dir.join(name))(e));
            }
            _ => {}
        }
    }
    fs::File::open(dir).and_then(|d| d.sync_all()).map_err(StoreError::io("sync", dir))?;
    empty_relink(dir)?;
    Ok(true)
}

/// A phone accepted a new link in `dir`'s side folder, and the one that it is to replace is still whole.
pub fn two_links(dir: &Path) -> bool {
    let new = read_identity(&relink_dir(dir).join("creds.json"));
    let old = read_identity(&dir.join("creds.json"));
    matches!((new, old), (Some(new), Some(old)) if new.jid != old.jid) && dir.join("signal.db").is_file()
}

/// Finishes what a process that died began with [`adopt`], or deletes what came to nothing.
pub fn finish_relink(paths: &StatePaths, dir: &Path) {
    // The old files directly under `credentials/` are gone by then, so their folder is not the account's any more.
    let usual = paths.whatsapp_auth(&AccountId::new(AccountId::DEFAULT));
    for dir in [Some(dir), (dir == usual).then(|| paths.credentials())].into_iter().flatten() {
        if !relink_dir(dir).is_dir() {
            continue;
        }
        let adopted = if read_identity(&relink_dir(dir).join("creds.json")).is_some() {
            crate::store::lock::AccountLock::acquire(dir).and_then(|_lock| adopt(dir))
        } else {
            // Nothing that anybody uses, so the link in `dir` may be open.
            empty_relink(dir).map(|()| false)
        };
        match adopted {
            Ok(true) => tracing::warn!(target: "web-session", "finished a new link that was cut off"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(target: "web-session", %error, "a new link that was cut off is not in its place")
            }
        }
    }
}

/// True when the folder holds a link, whole or damaged. Session files alone are none: what they belonged to is gone.
pub fn any_files(dir: &Path) -> bool {
    let own = |name: &str| name.starts_with("creds.json") || name.starts_with("signal.db");
    fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(|e| own(&e.file_name().to_string_lossy())))
}

/// Deletes the session in an auth folder and nothing else: `oauth.json` and whatever a person put there stays. The default
/// folder of an account is removed when it is empty then.
///
/// # Errors
/// When a file cannot be deleted; others may be gone already.
pub fn remove(paths: &StatePaths, dir: &Path) -> Result<bool, StoreError> {
    let removed = any_files(dir) && remove_those(dir, |name| is_ours_to_delete(paths, dir, name))?;
    empty_relink(dir)?;
    if dir.starts_with(paths.credentials().join("whatsapp")) {
        // Fails harmlessly while the lock file or something of the owner's is in it.
        let _ = fs::remove_dir(dir);
    }
    Ok(removed)
}

/// In Verso's own tree every file of a session is; a folder that somebody named as `authDir` may hold the files of other programs under
/// such names, and there only those are that Verso itself writes.
fn is_ours_to_delete(paths: &StatePaths, dir: &Path, name: &str) -> bool {
    if dir.starts_with(paths.credentials()) {
        return is_session_file(name);
    }
    let foreign = || {
        let json = fs::read(dir.join(name)).ok().and_then(|b| serde_json::from_slice::<serde_json::Value>(&b).ok());
        json.is_some_and(|json| !Identity::is_recorded(&json))
    };
    is_own_file(name) && !(name.starts_with("creds.json") && foreign())
}

fn remove_files(dir: &Path) -> Result<bool, StoreError> {
    remove_those(dir, is_session_file)
}

fn remove_those(dir: &Path, goes: impl Fn(&str) -> bool) -> Result<bool, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(StoreError::io("read", dir)(e)),
    };
    let mut outcome = Ok(false);
    for entry in entries.flatten().filter(|e| goes(&e.file_name().to_string_lossy())) {
        // One that stays is no reason to keep the others.
        match delete(&entry.path()) {
            Ok(()) => outcome = outcome.map(|_| true),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome
}

/// SQLite takes the log of `signal.db` away itself when its last connection ends, perhaps in this moment.
fn delete(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("delete", path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDS: &str =
        r#"{"format":"verso/1","me":{"id":"15551234567:12@s.whatsapp.net","lid":"77:12@lid","name":"Ann"}}"#;

    fn linked(dir: &Path) -> Option<String> {
        match link_state(dir) {
            LinkFiles::Linked { identity, .. } => identity.number().map(|n| n.to_string()),
            LinkFiles::NotLinked | LinkFiles::Unusable(_) => None,
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
        let LinkFiles::Unusable(why) = link_state(theirs.path()) else { panic!("credentials of nobody known") };
        assert!(why.contains("was written neither by Verso nor by Baileys; move it away"), "{why}");
        let unfinished = r#"{"noiseKey":{},"signedIdentityKey":{},"creds":1}"#;
        fs::write(theirs.path().join("creds.json"), unfinished).expect("written");
        let LinkFiles::Unusable(why) = link_state(theirs.path()) else { panic!("it names nobody") };
        assert!(why.contains("was never finished; link again"), "{why}");
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
    fn a_new_link_takes_the_place_of_the_old_one_also_when_cut_off() {
        for moved in 0..4_usize {
            let home = tempfile::tempdir().expect("temp dir");
            let dir = home.path();
            let side = relink_dir(dir);
            fs::create_dir_all(&side).expect("mkdir");
            let new = CREDS.replace("15551234567", "15559999999");
            fs::write(dir.join("creds.json"), CREDS).expect("write");
            fs::write(dir.join("session-1.json"), "old").expect("write");
            rusqlite::Connection::open(side.join("signal.db"))
                .and_then(|d| d.execute("CREATE TABLE t(x)", []))
                .expect("db");
            for name in ["creds.json.bak", "creds.json"] {
                fs::write(side.join(name), &new).expect("write");
            }
            // What a process that died after so many steps leaves.
            if moved > 0 {
                remove_files(dir).expect("removed");
            }
            for name in ["signal.db", "creds.json.bak"].into_iter().take(moved.saturating_sub(1)) {
                fs::rename(side.join(name), dir.join(name)).expect("moved");
            }
            assert!(adopt(dir).expect("adopted"));
            assert_eq!(linked(dir).as_deref(), Some("+15559999999"), "after {moved} steps");
            let database = rusqlite::Connection::open(dir.join("signal.db")).expect("db");
            assert_eq!(database.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0)), Ok(0));
            assert!(!side.exists() && !dir.join("session-1.json").exists());
            assert!(!adopt(dir).expect("nothing left to do"));
        }
    }

    #[test]
    fn a_login_that_came_to_nothing_leaves_the_link_alone() {
        let home = tempfile::tempdir().expect("temp dir");
        fs::write(home.path().join("creds.json"), CREDS).expect("write");
        fs::create_dir_all(relink_dir(home.path())).expect("mkdir");
        fs::write(relink_dir(home.path()).join("signal.db"), "no device yet").expect("write");
        assert!(!adopt(home.path()).expect("cleaned"));
        assert_eq!(linked(home.path()).as_deref(), Some("+15551234567"));
        assert!(!relink_dir(home.path()).exists());
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

    #[test]
    fn in_a_folder_of_others_only_verso_files_go() {
        let home = tempfile::tempdir().expect("temp dir");
        let paths = StatePaths::new(home.path().join("state"), None);
        let shared = home.path().join("shared");
        fs::create_dir_all(shared.join("relink")).expect("made");
        fs::write(shared.join("relink/notes.txt"), "x").expect("written");
        for (name, text) in [("creds.json", CREDS), ("signal.db", "x"), ("session-7.json", "{}"), ("data.txt", "x")] {
            fs::write(shared.join(name), text).expect("written");
        }
        assert!(remove(&paths, &shared).expect("removable"));
        let left = |dir: &Path| {
            let mut left: Vec<_> = fs::read_dir(dir)
                .expect("kept")
                .flatten()
                .map(|e| e.file_name().into_string().expect("text"))
                .collect();
            left.sort();
            left
        };
        assert_eq!(left(&shared), ["data.txt", "relink", "session-7.json"]);
        assert_eq!(left(&shared.join("relink")), ["notes.txt"]);
        fs::write(shared.join("creds.json"), r#"{"token":"of another program"}"#).expect("written");
        assert!(!remove(&paths, &shared).expect("nothing of Verso"));
        assert!(shared.join("creds.json").is_file());
    }

    #[test]
    fn links_without_an_account_are_found() {
        let home = tempfile::tempdir().expect("temp dir");
        let paths = StatePaths::new(home.path(), None);
        for name in ["old", "shop", "shop.baileys-backup-1", "Odd Name"] {
            let dir = paths.credentials().join("whatsapp").join(name);
            fs::create_dir_all(&dir).expect("made");
            fs::write(dir.join("creds.json"), CREDS).expect("written");
        }
        fs::create_dir_all(paths.whatsapp_auth(&AccountId::new("empty"))).expect("made");
        let found = unclaimed(&paths, &[paths.whatsapp_auth(&AccountId::new("shop"))]);
        let named: Vec<_> =
            found.iter().map(|u| (u.account.as_str(), u.number.as_ref().map(ToString::to_string))).collect();
        assert_eq!(named, [("old", Some("+15551234567".to_owned()))]);
    }

    #[test]
    fn what_sqlite_took_away_itself_is_gone_and_no_error() {
        let dir = tempfile::tempdir().expect("temp dir");
        delete(&dir.path().join("signal.db-wal")).expect("gone");
        let stuck = dir.path().join("signal.db-shm");
        fs::create_dir(&stuck).expect("made");
        assert!(delete(&stuck).expect_err("a folder cannot be unlinked").to_string().contains("signal.db-shm"));
    }
}
