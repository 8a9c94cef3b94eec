//! The simulator against a real client, whatsapp-rust.

mod client;
mod faults;
mod groups;
mod linking;
mod messages;
mod recovery;
