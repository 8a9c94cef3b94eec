//! Sessions: which run comes next, and with which messages.

pub mod debounce;
pub mod lane;
pub mod pending;
