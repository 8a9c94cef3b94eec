//! SQL on a sealed database: rows go in and come out in the clear, and nothing of them is in the file.

use rusqlite::{Connection, OptionalExtension, params};
use whatsapp_rust::wacore::store::error::StoreError;
use zeroize::Zeroizing;

use super::key::DataKey;
use super::table::{self, Owner, Row, Table};

/// An open sealed database with the key that opens its rows; used inside a transaction where several rows belong together.
pub(super) struct Rows<'a> {
    pub db: &'a Connection,
    pub key: &'a DataKey,
}

/// Which rows.
pub(super) enum Of<'a> {
    All,
    Owner(&'a str),
    Other(&'a str),
}

pub(super) fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::Database(Box::new(error))
}

pub(super) type Result<T> = std::result::Result<T, StoreError>;

impl Rows<'_> {
    fn group(&self, column: &str, text: &str) -> [u8; 16] {
        self.key.name(column, &[text.as_bytes()])
    }

    fn place(table: &Table, name: &[u8]) -> Vec<u8> {
        [table.name.as_bytes(), b" ", name].concat()
    }

    /// Writes a row over the one of the same name.
    pub(super) fn put(&self, table: &Table, row: &Row) -> Result<()> {
        let keys: Vec<Vec<u8>> = row.fields.iter().take(table.keys).map(table::part).collect();
        let name = self.key.name(table.name, &keys.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let owner = table.owner.map(|owner| match owner {
            Owner::Column(at) => self.group("owner", &row.text(at)),
            Owner::User(at) => self.group("owner", table::user(&row.text(at))),
        });
        let other = table.other.map(|at| self.group("other", &row.text(at)));
        let mut plain = Zeroizing::new(Vec::new());
        row.fields.iter().for_each(|field| table::encode(field, &mut plain));
        let sealed = self.key.seal(&Self::place(table, &name), &plain).map_err(StoreError::Validation)?;
        let sql = format!(
            "INSERT OR REPLACE INTO {} (name, owner, other, at, until, flag, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            table.name
        );
        let mut put = self.db.prepare_cached(&sql).map_err(failed)?;
        put.execute(params![name, owner, other, row.at, row.until, row.flag, sealed]).map_err(failed)?;
        Ok(())
    }

    /// The row of a name. One that is damaged counts as none: the library asks WhatsApp or the sender again.
    pub(super) fn get(&self, table: &Table, key: &[&[u8]]) -> Result<Option<Row>> {
        let name = self.key.name(table.name, key);
        let sql = format!("SELECT name, at, until, flag, sealed FROM {} WHERE name = ?1", table.name);
        let mut get = self.db.prepare_cached(&sql).map_err(failed)?;
        let found = get.query_row([name], Stored::read).optional().map_err(failed)?;
        Ok(found.and_then(|stored| self.open(table, stored)))
    }

    /// True when there is a row of this name.
    pub(super) fn has(&self, table: &Table, key: &[&[u8]]) -> Result<bool> {
        let sql = format!("SELECT 1 FROM {} WHERE name = ?1", table.name);
        let mut has = self.db.prepare_cached(&sql).map_err(failed)?;
        has.exists([self.key.name(table.name, key)]).map_err(failed)
    }

    /// True when there is a row that belongs to `owner`.
    pub(super) fn has_owner(&self, table: &Table, owner: &str) -> Result<bool> {
        let sql = format!("SELECT 1 FROM {} WHERE owner = ?1", table.name);
        let mut has = self.db.prepare_cached(&sql).map_err(failed)?;
        has.exists([self.group("owner", owner)]).map_err(failed)
    }

    /// Rows in the order of their time.
    pub(super) fn list(&self, table: &Table, of: Of<'_>) -> Result<Vec<Row>> {
        let (condition, value) = self.condition(&of);
        let sql =
            format!("SELECT name, at, until, flag, sealed FROM {} WHERE {condition} ORDER BY at, rowid", table.name);
        let mut list = self.db.prepare_cached(&sql).map_err(failed)?;
        let stored = list.query_map(params![value], Stored::read).map_err(failed)?;
        let stored = stored.collect::<rusqlite::Result<Vec<_>>>().map_err(failed)?;
        Ok(stored.into_iter().filter_map(|stored| self.open(table, stored)).collect())
    }

    /// Deletes one row; false when there was none.
    pub(super) fn delete(&self, table: &Table, key: &[&[u8]]) -> Result<bool> {
        let sql = format!("DELETE FROM {} WHERE name = ?1", table.name);
        let mut delete = self.db.prepare_cached(&sql).map_err(failed)?;
        Ok(delete.execute([self.key.name(table.name, key)]).map_err(failed)? > 0)
    }

    /// Deletes rows.
    pub(super) fn clear(&self, table: &Table, of: Of<'_>) -> Result<()> {
        let (condition, value) = self.condition(&of);
        let sql = format!("DELETE FROM {} WHERE {condition}", table.name);
        let mut clear = self.db.prepare_cached(&sql).map_err(failed)?;
        clear.execute(params![value]).map_err(failed)?;
        Ok(())
    }

    /// Deletes the rows for which an SQL condition on the numbers in the clear holds.
    pub(super) fn expire(&self, table: &Table, condition: &str, cutoff: i64) -> Result<u32> {
        let sql = format!("DELETE FROM {} WHERE {condition}", table.name);
        let deleted = self.db.execute(&sql, [cutoff]).map_err(failed)?;
        Ok(u32::try_from(deleted).unwrap_or(u32::MAX))
    }

    fn condition(&self, of: &Of<'_>) -> (&'static str, Option<[u8; 16]>) {
        match of {
            Of::All => ("?1 IS NULL", None),
            Of::Owner(text) => ("owner = ?1", Some(self.group("owner", text))),
            Of::Other(text) => ("other = ?1", Some(self.group("other", text))),
        }
    }

    fn open(&self, table: &Table, stored: Stored) -> Option<Row> {
        let plain = self.key.open(&Self::place(table, &stored.name), &stored.sealed);
        let fields = plain.and_then(|plain| table::decode(&plain));
        if fields.is_none() {
            tracing::warn!(target: "web-session", table = table.name, "a sealed row is damaged and left out");
        }
        Some(Row { fields: fields?, at: stored.at, until: stored.until, flag: stored.flag })
    }
}

struct Stored {
    name: Vec<u8>,
    at: Option<i64>,
    until: Option<i64>,
    flag: Option<i64>,
    sealed: Vec<u8>,
}

impl Stored {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { name: row.get(0)?, at: row.get(1)?, until: row.get(2)?, flag: row.get(3)?, sealed: row.get(4)? })
    }
}

/// Makes the tables of a sealed database and notes the key that seals it.
pub(super) fn create(db: &Connection, key: &DataKey) -> rusqlite::Result<()> {
    db.execute_batch(
        "CREATE TABLE vault (key TEXT NOT NULL);
         CREATE TABLE device (id INTEGER PRIMARY KEY, pn TEXT NOT NULL, lid TEXT NOT NULL, push_name TEXT NOT NULL, sealed BLOB NOT NULL);",
    )?;
    for table in table::all() {
        let name = table.name;
        db.execute_batch(&format!(
            "CREATE TABLE {name} (name BLOB NOT NULL UNIQUE, owner BLOB, other BLOB, at INTEGER, until INTEGER, flag INTEGER, sealed BLOB NOT NULL);"
        ))?;
        for (column, wanted) in [("owner", table.owner.is_some()), ("other", table.other.is_some())] {
            if wanted {
                db.execute_batch(&format!("CREATE INDEX {name}_{column} ON {name} ({column});"))?;
            }
        }
    }
    db.execute("INSERT INTO vault (key) VALUES (?1)", [key.id()])?;
    Ok(())
}

/// Id of the key that a database is sealed with; `None` when it is not sealed.
pub(super) fn sealed_with(db: &Connection) -> rusqlite::Result<Option<String>> {
    let known: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'vault'", [], |row| {
            row.get(0)
        })?;
    if known == 0 {
        return Ok(None);
    }
    db.query_row("SELECT key FROM vault", [], |row| row.get(0)).optional()
}
