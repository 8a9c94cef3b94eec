//! Receipts, typing and presence: from one side to the other.

use wacore_binary::{Jid, JidExt as _, Node, NodeContent};

use crate::phone::Received;
use crate::stanza::{NodeExt, el};
use crate::state::{Addr, State, unix_now};

impl State {
    /// A companion's receipt: it settles the queue and is passed on.
    pub fn receipt(&mut self, from: Addr, node: &Node) {
        if let Some(conn) = self.device(from).and_then(|d| d.conn) {
            let mut ack = el("ack").attr("class", "receipt").attr("id", node.text_or_empty("id")).build();
            if let Some(to) = node.attrs.get("to") {
                ack.set("from", to.clone());
            }
            for name in ["type", "participant"] {
                if let Some(value) = node.attrs.get(name) {
                    ack.set(name, value.clone());
                }
            }
            self.send(conn, ack);
        }
        // Whoever asks for a message again has not got it: its stanza waits for its own ack.
        if node.text_or_empty("type") != "retry" {
            for id in message_ids(node) {
                self.forget(from, &id, "message");
            }
        }
        if node.text_or_empty("type") == "server-error" {
            self.media_asked_again(from, node);
        } else {
            self.pass_receipt(from, node);
        }
    }

    /// Brings a receipt to the author of the message.
    pub fn pass_receipt(&mut self, from: Addr, node: &Node) {
        let Some(to) = node.jid("to") else { return };
        let kind = node.text_or_empty("type");
        let group = to.is_group() || to.is_status_broadcast();
        let author = if group { node.jid("participant") } else { Some(to.clone()) };
        let Some(author) = author else { return };
        let Some(target) = self.resolve(&author) else { return };
        let exact = matches!(kind.as_str(), "retry" | "enc_rekey_retry");
        if !exact && (target.account == from.account || kind == "sender" || kind == "peer_msg") {
            return;
        }
        let lid = author.is_lid();
        let reader = if exact || group { from } else { Addr { account: from.account, device: 0 } };
        let mut passed = el("receipt").attr("id", node.text_or_empty("id")).attr("t", unix_now().to_string()).build();
        if group {
            passed.set("from", to);
            passed.set("participant", self.jid_of(reader, lid));
        } else {
            passed.set("from", self.jid_of(reader, lid));
        }
        // "inactive" means delivered to a client that nobody looks at.
        if !kind.is_empty() && kind != "inactive" {
            passed.set("type", kind.as_str());
        }
        passed.content = node.content.clone();
        let targets = if exact { vec![target] } else { self.devices_of(target.account) };
        for to in targets {
            self.deliver(to, passed.clone());
        }
    }

    /// The phone tells a companion of its own that it got a copy of what that companion sent.
    pub fn phone_confirms_own(&mut self, account: usize, copy: &Received) {
        let lid = copy.sender_jid.is_lid();
        let mut receipt = el("receipt").attr("id", copy.id.as_str()).attr("t", unix_now().to_string()).build();
        let me = self.jid_of(Addr { account, device: 0 }, lid);
        if copy.chat_jid.is_group() {
            receipt.set("from", copy.chat_jid.clone());
            receipt.set("participant", me);
        } else {
            receipt.set("from", me);
            receipt.set("type", "sender");
            if let Some(peer) = copy.chat.strip_prefix('+').and_then(|number| self.resolve(&Jid::pn(number))) {
                receipt.set("recipient", self.jid_of(Addr { account: peer.account, device: 0 }, lid));
            }
        }
        self.deliver(Addr { account, device: copy.device }, receipt);
    }

    /// `<chatstate>` from a companion.
    pub fn chatstate(&mut self, from: Addr, node: &Node) {
        let Some(to) = node.jid("to") else { return };
        self.pass_chatstate(from, &to, node.kids().to_vec());
    }

    /// Shows somebody's typing to the other side.
    pub fn pass_chatstate(&mut self, from: Addr, to: &Jid, children: Vec<Node>) {
        if to.is_group() {
            let Some(group) = self.groups.get(to).cloned() else { return };
            let lid = group.addressing == crate::groups::Addressing::Lid;
            for person in group.people() {
                let Some(member) = self.resolve(&person.pn_jid()) else { continue };
                if member.account == from.account {
                    continue;
                }
                let mut passed = el("chatstate").attr("from", to).attr("participant", self.jid_of(from, lid)).build();
                passed.content = Some(NodeContent::Nodes(children.clone()));
                for device in self.devices_of(member.account) {
                    self.send_live(device, passed.clone());
                }
            }
            return;
        }
        let Some(target) = self.resolve(to) else { return };
        let plain = Addr { account: from.account, device: 0 };
        let mut passed = el("chatstate").attr("from", self.jid_of(plain, to.is_lid())).build();
        passed.content = Some(NodeContent::Nodes(children));
        for device in self.devices_of(target.account) {
            self.send_live(device, passed.clone());
        }
    }

    /// `<presence>` from a companion.
    pub fn presence(&mut self, from: Addr, node: &Node) {
        match node.text_or_empty("type").as_str() {
            "subscribe" => {
                let Some(to) = node.jid("to").and_then(|j| self.resolve(&j)) else { return };
                if let Some(device) = self.device_mut(from) {
                    device.subscriptions.insert(to.account);
                }
                let online = self.accounts[to.account].devices.values().any(|d| d.available)
                    || self.accounts[to.account].phone.online;
                let answer = self.presence_node(to.account, online);
                self.send_live(from, answer);
            }
            "unavailable" => self.shows_itself(from, false),
            _ => {
                if let Some(name) = node.text("name").filter(|n| !n.is_empty()) {
                    self.accounts[from.account].name = name;
                }
                self.shows_itself(from, true);
            }
        }
    }

    fn shows_itself(&mut self, from: Addr, available: bool) {
        if let Some(device) = self.device_mut(from) {
            device.available = available;
        }
        self.tell_presence(from.account, available);
    }

    /// Tells those who asked whether an account is online. Phones see everybody they talked to.
    pub fn tell_presence(&mut self, account: usize, available: bool) {
        let node = self.presence_node(account, available);
        for other in 0..self.accounts.len() {
            if other == account {
                continue;
            }
            for device in self.devices_of(other) {
                let told = match device.device {
                    0 => self.accounts[account].watchers.contains(&other),
                    _ => self.device(device).is_some_and(|d| d.subscriptions.contains(&account)),
                };
                if told {
                    self.send_live(device, node.clone());
                }
            }
        }
    }

    fn presence_node(&self, account: usize, available: bool) -> Node {
        let from = self.jid_of(Addr { account, device: 0 }, false);
        let node = el("presence").attr("from", from);
        match available {
            true => node.build(),
            false => node.attr("type", "unavailable").attr("last", unix_now().to_string()).build(),
        }
    }
}

/// All messages that a receipt is about.
pub(crate) fn message_ids(receipt: &Node) -> Vec<String> {
    let more = receipt.child("list").map(NodeExt::kids).unwrap_or_default();
    std::iter::once(receipt.text_or_empty("id")).chain(more.iter().filter_map(|item| item.text("id"))).collect()
}
