//! The names of everything in a store, for whoever writes it out.

use super::rows::{Of, Result};
use super::table::{
    DEVICE_LISTS, IDENTITIES, PRE_KEYS, PROOFS, Row, SENDER_KEYS, SESSIONS, SYNC_KEYS, SYNC_VERSIONS, Table,
};
use super::vault::Vault;

/// The keys of everything in a database.
#[derive(Default)]
pub(in crate::whatsapp) struct Listed {
    pub pre_keys: Vec<u32>,
    pub sessions: Vec<String>,
    pub identities: Vec<String>,
    pub sender_keys: Vec<String>,
    pub sync_keys: Vec<Vec<u8>>,
    pub sync_versions: Vec<String>,
    /// Collection, index, value.
    pub proofs: Vec<(String, Vec<u8>, Vec<u8>)>,
    /// A user and the JSON list of the user's devices.
    pub devices: Vec<(String, String)>,
}

impl Vault {
    /// Lists a sealed database.
    pub(in crate::whatsapp) async fn listed(&self) -> Result<Listed> {
        self.look(|db| {
            let all = |table: &Table| db.list(table, Of::All);
            let names =
                |table: &Table| -> Result<Vec<String>> { Ok(all(table)?.iter().map(|row| row.text(0)).collect()) };
            let number = |row: &Row| row.integer(0).and_then(|id| u32::try_from(id).ok());
            Ok(Listed {
                pre_keys: all(&PRE_KEYS)?.iter().filter_map(number).collect(),
                sessions: names(&SESSIONS)?,
                identities: names(&IDENTITIES)?,
                sender_keys: names(&SENDER_KEYS)?,
                sync_keys: all(&SYNC_KEYS)?.iter().map(|row| row.blob(0)).collect(),
                sync_versions: names(&SYNC_VERSIONS)?,
                proofs: all(&PROOFS)?.iter().map(|row| (row.text(0), row.blob(1), row.blob(2))).collect(),
                devices: all(&DEVICE_LISTS)?.iter().map(|row| (row.text(0), row.text(1))).collect(),
            })
        })
        .await
    }
}
