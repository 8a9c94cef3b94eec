//! What comes in: the library's events and messages of one link.
//!
//! Messages take one way only, through the durability hook into [`LinkSink::commit`]; the ack to WhatsApp leaves after
//! it. The few that bypass the hook (recovered from the own phone) are committed from their event.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};
use whatsapp_rust::anyhow::{self, anyhow};
use whatsapp_rust::store::Device;
use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::types::durability_hook::InboundDurabilityHook;
use whatsapp_rust::wacore::types::events::{
    Event, EventHandler, EventInterest, EventKind, InboundMessage as LibraryMessage, MessageBatch,
};
use whatsapp_rust::{Client, Jid as LibraryJid, NodeFilter};

use super::ending::Facts;
use super::{Lease, LinkSink, backend, convert, ops};
use crate::event::{InboundMessage, LinkEvent};
use crate::ids::{AccountId, E164, Jid};

/// An unknown sender may hold up the commit that long while WhatsApp is asked for the number.
const NUMBER_LIMIT: Duration = Duration::from_secs(3);
/// A LID without a known number is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(600);
/// The library announces itself within this after it learned the account's name.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(5);
/// A change of the device is on disk within this, and a save that failed is tried again after it.
const SAVE_AGAIN: Duration = Duration::from_secs(2);
/// The memory of numbers is dropped when it grows past this; the library's own map stays.
const NUMBERS_KEPT: usize = 4_096;

/// Counters since the link was opened.
#[derive(Default)]
pub(super) struct Counters {
    pub committed: AtomicU64,
    pub commits_failed: AtomicU64,
    pub ignored: AtomicU64,
    pub undecryptable: AtomicU64,
}

/// Shared by the library (as hook and handler) and the link. It holds the client weakly: the client holds it.
pub(super) struct Inlet {
    pub account: AccountId,
    pub files: backend::Files,
    pub available: AtomicBool,
    pub handle: Handle,
    pub sink: Arc<dyn LinkSink>,
    pub counters: Counters,
    pub client: OnceLock<Weak<Client>>,
    facts: Mutex<Facts>,
    connected: AtomicBool,
    numbers: Mutex<HashMap<String, Known>>,
    /// Held while the device is saved.
    saving: tokio::sync::Mutex<Saving>,
    lease: Mutex<Option<Lease>>,
}

/// What is known of the saves of a link.
#[derive(Default)]
struct Saving {
    /// The link is closed: the account's folder belongs to somebody else.
    closed: bool,
    /// Why the last save failed.
    failed: Option<String>,
    /// The device that is on disk.
    saved: Option<Arc<Device>>,
}

#[derive(Clone)]
enum Known {
    Number(E164),
    Hidden { since: Instant },
}

impl Inlet {
    pub(super) fn new(
        lease: Lease,
        account: AccountId,
        files: backend::Files,
        available: bool,
        handle: Handle,
        sink: Arc<dyn LinkSink>,
    ) -> Self {
        Self {
            account,
            files,
            available: AtomicBool::new(available),
            handle,
            sink,
            counters: Counters::default(),
            client: OnceLock::new(),
            facts: Mutex::default(),
            connected: AtomicBool::new(false),
            numbers: Mutex::default(),
            saving: tokio::sync::Mutex::default(),
            lease: Mutex::new(Some(lease)),
        }
    }

    /// Starts a new run's record.
    pub(super) fn begin(&self) {
        *self.facts() = Facts::default();
        self.connected.store(false, Ordering::Release);
    }

    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn client(&self) -> Option<Arc<Client>> {
        self.client.get()?.upgrade()
    }

    fn tell(&self, event: LinkEvent) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| self.sink.event(event))).is_err() {
            tracing::error!(account = %self.account, "taking a link event panicked");
        }
    }

    /// `<success>` came in.
    pub(super) fn logged_in(&self) {
        self.tell(LinkEvent::CatchingUp { pending: None });
    }

    fn note(self: &Arc<Self>, event: &Event) {
        if let Some(verdict) = convert::verdict(event) {
            self.facts().verdict = Some(verdict);
        }
        match event {
            Event::Disconnected(end) => self.facts().disconnected = Some(end.reason.to_string()),
            Event::PairSuccess(_) => self.paired(),
            // The backlog is through: the library itself says `Connected` only after its own follow-up requests,
            // which another server may leave unanswered for minutes.
            Event::OfflineSyncCompleted(_) => self.connected(),
            Event::Connected(_) => {
                self.connected();
                self.set_presence();
            }
            Event::SelfPushNameUpdated(_) => self.own_name_known(),
            Event::UndecryptableMessage(message) => {
                self.counters.undecryptable.fetch_add(1, Ordering::Relaxed);
                self.take_kept(&message.info);
            }
            Event::Messages(batch) if !batch.hook_committed => self.commit_event(batch),
            Event::RawNode(stanza) => {
                if let Some(id) = convert::asked_again(stanza) {
                    self.tell(LinkEvent::AskedAgain { id });
                }
                return;
            }
            _ => {}
        }
        if let Some(event) = self.sign_of_the_phone(event) {
            self.tell(event);
        }
        if let Some(event) = convert::event(event) {
            self.tell(event);
        }
    }

    fn sign_of_the_phone(&self, event: &Event) -> Option<LinkEvent> {
        if !matches!(event, Event::Receipt(_) | Event::Messages(_)) {
            return None;
        }
        let client = self.client()?;
        let device = client.persistence_manager().get_device_snapshot();
        let own = [&device.pn, &device.lid];
        convert::sign_of_the_phone(event, |user| own.into_iter().flatten().any(|me| me.user == user.user))
    }

    fn paired(self: &Arc<Self>) {
        self.facts().paired = true;
        let Some(client) = self.client() else { return };
        let manager = client.persistence_manager();
        if let Some(me) = backend::identity(&manager.get_device_snapshot().to_serializable()) {
            self.tell(LinkEvent::Paired(me));
        }
        self.save_soon();
    }

    fn connected(self: &Arc<Self>) {
        let Some(client) = self.client() else { return };
        let device = client.persistence_manager().get_device_snapshot().to_serializable();
        let Some(me) = backend::identity(&device) else { return };
        if !client.is_logged_in() || self.connected.swap(true, Ordering::AcqRel) {
            return;
        }
        self.tell(LinkEvent::Connected(me));
        self.save_soon();
    }

    fn save_soon(self: &Arc<Self>) {
        let inlet = Arc::clone(self);
        self.handle.spawn(async move { inlet.save().await });
    }

    /// Brings the device to disk. A failure is told; [`Self::keep_saved`] tries again.
    pub(super) async fn save(&self) {
        let Some(client) = self.client() else { return };
        let saving = self.saving.lock().await;
        self.save_now(&client.persistence_manager(), saving).await;
    }

    async fn save_now(&self, manager: &PersistenceManager, mut saving: tokio::sync::MutexGuard<'_, Saving>) {
        if saving.closed {
            return;
        }
        #[cfg(feature = "demo")]
        crate::fault::takes_time("save").await;
        let device = manager.get_device_snapshot();
        let known = saving.failed.is_none() && saving.saved.as_ref().is_some_and(|saved| Arc::ptr_eq(saved, &device));
        let save = async {
            if !known || manager.is_saver_halted() {
                backend::write_row(manager).await?;
            }
            backend::save(manager, &self.files).await
        };
        let failed = save.await.err();
        match &failed {
            Some(error) if saving.failed.is_none() => {
                tracing::error!(target: "web-session", account = %self.account, %error, "credentials could not be saved; this is tried again");
            }
            None if saving.failed.is_some() => {
                tracing::info!(target: "web-session", account = %self.account, "credentials are saved again");
            }
            _ => {}
        }
        saving.saved = failed.is_none().then_some(device);
        saving.failed.clone_from(&failed);
        self.tell(LinkEvent::Saved { failed });
    }

    /// Saves what changes as long as the link is open, and again what could not be saved. The library's own saver tells nobody that it
    /// fails, and gives up after a while.
    pub(super) fn keep_saved(self: &Arc<Self>) {
        let inlet = Arc::downgrade(self);
        self.handle.spawn(async move {
            loop {
                tokio::time::sleep(SAVE_AGAIN).await;
                let Some(inlet) = inlet.upgrade() else { return };
                let Some(client) = inlet.client() else { return };
                let manager = client.persistence_manager();
                let saving = inlet.saving.lock().await;
                if saving.closed {
                    return;
                }
                // Before the first save there is nothing to keep: a device that is being linked is saved when it is.
                let changed = saving.saved.as_ref().is_some_and(|d| !Arc::ptr_eq(d, &manager.get_device_snapshot()));
                if changed || saving.failed.is_some() || manager.is_saver_halted() {
                    inlet.save_now(&manager, saving).await;
                }
            }
        });
    }

    /// Waits for a save under way and lets none follow: a late one would bring removed credentials back.
    pub(super) async fn seal(&self) {
        self.saving.lock().await.closed = true;
    }

    /// Nothing of the link touches the account's folder any more.
    pub(super) fn let_go(&self) {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The library announces itself as available on every login; an account that must stay in the background takes
    /// that back.
    fn set_presence(self: &Arc<Self>) {
        if self.available.load(Ordering::Acquire) {
            return;
        }
        let Some(client) = self.client() else { return };
        self.handle.spawn(async move { hide(&client).await });
    }

    /// The account's name became known, and the library announces itself right after this event: taken back after that.
    fn own_name_known(self: &Arc<Self>) {
        if self.available.load(Ordering::Acquire) {
            return;
        }
        let Some(client) = self.client() else { return };
        let announced = client.wait_for_sent_node(NodeFilter::tag("presence").attr("type", "available"));
        self.handle.spawn(async move {
            // Without an announcement there is all the same nothing wrong with taking it back.
            let _ = timeout(ANNOUNCE_LIMIT, announced).await;
            hide(&client).await;
        });
    }

    fn commit_event(self: &Arc<Self>, batch: &MessageBatch) {
        let Some(client) = self.client() else { return };
        let inlet = Arc::clone(self);
        let messages = Arc::clone(&batch.messages);
        self.handle.spawn(async move {
            // Nothing more to do on failure: these are not acked by us and are already counted and logged.
            let _ = inlet.take(&client, &messages).await;
        });
    }

    /// Commits messages; only then they may be acknowledged.
    pub(super) async fn take(self: &Arc<Self>, client: &Arc<Client>, batch: &[LibraryMessage]) -> anyhow::Result<()> {
        let mut kept = Vec::with_capacity(batch.len());
        let me = backend::identity(&client.persistence_manager().get_device_snapshot().to_serializable());
        for message in batch {
            match convert::business(&message.info) {
                convert::Business::Ignored => {
                    self.counters.ignored.fetch_add(1, Ordering::Relaxed);
                }
                convert::Business::Control => {}
                convert::Business::Chat => {
                    kept.extend(convert::message(&self.account, me.as_ref(), &message.info, &message.message));
                }
            }
        }
        if kept.is_empty() {
            return Ok(());
        }
        self.fill_numbers(client, me.and_then(|me| me.number()), &mut kept).await;
        let count = kept.len() as u64;
        let outcome = AssertUnwindSafe(self.sink.commit(kept)).catch_unwind().await;
        let failed = match outcome {
            Ok(Ok(())) => {
                self.counters.committed.fetch_add(count, Ordering::Relaxed);
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "messages could not be written down: the journal panicked".to_owned(),
        };
        self.counters.commits_failed.fetch_add(1, Ordering::Relaxed);
        tracing::error!(account = %self.account, error = %failed, "not acknowledged; WhatsApp delivers again on the next connection");
        self.facts().commit_failed = Some(failed.clone());
        // WhatsApp delivers again only on a new connection, so this one ends. Not from here: the library holds locks.
        let client = Arc::clone(client);
        self.handle.spawn(async move { client.reconnect_immediately().await });
        Err(anyhow!(failed))
    }

    /// Numbers that the envelope did not name: own memory, the library's map, then WhatsApp itself, briefly.
    async fn fill_numbers(self: &Arc<Self>, client: &Arc<Client>, own: Option<E164>, messages: &mut [InboundMessage]) {
        for message in messages.iter_mut() {
            if message.from_me && message.sender_number.is_none() {
                message.sender_number = own.clone();
            }
            self.learn(message);
        }
        let mut unknown: Vec<Jid> = Vec::new();
        for lid in messages.iter().flat_map(unnumbered) {
            if self.recall(client, &lid).await.is_none() && !unknown.contains(&lid) && self.may_ask(&lid) {
                unknown.push(lid);
            }
        }
        if !unknown.is_empty() {
            self.ask(client, &unknown).await;
        }
        for message in messages.iter_mut() {
            if message.sender_number.is_none() {
                message.sender_number = self.remembered(&message.sender);
            }
            if message.chat_number.is_none() && !message.chat.is_group() {
                let peer = if message.from_me { None } else { message.sender_number.clone() };
                message.chat_number = peer.or_else(|| self.remembered(&message.chat));
            }
        }
    }

    /// Keeps the pair that an envelope names.
    fn learn(&self, message: &InboundMessage) {
        if let (true, Some(number)) = (message.sender.is_lid(), &message.sender_number) {
            self.remember(&message.sender, number.clone());
        }
        if let (true, Some(number)) = (message.chat.is_lid(), &message.chat_number) {
            self.remember(&message.chat, number.clone());
        }
    }

    /// Own memory and the library's map, without asking WhatsApp.
    pub(super) async fn recall(&self, client: &Arc<Client>, lid: &Jid) -> Option<E164> {
        if let Some(number) = self.remembered(lid) {
            return Some(number);
        }
        let theirs = convert::library_jid(&lid.without_device())?;
        let entry = client.get_lid_pn_entry(&theirs).await.ok().flatten()?;
        let number = E164::from_digits(&entry.phone_number)?;
        self.remember(lid, number.clone());
        Some(number)
    }

    /// Asks WhatsApp for the numbers behind LIDs, within [`NUMBER_LIMIT`]; what stays unknown is not asked again soon.
    pub(super) async fn ask(self: &Arc<Self>, client: &Arc<Client>, lids: &[Jid]) {
        let theirs: Vec<LibraryJid> =
            lids.iter().filter_map(|lid| convert::library_jid(&lid.without_device())).collect();
        let pairs = match timeout(NUMBER_LIMIT, ops::numbers_behind(client, theirs)).await {
            Ok(Ok(pairs)) => pairs,
            Ok(Err(error)) => {
                tracing::debug!(account = %self.account, %error, "asking for numbers failed");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        for (lid, number) in &pairs {
            self.remember(lid, number.clone());
        }
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        for lid in lids {
            numbers.entry(lid.user.to_string()).or_insert(Known::Hidden { since: Instant::now() });
        }
    }

    fn may_ask(&self, lid: &Jid) -> bool {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(numbers.get(&*lid.user), Some(Known::Hidden { since }) if since.elapsed() < ASK_AGAIN)
    }

    fn remembered(&self, lid: &Jid) -> Option<E164> {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        match numbers.get(&*lid.user) {
            Some(Known::Number(number)) if lid.is_lid() => Some(number.clone()),
            _ => None,
        }
    }

    fn remember(&self, lid: &Jid, number: E164) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if numbers.len() >= NUMBERS_KEPT {
            numbers.clear();
        }
        numbers.insert(lid.user.to_string(), Known::Number(number));
    }
}

async fn hide(client: &Arc<Client>) {
    if let Err(error) = client.presence().set_unavailable().await {
        tracing::debug!(%error, "presence not set");
    }
}

/// The LIDs of a message whose numbers are still unknown.
fn unnumbered(message: &InboundMessage) -> Vec<Jid> {
    let mut out = Vec::new();
    if message.sender_number.is_none() && message.sender.is_lid() {
        out.push(message.sender.without_device());
    }
    if message.chat_number.is_none() && message.chat.is_lid() {
        out.push(message.chat.clone());
    }
    out
}

/// The library's hook: what it returns decides whether WhatsApp is acked.
pub(super) struct Hook(pub Arc<Inlet>);

#[whatsapp_rust::async_trait]
impl InboundDurabilityHook for Hook {
    async fn on_messages(&self, client: Arc<Client>, batch: &[LibraryMessage]) -> anyhow::Result<()> {
        self.0.take(&client, batch).await
    }
}

/// The library's handler.
pub(super) struct Events(pub Arc<Inlet>);

impl Events {
    /// Kinds that nobody asks for are not even built.
    pub(super) fn interest() -> EventInterest {
        EventInterest::of(&[
            EventKind::Connected,
            EventKind::Disconnected,
            EventKind::LoggedOut,
            EventKind::StreamReplaced,
            EventKind::TemporaryBan,
            EventKind::ConnectFailure,
            EventKind::ClientOutdated,
            EventKind::PairSuccess,
            EventKind::PairError,
            EventKind::PairingQrCode,
            EventKind::PairingCode,
            EventKind::PairingCodeError,
            EventKind::PairingQrCodesExhausted,
            EventKind::QrScannedWithoutMultidevice,
            EventKind::PairPasskeyRequest,
            EventKind::PairPasskeyConfirmation,
            EventKind::PairPasskeyError,
            EventKind::OfflineSyncPreview,
            EventKind::OfflineSyncCompleted,
            EventKind::Messages,
            EventKind::Receipt,
            EventKind::ServerAck,
            EventKind::UndecryptableMessage,
            EventKind::GroupUpdate,
            EventKind::SelfPushNameUpdated,
            EventKind::RawNode,
        ])
    }
}

impl EventHandler for Events {
    fn handle_event(&self, event: Arc<Event>) {
        self.0.note(&event);
    }
}
