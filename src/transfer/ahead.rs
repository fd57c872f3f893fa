//! A small blob that was read before its turn.

use std::vec::IntoIter;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::Error;
use super::source::BlobStream;
use crate::oci::Digest;

/// What came of a blob's stream, and the stream, which knows where it came from.
pub(super) struct ReadAhead {
    pieces: IntoIter<Result<Bytes, Error>>,
    stream: Box<dyn BlobStream>,
}

impl ReadAhead {
    /// Reads `stream` to its end, or to its first error.
    pub(super) async fn of(mut stream: Box<dyn BlobStream>) -> Self {
        let mut pieces = Vec::new();
        while let Some(piece) = stream.next().await {
            let is_last = piece.is_err();
            pieces.push(piece);
            if is_last {
                break;
            }
        }
        Self { pieces: pieces.into_iter(), stream }
    }
}

#[async_trait]
impl BlobStream for ReadAhead {
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        self.pieces.next()
    }

    fn places(&self) -> Vec<String> {
        self.stream.places()
    }

    fn right(&self) {
        self.stream.right();
    }

    fn wrong(&self) -> bool {
        self.stream.wrong()
    }

    fn damaged(&self, digest: Digest) -> Error {
        self.stream.damaged(digest)
    }
}
