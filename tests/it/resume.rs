//! Pulls that were cut short, and pulls that meet another one.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::cli::Pullctl;
use crate::support::containerd::{Containerd, KUBERNETES};
use crate::support::cri::Cri;
use crate::support::faulty::{Fault, FaultyRegistry, Gate, Request};
use crate::support::image::{Image, Layer, Recipe};
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
    gate: Gate,
    chunk: &'static str,
}

impl Stalled {
    fn new() -> Self {
        Self::with(|gate| Fault::Stall(1000, gate))
    }

    /// `fault` befalls the request after the answered ones.
    fn with(fault: impl FnOnce(Gate) -> Fault) -> Self {
        Self::of((SIZE, CHUNK), |gate| vec![Some(fault(gate))])
    }

    /// A layer of another size, in bytes, fetched in chunks of another. The `faults` befall the
    /// requests after the answered ones.
    fn of(
        (size, chunk): (usize, &'static str),
        faults: impl FnOnce(Gate) -> Vec<Option<Fault>>,
    ) -> Self {
        let image = Recipe::new(vec![Layer::noise(&unique("layer"), size)]).build();
        let registry = FaultyRegistry::start();
        let reference = registry.add_new(&image);
        let gate = Gate::new();
        let mut script = vec![None; ANSWERED];
        script.extend(faults(gate.clone()));
        registry.script(&image.layers()[0].digest.to_string(), script);
        Self { registry, reference, image, gate, chunk }
    }

    fn layer(&self) -> String {
        self.image.layers()[0].digest.to_string()
    }

    fn pull(&self, daemon: &Containerd) -> Pullctl {
        Pullctl::pull(daemon, &self.reference).args(["--chunk-size", self.chunk])
    }

    /// Waits until a request stalls and bytes of the layer stand in the daemon's ingest; answers
    /// how many.
    fn wait_for_bytes(&self, daemon: &Containerd) -> u64 {
        self.gate.wait_until_reached();
        let ingest = format!("layer-{}", self.layer());
        daemon.wait_until("bytes in the layer's ingest", || {
            let offset = Store::new(daemon, KUBERNETES).ingests().get(&ingest).copied()?;
            u64::try_from(offset).ok().filter(|offset| *offset > 0)
        })
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
}

each_version! {
    fn a_killed_pull_goes_on_at_the_byte_that_the_daemon_has(daemon) {
        is_resumed_after_a_kill(&Stalled::new(), daemon);
    }

    fn a_small_layer_on_a_line_that_stalls_is_resumed_too(daemon) {
        // All requests stall: the second one for the same chunk would be quicker than our patience.
        let stall = |gate: Gate| (0..32).map(|_| Some(Fault::Stall(1000, gate.clone()))).collect();
        is_resumed_after_a_kill(&Stalled::of(SMALL, stall), daemon);
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
            assert!(!stalled.is_in_place(daemon));

            stalled.recover();
            stalled.pull(daemon).run().succeeded();
            assert!(stalled.lowest_byte() >= offset);
        }
    }

    fn a_failed_pull_leaves_what_the_next_one_needs(daemon) {
        let break_off = |gate| Fault::Break(1000, gate);
        let stalled = Stalled::with(break_off);
        let running = stalled.pull(daemon).args(["--retries", "0"]).spawn();
        let offset = stalled.wait_for_bytes(daemon);
        stalled.gate.open();
        running.wait().ended_with(5);
        assert!(!stalled.is_in_place(daemon));

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
    assert!(!stalled.is_in_place(daemon));
    assert_ne!(Store::new(daemon, KUBERNETES).leases(), Vec::<String>::new());

    stalled.recover();
    stalled.pull(daemon).run().succeeded();
    assert!(stalled.is_in_place(daemon));
    assert!(stalled.lowest_byte() >= offset, "{} < {offset}", stalled.lowest_byte());
    let layer = Store::new(daemon, KUBERNETES).blob(&stalled.layer());
    assert!(layer == stalled.image.layers()[0].bytes, "the layer has other bytes");
}
