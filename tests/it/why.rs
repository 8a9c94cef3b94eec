//! `verso why` and the counted reasons, from phone to shell.

use serde_json::Value;
use wa_simulator::World;

use crate::process::{Process, state};

const CONFIG: &str = "channels: {
  whatsapp: {
    dmPolicy: 'allowlist',
    groupPolicy: 'open',
    groups: { '*': {} },
    accounts: { work: {
      allowFrom: ['+15557000001'],
    } },
  },
}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_is_explained_with_the_line_that_decided() {
    let world = World::start().await.expect("world");
    let (work, ann, bob) =
        (world.phone("+15550001111"), world.contact("+15557000001", "Ann"), world.contact("+15557000002", "Bob"));
    let group = world.group("Friends", &ann, &[&bob, &work]);
    let gateway = Process::start(&world, state(CONFIG)).await;
    gateway.link(&world, &work).await;
    let text = std::fs::read_to_string(gateway.folder().join("verso.json")).expect("config");
    let line = |key: &str| text.lines().position(|l| l.trim_start().starts_with(key)).expect("a line") as u64 + 1;
    // A message is explained as soon as it is judged.
    let why = async |id: &str| -> Value {
        let began = std::time::Instant::now();
        loop {
            let out = gateway.run(&world, &["why", id, "--json"]).await;
            let told: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
            if told["messages"][0]["state"].as_str().is_some_and(|state| state != "new") {
                return told["messages"][0].clone();
            }
            assert!(began.elapsed().as_secs() < 20, "{id} is not judged: {out:?}");
        }
    };
    let gate = |told: &Value, name: &str| -> Value {
        let gates = told["gates"].as_array().expect("gates");
        gates.iter().find(|g| g["gate"] == name).unwrap_or_else(|| panic!("gate {name}: {told:#}")).clone()
    };

    // A stranger: policy by the channel, list by the account.
    let stranger = bob.says(&work, "psst");
    let answered = ann.says(&work, "ping");
    ann.expect_text("ping").await.expect("answered");
    let told = why(&stranger).await;
    assert_eq!(
        (&told["state"], &told["reason"]["code"]),
        (&"dropped".into(), &"dm-not-allowlisted".into()),
        "{told:#}"
    );
    let dm = gate(&told, "dm");
    assert_eq!(
        (&dm["key"], &dm["value"], &dm["line"], &dm["passed"]),
        (&"channels.whatsapp.dmPolicy".into(), &"allowlist".into(), &line("dmPolicy").into(), &false.into())
    );
    assert!(dm["file"].as_str().expect("a file").ends_with("/verso.json"), "{dm}");
    let list = gate(&told, "allowFrom");
    assert_eq!(list["key"], "channels.whatsapp.accounts.work.allowFrom");
    assert_eq!((&list["line"], &list["value"]), (&line("allowFrom").into(), &"+15557000001".into()));
    assert!(
        told["nextStep"]
            .as_str()
            .expect("a step")
            .contains("\"+15557000002\" in channels.whatsapp.accounts.work.allowFrom is let in as an owner")
    );

    // Who is answered: agent, session, parts.
    let told = why(&answered).await;
    assert_eq!((&told["answered"], &told["runs"][0]["session"]), (&true.into(), &"agent:main:main".into()), "{told:#}");
    assert!(told["parts"][0]["id"].is_string() && !told.to_string().contains("ping"), "{told:#}");
    let shown = gateway.run(&world, &["why", &answered]).await;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("  agent     main in session agent:main:main\n") && !shown.contains('\u{1b}'), "{shown}");

    // A group: what no file sets is said to be the default.
    let unmentioned = bob.says_in(&group, "to nobody", &[]);
    ann.says_in(&group, "hey", &[&work]);
    bob.expect_message(|m| m.from == work.number() && m.text.contains("hey")).await.expect("answered");
    let told = why(&unmentioned).await;
    let mention = gate(&told, "mention");
    assert_eq!(
        (&told["state"], &mention["passed"], &mention["source"]),
        (&"held".into(), &false.into(), &"default".into())
    );

    // An edit that moves lines leaves what was decided where it was; later decisions have the new line.
    let path = gateway.folder().join("verso.json");
    std::fs::write(&path, format!("// one line more\n{text}")).expect("edited");
    let began = std::time::Instant::now();
    loop {
        let later = bob.says(&work, "again");
        ann.says(&work, "and me");
        let seen = ann.inbox().len();
        ann.expect_message(|_| ann.inbox().len() >= seen).await.expect("answered");
        let told = why(&later).await;
        if told["gates"].as_array().is_some_and(|g| !g.is_empty()) && gate(&told, "dm")["line"] == line("dmPolicy") + 1
        {
            assert_eq!(told["revision"], 1, "nothing else changed");
            break;
        }
        assert!(began.elapsed().as_secs() < 20, "the new line is never told: {told:#}");
    }
    assert_eq!(gate(&why(&stranger).await, "dm")["line"], line("dmPolicy"));

    // Counted for everybody to see, in text and JSON.
    let status = gateway.run(&world, &["channels", "status"]).await;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    let ignored = status.lines().find(|l| l.starts_with("  ignored: ")).unwrap_or_else(|| panic!("{status}"));
    assert!(ignored.contains("dm-not-allowlisted ") && ignored.contains("not-mentioned 1"), "{ignored}");
    let json = gateway.run(&world, &["status", "--json"]).await;
    let json: Value = serde_json::from_slice(&json.stdout).expect("json");
    assert_eq!(json["status"]["ignored"]["work"]["not-mentioned"], 1, "{json:#}");
    // The log names the key once for the chat, and nobody.
    let read = || std::fs::read_to_string(gateway.folder().join("verso.log")).expect("log");
    let began = std::time::Instant::now();
    while !read().contains("messages of a chat are not answered") {
        assert!(began.elapsed().as_secs() < 20, "the log does not say it: {}", read());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let log = read();
    let warned: Vec<&str> = log.lines().filter(|l| l.contains("messages of a chat are not answered")).collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].contains("channels.whatsapp.dmPolicy") && warned[0].contains("dm-not-allowlisted"),
        "{}",
        warned[0]
    );
    assert!(!log.contains("5557000002"), "no numbers at info");

    // The same without a gateway, and a clear word about what is unknown.
    let unknown = gateway.run(&world, &["why", "NOSUCHID"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&unknown.stderr)
            .starts_with("error: no message with the id NOSUCHID is in the journal"),
        "{unknown:?}"
    );
    let folder = gateway.kill();
    let alone = crate::process::alone(folder.path(), &world, &["why", &stranger, "--json"]).await;
    let told: Value = serde_json::from_slice(&alone.stdout).unwrap_or_else(|e| panic!("{e}: {alone:?}"));
    assert_eq!(told["messages"][0]["reason"]["code"], "dm-not-allowlisted");
    let unknown = crate::process::alone(folder.path(), &world, &["why", "NOSUCHID"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&unknown.stderr)
            .starts_with("error: no message with the id NOSUCHID is in the journal"),
        "{unknown:?}"
    );
}
