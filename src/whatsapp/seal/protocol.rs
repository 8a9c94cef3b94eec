//! What a sealed store knows of people and groups: who has our keys, LIDs and numbers, device lists, tokens, messages under way.

use rusqlite::types::Value;
use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::store::error::StoreError;
use whatsapp_rust::wacore::store::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore, TcTokenEntry,
};

use super::rows::{Of, Result, Rows};
use super::table::{
    BASE_KEYS, DEVICE_LISTS, GROUPS, LID_MAPPINGS, PENDING, Row, SENDER_KEY_DEVICES, SENT, TOKENS, blob, text,
};
use super::vault::{Vault, borrowed, owned};

fn now() -> i64 {
    crate::clock::Clock::System.now() / 1000
}

fn mapping(row: &Row) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: row.text(0),
        phone_number: row.text(1),
        learning_source: row.text(2),
        created_at: row.integer(3).unwrap_or(0),
        updated_at: row.at.unwrap_or(0),
    }
}

fn device_list(record: &DeviceListRecord) -> Result<Row> {
    let devices = serde_json::to_string(&record.devices).map_err(|e| StoreError::Serialization(Box::new(e)))?;
    let fields = vec![
        text(&record.user),
        Value::Text(devices),
        Value::Integer(record.timestamp),
        record.phash.clone().map_or(Value::Null, Value::Text),
        // The library's column has a sign.
        record.raw_id.map_or(Value::Null, |id| Value::Integer(id.cast_signed().into())),
    ];
    Ok(Row { at: Some(now()), ..Row::new(fields) })
}

fn token(row: &Row) -> TcTokenEntry {
    TcTokenEntry { token: row.blob(1), token_timestamp: row.at.unwrap_or(0), sender_timestamp: row.until }
}

fn put_token(db: &Rows<'_>, jid: &str, entry: &TcTokenEntry) -> Result<()> {
    let fields = vec![text(jid), blob(&entry.token)];
    db.put(&TOKENS, &Row { at: Some(entry.token_timestamp), until: entry.sender_timestamp, ..Row::new(fields) })
}

fn pending(chat: &str, sender: &str, id: &str, message: &[u8]) -> Row {
    Row { at: Some(now()), ..Row::new(vec![text(chat), text(sender), text(id), blob(message)]) }
}

#[async_trait]
impl ProtocolStore for Vault {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>> {
        let group = group_jid.to_owned();
        let rows = self.look(move |db| db.list(&SENDER_KEY_DEVICES, Of::Owner(&group))).await?;
        Ok(rows.iter().map(|row| (row.text(1), row.flag.is_some_and(|f| f != 0))).collect())
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> Result<()> {
        let at = Some(now());
        let row = |&(device, has): &(&str, bool)| Row {
            at,
            flag: Some(has.into()),
            ..Row::new(vec![text(group_jid), text(device)])
        };
        self.put(&SENDER_KEY_DEVICES, entries.iter().map(row).collect()).await
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<()> {
        let group = group_jid.to_owned();
        self.run(move |db| db.clear(&SENDER_KEY_DEVICES, Of::Owner(&group))).await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<()> {
        let devices: Vec<String> = device_jids.iter().map(|&device| device.to_owned()).collect();
        self.run(move |db| devices.iter().try_for_each(|device| db.clear(&SENDER_KEY_DEVICES, Of::Other(device)))).await
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        self.run(|db| db.clear(&SENDER_KEY_DEVICES, Of::All)).await
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        Ok(self.get(&LID_MAPPINGS, &[lid]).await?.as_ref().map(mapping))
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        let phone = phone.to_owned();
        let rows = self.look(move |db| db.list(&LID_MAPPINGS, Of::Other(&phone))).await?;
        Ok(rows.last().map(mapping))
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        let entries = entries.to_vec();
        self.run(move |db| {
            for entry in &entries {
                let known = db.get(&LID_MAPPINGS, &[entry.lid.as_bytes()])?;
                let since = known.and_then(|row| row.integer(3)).unwrap_or(entry.created_at);
                let fields = vec![
                    text(&entry.lid),
                    text(&entry.phone_number),
                    text(&entry.learning_source),
                    Value::Integer(since),
                ];
                db.put(&LID_MAPPINGS, &Row { at: Some(entry.updated_at), ..Row::new(fields) })?;
            }
            Ok(())
        })
        .await
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        Ok(self.look(|db| db.list(&LID_MAPPINGS, Of::All)).await?.iter().map(mapping).collect())
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<()> {
        let fields = vec![text(address), text(message_id), blob(base_key)];
        self.put(&BASE_KEYS, vec![Row { at: Some(now()), ..Row::new(fields) }]).await
    }

    async fn has_same_base_key(&self, address: &str, message_id: &str, current_base_key: &[u8]) -> Result<bool> {
        Ok(self.get(&BASE_KEYS, &[address, message_id]).await?.is_some_and(|row| row.blob(2) == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<()> {
        self.delete(&BASE_KEYS, &[address, message_id]).await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.put(&DEVICE_LISTS, vec![device_list(&record)?]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<()> {
        self.put(&DEVICE_LISTS, records.iter().map(device_list).collect::<Result<_>>()?).await
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        let Some(row) = self.get(&DEVICE_LISTS, &[user]).await? else { return Ok(None) };
        let devices = serde_json::from_str(&row.text(1)).map_err(|e| StoreError::Serialization(Box::new(e)))?;
        let raw_id = row.integer(4).and_then(|id| i32::try_from(id).ok()).map(i32::cast_unsigned);
        let phash = Some(row.text(3)).filter(|hash| !hash.is_empty());
        Ok(Some(DeviceListRecord { user: row.text(0), devices, timestamp: row.integer(2).unwrap_or(0), phash, raw_id }))
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        self.delete(&DEVICE_LISTS, &[user]).await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.get(&GROUPS, &[group_jid]).await?.map(|row| row.blob(1)))
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> Result<()> {
        let fields = vec![text(group_jid), super::table::blob(blob)];
        self.put(&GROUPS, vec![Row { at: Some(now()), ..Row::new(fields) }]).await
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> Result<()> {
        self.delete(&GROUPS, &[group_jid]).await
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        Ok(self.get(&TOKENS, &[jid]).await?.as_ref().map(token))
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        let (jid, entry) = (jid.to_owned(), entry.clone());
        self.run(move |db| put_token(db, &jid, &entry)).await
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        self.delete(&TOKENS, &[jid]).await
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        Ok(self.look(|db| db.list(&TOKENS, Of::All)).await?.iter().map(|row| row.text(0)).collect())
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        self.run(move |db| {
            let mut deleted = 0;
            for row in db.list(&TOKENS, Of::All)? {
                let entry = token(&row);
                let stale = entry.token.is_empty() || entry.token_timestamp < token_cutoff;
                if stale && entry.sender_timestamp.is_none_or(|at| at < sender_cutoff) {
                    db.delete(&TOKENS, &[row.text(0).as_bytes()])?;
                    deleted += 1;
                }
            }
            Ok(deleted)
        })
        .await
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, sender_timestamp: i64) -> Result<()> {
        let jid = jid.to_owned();
        self.run(move |db| {
            let known = db.get(&TOKENS, &[jid.as_bytes()])?.as_ref().map(token);
            let mut entry = known.unwrap_or(TcTokenEntry {
                token: Vec::new(),
                token_timestamp: sender_timestamp,
                sender_timestamp: None,
            });
            entry.sender_timestamp = entry.sender_timestamp.max(Some(sender_timestamp));
            put_token(db, &jid, &entry)
        })
        .await
    }

    async fn store_received_tc_token(&self, jid: &str, received: &[u8], token_timestamp: i64) -> Result<()> {
        let (jid, received) = (jid.to_owned(), received.to_vec());
        self.run(move |db| {
            let known = db.get(&TOKENS, &[jid.as_bytes()])?.as_ref().map(token);
            // A placeholder never holds the first real token up.
            if known.as_ref().is_some_and(|k| !k.token.is_empty() && token_timestamp < k.token_timestamp) {
                return Ok(());
            }
            let sender_timestamp = known.and_then(|k| k.sender_timestamp);
            put_token(db, &jid, &TcTokenEntry { token: received, token_timestamp, sender_timestamp })
        })
        .await
    }

    async fn store_sent_message(&self, chat_jid: &str, message_id: &str, payload: &[u8]) -> Result<()> {
        let fields = vec![text(chat_jid), text(message_id), blob(payload)];
        self.put(&SENT, vec![Row { at: Some(now()), ..Row::new(fields) }]).await
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>> {
        let key = owned(&[chat_jid, message_id]);
        self.run(move |db| {
            let row = db.get(&SENT, &borrowed(&key))?;
            db.delete(&SENT, &borrowed(&key))?;
            Ok(row.map(|row| row.blob(2)))
        })
        .await
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.run(move |db| db.expire(&SENT, "at < ?1", cutoff_timestamp)).await
    }

    async fn store_pending_inbound(&self, chat: &str, sender: &str, id: &str, message: &[u8]) -> Result<()> {
        self.put(&PENDING, vec![pending(chat, sender, id, message)]).await
    }

    async fn get_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.get(&PENDING, &[chat, sender, id]).await?.map(|row| row.blob(3)))
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        self.delete(&PENDING, &[chat, sender, id]).await
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.run(move |db| db.expire(&PENDING, "at < ?1", cutoff_timestamp)).await
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        self.put(&PENDING, rows.iter().map(|row| pending(row.chat, row.sender, row.id, row.message)).collect()).await
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        let keys: Vec<_> = keys.iter().map(|key| owned(&[key.chat, key.sender, key.id])).collect();
        self.run(move |db| keys.iter().try_for_each(|key| db.delete(&PENDING, &borrowed(key)).map(drop))).await
    }
}
