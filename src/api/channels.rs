//! `channels.start`, `channels.stop`, `channels.logout`.

use serde_json::{Value, json};

use super::methods::ask;
use super::params::Params;
use super::protocol::{CHANNEL, ErrorShape};
use super::server::Api;
use crate::actors::messages::{Logout, StartAccount, StopAccount};

fn only_whatsapp(params: &Params) -> Result<Option<String>, ErrorShape> {
    params.required("channel")?;
    params.channel()?;
    params.account()
}

/// Starts an account; one that is not linked waits for its link.
pub(super) async fn start(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    let account = ask(api.port.start.send(StartAccount { account: only_whatsapp(params)? }).await)?;
    let linked = api
        .status()
        .await
        .and_then(|s| s.accounts.into_iter().find(|a| a.account_id == account))
        .is_some_and(|a| a.linked);
    let outcome =
        if linked { json!({"status": "handed-off"}) } else { json!({"status": "skipped", "reason": "unlinked"}) };
    Ok(json!({"channel": CHANNEL, "accountId": account, "started": linked, "outcome": outcome}))
}

/// Stops an account.
pub(super) async fn stop(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    let account = ask(api.port.stop.send(StopAccount { account: only_whatsapp(params)? }).await)?;
    Ok(json!({"channel": CHANNEL, "accountId": account, "stopped": true}))
}

/// Unlinks an account.
pub(super) async fn logout(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    let done = ask(api.port.logout.send(Logout { account: only_whatsapp(params)? }).await)?;
    api.shown.forget(done.account.as_str());
    Ok(json!({
        "channel": CHANNEL, "accountId": done.account, "cleared": done.cleared, "loggedOut": done.cleared, "unlinked": done.unlinked,
    }))
}
