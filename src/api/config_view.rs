//! `config.get`: the configuration file as it is on disk, without its secrets.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::protocol::ErrorShape;
use super::server::Api;
use crate::config::redact_text;

/// What stands in place of a secret; the same marker in a write means "keep".
pub const REDACTED: &str = "__OPENCLAW_REDACTED__";

/// Method `config.get`.
pub(super) async fn get(api: &Api) -> Result<Value, ErrorShape> {
    let path = api.config_path.clone();
    let text = match tokio::fs::read_to_string(&path).await {
        Ok(text) => Some(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(ErrorShape::unavailable(format!("cannot read {}: {e}", path.display()))),
    };
    let problems = api.status().await.map(|s| s.config_problems).unwrap_or_default();
    let mut issues: Vec<Value> = problems.iter().map(|p| json!({"path": "", "message": p})).collect();
    let (raw, parsed) = match text.as_deref().map(|text| (text, redact_text(text, REDACTED))) {
        None => (String::new(), json!({})),
        Some((_, Some(shown))) => shown,
        // What cannot be parsed cannot be searched for secrets either.
        Some((text, None)) => {
            if let (true, Err(why)) = (issues.is_empty(), crate::config::parse_text(text)) {
                issues.push(json!({"path": "", "message": why}));
            }
            (String::new(), json!({}))
        }
    };
    let hash = text.as_deref().map(hash).unwrap_or_default();
    Ok(json!({
        "path": path.display().to_string(), "exists": text.is_some(), "raw": raw, "parsed": parsed,
        "valid": issues.is_empty(), "config": parsed, "hash": hash, "issues": issues, "warnings": [], "legacyIssues": [],
    }))
}

/// SHA-256 of the file's text, in hexadecimal: what an edit says it was made on.
pub(super) fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect()
}
