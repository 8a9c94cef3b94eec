//! What one run answers, and how messages are settled that several agents answer.

use std::sync::Arc;

use tokio::sync::watch;

use super::RunAgents;
use crate::disclosure::{Failure, FailureKind, Outcome};
use crate::event::MessageKey;
use crate::policy::decide::Run;
use crate::policy::reason::IgnoreReason;
use crate::session::backlog::Taken;
use crate::store::journal::{Journal, Turn};

/// One message for one agent.
#[derive(Clone)]
pub(super) struct Item {
    pub order: Arc<RunAgents>,
    pub run: Run,
    /// Agents whose turn comes after this one, in a sequential broadcast.
    then: Vec<Run>,
}

impl Item {
    /// The items that a message begins with: one for every agent, or the first of a sequential broadcast.
    pub fn of(order: RunAgents) -> Vec<Self> {
        let order = Arc::new(order);
        let item = |run: &Run, then: &[Run]| Self { order: order.clone(), run: run.clone(), then: then.to_vec() };
        match order.dispatch.runs.split_first() {
            Some((first, then)) if order.dispatch.sequential => vec![item(first, then)],
            _ => order.dispatch.runs.iter().map(|run| item(run, &[])).collect(),
        }
    }

    /// One turn may answer both: they are of one chat of one account.
    pub fn belongs_to(&self, other: &Self) -> bool {
        let (a, b) = (&self.order.message, &other.order.message);
        a.account == b.account && a.chat == b.chat && self.run.agent == other.run.agent
    }

    /// The next agent of a sequential broadcast.
    fn next(&self) -> Option<Self> {
        let (run, then) = self.then.split_first()?;
        Some(Self { run: run.clone(), then: then.to_vec(), ..self.clone() })
    }

    /// Its run is over.
    fn turn(&self, ended: Ended, outcome: &Outcome) -> Turn {
        let mut over = vec![self.run.session.clone()];
        if ended == Ended::Aborted {
            // What is stopped is not handed on.
            over.extend(self.then.iter().map(|run| run.session.clone()));
        }
        let all = self.order.dispatch.runs.iter().map(|run| run.session.clone()).collect();
        Turn { keys: self.order.keys(), all, over, outcome: Some(outcome.clone()) }
    }
}

/// The messages of one run.
pub(super) struct Work {
    /// Oldest first; never empty.
    pub items: Vec<Item>,
    /// Messages that the run only tells of, because too many waited.
    pub dropped: Vec<Item>,
    /// A run for these has failed unexpectedly before.
    pub failed_before: bool,
    /// Turns true when the run has to end.
    pub abort: watch::Sender<bool>,
}

impl Work {
    /// A run for one message.
    pub fn of(item: Item) -> Self {
        Self::new(Taken { items: vec![item], dropped: Vec::new() })
    }

    /// A run for messages that waited.
    pub fn new(taken: Taken<Item>) -> Self {
        Self { items: taken.items, dropped: taken.dropped, failed_before: false, abort: watch::Sender::new(false) }
    }

    /// The newest message: the answer goes there.
    pub fn orders(&self) -> Vec<Arc<RunAgents>> {
        self.items.iter().chain(&self.dropped).map(|item| item.order.clone()).collect()
    }

    pub fn last(&self) -> &Item {
        self.items.last().expect("a run has a message")
    }

    /// Another run for the same messages.
    pub fn again(items: Vec<Item>, dropped: Vec<Item>) -> Self {
        Self { failed_before: true, ..Self::new(Taken { items, dropped }) }
    }

    /// All its messages.
    pub fn keys(&self) -> Vec<MessageKey> {
        self.items.iter().chain(&self.dropped).flat_map(|item| item.order.keys()).collect()
    }

    /// The items that follow this run.
    pub fn next_agents(&self) -> Vec<Item> {
        self.items.iter().chain(&self.dropped).filter_map(Item::next).collect()
    }

    /// The run is over.
    pub fn turns(&self, ended: Ended, outcome: &Outcome) -> Vec<Turn> {
        self.items.iter().chain(&self.dropped).map(|item| item.turn(ended, outcome)).collect()
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With an answer, silence or an error.
    Done,
    /// It was stopped.
    Aborted,
}

/// Settles messages that no run can answer. Where other agents answer them too, only this agent's turn is over.
pub(super) async fn give_up(journal: Journal, items: Vec<Item>) {
    let (alone, shared): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.order.dispatch.runs.len() == 1);
    let keys: Vec<MessageKey> = alone.iter().flat_map(|item| item.order.keys()).collect();
    journal.set_aside(&keys, IgnoreReason::Internal, "its run failed unexpectedly, twice");
    let failure = Failure::new(FailureKind::Internal, "", "the run failed unexpectedly, twice; the log says where");
    let outcome = Outcome::of(failure);
    let turns: Vec<Turn> = shared.iter().map(|item| item.turn(Ended::Done, &outcome)).collect();
    if !turns.is_empty()
        && let Err(error) = journal.answer_turns(turns, Vec::new(), Vec::new()).await
    {
        tracing::error!(target: "agent", %error, "messages could not be settled");
    }
}

/// Settles messages that no agent answers.
pub(super) async fn settle_silently(journal: Journal, items: Vec<Item>, outcome: Outcome) {
    let turns = items.iter().map(|item| item.turn(Ended::Aborted, &outcome)).collect();
    if let Err(error) = journal.answer_turns(turns, Vec::new(), Vec::new()).await {
        tracing::error!(target: "agent", %error, "messages could not be settled; they are taken up after a restart");
    }
}
