//! The router's pairing: requests of strangers, the owner's decisions by command and by reaction.

use actix::prelude::*;

use super::RouterActor;
use crate::actors::messages::{DecidePairing, ListPairing, PairingDecided, PairingRequest, Refusal};
use crate::actors::supervisor::Deliver;
use crate::clock::UnixMs;
use crate::event::{Content, InboundMessage};
use crate::ids::{AccountId, E164, Jid, MessageId, Redacted};
use crate::policy::decision::Effect;
use crate::policy::pairing::{PairingBook, PairingRecord, REQUEST_TTL_MS, Requested, pairing_text};
use crate::store::StoreError;
use crate::store::journal::{Aside, InboundState, OutboxPart};
use crate::store::pairing::PairingFiles;
use crate::text::label;

/// Somebody asks to be let in.
pub(super) struct PairingAsked {
    message: InboundMessage,
    sender: String,
    name: Option<String>,
    reply: bool,
    notify_owner: bool,
}

impl PairingAsked {
    /// The request among the effects of a message.
    pub(super) fn of(effects: &[Effect], message: &InboundMessage) -> Option<Self> {
        effects.iter().find_map(|effect| match effect {
            Effect::RequestPairing { sender, name, reply, notify_owner } => Some(Self {
                message: message.clone(),
                sender: sender.clone(),
                name: name.clone(),
                reply: *reply,
                notify_owner: *notify_owner,
            }),
            _ => None,
        })
    }
}

/// A decision that is not noted yet.
pub(super) struct Verdicted {
    pub state: InboundState,
    pub json: serde_json::Value,
}

/// What the owner is told of a request, in the account's own chat.
fn owner_notice(asked: &PairingAsked, code: &str) -> String {
    let name = asked.name.as_deref().map(label::name).filter(|name| !name.is_empty());
    let who = name.as_deref().unwrap_or("Somebody");
    let account = &asked.message.account;
    format!(
        "Verso: {who} ({}) asks to be let in.\n\nReact with 👍 to let them in, with 👎 to refuse, or use:\nverso pairing approve whatsapp {code} --account {account}",
        asked.sender
    )
}

/// Under which key the code of a notice is kept.
fn notice_fact(account: &AccountId, notice: &MessageId) -> String {
    format!("notice:{account}:{notice}")
}

/// Known when the texts about a request are in the outbox.
fn told_fact(account: &AccountId, code: &str) -> String {
    format!("notice:{account}:asked:{code}")
}

/// What the owner's reaction to a notice says: 👍 yes, 👎 no, in any skin colour.
fn verdict_of(emoji: &str) -> Option<bool> {
    match emoji.chars().next()? {
        '👍' => Some(true),
        '👎' => Some(false),
        _ => None,
    }
}

/// Lets `change` work on the book of one account, under the lock of the file.
fn with_book<T>(
    files: &PairingFiles,
    account: &AccountId,
    now: UnixMs,
    change: impl FnOnce(&mut PairingBook) -> T,
) -> Result<T, StoreError> {
    files.update_requests(|records| {
        let mut book = PairingBook::load(account.clone(), records.iter().cloned(), now);
        let result = change(&mut book);
        records.retain(|r| r.account != *account && now - r.created_at <= REQUEST_TTL_MS);
        records.extend(book.records().iter().cloned());
        result
    })
}

/// What the stranger and the owner are told of a request, once.
fn texts(asked: &PairingAsked, code: &str, own: Option<&E164>) -> Aside {
    let account = &asked.message.account;
    tracing::info!(
        target: "whatsapp/inbound", %account, sender = %Redacted(&asked.sender),
        "new pairing request; see: verso pairing list whatsapp"
    );
    let told = told_fact(account, code);
    let mut aside = Aside { facts: vec![(told.clone(), asked.sender.clone())], parts: vec![], unless: Some(told) };
    let part = |chat: Jid, text: String, answers| OutboxPart::text(account.clone(), chat, text, answers);
    if asked.reply {
        let text = pairing_text(&asked.sender, code);
        aside.parts.push(part(asked.message.chat.clone(), text, Some(asked.message.key())));
    }
    if let Some(own) = own.filter(|_| asked.notify_owner) {
        let notice = part(Jid::of_number(own), owner_notice(asked, code), None);
        // Known before the owner can react to the notice.
        aside.facts.push((notice_fact(account, &notice.id), code.to_owned()));
        aside.parts.push(notice);
    }
    aside
}

impl RouterActor {
    /// Takes back what people asked of a number that the account is not linked to any more. Who was let in stays so: that is a decision
    /// about the account.
    pub(super) fn withdraw_requests(&self, account: AccountId) {
        let files = self.files.clone();
        let withdrawn = tokio::task::spawn_blocking({
            let account = account.clone();
            move || {
                files.update_requests(|records| {
                    let before = records.len();
                    records.retain(|record| record.account != account);
                    before - records.len()
                })
            }
        });
        actix::spawn(async move {
            match withdrawn.await {
                Ok(Ok(0)) => {}
                Ok(Ok(requests)) => tracing::warn!(
                    target: "whatsapp/inbound", %account, requests,
                    "requests to be let in are withdrawn: they were made to another number"
                ),
                Ok(Err(error)) => {
                    tracing::error!(target: "whatsapp/inbound", %account, %error, "requests to another number are still listed")
                }
                Err(error) => {
                    tracing::error!(target: "whatsapp/inbound", %account, %error, "requests to another number are still listed")
                }
            }
        });
    }

    /// Enters the request into the store first; only a code that is on disk is shown to anybody. The decision is noted together with
    /// the texts, so that a message without a decision (`taken_up`) is one whose texts a crash may have cost.
    pub(super) fn request_pairing(
        &mut self,
        asked: PairingAsked,
        verdicted: Verdicted,
        taken_up: bool,
        ctx: &mut Context<Self>,
    ) {
        let (files, now, account) = (self.files.clone(), self.clock.cautious(), asked.message.account.clone());
        let (id, name) = (asked.sender.clone(), asked.name.clone());
        let known = self.known.get(&account);
        let own = known.and_then(|k| k.identity.number());
        let supervisor = known.map(|k| k.supervisor.clone());
        let journal = self.journal.clone();
        let entered = tokio::task::spawn_blocking({
            let account = account.clone();
            move || with_book(&files, &account, now, |book| book.request(&id, name.as_deref(), now, &mut rand::rng()))
        });
        let work = async move {
            let code = match entered.await {
                Ok(Ok(Requested::New { code })) => Some(code),
                Ok(Ok(Requested::Refreshed { code })) => Some(code).filter(|_| taken_up),
                Ok(Ok(Requested::Full)) => {
                    tracing::info!(target: "whatsapp/inbound", %account, "three pairing requests wait already; a further one was not entered");
                    None
                }
                Ok(Err(error)) => {
                    tracing::error!(target: "whatsapp/inbound", %account, %error, "a pairing request was not entered");
                    None
                }
                Err(_) => return,
            };
            #[cfg(feature = "demo")]
            crate::fault::passes("pairing-entered");
            let aside = code.map(|code| texts(&asked, &code, own.as_ref())).unwrap_or_default();
            let Verdicted { state, json } = verdicted;
            match journal.decide_aside(&asked.message.key(), state, &json, aside).await {
                Ok(()) => supervisor.into_iter().for_each(|supervisor| supervisor.do_send(Deliver)),
                Err(error) => {
                    tracing::error!(target: "whatsapp/outbound", %account, %error, "a pairing text was not queued; it is taken up after a restart")
                }
            }
        };
        ctx.spawn(actix::fut::wrap_future(work));
    }

    /// The owner decides a pairing request by a reaction to its notice, which stands in the account's own chat.
    pub(super) fn owner_reacted(&self, message: &InboundMessage, ctx: &mut Context<Self>) {
        let Content::Reaction { target, emoji, .. } = &message.content else { return };
        let Some(known) = self.known.get(&message.account) else { return };
        let own_chat = known.identity.is_self(&message.chat) || message.chat_number == known.identity.number();
        let Some(approve) = verdict_of(emoji).filter(|_| message.from_me && own_chat) else { return };
        let (journal, files, now) = (self.journal.clone(), self.files.clone(), self.clock.cautious());
        let (account, supervisor) = (message.account.clone(), known.supervisor.clone());
        let (fact, chat) = (notice_fact(&account, target), message.chat.clone());
        ctx.spawn(actix::fut::wrap_future(async move {
            let Ok(Some(code)) = journal.get_surely(&fact).await else { return };
            let id = account.clone();
            let decided =
                tokio::task::spawn_blocking(move || decide_request(&files, Some(&id), &code, approve, now)).await;
            let text = match decided {
                Ok(Ok(record)) if approve => format!("Approved whatsapp sender {}.", record.id),
                Ok(Ok(record)) => format!("Denied whatsapp sender {}.", record.id),
                Ok(Err(refusal)) => refusal.to_string(),
                Err(_) => return,
            };
            let part = OutboxPart::text(account, chat, text, None);
            match journal.enqueue_surely(vec![part]).await {
                Ok(()) => supervisor.do_send(Deliver),
                Err(error) => {
                    tracing::error!(target: "whatsapp/outbound", %error, "the answer to a reaction was not queued")
                }
            }
        }));
    }
}

impl Handler<ListPairing> for RouterActor {
    type Result = ResponseFuture<Result<Vec<PairingRequest>, Refusal>>;

    fn handle(&mut self, list: ListPairing, _: &mut Self::Context) -> Self::Result {
        let (files, now) = (self.files.clone(), self.clock.cautious());
        Box::pin(async move {
            let records = tokio::task::spawn_blocking(move || files.requests())
                .await
                .map_err(|e| Refusal::Unavailable(e.to_string()))?
                .map_err(|e| Refusal::Unavailable(e.to_string()))?;
            let only = list.account.as_deref().map(AccountId::new);
            Ok(records
                .into_iter()
                .filter(|r| only.as_ref().is_none_or(|a| r.account == *a) && now - r.created_at <= REQUEST_TTL_MS)
                .map(|r| PairingRequest {
                    account: r.account,
                    sender: r.id,
                    name: r.name,
                    code: r.code,
                    created_at: r.created_at,
                    last_seen_at: r.last_seen_at,
                    expires_at: r.created_at + REQUEST_TTL_MS,
                })
                .collect())
        })
    }
}

impl Handler<DecidePairing> for RouterActor {
    type Result = ResponseActFuture<Self, Result<PairingDecided, Refusal>>;

    fn handle(&mut self, decide: DecidePairing, _: &mut Self::Context) -> Self::Result {
        let (files, now) = (self.files.clone(), self.clock.cautious());
        let only = decide.account.as_deref().map(AccountId::new);
        let (code, approve) = (decide.code.trim().to_owned(), decide.approve);
        let decided = tokio::task::spawn_blocking(move || decide_request(&files, only.as_ref(), &code, approve, now));
        let journal = self.journal.clone();
        let notify = decide.notify && decide.approve;
        Box::pin(actix::fut::wrap_future(decided).then(move |decided, me: &mut Self, _| {
            let record = match decided {
                Ok(result) => result,
                Err(e) => Err(Refusal::Unavailable(e.to_string())),
            };
            let told = |account: &AccountId| me.known.get(account).filter(|_| !me.listens_only(account));
            let supervisor = record.as_ref().ok().and_then(|r| told(&r.account)).map(|known| known.supervisor.clone());
            actix::fut::wrap_future(async move {
                let record = record?;
                let mut notified = false;
                if notify
                    && let Some(supervisor) = supervisor
                    && let Some(chat) = chat_of(&record.id)
                {
                    let text = "✅ Verso access approved. Send a message to start chatting.";
                    let part = OutboxPart::text(record.account.clone(), chat, text, None);
                    // The approval holds already: the text waits for the disk, and nobody waits for it.
                    tokio::spawn(async move {
                        match journal.enqueue_surely(vec![part]).await {
                            Ok(()) => supervisor.do_send(Deliver),
                            Err(error) => {
                                tracing::error!(target: "whatsapp/outbound", %error, "the word of an approval was not queued")
                            }
                        }
                    });
                    notified = true;
                }
                Ok(PairingDecided { account: record.account, sender: record.id, notified })
            })
        }))
    }
}

/// The direct chat of a person as the pairing book names it.
fn chat_of(id: &str) -> Option<Jid> {
    if id.contains('@') { id.parse().ok() } else { E164::from_digits(id).map(|n| Jid::of_number(&n)) }
}

/// Approves or denies on disk: the approval is written before the request goes, so that a crash between the two loses neither.
///
/// # Errors
/// When no such request waits or the files cannot be written.
pub fn decide_request(
    files: &PairingFiles,
    only: Option<&AccountId>,
    code: &str,
    approve: bool,
    now: UnixMs,
) -> Result<PairingRecord, Refusal> {
    let unavailable = |e: StoreError| Refusal::Unavailable(e.to_string());
    let records = files.requests().map_err(unavailable)?;
    let found = records.into_iter().find(|r| {
        r.code.eq_ignore_ascii_case(code)
            && only.is_none_or(|a| r.account == *a)
            && now - r.created_at <= REQUEST_TTL_MS
    });
    let Some(record) = found else {
        return Err(Refusal::Invalid(format!("No pending pairing request found for code: {code}")));
    };
    if approve {
        files.allow(&record.account, &record.id).map_err(unavailable)?;
    }
    with_book(files, &record.account, now, |book| if approve { book.approve(code, now) } else { book.deny(code, now) })
        .map_err(unavailable)?;
    Ok(record)
}
