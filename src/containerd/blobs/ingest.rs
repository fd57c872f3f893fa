//! Writing one blob: appended in order, resumable, verified when it is committed. The bytes go over
//! gRPC or, where that is possible and worth it, straight into the daemon's file.

use std::io;

use bytes::Bytes;
use containerd_client::services::v1 as api;
use futures_util::stream::{Stream, unfold};
use jiff::Timestamp;
use tonic::Code;
use tracing::debug;

use super::content::{ContentStore, signed};
use super::content_file::{ContentFile, Identity};
use super::turn::Turn;
use super::write_stream::WriteStream;
use crate::containerd::{Error, Labels, Reply};
use crate::oci::{Descriptor, Digest};

/// Bytes sent in one message (1 MiB). Below, the daemon's work for each message shows; above,
/// nothing is gained, and its limit is 16 MiB for the message with its envelope.
const MESSAGE_BYTES: usize = 1 << 20;

/// From how many bytes to come the daemon's file is looked for (2 MiB). Below, the third database
/// transaction and the second flush to the disk cost more than gRPC does.
const FILE_FROM_BYTES: u64 = 2 << 20;

/// A blob being written to the content store, locked against other writers.
///
/// Dropping it leaves what was written for the next [`ContentStore::ingest`] of the same reference.
/// After an error of any method it must be dropped and, to go on, opened again.
#[derive(Debug)]
pub struct Ingest {
    store: ContentStore,
    reference: Box<str>,
    digest: Digest,
    size: u64,
    /// Bytes taken, whether or not they have arrived.
    offset: u64,
    /// Holds the lock, whichever way the bytes go.
    stream: Box<WriteStream>,
    way: Way,
}

/// How the bytes get to the daemon.
#[derive(Debug)]
enum Way {
    Messages {
        /// Bytes not yet sent, fewer than [`MESSAGE_BYTES`].
        pending: Vec<u8>,
    },
    File(Box<ContentFile>),
}

impl Ingest {
    pub(super) async fn open(
        store: &ContentStore,
        reference: &str,
        expected: &Descriptor,
    ) -> Result<Self, Error> {
        Self::open_as(store, reference, expected.size, Some(expected.digest)).await
    }

    /// Opens an ingest of `size` bytes that are to hash to `expected`, or to what is found out meanwhile.
    pub(super) async fn open_as(
        store: &ContentStore,
        reference: &str,
        size: u64,
        expected: Option<Digest>,
    ) -> Result<Self, Error> {
        let first = api::WriteContentRequest {
            action: api::WriteAction::Stat.into(),
            r#ref: reference.to_owned(),
            total: signed(size),
            expected: expected.map(|digest| digest.to_string()).unwrap_or_default(),
            ..Default::default()
        };
        let operation = format!("write {reference}");
        let (stream, status) = WriteStream::open(store.client(), operation, first).await?;
        let mut ingest = Self {
            store: store.clone(),
            reference: reference.into(),
            // Until it is told, errors are about the reference.
            digest: expected.unwrap_or_else(|| Digest::of(reference.as_bytes())),
            size,
            offset: u64::try_from(status.offset).unwrap_or(0),
            stream: Box::new(stream),
            way: Way::Messages { pending: Vec::new() },
        };
        if ingest.offset > size {
            debug!(reference, ingest.offset, "an earlier download was too long, starting over");
            ingest.restart().await?;
        }
        ingest.look_for_file(&status).await;
        Ok(ingest)
    }

    /// How many bytes of the blob are there: where writing goes on.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether what is there can be read before it is committed, as containerd's services don't allow.
    pub fn is_readable(&self) -> bool {
        matches!(self.way, Way::File(_))
    }

    /// The bytes that are there, piece by piece from where they lie. To be read before anything is
    /// appended. Where they can't be read, the stream says so.
    pub fn stored(&self) -> impl Stream<Item = Result<Bytes, Error>> + Send + Unpin + use<'_> {
        Box::pin(unfold(Some(0), move |position: Option<u64>| async move {
            let position = position.filter(|position| *position < self.offset)?;
            match self.read(position).await {
                Ok(bytes) => {
                    let next = position + bytes.len() as u64;
                    Some((Ok(bytes), Some(next)))
                }
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// Some of the bytes that are there, from `position` on.
    async fn read(&self, position: u64) -> Result<Bytes, Error> {
        let read = match &self.way {
            Way::File(file) => file.read(position).await,
            Way::Messages { .. } => Ok(Bytes::new()),
        };
        match read {
            Ok(bytes) if bytes.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            read => read,
        }
        .map_err(|error| Error::from_io(format!("read {}", self.reference), &error))
    }

    /// Appends `bytes`. Returns when they are on their way, which may be before they are stored; a
    /// failure to store them may show in a later call.
    ///
    /// # Errors
    /// [`Error::Size`] when it is more than the descriptor says; otherwise the daemon's.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let end = self.offset.saturating_add(bytes.len() as u64);
        if end > self.size {
            return Err(self.wrong_size(end));
        }
        match &mut self.way {
            Way::Messages { .. } => self.send(bytes).await,
            Way::File(file) => {
                // Without the lock, the file is not ours.
                self.stream.check().await?;
                self.offset = end;
                file.append(bytes).await.map_err(|error| self.io_error(&error))
            }
        }
    }

    /// Throws away what is there and begins at byte 0.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.offset = 0;
        match &mut self.way {
            Way::Messages { pending } => {
                pending.clear();
                // To the daemon a write at offset 0 means to truncate.
                let request = self.next_request(api::WriteAction::Write);
                self.stream.send(request).await?;
                self.stream.drain().await.map(drop)
            }
            Way::File(file) => {
                self.stream.check().await?;
                file.truncate().await.map_err(|error| self.io_error(&error))
            }
        }
    }

    /// Verifies and stores the blob, which is now known to be `digest`. See [`Self::commit`].
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn commit_as(mut self, digest: Digest, labels: Labels) -> Result<(), Error> {
        self.digest = digest;
        self.commit(labels).await
    }

    /// Verifies and stores the blob with `labels`. That another client did it first is success too;
    /// the labels are then added to what is there.
    ///
    /// # Errors
    /// [`Error::Size`] when bytes are missing: what is there stays for a resume. [`Error::Mismatch`]
    /// when the bytes are not the ones expected: they are discarded.
    pub async fn commit(mut self, labels: Labels) -> Result<(), Error> {
        if self.offset != self.size {
            return Err(self.wrong_size(self.offset));
        }
        match std::mem::replace(&mut self.way, Way::Messages { pending: Vec::new() }) {
            Way::File(file) => self.commit_file(file, labels).await,
            messages => {
                self.way = messages;
                self.commit_messages(labels).await
            }
        }
    }

    /// Sends on what is held back for want of a full message. For when no more bytes come for a
    /// while: what the daemon has, a killed run need not fetch again.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn flush(&mut self) -> Result<(), Error> {
        match &mut self.way {
            Way::Messages { pending } if pending.is_empty() => Ok(()),
            Way::Messages { .. } => {
                let request = self.next_request(api::WriteAction::Write);
                self.stream.send(request).await
            }
            Way::File(file) => file.flush().await.map_err(|error| self.io_error(&error)),
        }
    }

    /// Stops for now: every byte taken is stored, so that a later ingest goes on right there. Merely
    /// dropping the ingest loses those that are still on their way.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn suspend(mut self) -> Result<(), Error> {
        self.flush().await?;
        if let Way::File(file) = &mut self.way {
            file.finish().await.map_err(|error| self.io_error(&error))?;
        }
        self.stream.drain().await?;
        self.stream.finish().await
    }

    /// Gives up: what was written is deleted.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub async fn discard(self) -> Result<(), Error> {
        // In order: a daemon that is still closing the files fails to delete them.
        if let Err(error) = self.stream.finish().await {
            debug!(reference = self.reference, %error, "the ingest had broken off already");
        }
        self.store.abort(&self.reference).await
    }

    /// Takes the way through the file where it is worth it and the file is found.
    async fn look_for_file(&mut self, status: &api::WriteContentResponse) {
        if self.size.saturating_sub(self.offset) < FILE_FROM_BYTES {
            return;
        }
        let Some(root) = self.store.client().content_root().await else { return };
        let started = status.started_at.as_ref();
        let Some(started) = started.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
        else {
            return;
        };
        let identity = Identity {
            namespace: self.store.client().namespace().to_owned(),
            reference: self.reference.to_string(),
            started,
            offset: self.offset,
        };
        if let Some(file) = ContentFile::open(root.to_owned(), identity).await {
            let is_let_go = self.store.client().is_sparing();
            self.way = Way::File(Box::new(file.letting_go(is_let_go)));
        }
    }

    async fn send(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while let Way::Messages { pending } = &mut self.way
            && !bytes.is_empty()
        {
            let room = MESSAGE_BYTES.saturating_sub(pending.len()).min(bytes.len());
            let taken = bytes.split_to(room);
            self.offset += taken.len() as u64;
            if pending.is_empty() && taken.len() == MESSAGE_BYTES {
                *pending = taken.into();
            } else {
                pending.reserve_exact(MESSAGE_BYTES.saturating_sub(pending.len()));
                pending.extend_from_slice(&taken);
            }
            if pending.len() >= MESSAGE_BYTES {
                let request = self.next_request(api::WriteAction::Write);
                self.stream.send(request).await?;
            }
        }
        Ok(())
    }

    async fn commit_messages(mut self, labels: Labels) -> Result<(), Error> {
        let request = self.commit_request(&labels);
        let outcome = match self.stream.send(request).await {
            Ok(()) => self.stream.drain().await.map(drop),
            Err(error) => Err(error),
        };
        self.store.settle(&self.reference, &self.digest, &labels, outcome).await?;
        self.store.let_go(&self.digest).await;
        Ok(())
    }

    async fn commit_file(
        mut self,
        mut file: Box<ContentFile>,
        labels: Labels,
    ) -> Result<(), Error> {
        let actual = file.finish().await.map_err(|error| self.io_error(&error))?;
        if actual != self.digest {
            let source = Reply {
                code: Code::FailedPrecondition,
                message: format!("its digest is {actual}"),
            };
            let digest = self.digest;
            self.discard().await?;
            return Err(Error::Mismatch { digest, source });
        }
        // Without the lock, the file is not ours.
        self.stream.check().await?;
        file.sync().await.map_err(|error| self.io_error(&error))?;
        if let Err(error) = file.link(&self.digest).await {
            debug!(digest = %self.digest, %error, "the daemon has to hash this blob itself");
        }
        let request = self.commit_request(&labels);
        self.stream.finish().await?;
        let mut turn = Turn::new(&self.store, &self.digest);
        loop {
            let operation = format!("commit {}", self.reference);
            let outcome = WriteStream::open(self.store.client(), operation, request.clone()).await;
            let outcome = outcome.map(drop);
            match self.store.settle(&self.reference, &self.digest, &labels, outcome).await {
                Ok(()) => break,
                Err(error) => turn.wait(error).await?,
            }
        }
        file.clean_up(&self.digest).await;
        Ok(())
    }

    fn commit_request(&mut self, labels: &Labels) -> api::WriteContentRequest {
        api::WriteContentRequest {
            total: signed(self.size),
            expected: self.digest.to_string(),
            labels: labels.clone().into_iter().collect(),
            ..self.next_request(api::WriteAction::Commit)
        }
    }

    /// The pending bytes, if any, as a request at their place. Every request says its offset, so
    /// that a daemon whose idea differs refuses it instead of storing bytes in the wrong place.
    fn next_request(&mut self, action: api::WriteAction) -> api::WriteContentRequest {
        let data = match &mut self.way {
            Way::Messages { pending } => std::mem::take(pending),
            Way::File(_) => Vec::new(),
        };
        api::WriteContentRequest {
            action: action.into(),
            r#ref: self.reference.to_string(),
            offset: signed(self.offset.saturating_sub(data.len() as u64)),
            data,
            ..Default::default()
        }
    }

    fn io_error(&self, error: &io::Error) -> Error {
        Error::from_io(format!("write {}", self.reference), error)
    }

    fn wrong_size(&self, actual: u64) -> Error {
        Error::Size { digest: self.digest, expected: self.size, actual }
    }
}
