//! What no client gets around that brings images to a registry: the registry's answers, the same bytes
//! once over a connection to it, and from where they are. Less than a push or a copy: nothing is hashed,
//! and nobody asks what is there.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Client};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::publish::Published;
use crate::support::block_on;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Bytes of a file that are read at a time (256 KiB), and how many such pieces wait to be sent.
const PIECE_BYTES: usize = 256 << 10;
const WAITING: usize = 2;

/// Blobs that are sent at the same time. Fewer take longer: each waits for its registry at times.
const AT_ONCE: usize = 8;

/// A blob to be sent.
pub(crate) struct Sent {
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) place: Place,
}

/// Where the bytes of a blob are.
pub(crate) enum Place {
    File(PathBuf),
    /// By its address.
    Registry(String),
}

/// Sends `blobs` to the repository of `image` at `authority`, and `manifest` last.
pub(crate) fn measure(
    authority: &str,
    image: &Published,
    blobs: Vec<Sent>,
    manifest: Vec<u8>,
) -> Result<Duration, String> {
    // The client insists on one even where nothing is encrypted; it may be there from the last pair.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    block_on(send(authority, image, blobs, manifest)).map_err(|error| error.to_string())
}

async fn send(
    authority: &str,
    image: &Published,
    blobs: Vec<Sent>,
    manifest: Vec<u8>,
) -> Result<Duration, Error> {
    let client = Client::new();
    let started = Instant::now();
    let uploads = format!("http://{authority}/v2/{}/blobs/uploads/", image.repository);
    let sent = blobs.into_iter().map(|blob| {
        let (client, uploads) = (client.clone(), uploads.clone());
        async move { tokio::spawn(put(client, uploads, blob)).await? }
    });
    stream::iter(sent).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let put = client.put(image.manifest_url(authority)).body(manifest);
    let put = put.header(CONTENT_TYPE, image.manifest.media_type.to_string());
    put.send().await?.error_for_status()?;
    Ok(started.elapsed())
}

async fn put(client: Client, uploads: String, blob: Sent) -> Result<(), Error> {
    let begun = client.post(&uploads).header(CONTENT_LENGTH, 0).send().await?.error_for_status()?;
    let upload = begun.headers().get(LOCATION).ok_or("an upload without a place")?.to_str()?;
    let body = match blob.place {
        Place::File(path) => Body::wrap_stream(pieces(path)),
        Place::Registry(url) => {
            let answer = client.get(url).send().await?.error_for_status()?;
            Body::wrap_stream(answer.bytes_stream())
        }
    };
    let put = client.put(format!("{upload}&digest={}", blob.digest)).body(body);
    put.header(CONTENT_LENGTH, blob.size).send().await?.error_for_status()?;
    Ok(())
}

/// What is in a file, read by a thread of its own.
fn pieces(path: PathBuf) -> impl Stream<Item = io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    spawn_blocking(move || {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let read = file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece);
            let piece = read.map(|_| Bytes::from(piece));
            let is_last = piece.as_ref().map_or(true, Bytes::is_empty);
            if piece.as_ref().is_ok_and(Bytes::is_empty)
                || sender.blocking_send(piece).is_err()
                || is_last
            {
                return;
            }
        }
    });
    stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)))
}
