//! The one host of a repository that takes uploads: whether it has a blob, another repository's, and
//! blobs that are sent at once.

use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::refusal;
use super::session::{Begun, Session, Step};
use crate::config::Capability;
use crate::oci::{Descriptor, Digest};
use crate::progress::Event;
use crate::reference::Reference;
use crate::registry::api::document;
use crate::registry::ask::host::{Host, Hosts};
use crate::registry::ask::tries::Tries;
use crate::registry::ask::turn::{Question, in_turn};
use crate::registry::auth::Action;
use crate::registry::context::Context;
use crate::registry::error::Error;
use crate::registry::fault::Fault;
use crate::registry::http::exchange::{Answer, Call};
use crate::registry::http::payload::Payload;
use crate::registry::upload_fault::UploadFault;

/// The header by which a registry says what it keeps.
pub(super) const CONTENT_DIGEST: &str = "docker-content-digest";

/// A repository at the one host that is pushed to. What is uploaded to several would be whole at none.
#[derive(Debug, Clone)]
pub struct Destination {
    pub(super) context: Arc<Context>,
    pub(super) host: Host,
    /// `harbor.example.net/team/app`.
    pub(super) name: String,
}

impl Destination {
    /// The first of `hosts` that may be pushed to.
    ///
    /// # Errors
    /// [`Error::NoPushHost`].
    pub(crate) fn new(
        context: &Arc<Context>,
        hosts: &Hosts,
        reference: &Reference,
    ) -> Result<Self, Error> {
        let name = reference.name();
        match hosts.with(Capability::Push).into_iter().next() {
            Some(host) => Ok(Self { context: Arc::clone(context), host, name }),
            None => Err(Error::NoPushHost { name }),
        }
    }

    /// `host[:port]` that is asked.
    pub fn host(&self) -> &str {
        self.host.endpoint().name()
    }

    /// Asks the host, again where that may help.
    pub(super) async fn ask<T, A>(
        &self,
        what: String,
        request: &str,
        mut ask: impl FnMut() -> A,
    ) -> Result<T, Error>
    where
        A: Future<Output = Result<T, Fault>>,
    {
        let question = Question { what, request: request.to_owned(), hedges: false };
        let hosts = slice::from_ref(&self.host);
        let mut tries = Tries::of(&self.context, hosts);
        Ok(in_turn(&mut tries, hosts, &question, |_, _| ask()).await?.1)
    }

    /// Whether the repository has the blob.
    ///
    /// # Errors
    /// When the host does not answer. That it does not tell is no error: who may push finds out.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let label = format!("blobs/{digest}");
        let what = format!("look for {digest} in {}", self.name);
        self.ask(what, &label, || self.blob_at(&label)).await
    }

    pub(super) async fn blob_at(&self, label: &str) -> Result<bool, Fault> {
        let path = self.host.path(label);
        let access = self.host.access(&Action::Push);
        let call = Call { access: Some(&access), ..Call::new(Method::HEAD, &path, label) };
        let answer = self.host.endpoint().send(&call).await?;
        // A store behind the registry may take a GET with the same URL only.
        let elsewhere = answer.target.as_ref();
        let is_elsewhere = elsewhere.is_some_and(|url| !self.host.endpoint().is_own(url));
        match answer.response.status() {
            status if status.is_success() => Ok(true),
            status if is_elsewhere && status != StatusCode::NOT_FOUND => Ok(true),
            _ => absent(document::refusal(&self.host, answer).await).map(|()| false),
        }
    }

    /// Makes a blob of the repository `from` at the same host one of this one, which is tried once.
    /// `None` where that is refused or fails: then it is uploaded as any other.
    pub async fn mount(&self, digest: &Digest, from: &str) -> Option<Begun> {
        match Session::begin(&self.host, Some((*digest, from))).await {
            Ok(begun) => Some(begun),
            Err(fault) => {
                tracing::debug!(%fault, %digest, from, "no mount");
                None
            }
        }
    }

    /// Ends an upload that nothing was sent for.
    pub async fn cancel(&self, session: Session) {
        session.cancel(&self.host).await;
    }

    /// Uploads a small blob, which is not there, in one request; to `session` where there is one.
    ///
    /// # Errors
    /// When the host refuses or does not answer.
    pub async fn put_blob(
        &self,
        descriptor: &Descriptor,
        bytes: Bytes,
        session: Option<Session>,
    ) -> Result<(), Error> {
        let digest = descriptor.digest;
        let (mut session, mut is_first) = (session, true);
        let label = format!("blobs/{digest}");
        let what = format!("push {digest} to {}", self.name);
        self.ask(what, &label, || {
            let (session, first) = (session.take(), std::mem::take(&mut is_first));
            let (bytes, label) = (bytes.clone(), &label);
            async move {
                // An answer may have been lost on its way.
                if !first && self.blob_at(label).await? {
                    return Ok(());
                }
                let session = match session {
                    Some(session) => session,
                    None => self.begin().await?,
                };
                let delta_bytes = bytes.len() as u64;
                self.complete(&session, digest, Payload::Bytes(bytes)).await?;
                self.context.sink.event(Event::Sent { digest, delta_bytes });
                Ok(())
            }
        })
        .await
    }

    pub(super) async fn begin(&self) -> Result<Session, Fault> {
        match Session::begin(&self.host, None).await? {
            Begun::Session(session) => Ok(session),
            Begun::Mounted => Err(Fault::Malformed("a mount that nobody asked for".to_owned())),
        }
    }

    /// Sends what is left of a blob, and completes it.
    pub(super) async fn complete(
        &self,
        session: &Session,
        digest: Digest,
        payload: Payload,
    ) -> Result<(), Fault> {
        let label = format!("blobs/{digest}");
        let (method, part) = (Method::PUT, None);
        let step = Step { method, label: &label, digest: Some(digest), payload, part };
        let answer = session.send(&self.host, step).await?;
        self.completed(answer, digest, 0).await
    }

    /// Whether `answer`, to a request with so many bytes that completed the blob, says that it is kept.
    pub(super) async fn completed(
        &self,
        answer: Answer,
        digest: Digest,
        sent_bytes: u64,
    ) -> Result<(), Fault> {
        let status = answer.response.status();
        if !status.is_success() {
            let refusal = refusal::of(&self.host, answer, sent_bytes).await;
            return Err(match (refusal.is("DIGEST_INVALID"), refusal.fault) {
                (true, Fault::Status { reason, .. }) => {
                    UploadFault::WrongBytes { expected: digest, reason }.into()
                }
                (_, fault) => fault,
            });
        }
        kept(&answer, digest)?;
        // It may be on its way, or nothing is ever kept.
        if status == StatusCode::ACCEPTED && !self.blob_at(&format!("blobs/{digest}")).await? {
            return Err(UploadFault::NeverKept("the blob".to_owned()).into());
        }
        Ok(())
    }
}

/// Compares the digest that `answer` names with the one of what was sent.
pub(super) fn kept(answer: &Answer, expected: Digest) -> Result<(), Fault> {
    let named = answer.response.headers().get(CONTENT_DIGEST);
    let named: Option<Digest> = named.and_then(|value| value.to_str().ok()?.parse().ok());
    match named.filter(|named| *named != expected) {
        Some(actual) => Err(UploadFault::OtherDigest { expected, actual }.into()),
        None => Ok(()),
    }
}

/// Whether `fault`, of a HEAD, means no more than that the content is not there, or is not told of: a
/// login may push and not pull.
pub(super) fn absent(fault: Fault) -> Result<(), Fault> {
    match fault {
        Fault::NotFound { .. } | Fault::Denied { .. } | Fault::Unauthorized { .. } => Ok(()),
        Fault::Status { status, retry_after: None, .. }
            if status != StatusCode::REQUEST_TIMEOUT && !status.is_server_error() =>
        {
            Ok(())
        }
        Fault::Status { status: StatusCode::NOT_IMPLEMENTED, .. } => Ok(()),
        fault => Err(fault),
    }
}
