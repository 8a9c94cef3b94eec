//! A full Signal party: the simulated phone's cryptography, all in memory.

use std::collections::{HashMap, VecDeque};

use anyhow::{Context, anyhow, bail};
use async_trait::async_trait;
use futures::FutureExt as _;
use rand::RngExt as _;
use rand::rngs::StdRng;
use wacore_libsignal::protocol::error::Result as SignalResult;
use wacore_libsignal::protocol::{
    CiphertextMessage, Direction, GenericSignedPreKey as _, IdentityChange, IdentityKey, IdentityKeyPair,
    IdentityKeyStore, KeyPair, PreKeyBundle, PreKeyId, PreKeyRecord, PreKeySignalMessage, PreKeyStore, ProtocolAddress,
    PublicKey, SenderKeyDistributionMessage, SenderKeyName, SenderKeyRecord, SenderKeyStore, SessionRecord,
    SessionStore, SignalMessage, SignalProtocolError, SignedPreKeyId, SignedPreKeyRecord, SignedPreKeyStore, Timestamp,
    UsePQRatchet, create_sender_key_distribution_message, group_decrypt, group_encrypt, message_decrypt,
    message_encrypt, process_prekey_bundle, process_sender_key_distribution_message,
};

use crate::cert::public;
use crate::keys::{Bundle, DeviceKeys, SignedKey};

/// One-time keys made at a time.
const ONE_TIME_KEYS: u32 = 20;

/// Somebody who can encrypt and decrypt.
pub(crate) struct Party {
    identities: Identities,
    sessions: Sessions,
    one_time: OneTimeKeys,
    signed: SignedKeys,
    groups: GroupKeys,
    next_key: u32,
}

/// Name under which the party knows a device: the account's phone number and the device number.
pub(crate) fn address(user: &str, device: u16) -> ProtocolAddress {
    ProtocolAddress::new(user, u32::from(device).into())
}

/// Runs a future over in-memory stores, which are always ready.
fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("in-memory stores never wait")
}

fn rng() -> StdRng {
    rand::make_rng::<StdRng>()
}

impl Party {
    /// A new identity together with the keys to publish.
    pub fn new() -> anyhow::Result<(Self, DeviceKeys)> {
        let mut rng = rng();
        let pair = IdentityKeyPair::generate(&mut rng);
        let signed = KeyPair::generate(&mut rng);
        let signature = pair.private_key().calculate_signature(&signed.public_key.serialize(), &mut rng)?.to_vec();
        let registration = rng.random_range(1..16_000u32);
        let record = SignedPreKeyRecord::new(1.into(), Timestamp::from_epoch_millis(0), &signed, &signature);
        let identity: [u8; 32] = pair.public_key().public_key_bytes().try_into()?;
        let mut party = Self {
            identities: Identities { pair, registration, known: HashMap::new() },
            sessions: Sessions::default(),
            one_time: OneTimeKeys::default(),
            signed: SignedKeys(HashMap::from([(1, record)])),
            groups: GroupKeys::default(),
            next_key: 1,
        };
        let keys = DeviceKeys {
            registration,
            identity,
            signed: SignedKey { id: 1, public: public(&signed), signature },
            one_time: party.more_keys(),
            adv: None,
        };
        Ok((party, keys))
    }

    /// Makes further one-time keys and returns what to publish.
    pub fn more_keys(&mut self) -> VecDeque<(u32, [u8; 32])> {
        let mut rng = rng();
        (0..ONE_TIME_KEYS)
            .map(|_| {
                let id = self.next_key;
                self.next_key += 1;
                let pair = KeyPair::generate(&mut rng);
                self.one_time.0.insert(id, PreKeyRecord::new(id.into(), &pair));
                (id, public(&pair))
            })
            .collect()
    }

    /// The registration number sent along with retry receipts.
    pub fn registration(&self) -> u32 {
        self.identities.registration
    }

    /// The identity key pair; it signs the account's companions.
    pub fn identity(&self) -> &IdentityKeyPair {
        &self.identities.pair
    }

    /// Whether a message can be encrypted without fetching keys.
    pub fn has_session(&self, to: &ProtocolAddress) -> bool {
        self.sessions.0.contains_key(to.as_str())
    }

    /// Forgets the session with a device.
    pub fn forget_session(&mut self, with: &ProtocolAddress) {
        self.sessions.0.remove(with.as_str());
    }

    /// Makes the stored session useless: the next message on it cannot be opened.
    pub fn corrupt_session(&mut self, with: &ProtocolAddress) -> anyhow::Result<()> {
        let record = self.sessions.0.get_mut(with.as_str()).ok_or_else(|| anyhow!("no session with {with}"))?;
        let state = record.session_state_mut().ok_or_else(|| anyhow!("no current session with {with}"))?;
        let chain = state.get_sender_chain_key().map_err(|e| anyhow!("{e:?}"))?;
        let broken = wacore_libsignal::protocol::ChainKey::new([7; 32], chain.index());
        state.set_sender_chain_key(&broken).map_err(|e| anyhow!("{e:?}"))
    }

    /// Starts a new session from a bundle.
    pub fn start_session(&mut self, to: &ProtocolAddress, bundle: &Bundle) -> anyhow::Result<()> {
        let one_time = match &bundle.one_time {
            Some((id, key)) => Some(((*id).into(), PublicKey::from_djb_public_key_bytes(key)?)),
            None => None,
        };
        let bundle = PreKeyBundle::new(
            bundle.registration,
            to.device_id(),
            one_time,
            bundle.signed.id.into(),
            PublicKey::from_djb_public_key_bytes(&bundle.signed.public)?,
            bundle.signed.signature.clone(),
            IdentityKey::new(PublicKey::from_djb_public_key_bytes(&bundle.identity)?),
        )?;
        self.forget_session(to);
        ready(process_prekey_bundle(
            to,
            &mut self.sessions,
            &mut self.identities,
            &bundle,
            &mut rng(),
            UsePQRatchet::No,
        ))
        .with_context(|| format!("starting a session with {to}"))?;
        Ok(())
    }

    /// Encrypts; the first half is the `type` attribute of `<enc>`.
    pub fn encrypt(&mut self, to: &ProtocolAddress, plaintext: &[u8]) -> anyhow::Result<(&'static str, Vec<u8>)> {
        let padded = pad(plaintext);
        let message = ready(message_encrypt(&padded, to, &mut self.sessions, &mut self.identities))
            .with_context(|| format!("encrypting to {to}"))?;
        match message {
            CiphertextMessage::PreKeySignalMessage(m) => Ok(("pkmsg", m.serialized().to_vec())),
            CiphertextMessage::SignalMessage(m) => Ok(("msg", m.serialized().to_vec())),
            _ => bail!("a session gave a message that is neither msg nor pkmsg"),
        }
    }

    /// Decrypts an `<enc type="msg|pkmsg">`.
    pub fn decrypt(&mut self, from: &ProtocolAddress, kind: &str, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        let message = match kind {
            "pkmsg" => CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(bytes)?),
            "msg" => CiphertextMessage::SignalMessage(SignalMessage::try_from(bytes)?),
            other => bail!("<enc> of unknown type {other:?}"),
        };
        let opened = ready(message_decrypt(
            &message,
            from,
            &mut self.sessions,
            &mut self.identities,
            &mut self.one_time,
            &self.signed,
            &mut rng(),
            UsePQRatchet::No,
        ))?;
        if let Some(used) = opened.consumed_prekey_id {
            self.one_time.0.remove(&used.into());
        }
        unpad(opened.plaintext)
    }

    /// The distribution message of the own sender key for a group.
    pub fn sender_key(&mut self, group: &str, own: &ProtocolAddress) -> anyhow::Result<Vec<u8>> {
        let name = SenderKeyName::from_parts(group, own.as_str());
        let message = ready(create_sender_key_distribution_message(&name, &mut self.groups, &mut rng()))?;
        Ok(message.serialized().to_vec())
    }

    /// Stores somebody's sender key.
    pub fn learn_sender_key(&mut self, group: &str, from: &ProtocolAddress, bytes: &[u8]) -> anyhow::Result<()> {
        let name = SenderKeyName::from_parts(group, from.as_str());
        let message = SenderKeyDistributionMessage::try_from(bytes)?;
        ready(process_sender_key_distribution_message(&name, &message, &mut self.groups))?;
        Ok(())
    }

    /// Encrypts for a group, `<enc type="skmsg">`.
    pub fn group_encrypt(&mut self, group: &str, own: &ProtocolAddress, plaintext: &[u8]) -> anyhow::Result<Vec<u8>> {
        let name = SenderKeyName::from_parts(group, own.as_str());
        let message = ready(group_encrypt(&mut self.groups, &name, &pad(plaintext), &mut rng()))?;
        Ok(message.serialized().to_vec())
    }

    /// Decrypts `<enc type="skmsg">`.
    pub fn group_decrypt(&mut self, group: &str, from: &ProtocolAddress, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        let name = SenderKeyName::from_parts(group, from.as_str());
        unpad(ready(group_decrypt(bytes, &mut self.groups, &name))?)
    }

    /// Forgets the own sender key of a group, so that the next message makes a new one.
    pub fn forget_sender_key(&mut self, group: &str, own: &ProtocolAddress) {
        self.groups.0.remove(SenderKeyName::from_parts(group, own.as_str()).cache_key());
    }
}

/// Appends n bytes of value n, n from 1 to 16.
fn pad(plaintext: &[u8]) -> Vec<u8> {
    let n = rng().random_range(1..=16u8);
    let mut out = plaintext.to_vec();
    out.extend(std::iter::repeat_n(n, usize::from(n)));
    out
}

fn unpad(mut plaintext: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let n = usize::from(*plaintext.last().ok_or_else(|| anyhow!("empty plaintext"))?);
    if n == 0 || n > plaintext.len() {
        bail!("padding of {n} bytes on {} bytes of plaintext", plaintext.len());
    }
    plaintext.truncate(plaintext.len() - n);
    Ok(plaintext)
}

struct Identities {
    pair: IdentityKeyPair,
    registration: u32,
    known: HashMap<String, IdentityKey>,
}

#[async_trait]
impl IdentityKeyStore for Identities {
    async fn get_identity_key_pair(&self) -> SignalResult<IdentityKeyPair> {
        Ok(self.pair.clone())
    }

    async fn get_local_registration_id(&self) -> SignalResult<u32> {
        Ok(self.registration)
    }

    async fn save_identity(
        &mut self,
        address: &ProtocolAddress,
        identity: &IdentityKey,
    ) -> SignalResult<IdentityChange> {
        match self.known.insert(address.as_str().to_owned(), *identity) {
            Some(old) if old != *identity => Ok(IdentityChange::ReplacedExisting),
            _ => Ok(IdentityChange::NewOrUnchanged),
        }
    }

    // A phone trusts a changed identity and only tells its owner.
    async fn is_trusted_identity(&self, _: &ProtocolAddress, _: &IdentityKey, _: Direction) -> SignalResult<bool> {
        Ok(true)
    }

    async fn get_identity(&self, address: &ProtocolAddress) -> SignalResult<Option<IdentityKey>> {
        Ok(self.known.get(address.as_str()).copied())
    }
}

#[derive(Default)]
struct Sessions(HashMap<String, SessionRecord>);

#[async_trait]
impl SessionStore for Sessions {
    async fn load_session(&self, address: &ProtocolAddress) -> SignalResult<Option<SessionRecord>> {
        Ok(self.0.get(address.as_str()).cloned())
    }

    async fn has_session(&self, address: &ProtocolAddress) -> SignalResult<bool> {
        Ok(self.0.contains_key(address.as_str()))
    }

    async fn store_session(&mut self, address: &ProtocolAddress, record: SessionRecord) -> SignalResult<()> {
        self.0.insert(address.as_str().to_owned(), record);
        Ok(())
    }
}

#[derive(Default)]
struct OneTimeKeys(HashMap<u32, PreKeyRecord>);

#[async_trait]
impl PreKeyStore for OneTimeKeys {
    async fn get_pre_key(&self, id: PreKeyId) -> SignalResult<PreKeyRecord> {
        self.0.get(&id.into()).cloned().ok_or(SignalProtocolError::InvalidPreKeyId)
    }

    async fn save_pre_key(&mut self, id: PreKeyId, record: &PreKeyRecord) -> SignalResult<()> {
        self.0.insert(id.into(), record.clone());
        Ok(())
    }

    async fn remove_pre_key(&mut self, id: PreKeyId) -> SignalResult<()> {
        self.0.remove(&id.into());
        Ok(())
    }
}

struct SignedKeys(HashMap<u32, SignedPreKeyRecord>);

#[async_trait]
impl SignedPreKeyStore for SignedKeys {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> SignalResult<SignedPreKeyRecord> {
        self.0.get(&id.into()).cloned().ok_or(SignalProtocolError::InvalidSignedPreKeyId)
    }

    async fn save_signed_pre_key(&mut self, id: SignedPreKeyId, record: &SignedPreKeyRecord) -> SignalResult<()> {
        self.0.insert(id.into(), record.clone());
        Ok(())
    }
}

#[derive(Default)]
struct GroupKeys(HashMap<String, SenderKeyRecord>);

#[async_trait]
impl SenderKeyStore for GroupKeys {
    async fn store_sender_key(&mut self, name: &SenderKeyName, record: SenderKeyRecord) -> SignalResult<()> {
        self.0.insert(name.cache_key().to_owned(), record);
        Ok(())
    }

    async fn load_sender_key(&self, name: &SenderKeyName) -> SignalResult<Option<SenderKeyRecord>> {
        Ok(self.0.get(name.cache_key()).cloned())
    }
}
