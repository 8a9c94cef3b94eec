//! `credentials`: how the credentials of WhatsApp links are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the credentials of WhatsApp links are kept.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CredentialsRaw {
    /// Seals the files of every account. Without it they are plain, readable by Verso's user only.
    pub encryption: Option<EncryptionRaw>,
}

/// Seals the files of every account with a key of its own, which is wrapped by this one.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EncryptionRaw {
    /// Where the key is: 32 bytes as base64 or hex. `verso credentials key` makes one.
    pub key: Option<KeySourceRaw>,
    /// Keys of before. An account that one of them still opens changes over to `key` when it is next opened.
    pub previous: Option<Vec<KeySourceRaw>>,
}

/// Where a key is.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct KeySourceRaw {
    /// file, env (an environment variable) or credential (of the service manager, systemd's LoadCredential=).
    pub source: Option<KeySourceKindRaw>,
    /// The path, the variable's name or the credential's name.
    pub id: Option<String>,
}

/// What a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeySourceKindRaw {
    /// A file.
    File,
    /// An environment variable.
    Env,
    /// A credential of the service manager.
    Credential,
}
