//! What is sent besides text: from a source (URL, path, data) to a file that is ready to upload.
//!
//! ```text
//! source -> fetch (http) | local (paths, data:) -> a private copy, capped -> kind (what is it?)
//!        -> picture | audio | video (facts, conversion, preview) -> outgoing::MediaFile in state/media/outbound
//! ```
//! The outbox owns the files from then on: it deletes one when its part is done, and calls [`Loader::sweep`] at the start.

mod conversions;
mod error;
mod fence;
mod fetch;
mod ffmpeg;
mod intake;
pub mod kind;
mod local;
mod mp4;
mod name;
mod net;
mod opus;
pub mod picture;
mod shape;
mod sticker;
#[cfg(test)]
mod tests;
mod unsent;
mod voice;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use error::MediaError;
pub use fence::Fence;
pub use fetch::Patience;
pub use unsent::Unsent;

use crate::outgoing::MediaFile;
use conversions::{Conversions, Failed, MOST_STUCK, Product};
use fetch::Fetcher;
use ffmpeg::Ffmpeg;
use intake::{Cap, Copy};
use shape::Shaped;

/// Pictures and sounds that can be made smaller may have this size at first.
const LARGEST_SOURCE: u64 = 100 * 1024 * 1024;

/// Makes files ready to send. Cheap to clone; all clones share connections and limits.
#[derive(Clone, Debug)]
pub struct Loader {
    folder: Arc<Path>,
    fetcher: Fetcher,
    ffmpeg: Option<Ffmpeg>,
    conversions: Conversions,
    /// For one conversion by what is built in.
    limit: Duration,
}

/// What a loader may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The internet; private networks only for the owner. A `demo` build still dials this machine only.
    Internet,
    /// This machine and nothing else, also for models: demo and tests.
    Loopback,
}

/// Who names the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The owner, by command line or API: any path this process can read, any address he can reach. Relative paths start
    /// in the working directory of the gateway, so the command line makes them absolute first.
    Owner,
    /// A client of the API: what the owner may, without what nobody is sent.
    Client(Fence),
    /// A model: public http(s) addresses, and the files that are open to its run.
    Model(OpenFiles),
}

/// The files that a model's run may send: its agent's workspace, and what its own session received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenFiles {
    /// Folders that are open with all that is below them. Relative paths start in the first one.
    pub roots: Vec<PathBuf>,
    /// Folders that stay closed although a root holds them; a root inside them is open.
    pub closed: Vec<PathBuf>,
    /// The folder of received files, and the tag of the session whose files there are open ([`crate::session::files`]).
    pub received: Option<(PathBuf, String)>,
}

/// What shall be sent, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// `http(s)://`, `file://`, an absolute, relative or `~` path, or `data:<mime>;base64,...`.
    pub source: String,
    /// A video is played silently and repeated.
    pub gif_playback: bool,
    /// Whatever it is, it is sent untouched as a document.
    pub as_document: bool,
    /// A picture becomes a sticker.
    pub as_sticker: bool,
    /// The name that a document shows, instead of its own.
    pub file_name: Option<String>,
    /// The largest file that is sent; pictures and audio are reduced to it.
    pub max_bytes: u64,
}

impl Wish {
    /// Sends `source` as what it is.
    pub fn new(source: impl Into<String>, max_bytes: u64) -> Self {
        Self {
            source: source.into(),
            gif_playback: false,
            as_document: false,
            as_sticker: false,
            file_name: None,
            max_bytes,
        }
    }

    /// The source as it may be shown.
    fn shown(&self) -> String {
        name::source(&self.source)
    }
}

impl Loader {
    /// Prepared files lie in `folder` (`state/media/outbound`), which is made when it is missing.
    ///
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub fn new(folder: impl Into<PathBuf>, reach: Reach) -> Result<Self, MediaError> {
        Self::with(folder.into(), reach, Patience::default(), ffmpeg::find())
    }

    /// The same with other time limits and another `ffmpeg` than the one on the search path, or none.
    ///
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub fn with(
        folder: PathBuf,
        reach: Reach,
        patience: Patience,
        ffmpeg: Option<PathBuf>,
    ) -> Result<Self, MediaError> {
        Ok(Self {
            folder: folder.into(),
            fetcher: Fetcher::new(reach, patience)?,
            ffmpeg: ffmpeg.map(|program| Ffmpeg::new(program, patience.tool)),
            conversions: Conversions::new(),
            limit: patience.conversion,
        })
    }

    /// Loads, checks and converts one source. The caller owns the file from then on.
    ///
    /// # Errors
    /// When it cannot be loaded, is not allowed, or cannot be made to fit. Nothing stays on disk then.
    pub async fn prepare(&self, wish: &Wish, trust: &Trust) -> Result<MediaFile, MediaError> {
        let copy = self.load(wish, trust).await?;
        let shaped = self.convert(wish, move |wish, folder| shape::shape(copy, wish, folder)).await?;
        match shaped {
            Shaped::Ready(media) => Ok(media),
            Shaped::Foreign(copy, mime) => self.foreign(wish, copy, mime).await,
            Shaped::Film(copy, mime, facts) => self.film(wish, copy, mime, facts).await,
        }
    }

    async fn load(&self, wish: &Wish, trust: &Trust) -> Result<Copy, MediaError> {
        let source = wish.source.trim();
        let limit = if wish.as_document { wish.max_bytes } else { wish.max_bytes.max(LARGEST_SOURCE) };
        let cap = |declared: Option<&str>, name: Option<&str>| -> Cap {
            let (declared, name, wish) = (declared.map(str::to_owned), name.map(str::to_owned), wish.clone());
            Box::new(move |head| {
                let mime = kind::decide(head, declared.as_deref(), name.as_deref());
                if shape::shrinks(&wish, head, &mime) { limit } else { wish.max_bytes }
            })
        };
        let begins = |scheme: &str| source.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
        if begins("http://") || begins("https://") {
            return self.fetcher.fetch(source, trust, &self.folder, limit, cap).await;
        }
        if source.contains("://") && !begins("file://") && !begins("data:") {
            let why = "only http, https, file and data URLs and paths can be sent".into();
            return Err(MediaError::Refused { name: wish.shown(), why });
        }
        let (data, cap) = (begins("data:"), cap(None, Some(source).filter(|_| !begins("data:"))));
        let (source, trust, folder) = (source.to_owned(), trust.clone(), Arc::clone(&self.folder));
        let copied = tokio::task::spawn_blocking(move || match data {
            true => local::decode(&source, &folder, cap),
            false => local::copy(&source, &trust, &folder, cap),
        });
        copied.await.unwrap_or_else(|e| Err(MediaError::Read { name: wish.shown(), why: e.to_string() }))
    }

    /// Runs a conversion by what is built in. A decoder that panics or loops costs this file only.
    async fn convert<T>(
        &self,
        wish: &Wish,
        work: impl FnOnce(&Wish, &Path) -> Result<T, MediaError> + Send + 'static,
    ) -> Result<T, MediaError>
    where
        Result<T, MediaError>: Product,
    {
        let (own, folder) = (wish.clone(), Arc::clone(&self.folder));
        // A document passes no decoder.
        let most_stuck = if wish.as_document { usize::MAX } else { MOST_STUCK };
        let done = self.conversions.run(self.limit, most_stuck, move || work(&own, &folder)).await;
        let unusable = |why| MediaError::Unusable { name: wish.shown(), what: "file", why };
        done.unwrap_or_else(|failed| {
            Err(match failed {
                Failed::Panicked => unusable("its decoder failed".into()),
                Failed::TooSlow => unusable(format!("it was not converted within {} s", self.limit.as_secs_f32())),
                Failed::NoThread(stuck) => MediaError::Overloaded { name: wish.shown(), stuck },
            })
        })
    }

    /// Conversions that ran into their time limit and hold their threads still.
    pub fn stuck_conversions(&self) -> usize {
        self.conversions.stuck()
    }

    /// Audio that nothing here reads: through ffmpeg, or as it is.
    async fn foreign(&self, wish: &Wish, copy: Copy, mime: String) -> Result<MediaFile, MediaError> {
        match self.note(wish, &copy).await? {
            Some(note) => Ok(note),
            None => self.convert(wish, move |wish, folder| shape::plain_sound(copy, wish, mime, None, folder)).await,
        }
    }

    /// A film: ffmpeg gives it a preview and a form that phones play. Without it, and when it fails, the film stays as it is.
    async fn film(
        &self,
        wish: &Wish,
        copy: Copy,
        mime: String,
        mut facts: mp4::Facts,
    ) -> Result<MediaFile, MediaError> {
        let (mut frame, mut made) = (None, None);
        if let Some(ffmpeg) = &self.ffmpeg {
            let permit = self.conversions.permit().await;
            match ffmpeg.look(copy.file.path()).await {
                Ok(look) => {
                    if !matches!(mime.as_str(), "video/mp4" | "video/3gpp") {
                        let file = intake::temporary(&self.folder)?;
                        match ffmpeg.to_mp4(copy.file.path(), &look, file.path(), wish.max_bytes).await {
                            Ok(()) => made = Some(file),
                            Err(why) => tracing::warn!(target: "whatsapp/outbound", why, "a film keeps its form"),
                        }
                    }
                    facts.seconds = facts.seconds.or(look.seconds);
                    frame = Some(look.frame);
                }
                Err(why) => {
                    drop(permit);
                    tracing::warn!(target: "whatsapp/outbound", why, "a film is sent without a preview");
                    // A container of films that holds sound alone.
                    if facts.size.is_none()
                        && let Some(note) = self.note(wish, &copy).await?
                    {
                        return Ok(note);
                    }
                }
            }
        }
        self.convert(wish, move |wish, folder| shape::film(copy, made, wish, mime, facts, frame, folder)).await
    }

    /// The sound of a file that nothing here reads as a voice note, when ffmpeg can make one.
    async fn note(&self, wish: &Wish, copy: &Copy) -> Result<Option<MediaFile>, MediaError> {
        let Some(ffmpeg) = &self.ffmpeg else { return Ok(None) };
        let made = intake::temporary(&self.folder)?;
        let permit = self.conversions.permit().await;
        let ran = ffmpeg.to_opus(copy.file.path(), made.path(), wish.max_bytes).await;
        drop(permit);
        if let Err(why) = ran {
            tracing::warn!(target: "whatsapp/outbound", why, "a sound does not become a voice note");
            return Ok(None);
        }
        match self.convert(wish, move |wish, folder| shape::note(made, wish, folder)).await {
            Ok(note) => Ok(Some(note)),
            // What ffmpeg made of it may still be too large or nothing at all.
            Err(error) if copy.bytes > wish.max_bytes => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Deletes what lies in the folder and is not `in_use`: files of parts that are gone, and copies cut off by a crash.
    /// For the start, before anything is prepared. Blocking. Returns how many were deleted.
    pub fn sweep(&self, in_use: &[PathBuf]) -> usize {
        // No folder, nothing to sweep.
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return 0 };
        let leftover = |path: &PathBuf| path.is_file() && !in_use.contains(path);
        entries
            .flatten()
            .map(|entry| entry.path())
            .filter(leftover)
            .filter(|path| std::fs::remove_file(path).is_ok())
            .count()
    }
}
