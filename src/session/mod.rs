//! Sessions: when they begin and end, what waits for them, who is in their group, whether they may answer.

pub mod backlog;
pub mod debounce;
pub mod entry;
pub mod files;
pub mod freshness;
pub mod group_facts;
pub mod lane;
pub mod model_hint;
pub mod pending;
pub mod roster;
pub mod send_policy;
pub mod turns;
pub mod typing;
pub mod window;
