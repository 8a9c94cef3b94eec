//! Own files that must not be started from again keep their bytes under another name.

use std::fs;
use std::io;
use std::path::Path;

/// What SQLite keeps beside a database.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// Renames `<name>` to `<name>.<why>`, with whatever SQLite has beside it. An older one of that name is overwritten.
pub(in crate::whatsapp) fn aside(dir: &Path, names: &[&str], why: &str) -> io::Result<()> {
    for name in names {
        let to = format!("{name}.{why}");
        remove(dir, &to)?;
        rename(dir, name, &to)?;
    }
    Ok(())
}

/// Renames a file with whatever SQLite has beside it; one that is not there is no error.
pub(super) fn rename(dir: &Path, from: &str, to: &str) -> io::Result<()> {
    for end in ["", BESIDE[0], BESIDE[1]] {
        match fs::rename(dir.join(format!("{from}{end}")), dir.join(format!("{to}{end}"))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Deletes a database file that nobody needs.
pub(in crate::whatsapp) fn remove(dir: &Path, name: &str) -> io::Result<()> {
    for end in ["", BESIDE[0], BESIDE[1]] {
        match fs::remove_file(dir.join(format!("{name}{end}"))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}
