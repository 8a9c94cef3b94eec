use wacore::iq::groups::GroupInfoResponse;
use wacore::protocol::ProtocolNode as _;

use super::*;

struct People;

impl Directory for People {
    fn person(&self, jid: &Jid) -> Option<Person> {
        ["ann", "bob", "cat", "dan"].iter().map(|name| person(name)).find(|person| person.is(jid))
    }

    fn push_name(&self, person: &Person) -> Option<String> {
        Some(format!("Name of {}", person.pn))
    }
}

fn person(name: &str) -> Person {
    let n = 1 + ["ann", "bob", "cat", "dan", "stranger"].iter().position(|known| *known == name).unwrap();
    Person { pn: format!("1555000000{n}"), lid: format!("900000000{n}") }
}

fn world(addressing: Addressing) -> (Groups, Jid) {
    let mut groups = Groups::default();
    let group = groups.create(&person("ann"), "Lunch", [person("bob"), person("cat")], addressing, 100);
    let jid = group.jid();
    (groups, jid)
}

fn ask(kind: &'static str, to: &Jid, content: Node) -> Node {
    NodeBuilder::new("iq").attr("type", kind).attr("id", "q1").attr("to", to).children([content]).build()
}

fn query() -> Node {
    NodeBuilder::new("query").attr("request", "interactive").build()
}

/// "result", or the error code.
fn verdict(outcome: &Outcome) -> String {
    assert_eq!(outcome.answer.attrs().optional_string("id").as_deref(), Some("q1"));
    match outcome.answer.get_optional_child("error") {
        Some(error) => error.attrs().required_string("code").unwrap().into_owned(),
        None => outcome.answer.attrs().required_string("type").unwrap().into_owned(),
    }
}

fn run(groups: &mut Groups, by: &str, kind: &'static str, to: &Jid, content: Node) -> Outcome {
    groups.answer(&ask(kind, to, content), &person(by), &People, 200)
}

/// Runs a change as a client would ask for it.
fn act(groups: &mut Groups, by: &str, group: &Jid, what: &str, who: &[&str], text: &str) -> Outcome {
    let who: Vec<Jid> = who.iter().map(|name| person(name).lid_jid()).collect();
    let mut iq = change(group, what, &who, text).expect("a known change");
    iq.attrs.insert("id", "q1");
    groups.answer(&iq, &person(by), &People, 200)
}

fn to_names(notice: &Notice) -> Vec<&'static str> {
    let known = ["ann", "bob", "cat", "dan"];
    notice.to.iter().map(|p| *known.iter().find(|name| person(name) == *p).unwrap()).collect()
}

fn read(node: &Node) -> GroupInfoResponse {
    GroupInfoResponse::try_from_node_ref(&node.as_node_ref()).expect("the client library reads it")
}

#[test]
fn metadata_names_members_in_the_groups_own_way() {
    for mode in [Addressing::Lid, Addressing::Pn] {
        let (mut groups, jid) = world(mode);
        let outcome = run(&mut groups, "bob", "get", &jid, query());
        let node = outcome.answer.get_optional_child("group").unwrap();
        let info = read(node);
        assert_eq!((info.subject.as_str(), info.size, info.participants.len()), ("Lunch", Some(3), 3), "{mode:?}");
        assert_eq!(info.creator.unwrap(), person("ann").jid(mode));
        assert_eq!(info.addressing_mode.as_str(), mode.as_str());
        let ann = node.get_children_by_tag("participant").next().unwrap();
        let attrs: Vec<String> = ann.attrs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let expected = match mode {
            Addressing::Lid => ["jid=9000000001@lid", "phone_number=15550000001@s.whatsapp.net", "type=superadmin"],
            Addressing::Pn => ["jid=15550000001@s.whatsapp.net", "lid=9000000001@lid", "type=superadmin"],
        };
        assert_eq!(attrs, expected);
    }
}

#[test]
fn outsiders_and_unknown_groups_are_refused() {
    let (mut groups, jid) = world(Addressing::Lid);
    let unknown = Jid::group("120363999");
    let nonsense = || NodeBuilder::new("nonsense").build();
    let table = [
        ("ann", "get", &jid, query(), "result"),
        ("dan", "get", &jid, query(), "403"),
        ("ann", "get", &unknown, query(), "404"),
        ("ann", "set", &unknown, NodeBuilder::new("locked").build(), "404"),
        ("dan", "set", &jid, NodeBuilder::new("subject").bytes(*b"x").build(), "403"),
        ("bob", "set", &jid, NodeBuilder::new("announcement").build(), "403"),
        ("ann", "get", &jid, nonsense(), "400"),
        ("ann", "set", &jid, nonsense(), "400"),
    ];
    for (by, kind, to, content, expected) in table {
        let what = content.tag.clone();
        assert_eq!(verdict(&run(&mut groups, by, kind, to, content)), expected, "{by} {kind} {to} <{what}>");
    }
}

#[test]
fn a_member_lists_only_its_groups() {
    let (mut groups, jid) = world(Addressing::Lid);
    groups.create(&person("ann"), "Other", [person("dan")], Addressing::Pn, 100);
    let asked = NodeBuilder::new("participating").children([NodeBuilder::new("participants").build()]).build();
    let outcome = run(&mut groups, "bob", "get", &Jid::group(""), asked);
    let list = outcome.answer.get_optional_child("groups").unwrap().children().unwrap();
    assert_eq!(list.iter().map(|g| read(g).id).collect::<Vec<_>>(), [jid]);
    assert_eq!(read(&list[0]).participants.len(), 3);
}

#[test]
fn create_tells_every_member_and_names_who_could_not_be_added() {
    let mut groups = Groups::default();
    let jids = [person("bob").pn_jid(), person("cat").lid_jid(), person("stranger").pn_jid()];
    let mut wishes: Vec<Node> = jids.iter().map(|j| NodeBuilder::new("participant").attr("jid", j).build()).collect();
    wishes.push(NodeBuilder::new("ephemeral").attr("expiration", 86400).build());
    wishes.push(NodeBuilder::new("announcement").build());
    let body = NodeBuilder::new("body").string_content("about").build();
    wishes.push(NodeBuilder::new("description").attr("id", "D1").children([body]).build());
    let content = NodeBuilder::new("create").attr("subject", "New").attr("key", "K").children(wishes).build();
    let outcome = run(&mut groups, "ann", "set", &Jid::group(""), content);

    let made = outcome.answer.get_optional_child("group").unwrap();
    let failed = made.get_children_by_tag("participant").find(|p| p.attrs.contains_key("error")).unwrap();
    assert_eq!(failed.attrs().optional_jid("jid"), Some(jids[2].clone()));
    let notice = &outcome.notices[0];
    assert_eq!(to_names(notice), ["ann", "bob", "cat"]);
    let create = notice.node.get_optional_child("create").unwrap();
    assert_eq!(create.attrs().optional_string("key").as_deref(), Some("K"));
    let info = read(create.get_optional_child("group").unwrap());
    assert_eq!((info.subject.as_str(), info.is_announcement, info.participants.len()), ("New", true, 3));
    assert_eq!(info.description.as_deref(), Some("about"));
    let group = groups.get(&info.id).unwrap();
    assert_eq!((group.ephemeral, group.addressing), (Some(86400), Addressing::Lid));
}

#[test]
fn member_changes_answer_each_participant() {
    type Row<'a> = (&'a str, &'a str, &'a [&'a str], &'a str, &'a [Option<&'a str>], &'a [&'a str]);
    let table: &[Row<'_>] = &[
        (
            "bob",
            "add",
            &["dan", "cat", "stranger"],
            "result",
            &[None, Some("409"), Some("404")],
            &["ann", "bob", "cat", "dan"],
        ),
        ("bob", "remove", &["dan"], "403", &[], &[]),
        ("ann", "promote", &["bob"], "result", &[None], &["ann", "bob", "cat", "dan"]),
        ("bob", "remove", &["ann", "dan"], "result", &[Some("406"), None], &["ann", "bob", "cat", "dan"]),
        ("bob", "demote", &["ann"], "result", &[Some("406")], &[]),
        ("ann", "demote", &["bob"], "result", &[None], &["ann", "bob", "cat"]),
        ("bob", "demote", &["cat"], "403", &[], &[]),
        ("ann", "remove", &["dan"], "result", &[Some("404")], &[]),
    ];
    let (mut groups, jid) = world(Addressing::Lid);
    for (by, what, who, expected, results, told) in table {
        let row = format!("{by} {what} {who:?}");
        let outcome = act(&mut groups, by, &jid, what, who, "");
        assert_eq!(verdict(&outcome), *expected, "{row}");
        let answered = outcome.answer.get_optional_child(what).and_then(|n| n.children()).unwrap_or_default();
        let errors: Vec<_> = answered.iter().map(|p| p.attrs.get("error").map(|e| e.as_str())).collect();
        assert_eq!(errors.iter().map(|e| e.as_deref()).collect::<Vec<_>>(), *results, "{row}");
        let notified: Vec<_> = outcome.notices.iter().flat_map(to_names).collect();
        assert_eq!(notified, *told, "{row}");
        assert_eq!(!outcome.rotate.is_empty(), *what == "remove" && !told.is_empty(), "{row}");
        if let Some((_, stay)) = outcome.rotate.first() {
            assert!(!stay.contains(&person("dan")), "{row}: who is gone does not rotate");
        }
    }
    assert_eq!(groups.get(&jid).unwrap().people(), [person("ann"), person("bob"), person("cat")]);
}

#[test]
fn a_notification_says_who_did_what_under_both_names() {
    let (mut groups, jid) = world(Addressing::Lid);
    let outcome = act(&mut groups, "ann", &jid, "subject", &[], "Dinner");
    let node = &outcome.notices[0].node;
    let mut attrs = node.attrs();
    assert_eq!(attrs.optional_jid("from"), Some(jid.clone()));
    assert_eq!(attrs.optional_string("type").as_deref(), Some("w:gp2"));
    assert_eq!(attrs.optional_jid("participant"), Some(person("ann").lid_jid()));
    assert_eq!(attrs.optional_jid("participant_pn"), Some(person("ann").pn_jid()));
    assert_eq!(attrs.optional_string("notify").as_deref(), Some("Name of 15550000001"));
    let subject = node.get_optional_child("subject").unwrap();
    assert_eq!(subject.attrs().optional_string("subject").as_deref(), Some("Dinner"));
    assert_eq!(groups.get(&jid).unwrap().subject, "Dinner");
}

#[test]
fn settings_hold_and_decide_who_may_do_what() {
    let (mut groups, jid) = world(Addressing::Lid);
    let table = [
        ("ann", "announcement", "", "result"),
        ("bob", "subject", "Brunch", "result"),
        ("ann", "locked", "", "result"),
        ("bob", "subject", "Mine", "403"),
        ("bob", "ephemeral", "60", "403"),
        ("ann", "ephemeral", "604800", "result"),
        ("ann", "description", "Every Friday", "result"),
    ];
    for (by, what, text, expected) in table {
        assert_eq!(verdict(&act(&mut groups, by, &jid, what, &[], text)), expected, "{by} {what} {text}");
    }
    let group = groups.get(&jid).unwrap();
    assert_eq!(
        (group.may_write(&person("bob").lid_jid()), group.may_write(&person("ann").pn_jid())),
        (Err(403), Ok(()))
    );
    assert_eq!(group.may_write(&person("dan").lid_jid()), Err(403));
    let info = read(&group.node(true, true));
    assert!(info.is_locked && info.is_announcement);
    assert_eq!(info.description.as_deref(), Some("Every Friday"));

    let back = [("not_announcement", ""), ("unlocked", ""), ("ephemeral", "0"), ("description", "")];
    for (what, text) in back {
        assert_eq!(verdict(&act(&mut groups, "ann", &jid, what, &[], text)), "result", "{what}");
    }
    let group = groups.get(&jid).unwrap();
    assert_eq!((group.announcement, group.locked, group.ephemeral, &group.description), (false, false, None, &None));
    assert_eq!(group.may_write(&person("bob").lid_jid()), Ok(()));
}

#[test]
fn a_description_on_an_old_one_is_a_conflict() {
    let (mut groups, jid) = world(Addressing::Lid);
    let set = |id: &'static str, prev: Option<&'static str>| {
        let body = NodeBuilder::new("body").string_content(id).build();
        let node = NodeBuilder::new("description").attr("id", id).children([body]);
        match prev {
            Some(prev) => node.attr("prev", prev).build(),
            None => node.build(),
        }
    };
    for (id, prev, expected) in [("A", None, "result"), ("B", Some("A"), "result"), ("C", Some("A"), "409")] {
        assert_eq!(verdict(&run(&mut groups, "bob", "set", &jid, set(id, prev))), expected, "{id}");
    }
    assert_eq!(groups.get(&jid).unwrap().description.as_ref().unwrap().body, "B");
}

#[test]
fn when_the_last_admin_leaves_the_eldest_member_inherits() {
    let (mut groups, jid) = world(Addressing::Lid);
    let outcome = act(&mut groups, "ann", &jid, "leave", &[], "");
    assert_eq!(verdict(&outcome), "result");
    let tags: Vec<_> = outcome.notices.iter().map(|n| n.node.children().unwrap()[0].tag.to_string()).collect();
    assert_eq!(tags, ["remove", "promote"]);
    assert_eq!(to_names(&outcome.notices[0]), ["ann", "bob", "cat"]);
    assert_eq!(outcome.rotate, [(jid.clone(), vec![person("bob"), person("cat")])]);
    let group = groups.get(&jid).unwrap();
    assert_eq!((group.role(&person("bob").lid_jid()), group.role(&person("ann").lid_jid())), (Some(Role::Admin), None));
    let again = act(&mut groups, "ann", &jid, "leave", &[], "");
    let left = again.answer.get_optional_child("leave").unwrap().get_optional_child("group").unwrap();
    assert_eq!(left.attrs().optional_string("error").as_deref(), Some("403"));
}

#[test]
fn invite_links_let_in_until_they_are_renewed() {
    let (mut groups, jid) = world(Addressing::Lid);
    let everywhere = Jid::group("");
    let with_code = |code: &str| NodeBuilder::new("invite").attr("code", code).build();
    let bare = || NodeBuilder::new("invite").build();
    let code_of = |outcome: &Outcome| {
        outcome.answer.get_optional_child("invite").unwrap().attrs().required_string("code").unwrap().into_owned()
    };
    let old = code_of(&run(&mut groups, "ann", "get", &jid, bare()));
    let info = run(&mut groups, "dan", "get", &everywhere, with_code(&old));
    assert_eq!(read(info.answer.get_optional_child("group").unwrap()).subject.as_str(), "Lunch");

    let new = code_of(&run(&mut groups, "ann", "set", &jid, bare()));
    assert_eq!(verdict(&run(&mut groups, "dan", "set", &everywhere, with_code(&old))), "410");
    let joined = run(&mut groups, "dan", "set", &everywhere, with_code(&new));
    assert_eq!(joined.answer.get_optional_child("group").unwrap().attrs().optional_jid("jid"), Some(jid.clone()));
    assert_eq!(to_names(&joined.notices[0]), ["ann", "bob", "cat", "dan"]);
    assert_eq!(verdict(&run(&mut groups, "dan", "set", &everywhere, with_code(&new))), "409");
}
