//! Files on their way to WhatsApp's media host: encrypted onto the disk, uploaded from there. No file is ever in memory as a whole.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use tempfile::NamedTempFile;
use whatsapp_rust::ErrorChainExt;
use whatsapp_rust::anyhow;
use whatsapp_rust::upload::UploadResponse;
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::wacore::upload::{EncryptedMediaInfo, UploadSource, encrypt_media_streaming};

use super::ops::failed_any;
use super::{Link, LinkError};
use crate::event::MediaKind;
use crate::ids::MessageId;
use crate::outgoing::MediaFile;

/// The largest files over a slow line.
const UPLOAD_LIMIT: Duration = Duration::from_secs(15 * 60);

/// An encrypted file; deleted when the upload is over.
struct Encrypted {
    file: NamedTempFile,
    bytes: u64,
}

impl UploadSource for Encrypted {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn reader_from(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = self.file.reopen()?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

impl Link {
    /// Uploads the file of a message, once per link: a retry of the message finds it.
    pub(super) async fn upload(&self, id: &MessageId, media: &MediaFile) -> Result<UploadResponse, LinkError> {
        let known = self.inner.uploads.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if let Some(stored) = known {
            return Ok(stored);
        }
        let kind = host_kind(media.kind);
        let path = media.path.clone();
        let stored = self
            .online(UPLOAD_LIMIT, |client| async move {
                let (file, info) = tokio::task::spawn_blocking(move || encrypt(&path, kind))
                    .await
                    .map_err(|e| LinkError::Internal(e.to_string()))??;
                client.upload_stream(file, info, kind).await.map_err(|error| refused(&error))
            })
            .await?;
        self.inner.uploads.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), stored.clone());
        Ok(stored)
    }
}

/// Which keys WhatsApp derives for a file, on its way out and in.
pub(super) fn host_kind(kind: MediaKind) -> MediaType {
    match kind {
        MediaKind::Image => MediaType::Image,
        MediaKind::Video => MediaType::Video,
        MediaKind::Audio => MediaType::Audio,
        MediaKind::Document => MediaType::Document,
        MediaKind::Sticker => MediaType::Sticker,
    }
}

fn encrypt(path: &Path, kind: MediaType) -> Result<(Encrypted, EncryptedMediaInfo), LinkError> {
    // A file that is gone or unreadable does not come back by waiting.
    let clear = File::open(path)
        .map_err(|e| LinkError::Invalid(format!("the prepared file cannot be read ({e}); send it again")))?;
    let local = |e: &dyn std::fmt::Display| LinkError::Internal(format!("the file cannot be encrypted: {e}"));
    let file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new("."))).map_err(|e| local(&e))?;
    let info =
        encrypt_media_streaming(BufReader::new(clear), BufWriter::new(file.as_file()), kind).map_err(|e| local(&e))?;
    let bytes = file.as_file().metadata().map_err(|e| local(&e))?.len();
    Ok((Encrypted { file, bytes }, info))
}

/// What the media host answered; one that refuses a file refuses it again.
fn refused(error: &anyhow::Error) -> LinkError {
    let cause: &(dyn std::error::Error + 'static) = error.as_ref();
    match cause.http_status() {
        Some(code) => LinkError::Rejected { code, text: "the media host did not take the file".to_owned() },
        None => failed_any(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_encrypted_beside_itself_and_read_from_any_offset() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("a.bin");
        std::fs::write(&path, vec![7_u8; 100_000]).expect("written");
        let (file, info) = encrypt(&path, MediaType::Document).expect("encrypted");
        assert_eq!(info.file_length, 100_000);
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 2);
        let mut tail = Vec::new();
        file.reader_from(file.len() - 5).expect("opens").read_to_end(&mut tail).expect("read");
        assert_eq!(tail.len(), 5);
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing encrypted stays behind");
        let gone = encrypt(&dir.path().join("gone"), MediaType::Document).err().expect("refused");
        assert!(!gone.is_retryable(), "{gone}");
    }
}
