//! The Signal part of a sealed store: sessions, keys, identities.

use std::sync::Arc;

use rusqlite::types::Value;
use whatsapp_rust::async_trait;
use whatsapp_rust::bytes::Bytes;
use whatsapp_rust::wacore::store::traits::SignalStore;

use super::rows::{Of, Result, Rows, failed};
use super::table::{IDENTITIES, PRE_KEYS, Row, SENDER_KEYS, SESSIONS, SIGNED_PRE_KEYS, blob, text};
use super::vault::Vault;

fn named(address: &str, record: &[u8]) -> Row {
    Row::new(vec![text(address), blob(record)])
}

fn numbered(id: u32, record: &[u8]) -> Row {
    Row::new(vec![Value::Integer(id.into()), blob(record)])
}

fn pre_key(id: u32, record: &[u8], uploaded: bool) -> Row {
    Row { at: Some(id.into()), flag: Some(uploaded.into()), ..numbered(id, record) }
}

fn number(id: u32) -> [u8; 8] {
    i64::from(id).to_le_bytes()
}

fn key_of(row: &Row) -> Option<[u8; 32]> {
    row.blob(1).try_into().ok()
}

#[async_trait]
impl SignalStore for Vault {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        self.put(&IDENTITIES, vec![named(address, &key)]).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        self.put(&IDENTITIES, identities.iter().map(|(address, key)| named(address, key)).collect()).await
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        Ok(self.get(&IDENTITIES, &[address]).await?.as_ref().and_then(key_of))
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        self.delete(&IDENTITIES, &[address]).await
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        Ok(self.get(&SESSIONS, &[address]).await?.map(|row| row.blob(1).into()))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.put(&SESSIONS, vec![named(address, session)]).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.put(&SESSIONS, sessions.iter().map(|(address, record)| named(address, record)).collect()).await
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        self.delete(&SESSIONS, &[address]).await
    }

    async fn has_session(&self, address: &str) -> Result<bool> {
        let address = address.to_owned();
        self.look(move |db| db.has(&SESSIONS, &[address.as_bytes()])).await
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool> {
        let user = user.to_owned();
        self.look(move |db| Ok(db.has_owner(&SESSIONS, &user)? || db.has_owner(&IDENTITIES, &user)?)).await
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> Result<()> {
        self.put(&PRE_KEYS, vec![pre_key(id, record, uploaded)]).await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], uploaded: bool) -> Result<()> {
        self.put(&PRE_KEYS, keys.iter().map(|(id, record)| pre_key(*id, record, uploaded)).collect()).await
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>> {
        self.look(move |db| Ok(db.get(&PRE_KEYS, &[&number(id)])?.map(|row| row.blob(1).into()))).await
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> Result<Vec<(u32, Bytes)>> {
        let ids = ids.to_vec();
        self.look(move |db| {
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                if let Some(row) = db.get(&PRE_KEYS, &[&number(id)])? {
                    found.push((id, row.blob(1).into()));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn mark_prekeys_uploaded(&self, ids: &[u32]) -> Result<()> {
        let ids = ids.to_vec();
        self.run(move |db| {
            let mut mark = db.db.prepare_cached("UPDATE prekeys SET flag = 1 WHERE at = ?1").map_err(failed)?;
            ids.into_iter().try_for_each(|id| mark.execute([id]).map(drop).map_err(failed))
        })
        .await
    }

    async fn remove_prekey(&self, id: u32) -> Result<()> {
        self.run(move |db| db.delete(&PRE_KEYS, &[&number(id)]).map(drop)).await
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        self.look(|Rows { db, .. }| {
            db.query_row("SELECT coalesce(max(at), 0) FROM prekeys", [], |row| row.get(0)).map_err(failed)
        })
        .await
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<()> {
        self.put(&SIGNED_PRE_KEYS, vec![numbered(id, record)]).await
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>> {
        self.look(move |db| Ok(db.get(&SIGNED_PRE_KEYS, &[&number(id)])?.map(|row| row.blob(1)))).await
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        let rows = self.look(|db| db.list(&SIGNED_PRE_KEYS, Of::All)).await?;
        let id = |row: &Row| row.integer(0).and_then(|id| u32::try_from(id).ok());
        Ok(rows.iter().filter_map(|row| Some((id(row)?, row.blob(1)))).collect())
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<()> {
        self.run(move |db| db.delete(&SIGNED_PRE_KEYS, &[&number(id)]).map(drop)).await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        self.put(&SENDER_KEYS, vec![named(address, record)]).await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.put(&SENDER_KEYS, sender_keys.iter().map(|(address, record)| named(address, record)).collect()).await
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.get(&SENDER_KEYS, &[address]).await?.map(|row| row.blob(1)))
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        self.delete(&SENDER_KEYS, &[address]).await
    }
}
