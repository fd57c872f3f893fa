//! What refers to an image, at registries that do not list it by themselves: an index under a tag that
//! stands for the subject. See
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema>.

use crate::oci::{Descriptor, Digest, Index, ManifestKind, MediaType};
use crate::registry::Destination;
use crate::transfer::error::Error;
use crate::transfer::plan::Document;

/// The type of the lists.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What the manifest or index refers to.
pub(super) fn subject(document: &Document) -> Option<Digest> {
    let parsed = ManifestKind::parse(&document.descriptor.media_type, &document.bytes).ok()?;
    let subject = match parsed {
        ManifestKind::Index(index) => index.subject,
        ManifestKind::Manifest(manifest) => manifest.subject,
    };
    subject.map(|subject| subject.digest)
}

/// Adds `document` to the list of what refers to `subject` at `destination`.
///
/// # Errors
/// When the list can't be read or written.
pub(super) async fn list(
    destination: &Destination,
    subject: &Digest,
    document: &Document,
) -> Result<(), Error> {
    let tag = subject.to_string().replace(':', "-");
    let mut index = match destination.read_tag(&tag).await? {
        Some(bytes) => match ManifestKind::parse(&MediaType::new(INDEX), &bytes) {
            Ok(ManifestKind::Index(index)) => index,
            Ok(ManifestKind::Manifest(_)) => return Err(Error::NoList(tag)),
            Err(source) => return Err(Error::Manifest { digest: Digest::of(&bytes), source }),
        },
        None => Index {
            media_type: MediaType::new(INDEX),
            artifact_type: None,
            manifests: Vec::new(),
            subject: None,
            annotations: Default::default(),
        },
    };
    let entry = entry(document);
    if index.manifests.iter().any(|known| known.digest == entry.digest) {
        return Ok(());
    }
    index.manifests.push(entry);
    let bytes = index.to_json().map_err(|error| Error::Unwritable(error.to_string()))?;
    let descriptor = Descriptor::new(index.media_type, Digest::of(&bytes), bytes.len() as u64);
    destination.put_manifest(&tag, &descriptor, &bytes.into(), false).await?;
    Ok(())
}

/// How a list names `document`: with what it is, and its annotations.
fn entry(document: &Document) -> Descriptor {
    let Descriptor { media_type, digest, size, .. } = document.descriptor.clone();
    let mut entry = Descriptor::new(media_type, digest, size);
    let parsed = ManifestKind::parse(&document.descriptor.media_type, &document.bytes);
    let (artifact_type, annotations) = match parsed {
        Ok(ManifestKind::Index(index)) => (index.artifact_type, index.annotations),
        Ok(ManifestKind::Manifest(manifest)) => {
            let config = manifest.config.media_type.as_str().to_owned();
            (manifest.artifact_type.or(Some(config)), manifest.annotations)
        }
        Err(_) => return entry,
    };
    entry.artifact_type = artifact_type;
    entry.annotations = annotations;
    entry
}
