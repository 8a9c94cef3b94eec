//! The socket fetches media for the agents.

use std::fs::File;

use actix::prelude::*;

use super::SocketActor;
use crate::event::MediaSource;
use crate::whatsapp::DownloadError;

/// Fetch a file. Sent by the agents' runs to the supervisor, and by it to the socket.
#[derive(Message)]
#[rtype(result = "Result<u64, DownloadError>")]
pub struct FetchMedia {
    /// What.
    pub source: MediaSource,
    /// The largest file that is taken.
    pub max_bytes: u64,
    /// Where it is written; empty.
    pub into: File,
}

impl Handler<FetchMedia> for SocketActor {
    type Result = ResponseFuture<Result<u64, DownloadError>>;

    fn handle(&mut self, fetch: FetchMedia, _: &mut Self::Context) -> Self::Result {
        let FetchMedia { source, max_bytes, into } = fetch;
        let fetched = self.on_pool(move |link| async move { Ok(link.download(source, max_bytes, into).await) });
        Box::pin(async move { fetched.await? })
    }
}
