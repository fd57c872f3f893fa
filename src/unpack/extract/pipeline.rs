//! Decompression on a thread of its own, a few buffers ahead of the reader.
//!
//! Inflating takes about as long as hashing and writing what comes out, so two threads take little
//! more than half the time of one. Buffers travel back to be filled again.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

/// Length of a buffer, in bytes: small enough that it is still in the second-level cache when the
/// reader gets it.
const BUFFER_BYTES: usize = 256 * 1024;

/// Buffers on the way to the reader. With one being filled and one being read, 2 MiB a layer.
const BUFFERS_AHEAD: usize = 6;

type Filled = io::Result<Vec<u8>>;

/// The bytes that another thread reads ahead.
pub(crate) struct ReadAhead {
    filled: Receiver<Filled>,
    spent: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    has_ended: bool,
}

impl ReadAhead {
    /// Starts a thread that reads `source` ahead.
    ///
    /// The thread ends when the source does, or, after its current read, when this is dropped.
    ///
    /// # Errors
    /// What the system says when it has no thread.
    pub(crate) fn spawn(source: impl Read + Send + 'static) -> io::Result<Self> {
        let (filled_sender, filled) = sync_channel(BUFFERS_AHEAD);
        let (spent, spent_receiver) = channel();
        thread::Builder::new()
            .name("inflate".to_owned())
            .spawn(move || read_ahead(source, &filled_sender, &spent_receiver))?;
        Ok(Self { filled, spent, current: Vec::new(), position: 0, has_ended: false })
    }

    fn next_buffer(&mut self) -> io::Result<()> {
        let next = self.filled.recv().unwrap_or_else(|_| {
            // Every regular end sends a last message first.
            Err(io::Error::other("the decompressing thread stopped"))
        })?;
        self.has_ended = next.is_empty();
        self.position = 0;
        // The thread may have ended; then nobody needs the buffer.
        let _ = self.spent.send(std::mem::replace(&mut self.current, next));
        Ok(())
    }
}

/// Sends full buffers, then an empty one for the end, or an error.
fn read_ahead(mut source: impl Read, filled: &SyncSender<Filled>, spent: &Receiver<Vec<u8>>) {
    loop {
        let mut buffer = spent.try_recv().unwrap_or_default();
        buffer.resize(BUFFER_BYTES, 0);
        let (length, error) = fill(&mut source, &mut buffer);
        buffer.truncate(length);
        let is_last = length < BUFFER_BYTES;
        if length > 0 && filled.send(Ok(buffer)).is_err() {
            return;
        }
        if is_last {
            // The reader may be gone; then nobody wants to know.
            let _ = filled.send(error.map_or(Ok(Vec::new()), Err));
            return;
        }
    }
}

/// Fills `buffer` as far as the source goes; what came before an error is kept.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(amount) => length += amount,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (length, Some(error)),
        }
    }
    (length, None)
}

impl BufRead for ReadAhead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position >= self.current.len() && !self.has_ended {
            self.next_buffer()?;
        }
        Ok(self.current.get(self.position..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.position = self.current.len().min(self.position + amount);
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let amount = self.fill_buf()?.read(buffer)?;
        self.consume(amount);
        Ok(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_on_every_byte_in_order() {
        for length in [0, 1, BUFFER_BYTES, BUFFER_BYTES + 1, 20 * BUFFER_BYTES] {
            let content: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let mut read = Vec::new();
            let source = io::Cursor::new(content.clone());
            ReadAhead::spawn(source).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == content, "{length}");
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
        let mut read = Vec::new();
        let error = reader.read_to_end(&mut read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(read, b"half");
    }

    #[test]
    fn lets_its_thread_end_when_the_reader_goes() {
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
