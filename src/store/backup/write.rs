//! Writes an archive, member by member, without holding more than one small file in memory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

use super::BackupError;
use super::manifest::{MANIFEST, MEMBERS, Manifest, Member, Members, check_path, hex};
use super::seal::{Seal, Sealed};
use crate::store::StoreError;

/// Files up to this size are read at once: they may change while they are read.
const SMALL: u64 = 1 << 20;
/// The first ten bytes of the stream: no time, no name, no system.
pub(super) const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// An archive that is being written.
pub struct ArchiveWriter<W: Write> {
    tar: tar::Builder<GzEncoder<Sealed<W>>>,
    members: Vec<Member>,
    bytes: u64,
    limit: u64,
    /// In seconds.
    at: u64,
}

/// A failed write to the archive. The caller knows its name.
fn cannot_write(cause: io::Error) -> BackupError {
    StoreError::Io { what: "write", path: "the backup".into(), cause }.into()
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive with its manifest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(out: W, seal: &Seal, manifest: &Manifest) -> Result<Self, BackupError> {
        let sealed = Sealed::new(out, seal).map_err(cannot_write)?;
        let gzip = GzBuilder::new().operating_system(255).write(sealed, Compression::default());
        let at = u64::try_from(manifest.created_at / 1000).unwrap_or(0);
        let mut writer =
            Self { tar: tar::Builder::new(gzip), members: Vec::new(), bytes: 0, limit: manifest.max_bytes, at };
        writer.bytes(MANIFEST, &serde_json::to_vec_pretty(manifest).expect("plain data"))?;
        Ok(writer)
    }

    /// Adds a member that is in memory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<(), BackupError> {
        self.add(path, bytes.len() as u64, bytes).map(|_| ())
    }

    /// Adds a file as it is now; what is appended while it is read is left out.
    ///
    /// # Errors
    /// When it cannot be read or written, or becomes shorter meanwhile.
    pub fn file(&mut self, path: &str, file: &Path) -> Result<(), BackupError> {
        let mut open = File::open(file).map_err(StoreError::io("read", file))?;
        let size = open.metadata().map_err(StoreError::io("read", file))?.len();
        if size <= SMALL {
            let mut bytes = Vec::new();
            open.take(2 * SMALL).read_to_end(&mut bytes).map_err(StoreError::io("read", file))?;
            return self.bytes(path, &bytes);
        }
        if self.add(path, size, &mut open)? { Ok(()) } else { Err(BackupError::Changed(file.to_path_buf())) }
    }

    /// False when `data` ended too early; the archive is worth nothing then.
    fn add(&mut self, path: &str, size: u64, data: impl Read) -> Result<bool, BackupError> {
        check_path(path)?;
        self.bytes += size;
        if self.bytes > self.limit && path != MEMBERS {
            return Err(BackupError::Space(
                "the state grew by a quarter while the backup was made; try again".to_owned(),
            ));
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime(self.at);
        header.set_entry_type(tar::EntryType::Regular);
        let mut data = Hashing { inner: data.take(size), hash: Sha256::new(), read: 0 };
        self.tar.append_data(&mut header, path, &mut data).map_err(cannot_write)?;
        let whole = data.read == size;
        self.members.push(Member { path: path.to_owned(), size, sha256: hex(data.hash) });
        Ok(whole)
    }

    /// Ends the archive with the list of its members, and gives the list and the stream back.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<(Vec<Member>, W), BackupError> {
        let members = Members { members: std::mem::take(&mut self.members) };
        self.bytes(MEMBERS, &serde_json::to_vec(&members).expect("plain data"))?;
        let gzip = self.tar.into_inner().map_err(cannot_write)?;
        let mut out = gzip.finish().and_then(Sealed::finish).map_err(cannot_write)?;
        out.flush().map_err(cannot_write)?;
        Ok((members.members, out))
    }
}

struct Hashing<R> {
    inner: R,
    hash: Sha256,
    read: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.hash.update(&into[..n]);
        self.read += n as u64;
        Ok(n)
    }
}
