//! What an upgrade changes is told once, and never to somebody who begins.

use wa_simulator::World;

use crate::process::{Process, link_by_code, state};

const TOLD: &str = "What changes for you";
/// The last line of a start without a link.
const LAST: &str = "is not linked yet";

fn told(process: &Process) -> bool {
    std::fs::read_to_string(process.folder().join("stdout")).expect("its output").contains(TOLD)
}

/// How often the log has a line of it.
fn logged(process: &Process) -> usize {
    let log = std::fs::read_to_string(process.folder().join("verso.log")).expect("a log");
    log.lines().filter(|line| line.contains("what changes for you: - ")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_start_after_an_upgrade_tells_once_what_changes() {
    let world = World::start().await.expect("world");
    let gateway = Process::start(&world, state("")).await;
    gateway.wait_said(LAST).await;
    assert!(!told(&gateway), "nothing changes for somebody who begins");
    let folder = gateway.kill();
    let forget = |folder: &std::path::Path| {
        let db = rusqlite::Connection::open(folder.join("state.db")).expect("opens");
        assert_eq!(db.execute("DELETE FROM facts WHERE key = 'told:what-changes'", []).expect("deleted"), 1);
    };

    // The state folder of a Verso that knew nothing of such notices.
    forget(folder.path());
    let gateway = Process::start(&world, folder).await;
    gateway.wait_said(LAST).await;
    let out = std::fs::read_to_string(gateway.folder().join("stdout")).expect("its output");
    let section =
        include_str!("../../deploy/CHANGELOG.md").split("### What changes for you").nth(1).expect("a section");
    let line = section.lines().find(|line| line.starts_with("- ")).expect("a line");
    assert!(out.contains(TOLD) && out.contains(line), "{out}");
    let lines = logged(&gateway);
    assert!(lines > 0);

    let gateway = Process::start(&world, gateway.kill()).await;
    gateway.wait_said(LAST).await;
    assert!(!told(&gateway), "it was told");
    assert_eq!(logged(&gateway), lines);

    // A login without a gateway takes nothing away from the gateway's first start.
    let folder = gateway.kill();
    forget(folder.path());
    link_by_code(folder.path(), &world, &world.phone("+15550001111"), "default").await;
    let gateway = Process::start(&world, folder).await;
    gateway.wait_said(TOLD).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_before_the_first_start_is_a_beginning_too() {
    let world = World::start().await.expect("world");
    let folder = state("");
    link_by_code(folder.path(), &world, &world.phone("+15550001111"), "default").await;
    assert!(folder.path().join("state.db").exists());
    let gateway = Process::start(&world, folder).await;
    gateway.wait_connected(&world).await;
    assert!(!told(&gateway));
}
