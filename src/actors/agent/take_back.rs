//! Messages that agents are not to answer after all: a chat's that its owner took over (behaviour.md 24.29), an account's that only
//! listens from now on (24.19). They are given back, and runs for them end without an answer.

use std::sync::Arc;

use actix::prelude::*;

use super::{AgentActor, RunAgents};
use crate::clock::UnixMs;
use crate::event::InboundMessage;
use crate::ids::{AccountId, SessionKey};
use crate::policy::allowlist::Person;
use crate::policy::decide::ChatKind;
use crate::policy::handover;
use crate::session::pending::PendingMessage;
use crate::store::journal::InboundState;

/// Give messages back that are not to be answered any more. Sent by the router.
///
/// The answer is what is not answered now, each message with what was to go before it.
#[derive(Message)]
#[rtype(result = "Vec<(Vec<PendingMessage>, InboundMessage)>")]
pub struct TakeBack {
    /// The account.
    pub account: AccountId,
    /// Only of the direct chat with this person, and only what was sent before this time; `None` = everything.
    pub chat: Option<(Person, UnixMs)>,
    /// The new state of the messages.
    pub state: InboundState,
    /// The new verdict on the messages, as JSON.
    pub verdict: serde_json::Value,
    /// The gate that decided it, as JSON.
    pub gate: serde_json::Value,
}

impl Handler<TakeBack> for AgentActor {
    type Result = MessageResult<TakeBack>;

    fn handle(&mut self, taken: TakeBack, _: &mut Self::Context) -> Self::Result {
        let now = self.tools.clock.now();
        let covers = |order: &RunAgents| {
            let message = &order.message;
            let meant = |(person, before): &(Person, UnixMs)| {
                order.dispatch.chat == ChatKind::Direct
                    && handover::same(&Person::peer(message), person)
                    && handover::sent(message.timestamp, now) < *before
            };
            message.account == taken.account && taken.chat.as_ref().is_none_or(meant)
        };
        let mut orders: Vec<Arc<RunAgents>> = Vec::new();
        let mut stopped: Vec<SessionKey> = Vec::new();
        for (session, running) in &self.running {
            // A run that answers somebody else too, or something newer, goes on.
            if running.iter().all(|order| covers(order)) {
                orders.extend(running.iter().cloned());
                stopped.push(session.clone());
            }
        }
        for backlog in self.backlogs.values_mut() {
            orders.extend(backlog.take_if(|item| covers(&item.order)).into_iter().map(|item| item.order));
        }
        self.backlogs.retain(|_, backlog| !backlog.is_empty());
        // Several agents may have the same message.
        let mut one_each: Vec<Arc<RunAgents>> = Vec::new();
        for order in orders {
            if !one_each.iter().any(|other| Arc::ptr_eq(other, &order)) {
                one_each.push(order);
            }
        }
        let keys = one_each.iter().flat_map(|order| order.keys()).collect();
        // Before the runs end: what is held is not settled by them.
        self.tools.journal.take_back(keys, taken.state, &taken.verdict, &taken.gate);
        for session in stopped {
            if let Some(signal) = self.aborts.get(&session) {
                signal.send_replace(true);
            }
            tracing::info!(target: "agent", %session, "a run ends without an answer: its messages were taken back");
        }
        MessageResult(one_each.iter().map(|order| (order.history.clone(), order.message.clone())).collect())
    }
}
