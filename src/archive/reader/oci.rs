//! The OCI image layout in an archive: `index.json`, whose entries are the images.
//!
//! See <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>.

use super::error::Problem;
use super::images::{ArchiveImage, GivenName};
use crate::oci::layout::{FULL_NAME, INDEX_FILE, REF_NAME};
use crate::oci::{Descriptor, ManifestError, ManifestKind, MediaKind, MediaType};
use crate::tar::EntryName;

/// On entries that speak of an image and are none.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The images that `index`, the content of `index.json`, lists, each once with all its names.
pub(super) fn images(index: &[u8]) -> Result<Vec<ArchiveImage>, Problem> {
    let unusable =
        |source| Problem::Document { name: EntryName::new(INDEX_FILE.as_bytes()), source };
    let media_type = MediaType::new(oci_distribution::manifest::OCI_IMAGE_INDEX_MEDIA_TYPE);
    let index = match ManifestKind::parse(&media_type, index).map_err(unusable)? {
        ManifestKind::Index(index) => index,
        ManifestKind::Manifest(manifest) => {
            let described = media_type;
            let own = manifest.media_type;
            return Err(unusable(ManifestError::OtherType { described, own }));
        }
    };
    Ok(ArchiveImage::listed(index.manifests))
}

impl ArchiveImage {
    /// The images that a layout's index lists by `entries`, each once with all its names.
    pub fn listed(entries: impl IntoIterator<Item = Descriptor>) -> Vec<Self> {
        let mut images: Vec<Self> = Vec::new();
        for target in entries.into_iter().filter(may_be_image) {
            let name = name_of(&target);
            match images.iter_mut().find(|image| image.target.digest == target.digest) {
                Some(image) => {
                    image.names.extend(name.filter(|name| !image.names.contains(name)));
                }
                None => {
                    let names = name.into_iter().collect();
                    images.push(Self { names, target, is_remade: false });
                }
            }
        }
        images
    }
}

fn may_be_image(entry: &Descriptor) -> bool {
    let annotations = &entry.annotations;
    let is_told = annotations.contains_key(FULL_NAME) || annotations.contains_key(REF_NAME);
    let is_other = annotations.contains_key(REFERENCE_TYPE) || entry.artifact_type.is_some();
    // A generic or missing type says nothing yet: the document will.
    let is_document = matches!(entry.kind(), MediaKind::Index | MediaKind::Manifest)
        || entry.media_type.is_generic();
    is_document && (is_told || !is_other)
}

/// What an entry of an index of images is called.
fn name_of(entry: &Descriptor) -> Option<GivenName> {
    let annotation = |key: &str| entry.annotations.get(key).filter(|name| !name.is_empty());
    match (annotation(FULL_NAME), annotation(REF_NAME)) {
        (Some(name), _) => Some(GivenName::Full(name.clone())),
        (None, Some(name)) => Some(GivenName::of_reference_name(name)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::oci::Digest;

    fn entry(content: &str, annotations: Value) -> Value {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": Digest::of(content.as_bytes()),
            "size": content.len(),
            "annotations": annotations,
        })
    }

    fn read(entries: &[Value]) -> Result<Vec<ArchiveImage>, Problem> {
        images(json!({ "schemaVersion": 2, "manifests": entries }).to_string().as_bytes())
    }

    #[test]
    fn an_image_is_listed_once_with_all_its_names() {
        let found = read(&[
            entry("a", json!({ FULL_NAME: "docker.io/library/a:1", REF_NAME: "1" })),
            entry("b", json!({ REF_NAME: "quay.io/b:2" })),
            entry("a", json!({ FULL_NAME: "docker.io/library/a:2" })),
            entry("a", json!({ FULL_NAME: "docker.io/library/a:2" })),
            entry("c", json!({ REF_NAME: "2" })),
            entry("d", json!({ FULL_NAME: "" })),
            entry("attestation", json!({ REFERENCE_TYPE: "attestation-manifest" })),
        ])
        .unwrap();
        let names: Vec<Vec<String>> = found
            .iter()
            .map(|image| image.names.iter().map(ToString::to_string).collect())
            .collect();
        let expected: [&[&str]; 4] =
            [&["docker.io/library/a:1", "docker.io/library/a:2"], &["quay.io/b:2"], &["2"], &[]];
        assert_eq!(names, expected);
        assert_eq!(found[2].names, [GivenName::Tag("2".to_owned())]);
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for text in ["", "[]", "{}", "<html>", r#"{"manifests":[],"layers":[]}"#] {
            let refused = images(text.as_bytes());
            assert!(matches!(refused, Err(Problem::Document { .. })), "{text}");
        }
        assert_eq!(read(&[]).unwrap(), []);
    }
}
