//! Simulator.
pub mod appstate;
pub mod groups;
pub mod media;
