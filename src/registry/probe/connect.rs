//! Names, addresses, connections: the way to a host, or to the proxy before it.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::report::{Step, StepKind};
use crate::registry::fault::Fault;
use crate::registry::policy::Policy;

/// Most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 16;

/// Where to connect to.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The name, without port and brackets.
    pub(super) name: String,
    /// The port.
    pub(super) port: u16,
}

/// The addresses of `place`, as the clients find them: by hand where `policy` says so, else by the
/// system.
pub(super) async fn look_up(
    place: &Place,
    policy: &Policy,
) -> (Step, Result<Vec<SocketAddr>, Fault>) {
    let by_hand = policy.resolve.iter().find(|entry| entry.host.eq_ignore_ascii_case(&place.name));
    if let Some(entry) = by_hand {
        let address = SocketAddr::new(entry.address, entry.port.unwrap_or(place.port));
        let text = format!("{address}, from --resolve");
        let step = Step::good(StepKind::Dns, None, text).with(json!({"addresses": [address]}));
        return (step, Ok(vec![address]));
    }
    let started = Instant::now();
    let found =
        match timeout(policy.stall_timeout, lookup_host((place.name.as_str(), place.port))).await {
            Err(_) => Err(Fault::NameNotFound {
                reason: format!("no answer within {:?}", policy.stall_timeout),
                temporary: true,
            }),
            Ok(Err(error)) => Err(not_found(&error)),
            Ok(Ok(addresses)) => {
                let mut found: Vec<SocketAddr> = Vec::new();
                for address in addresses.take(MAX_ADDRESSES) {
                    if !found.contains(&address) {
                        found.push(address);
                    }
                }
                Ok(found)
            }
        };
    let took = Some(started.elapsed());
    let step = match &found {
        Ok(addresses) => {
            let shown: Vec<String> = addresses.iter().map(|found| found.ip().to_string()).collect();
            let text = format!("{} is {}", place.name, shown.join(", "));
            Step::good(StepKind::Dns, took, text).with(json!({"addresses": shown}))
        }
        Err(fault) => Step::bad(StepKind::Dns, took, fault).with(json!({"name": place.name})),
    };
    (step, found)
}

pub(super) fn not_found(error: &std::io::Error) -> Fault {
    let text = error.to_string();
    let reason = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    Fault::NameNotFound { reason: reason.to_owned(), temporary: reason.contains("emporary") }
}

/// A connection to each of `addresses`, all at once; the first that works is of use. A pull tries them
/// one after the other, within `patience` in all.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    patience: Duration,
) -> (Step, Result<SocketAddr, Fault>) {
    let started = Instant::now();
    let tries = addresses.iter().map(|address| async move {
        let begun = Instant::now();
        let outcome = match timeout(patience, TcpStream::connect(address)).await {
            Err(_) => Err(Fault::ConnectTimeout(patience)),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Err(Fault::Refused)
            }
            Ok(Err(error)) => Err(Fault::Connect(error.to_string())),
            Ok(Ok(_)) => Ok(()),
        };
        (*address, begun.elapsed(), outcome)
    });
    let tried = join_all(tries).await;
    let took = Some(started.elapsed());
    let lines: Vec<String> = tried
        .iter()
        .map(|(address, took, outcome)| match outcome {
            Ok(()) => format!("{address} connected in {:.1} ms", took.as_secs_f64() * 1e3),
            Err(fault) => format!("{address}: {fault}"),
        })
        .collect();
    let details = json!({"addresses": tried.iter().map(|(address, took, outcome)| json!({
        "address": address,
        "ok": outcome.is_ok(),
        "ms": (took.as_secs_f64() * 1e4).round() / 10.0,
        "problem": outcome.as_ref().err().map(ToString::to_string),
    })).collect::<Vec<_>>()});
    let working =
        tried.iter().find(|(_, _, outcome)| outcome.is_ok()).map(|(address, ..)| *address);
    let outcome = match (working, tried.into_iter().find_map(|(_, _, outcome)| outcome.err())) {
        (Some(address), _) => Ok(address),
        (None, Some(fault)) => Err(fault),
        (None, None) => Err(Fault::Connect("the name has no address".to_owned())),
    };
    let step = match &outcome {
        Ok(_) => Step::good(StepKind::Tcp, took, lines.join("\n")),
        Err(fault) => Step { text: lines.join("\n"), ..Step::bad(StepKind::Tcp, took, fault) },
    };
    (step.with(details), outcome)
}
