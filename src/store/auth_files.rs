//! The folder of an account as the system sees it: what stands in the way of using it, and who else can read it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::store::credentials::{is_own_file, is_session_file};

/// Files without which there is no link.
const NEEDED: [&str; 5] = ["creds.json", "creds.json.bak", "signal.db", "data-key.json", "data-key.json.bak"];
/// Files that are written in place: another name for them would see every change.
const WRITTEN_IN_PLACE: [&str; 2] = ["signal.db", "signal.db-wal"];

/// Why the folder cannot hold a link, in a sentence for its owner. A folder that is not there yet can.
pub fn obstacle(dir: &Path) -> Option<String> {
    let shown = dir.display();
    match fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => {
            return Some(format!(
                "{shown} is a file, and an account needs a folder; name a folder as authDir, or move the file away"
            ));
        }
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(dir).is_ok() => {
            return Some(format!("{shown} is a symbolic link to nothing; make or mount the folder that it names"));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Some(format!("{shown} lies below a file, and an account needs a folder; name another authDir"));
        }
        Err(e) => return Some(unreadable(dir, &e)),
    }
    if let Err(e) = fs::read_dir(dir) {
        return Some(unreadable(dir, &e));
    }
    NEEDED.iter().map(|name| dir.join(name)).find_map(|path| in_the_way(&path))
}

/// Why no link is made in the folder, in a sentence for its owner: somebody else keeps files there. A folder that is not there yet, or
/// holds nothing but what Verso writes, is its own.
pub fn strangers(dir: &Path) -> Option<String> {
    const HARMLESS: [&str; 6] = ["account.lock", "relink", "lost+found", ".DS_Store", ".gitkeep", ".keep"];
    let names = fs::read_dir(dir).ok()?.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let stranger = names.into_iter().find(|name| !is_own_file(name) && !HARMLESS.contains(&name.as_str()))?;
    Some(format!(
        "{} holds files of somebody else ({stranger}), and an account needs a folder of its own; name another one as authDir, or move them away",
        dir.display()
    ))
}

fn in_the_way(path: &Path) -> Option<String> {
    let shown = path.display();
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) => return Some(unreadable(path, &e)),
    };
    if meta.is_symlink() {
        return Some(format!(
            "{shown} is a symbolic link, and it may point into a link that is in use; put the real file in its place"
        ));
    }
    if meta.is_dir() {
        return Some(format!("{shown} is a folder, and a file belongs there; move it away"));
    }
    if !meta.is_file() {
        return Some(format!("{shown} is no ordinary file; move it away"));
    }
    File::open(path).err().map(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    let me = rustix::process::geteuid().as_raw();
    let whose = fs::symlink_metadata(path).map(|meta| meta.uid()).ok().filter(|owner| *owner != me);
    let fix = match whose {
        Some(owner) => {
            format!("it belongs to user {owner} and Verso runs as user {me}: give it to that user (chown -R {me})")
        }
        None => "check the permissions of the folders around it".to_owned(),
    };
    format!("cannot read {}: {error}; {fix}", path.display())
}

/// Takes the folder and the session files in it away from other users and other names. What could not be done is no reason to stop; the
/// answer says what was.
pub fn make_private(dir: &Path) -> Vec<String> {
    let mut done = Vec::new();
    let mut open = close(dir, 0o700);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let ordinary = entry.file_type().is_ok_and(|kind| kind.is_file());
        if ordinary && is_session_file(&entry.file_name().to_string_lossy()) {
            open |= close(&entry.path(), 0o600);
        }
    }
    if open {
        done.push(format!("other users of this machine could read {}; that is over now", dir.display()));
    }
    for name in WRITTEN_IN_PLACE {
        let path = dir.join(name);
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && meta.nlink() > 1) && own_copy(&path).is_ok() {
            done.push(format!("{} had a second name (a hard link); it is a file of its own now", path.display()));
        }
    }
    done
}

/// True when others could read it and now cannot.
fn close(path: &Path, mode: u32) -> bool {
    let Ok(meta) = fs::metadata(path) else { return false };
    let now = meta.permissions().mode() & 0o777;
    now & 0o077 != 0 && fs::set_permissions(path, fs::Permissions::from_mode(now & mode)).is_ok()
}

fn own_copy(path: &Path) -> Result<(), super::StoreError> {
    super::atomic::replace(path, &fs::read(path).map_err(super::StoreError::io("read", path))?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_obstacle_has_its_sentence() {
        type Spoil = fn(&Path);
        let cases: &[(&str, Spoil)] = &[
            ("is a file, and an account needs a folder", |dir| fs::write(dir, "x").expect("written")),
            ("lies below a file", |dir| {
                fs::write(dir.parent().expect("a parent"), "x").expect("written");
            }),
            ("is a symbolic link to nothing", |dir| symlink(dir.with_file_name("nothing"), dir).expect("linked")),
            ("creds.json is a symbolic link", |dir| {
                fs::create_dir(dir).expect("made");
                symlink("/etc/hostname", dir.join("creds.json")).expect("linked");
            }),
            ("creds.json.bak is a folder", |dir| fs::create_dir_all(dir.join("creds.json.bak")).expect("made")),
            ("signal.db is a folder", |dir| fs::create_dir_all(dir.join("signal.db")).expect("made")),
            ("signal.db is no ordinary file", |dir| {
                fs::create_dir(dir).expect("made");
                rustix::fs::mkfifoat(rustix::fs::CWD, dir.join("signal.db"), rustix::fs::Mode::RWXU).expect("a pipe");
            }),
        ];
        for (expected, spoil) in cases {
            let home = tempfile::tempdir().expect("temp dir");
            let parent = home.path().join("whatsapp");
            let dir = parent.join("work");
            if !expected.starts_with("lies below") {
                fs::create_dir(&parent).expect("made");
            }
            assert_eq!(obstacle(&dir), None, "one that is not there yet");
            spoil(&dir);
            let said = obstacle(&dir).expect(expected);
            assert!(said.contains(expected) && said.contains("; ") && !said.contains('\n'), "{said}");
        }
        let home = tempfile::tempdir().expect("temp dir");
        fs::create_dir(home.path().join("real")).expect("made");
        symlink(home.path().join("real"), home.path().join("work")).expect("linked");
        assert_eq!(obstacle(&home.path().join("work")), None, "a folder may lie elsewhere");
    }

    #[test]
    fn a_folder_with_files_of_others_is_no_accounts() {
        let home = tempfile::tempdir().expect("temp dir");
        let dir = home.path().join("shared");
        assert_eq!(strangers(&dir), None, "not there yet");
        fs::create_dir(&dir).expect("made");
        for own in ["account.lock", "signal.db", "signal.db-wal", "creds.json.bak", "lost+found"] {
            fs::write(dir.join(own), "x").expect("written");
        }
        assert_eq!(strangers(&dir), None);
        fs::write(dir.join("invoice.pdf"), "x").expect("written");
        let said = strangers(&dir).expect("a stranger");
        assert!(said.contains("invoice.pdf") && said.contains("authDir"), "{said}");
    }

    #[test]
    fn what_others_could_read_or_change_is_closed_once() {
        let home = tempfile::tempdir().expect("temp dir");
        let dir = home.path().join("work");
        fs::create_dir(&dir).expect("made");
        for name in ["creds.json", "signal.db", "notes.txt"] {
            fs::write(dir.join(name), "x").expect("written");
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o644)).expect("chmod");
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("chmod");
        fs::hard_link(dir.join("signal.db"), home.path().join("snapshot")).expect("linked");
        let said = make_private(&dir);
        assert!(said.len() == 2 && said[0].contains("could read") && said[1].contains("second name"), "{said:?}");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("creds.json")), mode(&dir.join("signal.db"))), (0o700, 0o600, 0o600));
        assert_eq!(mode(&dir.join("notes.txt")), 0o644, "not ours");
        fs::write(dir.join("signal.db"), "y").expect("written");
        assert_eq!(fs::read_to_string(home.path().join("snapshot")).expect("there"), "x");
        assert_eq!(make_private(&dir), Vec::<String>::new());
    }
}
