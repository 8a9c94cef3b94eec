//! What an archive says about itself: its first member tells what is inside, its last one size and SHA-256 of every member.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::BackupError;
use crate::clock::UnixMs;
use crate::ids::AccountId;

/// First member.
pub const MANIFEST: &str = "manifest.json";
/// Last member.
pub const MEMBERS: &str = "members.json";
/// The configuration file, whatever its name was.
pub const CONFIG: &str = "config/verso.json";
/// The journal.
pub const STATE_DB: &str = "state.db";
/// The API's secret.
pub const TOKEN: &str = "gateway.token";

/// The form of the archive.
pub(super) const FORMAT: &str = "verso-backup/1";
/// Largest manifest that is read.
pub(super) const MANIFEST_LIMIT: u64 = 4 << 20;
/// Largest list of members that is read.
pub(super) const MEMBERS_LIMIT: u64 = 512 << 20;
/// Most members that are read.
pub(super) const COUNT_LIMIT: usize = 1_000_000;
/// Longest path of a member.
pub(super) const PATH_LIMIT: usize = 1024;

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Form of the archive.
    pub format: String,
    /// Version of Verso that made it.
    pub verso: String,
    /// When.
    pub created_at: UnixMs,
    /// Home folder of the gateway: paths in the configuration may lie below it. Members are named without it.
    pub home: String,
    /// State folder of the gateway.
    pub state_dir: String,
    /// The linked devices.
    pub links: Vec<LinkEntry>,
    /// The journal, if there was one.
    pub journal: Option<JournalEntry>,
    /// Received media are inside.
    pub media: bool,
    /// All members together are not larger.
    pub max_bytes: u64,
}

/// A linked device in an archive: the files below `links/<account>/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkEntry {
    /// The account.
    pub account: AccountId,
    /// The device's address; absent when its files do not tell.
    pub jid: Option<String>,
    /// How often the link had been opened: a higher number elsewhere is a newer state of the same link.
    pub epoch: u32,
    /// The folder that the configuration names for it, when it is not the usual one.
    pub auth_dir: Option<String>,
    /// Fingerprint of the key that its secrets are sealed with; whoever restores it needs that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_key: Option<String>,
}

/// The journal in an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalEntry {
    /// Number of the newest message that came in.
    pub inbound: i64,
    /// Number of the newest message that was to go out.
    pub outbox: i64,
    /// Messages that came in.
    pub messages: u64,
    /// Of those, messages without a decision or an answer.
    pub open: u64,
    /// Messages that were to go out and that WhatsApp did not have.
    pub waiting: u64,
}

/// One member of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its path, with `/`.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

/// The last member.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Members {
    pub members: Vec<Member>,
}

impl Manifest {
    /// Reads the first member.
    ///
    /// # Errors
    /// When it is of a newer form or nothing that Verso wrote.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BackupError> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            #[serde(default)]
            verso: String,
        }
        let head: Head = serde_json::from_slice(bytes)
            .map_err(|e| BackupError::Foreign(format!("its {MANIFEST} cannot be read ({e})")))?;
        if head.format != FORMAT {
            return Err(BackupError::Foreign(match head.format.starts_with("verso-backup/") {
                true => format!("it was made by a newer Verso ({}); use that version", head.verso),
                false => format!("its {MANIFEST} is of another program"),
            }));
        }
        serde_json::from_slice(bytes)
            .map_err(|e| BackupError::Damaged { member: MANIFEST.to_owned(), cause: e.to_string() })
    }
}

/// Refuses a path that no backup of Verso has; what passes stays below the folder that it is unpacked in.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_path(path: &str) -> Result<(), BackupError> {
    let refused = |reason: &str| {
        let member: String = path.chars().take(200).collect();
        Err(BackupError::Refused { member: format!("{member:?}"), reason: reason.to_owned() })
    };
    if path.len() > PATH_LIMIT || path.contains('\0') {
        return refused("its path is too long or no path");
    }
    if path.starts_with('/') {
        return refused("its path is absolute");
    }
    let parts: Vec<&str> = path.split('/').collect();
    if parts.iter().any(|part| part.is_empty() || *part == "." || *part == "..") {
        return refused("its path leaves the folder");
    }
    let known = match parts.as_slice() {
        [one] => [MANIFEST, MEMBERS, STATE_DB, TOKEN].contains(one),
        ["links", account, _] => AccountId::new(account).as_str() == *account,
        [top, ..] => ["config", "credentials", "agents", "media"].contains(top),
        [] => false,
    };
    if known { Ok(()) } else { refused("a backup has no such member") }
}

pub(super) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_a_backup_pass() {
        for good in
            [MANIFEST, STATE_DB, CONFIG, "config/a/b.json", "links/work/creds.json", "agents/main/workspace/a b.md"]
        {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "agents/../../x",
            "agents//x",
            "agents/./x",
            "agents/",
            "links/work",
            "links/work/a/b",
            "links/../x",
            "links/Work!/creds.json",
            "other/x",
            "gateway.lock",
            "agents/a\0b",
        ] {
            assert!(matches!(check_path(bad), Err(BackupError::Refused { .. })), "{bad:?}");
        }
        assert!(check_path(&format!("agents/{}", "x".repeat(2000))).is_err());
    }

    #[test]
    fn manifests_of_others_are_told_apart() {
        let newer = Manifest::parse(br#"{"format":"verso-backup/2","verso":"9.0.0"}"#).expect_err("newer").to_string();
        assert!(newer.contains("newer Verso (9.0.0)"), "{newer}");
        let other = Manifest::parse(br#"{"format":"x"}"#).expect_err("other").to_string();
        assert!(other.contains("another program"), "{other}");
    }
}
