//! The runtime map: one file an actor, named after it.

pub mod messages;
pub mod watcher;
