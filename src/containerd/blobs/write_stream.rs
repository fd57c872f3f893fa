//! One `Content.Write` call: requests pipelined, answers counted. Knows the protocol, not the blob.

use containerd_client::services::v1 as api;
use containerd_client::services::v1::content_client::ContentClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::containerd::Error;
use crate::containerd::client::Client;

/// Requests sent ahead of their answers. With one at a time the daemon's disk and our side take
/// turns; from four on there is nothing left to gain.
const WINDOW: usize = 4;

/// An open write, holding the lock of its reference until it is dropped.
#[derive(Debug)]
pub(super) struct WriteStream {
    client: Client,
    operation: String,
    requests: mpsc::Sender<api::WriteContentRequest>,
    answers: Streaming<api::WriteContentResponse>,
    in_flight: usize,
}

impl WriteStream {
    /// Opens a write with its `first` request, which must name the reference, and returns the answer
    /// to that as well.
    pub(super) async fn open(
        client: &Client,
        operation: String,
        first: api::WriteContentRequest,
    ) -> Result<(Self, api::WriteContentResponse), Error> {
        let (requests, queue) = mpsc::channel(WINDOW);
        let mut service = ContentClient::new(client.service());
        // A fresh queue has room.
        requests.try_send(first).map_err(|_| ended(&operation))?;
        let answers =
            client.watch(&operation, service.write(ReceiverStream::new(queue))).await?.into_inner();
        let mut stream =
            Self { client: client.clone(), operation, requests, answers, in_flight: 1 };
        let answer = stream.receive().await?;
        Ok((stream, answer))
    }

    /// Sends `request` once fewer than [`WINDOW`] are unanswered.
    pub(super) async fn send(&mut self, request: api::WriteContentRequest) -> Result<(), Error> {
        while self.in_flight >= WINDOW {
            self.receive().await?;
        }
        self.push(request).await
    }

    /// Awaits the answers to all that was sent; returns the last one's.
    pub(super) async fn drain(&mut self) -> Result<Option<api::WriteContentResponse>, Error> {
        let mut last = None;
        while self.in_flight > 0 {
            last = Some(self.receive().await?);
        }
        Ok(last)
    }

    /// Whether the daemon still holds the lock for us, asked of our end of the connection alone.
    pub(super) async fn check(&mut self) -> Result<(), Error> {
        if !self.requests.is_closed() {
            return Ok(());
        }
        self.receive().await?;
        Err(ended(&self.operation))
    }

    /// Ends the call and awaits that the daemon has given the lock back.
    pub(super) async fn finish(mut self) -> Result<(), Error> {
        drop(self.requests);
        while self.client.watch(&self.operation, self.answers.message()).await?.is_some() {}
        Ok(())
    }

    async fn push(&mut self, request: api::WriteContentRequest) -> Result<(), Error> {
        if self.requests.send(request).await.is_err() {
            // The daemon ended the call; its answer says why.
            while self.in_flight > 0 {
                self.receive().await?;
            }
            return Err(ended(&self.operation));
        }
        self.in_flight += 1;
        Ok(())
    }

    async fn receive(&mut self) -> Result<api::WriteContentResponse, Error> {
        let answer = self.client.watch(&self.operation, self.answers.message()).await?;
        self.in_flight = self.in_flight.saturating_sub(1);
        answer.ok_or_else(|| ended(&self.operation))
    }
}

fn ended(operation: &str) -> Error {
    Error::bad_answer(operation, "the call ended without a reason")
}
