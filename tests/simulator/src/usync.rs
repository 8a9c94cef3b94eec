//! Contact discovery: who exists, under which LID, with which devices.

use wacore_binary::{Jid, Node};

use crate::iq::Answer;
use crate::phone::NumberShown;
use crate::stanza::{NodeExt, el};
use crate::state::{Addr, State, unix_now};

impl State {
    pub fn usync(&mut self, asking: Addr, iq: &Node) -> Answer {
        let Some(request) = iq.child("usync") else { return Err((400, "bad-request")) };
        let protocols: Vec<String> =
            request.child("query").map(|q| q.kids().iter().map(|p| p.tag.to_string()).collect()).unwrap_or_default();
        let users = request.child("list").map(|l| l.kids().to_vec()).unwrap_or_default();
        let list: Vec<Node> = users.iter().filter_map(|u| self.usync_user(asking, u, &protocols)).collect();
        let asked = protocols.iter().map(|p| wacore_binary::builder::NodeBuilder::new_dynamic(p.clone()).build());
        let mut answer = Node::new("usync", request.attrs.clone(), None);
        answer.push(el("result").children(asked.collect::<Vec<_>>()).build());
        answer.push(el("list").children(list).build());
        Ok(vec![answer])
    }

    fn usync_user(&mut self, asking: Addr, user: &Node, protocols: &[String]) -> Option<Node> {
        let number = user.child("contact").map(|c| String::from_utf8_lossy(&c.content_bytes()).into_owned());
        let asked: Jid = match user.jid("jid") {
            Some(jid) => jid,
            None => Jid::pn(number.as_deref()?.chars().filter(char::is_ascii_digit).collect::<String>()),
        };
        let known = self.resolve(&asked).map(|a| a.account);
        let mut answer = el("user").attr("jid", asked.clone()).build();
        if let Some(account) = known {
            self.accounts[account].watchers.insert(asking.account);
            // Whoever asks by number knows it already.
            if !asked.is_lid() || self.accounts[account].phone.number_shown != NumberShown::Never {
                answer.set("pn_jid", self.jid_of(Addr { account, device: 0 }, false));
            }
        }
        for protocol in protocols {
            let node = match (protocol.as_str(), known) {
                ("contact", _) => {
                    let kind = if known.is_some() { "in" } else { "out" };
                    let number = number.clone().unwrap_or_else(|| format!("+{}", asked.user_base()));
                    el("contact").attr("type", kind).string_content(number).build()
                }
                // Asked by LID, the answer would be a mapping of the LID to itself.
                ("lid", Some(account)) if !asked.is_lid() => {
                    el("lid").attr("val", self.jid_of(Addr { account, device: 0 }, true)).build()
                }
                ("devices", Some(account)) => self.devices_node(account),
                ("status", Some(_)) => el("status").attr("t", unix_now().to_string()).build(),
                ("disappearing_mode", Some(_)) => el("disappearing_mode").attr("duration", "0").attr("t", "0").build(),
                _ => continue,
            };
            answer.push(node);
        }
        Some(answer)
    }

    fn devices_node(&self, account: usize) -> Node {
        let owner = &self.accounts[account];
        let mut list = vec![el("device").attr("id", "0").build()];
        list.extend(
            owner.devices.iter().map(|(id, d)| {
                el("device").attr("id", id.to_string()).attr("key-index", d.key_index.to_string()).build()
            }),
        );
        let mut children = vec![el("device-list").children(list).build()];
        if !owner.devices.is_empty() {
            let index = el("key-index-list").attr("ts", unix_now().to_string());
            children.push(index.bytes(self.key_index_list(account)).build());
        }
        el("devices").children(children).build()
    }
}
