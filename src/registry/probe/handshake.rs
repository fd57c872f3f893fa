//! TLS with a host, and what it showed: its chain as names and dates, whoever signed it.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::ServerName;
use serde_json::json;
use tokio::time::Instant;
use url::Url;

use super::connect::Place;
use super::report::{Step, StepKind};
use crate::config::RegistryHost;
use crate::failure::Notice;
use crate::registry::fault::{Fault, TlsFault};
use crate::registry::http::tls::facts::CertificateFacts;
use crate::registry::http::tls::recorded::{Handshake, shake_hands};
use crate::registry::place::SettingsPlace;

/// From when on the end of a certificate is worth a word.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Longest answer of a proxy to CONNECT, in bytes (8 KiB).
const MAX_CONNECT_ANSWER: usize = 8 * 1024;

/// What is shaken hands with.
pub(super) struct Peer {
    pub(super) settings: RegistryHost,
    pub(super) place: Place,
    /// Where to connect: the host's address or its proxy's.
    pub(super) address: SocketAddr,
    /// The proxy on the way, which speaks HTTP; its URL may hold a login for it.
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
        Err(error) => Err(fault_of(error)),
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

fn fault_of(error: &io::Error) -> Fault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(error) => Fault::Tls(TlsFault::read(error)),
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
    let Peer { settings, place, address, proxy, patience } = peer;
    let unreachable = |error: io::Error| Fault::Connect(error.to_string());
    let mut stream = TcpStream::connect_timeout(address, *patience).map_err(unreachable)?;
    stream.set_read_timeout(Some(*patience)).map_err(unreachable)?;
    stream.set_write_timeout(Some(*patience)).map_err(unreachable)?;
    if let Some(proxy) = proxy {
        tunnel(&mut stream, place, proxy)?;
    }
    let name = ServerName::try_from(place.name.clone())
        .map_err(|_| Fault::Connect(format!("{} is no name for TLS", place.name)))?;
    shake_hands(settings, name, &mut stream).map_err(|error| Fault::Connect(error.to_string()))
}

/// Has `proxy` connect to `place`.
fn tunnel(stream: &mut TcpStream, place: &Place, proxy: &Url) -> Result<(), Fault> {
    let broken = |error: io::Error| Fault::Broken(error.to_string());
    let host =
        if place.name.contains(':') { format!("[{}]", place.name) } else { place.name.clone() };
    let target = format!("{host}:{}", place.port);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if !proxy.username().is_empty() {
        let decoded = |text: &str| {
            let joined = format!("x={}", text.replace('+', "%2B"));
            let pair = url::form_urlencoded::parse(joined.as_bytes()).next();
            pair.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let login =
            format!("{}:{}", decoded(proxy.username()), decoded(proxy.password().unwrap_or("")));
        let login = base64::engine::general_purpose::STANDARD.encode(login);
        request.push_str(&format!("Proxy-Authorization: Basic {login}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).map_err(broken)?;
    let mut answer = Vec::new();
    let mut byte = [0];
    // Byte by byte: what follows the head belongs to the handshake.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_CONNECT_ANSWER || stream.read(&mut byte).map_err(broken)? == 0 {
            return Err(Fault::Connect("the proxy gives no answer to CONNECT".to_owned()));
        }
        answer.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&answer);
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status.starts_with('2') {
        return Ok(());
    }
    let line: String = head.lines().next().unwrap_or_default().chars().take(100).collect();
    Err(Fault::Connect(format!("it does not connect to {target}: {line}")))
}
