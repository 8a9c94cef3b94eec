//! Whose number the account is linked to: what waits for one number never leaves from another (behaviour.md 24.11).
//!
//! What the owner decided about the account outlives its number: approvals, `/activation`, sessions. What others asked of the number does
//! not: messages, requests to be let in, context of groups.

use actix::prelude::*;

use super::SupervisorActor;
use super::requests::LoginView;
use crate::actors::router::NumberChanged;
use crate::clock::UnixMs;
use crate::event::Identity;
use crate::store::StoreError;
use crate::store::journal::{Claim, GaveUp};

/// How long the status tells of what was given up.
const TOLD_FOR: UnixMs = 24 * 3_600_000;

/// What is known of the number.
#[derive(Default)]
pub(super) struct Number {
    /// The number that was linked when the login began.
    pub(super) before_login: Option<crate::ids::E164>,
    /// When the login began.
    pub(super) login_began: UnixMs,
    /// Who was claimed for last.
    claimed: Option<Identity>,
    /// What was given up at the last change.
    gave_up: GaveUp,
}

impl Number {
    /// What the status tells of it.
    pub(super) fn told(&self, now: UnixMs) -> Option<GaveUp> {
        Some(self.gave_up).filter(|gave_up| !gave_up.is_empty() && now - gave_up.at < TOLD_FOR)
    }
}

impl SupervisorActor {
    /// Notes whose number it is, before anything can leave from it: whatever is asked of the journal from here on finds settled what was
    /// open for another number.
    pub(super) fn claim(&mut self, identity: &Identity, ctx: &mut Context<Self>) {
        let same =
            |known: &Identity| known.is_self(&identity.jid) || identity.lid.as_ref().is_some_and(|l| known.is_self(l));
        if !self.number.claimed.as_ref().is_some_and(same) {
            // Receipts and reactions in chats of the other number.
            self.later.clear();
        }
        self.number.claimed = Some(identity.clone());
        let claim = self.cx.socket.journal.claim(self.id(), identity);
        ctx.spawn(actix::fut::wrap_future(claim).map(|claim, me: &mut Self, _| {
            me.claimed(&claim);
            me.publish();
        }));
    }

    fn claimed(&mut self, claim: &Result<Claim, StoreError>) {
        let Claim { owner, changed } = match claim {
            Ok(claim) => claim,
            Err(error) => {
                tracing::error!(target: "web-session", account = %self.id(), %error, "the account's number was not noted");
                return;
            }
        };
        self.number.gave_up = owner.gave_up;
        if *changed {
            let GaveUp { parts, messages, .. } = owner.gave_up;
            tracing::warn!(
                target: "web-session", account = %self.id(), parts, messages,
                "the account is linked to another number than before; what waited to be sent and what was not answered is given up"
            );
            self.cx.router.do_send(NumberChanged(self.id().clone()));
        }
    }

    /// The login is over: it is told as soon as it is known what became of the queues.
    pub(super) fn finish_login(&mut self, identity: &Identity, ctx: &mut Context<Self>) {
        let who = identity.number().map_or_else(|| identity.jid.to_string(), |n| n.to_string());
        let number = identity.number();
        let before = self.number.before_login.take().filter(|before| number.as_ref().is_some_and(|n| n != before));
        let began = self.number.login_began;
        // Behind the claim that was made when the number became known.
        let claim = self.cx.socket.journal.claim(self.id(), identity);
        ctx.spawn(actix::fut::wrap_future(claim).map(move |claim, me: &mut Self, _| {
            me.claimed(&claim);
            let noted = claim.ok().map(|claim| claim.owner).filter(|owner| owner.since >= began);
            let before = before.map(|number| number.to_string()).or_else(|| noted?.before);
            if me.login.borrow().is_open() {
                me.login.send_replace(LoginView::Linked { who, before });
            }
            me.publish();
        }));
    }
}
