//! A handshake that is looked at: what the host showed, whether it was believed or not. Nothing is
//! sent after it.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConnection, DigitallySignedStruct, ProtocolVersion, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::facts::CertificateFacts;
use super::watched_config;
use crate::config::RegistryHost;
use crate::registry::error::SetupError;
use crate::sync::lock;

/// Most certificates of a chain that are kept.
const MAX_CHAIN: usize = 10;

/// What a handshake came to.
#[derive(Debug)]
pub(crate) struct Handshake {
    /// `TLS 1.3`, as soon as the host has chosen.
    pub(crate) version: Option<&'static str>,
    /// What the host chose of `h2` and `http/1.1`, if anything.
    pub(crate) protocol: Option<String>,
    /// The host's certificate first.
    pub(crate) chain: Vec<CertificateFacts>,
    /// Why it failed.
    pub(crate) outcome: Result<(), std::io::Error>,
}

/// Shakes hands over `stream` with `host`, called `name`, as a pull does: with the same authorities and
/// the same client certificate.
///
/// # Errors
/// [`SetupError`] when the settings of `host` can't be used.
pub(crate) fn shake_hands(
    host: &RegistryHost,
    name: ServerName<'static>,
    stream: &mut (impl Read + Write),
) -> Result<Handshake, SetupError> {
    let chain = Arc::new(Mutex::new(Vec::new()));
    let mut config =
        watched_config(host, |inner| Arc::new(Recorder { inner, chain: Arc::clone(&chain) }))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut connection = ClientConnection::new(Arc::new(config), name)
        .map_err(|error| SetupError(format!("TLS can't be set up: {error}")))?;
    let mut outcome = Ok(());
    while connection.is_handshaking() && outcome.is_ok() {
        outcome = connection.complete_io(stream).map(|_| ());
    }
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => Some("TLS 1.2"),
        Some(ProtocolVersion::TLSv1_3) => Some("TLS 1.3"),
        _ => None,
    };
    let protocol =
        connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    let chain = std::mem::take(&mut *lock(&chain));
    Ok(Handshake { version, protocol, chain, outcome })
}

/// A connection to `name`, a proxy on the way to `host`, by the settings of `host`: not yet used, and
/// with nothing noted.
///
/// # Errors
/// [`SetupError`] when those settings can't be used.
pub(crate) fn client_of(
    host: &RegistryHost,
    name: ServerName<'static>,
) -> Result<ClientConnection, SetupError> {
    let config = watched_config(host, |inner| inner)?;
    ClientConnection::new(Arc::new(config), name)
        .map_err(|error| SetupError(format!("TLS can't be set up: {error}")))
}

/// Notes what it is shown, and leaves the decision to `inner`.
#[derive(Debug)]
struct Recorder {
    inner: Arc<dyn ServerCertVerifier>,
    chain: Arc<Mutex<Vec<CertificateFacts>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = std::iter::once(end_entity).chain(intermediates).take(MAX_CHAIN);
        *lock(&self.chain) = shown.filter_map(CertificateFacts::read).collect();
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
