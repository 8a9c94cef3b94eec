//! Sockets: accepting, the handshake, and the two loops of a connection.

use std::sync::Weak;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use bytes::{Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Ws;
use wacore_binary::consts::WA_CONN_HEADER;
use wacore_binary::{Node, OwnedNodeRef, marshal, util::unpack_bytes};
use wacore_noise::NoiseCipher;
use wacore_noise::framing::{FrameDecoder, encode_frame};

use crate::faults::Fault;
use crate::noise::{Answer, Secured, client_hello};
use crate::page;
use crate::state::{Mode, Out};
use crate::world::Inner;

/// How long a closed connection waits for the client to close its half.
const LINGER: Duration = Duration::from_secs(1);

type Sink = SplitSink<WebSocketStream<TcpStream>, Ws>;
type Stream = SplitStream<WebSocketStream<TcpStream>>;

/// Accepts until the world ends.
pub(crate) async fn accept(listener: TcpListener, world: Weak<Inner>, mut stop: watch::Receiver<bool>) {
    loop {
        let socket = tokio::select! {
            _ = stop.changed() => return,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::debug!(%error, "accepting a connection failed");
                    continue;
                }
            },
        };
        let Some(inner) = world.upgrade() else { return };
        if inner.with(|state| state.refuse == usize::MAX && state.accepted().is_none()) {
            continue;
        }
        drop(inner);
        // Without this every small frame waits for the peer's delayed ACK.
        let _ = socket.set_nodelay(true);
        tokio::spawn(visitor(socket, world.clone(), stop.clone()));
    }
}

/// Somebody who wants the page, or a client.
async fn visitor(socket: TcpStream, world: Weak<Inner>, mut stop: watch::Receiver<bool>) {
    let wants_page = tokio::select! {
        _ = stop.changed() => return,
        wanted = page::is_wanted(&socket) => wanted,
    };
    let Some(inner) = world.upgrade() else { return };
    if wants_page {
        let (version, fault) = inner.with(|state| {
            state.lookups += 1;
            (state.version, state.faults.page().cloned())
        });
        drop(inner);
        tokio::select! {
            _ = stop.changed() => {}
            () = page::serve(socket, version, fault) => {}
        }
        return;
    }
    let Some(id) = inner.with(|state| state.accepted()) else { return };
    drop(inner);
    connection(id, socket, world, stop).await;
}

async fn connection(id: u64, socket: TcpStream, world: Weak<Inner>, mut stop: watch::Receiver<bool>) {
    let (out, outgoing) = mpsc::unbounded_channel();
    let (mode, mut watched) = watch::channel(Mode::Run);
    let frozen = {
        let Some(inner) = world.upgrade() else { return };
        inner.with(|state| {
            state.opened(id, out, mode.clone());
            state.faults.has(&Fault::HalfOpen)
        })
    };
    if frozen {
        mode.send_replace(Mode::Frozen);
    }
    let end = tokio::select! {
        _ = stop.changed() => Ok(()),
        end = serve(id, socket, world.clone(), outgoing, mode) => end,
        _ = watched.wait_for(|m| *m == Mode::Dead) => Ok(()),
    };
    if let Some(inner) = world.upgrade() {
        inner.with(|state| state.closed(id, end.err()));
    }
}

/// Waits while the connection is frozen.
async fn thawed(mode: &mut watch::Receiver<Mode>) {
    let _ = mode.wait_for(|m| *m != Mode::Frozen).await;
}

/// Ends a task together with the one that started it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(
    id: u64,
    socket: TcpStream,
    world: Weak<Inner>,
    outgoing: mpsc::UnboundedReceiver<Out>,
    mode: watch::Sender<Mode>,
) -> anyhow::Result<()> {
    let mut watched = mode.subscribe();
    thawed(&mut watched).await;
    let ws = tokio_tungstenite::accept_async(socket).await?;
    let (mut sink, stream) = ws.split();
    let mut frames = Frames::new(stream, watched.clone());
    let Some(secured) = handshake(id, &mut frames, &mut sink, &world).await? else { return Ok(()) };
    let Secured { how, client_static, payload, read, write } = *secured;
    world
        .upgrade()
        .ok_or_else(|| anyhow!("the world has ended"))?
        .with(|state| state.secured(id, how, client_static, &payload));
    let _writing = AbortOnDrop(tokio::spawn(write_loop(sink, write, outgoing, watched, mode)));
    read_loop(id, frames, read, &world).await
}

async fn handshake(
    id: u64,
    frames: &mut Frames,
    sink: &mut Sink,
    world: &Weak<Inner>,
) -> anyhow::Result<Option<Box<Secured>>> {
    let Some(hello) = frames.next().await? else { return Ok(None) };
    let answer = {
        let Some(inner) = world.upgrade() else { return Ok(None) };
        let (refuse_ik, hang_up) =
            inner.with(|s| (s.faults.has(&Fault::RefuseIk), s.faults.has(&Fault::HangUpInHandshake)));
        if hang_up {
            inner.with(|s| s.note(format!("conn {id}"), "hanging up in the handshake"));
            return Ok(None);
        }
        client_hello(&hello, &inner.authority, refuse_ik)?
    };
    match answer {
        Answer::Finished { reply, secured } => {
            send_frame(sink, &reply).await?;
            Ok(Some(secured))
        }
        Answer::Wait { reply, pending } => {
            send_frame(sink, &reply).await?;
            let Some(finish) = frames.next().await? else { return Ok(None) };
            Ok(Some(Box::new(pending.client_finish(&finish)?)))
        }
    }
}

async fn send_frame(sink: &mut Sink, payload: &[u8]) -> anyhow::Result<()> {
    sink.send(Ws::Binary(encode_frame(payload, None)?.into())).await?;
    Ok(())
}

async fn read_loop(id: u64, mut frames: Frames, cipher: NoiseCipher, world: &Weak<Inner>) -> anyhow::Result<()> {
    let mut counter = 0u32;
    while let Some(mut frame) = frames.next().await? {
        cipher.decrypt_in_place_with_counter(counter, &mut frame)?;
        counter += 1;
        let node = decode(frame)?;
        let Some(inner) = world.upgrade() else { return Ok(()) };
        inner.with(|state| state.received(id, node));
    }
    Ok(())
}

fn decode(frame: BytesMut) -> anyhow::Result<Node> {
    let bytes: Bytes = unpack_bytes(frame)?;
    Ok(OwnedNodeRef::new(bytes)?.to_owned_node())
}

async fn write_loop(
    mut sink: Sink,
    cipher: NoiseCipher,
    mut outgoing: mpsc::UnboundedReceiver<Out>,
    mut watched: watch::Receiver<Mode>,
    mode: watch::Sender<Mode>,
) {
    let mut counter = 0u32;
    while let Some(out) = outgoing.recv().await {
        thawed(&mut watched).await;
        let sent = match out {
            Out::Node(node, due) => {
                if due > Instant::now() {
                    tokio::time::sleep_until(due.into()).await;
                    thawed(&mut watched).await;
                }
                let n = counter;
                counter += 1;
                write_node(&mut sink, &cipher, n, &node).await
            }
            Out::Close => {
                let _ = sink.close().await;
                // The client closes its half in answer; ending earlier resets the connection and
                // takes what the client has not read yet with it.
                tokio::time::sleep(LINGER).await;
                break;
            }
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "writing a stanza failed");
            break;
        }
    }
    mode.send_replace(Mode::Dead);
}

async fn write_node(sink: &mut Sink, cipher: &NoiseCipher, counter: u32, node: &Node) -> anyhow::Result<()> {
    let sealed = cipher.encrypt_with_counter(counter, &marshal(node)?)?;
    send_frame(sink, &sealed).await
}

/// The frames of one connection, without the introduction before the first.
struct Frames {
    stream: Stream,
    decoder: FrameDecoder,
    intro: Option<Vec<u8>>,
    mode: watch::Receiver<Mode>,
}

impl Frames {
    fn new(stream: Stream, mode: watch::Receiver<Mode>) -> Self {
        Self { stream, decoder: FrameDecoder::new(), intro: Some(Vec::new()), mode }
    }

    /// The next frame; none when the client has closed the connection.
    async fn next(&mut self) -> anyhow::Result<Option<BytesMut>> {
        loop {
            if self.intro.is_none()
                && let Some(frame) = self.decoder.decode_frame()
            {
                return Ok(Some(frame));
            }
            thawed(&mut self.mode).await;
            let bytes = match self.stream.next().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(Ws::Binary(bytes))) => bytes,
                Some(Ok(Ws::Close(_))) => return Ok(None),
                Some(Ok(_)) => continue,
            };
            thawed(&mut self.mode).await;
            match &mut self.intro {
                None => self.decoder.feed(&bytes),
                Some(intro) => {
                    intro.extend_from_slice(&bytes);
                    if let Some(used) = introduction(intro)? {
                        let rest = intro.split_off(used);
                        self.decoder.feed(&rest);
                        self.intro = None;
                    }
                }
            }
        }
    }
}

/// Length of the introduction once it is complete: `ED 00 01 len3 routing`, if
/// routing was ever announced, then `WA 06 03`.
fn introduction(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let start = match bytes {
        [b'E', b'D', 0, 1, a, b, c, ..] => 7 + (usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c)),
        [b'E', b'D', ..] if bytes.len() < 7 => return Ok(None),
        _ => 0,
    };
    if bytes.len() < start + WA_CONN_HEADER.len() {
        return Ok(None);
    }
    if bytes[start..start + 4] != WA_CONN_HEADER {
        bail!("the connection does not start with WA 06 03");
    }
    Ok(Some(start + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn introduction_with_and_without_routing() {
        assert_eq!(introduction(b"WA\x06\x03rest").unwrap(), Some(4));
        assert_eq!(introduction(b"WA").unwrap(), None);
        assert_eq!(introduction(b"ED\x00\x01\x00\x00\x02xyWA\x06\x03").unwrap(), Some(13));
        assert_eq!(introduction(b"ED\x00\x01\x00\x00\x02xyWA").unwrap(), None);
        assert!(introduction(b"GET / HTTP/1.1").is_err());
    }
}
