//! `credentials.encryption`: where the keys are. Nothing is read here.

use super::ResolveEnv;
use crate::config::model::{EncryptionConfig, KeySource};
use crate::config::problem::{Findings, KeyPath};
use crate::config::raw::{KeySourceKindRaw, KeySourceRaw, RawConfig};

/// How the accounts' files are sealed; `None` leaves them plain.
pub(super) fn encryption(raw: &RawConfig, env: &ResolveEnv, findings: &mut Findings) -> Option<EncryptionConfig> {
    let raw = raw.credentials.as_ref()?.encryption.as_ref()?;
    let at = KeyPath::of(&["credentials", "encryption"]);
    let Some(key) = &raw.key else {
        findings.problem(
            at.key("key"),
            "encryption needs a key",
            "write for example { source: \"file\", id: \"/run/secrets/verso.key\" }, or remove credentials.encryption",
        );
        return None;
    };
    let key = source(key, &at.key("key"), env, findings);
    let previous = raw.previous.iter().flatten().enumerate();
    let previous: Vec<_> =
        previous.map(|(n, raw)| source(raw, &at.key("previous").index(n), env, findings)).collect::<Option<_>>()?;
    Some(EncryptionConfig { key: key?, previous })
}

fn source(raw: &KeySourceRaw, at: &KeyPath, env: &ResolveEnv, findings: &mut Findings) -> Option<KeySource> {
    let id = raw.id.as_deref().map(str::trim).unwrap_or_default();
    let Some(kind) = raw.source else {
        findings.problem(
            at.key("source"),
            "it does not say where the key is",
            "write \"file\", \"env\" or \"credential\"",
        );
        return None;
    };
    let (good, hint) = match kind {
        KeySourceKindRaw::File => (!id.is_empty(), "write the path of the key file"),
        KeySourceKindRaw::Env => {
            (!id.is_empty() && !id.contains(['=', '\0', '$']), "write the variable's name, without $ and =")
        }
        KeySourceKindRaw::Credential => {
            (!id.is_empty() && id != "." && id != ".." && !id.contains('/'), "write the name given to LoadCredential=")
        }
    };
    if !good {
        findings.problem(at.key("id"), format!("\"{id}\" names no key"), hint);
        return None;
    }
    Some(match kind {
        KeySourceKindRaw::File => KeySource::File(env.expand(id)),
        KeySourceKindRaw::Env => KeySource::Env(id.to_owned()),
        KeySourceKindRaw::Credential => KeySource::Credential(id.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use crate::config::model::KeySource;
    use crate::config::{ResolveEnv, load_text};

    #[test]
    fn a_key_is_named_and_not_read() {
        let text = "{ credentials: { encryption: { key: { source: 'file', id: '~/nowhere.key' },
            previous: [{ source: 'env', id: 'OLD_KEY' }, { source: 'credential', id: 'verso-key' }] } },
            channels: { whatsapp: { accounts: { a: {}, b: { authDir: '/elsewhere' } } } } }";
        let config = load_text(text, &ResolveEnv::new("/h", "/s")).expect("valid").config;
        for account in config.accounts.values() {
            let encryption = account.link.encryption.as_ref().expect("on for every account");
            assert_eq!(encryption.key, KeySource::File("/h/nowhere.key".into()));
            assert_eq!(
                encryption.previous,
                [KeySource::Env("OLD_KEY".into()), KeySource::Credential("verso-key".into())]
            );
        }
        let plain = load_text("{}", &ResolveEnv::new("/h", "/s")).expect("valid").config;
        assert!(plain.accounts.values().all(|a| a.link.encryption.is_none()));
    }

    #[test]
    fn a_key_that_is_nowhere_is_named_with_its_place() {
        for (encryption, path) in [
            ("{}", "credentials.encryption.key"),
            ("{ key: { id: 'x' } }", "credentials.encryption.key.source"),
            ("{ key: { source: 'file' } }", "credentials.encryption.key.id"),
            ("{ key: { source: 'env', id: '$KEY' } }", "credentials.encryption.key.id"),
            ("{ key: { source: 'credential', id: '../key' } }", "credentials.encryption.key.id"),
            (
                "{ key: { source: 'env', id: 'K' }, previous: [{ source: 'file', id: ' ' }] }",
                "credentials.encryption.previous.0.id",
            ),
        ] {
            let text = format!("{{ credentials: {{ encryption: {encryption} }} }}");
            let rejected = load_text(&text, &ResolveEnv::new("/h", "/s")).expect_err(encryption);
            let problem = rejected.first().expect("a problem");
            assert_eq!(problem.key_path.to_string(), path, "{encryption}");
            let told = &problem.message;
            assert!(["names no key", "does not say", "needs a key"].iter().any(|t| told.contains(t)), "{told}");
        }
    }
}
