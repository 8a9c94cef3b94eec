//! The agent's workspace: the files that tell the model who it is.

use std::io::Read;
use std::path::Path;

/// The files, in the order in which the model reads them.
const FILES: [&str; 4] = ["AGENTS.md", "SOUL.md", "IDENTITY.md", "USER.md"];
/// What is read of each file at most.
const MAX_BYTES: u64 = 64 * 1024;

/// The system prompt made of the workspace files that exist; empty when none does.
pub fn system_prompt(workspace: &Path) -> String {
    let mut prompt = String::new();
    for name in FILES {
        let Ok(file) = std::fs::File::open(workspace.join(name)) else { continue };
        let mut bytes = Vec::new();
        if let Err(error) = file.take(MAX_BYTES).read_to_end(&mut bytes) {
            tracing::warn!(target: "agent", file = name, %error, "a workspace file cannot be read");
            continue;
        }
        let text = String::from_utf8_lossy(&bytes);
        if !text.trim().is_empty() {
            if !prompt.is_empty() {
                prompt.push_str("\n\n");
            }
            prompt.push_str(&format!("# {name}\n\n{}", text.trim()));
        }
    }
    prompt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_files_are_joined_in_order() {
        let dir = tempfile::tempdir().expect("temp dir");
        assert_eq!(system_prompt(dir.path()), "");
        std::fs::write(dir.path().join("SOUL.md"), "kind\n").expect("write");
        std::fs::write(dir.path().join("AGENTS.md"), "short").expect("write");
        assert_eq!(system_prompt(dir.path()), "# AGENTS.md\n\nshort\n\n# SOUL.md\n\nkind");
    }
}
