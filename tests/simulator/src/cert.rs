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
    use wacore_libsignal::protocol::PublicKey;

    use super::*;

    fn proves(certificate: &NoiseCertificate, signer: &[u8; 32]) -> bool {
        let signer = PublicKey::from_djb_public_key_bytes(signer).unwrap();
        let details = certificate.details.as_deref().unwrap();
        signer.verify_signature(details, certificate.signature.as_deref().unwrap())
    }

    fn details(certificate: &NoiseCertificate) -> noise_certificate::Details {
        noise_certificate::Details::decode_from_slice(certificate.details.as_deref().unwrap()).unwrap()
    }

    #[test]
    fn the_chain_leads_from_the_root_to_the_servers_key_and_from_no_other() {
        let key = || KeyPair::generate(&mut rand::make_rng::<StdRng>());
        let (authority, other) = (Authority::new(key()).unwrap(), Authority::new(key()).unwrap());
        let chain = wa::CertChain::decode_from_slice(&authority.chain).unwrap();
        let (leaf, intermediate) = (chain.leaf.as_option().unwrap(), chain.intermediate.as_option().unwrap());
        let (leaf_says, intermediate_says) = (details(leaf), details(intermediate));

        assert!(proves(intermediate, &authority.root));
        assert!(!proves(intermediate, &other.root), "another root did not sign it");
        assert!(proves(leaf, intermediate_says.key.as_deref().unwrap().try_into().unwrap()));
        assert!(!proves(leaf, &authority.root), "the root signs no leaf");
        assert_eq!(leaf_says.key.as_deref(), Some(&public(&authority.server)[..]));
        assert_eq!((intermediate_says.issuer_serial, leaf_says.issuer_serial), (Some(0), intermediate_says.serial));
    }
}
