//! What a conversation remembers and in which order its messages are answered. Plain data; the actors own it, the store keeps it.

pub mod history;
pub mod lane;
