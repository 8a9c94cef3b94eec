//! What leaves for the account's chats: it goes to the socket while the account is connected.

use actix::prelude::*;

use super::SupervisorActor;
use crate::actors::socket::{DrainOutbox, Gesture, HoldOutbox, ShowOnline, SocketActor};
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
        self.drain();
    }
}

impl SupervisorActor {
    /// Lets out what waits. Without a connection the parts wait in the outbox; every new connection drains it. Nothing leaves an account
    /// that only listens.
    pub(super) fn drain(&self) {
        if self.account.rules.listen_only {
            return;
        }
        if let Some(socket) = self.connected() {
            socket.do_send(DrainOutbox(self.account.rules.pacing.clone()));
        }
    }

    fn connected(&self) -> Option<&Addr<SocketActor>> {
        self.socket.as_ref().filter(|_| matches!(self.machine.state(), AccountState::Connected { .. }))
    }

    /// The account only listens from now on, or does so no longer.
    pub(super) fn listening_changed(&mut self) {
        let quiet = self.account.rules.listen_only;
        if quiet {
            self.later.clear();
        }
        let online = self.marks_online();
        if let Some(socket) = &self.socket {
            if quiet {
                socket.do_send(HoldOutbox);
            }
            socket.do_send(ShowOnline(online));
        }
        self.drain();
    }
}

impl Handler<Gesture> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, gesture: Gesture, _: &mut Self::Context) {
        if self.account.rules.listen_only {
            return;
        }
        if let Some(socket) = self.connected() {
            socket.do_send(gesture);
        } else if !matches!(gesture, Gesture::Typing { .. }) && self.later.len() < LATER_GESTURES {
            self.later.push(gesture);
        }
    }
}
