//! A simulated phone writes: encryption for every device, resends, receipts, typing.

use anyhow::Context;
use wacore_binary::{Jid, JidExt as _, Node};
use waproto::buffa::{Message as _, MessageField};
use waproto::whatsapp as wa;
use waproto::whatsapp::message::protocol_message::Type;

use super::state::{Addressing, Received, Sent, Target};
use crate::keys::Bundle;
use crate::party::address;
use crate::stanza::{NodeExt, el};
use crate::state::{Addr, State, unix_now};

impl State {
    /// Sends a message from a phone to everybody concerned; returns its identifier.
    pub fn phone_sends(&mut self, account: usize, to: Target, message: wa::Message, addressing: Addressing) -> String {
        let id = format!("3A{:018X}", rand::random::<u64>());
        let sent = Sent { message, to, addressing };
        self.accounts[account].phone.sent.insert(id.clone(), sent.clone());
        let done = match &sent.to {
            Target::Account(to) => self.phone_sends_direct(account, *to, &id, &sent),
            Target::Group(group) => self.phone_sends_group(account, group, &id, &sent),
        };
        if let Err(error) = done {
            self.note(format!("+{}:0", self.accounts[account].pn), format!("could not send {id}: {error:#}"));
        }
        id
    }

    fn phone_sends_direct(&mut self, account: usize, to: usize, id: &str, sent: &Sent) -> anyhow::Result<()> {
        let me = Addr { account, device: 0 };
        let lid = sent.addressing.is_lid();
        let chat = self.jid_of(Addr { account: to, device: 0 }, lid);
        let plain = sent.message.encode_to_vec();
        let copy = device_sent(&chat, &sent.message).encode_to_vec();
        let mut participants = Vec::new();
        let own = self.devices_of(account).into_iter().map(|a| (a, true));
        let theirs = self.devices_of(to).into_iter().map(|a| (a, false));
        for (addr, own) in theirs.chain(own) {
            if addr == me || (own && to == account && addr.device == 0) {
                continue;
            }
            let text = if own && to != account { &copy } else { &plain };
            let enc = self.phone_encrypts(account, addr, text, media_type(&sent.message))?;
            let jid = self.jid_of(addr, lid);
            participants.push(el("to").attr("jid", jid).children([enc]).build());
        }
        let mut node = el("message")
            .attr("to", chat)
            .attr("id", id)
            .attr("type", stanza_type(&sent.message))
            .children([el("participants").children(participants).build()])
            .build();
        mark_edit(&mut node, &sent.message);
        self.message(me, node);
        Ok(())
    }

    /// A message of the own phone to one companion that no chat shows.
    pub fn phone_sends_peer(&mut self, to: Addr, message: wa::Message) {
        let id = format!("3A{:018X}", rand::random::<u64>());
        let me = Addr { account: to.account, device: 0 };
        match self.phone_encrypts(to.account, to, &message.encode_to_vec(), None) {
            Ok(enc) => {
                let sent = Sent { message, to: Target::Account(to.account), addressing: Addressing::Pn };
                self.accounts[to.account].phone.sent.insert(id.clone(), sent);
                let node = el("message")
                    .attr("from", self.jid_of(me, false))
                    .attr("category", "peer")
                    .attr("type", "protocol")
                    .attr("id", id)
                    .attr("t", unix_now().to_string())
                    .children([enc])
                    .build();
                self.deliver(to, node);
            }
            Err(error) => self.note(self.device_label(me), format!("could not send to a companion: {error:#}")),
        }
    }

    /// `<enc>` for one device; fetches keys when there is no session.
    pub fn phone_encrypts(
        &mut self,
        account: usize,
        to: Addr,
        plain: &[u8],
        media: Option<&'static str>,
    ) -> anyhow::Result<Node> {
        let name = address(&self.accounts[to.account].pn, to.device);
        if !self.accounts[account].phone.party.has_session(&name) {
            let bundle = self.take_bundle(to).with_context(|| format!("no keys for {name}"))?;
            self.accounts[account].phone.party.start_session(&name, &bundle)?;
        }
        let (kind, bytes) = self.accounts[account].phone.party.encrypt(&name, plain)?;
        let mut enc = el("enc").attr("v", "2").attr("type", kind).bytes(bytes).build();
        if let Some(media) = media {
            enc.set("mediatype", media);
        }
        Ok(enc)
    }

    /// Answers a retry receipt: a new session and the same message again.
    pub fn phone_resends(&mut self, account: usize, receipt: &Node, from: Addr) -> anyhow::Result<()> {
        let id = receipt.text_or_empty("id");
        let Some(sent) = self.accounts[account].phone.sent.get(&id).cloned() else {
            self.note(
                format!("+{}:0", self.accounts[account].pn),
                format!("asked to resend {id}, which it never sent"),
            );
            return Ok(());
        };
        let registration =
            receipt.child("registration").map(|n| crate::stanza::number(&n.content_bytes())).unwrap_or_default();
        let bundle = match receipt.child("keys").and_then(|k| Bundle::from_retry(k, registration)) {
            Some(bundle) => bundle,
            None => self.take_bundle(from).context("no keys for the device that asks for a resend")?,
        };
        let name = address(&self.accounts[from.account].pn, from.device);
        self.accounts[account].phone.party.start_session(&name, &bundle)?;
        let count = receipt.child("retry").map_or_else(|| "1".to_owned(), |r| r.text_or_empty("count"));
        let me = Addr { account, device: 0 };
        let (to, plain, participant) = match &sent.to {
            Target::Account(to) => {
                let chat = self.jid_of(Addr { account: *to, device: 0 }, sent.addressing.is_lid());
                let message = match from.account == account && *to != account {
                    true => device_sent(&chat, &sent.message),
                    false => sent.message.clone(),
                };
                (self.jid_of(from, sent.addressing.is_lid()), message, None)
            }
            Target::Group(group) => {
                let own = address(&self.accounts[account].pn, 0);
                let key = self.accounts[account].phone.party.sender_key(&group.to_string(), &own)?;
                let mut message = sent.message.clone();
                message.sender_key_distribution_message = MessageField::some(distribution(group, key));
                let lid = self.groups.get(group).is_none_or(|g| g.addressing == crate::groups::Addressing::Lid);
                (group.clone(), message, Some(self.jid_of(from, lid)))
            }
        };
        let mut enc = self.phone_encrypts(account, from, &plain.encode_to_vec(), media_type(&sent.message))?;
        enc.set("count", count);
        let mut node = el("message")
            .attr("to", to)
            .attr("id", id)
            .attr("type", stanza_type(&sent.message))
            .children([enc])
            .build();
        if let Some(participant) = participant {
            node.set("participant", participant);
        } else if let Target::Account(to) = sent.to
            && from.account == account
            && to != account
        {
            node.set("recipient", self.jid_of(Addr { account: to, device: 0 }, sent.addressing.is_lid()));
        }
        self.message(me, node);
        Ok(())
    }

    /// The phone asks the author's device for a message it could not open.
    pub fn phone_asks_again(&mut self, account: usize, message: &Node, author: &Jid, from: Addr) {
        let id = message.text_or_empty("id");
        let count = {
            let count = self.accounts[account].phone.retries.entry((id.clone(), from)).or_insert(0);
            *count += 1;
            *count
        };
        if count > 5 {
            return;
        }
        let phone = &mut self.accounts[account].phone;
        let keys = phone.take_bundle().retry_node();
        let registration = phone.party.registration().to_be_bytes().to_vec();
        let retry = el("retry")
            .attr("count", count.to_string())
            .attr("id", id.as_str())
            .attr("t", message.text_or_empty("t"))
            .attr("v", "1")
            .build();
        let mut receipt = el("receipt")
            .attr("type", "retry")
            .attr("id", id)
            .children([retry, el("registration").bytes(registration).build(), keys])
            .build();
        match message.jid("from").filter(Jid::is_group_like) {
            Some(group) => {
                receipt.set("to", group);
                receipt.set("participant", author.clone());
            }
            None => receipt.set("to", author.clone()),
        }
        self.pass_receipt(Addr { account, device: 0 }, &receipt);
    }

    /// The phone asks a device for a message that it never got.
    pub fn phone_asks_for(&mut self, account: usize, device: Addr, id: &str) {
        let retry =
            el("retry").attr("count", "1").attr("id", id).attr("t", unix_now().to_string()).attr("v", "1").build();
        let registration = self.accounts[account].phone.party.registration().to_be_bytes().to_vec();
        let receipt = el("receipt")
            .attr("type", "retry")
            .attr("id", id)
            .attr("to", self.jid_of(device, true))
            .children([retry, el("registration").bytes(registration).build()])
            .build();
        self.pass_receipt(Addr { account, device: 0 }, &receipt);
    }

    /// The phone confirms a message.
    pub fn phone_receipt(&mut self, account: usize, received: &Received, kind: &str) {
        let mut receipt = el("receipt").attr("id", received.id.as_str()).build();
        if received.chat_jid.is_group_like() {
            receipt.set("to", received.chat_jid.clone());
            receipt.set("participant", received.sender_jid.clone());
        } else {
            receipt.set("to", received.sender_jid.clone());
        }
        if !kind.is_empty() {
            receipt.set("type", kind);
        }
        self.pass_receipt(Addr { account, device: 0 }, &receipt);
    }

    /// The phone shows or hides "typing…" (or "recording…").
    pub fn phone_chatstate(&mut self, account: usize, chat: &Jid, what: &str) {
        let child = match what {
            "recording" => el("composing").attr("media", "audio").build(),
            "paused" => el("paused").build(),
            _ => el("composing").build(),
        };
        self.pass_chatstate(Addr { account, device: 0 }, chat, vec![child]);
    }

    /// The phone comes online or goes offline.
    pub fn phone_presence(&mut self, account: usize, online: bool) {
        self.accounts[account].phone.online = online;
        self.tell_presence(account, online);
    }

    /// A new installation of the phone's app.
    pub fn reinstall_phone(&mut self, account: usize, announced: bool) {
        let companions: Vec<u16> = self.accounts[account].devices.keys().copied().collect();
        for device in companions {
            self.remove_device(Addr { account, device });
        }
        self.accounts[account].phone.reinstall();
        let phone = Addr { account, device: 0 };
        self.note(self.device_label(phone), "reinstalled: a new identity");
        if !announced {
            return;
        }
        let watchers: Vec<usize> = self.accounts[account].watchers.iter().copied().collect();
        for watcher in watchers {
            for to in self.devices_of(watcher) {
                let id = self.stanza_id();
                let node = el("notification")
                    .attr("from", self.jid_of(phone, false))
                    .attr("lid", self.jid_of(phone, true))
                    .attr("type", "encrypt")
                    .attr("id", id)
                    .attr("t", unix_now().to_string())
                    .children([el("identity").build()])
                    .build();
                self.deliver(to, node);
            }
        }
    }

    /// Breaks the phone's session with a device.
    pub fn corrupt_session(&mut self, account: usize, with: Addr) -> anyhow::Result<()> {
        let name = address(&self.accounts[with.account].pn, with.device);
        self.accounts[account].phone.party.corrupt_session(&name)
    }
}

/// A JID that names a conversation of several people.
pub(crate) trait GroupLike {
    fn is_group_like(&self) -> bool;
}

impl GroupLike for Jid {
    fn is_group_like(&self) -> bool {
        self.is_group() || self.server == wacore_binary::Server::Broadcast
    }
}

/// The copy of a message for the author's other devices.
fn device_sent(chat: &Jid, message: &wa::Message) -> wa::Message {
    wa::Message {
        device_sent_message: MessageField::some(wa::message::DeviceSentMessage {
            destination_jid: Some(chat.to_string()),
            message: MessageField::some(message.clone()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Content that hands out a sender key.
pub(crate) fn distribution(group: &Jid, key: Vec<u8>) -> wa::message::SenderKeyDistributionMessage {
    wa::message::SenderKeyDistributionMessage {
        group_id: Some(group.to_string()),
        axolotl_sender_key_distribution_message: Some(key),
    }
}

/// `type` of the stanza.
pub(crate) fn stanza_type(message: &wa::Message) -> &'static str {
    if message.reaction_message.is_set() {
        "reaction"
    } else if media_type(message).is_some() {
        "media"
    } else if message.poll_creation_message.is_set() || message.poll_creation_message_v3.is_set() {
        "poll"
    } else {
        "text"
    }
}

/// Marks a stanza that changes (1) or takes back (7) an earlier message.
pub(crate) fn mark_edit(node: &mut Node, message: &wa::Message) {
    match message.protocol_message.as_option().and_then(|p| p.r#type) {
        Some(Type::MESSAGE_EDIT) => node.set("edit", "1"),
        Some(Type::REVOKE) => node.set("edit", "7"),
        _ => {}
    }
}

/// `mediatype` of `<enc>`.
pub(crate) fn media_type(message: &wa::Message) -> Option<&'static str> {
    let kinds = [
        (message.image_message.is_set(), "image"),
        (message.video_message.is_set(), "video"),
        (message.audio_message.is_set(), "audio"),
        (message.document_message.is_set(), "document"),
        (message.sticker_message.is_set(), "sticker"),
        (message.location_message.is_set(), "location"),
        (message.contact_message.is_set(), "vcard"),
    ];
    kinds.into_iter().find(|(is, _)| *is).map(|(_, kind)| kind)
}
