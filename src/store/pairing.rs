//! Pairing requests and approvals on disk, in the two JSON files of the original and under its lock, so that its CLI works on
//! them (behaviour.md 8.2, gateway-protocol.md 9).
//!
//! Requests of all accounts share one file; Verso notes the account in `meta.accountId`. Approvals of Verso are per account
//! (`whatsapp-<account>-allowFrom.json`); the channel-wide file, which the original's CLI writes, is read for every account.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::UnixMs;
use crate::ids::AccountId;
use crate::policy::pairing::PairingRecord;
use crate::store::StoreError;
use crate::store::atomic::replace;
use crate::store::paths::StatePaths;

/// Tries before a lock held by somebody else is reported.
const LOCK_TRIES: u32 = 50;
/// Time between two tries.
const LOCK_WAIT: Duration = Duration::from_millis(100);
/// A lock that nobody renewed for so long is left over from a crash.
const LOCK_STALE: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct RequestsFile {
    version: u32,
    /// [`StoredRequest`]s; one that is none costs no other.
    requests: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredRequest {
    id: String,
    code: String,
    created_at: String,
    last_seen_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    meta: Option<StoredMeta>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredMeta {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AllowedFile {
    version: u32,
    /// Texts; what is none lets nobody in and costs no other.
    allow_from: Vec<Value>,
}

/// The pairing files of one state folder.
#[derive(Clone, Debug)]
pub struct PairingFiles {
    paths: StatePaths,
    /// Account of requests that name none (those of the original).
    default_account: AccountId,
}

/// When the files were last written: equal stamps mean that nothing has to be read again.
pub type Stamp = Vec<Option<SystemTime>>;

impl PairingFiles {
    /// The files below `paths`; requests without an account belong to `default_account`.
    pub fn new(paths: StatePaths, default_account: AccountId) -> Self {
        Self { paths, default_account }
    }

    fn allowed_file(&self, account: &AccountId) -> PathBuf {
        self.paths.credentials().join(format!("whatsapp-{account}-allowFrom.json"))
    }

    /// Changes whenever a file that concerns `account` is written.
    pub fn stamp(&self, account: &AccountId) -> Stamp {
        [self.paths.pairing_requests(), self.paths.pairing_allowed(), self.allowed_file(account)]
            .iter()
            .map(|p| fs::metadata(p).and_then(|m| m.modified()).ok())
            .collect()
    }

    /// Every stored request.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn requests(&self) -> Result<Vec<PairingRecord>, StoreError> {
        let path = self.paths.pairing_requests();
        let Some(file) = read_json::<RequestsFile>(&path)? else { return Ok(Vec::new()) };
        Ok(entries::<StoredRequest>(file.requests, &path)
            .filter_map(|r| {
                let meta = r.meta.unwrap_or(StoredMeta { name: None, account_id: None });
                Some(PairingRecord {
                    created_at: parse_time(&r.created_at)?,
                    last_seen_at: parse_time(&r.last_seen_at).unwrap_or(parse_time(&r.created_at)?),
                    account: meta.account_id.as_deref().map_or_else(|| self.default_account.clone(), AccountId::new),
                    name: meta.name,
                    id: r.id,
                    code: r.code,
                })
            })
            .collect())
    }

    /// Reads the requests, lets `change` edit them and writes them back, all under the lock.
    ///
    /// # Errors
    /// When the file cannot be read or written or somebody holds the lock for too long; nothing is changed then.
    pub fn update_requests<T>(&self, change: impl FnOnce(&mut Vec<PairingRecord>) -> T) -> Result<T, StoreError> {
        let path = self.paths.pairing_requests();
        let _lock = DirLock::take(&path)?;
        let mut records = self.requests()?;
        let before = records.clone();
        let result = change(&mut records);
        if records != before {
            let stored = records.into_iter().map(|r| StoredRequest {
                id: r.id,
                code: r.code,
                created_at: format_time(r.created_at),
                last_seen_at: format_time(r.last_seen_at),
                meta: Some(StoredMeta { name: r.name, account_id: Some(r.account.to_string()) }),
            });
            let mut requests: Vec<Value> =
                stored.map(|r| serde_json::to_value(r).expect("plain data serialises")).collect();
            // What another version wrote is its own.
            let before = read_json::<RequestsFile>(&path)?.map(|file| file.requests).unwrap_or_default();
            requests.extend(before.into_iter().filter(|entry| StoredRequest::deserialize(entry).is_err()));
            write_json(&path, &RequestsFile { version: 1, requests })?;
        }
        Ok(result)
    }

    /// Who was let in to this account, by Verso or channel-wide by the original's CLI.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged.
    pub fn allowed(&self, account: &AccountId) -> Result<Vec<String>, StoreError> {
        let mut all = Vec::new();
        for path in [self.paths.pairing_allowed(), self.allowed_file(account)] {
            let file = read_json::<AllowedFile>(&path)?;
            for entry in entries::<String>(file.map(|f| f.allow_from).unwrap_or_default(), &path) {
                if !all.contains(&entry) {
                    all.push(entry);
                }
            }
        }
        Ok(all)
    }

    /// Lets somebody in to this account; false when they were in already.
    ///
    /// # Errors
    /// When the file cannot be read or written or somebody holds the lock for too long.
    pub fn allow(&self, account: &AccountId, id: &str) -> Result<bool, StoreError> {
        let path = self.allowed_file(account);
        let _lock = DirLock::take(&path)?;
        let mut file = read_json::<AllowedFile>(&path)?.unwrap_or(AllowedFile { version: 1, allow_from: Vec::new() });
        if file.allow_from.iter().any(|e| e == id) {
            return Ok(false);
        }
        file.allow_from.push(id.into());
        write_json(&path, &file)?;
        Ok(true)
    }

    /// Takes away every approval that `is` names, also the channel-wide ones, which let in to this account too; false when there
    /// was none.
    ///
    /// # Errors
    /// When a file cannot be read or written or somebody holds the lock for too long.
    pub fn disallow(&self, account: &AccountId, is: impl Fn(&str) -> bool) -> Result<bool, StoreError> {
        let mut found = false;
        for path in [self.paths.pairing_allowed(), self.allowed_file(account)] {
            let _lock = DirLock::take(&path)?;
            let Some(mut file) = read_json::<AllowedFile>(&path)? else { continue };
            let before = file.allow_from.len();
            file.allow_from.retain(|entry| !entry.as_str().is_some_and(&is));
            if file.allow_from.len() < before {
                write_json(&path, &file)?;
                found = true;
            }
        }
        Ok(found)
    }
}

/// The entries that can be read; the first time that there are others, they are counted in the log.
fn entries<T: for<'de> Deserialize<'de>>(all: Vec<Value>, path: &Path) -> std::vec::IntoIter<T> {
    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let listed = all.len();
    let read: Vec<T> = all.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect();
    let unreadable = listed - read.len();
    if unreadable > 0 && TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_path_buf()) {
        tracing::error!(target: "gateway", file = %path.display(), unreadable, "entries of a pairing file cannot be read and are left out");
    }
    read.into_iter()
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io("read", path)(e)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| StoreError::Damaged { path: path.to_path_buf(), cause: e.to_string() })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("plain data serialises");
    bytes.push(b'\n');
    replace(path, &bytes)
}

fn parse_time(text: &str) -> Option<UnixMs> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    UnixMs::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

fn format_time(at: UnixMs) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000)
        .ok()
        .and_then(|t| t.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

/// The lock of npm's proper-lockfile: a folder `<file>.lock` whose making is atomic.
struct DirLock(PathBuf);

impl DirLock {
    fn take(file: &Path) -> Result<Self, StoreError> {
        let mut name = file.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        if let Some(parent) = file.parent() {
            crate::store::atomic::private_dir(parent)?;
        }
        for _ in 0..LOCK_TRIES {
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    let age = fs::metadata(&path)
                        .and_then(|m| m.modified())
                        .ok()
                        .and_then(|t| SystemTime::now().duration_since(t).ok());
                    if age.is_some_and(|a| a > LOCK_STALE) {
                        let _ = fs::remove_dir(&path);
                    } else {
                        std::thread::sleep(LOCK_WAIT);
                    }
                }
                Err(e) => return Err(StoreError::io("lock", &path)(e)),
            }
        }
        Err(StoreError::Busy(format!("{} is locked by another program; try again", path.display())))
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, PairingFiles) {
        let dir = tempfile::tempdir().expect("temp dir");
        let files = PairingFiles::new(StatePaths::new(dir.path(), None), AccountId::new("default"));
        (dir, files)
    }

    fn record(id: &str) -> PairingRecord {
        PairingRecord {
            id: id.into(),
            code: "ABCDEFGH".into(),
            created_at: 1_795_000_000_123,
            last_seen_at: 1_795_000_000_456,
            name: Some("Ann".into()),
            account: AccountId::new("work"),
        }
    }

    #[test]
    fn requests_survive_and_look_like_the_originals() {
        let (_dir, files) = files();
        files.update_requests(|r| r.push(record("+15557654321"))).expect("written");
        assert_eq!(files.requests().expect("readable"), [record("+15557654321")]);
        let text = fs::read_to_string(files.paths.pairing_requests()).expect("file");
        let json: serde_json::Value = serde_json::from_str(&text).expect("json");
        assert_eq!(json["version"], 1);
        assert_eq!(json["requests"][0]["id"], "+15557654321");
        assert!(json["requests"][0]["createdAt"].as_str().expect("text").starts_with("2026-"));
        assert_eq!(json["requests"][0]["meta"]["name"], "Ann");
    }

    #[test]
    fn requests_of_the_original_belong_to_the_default_account() {
        let (_dir, files) = files();
        fs::create_dir_all(files.paths.credentials()).expect("mkdir");
        fs::write(
            files.paths.pairing_requests(),
            r#"{"version":1,"requests":[{"id":"+1","code":"ABCDEFGH","createdAt":"2026-11-21T10:00:00.000Z","lastSeenAt":"2026-11-21T10:00:00.000Z","meta":{"name":"Bob"}}]}"#,
        )
        .expect("write");
        let read = files.requests().expect("readable");
        assert_eq!(read[0].account, AccountId::new("default"));
        assert_eq!(read[0].name.as_deref(), Some("Bob"));
    }

    #[test]
    fn approvals_are_per_account_and_the_channel_wide_file_counts_for_all() {
        let (_dir, files) = files();
        let (work, home) = (AccountId::new("work"), AccountId::new("home"));
        assert!(files.allow(&work, "+1").expect("written"));
        assert!(!files.allow(&work, "+1").expect("known"));
        assert_eq!(files.allowed(&work).expect("readable"), ["+1"]);
        assert!(files.allowed(&home).expect("readable").is_empty());
        let before = files.stamp(&home);
        fs::write(files.paths.pairing_allowed(), r#"{"version":1,"allowFrom":["+2"]}"#).expect("write");
        assert_ne!(files.stamp(&home), before);
        assert_eq!(files.allowed(&home).expect("readable"), ["+2"]);
    }

    #[test]
    fn an_approval_is_taken_back_wherever_it_stands() {
        let (_dir, files) = files();
        let (work, home) = (AccountId::new("work"), AccountId::new("home"));
        files.allow(&work, "+1").expect("written");
        files.allow(&home, "+1").expect("written");
        fs::write(files.paths.pairing_allowed(), r#"{"version":1,"allowFrom":["+2","+1"]}"#).expect("write");
        assert!(files.disallow(&work, |entry| entry == "+1").expect("written"));
        assert!(!files.disallow(&work, |entry| entry == "+1").expect("gone already"));
        assert_eq!(files.allowed(&work).expect("readable"), ["+2"]);
        assert_eq!(files.allowed(&home).expect("readable"), ["+2", "+1"], "the approval of another account stays");
    }

    #[test]
    fn a_damaged_file_is_named_and_kept() {
        let (_dir, files) = files();
        fs::create_dir_all(files.paths.credentials()).expect("mkdir");
        fs::write(files.paths.pairing_requests(), "{").expect("write");
        let error = files.update_requests(|r| r.push(record("+1"))).expect_err("damaged").to_string();
        assert!(error.contains("whatsapp-pairing.json"), "{error}");
        assert_eq!(fs::read_to_string(files.paths.pairing_requests()).expect("kept"), "{");
    }

    #[test]
    fn an_entry_that_cannot_be_read_costs_only_itself_and_is_kept() {
        let (_dir, files) = files();
        let work = AccountId::new("work");
        fs::create_dir_all(files.paths.credentials()).expect("mkdir");
        fs::write(files.paths.pairing_allowed(), r#"{"version":1,"allowFrom":[7,"+2",null,{"id":"+3"}]}"#)
            .expect("write");
        assert_eq!(files.allowed(&work).expect("readable"), ["+2"]);
        assert!(files.disallow(&work, |entry| entry == "+2").expect("written"));
        assert!(files.allowed(&work).expect("readable").is_empty());
        fs::write(files.paths.pairing_requests(), r#"{"version":1,"requests":[{"id":"+9"},"odd"]}"#).expect("write");
        files.update_requests(|r| r.push(record("+1"))).expect("written");
        assert_eq!(files.requests().expect("readable"), [record("+1")]);
        for (file, kept) in [(files.paths.pairing_allowed(), "\"+3\""), (files.paths.pairing_requests(), "\"odd\"")] {
            assert!(fs::read_to_string(file).expect("readable").contains(kept), "{kept}");
        }
    }

    #[test]
    fn a_lock_left_by_a_crash_is_taken_over() {
        let (_dir, files) = files();
        fs::create_dir_all(files.paths.credentials()).expect("mkdir");
        let lock = PathBuf::from(format!("{}.lock", files.paths.pairing_requests().display()));
        fs::create_dir(&lock).expect("mkdir");
        let old = SystemTime::now() - Duration::from_secs(60);
        fs::File::open(&lock).and_then(|d| d.set_modified(old)).expect("aged");
        files.update_requests(|r| r.push(record("+1"))).expect("taken over");
        assert!(!lock.exists());
    }
}
