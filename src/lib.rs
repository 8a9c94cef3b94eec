//! Verso: a self-hosted WhatsApp gateway.

pub mod actors;
pub mod api;
pub mod clock;
pub mod config;
pub mod event;
pub mod ids;
