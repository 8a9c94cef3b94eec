//! The only place that knows the crate whatsapp-rust: what the rest of Verso may ask of a link.
//!
//! A [`Links`] is made once and shared by all accounts; [`Links::open`] gives one [`Link`] per account and generation.
//! A link lives through many calls of [`Link::run`], each of which is one connection attempt and its whole life; who
//! waits how long between them is not decided here. Messages leave through [`LinkSink::commit`], and WhatsApp is told
//! that one arrived only after that returned `Ok`.
//!
//! Nothing here imports the store: a link gets a folder and a sink.

mod address;
mod backend;
pub mod baileys;
mod content;
mod convert;
mod database;
mod dial;
mod download;
mod ending;
mod endpoint;
mod http;
mod inlet;
mod kept;
mod link;
mod media;
mod ops;
mod record;
mod runtime;
pub mod seal;
pub mod snapshot;
mod socket;
mod tls;
mod version;
mod wal;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

pub use address::Addresses;
#[cfg(feature = "demo")]
pub use convert::probe;
pub use download::DownloadError;
pub use endpoint::{Endpoint, EndpointError};
pub use link::{Link, Links};
use seal::KeyTrouble;
pub use version::LookUpError;

use crate::clock::UnixMs;
use crate::config::model::EncryptionConfig;
use crate::event::{InboundMessage, LinkEvent};
use crate::ids::{AccountId, E164, Jid};

/// The library's part of a log filter. Its downloads name addresses that open without a password.
pub const LIBRARY_LOG: &str = "whatsapp_rust=warn,whatsapp_rust::download=error";

/// What one link is opened with.
#[derive(Clone, Debug)]
pub struct LinkSpec {
    /// The account that the link belongs to; stamped on every message.
    pub account: AccountId,
    /// The account's own folder: it exists and nobody else may read it. `signal.db`, `creds.json` and `creds.json.bak`
    /// live there.
    pub auth_dir: PathBuf,
    /// What the phone lists under Linked Devices; it counts only when the device is linked.
    pub device_name: String,
    /// Show the account as online while connected. That silences notifications on the phone, so personal accounts
    /// leave it off.
    pub available: bool,
    /// It is opened for a login: damaged files are set aside.
    pub linking: bool,
    /// `credentials.encryption`: how the files are sealed.
    pub encryption: Option<Arc<EncryptionConfig>>,
}

/// Kept while anything of a link may touch its folder, also when nobody waits for its end any more: the lock of the folder, which a link
/// knows nothing about.
pub type Lease = Box<dyn std::any::Any + Send + Sync>;

/// Where a link delivers what it receives.
pub trait LinkSink: Send + Sync + 'static {
    /// Takes an event. It is called from the client's own tasks and must not block.
    fn event(&self, event: LinkEvent);

    /// Writes messages down for good. WhatsApp is told that they arrived only after `Ok`; after an error it delivers
    /// them again on the next connection.
    fn commit(&self, messages: Vec<InboundMessage>) -> BoxFuture<'_, Result<(), CommitFailed>>;
}

/// A message could not be written down.
#[derive(Clone, Debug, thiserror::Error)]
#[error("messages could not be written down: {0}")]
pub struct CommitFailed(pub String);

/// A link could not be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The account's database does not open.
    #[error("cannot open {}: {cause}; check that the folder is readable and writable and the disk is not full", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// What the database said.
        cause: String,
    },
    /// The folder held a link, and nothing in it is whole enough to go on with.
    #[error("the WhatsApp link in {} is damaged: {cause}; restore a backup of the folder, or link again with `verso channels login --force`", path.display())]
    Relink {
        /// The folder.
        path: PathBuf,
        /// What is damaged.
        cause: String,
    },
    /// The folder is sealed, or shall be, and there is no key for it.
    #[error("{}", trouble.sentence(account))]
    Locked {
        /// The account.
        account: AccountId,
        /// What is wrong with the key.
        trouble: KeyTrouble,
    },
    /// The link of a Baileys program in the folder cannot be taken over.
    #[error("the WhatsApp link of another program cannot be taken over: {0}")]
    TakeOver(#[source] baileys::BaileysError),
    /// The client refused its settings.
    #[error("the WhatsApp client could not be built: {0}")]
    Client(String),
    /// TLS or HTTP could not be set up on this machine.
    #[error("cannot set up TLS: {0}; install the ca-certificates of your system")]
    Tls(String),
}

/// A command to a link failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is no live connection.
    #[error("the account is not connected to WhatsApp right now")]
    NotConnected,
    /// The device is not linked.
    #[error("the account is not linked to a phone; run `verso channels login`")]
    NotLinked,
    /// No answer in time.
    #[error("WhatsApp did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// WhatsApp refused.
    #[error("WhatsApp refused the request (code {code}): {text}")]
    Rejected {
        /// WhatsApp's code.
        code: u16,
        /// WhatsApp's words.
        text: String,
    },
    /// The request itself makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The client failed.
    #[error("the WhatsApp client failed: {0}")]
    Internal(String),
}

impl LinkError {
    /// Whether the same command may work later, unchanged.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotConnected | Self::Timeout(_) | Self::Internal(_) => true,
            Self::Rejected { code, .. } => *code == 429 || *code >= 500,
            Self::NotLinked | Self::Invalid(_) => false,
        }
    }
}

/// A group as WhatsApp describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// The group.
    pub jid: Jid,
    /// Its name.
    pub subject: String,
    /// Its description.
    pub description: Option<String>,
    /// Its members.
    pub members: Vec<GroupMember>,
    /// Only administrators may write.
    pub announcement: bool,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The member's address, in the group's own address family.
    pub jid: Jid,
    /// The member's phone number, when known.
    pub number: Option<E164>,
    /// May change the group.
    pub admin: bool,
}

/// Signs of life of a link, since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// When the last frame came in, by this machine's clock.
    pub last_received: Option<UnixMs>,
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Messages handed to [`LinkSink::commit`] and accepted.
    pub messages_committed: u64,
    /// Calls of [`LinkSink::commit`] that failed.
    pub commits_failed: u64,
    /// Status updates, broadcast lists and newsletters, which Verso does not serve.
    pub ignored: u64,
    /// Messages that could not be decrypted at first.
    pub undecryptable: u64,
}

/// Saves the record of a folder as a link does that has logged in once more, for measuring. Nobody else uses the folder.
///
/// # Errors
/// When there is no record, or it cannot be written.
#[cfg(feature = "demo")]
pub fn save_again(auth_dir: &std::path::Path) -> std::io::Result<()> {
    let record = record::read(auth_dir, None).ok_or(std::io::ErrorKind::NotFound)?;
    let mut device = record.device;
    device.login_counter = device.login_counter.wrapping_add(1);
    backend::mirror_device(auth_dir, &device, None)
}
