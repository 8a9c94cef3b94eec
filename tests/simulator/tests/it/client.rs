//! A whatsapp-rust client as a test drives it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use wa_simulator::{LinkedDevice, Phone, World};
use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::transport::TokioWebSocketTransportFactory;
use whatsapp_rust::wacore::proto_helpers::MessageExt as _;
use whatsapp_rust::wacore::store::InMemoryBackend;
use whatsapp_rust::wacore::types::events::{Event, EventHandler, EventInterest, InboundMessage, Subscription};
use whatsapp_rust::{Client, Jid, TokioRuntime};

use crate::https::Https;

/// Long enough for the client's own backoff.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client with everything it reported.
pub struct Wa {
    pub client: Arc<Client>,
    store: Arc<InMemoryBackend>,
    log: Arc<Log>,
    _subscription: Subscription,
    running: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Log {
    events: Mutex<Vec<Arc<Event>>>,
    changed: watch::Sender<()>,
}

impl EventHandler for Log {
    fn handle_event(&self, event: Arc<Event>) {
        self.events.lock().unwrap().push(event);
        self.changed.send_replace(());
    }
}

impl Drop for Wa {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Wa {
    /// A client that starts to connect, with an empty store.
    pub async fn start(world: &World) -> Self {
        Self::start_on(world, Arc::new(InMemoryBackend::new())).await
    }

    /// A client that starts to connect, with what another one left in its store.
    pub async fn start_on(world: &World, store: Arc<InMemoryBackend>) -> Self {
        let manager = Arc::new(PersistenceManager::new(store.clone()).await.unwrap());
        let client = Client::builder()
            .with_runtime(TokioRuntime)
            .with_persistence_manager(manager)
            .with_transport_factory(TokioWebSocketTransportFactory::new().with_url(world.ws_url()))
            .with_http_client(Https::trusting(&world.media_cert_pem()))
            .with_version_override((2, 3000, 1_035_194_821))
            .with_wanted_pre_key_count(20)
            .build()
            .await
            .unwrap()
            .into_client();
        let log = Arc::new(Log::default());
        let subscription = client.subscribe(EventInterest::ALL, log.clone());
        let runner = client.clone();
        let running = tokio::spawn(async move { runner.run().await });
        Self { client, store, log, _subscription: subscription, running }
    }

    /// Ends the client as a process that is stopped in good order; its store stays.
    pub async fn stop(self) -> Arc<InMemoryBackend> {
        self.client.disconnect().await;
        self.store.clone()
    }

    /// Writes down what the client knows, without stopping it.
    pub async fn save(&self) -> Arc<InMemoryBackend> {
        self.client.persistence_manager().flush().await.unwrap();
        self.store.clone()
    }

    /// A client linked to `phone` by QR code and connected.
    pub async fn linked(world: &World, phone: &Phone) -> (Self, LinkedDevice) {
        let wa = Self::start(world).await;
        let device = phone.scan_qr(&wa.qr().await).await.unwrap();
        wa.connected().await;
        (wa, device)
    }

    /// Waits for something among all events, past ones included.
    pub async fn wait<R>(&self, what: &str, find: impl Fn(&Event) -> Option<R>) -> R {
        self.wait_from(0, what, find).await
    }

    /// Waits for something after the first `skip` events.
    pub async fn wait_from<R>(&self, skip: usize, what: &str, find: impl Fn(&Event) -> Option<R>) -> R {
        let mut changed = self.log.changed.subscribe();
        let waiting = async {
            loop {
                changed.mark_unchanged();
                if let Some(found) = self.log.events.lock().unwrap().iter().skip(skip).find_map(|e| find(e)) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("no {what}; events were {:?}", self.log.events.lock().unwrap()),
        }
    }

    /// Events so far.
    pub fn seen(&self) -> usize {
        self.log.events.lock().unwrap().len()
    }

    /// The newest QR code.
    pub async fn qr(&self) -> String {
        self.wait("QR code", |e| match e {
            Event::PairingQrCode(qr) => Some(qr.code.clone()),
            _ => None,
        })
        .await
    }

    /// Waits for `Connected`.
    pub async fn connected(&self) {
        self.connected_after(0).await;
    }

    /// Waits for `Connected` after the first `skip` events.
    pub async fn connected_after(&self, skip: usize) {
        self.wait_from(skip, "Connected", |e| matches!(e, Event::Connected(_)).then_some(())).await;
    }

    /// Waits for a text.
    pub async fn text(&self, text: &str) -> InboundMessage {
        self.wait(&format!("text {text:?}"), |e| match e {
            Event::Messages(batch) => batch.iter().find(|m| m.message.text_content() == Some(text)).cloned(),
            _ => None,
        })
        .await
    }

    /// Waits for a message of any kind by its identifier.
    pub async fn message(&self, id: &str) -> InboundMessage {
        self.wait(&format!("message {id}"), |e| match e {
            Event::Messages(batch) => batch.iter().find(|m| m.info.id == id).cloned(),
            _ => None,
        })
        .await
    }

    /// How often a text arrived.
    pub fn count(&self, text: &str) -> usize {
        let events = self.log.events.lock().unwrap();
        let messages = events.iter().filter_map(|e| match &**e {
            Event::Messages(batch) => Some(batch.clone()),
            _ => None,
        });
        messages.flat_map(|b| b.messages.to_vec()).filter(|m| m.message.text_content() == Some(text)).count()
    }

    /// The texts in the order of their arrival.
    pub fn texts(&self) -> Vec<String> {
        let events = self.log.events.lock().unwrap();
        let mut texts = Vec::new();
        for event in events.iter() {
            if let Event::Messages(batch) = &**event {
                texts.extend(batch.iter().filter_map(|m| m.message.text_content().map(str::to_owned)));
            }
        }
        texts
    }

    /// Sends a text; returns its identifier.
    pub async fn send(&self, to: &Jid, text: &str) -> String {
        self.client.send_text(to, text).await.unwrap().message_id
    }
}
