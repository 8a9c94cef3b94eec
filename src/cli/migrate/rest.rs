//! What the original has that does not move, and why.

use std::path::Path;

/// Files and folders of the state folder.
const KEPT_BACK: &[(&str, &str)] = &[
    (
        "workspace",
        "Verso only reads it: name this folder as agents.defaults.workspace, or copy it into agents/<id>/workspace",
    ),
    ("cron", "Verso has no timed jobs"),
    ("memory", "Verso has no memory search; what the agent should know goes into its workspace"),
    ("hooks", "Verso has no hooks"),
    ("extensions", "Verso has no plugins"),
    ("plugins", "Verso has no plugins"),
    ("skills", "Verso has no skills"),
    ("media", "files of earlier messages; nothing refers to them any more"),
    ("browser", "Verso has no browser"),
    ("sandbox", "Verso runs no commands"),
    ("exec-approvals.json", "Verso runs no commands"),
    ("devices", "apps pair anew: Verso's own token lets them in"),
    ("identity", "apps pair anew: Verso's own token lets them in"),
    ("credentials/oauth.json", "logins to model providers do not move: set an apiKey under models.providers"),
];

/// What is there of it, as name and reason.
pub(super) fn kept_back(root: &Path) -> Vec<(String, String)> {
    let mut left: Vec<(String, String)> = KEPT_BACK
        .iter()
        .filter(|(name, _)| root.join(name).exists())
        .map(|(name, why)| ((*name).to_owned(), (*why).to_owned()))
        .collect();
    let agents = std::fs::read_dir(root.join("agents")).into_iter().flatten().flatten();
    let mut profiles: Vec<String> = agents
        .filter(|agent| agent.path().join("agent/auth-profiles.json").exists())
        .map(|agent| format!("agents/{}/agent/auth-profiles.json", agent.file_name().to_string_lossy()))
        .collect();
    profiles.sort();
    let why = "logins to model providers do not move: set an apiKey under models.providers";
    left.extend(profiles.into_iter().map(|name| (name, why.to_owned())));
    left
}
