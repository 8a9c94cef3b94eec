//! The device record on disk: `creds.json` and `creds.json.bak`.
//!
//! Each carries a checksum, so that a flipped bit is damage and not another device, and the epoch of the database that it was written
//! beside: a database of an earlier epoch was rolled back. A save at any point of which the process dies leaves a good record:
//! `creds.json` is replaced whole and read back before its backup is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use whatsapp_rust::wacore::store::Device;
use zeroize::Zeroizing;

use super::backend::identity;
use super::seal::{DataKey, DataKeys};

/// The record, under the name that the original uses.
pub(super) const CREDENTIALS: &str = "creds.json";
/// Its backup.
pub(super) const BACKUP: &str = "creds.json.bak";
/// What is being written; one that stays behind is of a process that died.
const TEMPORARY: &str = ".creds-";

const FORMAT: &str = "verso/2";
/// The device is sealed.
const SEALED: &str = "verso/3";
/// Written before there was a checksum.
const UNCHECKED: &str = "verso/1";

/// What `creds.json` holds. `me` is where the original keeps it, so that tools which only look there work on both.
#[derive(Serialize, Deserialize)]
struct Credentials {
    format: String,
    /// Of this record with an empty checksum.
    #[serde(default)]
    sha256: String,
    #[serde(default)]
    epoch: u32,
    me: Me,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
}

/// A sealed device.
#[derive(Serialize, Deserialize)]
struct Sealed {
    /// Id of the data key.
    key: String,
    device: String,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Me {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// A record that was read and found whole.
#[derive(Clone)]
pub(super) struct Record {
    /// Of the database beside it.
    pub epoch: u32,
    /// A linked device.
    pub device: Device,
}

/// The record of a folder: `creds.json`, else its backup. `None` when neither is whole, or sealed with a key that is not among `keys`.
pub(super) fn read(dir: &Path, keys: Option<&DataKeys>) -> Option<Record> {
    [CREDENTIALS, BACKUP].iter().find_map(|name| read_file(&dir.join(name), keys))
}

fn read_file(path: &Path, keys: Option<&DataKeys>) -> Option<Record> {
    let saved = whole(path)?;
    let device = match (saved.device, saved.sealed) {
        (Some(device), None) => device,
        (None, Some(sealed)) => open(&sealed, keys?)?,
        _ => return None,
    };
    device.pn.is_some().then_some(Record { epoch: saved.epoch, device })
}

/// What a file holds, when its checksum is right.
fn whole(path: &Path) -> Option<Credentials> {
    let mut saved: Credentials = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let checksum = std::mem::take(&mut saved.sha256);
    let whole = match saved.format.as_str() {
        FORMAT | SEALED => checksum == digest(&serde_json::to_vec(&saved).ok()?),
        UNCHECKED => true,
        _ => false,
    };
    whole.then_some(saved)
}

/// The name of the place that the device is sealed for.
const PLACE: &[u8] = b"creds.json";

fn open(sealed: &Sealed, keys: &DataKeys) -> Option<Device> {
    let key = keys.find(&sealed.key)?;
    serde_json::from_slice(&key.open(PLACE, &BASE64.decode(&sealed.device).ok()?)?).ok()
}

fn sealed(device: &Device, key: &DataKey) -> io::Result<Sealed> {
    let json = Zeroizing::new(serde_json::to_vec(device)?);
    let bytes = key.seal(PLACE, &json).map_err(io::Error::other)?;
    Ok(Sealed { key: key.id(), device: BASE64.encode(bytes) })
}

/// Ids of the data keys that the record and its backup are sealed with, readable or not.
pub(super) fn sealed_with(dir: &Path) -> Vec<String> {
    [CREDENTIALS, BACKUP].iter().filter_map(|name| Some(whole(&dir.join(name))?.sealed?.key)).collect()
}

/// True for a record whose device is sealed, with or without a right checksum.
pub(super) fn is_sealed(path: &Path) -> bool {
    let json = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    json.is_some_and(|json| json.get("sealed").is_some())
}

/// Whether each file that is there is sealed.
pub(super) fn states(dir: &Path) -> Vec<bool> {
    [CREDENTIALS, BACKUP]
        .iter()
        .map(|name| dir.join(name))
        .filter(|path| path.is_file())
        .map(|p| is_sealed(&p))
        .collect()
}

/// A checksum as text.
pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// True when there is or was a record, readable or not.
pub(super) fn traces(dir: &Path) -> bool {
    [CREDENTIALS, BACKUP].iter().any(|name| dir.join(name).exists())
}

/// Writes the record of a device, sealed with `key` if there is one; an unlinked device has none. A record of another program is kept
/// beside.
///
/// # Errors
/// When a file cannot be written; a good record of before is still there then.
pub(super) fn write(dir: &Path, device: &Device, epoch: u32, key: Option<&DataKey>) -> io::Result<()> {
    let Some(me) = identity(device) else { return Ok(()) };
    let mut saved = Credentials {
        format: if key.is_some() { SEALED } else { FORMAT }.to_owned(),
        sha256: String::new(),
        epoch,
        me: Me { id: me.jid.to_string(), lid: me.lid.map(|l| l.to_string()), name: me.push_name },
        device: key.is_none().then(|| device.clone()),
        sealed: key.map(|key| sealed(device, key)).transpose()?,
    };
    saved.sha256 = digest(&serde_json::to_vec(&saved)?);
    let json = serde_json::to_vec(&saved)?;
    for name in [CREDENTIALS, BACKUP] {
        let path = dir.join(name);
        if says(&path, &saved, device, key) {
            continue;
        }
        replace(dir, &path, &json)?;
        if !says(&path, &saved, device, key) {
            return Err(io::Error::other(format!("{name} does not read back")));
        }
    }
    Ok(())
}

/// True when the file says the same already: a sealed text is another one each time.
fn says(path: &Path, wanted: &Credentials, device: &Device, key: Option<&DataKey>) -> bool {
    let Some(found) = whole(path) else { return false };
    let known = match (&found.device, &found.sealed, key) {
        (Some(known), None, None) => serde_json::to_vec(known).ok(),
        (None, Some(sealed), Some(key)) if sealed.key == key.id() => {
            BASE64.decode(&sealed.device).ok().and_then(|bytes| Some(key.open(PLACE, &bytes)?.to_vec()))
        }
        _ => None,
    };
    (&found.format, found.epoch, &found.me) == (&wanted.format, wanted.epoch, &wanted.me)
        && known.is_some_and(|known| serde_json::to_vec(device).is_ok_and(|device| device == known))
}

/// Credentials of the original are kept beside: a person may want to go back to them.
pub(super) fn set_aside_foreign(dir: &Path) -> io::Result<()> {
    let path = dir.join(CREDENTIALS);
    let saved = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    if saved.is_some_and(|saved| saved.get("noiseKey").is_some()) {
        fs::rename(path, dir.join("creds.json.original"))?;
        tracing::warn!(target: "web-session", "kept the credentials of another program as creds.json.original");
    }
    Ok(())
}

/// Deletes what a process that died was writing. The caller holds the folder's lock.
pub(super) fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            // One that cannot be deleted does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Replaces a file of the folder whole.
pub(super) fn replace(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    step("begin")?;
    // A fresh temporary file is private to its owner.
    let mut fresh = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(dir)?;
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    fresh.write_all(head)?;
    step("half")?;
    fresh.write_all(tail)?;
    step("written")?;
    fresh.as_file().sync_all()?;
    step("synced")?;
    fresh.persist(path).map_err(|e| e.error)?;
    step("renamed")?;
    File::open(dir)?.sync_all()?;
    step("done")
}

/// A point of a save at which a test cuts it off: `VERSO_FAULT_SAVE=<name>#<n>` kills a demo build when it passes there the n-th time.
#[cfg(all(feature = "demo", not(test)))]
pub(super) fn step(name: &str) -> io::Result<()> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let wanted = std::env::var("VERSO_FAULT_SAVE").unwrap_or_default();
    if let Some((at, n)) = wanted.split_once('#')
        && at == name
        && n.parse() == Ok(PASSED.fetch_add(1, Ordering::Relaxed) + 1)
    {
        std::process::abort();
    }
    Ok(())
}

#[cfg(not(any(feature = "demo", test)))]
pub(super) fn step(_: &str) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
thread_local! {
    /// So many steps are still taken; then every one fails.
    static STEPS: std::cell::Cell<u32> = const { std::cell::Cell::new(u32::MAX) };
}

#[cfg(test)]
pub(super) fn step(name: &str) -> io::Result<()> {
    STEPS.with(|steps| match steps.get() {
        u32::MAX => Ok(()),
        0 => Err(io::Error::other(format!("cut off at {name}"))),
        n => {
            steps.set(n - 1);
            Ok(())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Device {
        let mut device = Device::new();
        device.pn = "15551234567:3@s.whatsapp.net".parse().ok();
        device.push_name = name.to_owned();
        device
    }

    fn name(dir: &Path) -> Option<String> {
        read(dir, None).map(|record| record.device.push_name)
    }

    #[test]
    fn a_save_cut_off_at_any_step_leaves_the_old_record_or_the_new_one() {
        let mut seen = std::collections::BTreeSet::new();
        for cut in 0..12 {
            let dir = tempfile::tempdir().expect("temp dir");
            let old = device("old");
            write(dir.path(), &old, 1, None).expect("written");
            let new = Device { push_name: "new".to_owned(), ..old.clone() };
            STEPS.set(cut);
            let cut_off = write(dir.path(), &new, 2, None);
            STEPS.set(u32::MAX);
            cut_off.expect_err("cut off");
            let left = name(dir.path()).expect("a good record");
            seen.insert(left);
            for file in [CREDENTIALS, BACKUP] {
                assert!(read_file(&dir.path().join(file), None).is_some(), "{file} after step {cut}");
            }
            write(dir.path(), &new, 2, None).expect("the next save");
            assert_eq!(name(dir.path()).as_deref(), Some("new"));
            assert_eq!(fs::read(dir.path().join(BACKUP)).ok(), fs::read(dir.path().join(CREDENTIALS)).ok());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["new", "old"]);
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_noticed() {
        let dir = tempfile::tempdir().expect("temp dir");
        write(dir.path(), &device("whole"), 7, None).expect("written");
        let whole = fs::read(dir.path().join(CREDENTIALS)).expect("read");
        fs::remove_file(dir.path().join(BACKUP)).expect("removed");
        let path = dir.path().join(CREDENTIALS);
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("written");
            assert!(read(dir.path(), None).is_none(), "cut at {length}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&path, &flipped).expect("written");
            // A flip that JSON does not see, as from one blank to another, is none.
            let same = read(dir.path(), None).is_none_or(|record| {
                serde_json::to_vec(&record.device).ok()
                    == serde_json::from_slice(&whole)
                        .ok()
                        .and_then(|c: Credentials| serde_json::to_vec(&c.device?).ok())
            });
            assert!(same, "flipped at {at}");
        }
    }

    #[test]
    fn what_a_dead_process_was_writing_goes() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join(".creds-x1"), "half").expect("written");
        fs::write(dir.path().join("oauth.json"), "{}").expect("written");
        sweep(dir.path());
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1);
    }
}
