//! `media/inbound`: the files that came in, one per attachment, private.
//!
//! A file's name is made from what identifies the attachment, so that a run that is repeated after a crash finds it, and so that the
//! sweep knows which files messages still need.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::event::MediaSource;
use crate::ids::AccountId;
use crate::store::StoreError;
use crate::store::atomic::private_dir;

/// A file that is not complete yet.
const PARTIAL: &str = ".part-";
/// Bytes at the start of a file by which its type is recognised.
const HEAD: u64 = 8 * 1024;
/// A file this young is in use, whatever else is known of it.
const YOUNG: Duration = Duration::from_secs(10 * 60);

/// The folder.
#[derive(Clone, Debug)]
pub struct Inbox {
    folder: PathBuf,
}

/// What may stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Files last used before this time go.
    pub since: SystemTime,
    /// When the rest is larger than this, the files that were not used for the longest time go too.
    pub max_bytes: u64,
    /// Names (see [`name`]) of files that stay in any case.
    pub needed: HashSet<String>,
}

/// The name of an attachment's file, a UUID; `None` when the attachment cannot be fetched.
pub fn name(account: &AccountId, source: &MediaSource) -> Option<String> {
    let media = &source.media;
    let file = media.file.as_ref()?;
    let mut hash = Sha256::new();
    for part in [account.as_str(), media.kind.placeholder(), media.mime.as_deref().unwrap_or_default()] {
        hash.update(part);
        hash.update([0]);
    }
    for part in [file.key.reveal(), &file.sha256, &file.enc_sha256] {
        hash.update(part);
        hash.update([0]);
    }
    let bytes: [u8; 16] = hash.finalize()[..16].try_into().expect("a hash is longer");
    Some(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

/// A file that is being written. It is deleted when it is dropped before [`Partial::keep`].
#[derive(Debug)]
pub struct Partial(NamedTempFile);

impl Inbox {
    /// Files lie in `folder`, which is made when it is needed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The file of this name and its size, when it was saved before; it counts as used now.
    pub fn find(&self, name: &str) -> Option<(PathBuf, u64)> {
        let found = self.files().ok()?.into_iter().find(|file| file.name == name)?;
        // Only the age is at stake.
        let _ = File::open(&found.path).and_then(|file| file.set_modified(SystemTime::now()));
        Some((found.path, found.bytes))
    }

    /// Begins a file, mode 0600 in a folder of mode 0700.
    ///
    /// # Errors
    /// When the folder or file cannot be made.
    pub fn begin(&self) -> Result<Partial, StoreError> {
        private_dir(&self.folder)?;
        let file = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&self.folder);
        file.map(Partial).map_err(StoreError::io("write into", &self.folder))
    }

    /// Deletes files that are neither needed nor young; gives how many.
    ///
    /// # Errors
    /// When the folder cannot be read. A file that cannot be deleted is left for the next time.
    pub fn sweep(&self, keep: &Keep, now: SystemTime) -> Result<usize, StoreError> {
        let mut files = self.files().map_err(StoreError::io("list", &self.folder))?;
        files.sort_by_key(|file| file.used);
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        let mut gone = 0;
        for file in files {
            let old = file.used < keep.since || total > keep.max_bytes || file.is_partial();
            let in_use = keep.needed.contains(&file.name) || !is_older(&file.path, YOUNG, now);
            if old && !in_use && fs::remove_file(&file.path).is_ok() {
                total -= file.bytes;
                gone += 1;
            }
        }
        Ok(gone)
    }

    fn files(&self) -> io::Result<Vec<Saved>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What vanishes while it is looked at is no file any more; links and folders are none of ours.
            let Ok(facts) = entry.metadata() else { continue };
            let Ok(used) = facts.modified() else { continue };
            if facts.is_file() {
                let file = entry.file_name().to_string_lossy().into_owned();
                let name = if file.starts_with(PARTIAL) { &file } else { file.split('.').next().unwrap_or_default() };
                files.push(Saved { name: name.to_owned(), path: entry.path(), bytes: facts.len(), used });
            }
        }
        Ok(files)
    }
}

struct Saved {
    name: String,
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Saved {
    fn is_partial(&self) -> bool {
        self.name.starts_with(PARTIAL)
    }
}

/// Looked up anew, because the file may have been taken into use meanwhile.
fn is_older(path: &Path, age: Duration, now: SystemTime) -> bool {
    let used = fs::metadata(path).and_then(|facts| facts.modified());
    used.is_ok_and(|used| now.duration_since(used).is_ok_and(|since| since > age))
}

impl Partial {
    /// A handle that writes to the file.
    ///
    /// # Errors
    /// When there are no more handles.
    pub fn writer(&self) -> Result<File, StoreError> {
        self.0.as_file().try_clone().map_err(StoreError::io("write", self.0.path()))
    }

    /// The first bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn head(&self) -> Result<Vec<u8>, StoreError> {
        let mut head = Vec::new();
        let read = self.0.reopen().and_then(|file| file.take(HEAD).read_to_end(&mut head));
        read.map(|_| head).map_err(StoreError::io("read", self.0.path()))
    }

    /// Gives the complete file its name. `extension` is without the dot and may be empty.
    ///
    /// # Errors
    /// When it cannot be written; nothing is left of it then.
    pub fn keep(self, name: &str, extension: &str) -> Result<PathBuf, StoreError> {
        let file = if extension.is_empty() { name.to_owned() } else { format!("{name}.{extension}") };
        let path = self.0.path().with_file_name(file);
        self.0.as_file().sync_all().map_err(StoreError::io("write", &path))?;
        let what = "write";
        self.0.persist(&path).map_err(|e| StoreError::Io { what, path: path.clone(), cause: e.error })?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::event::{MediaKey, MediaKind, MediaRef, RemoteFile};

    fn source(key: &str) -> MediaSource {
        let file = RemoteFile {
            direct_path: "/v/x".into(),
            key: MediaKey::new(key),
            sha256: "a".into(),
            enc_sha256: "b".into(),
        };
        MediaSource {
            media: MediaRef { file: Some(file), ..MediaRef::new(MediaKind::Image) },
            chat: "1@s.whatsapp.net".parse().expect("jid"),
            sender: None,
            id: None,
            from_me: false,
        }
    }

    fn save(inbox: &Inbox, name: &str, bytes: &[u8], age_hours: u64) -> PathBuf {
        let partial = inbox.begin().expect("begun");
        partial.writer().expect("a handle").write_all(bytes).expect("written");
        assert_eq!(partial.head().expect("readable"), bytes);
        let path = partial.keep(name, "jpg").expect("kept");
        let used = SystemTime::now() - Duration::from_secs(age_hours * 3600);
        File::open(&path).and_then(|f| f.set_modified(used)).expect("aged");
        path
    }

    #[test]
    fn files_are_private_and_found_again_by_what_they_are() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inbox = Inbox::new(dir.path().join("media/inbound"));
        let (one, two) = (AccountId::new("one"), AccountId::new("two"));
        let name = super::name(&one, &source("k")).expect("it can be fetched");
        assert_eq!(name.parse::<uuid::Uuid>().expect("a UUID").get_version_num(), 4);
        assert_ne!(Some(&name), super::name(&two, &source("k")).as_ref(), "accounts share nothing");
        assert_ne!(Some(&name), super::name(&one, &source("l")).as_ref());
        assert_eq!(inbox.find(&name), None);
        let path = save(&inbox, &name, b"picture", 0);
        assert_eq!(inbox.find(&name), Some((path.clone(), 7)));
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
        let folder = path.parent().expect("in a folder");
        assert_eq!(fs::metadata(folder).expect("exists").permissions().mode() & 0o777, 0o700);
        drop(inbox.begin().expect("begun"));
        assert_eq!(fs::read_dir(folder).expect("listed").count(), 1, "what is not kept is deleted");
    }

    #[test]
    fn old_files_go_then_the_longest_unused_and_never_what_is_needed_or_young() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inbox = Inbox::new(dir.path());
        let sweep = |hours: u64, max_bytes: u64, needed: &[&str]| {
            let needed = needed.iter().map(|n| (*n).to_owned()).collect();
            let now = SystemTime::now();
            let keep = Keep { since: now - Duration::from_secs(hours * 3600), max_bytes, needed };
            inbox.sweep(&keep, now).expect("swept")
        };
        let left = || {
            let mut names: Vec<String> = inbox.files().expect("listed").into_iter().map(|f| f.name).collect();
            names.sort();
            names
        };
        for (name, age) in [("a", 50), ("b", 40), ("c", 30), ("d", 20), ("e", 0)] {
            save(&inbox, name, &[0; 10], age);
        }
        let stale = inbox.begin().expect("begun").0.keep().expect("left behind by a crash").0;
        stale.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("aged");
        assert_eq!(sweep(100, 50, &[]), 1, "only the file that a crash cut off");
        assert_eq!(sweep(45, 1000, &["a"]), 0);
        assert_eq!(sweep(45, 1000, &[]), 1);
        assert_eq!(left(), ["b", "c", "d", "e"]);
        assert_eq!(sweep(45, 25, &["b"]), 2, "the next oldest go instead");
        assert_eq!(left(), ["b", "e"]);
        assert_eq!(sweep(0, 0, &[]), 1);
        assert_eq!(left(), ["e"], "a young file is in use");
        assert_eq!(Inbox::new(dir.path().join("nowhere")).files().expect("an empty list").len(), 0);
    }
}
