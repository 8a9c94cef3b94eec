//! The whole on-disk tree in one place (behaviour.md 1, design 4).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
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

    /// The version of WhatsApp Web that was looked up last.
    pub fn web_version(&self) -> PathBuf {
        self.root.join("web-version.json")
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

    /// Takes the state folder away from other users of the machine; answers with a sentence when they could use it. A folder that is
    /// not Verso's alone (another user's, shared like `/tmp`, or `home`) keeps its mode, and the sentence says what to do.
    pub fn make_private(&self, home: Option<&Path>) -> Option<String> {
        let (root, shown) = (&self.root, self.root.display());
        let meta = fs::metadata(root).ok()?;
        let mode = meta.permissions().mode() & 0o7777;
        if mode & 0o077 == 0 {
            return None;
        }
        let others = format!("other users of this machine can reach into the state folder {shown} (mode {:04o})", mode);
        let ours = meta.uid() == rustix::process::geteuid().as_raw() && mode & 0o1000 == 0;
        if !ours || home.is_some_and(|home| home == root) {
            return Some(format!("{others}; set VERSO_STATE_DIR to a folder of Verso's own, with mode 0700"));
        }
        Some(match fs::set_permissions(root, fs::Permissions::from_mode(mode & 0o700)) {
            Ok(()) => format!("{others}; that is over now: its mode is {:04o}", mode & 0o700),
            Err(error) => format!("{others} and its mode cannot be changed ({error}); run: chmod 700 {shown}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_that_others_could_use_is_closed_unless_it_is_shared() {
        let dir = tempfile::tempdir().expect("temp dir");
        let root = dir.path().join("state");
        fs::create_dir(&root).expect("made");
        let paths = StatePaths::new(&root, None);
        let with = |mode: u32| {
            fs::set_permissions(&root, fs::Permissions::from_mode(mode)).expect("chmod");
            let said = paths.make_private(Some(Path::new("/home/ann")));
            (said, fs::metadata(&root).expect("there").permissions().mode() & 0o7777)
        };
        assert_eq!(with(0o700), (None, 0o700));
        for open in [0o755, 0o750, 0o777] {
            let (said, mode) = with(open);
            assert!(said.expect("a warning").contains(&format!("(mode {open:04o}); that is over now")), "{open:o}");
            assert_eq!(mode, 0o700);
        }
        let (said, mode) = with(0o1777);
        assert!(said.expect("a warning").contains("set VERSO_STATE_DIR"));
        assert_eq!(mode, 0o1777);
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("chmod");
        assert!(paths.make_private(Some(&root)).expect("a warning").contains("set VERSO_STATE_DIR"), "somebody's home");
    }
}
