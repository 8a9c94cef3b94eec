//! Texts: what the model sees of a message, and how an answer is formatted and cut into messages.

pub mod chunk;
pub mod envelope;
pub mod history;
pub mod markdown;
pub mod tables;
pub mod zone;
