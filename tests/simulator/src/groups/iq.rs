//! Every IQ of `w:g2`: query, list, create, leave, members, admins, subject, description, settings, invite links.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, NodeContent};

use super::{Addressing, Description, Directory, Group, Groups, Person, Role};

/// A `w:gp2` notification and who gets it, on all their devices.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The group, for `from`.
    pub group: Jid,
    /// Members and those just removed.
    pub to: Vec<Person>,
    /// The notification; the caller adds `id` and `t`.
    pub node: Node,
}

/// A group that somebody left, and the members that stay.
pub type Rotation = (Jid, Vec<Person>);

/// What an IQ of `w:g2` brings about.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The answer to the IQ, complete.
    pub answer: Node,
    /// Whom to tell, in this order.
    pub notices: Vec<Notice>,
    /// Groups that somebody left, with the members that stay: their phones must forget the own sender key.
    pub rotate: Vec<Rotation>,
}

/// Why a request is refused.
type Refusal = (u16, &'static str);

const BAD_REQUEST: Refusal = (400, "bad-request");
const FORBIDDEN: Refusal = (403, "forbidden");
const NOT_FOUND: Refusal = (404, "item-not-found");
const CONFLICT: Refusal = (409, "conflict");
const GONE: Refusal = (410, "gone");

/// What a request did: children of the answer, notification contents with their receivers, who has to rotate.
#[derive(Default)]
struct Done {
    children: Vec<Node>,
    notices: Vec<Notice>,
    rotate: Vec<Rotation>,
}

impl Done {
    fn just(child: Node) -> Self {
        Self { children: vec![child], ..Self::default() }
    }
}

/// Who asks, and when.
struct Asker<'a> {
    person: &'a Person,
    name: Option<String>,
    now: u64,
}

impl Asker<'_> {
    fn notice(&self, group: &Group, to: Vec<Person>, content: Node) -> Notice {
        let mut node = NodeBuilder::new("notification")
            .attr("from", group.jid())
            .attr("type", "w:gp2")
            .attr("participant", self.person.jid(group.addressing))
            .attr("addressing_mode", group.addressing.as_str());
        node = match group.addressing {
            Addressing::Lid => node.attr("participant_pn", self.person.pn_jid()),
            Addressing::Pn => node.attr("participant_lid", self.person.lid_jid()),
        };
        if let Some(name) = &self.name {
            node = node.attr("notify", name.as_str());
        }
        Notice { group: group.jid(), to, node: node.children([content]).build() }
    }

    fn rights(&self, group: &Group) -> Result<Role, Refusal> {
        group.members.iter().find(|(p, _)| p == self.person).map(|(_, role)| *role).ok_or(FORBIDDEN)
    }

    fn must_be_admin(&self, group: &Group) -> Result<(), Refusal> {
        if self.rights(group)? >= Role::Admin { Ok(()) } else { Err(FORBIDDEN) }
    }

    /// Subject, description and timer: everybody, or admins in a locked group.
    fn must_be_editor(&self, group: &Group) -> Result<(), Refusal> {
        if group.locked { self.must_be_admin(group) } else { self.rights(group).map(drop) }
    }
}

/// The request of a change by its plain name, for a simulated admin: `subject`, `description` (with text; empty deletes),
/// `add`, `remove`, `promote`, `demote` (with people), `leave`, `announcement`, `not_announcement`, `locked`, `unlocked`,
/// `invite`, `ephemeral` (text = seconds; 0 ends it). None for any other name.
pub fn change(group: &Jid, what: &str, who: &[Jid], text: &str) -> Option<Node> {
    let mut to = group.clone();
    let content = match what {
        "subject" => NodeBuilder::new("subject").bytes(text.as_bytes()).build(),
        "description" if text.is_empty() => NodeBuilder::new("description").attr("delete", "true").build(),
        "description" => {
            let body = NodeBuilder::new("body").bytes(text.as_bytes()).build();
            NodeBuilder::new("description").attr("id", format!("{:08X}", crc(text))).children([body]).build()
        }
        "add" | "remove" | "promote" | "demote" => {
            let people = who.iter().map(|jid| NodeBuilder::new("participant").attr("jid", jid).build());
            NodeBuilder::new_dynamic(what.to_owned()).children(people.collect::<Vec<_>>()).build()
        }
        "leave" => {
            to = Jid::group("");
            NodeBuilder::new("leave").children([NodeBuilder::new("group").attr("id", group).build()]).build()
        }
        "announcement" | "not_announcement" | "locked" | "unlocked" | "invite" => {
            NodeBuilder::new_dynamic(what.to_owned()).build()
        }
        "ephemeral" if text == "0" => NodeBuilder::new("not_ephemeral").build(),
        "ephemeral" => NodeBuilder::new("ephemeral").attr("expiration", text).build(),
        _ => return None,
    };
    let iq = NodeBuilder::new("iq").attr("xmlns", "w:g2").attr("type", "set").attr("id", "phone").attr("to", to);
    Some(iq.children([content]).build())
}

fn crc(text: &str) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(text.as_bytes());
    crc.sum()
}

impl Groups {
    /// Answers an IQ of `w:g2` that `by` sent; `now` is in unix seconds.
    pub fn answer(&mut self, iq: &Node, by: &Person, people: &impl Directory, now: u64) -> Outcome {
        let asker = Asker { person: by, name: people.push_name(by), now };
        let to = iq.attrs().optional_jid("to");
        let id = iq.attrs().optional_string("id").unwrap_or_default().into_owned();
        let is_get = iq.attrs().optional_string("type").as_deref() == Some("get");
        let request = iq.children().and_then(|children| children.first());
        let done = match (request, to.as_ref().filter(|jid| !jid.user_base().is_empty())) {
            (None, _) => Err(BAD_REQUEST),
            (Some(request), None) => self.general(request, is_get, &asker, people),
            (Some(request), Some(group)) if is_get => self.read(group, request, &asker),
            (Some(request), Some(group)) => self.write(group, request, &asker, people),
        };
        let answer = NodeBuilder::new("iq").attr("id", id);
        let answer = match to {
            Some(to) => answer.attr("from", to),
            None => answer.attr("from", "g.us"),
        };
        match done {
            Ok(done) => Outcome {
                answer: answer.attr("type", "result").children(done.children).build(),
                notices: done.notices,
                rotate: done.rotate,
            },
            Err((code, text)) => {
                let error = NodeBuilder::new("error").attr("code", code).attr("text", text).build();
                let answer = answer.attr("type", "error").children([error]).build();
                Outcome { answer, notices: Vec::new(), rotate: Vec::new() }
            }
        }
    }

    /// Requests to `g.us`.
    fn general(
        &mut self,
        request: &Node,
        is_get: bool,
        asker: &Asker<'_>,
        people: &impl Directory,
    ) -> Result<Done, Refusal> {
        match (is_get, request.tag.as_ref()) {
            (true, "participating") => {
                let participants = request.get_optional_child("participants").is_some();
                let description = request.get_optional_child("description").is_some();
                let groups: Vec<Node> =
                    self.of(asker.person).map(|group| group.node(participants, description)).collect();
                Ok(Done::just(NodeBuilder::new("groups").children(groups).build()))
            }
            (false, "create") => self.create_asked(request, asker, people),
            (false, "leave") => {
                let ids: Vec<Jid> =
                    request.get_children_by_tag("group").filter_map(|group| group.attrs().optional_jid("id")).collect();
                let mut done = Done::default();
                let mut left = Vec::new();
                for id in &ids {
                    let result = self.remove(id, std::slice::from_ref(asker.person), asker);
                    let node = NodeBuilder::new("group").attr("id", id);
                    left.push(match result {
                        Ok((notices, rotate)) => {
                            done.notices.extend(notices);
                            done.rotate.push(rotate);
                            node.build()
                        }
                        Err((code, _)) => node.attr("error", code).build(),
                    });
                }
                done.children.push(NodeBuilder::new("leave").children(left).build());
                Ok(done)
            }
            (_, "invite") => {
                let code = request.attrs().optional_string("code").unwrap_or_default().into_owned();
                let group = self.groups.values_mut().find(|group| group.invite == code).ok_or(GONE)?;
                if is_get {
                    return Ok(Done::just(group.node(true, true)));
                }
                if asker.rights(group).is_ok() {
                    return Err(CONFLICT);
                }
                if group.approval {
                    let pending = NodeBuilder::new("membership_approval_request").attr("jid", group.jid()).build();
                    return Ok(Done::just(pending));
                }
                group.members.push((asker.person.clone(), Role::Member));
                let joined = group.participant(asker.person, Role::Member);
                let content = NodeBuilder::new("add").attr("reason", "invite").children([joined]).build();
                let notices = vec![asker.notice(group, group.people(), content)];
                let children = vec![NodeBuilder::new("group").attr("jid", group.jid()).build()];
                Ok(Done { children, notices, ..Done::default() })
            }
            _ => Err(BAD_REQUEST),
        }
    }

    fn create_asked(&mut self, request: &Node, asker: &Asker<'_>, people: &impl Directory) -> Result<Done, Refusal> {
        let subject = request.attrs().optional_string("subject").unwrap_or_default().into_owned();
        let key = request.attrs().optional_string("key").map(|key| key.into_owned());
        let asked: Vec<Jid> = request
            .get_children_by_tag("participant")
            .filter_map(|participant| participant.attrs().optional_jid("jid"))
            .collect();
        let (known, unknown): (Vec<_>, Vec<_>) = asked.iter().partition(|jid| people.person(jid).is_some());
        let members: Vec<Person> = known.iter().filter_map(|jid| people.person(jid)).collect();
        if subject.is_empty() || (members.is_empty() && !asked.is_empty()) {
            return Err(BAD_REQUEST);
        }
        let group = self.create(asker.person, &subject, members, Addressing::Lid, asker.now);
        for wish in request.children().unwrap_or_default() {
            match wish.tag.as_ref() {
                "description" => group.description = description(wish, asker),
                tag => {
                    setting(group, tag, wish);
                }
            }
        }
        let shown = group.node(true, true);
        let mut content = NodeBuilder::new("create").attr("type", "new");
        if let Some(key) = &key {
            content = content.attr("key", key.as_str());
        }
        let notices = vec![asker.notice(group, group.people(), content.children([shown.clone()]).build())];
        let mut answer = shown;
        if let Some(NodeContent::Nodes(children)) = &mut answer.content {
            children.extend(
                unknown.iter().map(|jid| NodeBuilder::new("participant").attr("jid", *jid).attr("error", 404).build()),
            );
        }
        Ok(Done { children: vec![answer], notices, ..Done::default() })
    }

    /// `get` requests to a group.
    fn read(&self, group: &Jid, request: &Node, asker: &Asker<'_>) -> Result<Done, Refusal> {
        let group = self.get(group).ok_or(NOT_FOUND)?;
        asker.rights(group)?;
        match request.tag.as_ref() {
            "query" => Ok(Done::just(group.node(true, true))),
            "invite" => Ok(Done::just(NodeBuilder::new("invite").attr("code", group.invite.as_str()).build())),
            "membership_approval_requests" => Ok(Done::just(NodeBuilder::new("membership_approval_requests").build())),
            _ => Err(BAD_REQUEST),
        }
    }

    /// `set` requests to a group.
    fn write(
        &mut self,
        jid: &Jid,
        request: &Node,
        asker: &Asker<'_>,
        people: &impl Directory,
    ) -> Result<Done, Refusal> {
        let tag = request.tag.as_ref();
        if tag == "invite" {
            let code = self.new_invite();
            let group = self.groups.get_mut(jid.user_base()).ok_or(NOT_FOUND)?;
            asker.must_be_admin(group)?;
            group.invite = code;
            let node = NodeBuilder::new("invite").attr("code", group.invite.as_str()).build();
            return Ok(told(group, asker, node.clone(), node));
        }
        if matches!(tag, "add" | "remove" | "promote" | "demote") {
            return self.participants(jid, request, asker, people);
        }
        let group = self.groups.get_mut(jid.user_base()).ok_or(NOT_FOUND)?;
        match tag {
            "subject" => {
                asker.must_be_editor(group)?;
                group.subject = request.content_as_string().unwrap_or_default().to_string();
                group.subject_set = (asker.person.clone(), asker.now);
                let content = NodeBuilder::new("subject")
                    .attr("subject", group.subject.as_str())
                    .attr("s_o", asker.person.jid(group.addressing))
                    .attr("s_t", asker.now)
                    .build();
                Ok(told(group, asker, request.clone(), content))
            }
            "description" => {
                asker.must_be_editor(group)?;
                let prev = request.attrs().optional_string("prev").map(|prev| prev.into_owned());
                if let Some(current) = &group.description
                    && prev.is_some_and(|prev| prev != current.id)
                {
                    return Err(CONFLICT);
                }
                group.description = description(request, asker);
                let mut content = request.clone();
                if group.description.is_none() {
                    content.content = Some(NodeContent::Nodes(vec![NodeBuilder::new("delete").build()]));
                }
                Ok(told(group, asker, request.clone(), content))
            }
            _ => {
                if matches!(tag, "ephemeral" | "not_ephemeral") {
                    asker.must_be_editor(group)?;
                } else {
                    asker.must_be_admin(group)?;
                }
                if !setting(group, tag, request) {
                    return Err(BAD_REQUEST);
                }
                Ok(told(group, asker, request.clone(), request.clone()))
            }
        }
    }

    /// `<add>`, `<remove>`, `<promote>`, `<demote>`: each participant has its own result.
    fn participants(
        &mut self,
        jid: &Jid,
        request: &Node,
        asker: &Asker<'_>,
        people: &impl Directory,
    ) -> Result<Done, Refusal> {
        let tag = request.tag.as_ref();
        let group = self.groups.get_mut(jid.user_base()).ok_or(NOT_FOUND)?;
        match tag {
            "add" if !group.admin_add => asker.rights(group).map(drop)?,
            _ => asker.must_be_admin(group)?,
        }
        let mut results = Vec::new();
        let mut changed = Vec::new();
        for asked in request.get_children_by_tag("participant").filter_map(|p| p.attrs().optional_jid("jid")) {
            let person = people.person(&asked);
            let role = group.role(&asked);
            let error = match (tag, &person, role) {
                (_, None, _) => Some(404),
                ("add", Some(_), Some(_)) => Some(409),
                ("add", Some(person), None) => {
                    group.members.push((person.clone(), Role::Member));
                    None
                }
                (_, Some(_), None) => Some(404),
                ("remove" | "demote", Some(_), Some(Role::SuperAdmin)) => Some(406),
                ("remove", Some(_), Some(_)) => None,
                (_, Some(person), Some(role)) => {
                    let new = if tag == "promote" { role.max(Role::Admin) } else { Role::Member };
                    for (member, role) in &mut group.members {
                        if member == person {
                            *role = new;
                        }
                    }
                    None
                }
            };
            let result = NodeBuilder::new("participant").attr("jid", &asked);
            results.push(match error {
                Some(code) => result.attr("error", code).build(),
                None => result.build(),
            });
            changed.extend(person.filter(|_| error.is_none()));
        }
        let children = vec![NodeBuilder::new_dynamic(tag.to_owned()).children(results).build()];
        if changed.is_empty() {
            return Ok(Done { children, ..Done::default() });
        }
        if tag == "remove" {
            let (notices, rotate) = self.remove(jid, &changed, asker)?;
            return Ok(Done { children, notices, rotate: vec![rotate] });
        }
        let role = if tag == "promote" { Role::Admin } else { Role::Member };
        let list: Vec<Node> = changed.iter().map(|person| group.participant(person, role)).collect();
        let content = NodeBuilder::new_dynamic(tag.to_owned()).children(list).build();
        let notices = vec![asker.notice(group, group.people(), content)];
        Ok(Done { children, notices, ..Done::default() })
    }

    /// Takes people out, tells everybody, and makes the eldest member admin when no admin is left.
    fn remove(&mut self, jid: &Jid, who: &[Person], asker: &Asker<'_>) -> Result<(Vec<Notice>, Rotation), Refusal> {
        let group = self.groups.get_mut(jid.user_base()).ok_or(NOT_FOUND)?;
        asker.rights(group)?;
        let told = group.people();
        let list: Vec<Node> = who.iter().map(|person| group.participant(person, Role::Member)).collect();
        group.members.retain(|(person, _)| !who.contains(person));
        let mut notices = vec![asker.notice(group, told, NodeBuilder::new("remove").children(list).build())];
        if !group.members.iter().any(|(_, role)| *role >= Role::Admin)
            && let Some((heir, role)) = group.members.first_mut()
        {
            *role = Role::Admin;
            let heir = heir.clone();
            let promoted = group.participant(&heir, Role::Admin);
            let content = NodeBuilder::new("promote").children([promoted]).build();
            notices.push(asker.notice(group, group.people(), content));
        }
        Ok((notices, (group.jid(), group.people())))
    }
}

fn told(group: &Group, asker: &Asker<'_>, answer: Node, content: Node) -> Done {
    Done { notices: vec![asker.notice(group, group.people(), content)], ..Done::just(answer) }
}

fn description(node: &Node, asker: &Asker<'_>) -> Option<Description> {
    let body = node.get_optional_child("body")?.content_as_string()?.to_string();
    let id = node.attrs().optional_string("id").unwrap_or_default().into_owned();
    Some(Description { id, body, by: asker.person.clone(), t: asker.now })
}

/// Applies a setting; false when there is none of that name.
fn setting(group: &mut Group, tag: &str, node: &Node) -> bool {
    match tag {
        "announcement" | "not_announcement" => group.announcement = tag == "announcement",
        "locked" | "unlocked" => group.locked = tag == "locked",
        "ephemeral" => {
            group.ephemeral =
                node.attrs().optional_u64("expiration").and_then(|s| s.try_into().ok()).filter(|s| *s > 0);
        }
        "not_ephemeral" => group.ephemeral = None,
        "member_add_mode" => group.admin_add = node.content_as_string().as_deref() == Some("admin_add"),
        "membership_approval_mode" => {
            let join = node.get_optional_child("group_join");
            group.approval = join.and_then(|j| j.attrs().optional_string("state")).as_deref() == Some("on");
        }
        // Told to the members, of no consequence for the server.
        "member_link_mode"
        | "no_frequently_forwarded"
        | "frequently_forwarded_ok"
        | "allow_admin_reports"
        | "not_allow_admin_reports"
        | "group_history"
        | "no_group_history" => {}
        _ => return false,
    }
    true
}
