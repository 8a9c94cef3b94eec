//! A WhatsApp multi-device server with the real wire protocol, on loopback, with simulated people.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let world = wa_simulator::World::start().await?;
//! let ann = world.contact("+15550100001", "Ann");
//! let work = world.phone("+15550100002");
//! // point a client at world.ws_url(), take the text of its QR code, then:
//! let device = work.scan_qr("2@...").await?;
//! device.wait_active().await?;
//! let id = ann.says(&work, "hello");
//! let reply = ann.expect_text("hello yourself").await?;
//! # let _ = (id, reply);
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//! * Doors: [`World`] (start, faults, trace, waits), [`Phone`] (a person), [`LinkedDevice`] (a client as the server
//!   sees it), [`Group`].
//! * Wire: `noise` (handshakes), `cert` (chain), `conn` (sockets, frames), `page` (the current version of WhatsApp Web), `stanza`,
//!   [`trace`](TraceEntry).
//! * Server: `login`, `iq`, `keys`, `usync`, `pairing`, `pair_code`, `delivery` (fan-out, offline queue), `receipts`,
//!   `group` over the rules of [`groups`], [`appstate`], [`media`].
//! * From outside: [`control`] (HTTP API) and the binary `wa-simulator`.
//! * People: `party` (Signal), `phone` (what a person sees and does).
//!
//! # Invariants
//! * All state is behind one lock; nothing waits while holding it. Order on a connection is the order of changes.
//! * Nothing but answers goes to a client before it said `<active/>`.
//! * A stanza stays in its device's queue until acknowledged and is delivered again on the next connection.
//! * Every phone is a real Signal party: what it cannot open it records and asks for again.

pub mod appstate;
mod cert;
mod conn;
pub mod control;
mod delivery;
mod device;
mod faults;
mod group;
pub mod groups;
mod iq;
mod keys;
mod login;
pub mod media;
mod noise;
mod page;
mod pair_code;
mod pairing;
mod party;
mod phone;
mod receipts;
mod stanza;
mod state;
mod trace;
mod usync;
mod world;

pub use device::LinkedDevice;
pub use faults::{Fault, IqFault, Kick};
pub use group::Group;
pub use noise::Handshake;
pub use page::{PageFault, Version};
pub use pairing::LinkError;
pub use phone::{
    Addressing, MessageId, NumberShown, Phone, Reaction, Receipt, ReceiptKind, Received, Sign, Undecryptable, Wanted,
    contact_message, text_message,
};
pub use stanza::NodeExt;
pub use trace::{Direction, TraceEntry};
pub use world::{Timeout, World, WorldBuilder};
