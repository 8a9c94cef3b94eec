//! Verso: a self-hosted WhatsApp gateway.

pub mod actors;
pub mod agent;
pub mod api;
pub mod backoff;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod delivery;
pub mod event;
pub mod ids;
pub mod policy;
pub mod routing;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod whatsapp;
