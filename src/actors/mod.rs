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
//! journal's own thread. A panic in a supervisor or socket restarts that account; the router and the agent actor belong to all
//! accounts, so a panic there ends the process loudly and what they had in hand is taken up from the journal.

pub mod agent;
mod commands;
pub mod gateway;
pub mod messages;
pub mod router;
mod sending;
pub mod socket;
pub mod supervisor;
pub mod watcher;
pub mod web_version;

pub use commands::ACTIVATION_FACTS;

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
