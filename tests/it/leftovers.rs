//! What a pull that failed keeps, for how long, and what it gives back.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES, Version};
use crate::support::faulty::{Fault, FaultyRegistry};
use crate::support::image::{Image, Layer, Recipe};
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// An image whose first layer comes and whose second one the registry refuses.
struct Refused {
    registry: FaultyRegistry,
    image: Image,
    reference: String,
}

impl Refused {
    fn new() -> Self {
        Self::of([300_000, 3 << 20])
    }

    /// With layers of other sizes, in bytes.
    fn of(sizes: [usize; 2]) -> Self {
        let layers = sizes.map(|size| Layer::noise(&unique("layer"), size));
        let image = Recipe::new(layers.to_vec()).build();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let refused = Self { registry, image, reference };
        refused.registry.always(&refused.layers()[1], Fault::Status(403, Vec::new()));
        refused
    }

    fn layers(&self) -> [String; 2] {
        let layers = self.image.layers();
        [0, 1].map(|position| layers[position].digest.to_string())
    }

    /// The pull, into a namespace of its own. One layer comes at a time.
    fn pull(&self, daemon: &Containerd, namespace: &str) -> Pullctl {
        Pullctl::pull(daemon, &self.reference).args(["-n", namespace, "--concurrency", "1"])
    }
}

/// For which images each lease is.
fn held_images(store: &Store<'_>) -> Vec<Vec<String>> {
    let images = |labels: BTreeMap<String, String>| {
        let names = labels.into_iter().filter(|(key, _)| key.starts_with("pullctl.io/image."));
        names.map(|(_, name)| name).collect()
    };
    store.leases().into_values().map(images).collect()
}

/// When the only lease expires.
fn expiry(store: &Store<'_>) -> Timestamp {
    let leases = store.leases();
    assert_eq!(leases.len(), 1, "{leases:?}");
    leases.values().next().unwrap()["containerd.io/gc.expire"].parse().unwrap()
}

each_version! {
    fn what_is_complete_is_not_held_for_what_failed_beside_it(daemon) {
        let (refused, namespace) = (Refused::new(), unique("batch"));
        let store = Store::new(daemon, &namespace);
        let good = Recipe::new(vec![Layer::noise(&unique("good"), 400_000)]).build();
        let good_reference = refused.registry.add_new(&good);
        refused.pull(daemon, &namespace).args([&good_reference]).run().ended_with(11);
        assert_eq!(held_images(&store), [[refused.reference.clone()]]);

        let gone = good.layers()[0].digest.to_string();
        assert!(store.content().contains_key(&gone));
        let remove = ["-n", &namespace, "rm", &good_reference];
        Pullctl::new().on(daemon).args(remove).run().succeeded();
        daemon.wait_until("the removed image's blob to be gone", || {
            (!store.content().contains_key(&gone)).then_some(())
        });
        assert!(!store.snapshots().contains_key(&good.chain_id()));
        assert!(store.content().contains_key(&refused.layers()[0]));

        refused.registry.heal();
        refused.registry.forget_requests();
        refused.pull(daemon, &namespace).run().succeeded();
        assert_eq!(refused.registry.requests_for(&refused.layers()[0]), []);
        assert_eq!(store.leases(), BTreeMap::new());
    }

    fn each_try_renews_the_lease_of_its_image_and_adds_none(daemon) {
        let (refused, namespace) = (Refused::new(), unique("tries"));
        let store = Store::new(daemon, &namespace);
        refused.pull(daemon, &namespace).run().ended_with(4);
        let first = expiry(&store);
        for _ in 0..2 {
            // Expiries are whole seconds.
            daemon.wait_until("the next second", || {
                let lifetime = SignedDuration::from_hours(24);
                (Timestamp::now() + lifetime > first + SignedDuration::from_secs(1)).then_some(())
            });
            refused.pull(daemon, &namespace).run().ended_with(4);
            assert_eq!(held_images(&store), [[refused.reference.clone()]]);
        }
        assert!(expiry(&store) > first);
        assert!(store.content().contains_key(&refused.layers()[0]));
    }

    fn a_try_that_does_not_get_as_far_leaves_what_an_earlier_one_has_left(daemon) {
        let (refused, namespace) = (Refused::new(), unique("unresolved"));
        let store = Store::new(daemon, &namespace);
        refused.pull(daemon, &namespace).run().ended_with(4);
        let left = store.leases();
        refused.registry.always("/manifests/", Fault::Status(404, Vec::new()));
        refused.pull(daemon, &namespace).run().ended_with(3);
        assert_eq!(store.leases(), left);
    }
}

#[test]
fn a_pull_that_found_no_room_gives_back_what_it_wrote() {
    for version in Version::ALL {
        let daemon = Containerd::with_small_disk(version, "16m");
        let store = Store::new(&daemon, KUBERNETES);
        let registry = FaultyRegistry::start();
        let layers = [1 << 20, 6 << 20, 20 << 20].map(|size| Layer::noise(&unique("layer"), size));
        let large = registry.add_new(&Recipe::new(layers.to_vec()).build());
        let flags = ["--unpacker", "direct", "--no-space-check"];
        let outcome = Pullctl::pull(&daemon, &large).args(flags).run();
        assert_eq!(outcome.code, Some(10), "containerd {version}: {}", outcome.stderr);
        assert_eq!(store.leases(), BTreeMap::new(), "containerd {version}");
        assert_eq!(store.ingests(), BTreeMap::new(), "containerd {version}");

        let small = Recipe::new(vec![Layer::noise(&unique("layer"), 3 << 20)]).build();
        let small = registry.add_new(&small);
        let outcome = Pullctl::pull(&daemon, &small).run();
        assert_eq!(outcome.code, Some(0), "containerd {version}: {}", outcome.stderr);
    }
}

#[test]
fn a_pull_that_found_no_room_leaves_what_an_earlier_one_has_left() {
    for version in Version::ALL {
        let daemon = Containerd::with_small_disk(version, "24m");
        let refused = Refused::of([300_000, 18 << 20]);
        let unchecked = ["--no-space-check"];
        refused.pull(&daemon, KUBERNETES).args(unchecked).run().ended_with(4);
        refused.registry.heal();
        let pull = refused.pull(&daemon, KUBERNETES).args(unchecked);
        let outcome = pull.run();
        assert_eq!(outcome.code, Some(10), "containerd {version}: {}", outcome.stderr);
        let store = Store::new(&daemon, KUBERNETES);
        assert_eq!(held_images(&store), [[refused.reference.clone()]], "containerd {version}");
        assert!(store.content().contains_key(&refused.layers()[0]), "containerd {version}");
    }
}
