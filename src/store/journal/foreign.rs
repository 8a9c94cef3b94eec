//! What may stand in `state.db` besides rows: the tables and indexes of this program. A database from elsewhere may bring triggers and views
//! that run when it is read or written, so its schema is compared before anything else is asked of it.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::schema::MIGRATIONS;
use crate::store::StoreError;

/// Has SQLite distrust what the file itself says: no functions from the schema, no writes past its rules.
pub(super) fn distrust(db: &Connection) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(())
}

/// Compares the schema with the one that Verso made at the version that the file names.
///
/// # Errors
/// [`StoreError::Damaged`] names what is foreign or missing.
pub(super) fn check(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let damaged = |cause: String| StoreError::Damaged { path: path.to_path_buf(), cause };
    let broken = |e: rusqlite::Error| damaged(e.to_string());
    let version: u32 = db.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(broken)?;
    // A newer schema is refused for its number, with a better sentence.
    let Some(steps) = MIGRATIONS.get(..version as usize) else { return Ok(()) };
    let fresh = Connection::open_in_memory().map_err(broken)?;
    for step in steps {
        fresh.execute_batch(step).map_err(broken)?;
    }
    let (mine, theirs) = (objects(&fresh).map_err(broken)?, objects(db).map_err(broken)?);
    if let Some((kind, name, _)) = theirs.difference(&mine).next() {
        return Err(damaged(format!(
            "it holds the {kind} {name:?}, which is none of Verso's; nothing of this file is used"
        )));
    }
    if let Some((kind, name, _)) = mine.difference(&theirs).next() {
        return Err(damaged(format!("the {kind} {name:?} is missing; nothing of this file is used")));
    }
    Ok(())
}

/// Kind, name and shape of everything in a schema: columns of tables, keys of indexes.
fn objects(db: &Connection) -> rusqlite::Result<BTreeSet<(String, String, String)>> {
    let mut all = db.prepare("SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")?;
    let all = all.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?)))?;
    let all = all.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut out = BTreeSet::new();
    for (kind, name, table) in all {
        let shape = match kind.as_str() {
            "table" => shape(
                db,
                "SELECT name || ' ' || type || ' ' || \"notnull\" || ' ' || coalesce(dflt_value, '') || ' ' || pk || ' ' || hidden FROM pragma_table_xinfo(?1) ORDER BY cid",
                &name,
            )?,
            "index" => {
                shape(db, "SELECT coalesce(name, '(expression)') FROM pragma_index_info(?1) ORDER BY seqno", &name)?
            }
            _ => String::new(),
        };
        out.insert((kind, name, format!("{table}: {shape}")));
    }
    Ok(out)
}

fn shape(db: &Connection, query: &str, name: &str) -> rusqlite::Result<String> {
    let mut rows = db.prepare(query)?;
    let rows = rows.query_map([name], |r| r.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(rows.join(", "))
}
