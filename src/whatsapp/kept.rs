//! What the library keeps of messages: those that were opened before a crash and cannot be opened again, and those that were sent.
//!
//! The library keeps an opened message until it is committed, and commits it from there when WhatsApp delivers it once more and Signal
//! calls it a duplicate. Where a crash left only part of the keys on disk, it takes that delivery for one that cannot be opened, asks
//! the writer for the message again and acknowledges it, though it lies here. If the next crash costs that question or its answer,
//! nobody is left who would deliver it.

use std::sync::Arc;

use whatsapp_rust::Jid as LibraryJid;
use whatsapp_rust::traits::Backend;
use whatsapp_rust::wacore::types::events::InboundMessage;
use whatsapp_rust::wacore::types::message::MessageInfo;
use whatsapp_rust::waproto::codec::message_decode;
use whatsapp_rust::waproto::whatsapp as wa;

use super::inlet::Inlet;
use super::ops::{ASK_LIMIT, theirs};
use super::{Link, LinkError};
use crate::ids::{Jid, MessageId};

impl Inlet {
    /// Commits the kept copy of a message that could not be opened, if there is one. What the writer sends again finds its row.
    pub(super) fn take_kept(self: &Arc<Self>, info: &Arc<MessageInfo>) {
        let Some(client) = self.client() else { return };
        let (inlet, info) = (Arc::clone(self), Arc::clone(info));
        self.handle.spawn(async move {
            let backend = client.persistence_manager().backend();
            let (chat, sender) = (info.source.chat.to_string(), info.source.sender.to_string());
            let bytes = match backend.get_pending_inbound(&chat, &sender, &info.id).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(account = %inlet.account, id = %info.id, %error, "the kept copy of a message cannot be read");
                    return;
                }
            };
            let Ok(message) = message_decode(&bytes) else { return };
            let message = InboundMessage::builder().message(Arc::new(message)).info(Arc::clone(&info)).build();
            if inlet.take(&client, &[message]).await.is_ok() {
                tracing::info!(account = %inlet.account, id = %info.id, "a message that was opened before a crash is taken from its copy");
                // A copy that stays is found again at most by a delivery that the journal knows.
                let _ = backend.delete_pending_inbound(&chat, &sender, &info.id).await;
            }
        });
    }
}

impl Link {
    /// A message as it was sent, from the copy that the library keeps for phones that ask again: a file is uploaded once.
    ///
    /// # Errors
    /// [`LinkError::Invalid`] when it is kept no more; else see [`LinkError`].
    pub(super) async fn as_sent(&self, chat: &Jid, id: &MessageId) -> Result<wa::Message, LinkError> {
        let (chat, id) = (theirs(chat)?, id.as_str().to_owned());
        let gone = || {
            LinkError::Invalid(
                "a phone could not open it and asked for it again, but the file is kept no more".to_owned(),
            )
        };
        self.online(ASK_LIMIT, |client| async move {
            let backend = client.persistence_manager().backend();
            let failed = |e: whatsapp_rust::store::error::StoreError| LinkError::Internal(e.to_string());
            for name in names(backend.as_ref(), &chat).await {
                // The library has no other way to look at it.
                let Some(bytes) = backend.take_sent_message(&name, &id).await.map_err(failed)? else { continue };
                backend.store_sent_message(&name, &id, &bytes).await.map_err(failed)?;
                return message_decode(&bytes).map_err(|_| gone());
            }
            Err(gone())
        })
        .await
    }
}

/// The names under which a chat may be kept: with a person by the LID as soon as it is known.
async fn names(backend: &dyn Backend, chat: &LibraryJid) -> Vec<String> {
    let own = chat.to_non_ad().to_string();
    let other = match own.rsplit_once('@') {
        Some((user, "lid")) => {
            let known = backend.get_lid_mapping(user).await.ok().flatten();
            known.map(|entry| format!("{}@s.whatsapp.net", entry.phone_number))
        }
        Some((user, "s.whatsapp.net")) => {
            let known = backend.get_pn_mapping(user).await.ok().flatten();
            known.map(|entry| format!("{}@lid", entry.lid))
        }
        _ => None,
    };
    std::iter::once(own).chain(other).collect()
}
