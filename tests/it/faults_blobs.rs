//! Layers that lie, break or are none. Each ends in its own exit code with the host, the cause and a
//! next step, and leaves nothing that can be seen.

use serde_json::json;

use crate::support::cli::Pullctl;
use crate::support::containerd::KUBERNETES;
use crate::support::fault_case::{Case, layer_of, layered, with_layer_fault};
use crate::support::faulty::{Fault, FaultyRegistry, Gate};
use crate::support::image::{Layer, Packing, Recipe, noise};
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// Size of a layer's file, in bytes, that is too large to be kept in memory until it is complete.
const LARGE: usize = 4 << 20;

const DOWNLOADS: &[Case] = &[
    Case {
        name: "a layer's bytes are other ones than its digest says",
        arrange: |registry| with_layer_fault(registry, Fault::Corrupt(100_000)),
        code: 7,
        says: &["127.0.0.1", "sha256:"],
    },
    Case {
        name: "a layer is larger than the manifest says",
        arrange: |registry| {
            let image = layered().edit_manifest(|manifest| {
                manifest["layers"][0]["size"] = json!(1000);
            });
            registry.add_new(&image)
        },
        code: 7,
        says: &["127.0.0.1", "sha256:"],
    },
    Case {
        name: "a layer is smaller than the manifest says",
        arrange: |registry| {
            let image = layered().edit_manifest(|manifest| {
                manifest["layers"][0]["size"] = json!(400_000_000);
            });
            registry.add_new(&image)
        },
        code: 7,
        says: &["127.0.0.1", "sha256:"],
    },
    Case {
        name: "the server sends more than the layer has",
        arrange: |registry| with_layer_fault(registry, Fault::Lengthen(1000)),
        code: 7,
        says: &["127.0.0.1", "sha256:"],
    },
    Case {
        name: "a Content-Range is not the one asked for",
        arrange: |registry| {
            let image = Recipe::new(vec![Layer::noise(&unique("range"), 3_000_000)]).build();
            let range = Fault::ContentRange("bytes 7-13/20".to_owned());
            registry.always(&layer_of(&image), range);
            registry.add_new(&image)
        },
        code: 7,
        says: &["127.0.0.1"],
    },
    Case {
        name: "a layer is not there",
        arrange: |registry| with_layer_fault(registry, Fault::Status(404, Vec::new())),
        code: 3,
        says: &["127.0.0.1", "not found"],
    },
    Case {
        name: "every body is cut short",
        arrange: |registry| with_layer_fault(registry, Fault::Truncate(0)),
        code: 7,
        says: &["127.0.0.1", "ended before"],
    },
    Case {
        name: "every connection is reset",
        arrange: |registry| with_layer_fault(registry, Fault::Reset(0)),
        code: 5,
        says: &["127.0.0.1"],
    },
    Case {
        name: "a large layer's bytes are other ones than its digest says",
        arrange: |registry| {
            let image = Recipe::new(vec![Layer::noise(&unique("faulty"), LARGE)]).build();
            registry.always(&layer_of(&image), Fault::Corrupt(3_000_000));
            registry.add_new(&image)
        },
        code: 7,
        says: &["127.0.0.1", "sha256:"],
    },
];

/// Blobs with the right digest that are not the layers they should be.
const ARCHIVES: &[Case] = &[
    Case {
        name: "a layer's tar has another digest than its diff ID",
        arrange: |registry| {
            let rootfs =
                json!({ "type": "layers", "diff_ids": [format!("sha256:{}", "0".repeat(64))] });
            let layer = Layer::noise(&unique("faulty"), 1000);
            registry.add_new(&Recipe::new(vec![layer]).config("rootfs", rootfs).build())
        },
        code: 7,
        says: &["diff ID"],
    },
    Case {
        name: "a gzip layer is no gzip",
        arrange: |registry| {
            // Not a bare tar either, which containerd takes whatever its media type says.
            let mut layer = Layer::pack(&noise(&unique("faulty"), 5000), Packing::Plain);
            layer.blob.media_type += "+gzip";
            registry.add_new(&Recipe::new(vec![layer]).build())
        },
        code: 7,
        says: &["sha256:"],
    },
    Case {
        name: "a layer is no tar",
        arrange: |registry| {
            let layer = Layer::pack(&[b'x'; 2000], Packing::Gzip);
            registry.add_new(&Recipe::new(vec![layer]).build())
        },
        code: 7,
        says: &["sha256:"],
    },
];

each_version! {
    fn a_download_that_fails_ends_in_its_exit_code_and_leaves_nothing_visible(daemon) {
        Case::check_all(DOWNLOADS, daemon, &[]);
    }

    fn a_blob_that_is_no_such_layer_ends_in_its_exit_code_and_leaves_nothing_visible(daemon) {
        Case::check_all(ARCHIVES, daemon, &["--unpacker", "auto"]);
    }

    fn containerds_own_unpacker_ends_at_such_a_blob_in_the_same_way(daemon) {
        Case::check_all(ARCHIVES, daemon, &["--unpacker", "daemon"]);
    }

    fn a_corrupt_small_layer_is_fetched_afresh_by_the_next_pull(daemon) {
        let image = layered();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        registry.always(&layer_of(&image), Fault::Corrupt(100_000));
        Pullctl::pull(daemon, &reference).run().ended_with(7);
        let ingests = Store::new(daemon, KUBERNETES).ingests();
        assert!(!ingests.keys().any(|key| key.ends_with(&layer_of(&image))), "{ingests:?}");
        registry.heal();
        Pullctl::pull(daemon, &reference).run().succeeded();
        assert!(Store::new(daemon, KUBERNETES).blob(&layer_of(&image)) == image.layers()[0].bytes);
    }

    fn what_came_of_a_corrupt_large_layer_is_thrown_away(daemon) {
        let image = Recipe::new(vec![Layer::noise(&unique("corrupt"), LARGE)]).build();
        let layer = layer_of(&image);
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let gate = Gate::new();
        // The first range has the wrong byte; a later one waits until it can be seen in the daemon.
        let stall = Some(Fault::Stall(1000, gate.clone()));
        registry.script(&layer, vec![Some(Fault::Corrupt(1000)), None, stall]);
        let pull = || Pullctl::pull(daemon, &reference).args(["--chunk-size", "1MiB"]);
        let running = pull().spawn();
        gate.wait_until_reached();
        let ingest = format!("layer-{layer}");
        let offset = || Store::new(daemon, KUBERNETES).ingests().get(&ingest).copied();
        daemon.wait_until("bytes in the layer's ingest", || offset().filter(|bytes| *bytes > 1000));
        gate.open();
        running.wait().ended_with(7);
        assert_eq!(offset(), None, "the damaged bytes are still there");
        assert!(!Store::new(daemon, KUBERNETES).content().contains_key(&layer));

        registry.heal();
        pull().run().succeeded();
        assert!(Store::new(daemon, KUBERNETES).blob(&layer) == image.layers()[0].bytes);
    }
}
