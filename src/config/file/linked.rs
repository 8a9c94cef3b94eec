//! Whether the account `default` is linked: a fact of the disk that the rules take as an input.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{Config, ResolveEnv};
use crate::event::Identity;
use crate::ids::AccountId;

/// The folder of the account `default` when it holds a link: the usual one, or that of an old version, directly under the credentials
/// (behaviour.md 4.4).
pub(super) fn default_link(credentials: &Path) -> Option<PathBuf> {
    let usual = credentials.join("whatsapp").join(AccountId::DEFAULT);
    [usual, credentials.to_path_buf()].into_iter().find(|dir| holds_link(dir))
}

/// True when a listed account uses the folder of `default` under another spelling, such as a symbolic link.
pub(super) fn is_taken(config: &Config, env: &ResolveEnv) -> bool {
    let Some(dir) = env.default_link.as_deref().filter(|_| config.unlisted_default) else { return false };
    let real = |dir: &Path| dir.canonicalize().ok();
    let others = config.accounts.values().filter(|account| account.id.as_str() != AccountId::DEFAULT);
    others.into_iter().any(|account| real(&env.account_dir(account)).is_some_and(|other| Some(other) == real(dir)))
}

/// A link that can be read, or whose damage its account has to tell of. One that a new link is just replacing counts: at every step of
/// that change one of these files is there.
fn holds_link(dir: &Path) -> bool {
    let texts = ["creds.json", "creds.json.bak", "relink/creds.json"].map(|name| fs::read(dir.join(name)).ok());
    let parsed = |text: &Vec<u8>| serde_json::from_slice::<serde_json::Value>(text);
    let damaged = texts[0].as_ref().is_some_and(|text| text.len() > 1 && parsed(text).is_err());
    damaged || texts.iter().flatten().any(|text| parsed(text).is_ok_and(|json| Identity::recorded(&json).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::{ConfigSource, Environment, load_edited};

    const CREDS: &str = r#"{"format":"verso/1","me":{"id":"15551234567:12@s.whatsapp.net"}}"#;
    const SHOP: &str = "{ channels: { whatsapp: { accounts: { shop: {} } } } }";

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            let home = Self(tempfile::tempdir().expect("temp dir"));
            fs::create_dir_all(home.dir("credentials/whatsapp/default")).expect("made");
            home
        }

        fn dir(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn put(&self, name: &str, text: &str) {
            let path = self.dir("credentials").join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }

        fn accounts(&self, text: &str) -> (Vec<String>, String, usize) {
            let environment =
                Environment { state_dir: Some(self.dir("")), home: Some("/h".into()), ..Environment::default() };
            let loaded = load_edited(&ConfigSource::find(&environment), text).expect("valid");
            let ids = loaded.config.accounts.keys().map(ToString::to_string).collect();
            (ids, loaded.config.default_account.to_string(), loaded.warnings.len())
        }
    }

    fn check(home: &Home, text: &str, ids: &[&str], default: &str, warnings: usize) {
        let (found, meant, told) = home.accounts(text);
        assert_eq!((found.join(" "), meant.as_str(), told), (ids.join(" "), default, warnings), "{text}");
    }

    #[test]
    fn a_linked_default_goes_on_beside_listed_accounts() {
        let home = Home::new();
        check(&home, SHOP, &["shop"], "shop", 0);
        check(&home, "{}", &["default"], "default", 0);
        for name in ["creds.json", "creds.json.bak", "relink/creds.json"] {
            let home = Home::new();
            home.put(&format!("whatsapp/default/{name}"), CREDS);
            check(&home, SHOP, &["default", "shop"], "default", 1);
            check(&home, "{}", &["default"], "default", 0);
            let off = "{ channels: { whatsapp: { accounts: { shop: {}, default: { enabled: false } } } } }";
            check(&home, off, &["default", "shop"], "default", 0);
            let named = "{ channels: { whatsapp: { defaultAccount: 'shop', accounts: { shop: {} } } } }";
            check(&home, named, &["default", "shop"], "shop", 1);
        }
        home.put("creds.json", CREDS);
        check(&home, SHOP, &["default", "shop"], "default", 1);
    }

    #[test]
    fn a_damaged_link_stays_an_account_and_a_strange_file_is_none() {
        let home = Home::new();
        home.put("whatsapp/default/creds.json", "{\"format\":\"ver");
        check(&home, SHOP, &["default", "shop"], "default", 1);
        for strange in ["", "{}", r#"{"token":"x"}"#] {
            home.put("whatsapp/default/creds.json", strange);
            check(&home, SHOP, &["shop"], "shop", 0);
        }
    }

    #[test]
    fn a_folder_that_a_listed_account_uses_is_that_accounts() {
        let home = Home::new();
        home.put("whatsapp/default/creds.json", CREDS);
        std::os::unix::fs::symlink(home.dir("credentials/whatsapp/default"), home.dir("elsewhere")).expect("linked");
        let uses =
            |dir: &str| format!("{{ channels: {{ whatsapp: {{ accounts: {{ shop: {{ authDir: '{dir}' }} }} }} }} }}");
        for dir in [
            "credentials/whatsapp/default",
            "credentials/whatsapp/default/",
            "./credentials/whatsapp/default",
            "elsewhere",
        ] {
            check(&home, &uses(dir), &["shop"], "shop", 0);
        }
        check(&home, &uses("credentials/whatsapp/other"), &["default", "shop"], "default", 1);
        let home = Home::new();
        home.put("creds.json", CREDS);
        check(&home, &uses("credentials"), &["shop"], "shop", 0);
    }

    #[test]
    fn an_unlinked_default_never_makes_the_file_invalid() {
        let home = Home::new();
        check(
            &home,
            "{ channels: { whatsapp: { defaultAccount: 'default', accounts: { shop: {} } } } }",
            &["shop"],
            "shop",
            1,
        );
    }
}
