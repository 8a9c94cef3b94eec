//! Every question a client asks, and the answers.

use wacore_binary::{Jid, Node, NodeContent};

use crate::appstate::Changed;
use crate::faults::IqFault;
use crate::stanza::{NodeExt, SERVER, el};
use crate::state::{Addr, State, unix_now};

/// What is said to a question.
pub(crate) type Answer = Result<Vec<Node>, (u16, &'static str)>;

const NOTHING: Answer = Ok(Vec::new());

impl State {
    pub fn iq(&mut self, conn: u64, addr: Option<Addr>, iq: &Node) {
        if !matches!(iq.text("type").as_deref(), Some("get" | "set")) {
            self.pairing_answer(conn, iq);
            return;
        }
        let namespace = iq.text_or_empty("xmlns");
        let fault = addr.and_then(|a| self.device(a)).and_then(|d| d.faults.iq(&namespace));
        let answer = match fault.or(self.faults.iq(&namespace)) {
            Some(IqFault::Silent) => {
                self.unanswered.push(describe(iq));
                return;
            }
            Some(IqFault::Empty) => NOTHING,
            Some(IqFault::Error(code)) => Err((code, "internal-server-error")),
            None => match addr {
                Some(addr) if namespace == "w:g2" => {
                    self.group_question(conn, addr, iq);
                    return;
                }
                _ => self.answer(conn, addr, iq),
            },
        };
        self.reply(conn, iq, answer);
        for (conn, account, secret) in std::mem::take(&mut self.pairings_due) {
            self.start_pairing(conn, account, &secret);
        }
        let activates = fault.is_none() && self.faults.iq(&namespace).is_none();
        if let (true, "passive", Some(addr), true) = (activates, namespace.as_str(), addr, iq.child("active").is_some())
        {
            self.activate(conn, addr);
        }
        if let (true, "md", Some(addr), Some(_)) =
            (activates, namespace.as_str(), addr, iq.child("remove-companion-device"))
        {
            self.remove_device(addr);
        }
    }

    fn reply(&mut self, conn: u64, iq: &Node, answer: Answer) {
        self.send(conn, reply_to(iq, answer));
    }

    fn answer(&mut self, conn: u64, addr: Option<Addr>, iq: &Node) -> Answer {
        let namespace = iq.text_or_empty("xmlns");
        let set = iq.text("type").as_deref() == Some("set");
        if let Some(link) = iq.child("link_code_companion_reg") {
            return self.link_code(conn, link);
        }
        let Some(addr) = addr else { return NOTHING };
        match (namespace.as_str(), set) {
            ("passive" | "w:p" | "w:stats" | "urn:xmpp:whatsapp:push" | "urn:xmpp:whatsapp:dirty", _) => NOTHING,
            ("md" | "tos" | "status" | "disappearing_mode" | "urn:xmpp:whatsapp:account", _) => NOTHING,
            ("encrypt", _) => self.keys_question(addr, iq, set),
            ("usync", _) => self.usync(addr, iq),
            ("w:sync:app:state", _) => self.app_state(addr, iq),
            ("abt", _) => Ok(vec![
                el("props")
                    .attr("protocol", "1")
                    .attr("ab_key", "x")
                    .attr("hash", "h")
                    .attr("refresh", "86400")
                    .attr("refresh_id", "1")
                    .build(),
            ]),
            ("blocklist", false) => Ok(vec![el("list").attr("dhash", "0").build()]),
            ("privacy", false) => Ok(vec![privacy()]),
            ("blocklist" | "privacy", true) => NOTHING,
            ("w:m", _) => Ok(vec![self.media.media_conn()]),
            ("w:profile:picture", _) => Err((404, "item-not-found")),
            ("w:mex", _) => Ok(vec![el("result").bytes(b"{\"data\":{}}".to_vec()).build()]),
            _ => {
                self.unknown_iqs.push(describe(iq));
                NOTHING
            }
        }
    }

    fn keys_question(&mut self, addr: Addr, iq: &Node, set: bool) -> Answer {
        if set {
            let stored = self.device_mut(addr).is_some_and(|d| d.keys.upload(iq));
            return if stored { NOTHING } else { Err((406, "not-acceptable")) };
        }
        if let Some(wanted) = iq.child("key") {
            let wanted: Vec<Jid> = wanted.kids().iter().filter_map(|u| u.jid("jid")).collect();
            let users = wanted.iter().map(|jid| self.key_answer(addr, jid)).collect::<Vec<_>>();
            return Ok(vec![el("list").children(users).build()]);
        }
        let Some(device) = self.device(addr) else { return Err((404, "item-not-found")) };
        if iq.child("count").is_some() {
            return Ok(vec![el("count").attr("value", device.keys.one_time.len().to_string()).build()]);
        }
        if iq.child("digest").is_some() {
            return Ok(vec![device.keys.digest()]);
        }
        Err((400, "bad-request"))
    }

    fn key_answer(&mut self, asking: Addr, jid: &Jid) -> Node {
        let bundle = self.resolve(jid).and_then(|a| {
            self.accounts[a.account].watchers.insert(asking.account);
            self.take_bundle(a)
        });
        match bundle {
            Some(bundle) => bundle.user_node(jid, unix_now()),
            None => el("user").attr("jid", jid).children([error(404, "item-not-found")]).build(),
        }
    }

    fn app_state(&mut self, addr: Addr, iq: &Node) -> Answer {
        let Some(sync) = iq.child("sync") else { return Err((400, "bad-request")) };
        let (answer, changed) = self.accounts[addr.account].appstate.sync(sync);
        self.tell_app_state(addr, &changed);
        Ok(vec![answer])
    }

    /// Tells an account's other companions that the app state has changed.
    fn tell_app_state(&mut self, author: Addr, changed: &[Changed]) {
        if changed.is_empty() {
            return;
        }
        for other in self.devices_of(author.account) {
            if other != author && other.device != 0 {
                let id = self.stanza_id();
                let node = Changed::notification(changed).attr("id", id).attr("t", unix_now().to_string()).build();
                self.deliver(other, node);
            }
        }
    }

    /// Gives an account a name; companions learn of it through the app state.
    pub fn set_name(&mut self, account: usize, name: &str) {
        name.clone_into(&mut self.accounts[account].name);
        if !self.accounts[account].devices.is_empty() {
            self.publish_name(account);
        }
    }

    /// Puts the account's name into its app state unless it is there already.
    pub fn publish_name(&mut self, account: usize) {
        let owner = &mut self.accounts[account];
        if owner.name == owner.published_name {
            return;
        }
        let phone = Addr { account, device: 0 };
        match owner.appstate.set_push_name(&owner.name, unix_now() as i64) {
            Ok(changed) => {
                owner.published_name.clone_from(&owner.name);
                self.tell_app_state(phone, &[changed]);
            }
            Err(error) => self.note(self.device_label(phone), format!("the name cannot be published: {error:#}")),
        }
    }
}

/// The answer stanza to a question.
pub(crate) fn reply_to(iq: &Node, answer: Answer) -> Node {
    let kind = if answer.is_ok() { "result" } else { "error" };
    let mut node = el("iq").attr("type", kind).attr("id", iq.text_or_empty("id")).build();
    match iq.attrs.get("to") {
        Some(to) => node.set("from", to.clone()),
        None => node.set("from", SERVER),
    }
    match answer {
        Ok(children) if children.is_empty() => {}
        Ok(children) => node.content = Some(NodeContent::Nodes(children)),
        Err((code, text)) => node.push(error(code, text)),
    }
    node
}

fn error(code: u16, text: &'static str) -> Node {
    el("error").attr("code", code.to_string()).attr("text", text).build()
}

fn describe(iq: &Node) -> String {
    let child = iq.kids().first().map(|c| c.tag.to_string()).unwrap_or_default();
    format!("{} {} {child}", iq.text_or_empty("xmlns"), iq.text_or_empty("type"))
}

fn privacy() -> Node {
    let names = ["readreceipts", "last", "online", "profile", "status", "groupadd", "calladd"];
    let categories = names.map(|name| el("category").attr("name", name).attr("value", "all").build());
    el("privacy").children(categories).build()
}
