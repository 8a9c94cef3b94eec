//! The whole on-disk tree in one place (behaviour.md 1, design 4).

use std::path::{Path, PathBuf};

use crate::ids::{AccountId, AgentId};
use crate::store::StoreError;
use crate::store::atomic::private_dir;

/// Where everything lies, below the state folder (`~/.verso` by default).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePaths {
    root: PathBuf,
    credentials: PathBuf,
}

impl StatePaths {
    /// The tree below `root`; `credentials` replaces `<root>/credentials` (`VERSO_OAUTH_DIR`).
    pub fn new(root: impl Into<PathBuf>, credentials: Option<PathBuf>) -> Self {
        let root = root.into();
        let credentials = credentials.unwrap_or_else(|| root.join("credentials"));
        Self { root, credentials }
    }

    /// The state folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Credentials of every kind.
    pub fn credentials(&self) -> &Path {
        &self.credentials
    }

    /// The default auth folder of an account.
    pub fn whatsapp_auth(&self, account: &AccountId) -> PathBuf {
        self.credentials.join("whatsapp").join(account.as_str())
    }

    /// Pending pairing requests, in the original's format.
    pub fn pairing_requests(&self) -> PathBuf {
        self.credentials.join("whatsapp-pairing.json")
    }

    /// Senders let in by pairing, in the original's format.
    pub fn pairing_allowed(&self) -> PathBuf {
        self.credentials.join("whatsapp-allowFrom.json")
    }

    /// Journal and outbox.
    pub fn state_db(&self) -> PathBuf {
        self.root.join("state.db")
    }

    /// Held by the one gateway that uses this state folder.
    pub fn gateway_lock(&self) -> PathBuf {
        self.root.join("gateway.lock")
    }

    /// The API token that is made when none is configured.
    pub fn gateway_token(&self) -> PathBuf {
        self.root.join("gateway.token")
    }

    /// Received and prepared media.
    pub fn media(&self) -> PathBuf {
        self.root.join("media")
    }

    /// Received media.
    pub fn media_inbound(&self) -> PathBuf {
        self.media().join("inbound")
    }

    /// Files that are ready to be sent.
    pub fn media_outbound(&self) -> PathBuf {
        self.media().join("outbound")
    }

    /// The default workspace of an agent.
    pub fn workspace(&self, agent: &AgentId) -> PathBuf {
        self.root.join("agents").join(agent.as_str()).join("workspace")
    }

    /// The transcripts of an agent.
    pub fn sessions(&self, agent: &AgentId) -> PathBuf {
        self.root.join("agents").join(agent.as_str()).join("sessions")
    }

    /// Creates the folders that a gateway needs.
    ///
    /// # Errors
    /// When one cannot be created or written to.
    pub fn prepare(&self) -> Result<(), StoreError> {
        private_dir(&self.root)?;
        private_dir(&self.credentials)?;
        let probe = tempfile::Builder::new().prefix(".verso-probe-").tempfile_in(&self.root);
        probe.map(drop).map_err(StoreError::io("write into", &self.root))
    }
}
