//! The agent's workspace: the files that say who it is and what it should know.

use std::path::Path;

use tokio::io::AsyncReadExt;

/// The files, in the order in which the model reads them.
const FILES: &[&str] = &["AGENTS.md", "SOUL.md", "IDENTITY.md", "USER.md"];
/// Most bytes read of one file: a log that landed there by accident must not become every prompt.
const MAX_FILE: u64 = 64 * 1024;

/// The workspace files as one system prompt; `None` when there are none.
///
/// # Errors
/// When a file is there but cannot be read.
pub async fn system_prompt(workspace: &Path) -> std::io::Result<Option<String>> {
    let mut parts = Vec::new();
    for name in FILES {
        let file = match tokio::fs::File::open(workspace.join(name)).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes).await?;
        let text = String::from_utf8_lossy(&bytes);
        if !text.trim().is_empty() {
            parts.push(format!("# {name}\n\n{}", text.trim()));
        }
    }
    Ok((!parts.is_empty()).then(|| parts.join("\n\n")))
}
