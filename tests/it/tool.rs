//! The tool `whatsapp`: what a model does besides answering.

use serde_json::{Value, json};
use wa_simulator::{Phone, World};

use crate::support::GatewayFixture;
use crate::support::model::{Model, call, text};

async fn stage(world: &World, model: &Model, more: &str) -> (GatewayFixture, Phone, Phone) {
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let config = format!(
        "{{ {}, channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], groupPolicy: 'open', {more} accounts: {{ work: {{}}, personal: {{}} }} }} }} }}",
        model.config()
    );
    let gateway = GatewayFixture::start(world, &config).await;
    gateway.link("work", &work).await;
    (gateway, work, ann)
}

/// What the model is told of its last call.
async fn told(model: &mut Model) -> Value {
    let request = model.raw().await;
    let last = request["messages"].as_array().and_then(|m| m.last()).expect("a message").clone();
    assert_eq!(last["role"], "tool", "{last}");
    serde_json::from_str(last["content"].as_str().expect("text")).expect("json")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_reacts_and_then_answers() {
    let world = World::start().await.expect("world");
    let mut model = Model::scripted(vec![
        call(json!({"action": "react", "emoji": "👍"})),
        text("Done."),
        call(json!({"action": "react", "emoji": "👍", "remove": true, "chatJid": "+15557654321", "messageId": "3AOLD", "fromMe": true})),
        text("Gone."),
    ])
    .await;
    let (_gateway, work, ann) = stage(&world, &model, "").await;
    let asked = ann.says(&work, "nice, isn't it?");
    ann.expect_text("Done.").await.expect("answered");
    let inbox = ann.inbox();
    let reaction = inbox[0].reaction.as_ref().expect("the reaction comes first");
    assert_eq!((reaction.target.as_str(), reaction.emoji.as_str()), (&*asked, "👍"));
    assert_eq!(model.raw().await["tools"][0]["function"]["name"], "whatsapp");
    assert_eq!(told(&mut model).await, json!({"ok": true, "added": "👍"}));

    ann.says(&work, "take another one back");
    ann.expect_text("Gone.").await.expect("answered");
    let seen = ann.expect_message(|r| r.reaction.as_ref().is_some_and(|r| r.target == "3AOLD")).await.expect("seen");
    let key = seen.message.reaction_message.key.as_option().expect("a key").clone();
    assert_eq!((seen.reaction.expect("one").emoji.as_str(), key.from_me), ("", Some(true)));
    model.raw().await;
    assert_eq!(told(&mut model).await, json!({"ok": true, "removed": true}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_group_the_author_is_known() {
    let world = World::start().await.expect("world");
    let mut model = Model::scripted(vec![
        call(json!({"action": "react", "emoji": "✋"})),
        call(json!({"action": "react", "emoji": "✋", "messageId": "3ANOBODY"})),
        text("Here."),
    ])
    .await;
    let (_gateway, work, ann) = stage(&world, &model, "").await;
    let group = world.group("Friends", &ann, &[&work]);
    let asked = ann.says_in(&group, "who is there?", &[&work]);
    ann.expect_message(|r| r.text.ends_with("Here.")).await.expect("answered");
    let seen = ann.expect_message(|r| r.reaction.is_some()).await.expect("seen");
    let key = seen.message.reaction_message.key.as_option().expect("a key").clone();
    assert_eq!((key.id.as_deref(), key.from_me), (Some(&*asked), Some(false)));
    let author = key.participant.expect("the author");
    assert!([ann.jid().to_string(), ann.lid().to_string()].contains(&author), "{author}");
    model.raw().await;
    assert_eq!(told(&mut model).await["ok"], true);
    assert!(told(&mut model).await["error"].as_str().expect("refused").contains("participant"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_account_a_missing_emoji_and_unknown_actions_are_refused() {
    let world = World::start().await.expect("world");
    let cases = [
        (json!({"action": "react", "emoji": "👍", "accountId": "personal"}), "belongs to the account \"work\""),
        (json!({"action": "react", "remove": true}), "Emoji is required to remove a WhatsApp reaction."),
        (json!({"action": "send", "emoji": "👍"}), "only \"react\""),
        (json!({"action": "react", "emoji": "👍", "chatJid": "abc"}), "\"abc\" is no phone number"),
        (json!({"action": 5}), "cannot be read"),
    ];
    let script = cases.iter().map(|(arguments, _)| call(arguments.clone())).chain([text("Sorry.")]);
    let mut model = Model::scripted(script.collect()).await;
    let (_gateway, work, ann) = stage(&world, &model, "").await;
    ann.says(&work, "react!");
    ann.expect_text("Sorry.").await.expect("answered");
    assert_eq!(ann.inbox().len(), 1, "no reaction was sent: {:?}", ann.inbox());
    model.raw().await;
    for (arguments, why) in cases {
        let told = told(&mut model).await;
        assert_eq!(told["ok"], false);
        assert!(told["error"].as_str().is_some_and(|error| error.contains(why)), "{arguments}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_gate_offers_nothing_and_refuses_a_model_that_tries() {
    let world = World::start().await.expect("world");
    let mut model = Model::scripted(vec![call(json!({"action": "react", "emoji": "👍"})), text("No.")]).await;
    let (_gateway, work, ann) = stage(&world, &model, "actions: { reactions: false },").await;
    ann.says(&work, "react!");
    ann.expect_text("No.").await.expect("answered");
    assert_eq!(ann.inbox().len(), 1, "no reaction was sent");
    assert_eq!(model.raw().await.get("tools"), None);
    assert_eq!(told(&mut model).await, json!({"ok": false, "error": "WhatsApp reactions are disabled."}));
}
