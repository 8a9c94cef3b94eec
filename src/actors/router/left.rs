//! The router takes up what an earlier process left, in the order of the messages, so that context goes with the question after it.
//!
//! One that [`MOST_TRIES`] processes ended with is left alone.

use actix::prelude::*;

use super::{InboundReceived, RouterActor, Seen};
use crate::policy::decision::{Decision, Verdict};
use crate::policy::reason::IgnoreReason;
use crate::store::journal::{InboundState, Left, MOST_TRIES};

impl RouterActor {
    /// Takes up everything that is left, before any later message is judged.
    pub(super) fn take_up(&mut self, left: Vec<Left>, ctx: &mut Context<Self>) {
        for one in left {
            let key = one.row.message.key();
            if one.tries >= MOST_TRIES {
                let cause = format!("the gateway ended {} times while it was at work on it", one.tries);
                self.set_aside(&[key], IgnoreReason::Poison, &cause);
            } else {
                self.guard(std::slice::from_ref(&key), |me| me.recover(one, ctx));
            }
        }
    }

    /// Takes up what an earlier process left. Called in the order of the messages, so that context goes with the question after it.
    fn recover(&mut self, left: Left, ctx: &mut Context<Self>) {
        let judged = left.row.state != InboundState::New;
        let mut verdict = None;
        if judged {
            match serde_json::from_value::<Decision>(left.row.decision.clone()) {
                Ok(decision) => verdict = Some(decision.verdict),
                // What has happened with it already is not known, so nothing is done again.
                Err(error) => {
                    let cause = format!("unreadable: decision: {error}");
                    return self.set_aside(&[left.row.message.key()], IgnoreReason::Unreadable, &cause);
                }
            }
        }
        let (begun, carried) = (left.begun(), left.carried().map(str::to_owned));
        if let Some(Verdict::Dispatch(dispatch)) = &mut verdict
            && dispatch.runs.iter().any(|run| !left.done(&run.session))
        {
            dispatch.runs.retain(|run| !left.done(&run.session));
        }
        let Left { mut row, ours, .. } = left;
        // Who was let in before the restart and is not any more gets no answer: the config or the approvals may have changed since.
        if verdict.is_some() {
            let received = InboundReceived { connected_at: Some(row.received_at), message: row.message.clone(), ours };
            if self.is_shut_out(&received) {
                return self.take(received, Seen::Judged, ctx);
            }
        }
        let verdict = verdict.filter(|verdict| self.session_stands(verdict, &row.message, row.received_at));
        match (verdict, self.config.account(&row.message.account).cloned()) {
            (Some(Verdict::Hold(hold)), _) => self.hold_again(&row.message, &hold),
            (Some(Verdict::Dispatch(mut dispatch)), Some(account))
                if (dispatch.command.is_none() || carried.is_some())
                    && !account.rules.listen_only
                    && !self.is_silenced(&row.message) =>
            {
                // Who has answered part of it, or a command before it, would have a second turn in a batch.
                let alone = begun || carried.is_some();
                if let Some(text) = carried {
                    dispatch.command = None;
                    row.message.content = row.message.content.with_text(text);
                }
                self.admit(row.message, dispatch, account, alone, ctx);
            }
            // Judged as of when it came in, so that the pause of the restart does not count against it. Who may use a command is asked
            // again: the config may have been edited since.
            _ => {
                let received = InboundReceived { connected_at: Some(row.received_at), message: row.message, ours };
                self.take(received, if judged { Seen::Judged } else { Seen::Unjudged }, ctx);
            }
        }
    }
}
