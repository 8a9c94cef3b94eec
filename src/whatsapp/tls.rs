//! One TLS configuration for all accounts.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;

use super::OpenError;

/// Builds the configuration that sockets and media downloads share: the system's own certificate store decides.
///
/// A `demo` build accepts any certificate, because it dials this machine only and servers there make their own.
pub(super) fn client_config() -> Result<ClientConfig, OpenError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| OpenError::Tls(e.to_string()))?;
    verified(builder, provider)
}

type Unverified = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

#[cfg(not(feature = "demo"))]
fn verified(builder: Unverified, _provider: Arc<CryptoProvider>) -> Result<ClientConfig, OpenError> {
    use rustls_platform_verifier::BuilderVerifierExt;
    let builder = builder.with_platform_verifier().map_err(|e| OpenError::Tls(e.to_string()))?;
    Ok(builder.with_no_client_auth())
}

#[cfg(feature = "demo")]
fn verified(builder: Unverified, provider: Arc<CryptoProvider>) -> Result<ClientConfig, OpenError> {
    let anyone = Arc::new(demo::AcceptAnyone(provider));
    Ok(builder.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth())
}

#[cfg(feature = "demo")]
mod demo {
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    /// Takes every certificate; the holder of its key must still sign the handshake.
    #[derive(Debug)]
    pub(super) struct AcceptAnyone(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for AcceptAnyone {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp_response: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
