//! The threads of the built-in decoders and encoders: a few at a time, each with a time limit.
//!
//! A thread cannot be ended from outside, so a decoder that loops keeps its thread until the process ends. It keeps nothing else: at the
//! limit its permit goes to the next file, and what it makes after all is deleted. Stuck threads are counted, and beyond
//! [`MOST_STUCK`] of them nothing new is begun, because each may hold a core and a quarter of a gigabyte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::shape::Shaped;
use crate::outgoing::MediaFile;

/// Conversions at a time: each may take a quarter of a gigabyte and a whole core.
const AT_ONCE: usize = 2;
/// Stuck threads up to which conversions go on.
pub(super) const MOST_STUCK: usize = 4;

/// The permits and the count; clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Conversions {
    permits: Arc<Semaphore>,
    stuck: Arc<AtomicUsize>,
}

/// Why nothing was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It was not done within the limit.
    TooSlow,
    /// The decoder panicked.
    Panicked,
    /// Too many threads are stuck (so many), or the system gives none.
    NoThread(usize),
}

/// What a conversion makes; files of it are deleted when nobody waits for them any more.
pub(super) trait Product: Send + 'static {
    /// Deletes what lies on disk.
    fn discard(self);
}

impl Product for MediaFile {
    fn discard(self) {
        // The sweep at the next start finds what is left.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Product for Shaped {
    fn discard(self) {
        // Copies are temporary files and delete themselves.
        if let Self::Ready(file) = self {
            file.discard();
        }
    }
}

impl<T: Product> Product for Result<T, super::MediaError> {
    fn discard(self) {
        if let Ok(product) = self {
            product.discard();
        }
    }
}

impl Conversions {
    pub(super) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)), stuck: Arc::default() }
    }

    /// A permit for work that limits itself, such as a run of ffmpeg.
    pub(super) async fn permit(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Threads that ran into their limit and have not ended since.
    pub(super) fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Permits that nobody holds.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.permits.available_permits()
    }

    /// Runs `work` on a thread of its own and waits for at most `limit`, not counting the wait for a permit. With `most_stuck` stuck
    /// threads nothing is begun.
    ///
    /// # Errors
    /// When it makes nothing; see [`Failed`].
    pub(super) async fn run<T: Product>(
        &self,
        limit: Duration,
        most_stuck: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failed> {
        let permit = self.permit().await;
        let hung = self.stuck();
        if hung >= most_stuck {
            return Err(Failed::NoThread(hung));
        }
        let (done, mut product) = oneshot::channel();
        // Not a thread of the async pool: the end of the process waits for those.
        let thread = std::thread::Builder::new().name("media-conversion".into()).spawn(move || {
            // Nobody listens only when the process ends.
            let _ = done.send(work());
        });
        if let Err(error) = thread {
            tracing::error!(target: "whatsapp/outbound", %error, "no thread for a conversion");
            return Err(Failed::NoThread(hung));
        }
        let (stuck, (told, outcome)) = (Arc::clone(&self.stuck), oneshot::channel());
        // A task of its own: an answer that is aborted meanwhile makes no room for one conversion more.
        tokio::spawn(async move {
            let in_time = tokio::time::timeout(limit, &mut product).await;
            if let Ok(made) = in_time {
                drop(permit);
                if let Err(Ok(unwanted)) = told.send(made.map_err(|_| Failed::Panicked)) {
                    unwanted.discard();
                }
                return;
            }
            let now = stuck.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::error!(
                target: "whatsapp/outbound", stuck = now, most = MOST_STUCK,
                "a conversion takes longer than {} s and keeps its thread; at {MOST_STUCK} of them files are not converted any more \
                 until Verso is restarted", limit.as_secs_f32()
            );
            drop(permit);
            // Whoever asked may be gone.
            let _ = told.send(Err(Failed::TooSlow));
            if let Ok(late) = product.await {
                late.discard();
            }
            stuck.fetch_sub(1, Ordering::Relaxed);
        });
        outcome.await.unwrap_or(Err(Failed::Panicked))
    }
}
