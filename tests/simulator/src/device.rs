//! A companion: a real client linked to a simulated phone.

use wacore_binary::Jid;

use crate::faults::{Fault, Kick};
use crate::noise::Handshake;
use crate::state::{Addr, Device};
use crate::world::{Timeout, World};

/// The server's view of one linked (or formerly linked) device.
#[derive(Clone)]
pub struct LinkedDevice {
    world: World,
    pub(crate) addr: Addr,
}

impl std::fmt::Debug for LinkedDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LinkedDevice({}:{})", self.number(), self.addr.device)
    }
}

impl LinkedDevice {
    pub(crate) fn new(world: World, addr: Addr) -> Self {
        Self { world, addr }
    }

    fn view<R: Default>(&self, read: impl FnOnce(&Device) -> R) -> R {
        self.world.look(|s| s.device(self.addr).map(read).unwrap_or_default())
    }

    /// Number of the account, with `+`.
    pub fn number(&self) -> String {
        self.world.look(|s| format!("+{}", s.accounts[self.addr.account].pn))
    }

    /// Device number within the account, from 1.
    pub fn id(&self) -> u16 {
        self.addr.device
    }

    /// `NUMBER:DEVICE@s.whatsapp.net`.
    pub fn jid(&self) -> Jid {
        self.world.look(|s| s.jid_of(self.addr, false))
    }

    /// `LID:DEVICE@lid`.
    pub fn lid(&self) -> Jid {
        self.world.look(|s| s.jid_of(self.addr, true))
    }

    /// Whether the account still has this device.
    pub fn linked(&self) -> bool {
        self.view(|_| true)
    }

    /// Whether it is logged in now.
    pub fn connected(&self) -> bool {
        self.view(|d| d.conn.is_some())
    }

    /// Whether it is logged in and has asked for its messages.
    pub fn active(&self) -> bool {
        self.view(|d| d.active)
    }

    /// Whether it shows itself as available.
    pub fn available(&self) -> bool {
        self.view(|d| d.available)
    }

    /// Logins so far, one per socket.
    pub fn sockets_opened(&self) -> usize {
        self.view(|d| d.sockets)
    }

    /// How the present or last connection was secured.
    pub fn handshake(&self) -> Option<Handshake> {
        self.view(|d| d.handshake)
    }

    /// Stanzas it has not acknowledged yet.
    pub fn offline_queue_len(&self) -> usize {
        self.view(|d| d.queue.len())
    }

    /// One-time keys the server has left for it.
    pub fn one_time_keys_left(&self) -> usize {
        self.view(|d| d.keys.one_time.len())
    }

    /// What it calls itself in the list of linked devices.
    pub fn platform(&self) -> String {
        self.view(|d| d.platform.clone())
    }

    /// Ends its connection in some way; nothing happens when there is none.
    pub fn kick(&self, how: Kick) {
        self.world.with(|s| s.kick(self.addr, how));
    }

    /// Lets something go wrong for this device until cleared.
    pub fn set_fault(&self, fault: Fault) {
        self.world.with(|s| s.set_fault(Some(self.addr), fault));
    }

    /// Ends the faults of this device.
    pub fn clear_faults(&self) {
        self.world.with(|s| s.clear_device_faults(self.addr));
    }

    /// Waits until the account has this device.
    ///
    /// # Errors
    /// When it is not linked before the deadline.
    pub async fn wait_linked(&self) -> Result<(), Timeout> {
        self.wait("linked", |d| d.is_some()).await
    }

    /// Waits until it is logged in.
    ///
    /// # Errors
    /// When it is not before the deadline.
    pub async fn wait_connected(&self) -> Result<(), Timeout> {
        self.wait("logged in", |d| d.is_some_and(|d| d.conn.is_some())).await
    }

    /// Waits until it is logged in and has asked for its messages.
    ///
    /// # Errors
    /// When it has not before the deadline.
    pub async fn wait_active(&self) -> Result<(), Timeout> {
        self.wait("active", |d| d.is_some_and(|d| d.active)).await
    }

    /// Waits until it has no connection.
    ///
    /// # Errors
    /// When it still has one at the deadline.
    pub async fn wait_disconnected(&self) -> Result<(), Timeout> {
        self.wait("disconnected", |d| d.is_none_or(|d| d.conn.is_none())).await
    }

    /// Waits until it has logged in `n` times in all and is active.
    ///
    /// # Errors
    /// When it has not before the deadline.
    pub async fn wait_sockets(&self, n: usize) -> Result<(), Timeout> {
        self.wait("logged in again", |d| d.is_some_and(|d| d.sockets >= n && d.active)).await
    }

    /// Waits until it has acknowledged everything.
    ///
    /// # Errors
    /// When something is left at the deadline.
    pub async fn wait_drained(&self) -> Result<(), Timeout> {
        self.wait("done with its queue", |d| d.is_some_and(|d| d.queue.is_empty())).await
    }

    async fn wait(&self, what: &str, holds: impl Fn(Option<&Device>) -> bool) -> Result<(), Timeout> {
        let what = format!("device {} of {} to be {what}", self.addr.device, self.number());
        self.world.until(what, || self.world.look(|s| holds(s.device(self.addr))).then_some(())).await
    }
}
