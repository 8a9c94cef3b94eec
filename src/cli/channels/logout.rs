//! `verso channels logout`: names the account, asks, and unlinks it.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::account_id;
use crate::api::protocol::{CHANNEL, CHANNEL_LABEL, ChannelAccount};
use crate::cli::client::{Client, TIMEOUT};
use crate::cli::output::{Failure, Printer};
use crate::cli::place::{Place, Reach};
use crate::cli::{Connection, ask, gateway, on_client_runtime, only_whatsapp, show};
use crate::config::Config;
use crate::ids::AccountId;
use crate::store::credentials::{LinkFiles, any_files, auth_dir, link_state, remove};
use crate::store::lock::{AccountLock, GatewayLock};

/// Arguments of `verso channels logout`.
#[derive(Debug, Args)]
pub(super) struct LogoutArgs {
    /// Account [default: the default account]
    #[arg(value_name = "ID", conflicts_with = "account")]
    id: Option<String>,
    /// Account [default: the default account]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Channel
    #[arg(long, default_value = CHANNEL)]
    channel: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl LogoutArgs {
    fn account(&self) -> Option<&str> {
        self.id.as_deref().or(self.account.as_deref())
    }
}

/// Who is to be unlinked.
struct Subject {
    id: AccountId,
    /// Its own number, when it is known.
    number: Option<String>,
    /// There is something to delete.
    linked: bool,
    /// It is an account only because it is linked.
    unlisted: bool,
}

impl Subject {
    fn title(&self) -> String {
        match &self.number {
            Some(number) => format!("{CHANNEL_LABEL} {} ({number})", self.id),
            None => format!("{CHANNEL_LABEL} {}", self.id),
        }
    }
}

/// Logs out through the running gateway; without one, by a gateway of its own for this account alone.
pub(super) fn run(args: &LogoutArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    only_whatsapp(&args.channel)?;
    let place = Place::of_process();
    let reach = place.reach(connection);
    let (subject, running) = match on_client_runtime(at_gateway(args.account(), &reach))? {
        Some(subject) => (subject, true),
        None => (on_disk(&place, args.account())?, false),
    };
    if !subject.linked {
        return none(&subject, p);
    }
    if !agreed(args, &subject) {
        return Err(Failure::new("nothing was changed"));
    }
    let done = if running { on_client_runtime(through(&subject.id, &reach))? } else { alone(&place, &subject.id)? };
    told(&subject, &done, p);
    Ok(())
}

/// The same inside a runtime, through a gateway only.
pub(super) async fn run_async(args: &LogoutArgs, reach: &Reach, p: &mut Printer<'_>) -> Result<(), Failure> {
    only_whatsapp(&args.channel)?;
    let Some(subject) = at_gateway(args.account(), reach).await? else { return Ok(()) };
    if !subject.linked {
        return none(&subject, p);
    }
    let done = through(&subject.id, reach).await?;
    told(&subject, &done, p);
    Ok(())
}

/// Unlinks an account that is to be removed; one that is not linked is left as it is.
pub(super) fn unlink(
    place: &Place,
    connection: &Connection,
    id: &AccountId,
    p: &mut Printer<'_>,
) -> Result<(), Failure> {
    let reach = place.reach(connection);
    let (subject, running) = match on_client_runtime(at_gateway(Some(id.as_str()), &reach))? {
        Some(subject) => (subject, true),
        None => (on_disk(place, Some(id.as_str()))?, false),
    };
    if subject.linked {
        let done = if running { on_client_runtime(through(id, &reach))? } else { alone(place, id)? };
        let subject = Subject { unlisted: false, ..subject };
        if p.json() {
            p.note(format!("{} is not linked any more.", subject.title()));
        } else {
            told(&subject, &done, p);
        }
    }
    Ok(())
}

fn agreed(args: &LogoutArgs, subject: &Subject) -> bool {
    let question = format!("Unlink {} and delete its credentials? Linking it again needs the phone.", subject.title());
    args.yes || !ask::can_ask() || ask::confirm(&question)
}

fn none(subject: &Subject, p: &mut Printer<'_>) -> Result<(), Failure> {
    let value =
        json!({"channel": CHANNEL, "accountId": subject.id, "cleared": false, "loggedOut": false, "unlinked": false});
    show(p, &value, || vec!["No WhatsApp Web session found; nothing to delete.".to_owned()]);
    p.note(format!("{} is not linked.", subject.title()));
    Ok(())
}

/// The literals of the original go to the output; whom they are about is a note beside them.
fn told(subject: &Subject, done: &Value, p: &mut Printer<'_>) {
    let cleared = done["cleared"] == true;
    show(p, done, || {
        let mut lines = vec![if cleared {
            "Cleared WhatsApp Web credentials.".to_owned()
        } else {
            "No WhatsApp Web session found; nothing to delete.".to_owned()
        }];
        if cleared && done["unlinked"] != true {
            lines.push("WhatsApp could not be told: remove the device on the phone under Linked Devices.".into());
        }
        lines
    });
    p.note(format!("{} is not linked{}.", subject.title(), if cleared { " any more" } else { "" }));
    if cleared && subject.unlisted {
        p.note(format!(
            "It is not listed in channels.whatsapp.accounts, so the account is gone, too; link it again with: verso channels login {}",
            subject.id
        ));
    }
}

/// What a running gateway knows of the account; nothing when none is there and none was named.
async fn at_gateway(typed: Option<&str>, reach: &Reach) -> Result<Option<Subject>, Failure> {
    let mut client = match Client::connect(reach, TIMEOUT).await {
        Ok(client) => client,
        Err(error) if error.is_unreachable() && !reach.explicit => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let status = client.call("channels.status", json!({}), TIMEOUT).await?;
    client.close().await;
    let accounts: Vec<ChannelAccount> = super::accounts_of(&status);
    let id = match typed {
        Some(typed) => AccountId::new(typed),
        None => AccountId::new(status["channelDefaultAccountId"][CHANNEL].as_str().unwrap_or(AccountId::DEFAULT)),
    };
    let Some(account) = accounts.iter().find(|a| a.account_id == id.as_str()) else {
        let known: Vec<&str> = accounts.iter().map(|a| a.account_id.as_str()).collect();
        return Err(Failure::new(format!(
            "unknown account \"{}\"; configured: {}",
            typed.unwrap_or(id.as_str()),
            known.join(", ")
        )));
    };
    // Damaged credentials are there to be deleted, though nothing is linked by them.
    let damaged = account.last_error.as_deref().is_some_and(|error| error != "not linked");
    Ok(Some(Subject {
        linked: account.linked || damaged,
        number: account.own.e164.clone(),
        unlisted: status["unlistedDefault"] == true && id.as_str() == AccountId::DEFAULT,
        id,
    }))
}

fn on_disk(place: &Place, typed: Option<&str>) -> Result<Subject, Failure> {
    let config = place.config()?.config;
    let id = account_id(&config, typed)?;
    let dir = folder(place, &config, &id);
    let number = match link_state(&dir) {
        LinkFiles::Linked { identity, .. } => identity.number().map(|n| n.to_string()),
        LinkFiles::NotLinked | LinkFiles::Unusable(_) => None,
    };
    let unlisted = config.unlisted_default && id.as_str() == AccountId::DEFAULT;
    Ok(Subject { linked: any_files(&dir), number, unlisted, id })
}

fn folder(place: &Place, config: &Config, id: &AccountId) -> std::path::PathBuf {
    auth_dir(&place.paths, id, config.account(id).and_then(|a| a.link.auth_dir.as_deref()))
}

async fn through(id: &AccountId, reach: &Reach) -> Result<Value, Failure> {
    let mut client = Client::connect(reach, TIMEOUT).await?;
    let params = json!({"channel": CHANNEL, "accountId": id});
    let answer = client.call("channels.logout", params, Duration::from_secs(60)).await?;
    client.close().await;
    Ok(answer)
}

/// Without a gateway: the files alone where there is no link that WhatsApp could be told of.
fn alone(place: &Place, id: &AccountId) -> Result<Value, Failure> {
    if let Some(done) = files_alone(place, id)? {
        return Ok(done);
    }
    let mut done = Value::Null;
    gateway::alone(place, Some(id.as_str()), false, async |own: Reach| {
        done = through(id, &own).await?;
        Ok(())
    })?;
    Ok(done)
}

/// Removes the files of an account that has no link which WhatsApp could be told of; nothing when it has one.
fn files_alone(place: &Place, id: &AccountId) -> Result<Option<Value>, Failure> {
    let _state = GatewayLock::acquire(&place.paths)?;
    let config = place.config()?.config;
    let dir = folder(place, &config, id);
    if matches!(link_state(&dir), LinkFiles::Linked { .. }) {
        return Ok(None);
    }
    let cleared = dir.exists() && {
        let _account = AccountLock::acquire(&dir)?;
        remove(&place.paths, &dir)?
    };
    Ok(Some(json!({"channel": CHANNEL, "accountId": id, "cleared": cleared, "loggedOut": cleared, "unlinked": false})))
}
