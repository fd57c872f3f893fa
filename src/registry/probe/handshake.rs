//! TLS with a host, and what it showed: its chain as names and dates, whoever signed it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use serde_json::json;
use tokio::time::Instant;
use url::Url;

use super::connect::Place;
use super::report::{Step, StepKind};
use super::tunnel;
use crate::config::RegistryHost;
use crate::failure::Notice;
use crate::registry::error::SetupError;
use crate::registry::fault::{Fault, TlsFault};
use crate::registry::http::authority::authority;
use crate::registry::http::proxy::blamed;
use crate::registry::http::tls::facts::CertificateFacts;
use crate::registry::http::tls::recorded::{Handshake, client_of, shake_hands};
use crate::registry::place::SettingsPlace;

/// From when on the end of a certificate is worth a word.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What is shaken hands with.
pub(super) struct Peer {
    pub(super) settings: RegistryHost,
    pub(super) place: Place,
    /// Where to connect: the host's address or its proxy's.
    pub(super) address: SocketAddr,
    /// The proxy on the way; its URL may hold a login for it.
    pub(super) proxy: Option<Url>,
    pub(super) patience: Duration,
}

/// What it came to. A handshake that fails by the certificate shows it all the same.
pub(super) struct Shown {
    pub(super) step: Step,
    pub(super) remarks: Vec<Notice>,
    pub(super) outcome: Result<(), Fault>,
}

/// Shakes hands with `peer`, whose settings are changed at `settings`.
pub(super) async fn look(peer: Peer, settings: &SettingsPlace) -> Shown {
    let host = peer.settings.authority.clone();
    let started = Instant::now();
    let shaken = tokio::task::spawn_blocking(move || shake(&peer)).await;
    let took = Some(started.elapsed());
    let handshake = match shaken {
        Ok(Ok(handshake)) => handshake,
        Ok(Err(fault)) => return failed(took, fault),
        Err(_) => return failed(took, Fault::Tls(TlsFault::Other("the handshake ended".into()))),
    };
    let outcome = match &handshake.outcome {
        Ok(()) => Ok(()),
        Err(error) => Err(fault_of(error, !handshake.chain.is_empty())),
    };
    let mut lines = Vec::new();
    match &outcome {
        Ok(()) => lines.push(headline(&handshake)),
        Err(fault) => lines.push(fault.to_string()),
    }
    lines.extend(handshake.chain.iter().map(described));
    if let Err(Fault::Tls(TlsFault::UnknownIssuer)) = &outcome {
        lines.extend(missing(&handshake.chain, &host, settings));
    }
    let remarks = handshake.chain.iter().filter_map(|facts| ends_soon(facts, &host)).collect();
    let details = json!({
        "version": handshake.version,
        "protocol": handshake.protocol,
        "chain": handshake.chain,
        "missing_authority": outcome.is_err().then(|| missing_name(&handshake.chain)),
    });
    let text = lines.join("\n");
    let step = match &outcome {
        Ok(()) => Step::good(StepKind::Tls, took, text),
        Err(fault) => Step { text, ..Step::bad(StepKind::Tls, took, fault) },
    };
    Shown { step: step.with(details), remarks, outcome }
}

fn failed(took: Option<Duration>, fault: Fault) -> Shown {
    let step = Step::bad(StepKind::Tls, took, &fault);
    Shown { step, remarks: Vec::new(), outcome: Err(fault) }
}

fn headline(handshake: &Handshake) -> String {
    let version = handshake.version.unwrap_or("TLS");
    match handshake.protocol.as_deref() {
        Some("h2") => format!("{version}, HTTP/2"),
        Some("http/1.1") => format!("{version}, HTTP/1.1"),
        Some(_) | None => version.to_owned(),
    }
}

fn described(facts: &CertificateFacts) -> String {
    let date = |time: Option<Timestamp>| {
        time.map_or_else(|| "?".to_owned(), |time| time.to_string().chars().take(10).collect())
    };
    let (begins, ends) = (date(facts.not_before), date(facts.not_after));
    let names = match facts.names.as_slice() {
        [] => String::new(),
        names => format!(" for {}", names.join(", ")),
    };
    format!("{}{names}, {begins} to {ends}, signed by {}", facts.subject, facts.issuer)
}

/// Who would have to be known.
fn missing_name(chain: &[CertificateFacts]) -> Option<&str> {
    chain.last().map(|last| last.issuer.as_str())
}

fn missing(chain: &[CertificateFacts], host: &str, settings: &SettingsPlace) -> Option<String> {
    let name = missing_name(chain)?;
    Some(format!("the authority {name} is not known here: {}", settings.of_authority(host)))
}

fn ends_soon(facts: &CertificateFacts, host: &str) -> Option<Notice> {
    let ends = facts.not_after?;
    let left = ends.duration_since(Timestamp::now());
    if left.is_negative() || left > SOON {
        return None;
    }
    let days = left.as_hours() / 24;
    let message = format!("the certificate {} of {host} ends in {days} days", facts.subject);
    let hint = format!("renew it before {ends}");
    Some(Notice::new("certificate-ends-soon", message).with_hint(hint))
}

fn fault_of(error: &io::Error, has_shown: bool) -> Fault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(error) => Fault::Tls(TlsFault::read(error, has_shown)),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Fault::Tls(TlsFault::Other("the host hung up during the handshake".to_owned()))
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Fault::Tls(TlsFault::Other("the host is silent during the handshake".to_owned()))
            }
            io::ErrorKind::ConnectionReset => Fault::Broken("reset by the host".to_owned()),
            _ => Fault::Broken(error.to_string()),
        },
    }
}

fn shake(peer: &Peer) -> Result<Handshake, Fault> {
    let Peer { settings, address, proxy, patience, .. } = peer;
    let unreachable = |error: io::Error| Fault::Connect(error.to_string());
    let mut stream = TcpStream::connect_timeout(address, *patience).map_err(unreachable)?;
    stream.set_read_timeout(Some(*patience)).map_err(unreachable)?;
    stream.set_write_timeout(Some(*patience)).map_err(unreachable)?;
    match proxy {
        Some(proxy) if proxy.scheme() == "https" => {
            // What is wrong here is the proxy's, and none of the host's.
            let of_proxy = |fault| blamed(authority(proxy), &settings.authority, fault);
            let mut stream = secured(settings, proxy, stream).map_err(of_proxy)?;
            through(peer, &mut stream)
        }
        _ => through(peer, &mut stream),
    }
}

/// TLS with a proxy, before it is asked for anything: by the same authorities as with the host, as a
/// pull does.
fn secured(
    settings: &RegistryHost,
    proxy: &Url,
    mut stream: TcpStream,
) -> Result<StreamOwned<ClientConnection, TcpStream>, Fault> {
    let name = proxy.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let unusable = |error: SetupError| Fault::Connect(error.to_string());
    let mut connection = client_of(settings, server_name(name)?).map_err(unusable)?;
    while connection.is_handshaking() {
        let outcome = connection.complete_io(&mut stream);
        let has_shown = connection.peer_certificates().is_some();
        outcome.map_err(|error| fault_of(&error, has_shown))?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// The handshake with the host, over `stream`, which leads to it or to the proxy before it.
fn through(peer: &Peer, stream: &mut (impl io::Read + io::Write)) -> Result<Handshake, Fault> {
    let Peer { settings, place, proxy, .. } = peer;
    if let Some(proxy) = proxy {
        tunnel::open(stream, place, proxy)?;
    }
    shake_hands(settings, server_name(&place.name)?, stream)
        .map_err(|error| Fault::Connect(error.to_string()))
}

fn server_name(name: &str) -> Result<ServerName<'static>, Fault> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| Fault::Connect(format!("{name} is no name for TLS")))
}
