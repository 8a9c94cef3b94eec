//! Verso: a self-hosted WhatsApp gateway.

pub mod actors;
pub mod clock;
pub mod config;
pub mod event;
pub mod ids;
pub mod store;
pub mod whatsapp;
