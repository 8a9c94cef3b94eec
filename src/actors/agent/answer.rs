//! What an answer becomes: its text formatted and cut, the files that it names prepared (behaviour.md 12.1, 12.6).

use crate::agent::AgentReply;
use crate::delivery::{self, Delivery, sending};
use crate::disclosure::{self, MediaFault};
use crate::media::{Loader, MediaError, OpenFiles, Trust, Unsent, Wish};
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
    /// The files that are open to a model's run.
    pub open: OpenFiles,
    pub max_bytes: u64,
    /// The chat is told of files that cannot be sent.
    pub tell: bool,
}

impl Files<'_> {
    /// The messages that `reply` becomes, and why files of it are not among them.
    pub async fn contents(&self, reply: &AgentReply, delivery: &Delivery<'_>) -> (Contents, Vec<String>) {
        if !reply.names_files {
            return (Contents::texts(delivery::plan(&reply.text, delivery)), Vec::new());
        }
        let split = media_lines::split(&reply.text);
        let (mut prepared, mut files, mut unsent) = (Vec::new(), Unsent::default(), Vec::new());
        for (n, source) in split.sources.iter().enumerate() {
            if n == MOST_FILES {
                unsent.push(format!("an answer carries at most {MOST_FILES} files; the others were left out"));
                prepared.push(Err(MediaFault::NotAllowed.to_string()));
                break;
            }
            prepared.push(match self.prepare(source).await {
                Ok(file) => {
                    files.add(&file);
                    Ok(file)
                }
                Err(error) => {
                    let cause = disclosure::scrub(&error.to_string());
                    tracing::warn!(target: "agent", %cause, "a file of an answer is not sent");
                    unsent.push(cause);
                    Err(error.fault().to_string())
                }
            });
        }
        prepared.retain(|file| self.tell || file.is_ok());
        #[cfg(feature = "demo")]
        crate::fault::passes("file-prepared");
        (Contents { parts: sending::reply(delivery::plan(&split.text, delivery), prepared), files }, unsent)
    }

    async fn prepare(&self, source: &Source) -> Result<MediaFile, MediaError> {
        let trust = Trust::Model(self.open.clone());
        let wish = Wish { as_sticker: source.sticker, ..Wish::new(&source.place, self.max_bytes) };
        self.loader.prepare(&wish, &trust).await
    }
}
