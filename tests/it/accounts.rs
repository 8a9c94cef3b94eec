//! Which accounts there are: an edit that adds one stops no other, and `default` needs no entry while it is linked.

use verso::actors::messages::Logout;
use wa_simulator::World;

use crate::support::GatewayFixture;

/// A config with these accounts.
fn with(accounts: &str) -> String {
    format!("{{ channels: {{ whatsapp: {{ dmPolicy: 'open', allowFrom: ['*'], {accounts} }} }} }}")
}

fn ids(status: &verso::actors::messages::GatewayStatus) -> Vec<String> {
    status.accounts.iter().map(|a| a.account_id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_default_goes_on_when_another_account_is_added() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, &with("")).await;
    let device = gateway.link("default", &work).await;
    let sockets = device.sockets_opened();
    gateway.edit(&with("accounts: { shop: {} }")).await;
    let status = gateway.wait("both accounts", |s| s.accounts.len() == 2).await;
    assert_eq!((ids(&status), status.default_account.as_str()), (vec!["default".into(), "shop".into()], "default"));
    assert_eq!(status.last_reload["accounts"]["default"], "kept");
    let receipt = status.last_reload["warnings"].to_string();
    assert!(receipt.contains("default: {}") && receipt.contains("default: { enabled: false }"), "{receipt}");
    ann.says(&work, "still there?");
    ann.expect_text("still there?").await.expect("answered");
    assert!(device.connected() && device.sockets_opened() == sockets, "it never noticed");

    let folder = gateway.stop().await;
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("default", "connected").await;
    ann.says(&work, "after the restart?");
    ann.expect_text("after the restart?").await.expect("answered");

    gateway.edit(&with("accounts: { shop: {}, default: { enabled: false } }")).await;
    gateway.wait_state("default", "disabled").await;
    gateway.edit(&with("accounts: { shop: {}, default: {} }")).await;
    gateway.wait_state("default", "connected").await;
    assert_eq!(gateway.status().await.last_reload["warnings"], serde_json::Value::Null, "it is written down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unlisted_default_goes_with_its_link() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway = GatewayFixture::start(&world, &with("")).await;
    gateway.link("default", &work).await;
    gateway.edit(&with("accounts: { shop: {} }, defaultAccount: 'default'")).await;
    let out = gateway.port.logout.send(Logout { account: None }).await.expect("answers").expect("logged out");
    assert_eq!((out.account.as_str(), out.cleared, out.unlinked), ("default", true, true));
    let status = gateway.wait("shop alone", |s| s.accounts.len() == 1).await;
    assert_eq!((ids(&status), status.default_account.as_str()), (vec!["shop".to_owned()], "shop"));
    assert_eq!(status.last_reload["accounts"]["default"], "removed");
    assert!(status.config_problems.is_empty(), "the file stays valid: {:?}", status.config_problems);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_a_listed_account_took_over_is_not_opened_twice() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, &with("")).await;
    let device = gateway.link("default", &work).await;
    let folder = gateway.stop().await;
    let takes = with("accounts: { shop: { authDir: 'credentials/whatsapp/default' } }");
    std::fs::write(folder.path().join("verso.json"), takes).expect("written");
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("shop", "connected").await;
    assert_eq!(ids(&gateway.status().await), ["shop"]);
    assert!(device.connected());
    ann.says(&work, "who answers?");
    ann.expect_text("who answers?").await.expect("answered");
}
