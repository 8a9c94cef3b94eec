//! Logging out: WhatsApp is told when it can be, and only this account's session files go.

use verso::actors::messages::{LoggedOut, Logout, Refusal};
use wa_simulator::{Kick, World};

use crate::support::GatewayFixture;

const TWO: &str = r#"{
    web: { reconnect: { initialMs: 600000, maxMs: 600000 } },
    channels: { whatsapp: { dmPolicy: "open", allowFrom: ["*"], accounts: { default: {}, other: {} } } },
}"#;

async fn log_out(gateway: &GatewayFixture, account: &str) -> Result<LoggedOut, Refusal> {
    gateway.port.logout.send(Logout { account: Some(account.to_owned()) }).await.expect("answers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_connection_the_files_go_and_the_owner_hears_what_is_left() {
    let world = World::start().await.expect("world");
    let (work, other) = (world.phone("+15550001111"), world.phone("+15550002222"));
    let gateway = GatewayFixture::start(&world, TWO).await;
    let device = gateway.link("default", &work).await;
    let sibling = gateway.link("other", &other).await;
    let sockets = sibling.sockets_opened();
    device.kick(Kick::Drop);
    gateway.wait_state("default", "backoff").await;
    let out = log_out(&gateway, "default").await.expect("logged out");
    assert_eq!((out.cleared, out.unlinked), (true, false));
    gateway.wait_state("default", "not-linked").await;
    assert!(!gateway.state.join("credentials/whatsapp/default/creds.json").exists(), "gone when it is answered");
    assert!(device.linked(), "nobody could tell WhatsApp");
    assert!(sibling.connected() && sibling.sockets_opened() == sockets, "the other account never notices");
    let out = log_out(&gateway, "other").await.expect("logged out");
    assert_eq!((out.cleared, out.unlinked), (true, true));
    assert!(!sibling.linked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_directly_under_credentials_go_and_everything_else_stays() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway = GatewayFixture::start(&world, TWO).await;
    let device = gateway.link("default", &work).await;
    let folder = gateway.stop().await;
    let (legacy, usual) = (folder.path().join("credentials"), folder.path().join("credentials/whatsapp/default"));
    for name in ["signal.db", "creds.json", "creds.json.bak"] {
        if usual.join(name).exists() {
            std::fs::rename(usual.join(name), legacy.join(name)).expect("moved");
        }
    }
    std::fs::write(legacy.join("oauth.json"), "{}").expect("written");
    let gateway = GatewayFixture::start_in(&world, folder).await;
    gateway.wait_state("default", "connected").await;
    let out = log_out(&gateway, "default").await.expect("logged out");
    assert_eq!((out.cleared, out.unlinked), (true, true));
    assert!(!device.linked());
    for name in ["signal.db", "creds.json", "creds.json.bak"] {
        assert!(!legacy.join(name).exists(), "{name} is left");
    }
    assert!(legacy.join("oauth.json").is_file());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_removed_are_an_error_that_names_them() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway = GatewayFixture::start(&world, TWO).await;
    gateway.link("default", &work).await;
    // A folder in a file's place cannot be unlinked by anybody, root included.
    let stuck = gateway.state.join("credentials/whatsapp/default/session-1.json");
    std::fs::create_dir(&stuck).expect("made");
    let error = log_out(&gateway, "default").await.expect_err("not removed").to_string();
    assert!(error.contains("could not be removed") && error.contains("session-1.json"), "{error}");
    assert!(!gateway.state.join("credentials/whatsapp/default/creds.json").exists(), "the others are gone");
    let status = gateway.wait_state("default", "not-linked").await;
    assert!(status.last_error.is_some_and(|e| e.contains("session-1.json")));
    std::fs::remove_dir(&stuck).expect("removed");
    log_out(&gateway, "default").await.expect("logged out");
    gateway.link("default", &work).await;
}
