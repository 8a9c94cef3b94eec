//! The shared settings and the message secrets of a sealed store.

use std::collections::HashMap;

use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::error::StoreError;
use whatsapp_rust::wacore::store::traits::{
    AppStateSyncKey, AppSyncStore, MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry, merge_msg_secret_message_ts,
};

use super::rows::{Of, Result};
use super::table::{PROOFS, Row, SECRETS, SYNC_KEYS, SYNC_VERSIONS, blob, text};
use super::vault::Vault;

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| StoreError::Serialization(Box::new(e)))
}

#[async_trait]
impl AppSyncStore for Vault {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        let id = key_id.to_vec();
        let row = self.look(move |db| db.get(&SYNC_KEYS, &[&id])).await?;
        Ok(row.and_then(|row| serde_json::from_slice(&row.blob(1)).ok()))
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> Result<()> {
        self.put(&SYNC_KEYS, vec![Row::new(vec![blob(key_id), blob(&json(&key)?)])]).await
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        let row = self.get(&SYNC_VERSIONS, &[name]).await?;
        // A damaged one begins anew, as at the library.
        Ok(row.and_then(|row| serde_json::from_slice(&row.blob(1)).ok()).unwrap_or_default())
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        self.put(&SYNC_VERSIONS, vec![Row::new(vec![text(name), blob(&json(&state)?)])]).await
    }

    async fn put_mutation_macs(&self, name: &str, version: u64, mutations: &[AppStateMutationMAC]) -> Result<()> {
        let row = |proof: &AppStateMutationMAC| Row {
            at: Some(version.cast_signed()),
            ..Row::new(vec![text(name), blob(&proof.index_mac), blob(&proof.value_mac)])
        };
        self.put(&PROOFS, mutations.iter().map(row).collect()).await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        let (name, index) = (name.to_owned(), index_mac.to_vec());
        self.look(move |db| Ok(db.get(&PROOFS, &[name.as_bytes(), &index])?.map(|row| row.blob(2)))).await
    }

    async fn get_mutation_macs(&self, name: &str, index_macs: &[[u8; 32]]) -> Result<HashMap<[u8; 32], Vec<u8>>> {
        let (name, indexes) = (name.to_owned(), index_macs.to_vec());
        self.look(move |db| {
            let mut found = HashMap::with_capacity(indexes.len());
            for index in indexes {
                if let Some(row) = db.get(&PROOFS, &[name.as_bytes(), &index])? {
                    found.insert(index, row.blob(2));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        let (name, indexes) = (name.to_owned(), index_macs.to_vec());
        self.run(move |db| indexes.iter().try_for_each(|index| db.delete(&PROOFS, &[name.as_bytes(), index]).map(drop)))
            .await
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.run(move |db| db.clear(&PROOFS, Of::Owner(&name))).await
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        let rows = self.look(|db| db.list(&SYNC_KEYS, Of::All)).await?;
        let usable = |row: &&Row| serde_json::from_slice::<AppStateSyncKey>(&row.blob(1)).is_ok();
        Ok(rows.iter().filter(usable).map(|row| row.blob(0)).max())
    }
}

#[async_trait]
impl MsgSecretStore for Vault {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        self.run(move |db| {
            for entry in &entries {
                let key = [entry.chat.as_bytes(), entry.sender.as_bytes(), entry.msg_id.as_bytes()];
                let known = db.get(&SECRETS, &key)?;
                let merged =
                    |known: Option<i64>, new: i64, merge: fn(i64, i64) -> i64| known.map_or(new, |k| merge(k, new));
                let fields = vec![text(&entry.chat), text(&entry.sender), text(&entry.msg_id), blob(&entry.secret)];
                let known = known.as_ref();
                db.put(
                    &SECRETS,
                    &Row {
                        until: Some(merged(known.and_then(|k| k.until), entry.expires_at, merge_msg_secret_expiry)),
                        at: Some(merged(known.and_then(|k| k.at), entry.message_ts, merge_msg_secret_message_ts)),
                        ..Row::new(fields)
                    },
                )?;
            }
            Ok(entries.len())
        })
        .await
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.get_msg_secret_with_ts(chat, sender, msg_id).await?.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<(Vec<u8>, i64)>> {
        let row = self.get(&SECRETS, &[chat, sender, msg_id]).await?;
        Ok(row.map(|row| (row.blob(3), row.at.unwrap_or(0))))
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.run(move |db| db.expire(&SECRETS, "until <> 0 AND until <= ?1", cutoff_timestamp)).await
    }
}
