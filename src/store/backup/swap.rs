//! Puts an unpacked state in the place of the present one, so that a crash leaves the old one or the new one.
//!
//! Everything is on disk in a staging folder before a note in the state folder says so. From then on the new state is in force: what
//! is left of the renames is done by whatever opens the state next ([`finish`]). What was there is kept.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::StoreError;
use crate::store::atomic;
use crate::store::paths::StatePaths;

/// Staging folders begin so.
pub const STAGING: &str = ".restore-";
/// Folders with what was replaced begin so.
pub const KEPT: &str = "before-restore-";
/// The note.
const NOTE: &str = "restore-in-progress.json";

/// What changes in one folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The folder.
    pub dir: PathBuf,
    /// Where the new entries wait; in `dir`.
    pub staged: PathBuf,
    /// Where the old entries go; in `dir`.
    pub kept: PathBuf,
    /// Old entries, by their paths in `dir`.
    pub away: Vec<PathBuf>,
    /// New entries, by their paths in `staged`.
    pub put: Vec<PathBuf>,
}

/// Exchanges the entries of all folders. The caller holds the lock of the state folder.
///
/// # Errors
/// When an entry cannot be moved; everything is as before then.
pub fn exchange(paths: &StatePaths, all: &[Exchange]) -> Result<(), StoreError> {
    exchange_in_steps(paths, all, &mut || Ok(()))
}

fn exchange_in_steps(
    paths: &StatePaths,
    all: &[Exchange],
    step: &mut dyn FnMut() -> io::Result<()>,
) -> Result<(), StoreError> {
    // All files of the new state are on disk before anything says that it is in force.
    rustix::fs::sync();
    let note = paths.root().join(NOTE);
    step().map_err(StoreError::io("write", &note))?;
    atomic::replace(&note, &serde_json::to_vec(all).expect("plain data"))?;
    all.iter().try_for_each(|one| one.carry_out(step)).inspect_err(|_| {
        // What cannot be moved back now is moved forward at the next start.
        if all.iter().try_for_each(Exchange::take_back).is_ok() {
            let _ = fs::remove_file(&note);
        }
    })?;
    end(&note, all)
}

/// Finishes an exchange that was cut off; false when there was none. The caller holds the lock of the state folder.
///
/// # Errors
/// When an entry cannot be moved: the state is mixed and must not be used.
pub fn finish(paths: &StatePaths) -> Result<bool, StoreError> {
    let note = paths.root().join(NOTE);
    let bytes = match fs::read(&note) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(StoreError::io("read", &note)(e)),
    };
    let all: Vec<Exchange> =
        serde_json::from_slice(&bytes).map_err(|e| StoreError::Damaged { path: note.clone(), cause: e.to_string() })?;
    for one in &all {
        one.carry_out(&mut || Ok(()))?;
    }
    end(&note, &all)?;
    Ok(true)
}

/// True when an exchange was cut off.
pub fn is_unfinished(paths: &StatePaths) -> bool {
    paths.root().join(NOTE).exists()
}

fn end(note: &Path, all: &[Exchange]) -> Result<(), StoreError> {
    fs::remove_file(note).map_err(StoreError::io("delete", note))?;
    for one in all {
        let inside =
            one.staged.parent().filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(STAGING)));
        // One that stays is deleted by the next restore.
        let _ = fs::remove_dir_all(inside.unwrap_or(&one.staged));
    }
    Ok(())
}

impl Exchange {
    /// Moves what is not moved yet.
    fn carry_out(&self, step: &mut dyn FnMut() -> io::Result<()>) -> Result<(), StoreError> {
        for name in &self.away {
            let (from, to) = (self.dir.join(name), self.kept.join(name));
            // What lies there although the old one is kept is the new one.
            if exists(&from) && !exists(&to) {
                step().map_err(StoreError::io("move", &from))?;
                shift(&from, &to)?;
            }
        }
        sync(&self.dir)?;
        for name in &self.put {
            let (from, to) = (self.staged.join(name), self.dir.join(name));
            if exists(&from) {
                step().map_err(StoreError::io("move", &from))?;
                shift(&from, &to)?;
            }
        }
        sync(&self.dir)
    }

    fn take_back(&self) -> Result<(), StoreError> {
        for name in &self.put {
            let (from, to) = (self.dir.join(name), self.staged.join(name));
            let is_new = !self.away.contains(name) || exists(&self.kept.join(name));
            if is_new && exists(&from) && !exists(&to) {
                shift(&from, &to)?;
            }
        }
        for name in &self.away {
            let (from, to) = (self.kept.join(name), self.dir.join(name));
            if exists(&from) {
                shift(&from, &to)?;
            }
        }
        sync(&self.dir)?;
        // Empty now, unless an older one of the same second is in it.
        let _ = fs::remove_dir(&self.kept);
        Ok(())
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn shift(from: &Path, to: &Path) -> Result<(), StoreError> {
    if let Some(parent) = to.parent() {
        private_dirs(parent)?;
    }
    fs::rename(from, to).map_err(|e| match e.raw_os_error() {
        Some(libc::EBUSY | libc::EXDEV) => StoreError::Busy(format!(
            "cannot move {}: it is a mount point of its own; mount the folder that it is in instead, or restore elsewhere with --to",
            from.display()
        )),
        _ => StoreError::io("move", from)(e),
    })?;
    to.parent().map_or(Ok(()), sync)
}

fn private_dirs(dir: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(StoreError::io("create the folder", dir))
}

fn sync(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(StoreError::io("sync", dir))
}

/// Brings a file or folder of ours to a place that may be on another disk.
///
/// # Errors
/// When it cannot be read or written.
pub fn bring(from: &Path, to: &Path) -> Result<(), StoreError> {
    if let Some(parent) = to.parent() {
        private_dirs(parent)?;
    }
    match fs::rename(from, to) {
        Err(e) if e.raw_os_error() == Some(libc::EXDEV) => {}
        done => return done.map_err(StoreError::io("move", from)),
    }
    if from.is_dir() {
        private_dirs(to)?;
        for entry in fs::read_dir(from).map_err(StoreError::io("read", from))?.flatten() {
            bring(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    fs::copy(from, to).map_err(StoreError::io("write", to))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).map_err(StoreError::io("protect", to))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        _dir: tempfile::TempDir,
        paths: StatePaths,
        plan: Exchange,
    }

    /// An old state with a.txt and folder x; a new one with a.txt, folder x and y/z.txt.
    fn place() -> Place {
        let dir = tempfile::tempdir().expect("temp dir");
        let root = dir.path().to_path_buf();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        write("a.txt", "old");
        write("x/one.txt", "old");
        write("other.txt", "stays");
        write(".restore-1/a.txt", "new");
        write(".restore-1/x/two.txt", "new");
        write(".restore-1/y/z.txt", "new");
        let plan = Exchange {
            staged: root.join(".restore-1"),
            kept: root.join("before-restore-1"),
            away: vec!["a.txt".into(), "x".into()],
            put: vec!["a.txt".into(), "x".into(), "y/z.txt".into()],
            dir: root,
        };
        Place { paths: StatePaths::new(dir.path(), None), _dir: dir, plan }
    }

    fn files(dir: &Path) -> Vec<(String, String)> {
        fn walk(dir: &Path, root: &Path, found: &mut Vec<(String, String)>) {
            for entry in fs::read_dir(dir).expect("readable").flatten() {
                if entry.path().is_dir() {
                    walk(&entry.path(), root, found);
                } else {
                    let name = entry.path().strip_prefix(root).expect("below").display().to_string();
                    found.push((name, fs::read_to_string(entry.path()).expect("text")));
                }
            }
        }
        let mut found = Vec::new();
        walk(dir, dir, &mut found);
        found.sort();
        found
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    fn new_state() -> Vec<(String, String)> {
        pairs(&[
            ("a.txt", "new"),
            ("before-restore-1/a.txt", "old"),
            ("before-restore-1/x/one.txt", "old"),
            ("other.txt", "stays"),
            ("x/two.txt", "new"),
            ("y/z.txt", "new"),
        ])
    }

    #[test]
    fn the_new_state_takes_the_place_of_the_old_one_which_is_kept() {
        let Place { paths, plan, _dir } = place();
        assert!(!finish(&paths).expect("nothing to do"));
        exchange(&paths, std::slice::from_ref(&plan)).expect("exchanged");
        assert_eq!(files(paths.root()), new_state());
        assert!(!finish(&paths).expect("nothing to do"));
    }

    #[test]
    fn an_error_at_any_step_leaves_the_old_state() {
        for cut in 0..6 {
            let Place { paths, plan, _dir } = place();
            let before = files(paths.root());
            let mut left = cut;
            let mut step = || {
                left -= 1;
                if left < 0 { Err(io::Error::other("full")) } else { Ok(()) }
            };
            exchange_in_steps(&paths, std::slice::from_ref(&plan), &mut step).expect_err("cut off");
            assert_eq!(files(paths.root()), before, "cut at {cut}");
        }
    }

    #[test]
    fn a_crash_at_any_step_ends_in_the_new_state() {
        for cut in 1..6 {
            let Place { paths, plan, _dir } = place();
            fs::write(paths.root().join(NOTE), serde_json::to_vec(&[&plan]).expect("json")).expect("written");
            let mut left = cut;
            let mut step = || {
                left -= 1;
                if left < 0 { Err(io::Error::other("power cut")) } else { Ok(()) }
            };
            let cut_off = plan.carry_out(&mut step);
            assert_eq!(cut_off.is_err(), cut < 5, "{cut}");
            assert!(is_unfinished(&paths) && finish(&paths).expect("goes on"));
            assert_eq!(files(paths.root()), new_state(), "cut at {cut}");
        }
    }
}
