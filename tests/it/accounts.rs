//! Which accounts there are: an edit that adds one stops no other, and `default` needs no entry while it is linked.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use verso::actors::messages::Logout;
use wa_simulator::World;

use crate::process::{Process, alone, call, in_foreground, link_by_code, state, verso};
use crate::support::{DEADLINE, GatewayFixture};

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

const OPEN: &str = "channels: { // whose\n whatsapp: { dmPolicy: 'open', allowFrom: ['*'] } }";

/// What a command printed, both streams; its code is checked.
fn said(output: &Output, code: i32) -> String {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

fn config(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("verso.json")).expect("readable")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_added_and_removed_while_the_gateway_runs() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway = Process::start(&world, state(OPEN)).await;
    let folder = gateway.folder().to_owned();
    link_by_code(&folder, &world, &work, "default").await;
    gateway.wait_connected(&world).await;
    let run = async |words: &[&str], code| said(&alone(&folder, &world, words).await, code);

    let text = run(&["channels", "add", "my shop", "--name", "Shop"], 0).await;
    holds(
        &text,
        &["id is my-shop", "Added WhatsApp account \"my-shop\".", "default: {}", "The running gateway applied it"],
    );
    holds(&config(&folder), &["// whose", "Shop"]);
    holds(
        &run(&["channels", "status"], 0).await,
        &[
            "WhatsApp my-shop (Shop)",
            "login --account my-shop",
            "WhatsApp default: enabled, configured, linked, running, connected",
        ],
    );
    holds(&run(&["channels", "add", "--channel", "whatsapp", "--account", "my-shop"], 0).await, &["is there already"]);
    holds(&run(&["channels", "add", "../../etc"], 2).await, &["../../etc", "cannot be the id"]);
    run(&["channels", "add"], 2).await;

    holds(&run(&["channels", "remove", "my-shop"], 0).await, &["Disabled WhatsApp account \"my-shop\".", "applied it"]);
    holds(&run(&["channels", "add", "my-shop"], 0).await, &["Enabled WhatsApp account \"my-shop\"."]);
    holds(&run(&["channels", "remove", "my-shop", "--delete"], 0).await, &["Deleted WhatsApp account \"my-shop\"."]);
    holds(&run(&["channels", "remove", "nobody", "--delete"], 1).await, &["unknown account \"nobody\""]);

    run(&["channels", "add", "shop"], 0).await;
    let text = run(&["channels", "remove", "default", "--delete"], 0).await;
    holds(&text, &["Disabled WhatsApp account \"default\".", "--logout"]);
    let status = call(&folder, "channels.status", serde_json::json!({})).await.expect("answers");
    let accounts = status["channelAccounts"]["whatsapp"].as_array().expect("accounts").clone();
    assert_eq!((&accounts[0]["accountId"], &accounts[0]["enabled"]), (&"default".into(), &false.into()));
    let text = run(&["channels", "remove", "default", "--logout"], 0).await;
    holds(
        &text,
        &["Cleared WhatsApp Web credentials.", "WhatsApp default (+15550001111) is not linked any more.", "Deleted"],
    );
    holds(&run(&["channels", "list"], 0).await, &["WhatsApp shop"]);
    assert!(!run(&["channels", "list"], 0).await.contains("default"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_adds_its_account_and_a_logout_names_whom_it_unlinks() {
    let world = World::start().await.expect("world");
    let (work, shop) = (world.phone("+15550001111"), world.phone("+15550002222"));
    let folder = state(OPEN);
    let run = async |words: &[&str], code| said(&alone(folder.path(), &world, words).await, code);
    // Without a gateway, and with one.
    link_by_code(folder.path(), &world, &work, "work").await;
    holds(&config(folder.path()), &["work", "// whose"]);
    let gateway = Process::start_at(&world, folder.path()).await;
    link_by_code(folder.path(), &world, &shop, "shop").await;
    let text = run(&["channels", "logout", "shop"], 0).await;
    holds(&text, &["Cleared WhatsApp Web credentials.", "WhatsApp shop (+15550002222) is not linked any more."]);
    assert!(shop.devices().is_empty(), "WhatsApp was told");
    holds(
        &run(&["channels", "logout", "--account", "shop"], 0).await,
        &["nothing to delete", "WhatsApp shop is not linked."],
    );
    assert_eq!(work.devices().len(), 1, "the other one never notices");
    drop(gateway);
    holds(&run(&["channels", "logout", "shop"], 0).await, &["WhatsApp shop is not linked."]);
    holds(&run(&["channels", "logout", "--account", "wrok"], 1).await, &["unknown account \"wrok\""]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_without_an_account_is_told_of_with_what_to_do() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let folder = state("channels: { whatsapp: { accounts: { old: {}, shop: {} } } }");
    let run = async |words: &[&str], code| said(&alone(folder.path(), &world, words).await, code);
    link_by_code(folder.path(), &world, &work, "old").await;
    run(&["config", "unset", "channels.whatsapp.accounts.old"], 0).await;
    let told = [
        "Warnings:",
        "whatsapp old: A link (+15550001111) lies in",
        "verso channels add old",
        "verso channels remove old --logout",
    ];
    holds(&run(&["channels", "status"], 0).await, &told);
    let gateway = Process::start_at(&world, folder.path()).await;
    holds(&run(&["channels", "status"], 0).await, &told);
    let status = call(folder.path(), "channels.status", serde_json::json!({})).await.expect("answers");
    let issue = status["statusIssues"].as_array().expect("issues").iter().find(|i| i["accountId"] == "old").cloned();
    assert_eq!(issue.expect("told")["kind"], "config");
    holds(&run(&["channels", "remove", "old"], 1).await, &["there is no account \"old\", but a link"]);
    holds(
        &run(&["channels", "remove", "old", "--logout"], 0).await,
        &["Deleted the link (+15550001111)", "on the phone"],
    );
    assert!(!run(&["channels", "status"], 0).await.contains("whatsapp old"));
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_interrupted_ends_in_the_gateway_too() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway = Process::start(&world, state("channels: { whatsapp: { accounts: { work: {} } } }")).await;
    let mut login = verso(gateway.folder(), &world.ws_url());
    login.args(["channels", "login", "work", "--phone", "+15550001111"]);
    let mut login = tokio::process::Command::from(in_foreground(&login));
    let mut login = login.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("runs");
    let mut lines = BufReader::new(login.stdout.take().expect("piped")).lines();
    let mut code = String::new();
    while code.len() != 8 {
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("in time").expect("readable");
        let line = line.expect("a code");
        code = if line.starts_with("    ") { line.chars().filter(char::is_ascii_alphanumeric).collect() } else { code };
    }
    let id = login.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    let ended = tokio::time::timeout(DEADLINE, login.wait()).await.expect("in time").expect("waitable");
    assert_eq!(ended.code(), Some(130));
    let began = std::time::Instant::now();
    loop {
        let status = call(gateway.folder(), "channels.status", serde_json::json!({})).await.expect("answers");
        if status["channelAccounts"]["whatsapp"][0]["state"] == "not-linked" {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "the login goes on: {status:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    work.enter_code(&code).await.expect_err("the code links nothing any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_there_takes_no_account_down() {
    let world = World::start().await.expect("world");
    let work = world.phone("+15550001111");
    let gateway = GatewayFixture::start(&world, &with("")).await;
    let device = gateway.link("default", &work).await;
    let sockets = device.sockets_opened();
    let sealed = "credentials: { encryption: { key: { source: 'file', id: 'nowhere.key' } } }";
    gateway.write_config(&with("").replacen("{ channels", &format!("{{ {sealed}, channels"), 1));
    let status = gateway.wait("the refusal", |s| !s.config_problems.is_empty()).await;
    holds(&status.config_problems.join(" "), &["credentials.encryption.key.id", "there is no key file", "nowhere.key"]);
    assert_eq!(status.revision, 1, "the last good one stays");
    assert!(device.connected() && device.sockets_opened() == sockets);
    drop(gateway);

    let folder = state(OPEN);
    let run = async |words: &[&str], code| said(&alone(folder.path(), &world, words).await, code);
    let before = config(folder.path());
    let key = "{ source: 'file', id: 'nowhere.key' }";
    let text = run(&["config", "set", "credentials.encryption.key", key], 1).await;
    holds(&text, &["nothing was written", "there is no key file", "verso credentials key"]);
    assert_eq!(config(folder.path()), before);
    std::fs::write(folder.path().join("verso.json"), before.replacen('{', &format!("{{ {sealed},"), 1))
        .expect("written");
    holds(&run(&["config", "validate"], 1).await, &["credentials.encryption.key.id: there is no key file"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_device_is_linked_into_a_folder_with_files_of_others() {
    let world = World::start().await.expect("world");
    let gateway = GatewayFixture::start(&world, &with("accounts: { work: { authDir: 'shared' } }")).await;
    std::fs::create_dir(gateway.state.join("shared")).expect("made");
    std::fs::write(gateway.state.join("shared/session-1.json"), "{}").expect("written");
    let refused = gateway.login("work", false, None).await.expect_err("somebody else's").to_string();
    holds(&refused, &["session-1.json", "authDir"]);
    std::fs::remove_file(gateway.state.join("shared/session-1.json")).expect("removed");
    gateway.link("work", &world.phone("+15550001111")).await;
}
