//! `verso pairing`: who asked to be let in. Through the running gateway; without one on the files, under the state lock.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::channels::account_id;
use super::client::{Client, TIMEOUT};
use super::output::{Failure, Printer, ago};
use super::place::Place;
use super::{Connection, only_whatsapp, show};
use crate::api::protocol::CHANNEL;
use crate::clock::{Clock, UnixMs};
use crate::ids::AccountId;
use crate::policy::pairing::{PairingBook, PairingRecord, REQUEST_TTL_MS};
use crate::store::lock::GatewayLock;
use crate::store::pairing::PairingFiles;
use crate::text::label;

/// Arguments of `verso pairing`.
#[derive(Debug, Args)]
pub struct PairingArgs {
    #[command(subcommand)]
    command: PairingCommand,
}

#[derive(Debug, Subcommand)]
enum PairingCommand {
    /// Show the pending requests
    List(ListArgs),
    /// Let somebody in: verso pairing approve whatsapp CODE
    Approve(DecideArgs),
    /// Refuse a request: verso pairing deny whatsapp CODE
    Deny(DecideArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Channel
    #[arg(default_value = CHANNEL)]
    channel: String,
    /// Channel, the other way to say it
    #[arg(long = "channel", value_name = "CHANNEL")]
    channel_flag: Option<String>,
    /// Only this account [default: all]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DecideArgs {
    /// Channel and code, or the code alone
    #[arg(required = true, num_args = 1..=2, value_names = ["CHANNEL", "CODE"])]
    words: Vec<String>,
    /// Channel, the other way to say it
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// Only this account [default: whichever holds the code]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Tell the person that access was granted
    #[arg(long)]
    notify: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl DecideArgs {
    fn channel_and_code(&self) -> Result<&str, Failure> {
        let (channel, code) = match self.words.as_slice() {
            [channel, code] => (Some(channel), code),
            [code] => (None, code),
            _ => return Err(Failure::usage("a code is needed").hint("verso pairing approve whatsapp CODE")),
        };
        if let Some(channel) = channel.or(self.channel.as_ref()) {
            only_whatsapp(channel)?;
        }
        Ok(code)
    }
}

impl PairingArgs {
    /// True when a program reads the output.
    pub fn json(&self) -> bool {
        match &self.command {
            PairingCommand::List(a) => a.json,
            PairingCommand::Approve(a) | PairingCommand::Deny(a) => a.json,
        }
    }
}

/// Runs `verso pairing`.
pub(super) async fn run(args: &PairingArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    let place = Place::of_process();
    let reach = place.reach(connection);
    let client = match Client::connect(&reach, TIMEOUT).await {
        Ok(client) => Some(client),
        Err(error) if error.is_unreachable() && !reach.explicit => None,
        Err(error) => return Err(error.into()),
    };
    match &args.command {
        PairingCommand::List(args) => {
            only_whatsapp(args.channel_flag.as_ref().unwrap_or(&args.channel))?;
            let requests = match client {
                Some(client) => listed(client, args.account.as_deref()).await?,
                None => on_files(&place, args.account.as_deref())?,
            };
            show(p, &json!({"channel": CHANNEL, "requests": requests}), || table(&requests, Clock::System.now()));
            Ok(())
        }
        PairingCommand::Approve(args) => decide(args, true, client, &place, p).await,
        PairingCommand::Deny(args) => decide(args, false, client, &place, p).await,
    }
}

async fn listed(mut client: Client, account: Option<&str>) -> Result<Vec<Value>, Failure> {
    let answer =
        client.call("channels.pairing.list", json!({"channel": CHANNEL, "accountId": account}), TIMEOUT).await?;
    client.close().await;
    let requests = answer["requests"].as_array().into_iter().flatten();
    Ok(requests
        .map(|r| {
            json!({
                "code": r["metadata"]["code"], "id": r["senderId"], "accountId": r["accountId"],
                "name": r["metadata"]["name"], "createdAt": r["createdAt"], "lastSeenAt": r["lastSeenAt"], "expiresAt": r["expiresAt"],
            })
        })
        .collect())
}

/// The files of the default place; the configuration only says which account is the default one.
fn files(place: &Place) -> Result<(PairingFiles, crate::config::Loaded), Failure> {
    let loaded = place.config()?;
    Ok((PairingFiles::new(place.paths.clone(), loaded.config.default_account.clone()), loaded))
}

fn on_files(place: &Place, account: Option<&str>) -> Result<Vec<Value>, Failure> {
    let (files, loaded) = files(place)?;
    let only = account.map(|a| account_id(&loaded.config, Some(a))).transpose()?;
    let now = Clock::System.now();
    let iso = |at: UnixMs| json!(crate::api::iso_time(at));
    Ok(pending(&files, now)?
        .iter()
        .filter(|r| only.as_ref().is_none_or(|a| *a == r.account))
        .map(|r| {
            json!({
                "code": r.code, "id": r.id, "accountId": r.account, "name": r.name, "createdAt": iso(r.created_at),
                "lastSeenAt": iso(r.last_seen_at), "expiresAt": iso(r.created_at + REQUEST_TTL_MS),
            })
        })
        .collect())
}

fn pending(files: &PairingFiles, now: UnixMs) -> Result<Vec<PairingRecord>, Failure> {
    let records = files.requests()?;
    Ok(records.into_iter().filter(|r| now - r.created_at <= REQUEST_TTL_MS).collect())
}

async fn decide(
    args: &DecideArgs,
    approve: bool,
    client: Option<Client>,
    place: &Place,
    p: &mut Printer<'_>,
) -> Result<(), Failure> {
    let code = args.channel_and_code()?;
    let answer = match client {
        Some(mut client) => {
            let method = if approve { "channels.pairing.approve" } else { "channels.pairing.dismiss" };
            let params = json!({"channel": CHANNEL, "accountId": args.account, "code": code, "notify": args.notify});
            let answer = client.call(method, params, Duration::from_secs(30)).await?;
            client.close().await;
            answer
        }
        None => decide_on_files(place, code, args, approve)?,
    };
    if args.notify && approve && answer["notification"] != "sent" {
        p.note("note: the person was not told; no connected account could send the message");
    }
    show(p, &answer, || {
        let sender = answer["senderId"].as_str().unwrap_or_default();
        vec![format!("{} {CHANNEL} sender {sender}.", if approve { "Approved" } else { "Denied" })]
    });
    Ok(())
}

fn decide_on_files(place: &Place, code: &str, args: &DecideArgs, approve: bool) -> Result<Value, Failure> {
    let _lock = GatewayLock::acquire(&place.paths)?;
    let (files, loaded) = files(place)?;
    let only = args.account.as_deref().map(|a| account_id(&loaded.config, Some(a))).transpose()?;
    let now = Clock::System.now();
    let taken = files.update_requests(|records| take(records, code, only.as_ref(), now))?;
    let Some(record) = taken else {
        return Err(Failure::new(format!("No pending pairing request found for code: {code}"))
            .hint("codes live for one hour; see: verso pairing list"));
    };
    if approve {
        files.allow(&record.account, &record.id)?;
    }
    Ok(json!({
        "senderId": record.id, "accountId": record.account,
        "notification": if args.notify { "failed" } else { "not-requested" },
    }))
}

/// Takes the request with this code out of the records, by the rules of the book of its account.
fn take(records: &mut Vec<PairingRecord>, code: &str, only: Option<&AccountId>, now: UnixMs) -> Option<PairingRecord> {
    let holder =
        records.iter().find(|r| r.code.eq_ignore_ascii_case(code.trim()) && only.is_none_or(|a| *a == r.account))?;
    let mut book = PairingBook::load(holder.account.clone(), records.iter().cloned(), now);
    let taken = book.approve(code, now)?;
    records.retain(|r| r != &taken);
    Some(taken)
}

fn table(requests: &[Value], now: UnixMs) -> Vec<String> {
    if requests.is_empty() {
        return vec!["No pending whatsapp pairing requests.".into()];
    }
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let mut rows =
        vec![["Code".to_owned(), "whatsappSenderId".into(), "Account".into(), "Meta".into(), "Requested".into()]];
    rows.extend(requests.iter().map(|r| {
        let asked = crate::api::parse_iso_time(&text(&r["createdAt"])).map(|at| ago(at, now)).unwrap_or_default();
        [text(&r["code"]), text(&r["id"]), text(&r["accountId"]), label::name(&text(&r["name"])), asked]
    }));
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    rows.iter()
        .map(|r| {
            let cells: Vec<String> = r.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}")).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(account: &str, id: &str, code: &str, created_at: UnixMs) -> PairingRecord {
        PairingRecord {
            id: id.into(),
            code: code.into(),
            created_at,
            last_seen_at: created_at,
            name: None,
            account: AccountId::new(account),
        }
    }

    #[test]
    fn a_code_is_taken_once_in_any_case_from_its_account_and_in_time() {
        let now = 10 * REQUEST_TTL_MS;
        let fresh = || vec![record("a", "+1", "AAAAAAAA", now), record("b", "+2", "BBBBBBBB", now)];
        let mut records = fresh();
        let taken = take(&mut records, "bbbbbbbb", None, now).unwrap();
        assert_eq!((taken.id.as_str(), records.len()), ("+2", 1));
        assert_eq!(take(&mut records, "BBBBBBBB", None, now), None);
        assert_eq!(take(&mut fresh(), "BBBBBBBB", Some(&AccountId::new("a")), now), None);
        assert_eq!(take(&mut fresh(), "AAAAAAAA", None, now + REQUEST_TTL_MS + 1), None);
    }

    #[test]
    fn the_table_lines_up() {
        assert_eq!(table(&[], 0), ["No pending whatsapp pairing requests."]);
        let rows = table(
            &[
                json!({"code": "ABCDEFGH", "id": "+15557654321", "accountId": "work", "name": "Ann", "createdAt": "1970-01-01T00:00:00Z"}),
            ],
            300_000,
        );
        assert_eq!(rows[0], "Code      whatsappSenderId  Account  Meta  Requested");
        assert_eq!(rows[1], "ABCDEFGH  +15557654321      work     Ann   5m ago");
    }
}
