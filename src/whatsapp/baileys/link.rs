//! What a Baileys folder says, in the terms of our store. Pure: the folder was read before, the database is written after.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use whatsapp_rust::bytes::Bytes;
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::libsignal::protocol::SenderKeyStateComponents;
use whatsapp_rust::wacore::libsignal::store::record_helpers::encode_pre_key_record_to;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::traits::{AppStateSyncKey, LidPnMappingEntry, TcTokenEntry};
use whatsapp_rust::wacore::types::jid::{JidExt, make_sender_key_name};
use whatsapp_rust::wacore_binary::Jid;

use super::bytes::{bytes, from_base64};
use super::files::{Folder, Kind};
use super::{BaileysError, Skipped, address, app_state, credentials, sender_keys, sessions};
use crate::clock::UnixMs;

/// Everything that moves.
pub(super) struct Link {
    pub device: Device,
    /// Whether WhatsApp has it already.
    pub pre_keys: Vec<(u32, Bytes, bool)>,
    pub sessions: Vec<(Arc<str>, Bytes)>,
    pub identities: Vec<(Arc<str>, [u8; 32])>,
    pub sender_keys: Vec<(Arc<str>, Bytes)>,
    pub lid_mappings: Vec<LidPnMappingEntry>,
    pub sync_keys: Vec<(Vec<u8>, AppStateSyncKey)>,
    pub sync_versions: Vec<(String, HashState, Vec<AppStateMutationMAC>)>,
    pub tokens: Vec<(String, TcTokenEntry)>,
    /// What could not be translated; retries repair it.
    pub skipped: Vec<Skipped>,
    /// Files whose content WhatsApp tells again.
    pub told: usize,
}

impl Link {
    /// Translates a folder.
    ///
    /// # Errors
    /// When `creds.json` is not that of a linked device: without it nothing else is worth anything.
    pub(super) fn of(folder: &Folder, dir: &Path, now: UnixMs) -> Result<Self, BaileysError> {
        let device = credentials::device(&folder.credentials, dir, now)?;
        let skipped =
            folder.damaged.iter().map(|(file, reason)| Skipped { file: file.clone(), reason: reason.clone() });
        let mut link = Self {
            device,
            pre_keys: Vec::new(),
            sessions: Vec::new(),
            identities: Vec::new(),
            sender_keys: Vec::new(),
            lid_mappings: Vec::new(),
            sync_keys: Vec::new(),
            sync_versions: Vec::new(),
            tokens: Vec::new(),
            skipped: skipped.collect(),
            told: 0,
        };
        link.lid_mappings(folder, now);
        let lids: HashMap<String, String> =
            link.lid_mappings.iter().map(|m| (m.phone_number.clone(), m.lid.clone())).collect();
        let mut members: BTreeMap<String, Vec<Vec<SenderKeyStateComponents>>> = BTreeMap::new();
        for (file, kind, value) in &folder.files {
            let taken = match kind {
                Kind::Told => {
                    link.told += 1;
                    Ok(())
                }
                Kind::LidMapping(_) => Ok(()),
                Kind::PreKey(id) => link.pre_key(*id, value),
                Kind::Session(at) => link.session(at, value),
                Kind::Identity(at) => link.identity(at, value),
                Kind::SenderKey(name) => link.sender_key(name, value, &mut members),
                Kind::SyncKey(id) => link.sync_key(id, value),
                Kind::SyncVersion(name) => link.sync_version(name, value),
                Kind::Token(chat) => link.token(chat, value, &lids),
            };
            if let Err(reason) = taken {
                link.skipped.push(Skipped { file: file.clone(), reason });
            }
        }
        for (name, devices) in members {
            match sender_keys::merge(devices) {
                Ok(record) => link.sender_keys.push((name.into(), record.into())),
                Err(reason) => link.skipped.push(Skipped { file: format!("sender-key of {name}"), reason }),
            }
        }
        link.order_pre_keys();
        Ok(link)
    }

    /// Both directions of a mapping have a file; the one of the phone number counts.
    fn lid_mappings(&mut self, folder: &Folder, now: UnixMs) {
        let seconds = now / 1000;
        let mut pairs: BTreeMap<String, String> = BTreeMap::new();
        for (_, kind, value) in &folder.files {
            let (Kind::LidMapping(id), Some(other)) = (kind, value.as_str()) else { continue };
            match id.strip_suffix("_reverse") {
                Some(lid) => pairs.entry(other.to_owned()).or_insert_with(|| lid.to_owned()),
                None => {
                    pairs.insert(id.clone(), other.to_owned());
                    continue;
                }
            };
        }
        self.lid_mappings = pairs
            .into_iter()
            .map(|(phone_number, lid)| LidPnMappingEntry {
                lid,
                phone_number,
                created_at: seconds,
                updated_at: seconds,
                learning_source: "other".to_owned(),
            })
            .collect();
    }

    fn pre_key(&mut self, id: u32, value: &Value) -> Result<(), String> {
        let pair = credentials::read_key_pair(value).ok_or("it holds no key pair")?;
        let mut record = Vec::new();
        encode_pre_key_record_to(id, &pair, &mut record);
        self.pre_keys.push((id, record.into(), id < self.device.first_unupload_pre_key_id));
        Ok(())
    }

    fn session(&mut self, at: &str, value: &Value) -> Result<(), String> {
        let address = address::ours(at).ok_or("its name is no address")?;
        let record = sessions::read(value, &self.device)?;
        self.sessions.push((address.into(), record.into()));
        Ok(())
    }

    fn identity(&mut self, at: &str, value: &Value) -> Result<(), String> {
        let address = address::ours(at).ok_or("its name is no address")?;
        let key = bytes(value).ok_or("it holds no bytes")?;
        let key = key.strip_prefix(&[5]).filter(|k| k.len() == 32).unwrap_or(&key);
        self.identities.push((address.into(), key.try_into().map_err(|_| "it is no public key")?));
        Ok(())
    }

    fn sender_key(
        &mut self,
        name: &str,
        value: &Value,
        members: &mut BTreeMap<String, Vec<Vec<SenderKeyStateComponents>>>,
    ) -> Result<(), String> {
        let mut parts = name.rsplitn(3, "--");
        let (device, user, group) = (parts.next(), parts.next(), parts.next());
        let sender = user.zip(device).and_then(|(user, device)| address::jid(user, device));
        let (Some(sender), Some(group)) = (sender, group.and_then(|g| g.parse::<Jid>().ok())) else {
            return Err("its name is no group and sender".to_owned());
        };
        let own = [&self.device.pn, &self.device.lid].into_iter().flatten().any(|me| me.user == sender.user);
        if own {
            // Nobody is known to have it here, so a new one goes out with the next message.
            self.told += 1;
            return Ok(());
        }
        let states = sender_keys::read(value)?;
        let name = make_sender_key_name(&group, &sender.to_non_ad().to_protocol_address());
        members.entry(name.cache_key().to_owned()).or_default().push(states);
        Ok(())
    }

    fn sync_key(&mut self, id: &str, value: &Value) -> Result<(), String> {
        let id = from_base64(id).ok_or("its name is no key id")?;
        self.sync_keys.push((id, app_state::read_key(value).ok_or("it holds no key")?));
        Ok(())
    }

    fn sync_version(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let (state, proofs) = app_state::read_version(value).ok_or("it holds no version")?;
        self.sync_versions.push((name.to_owned(), state, proofs));
        Ok(())
    }

    fn token(&mut self, chat: &str, value: &Value, lids: &HashMap<String, String>) -> Result<(), String> {
        let token = value.get("token").and_then(bytes).ok_or("it holds no token")?;
        let user = chat.split(['@', ':']).next().unwrap_or(chat);
        let key = lids.get(user).map_or(user, String::as_str).to_owned();
        let entry = TcTokenEntry {
            token,
            token_timestamp: value.get("timestamp").and_then(app_state::big).unwrap_or(0),
            sender_timestamp: value.get("senderTimestamp").and_then(app_state::big),
        };
        self.tokens.push((key, entry));
        Ok(())
    }

    /// Numbers once given out are never given out again, whatever the counter says.
    fn order_pre_keys(&mut self) {
        self.pre_keys.sort_by_key(|(id, _, _)| *id);
        if let Some((last, _, _)) = self.pre_keys.last() {
            self.device.next_pre_key_id = self.device.next_pre_key_id.max(last + 1);
        }
    }
}
