//! Linking with the 8 characters that the client shows and the person types on the phone.

use anyhow::anyhow;
use rand::rngs::StdRng;
use wacore::crypto::hkdf_sha256;
use wacore::pair_code::PairCodeUtils;
use wacore_binary::Node;
use wacore_libsignal::crypto::aes_256_gcm_decrypt;
use wacore_libsignal::protocol::{KeyPair, PublicKey};

use crate::cert::public;
use crate::device::LinkedDevice;
use crate::pairing::{LinkError, Outcome, finished};
use crate::stanza::{NodeExt, SERVER, el};
use crate::state::{State, Who, unix_now};
use crate::world::World;

/// Layout of the wrapped key bundle: salt, nonce, ciphertext with tag.
const SALT: usize = 32;
const NONCE: usize = 12;
const BUNDLE_INFO: &[u8] = b"link_code_pairing_key_bundle_encryption_key";

/// A client that shows a code.
pub(crate) struct CodeLink {
    digits: String,
    reference: Vec<u8>,
    /// What the client wrapped with the code.
    wrapped: Vec<u8>,
    /// Set once somebody typed a code.
    typed: Option<Typed>,
}

struct Typed {
    account: usize,
    companion_ephemeral: [u8; 32],
    ephemeral: KeyPair,
}

pub(crate) async fn enter(world: &World, account: usize, code: &str) -> Result<LinkedDevice, LinkError> {
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    if code.len() != 8 {
        return Err(LinkError::BadCode(format!("a code has 8 characters, this one has {}", code.len())));
    }
    let digits = world.look(|s| s.accounts[account].pn.clone());
    // The client may still be asking for the code when the person already knows it.
    let (conn, wrapped) = world
        .until(format!("a client that waits for a code for +{digits}"), || world.look(|s| s.waiting_for_code(&digits)))
        .await?;
    let ephemeral = KeyPair::generate(&mut rand::make_rng::<StdRng>());
    // Both derive a key with many rounds of hashing, so outside of the lock.
    let companion_ephemeral =
        PairCodeUtils::decrypt_primary_ephemeral_pub(&wrapped, &code).map_err(|_| LinkError::WrongCode)?;
    let answer = PairCodeUtils::encrypt_ephemeral_pub(&public(&ephemeral), &code);
    world.with(|s| s.code_typed(conn, Typed { account, companion_ephemeral, ephemeral }, &answer));
    finished(world, account, conn).await
}

impl State {
    fn waiting_for_code(&self, digits: &str) -> Option<(u64, Vec<u8>)> {
        self.conns.iter().find_map(|(id, c)| match &c.who {
            Who::Unpaired(r) => {
                r.code.as_ref().filter(|l| l.digits == digits && l.typed.is_none()).map(|l| (*id, l.wrapped.clone()))
            }
            _ => None,
        })
    }

    /// `<link_code_companion_reg>` from a client: the answer's children.
    pub fn link_code(&mut self, conn: u64, node: &Node) -> Result<Vec<Node>, (u16, &'static str)> {
        match node.text_or_empty("stage").as_str() {
            "companion_hello" => self.companion_hello(conn, node),
            "companion_finish" => self.companion_finish(conn, node),
            _ => Err((400, "bad-request")),
        }
    }

    fn companion_hello(&mut self, conn: u64, node: &Node) -> Result<Vec<Node>, (u16, &'static str)> {
        let digits = node.jid("jid").map(|j| j.user_base().to_owned()).unwrap_or_default();
        let wrapped = node.child("link_code_pairing_wrapped_companion_ephemeral_pub").map(NodeExt::content_bytes);
        let (false, Some(wrapped)) = (digits.is_empty(), wrapped) else { return Err((400, "bad-request")) };
        let reference = format!("3@{}", self.fresh()).into_bytes();
        let Some(Who::Unpaired(r)) = self.conns.get_mut(&conn).map(|c| &mut c.who) else {
            return Err((403, "forbidden"));
        };
        r.code = Some(CodeLink { digits, reference: reference.clone(), wrapped, typed: None });
        let answer = el("link_code_companion_reg")
            .attr("stage", "companion_hello")
            .children([el("link_code_pairing_ref").bytes(reference).build()])
            .build();
        Ok(vec![answer])
    }

    fn code_typed(&mut self, conn: u64, typed: Typed, wrapped: &[u8]) {
        let identity = self.accounts[typed.account].phone.keys.identity;
        let Some(Who::Unpaired(r)) = self.conns.get_mut(&conn).map(|c| &mut c.who) else { return };
        let Some(link) = &mut r.code else { return };
        link.typed = Some(typed);
        let reference = link.reference.clone();
        self.finished_links.remove(&conn);
        let id = self.stanza_id();
        let hello = el("link_code_companion_reg")
            .attr("stage", "primary_hello")
            .children([
                el("link_code_pairing_wrapped_primary_ephemeral_pub").bytes(wrapped.to_vec()).build(),
                el("primary_identity_pub").bytes(identity.to_vec()).build(),
                el("link_code_pairing_ref").bytes(reference).build(),
            ])
            .build();
        let node = el("notification")
            .attr("type", "link_code_companion_reg")
            .attr("from", SERVER)
            .attr("id", id)
            .attr("t", unix_now().to_string())
            .children([hello])
            .build();
        self.send(conn, node);
    }

    fn companion_finish(&mut self, conn: u64, node: &Node) -> Result<Vec<Node>, (u16, &'static str)> {
        let Some(Who::Unpaired(r)) = self.conns.get_mut(&conn).map(|c| &mut c.who) else {
            return Err((403, "forbidden"));
        };
        let Some(typed) = r.code.as_mut().and_then(|l| l.typed.take()) else { return Err((400, "bad-request")) };
        match adv_secret(&typed, node, &self.accounts[typed.account].phone) {
            Ok(secret) => {
                self.pairings_due.push((conn, typed.account, secret));
                Ok(Vec::new())
            }
            Err(error) => {
                self.note(format!("conn {conn}"), format!("the code was wrong: {error:#}"));
                self.finished_links.insert(conn, Outcome::WrongCode);
                Err((400, "bad-request"))
            }
        }
    }
}

/// Opens the client's key bundle and derives the secret that seals the device identity.
fn adv_secret(typed: &Typed, node: &Node, phone: &crate::phone::PhoneState) -> anyhow::Result<Vec<u8>> {
    let wrapped = node
        .child("link_code_pairing_wrapped_key_bundle")
        .map(NodeExt::content_bytes)
        .filter(|b| b.len() > SALT + NONCE + 16)
        .ok_or_else(|| anyhow!("no wrapped key bundle"))?;
    let (salt, rest) = wrapped.split_at(SALT);
    let (nonce, sealed) = rest.split_at(NONCE);
    let companion = PublicKey::from_djb_public_key_bytes(&typed.companion_ephemeral)?;
    let shared = typed.ephemeral.calculate_agreement(&companion)?;
    let key: [u8; 32] = hkdf(&shared, Some(salt), BUNDLE_INFO)?;
    let mut bundle = Vec::new();
    aes_256_gcm_decrypt(&key, nonce.try_into()?, &[], sealed, &mut bundle).map_err(|e| anyhow!("{e:?}"))?;
    let [companion_identity, primary_identity, random] =
        [0, 32, 64].map(|at| bundle.get(at..at + 32).map(<[u8]>::to_vec).unwrap_or_default());
    if primary_identity != phone.keys.identity {
        anyhow::bail!("the bundle names another phone");
    }
    let companion_identity = PublicKey::from_djb_public_key_bytes(&companion_identity)?;
    let identities = phone.party.identity().private_key().calculate_agreement(&companion_identity)?;
    let material = [shared.as_slice(), &identities, &random].concat();
    Ok(hkdf(&material, None, b"adv_secret")?.to_vec())
}

fn hkdf(material: &[u8], salt: Option<&[u8]>, info: &[u8]) -> anyhow::Result<[u8; 32]> {
    let out = hkdf_sha256(material, 32, salt, info).map_err(|e| anyhow!("{e:?}"))?;
    out.as_slice().try_into().map_err(|_| anyhow!("HKDF gave the wrong length"))
}
