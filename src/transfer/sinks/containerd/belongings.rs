//! What in the daemon belongs to an image that is not named yet.

use std::collections::HashSet;

use crate::containerd::{Resource, ingest_reference};
use crate::transfer::sink::Outcome;

/// What an image's pull may have written or found.
#[derive(Debug, Default)]
pub(super) struct Belongings {
    blobs: HashSet<String>,
    ingests: HashSet<String>,
    chains: HashSet<String>,
}

/// What belongs to the image whose transfer ended so.
pub(super) fn of(outcome: &Outcome) -> Belongings {
    let mut belongings = Belongings::default();
    for image in &outcome.images {
        belongings.blobs.insert(image.target.to_string());
        for descriptor in image.layers.iter().chain([&image.manifest, &image.config]) {
            belongings.blobs.insert(descriptor.digest.to_string());
            belongings.ingests.insert(ingest_reference(descriptor));
        }
        let chains = image.identities.iter().map(|identity| identity.chain_id.to_string());
        belongings.chains.extend(chains);
    }
    belongings
}

impl Belongings {
    /// Whether `resource` is among them.
    pub(super) fn contains(&self, resource: &Resource) -> bool {
        let Resource { kind, name } = resource;
        match kind.as_str() {
            Resource::CONTENT => self.blobs.contains(name),
            Resource::INGESTS => self.ingests.contains(name),
            kind => kind.starts_with(Resource::SNAPSHOTS) && self.chains.contains(name),
        }
    }
}
