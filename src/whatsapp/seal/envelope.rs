//! `data-key.json` and its backup: the account's data keys, wrapped by the owner's key. Without it everything sealed is lost, so it is
//! replaced whole, read back, and then its backup is.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::KeyTrouble;
use super::key::{DataKey, MasterKey};
use super::master::Masters;
use crate::whatsapp::record;

/// The wrapped data keys of an account.
pub(in crate::whatsapp) const DATA_KEY: &str = "data-key.json";
/// Their backup.
pub(in crate::whatsapp) const DATA_KEY_BACKUP: &str = "data-key.json.bak";

const FORMAT: &str = "verso/data-key/1";

#[derive(Serialize, Deserialize)]
struct Envelope {
    format: String,
    /// Of this file with an empty checksum.
    sha256: String,
    /// The first one seals; the others only until everything is sealed anew.
    keys: Vec<Wrapped>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Wrapped {
    id: String,
    /// Fingerprint of the key that wraps it.
    master: String,
    /// Nonce, wrapped key, tag.
    wrapped: String,
}

/// The data keys of an account, unwrapped.
#[derive(Clone, Debug)]
pub(in crate::whatsapp) struct DataKeys(Vec<Arc<DataKey>>);

impl DataKeys {
    /// One fresh key.
    pub(super) fn fresh() -> Result<Self, String> {
        Ok(Self(vec![Arc::new(DataKey::fresh()?)]))
    }

    /// The key that seals.
    pub(in crate::whatsapp) fn current(&self) -> &Arc<DataKey> {
        self.0.first().expect("made with a key")
    }

    /// The key with this id.
    pub(in crate::whatsapp) fn find(&self, id: &str) -> Option<&Arc<DataKey>> {
        self.0.iter().find(|key| key.id() == id)
    }

    /// More than the one that seals: something may still be sealed with an older one.
    pub(super) fn in_between(&self) -> bool {
        self.0.len() > 1
    }

    /// A fresh key in front of the one that seals now.
    pub(super) fn renewed(&self) -> Result<Self, String> {
        Ok(Self([vec![Arc::new(DataKey::fresh()?)], self.0.clone()].concat()))
    }

    /// The one that seals, alone.
    pub(super) fn settled(&self) -> Self {
        Self(vec![Arc::clone(self.current())])
    }
}

/// What the wrapped keys of a folder come to.
pub(super) enum Opened {
    /// There are none, or none is whole.
    None,
    /// They open. `rewrap`: a previous key of the owner opened them.
    Keys { keys: DataKeys, rewrap: bool },
    /// None of the owner's keys opens them.
    Wrong(KeyTrouble),
}

/// Unwraps the data keys of a folder.
pub(super) fn open(dir: &Path, masters: &Masters) -> Opened {
    let Some(envelope) = read(dir) else { return Opened::None };
    let mut keys = Vec::new();
    let mut rewrap = false;
    for wrapped in &envelope.keys {
        let Some(master) = masters.all().find(|m| m.fingerprint() == wrapped.master) else {
            return Opened::Wrong(KeyTrouble::Wrong {
                sealed: wrapped.master.clone(),
                found: masters.all().map(MasterKey::fingerprint).collect(),
            });
        };
        let bytes = BASE64.decode(&wrapped.wrapped).unwrap_or_default();
        let Some(key) = master.unwrap(&wrapped.id, &bytes) else { return Opened::None };
        rewrap |= wrapped.master != masters.current.fingerprint();
        keys.push(Arc::new(key));
    }
    if keys.is_empty() { Opened::None } else { Opened::Keys { keys: DataKeys(keys), rewrap } }
}

/// Fingerprint of the owner's key that wraps the data keys of a folder.
pub(super) fn master_of(dir: &Path) -> Option<String> {
    read(dir)?.keys.first().map(|k| k.master.clone())
}

/// Wraps the data keys and writes both files.
pub(super) fn write(dir: &Path, keys: &DataKeys, master: &MasterKey) -> io::Result<()> {
    let wrap = |key: &Arc<DataKey>| {
        let wrapped = BASE64.encode(master.wrap(key).map_err(io::Error::other)?);
        Ok::<_, io::Error>(Wrapped { id: key.id(), master: master.fingerprint(), wrapped })
    };
    let keys = keys.0.iter().map(wrap).collect::<io::Result<Vec<_>>>()?;
    let mut envelope = Envelope { format: FORMAT.to_owned(), sha256: String::new(), keys };
    envelope.sha256 = record::digest(&serde_json::to_vec(&envelope)?);
    let json = serde_json::to_vec(&envelope)?;
    for name in [DATA_KEY, DATA_KEY_BACKUP] {
        let path = dir.join(name);
        record::replace(dir, &path, &json)?;
        if read_file(&path).is_none_or(|read| read.keys != envelope.keys) {
            return Err(io::Error::other(format!("{name} does not read back")));
        }
    }
    Ok(())
}

/// Both files are gone afterwards: nothing is sealed with them any more.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    for name in [DATA_KEY, DATA_KEY_BACKUP] {
        match fs::remove_file(dir.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// A damaged or missing file comes back from its backup, and the other way round.
pub(super) fn repair(dir: &Path) -> io::Result<()> {
    let [main, backup] = [DATA_KEY, DATA_KEY_BACKUP].map(|name| dir.join(name));
    let (from, to) = match (read_file(&main), read_file(&backup)) {
        (Some(a), Some(b)) if a.keys == b.keys => return Ok(()),
        (Some(_), _) => (main, backup),
        (None, Some(_)) => (backup, main),
        (None, None) => return Ok(()),
    };
    record::replace(dir, &to, &fs::read(from)?)
}

fn read(dir: &Path) -> Option<Envelope> {
    [DATA_KEY, DATA_KEY_BACKUP].iter().find_map(|name| read_file(&dir.join(name)))
}

fn read_file(path: &Path) -> Option<Envelope> {
    let mut envelope: Envelope = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let checksum = std::mem::take(&mut envelope.sha256);
    let whole = envelope.format == FORMAT && checksum == record::digest(&serde_json::to_vec(&envelope).ok()?);
    whole.then_some(envelope)
}
