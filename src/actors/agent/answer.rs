//! What an answer becomes: its text formatted and cut, the files that it names prepared (behaviour.md 12.1, 12.6).

use std::path::PathBuf;

use crate::agent::AgentReply;
use crate::delivery::{self, Delivery, sending};
use crate::media::{Loader, MediaError, Trust, Unsent, Wish};
use crate::outgoing::{MediaFile, Outgoing};
use crate::text::media_lines::{self, Source};

/// Files of one answer; nobody wants more in a chat.
const MOST_FILES: usize = 10;

/// The messages of an answer, not written down yet.
#[derive(Default)]
pub(super) struct Contents {
    pub parts: Vec<Outgoing>,
    /// Their files; deleted when the answer is given up.
    pub files: Unsent,
}

impl Contents {
    pub fn texts(texts: Vec<String>) -> Self {
        Self { parts: texts.into_iter().map(Outgoing::text).collect(), files: Unsent::default() }
    }
}

/// Prepares the files of answers.
pub(super) struct Files<'a> {
    pub loader: &'a Loader,
    /// Where a model may take files from; relative paths start in the first one.
    pub roots: Vec<PathBuf>,
    pub max_bytes: u64,
}

impl Files<'_> {
    /// The messages that `reply` becomes.
    pub async fn contents(&self, reply: &AgentReply, delivery: &Delivery<'_>) -> Contents {
        if !reply.names_files {
            return Contents::texts(delivery::plan(&reply.text, delivery));
        }
        let split = media_lines::split(&reply.text);
        let (mut prepared, mut files) = (Vec::new(), Unsent::default());
        for (n, source) in split.sources.iter().enumerate() {
            if n == MOST_FILES {
                prepared.push(Err(format!("an answer carries at most {MOST_FILES} files; the others were left out")));
                break;
            }
            let file = self.prepare(source).await;
            if let Ok(file) = &file {
                files.add(file);
            }
            prepared.push(file);
        }
        #[cfg(feature = "demo")]
        crate::fault::passes("file-prepared");
        Contents { parts: sending::reply(delivery::plan(&split.text, delivery), prepared), files }
    }

    async fn prepare(&self, source: &Source) -> Result<MediaFile, String> {
        let trust = Trust::Model { roots: self.roots.clone() };
        let wish = Wish { as_sticker: source.sticker, ..Wish::new(&source.place, self.max_bytes) };
        self.loader.prepare(&wish, &trust).await.map_err(|error| {
            tracing::warn!(target: "agent", %error, "a file of an answer is not sent");
            match error {
                // The chat need not know how this machine is set up.
                MediaError::Disk { .. } | MediaError::Tls(_) | MediaError::Overloaded { .. } => {
                    "the gateway could not prepare the file".to_owned()
                }
                error => error.to_string(),
            }
        })
    }
}
