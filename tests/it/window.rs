//! Sessions that outgrow the model's window recover by themselves.

use serde_json::Value;
use wa_simulator::{Phone, World};

use crate::support::GatewayFixture;
use crate::support::model::{Act, Model};

/// Refuses requests beyond so many bytes as OpenAI does.
async fn narrow(limit: usize) -> Model {
    Model::acting(move |asked| {
        if asked.to_string().len() <= limit {
            return Act::Says("fine".to_owned());
        }
        let error = serde_json::json!({ "error": {
            "message": "This model's maximum context length is 8192 tokens. However, your messages resulted in more.",
            "type": "invalid_request_error", "code": "context_length_exceeded",
        } });
        Act::Fails(400, error.to_string())
    })
    .await
}

async fn stage(world: &World, model: &Model, models: &str) -> (GatewayFixture, Phone, Phone) {
    let (me, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let config = format!(
        "{{ {}, channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], groupPolicy: 'open' }} }} }}",
        model.config().replace("apiKey: 'k'", &format!("apiKey: 'k'{models}"))
    );
    let gateway = GatewayFixture::start(world, &config).await;
    gateway.link("default", &me).await;
    (gateway, me, ann)
}

async fn answered(person: &Phone, n: usize) {
    let fine = || person.inbox().into_iter().filter(|r| r.text == "fine").count();
    person.expect_message(|_| fine() == n).await.unwrap_or_else(|_| panic!("answer {n}: {:?}", person.inbox().last()));
}

/// The next request whose last message holds these words.
async fn asked_for(model: &mut Model, words: &str) -> Value {
    loop {
        let asked = model.raw().await;
        check_roles(&asked);
        let last = &asked["messages"].as_array().expect("messages").last().expect("one")["content"];
        if last.as_str().expect("text").contains(words) {
            return asked;
        }
    }
}

/// Roles alternate and people begin.
fn check_roles(request: &Value) {
    let roles: Vec<&str> =
        request["messages"].as_array().expect("messages").iter().map(|m| m["role"].as_str().expect("a role")).collect();
    let talk: Vec<&str> = roles.into_iter().filter(|role| *role != "system").collect();
    assert!(talk.iter().enumerate().all(|(n, role)| *role == ["user", "assistant"][n % 2]), "{talk:?}");
    assert_eq!(talk.last(), Some(&"user"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_texts_do_not_fill_a_session() {
    // The first as in the review, the second a small local model, the third one whose window is written down.
    for (limit, models) in [(200_000, ""), (12_000, ""), (12_000, ", models: [{ id: 'tiny', contextWindow: 2000 }]")] {
        let world = World::start().await.expect("world");
        let mut model = narrow(limit).await;
        let (_gateway, me, ann) = stage(&world, &model, models).await;
        for n in 0..10 {
            ann.says(&me, &format!("text {n} {}", "lorem ipsum ".repeat(2_500)));
            answered(&ann, n + 1).await;
        }
        ann.says(&me, "hi");
        answered(&ann, 11).await;
        let (mut requests, mut last) = (0, Value::Null);
        while !last["messages"]
            .as_array()
            .and_then(|all| all.last())
            .is_some_and(|m| m["content"].as_str().expect("text").ends_with("] hi"))
        {
            last = model.raw().await;
            check_roles(&last);
            requests += 1;
        }
        assert!(last["messages"].as_array().expect("messages").len() > 2, "the newest turns are shown");
        if !models.is_empty() || limit > 100_000 {
            assert_eq!(requests, 11, "{limit}{models}: none was refused");
        } else {
            assert!(requests < 25, "{requests}: what the model takes is remembered");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_message_larger_than_the_window_is_answered() {
    let world = World::start().await.expect("world");
    let mut model = narrow(6_000).await;
    let (_gateway, me, ann) = stage(&world, &model, "").await;
    ann.says(&me, &format!("first words {} last words", "x".repeat(60_000)));
    answered(&ann, 1).await;
    let mut asked = model.raw().await;
    while asked.to_string().len() > 6_000 {
        asked = model.raw().await;
    }
    let line = asked["messages"].as_array().expect("messages").last().expect("one")["content"].as_str().expect("text");
    assert!(
        line.contains("first words") && line.ends_with("last words") && line.contains(" characters left out]"),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_group_goes_on_being_answered() {
    let world = World::start().await.expect("world");
    let model = narrow(60_000).await;
    let (gateway, me, ann) = stage(&world, &model, "").await;
    let group = world.group("Friends", &ann, &[&me]);
    for round in 0..6 {
        for n in 0..10 {
            ann.says_in(&group, &format!("chatter {round}.{n} {}", "word ".repeat(400)), &[]);
        }
        gateway.wait_count("default", "not-mentioned", 10 * (round as u64 + 1)).await;
        ann.says_in(&group, &format!("question {round}"), &[&me]);
        answered(&ann, round + 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_whose_run_failed_stays() {
    let world = World::start().await.expect("world");
    let mut model = Model::acting(|asked| {
        let last = asked["messages"].as_array().expect("messages").last().expect("one")["content"].to_string();
        if last.contains("did you read") {
            return Act::Says("fine".into());
        }
        let error = if last.contains("two") {
            "Unsupported parameter: 'max_tokens' is not supported with this model."
        } else {
            "The server had an error"
        };
        Act::Fails(
            if last.contains("two") { 400 } else { 500 },
            serde_json::json!({ "error": { "message": error } }).to_string(),
        )
    })
    .await;
    let (gateway, me, ann) = stage(&world, &model, "").await;
    for text in ["question one", "question two"] {
        ann.says(&me, text);
        asked_for(&mut model, text).await;
    }
    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("default", "connected").await;
    ann.says(&me, "did you read that?");
    let asked = asked_for(&mut model, "did you read").await;
    let messages = asked["messages"].as_array().expect("messages");
    let last = messages.last().expect("one")["content"].as_str().expect("text");
    assert!(
        last.contains("question one") && last.contains("question two") && last.ends_with("did you read that?"),
        "{last}"
    );
    answered(&ann, 1).await;
}
