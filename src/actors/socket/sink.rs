//! Where a link's news go: messages to the journal first and then to the router, acks and receipts to the outbox, the rest to the
//! supervisor.

use std::sync::atomic::{AtomicI64, Ordering};

use actix::Recipient;
use futures::future::BoxFuture;

use super::{Report, SocketContext, SocketReport, outbox};
use crate::actors::router::InboundReceived;
use crate::clock::Clock;
use crate::event::{InboundMessage, LinkEvent, ReceiptKind};
use crate::ids::AccountId;
use crate::store::journal::{Journal, OutboxState};
use crate::whatsapp::{CommitFailed, LinkSink};

/// Where the library's tasks hand over what they receive.
pub(super) struct Sink {
    account: AccountId,
    generation: u64,
    reports: Recipient<SocketReport>,
    router: Recipient<InboundReceived>,
    journal: Journal,
    clock: Clock,
    /// When this connection was accepted, in milliseconds since 1970; 0 before that.
    logged_in_at: AtomicI64,
}

impl Sink {
    pub(super) fn new(
        account: AccountId,
        generation: u64,
        reports: Recipient<SocketReport>,
        cx: &SocketContext,
    ) -> Self {
        let (router, journal, clock) = (cx.router.clone(), cx.journal.clone(), cx.clock.clone());
        Self { account, generation, reports, router, journal, clock, logged_in_at: AtomicI64::new(0) }
    }

    fn report(&self, what: Report) {
        self.reports.do_send(SocketReport { generation: self.generation, what });
    }
}

impl LinkSink for Sink {
    fn event(&self, event: LinkEvent) {
        match event {
            LinkEvent::ServerAck { id, error } => {
                let state = match &error {
                    None => OutboxState::Acked,
                    // The part stays handed over; without an ack it is sent again with the same id.
                    Some(code) if outbox::may_pass(code) => OutboxState::Sent,
                    Some(_) => OutboxState::Failed,
                };
                let cause = error.map(|code| format!("WhatsApp refused the message (code {code})"));
                if let Some(cause) = &cause {
                    tracing::error!(target: "whatsapp/outbound", account = %self.account, %id, cause, "not delivered");
                }
                self.journal.mark_soon(self.account.clone(), id, state, cause);
            }
            LinkEvent::Receipt {
                ids, kind: ReceiptKind::Delivered | ReceiptKind::Read | ReceiptKind::Played, ..
            } => {
                for id in ids {
                    self.journal.mark_soon(self.account.clone(), id, OutboxState::Delivered, None);
                }
            }
            LinkEvent::Receipt { .. } => {}
            LinkEvent::AskedAgain { id } => {
                self.journal.asked_again(&self.account, &id);
                #[cfg(feature = "demo")]
                crate::fault::passes("asked-again");
            }
            other => {
                if matches!(other, LinkEvent::CatchingUp { .. } | LinkEvent::Connected(_)) {
                    // The first of them counts: what came before it was waiting at WhatsApp.
                    let _ = self.logged_in_at.compare_exchange(0, self.clock.now(), Ordering::SeqCst, Ordering::SeqCst);
                }
                self.report(Report::Event(other));
            }
        }
    }

    fn commit(&self, messages: Vec<InboundMessage>) -> BoxFuture<'_, Result<(), CommitFailed>> {
        Box::pin(async move {
            let new = self.journal.commit(messages.clone()).await.map_err(|e| CommitFailed(e.to_string()))?;
            self.report(Report::Inbound);
            let connected_at = match self.logged_in_at.load(Ordering::SeqCst) {
                0 => None,
                at => Some(at),
            };
            for (message, new) in messages.into_iter().zip(new) {
                if !new {
                    continue;
                }
                // The rows are in: from here on nothing may fail, or the redelivery would find them and be dropped.
                let ours = message.from_me && self.journal.is_ours(&self.account, &message.id).await.unwrap_or(false);
                // Waiting for the router's mailbox is the back-pressure between WhatsApp and the rules.
                let _ = self.router.send(InboundReceived { message, connected_at, ours }).await;
            }
            Ok(())
        })
    }
}
