//! What is pushed to clients: one task listens to the gateway and hands prepared events to every connection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, MissedTickBehavior};

use super::overview;
use super::protocol::{Presence, StateVersion};
use super::server::Api;
use crate::actors::messages::{GatewayEvent, Subscribe};

/// How often the state of everything is pushed even when nothing happened.
const HEALTH_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked whether token or origins were changed: the token may stand in a file that nobody reports.
const ACCESS_EVERY: Duration = Duration::from_secs(1);
/// Changes within this time are pushed as one `health` event.
const HEALTH_SETTLE: Duration = Duration::from_millis(200);
/// Events that a connection may lag behind.
const BACKLOG: usize = 256;

/// One event for all connections.
#[derive(Clone, Debug)]
pub struct Push {
    /// Its name.
    pub event: &'static str,
    /// What it says.
    pub payload: Arc<Value>,
    /// The counters after it, for state events.
    pub version: Option<StateVersion>,
    /// A later one says the same or more: may be dropped for a slow client.
    pub droppable: bool,
}

/// The connections and what is pushed to them.
#[derive(Debug)]
pub struct Hub {
    push: broadcast::Sender<Push>,
    health: AtomicU64,
    presence: AtomicU64,
    present: Mutex<BTreeMap<String, Presence>>,
    open: AtomicUsize,
    closed: Notify,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            push: broadcast::channel(BACKLOG).0,
            health: AtomicU64::new(1),
            presence: AtomicU64::new(1),
            present: Mutex::default(),
            open: AtomicUsize::new(0),
            closed: Notify::new(),
        }
    }
}

impl Hub {
    /// Starts to receive events.
    pub fn listen(&self) -> broadcast::Receiver<Push> {
        self.push.subscribe()
    }

    /// The counters now.
    pub fn version(&self) -> StateVersion {
        StateVersion { presence: self.presence.load(Ordering::Relaxed), health: self.health.load(Ordering::Relaxed) }
    }

    /// Pushes an event that must not be dropped.
    pub fn publish(&self, event: &'static str, payload: Value) {
        self.send(Push { event, payload: Arc::new(payload), version: None, droppable: false });
    }

    fn send(&self, push: Push) {
        // An error means that nobody listens.
        drop(self.push.send(push));
    }

    /// Connections other than the gateway itself that people may want to know of.
    pub fn present(&self) -> Vec<Presence> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Notes a client that stays.
    pub fn enter(&self, connection: &str, presence: Presence) {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).insert(connection.to_owned(), presence);
        self.presence_changed();
    }

    /// Forgets it.
    pub fn leave(&self, connection: &str) {
        let known = self.present.lock().unwrap_or_else(PoisonError::into_inner).remove(connection).is_some();
        if known {
            self.presence_changed();
        }
    }

    fn presence_changed(&self) {
        self.presence.fetch_add(1, Ordering::Relaxed);
        self.send(Push {
            event: "presence",
            payload: Arc::new(json!({"presence": self.present()})),
            version: Some(self.version()),
            droppable: true,
        });
    }

    /// Counts a connection for as long as the guard lives.
    pub fn opened(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    /// See [`Hub::opened`].
    pub fn gone(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        self.closed.notify_waiters();
    }

    /// Waits until no connection is open, but not longer than `limit`.
    pub async fn idle(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let closed = self.closed.notified();
            if self.open.load(Ordering::SeqCst) == 0 || tokio::time::timeout_at(deadline, closed).await.is_err() {
                return;
            }
        }
    }
}

/// Listens to the gateway until it is gone.
pub(super) async fn run(api: Arc<Api>) {
    let Ok(events) = api.port.subscribe.send(Subscribe).await else { return };
    let mut events = events.0;
    let mut regular = tokio::time::interval(HEALTH_EVERY);
    regular.set_missed_tick_behavior(MissedTickBehavior::Delay);
    regular.reset();
    let mut access = tokio::time::interval(ACCESS_EVERY);
    access.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due: Option<Instant> = None;
    loop {
        let settled = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = events.recv() => match event {
                Ok(GatewayEvent::Account(account)) => {
                    api.hub.publish("verso.account", json!(account));
                    due = due.or(Some(Instant::now() + HEALTH_SETTLE));
                }
                Ok(GatewayEvent::Reload(receipt)) => {
                    api.hub.publish("verso.reload", receipt);
                    due = due.or(Some(Instant::now() + HEALTH_SETTLE));
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::debug!(target: "api", missed, "events missed, sending the whole state");
                    due = due.or(Some(Instant::now()));
                }
                Err(broadcast::error::RecvError::Closed) => return,
            },
            () = settled => {
                due = None;
                push_health(&api).await;
            }
            _ = regular.tick() => push_health(&api).await,
            _ = access.tick() => api.look_at_access(),
        }
    }
}

async fn push_health(api: &Api) {
    let Some(status) = api.status().await else { return };
    api.hub.health.fetch_add(1, Ordering::Relaxed);
    api.hub.send(Push {
        event: "health",
        payload: Arc::new(overview::health(api, &status, 0)),
        version: Some(api.hub.version()),
        droppable: true,
    });
}
