//! The runtime map: one file an actor, named after it.
//!
//! ```text
//! GatewayActor            owns the configuration in force and the account map; applies diffs
//!  |- SupervisorActor     one per account: state machine, backoff, stable address
//!  |   `- SocketActor     one link, one generation; inbound sink, outbox pump
//!  |- RouterActor         judges messages, carries out effects, owns the pairing books
//!  |- WebVersionActor     which version of WhatsApp Web all accounts report; looks it up
//!  |- AgentActor          lanes, runs, settled answers
//!  `- WatcherActor        verso.json changed
//! ```
//!
//! They run on the system's own thread and never block: clients run on the shared tokio pool, files in `spawn_blocking`, SQLite on the
//! journal's own thread. A panic in a supervisor or socket restarts that account. The router and the agent actor belong to all accounts:
//! there a panic at one message drops that message with a reason of its own, and any other ends the process loudly, and what they had in
//! hand is taken up from the journal. A message that one process after another ends with is left alone ([`MOST_TRIES`]).
//!
//! [`MOST_TRIES`]: crate::store::journal::MOST_TRIES

pub mod agent;
mod commands;
pub mod gateway;
pub mod messages;
pub mod router;
mod sending;
mod shield;
pub mod socket;
pub mod supervisor;
pub mod watcher;
pub mod web_version;

pub use commands::ACTIVATION_FACTS;
pub use shield::is_quiet;

/// Ends the process when an actor that everything depends on panics.
struct LoudExit(&'static str);

impl Drop for LoudExit {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                actor = self.0,
                "an actor that all accounts depend on failed; the process ends and takes up its work after a restart"
            );
            if let Some(system) = actix::System::try_current() {
                system.stop_with_code(70);
            }
        }
    }
}
