//! The whole tree on disk in one place.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::ids::{AccountId, AgentId};

/// Where everything lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePaths {
    root: PathBuf,
    config: PathBuf,
    credentials: PathBuf,
}

/// A folder of the state cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the folder {}: {cause}; make it readable and writable for this user, or choose another with VERSO_STATE_DIR", path.display())]
pub struct FolderError {
    /// The folder.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub cause: io::Error,
}

/// Neither a state folder nor a home folder is known.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state folder is not known because HOME is not set; set VERSO_STATE_DIR")]
pub struct NoHome;

impl StatePaths {
    /// All below one folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { config: root.join("verso.json"), credentials: root.join("credentials"), root }
    }

    /// Reads `VERSO_STATE_DIR`, `VERSO_HOME`, `VERSO_CONFIG_PATH`, `VERSO_OAUTH_DIR` and `HOME` through `env`.
    ///
    /// # Errors
    /// When no variable names a folder.
    pub fn locate(env: impl Fn(&str) -> Option<String>) -> Result<Self, NoHome> {
        let env = |key: &str| env(key).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let home = env("VERSO_HOME").or_else(|| env("HOME")).map(PathBuf::from);
        let expand = |text: String| match (text.strip_prefix("~/"), &home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(text),
        };
        let root = match (env("VERSO_STATE_DIR"), &home) {
            (Some(dir), _) => expand(dir),
            (None, Some(home)) => home.join(".verso"),
            (None, None) => return Err(NoHome),
        };
        let mut paths = Self::new(root);
        if let Some(path) = env("VERSO_CONFIG_PATH") {
            paths.config = expand(path);
        }
        if let Some(dir) = env("VERSO_OAUTH_DIR") {
            paths.credentials = expand(dir);
        }
        Ok(paths)
    }

    /// The state folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The config file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Credentials, the pairing and allow files, `oauth.json`.
    pub fn credentials(&self) -> &Path {
        &self.credentials
    }

    /// An account's own folder when none is configured.
    pub fn account(&self, account: &AccountId) -> PathBuf {
        self.credentials.join("whatsapp").join(account.as_str())
    }

    /// Journal and outbox.
    pub fn state_db(&self) -> PathBuf {
        self.root.join("state.db")
    }

    /// Held by the running gateway.
    pub fn gateway_lock(&self) -> PathBuf {
        self.root.join("gateway.lock")
    }

    /// Media that came in.
    pub fn media_inbound(&self) -> PathBuf {
        self.root.join("media").join("inbound")
    }

    /// An agent's workspace and transcripts.
    pub fn agent(&self, agent: &AgentId) -> PathBuf {
        self.root.join("agents").join(agent.as_str())
    }

    /// Creates the state folder and the credentials folder for this user only.
    ///
    /// # Errors
    /// When one cannot be created or written.
    pub fn ensure(&self) -> Result<(), FolderError> {
        for dir in [&self.root, &self.credentials] {
            private_dir(dir)?;
        }
        Ok(())
    }
}

/// Creates a folder (mode 0700) and checks that this user may write into it. One that exists keeps its mode unless
/// others could look into it.
///
/// # Errors
/// When it cannot be created, narrowed or written.
pub fn private_dir(path: &Path) -> Result<(), FolderError> {
    let failed = |cause| FolderError { path: path.to_owned(), cause };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700)).map_err(failed)?;
    }
    tempfile::tempfile_in(path).map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides() {
        let locate = |vars: &[(&str, &str)]| {
            let vars: Vec<(String, String)> = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            StatePaths::locate(move |key| vars.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()))
        };
        let root = |vars| locate(vars).map(|p| p.root().to_owned());
        assert_eq!(root(&[("HOME", "/h")]), Ok("/h/.verso".into()));
        assert_eq!(root(&[("HOME", "/h"), ("VERSO_HOME", "/v")]), Ok("/v/.verso".into()));
        assert_eq!(root(&[("HOME", "/h"), ("VERSO_STATE_DIR", "~/s")]), Ok("/h/s".into()));
        assert_eq!(root(&[("VERSO_STATE_DIR", " ")]), Err(NoHome));
        let all = locate(&[("HOME", "/h"), ("VERSO_CONFIG_PATH", "/c.json"), ("VERSO_OAUTH_DIR", "/o")]).expect("home");
        assert_eq!(all.config(), Path::new("/c.json"));
        assert_eq!(all.account(&AccountId::new("Work")), Path::new("/o/whatsapp/work"));
    }

    #[test]
    fn folders_are_private() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let paths = StatePaths::new(dir.path().join("state"));
        paths.ensure()?;
        fs::set_permissions(paths.root(), fs::Permissions::from_mode(0o755))?;
        paths.ensure()?;
        for folder in [paths.root(), paths.credentials()] {
            assert_eq!(fs::metadata(folder)?.permissions().mode() & 0o777, 0o700);
        }
        Ok(())
    }

    #[test]
    fn a_folder_that_is_a_file_names_the_fix() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("state");
        fs::write(&file, "")?;
        let error = StatePaths::new(file).ensure().expect_err("a file is no folder");
        assert!(error.to_string().contains("VERSO_STATE_DIR"), "{error}");
        Ok(())
    }
}
