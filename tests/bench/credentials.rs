//! What credentials cost: `cargo bench --profile dev --features demo --bench credentials [-- <folder>]` prints JSON and fails above the
//! limits.
//!
//! `save` is the record of a device and its backup brought to disk, every step waited for. `import` is a folder of Baileys with 2,000
//! files taken over, until the new link is on disk. The folder is one on a real disk; in memory the numbers mean nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use verso::clock::Clock;
use verso::whatsapp::baileys::{Taking, import};
use verso::whatsapp::save_again;

/// Saves that are measured.
const SAVES: usize = 200;
/// Half of the saves must be faster (ms).
const SAVE_LIMIT_MS: f64 = 5.0;
/// Files of the folder that moves in.
const FILES: usize = 2_000;
/// The move must be faster (s).
const IMPORT_LIMIT_S: f64 = 2.0;

/// A folder of Baileys with many sessions and pre-keys, at rest for a while.
fn large_folder(dir: &Path) {
    fs::create_dir(dir).expect("made");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/baileys");
    for entry in fs::read_dir(&fixture).expect("the fixture").flatten() {
        fs::copy(entry.path(), dir.join(entry.file_name())).expect("copied");
    }
    let session = fs::read(fixture.join("session-210000000002027_1.0.json")).expect("a session");
    let pre_key = fs::read(fixture.join("pre-key-2.json")).expect("a pre-key");
    let mut n = 0;
    while fs::read_dir(dir).expect("readable").count() < FILES {
        for _ in 0..100 {
            n += 1;
            let number = 220_000_000_000_000_u64 + n;
            match n % 3 {
                0 => fs::write(dir.join(format!("pre-key-{}.json", 1_000 + n)), &pre_key),
                1 => fs::write(dir.join(format!("session-{number}_1.0.json")), &session),
                _ => fs::write(dir.join(format!("lid-mapping-1555{n:07}.json")), format!("\"{number}\"")),
            }
            .expect("written");
        }
    }
    let before = SystemTime::now() - Duration::from_secs(60);
    for entry in fs::read_dir(dir).expect("readable").flatten() {
        File::options().append(true).open(entry.path()).and_then(|f| f.set_modified(before)).expect("dated");
    }
}

fn main() {
    // Cargo says `--bench` of its own accord.
    let asked = std::env::args().skip(1).find(|word| !word.starts_with("--")).map(PathBuf::from);
    let place = asked.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let folder = tempfile::tempdir_in(&place).unwrap_or_else(|e| panic!("{}: {e}", place.display()));
    let (from, auth) = (folder.path().join("baileys"), folder.path().join("work"));
    large_folder(&from);
    fs::create_dir(&auth).expect("made");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let began = Instant::now();
    let report = runtime.block_on(import(&from, &auth, Taking::default(), Clock::System.now())).expect("imported");
    let import_s = began.elapsed().as_secs_f64();
    assert!(report.sessions > 600 && report.pre_keys > 600, "{report:?}");

    let mut saves: Vec<f64> = (0..SAVES)
        .map(|_| {
            let began = Instant::now();
            save_again(&auth).expect("saved");
            began.elapsed().as_secs_f64() * 1_000.0
        })
        .collect();
    saves.sort_by(f64::total_cmp);
    let (p50, p99) = (saves[SAVES / 2], saves[SAVES * 99 / 100]);
    let within = p50 < SAVE_LIMIT_MS && import_s < IMPORT_LIMIT_S;
    let rounded = |value: f64| (value * 1_000.0).round() / 1_000.0;
    println!(
        "{}",
        json!({
            "bench": "credentials", "command": "cargo bench --profile dev --features demo --bench credentials", "folder": place,
            "save": { "n": SAVES, "p50Ms": rounded(p50), "p99Ms": rounded(p99), "limitMs": SAVE_LIMIT_MS },
            "import": { "files": FILES, "seconds": rounded(import_s), "limitSeconds": IMPORT_LIMIT_S },
            "ok": within,
        })
    );
    if !within {
        std::process::exit(1);
    }
}
