//! Where each part of an unpacked archive goes, and what has to make way for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::api::iso_time;
use crate::clock::UnixMs;
use crate::store::StoreError;
use crate::store::atomic::private_dir;
use crate::store::backup::swap::{self, Exchange, KEPT};
use crate::store::paths::StatePaths;

/// The moves of a restore.
pub(super) struct Plan {
    root: PathBuf,
    staged: PathBuf,
    /// Name of the folders with what was there.
    kept: String,
    all: Vec<Exchange>,
    /// Staging folders outside the state folder: they go when the restore ends.
    guards: Vec<tempfile::TempDir>,
}

impl Plan {
    /// Nothing yet. `scratch` lies in `root`.
    pub(super) fn new(root: &Path, scratch: &Path, now: UnixMs) -> Self {
        let stamp: String = iso_time(now).chars().take(19).map(|c| if c == ':' { '-' } else { c }).collect();
        Self {
            root: root.to_path_buf(),
            staged: scratch.join("put"),
            kept: format!("{KEPT}{stamp}"),
            all: Vec::new(),
            guards: Vec::new(),
        }
    }

    /// The exchange that `target` belongs to, and its path there.
    fn exchange(&mut self, target: &Path) -> Result<(&mut Exchange, PathBuf), Failure> {
        let dir = if target.starts_with(&self.root) {
            self.root.clone()
        } else {
            target.parent().unwrap_or(Path::new("/")).to_path_buf()
        };
        let name = target.strip_prefix(&dir).unwrap_or(target).to_path_buf();
        let at = match self.all.iter().position(|one| one.dir == dir) {
            Some(at) => at,
            None => {
                let staged = if dir == self.root {
                    private_dir(&self.staged)?;
                    self.staged.clone()
                } else {
                    private_dir(&dir)?;
                    let guard = tempfile::Builder::new().prefix(swap::STAGING).tempdir_in(&dir).map_err(|e| {
                        Failure::new(format!("cannot write into {}: {e}", dir.display()))
                            .hint("make the folder writable; for a configuration outside the state folder there is --keep-config")
                    })?;
                    let path = guard.path().to_path_buf();
                    self.guards.push(guard);
                    path
                };
                let kept = free_name(&dir, &self.kept);
                self.all.push(Exchange { dir, staged, kept, away: Vec::new(), put: Vec::new() });
                self.all.len() - 1
            }
        };
        Ok((&mut self.all[at], name))
    }

    /// What is at `target` makes way.
    pub(super) fn away(&mut self, target: &Path) -> Result<(), Failure> {
        if fs::symlink_metadata(target).is_ok() {
            let (exchange, name) = self.exchange(target)?;
            exchange.away.push(name);
        }
        Ok(())
    }

    /// `source` comes to `target`.
    pub(super) fn put(&mut self, target: &Path, source: &Path) -> Result<(), Failure> {
        self.away(target)?;
        let (exchange, name) = self.exchange(target)?;
        swap::bring(source, &exchange.staged.join(&name))?;
        exchange.put.push(name);
        Ok(())
    }

    /// As [`Plan::put`]; without a source nothing is at `target` afterwards.
    pub(super) fn replace(&mut self, target: &Path, source: &Path) -> Result<(), Failure> {
        if source.exists() { self.put(target, source) } else { self.away(target) }
    }

    /// As [`Plan::replace`] for each entry of a folder, which itself stays.
    pub(super) fn replace_entries(&mut self, target: &Path, source: &Path) -> Result<(), Failure> {
        private_dir(target)?;
        for entry in entries(target)? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with(KEPT) && !name.starts_with(swap::STAGING) && !source.join(&*name).exists() {
                self.away(&entry)?;
            }
        }
        if source.is_dir() {
            for entry in entries(source)? {
                self.put(&target.join(entry.file_name().unwrap_or_default()), &entry)?;
            }
        }
        Ok(())
    }

    /// The configuration comes to `target` and what it includes beside it. A file that others may read stays so.
    pub(super) fn put_config(&mut self, target: &Path, source: &Path) -> Result<(), Failure> {
        let cannot = |e: std::io::Error| Failure::new(format!("cannot prepare {}: {e}", target.display()));
        // A link to a file stays a link; the file is replaced.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_path_buf());
        if let Ok(present) = fs::metadata(&target) {
            let mode = fs::Permissions::from_mode(present.permissions().mode() & 0o777);
            fs::set_permissions(source, mode).map_err(cannot)?;
        }
        let (from, to) = (source.parent().unwrap_or(source), target.parent().unwrap_or(&target).to_path_buf());
        self.put(&target, source)?;
        let mut folders = vec![from.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in entries(&folder)? {
                let place = to.join(entry.strip_prefix(from).unwrap_or(&entry));
                if entry.is_dir() {
                    folders.push(entry);
                } else if !self.covers(&place) {
                    self.put(&place, &entry)?;
                }
            }
        }
        Ok(())
    }

    /// True when a folder that is put already has this place in it.
    fn covers(&self, place: &Path) -> bool {
        self.all.iter().any(|one| one.put.iter().any(|put| place.starts_with(one.dir.join(put))))
    }

    /// Does it all; answers where the old state is kept.
    pub(super) fn carry_out(mut self, paths: &StatePaths) -> Result<Vec<PathBuf>, Failure> {
        if let Err(error) = swap::exchange(paths, &self.all) {
            if swap::is_unfinished(paths) {
                // What is staged is needed when it goes on.
                for guard in std::mem::take(&mut self.guards) {
                    let _ = guard.keep();
                }
                return Err(Failure::new(format!("the restore stopped half way: {error}"))
                    .hint("put that right; the next start of the gateway, or of a restore, goes on with it"));
            }
            return Err(Failure::new(format!("{error}")).hint("the old state is back in its place"));
        }
        Ok(self.all.iter().map(|one| one.kept.clone()).filter(|kept| kept.exists()).collect())
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let cannot = |cause| StoreError::Io { what: "read the folder", path: dir.to_path_buf(), cause };
    Ok(fs::read_dir(dir).map_err(cannot)?.flatten().map(|entry| entry.path()).collect())
}

fn free_name(dir: &Path, name: &str) -> PathBuf {
    let mut path = dir.join(name);
    let mut n = 1;
    while path.exists() {
        n += 1;
        path = dir.join(format!("{name}-{n}"));
    }
    path
}
