//! Texts: what the model sees of a message, and how an answer is cut into messages.

pub mod chunk;
pub mod envelope;
pub mod history;
pub mod media_lines;
pub mod zone;
