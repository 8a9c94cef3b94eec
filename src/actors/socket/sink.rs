//! Where a link's news go: messages to the journal first and then to the router, acks and receipts to the outbox, the rest to the
//! supervisor.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use actix::Recipient;
use futures::future::BoxFuture;

use super::address::Addresses;
use super::feedback::Feedback;
use super::{Report, SocketContext, SocketReport, outbox};
use crate::actors::router::InboundReceived;
use crate::clock::Clock;
use crate::event::{Content, InboundMessage, LinkEvent, ReceiptKind};
use crate::ids::AccountId;
use crate::store::journal::{Journal, OutboxState};
use crate::whatsapp::{CommitFailed, LinkSink};

/// Where the library's tasks hand over what they receive.
pub(super) struct Sink {
    account: AccountId,
    generation: u64,
    reports: Recipient<SocketReport>,
    feedback: Feedback,
    addresses: Addresses,
    router: Recipient<InboundReceived>,
    journal: Journal,
    clock: Clock,
    /// When this connection was accepted, in milliseconds since 1970; 0 before that.
    logged_in_at: Arc<AtomicI64>,
}

impl Sink {
    pub(super) fn new(
        account: AccountId,
        generation: u64,
        reports: Recipient<SocketReport>,
        (feedback, addresses): (Feedback, Addresses),
        cx: &SocketContext,
    ) -> Self {
        let (router, journal, clock) = (cx.router.clone(), cx.journal.clone(), cx.clock.clone());
        Self { account, generation, reports, feedback, addresses, router, journal, clock, logged_in_at: Arc::default() }
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
                    // So with one that went to an address which WhatsApp does not take: it goes to the other one.
                    Some(_) if self.addresses.refused(&id) => OutboxState::Sent,
                    Some(_) => OutboxState::Failed,
                };
                let cause = error.as_ref().map(|code| format!("WhatsApp refused the message (code {code})"));
                if let Some(cause) = &cause {
                    tracing::error!(target: "whatsapp/outbound", account = %self.account, %id, cause, "not delivered");
                }
                self.feedback.came(&id, error.as_deref());
                self.journal.mark_soon(self.account.clone(), id, state, cause);
            }
            LinkEvent::Receipt {
                ids,
                sender,
                kind: ReceiptKind::Delivered | ReceiptKind::Read | ReceiptKind::Played,
                ..
            } => {
                for id in &ids {
                    self.journal.mark_soon(self.account.clone(), id.clone(), OutboxState::Delivered, None);
                }
                self.addresses.confirmed(&ids, &sender);
            }
            LinkEvent::Receipt { .. } => {}
            LinkEvent::AskedAgain { id } => {
                let feedback = self.feedback.clone();
                self.journal.asked_again(&self.account, &id, move || feedback.asked_again());
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
        let (account, generation, logged_in_at) = (self.account.clone(), self.generation, self.logged_in_at.clone());
        let (reports, router, journal) = (self.reports.clone(), self.router.clone(), self.journal.clone());
        // On a task of its own: a connection that ends drops whoever waits for this, and a message that is written down but never
        // judged would be found by its redelivery and be left alone.
        let done = tokio::spawn(async move {
            let mut messages = messages;
            for message in &mut messages {
                note_quoted(&journal, &account, message).await;
            }
            let new = journal.commit(messages.clone()).await.map_err(|e| CommitFailed(e.to_string()))?;
            reports.do_send(SocketReport { generation, what: Report::Inbound });
            let connected_at = Some(logged_in_at.load(Ordering::SeqCst)).filter(|at| *at != 0);
            for (message, new) in messages.into_iter().zip(new) {
                if !new {
                    continue;
                }
                // The rows are in: from here on nothing may fail, or the redelivery would find them and be dropped.
                let ours = message.from_me && journal.is_ours(&account, &message.id).await.unwrap_or(false);
                // Waiting for the router's mailbox is the back-pressure between WhatsApp and the rules.
                let _ = router.send(InboundReceived { message, connected_at, ours }).await;
            }
            Ok(())
        });
        Box::pin(async move { done.await.unwrap_or_else(|e| Err(CommitFailed(e.to_string()))) })
    }
}

/// Notes whether the quoted message was sent by Verso. Only groups ask: there a reply may be what speaks to the agent.
async fn note_quoted(journal: &Journal, account: &AccountId, message: &mut InboundMessage) {
    let Content::Body(body) = &mut message.content else { return };
    let Some(quote) = body.quote.as_mut().filter(|_| message.chat.is_group()) else { return };
    if let Some(id) = &quote.id {
        quote.by_us = journal.is_ours(account, id).await.unwrap_or(false);
    }
}

#[cfg(test)]
mod tests {
    use actix::prelude::*;

    use super::*;
    use crate::event::Body;
    use crate::ids::MessageId;

    /// Passes on which messages come.
    struct Judge(tokio::sync::mpsc::UnboundedSender<MessageId>);

    impl Actor for Judge {
        type Context = Context<Self>;
    }

    impl Handler<InboundReceived> for Judge {
        type Result = ();

        fn handle(&mut self, received: InboundReceived, _: &mut Self::Context) {
            self.0.send(received.message.id).expect("the test listens");
        }
    }

    impl Handler<SocketReport> for Judge {
        type Result = ();

        fn handle(&mut self, _: SocketReport, _: &mut Self::Context) {}
    }

    #[actix::test]
    async fn a_message_is_judged_although_the_connection_ended_while_it_was_written_down() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (tell, mut judged) = tokio::sync::mpsc::unbounded_channel();
        let judge = Judge(tell).start();
        let sink = Sink {
            account: AccountId::new("work"),
            generation: 1,
            reports: judge.clone().recipient(),
            feedback: Feedback::default(),
            addresses: Addresses::new(
                AccountId::new("work"),
                Journal::open(&dir.path().join("addresses.db"), Clock::System).expect("opens"),
            ),
            router: judge.recipient(),
            journal: Journal::open(&dir.path().join("state.db"), Clock::System).expect("opens"),
            clock: Clock::System,
            logged_in_at: Arc::default(),
        };
        let message = InboundMessage {
            account: AccountId::new("work"),
            id: MessageId::new("A"),
            chat: "1@s.whatsapp.net".parse().expect("jid"),
            sender: "1@s.whatsapp.net".parse().expect("jid"),
            sender_alt: None,
            sender_number: None,
            chat_number: None,
            from_me: false,
            push_name: None,
            timestamp: 1,
            offline: false,
            content: Content::Body(Body::default()),
        };
        drop(sink.commit(vec![message.clone()]));
        let heard = tokio::time::timeout(std::time::Duration::from_secs(20), judged.recv()).await;
        assert_eq!(heard.expect("in time"), Some(MessageId::new("A")));
        sink.commit(vec![message]).await.expect("known");
        assert!(judged.try_recv().is_err(), "a redelivery is not judged again");
    }
}
