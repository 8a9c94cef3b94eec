//! The media host's side of a client: HTTPS that trusts one certificate.

use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};

/// HTTPS to the media host, trusting its certificate and nothing else.
pub struct Https(TlsConnector);

impl Https {
    /// The certificate as PEM.
    pub fn trusting(pem: &str) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self(TlsConnector::from(Arc::new(config)))
    }
}

#[whatsapp_rust::async_trait]
impl HttpClient for Https {
    async fn execute(&self, request: HttpRequest) -> whatsapp_rust::anyhow::Result<HttpResponse> {
        let uri: hyper::Uri = request.url.parse()?;
        let authority = uri.authority().expect("the library asks absolute URLs").clone();
        let stream = TcpStream::connect(authority.as_str()).await?;
        let stream = self.0.connect(ServerName::try_from(authority.host().to_owned())?, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut built = hyper::Request::builder()
            .method(request.method.as_str())
            .uri(uri.path_and_query().expect("an absolute URL has a path").as_str())
            .header("host", authority.as_str());
        for (name, value) in &request.headers {
            built = built.header(name, value);
        }
        let response = sender.send_request(built.body(Full::new(request.body.unwrap_or_default()))?).await?;
        let status_code = response.status().as_u16();
        Ok(HttpResponse { status_code, body: response.into_body().collect().await?.to_bytes().to_vec() })
    }
}
