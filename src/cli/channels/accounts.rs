//! `verso channels add` and `remove`: entries of `channels.whatsapp.accounts`, with comments and layout of the file kept.

use clap::Args;
use serde_json::{Map, Value, json};

use super::logout;
use crate::api::protocol::{CHANNEL, CHANNEL_LABEL};
use crate::cli::output::{Failure, Printer};
use crate::cli::place::Place;
use crate::cli::{Connection, ask, edited, on_client_runtime, only_whatsapp};
use crate::config::Config;
use crate::config::edit;
use crate::ids::AccountId;
use crate::store::credentials::{LinkFiles, auth_dir, link_state, recorded, remove};
use crate::store::lock::AccountLock;

/// Arguments of `verso channels add`.
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    which: Which,
    /// Label for people
    #[arg(long)]
    name: Option<String>,
    /// Folder of its credentials [default: credentials/whatsapp/<id> in the state folder]
    #[arg(long, value_name = "DIR")]
    auth_dir: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verso channels remove`.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    which: Which,
    /// Delete its entry instead of switching it off; its link stays on disk
    #[arg(long)]
    delete: bool,
    /// Unlink it at WhatsApp and delete its credentials, too
    #[arg(long)]
    logout: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The account that is meant.
#[derive(Clone, Debug, Args)]
pub(super) struct Which {
    /// Account
    #[arg(value_name = "ID", conflicts_with = "account")]
    id: Option<String>,
    /// Account
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Channel
    #[arg(long, default_value = CHANNEL)]
    channel: String,
}

impl Which {
    fn id(&self, command: &str) -> Result<AccountId, Failure> {
        only_whatsapp(&self.channel)?;
        let typed = self.id.as_deref().or(self.account.as_deref());
        let typed = typed.map(str::trim).filter(|id| !id.is_empty()).ok_or_else(|| {
            Failure::usage("no account is named").hint(format!("for example: verso channels {command} shop"))
        })?;
        named(typed)
    }
}

/// The id that a typed name stands for. A name that could be taken for a path, or of which nothing is left, is none.
pub(in crate::cli) fn named(typed: &str) -> Result<AccountId, Failure> {
    let id = AccountId::new(typed);
    let usable = typed.chars().any(|c| c.is_ascii_alphanumeric());
    if !usable || typed.contains(['/', '\\', '\0']) || typed.contains("..") {
        return Err(Failure::usage(format!("{typed:?} cannot be the id of an account"))
            .hint("an id has letters, digits, - and _, such as shop or second-phone"));
    }
    Ok(id)
}

/// What is said when the id is not what was typed.
pub(in crate::cli) fn respelled(typed: &str, id: &AccountId) -> Option<String> {
    (typed.trim() != id.as_str()).then(|| format!("The account's id is {id}."))
}

/// Where the account's entry stands in the file, under the spelling that it has there.
fn entry(tree: &Value, id: &AccountId) -> (Vec<String>, Option<Value>) {
    let mut path: Vec<String> = ["channels", CHANNEL, "accounts"].map(str::to_owned).to_vec();
    let accounts = edit::get(tree, &path).and_then(Value::as_object);
    let found = accounts.and_then(|map| map.iter().find(|(key, _)| AccountId::new(key) == *id));
    path.push(found.map_or_else(|| id.to_string(), |(key, _)| key.clone()));
    (path, found.map(|(_, value)| value.clone()))
}

/// The text with an account added or switched on, and what was done; `None` when it is there and on already.
fn added(text: &str, id: &AccountId, more: &Map<String, Value>) -> Result<Option<(String, &'static str)>, Failure> {
    let tree = edit::json5_value(text).map_err(Failure::new)?;
    let (path, there) = entry(&tree, id);
    let refused = |e: edit::EditError| Failure::new(e.to_string());
    let Some(there) = there else {
        let mut value = Map::from_iter([("enabled".to_owned(), json!(true))]);
        value.extend(more.clone());
        return Ok(Some((edit::set(text, &path, &Value::Object(value)).map_err(refused)?, "Added")));
    };
    let mut wanted = more.clone();
    let off = there["enabled"] == false;
    if off {
        wanted.insert("enabled".to_owned(), json!(true));
    }
    wanted.retain(|key, value| there.get(key.as_str()) != Some(&*value));
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut out = text.to_owned();
    for (key, value) in &wanted {
        let mut at = path.clone();
        at.push(key.clone());
        out = edit::set(&out, &at, value).map_err(refused)?;
    }
    Ok(Some((out, if off { "Enabled" } else { "Updated" })))
}

/// Adds an account, or switches it on again.
pub(super) fn add(args: &AddArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    let id = args.which.id("add")?;
    let place = Place::of_process();
    let mut more = Map::new();
    more.extend(args.name.as_ref().map(|name| ("name".to_owned(), json!(name))));
    more.extend(args.auth_dir.as_ref().map(|dir| ("authDir".to_owned(), json!(dir))));
    let typed = args.which.id.as_deref().or(args.which.account.as_deref()).unwrap_or_default();
    let did = on_client_runtime(ensure(&place, connection, &id, &more, p))?;
    if let Some(said) = respelled(typed, &id) {
        p.line(said);
    }
    p.value(&json!({"channel": CHANNEL, "accountId": id, "changed": did}));
    let config = place.config()?.config;
    let dir = auth_dir(&place.paths, &id, config.account(&id).and_then(|a| a.link.auth_dir.as_deref()));
    match recorded(&dir) {
        Some(who) => p.line(format!("It is linked already{}.", number(&who))),
        None => p.line(format!("Link it with: verso channels login {id}")),
    }
    Ok(())
}

fn number(who: &crate::event::Identity) -> String {
    who.number().map(|number| format!(" ({number})")).unwrap_or_default()
}

/// Makes sure that an account is configured and on; true when the file was edited for that, and a running gateway has applied it.
pub(in crate::cli) async fn ensure(
    place: &Place,
    connection: &Connection,
    id: &AccountId,
    more: &Map<String, Value>,
    p: &mut Printer<'_>,
) -> Result<bool, Failure> {
    let mut verb = "";
    let edited = edited::write(&place.location, |before| {
        let Some((after, done)) = added(edited::or_first(before), id, more)? else { return Ok(None) };
        verb = done;
        Ok(Some(after))
    })?;
    let Some(edited) = edited else {
        p.line(format!("{CHANNEL_LABEL} account \"{id}\" is there already."));
        return Ok(false);
    };
    p.line(format!("{verb} {CHANNEL_LABEL} account \"{id}\"."));
    for note in edited.notes() {
        p.note(format!("warning: {note}"));
    }
    let on = |status: &Value| account_in(status, id).is_some_and(|account| account["enabled"] == true);
    edited::await_applied(&edited, &place.reach(connection), p, on).await?;
    Ok(true)
}

fn account_in<'v>(status: &'v Value, id: &AccountId) -> Option<&'v Value> {
    let accounts = status["channelAccounts"][CHANNEL].as_array()?;
    accounts.iter().find(|account| account["accountId"] == id.as_str())
}

/// How an account is taken out of the file.
#[derive(Debug, PartialEq, Eq)]
enum Removal {
    /// It is switched off.
    Disable,
    /// Its entry goes.
    Delete,
    /// Its entry may not go, because an account `default` that is linked goes on without one: it is switched off.
    DisableDefault,
}

/// Switches an account off or deletes its entry.
pub(super) fn remove_account(args: &RemoveArgs, connection: &Connection, p: &mut Printer<'_>) -> Result<(), Failure> {
    let id = args.which.id("remove")?;
    let place = Place::of_process();
    let config = place.config()?.config;
    if !config.accounts.contains_key(&id) {
        return remove_link(args, &place, &config, &id, p);
    }
    let question = match (args.delete, args.logout) {
        (_, true) => format!("Unlink {CHANNEL_LABEL} account \"{id}\" and take it out of the configuration?"),
        (true, false) => format!("Delete the entry of {CHANNEL_LABEL} account \"{id}\"? Its link stays on disk."),
        (false, false) => String::new(),
    };
    if !question.is_empty() && !args.yes && ask::can_ask() && !ask::confirm(&question) {
        return Err(Failure::new("nothing was changed"));
    }
    if args.logout {
        logout::unlink(&place, connection, &id, p)?;
    }
    let dir = auth_dir(&place.paths, &id, config.account(&id).and_then(|a| a.link.auth_dir.as_deref()));
    let linked = matches!(link_state(&dir), LinkFiles::Linked { .. });
    let removal = match (args.delete || args.logout, id.as_str() == AccountId::DEFAULT) {
        (false, _) => Removal::Disable,
        (true, true) if linked || config.accounts.len() == 1 => Removal::DisableDefault,
        (true, _) => Removal::Delete,
    };
    let edited =
        edited::write(&place.location, |before| removed(edited::or_first(before), &id, &removal, &place).map(Some))?
            .expect("a removal always gives a text");
    let verb = if removal == Removal::Delete { "Deleted" } else { "Disabled" };
    p.line(format!("{verb} {CHANNEL_LABEL} account \"{id}\"."));
    match removal {
        Removal::DisableDefault if linked => p.line(format!(
            "It is linked, and \"default\" goes on without an entry while it is; so it is written down as switched off. Unlink it with: verso channels remove {id} --logout"
        )),
        Removal::Delete if linked => p.line(format!(
            "Its link stays in {}. Unlink it with: verso channels remove {id} --logout; take it up again with: verso channels add {id}",
            dir.display()
        )),
        _ => {}
    }
    if place
        .config()
        .is_ok_and(|l| removal == Removal::Delete && l.config.accounts.len() == 1 && config.accounts.len() == 1)
    {
        p.line("No account is listed any more; the account \"default\" is there in its place.");
    }
    for note in edited.notes() {
        p.note(format!("warning: {note}"));
    }
    let off = |status: &Value| account_in(status, &id).is_none_or(|account| account["enabled"] == false);
    on_client_runtime(edited::await_applied(&edited, &place.reach(connection), p, off))?;
    p.value(&json!({"channel": CHANNEL, "accountId": id, "deleted": removal == Removal::Delete, "enabled": false}));
    Ok(())
}

/// The text with the account out of it.
fn removed(text: &str, id: &AccountId, removal: &Removal, place: &Place) -> Result<String, Failure> {
    let tree = edit::json5_value(text).map_err(Failure::new)?;
    let (mut path, _) = entry(&tree, id);
    let refused = |e: edit::EditError| Failure::new(e.to_string());
    if *removal == Removal::Delete {
        return edit::unset(text, &path).map_err(refused)?.map_or_else(
            // An account that is there for its link alone has no entry, and goes with the link.
            || if id.as_str() == AccountId::DEFAULT { Ok(text.to_owned()) } else { Err(elsewhere(id, place)) },
            Ok,
        );
    }
    path.push("enabled".to_owned());
    edit::set(text, &path, &json!(false)).map_err(refused)
}

fn elsewhere(id: &AccountId, place: &Place) -> Failure {
    let path = place.location.path.display();
    Failure::new(format!("the account \"{id}\" does not stand in {path} but in a file that it includes"))
        .hint("take the entry out of that file")
}

/// Deletes a link that no account uses.
fn remove_link(
    args: &RemoveArgs,
    place: &Place,
    config: &Config,
    id: &AccountId,
    p: &mut Printer<'_>,
) -> Result<(), Failure> {
    let dir = place.paths.whatsapp_auth(id);
    let Some(who) = recorded(&dir) else {
        let known: Vec<&str> = config.accounts.keys().map(AccountId::as_str).collect();
        return Err(Failure::new(format!("unknown account \"{id}\"; configured: {}", known.join(", "))));
    };
    let at = dir.display();
    if !args.logout {
        return Err(Failure::new(format!("there is no account \"{id}\", but a link{} in {at}", number(&who)))
            .hint(format!("use it: verso channels add {id}; or delete it: verso channels remove {id} --logout")));
    }
    let question = format!("Delete the link{} in {at}, which no account uses?", number(&who));
    if !args.yes && ask::can_ask() && !ask::confirm(&question) {
        return Err(Failure::new("nothing was changed"));
    }
    let _lock = AccountLock::acquire(&dir)?;
    remove(&place.paths, &dir)?;
    p.line(format!("Deleted the link{} in {at}.", number(&who)));
    p.line("WhatsApp was not told: remove the device on the phone under Linked Devices.");
    p.value(&json!({"channel": CHANNEL, "accountId": id, "deleted": true, "unlinked": false}));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_an_id_or_refused() {
        for (typed, id) in [("shop", "shop"), ("Shop", "shop"), ("my shop", "my-shop"), ("a_b-1", "a_b-1")] {
            assert_eq!(named(typed).expect("an id").as_str(), id, "{typed}");
        }
        assert_eq!(respelled("my shop", &AccountId::new("my shop")).as_deref(), Some("The account's id is my-shop."));
        assert_eq!(respelled("shop", &AccountId::new("shop")), None);
        for typed in ["../../etc", "a/b", "..", "…", "--", "a\\b"] {
            let refused = named(typed).expect_err(typed);
            assert!(refused.message.contains("cannot be the id") && refused.code == 2, "{refused}");
        }
    }

    #[test]
    fn an_account_is_added_once_and_comments_stay() {
        let text = "{\n  // mine\n  channels: { whatsapp: { dmPolicy: 'pairing' } },\n}\n";
        let (after, verb) = added(text, &AccountId::new("shop"), &Map::new()).expect("edited").expect("new");
        assert_eq!(verb, "Added");
        assert!(after.contains("// mine"), "{after}");
        let tree = edit::json5_value(&after).expect("json5");
        assert_eq!(tree["channels"]["whatsapp"]["accounts"]["shop"], json!({"enabled": true}));
        assert_eq!(added(&after, &AccountId::new("shop"), &Map::new()).expect("read"), None);
        let name = Map::from_iter([("name".to_owned(), json!("Shop"))]);
        let (named, verb) = added(&after, &AccountId::new("shop"), &name).expect("edited").expect("changed");
        assert_eq!(verb, "Updated");
        let off = named.replace("true", "false");
        let (on, verb) = added(&off, &AccountId::new("SHOP"), &Map::new()).expect("edited").expect("changed");
        assert_eq!((verb, on), ("Enabled", named));
    }
}
