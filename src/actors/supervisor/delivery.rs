//! What leaves for the account's chats: it goes to the socket while the account is connected.

use actix::prelude::*;

use super::SupervisorActor;
use crate::actors::socket::{DrainOutbox, Gesture};
use crate::policy::link_state::AccountState;

/// Most receipts and reactions that wait for the connection; those beyond are not worth the memory.
const LATER_GESTURES: usize = 2000;

/// Parts of an answer are in the outbox. Sent by the router and the agent actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deliver;

impl Handler<Deliver> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, _: Deliver, _: &mut Self::Context) {
        // Without a connection the parts wait in the outbox; every new connection drains it.
        if let Some(socket) =
            self.socket.as_ref().filter(|_| matches!(self.machine.state(), AccountState::Connected { .. }))
        {
            socket.do_send(DrainOutbox(self.account.rules.pacing.clone()));
        }
    }
}

impl Handler<Gesture> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, gesture: Gesture, _: &mut Self::Context) {
        if let Some(socket) =
            self.socket.as_ref().filter(|_| matches!(self.machine.state(), AccountState::Connected { .. }))
        {
            socket.do_send(gesture);
        } else if !matches!(gesture, Gesture::Typing { .. }) && self.later.len() < LATER_GESTURES {
            self.later.push(gesture);
        }
    }
}
