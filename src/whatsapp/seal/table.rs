//! The tables of a sealed database and the columns of the library's own tables that they stand for.
//!
//! They keep the library's names. A row has a name that can be looked up but not read, the numbers that queries need (times, flags) in
//! the clear, and everything else in one sealed value.

use rusqlite::types::{Value, ValueRef};

/// One table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub name: &'static str,
    /// The library's columns that are sealed; the first `keys` of them name the row.
    pub sealed: &'static [&'static str],
    pub keys: usize,
    /// The library's columns behind the numbers in the clear.
    pub at: Option<&'static str>,
    pub until: Option<&'static str>,
    pub flag: Option<&'static str>,
    /// Rows can be looked up by the value of this sealed column.
    pub owner: Option<Owner>,
    /// And by the value of this one.
    pub other: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// The column as a whole.
    Column(usize),
    /// The user of a Signal address: what stands before `:` or `@`.
    User(usize),
}

const PLAIN: Table =
    Table { name: "", sealed: &[], keys: 1, at: None, until: None, flag: None, owner: None, other: None };

pub(super) const IDENTITIES: Table =
    Table { name: "identities", sealed: &["address", "key"], owner: Some(Owner::User(0)), ..PLAIN };
pub(super) const SESSIONS: Table =
    Table { name: "sessions", sealed: &["address", "record"], owner: Some(Owner::User(0)), ..PLAIN };
pub(super) const PRE_KEYS: Table =
    Table { name: "prekeys", sealed: &["id", "key"], at: Some("id"), flag: Some("uploaded"), ..PLAIN };
pub(super) const SIGNED_PRE_KEYS: Table = Table { name: "signed_prekeys", sealed: &["id", "record"], ..PLAIN };
pub(super) const SENDER_KEYS: Table = Table { name: "sender_keys", sealed: &["address", "record"], ..PLAIN };
pub(super) const SENDER_KEY_DEVICES: Table = Table {
    name: "sender_key_devices",
    sealed: &["group_jid", "device_jid"],
    keys: 2,
    at: Some("updated_at"),
    flag: Some("has_key"),
    owner: Some(Owner::Column(0)),
    other: Some(1),
    ..PLAIN
};
pub(super) const PROOFS: Table = Table {
    name: "app_state_mutation_macs",
    sealed: &["name", "index_mac", "value_mac"],
    keys: 2,
    at: Some("version"),
    owner: Some(Owner::Column(0)),
    ..PLAIN
};
pub(super) const LID_MAPPINGS: Table = Table {
    name: "lid_pn_mapping",
    sealed: &["lid", "phone_number", "learning_source", "created_at"],
    at: Some("updated_at"),
    other: Some(1),
    ..PLAIN
};
pub(super) const DEVICE_LISTS: Table = Table {
    name: "device_registry",
    sealed: &["user_id", "devices_json", "timestamp", "phash", "raw_id"],
    at: Some("updated_at"),
    ..PLAIN
};
pub(super) const GROUPS: Table =
    Table { name: "group_metadata", sealed: &["group_jid", "info"], at: Some("updated_at"), ..PLAIN };
pub(super) const TOKENS: Table = Table {
    name: "tc_tokens",
    sealed: &["jid", "token"],
    at: Some("token_timestamp"),
    until: Some("sender_timestamp"),
    ..PLAIN
};
pub(super) const SENT: Table = Table {
    name: "sent_messages",
    sealed: &["chat_jid", "message_id", "payload"],
    keys: 2,
    at: Some("created_at"),
    ..PLAIN
};
pub(super) const PENDING: Table = Table {
    name: "pending_inbound_messages",
    sealed: &["chat", "sender", "id", "message"],
    keys: 3,
    at: Some("inserted_at"),
    ..PLAIN
};
pub(super) const SECRETS: Table = Table {
    name: "msg_secrets",
    sealed: &["chat", "sender", "msg_id", "secret"],
    keys: 3,
    at: Some("message_ts"),
    until: Some("expires_at"),
    ..PLAIN
};
pub(super) const BASE_KEYS: Table = Table {
    name: "base_keys",
    sealed: &["address", "message_id", "base_key"],
    keys: 2,
    at: Some("created_at"),
    ..PLAIN
};
/// The library's encoding of these two is its own, so they move through its store and not column by column.
pub(super) const SYNC_KEYS: Table = Table { name: "app_state_keys", sealed: &["key_id", "key"], ..PLAIN };
pub(super) const SYNC_VERSIONS: Table = Table { name: "app_state_versions", sealed: &["name", "state"], ..PLAIN };

/// The tables that move column by column.
pub(super) const BY_COLUMN: [Table; 15] = [
    IDENTITIES,
    SESSIONS,
    PRE_KEYS,
    SIGNED_PRE_KEYS,
    SENDER_KEYS,
    SENDER_KEY_DEVICES,
    PROOFS,
    LID_MAPPINGS,
    DEVICE_LISTS,
    GROUPS,
    TOKENS,
    SENT,
    PENDING,
    SECRETS,
    BASE_KEYS,
];

/// All tables but the device's.
pub(super) fn all() -> impl Iterator<Item = Table> {
    BY_COLUMN.into_iter().chain([SYNC_KEYS, SYNC_VERSIONS])
}

/// A row in the clear.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// In the order of [`Table::sealed`].
    pub fields: Vec<Value>,
    pub at: Option<i64>,
    pub until: Option<i64>,
    pub flag: Option<i64>,
}

impl Row {
    pub(super) fn new(fields: Vec<Value>) -> Self {
        Self { fields, ..Self::default() }
    }

    pub(super) fn text(&self, at: usize) -> String {
        match self.fields.get(at) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }

    pub(super) fn blob(&self, at: usize) -> Vec<u8> {
        match self.fields.get(at) {
            Some(Value::Blob(bytes)) => bytes.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn integer(&self, at: usize) -> Option<i64> {
        match self.fields.get(at) {
            Some(Value::Integer(n)) => Some(*n),
            _ => None,
        }
    }
}

/// A text as a field.
pub(super) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Bytes as a field.
pub(super) fn blob(bytes: &[u8]) -> Value {
    Value::Blob(bytes.to_vec())
}

/// The user of a Signal address.
pub(super) fn user(address: &str) -> &str {
    address.split([':', '@']).next().unwrap_or(address)
}

/// One field as bytes: its type, its length, its content.
pub(super) fn encode(field: &Value, out: &mut Vec<u8>) {
    let (kind, bytes): (u8, &[u8]) = match field {
        Value::Null => (0, &[]),
        Value::Integer(n) => (1, &n.to_le_bytes()),
        Value::Real(n) => (2, &n.to_le_bytes()),
        Value::Text(text) => (3, text.as_bytes()),
        Value::Blob(bytes) => (4, bytes),
    };
    out.push(kind);
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// All fields of a sealed value.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut fields = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (field, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        fields.push(match kind {
            0 => Value::Null,
            1 => Value::Integer(i64::from_le_bytes(field.try_into().ok()?)),
            2 => Value::Real(f64::from_le_bytes(field.try_into().ok()?)),
            3 => Value::Text(String::from_utf8(field.to_vec()).ok()?),
            4 => Value::Blob(field.to_vec()),
            _ => return None,
        });
        bytes = rest;
    }
    Some(fields)
}

/// What makes the name of a row from one of its fields.
pub(super) fn part(field: &Value) -> Vec<u8> {
    match ValueRef::from(field) {
        ValueRef::Null => Vec::new(),
        ValueRef::Integer(n) => n.to_le_bytes().to_vec(),
        ValueRef::Real(n) => n.to_le_bytes().to_vec(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_type() {
        let fields = vec![Value::Null, Value::Integer(-7), Value::Real(1.5), text("ä"), blob(&[0, 255]), text("")];
        let mut bytes = Vec::new();
        fields.iter().for_each(|f| encode(f, &mut bytes));
        assert_eq!(decode(&bytes), Some(fields));
        for cut in 1..bytes.len() {
            let left = decode(&bytes[..cut]);
            assert!(left.is_none_or(|l| l.len() < 6), "cut at {cut}");
        }
    }
}
