//! What may be asked of a live link. Every call has its own limit in time and runs on the clients' runtime.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use whatsapp_rust::anyhow;
use whatsapp_rust::cache::Freshness;
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::wacore::iq::keepalive::KeepaliveSpec;
use whatsapp_rust::wacore::iq::usync::{IsOnWhatsAppQueryType, IsOnWhatsAppResult, IsOnWhatsAppSpec, IsOnWhatsAppUser};
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::{Client, ErrorChainExt, Jid as LibraryJid, SendOptions};

use super::{GroupInfo, GroupMember, Link, LinkError, Vitals, content, convert};
use crate::ids::{AccountId, E164, Jid, MessageId};
use crate::outgoing::{Address, Letter, Outgoing, Outlet, Target};

/// A send may have to fetch keys and device lists first.
pub(super) const SEND_LIMIT: Duration = Duration::from_secs(45);
/// Everything else.
pub(super) const ASK_LIMIT: Duration = Duration::from_secs(20);
/// The socket of a fresh link has to stand before a code can be asked for.
const PAIRING_LIMIT: Duration = Duration::from_secs(30);
/// Longer than the library waits for a keep-alive, so that its own word arrives.
const LOGOUT_LIMIT: Duration = Duration::from_secs(15);

impl Outlet for Link {
    fn account(&self) -> &AccountId {
        &self.inner.inlet.account
    }
}

impl Link {
    /// Runs a call on the clients' runtime, so that keys and sockets never live on the caller's.
    pub(super) async fn call<T, F, Fut>(&self, limit: Duration, call: F) -> Result<T, LinkError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Client>) -> Fut,
        Fut: Future<Output = Result<T, LinkError>> + Send + 'static,
    {
        let client = self.inner.client().ok_or(LinkError::NotConnected)?;
        let (call, mut ended) = (call(client), self.inner.ended.subscribe());
        let task = self.inner.handle.spawn(timeout(limit, async move {
            tokio::select! {
                result = call => result,
                _ = ended.wait_for(|ended| *ended) => Err(LinkError::NotConnected),
            }
        }));
        match task.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(LinkError::Timeout(limit)),
            // What a panic says may quote the message.
            Err(error) if error.is_panic() => Err(LinkError::Internal("a panic of the client".to_owned())),
            Err(error) => Err(LinkError::Internal(error.to_string())),
        }
    }

    /// The same for calls that need a login.
    pub(super) async fn online<T, F, Fut>(&self, limit: Duration, call: F) -> Result<T, LinkError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Client>) -> Fut,
        Fut: Future<Output = Result<T, LinkError>> + Send + 'static,
    {
        if !self.is_linked() {
            // A closed link does not know whose it was: what it could not send another link can.
            let closed = self.inner.client().is_none();
            return Err(if closed { LinkError::NotConnected } else { LinkError::NotLinked });
        }
        if !self.is_online() {
            return Err(LinkError::NotConnected);
        }
        self.call(limit, call).await
    }

    /// Asks for the eight characters that the phone's owner types under "Link with phone number instead". It works
    /// beside the QR codes, while [`Link::run`] is under way.
    ///
    /// # Errors
    /// When the socket does not stand in time or WhatsApp refuses.
    pub async fn request_pairing_code(&self, phone: &E164) -> Result<String, LinkError> {
        let options = PairCodeOptions { phone_number: phone.digits().to_owned(), ..PairCodeOptions::default() };
        self.call(PAIRING_LIMIT, |client| async move {
            client.wait_for_socket(ASK_LIMIT).await.map_err(|_| LinkError::NotConnected)?;
            client.pair_with_code(options).await.map_err(|error| {
                if error.server_rejection().is_none() && error.lost_the_flow_to_another_request() {
                    return LinkError::Invalid(error.to_string());
                }
                failed(&error)
            })
        })
        .await
    }

    /// Tells WhatsApp to remove this device, as far as it can be reached, and ends the link. The files stay.
    ///
    /// # Errors
    /// [`LinkError::NotConnected`] when WhatsApp could not be told: the phone goes on showing the device.
    pub async fn logout(&self) -> Result<(), LinkError> {
        let told = self.is_online();
        let done = self
            .call(LOGOUT_LIMIT, |client| async move {
                client.logout().await;
                Ok(())
            })
            .await;
        self.close().await;
        if told { done } else { Err(LinkError::NotConnected) }
    }

    /// Reacts to a message; an empty `emoji` takes the reaction back. In groups `target_sender` is the author's
    /// address as it came.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn send_reaction(
        &self,
        chat: &Jid,
        target: &MessageId,
        target_sender: Option<&Jid>,
        from_me: bool,
        emoji: &str,
        id: &MessageId,
    ) -> Result<(), LinkError> {
        let target = Target { id: target.clone(), sender: target_sender.cloned(), from_me };
        self.send_message(chat, id, content::reaction(chat, &target, emoji), Freshness::default()).await
    }

    /// Sends a letter of this link's account under the id that it carries: sent again, it is one message.
    /// `Ok` means that the bytes left; [`crate::event::LinkEvent::ServerAck`] says that WhatsApp took them.
    ///
    /// # Errors
    /// [`LinkError::Invalid`] for a letter of another account or a file that is gone; else see [`LinkError`].
    pub async fn send(&self, letter: &Letter) -> Result<(), LinkError> {
        self.send_over(letter, None).await
    }

    /// The same to one of a person's two addresses instead of the usual one, where both are known.
    ///
    /// # Errors
    /// As [`Link::send`].
    pub async fn send_over(&self, letter: &Letter, address: Option<Address>) -> Result<(), LinkError> {
        if letter.account() != &self.inner.inlet.account {
            return Err(LinkError::Invalid(format!(
                "a message of account \"{}\" cannot leave through account \"{}\"",
                letter.account(),
                self.inner.inlet.account
            )));
        }
        let freshness = if letter.handling().again { Freshness::Refresh } else { Freshness::default() };
        let me = self.identity().map_or_else(|| letter.chat().clone(), |me| me.jid);
        let message = match letter.content() {
            // Its file is gone since WhatsApp took it.
            Outgoing::Media { .. } if letter.handling().again => self.as_sent(letter.chat(), letter.id()).await?,
            Outgoing::Media { media, caption, quote } => {
                let stored = self.upload(letter.id(), media).await?;
                #[cfg(feature = "demo")]
                crate::fault::passes("file-uploaded");
                content::media(letter.chat(), stored, media, caption.clone(), quote.as_ref().map(|q| (q, &me)))
            }
            Outgoing::Text { text, quote } => content::text(letter.chat(), text, quote.as_ref().map(|q| (q, &me))),
            Outgoing::Reaction { target, emoji } => content::reaction(letter.chat(), target, emoji),
            Outgoing::Poll { question, options, selectable } => content::poll(question, options, *selectable),
            Outgoing::Edit { target, text } => content::edit(letter.chat(), target, text),
            Outgoing::Delete { target } => content::delete(letter.chat(), target),
        };
        let unusual = match address {
            Some(address) => self.addresses(letter.chat()).await.filter(|known| known.usual != address),
            None => None,
        };
        let sent = match (unusual, address) {
            (Some(known), Some(address)) => {
                self.send_exactly(known.get(address), letter.id(), message, letter.handling().again).await
            }
            _ => self.send_message(letter.chat(), letter.id(), message, freshness).await,
        };
        if sent.is_ok() {
            self.inner.uploads.lock().unwrap_or_else(PoisonError::into_inner).remove(letter.id());
        }
        sent
    }

    async fn send_message(
        &self,
        to: &Jid,
        id: &MessageId,
        message: wa::Message,
        freshness: Freshness,
    ) -> Result<(), LinkError> {
        let to = theirs(to)?;
        let options = SendOptions::default().with_message_id(id.as_str()).with_device_freshness(freshness);
        self.online(SEND_LIMIT, |client| async move {
            client.send_message_with_options(to, message, options).await.map(|_| ()).map_err(|e| failed(&e))
        })
        .await
    }

    /// Marks messages of one chat as read. `sender` names the author in groups.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn mark_read(&self, chat: &Jid, sender: Option<&Jid>, ids: &[MessageId]) -> Result<(), LinkError> {
        let chat_jid = theirs(chat)?;
        let sender = sender.filter(|_| chat.is_group()).map(theirs).transpose()?;
        let ids: Vec<String> = ids.iter().map(|id| id.as_str().to_owned()).collect();
        self.online(ASK_LIMIT, |client| async move {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            client.mark_as_read(&chat_jid, sender.as_ref(), &ids).await.map_err(|e| failed_any(&e))
        })
        .await
    }

    /// Shows or takes back "typing" in a chat.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn typing(&self, chat: &Jid, on: bool) -> Result<(), LinkError> {
        let chat = theirs(chat)?;
        self.online(ASK_LIMIT, |client| async move {
            let state = client.chatstate();
            let sent = if on { state.send_composing(&chat).await } else { state.send_paused(&chat).await };
            sent.map_err(|e| failed(&e))
        })
        .await
    }

    /// Shows the account as online or not, now and after later logins of this link.
    ///
    /// # Errors
    /// See [`LinkError`]; before WhatsApp told the account's own name there is nothing to announce.
    pub async fn set_available(&self, available: bool) -> Result<(), LinkError> {
        self.inner.inlet.available.store(available, Ordering::Release);
        self.online(ASK_LIMIT, |client| async move {
            let presence = client.presence();
            let sent = if available { presence.set_available().await } else { presence.set_unavailable().await };
            sent.map_err(|e| failed(&e))
        })
        .await
    }

    /// The phone number behind an address, by every means: the address itself, what was learned before, WhatsApp.
    pub async fn number_of(&self, jid: &Jid) -> Option<E164> {
        if let Some(number) = jid.e164() {
            return Some(number);
        }
        if !jid.is_lid() {
            return None;
        }
        let inlet = Arc::clone(&self.inner.inlet);
        let jid = jid.without_device();
        let online = self.is_online();
        let found = self.call(ASK_LIMIT, |client| async move {
            if let Some(number) = inlet.recall(&client, &jid).await {
                return Ok(Some(number));
            }
            if online {
                inlet.ask(&client, std::slice::from_ref(&jid)).await;
            }
            Ok(inlet.recall(&client, &jid).await)
        });
        found.await.ok().flatten()
    }

    /// Whether a number is on WhatsApp, in any of its spellings: the chat to write to, or `None`.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn lookup(&self, number: &E164) -> Result<Option<Jid>, LinkError> {
        let asked: Vec<LibraryJid> = number.spellings().iter().map(|n| LibraryJid::pn(n.digits())).collect();
        let chat = Jid::of_number(number);
        self.online(ASK_LIMIT, |client| async move {
            let found = client.contacts().is_on_whatsapp(&asked).await.map_err(|e| failed(&e))?;
            let registered: Vec<_> = found.iter().filter(|r| r.is_registered).collect();
            // Asked for the spelling that nobody has, WhatsApp may answer with the one that somebody has.
            let numbers = |r: &&IsOnWhatsAppResult| {
                let answered = [r.pn_jid.as_ref(), Some(&r.jid)];
                answered.into_iter().flatten().filter_map(convert::jid).find(Jid::is_number)
            };
            let theirs: Vec<Jid> = registered.iter().filter_map(numbers).map(|jid| jid.without_device()).collect();
            let as_written = theirs.iter().find(|jid| **jid == chat).or(theirs.first()).cloned();
            Ok(as_written.or_else(|| (!registered.is_empty()).then_some(chat)))
        })
        .await
    }

    /// A group's name, members and settings, fresh from WhatsApp.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn group_info(&self, group: &Jid) -> Result<GroupInfo, LinkError> {
        let asked = theirs(group)?;
        let jid = group.clone();
        self.online(ASK_LIMIT, |client| async move {
            let found = client.groups().get_metadata(&asked).await.map_err(|e| failed(&e))?;
            let members = found.participants.iter().filter_map(|member| {
                let address = convert::jid(&member.jid)?;
                let phone = member.phone_number.as_ref().and_then(convert::jid);
                let number = phone.and_then(|p| p.e164()).or_else(|| address.e164());
                Some(GroupMember { jid: address, number, admin: member.is_admin() || member.is_super_admin() })
            });
            Ok(GroupInfo {
                jid,
                subject: found.subject.clone(),
                description: found.description.clone(),
                members: members.collect(),
                announcement: found.is_announcement,
            })
        })
        .await
    }

    /// A fresh message id in WhatsApp's form.
    pub fn new_message_id(&self) -> MessageId {
        match self.inner.client() {
            Some(client) => MessageId::new(client.generate_message_id()),
            None => {
                // The form of WhatsApp Web, for a message that waits until the account is back.
                let random: [u8; 9] = rand::random();
                let hex: String = random.iter().map(|byte| format!("{byte:02X}")).collect();
                MessageId::new(format!("3EB0{hex}"))
            }
        }
    }

    /// Signs of life since the link was opened.
    pub fn vitals(&self) -> Vitals {
        let counters = &self.inner.inlet.counters;
        let stats = self.inner.client().map(|client| client.stats());
        let last = stats.as_ref().map(|s| s.last_data_received_ms).filter(|ms| *ms > 0);
        Vitals {
            last_received: last.and_then(|ms| i64::try_from(ms).ok()),
            frames_in: stats.as_ref().map_or(0, |s| s.frames_received),
            frames_out: stats.as_ref().map_or(0, |s| s.frames_sent),
            bytes_in: stats.as_ref().map_or(0, |s| s.bytes_received),
            bytes_out: stats.as_ref().map_or(0, |s| s.bytes_sent),
            messages_committed: counters.committed.load(Ordering::Relaxed),
            commits_failed: counters.commits_failed.load(Ordering::Relaxed),
            ignored: counters.ignored.load(Ordering::Relaxed),
            undecryptable: counters.undecryptable.load(Ordering::Relaxed),
        }
    }

    /// One round trip to WhatsApp and back, measured.
    ///
    /// # Errors
    /// [`LinkError::Timeout`] when nothing came back: the connection is dead, whatever the socket says.
    pub async fn probe(&self) -> Result<Duration, LinkError> {
        let start = Instant::now();
        self.online(ASK_LIMIT, |client| async move {
            client.execute(KeepaliveSpec::with_timeout(ASK_LIMIT)).await.map(|_| ()).map_err(|e| failed(&e))
        })
        .await?;
        Ok(start.elapsed())
    }
}

/// The phone numbers that WhatsApp names for LIDs; hidden ones are missing.
pub(super) async fn numbers_behind(
    client: &Arc<Client>,
    lids: Vec<LibraryJid>,
) -> Result<Vec<(Jid, E164)>, anyhow::Error> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let users = lids.into_iter().map(|jid| IsOnWhatsAppUser { jid, known_lid: None }).collect();
    // The library's own call would also move Signal sessions, which must not happen inside the durability hook.
    let id = format!("verso.{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let answers = client.execute(IsOnWhatsAppSpec::new(users, id, IsOnWhatsAppQueryType::Lid)).await?;
    let pairs = answers.into_iter().filter_map(|answer| {
        let number = answer.pn_jid.as_ref().and_then(convert::jid)?.e164()?;
        Some((convert::jid(&answer.jid)?, number))
    });
    Ok(pairs.collect())
}

pub(super) fn theirs(jid: &Jid) -> Result<LibraryJid, LinkError> {
    convert::library_jid(jid).ok_or_else(|| LinkError::Invalid("the address cannot be used with WhatsApp".to_owned()))
}

pub(super) fn failed<E: std::error::Error + Send + Sync + 'static>(error: &E) -> LinkError {
    failed_dyn(error)
}

pub(super) fn failed_any(error: &anyhow::Error) -> LinkError {
    let cause: &(dyn std::error::Error + 'static) = error.as_ref();
    failed_dyn(cause)
}

fn failed_dyn(error: &(dyn std::error::Error + 'static)) -> LinkError {
    if let Some(refused) = error.server_rejection() {
        return LinkError::Rejected { code: refused.code, text: refused.text.to_owned() };
    }
    if error.is_timeout() {
        return LinkError::Timeout(SEND_LIMIT);
    }
    if error.is_transport_unavailable() {
        return LinkError::NotConnected;
    }
    LinkError::Internal(error.to_string())
}
