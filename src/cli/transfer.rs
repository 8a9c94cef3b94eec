//! `verso channels import` and `verso channels export`: links of Baileys programs move in and out without scanning.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::channels::account_id;
use super::client::Client;
use super::output::{Failure, Printer};
use super::place::Place;
use super::{Connection, show};
use crate::api::protocol::CHANNEL;
use crate::clock::Clock;
use crate::event::Identity;
use crate::ids::AccountId;
use crate::store::StoreError;
use crate::store::credentials::{LinkFiles, auth_dir, link_state, recorded};
use crate::store::lock::AccountLock;
use crate::store::original;
use crate::whatsapp::baileys::{self, BaileysError, Imported, Skipped, Taking};
use crate::whatsapp::seal::SealedFolder;

/// How long a link that was told to stop may take.
const CLOSING: Duration = Duration::from_secs(3);

/// Arguments of `verso channels import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Folder of the Baileys program: the one with creds.json in it
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Account that gets the link [default: the default account]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Set a link that the account has aside; take half a folder too, and one whose program seems to run
    #[arg(long)]
    force: bool,
    /// Begin encryption anew in every chat: for a folder that is an old copy
    #[arg(long)]
    fresh_sessions: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verso channels export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// What the folder is written for
    #[arg(long, value_enum, default_value_t = Format::Baileys)]
    format: Format,
    /// New or empty folder
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Account whose link moves out [default: the default account]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Baileys' useMultiFileAuthState
    Baileys,
}

impl From<BaileysError> for Failure {
    fn from(error: BaileysError) -> Self {
        Self::new(error.to_string())
    }
}

/// `verso channels import`.
pub(super) async fn import(
    args: &ImportArgs,
    connection: &Connection,
    place: &Place,
    p: &mut Printer<'_>,
) -> Result<(), Failure> {
    let (id, dir) = folder(place, args.account.as_deref())?;
    if let Some(pid) = original::gateway::running(&args.from)
        && !args.force
    {
        return Err(still_runs(pid, &args.from));
    }
    let taking = Taking { force: args.force, fresh_sessions: args.fresh_sessions };
    let imported = move_in(&args.from, &id, &dir, taking).await?;
    let started = tell_gateway(place, connection, &id).await;
    let mut value = json!({"channel": CHANNEL, "accountId": id, "started": started});
    merge(&mut value, &imported);
    show(p, &value, || {
        let mut lines = imported_lines(&imported, &id);
        lines.push(if started {
            "The gateway connects it now.".into()
        } else {
            "Start the gateway: verso gateway".into()
        });
        lines.push(format!(
            "Stop the program that used {} first: two programs on one link make WhatsApp report a conflict (440), and both lose messages.",
            args.from.display()
        ));
        lines
    });
    Ok(())
}

/// The sentence for people whose other program still uses what they move.
pub(super) fn still_runs(pid: u32, from: &Path) -> Failure {
    Failure::new(format!("OpenClaw's gateway runs (process {pid}) and uses {}", from.display())).hint(
        "stop it first, with openclaw gateway stop: two programs on one link make WhatsApp report a conflict (440), and both lose messages; --force goes on nevertheless",
    )
}

/// Moves a folder into an account that no process uses.
pub(super) async fn move_in(from: &Path, id: &AccountId, dir: &Path, taking: Taking) -> Result<Imported, Failure> {
    let present = match link_state(dir) {
        LinkFiles::Linked { identity, .. } => Some(identity),
        LinkFiles::NotLinked | LinkFiles::Unusable(_) => None,
    };
    may_move(from, id, dir, taking, present)?;
    let lock = lock(dir, id).await?;
    let mut imported = baileys::import(from, dir, taking, Clock::System.now()).await?;
    imported.warnings.extend_from_slice(lock.closed());
    Ok(imported)
}

/// What [`move_in`] would do; nothing is written.
pub(super) async fn look_in(from: &Path, id: &AccountId, dir: &Path, taking: Taking) -> Result<Imported, Failure> {
    may_move(from, id, dir, taking, recorded(dir))?;
    Ok(baileys::inspect(from, taking, Clock::System.now()).await?)
}

fn may_move(from: &Path, id: &AccountId, dir: &Path, taking: Taking, present: Option<Identity>) -> Result<(), Failure> {
    if same_folder(from, dir) {
        return Err(Failure::new(format!("{} is the folder of account {id} itself", from.display()))
            .hint("nothing to import: the gateway takes the link over when it starts the account"));
    }
    if let Some(identity) = present
        && !taking.force
    {
        let who = identity.number().map_or_else(|| identity.jid.to_string(), |n| n.to_string());
        return Err(Failure::new(format!("account {id} is linked already, to {who}")).hint(
            "import into another account with --account, or add --force: the present link is kept as *.replaced",
        ));
    }
    if !from.is_dir() {
        return Err(BaileysError::NoFolder(from.to_path_buf()).into());
    }
    Ok(())
}

/// `verso channels export`.
pub(super) async fn export(args: &ExportArgs, place: &Place, p: &mut Printer<'_>) -> Result<(), Failure> {
    let Format::Baileys = args.format;
    let (id, dir) = folder(place, args.account.as_deref())?;
    let encryption = place.config()?.config.account(&id).and_then(|a| a.link.encryption.clone());
    if !dir.is_dir() {
        return Err(BaileysError::NothingToExport(dir).into());
    }
    let exported = {
        let _lock = lock(&dir, &id).await?;
        let sealed = SealedFolder { dir: &dir, account: &id, encryption: encryption.as_deref() };
        baileys::export(sealed, &args.to).await?
    };
    let mut value = json!({"channel": CHANNEL, "accountId": id, "to": args.to});
    merge(&mut value, &exported);
    show(p, &value, || {
        let mut lines = vec![
            format!("Exported the WhatsApp link {} of account {id} to {}.", exported.jid, args.to.display()),
            format!(
                "{} sessions, {} pre-keys, {} group sender keys, {} LID mappings, {} app-state keys, {} tokens",
                exported.sessions,
                exported.pre_keys,
                exported.sender_keys,
                exported.lid_mappings,
                exported.app_state_keys,
                exported.tokens
            ),
        ];
        lines.extend(skipped_lines(&exported.skipped));
        lines.push(format!(
            "The link is Baileys' now; account {id} is not linked any more. To take it back: verso channels import --from {}",
            args.to.display()
        ));
        lines
    });
    Ok(())
}

fn folder(place: &Place, account: Option<&str>) -> Result<(AccountId, PathBuf), Failure> {
    let config = place.config()?.config;
    let id = account_id(&config, account)?;
    let dir = auth_dir(&place.paths, &id, config.account(&id).and_then(|a| a.link.auth_dir.as_deref()));
    Ok((id, dir))
}

/// A link that was just stopped is given the time to close.
pub(super) async fn lock(dir: &Path, id: &AccountId) -> Result<AccountLock, Failure> {
    let patience = tokio::time::Instant::now() + CLOSING;
    loop {
        match AccountLock::acquire(dir) {
            Err(StoreError::Busy(_)) if tokio::time::Instant::now() < patience => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error @ StoreError::Busy(_)) => {
                return Err(Failure::from(error).hint(format!("verso channels stop --account {id}")));
            }
            other => return Ok(other?),
        }
    }
}

fn same_folder(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// A gateway that runs connects the account at once; without one nothing is missing.
async fn tell_gateway(place: &Place, connection: &Connection, id: &AccountId) -> bool {
    let limit = Duration::from_secs(10);
    let Ok(mut client) = Client::connect(&place.reach(connection), limit).await else { return false };
    let answer = client.call("channels.start", json!({"channel": CHANNEL, "accountId": id}), limit).await;
    client.close().await;
    answer.is_ok_and(|a| a["started"] == true)
}

fn merge(value: &mut Value, report: &impl serde::Serialize) {
    if let (Some(into), Ok(Value::Object(more))) = (value.as_object_mut(), serde_json::to_value(report)) {
        into.extend(more);
    }
}

/// What people read about a link that moved in.
pub(super) fn imported_lines(imported: &Imported, id: &AccountId) -> Vec<String> {
    let mut lines = vec![
        format!("Imported the WhatsApp link {} into account {id} without scanning.", imported.jid),
        imported.summary(),
    ];
    lines.extend(imported.warnings.iter().map(|w| format!("warning: {w}")));
    lines.extend(skipped_lines(&imported.skipped));
    lines
}

fn skipped_lines(skipped: &[Skipped]) -> impl Iterator<Item = String> {
    const SHOWN: usize = 5;
    let more = skipped.len().saturating_sub(SHOWN);
    let shown = skipped.iter().take(SHOWN).map(|s| format!("left out: {}: {}", s.file, s.reason));
    let rest = (more > 0).then(|| format!("left out: {more} more (--json lists them)"));
    shown.chain(rest).collect::<Vec<_>>().into_iter()
}
