//! Verso: a self-hosted WhatsApp gateway.

pub mod clock;
pub mod event;
pub mod ids;
pub mod store;
pub mod whatsapp;
