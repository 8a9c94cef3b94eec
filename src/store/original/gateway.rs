//! Whether the original's gateway runs: it leaves a note with its process id in the temporary folder, and no lock that the system keeps.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Names that the original had; its folder of notes begins with one of them.
const NAMES: [&str; 4] = ["openclaw", "clawdbot", "moltbot", "moldbot"];

/// Process id of a gateway of the original whose configuration file lies in a folder around `dir`, or in `dir` itself.
pub fn running(dir: &Path) -> Option<u32> {
    let folders = [std::env::temp_dir(), PathBuf::from("/tmp")];
    folders.iter().find_map(|folder| running_by(folder, dir))
}

fn running_by(folder: &Path, dir: &Path) -> Option<u32> {
    let dir = dir.canonicalize().ok()?;
    let own = |name: &str| NAMES.iter().any(|n| name == *n || name.strip_prefix(n).is_some_and(|r| r.starts_with('-')));
    let places = fs::read_dir(folder).ok()?.flatten().filter(|e| own(&e.file_name().to_string_lossy()));
    places.flat_map(|place| fs::read_dir(place.path()).into_iter().flatten().flatten()).find_map(|note| {
        let name = note.file_name();
        let name = name.to_string_lossy();
        // Anybody may put things there: a pipe would be waited for.
        if !(name.starts_with("gateway.") && name.ends_with(".lock") && note.file_type().is_ok_and(|t| t.is_file())) {
            return None;
        }
        let note: Value = serde_json::from_slice(&fs::read(note.path()).ok()?).ok()?;
        let config = Path::new(note.get("configPath")?.as_str()?);
        let home = config.parent()?.canonicalize().ok()?;
        let pid = u32::try_from(note.get("pid")?.as_u64()?).ok()?;
        (dir.starts_with(home) && lives(pid, note.get("startTime").and_then(Value::as_u64))).then_some(pid)
    })
}

/// True when this process is there and no later one that got its id.
fn lives(pid: u32, started: Option<u64>) -> bool {
    let Ok(pid_number) = i32::try_from(pid) else { return false };
    let Some(process) = rustix::process::Pid::from_raw(pid_number) else { return false };
    let there = match rustix::process::test_kill_process(process) {
        Ok(()) => true,
        // Somebody else's process is one, too.
        Err(error) => error == rustix::io::Errno::PERM,
    };
    // The start is field 22 of the line, the 20th after the name, which is in brackets. Other systems have no such file.
    let now = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|line| {
        let rest = line.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned();
        rest.parse::<u64>().ok()
    });
    there && started.zip(now).is_none_or(|(started, now)| started == now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_gateway_is_found_by_its_note_and_a_dead_one_is_not() {
        let temporary = tempfile::tempdir().expect("temp dir");
        let state = tempfile::tempdir().expect("temp dir");
        let auth = state.path().join("credentials/whatsapp/default");
        fs::create_dir_all(&auth).expect("made");
        let notes = temporary.path().join("openclaw-1000");
        fs::create_dir(&notes).expect("made");
        let mut dead = std::process::Command::new("true").spawn().expect("runs");
        dead.wait().expect("ended");
        let me = std::process::id();
        let started = |pid: u32| {
            let line = fs::read_to_string(format!("/proc/{pid}/stat")).expect("Linux");
            let fields = line.rsplit_once(')').expect("a name").1.to_owned();
            fields.split_whitespace().nth(19).and_then(|n| n.parse::<u64>().ok()).expect("a start")
        };
        let elsewhere = tempfile::tempdir().expect("temp dir");
        let home = |dir: &tempfile::TempDir| dir.path().join("openclaw.json");
        let cases = [
            (me, None, home(&state), Some(me)),
            (me, Some(started(me)), home(&state), Some(me)),
            (me, Some(started(me) + 1), home(&state), None),
            (dead.id(), None, home(&state), None),
            (me, None, home(&elsewhere), None),
        ];
        for (pid, start, config, expected) in cases {
            let mut note = serde_json::json!({"pid": pid, "createdAt": "2026-02-09T10:00:00Z", "configPath": config});
            if let Some(start) = start {
                note["startTime"] = start.into();
            }
            fs::write(notes.join("gateway.0a1b2c3d.lock"), note.to_string()).expect("written");
            for dir in [state.path(), &auth] {
                assert_eq!(running_by(temporary.path(), dir), expected, "{note}");
            }
        }
        fs::write(notes.join("gateway.0a1b2c3d.lock"), "{").expect("written");
        assert_eq!(running_by(temporary.path(), state.path()), None);
    }
}
