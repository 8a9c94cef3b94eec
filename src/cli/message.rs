//! `verso message send`.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::client::Client;
use super::output::{Failure, Printer};
use super::place::Place;
use super::{Connection, only_whatsapp, show};
use crate::api::protocol::CHANNEL;
use crate::routing::target::Target;

/// Arguments of `verso message`.
#[derive(Debug, Args)]
pub struct MessageArgs {
    #[command(subcommand)]
    command: MessageCommand,
}

#[derive(Debug, Subcommand)]
enum MessageCommand {
    /// Send a text message to a person or a group
    Send(SendArgs),
}

#[derive(Debug, Args)]
struct SendArgs {
    /// Phone number (+15551234567) or group JID (…@g.us)
    #[arg(long, short, value_name = "TARGET")]
    target: String,
    /// The text
    #[arg(long, short, value_name = "TEXT")]
    message: String,
    /// Channel
    #[arg(long, default_value = CHANNEL)]
    channel: String,
    /// Account to send from [default: the default account]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Check and show what would be sent, send nothing
    #[arg(long)]
    dry_run: bool,
    /// Longest wait in milliseconds
    #[arg(long, default_value_t = 60_000, value_name = "MS")]
    timeout: u64,
    /// Say more
    #[arg(long, short)]
    verbose: bool,
}

impl MessageArgs {
    /// True when a program reads the output.
    pub fn json(&self) -> bool {
        let MessageCommand::Send(args) = &self.command;
        args.json
    }
}

/// Runs `verso message`.
pub(super) async fn run(args: &MessageArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    let MessageCommand::Send(args) = &args.command;
    only_whatsapp(&args.channel)?;
    let target = Target::parse(&args.target).map_err(|e| Failure::usage(e.to_string()))?;
    if args.message.trim().is_empty() {
        return Err(Failure::usage("the message is empty").hint("give the text with --message"));
    }
    let key = uuid::Uuid::new_v4().to_string();
    let mut params = json!({"to": args.target, "message": args.message, "channel": CHANNEL, "idempotencyKey": key});
    if let Some(account) = &args.account {
        params["accountId"] = json!(account);
    }
    let report = |payload: serde_json::Value| {
        json!({
            "action": "send", "channel": CHANNEL, "dryRun": args.dry_run,
            "handledBy": if args.dry_run { "dry-run" } else { "gateway" }, "payload": payload,
        })
    };
    if args.dry_run {
        let jid = target.jid().to_string();
        show(
            p,
            &report(json!({"to": args.target, "toJid": jid, "message": args.message, "accountId": args.account})),
            || vec![format!("[dry-run] would send to {jid} via {CHANNEL}")],
        );
        return Ok(());
    }
    let limit = Duration::from_millis(args.timeout);
    let mut client =
        Client::connect(&Place::of_process().reach(connection), limit.min(Duration::from_secs(10))).await?;
    if args.verbose {
        p.note(format!("gateway: {}", client.hello["server"]["version"].as_str().unwrap_or("?")));
    }
    let sent = client.call("send", params, limit).await?;
    client.close().await;
    show(p, &report(json!({"result": sent})), || {
        vec![format!(
            "✅ Sent via gateway ({CHANNEL}). Message ID: {}",
            sent["messageId"].as_str().unwrap_or("unknown")
        )]
    });
    Ok(())
}
