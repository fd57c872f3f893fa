//! Pulls that were cut short, and pulls that meet another one.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::cri::Cri;
use crate::support::faulty::{Fault, FaultyRegistry, Gate, Request};
use crate::support::image::{Image, Layer, Recipe, noise};
use crate::support::store::Store;
use crate::support::{each_version, unique};

/// Size of the layer's file, in bytes (16 MiB).
const SIZE: usize = 16 << 20;
/// Requests that are answered before one stalls: enough for bytes to reach the daemon, which get
/// there some MiB at a time.
const ANSWERED: usize = 9;
const CHUNK: &str = "1MiB";
/// The same for a layer that is kept in memory (1 MiB) while it comes in quickly.
const SMALL: (usize, &str) = (1 << 20, "64KiB");

/// One layer of several chunks, one of the requests for which waits at a gate.
struct Stalled {
    registry: FaultyRegistry,
    reference: String,
    image: Image,
    /// Name of the layer's file, and what its content depends on.
    file: String,
    gate: Gate,
    chunk: &'static str,
}

impl Stalled {
    fn new() -> Self {
        Self::of((SIZE, CHUNK), |gate| vec![Some(Fault::Stall(1000, gate))])
    }

    /// A layer of another size, in bytes, fetched in chunks of another. The `faults` befall the
    /// requests after the answered ones.
    fn of(
        (size, chunk): (usize, &'static str),
        faults: impl FnOnce(Gate) -> Vec<Option<Fault>>,
    ) -> Self {
        let file = unique("layer");
        let image = Recipe::new(vec![Layer::noise(&file, size)]).build();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let gate = Gate::new();
        let mut script = vec![None; ANSWERED];
        script.extend(faults(gate.clone()));
        registry.script(&image.layers()[0].digest.to_string(), script);
        Self { registry, reference, image, file, gate, chunk }
    }

    fn layer(&self) -> String {
        self.image.layers()[0].digest.to_string()
    }

    fn pull(&self, daemon: &Containerd) -> Pullctl {
        Pullctl::pull(daemon, &self.reference).args(["--chunk-size", self.chunk])
    }

    /// Waits until a request stalls and bytes of the layer stand in the daemon's ingest; answers
    /// how many. Nothing of the image can be seen then.
    fn wait_for_bytes(&self, daemon: &Containerd) -> u64 {
        self.gate.wait_until_reached();
        let ingest = format!("layer-{}", self.layer());
        let offset = daemon.wait_until("bytes in the layer's ingest", || {
            let offset = Store::new(daemon, KUBERNETES).ingests().get(&ingest).copied()?;
            u64::try_from(offset).ok().filter(|offset| *offset > 0)
        });
        self.assert_invisible(daemon);
        offset
    }

    /// Lets the registry be well, and forgets what it was asked.
    fn recover(&self) {
        self.registry.heal();
        self.gate.open();
        self.registry.forget_requests();
    }

    /// The lowest byte of the layer that was asked for.
    fn lowest_byte(&self) -> u64 {
        let first = |request: &Request| {
            let length = self.image.layers()[0].bytes.len() as u64;
            request.range(length).map_or(0, |range| *range.start())
        };
        let requests = self.registry.requests_for(&self.layer());
        requests.iter().map(first).min().expect("the layer was asked for")
    }

    fn is_in_place(&self, daemon: &Containerd) -> bool {
        let store = Store::new(daemon, KUBERNETES);
        store.images().contains_key(&self.reference)
            && store.snapshots().contains_key(&self.image.chain_id())
    }

    fn assert_invisible(&self, daemon: &Containerd) {
        assert_invisible(&self.image, &self.reference, daemon);
    }
}

/// Checks that the image has none of its three names, and that the kubelet does not find it.
#[track_caller]
fn assert_invisible(image: &Image, reference: &str, daemon: &Containerd) {
    let (repository, _) = reference.rsplit_once(':').unwrap();
    let names = [reference, &format!("{repository}@{}", image.digest()), &image.config_digest()];
    let images = Store::new(daemon, KUBERNETES).images();
    for name in names {
        assert!(!images.contains_key(name), "{name} is visible");
        assert!(Cri::new(daemon).image(name).is_none(), "the kubelet sees {name}");
    }
    assert!(!Store::new(daemon, KUBERNETES).snapshots().contains_key(&image.chain_id()));
}

each_version! {
    fn a_killed_pull_goes_on_at_the_byte_that_the_daemon_has(daemon) {
        is_resumed_after_a_kill(&Stalled::new(), daemon);
    }

    fn what_a_killed_pull_has_left_is_unpacked_while_the_rest_is_on_its_way(daemon) {
        let stalled = Stalled::new();
        let running = stalled.pull(daemon).spawn();
        stalled.wait_for_bytes(daemon);
        running.signal(Signal::KILL);
        assert_eq!(running.wait().code, None);

        let store = Store::new(daemon, KUBERNETES);
        let left_by_the_first = store.snapshots();
        stalled.recover();
        let gate = Gate::new();
        stalled.registry.always(&stalled.layer(), Fault::Stall(0, gate.clone()));
        let resumed = stalled.pull(daemon).args(["--unpacker", "direct"]).spawn();
        gate.wait_until_reached();
        daemon.wait_until("files of what the first pull has left", || {
            let chain_id = stalled.image.chain_id();
            let snapshots = store.snapshots().into_keys();
            let mut own = snapshots.filter(|key| !left_by_the_first.contains_key(key));
            let key = own.find(|key| key.ends_with(&chain_id))?;
            let file = store.directory(&key).join(&stalled.file).metadata().ok()?;
            (file.len() > 0).then_some(())
        });
        stalled.registry.heal();
        gate.open();
        resumed.wait().succeeded();
        store.with_mounted(&stalled.image.chain_id(), |root| {
            let found = std::fs::read(root.join(&stalled.file)).unwrap();
            assert!(found == noise(&stalled.file, SIZE), "the file differs");
        });
    }

    fn a_small_layer_on_a_line_that_stalls_is_resumed_too(daemon) {
        // All requests stall: the second one for the same chunk would be quicker than our patience.
        let stall = |gate: Gate| (0..32).map(|_| Some(Fault::Stall(1000, gate.clone()))).collect();
        is_resumed_after_a_kill(&Stalled::of(SMALL, stall), daemon);
    }

    fn the_finished_layers_of_a_killed_pull_are_not_asked_for_again(daemon) {
        // One that is kept in memory while it comes in, one that is not, one that is unfinished.
        let layers = [300_000, 3 << 20, 4 << 20].map(|size| Layer::noise(&unique("layer"), size));
        let image = Recipe::new(layers.to_vec()).build();
        let [finished @ .., unfinished] = layers.map(|layer| layer.blob.digest.to_string());
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let gate = Gate::new();
        registry.always(&unfinished, Fault::Stall(1000, gate.clone()));
        let running = Pullctl::pull(daemon, &reference).spawn();
        gate.wait_until_reached();
        let has_finished = || {
            let content = Store::new(daemon, KUBERNETES).content();
            finished.iter().all(|digest| content.contains_key(digest))
        };
        daemon.wait_until("the finished layers' blobs", || has_finished().then_some(()));
        assert_invisible(&image, &reference, daemon);
        running.signal(Signal::KILL);
        assert_eq!(running.wait().code, None);
        assert_invisible(&image, &reference, daemon);

        registry.heal();
        gate.open();
        registry.forget_requests();
        Pullctl::pull(daemon, &reference).run().succeeded();
        for digest in &finished {
            assert_eq!(registry.requests_for(digest), []);
        }
        assert!(!registry.requests_for(&unfinished).is_empty());
        assert!(Store::new(daemon, KUBERNETES).snapshots()[&image.chain_id()].committed);
    }

    fn ctrl_c_ends_a_pull_at_once_and_says_that_it_can_be_resumed(daemon) {
        for signal in [Signal::INT, Signal::TERM] {
            let stalled = Stalled::new();
            let running = stalled.pull(daemon).spawn();
            let offset = stalled.wait_for_bytes(daemon);
            let asked = Instant::now();
            running.signal(signal);
            let outcome = running.wait().ended_with(130);
            // A second is promised; the registry would keep the pull waiting for ever.
            assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
            outcome.says("goes on where it stopped");
            stalled.assert_invisible(daemon);

            stalled.recover();
            stalled.pull(daemon).run().succeeded();
            assert!(stalled.lowest_byte() >= offset);
        }
    }

    fn a_failed_pull_leaves_what_the_next_one_needs(daemon) {
        // A chunk that takes long is asked for once more, which must break off as well.
        let break_off = |gate: Gate| vec![Some(Fault::Break(1000, gate)); 8];
        let stalled = Stalled::of((SIZE, CHUNK), break_off);
        let running = stalled.pull(daemon).args(["--retries", "0"]).spawn();
        let offset = stalled.wait_for_bytes(daemon);
        stalled.gate.open();
        running.wait().ended_with(5);
        stalled.assert_invisible(daemon);

        stalled.recover();
        stalled.pull(daemon).run().succeeded();
        assert!(stalled.lowest_byte() >= offset);
    }

    fn two_pulls_of_one_image_at_once_both_succeed(daemon) {
        let stalled = Stalled::new();
        let first = stalled.pull(daemon).spawn();
        stalled.wait_for_bytes(daemon);
        stalled.registry.forget_requests();
        let second = stalled.pull(daemon).spawn();
        daemon.wait_until("the second pull's first request", || {
            (!stalled.registry.requests_for("/manifests/").is_empty()).then_some(())
        });
        stalled.gate.open();
        first.wait().succeeded();
        second.wait().succeeded();
        assert!(stalled.is_in_place(daemon));
    }

    fn a_pull_by_ctr_beside_ours_succeeds_and_so_does_ours(daemon) {
        let stalled = Stalled::new();
        let ours = stalled.pull(daemon).spawn();
        stalled.wait_for_bytes(daemon);
        stalled.registry.forget_requests();
        let mut theirs = std::process::Command::new(daemon.version().program("ctr"))
            .arg("--address")
            .arg(daemon.socket())
            .args(["-n", KUBERNETES, "images", "pull", "--plain-http", &stalled.reference])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        daemon.wait_until("ctr's first request", || {
            (!stalled.registry.requests_for("/manifests/").is_empty()).then_some(())
        });
        stalled.gate.open();
        ours.wait().succeeded();
        assert!(theirs.wait().unwrap().success());
        assert!(stalled.is_in_place(daemon));
    }

    fn a_pull_by_the_kubelet_beside_ours_succeeds_and_so_does_ours(daemon) {
        let stalled = Stalled::new();
        let ours = stalled.pull(daemon).spawn();
        stalled.wait_for_bytes(daemon);
        stalled.registry.forget_requests();
        std::thread::scope(|scope| {
            let theirs = scope.spawn(|| Cri::new(daemon).pull(&stalled.reference));
            daemon.wait_until("the CRI's first request", || {
                (!stalled.registry.requests_for("/manifests/").is_empty()).then_some(())
            });
            stalled.gate.open();
            ours.wait().succeeded();
            theirs.join().expect("the CRI pulls");
        });
        assert!(stalled.is_in_place(daemon));
    }
}

fn is_resumed_after_a_kill(stalled: &Stalled, daemon: &Containerd) {
    let running = stalled.pull(daemon).spawn();
    let offset = stalled.wait_for_bytes(daemon);
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, None);
    stalled.assert_invisible(daemon);
    assert_lease_expires(&stalled.reference, daemon);

    stalled.recover();
    stalled.pull(daemon).run().succeeded();
    assert!(stalled.is_in_place(daemon));
    assert!(stalled.lowest_byte() >= offset, "{} < {offset}", stalled.lowest_byte());
    let layer = Store::new(daemon, KUBERNETES).blob(&stalled.layer());
    assert!(layer == stalled.image.layers()[0].bytes, "the layer has other bytes");
}

/// Checks that the lease which holds what came of the image lasts, and for a day at most.
fn assert_lease_expires(reference: &str, daemon: &Containerd) {
    let leases = Store::new(daemon, KUBERNETES).leases();
    let of_the_image =
        |labels: &&BTreeMap<String, String>| labels.values().any(|name| name == reference);
    let labels = leases.values().find(of_the_image).expect("a lease for the image is left");
    let expiry: Timestamp = labels["containerd.io/gc.expire"].parse().unwrap();
    let now = Timestamp::now();
    assert!(expiry > now, "{expiry} is past");
    assert!(expiry <= now + SignedDuration::from_hours(24), "{expiry} is more than a day away");
}
