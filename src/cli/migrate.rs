//! `verso migrate openclaw`: configuration, pairing lists, WhatsApp links and conversations of the original move in. Its own files
//! stay as they are.

mod rest;
pub(super) mod settings;
mod source;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use super::output::{Failure, Printer};
use super::place::Place;
use super::{show, transfer, upgrade};
use crate::actors::ACTIVATION_FACTS;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::file::{self, Environment};
use crate::ids::{AccountId, SessionKey};
use crate::routing::session_key;
use crate::session::send_policy;
use crate::store::atomic;
use crate::store::credentials::auth_dir;
use crate::store::journal::{Journal, facts_at};
use crate::store::lock::GatewayLock;
use crate::store::original;
use crate::store::transcripts::Transcripts;
use crate::whatsapp::baileys::Taking;

use settings::{Settings, settings};
use source::OldState;

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
    /// Its state folder [env: OPENCLAW_STATE_DIR] [default: ~/.openclaw, or the ~/.clawdbot or ~/.moltbot of older versions]
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Replace what is there already (replaced files are kept beside); go on although the original runs
    #[arg(long)]
    force: bool,
    /// Begin encryption anew in every chat: for a state folder that is an old copy
    #[arg(long)]
    fresh_sessions: bool,
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

/// What the journal notes of a conversation begins so.
const SESSION_FACTS: &str = "session:";

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

struct Migration<'a> {
    old: OldState,
    place: &'a Place,
    dry_run: bool,
    taking: Taking,
    done: Vec<Item>,
    left: Vec<Item>,
}

/// Runs `verso migrate`.
pub(super) async fn run(args: &MigrateArgs, p: &mut Printer<'_>) -> Result<(), Failure> {
    let Source::Openclaw(args) = &args.from;
    let place = Place::of_process();
    let home = Environment::of_process().home.unwrap_or_else(|| PathBuf::from("/"));
    let old = OldState::find(args.from.as_deref(), &home, &|name| std::env::var_os(name));
    if !old.root.is_dir() {
        return Err(Failure::new(format!("{} is no folder", old.root.display()))
            .hint("name the state folder of OpenClaw with --from; it holds openclaw.json and credentials/"));
    }
    let running = original::gateway::running(&old.root);
    if let Some(pid) = running
        && !args.dry_run
        && !args.force
    {
        return Err(transfer::still_runs(pid, &old.root));
    }
    let _alone = if args.dry_run { None } else { Some(GatewayLock::acquire(&place.paths)?) };
    let taking = Taking { force: args.force, fresh_sessions: args.fresh_sessions };
    let mut migration = Migration { old, place: &place, dry_run: args.dry_run, taking, done: vec![], left: vec![] };
    if let Some(pid) = running {
        migration.leave(
            "gateway",
            "openclaw",
            format!("it runs (process {pid}) and has to be stopped before its link moves"),
        );
    }
    let (config, old_dirs) = migration.config()?;
    migration.pairing()?;
    migration.links(&config, &old_dirs).await?;
    migration.sessions(&config).await?;
    for (name, why) in rest::kept_back(&migration.old.root) {
        migration.leave("file", name, why);
    }
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
        let (location, name) = (&self.place.location, self.old.config_name());
        let mine = || -> Result<_, Failure> { Ok(self.place.config()?.config) };
        if !self.old.config.is_file() {
            let config = mine()?;
            self.leave("config", name, "it is not there");
            return Ok((config, OldDirs::new()));
        }
        let Settings { text, loaded, old_dirs, left } = settings(&self.old, location)?;
        let there = file::exists(location);
        if there && !self.taking.force {
            let config = mine()?;
            self.leave("config", name, format!("{} is there already; --force replaces it", location.path.display()));
            return Ok((config, old_dirs));
        }
        if !self.dry_run {
            atomic::private_dir(self.place.paths.root())?;
            file::replace(&location.path, &text)
                .map_err(|e| Failure::new(format!("cannot write {}: {e}", location.path.display())))?;
        }
        let kept = if there { "; the one that was there is kept as .bak" } else { "" };
        self.did("config", name, format!("is now {}{kept}", location.path.display()));
        for (key, why) in left {
            self.leave("config", key, why);
        }
        Ok((loaded.config, old_dirs))
    }

    fn pairing(&mut self) -> Result<(), Failure> {
        let from = self.old.paths.credentials().to_path_buf();
        let mut names: Vec<String> = fs::read_dir(&from)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .filter(|n| n == "whatsapp-pairing.json" || (n.starts_with("whatsapp-") && n.ends_with("allowFrom.json")))
            .collect();
        names.sort();
        for name in names {
            if !from.join(&name).is_file() {
                self.leave("pairing", name, "it is no ordinary file");
                continue;
            }
            let bytes = fs::read(from.join(&name))
                .map_err(|e| Failure::new(format!("cannot read {}: {e}", from.join(&name).display())))?;
            if serde_json::from_slice::<Value>(&bytes).is_err() {
                self.leave("pairing", name, "it is damaged");
                continue;
            }
            let to = self.place.paths.credentials().join(&name);
            match fs::read(&to) {
                Ok(present) if present == bytes => self.leave("pairing", name, "the same is there already"),
                Ok(_) if !self.taking.force => {
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
        let mut seen = Vec::new();
        for id in config.accounts.keys() {
            let named = old_dirs.iter().find(|(account, _)| account == id).map(|(_, dir)| dir.as_path());
            let from = auth_dir(&self.old.paths, id, named);
            seen.push(from.clone());
            if !from.join("creds.json").exists() && !from.join("creds.json.bak").exists() {
                self.leave("link", id.as_str(), "it was not linked there");
                continue;
            }
            let to = auth_dir(&self.place.paths, id, config.account(id).and_then(|a| a.link.auth_dir.as_deref()));
            let moved = if self.dry_run {
                transfer::look_in(&from, id, &to, self.taking).await
            } else {
                transfer::move_in(&from, id, &to, self.taking).await
            };
            match moved {
                Ok(report) => {
                    self.did("link", id.as_str(), format!("{}: {}", report.jid, report.summary()));
                    for warning in report.warnings {
                        self.leave("link", id.as_str(), warning);
                    }
                }
                Err(Failure { message, hint: Some(hint), .. }) => {
                    self.leave("link", id.as_str(), format!("{message}; {hint}"));
                }
                Err(failure) => self.leave("link", id.as_str(), failure.message),
            }
        }
        let whatsapp = self.old.paths.credentials().join("whatsapp");
        for entry in fs::read_dir(whatsapp).into_iter().flatten().flatten() {
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

    async fn sessions(&mut self, config: &Config) -> Result<(), Failure> {
        let (store, main_key) = (config.session.store.as_deref(), config.session.main_key.as_str());
        let mut found = Vec::new();
        for (agent, store) in self.old.session_stores(store) {
            match original::sessions(&store, &agent, main_key) {
                Ok(read) => {
                    found.extend(read.found);
                    if read.others > 0 {
                        self.leave("sessions", &agent, format!("{} of other channels or of jobs", read.others));
                    }
                    if read.wordless > 0 {
                        let why = format!("{} whose transcript is lost, damaged or empty", read.wordless);
                        self.leave("sessions", &agent, why);
                    }
                }
                Err(error) => self.leave("sessions", agent, error.to_string()),
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        let database = self.place.paths.state_db();
        // A dry run may look beside a running gateway; else that one's lock is ours.
        let known = facts_at(&database, SESSION_FACTS, GatewayLock::is_held(&self.place.paths))?;
        let mut present = 0;
        let mut fresh = Vec::new();
        for session in found {
            // A conversation that goes on here already is not mixed with an older one.
            if known.contains(&format!("{SESSION_FACTS}{}", session.key)) {
                present += 1;
            } else {
                fresh.push(session);
            }
        }
        if !self.dry_run && !fresh.is_empty() {
            let begins = !database.exists();
            let journal = Journal::open(&database, Clock::System)?;
            // Whoever comes from another program has no earlier Verso that something changes from.
            if let Some(notice) = upgrade::notice().filter(|_| begins) {
                journal.put(upgrade::TOLD, &notice.id).await?;
            }
            let transcripts = Transcripts::new(self.place.paths.clone());
            for session in &fresh {
                let Some(key) = session_key::parse(&session.key) else { continue };
                transcripts.replace(&key.agent, &session.id, &session.turns)?;
                if let Some(mode) = &session.activation {
                    journal.put(&format!("{ACTIVATION_FACTS}{}", session.key), mode).await?;
                }
                if let Some(send) = session.send {
                    journal.put(&send_policy::fact(&SessionKey::new(&session.key)), send).await?;
                }
                // It comes last: the session counts as moved from here on.
                journal.put(&format!("{SESSION_FACTS}{}", session.key), &session.id).await?;
            }
            journal.close().await;
        }
        if !fresh.is_empty() {
            self.did("sessions", fresh.len().to_string(), "conversations go on with what was said before");
        }
        let chosen = fresh.iter().filter(|session| session.chosen).count();
        if chosen > 0 {
            let why = "had a model, a queue or a way of thinking of their own; the configuration decides now";
            self.leave("sessions", chosen.to_string(), why);
        }
        if present > 0 {
            self.leave("sessions", present.to_string(), "they go on here already");
        }
        Ok(())
    }

    fn report(&self, p: &mut Printer<'_>) {
        let value = json!({"from": self.old.root, "dryRun": self.dry_run, "done": self.done, "left": self.left});
        let line = |item: &Item| format!("- {} {}: {}", item.what, item.name, item.detail);
        show(p, &value, || {
            let head = if self.dry_run { "Would move from" } else { "Moved from" };
            let mut lines = vec![format!("{head} {}:", self.old.root.display())];
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
