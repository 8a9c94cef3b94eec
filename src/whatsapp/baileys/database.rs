//! Writes a translated link into a fresh database, and lists what a database holds: the library itself only reads by key.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use whatsapp_rust::bytes::Bytes;
use whatsapp_rust::store::{SqliteStore, SqliteStoreConfig, Synchronous};
use whatsapp_rust::traits::Backend;

use super::BaileysError;
use super::link::Link;
use crate::whatsapp::seal::{self, DataKeys, Vault};

/// Makes a database of `link` at `path`, where none is. It is on disk as a whole when this returns.
pub(super) async fn build(path: &Path, link: &Link) -> Result<(), BaileysError> {
    let failed = |cause: String| BaileysError::Database { path: path.to_path_buf(), cause };
    let text = path.to_str().ok_or_else(|| failed("the path is not valid UTF-8".to_owned()))?;
    let config = SqliteStoreConfig {
        pool_size: 1,
        // Nobody uses the file before `settle`.
        synchronous: Synchronous::Off,
        ..SqliteStoreConfig::default()
    };
    let store = SqliteStore::with_config(text, config).await.map_err(|e| failed(e.to_string()))?;
    fill(&store, link).await.map_err(|e| failed(e.to_string()))?;
    drop(store);
    let path = path.to_path_buf();
    super::import::blocking(move || settle(&path)).await
}

async fn fill(store: &dyn Backend, link: &Link) -> Result<(), whatsapp_rust::anyhow::Error> {
    store.create().await?;
    store.save(&link.device).await?;
    for uploaded in [true, false] {
        let keys: Vec<(u32, Bytes)> =
            link.pre_keys.iter().filter(|key| key.2 == uploaded).map(|(id, record, _)| (*id, record.clone())).collect();
        store.store_prekeys_batch(&keys, uploaded).await?;
    }
    store.put_lid_mappings(&link.lid_mappings).await?;
    store.put_identities_batch(&link.identities).await?;
    store.put_sessions_batch(&link.sessions).await?;
    store.put_sender_keys_batch(&link.sender_keys).await?;
    for (id, key) in &link.sync_keys {
        store.set_sync_key(id, key.clone()).await?;
    }
    for (name, state, proofs) in &link.sync_versions {
        store.set_version(name, state.clone()).await?;
        store.put_mutation_macs(name, state.version, proofs).await?;
    }
    for (user, token) in &link.tokens {
        store.put_tc_token(user, token).await?;
    }
    Ok(())
}

/// Brings the write-ahead log into the file and the file to disk.
pub(super) fn settle(path: &Path) -> Result<(), BaileysError> {
    let failed = |e: rusqlite::Error| BaileysError::Database { path: path.to_path_buf(), cause: e.to_string() };
    let database = Connection::open(path).map_err(failed)?;
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed)?;
    drop(database);
    File::open(path).and_then(|file| file.sync_all()).map_err(BaileysError::io("sync", path))
}

/// The keys of everything in a database.
pub(super) use crate::whatsapp::seal::Listed as Keys;

/// Lists a database.
fn keys(path: &Path) -> Result<Keys, BaileysError> {
    read_keys(path).map_err(|e| BaileysError::Database { path: path.to_path_buf(), cause: e.to_string() })
}

fn read_keys(path: &Path) -> rusqlite::Result<Keys> {
    let database = Connection::open(path)?;
    fn list<T>(
        database: &Connection,
        sql: &str,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        database.prepare(sql)?.query_map([], read)?.collect()
    }
    Ok(Keys {
        pre_keys: list(&database, "SELECT id FROM prekeys ORDER BY id", |row| row.get(0))?,
        sessions: list(&database, "SELECT address FROM sessions", |row| row.get(0))?,
        identities: list(&database, "SELECT address FROM identities", |row| row.get(0))?,
        sender_keys: list(&database, "SELECT address FROM sender_keys", |row| row.get(0))?,
        sync_keys: list(&database, "SELECT key_id FROM app_state_keys", |row| row.get(0))?,
        sync_versions: list(&database, "SELECT name FROM app_state_versions", |row| row.get(0))?,
        proofs: list(&database, "SELECT name, index_mac, value_mac FROM app_state_mutation_macs", |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?,
        devices: list(&database, "SELECT user_id, devices_json FROM device_registry", |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?,
    })
}

/// The store of a link at rest, and what is in it.
pub(super) async fn open(dir: &Path, keys: Option<&DataKeys>) -> Result<(Arc<dyn Backend>, Keys), BaileysError> {
    let path = dir.join("signal.db");
    let failed = |cause: String| BaileysError::Database { path: path.clone(), cause };
    if let Some(keys) = keys.filter(|_| seal::sealed_with(dir).is_some()) {
        let vault = Vault::open(&path, keys).await.map_err(failed)?;
        let listed = vault.listed().await.map_err(|e| failed(e.to_string()))?;
        return Ok((Arc::new(vault), listed));
    }
    let text = path.to_str().ok_or_else(|| failed("the path is not valid UTF-8".to_owned()))?;
    let store = SqliteStore::new(text).await.map_err(|e| failed(e.to_string()))?;
    let listed = path.clone();
    let keys = super::import::blocking(move || self::keys(&listed)).await?;
    Ok((Arc::new(store), keys))
}
