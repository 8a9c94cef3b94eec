//! Imports point downwards only (notes/style.md 3): reads the `use` lines and `crate::` paths of every source file.

use std::fs;
use std::path::{Path, PathBuf};

/// The layer of a module; higher may use lower.
fn layer(path: &str) -> u8 {
    let top = path.split('/').next().expect("a path has a first part").trim_end_matches(".rs");
    match top {
        "ids" | "event" | "outgoing" | "clock" | "fault" => 0,
        "config" if path == "config/file.rs" || path.starts_with("config/file/") => 2,
        "config" | "disclosure" | "policy" | "routing" | "session" | "text" | "backoff" | "heartbeat" | "delivery"
        | "command" => 1,
        "store" | "whatsapp" | "agent" | "media" => 2,
        "actors" => 3,
        "api" | "cli" | "main" | "telemetry" | "lib" => 4,
        other => panic!("src/{other} stands in no layer: add it to tests/it/architecture.rs and to src/lib.rs"),
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is readable") {
        let path = entry.expect("entry is readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The lines of a file that reach the shipped program: everything before its test module, without comments.
fn shipped(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[cfg(test)]").next().unwrap_or_default().lines().filter(|l| !l.trim_start().starts_with("//"))
}

fn each_source(mut check: impl FnMut(&str, &str)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the walk found too few files");
    for file in files {
        let name = file.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
        if name.contains("/tests/") || name.ends_with("tests.rs") || name.ends_with("testing.rs") {
            continue;
        }
        check(&name, &fs::read_to_string(&file).expect("source is readable"));
    }
}

#[test]
fn imports_point_downwards() {
    let mut wrong = Vec::new();
    each_source(|name, text| {
        let own = layer(name);
        for line in shipped(text) {
            for part in line.split("crate::").skip(1) {
                let path: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
                let mut segments = path.split("::");
                let top = segments.next().unwrap_or_default();
                if top.is_empty()
                    || !Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(top).exists()
                        && !Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(format!("{top}.rs")).exists()
                {
                    continue;
                }
                let target = if top == "config" && segments.next() == Some("file") { 2 } else { layer(top) };
                let own_top = name.split('/').next().unwrap_or_default().trim_end_matches(".rs");
                let same_room = own_top == top;
                if target > own || (target == own && own == 2 && !same_room) {
                    wrong.push(format!("src/{name} (layer {own}) uses crate::{path} (layer {target})"));
                }
            }
        }
    });
    assert!(wrong.is_empty(), "upward or sideways imports:\n{}", wrong.join("\n"));
}

#[test]
fn every_dependency_has_one_home() {
    let homes: &[(&str, &[&str])] = &[
        ("whatsapp_rust::", &["whatsapp/"]),
        ("json5::", &["config/"]),
        ("jsonc_parser::", &["config/"]),
        ("notify::", &["actors/watcher"]),
        (
            "rusqlite::",
            &[
                "store/",
                "whatsapp/backend.rs",
                "whatsapp/database.rs",
                "whatsapp/snapshot.rs",
                "whatsapp/seal/",
                "whatsapp/wal.rs",
                "whatsapp/baileys/database.rs",
            ],
        ),
        ("age::", &["store/backup/seal.rs"]),
        ("tar::", &["store/backup/"]),
        ("reqwest::", &["agent/", "media/", "whatsapp/"]),
        ("image::", &["media/picture.rs", "media/sticker.rs"]),
        ("opus_pure::", &["media/opus.rs"]),
        ("symphonia::", &["media/voice.rs"]),
        ("actix::", &["actors/", "api/", "cli/gateway.rs", "cli/demo"]),
        ("clap::", &["cli/", "main.rs"]),
        ("wa_simulator::", &["cli/demo"]),
    ];
    let mut wrong = Vec::new();
    each_source(|name, text| {
        for line in shipped(text) {
            for (dependency, allowed) in homes {
                let used = line.match_indices(dependency).any(|(at, _)| {
                    !line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
                });
                if used && !allowed.iter().any(|home| name.starts_with(home)) {
                    wrong.push(format!("src/{name}: {}", line.trim()));
                }
            }
        }
    });
    assert!(wrong.is_empty(), "dependencies used outside their home:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_outbox_seals_letters() {
    each_source(|name, text| {
        let seals = shipped(text).any(|line| line.contains("Letter::seal"));
        assert!(!seals || name == "store/journal/account.rs", "src/{name} seals a letter");
    });
}

#[test]
fn rules_do_no_io_and_ask_no_clock() {
    // The clock itself, and the points at which tests end a demo build.
    let may = |name: &str, what: &str| match name {
        "clock.rs" => matches!(what, "SystemTime::now" | "Instant::now"),
        "fault.rs" => matches!(what, "std::env" | "tokio::"),
        _ => false,
    };
    let mut wrong = Vec::new();
    each_source(|name, text| {
        if layer(name) > 1 {
            return;
        }
        for line in shipped(text) {
            for forbidden in
                ["std::fs", "tokio::", "SystemTime::now", "Instant::now", "rand::rng()", "std::net", "std::env"]
            {
                if line.contains(forbidden) && !may(name, forbidden) {
                    wrong.push(format!("src/{name}: {}", line.trim()));
                }
            }
        }
    });
    assert!(wrong.is_empty(), "rules must be pure:\n{}", wrong.join("\n"));
}

/// Asks git for what is committed: build output and an editor's leftovers are no part of the layout.
#[test]
fn the_top_level_holds_what_the_owner_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = std::process::Command::new("git").args(["ls-tree", "--name-only", "HEAD"]).current_dir(root).output();
    let listed = listed.expect("git runs");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("names are text");
    let allowed = ["Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "src", "config", "tests", "deploy"];
    let odd: Vec<&str> = names.lines().filter(|name| !name.starts_with('.') && !allowed.contains(name)).collect();
    assert!(odd.is_empty(), "the top level holds {odd:?}: everything lives below {allowed:?} or a dot name");
    assert!(names.lines().any(|name| name == "src"), "the list is the repository's: {names}");
}
