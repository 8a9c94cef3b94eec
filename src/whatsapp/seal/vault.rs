//! [`Vault`]: a sealed `signal.db` as the library's store. One connection, one writer at a time, one transaction per call.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use whatsapp_rust::async_trait;
use whatsapp_rust::traits::DeviceStore;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::device::DEVICE_PROPS;
use whatsapp_rust::wacore::store::error::StoreError;
use zeroize::Zeroizing;

use super::envelope::DataKeys;
use super::key::DataKey;
use super::rows::{self, Result, Rows, failed};
use super::table::{Row, Table};

/// Where the device is sealed for.
const DEVICE: &[u8] = b"device";
/// Page cache of the connection, as the plain store has it.
const CACHE_KIB: i64 = 128;
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module documentation.
pub(in crate::whatsapp) struct Vault {
    db: Arc<tokio::sync::Mutex<Connection>>,
    key: Arc<DataKey>,
}

impl Vault {
    /// Opens a sealed database with the key that it names.
    pub(in crate::whatsapp) async fn open(path: &Path, keys: &DataKeys) -> std::result::Result<Self, String> {
        let (path, keys) = (path.to_path_buf(), keys.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let db = connect(&path, "FULL").map_err(|e| e.to_string())?;
            let sealed = rows::sealed_with(&db).map_err(|e| e.to_string())?;
            let sealed = sealed.ok_or("it is not sealed")?;
            let key =
                keys.find(&sealed).ok_or_else(|| format!("it is sealed with data key {sealed}, which is lost"))?;
            Ok::<_, String>(Self { db: Arc::new(tokio::sync::Mutex::new(db)), key: Arc::clone(key) })
        });
        opened.await.map_err(|e| e.to_string())?
    }

    /// A vault on a connection whose tables were made with this key.
    pub(super) fn on(db: Connection, key: Arc<DataKey>) -> Self {
        Self { db: Arc::new(tokio::sync::Mutex::new(db)), key }
    }

    /// Carries out `work` in one transaction on a thread that may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Rows<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut db = Arc::clone(&self.db).lock_owned().await;
        let key = Arc::clone(&self.key);
        let done = tokio::task::spawn_blocking(move || {
            let change = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
            let done = work(&Rows { db: &change, key: &key })?;
            change.commit().map_err(failed)?;
            Ok(done)
        });
        done.await.map_err(|e| StoreError::Database(Box::new(e)))?
    }

    /// The same for work that only reads.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Rows<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let db = Arc::clone(&self.db).lock_owned().await;
        let key = Arc::clone(&self.key);
        let done = tokio::task::spawn_blocking(move || work(&Rows { db: &db, key: &key }));
        done.await.map_err(|e| StoreError::Database(Box::new(e)))?
    }

    /// Writes rows of one table.
    pub(super) async fn put(&self, table: &'static Table, rows: Vec<Row>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.run(move |db| rows.iter().try_for_each(|row| db.put(table, row))).await
    }

    /// The row of a name that is made of texts.
    pub(super) async fn get(&self, table: &'static Table, key: &[&str]) -> Result<Option<Row>> {
        let key = owned(key);
        self.look(move |db| db.get(table, &borrowed(&key))).await
    }

    /// Deletes such a row.
    pub(super) async fn delete(&self, table: &'static Table, key: &[&str]) -> Result<()> {
        let key = owned(key);
        self.run(move |db| db.delete(table, &borrowed(&key)).map(drop)).await
    }
}

pub(super) fn owned(key: &[&str]) -> Vec<Vec<u8>> {
    key.iter().map(|part| part.as_bytes().to_vec()).collect()
}

pub(super) fn borrowed(key: &[Vec<u8>]) -> Vec<&[u8]> {
    key.iter().map(Vec::as_slice).collect()
}

/// A connection set up as the library sets its own up.
pub(super) fn connect(path: &Path, synchronous: &str) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(PATIENCE)?;
    db.pragma_update(None, "synchronous", synchronous)?;
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

#[async_trait]
impl DeviceStore for Vault {
    async fn save(&self, device: &Device) -> Result<()> {
        let json =
            serde_json::to_vec(device).map(Zeroizing::new).map_err(|e| StoreError::Serialization(Box::new(e)))?;
        let address = |jid: &Option<_>| jid.as_ref().map(ToString::to_string).unwrap_or_default();
        let (pn, lid, name): (String, String, String) =
            (address(&device.pn), address(&device.lid), device.push_name.clone());
        self.run(move |rows| {
            let sealed = rows.key.seal(DEVICE, &json).map_err(StoreError::Validation)?;
            let sql = "INSERT OR REPLACE INTO device (id, pn, lid, push_name, sealed) VALUES (1, ?1, ?2, ?3, ?4)";
            rows.db.execute(sql, params![pn, lid, name, sealed]).map_err(failed)?;
            Ok(())
        })
        .await
    }

    async fn load(&self) -> Result<Option<Device>> {
        let damaged = || StoreError::Validation("the sealed device is damaged".to_owned());
        self.look(move |rows| {
            let sealed = rows.db.query_row("SELECT sealed FROM device WHERE id = 1", [], |row| row.get(0));
            let Some(sealed): Option<Vec<u8>> = sealed.optional().map_err(failed)? else { return Ok(None) };
            let json = rows.key.open(DEVICE, &sealed).ok_or_else(damaged)?;
            let mut device: Device = serde_json::from_slice(&json).map_err(|_| damaged())?;
            // Not part of what is written, and the same for every device.
            device.device_props = Arc::new(DEVICE_PROPS.clone());
            Ok(Some(device))
        })
        .await
    }

    async fn exists(&self) -> Result<bool> {
        let known = "SELECT count(*) FROM device";
        self.look(move |rows| rows.db.query_row(known, [], |row| row.get::<_, i64>(0)).map(|n| n > 0).map_err(failed))
            .await
    }

    async fn create(&self) -> Result<i32> {
        self.save(&Device::new()).await?;
        Ok(1)
    }
}
