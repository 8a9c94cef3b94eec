//! The media of a run: fetched after the verdict and before the agent is asked, each file once, a few at a time.
//!
//! Nobody else waits for it: it goes on in the run of its session, and the files come over the client runtime. What cannot be had
//! leaves a line for the model in its place, and its cause for `verso why` beside the message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use actix::Addr;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::RunAgents;
use crate::actors::socket::FetchMedia;
use crate::actors::supervisor::SupervisorActor;
use crate::event::{MediaSource, SavedMedia};
use crate::ids::AccountId;
use crate::media::kind;
use crate::session::pending::PendingMessage;
use crate::store::StoreError;
use crate::store::inbox::{self, Inbox};
use crate::store::journal::Journal;
use crate::text::attached;
use crate::whatsapp::{DownloadError, LinkError};

/// The type of what nobody knows.
const UNKNOWN: &str = "application/octet-stream";
/// Downloads of the whole process at a time.
const AT_ONCE: usize = 4;
/// How long a run waits for the account's connection, which its answer needs as well.
const PATIENCE: Duration = Duration::from_secs(60);
/// A download that takes longer than this no longer counts among those [`AT_ONCE`]: it would hold up everybody else's.
const SLOW: Duration = Duration::from_secs(5);
/// Pause before a file that did not come is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// Attempts for a file when the line breaks.
const ATTEMPTS: u32 = 3;
/// Of the group messages that come along, so many are fetched with their media, the newest.
const FROM_HISTORY: usize = 10;

/// Fetches media for all runs; clones are the same.
#[derive(Clone)]
pub(super) struct Fetcher {
    inbox: Inbox,
    journal: Journal,
    /// One at a time looks for files that can go.
    sweep: Arc<tokio::sync::Mutex<()>>,
    slots: Arc<Semaphore>,
    /// By file: who fetches it, so that two runs do not fetch it twice.
    busy: Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>,
}

/// What became of the media of one message.
#[derive(Default)]
pub(super) struct Brought {
    /// The line about the message's own media.
    pub own: Option<String>,
    /// The line about the quoted message's media.
    pub quoted: Option<String>,
    /// What was said before, with lines about its media.
    pub history: Vec<PendingMessage>,
    /// Every file: the history's, the quote's, the message's own.
    pub files: Vec<SavedMedia>,
}

/// Why a file is not there, in words for the model.
struct NotSaved(String);

/// The reason for which a file is not there.
#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error("{0}")]
    Download(#[from] DownloadError),
    /// The folder is full of what is still needed.
    #[error(
        "received files may take {} MB (retention.mediaMaxMb); what lies there is still needed, and beside it this one of up to {} MB does not fit",
        quota >> 20, bytes.div_ceil(1 << 20)
    )]
    NoRoom { bytes: u64, quota: u64 },
}

impl From<LinkError> for Missing {
    fn from(error: LinkError) -> Self {
        Self::Download(error.into())
    }
}

impl Fetcher {
    pub fn new(inbox: Inbox, journal: Journal) -> Self {
        Self { inbox, journal, sweep: Arc::default(), slots: Arc::new(Semaphore::new(AT_ONCE)), busy: Arc::default() }
    }

    /// Fetches everything that one order brings along, for the session with this tag. All received files together take at most `quota`
    /// bytes.
    pub async fn bring(&self, order: &RunAgents, quota: u64, tag: &str) -> Brought {
        let (own, quoted) = order.message.media();
        let mut history = order.history.clone();
        let newest = history.iter_mut().rev().filter(|kept| kept.media.is_some()).take(FROM_HISTORY);
        let fetched = futures::future::join_all(newest.map(|kept| async {
            let source = kept.media.clone()?;
            let (line, file) = told(self.get(order, source, quota, tag).await);
            kept.attached = Some(line);
            file
        }));
        let one = |source: Option<MediaSource>| async { Some(self.get(order, source?, quota, tag).await) };
        // A quote that does not say where its media lies is no loss: its placeholder stands there.
        let quoted = quoted.filter(|source| source.media.file.is_some());
        let (fetched, quoted, own) = tokio::join!(fetched, one(quoted), one(own));
        let mut files: Vec<SavedMedia> = fetched.into_iter().rev().flatten().collect();
        let quoted = quoted.map(|result| match result {
            Ok(file) => told_of(file, &mut files),
            Err(_) => attached::QUOTE_LOST.to_owned(),
        });
        let own = own.map(|result| match result {
            Ok(file) => told_of(file, &mut files),
            Err(NotSaved(why)) => attached::not_saved(&why),
        });
        Brought { own, quoted, history, files }
    }

    async fn get(&self, order: &RunAgents, source: MediaSource, quota: u64, tag: &str) -> Result<SavedMedia, NotSaved> {
        let account = &order.message.account;
        let max_bytes = order.account.rules.media_max_bytes;
        let id = source.id.clone();
        self.fetch(account, source, (max_bytes, quota), &order.supervisor, tag).await.map_err(|error| {
            let id = id.as_ref().map(ToString::to_string);
            tracing::warn!(target: "whatsapp/inbound", %account, id, %error, "media was not saved");
            self.journal.note_missing_media(&order.message.key(), &error.to_string());
            NotSaved(words(&error, max_bytes))
        })
    }

    async fn fetch(
        &self,
        account: &AccountId,
        source: MediaSource,
        (max_bytes, quota): (u64, u64),
        supervisor: &Addr<SupervisorActor>,
        tag: &str,
    ) -> Result<SavedMedia, Missing> {
        let name = inbox::name(account, &source).ok_or(DownloadError::Incomplete)?;
        // By session: one of them must not wait for what another one fetches.
        let alone = self.alone(&format!("{name}.{tag}"));
        let _alone = alone.lock().await;
        let declared = source.media.mime.as_deref().and_then(kind::bare);
        let mut media = source.media.clone();
        media.file = None;
        let saved = |(path, bytes, sniffed): (_, _, Option<&str>)| {
            let mime = declared.clone().or_else(|| sniffed.map(str::to_owned));
            SavedMedia { path, bytes, mime: mime.unwrap_or_else(|| UNKNOWN.to_owned()), media }
        };
        let found = {
            let (inbox, name, tag) = (self.inbox.clone(), name.clone(), tag.to_owned());
            on_disk(move || Ok(inbox.find(&name, &tag))).await?
        };
        if let Some((path, bytes)) = found {
            return Ok(saved((path, bytes, None)));
        }
        let (partial, bytes) = self.download(&source, max_bytes, quota, supervisor).await?;
        let (declared, tag) = (declared.clone(), tag.to_owned());
        let (path, sniffed) = on_disk(move || {
            let sniffed = kind::sniff(&partial.head()?);
            let extension = declared.as_deref().and_then(kind::extension_of);
            let extension = extension.or_else(|| sniffed.and_then(kind::extension_of)).unwrap_or_default();
            Ok((partial.keep(&name, &tag, extension)?, sniffed))
        })
        .await?;
        tracing::debug!(target: "whatsapp/inbound", %account, bytes, "media saved");
        Ok(saved((path, bytes, sniffed)))
    }

    /// Tries until the file is there, or a reason that waiting does not cure.
    async fn download(
        &self,
        source: &MediaSource,
        max_bytes: u64,
        quota: u64,
        supervisor: &Addr<SupervisorActor>,
    ) -> Result<(inbox::Partial, u64), Missing> {
        let until = Instant::now() + PATIENCE;
        let declared = source.media.bytes.unwrap_or(max_bytes);
        if declared > max_bytes {
            return Err(DownloadError::TooLarge(max_bytes).into());
        }
        // No more is set aside than the message says, and no more is taken.
        let (mut most, mut broken) = (declared, 0);
        loop {
            let (partial, answer) = {
                let mut slot = Some(self.slots.acquire().await);
                let partial = self.begin(most, quota).await?;
                let into = partial.writer().map_err(|e| DownloadError::Disk(e.to_string()))?;
                let fetched = supervisor.send(FetchMedia { source: source.clone(), max_bytes: most, into });
                let (mut fetched, slow) = (std::pin::pin!(fetched), std::pin::pin!(tokio::time::sleep(SLOW)));
                let ended = tokio::select! {
                    answer = &mut fetched => Some(answer),
                    () = slow => None,
                };
                let answer = match ended {
                    Some(answer) => answer,
                    None => {
                        drop(slot.take());
                        fetched.await
                    }
                };
                (partial, answer)
            };
            match answer.unwrap_or(Err(DownloadError::Link(LinkError::NotConnected))) {
                Ok(bytes) => return Ok((partial, bytes)),
                // The message understates it, but it may be within the limit.
                Err(DownloadError::TooLarge(_)) if most < max_bytes => {
                    most = max_bytes;
                    continue;
                }
                Err(DownloadError::Link(LinkError::NotConnected)) if Instant::now() < until => {}
                Err(DownloadError::Link(LinkError::Internal(_))) if broken + 1 < ATTEMPTS => broken += 1,
                Err(error) => return Err(error.into()),
            }
            drop(partial);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Begins a file of at most `bytes`. What no message needs any more makes room for it.
    async fn begin(&self, bytes: u64, quota: u64) -> Result<inbox::Partial, Missing> {
        if let Some(partial) = self.try_begin(bytes, quota).await? {
            return Ok(partial);
        }
        let no_room = Missing::NoRoom { bytes, quota };
        if bytes > quota {
            return Err(no_room);
        }
        let _alone = self.sweep.lock().await;
        if let Some(partial) = self.try_begin(bytes, quota).await? {
            return Ok(partial);
        }
        let asked = SystemTime::now();
        let needed = self.journal.in_need_of_media().await.map_err(|e| DownloadError::Disk(e.to_string()))?;
        let inbox = self.inbox.clone();
        let gone = on_disk(move || inbox.make_room(bytes, quota, &inbox::names(&needed), asked)).await?;
        if gone > 0 {
            tracing::info!(
                target: "whatsapp/inbound", files = gone,
                "received files reached retention.mediaMaxMb; those unused for the longest time were deleted"
            );
        }
        self.try_begin(bytes, quota).await?.ok_or(no_room)
    }

    async fn try_begin(&self, bytes: u64, quota: u64) -> Result<Option<inbox::Partial>, DownloadError> {
        let inbox = self.inbox.clone();
        on_disk(move || inbox.begin(bytes, quota)).await
    }

    fn alone(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = busy.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        busy.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

fn told(result: Result<SavedMedia, NotSaved>) -> (String, Option<SavedMedia>) {
    match result {
        Ok(file) => (attached::saved(&file), Some(file)),
        Err(NotSaved(why)) => (attached::not_saved(&why), None),
    }
}

fn told_of(file: SavedMedia, files: &mut Vec<SavedMedia>) -> String {
    let line = attached::saved(&file);
    files.push(file);
    line
}

/// Files are touched off the async threads.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, DownloadError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| DownloadError::Disk(e.to_string()))?.map_err(|e| DownloadError::Disk(e.to_string()))
}

/// The reason in words for the model.
fn words(missing: &Missing, max_bytes: u64) -> String {
    let error = match missing {
        Missing::NoRoom { .. } => return "the gateway has no room for more files".to_owned(),
        Missing::Download(error) => error,
    };
    match error {
        DownloadError::TooLarge(_) => format!("exceeds {} MB", max_bytes >> 20),
        DownloadError::Gone(_) => "no longer available".to_owned(),
        DownloadError::Corrupt(_) => "damaged".to_owned(),
        DownloadError::Disk(_) => "the gateway could not write it".to_owned(),
        DownloadError::Incomplete | DownloadError::Link(_) => "could not be fetched".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_in_few_words() {
        let check = |missing: Missing, told: &str| assert_eq!(words(&missing, 50 << 20), told);
        check(DownloadError::TooLarge(50 << 20).into(), "exceeds 50 MB");
        check(DownloadError::Gone("HTTP 404".into()).into(), "no longer available");
        check(LinkError::NotConnected.into(), "could not be fetched");
        let full = Missing::NoRoom { bytes: 3 << 19, quota: 10 << 20 };
        assert!(full.to_string().starts_with("received files may take 10 MB (retention.mediaMaxMb)"), "{full}");
        assert!(full.to_string().ends_with("this one of up to 2 MB does not fit"), "{full}");
        check(full, "the gateway has no room for more files");
    }

    #[tokio::test]
    async fn two_runs_do_not_fetch_one_file_at_the_same_time() {
        let dir = tempfile::tempdir().expect("temp dir");
        let journal = Journal::open(&dir.path().join("state.db"), crate::clock::Clock::System).expect("opens");
        let fetcher = Fetcher::new(Inbox::new("/nowhere"), journal);
        let first = fetcher.alone("a");
        let _held = first.lock().await;
        assert!(fetcher.alone("a").try_lock().is_err());
        assert!(fetcher.alone("b").try_lock().is_ok());
    }
}
