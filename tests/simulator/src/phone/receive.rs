//! A simulated phone reads: decryption, what it shows, receipts and retry receipts.

use std::time::SystemTime;

use anyhow::{Context, anyhow};
use wacore::proto_helpers::MessageExt as _;
use wacore_binary::{Jid, Node};
use waproto::buffa::Message as _;
use waproto::whatsapp as wa;

use super::send::GroupLike as _;
use super::state::{Addressing, Reaction, Receipt, ReceiptKind, Received, Sign, Undecryptable};
use crate::party::address;
use crate::receipts::message_ids;
use crate::stanza::NodeExt;
use crate::state::{Addr, State};

impl State {
    /// A stanza for a phone.
    pub fn phone_receives(&mut self, account: usize, node: &Node) {
        match node.tag.as_ref() {
            "message" => self.phone_reads_message(account, node),
            "receipt" => self.phone_reads_receipt(account, node),
            "notification" => self.phone_reads_notification(account, node),
            "chatstate" | "presence" => self.phone_sees_sign(account, node),
            _ => {}
        }
    }

    fn phone_reads_message(&mut self, account: usize, node: &Node) {
        let Some(chat_jid) = node.jid("from") else { return };
        let author = node.jid("participant").unwrap_or_else(|| chat_jid.clone());
        let Some(from) = self.resolve(&author) else { return };
        if self.accounts[account].phone.deaf {
            let me = self.device_label(Addr { account, device: 0 });
            self.note(me, format!("cannot open {} and does not ask for it", node.text_or_empty("id")));
            return;
        }
        let name = address(&self.accounts[from.account].pn, from.device);
        let group = chat_jid.is_group_like().then(|| chat_jid.to_string());
        let mut content = None;
        let mut failure = None;
        for enc in node.kids().iter().filter(|n| n.tag == "enc") {
            let kind = enc.text_or_empty("type");
            let phone = &mut self.accounts[account].phone;
            let opened = match (kind.as_str(), &group) {
                ("skmsg", Some(group)) => phone.party.group_decrypt(group, &name, &enc.content_bytes()),
                ("skmsg", None) => Err(anyhow!("skmsg outside of a group")),
                _ => phone.party.decrypt(&name, &kind, &enc.content_bytes()),
            };
            let read = opened.and_then(|plain| {
                let message = wa::Message::decode_from_slice(&plain).context("plaintext is not a Message")?;
                if let Some(share) = message.sender_key_distribution_message.as_option() {
                    let key = share.axolotl_sender_key_distribution_message.as_deref().unwrap_or_default();
                    phone.party.learn_sender_key(share.group_id.as_deref().unwrap_or_default(), &name, key)?;
                }
                Ok(message)
            });
            match read {
                Ok(mut message) => {
                    message.sender_key_distribution_message = Default::default();
                    if message != wa::Message::default() {
                        content = Some(message);
                    }
                }
                Err(error) => failure = Some((kind, format!("{error:#}"))),
            }
        }
        match (content, failure) {
            (Some(content), _) => self.phone_shows(account, node, &chat_jid, &author, from, content),
            (None, Some((kind, reason))) => {
                let undecryptable = Undecryptable {
                    id: node.text_or_empty("id"),
                    from: format!("+{}", self.accounts[from.account].pn),
                    device: from.device,
                    kind,
                    reason,
                    recovered: false,
                };
                let me = self.device_label(Addr { account, device: 0 });
                self.note(me, format!("cannot open {}: {}", undecryptable.id, undecryptable.reason));
                self.accounts[account].phone.undecryptable.push(undecryptable);
                self.phone_asks_again(account, node, &author, from);
            }
            (None, None) => {}
        }
    }

    fn phone_shows(
        &mut self,
        account: usize,
        node: &Node,
        chat_jid: &Jid,
        author: &Jid,
        from: Addr,
        content: wa::Message,
    ) {
        let id = node.text_or_empty("id");
        for missed in &mut self.accounts[account].phone.undecryptable {
            if missed.id == id {
                missed.recovered = true;
            }
        }
        if node.text("category").as_deref() == Some("peer") {
            return;
        }
        let own = from.account == account;
        let (message, destination) = match content.device_sent_message.as_option() {
            Some(sent) => {
                let destination = sent.destination_jid.as_deref().and_then(|j| j.parse::<Jid>().ok());
                ((*sent.message).clone(), destination)
            }
            None => (content, None),
        };
        let chat = match (chat_jid.is_group_like(), destination) {
            (true, _) => chat_jid.to_string(),
            (false, Some(to)) if to.is_group_like() => to.to_string(),
            (false, to) => {
                let other = to.and_then(|j| self.resolve(&j)).unwrap_or(from);
                format!("+{}", self.accounts[other.account].pn)
            }
        };
        let reaction = message.reaction_message.as_option().map(|r| Reaction {
            target: r.key.id.clone().unwrap_or_default(),
            emoji: r.text.clone().unwrap_or_default(),
        });
        let text = message.text_content().or_else(|| message.get_caption()).unwrap_or_default().to_owned();
        let received = Received {
            id,
            from: format!("+{}", self.accounts[from.account].pn),
            device: from.device,
            chat,
            own,
            text,
            reaction,
            message,
            addressing: if author.is_lid() { Addressing::Lid } else { Addressing::Pn },
            sender_jid: author.clone(),
            chat_jid: chat_jid.clone(),
            at: SystemTime::now(),
            taken: false,
        };
        let phone = &mut self.accounts[account].phone;
        let (delivered, read) = (phone.auto_receipts && !own, phone.auto_read && !own);
        phone.inbox.push(received.clone());
        if own {
            self.phone_confirms_own(account, &received);
        }
        if delivered {
            self.phone_receipt(account, &received, "");
        }
        if read {
            self.phone_receipt(account, &received, "read");
        }
    }

    fn phone_reads_receipt(&mut self, account: usize, node: &Node) {
        let reader = node.jid("participant").or_else(|| node.jid("from"));
        let Some(from) = reader.and_then(|j| self.resolve(&j)) else { return };
        let raw = node.text_or_empty("type");
        let kind = match raw.as_str() {
            "" | "inactive" => ReceiptKind::Delivered,
            "read" => ReceiptKind::Read,
            "played" => ReceiptKind::Played,
            "retry" => ReceiptKind::Retry,
            _ => ReceiptKind::Other,
        };
        let number = format!("+{}", self.accounts[from.account].pn);
        for id in message_ids(node) {
            let receipt = Receipt { id, kind, from: number.clone(), device: from.device, raw: raw.clone() };
            self.accounts[account].phone.receipts.push(receipt);
        }
        if kind == ReceiptKind::Retry
            && !self.accounts[account].phone.deaf
            && let Err(error) = self.phone_resends(account, node, from)
        {
            let me = self.device_label(Addr { account, device: 0 });
            self.note(me, format!("could not resend: {error:#}"));
        }
    }

    fn phone_reads_notification(&mut self, account: usize, node: &Node) {
        match node.text_or_empty("type").as_str() {
            "encrypt" if node.child("identity").is_some() => {
                if let Some(other) = node.jid("from").and_then(|j| self.resolve(&j)) {
                    let name = address(&self.accounts[other.account].pn, 0);
                    self.accounts[account].phone.party.forget_session(&name);
                }
            }
            "w:gp2" => self.accounts[account].phone.group_news.push(node.clone()),
            _ => {}
        }
    }

    fn phone_sees_sign(&mut self, account: usize, node: &Node) {
        let author = node.jid("participant").or_else(|| node.jid("from"));
        let Some(from) = author.and_then(|j| self.resolve(&j)) else { return };
        let number = format!("+{}", self.accounts[from.account].pn);
        let what = if node.tag == "presence" {
            if node.text("type").as_deref() == Some("unavailable") { "unavailable" } else { "available" }.to_owned()
        } else {
            match node.kids().first() {
                Some(child) if child.text("media").as_deref() == Some("audio") => "recording".to_owned(),
                Some(child) => child.tag.to_string(),
                None => return,
            }
        };
        let chat = node.jid("from").filter(|j| j.is_group_like()).map_or_else(|| number.clone(), |j| j.to_string());
        self.accounts[account].phone.signs.push(Sign { from: number, what, chat, taken: false });
    }
}
