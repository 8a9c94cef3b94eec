//! `verso channels login`: the QR code in the terminal, redrawn in place when it changes, or the code for a phone number.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, ClientError, TIMEOUT};
use super::output::{Failure, Printer};
use super::place::{Place, Reach};
use super::{Connection, ask, channels, gateway, on_client_runtime, only_whatsapp};
use crate::api::protocol::CHANNEL;
use crate::api::qr::Modules;
use crate::ids::{AccountId, E164, NUMBER_HINT};
use crate::store::journal::GaveUp;

/// One wait for the phone; the gateway is asked again after it.
const WAIT: Duration = Duration::from_secs(20);
/// Longest wait for the first code.
const FIRST_CODE: Duration = Duration::from_secs(45);

/// Arguments of `verso channels login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Channel
    #[arg(long, default_value = CHANNEL)]
    channel: String,
    /// Account; one that is not configured yet is added [default: the default account]
    #[arg(value_name = "ID", conflicts_with = "account")]
    id: Option<String>,
    /// Account; one that is not configured yet is added [default: the default account]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Link by a code that is typed on the phone with this number, instead of a QR code
    #[arg(long, value_name = "+NUMBER")]
    phone: Option<String>,
    /// Link anew even when the account is linked
    #[arg(long)]
    force: bool,
    /// Add an account that is not configured without asking
    #[arg(long, short)]
    yes: bool,
    /// Say more
    #[arg(long, short)]
    verbose: bool,
}

/// Links an account through the running gateway; without one, by a gateway of its own for this account alone.
pub(super) fn run(args: &LoginArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    let place = Place::of_process();
    let reach = place.reach(connection);
    only_whatsapp(&args.channel)?;
    phone(args)?;
    on_client_runtime(configured(args, &place, connection, &reach, p))?;
    if on_client_runtime(through(args, &reach, p))? {
        return Ok(());
    }
    p.line("No gateway is running; linking alone.");
    gateway::alone(&place, args.named(), args.verbose, async |own: Reach| through(args, &own, p).await.map(drop))
}

impl LoginArgs {
    fn named(&self) -> Option<&str> {
        self.id.as_deref().or(self.account.as_deref())
    }
}

/// Adds the named account when it is not configured yet.
async fn configured(
    args: &LoginArgs,
    place: &Place,
    connection: &Connection,
    reach: &Reach,
    p: &mut Printer<'_>,
) -> Result<(), Failure> {
    let Some(typed) = args.named() else { return Ok(()) };
    let known: Vec<String> = match Client::connect(reach, TIMEOUT).await {
        Ok(mut client) => {
            let status = client.call("channels.status", json!({}), TIMEOUT).await.map_err(failed)?;
            client.close().await;
            channels::accounts_of(&status).into_iter().map(|a| a.account_id).collect()
        }
        Err(error) if error.is_unreachable() && !reach.explicit => {
            place.config()?.config.accounts.keys().map(ToString::to_string).collect()
        }
        Err(error) => return Err(error.into()),
    };
    // The configuration of a gateway elsewhere is not at hand; it says itself which accounts it has.
    if reach.explicit || known.contains(&AccountId::new(typed).to_string()) {
        return Ok(());
    }
    let id = channels::named(typed)?;
    let question = format!("There is no account \"{id}\" (there are: {}). Add it?", known.join(", "));
    if !args.yes && ask::can_ask() && !ask::confirm(&question) {
        return Err(Failure::new(format!("unknown account \"{typed}\"; configured: {}", known.join(", "))));
    }
    if let Some(said) = channels::respelled(typed, &id) {
        p.line(said);
    }
    channels::ensure(place, connection, &id, &serde_json::Map::new(), p).await.map(drop)
}

fn phone(args: &LoginArgs) -> Result<Option<E164>, Failure> {
    let Some(raw) = &args.phone else { return Ok(None) };
    E164::dialled(raw)
        .map(Some)
        .map_err(|error| Failure::usage(format!("--phone {raw}: this is no phone number: {error}")).hint(NUMBER_HINT))
}

/// Links through a gateway; false when none is there and none was named.
pub(super) async fn through(args: &LoginArgs, reach: &Reach, p: &mut Printer<'_>) -> Result<bool, Failure> {
    only_whatsapp(&args.channel)?;
    let phone = phone(args)?;
    let client = match Client::connect(reach, TIMEOUT).await {
        Ok(client) => client,
        Err(error) if error.is_unreachable() && !reach.explicit => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let mut begun = Begun { account: args.named().map(str::to_owned), ours: true };
    tokio::select! {
        done = link(client, args, phone.as_ref(), &mut begun, p) => done.map(|()| true),
        _ = tokio::signal::ctrl_c() => {
            if begun.ours {
                end(begun.account, reach).await;
            }
            Err(Failure { code: INTERRUPTED, ..Failure::new("the login was ended") })
        }
    }
}

/// Exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

/// The login under way.
struct Begun {
    account: Option<String>,
    /// False for one that another door began.
    ours: bool,
}

/// Ends the login in the gateway, so that its code links nothing any more.
async fn end(account: Option<String>, reach: &Reach) {
    let Ok(mut client) = Client::connect(reach, TIMEOUT).await else { return };
    // Best effort: otherwise the code expires by itself.
    drop(client.call("verso.login.cancel", json!({"accountId": account}), TIMEOUT).await);
    client.close().await;
}

/// Follows one login to its end.
async fn link(
    mut client: Client,
    args: &LoginArgs,
    phone: Option<&E164>,
    begun: &mut Begun,
    p: &mut Printer<'_>,
) -> Result<(), Failure> {
    let mut params = json!({"force": args.force, "timeoutMs": 30_000});
    if let Some(account) = args.named() {
        params["accountId"] = json!(account);
    }
    if let Some(phone) = phone {
        params["phone"] = json!(phone);
    }
    let started = client.call("web.login.start", params, FIRST_CODE).await.map_err(failed)?;
    let account = started["accountId"].clone();
    begun.account = account.as_str().map(str::to_owned).or(begun.account.take());
    begun.ours = started["fresh"] != false;
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let mut picture = Picture::default();
    let mut shown = match started["state"].as_str() {
        Some("linked") => {
            p.line(format!("WhatsApp is already linked ({}).", started["who"].as_str().unwrap_or("?")));
            p.note("hint: link anew with --force");
            return Ok(());
        }
        Some("code") => {
            let code = text(&started["code"]).unwrap_or_default();
            p.line("Enter this code in WhatsApp (Linked Devices, Link with phone number instead):");
            p.line(format!("\n    {}\n", crate::api::grouped_code(&code)));
            None
        }
        Some("qr") => {
            let code = text(&started["qr"]).unwrap_or_default();
            p.line("Scan this QR in WhatsApp (Linked Devices):");
            picture.draw(&code, p)?;
            Some(code)
        }
        _ => {
            let why =
                text(&started["error"]).or_else(|| text(&started["message"])).unwrap_or_else(|| "no code came".into());
            return Err(Failure::new(format!("Channel login failed: {why}"))
                .hint("try again; verso logs shows what WhatsApp said"));
        }
    };
    p.line("Waiting for WhatsApp connection...");
    picture.below = 1;
    loop {
        let mut params = json!({"accountId": account, "timeoutMs": u64::try_from(WAIT.as_millis()).unwrap_or(20_000)});
        if let Some(code) = &shown {
            params["currentQr"] = json!(code);
        }
        let answer = client.call("web.login.wait", params, WAIT + TIMEOUT).await.map_err(failed)?;
        match answer["state"].as_str() {
            Some("linked") => {
                p.line("✅ Linked! Credentials saved for future sends.");
                if let (Some(who), Some(before)) = (answer["who"].as_str(), answer["before"].as_str()) {
                    p.line(format!("The account is linked to {who} now; before it was {before}."));
                    if let Some(said) = gave_up(&mut client, &account).await {
                        p.line(said);
                    }
                }
                client.close().await;
                return Ok(());
            }
            Some("qr") => {
                if let Some(code) = text(&answer["qr"]) {
                    picture.draw(&code, p)?;
                    p.line("Waiting for WhatsApp connection...");
                    shown = Some(code);
                }
            }
            Some("waiting") => {}
            Some("expired") => {
                return Err(Failure::new("Channel login failed: the code expired unused").hint("run the command again"));
            }
            Some("none") => {
                return Err(
                    Failure::new("Channel login failed: the login was ended elsewhere").hint("run the command again")
                );
            }
            _ => {
                let why = text(&answer["message"]).unwrap_or_else(|| "unknown answer".into());
                let why = why.strip_prefix("WhatsApp login failed: ").unwrap_or(&why).to_owned();
                return Err(Failure::new(format!("Channel login failed: {why}")));
            }
        }
    }
}

/// What was open for the number of before.
async fn gave_up(client: &mut Client, account: &Value) -> Option<String> {
    let status = client.call("channels.status", json!({}), TIMEOUT).await.ok()?;
    let found = channels::accounts_of(&status).into_iter().find(|a| account.as_str() == Some(&a.account_id))?;
    let GaveUp { parts, messages, .. } = found.gave_up?;
    Some(format!(
        "What was open for the old number is given up: {parts} to be sent, {messages} to be answered. People who were let in stay let in."
    ))
}

fn failed(error: ClientError) -> Failure {
    let mut failure = Failure::from(error);
    failure.message = format!("Channel login failed: {}", failure.message);
    failure
}

/// The QR code in the terminal.
#[derive(Default)]
struct Picture {
    /// Lines drawn, when there is a picture.
    height: Option<usize>,
    /// Lines printed below it.
    below: usize,
}

impl Picture {
    fn draw(&mut self, code: &str, p: &mut Printer<'_>) -> Result<(), Failure> {
        let modules = Modules::of(code).map_err(|e| Failure::new(format!("Channel login failed: {e}")))?;
        let lines = half_blocks(&modules, p.terminal);
        if let (Some(height), true) = (self.height, p.terminal) {
            // Up over the old picture and what stands below it, and wipe.
            p.raw(&format!("\x1b[{}A\x1b[J", height + self.below));
        }
        self.height = Some(lines.len());
        p.raw(&(lines.join("\n") + "\n"));
        Ok(())
    }
}

/// Two modules a character. In a terminal black on white by colour; elsewhere light modules are drawn, as for a dark background.
pub(super) fn half_blocks(modules: &Modules, color: bool) -> Vec<String> {
    (0..modules.side)
        .step_by(2)
        .map(|y| {
            let row: String = (0..modules.side)
                .map(|x| {
                    let (top, bottom) = (modules.dark(x, y), modules.dark(x, y + 1));
                    match (top == color, bottom == color) {
                        (true, true) => '█',
                        (true, false) => '▀',
                        (false, true) => '▄',
                        (false, false) => ' ',
                    }
                })
                .collect();
            if color { format!("\x1b[30;107m{row}\x1b[0m") } else { row }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_has_its_quiet_zone_and_both_polarities() {
        let modules = Modules::of("2@abc").unwrap();
        let plain = half_blocks(&modules, false);
        assert_eq!(plain.len(), modules.side.div_ceil(2));
        assert!(plain[0].chars().all(|c| c == '█'), "light above");
        assert!(plain.iter().all(|l| l.starts_with("████") && l.chars().count() == modules.side));
        let colored = half_blocks(&modules, true);
        assert!(colored[0].starts_with("\x1b[30;107m    "), "light by background");
        assert!(colored[2].contains("    █▀▀▀▀▀█"), "the finder pattern is dark: {}", colored[2]);
    }

    #[test]
    fn a_new_code_replaces_the_old_one_in_a_terminal_only() {
        let draw_twice = |terminal: bool| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut p = Printer::new(&mut out, &mut err, false);
            p.terminal = terminal;
            let mut picture = Picture { below: 1, ..Picture::default() };
            picture.draw("2@abc", &mut p).unwrap();
            picture.draw("2@def", &mut p).unwrap();
            String::from_utf8(out).unwrap()
        };
        let height = Modules::of("2@abc").unwrap().side.div_ceil(2);
        assert!(draw_twice(true).contains(&format!("\x1b[{}A\x1b[J", height + 1)));
        assert!(!draw_twice(false).contains('\x1b'));
    }
}
