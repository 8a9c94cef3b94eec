//! Writes a link as a folder that Baileys goes on from. Afterwards the link is Baileys': ours is set aside.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use whatsapp_rust::traits::Backend;
use whatsapp_rust::wacore::libsignal::protocol::{KeyPair, PrivateKey, PublicKey};
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::traits::{DeviceInfo, LidPnMappingEntry};
use whatsapp_rust::waproto::codec::pre_key_record_decode;

use super::bytes::{base64, buffer};
use super::files::{CREDENTIALS, own_files};
use super::import::blocking;
use super::{
    BaileysError, Exported, Skipped, address, app_state, credentials, database, sender_keys, sessions, set_aside,
};
use crate::whatsapp::backend;
use crate::whatsapp::database::{Found, inspect};
use crate::whatsapp::seal::{DATA_KEY, DATA_KEY_BACKUP, SealedFolder};

/// Writes the link in `auth_dir` to the folder `to`, which is new or empty, and sets the link in `auth_dir` aside as
/// `creds.json.exported` and `signal.db.exported`, so that two programs do not use it. The caller holds the lock of `auth_dir`.
///
/// # Errors
/// When there is no link, `to` has something in it, or a file cannot be written; the link stays usable then.
pub async fn export(folder: SealedFolder<'_>, to: &Path) -> Result<Exported, BaileysError> {
    let auth_dir = folder.dir;
    let path = auth_dir.join("signal.db");
    if !path.is_file() || !auth_dir.join(CREDENTIALS).is_file() {
        return Err(BaileysError::NothingToExport(auth_dir.to_path_buf()));
    }
    let target = to.to_path_buf();
    let made = blocking(move || prepare(&target)).await?;
    let exported = write_link(folder, to).await;
    if exported.is_err() {
        let target = to.to_path_buf();
        blocking(move || {
            clear(&target, made);
            Ok(())
        })
        .await?;
    }
    exported
}

async fn write_link(folder: SealedFolder<'_>, to: &Path) -> Result<Exported, BaileysError> {
    let auth_dir = folder.dir;
    let path = auth_dir.join("signal.db");
    let unlocked = folder.unlock(false).await.map_err(|e| BaileysError::Locked(e.to_string()))?;
    let looked = path.clone();
    let recorded = backend::epoch(auth_dir, unlocked.as_ref());
    blocking(move || {
        // What a crash rolled back must not be used by the other program either.
        match inspect(&looked, recorded).map_err(BaileysError::io("read", &looked))? {
            Found::Whole { .. } => Ok(()),
            Found::Damaged(cause) => Err(BaileysError::Database { path: looked, cause }),
        }
    })
    .await?;
    let (store, keys) = database::open(auth_dir, unlocked.as_ref()).await?;
    let failed = |cause: String| BaileysError::Database { path: path.clone(), cause };
    let mut folder = Contents { store: Arc::clone(&store), files: BTreeMap::new(), report: Exported::default() };
    let device = folder.fill(keys).await.map_err(|e| failed(e.to_string()))?;
    let Contents { files, mut report, store: used } = folder;
    drop((store, used));
    let device = device.filter(|d| d.pn.is_some()).ok_or(BaileysError::NothingToExport(auth_dir.to_path_buf()))?;
    if !backend::is_whole(&device, auth_dir, unlocked.as_ref()) {
        return Err(failed(
            "the device in it is damaged; start the account once, which mends it from creds.json, and export then"
                .to_owned(),
        ));
    }
    let sync_key =
        files.keys().filter_map(|name| name.strip_prefix("app-state-sync-key-")).next_back().map(str::to_owned);
    let sync_key =
        sync_key.and_then(|name| super::bytes::from_base64(&name.trim_end_matches(".json").replace("__", "/")));
    let credentials = credentials::write(&device, sync_key.as_deref())
        .ok_or(BaileysError::NothingToExport(auth_dir.to_path_buf()))?;
    report.jid = device.pn.as_ref().map(ToString::to_string).unwrap_or_default();
    report.files = files.len() + 1;
    let (dir, target) = (auth_dir.to_path_buf(), to.to_path_buf());
    blocking(move || {
        // All are written before the first is waited for: the disk takes them together.
        for (name, value) in &files {
            write(&target.join(name), value)?;
        }
        for name in files.keys() {
            sync(&target.join(name))?;
        }
        // Without it the folder is no link: it comes last.
        write(&target.join(CREDENTIALS), &credentials)?;
        sync(&target.join(CREDENTIALS))?;
        File::open(&target).and_then(|d| d.sync_all()).map_err(BaileysError::io("sync", &target))?;
        database::settle(&dir.join("signal.db"))?;
        set_aside::aside(&dir, &["creds.json.bak", CREDENTIALS, "signal.db", DATA_KEY_BACKUP, DATA_KEY], "exported")
            .map_err(BaileysError::io("rename in", &dir))
    })
    .await?;
    Ok(report)
}

/// True when the folder was made; one that was there has nothing in it.
fn prepare(to: &Path) -> Result<bool, BaileysError> {
    match fs::read_dir(to) {
        Ok(mut entries) => match entries.next() {
            None => Ok(false),
            Some(_) => Err(BaileysError::NotEmpty(to.to_path_buf())),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(BaileysError::io("create", to))?;
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => Err(BaileysError::FileInTheWay(to.to_path_buf())),
        Err(e) => Err(BaileysError::io("read", to)(e)),
    }
}

/// Half a link is none: what was written goes, and so the next attempt finds the folder as this one did.
fn clear(to: &Path, made: bool) {
    for path in own_files(to) {
        let _ = fs::remove_file(path);
    }
    if made {
        let _ = fs::remove_dir(to);
    }
}

fn write(path: &Path, value: &Value) -> Result<(), BaileysError> {
    let failed = || BaileysError::io("write", path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed())?;
    file.write_all(value.to_string().as_bytes()).map_err(failed())
}

fn sync(path: &Path) -> Result<(), BaileysError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(BaileysError::io("sync", path))
}

/// The files to be, by name.
struct Contents {
    store: Arc<dyn Backend>,
    files: BTreeMap<String, Value>,
    report: Exported,
}

impl Contents {
    async fn fill(&mut self, keys: database::Keys) -> Result<Option<Device>, whatsapp_rust::anyhow::Error> {
        let store = Arc::clone(&self.store);
        let Some(device) = store.load().await? else { return Ok(None) };
        let mappings = store.get_all_lid_mappings().await?;
        self.pre_keys(&keys.pre_keys).await?;
        self.mappings(&mappings);
        self.sessions(&keys.sessions, &mappings).await?;
        for at in &keys.identities {
            if let (Some((user, number)), Some(key)) = (address::theirs(at), store.load_identity(at).await?) {
                self.put(format!("identity-key-{user}.{number}"), buffer(&credentials::with_type(&key)));
            }
        }
        self.sender_keys(&keys, &device).await?;
        for id in &keys.sync_keys {
            if let Some(key) = store.get_sync_key(id).await? {
                self.put(format!("app-state-sync-key-{}", base64(id)), app_state::write_key(&key));
                self.report.app_state_keys += 1;
            }
        }
        for name in &keys.sync_versions {
            let state = store.get_version(name).await?;
            let proofs: Vec<(Vec<u8>, Vec<u8>)> =
                keys.proofs.iter().filter(|p| &p.0 == name).map(|p| (p.1.clone(), p.2.clone())).collect();
            self.put(format!("app-state-sync-version-{name}"), app_state::write_version(&state, &proofs));
        }
        self.tokens(&mappings).await?;
        Ok(Some(device))
    }

    fn put(&mut self, name: String, value: Value) {
        // The letters that Baileys does not use in file names.
        let name = name.replace('/', "__").replace(':', "-");
        self.files.insert(format!("{name}.json"), value);
    }

    async fn pre_keys(&mut self, ids: &[u32]) -> Result<(), whatsapp_rust::anyhow::Error> {
        for (id, record) in self.store.load_prekeys_batch(ids).await? {
            let pair = pre_key_record_decode(&record).ok().and_then(|record| {
                let public = PublicKey::from_stored_public_key_bytes(record.public_key.as_deref()?).ok()?;
                Some(KeyPair::new(public, PrivateKey::deserialize(record.private_key.as_deref()?).ok()?))
            });
            if let Some(pair) = pair {
                self.put(format!("pre-key-{id}"), credentials::write_key_pair(&pair));
                self.report.pre_keys += 1;
            }
        }
        Ok(())
    }

    fn mappings(&mut self, mappings: &[LidPnMappingEntry]) {
        for mapping in mappings {
            self.put(format!("lid-mapping-{}", mapping.phone_number), mapping.lid.clone().into());
            self.put(format!("lid-mapping-{}_reverse", mapping.lid), mapping.phone_number.clone().into());
        }
        self.report.lid_mappings = mappings.len();
    }

    /// Baileys looks under the LID as soon as it knows one.
    async fn sessions(
        &mut self,
        addresses: &[String],
        mappings: &[LidPnMappingEntry],
    ) -> Result<(), whatsapp_rust::anyhow::Error> {
        let lids: HashMap<&str, &str> = mappings.iter().map(|m| (m.phone_number.as_str(), m.lid.as_str())).collect();
        let known: HashSet<(String, String)> = addresses.iter().filter_map(|a| address::theirs(a)).collect();
        for at in addresses {
            let (Some((user, number)), Some(record)) = (address::theirs(at), self.store.get_session(at).await?) else {
                continue;
            };
            let by_lid = lids.get(user.as_str()).map(|lid| (format!("{lid}_1"), number.clone()));
            let name = match by_lid {
                Some(taken) if known.contains(&taken) => continue,
                Some((user, number)) => format!("session-{user}.{number}"),
                None => format!("session-{user}.{number}"),
            };
            match sessions::write(&record) {
                Ok(value) => {
                    self.put(name, value);
                    self.report.sessions += 1;
                }
                Err(reason) => self.report.skipped.push(Skipped { file: format!("{name}.json"), reason }),
            }
        }
        Ok(())
    }

    /// One record serves all devices of a member here. Baileys keeps one a device: each gets all the states.
    async fn sender_keys(
        &mut self,
        keys: &database::Keys,
        device: &Device,
    ) -> Result<(), whatsapp_rust::anyhow::Error> {
        let devices: HashMap<&str, Vec<u32>> = keys
            .devices
            .iter()
            .map(|(user, json)| {
                let list: Vec<DeviceInfo> = serde_json::from_str(json).unwrap_or_default();
                (user.as_str(), list.into_iter().map(|d| d.device_id).collect())
            })
            .collect();
        for name in &keys.sender_keys {
            let Some((group, at)) = name.split_once(':') else { continue };
            let Some((user, _)) = address::theirs(at) else { continue };
            let plain = user.split('_').next().unwrap_or(&user);
            // Baileys does not know who has ours: it makes a new one.
            if [&device.pn, &device.lid].into_iter().flatten().any(|me| me.user == plain) {
                continue;
            }
            let Some(record) = self.store.get_sender_key(name).await? else { continue };
            match sender_keys::write(&record) {
                Ok(value) => {
                    let others = devices.get(plain).into_iter().flatten().filter(|d| **d != 0);
                    for number in std::iter::once(&0).chain(others) {
                        self.put(format!("sender-key-{group}--{user}--{number}"), value.clone());
                    }
                    self.report.sender_keys += 1;
                }
                Err(reason) => self.report.skipped.push(Skipped { file: format!("sender-key-{name}"), reason }),
            }
        }
        Ok(())
    }

    async fn tokens(&mut self, mappings: &[LidPnMappingEntry]) -> Result<(), whatsapp_rust::anyhow::Error> {
        let numbers: HashSet<&str> = mappings.iter().map(|m| m.phone_number.as_str()).collect();
        let mut chats = Vec::new();
        for user in self.store.get_all_tc_token_jids().await? {
            let Some(entry) = self.store.get_tc_token(&user).await? else { continue };
            let server = if numbers.contains(user.as_str()) { "s.whatsapp.net" } else { "lid" };
            let chat = format!("{user}@{server}");
            let mut value = json!({"token": buffer(&entry.token), "timestamp": entry.token_timestamp.to_string()});
            if let Some(at) = entry.sender_timestamp {
                value["senderTimestamp"] = at.into();
            }
            self.put(format!("tctoken-{chat}"), value);
            chats.push(chat);
        }
        if !chats.is_empty() {
            self.put("tctoken-__index".to_owned(), json!({"token": buffer(json!(chats).to_string().as_bytes())}));
        }
        self.report.tokens = chats.len();
        Ok(())
    }
}
