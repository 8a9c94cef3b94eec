//! Finds the files of a state folder that go into a backup.

use std::fs;
use std::path::{Path, PathBuf};

use super::manifest::check_path;
use super::swap::{KEPT, STAGING};
use crate::store::StoreError;

/// Files with their paths in the archive, and what had to stay.
#[derive(Debug, Default)]
pub struct Found {
    /// Path in the archive, file.
    pub files: Vec<(String, PathBuf)>,
    /// What is no file, or has no name that an archive can carry.
    pub skipped: Vec<PathBuf>,
    /// Sizes, added up.
    pub bytes: u64,
}

impl Found {
    /// Adds every file below `dir` under `prefix`, in order of their names. `leave` names entries that stay out, with what is below them.
    /// A folder that is not there has no files.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn walk(&mut self, dir: &Path, prefix: &str, leave: &dyn Fn(&Path) -> bool) -> Result<(), StoreError> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(StoreError::io("read the folder", dir)(e)),
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if is_temporary(&path) || leave(&path) {
                continue;
            }
            let name = path.file_name().and_then(|name| name.to_str());
            // A link could lead anywhere; a pipe would never end.
            let Some((name, meta)) = name.zip(fs::symlink_metadata(&path).ok()) else {
                self.skipped.push(path);
                continue;
            };
            let member = format!("{prefix}/{name}");
            if meta.is_dir() {
                self.walk(&path, &member, leave)?;
            } else if meta.is_file() && check_path(&member).is_ok() {
                self.bytes += meta.len();
                self.files.push((member, path));
            } else {
                self.skipped.push(path);
            }
        }
        Ok(())
    }

    /// Adds one file, if it is there.
    pub fn add(&mut self, member: impl Into<String>, path: PathBuf) {
        if let Ok(meta) = fs::metadata(&path)
            && meta.is_file()
        {
            self.bytes += meta.len();
            self.files.push((member.into(), path));
        }
    }
}

/// What somebody is writing, locks, and what a restore set aside.
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [".verso-", ".creds-", ".part-", ".backup-", STAGING, KEPT].iter().any(|start| name.starts_with(start))
        || [".lock", ".tmp", ".sock", ".db-wal", ".db-shm"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_and_what_is_no_file_is_named() {
        let dir = tempfile::tempdir().expect("temp dir");
        let root = dir.path().join("agents");
        fs::create_dir_all(root.join("main/workspace")).expect("made");
        fs::write(root.join("main/workspace/SOUL.md"), "soul").expect("written");
        fs::write(root.join("main/a.lock"), "").expect("written");
        fs::write(root.join("out"), "").expect("written");
        fs::create_dir_all(root.join("before-restore-1")).expect("made");
        fs::write(root.join("before-restore-1/creds.json"), "old").expect("written");
        std::os::unix::fs::symlink("/etc", root.join("main/etc")).expect("linked");
        let mut found = Found::default();
        found.walk(&root, "agents", &|path| path.ends_with("out")).expect("readable");
        found.walk(&dir.path().join("none"), "media", &|_| false).expect("nothing");
        assert_eq!(found.files, [("agents/main/workspace/SOUL.md".to_owned(), root.join("main/workspace/SOUL.md"))]);
        assert_eq!((found.bytes, found.skipped), (4, vec![root.join("main/etc")]));
    }
}
