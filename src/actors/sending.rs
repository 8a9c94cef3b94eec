//! Sends a text for a door: at once or not at all, and once however often it is asked for with the same key.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;

use crate::actors::messages::{Refusal, Sent};
use crate::actors::socket::{LookUp, SendDirect, SocketActor};
use crate::clock::UnixMs;
use crate::config::model::AccountConfig;
use crate::ids::{Jid, MessageId};
use crate::routing::target::Target;
use crate::store::journal::{Journal, OutboxPart};
use crate::text::chunk;
use crate::whatsapp::LinkError;

/// One request to send.
pub struct SendJob {
    /// The account that sends.
    pub account: Arc<AccountConfig>,
    /// To whom.
    pub target: Target,
    /// The text.
    pub text: String,
    /// The caller's key.
    pub idempotency_key: String,
    /// The time of day.
    pub now: UnixMs,
}

/// What is kept under an idempotency key: the ids are fixed before the first attempt, so that a repeated request after a crash
/// sends the same messages again and no others.
#[derive(serde::Serialize, serde::Deserialize)]
struct Remembered {
    at: UnixMs,
    to: Jid,
    ids: Vec<MessageId>,
    done: bool,
}

/// Carries out `job` over `socket`.
///
/// # Errors
/// When the number is not on WhatsApp, WhatsApp refuses, or the connection is lost; nothing is queued then.
pub async fn send_text(job: SendJob, socket: Addr<SocketActor>, journal: Journal) -> Result<Sent, Refusal> {
    let unavailable = |e: &dyn std::fmt::Display| Refusal::Unavailable(e.to_string());
    let account = job.account.id.clone();
    let fact = format!("send:{account}:{}", job.idempotency_key);
    let earlier = journal.get(&fact).await.map_err(|e| unavailable(&e))?;
    let earlier: Option<Remembered> = earlier.and_then(|text| serde_json::from_str(&text).ok());
    if let Some(Remembered { to, ids, done: true, .. }) = &earlier {
        let message_id = ids.last().cloned().unwrap_or_else(|| MessageId::new(""));
        return Ok(Sent { account, message_id, to_jid: to.clone() });
    }
    let parts = chunk::chunk(job.text.trim(), job.account.rules.text_chunk_limit, job.account.rules.chunk_mode);
    let to = match &earlier {
        Some(remembered) => remembered.to.clone(),
        None => resolve(&job.target, &socket).await?,
    };
    let ids = match earlier {
        Some(remembered) if remembered.ids.len() == parts.len() => remembered.ids,
        _ => parts.iter().map(|_| MessageId::random(&mut rand::rng())).collect(),
    };
    let mut remembered = Remembered { at: job.now, to: to.clone(), ids: ids.clone(), done: false };
    journal.put(&fact, &serde_json::to_string(&remembered).expect("plain data")).await.map_err(|e| unavailable(&e))?;
    for (id, text) in ids.iter().zip(parts) {
        let send = SendDirect { chat: to.clone(), id: id.clone(), text: text.clone() };
        let sent = tokio::time::timeout(Duration::from_secs(60), socket.send(send)).await;
        match sent {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => return Err(refusal(&error)),
            Ok(Err(_)) => return Err(Refusal::NoListener { account }),
            Err(_) => return Err(Refusal::Unavailable("WhatsApp did not take the message within 60 s".to_owned())),
        }
        let part = OutboxPart { account: account.clone(), id: id.clone(), chat: to.clone(), text, answers: None };
        journal.record_sent(part).await.map_err(|e| unavailable(&e))?;
    }
    remembered.done = true;
    journal.put(&fact, &serde_json::to_string(&remembered).expect("plain data")).await.map_err(|e| unavailable(&e))?;
    let message_id = ids.last().cloned().unwrap_or_else(|| MessageId::new(""));
    Ok(Sent { account, message_id, to_jid: to })
}

fn refusal(error: &LinkError) -> Refusal {
    match error {
        LinkError::Invalid(text) => Refusal::Invalid(text.clone()),
        other => Refusal::Unavailable(other.to_string()),
    }
}

/// The chat of a target; a number is looked up first, so that a message to nobody is an error and not a silence.
async fn resolve(target: &Target, socket: &Addr<SocketActor>) -> Result<Jid, Refusal> {
    let Target::Number(number) = target else { return Ok(target.jid()) };
    match socket.send(LookUp(number.clone())).await {
        Ok(Ok(Some(jid))) => Ok(jid),
        Ok(Ok(None)) => {
            Err(Refusal::Invalid(format!("{number} is not on WhatsApp; check the number and its country code")))
        }
        Ok(Err(error)) => Err(refusal(&error)),
        Err(_) => Err(Refusal::Unavailable("the connection was lost".to_owned())),
    }
}
