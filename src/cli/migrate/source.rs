//! Where the original keeps its state: today's name of the folder and its files, and the ones of its earlier versions.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::parse_text;
use crate::store::paths::StatePaths;

/// Names of the state folder, the youngest first.
const FOLDERS: [&str; 4] = [".openclaw", ".clawdbot", ".moltbot", ".moldbot"];
/// Names of the configuration file, the youngest first.
const FILES: [&str; 4] = ["openclaw.json", "clawdbot.json", "moltbot.json", "moldbot.json"];
/// What the variables of each version begin with.
const PREFIXES: [&str; 3] = ["OPENCLAW", "CLAWDBOT", "MOLTBOT"];

/// The state of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OldState {
    /// The state folder.
    pub root: PathBuf,
    /// The configuration file; it need not exist.
    pub config: PathBuf,
    /// The tree of credentials and sessions.
    pub paths: StatePaths,
    /// Its home folder, which `~` stands for.
    pub home: PathBuf,
}

impl OldState {
    /// Finds it: a folder that was named, else the one that the original itself would use with these variables.
    pub fn find(named: Option<&Path>, home: &Path, var: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let of_variables = |name: &str| {
            let values = PREFIXES.iter().filter_map(|prefix| var(&format!("{prefix}_{name}")));
            values.map(PathBuf::from).find(|path| !path.as_os_str().is_empty())
        };
        // A folder that was named is taken by itself: the variables speak of another one.
        let set = |name: &str| if named.is_some() { None } else { of_variables(name) };
        let home = set("HOME").unwrap_or_else(|| home.to_path_buf());
        let expand = |path: PathBuf| path.strip_prefix("~").map_or(path.clone(), |rest| home.join(rest));
        let root = named.map(Path::to_path_buf).or_else(|| set("STATE_DIR").map(expand)).unwrap_or_else(|| {
            let there = FOLDERS.iter().map(|name| home.join(name)).find(|dir| dir.is_dir());
            there.unwrap_or_else(|| home.join(FOLDERS[0]))
        });
        let root = std::path::absolute(&root).unwrap_or(root);
        let config = set("CONFIG_PATH").map(expand).unwrap_or_else(|| {
            let there = FILES.iter().map(|name| root.join(name)).find(|file| file.is_file());
            there.unwrap_or_else(|| root.join(FILES[0]))
        });
        let paths = StatePaths::new(&root, set("OAUTH_DIR").map(expand));
        Self { root, config, paths, home }
    }

    /// The name of the configuration file, for people.
    pub fn config_name(&self) -> String {
        self.config.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Variables that the original gave itself: its `.env`, and `env` of its configuration.
    pub fn variables(&self, config: &str) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let env = parse_text(config).ok().and_then(|tree| tree.get("env").cloned()).unwrap_or_default();
        for object in [env.get("vars"), Some(&env)].into_iter().flatten().filter_map(Value::as_object) {
            for (name, value) in object {
                if let Some(text) = value.as_str() {
                    found.insert(name.clone(), text.to_owned());
                }
            }
        }
        for line in fs::read_to_string(self.root.join(".env")).unwrap_or_default().lines() {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line);
            let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
            let value = value.trim();
            let bare = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q)).unwrap_or(value);
            found.insert(name.trim().to_owned(), bare.to_owned());
        }
        found
    }

    /// The file that lists an agent's sessions; the configuration may put it elsewhere.
    pub fn session_stores(&self, store: Option<&str>) -> Vec<(String, PathBuf)> {
        let names = |dir: &Path| -> Vec<String> {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        let usual = |agent: &str| self.root.join("agents").join(agent).join("sessions/sessions.json");
        let place = |agent: &str| match store {
            Some(store) => {
                let path = PathBuf::from(store.replace("{agentId}", agent));
                path.strip_prefix("~").map_or(path.clone(), |rest| self.home.join(rest))
            }
            None => usual(agent),
        };
        let agents = names(&self.root.join("agents"));
        let mut stores: Vec<(String, PathBuf)> = agents
            .iter()
            .map(|agent| (agent.clone(), Some(place(agent)).filter(|p| p.is_file()).unwrap_or_else(|| usual(agent))))
            .collect();
        // Before there were several agents.
        let oldest = self.root.join("sessions/sessions.json");
        if oldest.is_file() {
            stores.push(("main".to_owned(), oldest));
        }
        stores.dedup_by(|a, b| a.1 == b.1);
        stores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(home: &Path, named: Option<&Path>, set: &[(&str, &str)]) -> (String, String, String) {
        let var = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        let found = OldState::find(named, home, &var);
        let show = |path: &Path| path.display().to_string().replace(&home.display().to_string(), "H");
        (show(&found.root), show(&found.config), show(found.paths.credentials()))
    }

    fn at(root: &str, config: &str, credentials: &str) -> (String, String, String) {
        (root.to_owned(), config.to_owned(), credentials.to_owned())
    }

    #[test]
    fn every_name_that_the_original_had_is_found() {
        let home = tempfile::tempdir().expect("temp dir");
        let h = home.path();
        assert_eq!(find(h, None, &[]), at("H/.openclaw", "H/.openclaw/openclaw.json", "H/.openclaw/credentials"));
        fs::create_dir(h.join(".moltbot")).expect("made");
        assert_eq!(find(h, None, &[]).0, "H/.moltbot");
        fs::create_dir(h.join(".clawdbot")).expect("made");
        fs::write(h.join(".clawdbot/clawdbot.json"), "{}").expect("written");
        assert_eq!(
            find(h, None, &[]),
            at("H/.clawdbot", "H/.clawdbot/clawdbot.json", "H/.clawdbot/credentials"),
            "an older name"
        );
        fs::create_dir(h.join(".openclaw")).expect("made");
        assert_eq!(find(h, None, &[]).0, "H/.openclaw");
        let set = [("CLAWDBOT_STATE_DIR", "~/.moltbot"), ("OPENCLAW_OAUTH_DIR", "/keys"), ("OPENCLAW_STATE_DIR", "")];
        assert_eq!(find(h, None, &set), at("H/.moltbot", "H/.moltbot/openclaw.json", "/keys"));
        let elsewhere = [("OPENCLAW_CONFIG_PATH", "/etc/claw.json"), ("OPENCLAW_HOME", "/srv")];
        assert_eq!(find(h, None, &elsewhere), at("/srv/.openclaw", "/etc/claw.json", "/srv/.openclaw/credentials"));
        let named = h.join(".clawdbot");
        assert_eq!(
            find(h, Some(&named), &elsewhere).1,
            "H/.clawdbot/clawdbot.json",
            "a named folder is taken by itself"
        );
    }
}
