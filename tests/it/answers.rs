//! Linking, admission and answering over the real protocol.

use wa_simulator::World;

use crate::support::GatewayFixture;

const OPEN: &str =
    r#"{ channels: { whatsapp: { dmPolicy: "open", allowFrom: ["*"], accounts: { work: {}, personal: {} } } } }"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_accounts_answer_each_on_its_own_number() {
    let world = World::start().await.expect("world");
    let (work, personal) = (world.phone("+15550001111"), world.phone("+15550002222"));
    let ann = world.contact("+15557654321", "Ann");
    let gateway = GatewayFixture::start(&world, OPEN).await;
    gateway.link("work", &work).await;
    gateway.link("personal", &personal).await;

    ann.says(&work, "hello work");
    let answer = ann.expect_text("hello work").await.expect("answered");
    assert_eq!(answer.from, work.number());
    ann.says(&personal, "hello personal");
    let answer = ann.expect_text("hello personal").await.expect("answered");
    assert_eq!(answer.from, personal.number());
    assert_eq!(ann.inbox().len(), 2);
    assert!(ann.undecryptable().is_empty());
}
