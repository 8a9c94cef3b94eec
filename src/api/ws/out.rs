//! The way out of a connection: a bounded queue, a writer that gives a client up that does not read, and a close that overtakes both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_ws::{CloseReason, Session};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::api::protocol::{MAX_BUFFERED, close};

/// Frames that wait for a slow client.
const QUEUE: usize = 256;
/// The reason with which a client is closed that does not read.
const SLOW: &str = "slow consumer";

/// One end of the queue to a client; all clones lead to the same one.
#[derive(Clone)]
pub(super) struct Out {
    queue: mpsc::Sender<Frame>,
    bytes: Arc<AtomicUsize>,
    closing: watch::Sender<Option<(u16, String)>>,
}

pub(super) enum Frame {
    Text(String),
    Ping,
    Pong(Bytes),
    Close(u16, String),
}

/// The writer's end of the queue.
pub(super) struct Writer {
    frames: mpsc::Receiver<Frame>,
    bytes: Arc<AtomicUsize>,
    closing: watch::Receiver<Option<(u16, String)>>,
    patience: Duration,
}

impl Out {
    /// A queue and its writer, which waits `patience` for the client to take a frame.
    pub fn new(patience: Duration) -> (Self, Writer) {
        let (queue, frames) = mpsc::channel(QUEUE);
        let (closing, overtaken) = watch::channel(None);
        let bytes = Arc::new(AtomicUsize::new(0));
        let writer = Writer { frames, bytes: Arc::clone(&bytes), closing: overtaken, patience };
        (Self { queue, bytes, closing }, writer)
    }

    /// True when nothing more may be kept for the client.
    fn is_full(&self, length: usize) -> bool {
        self.bytes.load(Ordering::Relaxed) + length > MAX_BUFFERED
    }

    /// Waits for room: answers slow the asking client down, nobody else.
    pub async fn answer(&self, text: String) {
        if self.is_full(text.len()) {
            return self.close_now(close::POLICY, SLOW);
        }
        self.bytes.fetch_add(text.len(), Ordering::Relaxed);
        // An error means that the connection is gone.
        drop(self.queue.send(Frame::Text(text)).await);
    }

    /// Never waits: a client that does not read is closed, unless the event may be dropped.
    pub fn push(&self, text: String, droppable: bool) {
        let length = text.len();
        let sent = !self.is_full(length) && {
            self.bytes.fetch_add(length, Ordering::Relaxed);
            let sent = self.queue.try_send(Frame::Text(text));
            if sent.is_err() {
                self.bytes.fetch_sub(length, Ordering::Relaxed);
            }
            sent.is_ok()
        };
        if !sent && !droppable {
            self.close_now(close::POLICY, SLOW);
        }
    }

    /// Pings; not when there is no room: the client has traffic enough.
    pub fn ping(&self) {
        drop(self.queue.try_send(Frame::Ping));
    }

    /// Answers a ping. A client that pings and does not read is closed.
    pub fn pong(&self, body: Bytes) {
        if matches!(self.queue.try_send(Frame::Pong(body)), Err(mpsc::error::TrySendError::Full(_))) {
            self.close_now(close::POLICY, SLOW);
        }
    }

    /// Closes after what is queued; at once when there is no room to queue anything.
    pub fn close(&self, code: u16, reason: &str) {
        if self.queue.try_send(Frame::Close(code, reason.to_owned())).is_err() {
            self.close_now(code, reason);
        }
    }

    /// Closes at once.
    pub fn close_now(&self, code: u16, reason: &str) {
        self.closing.send_if_modified(|c| c.is_none() && c.insert((code, reason.to_owned())).0 == code);
    }

    /// Tells when the connection is closed at once.
    pub fn closing(&self) -> watch::Receiver<Option<(u16, String)>> {
        self.closing.subscribe()
    }
}

impl Writer {
    /// Writes what is queued until the queue ends, a close is asked for, or the client takes nothing more.
    pub async fn run(self, mut session: Session) {
        let Self { mut frames, bytes, mut closing, patience } = self;
        let mut last = None;
        while let Some(frame) = frames.recv().await {
            let sent = async {
                match frame {
                    Frame::Text(text) => {
                        bytes.fetch_sub(text.len(), Ordering::Relaxed);
                        session.text(text).await.is_ok()
                    }
                    Frame::Ping => session.ping(b"").await.is_ok(),
                    Frame::Pong(body) => session.pong(&body).await.is_ok(),
                    Frame::Close(code, reason) => {
                        last = Some((code, reason));
                        false
                    }
                }
            };
            let overtaken = async {
                // The sender goes away with the connection's other half; what is queued is still to be written.
                if closing.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let go_on = tokio::select! {
                go_on = sent => go_on,
                () = overtaken => {
                    last = closing.borrow().clone();
                    false
                }
                () = tokio::time::sleep(patience) => {
                    last = Some((close::POLICY, SLOW.to_owned()));
                    false
                }
            };
            if !go_on {
                break;
            }
        }
        // Nothing is queued any more, and nobody waits for room.
        drop(frames);
        // A close that overtook an empty queue ended the loop with the queue.
        let last = last.or_else(|| closing.borrow().clone());
        let reason = last.map(|(code, reason)| CloseReason { code: code.into(), description: Some(cut(&reason)) });
        // A client that reads nothing does not take the close frame either; it is hung up then.
        drop(tokio::time::timeout(Duration::from_secs(1), session.close(reason)).await);
    }
}

/// A close reason has room for 123 bytes.
fn cut(reason: &str) -> String {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}
