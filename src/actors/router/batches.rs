//! The router's batches: admitted messages wait a moment for what else their writer says (behaviour.md 6.12).
//!
//! Only the agents wait. Receipt, reaction and the note in the journal have happened by then, so a message whose batch is lost in a
//! crash is taken up like any other that was admitted.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;

use super::RouterActor;
use crate::config::model::AccountConfig;
use crate::event::InboundMessage;
use crate::policy::decide::IgnoreReason;
use crate::policy::decision::{Decision, Dispatch, Gate, Hold, Verdict};
use crate::session::debounce::{self, Key};

/// An admitted message that waits.
pub(super) struct Waiting {
    message: InboundMessage,
    dispatch: Dispatch,
    account: Arc<AccountConfig>,
}

impl Waiting {
    /// The message.
    pub(super) fn message(&self) -> &InboundMessage {
        &self.message
    }

    /// It is for an agent, not for Verso itself.
    pub(super) fn is_question(&self) -> bool {
        self.dispatch.command.is_none()
    }
}

/// Give everything that waits to the agents. Sent by the gateway before it stops.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FlushBatches;

/// What `verso why` tells of the waiting.
fn gate(outcome: &'static str, account: &AccountConfig) -> Gate {
    Gate {
        gate: "debounce".into(),
        outcome: outcome.into(),
        key: Some("channels.whatsapp.debounceMs".into()),
        value: Some(account.rules.debounce.as_millis().to_string()),
        set_in: None,
    }
}

impl RouterActor {
    /// The decision with regard to what its writer has waiting: who spoke to the agent a moment ago still speaks to it, so that in a
    /// group the second half of a thought needs no second mention.
    pub(super) fn in_batch(
        &self,
        mut decision: Decision,
        message: &InboundMessage,
        account: &AccountConfig,
    ) -> Decision {
        if account.rules.debounce.is_zero() {
            return decision;
        }
        let follows = match &decision.verdict {
            Verdict::Dispatch(dispatch) if debounce::joins(message, dispatch.command.is_some()) => {
                decision.trace.push(gate("waits", account));
                None
            }
            Verdict::Hold(Hold { reason: IgnoreReason::NotMentioned | IgnoreReason::OwnInGroup, .. })
                if debounce::joins(message, false) =>
            {
                self.batches.last(&Key::of(message)).map(|before| before.dispatch.clone())
            }
            _ => None,
        };
        if let Some(dispatch) = follows {
            decision.trace.push(gate("joins-the-message-before", account));
            decision.verdict = Verdict::Dispatch(dispatch);
        }
        decision
    }

    /// Gives an admitted message to its agents: at once, or with what else its writer says within the window unless it goes `alone`.
    pub(super) fn admit(
        &mut self,
        message: InboundMessage,
        dispatch: Dispatch,
        account: Arc<AccountConfig>,
        alone: bool,
        ctx: &mut Context<Self>,
    ) {
        let window = account.rules.debounce;
        let joins = !alone && debounce::joins(&message, dispatch.command.is_some());
        let key = Key::of(&message);
        let ready = self.batches.push(key, Waiting { message, dispatch, account }, joins, window, Instant::now());
        for batch in ready {
            self.release(batch);
        }
        if joins && !window.is_zero() {
            ctx.run_later(window, |me, _| {
                for batch in me.batches.due(Instant::now()) {
                    me.release(batch);
                }
            });
        }
    }

    /// The batch becomes one message; its answer settles all of them.
    fn release(&mut self, batch: Vec<Waiting>) {
        let keys: Vec<_> = batch.iter().map(|waiting| waiting.message.key()).collect();
        self.guard(&keys, |me| me.merge_and_dispatch(batch));
    }

    fn merge_and_dispatch(&mut self, mut batch: Vec<Waiting>) {
        let mentioned = batch.iter().any(|waiting| waiting.dispatch.mentioned);
        let Some(Waiting { message, mut dispatch, account }) = batch.pop() else { return };
        dispatch.mentioned = mentioned;
        let also = batch.iter().map(|waiting| waiting.message.key()).collect();
        let before = batch.into_iter().map(|waiting| waiting.message).collect();
        self.dispatch(debounce::merge(before, message), also, dispatch, account);
    }
}

impl Handler<FlushBatches> for RouterActor {
    type Result = ();

    fn handle(&mut self, _: FlushBatches, _: &mut Self::Context) {
        for batch in self.batches.flush_all() {
            self.release(batch);
        }
    }
}
