//! `verso migrate openclaw`: configuration, pairing lists, WhatsApp links and conversations of the original move in. Its own files
//! stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use super::output::{Failure, Printer};
use super::place::Place;
use super::{show, transfer};
use crate::clock::Clock;
use crate::config::file::{self, Environment};
use crate::config::{Config, Loaded, edit, parse_text};
use crate::ids::AccountId;
use crate::routing::session_key;
use crate::store::atomic;
use crate::store::credentials::auth_dir;
use crate::store::journal::Journal;
use crate::store::lock::GatewayLock;
use crate::store::original;
use crate::store::paths::StatePaths;
use crate::store::transcripts::Transcripts;
use crate::whatsapp::baileys;

/// Arguments of `verso migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(subcommand)]
    from: Source,
}

#[derive(Debug, Subcommand)]
enum Source {
    /// The state folder of OpenClaw
    Openclaw(OpenclawArgs),
}

#[derive(Debug, Args)]
struct OpenclawArgs {
    /// Its state folder [env: OPENCLAW_STATE_DIR] [default: ~/.openclaw]
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Replace what is there already; replaced files are kept beside
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl MigrateArgs {
    /// True when a program reads the output.
    pub fn json(&self) -> bool {
        let Source::Openclaw(args) = &self.from;
        args.json
    }
}

/// One thing that moved or stayed.
#[derive(Debug, Serialize)]
struct Item {
    /// config, pairing, link, sessions.
    what: &'static str,
    /// Which.
    name: String,
    /// What became of it.
    detail: String,
}

/// Accounts whose folder was a place of its own in the old state.
type OldDirs = Vec<(AccountId, PathBuf)>;

/// What Verso takes of the old configuration.
struct Served {
    text: String,
    loaded: Loaded,
    /// Keys that had to go, and why.
    dropped: Vec<(String, String)>,
}

struct Migration<'a> {
    from: PathBuf,
    place: &'a Place,
    dry_run: bool,
    force: bool,
    done: Vec<Item>,
    left: Vec<Item>,
}

/// Runs `verso migrate`.
pub(super) async fn run(args: &MigrateArgs, p: &mut Printer<'_>) -> Result<(), Failure> {
    let Source::Openclaw(args) = &args.from;
    let place = Place::of_process();
    let home = Environment::of_process().home.unwrap_or_else(|| PathBuf::from("/"));
    let named = args.from.clone().or_else(|| std::env::var_os("OPENCLAW_STATE_DIR").map(PathBuf::from));
    let from = named.unwrap_or_else(|| home.join(".openclaw"));
    if !from.is_dir() {
        return Err(Failure::new(format!("{} is no folder", from.display()))
            .hint("name the state folder of OpenClaw with --from; it holds openclaw.json and credentials/"));
    }
    let _alone = if args.dry_run { None } else { Some(GatewayLock::acquire(&place.paths)?) };
    let mut migration =
        Migration { from, place: &place, dry_run: args.dry_run, force: args.force, done: vec![], left: vec![] };
    let (config, old_dirs) = migration.config()?;
    migration.pairing()?;
    migration.links(&config, &old_dirs).await?;
    migration.sessions().await?;
    migration.report(p);
    Ok(())
}

impl Migration<'_> {
    fn did(&mut self, what: &'static str, name: impl Into<String>, detail: impl Into<String>) {
        self.done.push(Item { what, name: name.into(), detail: detail.into() });
    }

    fn leave(&mut self, what: &'static str, name: impl Into<String>, detail: impl Into<String>) {
        self.left.push(Item { what, name: name.into(), detail: detail.into() });
    }

    /// The configuration that is in force afterwards, and the folders that its accounts had in the old one.
    fn config(&mut self) -> Result<(Arc<Config>, OldDirs), Failure> {
        let source = self.from.join("openclaw.json");
        let location = &self.place.location;
        let mine = || -> Result<_, Failure> { Ok(self.place.config()?.config) };
        if !source.is_file() {
            let config = mine()?;
            self.leave("config", "openclaw.json", "it is not there");
            return Ok((config, OldDirs::new()));
        }
        let text = file::read_text(&source).map_err(|why| Failure::new(format!("{}: {why}", source.display())))?;
        let Served { mut text, loaded, dropped } = served(location, text, &source)?;
        // Folders of their own inside the old state are moved like the others.
        let mut old_dirs = OldDirs::new();
        for (id, account) in &loaded.config.accounts {
            if let Some(dir) = account.link.auth_dir.as_deref().filter(|d| d.starts_with(&self.from)) {
                old_dirs.push((id.clone(), dir.to_path_buf()));
            }
        }
        let mut paths = vec![vec!["channels", "whatsapp", "authDir"]];
        paths.extend(old_dirs.iter().map(|(id, _)| vec!["channels", "whatsapp", "accounts", id.as_str(), "authDir"]));
        if !old_dirs.is_empty() {
            for path in paths {
                let path: Vec<String> = path.into_iter().map(str::to_owned).collect();
                if let Some(shorter) = without(&text, &path) {
                    text = shorter;
                }
            }
        }
        let there = file::exists(location);
        if there && !self.force {
            let config = mine()?;
            self.leave(
                "config",
                "openclaw.json",
                format!("{} is there already; --force replaces it", location.path.display()),
            );
            return Ok((config, old_dirs));
        }
        let config = file::load_edited(location, &text)
            .map_err(|rejected| Failure::new(format!("{} cannot be taken over: {rejected}", source.display())))?
            .config;
        if !self.dry_run {
            atomic::private_dir(self.place.paths.root())?;
            file::replace(&location.path, &text)
                .map_err(|e| Failure::new(format!("cannot write {}: {e}", location.path.display())))?;
        }
        let kept = if there { "; the one that was there is kept as .bak" } else { "" };
        self.did("config", "openclaw.json", format!("is now {}{kept}", location.path.display()));
        for warning in &loaded.warnings {
            self.leave("config", warning.key_path.to_string(), warning.message.clone());
        }
        for (path, why) in dropped {
            self.leave("config", path, why);
        }
        Ok((config, old_dirs))
    }

    fn pairing(&mut self) -> Result<(), Failure> {
        let from = self.from.join("credentials");
        let mut names: Vec<String> = fs::read_dir(&from)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .filter(|n| n == "whatsapp-pairing.json" || (n.starts_with("whatsapp-") && n.ends_with("allowFrom.json")))
            .collect();
        names.sort();
        for name in names {
            let bytes = fs::read(from.join(&name))
                .map_err(|e| Failure::new(format!("cannot read {}: {e}", from.join(&name).display())))?;
            if serde_json::from_slice::<Value>(&bytes).is_err() {
                self.leave("pairing", name, "it is damaged");
                continue;
            }
            let to = self.place.paths.credentials().join(&name);
            match fs::read(&to) {
                Ok(present) if present == bytes => self.leave("pairing", name, "the same is there already"),
                Ok(_) if !self.force => {
                    self.leave("pairing", name, format!("{} is there already; --force replaces it", to.display()))
                }
                present => {
                    if !self.dry_run {
                        if let Ok(present) = present {
                            atomic::replace(&to.with_extension("json.replaced"), &present)?;
                        }
                        atomic::replace(&to, &bytes)?;
                    }
                    self.did("pairing", name, format!("copied to {}", to.display()));
                }
            }
        }
        Ok(())
    }

    async fn links(&mut self, config: &Config, old_dirs: &OldDirs) -> Result<(), Failure> {
        let old = StatePaths::new(&self.from, None);
        let mut seen = Vec::new();
        for id in config.accounts.keys() {
            let named = old_dirs.iter().find(|(account, _)| account == id).map(|(_, dir)| dir.as_path());
            let from = auth_dir(&old, id, named);
            seen.push(from.clone());
            if !from.join("creds.json").exists() && !from.join("creds.json.bak").exists() {
                self.leave("link", id.as_str(), "it was not linked there");
                continue;
            }
            let to = auth_dir(&self.place.paths, id, config.account(id).and_then(|a| a.link.auth_dir.as_deref()));
            let moved = if self.dry_run {
                baileys::inspect(&from, Clock::System.now()).await.map_err(Failure::from)
            } else {
                transfer::move_in(&from, id, &to, self.force).await
            };
            match moved {
                Ok(report) => self.did("link", id.as_str(), format!("{}: {}", report.jid, report.summary())),
                Err(failure) => self.leave("link", id.as_str(), failure.message),
            }
        }
        for entry in fs::read_dir(old.credentials().join("whatsapp")).into_iter().flatten().flatten() {
            let dir = entry.path();
            if dir.join("creds.json").exists() && !seen.contains(&dir) {
                let name = entry.file_name().to_string_lossy().into_owned();
                let how = format!(
                    "no account of the configuration has it; add one, then: verso channels import --from {} --account {name}",
                    dir.display()
                );
                self.leave("link", name, how);
            }
        }
        Ok(())
    }

    async fn sessions(&mut self) -> Result<(), Failure> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.from.join("agents")).into_iter().flatten().flatten() {
            let agent = entry.file_name().to_string_lossy().into_owned();
            match original::sessions(&entry.path().join("sessions")) {
                Ok((sessions, others)) => {
                    found.extend(sessions.into_iter().filter(|s| !s.turns.is_empty()));
                    if others > 0 {
                        self.leave("sessions", agent, format!("{others} of other channels or damaged"));
                    }
                }
                Err(error) => self.leave("sessions", agent, error.to_string()),
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        let (mut moved, mut present) = (0, 0);
        if self.dry_run {
            moved = found.len();
        } else {
            let journal = Journal::open(&self.place.paths.state_db(), Clock::System)?;
            let transcripts = Transcripts::new(self.place.paths.clone());
            for session in &found {
                let Some(key) = session_key::parse(&session.key) else { continue };
                let fact = format!("session:{}", session.key);
                // A conversation that goes on here already is not mixed with an older one.
                if journal.get(&fact).await?.is_some() {
                    present += 1;
                    continue;
                }
                transcripts.append(&key.agent, &session.id, &session.turns)?;
                journal.put(&fact, &session.id).await?;
                moved += 1;
            }
            journal.close().await;
        }
        if moved > 0 {
            self.did("sessions", format!("{moved}"), "conversations go on with what was said before");
        }
        if present > 0 {
            self.leave("sessions", format!("{present}"), "they go on here already");
        }
        Ok(())
    }

    fn report(&self, p: &mut Printer<'_>) {
        let value = json!({"from": self.from, "dryRun": self.dry_run, "done": self.done, "left": self.left});
        let line = |item: &Item| format!("- {} {}: {}", item.what, item.name, item.detail);
        show(p, &value, || {
            let head = if self.dry_run { "Would move from" } else { "Moved from" };
            let mut lines = vec![format!("{head} {}:", self.from.display())];
            lines.extend(self.done.iter().map(line));
            if self.done.is_empty() {
                lines.push("- nothing".into());
            }
            if !self.left.is_empty() {
                lines.push("Left:".into());
                lines.extend(self.left.iter().map(line));
            }
            lines.push(
                "Stop OpenClaw before you start Verso: two programs on one link make WhatsApp report a conflict (440)."
                    .into(),
            );
            lines
        });
    }
}

/// The text of the configuration as far as Verso can serve it, and the keys that had to go.
fn served(location: &file::ConfigSource, mut text: String, source: &Path) -> Result<Served, Failure> {
    let mut dropped = Vec::new();
    loop {
        let rejected = match file::load_edited(location, &text) {
            Ok(loaded) => return Ok(Served { text, loaded, dropped }),
            Err(rejected) => rejected,
        };
        let removable = rejected.iter().find_map(|problem| {
            let path = edit::parse_path(&problem.key_path.to_string()).ok().filter(|p| !p.is_empty())?;
            let shorter = without(&text, &path)?;
            Some((problem.key_path.to_string(), problem.message.clone(), shorter))
        });
        let Some((path, why, shorter)) = removable else {
            return Err(Failure::new(format!("{} cannot be taken over: {rejected}", source.display())));
        };
        dropped.push((path, why));
        text = shorter;
    }
}

/// The text without this key. The object that it was in stays, also when nothing is left in it: an account may be one.
pub(super) fn without(text: &str, path: &[String]) -> Option<String> {
    let shorter = edit::unset(text, path).ok().flatten()?;
    let (_, parent) = path.split_last()?;
    let there = parent.is_empty() || edit::get(&parse_text(&shorter).ok()?, parent).is_some();
    if there { Some(shorter) } else { edit::set(&shorter, parent, &json!({})).ok().or(Some(shorter)) }
}
