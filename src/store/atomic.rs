//! Replaces a file as a whole: readers see the old bytes or the new ones, also after a power cut.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::store::StoreError;

/// Creates a folder and its parents, readable by the owner only; existing folders keep their mode.
///
/// # Errors
/// When the folder cannot be created.
pub fn private_dir(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => StoreError::Unusable(format!(
            "cannot make the folder {}: it is a file, or lies below one; name another folder, or move the file away",
            path.display()
        )),
        _ => StoreError::io("create the folder", path)(e),
    })
}

/// Writes `bytes` to a temporary file beside `path`, syncs it, renames it over `path` and syncs the folder. Mode 0600.
///
/// # Errors
/// When any of these steps fails; `path` is unchanged then.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    private_dir(dir)?;
    let mut temporary = tempfile::Builder::new()
        .prefix(".verso-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(dir)
        .map_err(StoreError::io("write into", dir))?;
    temporary.write_all(bytes).map_err(StoreError::io("write", path))?;
    temporary.as_file().sync_all().map_err(StoreError::io("write", path))?;
    temporary.persist(path).map_err(|e| StoreError::Io {
        what: "replace",
        path: path.to_path_buf(),
        cause: e.error,
    })?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(StoreError::io("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_whole_and_private() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("a/b.json");
        replace(&path, b"one").expect("first write");
        replace(&path, b"two").expect("second write");
        assert_eq!(fs::read(&path).expect("readable"), b"two");
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(dir.path().join("a")).expect("exists").permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(dir.path().join("a")).expect("listable").count(), 1, "no temporary file stays behind");
    }

    #[test]
    fn the_error_names_the_path_and_the_fix() {
        let error = replace(Path::new("/proc/nowhere/x"), b"").expect_err("not writable").to_string();
        assert!(error.contains("/proc/nowhere") && error.contains("check that"), "{error}");
        for no_folder in ["/etc/passwd", "/etc/passwd/x"] {
            let error = private_dir(Path::new(no_folder)).expect_err("no folder").to_string();
            assert!(error.contains("it is a file, or lies below one; name another"), "{error}");
        }
    }
}
