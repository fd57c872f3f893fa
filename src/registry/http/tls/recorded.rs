//! A handshake that is looked at: what the host showed, whether it was believed or not. Nothing is
//! sent after it.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use rustls::{ClientConnection, ProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName};

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
    let kept = Arc::clone(&chain);
    let witness =
        move |own: &CertificateDer<'_>, others: &[CertificateDer<'_>], _: &ServerName<'_>| {
            let shown = std::iter::once(own).chain(others).take(MAX_CHAIN);
            *lock(&kept) = shown.filter_map(CertificateFacts::read).collect();
        };
    let mut config = watched_config(host, Box::new(witness))?;
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
    let config = watched_config(host, Box::new(|_, _, _| {}))?;
    ClientConnection::new(Arc::new(config), name)
        .map_err(|error| SetupError(format!("TLS can't be set up: {error}")))
}
