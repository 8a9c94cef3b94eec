//! The simulator against a real client, whatsapp-rust.

mod app_state;
mod client;
mod control;
mod faults;
mod group_admin;
mod groups;
mod https;
mod linking;
mod media;
mod messages;
mod recovery;
