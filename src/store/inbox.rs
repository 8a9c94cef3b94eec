//! `media/inbound`: the files that came in, one per attachment, private.
//!
//! A file's name is made from what identifies the attachment, so that a run that is repeated after a crash finds it, and so that the
//! sweep knows which files messages still need; and from the session that it belongs to ([`files`]). Who names an attachment holds the
//! key that opens it, so a session that is sent a file which another one has gets it without another download.
//!
//! The folder never holds more than its quota: a file is begun only when its bytes fit beside what lies there and what is set aside for
//! the files that are being written.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::event::{InboundMessage, MediaSource};
use crate::ids::AccountId;
use crate::session::files;
use crate::store::StoreError;
use crate::store::atomic::private_dir;

/// A file that is not complete yet.
const PARTIAL: &str = ".part-";
/// Bytes at the start of a file by which its type is recognised.
const HEAD: u64 = 8 * 1024;
/// A file this young is in use, whatever else is known of it.
const YOUNG: Duration = Duration::from_secs(10 * 60);

/// A sweep for room leaves this part of the quota free, so that not every file has to ask for one.
const SPARE: u64 = 10;

/// The folder. Only one inbox and its clones may begin files in it: they know of one another's.
#[derive(Clone, Debug)]
pub struct Inbox {
    folder: PathBuf,
    /// Bytes set aside, by the name of the file that is being written.
    aside: Aside,
}

type Aside = Arc<Mutex<HashMap<String, u64>>>;

fn locked(aside: &Aside) -> MutexGuard<'_, HashMap<String, u64>> {
    aside.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The half of its file's name that an attachment gives ([`files`]); `None` when the attachment cannot be fetched.
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
    Some(files::attachment(&hash.finalize()))
}

/// The names of the files that messages bring along, their own and quoted ones.
pub fn names(messages: &[InboundMessage]) -> HashSet<String> {
    let named = messages.iter().flat_map(|message| {
        let (own, quoted) = message.media();
        own.into_iter().chain(quoted).filter_map(|source| name(&message.account, &source))
    });
    named.collect()
}

/// A file that is being written. It is deleted when it is dropped before [`Partial::keep`].
#[derive(Debug)]
pub struct Partial {
    file: NamedTempFile,
    /// Given back after the file is deleted or has its name.
    _room: Room,
}

/// Bytes set aside.
#[derive(Debug)]
struct Room {
    name: String,
    aside: Aside,
}

impl Drop for Room {
    fn drop(&mut self) {
        locked(&self.aside).remove(&self.name);
    }
}

impl Inbox {
    /// Files lie in `folder`, which is made when it is needed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), aside: Arc::default() }
    }

    /// The file of this name and its size for the session with this tag, when it was saved before; it counts as used now.
    pub fn find(&self, name: &str, tag: &str) -> Option<(PathBuf, u64)> {
        let found: Vec<Saved> = self.files().ok()?.into_iter().filter(|file| file.name == name).collect();
        let own = found.iter().find(|file| files::tag_of(&file.file_name()) == Some(tag));
        let (path, bytes) = match own {
            Some(own) => (own.path.clone(), own.bytes),
            None => (found.first()?.link_for(tag).ok()?, found.first()?.bytes),
        };
        // Only the age is at stake.
        let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some((path, bytes))
    }

    /// Begins a file of at most `bytes`, mode 0600 in a folder of mode 0700; `None` when the folder would then exceed `quota` bytes.
    ///
    /// # Errors
    /// When the folder or file cannot be made.
    pub fn begin(&self, bytes: u64, quota: u64) -> Result<Option<Partial>, StoreError> {
        private_dir(&self.folder)?;
        let mut aside = locked(&self.aside);
        if self.taken(&aside)?.saturating_add(bytes) > quota {
            return Ok(None);
        }
        let file = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&self.folder);
        let file = file.map_err(StoreError::io("write into", &self.folder))?;
        let name = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        aside.insert(name.clone(), bytes);
        Ok(Some(Partial { file, _room: Room { name, aside: Arc::clone(&self.aside) } }))
    }

    /// Makes room for a file of `bytes`: deletes files that are not `needed`, the longest unused first, until it fits with something to
    /// spare; gives how many. Whoever used a file after `asked` may need it.
    ///
    /// # Errors
    /// When the folder cannot be read. A file that cannot be deleted is left.
    pub fn make_room(
        &self,
        bytes: u64,
        quota: u64,
        needed: &HashSet<String>,
        asked: SystemTime,
    ) -> Result<usize, StoreError> {
        let aside = locked(&self.aside);
        let wanted = (quota - quota / SPARE).saturating_sub(bytes);
        let mut taken = self.taken(&aside)?;
        let mut files = self.files().map_err(StoreError::io("list", &self.folder))?;
        files.retain(|file| !needed.contains(&file.name) && !aside.contains_key(&file.name) && file.used < asked);
        files.sort_by_key(|file| file.used);
        let mut gone = 0;
        for file in files {
            if taken <= wanted {
                break;
            }
            if fs::remove_file(&file.path).is_ok() {
                taken = taken.saturating_sub(file.bytes);
                gone += 1;
            }
        }
        Ok(gone)
    }

    /// Bytes that lie there or are set aside.
    fn taken(&self, aside: &HashMap<String, u64>) -> Result<u64, StoreError> {
        let files = self.files().map_err(StoreError::io("list", &self.folder))?;
        let lies: u64 = files.iter().filter(|file| !aside.contains_key(&file.name)).map(|file| file.bytes).sum();
        Ok(lies + aside.values().sum::<u64>())
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
        let mut saved = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What vanishes while it is looked at is no file any more; links and folders are none of ours.
            let Ok(facts) = entry.metadata() else { continue };
            let Ok(used) = facts.modified() else { continue };
            if facts.is_file() {
                let file = entry.file_name().to_string_lossy().into_owned();
                let name = if file.starts_with(PARTIAL) { &file } else { files::attachment_of(&file) };
                saved.push(Saved { name: name.to_owned(), path: entry.path(), bytes: facts.len(), used });
            }
        }
        Ok(saved)
    }
}

struct Saved {
    name: String,
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Saved {
    fn file_name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The same file under the name that it has for another session.
    fn link_for(&self, tag: &str) -> io::Result<PathBuf> {
        let extension = self.path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let path = self.path.with_file_name(files::name(&self.name, tag, &extension));
        match fs::hard_link(&self.path, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(path),
            linked => linked.map(|()| path),
        }
    }

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
        self.file.as_file().try_clone().map_err(StoreError::io("write", self.file.path()))
    }

    /// The first bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn head(&self) -> Result<Vec<u8>, StoreError> {
        let mut head = Vec::new();
        let read = self.file.reopen().and_then(|file| file.take(HEAD).read_to_end(&mut head));
        read.map(|_| head).map_err(StoreError::io("read", self.file.path()))
    }

    /// Gives the complete file its name, for the session with this tag. `extension` is without the dot and may be empty.
    ///
    /// # Errors
    /// When it cannot be written; nothing is left of it then.
    pub fn keep(self, name: &str, tag: &str, extension: &str) -> Result<PathBuf, StoreError> {
        let path = self.file.path().with_file_name(files::name(name, tag, extension));
        self.file.as_file().sync_all().map_err(StoreError::io("write", &path))?;
        let what = "write";
        self.file.persist(&path).map_err(|e| StoreError::Io { what, path: path.clone(), cause: e.error })?;
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

    /// As long as the half that an attachment gives.
    fn long(name: &str) -> String {
        format!("{name:0<18}")
    }

    fn tag(session: &str) -> String {
        files::tag(&crate::ids::SessionKey::new(session), None)
    }

    fn save(inbox: &Inbox, name: &str, bytes: &[u8], age_hours: u64) -> PathBuf {
        let partial = inbox.begin(10, 1000).expect("begun").expect("room");
        partial.writer().expect("a handle").write_all(bytes).expect("written");
        assert_eq!(partial.head().expect("readable"), bytes);
        let path = partial.keep(name, &tag("ann"), "jpg").expect("kept");
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
        assert_ne!(Some(&name), super::name(&two, &source("k")).as_ref(), "accounts share nothing");
        assert_ne!(Some(&name), super::name(&one, &source("l")).as_ref());
        assert_eq!(inbox.find(&name, &tag("ann")), None);
        let path = save(&inbox, &name, b"picture", 0);
        assert_eq!(inbox.find(&name, &tag("ann")), Some((path.clone(), 7)));
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
        let folder = path.parent().expect("in a folder");
        assert_eq!(fs::metadata(folder).expect("exists").permissions().mode() & 0o777, 0o700);
        drop(inbox.begin(10, 1000).expect("begun"));
        assert_eq!(fs::read_dir(folder).expect("listed").count(), 1, "what is not kept is deleted");
    }

    #[test]
    fn the_quota_holds_also_while_files_are_written_and_what_is_unused_makes_room() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inbox = Inbox::new(dir.path());
        let begin = |bytes| inbox.begin(bytes, 100).expect("asked");
        let first = begin(60).expect("room");
        assert!(begin(50).is_none(), "60 bytes are set aside");
        let second = begin(40).expect("exactly full");
        first.writer().expect("a handle").write_all(&[0; 20]).expect("written");
        assert!(begin(1).is_none(), "what is written of them already changes nothing");
        drop(second);
        let path = first.keep(&long("a"), &tag("ann"), "jpg").expect("kept");
        let second = begin(80).expect("only the 20 bytes that were written are taken");
        assert!(begin(1).is_none());
        let past = |path: &Path, hours: u64| {
            let used = SystemTime::now() - Duration::from_secs(hours * 3600);
            File::open(path).and_then(|f| f.set_modified(used)).expect("aged");
        };
        past(&path, 2);
        past(&save(&Inbox::new(dir.path()), &long("b"), &[0; 10], 1), 1);
        let room = |bytes, needed: &[&str], asked| {
            let needed = needed.iter().map(|n| long(n)).collect();
            inbox.make_room(bytes, 100, &needed, asked).expect("asked")
        };
        let now = SystemTime::now();
        assert_eq!(room(10, &["a", "b"], now), 0, "what is needed stays, and what is being written");
        assert_eq!(room(10, &[], now - Duration::from_secs(3 * 3600)), 0, "both were used since");
        assert_eq!(room(1, &["a"], now), 1);
        drop(second);
        assert_eq!(room(70, &[], now), 0, "there is room, and some to spare");
        assert_eq!(room(71, &[], now), 1, "a tenth stays free");
        assert_eq!(inbox.files().expect("listed").len(), 0);
        assert!(begin(101).is_none(), "never");
    }

    #[test]
    fn a_file_that_two_sessions_got_has_a_name_for_each_and_one_of_an_older_version_is_taken_over() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inbox = Inbox::new(dir.path());
        let picture = files::attachment(&[1; 32]);
        let ann = save(&inbox, &picture, b"picture", 0);
        let (bob, bytes) = inbox.find(&picture, &tag("bob")).expect("it is there");
        assert!(bob != ann && bytes == 7 && ann.exists());
        assert_eq!(fs::read(&bob).expect("readable"), b"picture");
        assert_eq!(inbox.find(&picture, &tag("bob")), Some((bob, 7)));
        for (n, extension) in [(2, ".pdf"), (3, "")] {
            let name = files::attachment(&[n; 32]);
            fs::write(dir.path().join(format!("{name}-b0bf-06eadd8720e0{extension}")), "old").expect("written");
            let (path, _) = inbox.find(&name, &tag("ann")).expect("it is there");
            let file = path.file_name().expect("a name").to_string_lossy().into_owned();
            assert_eq!(file, format!("{name}-{}{extension}", tag("ann")));
        }
    }

    #[test]
    fn old_files_go_then_the_longest_unused_and_never_what_is_needed_or_young() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inbox = Inbox::new(dir.path());
        let sweep = |hours: u64, max_bytes: u64, needed: &[&str]| {
            let needed = needed.iter().map(|n| long(n)).collect();
            let now = SystemTime::now();
            let keep = Keep { since: now - Duration::from_secs(hours * 3600), max_bytes, needed };
            inbox.sweep(&keep, now).expect("swept")
        };
        let left = || {
            let files = inbox.files().expect("listed").into_iter();
            let mut names: Vec<String> = files.map(|f| f.name.trim_end_matches('0').to_owned()).collect();
            names.sort();
            names
        };
        for (name, age) in [("a", 50), ("b", 40), ("c", 30), ("d", 20), ("e", 0)] {
            save(&inbox, &long(name), &[0; 10], age);
        }
        let stale = inbox.begin(10, 1000).expect("begun").expect("room").file.keep().expect("left behind by a crash").0;
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
