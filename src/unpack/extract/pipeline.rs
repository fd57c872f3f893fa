//! Decompression and hashing on threads of their own, a few buffers ahead of the reader.
//!
//! Inflating takes about as long as writing the files, and hashing half of that; which of them is
//! the slowest depends on the layer. Each on its own thread, the slowest alone counts. Buffers are
//! shared, not copied.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::buffers::Buffer;
use crate::oci::{DiffId, Hasher};

/// Buffers that wait for the reader, and for the hashing thread. With those in work there are at
/// most 3 MiB of them a layer.
const BUFFERS_AHEAD: usize = 4;

/// What was read, or nothing at the end.
type Filled = io::Result<Option<Arc<Buffer>>>;

/// The bytes that other threads read ahead and hash.
pub(crate) struct ReadAhead {
    filled: Receiver<Filled>,
    digest: Receiver<DiffId>,
    /// None before the first one, and at the end.
    current: Option<Arc<Buffer>>,
    position: usize,
    has_ended: bool,
}

impl ReadAhead {
    /// Starts the threads that read and hash `source`.
    ///
    /// They end when the source does, or, after a current read, when this is dropped.
    ///
    /// # Errors
    /// What the system says when it has no thread.
    pub(crate) fn spawn(source: impl Read + Send + 'static) -> io::Result<Self> {
        let (to_reader, filled) = sync_channel(BUFFERS_AHEAD);
        let (to_hasher, unhashed) = sync_channel(BUFFERS_AHEAD);
        let (to_finish, digest) = sync_channel(1);
        start("hash", move || {
            // A reader that is gone does not want the digest.
            let _ = to_finish.send(hash(&unhashed));
        })?;
        start("inflate", move || read_ahead(source, &to_reader, &to_hasher))?;
        Ok(Self { filled, digest, current: None, position: 0, has_ended: false })
    }

    /// The bytes that are there now; none at the end.
    ///
    /// # Errors
    /// What the source failed with.
    pub(crate) fn fill(&mut self) -> io::Result<&[u8]> {
        if self.rest().is_empty() && !self.has_ended {
            // Before the next one is waited for, since it may be wanted for that.
            self.current = None;
            self.position = 0;
            self.current = self.filled.recv().unwrap_or_else(|_| Err(stopped()))?;
            self.has_ended = self.current.is_none();
        }
        Ok(self.rest())
    }

    fn rest(&self) -> &[u8] {
        let current = self.current.as_deref().map(AsRef::as_ref).unwrap_or_default();
        current.get(self.position..).unwrap_or_default()
    }

    /// Drops `amount` of the bytes that [`ReadAhead::fill`] returned.
    pub(crate) fn consume(&mut self, amount: usize) {
        self.position += amount;
    }

    /// The digest of all bytes, once the end was reached.
    ///
    /// # Errors
    /// When a thread has died.
    pub(crate) fn digest(self) -> io::Result<DiffId> {
        self.digest.recv().map_err(|_| stopped())
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Every regular end sends a last message first.
fn stopped() -> io::Error {
    io::Error::other("a decompressing thread stopped")
}

/// Sends full buffers both ways, then nothing to the reader for the end, or an error.
fn read_ahead(
    mut source: impl Read,
    to_reader: &SyncSender<Filled>,
    to_hasher: &SyncSender<Arc<Buffer>>,
) {
    loop {
        let (buffer, result) = Buffer::filled(&mut source);
        let has_ended = !buffer.is_full();
        let buffer = Arc::new(buffer);
        let is_wanted = (*buffer).as_ref().is_empty()
            || to_reader.send(Ok(Some(Arc::clone(&buffer)))).is_ok()
                && to_hasher.send(buffer).is_ok();
        if !is_wanted {
            return;
        }
        if has_ended {
            // A reader that is gone does not want to know.
            let _ = to_reader.send(result.map(|()| None));
            return;
        }
    }
}

fn hash(unhashed: &Receiver<Arc<Buffer>>) -> DiffId {
    let mut hasher = Hasher::new();
    while let Ok(buffer) = unhashed.recv() {
        hasher.update((*buffer).as_ref());
    }
    DiffId(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::oci::Digest;
    use crate::unpack::extract::buffers::BUFFER_BYTES;

    fn read_to_end(reader: &mut ReadAhead) -> (Vec<u8>, io::Result<()>) {
        let mut read = Vec::new();
        loop {
            match reader.fill() {
                Ok([]) => return (read, Ok(())),
                Ok(bytes) => read.extend_from_slice(bytes),
                Err(error) => return (read, Err(error)),
            }
            reader.consume(BUFFER_BYTES);
        }
    }

    #[test]
    fn hands_on_and_hashes_every_byte_in_order() {
        for length in [0, 1, BUFFER_BYTES, BUFFER_BYTES + 1, 20 * BUFFER_BYTES] {
            let content: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let mut reader = ReadAhead::spawn(io::Cursor::new(content.clone())).unwrap();
            let (read, result) = read_to_end(&mut reader);
            assert!(result.is_ok() && read == content, "{length}");
            assert_eq!(reader.digest().unwrap().0, Digest::of(&content));
        }
    }

    #[test]
    fn hands_on_what_came_before_an_error() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let mut reader = ReadAhead::spawn(io::Cursor::new(b"half").chain(Failing)).unwrap();
        let (read, result) = read_to_end(&mut reader);
        assert_eq!(read, b"half");
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn lets_its_threads_end_when_the_reader_goes() {
        struct Endless(Sender<()>);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                Ok(buffer.len())
            }
        }
        impl Drop for Endless {
            fn drop(&mut self) {
                self.0.send(()).unwrap();
            }
        }
        let (ended, end) = channel();
        drop(ReadAhead::spawn(Endless(ended)).unwrap());
        end.recv().unwrap();
    }
}
