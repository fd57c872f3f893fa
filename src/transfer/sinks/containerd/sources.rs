//! Where the blobs of a run's images can be had again. Layers that many images have are labelled with all of
//! their repositories at once: a change for each image would be a transaction of the daemon each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::containerd::labels::{self, Labels};
use crate::oci::Digest;
use crate::sync::lock;
use crate::transfer::plan::{Layer, Plan};
use crate::transfer::provenance::{Origin, Provenance};

/// What is known of layers that several images have. Clones share it.
#[derive(Debug, Default, Clone)]
pub(super) struct Sources(Arc<Mutex<HashMap<Digest, Labels>>>);

impl Sources {
    /// Takes note of images that will all be brought.
    pub(super) fn expect(&self, plans: &[&Plan]) {
        let mut known = lock(&self.0);
        for image in plans.iter().flat_map(|plan| &plan.images) {
            for layer in &image.layers {
                add(known.entry(layer.digest).or_default(), &image.provenance);
            }
        }
    }

    /// Labels of a layer's blob.
    pub(super) fn of(&self, layer: &Layer) -> Labels {
        let mut labels = lock(&self.0).get(&layer.descriptor().digest).cloned().unwrap_or_default();
        add(&mut labels, &layer.image().provenance);
        labels
    }
}

/// Where a blob can be had again, of an image that can be had from there.
pub(super) fn source_labels(provenance: &Provenance) -> Labels {
    let mut labels = Labels::new();
    add(&mut labels, provenance);
    labels
}

fn add(labels: &mut Labels, provenance: &Provenance) {
    for Origin { host, repository } in &provenance.origins {
        labels.extend(labels::source_at(host, repository, labels));
    }
}
