//! The compressed bytes on their way from whoever downloads them to the extractor's thread.
//!
//! A bounded queue, so that a slow disk slows the download down. A sender that goes away without
//! saying that it has finished is an error, never the layer's end.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

enum Message {
    Chunk(Bytes),
    End,
}

/// Takes the layer's chunks in order.
#[derive(Debug)]
pub(crate) struct ChunkSender(mpsc::Sender<Message>);

/// Hands the layer's bytes out, on a thread that may block.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    queue: mpsc::Receiver<Message>,
    current: Bytes,
    has_ended: bool,
}

/// Nobody takes chunks any more.
#[derive(Debug)]
pub(crate) struct Closed;

/// A queue that holds at most `capacity` chunks.
pub(crate) fn queue(capacity: usize) -> (ChunkSender, ChunkReader) {
    let (sender, queue) = mpsc::channel(capacity.max(1));
    (ChunkSender(sender), ChunkReader { queue, current: Bytes::new(), has_ended: false })
}

impl ChunkSender {
    /// Waits for room and adds `chunk`.
    pub(crate) async fn send(&self, chunk: Bytes) -> Result<(), Closed> {
        self.0.send(Message::Chunk(chunk)).await.map_err(|_| Closed)
    }

    /// Says that the layer is complete.
    pub(crate) async fn finish(self) -> Result<(), Closed> {
        self.0.send(Message::End).await.map_err(|_| Closed)
    }
}

impl BufRead for ChunkReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() && !self.has_ended {
            match self.queue.blocking_recv() {
                Some(Message::Chunk(chunk)) => self.current = chunk,
                Some(Message::End) => self.has_ended = true,
                None => {
                    let problem = "the sender stopped before the layer's end";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
                }
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, amount: usize) {
        self.current.advance(amount.min(self.current.len()));
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let amount = self.fill_buf()?.read(buffer)?;
        self.consume(amount);
        Ok(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn joins_chunks_in_order() {
        let (sender, mut reader) = queue(1);
        let reading = tokio::task::spawn_blocking(move || {
            let mut content = Vec::new();
            reader.read_to_end(&mut content).map(|_| content)
        });
        for chunk in ["one ", "", "two"] {
            sender.send(Bytes::from_static(chunk.as_bytes())).await.unwrap();
        }
        sender.finish().await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), b"one two");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn does_not_take_a_vanished_sender_for_the_end() {
        let (sender, mut reader) = queue(4);
        sender.send(Bytes::from_static(b"half")).await.unwrap();
        drop(sender);
        let reading = tokio::task::spawn_blocking(move || reader.read_to_end(&mut Vec::new()));
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn tells_the_sender_that_nobody_reads() {
        let (sender, reader) = queue(1);
        drop(reader);
        assert!(sender.send(Bytes::from_static(b"x")).await.is_err());
    }
}
