//! Credentials that are cut off or damaged: the link goes on, or a person is told to link again.

use std::fs;

use wa_simulator::World;

use crate::process::{Process, link_by_code, state};
use crate::support::GatewayFixture;

const OPEN: &str = "channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], accounts: { work: {} } } }";

/// `kill -9` at every step of a save, again and again on the same link: it works after every one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_survives_a_death_at_every_step_of_a_save() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let mut folder = state(OPEN);
    link_by_code(folder.path(), &world, &work, "work").await;
    // The record is written before its backup, so a step is passed twice in a save.
    let steps = [
        "flush#1",
        "flushed#1",
        "begin#1",
        "half#1",
        "written#1",
        "synced#1",
        "renamed#1",
        "done#1",
        "half#2",
        "done#2",
    ];
    for step in steps {
        Process::dies(&world, folder.path(), step).await;
        let gateway = Process::start(&world, folder).await;
        gateway.wait_connected(&world).await;
        ann.says(&work, step);
        ann.expect_text(step).await.unwrap_or_else(|e| panic!("after a death at {step}: {e}"));
        folder = gateway.kill();
    }
    let left = fs::read_dir(folder.path().join("credentials/whatsapp/work")).expect("readable").flatten();
    assert!(left.map(|e| e.file_name()).all(|n| !n.to_string_lossy().starts_with(".creds-")), "nothing half stays");
    assert_eq!(work.devices().len(), 1, "still the first link");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_files_cost_no_link_and_total_loss_is_told() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let gateway = GatewayFixture::start(&world, &format!("{{ {OPEN} }}")).await;
    gateway.link("work", &work).await;
    let mut folder = gateway.stop().await;
    let dir = folder.path().join("credentials/whatsapp/work");
    for damaged in
        [&["signal.db"][..], &["creds.json"], &["signal.db", "creds.json"], &["creds.json", "creds.json.bak"]]
    {
        for name in damaged {
            fs::write(dir.join(name), "{\"half").expect("written");
        }
        let gateway = GatewayFixture::start_in(&world, folder).await;
        gateway.wait_state("work", "connected").await;
        let text = format!("after {damaged:?}");
        ann.says(&work, &text);
        ann.expect_text(text.clone()).await.expect("answered");
        folder = gateway.stop().await;
    }
    for name in ["signal.db", "creds.json", "creds.json.bak"] {
        fs::write(dir.join(name), "{\"half").expect("written");
    }
    let gateway = GatewayFixture::start_in(&world, folder).await;
    let status = gateway.wait_state("work", "not-linked").await;
    let told = status.last_error.unwrap_or_default();
    assert!(told.contains("damaged") && told.contains("link again"), "{told}");
    gateway.link("work", &work).await;
    ann.says(&work, "linked anew");
    ann.expect_text("linked anew").await.expect("answered");
}

/// `kill -9` between messages, then a hit on the log of the database: gone, cut off, or a bit turned. The link goes on, every later message is
/// read on both sides, and no key is used a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_of_the_database_rolls_no_key_back() {
    let world = World::start().await.expect("world");
    let (work, ann) = (world.phone("+15550001111"), world.contact("+15557654321", "Ann"));
    let bob = world.contact("+15557000002", "Bob");
    let group = world.group("Lunch", &ann, &[&work, &bob]);
    let mut folder = state(
        "channels: { whatsapp: { dmPolicy: 'open', allowFrom: ['*'], groups: { '*': { requireMention: false } }, accounts: { work: {} } } }",
    );
    link_by_code(folder.path(), &world, &work, "work").await;
    let log = folder.path().join("credentials/whatsapp/work/signal.db-wal");
    let hits: [fn(&mut Vec<u8>); 7] = [
        |_| {},
        |log| log.clear(),
        |log| log.truncate(log.len() / 2),
        |log| log.truncate(log.len() - 1),
        |log| log[40] ^= 1,
        |log| {
            let at = log.len() / 2;
            log[at] ^= 0x80;
        },
        |log| {
            let at = log.len() - 2_000;
            log[at] ^= 0x04;
        },
    ];
    for (n, hit) in hits.into_iter().enumerate() {
        let gateway = Process::start(&world, folder).await;
        gateway.wait_connected(&world).await;
        for turn in 0..3 {
            let (direct, shared) = (format!("direct {n}.{turn}"), format!("shared {n}.{turn}"));
            ann.says(&work, &direct);
            ann.expect_text(direct.as_str()).await.unwrap_or_else(|e| panic!("{direct}: {e}"));
            bob.says_in(&group, &shared, &[]);
            bob.expect_text(shared.as_str()).await.unwrap_or_else(|e| panic!("{shared}: {e}"));
        }
        folder = gateway.kill();
        let mut bytes = fs::read(&log).expect("a crash leaves it");
        assert!(bytes.len() > 4_000, "round {n}: {} bytes", bytes.len());
        hit(&mut bytes);
        fs::write(&log, bytes).expect("written");
    }
    let gateway = Process::start(&world, folder).await;
    gateway.wait_connected(&world).await;
    for phone in [&ann, &bob] {
        phone.says(&work, "the end");
        phone.expect_text("the end").await.expect("answered");
        // What several phones ask for again at once is looked for twice a minute.
        let opened = || phone.undecryptable().iter().all(|lost| lost.recovered);
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        while !opened() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let lost = phone.undecryptable();
        assert!(lost.iter().all(|lost| lost.recovered), "never opened: {lost:?}");
        assert!(!lost.iter().any(wa_simulator::Undecryptable::is_reused_key), "a key was used twice: {lost:?}");
    }
    assert_eq!(work.devices().len(), 1, "still the first link");
}
