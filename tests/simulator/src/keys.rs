//! What the server stores and hands out of a device's Signal keys.

use std::collections::VecDeque;

use wacore_binary::{Jid, Node};
use wacore_libsignal::crypto::CryptographicHash;

use crate::stanza::{NodeExt, child32, el, id3, number};

/// A signed pre-key as uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedKey {
    pub id: u32,
    pub public: [u8; 32],
    pub signature: Vec<u8>,
}

/// The public keys of one device.
#[derive(Debug, Clone)]
pub(crate) struct DeviceKeys {
    pub registration: u32,
    pub identity: [u8; 32],
    pub signed: SignedKey,
    pub one_time: VecDeque<(u32, [u8; 32])>,
    /// Encoded `ADVSignedDeviceIdentity` of a companion.
    pub adv: Option<Vec<u8>>,
}

/// One device's keys as handed to somebody who wants to write to it.
#[derive(Debug, Clone)]
pub(crate) struct Bundle {
    pub registration: u32,
    pub identity: [u8; 32],
    pub signed: SignedKey,
    pub one_time: Option<(u32, [u8; 32])>,
    pub adv: Option<Vec<u8>>,
}

impl DeviceKeys {
    /// Takes the oldest one-time key out and bundles it with the rest.
    pub fn take_bundle(&mut self) -> Bundle {
        Bundle {
            registration: self.registration,
            identity: self.identity,
            signed: self.signed.clone(),
            one_time: self.one_time.pop_front(),
            adv: self.adv.clone(),
        }
    }

    /// Stores an upload: `<iq xmlns="encrypt" type="set">`.
    pub fn upload(&mut self, iq: &Node) -> bool {
        if let Some(rotate) = iq.child("rotate") {
            return rotate.child("skey").and_then(signed_key).map(|k| self.signed = k).is_some();
        }
        let (Some(registration), Some(identity), Some(signed), Some(list)) = (
            iq.child("registration").map(|n| number(&n.content_bytes())),
            child32(iq, "identity"),
            iq.child("skey").and_then(signed_key),
            iq.child("list"),
        ) else {
            return false;
        };
        self.registration = registration;
        self.identity = identity;
        self.signed = signed;
        for key in list.kids() {
            if let Some((id, public)) = one_time_key(key)
                && !self.one_time.iter().any(|(known, _)| *known == id)
            {
                self.one_time.push_back((id, public));
            }
        }
        true
    }

    /// The answer to `<digest/>`.
    pub fn digest(&self) -> Node {
        let mut hash = CryptographicHash::new("SHA-1").expect("SHA-1 is built in");
        hash.update(&self.identity);
        hash.update(&self.signed.public);
        hash.update(&self.signed.signature);
        for (_, public) in &self.one_time {
            hash.update(public);
        }
        let ids = self.one_time.iter().map(|(id, _)| el("id").bytes(id3(*id)).build());
        el("digest")
            .children([
                el("registration").bytes(self.registration.to_be_bytes().to_vec()).build(),
                el("type").bytes(vec![5u8]).build(),
                el("identity").bytes(self.identity.to_vec()).build(),
                signed_key_node(&self.signed),
                el("list").children(ids).build(),
                el("hash").bytes(hash.finalize().to_vec()).build(),
            ])
            .build()
    }
}

impl Bundle {
    /// `<user>` of the answer to a key request, under the JID that was asked for.
    pub fn user_node(&self, asked: &Jid, now: u64) -> Node {
        let mut children = vec![
            el("registration").bytes(self.registration.to_be_bytes().to_vec()).build(),
            el("type").bytes(vec![5u8]).build(),
            el("identity").bytes(self.identity.to_vec()).build(),
            signed_key_node(&self.signed),
        ];
        if let Some((id, public)) = &self.one_time {
            children.push(one_time_key_node(*id, public));
        }
        if let Some(adv) = &self.adv {
            children.push(el("device-identity").bytes(adv.clone()).build());
        }
        el("user").attr("jid", asked).attr("t", now.to_string()).children(children).build()
    }

    /// Reads `<keys>` of a retry receipt, which carries everything but the registration.
    pub fn from_retry(keys: &Node, registration: u32) -> Option<Bundle> {
        Some(Bundle {
            registration,
            identity: child32(keys, "identity")?,
            signed: keys.child("skey").and_then(signed_key)?,
            one_time: keys.child("key").and_then(one_time_key),
            adv: keys.child("device-identity").map(|n| n.content_bytes()),
        })
    }

    /// `<keys>` of a retry receipt.
    pub fn retry_node(&self) -> Node {
        let mut children =
            vec![el("type").bytes(vec![5u8]).build(), el("identity").bytes(self.identity.to_vec()).build()];
        if let Some((id, public)) = &self.one_time {
            children.push(one_time_key_node(*id, public));
        }
        children.push(signed_key_node(&self.signed));
        el("keys").children(children).build()
    }
}

/// Reads `<key><id/><value/></key>`.
fn one_time_key(node: &Node) -> Option<(u32, [u8; 32])> {
    Some((number(&node.child("id")?.content_bytes()), child32(node, "value")?))
}

fn signed_key(node: &Node) -> Option<SignedKey> {
    Some(SignedKey {
        id: number(&node.child("id")?.content_bytes()),
        public: child32(node, "value")?,
        signature: node.child("signature")?.content_bytes(),
    })
}

fn one_time_key_node(id: u32, public: &[u8; 32]) -> Node {
    el("key").children([el("id").bytes(id3(id)).build(), el("value").bytes(public.to_vec()).build()]).build()
}

fn signed_key_node(key: &SignedKey) -> Node {
    el("skey")
        .children([
            el("id").bytes(id3(key.id)).build(),
            el("value").bytes(key.public.to_vec()).build(),
            el("signature").bytes(key.signature.clone()).build(),
        ])
        .build()
}
