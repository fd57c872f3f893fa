//! A blob's bytes as its consumer sees them: in order, each once.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::registry::blob::assembly::{Stop, Taken};
use crate::registry::blob::parallel::{First, Parallel};
use crate::registry::blob::ranges::ByteRange;
use crate::registry::blob::segment::Segment;
use crate::registry::blob::source::Source;
use crate::registry::error::Error;

/// A blob of at most this many bytes (64 KiB) is read as the consumer asks, without workers and
/// room in the window: configurations, empty layers.
const TINY: u64 = 64 * 1024;

/// Yields exactly the bytes from the offset asked for to the blob's end, or an error, after which
/// the stream is over. Their digest is not checked.
///
/// From when its first bytes are wanted, a blob arrives in the background, as far ahead as the policy's window
/// allows, and over several connections at once when it is large. A tiny one, or a large one whose host serves no ranges, is
/// read from its only connection as the consumer asks.
pub struct BlobStream {
    source: Arc<Source>,
    way: Way,
    /// The next byte to hand on.
    position: u64,
}

enum Way {
    /// Several from when the first bytes are wanted.
    Begun(Box<First>),
    One(Box<Segment>),
    Several(Parallel),
    Over,
}

impl BlobStream {
    pub(crate) async fn open(source: Source, offset: u64) -> Result<Self, Error> {
        let source = Arc::new(source);
        let rest = ByteRange { start: offset, end: source.size };
        let way = if rest.length() == 0 {
            Way::Over
        } else if rest.length() <= TINY {
            Way::One(Box::new(opened(&source, rest).await?))
        } else {
            begin(&source, rest).await?
        };
        Ok(Self { source, way, position: offset })
    }

    /// The next bytes; `None` when all have come.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        let next = loop {
            match &mut self.way {
                Way::Over => break None,
                Way::Begun(first) => {
                    let asked = self.source.ask(first.range).await;
                    // Nothing is waited for from here on: who is given up while it waits is as it was.
                    let begun = mem::replace(&mut self.way, Way::Over);
                    if let (Way::Begun(first), Some(asked)) = (begun, asked) {
                        let source = Arc::clone(&self.source);
                        self.way = Way::Several(Parallel::start(source, *first, asked));
                    }
                }
                Way::One(segment) => {
                    let next = segment.next().await;
                    if let Some(Ok(bytes)) = &next {
                        self.source.received(bytes.len() as u64);
                    }
                    break next;
                }
                Way::Several(parallel) => match parallel.next().await {
                    Taken::Bytes(bytes) => break Some(Ok(bytes)),
                    Taken::End => break None,
                    Taken::Stopped(Stop::Failed(error)) => break Some(Err(error)),
                    Taken::Stopped(Stop::Rangeless) => {
                        let rest = ByteRange { start: self.position, end: self.source.size };
                        let segment =
                            Segment::new(Arc::clone(&self.source), rest, self.source.preferred());
                        self.way = Way::One(Box::new(segment));
                    }
                },
            }
        };
        match &next {
            Some(Ok(bytes)) => self.position += bytes.len() as u64,
            Some(Err(_)) | None => self.way = Way::Over,
        }
        next
    }

    /// The hosts that bytes came from so far, those that are asked first in front: a foreign layer's
    /// own URLs, the mirrors, the image's registry.
    pub fn hosts(&self) -> Vec<String> {
        self.source.contributors()
    }
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobStream")
            .field("source", &self.source)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

async fn opened(source: &Arc<Source>, range: ByteRange) -> Result<Segment, Error> {
    let mut segment = Segment::new(Arc::clone(source), range, source.preferred());
    segment.open().await?;
    Ok(segment)
}

/// Asks for the first chunk, and learns from the answer whether the host serves ranges and where it
/// redirects to.
async fn begin(source: &Arc<Source>, rest: ByteRange) -> Result<Way, Error> {
    let range = source.chunk(rest.start, None);
    let mut segment = opened(source, range).await?;
    if segment.is_as_asked() {
        return Ok(Way::Begun(Box::new(First { segment, range, opened: Instant::now() })));
    }
    // The whole blob is on its way: take it.
    segment.extend_to(rest.end);
    Ok(Way::One(Box::new(segment)))
}
