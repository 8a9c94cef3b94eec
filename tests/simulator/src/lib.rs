//! Simulator.
pub mod appstate;
pub mod media;
