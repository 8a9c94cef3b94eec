//! [`Secrets`]: which texts of a configuration are secrets.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use percent_encoding::percent_decode_str;

/// Headers of model requests that hold no secret, in lower case.
const PLAIN_HEADERS: &[&str] = &[
    "accept",
    "accept-language",
    "anthropic-beta",
    "anthropic-version",
    "content-type",
    "http-referer",
    "openai-beta",
    "referer",
    "user-agent",
    "x-title",
];

/// True for keys of the configuration whose texts are secrets.
pub fn is_secret_key(key: &str) -> bool {
    const ENDS: &[&str] = &[
        "token",
        "apikey",
        "api_key",
        "api-key",
        "password",
        "passwd",
        "passphrase",
        "secret",
        "privatekey",
        "credential",
    ];
    let key = key.to_ascii_lowercase();
    ENDS.iter().any(|end| key.ends_with(end))
}

/// True for headers that carry a secret by their name.
pub fn is_secret_header(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    is_secret_key(&name) || ["authorization", "auth", "key", "cookie"].iter().any(|end| name.ends_with(end))
}

/// True for environment variables whose values are secrets wherever the configuration puts them.
pub fn is_secret_variable(name: &str) -> bool {
    const WORDS: &[&str] = &[
        "KEY",
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "PASS",
        "PWD",
        "CREDENTIAL",
        "CREDENTIALS",
        "AUTH",
    ];
    name.to_ascii_uppercase().rsplit('_').next().is_some_and(|last| WORDS.iter().any(|word| last.ends_with(word)))
        || is_secret_key(name)
}

/// User name and password of an address, as they are written: `user:password` of `https://user:password@host/`.
pub fn userinfo(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let rest = rest.split(char::is_whitespace).next().unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((found, _)) = authority.rsplit_once('@') {
        return Some(found);
    }
    // A password with a slash that nobody encoded: what follows the colon is no port.
    let (_, port) = authority.rsplit_once(':')?;
    let is_port = port.bytes().all(|b| b.is_ascii_digit());
    if is_port { None } else { rest.rsplit_once('@').map(|(found, _)| found) }
}

/// Secret texts. Prints none of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeSet<String>);

impl Secrets {
    /// The texts.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a text.
    pub fn add(&mut self, text: &str) {
        let text = text.trim();
        if !text.is_empty() {
            self.0.insert(text.to_owned());
        }
    }

    /// Adds what is secret in the value of a request header.
    pub fn add_header(&mut self, name: &str, value: &str) {
        let is_plain = PLAIN_HEADERS.contains(&name.trim().to_ascii_lowercase().as_str());
        // Words are what people put into headers of their own, and what conversations are made of.
        let is_words = value.chars().all(|c| c.is_alphabetic() || c.is_whitespace());
        if is_plain || (is_words && !is_secret_header(name)) {
            return self.add_addresses(value);
        }
        self.add(value);
        let Some((scheme, rest)) = value.trim().split_once(' ') else { return };
        self.add(rest);
        if scheme.eq_ignore_ascii_case("basic") {
            let decoded = STANDARD.decode(rest.trim()).or_else(|_| STANDARD_NO_PAD.decode(rest.trim()));
            if let Some(pair) = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
                self.add_pair(&pair);
            }
        }
    }

    /// Adds what is secret in addresses within a text: user name and password, and parameters that are keys.
    pub fn add_addresses(&mut self, text: &str) {
        for (at, _) in text.match_indices("://") {
            let address = &text[at..];
            if let Some(found) = userinfo(address) {
                self.add_pair(found);
            }
            let query = address.split_once('?').map_or("", |(_, query)| query);
            let query = query.split([' ', '#', '"']).next().unwrap_or_default();
            for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
                let name = name.to_ascii_lowercase();
                if is_secret_key(&name) || ["key", "sig", "signature", "auth"].iter().any(|end| name.ends_with(end)) {
                    self.add_decoded(value);
                }
            }
        }
    }

    /// Adds the values of arguments that are keys: `--token=…`, `--token …`.
    pub fn add_arguments<'a>(&mut self, arguments: impl IntoIterator<Item = &'a str>) {
        let mut secret_next = false;
        for argument in arguments {
            if std::mem::take(&mut secret_next) {
                self.add(argument);
            }
            let Some(flag) = argument.strip_prefix('-') else { continue };
            match flag.split_once('=') {
                Some((name, value)) if is_secret_key(name) => self.add(value),
                None => secret_next = is_secret_key(flag),
                _ => {}
            }
        }
    }

    /// `user:password`; without a colon the whole is a token.
    fn add_pair(&mut self, pair: &str) {
        let (user, password) = pair.split_once(':').unwrap_or(("", pair));
        self.add_decoded(password);
        if !user.is_empty() && !password.is_empty() {
            self.add_decoded(pair);
        }
    }

    fn add_decoded(&mut self, text: &str) {
        self.add(text);
        self.add(&percent_decode_str(text).decode_utf8_lossy());
    }
}

impl Extend<String> for Secrets {
    fn extend<T: IntoIterator<Item = String>>(&mut self, texts: T) {
        texts.into_iter().for_each(|text| self.add(&text));
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(fill: impl FnOnce(&mut Secrets)) -> Vec<String> {
        let mut secrets = Secrets::default();
        fill(&mut secrets);
        secrets.iter().map(str::to_owned).collect()
    }

    #[test]
    fn keys_and_variables_are_told_by_their_names() {
        for key in ["token", "apiKey", "x_api_key", "botToken", "clientSecret", "Password", "privateKey"] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in ["maxTokens", "key", "baseUrl", "contextTokens", "mainKey", "model"] {
            assert!(!is_secret_key(key), "{key}");
        }
        for name in ["OPENAI_API_KEY", "STUBKEY", "VERSO_GATEWAY_TOKEN", "DB_PASS", "BASIC_AUTH"] {
            assert!(is_secret_variable(name), "{name}");
        }
        for name in ["HOME", "OWNER", "PORT", "KEYBOARD", "OPENAI_BASE_URL"] {
            assert!(!is_secret_variable(name), "{name}");
        }
    }

    #[test]
    fn users_of_addresses_are_found() {
        let check = |address: &str, wanted: Option<&str>| assert_eq!(userinfo(address), wanted, "{address}");
        check("https://u:p@host/v1", Some("u:p"));
        check("https://token@host", Some("token"));
        check("http://u:p@ss@host:1/x", Some("u:p@ss"));
        check("http://u:pa/ss@host/x", Some("u:pa/ss"));
        check("http://host:8080/a@b", None);
        check("http://[::1]:8080/v1", None);
        check("http://host/?mail=a@b", None);
        check("u:p@host", None);
    }

    #[test]
    fn the_secret_parts_of_addresses_headers_and_arguments_are_found() {
        let urls = found(|s| s.add_addresses("see https://ann:p%40ss@h/v1?api_key=k1&x=2 and http://tok@h2/?sig=s3 ."));
        assert_eq!(urls, ["ann:p%40ss", "ann:p@ss", "k1", "p%40ss", "p@ss", "s3", "tok"]);
        assert_eq!(found(|s| s.add_header("Authorization", "Bearer abc")), ["Bearer abc", "abc"]);
        let basic = found(|s| s.add_header("Authorization", "Basic YW5uOnB3"));
        assert_eq!(basic, ["Basic YW5uOnB3", "YW5uOnB3", "ann:pw", "pw"]);
        assert!(found(|s| s.add_header("Content-Type", "application/json")).is_empty());
        assert!(found(|s| s.add_header("X-Team", "customers")).is_empty());
        assert_eq!(found(|s| s.add_header("X-Api-Key", "customers")), ["customers"]);
        assert_eq!(found(|s| s.add_header("X-Tenant", "tenant-4711")), ["tenant-4711"]);
        let arguments = found(|s| s.add_arguments(["run", "--token", "t1", "--api-key=k2", "--model=m", "--token"]));
        assert_eq!(arguments, ["k2", "t1"]);
        assert_eq!(
            format!("{:?}", {
                let mut s = Secrets::default();
                s.add("x");
                s
            }),
            "Secrets(1)"
        );
    }
}
