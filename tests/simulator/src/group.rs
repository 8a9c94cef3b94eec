//! Groups in the world: questions of clients, messages to all members, and the [`Group`] of the tests.

use wacore_binary::{Jid, Node, NodeContent};
use waproto::buffa::{Message as _, MessageField};
use waproto::whatsapp as wa;

use crate::delivery::shared_children;
use crate::groups::{Addressing, Directory, Outcome, Person, change};
use crate::party::address;
use crate::phone::Phone;
use crate::phone::{Sent, distribution, mark_edit, media_type, stanza_type};
use crate::stanza::{NodeExt, el};
use crate::state::{Account, Addr, State, unix_now};
use crate::world::World;

/// A group. Changes are made by its creator unless said otherwise.
#[derive(Clone)]
pub struct Group {
    world: World,
    jid: Jid,
    owner: usize,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({})", self.jid)
    }
}

impl World {
    /// Makes a group addressed by LID; all members are told.
    pub fn group(&self, subject: &str, owner: &Phone, members: &[&Phone]) -> Group {
        self.group_addressed(subject, owner, members, Addressing::Lid)
    }

    /// Makes a group with a certain way of addressing its members.
    pub fn group_addressed(&self, subject: &str, owner: &Phone, members: &[&Phone], addressing: Addressing) -> Group {
        let jid = self.with(|s| {
            let people: Vec<Person> = members.iter().map(|p| person(&s.accounts[p.account])).collect();
            let creator = person(&s.accounts[owner.account]);
            let group = s.groups.create(&creator, subject, people, addressing, unix_now()).clone();
            let jid = group.jid();
            let by = Addr { account: owner.account, device: 0 };
            let lid = addressing == Addressing::Lid;
            let create = el("create").attr("type", "new").attr("key", "sim").children([group.node(true, true)]).build();
            let mut notice = el("notification")
                .attr("from", jid.clone())
                .attr("type", "w:gp2")
                .attr("participant", s.jid_of(by, lid))
                .attr("notify", s.accounts[owner.account].name.as_str())
                .children([create])
                .build();
            if lid {
                notice.set("participant_pn", s.jid_of(by, false));
            }
            s.tell_people(&group.people(), notice);
            jid
        });
        Group { world: self.clone(), jid, owner: owner.account }
    }

    /// All groups.
    pub fn groups(&self) -> Vec<Group> {
        let found: Vec<(Jid, usize)> =
            self.look(|s| s.groups.iter().filter_map(|g| Some((g.jid(), *s.by_pn.get(&g.creator.pn)?))).collect());
        found.into_iter().map(|(jid, owner)| Group { world: self.clone(), jid, owner }).collect()
    }
}

impl Group {
    /// Its JID.
    pub fn jid(&self) -> Jid {
        self.jid.clone()
    }

    fn view<R>(&self, read: impl FnOnce(&crate::groups::Group) -> R) -> Option<R> {
        self.world.look(|s| s.groups.get(&self.jid).map(read))
    }

    /// Whether members are named by LID.
    pub fn is_lid_addressed(&self) -> bool {
        self.view(|g| g.addressing == Addressing::Lid).unwrap_or(true)
    }

    /// Its present subject.
    pub fn subject(&self) -> String {
        self.view(|g| g.subject.clone()).unwrap_or_default()
    }

    /// Numbers of the members, with `+`.
    pub fn members(&self) -> Vec<String> {
        self.view(|g| g.people().iter().map(|p| format!("+{}", p.pn)).collect()).unwrap_or_default()
    }

    /// Changes something as a client would: `subject`, `description`, `add`, `remove`, `promote`, `demote`,
    /// `leave`, `announcement`, `not_announcement`, `locked`, `unlocked`, `ephemeral`, `invite`.
    ///
    /// # Errors
    /// The server's code and text, for example 403 when `by` is no admin; 400 for an unknown change.
    pub fn change(&self, by: &Phone, what: &str, who: &[&Phone], text: &str) -> Result<(), (u16, String)> {
        let lid = self.is_lid_addressed();
        let who: Vec<Jid> = who.iter().map(|p| if lid { p.lid() } else { p.jid() }).collect();
        let iq = change(&self.jid, what, &who, text).ok_or_else(|| (400, format!("no change is called {what:?}")))?;
        let answer = self.world.with(|s| s.group_iq(by.account, &iq));
        match answer.child("error") {
            Some(error) => Err((error.text_or_empty("code").parse().unwrap_or_default(), error.text_or_empty("text"))),
            None => Ok(()),
        }
    }

    fn by_owner(&self, what: &str, who: &[&Phone], text: &str) {
        let owner = Phone::new(self.world.clone(), self.owner);
        if let Err((code, why)) = self.change(&owner, what, who, text) {
            self.world.with(|s| s.note(self.jid.to_string(), format!("{what} was refused: {code} {why}")));
        }
    }

    /// Adds somebody.
    pub fn add(&self, who: &Phone) {
        self.by_owner("add", &[who], "");
    }

    /// Removes somebody.
    pub fn remove(&self, who: &Phone) {
        self.by_owner("remove", &[who], "");
    }

    /// Makes somebody admin.
    pub fn promote(&self, who: &Phone) {
        self.by_owner("promote", &[who], "");
    }

    /// Takes somebody's admin rights.
    pub fn demote(&self, who: &Phone) {
        self.by_owner("demote", &[who], "");
    }

    /// Gives the group another name.
    pub fn set_subject(&self, subject: &str) {
        self.by_owner("subject", &[], subject);
    }

    /// Gives the group a description.
    pub fn set_description(&self, text: &str) {
        self.by_owner("description", &[], text);
    }
}

/// Both names of an account.
fn person(account: &Account) -> Person {
    Person { pn: account.pn.clone(), lid: account.lid.clone() }
}

/// The accounts as the group rules see them.
struct People<'a>(&'a State);

impl Directory for People<'_> {
    fn person(&self, jid: &Jid) -> Option<Person> {
        self.0.resolve(jid).map(|a| person(&self.0.accounts[a.account]))
    }

    fn push_name(&self, who: &Person) -> Option<String> {
        self.0.by_pn.get(&who.pn).map(|a| self.0.accounts[*a].name.clone()).filter(|n| !n.is_empty())
    }
}

impl State {
    /// A client's question or order about groups.
    pub fn group_question(&mut self, conn: u64, from: Addr, iq: &Node) {
        let Outcome { answer, notices, rotate } = self.ask_groups(from.account, iq);
        self.send(conn, answer);
        self.after_group_change(notices, rotate);
    }

    /// The same from a phone; returns the answer.
    pub fn group_iq(&mut self, account: usize, iq: &Node) -> Node {
        let Outcome { answer, notices, rotate } = self.ask_groups(account, iq);
        self.after_group_change(notices, rotate);
        answer
    }

    fn ask_groups(&mut self, account: usize, iq: &Node) -> Outcome {
        let by = person(&self.accounts[account]);
        let mut groups = std::mem::take(&mut self.groups);
        let outcome = groups.answer(iq, &by, &People(self), unix_now());
        self.groups = groups;
        outcome
    }

    fn after_group_change(&mut self, notices: Vec<crate::groups::Notice>, rotate: Vec<crate::groups::Rotation>) {
        for notice in notices {
            self.tell_people(&notice.to, notice.node);
        }
        for (group, stay) in rotate {
            for who in stay {
                let Some(account) = self.by_pn.get(&who.pn).copied() else { continue };
                let own = address(&who.pn, 0);
                let phone = &mut self.accounts[account].phone;
                phone.party.forget_sender_key(&group.to_string(), &own);
                phone.has_sender_key.remove(&group.to_string());
            }
        }
    }

    fn tell_people(&mut self, people: &[Person], mut node: Node) {
        for who in people {
            let Some(account) = self.by_pn.get(&who.pn).copied() else { continue };
            for device in self.devices_of(account) {
                let id = self.stanza_id();
                node.set("id", id);
                node.set("t", unix_now().to_string());
                self.deliver(device, node.clone());
            }
        }
    }

    /// A message to all members of a group.
    pub fn group_message(&mut self, from: Addr, to: &Jid, node: Node) {
        let Some(group) = self.groups.get(to).cloned() else {
            self.ack_message(from, &node, Some(404));
            return;
        };
        if let Err(code) = group.may_write(&self.jid_of(from, false)) {
            self.ack_message(from, &node, Some(code));
            return;
        }
        self.ack_message(from, &node, None);
        let lid = group.addressing == Addressing::Lid;
        let mut envelope = self.envelope(from, &node);
        envelope.set("from", to);
        envelope.set("participant", self.jid_of(from, lid));
        let plain = Addr { account: from.account, device: 0 };
        if !lid {
            envelope.set("participant_lid", self.jid_of(plain, true));
        } else if self.shows_number(from.account) {
            envelope.set("participant_pn", self.jid_of(plain, false));
        }
        envelope.set("addressing_mode", group.addressing.as_str());
        let receivers: Vec<Addr> = match node.jid("participant").and_then(|j| self.resolve(&j)) {
            Some(addr) => vec![addr],
            None => self.member_devices(&group.people()),
        };
        self.copies(from, &envelope, &node, &receivers);
    }

    /// A status of a client, or the resend of one to a single device.
    pub fn status_message(&mut self, from: Addr, node: &Node) {
        self.ack_message(from, node, None);
        let mut receivers: Vec<Addr> = match node.jid("participant").and_then(|j| self.resolve(&j)) {
            Some(addr) => vec![addr],
            None => Vec::new(),
        };
        for part in node.child("viewers").or(node.child("participants")).map(NodeExt::kids).unwrap_or_default() {
            receivers.extend(part.jid("jid").and_then(|j| self.resolve(&j)));
        }
        let plain = Addr { account: from.account, device: 0 };
        let mut envelope = self.envelope(from, node);
        envelope.set("from", Jid::status_broadcast());
        envelope.set("participant", self.jid_of(from, true));
        envelope.set("participant_pn", self.jid_of(plain, false));
        self.copies(from, &envelope, node, &receivers);
    }

    /// Every device's copy of a message for many: its own part, then what is for all.
    fn copies(&mut self, from: Addr, envelope: &Node, node: &Node, receivers: &[Addr]) {
        let shared = shared_children(node);
        let for_all: Vec<Node> = node.kids().iter().filter(|n| n.tag == "enc").cloned().collect();
        let mut own_parts: Vec<(Addr, Vec<Node>)> = Vec::new();
        for part in node.child("participants").map(NodeExt::kids).unwrap_or_default() {
            if let Some(addr) = part.jid("jid").and_then(|j| self.resolve(&j)) {
                own_parts.push((addr, part.kids().to_vec()));
            }
        }
        for addr in receivers.iter().copied().filter(|a| *a != from) {
            let own = own_parts.iter().find(|(a, _)| *a == addr).map(|(_, n)| n.clone()).unwrap_or_default();
            let mut copy = envelope.clone();
            copy.content = Some(NodeContent::Nodes([own, for_all.clone(), shared.clone()].concat()));
            self.deliver(addr, copy);
        }
    }

    fn member_devices(&self, people: &[Person]) -> Vec<Addr> {
        people.iter().filter_map(|p| self.by_pn.get(&p.pn)).flat_map(|account| self.devices_of(*account)).collect()
    }

    /// A phone writes into a group: its sender key for those who lack it, then the message once for all.
    pub fn phone_sends_group(&mut self, account: usize, to: &Jid, id: &str, sent: &Sent) -> anyhow::Result<()> {
        let me = Addr { account, device: 0 };
        let group = self.groups.get(to).cloned().ok_or_else(|| anyhow::anyhow!("there is no group {to}"))?;
        let lid = group.addressing == Addressing::Lid;
        let receivers = self.member_devices(&group.people());
        let children = self.sealed_for_all(account, to, &receivers, lid, &sent.message)?;
        let mut node = el("message")
            .attr("to", to)
            .attr("id", id)
            .attr("type", stanza_type(&sent.message))
            .children(children)
            .build();
        mark_edit(&mut node, &sent.message);
        self.message(me, node);
        Ok(())
    }

    /// `<participants>` with the sender key for those who lack it, and the `skmsg`.
    fn sealed_for_all(
        &mut self,
        account: usize,
        to: &Jid,
        receivers: &[Addr],
        lid: bool,
        message: &wa::Message,
    ) -> anyhow::Result<Vec<Node>> {
        let name = to.to_string();
        let own = address(&self.accounts[account].pn, 0);
        let key = self.accounts[account].phone.party.sender_key(&name, &own)?;
        let share = wa::Message {
            sender_key_distribution_message: MessageField::some(distribution(to, key)),
            ..Default::default()
        }
        .encode_to_vec();
        let mut participants = Vec::new();
        for device in receivers.iter().copied().filter(|d| *d != Addr { account, device: 0 }) {
            let new = self.accounts[account].phone.has_sender_key.entry(name.clone()).or_default().insert(device);
            if new {
                let enc = self.phone_encrypts(account, device, &share, None)?;
                participants.push(el("to").attr("jid", self.jid_of(device, lid)).children([enc]).build());
            }
        }
        let bytes = self.accounts[account].phone.party.group_encrypt(&name, &own, &message.encode_to_vec())?;
        let mut enc = el("enc").attr("v", "2").attr("type", "skmsg").bytes(bytes).build();
        if let Some(media) = media_type(message) {
            enc.set("mediatype", media);
        }
        let mut children = Vec::new();
        if !participants.is_empty() {
            children.push(el("participants").children(participants).build());
        }
        children.push(enc);
        Ok(children)
    }

    /// A phone posts a status for some people.
    pub fn phone_posts_status(&mut self, account: usize, viewers: &[usize], message: wa::Message) -> String {
        let id = format!("3A{:018X}", rand::random::<u64>());
        let me = Addr { account, device: 0 };
        let status = Jid::status_broadcast();
        let receivers: Vec<Addr> = viewers.iter().flat_map(|v| self.devices_of(*v)).collect();
        let children = match self.sealed_for_all(account, &status, &receivers, true, &message) {
            Ok(children) => children,
            Err(error) => {
                self.note(self.device_label(me), format!("could not post {id}: {error:#}"));
                return id;
            }
        };
        let sent =
            Sent { message, to: crate::phone::Target::Group(status.clone()), addressing: crate::Addressing::Lid };
        self.accounts[account].phone.sent.insert(id.clone(), sent);
        let viewers = receivers.iter().map(|a| el("to").attr("jid", self.jid_of(*a, true)).build());
        let viewers = el("viewers").children(viewers.collect::<Vec<_>>()).build();
        let node = el("message").attr("to", status).attr("id", id.as_str()).attr("type", "text");
        self.message(me, node.children([children, vec![viewers]].concat()).build());
        id
    }
}
