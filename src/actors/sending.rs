//! Sends for a door or a model: now or not at all, and once however often it is asked for with the same key.
//!
//! The parts go through the outbox like every message, so that one account has one order and one pace. Whoever asks waits until
//! WhatsApp has them; what WhatsApp does not have in time is given up and never sent behind the back of a reported failure.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;

use crate::actors::messages::{Draft, Named, Refusal, Sent, Wanted};
use crate::actors::socket::{DrainOutbox, LookUp, SocketActor};
use crate::clock::UnixMs;
use crate::config::model::AccountConfig;
use crate::delivery::sending::{self, Action};
use crate::ids::{AccountId, Jid, MessageId};
use crate::media::{Loader, MediaError, Trust, Unsent, Wish};
use crate::outgoing::{MediaFile, Outgoing, Target as Message};
use crate::routing::target::Target;
use crate::store::journal::{Journal, OutboxPart, OutboxRow, OutboxState};
use crate::text::markdown;
use crate::whatsapp::LinkError;

/// How long WhatsApp may take for a text; a file gets more by its size.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that a slow line carries in a second.
const SLOW_LINE: u64 = 64 * 1024;

/// One request to send.
pub struct SendJob {
    /// The account that sends.
    pub account: Arc<AccountConfig>,
    /// To whom.
    pub target: Target,
    /// What.
    pub what: Wanted,
    /// Who asks: a model may do what `actions` allows and name files in its own folders.
    pub by: Trust,
    /// The largest file that is sent.
    pub max_bytes: u64,
    /// The caller's key.
    pub idempotency_key: String,
    /// The time of day.
    pub now: UnixMs,
}

/// What a job is carried out with.
pub struct Means {
    /// The account's connection.
    pub socket: Addr<SocketActor>,
    /// Where the parts wait.
    pub journal: Journal,
    /// Prepares files.
    pub loader: Loader,
}

/// What is kept under an idempotency key: the ids are fixed before the first attempt, so that a repeated request after a crash
/// sends the same messages again and no others.
#[derive(serde::Serialize, serde::Deserialize)]
struct Remembered {
    at: UnixMs,
    to: Jid,
    ids: Vec<MessageId>,
    done: bool,
    /// [`Wanted::digest`]; older versions kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    what: Option<String>,
}

impl Remembered {
    fn text(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }
}

/// Carries out `job`.
///
/// # Errors
/// When the request is wrong or not allowed, the number is not on WhatsApp, a file cannot be sent, WhatsApp refuses, or does not
/// answer in time. Nothing is sent later then.
pub async fn send(job: SendJob, means: Means) -> Result<Sent, Refusal> {
    permitted(&job)?;
    let Means { socket, journal, loader } = &means;
    let account = job.account.id.clone();
    let fact = format!("send:{account}:{}", job.idempotency_key);
    let earlier = journal.get(&fact).await.map_err(unavailable)?;
    let earlier: Option<Remembered> = earlier.and_then(|text| serde_json::from_str(&text).ok());
    let digest = job.what.digest(&job.target.jid().to_string());
    if earlier.as_ref().and_then(|e| e.what.as_ref()).is_some_and(|what| *what != digest) {
        return Err(key_reused(&job.idempotency_key));
    }
    if let Some(Remembered { to, ids, done: true, .. }) = &earlier {
        return Ok(Sent { account, message_id: last(ids), to_jid: to.clone() });
    }
    let to = match &earlier {
        Some(remembered) => remembered.to.clone(),
        None => resolve(&job.target, socket).await?,
    };
    let first_contact = !to.is_group() && !journal.has_met(&account, &to).await.map_err(unavailable)?;
    let (contents, prepared) = contents(&job, &to, journal, loader).await?;
    let ids = match earlier {
        Some(remembered) if remembered.ids.len() == contents.len() => remembered.ids,
        Some(_) => return Err(key_reused(&job.idempotency_key)),
        None => contents.iter().map(|_| MessageId::random(&mut rand::rng())).collect(),
    };
    let patience = patience(&contents);
    let mut remembered = Remembered { at: job.now, to: to.clone(), ids: ids.clone(), done: false, what: Some(digest) };
    let parts = ids.iter().zip(contents).enumerate().map(|(n, (id, content))| OutboxPart {
        account: account.clone(),
        id: id.clone(),
        chat: to.clone(),
        content,
        answers: None,
        // What follows the first message does not begin a conversation.
        first_contact: first_contact && n == 0,
    });
    // Both or neither: a request that failed here has left nothing behind, and its files go with it.
    let queued = journal.enqueue_under(&fact, &remembered.text(), parts.collect()).await.map_err(unavailable)?;
    if queued > 0 {
        prepared.hand_over();
    }
    if socket.send(DrainOutbox(job.account.rules.pacing.clone())).await.is_err() {
        journal.withdraw(&account, &ids, "the connection was lost");
        return Err(Refusal::NoListener { account });
    }
    arrival(journal, &account, &ids, patience).await?;
    remembered.done = true;
    // It is out: without this note the same request finds the same parts acked.
    let (journal, text) = (journal.clone(), remembered.text());
    tokio::spawn(async move {
        if let Err(error) = journal.put_surely(&fact, &text).await {
            tracing::debug!(target: "whatsapp/outbound", %error, "the end of a request was not noted");
        }
    });
    Ok(Sent { account, message_id: last(&ids), to_jid: to })
}

/// One key is one message: repeating the first one's success would claim that this one was sent.
fn key_reused(key: &str) -> Refusal {
    Refusal::Invalid(format!(
        "the idempotency key \"{key}\" was used for another recipient or message before; use a new key for each message"
    ))
}

/// Waits until WhatsApp has every part.
async fn arrival(journal: &Journal, account: &AccountId, ids: &[MessageId], patience: Duration) -> Result<(), Refusal> {
    let mut news = journal.outbox_news();
    let all = async {
        loop {
            news.borrow_and_update();
            let rows = journal.outbox_rows(account, ids).await.map_err(unavailable)?;
            let failed = |row: &&OutboxRow| matches!(row.state, OutboxState::Failed | OutboxState::Expired);
            let open = |row: &OutboxRow| matches!(row.state, OutboxState::Queued | OutboxState::Sent);
            if !rows.iter().any(open) {
                return match rows.iter().find(failed) {
                    None => Ok(()),
                    Some(row) => {
                        Err(Refusal::Unavailable(row.cause.clone().unwrap_or_else(|| "it expired".to_owned())))
                    }
                };
            }
            if news.changed().await.is_err() {
                return Err(Refusal::Unavailable("the gateway is stopping".to_owned()));
            }
        }
    };
    match tokio::time::timeout(patience, all).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let cause = format!("WhatsApp did not take the message within {} s", patience.as_secs());
            journal.withdraw(account, ids, &cause);
            Err(Refusal::Unavailable(cause))
        }
    }
}

fn permitted(job: &SendJob) -> Result<(), Refusal> {
    if !matches!(job.by, Trust::Model(_)) {
        return Ok(());
    }
    let action = match &job.what {
        Wanted::React { .. } => Action::React,
        Wanted::Poll { .. } => Action::Poll,
        Wanted::Message(_) | Wanted::Edit { .. } | Wanted::Delete { .. } => Action::Message,
    };
    sending::allowed(action, &job.account.rules.actions).map_err(|told| Refusal::Invalid(told.to_owned()))
}

/// The messages that the request becomes; files are prepared here, before anything is sent.
async fn contents(
    job: &SendJob,
    to: &Jid,
    journal: &Journal,
    loader: &Loader,
) -> Result<(Vec<Outgoing>, Unsent), Refusal> {
    let account = &job.account.id;
    let invalid = |text: &dyn std::fmt::Display| Refusal::Invalid(text.to_string());
    let one = match &job.what {
        Wanted::Message(draft) => {
            if draft.text.trim().is_empty() && draft.media.is_empty() {
                return Err(Refusal::Invalid("the message is empty; give it a text or a file".to_owned()));
            }
            let quote = match &draft.reply_to {
                Some(id) => Some(locate(id, None, None, account, to, journal).await?),
                None => None,
            };
            let (files, prepared) = prepare(draft, job, loader).await?;
            return Ok((sending::message(sending::texts(&draft.text, &job.account.rules), files, quote), prepared));
        }
        Wanted::React { target, emoji } => {
            let Named { id, participant, from_me } = target;
            let target = locate(id, participant.as_ref(), *from_me, account, to, journal).await?;
            Outgoing::Reaction { target, emoji: emoji.clone() }
        }
        Wanted::Poll { question, options, selections } => {
            sending::poll(question, options, *selections).map_err(|e| invalid(&e))?
        }
        Wanted::Edit { id, text } => {
            if text.trim().is_empty() {
                return Err(Refusal::Invalid("the new text is empty; to take the message back, delete it".to_owned()));
            }
            if is_of_another(id, account, journal).await? {
                return Err(Refusal::Invalid(format!(
                    "message {id} was written by somebody else; only own ones can be edited"
                )));
            }
            let target = Message { id: id.clone(), sender: None, from_me: true };
            // One message has one text: an edit is not cut.
            let text = markdown::to_whatsapp(text.trim(), job.account.rules.markdown_tables);
            let length = text.encode_utf16().count();
            if length > sending::MAX_TEXT {
                return Err(Refusal::Invalid(format!(
                    "the new text is too long: {length} characters, and one message has {} at most; send a new message",
                    sending::MAX_TEXT
                )));
            }
            Outgoing::Edit { target, text }
        }
        Wanted::Delete { target: Named { id, participant, from_me } } => {
            // Without another word it is one of our own, unless somebody else is known to have written it.
            let own = participant.is_none() && !is_of_another(id, account, journal).await?;
            let from_me = from_me.or(own.then_some(true));
            let target = locate(id, participant.as_ref(), from_me, account, to, journal).await?;
            if !target.from_me && !to.is_group() {
                return Err(Refusal::Invalid(
                    "only own messages can be deleted in a direct chat; in a group an admin may delete others'"
                        .to_owned(),
                ));
            }
            Outgoing::Delete { target }
        }
    };
    Ok((vec![one], Unsent::default()))
}

async fn prepare(draft: &Draft, job: &SendJob, loader: &Loader) -> Result<(Vec<MediaFile>, Unsent), Refusal> {
    // Whatever makes the request fail: what is ready by then is deleted.
    let (mut files, mut prepared) = (Vec::new(), Unsent::default());
    for (n, source) in draft.media.iter().enumerate() {
        let wish = Wish {
            gif_playback: draft.gif_playback,
            as_document: draft.as_document,
            as_sticker: draft.as_sticker,
            file_name: draft.file_name.clone().filter(|_| n == 0),
            ..Wish::new(source, job.max_bytes)
        };
        match loader.prepare(&wish, &job.by).await {
            Ok(file) => {
                prepared.add(&file);
                files.push(file);
            }
            Err(error) => {
                let way_out = match error {
                    MediaError::Exceeds { cap, .. }
                    | MediaError::NotReduced { cap, .. }
                    | MediaError::FetchExceeds { cap, .. }
                        if cap == job.max_bytes =>
                    {
                        "; the limit is agents.defaults.mediaMaxMb"
                    }
                    MediaError::Unusable { .. } | MediaError::Overloaded { .. } => {
                        "; as a document (--force-document, in the API forceDocument) it is sent as it is"
                    }
                    _ => "",
                };
                return Err(Refusal::Invalid(format!("{error}{way_out}")));
            }
        }
    }
    Ok((files, prepared))
}

/// What a message id stands for: as the caller says, else as the journal knows it, else another person's.
///
/// # Errors
/// When it is another person's in a group and nobody knows whose.
pub(super) async fn locate(
    id: &MessageId,
    participant: Option<&Jid>,
    from_me: Option<bool>,
    account: &AccountId,
    chat: &Jid,
    journal: &Journal,
) -> Result<Message, Refusal> {
    let known = journal.author_of(account, id).await.map_err(unavailable)?;
    let from_me = from_me.unwrap_or_else(|| participant.is_none() && known.as_ref().is_some_and(|(_, mine)| *mine));
    let author = participant.cloned().or_else(|| known.and_then(|(author, _)| author));
    let sender = author.filter(|_| chat.is_group() && !from_me);
    if chat.is_group() && !from_me && sender.is_none() {
        // WhatsApp would take it, and no phone would find the message.
        return Err(Refusal::Invalid(format!(
            "nothing is known of the message {id} in this group; check the id, or name its author as participant"
        )));
    }
    Ok(Message { id: id.clone(), sender, from_me })
}

/// Somebody else is known to have written the message.
async fn is_of_another(id: &MessageId, account: &AccountId, journal: &Journal) -> Result<bool, Refusal> {
    let known = journal.author_of(account, id).await.map_err(unavailable)?;
    Ok(known.is_some_and(|(_, mine)| !mine))
}

/// A large file takes its time on a slow line.
fn patience(contents: &[Outgoing]) -> Duration {
    let bytes: u64 = contents.iter().filter_map(Outgoing::file).map(|file| file.bytes).sum();
    PATIENCE + Duration::from_secs(bytes / SLOW_LINE)
}

fn last(ids: &[MessageId]) -> MessageId {
    ids.last().cloned().unwrap_or_else(|| MessageId::new(""))
}

fn unavailable(error: impl std::fmt::Display) -> Refusal {
    Refusal::Unavailable(error.to_string())
}

/// The chat of a target; a number is looked up first, so that a message to nobody is an error and not a silence, and the spelling is the
/// one that WhatsApp knows. When WhatsApp does not say, it goes to the number as it was written.
async fn resolve(target: &Target, socket: &Addr<SocketActor>) -> Result<Jid, Refusal> {
    let Target::Number(number) = target else { return Ok(target.jid()) };
    match socket.send(LookUp(number.clone())).await {
        Ok(Ok(Some(jid))) => Ok(jid),
        Ok(Ok(None)) => {
            Err(Refusal::Invalid(format!("{number} is not on WhatsApp; check the number and its country code")))
        }
        Ok(Err(LinkError::Invalid(text))) => Err(Refusal::Invalid(text)),
        Ok(Err(error @ (LinkError::NotLinked | LinkError::NotConnected))) => Err(unavailable(error)),
        Ok(Err(error)) => {
            tracing::warn!(target: "whatsapp/outbound", %error, "WhatsApp did not say whether a number exists; it is used as written");
            Ok(target.jid())
        }
        Err(_) => Err(Refusal::Unavailable("the connection was lost".to_owned())),
    }
}
