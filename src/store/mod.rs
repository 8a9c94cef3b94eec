//! Files and SQLite: the only place that knows where and how Verso keeps its state. One file on disk, one writer.
//!
//! Everything here blocks except [`journal`]; callers on an actor's thread go through `spawn_blocking`.

pub mod atomic;
pub mod credentials;
pub mod journal;
pub mod lock;
pub mod pairing;
pub mod paths;
