//! The library's HTTP client (media up- and downloads) over the shared reqwest client.

use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use rustls::ClientConfig;
use tokio::runtime::Handle;
use whatsapp_rust::anyhow::{Result, anyhow, bail};
use whatsapp_rust::wacore::net::{HttpClient, HttpRequest, HttpResponse, StreamingHttpResponse, UploadBody};

use super::OpenError;
use super::endpoint::Endpoint;

/// A media host that does not answer is given up.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// The same for a transfer that stands still.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// WhatsApp's own limit for documents is 2 GB; nothing that large is ever taken into memory.
const BODY_CAP: usize = 128 * 1024 * 1024;

/// Cheap to clone; all clones share one connection pool.
#[derive(Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    endpoint: Endpoint,
    handle: Handle,
}

impl Http {
    pub(super) fn new(mut tls: ClientConfig, endpoint: Endpoint, handle: Handle) -> Result<Self, OpenError> {
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(STALL_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|e| OpenError::Tls(e.to_string()))?;
        Ok(Self { client, endpoint, handle })
    }

    /// The answer to a GET with these headers, before its body was read.
    pub(super) async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<reqwest::Response> {
        let mut builder = self.client.get(self.allowed(url)?);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.send().await.map_err(|error| anyhow!("{}", innermost(&error.without_url())))
    }

    /// The address, if this build may dial its host.
    fn allowed(&self, url: &str) -> Result<reqwest::Url> {
        let url = reqwest::Url::parse(url)?;
        let host = url.host_str().unwrap_or_default();
        if !self.endpoint.may_dial(host) {
            bail!("this build dials this machine only and refuses {host}");
        }
        Ok(url)
    }

    fn request(&self, request: &HttpRequest) -> Result<reqwest::RequestBuilder> {
        let url = self.allowed(&request.url)?;
        let mut builder = self.client.request(request.method.parse()?, url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        Ok(builder)
    }
}

/// The cause at the bottom: what the outer errors say is the same for all.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

async fn read_capped(response: reqwest::Response) -> Result<HttpResponse> {
    let status_code = response.status().as_u16();
    if response.content_length().is_some_and(|n| n > BODY_CAP as u64) {
        bail!("the answer is larger than {BODY_CAP} bytes");
    }
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if body.len() + chunk.len() > BODY_CAP {
            bail!("the answer is larger than {BODY_CAP} bytes");
        }
        body.extend_from_slice(&chunk);
    }
    // A completed exchange is a result whatever its status: the library renews expired media by it.
    Ok(HttpResponse { status_code, body })
}

#[whatsapp_rust::async_trait]
impl HttpClient for Http {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse> {
        let mut builder = self.request(&request)?;
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        read_capped(builder.send().await?).await
    }

    fn supports_streaming(&self) -> bool {
        true
    }

    // Called on a blocking thread, where waiting for the runtime is allowed.
    fn execute_streaming(&self, request: HttpRequest) -> Result<StreamingHttpResponse> {
        let mut builder = self.request(&request)?;
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        let response = self.handle.block_on(builder.send())?;
        let status_code = response.status().as_u16();
        let body = Download { response, pending: Bytes::new(), handle: self.handle.clone() };
        Ok(StreamingHttpResponse { status_code, body: Box::new(body) })
    }

    fn supports_upload_streaming(&self) -> bool {
        true
    }

    fn execute_upload(&self, request: HttpRequest, body: UploadBody, content_length: u64) -> Result<HttpResponse> {
        let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(4);
        let builder = self.request(&request)?.header(reqwest::header::CONTENT_LENGTH, content_length).body(
            reqwest::Body::wrap_stream(futures::stream::unfold(receiver, |mut receiver| async move {
                receiver.recv().await.map(|chunk| (chunk, receiver))
            })),
        );
        let exchange = self.handle.spawn(async move {
            let response = builder.send().await?;
            read_capped(response).await
        });
        pump(body, &sender);
        drop(sender);
        self.handle.block_on(exchange).map_err(|e| anyhow!("the upload task failed: {e}"))?
    }
}

/// Feeds a reader into the upload until it ends or nobody listens any more.
fn pump(mut body: UploadBody, sender: &tokio::sync::mpsc::Sender<io::Result<Bytes>>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let piece = match body.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => Ok(Bytes::copy_from_slice(&buffer[..n])),
            Err(e) => Err(e),
        };
        let failed = piece.is_err();
        if sender.blocking_send(piece).is_err() || failed {
            return;
        }
    }
}

/// A download read from a blocking thread.
struct Download {
    response: reqwest::Response,
    pending: Bytes,
    handle: Handle,
}

impl Read for Download {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.pending.is_empty() {
            match self.handle.block_on(self.response.chunk()).map_err(io::Error::other)? {
                Some(chunk) => self.pending = chunk,
                None => return Ok(0),
            }
        }
        let n = out.len().min(self.pending.len());
        out[..n].copy_from_slice(&self.pending.split_to(n));
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use whatsapp_rust::anyhow;

    use super::*;

    #[tokio::test]
    async fn a_loopback_endpoint_never_fetches_media_from_outside() -> Result<()> {
        let endpoint = Endpoint::loopback("127.0.0.1:1".parse()?);
        let http = Http::new(super::super::tls::client_config()?, endpoint, Handle::current())?;
        let refused = http.execute(HttpRequest::get("https://mmg.whatsapp.net/x")).await;
        assert!(refused.is_err_and(|e| e.to_string().contains("mmg.whatsapp.net")));
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_self_made_certificate_counts_in_demo_builds_only() -> anyhow::Result<()> {
        let world = wa_simulator::World::start().await?;
        let endpoint = Endpoint::loopback("127.0.0.1:1".parse()?);
        let http = Http::new(super::super::tls::client_config()?, endpoint, Handle::current())?;
        let url = format!("{}/nothing-here", world.media_url());
        let whole = http.execute(HttpRequest::get(&url)).await;
        assert_eq!(whole.is_ok(), cfg!(feature = "demo"), "{:?}", whole.err());
        let stream = move || {
            let mut answer = http.execute_streaming(HttpRequest::get(&url))?;
            let mut body = Vec::new();
            answer.body.read_to_end(&mut body)?;
            anyhow::Ok((answer.status_code, body))
        };
        let streamed = tokio::task::spawn_blocking(stream).await?;
        assert_eq!(streamed.is_ok(), cfg!(feature = "demo"));
        if let (Ok(whole), Ok(streamed)) = (whole, streamed) {
            assert!(whole.status_code >= 400, "a refusal is an answer, not an error");
            assert_eq!(streamed, (whole.status_code, whole.body));
        }
        Ok(())
    }
}
