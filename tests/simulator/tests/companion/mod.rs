//! The client under test: the real whatsapp-rust, linked to a simulated phone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use wa_simulator::{LinkedDevice, Phone, World};
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};
use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::transport::TokioWebSocketTransportFactory;
use whatsapp_rust::types::events::{Event, EventHandler, EventInterest, InboundMessage, Subscription};
use whatsapp_rust::{Client, TokioRuntime};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A linked client that is online.
pub struct Companion {
    pub client: Arc<Client>,
    pub device: LinkedDevice,
    events: Arc<Events>,
    run: tokio::task::JoinHandle<()>,
    _subscription: Subscription,
}

#[derive(Default)]
struct Events {
    seen: Mutex<Vec<Arc<Event>>>,
    more: Notify,
}

impl EventHandler for Events {
    fn handle_event(&self, event: Arc<Event>) {
        self.seen.lock().unwrap().push(event);
        self.more.notify_waiters();
    }
}

impl Events {
    async fn wait<R>(&self, what: &str, find: impl Fn(&Event) -> Option<R>) -> R {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let more = self.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                if let Some(hit) = self.seen.lock().unwrap().iter().find_map(|event| find(event)) {
                    return hit;
                }
                more.await;
            }
        });
        found.await.unwrap_or_else(|_| panic!("no {what} in {:?}", self.seen.lock().unwrap()))
    }
}

impl Companion {
    /// Links a new client to a phone by QR code and waits until it is online.
    pub async fn link(world: &World, phone: &Phone) -> Self {
        let store = Arc::new(whatsapp_rust::wacore::store::in_memory::InMemoryBackend::new());
        let client = Client::builder()
            .with_runtime(TokioRuntime)
            .with_persistence_manager(Arc::new(PersistenceManager::new(store).await.unwrap()))
            .with_transport_factory(TokioWebSocketTransportFactory::new().with_url(world.ws_url()))
            .with_http_client(Https::trusting(&world.media_cert_pem()))
            .with_version_override((2, 3000, 1_035_194_821))
            .with_wanted_pre_key_count(30)
            .build()
            .await
            .unwrap()
            .into_client();
        let events = Arc::new(Events::default());
        let subscription = client.subscribe(EventInterest::ALL, events.clone());
        let run = tokio::spawn({
            let client = client.clone();
            async move { client.run().await }
        });
        let qr = events.wait("QR code", |event| match event {
            Event::PairingQrCode(code) => Some(code.code.clone()),
            _ => None,
        });
        let device = phone.scan_qr(&qr.await).await.unwrap();
        events.wait("connection", |event| matches!(event, Event::Connected(_)).then_some(())).await;
        Self { client, device, events, run, _subscription: subscription }
    }

    /// The first event that fits, past ones included.
    pub async fn event<R>(&self, what: &str, find: impl Fn(&Event) -> Option<R>) -> R {
        self.events.wait(what, find).await
    }

    /// A message by its id.
    pub async fn message(&self, id: &str) -> InboundMessage {
        let find = |event: &Event| match event {
            Event::Messages(batch) => batch.messages.iter().find(|m| m.info.id == id).cloned(),
            _ => None,
        };
        self.events.wait(&format!("message {id}"), find).await
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.run.abort();
    }
}

/// HTTPS to the media host, trusting its certificate and nothing else.
struct Https(TlsConnector);

impl Https {
    fn trusting(pem: &str) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self(TlsConnector::from(Arc::new(config)))
    }
}

#[whatsapp_rust::async_trait]
impl HttpClient for Https {
    async fn execute(&self, request: HttpRequest) -> whatsapp_rust::anyhow::Result<HttpResponse> {
        let uri: hyper::Uri = request.url.parse()?;
        let authority = uri.authority().expect("the library asks absolute URLs").clone();
        let stream = TcpStream::connect(authority.as_str()).await?;
        let stream = self.0.connect(ServerName::try_from(authority.host().to_owned())?, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut built = hyper::Request::builder()
            .method(request.method.as_str())
            .uri(uri.path_and_query().expect("an absolute URL has a path").as_str())
            .header("host", authority.as_str());
        for (name, value) in &request.headers {
            built = built.header(name, value);
        }
        let response = sender.send_request(built.body(Full::new(request.body.unwrap_or_else(Bytes::new)))?).await?;
        let status_code = response.status().as_u16();
        Ok(HttpResponse { status_code, body: response.into_body().collect().await?.to_bytes().to_vec() })
    }
}
