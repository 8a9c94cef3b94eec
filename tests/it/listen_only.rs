//! An account that only listens: everything that comes in is written down and explained, and nothing leaves.

use verso::actors::messages::{Draft, Refusal, SendOut, Wanted};
use wa_simulator::{ReceiptKind, World};

use crate::support::GatewayFixture;
use crate::support::model::Model;

fn config(model: &Model, quiet: bool) -> String {
    format!(
        "{{ {},\nchannels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], groupPolicy: 'open', ackReaction: {{ emoji: '👀' }}, accounts: {{ work: {{\nlistenOnly: {quiet}\n}} }} }} }} }}",
        model.config()
    )
}

fn text(to: &str) -> SendOut {
    SendOut {
        account: None,
        to: to.to_owned(),
        what: Wanted::Message(Draft { text: "hi".into(), ..Draft::default() }),
        idempotency_key: uuid::Uuid::new_v4().to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaves_an_account_that_only_listens_until_the_key_is_taken_back() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let model = Model::start("fine").await;
    let gateway = GatewayFixture::start(&world, &config(&model, true)).await;
    gateway.link("work", &work).await;
    let ids =
        [ann.says(&work, "hello"), ann.says(&work, "/whoami"), work.says(&work, "/status"), work.says(&ann, "mine")];
    for id in &ids {
        assert_eq!(gateway.verdict(id).await, "listen-only");
    }
    let why = gateway.why(&ids[0]).await;
    assert_eq!(why["decision"]["trace"][0]["key"], "channels.whatsapp.accounts.work.listenOnly", "{why:#}");
    assert!(gateway.status().await.accounts[0].listen_only);
    let refused = gateway.port.send.send(text(&ann.number())).await.expect("running").expect_err("refused");
    let Refusal::Invalid(refused) = refused else { panic!("{refused:?}") };
    assert!(
        refused.starts_with(
            "account \"work\" only listens, nothing was sent: channels.whatsapp.accounts.work.listenOnly ("
        ) && refused.ends_with("verso.json:3) is true; set it to false to send"),
        "{refused}"
    );

    // Live, in both directions.
    gateway.edit(&config(&model, false)).await;
    let asked = ann.says(&work, "and now?");
    ann.expect_text("fine").await.expect("answered");
    ann.expect_receipt(&asked, ReceiptKind::Read).await.expect("read");
    ann.expect_reaction(&asked).await.expect("a reaction");
    gateway.port.send.send(text(&ann.number())).await.expect("running").expect("sent");
    ann.expect_text("hi").await.expect("delivered");
    gateway.edit(&config(&model, true)).await;
    let last = ann.says(&work, "still?");
    assert_eq!(gateway.verdict(&last).await, "listen-only");

    let got: Vec<String> = ann.inbox().into_iter().map(|r| r.text).filter(|text| !text.is_empty()).collect();
    assert_eq!(got, ["mine", "fine", "hi"]);
    let read = |id: &str| ann.receipts().iter().any(|r| r.id == id && r.kind == ReceiptKind::Read);
    assert!(!read(&ids[0]) && !read(&last));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_in_the_making_when_the_account_was_told_to_listen_never_leaves() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let mut model = Model::held("fine").await;
    let gateway = GatewayFixture::start(&world, &config(&model, false)).await;
    gateway.link("work", &work).await;
    let running = ann.says(&work, "question");
    model.asked().await;
    gateway.edit(&config(&model, true)).await;
    let began = tokio::time::Instant::now();
    while gateway.verdict(&running).await != "listen-only" {
        assert!(began.elapsed() < crate::support::DEADLINE, "it is still to be answered");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(gateway.why(&running).await["state"], "dropped");
    // Not after a restart, and not when the account may speak again.
    let gateway = GatewayFixture::start_in(&world, gateway.stop().await).await;
    gateway.wait_state("work", "connected").await;
    gateway.edit(&config(&model, false)).await;
    model.release(9);
    ann.says(&work, "marker");
    ann.expect_text("fine").await.expect("answered");
    assert_eq!(ann.inbox().into_iter().filter(|r| r.text == "fine").count(), 1);
}
