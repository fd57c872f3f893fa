//! What of an image is told where nothing may be named that is not there: an archive, for instance.

use std::collections::HashSet;
use std::sync::Arc;

use super::plan::{Document, Plan, PlatformImage};
use super::request::Names;
use crate::oci::{Descriptor, Digest, Index};
use crate::progress::BlobKind;

/// What the image's name stands for, and the documents that lead to the layers from there.
#[derive(Debug)]
pub(super) struct Selection {
    /// An index or a manifest.
    pub(super) target: Descriptor,
    /// Parents before children.
    pub(super) documents: Vec<Document>,
}

impl Selection {
    /// The image as it is where all of it is there or its name is its digest; otherwise an index of
    /// what was chosen of it, or the one manifest.
    pub(super) fn of(names: &Names, plan: &Plan) -> Result<Self, serde_json::Error> {
        let images = plan.images_as_listed();
        let indexes: Vec<&Document> = of_kind(plan, BlobKind::Index).rev().collect();
        let is_by_digest = names.reference.digest() == Some(plan.target.digest);
        let (target, mut documents) = match images.as_slice() {
            _ if is_whole(&indexes, &images) || is_by_digest => {
                (plan.target.clone(), indexes.into_iter().cloned().collect())
            }
            [only] => (only.manifest.clone(), Vec::new()),
            _ => {
                let index = index_of(plan, &images)?;
                (index.descriptor.clone(), vec![index])
            }
        };
        let mut leading: HashSet<Digest> = HashSet::new();
        for digest in images.iter().flat_map(|it| [it.manifest.digest, it.config.digest]) {
            let found = plan.documents.iter().find(|it| it.descriptor.digest == digest);
            documents.extend(found.filter(|_| leading.insert(digest)).cloned());
        }
        Ok(Self { target: with_platform(target, &images), documents })
    }
}

fn of_kind(plan: &Plan, kind: BlobKind) -> impl DoubleEndedIterator<Item = &Document> {
    plan.documents.iter().filter(move |document| document.kind == kind)
}

/// Whether everything that the indexes list is there.
fn is_whole(indexes: &[&Document], images: &[Arc<PlatformImage>]) -> bool {
    let manifests = images.iter().map(|image| image.manifest.digest);
    let there: HashSet<Digest> =
        indexes.iter().map(|index| index.descriptor.digest).chain(manifests).collect();
    let mut listed = indexes.iter().flat_map(|index| &index.children);
    listed.all(|entry| there.contains(&entry.digest))
}

/// An index like the image's own of those that were chosen.
fn index_of(plan: &Plan, images: &[Arc<PlatformImage>]) -> Result<Document, serde_json::Error> {
    let media_type = plan.target.media_type.clone();
    let manifests: Vec<Descriptor> = images.iter().map(|image| image.manifest.clone()).collect();
    let index = Index {
        media_type: media_type.clone(),
        artifact_type: None,
        manifests: manifests.clone(),
        subject: None,
        annotations: Default::default(),
    };
    let bytes = index.to_json()?;
    let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
    Ok(Document { descriptor, kind: BlobKind::Index, bytes: bytes.into(), children: manifests })
}

/// A manifest that stands by itself says what it runs on.
fn with_platform(mut target: Descriptor, images: &[Arc<PlatformImage>]) -> Descriptor {
    let own = images.iter().find(|image| image.manifest.digest == target.digest);
    if let Some(image) = own.filter(|image| image.is_image()) {
        target.platform = Some(image.platform.clone());
    }
    target
}
