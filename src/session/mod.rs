//! Sessions: which run comes next.

pub mod lane;
pub mod pending;
