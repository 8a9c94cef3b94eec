//! Locks of the operating system: one gateway per state folder, one process per account folder. They vanish with their process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::atomic::private_dir;
use crate::store::paths::StatePaths;
use crate::store::{StoreError, auth_files};

/// Whoever only asks for a lock ([`GatewayLock::is_held`]) has it for a moment: so often and after so long it is tried again.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_millis(10);

/// Held while a gateway uses a state folder.
#[derive(Debug)]
pub struct GatewayLock {
    file: File,
}

impl GatewayLock {
    /// Takes the lock and writes this process's id into it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] names the process that holds it; [`StoreError::Io`] when the folder cannot be used.
    pub fn acquire(paths: &StatePaths) -> Result<Self, StoreError> {
        private_dir(paths.root())?;
        let busy = |holder: &str| {
            format!(
                "another Verso gateway{holder} already uses the state folder {}; stop it, or set VERSO_STATE_DIR to another folder",
                paths.root().display()
            )
        };
        let mut looks = LOOKS;
        loop {
            match take(&paths.gateway_lock(), busy) {
                Err(StoreError::Busy(_)) if looks > 0 => looks -= 1,
                taken => return Ok(Self { file: taken? }),
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Notes the address that the gateway listens on, for people who look into the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note_address(&mut self, address: &str, paths: &StatePaths) -> Result<(), StoreError> {
        note(&mut self.file, &format!("{} {address}\n", std::process::id()))
            .map_err(StoreError::io("write", &paths.gateway_lock()))
    }

    /// The process that holds the lock, as it noted itself; looks without leaving a trace.
    pub fn holder(paths: &StatePaths) -> Option<String> {
        let text = std::fs::read_to_string(paths.gateway_lock()).unwrap_or_default();
        Self::is_held(paths).then(|| text.split_whitespace().next().unwrap_or("unknown").to_owned())
    }

    /// True when some process holds the lock.
    pub fn is_held(paths: &StatePaths) -> bool {
        let Ok(file) = File::open(paths.gateway_lock()) else { return false };
        match file.try_lock_shared() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(_)) => false,
        }
    }
}

/// Held while a link of one account is open.
#[derive(Debug)]
pub struct AccountLock {
    _file: File,
    dir: PathBuf,
    closed: Vec<String>,
}

impl AccountLock {
    /// Takes the lock of an auth folder, creating the folder. What is in it is nobody else's from then on, also not to read.
    ///
    /// # Errors
    /// [`StoreError::Busy`] names the process that holds it; [`StoreError::Unusable`] and [`StoreError::Io`] when the folder cannot be
    /// used.
    pub fn acquire(dir: &Path) -> Result<Self, StoreError> {
        if let Some(why) = auth_files::obstacle(dir) {
            return Err(StoreError::Unusable(why));
        }
        private_dir(dir)?;
        let own = format!(" (process {})", std::process::id());
        let file = take(&dir.join("account.lock"), |holder| {
            if holder == own {
                return format!(
                    "the connection before this one has not let go of the WhatsApp account in {} yet; it is waited for",
                    dir.display()
                );
            }
            format!("another process{holder} uses the WhatsApp account in {}; stop it first", dir.display())
        })?;
        let closed = auth_files::make_private(dir);
        for done in &closed {
            tracing::warn!(target: "web-session", "{done}");
        }
        Ok(Self { _file: file, dir: dir.to_path_buf(), closed })
    }

    /// The same, waiting as long as `patience` for whoever has it. Blocks the thread.
    ///
    /// # Errors
    /// As [`AccountLock::acquire`].
    pub fn acquire_within(dir: &Path, patience: Duration) -> Result<Self, StoreError> {
        let began = std::time::Instant::now();
        loop {
            match Self::acquire(dir) {
                Err(StoreError::Busy(_)) if began.elapsed() < patience => std::thread::sleep(LOOK),
                taken => return taken,
            }
        }
    }

    /// What others could read or change until the lock was taken, in sentences.
    pub fn closed(&self) -> &[String] {
        &self.closed
    }

    /// The folder that is locked.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn take(path: &Path, busy: impl FnOnce(&str) -> String) -> Result<File, StoreError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::io("open", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let holder = match file
                .read_to_string(&mut text)
                .ok()
                .and_then(|_| text.split_whitespace().next().map(str::to_owned))
            {
                Some(pid) => format!(" (process {pid})"),
                None => String::new(),
            };
            return Err(StoreError::Busy(busy(&holder)));
        }
        Err(TryLockError::Error(cause)) => {
            return Err(StoreError::Io { what: "lock", path: path.to_path_buf(), cause });
        }
    }
    note(&mut file, &format!("{}\n", std::process::id())).map_err(StoreError::io("write", path))?;
    Ok(file)
}

fn note(file: &mut File, text: &str) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gateway_is_told_who_holds_the_state() {
        let dir = tempfile::tempdir().expect("temp dir");
        let paths = StatePaths::new(dir.path(), None);
        assert!(!GatewayLock::is_held(&paths));
        let first = GatewayLock::acquire(&paths).expect("free");
        assert!(GatewayLock::is_held(&paths));
        let error = GatewayLock::acquire(&paths).expect_err("held").to_string();
        assert!(error.contains(&std::process::id().to_string()) && error.contains("VERSO_STATE_DIR"), "{error}");
        drop(first);
        GatewayLock::acquire(&paths).expect("free again");
    }

    #[test]
    fn who_asks_whether_a_gateway_runs_keeps_none_from_starting() {
        let dir = tempfile::tempdir().expect("temp dir");
        let paths = StatePaths::new(dir.path(), None);
        drop(GatewayLock::acquire(&paths).expect("free"));
        let asking = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while asking.load(std::sync::atomic::Ordering::Relaxed) {
                    GatewayLock::is_held(&paths);
                }
            });
            let started: Vec<_> = (0..500).map(|_| GatewayLock::acquire(&paths).err()).collect();
            asking.store(false, std::sync::atomic::Ordering::Relaxed);
            assert!(started.iter().all(Option::is_none), "{:?}", started.iter().flatten().next());
        });
    }

    #[test]
    fn an_account_folder_has_one_user() {
        let dir = tempfile::tempdir().expect("temp dir");
        let held = AccountLock::acquire(&dir.path().join("work")).expect("free");
        let error = AccountLock::acquire(&dir.path().join("work")).expect_err("held").to_string();
        assert!(error.contains("work") && error.contains("has not let go"), "{error}");
        assert!(held.dir().ends_with("work"));
        let waiting = {
            let dir = dir.path().join("work");
            std::thread::spawn(move || AccountLock::acquire_within(&dir, Duration::from_secs(20)).is_ok())
        };
        drop(held);
        assert!(waiting.join().expect("no panic"));
    }
}
