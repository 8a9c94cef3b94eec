//! What WhatsApp answers to the parts that are being sent, for who sends them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::ids::MessageId;

/// Parts of one connection whose ack somebody waits for.
#[derive(Clone, Default)]
pub(super) struct Acks(Arc<Mutex<HashMap<MessageId, oneshot::Sender<Option<String>>>>>);

/// Waits for the ack of one part.
pub(super) struct Expected {
    acks: Acks,
    id: MessageId,
    told: oneshot::Receiver<Option<String>>,
}

impl Acks {
    /// The ack of a part that is about to be sent.
    pub(super) fn expect(&self, id: &MessageId) -> Expected {
        let (tell, told) = oneshot::channel();
        self.with(|waiting| waiting.insert(id.clone(), tell));
        Expected { acks: self.clone(), id: id.clone(), told }
    }

    /// WhatsApp answered; `refused` is the code with which it did not take the part.
    pub(super) fn came(&self, id: &MessageId, refused: Option<&str>) {
        if let Some(tell) = self.with(|waiting| waiting.remove(id)) {
            // Nobody waits any more.
            let _ = tell.send(refused.map(str::to_owned));
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<MessageId, oneshot::Sender<Option<String>>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Expected {
    /// The code with which WhatsApp refused the part; `None` when it took it.
    pub(super) async fn refusal(&mut self) -> Option<String> {
        (&mut self.told).await.ok().flatten()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.acks.with(|waiting| waiting.remove(&self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_told_and_nothing_is_kept_of_the_others() {
        let acks = Acks::default();
        let ids = ["TAKEN", "REFUSED", "SILENT"].map(MessageId::new);
        let [mut taken, mut refused, silent] = ids.each_ref().map(|id| acks.expect(id));
        acks.came(&ids[0], None);
        acks.came(&ids[1], Some("503"));
        acks.came(&MessageId::new("UNKNOWN"), None);
        assert_eq!((taken.refusal().await, refused.refusal().await), (None, Some("503".to_owned())));
        drop((taken, refused, silent));
        assert_eq!(acks.with(|waiting| waiting.len()), 0);
    }
}
