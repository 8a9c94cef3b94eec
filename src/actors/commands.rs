//! Carries out chat commands, one after another in the order of their messages. Who may use them, the rules have said before.
//!
//! A reply goes the way of an agent's answer: its parts get their ids here and are committed together with "answered". A crash
//! before that costs a repeated command, and every command may be repeated.

use std::collections::HashMap;
use std::sync::Arc;

use actix::Addr;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::actors::agent::{AbortSession, AgentActor, RunAgents};
use crate::actors::supervisor::Deliver;
use crate::clock::Clock;
use crate::command::{self, Activation, Command, ConfigCommand, reply};
use crate::config::edit::{self, EditError};
use crate::config::file::{self, ConfigSource};
use crate::config::model::{AllowList, Config, ProviderApi};
use crate::config::redact;
use crate::event::{Body, Content};
use crate::ids::{Jid, SessionKey};
use crate::policy::decide::{View, decide};
use crate::policy::decision::{ChatKind, CommandCall, Verdict};
use crate::policy::mention::MentionTable;
use crate::store::StoreError;
use crate::store::journal::{Journal, OutboxPart};
use crate::text::chunk;

/// Facts under which `/activation` is kept.
pub const ACTIVATION_FACTS: &str = "activation:";

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// One command on its way.
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
    orders: mpsc::UnboundedSender<(Command, Order)>,
}

impl Commands {
    /// Starts the task that carries them out; it ends with this value.
    pub fn new(journal: Journal, clock: Clock, agents: Addr<AgentActor>, source: ConfigSource) -> Self {
        let (orders, mut waiting) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk { journal, clock, agents: agents.clone(), source });
        tokio::spawn(async move {
            while let Some((command, order)) = waiting.recv().await {
                // A panic in one command ends no other.
                if tokio::spawn(desk.clone().carry_out(command, order)).await.is_err() {
                    tracing::error!(target: "whatsapp/inbound", "a command failed unexpectedly; it is taken up after a restart");
                }
            }
        });
        Self { activation: HashMap::new(), agents, orders }
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
            // Noted under an older configuration: it is a text by now.
            return self.agents.do_send(order.run);
        };
        if let (Command::Activation(Some(mode)), ChatKind::Group) = (&command, order.run.dispatch.chat) {
            self.activation.insert(order.call.session.clone(), *mode);
        }
        if self.orders.send((command, order)).is_err() {
            tracing::error!(target: "whatsapp/inbound", "a command came too late; it is taken up after a restart");
        }
    }
}

/// What carrying out needs.
struct Desk {
    journal: Journal,
    clock: Clock,
    agents: Addr<AgentActor>,
    source: ConfigSource,
}

impl Desk {
    async fn carry_out(self: Arc<Self>, command: Command, order: Order) {
        let done = match command {
            Command::Reset { rest } => self.reset(rest, &order).await,
            other => match self.reply(other, &order).await {
                Ok(text) => self.answer(&text, &order).await,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = done {
            let id = &order.run.message.id;
            tracing::error!(target: "whatsapp/inbound", %id, %error, "a command could not be carried out; it is taken up after a restart");
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
                self.journal.put(&format!("{ACTIVATION_FACTS}{session}"), &value).await?;
                reply::activation(mode)
            }
            Command::Config(config) => self.config(config, order).await,
            Command::Absent(name) => reply::absent(name),
            Command::Reset { rest } => rest,
        })
    }

    async fn status(&self, order: &Order) -> Result<String, StoreError> {
        let dispatch = &order.run.dispatch;
        let run = dispatch.first();
        let fact = format!("session:{}", run.session);
        let facts = self.journal.facts(&fact).await?;
        let begun = facts.into_iter().find(|(key, ..)| *key == fact).map(|(_, _, at)| at);
        let agent = order.config.agent(&run.agent).unwrap_or(order.config.agents.default_agent());
        let status = reply::Status {
            version: env!("CARGO_PKG_VERSION"),
            account: order.run.account.id.as_str(),
            agent: run.agent.as_str(),
            model: &agent.model.to_string(),
            session: run.session.as_str(),
            age_ms: begun.map(|at| self.clock.now() - at),
            activation: dispatch.activation,
            revision: order.revision,
        };
        Ok(status.text())
    }

    /// A new session under the same key: what was said before is neither deleted nor shown to the model any more.
    async fn reset(&self, rest: String, order: &Order) -> Result<(), StoreError> {
        for run in &order.run.dispatch.runs {
            let id = uuid::Uuid::new_v4().to_string();
            self.journal.put(&format!("session:{}", run.session), &id).await?;
        }
        let first = order.run.dispatch.first();
        let agent = order.config.agent(&first.agent).unwrap_or(order.config.agents.default_agent());
        let provider = order.config.providers.get(&agent.model.provider);
        if rest.is_empty() && provider.is_some_and(|p| p.api == ProviderApi::Echo) {
            // An echo cannot greet.
            return self.answer(&reply::new_session(&agent.model.to_string()), order).await;
        }
        let text = if rest.is_empty() { reply::GREETING_PROMPT.to_owned() } else { rest };
        let mut run = order.run.clone();
        run.message.content = match run.message.content {
            Content::Body(body) => Content::Body(Body { text: Some(text), ..body }),
            other => other,
        };
        self.agents.do_send(run);
        Ok(())
    }

    async fn answer(&self, text: &str, order: &Order) -> Result<(), StoreError> {
        let (message, rules) = (&order.run.message, &order.run.account.rules);
        let texts = chunk::chunk(text, rules.text_chunk_limit, rules.chunk_mode).into_iter();
        let part = |text| OutboxPart::text(message.account.clone(), message.chat.clone(), text, Some(message.key()));
        let parts = texts.map(part).collect();
        self.journal.answer(&message.key(), parts).await?;
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
        let source = self.source.clone();
        let judge = Author { run: order.run.clone(), approved: order.approved.clone(), now: self.clock.now() };
        let done = tokio::task::spawn_blocking(move || edit_config(&command, &source, &judge)).await;
        match done {
            Ok(Ok(text) | Err(text)) => text,
            Err(error) => format!("⚠️ The config was not edited: {error}"),
        }
    }
}

/// Who edits, to be judged anew under the edited config.
struct Author {
    run: RunAgents,
    approved: AllowList,
    now: i64,
}

impl Author {
    /// Under `config` the same message would be the same command.
    fn stays_in(&self, config: &Config) -> bool {
        let message = &self.run.message;
        let Some(account) = config.account(&message.account).filter(|a| a.link.enabled) else { return false };
        let activation = self.run.dispatch.activation;
        let view = View {
            config,
            account,
            revision: 0,
            me: Some(&self.run.identity),
            approved: &self.approved,
            connected_at: Some(message.timestamp),
            now: self.now,
            mentions: &MentionTable::compile(config).0,
            activation: &|_| activation,
            sent_by_us: false,
        };
        matches!(decide(message, &view).verdict, Verdict::Dispatch(d) if d.command.is_some())
    }
}

/// Shows or edits the file. Both sides are the reply; an error changed nothing.
fn edit_config(command: &ConfigCommand, source: &ConfigSource, author: &Author) -> Result<String, String> {
    let refused = |e: EditError| format!("⚠️ {e}");
    let read = || {
        if !file::exists(source) {
            return Ok(String::new());
        }
        file::read_text(&source.path).map_err(|why| format!("⚠️ The config file cannot be read: {why}"))
    };
    let valid = |text: &str| file::load_edited(source, text).is_ok() || !file::exists(source);
    let (path, steps) = match command {
        ConfigCommand::Error(why) => return Err(format!("⚠️ {why}")),
        ConfigCommand::Show { path: None } => (String::new(), Vec::new()),
        ConfigCommand::Show { path: Some(path) } | ConfigCommand::Set { path, .. } | ConfigCommand::Unset { path } => {
            (path.clone(), edit::parse_path(path).map_err(refused)?)
        }
    };
    let before = read()?;
    if !valid(&before) {
        return Err(reply::CONFIG_INVALID.to_owned());
    }
    let after = match command {
        ConfigCommand::Show { path } => {
            return Ok(reply::config_shown(path.as_deref(), &shown(&before, &steps)));
        }
        ConfigCommand::Set { value, .. } => edit::set(&before, &steps, value).map_err(refused)?,
        _ => match edit::unset(&before, &steps).map_err(refused)? {
            Some(after) => after,
            None => return Ok(format!("⚙️ No config value found for {path}.")),
        },
    };
    let verb = if matches!(command, ConfigCommand::Set { .. }) { "set" } else { "unset" };
    let loaded = file::load_edited(source, &after).map_err(|rejected| {
        let first = rejected.iter().next();
        let what = first.map_or_else(String::new, |p| format!("{}: {}", p.key_path, p.message));
        format!("⚠️ Config invalid after {verb} ({what}).")
    })?;
    if !author.stays_in(&loaded.config) {
        return Err(reply::CONFIG_LOCKOUT.to_owned());
    }
    file::replace(&source.path, &after).map_err(|e| format!("⚠️ The config file cannot be written: {e}"))?;
    tracing::info!(target: "config", %path, "the config was edited by chat");
    Ok(match verb {
        "set" => reply::config_set(&path, &shown(&after, &steps)),
        _ => format!("⚙️ Config updated: {path} removed."),
    })
}

/// The value of the file at a path, without secrets.
fn shown(text: &str, steps: &[String]) -> Value {
    let mut tree = edit::json5_value(text).unwrap_or_default();
    redact(&mut tree, HIDDEN, &mut Vec::new());
    edit::get(&tree, steps).cloned().unwrap_or_default()
}
