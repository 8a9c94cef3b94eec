//! The config file: as written, as meant, checked, compared, edited.
//!
//! ```text
//! text ── source (json5 + positions) ── include, env ── legacy ── schema check ── raw ── resolve + validate ── Arc<Config>
//! ```
//!
//! Everything here is pure but [`file`], the one place that touches the disk.

pub mod model;
mod problem;
pub mod raw;
mod resolve;
mod validate;

use std::path::PathBuf;
use std::sync::Arc;

pub use model::*;
pub use problem::{Finding, Findings, KeyPath, Problem, Seg, Warning};
pub use resolve::{ResolveEnv, Resolved, duration_text, resolve};

/// A config that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The config as meant.
    pub config: Arc<Config>,
    /// What somebody should know about it.
    pub warnings: Vec<Warning>,
    /// Every file it was read from, the main one first.
    pub files: Vec<PathBuf>,
}

/// Reads a config from its text alone; no `$include`, no `${ENV}`.
///
/// # Errors
/// Every problem of the text at once.
pub fn load_text(text: &str, env: &ResolveEnv) -> Result<Loaded, Vec<Problem>> {
    let fail = |message: String| {
        vec![Problem {
            key_path: KeyPath::default(),
            file: None,
            line: 0,
            column: 0,
            message,
            hint: None,
            incomplete: false,
        }]
    };
    let raw: raw::RawConfig = json5::from_str(text).map_err(|e| fail(e.to_string()))?;
    let Resolved { config, findings } = resolve(&raw, env);
    if findings.problems.is_empty() {
        return Ok(Loaded { config: Arc::new(config), warnings: Vec::new(), files: Vec::new() });
    }
    Err(findings.problems.into_iter().flat_map(|f| fail(format!("{}: {}", f.path, f.message))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_file_is_a_whole_config() {
        let loaded = load_text("{}", &ResolveEnv::new("/home/u", "/home/u/.verso")).unwrap();
        let config = loaded.config;
        assert_eq!(config.default_account.as_str(), "default");
        assert_eq!(config.agents.default_agent().model.to_string(), "echo");
        assert_eq!(config.account(&config.default_account).unwrap().rules.dm_policy, DmPolicy::Pairing);
    }
}
