//! Whether the key that seals the accounts is where the config says, as far as that can be seen from here.

use crate::config::{Config, KeyPath, KeySource, Problem};

/// The problem of a key file that does not exist. One that cannot be read by this user, or a key of the environment, may be there for the
/// gateway.
pub fn missing_key(config: &Config) -> Option<Problem> {
    let encryption = config.accounts.values().find_map(|account| account.link.encryption.as_deref())?;
    let KeySource::File(path) = &encryption.key else { return None };
    let gone = std::fs::metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
    gone.then(|| Problem {
        key_path: KeyPath::of(&["credentials", "encryption", "key", "id"]),
        file: None,
        line: 0,
        column: 0,
        message: format!("there is no key file {}", path.display()),
        hint: Some("make one: (umask 077; verso credentials key > FILE), or correct the path".to_owned()),
        incomplete: false,
    })
}
