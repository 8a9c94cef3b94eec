//! The keys: a master key from outside wraps a data key per account, and everything at rest is sealed with keys that follow from that one.
//!
//! Every place (a row, a file) has a key of its own, made from the data key and the name of the place, and a random nonce per write. So a
//! sealed value opens nowhere but in its place, and no key ever nears the number of uses that AES-GCM allows.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// Bytes of every key.
const KEY: usize = 32;
/// Bytes of a sealed name. Long enough that no two names meet.
const NAME: usize = 16;

/// What the owner keeps outside the account's folder.
pub struct MasterKey(Sealer);

impl MasterKey {
    /// 32 bytes as base64 or hex; blanks around them do not count.
    ///
    /// # Errors
    /// What the text is instead, without any of its bytes.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let blank = |b: &u8| b.is_ascii_whitespace();
        let start = text.iter().position(|b| !blank(b)).unwrap_or(text.len());
        let end = text.iter().rposition(|b| !blank(b)).map_or(start, |at| at + 1);
        let text = &text[start..end];
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        let bytes = if text.len() == 2 * KEY { hex(text) } else { BASE64.decode(text).ok().map(Zeroizing::new) };
        let Some(bytes) = bytes else {
            return Err(format!("it holds {} letters that are neither base64 nor hex of {KEY} bytes", text.len()));
        };
        let key = <[u8; KEY]>::try_from(bytes.as_slice()).map_err(|_| format!("it holds {} bytes", bytes.len()))?;
        Ok(Self(Sealer::new(Zeroizing::new(key))))
    }

    /// A fresh key, as [`MasterKey::parse`] reads it.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn fresh() -> Result<Zeroizing<String>, String> {
        Ok(Zeroizing::new(BASE64.encode(random::<KEY>()?.as_slice())))
    }

    /// Tells keys apart and says nothing about them.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }

    /// Wraps a data key.
    pub(super) fn wrap(&self, key: &DataKey) -> Result<Vec<u8>, String> {
        self.0.seal(&key.wrap_place(), key.0.key.as_slice())
    }

    /// The wrapped data key with this id.
    pub(super) fn unwrap(&self, id: &str, wrapped: &[u8]) -> Option<DataKey> {
        let bytes = self.0.open(&wrap_place(id), wrapped)?;
        let key = DataKey(Sealer::new(Zeroizing::new(bytes.as_slice().try_into().ok()?)));
        (key.id() == id).then_some(key)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.fingerprint())
    }
}

/// What one account's files are sealed with.
pub(in crate::whatsapp) struct DataKey(Sealer);

impl DataKey {
    /// A fresh key.
    pub(super) fn fresh() -> Result<Self, String> {
        Ok(Self(Sealer::new(random()?)))
    }

    /// Tells data keys apart.
    pub(in crate::whatsapp) fn id(&self) -> String {
        self.0.fingerprint()
    }

    /// Seals a value for its place.
    pub(in crate::whatsapp) fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, String> {
        self.0.seal(place, plain)
    }

    /// A value that was sealed for this place; `None` when it is damaged or was moved here.
    pub(in crate::whatsapp) fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.0.open(place, sealed)
    }

    /// A name that can be looked up but not read: the same parts always give the same name.
    pub(super) fn name(&self, space: &str, parts: &[&[u8]]) -> [u8; NAME] {
        let mut all = hmac::Context::with_key(&self.0.names);
        for part in std::iter::once(space.as_bytes()).chain(parts.iter().copied()) {
            all.update(&(part.len() as u64).to_le_bytes());
            all.update(part);
        }
        let tag = all.sign();
        let mut name = [0; NAME];
        name.copy_from_slice(&tag.as_ref()[..NAME]);
        name
    }

    fn wrap_place(&self) -> Vec<u8> {
        wrap_place(&self.id())
    }
}

fn wrap_place(id: &str) -> Vec<u8> {
    format!("verso data key {id}").into_bytes()
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.id())
    }
}

struct Sealer {
    key: Zeroizing<[u8; KEY]>,
    names: hmac::Key,
}

impl Sealer {
    fn new(key: Zeroizing<[u8; KEY]>) -> Self {
        let names = derived(&key, b"verso names");
        let names = hmac::Key::new(hmac::HMAC_SHA256, names.as_slice());
        Self { key, names }
    }

    fn fingerprint(&self) -> String {
        derived(&self.key, b"verso fingerprint").iter().take(8).map(|b| format!("{b:02x}")).collect()
    }

    fn key_of(&self, place: &[u8]) -> Option<LessSafeKey> {
        let key = derived(&self.key, &[b"verso value ".as_slice(), place].concat());
        UnboundKey::new(&AES_256_GCM, key.as_slice()).ok().map(LessSafeKey::new)
    }

    fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, String> {
        let failed = || "sealing failed".to_owned();
        let nonce = random::<NONCE_LEN>()?;
        let mut sealed = nonce.to_vec();
        sealed.extend_from_slice(plain);
        let (_, body) = sealed.split_at_mut(NONCE_LEN);
        let key = self.key_of(place).ok_or_else(failed)?;
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(*nonce), Aad::from(place), body)
            .map_err(|_| failed())?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = self.key_of(place)?.open_in_place(nonce, Aad::from(place), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }
}

/// A key for one purpose.
fn derived(key: &[u8; KEY], purpose: &[u8]) -> Zeroizing<[u8; KEY]> {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), purpose);
    let mut out = Zeroizing::new([0; KEY]);
    out.copy_from_slice(tag.as_ref());
    out
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, String> {
    let mut bytes = Zeroizing::new([0; N]);
    SystemRandom::new().fill(bytes.as_mut_slice()).map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(bytes)
}

fn hex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let bytes: Option<Vec<u8>> =
        text.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect();
    bytes.map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_base64_and_hex_and_nothing_else() {
        let text = MasterKey::fresh().expect("random");
        let key = MasterKey::parse(format!("{}\n", text.as_str()).as_bytes()).expect("a key");
        let hex: String = BASE64.decode(text.as_bytes()).expect("base64").iter().map(|b| format!("{b:02X}")).collect();
        assert_eq!(MasterKey::parse(hex.as_bytes()).expect("hex").fingerprint(), key.fingerprint());
        assert_eq!(key.fingerprint().len(), 16);
        let shown = format!("{key:?}");
        assert!(!shown.contains(&hex.to_lowercase()) && !shown.contains(text.as_str()), "{shown}");
        for (bad, said) in [
            ("", "it is empty"),
            ("\n", "it is empty"),
            ("c2hvcnQ=", "it holds 5 bytes"),
            ("a password that is no key", "it holds 25 letters that are neither base64 nor hex of 32 bytes"),
            (&hex[..62], "it holds 46 bytes"),
            (&hex.replace('A', "G").replace(['0', '1', '2'], "z"), "it holds 48 bytes"),
        ] {
            let error = MasterKey::parse(bad.as_bytes()).expect_err(bad);
            assert!(error == said || error.contains("neither"), "{error}");
            assert!(bad.len() < 5 || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn a_sealed_value_opens_in_its_place_only() {
        let (key, other) = (DataKey::fresh().expect("random"), DataKey::fresh().expect("random"));
        let sealed = key.seal(b"here", b"secret").expect("sealed");
        assert_eq!(key.open(b"here", &sealed).expect("opens").as_slice(), b"secret");
        assert!(key.open(b"there", &sealed).is_none() && other.open(b"here", &sealed).is_none());
        assert_ne!(key.seal(b"here", b"secret").expect("sealed"), sealed, "a nonce is used once");
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(key.open(b"here", &flipped).is_none(), "flipped at {at}");
            assert!(key.open(b"here", &sealed[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn names_are_stable_and_do_not_run_into_each_other() {
        let key = DataKey::fresh().expect("random");
        assert_eq!(key.name("t", &[b"ab", b"c"]), key.name("t", &[b"ab", b"c"]));
        assert_ne!(key.name("t", &[b"ab", b"c"]), key.name("t", &[b"a", b"bc"]));
        assert_ne!(key.name("t", &[b"ab"]), key.name("u", &[b"ab"]));
    }
}
