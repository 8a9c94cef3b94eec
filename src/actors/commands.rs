//! Carries out chat commands, those of an account one after another in the order of their messages. Who may use them, the rules have
//! said before.
//!
//! A reply goes the way of an agent's answer: its parts get their ids here and are committed together with "answered". A crash
//! before that costs a repeated command, and every command may be repeated. One that fails is tried once more and then given up.

mod edit;
mod session;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use actix::{Addr, Recipient};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::actors::agent::{AbortSession, AgentActor, RunAgents};
use crate::actors::messages::Reload;
use crate::actors::router::pairing::decide_request;
use crate::actors::shield::quietly;
use crate::actors::supervisor::Deliver;
use crate::clock::Clock;
use crate::command::{self, Activation, AllowlistCommand, Command, ConfigCommand, PairingCommand, SendSetting, reply};
use crate::config::file::ConfigSource;
use crate::config::model::{AllowList, Config, ReloadMode};
use crate::disclosure;
use crate::ids::{AccountId, Jid, SessionKey};
use crate::policy::decision::{ChatKind, CommandCall};
use crate::policy::pairing::REQUEST_TTL_MS;
use crate::policy::reason::IgnoreReason;
use crate::session::send_policy;
use crate::store::StoreError;
use crate::store::journal::{Journal, OutboxPart};
use crate::store::pairing::PairingFiles;
use crate::store::paths::StatePaths;
use crate::text::chunk;

use edit::{Author, ListEdit, edit_allowlist, edit_config};

/// Facts under which `/activation` is kept.
pub const ACTIVATION_FACTS: &str = "activation:";

/// Commands of one account that wait.
const MOST_WAITING: usize = 64;
/// So often a command is tried.
const TRIES: usize = 2;

/// One command on its way.
#[derive(Clone)]
pub struct Order {
    /// The command.
    pub call: CommandCall,
    /// Its message, and how agents would answer it.
    pub run: RunAgents,
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Its revision.
    pub revision: u64,
    /// Who is let in by pairing.
    pub approved: AllowList,
}

/// The commands of all accounts.
pub struct Commands {
    activation: HashMap<SessionKey, Activation>,
    agents: Addr<AgentActor>,
    orders: HashMap<AccountId, mpsc::Sender<(Command, Order)>>,
    desk: Arc<Desk>,
}

impl Commands {
    /// Nothing runs before the first command of an account; the task of each ends with this value.
    pub fn new(
        journal: Journal,
        clock: Clock,
        agents: Addr<AgentActor>,
        source: ConfigSource,
        paths: StatePaths,
    ) -> Self {
        let desk = Desk { journal, clock, agents: agents.clone(), source, paths, reload: OnceLock::new() };
        Self { activation: HashMap::new(), agents, orders: HashMap::new(), desk: Arc::new(desk) }
    }

    /// The queue of an account. None waits for another account's commands.
    fn queue(&mut self, account: &AccountId) -> &mpsc::Sender<(Command, Order)> {
        self.orders.entry(account.clone()).or_insert_with(|| {
            let (orders, mut waiting) = mpsc::channel(MOST_WAITING);
            let desk = self.desk.clone();
            tokio::spawn(async move {
                while let Some((command, order)) = waiting.recv().await {
                    desk.serve(command, order).await;
                }
            });
            orders
        })
    }

    /// Who applies an edited file, so that an edit by chat holds before it is confirmed.
    pub fn reload_by(&self, gateway: Recipient<Reload>) {
        // There is one gateway; a second call would name the same.
        let _ = self.desk.reload.set(gateway);
    }

    /// What `/activation` set for a session.
    pub fn activation(&self, session: &SessionKey) -> Option<Activation> {
        self.activation.get(session).copied()
    }

    /// Takes what earlier processes kept, as [`Journal::facts`] gives it.
    pub fn restore(&mut self, facts: Vec<(String, String, i64)>) {
        for (key, value, _) in facts {
            let session = key.strip_prefix(ACTIVATION_FACTS).map(SessionKey::new);
            let mode = serde_json::from_value(Value::String(value)).ok();
            if let (Some(session), Some(mode)) = (session, mode) {
                self.activation.insert(session, mode);
            }
        }
    }

    /// Begins a command. What it changes for the next message holds from now on.
    pub fn begin(&mut self, order: Order) {
        let Some(command) = command::parse(&order.call.text, &order.config.session.reset_triggers) else {
            // Its message was judged by the same words, so this is not reached; were it, a text is what it is.
            return self.agents.do_send(order.run);
        };
        if let (Command::Activation(Some(mode)), ChatKind::Group) = (&command, order.run.dispatch.chat) {
            self.activation.insert(order.call.session.clone(), *mode);
        }
        match self.queue(&order.run.message.account).try_send((command, order)) {
            Ok(()) => {}
            Err(TrySendError::Full((_, order))) => {
                let cause = format!("{MOST_WAITING} commands of the account wait");
                self.desk.journal.set_aside(&order.run.keys(), IgnoreReason::CommandsBusy, &cause);
            }
            Err(TrySendError::Closed(_)) => {
                tracing::error!(target: "whatsapp/inbound", "a command came too late; it is taken up after a restart");
            }
        }
    }
}

/// What carrying out needs.
struct Desk {
    journal: Journal,
    clock: Clock,
    agents: Addr<AgentActor>,
    source: ConfigSource,
    paths: StatePaths,
    reload: OnceLock<Recipient<Reload>>,
}

impl Desk {
    /// Carries a command out, or gives it up. A panic in one ends no other.
    async fn serve(self: &Arc<Self>, command: Command, order: Order) {
        let (id, keys) = (order.run.message.id.clone(), order.run.keys());
        let mut cause = String::new();
        for _ in 0..TRIES {
            let (desk, command, order, keys) = (self.clone(), command.clone(), order.clone(), keys.clone());
            let journal = self.journal.clone();
            let work = async move { journal.working(&keys, desk.carry_out(command, order)).await };
            match tokio::spawn(quietly(work)).await {
                Ok(Ok(())) => return,
                // The gateway stops, and the next process takes it up.
                Ok(Err(StoreError::Closed)) => return,
                Ok(Err(error)) => cause = error.to_string(),
                Err(error) if error.is_cancelled() => return,
                Err(_) => "a panic".clone_into(&mut cause),
            }
            tracing::error!(target: "whatsapp/inbound", %id, cause, "a command could not be carried out");
        }
        self.journal.set_aside(&keys, IgnoreReason::Internal, &cause);
    }

    async fn carry_out(self: Arc<Self>, command: Command, order: Order) -> Result<(), StoreError> {
        match command {
            Command::Reset { rest } => self.reset(rest, &order).await,
            other => {
                let text = self.reply(other, &order).await?;
                self.answer(&text, &order).await
            }
        }
    }

    async fn reply(self: &Arc<Self>, command: Command, order: &Order) -> Result<String, StoreError> {
        let (dispatch, session) = (&order.run.dispatch, &order.call.session);
        let message = &order.run.message;
        // A person's chat is shown by the number where it is known: that is what lists hold.
        let chat = message.chat_number.as_ref().map_or_else(|| message.chat.without_device(), Jid::of_number);
        Ok(match command {
            Command::Help => reply::HELP.to_owned(),
            Command::Whoami => reply::whoami(
                dispatch.sender.as_deref(),
                &chat.to_string(),
                &order.run.account.rules.allow_from.entries(),
            ),
            Command::Stop => {
                for run in &dispatch.runs {
                    // An agent actor that is gone runs nothing any more.
                    let _ = self.agents.send(AbortSession(run.session.clone())).await;
                }
                reply::ABORTED.to_owned()
            }
            Command::Status => self.status(order).await?,
            Command::Activation(None) => reply::ACTIVATION_USAGE.to_owned(),
            Command::Activation(Some(_)) if dispatch.chat == ChatKind::Direct => reply::ACTIVATION_DIRECT.to_owned(),
            Command::Activation(Some(mode)) => {
                let value = serde_json::to_value(mode).expect("a word");
                let value = value.as_str().expect("a word is text").to_owned();
                self.journal.put_surely(&format!("{ACTIVATION_FACTS}{session}"), &value).await?;
                reply::activation(mode)
            }
            Command::Send(None) => reply::SEND_USAGE.to_owned(),
            Command::Send(Some(setting)) => {
                for run in &dispatch.runs {
                    let fact = send_policy::fact(&run.session);
                    match setting {
                        SendSetting::Inherit => self.journal.forget(&fact).await?,
                        on_or_off => self.journal.put_surely(&fact, on_or_off.word()).await?,
                    }
                }
                reply::send(setting)
            }
            Command::Pairing(_) | Command::Allowlist(_) if dispatch.chat == ChatKind::Group => {
                reply::IN_DIRECT_CHAT.to_owned()
            }
            Command::Config(_) if dispatch.chat == ChatKind::Group => reply::CONFIG_IN_DIRECT_CHAT.to_owned(),
            Command::Pairing(pairing) => self.pairing(pairing, order).await,
            Command::Allowlist(list) => self.allowlist(list, order).await,
            Command::Config(config) => self.config(config, order).await,
            Command::Absent(name) => reply::absent(name),
            Command::Reset { rest } => rest,
        })
    }

    async fn answer(&self, text: &str, order: &Order) -> Result<(), StoreError> {
        let (message, rules) = (&order.run.message, &order.run.account.rules);
        let texts = chunk::chunk(&disclosure::mask(text), rules.text_chunk_limit, rules.chunk_mode).into_iter();
        let part = |text| OutboxPart::text(message.account.clone(), message.chat.clone(), text, Some(message.key()));
        let parts = texts.map(part).collect();
        self.journal.answer(order.run.keys(), parts).await?;
        order.run.supervisor.do_send(Deliver);
        Ok(())
    }

    async fn config(self: &Arc<Self>, command: ConfigCommand, order: &Order) -> String {
        if !order.config.commands.config {
            return reply::CONFIG_DISABLED.to_owned();
        }
        let writes = matches!(command, ConfigCommand::Set { .. } | ConfigCommand::Unset { .. });
        if writes && !order.run.account.rules.config_writes {
            return reply::CONFIG_READ_ONLY.to_owned();
        }
        self.edit(order, move |source, author, _| edit_config(&command, source, author)).await
    }

    async fn allowlist(self: &Arc<Self>, command: AllowlistCommand, order: &Order) -> String {
        let (account, rules) = (&order.run.account, &order.run.account.rules);
        let change = match command {
            AllowlistCommand::Error(why) => return why,
            AllowlistCommand::List => {
                let list = reply::Allowlist {
                    account: account.id.as_str(),
                    dm_policy: rules.dm_policy.word(),
                    dm: rules.allow_from.entries(),
                    paired: order.approved.entries(),
                    group_policy: rules.group_policy.word(),
                    group: rules.group_allow_from.as_ref().map(AllowList::entries),
                };
                return list.text();
            }
            AllowlistCommand::Add { scope, entry } => ListEdit { scope, entry, add: true },
            AllowlistCommand::Remove { scope, entry } => ListEdit { scope, entry, add: false },
        };
        if !order.config.commands.config {
            return reply::ALLOWLIST_DISABLED.to_owned();
        }
        if !rules.config_writes {
            return reply::CONFIG_READ_ONLY.to_owned();
        }
        self.edit(order, move |source, author, files| edit_allowlist(&change, source, files, author)).await
    }

    /// Edits files away from the runtime and has the gateway take up what changed, so that the reply is true when it is read.
    async fn edit(
        self: &Arc<Self>,
        order: &Order,
        work: impl FnOnce(&ConfigSource, &Author, &PairingFiles) -> Result<String, String> + Send + 'static,
    ) -> String {
        let (source, files) = (self.source.clone(), self.files(order));
        let author = Author { run: order.run.clone(), approved: order.approved.clone(), now: self.clock.now() };
        let text = match tokio::task::spawn_blocking(move || work(&source, &author, &files)).await {
            Ok(Ok(text) | Err(text)) => text,
            Err(error) => return format!("⚠️ The config was not edited: {error}"),
        };
        if order.config.gateway.reload.mode != ReloadMode::Off
            && let Some(gateway) = self.reload.get()
        {
            // A file that is refused by now was edited by somebody else meanwhile; the gateway reports that itself.
            let _ = gateway.send(Reload).await;
        }
        text
    }

    /// Requests of this account alone: whoever commands one account does not let people in to another.
    async fn pairing(&self, command: PairingCommand, order: &Order) -> String {
        let (files, account, now) = (self.files(order), order.run.account.id.clone(), self.clock.cautious());
        let work = move || match command {
            PairingCommand::Usage => reply::PAIRING_USAGE.to_owned(),
            PairingCommand::List => match files.requests() {
                Ok(mut waiting) => {
                    waiting.retain(|r| r.account == account && now - r.created_at <= REQUEST_TTL_MS);
                    reply::pairing(&waiting, now)
                }
                Err(error) => format!("⚠️ {error}"),
            },
            PairingCommand::Decide { code, approve } => {
                match decide_request(&files, Some(&account), &code, approve, now) {
                    Ok(record) if approve => format!("Approved whatsapp sender {}.", record.id),
                    Ok(record) => format!("Denied whatsapp sender {}.", record.id),
                    Err(refusal) => format!("⚠️ {refusal}"),
                }
            }
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| format!("⚠️ The pairing store was not changed: {error}"))
    }

    fn files(&self, order: &Order) -> PairingFiles {
        PairingFiles::new(self.paths.clone(), order.config.default_account.clone())
    }
}
