//! A link in a backup: who it is, without anything that a later use of it would have to know.
//!
//! Sessions, sender keys and pre-keys of a copy may have been used up by the time it is restored, and a Signal key that is used twice
//! gives both messages away. So a copy holds none, and its database is one epoch behind its record: whoever opens it drops what could
//! roll back (`whatsapp::backend`) and makes new sessions. The secrets of a sealed link are copied as they are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};
use serde::Deserialize;

use super::backend::{PRE_KEY_ID_LIMIT, PRE_KEY_LEAP};
use super::database::{DATABASE, ROLLED_BACK, is_outage};
use super::record::{BACKUP, CREDENTIALS};
use super::seal::{self, DATA_KEY, DATA_KEY_BACKUP};
use crate::event::Identity;

/// Besides [`ROLLED_BACK`]: messages on their way from WhatsApp to the journal come again from WhatsApp.
const ON_THEIR_WAY: &str = "pending_inbound_messages";
/// The folder may be linked anew between looking at its parts.
const TRIES: u32 = 5;

/// What lies in an auth folder, as far as a backup is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Whose device; absent when the files do not tell.
    pub identity: Option<Identity>,
    /// How often it was opened.
    pub epoch: u32,
    /// Fingerprint of the key that its secrets are sealed with.
    pub data_key: Option<String>,
    /// What is not in the copy, for people.
    pub warning: Option<String>,
}

/// What came of copying a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copy {
    /// There is no link in it.
    NotLinked,
    /// The link is another program's and was never opened by Verso. Its keys cannot be told apart, so it is not copied.
    Foreign,
    /// The link is copied.
    Linked(Look),
}

/// The device in `creds.json`, as far as it is not sealed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Head {
    format: String,
    #[serde(default)]
    epoch: u32,
    me: Option<Me>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Me {
    id: String,
    lid: Option<String>,
    name: Option<String>,
}

/// The device in the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    epoch: u32,
    jid: String,
}

/// Copies the link in `auth_dir` into the folder `to`, which is made. `in_use`: a gateway uses the link meanwhile; else the caller holds
/// its lock.
///
/// # Errors
/// When a file cannot be read or written, or nothing of the link is whole.
pub fn copy(auth_dir: &Path, to: &Path, in_use: bool) -> io::Result<Copy> {
    if is_foreign(auth_dir) {
        return Ok(Copy::Foreign);
    }
    let mut try_again = TRIES;
    loop {
        let before = head(auth_dir);
        if before.is_none() && seal::status(auth_dir).sealed {
            // Its pre-keys cannot be forgotten without the key.
            return Err(io::Error::other(
                "the link is sealed and neither creds.json nor its backup is whole; let the gateway open the account once, which writes them again",
            ));
        }
        let database = copy_database(auth_dir, to, before.as_ref(), in_use)?;
        // The record is read after the database, so that it is never the older one of the two.
        let after = head(auth_dir);
        let row = database.as_ref().ok().cloned().flatten();
        if before.is_none() && row.as_ref().is_none_or(|row| row.jid.is_empty()) {
            return match database {
                Err(damage) => {
                    Err(io::Error::other(format!("signal.db is damaged ({damage}), and there is no whole creds.json")))
                }
                Ok(_) => Ok(Copy::NotLinked),
            };
        }
        let who = |head: &Option<Head>| head.as_ref().and_then(|h| h.me.as_ref()).map(|me| me.id.clone());
        let same = who(&before) == who(&after)
            && row.as_ref().zip(who(&after)).is_none_or(|(row, id)| row.jid.is_empty() || row.jid == id);
        if !same && try_again > 0 {
            try_again -= 1;
            std::thread::sleep(Duration::from_millis(200));
            continue;
        }
        copy_files(auth_dir, to)?;
        let mut look = describe(auth_dir, after, row);
        look.warning = database.err().map(|damage| {
            format!("signal.db is damaged ({damage}); its copy is left out, the link comes back from creds.json")
        });
        return Ok(Copy::Linked(look));
    }
}

/// Looks at the link in `auth_dir` without leaving a trace; `None` when there is none.
///
/// # Errors
/// When its database cannot be read.
pub fn look(auth_dir: &Path) -> io::Result<Option<Look>> {
    let head = head(auth_dir);
    let path = auth_dir.join(DATABASE);
    let row = if path.is_file() { at_rest(&path).and_then(|(db, _dir)| row(&db)).ok().flatten() } else { None };
    if is_foreign(auth_dir) {
        return Ok(Some(Look::default()));
    }
    let linked = head.is_some() || row.as_ref().is_some_and(|row| !row.jid.is_empty());
    Ok(linked.then(|| describe(auth_dir, head, row)))
}

/// Reads all of a copied link.
///
/// # Errors
/// When there is none, or its database is damaged.
pub fn check(dir: &Path) -> io::Result<()> {
    let path = dir.join(DATABASE);
    if path.is_file() {
        let verdict =
            at_rest(&path).and_then(|(db, _dir)| db.query_row("PRAGMA quick_check(1)", [], |r| r.get::<_, String>(0)));
        let verdict = verdict.map_err(|e| io::Error::other(format!("{DATABASE}: {e}")))?;
        if verdict != "ok" {
            return Err(io::Error::other(format!("{DATABASE}: {verdict}")));
        }
    }
    match look(dir)? {
        Some(_) => Ok(()),
        None => Err(io::Error::other("neither creds.json nor signal.db names a device")),
    }
}

fn describe(auth_dir: &Path, head: Option<Head>, row: Option<Row>) -> Look {
    let row = row.unwrap_or_default();
    let me = head.as_ref().and_then(|h| h.me.clone());
    let jid = me.as_ref().map_or(row.jid, |me| me.id.clone());
    let identity = jid.parse().ok().map(|jid| Identity {
        jid,
        lid: me.as_ref().and_then(|me| me.lid.as_deref()?.parse().ok()),
        push_name: me.and_then(|me| me.name).filter(|name| !name.is_empty()),
    });
    let data_key = seal::status(auth_dir).key;
    Look { identity, epoch: row.epoch.max(head.map_or(0, |h| h.epoch)), data_key, warning: None }
}

fn head(auth_dir: &Path) -> Option<Head> {
    [CREDENTIALS, BACKUP]
        .iter()
        .filter_map(|name| serde_json::from_slice::<Head>(&fs::read(auth_dir.join(name)).ok()?).ok())
        .find(|head| head.format.starts_with("verso/"))
}

/// Credentials of a Baileys program that Verso has not taken over.
fn is_foreign(auth_dir: &Path) -> bool {
    let json = fs::read(auth_dir.join(CREDENTIALS))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    json.is_some_and(|json| json.get("noiseKey").is_some() && json.get("format").is_none())
}

/// Everything but the database and what others left or are writing.
fn copy_files(auth_dir: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(auth_dir)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Of a folder that several programs use (the old place of the account `default`) only what is a link's.
        let ours = [CREDENTIALS, BACKUP, DATA_KEY, DATA_KEY_BACKUP].contains(&name.as_str());
        let aside = name.starts_with('.')
            || name.starts_with(DATABASE)
            || name.starts_with("creds.json")
            || name.starts_with("whatsapp-")
            || name.starts_with("oauth")
            || name.ends_with(".lock");
        if (ours || !aside) && entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}

/// A copy of the database without what could roll back. `Ok(Ok(None))`: there is none. `Ok(Err(..))`: it is damaged.
fn copy_database(
    auth_dir: &Path,
    to: &Path,
    head: Option<&Head>,
    in_use: bool,
) -> io::Result<Result<Option<Row>, String>> {
    let from = auth_dir.join(DATABASE);
    if fs::metadata(&from).map_or(0, |m| m.len()) == 0 {
        return Ok(Ok(None));
    }
    fs::create_dir_all(to)?;
    let to = to.join(DATABASE);
    match fs::remove_file(&to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let raw = if in_use { None } else { Some(raw_copy(&from, to.parent().unwrap_or(&to))?) };
    let source = raw.as_ref().map_or(from.clone(), |raw| raw.path().join(DATABASE));
    match snapshot(&source, &to, head.map_or(0, |h| h.epoch)) {
        Ok(row) => Ok(Ok(row)),
        Err(rusqlite::Error::SqliteFailure(e, text)) if is_outage(e.code) => {
            Err(io::Error::other(format!("{}: {}", from.display(), text.unwrap_or_else(|| e.to_string()))))
        }
        Err(damage) => {
            let _ = fs::remove_file(&to);
            Ok(Err(damage.to_string()))
        }
    }
}

fn snapshot(from: &Path, to: &Path, recorded: u32) -> rusqlite::Result<Option<Row>> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.busy_timeout(Duration::from_secs(10))?;
    source.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    drop(source);
    let mut copy = Connection::open(to)?;
    copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    let verdict: String = copy.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
    if verdict != "ok" {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(rusqlite::Error::SqliteFailure(code, Some(verdict)));
    }
    let found = row(&copy)?;
    let change = copy.transaction()?;
    for table in ROLLED_BACK.into_iter().chain([ON_THEIR_WAY]) {
        if has(&change, "sqlite_schema", "name", table)? {
            change.execute(&format!("DELETE FROM {table}"), [])?;
        }
    }
    // Without a record the device goes on from this row: its pre-keys are gone too.
    if has(&change, "pragma_table_info('device')", "name", "first_unupload_pre_key_id")? {
        change.execute(
            "UPDATE device SET server_has_prekeys = 0, next_pre_key_id = (next_pre_key_id + ?1) % ?2,
             first_unupload_pre_key_id = (next_pre_key_id + ?1) % ?2",
            params![PRE_KEY_LEAP, PRE_KEY_ID_LIMIT],
        )?;
    }
    // Nobody has the copy open (`super::wal`).
    change.pragma_update(None, "application_id", 0)?;
    change.pragma_update(None, "user_version", recorded.saturating_sub(1).min(i32::MAX.unsigned_abs()))?;
    change.commit()?;
    // What was deleted is not left in unused pages.
    copy.execute("VACUUM", [])?;
    Ok(found)
}

fn has(db: &Connection, table: &str, column: &str, value: &str) -> rusqlite::Result<bool> {
    db.prepare(&format!("SELECT 1 FROM {table} WHERE {column} = ?1"))?.exists([value])
}

fn row(db: &Connection) -> rusqlite::Result<Option<Row>> {
    let epoch: i32 = db.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let epoch = u32::try_from(epoch).unwrap_or(0);
    if !has(db, "sqlite_schema", "name", "device")? {
        return Ok(Some(Row { epoch, jid: String::new() }));
    }
    let mut devices = db.prepare("SELECT pn FROM device LIMIT 1")?;
    let jid = devices.query_map([], |r| r.get::<_, Option<String>>(0))?.next().transpose()?.flatten();
    Ok(Some(Row { epoch, jid: jid.unwrap_or_default() }))
}

/// A private copy of a database that nobody has open, with its log. Opening the database itself would make SQLite write the shared
/// memory anew, by which [`super::wal`] sees that a log is lost.
fn raw_copy(path: &Path, parent: &Path) -> io::Result<tempfile::TempDir> {
    let dir = tempfile::Builder::new().prefix(".verso-link-").tempdir_in(parent)?;
    fs::copy(path, dir.path().join(DATABASE))?;
    let log = PathBuf::from(format!("{}-wal", path.display()));
    if log.is_file() {
        fs::copy(log, dir.path().join(format!("{DATABASE}-wal")))?;
    }
    Ok(dir)
}

/// Opens a private copy of a database.
fn at_rest(path: &Path) -> rusqlite::Result<(Connection, tempfile::TempDir)> {
    let cannot = |e: io::Error| {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        rusqlite::Error::SqliteFailure(code, Some(e.to_string()))
    };
    let dir = raw_copy(path, &std::env::temp_dir()).map_err(cannot)?;
    Ok((Connection::open(dir.path().join(DATABASE))?, dir))
}

#[cfg(test)]
mod tests {
    use super::super::backend::{self, Files, Opened, identity};
    use super::super::seal::{MasterKey, SealedFolder};
    use super::*;
    use crate::config::model::{EncryptionConfig, KeySource};
    use crate::ids::AccountId;

    async fn open(dir: &Path, linking: bool, encryption: Option<&EncryptionConfig>) -> Opened {
        let folder = SealedFolder { dir, account: &AccountId::new("work"), encryption };
        backend::open(folder, linking).await.expect("opens")
    }

    async fn save(opened: &Opened, dir: &Path) {
        let files = Files { dir: dir.to_owned(), keys: opened.keys.clone() };
        backend::save(&opened.manager, &files).await.expect("saved");
    }

    fn count(db: &Path, table: &str) -> i64 {
        let db = Connection::open(db).expect("opens");
        db.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).expect("counted")
    }

    #[tokio::test]
    async fn a_copy_of_a_link_in_use_is_the_same_device_without_its_sessions() {
        the_same_device_without_its_sessions(None, None).await;
    }

    #[tokio::test]
    async fn a_copy_of_a_sealed_link_is_sealed_with_the_same_key() {
        let keys = tempfile::tempdir().expect("temp dir");
        let (path, text) = (keys.path().join("key"), MasterKey::fresh().expect("random"));
        fs::write(&path, text.as_bytes()).expect("written");
        let master = MasterKey::parse(text.as_bytes()).expect("a key");
        let encryption = EncryptionConfig { key: KeySource::File(path), previous: vec![] };
        the_same_device_without_its_sessions(Some(&encryption), Some(master.fingerprint())).await;
    }

    /// The promise of a backup: the same device, and no key that may have been used since.
    async fn the_same_device_without_its_sessions(encryption: Option<&EncryptionConfig>, data_key: Option<String>) {
        let dir = tempfile::tempdir().expect("temp dir");
        let opened = open(dir.path(), true, encryption).await;
        let manager = &opened.manager;
        manager
            .modify_device(|device| {
                device.pn = "15551234567:3@s.whatsapp.net".parse().ok();
                device.server_has_prekeys = true;
                device.next_pre_key_id = 800;
            })
            .await;
        save(&opened, dir.path()).await;
        let backend = manager.backend();
        backend.put_session("15557654321@c.us.0", b"a ratchet").await.expect("put");
        backend.store_prekey(5, b"a key", true).await.expect("put");
        backend.put_identity("15557654321@c.us.0", [7; 32]).await.expect("put");
        for left in ["creds.json.replaced", "signal.db.damaged", ".creds-x", "whatsapp-allowFrom.json"] {
            fs::write(dir.path().join(left), "{}").expect("written");
        }
        let to = tempfile::tempdir().expect("temp dir");
        let copy_dir = to.path().join("work");
        let Copy::Linked(found) = copy(dir.path(), &copy_dir, true).expect("copied") else { panic!("a link") };
        assert_eq!(found.identity.as_ref().map(|i| i.jid.to_string()).as_deref(), Some("15551234567:3@s.whatsapp.net"));
        assert_eq!((found.data_key.clone(), found.warning.as_deref(), found.epoch), (data_key, None, 1));
        let mut names: Vec<String> = fs::read_dir(&copy_dir)
            .expect("listed")
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into())
            .collect();
        names.sort();
        let sealed: &[&str] = if encryption.is_some() { &["data-key.json", "data-key.json.bak"] } else { &[] };
        assert_eq!(names, [&["creds.json", "creds.json.bak"], sealed, &["signal.db"]].concat());
        let database = copy_dir.join(DATABASE);
        assert_eq!(
            (count(&database, "sessions"), count(&database, "prekeys"), count(&database, "identities")),
            (0, 0, 1)
        );
        check(&copy_dir).expect("whole");
        assert!(
            !fs::read(&database).expect("read").windows(9).any(|bytes| bytes == b"a ratchet"),
            "not in unused pages"
        );
        let look = look(&copy_dir).expect("readable").expect("a link");
        assert_eq!(look.identity, found.identity);

        let again = open(&copy_dir, false, encryption).await.manager;
        let (old, new) =
            (manager.get_device_snapshot().to_serializable(), again.get_device_snapshot().to_serializable());
        assert_eq!(identity(&new), identity(&old));
        assert_eq!(new.noise_key.private_key.serialize(), old.noise_key.private_key.serialize());
        assert!(new.next_pre_key_id > old.next_pre_key_id && !new.server_has_prekeys, "numbers are not used twice");
        assert!(again.backend().get_session("15557654321@c.us.0").await.expect("read").is_none());
        assert_eq!(count(&dir.path().join(DATABASE), "sessions"), 1, "the link that was copied is as it was");
    }

    #[tokio::test]
    async fn a_copy_without_its_record_rolls_nothing_back_either() {
        let dir = tempfile::tempdir().expect("temp dir");
        let opened = open(dir.path(), true, None).await;
        let manager = &opened.manager;
        manager
            .modify_device(|device| {
                device.pn = "15551234567:3@s.whatsapp.net".parse().ok();
                device.server_has_prekeys = true;
            })
            .await;
        save(&opened, dir.path()).await;
        let old = manager.get_device_snapshot().to_serializable();
        drop(opened);
        for name in [CREDENTIALS, BACKUP] {
            fs::remove_file(dir.path().join(name)).expect("removed");
        }
        let to = tempfile::tempdir().expect("temp dir");
        assert!(matches!(copy(dir.path(), to.path(), false).expect("copied"), Copy::Linked(_)));
        let new = open(to.path(), false, None).await.manager.get_device_snapshot().to_serializable();
        assert_eq!(identity(&new), identity(&old));
        assert!(new.next_pre_key_id > old.next_pre_key_id && !new.server_has_prekeys);
    }

    #[test]
    fn folders_without_a_link_of_ours_are_told_apart() {
        let dir = tempfile::tempdir().expect("temp dir");
        let to = dir.path().join("to");
        assert_eq!(copy(dir.path(), &to, false).expect("looked"), Copy::NotLinked);
        assert_eq!(look(dir.path()).expect("looked"), None);
        fs::write(dir.path().join(CREDENTIALS), r#"{"noiseKey":{},"signedIdentityKey":{}}"#).expect("written");
        assert_eq!(copy(dir.path(), &to, false).expect("looked"), Copy::Foreign);
        fs::remove_file(dir.path().join(CREDENTIALS)).expect("removed");
        fs::write(dir.path().join(DATABASE), "this was a database once").expect("written");
        let error = copy(dir.path(), &to, false).expect_err("nothing whole").to_string();
        assert!(error.contains("signal.db is damaged"), "{error}");
    }
}
