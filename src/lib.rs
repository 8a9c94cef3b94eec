//! Verso is a self-hosted WhatsApp gateway: one process runs any number of WhatsApp accounts (linked devices over the WhatsApp Web
//! protocol), lets in whom the owner allows, routes every chat to an agent, answers on the account the message came in on, and picks
//! up edits of `verso.json` while it runs.
//!
//! # The way of a message
//!
//! ```text
//! WhatsApp -> whatsapp::Link -> store::journal commits (one fsync per batch) -> WhatsApp is acked
//!          -> RouterActor: policy::decide (pure) -> the decision is noted beside the message -> effects: receipt, reaction, pairing text
//!          -> AgentActor: one run per session -> the answer's parts get their message ids and are committed with "answered"
//!          -> SupervisorActor of the same account -> SocketActor: outbox pump -> WhatsApp -> ack, delivery receipt mark the part
//! ```
//! and of an edit:
//! ```text
//! verso.json -> WatcherActor -> config: raw -> resolve -> validate -> Arc<Config> -> GatewayActor: diff -> accounts started, stopped,
//!               relinked or refreshed; router and agents get the new Arc; the receipt says what happened
//! ```
//!
//! # Map
//! Imports point downwards only (`tests/it/architecture.rs` checks it):
//!
//! | layer | modules | what lives there |
//! |---|---|---|
//! | words | [`ids`] [`event`] [`outgoing`] [`clock`] | names of things, what happened, the time of day |
//! | rules | [`config`] (but its file) [`disclosure`] [`policy`] [`routing`] [`session`] [`text`] [`backoff`] [`delivery`] [`heartbeat`] [`command`] | pure: everything they need is an argument, time and randomness too |
//! | edges | [`store`] [`whatsapp`] [`agent`] [`media`] `config::file` | disk, WhatsApp, models, files to send; they do not know one another |
//! | actors | [`actors`] | who owns what while it runs; its page has the tree |
//! | doors | [`api`] [`cli`] [`telemetry`] | WebSocket API, command line, logs |
//!
//! `tests/simulator` is a WhatsApp server with the real wire protocol. Tests, the demo and foreign clients reach it through a real
//! socket; of the library only `cli::demo` (feature `demo`) knows it.
//!
//! # Invariants
//! * WhatsApp is told that a message arrived only after the journal has it. A redelivery finds its row and changes nothing.
//! * An outgoing part has its WhatsApp message id on disk before the first attempt; every retry carries the same id.
//! * All accounts report one version of WhatsApp Web, which the `WebVersionActor` alone looks up; it never gives way to an older one.
//! * Which of a person's two addresses a part goes to is decided by delivery receipts ([`delivery::address`]); the part itself, its id and
//!   its chat stay the same.
//! * A part leaves through the account that its message came in on: the outbox is read per account, by that account's socket alone.
//! * Queues belong to a number: what is open for one is given up, in one transaction, before another number of the same account can send
//!   ([`store::journal::Journal::claim`]).
//! * Only a `SocketActor` holds a [`whatsapp::Link`]; it keeps the lock of the account's folder until the link is closed.
//! * A link moves whole: the files of another program are copied before anything is replaced, `creds.json` changes hands last, and Signal
//!   keys that were in use are never rolled back ([`whatsapp::baileys`]).
//! * A backup holds no Signal session and no pre-key, and a restored link is an epoch ahead of its database: no key is used twice
//!   ([`whatsapp::snapshot`]). What was open in it is not done again unasked.
//! * Sealed files open with the owner's key or not at all: without it an account is `locked`, and nothing of it is deleted, replaced or
//!   linked anew ([`whatsapp::seal`]).
//! * Only the `GatewayActor` swaps the configuration. Nobody patches it in memory: writers edit the file.
//! * Only the [`policy::link_state`] table decides whether and when an account connects; whatsapp-rust's own reconnect is off.
//! * What a reader sees of a failure, and which texts nobody sees, only [`disclosure`] decides. Its list of secrets is the one state
//!   that belongs to the process and not to a gateway: log lines and panics come from everywhere.
//! * A message is judged by [`policy::decide`] and nothing else, and every drop has a reason with a code.
//! * A normal build checks WhatsApp's certificate and dials WhatsApp. A build with the feature `demo` accepts any certificate and
//!   dials nothing but loopback.
//!
//! # Deliberately absent
//! Other channels, plugins, clusters. The command line opens no WhatsApp session while a gateway runs. Wire types in
//! `api::protocol` are not domain types.

pub mod actors;
pub mod agent;
pub mod api;
pub mod backoff;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod delivery;
pub mod disclosure;
pub mod event;
#[cfg(feature = "demo")]
mod fault;
pub mod heartbeat;
pub mod ids;
pub mod media;
pub mod outgoing;
pub mod policy;
pub mod routing;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod whatsapp;
