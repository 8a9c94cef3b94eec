//! A short connection to a running gateway: connect, call, leave.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::output::Failure;
use super::place::Reach;
use crate::api::protocol::{ErrorShape, MAX_PROTOCOL, MIN_PROTOCOL};

/// How long a call waits when nothing else is said.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("{why} ({url})")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// It is there and takes too long.
    #[error("the gateway did not answer in time ({url})")]
    Late {
        /// Where.
        url: String,
    },
    /// The gateway refused.
    #[error("{}", .0.message)]
    Refused(ErrorShape),
}

impl ClientError {
    /// True when no gateway answers, as opposed to one that refuses.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Late { .. })
    }

    /// The details' code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(error) => error.details.as_ref()?["code"].as_str(),
            Self::Unreachable { .. } | Self::Late { .. } => None,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hint = match (&error, error.code()) {
            (ClientError::Unreachable { .. }, _) => {
                Some("is the gateway running? start it with: verso gateway; or name another with --url")
            }
            (ClientError::Late { .. }, _) => {
                Some("it may still do what was asked for; raise --timeout where the command has it")
            }
            (_, Some("AUTH_TOKEN_MISSING" | "AUTH_TOKEN_MISMATCH")) => {
                Some("run the command as the user of the gateway and with its VERSO_STATE_DIR, or pass --token")
            }
            (_, Some("AUTH_RATE_LIMITED")) => Some(
                "some program at this address keeps trying wrong tokens; stop it, check this command's token, and try again",
            ),
            _ => None,
        };
        let message = match &error {
            ClientError::Unreachable { .. } => format!("Gateway not reachable: {error}"),
            ClientError::Late { .. } | ClientError::Refused(_) => error.to_string(),
        };
        Self { hint: hint.map(str::to_owned), ..Self::new(message) }
    }
}

/// Pause before another attempt at a crowded gateway.
const RETRY: Duration = Duration::from_millis(300);

/// An attempt to connect that brought nothing.
enum Attempt {
    /// The gateway has too much to do at its door; it may work in a moment.
    Crowded(ClientError),
    /// Anything else.
    Failed(ClientError),
}

impl From<ClientError> for Attempt {
    fn from(error: ClientError) -> Self {
        Self::Failed(error)
    }
}

/// A connection that has been let in.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
    url: String,
    next: u64,
    /// The answer to `connect`.
    pub hello: Value,
}

impl Client {
    /// Connects and shows the token. Where the gateway has too much to do with others at the door, it is tried again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn connect(reach: &Reach, limit: Duration) -> Result<Self, ClientError> {
        let deadline = Instant::now() + limit;
        loop {
            match Self::attempt(reach, limit, deadline).await {
                Err(Attempt::Crowded(_)) if Instant::now() + RETRY < deadline => tokio::time::sleep(RETRY).await,
                Err(Attempt::Crowded(error) | Attempt::Failed(error)) => return Err(error),
                Ok(client) => return Ok(client),
            }
        }
    }

    async fn attempt(reach: &Reach, limit: Duration, deadline: Instant) -> Result<Self, Attempt> {
        let unreachable = |why: String| ClientError::Unreachable { url: reach.url.clone(), why };
        let opened = timeout_at(deadline, tokio_tungstenite::connect_async(&reach.url)).await;
        let (socket, _) = match opened {
            Err(_) => return Err(unreachable(format!("no answer within {} s", limit.as_secs_f32())).into()),
            Ok(Err(error)) => return Err(refused_upgrade(&error).unwrap_or_else(|| unreachable(plain(&error)).into())),
            Ok(Ok(opened)) => opened,
        };
        let mut client = Self { socket, url: reach.url.clone(), next: 0, hello: Value::Null };
        loop {
            let frame = client.frame(deadline).await?;
            if frame["event"] == "connect.challenge" {
                break;
            }
        }
        let mut params = json!({
            "minProtocol": MIN_PROTOCOL, "maxProtocol": MAX_PROTOCOL, "role": "operator", "scopes": ["operator.admin"], "caps": [],
            "client": {"id": "cli", "version": env!("CARGO_PKG_VERSION"), "platform": std::env::consts::OS, "mode": "cli"},
        });
        if let Some(token) = &reach.token {
            params["auth"] = json!({"token": token});
        }
        client.hello = client.request("connect", params, deadline).await?;
        Ok(client)
    }

    /// Calls a method.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call(&mut self, method: &str, params: Value, limit: Duration) -> Result<Value, ClientError> {
        self.request(method, params, Instant::now() + limit).await
    }

    async fn request(&mut self, method: &str, params: Value, deadline: Instant) -> Result<Value, ClientError> {
        self.next += 1;
        let id = self.next.to_string();
        let frame = json!({"type": "req", "id": id, "method": method, "params": params}).to_string();
        let sent = timeout_at(deadline, self.socket.send(Message::text(frame))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return Err(self.gone("the connection was lost"));
        }
        loop {
            let mut answer = self.frame(deadline).await?;
            if answer["type"] != "res" || answer["id"] != id.as_str() {
                continue;
            }
            if answer["ok"] == true {
                return Ok(answer["payload"].take());
            }
            let error = serde_json::from_value(answer["error"].take());
            return Err(ClientError::Refused(
                error.unwrap_or_else(|_| ErrorShape::unavailable("the gateway gave no reason")),
            ));
        }
    }

    async fn frame(&mut self, deadline: Instant) -> Result<Value, ClientError> {
        loop {
            match timeout_at(deadline, self.socket.next()).await {
                Err(_) => return Err(ClientError::Late { url: self.url.clone() }),
                Ok(Some(Ok(Message::Text(text)))) => {
                    if let Ok(frame) = serde_json::from_str(&text) {
                        return Ok(frame);
                    }
                }
                Ok(Some(Ok(Message::Close(frame)))) => {
                    let reason = frame.map(|f| f.reason.to_string()).filter(|r| !r.is_empty());
                    return Err(self.gone(&reason.unwrap_or_else(|| "the gateway closed the connection".into())));
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(self.gone(&plain(&error))),
                Ok(None) => return Err(self.gone("the gateway closed the connection")),
            }
        }
    }

    fn gone(&self, why: &str) -> ClientError {
        ClientError::Unreachable { url: self.url.clone(), why: why.to_owned() }
    }

    /// Leaves politely.
    pub async fn close(mut self) {
        drop(tokio::time::timeout(Duration::from_millis(500), self.socket.close(None)).await);
    }
}

/// The sentence with which a gateway refuses the upgrade.
fn refused_upgrade(error: &tungstenite::Error) -> Option<Attempt> {
    let tungstenite::Error::Http(response) = error else { return None };
    let body: Value = serde_json::from_slice(response.body().as_deref()?).ok()?;
    let refused = ClientError::Refused(ErrorShape::invalid(body["error"].as_str()?));
    Some(match response.status().as_u16() {
        429 => Attempt::Crowded(refused),
        _ => Attempt::Failed(refused),
    })
}

fn plain(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
        tungstenite::Error::Io(e) => e.to_string(),
        tungstenite::Error::Http(response) => {
            format!("something else answers there: HTTP {}", response.status().as_u16())
        }
        other => other.to_string(),
    }
}
