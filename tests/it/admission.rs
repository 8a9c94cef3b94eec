//! Who is answered, from phone to phone: every policy with every kind of sender, and why not.

use verso::actors::messages::{DecidePairing, ListPairing};
use wa_simulator::{Addressing, Group, NumberShown, Phone, World};

use crate::support::GatewayFixture;

fn config(rules: &str) -> String {
    format!(
        "{{ messages: {{ groupChat: {{ mentionPatterns: ['\\\\bbot\\\\b'] }} }}, channels: {{ whatsapp: {{ {rules}, accounts: {{ work: {{}} }} }} }} }}"
    )
}

/// What the phone got from the account, in order; in the account's own chat what the gateway answered there.
fn got(phone: &Phone, work: &Phone) -> Vec<String> {
    let own = phone.number() == work.number();
    let heard = phone.inbox().into_iter().filter(|r| r.from == work.number() && !r.text.is_empty());
    let heard = heard.filter(|r| !own || (r.device != 0 && r.chat == work.number())).map(|r| r.text);
    heard.filter(|text| !text.contains("asks to be let in")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dm_policy_treats_every_kind_of_sender_as_it_says() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let stranger = world.contact("+15557000001", "Stranger");
    let allowed = world.contact("+15557000002", "Allowed");
    let paired = world.contact("+15557000003", "Paired");
    let hidden = world.contact("+15557000004", "Hidden");
    hidden.shows_number(NumberShown::Never);
    let gateway = GatewayFixture::start(&world, &config("dmPolicy: 'pairing', allowFrom: ['+15557000002']")).await;
    gateway.link("work", &work).await;

    // One is let in by the owner beforehand.
    paired.says(&work, "let me in");
    let text = paired.expect_message(|r| r.text.contains("Pairing code")).await.expect("pairing text").text;
    assert!(text.contains("Your WhatsApp phone number: +15557000003\n"), "{text}");
    let list = ListPairing { account: None };
    let request = gateway.port.list_pairing.send(list).await.expect("answers").expect("listed").remove(0);
    let approve = DecidePairing { account: None, code: request.code, approve: true, notify: false };
    gateway.port.decide_pairing.send(approve).await.expect("answers").expect("approved");

    let senders = [&stranger, &allowed, &paired, &work, &hidden];
    let all = |outcome| [outcome; 5];
    let listed = |outcome| [outcome, "answer", "answer", "answer", outcome];
    let mut wanted: Vec<Vec<String>> = senders.iter().map(|phone| got(phone, &work)).collect();
    for (policy, allow_from, outcomes) in [
        ("pairing", "['+15557000002']", listed("pairing-required")),
        ("allowlist", "['+15557000002']", listed("dm-not-allowlisted")),
        ("disabled", "['+15557000002']", all("dm-disabled")),
        ("open", "['+15557000002', '*']", all("answer")),
    ] {
        gateway.edit(&config(&format!("dmPolicy: '{policy}', allowFrom: {allow_from}, responsePrefix: ''"))).await;
        for ((sender, outcome), wanted) in senders.iter().zip(outcomes).zip(&mut wanted) {
            let text = format!("{} under {policy}", sender.name());
            let id = sender.says_via(&work, &text, Addressing::Lid);
            assert_eq!(gateway.verdict(&id).await, outcome, "{text}");
            match outcome {
                "answer" => {
                    sender.expect_message(|r| r.text == text && r.from == work.number()).await.expect("answered");
                    wanted.push(text);
                }
                "pairing-required" => {
                    let heard = sender.expect_message(|r| r.text.contains("Pairing code")).await.expect("told").text;
                    let hidden = heard.contains("Your WhatsApp id: ") && heard.contains("@lid\n");
                    assert_eq!(hidden, sender.name() == "Hidden", "{heard}");
                    wanted.push(heard);
                }
                _ => {
                    let why = gateway.why(&id).await;
                    assert_eq!(why["state"], "dropped", "{why:#}");
                    assert_eq!(why["decision"]["effects"], serde_json::json!([]), "{why:#}");
                    let gate = why["decision"]["trace"].as_array().and_then(|gates| gates.last()).expect("gates");
                    assert_eq!((&gate["key"], &gate["value"]), (&"channels.whatsapp.dmPolicy".into(), &policy.into()));
                }
            }
        }
    }
    // Under the last policy everybody was answered, so whatever the others would have sent stands before it.
    for (sender, wanted) in senders.iter().zip(wanted) {
        assert_eq!(got(sender, &work), wanted, "{}", sender.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_without_a_number_is_let_in_by_the_id() {
    let world = World::start().await.expect("world");
    let (work, hidden) = (world.phone("+15550001111"), world.contact("+15557000004", "Hidden"));
    hidden.shows_number(NumberShown::Never);
    let rules = format!("dmPolicy: 'allowlist', allowFrom: ['{}']", hidden.lid().to_non_ad());
    let gateway = GatewayFixture::start(&world, &config(&rules)).await;
    gateway.link("work", &work).await;
    hidden.says(&work, "it is me");
    hidden.expect_text("it is me").await.expect("answered");
}

/// How a group message speaks to the agent.
const KINDS: [&str; 5] = ["none", "native", "pattern", "number", "reply"];

async fn speak(
    kind: &str,
    ann: &Phone,
    work: &Phone,
    group: &Group,
    answer: &wa_simulator::Received,
    text: &str,
) -> String {
    match kind {
        "native" => ann.says_in(group, text, &[work]),
        "pattern" => ann.says_in(group, &format!("Bot, {text}"), &[]),
        "number" => ann.says_in(group, &format!("+1 (555) 000-1111 {text}"), &[]),
        "reply" => ann.replies_in(group, answer, text),
        _ => ann.says_in(group, text, &[]),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_group_policy_with_every_mention_and_activation() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &work]);
    let gateway = GatewayFixture::start(&world, &config("groupPolicy: 'open'")).await;
    gateway.link("work", &work).await;
    ann.says_in(&group, "begin", &[&work]);
    let from_work = |text: String| {
        let number = work.number();
        move |r: &wa_simulator::Received| r.from == number && r.text.contains(&text)
    };
    let answer = ann.expect_message(from_work("begin".into())).await.expect("answered");

    for (policy, senders, fixed) in [
        ("open", "['*']", None),
        ("allowlist", "['+15557000001']", None),
        ("allowlist", "['+15557000002']", Some("group-sender-not-allowlisted")),
        ("allowlist", "[]", Some("group-no-senders")),
        ("disabled", "['+15557000001']", Some("group-disabled")),
    ] {
        for always in [false, true] {
            let rules = format!(
                "groupPolicy: '{policy}', groupAllowFrom: {senders}, groups: {{ '*': {{ requireMention: {} }} }}",
                !always
            );
            gateway.edit(&config(&rules)).await;
            for kind in KINDS {
                let text = format!("{kind} in {policy} {senders} {always}");
                let id = speak(kind, &ann, &work, &group, &answer, &text).await;
                let wanted = match fixed {
                    Some(reason) => reason,
                    None if kind == "none" && !always => "not-mentioned",
                    None => "answer",
                };
                assert_eq!(gateway.verdict(&id).await, wanted, "{text}");
                let why = gateway.why(&id).await;
                let outcome = |gate: &str| {
                    let gates = why["decision"]["trace"].as_array().expect("gates");
                    gates.iter().find(|g| g["gate"] == gate).map(|g| g["outcome"].clone()).unwrap_or_default()
                };
                match wanted {
                    "answer" => {
                        assert_eq!(outcome("mention"), kind, "{why:#}");
                        bob.expect_message(from_work(text)).await.expect("answered");
                    }
                    "not-mentioned" => assert_eq!((&why["state"], outcome("mention")), (&"held".into(), "none".into())),
                    _ => assert_eq!(why["state"], "dropped", "{why:#}"),
                }
            }
        }
    }

    // A map of groups is also a list of groups.
    gateway.edit(&config("groupPolicy: 'open', groups: { '120363999999999999@g.us': {} }")).await;
    let id = ann.says_in(&group, "not here", &[&work]);
    assert_eq!(gateway.verdict(&id).await, "group-not-listed");
    let why = gateway.why(&id).await;
    let gate = why["decision"]["trace"].as_array().and_then(|gates| gates.last()).expect("gates");
    assert_eq!(gate["key"], "channels.whatsapp.groups", "{why:#}");
    gateway.wait_count("work", "group-not-listed", 1).await;
    gateway.edit(&config(&format!("groupPolicy: 'open', groups: {{ '{}': {{}} }}", group.jid()))).await;
    ann.says_in(&group, "the end", &[&work]);
    bob.expect_message(from_work("the end".into())).await.expect("answered");
    let said = |needle: &str| bob.inbox().iter().filter(|r| r.from == work.number() && r.text.contains(needle)).count();
    assert_eq!((said("disabled"), said("not here"), said("none in open ['*'] false")), (0, 0, 0));
}
