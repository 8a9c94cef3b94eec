//! A connection's life as the server sees it: opened, secured, logged in, active, gone.

use tokio::sync::{mpsc, watch};
use wacore_binary::Node;
use waproto::whatsapp::ClientPayload;

use crate::faults::{Fault, Kick};
use crate::noise::Handshake;
use crate::pairing::Registration;
use crate::stanza::{NodeExt, SERVER, el};
use crate::state::{Addr, Conn, Mode, Out, State, Who, unix_now};
use crate::trace::Direction;

/// Code, and for a ban why and how long.
type Refusal = (u16, Option<u32>, Option<std::time::Duration>);

impl State {
    /// A TCP connection for the WebSocket came in: its number, or none if it is refused.
    pub fn accepted(&mut self) -> Option<u64> {
        if self.refuse > 0 {
            self.refuse = if self.refuse == usize::MAX { usize::MAX } else { self.refuse - 1 };
            self.note("server".into(), "refused a connection");
            return None;
        }
        self.sockets += 1;
        let id = self.fresh();
        self.note(format!("conn {id}"), "opened");
        Some(id)
    }

    pub fn opened(&mut self, conn: u64, out: mpsc::UnboundedSender<Out>, mode: watch::Sender<Mode>) {
        self.conns.insert(conn, Conn { out, mode, who: Who::Handshaking });
    }

    pub fn closed(&mut self, conn: u64, error: Option<anyhow::Error>) {
        let label = self.label(conn);
        self.detach(conn);
        self.conns.remove(&conn);
        match error {
            Some(error) => self.note(label, format!("ended: {error:#}")),
            None => self.note(label, "ended"),
        }
    }

    /// The handshake is done: a registration or a login.
    pub fn secured(&mut self, conn: u64, how: Handshake, noise: [u8; 32], payload: &ClientPayload) {
        self.note(format!("conn {conn}"), format!("secured by {how:?}"));
        if let Some(data) = payload.device_pairing_data.as_option() {
            match Registration::new(noise, data) {
                Some(registration) => {
                    if let Some((reason, code, expire)) = self.refusal(self.faults.login_failure(), None, payload) {
                        self.refuse_login(conn, reason, code, expire);
                        return;
                    }
                    if let Some(c) = self.conns.get_mut(&conn) {
                        c.who = Who::Unpaired(Box::new(registration));
                    }
                    self.offer_pairing(conn);
                }
                None => self.refuse_login(conn, 400, None, None),
            }
            return;
        }
        let user = payload.username.unwrap_or_default().to_string();
        let device = u16::try_from(payload.device.unwrap_or_default()).unwrap_or_default();
        let addr = self.by_pn.get(&user).map(|account| Addr { account: *account, device });
        let Some(addr) = addr.filter(|a| self.device(*a).is_some_and(|d| d.noise == noise)) else {
            self.refuse_login(conn, 401, None, None);
            return;
        };
        let failure = self.device(addr).and_then(|d| d.faults.login_failure()).or(self.faults.login_failure());
        if let Some((reason, code, expire)) = self.refusal(failure, Some(addr), payload) {
            self.refuse_login(conn, reason, code, expire);
            return;
        }
        self.log_in(conn, addr, how);
    }

    /// Why a login is refused: by a fault, or because the client is too old.
    fn refusal(&self, fault: Option<Refusal>, addr: Option<Addr>, payload: &ClientPayload) -> Option<Refusal> {
        fault.or_else(|| self.too_old(addr, payload).then_some((405, None, None)))
    }

    fn refuse_login(&mut self, conn: u64, reason: u16, code: Option<u32>, expire: Option<std::time::Duration>) {
        let mut failure = el("failure").attr("reason", reason.to_string()).attr("location", "sim");
        if let Some(code) = code {
            failure = failure.attr("code", code.to_string());
        }
        if let Some(expire) = expire {
            failure = failure.attr("expire", expire.as_secs().to_string());
        }
        self.send(conn, failure.build());
        self.close(conn);
    }

    fn log_in(&mut self, conn: u64, addr: Addr, how: Handshake) {
        if let Some(old) = self.device(addr).and_then(|d| d.conn) {
            let replaced = el("conflict").attr("type", "replaced").build();
            self.send(old, el("stream:error").children([replaced]).build());
            self.close(old);
        }
        if let Some(c) = self.conns.get_mut(&conn) {
            c.who = Who::Device(addr);
        }
        let device = self.device_mut(addr).expect("looked up before");
        device.conn = Some(conn);
        device.sockets += 1;
        device.handshake = Some(how);
        let frozen = device.faults.has(&Fault::HalfOpen);
        let first = !std::mem::replace(&mut device.greeted, true);
        if frozen {
            self.freeze(conn);
            return;
        }
        let success = el("success")
            .attr("t", unix_now().to_string())
            .attr("lid", self.jid_of(addr, true))
            .attr("location", "sim")
            .attr("props", "1")
            .attr("abprops", "1")
            .attr("creation", (unix_now() - 86_400).to_string())
            .attr("companion_enc_static", "AAAA")
            .attr("display_name", self.accounts[addr.account].name.as_str())
            .build();
        self.send(conn, success);
        if self.settings.edge_routing {
            let info = el("routing_info").bytes(vec![8, 2, 8, 5]).build();
            let routing = el("edge_routing").children([info]).build();
            self.send(conn, el("ib").attr("from", SERVER).children([routing]).build());
        }
        if first {
            self.greet(addr);
        }
    }

    /// What the own phone sends a new companion: the app state keys and the (inline) history.
    fn greet(&mut self, addr: Addr) {
        self.publish_name(addr.account);
        let indexes: Vec<u32> = self.accounts[addr.account].devices.values().map(|d| d.key_index).collect();
        let share = self.accounts[addr.account].appstate.key_share(&indexes, unix_now() as i64);
        let history = crate::appstate::history(&self.accounts[addr.account].past, &[]);
        self.phone_sends_peer(addr, share);
        self.phone_sends_peer(addr, history);
    }

    /// The client is ready: everything queued goes out, then the end mark.
    pub fn activate(&mut self, conn: u64, addr: Addr) {
        let Some(device) = self.device_mut(addr) else { return };
        device.active = true;
        let waiting: Vec<Node> = device
            .queue
            .iter_mut()
            .filter(|q| !q.sent)
            .map(|q| {
                q.sent = true;
                q.node.clone()
            })
            .collect();
        let count = |tag: &str| waiting.iter().filter(|n| n.tag == tag).count().to_string();
        if !waiting.is_empty() {
            let preview = el("offline_preview")
                .attr("count", waiting.len().to_string())
                .attr("message", count("message"))
                .attr("receipt", count("receipt"))
                .attr("notification", count("notification"))
                .attr("appdata", "0")
                .attr("call", "0")
                .build();
            self.send(conn, el("ib").attr("from", SERVER).children([preview]).build());
        }
        let total = waiting.len();
        for mut node in waiting {
            node.set("offline", "0");
            self.send(conn, node);
        }
        let done = el("offline").attr("count", total.to_string()).build();
        self.send(conn, el("ib").attr("from", SERVER).children([done]).build());
    }

    /// A stanza came in.
    pub fn received(&mut self, conn: u64, node: Node) {
        let at = self.started.elapsed();
        let label = self.label(conn);
        self.trace.push(at, Direction::FromClient, label, &node);
        let Some(c) = self.conns.get(&conn) else { return };
        let addr = match &c.who {
            Who::Device(addr) => Some(*addr),
            Who::Unpaired(_) => None,
            Who::Handshaking | Who::Gone => return,
        };
        match (node.tag.as_ref(), addr) {
            ("iq", _) => self.iq(conn, addr, &node),
            ("message", Some(addr)) => self.message(addr, node),
            ("receipt", Some(addr)) => self.receipt(addr, &node),
            ("ack", Some(addr)) => self.acknowledged(addr, &node),
            ("presence", Some(addr)) => self.presence(addr, &node),
            ("chatstate", Some(addr)) => self.chatstate(addr, &node),
            // Session bookkeeping of the client, and the pull of offline batches: all were sent at once.
            _ => {}
        }
    }

    /// Ends a device's connection in some way.
    pub fn kick(&mut self, addr: Addr, how: Kick) {
        if how == Kick::DeviceRemoved {
            self.remove_device(addr);
            return;
        }
        let Some(conn) = self.device(addr).and_then(|d| d.conn) else { return };
        match how {
            Kick::Conflict => {
                let replaced = el("conflict").attr("type", "replaced").build();
                self.send(conn, el("stream:error").children([replaced]).build());
                self.close(conn);
            }
            Kick::StreamError(code) => {
                self.send(conn, el("stream:error").attr("code", code.to_string()).build());
                self.close(conn);
            }
            Kick::StreamEnd => {
                self.send(conn, el("xmlstreamend").build());
                self.close(conn);
            }
            Kick::Close => self.close(conn),
            Kick::Drop => {
                self.note(self.device_label(addr), "dropping the connection");
                self.detach(conn);
                if let Some(c) = self.conns.get(&conn) {
                    c.mode.send_replace(Mode::Dead);
                }
            }
            Kick::Freeze => self.freeze(conn),
            Kick::DeviceRemoved => {}
        }
    }

    fn freeze(&mut self, conn: u64) {
        let label = self.label(conn);
        self.note(label, "frozen: neither reading nor writing");
        if let Some(c) = self.conns.get(&conn) {
            c.mode.send_replace(Mode::Frozen);
        }
    }

    /// The phone's owner (or the device itself) removes a companion.
    pub fn remove_device(&mut self, addr: Addr) {
        if let Some(conn) = self.device(addr).and_then(|d| d.conn) {
            let removed = el("conflict").attr("type", "device_removed").build();
            self.send(conn, el("stream:error").attr("code", "401").children([removed]).build());
            self.close(conn);
        }
        if self.accounts[addr.account].devices.remove(&addr.device).is_some() {
            self.tell_watchers(addr, "remove");
        }
    }

    /// Puts a fault in force for one device or for everybody.
    pub fn set_fault(&mut self, device: Option<Addr>, fault: Fault) {
        self.note(device.map_or_else(|| "server".into(), |a| self.device_label(a)), format!("fault: {fault:?}"));
        let half_open = fault == Fault::HalfOpen;
        match device {
            None => self.faults.set(fault),
            Some(addr) => {
                if let Some(d) = self.device_mut(addr) {
                    d.faults.set(fault);
                }
            }
        }
        if half_open {
            let hit: Vec<u64> = match device {
                None => self.conns.keys().copied().collect(),
                Some(addr) => self.device(addr).and_then(|d| d.conn).into_iter().collect(),
            };
            for conn in hit {
                self.freeze(conn);
            }
        }
    }

    pub fn clear_faults(&mut self) {
        self.note("server".into(), "faults cleared");
        self.faults.clear();
        self.refuse = 0;
        let devices: Vec<Addr> = (0..self.accounts.len()).flat_map(|account| self.devices_of(account)).collect();
        for device in devices {
            self.clear_device_faults(device);
        }
    }

    /// Ends one device's faults; a message held back for a swap goes out.
    pub fn clear_device_faults(&mut self, addr: Addr) {
        let Some(device) = self.device_mut(addr) else { return };
        device.faults.clear();
        if let (Some(node), Some(conn)) = (device.held.take(), device.conn) {
            self.send(conn, node);
        }
    }
}
