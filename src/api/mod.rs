//! The API of a running gateway: one port for WebSocket JSON-RPC ([`ws`]) and health pages ([`http`]).
//!
//! Compatible with the OpenClaw gateway protocol 3 and 4. A connection is challenged, proves the shared token with `connect`
//! ([`auth`]), gets `hello-ok` and then calls methods ([`methods`]); what happens is pushed to it ([`hub`]). All state lives behind
//! [`GatewayPort`](crate::actors::messages::GatewayPort).

pub mod auth;
mod channels;
mod config_edit;
mod config_view;
mod dedupe;
mod door;
pub mod explain;
pub mod http;
pub mod hub;
mod lockout;
mod login;
mod logs;
pub mod methods;
mod overview;
mod pairing;
mod params;
pub mod protocol;
pub mod qr;
mod seats;
mod send;
pub mod server;
pub mod settings;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod ws;

pub use login::grouped as grouped_code;
pub use overview::{issue as status_issue, unclaimed_issue};
pub use pairing::{iso as iso_time, parse_iso as parse_iso_time};
pub use server::{ApiHandle, ApiOptions, Bind, Listeners, listen, serve};
pub use settings::{AgentFacts, Settings, SettingsSource};
