//! Messages that were opened before a crash and cannot be opened again.
//!
//! The library keeps an opened message until it is committed, and commits it from there when WhatsApp delivers it once more and Signal
//! calls it a duplicate. Where a crash left only part of the keys on disk, it takes that delivery for one that cannot be opened, asks
//! the writer for the message again and acknowledges it, though it lies here. If the next crash costs that question or its answer,
//! nobody is left who would deliver it.

use std::sync::Arc;

use whatsapp_rust::wacore::types::events::InboundMessage;
use whatsapp_rust::wacore::types::message::MessageInfo;
use whatsapp_rust::waproto::codec::message_decode;

use super::inlet::Inlet;

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
