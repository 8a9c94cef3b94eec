//! A link's own files: `signal.db` is authoritative, `creds.json` mirrors the device so that a lost database does not
//! cost the link.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::store::{SqliteStore, SqliteStoreConfig, Synchronous};
use whatsapp_rust::traits::Backend;
use whatsapp_rust::wacore::libsignal::protocol::KeyPair;
use whatsapp_rust::wacore::store::Device;

use super::database::{DATABASE, Found, epoch_of, inspect, names_outage, prepare_file, with_causes};
use super::record::{self, Record};
use super::seal::{self, DataKeys, SealedFolder, Vault};
use super::{OpenError, baileys, convert, wal};
use crate::clock::Clock;
use crate::event::Identity;

/// Pre-keys are counted in 24 bits.
pub(super) const PRE_KEY_ID_LIMIT: u32 = 0x00ff_ffff;
/// So many pre-keys may have been made since the mirror was written.
pub(super) const PRE_KEY_LEAP: u32 = 2_000;

/// Opens the account's database. A damaged one is set aside and the device goes on from its record; one that is older than the record
/// loses every key that it rolled back. `linking` sets files aside that hold no usable link.
///
/// # Errors
/// [`OpenError::Relink`] when the files held a link and none of them is whole.
pub(super) async fn open(folder: SealedFolder<'_>, linking: bool) -> Result<Opened, OpenError> {
    let auth_dir = folder.dir;
    let keys = folder.unlock(linking).await?;
    let sealed_before = seal::status(auth_dir).complete;
    let manager = open_with(auth_dir, linking, keys.as_ref()).await?;
    if let Some(keys) = &keys {
        folder.reseal(keys).await?;
        if !sealed_before {
            warn_of_copies(&folder);
        }
    }
    Ok(Opened { manager, keys })
}

/// An open account.
pub(super) struct Opened {
    pub manager: PersistenceManager,
    /// What its files are sealed with.
    pub keys: Option<DataKeys>,
}

/// Where an open account is written down.
#[derive(Clone)]
pub(super) struct Files {
    pub dir: PathBuf,
    pub keys: Option<DataKeys>,
}

/// Copies of before are the owner's: they are named, not deleted.
fn warn_of_copies(folder: &SealedFolder<'_>) {
    let copies = seal::plain_copies(folder.dir);
    if !copies.is_empty() {
        tracing::warn!(
            target: "web-session", account = %folder.account,
            "the credentials are sealed, but {}", seal::copies_sentence(&copies)
        );
    }
}

async fn open_with(auth_dir: &Path, linking: bool, keys: Option<&DataKeys>) -> Result<PersistenceManager, OpenError> {
    take_over(auth_dir, keys).await?;
    let dir = auth_dir.to_path_buf();
    let known_keys = keys.cloned();
    let (record, found) = blocking(auth_dir, move || {
        record::sweep(&dir);
        seal::sweep(&dir)?;
        let record = record::read(&dir, known_keys.as_ref());
        let found = inspect(&dir.join(DATABASE), record.as_ref().map_or(0, |r| r.epoch))?;
        Ok((record, found))
    })
    .await?;
    let damage = match found {
        Found::Whole { rolled_back } => match load(auth_dir, keys).await {
            Ok((store, known)) if known.as_ref().is_none_or(|device| trusted(device, record.as_ref())) => {
                let linked = known.as_ref().is_some_and(|device| device.pn.is_some());
                let store = sealed(store, auth_dir, keys).await?;
                return match (record, known) {
                    (Some(record), _) if !linked || rolled_back => restored(store, record.device, auth_dir).await,
                    (None, Some(device)) if linked && rolled_back => restored(store, device, auth_dir).await,
                    (None, _) if !linked && record::traces(auth_dir) && !linking => {
                        Err(relink(auth_dir, "creds.json and creds.json.bak are damaged"))
                    }
                    _ => manager(store, auth_dir).await,
                };
            }
            Ok(_) => "the device in it is damaged".to_owned(),
            // The file was whole a moment ago: what lies outside it is no reason to give its sessions up.
            Err(cause) if names_outage(&cause) => return Err(store_error(auth_dir, cause)),
            Err(damage) => damage,
        },
        Found::Damaged(damage) => damage,
    };
    let lost = record.is_none();
    if lost && !linking {
        return Err(relink(
            auth_dir,
            &format!("signal.db is damaged ({damage}), and so are creds.json and creds.json.bak"),
        ));
    }
    tracing::warn!(target: "web-session", %damage, "the account's database is damaged; kept it as signal.db.damaged");
    let dir = auth_dir.to_path_buf();
    let epoch = record.as_ref().map_or(0, |r| r.epoch);
    blocking(auth_dir, move || {
        let names: &[&str] = if lost { &[DATABASE, record::CREDENTIALS, record::BACKUP] } else { &[DATABASE] };
        baileys::set_aside::aside(&dir, names, "damaged")?;
        inspect(&dir.join(DATABASE), epoch)
    })
    .await?;
    let (store, _) = load(auth_dir, keys).await.map_err(|cause| store_error(auth_dir, cause))?;
    let store = sealed(store, auth_dir, keys).await?;
    match record {
        Some(record) => restored(store, record.device, auth_dir).await,
        None => manager(store, auth_dir).await,
    }
}

async fn manager(store: Arc<dyn Backend>, auth_dir: &Path) -> Result<PersistenceManager, OpenError> {
    let manager = PersistenceManager::new(store).await.map_err(|e| store_error(auth_dir, e.to_string()))?;
    let path = auth_dir.join(DATABASE);
    blocking(auth_dir, move || wal::begin_use(&path).map_err(io::Error::other)).await?;
    Ok(manager)
}

/// Notes that the link has ended and all that it wrote is in the database.
pub(super) async fn closed(auth_dir: PathBuf) {
    let noted = tokio::task::spawn_blocking(move || wal::end_use(&auth_dir.join(DATABASE))).await;
    if !matches!(noted, Ok(Ok(()))) {
        // The next start takes the end for a crash, and looks closer.
        tracing::debug!(target: "web-session", ?noted, "the end of a link could not be noted");
    }
}

fn store_error(auth_dir: &Path, cause: String) -> OpenError {
    OpenError::Store { path: auth_dir.join(DATABASE), cause }
}

fn relink(auth_dir: &Path, cause: &str) -> OpenError {
    OpenError::Relink { path: auth_dir.to_path_buf(), cause: cause.to_owned() }
}

async fn blocking<T: Send + 'static>(
    auth_dir: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, OpenError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|e| store_error(auth_dir, e.to_string()))?;
    done.map_err(|e| store_error(auth_dir, e.to_string()))
}

/// Opens the store on the file, sealed or not, and reads the device.
async fn load(auth_dir: &Path, keys: Option<&DataKeys>) -> Result<(Arc<dyn Backend>, Option<Device>), String> {
    let store: Arc<dyn Backend> = match (keys, seal::look(auth_dir)?) {
        (Some(keys), Some(_)) => Arc::new(Vault::open(&auth_dir.join(DATABASE), keys).await?),
        _ => plain(auth_dir).await?,
    };
    let known = if store.exists().await.map_err(|e| with_causes(&e))? {
        store.load().await.map_err(|e| with_causes(&e))?
    } else {
        None
    };
    Ok((store, known))
}

/// The store on a file that is sealed from now on, if there are keys. What fails here is no damage.
async fn sealed(
    store: Arc<dyn Backend>,
    auth_dir: &Path,
    keys: Option<&DataKeys>,
) -> Result<Arc<dyn Backend>, OpenError> {
    let Some(keys) = keys.filter(|keys| seal::sealed_with(auth_dir) != Some(keys.current().id())) else {
        return Ok(store);
    };
    drop(store);
    let failed = |cause| store_error(auth_dir, cause);
    seal::seal_database(auth_dir, keys).await.map_err(failed)?;
    Ok(Arc::new(Vault::open(&auth_dir.join(DATABASE), keys).await.map_err(failed)?))
}

async fn plain(auth_dir: &Path) -> Result<Arc<dyn Backend>, String> {
    let path = auth_dir.join(DATABASE);
    let text = path.to_str().ok_or("the path is not valid UTF-8")?;
    let config = SqliteStoreConfig {
        pool_size: 1,
        cache_size_kib: 128,
        // A power cut must not roll back what WhatsApp was told.
        synchronous: Synchronous::Full,
        ..SqliteStoreConfig::default()
    };
    let store = SqliteStore::with_config(text, config).await.map_err(|e| with_causes(&e))?;
    Ok(Arc::new(store))
}

/// A device whose keys fit together, and which is the recorded one wherever it has the recorded identity.
fn trusted(device: &Device, record: Option<&Record>) -> bool {
    let fits = |pair: &KeyPair| pair.private_key.public_key().is_ok_and(|public| public == pair.public_key);
    if ![&device.noise_key, &device.identity_key, &device.signed_pre_key].into_iter().all(fits) {
        return false;
    }
    let Some(known) = record.map(|r| &r.device) else { return true };
    device.pn.is_none()
        || device.identity_key.public_key != known.identity_key.public_key
        || (device.pn == known.pn
            && device.registration_id == known.registration_id
            && device.adv_secret_key == known.adv_secret_key
            && device.noise_key.public_key == known.noise_key.public_key)
}

/// True when the device of a folder's database is whole, as far as it and the record beside it tell.
pub(super) fn is_whole(device: &Device, auth_dir: &Path, keys: Option<&DataKeys>) -> bool {
    trusted(device, record::read(auth_dir, keys).as_ref())
}

/// The device goes on from its record.
async fn restored(
    store: Arc<dyn Backend>,
    mut device: Device,
    auth_dir: &Path,
) -> Result<PersistenceManager, OpenError> {
    forget_pre_keys(&mut device);
    let failed = |e: whatsapp_rust::anyhow::Error| store_error(auth_dir, e.to_string());
    if !store.exists().await.map_err(|e| failed(e.into()))? {
        store.create().await.map_err(|e| failed(e.into()))?;
    }
    store.save(&device).await.map_err(|e| failed(e.into()))?;
    tracing::warn!(target: "web-session", "the link goes on from creds.json without scanning again");
    manager(store, auth_dir).await
}

/// A link that a Baileys program left in the folder goes on here.
async fn take_over(auth_dir: &Path, keys: Option<&DataKeys>) -> Result<(), OpenError> {
    let now = Clock::System.now();
    let Some(report) = baileys::in_place(auth_dir, now, keys).await.map_err(OpenError::TakeOver)? else {
        return Ok(());
    };
    tracing::info!(
        target: "web-session",
        backup = report.backup.as_ref().map(|b| b.display().to_string()),
        "took over the link of a Baileys program without scanning: {}; that program must not run any more, or WhatsApp reports a conflict",
        report.summary()
    );
    for warning in report.warnings {
        tracing::warn!(target: "web-session", "{warning}");
    }
    Ok(())
}

/// The epoch that the record of a folder names.
pub(super) fn epoch(auth_dir: &Path, keys: Option<&DataKeys>) -> u32 {
    record::read(auth_dir, keys).map_or(0, |record| record.epoch)
}

/// True when the folder's database belongs to this very device.
pub(super) async fn same_device(auth_dir: &Path, device: &Device, keys: Option<&DataKeys>) -> bool {
    let path = auth_dir.join(DATABASE);
    if !path.is_file() || prepare_file(&path).is_err() {
        return false;
    }
    let known = match (keys, seal::sealed_with(auth_dir)) {
        (Some(keys), Some(_)) => match Vault::open(&path, keys).await {
            Ok(store) => whatsapp_rust::traits::DeviceStore::load(&store).await,
            Err(_) => return false,
        },
        (None, Some(_)) => return false,
        (_, None) => match plain(auth_dir).await {
            Ok(store) => store.load().await,
            Err(_) => return false,
        },
    };
    let known = known.ok().flatten();
    known.is_some_and(|known| known.noise_key.private_key.serialize() == device.noise_key.private_key.serialize())
}

/// The private halves of the uploaded pre-keys are lost: new ones go up at the next login, under numbers that were not used before.
pub(super) fn forget_pre_keys(device: &mut Device) {
    device.next_pre_key_id = (device.next_pre_key_id + PRE_KEY_LEAP) % PRE_KEY_ID_LIMIT;
    device.first_unupload_pre_key_id = device.next_pre_key_id;
    device.server_has_prekeys = false;
}

/// The device's own addresses; `None` until it is linked.
pub(super) fn identity(device: &Device) -> Option<Identity> {
    let push_name = device.push_name.trim();
    Some(Identity {
        jid: convert::jid(device.pn.as_ref()?)?,
        lid: device.lid.as_ref().and_then(convert::jid),
        push_name: (!push_name.is_empty()).then(|| push_name.to_owned()),
    })
}

/// Writes the row of the device, also when the library takes it for written: its own saver clears that note before it tries, and may fail.
///
/// # Errors
/// When it cannot be written.
pub(super) async fn write_row(manager: &PersistenceManager) -> Result<(), String> {
    let device = manager.get_device_snapshot().to_serializable();
    manager.backend().save(&device).await.map_err(|e| format!("cannot write {DATABASE}: {}", with_causes(&e)))
}

/// Brings the device to disk: the database row first, then the record.
///
/// # Errors
/// When a file cannot be written.
pub(super) async fn save(manager: &PersistenceManager, files: &Files) -> Result<(), String> {
    let Files { dir: auth_dir, keys } = files.clone();
    record::step("flush").map_err(|e| e.to_string())?;
    manager.flush().await.map_err(|e| format!("cannot write {DATABASE}: {}", with_causes(&e)))?;
    record::step("flushed").map_err(|e| e.to_string())?;
    let device = manager.get_device_snapshot().to_serializable();
    let write =
        move || record::set_aside_foreign(&auth_dir).and_then(|()| mirror_device(&auth_dir, &device, keys.as_ref()));
    tokio::task::spawn_blocking(write)
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| format!("cannot write creds.json: {e}"))
}

/// Writes the record of a device beside its database; an unlinked one has none.
pub(super) fn mirror_device(auth_dir: &Path, device: &Device, keys: Option<&DataKeys>) -> io::Result<()> {
    let path = auth_dir.join(DATABASE);
    let epoch = if path.is_file() {
        rusqlite::Connection::open(&path).and_then(|database| epoch_of(&database)).map_err(io::Error::other)?
    } else {
        0
    };
    record::write(auth_dir, device, epoch, keys.map(|keys| keys.current().as_ref()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ids::AccountId;

    async fn open(dir: &Path, linking: bool) -> Result<PersistenceManager, OpenError> {
        let folder = SealedFolder { dir, account: &AccountId::new("work"), encryption: None };
        Ok(super::open(folder, linking).await?.manager)
    }

    fn files(dir: &Path) -> Files {
        Files { dir: dir.to_owned(), keys: None }
    }

    async fn linked(dir: &Path) -> Result<PersistenceManager, Box<dyn std::error::Error>> {
        let manager = open(dir, true).await?;
        manager
            .modify_device(|device| {
                device.pn = "15551234567:3@s.whatsapp.net".parse().ok();
                device.push_name = "Verso".to_owned();
            })
            .await;
        save(&manager, &files(dir)).await?;
        Ok(manager)
    }

    #[tokio::test]
    async fn a_lost_database_takes_the_device_back() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let before = linked(dir.path()).await?.get_device_snapshot().to_serializable();
        for name in ["signal.db", "signal.db-wal", "signal.db-shm"] {
            let path = dir.path().join(name);
            if path.exists() {
                fs::remove_file(path)?;
            }
        }
        let after = open(dir.path(), false).await?.get_device_snapshot().to_serializable();
        assert_eq!(identity(&after), identity(&before));
        assert_eq!(after.noise_key.private_key.serialize(), before.noise_key.private_key.serialize());
        assert!(!after.server_has_prekeys, "the lost pre-keys must be replaced");
        Ok(())
    }

    #[tokio::test]
    async fn the_mirror_is_private_and_has_a_backup() -> Result<(), Box<dyn std::error::Error>> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir()?;
        linked(dir.path()).await?;
        for name in ["signal.db", "creds.json", "creds.json.bak"] {
            let mode = fs::metadata(dir.path().join(name))?.permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let json: serde_json::Value = serde_json::from_slice(&fs::read(dir.path().join("creds.json"))?)?;
        assert_eq!(json["me"]["id"], "15551234567:3@s.whatsapp.net");
        Ok(())
    }

    #[tokio::test]
    async fn credentials_of_the_original_are_kept_beside() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let theirs = r#"{"noiseKey":{},"me":{"id":"1555:4@s.whatsapp.net"}}"#;
        fs::write(dir.path().join("creds.json"), theirs)?;
        assert!(open(dir.path(), false).await.is_err(), "no new identity in the place of a link");
        assert!(identity(&open(dir.path(), true).await?.get_device_snapshot().to_serializable()).is_none());
        linked(dir.path()).await?;
        assert_eq!(fs::read_to_string(dir.path().join("creds.json.original"))?, theirs);
        assert!(record::read(dir.path(), None).is_some());
        Ok(())
    }

    fn cut(name: &str, dir: &Path, length: usize) {
        let whole = fs::read(dir.join(name)).expect("read");
        fs::write(dir.join(name), &whole[..length.min(whole.len())]).expect("written");
    }

    async fn reopened(dir: &Path) -> Result<Option<Identity>, OpenError> {
        let manager = open(dir, false).await?;
        Ok(identity(&manager.get_device_snapshot().to_serializable()))
    }

    #[tokio::test]
    async fn a_damaged_database_is_set_aside_and_the_link_goes_on() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        drop(linked(dir.path()).await?);
        let me = reopened(dir.path()).await?;
        assert!(me.is_some());
        for damage in ["this is no database, but long enough to look at ".repeat(40), "short".to_owned(), String::new()]
        {
            fs::write(dir.path().join("signal.db"), damage)?;
            assert_eq!(reopened(dir.path()).await?, me);
        }
        assert!(dir.path().join("signal.db.damaged").is_file(), "kept for a person to look at");
        // The record's backup alone is enough, too.
        fs::write(dir.path().join("signal.db"), "no database")?;
        cut("creds.json", dir.path(), 100);
        assert_eq!(reopened(dir.path()).await?, me);
        Ok(())
    }

    /// A whole database is set aside neither for a full disk nor for want of file handles, however the library wraps the reason.
    #[test]
    fn an_outage_is_no_damage() {
        for outage in [
            "database is locked",
            "timed out waiting for connection: unable to open database file",
            "Connection error: database or disk is full",
            "disk I/O error",
            "attempt to write a readonly database",
            "out of memory",
            "Too many open files (os error 24)",
            // All that the library says of a file that another program holds.
            "database connection error",
        ] {
            assert!(names_outage(outage), "{outage}");
        }
        for damage in
            ["database disk image is malformed", "file is not a database", "no such table: device", "invalid key"]
        {
            assert!(!names_outage(damage), "{damage}");
        }
    }

    #[tokio::test]
    async fn with_everything_damaged_a_person_is_told_to_link_again() -> Result<(), Box<dyn std::error::Error>> {
        for database in [Some("no database"), Some(""), None] {
            let dir = tempfile::tempdir()?;
            drop(linked(dir.path()).await?);
            match database {
                Some(text) => fs::write(dir.path().join("signal.db"), text)?,
                None => fs::remove_file(dir.path().join("signal.db"))?,
            }
            for name in ["creds.json", "creds.json.bak"] {
                cut(name, dir.path(), 100);
            }
            let error = reopened(dir.path()).await.expect_err("no identity out of nothing").to_string();
            assert!(error.contains("channels login"), "{error}");
            let fresh = open(dir.path(), true).await?;
            assert!(identity(&fresh.get_device_snapshot().to_serializable()).is_none(), "a login begins anew");
        }
        Ok(())
    }

    #[tokio::test]
    async fn an_older_database_loses_the_keys_that_it_rolled_back() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("signal.db");
        let manager = linked(dir.path()).await?;
        let backend = manager.backend();
        backend.put_session("15557654321@c.us.0", b"a ratchet").await?;
        backend.store_prekey(5, b"a key", true).await?;
        backend.put_identity("15557654321@c.us.0", [7; 32]).await?;
        let next = manager.get_device_snapshot().to_serializable().next_pre_key_id;
        closed(dir.path().to_owned()).await;
        drop((backend, manager));
        let count = |table: &str| -> rusqlite::Result<i64> {
            let database = rusqlite::Connection::open(&path)?;
            database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
        };
        assert_eq!((count("sessions")?, count("prekeys")?, count("identities")?), (1, 1, 1));
        let old = fs::read(&path)?;
        let again = open(dir.path(), false).await?;
        save(&again, &files(dir.path())).await?;
        let epoch = record::read(dir.path(), None).ok_or("a record")?.epoch;
        closed(dir.path().to_owned()).await;
        drop(again);
        assert_eq!((count("sessions")?, count("prekeys")?), (1, 1), "an ordinary start keeps everything");
        for name in ["signal.db-wal", "signal.db-shm"] {
            let _ = fs::remove_file(dir.path().join(name));
        }
        fs::write(&path, old)?;
        let back = open(dir.path(), false).await?;
        let device = back.get_device_snapshot().to_serializable();
        assert_eq!(identity(&device).map(|i| i.jid.to_string()).as_deref(), Some("15551234567:3@s.whatsapp.net"));
        assert!(device.next_pre_key_id > next && !device.server_has_prekeys, "numbers are not used twice");
        drop(back);
        assert_eq!((count("sessions")?, count("prekeys")?, count("identities")?), (0, 0, 1));
        assert!(epoch_of(&rusqlite::Connection::open(&path)?)? > epoch);
        Ok(())
    }

    #[tokio::test]
    async fn a_lost_log_costs_the_sessions_and_not_the_link() -> Result<(), Box<dyn std::error::Error>> {
        for with_record in [true, false] {
            let (live, dead) = (tempfile::tempdir()?, tempfile::tempdir()?);
            let manager = linked(live.path()).await?;
            let next = manager.get_device_snapshot().to_serializable().next_pre_key_id;
            manager.backend().put_session("15557654321@c.us.0", b"a ratchet").await?;
            manager.backend().put_identity("15557654321@c.us.0", [7; 32]).await?;
            rusqlite::Connection::open(live.path().join("signal.db"))?.query_row(
                "PRAGMA wal_checkpoint(PASSIVE)",
                [],
                |_| Ok(()),
            )?;
            manager.backend().put_session("15557654321@c.us.0", b"the next ratchet").await?;
            for entry in fs::read_dir(live.path())?.flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name != "signal.db-wal" && (with_record || !name.starts_with("creds")) {
                    fs::copy(entry.path(), dead.path().join(&*name))?;
                }
            }
            let back = open(dead.path(), false).await?;
            let device = back.get_device_snapshot().to_serializable();
            assert_eq!(identity(&device).map(|i| i.jid.to_string()).as_deref(), Some("15551234567:3@s.whatsapp.net"));
            assert!(device.next_pre_key_id > next && !device.server_has_prekeys, "numbers are not used twice");
            assert_eq!(back.backend().get_session("15557654321@c.us.0").await?, None, "no key of before is used again");
            assert!(back.backend().load_identity("15557654321@c.us.0").await?.is_some());
        }
        Ok(())
    }

    /// Every outcome is the same link or a sentence; never another device, never a crash.
    #[tokio::test]
    async fn flipped_bits_end_in_the_same_link_or_a_sentence() -> Result<(), Box<dyn std::error::Error>> {
        use rand::{RngExt, SeedableRng};
        let home = tempfile::tempdir()?;
        let manager = linked(home.path()).await?;
        let device = manager.get_device_snapshot().to_serializable();
        drop(manager);
        inspect(&home.path().join("signal.db"), 0)?;
        rusqlite::Connection::open(home.path().join("signal.db"))?.query_row(
            "PRAGMA journal_mode=DELETE",
            [],
            |_| Ok(()),
        )?;
        let rounds: u64 = std::env::var("VERSO_FLIPS").ok().and_then(|v| v.parse().ok()).unwrap_or(60);
        let (mut linked, mut told) = (0, 0);
        for seed in 0..rounds {
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            let dir = tempfile::tempdir()?;
            let hit = rng.random_range(1..8_u8);
            for (bit, name) in ["creds.json", "creds.json.bak", "signal.db"].into_iter().enumerate() {
                let mut bytes = fs::read(home.path().join(name))?;
                if hit >> bit & 1 == 1 {
                    if rng.random_bool(0.3) {
                        bytes.truncate(rng.random_range(0..bytes.len()));
                    }
                    for _ in 0..rng.random_range(1..30) {
                        if !bytes.is_empty() {
                            let at = rng.random_range(0..bytes.len());
                            bytes[at] ^= 1 << rng.random_range(0..8);
                        }
                    }
                }
                fs::write(dir.path().join(name), bytes)?;
            }
            match open(dir.path(), false).await {
                Ok(manager) => {
                    let now = manager.get_device_snapshot().to_serializable();
                    assert_eq!(
                        identity(&now).map(|i| i.jid),
                        identity(&device).map(|i| i.jid),
                        "seed {seed}, files {hit:03b}"
                    );
                    assert_eq!(
                        now.noise_key.private_key.serialize(),
                        device.noise_key.private_key.serialize(),
                        "seed {seed}"
                    );
                    assert_eq!(
                        now.identity_key.private_key.serialize(),
                        device.identity_key.private_key.serialize(),
                        "seed {seed}"
                    );
                    save(&manager, &files(dir.path())).await?;
                    assert!(record::read(dir.path(), None).is_some(), "seed {seed}: a good record afterwards");
                    linked += 1;
                }
                Err(error) => {
                    assert_eq!(hit, 7, "seed {seed}: something was whole: {error}");
                    told += 1;
                }
            }
        }
        assert!(linked > 0 && told > 0, "{linked} linked, {told} told");
        Ok(())
    }
}
