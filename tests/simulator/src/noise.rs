//! The responder's half of the Noise handshakes: XX, IK and XXfallback.

use anyhow::{Context, anyhow, bail};
use rand::rngs::StdRng;
use wacore_binary::consts::{NOISE_PATTERN_IK, NOISE_PATTERN_XX, NOISE_PATTERN_XXFALLBACK, WA_CONN_HEADER};
use wacore_libsignal::protocol::KeyPair;
use wacore_noise::{NoiseCipher, NoiseHandshake};
use waproto::buffa::{Message as _, MessageField};
use waproto::whatsapp::handshake_message::ServerHello;
use waproto::whatsapp::{ClientPayload, HandshakeMessage};

use crate::cert::{Authority, public};

/// How a connection was secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// Full handshake.
    Xx,
    /// Resumption in one round trip.
    Ik,
    /// The client tried IK and was sent back to XX.
    XxFallback,
}

/// A finished handshake.
pub(crate) struct Secured {
    pub how: Handshake,
    pub client_static: [u8; 32],
    pub payload: ClientPayload,
    pub read: NoiseCipher,
    pub write: NoiseCipher,
}

/// Waiting for `clientFinish`.
pub(crate) struct Pending {
    how: Handshake,
    noise: NoiseHandshake,
    ephemeral: KeyPair,
}

/// What the server answers to `clientHello`.
pub(crate) enum Answer {
    Finished { reply: Vec<u8>, secured: Box<Secured> },
    Wait { reply: Vec<u8>, pending: Box<Pending> },
}

/// Answers a `clientHello`. With `refuse_ik` an attempted resumption is sent back to XX.
pub(crate) fn client_hello(frame: &[u8], authority: &Authority, refuse_ik: bool) -> anyhow::Result<Answer> {
    let hello = HandshakeMessage::decode_from_slice(frame)
        .context("frame is not a HandshakeMessage")?
        .client_hello
        .into_option()
        .ok_or_else(|| anyhow!("first frame is not a clientHello"))?;
    let ephemeral: [u8; 32] = hello
        .ephemeral
        .as_deref()
        .and_then(|e| e.try_into().ok())
        .ok_or_else(|| anyhow!("clientHello without an ephemeral key of 32 bytes"))?;
    match (&hello.r#static, &hello.payload) {
        (Some(fixed), Some(payload)) => {
            if !refuse_ik && let Ok(answer) = resume(&ephemeral, fixed, payload, authority) {
                return Ok(answer);
            }
            full(Handshake::XxFallback, NOISE_PATTERN_XXFALLBACK, &ephemeral, authority)
        }
        _ => full(Handshake::Xx, NOISE_PATTERN_XX, &ephemeral, authority),
    }
}

fn full(how: Handshake, pattern: &str, client_ephemeral: &[u8; 32], authority: &Authority) -> anyhow::Result<Answer> {
    let mut noise = NoiseHandshake::new(pattern, &WA_CONN_HEADER)?;
    noise.authenticate(client_ephemeral);
    let ephemeral = KeyPair::generate(&mut rand::make_rng::<StdRng>());
    noise.authenticate(&public(&ephemeral));
    noise.mix_shared_secret(ephemeral.private_key.serialize(), client_ephemeral)?;
    let fixed = noise.encrypt(&public(&authority.server))?;
    noise.mix_shared_secret(authority.server.private_key.serialize(), client_ephemeral)?;
    let chain = noise.encrypt(&authority.chain)?;
    let reply = server_hello(&ephemeral, Some(fixed), chain);
    Ok(Answer::Wait { reply, pending: Box::new(Pending { how, noise, ephemeral }) })
}

fn resume(client_ephemeral: &[u8; 32], fixed: &[u8], payload: &[u8], authority: &Authority) -> anyhow::Result<Answer> {
    let server_private = authority.server.private_key.serialize();
    let mut noise = NoiseHandshake::new(NOISE_PATTERN_IK, &WA_CONN_HEADER)?;
    noise.authenticate(&public(&authority.server));
    noise.authenticate(client_ephemeral);
    noise.mix_shared_secret(server_private, client_ephemeral)?;
    let client_static = key32(&noise.decrypt(fixed)?)?;
    noise.mix_shared_secret(server_private, &client_static)?;
    let payload = noise.decrypt(payload)?;
    let ephemeral = KeyPair::generate(&mut rand::make_rng::<StdRng>());
    noise.authenticate(&public(&ephemeral));
    noise.mix_shared_secret(ephemeral.private_key.serialize(), client_ephemeral)?;
    noise.mix_shared_secret(ephemeral.private_key.serialize(), &client_static)?;
    let chain = noise.encrypt(&authority.chain)?;
    let reply = server_hello(&ephemeral, None, chain);
    let secured = Box::new(secured(Handshake::Ik, noise, client_static, &payload)?);
    Ok(Answer::Finished { reply, secured })
}

impl Pending {
    /// Reads `clientFinish`.
    pub fn client_finish(mut self, frame: &[u8]) -> anyhow::Result<Secured> {
        let finish = HandshakeMessage::decode_from_slice(frame)
            .context("frame is not a HandshakeMessage")?
            .client_finish
            .into_option()
            .ok_or_else(|| anyhow!("second frame is not a clientFinish"))?;
        let (Some(fixed), Some(payload)) = (finish.r#static, finish.payload) else {
            bail!("clientFinish without static key or payload");
        };
        let client_static = key32(&self.noise.decrypt(&fixed)?)?;
        self.noise.mix_shared_secret(self.ephemeral.private_key.serialize(), &client_static)?;
        let payload = self.noise.decrypt(&payload)?;
        secured(self.how, self.noise, client_static, &payload)
    }
}

fn secured(how: Handshake, noise: NoiseHandshake, client_static: [u8; 32], payload: &[u8]) -> anyhow::Result<Secured> {
    let payload = ClientPayload::decode_from_slice(payload).context("payload is not a ClientPayload")?;
    // The first half of the key material is client to server, whoever asks.
    let (read, write) = noise.finish()?;
    Ok(Secured { how, client_static, payload, read, write })
}

fn server_hello(ephemeral: &KeyPair, fixed: Option<Vec<u8>>, payload: Vec<u8>) -> Vec<u8> {
    let hello = ServerHello {
        ephemeral: Some(public(ephemeral).to_vec()),
        r#static: fixed,
        payload: Some(payload),
        ..Default::default()
    };
    HandshakeMessage { server_hello: MessageField::some(hello), ..Default::default() }.encode_to_vec()
}

fn key32(bytes: &[u8]) -> anyhow::Result<[u8; 32]> {
    bytes.try_into().map_err(|_| anyhow!("a static key must have 32 bytes, this one has {}", bytes.len()))
}
