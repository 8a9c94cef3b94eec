//! Who may wake an agent: pure rules over one message and a view of config and state.
//!
//! [`decide::decide`] is the only composer; the other modules answer one question each. Nothing here reads a clock, a file or a socket.

pub mod allowlist;
pub mod decide;
pub mod decision;
pub mod dm;
mod gate_text;
pub mod group;
pub mod handover;
pub mod link_state;
pub mod mention;
pub mod pairing;
pub mod phone_watch;
pub mod reason;
pub mod receipts;
pub mod start_pace;
pub mod web_version;

#[cfg(test)]
mod scope_tests;
