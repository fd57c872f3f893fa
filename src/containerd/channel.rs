//! The connection to a daemon's socket, and what is wrong with a socket that gives none.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::Error;
use super::peer::Peer;

/// Longest wait for the socket to accept us.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that the daemon may send on one stream, and on all, before we take them: reading content
/// back must not wait for a window update a frame.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Connects to the socket at `address`, now and whenever the connection is lost, and lets `peer` know
/// whom to.
///
/// # Errors
/// [`Error::Connect`] or [`Error::PermissionDenied`].
pub(super) async fn open_channel(address: &Path, peer: Peer) -> Result<Channel, Error> {
    let socket: PathBuf = address.to_owned();
    let connector = tower::service_fn(move |_| {
        let (socket, peer) = (socket.clone(), peer.clone());
        async move {
            let stream = UnixStream::connect(socket).await?;
            peer.note(&stream);
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    // The URI is never resolved, but becomes the `:authority` of the requests.
    Endpoint::from_static("http://localhost")
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_with_connector(connector)
        .await
        .map_err(|error| unreachable(address, error))
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
