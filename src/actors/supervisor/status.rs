//! The status of an account, as every door shows it.

use super::SupervisorActor;
use crate::actors::messages::{AccountStatus, LastDisconnect};
use crate::clock::UnixMs;
use crate::event::Identity;
use crate::policy::link_state::AccountState;

/// What the status shows besides the state.
#[derive(Default)]
pub(super) struct Facts {
    pub sockets_opened: u64,
    pub last_connected_at: Option<UnixMs>,
    pub last_disconnect: Option<LastDisconnect>,
    pub last_error: Option<String>,
    pub unsaved: Option<String>,
    pub last_message_at: Option<UnixMs>,
    pub last_event_at: Option<UnixMs>,
    pub last_inbound_at: Option<UnixMs>,
    pub last_outbound_at: Option<UnixMs>,
    pub last_start_at: Option<UnixMs>,
    pub last_stop_at: Option<UnixMs>,
}

impl SupervisorActor {
    pub(super) fn status(&self) -> AccountStatus {
        let now = self.cx.clock.now();
        let state = self.machine.state();
        let facts = &self.facts;
        let rules = &self.account.rules;
        let own = self.identity.as_ref();
        let mut status = AccountStatus {
            account_id: self.id().clone(),
            name: rules.name.clone(),
            enabled: self.account.link.enabled,
            linked: self.linked && state.code() != "logged-out",
            running: state.wants_socket(),
            connected: matches!(state, AccountState::Connected { .. }),
            state: state.code().to_owned(),
            state_text: state.sentence(now),
            next_step: state.next_step(self.id()),
            reconnect_attempts: self.machine.attempts(),
            sockets_opened: facts.sockets_opened,
            last_connected_at: facts.last_connected_at,
            last_disconnect: facts.last_disconnect.clone(),
            last_error: facts.last_error.clone().or_else(|| match state.code() {
                code @ ("not-linked" | "disabled") => Some(code.replace('-', " ")),
                _ => None,
            }),
            last_message_at: facts.last_message_at,
            last_event_at: facts.last_event_at,
            last_inbound_at: facts.last_inbound_at,
            last_outbound_at: facts.last_outbound_at,
            last_start_at: facts.last_start_at,
            last_stop_at: facts.last_stop_at,
            dm_policy: serde_json::to_value(rules.dm_policy)
                .ok()
                .and_then(|v| v.as_str().map(str::to_owned))
                .unwrap_or_default(),
            allow_from: rules.allow_from.entries(),
            self_number: own.and_then(Identity::number),
            self_jid: own.map(|i| i.jid.clone()),
            self_lid: own.and_then(|i| i.lid.clone()),
            auth_age_ms: self.auth_since.map(|at| (now - at).max(0)),
            unsaved: facts.unsaved.clone(),
            phone: self.phone.shown(now),
            outbox: self.cx.socket.journal.outbox_counts(self.id()),
            unconfirmed: Vec::new(),
            set_aside: self.cx.socket.journal.set_aside_messages(self.id()),
            agents: std::collections::BTreeMap::new(),
            gave_up: self.number.told(now),
            counters: std::collections::BTreeMap::new(),
            handover: crate::policy::handover::HandoverCount::default(),
            listen_only: rules.listen_only,
        };
        if let Some(until) = self.waits_until {
            let seconds = (until - now).max(0) / 1_000;
            status.running = true;
            status.state = "waiting".to_owned();
            status.state_text = format!(
                "it connects in about {seconds} s: the gateway ended unasked several times in a row, and accounts start one after another"
            );
            status.next_step = Some(format!(
                "see why it ended: verso logs; to connect now: verso channels start --account {}",
                self.id()
            ));
            status.last_error = facts.last_error.clone();
        }
        status
    }
}
