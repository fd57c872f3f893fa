//! Mirrors to which there is no way: the next host is asked, after no longer than the node's owner
//! allows.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::support::cli::{Outcome, Pullctl};
use crate::support::faulty::FaultyRegistry;
use crate::support::image::Image;
use crate::support::unique;

/// How long a connection on loopback is waited for before the listener's queue counts as full.
const QUEUE_PROBE: Duration = Duration::from_millis(500);

/// An address at which connections are neither taken nor refused.
struct Silent {
    authority: String,
    _listener: Socket,
    /// Those that fill its queue.
    _queued: Vec<TcpStream>,
}

impl Silent {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let connect = |_| TcpStream::connect_timeout(&address, QUEUE_PROBE);
        let queued = (0..10).map(connect).map_while(Result::ok).collect::<Vec<_>>();
        assert!(queued.len() < 10, "the listener's queue is never full");
        Self { authority: address.to_string(), _listener: listener, _queued: queued }
    }
}

/// A healthy registry behind a mirror that is out of reach.
struct Bed {
    registry: FaultyRegistry,
    reference: String,
    files: TempDir,
}

impl Bed {
    fn new(mirror: &str, settings: &str) -> Self {
        let registry = FaultyRegistry::start();
        let repository = unique("team/app");
        registry.add(&Image::small(), &repository, "v1");
        let files = tempfile::tempdir().unwrap();
        let directory = files.path().join("registry.example");
        fs::create_dir(&directory).unwrap();
        let server = registry.authority();
        let hosts = format!("server = \"http://{server}\"\n[host.\"http://{mirror}\"]\n{settings}");
        fs::write(directory.join("hosts.toml"), hosts).unwrap();
        let reference = format!("registry.example/{repository}:v1");
        Self { registry, reference, files }
    }

    fn pull(&self) -> Outcome {
        let to = format!("oci:{}", self.files.path().join("layout").display());
        let command = ["pull", "-v", "--ignore-containerd-config", "--to", &to, &self.reference];
        let pullctl = Pullctl::new().args(command);
        pullctl.args(["--hosts-dir".as_ref(), self.files.path()]).run()
    }

    /// What is told of requests to `mirror` by a pull that succeeds through the registry.
    fn told_of(&self, mirror: &str) -> Vec<String> {
        let outcome = self.pull().succeeded();
        assert!(!self.registry.requests_for("/manifests/").is_empty());
        let host = format!("{mirror}: ");
        let lines = outcome.stderr.lines().filter(|line| line.starts_with(&host));
        lines.map(str::to_owned).collect()
    }
}

#[test]
fn a_mirror_that_lets_connections_hang_is_left_after_its_dial_timeout_and_for_good() {
    let silent = Silent::new();
    let told = Bed::new(&silent.authority, "dial_timeout = \"300ms\"\n").told_of(&silent.authority);
    assert_eq!(told.len(), 1, "{told:?}");
    let (attempt, time) = told[0].rsplit_once(" (").unwrap();
    assert!(attempt.ends_with(": GET manifests/v1: no connection within 300ms"), "{told:?}");
    // On a slow machine it may be seconds, which are not told to the millisecond.
    let milliseconds: Option<u64> = time.strip_suffix(" ms)").map(|number| number.parse().unwrap());
    assert!(milliseconds.is_none_or(|spent| spent >= 300), "{told:?}");
}

#[test]
fn a_mirror_whose_name_has_no_address_is_left_for_the_next_host() {
    let told = Bed::new("mirror.invalid", "").told_of("mirror.invalid");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("GET manifests/v1: host name not found: "), "{told:?}");
}
