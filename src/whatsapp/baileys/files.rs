//! The files of a Baileys folder: what each is by its name, and its JSON. Nothing is interpreted here.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::BaileysError;

/// No file of a link comes near this.
const MOST_BYTES: u64 = 32 * 1024 * 1024;
/// The device itself.
pub(super) const CREDENTIALS: &str = "creds.json";
/// The original's copy of it.
pub(super) const CREDENTIALS_BACKUP: &str = "creds.json.bak";

/// What a file holds, with the part of its name that says whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    PreKey(u32),
    /// `<user>[_<domain>].<device>`.
    Session(String),
    /// `<user>[_<domain>].<device>`.
    Identity(String),
    /// `<group>--<user>[_<domain>]--<device>`.
    SenderKey(String),
    /// The key's id in base64.
    SyncKey(String),
    /// The collection's name.
    SyncVersion(String),
    /// A phone number, or a LID followed by `_reverse`.
    LidMapping(String),
    /// A chat.
    Token(String),
    /// WhatsApp tells it again: device lists, who has our group keys.
    Told,
}

/// What the file is, by its name; `None` when Baileys did not write it.
pub(super) fn kind(name: &str) -> Option<Kind> {
    let id = name.strip_suffix(".json")?;
    let own = |prefix: &str| id.strip_prefix(prefix).map(str::to_owned);
    if id.starts_with("sender-key-memory-") || id.starts_with("device-list-") || id == "tctoken-__index" {
        return Some(Kind::Told);
    }
    if let Some(number) = id.strip_prefix("pre-key-") {
        return number.parse().ok().map(Kind::PreKey);
    }
    own("session-")
        .map(Kind::Session)
        .or_else(|| own("identity-key-").map(Kind::Identity))
        .or_else(|| own("sender-key-").map(Kind::SenderKey))
        // A slash of base64 is no letter of a file name.
        .or_else(|| own("app-state-sync-key-").map(|key| Kind::SyncKey(key.replace("__", "/"))))
        .or_else(|| own("app-state-sync-version-").map(Kind::SyncVersion))
        .or_else(|| own("lid-mapping-").map(Kind::LidMapping))
        .or_else(|| own("tctoken-").map(Kind::Token))
}

/// A folder as it was read.
#[derive(Debug)]
pub(super) struct Folder {
    /// `creds.json`.
    pub credentials: Value,
    /// The other files of Baileys.
    pub files: Vec<(String, Kind, Value)>,
    /// Names of files that cannot be read, and why.
    pub damaged: Vec<(String, String)>,
    /// What the owner should know.
    pub warnings: Vec<String>,
    /// Other users of this machine can read it.
    pub open_to_others: bool,
}

/// True when the JSON is `creds.json` of a device that Baileys linked.
pub(super) fn is_linked(credentials: &Value) -> bool {
    ["noiseKey", "signedIdentityKey"].iter().all(|key| credentials.get(key).is_some())
        && credentials.pointer("/me/id").is_some_and(Value::is_string)
}

/// Reads a whole folder.
pub(super) fn read(dir: &Path) -> Result<Folder, BaileysError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(BaileysError::NoFolder(dir.to_path_buf())),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Err(BaileysError::NoFolder(dir.to_path_buf())),
        Err(e) => return Err(BaileysError::io("read", dir)(e)),
    };
    let mut warnings = Vec::new();
    let credentials = read_credentials(dir, &mut warnings)?;
    let mut files = Vec::new();
    let mut damaged = Vec::new();
    let mut open_to_others = is_open(dir) && is_open(&dir.join(CREDENTIALS));
    for entry in entries {
        let entry = entry.map_err(BaileysError::io("read", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(kind) = kind(&name) else { continue };
        let path = entry.path();
        let what = entry.file_type().map_err(BaileysError::io("read", &path))?;
        if !what.is_file() {
            let what = if what.is_symlink() { "it is a symbolic link" } else { "it is no ordinary file" };
            damaged.push((name, what.to_owned()));
            continue;
        }
        open_to_others |= is_open(dir) && is_open(&path);
        match read_json(&path) {
            Ok(Some(value)) => files.push((name, kind, value)),
            Ok(None) => damaged.push((name, "it is not JSON".to_owned())),
            Err(e) => return Err(BaileysError::io("read", &path)(e)),
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Folder { credentials, files, damaged, warnings, open_to_others })
}

fn read_credentials(dir: &Path, warnings: &mut Vec<String>) -> Result<Value, BaileysError> {
    let path = dir.join(CREDENTIALS);
    let backup = || {
        let path = dir.join(CREDENTIALS_BACKUP);
        let ordinary = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file());
        ordinary.then(|| read_json(&path).ok().flatten()).flatten().filter(is_linked)
    };
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_symlink() => return Err(BaileysError::Symlink(path)),
        // A pipe would be waited for.
        Ok(meta) if !meta.is_file() => return Err(BaileysError::NoFile(path)),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return backup().ok_or_else(|| BaileysError::NoCredentials(dir.to_path_buf()));
        }
        Err(e) => return Err(BaileysError::io("read", &path)(e)),
    }
    match read_json(&path).map_err(BaileysError::io("read", &path))? {
        Some(value) => Ok(value),
        None => {
            let value = backup().ok_or(BaileysError::NotJson(path))?;
            warnings.push(format!("creds.json is damaged; {CREDENTIALS_BACKUP} was used"));
            Ok(value)
        }
    }
}

/// `None` when the file is no JSON.
pub(super) fn read_json(path: &Path) -> io::Result<Option<Value>> {
    let file = fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes).ok())
}

fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0)
}

/// Takes the folder and Baileys' files in it away from other users; false when the system does not let us.
pub(super) fn tighten(dir: &Path) -> bool {
    let close = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).is_ok();
    let mut done = close(dir, 0o700);
    for path in own_files(dir) {
        done &= close(&path, 0o600);
    }
    done
}

/// The files in a folder that belong to a Baileys link, `creds.json` among them.
pub(super) fn own_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|e| {
            let name = e.file_name();
            let name = name.to_string_lossy();
            matches!(&*name, CREDENTIALS | CREDENTIALS_BACKUP) || kind(&name).is_some()
        })
        .filter(|e| e.file_type().is_ok_and(|t| t.is_file()))
        .map(|e| e.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_holds() {
        let cases = [
            ("pre-key-17.json", Some(Kind::PreKey(17))),
            ("session-15551234567.3.json", Some(Kind::Session("15551234567.3".into()))),
            ("sender-key-1203@g.us--77_1--0.json", Some(Kind::SenderKey("1203@g.us--77_1--0".into()))),
            ("sender-key-memory-1203@g.us.json", Some(Kind::Told)),
            ("device-list-1555.json", Some(Kind::Told)),
            ("app-state-sync-key-AAA__B+=.json", Some(Kind::SyncKey("AAA/B+=".into()))),
            ("app-state-sync-version-regular_low.json", Some(Kind::SyncVersion("regular_low".into()))),
            ("lid-mapping-77_reverse.json", Some(Kind::LidMapping("77_reverse".into()))),
            ("tctoken-77@lid.json", Some(Kind::Token("77@lid".into()))),
            ("tctoken-__index.json", Some(Kind::Told)),
            ("identity-key-77_1.0.json", Some(Kind::Identity("77_1.0".into()))),
            ("creds.json", None),
            ("oauth.json", None),
            ("pre-key-x.json", None),
            ("session-1.0.json.tmp", None),
        ];
        for (name, expected) in cases {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
