//! Texts: what the model sees of a message, and how an answer is formatted and cut into messages.

pub mod attached;
pub mod chunk;
pub mod emoji;
pub mod envelope;
mod flanks;
pub mod history;
pub mod intro;
pub mod label;
pub mod markdown;
mod marks;
pub mod media_lines;
pub mod queued;
pub mod tables;
pub mod turn;
pub mod zone;
