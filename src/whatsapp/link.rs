//! One client per account and generation: opened, run once per connection attempt, closed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use rustls::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use whatsapp_rust::cache_config::CacheEntryConfig;
use whatsapp_rust::upload::UploadResponse;
use whatsapp_rust::wacore::store::DevicePropsOverride;
use whatsapp_rust::wacore::types::events::Subscription;
use whatsapp_rust::waproto::whatsapp::device_props::PlatformType;
use whatsapp_rust::{CacheConfig, Client, NodeFilter, RawNodeLease};

use super::dial::{Attempt, Dialer};
use super::ending;
use super::http::Http;
use super::inlet::{Events, Hook, Inlet};
use super::runtime::HandleRuntime;
use super::seal::SealedFolder;
use super::{Endpoint, Lease, LinkSink, LinkSpec, OpenError, backend, tls};
use crate::config::model::WebVersion;
use crate::event::{DownReason, Identity};
use crate::ids::MessageId;
use crate::policy::web_version::BUILT_IN;

/// A clean end commits the pending batch and flushes receipts (5 s each at most).
const CLOSE_LIMIT: Duration = Duration::from_secs(15);
/// The device row is written this often even when nothing asks for it.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// What all links share: the runtime of the clients, TLS, HTTP and the server's address.
#[derive(Clone)]
pub struct Links {
    pub(super) endpoint: Endpoint,
    pub(super) handle: Handle,
    tls: Arc<ClientConfig>,
    pub(super) http: Http,
}

impl Links {
    /// Prepares what all links share. `handle` must belong to a multi-threaded runtime with time and IO.
    ///
    /// # Errors
    /// When TLS cannot be set up, as without any root certificates on the machine.
    pub fn new(endpoint: Endpoint, handle: Handle) -> Result<Self, OpenError> {
        let tls = tls::client_config()?;
        let http = Http::new(tls.clone(), endpoint.clone(), handle.clone())?;
        Ok(Self { endpoint, handle, tls: Arc::new(tls), http })
    }

    /// Opens a link that reports the version of WhatsApp Web that is built in; see [`Links::open_under`].
    ///
    /// # Errors
    /// When the account's database does not open.
    pub async fn open(&self, spec: LinkSpec, sink: Arc<dyn LinkSink>) -> Result<Link, OpenError> {
        self.open_under(BUILT_IN, spec, sink, Box::new(())).await
    }

    /// Opens the account's files and builds its client, which reports `version`. Nothing is dialled before [`Link::run`]. WhatsApp
    /// answers a version that it no longer takes with [`DownReason::Outdated`]. `lease` is kept until nothing of the link touches the
    /// folder any more, however it ends.
    ///
    /// # Errors
    /// When the account's database does not open.
    pub async fn open_under(
        &self,
        version: WebVersion,
        spec: LinkSpec,
        sink: Arc<dyn LinkSink>,
        lease: Lease,
    ) -> Result<Link, OpenError> {
        let links = self.clone();
        self.handle
            .spawn(async move { links.build(version, spec, sink, lease).await })
            .await
            .map_err(|e| OpenError::Client(e.to_string()))?
    }

    async fn build(
        self,
        version: WebVersion,
        spec: LinkSpec,
        sink: Arc<dyn LinkSink>,
        lease: Lease,
    ) -> Result<Link, OpenError> {
        let folder =
            SealedFolder { dir: &spec.auth_dir, account: &spec.account, encryption: spec.encryption.as_deref() };
        let backend::Opened { manager, keys } = backend::open(folder, spec.linking).await?;
        let linked = backend::identity(&manager.get_device_snapshot().to_serializable()).is_some();
        // The client has a hook into it, so it lives as long as anything of the client does.
        let inlet = Inlet::new(
            lease,
            spec.account,
            backend::Files { dir: spec.auth_dir, keys },
            spec.available,
            self.handle.clone(),
            sink,
        );
        let inlet = Arc::new(inlet);
        let attempt = Arc::new(Attempt::default());
        let dialer = Dialer {
            endpoint: self.endpoint.clone(),
            tls: TlsConnector::from(Arc::clone(&self.tls)),
            attempt: Arc::clone(&attempt),
        };
        let client = Client::builder()
            .with_runtime(HandleRuntime(self.handle.clone()))
            .with_persistence_manager(Arc::new(manager))
            .with_transport_factory(dialer)
            .with_http_client(self.http.clone())
            .with_version_override(version.numbers())
            .with_cache_config(small_caches())
            .with_skip_history_sync(true)
            .with_background_saver_interval(SAVE_EVERY)
            .with_inbound_durability_hook(Hook(Arc::clone(&inlet)))
            .build()
            .await
            .map_err(|e| OpenError::Client(e.to_string()))?
            .into_client();
        // One owner backs off, and that is not the client.
        client.enable_auto_reconnect.store(false, Ordering::Release);
        // A journalled message is delivered, whatever the presence says.
        client.set_force_active_delivery_receipts(true);
        if !linked {
            let props = DevicePropsOverride::new().with_os(spec.device_name).with_platform_type(PlatformType::CHROME);
            client.set_device_props(props).await;
        }
        // Set once, here; nothing else sets it.
        let _ = inlet.client.set(Arc::downgrade(&client));
        let subscription = client.subscribe(Events::interest(), Arc::new(Events(Arc::clone(&inlet))));
        let stanzas = client.acquire_raw_node_forwarding();
        if linked {
            inlet.save().await;
        }
        inlet.keep_saved();
        Ok(Link {
            inner: Arc::new(Inner {
                client: Mutex::new(Some(client)),
                subscription: Mutex::new(Some((subscription, stanzas))),
                closed: AtomicBool::new(false),
                closing: tokio::sync::Mutex::new(()),
                ended: watch::Sender::new(false),
                handle: self.handle,
                attempt,
                version,
                inlet,
                uploads: Mutex::default(),
            }),
        })
    }
}

/// Sized for many accounts in one process. The device registry stays above the largest group, and the LID map stays
/// whole: an evicted pair would mis-address a session.
fn small_caches() -> CacheConfig {
    let hour = Some(Duration::from_secs(3600));
    CacheConfig {
        group_cache: CacheEntryConfig::new(hour, 64),
        device_registry_cache: CacheEntryConfig::new(hour, 2_048),
        sender_key_devices_cache: CacheEntryConfig::new(hour, 64),
        session_recreate_history: CacheEntryConfig::new(hour, 128),
        ..CacheConfig::default()
    }
}

/// One account's client. Clones are the same link.
///
/// [`Link::run`] may be called again after every end but those that spend the link: `Stopped`, `QrExpired` and
/// `Internal`. After a spent end, open a new one.
#[derive(Clone)]
pub struct Link {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    client: Mutex<Option<Arc<Client>>>,
    subscription: Mutex<Option<(Subscription, RawNodeLease)>>,
    closed: AtomicBool,
    /// Held while the link is closed, so that a second `close` waits for the first.
    closing: tokio::sync::Mutex<()>,
    /// Turns true when the link is closed: calls under way end then and let go of the client.
    pub ended: watch::Sender<bool>,
    pub handle: Handle,
    attempt: Arc<Attempt>,
    version: WebVersion,
    pub inlet: Arc<Inlet>,
    /// Files that were uploaded over this link for messages that did not leave yet.
    pub uploads: Mutex<HashMap<MessageId, UploadResponse>>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({})", self.inner.inlet.account)
    }
}

impl Drop for Inner {
    /// Of a link that nobody closed, as when a panic took its owner: it ends, and gives its folder back.
    fn drop(&mut self) {
        let Some(client) = self.client() else { return };
        client.signal_shutdown_sync();
        let inlet = Arc::clone(&self.inlet);
        self.handle.spawn(async move {
            let ended = tokio::time::timeout(CLOSE_LIMIT, client.disconnect()).await;
            inlet.seal().await;
            if ended.is_ok() {
                inlet.let_go();
            }
        });
    }
}

impl Inner {
    pub(super) fn client(&self) -> Option<Arc<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Ends the client's run when whoever waited for it goes away.
struct StopOnDrop(Option<Arc<Client>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            client.signal_shutdown_sync();
        }
    }
}

impl Link {
    /// One connection attempt and its whole life; returns why it ended.
    pub async fn run(&self) -> DownReason {
        let Some(client) = self.inner.client() else { return DownReason::Stopped };
        self.inner.inlet.begin();
        self.inner.attempt.reset();
        let mut guard = StopOnDrop(Some(Arc::clone(&client)));
        let ended = self.inner.handle.spawn(run_once(client, Arc::clone(&self.inner.inlet))).await;
        guard.0 = None;
        let mut facts = self.inner.inlet.facts().clone();
        facts.dial = self.inner.attempt.report();
        facts.closed = self.inner.closed.load(Ordering::Acquire);
        if let Err(error) = ended {
            facts.panic = Some(panic_text(error));
        }
        let reason = ending::classify(&facts);
        self.inner.inlet.save().await;
        reason
    }

    /// Ends the link for good: commits what is pending, flushes, closes the socket. Takes 15 s at most. When it returns, nothing of the
    /// link writes into the account's folder any more, whoever called it first.
    pub async fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
        let _alone = self.inner.closing.lock().await;
        let client = self.inner.client.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(client) = client else { return };
        let mut closing = self.inner.handle.spawn({
            let client = Arc::clone(&client);
            async move {
                #[cfg(feature = "demo")]
                crate::fault::hangs("disconnect").await;
                client.disconnect().await;
            }
        });
        let in_time = tokio::time::timeout(CLOSE_LIMIT, &mut closing).await.is_ok();
        if !in_time {
            tracing::warn!(account = %self.inner.inlet.account, "the link did not close in time and is cut off");
            client.signal_shutdown_sync();
            closing.abort();
        }
        self.inner.ended.send_replace(true);
        self.inner.inlet.save().await;
        self.inner.inlet.seal().await;
        if in_time {
            backend::closed(self.inner.inlet.files.dir.clone()).await;
            // What did not end in time keeps the lease until its last task is gone.
            self.inner.inlet.let_go();
        }
        *self.inner.subscription.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The device's own addresses; `None` until it is linked.
    pub fn identity(&self) -> Option<Identity> {
        let client = self.inner.client()?;
        backend::identity(&client.persistence_manager().get_device_snapshot().to_serializable())
    }

    /// The version of WhatsApp Web that it reports.
    pub fn version(&self) -> WebVersion {
        self.inner.version
    }

    /// Whether this device is linked to a phone. It stays true after a log-out: only deleting the files forgets it.
    pub fn is_linked(&self) -> bool {
        self.identity().is_some()
    }

    /// Whether WhatsApp accepted the login on the live connection.
    pub fn is_online(&self) -> bool {
        self.inner.client().is_some_and(|client| client.is_connected() && client.is_logged_in())
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => {
            let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            format!("the client panicked: {}", text.unwrap_or_else(|| "no text".to_owned()))
        }
        Err(_) => "the client's task was cancelled".to_owned(),
    }
}

/// Runs the client once and watches the stanzas that raise no event: `<success>` and `<stream:error>`.
async fn run_once(client: Arc<Client>, inlet: Arc<Inlet>) {
    let mut success = client.wait_for_node(NodeFilter::tag("success")).fuse();
    let mut stream_error = client.wait_for_node(NodeFilter::tag("stream:error")).fuse();
    let socket = client.wait_for_socket(Duration::from_secs(60)).fuse();
    let run = client.run().fuse();
    futures::pin_mut!(socket, run);
    loop {
        futures::select_biased! {
            node = stream_error => {
                if let Ok(node) = node {
                    inlet.facts().stream_error = Some(stream_code(&node));
                }
            }
            ready = socket => {
                if ready.is_ok() {
                    inlet.facts().ready = true;
                }
            }
            node = success => {
                if node.is_ok() {
                    inlet.logged_in();
                }
            }
            () = run => break,
        }
    }
    // Both may have come in the same breath as the end.
    if let Some(Ok(node)) = stream_error.now_or_never() {
        inlet.facts().stream_error = Some(stream_code(&node));
    }
    if let Some(Ok(())) = socket.now_or_never() {
        inlet.facts().ready = true;
    }
}

fn stream_code(node: &whatsapp_rust::OwnedNodeRef) -> String {
    node.get().attrs().optional_string("code").map(|code| code.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use futures::future::BoxFuture;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;
    use crate::event::{InboundMessage, LinkEvent};
    use crate::ids::AccountId;
    use crate::whatsapp::CommitFailed;

    struct Nobody;

    impl LinkSink for Nobody {
        fn event(&self, _: LinkEvent) {}

        fn commit(&self, _: Vec<InboundMessage>) -> BoxFuture<'_, Result<(), CommitFailed>> {
            async { Ok(()) }.boxed()
        }
    }

    fn open_files(dir: &Path) -> usize {
        let files = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        files.filter(|file| std::fs::read_link(file.path()).is_ok_and(|target| target.starts_with(dir))).count()
    }

    /// Every reconnect opens a new link: one that stayed would cost a megabyte and five file handles each.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_closed_link_leaves_nothing_behind() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        // Nobody listens there.
        let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let links = Links::new(Endpoint::loopback(free), Handle::current())?;
        let spec = LinkSpec {
            account: AccountId::new("work"),
            auth_dir: dir.path().to_owned(),
            device_name: "Verso".to_owned(),
            available: false,
            linking: false,
            encryption: None,
        };
        let (lease, mut released) = tokio::sync::oneshot::channel::<()>();
        let link = links.open_under(BUILT_IN, spec, Arc::new(Nobody), Box::new(lease)).await?;
        assert!(open_files(dir.path()) > 0);
        let last = link.inner.client();
        assert!(released.try_recv().is_err_and(|e| e == TryRecvError::Empty), "it may write");
        assert!(matches!(link.run().await, DownReason::OpenFailed { .. }));
        link.close().await;
        assert_eq!(link.run().await, DownReason::Stopped, "a closed link stays closed");
        let sent = link.typing(&"1@s.whatsapp.net".parse()?, true).await;
        assert!(sent.is_err_and(|error| error.is_retryable()), "another link can send it");
        let client = link.inner.inlet.client.get().cloned().ok_or("no client was made")?;
        drop((link, last));
        assert!(tokio::time::timeout(Duration::from_secs(10), released).await?.is_err(), "the lease is given back");
        let start = Instant::now();
        while client.strong_count() > 0 || open_files(dir.path()) > 0 {
            let left = (client.strong_count(), open_files(dir.path()));
            assert!(start.elapsed() < Duration::from_secs(10), "clients and files left: {left:?}");
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Hears how saves end.
    struct Saves(tokio::sync::mpsc::UnboundedSender<Option<String>>);

    impl LinkSink for Saves {
        fn event(&self, event: LinkEvent) {
            if let LinkEvent::Saved { failed } = event {
                let _ = self.0.send(failed);
            }
        }

        fn commit(&self, _: Vec<InboundMessage>) -> BoxFuture<'_, Result<(), CommitFailed>> {
            async { Ok(()) }.boxed()
        }
    }

    /// The library's own saver writes no record, tells nobody that it fails, and gives up.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_is_saved_while_the_link_is_open_and_again_after_that_failed()
    -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let account = AccountId::new("work");
        let opened = backend::open(SealedFolder { dir: dir.path(), account: &account, encryption: None }, true).await?;
        opened.manager.modify_device(|device| device.pn = "15551234567:3@s.whatsapp.net".parse().ok()).await;
        backend::save(&opened.manager, &backend::Files { dir: dir.path().to_owned(), keys: None }).await?;
        drop(opened);

        let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let links = Links::new(Endpoint::loopback(free), Handle::current())?;
        let spec = LinkSpec {
            account,
            auth_dir: dir.path().to_owned(),
            device_name: "Verso".to_owned(),
            available: false,
            linking: false,
            encryption: None,
        };
        let (tell, mut saves) = tokio::sync::mpsc::unbounded_channel();
        let link = links.open(spec, Arc::new(Saves(tell))).await?;
        let mut next = async || tokio::time::timeout(Duration::from_secs(20), saves.recv()).await;
        assert_eq!(next().await?, Some(None), "when it is opened");
        let recorded = || std::fs::read_to_string(dir.path().join("creds.json"));
        let manager = link.inner.client().ok_or("an open link has a client")?.persistence_manager();
        manager.modify_device(|device| "Olga".clone_into(&mut device.push_name)).await;
        assert_eq!(next().await?, Some(None));
        assert!(recorded()?.contains("Olga"));

        let database = rusqlite::Connection::open(dir.path().join("signal.db"))?;
        database.busy_timeout(Duration::from_secs(10))?;
        for event in ["INSERT", "UPDATE"] {
            let full = format!(
                "CREATE TRIGGER full_{event} BEFORE {event} ON device BEGIN SELECT RAISE(ABORT, 'no room'); END"
            );
            database.execute_batch(&full)?;
        }
        manager.modify_device(|device| "Olga B".clone_into(&mut device.push_name)).await;
        for _ in 0..2 {
            let failed = next().await?.flatten().ok_or("it cannot be saved")?;
            assert!(failed.contains("no room"), "{failed}");
        }
        database.execute_batch("DROP TRIGGER full_INSERT; DROP TRIGGER full_UPDATE")?;
        while next().await?.flatten().is_some() {}
        assert!(recorded()?.contains("Olga B"));
        link.close().await;
        Ok(())
    }
}
