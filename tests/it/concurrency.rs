//! How much of a run is under way at once: layers, and the connections that carry them.

use std::collections::BTreeSet;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::faulty::{Fault, FaultyRegistry, Gate, Request};
use crate::support::image::{Layer, Recipe};
use crate::support::store::Store;
use crate::support::{one_version, unique, wait_until};

/// Most connections that carry layers at one time in a run.
const CONNECTIONS: usize = 16;

/// Every request for a layer stalls.
struct Stalled {
    registries: Vec<FaultyRegistry>,
    references: Vec<String>,
    layers: Vec<String>,
    gate: Gate,
}

impl Stalled {
    /// So many registries, each with as many images, each with as many layers of `size` bytes.
    fn new(registries: usize, images: usize, layers: usize, size: usize) -> Self {
        let gate = Gate::new();
        let mut stalled =
            Self { registries: Vec::new(), references: Vec::new(), layers: Vec::new(), gate };
        for _ in 0..registries {
            let registry = FaultyRegistry::start();
            for _ in 0..images {
                let layers = (0..layers).map(|_| Layer::noise(&unique("layer"), size));
                let layers: Vec<_> = layers.collect();
                for layer in &layers {
                    let digest = layer.blob.digest.to_string();
                    registry.always(&digest, Fault::Stall(1000, stalled.gate.clone()));
                    stalled.layers.push(digest);
                }
                stalled.references.push(registry.add_new(&Recipe::new(layers).build()));
            }
            stalled.registries.push(registry);
        }
        stalled
    }

    fn pull(&self, daemon: &Containerd) -> Pullctl {
        Pullctl::new().on(daemon).args(["pull", "--plain-http"]).args(&self.references)
    }

    /// The layers that were asked for.
    fn layers_asked(&self) -> BTreeSet<&str> {
        let requests = self.requests();
        let is_asked = |layer: &&str| requests.iter().any(|request| request.path.ends_with(layer));
        self.layers.iter().map(String::as_str).filter(is_asked).collect()
    }

    /// The requests for layers.
    fn requests(&self) -> Vec<Request> {
        let mut requests: Vec<_> = self.registries.iter().flat_map(|r| r.requests()).collect();
        requests.retain(|request| self.layers.iter().any(|layer| request.path.ends_with(layer)));
        requests
    }

    /// Waits until the run has done all that it can: it writes down the few bytes that came only
    /// when no more have come for a while.
    fn wait_until_quiet(&self, daemon: &Containerd, enough: impl Fn() -> bool) {
        daemon.wait_until("bytes of all layers asked for", || {
            let ingests = Store::new(daemon, KUBERNETES).ingests();
            let has_bytes = |layer: &&str| ingests.get(&format!("layer-{layer}")) > Some(&0);
            (enough() && self.layers_asked().iter().all(has_bytes)).then_some(())
        });
    }
}

one_version! {
    fn four_layers_come_at_once_unless_another_number_is_wanted(daemon) {
        for (arguments, count) in [(&[][..], 4), (&["--concurrency", "2"][..], 2)] {
            // Larger than what is kept in memory until it is complete.
            let stalled = Stalled::new(1, 1, 8, 3 << 20);
            let running = stalled.pull(daemon).args(arguments).spawn();
            stalled.wait_until_quiet(daemon, || stalled.layers_asked().len() >= count);
            assert_eq!(stalled.layers_asked().len(), count, "{:?}", stalled.requests());
            stalled.gate.open();
            running.wait().succeeded();
            assert_eq!(stalled.layers_asked().len(), 8);
        }
    }

    fn all_images_and_registries_of_a_run_share_its_connections(daemon) {
        // Each layer has four whole chunks, so that four of them need all connections.
        let stalled = Stalled::new(2, 3, 1, (4 << 20) - 1536);
        let arguments = ["--concurrency", "6", "--chunk-size", "1MiB"];
        let running = stalled.pull(daemon).args(arguments).spawn();
        stalled.wait_until_quiet(daemon, || stalled.requests().len() >= CONNECTIONS);
        // Each stalls on a connection of its own.
        assert_eq!(stalled.requests().len(), CONNECTIONS, "{:?}", stalled.requests());
        assert!(stalled.layers_asked().len() >= 3, "{:?}", stalled.requests());
        stalled.gate.open();
        running.wait().succeeded();
        assert_eq!(stalled.layers_asked().len(), 6);
    }

    fn a_large_layer_comes_over_several_connections(daemon) {
        let layer = Layer::noise(&unique("layer"), 16 << 20);
        let digest = layer.blob.digest.to_string();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&Recipe::new(vec![layer]).build());
        let gate = Gate::new();
        // The connections of three requests are of no use to the others.
        registry.script(&digest, vec![Some(Fault::Stall(1000, gate.clone())); 3]);
        let running = Pullctl::pull(daemon, &reference).args(["--chunk-size", "1MiB"]).spawn();
        wait_until("requests beside those that stall", || {
            let requests = registry.requests_for(&digest);
            let connections: BTreeSet<_> =
                requests.iter().map(|request| request.connection).collect();
            (connections.len() > 3).then_some(())
        });
        gate.open();
        running.wait().succeeded();
    }
}
