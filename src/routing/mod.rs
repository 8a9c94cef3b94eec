//! Which agent and which session a chat belongs to. Deterministic: the same chat and config always give the same route.

pub mod bindings;
pub mod main_session;
pub mod session_key;
pub mod target;

/// The only channel that Verso serves, as it stands in session keys and bindings.
pub const CHANNEL: &str = "whatsapp";
