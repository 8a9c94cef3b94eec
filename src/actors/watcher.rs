//! Watches the config file and everything it is made from, and tells the gateway when what it says has changed.
//!
//! ```text
//! notify ─► burst ─quiet─► look (read + parse, off the actor's thread) ─► same text: nothing
//!                                                                        ├► ends too early: look once more in 500 ms
//! poll, knock ───────────►                                               └► ConfigFileChanged
//! ```
//!
//! Folders are watched, not files: a watch on a file goes deaf at the first save by rename. Notifications are only an accelerator; the poll
//! finds what they miss (network file systems, exhausted inotify), so correctness does not hang on them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tracing::{info, warn};

use crate::config::file::{self, ConfigSource};
use crate::config::{Loaded, Rejected, ReloadConfig, ReloadMode};

/// Longest time that a burst of saves can hold a look back.
const BURST_CAP: Duration = Duration::from_secs(1);
/// How long a file that ends too early, or is gone, may take to become whole.
const HALF_WRITTEN: Duration = Duration::from_millis(500);
/// How soon a folder that is gone is looked for again.
const FOLDER_RETRY: Duration = Duration::from_millis(250);
/// Interval of the poll when the system gives no notifications.
const POLL_ONLY: Duration = Duration::from_secs(1);

/// Sent by the watcher when the config on disk says something else than before, good or bad.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ConfigFileChanged {
    /// What the file says now.
    pub outcome: Result<Loaded, Rejected>,
}

/// Look at once, and report even if nothing changed. Sent by whoever wrote the file, and on SIGHUP.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Knock;

/// Something happened to one of the watched paths.
#[derive(Message)]
#[rtype(result = "()")]
struct Touched {
    /// A watched folder itself was moved, removed or changed: the watch may be deaf.
    folder: bool,
}

/// Owns the watch on the config file.
pub struct WatcherActor {
    source: ConfigSource,
    reload: ReloadConfig,
    to: Recipient<ConfigFileChanged>,
    /// Fingerprint of what the gateway knows.
    known: u64,
    /// Paths that matter, and the watch on their folders.
    trail: BTreeSet<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    poll_only: bool,
    burst_since: Option<Instant>,
    pending: Option<SpawnHandle>,
    looking: bool,
    look_again: bool,
    forced: bool,
    /// Since when the text ends too early, with nobody writing.
    incomplete_since: Option<Instant>,
}

impl WatcherActor {
    /// Watches `source`; `known` is the fingerprint of what was loaded from it, so that an edit in between is noticed.
    pub fn new(source: ConfigSource, reload: ReloadConfig, known: u64, to: Recipient<ConfigFileChanged>) -> Self {
        Self {
            source,
            reload,
            to,
            known,
            trail: BTreeSet::new(),
            watcher: None,
            poll_only: false,
            burst_since: None,
            pending: None,
            looking: false,
            look_again: false,
            forced: false,
            incomplete_since: None,
        }
    }

    /// Looks after `delay` unless another look is asked for before.
    fn look_in(&mut self, delay: Duration, ctx: &mut Context<Self>) {
        if let Some(before) = self.pending.take() {
            ctx.cancel_future(before);
        }
        self.pending = Some(ctx.run_later(delay, |this, ctx| {
            this.pending = None;
            this.burst_since = None;
            this.look(ctx);
        }));
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.looking {
            self.look_again = true;
            return;
        }
        self.looking = true;
        let source = self.source.clone();
        let read = actix::fut::wrap_future(tokio::task::spawn_blocking(move || {
            let outcome = file::load(&source);
            let files = match &outcome {
                Ok(loaded) => &loaded.files,
                Err(rejected) => &rejected.files,
            };
            let trail: BTreeSet<PathBuf> = files.iter().flat_map(|f| file::trail(f)).collect();
            (outcome, trail)
        }));
        ctx.spawn(read.map(|read, this: &mut Self, ctx| {
            this.looking = false;
            match read {
                Ok((outcome, trail)) => this.looked(outcome, trail, ctx),
                Err(error) => {
                    warn!(target: "config", %error, "reading the config failed, trying again at the next poll")
                }
            }
            if std::mem::take(&mut this.look_again) {
                this.look(ctx);
            }
        }));
    }

    fn looked(&mut self, outcome: Result<Loaded, Rejected>, trail: BTreeSet<PathBuf>, ctx: &mut Context<Self>) {
        self.watch(trail, ctx);
        let now = match &outcome {
            Ok(loaded) => loaded.fingerprint,
            Err(rejected) => rejected.fingerprint,
        };
        if now == self.known && !self.forced {
            self.incomplete_since = None;
            return;
        }
        if outcome.as_ref().err().is_some_and(Rejected::is_incomplete) {
            let since = *self.incomplete_since.get_or_insert_with(Instant::now);
            let left = HALF_WRITTEN.saturating_sub(since.elapsed());
            if !left.is_zero() {
                // A look that is already due comes sooner, after the write that asked for it.
                if self.pending.is_none() {
                    self.look_in(left, ctx);
                }
                return;
            }
        }
        (self.known, self.forced, self.incomplete_since) = (now, false, None);
        let off = match &outcome {
            Ok(loaded) => {
                self.reload = loaded.config.gateway.reload.clone();
                self.reload.mode == ReloadMode::Off
            }
            Err(_) => false,
        };
        self.to.do_send(ConfigFileChanged { outcome });
        if off {
            info!(target: "config", "gateway.reload.mode is off: the config file is no longer watched");
            ctx.stop();
        }
    }

    /// Watches the folders of these paths. After a new watch the file is looked at once more: it may have changed in between.
    fn watch(&mut self, trail: BTreeSet<PathBuf>, ctx: &mut Context<Self>) {
        if self.poll_only || (self.watcher.is_some() && self.trail == trail) {
            return;
        }
        let folders: BTreeSet<PathBuf> = trail.iter().filter_map(|p| p.parent()).map(PathBuf::from).collect();
        match watch(&trail, &folders, ctx.address()) {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.trail = trail;
                self.look(ctx);
            }
            Err(error) if is_gone(&error) => {
                self.watcher = None;
                if self.pending.is_none() {
                    self.look_in(FOLDER_RETRY, ctx);
                }
            }
            Err(error) => {
                self.watcher = None;
                self.poll_only = true;
                warn!(target: "config", %error, "no file notifications here, looking at the config every second instead");
            }
        }
    }

    fn poll(&mut self, ctx: &mut Context<Self>) {
        let interval = if self.poll_only { self.reload.poll.min(POLL_ONLY) } else { self.reload.poll };
        ctx.run_later(interval, |this, ctx| {
            if this.pending.is_none() {
                this.look(ctx);
            }
            this.poll(ctx);
        });
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(io) => io.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn watch(
    trail: &BTreeSet<PathBuf>,
    folders: &BTreeSet<PathBuf>,
    to: Addr<WatcherActor>,
) -> notify::Result<RecommendedWatcher> {
    let (paths, dirs) = (Arc::new(trail.clone()), Arc::new(folders.clone()));
    let to = to.downgrade();
    // Runs on notify's thread. The state folder is busy (database, logs), so whatever does not matter is dropped here.
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let touched = match event {
            // Our own reading raises Access events.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
            Ok(event) if event.need_rescan() => Touched { folder: false },
            Ok(event) if event.paths.iter().any(|p| dirs.contains(p)) => Touched { folder: true },
            Ok(event) if event.paths.iter().any(|p| paths.contains(p)) => Touched { folder: false },
            Ok(_) => return,
            Err(_) => Touched { folder: true },
        };
        if let Some(to) = to.upgrade() {
            to.do_send(touched);
        }
    })?;
    for folder in folders {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

impl Actor for WatcherActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if file::is_mount_point(&self.source.path) {
            warn!(
                target: "config",
                path = %self.source.path.display(),
                "the config file itself is mounted: edits that replace it outside are not seen here; mount its folder instead"
            );
        }
        self.look(ctx);
        self.poll(ctx);
    }
}

impl Handler<Touched> for WatcherActor {
    type Result = ();

    fn handle(&mut self, touched: Touched, ctx: &mut Self::Context) {
        if touched.folder {
            self.watcher = None;
        }
        // Somebody is still writing: the patience starts anew.
        self.incomplete_since = None;
        let since = *self.burst_since.get_or_insert_with(Instant::now);
        let left = BURST_CAP.saturating_sub(since.elapsed());
        self.look_in(self.reload.debounce.min(left.max(Duration::from_millis(1))), ctx);
    }
}

impl Handler<Knock> for WatcherActor {
    type Result = ();

    fn handle(&mut self, _: Knock, ctx: &mut Self::Context) {
        self.forced = true;
        self.look(ctx);
    }
}

#[cfg(test)]
#[path = "watcher_tests.rs"]
mod tests;
