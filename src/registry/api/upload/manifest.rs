//! Manifests on their way to a registry.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::destination::{CONTENT_DIGEST, Destination, absent, kept};
use super::refusal;
use crate::oci::{Descriptor, Digest};
use crate::registry::api::document::{self, ACCEPT};
use crate::registry::auth::Action;
use crate::registry::error::Error;
use crate::registry::fault::Fault;
use crate::registry::http::exchange::Call;
use crate::registry::http::payload::Payload;
use crate::registry::upload_fault::UploadFault;

/// The header by which a registry says that it lists what refers to the manifest's subject.
const SUBJECT: &str = "oci-subject";

impl Destination {
    /// The digest of the manifest or index called `name`, a tag or a digest; `None` where there is none
    /// or the registry does not tell.
    ///
    /// # Errors
    /// When the host does not answer.
    pub async fn manifest(&self, name: &str) -> Result<Option<Digest>, Error> {
        let label = format!("manifests/{name}");
        let what = format!("look for {name} in {}", self.name);
        self.ask(what, &label, || self.manifest_at(&label)).await
    }

    async fn manifest_at(&self, label: &str) -> Result<Option<Digest>, Fault> {
        let path = self.host.path(label);
        let access = self.host.access(&Action::Push);
        let call = Call {
            accept: Some(ACCEPT),
            access: Some(&access),
            ..Call::new(Method::HEAD, &path, label)
        };
        let answer = self.host.endpoint().send(&call).await?;
        if answer.response.status() == StatusCode::OK {
            let named = answer.response.headers().get(CONTENT_DIGEST);
            return Ok(named.and_then(|value| value.to_str().ok()?.parse().ok()));
        }
        absent(document::refusal(&self.host, answer).await).map(|()| None)
    }

    /// Reads the index called `tag`, where there is one.
    ///
    /// # Errors
    /// When the host refuses or does not answer.
    pub async fn read_tag(&self, tag: &str) -> Result<Option<Bytes>, Error> {
        let what = format!("read {tag} of {}", self.name);
        self.ask(what, &format!("manifests/{tag}"), || async {
            match document::read_tag(&self.host, tag).await {
                Ok(document) => Ok(Some(document.bytes)),
                Err(Fault::NotFound { .. }) => Ok(None),
                Err(fault) => Err(fault),
            }
        })
        .await
    }

    /// Brings the manifest or index `descriptor`, whose bytes these are, under `name`, a tag or its
    /// digest. With `has_urls`, some of its layers are kept elsewhere. Tells whether the registry lists
    /// it by itself among what refers to its subject.
    ///
    /// # Errors
    /// When the host refuses, does not answer, or says that it keeps something else.
    pub async fn put_manifest(
        &self,
        name: &str,
        descriptor: &Descriptor,
        bytes: &Bytes,
        has_urls: bool,
    ) -> Result<bool, Error> {
        let label = format!("manifests/{name}");
        let what = format!("push {name} to {}", self.name);
        self.ask(what, &label, || self.put_at(&label, descriptor, bytes, has_urls)).await
    }

    async fn put_at(
        &self,
        label: &str,
        descriptor: &Descriptor,
        bytes: &Bytes,
        has_urls: bool,
    ) -> Result<bool, Fault> {
        let path = self.host.path(label);
        let access = self.host.access(&Action::Push);
        let call = Call {
            access: Some(&access),
            payload: Payload::Bytes(bytes.clone()),
            content_type: Some(descriptor.media_type.as_str()),
            ..Call::new(Method::PUT, &path, label)
        };
        let answer = self.host.endpoint().send(&call).await?;
        let status = answer.response.status();
        if !status.is_success() {
            let refusal = refusal::of(&self.host, answer, bytes.len() as u64).await;
            return Err(match refusal.fault {
                // docker-registry; asking again is futile.
                Fault::Status { reason, .. }
                | Fault::Upload(UploadFault::UnknownContent { reason, .. })
                    if has_urls && status == StatusCode::INTERNAL_SERVER_ERROR =>
                {
                    UploadFault::ForeignLayers { reason }.into()
                }
                Fault::NotFound { reason } => UploadFault::NoRepository { reason }.into(),
                fault => fault,
            });
        }
        kept(&answer, descriptor.digest)?;
        let lists = answer.response.headers().contains_key(SUBJECT);
        if status == StatusCode::ACCEPTED
            && self.manifest_at(label).await? != Some(descriptor.digest)
        {
            let name = label.trim_start_matches("manifests/");
            return Err(UploadFault::NeverKept(format!("the manifest {name}")).into());
        }
        Ok(lists)
    }
}
