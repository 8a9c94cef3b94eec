//! Runs all clients on one runtime, whoever calls them.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use whatsapp_rust::Runtime;
use whatsapp_rust::wacore::runtime::AbortHandle;

type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// The library's own runtime spawns wherever it is called from, so that a stopped actor thread would take the
/// account's workers with it. This one is bound to a handle.
#[derive(Clone)]
pub(super) struct HandleRuntime(pub tokio::runtime::Handle);

#[whatsapp_rust::async_trait]
impl Runtime for HandleRuntime {
    fn spawn(&self, future: Task) -> AbortHandle {
        let task = self.0.spawn(future);
        AbortHandle::new(move || task.abort())
    }

    fn spawn_detached(&self, future: Task) {
        self.0.spawn(future);
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let _inside = self.0.enter();
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn_blocking(&self, f: Box<dyn FnOnce() + Send + 'static>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let task = self.0.spawn_blocking(f);
        Box::pin(async move {
            // A panic in the closure shows in the missing result; there is nothing to add here.
            let _ = task.await;
        })
    }

    // Fairness among many accounts: a long offline drain gives way every few frames.
    fn yield_now(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        Some(Box::pin(tokio::task::yield_now()))
    }

    fn yield_frequency(&self) -> u32 {
        16
    }
}
