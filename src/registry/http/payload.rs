//! What a request carries: nothing, a login, or bytes to be stored.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_LENGTH;
use reqwest::{Body, RequestBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::sync::lock;

/// What stands for a secret where a request is shown.
pub(crate) const BLOT: &str = "***";

/// In which pieces bytes are given to a connection, in bytes (64 KiB): each one that it takes is
/// progress.
const PIECE: usize = 64 * 1024;

/// How often it is told that a connection waits for bytes (250 ms): well below any stall timeout.
const AWAITED: Duration = Duration::from_millis(250);

/// A request's body. Cloning it is cheap.
#[derive(Clone, Default)]
pub(crate) enum Payload {
    #[default]
    None,
    /// A form with a password or a token. Never shown.
    Secret(SecretString),
    /// Bytes in memory, which can be sent as often as it takes.
    Bytes(Bytes),
    /// Bytes as they come, which can be sent once.
    Stream(Stream),
}

/// Bytes that come while they are sent.
#[derive(Clone)]
pub(crate) struct Stream {
    /// How many there will be; `None` sends them in HTTP chunks.
    length: Option<u64>,
    /// Gone once it is being sent.
    body: Arc<Mutex<Option<Frames>>>,
}

/// The frames of a stream; an error ends the request.
pub(crate) type Frames =
    std::pin::Pin<Box<dyn futures_util::Stream<Item = std::io::Result<Bytes>> + Send>>;

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown().unwrap_or_default())
    }
}

impl Payload {
    /// Bytes as they come, `length` of them if that is known.
    pub(crate) fn stream(length: Option<u64>, frames: Frames) -> Self {
        Self::Stream(Stream { length, body: Arc::new(Mutex::new(Some(frames))) })
    }

    /// Whether it can be sent, or sent again.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::None | Self::Secret(_) | Self::Bytes(_) => true,
            Self::Stream(stream) => lock(&stream.body).is_some(),
        }
    }

    /// How many bytes of a blob or a document it has, as far as that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::None | Self::Secret(_) => None,
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Stream(stream) => stream.length,
        }
    }

    /// What the log shows of it; `None` where there is nothing.
    pub(crate) fn shown(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Secret(_) => Some(BLOT.to_owned()),
            Self::Bytes(bytes) => Some(format!("{} bytes", bytes.len())),
            Self::Stream(Stream { length: Some(length), .. }) => Some(format!("{length} bytes")),
            Self::Stream(Stream { length: None, .. }) => Some("bytes".to_owned()),
        }
    }

    /// Puts it into `builder`. What the receiver sees change is what the connection takes.
    pub(crate) fn fill(self, builder: RequestBuilder) -> (RequestBuilder, watch::Receiver<u64>) {
        let (taken, seen) = watch::channel(0);
        let builder = match self {
            Self::None => builder,
            Self::Secret(form) => builder.body(form.expose_secret().to_owned()),
            Self::Bytes(bytes) => {
                let length = bytes.len();
                let pieces = (0..length)
                    .step_by(PIECE)
                    .map(move |start| Ok(bytes.slice(start..length.min(start + PIECE))));
                let frames = Box::pin(stream::iter(pieces));
                builder.header(CONTENT_LENGTH, length).body(counted(frames, taken))
            }
            Self::Stream(Stream { length, body }) => {
                let builder = match length {
                    Some(length) => builder.header(CONTENT_LENGTH, length),
                    None => builder,
                };
                match lock(&body).take() {
                    Some(frames) => builder.body(counted(frames, taken)),
                    None => builder,
                }
            }
        };
        (builder, seen)
    }
}

/// `frames` as a body that tells `taken` of each one that is taken, and of the end. While the
/// connection waits for the next one, that is told as well: it is not the host that stalls then.
fn counted(frames: Frames, taken: watch::Sender<u64>) -> Body {
    let counted = stream::unfold((frames, taken), |(mut frames, taken)| async move {
        use futures_util::StreamExt as _;
        let next = loop {
            let next = timeout(AWAITED, frames.next()).await;
            taken.send_modify(|count| *count += 1);
            if let Ok(next) = next {
                break next;
            }
        };
        next.map(|frame| (frame, (frames, taken)))
    });
    Body::wrap_stream(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_streams_can_be_sent_once_and_the_rest_again() {
        let frames: Frames = Box::pin(stream::iter([Ok(Bytes::from_static(b"x"))]));
        let streamed = Payload::stream(Some(1), frames);
        assert!(streamed.is_whole() && streamed.clone().is_whole());
        if let Payload::Stream(stream) = &streamed {
            drop(lock(&stream.body).take());
        }
        assert!(!streamed.is_whole());
        assert!(Payload::Bytes(Bytes::from_static(b"x")).is_whole());
    }

    #[test]
    fn no_secret_is_shown() {
        let payload = Payload::Secret(SecretString::from("hunter2".to_owned()));
        assert_eq!(format!("{payload:?}"), "***");
        assert_eq!(format!("{:?}", Payload::Bytes(Bytes::from_static(b"hunter2"))), "7 bytes");
    }
}
