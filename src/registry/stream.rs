//! A blob's bytes as its consumer sees them: in order, each once.

use std::sync::Arc;

use bytes::Bytes;

use super::error::Error;
use super::ranges::ByteRange;
use super::segment::Segment;
use super::source::Source;

/// Yields exactly the bytes from the offset asked for to the blob's end, or an error, after which
/// the stream is over. Their digest is not checked.
pub struct BlobStream {
    source: Arc<Source>,
    segment: Option<Segment>,
}

impl BlobStream {
    pub(crate) async fn open(source: Source, offset: u64) -> Result<Self, Error> {
        let source = Arc::new(source);
        let range = ByteRange { start: offset, end: source.size };
        let mut segment = Segment::new(Arc::clone(&source), range);
        if range.start < range.end {
            segment.open().await?;
        }
        Ok(Self { source, segment: Some(segment) })
    }

    /// The next bytes; `None` when all have come.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        let next = self.segment.as_mut()?.next().await;
        if !matches!(next, Some(Ok(_))) {
            self.segment = None;
        }
        next
    }

    /// The hosts that bytes came from so far, for [`super::Repository::distrust`].
    pub fn hosts(&self) -> Vec<String> {
        self.source.contributors()
    }
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobStream").field("source", &self.source).finish_non_exhaustive()
    }
}
