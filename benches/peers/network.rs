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
pub(crate) struct Front<'a> {
    servers: Vec<Server<'a>>,
    /// Between the client and the servers; empty where it reaches them by itself. The first one is
    /// where clients ask.
    links: Vec<Link>,
}

enum Server<'a> {
    Origin(&'a Origin),
    Nginx(Box<Nginx>),
}

impl<'a> Front<'a> {
    pub(crate) fn open(network: Network, origin: &'a Origin) -> Self {
        let api = Nginx::proxy(origin.authority(), "");
        match network {
            Network::Direct => Self { servers: vec![Server::Origin(origin)], links: Vec::new() },
            Network::Capped => {
                let registry = Nginx::start(&(api + &blobs(origin, CAP)));
                Self { servers: vec![Server::Nginx(Box::new(registry))], links: Vec::new() }
            }
            Network::Far => {
                let away = Shape { round_trip: ROUND_TRIP, ..Shape::default() };
                let storage = Nginx::start(&blobs(origin, CAP));
                let far = Link::open(storage.authority(), away);
                let registry = Nginx::start(&(api + &redirect(far.authority())));
                let near = Link::open(registry.authority(), away);
                let servers =
                    vec![Server::Nginx(Box::new(registry)), Server::Nginx(Box::new(storage))];
                Self { servers, links: vec![near, far] }
            }
            Network::Starved => {
                let registry = Nginx::start(&(api + &blobs(origin, "")));
                let starved = Shape { starved: Some(STARVED), ..Shape::default() };
                let link = Link::open(registry.authority(), starved);
                Self { servers: vec![Server::Nginx(Box::new(registry))], links: vec![link] }
            }
        }
    }

    /// `host:port` that clients ask.
    pub(crate) fn authority(&self) -> &str {
        let link = self.links.first().map(Link::authority);
        link.or_else(|| self.servers.first().map(Server::authority)).unwrap_or_default()
    }

    /// Makes the network what it is at the start of each run.
    pub(crate) fn begin(&self) {
        self.links.iter().for_each(Link::begin);
    }

    /// Everything that was asked for so far.
    pub(crate) fn traffic(&self) -> Traffic {
        let served: Traffic = self.servers.iter().map(Server::traffic).sum();
        if self.links.is_empty() {
            return served;
        }
        // What a server has sent may still be on its way, or never arrive.
        let arrived: Traffic = self.links.iter().map(Link::traffic).sum();
        Traffic { requests: served.requests, ..arrived }
    }
}

impl Server<'_> {
    fn authority(&self) -> &str {
        match self {
            Self::Origin(origin) => origin.authority(),
            Self::Nginx(nginx) => nginx.authority(),
        }
    }

    fn traffic(&self) -> Traffic {
        match self {
            Self::Origin(origin) => origin.traffic(),
            Self::Nginx(nginx) => seen(nginx),
        }
    }
}

/// nginx limits each answer, beginning with a burst of a second's worth unless it sends from a file by
/// itself. Then it counts after each piece that it has sent: with its pieces of 2 MiB, ranges of that length
/// would not be limited at all.
const CAP: &str = "limit_rate 20m;\nsendfile_max_chunk 128k;";

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
