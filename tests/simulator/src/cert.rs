//! The server's certificate chain: root key, intermediate, leaf with the Noise static key.

use anyhow::Context;
use rand::rngs::StdRng;
use wacore_libsignal::protocol::KeyPair;
use waproto::buffa::{Message as _, MessageField};
use waproto::whatsapp::cert_chain::{NoiseCertificate, noise_certificate};
use waproto::whatsapp::{self as wa};

/// Start and end of validity, seconds since 1970 (2023-11 and 2040-02).
const VALID: (u64, u64) = (1_700_000_000, 2_212_000_000);
const INTERMEDIATE_SERIAL: u32 = 17;
const LEAF_SERIAL: u32 = 42;

/// Keys of the server and the chain that proves them.
pub(crate) struct Authority {
    /// Public half of the key that signs the intermediate certificate.
    pub root: [u8; 32],
    /// Noise static key pair of the server.
    pub server: KeyPair,
    /// Encoded `CertChain`.
    pub chain: Vec<u8>,
}

impl Authority {
    /// Makes a root and an intermediate key and a chain for `server`.
    pub fn new(server: KeyPair) -> anyhow::Result<Self> {
        let mut rng = rand::make_rng::<StdRng>();
        let root = KeyPair::generate(&mut rng);
        let intermediate = KeyPair::generate(&mut rng);
        let chain = wa::CertChain {
            intermediate: certificate(INTERMEDIATE_SERIAL, 0, &intermediate, &root)?,
            leaf: certificate(LEAF_SERIAL, INTERMEDIATE_SERIAL, &server, &intermediate)?,
        }
        .encode_to_vec();
        Ok(Self { root: public(&root), server, chain })
    }
}

fn certificate(
    serial: u32,
    issuer: u32,
    subject: &KeyPair,
    signer: &KeyPair,
) -> anyhow::Result<MessageField<NoiseCertificate>> {
    let details = noise_certificate::Details {
        serial: Some(serial),
        issuer_serial: Some(issuer),
        key: Some(public(subject).to_vec()),
        not_before: Some(VALID.0),
        not_after: Some(VALID.1),
    }
    .encode_to_vec();
    let signature = signer
        .calculate_signature(&details, &mut rand::make_rng::<StdRng>())
        .context("signing a certificate")?
        .to_vec();
    Ok(MessageField::some(NoiseCertificate { details: Some(details), signature: Some(signature) }))
}

/// Raw 32 bytes of the public half.
pub(crate) fn public(pair: &KeyPair) -> [u8; 32] {
    pair.public_key.public_key_bytes().try_into().expect("a curve25519 public key has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use wacore_libsignal::protocol::PublicKey;

    #[test]
    fn chain_leads_from_the_server_key_to_the_root() {
        let server = KeyPair::generate(&mut rand::make_rng::<StdRng>());
        let authority = Authority::new(server).unwrap();
        let chain = wa::CertChain::decode_from_slice(&authority.chain).unwrap();
        let read = |c: &NoiseCertificate| {
            let bytes = c.details.clone().unwrap();
            (noise_certificate::Details::decode_from_slice(&bytes).unwrap(), bytes, c.signature.clone().unwrap())
        };
        let (leaf, leaf_bytes, leaf_signature) = read(&chain.leaf);
        let (middle, middle_bytes, middle_signature) = read(&chain.intermediate);
        assert_eq!(leaf.key.as_deref(), Some(public(&authority.server).as_slice()));
        assert_eq!((leaf.issuer_serial, middle.issuer_serial), (middle.serial, Some(0)));
        let key = |bytes: &[u8]| PublicKey::from_djb_public_key_bytes(bytes).unwrap();
        assert!(key(&authority.root).verify_signature(&middle_bytes, &middle_signature));
        assert!(key(middle.key.as_deref().unwrap()).verify_signature(&leaf_bytes, &leaf_signature));
    }
}
