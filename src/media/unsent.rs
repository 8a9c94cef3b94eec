//! Prepared files on their way to the outbox.

use std::path::PathBuf;

use crate::outgoing::MediaFile;

/// Files that no outbox knows yet: whoever gives up halfway drops this, and they are deleted. After a crash the sweep at the next
/// start does it.
#[derive(Debug, Default)]
pub struct Unsent(Vec<PathBuf>);

impl Unsent {
    /// Takes a file that was just prepared.
    pub fn add(&mut self, file: &MediaFile) {
        self.0.push(file.path.clone());
    }

    /// The files are handed to the outbox, which owns them from now on.
    pub fn hand_over(mut self) {
        self.0.clear();
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(target: "whatsapp/outbound", %error, "a prepared file was not deleted");
            }
        }
    }
}
