//! What refers to a manifest: signatures, attestations, SBOMs. See
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers>.

use std::sync::Arc;

use crate::config::Capability;
use crate::oci::{Descriptor, Digest, ManifestKind, MediaType};
use crate::reference::Reference;
use crate::registry::api::{document, pages};
use crate::registry::ask::host::{Host, Hosts};
use crate::registry::ask::tries::Tries;
use crate::registry::ask::turn::{Question, in_turn};
use crate::registry::context::Context;
use crate::registry::error::Error;
use crate::registry::fault::Fault;

/// The type of the lists of referrers.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Lists what refers to `subject`, at the first host that may be asked for it.
///
/// # Errors
/// [`Error::NoHost`] if none may be asked; otherwise [`Error::AllHostsFailed`].
pub(crate) async fn referrers(
    context: &Arc<Context>,
    hosts: &Hosts,
    reference: &Reference,
    subject: Digest,
) -> Result<Vec<Descriptor>, Error> {
    let hosts = hosts.with(Capability::Referrers);
    let question = Question {
        what: format!("list what refers to {subject} of {}", reference.name()),
        request: format!("referrers/{subject}"),
        hedges: true,
    };
    let mut tries = Tries::of(context, &hosts);
    let asking = in_turn(&mut tries, &hosts, &question, |_, host| referrers_at(host, subject));
    Ok(asking.await?.1)
}

async fn referrers_at(host: &Host, subject: Digest) -> Result<Vec<Descriptor>, Fault> {
    let label = format!("referrers/{subject}");
    let mut found = Vec::new();
    let listed = pages::read(host, &label, host.path(&label), |page| {
        found.extend(entries(&page.body)?);
        Ok(())
    });
    match listed.await {
        Ok(()) => Ok(found),
        // A registry of OCI 1.0 has no such list; clients keep an index under a tag there. An empty
        // list is said with 200, so that this costs one request where nothing refers.
        Err(Fault::NotFound { .. }) => tagged(host, subject).await,
        Err(fault) => Err(fault),
    }
}

/// The index under the tag that stands for `subject`; a missing one is an empty list.
async fn tagged(host: &Host, subject: Digest) -> Result<Vec<Descriptor>, Fault> {
    match document::read_tag(host, &subject.to_string().replace(':', "-")).await {
        Ok(index) => entries(&index.bytes),
        Err(Fault::NotFound { .. }) => Ok(Vec::new()),
        Err(fault) => Err(fault),
    }
}

fn entries(body: &[u8]) -> Result<Vec<Descriptor>, Fault> {
    match ManifestKind::parse(&MediaType::new(INDEX), body) {
        Ok(ManifestKind::Index(index)) => Ok(index.manifests),
        Ok(ManifestKind::Manifest(_)) => Err(Fault::NoManifest("no list of referrers".to_owned())),
        Err(error) => Err(Fault::Malformed(error.to_string())),
    }
}
