//! A link's own files: `signal.db` is authoritative, `creds.json` mirrors the device so that a lost database does not
//! cost the link.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::store::{SqliteStore, SqliteStoreConfig, Synchronous};
use whatsapp_rust::traits::Backend;
use whatsapp_rust::wacore::store::Device;

use super::{OpenError, baileys, convert};
use crate::clock::Clock;
use crate::event::Identity;

/// The database of one account.
const DATABASE: &str = "signal.db";
/// The mirror, under the name that the original uses.
const CREDENTIALS: &str = "creds.json";
/// Pre-keys are counted in 24 bits.
const PRE_KEY_ID_LIMIT: u32 = 0x00ff_ffff;
/// So many pre-keys may have been made since the mirror was written.
const PRE_KEY_LEAP: u32 = 2_000;

/// What `creds.json` holds. `me` is where the original keeps it, so that tools which only look there work on both.
#[derive(Serialize, Deserialize)]
struct Credentials {
    format: String,
    me: Me,
    device: Device,
}

#[derive(Serialize, Deserialize)]
struct Me {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

const FORMAT: &str = "verso/1";

/// Opens the account's database; a database without a device takes it back from `creds.json`.
pub(super) async fn open(auth_dir: &Path) -> Result<PersistenceManager, OpenError> {
    let path = auth_dir.join(DATABASE);
    let failed = |cause: String| OpenError::Store { path: path.clone(), cause };
    take_over(auth_dir).await?;
    prepare_file(&path).map_err(|e| failed(e.to_string()))?;
    let text = path.to_str().ok_or_else(|| failed("the path is not valid UTF-8".to_owned()))?;
    let config = SqliteStoreConfig {
        pool_size: 1,
        cache_size_kib: 128,
        // A power cut must not roll back what WhatsApp was told.
        synchronous: Synchronous::Full,
        ..SqliteStoreConfig::default()
    };
    let store = SqliteStore::with_config(text, config).await.map_err(|e| failed(e.to_string()))?;
    let store: Arc<dyn Backend> = Arc::new(store);
    restore_device(&*store, auth_dir).await.map_err(|e| failed(e.to_string()))?;
    PersistenceManager::new(store).await.map_err(|e| failed(e.to_string()))
}

/// A link that a Baileys program left in the folder goes on here.
async fn take_over(auth_dir: &Path) -> Result<(), OpenError> {
    let now = Clock::System.now();
    let Some(report) = baileys::in_place(auth_dir, now).await.map_err(OpenError::TakeOver)? else { return Ok(()) };
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

/// True when the folder's database belongs to this very device.
pub(super) async fn same_device(auth_dir: &Path, device: &Device) -> bool {
    let path = auth_dir.join(DATABASE);
    let Some(text) = path.to_str().filter(|_| path.is_file() && prepare_file(&path).is_ok()) else { return false };
    let Ok(store) = SqliteStore::new(text).await else { return false };
    let known = whatsapp_rust::traits::DeviceStore::load(&store).await.ok().flatten();
    known.is_some_and(|known| known.noise_key.private_key.serialize() == device.noise_key.private_key.serialize())
}

/// What every SQLite file begins with.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Creates the database for this user only (SQLite gives its journal files the same mode), and refuses a file that is
/// none: the library would try that for half a minute.
pub(super) fn prepare_file(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    let mut start = [0; HEADER.len()];
    match file.read_exact(&mut start) {
        Ok(()) if &start == HEADER => Ok(()),
        Err(_) if file.metadata()?.len() == 0 => Ok(()),
        Ok(()) | Err(_) => Err(io::Error::other(
            "the file is damaged; move it away: the link comes back from creds.json without scanning again",
        )),
    }
}

async fn restore_device(store: &dyn Backend, auth_dir: &Path) -> Result<(), whatsapp_rust::anyhow::Error> {
    let known = if store.exists().await? { store.load().await? } else { None };
    if known.is_some_and(|device| device.pn.is_some()) {
        return Ok(());
    }
    let Some(saved) = read_credentials(&auth_dir.join(CREDENTIALS)) else { return Ok(()) };
    let mut device = saved.device;
    if device.pn.is_none() {
        return Ok(());
    }
    forget_pre_keys(&mut device);
    if !store.exists().await? {
        store.create().await?;
    }
    store.save(&device).await?;
    tracing::warn!(target: "web-session", "the account's database had no device; took it back from creds.json");
    Ok(())
}

/// The private halves of the uploaded pre-keys are lost: new ones go up at the next login, under numbers that were not used before.
pub(super) fn forget_pre_keys(device: &mut Device) {
    device.next_pre_key_id = (device.next_pre_key_id + PRE_KEY_LEAP) % PRE_KEY_ID_LIMIT;
    device.first_unupload_pre_key_id = device.next_pre_key_id;
    device.server_has_prekeys = false;
}

fn read_credentials(path: &Path) -> Option<Credentials> {
    let saved: Credentials = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (saved.format == FORMAT).then_some(saved)
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

/// Brings the device to disk: the database row first, then the mirror.
///
/// # Errors
/// When a file cannot be written.
pub(super) async fn save(manager: &PersistenceManager, auth_dir: PathBuf) -> Result<(), String> {
    manager.flush().await.map_err(|e| e.to_string())?;
    let device = manager.get_device_snapshot().to_serializable();
    let write = move || set_aside_foreign(&auth_dir).and_then(|()| mirror_device(&auth_dir, &device));
    tokio::task::spawn_blocking(write)
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| format!("cannot write creds.json: {e}"))
}

/// Writes `creds.json` for a device; an unlinked one has none.
pub(super) fn mirror_device(auth_dir: &Path, device: &Device) -> io::Result<()> {
    let Some(me) = identity(device) else { return Ok(()) };
    let saved = Credentials {
        format: FORMAT.to_owned(),
        me: Me { id: me.jid.to_string(), lid: me.lid.map(|l| l.to_string()), name: me.push_name },
        device: device.clone(),
    };
    mirror(auth_dir, &serde_json::to_vec(&saved)?)
}

/// Writes `creds.json`, reads it back, and only then renews its backup.
fn mirror(auth_dir: &Path, json: &[u8]) -> io::Result<()> {
    let path = auth_dir.join(CREDENTIALS);
    if fs::read(&path).is_ok_and(|old| old == json) {
        return Ok(());
    }
    replace(auth_dir, &path, json)?;
    if read_credentials(&path).is_none() {
        return Err(io::Error::other("the file does not read back"));
    }
    replace(auth_dir, &auth_dir.join("creds.json.bak"), json)
}

/// Credentials of the original are kept beside: a person may want to go back to them.
fn set_aside_foreign(auth_dir: &Path) -> io::Result<()> {
    let path = auth_dir.join(CREDENTIALS);
    let saved = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    if saved.is_some_and(|saved| saved.get("noiseKey").is_some()) {
        fs::rename(path, auth_dir.join("creds.json.original"))?;
        tracing::warn!(target: "web-session", "kept the credentials of another program as creds.json.original");
    }
    Ok(())
}

fn replace(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A fresh temporary file is private to its owner.
    let mut fresh = tempfile::NamedTempFile::new_in(dir)?;
    fresh.write_all(bytes)?;
    fresh.as_file().sync_all()?;
    fresh.persist(path).map_err(|e| e.error)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn linked(dir: &Path) -> Result<PersistenceManager, Box<dyn std::error::Error>> {
        let manager = open(dir).await?;
        manager
            .modify_device(|device| {
                device.pn = "15551234567:3@s.whatsapp.net".parse().ok();
                device.push_name = "Verso".to_owned();
            })
            .await;
        save(&manager, dir.to_owned()).await?;
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
        let after = open(dir.path()).await?.get_device_snapshot().to_serializable();
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
        assert!(identity(&open(dir.path()).await?.get_device_snapshot().to_serializable()).is_none());
        linked(dir.path()).await?;
        assert_eq!(fs::read_to_string(dir.path().join("creds.json.original"))?, theirs);
        assert!(read_credentials(&dir.path().join("creds.json")).is_some());
        Ok(())
    }

    #[tokio::test]
    async fn a_database_that_is_none_names_the_file() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("signal.db"), "this is no database, but long enough to look at ".repeat(40))?;
        let error = open(dir.path()).await.map(|_| ()).expect_err("not a database");
        assert!(error.to_string().contains("signal.db"), "{error}");
        Ok(())
    }
}
