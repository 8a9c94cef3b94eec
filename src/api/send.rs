//! `send`, `poll` and `message.action`: what a client wants to be sent; the same `idempotencyKey` sends once.

use serde_json::{Value, json};

use super::auth::Scope;
use super::methods::{Caller, ask};
use super::params::Params;
use super::protocol::{CHANNEL, ErrorShape};
use super::server::Api;
use crate::actors::messages::{Draft, Named, SendOut, Sent, Wanted};
use crate::delivery::sending;
use crate::ids::{Jid, MessageId};

/// Longest idempotency key in bytes: it is kept on disk for days.
const LONGEST_KEY: usize = 256;

/// Sends a text, files, or both.
pub(super) async fn send(api: &Api, caller: &Caller, params: &Params) -> Result<Value, ErrorShape> {
    let to = params.required("to")?;
    let draft = draft(caller, params)?;
    if draft.text.trim().is_empty() && draft.media.is_empty() {
        return Err(params.wrong("must have required property 'message'"));
    }
    deliver(api, "send", params, params, to, Wanted::Message(draft), told).await
}

/// Sends a poll.
pub(super) async fn poll(api: &Api, params: &Params) -> Result<Value, ErrorShape> {
    let to = params.required("to")?;
    params.required("question")?;
    let what = wanted_poll(params, "question", "options")?;
    let answer = |key: &str, sent: Sent| {
        let mut payload = told(key, sent);
        payload["pollId"] = payload["messageId"].clone();
        payload
    };
    deliver(api, "poll", params, params, to, what, answer).await
}

/// What 2026.9.6's clients use for everything that is no plain message.
pub(super) async fn action(api: &Api, caller: &Caller, params: &Params) -> Result<Value, ErrorShape> {
    let action = params.required("action")?;
    let inner = params.object("params")?;
    let to = match ["to", "target", "chatJid"].into_iter().find(|key| inner.has(key)) {
        Some(key) => inner.required(key)?,
        None => inner.required("to")?,
    };
    let what = match action.as_str() {
        "send" => Wanted::Message(draft(caller, &inner)?),
        "react" => {
            let emoji = inner.text("emoji")?.unwrap_or_default();
            let emoji = sending::reaction(&emoji, inner.flag("remove")?).map_err(|e| inner.wrong(e))?;
            Wanted::React { target: named(&inner)?, emoji }
        }
        "poll" if inner.has("pollQuestion") => wanted_poll(&inner, "pollQuestion", "pollOption")?,
        "poll" => wanted_poll(&inner, "question", "options")?,
        "edit" => {
            let text = if inner.has("message") { inner.required("message")? } else { inner.required("text")? };
            Wanted::Edit { id: MessageId::new(inner.required("messageId")?), text }
        }
        "delete" | "unsend" => Wanted::Delete { target: named(&inner)? },
        other => {
            return Err(params.wrong(format!("unsupported action: {other}; use send, react, poll, edit or delete")));
        }
    };
    let given = inner.text("emoji")?.unwrap_or_default();
    let reaction = match &what {
        Wanted::React { emoji, .. } => Some(emoji.clone()),
        _ => None,
    };
    let answer = move |key: &str, sent: Sent| match reaction.as_deref() {
        Some("") => json!({"ok": true, "removed": true, "emoji": given}),
        Some(emoji) => json!({"ok": true, "added": emoji}),
        None => {
            let mut payload = told(key, sent);
            payload["ok"] = json!(true);
            payload
        }
    };
    deliver(api, "message.action", params, &inner, to, what, answer).await
}

async fn deliver(
    api: &Api,
    method: &'static str,
    params: &Params,
    inner: &Params,
    to: String,
    what: Wanted,
    answer: impl FnOnce(&str, Sent) -> Value + 'static,
) -> Result<Value, ErrorShape> {
    let key = params.required("idempotencyKey")?;
    if key.len() > LONGEST_KEY {
        return Err(params.wrong(format!("at /idempotencyKey: must NOT have more than {LONGEST_KEY} characters")));
    }
    params.channel()?;
    let account = match params.account()? {
        None => inner.account()?,
        account => account,
    };
    let sending = api.port.send.clone();
    // One method's key says nothing about another's.
    let idempotency_key = if method == "send" { key.clone() } else { format!("{method}:{key}") };
    let request = SendOut { account, to, what, idempotency_key };
    let digest = request.what.digest(&format!("{}\n{}", request.account.as_deref().unwrap_or_default(), request.to));
    let run_id = key.clone();
    let work = async move { Ok(answer(&run_id, ask(sending.send(request).await)?)) };
    api.sends.once(method, (&key, digest), work).await
}

fn told(key: &str, sent: Sent) -> Value {
    json!({
        "runId": key, "messageId": sent.message_id, "channel": CHANNEL, "toJid": sent.to_jid, "accountId": sent.account,
    })
}

fn draft(caller: &Caller, params: &Params) -> Result<Draft, ErrorShape> {
    let mut media = params.texts("mediaUrls")?;
    if media.is_empty() {
        let one = if params.has("mediaUrl") { params.text("mediaUrl")? } else { params.text("media")? };
        media.extend(one);
    }
    if let Some(bytes) = params.text("buffer")? {
        let mime = params.text("contentType")?.unwrap_or_else(|| "application/octet-stream".to_owned());
        media.insert(0, format!("data:{mime};base64,{bytes}"));
    }
    let as_document = params.flag("forceDocument")? || params.flag("asDocument")?;
    let as_sticker = params.flag("asSticker")?;
    if as_document && as_sticker {
        return Err(params.wrong("forceDocument and asSticker exclude each other; give one of them"));
    }
    let reply_to = if params.has("replyToId") { params.text("replyToId")? } else { params.text("replyTo")? };
    Ok(Draft {
        text: params.raw_text("message")?.unwrap_or_default(),
        media,
        gif_playback: params.flag("gifPlayback")?,
        as_document,
        as_sticker,
        file_name: params.text("filename")?,
        reply_to: reply_to.map(MessageId::new),
        confined: !Scope::Admin.granted_by(&caller.scopes),
    })
}

fn wanted_poll(params: &Params, question: &str, options: &str) -> Result<Wanted, ErrorShape> {
    let question = params.raw_text(question)?.unwrap_or_default();
    let options = params.texts(options)?;
    let selections = match params.integer("maxSelections")? {
        None if params.flag("pollMulti")? => Some(i64::try_from(options.len()).unwrap_or(i64::MAX)),
        selections => selections,
    };
    // Refused here in the words that clients know; the gateway checks again.
    sending::poll(&question, &options, selections).map_err(|e| ErrorShape::invalid(e.to_string()))?;
    Ok(Wanted::Poll { question, options, selections })
}

fn named(params: &Params) -> Result<Named, ErrorShape> {
    let participant = params.text("participant")?;
    let jid = |text: &String| {
        let parsed = crate::routing::target::Target::parse(text);
        parsed
            .map(|t| t.jid())
            .map_err(|e| params.wrong(format!("at /participant: must be a phone number or a JID: {e}")))
    };
    Ok(Named {
        id: MessageId::new(params.required("messageId")?),
        participant: participant.as_ref().map(jid).transpose()?.filter(|jid: &Jid| !jid.is_group()),
        from_me: if params.has("fromMe") { Some(params.flag("fromMe")?) } else { None },
    })
}
