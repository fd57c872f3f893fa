//! One request whose body is handed in while it is sent.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::session::{Session, Step};
use crate::oci::Digest;
use crate::progress::Event;
use crate::registry::ask::host::Host;
use crate::registry::blob::ranges::ByteRange;
use crate::registry::context::Context;
use crate::registry::fault::Fault;
use crate::registry::http::exchange::Answer;
use crate::registry::http::payload::Payload;

/// In which pieces bytes are given to a connection, in bytes (64 KiB): each one that it takes is
/// progress.
const FRAME: usize = 64 * 1024;

/// How many of those wait for the connection (1 MiB).
const WAITING: usize = 16;

/// A request on its way. Dropping it breaks it off.
#[derive(Debug)]
pub(super) struct Piece {
    frames: mpsc::Sender<Bytes>,
    answer: JoinSet<Result<Answer, Fault>>,
    /// Bytes that are still to be handed in.
    pub(super) left: u64,
    /// How many there are in all.
    pub(super) length: u64,
}

/// What a piece is sent as.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) method: http::Method,
    pub(super) label: String,
    /// Of the blob.
    pub(super) digest: Digest,
    /// Whether the request completes the blob.
    pub(super) completes: bool,
    pub(super) range: ByteRange,
}

impl Piece {
    /// Begins to send a part of a blob.
    pub(super) fn begin(
        context: &Arc<Context>,
        host: &Host,
        session: &Session,
        sent: Sent,
    ) -> Self {
        let length = sent.range.length();
        let (frames, waiting) = mpsc::channel(WAITING);
        let frames_out = body(Arc::clone(context), sent.digest, waiting, length);
        let (host, session) = (host.clone(), session.clone());
        let mut answer = JoinSet::new();
        answer.spawn(async move {
            let step = Step {
                method: sent.method,
                label: &sent.label,
                digest: sent.completes.then_some(sent.digest),
                payload: Payload::stream(Some(length), frames_out),
                part: (!sent.completes).then_some(sent.range),
            };
            session.send(&host, step).await
        });
        Self { frames, answer, left: length, length }
    }

    /// Hands in what of `bytes` belongs to it; `false` when the request is over.
    pub(super) async fn write(&mut self, bytes: &mut Bytes) -> bool {
        while self.left > 0 && !bytes.is_empty() {
            let length = bytes.len().min(FRAME).min(usize::try_from(self.left).unwrap_or(FRAME));
            if self.frames.send(bytes.split_to(length)).await.is_err() {
                return false;
            }
            self.left -= length as u64;
        }
        true
    }

    /// Waits for the answer.
    pub(super) async fn end(self) -> Result<Answer, Fault> {
        let Self { frames, mut answer, .. } = self;
        drop(frames);
        match answer.join_next().await {
            Some(Ok(answer)) => answer,
            Some(Err(stopped)) => Err(Fault::Broken(stopped.to_string())),
            None => Err(Fault::Broken("the request was given up".to_owned())),
        }
    }
}

/// The frames that come through `waiting` as a body of `length` bytes, within the run's speed limit.
fn body(
    context: Arc<Context>,
    digest: Digest,
    waiting: mpsc::Receiver<Bytes>,
    length: u64,
) -> crate::registry::http::payload::Frames {
    let state = (context, waiting, length);
    Box::pin(stream::unfold(state, move |(context, mut waiting, left)| async move {
        let frame = match waiting.recv().await {
            Some(frame) => {
                let delta_bytes = frame.len() as u64;
                match context.throttled(delta_bytes).await {
                    Ok(()) => {
                        context.sink.event(Event::Sent { digest, delta_bytes });
                        Ok(frame)
                    }
                    Err(fault) => Err(std::io::Error::other(fault)),
                }
            }
            None if left == 0 => return None,
            None => Err(std::io::Error::other("the rest is not sent")),
        };
        let sent = frame.as_ref().map_or(left, |frame| frame.len() as u64);
        Some((frame, (context, waiting, left - sent.min(left))))
    }))
}
