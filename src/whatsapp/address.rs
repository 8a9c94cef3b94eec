//! The two addresses of a person: the number and the LID.
//!
//! The library addresses a direct message by the account's own state alone (LID once WhatsApp has moved the account there, else the
//! number), whatever the caller names. A message that has to go to the other address is put together here from its parts: the same
//! Signal sessions, the same id, and the copy that the library answers devices from that ask again.

use std::sync::Arc;

use whatsapp_rust::wacore::iq::usync::DeviceListSpec;
use whatsapp_rust::wacore::message_processing::EncType;
use whatsapp_rust::wacore::messages::MessageUtils;
use whatsapp_rust::wacore::send::{media_type_from_message, stanza_type_from_message};
use whatsapp_rust::wacore::types::message::EditAttribute;
use whatsapp_rust::wacore_binary::Node;
use whatsapp_rust::wacore_binary::builder::NodeBuilder;
use whatsapp_rust::waproto::codec::{adv_signed_device_identity_to_vec, message_to_vec};
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::{Client, Jid as LibraryJid};

use super::ops::{ASK_LIMIT, SEND_LIMIT, theirs};
use super::{Link, LinkError, convert};
use crate::ids::{Jid, MessageId};
use crate::outgoing::Address;

/// The addresses of a person, both known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The number.
    pub number: Jid,
    /// The LID.
    pub lid: Jid,
    /// The one that messages go to unless another is asked for.
    pub usual: Address,
}

impl Addresses {
    /// The address of one kind.
    pub fn get(&self, address: Address) -> &Jid {
        match address {
            Address::Lid => &self.lid,
            Address::Number => &self.number,
        }
    }
}

impl Link {
    /// Both addresses of the person in a direct chat; `None` for groups, the own chat, and where only one is known.
    pub async fn addresses(&self, chat: &Jid) -> Option<Addresses> {
        if Address::of(chat).is_none() || self.identity().is_some_and(|me| me.is_self(chat)) {
            return None;
        }
        let asked = theirs(chat).ok()?;
        let found = self.call(ASK_LIMIT, |client| async move { Ok(known(&client, &asked).await) });
        found.await.ok().flatten()
    }

    /// Sends a message to exactly this address of a person; `again` looks the person's devices up anew.
    pub(super) async fn send_exactly(
        &self,
        to: &Jid,
        id: &MessageId,
        message: wa::Message,
        again: bool,
    ) -> Result<(), LinkError> {
        let to = theirs(to)?;
        let id = id.as_str().to_owned();
        self.online(SEND_LIMIT, |client| async move { send(&client, &to, &id, &message, again).await }).await
    }
}

async fn known(client: &Arc<Client>, chat: &LibraryJid) -> Option<Addresses> {
    let entry = client.get_lid_pn_entry(chat).await.ok().flatten()?;
    let number = convert::jid(&LibraryJid::pn(entry.phone_number.to_string()))?;
    let lid = convert::jid(&LibraryJid::lid(entry.lid.to_string()))?;
    let usual = if client.is_lid_migrated().await { Address::Lid } else { Address::Number };
    Some(Addresses { number, lid, usual })
}

async fn send(
    client: &Arc<Client>,
    to: &LibraryJid,
    id: &str,
    message: &wa::Message,
    again: bool,
) -> Result<(), LinkError> {
    let failed = |error: &dyn std::fmt::Display| LinkError::Internal(error.to_string());
    let device = client.persistence_manager().get_device_snapshot();
    let own = if to.is_lid() { device.lid.clone() } else { device.pn.clone() }.ok_or(LinkError::NotLinked)?;
    keep_for_retries(client, to, id, message).await?;
    let fresh = if again { fresh_devices(client, to).await } else { None };
    let theirs = match fresh {
        Some(fresh) => fresh,
        None => devices(client, to, None).await?,
    };
    let mine = devices(client, &own, Some(own.device)).await?;
    let all: Vec<LibraryJid> = theirs.iter().chain(&mine).cloned().collect();
    client.signal().assert_sessions(&all).await.map_err(|e| failed(&e))?;
    let plain = MessageUtils::encode_dm_plaintexts(message, None, to);
    let mut participants = Vec::with_capacity(all.len());
    let mut first_contact = false;
    for (devices, plaintext) in [(theirs, &plain.recipient), (mine, &plain.own_devices)] {
        for device in devices {
            match client.signal().encrypt_message(&device, plaintext).await {
                Ok((kind, bytes)) => {
                    first_contact |= kind == EncType::PreKeyMessage;
                    participants.push(participant(&device, kind, bytes, media_type_from_message(message)));
                }
                // As for the library: a device without keys misses the message, the others get it.
                Err(error) => tracing::debug!(target: "whatsapp/outbound", %error, "a device cannot be written to"),
            }
        }
    }
    if participants.is_empty() {
        return Err(failed(&"no device of the recipient can be written to"));
    }
    let mut children = vec![NodeBuilder::new("participants").children(participants).build()];
    if let Some(account) = device.account.as_deref().filter(|_| first_contact) {
        let identity = adv_signed_device_identity_to_vec(account);
        children.push(NodeBuilder::new("device-identity").bytes(identity).build());
    }
    let mut stanza =
        NodeBuilder::new("message").attr("to", to).attr("id", id).attr("type", stanza_type_from_message(message));
    if let Some(edit) = EditAttribute::infer_from_message(message) {
        stanza = stanza.attr("edit", edit.to_string_val());
    }
    client.send_node(stanza.children(children).build()).await.map_err(|error| super::ops::failed(&error))
}

fn participant(device: &LibraryJid, kind: EncType, bytes: Vec<u8>, media: Option<&'static str>) -> Node {
    let kind = if kind == EncType::PreKeyMessage { "pkmsg" } else { "msg" };
    let mut enc = NodeBuilder::new("enc").attr("v", "2").attr("type", kind);
    if let Some(media) = media {
        enc = enc.attr("mediatype", media);
    }
    NodeBuilder::new("to").attr("jid", device).children([enc.bytes(bytes).build()]).build()
}

/// The devices of a user under this address, without one of them.
async fn devices(client: &Arc<Client>, user: &LibraryJid, but: Option<u16>) -> Result<Vec<LibraryJid>, LinkError> {
    let user = user.to_non_ad();
    let found = client.signal().get_user_devices(std::slice::from_ref(&user)).await;
    let found = found.map_err(|error| LinkError::Internal(error.to_string()))?;
    let mut numbers: Vec<u16> = found.iter().map(|device| device.device).filter(|n| Some(*n) != but).collect();
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers.into_iter().map(|number| LibraryJid { device: number, ..user.clone() }).collect())
}

/// The devices of a user as WhatsApp lists them now; `None` when it does not say.
async fn fresh_devices(client: &Arc<Client>, user: &LibraryJid) -> Option<Vec<LibraryJid>> {
    let user = user.to_non_ad();
    let asked = DeviceListSpec::new(vec![user.clone()], format!("verso.{:016x}", rand::random::<u64>()));
    let answer = client.execute(asked).await.ok()?;
    let list = answer.device_lists.into_iter().find(|list| list.user.to_non_ad() == user)?;
    let devices = list.devices.iter().map(|device| LibraryJid { device: device.device, ..user.clone() });
    Some(devices.collect()).filter(|devices: &Vec<LibraryJid>| !devices.is_empty())
}

/// The library answers devices that ask again from its copy, which it keeps under the LID as soon as that is known.
async fn keep_for_retries(
    client: &Arc<Client>,
    to: &LibraryJid,
    id: &str,
    message: &wa::Message,
) -> Result<(), LinkError> {
    let lid = client.get_lid_pn_entry(to).await.ok().flatten().map(|entry| LibraryJid::lid(entry.lid.to_string()));
    let chat = lid.unwrap_or_else(|| to.to_non_ad()).to_string();
    let kept = client.persistence_manager().backend().store_sent_message(&chat, id, &message_to_vec(message)).await;
    kept.map_err(|error| LinkError::Internal(error.to_string()))
}
