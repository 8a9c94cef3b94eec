//! The pairing and allow files, in the shapes and under the lock of the original, so that its command line works on
//! them.
//!
//! `whatsapp-pairing.json` holds the requests of all accounts; `whatsapp-allowFrom.json` the senders that every account
//! lets in; `whatsapp-<account>-allowFrom.json` those of one account. What a request means is decided elsewhere.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{atomic, paths};
use crate::clock::UnixMs;
use crate::ids::AccountId;

/// A sender who waits to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingRecord {
    /// The sender: a number, or a LID when no number is known.
    pub id: String,
    /// The code that the sender was given.
    pub code: String,
    /// When it was made.
    pub created_at: UnixMs,
    /// When the sender last wrote.
    pub last_seen_at: UnixMs,
    /// The name that the sender gave itself.
    pub name: Option<String>,
    /// The account written to; `None` in files of the original: all accounts.
    pub account: Option<AccountId>,
}

/// The content of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairingState {
    /// Who waits, oldest first.
    pub requests: Vec<PairingRecord>,
    /// Who was let in: by one account, or by all (`None`).
    pub allowed: Vec<(Option<AccountId>, String)>,
}

/// The files could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// A file cannot be read or written.
    #[error("cannot use {}: {cause}; make the folder readable and writable for this user and check the disk", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A file is damaged.
    #[error("{} is damaged ({cause}); nothing was changed: correct it, or move it away to start afresh", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and how.
        cause: String,
    },
    /// Another process keeps the lock.
    #[error("{} is locked by another process; if none runs, remove the folder {}.lock", path.display(), path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
}

/// Where the files are.
#[derive(Clone, Debug)]
pub struct PairingStore {
    dir: PathBuf,
    patience: Patience,
}

#[derive(Clone, Copy, Debug)]
struct Patience {
    tries: u32,
    first: Duration,
    longest: Duration,
    stale: Duration,
}

/// The numbers of the original's lock (behaviour.md 8.2).
const PATIENCE: Patience = Patience {
    tries: 10,
    first: Duration::from_millis(100),
    longest: Duration::from_secs(10),
    stale: Duration::from_secs(30),
};

const REQUESTS: &str = "whatsapp-pairing.json";
const ALLOWED: &str = "whatsapp-allowFrom.json";

#[derive(Default, Serialize, Deserialize)]
struct RequestsFile {
    version: u32,
    #[serde(default)]
    requests: Vec<Request>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    id: String,
    code: String,
    created_at: String,
    last_seen_at: String,
    #[serde(default)]
    meta: BTreeMap<String, serde_json::Value>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AllowFile {
    version: u32,
    #[serde(default)]
    allow_from: Vec<String>,
}

impl PairingStore {
    /// The files of a credentials folder, which need not exist.
    pub fn new(credentials: impl Into<PathBuf>) -> Self {
        Self { dir: credentials.into(), patience: PATIENCE }
    }

    /// The folder, for a watcher.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads the files; missing ones are empty.
    ///
    /// # Errors
    /// When one cannot be read or is damaged.
    pub fn load(&self) -> Result<PairingState, PairingError> {
        let requests: RequestsFile = read(&self.dir.join(REQUESTS))?;
        let mut allowed = Vec::new();
        for (account, path) in self.allow_files()? {
            let file: AllowFile = read(&path)?;
            allowed.extend(file.allow_from.into_iter().map(|id| (account.clone(), id)));
        }
        Ok(PairingState { requests: requests.requests.into_iter().map(record).collect(), allowed })
    }

    /// Reads, changes and writes the files under their locks. Only files whose content changes are written.
    ///
    /// # Errors
    /// As [`PairingStore::load`], and when another process keeps the lock.
    pub fn update<T>(&self, change: impl FnOnce(&mut PairingState) -> T) -> Result<T, PairingError> {
        paths::private_dir(&self.dir).map_err(|e| PairingError::Io { path: e.path, cause: e.cause })?;
        let _requests = self.lock(&self.dir.join(REQUESTS))?;
        let _allowed = self.lock(&self.dir.join(ALLOWED))?;
        let before = self.load()?;
        let mut after = before.clone();
        let result = change(&mut after);
        // Who was let in is written before the request goes: a crash between the two forgets nobody.
        self.write_allowed(&before, &after)?;
        if after.requests != before.requests {
            let requests = after.requests.iter().map(request).collect();
            write(&self.dir.join(REQUESTS), &RequestsFile { version: 1, requests })?;
        }
        Ok(result)
    }

    fn write_allowed(&self, before: &PairingState, after: &PairingState) -> Result<(), PairingError> {
        let mut accounts: Vec<&Option<AccountId>> =
            before.allowed.iter().chain(&after.allowed).map(|(account, _)| account).collect();
        accounts.sort();
        accounts.dedup();
        let of = |state: &PairingState, wanted: &Option<AccountId>| -> Vec<String> {
            state.allowed.iter().filter(|(account, _)| account == wanted).map(|(_, id)| id.clone()).collect()
        };
        for account in accounts {
            let allow_from = of(after, account);
            if allow_from != of(before, account) {
                write(&self.allow_path(account.as_ref()), &AllowFile { version: 1, allow_from })?;
            }
        }
        Ok(())
    }

    fn allow_path(&self, account: Option<&AccountId>) -> PathBuf {
        match account {
            Some(account) => self.dir.join(format!("whatsapp-{account}-allowFrom.json")),
            None => self.dir.join(ALLOWED),
        }
    }

    fn allow_files(&self) -> Result<Vec<(Option<AccountId>, PathBuf)>, PairingError> {
        let io = |cause| PairingError::Io { path: self.dir.clone(), cause };
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(io)?.file_name();
            let Some(name) = name.to_str() else { continue };
            if name == ALLOWED {
                found.push((None, self.dir.join(name)));
            }
            let account = name.strip_prefix("whatsapp-").and_then(|rest| rest.strip_suffix("-allowFrom.json"));
            if let Some(account) = account.filter(|a| AccountId::new(a).as_str() == *a) {
                found.push((Some(AccountId::new(account)), self.dir.join(name)));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Takes the lock that npm's proper-lockfile uses: a folder `<file>.lock`, stale when not touched for 30 s.
    fn lock(&self, file: &Path) -> Result<LockDir, PairingError> {
        let mut name = file.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        let mut wait = self.patience.first;
        for tries in 0..=self.patience.tries {
            match DirBuilder::new().create(&path) {
                Ok(()) => return Ok(LockDir { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(PairingError::Io { path, cause }),
            }
            if is_stale(&path, self.patience.stale) {
                // Whoever else sees it stale may be faster; the next try decides.
                let _ = fs::remove_dir(&path);
                continue;
            }
            if tries < self.patience.tries {
                sleep(wait);
                wait = (wait * 2).min(self.patience.longest);
            }
        }
        Err(PairingError::Locked { path: file.to_owned() })
    }
}

fn is_stale(lock: &Path, limit: Duration) -> bool {
    let touched = fs::metadata(lock).and_then(|m| m.modified());
    touched.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > limit))
}

struct LockDir {
    path: PathBuf,
}

impl Drop for LockDir {
    fn drop(&mut self) {
        // A lock that stays is stale after 30 s.
        let _ = fs::remove_dir(&self.path);
    }
}

fn read<T: Default + for<'de> Deserialize<'de>>(path: &Path) -> Result<T, PairingError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(cause) => return Err(PairingError::Io { path: path.to_owned(), cause }),
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes)
        .map_err(|e| PairingError::Damaged { path: path.to_owned(), cause: e.to_string() })
}

fn write<T: Serialize>(path: &Path, content: &T) -> Result<(), PairingError> {
    let failed = |cause| PairingError::Io { path: path.to_owned(), cause };
    let mut text = serde_json::to_vec_pretty(content).map_err(|e| failed(io::Error::other(e)))?;
    text.push(b'\n');
    atomic::replace(path, &text).map_err(failed)
}

fn record(request: Request) -> PairingRecord {
    let text = |key: &str| request.meta.get(key).and_then(|v| v.as_str()).map(str::to_owned);
    let created_at = unix_ms(&request.created_at).unwrap_or(0);
    PairingRecord {
        name: text("name"),
        account: text("accountId").map(|id| AccountId::new(&id)),
        created_at,
        last_seen_at: unix_ms(&request.last_seen_at).unwrap_or(created_at),
        id: request.id,
        code: request.code,
    }
}

fn request(record: &PairingRecord) -> Request {
    let mut meta = BTreeMap::new();
    if let Some(account) = &record.account {
        meta.insert("accountId".to_owned(), account.as_str().into());
    }
    if let Some(name) = &record.name {
        meta.insert("name".to_owned(), name.as_str().into());
    }
    Request {
        id: record.id.clone(),
        code: record.code.clone(),
        created_at: iso(record.created_at),
        last_seen_at: iso(record.last_seen_at),
        meta,
    }
}

fn unix_ms(text: &str) -> Option<UnixMs> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

/// As JavaScript writes it: UTC with milliseconds.
fn iso(ms: UnixMs) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_of(id: &str, account: Option<&str>) -> PairingRecord {
        PairingRecord {
            id: id.to_owned(),
            code: "ABCDEFGH".to_owned(),
            created_at: 1_767_225_600_000,
            last_seen_at: 1_767_225_600_123,
            name: Some("Ann".to_owned()),
            account: account.map(AccountId::new),
        }
    }

    #[test]
    fn files_of_the_original_are_read() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        fs::write(
            dir.path().join(REQUESTS),
            r#"{"version":1,"requests":[{"id":"+1","code":"ABCDEFGH","createdAt":"2026-01-01T00:00:00.000Z","lastSeenAt":"2026-01-01T00:00:00.123Z","meta":{"name":"Ann"}}]}"#,
        )?;
        fs::write(dir.path().join(ALLOWED), r#"{"version":1,"allowFrom":["+2"]}"#)?;
        let state = PairingStore::new(dir.path()).load()?;
        assert_eq!(state.requests, [record_of("+1", None)]);
        assert_eq!(state.allowed, [(None, "+2".to_owned())]);
        Ok(())
    }

    #[test]
    fn what_is_written_has_the_original_s_shape() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let store = PairingStore::new(dir.path().join("credentials"));
        let work = AccountId::new("work");
        store.update(|state| {
            state.requests.push(record_of("+1", Some("work")));
            state.allowed.push((None, "+2".to_owned()));
            state.allowed.push((Some(work.clone()), "+3".to_owned()));
        })?;
        let json: serde_json::Value = serde_json::from_slice(&fs::read(store.dir().join(REQUESTS))?)?;
        assert_eq!(json["version"], 1);
        assert_eq!(json["requests"][0]["createdAt"], "2026-01-01T00:00:00.000Z");
        assert_eq!(json["requests"][0]["meta"], serde_json::json!({"accountId": "work", "name": "Ann"}));
        let json: serde_json::Value = serde_json::from_slice(&fs::read(store.dir().join(ALLOWED))?)?;
        assert_eq!(json, serde_json::json!({"version": 1, "allowFrom": ["+2"]}));
        let state = store.load()?;
        assert_eq!(state.allowed, [(None, "+2".to_owned()), (Some(work), "+3".to_owned())]);
        store.update(|state| state.allowed.clear())?;
        assert!(store.load()?.allowed.is_empty());
        assert!(!store.dir().join("whatsapp-pairing.json.lock").exists());
        Ok(())
    }

    #[test]
    fn a_damaged_file_is_named_and_kept() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join(REQUESTS), "{\"version\":1,")?;
        let store = PairingStore::new(dir.path());
        let error = store.update(|state| state.requests.clear()).expect_err("damaged");
        assert!(error.to_string().contains(REQUESTS), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join(REQUESTS))?, "{\"version\":1,");
        Ok(())
    }

    #[test]
    fn writers_wait_for_one_another_and_a_stale_lock_is_taken() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let quick = Patience {
            tries: 3,
            first: Duration::from_millis(1),
            longest: Duration::from_millis(1),
            stale: Duration::from_secs(30),
        };
        let store = PairingStore { dir: dir.path().to_owned(), patience: quick };
        let lock = dir.path().join("whatsapp-pairing.json.lock");
        fs::create_dir(&lock)?;
        assert!(matches!(store.update(|_| ()), Err(PairingError::Locked { .. })));
        let stale = PairingStore { patience: Patience { stale: Duration::ZERO, ..quick }, ..store };
        stale.update(|_| ())?;
        assert!(!lock.exists());
        Ok(())
    }

    #[test]
    fn concurrent_updates_lose_nothing() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let store = PairingStore::new(dir.path());
        let writers: Vec<_> = (0..4)
            .map(|n| {
                let store = store.clone();
                std::thread::spawn(move || store.update(|state| state.allowed.push((None, format!("+{n}")))))
            })
            .collect();
        for writer in writers {
            writer.join().expect("no panic")?;
        }
        assert_eq!(store.load()?.allowed.len(), 4);
        Ok(())
    }
}
