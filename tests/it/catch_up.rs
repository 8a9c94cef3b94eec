//! What was written while nothing ran.

use std::time::Duration;

use verso::actors::messages::ListPairing;
use wa_simulator::{ReceiptKind, World};

use crate::support::GatewayFixture;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recent_messages_are_answered_older_ones_only_marked_and_no_stranger_is_bothered() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557000001", "Ann"));
    let strangers = [world.contact("+15557000002", "Bob"), world.contact("+15557000003", "Cy")];
    let group = world.group("Friends", &ann, &[&work]);
    let config = "{ channels: { whatsapp: { dmPolicy: 'pairing', allowFrom: ['+15557000001'], catchUpMinutes: 20, accounts: { work: {} } } } }";
    let gateway = GatewayFixture::start(&world, config).await;
    gateway.link("work", &work).await;
    let folder = gateway.stop().await;

    ann.writes_in_the_past(30 * MINUTE);
    let old = [ann.says(&work, "old"), ann.says_in(&group, "old in the group", &[&work])];
    ann.writes_in_the_past(5 * MINUTE);
    ann.says(&work, "recent");
    ann.says_in(&group, "recent in the group", &[&work]);
    let mut asked = Vec::new();
    for (stranger, ago) in strangers.iter().zip([5 * MINUTE, 26 * 60 * MINUTE]) {
        stranger.writes_in_the_past(ago);
        asked.push(stranger.says(&work, "hello from the past"));
        stranger.writes_in_the_past(Duration::ZERO);
    }
    ann.writes_in_the_past(Duration::ZERO);

    let gateway = GatewayFixture::start_in(&world, folder).await;
    ann.expect_text("recent").await.expect("answered");
    ann.expect_message(|r| r.chat == group.jid().to_string() && r.text.contains("recent in the group"))
        .await
        .expect("answered");
    for id in &old {
        assert_eq!(gateway.verdict(id).await, "too-old");
        ann.expect_receipt(id, ReceiptKind::Read).await.expect("marked as read");
    }
    for id in &asked {
        assert_eq!(gateway.verdict(id).await, "pairing-too-old");
    }
    assert!(
        gateway
            .port
            .list_pairing
            .send(ListPairing { account: None })
            .await
            .expect("answers")
            .expect("listed")
            .is_empty()
    );
    gateway.wait_state("work", "connected").await;
    ann.says(&work, "now");
    ann.expect_text("now").await.expect("answered");
    let old: Vec<_> = ann.inbox().into_iter().filter(|r| r.from == work.number() && r.text.contains("old")).collect();
    assert!(old.is_empty(), "{old:?}");

    // Who writes again now is asked for a code: the old message had cost nothing.
    for stranger in &strangers {
        assert!(stranger.inbox().is_empty());
        stranger.says(&work, "hello now");
        stranger.expect_message(|r| r.text.contains("Pairing code")).await.expect("told");
    }
}
