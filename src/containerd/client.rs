//! The channel to one daemon, and what every call over it has in common: namespace, lease, and
//! noticing that the daemon is gone.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use containerd_client::services::v1::version_client::VersionClient;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tracing::{debug, warn};

use super::Error;
use super::blobs::blob_file::BlobDirectory;
use super::blobs::labelling::Labelling;
use super::channel::open_channel;
use super::peer::Peer;
use super::plugin::Plugin;

/// How many blobs that were put in place the daemon is told of at once. For each its database makes two
/// transactions, one after another; were more to wait for it, the snapshots would wait behind them,
/// and of those each waits for the one below.
const TOLD_AT_ONCE: usize = 2;

/// Longest wait for a daemon's first answer, the connection included: one that accepts us and has
/// nothing to say for so long is of no use to anybody.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// After how much of that it is said what is waited for.
const SAID_AFTER: Duration = Duration::from_secs(2);

/// What a daemon is asked first.
const FIRST_QUESTION: &str = "tell its version";

/// Longest wait for the answer to a call that does no bulk work. Far above a disk's worst: another
/// client's commit may hold the daemon's database for as long as a blob takes to be hashed again.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a call that may take as long as it likes goes unanswered before the daemon is asked
/// whether it is still there, and how long it then has for saying so.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// Largest answer accepted, in bytes (16 MiB, the daemon's own limit): tonic's 4 MiB are too little
/// to list the images of a busy node.
pub(super) const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The namespace in which Kubernetes looks.
pub const KUBERNETES: &str = "k8s.io";

/// The longest identifier that containerd accepts, see its `pkg/identifiers`.
const MAX_NAMESPACE: usize = 76;

pub(super) type Service = InterceptedService<Channel, Scope>;

/// A daemon, a namespace in it and, while pulling, the lease that keeps what is written from the
/// garbage collector. Cheap to clone; clones share the connection, which is made anew after the
/// daemon was restarted.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    scope: Scope,
    daemon: Arc<Daemon>,
    /// Leave the daemon's files alone.
    socket_only: bool,
    /// Leave the page cache as it is.
    sparing: bool,
}

/// What all clients of a connection share.
#[derive(Debug)]
pub(super) struct Daemon {
    address: PathBuf,
    pub(super) peer: Peer,
    /// Not set where the version can't be read.
    release: OnceLock<Release>,
    pub(super) plugins: OnceCell<Vec<Plugin>>,
    pub(super) content_root: OnceCell<Option<PathBuf>>,
    pub(super) blobs: OnceCell<Option<BlobDirectory>>,
    /// Where they should be, of a daemon that sees the files that we see.
    pub(super) expected_blobs: OnceCell<Option<BlobDirectory>>,
    turns: Semaphore,
    labelling: Labelling,
}

/// Major and minor number of a daemon's version.
pub(super) type Release = (u32, u32);

/// The metadata of every call.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    namespace: Arc<str>,
    lease: Option<Arc<str>>,
}

impl Interceptor for Scope {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let invalid = |_| Status::invalid_argument("namespace or lease is not printable ASCII");
        let metadata = request.metadata_mut();
        metadata.insert("containerd-namespace", self.namespace.parse().map_err(invalid)?);
        if let Some(lease) = &self.lease {
            metadata.insert("containerd-lease", lease.parse().map_err(invalid)?);
        }
        Ok(request)
    }
}

impl Client {
    /// Connects to the daemon at the unix socket `address` and asks its version.
    ///
    /// # Errors
    /// [`Error::Namespace`], [`Error::Connect`] or [`Error::PermissionDenied`];
    /// [`Error::Unresponsive`] after ten seconds without an answer; otherwise whatever the daemon's
    /// first answer is.
    pub async fn connect(address: &Path, namespace: &str) -> Result<Self, Error> {
        if !is_identifier(namespace) {
            return Err(Error::Namespace(namespace.to_owned()));
        }
        let mut greeting = std::pin::pin!(Self::greet(address, namespace));
        if let Ok(client) = timeout(SAID_AFTER, &mut greeting).await {
            return client;
        }
        warn!(
            address = %address.display(),
            "containerd has not answered for {} s, it is given {} s in all",
            SAID_AFTER.as_secs(),
            FIRST_ANSWER_TIMEOUT.as_secs()
        );
        timeout(FIRST_ANSWER_TIMEOUT - SAID_AFTER, greeting).await.unwrap_or_else(|_| {
            let operation = FIRST_QUESTION.to_owned();
            Err(Error::Unresponsive { operation, waited: FIRST_ANSWER_TIMEOUT })
        })
    }

    async fn greet(address: &Path, namespace: &str) -> Result<Self, Error> {
        let peer = Peer::default();
        let client = Self {
            channel: open_channel(address, peer.clone()).await?,
            scope: Scope { namespace: namespace.into(), lease: None },
            daemon: Arc::new(Daemon {
                address: address.to_owned(),
                peer,
                release: OnceLock::new(),
                plugins: OnceCell::new(),
                content_root: OnceCell::new(),
                blobs: OnceCell::new(),
                expected_blobs: OnceCell::new(),
                turns: Semaphore::new(TOLD_AT_ONCE),
                labelling: Labelling::default(),
            }),
            socket_only: false,
            sparing: false,
        };
        let version = client.version().await?;
        debug!(address = %address.display(), version, namespace, "connected to containerd");
        if let Some(release) = release(&version) {
            client.daemon.release.get_or_init(|| release);
        }
        Ok(client)
    }

    /// The same daemon and namespace, with what is written held by the lease `id`.
    pub fn with_lease(&self, id: &str) -> Self {
        let scope = Scope { namespace: self.scope.namespace.clone(), lease: Some(id.into()) };
        Self { scope, ..self.clone() }
    }

    /// The same daemon, another namespace, and no lease.
    ///
    /// # Errors
    /// [`Error::Namespace`].
    pub fn in_namespace(&self, namespace: &str) -> Result<Self, Error> {
        if !is_identifier(namespace) {
            return Err(Error::Namespace(namespace.to_owned()));
        }
        let scope = Scope { namespace: namespace.into(), lease: None };
        Ok(Self { scope, ..self.clone() })
    }

    /// The same daemon, namespace and lease, with every byte going over the socket even where the
    /// daemon's files are at hand.
    pub fn over_socket_only(&self) -> Self {
        Self { socket_only: true, ..self.clone() }
    }

    /// The same daemon, namespace and lease, with what is written let go of by the page cache once it is on
    /// the disk: what others have there stays.
    #[must_use]
    pub fn sparing(self) -> Self {
        Self { sparing: true, ..self }
    }

    /// Whether the page cache is to be left as it is.
    pub fn is_sparing(&self) -> bool {
        self.sparing
    }

    /// The socket.
    pub fn address(&self) -> &Path {
        &self.daemon.address
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.scope.namespace
    }

    /// The daemon's version, `1.7.24~ds1` or `v2.1.4`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub async fn version(&self) -> Result<String, Error> {
        let mut version = VersionClient::new(self.service());
        Ok(self.call(FIRST_QUESTION, version.version(())).await?.version)
    }

    /// The major version of the daemon when we connected, where it could be read.
    pub fn major_version(&self) -> Option<u32> {
        self.daemon.release.get().map(|(major, _)| *major)
    }

    /// Whether the daemon was of this release or a later one when we connected; of a version that
    /// can't be read, that is not so.
    pub(super) fn is_at_least(&self, wanted: Release) -> bool {
        self.daemon.release.get().is_some_and(|release| *release >= wanted)
    }

    /// Whether the daemon was of an earlier release than this when we connected; of a version that
    /// can't be read, that is not so.
    pub(super) fn is_before(&self, wanted: Release) -> bool {
        self.daemon.release.get().is_some_and(|release| *release < wanted)
    }

    /// Where small blobs can be put, if that is known.
    pub(super) fn blobs(&self) -> Option<&BlobDirectory> {
        self.daemon.blobs.get().and_then(Option::as_ref).filter(|_| !self.socket_only)
    }

    /// Waits for the turn to tell the daemon of a blob that was put in place. The semaphore is never
    /// closed.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.daemon.turns.acquire().await.ok()
    }

    /// What is known of the daemon.
    pub(super) fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Whether the daemon's files are to be left alone.
    pub(super) fn is_socket_only(&self) -> bool {
        self.socket_only
    }

    /// What this process adds to the labels of blobs.
    pub(super) fn labelling(&self) -> &Labelling {
        &self.daemon.labelling
    }

    pub(super) fn service(&self) -> Service {
        InterceptedService::new(self.channel.clone(), self.scope.clone())
    }

    /// Awaits a call that is quick unless the daemon is in trouble.
    pub(super) async fn call<T>(
        &self,
        operation: impl Into<String>,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        let operation = operation.into();
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::from_status(operation, &status)),
            Err(_) => Err(Error::Unresponsive { operation, waited: CALL_TIMEOUT }),
        }
    }

    /// Awaits something that may take as long as it likes, as long as the daemon is alive.
    ///
    /// A daemon that dies closes its socket, which fails the call at once. One that hangs is noticed
    /// by asking its version now and then. HTTP/2's own keep-alive would do that too, but a Go
    /// server hangs up on pings closer than five minutes apart ("too_many_pings") unless told
    /// otherwise, and containerd's is not.
    pub(super) async fn watch<T>(
        &self,
        operation: &str,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Error> {
        let mut call = std::pin::pin!(call);
        loop {
            match tokio::time::timeout(PROBE_INTERVAL, &mut call).await {
                Ok(result) => {
                    return result.map_err(|status| Error::from_status(operation, &status));
                }
                Err(_) => self.probe(operation).await?,
            }
        }
    }

    async fn probe(&self, operation: &str) -> Result<(), Error> {
        debug!(operation, "containerd has been silent, asking whether it is alive");
        match tokio::time::timeout(PROBE_INTERVAL, self.version()).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(Error::Unresponsive {
                operation: operation.to_owned(),
                waited: 2 * PROBE_INTERVAL,
            }),
        }
    }
}

/// `1.7` of `1.7.24~ds1`, `2.1` of `v2.1.4`.
fn release(version: &str) -> Option<Release> {
    let mut numbers = version.trim_start_matches('v').split('.');
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

/// Whether `text` is a containerd identifier: runs of letters and digits joined by single `.`, `_`
/// or `-`, at most [`MAX_NAMESPACE`] bytes.
fn is_identifier(text: &str) -> bool {
    text.len() <= MAX_NAMESPACE
        && text
            .split(['.', '_', '-'])
            .all(|run| !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn accepts_the_namespaces_that_containerd_accepts() {
        for namespace in ["k8s.io", "default", "moby", "a", "a_b-c.d", &"a".repeat(76)] {
            assert!(is_identifier(namespace), "{namespace}");
        }
        for namespace in ["", ".", "a.", "-a", "a..b", "a b", "a/b", "k8s\n", &"a".repeat(77)] {
            assert!(!is_identifier(namespace), "{namespace}");
        }
    }

    #[test]
    fn reads_the_release_out_of_a_version() {
        for (version, expected) in [
            ("v2.3.4", Some((2, 3))),
            ("2.1.9+ds1", Some((2, 1))),
            ("1.6.20~ds1", Some((1, 6))),
            ("v2.4.0-beta.0", Some((2, 4))),
            ("v2", None),
            ("a1b2c3.m", None),
            ("", None),
        ] {
            assert_eq!(release(version), expected, "{version}");
        }
    }

    #[tokio::test]
    async fn says_what_is_wrong_with_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing.sock");
        let error = Client::connect(&missing, "k8s.io").await.unwrap_err();
        assert!(matches!(error, Error::Connect { .. }), "{error:?}");
        let error = Client::connect(&missing, "no such!").await.unwrap_err();
        assert!(matches!(error, Error::Namespace(_)), "{error:?}");
        let dead = directory.path().join("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let error = Client::connect(&dead, "k8s.io").await.unwrap_err();
        assert!(error.source().unwrap().to_string().contains("refused"), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_accepts_and_does_not_answer_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let silent = directory.path().join("silent.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
        let began = tokio::time::Instant::now();
        let error = Client::connect(&silent, "k8s.io").await.unwrap_err();
        assert!(matches!(error, Error::Unresponsive { .. }), "{error:?}");
        assert_eq!(began.elapsed().as_secs(), 10);
    }
}
