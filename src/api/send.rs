//! `send`: one text message to a person or a group.

use serde_json::{Value, json};

use super::methods::ask;
use super::params::Params;
use super::protocol::{CHANNEL, ErrorShape};
use super::server::Api;
use crate::actors::messages::SendText;

/// Sends; the same `idempotencyKey` sends once.
pub(super) async fn send(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    let to = params.required("to")?;
    let key = params.required("idempotencyKey")?;
    params.channel()?;
    let account = params.account()?;
    if let Some(media) = ["mediaUrl", "mediaUrls", "buffer"].into_iter().find(|k| params.has(k)) {
        return Err(ErrorShape::invalid(format!("{media}: this version sends text only; leave the media out")));
    }
    let text = params.raw_text("message")?.filter(|t| !t.trim().is_empty());
    let Some(text) = text else { return Err(params.wrong("must have required property 'message'")) };
    let request = SendText { account, to, text, idempotency_key: key.clone() };
    let sending = api.port.send_text.clone();
    let run_id = key.clone();
    api.sends
        .once("send", &key, async move {
            let sent = ask(sending.send(request).await)?;
            Ok(json!({
                "runId": run_id, "messageId": sent.message_id, "channel": CHANNEL, "toJid": sent.to_jid,
                "accountId": sent.account,
            }))
        })
        .await
}
