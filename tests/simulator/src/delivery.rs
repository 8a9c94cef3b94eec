//! Messages on their way: from a device through the server to every device concerned, and the offline queue.

use wacore_binary::{Jid, JidExt as _, Node, NodeContent};

use crate::faults::Fault;
use crate::phone::NumberShown;
use crate::stanza::{NodeExt, el};
use crate::state::{Addr, Queued, State, unix_now};

/// Attributes of a client's message that are passed on.
const COPIED: [&str; 4] = ["type", "category", "edit", "addressing_mode"];

impl State {
    /// A companion or a phone sends a message.
    pub fn message(&mut self, from: Addr, node: Node) {
        let Some(to) = node.jid("to") else { return };
        if from.device != 0 {
            let own = self.device(from);
            if own.is_some_and(|d| d.faults.has(&Fault::SwallowMessages)) || self.faults.has(&Fault::SwallowMessages) {
                return;
            }
            let nack = self.device_mut(from).and_then(|d| d.faults.nack_next()).or_else(|| self.faults.nack_next());
            if let Some(error) = nack {
                self.ack_message(from, &node, Some(error));
                return;
            }
        }
        if to.is_group() {
            self.group_message(from, &to, node);
        } else if to.is_status_broadcast() {
            self.status_message(from, &node);
        } else {
            if self.resolve(&to).is_none() {
                self.ack_message(from, &node, Some(404));
                return;
            }
            self.ack_message(from, &node, None);
            self.direct_message(from, &to, node);
        }
    }

    /// The server's answer to a message of a companion.
    pub fn ack_message(&mut self, from: Addr, node: &Node, error: Option<u16>) {
        let Some(conn) = self.device(from).and_then(|d| d.conn) else {
            if let Some(error) = error {
                let refused = format!("message {} was refused: {error}", node.text_or_empty("id"));
                self.note(self.device_label(from), refused);
            }
            return;
        };
        let mut ack = el("ack")
            .attr("class", "message")
            .attr("id", node.text_or_empty("id"))
            .attr("t", unix_now().to_string())
            .build();
        if let Some(to) = node.attrs.get("to") {
            ack.set("from", to.clone());
        }
        if let Some(error) = error {
            ack.set("error", error.to_string());
        }
        self.send(conn, ack);
    }

    fn direct_message(&mut self, from: Addr, chat: &Jid, node: Node) {
        let shared = shared_children(&node);
        let Some(participants) = node.child("participants") else {
            // One addressed device: peer messages and resends.
            let own: Vec<Node> = node.kids().iter().filter(|n| n.tag == "enc").cloned().collect();
            let recipient = node.jid("recipient");
            self.hand_over(from, chat, recipient.as_ref(), &node, [own, shared].concat());
            return;
        };
        for to in participants.kids() {
            let Some(jid) = to.jid("jid") else { continue };
            let children = [to.kids().to_vec(), shared.clone()].concat();
            self.hand_over(from, &jid, Some(chat), &node, children);
        }
    }

    /// One device's copy of a one-to-one message.
    fn hand_over(&mut self, from: Addr, to: &Jid, chat: Option<&Jid>, sent: &Node, children: Vec<Node>) {
        let Some(addr) = self.resolve(to) else { return };
        if addr.device != 0 && self.device(addr).is_none() {
            return;
        }
        let number = self.accounts[addr.account].pn.clone();
        let dead = |faults: &crate::faults::Faults| faults.is_dead(to.is_lid(), &number);
        let own = addr.account == from.account;
        if from.device != 0 && !own && (self.device(from).is_some_and(|d| dead(&d.faults)) || dead(&self.faults)) {
            self.note(self.device_label(from), format!("{} reaches no device at {to}", sent.text_or_empty("id")));
            return;
        }
        self.accounts[from.account].watchers.insert(addr.account);
        let lid = to.is_lid();
        let mut node = self.envelope(from, sent);
        node.set("from", self.jid_of(from, lid));
        let plain = Addr { account: from.account, device: 0 };
        if !lid {
            node.set("sender_lid", self.jid_of(plain, true));
        } else if self.shows_number(from.account) {
            node.set("sender_pn", self.jid_of(plain, false));
        }
        if addr.account == from.account
            && let Some(chat) = chat.map(Jid::to_non_ad)
        {
            if let Some(peer) = self.resolve(&chat) {
                let name = if chat.is_lid() { "peer_recipient_pn" } else { "peer_recipient_lid" };
                node.set(name, self.jid_of(Addr { account: peer.account, device: 0 }, !chat.is_lid()));
            }
            node.set("recipient", chat);
        }
        node.content = Some(NodeContent::Nodes(children));
        self.deliver(addr, node);
    }

    /// The attributes that every copy of a message has.
    pub fn envelope(&self, from: Addr, sent: &Node) -> Node {
        let phone = &self.accounts[from.account].phone;
        let age = if from.device == 0 { phone.message_age.as_secs() } else { 0 };
        let mut node = el("message")
            .attr("id", sent.text_or_empty("id"))
            .attr("t", unix_now().saturating_sub(age).to_string())
            .attr("notify", self.accounts[from.account].name.as_str())
            .build();
        for name in COPIED {
            if let Some(value) = sent.attrs.get(name) {
                node.set(name, value.clone());
            }
        }
        node
    }

    /// Whether stanzas carry the number behind a LID.
    pub fn shows_number(&self, account: usize) -> bool {
        self.accounts[account].phone.number_shown == NumberShown::InStanzas
    }

    /// Puts a stanza into a device's queue, and on the wire if it listens.
    pub fn deliver(&mut self, to: Addr, node: Node) {
        if to.device == 0 {
            self.to_phones.push_back((to.account, node));
            return;
        }
        let Some(device) = self.device_mut(to) else { return };
        let live = device.conn.filter(|_| device.active);
        device.queue.push_back(Queued { node: node.clone(), sent: live.is_some() });
        if let Some(conn) = live {
            self.put_on_wire(to, conn, node);
        }
    }

    /// Sends a queued stanza, with the faults that hit messages.
    fn put_on_wire(&mut self, to: Addr, conn: u64, mut node: Node) {
        if node.tag != "message" {
            self.send(conn, node);
            return;
        }
        let flip = self.device_mut(to).is_some_and(|d| d.faults.flip_next()) || self.faults.flip_next();
        if flip {
            damage(&mut node);
        }
        let global = self.faults.clone();
        let Some(device) = self.device_mut(to) else { return };
        if device.faults.has(&Fault::SwapMessages) || global.has(&Fault::SwapMessages) {
            match device.held.take() {
                None => device.held = Some(node),
                Some(first) => {
                    self.send(conn, node);
                    self.send(conn, first);
                }
            }
            return;
        }
        let twice = device.faults.has(&Fault::DuplicateMessages) || global.has(&Fault::DuplicateMessages);
        if let Some(held) = device.held.take() {
            self.send(conn, held);
        }
        if twice {
            self.send(conn, node.clone());
        }
        self.send(conn, node);
    }

    /// Sends a stanza that is lost when nobody listens.
    pub fn send_live(&mut self, to: Addr, node: Node) {
        if to.device == 0 {
            self.to_phones.push_back((to.account, node));
            return;
        }
        if let Some(conn) = self.device(to).filter(|d| d.active).and_then(|d| d.conn) {
            self.send(conn, node);
        }
    }

    /// A client's `<ack>`.
    pub fn acknowledged(&mut self, addr: Addr, ack: &Node) {
        let class = ack.text_or_empty("class");
        self.forget(addr, &ack.text_or_empty("id"), &class);
    }

    /// Takes a stanza out of a device's queue.
    pub fn forget(&mut self, addr: Addr, id: &str, tag: &str) {
        let Some(device) = self.device_mut(addr) else { return };
        let at = device.queue.iter().position(|q| q.sent && q.node.tag == tag && q.node.text_or_empty("id") == id);
        if let Some(at) = at {
            device.queue.remove(at);
        }
    }
}

/// What belongs to the message as a whole and goes to everybody.
pub(crate) fn shared_children(node: &Node) -> Vec<Node> {
    node.kids().iter().filter(|n| !matches!(n.tag.as_ref(), "participants" | "viewers" | "enc")).cloned().collect()
}

/// Flips one bit in the middle of the first ciphertext.
fn damage(node: &mut Node) {
    let Some(NodeContent::Nodes(children)) = &mut node.content else { return };
    for child in children.iter_mut().filter(|c| c.tag == "enc") {
        if let Some(NodeContent::Bytes(bytes)) = &mut child.content {
            let mut damaged = bytes.to_vec();
            // Two thirds in is ciphertext in every kind of message.
            let at = damaged.len() * 2 / 3;
            if let Some(byte) = damaged.get_mut(at) {
                *byte ^= 1;
            }
            *bytes = damaged;
            return;
        }
    }
}
