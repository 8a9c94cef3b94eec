//! Reads an archive from beginning to end, checks all of it, and unpacks what is wanted into a fresh folder.
//!
//! The archive may be anybody's: only files are unpacked, under paths that stay below the folder, up to the size that the manifest names.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};

use super::BackupError;
use super::manifest::{
    COUNT_LIMIT, MANIFEST, MANIFEST_LIMIT, MEMBERS, MEMBERS_LIMIT, Manifest, Member, Members, PATH_LIMIT, check_path,
    hex,
};
use super::seal::{Key, Lock, open};
use super::write::GZIP_HEAD;
use crate::store::StoreError;

/// Zeros that may follow the last member.
const PADDING: u64 = 1 << 20;

/// An archive that was read to its end and found whole.
#[derive(Debug)]
pub struct Contents {
    /// Its first member.
    pub manifest: Manifest,
    /// All members but the list of them.
    pub members: Vec<Member>,
    /// How it was closed.
    pub lock: Lock,
}

/// What to do with what is read.
pub struct Unpack<'a> {
    /// A fresh folder of ours.
    pub into: &'a Path,
    /// Sees the manifest before anything is unpacked.
    pub judge: &'a mut dyn FnMut(&Manifest) -> Result<(), BackupError>,
    /// Which members are unpacked; the others are only checked.
    pub wants: &'a dyn Fn(&str) -> bool,
}

/// Reads `input`; `key` is asked when the archive is encrypted.
///
/// # Errors
/// When it is no backup, is damaged (the member is named), holds what no backup holds, or cannot be unpacked.
pub fn unpack(
    input: impl Read,
    key: &mut dyn FnMut(Lock) -> Result<Key, BackupError>,
    to: Unpack<'_>,
) -> Result<Contents, BackupError> {
    let (mut stream, lock) = open(input, key)?;
    let damaged = |member: &str| {
        let member = member.to_owned();
        move |cause: io::Error| BackupError::Damaged { member, cause: in_words(&cause) }
    };
    // What gzip does not check of itself.
    if !stream.fill_buf().map_err(damaged("its beginning"))?.starts_with(&GZIP_HEAD) {
        return Err(BackupError::Foreign(
            "its first bytes are not those that Verso writes, or they are damaged".to_owned(),
        ));
    }
    let mut archive = tar::Archive::new(GzDecoder::new(stream));
    let mut manifest: Option<Manifest> = None;
    let mut listed: Option<Vec<Member>> = None;
    let mut found: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut total = 0_u64;
    let mut long_name: Option<String> = None;
    let mut last = "its beginning".to_owned();
    for entry in archive.entries().map_err(damaged(&last))?.raw(true) {
        let mut entry = entry.map_err(damaged(&format!("what follows {last}")))?;
        let size = entry.size();
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() && long_name.is_none() {
            if size > PATH_LIMIT as u64 + 1 {
                return Err(BackupError::Refused { member: last, reason: "a path after it is too long".to_owned() });
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(damaged(&format!("what follows {last}")))?;
            bytes.pop_if(|b| *b == 0);
            long_name = Some(name(bytes)?);
            continue;
        }
        let path = match long_name.take() {
            Some(path) => path,
            None => name(entry.path_bytes().into_owned())?,
        };
        check_path(&path)?;
        let refused = |reason: &str| BackupError::Refused { member: path.clone(), reason: reason.to_owned() };
        if !matches!(kind, tar::EntryType::Regular) {
            return Err(refused("it is no file, and a backup holds files only"));
        }
        if listed.is_some() {
            return Err(refused("it stands behind the list of members"));
        }
        if found.contains_key(&path) {
            return Err(refused("it is there twice"));
        }
        if found.len() >= COUNT_LIMIT {
            return Err(refused("there are too many members"));
        }
        match (&manifest, path.as_str()) {
            (None, MANIFEST) => {
                let bytes = small(&mut entry, MANIFEST_LIMIT, &path)?;
                let read = Manifest::parse(&bytes)?;
                (to.judge)(&read)?;
                manifest = Some(read);
                found.insert(path.clone(), (size, hex(Sha256::new_with_prefix(&bytes))));
                total += size;
            }
            (None, _) => return Err(BackupError::Foreign(format!("it does not begin with {MANIFEST}"))),
            (Some(_), MEMBERS) => {
                let bytes = small(&mut entry, MEMBERS_LIMIT, &path)?;
                let members: Members = serde_json::from_slice(&bytes)
                    .map_err(|e| BackupError::Damaged { member: MEMBERS.to_owned(), cause: e.to_string() })?;
                listed = Some(members.members);
            }
            (Some(manifest), _) => {
                total = total.saturating_add(size);
                if total > manifest.max_bytes {
                    return Err(refused("the archive holds more than its manifest says"));
                }
                let place = (to.wants)(&path).then(|| to.into.join(&path));
                let sha256 = copy(&mut entry, size, &path, place.as_deref())?;
                found.insert(path.clone(), (size, sha256));
            }
        }
        last = path;
    }
    let end = || damaged(&format!("its end, after {last}"));
    drain(&mut archive.into_inner(), &last).map_err(end())?;
    let (Some(manifest), Some(listed)) = (manifest, listed) else {
        let cause = format!("it ends after {last}, before the list of its members: the rest is missing");
        return Err(BackupError::Damaged { member: "its end".to_owned(), cause });
    };
    compare(&listed, &found)?;
    Ok(Contents { manifest, members: listed, lock })
}

fn name(bytes: Vec<u8>) -> Result<String, BackupError> {
    String::from_utf8(bytes).map_err(|e| BackupError::Refused {
        member: String::from_utf8_lossy(e.as_bytes()).into_owned(),
        reason: "its path is no text".to_owned(),
    })
}

fn small(entry: &mut impl Read, limit: u64, path: &str) -> Result<Vec<u8>, BackupError> {
    let mut bytes = Vec::new();
    let read = entry.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|cause| BackupError::Damaged { member: path.to_owned(), cause: in_words(&cause) })?;
    if bytes.len() as u64 > limit {
        return Err(BackupError::Refused { member: path.to_owned(), reason: "it is too large".to_owned() });
    }
    Ok(bytes)
}

/// Copies a member to its place, if it has one; answers its SHA-256.
fn copy(entry: &mut impl Read, size: u64, path: &str, place: Option<&Path>) -> Result<String, BackupError> {
    let mut out = place.map(create).transpose()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut read = 0;
    loop {
        let n = match entry.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(BackupError::Damaged { member: path.to_owned(), cause: in_words(&cause) }),
        };
        read += n as u64;
        hash.update(&buffer[..n]);
        if let (Some(out), Some(place)) = (&mut out, place) {
            out.write_all(&buffer[..n]).map_err(StoreError::io("write", place))?;
        }
    }
    if read != size {
        return Err(BackupError::Damaged { member: path.to_owned(), cause: "it is cut off".to_owned() });
    }
    Ok(hex(hash))
}

fn create(place: &Path) -> Result<File, BackupError> {
    if let Some(dir) = place.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(StoreError::io("create the folder", dir))?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place);
    Ok(file.map_err(StoreError::io("create", place))?)
}

/// Reads to the end of the stream, so that its checksums are looked at; nothing but padding may be there.
fn drain(stream: &mut GzDecoder<Box<dyn BufRead + '_>>, last: &str) -> io::Result<()> {
    let mut rest = Vec::new();
    stream.take(PADDING + 1).read_to_end(&mut rest)?;
    let more = !stream.get_mut().fill_buf()?.is_empty();
    if more || rest.len() as u64 > PADDING || rest.iter().any(|b| *b != 0) {
        return Err(io::Error::other(format!("something follows {last}")));
    }
    Ok(())
}

fn compare(listed: &[Member], found: &BTreeMap<String, (u64, String)>) -> Result<(), BackupError> {
    let damaged =
        |member: &str, cause: &str| BackupError::Damaged { member: member.to_owned(), cause: cause.to_owned() };
    let mut names = std::collections::BTreeSet::new();
    for member in listed {
        names.insert(member.path.as_str());
        match found.get(&member.path) {
            None => return Err(damaged(&member.path, "it is missing")),
            Some((size, sha256)) if *size != member.size || *sha256 != member.sha256 => {
                return Err(damaged(&member.path, "its content is not what was backed up (SHA-256)"));
            }
            Some(_) => {}
        }
    }
    match found.keys().find(|path| !names.contains(path.as_str())) {
        Some(path) => Err(BackupError::Refused {
            member: path.clone(),
            reason: "the list of members does not have it".to_owned(),
        }),
        None => Ok(()),
    }
}

/// What a broken stream is for people.
fn in_words(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::UnexpectedEof => "the archive ends too early".to_owned(),
        _ => cause.to_string(),
    }
}
