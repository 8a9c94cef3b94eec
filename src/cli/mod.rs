//! The command line. Commands talk to the running gateway over its API; nothing is done before the arguments are read.

mod ask;
mod backup;
mod channels;
pub mod client;
pub mod config;
mod credentials;
#[cfg(feature = "demo")]
pub mod demo;
mod edited;
pub mod gateway;
mod health;
mod login;
mod logs;
mod message;
mod migrate;
mod open_files;
pub mod output;
mod pairing;
pub mod place;
mod transfer;
mod upgrade;
mod why;

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use output::{Failure, Printer, USAGE, finish};

/// A self-hosted WhatsApp gateway: many accounts, one process, nothing lost.
#[derive(Debug, Parser)]
#[command(name = "verso", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

/// How the running gateway is reached.
#[derive(Clone, Debug, Default, Args)]
pub struct Connection {
    /// Address of the gateway, such as ws://127.0.0.1:18789 [env: VERSO_GATEWAY_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// Secret of the gateway; everybody on this machine sees it in the list of processes, so better set VERSO_GATEWAY_TOKEN or use --token-file
    /// [env: VERSO_GATEWAY_TOKEN] [default: the gateway.token file of this user's gateway]
    #[arg(long, global = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// File that holds the secret of the gateway
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<std::path::PathBuf>,
}

impl Connection {
    /// Reads the file of `--token-file`.
    fn take_token_file(&mut self) -> Result<(), Failure> {
        if let Some(file) = &self.token_file {
            let text = std::fs::read_to_string(file)
                .map_err(|e| Failure::usage(format!("--token-file: cannot read {}: {e}", file.display())))?;
            let token = text.trim();
            if token.is_empty() {
                return Err(Failure::usage(format!("--token-file: {} is empty", file.display())));
            }
            self.token = Some(token.to_owned());
        }
        crate::disclosure::remember(self.token.as_deref());
        Ok(())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Gateway(gateway::GatewayArgs),
    /// Say whether the gateway is up; exit code 1 when it is not
    Health(health::HealthArgs),
    /// Show the gateway, its accounts and the last configuration reload
    Status(health::StatusArgs),
    /// Link, unlink, start, stop and list WhatsApp accounts
    Channels(channels::ChannelsArgs),
    /// Let people in who asked for access
    Pairing(pairing::PairingArgs),
    /// Send messages
    Message(message::MessageArgs),
    /// Read, check and edit the configuration file
    Config(config::ConfigArgs),
    /// Save configuration, links and state in one archive, check it, bring it back
    Backup(backup::BackupArgs),
    /// Seal and unseal the accounts' files: keys, status, rotation
    Credentials(credentials::CredentialsArgs),
    /// Move in from OpenClaw: configuration, pairing lists, WhatsApp links, conversations
    Migrate(migrate::MigrateArgs),
    /// Say what became of a message and why
    Why(why::WhyArgs),
    /// Show the gateway's log
    Logs(logs::LogsArgs),
    /// Play with a gateway and a simulated WhatsApp
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
}

/// Runs the command line and answers with the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    crate::telemetry::hide_secrets_in_panics();
    let Cli { mut connection, command } = cli;
    let token = finish(false, |_| connection.take_token_file());
    if token != 0 {
        return ExitCode::from(token);
    }
    let code = match command {
        Command::Gateway(args) => finish(false, |p| gateway::run(&args, &connection, p)),
        Command::Health(args) => finish(args.json, |p| on_client_runtime(health::health(&args, &connection, p))),
        Command::Status(args) => finish(args.json, |p| on_client_runtime(health::status(&args, &connection, p))),
        Command::Channels(args) => finish(args.json(), |p| channels::run(&args, &connection, p)),
        Command::Pairing(args) => finish(args.json(), |p| on_client_runtime(pairing::run(&args, &connection, p))),
        Command::Message(args) => finish(args.json(), |p| on_client_runtime(message::run(&args, &connection, p))),
        Command::Config(args) => edit_config(args),
        Command::Backup(args) => finish(args.json(), |p| backup::run(&args, p)),
        Command::Credentials(args) => finish(args.json(), |p| on_client_runtime(credentials::run(&args, p))),
        Command::Migrate(args) => finish(args.json(), |p| on_client_runtime(migrate::run(&args, p))),
        Command::Why(args) => finish(args.json, |p| on_client_runtime(why::run(&args, &connection, p))),
        Command::Logs(args) => finish(false, |p| on_client_runtime(logs::run(&args, &connection, p))),
        #[cfg(feature = "demo")]
        Command::Demo(args) => return play(&args),
    };
    ExitCode::from(code)
}

/// The demo logs to the console, and only when `VERSO_LOG` says what.
#[cfg(feature = "demo")]
fn play(args: &demo::DemoArgs) -> ExitCode {
    let mut code = ExitCode::FAILURE;
    let ended = finish(false, |_| {
        crate::telemetry::console_from_env().map_err(|e| Failure::new(e.to_string()))?;
        code = demo::run(args).map_err(|e| Failure::new(format!("{e:#}")))?;
        Ok(())
    });
    if ended == 0 { code } else { ExitCode::from(ended) }
}

/// The file alone; a running gateway notices the edit by itself.
fn edit_config(args: config::ConfigArgs) -> u8 {
    let mut code = 0;
    let ended = finish(false, |p| {
        let source = place::Place::of_process().location;
        let mut out = Vec::new();
        let ran = config::run(args, &source, &mut out);
        p.raw(&String::from_utf8_lossy(&out));
        code = ran.map_err(|e| Failure::new(format!("{e:#}")))?;
        Ok(())
    });
    ended.max(code)
}

/// Runs a command that only talks to the gateway.
fn on_client_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Failure::new(format!("cannot start: {e}")))?.block_on(work)
}

/// `whatsapp` is the only channel there is.
fn only_whatsapp(channel: &str) -> Result<(), Failure> {
    if channel.eq_ignore_ascii_case("whatsapp") {
        return Ok(());
    }
    Err(Failure::usage(format!("unsupported channel: {channel}")).hint("the only channel is whatsapp"))
}

/// Prints one JSON value or lines; for commands whose lines follow from the value.
fn show(printer: &mut Printer<'_>, value: &serde_json::Value, lines: impl FnOnce() -> Vec<String>) {
    if printer.json() {
        printer.value(value);
    } else {
        for line in lines() {
            printer.line(line);
        }
    }
}

#[cfg(test)]
mod tests;
