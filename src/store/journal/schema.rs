//! The schema of `state.db`: its versions, the way from each to the next, and who may open it.
//!
//! To change the schema append a step to [`MIGRATIONS`]; a step that was released is never edited. Steps run in one transaction, after
//! the file of before was copied to `state.db.bak-v<version>`. A step has to get along with rows that nobody can read: guard what looks
//! into JSON with `json_valid`, inside a `CASE`, which alone is evaluated in order. What only remembers something needs no step: it is a
//! fact (`facts`, key and value).

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension};

use crate::clock::UnixMs;
use crate::store::StoreError;

/// The steps; the first makes version 1 of nothing.
pub(super) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE inbound(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, chat TEXT NOT NULL, sender TEXT NOT NULL, id TEXT NOT NULL,
        sent_at INTEGER NOT NULL, received_at INTEGER NOT NULL, message TEXT NOT NULL, state TEXT NOT NULL,
        decision TEXT, decided_at INTEGER, answered_at INTEGER, UNIQUE(account, chat, sender, id)) STRICT;
    CREATE INDEX inbound_open ON inbound(account, seq) WHERE state IN ('new', 'admitted');
    CREATE INDEX inbound_id ON inbound(id);
    CREATE TABLE outbox(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, id TEXT NOT NULL, chat TEXT NOT NULL, text TEXT NOT NULL,
        answers INTEGER, state TEXT NOT NULL, rank INTEGER NOT NULL, cause TEXT,
        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, UNIQUE(account, id)) STRICT;
    CREATE INDEX outbox_open ON outbox(account, seq) WHERE state IN ('queued', 'sent');
    CREATE INDEX outbox_answers ON outbox(answers);
    CREATE INDEX outbox_id ON outbox(id);
    CREATE TABLE facts(key TEXT PRIMARY KEY, value TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
",
    "
    CREATE INDEX inbound_chat ON inbound(account, chat, seq);
",
    "
    ALTER TABLE outbox RENAME COLUMN text TO content;
    UPDATE outbox SET content = json_object('type', 'text', 'text', content, 'quote', NULL);
    ALTER TABLE outbox ADD COLUMN first_contact INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE outbox ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE outbox ADD COLUMN resent_at INTEGER;
",
    // tries: processes that ended while they were at work on the message; aside: the code of the reason for which it was set aside.
    // failures: attempts that came to nothing through Verso itself.
    "
    ALTER TABLE inbound ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE inbound ADD COLUMN aside TEXT;
    CREATE INDEX inbound_odd ON inbound(account, seq) WHERE state NOT IN ('new', 'admitted', 'answered', 'held', 'dropped');
    CREATE INDEX outbox_odd ON outbox(account, seq)
        WHERE state NOT IN ('queued', 'sent', 'acked', 'delivered', 'failed', 'expired');
    CREATE INDEX inbound_aside ON inbound(account, seq) WHERE aside IS NOT NULL;
    CREATE INDEX inbound_held ON inbound(account, chat, seq) WHERE state = 'held';
    CREATE INDEX inbound_answered ON inbound(account, chat, seq) WHERE state = 'answered'
        AND CASE WHEN json_valid(decision) THEN json_extract(decision, '$.verdict.command') END IS NULL;
    CREATE INDEX inbound_number ON inbound(account, CASE WHEN json_valid(message) THEN json_extract(message, '$.chatNumber') END);
    ALTER TABLE outbox ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
    DROP INDEX outbox_open;
    CREATE INDEX outbox_open ON outbox(account, seq, state, updated_at) WHERE state IN ('queued', 'sent');
    CREATE INDEX outbox_chat ON outbox(account, chat, state);
    CREATE INDEX outbox_unconfirmed ON outbox(account, updated_at)
        WHERE state = 'acked' AND resent_at IS NULL AND cause IS NULL;
",
];

/// The fact that names the version of Verso that used the file last.
const USED_BY: &str = "verso:version";
/// The version of this program.
const THIS: &str = env!("CARGO_PKG_VERSION");

/// Opens or creates the database and brings its schema up to date; the file of before stays beside it.
///
/// # Errors
/// [`StoreError::Unusable`] when a newer Verso has used it; when it is damaged, or cannot be opened, copied or written.
pub(super) fn open_journal(path: &Path, now: UnixMs) -> Result<Connection, StoreError> {
    let db = open_known(path)?;
    let version = version(&db).map_err(broken(path))?;
    if version < MIGRATIONS.len() {
        if version > 0 {
            let copy = back_up(&db, path, version)?;
            tracing::info!(
                target: "gateway", from = version, to = MIGRATIONS.len(), copy = %copy.display(),
                "state.db is brought up to date; a copy of before is kept"
            );
        }
        migrate(&db, version).map_err(broken(path))?;
    }
    note_version(&db, now).map_err(broken(path))?;
    Ok(db)
}

/// The same for a file of which another copy exists, as in a backup that is restored: none is made.
///
/// # Errors
/// As [`open_journal`].
pub(super) fn open_connection(path: &Path) -> Result<Connection, StoreError> {
    let db = open_known(path)?;
    version(&db).and_then(|version| migrate(&db, version)).map_err(broken(path))?;
    Ok(db)
}

/// Refuses a database of a newer Verso.
///
/// # Errors
/// [`StoreError::Unusable`] tells which version it was and what to do.
pub(super) fn refuse_newer(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let version = version(db).map_err(broken(path))?;
    if version <= MIGRATIONS.len() {
        return Ok(());
    }
    // A newer schema may keep it elsewhere.
    let used_by: Option<String> =
        db.query_row("SELECT value FROM facts WHERE key = ?1", [USED_BY], |r| r.get(0)).optional().ok().flatten();
    let newer = used_by.map_or_else(|| "a newer Verso".to_owned(), |version| format!("Verso {version}"));
    let mut text = format!(
        "{} was written by {newer} (schema {version}), and this is Verso {THIS}, which knows schema {} and older: start {newer} or a later one again",
        path.display(),
        MIGRATIONS.len()
    );
    if let Some(copy) = (1..=MIGRATIONS.len()).rev().map(|version| backup_path(path, version)).find(|p| p.is_file()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        text.push_str(&format!(
            "; to stay with this one, delete {name}, {name}-wal and {name}-shm and rename {} to {name}: what came in and went out since that copy is lost",
            copy.display()
        ));
    }
    Err(StoreError::Unusable(text))
}

/// Deletes copies of before an upgrade that are older than `before`: they hold what the retention has deleted since.
pub(super) fn forget_backups(path: &Path, before: UnixMs) {
    for copy in (1..MIGRATIONS.len()).map(|version| backup_path(path, version)) {
        let made = fs::metadata(&copy).and_then(|meta| meta.modified()).ok();
        let made = made.and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
        let Some(made) = made.and_then(|made| UnixMs::try_from(made.as_millis()).ok()) else { continue };
        if made < before
            && let Err(error) = fs::remove_file(&copy)
        {
            tracing::warn!(target: "gateway", copy = %copy.display(), %error, "the copy of state.db from before an upgrade was not deleted");
        }
    }
}

fn broken(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError {
    let path = path.to_path_buf();
    move |e| match e.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged { path: path.clone(), cause: e.to_string() }
        }
        _ => StoreError::Io { what: "open", path: path.clone(), cause: std::io::Error::other(e.to_string()) },
    }
}

/// Opens a database of this version or an older one.
fn open_known(path: &Path) -> Result<Connection, StoreError> {
    make_private(path)?;
    let db = Connection::open(path).map_err(broken(path))?;
    super::foreign::distrust(&db).map_err(broken(path))?;
    db.busy_timeout(Duration::from_secs(5)).map_err(broken(path))?;
    refuse_newer(&db, path)?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
        .map_err(broken(path))?;
    Ok(db)
}

/// Nobody else may read it, from its first byte on; SQLite gives its side files the same mode.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map_err(StoreError::io("open", path))?;
    for suffix in ["", "-wal", "-shm"] {
        let file = PathBuf::from(format!("{}{suffix}", path.display()));
        let Ok(meta) = fs::metadata(&file) else { continue };
        if meta.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).map_err(StoreError::io("protect", &file))?;
        }
    }
    Ok(())
}

fn version(db: &Connection) -> rusqlite::Result<usize> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    // A number that nobody writes is none that this version knows.
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn migrate(db: &Connection, version: usize) -> rusqlite::Result<()> {
    let steps = MIGRATIONS.get(version..).unwrap_or_default();
    if steps.is_empty() {
        return Ok(());
    }
    let all = format!("BEGIN IMMEDIATE; {} PRAGMA user_version = {}; COMMIT;", steps.concat(), MIGRATIONS.len());
    db.execute_batch(&all).inspect_err(|_| {
        let _ = db.execute_batch("ROLLBACK");
    })
}

fn note_version(db: &Connection, now: UnixMs) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO facts(key, value, updated_at) VALUES (?1, ?2, ?3)
         ON CONFLICT(key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at WHERE value <> excluded.value",
        rusqlite::params![USED_BY, THIS, now],
    )?;
    Ok(())
}

fn backup_path(path: &Path, version: usize) -> PathBuf {
    PathBuf::from(format!("{}.bak-v{version}", path.display()))
}

/// A whole copy, or none.
fn back_up(db: &Connection, path: &Path, version: usize) -> Result<PathBuf, StoreError> {
    let to = backup_path(path, version);
    let part = PathBuf::from(format!("{}.part", to.display()));
    let _ = fs::remove_file(&part);
    let copied = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .and_then(|_| {
            db.execute("VACUUM INTO ?1", [part.to_string_lossy()]).map_err(|e| std::io::Error::other(e.to_string()))
        })
        .and_then(|_| File::open(&part)?.sync_all())
        .and_then(|()| fs::rename(&part, &to))
        .and_then(|()| File::open(to.parent().unwrap_or(Path::new(".")))?.sync_all());
    copied.map_err(|cause| {
        let _ = fs::remove_file(&part);
        StoreError::Io { what: "copy state.db before its upgrade to", path: to.clone(), cause }
    })?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database as the release with `version` steps left it.
    fn old(path: &Path, version: usize) {
        let db = Connection::open(path).expect("opens");
        for step in MIGRATIONS.iter().take(version) {
            db.execute_batch(step).expect("old schema");
        }
        db.execute_batch(&format!("PRAGMA user_version = {version}")).expect("old version");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn an_older_database_is_brought_up_to_date_once_and_kept_as_it_was() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state.db");
        old(&path, 3);
        let rows = "INSERT INTO facts VALUES ('k', 'v', 1);
            INSERT INTO inbound(account, chat, sender, id, sent_at, received_at, message, state, decision)
            VALUES ('work', '1@lid', '1@lid', 'BAD', 1, 1, '{half', 'answered', 'none');";
        Connection::open(&path).expect("opens").execute_batch(rows).expect("rows");
        drop(open_journal(&path, 5).expect("migrated"));
        let copy = dir.path().join("state.db.bak-v3");
        assert_eq!((mode(&copy), mode(&path)), (0o600, 0o600));
        let kept = Connection::open(&copy).expect("opens");
        let count: i64 = kept.query_row("SELECT count(*) FROM inbound", [], |r| r.get(0)).expect("whole");
        assert_eq!((version(&kept).expect("known"), count), (3, 1));
        let before = fs::metadata(&copy).expect("there").modified().expect("dated");
        let db = open_journal(&path, 6).expect("opens");
        assert_eq!(version(&db).expect("known"), MIGRATIONS.len());
        assert_eq!(fs::metadata(&copy).expect("there").modified().expect("dated"), before, "made once");
        forget_backups(&path, UnixMs::MAX);
        assert!(!copy.exists(), "it goes with the rows that it holds");
    }

    #[test]
    fn a_new_database_is_private_from_the_start_and_needs_no_copy() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state.db");
        let db = open_journal(&path, 5).expect("made");
        db.execute_batch("INSERT INTO facts VALUES ('k', 'v', 1)").expect("written");
        for file in ["state.db", "state.db-wal", "state.db-shm"] {
            assert_eq!(mode(&dir.path().join(file)), 0o600, "{file}");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 3);
    }

    #[test]
    fn a_database_of_a_newer_verso_is_refused_with_its_version_and_left_alone() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state.db");
        let db = open_journal(&path, 5).expect("made");
        let ahead = "UPDATE facts SET value = '9.1.0' WHERE key = 'verso:version'; PRAGMA user_version = 99; PRAGMA journal_mode = DELETE;";
        db.execute_batch(ahead).expect("as a newer one leaves it");
        drop(db);
        let before = fs::read(&path).expect("readable");
        let said = open_journal(&path, 6).expect_err("refused").to_string();
        for part in ["state.db was written by Verso 9.1.0 (schema 99)", "start Verso 9.1.0 or a later one again"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("damaged") && !said.contains("bak-v"), "{said}");
        fs::write(dir.path().join("state.db.bak-v3"), "").expect("written");
        let said = open_journal(&path, 6).expect_err("refused").to_string();
        assert!(said.contains("state.db.bak-v3 to state.db"), "{said}");
        assert_eq!(fs::read(&path).expect("readable"), before);
    }

    #[test]
    fn an_upgrade_that_cannot_be_undone_does_not_begin() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("state.db");
        old(&path, 3);
        fs::create_dir(dir.path().join("state.db.bak-v3")).expect("in the way");
        let said = open_journal(&path, 5).expect_err("no copy, no upgrade").to_string();
        assert!(said.contains("state.db.bak-v3") && said.contains("before its upgrade"), "{said}");
        assert_eq!(version(&Connection::open(&path).expect("opens")).expect("known"), 3);
    }
}
