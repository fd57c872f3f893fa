//! TLS settings of one host, as a rustls configuration.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::{ClientCertificate, RegistryHost};
use crate::registry::error::SetupError;

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
    let trusted = if host.skip_verify { None } else { Some(Trusted::by(host)?) };
    let verifier = Arc::new(Verifier { provider, trusted });
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

fn unusable_pair(pair: &ClientCertificate, error: &rustls::Error) -> SetupError {
    let key = pair.key.as_deref().unwrap_or(&pair.cert).display();
    let certificate = pair.cert.display();
    SetupError(match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("client certificate {certificate} does not belong to the key in {key}")
        }
        rustls::Error::General(reason) => format!("key file {key}: {reason}"),
        error => format!("client certificate {certificate} with the key in {key}: {error}"),
    })
}

/// Whose certificates are taken from a host: the system's authorities', those of its `ca`, and the very
/// certificates that `ca` names.
///
/// The last are for `openssl req -x509`, which makes certificates that are authorities and servers at
/// once, and which docker's documentation tells admins to use. Go accepts them, and so does
/// containerd.
#[derive(Debug)]
struct Trusted {
    /// Those of its `ca`.
    own: RootCertStore,
    named: Vec<CertificateDer<'static>>,
    /// The system's and its own, put together for the first certificate: who speaks plain HTTP never
    /// shows one, and reading the system's takes some milliseconds.
    all: OnceLock<RootCertStore>,
}

impl Trusted {
    fn by(host: &RegistryHost) -> Result<Self, SetupError> {
        let own = RootCertStore::empty();
        let mut trusted = Self { own, named: Vec::new(), all: OnceLock::new() };
        for path in &host.ca {
            for certificate in certificates(path)? {
                trusted
                    .own
                    .add(certificate.clone())
                    .map_err(|error| SetupError(format!("CA file {}: {error}", path.display())))?;
                trusted.named.push(certificate);
            }
        }
        Ok(trusted)
    }

    fn all(&self) -> &RootCertStore {
        self.all.get_or_init(|| {
            let mut all = system_roots().clone();
            all.extend(self.own.roots.iter().cloned());
            all
        })
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
        provider: &CryptoProvider,
    ) -> Result<(), rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = provider.signature_verification_algorithms.all;
        let signed = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            self.all(),
            intermediates,
            now,
            algorithms,
        );
        match signed {
            // Found out after its time was found right, and before who signed it is looked for.
            Err(error) if is_authority(&error) => {
                if !self.named.contains(end_entity) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
            }
            signed => signed?,
        }
        verify_server_name(&certificate, server_name)
    }
}

/// Whether the server's certificate is one of an authority.
fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Takes certificates that are trusted; without such a notion whatever a server shows, as the user
/// asked for with `skip_verify`. Handshake signatures are checked then too: they cost nothing and
/// catch broken servers.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trusted: Option<Trusted>,
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
        if let Some(trusted) = &self.trusted {
            trusted.verify(end_entity, intermediates, server_name, now, &self.provider)?;
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
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
