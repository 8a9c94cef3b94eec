//! The program as a process: what a newcomer types, and what it says when something is wrong.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A `verso` with a home of its own; a demo build dials a port on which nobody listens.
fn verso(home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verso"));
    command.args(words).env_clear().env("PATH", "/usr/bin:/bin").env("VERSO_HOME", home).env("HOME", home);
    command.env("VERSO_WHATSAPP_URL", "ws://127.0.0.1:9/ws/chat").stdin(Stdio::null());
    command
}

fn run(home: &Path, words: &[&str]) -> Output {
    verso(home, words).output().expect("verso runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A gateway on a free port.
struct Gateway {
    child: Child,
    said: Vec<String>,
}

impl Gateway {
    fn start(home: &Path) -> Self {
        let child = verso(home, &["gateway", "--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut gateway = Self { child: child.expect("verso starts"), said: Vec::new() };
        let stdout = gateway.child.stdout.take().expect("piped");
        for line in BufReader::new(stdout).lines() {
            gateway.said.push(line.expect("text"));
            if gateway.said.last().is_some_and(|l| l.contains(" listens on ws://")) {
                return gateway;
            }
        }
        panic!("the gateway ended: {:?}", gateway.said);
    }

    fn port(&self) -> u16 {
        let line = self.said.last().expect("the line with the address");
        line.rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port")
    }

    /// SIGTERM; the exit code and how long it took.
    fn stop(mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill");
        assert!(sent.success());
        let status = self.child.wait().expect("it ends");
        (status.code(), begun.elapsed())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Already ended after `stop`.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_gateway_starts_from_nothing_is_found_and_stops_in_time() {
    let home = tempfile::tempdir().expect("temp dir");
    let home = home.path();
    let down = run(home, &["health"]);
    assert_eq!(down.status.code(), Some(1));
    assert!(err(&down).starts_with("error: Gateway not reachable: connection refused"), "{}", err(&down));

    let gateway = Gateway::start(home);
    assert!(gateway.said.iter().any(|l| l.contains("Created a first configuration in")), "{:?}", gateway.said);
    assert_eq!(out(&run(home, &["health"])), "WhatsApp: not linked\n", "found by the address in the lock file");
    let status = run(home, &["channels", "status"]);
    assert!(out(&status).starts_with("Gateway reachable.\n- WhatsApp default: enabled, configured, not linked"));
    let send = run(home, &["message", "send", "-t", "+15551234567", "-m", "hi"]);
    assert_eq!(send.status.code(), Some(1));
    assert!(err(&send).contains("No active WhatsApp Web listener (account: default)."), "{}", err(&send));

    let second = run(home, &["gateway", "--port", "0"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(err(&second).contains("another Verso gateway (process "), "{}", err(&second));
    let other = tempfile::tempdir().expect("temp dir");
    let taken = run(other.path(), &["gateway", "--port", &gateway.port().to_string()]);
    assert_eq!(taken.status.code(), Some(1));
    assert!(err(&taken).contains(&format!("port {} is already in use", gateway.port())), "{}", err(&taken));

    let (code, took) = gateway.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    let again = Gateway::start(home);
    assert!(!again.said.iter().any(|l| l.contains("Created")), "nothing is created twice: {:?}", again.said);
}

#[test]
fn bad_input_is_said_with_the_place_and_the_fix() {
    let home = tempfile::tempdir().expect("temp dir");
    let state = home.path().join(".verso");
    std::fs::create_dir(&state).expect("state dir");
    let config = state.join("verso.json");
    for (text, said) in [
        ("{ gateway: { port: 1", "verso.json:1:"),
        ("{ gatway: {} }", "did you mean"),
        ("{\n  gateway: { port: \"many\" },\n}", "verso.json:2:"),
    ] {
        std::fs::write(&config, text).expect("written");
        let refused = run(home.path(), &["gateway", "--port", "0"]);
        assert_eq!(refused.status.code(), Some(1), "{text}");
        assert!(err(&refused).starts_with("error: ") && err(&refused).contains(said), "{text}: {}", err(&refused));
    }
    std::fs::write(&config, "{ channels: { whatsapp: { accounts: { work: {}, home: {} } } } }").expect("written");
    let list = run(home.path(), &["channels", "list"]);
    assert_eq!(
        out(&list),
        "Chat channels:\n- WhatsApp home: not linked, enabled\n- WhatsApp work: not linked, enabled\n"
    );
    let offline = run(home.path(), &["channels", "status"]);
    assert!(
        out(&offline).starts_with("Gateway not reachable; showing config-only status.\nConfig: "),
        "{}",
        out(&offline)
    );
    let code = run(home.path(), &["pairing", "approve", "whatsapp", "ABCDEFGH"]);
    assert_eq!(code.status.code(), Some(1));
    assert!(err(&code).contains("No pending pairing request found for code: ABCDEFGH"), "{}", err(&code));
    for (words, exit, said) in [
        (&["channels", "logout", "--account", "nope"][..], 1, "unknown account \"nope\"; configured: home, work"),
        (&["channels", "login", "--channel", "telegram"], 2, "unsupported channel: telegram"),
        (&["message", "send", "-t", "bob", "-m", "hi"], 2, "\"bob\""),
        (&["message", "send", "-m", "hi"], 2, "--target"),
        (&["gateway", "--bind", "moon"], 2, "moon"),
    ] {
        let refused = run(home.path(), words);
        assert_eq!(refused.status.code(), Some(exit), "{words:?}: {}", err(&refused));
        assert!(err(&refused).contains(said), "{words:?}: {}", err(&refused));
    }
}

#[test]
fn help_names_every_command() {
    let home = tempfile::tempdir().expect("temp dir");
    let help = out(&run(home.path(), &["--help"]));
    for command in ["gateway", "health", "status", "channels", "pairing", "message", "config", "why", "logs"] {
        assert!(help.lines().any(|l| l.trim_start().starts_with(&format!("{command} "))), "{command} in {help}");
    }
    assert!(std::fs::read_dir(home.path()).expect("readable").next().is_none(), "help touches nothing");
}
