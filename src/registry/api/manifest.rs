//! From a manifest's descriptor to its bytes.

use std::sync::Arc;

use bytes::Bytes;

use crate::config::Capability;
use crate::oci::{Descriptor, MAX_MANIFEST_BYTES};
use crate::reference::Reference;
use crate::registry::api::document;
use crate::registry::ask::host::{Host, Hosts};
use crate::registry::ask::tries::Tries;
use crate::registry::ask::turn::{Question, in_turn};
use crate::registry::context::Context;
use crate::registry::error::Error;
use crate::registry::fault::Fault;

/// Reads the manifest or index that `descriptor` names, its size and digest checked. A host that has
/// other bytes under that name is left out for the rest of the run, once another host had the right
/// ones. When the bytes are right and the size is not, it is the descriptor that is wrong: no other
/// host is asked.
///
/// # Errors
/// [`Error::NoHost`] if none may be asked; otherwise [`Error::AllHostsFailed`].
pub(crate) async fn manifest(
    context: &Arc<Context>,
    hosts: &Hosts,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Bytes, Error> {
    let hosts = hosts.with(Capability::Pull);
    let digest = descriptor.digest;
    let question = Question {
        what: format!("read manifest {digest} of {}", reference.name()),
        request: format!("manifests/{digest}"),
        hedges: true,
    };
    let mut tries = Tries::of(context, &hosts);
    let asking = in_turn(&mut tries, &hosts, &question, |_, host| read_at(host, descriptor));
    let (index, bytes) = asking.await?;
    let actual = bytes.len() as u64;
    if actual != descriptor.size {
        tries.failed(index, Fault::SizeMismatch { expected: descriptor.size, actual });
        return Err(tries.give_up(None).error(&question.what, &question.request));
    }
    Ok(bytes)
}

async fn read_at(host: &Host, descriptor: &Descriptor) -> Result<Bytes, Fault> {
    let Descriptor { digest, size, .. } = *descriptor;
    if size > MAX_MANIFEST_BYTES {
        return Err(Fault::TooLarge { size, limit: MAX_MANIFEST_BYTES });
    }
    Ok(document::read_digest(host, digest).await?.bytes)
}
