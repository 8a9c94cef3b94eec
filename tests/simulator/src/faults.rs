//! What can be made to go wrong.

use std::time::Duration;

use crate::page::{PageFault, Version};
use crate::phone::Addressing;

/// How one IQ namespace misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IqFault {
    /// No answer at all.
    Silent,
    /// An empty result.
    Empty,
    /// An error with this code.
    Error(u16),
}

/// Something that goes wrong until it is cleared. Set for the whole world
/// ([`World::set_fault`](crate::World::set_fault)) or for one device
/// ([`LinkedDevice::set_fault`](crate::LinkedDevice::set_fault)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Every outgoing stanza leaves this much later.
    Delay(Duration),
    /// Sockets stay open but nothing is read or answered any more. Existing
    /// connections freeze at once, new ones right after they were accepted.
    HalfOpen,
    /// Every message is delivered twice.
    DuplicateMessages,
    /// Messages are delivered in pairs, second one first.
    SwapMessages,
    /// The ciphertext of the next `messages` delivered messages has one bit flipped.
    FlipBit {
        /// How many messages are damaged.
        messages: usize,
    },
    /// Messages sent by the client are refused with this error and go nowhere.
    NackMessages {
        /// The `error` attribute of the ack, for example 479.
        error: u16,
    },
    /// The next messages sent by the client are refused like that.
    NackNext {
        /// The `error` attribute of the ack, for example 503.
        error: u16,
        /// How many messages are refused.
        messages: usize,
    },
    /// What is sent to people under one of their two addresses is acknowledged and reaches no phone or other device of theirs. The
    /// sender's own devices get their copies.
    DeadAddress {
        /// Which of the two.
        address: Addressing,
        /// The number of the only person it holds for; everybody without it.
        of: Option<String>,
    },
    /// Messages sent by the client are neither acknowledged nor delivered.
    SwallowMessages,
    /// One IQ namespace misbehaves.
    Iq {
        /// The `xmlns` attribute, for example `usync`.
        xmlns: String,
        /// How it misbehaves.
        how: IqFault,
    },
    /// A login is refused with `<failure reason=..>`.
    LoginFailure {
        /// 401, 402, 403, 405, 406, 409, 500, 501, 503 …
        reason: u16,
        /// For 402: why the account is banned.
        code: Option<u32>,
        /// For 402: how long.
        expire: Option<Duration>,
    },
    /// A login or registration that reports an older version of WhatsApp Web is refused with 405.
    MinimumVersion(Version),
    /// The page that tells the current version of WhatsApp Web does not.
    Page(PageFault),
    /// The proof in `pair-success` is wrong, as if a stranger had sent it: the client must refuse to be linked.
    ForgedPairing,
    /// The account has a passkey: a scan links nothing, the client is asked for the passkey instead.
    AsksForPasskey,
    /// An attempted IK resumption is answered with XXfallback.
    RefuseIk,
    /// The server closes the socket instead of answering `clientHello`.
    HangUpInHandshake,
}

impl Fault {
    /// A temporary ban as the server announces it.
    pub fn ban(code: u32, expire: Duration) -> Self {
        Self::LoginFailure { reason: 402, code: Some(code), expire: Some(expire) }
    }

    /// The server wants a newer client.
    pub fn outdated() -> Self {
        Self::LoginFailure { reason: 405, code: None, expire: None }
    }

    fn replaces(&self, other: &Fault) -> bool {
        match (self, other) {
            (Self::Iq { xmlns: a, .. }, Self::Iq { xmlns: b, .. }) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// How a live connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kick {
    /// `<stream:error><conflict type="replaced"/>`: somebody else logged in with these keys.
    Conflict,
    /// `<stream:error code="401"><conflict type="device_removed"/>`, and the device is forgotten.
    DeviceRemoved,
    /// `<stream:error code=..>`: 401, 403, 408, 409, 429, 500, 503, 515, 516.
    StreamError(u16),
    /// `<xmlstreamend/>`.
    StreamEnd,
    /// A WebSocket close frame.
    Close,
    /// The TCP connection just ends.
    Drop,
    /// Nothing is read or written any more, the socket stays open.
    Freeze,
}

/// The faults in force.
#[derive(Debug, Default, Clone)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub fn set(&mut self, fault: Fault) {
        self.0.retain(|f| !fault.replaces(f));
        self.0.push(fault);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn has(&self, fault: &Fault) -> bool {
        self.0.contains(fault)
    }

    pub fn delay(&self) -> Option<Duration> {
        self.0.iter().find_map(|f| if let Fault::Delay(d) = f { Some(*d) } else { None })
    }

    /// The code that the next message is refused with, if it is; counts it.
    pub fn nack_next(&mut self) -> Option<u16> {
        self.0.iter_mut().find_map(|fault| match fault {
            Fault::NackMessages { error } => Some(*error),
            Fault::NackNext { error, messages } if *messages > 0 => {
                *messages -= 1;
                Some(*error)
            }
            _ => None,
        })
    }

    pub fn iq(&self, namespace: &str) -> Option<IqFault> {
        self.0.iter().find_map(|f| match f {
            Fault::Iq { xmlns, how } if xmlns == namespace => Some(*how),
            _ => None,
        })
    }

    pub fn minimum_version(&self) -> Option<Version> {
        self.0.iter().find_map(|f| if let Fault::MinimumVersion(version) = f { Some(*version) } else { None })
    }

    /// Whether what is sent to this person under this kind of address reaches nobody.
    pub fn is_dead(&self, lid: bool, number: &str) -> bool {
        self.0.iter().any(|fault| match fault {
            Fault::DeadAddress { address, of } => {
                let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
                address.is_lid() == lid && of.as_ref().is_none_or(|of| digits(of) == digits(number))
            }
            _ => false,
        })
    }

    pub fn page(&self) -> Option<&PageFault> {
        self.0.iter().find_map(|f| if let Fault::Page(fault) = f { Some(fault) } else { None })
    }

    pub fn login_failure(&self) -> Option<(u16, Option<u32>, Option<Duration>)> {
        self.0.iter().find_map(|f| match f {
            Fault::LoginFailure { reason, code, expire } => Some((*reason, *code, *expire)),
            _ => None,
        })
    }

    /// Whether the next message is to be damaged; counts it.
    pub fn flip_next(&mut self) -> bool {
        for fault in &mut self.0 {
            if let Fault::FlipBit { messages } = fault
                && *messages > 0
            {
                *messages -= 1;
                return true;
            }
        }
        false
    }
}
