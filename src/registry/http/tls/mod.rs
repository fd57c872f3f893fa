//! TLS settings of one host, as a rustls configuration.

mod algorithms;
mod certificate;
pub(crate) mod facts;
mod files;
pub(crate) mod recorded;
mod shown;
mod trust;

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};

use crate::config::RegistryHost;
use crate::registry::error::SetupError;
use certificate::Certificate;
use files::{client_pair, unusable_pair};
pub(crate) use shown::Shown;
use trust::Trusted;

/// Builds the configuration for `host`: the system's authorities and its `ca`, its client
/// certificate, and no verification where it says so. ALPN is left to the caller. Who shows a
/// certificate is noted in `shown`.
///
/// # Errors
/// [`SetupError`] naming the file that is missing or unusable.
pub(crate) fn client_config(
    host: &RegistryHost,
    shown: &Shown,
) -> Result<ClientConfig, SetupError> {
    let shown = shown.clone();
    watched_config(host, Box::new(move |_, _, name| shown.note(name)))
}

/// The same, where `witness` sees what a host shows before it is decided on: its certificate, others, and
/// the name that it was asked by.
fn watched_config(host: &RegistryHost, witness: Box<Witness>) -> Result<ClientConfig, SetupError> {
    let provider = Arc::new(algorithms::provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError(format!("TLS can't be set up: {error}")))?;
    let trusted = if host.skip_verify { None } else { Some(Trusted::by(host)?) };
    let verifier = Arc::new(Verifier { provider, trusted, witness });
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    // TLS offers one certificate to a server; further pairs are for other servers in docker's
    // layout, and which one fits is known only to the server.
    match host.client.first() {
        None => Ok(builder.with_no_client_auth()),
        Some(pair) => {
            let (chain, key) = client_pair(pair)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable_pair(pair, &error))
        }
    }
}

/// Takes certificates that are trusted; without such a notion whatever a server shows, as the user
/// asked for with `skip_verify`, be it of X.509 version 1. Handshake signatures are checked then too:
/// they cost nothing and catch broken servers.
struct Verifier {
    provider: Arc<CryptoProvider>,
    trusted: Option<Trusted>,
    witness: Box<Witness>,
}

/// See [`watched_config`].
type Witness = dyn Fn(&CertificateDer<'_>, &[CertificateDer<'_>], &ServerName<'_>) + Send + Sync;

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("trusted", &self.trusted).finish_non_exhaustive()
    }
}

impl Verifier {
    /// The key of a certificate of any version, where nothing else of it counts.
    fn bare<'a>(
        &self,
        certificate: &'a CertificateDer<'_>,
    ) -> Result<Option<Certificate<'a>>, rustls::Error> {
        if self.trusted.is_some() {
            return Ok(None);
        }
        let read = Certificate::read(certificate).ok_or(rustls::CertificateError::BadEncoding)?;
        Ok(Some(read))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        (self.witness)(end_entity, intermediates, server_name);
        if let Some(trusted) = &self.trusted {
            trusted.verify(end_entity, intermediates, server_name, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let Some(bare) = self.bare(certificate)? else {
            return rustls::crypto::verify_tls12_signature(
                message,
                certificate,
                signed,
                algorithms,
            );
        };
        let of_scheme = algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let is_valid = of_scheme.is_some_and(|(_, algorithms)| {
            algorithms.iter().any(|algorithm| {
                certificate::verifies(*algorithm, bare.key(), message, signed.signature())
            })
        });
        if is_valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(rustls::CertificateError::BadSignature.into())
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match self.bare(certificate)? {
            None => {
                rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
            }
            Some(bare) => rustls::crypto::verify_tls13_signature_with_raw_key(
                message,
                &SubjectPublicKeyInfoDer::from(bare.key_info),
                signed,
                algorithms,
            ),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
