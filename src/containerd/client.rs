//! The channel to one daemon, and what every call over it has in common: namespace, lease, and
//! noticing that the daemon is gone.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use containerd_client::services::v1::version_client::VersionClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tracing::debug;

use super::blob_file::BlobDirectory;
use super::labelling::Labelling;
use super::{ContentStore, Cri, Diff, Error, Images, Introspection, Leases, Plugin, Snapshots};
use crate::oci::Digest;

/// How many blobs that were put in place the daemon is told of at once. For each its database makes two
/// transactions, one after another; were more to wait for it, the snapshots would wait behind them,
/// and of those each waits for the one below.
const TOLD_AT_ONCE: usize = 2;

/// Longest wait for the socket to accept us.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the answer to a call that does no bulk work. Far above a disk's worst: another
/// client's commit may hold the daemon's database for as long as a blob takes to be hashed again.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a call that may take as long as it likes goes unanswered before the daemon is asked
/// whether it is still there, and how long it then has for saying so.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// Bytes that the daemon may send on one stream, and on all, before we take them: reading content
/// back must not wait for a window update a frame.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Largest answer accepted, in bytes (16 MiB, the daemon's own limit): tonic's 4 MiB are too little
/// to list the images of a busy node.
pub(super) const MAX_ANSWER_BYTES: usize = 16 << 20;

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
}

/// What all clients of a connection share.
#[derive(Debug)]
struct Daemon {
    address: PathBuf,
    /// Not set where the version can't be read.
    release: OnceLock<Release>,
    plugins: OnceCell<Vec<Plugin>>,
    content_root: OnceCell<Option<PathBuf>>,
    blobs: OnceCell<Option<BlobDirectory>>,
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
    /// [`Error::Namespace`], [`Error::Connect`] or [`Error::PermissionDenied`]; otherwise whatever
    /// the daemon's first answer is.
    pub async fn connect(address: &Path, namespace: &str) -> Result<Self, Error> {
        if !is_identifier(namespace) {
            return Err(Error::Namespace(namespace.to_owned()));
        }
        let client = Self {
            channel: open_channel(address).await.map_err(|error| unreachable(address, error))?,
            scope: Scope { namespace: namespace.into(), lease: None },
            daemon: Arc::new(Daemon {
                address: address.to_owned(),
                release: OnceLock::new(),
                plugins: OnceCell::new(),
                content_root: OnceCell::new(),
                blobs: OnceCell::new(),
                turns: Semaphore::new(TOLD_AT_ONCE),
                labelling: Labelling::default(),
            }),
            socket_only: false,
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

    /// The same daemon, namespace and lease, with every byte going over the socket even where the
    /// daemon's files are at hand.
    pub fn over_socket_only(&self) -> Self {
        Self { socket_only: true, ..self.clone() }
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
        Ok(self.call("tell its version", version.version(())).await?.version)
    }

    /// Whether the daemon was of this release or a later one when we connected; of a version that
    /// can't be read, that is not so.
    pub(super) fn is_at_least(&self, wanted: Release) -> bool {
        self.daemon.release.get().is_some_and(|release| *release >= wanted)
    }

    /// Blobs.
    pub fn content(&self) -> ContentStore {
        ContentStore::new(self.clone())
    }

    /// Names of images.
    pub fn images(&self) -> Images {
        Images::new(self.clone())
    }

    /// Leases.
    pub fn leases(&self) -> Leases {
        Leases::new(self.clone())
    }

    /// The snapshotter called `name`.
    pub fn snapshots(&self, name: &str) -> Snapshots {
        Snapshots::new(self.clone(), name)
    }

    /// The daemon's own unpacking.
    pub fn diff(&self) -> Diff {
        Diff::new(self.clone())
    }

    /// The Kubernetes side of the daemon.
    pub fn cri(&self) -> Cri {
        Cri::new(self.clone())
    }

    /// The daemon's plugins.
    pub fn introspection(&self) -> Introspection {
        Introspection::new(self.clone())
    }

    /// The daemon's plugins, asked once.
    pub(super) async fn plugins(&self) -> Result<&[Plugin], Error> {
        let list = async || self.introspection().list().await;
        Ok(self.daemon.plugins.get_or_try_init(list).await?)
    }

    /// Where the daemon says that it keeps content, asked once; `None` when the socket alone is to be
    /// used. Whether that place is within reach, nobody knows yet.
    pub(super) async fn content_root(&self) -> Option<&Path> {
        if self.socket_only {
            return None;
        }
        let root = self.daemon.content_root.get_or_init(async || {
            self.introspection().shared_content_root().await.unwrap_or_else(|error| {
                debug!(%error, "the content root is unknown");
                None
            })
        });
        root.await.as_deref()
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

    /// Takes note that the daemon has stored the blob `digest` of `size` bytes: by the first one, its
    /// directory is recognised.
    pub(super) async fn learn_blobs(&self, digest: &Digest, size: u64) {
        let found = async || {
            let root = self.content_root().await?;
            BlobDirectory::proven_by(root, digest, size)
        };
        self.daemon.blobs.get_or_init(found).await;
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

async fn open_channel(address: &Path) -> Result<Channel, tonic::transport::Error> {
    let socket: PathBuf = address.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The URI is never resolved, but becomes the `:authority` of the requests.
    Endpoint::from_static("http://localhost")
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_with_connector(connector)
        .await
}

fn unreachable(address: &Path, error: tonic::transport::Error) -> Error {
    let address = address.to_owned();
    match io_cause(&error) {
        Some(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
            Error::PermissionDenied { address, source: copy(cause).into() }
        }
        // The transport's own words ("transport error") would only stand between.
        Some(cause) => Error::Connect { address, source: copy(cause).into() },
        None => Error::Connect { address, source: error.into() },
    }
}

fn io_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    std::iter::successors(Some(error), |error| (*error).source())
        .find_map(|error| error.downcast_ref::<io::Error>())
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
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
}
