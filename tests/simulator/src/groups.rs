//! Groups as the server knows them: who is in, who is admin, subject, settings, and the metadata a client is shown.
//! Pure: [`Groups::answer`] takes an IQ of `w:g2` and returns the answer and whom to tell; nothing here sends anything.
//! What is inside a group message is not the server's business; sender keys belong to the phones and the clients.

mod iq;

use std::collections::BTreeMap;

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

pub use iq::{Notice, Outcome, Rotation, change};

/// How a group names its members on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressing {
    /// By hidden id; usual today.
    #[default]
    Lid,
    /// By phone number; older groups.
    Pn,
}

impl Addressing {
    /// Value of `addressing_mode`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lid => "lid",
            Self::Pn => "pn",
        }
    }
}

/// An account, with both of its names: the user parts of its JIDs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Person {
    /// Phone number, digits only.
    pub pn: String,
    /// Hidden id.
    pub lid: String,
}

impl Person {
    /// JID by phone number.
    pub fn pn_jid(&self) -> Jid {
        Jid::pn(self.pn.as_str())
    }

    /// JID by hidden id.
    pub fn lid_jid(&self) -> Jid {
        Jid::lid(self.lid.as_str())
    }

    /// The JID a group of this addressing mode uses.
    pub fn jid(&self, mode: Addressing) -> Jid {
        match mode {
            Addressing::Lid => self.lid_jid(),
            Addressing::Pn => self.pn_jid(),
        }
    }

    /// Whether the JID, of either family and any device, is this person.
    pub fn is(&self, jid: &Jid) -> bool {
        if jid.is_lid() { jid.user_base() == self.lid } else { jid.is_pn() && jid.user_base() == self.pn }
    }
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// No rights of its own.
    Member,
    /// May change members and settings.
    Admin,
    /// The creator: an admin nobody can remove.
    SuperAdmin,
}

impl Role {
    fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Member => None,
            Self::Admin => Some("admin"),
            Self::SuperAdmin => Some("superadmin"),
        }
    }
}

/// Description of a group; its id changes with each edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Given by the client that wrote it.
    pub id: String,
    /// Text.
    pub body: String,
    /// Author.
    pub by: Person,
    /// Unix seconds.
    pub t: u64,
}

/// One group.
#[derive(Debug, Clone)]
pub struct Group {
    /// User part of its JID.
    pub id: String,
    /// Name.
    pub subject: String,
    /// Who set the subject, and when.
    pub subject_set: (Person, u64),
    /// Who made the group.
    pub creator: Person,
    /// Unix seconds.
    pub creation: u64,
    /// How members are named.
    pub addressing: Addressing,
    /// In order of joining.
    pub members: Vec<(Person, Role)>,
    /// Text under the subject.
    pub description: Option<Description>,
    /// Only admins write.
    pub announcement: bool,
    /// Only admins edit subject, description and timer.
    pub locked: bool,
    /// Only admins add members.
    pub admin_add: bool,
    /// Joining by link needs an admin's consent.
    pub approval: bool,
    /// Disappearing messages, in seconds.
    pub ephemeral: Option<u32>,
    /// Current code of the invite link.
    pub invite: String,
}

impl Group {
    /// Its JID.
    pub fn jid(&self) -> Jid {
        Jid::group(self.id.as_str())
    }

    /// The members, in order of joining.
    pub fn people(&self) -> Vec<Person> {
        self.members.iter().map(|(person, _)| person.clone()).collect()
    }

    /// Role of the account behind a JID of either family; none when it is not a member.
    pub fn role(&self, jid: &Jid) -> Option<Role> {
        self.members.iter().find(|(person, _)| person.is(jid)).map(|(_, role)| *role)
    }

    /// Whether a message of this sender is let through.
    ///
    /// # Errors
    /// The code for the nack: 403 when the sender is not a member, or is no admin where only admins write.
    pub fn may_write(&self, sender: &Jid) -> Result<(), u16> {
        match self.role(sender) {
            Some(Role::Member) if self.announcement => Err(403),
            Some(_) => Ok(()),
            None => Err(403),
        }
    }

    /// `<participant>` with both names, the group's own first.
    fn participant(&self, person: &Person, role: Role) -> Node {
        let node = NodeBuilder::new("participant").attr("jid", person.jid(self.addressing));
        let node = match self.addressing {
            Addressing::Lid => node.attr("phone_number", person.pn_jid()),
            Addressing::Pn => node.attr("lid", person.lid_jid()),
        };
        match role.as_str() {
            Some(role) => node.attr("type", role).build(),
            None => node.build(),
        }
    }

    /// The metadata, as `<group>`.
    pub fn node(&self, participants: bool, description: bool) -> Node {
        let (subject_by, subject_t) = &self.subject_set;
        let mut node = NodeBuilder::new("group")
            .attr("id", self.id.as_str())
            .attr("subject", self.subject.as_str())
            .attr("s_t", *subject_t)
            .attr("s_o", subject_by.jid(self.addressing))
            .attr("creation", self.creation)
            .attr("creator", self.creator.jid(self.addressing))
            .attr("size", self.members.len())
            .attr("addressing_mode", self.addressing.as_str());
        if self.addressing == Addressing::Lid {
            node = node.attr("creator_pn", self.creator.pn_jid()).attr("s_o_pn", subject_by.pn_jid());
        }
        let mut children = Vec::new();
        if participants {
            children.extend(self.members.iter().map(|(person, role)| self.participant(person, *role)));
        }
        if let Some(d) = self.description.as_ref().filter(|_| description) {
            let body = NodeBuilder::new("body").bytes(d.body.clone().into_bytes()).build();
            let node = NodeBuilder::new("description")
                .attr("id", d.id.as_str())
                .attr("t", d.t)
                .attr("participant", d.by.jid(self.addressing));
            let node =
                if self.addressing == Addressing::Lid { node.attr("participant_pn", d.by.pn_jid()) } else { node };
            children.push(node.children([body]).build());
        }
        let flags = [(self.announcement, "announcement"), (self.locked, "locked")];
        children.extend(flags.iter().filter(|(on, _)| *on).map(|(_, tag)| NodeBuilder::new(tag).build()));
        if let Some(seconds) = self.ephemeral {
            children.push(NodeBuilder::new("ephemeral").attr("expiration", seconds).build());
        }
        let add_mode = if self.admin_add { "admin_add" } else { "all_member_add" };
        children.push(NodeBuilder::new("member_add_mode").bytes(add_mode.as_bytes()).build());
        if self.approval {
            let join = NodeBuilder::new("group_join").attr("state", "on").build();
            children.push(NodeBuilder::new("membership_approval_mode").children([join]).build());
        }
        node.children(children).build()
    }
}

/// Who a JID is, and what an account is called. The world knows.
pub trait Directory {
    /// The account behind a JID of either family.
    fn person(&self, jid: &Jid) -> Option<Person>;
    /// Its push name.
    fn push_name(&self, person: &Person) -> Option<String>;
}

/// All groups of a world.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    groups: BTreeMap<String, Group>,
    made: u64,
    invites: u64,
}

impl Groups {
    /// Makes a group; the creator is its superadmin and first member.
    pub fn create(
        &mut self,
        creator: &Person,
        subject: &str,
        members: impl IntoIterator<Item = Person>,
        addressing: Addressing,
        now: u64,
    ) -> &mut Group {
        self.made += 1;
        let id = format!("1203630000000{:05}", self.made);
        let mut list = vec![(creator.clone(), Role::SuperAdmin)];
        for person in members {
            if !list.iter().any(|(there, _)| *there == person) {
                list.push((person, Role::Member));
            }
        }
        let group = Group {
            id: id.clone(),
            subject: subject.to_owned(),
            subject_set: (creator.clone(), now),
            creator: creator.clone(),
            creation: now,
            addressing,
            members: list,
            description: None,
            announcement: false,
            locked: false,
            admin_add: false,
            approval: false,
            ephemeral: None,
            invite: self.new_invite(),
        };
        self.groups.entry(id).or_insert(group)
    }

    /// A group by its JID.
    pub fn get(&self, group: &Jid) -> Option<&Group> {
        self.groups.get(group.user_base())
    }

    /// All groups, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// The groups this person is in.
    pub fn of<'a>(&'a self, person: &'a Person) -> impl Iterator<Item = &'a Group> {
        self.groups.values().filter(move |group| group.members.iter().any(|(there, _)| there == person))
    }

    fn new_invite(&mut self) -> String {
        self.invites += 1;
        format!("Invite{:016}", self.invites)
    }
}

#[cfg(test)]
mod tests;
