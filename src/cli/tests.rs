//! The command line as people type it, against a served API.

use clap::{CommandFactory, Parser};
use futures::FutureExt;

use super::output::{Failure, Printer};
use super::{Cli, Command, Connection};
use crate::actors::messages::LoginProgress;
use crate::api::testing::{Script, TOKEN, options, served};
use crate::ids::AccountId;

struct Said {
    result: Result<(), Failure>,
    out: String,
    err: String,
}

/// Parses and runs one command against the gateway at `url`.
async fn verso(url: &str, line: &[&str]) -> Said {
    let words = ["verso"].iter().chain(line).copied();
    let cli = Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{e}"));
    let connection = Connection {
        url: Some(url.to_owned()),
        token: cli.connection.token.or_else(|| Some(TOKEN.into())),
        ..Connection::default()
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let json = line.contains(&"--json");
    let mut p = Printer::new(&mut out, &mut err, json);
    let result = match &cli.command {
        Command::Health(a) => super::health::health(a, &connection, &mut p).boxed_local(),
        Command::Status(a) => super::health::status(a, &connection, &mut p).boxed_local(),
        Command::Channels(a) => super::channels::run_async(a, &connection, &mut p).boxed_local(),
        Command::Pairing(a) => super::pairing::run(a, &connection, &mut p).boxed_local(),
        Command::Message(a) => super::message::run(a, &connection, &mut p).boxed_local(),
        Command::Why(a) => super::why::run(a, &connection, &mut p).boxed_local(),
        Command::Logs(a) => super::logs::run(a, &connection, &mut p).boxed_local(),
        _ => panic!("not a client command"),
    }
    .await;
    if let Err(failure) = &result {
        p.failure(failure);
    }
    Said { result, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
    for line in [
        &["gateway"][..],
        &["gateway", "run", "--port", "1", "--bind", "lan", "--token", "t", "--verbose"],
        &["gateway", "--port", "1"],
        &["health", "--timeout", "5"],
        &["channels", "login", "--channel", "whatsapp", "--account", "work", "--phone", "+1555000", "--force"],
        &["channels", "status", "--json", "--probe", "--timeout", "1000"],
        &["channels", "login", "work", "--yes"],
        &["channels", "add", "--channel", "whatsapp", "--account", "work", "--name", "Work", "--auth-dir", "/x"],
        &["channels", "add", "work"],
        &["channels", "remove", "work", "--delete", "--logout", "--yes"],
        &["channels", "remove", "--channel", "whatsapp", "--account", "work"],
        &["channels", "logout", "work", "--yes", "--json"],
        &["channels", "list", "--no-usage"],
        &["pairing", "approve", "whatsapp", "ABCDEFGH", "--account", "work", "--notify"],
        &["pairing", "approve", "--channel", "whatsapp", "ABCDEFGH"],
        &["pairing", "list", "whatsapp", "--json"],
        &["message", "send", "-t", "+1555000", "-m", "hi", "--dry-run"],
        &["logs", "--follow", "--limit", "5", "--interval", "100", "--plain"],
        &["config", "get", "gateway.port"],
        &["--url", "ws://x", "why", "3EB0"],
    ] {
        let parsed = Cli::try_parse_from(["verso"].iter().chain(line).copied());
        assert!(parsed.is_ok(), "{line:?}: {}", parsed.err().map(|e| e.to_string()).unwrap_or_default());
    }
    for line in
        [&["message", "send", "-m", "hi"][..], &["pairing", "approve"], &["gateway", "--port", "x"], &["nonsense"]]
    {
        assert!(Cli::try_parse_from(["verso"].iter().chain(line).copied()).is_err(), "{line:?}");
    }
}

#[actix_web::test]
async fn health_and_status() {
    let script = Script::default();
    let api = served(&script, options());
    let url = format!("ws://{}", api.address());
    let health = verso(&url, &["health"]).await;
    assert_eq!(health.out, "WhatsApp home: linked (auth age 12m)\nWhatsApp work: linked (auth age 12m)\n");
    let status = verso(&url, &["channels", "status"]).await;
    let version = regex::Regex::new(r"(?m)^WhatsApp Web 2\.3000\.\d+ \(built in, \d+d old\)$").expect("a pattern");
    assert!(version.is_match(&status.out), "{}", status.out);
    assert_eq!(
        version.replace(&status.out, "WhatsApp Web (built in)"),
        "Gateway reachable.\n\
         - WhatsApp home: enabled, configured, linked, running, connected, dm:pairing, allow:+15551230000\n  outbox: 2 waiting, 1 failed\n\
         - WhatsApp work: enabled, configured, linked, running, connected, dm:pairing, allow:+15551230000\n  outbox: 2 waiting, 1 failed\n\
         WhatsApp Web (built in)\n"
    );
    *script.linked.lock().unwrap() = false;
    let status = verso(&url, &["channels", "status"]).await.out;
    assert!(status.contains("- WhatsApp work: enabled, configured, not linked, stopped, disconnected, dm:pairing, allow:+15551230000, error:not linked\n"), "{status}");
    assert!(status.contains(
        "Warnings:\n- whatsapp home: Not linked (no WhatsApp Web session). (Run: verso channels login --account home (scan QR on the gateway host).)\n"
    ));
    let json: serde_json::Value =
        serde_json::from_str(&verso(&url, &["channels", "status", "--json"]).await.out).unwrap();
    assert_eq!(json["channelOrder"], serde_json::json!(["whatsapp"]));
    let page = verso(&url, &["status"]).await.out;
    assert!(page.starts_with(&format!("Gateway {} at {url}, up ", env!("CARGO_PKG_VERSION"))), "{page}");
}

#[actix_web::test]
async fn without_a_gateway_commands_fail_with_the_fix() {
    let free = crate::api::listen(crate::api::Bind::Loopback, 0).unwrap();
    let url = format!("ws://{}", free.address());
    drop(free);
    for line in
        [&["message", "send", "-t", "+15551234567", "-m", "hi"][..], &["health"], &["why", "x"], &["pairing", "list"]]
    {
        let said = verso(&url, line).await;
        let failure = said.result.unwrap_err();
        assert_eq!(failure.code, 1);
        assert_eq!(failure.message, format!("Gateway not reachable: connection refused ({url})"));
        assert!(said.err.contains("hint: is the gateway running? start it with: verso gateway"), "{}", said.err);
    }
    let logs = verso(&url, &["logs"]).await;
    assert!(
        logs.err.starts_with("error: Gateway not reachable. Is it running and accessible?\nhint: "),
        "{}",
        logs.err
    );
}

#[actix_web::test]
async fn a_wrong_token_is_said() {
    let api = served(&Script::default(), options());
    let said = verso(&format!("ws://{}", api.address()), &["health", "--token", "wrong"]).await;
    assert!(said.err.starts_with("error: unauthorized: gateway token mismatch"), "{}", said.err);
    assert!(said.err.contains("VERSO_STATE_DIR"));
}

#[actix_web::test]
async fn messages_are_sent_checked_and_tried_dry() {
    let script = Script::default();
    let api = served(&script, options());
    let url = format!("ws://{}", api.address());
    let sent = verso(&url, &["message", "send", "-t", "+1 555 123 4567", "-m", "hi", "--account", "work"]).await;
    assert_eq!(sent.out, "✅ Sent via gateway (whatsapp) to +15551234567. Message ID: 3EB01\n");
    let json = verso(&url, &["message", "send", "-t", "+15551234567", "-m", "hi", "--json"]).await.out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["action"], &json["payload"]["result"]["messageId"]), (&"send".into(), &"3EB02".into()));
    let dry = verso(&url, &["message", "send", "-t", "123@g.us", "-m", "hi", "--dry-run"]).await;
    assert_eq!(dry.out, "[dry-run] would send to 123@g.us via whatsapp\n");
    assert_eq!(script.sent.lock().unwrap().len(), 2);
    let bad = verso(&url, &["message", "send", "-t", "bob", "-m", "hi"]).await.result.unwrap_err();
    assert_eq!(bad.code, 2);
    assert!(bad.message.contains("\"bob\""));
    let unknown =
        verso(&url, &["message", "send", "-t", "+1555000", "-m", "hi", "--account", "nope"]).await.result.unwrap_err();
    assert_eq!((unknown.code, unknown.message.as_str()), (1, "unknown account \"nope\"; configured: home, work"));
    *script.linked.lock().unwrap() = false;
    let none = verso(&url, &["message", "send", "-t", "+1555000", "-m", "hi"]).await.result.unwrap_err();
    assert!(none.message.starts_with("No active WhatsApp Web listener (account: work)."), "{none}");
}

#[actix_web::test]
async fn pairing_is_listed_approved_and_denied() {
    let script = Script::default();
    let api = served(&script, options());
    let url = format!("ws://{}", api.address());
    let list = verso(&url, &["pairing", "list"]).await.out;
    assert!(list.contains("ABCDEFGH  +15557654321      work     Ann"), "{list}");
    let wrong = verso(&url, &["pairing", "approve", "whatsapp", "ZZZZZZZZ"]).await.result.unwrap_err();
    assert_eq!(wrong.message, "No pending pairing request found for code: ZZZZZZZZ");
    let channel = verso(&url, &["pairing", "approve", "telegram", "ABCDEFGH"]).await.result.unwrap_err();
    assert_eq!((channel.code, channel.message.as_str()), (2, "unsupported channel: telegram"));
    let done = verso(&url, &["pairing", "approve", "whatsapp", "abcdefgh", "--notify"]).await;
    assert_eq!((done.out.as_str(), done.err.as_str()), ("Approved whatsapp sender +15557654321.\n", ""));
    assert_eq!(verso(&url, &["pairing", "list"]).await.out, "No pending whatsapp pairing requests.\n");
}

#[actix_web::test]
async fn linking_shows_codes_until_the_phone_answers() {
    let script = Script::default();
    let api = served(&script, options());
    let url = format!("ws://{}", api.address());
    let linked = verso(&url, &["channels", "login"]).await;
    assert_eq!(linked.out, "WhatsApp is already linked (+15550001111).\n");
    *script.linked.lock().unwrap() = false;
    *script.waits.lock().unwrap() = vec![
        LoginProgress::StillWaiting,
        LoginProgress::NewQr { code: "2@second,code".into() },
        LoginProgress::Linked {
            account: AccountId::new("work"),
            who: "+15550001111".into(),
            before: Some("+15550009999".into()),
        },
    ];
    let said = verso(&url, &["channels", "login", "--account", "work"]).await;
    said.result.unwrap();
    let lines: Vec<&str> = said.out.lines().filter(|l| !l.contains('█')).collect();
    assert_eq!(
        lines,
        [
            "Scan this QR in WhatsApp (Linked Devices):",
            "Waiting for WhatsApp connection...",
            "Waiting for WhatsApp connection...",
            "✅ Linked! Credentials saved for future sends.",
            "The account is linked to +15550001111 now; before it was +15550009999."
        ]
    );
    assert_eq!(
        *script.shown.lock().unwrap(),
        [Some("2@first,code".to_owned()), Some("2@first,code".into()), Some("2@second,code".into())]
    );
    *script.waits.lock().unwrap() = vec![LoginProgress::Failed { error: "the phone said no".into() }];
    let failed = verso(&url, &["channels", "login", "--phone", "+15550001111"]).await;
    assert!(failed.out.contains("    ABCD-2345\n"), "{}", failed.out);
    assert_eq!(failed.result.unwrap_err().message, "Channel login failed: the phone said no");
    let bad = verso(&url, &["channels", "login", "--phone", "abc"]).await.result.unwrap_err();
    assert_eq!(bad.code, 2);
}

#[actix_web::test]
async fn logout_start_stop_why_and_logs() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("verso.log");
    std::fs::write(
        &log,
        "{\"0\":\"{\\\"subsystem\\\":\\\"api\\\"}\",\"1\":\"hello\",\"_meta\":{\"logLevelName\":\"INFO\"},\"time\":\"2026-01-01T00:00:00.000Z\"}\n",
    )
    .unwrap();
    let shown = log.display().to_string();
    let mut with = options();
    with.log_file = std::sync::Arc::new(move || Some(log.clone()));
    let api = served(&Script::default(), with);
    let url = format!("ws://{}", api.address());
    let logs = verso(&url, &["logs"]).await.out;
    assert_eq!(logs, format!("Log file: {shown}\n2026-01-01T00:00:00.000Z info api: hello\n"));
    assert_eq!(verso(&url, &["channels", "stop", "--account", "home"]).await.out, "Stopped WhatsApp home.\n");
    assert_eq!(verso(&url, &["channels", "start"]).await.out, "Started WhatsApp work.\n");
    let out = verso(&url, &["channels", "logout"]).await;
    assert_eq!(out.out, "Cleared WhatsApp Web credentials.\n");
    assert_eq!(out.err, "WhatsApp work (+15550001111) is not linked any more.\n");
    let again = verso(&url, &["channels", "logout"]).await;
    assert_eq!(again.out, "No WhatsApp Web session found; nothing to delete.\n");
    assert_eq!(again.err, "WhatsApp work is not linked.\n");
    let start = verso(&url, &["channels", "start"]).await.out;
    assert_eq!(start, "WhatsApp work is not linked; link it with: verso channels login --account work\n");
    let why = verso(&url, &["why", "3EB0"]).await.out;
    assert_eq!(why, "Message 3EB0\n  sent      on account work, to \n  state     acked\n");
}
