//! `config.get`: the configuration file as it is on disk, without its secrets.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::protocol::ErrorShape;
use super::server::Api;
use crate::config::redact;

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
    let parsed = text.as_deref().map(crate::config::parse_text);
    let mut issues: Vec<Value> = problems.iter().map(|p| json!({"path": "", "message": p})).collect();
    let (raw, parsed) = match parsed {
        None => (String::new(), json!({})),
        Some(Ok(mut value)) => {
            let mut secrets = Vec::new();
            redact(&mut value, REDACTED, &mut secrets);
            (hide_in_text(text.as_deref().unwrap_or_default(), &secrets, &value), value)
        }
        // What cannot be parsed cannot be searched for secrets either.
        Some(Err(why)) => {
            if issues.is_empty() {
                issues.push(json!({"path": "", "message": why}));
            }
            (String::new(), json!({}))
        }
    };
    let hash: String =
        text.as_deref().map(|t| Sha256::digest(t).iter().map(|b| format!("{b:02x}")).collect()).unwrap_or_default();
    Ok(json!({
        "path": path.display().to_string(), "exists": text.is_some(), "raw": raw, "parsed": parsed,
        "valid": issues.is_empty(), "config": parsed, "hash": hash, "issues": issues, "warnings": [], "legacyIssues": [],
    }))
}

/// The text with every secret replaced; when one cannot be found as it is written, the redacted JSON instead.
fn hide_in_text(text: &str, secrets: &[String], redacted: &Value) -> String {
    let mut out = text.to_owned();
    for secret in secrets {
        if !out.contains(secret.as_str()) && !text.contains(secret.as_str()) {
            return serde_json::to_string_pretty(redacted).expect("JSON is printable");
        }
        out = out.replace(secret.as_str(), REDACTED);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_leave_neither_text_nor_value() {
        let text = r#"{ // mine
            gateway: { port: 1, auth: { token: 'tok-123' } },
            models: { providers: { a: { apiKey: "sk-9", headers: { "X-Key": "hh" } }, b: { apiKey: "${KEY}" } } },
        }"#;
        let mut value: Value = json5::from_str(text).unwrap();
        let mut secrets = Vec::new();
        redact(&mut value, REDACTED, &mut secrets);
        assert_eq!(secrets, ["tok-123", "sk-9", "hh"]);
        let shown = hide_in_text(text, &secrets, &value);
        for gone in ["tok-123", "sk-9", "\"hh\""] {
            assert!(!shown.contains(gone) && !value.to_string().contains(gone), "{gone}");
        }
        assert!(shown.contains("// mine") && shown.contains("${KEY}"));
        assert_eq!(value["models"]["providers"]["a"]["apiKey"], REDACTED);
    }

    #[test]
    fn a_secret_that_is_written_with_escapes_hides_the_whole_text() {
        let text = r#"{ token: "a\x62c" }"#;
        let mut value: Value = json5::from_str(text).unwrap();
        let mut secrets = Vec::new();
        redact(&mut value, REDACTED, &mut secrets);
        assert!(!hide_in_text(text, &secrets, &value).contains("x62"));
    }
}
