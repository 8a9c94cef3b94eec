//! Credentials that cannot be written to disk: the owner is told until they are there.

use std::time::{Duration, Instant};

use wa_simulator::{Kick, World};

use crate::process::{Process, state};
use crate::support::DEADLINE;

/// Waits until `verso channels status` says this, or does not any more.
async fn wait_said(gateway: &Process, world: &World, words: &str, wanted: bool) -> String {
    let began = Instant::now();
    loop {
        let out = gateway.run(world, &["channels", "status"]).await;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        if said.contains(words) == wanted {
            return said;
        }
        assert!(began.elapsed() < DEADLINE, "{words:?} said: {}, in: {said}", !wanted);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn unsaved(status: &serde_json::Value) -> &serde_json::Value {
    &status["channelAccounts"]["whatsapp"][0]["unsaved"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_not_on_disk_is_a_warning_until_it_is() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let config = "channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {} } } },
        web: { reconnect: { initialMs: 100, maxMs: 200, maxAttempts: 0 } }";
    let gateway = Process::start(&world, state(config)).await;
    gateway.link(&world, &work).await;
    let database = gateway.folder().join("credentials/whatsapp/work/signal.db");
    let database = rusqlite::Connection::open(database).expect("opens");
    database.busy_timeout(DEADLINE).expect("patient");
    // As a disk without room, for the device alone: every login changes it.
    for event in ["INSERT", "UPDATE"] {
        let full =
            format!("CREATE TRIGGER full_{event} BEFORE {event} ON device BEGIN SELECT RAISE(ABORT, 'no room'); END");
        database.execute_batch(&full).expect("made");
    }
    work.devices()[0].kick(Kick::Drop);
    let said = wait_said(&gateway, &world, "The credentials could not be saved", true).await;
    assert!(said.contains("whatsapp work: The credentials could not be saved: cannot write signal.db"), "{said}");
    assert!(said.contains("no room"), "the reason: {said}");
    assert!(said.contains("Make room on the disk"), "what to do: {said}");
    gateway.wait_connected(&world).await;
    let status = gateway.call("channels.status", serde_json::json!({})).await.expect("answered");
    assert!(unsaved(&status).as_str().is_some_and(|why| why.contains("no room")), "{status:#}");
    ann.says(&work, "still there?");
    ann.expect_text("still there?").await.expect("the link works all the same");
    // Nothing has to be done but to mend the cause.
    database.execute_batch("DROP TRIGGER full_INSERT; DROP TRIGGER full_UPDATE").expect("mended");
    wait_said(&gateway, &world, "The credentials could not be saved", false).await;
    let status = gateway.call("channels.status", serde_json::json!({})).await.expect("answered");
    assert!(unsaved(&status).is_null(), "{status:#}");
}
