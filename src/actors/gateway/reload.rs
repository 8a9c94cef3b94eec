//! An edit of `verso.json`: what changed is applied, what is wrong changes nothing.

use actix::prelude::*;

use super::{GatewayActor, version_settings};
use crate::actors::messages::{GatewayEvent, Refusal, Reload};
use crate::actors::router::ConfigChanged;
use crate::actors::supervisor::{ApplyAccount, EndAccount};
use crate::actors::watcher::ConfigFileChanged;
use crate::config::diff::{AccountOutcome, ConfigDiff, ReloadReceipt};
use crate::config::{Config, Loaded, Problem, Rejected, file};
use crate::store::credentials::auth_dir;
use crate::whatsapp::seal::SealedFolder;

impl GatewayActor {
    /// Applies what changed in the file. Keeps the configuration in force when the file is wrong.
    fn take(
        &mut self,
        outcome: Result<Loaded, Rejected>,
        ctx: &mut Context<Self>,
    ) -> Result<serde_json::Value, Refusal> {
        if self.stopping {
            return Err(Refusal::Unavailable("the gateway is stopping".to_owned()));
        }
        let loaded = match outcome {
            Ok(loaded) => loaded,
            Err(rejected) => {
                return Err(self.refuse(rejected.problems.iter().map(ToString::to_string).collect()));
            }
        };
        self.problems.clear();
        let diff = ConfigDiff::between(&self.config, &loaded.config);
        if let Some(problem) = self.takes_down(&diff, &loaded.config) {
            return Err(self.refuse(vec![problem.to_string()]));
        }
        let moved = self.places != loaded.places;
        self.places = loaded.places;
        if diff.is_empty() {
            if moved {
                self.announce();
            }
            return Ok(self.last_reload.clone());
        }
        for warning in &loaded.warnings {
            tracing::warn!(target: "config", "{warning}");
        }
        let locked = self.locked_out(&diff, &loaded.config);
        for why in &locked {
            tracing::warn!(target: "config", "{why}");
        }
        self.revision += 1;
        self.config = loaded.config;
        self.apply(&diff, ctx);
        let mut receipt = ReloadReceipt::new(self.revision, &diff, self.cx.clock.now()).with_warnings(&loaded.warnings);
        receipt.warnings.extend(locked);
        tracing::info!(target: "config", "{receipt}");
        self.last_reload = serde_json::to_value(&receipt).expect("a receipt is plain data");
        self.publish(GatewayEvent::Reload(self.last_reload.clone()));
        Ok(self.last_reload.clone())
    }

    /// What would take a connected account down although the file loads: its key is not where the edit says.
    fn takes_down(&self, diff: &ConfigDiff, new: &Config) -> Option<Problem> {
        let connected = |id| self.statuses.get(id).is_some_and(|status| status.connected);
        let hit = diff.accounts.iter().any(|(id, change)| *change == AccountOutcome::Relinked && connected(id));
        if hit { file::missing_key(new) } else { None }
    }

    /// Accounts that the edit stops, because their files are sealed and their key is not in it.
    fn locked_out(&self, diff: &ConfigDiff, new: &Config) -> Vec<String> {
        let relinked = diff.accounts.iter().filter(|(_, change)| **change == AccountOutcome::Relinked);
        let accounts = relinked.filter_map(|(id, _)| new.account(id));
        accounts
            .filter_map(|account| {
                let dir = auth_dir(&self.cx.paths, &account.id, account.link.auth_dir.as_deref());
                let encryption = account.link.encryption.as_deref();
                SealedFolder { dir: &dir, account: &account.id, encryption }.trouble()
            })
            .collect()
    }

    /// Keeps the configuration in force, and says so once.
    fn refuse(&mut self, lines: Vec<String>) -> Refusal {
        let problems = lines.join("\n");
        let refusal = format!("the edit is not applied, revision {} stays in force:\n{problems}", self.revision);
        if self.problems != lines {
            tracing::error!(target: "config", revision = self.revision, "{refusal}");
            self.problems = lines;
            self.publish(GatewayEvent::Reload(serde_json::json!({
                "applied": false, "revision": self.revision, "problems": self.problems,
            })));
        }
        Refusal::Invalid(refusal)
    }

    /// Tells those that judge and answer what is in force, and where it stands.
    fn announce(&self) {
        let places = self.places.clone();
        let changed = ConfigChanged { config: self.config.clone(), revision: self.revision, places };
        self.router.do_send(changed.clone());
        self.agents.do_send(changed);
    }

    /// Stops, applies, starts: in this order, so that an account directory is free before another account takes it.
    fn apply(&mut self, diff: &ConfigDiff, ctx: &mut Context<Self>) {
        self.announce();
        // Before an account that it wakes can ask for it.
        self.cx.socket.version.do_send(version_settings(&self.config));
        for (id, change) in &diff.accounts {
            match (self.config.account(id).cloned(), self.accounts.get(id)) {
                (None, Some(_)) => {
                    if let Some(supervisor) = self.accounts.remove(id) {
                        supervisor.do_send(EndAccount);
                    }
                    self.statuses.remove(id);
                }
                (Some(_), None) => self.start_account(id, ctx),
                // Also an account that is kept hears of `web.*`.
                (Some(account), Some(supervisor)) => {
                    tracing::debug!(target: "config", account = %id, %change, "applied");
                    supervisor.do_send(ApplyAccount { account, web: self.config.web.clone() });
                }
                (None, None) => {}
            }
        }
    }
}

impl Handler<ConfigFileChanged> for GatewayActor {
    type Result = ();

    fn handle(&mut self, changed: ConfigFileChanged, ctx: &mut Self::Context) {
        // A refusal is logged, published and part of the status; nobody waits for it here.
        let _ = self.take(changed.outcome, ctx);
    }
}

impl Handler<Reload> for GatewayActor {
    type Result = ResponseActFuture<Self, Result<serde_json::Value, Refusal>>;

    fn handle(&mut self, _: Reload, _: &mut Self::Context) -> Self::Result {
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || file::load(&source));
        Box::pin(actix::fut::wrap_future(read).map(|read, me: &mut Self, ctx| match read {
            Ok(outcome) => me.take(outcome, ctx),
            Err(error) => Err(Refusal::Unavailable(error.to_string())),
        }))
    }
}
