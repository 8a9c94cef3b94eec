//! A whole database from one form into another: plain to sealed, sealed to plain, from one data key to the next.
//!
//! The new file is made beside the old one and takes its place in one rename, so a crash leaves the one or the other, and a sealed file
//! never held a plain page. The old file's log is folded in first: a log that stayed would be taken for the new file's.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use whatsapp_rust::store::{SqliteStore, SqliteStoreConfig, Synchronous};
use whatsapp_rust::traits::{Backend, DeviceStore};
use whatsapp_rust::wacore::store::Device;

use super::envelope::DataKeys;
use super::key::DataKey;
use super::rows::{self, Of, Rows};
use super::table::{self, BY_COLUMN, Row, Table};
use super::vault::{Vault, connect};
use crate::whatsapp::database::{DATABASE, prepare_file};
use crate::whatsapp::record::step;

/// The new file until it is complete.
const UNFINISHED: &str = "signal.db.sealing";

/// Id of the data key that a folder's database is sealed with; `None` when it is plain or absent.
///
/// # Errors
/// When it cannot be read.
pub(in crate::whatsapp) fn look(dir: &Path) -> Result<Option<String>, String> {
    let path = dir.join(DATABASE);
    if fs::metadata(&path).map_or(0, |m| m.len()) == 0 {
        return Ok(None);
    }
    still(&path).and_then(|db| rows::sealed_with(&db)).map_err(|e| causes(&e))
}

/// Opens a database without a look at its log, and without touching that: what is lost of a log is found out only before SQLite sees it.
/// The key that a database is sealed with is written before the file takes its place and never changes.
pub(super) fn still(path: &Path) -> rusqlite::Result<Connection> {
    let name = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(format!("file:{name}?immutable=1"), flags)
}

/// The same where a database that cannot be read counts as plain.
pub(in crate::whatsapp) fn sealed_with(dir: &Path) -> Option<String> {
    look(dir).ok().flatten()
}

/// True when the folder's sealed database holds a device that no phone ever accepted.
pub(super) fn is_nobodys(dir: &Path) -> bool {
    let owner = |db: Connection| db.query_row("SELECT pn FROM device", [], |row| row.get::<_, String>(0));
    sealed_with(dir).is_some() && Connection::open(dir.join(DATABASE)).and_then(owner).is_ok_and(|pn| pn.is_empty())
}

/// Seals the folder's database with the current key, whatever it is sealed with now.
pub(in crate::whatsapp) async fn seal(dir: &Path, keys: &DataKeys) -> Result<(), String> {
    let key = Arc::clone(keys.current());
    match look(dir)? {
        Some(id) if id == key.id() => return Ok(()),
        Some(_) => {
            let from = Vault::open(&dir.join(DATABASE), keys).await?;
            let (to, beside) = fresh_vault(dir, &key).await?;
            move_sealed(&from, &to).await.map_err(text)?;
            drop((from, to));
            return replace(dir, beside).await;
        }
        None => {}
    }
    let path = dir.join(DATABASE);
    // The library brings an older file's tables up to date.
    let from = plain_store(&path, Synchronous::Full).await?;
    let (to, beside) = fresh_vault(dir, &key).await?;
    if let Some(device) = from.load().await.map_err(|e| causes(&e))? {
        to.save(&device).await.map_err(text)?;
    }
    let names = path.clone();
    let (ids, collections) =
        blocking(move || Connection::open(names).and_then(|db| list_sync(&db)).map_err(io::Error::other)).await?;
    move_sync(&from, &to, &ids, &collections).await.map_err(text)?;
    drop(from);
    to.run(move |rows| read_plain(&path, rows).map_err(rows::failed)).await.map_err(|e| causes(&e))?;
    drop(to);
    replace(dir, beside).await
}

/// Takes the seal off the folder's database; the device in it, if it was sealed.
pub(super) async fn unseal(dir: &Path, keys: &DataKeys) -> Result<Option<Device>, String> {
    if sealed_with(dir).is_none() {
        return Ok(None);
    }
    let from = Vault::open(&dir.join(DATABASE), keys).await?;
    let beside = fresh(dir).await?;
    // `replace` brings it to disk before it takes its place.
    let to = plain_store(&beside, Synchronous::Off).await?;
    let device = from.load().await.map_err(text)?;
    if let Some(device) = &device {
        to.create().await.map_err(text)?;
        to.save(device).await.map_err(text)?;
    }
    let listed = from.listed().await.map_err(text)?;
    move_sync(&from, &to, &listed.sync_keys, &listed.sync_versions).await.map_err(text)?;
    drop(to);
    let target = beside.clone();
    from.look(move |rows| write_plain(rows, &target)).await.map_err(|e| causes(&e))?;
    drop(from);
    replace(dir, beside).await?;
    Ok(device)
}

async fn plain_store(path: &Path, synchronous: Synchronous) -> Result<SqliteStore, String> {
    let name = path.to_str().ok_or("the path is not valid UTF-8")?;
    let config = SqliteStoreConfig { pool_size: 1, synchronous, ..SqliteStoreConfig::default() };
    SqliteStore::with_config(name, config).await.map_err(|e| causes(&e))
}

async fn fresh(dir: &Path) -> Result<PathBuf, String> {
    let dir = dir.to_path_buf();
    blocking(move || {
        sweep(&dir)?;
        let path = dir.join(UNFINISHED);
        prepare_file(&path)?;
        Ok(path)
    })
    .await
}

async fn fresh_vault(dir: &Path, key: &Arc<DataKey>) -> Result<(Vault, PathBuf), String> {
    let path = fresh(dir).await?;
    let (file, made) = (path.clone(), Arc::clone(key));
    let db = blocking(move || {
        let db = connect(&file, "OFF").map_err(io::Error::other)?;
        rows::create(&db, &made).map_err(io::Error::other)?;
        Ok(db)
    })
    .await?;
    Ok((Vault::on(db, Arc::clone(key)), path))
}

/// Deletes what a process that died was making.
pub(in crate::whatsapp) fn sweep(dir: &Path) -> io::Result<()> {
    for end in ["", "-wal", "-shm", "-journal"] {
        match fs::remove_file(dir.join(format!("{UNFINISHED}{end}"))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn list_sync(db: &Connection) -> rusqlite::Result<(Vec<Vec<u8>>, Vec<String>)> {
    let keys = db
        .prepare("SELECT key_id FROM app_state_keys")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let names = db
        .prepare("SELECT name FROM app_state_versions")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok((keys, names))
}

async fn move_sync(
    from: &dyn Backend,
    to: &dyn Backend,
    ids: &[Vec<u8>],
    collections: &[String],
) -> Result<(), whatsapp_rust::wacore::store::error::StoreError> {
    for id in ids {
        if let Some(key) = from.get_sync_key(id).await? {
            to.set_sync_key(id, key).await?;
        }
    }
    for name in collections {
        to.set_version(name, from.get_version(name).await?).await?;
    }
    Ok(())
}

async fn move_sealed(from: &Vault, to: &Vault) -> Result<(), whatsapp_rust::wacore::store::error::StoreError> {
    if let Some(device) = from.load().await? {
        to.save(&device).await?;
    }
    for table in table::all() {
        let rows = from.look(move |rows| rows.list(&table, Of::All)).await?;
        to.run(move |db| rows.iter().try_for_each(|row| db.put(&table, row))).await?;
    }
    Ok(())
}

/// The columns that a table moves with, the numbers in the clear last.
fn columns(table: &Table) -> Vec<&'static str> {
    table.sealed.iter().copied().chain([table.at, table.until, table.flag].into_iter().flatten()).collect()
}

fn read_plain(path: &Path, to: &Rows<'_>) -> rusqlite::Result<()> {
    let from = Connection::open(path)?;
    for table in &BY_COLUMN {
        let mut select = from.prepare(&format!("SELECT {} FROM {}", columns(table).join(", "), table.name))?;
        let mut found = select.query([])?;
        while let Some(stored) = found.next()? {
            let mut next = table.sealed.len();
            let mut number = |column: Option<&str>| -> rusqlite::Result<Option<i64>> {
                column.map_or(Ok(None), |_| {
                    next += 1;
                    stored.get(next - 1)
                })
            };
            let (at, until, flag) = (number(table.at)?, number(table.until)?, number(table.flag)?);
            let fields = (0..table.sealed.len()).map(|n| stored.get::<_, Value>(n)).collect::<rusqlite::Result<_>>()?;
            to.put(table, &Row { fields, at, until, flag })
                .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        }
    }
    Ok(())
}

fn write_plain(from: &Rows<'_>, path: &Path) -> rows::Result<()> {
    let mut db = Connection::open(path).map_err(rows::failed)?;
    let change = db.transaction().map_err(rows::failed)?;
    for table in &BY_COLUMN {
        let columns = columns(table);
        // The number of a pre-key stands in the clear too.
        let names: Vec<&str> =
            columns.iter().copied().enumerate().filter(|(n, c)| !columns[..*n].contains(c)).map(|(_, c)| c).collect();
        let marks = (1..=names.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
        let sql =
            format!("INSERT OR REPLACE INTO {} ({}, device_id) VALUES ({marks}, 1)", table.name, names.join(", "));
        let mut insert = change.prepare(&sql).map_err(rows::failed)?;
        for row in from.list(table, Of::All)? {
            let numbers = [(table.at, row.at), (table.until, row.until), (table.flag, row.flag)];
            let numbers = numbers.into_iter().filter(|(column, _)| column.is_some_and(|c| !table.sealed.contains(&c)));
            let values = row.fields.into_iter().chain(numbers.map(|(_, n)| n.map_or(Value::Null, Value::Integer)));
            insert.execute(params_from_iter(values)).map_err(rows::failed)?;
        }
    }
    change.commit().map_err(rows::failed)
}

/// The finished file takes the place of the folder's database, with its epoch.
async fn replace(dir: &Path, beside: PathBuf) -> Result<(), String> {
    let dir = dir.to_path_buf();
    blocking(move || {
        let path = dir.join(DATABASE);
        step("converted")?;
        let epoch: i32 = {
            let old = alone(&path)?;
            old.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(io::Error::other)?
        };
        {
            let new = alone(&beside)?;
            new.pragma_update(None, "user_version", epoch).map_err(io::Error::other)?;
        }
        File::open(&beside)?.sync_all()?;
        step("settled")?;
        fs::rename(&beside, &path)?;
        step("replaced")?;
        File::open(&dir)?.sync_all()
    })
    .await
}

/// Opens a database without anything beside it.
fn alone(path: &Path) -> io::Result<Connection> {
    let db = Connection::open(path).map_err(io::Error::other)?;
    db.busy_timeout(std::time::Duration::from_secs(10)).map_err(io::Error::other)?;
    let mode: String = db.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0)).map_err(io::Error::other)?;
    if mode != "delete" {
        return Err(io::Error::other(format!("{} is locked by another connection", path.display())));
    }
    Ok(db)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

fn text(error: impl std::error::Error + 'static) -> String {
    causes(&error)
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    crate::whatsapp::database::with_causes(error)
}
