//! Everything the simulated server and the simulated phones know. One lock guards it;
//! nothing in here waits.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use wacore_binary::{Jid, Node};

use crate::appstate::{AppState, PastChat};
use crate::faults::Faults;
use crate::groups::Groups;
use crate::keys::{Bundle, DeviceKeys};
use crate::media::MediaHost;
use crate::noise::Handshake;
use crate::page::{CURRENT, Version};
use crate::pairing::{Outcome, Registration};
use crate::phone::PhoneState;
use crate::stanza::{SERVER, el};
use crate::trace::{Direction, Trace};
use crate::world::Settings;

/// One device of one account. Device 0 is the phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Addr {
    pub account: usize,
    pub device: u16,
}

/// What the writer of a connection does next.
pub(crate) enum Out {
    /// Send this stanza, not before that time.
    Node(Box<Node>, Instant),
    /// Send a close frame and end.
    Close,
}

/// Whether a connection's tasks go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Run,
    /// Neither read nor write, keep the socket.
    Frozen,
    /// End now.
    Dead,
}

/// Who is at the other end of a connection.
pub(crate) enum Who {
    Handshaking,
    Unpaired(Box<Registration>),
    Device(Addr),
    /// Told to go away; whatever it still says is ignored.
    Gone,
}

pub(crate) struct Conn {
    pub out: mpsc::UnboundedSender<Out>,
    pub mode: watch::Sender<Mode>,
    pub who: Who,
}

/// A stanza that a device has not acknowledged yet.
pub(crate) struct Queued {
    pub node: Node,
    /// Sent on the present connection.
    pub sent: bool,
}

/// A linked device as the server knows it.
pub(crate) struct Device {
    pub key_index: u32,
    pub noise: [u8; 32],
    pub keys: DeviceKeys,
    pub platform: String,
    pub conn: Option<u64>,
    /// The client has said that it is ready for messages.
    pub active: bool,
    pub queue: VecDeque<Queued>,
    /// Logins so far.
    pub sockets: usize,
    pub handshake: Option<Handshake>,
    /// Key share and history were sent.
    pub greeted: bool,
    pub faults: Faults,
    /// A message held back in order to be swapped with the next.
    pub held: Option<Node>,
    pub available: bool,
    pub subscriptions: HashSet<usize>,
}

pub(crate) struct Account {
    pub pn: String,
    pub lid: String,
    pub name: String,
    /// The name that is in the app state.
    pub published_name: String,
    /// Has a verified business name, which companions are told at pairing.
    pub business: bool,
    pub raw_id: u32,
    pub phone: PhoneState,
    pub appstate: AppState,
    /// Conversations from before the linking, told to new companions.
    pub past: Vec<PastChat>,
    pub devices: BTreeMap<u16, Device>,
    pub next_device: u16,
    pub next_key_index: u32,
    /// The accounts that want to hear of new devices of this one.
    pub watchers: HashSet<usize>,
    /// Companions address chats by LID (told at pairing).
    pub lid_migrated: bool,
}

pub(crate) struct State {
    pub started: Instant,
    pub settings: Settings,
    pub media: MediaHost,
    pub groups: Groups,
    pub accounts: Vec<Account>,
    pub by_pn: HashMap<String, usize>,
    pub by_lid: HashMap<String, usize>,
    pub conns: HashMap<u64, Conn>,
    pub next: u64,
    pub trace: Trace,
    pub faults: Faults,
    /// The version of WhatsApp Web that the page names, and how often it was asked for.
    pub version: Version,
    pub lookups: usize,
    /// TCP connections still to be refused.
    pub refuse: usize,
    /// TCP connections accepted so far.
    pub sockets: usize,
    /// IQs that nobody here knows, by namespace and child.
    pub unknown_iqs: Vec<String>,
    /// IQs left without an answer because of a fault.
    pub unanswered: Vec<String>,
    /// How linking attempts ended, by connection.
    pub finished_links: HashMap<u64, Outcome>,
    /// Connections whose code was right and that get `pair-success` next.
    pub pairings_due: Vec<(u64, usize, Vec<u8>)>,
    /// Stanzas on their way to phones.
    pub to_phones: VecDeque<(usize, Node)>,
}

impl State {
    pub fn new(settings: Settings, media: MediaHost) -> Self {
        Self {
            started: Instant::now(),
            settings,
            media,
            groups: Groups::default(),
            accounts: Vec::new(),
            by_pn: HashMap::new(),
            by_lid: HashMap::new(),
            conns: HashMap::new(),
            next: 0,
            trace: Trace::default(),
            faults: Faults::default(),
            version: CURRENT,
            lookups: 0,
            refuse: 0,
            sockets: 0,
            unknown_iqs: Vec::new(),
            unanswered: Vec::new(),
            finished_links: HashMap::new(),
            pairings_due: Vec::new(),
            to_phones: VecDeque::new(),
        }
    }

    /// A number never used before in this world.
    pub fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// An identifier for a stanza made by the server.
    pub fn stanza_id(&mut self) -> String {
        let n = self.fresh();
        format!("{:010}-{n}", unix_now() % 10_000_000_000)
    }

    /// The account with this number (digits), made when it does not exist yet.
    pub fn account(&mut self, digits: &str) -> usize {
        if let Some(index) = self.by_pn.get(digits) {
            return *index;
        }
        let index = self.accounts.len();
        let lid = format!("{}", 210_000_000_000_001u64 + (index as u64) * 1_013);
        self.by_pn.insert(digits.to_owned(), index);
        self.by_lid.insert(lid.clone(), index);
        self.accounts.push(Account {
            pn: digits.to_owned(),
            lid,
            name: default_name(digits),
            published_name: String::new(),
            business: false,
            raw_id: 1_000 + index as u32,
            phone: PhoneState::new(),
            appstate: AppState::new(&mut rand::make_rng::<rand::rngs::StdRng>()),
            past: Vec::new(),
            devices: BTreeMap::new(),
            next_device: 1,
            next_key_index: 1,
            watchers: HashSet::new(),
            lid_migrated: self.settings.lid_addressing,
        });
        index
    }

    /// Which device a JID names, if the account exists.
    pub fn resolve(&self, jid: &Jid) -> Option<Addr> {
        let account = if jid.is_lid() { self.by_lid.get(jid.user_base()) } else { self.by_pn.get(jid.user_base()) };
        account.map(|account| Addr { account: *account, device: jid.device })
    }

    pub fn device(&self, addr: Addr) -> Option<&Device> {
        self.accounts[addr.account].devices.get(&addr.device)
    }

    pub fn device_mut(&mut self, addr: Addr) -> Option<&mut Device> {
        self.accounts[addr.account].devices.get_mut(&addr.device)
    }

    /// All devices of an account, the phone first.
    pub fn devices_of(&self, account: usize) -> Vec<Addr> {
        let companions = self.accounts[account].devices.keys().copied();
        std::iter::once(0).chain(companions).map(|device| Addr { account, device }).collect()
    }

    /// The keys of one device as a bundle; takes a one-time key.
    pub fn take_bundle(&mut self, addr: Addr) -> Option<Bundle> {
        if addr.device == 0 {
            return Some(self.accounts[addr.account].phone.take_bundle());
        }
        let bundle = self.device_mut(addr)?.keys.take_bundle();
        self.warn_of_few_keys(addr);
        Some(bundle)
    }

    /// Tells a client to upload more one-time keys when few are left.
    fn warn_of_few_keys(&mut self, addr: Addr) {
        let Some(device) = self.device(addr) else { return };
        let left = device.keys.one_time.len();
        if !self.settings.few_keys.contains(&left) {
            return;
        }
        let id = self.stanza_id();
        let node = el("notification")
            .attr("from", SERVER)
            .attr("type", "encrypt")
            .attr("id", id)
            .attr("t", unix_now().to_string())
            .children([el("count").attr("value", left.to_string()).build()])
            .build();
        self.deliver(addr, node);
    }

    /// A JID of this device in the LID or the phone number space.
    pub fn jid_of(&self, addr: Addr, lid: bool) -> Jid {
        let account = &self.accounts[addr.account];
        match (lid, addr.device) {
            (true, 0) => Jid::lid(account.lid.as_str()),
            (true, n) => Jid::lid_device(account.lid.as_str(), n),
            (false, 0) => Jid::pn(account.pn.as_str()),
            (false, n) => Jid::pn_device(account.pn.as_str(), n),
        }
    }

    /// `NUMBER:DEVICE` or `conn N`.
    pub fn label(&self, conn: u64) -> String {
        match self.conns.get(&conn).map(|c| &c.who) {
            Some(Who::Device(addr)) => self.device_label(*addr),
            _ => format!("conn {conn}"),
        }
    }

    pub fn device_label(&self, addr: Addr) -> String {
        format!("+{}:{}", self.accounts[addr.account].pn, addr.device)
    }

    pub fn note(&mut self, who: String, text: impl Into<String>) {
        let at = self.started.elapsed();
        self.trace.note(at, who, text.into());
    }

    /// Sends a stanza over one connection.
    pub fn send(&mut self, conn: u64, node: Node) {
        self.send_after(conn, node, Duration::ZERO);
    }

    /// Sends a stanza a while later; what is sent afterwards waits for it.
    pub fn send_after(&mut self, conn: u64, node: Node, wait: Duration) {
        let delay = self.delay(conn) + wait;
        let label = self.label(conn);
        let at = self.started.elapsed();
        let Some(c) = self.conns.get(&conn) else { return };
        let due = Instant::now() + delay;
        if c.out.send(Out::Node(Box::new(node.clone()), due)).is_ok() {
            self.trace.push(at, Direction::ToClient, label, &node);
        }
    }

    fn delay(&self, conn: u64) -> Duration {
        let own = match self.conns.get(&conn).map(|c| &c.who) {
            Some(Who::Device(addr)) => self.device(*addr).and_then(|d| d.faults.delay()),
            _ => None,
        };
        own.or(self.faults.delay()).unwrap_or_default()
    }

    /// Lets everything already queued go out, then closes the WebSocket.
    pub fn close(&mut self, conn: u64) {
        self.detach(conn);
        if let Some(c) = self.conns.get_mut(&conn) {
            let _ = c.out.send(Out::Close);
            c.who = Who::Gone;
        }
    }

    /// The device at the other end is not connected any more.
    pub fn detach(&mut self, conn: u64) {
        let Some(Who::Device(addr)) = self.conns.get(&conn).map(|c| &c.who) else { return };
        let addr = *addr;
        if let Some(device) = self.device_mut(addr)
            && device.conn == Some(conn)
        {
            device.conn = None;
            device.active = false;
            device.available = false;
            device.held = None;
            device.subscriptions.clear();
            for queued in &mut device.queue {
                queued.sent = false;
            }
        }
    }

    /// Lets phones read what has arrived for them, until all is quiet.
    pub fn settle(&mut self) {
        while let Some((account, node)) = self.to_phones.pop_front() {
            match &mut self.accounts[account].phone.switched_off {
                Some(waiting) => waiting.push(node),
                None => self.phone_receives(account, &node),
            }
        }
    }
}

/// Every account has a profile name; whatsapp-rust waits for one for 10 s at each start.
fn default_name(digits: &str) -> String {
    format!("User {}", &digits[digits.len().saturating_sub(4)..])
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
