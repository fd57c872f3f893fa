//! The networks between a client and the registry's blobs, and what their servers count.

use std::time::Duration;

use crate::link::{Link, Shape, Starved};
use crate::origin::Origin;
use crate::support::nginx::Nginx;
use crate::traffic::Traffic;

/// Which network a case has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    /// Straight to docker-registry.
    Direct,
    /// 20 MB/s a connection, as content delivery networks and cloud storage have it.
    Capped,
    /// The same, 50 ms away, with blobs on another host.
    Far,
    /// One connection in eight gets 100 KB/s.
    Starved,
}

const ROUND_TRIP: Duration = Duration::from_millis(50);

/// The third of each eight connections: early enough that a client with few connections meets it,
/// late enough that it carries a layer instead of the manifest.
const STARVED: Starved = Starved { nth: 3, of: 8, bytes_per_second: 100_000 };

/// One network, up and running.
pub(crate) enum Front<'a> {
    Direct(&'a Origin),
    Capped(Nginx),
    Far { registry: Nginx, storage: Nginx, near: Link, far: Link },
    Starved { registry: Nginx, link: Link },
}

impl<'a> Front<'a> {
    pub(crate) fn open(network: Network, origin: &'a Origin) -> Self {
        let api = Nginx::proxy(origin.authority(), "");
        let starved = Shape { starved: Some(STARVED), ..Shape::default() };
        let away = Shape { round_trip: ROUND_TRIP, ..Shape::default() };
        match network {
            Network::Direct => Self::Direct(origin),
            Network::Capped => Self::Capped(Nginx::start(&(api + &blobs(origin, CAP)))),
            Network::Far => {
                let storage = Nginx::start(&blobs(origin, CAP));
                let far = Link::open(storage.authority(), away);
                let registry = Nginx::start(&(api + &redirect(far.authority())));
                let near = Link::open(registry.authority(), away);
                Self::Far { registry, storage, near, far }
            }
            Network::Starved => {
                let registry = Nginx::start(&(api + &blobs(origin, "")));
                let link = Link::open(registry.authority(), starved);
                Self::Starved { registry, link }
            }
        }
    }

    /// `host:port` that clients ask.
    pub(crate) fn authority(&self) -> &str {
        match self {
            Self::Direct(origin) => origin.authority(),
            Self::Capped(registry) => registry.authority(),
            Self::Far { near: link, .. } | Self::Starved { link, .. } => link.authority(),
        }
    }

    /// Makes the network what it is at the start of each run.
    pub(crate) fn begin(&self) {
        if let Self::Starved { link, .. } = self {
            link.begin();
        }
    }

    /// Everything that was asked for so far.
    pub(crate) fn traffic(&self) -> Traffic {
        match self {
            Self::Direct(origin) => origin.traffic(),
            Self::Capped(registry) => seen(registry),
            Self::Far { registry, storage, near, far } => {
                let (near, far) = (near.traffic(), far.traffic());
                Traffic {
                    connections: near.connections + far.connections,
                    requests: seen(registry).requests + seen(storage).requests,
                    bytes: near.bytes + far.bytes,
                }
            }
            Self::Starved { registry, link } => {
                Traffic { requests: seen(registry).requests, ..link.traffic() }
            }
        }
    }
}

/// nginx limits each answer, beginning with a burst of a second's worth unless it sends from a file
/// by itself: then it holds the limit from the first byte, whatever the client's ranges.
const CAP: &str = "limit_rate 20m;";

/// Blobs straight from the registry's storage.
fn blobs(origin: &Origin, directives: &str) -> String {
    format!(
        "location ~ \"^/v2/.+/blobs/sha256:(..)([0-9a-f]+)$\" {{\n\
         alias {}/$1/$1$2/data;\nsendfile on;\ndefault_type application/octet-stream;\n\
         {directives}\n}}\n",
        origin.blobs().display()
    )
}

/// Blobs at `authority` instead.
fn redirect(authority: &str) -> String {
    format!("location ~ \"^/v2/.+/blobs/\" {{\nreturn 307 http://{authority}$request_uri;\n}}\n")
}

fn seen(server: &Nginx) -> Traffic {
    let requests = server.requests();
    let mut connections: Vec<u64> = requests.iter().map(|request| request.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    Traffic {
        connections: connections.len() as u64,
        requests: requests.len() as u64,
        bytes: requests.iter().map(|request| request.bytes).sum(),
    }
}
