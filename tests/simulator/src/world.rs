//! The [`World`]: start it, talk to it, wait for something to happen in it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::sync::watch;
use wacore_libsignal::protocol::KeyPair;

use crate::cert::Authority;
use crate::conn::accept;
use crate::device::LinkedDevice;
use crate::faults::Fault;
use crate::media::MediaHost;
use crate::page::Version;
use crate::phone::Phone;
use crate::state::State;
use crate::trace::TraceEntry;

/// How long a wait lasts unless [`WorldBuilder::deadline`] says otherwise.
const DEADLINE: Duration = Duration::from_secs(20);

/// A WhatsApp server with its people, on two loopback ports. Cheap to clone;
/// everything ends with [`World::shutdown`] or when the last clone is dropped.
#[derive(Clone)]
pub struct World(Arc<Inner>);

pub(crate) struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    ws: SocketAddr,
    pub(crate) media: MediaHost,
    pub(crate) authority: Authority,
    deadline: Duration,
}

/// What a world is started with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub lid_addressing: bool,
    pub edge_routing: bool,
    pub few_keys: Vec<usize>,
}

/// Options for a [`World`].
pub struct WorldBuilder {
    ws_port: u16,
    deadline: Duration,
    noise_key: Option<KeyPair>,
    settings: Settings,
}

/// Something that was waited for did not happen.
#[derive(Debug, Clone)]
pub struct Timeout {
    what: String,
    after: Duration,
    trace: Vec<String>,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {:.1} s in vain for {}; the last stanzas were:", self.after.as_secs_f64(), self.what)?;
        for line in &self.trace {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Timeout {}

impl Default for WorldBuilder {
    fn default() -> Self {
        Self {
            ws_port: 0,
            deadline: DEADLINE,
            noise_key: None,
            settings: Settings { lid_addressing: true, edge_routing: true, few_keys: vec![10, 4] },
        }
    }
}

impl WorldBuilder {
    /// Port of the WebSocket; a free one by default.
    pub fn ws_port(mut self, port: u16) -> Self {
        self.ws_port = port;
        self
    }

    /// How long everything that waits does so.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whether companions are told at pairing to address chats by LID (default) or by phone number.
    pub fn lid_addressing(mut self, lid: bool) -> Self {
        self.settings.lid_addressing = lid;
        self
    }

    /// Whether clients get edge routing information, which they send back before
    /// the introduction of the next connection (default).
    pub fn edge_routing(mut self, yes: bool) -> Self {
        self.settings.edge_routing = yes;
        self
    }

    /// Numbers of one-time keys left at which a client is asked for more.
    pub fn few_keys_at(mut self, left: &[usize]) -> Self {
        self.settings.few_keys = left.to_vec();
        self
    }

    /// The server's Noise key pair, to come back as the same server.
    pub fn noise_key(mut self, pair: KeyPair) -> Self {
        self.noise_key = Some(pair);
        self
    }

    /// Binds the ports on 127.0.0.1 and starts serving on the runtime of the caller.
    ///
    /// # Errors
    /// When a port cannot be bound or keys cannot be made.
    pub async fn start(self) -> anyhow::Result<World> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.ws_port))
            .await
            .with_context(|| format!("binding the WebSocket port {} on 127.0.0.1", self.ws_port))?;
        let ws = listener.local_addr()?;
        let media = MediaHost::start().await.context("starting the media host")?;
        let noise = self.noise_key.unwrap_or_else(|| KeyPair::generate(&mut rand::make_rng::<StdRng>()));
        let state = State::new(self.settings, media.clone());
        let inner = Arc::new(Inner {
            state: Mutex::new(state),
            changed: watch::channel(0).0,
            stop: watch::channel(false).0,
            ws,
            media,
            authority: Authority::new(noise)?,
            deadline: self.deadline,
        });
        tokio::spawn(accept(listener, Arc::downgrade(&inner), inner.stop.subscribe()));
        Ok(World(inner))
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, lets the phones react, and wakes everybody who waits.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = {
            let mut state = self.lock();
            let result = change(&mut state);
            state.settle();
            result
        };
        self.changed.send_modify(|n| *n += 1);
        result
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl World {
    /// A world with default options.
    ///
    /// # Errors
    /// See [`WorldBuilder::start`].
    pub async fn start() -> anyhow::Result<Self> {
        Self::builder().start().await
    }

    /// Options before starting.
    pub fn builder() -> WorldBuilder {
        WorldBuilder::default()
    }

    /// Ends all connections and stops listening. The last clone being dropped does the same.
    pub fn shutdown(&self) {
        self.0.stop.send_replace(true);
    }

    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        self.0.with(change)
    }

    pub(crate) fn look<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        read(&self.0.lock())
    }

    /// A change that nobody waits for.
    pub(crate) fn quietly<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.0.lock())
    }

    /// Waits until `found` finds something. It is called without the lock, so it may ask the world anything.
    pub(crate) async fn until<R>(
        &self,
        what: impl fmt::Display,
        mut found: impl FnMut() -> Option<R>,
    ) -> Result<R, Timeout> {
        let mut changed = self.0.changed.subscribe();
        let deadline = tokio::time::Instant::now() + self.0.deadline;
        loop {
            changed.mark_unchanged();
            if let Some(result) = found() {
                return Ok(result);
            }
            let late = tokio::time::Instant::now() >= deadline;
            if late || tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
                let trace = self.look(|s| s.trace.tail(25).map(ToString::to_string).collect());
                return Err(Timeout { what: what.to_string(), after: self.0.deadline, trace });
            }
        }
    }

    /// `ws://127.0.0.1:PORT/ws/chat`.
    pub fn ws_url(&self) -> String {
        format!("ws://{}/ws/chat", self.0.ws)
    }

    /// `https://127.0.0.1:PORT` of the media host; the same port answers plain HTTP.
    pub fn media_url(&self) -> String {
        format!("https://{}", self.0.media.addr())
    }

    /// The media host itself: its files and its own faults.
    pub fn media(&self) -> &MediaHost {
        &self.0.media
    }

    /// PEM of the root certificate that a client of the media host has to trust.
    pub fn media_cert_pem(&self) -> String {
        self.0.media.cert_pem().to_owned()
    }

    /// Raw public key that the Noise certificate chain leads to.
    pub fn root_public_key(&self) -> [u8; 32] {
        self.0.authority.root
    }

    /// How long everything that waits does so.
    pub fn deadline(&self) -> Duration {
        self.0.deadline
    }

    /// The phone with this number (`+` and spaces do not matter). It exists as soon as it is named.
    pub fn phone(&self, number: &str) -> Phone {
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        let account = self.with(|s| s.account(&digits));
        Phone::new(self.clone(), account)
    }

    /// The phone of a person with a name to show.
    pub fn contact(&self, number: &str, name: &str) -> Phone {
        let phone = self.phone(number);
        phone.set_name(name);
        phone
    }

    /// All phones, in the order in which they were named.
    pub fn phones(&self) -> Vec<Phone> {
        let n = self.look(|s| s.accounts.len());
        (0..n).map(|account| Phone::new(self.clone(), account)).collect()
    }

    /// The `n`th companion of a number (from 1, the device number of its JID),
    /// whether it is linked yet or not.
    pub fn device(&self, number: &str, n: u16) -> LinkedDevice {
        self.phone(number).device(n)
    }

    /// All linked devices of all numbers.
    pub fn devices(&self) -> Vec<LinkedDevice> {
        self.phones().iter().flat_map(Phone::devices).collect()
    }

    /// TCP connections accepted so far, refused ones not counted.
    pub fn sockets_opened(&self) -> usize {
        self.look(|s| s.sockets)
    }

    /// Lets something go wrong for everybody until [`World::clear_faults`].
    pub fn set_fault(&self, fault: Fault) {
        self.with(|s| s.set_fault(None, fault));
    }

    /// Phones that were switched off are back, all at the same moment: each gets what waited for it, before a client can say a word.
    pub fn switch_on(&self, phones: &[&Phone]) {
        self.with(|s| {
            for account in phones.iter().map(|phone| phone.account()) {
                let waiting = s.accounts[account].phone.switched_off.take().unwrap_or_default();
                s.to_phones.extend(waiting.into_iter().map(|node| (account, node)));
            }
        });
    }

    /// Ends all faults, those of single devices too. A frozen connection stays frozen.
    pub fn clear_faults(&self) {
        self.with(State::clear_faults);
    }

    /// Connections that are open now.
    pub fn sockets_open(&self) -> usize {
        self.look(|s| s.conns.len())
    }

    /// Replaces the QR codes of every client that is being linked, as time does; with 0 they are used up.
    pub fn renew_codes(&self, refs: usize) {
        self.with(|s| s.renew_codes(refs));
    }

    /// Lets the page at `/sw.js` on the WebSocket's port name this version of WhatsApp Web as the current one.
    pub fn publish_version(&self, version: Version) {
        self.with(|s| s.version = version);
    }

    /// The version that the page names.
    pub fn published_version(&self) -> Version {
        self.look(|s| s.version)
    }

    /// How often the page was asked for.
    pub fn version_lookups(&self) -> usize {
        self.look(|s| s.lookups)
    }

    /// Closes the next `n` TCP connections at once; `usize::MAX` for all.
    pub fn refuse_connections(&self, n: usize) {
        self.with(|s| s.refuse = n);
    }

    /// Everything that went over the wire so far.
    pub fn trace(&self) -> Vec<TraceEntry> {
        self.look(|s| s.trace.after(0).cloned().collect())
    }

    /// The trace after an entry already seen.
    pub fn trace_since(&self, seq: u64) -> Vec<TraceEntry> {
        self.look(|s| s.trace.after(seq).cloned().collect())
    }

    /// Waits for a stanza, past ones included.
    ///
    /// # Errors
    /// When none comes before the deadline.
    pub async fn wait_for_stanza(&self, wanted: impl Fn(&TraceEntry) -> bool) -> Result<TraceEntry, Timeout> {
        self.wait_for_stanza_since(0, wanted).await
    }

    /// Waits for a stanza after an entry already seen.
    ///
    /// # Errors
    /// When none comes before the deadline.
    pub async fn wait_for_stanza_since(
        &self,
        seq: u64,
        wanted: impl Fn(&TraceEntry) -> bool,
    ) -> Result<TraceEntry, Timeout> {
        let mut seen = seq;
        self.until("a stanza", || {
            let new = self.trace_since(seen);
            seen = new.last().map_or(seen, |e| e.seq);
            new.into_iter().find(|e| wanted(e))
        })
        .await
    }

    /// Running number of the newest trace entry.
    pub fn trace_position(&self) -> u64 {
        self.look(|s| s.trace.last())
    }

    /// IQs nobody here knows (answered with an empty result): namespace, type and child.
    pub fn unknown_iqs(&self) -> Vec<String> {
        self.look(|s| s.unknown_iqs.clone())
    }

    /// IQs left without an answer because of a fault.
    pub fn unanswered_iqs(&self) -> Vec<String> {
        self.look(|s| s.unanswered.clone())
    }

    /// Stanzas that a device has not acknowledged yet.
    pub fn offline_queue_len(&self, device: &LinkedDevice) -> usize {
        device.offline_queue_len()
    }
}
