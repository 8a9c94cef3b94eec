//! `verso health` and `verso status`.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::channels::{account_line, accounts_of};
use super::client::Client;
use super::output::{Failure, Printer, span};
use super::place::Place;
use super::{Connection, show};
use crate::api::protocol::{CHANNEL_LABEL, ChannelAccount};
use crate::clock::Clock;

/// Arguments of `verso health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Longest wait in milliseconds
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    timeout: u64,
}

/// Arguments of `verso status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Longest wait in milliseconds
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    timeout: u64,
}

/// Asks the gateway how it is.
pub(super) async fn health(args: &HealthArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    let limit = Duration::from_millis(args.timeout);
    let mut client = Client::connect(&Place::of_process().reach(connection), limit).await?;
    let health = client.call("health", json!({}), limit).await?;
    client.close().await;
    show(p, &health, || health_lines(&health));
    Ok(())
}

pub(super) fn health_lines(health: &Value) -> Vec<String> {
    let accounts = health["channels"]["whatsapp"]["accounts"].as_object().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for (id, value) in &accounts {
        let account: ChannelAccount = serde_json::from_value(value.clone()).unwrap_or_default();
        let name = if accounts.len() == 1 { CHANNEL_LABEL.to_owned() } else { format!("{CHANNEL_LABEL} {id}") };
        lines.push(match (account.linked, account.auth_age_ms) {
            (true, Some(age)) => format!("{name}: linked (auth age {})", span(age)),
            (true, None) => format!("{name}: linked"),
            (false, _) => format!("{name}: not linked"),
        });
    }
    if lines.is_empty() {
        lines.push(format!("{CHANNEL_LABEL}: no accounts configured"));
    }
    lines
}

/// Shows everything on one page.
pub(super) async fn status(args: &StatusArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    let limit = Duration::from_millis(args.timeout);
    let reach = Place::of_process().reach(connection);
    let mut client = Client::connect(&reach, limit).await?;
    let status = client.call("status", json!({}), limit).await?;
    let channels = client.call("channels.status", json!({}), limit).await?;
    client.close().await;
    let both = json!({"url": reach.url, "status": status, "channels": channels});
    let colour = p.colour();
    show(p, &both, || {
        let now = Clock::System.now();
        let mut lines = vec![format!(
            "Gateway {} at {}, up {}, configuration revision {}",
            status["version"].as_str().unwrap_or("?"),
            reach.url,
            span(status["uptimeMs"].as_i64().unwrap_or_default()),
            status["revision"]
        )];
        lines.extend(accounts_of(&channels).iter().map(|a| account_line(a, now, colour)));
        lines.extend(config_lines(&status));
        lines
    });
    Ok(())
}

/// What the gateway thinks of the configuration on disk.
pub(super) fn config_lines(status: &Value) -> Vec<String> {
    let problems: Vec<&str> =
        status["configProblems"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut lines = Vec::new();
    if !problems.is_empty() {
        lines.push("The configuration on disk is refused; the last good one is in force:".into());
        lines.extend(problems.iter().map(|p| format!("  - {p}")));
    }
    if let Some(reload) = status["lastReload"].as_object() {
        let revision = reload.get("revision").map(ToString::to_string).unwrap_or_default();
        lines.push(format!("Last reload: revision {revision}{}", changed(reload)));
        let warnings = reload.get("warnings").and_then(Value::as_array);
        lines.extend(warnings.into_iter().flatten().filter_map(Value::as_str).map(|w| format!("  warning: {w}")));
    }
    lines
}

fn changed(reload: &serde_json::Map<String, Value>) -> String {
    let keys: Vec<&str> = ["changed", "changedPaths", "paths"]
        .iter()
        .find_map(|k| reload.get(*k)?.as_array())
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if keys.is_empty() { String::new() } else { format!(", changed {}", keys.join(", ")) }
}
