//! Replacing files so that a reader, or a crash, meets the old content or the new, never a piece.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Replaces a file: temporary file beside it, fsync, rename, fsync of the folder. The file keeps its mode; a new one is
/// for this user only. A symbolic link is followed, so that the link stays.
///
/// # Errors
/// When the folder cannot be written or the disk is full; the old file is then untouched.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let dir = target.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut fresh = tempfile::NamedTempFile::new_in(dir)?;
    fresh.write_all(bytes)?;
    if let Ok(old) = fs::metadata(&target) {
        fresh.as_file().set_permissions(fs::Permissions::from_mode(old.permissions().mode()))?;
    }
    fresh.as_file().sync_all()?;
    fresh.persist(&target).map_err(|e| e.error)?;
    sync_dir(dir)
}

/// Makes a rename or removal inside a folder last.
///
/// # Errors
/// When the folder cannot be opened.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_and_link_are_kept() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let real = dir.path().join("real.json");
        let link = dir.path().join("link.json");
        replace(&real, b"1")?;
        assert_eq!(fs::metadata(&real)?.permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640))?;
        std::os::unix::fs::symlink(&real, &link)?;
        replace(&link, b"22")?;
        assert_eq!(fs::read(&real)?, b"22");
        assert!(fs::symlink_metadata(&link)?.is_symlink());
        assert_eq!(fs::metadata(&real)?.permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path())?.count(), 2, "no temporary file is left");
        Ok(())
    }
}
