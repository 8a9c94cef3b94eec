//! Files on their way in: fetched, decrypted and checked while they stream onto the disk. No file is ever in memory as a whole.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use whatsapp_rust::anyhow;
use whatsapp_rust::download::{DownloadParams, DownloadWriter};
use whatsapp_rust::{Client, ErrorChainExt, MediaRetryResult, MediaReuploadRequest};

use super::media::host_kind;
use super::{Link, LinkError, convert};
use crate::event::{MediaSource, RemoteFile};

/// The largest files over a slow line, with a second attempt.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(5 * 60);
/// How long the sender's phone may take to put a file back that is gone from the host.
const REUPLOAD_LIMIT: Duration = Duration::from_secs(30);

/// Why a file did not come. The text tells nothing about the people who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownloadError {
    /// The message lacks what is needed, or says it in a form that nobody uses.
    #[error("the message does not say how to fetch it")]
    Incomplete,
    /// It is larger than allowed, by its own word or in fact.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// The media host has forgotten it, and nobody put it back.
    #[error("it is gone from the media host: {0}")]
    Gone(String),
    /// What came is not what was sent.
    #[error("what came does not verify: {0}")]
    Corrupt(String),
    /// Disk trouble on this machine.
    #[error("it cannot be written: {0}")]
    Disk(String),
    /// The account or the host could not be reached in time.
    #[error("{0}")]
    Link(LinkError),
}

impl From<LinkError> for DownloadError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl Link {
    /// Fetches a file into `into`, which is empty, and gives its size. `into` holds nothing of use after an error.
    ///
    /// A file that the host has forgotten is asked for again, once.
    ///
    /// # Errors
    /// See [`DownloadError`].
    pub async fn download(&self, source: MediaSource, max_bytes: u64, into: File) -> Result<u64, DownloadError> {
        let file = source.media.file.clone().ok_or(DownloadError::Incomplete)?;
        if source.media.bytes.is_some_and(|declared| declared > max_bytes) {
            return Err(DownloadError::TooLarge(max_bytes));
        }
        let fetched = self.online(DOWNLOAD_LIMIT, |client| async move {
            let first = fetch(&client, &file, &source, max_bytes, &into).await;
            let Err(DownloadError::Gone(_)) = first else { return Ok(first) };
            tracing::debug!(target: "whatsapp/inbound", "media is gone from the host and asked for again");
            let direct_path = match put_back(&client, &file, &source).await {
                Ok(path) => path,
                Err(why) => return Ok(Err(DownloadError::Gone(why))),
            };
            Ok(fetch(&client, &RemoteFile { direct_path, ..file }, &source, max_bytes, &into).await)
        });
        fetched.await?
    }
}

/// One attempt, on all hosts that WhatsApp names.
async fn fetch(
    client: &Client,
    file: &RemoteFile,
    source: &MediaSource,
    max_bytes: u64,
    into: &File,
) -> Result<u64, DownloadError> {
    let bytes = |base64: &str| STANDARD.decode(base64).map_err(|_| DownloadError::Incomplete);
    let sha256 = bytes(&file.sha256)?;
    let params = DownloadParams::encrypted(
        file.direct_path.as_str(),
        &bytes(file.key.reveal())?,
        &sha256,
        &bytes(&file.enc_sha256)?,
        source.media.bytes.unwrap_or_default(),
        host_kind(source.media.kind),
    );
    let into = into.try_clone().map_err(|e| DownloadError::Disk(e.to_string()))?;
    let sink = Sink { file: BufWriter::new(into), sha256: Sha256::new(), bytes: 0, max_bytes, full: false };
    let written =
        client.download_from_params_to_writer(&params, sink).await.map_err(|error| reason(&error, max_bytes))?;
    // The MAC proves that the sender's key made it; this, that it is the file that the message means.
    if written.sha256.finalize().as_slice() != sha256 {
        return Err(DownloadError::Corrupt("its hash is another one".to_owned()));
    }
    Ok(written.bytes)
}

/// Asks the phone to upload a file again; gives its new place, or why there is none.
async fn put_back(client: &Client, file: &RemoteFile, source: &MediaSource) -> Result<String, String> {
    let unusable = || "the message cannot be asked for again".to_owned();
    let id = source.id.as_ref().ok_or_else(unusable)?;
    let chat = convert::library_jid(&source.chat).ok_or_else(unusable)?;
    let key = STANDARD.decode(file.key.reveal()).map_err(|_| unusable())?;
    let author = source.sender.as_ref().filter(|_| source.chat.is_group()).map(|jid| jid.without_device());
    let author = author.as_ref().and_then(convert::library_jid);
    let asked = client.media_reupload();
    let request = MediaReuploadRequest {
        msg_id: id.as_str(),
        chat_jid: &chat,
        media_key: &key,
        is_from_me: source.from_me,
        participant: author.as_ref(),
    };
    let answer = tokio::time::timeout(REUPLOAD_LIMIT, asked.request(&request)).await;
    match answer {
        Ok(Ok(MediaRetryResult::Success { direct_path })) if direct_path.starts_with('/') => Ok(direct_path),
        Ok(Ok(MediaRetryResult::NotFound)) => Err("the phone does not have it any more".to_owned()),
        Ok(Ok(_)) => Err("the phone could not upload it again".to_owned()),
        Ok(Err(error)) => {
            let cause: &(dyn std::error::Error + 'static) = &error;
            Err(if cause.is_transport_unavailable() { "the connection ended" } else { "the phone did not answer" }
                .to_owned())
        }
        Err(_) => Err("the phone did not answer".to_owned()),
    }
}

fn reason(error: &anyhow::Error, max_bytes: u64) -> DownloadError {
    let cause: &(dyn std::error::Error + 'static) = error.as_ref();
    if let Some(status) = cause.http_status() {
        return match status {
            404 | 410 => DownloadError::Gone(format!("HTTP {status}")),
            _ => LinkError::Rejected { code: status, text: "the media host did not give the file".to_owned() }.into(),
        };
    }
    for cause in error.chain() {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            match io.get_ref().and_then(|e| e.downcast_ref::<SinkError>()) {
                Some(SinkError::Full) => return DownloadError::TooLarge(max_bytes),
                Some(SinkError::Disk(e)) => return DownloadError::Disk(e.clone()),
                None => return LinkError::Internal("the line to the media host broke".to_owned()).into(),
            }
        }
        if let Some(http) = cause.downcast_ref::<reqwest::Error>() {
            // The address holds tokens.
            let what = if http.is_timeout() { "did not answer in time" } else { "cannot be reached" };
            return LinkError::Internal(format!("the media host {what}")).into();
        }
    }
    if cause.is_transport_unavailable() || cause.is_timeout() {
        return LinkError::NotConnected.into();
    }
    DownloadError::Corrupt(error.root_cause().to_string())
}

/// What a file may not do while it is written.
#[derive(Debug, thiserror::Error)]
enum SinkError {
    #[error("the file is larger than allowed")]
    Full,
    #[error("{0}")]
    Disk(String),
}

fn disk(error: io::Error) -> io::Error {
    io::Error::other(SinkError::Disk(error.to_string()))
}

/// Takes the clear bytes of one file, counts and hashes them, and stops at the cap.
struct Sink {
    file: BufWriter<File>,
    sha256: Sha256,
    bytes: u64,
    max_bytes: u64,
    full: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A file that is too large on one host is too large on the next one.
        if self.full || self.bytes + bytes.len() as u64 > self.max_bytes {
            self.full = true;
            return Err(io::Error::other(SinkError::Full));
        }
        let n = self.file.write(bytes).map_err(disk)?;
        self.sha256.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(disk)
    }
}

impl Seek for Sink {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to).map_err(disk)
    }
}

impl DownloadWriter for Sink {
    /// Called with 0 before every attempt: what an earlier one wrote does not count.
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        DownloadWriter::truncate(&mut self.file, len).map_err(disk)?;
        self.sha256 = Sha256::new();
        self.bytes = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_stops_at_its_cap_and_stays_stopped_and_starts_anew_otherwise() {
        let file = tempfile::tempfile().expect("temp file");
        let sink = |max_bytes| Sink {
            file: BufWriter::new(file.try_clone().expect("cloned")),
            sha256: Sha256::new(),
            bytes: 0,
            max_bytes,
            full: false,
        };
        let mut small = sink(10);
        small.write_all(b"12345678").expect("fits");
        let refused = small.write_all(b"901").expect_err("too much").into();
        assert_eq!(reason(&refused, 10), DownloadError::TooLarge(10));
        small.truncate(0).expect("emptied");
        assert!(small.write(b"1").is_err(), "the next host gives the same file");
        assert_eq!(file.metadata().expect("readable").len(), 0, "and nothing stays behind");

        let mut retried = sink(10);
        retried.write_all(b"12345678").expect("fits");
        retried.truncate(0).expect("emptied");
        retried.seek(SeekFrom::Start(0)).expect("rewound");
        retried.write_all(b"abcdefghij").expect("fits again");
        assert_eq!((retried.bytes, retried.sha256.finalize()), (10, Sha256::digest(b"abcdefghij")));
    }
}
