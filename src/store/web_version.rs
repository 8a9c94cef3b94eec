//! `web-version.json`: the version of WhatsApp Web that was looked up last, for a start without WhatsApp's page.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::config::model::WebVersion;
use crate::store::{StoreError, atomic};

/// Contents of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    version: WebVersion,
    looked_up_at: UnixMs,
}

/// The version that was looked up last and when, in milliseconds since 1970. A file that is missing or unreadable is none: the next
/// look-up replaces it.
pub fn read(path: &Path) -> Option<(WebVersion, UnixMs)> {
    let text = std::fs::read(path).ok()?;
    match serde_json::from_slice::<Kept>(&text) {
        Ok(kept) => Some((kept.version, kept.looked_up_at)),
        Err(error) => {
            tracing::debug!(target: "web-session", %error, "the kept version of WhatsApp Web is unreadable and not used");
            None
        }
    }
}

/// Replaces the file.
///
/// # Errors
/// When it cannot be written; the old one stays then.
pub fn write(path: &Path, version: WebVersion, looked_up_at: UnixMs) -> Result<(), StoreError> {
    let kept = serde_json::to_vec(&Kept { version, looked_up_at }).expect("plain data");
    atomic::replace(path, &kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_none() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("web-version.json");
        assert_eq!(read(&path), None);
        let version = WebVersion::of(1_044_017_588).expect("possible");
        write(&path, version, 5).expect("written");
        assert_eq!(read(&path), Some((version, 5)));
        for damaged in ["", "{", "[]", r#"{"version": "2.2.2", "lookedUpAt": 1}"#, r#"{"version": "2.3000.7"}"#] {
            std::fs::write(&path, damaged).expect("written");
            assert_eq!(read(&path), None, "{damaged}");
        }
    }
}
