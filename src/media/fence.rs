//! What files a client of the API may have sent: never the gateway's own secrets, and without the scope `operator.admin` only what lies in
//! workspaces and the media folder.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::error::MediaError;
use super::local::{open_any, open_below, reason};
use super::{OpenFiles, name};

/// The files that an API client may have sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// What holds secrets of the gateway: files, with everything whose name goes on after theirs, and folders with all that lies in them.
    pub closed: Vec<PathBuf>,
    /// Folders that are open all the same: workspaces, media.
    pub open: Vec<PathBuf>,
    /// Nothing but `open`: the client may send and no more, so it reads no other file of this machine and no private network.
    pub confined: bool,
}

/// Opens a file for a client.
pub(super) fn open(source: &str, path: &Path, fence: &Fence) -> Result<File, MediaError> {
    if !fence.confined {
        return open_outside(source, path, fence);
    }
    open_below(source, path, &OpenFiles { roots: fence.open.clone(), closed: fence.closed.clone(), received: None }).map_err(|error| match error {
        MediaError::Refused { name, .. } => MediaError::Refused {
            name,
            why: "it lies outside the workspaces and the media folder; a connection without the scope operator.admin sends no other file of this machine".into(),
        },
        other => other,
    })
}

/// Opens a file that is none of the gateway's own secrets. What was opened is judged, not what was named, so no link leads around it.
fn open_outside(source: &str, path: &Path, fence: &Fence) -> Result<File, MediaError> {
    let read = |e: io::Error| MediaError::Read { name: name::source(source), why: reason(&e) };
    let file = open_any(path).map_err(read)?;
    let real = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(read)?;
    let below = |folder: &PathBuf| folder.canonicalize().is_ok_and(|folder| real.starts_with(folder));
    let system = ["/proc", "/sys"].iter().any(|folder| real.starts_with(folder));
    // Of an open folder and a closed place that both hold it the inner one decides.
    let depth = |path: &PathBuf| path.components().count();
    let open = fence.open.iter().filter(|folder| below(folder)).map(depth).max();
    let closed = fence.closed.iter().filter(|closed| belongs_to(&real, closed)).map(depth).max();
    if system || closed > open {
        return Err(MediaError::Read {
            name: name::source(source),
            why: "it is a file of the gateway itself or of the system, and those are sent to nobody".into(),
        });
    }
    Ok(file)
}

/// The file is `closed`, lies in it, or is a part or an older copy of it, such as `state.db-wal` and `verso.json.bak`.
fn belongs_to(real: &Path, closed: &Path) -> bool {
    let Some(name) = closed.file_name() else { return real.starts_with(closed) };
    let parent = closed.parent().and_then(|parent| parent.canonicalize().ok());
    let inside = parent.and_then(|parent| real.strip_prefix(parent).ok().map(Path::to_owned));
    let first = inside.as_ref().and_then(|rest| rest.components().next());
    let named = first.is_some_and(|first| first.as_os_str().as_encoded_bytes().starts_with(name.as_encoded_bytes()));
    named || closed.canonicalize().is_ok_and(|closed| real.starts_with(closed))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::media::{Trust, local};

    #[test]
    fn a_client_is_sent_no_secret_of_the_gateway_by_any_name() {
        let dir = tempfile::tempdir().expect("temp dir");
        let place = |name: &str| dir.path().join(name).display().to_string();
        let load = |source: &str, trust: &Trust| {
            local::copy(source, trust, &dir.path().join("out"), Box::new(|_| u64::MAX)).map_err(|e| e.to_string())
        };
        let state = dir.path().join("state");
        fs::create_dir_all(place("work")).expect("a folder");
        for (file, text) in [
            ("gateway.token", "t"),
            ("state.db", "d"),
            ("state.db-wal", "w"),
            ("verso.json.bak", "b"),
            ("credentials/whatsapp/work/creds.json", "c"),
            ("agents/main/sessions/s.jsonl", "s"),
            ("agents/main/workspace/note.txt", "open"),
            ("note.txt", "open"),
        ] {
            let path = state.join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, text).expect("written");
        }
        let link = place("work/innocent.txt");
        symlink(state.join("gateway.token"), &link).expect("linked");
        symlink(&state, place("work/folder")).expect("linked");
        let closed = ["gateway.token", "state.db", "verso.json", "credentials", "agents"].map(|name| state.join(name));
        let fence = Fence { closed: closed.to_vec(), open: vec![state.join("agents/main/workspace")], confined: false };
        let (admin, writer) = (Trust::Client(fence.clone()), Trust::Client(Fence { confined: true, ..fence }));
        let at = |name: &str| state.join(name).display().to_string();
        for secret in [
            at("gateway.token"),
            at("state.db"),
            at("state.db-wal"),
            at("verso.json.bak"),
            at("credentials/whatsapp/work/creds.json"),
            at("agents/main/sessions/s.jsonl"),
            at("agents/../gateway.token"),
            format!("file://{}", at("gateway.token")),
            link,
            place("work/folder/gateway.token"),
            "/proc/self/environ".to_owned(),
            "/proc/self/cmdline".to_owned(),
        ] {
            let refused = load(&secret, &admin).err().unwrap_or_else(|| panic!("{secret} was read"));
            assert!(refused.contains("sent to nobody"), "{secret}: {refused}");
            assert!(load(&secret, &writer).is_err(), "{secret}");
        }
        let (note, open) = (at("note.txt"), at("agents/main/workspace/note.txt"));
        assert!(load(&note, &admin).is_ok() && load(&open, &admin).is_ok());
        assert!(load(&open, &writer).is_ok());
        let refused = load(&note, &writer).err().expect("refused");
        assert!(refused.contains("operator.admin"), "{refused}");
    }
}
