//! A large blob on its way to a registry: as a whole, which is what each of them takes; in pieces of a
//! bounded size after that broke off, or where it is refused. When a try breaks off, the next one goes on
//! where the registry says that it stands.
//!
//! ECR takes the first piece and drops the second (<https://github.com/aws/containers-roadmap/issues/2831>),
//! and Google's Artifact Registry takes none. To docker-registry 2.8.2 both ways cost the same: it keeps its
//! hash between the pieces. One built without that reads all of them again.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::destination::Destination;
use super::piece::{Piece, Sent};
use super::refusal::{self, Refusal};
use super::session::{Received, Session, received};
use crate::oci::{Descriptor, Digest};
use crate::registry::ask::tries::Tries;
use crate::registry::blob::ranges::ByteRange;
use crate::registry::error::Error;
use crate::registry::fault::Fault;
use crate::registry::http::exchange::Answer;
use crate::registry::http::payload::Payload;
use crate::registry::upload_fault::UploadFault;

/// Length of a piece where nobody says another, in bytes (64 MiB): below the 100 MB that Cloudflare lets
/// through, and few enough round trips.
const PIECE_BYTES: u64 = 64 << 20;

/// An upload that goes over several tries. Each begins with [`Upload::open`].
#[derive(Debug)]
pub struct Upload {
    destination: Destination,
    digest: Digest,
    size: u64,
    session: Option<Session>,
    /// Bytes handed in, counted from the blob's beginning.
    offset: u64,
    /// The most that the registry ever had.
    furthest: u64,
    piece: Option<Piece>,
    /// The request on its way carries the whole blob.
    is_whole: bool,
    /// One that did so broke off: a piece is less to lose.
    is_cautious: bool,
    /// What the registry has stems from several tries, so that it may be wrong through no fault of the
    /// blob.
    is_pieced_together: bool,
    is_complete: bool,
    tries: Tries,
    tried: bool,
}

/// What [`Upload::open`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// The registry has the blob.
    Complete,
    /// Bytes are to be handed in from this one on.
    At(u64),
}

/// Why no more bytes are taken now.
#[derive(Debug)]
pub enum Stopped {
    /// Opening the upload again shows where to go on.
    Broken(Error),
    /// Going on is futile.
    Failed(Error),
}

impl Upload {
    /// Will upload a large blob to `destination`, as its bytes come; to `session` where there is one.
    pub fn new(
        destination: Destination,
        descriptor: &Descriptor,
        session: Option<Session>,
    ) -> Self {
        let tries = Tries::of(&destination.context, std::slice::from_ref(&destination.host));
        Self {
            destination,
            digest: descriptor.digest,
            size: descriptor.size,
            session,
            offset: 0,
            furthest: 0,
            piece: None,
            is_whole: false,
            is_cautious: false,
            is_pieced_together: false,
            is_complete: false,
            tries,
            tried: false,
        }
    }

    /// Finds out where to go on, after a wait where it broke off.
    ///
    /// # Errors
    /// When there is no try left.
    pub async fn open(&mut self) -> Result<Opened, Error> {
        self.piece = None;
        loop {
            if let Err(given_up) = self.tries.next().await {
                return Err(given_up.error(&self.what(), &self.label()));
            }
            match self.stand().await {
                Ok(opened) => return Ok(opened),
                Err(fault) => self.tries.failed(0, fault),
            }
        }
    }

    async fn stand(&mut self) -> Result<Opened, Fault> {
        let is_first = !std::mem::replace(&mut self.tried, true);
        // An answer may have been lost on its way.
        if !is_first && self.destination.blob_at(&self.label()).await? {
            return Ok(Opened::Complete);
        }
        let stands = if is_first { None } else { self.resumed().await? };
        let at = match stands {
            Some(at) => at,
            None => {
                if self.session.is_none() {
                    self.session = Some(self.destination.begin().await?);
                }
                self.is_pieced_together = false;
                0
            }
        };
        if at > self.furthest {
            self.furthest = at;
            self.tries.progressed(0);
        }
        self.offset = at;
        self.is_whole = at == 0 && self.is_to_be_whole();
        Ok(Opened::At(at))
    }

    fn is_to_be_whole(&self) -> bool {
        let health = self.destination.host.endpoint().health();
        let is_free = self.destination.context.policy.upload_chunk_bytes.is_none();
        health.refuses_pieces() || is_free && !self.is_cautious && !health.refuses_wholes()
    }

    /// How many bytes the session has that broke; without a usable answer it is let go of.
    async fn resumed(&mut self) -> Result<Option<u64>, Fault> {
        let Some(mut session) = self.session.take() else { return Ok(None) };
        let host = &self.destination.host;
        let stands = match self.is_whole && host.endpoint().health().refuses_pieces() {
            true => Ok(Received::Untold),
            false => session.status(host).await,
        };
        match stands {
            Ok(Received::Bytes(at)) if at <= self.size => {
                self.session = Some(session);
                self.is_pieced_together = true;
                Ok(Some(at))
            }
            Err(fault) if fault.is_retryable() => {
                self.session = Some(session);
                Err(fault)
            }
            stands => {
                tracing::debug!(?stands, digest = %self.digest, "the upload begins anew");
                session.cancel(host).await;
                Ok(None)
            }
        }
    }

    /// Where the next byte goes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next bytes; returns when they are on their way. What the registry says to the last ones
    /// is awaited by [`Upload::finish`].
    ///
    /// # Errors
    /// [`Stopped`], with which this try ends.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), Stopped> {
        while !bytes.is_empty() {
            if self.offset == self.size {
                return Err(self.stopped(Fault::Excess { expected: self.size }));
            }
            let mut piece = match self.piece.take() {
                Some(piece) => piece,
                None => self.next_piece()?,
            };
            let before = bytes.len();
            let goes_on = piece.write(&mut bytes).await;
            self.offset += (before - bytes.len()) as u64;
            if goes_on && (piece.left > 0 || self.offset == self.size) {
                self.piece = Some(piece);
            } else {
                self.end_piece(piece).await?;
            }
        }
        Ok(())
    }

    /// Completes the blob, all of whose bytes were handed in.
    ///
    /// # Errors
    /// [`Stopped`], with which this try ends.
    pub async fn finish(&mut self) -> Result<(), Stopped> {
        if let Some(piece) = self.piece.take() {
            self.end_piece(piece).await?;
        }
        if self.is_complete {
            return Ok(());
        }
        let Some(session) = self.session.clone() else { return Err(self.stopped(Fault::Spent)) };
        let outcome =
            self.destination.complete(&session, self.digest, Payload::Bytes(Bytes::new())).await;
        outcome.map_err(|fault| self.completion_failed(fault))
    }

    /// Breaks it off for good, and lets the registry forget it.
    pub async fn abandon(&mut self) {
        self.piece = None;
        if let Some(session) = self.session.take() {
            session.cancel(&self.destination.host).await;
        }
    }

    fn next_piece(&mut self) -> Result<Piece, Stopped> {
        let Some(session) = &self.session else { return Err(self.stopped(Fault::Spent)) };
        let longest = match self.is_whole {
            true => self.size,
            false => {
                self.destination.context.policy.upload_chunk_bytes.unwrap_or(PIECE_BYTES).max(1)
            }
        };
        let end = self.offset.saturating_add(longest).min(self.size);
        let range = ByteRange { start: self.offset, end };
        let (method, completes) = match self.is_whole {
            true => (Method::PUT, true),
            false => (Method::PATCH, false),
        };
        let label = format!("{} bytes {range}", self.label());
        let sent = Sent { method, label, digest: self.digest, completes, range };
        let Destination { context, host, .. } = &self.destination;
        Ok(Piece::begin(context, host, session, sent))
    }

    async fn end_piece(&mut self, piece: Piece) -> Result<(), Stopped> {
        let (left, length) = (piece.left, piece.length);
        let answer = match piece.end().await {
            Ok(answer) => answer,
            Err(fault) => return Err(self.stopped(fault)),
        };
        if self.is_whole {
            let completed = self.destination.completed(answer, self.digest, length).await;
            completed.map_err(|fault| self.whole_failed(fault))?;
            self.is_complete = true;
            return Ok(());
        }
        if !answer.response.status().is_success() {
            let refusal = refusal::of(&self.destination.host, answer, length).await;
            return Err(self.refused(refusal));
        }
        match self.taken(&answer) {
            Ok(()) if left == 0 => Ok(()),
            // It was answered before all of it had come.
            Ok(()) => Err(self.stopped(behind())),
            Err(fault) => Err(self.stopped(fault)),
        }
    }

    /// Whether the registry has all that was handed in.
    fn taken(&mut self, answer: &Answer) -> Result<(), Fault> {
        let headers = answer.response.headers();
        if let Some(session) = &mut self.session {
            session.moves(&self.destination.host, headers)?;
        }
        let has = match received(headers) {
            Received::Bytes(has) => has,
            Received::NothingOrOne => 1,
            Received::Untold => self.offset,
        };
        // Some count one too many.
        if has < self.offset {
            return Err(behind());
        }
        self.furthest = self.furthest.max(self.offset);
        self.tries.progressed(0);
        Ok(())
    }

    /// What becomes of an upload that was sent as a whole.
    fn whole_failed(&mut self, fault: Fault) -> Stopped {
        let health = self.destination.host.endpoint().health();
        let is_too_large = matches!(fault, Fault::Upload(UploadFault::TooLarge { .. }));
        if health.refuses_pieces() || !is_too_large && !is_about_form(&fault) {
            return self.completion_failed(fault);
        }
        tracing::debug!(%fault, "large blobs are sent in pieces from now on");
        health.refuse_wholes();
        // What comes next is another way, and no repetition.
        self.broken(&fault)
    }

    /// What becomes of an upload of which a piece was refused.
    fn refused(&mut self, refusal: Refusal) -> Stopped {
        let is_first = self.furthest == 0;
        let health = self.destination.host.endpoint().health();
        match refusal.status {
            _ if is_first && is_about_form(&refusal.fault) && !health.refuses_wholes() => {
                tracing::debug!(fault = %refusal.fault, "blobs are sent as a whole from now on");
                health.refuse_pieces();
                self.broken(&refusal.fault)
            }
            // The registry stands elsewhere, or has forgotten the session.
            StatusCode::RANGE_NOT_SATISFIABLE => self.stopped(behind()),
            StatusCode::NOT_FOUND => {
                self.session = None;
                match is_first {
                    true => self.stopped(refusal.fault),
                    false => self.stopped(behind()),
                }
            }
            _ => self.stopped(refusal.fault),
        }
    }

    fn completion_failed(&mut self, fault: Fault) -> Stopped {
        if matches!(fault, Fault::NotFound { .. }) {
            // The session ended, perhaps because an earlier request of this kind did its work.
            self.session = None;
            return self.stopped(behind());
        }
        let is_wrong = matches!(fault, Fault::Upload(UploadFault::WrongBytes { .. }));
        if is_wrong {
            self.session = None;
            if std::mem::take(&mut self.is_pieced_together) {
                // Of a connection that broke, bytes may still have been on their way.
                return self.stopped(behind());
            }
        }
        self.stopped(fault)
    }

    /// Ends this try.
    fn stopped(&mut self, fault: Fault) -> Stopped {
        self.is_cautious = true;
        let is_hopeful = fault.is_retryable();
        self.tries.failed(0, fault);
        let error = self.tries.give_up(None).error(&self.what(), &self.label());
        if is_hopeful { Stopped::Broken(error) } else { Stopped::Failed(error) }
    }

    /// Ends this try without holding it against the host.
    fn broken(&mut self, fault: &Fault) -> Stopped {
        self.tries.failed(0, Fault::Broken(fault.to_string()));
        self.tries.progressed(0);
        Stopped::Broken(self.tries.give_up(None).error(&self.what(), &self.label()))
    }

    fn what(&self) -> String {
        format!("push {} to {}", self.digest, self.destination.name)
    }

    fn label(&self) -> String {
        format!("blobs/{}", self.digest)
    }
}

/// Whether `fault` may be about how a blob is sent, so that another way is worth a try.
fn is_about_form(fault: &Fault) -> bool {
    let status = match fault {
        Fault::Status { status, .. } => status,
        Fault::Upload(UploadFault::ReadOnly { status, .. }) => status,
        _ => return false,
    };
    matches!(
        *status,
        StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::LENGTH_REQUIRED
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::NOT_IMPLEMENTED
    )
}

/// That the registry has less than was sent to it.
fn behind() -> Fault {
    Fault::Broken("the registry has lost bytes of the upload".to_owned())
}
