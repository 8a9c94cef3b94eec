//! The account's phone: what it shows of itself is noted, and its owner is warned before WhatsApp unlinks the device.

use actix::prelude::*;

use super::SupervisorActor;
use crate::clock::UnixMs;
use crate::ids::Jid;
use crate::policy::link_state::AccountState;
use crate::policy::phone_watch::{LOOK_EVERY, PhoneSeen, PhoneWatch, WAKE_THE_PHONE};

/// What is known of the phone, and what of it is on disk.
#[derive(Default)]
pub(super) struct Phone {
    watch: PhoneWatch,
    stored: Option<(PhoneWatch, UnixMs)>,
}

impl Phone {
    pub(super) fn shown(&self, now: UnixMs) -> PhoneSeen {
        self.watch.shown(now)
    }

    pub(super) fn disconnected(&mut self) {
        self.watch.disconnected();
    }
}

impl SupervisorActor {
    fn phone_key(&self) -> String {
        format!("phone:{}", self.id())
    }

    /// Reads what an earlier process knew, before anything is heard of the phone.
    pub(super) fn recall_phone(&self, ctx: &mut Context<Self>) {
        let (journal, key) = (self.cx.socket.journal.clone(), self.phone_key());
        let read = async move { journal.get(&key).await };
        ctx.wait(actix::fut::wrap_future(read).map(|read, me: &mut Self, _| match read {
            Ok(Some(text)) => {
                // What cannot be read is as good as nothing: the next sign of life replaces it.
                let watch: PhoneWatch = serde_json::from_str(&text).unwrap_or_default();
                me.phone = Phone { stored: Some((watch.clone(), me.cx.clock.now())), watch };
                me.publish();
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(target: "web-session", account = %me.id(), %error, "when the phone was last seen is not known");
            }
        }));
        ctx.run_interval(LOOK_EVERY, |me, _| {
            if matches!(me.machine.state(), AccountState::Connected { .. }) {
                me.look_for_phone();
                me.publish();
            }
        });
    }

    /// The phone linked this device just now: whatever was known is of an earlier link.
    pub(super) fn phone_linked(&mut self) {
        self.phone.watch = PhoneWatch::linked(self.cx.clock.now());
        self.note_phone();
    }

    /// The link is given up, and what is known of its phone with it.
    pub(super) fn forget_phone(&mut self) {
        self.phone = Phone::default();
        let (journal, key) = (self.cx.socket.journal.clone(), self.phone_key());
        actix::spawn(async move {
            if let Err(error) = journal.forget(&key).await {
                tracing::warn!(target: "web-session", %error, "when the phone was last seen is still noted");
            }
        });
    }

    pub(super) fn phone_seen(&mut self, at: UnixMs, confirms: bool) {
        self.phone.watch.saw(at, confirms, self.cx.clock.now());
        self.note_phone();
    }

    /// A message left for `chat` at `at`. What the phone does with one for a group is not known well enough to count on.
    pub(super) fn phone_asked(&mut self, chat: &Jid, at: UnixMs) {
        if !chat.is_group() {
            self.phone.watch.asked(at);
        }
    }

    /// Warns the owner when it is time to.
    pub(super) fn look_for_phone(&mut self) {
        let now = self.cx.clock.now();
        if self.phone.watch.look(now).is_some()
            && let Some(warning) = self.phone.shown(now).warning
        {
            tracing::warn!(target: "web-session", account = %self.id(), "{warning}: {WAKE_THE_PHONE}");
        }
        self.note_phone();
    }

    fn note_phone(&mut self) {
        let now = self.cx.clock.now();
        let stored = self.phone.stored.as_ref().map(|(watch, at)| (watch, *at));
        let Some(watch) = self.phone.watch.to_store(stored, now) else { return };
        let (journal, key, id) = (self.cx.socket.journal.clone(), self.phone_key(), self.id().clone());
        let text = serde_json::to_string(&watch).expect("plain data");
        self.phone.stored = Some((watch, now));
        actix::spawn(async move {
            if let Err(error) = journal.put(&key, &text).await {
                tracing::warn!(target: "web-session", account = %id, %error, "when the phone was last seen is not on disk");
            }
        });
    }
}
