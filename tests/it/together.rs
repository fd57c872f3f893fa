//! Several pulls of one image at the same time, on one machine.

use crate::support::cli::Pullctl;
use crate::support::containerd::KUBERNETES;
use crate::support::faulty::FaultyRegistry;
use crate::support::image::{Layer, Recipe};
use crate::support::store::Store;
use crate::support::{each_version, unique};

const PULLS: usize = 8;
const LAYERS: usize = 40;

each_version! {
    fn pulls_of_one_image_at_once_share_its_small_layers(daemon) {
        let layers = (0..LAYERS).map(|_| Layer::noise(&unique("layer"), 3000));
        let layers: Vec<_> = layers.collect();
        let image = Recipe::new(layers.clone()).build();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let running: Vec<_> =
            (0..PULLS).map(|_| Pullctl::pull(daemon, &reference).spawn()).collect();
        for pull in running {
            pull.wait().succeeded();
        }
        let count =
            |layer: &Layer| registry.requests_for(&layer.blob.digest.to_string()).len();
        let fetched: usize = layers.iter().map(count).sum();
        assert!(fetched >= LAYERS);
        assert!(fetched * 5 <= LAYERS * 6, "{LAYERS} layers were asked for {fetched} times");
        let store = Store::new(daemon, KUBERNETES);
        assert!(store.snapshots()[&image.chain_id()].committed);
        assert!(layers.iter().all(|layer| {
            store.blob(&layer.blob.digest.to_string()) == layer.blob.bytes
        }));
        let holds_it = |labels: &std::collections::BTreeMap<String, String>| {
            labels.values().any(|name| *name == reference)
        };
        assert!(!store.leases().values().any(holds_it));
    }
}
