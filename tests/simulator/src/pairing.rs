//! Linking a companion: registration, QR codes, the signed device identity.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::rngs::StdRng;
use sha2::Sha256;
use wacore::adv::{AdvValidation, validate_adv_with_identity_key};
use wacore_binary::Node;
use waproto::buffa::Message as _;
use waproto::whatsapp::client_payload::DevicePairingRegistrationData;
use waproto::whatsapp::{self as wa, ADVEncryptionType};

use crate::device::LinkedDevice;
use crate::faults::Fault;
use crate::keys::{DeviceKeys, SignedKey};
use crate::stanza::{NodeExt, SERVER, el, number};
use crate::state::{Addr, Device, State, Who, unix_now};
use crate::world::{Timeout, World};

/// What the account signs, before the data itself.
const ACCOUNT_SIGNS_DEVICE: [u8; 2] = [6, 0];
const ACCOUNT_SIGNS_LIST: [u8; 2] = [6, 2];
/// References sent per connection; a client shows one after the other.
const REFS: usize = 6;
/// Time between the client's signature and the 515. A real server is never faster than this, and
/// whatsapp-rust 0.7 logs in twice when the 515 overtakes its own handling of `pair-success`.
const BEFORE_RESTART: Duration = Duration::from_millis(120);

/// Why a device was not linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The text is not a QR code of this protocol.
    #[error("not a linking code: {0}")]
    BadCode(String),
    /// No connected client shows this code (any more).
    #[error("no connected client shows this code; it may have expired, show a fresh one")]
    Unknown,
    /// The 8 characters are not those the client shows.
    #[error("wrong code: the client's keys could not be opened with it")]
    WrongCode,
    /// The account has a passkey, and the client has not shown it.
    #[error("the client has to show the account's passkey first")]
    Passkey,
    /// The client answered with an error.
    #[error("the client refused to be linked: {0}")]
    Refused(String),
    /// The client did not answer.
    #[error(transparent)]
    Timeout(#[from] Timeout),
}

/// What an unpaired client told about itself, and how far its linking is.
pub(crate) struct Registration {
    pub noise: [u8; 32],
    pub keys: DeviceKeys,
    pub platform: String,
    pub refs: Vec<String>,
    pub pending: Option<Pending>,
    /// Set when linking by code has begun.
    pub code: Option<crate::pair_code::CodeLink>,
}

/// How a linking attempt ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Linked(Addr),
    Refused(String),
    WrongCode,
}

/// A linking that the client has to sign.
pub(crate) struct Pending {
    iq: String,
    addr: Addr,
    key_index: u32,
    account_key: Vec<u8>,
}

impl Registration {
    pub fn new(noise: [u8; 32], data: &DevicePairingRegistrationData) -> Option<Self> {
        let identity: [u8; 32] = data.e_ident.as_deref()?.try_into().ok()?;
        let signed = SignedKey {
            id: number(data.e_skey_id.as_deref()?),
            public: data.e_skey_val.as_deref()?.try_into().ok()?,
            signature: data.e_skey_sig.clone()?,
        };
        let props = data.device_props.as_deref().and_then(|p| wa::DeviceProps::decode_from_slice(p).ok());
        Some(Self {
            noise,
            keys: DeviceKeys {
                registration: number(data.e_regid.as_deref()?),
                identity,
                signed,
                one_time: Default::default(),
                adv: None,
            },
            platform: props.and_then(|p| p.os).unwrap_or_default(),
            refs: Vec::new(),
            pending: None,
            code: None,
        })
    }
}

/// The parts of a QR code.
struct Qr {
    reference: String,
    noise: [u8; 32],
    identity: [u8; 32],
    adv_secret: Vec<u8>,
}

impl Qr {
    fn parse(text: &str) -> Result<Self, LinkError> {
        let text = text.rsplit('#').next().unwrap_or(text);
        let parts: Vec<&str> = text.split(',').collect();
        let [reference, noise, identity, secret, ..] = parts.as_slice() else {
            return Err(LinkError::BadCode(format!("{} comma-separated parts instead of 4 or 5", parts.len())));
        };
        let key = |name: &str, text: &str| {
            BASE64
                .decode(text)
                .ok()
                .and_then(|b| <[u8; 32]>::try_from(b).ok())
                .ok_or_else(|| LinkError::BadCode(format!("the {name} is not the base64 of 32 bytes")))
        };
        Ok(Self {
            reference: (*reference).to_owned(),
            noise: key("noise key", noise)?,
            identity: key("identity key", identity)?,
            adv_secret: key("secret", secret)?.to_vec(),
        })
    }
}

pub(crate) async fn scan(world: &World, account: usize, qr: &str) -> Result<LinkedDevice, LinkError> {
    let qr = Qr::parse(qr)?;
    let conn = world.with(|s| {
        let conn = s.conns.iter().find_map(|(id, c)| match &c.who {
            Who::Unpaired(r) if r.noise == qr.noise && r.refs.contains(&qr.reference) => Some((*id, r.keys.identity)),
            _ => None,
        });
        let (id, identity) = conn.ok_or(LinkError::Unknown)?;
        if identity != qr.identity {
            return Err(LinkError::BadCode("its identity key is not the one the client registered".into()));
        }
        if s.faults.has(&Fault::AsksForPasskey) {
            s.ask_for_passkey(id);
            return Err(LinkError::Passkey);
        }
        s.start_pairing(id, account, &qr.adv_secret);
        Ok(id)
    })?;
    finished(world, account, conn).await
}

/// Waits for the client's signature.
pub(crate) async fn finished(world: &World, account: usize, conn: u64) -> Result<LinkedDevice, LinkError> {
    let what = "the client to sign its identity";
    let outcome = world
        .until(what, || {
            world.look(|s| match s.finished_links.get(&conn) {
                Some(outcome) => Some(outcome.clone()),
                None if !s.conns.contains_key(&conn) => Some(Outcome::Refused("it closed the connection".into())),
                None => None,
            })
        })
        .await?;
    match outcome {
        Outcome::Linked(addr) => {
            debug_assert_eq!(addr.account, account);
            Ok(LinkedDevice::new(world.clone(), addr))
        }
        Outcome::Refused(why) => Err(LinkError::Refused(why)),
        Outcome::WrongCode => Err(LinkError::WrongCode),
    }
}

impl State {
    fn ask_for_passkey(&mut self, conn: u64) {
        let options = br#"{"challenge":"YWJjZGVm","rpId":"web.whatsapp.com","userVerification":"required"}"#;
        let id = self.stanza_id();
        let node = el("notification")
            .attr("from", SERVER)
            .attr("type", "passkey_prologue_request")
            .attr("id", id)
            .attr("t", unix_now().to_string())
            .children([el("passkey_request_options").bytes(options.to_vec()).build()])
            .build();
        self.send(conn, node);
    }

    /// Greets an unpaired client with references for its QR codes.
    pub fn offer_pairing(&mut self, conn: u64) {
        self.offer_codes(conn, REFS);
    }

    /// Sends every client that is being linked fresh references, so many; without any its codes are used up.
    pub fn renew_codes(&mut self, refs: usize) {
        let unpaired: Vec<u64> =
            self.conns.iter().filter(|(_, c)| matches!(c.who, Who::Unpaired(_))).map(|(id, _)| *id).collect();
        for conn in unpaired {
            self.offer_codes(conn, refs);
        }
    }

    fn offer_codes(&mut self, conn: u64, refs: usize) {
        let refs: Vec<String> = (0..refs)
            .map(|_| {
                let bytes: [u8; 24] = rand::random();
                format!("2@{}", BASE64.encode(bytes))
            })
            .collect();
        let nodes = refs.iter().map(|r| el("ref").bytes(r.as_bytes().to_vec()).build()).collect::<Vec<_>>();
        let id = self.stanza_id();
        let iq = el("iq")
            .attr("from", SERVER)
            .attr("type", "set")
            .attr("id", id)
            .attr("xmlns", "md")
            .children([el("pair-device").children(nodes).build()])
            .build();
        self.send(conn, iq);
        if let Some(Who::Unpaired(r)) = self.conns.get_mut(&conn).map(|c| &mut c.who) {
            r.refs = refs;
        }
    }

    /// The phone signs the companion's identity and the server passes it on.
    pub fn start_pairing(&mut self, conn: u64, account: usize, adv_secret: &[u8]) {
        let (identity, id) = match self.conns.get(&conn).map(|c| &c.who) {
            Some(Who::Unpaired(r)) => (r.keys.identity, self.next + 1),
            _ => return,
        };
        self.next = id;
        let iq = format!("pair-{id}");
        let owner = &mut self.accounts[account];
        let addr = Addr { account, device: owner.next_device };
        let key_index = owner.next_key_index;
        owner.next_device += 1;
        owner.next_key_index += 1;
        let details = wa::ADVDeviceIdentity {
            raw_id: Some(owner.raw_id),
            timestamp: Some(unix_now()),
            key_index: Some(key_index),
            account_type: Some(ADVEncryptionType::E2EE),
            device_type: Some(ADVEncryptionType::E2EE),
        }
        .encode_to_vec();
        let signature = owner.phone.sign(&[&ACCOUNT_SIGNS_DEVICE, &details, &identity]);
        let account_key = owner.phone.keys.identity.to_vec();
        let signed = wa::ADVSignedDeviceIdentity {
            details: Some(details),
            account_signature_key: Some(account_key.clone()),
            account_signature: Some(signature),
            device_signature: None,
        }
        .encode_to_vec();
        let mut mac = Hmac::<Sha256>::new_from_slice(adv_secret).expect("HMAC takes keys of any length");
        mac.update(&signed);
        if self.faults.has(&Fault::ForgedPairing) {
            mac.update(b"forged");
        }
        let sealed = wa::ADVSignedDeviceIdentityHMAC {
            details: Some(signed),
            hmac: Some(mac.finalize().into_bytes().to_vec()),
            ..Default::default()
        }
        .encode_to_vec();
        let props = wa::ClientPairingProps { is_chat_db_lid_migrated: Some(owner.lid_migrated), ..Default::default() };
        let business = owner.business.then(|| owner.name.clone());
        let mut children = vec![
            el("device-identity").bytes(sealed).build(),
            el("platform").attr("name", "android").build(),
            el("device").attr("jid", self.jid_of(addr, false)).attr("lid", self.jid_of(addr, true)).build(),
        ];
        if let Some(name) = business {
            children.push(el("biz").attr("name", name).build());
        }
        children.push(el("client-props").bytes(props.encode_to_vec()).build());
        let node = el("iq")
            .attr("from", SERVER)
            .attr("type", "set")
            .attr("id", iq.as_str())
            .attr("xmlns", "md")
            .attr("t", unix_now().to_string())
            .children([el("pair-success").children(children).build()])
            .build();
        if let Some(Who::Unpaired(r)) = self.conns.get_mut(&conn).map(|c| &mut c.who) {
            r.pending = Some(Pending { iq, addr, key_index, account_key });
        }
        self.send(conn, node);
    }

    /// The client's answer to `pair-success`. True if it was one.
    pub fn pairing_answer(&mut self, conn: u64, iq: &Node) -> bool {
        let Some(Who::Unpaired(registration)) = self.conns.get_mut(&conn).map(|c| &mut c.who) else { return false };
        let id = iq.text_or_empty("id");
        let Some(pending) = registration.pending.take_if(|p| p.iq == id) else { return false };
        let signed = match iq.child("pair-device-sign").and_then(|s| s.child("device-identity")) {
            Some(identity) if iq.text("type").as_deref() == Some("result") => identity.content_bytes(),
            _ => {
                let error = iq.child("error");
                let text = error.map_or_else(|| "no signed identity".to_owned(), crate::stanza::show);
                self.finished_links.insert(conn, Outcome::Refused(text));
                return true;
            }
        };
        let Some(adv) = complete_identity(&signed, &pending.account_key, &registration.keys.identity) else {
            self.finished_links.insert(conn, Outcome::Refused("its signature is wrong".into()));
            self.close(conn);
            return true;
        };
        let mut keys = registration.keys.clone();
        keys.adv = Some(adv);
        let device = Device {
            key_index: pending.key_index,
            noise: registration.noise,
            keys,
            platform: registration.platform.clone(),
            conn: None,
            active: false,
            queue: Default::default(),
            sockets: 0,
            handshake: None,
            greeted: false,
            faults: Default::default(),
            held: None,
            available: false,
            subscriptions: Default::default(),
        };
        self.accounts[pending.addr.account].devices.insert(pending.addr.device, device);
        self.tell_watchers(pending.addr, "add");
        self.finished_links.insert(conn, Outcome::Linked(pending.addr));
        self.send_after(conn, el("stream:error").attr("code", "515").build(), BEFORE_RESTART);
        self.close(conn);
        true
    }

    /// Tells everybody who knows an account that a companion came or went.
    pub fn tell_watchers(&mut self, changed: Addr, what: &'static str) {
        let watchers: Vec<usize> = self.accounts[changed.account].watchers.iter().copied().collect();
        let list = self.key_index_list(changed.account);
        let key_index = self.device(changed).map(|d| d.key_index);
        for watcher in watchers {
            for to in self.devices_of(watcher) {
                if to == changed || to.device == 0 {
                    continue;
                }
                let mut device =
                    el("device").attr("jid", self.jid_of(changed, false)).attr("lid", self.jid_of(changed, true));
                if let Some(index) = key_index {
                    device = device.attr("key-index", index.to_string());
                }
                let change = el(what)
                    .children([
                        device.build(),
                        el("key-index-list").attr("ts", unix_now().to_string()).bytes(list.clone()).build(),
                    ])
                    .build();
                let owner = Addr { account: changed.account, device: 0 };
                let id = self.stanza_id();
                let node = el("notification")
                    .attr("from", self.jid_of(owner, false))
                    .attr("lid", self.jid_of(owner, true))
                    .attr("type", "devices")
                    .attr("id", id)
                    .attr("t", unix_now().to_string())
                    .children([change])
                    .build();
                self.deliver(to, node);
            }
        }
    }

    /// The signed list of valid key indexes of an account.
    pub fn key_index_list(&self, account: usize) -> Vec<u8> {
        let owner = &self.accounts[account];
        let details = wa::ADVKeyIndexList {
            raw_id: Some(owner.raw_id),
            timestamp: Some(unix_now()),
            current_index: Some(owner.next_key_index - 1),
            valid_indexes: std::iter::once(0).chain(owner.devices.values().map(|d| d.key_index)).collect(),
            account_type: Some(ADVEncryptionType::E2EE),
        }
        .encode_to_vec();
        let signature = owner.phone.sign(&[&ACCOUNT_SIGNS_LIST, &details]);
        wa::ADVSignedKeyIndexList { details: Some(details), account_signature: Some(signature), ..Default::default() }
            .encode_to_vec()
    }
}

/// Restores what clients leave out of the signed identity and checks the signatures.
fn complete_identity(signed: &[u8], account_key: &[u8], identity: &[u8; 32]) -> Option<Vec<u8>> {
    let mut adv = wa::ADVSignedDeviceIdentity::decode_from_slice(signed).ok()?;
    if adv.account_signature_key.as_deref().unwrap_or_default().is_empty() {
        adv.account_signature_key = Some(account_key.to_vec());
    }
    let bytes = adv.encode_to_vec();
    match validate_adv_with_identity_key(&bytes, identity, None) {
        AdvValidation::Invalid => None,
        _ => Some(bytes),
    }
}

impl crate::phone::PhoneState {
    /// Signs with the phone's identity key.
    pub fn sign(&self, parts: &[&[u8]]) -> Vec<u8> {
        self.party
            .identity()
            .private_key()
            .calculate_signature_for_multipart_message(parts, &mut rand::make_rng::<StdRng>())
            .expect("signing needs nothing but random numbers")
            .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_qr_codes_with_four_or_five_parts_and_a_link_in_front() {
        let key = BASE64.encode([7u8; 32]);
        for text in [
            format!("2@ref,{key},{key},{key}"),
            format!("2@ref,{key},{key},{key},1"),
            format!("https://wa.me/settings/linked_devices#2@ref,{key},{key},{key},1"),
        ] {
            let qr = Qr::parse(&text).unwrap();
            assert_eq!(qr.reference, "2@ref");
            assert_eq!(qr.noise, [7u8; 32]);
        }
        assert!(matches!(Qr::parse("hello"), Err(LinkError::BadCode(_))));
        assert!(matches!(Qr::parse(&format!("2@ref,{key},AAAA,{key}")), Err(LinkError::BadCode(_))));
    }
}
