//! What the API itself takes from the configuration, read anew for every connection, so that edits are live.

use std::sync::Arc;

/// The part of the configuration that the API uses.
#[derive(Clone)]
pub struct Settings {
    /// What clients must show; never empty.
    pub token: String,
    /// Origins besides the own one that a browser may come from.
    pub allowed_origins: Vec<String>,
    /// The agents, in file order.
    pub agents: Vec<AgentFacts>,
    /// Id of the agent that answers what no binding claims.
    pub default_agent: String,
    /// Name of the main session.
    pub main_key: String,
    /// One conversation for all senders instead of one each.
    pub global_scope: bool,
}

/// What clients see of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AgentFacts {
    pub id: String,
    pub name: Option<String>,
    pub identity_name: Option<String>,
    pub identity_emoji: Option<String>,
}

/// Where the settings come from.
pub type SettingsSource = Arc<dyn Fn() -> Settings + Send + Sync>;
