//! Layers that are there from a pull of another image: nobody fetches them again.

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Layer, Packing, Recipe, noise};
use crate::support::store::Store;
use crate::support::tree::Tree;
use crate::support::{each_version, unique};

const UNPACK: &[&str] = &[];
const STORE_ONLY: &[&str] = &["--no-unpack"];

/// How the earlier image is pulled, and how the later one.
const WAYS: [[&[&str]; 2]; 4] =
    [[UNPACK, UNPACK], [STORE_ONLY, STORE_ONLY], [STORE_ONLY, UNPACK], [UNPACK, STORE_ONLY]];

/// Sizes of a layer, in bytes, that is kept in memory while it comes in, and of one that is not.
const SIZES: [usize; 2] = [300_000, 3 << 20];

fn layer(size: usize) -> Layer {
    Layer::noise(&unique("layer"), size)
}

/// A layer that no other image has.
fn own() -> Layer {
    layer(100_000)
}

/// Pulls an image with the `earlier` layers in one way, then one with the `later` layers in the
/// other, and checks that only those are asked for then that the earlier one does not have.
fn pull_both(daemon: &Containerd, ways: [&[&str]; 2], earlier: &[Layer], later: &[Layer]) {
    let registry = FaultyRegistry::start();
    let images = [earlier, later].map(|layers| Recipe::new(layers.to_vec()).build());
    let [first, second] = images.each_ref().map(|image| registry.add_new(image));
    Pullctl::pull(daemon, &first).args(ways[0]).run().succeeded();
    registry.forget_requests();
    Pullctl::pull(daemon, &second).args(ways[1]).run().succeeded();
    let store = Store::new(daemon, KUBERNETES);
    for layer in later {
        let digest = layer.blob.digest.to_string();
        let requests = registry.requests_for(&digest);
        assert_eq!(requests.is_empty(), earlier.contains(layer), "{ways:?}: {requests:?}");
        assert!(store.blob(&digest) == layer.blob.bytes, "{ways:?}: the layer differs");
    }
    let is_unpacked = store.snapshots().contains_key(&images[1].chain_id());
    assert_eq!(is_unpacked, ways[1] == UNPACK, "{ways:?}");
}

each_version! {
    fn a_base_layer_of_another_image_is_not_fetched_again(daemon) {
        for (ways, size) in WAYS.into_iter().flat_map(|ways| SIZES.map(|size| (ways, size))) {
            let base = layer(size);
            pull_both(daemon, ways, &[base.clone(), own()], &[base, own()]);
        }
    }

    fn a_base_that_is_packed_otherwise_leaves_no_snapshot_behind_that_was_made_for_it(daemon) {
        let (registry, namespace) = (FaultyRegistry::start(), unique("packed-otherwise"));
        let tar = Tree::new().file(&unique("file"), &noise("packed", 100_000)).into_tar();
        for packing in [Packing::Gzip, Packing::Zstd] {
            let image = Recipe::new(vec![Layer::pack(&tar, packing)]).build();
            let reference = registry.add_new(&image);
            Pullctl::pull(daemon, &reference).args(["-n", &namespace]).run().succeeded();
            let store = Store::new(daemon, &namespace);
            assert_eq!(store.snapshots().into_keys().collect::<Vec<_>>(), [image.chain_id()]);
            assert!(store.leases().is_empty());
        }
    }

    fn a_layer_that_lies_elsewhere_in_another_image_is_not_fetched_again(daemon) {
        for (ways, size) in WAYS.into_iter().flat_map(|ways| SIZES.map(|size| (ways, size))) {
            let shared = layer(size);
            pull_both(daemon, ways, &[own(), shared.clone()], &[own(), shared, own()]);
        }
    }
}
