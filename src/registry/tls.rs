//! TLS settings of one host, as a rustls configuration.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::error::SetupError;
use crate::config::{ClientCertificate, RegistryHost};

/// Builds the configuration for `host`: the system's authorities and its `ca`, its client
/// certificate, and no verification where it says so. ALPN is left to the caller.
///
/// # Errors
/// [`SetupError`] naming the file that is missing or unusable.
pub(crate) fn client_config(host: &RegistryHost) -> Result<ClientConfig, SetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError(format!("TLS can't be set up: {error}")))?;
    let builder = if host.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
    } else {
        let named = named_authorities(host)?;
        let roots = Arc::new(roots(&named)?);
        let usual = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| SetupError(format!("certificates can't be verified: {error}")))?;
        let named = named.into_iter().map(|(_, certificate)| certificate).collect();
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier { usual, named }))
    };
    // TLS offers one certificate to a server; further pairs are for other servers in docker's
    // layout, and which one fits is known only to the server.
    match host.client.first() {
        None => Ok(builder.with_no_client_auth()),
        Some(pair) => {
            let (chain, key) = client_pair(pair)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                SetupError(format!("client certificate {}: {error}", pair.cert.display()))
            })
        }
    }
}

/// The system's authorities, read once. An empty store is no error here: a host may bring its own,
/// or not be verified, or speak plain HTTP.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "system certificate left out");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        roots
    })
}

/// The certificates of the host's `ca`, each with the file it is from.
fn named_authorities(
    host: &RegistryHost,
) -> Result<Vec<(&Path, CertificateDer<'static>)>, SetupError> {
    let mut named = Vec::new();
    for path in &host.ca {
        named.extend(certificates(path)?.into_iter().map(|certificate| (&**path, certificate)));
    }
    Ok(named)
}

fn roots(named: &[(&Path, CertificateDer<'static>)]) -> Result<RootCertStore, SetupError> {
    let mut roots = system_roots().clone();
    for (path, certificate) in named {
        roots
            .add(certificate.clone())
            .map_err(|error| SetupError(format!("CA file {}: {error}", path.display())))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| SetupError(format!("certificate file {}: {error}", path.display())))?;
    if certificates.is_empty() {
        return Err(SetupError(format!("{} holds no PEM certificate", path.display())));
    }
    Ok(certificates)
}

fn client_pair(
    pair: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), SetupError> {
    let key_file = pair.key.as_deref().unwrap_or(&pair.cert);
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| SetupError(format!("key file {}: {error}", key_file.display())))?;
    Ok((certificates(&pair.cert)?, key))
}

/// Verifies as usual, but takes the very certificate that `ca` names from a server too.
///
/// `openssl req -x509` makes certificates that are authorities and servers at once, and docker's
/// documentation tells admins to use it. Go accepts them, and so does containerd.
#[derive(Debug)]
struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // Found out after its time was found right, and before who signed it is looked for.
            Err(error) if is_authority(&error) => {
                if !self.named.contains(end_entity) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Whether the server's certificate is one of an authority.
fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Accepts whatever certificate the server shows, as the user asked for with `skip_verify`.
/// Handshake signatures are still checked: they cost nothing and catch broken servers.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
