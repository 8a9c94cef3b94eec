//! The open WebSocket as the library's transport.
//!
//! The library's own waits without limit for a dead peer to take the close frame, and the next connection waits with it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tokio_websockets::{CloseCode, Message, WebSocketStream};
use whatsapp_rust::anyhow::{self, anyhow};
use whatsapp_rust::async_channel::{self, Receiver, Sender};
use whatsapp_rust::transport::{DisconnectReason, Transport, TransportEvent};

/// A reader that does not keep up holds back the socket.
const BACKLOG: usize = 64;
/// A peer that takes no close frame does not hold up the next connection.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

struct Socket<S> {
    sink: Mutex<Option<SplitSink<WebSocketStream<S>, Message>>>,
    closing: watch::Sender<bool>,
}

/// Starts reading; what comes in goes to the receiver.
pub(super) fn start<S>(socket: WebSocketStream<S>) -> (Arc<dyn Transport>, Receiver<TransportEvent>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, stream) = socket.split();
    let (events, receiver) = async_channel::bounded(BACKLOG);
    let (closing, closed) = watch::channel(false);
    // There is room: the channel is new.
    let _ = events.try_send(TransportEvent::Connected);
    tokio::spawn(pump(stream, events, closed));
    (Arc::new(Socket { sink: Mutex::new(Some(sink)), closing }), receiver)
}

#[whatsapp_rust::async_trait]
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for Socket<S> {
    async fn send(&self, data: Bytes) -> Result<(), anyhow::Error> {
        let mut sink = self.sink.lock().await;
        let open = sink.as_mut().ok_or_else(|| anyhow!("the socket is closed"))?;
        open.send(Message::binary(data)).await.map_err(|error| anyhow!("writing to the socket failed: {error}"))
    }

    async fn disconnect(&self) {
        self.closing.send_replace(true);
        let hang_up = async {
            if let Some(mut sink) = self.sink.lock().await.take() {
                let goodbye = Message::close(Some(CloseCode::NORMAL_CLOSURE), "");
                // The peer may be gone already; there is nobody to tell then.
                let _ = sink.send(goodbye).await;
            }
        };
        if timeout(CLOSE_LIMIT, hang_up).await.is_err() {
            tracing::debug!("the peer did not take the close frame");
        }
    }
}

async fn pump<S>(
    mut stream: SplitStream<WebSocketStream<S>>,
    events: Sender<TransportEvent>,
    mut closing: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reason = loop {
        let next = tokio::select! {
            next = stream.next() => next,
            _ = closing.wait_for(|closing| *closing) => break DisconnectReason::Unknown,
        };
        match next {
            Some(Ok(message)) if message.is_binary() => {
                let data = TransportEvent::DataReceived(Bytes::from(message.into_payload()));
                let sent = tokio::select! {
                    sent = events.send(data) => sent.is_ok(),
                    _ = closing.wait_for(|closing| *closing) => false,
                };
                if !sent {
                    break DisconnectReason::Unknown;
                }
            }
            Some(Ok(message)) if message.is_close() => {
                let (code, reason) = match message.as_close() {
                    Some((code, text)) => (Some(u16::from(code)), text.to_owned()),
                    None => (None, String::new()),
                };
                // 1005 stands for "no code given".
                break DisconnectReason::ServerClose { code: code.filter(|code| *code != 1005), reason };
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => break DisconnectReason::ReadError(error.to_string()),
            None => break DisconnectReason::StreamEnded,
        }
    };
    // Nobody reads any more: then nobody has to be told.
    let _ = events.send(TransportEvent::Disconnected(reason)).await;
}
