//! The supervisor passes downloads on to the socket of the moment.

use actix::prelude::*;

use super::SupervisorActor;
use crate::actors::socket::FetchMedia;
use crate::policy::link_state::AccountState;
use crate::whatsapp::{DownloadError, LinkError};

impl Handler<FetchMedia> for SupervisorActor {
    type Result = ResponseFuture<Result<u64, DownloadError>>;

    fn handle(&mut self, fetch: FetchMedia, _: &mut Self::Context) -> Self::Result {
        let connected = matches!(self.machine.state(), AccountState::Connected { .. });
        let socket = self.socket.clone().filter(|_| connected);
        Box::pin(async move {
            let offline = DownloadError::Link(LinkError::NotConnected);
            match socket {
                Some(socket) => socket.send(fetch).await.unwrap_or(Err(offline)),
                None => Err(offline),
            }
        })
    }
}
