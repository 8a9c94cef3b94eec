//! What comes back for the parts that are being sent, for who sends them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::ids::MessageId;

type Waiting = HashMap<MessageId, oneshot::Sender<Option<String>>>;

/// What comes back on one connection.
#[derive(Clone, Default)]
pub(super) struct Feedback(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Parts whose ack somebody waits for.
    waiting: Mutex<Waiting>,
    asked: Notify,
}

/// Waits for the ack of one part.
pub(super) struct Expected {
    feedback: Feedback,
    id: MessageId,
    told: oneshot::Receiver<Option<String>>,
}

impl Feedback {
    /// The ack of a part that is about to be sent.
    pub(super) fn expect(&self, id: &MessageId) -> Expected {
        let (tell, told) = oneshot::channel();
        self.with(|waiting| waiting.insert(id.clone(), tell));
        Expected { feedback: self.clone(), id: id.clone(), told }
    }

    /// WhatsApp answered; `refused` is the code with which it did not take the part.
    pub(super) fn came(&self, id: &MessageId, refused: Option<&str>) {
        if let Some(tell) = self.with(|waiting| waiting.remove(id)) {
            // Nobody waits any more.
            let _ = tell.send(refused.map(str::to_owned));
        }
    }

    /// A device asks for a message again.
    pub(super) fn asked_again(&self) {
        self.0.asked.notify_one();
    }

    /// Waits until a device asks, or one has asked since the last time.
    pub(super) async fn asked(&self) {
        self.0.asked.notified().await;
    }

    fn with<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> T {
        work(&mut self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner))
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
        self.feedback.with(|waiting| waiting.remove(&self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_told_and_nothing_is_kept_of_the_others() {
        let feedback = Feedback::default();
        let ids = ["TAKEN", "REFUSED", "SILENT"].map(MessageId::new);
        let [mut taken, mut refused, silent] = ids.each_ref().map(|id| feedback.expect(id));
        feedback.came(&ids[0], None);
        feedback.came(&ids[1], Some("503"));
        feedback.came(&MessageId::new("UNKNOWN"), None);
        assert_eq!((taken.refusal().await, refused.refusal().await), (None, Some("503".to_owned())));
        drop((taken, refused, silent));
        assert_eq!(feedback.with(|waiting| waiting.len()), 0);
    }
}
