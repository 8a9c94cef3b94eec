//! What went over the wire, for tests and for the reader of a failed one.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use wacore_binary::Node;

/// Entries kept; older ones are forgotten.
const KEEP: usize = 20_000;

/// Who sent a stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Client to server.
    FromClient,
    /// Server to client.
    ToClient,
    /// Not a stanza: a connection opened, closed, failed, or a fault took effect.
    Note,
}

/// One stanza that went over a connection.
#[derive(Debug, Clone)]
pub struct TraceEntry {
    /// Running number, from 1.
    pub seq: u64,
    /// Time since the world started.
    pub at: Duration,
    /// Who sent it.
    pub direction: Direction,
    /// `NUMBER:DEVICE` once logged in, `conn N` before that.
    pub device: String,
    /// The stanza as text, long content shortened.
    pub xml: String,
    /// The stanza itself; none for a note.
    pub node: Option<Node>,
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = match self.direction {
            Direction::FromClient => "->",
            Direction::ToClient => "<-",
            Direction::Note => "--",
        };
        let mut xml = self.xml.as_str();
        if let Some((cut, _)) = xml.char_indices().nth(600) {
            xml = &xml[..cut];
        }
        write!(f, "{:8.3}s {} {arrow} {xml}", self.at.as_secs_f64(), self.device)
    }
}

#[derive(Default)]
pub(crate) struct Trace {
    entries: VecDeque<TraceEntry>,
    last: u64,
}

impl Trace {
    pub fn push(&mut self, at: Duration, direction: Direction, device: String, node: &Node) {
        self.add(at, direction, device, crate::stanza::show(node), Some(node.clone()));
    }

    pub fn note(&mut self, at: Duration, device: String, text: String) {
        self.add(at, Direction::Note, device, text, None);
    }

    fn add(&mut self, at: Duration, direction: Direction, device: String, xml: String, node: Option<Node>) {
        self.last += 1;
        if self.entries.len() == KEEP {
            self.entries.pop_front();
        }
        self.entries.push_back(TraceEntry { seq: self.last, at, direction, device, xml, node });
    }

    pub fn after(&self, seq: u64) -> impl Iterator<Item = &TraceEntry> {
        self.entries.iter().filter(move |e| e.seq > seq)
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    pub fn tail(&self, n: usize) -> impl Iterator<Item = &TraceEntry> {
        self.entries.iter().skip(self.entries.len().saturating_sub(n))
    }
}
